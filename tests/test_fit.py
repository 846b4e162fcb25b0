"""Whether a scene fits a model, what is done where it does not, and detection without a model."""

import numpy as np
import pytest
import torch
from conftest import read, scored_auc
from osgeo import gdal
from scipy import stats

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.detectors.shared.fit import Fit
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene
from scoread_qgis.workflows.detect import LIMIT, Detection, detect
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import RasterSource
from scoread_qgis.workflows.train import Training, train


def whole(scorer):
    return np.concatenate([rows for _, rows in scorer.map()])


@pytest.fixture(scope="module")
def scenes():
    """Two simulated scenes of one sensor."""
    return [simulate_scene(60, 50, 40, seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def values(scenes):
    return scenes[0].cube.astype(np.float32)


@pytest.fixture(scope="module")
def model(values):
    return SGM.train([ArrayCube(values)])


def test_distance_is_that_of_kolmogorov_and_smirnov():
    probabilities = np.random.default_rng(0).beta(1.3, 1, 500)
    fit = Fit.of({"part": torch.from_numpy(-np.log(probabilities))})
    assert fit.distances["part"] == pytest.approx(stats.kstest(probabilities, "uniform").statistic, rel=1e-6)
    assert fit.value == 1 - fit.distances["part"]
    assert fit.beyond["part"] == pytest.approx(np.mean(probabilities < 0.01))
    assert np.exp(-fit.medians["part"]) == pytest.approx(np.median(probabilities), rel=0.01)


def test_a_scene_fits_its_own_model(model, values):
    fit = model.fit(ArrayCube(values))
    assert fit.value > 0.95
    assert all(median == pytest.approx(np.log(2), rel=0.1) for median in fit.medians.values())


def test_a_few_anomalies_do_not_make_a_scene_unfit(model, values):
    spoilt = values.copy()
    spoilt[:6, :20] *= 5  # 4 % of the scene
    assert model.fit(ArrayCube(spoilt)).value > 0.9


@pytest.mark.parametrize(("gain", "offset"), [(1e-4, 0), (1e4, 0), (1, 3000), (2, 0)])
def test_other_units_are_seen_and_adapted_to(model, values, gain, offset):
    cube = ArrayCube(values * np.float32(gain) + np.float32(offset))
    assert model.fit(cube).value < LIMIT
    adapted = model.adapted(cube)
    assert adapted.fit(cube).value > 0.95
    own = whole(SGM.train([cube]).bind(cube))
    assert stats.spearmanr(whole(adapted.bind(cube)).ravel(), own.ravel()).statistic > 0.98
    assert adapted.network is model.network


def test_adapting_is_deterministic_and_depends_on_its_seed_alone(model, scenes):
    cube = ArrayCube(scenes[1].cube.astype(np.float32))
    first, again = (whole(model.adapted(cube, seed=3).bind(cube)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(("gain", "offset"), [(1e4, 0), (1e-4, 0), (1, 1000)])
def test_gain_and_offset_do_not_change_the_map_of_own_training(values, gain, offset):
    reference = whole(SGM.train([ArrayCube(values)]).bind(ArrayCube(values)))
    cube = ArrayCube((values.astype(np.float64) * gain + offset).astype(np.float32))
    found = whole(SGM.train([cube]).bind(cube))
    assert np.corrcoef(found.ravel(), reference.ravel())[0, 1] > 0.9999
    np.testing.assert_allclose(found, reference, atol=0.02 * np.ptp(reference))


def test_paper_mode_sees_other_units(values):
    model = PaperSGM.train([ArrayCube(values)], epochs=1, hidden=16, samples=200)
    assert model.fit(ArrayCube(values)).value > 0.99
    for gain in (1e-4, 1e4):
        cube = ArrayCube(values * np.float32(gain))
        assert model.fit(cube).value < LIMIT
        assert model.adapted(cube).fit(cube).value > 0.99


@pytest.fixture(scope="module")
def files(tmp_path_factory, scenes):
    """A folder with a scene, the same in other units, and a model of the first."""
    folder = tmp_path_factory.mktemp("fit")
    scene = scenes[0]
    write_scene(folder / "scene.tif", scene.cube, (0, 2, 0, 0, 0, -2), wavelengths=scene.wavelengths)
    write_scene(folder / "other.tif", (scene.cube * 1e-4).astype(np.float32), (0, 2, 0, 0, 0, -2), wavelengths=scene.wavelengths)
    train(Training("sgm", [RasterSource(str(folder / "scene.tif"))], str(folder / "model.pt")), Run(2**28))
    return folder


def run_with(lines, warnings):
    return Run(2**28, log=lines.append, warn=warnings.append)


def test_what_is_done_with_a_scene_that_does_not_fit(files, scenes, tmp_path):
    other, model, output = RasterSource(str(files / "other.tif"), "other"), str(files / "model.pt"), str(tmp_path / "map.tif")
    lines, warnings = [], []
    ready = detect(Detection(other, output, model), run_with(lines, warnings))
    assert ready.fit < LIMIT
    assert "other does not fit the model" in warnings[0] and "adapted" in warnings[0]
    assert any("beyond the 1 % tail" in line for line in lines)
    adapted = read(output)
    warnings.clear()
    detect(Detection(other, output, model, unfit="warn"), run_with(lines, warnings))
    assert "The map may say nothing" in warnings[0]
    assert scored_auc(scenes[0].truth, adapted) > scored_auc(scenes[0].truth, read(output))
    with pytest.raises(ValueError, match="other does not fit the model: .*Train a model on this scene, or run without a model"):
        detect(Detection(other, str(tmp_path / "none.tif"), model, unfit="refuse"), run_with(lines, warnings))
    assert not (tmp_path / "none.tif").exists()


def test_a_scene_that_fits_is_told_without_a_warning(files, tmp_path):
    lines, warnings = [], []
    ready = detect(
        Detection(RasterSource(str(files / "scene.tif"), "scene"), str(tmp_path / "map.tif"), str(files / "model.pt")),
        run_with(lines, warnings),
    )
    assert ready.fit > 0.95 and not warnings
    assert any("scene fits the model" in line for line in lines)


def test_detection_without_a_model_is_training_and_detection(files, tmp_path):
    scene = RasterSource(str(files / "scene.tif"))
    lines = []
    ready = detect(Detection(scene, str(tmp_path / "one.tif")), Run(2**28, log=lines.append))
    detect(Detection(scene, str(tmp_path / "two.tif"), str(files / "model.pt")), Run(2**28, log=lines.append))
    np.testing.assert_array_equal(read(tmp_path / "one.tif"), read(tmp_path / "two.tif"))
    assert ready.source == "learnt from the scene" and ready.fit is None
    assert gdal.Open(str(tmp_path / "one.tif")).GetRasterBand(1).GetDescription() == "Anomaly score"


def test_command_line_without_a_model_and_with_one_that_does_not_fit(files, tmp_path, capsys):
    from scoread_qgis.commandline.main import main

    scene, other = str(files / "scene.tif"), str(files / "other.tif")
    assert main(["detect", scene, other, "--output", str(tmp_path / "learnt")]) == 0
    assert " fit " not in capsys.readouterr().out
    model = ["--model", str(files / "model.pt")]
    assert main(["detect", scene, other, *model, "--output", str(tmp_path / "maps")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if "scene.tif" in line and "does not fit" not in line]
    assert [line for line in told if "other.tif" in line and "does not fit the model" in line]
    assert main(["detect", other, *model, "--unfit", "refuse", "--output", str(tmp_path / "refused")]) == 1
    # Learnt by itself, a scene gives the same map in any unit.
    maps = [read(tmp_path / "learnt" / f"{name}_anomalies.tif") for name in ("scene", "other")]
    assert np.corrcoef(*(each.ravel() for each in maps))[0, 1] > 0.999


@pytest.mark.needs_data
def test_an_adapted_model_is_as_good_as_the_scenes_own():
    from conftest import DATA
    from scipy.io import loadmat

    scenes = {name: loadmat(DATA / "scenes" / f"{name}.mat") for name in ("abu-airport-1", "sandiego")}
    values, other = (scenes[name]["data"][..., :188].astype(np.float32) for name in ("sandiego", "abu-airport-1"))
    truth, cube = scenes["sandiego"]["map"], ArrayCube(values)
    model = SGM.train([ArrayCube(other)])
    assert model.fit(cube).value < LIMIT
    adapted, own, transfer = (scored_auc(truth, whole(each.bind(cube))) for each in (model.adapted(cube), SGM.train([cube]), model))
    assert adapted > own - 0.003
    assert adapted > scored_auc(truth, whole(GlobalRX().bind(cube))) - 0.005
    assert transfer < own - 0.1


class TestInQgis:
    """Detect anomalies, as QGIS runs it."""

    def test_without_a_model_the_scene_is_learnt(self, run, files, tmp_path):
        results = run(
            "detect_anomalies", INPUT=str(files / "scene.tif"), OUTPUT=str(tmp_path / "map.tif"), REPORT=str(tmp_path / "why.html")
        )
        assert "learnt first" in results.log and not hasattr(results, "FIT")
        model = run("train_sgm", INPUT=str(files / "scene.tif"), MODEL=str(tmp_path / "m.pt")).MODEL
        run("detect_anomalies", INPUT=str(files / "scene.tif"), MODEL=model, OUTPUT=str(tmp_path / "two.tif"))
        np.testing.assert_array_equal(read(tmp_path / "map.tif"), read(tmp_path / "two.tif"))
        assert "learnt from the scene" in (tmp_path / "why.html").read_text(encoding="utf-8")

    def test_a_warning_reaches_the_message_bar(self, run, files, tmp_path):
        from qgis.utils import iface

        shown = []
        iface.messageBar().pushWarning = lambda title, text: shown.append((title, text))
        results = run("detect_anomalies", INPUT=str(files / "other.tif"), MODEL=str(files / "model.pt"), OUTPUT=str(tmp_path / "map.tif"))
        assert results.FIT < LIMIT
        assert shown and shown[0][0] == "Detect anomalies" and "does not fit the model" in shown[0][1]
        shown.clear()
        assert (
            run("detect_anomalies", INPUT=str(files / "scene.tif"), MODEL=str(files / "model.pt"), OUTPUT=str(tmp_path / "a.tif")).FIT
            > LIMIT
        )
        assert not shown

    def test_a_scene_that_does_not_fit_can_be_refused(self, run, files, tmp_path):
        from qgis.core import QgsProcessingException

        with pytest.raises(QgsProcessingException, match="does not fit the model"):
            run(
                "detect_anomalies", INPUT=str(files / "other.tif"), MODEL=str(files / "model.pt"), UNFIT=2, OUTPUT=str(tmp_path / "map.tif")
            )
        assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize("arguments", [[], ["--model", "model.pt"]])
def test_a_cluster_learns_and_adapts_as_one_machine_does(tmp_path, arguments):
    """Also where a scene is split into row blocks: one task looks at the whole of it."""
    from scoread_qgis.commandline.main import main

    for number, (rows, gain) in enumerate(((60, 1), (210, 3)), start=1):
        scene = simulate_scene(rows, 56, 96, seed=number)
        write_scene(tmp_path / f"{number}.tif", (scene.cube * gain).astype(np.int16), (0, 2, 0, 0, 0, -2), wavelengths=scene.wavelengths)
    arguments = [str(tmp_path / word) if word.endswith(".pt") else word for word in arguments]
    if arguments:
        train(Training("sgm", [RasterSource(str(tmp_path / "1.tif"))], arguments[-1], settings={"steps": 5}), Run(2**28))
    for output, where in (("here", []), ("there", ["--local-cluster", "1"])):
        command = ["detect", str(tmp_path / "2.tif"), *arguments, "--output", str(tmp_path / f"{output}.tif"), "--memory", "1", *where]
        assert main(command) == 0
    np.testing.assert_allclose(read(tmp_path / "there.tif"), read(tmp_path / "here.tif"), rtol=1e-5, atol=1e-5)
