"""Where the pixels of a raster lie: by a geotransform, by ground control points or by rational polynomial coefficients (RPC)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from osgeo import gdal, osr

from .gdal_calls import gdal_failures

_IDENTITY = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# Where a raster has no georeference, QGIS draws its rows downwards from 0.
PIXELS = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
_OFFSETS = ("LINE_OFF", "SAMP_OFF")  # of RPC, in pixels


@dataclass(frozen=True)
class Georeference:
    """Where the pixels of a raster lie.

    geotransform: GDAL's six coefficients, None where there are none. crs: WKT, "" where unknown; with RPC only, that of their longitudes
    and latitudes. points: ground control points, (x, y, z, column, row), in the CRS. rpc: name and value of each entry of GDAL's RPC
    metadata.
    """

    geotransform: Sequence[float] | None = None
    crs: str = ""
    points: tuple[tuple[float, float, float, float, float], ...] = ()
    rpc: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, dataset: gdal.Dataset, crs: str | None = "") -> Georeference:
        """The georeference of a dataset. crs: WKT that overrides the file's."""
        points = tuple((p.GCPX, p.GCPY, p.GCPZ, p.GCPPixel, p.GCPLine) for p in dataset.GetGCPs() or ())
        rpc = tuple(sorted((dataset.GetMetadata("RPC") or {}).items()))
        geotransform = dataset.GetGeoTransform(can_return_null=True)
        if geotransform == _IDENTITY and (points or rpc):  # what some drivers return for none
            geotransform = None
        own = dataset.GetProjection() or dataset.GetGCPProjection()
        if geotransform is None and not points and rpc:
            return cls(None, osr.SRS_WKT_WGS84_LAT_LONG, (), rpc)
        return cls(geotransform, crs or own or "", () if geotransform else points, rpc)

    @property
    def bent(self) -> bool:
        """Whether the pixels are located by control points or RPC, and so not on a regular grid of the CRS."""
        return self.geotransform is None and bool(self.points or self.rpc)

    def of_window(self, row: int, column: int) -> Georeference:
        """The georeference of a window of the raster whose first pixel is (row, column).

        Where the raster has none, that of the place where QGIS draws the window in the raster.
        """
        if self.bent:
            points = tuple((x, y, z, at_column - column, at_row - row) for x, y, z, at_column, at_row in self.points)
            shifts = dict(zip(_OFFSETS, (row, column)))
            rpc = tuple((name, repr(float(value.split()[0]) - shifts[name]) if name in shifts else value) for name, value in self.rpc)
            return replace(self, points=points, rpc=rpc)
        x0, xc, xr, y0, yc, yr = self.geotransform or PIXELS
        return replace(self, geotransform=(x0 + column * xc + row * xr, xc, xr, y0 + column * yc + row * yr, yc, yr))

    def write(self, dataset: gdal.Dataset) -> None:
        """Write it to a dataset."""
        if self.points:
            dataset.SetGCPs([gdal.GCP(*point) for point in self.points], self.crs)
        elif self.crs and not self.bent:
            dataset.SetProjection(self.crs)
        if self.geotransform:
            dataset.SetGeoTransform(self.geotransform)
        if self.rpc:
            dataset.SetMetadata(dict(self.rpc), "RPC")

    def to_map(self, places: np.ndarray) -> np.ndarray:
        """Map coordinates (n, 2) of (column, row) places (n, 2), counted from the upper left corner of the raster, where it is `bent`."""
        return self._through(places, 0)[:, :2]

    def to_pixels(self, coordinates: np.ndarray) -> np.ndarray:
        """(column, row) places (n, 2) of map coordinates (n, 2): the inverse of `to_map`. NaN where there is none."""
        return self._through(coordinates, 1)[:, :2]

    def _through(self, points: np.ndarray, inverse: int) -> np.ndarray:
        dataset = gdal.GetDriverByName("MEM").Create("", 1, 1, 1)
        self.write(dataset)
        transformed, there = np.zeros((len(points), 3)), np.zeros(len(points), bool)
        with gdal_failures():  # of single points, which the transformer marks
            transformed, there = gdal.Transformer(dataset, None, []).TransformPoints(inverse, np.asarray(points, np.float64).tolist())
        return np.where(np.array(there, bool)[:, None], np.array(transformed), np.nan)
