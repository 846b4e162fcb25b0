"""Small pictures of scenes and maps, for reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from osgeo import gdal

from .bands import colour_bands
from .gdal_calls import gdal_failures, open_dataset
from .nodata import stored_nodata

if TYPE_CHECKING:
    from .raster import RasterFile

LONGEST = 500  # pixels of the longer side
_STRETCH = (2, 98)  # percentiles that become black and white


def false_colour(raster: RasterFile) -> np.ndarray:
    """A picture of a `RasterFile`, (rows, columns, 3) uint8, of the bands that `bands.colour_bands` chooses."""
    channels = [_thinned(raster.dataset.GetRasterBand(number)) for number in colour_bands(raster.table)]
    return np.stack([stretched(channel, *_limits(channel)) for channel in channels], axis=-1)


def colour_limits(raster: RasterFile) -> list[tuple[int, float, float]]:
    """How to show a `RasterFile` in colour: for red, green and blue the number of the band, and its values that become black and white.

    The values are those of the file with its scale and offset applied.
    """
    found = []
    for number in colour_bands(raster.table):
        band = raster.dataset.GetRasterBand(number)
        scale, offset = band.GetScale(), band.GetOffset() or 0.0
        low, high = (limit * (1.0 if scale is None else scale) + offset for limit in _limits(_thinned(band)))
        found.append((number, min(low, high), max(low, high)))
    return found


def map_picture(path: str) -> np.ndarray:
    """The first band of a raster, reduced, (rows, columns) float32, NaN where there is no value."""
    dataset, reason = open_dataset(path)
    if dataset is None:
        raise ValueError(f"{path} cannot be opened: {reason}.")
    return _thinned(dataset.GetRasterBand(1))


def _thinned(band: gdal.Band) -> np.ndarray:
    shrink = min(1.0, LONGEST / max(band.XSize, band.YSize))
    columns, rows = max(1, round(band.XSize * shrink)), max(1, round(band.YSize * shrink))
    values = None
    with gdal_failures() as failures:
        values = band.ReadAsArray(buf_xsize=columns, buf_ysize=rows)
    if values is None:
        raise ValueError(f"The picture of a raster cannot be made: {failures[-1] if failures else 'GDAL gives no reason'}.")
    nodata = stored_nodata(band)
    return values.astype(np.float32) if nodata is None else np.where(values == values.dtype.type(nodata), np.nan, values).astype(np.float32)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """The values that become black and white; 0 and 1 where none is known."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = (float(limit) for limit in np.percentile(known, _STRETCH))
    return low, high if high > low else low + 1.0


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as uint8, `low` as 0, `high` as 255, and white where there is none."""
    scaled = np.nan_to_num((values - low) / (high - low), nan=1.0, posinf=1.0, neginf=0.0)
    return np.clip(255 * scaled, 0, 255).astype(np.uint8)
