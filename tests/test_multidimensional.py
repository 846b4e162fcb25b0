"""HDF5 and netCDF products whose bands come last or in the middle."""

import numpy as np
import pytest

from scoread_qgis.scenes.raster import RasterCube, RasterFile, choose_bands

h5py = pytest.importorskip("h5py", reason="needs h5py to make the test files")


@pytest.fixture
def cube():
    return np.random.default_rng(0).random((7, 9, 5)).astype(np.float32)


def emit(path, cube):
    """A file laid out as EMIT's L2A products: netCDF-4, (downtrack, crosstrack, bands), wavelengths in a group of their own."""
    with h5py.File(path, "w") as file:
        names = ("downtrack", "crosstrack", "bands")
        for name, size in zip(names, cube.shape):
            file.create_dataset(name, data=np.zeros(size, np.float32)).make_scale("This is a netCDF dimension but not a netCDF variable.")
        reflectance = file.create_dataset("reflectance", data=cube)
        reflectance.attrs["_FillValue"] = np.float32(-9999)
        for axis, name in enumerate(names):
            reflectance.dims[axis].attach_scale(file[name])
        group = file.create_group("sensor_band_parameters")
        group["wavelengths"] = np.array([400.0, 700, 1000, 1400, 2200], np.float32)
        group["fwhm"] = np.full(5, 8.5, np.float32)
        group["good_wavelengths"] = np.array([1, 1, 1, 0, 1], np.float32)
        for name in group:
            group[name].dims[0].attach_scale(file["bands"])


def prisma(path, cube):
    """A file laid out as PRISMA's L2D products: HDF-EOS5, (rows, bands, columns), wavelengths as attributes of the root, 0 = not used."""
    with h5py.File(path, "w") as file:
        file.create_dataset("HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/VNIR_Cube", data=(cube * 60000).astype(np.uint16).transpose(0, 2, 1))
        file.attrs["List_Cw_Vnir"] = np.array([0, 900.0, 700, 500, 410], np.float32)
        file.attrs["List_Fwhm_Vnir"] = np.array([0, 12.0, 11, 11, 10], np.float32)


@pytest.mark.parametrize("driver", ["HDF5", "NETCDF"])
def test_emit_layout(tmp_path, cube, driver):
    path = tmp_path / "emit.nc"
    cube[2, 3, 1] = -9999
    emit(path, cube)
    raster = RasterFile(f'{driver}:"{path}"://reflectance' if driver == "HDF5" else f'NETCDF:"{path}":reflectance')
    assert (raster.rows, raster.columns, raster.count) == cube.shape
    np.testing.assert_allclose(raster.table.wavelengths, [400, 700, 1000, 1400, 2200])
    np.testing.assert_allclose(raster.table.fwhm, 8.5)
    choice = choose_bands(raster)
    assert choice.numbers == [1, 2, 3, 5]
    values, valid = RasterCube(raster, choice.numbers).read(1, 6)
    np.testing.assert_allclose(values[valid], cube[1:6][..., [0, 1, 2, 4]][valid])
    assert np.argwhere(~valid).tolist() == [[1, 3]]


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (2, 0, 1)], ids=["bip", "bil", "bsq"])
def test_a_pass_decodes_chunks_once(tmp_path, cube, axes):
    """Chunks of compressed products hold many bands: GDAL's dataset of a variable would decode each of them again for every band."""

    class Counted:
        def __init__(self, array):
            self.array, self.read = array, []

        def ReadAsArray(self, start, count, **options):
            self.read.append((start, count))
            return self.array.ReadAsArray(start, count, **options)

    path, chunk = tmp_path / "chunks.nc", np.array([4, 3, 2])
    with h5py.File(path, "w") as file:
        names = np.array(["downtrack", "crosstrack", "bands"])[list(axes)]
        values = file.create_dataset("reflectance", data=cube.transpose(axes), chunks=tuple(chunk[list(axes)]), compression="gzip")
        for axis, (name, size) in enumerate(zip(names, values.shape)):
            file.create_dataset(name, data=np.zeros(size, np.float32)).make_scale(name)
            values.dims[axis].attach_scale(file[name])
    raster = RasterFile(str(path))
    counted = raster._variable._array = Counted(raster._variable._array)
    whole = RasterCube(raster, [2, 4, 5])
    whole.rows_per_block = 2
    read = np.concatenate([block.values[block.inner] for block in whole.blocks(1)])
    np.testing.assert_array_equal(read, cube[..., [1, 3, 4]])
    assert len(counted.read) == 2, "two rows of chunks"
    window = whole.window(5, 3, 2, 4, halo=1)
    np.testing.assert_array_equal(window.values[window.inner], cube[5:7, 3:7, [1, 3, 4]])


def test_prisma_layout(tmp_path, cube):
    path = tmp_path / "prisma.he5"
    prisma(path, cube)
    raster = RasterFile(f'HDF5:"{path}"://HDFEOS/SWATHS/PRS_L2D_HCO/Data_Fields/VNIR_Cube')
    assert (raster.rows, raster.columns, raster.count) == cube.shape
    choice = choose_bands(raster)
    assert choice.numbers == [2, 3, 4, 5], "the band without a wavelength is not used"
    np.testing.assert_allclose(raster.table.wavelengths[1:], [900, 700, 500, 410])
    values, _ = RasterCube(raster, choice.numbers).read(0, 7)
    np.testing.assert_array_equal(values, (cube[..., 1:] * 60000).astype(np.uint16))


def test_a_file_with_one_cube_needs_no_name(tmp_path, cube):
    emit(tmp_path / "emit.nc", cube)
    raster = RasterFile(str(tmp_path / "emit.nc"))
    assert (raster.rows, raster.columns, raster.count) == cube.shape


def test_a_container_lists_its_rasters(tmp_path, cube):
    prisma(tmp_path / "prisma.he5", cube)
    with h5py.File(tmp_path / "prisma.he5", "a") as file:
        file.create_dataset("HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/SWIR_Cube", data=cube)
    with pytest.raises(ValueError, match=r"container of several rasters. Choose one of: .*VNIR_Cube"):
        RasterFile(str(tmp_path / "prisma.he5"))


def test_emit_layout_through_the_algorithms(run, tmp_path):
    from conftest import read

    scene = np.random.default_rng(0).normal(5, 1, (30, 40, 5)).astype(np.float32)
    scene[12, 17] = [9, 1, 9, 1, 9]
    emit(tmp_path / "emit.nc", scene)
    results = run("detect_rx", INPUT=f'NETCDF:"{tmp_path / "emit.nc"}":reflectance', OUTPUT=str(tmp_path / "a.tif"))
    scores = read(results.OUTPUT)
    assert scores.shape == (30, 40)
    assert np.unravel_index(scores.argmax(), scores.shape) == (12, 17)
    assert "flagged bad in the file: 4" in results.log
