"""The pixels above a threshold, painted over the canvas: no file, no layer, nothing that the user's own styles would notice."""

import math

import numpy as np
from qgis.core import QgsCoordinateReferenceSystem, QgsCoordinateTransform, QgsCsException, QgsPointXY, QgsProject
from qgis.gui import QgsMapCanvasItem
from qgis.PyQt.QtCore import QPoint, QRectF
from qgis.PyQt.QtGui import QImage

from ..scenes.georeference import PIXELS

COLOUR = 0xF000E5FF  # ARGB, cyan: none of the colours of the maps, and seen on nearly every scene
_STEP = 16  # pixels of the canvas between places that are transformed one by one, where rows and columns are not straight


class PixelsAbove(QgsMapCanvasItem):
    """Paints the pixels of a `ReviewedMap` that score above `threshold`; zoomed out, each still shows.

    What is on the canvas is looked up when the view changes; a new threshold costs a comparison of so many numbers.
    """

    def __init__(self, canvas):
        super().__init__(canvas)
        self._canvas, self._map, self._threshold = canvas, None, math.inf
        self._crs, self._scores, self._image = QgsCoordinateReferenceSystem(), None, None
        self.setZValue(50)
        canvas.destinationCrsChanged.connect(self.updatePosition)

    def show_map(self, reviewed, crs):
        """reviewed: `ReviewedMap`, or None for nothing. crs: of its layer."""
        self._map, self._crs = reviewed, crs
        self.updatePosition()

    def set_threshold(self, threshold):
        self._threshold, self._image = threshold, None
        self.update()

    def pixels(self):
        """Where the canvas is painted, (height, width) bool; None where there is nothing to show."""
        self._look()
        return None if self._scores is None else self._scores > np.float32(self._threshold)

    def boundingRect(self):
        return QRectF(0, 0, self._canvas.width(), self._canvas.height())

    def updatePosition(self):
        """Called by the canvas whenever the view changes."""
        self.setPos(0, 0)
        self._scores = self._image = None
        self.prepareGeometryChange()
        self.update()

    def paint(self, painter, option=None, widget=None):
        if self._image is None:
            above = self.pixels()
            if above is None:
                return
            height, width = above.shape
            self._painted = above.tobytes()  # the image does not copy it
            self._image = QImage(self._painted, width, height, width, QImage.Format.Format_Indexed8)
            self._image.setColorTable([0, COLOUR])
        painter.drawImage(0, 0, self._image)

    def _look(self):
        if self._scores is not None or self._map is None:
            return
        width, height = self._canvas.width(), self._canvas.height()
        if width < 2 or height < 2:
            return
        places = self._places(width, height)
        if places is not None:
            self._scores = self._map.seen(*places)

    def _places(self, width, height):
        """Rows, columns and distance of the pixels of the canvas in the map, as `ReviewedMap.seen` takes them; None where none is."""
        across, down = np.arange(0, width + _STEP, _STEP) + 0.5, np.arange(0, height + _STEP, _STEP) + 0.5
        corner, right, below = (self.toMapCoordinates(QPoint(*at)) for at in ((0, 0), (1000, 0), (0, 1000)))
        grid_x, grid_y = np.meshgrid(across, down)
        x = corner.x() + grid_x * (right.x() - corner.x()) / 1000 + grid_y * (below.x() - corner.x()) / 1000
        y = corner.y() + grid_x * (right.y() - corner.y()) / 1000 + grid_y * (below.y() - corner.y()) / 1000
        shown = self._canvas.mapSettings().destinationCrs()
        if self._crs.isValid() and shown.isValid() and self._crs != shown:
            transform = QgsCoordinateTransform(shown, self._crs, QgsProject.instance())
            for place in np.ndindex(x.shape):
                try:
                    point = transform.transform(QgsPointXY(x[place], y[place]))
                    x[place], y[place] = point.x(), point.y()
                except QgsCsException:
                    x[place] = y[place] = np.nan
        rows, columns = self._in_map(x, y)
        if np.isnan(rows).all():
            return None
        with np.errstate(invalid="ignore"):
            apart = float(np.nanmedian(np.hypot(np.diff(columns, axis=1), np.diff(rows, axis=1)))) / _STEP
        straight = not np.isnan(rows).any() and np.ptp(rows, axis=1).max() < 0.05 and np.ptp(columns, axis=0).max() < 0.05
        pixels_x, pixels_y = np.arange(width) + 0.5, np.arange(height) + 0.5
        if straight:
            return np.interp(pixels_y, down, rows[:, 0]), np.interp(pixels_x, across, columns[0]), apart
        rows, columns = (_between(each, pixels_y / _STEP - 0.5 / _STEP, pixels_x / _STEP - 0.5 / _STEP) for each in (rows, columns))
        return np.nan_to_num(rows, nan=-1), np.nan_to_num(columns, nan=-1), apart

    def _in_map(self, x, y):
        georeference = self._map.georeference
        if georeference.bent:
            places = georeference.to_pixels(np.stack([x.ravel(), y.ravel()], axis=1))
            return places[:, 1].reshape(x.shape), places[:, 0].reshape(x.shape)
        x0, xc, xr, y0, yc, yr = georeference.geotransform or PIXELS
        determinant = xc * yr - xr * yc
        return ((y - y0) * xc - (x - x0) * yc) / determinant, ((x - x0) * yr - (y - y0) * xr) / determinant


def _between(values, rows, columns):
    """Values (h, w) at fractional rows and columns, bilinear, (rows, columns)."""
    row, column = rows.astype(int), columns.astype(int)
    down, right = (rows - row)[:, None], columns - column
    row_after, column_after = np.minimum(row + 1, len(values) - 1), np.minimum(column + 1, values.shape[1] - 1)
    upper = values[row][:, column] * (1 - right) + values[row][:, column_after] * right
    lower = values[row_after][:, column] * (1 - right) + values[row_after][:, column_after] * right
    return upper * (1 - down) + lower * down
