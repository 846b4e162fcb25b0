"""Reading the next part of a scene while the one before is worked on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any


class ReadingOnDemand:
    """`next()` returns `read(*span)` of one of the spans after the other."""

    def __init__(self, read: Callable[..., Any], spans: Sequence[tuple[int, ...]]) -> None:
        self._read, self._spans = read, iter(spans)

    def __enter__(self) -> ReadingOnDemand:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is under way."""

    def next(self) -> Any:
        return self._read(*next(self._spans))


class ReadingAhead(ReadingOnDemand):
    """The same, but reads the span after it on a thread, one at a time, which the end of the `with` block waits for.

    What a read raises, `next()` raises in its place.
    """

    _ahead: Future[Any] | None = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._ahead is not None:
            self._ahead.exception()

    def next(self) -> Any:
        ahead, self._ahead = self._ahead, None
        result = super().next() if ahead is None else ahead.result()
        span = next(self._spans, None)
        if span is not None:
            # A thread for each read: none is left waiting, whatever becomes of the caller.
            threads = ThreadPoolExecutor(1, thread_name_prefix="scoread-reading")
            self._ahead = threads.submit(self._read, *span)
            threads.shutdown(wait=False)
        return result
