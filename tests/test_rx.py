"""RX against Spectral Python, scikit-learn and plain formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.detectors.rx import GlobalRX, LocalRX
from scoread_qgis.detectors.shared import local_products
from scoread_qgis.detectors.shared.local_windows import ledoit_wolf_shrinkage
from scoread_qgis.detectors.shared.statistics import GaussianStatistics

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
spectral = pytest.importorskip("spectral", reason="needs Spectral Python: python -m pip install spectral")


def scene(rows=18, columns=15, bands=6, seed=0):
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(bands, bands))
    return (random.normal(size=(rows, columns, bands)) @ mixing * 100 + 2000).astype(np.float32)


def detect(detector, values, valid=None, rows_per_block=64):
    cube = ArrayCube(values, valid, rows_per_block=rows_per_block)
    parts = list(detector.detect(cube))
    ends = np.cumsum([len(scores) for _, scores in parts])
    assert [row for row, _ in parts] == [0, *ends[:-1]], "rows follow each other from top to bottom"
    assert ends[-1] == cube.rows
    return np.concatenate([scores for _, scores in parts])


def test_global_equals_spectral_python():
    values = scene()
    np.testing.assert_allclose(detect(GlobalRX(), values), spectral.rx(values.astype(np.float64)), rtol=1e-5)


@pytest.mark.needs_data
def test_global_equals_spectral_python_on_a_real_scene():
    from scipy.io import loadmat

    values = loadmat(DATA / "scenes" / "abu-airport-1.mat")["data"].astype(np.float32)
    np.testing.assert_allclose(detect(GlobalRX(), values), spectral.rx(values.astype(np.float64)), rtol=1e-5)


def choose(monkeypatch, way):
    """Small windows are solved one by one, larger ones by sums that slide: here all in one of these ways."""
    monkeypatch.setattr(local_products, "FEW_PRODUCTS", np.inf if way == "windows" else 0)


@pytest.fixture(params=["windows", "sums"])
def way(request, monkeypatch):
    choose(monkeypatch, request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("inner, outer", [(1, 5), (3, 7), (5, 13)])
def test_local_without_shrinkage_equals_spectral_python(inner, outer):
    """All pixels, so the moved windows at the edges too."""
    values = scene()
    expected = spectral.rx(values.astype(np.float64), window=(inner, outer))
    np.testing.assert_allclose(detect(LocalRX(inner, outer, shrinkage=0), values), expected, rtol=1e-4)


def ring(values, valid, row, column, inner, outer):
    """Valid spectra between the two windows, both moved into the scene."""
    used = np.zeros_like(valid)
    for width, inside in [(outer, True), (inner, False)]:
        top, left = (min(max(x - width // 2, 0), size - width) for x, size in zip((row, column), valid.shape))
        used[top : top + width, left : left + width] = inside
    return values[used & valid].astype(np.float64)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("bands, outer", [(6, 7), (60, 7), (60, 5)])
def test_local_with_ledoit_wolf_equals_scikit_learn(bands, outer):
    """With more and with fewer pixels than bands in the windows, and with invalid pixels, which no window may use."""
    covariance = pytest.importorskip("sklearn.covariance", reason="needs scikit-learn: python -m pip install scikit-learn")
    values, valid = scene(bands=bands), np.random.default_rng(1).random((18, 15)) > 0.1
    values[~valid] = 1e30
    actual = detect(LocalRX(3, outer), values, valid)
    assert np.array_equal(np.isfinite(actual), valid)
    for row, column in [(0, 0), (9, 7), (17, 3), (5, 14)]:
        if not valid[row, column]:
            continue
        background = ring(values, valid, row, column, 3, outer)
        centred = background - background.mean(0)
        matrix, shrinkage = covariance.ledoit_wolf(centred, assume_centered=True)
        products = torch.from_numpy(centred.T @ centred)[None]
        count = torch.tensor([float(len(centred))])
        assert ledoit_wolf_shrinkage(torch.from_numpy(centred)[None], products, count).item() == pytest.approx(shrinkage)
        difference = values[row, column] - background.mean(0)
        # scikit-learn divides by n, RX by n - 1
        expected = difference @ np.linalg.solve(matrix, difference) * (len(centred) - 1) / len(centred)
        assert actual[row, column] == pytest.approx(expected, rel=1e-4)


def test_local_with_fixed_shrinkage_is_the_plain_formula_with_fewer_pixels_than_bands():
    values = scene(bands=60)
    actual = detect(LocalRX(1, 5, shrinkage=0.2), values)
    background = ring(values, np.ones((18, 15), bool), 8, 8, 1, 5)
    matrix = np.cov(background, rowvar=False)
    matrix = 0.8 * matrix + 0.2 * np.trace(matrix) / 60 * np.eye(60)
    difference = values[8, 8] - background.mean(0)
    assert actual[8, 8] == pytest.approx(difference @ np.linalg.solve(matrix, difference), rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 20), st.sampled_from([GlobalRX(), LocalRX(3, 7), LocalRX(1, 5, 0.1)]))
def test_same_map_for_any_block_size(rows_per_block, detector):
    values, valid = scene(), np.random.default_rng(2).random((18, 15)) > 0.1
    expected = detect(detector, values, valid)
    np.testing.assert_allclose(detect(detector, values, valid, rows_per_block), expected, rtol=1e-5)


def test_invalid_pixels_do_not_enter_the_statistics():
    values, valid = scene(), np.random.default_rng(3).random((18, 15)) > 0.3
    other = values.copy()
    other[~valid] = np.nan
    actual = detect(GlobalRX(), other, valid)
    assert np.array_equal(np.isfinite(actual), valid)
    expected = spectral.rx(values.astype(np.float64)[valid], background=spectral.calc_stats(values[valid].astype(np.float64)))
    np.testing.assert_allclose(actual[valid], expected, rtol=1e-5)


def test_global_with_constant_band_and_too_few_pixels():
    """The pseudo-inverse leaves out the directions that have no variance."""
    values = scene()
    with_constant = np.concatenate([values, np.full((18, 15, 1), 7, np.float32)], axis=2)
    np.testing.assert_allclose(detect(GlobalRX(), with_constant), detect(GlobalRX(), values), rtol=1e-5)
    # n points in general position lie at the same distance from their mean, (n - 1)^2 / n: a map that says nothing
    for bands in (19, 40):
        with pytest.raises(
            ValueError, match="20 valid pixels do not describe a background that varies in 19 directions.*21 pixels are needed"
        ):
            detect(GlobalRX(), scene(4, 5, bands))
    assert np.ptp(detect(GlobalRX(), scene(4, 5, 18))) > 0


def test_statistics_keep_their_digits_beside_a_large_offset():
    random = np.random.default_rng(4)
    values = random.normal(size=(1000, 3)) + 1e7
    statistics = GaussianStatistics()
    for part in np.array_split(values, 7):
        statistics.add(torch.from_numpy(part))
    np.testing.assert_allclose(statistics.mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(statistics.covariance, np.cov(values, rowvar=False), rtol=1e-7)


def test_messages():
    with pytest.raises(ValueError, match="outer window of 11 pixels is larger than the scene of 20 rows and 3 columns"):
        detect(LocalRX(3, 11), scene(20, 3))
    with pytest.raises(ValueError, match="hold 16 pixels for 60 bands: local RX needs shrinkage"):
        detect(LocalRX(3, 5, shrinkage=0), scene(bands=60))
    with pytest.raises(ValueError, match="have to be odd"):
        LocalRX(4, 9)
    with pytest.raises(ValueError, match="have to be odd, and the outer one larger"):
        LocalRX(9, 9)
    with pytest.raises(ValueError, match="between 0 and 1"):
        LocalRX(3, 9, 2)
    with pytest.raises(ValueError, match="at least two valid pixels; this scene has 0"):
        detect(GlobalRX(), scene(), np.zeros((18, 15), bool))


@pytest.mark.parametrize("detector", [GlobalRX(), LocalRX(3, 7)])
def test_cancel_and_progress(detector):
    fractions = []

    def report(fraction, message):
        fractions.append(fraction)
        if fraction > 0.6:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(detector.detect(ArrayCube(scene(), rows_per_block=2), Progress(report)))
    assert fractions == sorted(fractions) and len(fractions) > 5


def test_state_round_trip():
    restored = LocalRX.from_state(LocalRX(3, 9, 0.1).state())
    assert restored.state() == {"inner_window": 3, "outer_window": 9, "shrinkage": 0.1}
    assert isinstance(GlobalRX.from_state(GlobalRX().state()), GlobalRX)


@pytest.mark.parametrize("shrinkage, constant", [(None, False), (None, True), (0.1, False), (0, False), (0, True), (1, False)])
def test_sums_are_as_exact_as_windows(monkeypatch, shrinkage, constant):
    """With holes, with bands far from 0, beside an edge that is 1000 times as high as the values vary, and where a band does not vary."""
    values = np.repeat(scene(12, 35, 24), 2, 1) + np.random.default_rng(5).normal(0, 30, (12, 70, 24)).astype(np.float32)
    values[:, 50:] += 1e6
    if constant:
        values[:, 20:40, 3] = 5  # the band varies, but not in all windows
    valid = np.random.default_rng(6).random((12, 70)) > 0.05
    valid[:, 10:16] = False
    values[~valid] = np.nan
    maps = []
    for each in ("windows", "sums"):
        choose(monkeypatch, each)
        maps.append(detect(LocalRX(3, 9, shrinkage), values, valid))
    assert np.array_equal(np.isfinite(maps[0]), valid)
    np.testing.assert_allclose(maps[1], maps[0], rtol=2e-6)


@pytest.mark.usefixtures("way")
def test_pixels_whose_windows_tell_nothing_are_counted():
    """Windows with no more valid pixels than bands and no shrinkage, and windows of equal pixels, have no covariance."""
    values = scene(20, 20, 60)
    valid = np.random.default_rng(0).random((20, 20)) > 0.8
    scorer = LocalRX(5, 15, shrinkage=0).bind(ArrayCube(values, valid))
    scores = np.concatenate([rows for _, rows in scorer.map()])
    assert np.isnan(scores).all()
    assert scorer.unscored == valid.sum()
    alike = np.repeat(np.repeat(scene(4, 4, 60), 5, 0), 5, 1)
    scorer = LocalRX(1, 3).bind(ArrayCube(alike))
    scores = np.concatenate([rows for _, rows in scorer.map()])
    assert 0 < scorer.unscored == np.isnan(scores).sum() < 400
