"""A whole QGIS without PyTorch, in a process and a profile of its own: python desk.py PROFILE WHEELS INDEX. Prints what a user sees as
JSON.

PyTorch is found in the plugin's own folder alone, wherever else this machine has one. INDEX is a server that never ends its answer.
"""

import json
import sys
import time
from pathlib import Path

profile, wheels, index = sys.argv[1:]
sys.path[:0] = [str(Path(__file__).parents[1] / "build"), "/usr/share/qgis/python/plugins"]

from qgis.core import QgsApplication, QgsProcessingException  # noqa: E402

application = QgsApplication([], True, profile)
application.initQgis()

import processing  # noqa: E402
from conftest import LogFeedback  # noqa: E402
from processing.core.Processing import Processing  # noqa: E402
from qgis.gui import QgsMessageBar  # noqa: E402
from qgis.PyQt.QtCore import Qt, QTimer  # noqa: E402
from qgis.PyQt.QtTest import QTest  # noqa: E402
from qgis.PyQt.QtWidgets import QMainWindow, QPushButton  # noqa: E402
from wheels import only_in  # noqa: E402

import scoread_qgis  # noqa: E402
from scoread_qgis.installation import packages  # noqa: E402
from scoread_qgis.installation.check import installation_report  # noqa: E402
from scoread_qgis.installation.pip_command import Source  # noqa: E402


class Desktop:
    """What the plugin uses of QgisInterface."""

    def __init__(self):
        self._window = QMainWindow()
        self.bar = QgsMessageBar(self._window)
        self.menu = self._window.menuBar().addMenu("ScoreAD")

    def mainWindow(self):
        return self._window

    def messageBar(self):
        return self.bar

    def addToolBar(self, name):
        return self._window.addToolBar(name)

    def addCustomActionForLayerType(self, action, menu, kind, all_layers):
        self.of_layers = [action]

    def removeCustomActionForLayerType(self, action):
        self.of_layers.remove(action)

    def addPluginToMenu(self, name, action):
        self.menu.addAction(action)

    def removePluginMenu(self, name, action):
        self.menu.removeAction(action)

    def addDockWidget(self, area, dock):
        self._window.addDockWidget(area, dock)

    def removeDockWidget(self, dock):
        self._window.removeDockWidget(dock)


def wait(dialog, until=lambda: False):
    end = time.monotonic() + 180
    while dialog.task is not None and not until() and time.monotonic() < end:
        application.processEvents()
        time.sleep(0.01)


def texts(dialog):
    """What is to be read and clicked in the install dialog now."""
    labels = {"state": dialog.state, "facts": dialog.facts, "step": dialog.step}
    shown = {name: label.text() for name, label in labels.items() if label.isVisibleTo(dialog)}
    buttons = (dialog.install_button, dialog.uninstall_button, dialog.cancel_button)
    return {**shown, "log": dialog.log.toPlainText(), "buttons": [button.text() for button in buttons if button.isVisibleTo(dialog)]}


seen = {}
folder = packages.package_folder()
with only_in(folder):
    Processing.initialize()
    desktop = Desktop()
    plugin = scoread_qgis.classFactory(desktop)
    plugin.initGui()
    told = desktop.bar.items()
    seen["told"] = [message.text() for message in told]
    seen["torch was imported"] = "torch" in sys.modules
    next(button for button in told[0].findChildren(QPushButton) if "PyTorch" in button.text()).click()
    seen["opened by the message"] = [type(dialog).__name__ for dialog in plugin._dialogs.values() if dialog.isVisible()]
    again = scoread_qgis.classFactory(desktop)
    again._tell_what_is_missing()
    seen["told again"] = len(desktop.bar.items()) - len(told)
    seen["menu"] = [action.text() for action in desktop.menu.actions()]
    seen["algorithms"] = sorted(algorithm.name() for algorithm in plugin.provider.algorithms())
    seen["can execute"] = plugin.provider.algorithm("detect_rx").canExecute()
    feedback = LogFeedback()
    try:
        processing.run("scoread:sample_scene", {"ROWS": 40, "COLUMNS": 40, "BAND_COUNT": 8, "OUTPUT": f"{profile}/scene.tif"})
        processing.run("scoread:detect_rx", {"INPUT": f"{profile}/scene.tif", "OUTPUT": f"{profile}/map.tif"}, feedback=feedback)
    except QgsProcessingException:
        seen["run"] = "\n".join(feedback.lines)
    seen["report"] = installation_report()

    next(action for action in desktop.menu.actions() if action.text() == "Install PyTorch...").trigger()
    dialog = plugin.show_install_dialog()
    assert dialog is plugin.show_install_dialog()
    seen["missing"] = texts(dialog)
    seen["command"] = dialog.command.toPlainText()
    dialog.copy_button.click()
    seen["copied"] = QgsApplication.clipboard().text()
    QgsApplication.clipboard().clear()
    dialog.install_button.setEnabled(False)  # which Enter would click
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    seen["copied by Enter"] = QgsApplication.clipboard().text()
    seen["defaults"] = [button.text() for button in dialog.findChildren(QPushButton) if button.isDefault()]
    dialog.refresh()
    dialog.show()  # Enter may have closed it

    # Cancel in the midst of a download.
    dialog._sources[0] = Source("stalled", index=index, disk_mb=1)
    ticks = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(10)
    dialog.install_button.click()
    seen["busy"] = texts(dialog)
    seen["waiting"] = dialog.install_button.isEnabled()
    begun = time.monotonic() + 60
    wait(dialog, lambda: "Downloading" in dialog.log.toPlainText() or time.monotonic() > begun)
    dialog.cancel_button.click()
    wait(dialog)
    timer.stop()
    seen["ticks"] = len(ticks)
    seen["cancelled"] = {**texts(dialog), "left": sorted(path.name for path in Path(folder).parent.iterdir())}

    # Fail, then install from a folder.
    dialog.radios[-1].setChecked(True)
    seen["no folder"] = dialog.install_button.isEnabled()
    dialog.wheels.setFilePath(profile)
    dialog.install_button.click()
    wait(dialog)
    seen["failed"] = texts(dialog)
    dialog.wheels.setFilePath(wheels)
    dialog.install_button.click()
    wait(dialog)
    seen["installed"] = texts(dialog)
    seen["can execute then"] = plugin.provider.algorithm("train_sgm").canExecute()
    seen["at the end of the path"] = sys.path[-1] == folder
    import torch

    seen["torch"] = [torch.__version__, str(Path(torch.__file__).parents[1])]

    dialog.uninstall_button.click()
    wait(dialog)
    seen["uninstalled"] = {**texts(dialog), "left": sorted(path.name for path in Path(folder).parent.iterdir())}
    plugin.unload()
    seen["menu at the end"] = [action.text() for action in desktop.menu.actions()]
seen["folder"] = folder
print("SEEN " + json.dumps(seen))
application.exitQgis()
