"""Extract anomalies, run as QGIS runs it: polygons, mask, numbers, styles, errors, cancel, and a map larger than the memory."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from conftest import LogFeedback, read
from osgeo import gdal, ogr, osr

from scoread_qgis.scenes.writer import write_scene

UTM = osr.SpatialReference()
UTM.ImportFromEPSG(32631)


@pytest.fixture
def make_map(tmp_path):
    """Write an anomaly map: make_map(scores, name="map.tif") -> path."""

    def make(scores, name="map.tif"):
        write_scene(
            tmp_path / name, scores, geotransform=(500000, 20, 0, 4600000, 0, -20), crs=UTM.ExportToWkt(),
            nodata=np.nan if scores.dtype.kind == "f" else None
        )  # fmt: skip
        return str(tmp_path / name)

    return make


def background(shape=(120, 100), seed=0):
    return np.random.default_rng(seed).exponential(size=shape).astype(np.float32)


def with_targets():
    """Scores with three targets, the last of two pixels that touch by a corner, and a hole."""
    scores = background()
    scores[10:13, 20:22] = 40
    scores[11, 21] = 50
    scores[60, 70] = 60
    scores[90, 5] = scores[91, 6] = 30
    scores[100:105, 80:90] = np.nan
    return scores


def features(path):
    dataset = ogr.Open(path)
    return [{**feature.items(), "geometry": feature.GetGeometryRef().ExportToWkt()} for feature in dataset.GetLayer(0)]


def test_the_targets_are_found(run, make_map, tmp_path):
    scores = with_targets()
    results = run("threshold_anomalies", INPUT=make_map(scores), RATE=1e-6, REGIONS=str(tmp_path / "r.gpkg"), MASK=str(tmp_path / "m.tif"))
    assert 10 < results.THRESHOLD < 30
    assert results.COUNT == 3
    found = features(results.REGIONS)
    assert [(f["rank"], f["pixels"], f["area"], f["peak"]) for f in found] == [(1, 1, 400, 60), (2, 6, 2400, 50), (3, 2, 800, 30)]
    assert found[0]["p_value"] < found[1]["p_value"] < found[2]["p_value"] < 1e-6
    assert (found[0]["x"], found[0]["y"]) == (500000 + 70.5 * 20, 4600000 - 60.5 * 20)
    mask = read(results.MASK)
    np.testing.assert_array_equal(mask, np.where(np.isnan(scores), 255, scores > results.THRESHOLD))
    dataset = gdal.Open(results.MASK)
    assert dataset.GetRasterBand(1).GetNoDataValue() == 255
    assert dataset.GetSpatialRef().IsSame(UTM)
    assert "Regions: 3, with 9 pixels" in results.log
    assert (np.diff(results.progress) >= 0).all()


def test_connectivity_and_smallest_region(run, make_map, tmp_path):
    source = make_map(with_targets())
    common = {"INPUT": source, "METHOD": 3, "VALUE": 20, "REGIONS": str(tmp_path / "r.gpkg")}
    assert run("threshold_anomalies", CONNECTIVITY=1, **common).COUNT == 4
    results = run("threshold_anomalies", MIN_AREA=2, MASK=str(tmp_path / "m.tif"), **common)
    assert results.COUNT == 2
    assert results.THRESHOLD == 20
    assert (read(results.MASK) == 1).sum() == 8, "small regions are not in the mask either"


def test_other_methods(run, make_map, tmp_path):
    scores = with_targets()
    source, regions = make_map(scores), str(tmp_path / "r.gpkg")
    by_percentile = run("threshold_anomalies", INPUT=source, METHOD=1, PERCENTILE=99.5, REGIONS=regions)
    np.testing.assert_allclose(by_percentile.THRESHOLD, np.nanpercentile(scores, 99.5), rtol=1e-6)
    by_otsu = run("threshold_anomalies", INPUT=source, METHOD=2, REGIONS=regions)
    assert 5 < by_otsu.THRESHOLD < 30
    assert all(0 < feature["p_value"] < 1e-3 for feature in features(regions))


def test_the_layer_comes_styled_and_its_style_stays(provider, make_map, tmp_path, qgis_new_project):
    import processing
    from qgis.core import QgsGraduatedSymbolRenderer, QgsProject, QgsRasterLayer, QgsVectorLayer
    from qgis.PyQt.QtCore import Qt

    source = make_map(with_targets())
    for _ in range(2):
        processing.runAndLoadResults("scoread:threshold_anomalies", {"INPUT": source, "REGIONS": "TEMPORARY_OUTPUT"})
    layers = list(QgsProject.instance().mapLayers().values())
    assert [layer.name() for layer in layers] == ["Regions of map, rate 0.001"] * 2
    regions, mask = str(tmp_path / "r.gpkg"), str(tmp_path / "m.tif")
    processing.run("scoread:threshold_anomalies", {"INPUT": source, "METHOD": 1, "PERCENTILE": 90, "REGIONS": regions, "MASK": mask})
    mask_layer = QgsRasterLayer(mask, "opened later", "gdal")
    (item,) = mask_layer.renderer().classes()
    assert item.value == 1
    assert item.label.startswith("Anomaly (threshold ")
    layers.append(QgsVectorLayer(regions, "opened later", "ogr"))
    for layer in layers:
        assert layer.isValid() and layer.crs().authid() == "EPSG:32631"
        renderer = layer.renderer()
        assert isinstance(renderer, QgsGraduatedSymbolRenderer)
        assert renderer.orderByEnabled() and not renderer.orderBy().list()[0].ascending(), "the highest peak is drawn last"
        for item in renderer.ranges():
            assert all(part.brushStyle() == Qt.BrushStyle.NoBrush for part in item.symbol().symbolLayers()), "outlines only"
        assert all(feature.geometry().isGeosValid() for feature in layer.getFeatures())
    labels = [item.label() for item in layers[-1].renderer().ranges()]
    assert labels[0].startswith("Rank 1 to 5 (threshold ") and labels[1:3] == ["Rank 6 to 20", "Rank 21 to 100"]


def test_in_a_model(provider, sample, tmp_path):
    """The regions of a detection, as a chain of the model designer."""
    import processing
    from qgis.core import (
        QgsProcessingModelAlgorithm,
        QgsProcessingModelChildAlgorithm,
        QgsProcessingModelChildParameterSource,
        QgsProcessingModelOutput,
        QgsProcessingModelParameter,
        QgsProcessingParameterRasterLayer,
    )

    model = QgsProcessingModelAlgorithm("chain", "test")
    model.addModelParameter(QgsProcessingParameterRasterLayer("SCENE", "Scene"), QgsProcessingModelParameter("SCENE"))
    detect = QgsProcessingModelChildAlgorithm("scoread:detect_rx")
    detect.setChildId("detect")
    detect.addParameterSources("INPUT", [QgsProcessingModelChildParameterSource.fromModelParameter("SCENE")])
    model.addChildAlgorithm(detect)
    extract = QgsProcessingModelChildAlgorithm("scoread:threshold_anomalies")
    extract.setChildId("extract")
    extract.addParameterSources("INPUT", [QgsProcessingModelChildParameterSource.fromChildOutput("detect", "OUTPUT")])
    extract.addParameterSources("RATE", [QgsProcessingModelChildParameterSource.fromStaticValue(0.01)])
    output = QgsProcessingModelOutput("regions")
    output.setChildId("extract")
    output.setChildOutputName("REGIONS")
    extract.setModelOutputs({"regions": output})
    model.addChildAlgorithm(extract)
    model.initAlgorithm()
    results = processing.run(model, {"SCENE": sample.path, "extract:regions": str(tmp_path / "r.gpkg")})
    assert results["extract:regions"] == str(tmp_path / "r.gpkg")
    assert features(str(tmp_path / "r.gpkg"))


class TestBadInput:
    def fails(self, run, tmp_path, message, **parameters):
        from qgis.core import QgsProcessingException

        with pytest.raises(QgsProcessingException, match=message):
            run("threshold_anomalies", **{"REGIONS": str(tmp_path / "r.gpkg"), "MASK": str(tmp_path / "m.tif"), **parameters})
        assert not (tmp_path / "r.gpkg").exists()
        assert not (tmp_path / "m.tif").exists()

    def test_maps(self, run, make_map, tmp_path):
        self.fails(run, tmp_path, "has no scored pixel", INPUT=make_map(np.full((40, 40), np.nan, np.float32)))
        constant = make_map(np.full((40, 40), 3, np.float32), "constant.tif")
        self.fails(run, tmp_path, "only 0 different values.*Use a percentile or a value", INPUT=constant)
        self.fails(run, tmp_path, "All scores are equal", INPUT=constant, METHOD=2)
        self.fails(run, tmp_path, "at least 500 scored pixels", INPUT=make_map(background((20, 20)), "small.tif"))

    def test_parameters(self, run, make_map, tmp_path):
        source = make_map(background())
        self.fails(run, tmp_path, "no value is given", INPUT=source, METHOD=3)
        self.fails(run, tmp_path, "Choose one between 0 and 100", INPUT=source, METHOD=1, PERCENTILE=100)
        self.fails(run, tmp_path, r"ends in \.gpkg", INPUT=source, REGIONS=str(tmp_path / "r.shp"))
        self.fails(run, tmp_path, "cannot be written", INPUT=source, REGIONS="/proc/nowhere/r.gpkg")
        for rate in (0, 1, -0.1):
            self.fails(run, tmp_path, "RATE", INPUT=source, RATE=rate)

    def test_the_input_is_never_changed(self, run, make_map, tmp_path):
        source = make_map(background())
        before = Path(source).read_bytes()
        self.fails(run, tmp_path, "is the input itself", INPUT=source, MASK=source)
        assert Path(source).read_bytes() == before
        container = str(tmp_path / "in.gpkg")
        gdal.Translate(container, source, format="GPKG")
        before = Path(container).read_bytes()
        self.fails(run, tmp_path, "is the input itself", INPUT=container, REGIONS=container)
        assert Path(container).read_bytes() == before


def test_nothing_above_the_threshold_is_no_error(run, make_map, tmp_path):
    results = run(
        "threshold_anomalies",
        INPUT=make_map(background()),
        METHOD=3,
        VALUE=1000,
        REGIONS=str(tmp_path / "r.gpkg"),
        MASK=str(tmp_path / "m.tif"),
    )
    assert results.COUNT == 0
    assert features(results.REGIONS) == []
    assert (read(results.MASK) == 0).all()
    assert "the result is empty" in results.log


def test_a_map_and_its_regions_of_one_name_keep_their_styles(run, make_map, tmp_path, sample):
    """As a batch makes them: one folder, and the names of the scenes."""
    from qgis.core import QgsRasterLayer, QgsVectorLayer

    scores = run("detect_rx", INPUT=sample.path, OUTPUT=str(tmp_path / "one.tif")).OUTPUT
    regions = run("threshold_anomalies", INPUT=scores, RATE=0.01, REGIONS=str(tmp_path / "one.gpkg")).REGIONS
    assert QgsVectorLayer(regions, "regions", "ogr").renderer().type() == "graduatedSymbol"
    assert QgsRasterLayer(scores, "scores").renderer().type() == "singlebandpseudocolor"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.gpkg", "one.qml", "one.tif"]


def test_maps_without_a_fit_have_no_p_values(run, make_map, tmp_path):
    """A classified map of a few different values, of integers."""
    scores = np.random.default_rng(0).integers(0, 5, (60, 60)).astype(np.uint8)
    results = run("threshold_anomalies", INPUT=make_map(scores), METHOD=3, VALUE=3, REGIONS=str(tmp_path / "r.gpkg"))
    assert "No p-values" in results.log
    assert {feature["p_value"] for feature in features(results.REGIONS)} == {None}
    assert {feature["peak"] for feature in features(results.REGIONS)} == {4}


def test_a_map_of_several_bands(run, tmp_path):
    write_scene(tmp_path / "two.tif", np.stack([with_targets(), background()], axis=2), nodata=np.nan)
    from qgis.core import QgsProcessingException

    with pytest.raises(QgsProcessingException, match="two has 2 bands, and an anomaly map has one. For a scene, make its map first"):
        run("threshold_anomalies", INPUT=str(tmp_path / "two.tif"), RATE=1e-6, REGIONS=str(tmp_path / "r.gpkg"))
    assert not (tmp_path / "r.gpkg").exists()


@pytest.mark.parametrize("at", [5, 40, 60, 80])
def test_cancel_leaves_nothing(provider, make_map, tmp_path, at):
    import processing
    from qgis.core import QgsProcessingException

    feedback = LogFeedback()
    feedback.progressChanged.connect(lambda percent: feedback.cancel() if percent >= at else None)
    source = make_map(background((3000, 1500)))
    with pytest.raises(QgsProcessingException, match="^Cancelled: nothing was written.$"):
        processing.run(
            "scoread:threshold_anomalies",
            {"INPUT": source, "RATE": 0.02, "REGIONS": str(tmp_path / "r.gpkg"), "MASK": str(tmp_path / "m.tif")},
            feedback=feedback,
        )
    assert {p.name for p in tmp_path.iterdir()} <= {"map.tif", "map.tif.aux.xml"}, "the latter is of QGIS itself"


@pytest.mark.only_on("linux")
def test_a_large_map_is_never_in_memory_whole(tmp_path):
    """6000 × 6000 pixels, 137 MB as they are read, with 16 MB to read them."""
    driver = gdal.GetDriverByName("GTiff")
    dataset = driver.Create(str(tmp_path / "large.tif"), 6000, 6000, 1, gdal.GDT_Float32, ["TILED=YES"])
    for row in range(0, 6000, 500):
        scores = background((500, 6000), row)
        scores[250, ::100] = 100
        dataset.GetRasterBand(1).WriteArray(scores, 0, row)
    del dataset
    code = f"""
        import resource, sys
        sys.path[:0] = {sys.path!r}
        import numpy, scipy.ndimage, scipy.optimize, scipy.sparse.csgraph
        from osgeo import gdal, ogr
        gdal.SetCacheMax(16 * 2**20)
        from scoread_qgis.workflows import extract
        from scoread_qgis.workflows.run import Run
        from scoread_qgis.workflows.sources import RasterSource
        extract.SAMPLE = 100_000
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        extraction = extract.Extraction(
            RasterSource({str(tmp_path / "large.tif")!r}), {str(tmp_path / "r.gpkg")!r}, {str(tmp_path / "m.tif")!r}, rate=1e-7
        )
        print(extract.extract(extraction, Run(16 * 2**20))[1])
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, count, megabytes = done.stdout.split()
    assert 720 <= int(count) < 800
    assert float(megabytes) < 120


@pytest.mark.only_on("linux", "darwin")
@pytest.mark.parametrize("limit", [60_000, 400_000])
def test_a_full_disk_is_told_and_leaves_nothing(make_map, tmp_path, limit):
    """A limit on the size of files stands for the full disk."""
    source = make_map(background((700, 700)))
    code = f"""
        import resource, signal, sys
        sys.path[:0] = {sys.path!r}
        from scoread_qgis.workflows.extract import Extraction, extract
        from scoread_qgis.workflows.run import Run
        from scoread_qgis.workflows.sources import RasterSource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            extract(Extraction(RasterSource({source!r}), {str(tmp_path / "r.gpkg")!r}, method="percentile", percentile=90), Run(2**20))
        except ValueError as error:
            print(error)
            sys.exit(3)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "cannot be written" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"map.tif"}
