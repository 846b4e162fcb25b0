"""Work of a dialog in the background, as QGIS' task manager runs and shows it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from qgis.core import QgsTask
from qgis.PyQt.QtCore import pyqtSignal

from ..core.own_thread import on_own_thread
from ..core.progress import Cancelled, Progress


class Task(QgsTask):
    """Calls `work(progress, log)` on a thread of its own. `cancel()` makes progress raise `Cancelled`.

    Signals, received where the task was made: said(text) for each line of the log; moved(fraction, message); ended(result, error), where
    error is "" or what went wrong, "cancelled" after a cancel.
    """

    said = pyqtSignal(str)
    moved = pyqtSignal(float, str)
    ended = pyqtSignal(object, str)

    def __init__(
        self, title: str, work: Callable[[Progress, Callable[[str], Any]], Any], flags: QgsTask.Flag = QgsTask.Flag.CanCancel
    ) -> None:
        super().__init__(title, flags)
        self._work = work
        self._result, self._error = None, ""

    def run(self) -> bool:
        try:
            self._result = on_own_thread(lambda tell: self._work(Progress(partial(self._report, tell)), partial(tell, self.said.emit)))
        except Cancelled:
            self._error = "cancelled"
        except (ValueError, OSError) as error:
            self._error = str(error)
        except Exception as error:  # a fault of the plugin must not end QGIS
            self._error = f"{type(error).__name__}: {error}"
            self.said.emit(traceback.format_exc())
        return not self._error

    def finished(self, succeeded: bool) -> None:
        self.ended.emit(self._result, self._error or ("" if succeeded else "cancelled"))

    def _report(self, tell: Callable[..., Any], fraction: float, message: str) -> None:
        if self.isCanceled():
            raise Cancelled
        tell(self.setProgress, 100 * fraction)
        tell(self.moved.emit, fraction, message)
