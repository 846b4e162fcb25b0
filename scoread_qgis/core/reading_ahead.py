"""Reading the next part of a scene while the one before is worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any


class ReadingOnDemand:
    """`next()` returns `read(*span)` of one of the spans after the other."""

    def __init__(self, read: Callable[..., Any], spans: Sequence[tuple[Any, ...]]) -> None:
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

    _thread: threading.Thread | None = None
    _ahead: Future[Any]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._thread is not None:
            self._thread.join()

    def next(self) -> Any:
        if self._thread is None:
            result = super().next()
        else:
            self._thread.join()
            self._thread, ahead = None, self._ahead
            result = ahead.result()
        span = next(self._spans, None)
        if span is not None:
            # A thread for each read: none is left waiting, whatever becomes of the caller.
            self._ahead = Future()
            self._thread = threading.Thread(target=self._fulfil, args=(self._ahead, span), name="scoread-reading")
            self._thread.start()
        return result

    def _fulfil(self, ahead: Future[Any], span: tuple[Any, ...]) -> None:
        try:
            ahead.set_result(self._read(*span))
        except BaseException as error:  # for the thread that asks for it
            ahead.set_exception(error)
