"""What the review of anomalies computes: a map held for thresholds, the list of regions, spectra and what is expected there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import read
from osgeo import gdal, ogr
from scipy import ndimage

from scoread_qgis.scenes.spectrum_file import spectra_csv, write_spectra
from scoread_qgis.workflows.detect import Detection, detect
from scoread_qgis.workflows.extract import Extraction, extract
from scoread_qgis.workflows.review_map import ReviewedMap
from scoread_qgis.workflows.review_matches import library_spectra, nearest
from scoread_qgis.workflows.review_pins import pins_in_json, pins_of
from scoread_qgis.workflows.review_regions import boxes, file_state, read_regions, related_file
from scoread_qgis.workflows.review_scene import (
    ReviewedScene,
    bind_detector,
    can_bind,
    half_whitening,
    needs_learning,
    spectral_angles,
)
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import RasterSource, RegionSource

RUN = Run(2**28, log=lambda text: None)


def save(path, values, nodata=None):
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), values.shape[1], values.shape[0], 1, gdal.GDT_Float32)
    dataset.SetGeoTransform((500_000, 2, 0, 4_000_000, 0, -2))
    if nodata is not None:
        dataset.GetRasterBand(1).SetNoDataValue(nodata)
    dataset.GetRasterBand(1).WriteArray(values)
    return str(path)


@pytest.fixture(scope="module")
def scores():
    """Scores of 211 x 173 pixels: background with an exponential tail, some anomalies, and a corner without data."""
    random = np.random.default_rng(0)
    values = random.gumbel(size=(211, 173)).astype(np.float32)
    for row, column in random.integers(10, 160, (25, 2)):
        values[row : row + 2, column : column + 3] = 14 + random.random((2, 3))
    values[:7, :9] = np.nan
    return values


@pytest.fixture(scope="module")
def reviewed(scores, tmp_path_factory):
    path = save(tmp_path_factory.mktemp("review") / "map.tif", scores)
    return ReviewedMap(RasterSource(path), RUN)


class TestMap:
    def test_the_threshold_is_that_of_extract_anomalies(self, reviewed, tmp_path):
        for rate in (0.02, 1e-5):
            out = str(tmp_path / f"{rate}.gpkg")
            threshold, count = extract(Extraction(reviewed.source, out, rate=rate, min_area=2, connectivity=4), RUN)
            assert reviewed.threshold(rate) == threshold
            assert reviewed.regions_above(threshold, 4, 2)[0] == count
            assert reviewed.rate(threshold) == pytest.approx(rate, rel=1e-4)

    def test_counts_are_those_of_the_pixels(self, reviewed, scores):
        assert reviewed.exact and reviewed.scored == np.isfinite(scores).sum()
        for threshold in (0.0, 3.3, 14.2, 99.0):
            with np.errstate(invalid="ignore"):
                above = scores > np.float32(threshold)
            assert reviewed.pixels_above(threshold) == above.sum()
            assert reviewed.regions_above(threshold) == (ndimage.label(above, np.ones((3, 3)))[1], above.sum())

    def test_expected_false_alarms_are_the_rate_of_the_background(self, reviewed, scores):
        expected = 1e-3 * np.isfinite(scores).sum() * (1 - reviewed.tail.anomalous)
        assert reviewed.false_alarms(reviewed.threshold(1e-3)) == pytest.approx(expected, rel=1e-4)

    def test_the_histogram_holds_every_pixel_and_the_fit_runs_along_it(self, reviewed):
        found = reviewed.histogram()
        assert found.counts.sum() == pytest.approx(reviewed.scored)
        start = np.searchsorted(found.edges, reviewed.tail.start) + 1
        assert np.isnan(found.background[: start - 2]).all()
        tail = slice(start, start + 20)
        assert found.background[tail].sum() == pytest.approx(found.counts[tail].sum(), rel=0.2)

    def test_zoomed_out_no_pixel_is_overlooked(self, scores, tmp_path):
        lonely = np.zeros((130, 200), np.float32)
        places = np.random.default_rng(1).integers(0, 130, (30, 2))
        lonely[tuple(places.T)] = 5
        held = ReviewedMap(RasterSource(save(tmp_path / "map.tif", lonely + 1e-6 * np.arange(20, dtype=np.float32).repeat(10))), RUN)
        for apart in (1.0, 2.7, 9.0):
            rows, columns = np.arange(0, 130, apart), np.arange(0, 200, apart)
            shown = held.seen(rows, columns, apart) > 4
            for row, column in places:
                near = shown[max(0, int(row / apart) - 1) : int(row / apart) + 2, max(0, int(column / apart) - 1) : int(column / apart) + 2]
                assert near.any(), (apart, row, column)
            if apart == 1.0:
                np.testing.assert_array_equal(shown, lonely > 4)

    def test_what_lies_outside_and_what_has_no_score_is_not_shown(self, reviewed):
        rows, columns = np.array([-1.0, 3.0, 100.0, 300.0]), np.array([-5.0, 2.0, 100.0, 1000.0])
        seen = reviewed.seen(rows, columns, 1.0)
        assert np.isfinite(seen).tolist() == [[False] * 4, [False, False, True, False], [False, True, True, False], [False] * 4]
        turned = reviewed.seen(*np.meshgrid(rows, columns, indexing="ij"), 1.0)
        np.testing.assert_array_equal(turned, seen)

    def test_a_huge_map_is_held_by_its_largest_scores(self, reviewed, scores):
        small = ReviewedMap(reviewed.source, RUN, held=5000)
        assert small.step == 4 and not small.exact
        assert small.threshold(1e-3) == reviewed.threshold(1e-3)
        assert small.scored == reviewed.scored
        assert small.pixels_above(14) == pytest.approx(reviewed.pixels_above(14), abs=1), "the sample is the whole map here"
        assert small.regions_above(14.0) == reviewed.regions_above(14.0), "counted in the file"
        rows, columns = np.arange(0.5, 211, 4), np.arange(0.5, 173, 4)
        pooled = np.full((212, 176), -np.inf)
        pooled[:211, :173] = np.where(np.isfinite(scores), scores, -np.inf)
        np.testing.assert_array_equal(small.seen(rows, columns, 4.0), pooled.reshape(53, 4, 44, 4).max(axis=(1, 3)).astype(np.float32))

    def test_without_a_tail_the_share_of_pixels_stands_in(self, tmp_path):
        held = ReviewedMap(RasterSource(save(tmp_path / "few.tif", np.arange(100, dtype=np.float32).reshape(10, 10))), RUN)
        assert held.tail is None and "at least 500" in held.no_tail
        assert held.false_alarms(50) is None
        assert held.pixels_above(held.threshold(0.1)) == 10
        assert held.rate(89) == pytest.approx(0.1)

    def test_a_scene_is_not_a_map(self, sample):
        with pytest.raises(ValueError, match="has 30 bands, and an anomaly map has one"):
            ReviewedMap(RasterSource(sample.path), RUN)


@pytest.fixture(scope="module")
def found(sample, tmp_path_factory):
    """A scene with its map and regions, as a user has them: paths, the list, and the open scene."""
    folder = tmp_path_factory.mktemp("found")
    paths = SimpleNamespace(scene=sample.path, map=str(folder / "map.tif"), regions=str(folder / "regions.gpkg"))
    detect(Detection(RasterSource(sample.path), paths.map, device="cpu"), RUN)
    extract(Extraction(RasterSource(paths.map), paths.regions, rate=0.03), RUN)
    facts = ReviewedMap(RasterSource(paths.map), RUN).facts
    listed = read_regions(paths.regions)
    scene = ReviewedScene(RasterSource(sample.path), facts, RUN)
    source = RegionSource("regions", listed.crs, tuple(listed.shapes), tuple(listed.ids), (None,) * len(listed))
    labels = scene.labels(source, RUN)
    return SimpleNamespace(
        paths=paths, facts=facts, listed=listed, scene=scene, labels=labels, means=scene.region_means(labels, len(listed))
    )


class TestScene:
    def test_bands_that_the_map_was_not_made_from_are_gaps(self, found, sample):
        good = np.asarray(sample.scene.good, bool)
        assert not good.all() and found.scene.nanometres
        np.testing.assert_array_equal(found.scene.used, good)
        seen = found.scene.at_pixel(20, 11)
        np.testing.assert_allclose(seen.spectrum[good], sample.scene.cube[20, 11, good] * sample.scene.scale, rtol=1e-5)
        assert np.isnan(seen.spectrum[~good]).all() and np.isnan(seen.expected.spectrum[~good]).all()

    def test_the_space_of_comparison_is_that_of_the_detectors(self, found):
        import torch

        from scoread_qgis.detectors.shared.half_whitening import HalfWhitening

        mean, projection = half_whitening(found.scene.sample)
        theirs = HalfWhitening.fit(torch.from_numpy(found.scene.sample))
        ours = (found.scene.sample - mean) @ projection
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs(torch.from_numpy(found.scene.sample)).numpy()), atol=2e-3)
        assert half_whitening(np.ones((5, 3))) == (None, None)

    def test_what_is_expected_is_nearly_what_explain_expects(self, found):
        """Explain compares surroundings in a space made from other pixels."""
        from scoread_qgis.detectors.shared.explanation import expected_backgrounds, region_spectra

        seen = region_spectra(found.scene.cube, found.labels)
        theirs = expected_backgrounds(found.scene.cube, found.labels, seen)
        known = 0
        for number, one in enumerate(theirs):
            ours = found.scene.of_region(found.means, found.labels, number)
            if one.pixels and ours.expected is not None:
                known += 1
                spread = np.maximum(one.high - one.low, 1e-3)
                assert np.abs(ours.expected.spectrum[found.scene.used] - one.spectrum).max() < spread.max(), number
        assert known > 3

    def test_means_and_spreads_of_regions(self, found):
        from scoread_qgis.detectors.shared.explanation import region_spectra

        theirs = region_spectra(found.scene.cube, found.labels)
        np.testing.assert_array_equal(found.means.pixels, theirs.pixels)
        np.testing.assert_allclose(found.means.means, theirs.mean, rtol=1e-5)
        np.testing.assert_allclose(found.means.centres, theirs.centres)
        np.testing.assert_array_equal(found.means.boxes, theirs.boxes)
        values, _ = found.scene.cube.read(0, 48)
        labels = found.labels.labels(0, 48)
        np.testing.assert_allclose(found.means.spreads[0], values[labels == 1].std(axis=0), rtol=1e-3, atol=1e-6)

    def test_places_and_pixels(self, found, sample):
        left, top, size = *sample.scene.origin, sample.scene.pixel_size
        assert found.scene.pixel_at(left + 3.5 * size, top - 7.2 * size) == (7, 3)
        assert found.scene.pixel_at(left - 1e-3, top) is None
        assert found.scene.place_of(7, 3) == pytest.approx((left + 3.5 * size, top - 7.5 * size))

    def test_the_most_similar_is_not_next_door(self, found):
        seen = found.scene.of_region(found.means, found.labels, 0)
        similar = found.scene.most_similar(seen, found.means, 0)
        candidates = np.concatenate([found.means.means[1:], found.scene.sample])
        assert similar.angle >= np.nanmin(spectral_angles(found.means.means[0], candidates)) - 1e-9
        top, bottom, left, right = found.means.boxes[0]
        assert similar.region is not None or not (top - 3 <= similar.row <= bottom + 3 and left - 3 <= similar.column <= right + 3)

    def test_angles(self):
        angles = spectral_angles([1, 0, 0], [[2, 0, 0], [0, 3, 0], [1, 1, 0], [np.nan, 1, 0]])
        np.testing.assert_allclose(angles[:3], [0, 90, 45])
        assert np.isnan(angles[3])

    def test_a_pixel_without_data_says_so(self, tmp_path):
        values = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
        values[1, 5, 6] = np.nan
        path = str(tmp_path / "scene.tif")
        gdal.GetDriverByName("GTiff").Create(path, 30, 20, 3, gdal.GDT_Float32).WriteArray(values)
        scene = ReviewedScene(RasterSource(path), {}, RUN)
        assert not scene.nanometres and scene.axis.tolist() == [1, 2, 3]
        assert scene.pixel_at(6.5, -5.5) == (5, 6), "without georeference as QGIS draws it"
        with pytest.raises(ValueError, match="no data at row 6, column 7"):
            scene.at_pixel(5, 6)

    def test_the_detector_is_made_again_and_scores_as_the_map_does(self, found):
        assert can_bind(found.facts) == "" and needs_learning(found.facts)
        bound, warning = bind_detector(found.scene, RUN)
        scores = read(found.paths.map)
        for row, column in ((20, 11), (3, 30)):
            assert found.scene.score(bound, row, column) == pytest.approx(scores[row, column], abs=1e-4)
        seen = found.scene.of_region(found.means, found.labels, 0)
        shares = found.scene.contributions(bound, seen, seen.expected)
        assert warning == "" and np.array_equal(np.isfinite(shares.bands), found.scene.used)
        assert shares.background + np.nansum(shares.bands) == pytest.approx(shares.score, rel=1e-4)

    @pytest.mark.parametrize("kind", ["rx", "rx-local"])
    def test_so_is_rx(self, found, sample, tmp_path, kind):
        path = str(tmp_path / "rx.tif")
        settings = {} if kind == "rx" else {"inner_window": 3, "outer_window": 9}
        detect(Detection(RasterSource(sample.path), path, kind=kind, settings=settings, device="cpu"), RUN)
        scene = ReviewedScene(RasterSource(sample.path), ReviewedMap(RasterSource(path), RUN).facts, RUN)
        bound, _ = bind_detector(scene, RUN)
        assert scene.score(bound, 24, 24) == pytest.approx(read(path)[24, 24], rel=1e-4)

    def test_why_contributions_are_not_known(self):
        assert "does not say what detector" in can_bind({})
        assert "no longer there" in can_bind({"detector": "sgm", "model": "/gone/model.pt"})
        assert "no longer there" in can_bind({"detector": "sgm", "model": "/gone/model.pt, adapted to the scene"})
        assert "mask" in can_bind({"detector": "rx", "mask": "my polygons"})


class TestPins:
    def test_they_come_back_for_the_same_scene(self, found):
        seen = found.scene.at_pixel(3, 4)
        text = pins_in_json("scene_1", [("pixel 4, 5", "#14a098", seen), ("pixel 4, 5", "#c2a000", seen)])
        assert pins_of(text, "scene_2", 30) == [] == pins_of(text, "scene_1", 31)
        (title, colour, again), (_, other, _) = pins_of(text, "scene_1", 30)
        assert (title, colour, other) == ("pixel 4, 5", "#14a098", "#c2a000")
        assert (again.row, again.column, again.pixels) == (3, 4, 1)
        np.testing.assert_allclose(again.spectrum, seen.spectrum, rtol=1e-8)

    @pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"scene": "a", "pins": [{}]}', '{"scene": "a", "pins": 5}'])
    def test_what_another_version_wrote_is_passed_over(self, text):
        assert pins_of(text, "a", 30) == []


class TestMatches:
    @pytest.fixture
    def library(self, tmp_path):
        """A straight line and a curve, the latter twice under one name."""
        lines = ["wavelength (nm),line,curve,curve"]
        lines += [f"{w},{w / 5000},{0.4 + 0.2 * np.sin(w / 300)},{0.4 - 0.2 * np.sin(w / 300)}" for w in range(100, 3001, 5)]
        path = tmp_path / "library.csv"
        path.write_text("\n".join(lines), encoding="utf-8")
        return str(path)

    def test_entries_are_as_the_bands_see_them_where_the_library_was_or_beside_the_regions(self, found, library, tmp_path):
        for named in (library, "/somewhere/else/library.csv", json.dumps(["/other, /somewhere/library.csv"]), f"/gone.csv, {library}"):
            facts = {"libraries": named, "quantity": "reflectance"}
            spectra = library_spectra(facts, str(tmp_path / "regions.gpkg"), {"line", "curve"}, found.scene, RUN)
            assert {name: entries.shape for name, entries in spectra.items()} == {"line": (1, 30), "curve": (2, 30)}
            used = found.scene.used
            np.testing.assert_allclose(spectra["line"][0, used], found.scene.axis[used] / 5000, rtol=1e-6)
            assert np.isnan(spectra["line"][0, ~used]).all()

    def test_the_nearest_of_one_name_is_scaled_to_the_brightness(self):
        spectrum = np.array([2.0, 4.0, np.nan, 8.0])
        entries = np.array([[3.0, 2.0, 1.0, 0.5], [0.1, 0.2, 0.3, 0.4]])
        np.testing.assert_allclose(nearest(entries, spectrum), 20 * entries[1])
        assert nearest(entries[:, :1], spectrum[:1]) is None

    def test_why_they_are_not_shown(self, found, library, tmp_path):
        beside = str(tmp_path / "regions.gpkg")
        for facts, why in (
            ({"libraries": library, "quantity": "iar"}, "is not reflectance"),
            ({"libraries": library, "quantity": "divided by the flat field a.gpkg"}, "is not reflectance"),
            ({"libraries": "/gone/away.sli", "quantity": "reflectance"}, "away.sli does not exist"),
            ({"quantity": "reflectance"}, "do not say which library"),
        ):
            with pytest.raises(ValueError, match=why):
                library_spectra(facts, beside, {"line"}, found.scene, RUN)


def test_spectra_are_shown_without_pytorch(found):
    """A plugin without PyTorch still shows spectra, what is expected there, and the list."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[1] / "build")!r})
sys.modules["torch"] = None
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import RasterSource
from scoread_qgis.workflows.review_map import ReviewedMap
from scoread_qgis.workflows.review_scene import ReviewedScene
from scoread_qgis.workflows.review_matches import library_spectra, nearest
from scoread_qgis.workflows.review_regions import read_regions
scene = ReviewedScene(RasterSource({found.paths.scene!r}), {{}}, Run(2**28))
print(scene.at_pixel(20, 11).expected.pixels, len(read_regions({found.paths.regions!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pixels, count = done.stdout.split() or pytest.fail(done.stderr)
    assert int(pixels) > 10 and int(count) == len(found.listed)


class TestList:
    def test_regions_are_read_in_the_order_of_their_ranks(self, found):
        listed = found.listed
        assert len(listed) > 3 and listed.columns["rank"].tolist() == list(range(1, len(listed) + 1))
        assert np.all(np.diff(listed.columns["peak"]) <= 0) and set(listed.verdicts) == {""}
        assert listed.facts["map"] == found.paths.map and listed.facts["scene"] == found.paths.scene
        layer_boxes = boxes(listed.shapes)
        dataset = ogr.Open(found.paths.regions)
        assert layer_boxes[0] == pytest.approx(dataset.GetLayer(0).GetFeature(1).GetGeometryRef().GetEnvelope())

    def test_of_other_software_too(self, tmp_path):
        path = str(tmp_path / "places.geojson")
        shapes = ['{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}'] * 2
        features = ",".join(
            f'{{"type":"Feature","properties":{{"peak":{peak}}},"geometry":{shape}}}' for peak, shape in zip((3, 9), shapes)
        )
        Path(path).write_text(f'{{"type":"FeatureCollection","features":[{features}]}}', encoding="utf-8")
        listed = read_regions(path)
        assert listed.columns["rank"].tolist() == [1, 2] and listed.columns["peak"].tolist() == [3, 9]
        assert np.isnan(listed.columns["pixels"]).all() and listed.facts == {}

    def test_ranks_that_a_format_keeps_as_text_are_numbers(self, tmp_path):
        path = tmp_path / "other.csv"
        path.write_text("rank,WKT\n10,POINT (0 0)\n2,POINT (1 0)\n,POINT (2 0)\n1.5,POINT (3 0)\n", encoding="utf-8")
        regions = RegionSource.of_file(path)
        assert regions.ranks == (10, 2, None, 1.5)
        assert regions.first(4).ranks == (1.5, 2, 10, None)

    def test_a_file_is_told_from_one_that_took_its_name(self, tmp_path):
        path = tmp_path / "a.txt"
        assert file_state(str(path)) is None
        path.write_text("one")
        before = file_state(str(path))
        path.write_text("other")
        assert file_state(str(path)) == before, "the same file with other content"
        (tmp_path / "b.txt").write_text("two")
        os.replace(tmp_path / "b.txt", path)
        assert file_state(str(path)) != before

    def test_what_a_result_was_made_from_is_found_where_both_were_moved_to(self, found, tmp_path):
        assert related_file(found.paths.map, found.paths.regions) == found.paths.map
        moved = "/somewhere/else/" + os.path.basename(found.paths.map)
        assert related_file(moved, found.paths.regions) == found.paths.map
        assert related_file(moved, str(tmp_path / "regions.gpkg")) is None
        assert related_file(None, found.paths.regions) is None

    def test_an_unreadable_file(self, tmp_path):
        with pytest.raises(ValueError, match="cannot be read as regions"):
            read_regions(str(tmp_path / "none.gpkg"))


class TestSpectrumFiles:
    AXIS = np.array([500.0, 400.0, 600.0, 700.0])
    SPECTRA = (np.array([1.0, 2.0, np.nan, 4.0]), np.array([5.0, 6.0, 7.0, 8.0]))

    def test_csv_leaves_gaps_empty(self):
        lines = spectra_csv(self.AXIS, True, ["a", "b, c"], self.SPECTRA).splitlines()
        assert lines == ['wavelength_nm,a,"b, c"', "500,1,5", "400,2,6", "600,,7", "700,4,8"]

    def test_an_envi_library_is_as_its_format_says(self, tmp_path):
        path = str(tmp_path / "spectra.sli")
        write_spectra(path, self.AXIS, True, ["roof, red", "expected"], self.SPECTRA)
        np.testing.assert_array_equal(np.fromfile(path, "<f4").reshape(2, 3), [[2, 1, 4], [6, 5, 8]])
        lines = (tmp_path / "spectra.hdr").read_text(encoding="utf-8").splitlines()
        header = dict(line.split(" = ") for line in lines[1:])
        assert lines[0] == "ENVI" and header["file type"] == "ENVI Spectral Library" and header["wavelength units"] == "Nanometers"
        assert (header["samples"], header["lines"], header["data type"]) == ("3", "2", "4")
        assert header["wavelength"] == "{400, 500, 700}" and header["spectra names"] == "{roof  red, expected}"

    def test_other_names_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="ends in .sli"):
            write_spectra(str(tmp_path / "a.txt"), self.AXIS, True, ["a"], self.SPECTRA[:1])
        with pytest.raises(ValueError, match="no band in common"):
            write_spectra(str(tmp_path / "a.sli"), self.AXIS, True, ["a"], [np.full(4, np.nan)])
