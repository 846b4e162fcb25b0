"""Progress and cancellation for the detectors and the raster code."""

from __future__ import annotations

import re
import time
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


MEASURED_SECONDS = 1.0  # of a phase until its rate is known
_COUNT = re.compile(r",? (?:\w+ )?(\d+) of (\d+)\b")  # as in "training, step 40 of 100, loss 0.91"


class Narrator:
    """What a log says of progress: each phase once, and the time that is left of it when it is first known and each time it has halved.

    A phase is what a message says before it counts. The rate is that of the phase since its beginning, so that the time left falls in
    steady work whatever the phases before took; of messages that count nothing no time is told.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phase = ""
        self._phases: set[str] = set()
        self._began, self._first, self._last = 0.0, 0, 0
        self._told = float("inf")

    def __call__(self, message: str) -> str | None:
        """What is to be said of this message, if anything."""
        count = _COUNT.search(message)
        phase = message[: count.start()] if count else message
        done, total = (int(number) for number in count.groups()) if count else (0, 0)
        if phase != self._phase or done < self._last:  # several scenes have the same phase in turn
            self._phase, self._began, self._first, self._last, self._told = phase, self._clock(), done, done, float("inf")
            new = phase not in self._phases
            self._phases.add(phase)
            return phase if new else None
        further, self._last = done > self._last, done
        seconds = self._clock() - self._began
        if not further or seconds < MEASURED_SECONDS:
            return None
        left = seconds * (total - done) / (done - self._first)
        if left < MEASURED_SECONDS or left > self._told / 2:
            return None
        self._told = left
        return f"{message}, about {_duration(left)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
