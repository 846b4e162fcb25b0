"""Which values of a band are no data: by the file, or by the user."""

from dataclasses import dataclass

import numpy as np
from osgeo import gdal

NUMPY_TYPES = {
    gdal.GDT_Byte: np.uint8, gdal.GDT_UInt16: np.uint16, gdal.GDT_Int16: np.int16, gdal.GDT_UInt32: np.uint32,
    gdal.GDT_Int32: np.int32, gdal.GDT_Float32: np.float32, gdal.GDT_Float64: np.float64,
}  # fmt: skip


def stored_nodata(band):
    """The nodata value of a gdal.Band as its pixels hold it, float; None where it has none, or NaN, or one that its type cannot hold.

    GDAL's own masks ignore the last kind too, such as -9999 in UInt16: cast, it would be a value that is measured.
    """
    value = band.GetNoDataValue()
    if value is None or np.isnan(value):
        return None
    dtype = np.dtype(NUMPY_TYPES.get(band.DataType, np.float64))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return float(value) if float(value).is_integer() and limits.min <= value <= limits.max else None
    with np.errstate(over="ignore"):
        return float(dtype.type(value))


@dataclass(frozen=True)
class NoData:
    """What the user of QGIS has set for a raster under Layer Properties > Transparency; it goes before what the file says.

    ranges: (band, lowest, highest), both included, of the values in the units of the scene that are no data too. unused: bands whose own nodata value
    does not count. A band is a number from 1, or None for all.
    """

    ranges: tuple = ()
    unused: tuple = ()

    def stored(self, band):
        """As `stored_nodata`, of a gdal.Band."""
        return None if None in self.unused or band.GetBand() in self.unused else stored_nodata(band)

    def exclude(self, number, values, filled, scaled=False):
        """Clear `filled` where `values` of the band `number`, float32 in the units of the scene, are no data. scaled: whether these were computed."""
        for band, lowest, highest in self.ranges:
            if band not in (None, number):
                continue
            with np.errstate(over="ignore"):
                lowest, highest = np.float32(lowest), np.float32(highest)
            for _ in range(2 * scaled):  # computed, a value may differ in its last digits from the one that QGIS shows
                lowest, highest = np.nextafter(lowest, np.float32(-np.inf)), np.nextafter(highest, np.float32(np.inf))
            filled &= ~((values >= lowest) & (values <= highest))
