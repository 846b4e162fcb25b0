"""Detection and training on a Dask cluster: a real scheduler and real worker processes on loopback, and what may happen to them."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import BUILT, read
from test_command_line import cli, names, start, wait_for  # noqa: F401  (cli is a fixture)

from scoread_qgis.cluster.connection import NoCluster, check_shared
from scoread_qgis.commandline.main import main
from scoread_qgis.core.cube import SURVEYED_PIXELS
from scoread_qgis.detectors.model_file import Model
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene

distributed = pytest.importorskip("distributed", reason="needs dask.distributed: python -m pip install distributed")
pytestmark = pytest.mark.only_on("linux", "darwin")

BLOCKS = ["--memory", 1]  # MB: the long scene is then split into row blocks


class Cluster:
    """A scheduler and workers, each a process. workers: extra arguments of each."""

    def __init__(self, folder, workers, allowed_failures=3, before_worker=None, packages=BUILT.parent):
        self.folder = Path(folder)  # also where the processes run, so that they find the package where they are told to
        self.folder.mkdir(exist_ok=True)
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(packages),
            "OMP_NUM_THREADS": "1",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures),
            "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h",
        }
        file = self.folder / f"scheduler_{time.monotonic_ns()}.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", file)
        wait_for(
            lambda: file.exists() and file.read_text(encoding="utf-8").endswith("}"), self.scheduler
        )  # it is there before it is written
        self.address = json.loads(file.read_text(encoding="utf-8"))["address"]
        self.workers = [
            self._start("worker", self.address, "--nthreads", "1", "--no-dashboard", "--local-directory", self.folder, *arguments,
                        preexec_fn=before_worker)
            for arguments in workers
        ]  # fmt: skip
        self.client = distributed.Client(self.address, set_as_default=False, timeout=60)
        self.client.wait_for_workers(len(workers), timeout=120)

    def _start(self, *arguments, **options):
        log = open(self.folder / f"{arguments[0]}_{time.monotonic_ns()}.log", "w", encoding="utf-8")  # noqa: SIM115  (the process keeps it)
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *map(str, arguments)],
            env=self._environment,
            cwd=self.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **options,
        )

    def working_on(self, task):
        """Number of workers that are at work on a task of that name."""
        return sum(any(key.startswith(task) for key in keys) for keys in self.client.processing().values())

    def close(self):
        with contextlib.suppress(Exception):
            self.client.close(timeout=1)
        for process in (*self.workers, self.scheduler):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextlib.contextmanager
def once(condition, act):
    """Act, in another thread, once the condition holds while the block runs."""
    errors = []

    def watch():
        try:
            wait_for(condition)
            act()
        except BaseException as error:
            errors.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    watcher.join()
    assert not errors, errors


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), [["--no-nanny"], ["--no-nanny"]]) as cluster:
        yield cluster


@pytest.fixture
def slow(archive):
    """Arguments of a detection that takes about a second in a block, or in a small scene."""
    return ["detect", "--model", archive / "paper.pt", "--perturbations", 150, "--mask", archive / "masks" / "strip.tif"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A long scene that is split into row blocks, two small ones, and models of all kinds."""
    folder = tmp_path_factory.mktemp("archive")
    for name, rows, columns in (("long", 210, 56), ("small", 48, 40), ("tiny", 32, 32)):
        scene = simulate_scene(rows, columns, 96, seed=len(name))
        cube = scene.cube.copy()
        cube[10:13, 5:9] = -9999
        write_scene(
            folder / f"{name}.tif", cube, geotransform=(0, 2, 0, 0, 0, -2), wavelengths=scene.wavelengths, scale=scene.scale, nodata=-9999
        )
    strip = np.zeros((210, 56), np.uint8)
    strip[:, 20:23] = 1
    write_scene(folder / "masks" / "strip.tif", strip, (0, 2, 0, 0, 0, -2))
    small = str(folder / "small.tif")
    assert main(["train", small, "--model", str(folder / "sgm.pt")]) == 0
    fast = ["--mode", "paper", "--epochs", "1", "--batch-size", "128", "--hidden", "16", "--samples", "300"]
    assert main(["train", small, "--model", str(folder / "paper.pt"), *fast]) == 0
    assert main(["train", small, "--model", str(folder / "ring.pt"), *fast, "--conditional"]) == 0
    assert main(["train-fers", small, "--model", str(folder / "fers.pt"), "--epochs", "1", "--patch", "16", "--batch", "2"]) == 0
    return folder


def same_map(mine, expected, tolerance=1e-5):
    from osgeo import gdal

    np.testing.assert_allclose(read(mine), read(expected), rtol=tolerance, atol=tolerance)
    mine, expected = gdal.Open(str(mine)), gdal.Open(str(expected))
    assert mine.GetGeoTransform() == expected.GetGeoTransform()
    assert mine.GetRasterBand(1).GetDescription() == expected.GetRasterBand(1).GetDescription()
    statistics = [file.GetRasterBand(1).GetStatistics(False, False) for file in (mine, expected)]
    np.testing.assert_allclose(*statistics, rtol=tolerance)


class TestResults:
    @pytest.mark.parametrize(
        ("arguments", "blocks"),
        [
            (["detect", "--model", "sgm.pt"], True),
            (["detect", "--model", "paper.pt", "--perturbations", "3", "--mask", "masks/strip.tif"], True),
            (["detect", "--model", "ring.pt", "--perturbations", "3", "--seed", "5", "--mask", "masks/strip.tif"], True),
            (["detect", "--model", "fers.pt"], False),
            (["rx"], True),
            (["rx", "--mode", "local", "--inner-window", "1", "--outer-window", "5", "--bands", "1-9"], True),
        ],
        ids=["sgm", "paper", "ring", "fers", "rx", "rx-local"],
    )
    def test_the_map_is_that_of_one_machine(self, cli, cluster, archive, tmp_path, monkeypatch, arguments, blocks):  # noqa: F811
        monkeypatch.chdir(archive)
        # The map of FERS, whose features are in single precision, depends a little on the size of the strips, hence on the memory.
        memory = [] if blocks else BLOCKS
        assert cli(*arguments, "long.tif", "--output", tmp_path / "expected.tif", *memory)[0] == 0
        code, out, err = cli(*arguments, "long.tif", "--output", tmp_path / "mine.tif", *BLOCKS, "--scheduler", cluster.address)
        assert code == 0, err
        assert ("Split into 4 row blocks" in err) == blocks
        same_map(tmp_path / "mine.tif", tmp_path / "expected.tif", 1e-3 if "fers.pt" in arguments else 1e-5)
        assert names(tmp_path) == ["expected.tif", "mine.tif"]

    def test_many_scenes_a_mask_and_a_bad_one(self, cli, cluster, archive, tmp_path):  # noqa: F811
        inside = np.zeros((210, 56), np.uint8)
        inside[20:150, 15:50] = 1
        write_scene(tmp_path / "mask.tif", inside, (0, 2, 0, 0, 0, -2))
        (tmp_path / "bad.tif").write_bytes((archive / "long.tif").read_bytes()[:9000])
        arguments = ["rx", archive / "*.tif", tmp_path / "bad.tif", "--mask", tmp_path / "mask.tif"]
        there = [*arguments, "--output", tmp_path / "o", *BLOCKS, "--scheduler", cluster.address, "--index", tmp_path / "o.csv"]
        code, out, err = cli(*there)
        assert code == 1
        assert "3 of 4 scenes done (0 of them before), 1 failed.\n  " + str(tmp_path / "bad.tif") in out
        assert names(tmp_path / "o") == ["long_rx.tif", "small_rx.tif", "tiny_rx.tif"]
        assert cli(*arguments, "--output", tmp_path / "p", "--index", tmp_path / "p.csv")[0] == 1
        for name in names(tmp_path / "o"):
            same_map(tmp_path / "o" / name, tmp_path / "p" / name)
        mine, expected = (list(csv.DictReader((tmp_path / name).open())) for name in ("o.csv", "p.csv"))
        assert [row["status"] for row in mine] == ["done", "done", "done", "failed"]
        for row, other in zip(mine, expected):
            assert all(row[name] == other[name] for name in ("scene", "status", "regions", "pixels"))
            assert float(row["threshold"] or 0) == pytest.approx(float(other["threshold"] or 0), rel=1e-5)
        assert "3 of 4 scenes done (3 of them before)" in cli(*there, "--resume")[1], "made with the same options"

    @pytest.mark.parametrize("mode", [[], ["--mode", "paper", "--epochs", 1, "--batch-size", 64, "--hidden", 16, "--conditional"]])
    def test_the_model_is_that_of_one_machine(self, cli, cluster, archive, tmp_path, mode):  # noqa: F811
        arguments = ["train", archive / "long.tif", archive / "small.tif", "--samples", 600, *mode, "--seed", 2]
        assert cli(*arguments, "--model", tmp_path / "expected.pt")[0] == 0
        code, _, err = cli(*arguments, "--model", tmp_path / "mine.pt", *BLOCKS, "--scheduler", cluster.address)
        assert code == 0, err
        mine, expected = (Model.load(tmp_path / name) for name in ("mine.pt", "expected.pt"))
        assert mine.loss_curve == expected.loss_curve
        assert mine.band_numbers == expected.band_numbers
        for name, weight in expected.detector.network.state_dict().items():
            np.testing.assert_array_equal(mine.detector.network.state_dict()[name], weight, err_msg=name)
        if not mode:
            for name, tail in expected.detector.tails.items():
                np.testing.assert_allclose(mine.detector.tails[name].logs, tail.logs, rtol=1e-3, atol=1e-4, err_msg=name)

    def test_a_part_of_a_large_scene_is_surveyed(self, cli, cluster, archive, tmp_path, monkeypatch):  # noqa: F811
        """The same rows as on one machine, whatever the row blocks, for the bands as for the model."""

        def survey(pixels):
            from scoread_qgis.core import cube

            cube.SURVEYED_PIXELS = pixels

        monkeypatch.setattr("scoread_qgis.core.cube.SURVEYED_PIXELS", 56 * 64)
        cluster.client.run(survey, 56 * 64)
        try:
            arguments = ["train", archive / "long.tif", "--samples", 600, "--seed", 2]
            assert "64 of 210 rows, spread evenly, tell which bands are good" in cli(*arguments, "--model", tmp_path / "expected.pt")[2]
            code, _, err = cli(*arguments, "--model", tmp_path / "mine.pt", *BLOCKS, "--scheduler", cluster.address)
            assert code == 0, err
            assert "64 of 210 rows" in err
            mine, expected = (Model.load(tmp_path / name).detector for name in ("mine.pt", "expected.pt"))
            np.testing.assert_array_equal(mine.centre, expected.centre)
            for name, tail in expected.tails.items():
                np.testing.assert_allclose(mine.tails[name].logs, tail.logs, rtol=1e-3, atol=1e-4, err_msg=name)
            for output, where in (("here", []), ("there", ["--scheduler", cluster.address])):
                assert cli("detect", archive / "long.tif", "--output", tmp_path / f"{output}.tif", *BLOCKS, *where)[0] == 0
            same_map(tmp_path / "there.tif", tmp_path / "here.tif")
        finally:
            cluster.client.run(survey, SURVEYED_PIXELS)

    def test_a_bad_scene_fails_the_training(self, cli, cluster, archive, tmp_path):  # noqa: F811
        (tmp_path / "bad.tif").write_bytes((archive / "long.tif").read_bytes()[:9000])
        code, _, err = cli(
            "train", archive / "small.tif", tmp_path / "bad.tif", "--model", tmp_path / "m.pt", "--scheduler", cluster.address
        )
        assert code == 1
        assert "bad.tif cannot be" in err
        assert names(tmp_path) == ["bad.tif"]

    def test_a_worker_reads_a_model_once(self, cli, cluster, archive, tmp_path):  # noqa: F811
        def reads():
            from scoread_qgis.workflows import detect

            return detect._read.cache_info().misses

        shutil.copy(archive / "sgm.pt", tmp_path / "m.pt")
        before = cluster.client.run(reads)
        arguments = ["detect", archive / "*.tif", "--model", tmp_path / "m.pt", "--unfit", "warn", *BLOCKS, "--scheduler", cluster.address]
        for output in ("a", "b"):
            assert cli(*arguments, "--output", tmp_path / output)[0] == 0
        after = cluster.client.run(reads)
        assert {after[worker] - before[worker] for worker in before} == {1}
        os.utime(tmp_path / "m.pt", (1e9, 1e9))
        assert cli(*arguments, "--output", tmp_path / "c")[0] == 0
        assert {cluster.client.run(reads)[worker] - after[worker] for worker in before} == {1}, "a model that has changed is reloaded"

    def test_a_local_cluster(self, cli, archive, tmp_path):  # noqa: F811
        assert cli("rx", archive / "small.tif", "--output", tmp_path / "expected.tif")[0] == 0
        code, out, err = cli("rx", archive / "small.tif", "--output", tmp_path / "mine.tif", "--local-cluster", 1)
        assert code == 0, err
        same_map(tmp_path / "mine.tif", tmp_path / "expected.tif")


class TestFaults:
    def test_nothing_listens(self, cli, archive, tmp_path, monkeypatch):  # noqa: F811
        monkeypatch.setattr("scoread_qgis.cluster.connection._SECONDS_TO_CONNECT", 1)
        code, _, err = cli("rx", archive / "small.tif", "--output", tmp_path / "o", "--scheduler", "tcp://127.0.0.1:1")
        assert code == 2
        assert "The scheduler tcp://127.0.0.1:1 does not answer" in err

    def test_workers_without_the_package(self, cli, archive, tmp_path):  # noqa: F811
        with Cluster(tmp_path / "cluster", [["--no-nanny"]], packages=tmp_path) as cluster:
            code, _, err = cli("rx", archive / "small.tif", "--output", tmp_path / "o", "--scheduler", cluster.address)
        assert code == 2
        assert "does not have version" in err
        assert "No module named 'scoread_qgis'" in err
        assert not any((tmp_path / "o").glob("*.tif"))

    def test_storage_that_is_not_shared(self, tmp_path):
        """A worker on another machine, by what it answers."""
        client = SimpleNamespace(run=lambda function, path: {"tcp://here:1": function(path), "tcp://there:1": False})
        with pytest.raises(NoCluster, match=f"The workers tcp://there:1 do not see {tmp_path}"):
            check_shared(client, tmp_path)
        assert names(tmp_path) == []

    def test_a_worker_is_killed_in_mid_block(self, cli, archive, tmp_path, slow):  # noqa: F811
        assert cli(*slow, archive / "long.tif", "--output", tmp_path / "expected.tif")[0] == 0
        with (
            Cluster(tmp_path / "cluster", [["--no-nanny"], ["--no-nanny"]]) as victims,
            once(lambda: victims.working_on("map_rows") == 2, victims.workers[0].kill),
        ):
            code, out, err = cli(*slow, archive / "long.tif", "--output", tmp_path / "o", *BLOCKS, "--scheduler", victims.address)
        assert code == 0, out + err
        assert "1 of 1 scenes done (0 of them before), 0 failed." in out
        assert names(tmp_path / "o") == ["long_anomalies.tif"]
        same_map(tmp_path / "o" / "long_anomalies.tif", tmp_path / "expected.tif")

    def test_a_worker_runs_out_of_memory(self, cli, archive, tmp_path):  # noqa: F811
        """A scene whose blocks are larger than the workers, as somebody said --memory far too large; the small one beside it is done."""
        large = np.random.default_rng(0).integers(1, 2000, (400, 330, 400)).astype(np.int16)
        write_scene(tmp_path / "large.tif", large)
        with Cluster(tmp_path / "cluster", [["--nanny", "--memory-limit", "600MB"]] * 2, allowed_failures=1) as cluster:
            code, out, err = cli(
                "rx",
                tmp_path / "large.tif",
                archive / "small.tif",
                "--output",
                tmp_path / "o",
                "--memory",
                8000,
                "--scheduler",
                cluster.address,
            )
        assert code == 1
        assert "1 of 2 scenes done (0 of them before), 1 failed." in out
        assert f"{tmp_path}/large.tif: every worker that worked on it died" in out
        assert "use a smaller --memory" in out
        assert names(tmp_path / "o") == ["small_rx.tif"]

    def test_the_scheduler_goes_away(self, cli, cluster, archive, tmp_path, slow):  # noqa: F811
        arguments = [*slow, archive / "tiny.tif", archive / "long.tif", *BLOCKS, "--output", tmp_path / "o"]
        with (
            Cluster(tmp_path / "cluster", [["--no-nanny"]]) as victims,
            once(lambda: victims.working_on("map_rows") == 1, victims.scheduler.kill),
        ):
            code, out, err = cli(*arguments, "--scheduler", victims.address)
        assert code == 1
        assert "1 of 2 scenes done (0 of them before), 0 failed." in out
        assert f"1 scenes are not done: the scheduler {victims.address} is gone" in out
        assert "--resume" in out
        assert names(tmp_path / "o") == ["tiny_anomalies.tif"]
        done = (tmp_path / "o" / "tiny_anomalies.tif").stat().st_mtime_ns
        code, out, err = cli(*arguments, "--resume", "--scheduler", cluster.address)
        assert code == 0, err
        assert "2 of 2 scenes done (1 of them before), 0 failed." in out
        assert names(tmp_path / "o") == ["long_anomalies.tif", "tiny_anomalies.tif"]
        assert (tmp_path / "o" / "tiny_anomalies.tif").stat().st_mtime_ns == done

    def test_the_last_worker_dies(self, cli, archive, tmp_path, slow, monkeypatch):  # noqa: F811
        monkeypatch.setattr("scoread_qgis.cluster.engine._SECONDS_WITHOUT_WORKERS", 1)
        with (
            Cluster(tmp_path / "cluster", [["--no-nanny"]]) as victims,
            once(lambda: victims.working_on("map_rows") == 1, victims.workers[0].kill),
        ):
            code, out, _ = cli(*slow, archive / "long.tif", *BLOCKS, "--output", tmp_path / "o", "--scheduler", victims.address)
        assert code == 1
        assert "1 scenes are not done: there has been no worker for 1 seconds" in out
        assert names(tmp_path / "o") == []

    def test_an_input_vanishes(self, cli, cluster, archive, tmp_path, slow):  # noqa: F811
        """It is there when the work begins, and is gone when its turn comes."""
        for name in ("a.tif", "b.tif", "c.tif", "d.tif"):
            shutil.copy(archive / "small.tif", tmp_path / name)
        with once(lambda: cluster.working_on("detect_scene") == 2, (tmp_path / "d.tif").unlink):
            code, out, _ = cli(*slow, tmp_path / "?.tif", "--output", tmp_path / "o", "--scheduler", cluster.address)
        assert code == 1
        assert "3 of 4 scenes done (0 of them before), 1 failed." in out
        assert f"{tmp_path}/d.tif: {tmp_path}/d.tif cannot be opened as a raster" in out
        assert names(tmp_path / "o") == ["a_anomalies.tif", "b_anomalies.tif", "c_anomalies.tif"]

    @pytest.mark.parametrize("blocks", [[], BLOCKS])
    def test_the_disk_is_full(self, cli, archive, full_disk, blocks):  # noqa: F811
        full_disk, address = full_disk
        arguments = ["--output", full_disk, *blocks, "--scheduler", address]
        assert cli("rx", archive / "tiny.tif", *arguments)[0] == 0, "beside the other one it would find no room"
        code, out, _ = cli("rx", archive / "tiny.tif", archive / "long.tif", *arguments, "--resume")
        assert code == 1
        assert "1 of 2 scenes done (1 of them before), 1 failed." in out
        assert f"{archive}/long.tif: " in out
        assert "Is the disk full?" in out
        assert names(full_disk) == ["tiny_rx.tif"]

    def test_interrupted(self, cluster, archive, tmp_path, slow):
        """Ctrl-C at the client: the workers stop, and nothing is left of what was at work."""
        arguments = [
            *slow,
            "--perturbations",
            10_000,
            archive / "long.tif",
            *BLOCKS,
            "--output",
            tmp_path / "o",
            "--scheduler",
            cluster.address,
        ]
        process = start(*arguments)
        wait_for(lambda: cluster.working_on("map_rows") == 2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert names(tmp_path / "o") == []

        def idle(dask_worker):
            return dask_worker.state.executing_count == 0

        wait_for(lambda: all(cluster.client.run(idle).values()), 30)
        assert names(tmp_path / "o") == []


@pytest.fixture
def full_disk(cluster, tmp_path):
    """A folder with room for the map of the tiny scene alone, and the scheduler of workers for whom it is so.

    A file system of its own, or, without the right to mount one, workers that may not write larger files.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    room = 288 * 1024  # a tile of 256 x 256 pixels before it is compressed, and some more
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "scoread_test", folder], capture_output=True, check=False)
    if mounted.returncode == 0:
        yield folder, cluster.address
        subprocess.run(["umount", "--lazy", folder], check=True)  # a worker may still be at it
    else:
        import resource

        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # noqa: E731
        with Cluster(tmp_path / "cluster", [["--no-nanny"]], before_worker=limit) as limited:
            yield folder, limited.address
