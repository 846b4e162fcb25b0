"""A Python thread for the work of a QGIS task."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from .loading import linking
from .progress import Cancelled

Result = TypeVar("Result")


ANSWER_SECONDS = 0.02  # between two calls of what is done meanwhile


def on_own_thread(work: Callable[[Callable[..., None]], Result], meanwhile: Callable[[], object] | None = None) -> Result:
    """Call `work(tell)` on a new thread, wait for it, and return what it returns or raise what it raises.

    `tell(function, *arguments)` has the waiting thread call a function, in order and without returning its result: QGIS feedback belongs
    to the thread of its task. If such a call raises, or the wait is interrupted, `tell` raises `Cancelled` from then on, so that the work
    ends.

    meanwhile: called again and again while this thread has nothing else to do, for a main thread that must answer its window. Work that it
    starts here in turn is waited for first.

    QGIS reuses its threads, but Python's state for such a thread is discarded at the end of each task. pybind11, as used by PyTorch up to
    2.6 and by scipy, keeps a pointer to the state of the thread that first imported one of its modules: the next task on that thread
    corrupts memory. A Python thread ends together with its state. Do not create QGIS objects on it: QGIS keeps some, such as its symbols,
    on the thread that first asks for them.
    """
    calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
    stopped = False

    def tell(function: Callable[..., object], *arguments: object) -> None:
        if stopped:
            raise Cancelled
        calls.put(partial(function, *arguments))

    with ThreadPoolExecutor(1, thread_name_prefix="scoread") as threads:
        with linking:  # a thread cannot be created meanwhile, and the wait for that would hold up all others
            future = threads.submit(work, tell)
        future.add_done_callback(lambda _: calls.put(None))
        try:
            while (call := _next(calls, meanwhile)) is not None:
                call()
        except BaseException:
            stopped = True
            raise
        return future.result()


def _next(calls: queue.SimpleQueue[Callable[[], object] | None], meanwhile: Callable[[], object] | None) -> Callable[[], object] | None:
    while meanwhile is not None:
        try:
            return calls.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            meanwhile()
    return calls.get()
