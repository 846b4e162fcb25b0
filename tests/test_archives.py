"""Archives on the command line: lists of scenes, an index of results, records, retries, and a resume that knows the options."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import BUILT, read
from osgeo import gdal, ogr
from test_command_line import WITHOUT_QGIS, cli, names, start, wait_for  # noqa: F401  (cli is a fixture)
from test_layouts import server  # noqa: F401  (a fixture)

from scoread_qgis.commandline import main as commands
from scoread_qgis.commandline.files import expand, outputs_of, read_manifest
from scoread_qgis.scenes.provenance import provenance_of
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene
from scoread_qgis.workflows.run import plugin_version

GRID = (500000, 2, 0, 4600000, 0, -2)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, sample):
    """A folder with scenes a/s.tif, b/s.tif and b/t.tif, and c.tif, which is no scene."""
    folder = tmp_path_factory.mktemp("scenes")
    reference = gdal.Open(sample.path).GetProjection()
    for number, name in enumerate(("a/s.tif", "b/s.tif", "b/t.tif")):
        (folder / name).parent.mkdir(exist_ok=True)
        scene = simulate_scene(40, 44, 20, seed=number)
        scene.cube[10 + number, 5:9] = scene.cube[10, 5:9, ::-1]
        write_scene(folder / name, scene.cube, GRID, reference, wavelengths=scene.wavelengths)
    (folder / "c.tif").write_bytes(b"none")
    return folder


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_scenes_of_equal_names_keep_their_folders(cli, scenes, tmp_path):  # noqa: F811
    assert cli("rx", scenes / "*" / "s.tif", scenes / "b" / "t.tif", "--output", tmp_path / "o")[0] == 0
    assert sorted(str(path.relative_to(tmp_path / "o")) for path in (tmp_path / "o").glob("*/*")) == [
        "a/s_rx.tif", "b/s_rx.tif", "b/t_rx.tif",
    ]  # fmt: skip
    assert provenance_of(tmp_path / "o" / "a" / "s_rx.tif")["scene"] == str(scenes / "a" / "s.tif")
    given = ["/x/y/s.tif", "/x/z/s.img", "/vsicurl/https://h.org/s.tif"]
    assert [os.path.relpath(path, "/o") for path in outputs_of(given[:2], "/o", "_rx")] == ["y/s_rx.tif", "z/s_rx.tif"]
    assert [os.path.relpath(path, "/o") for path in outputs_of(given[1:3], "/o", "_rx")][1].endswith("h.org/s_rx.tif")


def test_the_index_tells_what_extract_anomalies_finds(cli, run, scenes, tmp_path):  # noqa: F811
    index = tmp_path / "i.csv"
    found = [scenes / "a" / "s.tif", scenes / "b" / "t.tif", scenes / "c.tif"]
    assert cli("rx", *found, "--output", tmp_path / "o", "--index", index)[0] == 1
    rows = rows_of(index)
    assert [row["scene"] for row in rows] == [str(path) for path in found]
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    assert "c.tif cannot be opened as a raster" in rows[2]["error"] and rows[2]["threshold"] == ""
    for row in rows[:2]:
        result = run("threshold_anomalies", INPUT=row["map"], REGIONS=str(tmp_path / "r.gpkg"), MASK=str(tmp_path / "m.tif"))
        assert float(row["threshold"]) == pytest.approx(result.THRESHOLD, rel=1e-6)
        assert int(row["regions"]) == result.COUNT > 0
        assert int(row["pixels"]) == np.count_nonzero(read(tmp_path / "m.tif") == 1)
        assert float(row["seconds"]) > 0
    kept = {row["map"]: (row["threshold"], row["seconds"]) for row in rows}
    assert cli("rx", *found, "--output", tmp_path / "o", "--index", index, "--resume")[0] == 1
    assert [row["status"] for row in rows_of(index)] == ["done before", "done before", "failed"]
    assert {row["map"]: (row["threshold"], row["seconds"]) for row in rows_of(index)[:2]} == dict(list(kept.items())[:2])
    code, out, _ = cli("rx", "--manifest", index, "--output", tmp_path / "o", "--index", tmp_path / "i.geojson", "--overwrite")
    assert code == 1 and "2 of 3 scenes done" in out, "an index is a manifest"
    dataset = ogr.Open(str(tmp_path / "i.geojson"))
    features = {feature["status"]: feature for feature in dataset.GetLayer()}
    west, east, south, north = features["done"].geometry().GetEnvelope()
    assert features["failed"].geometry() is None and features["failed"]["threshold"] is None
    assert (west, north) == pytest.approx((3.0, 41.5516645), abs=1e-5)
    assert (east - west) * 111_320 * np.cos(np.radians(north)) == pytest.approx(88, rel=0.01)
    assert (north - south) * 111_320 == pytest.approx(80, rel=0.01)
    for bad in (found[0], index):
        code, _, err = cli("rx", *found, "--manifest", index, "--output", tmp_path / "p", "--index", bad)
        assert code == 2 and ("ends in .csv" in err or "is the input itself" in err)
    (tmp_path / "other.csv").write_text("x,y\n1,2\n")
    code, _, err = cli("rx", found[0], "--output", tmp_path / "p", "--index", tmp_path / "other.csv")
    assert code == 2 and "is no index of results" in err and (tmp_path / "other.csv").read_text(encoding="utf-8") == "x,y\n1,2\n"


def test_resume_knows_the_options(cli, scenes, tmp_path):  # noqa: F811
    def rx(*options, where=scenes / "b" / "t.tif"):
        code, out, err = cli("rx", where, "--output", tmp_path / "t_rx.tif", "--resume", *options)
        assert code == 0, err
        return "(1 of them before)" in out, next((line for line in err.splitlines() if "made again" in line), "")

    assert rx() == (False, "")
    assert rx("--memory", "200") == (True, "")
    assert rx("--bands", "1-10") == (False, "t_rx.tif is made again: the options differ: bands 1-10 (before: not given).")
    assert rx("--bands", "1-10") == (True, "")
    local = ["--mode", "local", "--outer-window", "9"]
    assert "detector rx-local (before: rx), inner 5 (before: not given), outer 9" in rx("--bands", "1-10", *local)[1].replace("_window", "")
    assert rx("--bands", "1-10", *local)[0]
    assert f"scene {scenes}/a/s.tif (before: {scenes}/b/t.tif)" in rx(where=scenes / "a" / "s.tif")[1]
    dataset = gdal.OpenEx(str(tmp_path / "t_rx.tif"), gdal.OF_UPDATE, open_options=["IGNORE_COG_LAYOUT_BREAK=YES"])
    dataset.SetMetadataItem("SCOREAD_ASKED", None)
    del dataset
    assert "does not tell with which options" in rx(where=scenes / "a" / "s.tif")[1]
    assert rx(where=scenes / "a" / "s.tif") == (True, "")


def test_resume_knows_the_targets(cli, scenes, tmp_path):  # noqa: F811
    """Two files of targets with the same names in the same scene, both older than the map."""
    for number in (1, 2):
        x, y = 500000 + 20 * number, 4600000 - 20 * number
        (tmp_path / f"{number}.csv").write_text(f"id,WKT\n1,POINT({x} {y})\n")

    def similar(number, *options):
        targets = ["--targets", tmp_path / f"{number}.csv", "--regions", "--detector", "ace"]
        code, _, err = cli("similar", scenes / "a" / "s.tif", *targets, "--output", tmp_path / "o", "--resume", *options)
        assert code == 0, err
        return "are finished and skipped" in err, re.findall("options differ: (.*)", err)

    assert similar(1) == (False, [])
    assert similar(1) == (True, [])
    skipped, (differs,) = similar(2)
    assert not skipped and differs.startswith("their spectra ")
    assert similar(2, "--rate", "0.01") == (False, ["rate 0.01 (before: 0.001)."])
    (tmp_path / "o" / "s_similar.gpkg").unlink()
    assert similar(2, "--rate", "0.01") == (False, [])
    assert names(tmp_path / "o") == ["s_similar.gpkg", "s_similar.tif"]


def test_manifests(tmp_path, cli):  # noqa: F811
    (tmp_path / "s.tif").write_bytes(b"")
    here = str(tmp_path / "s.tif")
    (tmp_path / "m.csv").write_text("\ufeffid,scene\n1,s.tif\n2,/x/y.tif\n", encoding="utf-8")
    (tmp_path / "m.txt").write_text('# of May\ns.tif\n\nNETCDF:"/x/a.nc":v\nhttps://h.org/s.tif\n')
    item = {"type": "Feature", "assets": {"thumbnail": {"href": "t.png"}, "cube": {"href": "s3://b/s.tif", "roles": ["data"]}}}
    items = [item, {**item, "assets": {"data": {"href": "s.tif"}}}]
    (tmp_path / "m.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    (tmp_path / "one.json").write_text(json.dumps(item))
    assert read_manifest(str(tmp_path / "m.csv")) == [here, "/x/y.tif"]
    assert read_manifest(str(tmp_path / "m.txt")) == [here, 'NETCDF:"/x/a.nc":v', "/vsicurl/https://h.org/s.tif"]
    assert read_manifest(str(tmp_path / "m.json")) == ["/vsis3/b/s.tif", here]
    assert read_manifest(str(tmp_path / "one.json")) == ["/vsis3/b/s.tif"]
    for name, text, told in (
        ("bad.csv", "id,path\n1,s.tif\n", "A CSV needs a column scene"),
        ("bad.json", "{]", "cannot be read"),
        ("list.json", "[1]", "does not name a scene in each entry"),
        ("two.json", json.dumps({**item, "assets": {"data": {"href": "a"}, "x": {"href": "b", "roles": ["data"]}}}), "one asset"),
        ("none.txt", "# nothing\n", "names no scene"),
    ):
        (tmp_path / name).write_text(text)
        code, _, err = cli("rx", "--manifest", tmp_path / name, "--output", tmp_path / "o")
        assert code == 2 and told in err, name


def test_patterns_in_archives(cli, scenes, tmp_path):  # noqa: F811
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        for name in ("a/s.tif", "b/s.tif", "b/t.tif"):
            file.write(scenes / name, name)
        file.writestr("b/readme.txt", "")
    inside = f"/vsizip/{tmp_path}/z.zip"
    assert expand([f"{inside}/**/*.tif"]) == [f"{inside}/{name}" for name in ("a/s.tif", "b/s.tif", "b/t.tif")]
    assert expand([f"{inside}/b/*.t?f"]) == [f"{inside}/b/s.tif", f"{inside}/b/t.tif"]
    assert expand([f"{inside}/*/s.tif"]) == [f"{inside}/a/s.tif", f"{inside}/b/s.tif"]
    assert cli("rx", f"{inside}/**/t.tif", scenes / "b" / "t.tif", "--output", tmp_path / "o")[0] == 0
    zipped, plain = sorted((tmp_path / "o").rglob("*.tif"), key=lambda path: "z.zip" not in str(path))
    np.testing.assert_array_equal(read(zipped), read(plain))


def test_a_scene_on_the_web_that_is_out_of_reach_at_first(cli, scenes, server, tmp_path, monkeypatch):  # noqa: F811
    waits = []

    def wait(seconds):
        waits.append(seconds)
        server.files["/t.tif"] = (scenes / "b" / "t.tif").read_bytes()

    monkeypatch.setattr(commands.time, "sleep", wait)
    url = f"/vsicurl/http://127.0.0.1:{server.server_port}/t.tif"
    arguments = ["rx", url, scenes / "a" / "s.tif", "--output", tmp_path, "--log-json", tmp_path / "log.jsonl"]
    code, out, _ = cli(*arguments)
    assert code == 1 and "1 of 2 scenes done" in out and waits == []
    code, out, _ = cli(*arguments, "--resume", "--retries", 2)
    assert code == 0 and "2 of 2 scenes done (1 of them before), 0 failed." in out
    assert waits == [10]
    assert cli("rx", scenes / "b" / "t.tif", "--output", tmp_path / "local.tif")[0] == 0
    np.testing.assert_array_equal(read(tmp_path / "t_rx.tif"), read(tmp_path / "local.tif"))
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    events = [record["event"] for record in records if record["event"] != "log"]
    assert events == ["start", "scene", "scene", "end", "start", "scene", "end"]
    assert [record["exit_code"] for record in records if record["event"] == "end"] == [1, 0]
    ended = [(record["scene"], record["status"]) for record in records if record["event"] == "scene"]
    assert ended == [(url, "failed"), (str(scenes / "a" / "s.tif"), "done"), (url, "done")]
    assert any("Memory: up to" in record.get("text", "") and record["scene"] == url for record in records)


def test_a_scene_that_is_bad_is_not_tried_again(cli, scenes, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(commands.time, "sleep", lambda seconds: pytest.fail("waited"))
    assert cli("rx", scenes / "a" / "s.tif", "--bands", "99", "--output", tmp_path / "o", "--retries", 3)[0] == 1


def test_version(cli):  # noqa: F811
    code, out, _ = cli("--version")
    assert (code, out) == (0, f"scoread_qgis {plugin_version()}\n")


@pytest.mark.only_on("linux", "darwin")
def test_output_that_nobody_reads_is_no_error(scenes):
    """As by `scoread info ... | head -1`: the reader is gone before the first line."""
    environment = {**os.environ, "PYTHONPATH": str(BUILT.parent), "PYTHONWARNINGS": "ignore"}  # GDAL has some
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "scoread_qgis", "info", str(scenes / "a" / "s.tif")]
    process = subprocess.run(
        command, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=BUILT.parent, timeout=120, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN),
    )  # fmt: skip
    os.close(writing)
    assert (process.returncode, process.stderr) == (141, "")


def test_a_link_to_nothing_is_a_scene_that_fails(cli, scenes, tmp_path):  # noqa: F811
    for name, target in (("a.tif", scenes / "a" / "s.tif"), ("b.tif", tmp_path / "nowhere")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "c.tif").mkdir()
    code, out, _ = cli("rx", tmp_path / "*.tif", "--output", tmp_path / "o")
    assert code == 1 and "1 of 2 scenes done (0 of them before), 1 failed." in out and f"{tmp_path}/b.tif" in out


@pytest.mark.parametrize("ending", ["csv", "geojson"])
def test_a_killed_run_leaves_its_index(cli, scenes, tmp_path, ending):  # noqa: F811
    """With SIGKILL nothing can be written at the end; the index of before then tells of most scenes."""
    index, log = tmp_path / f"i.{ending}", tmp_path / "l.jsonl"
    for number in range(60):
        (tmp_path / f"{number:02}.tif").symlink_to(scenes / "a" / "s.tif")
    often = "from scoread_qgis.commandline import index; index._WRITE_SECONDS = 0; "
    command = ["rx", tmp_path / "*.tif", "--output", tmp_path / "o", "--index", index]
    process = start(*command, "--log-json", log, code=often + WITHOUT_QGIS)
    wait_for(lambda: log.exists() and log.read_text().count('"event": "scene"') > 2, process)
    process.kill()
    process.communicate()

    def rows():
        return rows_of(index) if ending == "csv" else [each["properties"] for each in json.loads(index.read_text())["features"]]

    kept = [row for row in rows() if row["status"] == "done"]
    assert len(rows()) == 60 and 2 <= len(kept) < 60
    assert cli(*command, "--resume")[0] == 0
    again = {row["map"]: row for row in rows()}
    assert len(again) == 60 and all(row["threshold"] for row in kept)
    assert [again[row["map"]]["seconds"] for row in kept] == [row["seconds"] for row in kept]
    assert all(again[row["map"]]["status"] == "done before" for row in kept)
