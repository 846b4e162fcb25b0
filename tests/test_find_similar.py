"""Find similar: in QGIS, from the command line and on a cluster; regions, points and libraries as targets; other sensors; bad input."""

import shutil

import numpy as np
import pytest
from conftest import LogFeedback, read
from osgeo import gdal, ogr, osr

from scoread_qgis.commandline.main import main
from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.detectors.target import ACE, MatchedFilter
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene
from scoread_qgis.workflows.find_similar import Search, SimilarPlaces, find_similar
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import RasterSource, RegionSource

spectral = pytest.importorskip("spectral", reason="needs Spectral Python: python -m pip install spectral")
UTM = osr.SpatialReference()
UTM.ImportFromEPSG(32631)
WKT = UTM.ExportToWkt()
PLACE = (500000, 20, 0, 4600000, 0, -20)
BANDS = 40
OUTLINED = (slice(10, 13), slice(20, 23))  # of the target, whose spectrum is elsewhere too
ELSEWHERE = [(30, 5), (41, 33), (55, 50), (5, 58)]
WAVELENGTHS = np.linspace(420, 2400, BANDS)


def material(wavelengths):
    """Reflectance of the target at wavelengths (nm): two absorptions in a slope."""
    dips = sum(depth * np.exp(-(((wavelengths - centre) / 70) ** 2)) for centre, depth in ((900, 0.15), (1700, 0.2)))
    return 0.2 + wavelengths / 8000 - dips


def scene_values(wavelengths=WAVELENGTHS, seed=0):
    """Reflectance (rows, columns, bands) of smooth backgrounds with the target at OUTLINED and, a half of each pixel, ELSEWHERE."""
    random = np.random.default_rng(seed)
    basis = np.stack([np.exp(-(((wavelengths - centre) / 500) ** 2)) for centre in (400, 1000, 1600, 2200)])
    values = 0.25 + random.normal(size=(60, 60, 4)) @ basis * 0.03 + random.normal(size=(60, 60, len(wavelengths))) * 0.004
    values[OUTLINED] = material(wavelengths) + random.normal(size=(3, 3, len(wavelengths))) * 0.004
    for row, column in ELSEWHERE:
        values[row, column] = 0.5 * values[row, column] + 0.5 * material(wavelengths)
    return values


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes, targets and a library."""
    folder = tmp_path_factory.mktemp("similar")
    write_scene(folder / "scene.tif", scene_values().astype(np.float32), PLACE, WKT, WAVELENGTHS)
    write_scene(folder / "second.tif", np.round(scene_values(seed=1) * 10000).astype(np.int16), PLACE, WKT, WAVELENGTHS)
    other = np.linspace(450, 2200, 55)
    scaled = np.round(scene_values(other, seed=2) * 10000).astype(np.int16)
    write_scene(folder / "sensor.tif", scaled, PLACE, WKT, other)
    write_scene(folder / "plain.tif", scene_values(seed=3).astype(np.float32), PLACE, WKT)
    fine = np.arange(350, 2501.0, 5)
    lines = [f"{each:g},{value:.5f},{0.5 - value / 3:.5f}" for each, value in zip(fine, material(fine))]
    (folder / "library.csv").write_text("\n".join(["wavelength (nm),Roof paint,Grass", *lines]))
    write_shapes(folder / "targets.gpkg", [square(10, 13, 20, 23)])
    return folder


def square(first, last, left, right):
    corners = ((left, first), (right, first), (right, last), (left, last), (left, first))
    return f"POLYGON(({', '.join(f'{500000 + 20 * x} {4600000 - 20 * y}' for x, y in corners)}))"


def point(row, column):
    return f"POINT({500000 + 20 * (column + 0.5)} {4600000 - 20 * (row + 0.5)})"


def write_shapes(path, shapes, crs=UTM):
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    layer = dataset.CreateLayer("targets", crs, ogr.wkbUnknown)
    for shape in shapes:
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(ogr.CreateGeometryFromWkt(shape))
        layer.CreateFeature(feature)
    return str(path)


def places_above(path, threshold):
    return {(int(row), int(column)) for row, column in np.argwhere(read(path) > threshold)}


def region_count(path):
    dataset = ogr.Open(str(path))
    return dataset.GetLayer(0).GetFeatureCount()


WANTED = {(row, column) for row in range(10, 13) for column in range(20, 23)} | set(ELSEWHERE)


def similar(tmp_path, path, targets=None, run=None, **options):
    """Search in the workflow: returns the map, and the lines of the log."""
    lines, settings = [], {name: options.pop(name) for name in ("kind", "bands", "mask", "extent", "learn_area") if name in options}
    search = Search(RasterSource(str(path)), str(tmp_path / "map.tif"), **{"kind": "ace", "settings": {"background": "global"}, **settings})
    sought = None if targets is None else RegionSource.of_file(targets)
    find_similar(SimilarPlaces([search], sought, **options), run or Run(2**28, log=lines.append))
    return read(tmp_path / "map.tif"), "\n".join(lines)


class TestQGIS:
    def test_what_lies_in_a_region_is_found_elsewhere(self, run, folder, tmp_path):
        values = scene_values().astype(np.float32)
        found = run(
            "find_similar", INPUT=str(folder / "scene.tif"), TARGETS=str(folder / "targets.gpkg"), OUTPUT=str(tmp_path / "map.tif"),
            REGIONS=str(tmp_path / "similar.gpkg"), MODEL=str(tmp_path / "targets.pt"), RATE=1e-5,
        )  # fmt: skip
        assert places_above(found.OUTPUT, found.THRESHOLD) == WANTED
        valid = np.ones((60, 60), bool)
        valid[OUTLINED] = False
        background = spectral.calc_stats(values[valid].astype(np.float64))
        target = values[OUTLINED].mean((0, 1), dtype=np.float64)
        np.testing.assert_allclose(np.abs(read(found.OUTPUT)), spectral.ace(values.astype(np.float64), target, background), atol=1e-5)
        dataset = gdal.Open(found.OUTPUT)
        assert dataset.GetGeoTransform() == PLACE and dataset.GetRasterBand(1).GetDescription() == "Target score"
        facts = {name[8:]: text for name, text in dataset.GetMetadata().items() if name.startswith("SCOREAD_")}
        assert facts["DETECTOR"] == "ace" and "targets = region 1" in facts["SETTINGS"] and "background = global" in facts["SETTINGS"]
        assert (tmp_path / "map.qml").exists()
        assert region_count(found.REGIONS) == 5
        assert "Target region 1: the mean of 9 pixels of scene" in found.log

        explained = run(
            "explain_anomalies", INPUT=str(folder / "scene.tif"), MODEL=found.MODEL, REGIONS=found.REGIONS, TABLE=str(tmp_path / "why.csv")
        )
        assert explained.COUNT == 5
        header, *rows = [line.split(",") for line in (tmp_path / "why.csv").read_text(encoding="utf-8").splitlines()]
        for row in rows:
            score, below, shares = (float(row[header.index(name)]) for name in ("mean_spectrum_value", "background_value", "contributions"))
            assert below + shares == pytest.approx(score, abs=1e-6)
        peak = next(row for row in rows if row[header.index("pixels")] == "1")
        place = [int((float(peak[header.index(name)]) - start) / step) for name, start, step in (("y", 4600000, -20), ("x", 500000, 20))]
        assert float(peak[header.index("mean_spectrum_value")]) == pytest.approx(read(found.OUTPUT)[tuple(place)], abs=1e-4)

        again = run("detect_anomalies", INPUT=str(folder / "scene.tif"), MODEL=found.MODEL, OUTPUT=str(tmp_path / "again.tif"))
        np.testing.assert_array_equal(read(again.OUTPUT), read(found.OUTPUT))

    def test_further_scenes_of_the_sensor_and_of_another(self, run, folder, tmp_path):
        more = [str(folder / name) for name in ("second.tif", "sensor.tif")]
        found = run(
            "find_similar", INPUT=str(folder / "scene.tif"), TARGETS=str(folder / "targets.gpkg"), MORE_INPUTS=more, DETECTOR=1,
            OUTPUT=str(tmp_path / "map.tif"), MORE_OUTPUTS=str(tmp_path / "more"), REGIONS=str(tmp_path / "r.gpkg"), RATE=1e-5,
        )  # fmt: skip
        maps = [str(tmp_path / "more" / f"{name}_similar.tif") for name in ("second", "sensor")]
        assert maps == found.MAPS
        for path in (found.OUTPUT, *found.MAPS):
            amounts = read(path)
            assert amounts[OUTLINED].mean() == pytest.approx(1, abs=0.15)  # bands of the other sensor see it through those of the first
            assert [amounts[place] for place in ELSEWHERE] == pytest.approx([0.5] * 4, abs=0.15)
            assert np.quantile(np.abs(amounts), 0.9) < 0.2
        assert (tmp_path / "more" / "sensor_similar.gpkg").exists() and (tmp_path / "more" / "sensor_similar.qml").exists()

    def test_an_entry_of_a_library(self, run, folder, tmp_path):
        found = run(
            "find_similar", INPUT=str(folder / "sensor.tif"), LIBRARIES=[str(folder / "library.csv")], ENTRIES="roof*", RATE=1e-5,
            OUTPUT=str(tmp_path / "map.tif"),
        )  # fmt: skip
        assert places_above(found.OUTPUT, found.THRESHOLD) == WANTED

    def test_is_cancelled_whole(self, run, folder, tmp_path):
        feedback = LogFeedback()
        feedback.progressChanged.connect(lambda fraction: fraction > 30 and feedback.cancel())
        with pytest.raises(Exception, match="Cancelled: nothing was written") as end:
            run(
                "find_similar",
                feedback,
                INPUT=str(folder / "scene.tif"),
                TARGETS=str(folder / "targets.gpkg"),
                OUTPUT=str(tmp_path / "map.tif"),
            )
        assert all(str(path) in str(end.value) for path in tmp_path.iterdir()), "a map that was finished before the cancel is named"


class TestWorkflow:
    def test_points_stand_for_their_pixels(self, folder, tmp_path):
        targets = write_shapes(tmp_path / "points.gpkg", [point(11, 21), point(12, 21)])
        scores, log = similar(tmp_path, folder / "scene.tif", targets)
        values = scene_values().astype(np.float32)
        valid = np.ones((60, 60), bool)
        valid[[11, 12], 21] = False
        background = spectral.calc_stats(values[valid].astype(np.float64))
        wanted = spectral.ace(values.astype(np.float64), values[[11, 12], 21].astype(np.float64), background)
        np.testing.assert_allclose(np.abs(scores), wanted, atol=1e-5)
        assert log.count("the mean of 1 pixel of") == 2

    def test_an_area_is_a_piece_of_the_map(self, folder, tmp_path):
        from scoread_qgis.scenes.extent import Extent

        whole, _ = similar(tmp_path, folder / "scene.tif", folder / "targets.gpkg")
        area = Extent(500000 + 20 * 4, 4600000 - 20 * 50, 500000 + 20 * 40, 4600000 - 20 * 30)
        piece, log = similar(tmp_path, folder / "scene.tif", folder / "targets.gpkg", extent=area)
        np.testing.assert_array_equal(piece, whole[30:50, 4:40])
        alone, _ = similar(tmp_path, folder / "scene.tif", folder / "targets.gpkg", extent=area, learn_area=True)
        target = scene_values().astype(np.float32)[OUTLINED].mean((0, 1), dtype=np.float64)
        np.testing.assert_allclose(
            np.abs(alone), spectral.ace(scene_values().astype(np.float32)[30:50, 4:40].astype(np.float64), target), atol=1e-5
        )

    def test_without_wavelengths_by_number(self, folder, tmp_path):
        scores, _ = similar(tmp_path, folder / "plain.tif", folder / "targets.gpkg")
        assert min(scores[place] for place in WANTED) > np.quantile(scores, 0.99)

    def test_bands_without_data_at_the_targets_are_left_out(self, folder, tmp_path):
        values = scene_values().astype(np.float32)
        values[8:16, 18:26, 7] = np.nan
        write_scene(tmp_path / "holes.tif", values, PLACE, WKT, WAVELENGTHS, nodata=np.nan)
        scores, log = similar(tmp_path, tmp_path / "holes.tif", folder / "targets.gpkg")
        assert "left out 1 bands for which not all targets are known: 8." in log
        assert np.isfinite(scores).all() and min(scores[place] for place in WANTED) > np.quantile(scores, 0.99)

    def test_a_small_scene_has_a_map_and_no_threshold(self, folder, tmp_path):
        write_scene(tmp_path / "small.tif", scene_values()[:20, :24].astype(np.float32), PLACE, WKT, WAVELENGTHS)
        scores, log = similar(tmp_path, tmp_path / "small.tif", folder / "targets.gpkg")
        assert scores[11, 21] > 0.9 and "No threshold: A fit of the tail needs at least 500 scored pixels" in log

    @pytest.mark.parametrize("stop", [0.01, 0.3, 0.9])
    def test_cancel(self, folder, tmp_path, stop):
        def report(fraction, message):
            if fraction > stop:
                raise Cancelled

        with pytest.raises(Cancelled):
            similar(tmp_path, folder / "scene.tif", folder / "targets.gpkg", Run(2**28, Progress(report), log=lambda line: None))
        assert [path.name for path in tmp_path.iterdir()] in ([], ["map.tif"])


class TestBadInput:
    """A clear message before anything is written."""

    def refused(self, tmp_path, match, *arguments, **options):
        with pytest.raises(ValueError, match=match):
            similar(tmp_path, *arguments, **options)
        assert not (tmp_path / "map.tif").exists()

    def test_nothing_or_two_things_to_search_for(self, folder, tmp_path):
        scene = folder / "scene.tif"
        self.refused(tmp_path, "Give regions of a scene or a spectral library", scene)
        self.refused(tmp_path, "one of the two", scene, folder / "targets.gpkg", libraries=[str(folder / "library.csv")])

    def test_targets_elsewhere_on_nodata_too_many_or_none(self, folder, tmp_path):
        scene = folder / "scene.tif"
        self.refused(tmp_path, "touches .*Check that both lie in the same place", scene, write_shapes(tmp_path / "a.gpkg", [point(200, 5)]))
        self.refused(tmp_path, "hold neither polygons nor points|holds no regions", scene, write_shapes(tmp_path / "b.gpkg", []))
        self.refused(tmp_path, "holds 101 regions; at most 100", scene, write_shapes(tmp_path / "c.gpkg", [point(3, 3)] * 101))
        values = scene_values().astype(np.float32)
        values[OUTLINED] = -9
        write_scene(tmp_path / "hole.tif", values, PLACE, WKT, WAVELENGTHS, nodata=-9)
        self.refused(tmp_path, "hold no pixel with data", tmp_path / "hole.tif", folder / "targets.gpkg")
        (tmp_path / "text.txt").write_text("no shapes")
        self.refused(tmp_path, "cannot be opened.*Give a vector file", scene, tmp_path / "text.txt")

    def test_one_band(self, folder, tmp_path):
        write_scene(tmp_path / "one.tif", scene_values()[..., :1].astype(np.float32), PLACE, WKT, WAVELENGTHS[:1])
        self.refused(tmp_path, "has 1 band", tmp_path / "one.tif", folder / "targets.gpkg")

    def test_libraries_that_do_not_fit(self, folder, tmp_path):
        library = str(folder / "library.csv")
        self.refused(tmp_path, "holds 2 entries, such as Roof paint, Grass", folder / "scene.tif", libraries=[library])
        self.refused(
            tmp_path,
            "holds no entry Roof pant. It has 2, such as Roof paint",
            folder / "scene.tif",
            libraries=[library],
            entries=["Roof pant"],
        )
        self.refused(tmp_path, "does not tell its wavelengths", folder / "plain.tif", libraries=[library], entries=["Grass"])
        write_scene(tmp_path / "thermal.tif", scene_values().astype(np.float32), PLACE, WKT, WAVELENGTHS + 8000)
        self.refused(tmp_path, "share 0 good bands", tmp_path / "thermal.tif", libraries=[library], entries=["Grass"])
        write_scene(tmp_path / "counts.tif", (scene_values() * 200000).astype(np.float32), PLACE, WKT, WAVELENGTHS)
        self.refused(tmp_path, "does not seem to be reflectance", tmp_path / "counts.tif", libraries=[library], entries=["Grass"])
        self.refused(tmp_path, "does not exist", folder / "scene.tif", libraries=[str(folder / "none.csv")])

    def test_another_scene_without_wavelengths(self, folder, tmp_path):
        write_scene(tmp_path / "few.tif", scene_values()[..., :30].astype(np.float32), PLACE, WKT)
        self.refused(
            tmp_path, "few.tif does not tell its wavelengths", tmp_path / "few.tif", folder / "targets.gpkg",
            scene=RasterSource(str(folder / "scene.tif")),
        )  # fmt: skip

    def test_no_output_is_an_input(self, folder, tmp_path):
        shutil.copy(folder / "scene.tif", tmp_path / "map.tif")
        with pytest.raises(ValueError, match="is the input itself"):
            similar(tmp_path, tmp_path / "map.tif", folder / "targets.gpkg")


class TestCommandLine:
    def words(self, folder, *options):
        scenes = [str(folder / name) for name in ("second.tif", "sensor.tif")]
        return ["similar", *scenes, *map(str, options)]

    def test_many_scenes_and_a_bad_one(self, folder, tmp_path, capsys):
        (tmp_path / "bad.tif").write_text("no scene")
        how = ["--targets", folder / "targets.gpkg", "--target-scene", folder / "scene.tif", "--regions", "--rate=1e-5", "--detector=ace"]
        assert main(self.words(folder, "--output", tmp_path / "out", *how)) == 0
        capsys.readouterr()
        for name in ("second", "sensor"):
            assert region_count(tmp_path / "out" / f"{name}_similar.gpkg") == 5
        assert main(self.words(folder, "--output", tmp_path / "out", "--resume", *how)) == 0
        assert "2 of 2 scenes done (2 of them before)" in capsys.readouterr().out
        (tmp_path / "out" / "second_similar.gpkg").unlink()
        assert main(self.words(folder, "--output", tmp_path / "out", "--resume", *how)) == 0
        assert "2 of 2 scenes done (1 of them before)" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--library", "library.csv", "--entry", "none"], "holds no entry none"),
            (["--library", "library.csv", "--entry", "Grass", "--target-scene", "scene.tif"], "--target-scene is the scene of --targets"),
            (["--targets", "targets.gpkg", "--entry", "Grass"], "--entry names entries of --library"),
            (["--targets", "targets.gpkg", "--background", "local", "--inner-window", "4"], "have to be odd"),
        ],
    )
    def test_wrong_usage(self, folder, tmp_path, capsys, monkeypatch, options, told):
        monkeypatch.chdir(folder)
        assert main(self.words(folder, "--output", tmp_path / "out", *options)) == 2
        assert told in capsys.readouterr().err
        assert not list(tmp_path.glob("out/*"))

    def test_row_blocks_on_a_cluster(self, tmp_path, capsys):
        pytest.importorskip("distributed", reason="needs dask.distributed")
        scene = simulate_scene(210, 56, 96, seed=3)
        write_scene(tmp_path / "scene.tif", scene.cube, PLACE, WKT, scene.wavelengths, nodata=None, scale=scene.scale)
        row, column = np.argwhere(scene.truth)[0]
        targets = write_shapes(tmp_path / "t.gpkg", [point(row, column)])
        how = ["--targets", targets, "--regions", "--memory=1"]
        for output, where in (("here", []), ("there", ["--local-cluster", "1"])):
            assert main(["similar", str(tmp_path / "scene.tif"), "--output", str(tmp_path / f"{output}.tif"), *how, *where]) == 0
        told = capsys.readouterr().err
        assert "Split into" in told and told.count("Threshold: ") == 2
        np.testing.assert_allclose(read(tmp_path / "there.tif"), read(tmp_path / "here.tif"), rtol=1e-4, atol=1e-6)
        counts = [region_count(tmp_path / f"{each}.gpkg") for each in ("here", "there")]
        assert counts[0] == counts[1] > 0


def test_kinds_have_titles():
    assert (ACE.title, MatchedFilter.title) == ("ACE", "Matched filter")


def test_qgis_and_the_command_line_hand_the_same_settings_on(run, folder, tmp_path, monkeypatch):
    from scoread_qgis.workflows import detect, find_similar

    seen = []

    def tell(task, *_):
        seen.append(task)
        raise ValueError("reached")

    monkeypatch.setattr(find_similar, "find_similar", tell)
    monkeypatch.setattr(detect, "detect", tell)
    given = {
        "DETECTOR": 1,
        "BACKGROUND": 2,
        "RATE": 0.02,
        "MIN_AREA": 3,
        "LEARN_AREA": True,
        "INNER_WINDOW": 3,
        "OUTER_WINDOW": 9,
        "SHRINKAGE": 0.5,
    }
    words = "--detector=matched-filter --background=local --rate=0.02 --min-area=3 --learn-area"
    words += " --inner-window=3 --outer-window=9 --shrinkage=0.5"
    for values, options in (({}, []), (given, words.split())):
        seen.clear()
        with pytest.raises(Exception, match="reached"):
            run(
                "find_similar", INPUT=str(folder / "scene.tif"), TARGETS=str(folder / "targets.gpkg"), OUTPUT=str(tmp_path / "map.tif"),
                **values,
            )  # fmt: skip
        there = ["--output", str(tmp_path / "map.tif"), "--targets", str(folder / "targets.gpkg"), *options]
        assert main(["similar", str(folder / "scene.tif"), *there]) == 1
        places, search = seen
        for name in ("kind", "settings", "rate", "min_area", "learn_area", "output"):
            assert getattr(places.searches[0], name) == getattr(search, name), name
        assert search.targets.names == ("region 1",)
