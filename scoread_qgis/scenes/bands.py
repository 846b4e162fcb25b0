"""What is known about a scene's bands: wavelength, width and whether they are flagged good; and how the bands of two scenes correspond.

Sources: band and dataset metadata of ENVI headers (https://www.nv5geospatialsoftware.com/docs/ENVIHeaderFiles.html), of GeoTIFFs in the
style of the EnMAP-Box, and GDAL's IMAGERY domain (https://gdal.org/user/raster_data_model.html#imagery-domain-remote-sensing).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from osgeo import gdal

    from .raster import RasterFile

MOST_BANDS = 65_535  # the limit of TIFF, and more than any sensor has
_RED_GREEN_BLUE = (650.0, 550.0, 460.0)  # nm
_STILL_THAT_COLOUR = 40.0  # nm from these
_DISTANT = (5 / 6, 1 / 2, 1 / 6)  # places of the bands of false colour among all
_TO_NANOMETRES = {
    "nm": 1.0, "nanometer": 1.0, "nanometers": 1.0, "nanometre": 1.0, "nanometres": 1.0,
    "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3,
    "micrometer": 1e3, "micrometers": 1e3, "micrometre": 1e3, "micrometres": 1e3,
}  # fmt: skip


@dataclass(frozen=True)
class BandTable:
    """The bands of a raster, one entry each.

    wavelengths, fwhm: (bands,) float64 in nanometres, NaN where unknown. good: (bands,) bool, False where the file flags the band as bad.
    """

    wavelengths: np.ndarray
    fwhm: np.ndarray
    good: np.ndarray


def read_band_table(dataset: gdal.Dataset) -> BandTable:
    """The `BandTable` of an open dataset, from whichever metadata the file keeps it in."""
    count = dataset.RasterCount
    bands = [dataset.GetRasterBand(number) for number in range(1, count + 1)]
    per_band = [_lower_keys(band.GetMetadata()) for band in bands]
    imagery = [_lower_keys(band.GetMetadata("IMAGERY")) for band in bands]
    whole = {**_lower_keys(dataset.GetMetadata()), **_lower_keys(dataset.GetMetadata("ENVI"))}
    unit = per_band[0].get("wavelength_units", whole.get("wavelength_units", whole.get("wavelength units")))

    def values(*names: str) -> np.ndarray:
        from_bands = [_number(next((metadata[name] for name in names if name in metadata), None)) for metadata in per_band]
        if not np.all(np.isnan(from_bands)):
            return np.array(from_bands)
        for name in names:
            listed = [_number(text) for text in whole.get(name, "").strip("{} \n").split(",")]
            if len(listed) == count:
                return np.array(listed)
        return np.full(count, np.nan)

    wavelengths = values("wavelength", "wavelengths", "center_wavelength", "central_wavelength")
    factor = nanometres(unit, wavelengths)
    wavelengths, fwhm = wavelengths * factor, values("fwhm") * factor
    for name, target in (("central_wavelength_um", wavelengths), ("fwhm_um", fwhm)):
        micrometres = np.array([_number(metadata.get(name)) for metadata in imagery])
        target[np.isnan(target)] = micrometres[np.isnan(target)] * 1e3
    flags = values("bbl", "good_wavelengths", "good")
    return BandTable(wavelengths, fwhm, flags != 0)


def _lower_keys(metadata: dict[str, str] | None) -> dict[str, str]:
    return {key.lower(): value for key, value in (metadata or {}).items()}


def _number(text: str | None) -> float:
    try:
        return np.nan if text is None else float(text)
    except ValueError:
        return np.nan


def nanometres(unit: str | None, wavelengths: np.ndarray) -> float:
    """Factor from `unit` to nanometres. Without a unit, numbers below 100 can only be micrometres in the optical range."""
    if unit and unit.strip().lower() in _TO_NANOMETRES:
        return _TO_NANOMETRES[unit.strip().lower()]
    return 1e3 if np.nanmax(wavelengths, initial=0) < 100 else 1.0


def unit_in(text: str) -> str | None:
    """The unit of wavelengths that a text such as "Wavelength (nm)" names; None where it names none."""
    return next((word for word in re.findall(r"[a-zµμ]+", text.lower()) if word in _TO_NANOMETRES), None)


def colour_bands(table: BandTable) -> tuple[list[int], bool]:
    """Numbers, from 1, of the bands to show as red, green and blue, and whether that is natural colour; without such wavelengths, distant
    bands.
    """
    numbers = np.flatnonzero(table.good) + 1 if table.good.any() else np.arange(1, len(table.good) + 1)
    wavelengths = table.wavelengths[numbers - 1]
    known = np.where(np.isnan(wavelengths), np.inf, wavelengths)
    distances = np.abs(known[None, :] - np.array(_RED_GREEN_BLUE)[:, None])
    chosen = distances.argmin(axis=1)
    natural = np.unique(chosen).size == 3 and distances.min(axis=1).max() <= _STILL_THAT_COLOUR
    if not natural:
        chosen = np.array([round(place * (len(numbers) - 1)) for place in _DISTANT])
    return [int(number) for number in numbers[chosen]], bool(natural)


def match_wavelengths(
    wanted: Sequence[float] | np.ndarray, available: Sequence[float] | np.ndarray, usable: Sequence[bool] | np.ndarray | None = None
) -> np.ndarray:
    """Index of the band of `available` (nm) nearest to each wavelength of `wanted` (nm), -1 where none is within tolerance; each band once.

    The tolerance is half the median distance between neighbouring wanted wavelengths: closer bands are the same band, on any sensor.
    Bands of `available` that are not `usable` (bool), or without a wavelength, are ignored. Where several wanted wavelengths share their
    nearest band, bands are assigned so that as many of them as possible get one and the sum of the distances is smallest.
    """
    wanted, available = np.asarray(wanted, float), np.asarray(available, float).copy()
    if usable is not None:
        available[~np.asarray(usable)] = np.nan
    tolerance = 0.5 * np.median(np.diff(np.unique(wanted))) if np.unique(wanted).size > 1 else 0.0
    distance = np.abs(wanted[:, None] - np.where(np.isnan(available), np.inf, available)[None, :])
    nearest = distance.argmin(axis=1)
    found = np.where(distance[np.arange(len(wanted)), nearest] <= tolerance, nearest, -1)
    if np.unique(found[found >= 0]).size == np.count_nonzero(found >= 0):
        return found
    from scipy.optimize import linear_sum_assignment

    near = distance <= tolerance
    rows, columns = linear_sum_assignment(np.where(near, distance, (len(wanted) + 1) * max(tolerance, 1.0)))
    found = np.full(len(wanted), -1)
    found[rows] = np.where(near[rows, columns], columns, -1)
    return found


def list_bands(numbers: Iterable[int], limit: int = 8) -> str:
    """Band numbers as a person writes them: "1-6, 12, 40"; after `limit` runs the rest is counted."""
    runs: list[list[int]] = []
    for number in sorted(int(n) for n in numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    hidden = sum(b - a + 1 for a, b in runs[limit:])
    return ", ".join(texts[:limit]) + (f" and {hidden} more" if hidden else "")


def check_bands(numbers: Sequence[int], raster: RasterFile) -> None:
    """Raise ValueError if any of the band `numbers`, from 1, is not a band of a `RasterFile`, or is named twice."""
    wrong = [number for number in numbers if not 1 <= number <= raster.count]
    if wrong:
        raise ValueError(f"{raster.name} has {raster.count} bands; there is no band {wrong[0]}.")
    _check_once(numbers)


def _check_once(numbers: Iterable[int]) -> None:
    seen = set()
    for number in numbers:
        if number in seen:
            raise ValueError(f"Band {number} is named twice. Name each band once: its values would count twice.")
        seen.add(number)


def band_numbers(text: str | None) -> list[int]:
    """Band numbers of a text such as "1-3, 7" or "1;2": [1, 2, 3, 7]. Raises ValueError for anything else."""
    numbers: list[int] = []
    for entry in (text or "").replace(";", ",").split(","):
        entry = entry.strip()
        if not entry:
            continue
        start, dash, end = (each.strip() for each in entry.partition("-"))
        if not (start.isdecimal() and (end.isdecimal() or not dash)):
            raise ValueError(f'"{entry}" is not a band number: write numbers and ranges, such as 1-100, 115-188.')
        first, last = int(start), int(end or start)
        if first < 1:
            raise ValueError(f'"{entry}": bands are counted from 1.')
        if last < first:
            raise ValueError(f'"{entry}" is a range that ends before it begins: write {last}-{first}.')
        if last > MOST_BANDS:
            raise ValueError(f'"{entry}": no scene has more than {MOST_BANDS} bands.')
        numbers += range(first, last + 1)
    _check_once(numbers)
    return numbers
