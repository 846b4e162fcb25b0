"""An area of a scene, given by map coordinates, and the pixels that it covers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from osgeo import osr

from .gdal_calls import gdal_failures

if TYPE_CHECKING:
    from .raster import RasterFile

Area = tuple[int, int, int, int]  # first row, row after the last one, first column, column after the last one

_STEPS = 21  # positions along each side of an extent that are transformed, since its sides may become curves
_SLIVER = 1e-6  # of a pixel: a smaller overlap is due to rounding


@dataclass(frozen=True)
class Extent:
    """A rectangle of map coordinates. crs: WKT, "" = that of the scene.

    Where a scene has no georeference, x counts its columns and y its rows, both from 0 at the upper left corner: y points down where
    `rows_down`, otherwise up, so that the rows are negative, as QGIS draws such scenes.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    crs: str = ""
    rows_down: bool = False

    def __str__(self) -> str:
        return f"{self.xmin:.10g} {self.ymin:.10g} {self.xmax:.10g} {self.ymax:.10g}"


def extent_pixels(raster: RasterFile, extent: Extent) -> Area:
    """The smallest window of a `RasterFile` that contains all of its pixels that an `Extent` touches.

    Raises ValueError, with the remedy, if the extent is empty or does not touch the raster.
    """
    sides = (extent.xmin, extent.ymin, extent.xmax, extent.ymax)
    if not all(map(math.isfinite, sides)) or extent.xmin >= extent.xmax or extent.ymin >= extent.ymax:
        raise ValueError(
            f"The area to look at, {extent}, is empty. Give its least x, its least y, its largest x and its largest y, in this order, the "
            "largest ones larger than the least."
        )
    x, y = (
        each.ravel() for each in np.meshgrid(np.linspace(extent.xmin, extent.xmax, _STEPS), np.linspace(extent.ymin, extent.ymax, _STEPS))
    )
    points = np.stack([x, y], axis=1)
    if extent.crs and raster.crs:
        points = _transformed(points, extent.crs, raster)
    places = _places(points, raster, extent.rows_down)
    places = places[np.isfinite(places).all(axis=1)]
    window: list[int] = []
    for axis, size in ((1, raster.rows), (0, raster.columns)):
        least, most = (places[:, axis].min(), places[:, axis].max()) if len(places) else (0.0, 0.0)
        first, last = max(0, math.floor(least + _SLIVER)), min(size, math.ceil(most - _SLIVER))
        if first >= last:
            raise ValueError(
                f"The area to look at, {extent}, does not touch {raster.name}{_reach(raster, extent.rows_down)}. "
                "Check the area and its CRS."
            )
        window += [first, last]
    top, bottom, left, right = window
    return top, bottom, left, right


def _transformed(points: np.ndarray, crs: str, raster: RasterFile) -> np.ndarray:
    """Points (n, 2) of a CRS in that of the raster, not finite where they cannot be transformed."""
    source, target = osr.SpatialReference(crs), osr.SpatialReference(raster.crs)
    for reference in (source, target):
        reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    if source.IsSame(target):
        return points
    transformed = None
    with gdal_failures() as failures:
        transformed = osr.CoordinateTransformation(source, target).TransformPoints(points.tolist())
    if transformed is None:
        raise ValueError(
            f"The area to look at cannot be brought to the CRS of {raster.name}: {failures[-1] if failures else 'GDAL does not say why'}. "
            "Give it in the CRS of the scene."
        )
    return np.array(transformed)[:, :2]


def _places(points: np.ndarray, raster: RasterFile, rows_down: bool) -> np.ndarray:
    """Columns and rows (n, 2), counted from the upper left corner, of map coordinates (n, 2)."""
    if raster.georeference.bent:
        return raster.georeference.to_pixels(points)
    if raster.geotransform is None:
        return points * (1, 1 if rows_down else -1)
    x0, xc, xr, y0, yc, yr = raster.geotransform
    return np.linalg.solve([[xc, xr], [yc, yr]], (points - (x0, y0)).T).T


def _reach(raster: RasterFile, rows_down: bool) -> str:
    """The extent of a raster, in words."""
    corners = np.array([[0, 0], [raster.columns, 0], [0, raster.rows], [raster.columns, raster.rows]], np.float64)
    if raster.georeference.bent:
        corners = raster.georeference.to_map(corners)
    elif raster.geotransform is None:
        corners = corners * (1, 1 if rows_down else -1) + 0.0  # never -0
    else:
        x0, xc, xr, y0, yc, yr = raster.geotransform
        corners = corners @ np.array([[xc, yc], [xr, yr]]) + (x0, y0)
    (xmin, ymin), (xmax, ymax) = corners.min(axis=0), corners.max(axis=0)
    unit = "" if raster.geotransform or raster.georeference.bent else ", in columns and rows, since nothing tells where on Earth it lies"
    return f", which reaches from x {xmin:.10g} to {xmax:.10g} and from y {ymin:.10g} to {ymax:.10g}{unit}"
