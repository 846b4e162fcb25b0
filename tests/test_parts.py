"""A scene that is worked on in parts of its rows gives the map and the sample of the whole."""

import numpy as np
import pytest

from scoread_qgis.core.cube import ArrayCube, merge_samples
from scoread_qgis.core.files import remove_temporaries, temporary_name
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.rx import GlobalRX, LocalRX
from scoread_qgis.detectors.shared.statistics import GaussianStatistics
from scoread_qgis.scenes.raster import RasterFile, choose_bands, survey_bands
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene

ROWS, COLUMNS, BANDS = 70, 40, 16
EDGES = [(0, 70), (0, 1, 2, 9, 30, 31, 64, 70), (0, 33, 70), (0, 5, 69, 70)]


@pytest.fixture(scope="module")
def cube():
    values = simulate_scene(ROWS, COLUMNS, BANDS, seed=4).cube.astype(np.float32)
    valid = np.ones((ROWS, COLUMNS), bool)
    valid[8:12, 5:9] = valid[31] = valid[:, 20] = False
    return ArrayCube(values, valid, rows_per_block=13)


def parts(cube, edges):
    return [cube.within(first, last) for first, last in zip(edges, edges[1:])]


def whole(pieces, cube):
    """The map of (first row, rows) pairs, each row of which comes once."""
    scores, times = np.full((cube.rows, cube.columns), np.nan, np.float32), np.zeros(cube.rows, int)
    for row, rows in pieces:
        scores[row : row + len(rows)] = rows
        times[row : row + len(rows)] += 1
    assert (times == 1).all()
    return scores


@pytest.fixture(
    scope="module",
    params=["sgm", "sgm-paper", "sgm-paper, conditional", "rx-local"],
)
def detector(request, cube):
    if request.param == "sgm":
        return SGM.train([cube], samples=800)
    if request.param == "rx-local":
        return LocalRX(3, 9)
    return PaperSGM.train([cube], epochs=1, batch_size=128, hidden=16, samples=400, conditional="conditional" in request.param)


@pytest.mark.parametrize("edges", EDGES)
def test_the_map_of_the_parts_is_the_map(detector, cube, edges):
    options = {"perturbations": 4} if isinstance(detector, PaperSGM) else {}
    expected = whole(detector.detect(cube, **options), cube)
    pieces = [piece for part in parts(cube, edges) for piece in detector.detect(part, **options)]
    np.testing.assert_allclose(whole(pieces, cube), expected, rtol=1e-5, atol=1e-5)
    assert np.isnan(expected[31]).all()
    assert np.isfinite(expected[32, :20]).all()


@pytest.mark.parametrize("edges", EDGES)
def test_statistics_of_parts_merge(cube, edges):
    rx, statistics = GlobalRX(), GaussianStatistics()
    for part in parts(cube, edges):
        statistics.merge(GaussianStatistics.from_state(rx.gather(part).state()))
    assert statistics.count == rx.gather(cube).count
    pieces = [piece for part in parts(cube, edges) for piece in rx.bind(part, gathered=statistics).map()]
    np.testing.assert_allclose(whole(pieces, cube), whole(rx.detect(cube), cube), rtol=1e-5)


def test_statistics_without_pixels_merge(cube):
    rx, empty = GlobalRX(), GaussianStatistics()
    empty.merge(rx.gather(cube.within(31, 32)))
    assert empty.count == 0
    empty.merge(rx.gather(cube))
    np.testing.assert_allclose(empty.covariance, rx.gather(cube).covariance)


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("count", [1, 50, 10_000])
def test_the_sample_of_the_parts_is_the_sample(cube, edges, count):
    def gather(block, rows, columns):
        return block.values[rows, columns], block.values[np.minimum(rows + 1, len(block.values) - 1), columns]

    positions, arrays = cube.sample(count, 7, gather, halo=1)
    merged = merge_samples([part.keyed_sample(count, 7, gather, halo=1) for part in parts(cube, edges)], count)
    np.testing.assert_array_equal(merged[0], positions)
    for mine, expected in zip(merged[1], arrays):
        np.testing.assert_array_equal(mine, expected)


def test_a_sample_of_nothing(cube):
    positions, arrays = cube.within(31, 32).sample(5, 0, lambda block, rows, columns: (rows,))
    assert positions.shape == (0, 2)
    assert arrays == ()


def test_surveys_of_parts_merge(tmp_path):
    values = simulate_scene(ROWS, COLUMNS, 8, seed=4).cube.astype(np.float32)
    values[:, :, 1] = 7  # one value everywhere
    values[:60, :, 3] = -9999  # no data over most of the scene
    values[3, 3, 0] = 1e30
    write_scene(tmp_path / "s.tif", values, nodata=-9999)
    raster = RasterFile(str(tmp_path / "s.tif"))
    expected = survey_bands(raster)
    merged = survey_bands(raster, span=(0, 11))
    for span in ((11, 12), (12, 64), (64, 70)):
        merged.merge(survey_bands(raster, span=span))
    assert choose_bands(raster, survey=merged) == choose_bands(raster)
    assert choose_bands(raster).left_out == {"one value everywhere": [2], "no data over most of the scene": [4]}
    assert merged.out_of_range == expected.out_of_range == 1


def test_leftovers_are_those_of_the_file_alone(tmp_path):
    for path in (tmp_path / "a.tif", tmp_path / "ba.tif"):
        with open(temporary_name(path), "w", encoding="utf-8"):
            pass
    folder = temporary_name(tmp_path / "a.tif")
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "rows_0.npy").touch()
    (tmp_path / "a.tif").touch()
    (tmp_path / ".a.tif.mine.part").touch()
    remove_temporaries(tmp_path / "a.tif", tmp_path / "nowhere" / "b.tif")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[0].startswith(".a.tif.mine")
    assert left[1].startswith(".ba.tif.")
    assert left[2:] == ["a.tif"]
