"""The dialog that waits for an algorithm on the main thread, as QGIS before 3.26 has it wait for batches and designer models."""

from qgis.gui import QgsProcessingAlgorithmDialogBase
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QObject, Qt, QThread
from qgis.PyQt.QtWidgets import QApplication, QDialogButtonBox

_NAME = "scoread_keeper"


def answering_dialog():
    """What to call meanwhile so that the windows of QGIS answer, with the dialog that waits kept open; None where none waits here.

    A script that runs an algorithm on the main thread has no such dialog: nothing is done that its author does not expect there.
    """
    application = QCoreApplication.instance()
    if not isinstance(application, QApplication) or QThread.currentThread() != application.thread():
        return None
    dialogs = [window for window in QApplication.topLevelWidgets() if isinstance(window, QgsProcessingAlgorithmDialogBase)]
    waiting = [dialog for dialog in dialogs if dialog.isVisible() and not dialog.runButton().isEnabled()]
    for dialog in waiting:
        if dialog.findChild(QObject, _NAME) is None:
            _Keeper(dialog)
    return QCoreApplication.processEvents if waiting else None


class _Keeper(QObject):
    """Keeps a dialog from being closed while it is at work, when its button Run is disabled: QGIS would delete it while it is in use.

    Its button Cancel ends the work.
    """

    def __init__(self, dialog):
        super().__init__(dialog)
        self.setObjectName(_NAME)
        self._dialog, self._close = dialog, dialog.buttonBox().button(QDialogButtonBox.StandardButton.Close)
        for watched in (dialog, dialog.runButton()):
            watched.installEventFilter(self)
        self._let()

    def _let(self):
        if self._close is not None:
            self._close.setEnabled(self._dialog.runButton().isEnabled())

    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.EnabledChange:
            self._let()
        leaves = event.type() == QEvent.Type.Close or (event.type() == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Escape)
        if watched is not self._dialog or not leaves or self._dialog.runButton().isEnabled():
            return False
        event.ignore()
        return True
