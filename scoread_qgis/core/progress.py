"""Progress and cancellation, as the science and the raster code see them."""

from contextlib import contextmanager


class Cancelled(Exception):
    """The user cancelled; everything unwinds through its `with` and `finally` blocks.

    Its text is what the user is told, wherever the run was started. kept: the file that was finished before, if any.
    """

    def __init__(self, kept=None):
        super().__init__(kept)
        self.kept = kept

    def __str__(self):
        what = f"nothing was written but {self.kept}, which was finished before" if self.kept else "nothing was written"
        return f"Cancelled: {what}."


@contextmanager
def keeping(path):
    """A cancel in this block, where what else belongs to a run is made, says that `path` is there already."""
    try:
        yield
    except Cancelled:
        raise Cancelled(path) from None


class Progress:
    """Callable that long work calls with how far it is, at least every second.

    `report(fraction, message)` receives a fraction of the whole, 0..1, and a short text such as "training, step 40 of 100, loss 0.91". It raises
    `Cancelled` when the work has to stop.
    """

    def __init__(self, report=None, start=0.0, end=1.0):
        self._report = report
        self._start = start
        self._end = end

    def __call__(self, fraction, message):
        if self._report is not None:
            self._report(self._start + (self._end - self._start) * min(max(fraction, 0.0), 1.0), message)

    def part(self, start, end):
        """The share from `start` to `end` (0..1) of this progress, for a phase of the work."""
        span = self._end - self._start
        return Progress(self._report, self._start + span * start, self._start + span * end)
