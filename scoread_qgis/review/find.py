"""Find anomalies in this layer: from a scene to its map and its first place, in the background, at the default settings."""

import qgis.utils
from qgis.core import (
    QgsApplication,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsReferencedRectangle,
    QgsTask,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QButtonGroup, QComboBox, QDialog, QDialogButtonBox, QFormLayout, QLabel, QRadioButton, QVBoxLayout

from ..algorithms.dialogs import is_few_bands, lasting_path, scenes
from ..algorithms.inputs import raster_source
from ..styles import has_first_bands, show_in_colour
from ..translation import tr
from ..workflows.parameters import RATE

TITLE = "ScoreAD"
_FOLDER = "scoread_results"  # in the profile, for scenes whose folder is read-only


class FindPanel(QDialog):
    """The small panel: which scene, where, Run. `found(map, regions)` is emitted with the layers once they are in the project."""

    found = pyqtSignal(object, object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setWindowTitle(tr("Find anomalies"))
        self.run = self._selection = None
        self._scenes, self._passed_over = [], ""
        self.scene = QComboBox()
        self.whole = QRadioButton(tr("Whole layer"))
        self.canvas = QRadioButton(tr("What the canvas shows"))
        self.polygons = QRadioButton()
        self.kept, self.note = QLabel(wordWrap=True), QLabel(wordWrap=True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.run_button = buttons.addButton(tr("Run"), QDialogButtonBox.ButtonRole.AcceptRole)
        self.run_button.setDefault(True)
        buttons.accepted.connect(self._start)
        buttons.rejected.connect(self.reject)
        self.scene.currentIndexChanged.connect(self._show_choice)
        form, layout, self._where = QFormLayout(), QVBoxLayout(self), QButtonGroup(self)
        form.addRow(tr("Scene"), self.scene)
        for row, choice in enumerate((self.whole, self.canvas, self.polygons)):
            self._where.addButton(choice)
            form.addRow("" if row else tr("Where"), choice)
        layout.addLayout(form)
        for widget in (self.note, self.kept, buttons):
            layout.addWidget(widget)
        self.setMinimumWidth(420)

    def refresh(self):
        """Offer what the project has now, the best choice first."""
        self._scenes, active = scenes(), qgis.utils.iface.activeLayer()
        self.scene.blockSignals(True)
        self.scene.clear()
        for layer in self._scenes:
            self.scene.addItem(tr("{name} ({count} bands)").format(name=layer.name(), count=layer.bandCount()), layer.id())
        self.scene.blockSignals(False)
        self._selection = _selected_polygons(active)
        self.polygons.setEnabled(self._selection is not None)
        self.polygons.setText(
            tr("Selected polygons")
            if self._selection is None
            else tr("{count} selected polygons of {name}").format(count=self._selection.selectedFeatureCount(), name=self._selection.name())
        )
        self.whole.setChecked(True)
        self._passed_over = active.name() if isinstance(active, QgsRasterLayer) and active not in self._scenes[:1] else ""
        self._show_choice()
        self.run_button.setFocus()

    def stop(self):
        """Cancel what is under way."""
        if self.run is not None:
            self.run.cancel()

    def _chosen(self):
        return QgsProject.instance().mapLayer(self.scene.currentData() or "")

    def _show_choice(self):
        layer, (ready, missing) = self._chosen(), _algorithm("detect_anomalies").canExecute()
        if not ready:
            note = missing
        elif layer is None:
            note = tr("There is no scene in this project. Add a raster with many spectral bands, which QGIS reads from a file.")
        elif self.run is not None:
            note = tr("Anomalies are being found already: the progress is at the bottom of the window.")
        elif is_few_bands(layer):
            note = tr("{} has few bands, as photographs have: little tells anomalies from the background there.").format(layer.name())
        elif self._passed_over and layer == self._scenes[0]:
            note = tr("The active layer, {}, is not a scene; this one is.").format(self._passed_over)
        else:
            note = ""
        self.note.setText(note)
        self.note.setVisible(bool(note))
        self.run_button.setEnabled(ready and layer is not None and self.run is None)
        places = [] if layer is None else [lasting_path(layer.source(), ending, _FOLDER) for ending in (".anomalies.tif", ".regions.gpkg")]
        self.kept.setText("\n".join([tr("Map and regions are kept in"), *places]) if places else "")

    def _start(self):
        layer, area = self._chosen(), {}
        if self.canvas.isChecked():
            canvas = qgis.utils.iface.mapCanvas()
            area = {"EXTENT": QgsReferencedRectangle(canvas.extent(), canvas.mapSettings().destinationCrs())}
        elif self.polygons.isChecked():
            area = {"MASK": self._selection.id(), "SELECTED": True}
        self.run = FindRun(layer, area)
        self.run.ended.connect(self._ended)
        self.run.start()
        self.accept()

    def _ended(self, score_map, regions):
        self.run = None
        if score_map is not None:
            self.found.emit(score_map, regions)
        if self.isVisible():
            self.refresh()


class FindRun(QObject):
    """One run: detection and extraction as QGIS' own tasks, one after the other, and their results in a group above the scene.

    `ended(map, regions)` is emitted with the layers, None for those that there are not.
    """

    ended = pyqtSignal(object, object)

    def __init__(self, scene, area):
        super().__init__()
        self._scene, self._id, self._name, self._area = scene, scene.id(), scene.name(), area
        self._map, self._regions = (lasting_path(scene.source(), ending, _FOLDER) for ending in (".anomalies.tif", ".regions.gpkg"))
        self._tasks = []  # which Python would drop, and QGIS with them

    def start(self):
        if has_first_bands(self._scene):
            self._colour()
        self._run("detect_anomalies", {"INPUT": self._id, **self._area, "OUTPUT": self._map}, self._detected)

    def cancel(self):
        self._feedback.cancel()

    def _colour(self):
        """Show the scene in colour once it is known how, unless it was removed or changed in the meantime."""
        from ..scenes.thumbnail import colour_limits

        source = raster_source(self._scene, tr("The scene"))

        def look(task):
            raster = source.open()
            return raster.count, colour_limits(raster)

        def show(error, found=None):
            layer = QgsProject.instance().mapLayer(self._id)
            if error is None and found and layer is not None and has_first_bands(layer) and layer.bandCount() == found[0]:
                show_in_colour(layer, found[1])
                layer.triggerRepaint()
                layer.emitStyleChanged()

        self._tasks.append(QgsTask.fromFunction(tr("Colours of {}").format(self._name), look, on_finished=show))
        QgsApplication.taskManager().addTask(self._tasks[-1])

    def _run(self, name, parameters, then):
        self._context, self._feedback = QgsProcessingContext(), _Feedback()
        self._context.setProject(QgsProject.instance())
        self._task = QgsProcessingAlgRunnerTask(_algorithm(name), parameters, self._context, self._feedback)
        self._refused = self._task.isCanceled()  # before the work, which nothing is going to tell
        if self._refused:
            then(False, {})
            return
        self._task.executed.connect(then)
        QgsApplication.taskManager().addTask(self._task)

    def _detected(self, fine, results):
        if not fine:
            self._fail()
            self.ended.emit(None, None)
            return
        self._run("threshold_anomalies", {"INPUT": self._map, "REGIONS": self._regions}, self._extracted)

    def _extracted(self, fine, results):
        if not fine:  # the map is there nevertheless
            self._fail()
        self.ended.emit(*self._load(results.get("COUNT") if fine else None))

    def _fail(self):
        bar = qgis.utils.iface.messageBar()
        if self._feedback.isCanceled() and not self._refused:
            bar.pushInfo(TITLE, tr("Finding anomalies in {} was cancelled.").format(self._name))
        else:
            why = self._feedback.errors[0] if self._feedback.errors else tr("the message log says why")
            bar.pushCritical(TITLE, tr("Anomalies in {name} cannot be found: {why}").format(name=self._name, why=why))

    def _load(self, count):
        """Put the results into a group above the scene. count: of the regions, None where there are none."""
        project, bar = QgsProject.instance(), qgis.utils.iface.messageBar()
        node = project.layerTreeRoot().findLayer(self._id)
        if node is None:  # the project was closed, or the scene removed
            bar.pushInfo(TITLE, tr("The anomalies of {name} are in {path}.").format(name=self._name, path=self._map))
            return None, None
        score_map = QgsRasterLayer(self._map, tr("Anomalies of {}").format(self._name))
        regions = None
        if count is not None:
            how = tr("rate {:g}").format(RATE.default)
            regions = QgsVectorLayer(self._regions, tr("Regions of {scene}, {how}").format(scene=self._name, how=how), "ogr")
        parent = node.parent()
        group = parent.insertGroup(parent.children().index(node), tr("Anomalies of {}").format(self._name))
        for layer in (score_map, regions):
            if layer is not None:
                project.addMapLayer(layer, False)
                group.insertLayer(0, layer)
        qgis.utils.iface.setActiveLayer(score_map)
        if count:
            bar.pushSuccess(TITLE, tr("{count} regions in {name}.").format(count=count, name=self._name))
        elif count == 0:
            told = tr("Nothing in {name} stands out at a false-alarm rate of {rate:g}. Look at the map, or extract at a higher rate.")
            bar.pushInfo(TITLE, told.format(name=self._name, rate=RATE.default))
        return score_map, regions


class _Feedback(QgsProcessingFeedback):
    """Keeps what went wrong, for the message bar."""

    def __init__(self):
        super().__init__()
        self.errors = []

    def reportError(self, error, fatalError=False):
        self.errors.append(error)
        super().reportError(error, fatalError)


def _algorithm(name):
    return QgsApplication.processingRegistry().algorithmById(f"scoread:{name}")


def _selected_polygons(active):
    """A layer of polygons some of which are selected, the active one if it is; None where there is none."""
    layers = [active, *QgsProject.instance().mapLayers().values()]
    vectors = (layer for layer in layers if isinstance(layer, QgsVectorLayer) and layer.selectedFeatureCount())
    return next((layer for layer in vectors if layer.geometryType() == QgsWkbTypes.GeometryType.PolygonGeometry), None)
