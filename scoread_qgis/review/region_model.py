"""The list of regions as Qt's views show it."""

import numpy as np
from qgis.PyQt.QtCore import QAbstractTableModel, QModelIndex, Qt
from qgis.PyQt.QtGui import QColor, QFont

from ..translation import tr
from ..workflows.accepted import ACCEPTED, LATER, REJECTED

RANK, PEAK, PIXELS, AREA, VERDICT, GROUP, MATCH, NOTE, ANGLE = range(9)
_NUMBERS = {RANK: "rank", PEAK: "peak", PIXELS: "pixels", AREA: "area", GROUP: "group"}
# Seen on white and on dark grey alike.
_COLOURS = {ACCEPTED: "#2e9e44", REJECTED: "#d9480f", LATER: "#b58900"}
_LAST = chr(0x10FFFF)  # behind all names


def verdict_title(verdict):
    """A verdict in the user's language."""
    return {ACCEPTED: tr("accepted"), REJECTED: tr("rejected"), LATER: tr("later")}.get(verdict, verdict)


class RegionModel(QAbstractTableModel):
    """The regions of a `workflows.review_regions.RegionList`, sorted by any column, and limited to some while `limit` says so.

    "Row" is the place in the list, "line" that in a view. angles: spectral angles of `reject alike`, by row, or None. Sorting is done here,
    with numpy: a proxy of Qt would ask Python for the values of every comparison.
    """

    def __init__(self, parent=None):
        super().__init__(parent)
        self.regions, self.angles = None, None
        self._only, self._rows = None, np.arange(0)
        self._by = RANK, Qt.SortOrder.AscendingOrder

    def show(self, regions):
        self.beginResetModel()
        self.regions, self.angles, self._only = regions, None, None
        self._rows = self._ordered()
        self.endResetModel()

    def show_angles(self, angles):
        self.angles = angles
        if self.rowCount():
            self.dataChanged.emit(self.index(0, ANGLE), self.index(self.rowCount() - 1, ANGLE))

    def set_texts(self, row, verdict, note, reviewed):
        self.regions.verdicts[row], self.regions.notes[row], self.regions.reviewed[row] = verdict, note, reviewed

    def tell_changed(self):
        """To be called after `set_texts`. The rows stay where they are, even if sorted by verdict: one reads on where one was."""
        if self.rowCount():
            self.dataChanged.emit(self.index(0, VERDICT), self.index(self.rowCount() - 1, NOTE))

    def texts(self, row):
        return self.regions.verdicts[row], self.regions.notes[row], self.regions.reviewed[row]

    def rows(self):
        """Rows in the order shown."""
        return self._rows.tolist()

    def row(self, index):
        """Row that an index of a view stands for, -1 for none."""
        return int(self._rows[index.row()]) if index.isValid() else -1

    def index_of(self, row):
        """Index of a row in a view; not valid where it is not shown."""
        lines = np.flatnonzero(self._rows == row)
        return self.index(int(lines[0]), 0) if lines.size else QModelIndex()

    def limit(self, rows):
        """Show only these rows, a (n,) bool array, or all where it is None."""
        self._only = rows
        self._arrange()

    def sort(self, column, order=Qt.SortOrder.AscendingOrder):
        self._by = column, order
        self._arrange()

    def _arrange(self):
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        rows = [self.row(index) for index in before]
        self._rows = self._ordered()
        lines = {row: line for line, row in enumerate(self._rows.tolist())}
        after = [self.index(lines[row], index.column()) if row in lines else QModelIndex() for row, index in zip(rows, before)]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _ordered(self):
        """The rows to show, sorted; what is not known comes last."""
        if self.regions is None:
            return np.arange(0)
        column, order = self._by
        if column == VERDICT:
            keys = np.array([verdict_title(verdict).casefold() for verdict in self.regions.verdicts])
        elif column == NOTE:
            keys = np.array([note.casefold() for note in self.regions.notes])
        elif column == MATCH:
            keys = np.array([self._text(row, MATCH).casefold() or _LAST for row in range(len(self.regions))])
        elif column == ANGLE:
            keys = np.full(len(self.regions), np.nan) if self.angles is None else self.angles
        else:
            keys = self.regions.columns[_NUMBERS[column]]
        if order == Qt.SortOrder.DescendingOrder:
            _, keys = np.unique(keys, return_inverse=True)
            keys = -keys
        rows = np.argsort(keys, kind="stable")
        return rows if self._only is None else rows[np.asarray(self._only)[rows]]

    def rowCount(self, parent=None):
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent=None):
        return 9

    def headerData(self, section, orientation, role=Qt.ItemDataRole.DisplayRole):
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return (
                tr("Rank"), tr("Peak"), tr("Pixels"), tr("Area"), tr("Verdict"), tr("Group"), tr("Match"), tr("Note"), tr("Angle"),
            )[section]  # fmt: skip
        return None

    def data(self, index, role=Qt.ItemDataRole.DisplayRole):
        if not index.isValid():
            return None
        row, column = self.row(index), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(row, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._text(row, column) if column in (MATCH, NOTE) else None
        if role == Qt.ItemDataRole.TextAlignmentRole and column not in (MATCH, VERDICT, NOTE):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ForegroundRole and column == VERDICT:
            return QColor(_COLOURS.get(self.regions.verdicts[row], "#808080"))
        if role == Qt.ItemDataRole.FontRole and column == VERDICT:
            font = QFont()
            font.setBold(True)
            return font
        return None

    def _text(self, row, column):
        if column == VERDICT:
            return verdict_title(self.regions.verdicts[row])
        if column == NOTE:
            return self.regions.notes[row]
        if column == MATCH:
            return self.regions.matches[row][0] if self.regions.matches[row] else ""
        if column == ANGLE:
            return "" if self.angles is None or np.isnan(self.angles[row]) else f"{self.angles[row]:.2f}°"
        value = float(self.regions.columns[_NUMBERS[column]][row])
        if np.isnan(value):
            return ""
        return f"{value:.5g}" if column == PEAK else _area(value) if column == AREA else f"{value:.0f}"


def _area(square_metres):
    return f"{square_metres / 1e6:.4g} km²" if square_metres >= 1e5 else f"{square_metres:.4g} m²"
