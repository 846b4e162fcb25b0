"""Background work of which only the latest matters: a newer request cancels the one before."""

from functools import partial

from qgis.core import Qgis, QgsApplication, QgsTask
from qgis.PyQt.QtCore import QObject, QTimer

from ..core.loading import linking, load_scipy
from ..installation.task import Task
from ..settings import cache_folder, memory_limit
from ..workflows.run import Run


class Latest(QObject):
    """Does one thing at a time. What an older request found, or failed at, is told to nobody once there is a newer one."""

    def __init__(self, parent):
        super().__init__(parent)
        self._tasks = set()  # kept alive until they have ended
        self._latest = None

    @property
    def busy(self):
        return self._latest is not None

    def start(self, title, work, done, failed=None, moved=None):
        """Call work(run) on a thread of its own, then done(result) here, or failed(text) where it raised an error.

        run: `workflows.run.Run`. moved(fraction, message) hears of the progress.
        """
        self.cancel()
        memory, scratch = memory_limit(), cache_folder()

        def working(progress, log):
            load_scipy()
            return work(Run(memory, progress, log, {"qgis": Qgis.version()}, scratch))

        task = Task(title, working, QgsTask.Flag.CanCancel | QgsTask.Flag.CancelWithoutPrompt)

        def ended(result, error):
            self._tasks.discard(task)
            if task is not self._latest:
                return
            self._latest = None
            if not error:
                done(result)
            elif failed is not None and error != "cancelled":
                failed(error)

        task.ended.connect(ended)
        if moved is not None:
            task.moved.connect(lambda fraction, message: moved(fraction, message) if task is self._latest else None)
        self._tasks.add(task)
        self._latest = task
        self._add(task)

    def _add(self, task):
        if task.isCanceled():
            self._tasks.discard(task)
        elif linking.locked():  # QGIS may have to create a thread, for which the window would have to wait
            QTimer.singleShot(20, partial(self._add, task))
        else:
            QgsApplication.taskManager().addTask(task)

    def cancel(self):
        """Forget what is under way."""
        if self._latest is not None:
            latest, self._latest = self._latest, None
            latest.cancel()
