"""An area to look at: its map is a piece of the map of the whole scene, and nothing else is read for it."""

import numpy as np
import pytest
import test_contract
from conftest import read
from osgeo import gdal, osr
from test_contract import COLUMNS, ROWS, TRAINED

from scoread_qgis.commandline.main import main
from scoread_qgis.core.cube import ArrayCube, merge_samples
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.registry import DETECTORS
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.scenes.extent import Extent, extent_pixels
from scoread_qgis.scenes.raster import RasterFile
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene
from scoread_qgis.workflows.detect import Detection, detect
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import RasterSource
from scoread_qgis.workflows.train import Training, train

AREAS = [(0, ROWS, 0, COLUMNS), (11, 30, 9, 24), (0, 5, 30, COLUMNS), (ROWS - 1, ROWS, COLUMNS - 1, COLUMNS), (20, 34, 0, 1)]


def whole(rows):
    return np.concatenate([scores for _, scores in rows])


@pytest.fixture(scope="module")
def small():
    values = np.random.default_rng(0).random((23, 19, 3)).astype(np.float32)
    return ArrayCube(values, np.random.default_rng(1).random((23, 19)) > 0.2, rows_per_block=5)


class TestCube:
    @pytest.mark.parametrize("halo", [0, 2, 7])
    @pytest.mark.parametrize("area", [(0, 23, 0, 19), (4, 17, 3, 9), (22, 23, 18, 19)])
    def test_blocks_of_a_part_have_their_context(self, small, area, halo):
        first, last, left, right = area
        values, valid = small.read(0, 23)
        row = first
        for block in small.within(*area).blocks(halo):
            assert (block.row, block.column, block.columns) == (row, left, right - left)
            assert (block.left, block.right) == (min(halo, left), min(halo, 19 - right))
            rows = slice(row - block.above, row + block.rows + block.below)
            columns = slice(left - block.left, right + block.right)
            np.testing.assert_array_equal(block.values, values[rows, columns])
            np.testing.assert_array_equal(block.valid, valid[rows, columns])
            assert block.below == min(halo, 23 - row - block.rows)
            row += block.rows
        assert row == last

    @pytest.mark.parametrize("count", [1, 40, 1000])
    def test_the_sample_of_the_parts_is_the_sample(self, small, count):
        def gather(block, rows, columns):
            return block.values[rows, columns], block.values[rows, np.maximum(columns - 1, 0)]

        parts = [small.within(*area) for area in ((0, 9, 0, 19), (9, 23, 0, 7), (9, 20, 7, 19), (20, 23, 7, 19))]
        expected = small.sample(count, 3, gather, halo=1)
        found = merge_samples([part.keyed_sample(count, 3, gather, halo=1) for part in parts], count)
        np.testing.assert_array_equal(found[0], expected[0])
        for mine, other in zip(found[1], expected[1]):
            np.testing.assert_array_equal(mine, other)


cube, bound = test_contract.cube, test_contract.bound  # the fixtures: a scene that remembers what is read, and each detector on it


class TestDetectors:
    @pytest.mark.parametrize("area", AREAS)
    def test_an_area_is_a_piece_of_the_map_and_reads_no_more_than_its_halo(self, bound, cube, area):
        scorer, expected = bound
        first, last, left, right = area
        cube.seen[:] = False
        pieces = list(scorer.map(area=area))
        assert [row for row, _ in pieces] == list(np.cumsum([first, *(len(rows) for _, rows in pieces)])[:-1])
        tolerance = 1e-4 * np.nanmax(np.abs(expected))
        np.testing.assert_allclose(whole(pieces), expected[first:last, left:right], rtol=1e-3, atol=tolerance)
        allowed, halo = np.zeros_like(cube.seen), scorer.halo
        allowed[max(0, first - halo) : last + halo, max(0, left - halo) : right + halo] = True
        assert not (cube.seen & ~allowed).any()
        assert cube.seen[first:last, left:right].all()

    def test_training_on_a_part_reads_no_more_than_its_halo(self, cube):
        for kind, settings, halo in (("sgm", TRAINED["sgm"], 12), ("sgm-paper", {**TRAINED["sgm-paper"], "conditional": True}, 2)):
            cube.seen[:] = False
            DETECTORS[kind].train([cube.within(11, 30, 22, 33)], **settings)
            rows, columns = np.nonzero(cube.seen)
            assert rows.min() >= 11 - halo and rows.max() < 30 + halo
            assert columns.min() >= 22 - halo and columns.max() < 33 + halo

    def test_conditional_training_on_all_of_the_scene_as_a_part(self, cube):
        settings = {"epochs": 1, "hidden": 8, "samples": 100, "batch_size": 50, "conditional": True}
        losses = [PaperSGM.train([each], **settings).loss_curve for each in (cube, cube.within(0, ROWS))]
        assert losses[0] == losses[1]


def crs(code):
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(code)
    return reference.ExportToWkt()


UTM = crs(32633)
NORTH_UP, ROTATED = (500000, 2, 0, 4600000, 0, -2), (500000, 1.6, 1.2, 4600000, 1.2, -1.6)


class TestPixels:
    def raster(self, folder, geotransform=NORTH_UP, wkt=UTM, shape=(30, 40)):
        write_scene(folder / "s.tif", np.random.default_rng(0).random((*shape, 2)).astype(np.float32), geotransform, wkt)
        return RasterFile(str(folder / "s.tif"), "the scene")

    @pytest.mark.parametrize(
        ("extent", "expected"),
        [
            ((500000, 4600000 - 60, 500080, 4600000), (0, 30, 0, 40)),  # that of the scene
            ((500010, 4600000 - 20, 500016, 4600000 - 8), (4, 10, 5, 8)),  # whole pixels
            ((500011, 4600000 - 19.9, 500016.1, 4600000 - 9.9), (4, 10, 5, 9)),  # that are touched
            ((500010.5, 4600000 - 8.2, 500010.6, 4600000 - 8.1), (4, 5, 5, 6)),  # within one
            ((0, 0, 1e7, 1e7), (0, 30, 0, 40)),
            ((499000, 4600000 - 3, 500001, 4700000), (0, 2, 0, 1)),
        ],
    )
    def test_are_those_that_the_extent_touches(self, tmp_path, extent, expected):
        assert extent_pixels(self.raster(tmp_path), Extent(*extent)) == expected
        assert extent_pixels(self.raster(tmp_path), Extent(*extent, UTM)) == expected

    def test_of_a_rotated_raster_hold_all_that_the_extent_touches(self, tmp_path):
        raster = self.raster(tmp_path, ROTATED)
        rows, columns = np.indices((30, 40))
        x = 500000 + 1.6 * (columns + 0.5) + 1.2 * (rows + 0.5)
        y = 4600000 + 1.2 * (columns + 0.5) - 1.6 * (rows + 0.5)
        inside = (x > 500030) & (x < 500045) & (y > 4600000 - 5) & (y < 4600008)
        first, last, left, right = extent_pixels(raster, Extent(500030, 4600000 - 5, 500045, 4600008))
        assert raster.georeference.of_window(7, 3).geotransform == (
            500000 + 3 * 1.6 + 7 * 1.2,
            1.6,
            1.2,
            4600000 + 3 * 1.2 - 7 * 1.6,
            1.2,
            -1.6,
        )
        within = np.zeros((30, 40), bool)
        within[first:last, left:right] = True
        assert inside.any() and not (inside & ~within).any()
        rows, columns = np.nonzero(inside)
        assert rows.min() - 2 <= first and last <= rows.max() + 3 and columns.min() - 2 <= left and right <= columns.max() + 3

    def test_by_another_crs(self, tmp_path):
        raster = self.raster(tmp_path)
        wanted = (500020, 4600000 - 40, 500060, 4600000 - 20)
        source, target = osr.SpatialReference(UTM), osr.SpatialReference(crs(4326))
        for reference in (source, target):
            reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
        corners = np.array(
            osr.CoordinateTransformation(source, target).TransformPoints([(x, y) for x in wanted[::2] for y in wanted[1::2]])
        )[:, :2]
        first, last, left, right = extent_pixels(raster, Extent(*corners.min(0), *corners.max(0), crs(4326)))
        # 500000 is the middle of the zone, where north is up.
        assert 9 <= first <= 10 and 20 <= last <= 21 and 9 <= left <= 10 and 30 <= right <= 31

    def test_of_a_scene_without_georeference(self, tmp_path):
        raster = self.raster(tmp_path, None, "")
        assert extent_pixels(raster, Extent(5, 3, 9.5, 8, rows_down=True)) == (3, 8, 5, 10)
        assert extent_pixels(raster, Extent(5, -8, 9.5, -3)) == (3, 8, 5, 10)
        with pytest.raises(ValueError, match="from x 0 to 40 and from y -30 to 0, in columns and rows"):
            extent_pixels(raster, Extent(5, 3, 9, 8))

    def test_of_a_scene_with_control_points(self, tmp_path):
        self.raster(tmp_path, None, "")
        dataset = gdal.Open(str(tmp_path / "s.tif"), gdal.GA_Update)
        places = [(c, r) for c in (0, 40) for r in (0, 30)]
        dataset.SetGCPs([gdal.GCP(500000 + 2 * c, 4600000 - 2 * r, 0, c, r) for c, r in places], UTM)
        del dataset
        raster = RasterFile(str(tmp_path / "s.tif"), "the scene")
        assert extent_pixels(raster, Extent(500011, 4600000 - 19.9, 500016.1, 4600000 - 9.9)) == (4, 10, 5, 9)
        window = raster.georeference.of_window(4, 5)
        np.testing.assert_allclose(window.to_map([[0, 0], [3, 2]]), raster.georeference.to_map([[5, 4], [8, 6]]), rtol=1e-9)
        with pytest.raises(ValueError, match="does not touch the scene, which reaches from x 500000 to 500080"):
            extent_pixels(raster, Extent(1, 1, 2, 2))

    def test_a_window_keeps_its_rpc(self, tmp_path):
        from dataclasses import replace

        rpc = (("LINE_OFF", "15"), ("LINE_SCALE", "15"), ("SAMP_OFF", "20.5"), ("SAMP_SCALE", "20"))
        raster = self.raster(tmp_path, None, "")
        window = dict(replace(raster.georeference, rpc=rpc).of_window(4, 5).rpc)
        assert (float(window["LINE_OFF"]), float(window["SAMP_OFF"]), window["LINE_SCALE"]) == (11, 15.5, "15")

    @pytest.mark.parametrize(
        ("extent", "message"),
        [
            (
                (0, 0, 10, 10),
                "does not touch the scene, which reaches from x 500000 to 500080 and from y 4599940 to 4600000. Check the area and its CRS",
            ),
            ((500080, 4600000 - 60, 500090, 4600000), "does not touch"),
            ((500010, 4599950, 500010, 4600000), "is empty"),
            ((500010, 4600000, 500020, 4599950), "is empty"),
            ((500010, float("nan"), 500020, 4600000), "is empty"),
        ],
    )
    def test_that_are_none(self, tmp_path, extent, message):
        with pytest.raises(ValueError, match=message):
            extent_pixels(self.raster(tmp_path), Extent(*extent))

    def test_that_another_crs_cannot_reach(self, tmp_path):
        with pytest.raises(ValueError, match="does not touch|cannot be brought"):
            extent_pixels(self.raster(tmp_path), Extent(1e12, 1e12, 2e12, 2e12, crs(3857)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a scene, the same without georeference, and a model of it."""
    folder = tmp_path_factory.mktemp("area")
    scene = simulate_scene(60, 50, 30, seed=1)
    write_scene(folder / "scene.tif", scene.cube, NORTH_UP, UTM, wavelengths=scene.wavelengths)
    write_scene(folder / "bare.tif", scene.cube, wavelengths=scene.wavelengths)
    train(Training("sgm", [RasterSource(str(folder / "scene.tif"))], str(folder / "model.pt"), settings={"steps": 20}), Run(2**28))
    return folder


EXTENT = Extent(500020, 4600000 - 80, 500070, 4600000 - 30)  # rows 15 to 40, columns 10 to 35
WINDOW = (slice(15, 40), slice(10, 35))


def make(files, output, scene="scene.tif", **how):
    detect(Detection(RasterSource(str(files / scene)), str(output), **how), Run(2**28, log=lambda line: None))
    return read(output)


class TestMaps:
    @pytest.mark.parametrize(
        "how",
        [{}, {"model": True}, {"kind": "rx"}, {"kind": "rx-local", "settings": {}}, {"report": True}],
        ids=["learnt", "model", "rx", "local", "report"],
    )
    def test_have_the_values_of_the_whole_map(self, files, tmp_path, how):
        how = {**how, **({"model": str(files / "model.pt")} if "model" in how else {})}
        report = {"report": str(tmp_path / "r.html")} if how.pop("report", None) else {}
        expected = make(files, tmp_path / "whole.tif", **how)
        found = make(files, tmp_path / "area.tif", extent=EXTENT, **how, **report)
        np.testing.assert_allclose(found, expected[WINDOW], rtol=1e-3, atol=1e-4 * np.nanmax(expected))
        dataset = gdal.Open(str(tmp_path / "area.tif"))
        assert dataset.GetGeoTransform() == (500020, 2, 0, 4600000 - 30, 0, -2)
        assert osr.SpatialReference(dataset.GetProjection()).IsSame(osr.SpatialReference(UTM))
        if report:
            assert str(EXTENT) in (tmp_path / "r.html").read_text(encoding="utf-8")

    def test_learnt_from_the_area_alone_are_those_of_a_scene_that_is_no_more_than_the_area(self, files, tmp_path):
        gdal.Translate(str(tmp_path / "cut.tif"), str(files / "scene.tif"), srcWin=[10, 15, 25, 25])
        for kind in ("rx", "sgm"):
            found = make(files, tmp_path / "area.tif", kind=kind, extent=EXTENT, learn_area=True)
            other = make(files, tmp_path / "other.tif", kind=kind, extent=EXTENT)
            assert not np.allclose(found, other, rtol=0.01)
            cut = make(tmp_path, tmp_path / "map.tif", "cut.tif", kind=kind)
            # SGM sees a margin around the area, and draws other pixels to learn from.
            assert np.corrcoef(found.ravel(), cut.ravel())[0, 1] > (0.99999 if kind == "rx" else 0.8)

    @pytest.mark.parametrize(("kind", "halo"), [("sgm", 21), ("rx", 0), ("rx-local", 14), ("model", 21)])
    def test_learnt_from_the_area_alone_read_nothing_else(self, files, tmp_path, monkeypatch, kind, halo):
        seen, original = np.zeros((60, 50), bool), RasterFile.read_bands

        def watch(self, first, last, numbers, left=0, right=None):
            seen[first:last, left:right] = True
            return original(self, first, last, numbers, left, right)

        monkeypatch.setattr(RasterFile, "read_bands", watch)
        how = {"model": str(files / "model.pt"), "unfit": "warn"} if kind == "model" else {"kind": kind}
        make(files, tmp_path / "map.tif", extent=EXTENT, learn_area=True, **how)
        rows, columns = np.nonzero(seen)
        assert rows.min() >= 15 - halo and rows.max() < 40 + halo and columns.min() >= 10 - halo and columns.max() < 35 + halo
        assert seen[WINDOW].all()
        make(files, tmp_path / "map.tif", extent=EXTENT, **how)
        assert seen.all()  # what is learnt, and the bands, are those of the whole scene

    def test_without_georeference_lie_where_qgis_draws_them_in_the_scene(self, files, tmp_path):
        expected = make(files, tmp_path / "whole.tif", "bare.tif", kind="rx")
        found = make(files, tmp_path / "area.tif", "bare.tif", kind="rx", extent=Extent(10, 15, 35, 40, rows_down=True))
        np.testing.assert_allclose(found, expected[WINDOW], rtol=1e-5)
        assert gdal.Open(str(tmp_path / "area.tif")).GetGeoTransform() == (10, 1, 0, -15, 0, -1)

    def test_of_an_area_beside_the_scene_are_refused_before_any_work(self, files, tmp_path, monkeypatch):
        monkeypatch.setattr(RasterFile, "read_bands", None)
        with pytest.raises(ValueError, match="does not touch"):
            make(files, tmp_path / "map.tif", extent=Extent(0, 0, 1, 1))
        assert not list(tmp_path.iterdir())

    def test_of_the_whole_scene_as_area_have_its_grid(self, files, tmp_path):
        found = make(files, tmp_path / "area.tif", kind="rx", extent=Extent(0, 0, 1e7, 1e7))
        np.testing.assert_array_equal(found, make(files, tmp_path / "whole.tif", kind="rx"))
        assert gdal.Open(str(tmp_path / "area.tif")).GetGeoTransform() == NORTH_UP


class TestHosts:
    def test_command_line(self, files, tmp_path, capsys):
        expected = make(files, tmp_path / "whole.tif", kind="rx")
        area = ["--extent", "500020", "4599920", "500070", "4599970"]
        assert main(["rx", str(files / "scene.tif"), "--output", str(tmp_path / "rx.tif"), *area]) == 0
        np.testing.assert_allclose(read(tmp_path / "rx.tif"), expected[WINDOW], rtol=1e-5)
        assert main(["rx", str(files / "bare.tif"), "--output", str(tmp_path / "bare.tif"), "--extent", "10", "15", "35", "40"]) == 0
        np.testing.assert_allclose(read(tmp_path / "bare.tif"), expected[WINDOW], rtol=1e-5)
        assert main(["rx", str(files / "scene.tif"), "--output", str(tmp_path / "not.tif"), "--extent", "-5", "-4", "-3", "-2"]) == 1
        assert "does not touch" in capsys.readouterr().out
        with pytest.raises(SystemExit):
            main(["rx", str(files / "scene.tif"), "--output", str(tmp_path / "not.tif"), "--extent", "1", "2", "3", "nan"])

    def test_qgis(self, run, files, tmp_path):
        expected = make(files, tmp_path / "whole.tif", kind="rx")
        text = "500020,500070,4599920,4599970 [EPSG:32633]"
        result = run("detect_rx", INPUT=str(files / "scene.tif"), EXTENT=text, OUTPUT=str(tmp_path / "rx.tif"))
        np.testing.assert_allclose(read(result.OUTPUT), expected[WINDOW], rtol=1e-5)
        assert "25 rows from row 16 on, 25 columns from column 11 on" in result.log
        found = run("detect_rx", INPUT=str(files / "scene.tif"), EXTENT=text, LEARN_AREA=True, OUTPUT=str(tmp_path / "own.tif")).OUTPUT
        assert not np.allclose(read(found), expected[WINDOW], rtol=0.01)
        whole_extent = run("detect_rx", INPUT=str(files / "scene.tif"), EXTENT=str(files / "scene.tif"), OUTPUT=str(tmp_path / "l.tif"))
        np.testing.assert_array_equal(read(whole_extent.OUTPUT), expected)
        model = {"MODEL": str(files / "model.pt"), "OUTPUT": str(tmp_path / "sgm.tif")}
        expected = make(files, tmp_path / "whole.tif", model=str(files / "model.pt"))
        sgm = run("detect_anomalies", INPUT=str(files / "scene.tif"), EXTENT=text, **model)
        np.testing.assert_allclose(read(sgm.OUTPUT), expected[WINDOW], rtol=1e-3, atol=1e-4 * np.nanmax(expected))

    def test_qgis_draws_scenes_without_georeference_downwards_from_0(self, run, files, tmp_path):
        from qgis.core import QgsRasterLayer, QgsRectangle

        layer = QgsRasterLayer(str(files / "bare.tif"), "bare")
        assert layer.extent().yMaximum() == 0
        result = run("detect_rx", INPUT=layer, EXTENT=QgsRectangle(10, -40, 35, -15), OUTPUT=str(tmp_path / "rx.tif"))
        np.testing.assert_allclose(read(result.OUTPUT), make(files, tmp_path / "whole.tif", kind="rx")[WINDOW], rtol=1e-5)
        drawn = QgsRasterLayer(result.OUTPUT, "area").extent()
        assert (drawn.xMinimum(), drawn.yMinimum(), drawn.xMaximum(), drawn.yMaximum()) == (10, -40, 35, -15)

    @pytest.mark.parametrize("value", ["0,1,0,1 [EPSG:32633]", "500020,500020,4599920,4599970 [EPSG:32633]"])
    def test_qgis_refuses_an_area_that_is_none(self, run, files, tmp_path, value):
        from qgis.core import QgsProcessingException

        with pytest.raises(QgsProcessingException, match="does not touch|is empty"):
            run("detect_rx", INPUT=str(files / "scene.tif"), EXTENT=value, OUTPUT=str(tmp_path / "rx.tif"))


def test_statistics_of_a_part_are_those_of_its_pixels():
    values = np.random.default_rng(0).random((20, 30, 4)).astype(np.float32)
    statistics = GlobalRX().gather(ArrayCube(values).within(3, 11, 5, 20))
    np.testing.assert_allclose(statistics.covariance, np.cov(values[3:11, 5:20].reshape(-1, 4).T), rtol=1e-6)
