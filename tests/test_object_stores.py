"""Archives in object stores: a real server of S3's protocol on loopback, which /vsis3/ and /vsigs/ both speak."""

import csv
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import read
from osgeo import gdal
from osgeo_utils.samples.validate_cloud_optimized_geotiff import validate
from test_command_line import cli, wait_for  # noqa: F401  (cli is a fixture)

from scoread_qgis.core.files import unfinished_file
from scoread_qgis.scenes.object_stores import changed, existing, open_text, use_object_stores
from scoread_qgis.scenes.provenance import provenance_of
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene

GRID = (500000, 2, 0, 4600000, 0, -2)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with an empty bucket, and GDAL told of it: process, and requests(), those since the last call, such as GET /bucket/a.tif."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    log = tmp_path / "server.log"
    with log.open("w") as stream:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=tmp_path)
    try:
        wait_for(lambda: "Running on http://" in log.read_text(), process)
        address = re.search(r"http://([\d.]+:\d+)", log.read_text())[1]
        urllib.request.urlopen(urllib.request.Request(f"http://{address}/bucket", method="PUT"), timeout=60).close()
        for name, value in {
            "AWS_S3_ENDPOINT": address, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "us-east-1",
            "CPL_GS_ENDPOINT": f"http://{address}/", "GS_ACCESS_KEY_ID": "id", "GS_SECRET_ACCESS_KEY": "key",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        seen = len(log.read_text())

        def requests():
            nonlocal seen
            text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text()[seen:])
            seen = len(log.read_text())
            return re.findall(r'"(\w+ /\S*) HTTP', text)

        yield SimpleNamespace(process=process, requests=requests, unfinished=lambda: [path.name for path in (tmp_path / "tmp").iterdir()])
    finally:
        process.terminate()
        process.wait()
        gdal.VSICurlClearCache()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, sample):
    """Two scenes on the disk, and a file that is none."""
    folder = tmp_path_factory.mktemp("scenes")
    for number, name in enumerate("ab"):
        scene = simulate_scene(40, 44, 20, seed=number)
        write_scene(folder / f"{name}.tif", scene.cube, GRID, gdal.Open(sample.path).GetProjection(), wavelengths=scene.wavelengths)
    (folder / "c.tif").write_bytes(b"none")
    return folder


def upload(folder, place):
    for path in folder.iterdir():
        assert gdal.Sync(str(path), f"{place}/{path.name}", options=["SYNC_STRATEGY=OVERWRITE"])


def rows_of(path):
    with open_text(path) as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("store", ["s3", "gs"])
def test_an_archive_in_a_store(cli, server, scenes, tmp_path, store):  # noqa: F811
    upload(scenes, f"/vsi{store}/bucket/in")
    server.requests()
    archive = ["rx", f"{store}://bucket/in/*.tif", "--output", f"{store}://bucket/maps", "--index", f"{store}://bucket/index.csv"]
    code, out, _ = cli(*archive)
    assert code == 1 and "2 of 3 scenes done (0 of them before), 1 failed." in out
    assert server.unfinished() == []
    asked = server.requests()
    assert sum("prefix=maps/&" in each or each.endswith("prefix=maps/") for each in asked) <= 1, "the maps are not listed for each"
    assert asked.count("PUT /bucket/maps/a_rx.tif") == 1, "whole, in one request"
    place = f"/vsi{store}/bucket"
    assert sorted(gdal.ReadDir(f"{place}/maps")) == ["a_rx.tif", "b_rx.tif"]
    assert cli("rx", scenes / "a.tif", "--output", tmp_path / "a_rx.tif")[0] == 0
    np.testing.assert_array_equal(read(f"{place}/maps/a_rx.tif"), read(tmp_path / "a_rx.tif"))
    assert validate(f"{place}/maps/a_rx.tif")[:2] == ([], [])
    assert provenance_of(f"{place}/maps/a_rx.tif")["scene"] == f"{place}/in/a.tif"
    before = rows_of(f"{place}/index.csv")
    assert [(row["map"], row["status"]) for row in before] == [
        (f"{place}/maps/{name}_rx.tif", status) for name, status in (("a", "done"), ("b", "done"), ("c", "failed"))
    ]
    assert all(int(row["regions"]) >= 0 for row in before[:2])

    assert cli(*archive)[0] == 2, "maps are there"
    written = changed(f"{place}/maps/a_rx.tif")
    (tmp_path / "list.txt").write_text("".join(f"{store}://bucket/in/{name}.tif\n" for name in "abc"))
    assert gdal.Sync(str(tmp_path / "list.txt"), f"{place}/list.txt")
    code, out, err = cli("rx", "--manifest", f"{store}://bucket/list.txt", *archive[2:], "--resume")
    assert code == 1 and "2 of 3 scenes done (2 of them before), 1 failed." in out
    assert [row["threshold"] for row in rows_of(f"{place}/index.csv")] == [row["threshold"] for row in before]
    assert changed(f"{place}/maps/a_rx.tif") == written
    time.sleep(2.1)  # stores tell whole seconds
    upload(scenes, f"{place}/in")
    assert "made again: what it was made from is newer" in cli(*archive, "--resume")[2]
    assert changed(f"{place}/maps/a_rx.tif") > written


def test_what_belongs_to_a_map_lies_beside_it(cli, server, scenes, tmp_path):  # noqa: F811
    upload(scenes, "/vsis3/bucket/in")
    (tmp_path / "t.csv").write_text(f"id,WKT\n1,POINT({500000 + 20} {4600000 - 20})\n")
    similar = ["similar", "s3://bucket/in/a.tif", "--targets", tmp_path / "t.csv", "--regions", "--output", "s3://bucket/out/"]
    assert cli(*similar)[0] == 0
    assert sorted(gdal.ReadDir("/vsis3/bucket/out")) == ["a_similar.gpkg", "a_similar.tif"]
    assert provenance_of("/vsis3/bucket/out/a_similar.gpkg")["map"] == "/vsis3/bucket/out/a_similar.tif"
    assert "are finished and skipped" in cli(*similar, "--resume")[2]
    assert cli("detect", "s3://bucket/in/a.tif", "--report", "--output", "s3://bucket/out/a.tif")[0] == 0
    with open_text("/vsis3/bucket/out/a.html") as page:
        assert "/vsis3/bucket/out/a.tif" in page.read()
    assert server.unfinished() == []


def test_workers_write_to_a_store(cli, server, scenes, tmp_path):  # noqa: F811
    """The scene is too large for the memory, and would be split into blocks where tasks share a folder."""
    pytest.importorskip("distributed", reason="needs dask.distributed: python -m pip install distributed")
    scene = simulate_scene(600, 100, 20, seed=5)
    write_scene(tmp_path / "long.tif", scene.cube, GRID)
    assert gdal.Sync(str(tmp_path / "long.tif"), "/vsis3/bucket/in/long.tif")
    archive = ["rx", "s3://bucket/in/*.tif", "--index", tmp_path / "index.json.geojson", "--memory", 1]
    code, _, err = cli(*archive, "--output", "s3://bucket/maps/", "--local-cluster", 2)
    assert code == 0 and "row blocks" not in err, err
    assert cli("rx", tmp_path / "long.tif", "--output", tmp_path / "here.tif", "--memory", 1)[0] == 0
    np.testing.assert_array_equal(read("/vsis3/bucket/maps/long_rx.tif"), read(tmp_path / "here.tif"))
    (feature,) = json.loads((tmp_path / "index.json.geojson").read_text())["features"]
    assert feature["properties"]["threshold"] > 0
    code, _, err = cli(*archive, "--output", "s3://none/maps/", "--local-cluster", 2)
    assert code == 2 and "Look at the bucket and the credentials" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "s3://none/maps"], "/vsis3/none/maps/a_rx.tif cannot be written: no object can be created there"),
        (["--output", "s3://bucket/in/a.tif", "--overwrite"], "/vsis3/bucket/in/a.tif is the input itself"),
        (["{vrt}", "--output", "s3://bucket/in/", "--overwrite"], "/vsis3/bucket/in/m_rx.tif is the input itself, or a file that"),
        (["--output", "/vsizip/m.zip/"], "this file system of GDAL is only read here"),
        (["--output", "/vsimem/m/"], "this file system of GDAL is only read here"),
        (["--output", "o", "--log-json", "/vsis3/bucket/l.jsonl"], "JSON lines are appended to a file"),
        (["--output", "o", "--manifest", "s3://bucket/none.csv"], "The manifest /vsis3/bucket/none.csv cannot be read"),
    ],
)
def test_what_cannot_work_is_told_before_any_work(cli, server, scenes, tmp_path, arguments, message):  # noqa: F811
    upload(scenes, "/vsis3/bucket/in")
    assert gdal.Sync(str(scenes / "a.tif"), "/vsis3/bucket/in/m_rx.tif")
    gdal.BuildVRT(str(tmp_path / "m.vrt"), ["/vsis3/bucket/in/m_rx.tif"])
    there = sorted(gdal.ReadDirRecursive("/vsis3/bucket"))
    scene = [] if "{vrt}" in arguments else ["s3://bucket/in/a.tif"]
    code, out, err = cli("rx", *scene, *(each.format(vrt=tmp_path / "m.vrt") for each in arguments))
    assert code == 2 and message in err and out == ""
    gdal.VSICurlClearCache()
    assert sorted(gdal.ReadDirRecursive("/vsis3/bucket")) == there
    assert not (tmp_path / "o").exists()


def test_a_failed_upload_leaves_what_was_there(server, tmp_path):
    use_object_stores()
    with unfinished_file("/vsis3/bucket/a.txt", "text") as part:
        part.write_text("old")
    with open_text("/vsis3/bucket/a.txt") as file:
        assert file.read() == "old"
    with pytest.raises(KeyboardInterrupt), unfinished_file("/vsis3/bucket/a.txt", "text") as part:
        part.write_text("new")
        raise KeyboardInterrupt
    assert changed("/vsis3/bucket/a.txt") and server.unfinished() == []
    assert "PUT /bucket/a.txt" in (asked := server.requests()) and asked.count("PUT /bucket/a.txt") == 1
    server.process.terminate()
    server.process.wait()
    with (
        pytest.raises(ValueError, match=r"a\.txt cannot be written: it cannot be uploaded"),
        unfinished_file("/vsis3/bucket/a.txt", "text") as part,
    ):
        part.write_text("new")
    assert server.unfinished() == []


def test_a_folder_of_many_maps_is_listed_and_not_asked_for_each(server, tmp_path):
    (tmp_path / "x").write_text("x")
    for number in range(3):
        assert gdal.Sync(str(tmp_path / "x"), f"/vsis3/bucket/m/{number}.tif")
    gdal.VSICurlClearCache()
    server.requests()
    paths = [f"/vsis3/bucket/m/{number}.tif" for number in range(5000)]
    assert existing([*paths, str(tmp_path / "x"), str(tmp_path / "y")]) == {*paths[:3], str(tmp_path / "x")}
    assert len(server.requests()) <= 2
