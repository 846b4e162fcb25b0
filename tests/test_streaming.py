"""The map is the same whatever the blocks, the threads and the tiling of the file; memory follows the setting."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from osgeo import gdal

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


class ReadWatcher(RasterCube):
    """Counts the reads of every row."""

    def read(self, first, last, left=0, right=None):
        self.reads = getattr(self, "reads", np.zeros(self.rows, int))
        self.reads[first:last] += 1
        return super().read(first, last)


def test_training_reads_the_scene_three_times_and_detection_once(files):
    raster = RasterFile(files[0])
    surveyed = np.zeros(raster.rows, int)
    original = raster.read_bands

    def watch(first, last, *which):
        surveyed[first:last] += 1
        return original(first, last, *which)

    raster.read_bands = watch
    cube = ReadWatcher(raster, choose_bands(raster).numbers, memory=2**20)
    model = SGM.train([cube], samples=500)
    assert (surveyed == 3).all()  # the survey of the bands, the spectra, what lies around them
    cube.reads[:] = 0
    list(model.detect(cube))
    assert (cube.reads == 1).all()
