"""Histogram and spectra, painted by Qt in the colours of the theme: fast enough to follow a slider, and there without Matplotlib."""

import math
from dataclasses import dataclass

import numpy as np
from qgis.PyQt.QtCore import QPointF, QRectF, QSize, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QPainter, QPalette, QPen, QPixmap, QPolygonF
from qgis.PyQt.QtWidgets import QSizePolicy, QWidget

from ..translation import tr

# Seen on white and on dark grey alike, and by the colour-blind.
OBSERVED, EXPECTED, SIMILAR, CONTRIBUTION, MATCH = "#d9480f", "#2f7fe0", "#8a8a8a", "#b455c8", "#2e9e44"
PINS = ("#14a098", "#c2a000", "#9b5de5", "#e05780", "#4c9f38", "#7f6a55")


def ticks(low, high, most):
    """Round numbers between two numbers, at most so many."""
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return []
    rough = (high - low) / max(most, 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


class Plot(QWidget):
    """What both plots share: margins, axes, the theme's colours."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(self.minimumSizeHint())

    def minimumSizeHint(self):
        height = self.fontMetrics().height()
        return QSize(12 * height, 8 * height)

    def paintEvent(self, event):
        painter = QPainter(self)
        self.draw(painter, QRectF(self.rect()))
        painter.end()

    def draw(self, painter, area):
        """Paint everything into an area of any paint device."""
        raise NotImplementedError

    def ink(self, strength=1.0):
        """Colour of text on the plot, or weaker. (The style sheets of dark themes set the base of a palette, but not its text.)"""
        base = self.palette().color(QPalette.ColorRole.Base)
        text = QColor("#e8e8e8" if base.lightness() < 128 else "#202020")
        mixed = (round(strength * a + (1 - strength) * b) for a, b in zip(text.getRgb()[:3], base.getRgb()[:3]))
        return QColor(*mixed)

    def _x_axis(self, painter, inner, low, high, label):
        metrics = painter.fontMetrics()
        width = metrics.horizontalAdvance("0000.00")
        painter.setPen(self.ink(0.7))
        for tick in ticks(low, high, int(inner.width() / max(width, 1))):
            x = inner.left() + (tick - low) / (high - low) * inner.width()
            painter.drawLine(QPointF(x, inner.bottom()), QPointF(x, inner.bottom() + 3))
            box = QRectF(x - width, inner.bottom() + 3, 2 * width, metrics.height())
            painter.drawText(box, Qt.AlignmentFlag.AlignHCenter, f"{tick:.6g}")
        if label:
            box = QRectF(inner.left(), inner.bottom() + 3 + metrics.height(), inner.width(), metrics.height())
            painter.drawText(box, Qt.AlignmentFlag.AlignHCenter, label)

    def _message(self, painter, area, text):
        painter.setPen(self.ink(0.7))
        painter.drawText(area.adjusted(6, 6, -6, -6), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, text)


class HistogramPlot(Plot):
    """Histogram of scores with the fitted background and a threshold that can be dragged. Signal: moved(score)."""

    moved = pyqtSignal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._histogram, self._threshold, self._text, self._picture = None, math.nan, "", None
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        self.setAccessibleName(tr("Histogram of the scores"))

    def show_histogram(self, histogram, text=""):
        """histogram: `workflows.review_map.Histogram`, or None and a text that says why."""
        self._histogram, self._text, self._picture = histogram, text, None
        self.update()

    def set_threshold(self, threshold):
        self._threshold = threshold
        self.update()

    def resizeEvent(self, event):
        self._picture = None

    def changeEvent(self, event):
        self._picture = None  # the theme may have changed
        super().changeEvent(event)

    def mousePressEvent(self, event):
        if self._histogram is not None and event.buttons() & Qt.MouseButton.LeftButton:
            inner = self._inner(QRectF(self.rect()))
            share = min(max((event.pos().x() - inner.left()) / inner.width(), 0), 1)
            edges = self._histogram.edges
            self.moved.emit(float(edges[0] + share * (edges[-1] - edges[0])))

    mouseMoveEvent = mousePressEvent

    def paintEvent(self, event):
        ratio = self.devicePixelRatioF()
        if self._picture is None:  # all but the threshold
            self._picture = QPixmap(self.size() * ratio)
            self._picture.setDevicePixelRatio(ratio)
            self._picture.fill(self.palette().color(QPalette.ColorRole.Base))
            painter = QPainter(self._picture)
            painter.setFont(self.font())
            self.draw(painter, QRectF(self.rect()))
            painter.end()
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._picture)
        if self._histogram is not None and math.isfinite(self._threshold):
            inner, edges = self._inner(QRectF(self.rect())), self._histogram.edges
            share = min(max((self._threshold - edges[0]) / (edges[-1] - edges[0]), 0), 1)
            x = inner.left() + share * inner.width()
            above = QColor(OBSERVED)
            above.setAlpha(50)
            painter.fillRect(QRectF(x, inner.top(), inner.right() - x, inner.height()), above)
            painter.setPen(QPen(QColor(OBSERVED), 2))
            painter.drawLine(QPointF(x, inner.top()), QPointF(x, inner.bottom()))
        painter.end()

    def _inner(self, area):
        height = self.fontMetrics().height()
        return area.adjusted(8, 6, -8, -(2 * height + 6))

    def draw(self, painter, area):
        if self._histogram is None:
            self._message(painter, area, self._text)
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        inner, found = self._inner(area), self._histogram
        top = math.log10(max(found.counts.max(), 10)) * 1.05

        def height(counts):  # from half a pixel up
            return np.clip((np.log10(np.maximum(counts, 1e-9)) + 0.3) / (top + 0.3), 0, 1) * inner.height()

        width = inner.width() / len(found.counts)
        bars, colour = height(found.counts), self.ink(0.45)
        for number, bar in enumerate(bars.tolist()):
            if bar > 0:
                painter.fillRect(QRectF(inner.left() + number * width, inner.bottom() - bar, max(width - 0.5, 0.5), bar), colour)
        if found.background is not None:
            known = np.flatnonzero(np.isfinite(found.background) & (found.background > 0))
            heights = height(found.background[known])
            points = [QPointF(inner.left() + (n + 0.5) * width, inner.bottom() - h) for n, h in zip(known.tolist(), heights.tolist())]
            painter.setPen(QPen(QColor(EXPECTED), 2))
            painter.drawPolyline(QPolygonF(points))
        painter.setPen(self.ink(0.7))
        painter.drawLine(inner.bottomLeft(), inner.bottomRight())
        label = tr("score; heights are logarithms of counts") if found.background is None else tr("score; line: background as fitted")
        self._x_axis(painter, inner, float(found.edges[0]), float(found.edges[-1]), label)


@dataclass
class Line:
    """A spectrum in a plot. values: (bands,), NaN leaves a gap. low, high: (bands,) of a band around it, or None."""

    name: str
    colour: str
    values: np.ndarray
    low: np.ndarray = None
    high: np.ndarray = None
    style: Qt.PenStyle = Qt.PenStyle.SolidLine
    width: float = 1.6


class SpectrumPlot(Plot):
    """Spectra over wavelengths or band numbers, and below them the contributions of the bands."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._axis, self._nanometres, self._lines, self._shares, self._text = np.arange(0), True, [], None, ""
        self._pointed = None
        self.setMouseTracking(True)
        self.setAccessibleName(tr("Spectra"))

    def show_lines(self, axis, nanometres, lines, contributions=None, text=""):
        """axis: (bands,). lines: `Line`s, the last on top. contributions: (bands,), NaN where unknown, or None. text: if there are none."""
        self._order = np.argsort(axis, kind="stable")
        self._axis, self._nanometres, self._lines = np.asarray(axis, float)[self._order], nanometres, lines
        self._shares = None if contributions is None else np.asarray(contributions)[self._order]
        self._text = text
        self.update()

    def mouseMoveEvent(self, event):
        self._pointed = event.pos().x()
        self.update()

    def leaveEvent(self, event):
        self._pointed = None
        self.update()

    def draw(self, painter, area):
        painter.fillRect(area, self.palette().color(QPalette.ColorRole.Base))
        if not self._lines:
            self._message(painter, area, self._text)
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = painter.fontMetrics()
        legend = self._legend(painter, area)
        left, right = metrics.horizontalAdvance("0.0000") + 10, metrics.horizontalAdvance("0000") / 2 + 2
        inner = area.adjusted(left, legend + 6, -right, -(2 * metrics.height() + 6))
        low, high = float(self._axis[0]), float(self._axis[-1])
        if high <= low:
            high = low + 1
        x = inner.left() + (self._axis - low) / (high - low) * inner.width()
        upper, lower = inner, None
        if self._shares is not None and np.isfinite(self._shares).any():
            upper, lower = QRectF(inner), QRectF(inner)
            upper.setHeight(inner.height() * 0.7)
            lower.setTop(upper.bottom() + 6)
        shown = [np.asarray(each)[self._order] for line in self._lines for each in (line.values, line.low, line.high) if each is not None]
        finite = np.concatenate([each[np.isfinite(each)] for each in shown])
        if not finite.size:
            self._message(painter, area, tr("No band has a value here."))
            return
        bottom, top = float(finite.min()), float(finite.max())
        bottom, top = (bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom)) if top > bottom else (bottom - 1, top + 1)

        def y(values):
            return upper.bottom() - (values - bottom) / (top - bottom) * upper.height()

        self._y_axis(painter, upper, bottom, top)
        painter.save()
        painter.setClipRect(upper)
        for line in self._lines:
            if line.low is not None:
                fill = QColor(line.colour)
                fill.setAlpha(60)
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(fill)
                edges = [y(np.asarray(each)[self._order]) for each in (line.low, line.high)]
                for run in self._runs(np.isfinite(edges[0]) & np.isfinite(edges[1])):
                    points = [QPointF(a, b) for a, b in zip(x[run].tolist(), edges[0][run].tolist())]
                    points += [QPointF(a, b) for a, b in zip(x[run][::-1].tolist(), edges[1][run][::-1].tolist())]
                    painter.drawPolygon(QPolygonF(points))
                painter.setBrush(Qt.BrushStyle.NoBrush)
        for line in self._lines:
            painter.setPen(QPen(QColor(line.colour), line.width, line.style))
            values = y(np.asarray(line.values)[self._order])
            for run in self._runs(np.isfinite(values)):
                points = [QPointF(a, b) for a, b in zip(x[run].tolist(), values[run].tolist())]
                if len(points) == 1:
                    painter.drawEllipse(points[0], 1.5, 1.5)
                else:
                    painter.drawPolyline(QPolygonF(points))
        painter.restore()
        if lower is not None:
            self._bars(painter, lower, x)
        painter.setPen(self.ink(0.7))
        painter.drawLine(inner.bottomLeft(), inner.bottomRight())
        self._x_axis(painter, inner, low, high, tr("wavelength in nm") if self._nanometres else tr("band"))
        if self._pointed is not None and inner.left() <= self._pointed <= inner.right():
            self._readout(painter, inner, int(np.abs(x - self._pointed).argmin()), x)

    def _runs(self, known):
        """Slices of neighbouring bands that are known; a wide step between wavelengths is a gap as well."""
        steps = np.diff(self._axis)
        usual = np.median(steps) if steps.size else 1.0
        breaks = np.flatnonzero(~(known[1:] & known[:-1]) | (steps > 5 * max(usual, 1e-9))) + 1
        edges = [0, *breaks.tolist(), len(known)]
        return [slice(a, b) for a, b in zip(edges[:-1], edges[1:]) if known[a]]

    def _legend(self, painter, area):
        """Paint the names of the lines, and return the height that they take."""
        metrics, x, y = painter.fontMetrics(), area.left() + 6, area.top() + 3
        for line in reversed(self._lines):
            name = metrics.elidedText(line.name, Qt.TextElideMode.ElideRight, int(area.width()) - 30)
            width = metrics.horizontalAdvance(name) + 24
            if x + width > area.right() and x > area.left() + 6:
                x, y = area.left() + 6, y + metrics.height()
            painter.setPen(QPen(QColor(line.colour), max(line.width, 1.6), line.style))
            middle = y + metrics.height() / 2
            painter.drawLine(QPointF(x, middle), QPointF(x + 14, middle))
            painter.setPen(self.ink())
            painter.drawText(QPointF(x + 18, y + metrics.ascent()), name)
            x += width + 6
        return y + metrics.height() - area.top()

    def _y_axis(self, painter, inner, low, high):
        metrics = painter.fontMetrics()
        for tick in ticks(low, high, max(2, int(inner.height() / (2 * metrics.height())))):
            y = inner.bottom() - (tick - low) / (high - low) * inner.height()
            painter.setPen(self.ink(0.15))
            painter.drawLine(QPointF(inner.left(), y), QPointF(inner.right(), y))
            painter.setPen(self.ink(0.7))
            box = QRectF(0, y - metrics.height() / 2, inner.left() - 4, metrics.height())
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{tick:.4g}")

    def _bars(self, painter, inner, x):
        shares = np.nan_to_num(self._shares)
        low, high = min(float(shares.min()), 0.0), max(float(shares.max()), 0.0)
        span = (high - low) or 1.0
        zero = inner.bottom() + low / span * inner.height()
        width = max(inner.width() / max(len(x), 1) * 0.8, 1.0)
        for place, share in zip(x.tolist(), shares.tolist()):
            height = share / span * inner.height()
            painter.fillRect(QRectF(place - width / 2, min(zero, zero - height), width, abs(height)), QColor(CONTRIBUTION))
        painter.setPen(self.ink(0.4))
        painter.drawLine(QPointF(inner.left(), zero), QPointF(inner.right(), zero))
        if inner.height() < 1.5 * painter.fontMetrics().height():
            return  # a word would hide the bars
        painter.setPen(QColor(CONTRIBUTION))
        painter.drawText(inner.adjusted(2, 0, 0, 0), Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop, tr("contributions"))

    def _readout(self, painter, inner, band, x):
        painter.setPen(self.ink(0.4))
        painter.drawLine(QPointF(x[band], inner.top()), QPointF(x[band], inner.bottom()))
        unit = "nm" if self._nanometres else ""
        values = [f"{np.asarray(line.values)[self._order][band]:.4g}" for line in reversed(self._lines)]
        text = f"{self._axis[band]:.5g} {unit}: {', '.join(values)}"
        box = QRectF(painter.fontMetrics().boundingRect(text)).adjusted(-3, -1, 3, 1)
        box.moveTopLeft(QPointF(min(x[band] + 4, inner.right() - box.width()), inner.top()))
        painter.fillRect(box, self.palette().color(QPalette.ColorRole.Base))
        painter.setPen(self.ink())
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
