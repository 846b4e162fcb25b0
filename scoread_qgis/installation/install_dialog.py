"""The dialog Plugins > ScoreAD > Install PyTorch...: says what would be done, and does it in the background."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

from qgis.core import QgsApplication
from qgis.gui import QgsFileWidget
from qgis.PyQt.QtGui import QFontDatabase
from qgis.PyQt.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QGroupBox,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ..core.progress import Progress
from ..translation import tr
from .installer import install, uninstall
from .packages import is_ours, location, missing, package_folder, removal_mark, version, versions_to_keep
from .pip_command import TITLES, Source, command_by_hand, pip_obstacle, requirements, sources, wheels
from .proxy import qgis_proxy
from .task import Task


class InstallDialog(QDialog):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Install PyTorch for ScoreAD"))
        self.resize(700, 600)
        self.task: Task | None = None
        fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        self.state = QLabel(wordWrap=True)
        self.choices = QGroupBox(tr("What to install"))
        inside = QVBoxLayout(self.choices)
        self._sources = sources(versions_to_keep())
        size = tr("{source}: about {download} to download, {disk} on disk")
        labels = [size.format(source=s.label, download=_size(s.download_mb), disk=_size(s.disk_mb)) for s in self._sources]
        self.radios = [QRadioButton(label) for label in [*labels, tr("From a folder of wheels (*.whl), without a network")]]
        for radio in self.radios:
            inside.addWidget(radio)
            radio.toggled.connect(lambda checked: self.refresh() if checked else None)
        self.wheels = QgsFileWidget()
        self.wheels.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.wheels.setDialogTitle(tr("Folder of wheels"))
        inside.addWidget(self.wheels)
        self.facts = QLabel(wordWrap=True)
        inside.addWidget(self.facts)
        self.by_hand = QGroupBox(tr("The same by hand, in a terminal (on Windows, the OSGeo4W shell); then start QGIS again"))
        self.command = QPlainTextEdit(readOnly=True, font=fixed, maximumHeight=90)
        self.copy_button = QPushButton(tr("Copy command"), autoDefault=False)
        self.copy_button.clicked.connect(lambda: QgsApplication.clipboard().setText(self.command.toPlainText()))
        below = QVBoxLayout(self.by_hand)
        below.addWidget(self.command)
        below.addWidget(self.copy_button)
        self.bar = QProgressBar(maximum=1000)
        self.step = QLabel(wordWrap=True)
        self.log = QPlainTextEdit(readOnly=True, font=fixed)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.install_button = buttons.addButton(tr("Install"), QDialogButtonBox.ButtonRole.ActionRole)
        self.uninstall_button = buttons.addButton(tr("Uninstall"), QDialogButtonBox.ButtonRole.ActionRole)
        self.cancel_button = buttons.addButton(tr("Cancel installation"), QDialogButtonBox.ButtonRole.ActionRole)
        self.install_button.setDefault(True)  # what Enter does; nothing while it is not there
        buttons.rejected.connect(self.reject)
        self.install_button.clicked.connect(self.install)
        self.uninstall_button.clicked.connect(self.uninstall)
        self.cancel_button.clicked.connect(self.stop)
        self.wheels.fileChanged.connect(lambda _: self.refresh())
        layout = QVBoxLayout(self)
        for widget in (self.state, self.choices, self.by_hand, self.step, self.bar, self.log):
            layout.addWidget(widget)
            if widget is not self.log:
                widget.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        layout.addStretch()
        layout.addWidget(buttons)
        self.radios[0].setChecked(True)

    def source(self) -> Source:
        """The chosen `Source`."""
        return next((s for s, radio in zip(self._sources, self.radios) if radio.isChecked()), None) or wheels(self.wheels.filePath())

    def refresh(self) -> None:
        """Show what is there, and what can be done about it."""
        names, source, kept, folder = missing(), self.source(), versions_to_keep(), package_folder()
        waits, idle, obstacle = os.path.exists(removal_mark(folder)), self.task is None, pip_obstacle()
        self.state.setText(_state(names, folder, waits, obstacle))
        to_install = bool(names) and not os.path.isdir(folder) and not waits
        self.choices.setVisible(to_install and not obstacle)
        self.choices.setEnabled(idle)
        from_folder = self.radios[-1].isChecked()
        self.wheels.setVisible(from_folder)
        self.facts.setText(_facts(names, source, kept, folder) if names else "")
        self.by_hand.setVisible(to_install)
        self.command.setPlainText(command_by_hand(names, folder, kept, source) if names else "")
        self.install_button.setVisible(to_install and not obstacle)
        self.install_button.setEnabled(idle and (not from_folder or os.path.isdir(source.folder)))
        self.uninstall_button.setVisible(os.path.isdir(folder) and not waits)
        self.uninstall_button.setEnabled(idle)
        self.cancel_button.setVisible(not idle)
        for widget in (self.bar, self.step):
            widget.setVisible(not idle or bool(self.step.text()))
        self.log.setVisible(not idle or bool(self.log.toPlainText()))

    def install(self) -> None:
        names, source, kept, folder = missing(), self.source(), versions_to_keep(), package_folder()
        proxy = "" if source.folder else qgis_proxy(source.place)
        restart = any(name in sys.modules for name in names)
        self._start(tr("Install PyTorch for ScoreAD"), lambda progress, log: install(names, source, folder, kept, proxy, progress, log))
        self._done = tr("Installed. Start QGIS again to use it.") if restart else tr("Installed. It can be used at once.")

    def uninstall(self) -> None:
        self._start(tr("Uninstall PyTorch of ScoreAD"), lambda progress, log: uninstall(package_folder(), progress, log))
        self._done = tr("Uninstalled. QGIS keeps what it has loaded until it is closed.")

    def stop(self) -> None:
        """Cancel what is under way."""
        if self.task is not None:
            self.step.setText(tr("Stopping..."))
            self.task.cancel()

    def _start(self, title: str, work: Callable[[Progress, Callable[[str], Any]], Any]) -> None:
        self.log.clear()
        self.bar.setValue(0)
        self.task = Task(title, work)
        self.task.said.connect(self.log.appendPlainText)
        self.task.moved.connect(self._moved)
        self.task.ended.connect(self._ended)
        QgsApplication.taskManager().addTask(self.task)
        self.refresh()

    def _moved(self, fraction: float, message: str) -> None:
        self.bar.setValue(round(1000 * fraction))
        self.step.setText(message[:1].upper() + message[1:])

    def _ended(self, result: object, error: str) -> None:
        self.task = None
        self.step.setText({"": self._done, "cancelled": tr("Cancelled. Nothing was installed.")}.get(error, error))
        if error:
            self.bar.setValue(0)
        self.refresh()


def _state(names: list[str], folder: str, waits: bool, obstacle: str) -> str:
    if waits:
        return tr("<b>PyTorch will be removed when QGIS starts next</b>, since its files are in use: {folder}").format(folder=folder)
    there = "; ".join(f"{TITLES[name]} {version(name)}, {os.path.dirname(location(name))}" for name in TITLES if name not in names)
    if not names:
        ours = [TITLES[name] for name in TITLES if is_ours(name)]
        if ours:
            return tr("<b>Everything is there:</b> {packages}. Uninstalled with one click: {ours}.").format(
                packages=there, ours=", ".join(ours)
            )
        return tr(
            "<b>Everything is there:</b> {packages}. It belongs to QGIS' Python, is used as it is, and there is nothing to install."
        ).format(packages=there)
    text = tr("<b>Missing: {packages}</b>. The algorithms cannot run yet.").format(packages=", ".join(TITLES[name] for name in names))
    if os.path.isdir(folder):
        return text + " " + tr("The packages in {folder} do not have it: uninstall them, then install again.").format(folder=folder)
    return f"{text} {obstacle}" if obstacle else text


def _facts(names: list[str], source: Source, kept: dict[str, str], folder: str) -> str:
    packages = ", ".join(TITLES[name] for name in names)
    if source.folder or not source.download_mb:
        what = tr("{packages} and what it needs come from the wheels in {folder}; nothing is downloaded.").format(
            packages=packages, folder=source.folder or "..."
        )
    else:
        what = tr("{packages} and what it needs come from {place}.").format(packages=packages, place=source.place)
    chosen = requirements(names, kept)[0]
    if "~=" in chosen:
        number = chosen.partition("~=")[2].rpartition(".")[0]
        what += " " + tr("It will be PyTorch {number}, the newest that fits packages of this QGIS.").format(number=number)
    while not os.path.isdir(folder_there := os.path.dirname(folder)):
        folder = folder_there
    free = shutil.disk_usage(folder_there).free >> 20
    stays = ", ".join(f"{name} {number}" for name, number in kept.items())
    where = tr("They go to <i>{folder}</i> ({free} free).<br>QGIS' own packages stay as they are: {stays}.")
    return what + "<br>" + where.format(folder=package_folder(), free=_size(free), stays=stays)


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 950 else f"{megabytes} MB"
