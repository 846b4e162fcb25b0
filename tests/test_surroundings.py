"""What the default mode knows of the surroundings of a pixel, each against an independent computation with loops."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.local_neighbours import HALO, local_neighbours
from scoread_qgis.detectors.shared import windows
from scoread_qgis.detectors.shared.expected_background import (
    FLOOR,
    SOFTENING,
    ExpectedBackground,
    Ring,
    expected_components,
)
from scoread_qgis.detectors.shared.expected_spectrum import expected_spectrum
from scoread_qgis.detectors.shared.half_whitening import HalfWhitening
from scoread_qgis.detectors.shared.windows import Surroundings, unfold

RING = Ring(2, 4)


def scene(rows, columns, components=3, holes=0.1, seed=0):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(rows, columns, components)).astype(np.float32)
    return values, generator.random((rows, columns)) >= holes


def of_rows(components, valid, first, last, reach, compute):
    """What `compute` gives of the `Surroundings` of whole rows (last - first, columns)."""
    found = torch.full((last - first, valid.shape[1]), torch.nan)
    for around, rows, columns, width in Surroundings.of_rows(components, valid, first, last, reach):
        found[rows, columns] = unfold(compute(around), rows, columns, width)
    return found


def in_blocks(values, valid, size, halo, compute):
    cube = ArrayCube(values, valid, rows_per_block=size)
    return np.concatenate(
        [
            of_rows(
                torch.from_numpy(block.values), torch.from_numpy(block.valid), block.inner[0].start, block.inner[0].stop, halo, compute
            ).numpy()
            for block in cube.blocks(halo)
        ]
    )


@pytest.fixture(params=[8192, 40, 7], ids="{} pixels at a time".format)
def at_a_time(request, monkeypatch):
    """Many rows at a time, few, and a part of one."""
    monkeypatch.setattr(windows, "PIXELS", request.param)


def loops_local(values, valid):
    rows, columns = valid.shape
    found = np.zeros((rows, columns))
    for row, column in np.ndindex(rows, columns):
        distances = []
        for down in range(-12, 13, 2):
            for right in range(-12, 13, 2):
                r, c = row + down, column + right
                if max(abs(down), abs(right)) > 3 and 0 <= r < rows and 0 <= c < columns and valid[r, c]:
                    distances.append(((values[row, column] - values[r, c]) ** 2).sum())
        if distances:
            found[row, column] = sorted(distances)[max(1, round(len(distances) / 40)) - 1]
    return found


@pytest.mark.parametrize("shape", [(28, 15), (5, 30), (3, 3)])
def test_local_neighbours_equal_loops_and_do_not_depend_on_the_blocks(shape, at_a_time):
    values, valid = scene(*shape)
    expected = loops_local(values, valid)
    for size in (1, 13, 100):
        found = in_blocks(values, valid, size, HALO, local_neighbours)
        np.testing.assert_allclose(found[valid], expected[valid], rtol=1e-4, atol=1e-6)


def mirrored(index, size):
    while not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index


def loops_expected(values, valid, ring):
    """Expected values and variances (rows, columns, components), NaN where there is no pair."""
    rows, columns = valid.shape
    expected, variances = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    steps = range(-ring.reach, ring.reach + 1)
    offsets = [
        (y, x)
        for y in steps
        for x in steps
        if y % ring.stride == x % ring.stride == 0 and (y, x) > (0, 0) and max(abs(y), abs(x)) > ring.inside
    ]
    for row, column in np.ndindex(rows, columns):
        pairs, weights = [], []
        for y, x in offsets:
            ends = [(mirrored(row + side * y, rows), mirrored(column + side * x, columns)) for side in (1, -1)]
            if ends[0] != ends[1] and all(valid[end] and max(abs(end[0] - row), abs(end[1] - column)) > ring.inside for end in ends):
                pairs.append([values[end].astype(float) for end in ends])
                weights.append(1 / (y * y + x * x))
        if pairs:
            pairs, weights = np.array(pairs), np.array(weights)
            disagreement = ((pairs[:, 0] - pairs[:, 1]) ** 2).sum(1)
            weights /= (disagreement + SOFTENING * np.average(disagreement, weights=weights)) ** 2
            expected[row, column] = np.average(pairs.mean(1), axis=0, weights=weights)
            variances[row, column] = np.average(((pairs - expected[row, column]) ** 2).mean(1), axis=0, weights=weights)
    return expected, variances


@pytest.mark.parametrize("ring", [RING, Ring(1, 4, 2)])
@pytest.mark.parametrize("shape", [(16, 11), (5, 20)])
def test_the_expected_background_equals_loops_and_does_not_depend_on_the_blocks(shape, ring, at_a_time):
    values, valid = scene(*shape, holes=0.2, seed=1)
    expected, variances = loops_expected(values, valid, ring)
    rows, columns = (torch.from_numpy(index) for index in np.nonzero(valid))
    tensors = torch.from_numpy(values), torch.from_numpy(valid)
    found = expected_components(Surroundings.of_pixels(*tensors, rows, columns, ring.reach), ring)
    for of_pixels, of_loops in zip(found, (expected, variances)):
        np.testing.assert_allclose(of_pixels.numpy().T, of_loops[valid], rtol=1e-3, atol=1e-4)
    part = ExpectedBackground.fit(ring, found[1])
    np.testing.assert_allclose(part.floor, FLOOR * np.nanmean(variances[valid], axis=0), rtol=1e-3)
    beyond = np.nan_to_num(((values - expected) ** 2 / (variances + part.floor.numpy())).sum(2))
    for size in (1, 5, 100):
        np.testing.assert_allclose(in_blocks(values, valid, size, ring.reach, part.beyond)[valid], beyond[valid], rtol=2e-3, atol=1e-4)


def test_a_pixel_without_valid_surroundings_has_nothing_against_it():
    values, _ = scene(20, 20)
    valid = np.zeros((20, 20), bool)
    valid[10, 10] = True
    tensors = torch.from_numpy(values), torch.from_numpy(valid)
    part = ExpectedBackground(RING, torch.ones(3))
    assert of_rows(*tensors, 0, 20, HALO, part.beyond)[10, 10] == 0
    assert of_rows(*tensors, 0, 20, HALO, local_neighbours)[10, 10] == 0


def test_a_constant_scene_is_expected_everywhere():
    values, valid = np.ones((15, 15, 3), np.float32), np.ones((15, 15), bool)
    tensors = torch.from_numpy(values), torch.from_numpy(valid)
    assert (of_rows(*tensors, 0, 15, HALO, ExpectedBackground(RING, torch.full((3,), 1e-6)).beyond) < 1e-3).all()
    assert (of_rows(*tensors, 0, 15, HALO, local_neighbours) == 0).all()


def test_the_part_survives_its_state():
    part = ExpectedBackground(Ring(7, 12, 2), torch.tensor([1.0, 2.0]))
    again = ExpectedBackground.from_state(part.state(), 2, 12)
    assert again.ring == part.ring and torch.equal(again.floor, part.floor)
    for spoilt in ({"reach": 13}, {"inside": 12}, {"stride": 6}, {"floor": torch.zeros(2)}, {"floor": torch.ones(3)}):
        with pytest.raises(ValueError, match="its (reach|inside|stride|floor)"):
            ExpectedBackground.from_state({**part.state(), **spoilt}, 2, 12)


def striped(rows=40, columns=40, bands=20, seed=2):
    """A scene of three fields with straight borders, and noise: values and the same without noise."""
    generator = np.random.default_rng(seed)
    fields = generator.normal(size=(3, bands)) * 3 + 10
    clean = fields[np.clip((np.arange(columns) + np.arange(rows)[:, None] - 5) // 20, 0, 2)]
    return clean + 0.1 * generator.normal(size=clean.shape), clean


def region_at(shape, top, left, height, width):
    region = np.zeros(shape, bool)
    region[top : top + height, left : left + width] = True
    return region


@pytest.mark.parametrize(
    "place", [(20, 10, 1, 1), (18, 18, 3, 3), (11, 12, 3, 3), (10, 20, 5, 5), (0, 12, 2, 2), (38, 38, 2, 2), (0, 0, 1, 1), (5, 3, 12, 2)]
)
def test_the_expected_spectrum_is_that_under_a_target_even_with_another_beside_it(place):
    values, clean = striped()
    region = region_at(values.shape[:2], *place)
    spoilt = values.copy()
    spoilt[region] = 40
    beside = region_at(values.shape[:2], min(place[0] + place[2] + 3, 38), min(place[1] + 2, 38), 2, 2) & ~region
    spoilt[beside] = -30
    components = HalfWhitening.fit(torch.from_numpy(values).flatten(0, 1), 6)(torch.from_numpy(spoilt).float()).numpy()
    valid = np.ones(values.shape[:2], bool)
    truth, scale = clean[region].mean(0), clean.std((0, 1))
    for others in (None, beside):
        found = expected_spectrum(spoilt, components, valid, region, others)
        assert np.sqrt((((found.spectrum - truth) / scale) ** 2).mean()) < 0.35
        assert (found.low <= found.spectrum).all() and (found.spectrum <= found.high).all()
    valid[spoilt.sum(2) < 0] = False
    valid[:, ::3] = False
    found = expected_spectrum(np.where(valid[..., None], spoilt, 0), components, valid, region)
    assert np.sqrt((((found.spectrum - truth) / scale) ** 2).mean()) < 0.45


def test_too_few_surroundings_give_no_expected_spectrum():
    values, _ = striped()
    region = region_at(values.shape[:2], 10, 10, 2, 2)
    assert expected_spectrum(values, values[..., :3], region, region) is None


def test_other_anomalies_count_where_little_else_is_seen():
    values, _ = striped()
    region = region_at(values.shape[:2], 10, 10, 2, 2)
    found = expected_spectrum(values, values[..., :3], np.ones(region.shape, bool), region, others=~region)
    assert found.pixels > 50


def test_half_whitening_equals_numpy_and_ignores_units():
    generator = np.random.default_rng(3)
    spectra = generator.normal(size=(500, 12)) @ generator.normal(size=(12, 12)) * np.linspace(0.1, 5, 12) + 3
    found = HalfWhitening.fit(torch.from_numpy(spectra), 5)(torch.from_numpy(spectra).float()).numpy()
    weighted = (spectra - spectra.mean(0)) / np.sqrt(spectra.std(0, ddof=1))
    values, vectors = np.linalg.eigh(np.cov(weighted.T))
    expected = weighted @ vectors[:, ::-1][:, :5] / values[::-1][:5] ** 0.25
    expected /= np.sqrt(expected.var(0, ddof=1).mean())
    np.testing.assert_allclose(cdist(found[:50], found[:50]), cdist(expected[:50], expected[:50]), rtol=1e-3, atol=1e-3)
    thousandfold = HalfWhitening.fit(torch.from_numpy(spectra * 1000), 5)(torch.from_numpy(spectra * 1000).float())
    np.testing.assert_allclose(cdist(thousandfold[:50], thousandfold[:50]), cdist(found[:50], found[:50]), rtol=1e-2, atol=1e-2)
    again = HalfWhitening.from_state(HalfWhitening.fit(torch.from_numpy(spectra), 5).state(), 12)
    torch.testing.assert_close(again(torch.from_numpy(spectra).float()), torch.from_numpy(found))


def test_half_whitening_of_constant_bands():
    spectra = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    spectra[:, 2] = 7
    assert torch.isfinite(HalfWhitening.fit(spectra)(spectra)).all()
    with pytest.raises(ValueError, match="constant"):
        HalfWhitening.fit(torch.ones(50, 6))
