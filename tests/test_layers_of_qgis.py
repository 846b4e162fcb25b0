"""What is set in a layer of QGIS holds for the algorithms too: nodata of its user, selections, geometries with curves; and how maps are
drawn.
"""

import pickle

import numpy as np
import pytest
from conftest import LogFeedback, read
from osgeo import gdal, ogr, osr
from test_matrix_of_scenes import scene_at

from scoread_qgis.scenes.area import square_metres
from scoread_qgis.scenes.mask import Mask, RegionLabels, read_polygons
from scoread_qgis.scenes.raster import RasterFile
from scoread_qgis.scenes.writer import MapWriter, write_scene

UTM = osr.SpatialReference()
UTM.ImportFromEPSG(32633)
GRID = {"geotransform": (500000, 10, 0, 5800000, 0, -10), "crs": UTM.ExportToWkt()}


def counts(shape=(20, 30, 12)):
    return np.random.default_rng(0).integers(1, 1000, shape).astype(np.int16)


@pytest.fixture
def scene(tmp_path, qgis_new_project):
    """A raster layer of a scene with a scale, whose file says that -99 is no data."""
    from qgis.core import QgsProject, QgsRasterLayer

    values = counts()
    values[3, 4] = -99
    write_scene(tmp_path / "scene.tif", values, scale=0.01, nodata=-99, **GRID)
    layer = QgsRasterLayer(str(tmp_path / "scene.tif"), "scene", "gdal")
    QgsProject.instance().addMapLayer(layer)
    return layer


def drawn(layer, band=1):
    """Where QGIS itself has data."""
    block = layer.dataProvider().block(band, layer.extent(), layer.width(), layer.height())
    return np.array([[not block.isNoData(row, column) for column in range(layer.width())] for row in range(layer.height())])


class TestNodataOfTheUser:
    """Layer Properties > Transparency."""

    def set(self, layer, ranges=(), use=True):
        for band in range(1, layer.bandCount() + 1):
            layer.dataProvider().setUserNoDataValue(band, list(ranges))
            layer.dataProvider().setUseSourceNoDataValue(band, use)

    def test_values_and_ranges_are_left_out_of_scenes(self, run, scene, tmp_path):
        from qgis.core import QgsRasterRange

        scored = np.isfinite(read(run("detect_rx", INPUT=scene, OUTPUT=str(tmp_path / "plain.tif")).OUTPUT))
        assert np.argwhere(~scored).tolist() == [[3, 4]]
        raw = read(scene.source())
        value = float(raw[0, 7, 7]) * 0.01
        self.set(scene, [QgsRasterRange(value, value), QgsRasterRange(9.5, 20)])
        scored = np.isfinite(read(run("detect_rx", INPUT=scene, OUTPUT=str(tmp_path / "map.tif")).OUTPUT))
        expected = np.all([drawn(scene, band) for band in range(1, 13)], axis=0)
        assert not expected[7, 7] and 50 < expected.sum() < 500
        np.testing.assert_array_equal(scored, expected)

    @pytest.mark.parametrize("bounds", range(4))
    def test_bounds_of_ranges(self, run, tmp_path, qgis_new_project, bounds):
        from qgis.core import QgsProject, QgsRasterLayer, QgsRasterRange

        bounds = QgsRasterRange.BoundsType(bounds)
        write_scene(tmp_path / "scene.tif", counts(), **GRID)
        layer = QgsRasterLayer(str(tmp_path / "scene.tif"), "scene", "gdal")
        QgsProject.instance().addMapLayer(layer)
        raw = read(layer.source())[1]
        low, high = int(raw.min()), int(raw.max())
        layer.dataProvider().setUserNoDataValue(
            2, [QgsRasterRange(low, 150, bounds), QgsRasterRange(900, high, bounds)]
        )  # of one band alone
        scored = np.isfinite(read(run("detect_rx", INPUT=layer, OUTPUT=str(tmp_path / "map.tif")).OUTPUT))
        np.testing.assert_array_equal(scored, drawn(layer, 2))
        assert scored[raw == low].all() == (bounds in (QgsRasterRange.BoundsType.IncludeMax, QgsRasterRange.BoundsType.Exclusive))

    def test_nodata_of_the_file_that_is_not_used(self, run, scene, tmp_path):
        self.set(scene, use=False)
        assert drawn(scene)[3, 4]
        scores = read(run("detect_rx", INPUT=scene, OUTPUT=str(tmp_path / "map.tif")).OUTPUT)
        assert np.isfinite(scores).all()

    def test_other_machines_are_told(self, scene):
        from qgis.core import QgsRasterRange

        from scoread_qgis.algorithms.inputs import raster_source

        self.set(scene, [QgsRasterRange(5.0, 20)])
        source = pickle.loads(pickle.dumps(raster_source(scene, "The input")))
        assert source.nodata.ranges == ((None, 5.0, 20.0),)
        _, filled = source.open().read_bands(0, 20, [1])
        np.testing.assert_array_equal(filled[0], drawn(scene))

    def test_maps_and_masks(self, run, tmp_path, qgis_new_project):
        from qgis.core import QgsProject, QgsRasterLayer, QgsRasterRange

        scores = np.random.default_rng(0).exponential(size=(50, 60)).astype(np.float32)
        scores[10:13, 10:13] = 1000  # which the user knows to be an artefact
        scores[30:32, 30:32] = 50
        write_scene(tmp_path / "scores.tif", scores, **GRID)
        layer = QgsRasterLayer(str(tmp_path / "scores.tif"), "scores", "gdal")
        QgsProject.instance().addMapLayer(layer)
        self.set(layer, [QgsRasterRange(1000, 1000)])
        results = run(
            "threshold_anomalies", INPUT=layer, METHOD=3, VALUE=40, REGIONS=str(tmp_path / "r.gpkg"), MASK=str(tmp_path / "m.tif")
        )
        assert results.COUNT == 1
        assert (read(results.MASK)[10:13, 10:13] == 255).all()
        write_scene(tmp_path / "scene.tif", counts((50, 60, 12)), **GRID)
        for name, size in (("same", 1), ("finer", 2)):
            codes = np.kron(np.where(scores == 1000, 7, 1), np.ones((size, size))).astype(np.uint8)
            write_scene(tmp_path / f"{name}.tif", codes, (500000, 10 / size, 0, 5800000, 0, -10 / size), GRID["crs"])
            mask = QgsRasterLayer(str(tmp_path / f"{name}.tif"), name, "gdal")
            QgsProject.instance().addMapLayer(mask)
            self.set(mask, [QgsRasterRange(7, 7)])
            mapped = run("detect_rx", INPUT=str(tmp_path / "scene.tif"), MASK=mask, OUTPUT=str(tmp_path / f"{name}_map.tif"))
            np.testing.assert_array_equal(np.isfinite(read(mapped.OUTPUT)), scores != 1000)


class TestSelectedPolygons:
    @pytest.fixture
    def fields(self, qgis_new_project):
        """A layer of three fields, each ten columns of the scene; the second is selected."""
        from qgis.core import QgsFeature, QgsGeometry, QgsProject, QgsRectangle, QgsVectorLayer

        layer = QgsVectorLayer("Polygon?crs=EPSG:32633", "fields", "memory")
        for index in range(3):
            feature = QgsFeature()
            feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(500000 + 100 * index, 5799000, 500100 + 100 * index, 5800000)))
            layer.dataProvider().addFeature(feature)
        QgsProject.instance().addMapLayer(layer)
        layer.selectByIds([sorted(layer.allFeatureIds())[1]])
        return layer

    def columns(self, results):
        return np.flatnonzero(np.isfinite(read(results.OUTPUT)).any(axis=0)).tolist()

    def test_all_unless_asked_for(self, run, scene, fields, tmp_path):
        results = run("detect_rx", INPUT=scene, MASK=fields, OUTPUT=str(tmp_path / "all.tif"))
        assert self.columns(results) == list(range(30))
        assert "The mask fields has a selection, which is ignored" in results.log
        assert "Selected polygons only to use 1 of them" in results.log
        results = run("detect_rx", INPUT=scene, MASK=fields, SELECTED=True, OUTPUT=str(tmp_path / "selected.tif"))
        assert self.columns(results) == list(range(10, 20))
        assert "which is ignored" not in results.log

    def test_as_scripts_ask_for_it(self, run, scene, fields, tmp_path):
        from qgis.core import QgsProcessingFeatureSourceDefinition

        for selected, columns in ((True, range(10, 20)), (False, range(30))):
            mask = QgsProcessingFeatureSourceDefinition(fields.id(), selected)
            results = run("detect_rx", INPUT=scene, MASK=mask, OUTPUT=str(tmp_path / f"{selected}.tif"))
            assert self.columns(results) == list(columns)

    def test_nothing_is_selected(self, run, scene, fields, tmp_path):
        from qgis.core import QgsProcessingException, QgsProcessingFeatureSourceDefinition

        fields.removeSelection()
        for parameters in ({"MASK": fields, "SELECTED": True}, {"MASK": QgsProcessingFeatureSourceDefinition(fields.id(), True)}):
            feedback = LogFeedback()
            with pytest.raises(QgsProcessingException):
                run("detect_rx", feedback, INPUT=scene, **parameters, OUTPUT=str(tmp_path / "map.tif"))
            assert "The mask is to be the selected polygons of fields, and none is selected" in "\n".join(feedback.lines)
        assert not (tmp_path / "map.tif").exists()

    def test_truth(self, run, fields, tmp_path):
        write_scene(tmp_path / "map.tif", np.random.default_rng(0).random((20, 30)).astype(np.float32), **GRID)
        results = run(
            "evaluate_anomalies", INPUTS=[str(tmp_path / "map.tif")], TRUTH=fields, SELECTED=True, REPORT=str(tmp_path / "r.html")
        )
        assert "Evaluated: 200 anomalous pixels" in results.log


CURVE = "CURVEPOLYGON(CIRCULARSTRING(500050 5799900, 500150 5799800, 500050 5799900))"  # a circle, by its diameter


def circle():
    x, y = np.meshgrid(500005 + 10 * np.arange(30), 5799995 - 10 * np.arange(20))
    return (x - 500100) ** 2 + (y - 5799850) ** 2 < 5000


class TestCurves:
    """A circle in a mask is a circle, and not nothing."""

    def nearly(self, mask):
        assert (mask != circle()).sum() <= 4, "a circle of chords"

    def test_in_masks_and_regions(self, scene, tmp_path):
        raster = RasterFile(scene.source())
        wkb = ogr.CreateGeometryFromWkt(CURVE).ExportToWkb()
        self.nearly(Mask.from_polygons(raster, [wkb], GRID["crs"]).read(0, 20))
        self.nearly(RegionLabels(raster, [wkb], GRID["crs"]).labels(0, 20) == 1)
        multi = ogr.CreateGeometryFromWkt(f"MULTISURFACE({CURVE})").ExportToWkb()
        self.nearly(Mask.from_polygons(raster, [multi], GRID["crs"]).read(0, 20))

    def test_in_files_and_layers(self, run, scene, tmp_path):
        from qgis.core import QgsVectorLayer

        store = gdal.GetDriverByName("GPKG").Create(str(tmp_path / "curves.gpkg"), 0, 0, 0, gdal.GDT_Unknown)
        layer = store.CreateLayer("curves", UTM, ogr.wkbCurvePolygon)
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(ogr.CreateGeometryFromWkt(CURVE))
        layer.CreateFeature(feature)
        del feature, layer, store
        polygons, crs = read_polygons(str(tmp_path / "curves.gpkg"))
        self.nearly(Mask.from_polygons(RasterFile(scene.source()), polygons, crs).read(0, 20))
        mask = QgsVectorLayer(str(tmp_path / "curves.gpkg"), "curves", "ogr")
        assert mask.isValid()
        self.nearly(np.isfinite(read(run("detect_rx", INPUT=scene, MASK=mask, OUTPUT=str(tmp_path / "map.tif")).OUTPUT)))


@pytest.mark.parametrize("name", ["INPUT", "MASK"])
def test_layers_that_are_not_there(run, scene, tmp_path, name):
    from qgis.core import QgsProcessingException

    with pytest.raises(QgsProcessingException, match=rf"absent\.tif|{name}"):
        run("detect_rx", **{"INPUT": scene, name: str(tmp_path / "absent.tif"), "OUTPUT": str(tmp_path / "map.tif")})
    assert not (tmp_path / "map.tif").exists()


def test_a_photograph_is_warned_of(run, tmp_path):
    write_scene(tmp_path / "photo.tif", counts((20, 30, 3)).astype(np.uint8))
    results = run("detect_rx", INPUT=str(tmp_path / "photo.tif"), OUTPUT=str(tmp_path / "map.tif"))
    assert "Warning: photo is used with 3 bands only." in results.log
    assert "Use a scene with tens of bands" in results.log
    write_scene(tmp_path / "scene.tif", counts())
    assert "Warning" not in run("detect_rx", INPUT=str(tmp_path / "scene.tif"), OUTPUT=str(tmp_path / "map2.tif")).log


def test_a_scene_is_no_anomaly_map(run, scene, tmp_path):
    from qgis.core import QgsProcessingException

    for name, outputs in (
        ("threshold_anomalies", {"INPUT": scene, "REGIONS": "r.gpkg"}),
        ("evaluate_anomalies", {"INPUTS": [scene], "REPORT": "r.html"}),
    ):
        parameters = {key: str(tmp_path / value) if isinstance(value, str) else value for key, value in outputs.items()}
        if name == "evaluate_anomalies":
            parameters["TRUTH"] = scene
        with pytest.raises(QgsProcessingException, match="scene has 12 bands, and an anomaly map has one"):
            run(name, **parameters)


@pytest.mark.parametrize(("bands", "message"), [([3, 3, 4], "Band 3 is named twice"), ([0, 1], "no band 0"), ([1, 13], "no band 13")])
def test_bands_that_are_none(run, scene, tmp_path, bands, message):
    from qgis.core import QgsProcessingException

    with pytest.raises(QgsProcessingException, match=message):
        run("detect_rx", INPUT=scene, BANDS=bands, OUTPUT=str(tmp_path / "map.tif"))


def test_the_style_is_that_of_the_pixels(tmp_path, qgis_app):
    """Not of the overviews, which hold the largest of many."""
    from qgis.core import QgsRasterLayer

    from scoread_qgis.styles import save_anomaly_style

    write_scene(tmp_path / "scene.tif", np.zeros((3000, 2600, 2), np.uint8))
    scores = np.random.default_rng(0).exponential(size=(3000, 2600)).astype(np.float32)
    with MapWriter(tmp_path / "map.tif", RasterFile(str(tmp_path / "scene.tif")), "scores") as writer:
        writer.write(0, scores)
    assert gdal.Open(str(tmp_path / "map.tif")).GetRasterBand(1).GetOverviewCount() > 1
    save_anomaly_style(str(tmp_path / "map.tif"))
    layer = QgsRasterLayer(str(tmp_path / "map.tif"), "map", "gdal")
    stops = [item.value for item in layer.renderer().shader().rasterShaderFunction().colorRampItemList()]
    for stop, share in zip(stops, (0.5, 0.9, 0.97, 0.99, 0.997, 0.999)):
        assert (scores < stop).mean() == pytest.approx(share, abs=0.005)
    assert np.float32(stops[-1]) == scores.max()


@pytest.mark.parametrize("how", ["control points", "RPC"])
def test_scenes_without_a_regular_grid_lie_where_qgis_draws_them(run, tmp_path, qgis_new_project, how):
    from qgis.core import QgsProject, QgsRasterLayer, QgsVectorLayer

    layer = QgsRasterLayer(scene_at(tmp_path / "scene.tif", how), "scene", "gdal")
    QgsProject.instance().addMapLayer(layer)
    scores = QgsRasterLayer(run("detect_rx", INPUT=layer, OUTPUT=str(tmp_path / "map.tif")).OUTPUT, "map", "gdal")
    assert scores.crs() == layer.crs() and scores.extent() == layer.extent() and layer.crs().isValid()
    QgsProject.instance().addMapLayer(scores)
    results = run("threshold_anomalies", INPUT=scores, METHOD=1, PERCENTILE=98.5, REGIONS=str(tmp_path / "r.gpkg"))
    regions = QgsVectorLayer(results.REGIONS, "regions", "ogr")
    assert regions.crs() == layer.crs()
    first = next(regions.getFeatures())
    value, found = scores.dataProvider().sample(first.geometry().centroid().asPoint(), 1)
    assert found and first["mean"] / 2 < value <= first["peak"]


class TestAreas:
    @pytest.mark.parametrize("epsg", [4326, 4258, 4807])
    def test_on_the_ellipsoid(self, qgis_app, epsg):
        from qgis.core import QgsCoordinateReferenceSystem, QgsDistanceArea, QgsGeometry, QgsProject

        reference = osr.SpatialReference()
        reference.ImportFromEPSG(epsg)
        measure = QgsDistanceArea()
        measure.setSourceCrs(QgsCoordinateReferenceSystem.fromEpsgId(epsg), QgsProject.instance().transformContext())
        measure.setEllipsoid(QgsCoordinateReferenceSystem.fromEpsgId(epsg).ellipsoidAcronym())
        of = square_metres(reference.ExportToWkt())
        for latitude in (0, 30, 52.3, -70):
            for size in (0.0003, 0.05):
                west, north = 13.0, latitude + size
                left, middle, low, high = west + size / 4, west + size / 2, latitude + size / 4, latitude + size / 2
                hole = f"({left} {low}, {middle} {low}, {middle} {high}, {left} {low})"
                east = west + size
                wkt = f"MULTIPOLYGON((({west} {latitude}, {east} {latitude}, {east} {north}, {west} {north}, {west} {latitude}), {hole}))"
                assert of(ogr.CreateGeometryFromWkt(wkt)) == pytest.approx(measure.measureArea(QgsGeometry.fromWkt(wkt)), rel=2e-4)

    def test_of_the_whole_ellipsoid(self):
        """That of WGS 84 is 510,065,621.7 km² (Moritz 1980, of GRS 80, to its last kilometre)."""
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(4326)
        everything = ogr.CreateGeometryFromWkt(
            "MULTIPOLYGON(((" + ", ".join(f"{x} {y}" for x, y in [(-180, -90), (180, -90), (180, 90), (-180, 90), (-180, -90)]) + ")))"
        )
        assert square_metres(reference.ExportToWkt())(everything) == pytest.approx(510_065_621.7e6, rel=1e-9)

    def test_in_projections_of_other_units_and_without_a_crs(self):
        square = ogr.CreateGeometryFromWkt("MULTIPOLYGON(((0 0, 10 0, 10 10, 0 10, 0 0)))")
        assert square_metres(UTM.ExportToWkt())(square) == 100
        feet = osr.SpatialReference()
        feet.ImportFromEPSG(2263)  # New York, in US survey feet
        assert square_metres(feet.ExportToWkt())(square) == pytest.approx(100 * (1200 / 3937) ** 2)
        assert square_metres("")(square) == 100

    def test_of_regions_in_degrees(self, run, tmp_path):
        scores = np.random.default_rng(0).exponential(size=(60, 50)).astype(np.float32)
        scores[20:24, 30:33] = 100
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(4326)
        write_scene(tmp_path / "map.tif", scores, (13, 0.0003, 0, 52, 0, -0.0003), reference.ExportToWkt())
        results = run("threshold_anomalies", INPUT=str(tmp_path / "map.tif"), METHOD=3, VALUE=50, REGIONS=str(tmp_path / "r.gpkg"))
        dataset = ogr.Open(results.REGIONS)
        (region,) = dataset.GetLayer(0)
        height, width = 0.0003 * 111_267, 0.0003 * 68_677 * np.cos(np.radians(51.9934)) / np.cos(np.radians(52))  # metres a degree at 52°
        assert region["area"] == pytest.approx(12 * height * width, rel=1e-3)
