"""Calls on the thread of the window, for what QGIS allows nowhere else, such as print layouts."""

from qgis.PyQt.QtCore import QCoreApplication, QObject, Qt, QThread, pyqtSignal, pyqtSlot


def on_main_thread(function):
    """Call `function()` on the thread of the window, wait for it, and return what it returns or raise what it raises."""
    if QThread.currentThread() == QCoreApplication.instance().thread():
        return function()
    caller = _Caller()
    caller.asked.emit(function)
    if caller.error is not None:
        raise caller.error
    return caller.result


class _Caller(QObject):
    asked = pyqtSignal(object)

    def __init__(self):
        super().__init__()
        self.result = self.error = None
        self.moveToThread(QCoreApplication.instance().thread())
        self.asked.connect(self._call, Qt.ConnectionType.BlockingQueuedConnection)

    @pyqtSlot(object)
    def _call(self, function):
        try:
            self.result = function()
        except Exception as error:  # raised again where it was asked for
            self.error = error
