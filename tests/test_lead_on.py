"""Dialogs that open with what a user most likely means, models that last, and layers with names that say what they are of."""

import os
import tempfile
from types import SimpleNamespace

import pytest
from conftest import BUILT
from osgeo import gdal


@pytest.fixture
def desk(layer_desk, provider, monkeypatch):
    """`layer_desk` with the dialogs over it: `open(algorithm)`, `value(dialog, parameter)`."""
    import qgis.utils
    from qgis.gui import QgsBrowserGuiModel

    model, opened = QgsBrowserGuiModel(), []
    monkeypatch.setattr(qgis.utils.iface, "browserModel", lambda: model, raising=False)

    def open_dialog(name):
        algorithm = provider.algorithm(name).create()
        opened.append(algorithm.createCustomParametersWidget(None))
        return opened[-1]

    def value(dialog, parameter):
        return dialog.createProcessingParameters()[parameter]

    layer_desk.open, layer_desk.value = open_dialog, value
    yield layer_desk
    for dialog in opened:
        dialog.close()
        dialog.deleteLater()


def raster(path, bands, band_name="", size=(12, 10)):
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), *size, bands, gdal.GDT_Float32)
    dataset.SetGeoTransform((0, 1, 0, 0, 0, -1))
    if band_name:
        dataset.GetRasterBand(1).SetDescription(band_name)
    return path


@pytest.fixture
def layers(desk, tmp_path):
    """A project as it looks after a detection: maps on top of a picture and scenes."""
    return SimpleNamespace(
        small=desk.add(raster(tmp_path / "small.tif", 12), "small"),
        large=desk.add(raster(tmp_path / "large.tif", 40), "large"),
        picture=desk.add(raster(tmp_path / "picture.tif", 3), "picture"),
        truth=desk.add(raster(tmp_path / "truth.tif", 1, "truth"), "what is there"),
        rx=desk.add(raster(tmp_path / "rx.tif", 1, "RX anomaly score"), "RX of large"),
        other=desk.add(raster(tmp_path / "other.tif", 1, "Anomaly score", (5, 5)), "Anomalies of small"),
        map=desk.add(raster(tmp_path / "map.tif", 1, "Anomaly score"), "Anomalies of large"),
        elevation=desk.add(raster(tmp_path / "elevation.tif", 1), "elevation"),
    )


class TestPreselection:
    @pytest.mark.parametrize(
        "name",
        [
            "train_sgm",
            "detect_anomalies",
            "detect_rx",
            "find_similar",
            "explain_anomalies",
            "train_and_detect",
            "screen_scenes_with_one_model",
        ],
    )
    def test_the_raster_with_most_bands_is_the_scene(self, desk, layers, name):
        desk.activate(layers.map)
        assert desk.open(name).mainWidget().wrappers["INPUT"].parameterValue() == layers.large.id()

    def test_an_active_scene_goes_before_a_larger_one_and_an_active_picture_does_not(self, desk, layers):
        desk.activate(layers.small)
        assert desk.value(desk.open("detect_rx"), "INPUT") == layers.small.id()
        desk.activate(layers.picture)
        assert desk.value(desk.open("detect_rx"), "INPUT") == layers.large.id()

    def test_maps_are_what_detectors_made(self, desk, layers):
        assert desk.value(desk.open("threshold_anomalies"), "INPUT") == layers.map.id()
        desk.activate(layers.rx)
        assert desk.value(desk.open("threshold_anomalies"), "INPUT") == layers.rx.id()

    def test_maps_on_one_grid_are_compared_with_the_truth(self, desk, layers):
        dialog = desk.open("evaluate_anomalies")
        names = {text: layer.name() for layer in desk.project.mapLayers().values() for text in (layer.id(), layer.source())}
        assert [names[each] for each in desk.value(dialog, "INPUTS")] == ["Anomalies of large", "RX of large"]
        assert desk.value(dialog, "TRUTH") == layers.truth.id()

    def test_what_is_selected_is_searched_for_and_nothing_else(self, desk, layers):
        from qgis.core import QgsFeature, QgsGeometry, QgsPointXY, QgsVectorLayer

        assert desk.open("find_similar").mainWidget().wrappers["TARGETS"].parameterValue() is None
        regions = desk.project.addMapLayer(QgsVectorLayer("Point", "Regions", "memory"))
        for x in (1, 2):
            feature = QgsFeature()
            feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(x, -1)))
            regions.dataProvider().addFeatures([feature])
        assert desk.open("find_similar").mainWidget().wrappers["TARGETS"].parameterValue() is None
        regions.selectByIds([2])
        chosen = desk.open("find_similar").mainWidget().wrappers["TARGETS"].parameterValue()
        assert chosen.selectedFeaturesOnly and chosen.source.staticValue() == regions.id()

    def test_the_names_of_bands_are_those_that_detectors_give(self, run, sample, tmp_path):
        from scoread_qgis.algorithms.dialogs import SCORES, TRUTH
        from scoread_qgis.detectors.registry import DETECTORS

        assert {detector.score_name for detector in DETECTORS.values()} == set(SCORES)
        made = run("sample_scene", ROWS=40, COLUMNS=40, BAND_COUNT=8, OUTPUT=str(tmp_path / "s.tif"), TRUTH=str(tmp_path / "t.tif"))
        assert gdal.Open(made.TRUTH).GetRasterBand(1).GetDescription() == TRUTH

    def test_nothing_is_found_in_an_empty_project(self, desk):
        for name in ("train_sgm", "train_fers", "detect_anomalies", "threshold_anomalies", "evaluate_anomalies", "sample_scene"):
            assert desk.open(name) is not None

    def test_scripts_and_batch_still_have_to_name_their_layers(self, desk, layers, provider):
        import processing
        from qgis.core import QgsProcessingException

        for name in ("train_sgm", "detect_anomalies", "detect_rx", "threshold_anomalies", "evaluate_anomalies", "explain_anomalies"):
            desk.open(name)
            algorithm = provider.algorithm(name).create()
            definitions = algorithm.parameterDefinitions()
            assert [d.name() for d in definitions if d.name() in ("INPUT", "INPUTS", "MODEL", "TRUTH") and d.defaultValue()] == []
        with pytest.raises(QgsProcessingException, match="INPUT"):
            processing.run("scoread:detect_rx", {"OUTPUT": "TEMPORARY_OUTPUT"})


FAST = {"EPOCHS": 1, "BATCH_SIZE": 128, "HIDDEN": 32}


class TestModels:
    @pytest.mark.parametrize("name", ["train_sgm", "train_fers"])
    def test_a_file_beside_the_scene_is_proposed_and_follows_it(self, desk, layers, tmp_path, name):
        dialog = desk.open(name)
        scene = "INPUTS" if name == "train_fers" else "INPUT"

        def choose(layer):
            dialog.setParameters({scene: [layer.id()] if scene == "INPUTS" else layer.id()})

        choose(layers.large)
        assert desk.value(dialog, "MODEL") == str(tmp_path / "large.scoread.pt")
        choose(layers.small)
        assert desk.value(dialog, "MODEL") == str(tmp_path / "small.scoread.pt")
        dialog.setParameters({"MODEL": str(tmp_path / "own.pt")})
        choose(layers.large)
        assert desk.value(dialog, "MODEL") == str(tmp_path / "own.pt")

    def test_a_temporary_file_that_was_chosen_stays_one(self, desk, layers):
        dialog = desk.open("train_sgm")
        dialog.setParameters({"MODEL": "TEMPORARY_OUTPUT"})
        dialog.setParameters({"INPUT": layers.small.id()})
        assert desk.value(dialog, "MODEL") == "TEMPORARY_OUTPUT"

    def test_no_file_that_is_there_is_proposed(self, desk, layers, tmp_path):
        for there in ("large.scoread.pt", "large.scoread-2.pt"):
            (tmp_path / there).write_text("mine", encoding="utf-8")
        assert desk.value(desk.open("train_sgm"), "MODEL") == str(tmp_path / "large.scoread-3.pt")

    def test_in_the_profile_where_the_folder_cannot_be_written_to(self, desk, layers, monkeypatch):
        from qgis.core import QgsApplication

        from scoread_qgis.algorithms import dialogs

        def refuse(path, what):
            raise ValueError("read-only")

        monkeypatch.setattr(dialogs, "check_place", refuse)
        model = desk.value(desk.open("train_sgm"), "MODEL")
        assert model == os.path.normpath(os.path.join(QgsApplication.qgisSettingsDirPath(), "scoread_models", "large.scoread.pt"))
        assert os.path.isdir(os.path.dirname(model))

    def test_in_the_profile_where_the_scene_itself_does_not_last(self, desk):
        from qgis.core import QgsProcessingUtils

        desk.add(raster(QgsProcessingUtils.generateTempFilename("OUTPUT.tif"), 12), "Scene: 1/2")
        assert os.path.basename(desk.value(desk.open("train_sgm"), "MODEL")) == "Scene_ 1_2.scoread.pt"
        assert "scoread_models" in desk.value(desk.open("train_sgm"), "MODEL")

    def test_the_project_remembers_the_last_model(self, desk, run, sample, tmp_path):
        desk.add(sample.path, "scene")
        dialogs = ("detect_anomalies", "explain_anomalies", "screen_scenes_with_one_model", "detect_extract_and_explain")

        def preset(name):
            return desk.open(name).mainWidget().wrappers["MODEL"].parameterValue() or None

        assert {preset(name) for name in dialogs} == {None}
        for model in ("first.pt", "second.pt"):
            run("train_sgm", INPUT=sample.path, MODEL=str(tmp_path / model), MODE=1, **FAST)
        assert {preset(name) for name in dialogs} == {str(tmp_path / "second.pt")}
        run("train_sgm", INPUT=sample.path, MODEL="TEMPORARY_OUTPUT", MODE=1, **FAST)
        assert {preset(name) for name in dialogs} == {str(tmp_path / "second.pt")}, "a file that goes with QGIS is not kept"

        assert desk.project.write(str(tmp_path / "project.qgs"))
        desk.project.clear()
        assert preset("detect_anomalies") is None
        assert desk.project.read(str(tmp_path / "project.qgs"))
        assert preset("detect_anomalies") == str(tmp_path / "second.pt")
        (tmp_path / "second.pt").unlink()
        assert preset("detect_anomalies") is None

    def test_the_scene_is_learnt_where_the_preset_model_is_cleared(self, desk, run, sample, tmp_path):
        from conftest import LogFeedback
        from qgis.core import QgsProcessingContext

        layer = desk.add(sample.path, "scene")
        run("train_sgm", INPUT=sample.path, MODEL=str(tmp_path / "m.pt"), MODE=1, **FAST)
        dialog = desk.open("detect_anomalies")
        dialog.setParameters({"MODEL": None, "OUTPUT": str(tmp_path / "a.tif")})
        parameters, feedback, context = dialog.createProcessingParameters(), LogFeedback(), QgsProcessingContext()
        context.setProject(desk.project)
        assert parameters["INPUT"] == layer.id()
        results, fine = dialog.algorithm().run(parameters, context, feedback)
        assert fine
        assert "FIT" not in results, "which only a model has"


class TestNames:
    def load(self, name, project, **parameters):
        """Names of the layers that a run adds to the project, from the file's name."""
        import processing

        before = set(project.mapLayers())
        results = processing.runAndLoadResults(name if not isinstance(name, str) else f"scoread:{name}", parameters)
        return {layer.name() for id, layer in project.mapLayers().items() if id not in before}, results

    def test_layers_say_what_they_are_of(self, desk, sample, tmp_path):
        scene = desk.add(sample.path, "sandiego")
        names, found = self.load("detect_anomalies", desk.project, INPUT=scene, OUTPUT=str(tmp_path / "a.tif"))
        assert names == {"Anomalies of sandiego"}
        names, _ = self.load("detect_rx", desk.project, INPUT=scene, OUTPUT="TEMPORARY_OUTPUT")
        assert names == {"RX of sandiego"}
        (layer,) = desk.project.mapLayersByName("Anomalies of sandiego")
        outputs = {"REGIONS": "TEMPORARY_OUTPUT", "MASK": str(tmp_path / "m.tif")}
        names, _ = self.load("threshold_anomalies", desk.project, INPUT=layer, RATE=0.001, **outputs)
        assert names == {"Regions of sandiego, rate 0.001", "Mask of sandiego, rate 0.001"}
        (mask,) = desk.project.mapLayersByName("Mask of sandiego, rate 0.001")
        assert "rate 0.001" in mask.renderer().classes()[0].label
        names, _ = self.load("threshold_anomalies", desk.project, INPUT=layer, METHOD=3, VALUE=4.25, REGIONS="TEMPORARY_OUTPUT")
        assert names == {"Regions of sandiego, threshold 4.25"}

    def test_a_map_that_carries_its_scene(self, desk, layers):
        from qgis.core import QgsProcessingContext

        from scoread_qgis.algorithms.maps import mapped_scene

        path = layers.rx.source()
        assert mapped_scene(SimpleNamespace(source=path, name="OUTPUT"), QgsProcessingContext()) == "OUTPUT"
        dataset = gdal.Open(path, gdal.GA_Update)
        dataset.SetMetadataItem("SCOREAD_SCENE_NAME", "sandiego")
        dataset = None
        assert mapped_scene(SimpleNamespace(source=path, name="OUTPUT"), QgsProcessingContext()) == "sandiego"

    @pytest.mark.parametrize(("prefer", "expected"), [(True, "a"), (False, "RX of sandiego")])
    def test_the_user_may_prefer_the_names_of_files(self, desk, sample, prefer, expected):
        """As QGIS does unless told otherwise, for files that are not in the system's temporary folder."""
        from processing.core.ProcessingConfig import ProcessingConfig
        from qgis.core import QgsSettings

        scene, settings = desk.add(sample.path, "sandiego"), QgsSettings()
        setting = ProcessingConfig.settings[ProcessingConfig.PREFER_FILENAME_AS_LAYER_NAME].qname
        before = settings.value(setting)
        with tempfile.TemporaryDirectory(dir=BUILT.parent) as folder:
            try:
                settings.setValue(setting, prefer)
                assert self.load("detect_rx", desk.project, INPUT=scene, OUTPUT=os.path.join(folder, "a.tif"))[0] == {expected}
            finally:
                settings.remove(setting) if before is None else settings.setValue(setting, before)
                desk.project.clear()

    def test_in_batch(self, desk, provider, sample, tmp_path):
        """As the batch dialog runs the lines and loads their results."""
        from conftest import LogFeedback
        from processing.gui.Postprocessing import handleAlgorithmResults
        from qgis.core import QgsProcessingContext, QgsProcessingOutputLayerDefinition

        algorithm = provider.algorithm("detect_rx").create()
        for name in ("sandiego", "hydice"):
            context, feedback = QgsProcessingContext(), LogFeedback()
            context.setProject(desk.project)
            parameters = {
                "INPUT": desk.add(sample.path, name).id(),
                "OUTPUT": QgsProcessingOutputLayerDefinition(str(tmp_path / f"{name}.tif"), desk.project),
            }
            _, fine = algorithm.run(parameters, context, feedback)
            assert fine
            handleAlgorithmResults(algorithm, context, feedback, parameters=parameters)
        names = {layer.name() for layer in desk.project.mapLayers().values()}
        assert names == {"sandiego", "hydice", "RX of sandiego", "RX of hydice"}

    def test_in_the_designer_models_of_the_plugin(self, desk, run, sample, tmp_path):
        scene = desk.add(sample.path, "sandiego")
        model = run("train_sgm", INPUT=sample.path, MODEL=str(tmp_path / "m.pt")).MODEL
        temporary = {"detect:Anomaly map": "TEMPORARY_OUTPUT", "extract:Regions": "TEMPORARY_OUTPUT"}
        names, _ = self.load("screen_scenes_with_one_model", desk.project, INPUT=scene, MODEL=model, **temporary)
        assert names == {"Anomalies of sandiego", "Regions of sandiego, rate 0.001"}

    def test_a_name_that_was_given_stays(self, desk, sample, tmp_path):
        from qgis.core import QgsProcessingOutputLayerDefinition

        given = QgsProcessingOutputLayerDefinition(str(tmp_path / "a.tif"), desk.project)
        given.destinationName = "mine"
        assert self.load("detect_rx", desk.project, INPUT=sample.path, OUTPUT=given)[0] == {"mine"}
