"""Plugins > ScoreAD > Check installation, and its report without a desktop."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wheels import pip_environment

from scoread_qgis.core.progress import Progress
from scoread_qgis.installation.check import _auc, installation_report, self_test


def fields(report):
    return dict(line.split(": ", 1) for line in report.splitlines())


def test_report_of_an_installation_that_works(provider):
    import numpy
    import scipy
    import torch
    from osgeo import gdal
    from qgis.core import Qgis

    fractions = []
    report = fields(installation_report(Progress(lambda fraction, message: fractions.append(fraction))))
    assert report["QGIS"].startswith(Qgis.version())
    assert report["Python"].startswith(".".join(map(str, sys.version_info[:3])))
    versions = {"numpy": numpy.__version__, "scipy": scipy.__version__, "GDAL": gdal.__version__, "PyTorch": torch.__version__}
    for title, version in versions.items():
        assert report[title].startswith(f"{version}, /")
    assert "CPU with" in report["Devices"]
    assert report["Device setting"] == "auto"
    assert report["Self test"].startswith("passed: trained in ")
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_the_self_test_can_fail(monkeypatch):
    from scoread_qgis.detectors.default_mode.sgm import SGM

    detect = SGM.detect
    monkeypatch.setattr(SGM, "detect", lambda self, cube, progress=None: ((row, -rows) for row, rows in detect(self, cube, progress)))
    assert self_test().startswith("FAILED, the area should be")


def test_area_under_the_curve():
    import numpy as np

    assert _auc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True])) == pytest.approx(0.75)


BROKEN = """
import sys
sys.path[:0] = [{built!r}, "/usr/share/qgis/python/plugins"]
from qgis.core import QgsApplication
application = QgsApplication([], False, {profile!r})
application.initQgis()
from processing.core.Processing import Processing
Processing.initialize()
from scoread_qgis.installation.check import installation_report
print(installation_report())
"""


def test_a_torch_that_does_not_load_is_in_the_report(qgis_app, tmp_path):
    (tmp_path / "site" / "torch").mkdir(parents=True)
    (tmp_path / "site" / "torch" / "__init__.py").write_text("raise OSError('[WinError 126] c10.dll or one of its dependencies')")
    done = subprocess.run(
        [sys.executable, "-c", BROKEN.format(built=str(Path(__file__).parents[1] / "build"), profile=str(tmp_path / "profile"))],
        env={**pip_environment(os.environ, tmp_path), "PYTHONPATH": str(tmp_path / "site"), "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = fields(done.stdout)
    assert report["PyTorch"].startswith("FAILED, OSError: [WinError 126] c10.dll"), done.stderr
    assert str(tmp_path / "site" / "torch") in report["PyTorch"]
    assert report["Self test"].startswith("FAILED, OSError")
    assert report["GDAL"][0].isdigit()


def test_the_dialog_checks_in_the_background_and_copies(provider, qgis_app):
    from scoread_qgis.installation.check_dialog import CheckDialog

    dialog = CheckDialog()
    dialog.refresh()
    assert not dialog.copy_button.isEnabled()
    end = time.monotonic() + 60
    while dialog.task is not None and time.monotonic() < end:
        qgis_app.processEvents()
        time.sleep(0.01)
    assert "Self test: passed" in dialog.report.toPlainText()
    assert dialog.step.text() == "Everything works."
    dialog.copy_button.click()
    assert qgis_app.clipboard().text() == dialog.report.toPlainText()


def test_the_dialog_says_what_is_not_in_order(qgis_app):
    from scoread_qgis.installation.check_dialog import CheckDialog

    dialog = CheckDialog()
    dialog._ended("GDAL: 3.6\nPyTorch: MISSING. Click\nDevices: FAILED, no torch\nSelf test: FAILED, the area should be at least 0.9", "")
    assert dialog.step.text() == "Not in order: PyTorch, Devices, Self test. The report says why."
    assert not dialog.bar.isVisibleTo(dialog)


def test_closing_the_dialog_ends_the_check(provider, qgis_app):
    from scoread_qgis.installation.check_dialog import CheckDialog

    dialog = CheckDialog()
    dialog.show()
    dialog.refresh()
    dialog.reject()
    end = time.monotonic() + 60
    while dialog.task is not None and time.monotonic() < end:
        qgis_app.processEvents()
        time.sleep(0.01)
    assert "Self test" not in dialog.report.toPlainText()
