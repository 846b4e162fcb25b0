"""The contract of detectors: windows are pieces of the map, and a new detector is one file and one line."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import BUILT

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.registry import DETECTORS
from scoread_qgis.scenes.simulated import simulate_scene

ROWS, COLUMNS, BANDS = 44, 37, 60
TRAINED = {
    "sgm": {"samples": 600, "hidden": 32},
    "sgm-paper": {"epochs": 1, "batch_size": 128, "hidden": 16, "samples": 300},
    "fers": {"epochs": 1, "patch": 16, "batch": 4},
}
OPTIONS = {"sgm-paper": {"perturbations": 4}}
CASES = ["sgm", "sgm-paper", "sgm-paper, conditional", "fers", "fers, product", "fers, autoencoder", "rx", "rx-local"]
CASES += ["matched-filter, trimmed", "matched-filter, local", "ace, global", "ace, local"]


class WatchedCube(ArrayCube):
    """Remembers which pixels were read."""

    def read(self, first, last, left=0, right=None):
        self.seen[first:last, left:right] = True
        return super().read(first, last, left, right)


@pytest.fixture(scope="module")
def cube():
    values = simulate_scene(ROWS, COLUMNS, BANDS, seed=2).cube.astype(np.float32)
    valid = np.ones((ROWS, COLUMNS), bool)
    valid[8:12, 5:9] = valid[:, 20] = valid[30, 3] = False
    cube = WatchedCube(values, valid, rows_per_block=13)
    cube.seen = np.zeros((ROWS, COLUMNS), bool)
    return cube


@pytest.fixture(scope="module", params=CASES)
def bound(request, cube):
    """Scorer, and the map."""
    kind, _, variant = request.param.partition(", ")
    settings = dict(TRAINED.get(kind, {}), **({"conditional": True} if variant == "conditional" else {}))
    if kind in ("matched-filter", "ace"):
        detector = DETECTORS[kind](cube.read(5, 6)[0][0, [2, 30]], background=variant)
    else:
        detector = DETECTORS[kind].train([cube], **settings) if DETECTORS[kind].keeps_model else DETECTORS[kind]()
    options = {"readout": variant} if kind == "fers" and variant else OPTIONS.get(kind, {})
    scorer = detector.bind(cube, **options)
    return scorer, np.concatenate([rows for _, rows in scorer.map()])


@pytest.mark.parametrize(
    ("row", "column", "rows", "columns"),
    [(0, 0, 1, 1), (43, 36, 1, 1), (21, 19, 1, 1), (0, 30, 5, 7), (9, 4, 6, 6), (30, 3, 1, 1), (0, 0, ROWS, COLUMNS), (39, 0, 5, 2)],
)
def test_a_window_is_a_piece_of_the_map_and_reads_no_more_than_its_halo(bound, cube, row, column, rows, columns):
    scorer, whole = bound
    cube.seen[:] = False
    window = scorer.window(row, column, rows, columns)
    assert window.dtype == np.float32
    tolerance = 1e-4 * np.nanmax(np.abs(whole))
    np.testing.assert_allclose(window, whole[row : row + rows, column : column + columns], rtol=1e-3, atol=tolerance)
    allowed = np.zeros_like(cube.seen)
    halo = scorer.halo
    allowed[max(0, row - halo) : row + rows + halo, max(0, column - halo) : column + columns + halo] = True
    assert not (cube.seen & ~allowed).any()


def test_windows_outside_of_the_scene_are_refused(bound):
    scorer, _ = bound
    for window in ((-1, 0), (0, COLUMNS), (ROWS - 1, 0, 2, 1), (0, 0, 0, 1)):
        with pytest.raises(ValueError, match="does not lie in the scene"):
            scorer.window(*window)


def test_an_explanation_reads_no_more_than_windows(bound, cube):
    """The first one may make what all of them need; the next ones are clicks."""
    scorer, _ = bound
    spectra = np.stack([cube.read(5, 6)[0][0, 30], cube.read(25, 26)[0][0, 0]])
    positions = np.array([[5, 30], [25, 0]])
    backgrounds = np.stack([cube.read(7, 8)[0][0, 30], cube.read(25, 26)[0][0, 5]])
    scorer.explain(spectra, positions, backgrounds)
    cube.seen[:] = False
    explanation = scorer.explain(spectra, positions, backgrounds)
    near = np.zeros_like(cube.seen)
    for row, column in positions:
        near[max(0, row - scorer.halo) : row + scorer.halo + 1, max(0, column - scorer.halo) : column + scorer.halo + 1] = True
    assert not (cube.seen & ~near).any()
    np.testing.assert_allclose(explanation.background_scores + explanation.contributions.sum(1), explanation.scores, rtol=1e-3)
    assert explanation.contributions.shape == (2, BANDS)
    swapped = scorer.explain(backgrounds, positions, spectra)
    np.testing.assert_allclose(swapped.scores, explanation.background_scores, rtol=1e-3)


@pytest.mark.parametrize("kind", ["rx", "rx-local"])
def test_rx_explains_the_value_of_its_map(cube, kind):
    scorer = DETECTORS[kind]().bind(cube)
    spectrum = cube.read(25, 26)[0][0, 30:31]
    background = cube.read(27, 28)[0][0, 32:33]
    explanation = scorer.explain(spectrum, np.array([[25, 30]]), background)
    assert explanation.scores[0] == pytest.approx(float(scorer.window(25, 30)[0, 0]), rel=1e-3)
    assert explanation.background_scores[0] + explanation.contributions.sum() == pytest.approx(explanation.scores[0], rel=1e-6)


TOY = '''
"""Distance from the mean of the training spectra, for the test of the contract."""

import numpy as np
import torch

from .contract import Detector, Scorer, scattered, valid_spectra
from .shared.explanation import Explanation


class Toy(Detector):
    kind, title = "toy", "Toy"

    def __init__(self, mean):
        self.mean, self.bands, self.loss_curve = mean, len(mean), [1.0, 0.5]

    @classmethod
    def train(cls, cubes, seed=0, device="cpu", progress=None):
        return cls(torch.cat([valid_spectra(block) for block in cubes[0].blocks()]).mean(0))

    def state(self):
        return {"mean": self.mean, "loss_curve": self.loss_curve}

    @classmethod
    def from_state(cls, state, device="cpu"):
        return cls(state["mean"])

    def bind(self, cube, gathered=None, progress=None):
        scorer = ToyScorer(cube)
        scorer.mean = self.mean
        return scorer


class ToyScorer(Scorer):
    def values(self, block, tell):
        return scattered((valid_spectra(block) - self.mean).norm(dim=1), block.valid[block.inner])

    def explain(self, spectra, positions, backgrounds, progress=None):
        scores, below = (np.linalg.norm(each - self.mean.numpy(), axis=1) for each in (spectra, backgrounds))
        contributions = np.repeat((scores - below)[:, None] / spectra.shape[1], spectra.shape[1], 1)
        return Explanation(scores, below, contributions, "distance from the mean")
'''

USE = """
import sys
import numpy as np
from pathlib import Path
from osgeo import gdal
from scoread_qgis.commandline.main import main
from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.model_file import Model
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene
from scoread_qgis.workflows.explain import RegionExplanation, explain_regions
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import RasterSource, RegionSource
from scoread_qgis.workflows.train import Training, train

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    scene = simulate_scene(210, 56, 96, seed=3)
    write_scene(folder / "scene.tif", scene.cube, (0, 2, 0, 0, 0, -2), wavelengths=scene.wavelengths)
    source, model = RasterSource(str(folder / "scene.tif")), str(folder / "toy.pt")
    train(Training("toy", [source], model), Run(2**28))
    detector = Model.load(model).detector
    values = scene.cube.astype(np.float32)
    expected = np.linalg.norm(values - detector.mean.numpy(), axis=2)
    for output, where in (("here", []), ("there", ["--local-cluster", "1"])):
        target = str(folder / f"{output}.tif")
        assert main(["detect", str(folder / "scene.tif"), "--model", model, "--output", target, "--memory", "1", *where]) == 0
        found = gdal.Open(target).ReadAsArray()
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    point = bytes.fromhex("0101000000") + np.array([21.0, -41.0]).tobytes()
    regions = RegionSource("places", "", (point,), (1,), (1,))
    assert explain_regions(RegionExplanation(source, model, regions, table=str(folder / "why.csv")), Run(2**28)) == 1
    assert main(["info", model]) == 0
    print("The toy works.")
"""


def test_a_new_detector_is_one_file_and_one_line(tmp_path):
    """It trains, is saved, loaded and told of, detects here and in row blocks on a cluster, and explains, with no other edit."""
    shutil.copytree(BUILT, tmp_path / "scoread_qgis", ignore=shutil.ignore_patterns("__pycache__"))
    detectors = tmp_path / "scoread_qgis" / "detectors"
    (detectors / "toy.py").write_text(TOY)
    registry = (detectors / "registry.py").read_text(encoding="utf-8")
    (detectors / "registry.py").write_text(registry + "DETECTORS['toy'] = __import__('scoread_qgis.detectors.toy', fromlist=['Toy']).Toy\n")
    (tmp_path / "use.py").write_text(USE)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "use.py"), str(tmp_path)], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True,
        text=True, check=False, timeout=300,
    )  # fmt: skip
    assert "The toy works." in done.stdout, done.stderr
    assert "kind: Toy" in done.stdout
    assert "Split into" in done.stderr
