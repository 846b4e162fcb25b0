"""An anomaly map as a cube of one band: read-only, by rows, on its grid."""

from __future__ import annotations

import os
from contextlib import nullcontext

import numpy as np
from osgeo import gdal

from ..core.cube import Cube
from .gdal_calls import gdal_failures, open_dataset
from .georeference import Georeference
from .nodata import NoData
from .object_stores import in_object_store, unlisted
from .portions import rows_within
from .provenance import read_provenance, without_secrets


class ScoreMap(Cube):
    """The first band of a raster as anomaly scores; not scored are nodata pixels and those that are not finite.

    source: path or GDAL connection string. name: what messages call it. crs: WKT that overrides the file's. memory: bytes that reading may
        take.
    nodata: `NoData` of the user.
    Attributes: rows, columns, count (bands of the file), georeference, of which geotransform (None where unknown) and crs (WKT or ""),
    metadata: its provenance (`provenance.read_provenance`), {} where it has none.
    Pixels come as (rows, columns, 1) float32.
    Raises ValueError, with the remedy, for a raster that cannot be read.
    """

    bands = 1

    def __init__(
        self,
        source: str | os.PathLike[str],
        name: str | None = None,
        crs: str | None = None,
        memory: int = 512 * 2**20,
        nodata: NoData | None = None,
    ) -> None:
        self.source, self.name = str(source), name or without_secrets(source)
        with unlisted() if in_object_store(self.source) else nullcontext():
            dataset, reason = open_dataset(self.source)
        if dataset is None or dataset.RasterCount == 0:
            raise ValueError(f"{self.name} cannot be opened as a raster: {reason or 'it has no bands'}. Choose an anomaly map.")
        self._dataset = dataset
        self.count = self._dataset.RasterCount
        self._band = self._dataset.GetRasterBand(1)
        if gdal.DataTypeIsComplex(self._band.DataType):
            raise ValueError(f"{self.name} has complex values. Choose an anomaly map, which has one real value a pixel.")
        self.rows, self.columns = self._dataset.RasterYSize, self._dataset.RasterXSize
        self.georeference = Georeference.of(self._dataset, crs)
        self.geotransform, self.crs = self.georeference.geotransform, self.georeference.crs
        self.metadata = read_provenance(self._dataset)
        self._user_nodata = nodata or NoData()
        self._nodata = self._user_nodata.stored(self._band)
        self.rows_per_block = rows_within(memory, self.columns, 1, self._band.GetBlockSize()[1])

    def check_is_one(self) -> None:
        """Raise ValueError if the raster has several bands of values: it is a scene, or a picture, and not an anomaly map."""
        bands = [self._dataset.GetRasterBand(number) for number in range(1, self.count + 1)]
        values = sum(band.GetColorInterpretation() != gdal.GCI_AlphaBand for band in bands)
        if values > 1:
            raise ValueError(
                f"{self.name} has {values} bands, and an anomaly map has one. For a scene, make its map first (Detect anomalies); of a map "
                "with several bands, save the one with the scores (Raster > Conversion > Translate)."
            )

    def read(self, first: int, last: int, left: int = 0, right: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        columns, values = (self.columns if right is None else right) - left, None
        with gdal_failures() as failures:
            values = self._band.ReadAsArray(int(left), int(first), int(columns), int(last - first))
        if values is None or failures:
            raise ValueError(
                f"{self.name} cannot be read at rows {first + 1} to {last}: {failures[-1] if failures else 'GDAL does not say why'}. "
                "The file is probably damaged: make it again."
            )
        valid = np.isfinite(values)
        if self._nodata is not None:
            valid &= values != values.dtype.type(self._nodata)
        with np.errstate(over="ignore"):
            scores = values.astype(np.float32)
        self._user_nodata.exclude(1, scores, valid)
        return np.where(valid, scores, 0)[..., None], valid
