"""The real QGIS desktop on a virtual screen: Toolbox, dialogs, layer tree and canvas, as a user has them (see desktop_session.py)."""

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from conftest import read

ROOT = Path(__file__).resolve().parents[1]
RESPONSIVE = 0.2  # seconds that the event loop may be blocked
# QGIS before 3.26 runs batches and models on its main thread, where its own algorithms are silent for .4 s.
PHASES = {"Find anomalies": RESPONSIVE, "Train SGM": RESPONSIVE, "Detect anomalies": RESPONSIVE, "Batch": 0.4, "Model": 0.8}
PROFILE = """[PythonPlugins]
scoread_qgis=true
processing=true
[qgis]
checkVersion=false
showTips=false
[core]
NewsFeed\\http\\news\\disabled=true
[app]
hideBrowserDock=true
"""

pytestmark = pytest.mark.skipif(
    not shutil.which("qgis") or not shutil.which("Xvfb"), reason="needs the QGIS desktop and Xvfb (Debian packages qgis and xvfb)"
)


def at_the_desktop(folder, session="desktop_session.py"):
    """Have QGIS run a session with a profile of its own, and return the report."""
    ini = folder / "profile" / "profiles" / "default" / "QGIS" / "QGIS3.ini"
    ini.parent.mkdir(parents=True)
    ini.write_text(PROFILE, encoding="utf-8")
    screen = subprocess.Popen(["Xvfb", "-displayfd", "1", "-screen", "0", "1400x900x24"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        environment = {
            **os.environ,
            "DISPLAY": f":{screen.stdout.readline().decode().strip()}",
            "QT_QPA_PLATFORM": "xcb",
            "QGIS_PLUGINPATH": str(ROOT / "build"),
            "PYTHONPATH": os.pathsep.join((sysconfig.get_paths()["purelib"], str(Path(__file__).parent))),
            "SCOREAD_DESKTOP": str(folder),
        }
        session = str(Path(__file__).with_name(session))
        command = ["qgis", "--nologo", "--noversioncheck", "--profiles-path", str(folder / "profile"), "--code", session]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    finally:
        screen.kill()
        screen.wait()
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert "error" not in report, report["error"] + done.stderr
    return report, done.stdout + done.stderr


def blocked(report):
    """By how much the event loop was blocked for too long, at worst, while algorithms worked; and that silence.

    Time in which the main thread could have gone on, had other programs not had the processors, does not count.
    """
    silences = [(s[0] - s[1] - limit, [phase, *s]) for phase, limit in PHASES.items() for s in report["silences"][phase]]
    return max(silences, default=(-RESPONSIVE, None))


def at_an_answering_desktop(prepared_folder, blocked, session="desktop_session.py"):
    """Folder, report and terminal output of a session in a folder that `prepared_folder()` makes.

    Where the event loop was blocked for too long while the machine was busy with other things, so that threads that hold a lock were kept
    waiting too, the session is repeated, twice at most. blocked(report): (seconds beyond what is allowed, ...).
    """
    for _ in range(3):
        folder = prepared_folder()
        report, output = at_the_desktop(folder, session)
        if blocked(report)[0] <= 0 or report["waited"] <= 0.02 * report["seconds"]:
            break
    return folder, report, output


@pytest.fixture(scope="module")
def desktop(provider, tmp_path_factory):
    """Folder, report and terminal output of one session."""
    import processing

    def prepared():
        folder = tmp_path_factory.mktemp("desktop")
        sizes = {"ROWS": 100, "COLUMNS": 100, "BAND_COUNT": 80}
        processing.run("scoread:sample_scene", {**sizes, "OUTPUT": str(folder / "scene.tif"), "TRUTH": str(folder / "truth.tif")})
        (folder / "scene.qml").unlink()  # as a scene from elsewhere opens
        return folder

    return at_an_answering_desktop(prepared, blocked)


def test_the_window_answers_while_algorithms_run(desktop):
    _, report, _ = desktop
    seconds, silence = blocked(report)
    print(f"event loop blocked {1000 * seconds:+.0f} ms beyond what is allowed: {silence}")
    assert seconds <= 0, silence


def test_two_clicks_lead_from_the_scene_to_the_first_place(desktop):
    from osgeo import gdal

    folder, report, _ = desktop
    seen = report["find"]
    assert seen["offered"] == ["scene (80 bands)"] and not seen["polygons"]
    assert any("Detect anomalies" in title for title in seen["tasks"]), "in QGIS' own task bar"
    assert seen["tree"] == ["Anomalies of scene", "scene"] and seen["active"] == "Anomalies of scene"
    assert seen["group"] == ["Regions of scene, rate 0.001", "Anomalies of scene"]
    assert seen["renderer"] == "singlebandpseudocolor"
    assert [path.partition("|")[0] for path in seen["files"]] == [str(folder / "scene.anomalies.tif"), str(folder / "scene.regions.gpkg")]
    assert seen["bands before"] == [1, 2, 3]
    scene = gdal.Open(str(folder / "scene.tif"))
    wavelengths = [float(scene.GetRasterBand(band).GetMetadataItem("wavelength")) for band in seen["bands"]]
    assert wavelengths == pytest.approx([650, 550, 460], abs=15), "natural colour"
    assert seen["dock"] == [True, 1, 1], "open, at the list, at rank 1"
    assert seen["off centre"] < 0.01 and seen["share of the scene"] < 0.95


def test_the_result_is_a_styled_layer_on_top(desktop):
    folder, report, _ = desktop
    assert report["layer tree"] == [
        ["Anomalies of scene", str(folder / "anomalies.tif"), "singlebandpseudocolor"],
        ["scene", str(folder / "scene.tif"), report["layer tree"][1][2]],
    ]


def test_dialogs_propose_a_model_and_remember_it(desktop):
    folder, report, _ = desktop
    assert report["proposed"] == str(folder / "scene.scoread.pt")
    assert report["remembered"] == str(folder / "model.pt")


def test_the_canvas_shows_the_anomalies(desktop):
    """On a black background anomalies are as bright as the map says, and ordinary ground stays dark."""
    folder, _, _ = desktop
    truth, scores, canvas = read(folder / "truth.tif") > 0, read(folder / "anomalies.tif"), read(folder / "canvas.png").astype(float)
    rows, columns = np.indices(truth.shape)
    left, width, _, top, _, height = geotransform(folder / "anomalies.tif")
    x, y = left + (columns + 0.5) * width, top + (rows + 0.5) * height
    left, width, _, top, _, height = geotransform(folder / "canvas.png")
    red, green, blue = canvas[:3, np.floor((y - top) / height).astype(int), np.floor((x - left) / width).astype(int)]
    brightness = (red + green + blue) / 3
    assert brightness[scores < np.median(scores)].max() < 5
    highest = np.unravel_index(scores.argmax(), scores.shape)
    assert [red[highest], green[highest], blue[highest]] == pytest.approx([252, 255, 164], abs=3), "the top of Inferno"
    glowing = scores > np.quantile(scores, 0.99)
    assert (red - blue)[glowing].min() > 60, "orange to yellow"
    assert np.median(brightness[truth]) > 10 * max(np.median(brightness[~truth]), 1)


def geotransform(path):
    from osgeo import gdal

    return gdal.Open(str(path)).GetGeoTransform()


def test_cancel_stops_within_two_seconds_and_leaves_nothing(desktop):
    folder, report, _ = desktop
    seconds, worked = report["cancelled after"]
    # On a busy machine others have the processors; QGIS itself has no more than two seconds' work until then.
    assert seconds < 2 or (worked < 2 and seconds < 20), (seconds, worked)
    assert "Cancelled: nothing was written." in report["cancel"]
    assert not [path.name for path in folder.iterdir() if "cancelled" in path.name or ".part" in path.name]


def test_a_batch_is_complete_stays_open_and_can_be_cancelled(desktop):
    """QGIS before 3.26 runs a batch on its main thread."""
    folder, report, _ = desktop
    np.testing.assert_array_equal(read(folder / "batch_1.tif"), read(folder / "batch_2.tif"))
    assert report.get("open in the midst of a batch", True)
    assert report["close buttons"] in ([False, True], [True]), "in the midst of it where it waits on the main thread, and at the end"
    seconds, worked = report["batch cancelled after"]
    assert seconds < 2 or (worked < 2 and seconds < 20), (seconds, worked)


def test_a_designer_model_leaves_all_its_results(desktop):
    folder, _, _ = desktop
    assert read(folder / "model_map.tif").shape == read(folder / "truth.tif").shape
    assert "<html" in (folder / "model_report.html").read_text(encoding="utf-8")


def test_nothing_went_wrong_unseen(desktop):
    _, report, output = desktop
    said = [message for message in report["messages"] if message[0] != "Messages"]  # those of the message bar
    assert [m for m in said if m[0] in ("Python error", "Python warning") or "scoread" in m[2].lower() or "Traceback" in m[2]] == []
    assert "Traceback" not in output
