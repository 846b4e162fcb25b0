"""Work on a thread of Python's own, with the calls that the waiting thread makes for it."""

import signal
import threading
import time

import pytest

from scoread_qgis.core.loading import linking
from scoread_qgis.core.own_thread import on_own_thread
from scoread_qgis.core.progress import Cancelled


def test_result_and_errors_come_back():
    assert on_own_thread(lambda tell: 6 * 7) == 42
    with pytest.raises(ValueError, match="what is wrong"):
        on_own_thread(lambda tell: (_ for _ in ()).throw(ValueError("what is wrong")))


def test_calls_are_made_in_turn_by_the_thread_that_waits():
    made = []

    def work(tell):
        for number in range(100):
            tell(lambda number: made.append((number, threading.get_ident())), number)
        return threading.get_ident()

    worked_on = on_own_thread(work)
    assert made == [(number, threading.get_ident()) for number in range(100)]
    assert worked_on != threading.get_ident()


def endless(tell, ended):
    try:
        while True:
            tell(time.sleep, 0)
            time.sleep(0.005)
    except Cancelled:
        ended.append("stopped")
        raise


def test_a_call_that_fails_stops_the_work():
    ended = []

    def work(tell):
        tell([].pop)
        endless(tell, ended)

    with pytest.raises(IndexError):
        on_own_thread(work)
    assert ended == ["stopped"]


@pytest.mark.only_on("linux", "darwin")
def test_an_interrupt_stops_the_work():
    ended = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.1, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            on_own_thread(lambda tell: endless(tell, ended))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["stopped"]


def test_the_waiting_thread_does_something_meanwhile_even_such_work():
    """As a main thread that processes events, in which the user starts another run."""
    made, nested = [], []

    def meanwhile():
        if not nested:
            nested.append(threading.get_ident())
            nested.append(on_own_thread(lambda tell: threading.get_ident(), lambda: None))
        made.append("meanwhile")

    def work(tell):
        limit = time.monotonic() + 60
        while len(made) < 5 and time.monotonic() < limit:
            time.sleep(0.001)
        tell(made.append, "call")
        return "result"

    assert on_own_thread(work, meanwhile) == "result"
    assert made.index("call") >= 5
    assert made[-1] == "call", "nothing is done once the work has ended"
    assert nested[0] == threading.get_ident() != nested[1]


def test_no_thread_is_created_while_libraries_are_linked():
    """glibc would have its creation wait, and Python holds the interpreter lock during that wait: all other threads would stand still."""
    worked = []
    with linking:
        waiting = threading.Thread(target=on_own_thread, args=(worked.append,))
        waiting.start()
        time.sleep(0.2)
        assert not worked and not [thread for thread in threading.enumerate() if thread.name.startswith("scoread")]
    waiting.join()
    assert worked


class TestInATaskOfQGIS:
    """QGIS uses its threads again, while Python's state of such a thread ends with each task."""

    @pytest.fixture
    def in_a_task(self, provider, qgis_app):
        from conftest import LogFeedback
        from qgis.core import QgsApplication, QgsProcessingAlgRunnerTask, QgsProcessingContext

        def run(name, parameters):
            """Run an algorithm as its dialog does, and return the feedback."""
            feedback, context, ended = LogFeedback(), QgsProcessingContext(), []
            task = QgsProcessingAlgRunnerTask(provider.algorithm(name).create(), parameters, context, feedback)
            task.executed.connect(lambda succeeded, results: ended.append(succeeded))
            QgsApplication.taskManager().addTask(task)
            limit = time.monotonic() + 60
            while not ended and time.monotonic() < limit:
                qgis_app.processEvents()
                time.sleep(0.005)
            assert ended == [True], feedback.lines
            return feedback

        return run

    def test_each_run_has_a_new_thread(self, in_a_task, sample, tmp_path, monkeypatch):
        from scoread_qgis.algorithms import base

        seen = []
        load = base.load_torch
        monkeypatch.setattr(base, "load_torch", lambda: (seen.append(threading.current_thread()), load()))
        for name in ("first.tif", "second.tif"):
            feedback = in_a_task("detect_rx", {"INPUT": sample.path, "OUTPUT": str(tmp_path / name)})
            assert feedback.fractions[-1] == 100
            assert feedback.texts
        first, second = seen
        assert first is not second
        for thread in seen:  # Python did not only adopt a thread of somebody else's
            assert not isinstance(thread, threading._DummyThread)
            assert thread is not threading.main_thread()
            assert not thread.is_alive()

    def test_progress_moves_within_the_steps_of_a_model(self, in_a_task, sample, tmp_path, monkeypatch):
        """A model's steps have a feedback that hears of progress on the thread of the task alone."""
        monkeypatch.setattr("scoread_qgis.algorithms.base.REPORT_SECONDS", 0)  # the steps are over in less
        feedback = in_a_task("train_and_detect", {"INPUT": sample.path, "detect:Anomaly map": str(tmp_path / "map.tif")})
        assert any(0 < fraction < 50 for fraction in feedback.fractions), "the first of two steps is half of it"
        assert feedback.fractions == sorted(feedback.fractions)
