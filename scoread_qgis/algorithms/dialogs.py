"""What the dialog of an algorithm opens with: the layers and the model that a user most likely means, and a place for a model that lasts.

Only the widgets of a dialog are filled in, where the user sees it. No parameter has such a default, so that scripts, batch, designer
models and
qgis_process never take a layer or a file that nobody named.
"""

import itertools
import os
import re

import qgis.utils
from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingUtils,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ..core.files import check_place
from ..scenes.input_files import named_files
from .files import sources_of

SCORES = ("Anomaly score", "RX anomaly score", "Target score")  # what detectors call the band of their maps
TRUTH = "truth"  # what Create sample scene and Import MATLAB scene call the band of theirs
_ENTRY = ("scoread", "model")  # of the project, where the last model is


def open_dialog(algorithm, parent):
    """QGIS' own dialog for the algorithm, with what its PRESETS find: name of a parameter -> function that returns a value or None."""
    from processing.gui.AlgorithmDialog import AlgorithmDialog

    dialog = AlgorithmDialog(algorithm, parent=parent)
    found = {name: find() for name, find in algorithm.PRESETS.items() if algorithm.parameterDefinition(name) is not None}
    dialog.setParameters({name: value for name, value in found.items() if value is not None})
    return dialog


def best_scene():
    """The active layer where it has the bands of a scene, else the raster with most bands that is not a map of a detector."""
    found = scenes()
    return found[0].id() if found else None


def scenes():
    """Rasters that may be scenes, as they are no maps of a detector and no ground truth, the most likely one first."""
    found = [layer for layer in _rasters() if not _has_band(layer, (*SCORES, TRUTH))]
    return sorted(found, key=lambda layer: (layer != _active() or is_few_bands(layer), -layer.bandCount()))


def is_few_bands(layer):
    """Whether a raster has as few bands as photographs and multispectral scenes."""
    from ..workflows.sources import FEW_BANDS

    return layer.bandCount() < FEW_BANDS


def best_map():
    """The active layer where it is a map of a detector, else the uppermost of these."""
    maps = _maps()
    return maps[0].id() if maps else None


def maps_to_compare():
    """The map that `best_map` finds and all others on its grid."""
    maps = _maps()
    same = [each for each in maps if (each.extent(), each.width(), each.height()) == (maps[0].extent(), maps[0].width(), maps[0].height())]
    return [layer.id() for layer in same] or None


def truth_map():
    return next((layer.id() for layer in _rasters() if _has_band(layer, (TRUTH,))), None)


def regions_found():
    """The uppermost layer of regions that Extract anomalies made."""
    return next(_with_fields("rank", "peak", "p_value"), None)


def reviewed_regions():
    """The active layer where it has regions that were reviewed, else the uppermost of these."""
    found = list(_with_fields("verdict"))
    return next((id for id in found if _active() is not None and id == _active().id()), found[0] if found else None)


def features_selected():
    """The selected features of the active layer, or else of the uppermost vector layer that has some."""
    layers = sorted((each for each in _layers() if isinstance(each, QgsVectorLayer)), key=lambda layer: layer != _active())
    return next((QgsProcessingFeatureSourceDefinition(each.id(), True) for each in layers if each.selectedFeatureCount()), None)


def last_model():
    """File of the model that was trained last in this project, where it is still there."""
    project = QgsProject.instance()
    path, _ = project.readEntry(*_ENTRY)
    path = project.readPath(path) if path else ""
    return path if os.path.isfile(path) else None


def remember_model(path, project):
    """Keep with a project which model was trained last, unless the file goes when QGIS is closed."""
    if project is not None and not _is_temporary(path):
        project.writeEntry(*_ENTRY, project.writePath(path))


def propose_model(dialog, scene, model):
    """Have the output `model` of a dialog follow the parameter `scene`, see `model_path`, until the user chooses a file."""
    wrappers, context = dialog.mainWidget().wrappers, QgsProcessingContext()
    context.setProject(QgsProject.instance())
    proposed = wrappers[model].parameterValue()

    def follow(*_):
        nonlocal proposed
        sources = sources_of(dialog.algorithm().parameterDefinition(scene), {scene: wrappers[scene].parameterValue()}, context)
        if sources and wrappers[model].parameterValue() == proposed:
            wrappers[model].setParameterValue(model_path(sources[0]), context)
            proposed = wrappers[model].parameterValue()

    wrappers[scene].widgetValueHasChanged.connect(follow)
    follow()


def model_path(source):
    """A new file for the model of a scene, see `lasting_path`."""
    return lasting_path(source, ".scoread.pt", "scoread_models")


def lasting_path(source, ending, folder):
    """A new file about a scene: beside it, or in a folder of the profile where the scene is temporary or its own folder is read-only.

    ending: of its name, two suffixes.
    """
    files = named_files(source)
    layer = next((layer.name() for layer in _rasters() if layer.source() == source), "scene")
    if files and not _is_temporary(files[0]):
        stem = os.path.splitext(files[0])[0]
        try:
            check_place(f"{stem}{ending}", "result")
            return _unused(stem, ending)
        except ValueError:
            layer = os.path.basename(stem)
    folder = os.path.join(QgsApplication.qgisSettingsDirPath(), folder)
    os.makedirs(folder, exist_ok=True)
    return _unused(os.path.join(folder, re.sub(r"[^\w .-]", "_", layer).strip(" .") or "scene"), ending)


def _unused(stem, ending):
    what, suffix = os.path.splitext(ending)
    numbered = (f"{stem}{what}{number}{suffix}" for number in itertools.chain([""], (f"-{count}" for count in itertools.count(2))))
    return os.path.normpath(next(path for path in numbered if not os.path.lexists(path)))


def _is_temporary(path):
    return os.path.realpath(path).startswith(os.path.realpath(QgsProcessingUtils.tempFolder()) + os.sep)


def _active():
    return None if qgis.utils.iface is None else qgis.utils.iface.activeLayer()


def _layers():
    """Layers of the project from top to bottom."""
    return [node.layer() for node in QgsProject.instance().layerTreeRoot().findLayers() if node.layer() is not None]


def _rasters():
    return [layer for layer in _layers() if isinstance(layer, QgsRasterLayer) and layer.isValid() and layer.providerType() == "gdal"]


def _with_fields(*names):
    """Ids of the vector layers that have these fields, from top to bottom."""
    vectors = (layer for layer in _layers() if isinstance(layer, QgsVectorLayer))
    return (layer.id() for layer in vectors if set(names) <= set(layer.fields().names()))


def _has_band(layer, names):
    """Whether the only band of a raster is called one of names; QGIS puts its number before it."""
    return layer.bandCount() == 1 and layer.bandName(1).partition(": ")[2] in names


def _maps():
    """Maps of detectors from top to bottom, the active layer before them."""
    return sorted((layer for layer in _rasters() if _has_band(layer, SCORES)), key=lambda layer: layer != _active())
