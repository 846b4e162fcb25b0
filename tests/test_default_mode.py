"""Train SGM and Detect anomalies in their default mode, from cubes in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat
from sklearn.metrics import roc_auc_score

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.detectors.default_mode.clutter import CLUTTER
from scoread_qgis.detectors.default_mode.sgm import SGM, _spectra, _training_pixels
from scoread_qgis.detectors.default_mode.surrounding_parts import Gathering
from scoread_qgis.detectors.shared.half_whitening import HalfWhitening
from scoread_qgis.detectors.shared.tensor_file import decode, encode

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def scene(rows=32, columns=27, bands=20, seed=0, holes=0.05):
    """Two mixed materials with noise and a few pixels of a third one; a cube, and where the third one is."""
    generator = np.random.default_rng(seed)
    materials = np.cumsum(generator.normal(size=(3, bands)), axis=1) + 20
    share = generator.random((rows, columns, 1))
    values = share * materials[0] + (1 - share) * materials[1] + 0.1 * generator.normal(size=(rows, columns, bands))
    anomalies = generator.random((rows, columns)) < 0.01
    values[anomalies] = 0.5 * values[anomalies] + 0.5 * materials[2]
    valid = generator.random((rows, columns)) >= holes
    return values.astype(np.float32), valid, anomalies


def whole(pieces):
    return np.concatenate([values for _, values in pieces])


@pytest.fixture(scope="module")
def trained():
    values, valid, anomalies = scene()
    return SGM.train([ArrayCube(values, valid)], hidden=32, seed=1), values, valid, anomalies


def test_finds_planted_anomalies(trained):
    model, values, valid, anomalies = trained
    scores = whole(model.detect(ArrayCube(values, valid)))
    assert scores.dtype == np.float32 and scores.shape == valid.shape
    assert roc_auc_score(anomalies[valid], scores[valid]) > 0.98


@settings(max_examples=12, deadline=None)
@given(rows_per_block=st.integers(1, 40), threads=st.integers(1, 2))
def test_the_map_does_not_depend_on_blocks_and_threads(trained, rows_per_block, threads):
    model, values, valid, _ = trained
    expected = whole(model.detect(ArrayCube(values, valid, rows_per_block=len(values))))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = whole(model.detect(ArrayCube(values, valid, rows_per_block=rows_per_block)))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_training_does_not_depend_on_blocks(trained):
    _, values, valid, _ = trained
    maps = [
        whole(SGM.train([ArrayCube(values, valid, rows_per_block=size)], hidden=32).detect(ArrayCube(values, valid))) for size in (3, 32)
    ]
    # Which pixels are drawn, and what is computed of them, does not; but matrix products of other sizes may differ in the last bits.
    np.testing.assert_allclose(*maps, rtol=2e-6, atol=2e-6)


def test_invalid_pixels_are_nan_and_have_no_influence(trained):
    model, values, valid, _ = trained
    spoilt = values.copy()
    spoilt[~valid] = 1e30
    clean_map, spoilt_map = whole(model.detect(ArrayCube(values, valid))), whole(model.detect(ArrayCube(spoilt, valid)))
    assert (np.isnan(clean_map) == ~valid).all()
    np.testing.assert_array_equal(clean_map, spoilt_map)
    settings_of_both = {"hidden": 32}
    models = [SGM.train([ArrayCube(cube, valid)], **settings_of_both) for cube in (values, spoilt)]
    np.testing.assert_array_equal(*(whole(each.detect(ArrayCube(values, valid))) for each in models))


def test_seeds_repeat_and_differ(trained):
    _, values, valid, _ = trained
    cube = ArrayCube(values, valid)
    first, again, other = (whole(SGM.train([cube], hidden=32, seed=seed).detect(cube))[valid] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_state_goes_through_a_file(trained, tmp_path):
    model, values, valid, _ = trained
    (tmp_path / "state.pt").write_bytes(b"".join(encode(model.state())))
    restored = SGM.from_state(decode(tmp_path / "state.pt"))
    cube = ArrayCube(values, valid)
    np.testing.assert_array_equal(whole(restored.detect(cube)), whole(model.detect(cube)))
    assert restored.loss_curve == model.loss_curve == []


def test_fewer_pixels_than_bands_work_and_too_few_do_not():
    values, _, _ = scene(6, 7, 60, holes=0)
    scores = whole(SGM.train([ArrayCube(values)]).detect(ArrayCube(values)))
    assert np.isfinite(scores).all()
    with pytest.raises(ValueError, match="20 valid pixels"):
        SGM.train([ArrayCube(values[:2])])
    with pytest.raises(ValueError, match="no valid pixel"):
        SGM.train([ArrayCube(np.full((5, 5, 4), np.nan))])
    with pytest.raises(ValueError, match="constant"):
        SGM.train([ArrayCube(np.ones((6, 6, 4)))])


@pytest.mark.parametrize("shape", [(3, 30), (30, 3), (1, 40), (40, 1)])
def test_narrow_scenes(shape):
    values, _, _ = scene(*shape, bands=5, holes=0)
    assert np.isfinite(whole(SGM.train([ArrayCube(values)], hidden=16).detect(ArrayCube(values)))).all()


def test_the_unit_of_the_scene_does_not_matter_and_bands_of_wildly_different_scale_do_no_harm(trained):
    _, values, valid, anomalies = trained
    factors = (10.0 ** np.linspace(-4, 4, values.shape[2])).astype(np.float32)
    first, second, wild = (
        whole(SGM.train([cube], hidden=32).detect(cube))[valid]
        for cube in (ArrayCube(values, valid), ArrayCube(values * np.float32(1e-4), valid), ArrayCube(values * factors, valid))
    )
    np.testing.assert_allclose(second, first, atol=0.02)
    assert roc_auc_score(anomalies[valid], wild) > 0.98


def test_a_model_serves_another_scene_of_the_same_bands(trained):
    model, *_ = trained
    values, valid, anomalies = scene(40, 31, seed=0)
    other = values[::-1, ::-1].copy(), valid[::-1, ::-1], anomalies[::-1, ::-1]
    scores = whole(model.detect(ArrayCube(other[0], other[1])))
    assert roc_auc_score(other[2][other[1]], scores[other[1]]) > 0.95
    with pytest.raises(ValueError, match="20 bands; the scene has 19"):
        list(model.detect(ArrayCube(values[..., :19])))


def test_further_scenes_train_too():
    first, second = scene(seed=5), scene(40, 20, seed=5)
    model = SGM.train([ArrayCube(*first[:2]), ArrayCube(*second[:2])], hidden=32)
    spectra = np.concatenate([values[valid] for values, valid, _ in (first, second)])
    np.testing.assert_allclose(model.centre, spectra.mean(0, dtype=float), rtol=1e-5)
    with pytest.raises(ValueError, match="same number of bands"):
        SGM.train([ArrayCube(first[0]), ArrayCube(second[0][..., :7])])


@pytest.mark.parametrize("scenes", [1, 2, 3, 12])
def test_two_passes_gather_the_same_pixels_of_each_of_many_scenes(scenes):
    rows, columns = 40, 21
    values = np.empty((rows, columns, 3), np.float32)
    cubes = []
    for number in range(scenes):  # each pixel says where it is
        values[..., 0] = number
        values[..., 1:] = np.moveaxis(np.indices((rows, columns)), 0, 2)
        cubes.append(ArrayCube(values.copy(), rows_per_block=9))
    (spectra,) = _training_pixels(cubes, 70 * scenes + scenes - 1, 4, _spectra, 0, Progress(), "")
    assert len(spectra) == 70 * scenes + scenes - 1
    assert np.bincount(spectra[:, 0].astype(int)).min() >= 70
    assert len(np.unique(spectra, axis=0)) == len(spectra)
    (again,) = _training_pixels(
        cubes, 70 * scenes + scenes - 1, 4, lambda block, rows, columns: (block.values[rows, columns],), 12, Progress(), ""
    )
    np.testing.assert_array_equal(again, spectra)


def test_memory_of_training_does_not_hold_the_surroundings():
    """What training keeps of the surroundings of a pixel is a few numbers, not the 25 x 25 spectra there."""
    values, valid, _ = scene(60, 50, 30)
    gathering = Gathering(HalfWhitening.fit(torch.from_numpy(values[valid])))
    _, gathered = ArrayCube(values, valid).sample(500, 0, gathering, gathering.halo)
    assert sum(array[0].size for array in gathered) == 5 * 15 + 1


def test_parts_fuse_to_the_map(trained):
    model, values, valid, _ = trained
    parts = model.bind(ArrayCube(values, valid)).parts()
    assert sorted(parts) == ["far", "features", "gaussian", "local", "near"]
    fused = np.sqrt(sum(part.astype(float) ** 2 for part in parts.values()) / 5)
    expected = fused - CLUTTER.share * CLUTTER.median(fused.astype(np.float32), 0, len(fused))
    np.testing.assert_allclose(whole(model.detect(ArrayCube(values, valid))), expected, atol=1e-4)
    for name in parts:
        assert (np.isnan(parts[name]) == ~valid).all()


def test_progress_rises_and_cancel_stops(trained):
    model, values, valid, _ = trained
    seen = []
    SGM.train([ArrayCube(values, valid)], hidden=32, progress=Progress(lambda fraction, message: seen.append((fraction, message))))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[-1] > 0.9
    assert any("features and surroundings of the training pixels" in message for _, message in seen)

    def cancel(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        list(model.detect(ArrayCube(values, valid), progress=Progress(cancel)))


@pytest.mark.needs_data
@pytest.mark.parametrize("name, least", [("hydice", 0.995), ("abu-urban-3", 0.99)])
def test_real_scenes(name, least):
    contents = loadmat(DATA / "scenes" / f"{name}.mat")
    cube = ArrayCube(contents["data"].astype(np.float32))
    model = SGM.train([cube])
    scores = whole(model.detect(cube))
    assert roc_auc_score(contents["map"].ravel() > 0, scores.ravel()) > least
