"""The dock "Anomalies". What is in it is made when it is first shown, so that loading the plugin costs next to nothing."""

from qgis.core import QgsSettings
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtWidgets import QDockWidget

from ..translation import tr

_WIDENED = "scoread/review/widened"  # of the settings


class AnomalyDock(QDockWidget):
    """From a map to a decision: threshold, regions, verdicts, spectra. iface: `QgisInterface`."""

    def __init__(self, iface):
        super().__init__(tr("Anomalies"), iface.mainWindow())
        self.setObjectName("ScoreadAnomalies")  # by which QGIS remembers where it was
        self._iface = iface
        self.panel = None

    def show_map(self, layer):
        """Fill the dock from the layer of an anomaly map, and show it."""
        self._ready().show_map(layer)

    def show_regions(self, layer):
        """Review the regions of a layer."""
        self._ready().show_regions(layer)

    def go_to(self, rank):
        """Go to the region with this rank, once the list is there."""
        self._ready().go_to(rank)

    def _ready(self):
        """The panel, made where there is none yet, with the dock shown."""
        new = self.panel is None
        if new:
            from .panel import ReviewPanel

            self.panel = ReviewPanel(self._iface, self)
            self.setWidget(self.panel)
        self.show()
        self.raise_()
        if new:
            QTimer.singleShot(0, self._widen)  # once the window has made room for it
        return self.panel

    def showEvent(self, event):
        if self.panel is None:
            self._ready().restore()
        self.panel.set_shown(True)
        super().showEvent(event)

    def _widen(self):
        """As wide as lists and plots need, while half of the window is left to the canvas. Once: QGIS remembers what users make of it."""
        window, height, settings = self._iface.mainWindow(), self.fontMetrics().height(), QgsSettings()
        if self.isFloating() or not window.isVisible() or settings.value(_WIDENED, False, type=bool):
            return
        settings.setValue(_WIDENED, True)
        room = self.width() + self._iface.mapCanvas().width() - window.width() // 2
        wide = min(26 * height, max(room, 20 * height))
        if self.width() < wide:
            window.resizeDocks([self], [wide], Qt.Orientation.Horizontal)

    def hideEvent(self, event):
        if self.panel is not None:
            self.panel.set_shown(False)
        super().hideEvent(event)

    def stop(self):
        """End all background work, and take everything off the canvas."""
        if self.panel is not None:
            self.panel.stop()
