"""Devices without double precision, which `auto` chooses on a Mac: every detector trains, detects, explains, is saved and loaded there."""

import numpy as np
import pytest
import torch
from single_precision_device import NAME, single_precision_device

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.fers import FERS, READOUTS
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.shared.explanation import expected_backgrounds, region_spectra
from scoread_qgis.detectors.shared.statistics import GaussianStatistics, MahalanobisDistance

TRAIN = {
    "default": lambda cube, device: SGM.train([cube], device=device),
    "paper": lambda cube, device: PaperSGM.train([cube], epochs=1, batch_size=256, hidden=16, conditional=True, device=device),
    "fers": lambda cube, device: FERS.train([cube], patch=16, epochs=2, batch=2, device=device),
}
DETECTIONS = {"default": [{}], "paper": [{"perturbations": 4}], "fers": [{"readout": readout} for readout in READOUTS]}


class OneRegion:
    count = 1

    def labels(self, first, last):
        labels = np.zeros((last - first, 30), int)
        labels[:, 3:6] = 1
        return labels


@pytest.fixture
def cube():
    random = np.random.default_rng(0)
    values = random.normal(size=(32, 30, 3)) @ random.normal(size=(3, 12)) + 0.3 * random.normal(size=(32, 30, 12)) + 5
    return ArrayCube(values.astype(np.float32), random.random((32, 30)) > 0.02, rows_per_block=8)


def results(kind, detector, cube):
    """Everything that a detector says of a cube: its maps, and the explanation of a region."""
    maps = [np.concatenate([rows for _, rows in detector.detect(cube, **options)]) for options in DETECTIONS[kind]]
    seen = region_spectra(cube, OneRegion())
    backgrounds = np.stack([expected.spectrum for expected in expected_backgrounds(cube, OneRegion(), seen)])
    explanation = detector.bind(cube).explain(seen.mean, seen.centres, backgrounds)
    return [*maps, explanation.scores, explanation.background_scores, explanation.contributions]


def test_the_device_is_one():
    """What the stand-in refuses, as a real device does; otherwise the next test would say nothing."""
    with single_precision_device():
        there = torch.arange(3.0).to(NAME)
        assert there.device.type == NAME
        assert (there + 1).cpu().tolist() == [1, 2, 3]
        with pytest.raises(TypeError, match="no float64"):
            there.double()
        with pytest.raises(TypeError, match="no float64"):
            torch.zeros(3, dtype=torch.float64, device=NAME)
        with pytest.raises(TypeError, match="no float64"):
            torch.zeros(3, dtype=torch.float64).to(NAME)
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.zeros(3)
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()


@pytest.mark.parametrize("kind", TRAIN)
def test_detectors_do_without_double_precision(kind, cube):
    expected = results(kind, TRAIN[kind](cube, "cpu"), cube)
    with single_precision_device():
        detector = TRAIN[kind](cube, NAME)
        loaded = type(detector).from_state(detector.state(), NAME)
        for mine in (detector, loaded):
            for there, here in zip(results(kind, mine, cube), expected):
                np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-4 * np.nanmax(np.abs(here)))


def test_statistics_of_vectors_on_the_device_are_those_of_double_precision():
    vectors = torch.from_numpy(np.random.default_rng(1).normal(1000, 1e-2, (500, 4)).astype(np.float32))
    exact = vectors.numpy().astype(np.float64)
    with single_precision_device():
        statistics = GaussianStatistics()
        for part in vectors.to(NAME).split(128):
            statistics.add(part)
        np.testing.assert_allclose(statistics.covariance.numpy(), np.cov(exact.T), rtol=1e-9)
        distance = MahalanobisDistance(statistics)
        offset = exact - exact.mean(0)
        expected = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(np.cov(exact.T)), offset)
        np.testing.assert_allclose(distance(vectors.to(NAME)).numpy(), expected, rtol=1e-8)
        np.testing.assert_allclose(
            distance.contributions(vectors.to(NAME), distance.mean.expand(500, -1)).sum(1).numpy(), expected, rtol=1e-8
        )
