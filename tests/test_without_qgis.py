"""Where there is no QGIS, the tests that need none run, and the others say what they lack."""

import os
import re
import subprocess
import sys
from pathlib import Path

HIDDEN = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec


class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "qgis" else find(name, path, target)


PathFinder.find_spec = Finder.find_spec
"""


def test_what_needs_no_qgis_runs(tmp_path):
    """Files with tests of both kinds, and one that imports QGIS before its first test."""
    (tmp_path / "sitecustomize.py").write_text(HIDDEN, encoding="utf-8")
    (tmp_path / "test_all_of_it.py").write_text("from qgis.core import Qgis\n\ndef test_one():\n    assert False\n", encoding="utf-8")
    folder = Path(__file__).parent
    files = [folder / name for name in ("test_own_thread.py", "test_multidimensional.py", "test_check.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:pytest_qgis", "-p", "no:cacheprovider", "-rs", "--confcutdir", folder, "-c",
         folder.parent / "pyproject.toml", "--rootdir", folder.parent, *files, tmp_path / "test_all_of_it.py"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=folder.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    passed, skipped = (int(number) for number in re.search(r"(\d+) passed, (\d+) skipped", done.stdout).groups())
    assert passed >= 10 and skipped >= 5
    reasons = re.findall(r"^SKIPPED \[\d+\] .*: (.*)$", done.stdout, re.MULTILINE)
    assert set(reasons) == {"needs QGIS"}
