"""Run in the QGIS desktop (qgis --code scripts/tutorial.py) with the plugin enabled: one picture of docs/tutorial.md or docs/review.md,
which TUTORIAL names.

Goes through the steps of the tutorial as far as the picture needs, and touches the file that SHOT_READY names once all is drawn.
"""

import os
import tempfile
from pathlib import Path

import processing
from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog
from processing.modeler.ModelerDialog import ModelerDialog
from qgis.core import QgsApplication, QgsField, QgsProcessingContext, QgsProject
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QDialog, QDockWidget, QLineEdit, QToolBar, QTreeView
from qgis.utils import iface, plugins

PICTURE = os.environ["TUTORIAL"]
FOLDER = Path(tempfile.gettempdir()) / "tutorial"
WINDOW = (0, 0, 1400, 900)
shown = []  # keeps the dialogs alive
waiting = []  # steps to look at again


def path(name):
    return str(FOLDER / name)


def scene():
    FOLDER.mkdir(exist_ok=True)
    processing.runAndLoadResults("scoread:sample_scene", {"OUTPUT": path("Scene.tif")})
    layer = QgsProject.instance().mapLayersByName("Scene")[0]
    iface.mapCanvas().setExtent(layer.extent())


def maps():
    model = processing.run("scoread:train_sgm", {"INPUT": path("Scene.tif"), "MODEL": path("model.pt")})["MODEL"]
    processing.runAndLoadResults(
        "scoread:detect_anomalies", {"INPUT": path("Scene.tif"), "MODEL": model, "OUTPUT": path("Anomaly map.tif")}
    )
    processing.runAndLoadResults("scoread:threshold_anomalies", {"INPUT": path("Anomaly map.tif"), "REGIONS": path("Regions.gpkg")})
    for view in iface.mainWindow().findChildren(QTreeView):
        if view.objectName() == "theLayerTreeView":
            view.expandAll()


def find_panel():
    """The panel of Find anomalies, as the button of the toolbar opens it."""
    iface.mainWindow().setGeometry(*WINDOW)
    iface.mainWindow().findChild(QDockWidget, "Browser").hide()
    iface.mapCanvas().zoomToFullExtent()
    iface.mainWindow().findChild(QToolBar, "ScoreadToolbar").actions()[0].trigger()


def find():
    """Run it; its results come when they come."""
    panel = next(dialog for dialog in iface.mainWindow().findChildren(QDialog) if hasattr(dialog, "run_button"))
    panel.run_button.click()


def found():
    """Wait for them."""
    if QgsProject.instance().layerTreeRoot().findGroup("Anomalies of Scene") is None:
        waiting.append(found)


def report_dialog():
    """The dialog of Report reviewed anomalies on regions three of which are accepted."""
    regions = QgsProject.instance().mapLayersByName("Regions of Scene, rate 0.001")[0]
    regions.dataProvider().addAttributes([QgsField(name, 10) for name in ("verdict", "note", "reviewed")])
    regions.updateFields()
    column = regions.fields().indexOf("verdict")
    regions.dataProvider().changeAttributeValues({feature.id(): {column: "accepted"} for feature in regions.getFeatures("rank < 4")})
    from scoread_qgis.review.hand_on import open_report

    shown.append(open_report(regions))
    shown[-1].setGeometry(180, 120, 900, 640)


def toolbox():
    iface.mainWindow().setGeometry(*WINDOW)
    iface.mainWindow().findChild(QDockWidget, "Browser").hide()
    dock = iface.mainWindow().findChild(QDockWidget, "ProcessingToolbox")
    dock.show()
    dock.findChild(QLineEdit).setText("scoread")
    dock.findChild(QTreeView).expandAll()
    iface.mainWindow().resizeDocks([dock], [380], 1)
    QTimer.singleShot(1000, iface.mapCanvas().zoomToFullExtent)


def train_dialog():
    dialog = processing.createAlgorithmDialog("scoread:train_sgm", {"MODEL": path("model.pt")})
    shown.append(dialog)
    dialog.setGeometry(150, 120, 900, 620)
    dialog.show()


def batch_dialog():
    """The batch dialog with three flight lines filled in."""
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("scoread:screen_scenes_with_one_model")
    dialog = BatchAlgorithmDialog(algorithm, parent=iface.mainWindow())
    shown.append(dialog)
    panel, context = dialog.mainWidget(), QgsProcessingContext()
    panel.addRow(2)
    for row in range(3):
        for column, value in enumerate((path(f"line_{row + 1}.tif"), path("model.pt"))):
            panel.wrappers[row][column].setParameterValue(value, context)
        for column, name in ((3, "map"), (4, "regions")):
            ending = "tif" if name == "map" else "gpkg"
            panel.tblParameters.cellWidget(row + 1, column).setValue(path(f"line_{row + 1}_{name}.{ending}"))
    dialog.setGeometry(60, 160, 1280, 460)
    dialog.show()


def designer():
    window = ModelerDialog()
    shown.append(window)
    window.loadModel(path_of_model("detect_extract_and_explain"))
    window.setGeometry(*WINDOW)
    window.show()


def review():
    """The map in the dock, ready for a threshold."""
    iface.mainWindow().setGeometry(*WINDOW)
    for dock in iface.mainWindow().findChildren(QDockWidget):
        if dock.objectName() in ("Browser", "ProcessingToolbox"):
            dock.hide()
    processing.runAndLoadResults("scoread:detect_anomalies", {"INPUT": path("Scene.tif"), "OUTPUT": path("Anomaly map.tif")})
    dock = plugins["scoread_qgis"].dock
    dock.show_map(QgsProject.instance().mapLayersByName("Anomalies of Scene")[0])
    iface.mainWindow().resizeDocks([dock], [460], 1)
    iface.mapCanvas().zoomToFullExtent()


def more_pixels():
    panel = plugins["scoread_qgis"].dock.panel
    panel.threshold.set_rate(0.003)


def keep():
    plugins["scoread_qgis"].dock.panel.keep()


def judge():
    regions = plugins["scoread_qgis"].dock.panel.regions
    regions.give("accepted")
    regions.give("rejected")
    regions.note.setText("tarpaulin?")
    regions.note.editingFinished.emit()
    regions.give("later")


def alike():
    plugins["scoread_qgis"].dock.panel.regions.look_for_alike()


def path_of_model(name):
    import scoread_qgis

    return str(Path(scoread_qgis.__file__).parent / "resources" / "models" / f"{name}.model3")


def wait():
    """Until what runs in the background has ended."""


def ready():
    Path(os.environ["SHOT_READY"]).touch()


STEPS = {
    "train": (scene, toolbox, train_dialog),
    "regions": (scene, maps, toolbox),
    "find": (scene, find_panel),
    "found": (scene, find_panel, find, found),
    "hand_on": (scene, maps, toolbox, report_dialog),
    "batch": (scene, toolbox, batch_dialog),
    "designer": (designer,),
    "review_threshold": (scene, review, more_pixels, more_pixels),
    "review": (scene, review, more_pixels, keep, wait, judge, wait),
    "review_alike": (scene, review, more_pixels, keep, wait, judge, alike),
}


def go(steps):
    if not steps:
        QTimer.singleShot(4000, ready)
        return
    if QgsApplication.taskManager().countActiveTasks():
        QTimer.singleShot(500, lambda: go(steps))
        return
    steps[0]()
    left = [*waiting, *steps[1:]]
    waiting.clear()
    QTimer.singleShot(2500, lambda: go(left))


QTimer.singleShot(3000, lambda: go(list(STEPS[PICTURE])))
