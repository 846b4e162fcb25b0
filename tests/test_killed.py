"""Killed at any moment of its work, a run leaves its output whole or absent, and what was there before as it was; the next run removes the
rest.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scoread_qgis.commandline.main import main
from scoread_qgis.scenes.writer import write_scene


@pytest.fixture(scope="module")
def material(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    values = np.random.default_rng(0).random((40, 40, 8)).astype(np.float32)
    values[5, 5] += 3
    write_scene(folder / "s.tif", values)
    write_scene(folder / "k.tif", np.ones((40, 40), np.uint8))
    assert main(["train", str(folder / "s.tif"), "--model", str(folder / "m.pt"), "--samples", "200"]) == 0
    assert main(["rx", str(folder / "s.tif"), "--output", str(folder / "a.tif")]) == 0
    for name in ("out", "tmp"):
        (folder / name).mkdir()
    return folder


@pytest.mark.only_on("linux", "darwin")
@pytest.mark.parametrize("task", ["train", "detect", "extract"])
def test_killed(material, task):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed.py")), str(material), task],
        env={**os.environ, "PLACES": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=500,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    numbers = {name: int(value) for name, value in re.findall(r"(\w+)'?:? (\d+)", done.stdout)}
    assert numbers["moments"] >= 20
    assert numbers["litter"] >= 10
    assert min(numbers[state] for state in ("old", "absent")) > 3
    assert "left ['next.tif'] []" in done.stdout
