"""Rasters as cubes: formats, band metadata, scale, offset, nodata, good bands, and files that are no use."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from osgeo import gdal, osr

from scoread_qgis.scenes.bands import band_numbers, list_bands, match_wavelengths
from scoread_qgis.scenes.raster import RasterCube, RasterFile, choose_bands, common_bands, match_bands
from scoread_qgis.scenes.writer import write_scene


def make(path, values, driver="GTiff", code=None, options=()):
    """Write (rows, columns, bands) with GDAL itself and return the path."""
    code = code or {"f": gdal.GDT_Float32, "i": gdal.GDT_Int16, "u": gdal.GDT_Byte}[values.dtype.kind]
    if driver == "VRT":
        path, driver = make(f"{path}.tif", values), "VRT"
        gdal.Translate(str(path)[:-4], path, format="VRT")
        return str(path)[:-4]
    memory = gdal.GetDriverByName("MEM").Create("", values.shape[1], values.shape[0], values.shape[2], code)
    for band in range(values.shape[2]):
        memory.GetRasterBand(band + 1).WriteArray(values[..., band])
    gdal.GetDriverByName(driver).CreateCopy(str(path), memory, options=list(options))
    return str(path)


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(1, 1000, (12, 9, 5)).astype(np.int16)


@pytest.mark.parametrize(
    ("driver", "name", "options"),
    [
        ("VRT", "a.vrt", []),
        ("GTiff", "a.tif", ["INTERLEAVE=PIXEL"]),
        ("GTiff", "a.tif", ["INTERLEAVE=BAND", "TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16", "COMPRESS=DEFLATE"]),
        ("ENVI", "a.dat", ["INTERLEAVE=BSQ"]),
        ("ENVI", "a.dat", ["INTERLEAVE=BIL"]),
        ("ENVI", "a.dat", ["INTERLEAVE=BIP"]),
        ("netCDF", "a.nc", []),
    ],
)
def test_every_format_and_interleave_gives_the_same_cube(tmp_path, values, driver, name, options):
    if driver == "netCDF":
        make(tmp_path / name, values, driver)
        source = str(tmp_path / name)
        with pytest.raises(ValueError, match="Choose one of: NETCDF:"):
            RasterFile(source)
        return
    else:
        source = make(tmp_path / name, values, driver, options=options)
    cube = RasterCube(RasterFile(source), [1, 2, 3, 4, 5])
    read, valid = cube.read(0, 12)
    assert read.dtype == np.float32
    assert read.flags.c_contiguous
    assert valid.all()
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(RasterCube(RasterFile(source), [4, 2]).read(3, 7)[0], values[3:7, :, [3, 1]])


def test_vrt_mosaic_reads_across_its_parts(tmp_path, values):
    parts = []
    for index, rows in enumerate((values[:6], values[6:])):
        write_scene(tmp_path / f"{index}.tif", rows, geotransform=(0, 1, 0, 12 - 6 * index, 0, -1))
        parts.append(str(tmp_path / f"{index}.tif"))
    gdal.BuildVRT(str(tmp_path / "mosaic.vrt"), parts).FlushCache()
    read, _ = RasterCube(RasterFile(str(tmp_path / "mosaic.vrt")), [1, 2, 3, 4, 5]).read(0, 12)
    np.testing.assert_array_equal(read, values)


def test_scale_offset_and_nodata(tmp_path, values):
    path = tmp_path / "scaled.tif"
    values[2, 3, 1] = -99
    write_scene(path, values, scale=0.01, nodata=-99)
    dataset = gdal.Open(str(path), gdal.GA_Update)
    dataset.GetRasterBand(2).SetOffset(5.0)
    dataset = None
    read, valid = RasterCube(RasterFile(str(path)), [1, 2, 3, 4, 5]).read(0, 12)
    assert np.argwhere(~valid).tolist() == [[2, 3]]
    assert (read[2, 3] == 0).all()
    expected = values * 0.01
    expected[..., 1] += 5
    np.testing.assert_allclose(read[valid], expected[valid], rtol=1e-6)


def test_values_that_nothing_measures_are_not_valid(tmp_path):
    values = np.ones((4, 5, 3), np.float32)
    values[0, 0, 1], values[1, 1, 0], values[2, 2, 2], values[3, 3, 1] = np.nan, np.inf, 1e30, -3.4e38
    _, valid = RasterCube(RasterFile(make(tmp_path / "dirty.tif", values)), [1, 2, 3]).read(0, 4)
    assert np.argwhere(~valid).tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    _, valid = RasterCube(RasterFile(make(tmp_path / "doubles.tif", values, code=gdal.GDT_Float64)), [1, 3]).read(0, 4)
    assert np.argwhere(~valid).tolist() == [[1, 1], [2, 2]]


def test_dataset_mask_is_honoured(tmp_path, values):
    path = make(tmp_path / "masked.tif", values)
    dataset = gdal.Open(path, gdal.GA_Update)
    dataset.CreateMaskBand(gdal.GMF_PER_DATASET)
    mask = np.full((12, 9), 255, np.uint8)
    mask[:, 0] = 0
    dataset.GetRasterBand(1).GetMaskBand().WriteArray(mask)
    dataset = None
    _, valid = RasterCube(RasterFile(path), [1, 2]).read(0, 12)
    np.testing.assert_array_equal(valid, mask != 0)


@pytest.mark.parametrize(("unit", "factor"), [("Nanometers", 1), ("Micrometers", 1e-3), ("um", 1e-3), (None, 1), (None, 1e-3)])
def test_wavelengths_of_an_envi_header(tmp_path, values, unit, factor):
    path = make(tmp_path / "a.dat", values, "ENVI")
    header = tmp_path / "a.hdr"
    nanometres = np.array([450.5, 550, 650, 1400, 2200])
    lines = [
        f"wavelength = {{{', '.join(str(w * factor) for w in nanometres)}}}",
        f"fwhm = {{{', '.join(str(10 * factor) for _ in nanometres)}}}",
        "bbl = {1, 1, 1, 0, 1}",
    ]
    if unit:
        lines.append(f"wavelength units = {unit}")
    header.write_text(header.read_text(encoding="utf-8") + "\n".join(lines) + "\n")
    raster = RasterFile(path)
    np.testing.assert_allclose(raster.table.wavelengths, nanometres)
    np.testing.assert_allclose(raster.table.fwhm, 10)
    assert raster.table.good.tolist() == [True, True, True, False, True]
    choice = choose_bands(raster)
    assert choice.numbers == [1, 2, 3, 5]
    assert choice.left_out == {"flagged bad in the file": [4]}
    assert choose_bands(raster, [4, 5]).numbers == [4, 5], "bands that the user names are used though they are flagged"


def test_wavelengths_of_the_imagery_domain(tmp_path, values):
    path = make(tmp_path / "a.tif", values)
    dataset = gdal.Open(path, gdal.GA_Update)
    for band in range(1, 6):
        dataset.GetRasterBand(band).SetMetadataItem("CENTRAL_WAVELENGTH_UM", str(0.4 + 0.1 * band), "IMAGERY")
        dataset.GetRasterBand(band).SetMetadataItem("FWHM_UM", "0.01", "IMAGERY")
    dataset = None
    table = RasterFile(path).table
    np.testing.assert_allclose(table.wavelengths, [500, 600, 700, 800, 900])
    np.testing.assert_allclose(table.fwhm, 10)
    assert table.good.all()


@pytest.mark.needs_data
def test_real_enmap_scene(data):
    raster = RasterFile(str(data / "georeferenced" / "enmap_potsdam.tif"))
    assert (raster.rows, raster.columns, raster.count) == (192, 160, 224)
    assert raster.table.wavelengths[0] == pytest.approx(418.24)
    choice = choose_bands(raster)
    assert choice.left_out == {"flagged bad in the file": list(range(130, 136))}
    cube = RasterCube(raster, choice.numbers)
    values, valid = cube.read(0, 192)
    raw = gdal.Open(raster.source).ReadAsArray()[[n - 1 for n in choice.numbers]]
    np.testing.assert_array_equal(valid, (raw != -32768).all(axis=0))
    np.testing.assert_allclose(values[valid], raw.transpose(1, 2, 0)[valid] * 1e-4, rtol=1e-5, atol=1e-7)
    assert osr.SpatialReference(raster.crs).GetAuthorityCode(None) == "32633"


@pytest.mark.needs_data
def test_real_envi_scene_and_positions_on_the_map(data):
    raster = RasterFile(str(data / "georeferenced" / "sandiego_envi.dat"))
    assert raster.table.wavelengths[[0, 188]] == pytest.approx([429.41, 2470.46])
    cube = RasterCube(raster, choose_bands(raster).numbers)
    corner = cube.map_positions([[0, 0]])
    np.testing.assert_allclose(corner, [[480805.4 + 1.75, 3618830.5 - 1.75]])
    positions = np.array([[0, 0], [10, 3], [89, 88]])
    np.testing.assert_allclose(cube.pixel_positions(cube.map_positions(positions)), positions, atol=1e-6)


def test_positions_with_a_rotated_grid(tmp_path, values):
    write_scene(tmp_path / "a.tif", values, geotransform=(100, 2, 0.5, 50, 0.3, -2))
    cube = RasterCube(RasterFile(str(tmp_path / "a.tif")), [1, 2])
    positions = np.random.default_rng(0).random((20, 2)) * 9
    np.testing.assert_allclose(cube.pixel_positions(cube.map_positions(positions)), positions)


def test_useless_bands_are_left_out_with_the_reason(tmp_path):
    values = np.random.default_rng(0).random((20, 10, 6)).astype(np.float32)
    values[..., 1] = 7
    values[..., 3] = np.nan
    values[3:, :, 4] = np.nan
    choice = choose_bands(RasterFile(make(tmp_path / "a.tif", values)))
    assert choice.numbers == [1, 3, 6]
    assert choice.left_out == {"one value everywhere": [2], "no data": [4], "no data over most of the scene": [5]}


class TestUnusable:
    """Bad input: the message names the layer and the remedy."""

    def test_not_a_raster(self, tmp_path):
        (tmp_path / "a.tif").write_text("no raster")
        with pytest.raises(ValueError, match=r"^my scene cannot be opened as a raster.*Check that the file"):
            RasterFile(str(tmp_path / "a.tif"), "my scene")

    def test_truncated(self, tmp_path, values):
        path = make(tmp_path / "a.dat", np.repeat(np.repeat(values, 20, 0), 20, 1), "ENVI", options=["INTERLEAVE=BIP"])
        size = (tmp_path / "a.dat").stat().st_size
        with open(path, "r+b") as file:
            file.truncate(size // 2)
        with pytest.raises(ValueError, match=r"my scene is truncated: the file has \d+ bytes and its header calls for \d+. Fetch it again"):
            choose_bands(RasterFile(path, "my scene"))

    def test_truncated_geotiff(self, tmp_path):
        path = make(tmp_path / "a.tif", np.random.default_rng(0).random((200, 200, 4)).astype(np.float32), options=["COMPRESS=DEFLATE"])
        with open(path, "r+b") as file:
            file.truncate((tmp_path / "a.tif").stat().st_size * 3 // 4)
        with pytest.raises(ValueError, match=r"my scene cannot be (read at rows|opened as a raster)"):
            choose_bands(RasterFile(path, "my scene"))

    def test_single_band(self, tmp_path, values):
        with pytest.raises(ValueError, match="my scene has 1 band:.*many spectral bands"):
            RasterFile(make(tmp_path / "a.tif", values[..., :1]), "my scene")

    def test_complex(self, tmp_path, values):
        with pytest.raises(ValueError, match=r"complex values \(CFloat32\)"):
            RasterFile(make(tmp_path / "a.tif", values, code=gdal.GDT_CFloat32))

    def test_all_bands_constant(self, tmp_path):
        with pytest.raises(ValueError, match=r"0 usable bands of 3 \(one value everywhere: 1-3\)"):
            choose_bands(RasterFile(make(tmp_path / "a.tif", np.ones((5, 5, 3), np.float32))))

    def test_no_such_band(self, tmp_path, values):
        with pytest.raises(ValueError, match="has 5 bands; there is no band 9"):
            choose_bands(RasterFile(make(tmp_path / "a.tif", values)), [1, 9])


def test_bytes_are_read_as_they_are(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    read, _ = RasterCube(RasterFile(make(tmp_path / "a.tif", values)), [1, 2, 3]).read(0, 5)
    np.testing.assert_array_equal(read, values)


def test_reading_leaves_nothing_beside_the_scene(tmp_path, values):
    path = make(tmp_path / "a.tif", values.astype(np.float32))
    before = (tmp_path / "a.tif").read_bytes()
    raster = RasterFile(path)
    list(RasterCube(raster, choose_bands(raster).numbers).blocks(2))
    del raster
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == before


def test_wavelengths_match_by_nearest_within_half_the_spacing():
    wanted = [500, 510, 520, 530]
    assert match_wavelengths(wanted, [530.4, 519, 700, 512, 499]).tolist() == [4, 3, 1, 0]
    assert match_wavelengths(wanted, [500, 510, 526, 530]).tolist() == [0, 1, -1, 3]
    assert match_wavelengths(wanted, [500, 510, 520, 530], usable=[True, True, False, True]).tolist() == [0, 1, -1, 3]
    assert match_wavelengths(wanted, [np.nan, 510, 520, 530]).tolist() == [-1, 1, 2, 3]


def scene_with(path, wavelengths, values=None):
    values = np.random.default_rng(0).random((5, 5, len(wavelengths))).astype(np.float32)
    write_scene(path, values, wavelengths=wavelengths)
    return RasterFile(str(path), path.name)


def test_a_model_finds_its_bands_by_wavelength_in_any_order(tmp_path):
    raster = scene_with(tmp_path / "a.tif", [900, 500, 600, 2000, 700, 800])
    assert match_bands(raster, [], [500, 600, 700, 800, 900], 5) == [2, 3, 5, 6, 1]
    with pytest.raises(ValueError, match=r"does not have: 1000.0, 1100.0 nm \(2 of 7; the scene has 500 to 2000 nm in 6 good bands\)"):
        match_bands(raster, [], [500, 600, 700, 800, 900, 1000, 1100], 7)
    with pytest.raises(ValueError, match=r"does not have: 500.0 nm"):
        match_bands(raster, [1, 3, 5, 6], [500, 600, 700, 800, 900], 5)


def test_a_model_without_wavelengths_goes_by_number(tmp_path, values):
    raster = RasterFile(make(tmp_path / "a.tif", values), "my scene")
    assert match_bands(raster, [], None, 5) == [1, 2, 3, 4, 5]
    assert match_bands(raster, [], None, 3, {"numbers": [1, 3, 5], "of": 5}) == [1, 3, 5]
    assert match_bands(raster, [2, 3, 4], None, 3) == [2, 3, 4]
    with pytest.raises(ValueError, match="trained on 7 bands, but my scene has 5"):
        match_bands(raster, [], [500, 510, 520, 530, 540, 550, 560], 7)


def test_scenes_of_a_sensor_share_their_bands(tmp_path, values):
    first, second = scene_with(tmp_path / "a.tif", [500, 600, 700, 800]), scene_with(tmp_path / "b.tif", [800, 400, 501, 602])
    rasters = [first, second]
    assert common_bands(rasters, [choose_bands(r) for r in rasters]) == [[1, 2, 4], [3, 4, 1]]
    plain = [RasterFile(make(tmp_path / f"{name}.tif", values)) for name in "cd"]
    assert common_bands(plain, [choose_bands(plain[0], [1, 2, 3]), choose_bands(plain[1], [2, 3, 4])]) == [[2, 3], [2, 3]]
    with pytest.raises(ValueError, match="cannot be matched"):
        common_bands([plain[0], RasterFile(make(tmp_path / "e.tif", values[..., :4]))], [choose_bands(plain[0])] * 2)


def test_band_lists_are_short():
    assert list_bands([3, 1, 2, 7, 9, 10]) == "1-3, 7, 9-10"
    assert list_bands(range(1, 40, 2)) == "1, 3, 5, 7, 9, 11, 13, 15 and 12 more"


class TestWavelengthsOfSeveralBands:
    """Rounded to 10 nm, pairs of bands of 5 nm have one wavelength; the overlap of two spectrometers has bands close to each other."""

    EXACT = np.arange(400, 450, 5.0)
    ROUNDED = np.round(EXACT + 0.1, -1)

    def test_by_number_where_the_table_is_that_of_training(self, tmp_path):
        raster = scene_with(tmp_path / "a.tif", self.ROUNDED)
        numbers = [1, 2, 3, 5, 6, 9]
        wavelengths = raster.table.wavelengths[np.array(numbers) - 1]
        assert match_bands(raster, [], list(wavelengths), 6, {"numbers": numbers, "of": 10}) == numbers
        with pytest.raises(ValueError, match=r"Several bands of the model have one wavelength \(410 nm\)"):
            match_bands(raster, [1, 2, 3, 5, 6], list(wavelengths), 6, {"numbers": numbers, "of": 10})

    def test_refused_where_it_is_another(self, tmp_path):
        fewer = scene_with(tmp_path / "a.tif", self.ROUNDED[1:])
        with pytest.raises(ValueError, match="Several bands of the model have one wavelength.*write the wavelengths with more digits"):
            match_bands(fewer, [], list(self.ROUNDED), 10, {"numbers": list(range(1, 11)), "of": 10})

    def test_one_to_one_in_any_case(self):
        near = [400, 410, 420, 420.4, 430, 440]
        assert match_wavelengths(near, [400, 410, 420.3, 420.6, 430, 440]).tolist() == [0, 1, 2, 3, 4, 5]
        assert match_wavelengths(near, [400, 410, 420.3, 430, 440]).tolist() == [0, 1, -1, 2, 3, 4], "one band cannot be two"
        found = match_wavelengths(self.ROUNDED, self.EXACT)
        assert len(set(found[found >= 0])) == np.count_nonzero(found >= 0)

    def test_scenes_to_train_on(self, tmp_path):
        rasters = [scene_with(tmp_path / f"{name}.tif", self.ROUNDED) for name in "ab"]
        choices = [choose_bands(rasters[0]), choose_bands(rasters[1], [1, 2, 4, 5, 6, 7, 8, 9, 10])]
        assert common_bands(rasters, choices) == [[1, 2, 4, 5, 6, 7, 8, 9, 10]] * 2
        rasters[1] = scene_with(tmp_path / "c.tif", self.ROUNDED[1:])
        with pytest.raises(ValueError, match=r"Several bands of a.tif have one wavelength"):
            common_bands(rasters, [choose_bands(raster) for raster in rasters])

    @settings(max_examples=100, deadline=None)
    @given(seed=st.integers(0, 10_000))
    def test_no_band_is_taken_twice(self, seed):
        random = np.random.default_rng(seed)
        wanted, available = (np.round(random.uniform(400, 440, random.integers(2, 12)), random.integers(0, 3)) for _ in range(2))
        found = match_wavelengths(wanted, available)
        taken = found[found >= 0]
        assert len(set(taken)) == len(taken)
        unique = np.unique(wanted)
        if unique.size > 1:
            tolerance = 0.5 * np.median(np.diff(unique))
            assert (np.abs(wanted[found >= 0] - available[taken]) <= tolerance).all()
            free = np.setdiff1d(np.arange(len(available)), taken)
            assert not (np.abs(wanted[found < 0][:, None] - available[free]) <= tolerance).any(), "a free band would have fitted"


class TestBandLists:
    def test_read(self):
        assert band_numbers("1-3, 7") == band_numbers(" 1 - 3;7,") == [1, 2, 3, 7]
        assert band_numbers("") == band_numbers(None) == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("0", "bands are counted from 1"), ("0-4", "counted from 1"), ("5-3", "ends before it begins: write 3-5"),
            ("5,5,5", "Band 5 is named twice"),
            ("1-4, 3", "Band 3 is named twice"), ("1-99999999", "no scene has more than 65535 bands"),
            ("99999999999999999999", "no scene has more"),
            ("a", '"a" is not a band number'),
            ("-3", "is not a band number"), ("1--3", "is not a band number"), ("1-2-3", "is not a band number"),
            ("²", "is not a band number"),
        ],
    )  # fmt: skip
    def test_refused(self, text, message):
        tracemalloc.start()
        with pytest.raises(ValueError, match=message):
            band_numbers(text)
        assert tracemalloc.get_traced_memory()[1] < 10e6
        tracemalloc.stop()
