"""Plugins > ScoreAD > Install PyTorch..., clicked through in a QGIS that has none; and in one that has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from wheels import WORKING_TORCH, Server, make_wheel, pip_environment


@pytest.fixture(scope="module")
def seen(qgis_app, tmp_path_factory):
    """What a user saw who had no PyTorch, asked for it, cancelled, failed, installed it from a folder, and removed it."""
    folder = tmp_path_factory.mktemp("desk")
    make_wheel(folder / "wheels", code=WORKING_TORCH + "#" * 500_000)
    with Server(folder / "wheels", stalls=True) as server:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("desk.py")), str(folder / "profile"), str(folder / "wheels"), server.url],
            env={**pip_environment(os.environ, folder), "QT_QPA_PLATFORM": "offscreen"},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    assert "SEEN " in done.stdout, done.stderr
    return json.loads(done.stdout.partition("SEEN ")[2].splitlines()[0])


def test_the_provider_lists_all_and_a_run_says_where_to_click(seen):
    assert {"train_sgm", "detect_anomalies", "detect_rx", "train_fers", "import_matlab", "sample_scene"} <= set(seen["algorithms"])
    ready, message = seen["can execute"]
    assert not ready
    assert message.splitlines()[0] in seen["run"], "what is missing is said by a run too"
    assert "needs PyTorch, which QGIS' Python does not have. Click Plugins > ScoreAD > Install PyTorch..." in message
    assert f"-m pip install --target {seen['folder']}" in message


def test_a_message_says_what_is_missing_and_opens_the_dialog(seen):
    assert seen["told"] == ["PyTorch is missing: anomaly maps cannot be made yet."]
    assert seen["opened by the message"] == ["InstallDialog"]
    assert seen["told again"] <= 0, "once in a session"
    assert not seen["torch was imported"]


def test_enter_does_not_copy_the_command(seen):
    assert seen["copied by Enter"] == ""
    assert "Copy command" not in seen["defaults"]


def test_the_menu_comes_and_goes(seen):
    assert seen["menu"] == ["Find anomalies in this layer...", "Anomalies", "Install PyTorch...", "Check installation"]
    assert seen["menu at the end"] == []


def test_the_dialog_says_what_how_large_and_where(seen):
    missing = seen["missing"]
    assert "Missing: PyTorch" in missing["state"]
    assert "https://download.pytorch.org/whl/cpu" in missing["facts"]
    assert seen["folder"] in missing["facts"]
    assert "QGIS' own packages stay as they are: numpy" in missing["facts"]
    assert missing["buttons"] == ["Install"]
    assert seen["copied"] == seen["command"] != ""


def test_cancel_leaves_nothing(seen):
    assert seen["busy"]["buttons"] == ["Install", "Cancel installation"]
    assert not seen["waiting"], "Install cannot be clicked twice"
    assert "Collecting torch" in seen["cancelled"]["log"]
    assert seen["cancelled"]["step"] == "Cancelled. Nothing was installed."
    assert seen["cancelled"]["left"] == []
    assert seen["ticks"] > 20, "the desktop was alive meanwhile"


def test_failure_is_told(seen):
    assert not seen["no folder"], "no Install without a folder of wheels"
    assert seen["failed"]["step"].startswith("Nothing was installed. There is no wheel for Python")
    assert seen["failed"]["buttons"] == ["Install"]


def test_installed_from_a_folder_and_used_without_a_restart(seen):
    assert seen["installed"]["step"] == "Installed. It can be used at once."
    assert "PyTorch 9.9" in seen["installed"]["state"]
    assert seen["installed"]["buttons"] == ["Uninstall"]
    assert seen["can execute then"] == [True, ""]
    assert seen["at the end of the path"], "QGIS' own packages come first"
    assert seen["torch"] == ["9.9", seen["folder"]]


def test_uninstalled_with_one_click(seen):
    assert seen["uninstalled"]["left"] == []
    assert "Missing: PyTorch" in seen["uninstalled"]["state"]
    assert seen["uninstalled"]["step"].startswith("Uninstalled.")


def test_the_report_without_pytorch(seen):
    lines = dict(line.split(": ", 1) for line in seen["report"].splitlines())
    assert lines["PyTorch"] == "MISSING. Click Plugins > ScoreAD > Install PyTorch..."
    assert lines["Self test"].startswith("FAILED, ")
    assert lines["numpy"][0].isdigit()


def test_a_torch_that_is_there_is_used_as_it_is(qgis_app):
    from scoread_qgis.installation.install_dialog import InstallDialog

    dialog = InstallDialog()
    assert "is used as it is, and there is nothing to install" in dialog.state.text()
    shown = [dialog.install_button, dialog.uninstall_button, dialog.choices, dialog.by_hand, dialog.cancel_button]
    assert not any(widget.isVisibleTo(dialog) for widget in shown)


def test_without_pip_the_command_is_shown_and_no_button(qgis_app, tmp_path, monkeypatch):
    from wheels import only_in

    from scoread_qgis.installation import install_dialog

    monkeypatch.delitem(sys.modules, "torch", raising=False)  # for this test, in case another has imported it
    monkeypatch.setattr(install_dialog, "pip_obstacle", lambda: "QGIS' Python has no pip.")
    with only_in(tmp_path):
        dialog = install_dialog.InstallDialog()
    assert "has no pip" in dialog.state.text()
    assert not dialog.install_button.isVisibleTo(dialog)
    assert "pip install --target" in dialog.command.toPlainText()
    assert dialog.by_hand.isVisibleTo(dialog)


PROXY = """
import sys
sys.path.insert(0, {built!r})
from qgis.core import QgsApplication, QgsNetworkAccessManager, QgsSettings
application = QgsApplication([], False, {profile!r})
application.initQgis()
settings = QgsSettings()
for name, value in {{"Enabled": True, "Type": {kind!r}, "Host": "proxy.example", "Port": "3128", "User": "me", "Password": "p@ss"}}.items():
    settings.setValue("proxy/proxy" + name, value)
settings.setValue("proxy/noProxyUrls", ["https://inside.example"])
QgsNetworkAccessManager.instance().setupDefaultProxyAndCache()
from scoread_qgis.installation.proxy import qgis_proxy
print("PROXY", repr([qgis_proxy("https://download.pytorch.org/whl/cpu"), qgis_proxy("https://inside.example/simple")]))
"""


@pytest.mark.parametrize(("kind", "scheme"), [("HttpProxy", "http"), ("Socks5Proxy", "socks5h")])
def test_the_proxy_of_qgis(qgis_app, kind, scheme, tmp_path):
    code = PROXY.format(built=str(Path(__file__).parents[1] / "build"), profile=str(tmp_path), kind=kind)
    environment = {**pip_environment(os.environ, tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert f"PROXY ['{scheme}://me:p%40ss@proxy.example:3128', '']" in done.stdout, done.stderr
