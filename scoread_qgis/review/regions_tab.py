"""The list of regions, and the verdicts on them."""

import numpy as np
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QItemSelectionModel, Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeySequence
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QAction,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSlider,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..translation import tr
from ..workflows.accepted import ACCEPTED, LATER, REJECTED
from ..workflows.review_scene import spectral_angles
from .region_model import ANGLE, GROUP, MATCH, RANK, RegionModel
from .verdicts import GiveVerdicts, QUndoStack, now, write_verdicts

WIDEST_ANGLE, FIRST_ANGLE = 200, 40  # tenths of a degree


class RegionsTab(QWidget):
    """Shows a `RegionList` and writes verdicts.

    Signals: chosen(row), a row of the list became current, -1 for none; complain(text): something could not be written; report(), export():
    the accepted regions are to be handed on.
    """

    chosen = pyqtSignal(int)
    complain = pyqtSignal(str)
    report = pyqtSignal()
    export = pyqtSignal()

    def __init__(self, parent=None):
        super().__init__(parent)
        self.layer, self.path, self.means, self._example = None, "", None, None
        self.model = RegionModel(self)
        self.undo = QUndoStack(self)
        self.state = QLabel()
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(RANK, Qt.SortOrder.AscendingOrder)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.setAlternatingRowColors(True)
        for column in (GROUP, MATCH, ANGLE):
            self.table.setColumnHidden(column, True)
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setHighlightSections(False)
        self.table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.table.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 6)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.setMinimumHeight(5 * self.fontMetrics().height())
        self.table.setAccessibleName(tr("Regions"))
        wide = self.fontMetrics().horizontalAdvance("0")
        for column, characters in enumerate((5, 6, 6, 7, 9, 6, 14, 8)):
            self.table.setColumnWidth(column, characters * wide + 8)
        self.note = QLineEdit()
        self.note.setPlaceholderText(tr("Note on this region (E)"))
        self.note.setAccessibleName(tr("Note"))

        self.actions_by_key = {}
        self.accept = self._action(tr("Accept"), "A", lambda: self.give(ACCEPTED), tr("Accept the selected regions, and go on."))
        self.reject = self._action(tr("Reject"), "R", lambda: self.give(REJECTED), tr("Reject the selected regions, and go on."))
        self.later = self._action(tr("Later"), "L", lambda: self.give(LATER), tr("Put the selected regions off, and go on."))
        self.next = self._action(tr("Next"), "N", lambda: self.step(1), tr("Go to the next region."), "/mActionArrowRight.svg")
        self.previous = self._action(tr("Previous"), "P", lambda: self.step(-1), tr("Go to the region before."), "/mActionArrowLeft.svg")
        self.alike = self._action(tr("Alike..."), "K", self.look_for_alike, tr("Reject the region and all whose spectra are like its own."))
        self._action(tr("Note"), "E", self.note.setFocus, "")
        self._action(tr("Clear verdict"), "C", lambda: self.give(""), "")
        undo = self.undo.createUndoAction(self)
        redo = self.undo.createRedoAction(self)
        undo.setIcon(QgsApplication.getThemeIcon("/mActionUndo.svg"))
        redo.setIcon(QgsApplication.getThemeIcon("/mActionRedo.svg"))
        for action, key in ((undo, QKeySequence.StandardKey.Undo), (redo, QKeySequence.StandardKey.Redo)):
            action.setShortcut(QKeySequence(key))
            action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            self.addAction(action)

        top, verdicts = QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.state, 1)
        for action in (self.previous, self.next, undo, redo):
            top.addWidget(_button(action, icon_only=True))
        for action in (self.accept, self.reject, self.later, self.alike):
            verdicts.addWidget(_button(action))
        verdicts.addStretch()
        notes = QHBoxLayout()
        notes.addWidget(self.note, 1)
        self.report_button, self.export_button = QToolButton(), QToolButton()
        for button, text, signal in (
            (self.report_button, tr("Report..."), self.report),
            (self.export_button, tr("Export..."), self.export),
        ):
            button.setText(text)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(signal)
            notes.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self._alike_strip())
        layout.addWidget(self.table, 1)
        layout.addLayout(verdicts)
        layout.addLayout(notes)

        self.table.selectionModel().currentRowChanged.connect(lambda current, _: self._current_changed(current))
        self.model.modelReset.connect(lambda: self._current_changed(None))
        self.note.editingFinished.connect(self._note_typed)
        self.note.returnPressed.connect(self.table.setFocus)
        self._tell()

    def _action(self, title, key, do, help_text, icon=None):
        action = QAction(title, self)
        action.setShortcut(QKeySequence(key))
        action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        action.setToolTip(f"{help_text} ({key})")
        if icon:
            action.setIcon(QgsApplication.getThemeIcon(icon))
        action.triggered.connect(lambda *_: do())
        self.addAction(action)
        self.actions_by_key[key] = action
        return action

    def _alike_strip(self):
        self.strip = QWidget()
        self.angle = QSlider(Qt.Orientation.Horizontal)
        self.angle.setRange(1, WIDEST_ANGLE)
        self.angle.setValue(FIRST_ANGLE)
        self.angle.setAccessibleName(tr("Spectral angle"))
        self.alike_text = QLabel()
        self.alike_text.setWordWrap(True)
        self.reject_alike = QPushButton(tr("Reject these"))
        close = QPushButton(tr("Close"))
        row = QHBoxLayout()
        row.addWidget(self.angle, 1)
        row.addWidget(self.reject_alike)
        row.addWidget(close)
        layout = QVBoxLayout(self.strip)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.alike_text)
        layout.addLayout(row)
        self.angle.valueChanged.connect(lambda _: self._show_alike())
        self.reject_alike.clicked.connect(self._reject_alike)
        close.clicked.connect(self.leave_alike)
        self.strip.hide()
        return self.strip

    def show_regions(self, layer, path, regions):
        """layer: of the file at `path`, which `regions` was read from; None, "" and None for nothing."""
        self.leave_alike()
        self.undo.clear()
        self.layer, self.path, self.means = layer, path, None
        self.model.show(regions)
        self.table.setColumnHidden(GROUP, regions is None or bool(np.isnan(regions.columns["group"]).all()))
        self.table.setColumnHidden(MATCH, regions is None or not any(regions.matches))
        self.table.sortByColumn(RANK, Qt.SortOrder.AscendingOrder)
        self._tell()

    def show_means(self, means):
        """means: `RegionMeans` of the regions, in their order; None where they are not known."""
        self.means = means
        self._tell()

    @property
    def current(self):
        """Row of the list that is current, -1 for none."""
        return self.model.row(self.table.currentIndex())

    def go_to_row(self, row):
        """Make a row of the list current; it is shown even if a filter hides it."""
        if not self.model.index_of(row).isValid():
            self.leave_alike()
        index = self.model.index_of(row)
        flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
        self.table.selectionModel().setCurrentIndex(index, flags)
        self.table.scrollTo(index)

    def go_to(self, rank):
        """Make the region with a rank current, if there is one. Returns whether there is."""
        if self.model.regions is None:
            return False
        rows = np.flatnonzero(self.model.regions.columns["rank"] == rank)
        if rows.size:
            self.go_to_row(int(rows[0]))
        return bool(rows.size)

    def step(self, by):
        """Go to the next (1) or the previous (-1) region as the list is sorted."""
        rows = self.model.rows()
        if rows:
            at = self.table.currentIndex().row() if self.table.currentIndex().isValid() else -1 if by > 0 else len(rows)
            self.go_to_row(rows[min(max(at + by, 0), len(rows) - 1)])

    def selected(self):
        """Rows of the list that are selected."""
        return sorted(self.model.row(index) for index in self.table.selectionModel().selectedRows())

    def give(self, verdict):
        """Write a verdict on the selected regions, "" for none, and go on to the next that has none."""
        rows = self.selected() or [row for row in (self.current,) if row >= 0]
        if not rows:
            return
        when = now()
        changes = {row: (verdict, self.model.regions.notes[row], when if verdict else "") for row in rows}
        if self._apply(verdict or tr("clear verdict"), changes) and verdict:
            self._go_on()

    def _apply(self, title, changes):
        """Write changes {row: (verdict, note, reviewed)} so that they can be undone. Returns whether they were written."""
        before = {row: self.model.texts(row) for row in changes}
        command = GiveVerdicts(title, self._write, self.complain.emit, before, changes)
        self.undo.push(command)
        return all(self.model.texts(row) == texts for row, texts in changes.items())

    def _write(self, changes):
        ids = self.model.regions.ids
        write_verdicts(self.layer, self.path, self.model.regions.state, {ids[row]: texts for row, texts in changes.items()})
        for row, texts in changes.items():
            self.model.set_texts(row, *texts)
        self.model.tell_changed()
        self._tell()
        self._show_note()

    def _go_on(self):
        """To the next region below without a verdict, then from the top; stay where there is none."""
        rows = self.model.rows()
        at = rows.index(self.current) if self.current in rows else -1
        for row in rows[at + 1 :] + rows[: max(at, 0)]:
            if not self.model.regions.verdicts[row]:
                self.go_to_row(row)
                return

    def _note_typed(self):
        row, text = self.current, self.note.text().strip()
        if row < 0 or text == self.model.regions.notes[row]:
            return
        verdict, _, reviewed = self.model.texts(row)
        if not self._apply(tr("note"), {row: (verdict, text, reviewed or now())}):
            self.note.setText(text)  # what was typed is not lost

    def _current_changed(self, index):
        self._show_note()
        self.chosen.emit(self.current if index is not None and index.isValid() else -1)

    def _show_note(self):
        row = self.current
        self.note.setEnabled(row >= 0)
        self.note.setText(self.model.regions.notes[row] if row >= 0 else "")

    def _tell(self):
        regions = self.model.regions
        there = regions is not None and len(regions) > 0
        for action in self.actions_by_key.values():
            action.setEnabled(there)
        self.alike.setEnabled(there and self.means is not None)
        accepted = there and ACCEPTED in regions.verdicts
        for button, what in (
            (self.report_button, tr("A page, and if wanted a PDF, of the accepted regions.")),
            (self.export_button, tr("The accepted regions as GeoPackage, GeoJSON, KML or CSV.")),
        ):
            button.setEnabled(accepted)
            button.setToolTip(what if accepted else tr("Nothing is accepted yet: accept the regions that are to be handed on (A)."))
        if not there:
            self.state.setText(tr("No regions yet") if regions is None else tr("No region lies above the threshold"))
            return
        done = sum(verdict in (ACCEPTED, REJECTED) for verdict in regions.verdicts)
        later = regions.verdicts.count(LATER)
        text = tr("{} of {} reviewed").format(done, len(regions))
        self.state.setText(tr("{}, {} later").format(text, later) if later else text)

    # Reject alike

    def look_for_alike(self):
        """Take the current region as the example, and list the regions whose spectra are like its own."""
        row = self.current
        if row < 0 or self.means is None:
            return
        if not self.means.pixels[row]:
            self.complain.emit(tr("This region has no valid pixel in the scene, so that no spectrum can be compared with it."))
            return
        self._example = row
        self.model.show_angles(spectral_angles(self.means.means[row], self.means.means))
        self.table.setColumnHidden(ANGLE, False)
        self.strip.show()
        self._show_alike()
        self.table.sortByColumn(ANGLE, Qt.SortOrder.AscendingOrder)
        self.go_to_row(row)

    def _alike(self):
        """Which regions are to be rejected: within the angle, and not accepted before; (n,) bool."""
        with np.errstate(invalid="ignore"):
            near = self.model.angles <= self.angle.value() / 10
        near[self._example] = True
        return near & (np.array(self.model.regions.verdicts) != ACCEPTED)

    def _show_alike(self):
        if self._example is None:
            return
        alike = self._alike()
        alike[self._example] = True
        self.model.limit(alike)
        rank = int(self.model.regions.columns["rank"][self._example])
        self.alike_text.setText(
            tr("Within {:.1f}° of region {}: {} regions (accepted ones are left out)").format(
                self.angle.value() / 10, rank, int(alike.sum())
            )
        )

    def _reject_alike(self):
        when, limit, regions = now(), self.angle.value() / 10, self.model.regions
        rank = int(regions.columns["rank"][self._example])
        changes = {}
        for row in np.flatnonzero(self._alike()).tolist():
            note = tr("example: rejected with all within {:.1f}°").format(limit)
            if row != self._example:
                note = tr("like region {}: {:.2f}°, limit {:.1f}°").format(rank, float(self.model.angles[row]), limit)
            changes[row] = (REJECTED, "; ".join(filter(None, (regions.notes[row], note))), when)
        if changes and self._apply(tr("reject alike"), changes):
            self.leave_alike()
            self._go_on()

    def leave_alike(self):
        """Show the whole list again."""
        if self._example is None:
            return
        row, self._example = self._example, None
        self.strip.hide()
        self.model.limit(None)
        self.model.show_angles(None)
        self.table.setColumnHidden(ANGLE, True)
        self.table.sortByColumn(RANK, Qt.SortOrder.AscendingOrder)
        self.go_to_row(row)


def _button(action, icon_only=False):
    button = QToolButton()
    button.setDefaultAction(action)
    style = Qt.ToolButtonStyle.ToolButtonIconOnly if icon_only else Qt.ToolButtonStyle.ToolButtonTextOnly
    button.setToolButtonStyle(style)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button
