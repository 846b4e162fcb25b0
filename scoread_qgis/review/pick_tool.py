"""The map tool that shows spectra of the pixels under the mouse."""

from qgis.gui import QgsMapTool
from qgis.PyQt.QtCore import Qt, pyqtSignal


class PickTool(QgsMapTool):
    """Signals: looked(point, pin): a place in the CRS of the canvas was clicked, or passed with Shift held; pin: whether Ctrl was held.
    pressed(key event): keys that the tool leaves to the review.
    """

    looked = pyqtSignal(object, bool)
    pressed = pyqtSignal(object)

    def __init__(self, canvas):
        super().__init__(canvas)
        self.setCursor(Qt.CursorShape.CrossCursor)

    def canvasReleaseEvent(self, event):
        if event.button() == Qt.MouseButton.LeftButton:
            self.looked.emit(event.mapPoint(), bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier))

    def canvasMoveEvent(self, event):
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.looked.emit(event.mapPoint(), False)

    def keyPressEvent(self, event):
        self.pressed.emit(event)
