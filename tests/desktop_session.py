"""What a user does at the desktop, step by step: run by QGIS itself (qgis --code), started by test_desktop.py, see desktop_steps.py.

The folder of the session holds `scene.tif`.
"""

import time

from desktop_steps import FOLDER, click, heartbeat, pause, report, start, until
from qgis.core import Qgis, QgsApplication, QgsProcessingContext, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QModelIndex, Qt, QTimer
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox, QDockWidget, QLineEdit, QProgressBar, QTextEdit, QToolBar, QTreeView
from qgis.utils import iface, plugins

ON_MAIN_THREAD = Qgis.versionInt() < 32600  # batches and designer models


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


def press_run(dialog):
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
    """A batch, in which Escape does not close the dialog where it waits on the main thread, and one that is cancelled."""
    scene = str(FOLDER / "scene.tif")
    rows = [{"INPUT": scene, "MODE": 1, "OUTER_WINDOW": 9, "OUTPUT": str(FOLDER / f"batch_{number}.tif")} for number in (1, 2)]
    dialog = batch_dialog("scoread:detect_rx", rows)
    yield from pause(0.5)
    heartbeat.phase("Batch")
    press_run(dialog)
    yield from until(lambda: 5 < dialog.findChild(QProgressBar).value() < 45)
    close = dialog.buttonBox().button(QDialogButtonBox.StandardButton.Close)
    if ON_MAIN_THREAD:
        QTest.keyClick(dialog, Qt.Key.Key_Escape)
        dialog.close()
        report["open in the midst of a batch"] = dialog.isVisible()
        report["close buttons"] = [close.isEnabled()]
    yield from until(lambda: (FOLDER / "batch_2.tif").exists() and dialog.runButton().isEnabled())
    yield from pause(0.5)
    heartbeat.phase(None)
    report.setdefault("close buttons", []).append(close.isEnabled())
    dialog.close()

    rows = [{"INPUT": scene, "MODE": 1, "OUTER_WINDOW": 41, "OUTPUT": str(FOLDER / "cancelled_batch.tif")}]
    dialog = batch_dialog("scoread:detect_rx", rows)
    yield from pause(0.5)
    press_run(dialog)
    yield from until(lambda: dialog.findChild(QProgressBar).value() > 35)
    clicked, spent = time.monotonic(), time.process_time()
    click(dialog.cancelButton())
    yield from until(dialog.runButton().isEnabled)
    report["batch cancelled after"] = time.monotonic() - clicked, time.process_time() - spent
    yield from pause(1)  # QGIS still has a little to do with its dialog
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
    press_run(dialog)
    yield from until(done)
    yield from pause(0.5)  # loading and drawing of the results
    heartbeat.phase(None)


def find(scene):
    """From the open scene to the first place in two clicks: the button of the toolbar, and Run."""
    project, canvas, window = QgsProject.instance(), iface.mapCanvas(), iface.mainWindow()
    bar = window.findChild(QToolBar, "ScoreadToolbar")
    seen = report["find"] = {"bands before": bands(scene)}
    heartbeat.phase("Find anomalies")
    click(bar.widgetForAction(bar.actions()[0]))
    panel = yield from until(lambda: next((w for w in window.findChildren(QDialog) if w.isVisible() and hasattr(w, "run_button")), None))
    seen["offered"] = [panel.scene.itemText(index) for index in range(panel.scene.count())]
    seen["polygons"] = panel.polygons.isEnabled()
    click(panel.run_button)
    seen["tasks"] = [task.description() for task in QgsApplication.taskManager().activeTasks()]
    root = project.layerTreeRoot()
    group = yield from until(lambda: root.findGroup("Anomalies of scene"), 150)
    dock = plugins["scoread_qgis"].dock
    regions = (yield from until(lambda: dock.panel)).regions
    yield from until(lambda: regions.current >= 0)
    yield from pause(0.5)
    heartbeat.phase(None)
    seen["dock"] = [dock.isVisible(), dock.panel.tabs.currentIndex(), int(regions.model.regions.columns["rank"][regions.current])]
    seen["tree"] = [node.name() for node in root.children()]
    seen["group"] = [node.layer().name() for node in group.findLayers()]
    map_layer, regions = (node.layer() for node in reversed(group.findLayers()))
    seen["renderer"], seen["files"] = map_layer.renderer().type(), [map_layer.source(), regions.source()]
    seen["bands"], seen["active"] = bands(scene), iface.activeLayer().name()
    (first,) = regions.getFeatures("rank = 1")
    view, place = canvas.extent(), first.geometry().boundingBox().center()
    seen["off centre"] = view.center().distance(place) / view.width()
    seen["share of the scene"] = view.width() / scene.extent().width()
    project.removeMapLayers([map_layer.id(), regions.id()])
    root.removeChildNode(group)
    dock.hide()


def bands(layer):
    return [layer.renderer().redBand(), layer.renderer().greenBand(), layer.renderer().blueBand()]


def steps():
    project, canvas = QgsProject.instance(), iface.mapCanvas()
    scene = QgsRasterLayer(str(FOLDER / "scene.tif"), "scene")
    project.addMapLayer(scene)
    canvas.setExtent(scene.extent())
    yield from pause(1.5)
    yield from find(scene)

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
    press_run(dialog)
    yield from until(lambda: dialog.findChild(QProgressBar).value() > 11)  # per cent; the scene is read by then
    clicked, spent = time.monotonic(), time.process_time()
    click(dialog.cancelButton())
    yield from until(dialog.runButton().isEnabled)
    report["cancelled after"] = time.monotonic() - clicked, time.process_time() - spent
    report["cancel"] = dialog.findChild(QTextEdit, "txtLog").toPlainText()
    dialog.close()

    yield from batch()
    yield from model()


session = start(steps)
