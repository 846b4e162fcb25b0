"""The algorithms, run as QGIS runs them: results, styles, errors, progress and cancel."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import LogFeedback, read, scored_auc
from osgeo import gdal

FAST = {"MODE": 1, "EPOCHS": 1, "BATCH_SIZE": 128, "HIDDEN": 32}  # paper mode in a second; for what does not depend on quality


@pytest.fixture(scope="session")
def fast_model(provider, sample, tmp_path_factory):
    """A model of the sample scene, made in a second."""
    import processing

    path = str(tmp_path_factory.mktemp("model") / "fast.pt")
    processing.run("scoread:train_sgm", {"INPUT": sample.path, "MODEL": path, **FAST})
    return path


class TestMetadata:
    """What a user sees before running anything."""

    def test_ids_and_parameters_are_permanent(self, provider):
        names = {a.name(): [p.name() for p in a.parameterDefinitions()] for a in provider.algorithms()}
        assert names["train_sgm"] == [
            "INPUT", "BANDS", "MASK", "SELECTED", "MODE", "SEED", "DEVICE", "MORE_INPUTS", "SAMPLES", "STEPS", "EPOCHS", "BATCH_SIZE",
            "LEARNING_RATE", "SIGMA", "HIDDEN", "OUTER_WINDOW", "INNER_WINDOW", "CONDITIONAL", "MODEL", "REPORT",
        ]  # fmt: skip
        assert names["detect_anomalies"] == [
            "INPUT", "MODEL", "BANDS", "MASK", "SELECTED", "EXTENT", "LEARN_AREA", "LARGEST", "UNFIT", "SEED", "DEVICE", "T",
            "PERTURBATIONS", "READOUT", "OUTPUT", "REPORT",
        ]  # fmt: skip
        assert names["detect_rx"] == [
            "INPUT", "BANDS", "MASK", "SELECTED", "EXTENT", "LEARN_AREA", "MODE", "INNER_WINDOW", "OUTER_WINDOW", "SHRINKAGE", "OUTPUT",
        ]  # fmt: skip
        assert names["evaluate_anomalies"] == ["INPUTS", "TRUTH", "SELECTED", "SEED", "REPORT", "TABLE"]
        assert names["threshold_anomalies"] == [
            "INPUT", "METHOD", "RATE", "PERCENTILE", "VALUE", "MIN_AREA", "CONNECTIVITY", "REGIONS", "MASK",
        ]  # fmt: skip
        assert names["find_similar"] == [
            "INPUT", "TARGETS", "LIBRARIES", "ENTRIES", "DETECTOR", "BACKGROUND", "RATE", "BANDS", "MASK", "SELECTED", "EXTENT",
            "LEARN_AREA", "MIN_AREA", "INNER_WINDOW", "OUTER_WINDOW", "SHRINKAGE", "MORE_INPUTS", "OUTPUT", "REGIONS", "MODEL",
            "MORE_OUTPUTS",
        ]  # fmt: skip
        assert names["report_anomalies"] == ["REGIONS", "INPUT", "MODEL", "TEMPLATE", "DEVICE", "REPORT", "PDF"]
        assert names["export_anomalies"] == ["REGIONS", "OUTPUT"]
        assert names["explain_anomalies"] == [
            "INPUT", "MODEL", "REGIONS", "BANDS", "LIBRARIES", "TOP", "DEVICE", "REPORT", "TABLE", "SPECTRA",
        ]  # fmt: skip
        assert names["identify_anomalies"] == [
            "INPUT", "REGIONS", "LIBRARIES", "FLAT_FIELD", "BANDS", "QUANTITY", "GROUP_ANGLE", "OUTPUT", "REPORT",
        ]  # fmt: skip
        assert names["import_matlab"] == ["FILE", "CUBE", "MAP", "OUTPUT", "TRUTH"]
        assert names["train_fers"] == [
            "INPUTS", "BANDS", "SEED", "DEVICE", "PATCH", "EPOCHS", "BATCH", "LEARNING_RATE", "BACKBONE", "BACKBONE_WEIGHTS",
            "KEEP_ON_CANCEL", "MODEL",
        ]  # fmt: skip
        assert names["sample_scene"] == ["ROWS", "COLUMNS", "BAND_COUNT", "SEED", "OUTPUT", "TRUTH", "LIBRARY"]

    def test_everything_is_explained(self, provider):
        from qgis.core import QgsProcessingModelAlgorithm

        for algorithm in (registered.create() for registered in provider.algorithms()):  # as a dialog has it
            assert len(algorithm.HELP) > 60, algorithm.id()
            assert algorithm.tags()
            assert algorithm.group()
            assert Path(algorithm.svgIconPath()).is_file(), algorithm.id()
            assert not algorithm.icon().isNull()
            for parameter in algorithm.parameterDefinitions():
                assert len(parameter.help()) > 20, f"{algorithm.id()} {parameter.name()}"
                assert parameter.description() in algorithm.shortHelpString() or "&" in algorithm.shortHelpString()
            assert algorithm.canExecute() == (True, "")
            if not isinstance(algorithm, QgsProcessingModelAlgorithm):  # which QGIS before 3.26 runs on the main thread, all of them
                assert not algorithm.flags() & algorithm.Flag.FlagNoThreading

    def test_group_ids_are_lower_case(self, provider):
        assert all(re.fullmatch("[a-z_]+", algorithm.groupId()) for algorithm in provider.algorithms())
        groups = {algorithm.group(): algorithm.groupId() for algorithm in provider.algorithms()}
        assert [groups[title] for title in sorted(groups)] == ["scenes", "anomaly_detection", "anomaly_maps"], "the order of work"


class TestSampleScene:
    def test_scene_and_truth(self, run, tmp_path):
        results = run(
            "sample_scene", ROWS=40, COLUMNS=50, BAND_COUNT=20, SEED=3, OUTPUT=str(tmp_path / "s.tif"), TRUTH=str(tmp_path / "t.tif")
        )
        dataset = gdal.Open(results.OUTPUT)
        assert (dataset.RasterXSize, dataset.RasterYSize, dataset.RasterCount) == (50, 40, 20)
        assert dataset.GetSpatialRef().GetAuthorityCode(None) == "32631"
        assert dataset.GetRasterBand(1).GetMetadataItem("wavelength") == "400"
        truth = read(results.TRUTH)
        assert set(np.unique(truth)) == {0, 1}
        again = run("sample_scene", ROWS=40, COLUMNS=50, BAND_COUNT=20, SEED=3, OUTPUT=str(tmp_path / "u.tif"))
        np.testing.assert_array_equal(read(again.OUTPUT), read(results.OUTPUT))


@pytest.mark.needs_data
class TestImportMatlab:
    def test_benchmark_scene(self, run, data, tmp_path):
        from scipy.io import loadmat

        path = str(data / "scenes" / "hydice.mat")
        results = run("import_matlab", FILE=path, OUTPUT=str(tmp_path / "s.tif"), TRUTH=str(tmp_path / "t.tif"))
        content = loadmat(path)
        np.testing.assert_array_equal(read(results.OUTPUT).transpose(1, 2, 0), content["data"])
        np.testing.assert_array_equal(read(results.TRUTH), content["map"])
        assert "cube: data" in results.log

    def test_a_map_alone_is_no_scene(self, run, data, tmp_path):
        from qgis.core import QgsProcessingException

        with pytest.raises(QgsProcessingException, match="no 3-D array of real numbers"):
            run("import_matlab", FILE=str(data / "reference" / "scoread_hydice_score_map.mat"), OUTPUT=str(tmp_path / "s.tif"))

    def test_a_file_without_truth_gives_the_scene_alone(self, run, tmp_path):
        from scipy.io import savemat

        savemat(tmp_path / "a.mat", {"scene": np.random.default_rng(0).random((9, 8, 7))})
        results = run("import_matlab", FILE=str(tmp_path / "a.mat"), OUTPUT=str(tmp_path / "s.tif"), TRUTH=str(tmp_path / "t.tif"))
        assert read(results.OUTPUT).shape == (7, 9, 8)
        assert not (tmp_path / "t.tif").exists()
        assert "no ground truth" in results.log


class TestTrainAndDetect:
    def test_default_mode_beats_chance_by_far(self, run, sample, tmp_path):
        model = run("train_sgm", INPUT=sample.path, MODEL=str(tmp_path / "m.pt"))
        assert np.isnan(model.LOSS), "statistics have no loss"
        assert "left out" in model.log
        assert "flagged bad" in model.log
        assert "Memory: up to" in model.log
        results = run("detect_anomalies", INPUT=sample.path, MODEL=model.MODEL, OUTPUT=str(tmp_path / "a.tif"))
        assert scored_auc(sample.truth, read(results.OUTPUT)) > 0.9

    def test_map_has_the_grid_and_crs_of_the_input(self, run, sample, fast_model, tmp_path):
        results = run("detect_anomalies", INPUT=sample.path, MODEL=fast_model, PERTURBATIONS=2, OUTPUT=str(tmp_path / "a.tif"))
        scene, result = gdal.Open(sample.path), gdal.Open(results.OUTPUT)
        assert result.GetGeoTransform() == scene.GetGeoTransform()
        assert result.GetSpatialRef().IsSame(scene.GetSpatialRef())
        assert (result.RasterXSize, result.RasterYSize, result.RasterCount) == (scene.RasterXSize, scene.RasterYSize, 1)
        assert result.GetRasterBand(1).DataType == gdal.GDT_Float32
        assert result.GetRasterBand(1).GetDescription() == "Anomaly score"

    def test_the_same_seed_gives_the_same_map(self, run, sample, tmp_path):
        maps = []
        for index, seed in enumerate((4, 4, 5)):
            model = run("train_sgm", INPUT=sample.path, SEED=seed, MODEL=str(tmp_path / f"{index}.pt")).MODEL
            maps.append(
                read(run("detect_anomalies", INPUT=sample.path, MODEL=model, SEED=seed, OUTPUT=str(tmp_path / f"{index}.tif")).OUTPUT)
            )
        np.testing.assert_array_equal(maps[0], maps[1])
        assert not np.array_equal(maps[0], maps[2])

    def test_the_model_file_carries_what_detection_needs(self, fast_model, sample):
        with open(fast_model, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        content = json.loads(header["__metadata__"]["values"])
        good = sample.scene.good
        assert content["kind"] == "sgm-paper"
        assert content["bands"] == good.sum()
        np.testing.assert_allclose(content["wavelengths"], sample.scene.wavelengths[good], rtol=1e-4)
        assert content["settings"]["epochs"] == 1
        assert content["settings"]["batch_size"] == 128
        assert content["seed"] == 0
        assert set(content["versions"]) == {"scoread_qgis", "torch", "numpy", "qgis"}
        assert len(content["loss_curve"]) > 1

    def test_invalid_pixels_are_nodata_and_named_bands_are_used(self, run, sample, tmp_path):
        from scoread_qgis.scenes.writer import write_scene

        cube = sample.scene.cube.copy()
        cube[5:9, 7] = -9999
        cube[20, 20, 3] = -9999
        write_scene(tmp_path / "holes.tif", cube, nodata=-9999)
        bands = [1, 2, 3, 5, 6, 7, 8]
        model = run("train_sgm", INPUT=str(tmp_path / "holes.tif"), BANDS=bands, MODEL=str(tmp_path / "m.pt")).MODEL
        scores = read(run("detect_anomalies", INPUT=str(tmp_path / "holes.tif"), MODEL=model, OUTPUT=str(tmp_path / "a.tif")).OUTPUT)
        expected = np.zeros(scores.shape, bool)
        expected[5:9, 7] = True
        np.testing.assert_array_equal(np.isnan(scores), expected), "band 4 is not used, so its hole does not matter"

    def test_a_mask_says_where_to_train_and_where_to_look(self, run, sample, fast_model, tmp_path):
        from qgis.core import QgsFeature, QgsGeometry, QgsRectangle, QgsVectorLayer

        layer = QgsVectorLayer("Polygon?crs=EPSG:32631", "fields", "memory")
        x, y = sample.scene.origin
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x, y - 40, x + 30, y - 10)))
        layer.dataProvider().addFeatures([feature])
        scores = read(
            run("detect_anomalies", INPUT=sample.path, MODEL=fast_model, MASK=layer, PERTURBATIONS=2, OUTPUT=str(tmp_path / "a.tif")).OUTPUT
        )
        expected = np.zeros(scores.shape, bool)
        expected[5:20, :15] = True
        np.testing.assert_array_equal(np.isfinite(scores), expected)
        trained = run("train_sgm", INPUT=sample.path, MASK=layer, MODEL=str(tmp_path / "m.pt"))
        assert Path(trained.MODEL).is_file()

    def test_a_model_fits_the_next_scene_of_the_sensor(self, run, sample, fast_model, tmp_path):
        from scoread_qgis.scenes.simulated import simulate_scene
        from scoread_qgis.scenes.writer import write_scene

        other = simulate_scene(36, 44, 30, seed=9)
        order = np.random.default_rng(0).permutation(30)
        write_scene(
            tmp_path / "next.tif", other.cube[..., order], wavelengths=other.wavelengths[order], good=other.good[order], scale=other.scale
        )
        write_scene(tmp_path / "plain.tif", other.cube, wavelengths=other.wavelengths, good=other.good, scale=other.scale)
        maps = [
            read(
                run(
                    "detect_anomalies",
                    INPUT=str(tmp_path / f"{n}.tif"),
                    MODEL=fast_model,
                    PERTURBATIONS=2,
                    OUTPUT=str(tmp_path / f"{n}_a.tif"),
                ).OUTPUT
            )
            for n in ("next", "plain")
        ]
        np.testing.assert_allclose(maps[0], maps[1], rtol=1e-5)

    def test_several_scenes_of_a_sensor_train_one_model(self, run, sample, tmp_path):
        from scoread_qgis.scenes.simulated import simulate_scene
        from scoread_qgis.scenes.writer import write_scene

        other = simulate_scene(36, 44, 30, seed=9)
        write_scene(tmp_path / "next.tif", other.cube, wavelengths=other.wavelengths, good=other.good, scale=other.scale)
        more = run("train_sgm", INPUT=sample.path, MORE_INPUTS=[str(tmp_path / "next.tif")], MODEL=str(tmp_path / "m.pt"))
        results = run("detect_anomalies", INPUT=sample.path, MODEL=more.MODEL, OUTPUT=str(tmp_path / "a.tif"))
        assert scored_auc(sample.truth, read(results.OUTPUT)) > 0.9


def test_memory_is_a_setting(run, sample, tmp_path):
    from processing.core.ProcessingConfig import ProcessingConfig

    from scoread_qgis.settings import MEMORY_SETTING, memory_limit

    automatic = memory_limit()
    assert 2**24 < automatic < 2**42
    ProcessingConfig.setSettingValue(MEMORY_SETTING, 48)
    try:
        assert memory_limit() == 48 * 2**20
        assert "Memory: up to 48 MB" in run("detect_rx", INPUT=sample.path, OUTPUT=str(tmp_path / "a.tif")).log
    finally:
        ProcessingConfig.setSettingValue(MEMORY_SETTING, 0)


@pytest.fixture(scope="module")
def fers_model(provider, sample, tmp_path_factory):
    """A FERS model of two scenes, trained for one epoch."""
    import processing

    from scoread_qgis.scenes.simulated import simulate_scene
    from scoread_qgis.scenes.writer import write_scene

    folder = tmp_path_factory.mktemp("fers")
    other = simulate_scene(40, 48, 30, seed=5)
    write_scene(folder / "other.tif", other.cube, wavelengths=other.wavelengths, good=other.good, scale=other.scale)
    parameters = {
        "INPUTS": [sample.path, str(folder / "other.tif")],
        "PATCH": 16,
        "EPOCHS": 1,
        "BATCH": 4,
        "MODEL": str(folder / "f.pt"),
    }
    results = processing.run("scoread:train_fers", parameters)
    assert np.isfinite(results["LOSS"])
    return results["MODEL"]


class TestFERS:
    @pytest.mark.parametrize("readout", [None, "sum", "product", "autoencoder"])
    def test_detection_knows_the_model_from_its_file(self, run, sample, fers_model, tmp_path, readout):
        options = {"READOUT": readout} if readout else {}
        results = run("detect_anomalies", INPUT=sample.path, MODEL=fers_model, OUTPUT=str(tmp_path / "a.tif"), **options)
        scores = read(results.OUTPUT)
        assert scores.shape == sample.truth.shape
        assert np.isfinite(scores).all()
        if readout != "autoencoder":
            assert scored_auc(sample.truth, scores) > 0.8

    def test_a_scene_of_another_sensor_is_resampled(self, run, fers_model, tmp_path):
        from scoread_qgis.scenes.simulated import simulate_scene
        from scoread_qgis.scenes.writer import write_scene

        finer = simulate_scene(40, 40, 55, seed=7)
        write_scene(tmp_path / "finer.tif", finer.cube, wavelengths=finer.wavelengths, good=finer.good, scale=finer.scale)
        results = run("detect_anomalies", INPUT=str(tmp_path / "finer.tif"), MODEL=fers_model, OUTPUT=str(tmp_path / "a.tif"))
        assert "resampled from" in results.log
        assert scored_auc(finer.truth, read(results.OUTPUT)) > 0.8

    def test_cancel_keeps_a_model_only_where_asked(self, provider, sample, tmp_path):
        import processing
        from qgis.core import QgsProcessingException

        from scoread_qgis.detectors.model_file import Model

        for keep in (False, True):
            feedback = LogFeedback()
            feedback.progressChanged.connect(lambda fraction, feedback=feedback: fraction > 30 and feedback.cancel())
            path = tmp_path / f"{keep}.pt"
            parameters = {"INPUTS": [sample.path], "PATCH": 16, "BATCH": 4, "EPOCHS": 40, "KEEP_ON_CANCEL": keep, "MODEL": str(path)}
            told = f"nothing was written except {path}, which was finished before" if keep else "nothing was written"
            with pytest.raises(QgsProcessingException, match=f"^Cancelled: {re.escape(told)}.$"):
                processing.run("scoread:train_fers", parameters, feedback=feedback)
            assert path.exists() == keep
        assert Model.load(str(tmp_path / "True.pt")).detector.kind == "fers"

    def test_bands_are_numbers_and_ranges(self):
        from scoread_qgis.algorithms.train_fers import band_numbers

        assert band_numbers("1-3, 7;9") == [1, 2, 3, 7, 9]
        assert band_numbers("") == []
        with pytest.raises(ValueError, match='"a-3" is not a band number'):
            band_numbers("1, a-3")


class TestRX:
    def test_global_equals_spectral_python(self, run, sample, tmp_path):
        import spectral

        results = run("detect_rx", INPUT=sample.path, OUTPUT=str(tmp_path / "a.tif"))
        cube = sample.scene.cube[..., sample.scene.good].astype(float) * sample.scene.scale
        np.testing.assert_allclose(read(results.OUTPUT), spectral.rx(cube), rtol=1e-3)

    def test_local(self, run, sample, tmp_path):
        results = run("detect_rx", INPUT=sample.path, MODE=1, INNER_WINDOW=3, OUTER_WINDOW=9, OUTPUT=str(tmp_path / "a.tif"))
        assert scored_auc(sample.truth, read(results.OUTPUT)) > 0.7

    def test_fewer_pixels_than_bands(self, run, tmp_path):
        from qgis.core import QgsProcessingException

        from scoread_qgis.scenes.writer import write_scene

        write_scene(tmp_path / "tiny.tif", np.random.default_rng(0).random((5, 6, 40)).astype(np.float32))
        local = {"MODE": 1, "INNER_WINDOW": 1, "OUTER_WINDOW": 5}
        scores = read(run("detect_rx", INPUT=str(tmp_path / "tiny.tif"), OUTPUT=str(tmp_path / "local.tif"), **local).OUTPUT)
        assert np.isfinite(scores).all()
        with pytest.raises(QgsProcessingException, match="30 valid pixels do not describe.*Choose fewer bands, or a larger scene or mask"):
            run("detect_rx", INPUT=str(tmp_path / "tiny.tif"), OUTPUT=str(tmp_path / "rx.tif"))
        model = run("train_sgm", INPUT=str(tmp_path / "tiny.tif"), MODEL=str(tmp_path / "m.pt")).MODEL
        scores = read(run("detect_anomalies", INPUT=str(tmp_path / "tiny.tif"), MODEL=model, OUTPUT=str(tmp_path / "a.tif")).OUTPUT)
        assert np.isfinite(scores).all()

    def test_window_larger_than_the_scene(self, run, tmp_path):
        from qgis.core import QgsProcessingException

        from scoread_qgis.scenes.writer import write_scene

        write_scene(tmp_path / "narrow.tif", np.random.default_rng(0).random((40, 3, 6)).astype(np.float32))
        with pytest.raises(QgsProcessingException, match="outer window of 11 pixels is larger than the scene of 40 rows and 3 columns"):
            run("detect_rx", INPUT=str(tmp_path / "narrow.tif"), MODE=1, OUTER_WINDOW=11, OUTPUT=str(tmp_path / "a.tif"))


def renderer_of(layer):
    from qgis.core import QgsSingleBandPseudoColorRenderer

    assert isinstance(layer.renderer(), QgsSingleBandPseudoColorRenderer)
    return layer.renderer().shader().rasterShaderFunction().colorRampItemList()


class TestStyle:
    def test_style_is_saved_beside_the_map_and_applied_later(self, run, sample, tmp_path):
        from qgis.core import QgsRasterLayer

        path = run("detect_rx", INPUT=sample.path, OUTPUT=str(tmp_path / "a.tif")).OUTPUT
        assert (tmp_path / "a.qml").is_file()
        items = renderer_of(QgsRasterLayer(path, "opened later"))
        values = [item.value for item in items]
        assert values == sorted(values)
        assert values[0] == pytest.approx(np.median(read(path)), rel=0.01)
        assert values[-1] == pytest.approx(read(path).max(), rel=1e-6)
        assert items[0].color.alpha() == 0
        assert items[-1].color.alpha() == 255
        luminance = [item.color.lightnessF() for item in items]
        assert luminance == sorted(luminance), "brighter is more anomalous"
        assert all(float(item.label.split()[0]) == pytest.approx(item.value, rel=1e-3) for item in items)

    def test_loaded_layers_are_styled_run_after_run(self, provider, sample, tmp_path, qgis_new_project):
        import processing
        from qgis.core import QgsProject

        for index in range(3):
            results = processing.runAndLoadResults("scoread:detect_rx", {"INPUT": sample.path, "OUTPUT": str(tmp_path / f"{index}.tif")})
            assert Path(results["OUTPUT"]).is_file()
        layers = list(QgsProject.instance().mapLayers().values())
        assert len(layers) == 3
        for layer in layers:
            assert len(renderer_of(layer)) > 4

    def test_a_map_with_one_value_has_a_style(self, provider, tmp_path, sample):
        from scoread_qgis.scenes.writer import write_scene
        from scoread_qgis.styles import save_anomaly_style

        write_scene(tmp_path / "flat.tif", np.ones((5, 5), np.float32))
        save_anomaly_style(str(tmp_path / "flat.tif"))
        assert (tmp_path / "flat.qml").is_file()


class TestErrors:
    """Every message names the layer or the file, and the remedy."""

    @pytest.fixture
    def fails(self, run, tmp_path):
        from qgis.core import QgsProcessingException

        def fails(name, message, **parameters):
            parameters.setdefault(
                "MODEL" if name == "train_sgm" else "OUTPUT", str(tmp_path / ("out.pt" if name == "train_sgm" else "out.tif"))
            )
            before = set(tmp_path.rglob("*"))
            with pytest.raises(QgsProcessingException, match=message):
                run(name, **parameters)
            assert set(tmp_path.rglob("*")) == before, "an error leaves nothing behind"

        return fails

    def test_not_a_raster(self, fails, tmp_path):
        (tmp_path / "a.tif").write_text("text")
        fails("train_sgm", "INPUT", INPUT=str(tmp_path / "a.tif"))

    def test_a_single_band(self, fails, tmp_path):
        from scoread_qgis.scenes.writer import write_scene

        write_scene(tmp_path / "gray.tif", np.ones((5, 5), np.float32))
        fails("train_sgm", "gray has 1 band: .*many spectral bands", INPUT=str(tmp_path / "gray.tif"))
        fails("detect_rx", "gray has 1 band", INPUT=str(tmp_path / "gray.tif"))

    def test_a_file_that_is_no_model(self, fails, sample, tmp_path):
        (tmp_path / "a.pt").write_text("text")
        fails("detect_anomalies", "a.pt is not a model of this plugin", INPUT=sample.path, MODEL=str(tmp_path / "a.pt"))
        fails("detect_anomalies", "no model file .*Train SGM", INPUT=sample.path, MODEL=str(tmp_path / "missing.pt"))

    def test_a_model_that_would_run_code(self, fails, sample, tmp_path):
        import torch

        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "executed",))

        torch.save({"format": "scoread_qgis model", "state": Evil()}, tmp_path / "evil.pt")
        fails("detect_anomalies", "evil.pt is not a model", INPUT=sample.path, MODEL=str(tmp_path / "evil.pt"))
        assert not (tmp_path / "executed").exists()

    def test_a_model_of_another_sensor(self, fails, fast_model, tmp_path):
        from scoread_qgis.scenes.writer import write_scene

        values = np.random.default_rng(0).random((8, 8, 4)).astype(np.float32)
        write_scene(tmp_path / "other.tif", values, wavelengths=[450, 550, 650, 850])
        fails("detect_anomalies", "The model needs bands that other does not have", INPUT=str(tmp_path / "other.tif"), MODEL=fast_model)
        write_scene(tmp_path / "unknown.tif", values)
        fails("detect_anomalies", r"trained on \d+ bands, but unknown has 4", INPUT=str(tmp_path / "unknown.tif"), MODEL=fast_model)

    def test_a_device_that_is_not_there(self, fails, sample):
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        fails("train_sgm", "(?i)cuda.*(auto|cpu)", INPUT=sample.path, DEVICE="cuda")

    def test_unwritable_outputs(self, fails, sample, fast_model):
        fails("train_sgm", "cannot be written.*Choose a folder", INPUT=sample.path, MODEL="/proc/nowhere/m.pt")
        fails("detect_rx", "cannot be written.*Choose a folder", INPUT=sample.path, OUTPUT="/proc/nowhere/a.tif")
        fails("detect_anomalies", "is the input itself", INPUT=sample.path, MODEL=fast_model, OUTPUT=sample.path)

    @pytest.mark.parametrize(
        ("name", "spoil", "message"),
        [
            ("constant", lambda v: np.ones_like(v), "0 usable bands of 6 .*one value everywhere: 1-6"),
            ("empty", lambda v: np.full_like(v, np.nan), "0 usable bands of 6 .*no data: 1-6"),
            ("huge", lambda v: np.full_like(v, 1e30), "0 usable bands of 6 .*no data"),
        ],
    )
    def test_scenes_without_information(self, fails, tmp_path, name, spoil, message):
        from scoread_qgis.scenes.writer import write_scene

        values = spoil(np.random.default_rng(0).random((9, 9, 6)).astype(np.float32))
        write_scene(tmp_path / f"{name}.tif", values)
        fails("train_sgm", message, INPUT=str(tmp_path / f"{name}.tif"))
        fails("detect_rx", message, INPUT=str(tmp_path / f"{name}.tif"))

    def test_no_pixel_is_valid_in_all_bands(self, fails, tmp_path):
        from scoread_qgis.scenes.writer import write_scene

        values = np.random.default_rng(0).random((9, 8, 2)).astype(np.float32)
        values[:, :4, 0] = np.nan
        values[:, 4:, 1] = np.nan
        write_scene(tmp_path / "halves.tif", values)
        fails("train_sgm", "(?i)no valid pixel", INPUT=str(tmp_path / "halves.tif"))
        fails("detect_rx", "(?i)valid pixel", INPUT=str(tmp_path / "halves.tif"))

    def test_too_few_pixels_to_train_on(self, fails, tmp_path):
        from scoread_qgis.scenes.writer import write_scene

        write_scene(tmp_path / "dot.tif", np.random.default_rng(0).random((3, 4, 5)).astype(np.float32))
        fails("train_sgm", "training needs 20 valid pixels at least; there are 12", INPUT=str(tmp_path / "dot.tif"))

    def test_a_band_that_the_scene_does_not_have(self, fails, sample):
        fails("train_sgm", "scene has 30 bands; there is no band 31", INPUT=sample.path, BANDS=[1, 31])

    def test_fill_values_that_nobody_declared_are_told(self, run, tmp_path):
        from scoread_qgis.scenes.writer import write_scene

        values = np.random.default_rng(0).random((20, 20, 5)).astype(np.float32)
        values[3, 4] = 1e30
        write_scene(tmp_path / "filled.tif", values)
        results = run("detect_rx", INPUT=str(tmp_path / "filled.tif"), OUTPUT=str(tmp_path / "a.tif"))
        assert "5 values beyond ±1e18 or infinite are taken for nodata" in results.log
        assert np.argwhere(np.isnan(read(results.OUTPUT))).tolist() == [[3, 4]]

    def test_a_scene_without_crs_gives_a_map_without(self, run, tmp_path):
        from scoread_qgis.scenes.writer import write_scene

        write_scene(tmp_path / "plain.tif", np.random.default_rng(0).random((20, 20, 5)).astype(np.float32))
        result = gdal.Open(run("detect_rx", INPUT=str(tmp_path / "plain.tif"), OUTPUT=str(tmp_path / "a.tif")).OUTPUT)
        assert result.GetProjection() == ""
        assert result.GetGeoTransform(can_return_null=True) is None

    def test_a_mask_that_misses_the_scene(self, fails, sample, tmp_path):
        from osgeo import osr

        from scoread_qgis.scenes.writer import write_scene

        reference = osr.SpatialReference()
        reference.ImportFromEPSG(32631)
        write_scene(tmp_path / "mask.tif", np.ones((5, 5), np.uint8), (700000, 10, 0, 5800000, 0, -10), reference.ExportToWkt())
        fails("detect_rx", "The mask mask does not touch scene", INPUT=sample.path, MASK=str(tmp_path / "mask.tif"))


def test_progress_moves_and_says_what_happens(provider, sample, tmp_path):
    import processing

    feedback = LogFeedback()
    processing.run("scoread:train_sgm", {"INPUT": sample.path, "MODE": 1, "EPOCHS": 10, "MODEL": str(tmp_path / "m.pt")}, feedback=feedback)
    assert feedback.fractions == sorted(feedback.fractions)
    assert feedback.fractions[-1] == 100
    assert feedback.texts.count("training") == 1
    counted = [text for text in feedback.texts if "training, step" in text]  # where it takes long enough
    assert all(re.fullmatch(r"training, step \d+ of \d+, loss [\d.]+, about \d+ (s|min) left", text) for text in counted)
    assert len(feedback.texts) < 12, "a line for each phase, not for each step"


@pytest.mark.parametrize("name", ["train_sgm", "detect_anomalies", "detect_rx"])
class TestProgressAndCancel:
    def parameters(self, name, big, model, folder):
        if name == "train_sgm":
            return {"INPUT": big, "MODE": 1, "MODEL": str(folder / "m.pt")}
        if name == "detect_anomalies":
            return {"INPUT": big, "MODEL": model, "PERTURBATIONS": 200, "OUTPUT": str(folder / "a.tif")}
        return {"INPUT": big, "MODE": 1, "OUTER_WINDOW": 41, "OUTPUT": str(folder / "a.tif")}

    def test_cancel_stops_soon_and_leaves_nothing(self, name, provider, sample, fast_model, tmp_path):
        import processing
        import torch
        from qgis.core import QgsProcessingException

        from scoread_qgis.scenes.writer import write_scene

        good = sample.scene.good
        repeated = np.tile(sample.scene.cube[..., good], (4, 4, 1))  # work for some seconds
        scene = tmp_path / "in" / "scene.tif"
        write_scene(scene, repeated, wavelengths=sample.scene.wavelengths[good], scale=sample.scene.scale)
        into_the_work = {"train_sgm": 13, "detect_anomalies": 10.5, "detect_rx": 31}  # per cent; reading and looking for bands is over
        feedback, moments = LogFeedback(), []

        def watch(fraction):
            if fraction > into_the_work[name] and not moments:
                moments.append(time.process_time())
                feedback.cancel()

        feedback.progressChanged.connect(watch)
        (tmp_path / "out").mkdir()
        with pytest.raises(QgsProcessingException, match="^Cancelled: nothing was written.$"):
            processing.run(f"scoread:{name}", self.parameters(name, str(scene), fast_model, tmp_path / "out"), feedback=feedback)
        assert moments, "the run was over before it could be cancelled"
        # Processor time of all threads: what other programs take does not count.
        assert time.process_time() - moments[0] < 2 * torch.get_num_threads()
        assert list((tmp_path / "out").iterdir()) == []
        assert feedback.texts
