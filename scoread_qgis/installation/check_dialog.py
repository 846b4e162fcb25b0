"""The dialog Plugins > ScoreAD > Check installation: the report of `check`, made in the background, to read and to copy."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.PyQt.QtGui import QFontDatabase
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPlainTextEdit, QProgressBar, QVBoxLayout, QWidget

from ..translation import tr
from .check import installation_report, problems
from .task import Task


class CheckDialog(QDialog):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Check the installation of ScoreAD"))
        self.resize(760, 380)
        self.task: Task | None = None
        self.step = QLabel()
        self.bar = QProgressBar(maximum=1000)
        self.report = QPlainTextEdit(readOnly=True, font=QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.copy_button = buttons.addButton(tr("Copy for a bug report"), QDialogButtonBox.ButtonRole.ActionRole)
        self.copy_button.clicked.connect(lambda: QgsApplication.clipboard().setText(self.report.toPlainText()))
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        for widget in (self.step, self.bar, self.report, buttons):
            layout.addWidget(widget)

    def refresh(self) -> None:
        """Check again, unless a check is under way."""
        if self.task is not None:
            return
        self.report.clear()
        self.bar.show()
        self.copy_button.setEnabled(False)
        self.task = Task(tr("Check the installation of ScoreAD"), lambda progress, log: installation_report(progress))
        self.task.moved.connect(self._moved)
        self.task.ended.connect(self._ended)
        QgsApplication.taskManager().addTask(self.task)

    def stop(self) -> None:
        """Cancel the check."""
        if self.task is not None:
            self.task.cancel()

    def done(self, result: int) -> None:
        self.stop()
        super().done(result)

    def _moved(self, fraction: float, message: str) -> None:
        self.bar.setValue(round(1000 * fraction))
        self.step.setText(message[:1].upper() + message[1:])

    def _ended(self, result: str | None, error: str) -> None:
        self.task = None
        wrong = problems(result or "")
        found = tr("Not in order: {what}. The report says why.").format(what=", ".join(wrong)) if wrong else tr("Everything works.")
        self.step.setText(found if result else error)
        self.bar.hide()
        self.report.setPlainText(result or error)
        self.copy_button.setEnabled(bool(result))
