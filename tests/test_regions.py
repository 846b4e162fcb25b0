"""Regions by blocks are those of the whole map; their GeoPackage is valid and whole or not there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from osgeo import gdal, ogr, osr
from scipy import ndimage

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.decisions.regions import Regions
from scoread_qgis.scenes.region_file import LabelFile, write_regions
from scoread_qgis.scenes.score_map import ScoreMap
from scoread_qgis.scenes.writer import write_scene

UTM = osr.SpatialReference()
UTM.ImportFromEPSG(32631)


def scores_with_holes(seed, shape=(37, 29)):
    random = np.random.default_rng(seed)
    scores = ndimage.gaussian_filter(random.normal(size=shape), 0.7).astype(np.float32)
    scores[random.random(shape) < 0.05] = np.nan
    return scores


def whole(scores, threshold, connectivity, min_pixels):
    """Regions by scipy on the whole array: labels by rank, pixels, peaks, means, centroids."""
    labels, count = ndimage.label(scores > threshold, ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2))
    numbers = np.arange(1, count + 1)
    pixels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    clean = np.nan_to_num(scores).astype(np.float64)
    peaks, means = ndimage.maximum(clean, labels, numbers), ndimage.mean(clean, labels, numbers)
    centroids = np.array(ndimage.center_of_mass(np.ones_like(clean), labels, numbers)).reshape(-1, 2)
    order = [i for i in np.argsort(-np.asarray(peaks), kind="stable") if pixels[i] >= min_pixels]
    ranked = np.zeros_like(labels)
    for rank, index in enumerate(order, 1):
        ranked[labels == index + 1] = rank
    return ranked, pixels[order], np.asarray(peaks)[order], np.asarray(means)[order], centroids[order]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000), rows_per_block=st.integers(1, 40), threshold=st.sampled_from([-0.5, 0.0, 0.4, 0.8]),
    connectivity=st.sampled_from([4, 8]), min_pixels=st.integers(1, 4),
)  # fmt: skip
def test_the_blocks_do_not_matter(seed, rows_per_block, threshold, connectivity, min_pixels):
    scores = scores_with_holes(seed)
    cube = ArrayCube(scores[..., None], rows_per_block=rows_per_block)
    regions = Regions.find(cube, threshold, connectivity, min_pixels)
    labels, pixels, peaks, means, centroids = whole(scores, threshold, connectivity, min_pixels)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows, _ in regions.labels(cube)]), labels)
    np.testing.assert_array_equal(regions.pixels, pixels)
    np.testing.assert_array_equal(regions.peaks, peaks)
    np.testing.assert_allclose(regions.means, means)
    np.testing.assert_allclose(regions.centroids, centroids)
    rows, columns = regions.peak_positions.T
    np.testing.assert_array_equal(scores[rows, columns], peaks)


def test_nothing_above_the_threshold():
    cube = ArrayCube(np.zeros((5, 4, 1)), rows_per_block=2)
    regions = Regions.find(cube, 0.0)
    assert len(regions) == 0
    assert [rows.any() for _, rows, _ in regions.labels(cube)] == [False] * 3


def test_more_regions_than_anyone_can_look_at(monkeypatch):
    monkeypatch.setattr("scoread_qgis.decisions.regions._MOST", 100)
    cube = ArrayCube((np.indices((40, 40)).sum(0) % 2 == 0).astype(float)[..., None])
    assert len(Regions.find(cube, 0.5, 8)) == 1
    with pytest.raises(ValueError, match="More than 100 regions lie above the threshold of 0.5. Choose a lower rate"):
        Regions.find(cube, 0.5, 4)


def write(folder, scores, geotransform=(500000, 20, 0, 4600000, 0, -20), crs=None, connectivity=8, progress=None):
    path = folder / "map.tif"
    write_scene(path, scores, geotransform=geotransform, crs=UTM.ExportToWkt() if crs is None else crs, nodata=np.nan)
    score_map = ScoreMap(str(path))
    score_map.rows_per_block = 7
    regions = Regions.find(score_map, 0.4, connectivity)
    labels = LabelFile(score_map)
    for row, rows, _ in regions.labels(score_map):
        labels.write(row, rows)
    write_regions(folder / "regions.gpkg", labels, regions, regions.peaks / 10, progress)
    return regions, np.concatenate([rows for _, rows, _ in regions.labels(score_map)])


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("geotransform", [(500000, 20, 0, 4600000, 0, -20), (500000, 15, 5, 4600000, 4, -12)])
def test_polygons_are_the_pixels(tmp_path, connectivity, geotransform):
    regions, labels = write(tmp_path, scores_with_holes(3, (60, 50)), geotransform, connectivity=connectivity)
    dataset = ogr.Open(str(tmp_path / "regions.gpkg"))
    layer = dataset.GetLayer(0)
    assert layer.GetName() == "regions"
    assert layer.GetSpatialRef().IsSame(UTM)
    assert [field.name for field in layer.schema] == ["rank", "area", "pixels", "peak", "mean", "p_value", "x", "y"]
    assert layer.GetFIDColumn() == "id"
    features = list(layer)
    assert len(features) == len(regions) > 20
    pixel_area = abs(geotransform[1] * geotransform[5] - geotransform[2] * geotransform[4])
    for index, feature in enumerate(features):
        geometry = feature.GetGeometryRef()
        assert geometry.IsValid(), geometry.ExportToWkt()
        assert geometry.GetGeometryType() == ogr.wkbMultiPolygon
        assert feature["rank"] == feature.GetFID() == index + 1
        assert feature["pixels"] == (labels == index + 1).sum()
        assert feature["area"] == pytest.approx(geometry.Area()) == pytest.approx(feature["pixels"] * pixel_area)
        assert feature["peak"] == regions.peaks[index]
        assert feature["mean"] == regions.means[index]
        assert feature["p_value"] == regions.peaks[index] / 10
        centroid = geometry.Centroid()
        assert (feature["x"], feature["y"]) == pytest.approx((centroid.GetX(), centroid.GetY()))
    burnt = gdal.GetDriverByName("MEM").Create("", 50, 60, 1, gdal.GDT_Int32)
    burnt.SetGeoTransform(geotransform)
    burnt.SetProjection(UTM.ExportToWkt())
    gdal.RasterizeLayer(burnt, [1], layer, options=["ATTRIBUTE=rank"])
    np.testing.assert_array_equal(burnt.ReadAsArray(), labels)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "regions.gpkg"]


def test_without_georeference_polygons_lie_where_qgis_draws_the_raster(tmp_path, qgis_app):
    from qgis.core import QgsCoordinateReferenceSystem, QgsCoordinateTransform, QgsProject, QgsRasterLayer, QgsVectorLayer

    scores = np.zeros((30, 20), np.float32)
    scores[2:4, 5:8] = 1
    write(tmp_path, scores, None, "")
    raster = QgsRasterLayer(str(tmp_path / "map.tif"), "map", "gdal")
    layer = QgsVectorLayer(str(tmp_path / "regions.gpkg"), "regions", "ogr")
    assert layer.isValid() and layer.featureCount() == 1
    assert not layer.crs().isGeographic()
    assert not QgsCoordinateTransform(layer.crs(), QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance()).isValid()
    (feature,) = layer.getFeatures()
    box = feature.geometry().boundingBox()
    assert (box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()) == (5, -4, 8, -2)
    assert raster.extent().contains(box)
    value, ok = raster.dataProvider().sample(feature.geometry().centroid().asPoint(), 1)
    assert ok and value == 1
    assert (feature["x"], feature["y"]) == (6.5, -3)


def test_no_region_gives_an_empty_layer(tmp_path):
    write(tmp_path, np.zeros((20, 20), np.float32))
    layer = (dataset := ogr.Open(str(tmp_path / "regions.gpkg"))).GetLayer(0)
    assert layer.GetFeatureCount() == 0
    assert len(layer.schema) == 8
    del dataset


@pytest.mark.parametrize("phase", ["drawing outlines", "writing region"])
def test_cancel_leaves_what_was_there(tmp_path, phase):
    (tmp_path / "regions.gpkg").write_text("what was there before")

    def report(fraction, message):
        if message.startswith(phase):
            raise Cancelled

    with pytest.raises(Cancelled):
        write(tmp_path, scores_with_holes(1), progress=Progress(report))
    assert (tmp_path / "regions.gpkg").read_text(encoding="utf-8") == "what was there before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "regions.gpkg"]


def test_a_file_that_cannot_be_replaced(tmp_path):
    (tmp_path / "regions.gpkg").mkdir()
    with pytest.raises(ValueError, match="regions.gpkg cannot be written"):
        write(tmp_path, scores_with_holes(1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "regions.gpkg"]


def test_writing_again_replaces_the_file_and_its_journals(tmp_path):
    write(tmp_path, scores_with_holes(1))
    (tmp_path / "regions.gpkg-wal").write_text("stale")
    write(tmp_path, np.zeros((20, 20), np.float32))
    assert ogr.Open(str(tmp_path / "regions.gpkg")).GetLayer(0).GetFeatureCount() == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "regions.gpkg"]
