"""Small pictures of scenes and maps, for reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from osgeo import gdal

from .gdal_calls import gdal_failures, open_dataset
from .nodata import stored_nodata

if TYPE_CHECKING:
    from .raster import RasterFile

LONGEST = 500  # pixels of the longer side
RED_GREEN_BLUE = (650.0, 550.0, 460.0)  # nm
_STRETCH = (2, 98)  # percentiles that become black and white


def false_colour(raster: RasterFile) -> np.ndarray:
    """A picture of a `RasterFile`, (rows, columns, 3) uint8: red, green and blue, or three distant bands if wavelengths are unknown."""
    numbers = np.flatnonzero(raster.table.good) + 1
    wavelengths = raster.table.wavelengths[numbers - 1]
    if np.isnan(wavelengths).any():
        chosen = [numbers[round(place * (len(numbers) - 1))] for place in (5 / 6, 1 / 2, 1 / 6)]
    else:
        chosen = [numbers[int(np.abs(wavelengths - wanted).argmin())] for wanted in RED_GREEN_BLUE]
    channels = [_thinned(raster.dataset.GetRasterBand(int(number))) for number in chosen]
    return np.stack([_stretched(channel) for channel in channels], axis=-1)


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


def _stretched(values: np.ndarray) -> np.ndarray:
    known = values[np.isfinite(values)]
    if known.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(known, _STRETCH)
    scaled = np.nan_to_num((values - low) / max(high - low, 1e-30), nan=1.0, posinf=1.0, neginf=0.0)
    return np.clip(255 * scaled, 0, 255).astype(np.uint8)
