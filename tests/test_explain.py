"""Explain anomalies: shares of the bands, expected background, report and tables."""

import csv

import numpy as np
import pytest
import torch
from conftest import DATA
from scipy import ndimage

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.fers import FERS
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.registry import DETECTORS
from scoread_qgis.detectors.shared.expected_spectrum import expected_spectrum
from scoread_qgis.detectors.shared.explanation import expected_backgrounds, most_similar, path_contributions, region_spectra
from scoread_qgis.detectors.shared.half_whitening import HalfWhitening


class Labels:
    """Regions in memory."""

    def __init__(self, labels):
        self._labels, self.count = labels, int(labels.max())

    def labels(self, first, last):
        return self._labels[first:last]


@pytest.fixture(scope="module")
def scene(sample):
    values = sample.scene.cube.astype(np.float32) * sample.scene.scale
    cube = ArrayCube(values[..., sample.scene.good], wavelengths=sample.scene.wavelengths[sample.scene.good], rows_per_block=13)
    labels, _ = ndimage.label(sample.truth, np.ones((3, 3)))
    return cube, Labels(labels), sample.truth


class TestRegionSpectra:
    def test_equal_those_of_the_whole_array(self, scene):
        cube, regions, _ = scene
        seen = region_spectra(cube, regions)
        values, labels = cube.read(0, cube.rows)[0], regions.labels(0, cube.rows)
        for number in range(1, regions.count + 1):
            assert seen.mean[number - 1] == pytest.approx(values[labels == number].mean(0), rel=1e-5)
        assert seen.centres == pytest.approx(np.array(ndimage.center_of_mass(labels > 0, labels, range(1, regions.count + 1))))
        boxes = [(rows.start, rows.stop - 1, columns.start, columns.stop - 1) for rows, columns in ndimage.find_objects(labels)]
        assert seen.boxes.tolist() == [list(box) for box in boxes]
        assert seen.rest == pytest.approx(values[labels == 0].mean(0), rel=1e-5)

    def test_pixels_without_data_do_not_count(self):
        values = np.ones((4, 4, 2), np.float32)
        values[0, 0] = np.nan
        labels = np.zeros((4, 4), int)
        labels[0, :2], labels[3, 3] = 1, 2
        seen = region_spectra(ArrayCube(values), Labels(labels))
        assert seen.pixels.tolist() == [1, 1]
        assert seen.mean[0].tolist() == [1, 1]


class TestPathContributions:
    def test_closed_form_of_a_quadratic(self):
        """Along a straight line, the integrated gradient of v'Av is v_b (Av)_b from the origin."""
        generator = torch.Generator().manual_seed(0)
        root = torch.randn(6, 6, generator=generator)
        matrix, end = root @ root.T, torch.randn(3, 6, generator=generator)
        contributions, first, last = path_contributions(lambda x: ((x @ matrix) * x).sum(1), torch.zeros(3, 6), end)
        assert contributions.numpy() == pytest.approx((end * (end @ matrix)).numpy(), rel=1e-3, abs=1e-3)
        assert (first == 0).all()
        assert last.numpy() == pytest.approx(contributions.sum(1).numpy(), rel=1e-4)

    def test_sum_is_exact_where_gradients_miss_something(self):
        """A step has no gradient at all; its rise is shared out all the same."""

        def jump(x):
            return (x[:, 0] > 0.5).float() + 0 * x.sum(1)

        contributions, first, last = path_contributions(jump, torch.zeros(1, 3), torch.ones(1, 3))
        assert (first.item(), last.item()) == (0, 1)
        assert contributions.sum().item() == pytest.approx(1)


def explain(detector, cube, regions):
    """`Explanation` of regions, and what is seen in them."""
    seen = region_spectra(cube, regions)
    backgrounds = np.stack([expected.spectrum for expected in expected_backgrounds(cube, regions, seen)])
    return detector.bind(cube).explain(seen.mean, seen.centres, backgrounds), seen


class TestExpectedBackgrounds:
    def test_are_those_of_the_surroundings_without_the_other_regions(self, scene):
        cube, regions, _ = scene
        values, valid = cube.read(0, cube.rows)
        labels = regions.labels(0, cube.rows)
        found = expected_backgrounds(cube, regions, region_spectra(cube, regions))
        components = HalfWhitening.fit(torch.from_numpy(values[valid]))(torch.from_numpy(values)).numpy()
        deviation = values[valid].std(0)
        for number, expected in enumerate(found, 1):
            whole = expected_spectrum(values, components, valid, labels == number, (labels > 0) & (labels != number))
            assert expected.pixels == whole.pixels  # the window cuts nothing off
            assert np.abs((expected.spectrum - whole.spectrum) / deviation).max() < 0.05  # the sample of the scene makes the difference
            assert (expected.low < expected.spectrum).all() and (expected.spectrum < expected.high).all()

    def test_without_surroundings_it_is_the_mean_of_the_scene(self, scene):
        cube, _, truth = scene
        labels = np.ones(truth.shape, int)
        labels[0] = 0  # nothing valid there
        valid = labels > 0
        alone = ArrayCube(cube.read(0, cube.rows)[0], valid)
        (expected,) = expected_backgrounds(alone, Labels(labels), region_spectra(alone, Labels(labels)))
        assert expected.pixels == 0 and np.isnan(expected.low).all()
        assert expected.spectrum == pytest.approx(alone.read(0, alone.rows)[0][valid].mean(0), rel=1e-3)

    def test_a_region_that_is_too_large_to_hold_is_not_held(self):
        values = np.random.default_rng(0).normal(size=(300, 300, 2)).astype(np.float32)
        labels = np.zeros((300, 300), int)
        labels[20:280, 20:280] = 1
        cube = ArrayCube(values)
        (expected,) = expected_backgrounds(cube, Labels(labels), region_spectra(cube, Labels(labels)))
        assert expected.pixels == 0
        assert expected.spectrum == pytest.approx(values[labels == 0].mean(0), rel=1e-4)


@pytest.fixture(scope="module", params=["default", "paper", "paper, conditional", "fers", "rx", "rx-local"])
def explained(request, scene):
    """Kind of detector, detector, cube, what is seen in the regions, explanation."""
    cube, regions, _ = scene
    if request.param == "default":
        detector = SGM.train([cube])
    elif request.param.startswith("rx"):
        detector = DETECTORS[request.param]()
    elif request.param == "fers":
        detector = FERS.train([cube], epochs=1, patch=16)
    else:
        detector = PaperSGM.train([cube], epochs=2, conditional="conditional" in request.param)
    explanation, seen = explain(detector, cube, regions)
    return request.param, detector, cube, seen, explanation


class TestDetectors:
    def test_contributions_sum_to_the_score(self, explained):
        _, _, _, seen, explanation = explained
        assert explanation.background_scores + explanation.contributions.sum(1) == pytest.approx(explanation.scores, rel=1e-4)
        assert explanation.contributions.shape == seen.mean.shape

    def test_the_expected_background_is_less_anomalous(self, explained):
        kind, _, _, _, explanation = explained
        if "paper" in kind:
            pytest.skip("two epochs make no detector; test_paper_mode does this with the authors' weights")
        assert (explanation.background_scores < 0.65 * explanation.scores).all()


def test_score_is_the_one_that_detection_gives(scene):
    """A scene made of one region's spectrum alone has the anomaly value of its mean spectrum everywhere."""
    cube, regions, _ = scene
    detector, seen = PaperSGM.train([cube], epochs=1), region_spectra(cube, regions)
    flat = ArrayCube(np.broadcast_to(seen.mean[0].astype(np.float32), (4, 30, cube.bands)))
    (_, scores), *_ = detector.detect(flat)
    # Both are over 100 perturbations, of which each pixel has its own.
    assert scores.mean() == pytest.approx(explain(detector, cube, regions)[0].scores[0], rel=0.1)


def test_score_of_the_default_mode_is_the_one_that_detection_fuses(scene):
    cube, regions, _ = scene
    detector, seen = SGM.train([cube]), region_spectra(cube, regions)
    values = cube.read(0, cube.rows)[0].copy()
    row, column = np.round(seen.centres[0]).astype(int)
    values[row - 1 : row + 2, column - 1 : column + 2] = seen.mean[0]  # among its like
    parts = [part[row, column] for part in detector.bind(ArrayCube(values)).parts().values()]
    assert np.sqrt(np.mean(np.square(parts))) == pytest.approx(explain(detector, cube, regions)[0].scores[0], rel=0.02)


class TestMostSimilar:
    def test_against_all_angles(self, scene):
        cube, regions, _ = scene
        seen = region_spectra(cube, regions)
        similar = most_similar(cube, seen.mean, seen.boxes)
        values = cube.read(0, cube.rows)[0].astype(np.float64)
        for i, mean in enumerate(seen.mean):
            cosine = values @ mean / (np.linalg.norm(values, axis=2) * np.linalg.norm(mean))
            top, bottom, left, right = seen.boxes[i].astype(int)
            cosine[max(top - 3, 0) : bottom + 4, max(left - 3, 0) : right + 4] = -2
            assert similar.angles[i] == pytest.approx(np.degrees(np.arccos(cosine.max())), abs=0.05)
            row, column = similar.positions[i]
            assert similar.spectra[i] == pytest.approx(values[row, column])

    def test_nothing_elsewhere(self):
        similar = most_similar(ArrayCube(np.ones((3, 3, 4), np.float32)), np.ones((1, 4)), np.array([[1, 1, 1, 1]]))
        assert similar.positions.tolist() == [[-1, -1]]
        assert np.isnan(similar.angles[0])


class TestSampling:
    def test_default_mode_gives_the_gaussian_of_the_background(self, scene):
        cube, _, _ = scene
        detector = SGM.train([cube])
        drawn = detector.sample(20_000, seed=1)
        gaussian = detector.distances["gaussian"]  # on spectra that are scaled, which it scales once more
        scale = (gaussian.scale * detector.scale).numpy()
        mean = ((gaussian.mean * gaussian.scale + gaussian.centre) * detector.scale + detector.centre).numpy()
        whitening = gaussian.whitening.double().numpy()
        covariance = np.linalg.inv(whitening @ whitening.T) * np.outer(scale, scale)
        deviations = np.sqrt(np.diag(covariance))
        assert np.abs((drawn.mean(0) - mean) / deviations).max() < 5 / np.sqrt(len(drawn))
        assert np.abs((np.cov(drawn.T) - covariance) / np.outer(deviations, deviations)).max() < 5 * np.sqrt(2 / len(drawn))
        values, valid = cube.read(0, cube.rows)
        real = values[valid]
        assert np.abs((drawn.mean(0) - real.mean(0)) / real.std(0)).max() < 0.25
        assert np.median(drawn.std(0) / real.std(0)) == pytest.approx(1, abs=0.35)  # the fit leaves the farthest 2 % out
        assert (detector.sample(5, seed=1) == detector.sample(5, seed=1)).all()


@pytest.fixture(scope="module")
def model(sample, tmp_path_factory, provider):
    """A model file of the sample scene."""
    import processing

    path = str(tmp_path_factory.mktemp("model") / "model.pt")
    processing.run("scoread:train_sgm", {"INPUT": sample.path, "MODEL": path})
    return path


@pytest.fixture(scope="module")
def regions(sample, tmp_path_factory):
    """The true anomalies of the sample scene as polygons with ids and ranks, by size."""
    from osgeo import gdal, ogr, osr

    path = str(tmp_path_factory.mktemp("regions") / "regions.gpkg")
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(sample.scene.epsg)
    scene, size = gdal.Open(sample.path), sample.truth.shape[::-1]
    labels, count = ndimage.label(sample.truth)  # as GDAL's polygons: side by side
    raster = gdal.GetDriverByName("MEM").Create("", *size, 1, gdal.GDT_Int32)
    raster.SetGeoTransform(scene.GetGeoTransform())
    raster.GetRasterBand(1).WriteArray(labels)
    store = ogr.GetDriverByName("GPKG").CreateDataSource(path)
    layer = store.CreateLayer("regions", reference, ogr.wkbPolygon)
    for name in ("id", "rank"):
        layer.CreateField(ogr.FieldDefn(name, ogr.OFTInteger))
    gdal.Polygonize(raster.GetRasterBand(1), raster.GetRasterBand(1), layer, 0)
    pixels = np.bincount(labels.ravel())[1:]
    ranks = np.argsort(np.argsort(-pixels, kind="stable")) + 1
    for feature in layer:
        feature["rank"] = int(ranks[feature["id"] - 1])
        layer.SetFeature(feature)
    del layer, store
    assert count == 3
    return path


class TestAlgorithm:
    def test_report_and_tables(self, run, sample, model, regions, tmp_path):
        done = run(
            "explain_anomalies", INPUT=sample.path, MODEL=model, REGIONS=regions, TOP=2,
            REPORT=str(tmp_path / "why.html"), TABLE=str(tmp_path / "why.csv"), SPECTRA=str(tmp_path / "spectra.csv"),
        )  # fmt: skip
        assert done.COUNT == 2
        rows = list(csv.DictReader((tmp_path / "why.csv").open(encoding="utf-8")))
        assert [int(row["rank"]) for row in rows] == [1, 2]
        lines = list(csv.DictReader((tmp_path / "spectra.csv").open(encoding="utf-8")))
        for row in rows:
            of_region = [line for line in lines if line["rank"] == row["rank"]]
            total = sum(float(line["contribution"]) for line in of_region)
            assert float(row["background_value"]) + total == pytest.approx(float(row["mean_spectrum_value"]), rel=1e-4)
            for line in of_region:
                assert float(line["background_low"]) <= float(line["background"]) <= float(line["background_high"])
            largest = max(of_region, key=lambda line: float(line["contribution"]))
            assert row["band_1"] == largest["band"]
            assert row["band_1"].endswith(" nm")
        page = (tmp_path / "why.html").read_text(encoding="utf-8")
        assert page.count("data:image/svg+xml") == 3  # the map, and the spectra of two regions
        assert "Not explained here" in page
        assert "covers the true one in 90 % of the cases" in page
        assert 'src="http' not in page and "<script" not in page and "url(" not in page.replace("data:image", "")
        assert "; the first 2 are explained" in done.log

    def test_points_and_regions_without_rank(self, run, sample, model, tmp_path):
        from qgis.core import QgsFeature, QgsGeometry, QgsPointXY, QgsVectorLayer

        layer = QgsVectorLayer(f"Point?crs=EPSG:{sample.scene.epsg}", "points", "memory")
        size = sample.scene.pixel_size
        rows, columns = np.nonzero(sample.truth)
        for row, column in [(2, 2), (rows[0], columns[0])]:
            feature = QgsFeature()
            feature.setGeometry(
                QgsGeometry.fromPointXY(
                    QgsPointXY(sample.scene.origin[0] + (column + 0.5) * size, sample.scene.origin[1] - (row + 0.5) * size)
                )
            )
            layer.dataProvider().addFeature(feature)
        done = run("explain_anomalies", INPUT=sample.path, MODEL=model, REGIONS=layer, TABLE=str(tmp_path / "why.csv"))
        rows_read = list(csv.DictReader((tmp_path / "why.csv").open(encoding="utf-8")))
        assert done.COUNT == 2
        assert float(rows_read[0]["mean_spectrum_value"]) > float(
            rows_read[1]["mean_spectrum_value"]
        )  # the anomaly first, though the layer has it last

    def test_no_regions_is_no_error(self, run, sample, model, tmp_path):
        from qgis.core import QgsVectorLayer

        empty = QgsVectorLayer(f"Polygon?crs=EPSG:{sample.scene.epsg}", "none", "memory")
        done = run("explain_anomalies", INPUT=sample.path, MODEL=model, REGIONS=empty, REPORT=str(tmp_path / "why.html"))
        assert done.COUNT == 0
        assert "no region to explain" in (tmp_path / "why.html").read_text(encoding="utf-8")

    def test_regions_elsewhere(self, run, sample, model, tmp_path):
        from qgis.core import QgsFeature, QgsGeometry, QgsProcessingException, QgsRectangle, QgsVectorLayer

        layer = QgsVectorLayer(f"Polygon?crs=EPSG:{sample.scene.epsg}", "far away", "memory")
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(0, 0, 10, 10)))
        layer.dataProvider().addFeature(feature)
        with pytest.raises(QgsProcessingException, match="No region of far away holds a valid pixel"):
            run("explain_anomalies", INPUT=sample.path, MODEL=model, REGIONS=layer, REPORT=str(tmp_path / "why.html"))
        assert not (tmp_path / "why.html").exists()

    def test_without_matplotlib_the_tables_remain(self, run, sample, model, regions, tmp_path, monkeypatch):
        import importlib.util

        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else find(name, *rest))
        run("explain_anomalies", INPUT=sample.path, MODEL=model, REGIONS=regions, TOP=2, REPORT=str(tmp_path / "why.html"))
        page = (tmp_path / "why.html").read_text(encoding="utf-8")
        assert "need matplotlib" in page
        assert "data:image" not in page
        assert page.count("<table>") == 5

    def test_other_endings_are_refused(self, run, sample, model, regions, tmp_path):
        from qgis.core import QgsProcessingException

        with pytest.raises(QgsProcessingException, match=r"ends in \.csv"):
            run("explain_anomalies", INPUT=sample.path, MODEL=model, REGIONS=regions, TABLE=str(tmp_path / "why.txt"))


@pytest.mark.needs_data
def test_real_anomalies_score_higher_than_what_was_expected_there():
    from scoread_qgis.scenes.matlab import read_matlab

    scene = read_matlab(DATA / "scenes" / "hydice.mat")
    cube = ArrayCube(scene.cube.astype(np.float32))
    labels, count = ndimage.label(scene.truth > 0, np.ones((3, 3)))
    labels[60:63, 10:13] = count + 1  # background
    regions = Labels(labels)
    explanation, _ = explain(SGM.train([cube]), cube, regions)
    assert (explanation.scores[:count] > 4 * explanation.scores[count]).all()
    assert (explanation.background_scores[:count] < 0.5 * explanation.scores[:count]).all()
    assert explanation.background_scores[count] < 1
