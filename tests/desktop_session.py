"""What a user does at the desktop, step by step: run by QGIS itself (qgis --code), started by test_desktop.py.

The environment variable SCOREAD_DESKTOP names a folder with `scene.tif`; results and `report.json` go there. The steps are a generator that
a timer continues, so that the event loop runs as it does for a user, and whoever blocks it is found out.
"""

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from qgis.core import Qgis, QgsApplication, QgsProcessingContext, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QModelIndex, Qt, QTimer
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDialogButtonBox, QDockWidget, QLineEdit, QProgressBar, QTextEdit, QTreeView
from qgis.utils import iface

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


def open_dialog(title):
    """Look for an algorithm in the Toolbox, double-click it, and return its dialog."""
    dock = iface.mainWindow().findChild(QDockWidget, "ProcessingToolbox")
    dock.show()
    tree = dock.findChild(QTreeView)
    dock.findChild(QLineEdit).setText(title)
    yield from pause(0.5)
    tree.expandAll()

    def entry(parent):
        for row in range(tree.model().rowCount(parent)):
            index = tree.model().index(row, 0, parent)
            if tree.algorithmForIndex(index) is not None and index.data() == title:
                return index
            if (found := entry(index)) is not None:
                return found
        return None

    index = yield from until(lambda: entry(QModelIndex()))
    tree.scrollTo(index)
    place = tree.visualRect(index).center()
    # The dialog has an event loop of its own, so that the double click returns only when it is closed.
    QTimer.singleShot(0, lambda: (click(tree.viewport(), place), click(tree.viewport(), place, QTest.mouseDClick)))

    def dialog():
        windows = [w for w in QgsApplication.topLevelWidgets() if w.isVisible() and type(w).__name__ == "AlgorithmDialog"]
        return next((w for w in windows if w.algorithm().displayName() == title), None)

    return (yield from until(dialog))


def click(widget, place=None, how=QTest.mouseClick):
    how(widget, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place or widget.rect().center())


def start(dialog):
    """Click Run. Where QGIS runs something on its main thread, the click returns only at the end of that."""
    QTimer.singleShot(0, lambda: click(dialog.runButton()))


def batch_dialog(name, rows):
    """The batch dialog of an algorithm with a line for each of rows, {parameter: value}."""
    from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog

    algorithm = QgsApplication.processingRegistry().createAlgorithmById(name)
    dialog, context = BatchAlgorithmDialog(algorithm, parent=iface.mainWindow()), QgsProcessingContext()
    panel = dialog.mainWidget()
    panel.addRow(len(rows) - 1)
    for number, row in enumerate(rows):
        for parameter, value in row.items():
            column = panel.parameter_to_column[parameter]
            if algorithm.parameterDefinition(parameter).isDestination():
                panel.tblParameters.cellWidget(number + 1, column).setValue(value)
            else:
                panel.wrappers[number][column].setParameterValue(value, context)
    dialog.show()
    return dialog


def batch():
    """A batch, in which Escape does not close the dialog, and one that is cancelled."""
    scene = str(FOLDER / "scene.tif")
    rows = [{"INPUT": scene, "MODE": 1, "OUTER_WINDOW": 9, "OUTPUT": str(FOLDER / f"batch_{number}.tif")} for number in (1, 2)]
    dialog = batch_dialog("scoread:detect_rx", rows)
    yield from pause(0.5)
    heartbeat.phase("Batch")
    start(dialog)
    yield from until(lambda: 5 < dialog.findChild(QProgressBar).value() < 45)
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    dialog.close()
    report["open in the midst of a batch"] = dialog.isVisible()
    close = dialog.buttonBox().button(QDialogButtonBox.StandardButton.Close)
    report["close buttons"] = [close.isEnabled()]
    yield from until(lambda: (FOLDER / "batch_2.tif").exists() and dialog.runButton().isEnabled())
    yield from pause(0.5)
    heartbeat.phase(None)
    report["close buttons"].append(close.isEnabled())
    dialog.close()

    rows = [{"INPUT": scene, "MODE": 1, "OUTER_WINDOW": 41, "OUTPUT": str(FOLDER / "cancelled_batch.tif")}]
    dialog = batch_dialog("scoread:detect_rx", rows)
    yield from pause(0.5)
    start(dialog)
    yield from until(lambda: dialog.findChild(QProgressBar).value() > 35)
    clicked, spent = time.monotonic(), time.process_time()
    click(dialog.cancelButton())
    yield from until(dialog.runButton().isEnabled)
    report["batch cancelled after"] = time.monotonic() - clicked, time.process_time() - spent
    dialog.close()


def model():
    """A designer model, each of whose steps has a result."""
    results = {
        "Anomaly map": "model_map.tif", "Regions": "model_regions.gpkg", "Report": "model_report.html",
        "Table of regions": "model_table.csv",
    }  # fmt: skip
    dialog = yield from open_dialog("Detect, extract and explain")
    named = {d.name(): str(FOLDER / results[d.description()]) for d in dialog.algorithm().destinationParameterDefinitions()}
    dialog.setParameters({"INPUT": str(FOLDER / "scene.tif"), "MODEL": str(FOLDER / "model.pt"), **named})
    yield from run(dialog, "Model", lambda: all((FOLDER / file).exists() for file in results.values()) and dialog.runButton().isEnabled())
    dialog.close()


def run(dialog, phase, done):
    """Click Run and wait until `done()`; the silences of the event loop until then belong to `phase`."""
    yield from pause(0.5)
    heartbeat.phase(phase)
    start(dialog)
    yield from until(done)
    yield from pause(0.5)  # loading and drawing of the results
    heartbeat.phase(None)


def steps():
    project, canvas = QgsProject.instance(), iface.mapCanvas()
    scene = QgsRasterLayer(str(FOLDER / "scene.tif"), "scene")
    project.addMapLayer(scene)
    canvas.setExtent(scene.extent())
    yield from pause(1.5)

    dialog = yield from open_dialog("Train SGM")
    report["proposed"] = dialog.createProcessingParameters()["MODEL"]
    dialog.setParameters({"INPUT": scene, "MODEL": str(FOLDER / "model.pt")})
    yield from run(dialog, "Train SGM", lambda: (FOLDER / "model.pt").exists() and dialog.runButton().isEnabled())
    dialog.close()

    dialog = yield from open_dialog("Detect anomalies")
    report["remembered"] = dialog.createProcessingParameters()["MODEL"]
    dialog.setParameters({"INPUT": scene, "MODEL": str(FOLDER / "model.pt"), "OUTPUT": str(FOLDER / "anomalies.tif")})
    yield from run(dialog, "Detect anomalies", lambda: len(project.mapLayers()) > 1)
    dialog.close()

    tree = [node.layer() for node in project.layerTreeRoot().findLayers()]
    report["layer tree"] = [[layer.name(), layer.source(), layer.renderer().type()] for layer in tree]
    project.setBackgroundColor(QColor("black"))
    project.layerTreeRoot().findLayer(scene).setItemVisibilityChecked(False)
    iface.mainWindow().setGeometry(0, 0, 1400, 900)
    for panel in iface.mainWindow().findChildren(QDockWidget):
        panel.hide()  # so that the canvas is large enough to tell one pixel of the map from the next
    yield from pause(0.5)
    canvas.setExtent(scene.extent())
    canvas.refresh()
    yield from pause(0.5)
    yield from until(lambda: not canvas.isDrawing())
    canvas.saveAsImage(str(FOLDER / "canvas.png"))  # with a world file

    dialog = yield from open_dialog("Train SGM")
    dialog.setParameters({"INPUT": scene, "MODE": 1, "MODEL": str(FOLDER / "cancelled.pt")})
    yield from pause(0.5)
    start(dialog)
    yield from until(lambda: dialog.findChild(QProgressBar).value() > 11)  # per cent; the scene is read by then
    clicked, spent = time.monotonic(), time.process_time()
    click(dialog.cancelButton())
    yield from until(dialog.runButton().isEnabled)
    report["cancelled after"] = time.monotonic() - clicked, time.process_time() - spent
    report["cancel"] = dialog.findChild(QTextEdit, "txtLog").toPlainText()
    dialog.close()

    yield from batch()
    yield from model()


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
heartbeat, running, stepper = Heartbeat(), steps(), QTimer()
stepper.timeout.connect(advance)
stepper.start(20)
