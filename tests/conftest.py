"""Scenes and a Processing provider for all tests. They run the plugin as it was built (`make build`)."""

import filecmp
import gc
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
BUILT = ROOT / "build" / "scoread_qgis"
QGIS = importlib.util.find_spec("qgis") is not None


class WithoutQGIS:
    """Where there is no QGIS, whatever imports it is skipped: a test, or a file of tests."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("qgis", "processing"):
            pytest.skip("needs QGIS", allow_module_level=True)


if not QGIS:
    sys.meta_path.append(WithoutQGIS)

    @pytest.fixture(scope="session")
    def qgis_app():
        pytest.skip("needs QGIS")

    qgis_processing = qgis_iface = qgis_new_project = qgis_app


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_data: uses the real scenes in ../shared/data, and is skipped where they are absent")
    config.addinivalue_line("markers", "only_on(platform, ...): uses what only these have, as sys.platform calls them")
    if hasattr(config, "workerinput"):
        return
    if stale := [str(path) for path in _sources() if not _is_built(path)]:
        raise pytest.UsageError(f"The tests run the built plugin, and {stale[0]} has changed since: run `make build`, or `make test`.")


def _sources():
    for folder in ("scoread_qgis", "resources"):
        yield from (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")


def _is_built(source):
    built = BUILT.parent / source if source.parts[0] == BUILT.name else BUILT / source
    return built.is_file() and filecmp.cmp(ROOT / source, built, shallow=False)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("needs_data") and not DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"needs the real scenes in {DATA}"))
        only = item.get_closest_marker("only_on")
        if only and sys.platform not in only.args:
            item.add_marker(pytest.mark.skip(reason=f"needs {' or '.join(only.args)}"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    if nextitem is None:
        item.funcargs.clear()  # pytest itself keeps those of the last test until QGIS is gone, see below


@pytest.fixture(scope="session", autouse=True)
def nothing_outlives_qgis(request):
    """Layers and rasters that only cycles keep alive, such as those of expected errors, go before QGIS does, and GDAL's drivers with it."""
    if QGIS:
        request.getfixturevalue("qgis_app")
    yield
    gc.collect()


@pytest.fixture(scope="session")
def data():
    """Folder of the real scenes."""
    return DATA


@pytest.fixture(scope="session")
def layer_tree(qgis_app):
    """A real view of the layer tree: QGIS 3.44 loads results into it and refuses the stand-in of pytest-qgis."""
    from qgis.core import QgsLayerTreeModel, QgsProject
    from qgis.gui import QgsLayerTreeView
    from qgis.utils import iface

    view = QgsLayerTreeView()
    view.setModel(QgsLayerTreeModel(QgsProject.instance().layerTreeRoot(), view))
    iface.layerTreeView = lambda: view
    return view


@pytest.fixture(scope="session")
def provider(qgis_app, qgis_processing, layer_tree):
    """The provider, registered as QGIS does it."""
    from qgis.core import QgsApplication

    from scoread_qgis import classFactory

    plugin = classFactory(None)
    plugin.initProcessing()
    yield QgsApplication.processingRegistry().providerById("scoread")
    plugin.unload()


@pytest.fixture(scope="session")
def qgis(qgis_app):
    """qgis_process, with the plugin as it is installed."""
    from headless import QgisProcess

    return QgisProcess()


@pytest.fixture
def run(provider):
    """Run an algorithm of the provider: run(name, feedback=None, **parameters) -> results with the log as `log`."""
    import processing
    from qgis.core import QgsProcessingContext, QgsProject

    def run(name, feedback=None, **parameters):
        feedback = feedback or LogFeedback()
        context = QgsProcessingContext()
        context.setProject(QgsProject.instance())
        results = processing.run(f"scoread:{name}", parameters, feedback=feedback, context=context)
        return SimpleNamespace(log="\n".join(feedback.lines), progress=feedback.fractions, **results)

    return run


@pytest.fixture
def layer_desk(provider, qgis_new_project, monkeypatch):
    """A project: `add(path, name)` a raster on top of it, `activate(layer)`, and the `project` itself."""
    import qgis.utils
    from qgis.core import QgsProject, QgsRasterLayer

    active = [None]
    monkeypatch.setattr(qgis.utils.iface, "activeLayer", lambda: active[0])
    monkeypatch.setattr(qgis.utils.iface, "setActiveLayer", lambda layer: active.__setitem__(0, layer))

    def add(path, name):
        layer = QgsRasterLayer(str(path), name)
        assert layer.isValid()
        return QgsProject.instance().addMapLayer(layer)

    return SimpleNamespace(add=add, activate=qgis.utils.iface.setActiveLayer, project=QgsProject.instance())


def LogFeedback():
    """Feedback that keeps what it is told: lines and fractions."""
    from qgis.core import QgsProcessingFeedback

    class Feedback(QgsProcessingFeedback):
        def __init__(self):
            super().__init__(False)
            self.lines, self.texts, self.fractions = [], [], []
            self.progressChanged.connect(self.fractions.append)

        def pushInfo(self, info):
            self.lines.append(info)

        def setProgressText(self, text):
            self.texts.append(text)

        def reportError(self, error, fatalError=False):
            self.lines.append(error)

    return Feedback()


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """A small simulated scene on disk: `path`, `truth` (array) and the `scene` itself."""
    from osgeo import osr

    from scoread_qgis.scenes.simulated import simulate_scene
    from scoread_qgis.scenes.writer import write_scene

    scene = simulate_scene(48, 40, 30, seed=1)
    path = tmp_path_factory.mktemp("sample") / "scene.tif"
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(scene.epsg)
    write_scene(
        path, scene.cube, geotransform=(scene.origin[0], scene.pixel_size, 0.0, scene.origin[1], 0.0, -scene.pixel_size),
        crs=reference.ExportToWkt(), wavelengths=scene.wavelengths, fwhm=scene.fwhm, good=scene.good, scale=scene.scale,
    )  # fmt: skip
    return SimpleNamespace(path=str(path), truth=scene.truth, scene=scene)


def read(path):
    """First band of a raster, or all bands, as an array."""
    from osgeo import gdal

    return gdal.Open(str(path)).ReadAsArray()


def scored_auc(truth, scores):
    """Area under the ROC curve over the scored pixels, by scikit-learn."""
    from sklearn.metrics import roc_auc_score

    scored = np.isfinite(scores)
    return roc_auc_score(truth[scored] > 0, scores[scored])
