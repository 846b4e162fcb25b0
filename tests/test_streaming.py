"""The map is the same whatever the blocks, the threads and the tiling of the file; memory follows the setting."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from osgeo import gdal

from scoread_qgis.core.cube import SURVEYED_PIXELS, SURVEYED_PLACES, ArrayCube, surveyed_rows
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.scenes.raster import RasterCube, RasterFile, choose_bands, rows_within
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One scene with holes, in files of different tiling."""
    folder = tmp_path_factory.mktemp("tilings")
    scene = simulate_scene(70, 50, 24, seed=2)
    cube = scene.cube.copy()
    cube[10:14, 20:23] = -9999
    cube[40, :, 5] = -9999
    write_scene(folder / "tiled.tif", cube, nodata=-9999, scale=scene.scale)
    for name, options in (
        ("strips", ["INTERLEAVE=BAND", "BLOCKYSIZE=7"]),
        ("pixels", ["INTERLEAVE=PIXEL", "TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=32", "COMPRESS=DEFLATE"]),
    ):
        gdal.Translate(str(folder / f"{name}.tif"), str(folder / "tiled.tif"), creationOptions=options)
    return [str(folder / f"{name}.tif") for name in ("tiled", "strips", "pixels")]


def open_cube(path, rows_per_block=None):
    raster = RasterFile(path)
    cube = RasterCube(raster, list(range(1, raster.count + 1)))
    if rows_per_block:
        cube.rows_per_block = rows_per_block
    return cube


def detect(detector, cube):
    return np.concatenate([rows for _, rows in detector.detect(cube)])


@pytest.fixture(scope="module")
def reference(files):
    model = SGM.train([open_cube(files[0], 70)], samples=2000, seed=1)
    return model, {"sgm": detect(model, open_cube(files[0], 70)), "rx": detect(GlobalRX(), open_cube(files[0], 70))}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows_per_block=st.integers(1, 80), tiling=st.integers(0, 2), threads=st.sampled_from([1, 2]))
def test_no_seams(files, reference, rows_per_block, tiling, threads):
    model, expected = reference
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        cube = open_cube(files[tiling], rows_per_block)
        np.testing.assert_allclose(detect(model, cube), expected["sgm"], rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(detect(GlobalRX(), cube), expected["rx"], rtol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_training_does_not_depend_on_the_blocks(files, reference):
    model, expected = reference
    for path, rows_per_block in zip(files, (3, 17, 33)):
        again = SGM.train([open_cube(path, rows_per_block)], samples=2000, seed=1)
        np.testing.assert_allclose(detect(again, open_cube(path)), expected["sgm"], rtol=1e-3, atol=1e-3)


def test_holes_are_nodata_and_nothing_else(files, reference):
    _, expected = reference
    holes = np.zeros((70, 50), bool)
    holes[10:14, 20:23] = True
    holes[40] = True
    for scores in expected.values():
        np.testing.assert_array_equal(np.isnan(scores), holes)


def test_rows_follow_the_memory(files):
    assert rows_within(2**30, 1000, 200) == int(2**30 / (1000 * 200 * 4 * 12))
    assert rows_within(2**20, 1000, 200) == 1, "at least one row"
    assert rows_within(2**33, 100, 10) == 2**17 // 100, "no more than any processor needs"
    assert rows_within(2**30, 1000, 200, block_rows=32) % 32 == 0, "whole blocks of the file"
    raster = RasterFile(files[1])
    small, large = (RasterCube(raster, [1, 2, 3], memory=m).rows_per_block for m in (2**18, 2**30))
    assert small < large


class ReadWatcher(RasterFile):
    """Counts the reads of every row of the file."""

    def _read_file(self, first, rows, *which):
        self.reads = getattr(self, "reads", np.zeros(self.rows, int))
        self.reads[first : first + rows] += 1
        return super()._read_file(first, rows, *which)


def survey_and_train(raster, memory):
    cube = RasterCube(raster, choose_bands(raster, memory=memory).numbers, memory=memory)
    return cube, SGM.train([cube], samples=500)


@pytest.mark.parametrize("tiling", [0, 1, 2])
def test_a_scene_that_fits_into_the_memory_is_read_once_by_training_and_detection(files, tiling, monkeypatch):
    monkeypatch.setattr("scoread_qgis.core.cube.SURVEYED_PIXELS", 50 * 32)
    raster = ReadWatcher(files[tiling])
    cube, model = survey_and_train(raster, 2**22)
    assert len(cube.surveyed) == 32
    list(model.detect(cube))
    assert (raster.reads == 1).all()


def test_training_reads_a_large_scene_once(files, monkeypatch):
    """Of which there is room for the rows alone that are looked at first."""
    monkeypatch.setattr("scoread_qgis.core.cube.SURVEYED_PIXELS", 50 * 32)
    surveyed_bytes = 32 * 50 * 24 * np.dtype(np.uint16).itemsize
    raster = ReadWatcher(files[1])
    cube, model = survey_and_train(raster, 4 * surveyed_bytes + 8)
    assert raster.kept_bytes < raster.rows * raster.columns * raster.count * 2
    assert (raster.reads == 1).all()
    raster.reads[:] = 0
    list(model.detect(cube))
    assert (raster.reads <= 1).all()
    # Without any room, the rows that are looked at first are read again.
    raster = ReadWatcher(files[1])
    survey_and_train(raster, 2**10)
    others = np.ones(raster.rows, bool)
    for first, last in cube.surveyed:
        others[first:last] = False
    assert (raster.reads[others] >= 1).all()
    assert (raster.reads[~others] > raster.reads[others].max()).all()


def test_the_model_does_not_depend_on_what_is_kept(files, monkeypatch):
    monkeypatch.setattr("scoread_qgis.core.cube.SURVEYED_PIXELS", 50 * 32)
    for path in files:
        states = [survey_and_train(RasterFile(path), memory)[1].distances["features"].whitening for memory in (2**10, 2**17, 2**24)]
        torch.testing.assert_close(states[1], states[0])
        torch.testing.assert_close(states[2], states[0])


def test_what_is_kept_of_the_rows_is_what_is_in_the_file(files, tmp_path):
    """With the mask of the file, in any window and for any of the bands."""
    masked = str(tmp_path / "masked.tif")
    gdal.Translate(masked, files[2], noData="none", creationOptions=["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=32"])
    dataset = gdal.Open(masked, gdal.GA_Update)
    dataset.CreateMaskBand(gdal.GMF_PER_DATASET)
    mask = np.full((70, 50), 255, np.uint8)
    mask[20:30, 7] = 0
    dataset.GetRasterBand(1).GetMaskBand().WriteArray(mask)
    dataset = None
    windows = [(33, 34, 0, 50), (3, 40, 2, 31), (0, 70, 0, 50), (20, 60, 5, 9), (69, 70, 49, 50)]
    for path in (*files, masked):
        for memory in (0, 4 * 25 * 50 * 24 * 2, 2**24):
            plain, keeping = RasterFile(path), RasterFile(path)
            keeping.keep(range(1, 25), memory)
            for numbers in (list(range(1, 25)), [7, 3], [3]):
                for window in windows:
                    for mine, expected in zip(
                        keeping.read_bands(*window[:2], numbers, *window[2:]), plain.read_bands(*window[:2], numbers, *window[2:])
                    ):
                        np.testing.assert_array_equal(mine, expected)
                keeping.keep(numbers, memory)


def test_rows_that_are_surveyed_lie_all_over_the_scene():
    assert surveyed_rows(0, 500, 500) == [(0, 500)], "all of them in a scene of this size"
    for first, last, width in ((0, 3000, 4000), (1000, 31_000, 320), (5, 700, 100_000)):
        spans = surveyed_rows(first, last, width)
        assert len(spans) == SURVEYED_PLACES
        ends = np.array(spans)
        assert (ends[1:, 0] > ends[:-1, 1]).all() and ends[0, 0] >= first and ends[-1, 1] <= last
        pixels = (ends[:, 1] - ends[:, 0]).sum() * width
        assert pixels <= max(SURVEYED_PIXELS, SURVEYED_PLACES * width)
        gaps = np.diff(ends.mean(1))
        np.testing.assert_allclose(gaps, (last - first) / SURVEYED_PLACES, atol=2)


def test_a_mask_beside_the_rows_that_are_surveyed(monkeypatch):
    """Where too little of them is valid, all rows are drawn from."""
    monkeypatch.setattr("scoread_qgis.core.cube.SURVEYED_PIXELS", 40 * 32)
    values = simulate_scene(128, 40, 12, seed=3).cube.astype(np.float32)
    cube = ArrayCube(values)
    surveyed = np.zeros(128, bool)
    for first, last in cube.surveyed:
        surveyed[first:last] = True
    places, _ = cube.sample(300, 0, lambda block, rows, columns: (rows,), surveyed=True)
    assert surveyed[places[:, 0]].all() and len(places) == 300
    masked = ArrayCube(values, np.repeat(~surveyed[:, None], 40, 1))
    for sample in ({}, {"surveyed": True}):
        places, _ = masked.sample(300, 0, lambda block, rows, columns: (rows,), **sample)
        assert len(places) == 300
    assert len(SGM.train([masked], samples=300).tails) == 5
