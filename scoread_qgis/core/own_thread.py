"""A thread of Python's own for the work of a task of QGIS."""

import queue
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from .progress import Cancelled


def on_own_thread(work):
    """Call `work(tell)` on a new thread, wait for it, and return what it returns or raise what it raises.

    `tell(function, *arguments)` has the waiting thread call a function, in turn and without an answer: feedback of QGIS is connected to the
    thread of its task. If such a call raises, or the wait is interrupted, `tell` raises `Cancelled` from then on, so that the work ends.

    QGIS uses its threads again, while what Python keeps of such a thread ends with each task. pybind11, as PyTorch up to 2.6 and scipy have
    it, goes on using what it found on the thread that imported the first of its modules: the next task there corrupts the memory of QGIS.
    A thread of Python's own ends together with what Python keeps of it. Nothing of QGIS is to be made on it: QGIS keeps objects, such as its
    symbols, on the thread that first asks for them.
    """
    calls = queue.SimpleQueue()
    stopped = False

    def tell(function, *arguments):
        if stopped:
            raise Cancelled
        calls.put(partial(function, *arguments))

    with ThreadPoolExecutor(1, thread_name_prefix="scoread") as threads:
        future = threads.submit(work, tell)
        future.add_done_callback(lambda _: calls.put(None))
        try:
            for call in iter(calls.get, None):
                call()
        except BaseException:
            stopped = True
            raise
        return future.result()
