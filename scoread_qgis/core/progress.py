"""Progress and cancellation for the detectors and the raster code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """The user cancelled; everything unwinds through its `with` and `finally` blocks.

    Its text is what the user is told, wherever the run was started. kept: the file that was finished before, if any.
    """

    def __init__(self, kept: str | None = None) -> None:
        super().__init__(kept)
        self.kept = kept

    def __str__(self) -> str:
        what = f"nothing was written except {self.kept}, which was finished before" if self.kept else "nothing was written"
        return f"Cancelled: {what}."


@contextmanager
def keeping(path: str) -> Iterator[None]:
    """If this block, which makes the further outputs of a run, is cancelled, the message says that `path` is already finished."""
    try:
        yield
    except Cancelled:
        raise Cancelled(path) from None


class Progress:
    """Callable through which long work reports its progress, at least every second.

    `report(fraction, message)` receives a fraction of the whole, 0..1, and a short text such as "training, step 40 of 100, loss 0.91". It
    raises `Cancelled` when the work has to stop.
    """

    def __init__(self, report: Callable[[float, str], object] | None = None, start: float = 0.0, end: float = 1.0) -> None:
        self._report = report
        self._start = start
        self._end = end

    def __call__(self, fraction: float, message: str) -> None:
        if self._report is not None:
            self._report(self._start + (self._end - self._start) * min(max(fraction, 0.0), 1.0), message)

    def part(self, start: float, end: float) -> Progress:
        """The share from `start` to `end` (0..1) of this progress, for a phase of the work."""
        span = self._end - self._start
        return Progress(self._report, self._start + span * start, self._start + span * end)
