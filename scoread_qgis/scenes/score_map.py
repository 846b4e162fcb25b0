"""An anomaly map as a cube of one band: read-only, by rows, on its grid."""

import numpy as np
from osgeo import gdal

from ..core.cube import Cube
from .raster import rows_within


class ScoreMap(Cube):
    """The first band of a raster as anomaly scores; not scored are nodata pixels and those that are not finite.

    source: path or GDAL connection string. name: what messages call it. crs: WKT that overrides the file's. memory: bytes that reading may take.
    Attributes: rows, columns, count (bands of the file), geotransform (None where unknown), crs (WKT or ""). Pixels come as (rows, columns, 1) float32.
    Raises ValueError with the remedy for what cannot be read.
    """

    bands = 1

    def __init__(self, source, name=None, crs=None, memory=512 * 2**20):
        self.source, self.name = str(source), name or str(source)
        gdal.ErrorReset()
        try:
            self._dataset = gdal.OpenEx(self.source, gdal.OF_RASTER | gdal.OF_READONLY)
        except RuntimeError:
            self._dataset = None
        if self._dataset is None or self._dataset.RasterCount == 0:
            raise ValueError(
                f"{self.name} cannot be opened as a raster: {gdal.GetLastErrorMsg() or 'it has no bands'}. Choose an anomaly map."
            )
        self.count = self._dataset.RasterCount
        self._band = self._dataset.GetRasterBand(1)
        if gdal.DataTypeIsComplex(self._band.DataType):
            raise ValueError(f"{self.name} has complex values. Choose an anomaly map, which has one real value a pixel.")
        self.rows, self.columns = self._dataset.RasterYSize, self._dataset.RasterXSize
        self.geotransform = self._dataset.GetGeoTransform(can_return_null=True)
        self.crs = crs or self._dataset.GetProjection()
        self._nodata = self._band.GetNoDataValue()
        self.rows_per_block = rows_within(memory, self.columns, 1, self._band.GetBlockSize()[1])

    def read(self, first, last):
        gdal.ErrorReset()
        try:
            values = self._band.ReadAsArray(0, int(first), self.columns, int(last - first))
        except RuntimeError:
            values = None
        if values is None:
            raise ValueError(
                f"{self.name} cannot be read at rows {first + 1} to {last}: {gdal.GetLastErrorMsg()}. The file is probably damaged: make it again."
            )
        valid = np.isfinite(values)
        if self._nodata is not None and not np.isnan(self._nodata):
            valid &= values != np.array(self._nodata).astype(values.dtype)
        return np.where(valid, values, 0).astype(np.float32)[..., None], valid
