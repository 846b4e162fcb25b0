"""The wheel that `pip install .` makes, installed into a folder of its own: the command `scoread`, without the checkout."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "--wheel-dir", str(folder), str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("scoread_qgis-*.whl")
    subprocess.run([*pip, "install", *options, "--target", str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder / "site"


def scoread(installed, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [str(installed / "bin" / "scoread"), *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=installed, capture_output=True, text=True)


def test_a_map_by_the_command(installed, sample, tmp_path):
    done = scoread(installed, "rx", sample.path, "--output", tmp_path / "map.tif")
    assert done.returncode == 0, done.stderr
    told = scoread(installed, "info", tmp_path / "map.tif").stdout
    version = next(line for line in (ROOT / "metadata.txt").read_text(encoding="utf-8").splitlines() if line.startswith("version="))
    assert version.split("=")[1] in told, "the version of metadata.txt, which the wheel carries"


def test_what_the_wheel_carries(installed):
    carried = {path.relative_to(installed).as_posix() for path in (installed / "scoread_qgis").rglob("*") if path.suffix != ".pyc"}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "scoread_qgis").rglob("*.py")}
    resources = {f"scoread_qgis/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "resources").rglob("*.svg")}
    assert sources | resources | {"scoread_qgis/metadata.txt"} <= carried
