"""Targets to search for: spectra of places in a scene, or of entries of a library, and how another scene would see them."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..scenes.bands import check_bands, list_bands
from ..scenes.mask import RegionLabels
from ..scenes.portions import rows_within
from ..scenes.quantity import recognise_quantity
from ..scenes.raster import RasterFile
from ..scenes.spectral_library import Library, band_widths
from .identify import library_of

if TYPE_CHECKING:
    from .run import Run
    from .sources import RasterSource, RegionSource

MOST_TARGETS = 100  # more than that describe no target
MOST_PIXELS = 200_000  # of all targets: beyond, they are no targets in a background, and too much to hold
_MARKS = 8  # bands whose values tell whether a pixel is one of the targets' own
_MOSTLY = 0.5  # share of a target's pixels in which a band needs data
_LISTED = 5  # names that a message lists
_LOOKED_AT = 16  # rows that tell whether a scene is reflectance


@dataclass(frozen=True)
class Targets:
    """Spectra to search for.

    names: of each. spectra: (targets, bands) float64 of all bands of the raster that they are from, NaN where unknown; None for those of a
    library. scene: that raster, `RasterSource`, or None. library: their `Library`, or None.
    positions: (n, 2) row and column of the pixels of the scene that they are the means of. marks: (n, m) float32 values of these in the
    bands `marked` (m,), numbers from 1.
    """

    names: tuple[str, ...]
    spectra: np.ndarray | None = None
    scene: RasterSource | None = None
    library: Library | None = None
    positions: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))
    marks: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    marked: tuple[int, ...] = ()

    def shares_bands(self, raster: RasterFile) -> bool:
        """Whether the bands of a raster are those of the targets, number for number."""
        if self.scene is None:
            return False
        own, other = self.scene.open().table.wavelengths, raster.table.wavelengths
        return own.shape == other.shape and np.array_equal(own, other, equal_nan=True)

    def seen_by(self, raster: RasterFile) -> np.ndarray:
        """The targets as a raster would show them, (targets, bands of the raster) float64, NaN in bands for which they are not known.

        By number where the bands are the same, in the raster's unit where both are reflectance. Else by wavelength, as bands with Gaussian
        responses see them: then both have to be reflectance. Raises ValueError, with the remedy, where neither is possible.
        """
        if self.shares_bands(raster):
            return np.asarray(self.spectra) * self._ratio(raster)
        table = raster.table
        known = ~np.isnan(table.wavelengths)
        if not known.any():
            what = "a library's spectra are" if self.library else f"targets of {self.scene.name}, which has other bands, are"  # type: ignore[union-attr]
            raise ValueError(
                f"{raster.name} does not tell its wavelengths, by which {what} brought to its bands. Add them to its header, or take "
                "the targets from a region of the scene itself."
            )
        found = np.full((len(self.names), raster.count), np.nan)
        widths = band_widths(table.wavelengths[known], table.fwhm[known])
        found[:, known] = self._as_library().at_bands(table.wavelengths[known], widths) / reflectance_factor(raster)
        return found

    def _ratio(self, raster: RasterFile) -> float:
        """Unit of the targets' scene over that of another raster with its bands; 1 where they are not known to be reflectance."""
        own = self.scene.open()  # type: ignore[union-attr]  # that raster shares its bands
        if own.source == raster.source:
            return 1.0
        try:
            return reflectance_factor(own) / reflectance_factor(raster)
        except ValueError:
            return 1.0

    def _as_library(self) -> Library:
        """The targets as reflectance, 0 to 1."""
        if self.library is not None:
            return self.library
        raster = self.scene.open()  # type: ignore[union-attr]  # they are of a scene or of a library
        wavelengths, spectra = raster.table.wavelengths, self.spectra
        if np.isnan(wavelengths).all():
            raise ValueError(
                f"{raster.name} does not tell its wavelengths, so that its targets cannot be brought to scenes with other bands. Add "
                "them to its header, or search in scenes with the same bands."
            )
        centres, first = np.unique(wavelengths, return_index=True)  # NaN is last
        first = first[~np.isnan(centres)]
        values = (spectra[:, first] * reflectance_factor(raster)).astype(np.float32)  # type: ignore[index]
        count, grid = len(self.names), wavelengths[first] / 1e3
        return Library(self.names, (grid,) * count, tuple(values), (raster.name,) * count)


def targets_of_regions(scene: RasterSource, regions: RegionSource, bands: Sequence[int], run: Run) -> Targets:
    """`Targets` that are the mean spectra of regions of a scene.

    bands: numbers from 1 that the user asked for, or []. Reads the rows of the regions alone. Raises ValueError, with the remedy, where no
    region holds a pixel with data.
    """
    if not regions.shapes:
        raise ValueError(f"{regions.name} holds no regions. Choose or draw some around what is to be found, or select some of the layer.")
    if len(regions.shapes) > MOST_TARGETS:
        raise ValueError(
            f"{regions.name} holds {len(regions.shapes)} regions; at most {MOST_TARGETS} can be targets of one search. Select those that "
            "are of one kind."
        )
    raster = scene.open()
    check_bands(bands, raster)
    numbers = list(bands) or [number for number in range(1, raster.count + 1) if raster.table.good[number - 1]]
    if not numbers:
        raise ValueError(f"{raster.name} flags all of its bands as bad. Name the bands to use.")
    labels = RegionLabels(raster, regions.shapes, regions.crs, run.scratch)
    step = rows_within(run.memory, raster.columns, len(numbers), raster.blocks.rows)
    whole = np.concatenate([labels.labels(row, min(row + step, raster.rows)).any(axis=1) for row in range(0, raster.rows, step)])
    covered, filled_in, parts = 0, np.zeros(len(numbers), np.int64), []
    for first in range(0, raster.rows, step):
        last = min(first + step, raster.rows)
        run.progress(first / raster.rows, f"spectra of the targets, row {first + 1} of {raster.rows}")
        if not whole[first:last].any():
            continue
        rows, columns = np.nonzero(number := labels.labels(first, last))
        covered += len(rows)
        if covered > MOST_PIXELS:
            raise ValueError(
                f"The regions of {regions.name} cover more than {MOST_PIXELS} pixels. Choose smaller ones of what is to be found."
            )
        left = int(columns.min())
        values, filled = raster.read_bands(first, last, numbers, left, int(columns.max()) + 1)
        values, filled = values[:, rows, columns - left], filled[:, rows, columns - left]
        any_filled = filled.any(axis=0)
        filled_in += np.count_nonzero(filled, axis=1)
        parts.append(
            (
                number[rows, columns][any_filled],
                np.stack([rows + first, columns], 1)[any_filled],
                values.T[any_filled],
                filled.T[any_filled],
            )
        )
    if not covered:
        raise ValueError(
            f"No region of {regions.name} touches {raster.name}. Check that both lie in the same place and that the CRS is right."
        )
    if not any(len(part[0]) for part in parts):
        raise ValueError(f"The regions of {regions.name} hold no pixel with data of {raster.name}: all are nodata. Choose other places.")
    number, positions, values, filled = (np.concatenate([part[i] for part in parts]) for i in range(4))
    present = filled_in >= _MOSTLY * len(number)
    valid = filled[:, present].all(axis=1) if present.any() else np.zeros(len(number), bool)
    counts = np.bincount(number[valid] - 1, minlength=labels.count)
    if not counts.any():
        raise ValueError(f"No pixel in the regions of {regions.name} has data in the bands of {raster.name}. Choose other places.")
    kept = np.flatnonzero(counts)
    names = [f"region {regions.ids[index]}" for index in range(labels.count)]
    if len(kept) < labels.count:
        empty = [name for name, count in zip(names, counts) if not count]
        run.log(
            f"{regions.name}: left out {len(empty)} regions, since they hold no pixel with data of {raster.name}, or lie under another: "
            f"{_some(empty)}."
        )
    spectra = np.full((len(kept), raster.count), np.nan)
    columns = np.array(numbers)[present] - 1
    for place, index in enumerate(kept):
        mine = valid & (number == index + 1)
        spectra[place, columns] = values[np.ix_(mine, present)].mean(axis=0, dtype=np.float64)
        run.log(f"Target {names[index]}: the mean of {counts[index]} pixel{'s' if counts[index] != 1 else ''} of {raster.name}.")
    chosen = np.unique(np.linspace(0, len(columns) - 1, _MARKS).astype(int))
    marks = values[valid][:, np.flatnonzero(present)[chosen]]
    marked = tuple(int(column) + 1 for column in columns[chosen])
    return Targets(tuple(names[index] for index in kept), spectra, scene, None, positions[valid], marks, marked)


def targets_of_libraries(paths: Sequence[str], entries: Sequence[str], run: Run) -> Targets:
    """`Targets` that are entries of spectral libraries.

    paths: files and folders, as `read_library` takes them. entries: their names, or patterns such as "*sheet metal*", in upper or lower
    case; none where there is one entry only. Raises ValueError, with the remedy, for names that none has.
    """
    library, path = library_of(paths, run), ", ".join(paths)
    lower = [name.lower() for name in library.names]
    if not entries and len(library) > 1:
        raise ValueError(
            f"{path} holds {len(library)} entries, such as {_some(library.names)}. Name those to search for: several may be separated by "
            "semicolons, and * stands for any text."
        )
    chosen: list[int] = []
    for entry in entries or library.names:
        wanted = entry.strip().lower()
        found = [index for index, name in enumerate(lower) if name == wanted]
        found = found or [index for index, name in enumerate(lower) if fnmatch.fnmatchcase(name, wanted)]
        if not found:
            close = difflib.get_close_matches(wanted, lower, _LISTED, 0.3) or lower[:_LISTED]
            likely = [library.names[lower.index(name)] for name in close]
            raise ValueError(f"{path} holds no entry {entry.strip()}. It has {len(library)}, such as {_some(likely)}.")
        chosen += [index for index in found if index not in chosen]
    if len(chosen) > MOST_TARGETS:
        raise ValueError(f"{len(chosen)} entries of {path} are chosen; at most {MOST_TARGETS} can be targets of one search. Name fewer.")
    kept = Library(
        tuple(library.names[index] for index in chosen),
        tuple(library.wavelengths[index] for index in chosen),
        tuple(library.values[index] for index in chosen),
        tuple(library.files[index] for index in chosen),
    )
    run.log(f"Targets of {path}: {_some(kept.names)}.")
    return Targets(kept.names, library=kept)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def reflectance_factor(raster: RasterFile) -> float:
    """The factor that makes reflectance of 0 to 1 of a raster's values. Raises ValueError where they do not seem to be reflectance, which
    alone can be compared with a library or with another sensor."""
    wavelengths = raster.table.wavelengths
    numbers = [number for number in range(1, raster.count + 1) if raster.table.good[number - 1] and not np.isnan(wavelengths[number - 1])]
    seen = []
    for row in np.unique(np.linspace(0, raster.rows - 1, _LOOKED_AT).astype(int)) if numbers else ():
        values, filled = raster.read_bands(row, row + 1, numbers)
        some = filled.any(axis=(1, 2))
        seen.append(np.where(filled, values, np.nan)[:, 0, filled[some].all(axis=0)[0]].T)
    spectra = np.concatenate(seen) if seen else np.empty((0, 0))
    known = np.isfinite(spectra).all(axis=0) if len(spectra) else np.zeros(0, bool)
    if not known.any():
        raise ValueError(f"{raster.name} holds too few values to tell whether they are reflectance. Choose another scene.")
    places = np.array(numbers)[known] - 1
    found = recognise_quantity(raster, spectra[:, known], wavelengths[places], raster.table.fwhm[places])
    if not found.reflectance:
        raise ValueError(
            f"{raster.name} does not seem to be reflectance, which alone can be compared with a library, or with a scene of other bands: "
            f"{found.why}. Correct the scene for the atmosphere, or take the targets from a region of the scene itself. If it is "
            "reflectance, say so in its metadata: description = reflectance."
        )
    return found.factor


def used_bands(spectra: np.ndarray, numbers: Sequence[int], name: str, run: Run) -> list[int]:
    """Those of the bands `numbers` of a raster for which all targets are known. Raises ValueError where fewer than two are.

    spectra: what `Targets.seen_by` returned. name: of the raster.
    """
    known = np.isfinite(spectra).all(axis=0)
    kept = [number for number in numbers if known[number - 1]]
    if len(kept) < 2:
        raise ValueError(
            f"The targets and {name} share {len(kept)} good band{'s' if len(kept) != 1 else ''}; at least two are needed. Choose targets "
            "whose wavelengths are those of the scene."
        )
    if left_out := [number for number in numbers if not known[number - 1]]:
        run.log(f"{name}: left out {len(left_out)} bands for which not all targets are known: {list_bands(left_out)}.")
    return kept
