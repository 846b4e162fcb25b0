"""Maps, masks and regions carry how they were made, and nothing that is nobody's business."""

import re
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from conftest import read
from osgeo import gdal

from scoread_qgis.commandline.main import main
from scoread_qgis.scenes.extent import Extent
from scoread_qgis.scenes.provenance import PREFIX, provenance_of, without_secrets
from scoread_qgis.scenes.score_map import ScoreMap
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene
from scoread_qgis.workflows.detect import Detection, detect
from scoread_qgis.workflows.extract import Extraction, extract
from scoread_qgis.workflows.run import Run, plugin_version
from scoread_qgis.workflows.sources import MaskSource, RasterSource
from scoread_qgis.workflows.train import Training, train

ALWAYS = {"asked", "scene", "scene_name", "detector", "detector_title", "model", "seed", "bands", "versions", "date"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a scene, the same in other units, a mask, and models of the first in both modes."""
    folder = tmp_path_factory.mktemp("provenance")
    scene = simulate_scene(60, 50, 40, seed=1)
    grid = (500000, 2, 0, 4600000, 0, -2)
    write_scene(folder / "scene.tif", scene.cube, grid, wavelengths=scene.wavelengths)
    write_scene(folder / "other.tif", (scene.cube * 1e-4).astype(np.float32), grid, wavelengths=scene.wavelengths)
    write_scene(folder / "mask.tif", np.pad(np.ones((50, 40), np.uint8), 5), grid)
    source = [RasterSource(str(folder / "scene.tif"))]
    train(Training("sgm", source, str(folder / "model.pt"), seed=5, settings={"hidden": 64}), Run(2**28))
    paper = {"epochs": 1, "hidden": 8, "samples": 200, "batch_size": 100}
    train(Training("sgm-paper", source, str(folder / "paper.pt"), settings=paper), Run(2**28))
    return folder


def make(files, output, scene="scene.tif", name="My 'scene'", **how):
    detection = Detection(RasterSource(str(files / scene), name), str(output), **how)
    detect(detection, Run(2**28, log=lambda line: None, host={"qgis": "3.22"}))
    return provenance_of(output)


def test_a_learnt_map_tells_all_of_its_making(files, tmp_path):
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    extent = Extent(500004, 4600000 - 100, 500090, 4600000)
    facts = make(files, tmp_path / "map.tif", settings={"hidden": 64}, seed=7, bands=(1, 2, 3, 5, 9, 10, 11, 12, 13, 14, 15), extent=extent,
                 mask=MaskSource("fields", source=str(files / "mask.tif")))  # fmt: skip
    assert set(facts) == ALWAYS | {"settings", "mask", "area"}
    assert facts["scene"] == str(files / "scene.tif")
    assert (facts["scene_name"], facts["mask"], facts["area"]) == ("My 'scene'", "fields", "500004 4599900 500090 4600000")
    assert (facts["detector"], facts["detector_title"], facts["model"]) == ("sgm", "SGM, default mode", "learnt from the scene")
    assert (facts["settings"], facts["seed"], facts["bands"]) == ("hidden = 64", "7", "1-3, 5, 9-15 of 40")
    assert f"scoread_qgis {plugin_version()}" in facts["versions"] and "torch" in facts["versions"] and "qgis 3.22" in facts["versions"]
    assert before <= datetime.fromisoformat(facts["date"]) <= datetime.now(timezone.utc)
    assert facts["date"].endswith("+00:00")
    assert ScoreMap(str(tmp_path / "map.tif")).metadata == facts


def test_a_map_by_a_model_file_tells_of_it_and_of_the_fit(files, tmp_path):
    model = str(files / "model.pt")
    facts = make(files, tmp_path / "map.tif", model=model)
    assert (facts["model"], facts["model_seed"], facts["settings"]) == (model, "5", "hidden = 64")
    assert 0.9 < float(facts["fit"]) <= 1
    adapted = make(files, tmp_path / "map.tif", "other.tif", model=model, seed=3)
    assert (adapted["model"], adapted["seed"]) == (f"{model}, adapted to the scene", "3")
    assert float(adapted["fit"]) < 0.9
    assert make(files, tmp_path / "map.tif", "other.tif", model=model, unfit="warn")["model"] == model


def test_options_of_the_detector_are_told(files, tmp_path):
    facts = make(files, tmp_path / "map.tif", model=str(files / "paper.pt"), options={"perturbations": 4, "seed": 9, "readout": "sum"})
    assert (facts["options"], facts["seed"], facts["detector"]) == ("perturbations = 4", "9", "sgm-paper")


def test_a_map_of_rx_needs_no_model(files, tmp_path):
    facts = make(files, tmp_path / "map.tif", kind="rx")
    assert set(facts) == ALWAYS and facts["model"] == "none is needed"
    settings = make(files, tmp_path / "map.tif", kind="rx-local", extent=Extent(500004, 4599940, 500020, 4599960), learn_area=True)
    assert re.fullmatch(r"inner\w* = 5, outer\w* = 15", settings["settings"])
    assert settings["area"].endswith("learnt from it alone")


def test_regions_and_masks_carry_the_facts_of_the_map_and_their_own(files, tmp_path):
    facts = make(files, tmp_path / "map.tif", kind="rx")
    source = RasterSource(str(tmp_path / "map.tif"), "RX of it")
    regions, mask = str(tmp_path / "r.gpkg"), str(tmp_path / "m.tif")
    threshold, _ = extract(Extraction(source, regions, mask, rate=0.01, min_area=2), Run(2**28, log=lambda line: None))
    found = provenance_of(regions)
    assert {name: found[name] for name in facts} == facts
    own = {name: text for name, text in found.items() if name not in facts}
    assert own.pop("extracted").endswith("+00:00") and "scoread_qgis" in own.pop("extracted_with")
    assert float(own.pop("threshold")) == pytest.approx(threshold, rel=1e-8)
    assert own == {"map": source.source, "map_name": "RX of it", "method": "False-alarm rate", "rate": "0.01", "min_area": "2",
                   "connectivity": "8"}  # fmt: skip
    assert provenance_of(mask) == found
    np.testing.assert_array_equal(np.unique(read(mask)), [0, 1])
    extract(Extraction(source, regions, method="percentile", percentile=98), Run(2**28, log=lambda line: None))
    found = provenance_of(regions)
    assert (found["method"], found["percentile"]) == ("Percentile", "98") and "rate" not in found


def test_a_map_of_elsewhere_has_no_facts_of_its_own(tmp_path):
    write_scene(tmp_path / "map.tif", np.random.default_rng(0).random((40, 40)).astype(np.float32))
    assert ScoreMap(str(tmp_path / "map.tif")).metadata == {} == provenance_of(tmp_path / "none.tif")
    extract(Extraction(RasterSource(str(tmp_path / "map.tif")), str(tmp_path / "r.gpkg"), method="otsu"), Run(2**28, log=lambda line: None))
    assert "scene" not in provenance_of(tmp_path / "r.gpkg") and provenance_of(tmp_path / "r.gpkg")["method"] == "Otsu"


def test_info_tells_maps_masks_and_regions(files, tmp_path, capsys):
    make(files, tmp_path / "map.tif", kind="rx")
    paths = [str(tmp_path / name) for name in ("map.tif", "r.gpkg", "m.tif")]
    _, count = extract(Extraction(RasterSource(paths[0]), *paths[1:]), Run(2**28, log=lambda line: None))
    capsys.readouterr()
    assert main(["info", *paths, str(files / "scene.tif")]) == 0
    told = capsys.readouterr().out
    assert f"{paths[0]}: anomaly map\n  size: 60 rows, 50 columns\n  CRS: none\n" in told
    assert f"{paths[1]}: regions\n  regions: {count}\n" in told and f"{paths[2]}: mask of regions" in told
    assert f"{files / 'scene.tif'}: scene" in told
    for name, text in provenance_of(paths[1]).items():
        assert told.count(f"  {name.replace('_', ' ')}: {text}\n") == (
            2 if name in set(provenance_of(paths[1])) - set(provenance_of(paths[0])) else 3
        )


def test_qgis_shows_the_facts_among_the_properties_of_the_layers(run, files, tmp_path):
    from qgis.core import QgsRasterLayer, QgsVectorLayer

    map_path = run("detect_rx", INPUT=str(files / "scene.tif"), OUTPUT=str(tmp_path / "map.tif")).OUTPUT
    regions = run("threshold_anomalies", INPUT=map_path, REGIONS=str(tmp_path / "r.gpkg")).REGIONS
    for layer, wanted in ((QgsRasterLayer(map_path, "m"), "DETECTOR"), (QgsVectorLayer(regions, "r"), "THRESHOLD")):
        page = layer.htmlMetadata()
        assert f"{PREFIX}SCENE" in page and f"{PREFIX}{wanted}" in page and str(files / "scene.tif") in page
    assert "qgis" in provenance_of(map_path)["versions"]


def test_the_same_on_a_cluster_in_row_blocks(tmp_path):
    scene = simulate_scene(210, 56, 96, seed=3)
    path = str(tmp_path / "scene.tif")
    write_scene(path, scene.cube, (0, 2, 0, 0, 0, -2), wavelengths=scene.wavelengths)
    area = ["--extent", "21", "-350", "90", "-31", "--memory", "1"]
    for command in ("rx", "detect"):
        for name, where in (("here", []), ("there", ["--local-cluster", "1"])):
            assert main([command, path, "--output", str(tmp_path / f"{command}_{name}.tif"), *area, *where]) == 0
        here, there = (tmp_path / f"{command}_{name}.tif" for name in ("here", "there"))
        np.testing.assert_allclose(read(there), read(here), rtol=1e-3, atol=1e-3)
        assert read(there).shape == (160, 35)
        assert gdal.Open(str(there)).GetGeoTransform() == gdal.Open(str(here)).GetGeoTransform() == (20, 2, 0, -30, 0, -2)
        one, other = provenance_of(here), provenance_of(there)
        one.pop("date"), other.pop("date")
        assert one == other and one["model"] == ("none is needed" if command == "rx" else "learnt from the scene")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/data/key=1/scene.tif", "/data/key=1/scene.tif"),
        ("C:\\scenes\\user data\\s.tif", "C:\\scenes\\user data\\s.tif"),
        ("/vsicurl/https://me:pa55@host.org/s.tif", "/vsicurl/https://host.org/s.tif"),
        ("https://host.org/s.tif?X-Amz-Signature=abc&v=2", "https://host.org/s.tif?X-Amz-Signature=***&v=2"),
        ("https://host.org/s.tif?sv=1&sig=a%2Fb", "https://host.org/s.tif?sv=1&sig=***"),
        ("/vsicurl?header.Authorization=Bearer&url=https://host.org", "/vsicurl?header.Authorization=***&url=https://host.org"),
        ("PG:host=h dbname='d' user='me' password='p q' mode=2", "PG:host=h dbname='d' user=*** password=*** mode=2"),
        ("postgresql://me:pa55@host/db", "postgresql://host/db"),
        ("GEOR:scott/tiger@db,table,raster", "GEOR:***@db,table,raster"),
        ('NETCDF:"/data/a.nc":cube', 'NETCDF:"/data/a.nc":cube'),
        ("WCS:https://host/wcs?apikey=12&token=34", "WCS:https://host/wcs?apikey=***&token=***"),
    ],
)
def test_secrets_stay_out(source, expected):
    assert without_secrets(source) == expected


def test_a_report_and_a_map_have_no_passwords(files, tmp_path, monkeypatch):
    from scoread_qgis.scenes import raster

    original = raster.open_dataset
    monkeypatch.setattr(raster, "open_dataset", lambda source: original(str(source).partition("?")[0]))
    monkeypatch.setenv("SCOREAD_TEST_VARIABLE", "of the environment")
    source = f"{files / 'scene.tif'}?token=pa55word"
    detection = Detection(RasterSource(source), str(tmp_path / "map.tif"), kind="rx", report=str(tmp_path / "r.html"))
    detect(detection, Run(2**28, log=lambda line: None))
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert b"pa55word" not in content and b"of the environment" not in content, path
    assert provenance_of(tmp_path / "map.tif")["scene"].endswith("scene.tif?token=***")
