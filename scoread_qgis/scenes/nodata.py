"""Which values of a band are nodata: according to the file, or to the user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from osgeo import gdal

NUMPY_TYPES = {
    gdal.GDT_Byte: np.uint8, gdal.GDT_UInt16: np.uint16, gdal.GDT_Int16: np.int16, gdal.GDT_UInt32: np.uint32,
    gdal.GDT_Int32: np.int32, gdal.GDT_Float32: np.float32, gdal.GDT_Float64: np.float64,
}  # fmt: skip


def stored_nodata(band: gdal.Band) -> float | None:
    """The nodata value of a band as its pixels hold it; None where it has none, or NaN, or one that its data type cannot hold.

    GDAL's own masks ignore the last kind too, such as -9999 in UInt16: cast, it would be a valid value.
    """
    value = band.GetNoDataValue()
    if value is None or np.isnan(value):
        return None
    dtype: np.dtype = np.dtype(NUMPY_TYPES.get(band.DataType, np.float64))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return float(value) if float(value).is_integer() and limits.min <= value <= limits.max else None
    with np.errstate(over="ignore"):
        return float(dtype.type(value))


@dataclass(frozen=True)
class NoData:
    """What the user of QGIS has set for a raster under Layer Properties > Transparency; it takes precedence over the file.

    ranges: (band, lowest, highest), both included, of values in the units of the scene that are nodata too. unused: bands whose own nodata
    value is ignored. A band is a number from 1, or None for all.
    """

    ranges: tuple[tuple[int | None, float, float], ...] = ()
    unused: tuple[int | None, ...] = ()

    def stored(self, band: gdal.Band) -> float | None:
        """As `stored_nodata`; None where the user has switched the band's nodata value off."""
        return None if None in self.unused or band.GetBand() in self.unused else stored_nodata(band)

    def exclude(self, number: int, values: np.ndarray, filled: np.ndarray, scaled: bool = False) -> None:
        """Clear `filled` where `values` of the band `number`, float32 in the units of the scene, are nodata.

        scaled: whether the values were computed by a scale and offset.
        """
        for band, least, most in self.ranges:
            if band not in (None, number):
                continue
            with np.errstate(over="ignore"):
                lowest, highest = np.float32(least), np.float32(most)
            for _ in range(2 * scaled):  # a computed value may differ in its last digits from the one that QGIS shows
                lowest, highest = np.nextafter(lowest, np.float32(-np.inf)), np.nextafter(highest, np.float32(np.inf))
            filled &= ~((values >= lowest) & (values <= highest))
