"""Handing on what a review accepted: the page, the PDF of the print layout, and the formats of others."""

import csv
import json
import re
import time
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import LogFeedback
from osgeo import gdal, ogr, osr

NOTE = "Fahrzeug am Waldrand – <b>日本</b>"
VERDICTS = {1: ("accepted", NOTE), 2: ("rejected", None), 3: ("accepted", None), 4: ("later", "look again")}


def decide(path, verdicts):
    """Write verdicts, rank -> (verdict, note), into the regions at `path`, as a review does."""
    dataset = gdal.OpenEx(str(path), gdal.OF_VECTOR | gdal.OF_UPDATE)
    layer = dataset.GetLayer(0)
    for name in ("verdict", "note", "reviewed"):
        layer.CreateField(ogr.FieldDefn(name, ogr.OFTString))
    for feature in layer:
        if feature["rank"] in verdicts:
            verdict, note = verdicts[feature["rank"]]
            feature["verdict"], feature["reviewed"] = verdict, "2026-11-21T10:00:00+00:00"
            if note:
                feature["note"] = note
            layer.SetFeature(feature)
    feature = layer = dataset = None


def square_regions(path, scene, windows, verdict="accepted"):
    """Regions of whole pixels, (first row, last + 1, first column, last + 1) each, on the grid of a scene, all with one verdict."""
    from scoread_qgis.scenes.region_file import NO_CRS

    raster = gdal.Open(str(scene))
    x0, xc, xr, y0, yc, yr = raster.GetGeoTransform(can_return_null=True) or (0, 1, 0, 0, 0, -1)
    dataset = gdal.GetDriverByName("GPKG").Create(str(path), 0, 0, 0, gdal.GDT_Unknown)
    layer = dataset.CreateLayer("regions", raster.GetSpatialRef() or osr.SpatialReference(NO_CRS), ogr.wkbMultiPolygon)
    layer.SetMetadata({"SCOREAD_DETECTOR": "rx", "SCOREAD_MODEL": "none is needed"})  # which explains them in no time
    layer.CreateField(ogr.FieldDefn("rank", ogr.OFTInteger))
    layer.CreateField(ogr.FieldDefn("verdict", ogr.OFTString))
    for rank, (top, bottom, left, right) in enumerate(windows, 1):
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        ring = ", ".join(f"{x0 + c * xc + r * xr} {y0 + c * yc + r * yr}" for c, r in corners)
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(ogr.CreateGeometryFromWkt(f"MULTIPOLYGON((({ring})))"))
        feature["rank"], feature["verdict"] = rank, verdict
        layer.CreateFeature(feature)
    feature = layer = dataset = None
    return str(path)


@pytest.fixture(scope="module")
def reviewed(provider, sample, tmp_path_factory):
    """The sample scene, its RX map, its regions with VERDICTS, and these as (id, rank, x, y, outline)."""
    import processing

    folder = tmp_path_factory.mktemp("reviewed")
    made = processing.run("scoread:detect_rx", {"INPUT": sample.path, "OUTPUT": str(folder / "map.tif")})
    regions = str(folder / "regions.gpkg")
    processing.run("scoread:threshold_anomalies", {"INPUT": made["OUTPUT"], "RATE": 0.01, "REGIONS": regions})
    decide(regions, VERDICTS)
    dataset = gdal.OpenEx(regions, gdal.OF_VECTOR)
    features = {f["rank"]: (f.GetFID(), f["x"], f["y"], f.GetGeometryRef().Clone(), f["peak"]) for f in dataset.GetLayer(0)}
    assert len(features) > 4
    return SimpleNamespace(scene=sample.path, regions=regions, features=features)


def degrees(x, y, epsg):
    """Longitude and latitude as QGIS finds them."""
    from qgis.core import QgsCoordinateReferenceSystem, QgsCoordinateTransform, QgsPointXY, QgsProject

    to = QgsCoordinateReferenceSystem("EPSG:4326")
    point = QgsCoordinateTransform(QgsCoordinateReferenceSystem(f"EPSG:{epsg}"), to, QgsProject.instance()).transform(QgsPointXY(x, y))
    return point.x(), point.y()


def sheets(path):
    """Pages of a PDF, as (width, height) in mm."""
    boxes = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)", path.read_bytes())
    return [(round(float(width) / 72 * 25.4), round(float(height) / 72 * 25.4)) for width, height in boxes]


class TestReport:
    @pytest.fixture(scope="class")
    @staticmethod
    def page(provider, reviewed, tmp_path_factory):
        import processing

        folder, feedback = tmp_path_factory.mktemp("Übergabe"), LogFeedback()
        inputs = {"INPUT": reviewed.scene, "REGIONS": reviewed.regions}
        results = processing.run(
            "scoread:report_anomalies", {**inputs, "REPORT": str(folder / "b.html"), "PDF": str(folder / "b.pdf")}, feedback=feedback
        )
        return SimpleNamespace(
            html=(folder / "b.html").read_text(encoding="utf-8"), pdf=folder / "b.pdf", log="\n".join(feedback.lines), results=results
        )

    def test_it_is_on_the_accepted_alone(self, page, reviewed):
        assert page.results["COUNT"] == 2
        assert re.findall("<h2>(.*?)</h2>", page.html)[:2] == [f"Rank {rank}: region {reviewed.features[rank][0]}" for rank in (1, 3)]
        counts = f"of {len(reviewed.features)}, 2 accepted, 1 rejected, 1 put off, {len(reviewed.features) - 4} not reviewed"
        assert counts in page.html and counts in page.log
        assert "look again" not in page.html
        assert "Fahrzeug am Waldrand – &lt;b&gt;日本&lt;/b&gt;" in page.html and "2026-11-21 10:00:00 UTC" in page.html

    def test_places_are_in_the_crs_of_the_map_and_in_degrees(self, page, reviewed, sample):
        for rank in (1, 3):
            _, x, y, _, _ = reviewed.features[rank]
            longitude, latitude = degrees(x, y, sample.scene.epsg)
            for text in (f"{x:.1f}", f"{y:.1f}", f"{longitude:.6f}°", f"{latitude:.6f}°"):
                assert f">{text}<" in page.html
        assert f"(EPSG:{sample.scene.epsg})" in page.html

    def test_it_opens_without_network_and_has_all_figures(self, page):
        sources = re.findall(r'(?:src|href)="([^"]{0,30})', page.html)
        assert len(sources) == 5, "the scene, and a picture and the spectra of each"
        assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
        assert page.html.count("natural colour") == 4, "in two captions, which blind readers get too"

    def test_what_found_the_regions_explains_them(self, page):
        assert "none is needed" in page.html, "RX, as the regions tell"
        assert "squared Mahalanobis distance" in page.html

    def test_the_pdf_has_a_sheet_for_each(self, page):
        assert sheets(page.pdf) == [(210, 297)] * 2

    def test_users_change_the_template(self, run, reviewed, tmp_path, monkeypatch):
        from qgis.core import QgsApplication

        from scoread_qgis.algorithms.report_layout import template_file

        monkeypatch.setattr(QgsApplication, "qgisSettingsDirPath", lambda: str(tmp_path / "profile"))
        template = (tmp_path / "profile" / "composer_templates" / "scoread_report.qpt").resolve()
        template.parent.mkdir(parents=True)
        with open(template_file(), encoding="utf-8") as file:
            text = file.read()
        assert "297,210" not in text
        template.write_text(text.replace('size="210,297,mm"', 'size="297,210,mm"'), encoding="utf-8")
        run("report_anomalies", INPUT=reviewed.scene, REGIONS=reviewed.regions, PDF=str(tmp_path / "a.pdf"))
        assert sheets(tmp_path / "a.pdf") == [(297, 210)] * 2

    @pytest.mark.parametrize(("text", "told"), [("no xml", "not a layout template"), ("<Layout/>", "no atlas"), (None, "cannot be read")])
    def test_what_is_no_template_is_refused_before_the_work(self, run, reviewed, tmp_path, text, told):
        from qgis.core import QgsProcessingException

        if text:
            (tmp_path / "t.qpt").write_text(text, encoding="utf-8")
        wrong = {"PDF": str(tmp_path / "a.pdf"), "REPORT": str(tmp_path / "a.html"), "TEMPLATE": str(tmp_path / "t.qpt")}
        feedback = LogFeedback()
        with pytest.raises(QgsProcessingException):
            run("report_anomalies", feedback, INPUT=reviewed.scene, REGIONS=reviewed.regions, **wrong)
        assert told in feedback.lines[0] and not list(tmp_path.glob("a.*"))

    def test_the_window_answers_while_a_task_draws_the_pdf(self, provider, reviewed, tmp_path):
        """On the thread of a task, as the dialog runs it, the sheets are drawn by the main thread one by one."""
        from qgis.core import QgsApplication, QgsProcessingAlgRunnerTask, QgsProcessingContext, QgsProject

        context, feedback, ended = QgsProcessingContext(), LogFeedback(), []
        context.setProject(QgsProject.instance())
        parameters = {"INPUT": reviewed.scene, "REGIONS": reviewed.regions, "PDF": str(tmp_path / "a.pdf")}
        task = QgsProcessingAlgRunnerTask(provider.algorithm("report_anomalies"), parameters, context, feedback)
        task.executed.connect(lambda fine, results: ended.append((fine, results)))
        QgsApplication.taskManager().addTask(task)
        limit = time.monotonic() + 120
        while not ended and time.monotonic() < limit:
            QgsApplication.processEvents()
            time.sleep(0.005)
        assert ended and ended[0][0], feedback.lines
        assert sheets(tmp_path / "a.pdf") == [(210, 297)] * 2
        assert [text for text in feedback.texts if text.startswith("sheet ")][-1] == "sheet 2 of 2"

    def test_cancelled_at_the_first_sheet(self, provider, reviewed, tmp_path):
        import processing
        from qgis.core import QgsProcessingException

        feedback = LogFeedback()
        keep = feedback.setProgressText

        def cancel_at_a_sheet(text):
            keep(text)
            if text.startswith("sheet 1"):
                feedback.cancel()

        feedback.setProgressText = cancel_at_a_sheet
        outputs = {"REPORT": str(tmp_path / "a.html"), "PDF": str(tmp_path / "a.pdf")}
        with pytest.raises(QgsProcessingException, match=re.escape(f"nothing was written except {outputs['REPORT']}")):
            processing.run("scoread:report_anomalies", {"INPUT": reviewed.scene, "REGIONS": reviewed.regions, **outputs}, feedback=feedback)
        assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


ROTATED = (500_000, 8.0, -3.0, 4_000_000, -3.0, -8.0)


@pytest.fixture
def small(tmp_path):
    """A noisy scene of 30 x 40 pixels and 12 bands on any grid: small(geotransform, epsg) -> path."""

    def small(geotransform=None, epsg=None, points=()):
        values = np.random.default_rng(0).normal(100, 5, (12, 30, 40)).astype(np.float32)
        values[:, :2, :3] += 40
        dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "scene.tif"), 40, 30, 12, gdal.GDT_Float32)
        dataset.WriteArray(values)
        reference = osr.SpatialReference()
        if epsg:
            reference.ImportFromEPSG(epsg)
            dataset.SetProjection(reference.ExportToWkt())
        if geotransform:
            dataset.SetGeoTransform(geotransform)
        if points:
            dataset.SetGCPs([gdal.GCP(*point) for point in points], reference.ExportToWkt())
        dataset = None
        return str(tmp_path / "scene.tif")

    return small


class TestGround:
    def at(self, path, row=15, column=20):
        from scoread_qgis.scenes.ground import ground_at
        from scoread_qgis.scenes.raster import RasterFile

        return ground_at(RasterFile(path), row, column)

    def test_of_a_rotated_scene(self, small):
        """On the central meridian of a UTM zone north is that of the grid, and a metre of the map 1/0.9996 of one on the ground."""
        ground = self.at(small(ROTATED, 32633))
        size = np.hypot(8, 3)
        assert (ground.across, ground.down) == pytest.approx((size / 0.9996,) * 2, rel=5e-3)
        # (0, 1) of the map as columns and rows
        expected = np.linalg.solve([[8, -3], [-3, -8]], [0, 1])
        assert ground.north == pytest.approx(expected / np.hypot(*expected), abs=1e-3)

    def test_of_degrees(self, small):
        ground = self.at(small((15, 1e-4, 0, 60, 0, -1e-4), 4326))
        assert (ground.across, ground.down) == pytest.approx((5.56, 11.12), rel=1e-2), "half as wide at 60° north"
        assert ground.north == pytest.approx((0, -1), abs=1e-6)

    def test_by_control_points(self, small):
        ground = self.at(small(epsg=32633, points=[(500_000 + 20 * c, 4_000_000 - 10 * r, 0, c, r) for c in (0, 40) for r in (0, 30)]))
        assert (ground.across, ground.down) == pytest.approx((20, 10), rel=5e-3)
        assert ground.north == pytest.approx((0, -1), abs=1e-3)

    def test_is_not_known_without_a_crs(self, small):
        assert self.at(small((0, 1, 0, 0, 0, -1))) is None
        assert self.at(small()) is None


class TestPlaces:
    def report(self, run, scene, regions, tmp_path, **more):
        done = run("report_anomalies", INPUT=scene, REGIONS=regions, REPORT=str(tmp_path / "a.html"), PDF=str(tmp_path / "a.pdf"), **more)
        return (tmp_path / "a.html").read_text(encoding="utf-8"), sheets(tmp_path / "a.pdf"), done

    def test_a_region_in_the_corner_of_a_rotated_scene(self, run, small, tmp_path):
        scene = small(ROTATED, 32633)
        page, pages, _ = self.report(run, scene, square_regions(tmp_path / "r.gpkg", scene, [(0, 2, 0, 3)]), tmp_path)
        x, y = 500_000 + 1.5 * 8 - 1 * 3, 4_000_000 - 1.5 * 3 - 1 * 8
        longitude, latitude = degrees(x, y, 32633)
        assert f">{x:.1f}<" in page and f">{latitude:.6f}°<" in page and f">{longitude:.6f}°<" in page
        assert pages == [(210, 297)]

    def test_the_picture_is_that_of_the_pixels(self, small, tmp_path):
        from scoread_qgis.scenes.mask import RegionLabels
        from scoread_qgis.scenes.raster import RasterFile
        from scoread_qgis.scenes.thumbnail import colour_limits
        from scoread_qgis.workflows.report_accepted import _extract

        raster = RasterFile(small(ROTATED, 32633))
        dataset = gdal.OpenEx(square_regions(tmp_path / "r.gpkg", raster.source, [(0, 2, 0, 3)]), gdal.OF_VECTOR)
        feature = dataset.GetLayer(0).GetNextFeature()
        shape = bytes(feature.GetGeometryRef().ExportToWkb())
        region = SimpleNamespace(box=np.array([0, 1, 0, 2]), position=np.array([0.5, 1.0]))
        extract, footprint = _extract(raster, RegionLabels(raster, [shape], ""), 1, region, colour_limits(raster))
        assert extract.picture.shape == (17, 18, 3), "the region, and 15 pixels where there are any"
        assert extract.region.sum() == 6 and extract.region[:2, :3].all()
        assert extract.picture[:2, :3].min() > 240 and np.median(extract.picture) < 160
        outline = ogr.CreateGeometryFromWkb(footprint)
        corners = np.array(outline.GetGeometryRef(0).GetPoints())[:4, :2]
        assert corners[2] == pytest.approx([500_000 + 18 * 8 - 17 * 3, 4_000_000 - 18 * 3 - 17 * 8])

    def test_without_a_crs(self, run, small, tmp_path):
        scene = small()
        page, pages, _ = self.report(run, scene, square_regions(tmp_path / "r.gpkg", scene, [(0, 2, 0, 3)]), tmp_path)
        assert "no coordinate reference system" in page and "longitude" not in page.partition("</table>")[0]
        assert ">1.500000<" in page and ">-1.000000<" in page, "column and minus row, as QGIS draws it"
        assert pages == [(210, 297)]

    def test_by_control_points_and_partly_outside(self, run, small, tmp_path):
        scene = small(epsg=32633, points=[(500_000 + 20 * c, 4_000_000 - 10 * r, 0, c, r) for c in (0, 40) for r in (0, 30)])
        places = [(0, 2, 0, 3), (400, 402, 400, 402)]
        other = small_grid(tmp_path, (500_000, 20, 0, 4_000_000, 0, -10), 32633)
        page, pages, done = self.report(run, scene, square_regions(tmp_path / "r.gpkg", other, places), tmp_path)
        assert done.COUNT == 2 and len(pages) == 2
        assert page.count("It holds no valid pixel of the scene") == 1, "and it is reported nevertheless"


def small_grid(folder, geotransform, epsg):
    dataset = gdal.GetDriverByName("GTiff").Create(str(folder / "grid.tif"), 2, 2, 1)
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    dataset.SetProjection(reference.ExportToWkt())
    dataset.SetGeoTransform(geotransform)
    return dataset.GetDescription() if dataset.FlushCache() in (None, 0) else ""


KML = "{http://www.opengis.net/kml/2.2}"


class TestExport:
    def table(self, path):
        """Records of a file as GDAL reads it, with the outline's bounds, and its CRS."""
        dataset = gdal.OpenEx(str(path), gdal.OF_VECTOR)
        layer = dataset.GetLayer(0)
        records = [{**f.items(), "fid": f.GetFID(), "bounds": f.GetGeometryRef().GetEnvelope()} for f in layer]
        if path.suffix == ".kml":  # GDAL without libkml writes all fields and reads two
            for record, place in zip(records, ElementTree.parse(path).iter(KML + "Placemark"), strict=True):
                record.update({each.get("name"): each.text for each in place.iter(KML + "SimpleData")})
        return records, layer.GetSpatialRef(), dataset, layer

    @pytest.mark.parametrize("suffix", ["gpkg", "geojson", "kml"])
    def test_accepted_regions_with_their_notes(self, run, reviewed, sample, tmp_path, suffix):
        path = tmp_path / f"Übergabe.{suffix}"
        assert run("export_anomalies", REGIONS=reviewed.regions, OUTPUT=str(path)).COUNT == 2
        records, crs, dataset, layer = self.table(path)
        assert [int(each["rank"]) for each in records] == [1, 3]
        assert [each.get("note") for each in records] == [NOTE, None]
        assert {each["verdict"] for each in records} == {"accepted"}
        for each in records:
            id, x, y, outline, peak = reviewed.features[int(each["rank"])]
            assert (float(each["x"]), float(each["y"]), float(each["peak"])) == pytest.approx((x, y, peak))
            expected = degrees(x, y, sample.scene.epsg)
            assert (float(each["longitude"]), float(each["latitude"])) == pytest.approx(expected, abs=1e-8)
            west, east, south, north = each["bounds"]
            if suffix == "gpkg":
                assert each["fid"] == id and each["bounds"] == pytest.approx(outline.GetEnvelope())
            else:
                assert int(each["id"]) == id and west <= expected[0] <= east and south <= expected[1] <= north
        if suffix == "gpkg":
            assert crs.GetAuthorityCode(None) == str(sample.scene.epsg)
            assert layer.GetMetadataItem("SCOREAD_DETECTOR") == "rx" and layer.GetMetadataItem("SCOREAD_EXPORTED")
        if suffix == "kml":
            assert [each["Name"] for each in records] == ["Rank 1", "Rank 3"]
        if suffix == "geojson":
            assert "crs" not in json.loads(path.read_text(encoding="utf-8")), "as RFC 7946 has it"

    def test_as_a_table(self, run, reviewed, tmp_path):
        run("export_anomalies", REGIONS=reviewed.regions, OUTPUT=str(tmp_path / "a.csv"))
        with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["rank"], row["note"]) for row in rows] == [("1", NOTE), ("3", "")]
        assert all("EPSG:" in row["crs"] and float(row["latitude"]) for row in rows)

    def test_edits_that_are_not_saved_yet_count(self, run, reviewed, tmp_path):
        from qgis.core import QgsVectorLayer

        layer = QgsVectorLayer(reviewed.regions, "regions", "ogr")
        assert layer.startEditing()
        (second,) = layer.getFeatures("rank = 2")
        assert layer.changeAttributeValue(second.id(), layer.fields().indexOf("verdict"), "accepted")
        assert run("export_anomalies", REGIONS=layer, OUTPUT=str(tmp_path / "a.csv")).COUNT == 3
        layer.rollBack()

    @pytest.mark.parametrize("name", ["export_anomalies", "report_anomalies"])
    @pytest.mark.parametrize(
        ("verdict", "told"),
        [("rejected", "is accepted: of 1, 0 accepted, 1 rejected"), (None, "of 1, 0 accepted, 0 rejected, 0 put off, 1 not reviewed")],
    )
    def test_nothing_accepted(self, run, small, tmp_path, name, verdict, told):
        from qgis.core import QgsProcessingException

        scene = small(ROTATED, 32633)
        regions = square_regions(tmp_path / "r.gpkg", scene, [(0, 2, 0, 3)], verdict)
        more = {"OUTPUT": str(tmp_path / "a.gpkg")} if name == "export_anomalies" else {"INPUT": scene, "REPORT": str(tmp_path / "a.html")}
        with pytest.raises(QgsProcessingException, match=told):
            run(name, REGIONS=regions, **more)
        assert not list(tmp_path.glob("a.*"))

    def test_regions_that_nobody_reviewed(self, run, tmp_path, small):
        from qgis.core import QgsProcessingException, QgsVectorLayer

        layer = QgsVectorLayer("Polygon?crs=EPSG:32633&field=rank:integer", "fresh", "memory")
        with pytest.raises(QgsProcessingException, match="fresh holds no regions. Review them first"):
            run("export_anomalies", REGIONS=layer, OUTPUT=str(tmp_path / "a.gpkg"))

    @pytest.mark.parametrize(
        ("place", "told"),
        [
            ("file/a.gpkg", "cannot be written"),
            ("a.shp", "ends in .gpkg, .geojson, .kml, .csv"),
            ("regions.gpkg", "inputs are never changed"),
        ],
    )
    def test_where_it_cannot_go(self, run, reviewed, tmp_path, place, told):
        from qgis.core import QgsProcessingException

        (tmp_path / "file").write_text("no folder", encoding="utf-8")
        output = reviewed.regions if place == "regions.gpkg" else str(tmp_path / place)
        with pytest.raises(QgsProcessingException, match=re.escape(told)):
            run("export_anomalies", REGIONS=reviewed.regions, OUTPUT=output)

    def test_degrees_need_a_crs(self, run, small, tmp_path):
        from qgis.core import QgsProcessingException

        regions = square_regions(tmp_path / "r.gpkg", small(), [(0, 2, 0, 3)])
        with pytest.raises(QgsProcessingException, match="have no CRS. Export them as GeoPackage"):
            run("export_anomalies", REGIONS=regions, OUTPUT=str(tmp_path / "a.kml"))
        assert run("export_anomalies", REGIONS=regions, OUTPUT=str(tmp_path / "a.gpkg")).COUNT == 1
