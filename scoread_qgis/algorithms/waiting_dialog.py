"""The dialog that waits for an algorithm on the main thread, as QGIS before 3.26 has it wait for batches and designer models."""

from contextlib import ExitStack, contextmanager

from qgis.gui import QgsProcessingAlgorithmDialogBase
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QObject, Qt, QThread
from qgis.PyQt.QtWidgets import QApplication, QDialogButtonBox


@contextmanager
def answering_dialog():
    """Yield what to call meanwhile so that the windows of QGIS answer, with the dialog that waits kept open; None where none waits here.

    A script that runs an algorithm on the main thread has no such dialog: nothing is done that its author does not expect there.
    """
    waiting = _waiting() if QThread.currentThread() == QCoreApplication.instance().thread() else []
    with ExitStack() as stack:
        for dialog in waiting:
            stack.enter_context(_kept_open(dialog))
        yield QCoreApplication.processEvents if waiting else None


def _waiting():
    """Dialogs of algorithms that are at work: their button Run is disabled."""
    if not isinstance(QCoreApplication.instance(), QApplication):
        return []
    dialogs = [window for window in QApplication.topLevelWidgets() if isinstance(window, QgsProcessingAlgorithmDialogBase)]
    return [dialog for dialog in dialogs if dialog.isVisible() and not dialog.runButton().isEnabled()]


@contextmanager
def _kept_open(dialog):
    """No way to close a dialog, which QGIS would delete while it is in use; its button Cancel ends the work."""
    keeper, button = _Keeper(), dialog.buttonBox().button(QDialogButtonBox.StandardButton.Close)
    enabled = button is not None and button.isEnabled()
    dialog.installEventFilter(keeper)
    if enabled:
        button.setEnabled(False)
    try:
        yield
    finally:
        dialog.removeEventFilter(keeper)
        if enabled:
            button.setEnabled(True)


class _Keeper(QObject):
    """Takes from a dialog what would close it."""

    def eventFilter(self, watched, event):
        closes = event.type() == QEvent.Type.Close or (event.type() == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Escape)
        if closes:
            event.ignore()
        return closes
