"""Evaluate anomaly maps, from files to numbers, table and report."""

import csv
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import BUILT, LogFeedback, scored_auc
from osgeo import gdal, ogr, osr

from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.scenes.writer import write_scene
from scoread_qgis.workflows import evaluate as workflow
from scoread_qgis.workflows.evaluate import Assessment, assess
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import MaskSource, RasterSource

GRID = (500000, 10, 0, 5800000, 0, -10)


def wkt(epsg):
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    return reference.ExportToWkt()


def square(row, column, size=3):
    """WKT of a square of pixels on the grid."""
    west, north = GRID[0] + 10 * column, GRID[3] - 10 * row
    east, south = west + 10 * size, north - 10 * size
    return f"POLYGON(({west} {south},{east} {south},{east} {north},{west} {north},{west} {south}))"


PLACES = [(4, 5), (12, 30), (20, 8), (33, 22), (36, 2), (8, 17)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two maps and their truth on one grid, 40 × 36 pixels; six objects."""
    folder = tmp_path_factory.mktemp("maps")
    random = np.random.default_rng(3)
    truth = np.zeros((40, 36), np.uint8)
    for row, column in PLACES:
        truth[row : row + 3, column : column + 3] = 1
    arrays = {
        name: (random.gumbel(size=truth.shape) + strength * truth).astype(np.float32) for name, strength in (("good", 3), ("poor", 1))
    }
    arrays["poor"][:2] = np.nan
    for name, values in arrays.items():
        write_scene(folder / f"{name}.tif", values, GRID, wkt(32633), nodata=None if name == "good" else np.nan)
    write_scene(folder / "truth.tif", truth, GRID, wkt(32633))
    return folder, arrays, truth


def quiet(memory=2**28):
    log = []
    return Run(memory, log=log.append), log


def sources(folder, *names):
    return [RasterSource(str(folder / f"{name}.tif"), name) for name in names]


def evaluated(files, truth=None, maps=("good",), **arguments):
    run, log = quiet()
    truth = truth or MaskSource("truth", source=str(files[0] / "truth.tif"))
    return assess(Assessment(sources(files[0], *maps), truth, **arguments), run), "\n".join(log)


def table_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class TestAlgorithm:
    def test_numbers_table_and_report(self, run, files, tmp_path):
        folder, arrays, truth = files
        results = run(
            "evaluate_anomalies", INPUTS=[str(folder / "good.tif"), str(folder / "poor.tif")], TRUTH=str(folder / "truth.tif"),
            REPORT=str(tmp_path / "r.html"), TABLE=str(tmp_path / "t.csv"),
        )  # fmt: skip
        shared = np.isfinite(arrays["poor"])
        good = np.where(shared, arrays["good"], np.nan)
        assert pytest.approx(scored_auc(truth, good)) == results.AUC
        rows = table_rows(results.TABLE)
        assert [row["map"] for row in rows] == ["good", "poor"]
        assert float(rows[0]["auc"]) == results.AUC
        assert float(rows[0]["average_precision"]) == results.AVERAGE_PRECISION
        assert float(rows[1]["auc"]) == pytest.approx(scored_auc(truth, arrays["poor"]))
        assert {(row["anomalies"], row["background"], row["objects"]) for row in rows} == {("54", str(shared.sum() - 54), "6")}
        for row in rows:
            assert float(row["auc_low"]) < float(row["auc"]) < float(row["auc_high"])
            assert float(row["snpr"]) == pytest.approx(float(row["auc_d_tau"]) / float(row["auc_f_tau"]))
        assert "6 objects: intervals are rough below ten" in results.log
        text = Path(results.REPORT).read_text(encoding="utf-8")
        assert text.count("data:image/svg+xml;base64") == 3
        for wanted in ("AUC-ROC", "AUC-SNPR", "Differences from good", "qgis", f"{results.AUC:.4f}"):
            assert wanted in text
        assert results.progress[-1] == 100
        assert results.progress == sorted(results.progress)

    def test_files_are_optional(self, run, files):
        folder, _, _ = files
        results = run("evaluate_anomalies", INPUTS=[str(folder / "good.tif")], TRUTH=str(folder / "truth.tif"))
        assert 0.9 < results.AUC <= 1
        assert not hasattr(results, "TABLE")

    def test_polygon_layer_in_another_crs(self, run, files):
        from qgis.core import QgsCoordinateReferenceSystem, QgsCoordinateTransform, QgsFeature, QgsGeometry, QgsProject, QgsVectorLayer

        folder, arrays, truth = files
        layer = QgsVectorLayer("Polygon?crs=EPSG:4326", "outlines", "memory")
        to_degrees = QgsCoordinateTransform(
            QgsCoordinateReferenceSystem("EPSG:32633"), QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance()
        )
        for place in PLACES:
            feature, geometry = QgsFeature(), QgsGeometry.fromWkt(square(*place))
            geometry.transform(to_degrees)
            feature.setGeometry(geometry)
            layer.dataProvider().addFeatures([feature])
        results = run("evaluate_anomalies", INPUTS=[str(folder / "good.tif")], TRUTH=layer)
        assert pytest.approx(scored_auc(truth, arrays["good"])) == results.AUC

    def test_errors_reach_the_user(self, run, files, tmp_path):
        from qgis.core import QgsProcessingException

        folder, _, _ = files
        write_scene(tmp_path / "small.tif", np.zeros((5, 5), np.float32), GRID, wkt(32633))
        with pytest.raises(
            QgsProcessingException, match="small does not lie on the grid of good: it has 5 rows × 5 columns instead of 40 × 36"
        ):
            run("evaluate_anomalies", INPUTS=[str(folder / "good.tif"), str(tmp_path / "small.tif")], TRUTH=str(folder / "truth.tif"))

    def test_cancel_leaves_nothing(self, run, files, tmp_path):
        from qgis.core import QgsProcessingException

        folder, _, _ = files
        feedback = LogFeedback()
        feedback.pushInfo = lambda line: feedback.cancel() if line.startswith("Evaluated") else None  # all read, nothing written yet
        with pytest.raises(QgsProcessingException, match="^Cancelled: nothing was written.$"):
            run(
                "evaluate_anomalies", feedback, INPUTS=[str(folder / "good.tif")], TRUTH=str(folder / "truth.tif"),
                REPORT=str(tmp_path / "r.html"), TABLE=str(tmp_path / "t.csv"),
            )  # fmt: skip
        assert list(tmp_path.iterdir()) == []


class TestTruth:
    def test_on_a_finer_grid_it_is_aligned_and_the_log_says_so(self, files, tmp_path):
        folder, arrays, truth = files
        fine = np.kron(truth, np.ones((2, 2), np.uint8))
        write_scene(tmp_path / "fine.tif", fine, (GRID[0], 5, 0, GRID[3], 0, -5), wkt(32633))
        (evaluation,), log = evaluated(files, MaskSource("fine", source=str(tmp_path / "fine.tif")))
        assert evaluation.values["auc"] == pytest.approx(scored_auc(truth, arrays["good"]))
        assert "Ground truth fine: it has 80 rows × 72 columns instead of 40 × 36; aligned to good by nearest neighbour." in log

    def test_in_another_crs_it_is_aligned(self, files, tmp_path):
        folder, arrays, truth = files
        gdal.Warp(str(tmp_path / "degrees.tif"), str(folder / "truth.tif"), dstSRS="EPSG:4326", xRes=2e-5, yRes=2e-5, dstNodata=255)
        (evaluation,), log = evaluated(files, MaskSource("degrees", source=str(tmp_path / "degrees.tif")))
        assert "aligned to good by nearest neighbour" in log
        assert evaluation.values["auc"] == pytest.approx(scored_auc(truth, arrays["good"]), abs=0.02)

    @pytest.mark.parametrize("georeferenced", [True, False])
    def test_nodata_and_what_it_does_not_reach_is_not_evaluated(self, files, tmp_path, georeferenced):
        folder, arrays, truth = files
        place = (GRID, wkt(32633)) if georeferenced else ()
        unsure = truth.copy()
        unsure[10:25] = 9
        write_scene(tmp_path / "unsure.tif", unsure, *place, nodata=9)
        write_scene(tmp_path / "map.tif", arrays["good"], *place)
        run, log = quiet()
        (evaluation,) = assess(
            Assessment([RasterSource(str(tmp_path / "map.tif"), "map")], MaskSource("unsure", source=str(tmp_path / "unsure.tif"))), run
        )
        known = np.where(unsure == 9, np.nan, arrays["good"])
        assert evaluation.values["auc"] == pytest.approx(scored_auc(truth, known))
        assert f"{truth[unsure != 9].sum()} anomalous pixels in 4 objects, {np.count_nonzero(unsure == 0)} of the background" in log[0]
        if georeferenced:
            write_scene(tmp_path / "half.tif", truth[:15], *place)
            evaluated_pixels = evaluated(files, MaskSource("half", source=str(tmp_path / "half.tif")))[1]
            assert f"{truth[:15].sum()} anomalous pixels in 3 objects, {np.count_nonzero(truth[:15] == 0)} of the" in evaluated_pixels

    def test_of_another_size_that_lies_nowhere_is_refused(self, files, tmp_path):
        write_scene(tmp_path / "lost.tif", np.eye(7, dtype=np.uint8))
        with pytest.raises(
            ValueError, match="truth lost does not fit good: it has 7 rows × 7 columns .* nothing says where lost lies. Georef"
        ):
            evaluated(files, MaskSource("lost", source=str(tmp_path / "lost.tif")))

    @pytest.mark.parametrize(
        ("values", "nodata", "message"),
        [
            (np.zeros((40, 36)), None, "marks no anomaly among the 1440 pixels.*anomalies are not 0"),
            (np.ones((40, 36)), None, "marks all of the 1440 pixels.*no background"),
            (np.eye(40, 36), 0, "marks all of the 36 pixels.*if 0 is its nodata value, unset that"),
            (np.full((40, 36), 9), 9, "no pixel that good score and that the ground truth bad covers"),
        ],
    )
    def test_without_anomalies_or_background_there_is_nothing_to_judge(self, files, tmp_path, values, nodata, message):
        write_scene(tmp_path / "bad.tif", values.astype(np.uint8), GRID, wkt(32633), nodata=nodata)
        with pytest.raises(ValueError, match=message):
            evaluated(files, MaskSource("bad", source=str(tmp_path / "bad.tif")))

    def test_polygons_elsewhere_are_an_error(self, files):
        polygon = ogr.CreateGeometryFromWkt("POLYGON((0 0,1 0,1 1,0 1,0 0))").ExportToWkb()
        with pytest.raises(ValueError, match="The ground truth far marks no anomaly among .* Check that it lies on the maps"):
            evaluated(files, MaskSource("far", wkt(32633), polygons=(bytes(polygon),)))

    def test_unreadable(self, files, tmp_path):
        (tmp_path / "text.tif").write_text("no raster")
        with pytest.raises(ValueError, match="text cannot be opened as a raster"):
            evaluated(files, MaskSource("text", source=str(tmp_path / "text.tif")))


class TestMaps:
    @pytest.mark.parametrize(
        ("grid", "epsg", "message"),
        [
            ((500005, 10, 0, 5800000, 0, -10), 32633, "its corners are 0.5 pixels off"),
            ((500000, 20, 0, 5800000, 0, -20), 32633, "its corners are 40 pixels off"),
            (GRID, 32632, "its CRS is EPSG:32632 instead of EPSG:32633"),
        ],
    )
    def test_on_another_grid_are_refused_with_what_differs(self, files, tmp_path, grid, epsg, message):
        folder, arrays, _ = files
        write_scene(tmp_path / "other.tif", arrays["good"], grid, wkt(epsg))
        run, _ = quiet()
        maps = [*sources(folder, "good"), RasterSource(str(tmp_path / "other.tif"), "other")]
        with pytest.raises(ValueError, match=f"other does not lie on the grid of good: {message}. Bring it to that grid"):
            assess(Assessment(maps, MaskSource("truth", source=str(folder / "truth.tif"))), run)

    @pytest.mark.parametrize(
        ("value", "message"), [(np.nan, "flat has no scores: all pixels are nodata"), (2, "flat has the score 2 at every")]
    )
    def test_empty_and_constant(self, files, tmp_path, value, message):
        folder, _, _ = files
        write_scene(tmp_path / "flat.tif", np.full((40, 36), value, np.float32), GRID, wkt(32633))
        run, _ = quiet()
        maps = [*sources(folder, "good"), RasterSource(str(tmp_path / "flat.tif"), "flat")]
        with pytest.raises(ValueError, match=message):
            assess(Assessment(maps, MaskSource("truth", source=str(folder / "truth.tif"))), run)

    def test_of_the_same_name_are_told_apart(self, files, tmp_path):
        folder, _, _ = files
        run, _ = quiet()
        maps = [RasterSource(str(folder / f"{name}.tif"), "map") for name in ("good", "poor")]
        assess(Assessment(maps, MaskSource("truth", source=str(folder / "truth.tif")), table=str(tmp_path / "t.csv")), run)
        assert [row["map"] for row in table_rows(tmp_path / "t.csv")] == ["map", "map (2)"]


class TestLargeMaps:
    def test_blocks_do_not_matter(self, files, monkeypatch):
        whole = evaluated(files, maps=("good", "poor"))[0]
        original = workflow.ScoreMap.__init__

        def few_rows(self, *arguments):
            original(self, *arguments)
            self.rows_per_block = 7

        monkeypatch.setattr(workflow.ScoreMap, "__init__", few_rows)
        blocks = evaluated(files, maps=("good", "poor"))[0]
        for one, other in zip(whole, blocks):
            assert one.values == other.values
            assert one.intervals == other.intervals

    def test_sample_stands_for_the_map_and_the_report_says_so(self, files, tmp_path, monkeypatch):
        whole = evaluated(files)[0][0].values
        monkeypatch.setattr(workflow, "LIMIT", 600)
        (evaluation,), log = evaluated(files, report=str(tmp_path / "r.html"))
        assert "Of the background, 600 pixels drawn at random stand for all 1386." in log
        assert "600 of 1386 pixels of the background, drawn at random, stand for all" in (tmp_path / "r.html").read_text(encoding="utf-8")
        for name in ("auc", "average_precision", "auc_d_tau", "auc_f_tau"):
            assert evaluation.values[name] == pytest.approx(whole[name], abs=0.04)
        assert evaluated(files)[0][0].values == evaluation.values, "the seed decides"
        assert evaluated(files, seed=1)[0][0].values != evaluation.values
        monkeypatch.setattr(workflow, "LIMIT", 30)
        (evaluation,), log = evaluated(files)
        assert "Of the anomalies, 30 pixels drawn at random stand for all 54." in log
        assert evaluation.intervals["auc"][0] < evaluation.values["auc"], "tiles take the place of objects, which a sample tears apart"

    def test_memory_is_that_of_the_blocks_and_the_sample(self, tmp_path, monkeypatch):
        rows, columns = 2500, 1600
        random = np.random.default_rng(0)
        truth = np.zeros((rows, columns), np.uint8)
        truth[::100, ::100] = 1
        write_scene(tmp_path / "map.tif", random.random((rows, columns), dtype=np.float32) + truth, GRID, wkt(32633))
        write_scene(tmp_path / "truth.tif", truth, GRID, wkt(32633))
        monkeypatch.setattr(workflow, "LIMIT", 20_000)
        run, _ = quiet(memory=4 * 2**20)
        truth_source = MaskSource("truth", source=str(tmp_path / "truth.tif"))
        tracemalloc.start()
        (evaluation,) = assess(Assessment([RasterSource(str(tmp_path / "map.tif"), "map")], truth_source), run)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert evaluation.values["auc"] == 1
        assert peak < rows * columns * 4 / 2, "half of the map"

    def test_pictures_of_large_maps_keep_single_pixels(self, tmp_path):
        values = np.random.default_rng(0).random((50, 700)).astype(np.float32)
        values[23, 456] = 9
        write_scene(tmp_path / "map.tif", values)
        write_scene(tmp_path / "truth.tif", (values == 9).astype(np.uint8))
        run, log = quiet()
        maps, truth = [RasterSource(str(tmp_path / "map.tif"), "map")], MaskSource("truth", source=str(tmp_path / "truth.tif"))
        (evaluation,) = assess(Assessment(maps, truth, str(tmp_path / "r.html")), run)
        cube = workflow._Evaluated([workflow.ScoreMap(maps[0].source)], truth.on(workflow.ScoreMap(maps[0].source), workflow.Truth))
        thumbnails = workflow._Survey.of(cube, Progress()).thumbnails
        expected = np.pad(values, ((0, 1), (0, 2)))  # 51 × 702, in squares of 3
        np.testing.assert_array_equal(thumbnails[0], expected.reshape(17, 3, 234, 3).max(axis=(1, 3)))
        assert (thumbnails[1] == 1).sum() == 1
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert "One pixel here is the largest of 3 × 3" in text
        assert "The ground truth has one object, so that there are no intervals." in text
        assert evaluation.intervals == {}
        assert any("one object" in line for line in log)


class TestReport:
    def test_opens_without_network_and_runs_nothing(self, files, tmp_path):
        evaluated(files, maps=("good", "poor"), report=str(tmp_path / "r.html"))
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert not re.search(r'(?:src|href)\s*=\s*"(?!data:)|url\(|@import|<script', text)

    def test_names_are_text(self, files, tmp_path):
        folder, _, _ = files
        run, _ = quiet()
        maps = [RasterSource(str(folder / "good.tif"), "<b>$\\frac</b> " + "long " * 20)]
        assess(Assessment(maps, MaskSource("t&t $x", source=str(folder / "truth.tif")), str(tmp_path / "r.html")), run)
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert "&lt;b&gt;$\\frac" in text
        assert "t&amp;t $x" in text

    def test_without_matplotlib_the_tables_remain(self, files, tmp_path, monkeypatch):
        from scoread_qgis.reports import figures

        monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
        evaluated(files, maps=("good", "poor"), report=str(tmp_path / "r.html"))
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert "<img" not in text
        assert text.count("need matplotlib") == 1
        assert "AUC-TDBS" in text

    def test_needs_neither_torch_nor_qgis(self, files, tmp_path):
        folder, _, _ = files
        code = f"""
import sys, types
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "qgis"):
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
package = types.ModuleType("scoread_qgis"); package.__path__ = [{str(BUILT)!r}]; sys.modules["scoread_qgis"] = package
from scoread_qgis.workflows.evaluate import Assessment, assess
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import MaskSource, RasterSource
maps, truth = [RasterSource({str(folder / "good.tif")!r}, "good")], MaskSource("truth", source={str(folder / "truth.tif")!r})
assess(Assessment(maps, truth, {str(tmp_path / "r.html")!r}), Run(2**28))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "r.html").is_file()

    def test_bad_file_names_are_known_before_the_work(self, files, tmp_path):
        with pytest.raises(ValueError, match="name that ends in .html"):
            evaluated(files, report=str(tmp_path / "r.pdf"))
        with pytest.raises(ValueError, match="is a folder"):
            (tmp_path / "t.csv").mkdir()
            evaluated(files, table=str(tmp_path / "t.csv"))


def test_every_phase_can_be_cancelled(files):
    fractions = []
    assessment = Assessment(sources(files[0], "good"), MaskSource("truth", source=str(files[0] / "truth.tif")))
    assess(assessment, Run(2**28, Progress(lambda f, m: fractions.append(f)), print))
    assert fractions == sorted(fractions)
    for limit in (0.1, 0.4, 0.6, 0.8):

        def report(fraction, message, limit=limit):
            if fraction >= limit:
                raise Cancelled

        with pytest.raises(Cancelled):
            assess(assessment, Run(2**28, Progress(report), print))
