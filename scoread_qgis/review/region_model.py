"""The list of regions as Qt's views show it."""

import math

import numpy as np
from qgis.PyQt.QtCore import QAbstractTableModel, QLocale, QModelIndex, QSortFilterProxyModel, Qt
from qgis.PyQt.QtGui import QColor, QFont

from ..translation import tr

RANK, PEAK, PIXELS, AREA, VERDICT, NOTE, ANGLE = range(7)
SORT = Qt.ItemDataRole.UserRole
# Seen on white and on dark grey alike.
_COLOURS = {"accepted": "#2e9e44", "rejected": "#d9480f", "later": "#b58900"}


def verdict_title(verdict):
    """A verdict in the user's language."""
    return {"accepted": tr("accepted"), "rejected": tr("rejected"), "later": tr("later")}.get(verdict, verdict)


class RegionModel(QAbstractTableModel):
    """Rows are the regions of a `workflows.review_regions.RegionList`, which `set_texts` changes with what is shown.

    angles: spectral angles of `reject alike`, (n,), or None.
    """

    def __init__(self, parent=None):
        super().__init__(parent)
        self.regions, self.angles = None, None

    def show(self, regions):
        self.beginResetModel()
        self.regions, self.angles = regions, None
        self.endResetModel()

    def show_angles(self, angles):
        self.angles = angles
        if self.rowCount():
            self.dataChanged.emit(self.index(0, ANGLE), self.index(self.rowCount() - 1, ANGLE))

    def set_texts(self, row, verdict, note, reviewed):
        self.regions.verdicts[row], self.regions.notes[row], self.regions.reviewed[row] = verdict, note, reviewed
        self.dataChanged.emit(self.index(row, VERDICT), self.index(row, NOTE))

    def texts(self, row):
        return self.regions.verdicts[row], self.regions.notes[row], self.regions.reviewed[row]

    def rowCount(self, parent=None):
        return 0 if self.regions is None or (parent is not None and parent.isValid()) else len(self.regions)

    def columnCount(self, parent=None):
        return 7

    def headerData(self, section, orientation, role=Qt.ItemDataRole.DisplayRole):
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return (tr("Rank"), tr("Peak"), tr("Pixels"), tr("Area"), tr("Verdict"), tr("Note"), tr("Angle"))[section]
        return None

    def data(self, index, role=Qt.ItemDataRole.DisplayRole):
        if not index.isValid():
            return None
        row, column = index.row(), index.column()
        if role in (Qt.ItemDataRole.DisplayRole, SORT, Qt.ItemDataRole.ToolTipRole):
            value = self._value(row, column)
            if role == SORT:
                return -math.inf if isinstance(value, float) and math.isnan(value) else value
            if role == Qt.ItemDataRole.ToolTipRole:
                return value if column == NOTE else None
            return self._text(column, value)
        if role == Qt.ItemDataRole.TextAlignmentRole and column not in (VERDICT, NOTE):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ForegroundRole and column == VERDICT:
            return QColor(_COLOURS.get(self.regions.verdicts[row], "#808080"))
        if role == Qt.ItemDataRole.FontRole and column == VERDICT:
            font = QFont()
            font.setBold(True)
            return font
        return None

    def _value(self, row, column):
        if column == VERDICT:
            return verdict_title(self.regions.verdicts[row])
        if column == NOTE:
            return self.regions.notes[row]
        if column == ANGLE:
            return math.nan if self.angles is None else float(self.angles[row])
        return float(self.regions.columns[("rank", "peak", "pixels", "area")[column]][row])

    def _text(self, column, value):
        if column in (VERDICT, NOTE):
            return value
        if math.isnan(value):
            return ""
        if column in (RANK, PIXELS):
            return QLocale().toString(int(value))
        return f"{value:.2f}°" if column == ANGLE else f"{value:.5g}" if column == PEAK else _area(value)


class SortedRegions(QSortFilterProxyModel):
    """Sorted by any column; limited to some rows while `only` is not None."""

    def __init__(self, model, parent=None):
        super().__init__(parent)
        self._only = None
        self.setSourceModel(model)
        self.setSortRole(SORT)
        self.setSortCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setDynamicSortFilter(False)  # the row that was just judged stays where it is

    def limit(self, rows):
        """Show only these rows of the list, a (n,) bool array, or all where it is None."""
        self._only = None if rows is None else np.asarray(rows)
        self.invalidateFilter()

    def filterAcceptsRow(self, row, parent):
        return self._only is None or bool(self._only[row])

    def rows(self):
        """Rows of the list in the order shown."""
        return [self.mapToSource(self.index(row, 0, QModelIndex())).row() for row in range(self.rowCount())]


def _area(square_metres):
    return f"{square_metres / 1e6:.4g} km²" if square_metres >= 1e5 else f"{square_metres:.4g} m²"
