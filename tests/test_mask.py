"""Masks: polygons and rasters, brought to the grid of the scene."""

import numpy as np
import pytest
from osgeo import gdal, ogr, osr

from scoread_qgis.scenes.mask import Mask, RegionLabels
from scoread_qgis.scenes.raster import RasterCube, RasterFile
from scoread_qgis.scenes.writer import write_scene


def wkt(epsg):
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    return reference.ExportToWkt()


def box(west, south, east, north):
    return ogr.CreateGeometryFromWkt(f"POLYGON(({west} {south},{east} {south},{east} {north},{west} {north},{west} {south}))")


@pytest.fixture
def scene(tmp_path):
    values = np.random.default_rng(0).random((20, 30, 2)).astype(np.float32)
    write_scene(tmp_path / "scene.tif", values, (500000, 10, 0, 5800000, 0, -10), wkt(32633))
    return RasterFile(str(tmp_path / "scene.tif"), "my scene")


EXPECTED = np.zeros((20, 30), bool)
EXPECTED[5:12, 10:25] = True
POLYGON = box(500100, 5799880, 500250, 5799950)


def test_polygons_in_the_crs_of_the_scene(scene):
    mask = Mask.from_polygons(scene, [POLYGON.ExportToWkb()], wkt(32633))
    np.testing.assert_array_equal(mask.read(0, 20), EXPECTED)
    np.testing.assert_array_equal(mask.read(6, 13), EXPECTED[6:13])
    values, valid = RasterCube(scene, [1, 2], mask).read(0, 20)
    np.testing.assert_array_equal(valid, EXPECTED)
    assert (values[~EXPECTED] == 0).all()


def test_polygons_in_another_crs_are_reprojected(scene):
    source, target = osr.SpatialReference(wkt(32633)), osr.SpatialReference(wkt(4326))
    target.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    polygon = POLYGON.Clone()
    polygon.Transform(osr.CoordinateTransformation(source, target))
    mask = Mask.from_polygons(scene, [polygon.ExportToWkb()], wkt(4326))
    np.testing.assert_array_equal(mask.read(0, 20), EXPECTED)


def test_raster_on_another_grid_and_crs(scene, tmp_path):
    finer = np.kron(EXPECTED, np.ones((2, 2))).astype(np.float32)
    finer[10, 20] = np.nan
    write_scene(tmp_path / "mask.tif", finer, (500000, 5, 0, 5800000, 0, -5), wkt(32633))
    read = Mask.from_raster(scene, str(tmp_path / "mask.tif")).read(0, 20)
    assert (read != EXPECTED).sum() <= 1
    from osgeo import gdal

    gdal.Warp(str(tmp_path / "degrees.tif"), str(tmp_path / "mask.tif"), dstSRS="EPSG:4326", resampleAlg="near", dstNodata=0)
    read = Mask.from_raster(scene, str(tmp_path / "degrees.tif")).read(0, 20)
    assert (read != EXPECTED).sum() < 0.15 * EXPECTED.sum(), "nearest neighbour moves the edge by half a pixel at most"


def test_raster_without_georeference_lies_on_the_scene(tmp_path):
    write_scene(tmp_path / "scene.tif", np.random.default_rng(0).random((20, 30, 2)).astype(np.float32))
    write_scene(tmp_path / "mask.tif", EXPECTED.astype(np.uint8))
    scene = RasterFile(str(tmp_path / "scene.tif"))
    np.testing.assert_array_equal(Mask.from_raster(scene, str(tmp_path / "mask.tif")).read(0, 20), EXPECTED)


def test_nodata_is_outside(scene, tmp_path):
    values = np.where(EXPECTED, 3, 7).astype(np.uint8)
    write_scene(tmp_path / "here.tif", values, (500000, 10, 0, 5800000, 0, -10), wkt(32633), nodata=7)
    np.testing.assert_array_equal(Mask.from_raster(scene, str(tmp_path / "here.tif")).read(0, 20), EXPECTED)
    write_scene(tmp_path / "scene.tif", np.random.default_rng(0).random((20, 30, 2)).astype(np.float32))
    write_scene(tmp_path / "nowhere.tif", values, nodata=7)
    read = Mask.from_raster(RasterFile(str(tmp_path / "scene.tif")), str(tmp_path / "nowhere.tif")).read(0, 20)
    np.testing.assert_array_equal(read, EXPECTED)


def test_a_mask_elsewhere_is_an_error(scene, tmp_path):
    with pytest.raises(ValueError, match="The mask fields does not touch my scene. Check that"):
        Mask.from_polygons(scene, [box(0, 0, 10, 10).ExportToWkb()], wkt(32633), "fields")
    write_scene(tmp_path / "mask.tif", np.ones((5, 5), np.uint8), (700000, 10, 0, 5800000, 0, -10), wkt(32633))
    with pytest.raises(ValueError, match="does not touch my scene"):
        Mask.from_raster(scene, str(tmp_path / "mask.tif"))


def test_rotated_scene(tmp_path):
    write_scene(
        tmp_path / "scene.tif", np.random.default_rng(0).random((20, 30, 2)).astype(np.float32), (0, 1, 0.5, 0, 0.5, -1), wkt(32633)
    )
    scene = RasterFile(str(tmp_path / "scene.tif"))
    cube = RasterCube(scene, [1, 2])
    centres = cube.map_positions(np.argwhere(np.ones((20, 30)))).reshape(20, 30, 2)
    inside = (centres[..., 0] > 5) & (centres[..., 0] < 20) & (centres[..., 1] > -8) & (centres[..., 1] < 2)
    mask = Mask.from_polygons(scene, [box(5, -8, 20, 2).ExportToWkb()], wkt(32633))
    np.testing.assert_array_equal(mask.read(0, 20), inside)


def test_raster_of_another_size_without_crs_lies_by_its_coordinates(tmp_path):
    write_scene(tmp_path / "scene.tif", np.random.default_rng(0).random((20, 30, 2)).astype(np.float32), (0, 2, 0, 0, 0, -2))
    larger = np.zeros((40, 50), np.uint8)
    larger[:20, :30] = EXPECTED
    write_scene(tmp_path / "mask.tif", larger, (0, 2, 0, 0, 0, -2))
    scene = RasterFile(str(tmp_path / "scene.tif"))
    np.testing.assert_array_equal(Mask.from_raster(scene, str(tmp_path / "mask.tif")).read(0, 20), EXPECTED)


def test_polygons_lie_where_qgis_draws_a_scene_without_georeference(tmp_path):
    """As Extract anomalies writes its regions of such a scene: x is the column, and -y the row."""
    path = tmp_path / "scene.tif"
    gdal.GetDriverByName("GTiff").Create(str(path), 6, 5, 2, gdal.GDT_Float32)
    polygon = bytes(ogr.CreateGeometryFromWkt("POLYGON ((1 -2, 4 -2, 4 -3, 1 -3, 1 -2))").ExportToWkb())
    expected = np.zeros((5, 6), bool)
    expected[2, 1:4] = True
    assert np.array_equal(Mask.from_polygons(RasterFile(str(path)), [polygon], "").read(0, 5), expected)
    assert np.array_equal(RegionLabels(RasterFile(str(path)), [polygon], "").labels(0, 5) == 1, expected)
