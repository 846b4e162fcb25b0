"""What sessions at the desktop share (desktop_session.py, review_session.py): a heartbeat, waiting, clicks, and the report.

The environment variable SCOREAD_DESKTOP names a folder for results and `report.json`. The steps of a session are a generator that a timer
continues, so that the event loop runs as it does for a user, and whoever blocks it is found out.
"""

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from qgis.core import Qgis, QgsApplication
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtTest import QTest

FOLDER = Path(os.environ["SCOREAD_DESKTOP"])
START = time.monotonic()
report = {"qgis": Qgis.version(), "messages": [], "silences": {}}


class Heartbeat:
    """A timer in the event loop that notes each silence of more than 40 ms, in each phase of the session.

    A silence: seconds, and how many of these the main thread was ready to run while other programs had the processors; when; and what the
    other threads of Python were at when it was over.
    """

    def __init__(self):
        self._phase = None
        self._last, self._waited = time.monotonic(), _waited()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(10)

    def phase(self, name):
        self._tick()
        self._phase = name
        report["silences"].setdefault(name, [])

    def _tick(self):
        now, waited = time.monotonic(), _waited()
        silent, waiting = now - self._last, waited - self._waited
        self._last, self._waited = now, waited
        if self._phase and silent > 0.04:
            others = [frame for thread, frame in sys._current_frames().items() if thread != threading.main_thread().ident]
            at = [[f"{Path(call.filename).name}:{call.lineno}" for call in traceback.extract_stack(frame)[-4:]] for frame in others]
            report["silences"][self._phase].append([round(silent, 3), round(waiting, 3), round(now - START, 2), at])


def _waited():
    """Seconds that the main thread has been ready to run without a processor to run on (Linux; elsewhere 0)."""
    path = Path("/proc/self/schedstat")
    return int(path.read_text(encoding="ascii").split()[1]) / 1e9 if path.exists() else 0.0


def note(text, tag, level):
    report["messages"].append([tag, int(level), text])


def until(condition, seconds=60):
    """Go on once `condition()` is true, and return its value."""
    limit = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > limit:
            raise RuntimeError(f"waited {seconds} s in vain")
        yield
    return value


def pause(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def click(widget, place=None, how=QTest.mouseClick):
    how(widget, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place or widget.rect().center())


def start(steps):
    """Run the steps, write the report, and end QGIS."""

    def advance():
        try:
            next(running)
            return
        except StopIteration:
            pass
        except Exception:
            report["error"] = traceback.format_exc()
        report["waited"], report["seconds"] = _waited(), time.monotonic() - START
        (FOLDER / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        os._exit(0)  # QGIS would ask whether to save the project

    QgsApplication.messageLog().messageReceived[str, str, Qgis.MessageLevel].connect(note)
    running, stepper = steps(), QTimer()
    stepper.timeout.connect(advance)
    stepper.start(20)
    return stepper


heartbeat = Heartbeat()
