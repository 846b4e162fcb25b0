"""Scenes of all kinds, mixed: data types, nodata, scale and offset, interleave, georeference; values against numpy's own arithmetic."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from osgeo import gdal, ogr, osr

from scoread_qgis.core.progress import Progress
from scoread_qgis.scenes.mask import Mask, read_polygons, vector_store
from scoread_qgis.scenes.raster import RasterCube, RasterFile, choose_bands, match_bands
from scoread_qgis.scenes.score_map import ScoreMap
from scoread_qgis.workflows.detect import Detection, detect
from scoread_qgis.workflows.extract import Extraction, extract
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import MaskSource, RasterSource

UNKNOWN_FORMAT = "not recognized as (being in )?a supported file format"
TYPES = {
    "uint8": gdal.GDT_Byte, "uint16": gdal.GDT_UInt16, "int16": gdal.GDT_Int16, "uint32": gdal.GDT_UInt32,
    "int32": gdal.GDT_Int32, "float32": gdal.GDT_Float32, "float64": gdal.GDT_Float64,
}  # fmt: skip
NODATA = [
    None,
    float("nan"),
    0,
    1,
    241,
    255,
    -1,
    -15,
    -9999,
    55537,
    65535,
    2**31 - 1,
    -3.4e38,
    -3.4028234663852886e38,
    1e300,
    float("inf"),
]
FORMATS = [
    ("GTiff", ["INTERLEAVE=PIXEL", "PHOTOMETRIC=MINISBLACK", "ALPHA=NO"]),
    ("GTiff", ["PHOTOMETRIC=MINISBLACK", "ALPHA=NO", "TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16",
               "COMPRESS=DEFLATE", "INTERLEAVE=BAND"]),
    ("ENVI", ["INTERLEAVE=BSQ"]), ("ENVI", ["INTERLEAVE=BIL"]), ("ENVI", ["INTERLEAVE=BIP"]), ("VRT", []),
]  # fmt: skip
_names = itertools.count()


@pytest.fixture(params=[False, True], ids=["GDAL silent", "GDAL with exceptions"])
def exceptions(request):
    """GDAL's exceptions, as another plugin may have them; whatever is done, they must be afterwards as they were before."""
    used = gdal.GetUseExceptions()
    for module in (osr, ogr, gdal):  # GDAL before 3.7 wants them in the reverse order
        module.DontUseExceptions()
    for module in (gdal, ogr, osr) if request.param else ():
        module.UseExceptions()
    yield request.param
    assert bool(gdal.GetUseExceptions()) == request.param
    for module in (osr, ogr, gdal):
        module.DontUseExceptions()
    for module in (gdal, ogr, osr) if used else ():
        module.UseExceptions()


@st.composite
def scenes(draw):
    """(bands as arrays, nodata of each, scale of each, offset of each, format)."""
    count, rows, columns = draw(st.integers(2, 4)), draw(st.integers(1, 7)), draw(st.integers(1, 6))
    form = draw(st.sampled_from(FORMATS))
    own = form[0] == "VRT"  # each band has its own type and nodata value; in other formats all bands share them

    def each(strategy):
        return [draw(strategy) for _ in range(count)] if own else [draw(strategy)] * count

    types, nodata = each(st.sampled_from(sorted(TYPES))), each(st.sampled_from(NODATA))
    factors = [draw(st.sampled_from([1.0, 1e-4, 0.5, -2.0])) for _ in range(count)]
    offsets = [draw(st.sampled_from([0.0, 10.0, -0.1])) for _ in range(count)]
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    bands = []
    for name, value in zip(types, nodata):
        dtype = np.dtype(name)
        if dtype.kind == "f":
            special = [0, 1, 0.5, -9999, 1e20, np.nan, np.inf, -3.4e38, -3.4028234663852886e38]
            band = random.choice([*special, *random.normal(size=20) * 1000], (rows, columns))
        else:
            limits = np.iinfo(dtype)
            special = [v for v in (0, 1, 241, 255, -1, 55537, limits.min, limits.max) if limits.min <= v <= limits.max]
            band = random.choice([*special, *random.integers(0, 100, 20)], (rows, columns))
        if value is not None and random.random() < 0.5:
            with np.errstate(all="ignore"):
                band[random.random(band.shape) < 0.2] = value if dtype.kind == "f" else np.array(value).astype(dtype)  # as it may wrap
        with np.errstate(over="ignore"):
            bands.append(band.astype(dtype))
    return bands, nodata, factors, offsets, form


def write(bands, nodata, factors, offsets, form):
    """Write a scene to GDAL's memory; its path."""
    driver, options = form
    path = f"/vsimem/matrix/{next(_names)}"
    rows, columns = bands[0].shape
    parts = []
    if driver == "VRT":
        for band in bands:
            parts.append(f"{path}_{len(parts)}.tif")
            part = gdal.GetDriverByName("GTiff").Create(parts[-1], columns, rows, 1, TYPES[band.dtype.name])
            part.SetGeoTransform((0, 1, 0, 0, 0, -1))
            part.WriteArray(band)
            part = None
        dataset = gdal.BuildVRT(f"{path}.vrt", parts, separate=True)
        path = f"{path}.vrt"
    else:
        path += ".tif" if driver == "GTiff" else ".dat"
        dataset = gdal.GetDriverByName(driver).Create(path, columns, rows, len(bands), TYPES[bands[0].dtype.name], options)
        for index, band in enumerate(bands, 1):
            dataset.GetRasterBand(index).WriteArray(band)
    for index, (value, factor, offset) in enumerate(zip(nodata, factors, offsets), 1):
        band = dataset.GetRasterBand(index)
        if value is not None:
            band.SetNoDataValue(float(value))
        if factor != 1 or offset != 0:
            band.SetScale(factor)
            band.SetOffset(offset)
    dataset.FlushCache()
    return path


@settings(max_examples=150, deadline=None, derandomize=True)
@given(scene=scenes())
@example(([np.arange(6, dtype=np.uint16).reshape(2, 3) + 55535] * 2, [-9999.0] * 2, [1.0] * 2, [0.0] * 2, FORMATS[0]))
@example(([np.zeros((2, 3), np.int16)] * 2, [-3.4e38] * 2, [1.0] * 2, [0.0] * 2, FORMATS[0]))
@example(([np.full((2, 3), 241, np.uint8)] * 2, [-15.0] * 2, [1.0] * 2, [0.0] * 2, FORMATS[0]))
@example(([np.array([[0, 1]], np.uint8)] * 2, [0.5] * 2, [1.0] * 2, [0.0] * 2, FORMATS[-1]))
@example(([np.array([[7, 200]], np.uint8), np.array([[300, -5]], np.int16)], [None] * 2, [1.0] * 2, [0.0] * 2, FORMATS[-1]))
@example(([np.array([[7, 200]], np.uint8), np.array([[0.1, 2]], np.float32)], [None, 0.1], [1.0] * 2, [0.0] * 2, FORMATS[-1]))
def test_values_are_those_of_numpy(scene):
    bands, nodata, factors, offsets, _ = scene
    path = write(*scene)
    try:
        raster = RasterFile(path)
        values, filled = raster.read_bands(0, raster.rows, range(1, len(bands) + 1))
        cube, valid = RasterCube(raster, range(1, len(bands) + 1)).read(0, raster.rows)
        single, single_filled = raster.read_bands(0, raster.rows, [len(bands)])
    finally:
        for file in gdal.ReadDir("/vsimem/matrix") or []:
            gdal.Unlink(f"/vsimem/matrix/{file}")
    for index, (raw, value, factor, offset) in enumerate(zip(bands, nodata, factors, offsets)):
        exact = raw.astype(np.float64)
        with np.errstate(all="ignore"):
            expected = exact * factor + offset
            known = np.isfinite(expected) & (np.abs(expected) < 1e18)
            if value is not None:  # compared as numbers, and never cast to a type that cannot hold them
                known &= raw != np.float32(value) if raw.dtype == np.float32 else exact != value
        np.testing.assert_array_equal(filled[index], known)
        slack = 1e-6 * (np.abs(exact * factor) + abs(offset))[known]
        assert (np.abs(values[index][known] - expected[known]) <= slack).all()
    np.testing.assert_array_equal(valid, filled.all(axis=0))
    np.testing.assert_array_equal(cube[valid], values.transpose(1, 2, 0)[valid])
    np.testing.assert_array_equal(single_filled[0], filled[-1])
    np.testing.assert_array_equal(single[0][filled[-1]], values[-1][filled[-1]])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(scene=scenes())
def test_maps_and_masks_have_the_nodata_of_scenes(scene):
    bands, nodata, *_ = scene
    form = ("GTiff", [])
    path = write(bands[:1], nodata[:1], [1.0], [0.0], form)
    grid = RasterFile(write([np.zeros(bands[0].shape, np.uint8)] * 2, [None] * 2, [1.0] * 2, [0.0] * 2, form))
    try:
        scores, valid = ScoreMap(path).read(0, len(bands[0]))
        exact = bands[0].astype(np.float64)
        known = np.isfinite(exact)
        if nodata[0] is not None:
            with np.errstate(over="ignore"):
                known &= bands[0] != np.float32(nodata[0]) if bands[0].dtype == np.float32 else exact != nodata[0]
        np.testing.assert_array_equal(valid, known)
        np.testing.assert_array_equal(scores[valid][:, 0], bands[0][known].astype(np.float32))
        inside = known & (exact != 0)
        if inside.any():
            np.testing.assert_array_equal(Mask.from_raster(grid, path).read(0, len(exact)), inside)
        else:
            with pytest.raises(ValueError, match="does not touch"):
                Mask.from_raster(grid, path)
    finally:
        grid = None
        for file in gdal.ReadDir("/vsimem/matrix") or []:
            gdal.Unlink(f"/vsimem/matrix/{file}")


ROWS, COLUMNS = 40, 30
UTM = osr.SpatialReference()
UTM.ImportFromEPSG(32633)
AFFINE = (500000.0, 9.0, 1.5, 5800000.0, 1.0, -10.0)
# Linear in longitude and latitude: sample = 15 + 15 (longitude - 13) / 0.01, line = 20 - 20 (latitude - 52) / 0.01.
RPC = {
    "HEIGHT_OFF": "0", "HEIGHT_SCALE": "500", "LAT_OFF": "52", "LAT_SCALE": "0.01", "LONG_OFF": "13", "LONG_SCALE": "0.01",
    "LINE_OFF": "20", "LINE_SCALE": "20", "SAMP_OFF": "15", "SAMP_SCALE": "15", "ERR_BIAS": "0", "ERR_RAND": "0",
    "LINE_NUM_COEFF": "0 0 -1" + " 0" * 17, "LINE_DEN_COEFF": "1" + " 0" * 19,
    "SAMP_NUM_COEFF": "0 1" + " 0" * 18, "SAMP_DEN_COEFF": "1" + " 0" * 19,
}  # fmt: skip


def affine(column, row):
    x, xc, xr, y, yc, yr = AFFINE
    return x + xc * column + xr * row, y + yc * column + yr * row


def by_rpc(column, row):
    """RPC count from the centre of the first pixel."""
    return 13 + 0.01 * (column - 0.5 - 15) / 15, 52 - 0.01 * (row - 0.5 - 20) / 20


PLACES = {"nowhere": None, "geotransform": affine, "control points": affine, "RPC": by_rpc}


def scene_at(path, how):
    """A scene with a bright square at rows 8-11, columns 5-8, that lies where `how` says."""
    values = np.random.default_rng(0).normal(100, 5, (ROWS, COLUMNS, 4)).astype(np.float32)
    values[8:12, 5:9] += np.array([200, -100, 100, 50])
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), COLUMNS, ROWS, 4, gdal.GDT_Float32)
    for band in range(4):
        dataset.GetRasterBand(band + 1).WriteArray(values[..., band])
    if how == "geotransform":
        dataset.SetGeoTransform(AFFINE)
        dataset.SetProjection(UTM.ExportToWkt())
    elif how == "control points":
        corners = [(c, r) for c in (0, 15, COLUMNS) for r in (0, 20, ROWS)]
        dataset.SetGCPs([gdal.GCP(*affine(c, r), 0, c, r) for c, r in corners], UTM.ExportToWkt())
    elif how == "RPC":
        dataset.SetMetadata(RPC, "RPC")
    dataset = None
    return str(path)


def outline(place, west, north, east, south):
    ring = ", ".join(
        "{} {}".format(*place(*corner)) for corner in ((west, north), (east, north), (east, south), (west, south), (west, north))
    )
    return ogr.CreateGeometryFromWkt(f"POLYGON(({ring}))")


@pytest.mark.parametrize("how", PLACES)
def test_maps_masks_and_regions_lie_where_the_scene_does(tmp_path, exceptions, how):
    source = RasterSource(scene_at(tmp_path / "scene.tif", how), "scene")
    place, run = PLACES[how], Run(2**28, Progress(), lambda text: None)
    mask = None
    if place:  # all but the last three columns
        crs = UTM.ExportToWkt() if how != "RPC" else ""
        mask = MaskSource("fields", crs, polygons=(bytes(outline(place, 0, 0, COLUMNS - 3, ROWS).ExportToWkb()),))
    detect(Detection(source, str(tmp_path / "map.tif"), kind="rx", mask=mask), run)
    threshold, count = extract(
        Extraction(
            RasterSource(str(tmp_path / "map.tif")), str(tmp_path / "r.gpkg"), str(tmp_path / "mask.tif"), "percentile", percentile=98.5
        ),
        run,
    )
    scores = gdal.Open(str(tmp_path / "map.tif")).ReadAsArray()
    if mask:
        np.testing.assert_array_equal(np.isfinite(scores), np.arange(COLUMNS)[None, :].repeat(ROWS, 0) < COLUMNS - 3)
    scene = gdal.Open(source.source)
    for name in ("map.tif", "mask.tif"):
        made = gdal.Open(str(tmp_path / name))
        assert made.GetGeoTransform(can_return_null=True) == scene.GetGeoTransform(can_return_null=True)
        assert made.GetProjection() == scene.GetProjection()
        assert made.GetGCPProjection() == scene.GetGCPProjection()
        points = [[(p.GCPX, p.GCPY, p.GCPPixel, p.GCPLine) for p in dataset.GetGCPs()] for dataset in (made, scene)]
        np.testing.assert_allclose(points[0], points[1])
        assert {k: v.split() for k, v in made.GetMetadata("RPC").items()}.keys() == scene.GetMetadata("RPC").keys()
        assert made.GetMetadata("RPC").get("LINE_OFF") == scene.GetMetadata("RPC").get("LINE_OFF")
    layer = (regions := ogr.Open(str(tmp_path / "r.gpkg"))).GetLayer(0)
    first = next(iter(layer))
    place = place or (lambda column, row: (column, -row))
    anomaly, polygon = outline(place, 5, 8, 9, 12), first.GetGeometryRef()
    assert polygon.Intersection(anomaly).Area() == pytest.approx(polygon.Area(), rel=1e-4)
    assert ogr.CreateGeometryFromWkt(f"POINT({first['x']} {first['y']})").Within(anomaly)
    if how in ("geotransform", "control points"):
        assert (
            first["area"]
            == pytest.approx(polygon.Area())
            == pytest.approx(first["pixels"] * 91.5 if how == "geotransform" else polygon.Area())
        )
        assert layer.GetSpatialRef().IsSame(UTM)
    elif how == "RPC":
        pixel = 0.01 / 15 * 111320 * np.cos(np.radians(52)) * 0.01 / 20 * 111320
        assert first["area"] == pytest.approx(first["pixels"] * pixel, rel=0.01)
        assert layer.GetSpatialRef().IsGeographic()
    del layer, regions


@pytest.mark.parametrize("how", ["control points", "RPC"])
def test_a_raster_mask_fits_a_scene_without_a_regular_grid(tmp_path, exceptions, how):
    raster = RasterFile(scene_at(tmp_path / "scene.tif", how))
    inside = np.zeros((ROWS, COLUMNS), np.uint8)
    inside[10:30, 5:20] = 1
    same = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "same.tif"), COLUMNS, ROWS, 1)
    same.WriteArray(inside)
    raster.georeference.write(same)
    same = None
    np.testing.assert_array_equal(Mask.from_raster(raster, str(tmp_path / "same.tif")).read(0, ROWS), inside == 1)
    place = PLACES[how]
    corners = np.array([place(c, r) for c in (-20, COLUMNS + 20) for r in (-20, ROWS + 20)])
    west, south, east, north = *corners.min(0), *corners.max(0)
    regular = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "regular.tif"), 400, 400, 1)
    regular.SetProjection(raster.crs)
    regular.SetGeoTransform((west, (east - west) / 400, 0, north, 0, (south - north) / 400))
    store = vector_store()
    layer = store.CreateLayer("inside")
    feature = ogr.Feature(layer.GetLayerDefn())
    feature.SetGeometry(outline(place, 5, 10, 20, 30))
    layer.CreateFeature(feature)
    gdal.RasterizeLayer(regular, [1], layer, burn_values=[1])
    del feature, layer, store, regular
    read = Mask.from_raster(raster, str(tmp_path / "regular.tif")).read(0, ROWS)
    assert (read != inside).sum() <= 5, "nearest neighbour may move the edge"


def header(path, old, new):
    text = path.with_suffix(".hdr").read_text(encoding="utf-8")
    assert old in text
    path.with_suffix(".hdr").write_text(text.replace(old, new))


def envi(path, values=None):
    values = np.ones((6, 5, 3), np.float32) if values is None else values
    dataset = gdal.GetDriverByName("ENVI").Create(str(path), values.shape[1], values.shape[0], values.shape[2], gdal.GDT_Float32)
    for band in range(values.shape[2]):
        dataset.GetRasterBand(band + 1).WriteArray(values[..., band])
    dataset = None
    return path


class TestRefused:
    """What cannot be read says so, names the remedy, and says the same whether GDAL's exceptions are on or off."""

    def refused(self, source, message, what=RasterFile):
        with pytest.raises(ValueError, match=message):
            what(str(source))

    def test_envi_headers(self, tmp_path, exceptions):
        path = envi(tmp_path / "a.dat")
        header(path, "header offset = 0", "header offset = abc")
        self.refused(path, r'a.dat cannot be read: its ENVI header says "header offset = abc".* Correct that line')
        header(path, "header offset = abc", "header offset = -8")
        self.refused(path, "header")
        path.with_suffix(".hdr").unlink()
        self.refused(path, r"If it is an ENVI file, it needs its header, a text file a.hdr beside it, which is missing")
        path.with_suffix(".hdr").write_text("no header")
        self.refused(path, "its header .*a.hdr is one of ENVI")

    def test_what_is_no_raster(self, tmp_path, exceptions):
        (tmp_path / "text.tif").write_text("no raster")
        message = f"text.tif cannot be opened as a raster: .*{UNKNOWN_FORMAT}"
        self.refused(tmp_path / "text.tif", message)
        self.refused(tmp_path / "text.tif", message, ScoreMap)
        self.refused(tmp_path / "text.tif", "The mask .*text.tif cannot be opened: .* neither a raster nor a vector file", read_polygons)
        for what in (RasterFile, ScoreMap):
            self.refused(tmp_path / "absent.tif", "absent.tif cannot be opened as a raster", what)
        self.refused(tmp_path / "absent.tif", "absent.tif cannot be opened", read_polygons)
        grid = RasterFile(str(envi(tmp_path / "a.dat")))
        self.refused(tmp_path / "text.tif", "The mask mask cannot be opened: .*text.tif", lambda path: Mask.from_raster(grid, path))

    def test_damaged_while_it_is_read(self, tmp_path, exceptions):
        values = np.random.default_rng(0).random((300, 200)).astype(np.float32)
        path = write([values] * 2, [None] * 2, [1.0] * 2, [0.0] * 2, ("GTiff", ["COMPRESS=DEFLATE", "INTERLEAVE=BAND"]))
        gdal.GetDriverByName("GTiff").CreateCopy(str(tmp_path / "a.tif"), gdal.Open(path), options=["COMPRESS=DEFLATE", "INTERLEAVE=BAND"])
        raster, score_map = RasterFile(str(tmp_path / "a.tif")), ScoreMap(str(tmp_path / "a.tif"))
        with open(tmp_path / "a.tif", "r+b") as file:
            file.seek(3000)
            file.write(bytes(200_000))
        with pytest.raises(ValueError, match="cannot be read at rows 1 to 300: .+ probably truncated or damaged"):
            raster.read_bands(0, 300, [1, 2])
        with pytest.raises(ValueError, match="cannot be read at rows 1 to 300: .+ probably damaged"):
            score_map.read(0, 300)

    def test_a_full_folder_for_masks(self, tmp_path, exceptions, monkeypatch):
        grid = RasterFile(str(envi(tmp_path / "a.dat")))
        monkeypatch.setattr(gdal.Driver, "Create", lambda *_: gdal.OpenEx("/nowhere/at/all", gdal.OF_RASTER | gdal.OF_VERBOSE_ERROR))
        with pytest.raises(ValueError, match="The mask cannot be brought to the grid of the scene, .+ Is the disk full"):
            Mask.from_polygons(grid, [], "")

    def test_complex_bands_anywhere(self, tmp_path, exceptions):
        parts = []
        for index, code in enumerate((gdal.GDT_Float32, gdal.GDT_Float32, gdal.GDT_CFloat32)):
            parts.append(str(tmp_path / f"{index}.tif"))
            gdal.GetDriverByName("GTiff").Create(parts[-1], 5, 6, 1, code).SetGeoTransform((0, 1, 0, 0, 0, -1))
        gdal.BuildVRT(str(tmp_path / "a.vrt"), parts, separate=True).FlushCache()
        self.refused(tmp_path / "a.vrt", r"complex values \(CFloat32\) in band 3\. Convert them to real ones")

    @pytest.mark.parametrize("what", ["scale", "offset"])
    def test_scale_and_offset(self, tmp_path, exceptions, what):
        dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "a.tif"), 5, 6, 3, gdal.GDT_Int16)
        getattr(dataset.GetRasterBand(2), f"Set{what.title()}")(float("nan"))
        dataset = None
        self.refused(tmp_path / "a.tif", f"has the {what} nan in band 2, which leaves no values. Set the {what}")

    def test_huge_values(self, tmp_path, exceptions):
        raster = RasterFile(str(envi(tmp_path / "a.dat", np.full((6, 5, 3), 1e38, np.float32))))
        with pytest.raises(
            ValueError, match=r"no data: 1-3; 90 values beyond ±1e\+18 are taken for nodata: no measured value is that large"
        ):
            choose_bands(raster)

    def test_bands(self, tmp_path, exceptions):
        raster = RasterFile(str(envi(tmp_path / "a.dat")), "my scene")
        for numbers, message in (
            ([0], "my scene has 3 bands; there is no band 0"),
            ([4], "no band 4"),
            ([1, 2, 2], "Band 2 is named twice"),
        ):
            with pytest.raises(ValueError, match=message):
                choose_bands(raster, numbers)
            with pytest.raises(ValueError, match=message):
                match_bands(raster, numbers, None, len(numbers))


def test_detections_beside_each_other_leave_gdal_as_it_was(tmp_path, exceptions):
    """Two at once, one of them of a file that is damaged."""
    from concurrent.futures import ThreadPoolExecutor

    good, bad = scene_at(tmp_path / "good.tif", "geotransform"), tmp_path / "bad.tif"
    bad.write_text("no raster")

    def told(number):
        path = bad if number % 2 else good
        try:
            detect(
                Detection(RasterSource(str(path)), str(tmp_path / f"map_{number}.tif"), kind="rx"),
                Run(2**28, Progress(), lambda text: None),
            )
        except ValueError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        errors = list(pool.map(told, range(12)))
    assert [bool(error) for error in errors] == [bool(number % 2) for number in range(12)]
    assert all(re.search(UNKNOWN_FORMAT, error) for error in errors[1::2])
