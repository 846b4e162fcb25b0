"""Scenes resampled to the wavelengths of a model."""

import numpy as np
import pytest

from scoread_qgis.scenes.raster import RasterCube, RasterFile
from scoread_qgis.scenes.resampling import ResampledCube
from scoread_qgis.scenes.writer import write_scene


@pytest.fixture
def cube(tmp_path):
    values = np.random.default_rng(0).random((6, 7, 5)).astype(np.float32)
    values[2, 3] = np.nan
    write_scene(tmp_path / "a.tif", values, wavelengths=[900, 500, 600, 700, 800])
    return RasterCube(RasterFile(str(tmp_path / "a.tif"), "my scene"), [1, 2, 3, 4, 5])


def test_spectra_are_interpolated_linearly(cube):
    wanted = [495.0, 500, 650, 725, 900]
    values, valid = ResampledCube(cube, wanted).read(1, 5)
    raw, _ = cube.read(1, 5)
    order = np.argsort(cube.wavelengths)
    for row, column in np.argwhere(valid):
        expected = np.interp(wanted, cube.wavelengths[order], raw[row, column, order])
        np.testing.assert_allclose(values[row, column], expected, rtol=1e-5)
    assert np.argwhere(~valid).tolist() == [[1, 3]]


def test_wavelengths_beyond_the_scene_are_an_error(cube):
    with pytest.raises(ValueError, match="The model covers 400 to 800 nm, but my scene only 500 to 900 nm"):
        ResampledCube(cube, [400, 600, 800])
