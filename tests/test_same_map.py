"""One map, whoever makes it: QGIS, the command line, and a Dask cluster, where a scene is one task or is split into row blocks. Bit by bit,
with one exception, to the last bit."""

import numpy as np
import pytest
from conftest import read
from test_cluster import BLOCKS, Cluster
from test_command_line import cli  # noqa: F401  (a fixture)

from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene

pytest.importorskip("distributed", reason="needs dask.distributed: python -m pip install distributed")

MEMORY = int(BLOCKS[1])  # MB, the same for all: a larger scene is read, and on a cluster split, in several blocks
MAPS = {
    "default mode": ("detect_anomalies", {}, ["detect", "--model", "sgm.pt"], True),
    "RX global": ("detect_rx", {}, ["rx"], True),
    "RX local": (
        "detect_rx",
        {"MODE": 1, "INNER_WINDOW": 1, "OUTER_WINDOW": 7},
        ["rx", "--mode", "local", "--inner-window", 1, "--outer-window", 7],
        True,
    ),
    "FERS": ("detect_anomalies", {}, ["detect", "--model", "fers.pt"], False),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), [["--no-nanny"], ["--no-nanny"]]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scene that is one task of a cluster, one that is split, both with nodata, and models."""
    from scoread_qgis.commandline.main import main

    folder = tmp_path_factory.mktemp("scenes")
    for name, rows, columns in (("small", 40, 48), ("long", 200, 56)):
        scene = simulate_scene(rows, columns, 96, seed=rows)
        cube = scene.cube.copy()
        cube[10:13, 5:9] = -9999
        write_scene(
            folder / f"{name}.tif", cube, geotransform=(0, 2, 0, 0, 0, -2), wavelengths=scene.wavelengths, scale=scene.scale, nodata=-9999
        )
    assert main(["train", str(folder / "small.tif"), "--model", str(folder / "sgm.pt")]) == 0
    assert (
        main(
            ["train-fers", str(folder / "small.tif"), "--model", str(folder / "fers.pt"), "--epochs", "1", "--patch", "32", "--batch", "2"]
        )
        == 0
    )
    return folder


@pytest.fixture
def like_a_worker(provider):
    """The memory of the other runs, and one thread: PyTorch sums FERS' convolutions in another order with more, 2e-6 of a score apart."""
    import torch
    from processing.core.ProcessingConfig import ProcessingConfig

    settings = {"SCOREAD_MEMORY": MEMORY, "SCOREAD_THREADS": 1}
    before, threads = {name: ProcessingConfig.getSetting(name) for name in settings}, torch.get_num_threads()
    for name, value in settings.items():
        ProcessingConfig.setSettingValue(name, value)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for name, value in before.items():
        ProcessingConfig.setSettingValue(name, value)


@pytest.mark.parametrize("scene", ["small", "long"])
@pytest.mark.parametrize("detector", MAPS)
def test_maps_are_identical(run, cli, cluster, folder, like_a_worker, tmp_path, monkeypatch, detector, scene):  # noqa: F811
    monkeypatch.chdir(folder)
    algorithm, parameters, command, by_rows = MAPS[detector]
    if algorithm == "detect_anomalies":
        parameters = {**parameters, "MODEL": str(folder / command[-1])}
    run(algorithm, INPUT=str(folder / f"{scene}.tif"), OUTPUT=str(tmp_path / "qgis.tif"), **parameters)
    command = [*command, f"{scene}.tif", *BLOCKS]
    assert cli(*command, "--output", tmp_path / "cli.tif")[0] == 0
    code, _, err = cli(*command, "--output", tmp_path / "dask.tif", "--scheduler", cluster.address)
    assert code == 0, err
    assert ("row blocks" in err) == (by_rows and scene == "long")
    first = read(tmp_path / "qgis.tif")
    assert np.isfinite(first).mean() > 0.9
    for other in ("cli.tif", "dask.tif"):
        # In row blocks, global RX adds up its statistics, and the default mode what is around a pixel, in another order: the last bits of
        # single precision.
        in_blocks = {"RX global": 3e-7, "default mode": 2e-6}
        tolerance = in_blocks.get(detector, 0) if (scene, other) == ("long", "dask.tif") else 0
        np.testing.assert_allclose(read(tmp_path / other), first, rtol=tolerance, atol=0, err_msg=other)
