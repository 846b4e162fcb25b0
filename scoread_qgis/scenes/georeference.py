"""Where the pixels of a raster lie: by a geotransform, by ground control points or by rational polynomial coefficients (RPC)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from osgeo import gdal, osr

_IDENTITY = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


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
        dataset = gdal.GetDriverByName("MEM").Create("", 1, 1, 1)
        self.write(dataset)
        transformed, _ = gdal.Transformer(dataset, None, []).TransformPoints(0, np.asarray(places, np.float64).tolist())
        return np.array(transformed)[:, :2]
