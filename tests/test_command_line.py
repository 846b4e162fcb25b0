"""The command line, as its user runs it: many scenes, bad ones among them, without QGIS."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import BUILT, read
from osgeo import gdal, ogr, osr

from scoread_qgis.commandline.main import main
from scoread_qgis.scenes.writer import write_scene

WITHOUT_QGIS = (
    "import sys, runpy; sys.modules.update(qgis=None, processing=None); "
    "runpy.run_module('scoread_qgis', run_name='__main__', alter_sys=True)"
)


def start(*arguments, code=WITHOUT_QGIS, **options):
    """A process of the command line that cannot import QGIS."""
    environment = {**os.environ, "PYTHONPATH": str(BUILT.parent), "OMP_NUM_THREADS": "1"}
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "cwd": BUILT.parent,
        **options,
    }
    if sys.platform != "win32":  # where the tests run in the background, SIGINT is ignored, and would be in their processes
        options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, **options)


@pytest.fixture
def cli(capsys):
    """Run a command in this process: cli(arguments) -> (exit code, standard output, standard error)."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # argparse
            code = exit.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def archive(tmp_path_factory, sample):
    """Three scenes, one of them damaged, and a model of the first."""
    folder = tmp_path_factory.mktemp("archive")
    for name in ("one.tif", "two.tif"):
        (folder / name).write_bytes(Path(sample.path).read_bytes())
    (folder / "damaged.tif").write_bytes(Path(sample.path).read_bytes()[:5000])
    assert main(["train", str(folder / "one.tif"), "--model", str(folder / "m.pt"), "--hidden", "32"]) == 0
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["rx", "a.tif"], "--output"),
            (["rx", "a.tif", "--output", "o", "--shrinkage", "2"], "2 is more than 1"),
            (["rx", "a.tif", "--output", "o", "--inner-window", "x"], "x is not a whole number"),
            (["rx", "a.tif", "--output", "o", "--mode", "local", "--inner-window", "4"], "have to be odd"),
            (["rx", "a.tif", "--output", "o", "--bands", "1, a-3"], '"a-3" is not a band number'),
            (["rx", "a.tif", "--output", "o", "--overwrite", "--resume"], "not allowed with"),
            (["rx", "a.tif", "--output", "o", "--scheduler", "tcp://x:1", "--local-cluster", "2"], "not allowed with"),
            (["rx", "none*.tif", "--output", "o"], "No file matches none*.tif"),
            (["rx", "a.tif", "b.tif", "--output", "o.tif"], "o.tif is one file, but there are 2 scenes"),
            (["rx", "x/a.tif", "x/a.img", "y/a.img", "--output", "o"], "x/a.tif and x/a.img would both become"),
            (["rx", "a.tif", "--output", "/vsiaz/box/maps"], "a_rx.tif cannot be written: this file system of GDAL is only read"),
            (["rx", "/vsizip/none.zip/*.tif", "--output", "o"], "No file matches /vsizip/none.zip/*.tif"),
            (["rx", "--output", "o"], "nothing to work on"),
            (["rx", "--manifest", "none.csv", "--output", "o"], "The manifest none.csv cannot be read"),
            (["rx", "a.tif", "--output", "o", "--index", "i.txt"], "i.txt: give the file a name that ends in .csv"),
            (["rx", "a.tif", "--output", "o", "--log-json", "a.tif"], "a.tif: give the file for JSON lines a name that ends in .jsonl"),
            (["rx", "a.tif", "--output", "o", "--mask", "none.gpkg"], "The mask none.gpkg cannot be opened"),
            (["detect", "a.tif", "--output", "o", "--model", "none.pt"], "There is no model file"),
            (["rx", "a.tif", "--output", "o", "--mode", "Local"], "invalid choice: Local (choose from global, local)"),
            (["nothing"], "invalid choice"),
        ],
    )
    def test_wrong_usage_is_told_before_any_work(self, cli, tmp_path, monkeypatch, arguments, message):
        monkeypatch.chdir(tmp_path)
        code, out, err = cli(*arguments)
        assert code == 2
        assert message in err
        assert out == ""

    def test_help_names_every_command(self, cli):
        code, out, _ = cli("--help")
        assert code == 0
        for command in ("train", "train-fers", "detect", "rx", "info"):
            assert command in out
            assert cli(command, "--help")[0] == 0


class TestManyScenes:
    def test_without_qgis_one_bad_scene_does_not_stop_the_others(self, archive, tmp_path):
        """The patterns are quoted; the process cannot import QGIS; there is no terminal."""
        process = start("detect", archive / "*.tif", archive / "none.tif", "--model", archive / "m.pt", "--output", tmp_path / "maps")
        out, err = process.communicate(timeout=300)
        assert process.returncode == 1, err
        assert "2 of 4 scenes done (0 of them before), 2 failed." in out
        failures = [line for line in out.splitlines() if line.startswith("  ")]
        assert f"{archive / 'damaged.tif'}: {archive / 'damaged.tif'} cannot be" in failures[0]
        assert f"{archive / 'none.tif'} cannot be opened as a raster" in failures[1]
        assert names(tmp_path / "maps") == ["one_anomalies.tif", "two_anomalies.tif"]
        assert "\r" not in err
        assert "[1/4]" in err
        assert "fit the model." in err, "the log of the algorithms"
        np.testing.assert_array_equal(read(tmp_path / "maps" / "one_anomalies.tif"), read(tmp_path / "maps" / "two_anomalies.tif"))

    def test_the_map_is_that_of_the_algorithm(self, run, archive, tmp_path, cli):
        one = archive / "one.tif"
        run("detect_anomalies", INPUT=str(one), MODEL=str(archive / "m.pt"), OUTPUT=str(tmp_path / "q.tif"))
        run("detect_rx", INPUT=str(one), MODE=1, OUTER_WINDOW=9, OUTPUT=str(tmp_path / "rx_q.tif"))
        assert cli("detect", one, "--model", archive / "m.pt", "--output", tmp_path / "c.tif", "--report")[0] == 0
        assert "Anomaly map" in (tmp_path / "c.html").read_text(encoding="utf-8")
        assert cli("rx", one, "--mode", "local", "--outer-window", 9, "--output", tmp_path / "rx_c.tif")[0] == 0
        np.testing.assert_allclose(read(tmp_path / "c.tif"), read(tmp_path / "q.tif"), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(read(tmp_path / "rx_c.tif"), read(tmp_path / "rx_q.tif"), rtol=1e-4)
        for mine, theirs in (("c.tif", "q.tif"), ("rx_c.tif", "rx_q.tif")):
            mine, theirs = (gdal.Open(str(tmp_path / name)) for name in (mine, theirs))
            assert mine.GetGeoTransform() == theirs.GetGeoTransform()
            assert mine.GetRasterBand(1).GetDescription() == theirs.GetRasterBand(1).GetDescription()

    def test_the_model_is_that_of_the_algorithm(self, run, archive, tmp_path, cli):
        from scoread_qgis.detectors.model_file import Model

        options = {"INPUT": str(archive / "one.tif"), "MORE_INPUTS": [str(archive / "two.tif")], "HIDDEN": 64, "SAMPLES": 500, "SEED": 3}
        run("train_sgm", MODEL=str(tmp_path / "q.pt"), **options)
        arguments = ["--hidden", 64, "--samples", 500, "--seed", 3]
        report = ["--report", tmp_path / "a.html"]
        assert cli("train", archive / "one.tif", archive / "two.tif", "--model", tmp_path / "a.pt", *arguments, *report)[0] == 0
        assert "There is no training loss" in (tmp_path / "a.html").read_text(encoding="utf-8")
        assert cli("train", archive / "one.tif", "--more-inputs", archive / "t*o.tif", "--model", tmp_path / "b.pt", *arguments)[0] == 0
        expected = Model.load(tmp_path / "q.pt")
        for name in ("a.pt", "b.pt"):
            model = Model.load(tmp_path / name)
            np.testing.assert_allclose(model.detector.tails["near"].logs, expected.detector.tails["near"].logs, rtol=1e-3)
            assert model.settings == expected.settings
            assert model.band_numbers == expected.band_numbers

    def test_failed_training_leaves_nothing_and_says_why(self, cli, archive, tmp_path):
        code, out, err = cli("train", archive / "one.tif", archive / "damaged.tif", "--model", tmp_path / "m.pt")
        assert code == 1
        assert "damaged.tif cannot be" in err
        assert names(tmp_path) == []

    def test_fers_from_training_to_map(self, cli, archive, tmp_path):
        fast = ["--epochs", 1, "--patch", 16, "--batch", 2]
        assert cli("train-fers", archive / "one.tif", "--model", tmp_path / "f.pt", *fast)[0] == 0
        code, out, _ = cli("detect", archive / "one.tif", "--model", tmp_path / "f.pt", "--readout", "sum", "--output", tmp_path / "o")
        assert (code, names(tmp_path / "o")) == (0, ["one_anomalies.tif"])
        assert "1 of 1 scenes done" in out


class TestAgain:
    @pytest.fixture
    def made(self, cli, archive, tmp_path):
        assert cli("rx", archive / "one.tif", archive / "two.tif", "--output", tmp_path)[0] == 0
        return tmp_path

    def test_maps_that_are_there_are_kept_unless_asked_for(self, cli, archive, made):
        before = (made / "one_rx.tif").stat().st_mtime_ns
        code, out, err = cli("rx", archive / "one.tif", "--output", made)
        assert code == 2
        assert "1 of 1 maps already exist" in err
        assert (made / "one_rx.tif").stat().st_mtime_ns == before
        assert cli("rx", archive / "one.tif", "--output", made, "--overwrite")[0] == 0
        assert (made / "one_rx.tif").stat().st_mtime_ns > before

    def test_resume_makes_what_is_missing_damaged_or_old(self, cli, archive, made):
        def resume(*scenes):
            code, out, _ = cli("rx", *(archive / name for name in scenes), "--output", made, "--resume")
            return code, out.splitlines()[0]

        kept = (made / "one_rx.tif").stat().st_mtime_ns
        half = made / ".two_rx.tif.0123456789ab.part"
        half.write_text("half of a map, of a process that was killed")
        (made / "two_rx.tif").unlink()
        assert resume("one.tif", "two.tif") == (0, "2 of 2 scenes done (1 of them before), 0 failed.")
        assert (made / "one_rx.tif").stat().st_mtime_ns == kept
        assert names(made) == ["one_rx.tif", "two_rx.tif"]

        (made / "two_rx.tif").write_bytes(b"")  # as a power cut may leave it
        assert resume("two.tif") == (0, "1 of 1 scenes done (0 of them before), 0 failed.")
        later = (made / "two_rx.tif").stat().st_mtime + 10
        os.utime(archive / "two.tif", (later, later))
        assert resume("two.tif") == (0, "1 of 1 scenes done (0 of them before), 0 failed.")
        os.utime(archive / "two.tif", (later - 1000, later - 1000))
        assert resume("two.tif", "damaged.tif") == (1, "1 of 2 scenes done (1 of them before), 1 failed.")

    def test_the_input_is_never_the_output(self, cli, archive):
        code, _, err = cli("rx", archive / "one.tif", "--output", archive / "one.tif", "--overwrite")
        assert code == 2
        assert "is the input itself" in err

    @pytest.mark.only_on("linux", "darwin")
    def test_ctrl_c_cleans_up_and_resume_goes_on(self, archive, tmp_path):
        """Two scenes: the first takes long, and is interrupted in the midst of writing."""
        write_scene(tmp_path / "large.tif", np.random.default_rng(0).random((300, 300, 100)).astype(np.float32))
        arguments = ["rx", tmp_path / "large.tif", "--output", tmp_path / "o", "--mode", "local"]
        process = start(*arguments)
        wait_for(lambda: (tmp_path / "o").is_dir() and any(".part" in name for name in names(tmp_path / "o")), process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Cancelled: nothing was written of the unfinished scenes." in err
        assert "--resume continues" in err
        assert names(tmp_path / "o") == []


def wait_for(condition, process=None, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


class TestMask:
    def test_polygons_of_a_vector_file(self, cli, sample, tmp_path):
        """A GeoPackage in another CRS than the scene, and a raster, give the same map."""
        scene = gdal.Open(sample.path)
        x, width, _, y, _, height = scene.GetGeoTransform()
        box = [x + 5.2 * width, x + 30.2 * width, y + 40.2 * height, y + 10.2 * height]
        west, east, south, north = box
        polygon = ogr.CreateGeometryFromWkt(f"POLYGON(({west} {south},{east} {south},{east} {north},{west} {north},{west} {south}))")
        degrees = osr.SpatialReference()
        degrees.ImportFromEPSG(4326)
        degrees.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
        polygon.Transform(osr.CoordinateTransformation(scene.GetSpatialRef(), degrees))
        file = ogr.GetDriverByName("GPKG").CreateDataSource(str(tmp_path / "mask.gpkg"))
        layer = file.CreateLayer("fields", degrees, ogr.wkbPolygon)
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(polygon)
        layer.CreateFeature(feature)
        del feature, layer, file
        inside = np.zeros(sample.truth.shape, np.uint8)
        inside[10:40, 5:30] = 1
        write_scene(tmp_path / "mask.tif", inside, scene.GetGeoTransform(), scene.GetProjection())
        for name in ("mask.gpkg", "mask.tif"):
            assert cli("rx", sample.path, "--mask", tmp_path / name, "--output", tmp_path / f"{name}.tif")[0] == 0
        found = read(tmp_path / "mask.gpkg.tif")
        np.testing.assert_array_equal(np.isfinite(found), inside > 0)
        np.testing.assert_array_equal(found, read(tmp_path / "mask.tif.tif"))

    def test_lines_are_no_mask(self, cli, sample, tmp_path):
        (tmp_path / "lines.geojson").write_text(
            '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, '
            '"geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}]}'
        )
        code, _, err = cli("rx", sample.path, "--mask", tmp_path / "lines.geojson", "--output", tmp_path / "o.tif")
        assert code == 2
        assert "holds no polygons" in err


class TestInfo:
    def test_scenes_and_models(self, cli, archive):
        code, out, err = cli("info", archive / "one.tif", archive / "m.pt")
        assert code == 0
        for text in (
            "48 rows, 40 columns, 30 bands, Int16",
            "400.0 to 2500.0 nm",
            "flagged bad",
            "EPSG:32631",
            "SGM, default mode",
            "hidden 32",
        ):
            assert text in out

    def test_what_is_neither_is_told(self, cli, archive, tmp_path):
        (tmp_path / "evil.pt").write_bytes(b"no model")
        code, out, err = cli("info", tmp_path / "evil.pt", archive / "one.tif")
        assert code == 1
        assert "evil.pt is not a model of this plugin" in err
        assert "one.tif: scene" in out


class TestTerminal:
    @pytest.mark.only_on("linux", "darwin")
    def test_a_bar_on_a_terminal(self, tmp_path):
        import pty

        write_scene(tmp_path / "s.tif", np.random.default_rng(0).random((60, 100, 20)).astype(np.float32))
        controller, terminal = pty.openpty()
        process = start("rx", tmp_path / "s.tif", "--mode", "local", "--output", tmp_path / "o.tif", stderr=terminal)
        os.close(terminal)
        seen = b""
        while True:
            try:
                seen += (more := os.read(controller, 4096))
            except OSError:  # the other side is closed
                break
            if not more:
                break
        os.close(controller)
        assert process.wait(timeout=60) == 0
        assert b"\r[#" in seen
        assert b"local RX, row" in seen

    def test_dask_is_named_where_it_is_missing(self, sample, tmp_path):
        process = start(
            "rx", sample.path, "--output", tmp_path / "o.tif", "--local-cluster", 2,
            code=WITHOUT_QGIS.replace("processing=None", "processing=None, distributed=None"),
        )  # fmt: skip
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2
        assert "python -m pip install distributed" in err
        assert names(tmp_path) == []
