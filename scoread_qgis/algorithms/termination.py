"""Ending QGIS without a desktop (qgis_process) in the middle of a run."""

import signal
import threading
from contextlib import contextmanager

import qgis.utils


@contextmanager
def ended_by_sigterm(feedback):
    """In this block SIGTERM, by which batch systems end a job, cancels the run first, so that it leaves nothing; then it ends the process.

    SIGINT QGIS itself turns into a cancel. A desktop, and whoever handles SIGTERM already, is left as it is.
    """
    alone = qgis.utils.iface is None and threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    asked = []

    def ask(number, frame):
        asked.append(number)
        feedback.cancel()

    signal.signal(signal.SIGTERM, ask)
    try:
        yield
    except Exception as end:
        if asked:
            feedback.reportError(str(end))
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if asked:
            signal.raise_signal(signal.SIGTERM)
