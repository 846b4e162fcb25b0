"""Small pictures of scenes and maps, for reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from osgeo import gdal

from .bands import colour_bands
from .gdal_calls import gdal_failures, open_dataset
from .nodata import stored_nodata

if TYPE_CHECKING:
    from .extent import Area
    from .raster import RasterFile

LONGEST = 500  # pixels of the longer side
_STRETCH = (2, 98)  # percentiles that become black and white


def false_colour(raster: RasterFile) -> np.ndarray:
    """A picture of a `RasterFile`, (rows, columns, 3) uint8, of the bands that `bands.colour_bands` chooses."""
    channels = [_thinned(raster.dataset.GetRasterBand(number)) for number in colour_bands(raster.table)[0]]
    return np.stack([_stretched(channel, *_limits(channel)) for channel in channels], axis=-1)


def colour_limits(raster: RasterFile) -> list[tuple[int, float, float]]:
    """How to show a `RasterFile` in colour: for red, green and blue the number of the band, and its values that become black and white.

    The values are those of the file with its scale and offset applied.
    """
    bands = [(number, raster.dataset.GetRasterBand(number)) for number in colour_bands(raster.table)[0]]
    return [(number, *_limits(_measured(band))) for number, band in bands]


def colour_window(raster: RasterFile, area: Area, limits: list[tuple[int, float, float]]) -> np.ndarray:
    """A picture of an area of a `RasterFile`, (rows, columns, 3) uint8, reduced where it is larger than `LONGEST`.

    limits: those of `colour_limits`.
    """
    bands = [(raster.dataset.GetRasterBand(number), low, high) for number, low, high in limits]
    return np.stack([_stretched(_measured(band, area), low, high) for band, low, high in bands], axis=-1)


def window_thinned(values: np.ndarray) -> np.ndarray:
    """Values (rows, columns) of an area, reduced as `colour_window` reduces it."""
    rows, columns = ((np.arange(few) + 0.5) * many / few for few, many in zip(_reduced(*values.shape), values.shape))
    return values[np.ix_(rows.astype(int), columns.astype(int))]


def map_picture(path: str) -> np.ndarray:
    """The first band of a raster, reduced, (rows, columns) float32, NaN where there is no value."""
    dataset, reason = open_dataset(path)
    if dataset is None:
        raise ValueError(f"{path} cannot be opened: {reason}.")
    return _thinned(dataset.GetRasterBand(1))


def _reduced(rows: int, columns: int) -> tuple[int, int]:
    shrink = min(1.0, LONGEST / max(rows, columns))
    return max(1, round(rows * shrink)), max(1, round(columns * shrink))


def _thinned(band: gdal.Band, area: Area | None = None) -> np.ndarray:
    """Values of a band as they are stored, reduced, float32, NaN where there is none."""
    top, bottom, left, right = area or (0, band.YSize, 0, band.XSize)
    rows, columns = _reduced(bottom - top, right - left)
    values = None
    with gdal_failures() as failures:
        values = band.ReadAsArray(left, top, right - left, bottom - top, buf_xsize=columns, buf_ysize=rows)
    if values is None:
        raise ValueError(f"The picture of a raster cannot be made: {failures[-1] if failures else 'GDAL gives no reason'}.")
    nodata = stored_nodata(band)
    return values.astype(np.float32) if nodata is None else np.where(values == values.dtype.type(nodata), np.nan, values).astype(np.float32)


def _measured(band: gdal.Band, area: Area | None = None) -> np.ndarray:
    """`_thinned` with scale and offset applied."""
    scale, offset = band.GetScale(), band.GetOffset() or 0.0
    return _thinned(band, area) * np.float32(1.0 if scale is None else scale) + np.float32(offset)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """The values that become black and white; 0 and 1 where none is known."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = (float(limit) for limit in np.percentile(known, _STRETCH))
    return low, high if high > low else low + 1.0


def _stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as uint8, `low` as 0, `high` as 255, and white where there is none."""
    scaled = np.nan_to_num((values - low) / (high - low), nan=1.0, posinf=1.0, neginf=0.0)
    return np.clip(255 * scaled, 0, 255).astype(np.uint8)
