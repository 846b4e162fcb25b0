"""The panel of Find anomalies in this layer: what it offers, and what becomes of a run (test_desktop.py has the whole way)."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from osgeo import gdal, ogr


@pytest.fixture
def desk(layer_desk, monkeypatch):
    """`layer_desk` with the panel over it: `panel()`, `finish(panel)`, and `told`, what the message bar says."""
    import qgis.utils
    from qgis.core import QgsApplication

    from scoread_qgis.review.find import FindPanel

    told, panels = [], []
    bar = SimpleNamespace(
        pushInfo=lambda title, text: told.append(("Info", text)),
        pushSuccess=lambda title, text: told.append(("Success", text)),
        pushCritical=lambda title, text: told.append(("Critical", text)),
    )
    monkeypatch.setattr(qgis.utils.iface, "messageBar", lambda: bar)

    def panel():
        panels.append(FindPanel())
        panels[-1].refresh()
        return panels[-1]

    def finish(panel):
        """Press Run, wait, and return the map and the regions that were found."""
        found = []
        panel.found.connect(lambda *layers: found.append(layers))
        panel.run_button.click()
        limit = time.monotonic() + 120
        while panel.run is not None and time.monotonic() < limit:
            QgsApplication.processEvents()
            time.sleep(0.005)
        assert panel.run is None
        return found

    layer_desk.panel, layer_desk.finish, layer_desk.told = panel, finish, told
    yield layer_desk
    for each in panels:
        each.stop()
        each.deleteLater()


def fields(desk, wkt):
    """A layer of one polygon, in the project."""
    from qgis.core import QgsFeature, QgsGeometry, QgsVectorLayer

    layer = QgsVectorLayer("Polygon", "fields", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromWkt(wkt))
    layer.dataProvider().addFeatures([feature])
    desk.project.addMapLayer(layer)
    return layer


def raster(path, bands, band_name="", size=(60, 50)):
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), *size, bands, gdal.GDT_Float32)
    dataset.SetGeoTransform((0, 1, 0, 0, 0, -1))
    values = np.random.default_rng(0).normal(100, 5, (bands, size[1], size[0])).astype(np.float32)
    values[:, 20:22, 30] += 60
    dataset.WriteArray(values)
    if band_name:
        dataset.GetRasterBand(1).SetDescription(band_name)
    return path


def texts(panel):
    return [panel.scene.itemText(index) for index in range(panel.scene.count())]


class TestPanel:
    def test_the_active_layer_is_chosen_and_others_are_listed(self, desk, tmp_path):
        small, _ = desk.add(raster(tmp_path / "a.tif", 12), "a"), desk.add(raster(tmp_path / "b.tif", 14), "b")
        desk.add(raster(tmp_path / "p.tif", 3), "photograph")
        desk.activate(small)
        panel = desk.panel()
        assert texts(panel) == ["a (12 bands)", "b (14 bands)", "photograph (3 bands)"]
        assert panel.note.isHidden() and panel.run_button.isEnabled()
        assert str(tmp_path / "a.anomalies.tif") in panel.kept.text() and str(tmp_path / "a.regions.gpkg") in panel.kept.text()
        panel.scene.setCurrentIndex(2)
        assert "photographs" in panel.note.text()

    @pytest.mark.parametrize(("bands", "band_name"), [(1, "Anomaly score"), (1, "truth"), (3, "")])
    def test_a_map_or_a_photograph_is_never_taken_by_mistake(self, desk, tmp_path, bands, band_name):
        desk.add(raster(tmp_path / "a.tif", 12), "a")
        desk.activate(desk.add(raster(tmp_path / "m.tif", bands, band_name), "what is active"))
        panel = desk.panel()
        assert texts(panel)[0] == "a (12 bands)" and panel.scene.currentIndex() == 0
        assert panel.note.text() == "The active layer, what is active, is not a scene; this one is."
        assert ("what is active (3 bands)" in texts(panel)) == (bands == 3)

    def test_without_a_scene_there_is_nothing_to_run(self, desk, tmp_path):
        desk.add(raster(tmp_path / "m.tif", 1, "Anomaly score"), "map")
        panel = desk.panel()
        assert "no scene in this project" in panel.note.text() and not panel.run_button.isEnabled()

    def test_what_is_missing_is_told(self, desk, tmp_path, monkeypatch):
        from scoread_qgis.algorithms import base

        desk.add(raster(tmp_path / "a.tif", 12), "a")
        monkeypatch.setattr(base, "missing_packages_message", lambda needs: "PyTorch is missing: install it.")
        panel = desk.panel()
        assert panel.note.text() == "PyTorch is missing: install it." and not panel.run_button.isEnabled()


class TestRun:
    def test_within_the_selected_polygons(self, desk, tmp_path):
        desk.activate(desk.add(raster(tmp_path / "Szene ä.tif", 12), "Szene ä"))
        layer = fields(desk, "POLYGON ((10 -10, 45 -10, 45 -40, 10 -40, 10 -10))")
        assert not desk.panel().polygons.isEnabled()
        layer.selectAll()
        panel = desk.panel()
        assert panel.polygons.text() == "1 selected polygons of fields"
        panel.polygons.setChecked(True)
        ((score_map, regions),) = desk.finish(panel)
        scores = gdal.Open(str(tmp_path / "Szene ä.anomalies.tif")).ReadAsArray()
        assert np.isfinite(scores[10:40, 10:45]).all() and np.isfinite(scores).sum() == 30 * 35
        assert np.unravel_index(np.nanargmax(scores), scores.shape)[1] == 30
        group = desk.project.layerTreeRoot().findGroup("Anomalies of Szene ä")
        assert [node.name() for node in group.children()] == ["Regions of Szene ä, rate 0.001", "Anomalies of Szene ä"]
        assert desk.told[-1][0] == "Success"
        # The next run keeps what this one found.
        assert str(tmp_path / "Szene ä.anomalies-2.tif") in desk.panel().kept.text()

    def test_cancelled(self, desk, tmp_path):
        from qgis.core import QgsApplication

        desk.add(raster(tmp_path / "a.tif", 40), "a")
        panel = desk.panel()
        panel.run_button.click()
        panel.refresh()
        assert "already" in panel.note.text() and not panel.run_button.isEnabled()
        panel.stop()
        limit = time.monotonic() + 60
        while panel.run is not None and time.monotonic() < limit:
            QgsApplication.processEvents()
            time.sleep(0.005)
        assert desk.told == [("Info", "Finding anomalies in a was cancelled.")]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif"]
        assert desk.project.layerTreeRoot().findGroup("Anomalies of a") is None

    def test_a_scene_that_cannot_be_read_is_told(self, desk, tmp_path):
        path = raster(tmp_path / "a.tif", 12)
        layer = desk.add(path, "a")
        desk.activate(layer)
        panel = desk.panel()
        path.write_bytes(path.read_bytes()[:3000])
        assert desk.finish(panel) == []
        assert desk.told[-1][0] == "Critical" and "a" in desk.told[-1][1]

    def test_what_is_refused_before_the_work_is_told(self, desk, tmp_path):
        desk.activate(desk.add(raster(tmp_path / "a.tif", 12), "a"))
        layer = fields(desk, "POLYGON ((10 -10, 45 -10, 45 -40, 10 -10))")
        layer.selectAll()
        panel = desk.panel()
        panel.polygons.setChecked(True)
        layer.removeSelection()
        assert desk.finish(panel) == []
        assert desk.told[-1][0] == "Critical" and "none is selected" in desk.told[-1][1]

    def test_a_project_that_was_closed_meanwhile_gets_no_layers(self, desk, tmp_path):
        from qgis.core import QgsApplication

        desk.activate(desk.add(raster(tmp_path / "a.tif", 12), "a"))
        panel = desk.panel()
        panel.run_button.click()
        desk.activate(None)
        desk.project.clear()
        limit = time.monotonic() + 120
        while panel.run is not None and time.monotonic() < limit:
            QgsApplication.processEvents()
            time.sleep(0.005)
        assert desk.told == [("Info", f"The anomalies of a are in {tmp_path / 'a.anomalies.tif'}.")]
        assert not desk.project.mapLayers()
        found = ogr.Open(str(tmp_path / "a.regions.gpkg"))
        assert found.GetLayer(0).GetFeatureCount() > 0
