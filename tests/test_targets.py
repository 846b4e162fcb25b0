"""Matched filter and ACE against Spectral Python and plain formulas, and what they need of a scene."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.model_file import Model
from scoread_qgis.detectors.shared import local_products
from scoread_qgis.detectors.shared.tensor_file import decode, encode
from scoread_qgis.detectors.target import ACE, MatchedFilter
from scoread_qgis.detectors.target.background import Background
from scoread_qgis.detectors.target.own_pixels import OwnPixels

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
spectral = pytest.importorskip("spectral", reason="needs Spectral Python: python -m pip install spectral")
BOTH = pytest.mark.parametrize("kind", [MatchedFilter, ACE])


def scene(rows=18, columns=15, bands=6, seed=0):
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(bands, bands))
    return (random.normal(size=(rows, columns, bands)) @ mixing * 100 + 2000).astype(np.float32)


def detect(detector, values, valid=None, rows_per_block=64, **options):
    return np.concatenate([rows for _, rows in detector.detect(ArrayCube(values, valid, rows_per_block=rows_per_block), **options)])


def expected(kind, values, targets):
    """That of Spectral Python; its ACE has no sign, which is that of the matched filter."""
    exact = values.astype(np.float64)
    filtered = spectral.matched_filter(exact, targets[0])
    return filtered if kind is MatchedFilter else np.sign(filtered) * spectral.ace(exact, targets)


@BOTH
def test_global_equals_spectral_python(kind):
    values, targets = scene(), scene(1, 2, seed=5)[0, :1].astype(np.float64)
    actual = detect(kind(targets, background="global"), values)
    np.testing.assert_allclose(actual, expected(kind, values, targets), rtol=1e-5, atol=1e-7)
    assert (actual < 0).any() and (actual > 0).any()


@pytest.mark.needs_data
@BOTH
def test_global_equals_spectral_python_on_a_real_scene(kind):
    from scipy.io import loadmat

    content = loadmat(DATA / "scenes" / "abu-airport-1.mat")
    values = content["data"].astype(np.float32)
    targets = values[content["map"] > 0].mean(0, dtype=np.float64)[None]
    np.testing.assert_allclose(detect(kind(targets, background="global"), values), expected(kind, values, targets), rtol=1e-4, atol=1e-6)


@BOTH
def test_local_without_shrinkage_equals_spectral_python(kind):
    """Its own `window=` needs numpy < 2.4, to which an array of one number is no number; its windows and its filters do not."""
    from spectral.algorithms.spatial import map_outer_window_stats

    def filtered(background, spectrum):
        value = spectral.MatchedFilter(background, targets[0])(spectrum).item()
        if kind is MatchedFilter:
            return value
        return np.sign(value) * np.asarray(spectral.ace(spectrum, targets, background=background)).item()

    values, targets = scene(), scene(1, 2, seed=5)[0, :1].astype(np.float64)
    actual = detect(kind(targets, background="local", inner_window=3, outer_window=7, shrinkage=0), values)
    np.testing.assert_allclose(actual, map_outer_window_stats(filtered, values.astype(np.float64), 3, 7), rtol=1e-3, atol=1e-5)


@BOTH
def test_sums_give_what_windows_give(kind, monkeypatch):
    """For several targets, with holes, and where some pixels are the targets' own."""
    values, valid = scene(20, 30, 24), np.random.default_rng(6).random((20, 30)) > 0.05
    values[~valid] = np.nan
    targets = scene(1, 2, 24, seed=5)[0]
    places = np.argwhere(valid)[7::40]
    own = OwnPixels(places, values[tuple(places.T)], range(24))
    maps = []
    for few in (np.inf, 0):
        monkeypatch.setattr(local_products, "FEW_PRODUCTS", few)
        maps.append(detect(kind(targets, own=own, background="local", inner_window=3, outer_window=9), values, valid))
    assert np.array_equal(np.isfinite(maps[0]), valid)
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-5, atol=1e-6)


def test_several_targets_are_a_subspace():
    """ACE: as Spectral Python has it, but for the sign. Matched filter: 1 for each target, and the least variance that this allows."""
    values, targets = scene(40, 40), scene(1, 3, seed=5)[0].astype(np.float64)
    np.testing.assert_allclose(
        np.abs(detect(ACE(targets, background="global"), values)), spectral.ace(values.astype(np.float64), targets), rtol=1e-4
    )
    scorer = MatchedFilter(targets, background="global").bind(ArrayCube(values))
    found = scorer.explain(targets, np.zeros((3, 2)), np.repeat(values.mean((0, 1), dtype=np.float64)[None], 3, 0))
    assert found.scores == pytest.approx(np.ones(3)) and found.background_scores == pytest.approx(np.zeros(3), abs=1e-6)
    mean, covariance = values.reshape(-1, 6).mean(0, dtype=np.float64), np.cov(values.reshape(-1, 6), rowvar=False)
    constraints = (targets - mean) @ np.linalg.solve(covariance, (targets - mean).T)
    least = np.ones(3) @ np.linalg.solve(constraints, np.ones(3))
    assert np.var(detect(MatchedFilter(targets, background="global"), values), ddof=1) == pytest.approx(least, rel=1e-4)


@BOTH
def test_a_target_that_is_given_twice_is_one(kind):
    values, targets = scene(), scene(1, 2, seed=5)[0]
    once = detect(kind(targets), values)
    np.testing.assert_allclose(detect(kind(targets[[0, 1, 0]]), values), once, rtol=1e-4, atol=1e-6)


@BOTH
@pytest.mark.parametrize("background", ["global", "trimmed", "local"])
def test_the_targets_own_pixels_are_no_background(kind, background):
    """As if the mask left them out of the background; and those that have changed since, as in another scene, are background."""
    values = scene(20, 20, seed=1)
    values[8:11, 8:11] += 3000
    own = OwnPixels(np.argwhere(values[..., 0] > 3500), values[8:11, 8:11].reshape(-1, 6)[:, [0, 4]], [0, 4])
    assert len(own.positions) == 9
    target = values[8:11, 8:11].mean((0, 1))[None]
    settings = {"background": background, "inner_window": 1, "outer_window": 7}
    with_all, without = detect(kind(target, **settings), values), detect(kind(target, own=own, **settings), values)
    valid = np.ones((20, 20), bool)
    valid[8:11, 8:11] = False
    masked = detect(kind(target, **settings), values, valid)
    np.testing.assert_allclose(without[valid], masked[valid], rtol=1e-4, atol=1e-6)
    assert np.abs(with_all[valid] - masked[valid]).max() > 1e-3
    moved = OwnPixels(own.positions, own.marks + 1, own.bands)
    np.testing.assert_allclose(detect(kind(target, own=moved, **settings), values), with_all, rtol=1e-5)


@BOTH
@pytest.mark.parametrize("background", ["global", "trimmed", "local"])
def test_same_map_for_any_block_size_and_from_parts(kind, background, tmp_path):
    values, valid = scene(24, 17), np.random.default_rng(2).random((24, 17)) > 0.1
    own = OwnPixels(np.array([[11, 3], [12, 4]]))
    detector = kind(values[5, 5:7], own=own, background=background, inner_window=1, outer_window=7)
    whole = detect(detector, values, valid)
    assert np.array_equal(np.isfinite(whole), valid)
    np.testing.assert_allclose(detect(detector, values, valid, rows_per_block=5), whole, rtol=1e-5, atol=1e-6)
    cube = ArrayCube(values, valid)
    gathered = None
    for span in ((0, 9), (9, 12), (12, 24)):
        (tmp_path / "part").write_bytes(b"".join(encode(detector.gather(cube.within(*span)).state())))
        part = Background.from_state(decode(tmp_path / "part"))
        gathered = part if gathered is None else (gathered.merge(part) or gathered)
    np.testing.assert_allclose(detect(detector, values, valid, gathered=gathered), whole, rtol=1e-5, atol=1e-6)


def test_trimmed_statistics_are_hardly_moved_by_outliers():
    """1 % of the pixels lie far off in a direction that the target has, too: the global statistics take it for background."""
    values = scene(60, 60, bands=12, seed=3)
    random = np.random.default_rng(0)
    off = random.normal(size=12) * 300
    target = (values.mean((0, 1)) + off + random.normal(size=12) * 200)[None]
    soiled = values.copy()
    places = tuple(random.integers(0, 60, (2, 36)))
    soiled[places] += (off * 10).astype(np.float32)
    clean = np.ones((60, 60), bool)
    clean[places] = False
    best = detect(ACE(target, background="global"), values)[clean]
    globally, trimmed = (np.abs(detect(ACE(target, background=each), soiled)[clean] - best).mean() for each in ("global", "trimmed"))
    assert trimmed < 0.3 * globally


@BOTH
@pytest.mark.parametrize("background", ["global", "trimmed", "local"])
def test_contributions_sum_to_the_value_of_the_map(kind, background):
    values = scene(20, 20, seed=4)
    scorer = kind(values[3, 3:5], background=background, inner_window=3, outer_window=9).bind(ArrayCube(values))
    spectra, backgrounds = values[[7, 0], [9, 19]], values[[12, 4], [2, 4]]
    found = scorer.explain(spectra, np.array([[7, 9], [0, 19]]), backgrounds)
    np.testing.assert_allclose(found.background_scores + found.contributions.sum(1), found.scores, rtol=1e-9, atol=1e-12)
    assert found.scores == pytest.approx([float(scorer.window(7, 9)[0, 0]), float(scorer.window(0, 19)[0, 0])], rel=1e-3)
    assert found.contributions.shape == (2, 6) and kind.what in found.what


@BOTH
def test_a_model_file_keeps_the_targets(kind, tmp_path):
    values = scene()
    own = OwnPixels(np.array([[2, 3]]), values[2:3, 3, :2], [0, 1])
    detector = kind(values[2, 3:4], ["a truck"], own, "local", 3, 9, 0.25)
    Model(detector, 6, band_numbers={"numbers": [1, 2, 3, 4, 5, 6], "of": 6}).save(tmp_path / "targets.pt")
    restored = Model.load(tmp_path / "targets.pt").detector
    assert type(restored) is kind and restored.names == ["a truck"]
    np.testing.assert_array_equal(detect(restored, values), detect(detector, values))
    for name, wrong in {
        "targets": torch.zeros(2, 3),
        "names": ["a", "b"],
        "own": {},
        "background": "none",
        "inner_window": 4,
        "shrinkage": 2.0,
    }.items():
        with pytest.raises(ValueError):
            kind.from_state({**detector.state(), name: wrong})
    with pytest.raises(ValueError, match="does not name bands"):
        kind.from_state({**detector.state(), "own": {**own.state(), "bands": [0, 6]}})


class TestRefused:
    def test_a_target_that_is_the_background(self):
        values = scene()
        with pytest.raises(ValueError, match="target a is the mean of the background"):
            ACE(values.mean((0, 1), dtype=np.float64)[None], ["a"], background="global").bind(ArrayCube(values))

    @pytest.mark.parametrize("background", ["global", "local"])
    def test_as_many_targets_as_directions(self, background):
        with pytest.raises(ValueError, match="6 targets span all 6 directions"):
            ACE(scene(1, 6, seed=9)[0], background=background).bind(ArrayCube(scene()))

    def test_other_bands(self):
        with pytest.raises(ValueError, match="the targets have 4 bands, and this scene 6"):
            ACE(np.ones((1, 4))).bind(ArrayCube(scene()))

    @pytest.mark.parametrize("background", ["global", "trimmed"])
    def test_a_scene_of_the_targets_alone(self, background):
        values = scene(2, 3)
        own = OwnPixels(np.argwhere(np.ones((2, 3))))
        with pytest.raises(ValueError, match="at least two valid pixels; this scene has 0"):
            ACE(values[0, :1], own=own, background=background).bind(ArrayCube(values))

    def test_windows_that_do_not_fit(self):
        with pytest.raises(ValueError, match="outer window of 31 pixels is larger"):
            ACE(scene()[0, :1], background="local", outer_window=31).bind(ArrayCube(scene()))
        with pytest.raises(ValueError, match="have to be odd"):
            ACE(scene()[0, :1], background="local", inner_window=4)
