"""MATLAB files are read as MATLAB shows them, and what cannot be read without guessing is refused with the variables that there are."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from scipy.sparse import csc_matrix

from scoread_qgis.scenes import matlab
from scoread_qgis.scenes.matlab import read_matlab

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
MADE_BY_MATLAB = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"

CUBE = np.arange(5 * 4 * 6, dtype=np.uint16).reshape(5, 4, 6)
MAP = np.zeros((5, 4), dtype=np.uint8)
MAP[3, 1] = 1


def save(path, **variables):
    scipy.io.savemat(path, variables)
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "scene.mat"


def test_finds_the_cube_the_map_and_the_wavelengths(file):
    wavelengths = np.linspace(0.4, 2.5, 6)
    scene = read_matlab(save(file, title="a scene", data=CUBE, rgb=CUBE[..., 0], gt=MAP, Wavelengths=wavelengths, lambdas=3.0))
    np.testing.assert_array_equal(scene.cube, CUBE)
    assert scene.cube.dtype == np.uint16
    np.testing.assert_array_equal(scene.truth, MAP)
    assert scene.truth.dtype == np.uint8
    np.testing.assert_allclose(scene.wavelengths, wavelengths * 1000)
    assert scene.names == {"cube": "data", "truth": "gt", "wavelengths": "Wavelengths"}


def test_nanometres_stay_and_a_cube_alone_is_enough(file):
    cube, truth, wavelengths, names = read_matlab(save(file, img=CUBE.astype(np.float32), wl=np.linspace(400, 900, 6)[:, None]))
    assert cube.dtype == np.float32
    assert truth is None
    np.testing.assert_allclose(wavelengths, np.linspace(400, 900, 6))
    assert names == {"cube": "img", "wavelengths": "wl"}


LOGICAL = MAP.astype(bool)


@pytest.mark.parametrize("values", [MAP * 255.0, LOGICAL, MAP * 0, csc_matrix(LOGICAL)], ids=["255", "logical", "none", "sparse"])
def test_truth_maps_of_every_kind(file, values):
    truth = read_matlab(save(file, data=CUBE, map=values)).truth
    np.testing.assert_array_equal(truth, MAP if values.sum() else MAP * 0)


def test_numbered_targets_are_anomalies_where_named(file):
    numbered = np.arange(20.0).reshape(5, 4)
    assert read_matlab(save(file, data=CUBE, targets=numbered)).truth is None
    np.testing.assert_array_equal(read_matlab(file, map_name="targets").truth, numbered > 0)


@pytest.mark.parametrize("values", [MAP * 0.5, MAP - 1.0, MAP * np.nan, MAP * 1j], ids=["fraction", "negative", "nan", "complex"])
def test_no_truth_map(file, values):
    save(file, data=CUBE, map=values)
    with pytest.raises(ValueError, match="map is not a ground truth map"):
        read_matlab(file, map_name="map")


def test_names_decide_between_several(file):
    save(file, first=CUBE, second=CUBE + 1, a=MAP, b=1 - MAP)
    with pytest.raises(ValueError, match=r"2 3-D arrays: name the one.*first \(5 × 4 × 6 uint16\), second .*a \(5 × 4 uint8\)"):
        read_matlab(file)
    with pytest.raises(ValueError, match="2 maps that may be the ground truth: name the right one"):
        read_matlab(file, "second")
    scene = read_matlab(file, "second", "b")
    np.testing.assert_array_equal(scene.cube, CUBE + 1)
    np.testing.assert_array_equal(scene.truth, 1 - MAP)
    with pytest.raises(ValueError, match=r"no variable third.*first \(5 × 4 × 6 uint16\)"):
        read_matlab(file, "third")
    with pytest.raises(ValueError, match="no variable c"):
        read_matlab(file, "second", "c")
    with pytest.raises(ValueError, match="a .5 × 4 uint8. is not a scene"):
        read_matlab(file, "a")
    with pytest.raises(ValueError, match="first is not a map of 5 × 4 numbers"):
        read_matlab(file, "second", "first")


@pytest.mark.parametrize("cube, truth", [(CUBE, MAP.T), (np.moveaxis(CUBE, 2, 0), MAP)], ids=["transposed map", "bands first"])
def test_an_arrangement_that_does_not_fit_is_not_guessed(file, cube, truth):
    save(file, data=cube, map=truth)
    with pytest.raises(ValueError, match="The map map does not fit the scene"):
        read_matlab(file)
    with pytest.raises(ValueError, match="map is not a map of"):
        read_matlab(file, map_name="map")
    scene = read_matlab(file, "data")
    np.testing.assert_array_equal(scene.cube, cube)
    assert scene.truth is None


def test_what_is_no_cube_of_real_numbers(file):
    cell = np.empty((2, 2), dtype=object)
    cell[:] = [[1, "a"], [2, "b"]]
    save(file, c=cell, s={"data": CUBE}, text="abc", logical=CUBE > 3)
    listed = r"c \(2 × 2 cell\), s \(1 × 1 struct\), text \(.*char\), logical \(5 × 4 × 6 logical\)"
    with pytest.raises(ValueError, match=f"no 3-D array.*{listed}"):
        read_matlab(file)
    for name in ("c", "s", "text", "logical"):
        with pytest.raises(ValueError, match=f"{name} .* is not a scene"):
            read_matlab(file, name)
    with pytest.raises(ValueError, match="z has complex numbers"):
        read_matlab(save(file, z=CUBE * 1j))


def test_no_matlab_file_and_no_file(file):
    for content in (b"", b"ENVI\nsamples = 4\n", bytes(4000), b"\x89HDF\r\n\x1a\n" + bytes(1000)):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="scene.mat is not a MATLAB file"):
            read_matlab(file)
    with pytest.raises(FileNotFoundError):
        read_matlab(file.with_name("absent.mat"))


@pytest.mark.parametrize("compressed", [False, True])
def test_an_incomplete_file(file, compressed):
    scipy.io.savemat(file, {"data": CUBE, "map": MAP}, do_compression=compressed)
    whole = file.read_bytes()
    for length in range(128, len(whole), 16):
        file.write_bytes(whole[:length])
        try:
            cube, truth, _, _ = read_matlab(file)
        except ValueError as error:
            assert str(file) in str(error)
        else:  # cut between the variables
            np.testing.assert_array_equal(cube, CUBE)
            assert truth is None


def save_7_3(path, h5py, variables):
    """A file as MATLAB's save -v7.3 lays it out: its own block, then HDF5 with the dimensions reversed and the class as attribute."""
    with h5py.File(path, "w", userblock_size=512) as hdf5:
        for name, values in variables.items():
            if isinstance(values, dict):
                hdf5.create_group(name).attrs["MATLAB_class"] = np.bytes_("struct")
                continue
            kind = {"float64": "double", "float32": "single", "bool": "logical"}.get(str(values.dtype), str(values.dtype))
            stored = values.astype(np.uint8) if kind == "logical" else values
            if kind == "complex128":
                kind, stored = "double", values.view([("real", "f8"), ("imag", "f8")])
            data = hdf5.create_dataset(name, data=stored.T, compression="gzip" if values.ndim == 3 else None)
            data.attrs["MATLAB_class"] = np.bytes_(kind)
        hidden = hdf5.create_group("#refs#").create_dataset("a", data=1.0)
        cell = hdf5.create_dataset("a_cell", data=np.array([[hidden.ref]], dtype=h5py.ref_dtype))
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        empty = hdf5.create_dataset("empty", data=np.array([0, 3], dtype=np.uint64))
        empty.attrs["MATLAB_class"], empty.attrs["MATLAB_empty"] = np.bytes_("double"), np.uint8(1)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM")
    return path


@pytest.fixture(params=["GDAL", "GDAL with exceptions", "h5py"])
def save_version_7_3(request, monkeypatch):
    """Writes a file of version 7.3, to be read through GDAL's driver or through h5py."""
    h5py = pytest.importorskip("h5py", reason="needs h5py (Debian: python3-h5py) to write files of version 7.3")
    from osgeo import gdal

    if request.param == "h5py":
        monkeypatch.setattr(gdal, "GetDriverByName", lambda name: None)
        monkeypatch.setattr(matlab, "_open_with_gdal", None)
    else:
        if gdal.GetDriverByName("HDF5") is None:
            pytest.skip("this GDAL has no HDF5 driver")
        monkeypatch.setattr(matlab, "_open_with_h5py", None)
    used = gdal.GetUseExceptions()
    (gdal.UseExceptions if "exceptions" in request.param else gdal.DontUseExceptions)()
    yield lambda path, **variables: save_7_3(path, h5py, variables)
    (gdal.UseExceptions if used else gdal.DontUseExceptions)()


@pytest.mark.parametrize("kind", ["uint16", "int8", "int64", "float32", "float64"])
def test_version_7_3(file, save_version_7_3, kind):
    scene = read_matlab(save_version_7_3(file, data=CUBE.astype(kind), map=MAP > 0, s={}, wavelength=np.linspace(400, 900, 6)[None]))
    np.testing.assert_array_equal(scene.cube, CUBE.astype(kind))
    assert scene.cube.dtype == kind
    np.testing.assert_array_equal(scene.truth, MAP)
    np.testing.assert_allclose(scene.wavelengths, np.linspace(400, 900, 6))


def test_version_7_3_without_a_scene(file, save_version_7_3):
    save_version_7_3(file, z=CUBE * 1j, s={}, map=MAP)
    with pytest.raises(ValueError, match=r"no 3-D array") as error:
        read_matlab(file)
    for listed in ("z (5 × 4 × 6 complex double)", "s (struct)", "map (5 × 4 uint8)", "cell)", "empty (0 × 3 double)"):
        assert listed in str(error.value)
    assert "#refs#" not in str(error.value)


def test_an_incomplete_file_of_version_7_3(file, save_version_7_3):
    whole = save_version_7_3(file, data=CUBE, map=MAP).read_bytes()
    for length in range(128, len(whole), 997):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="scene.mat cannot be read; it may be damaged"):
            read_matlab(file)


def test_version_7_3_without_a_reader(file, monkeypatch):
    from osgeo import gdal

    monkeypatch.setattr(gdal, "GetDriverByName", lambda name: None)
    monkeypatch.setattr(matlab, "find_spec", lambda name: None)
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(ValueError, match="needs its HDF5 driver or Python the package h5py"):
        read_matlab(file)


@pytest.mark.skipif(not MADE_BY_MATLAB.exists(), reason="needs the test files that come with scipy")
def test_files_made_by_matlab_itself():
    for version in ("6.1_SOL2", "6.5.1_GLNX86", "7.1_GLNX86", "7.4_GLNX86"):
        scene = read_matlab(MADE_BY_MATLAB / f"test3dmatrix_{version}.mat")  # the first of them is big-endian
        np.testing.assert_array_equal(scene.cube, np.arange(1, 25).reshape((2, 3, 4), order="F"))
        assert scene.cube.dtype.isnative
    with pytest.raises(ValueError, match=r"no 3-D array.*testdouble \(1 × 9 double\)"):
        read_matlab(MADE_BY_MATLAB / "testhdf5_7.4_GLNX86.mat")


@pytest.mark.needs_data
def test_the_benchmark_scenes():
    files = sorted((DATA / "scenes").glob("*.mat"))
    assert files
    for path in files:
        known = scipy.io.loadmat(path)
        scene = read_matlab(path)
        np.testing.assert_array_equal(scene.cube, known["data"])
        np.testing.assert_array_equal(scene.truth, known["map"] > 0)
        assert scene.wavelengths is None
    with pytest.raises(ValueError, match=r"no 3-D array.*SAD_result \(100 × 80 single\)"):
        read_matlab(DATA / "reference" / "scoread_hydice_score_map.mat")
