"""Background work of the dock, of which only the latest matters."""

import time

import pytest

from scoread_qgis.core.loading import linking


@pytest.fixture
def latest(provider):
    from qgis.PyQt.QtCore import QObject

    from scoread_qgis.review.latest import Latest

    parent = QObject()
    yield Latest(parent)
    parent.deleteLater()


def wait(application, condition, seconds=30):
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        application.processEvents()
        time.sleep(0.005)
    return condition()


def test_work_waits_for_libraries_that_are_linked_and_the_window_does_not(qgis_app, latest):
    from qgis.core import QgsApplication

    found = []
    with linking:
        latest.start("first", lambda run: "first", found.append)
        latest.start("second", lambda run: "second", found.append)
        assert latest.busy and not wait(qgis_app, QgsApplication.taskManager().tasks, 0.2), "QGIS may create a thread for a task"
    assert wait(qgis_app, lambda: found) and not latest.busy
    assert found == ["second"] and wait(qgis_app, lambda: not latest._tasks), "nothing is kept of what was cancelled"


def test_the_first_is_not_told_once_there_is_a_second(qgis_app, latest):
    found, failed = [], []
    latest.start("first", lambda run: "first", found.append)
    latest.start("second", lambda run: 1 / 0, found.append, failed.append)
    assert wait(qgis_app, lambda: failed) and failed == ["ZeroDivisionError: division by zero"]
    assert not found and wait(qgis_app, lambda: not latest._tasks)
