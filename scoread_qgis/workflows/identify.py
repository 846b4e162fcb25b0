"""Identification: what regions are, by spectral libraries, and which of them are the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.cube import Block
from ..decisions.matching import FEWEST_BANDS, Background, Matches, best_matches, groups
from ..detectors.shared.explanation import region_spectra
from ..detectors.shared.statistics import GaussianStatistics
from ..reports.identification import CLEAR, MatchedEntry, RegionMatches, Told, identification_page
from ..scenes.mask import RegionLabels
from ..scenes.provenance import provenance_of
from ..scenes.quantity import Quantity, recognise_quantity
from ..scenes.raster import RasterCube
from ..scenes.region_file import write_fields
from ..scenes.spectral_library import Library, band_widths, read_libraries
from ..scenes.thumbnail import false_colour
from .outputs import check_outputs
from .parameters import GROUP_ANGLE, QUANTITY
from .provenance import facts_of_identification
from .sources import MaskSource, RasterSource, RegionSource, good_cubes

if TYPE_CHECKING:
    from ..reports.page import Page
    from ..scenes.resampling import ResampledCube
    from .run import Run

MATCHES = 3  # that are written of each region
SAMPLE = 16_384  # pixels of the background that matches are compared with
MOST_REGIONS = 20_000  # that are identified: more are noise
_TOLD = 10  # regions that the log describes, and the page at most
_SHOWN = 50


@dataclass(frozen=True)
class Identification:
    """The identification of regions.

    scene: `RasterSource`. regions: `RegionSource`. output: .gpkg file for the regions with what was found. libraries: files and folders of
    spectral libraries; without any, regions are only grouped. report: .html file or None. quantity: "auto", "reflectance" or "iar", see
    `parameters.QUANTITY`. flat_field: `MaskSource` of a surface without features by which the scene is divided, or None. bands: numbers the
    user asked for, or (). group_angle: in degrees.
    """

    scene: RasterSource
    regions: RegionSource
    output: str
    libraries: Sequence[str] = ()
    report: str | None = None
    quantity: str = QUANTITY.default
    flat_field: MaskSource | None = None
    bands: Sequence[int] = ()
    group_angle: float = GROUP_ANGLE.default


@dataclass(frozen=True)
class Comparison:
    """Regions compared with a library: its entries as the scene's bands see them, the regions' mean spectra in the same unit, matches."""

    library: Library
    entries: np.ndarray
    spectra: np.ndarray
    matches: Matches

    def of(self, region: int, group: int | None = None) -> RegionMatches:
        """What the report says of a region, by its index."""
        found, matches = [], self.matches
        for place, entry in enumerate(matches.entries[region]):
            if entry >= 0:
                at = region, place
                found.append(
                    MatchedEntry(
                        name=self.library.names[entry],
                        file=self.library.files[entry],
                        share=float(matches.shares[at]),
                        angle=float(matches.angles[at]),
                        feature=float(matches.features[at]),
                        coherence=float(matches.coherences[at]),
                        bands=int(matches.bands[at]),
                        spectrum=self.entries[entry],
                    )
                )
        return RegionMatches(self.spectra[region], found, group)


def identify(identification: Identification, run: Run) -> tuple[int, int]:
    """Find out what regions are. Returns how many of them have a clear match, and the number of groups.

    Writes the regions with all of their fields and `group`, from 1, in the order of the regions' ranks; and with libraries `match_1` to
    `match_3`, names of the best matches; `angle_1` to `angle_3`, spectral angles in degrees; `score_1` to `score_3`, the share of the
    background that matches the entry at least as well; and `bands`, over how many the best match was made. Raises ValueError with the
    remedy for what does not fit.
    """
    scene, regions, report = identification.scene, identification.regions, identification.report
    library = library_of(identification.libraries, run.part(0.0, 0.05)) if identification.libraries else None
    inputs = [scene, regions, identification.flat_field, *(set(library.files) if library else ())]
    check_outputs([(identification.output, ".gpkg"), (report, ".html")], inputs, run.scratch)
    if library is not None and np.isnan(scene.open().table.wavelengths).all():
        raise ValueError(
            f"{scene.name or scene.source} has no wavelengths, by which spectra of a library are brought to its bands. Add them to the "
            "file (wavelength in the ENVI header or on each band), or leave the library out: regions are then grouped alone."
        )
    (cube,), _ = good_cubes([scene], identification.bands, None, run.part(0.05, 0.2))
    chosen = regions.first(MOST_REGIONS)
    if len(regions.shapes) > MOST_REGIONS:
        run.warn(f"{regions.name} holds {len(regions.shapes)} regions; the first {MOST_REGIONS} are identified, the others only kept.")
    seen = _seen(cube, chosen, run.part(0.2, 0.6))
    numbers = groups(seen.spectra, seen.background, identification.group_angle, run.progress.part(0.6, 0.7))
    run.log(f"Groups: {numbers.max(initial=0)}. Regions in each: {_sizes(numbers)}.")
    comparison = None
    if library is not None and not chosen.shapes:
        nothing = np.empty((0, MATCHES))
        comparison = Comparison(library, nothing, nothing, Matches(*[nothing] * 6))
    elif library is not None:
        how = (identification.quantity, identification.flat_field)
        comparison = compare(cube, seen.spectra, seen.background, library, *how, run.part(0.7, 0.95))
    page = _page(cube, chosen, len(regions.shapes), numbers, seen, comparison, run) if report else None
    run.progress(0.97, "writing the regions")  # the last moment for a cancel between the two files: nothing is written yet
    clear = _write(identification, chosen, numbers, comparison, run)
    if page is not None:
        page.write(str(report))
    return clear, int(numbers.max(initial=0))


def _page(
    cube: RasterCube, chosen: RegionSource, count: int, numbers: np.ndarray, seen: Seen, comparison: Comparison | None, run: Run
) -> Page:
    """The report. count: of all regions, those included that were not looked at."""
    told: list[Told] = []
    for i in np.flatnonzero(numbers)[:_SHOWN]:
        group = int(numbers[i])
        matched = RegionMatches(seen.spectra[i], [], group) if comparison is None else comparison.of(i, group)
        told.append((str(chosen.ids[i]), seen.places[i], seen.positions[i], matched))
    picture = (false_colour(cube.raster), cube.rows, cube.columns)
    page = identification_page(cube.raster.name, told, count - len(told), cube.wavelengths, picture)
    page.versions(run.versions())
    return page


def library_of(paths: Sequence[str], run: Run) -> Library:
    """All entries of the libraries in files and folders, with the notes in the log.

    One file or folder must hold spectra; of several, those that do not are left out with a warning. Raises ValueError where none does.
    """
    library, problems = read_libraries(paths, run.progress)
    if not len(library):
        raise ValueError(problems[0] if len(problems) == 1 else f"None of the {len(paths)} libraries can be read. {problems[0]}")
    for problem in problems[:_TOLD]:
        run.warn(f"Left out: {problem}")
    if len(problems) > _TOLD:
        run.warn(f"{len(problems) - _TOLD} more files are left out.")
    for note in library.notes:
        run.log(note)
    run.log(f"{len(library)} library spectra.")
    return library


@dataclass(frozen=True)
class Seen:
    """What is seen of regions and around: their mean `spectra` (n, bands), NaN without a valid pixel; `positions` (n, 2), mean row and
    column; `places` (n, 2), the same on the map; and the `Background`, without them."""

    spectra: np.ndarray
    positions: np.ndarray
    places: np.ndarray
    background: Background


def _seen(cube: RasterCube, regions: RegionSource, run: Run) -> Seen:
    if not regions.shapes:
        run.log(f"{regions.name} holds no regions: there is nothing to identify.")
        nothing, bands = np.empty((0, 2)), cube.bands
        return Seen(np.empty((0, bands)), nothing, nothing, Background(np.zeros((1, bands)), np.ones(bands), np.eye(bands)))
    labels = RegionLabels(cube.raster, regions.shapes, regions.crs, run.scratch)
    seen = region_spectra(cube, labels, run.progress.part(0.0, 0.5))
    if not seen.pixels.any():
        raise ValueError(
            f"No region of {regions.name} holds a valid pixel of {cube.raster.name}. Check that both lie in the same place and that the "
            "CRS is right."
        )
    if not seen.pixels.all():
        empty = ", ".join(str(regions.ids[i]) for i in np.flatnonzero(seen.pixels == 0)[:_TOLD])
        run.warn(
            f"{np.count_nonzero(seen.pixels == 0)} regions are not identified, since they hold no valid pixel of {cube.raster.name} (or "
            f"lie under a higher-ranked region), such as {empty}."
        )
    return Seen(seen.mean, seen.centres, cube.map_positions(seen.centres), background_of(cube, labels, run.part(0.5, 1.0)))


def background_of(cube: RasterCube | ResampledCube, labels: RegionLabels, run: Run) -> Background:
    """The `Background` of a scene: what lies outside of regions."""
    import torch

    def gather(block: Block, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return block.values[rows, columns], labels.labels(block.row, block.row + block.rows)[rows, columns] == 0

    _, drawn = cube.sample(SAMPLE, 0, gather, progress=run.progress, message="spectra of the background")
    spectra = drawn[0][drawn[1]] if drawn else np.empty((0, cube.bands))
    if len(spectra) < 2:
        raise ValueError(
            f"Outside of the regions, {cube.raster.name} has no valid pixels to compare with. Identify smaller regions, or a larger scene."
        )
    statistics = GaussianStatistics()
    statistics.add(torch.from_numpy(np.ascontiguousarray(spectra)))
    return Background(spectra.astype(np.float64), statistics.mean.numpy(), statistics.covariance.numpy())


def compare(
    cube: RasterCube | ResampledCube,
    spectra: np.ndarray,
    background: Background,
    library: Library,
    quantity: str,
    flat_field: MaskSource | None,
    run: Run,
) -> Comparison:
    """The `Comparison` of spectra (n, bands) of a scene with a library.

    background: of the scene, in its own unit. quantity, flat_field: as of `Identification`. Raises ValueError where no entry covers three
    bands of the scene.
    """
    wavelengths = cube.wavelengths
    if wavelengths is None:
        raise ValueError(f"Some of the bands of {cube.raster.name} that are used have no wavelength. Name bands that have one.")
    numbers = getattr(cube, "numbers", None)
    fwhm = np.full(cube.bands, np.nan) if numbers is None else cube.raster.table.fwhm[np.array(numbers) - 1]
    run.progress(0.0, "bringing the library to the bands of the scene")
    entries = library.at_bands(wavelengths, band_widths(wavelengths, fwhm))
    covered = np.isfinite(entries).sum(axis=1)
    if covered.max() < FEWEST_BANDS:
        low, high = min(each[0] for each in library.wavelengths), max(each[-1] for each in library.wavelengths)
        raise ValueError(
            f"The library spectra, {low:.3g} to {high:.3g} µm, cover less than {FEWEST_BANDS} bands of {cube.raster.name}, "
            f"{wavelengths.min() / 1e3:.3g} to {wavelengths.max() / 1e3:.3g} µm. Choose a library of the same range."
        )
    if (few := np.count_nonzero(covered < FEWEST_BANDS)) > 0:
        run.log(f"{few} of {len(library)} library spectra cover less than {FEWEST_BANDS} bands of the scene, and are left out.")
    gain = _to_reflectance(cube, background.spectra, entries, fwhm, quantity, flat_field, run.part(0.0, 0.2))
    usable = np.isfinite(gain)
    entries[:, ~usable] = np.nan
    gain = np.where(usable, gain, 0.0)
    background = Background(background.spectra * gain, background.mean * gain, background.covariance * np.outer(gain, gain))
    spectra = spectra * gain
    matches = best_matches(spectra, entries, background, wavelengths, MATCHES, run.progress.part(0.2, 1.0))
    return Comparison(library, entries, spectra, matches)


def _to_reflectance(
    cube: RasterCube | ResampledCube,
    sample: np.ndarray,
    entries: np.ndarray,
    fwhm: np.ndarray,
    quantity: str,
    flat_field: MaskSource | None,
    run: Run,
) -> np.ndarray:
    """Factor for each band (bands,) that makes reflectance of the scene's values; NaN for bands that have none."""
    name = cube.raster.name
    if flat_field is None and quantity != "iar":
        found = recognise_quantity(cube.raster, sample, cube.wavelengths, fwhm)
        if quantity == "reflectance" and not found.reflectance:
            run.warn(f"{name} is taken for reflectance, as asked for, although it does not look like it: {found.why}.")
            found = Quantity(True, 1.0, "")
        if found.reflectance:
            run.log(f"{name} is reflectance: {found.why or 'as said'}.")
            return np.full(cube.bands, found.factor)
        run.warn(
            f"{name} does not seem to be reflectance, which libraries hold: {found.why}. It is divided by the scene's mean spectrum (IAR), "
            "which makes relative reflectance only where the scene as a whole is grey: take the matches for hints. Better: correct the "
            "scene for the atmosphere, or give a flat field."
        )
    if flat_field is not None:
        field, text = _mean_within(cube, flat_field, run), f"the mean spectrum of the flat field {flat_field.name}"
    else:
        field, text = sample.mean(axis=0), "its mean spectrum (IAR)"
    lit = field > 0
    if np.count_nonzero(lit) < FEWEST_BANDS:
        raise ValueError(f"{name} cannot be divided by {text}: it is not positive. Choose another way to reflectance.")
    if not lit.all():
        run.log(f"{np.count_nonzero(~lit)} bands in which {text} is not positive are left out.")
    field = np.where(lit, field, np.nan)
    # Relative reflectance has no level: the scene on average is as bright as the library.
    level = float(np.nanmedian(entries) / np.nanmean(sample.mean(axis=0) / field))
    run.log(f"{name} is divided by {text}, and scaled to the brightness of the library, {np.nanmedian(entries):.3g}.")
    return level / field


def _mean_within(cube: RasterCube | ResampledCube, flat_field: MaskSource, run: Run) -> np.ndarray:
    if not isinstance(cube, RasterCube):
        raise ValueError("A flat field needs the bands of the scene as they are.")
    inside = RasterCube(cube.raster, cube.numbers, flat_field.on(cube.raster, scratch=run.scratch))
    inside.rows_per_block = cube.rows_per_block
    total, count = np.zeros(cube.bands), 0
    for block in inside.blocks(0, run.progress, "flat field"):
        total += block.values.sum(axis=(0, 1), dtype=np.float64)  # 0 where not valid
        count += np.count_nonzero(block.valid)
    if not count:
        raise ValueError(f"The flat field {flat_field.name} holds no valid pixel of {cube.raster.name}. Choose another surface.")
    return total / count


def _write(identification: Identification, chosen: RegionSource, numbers: np.ndarray, comparison: Comparison | None, run: Run) -> int:
    """Write the regions, say what the first ones are, and return how many have a clear match."""
    regions = identification.regions
    kinds: dict[str, type] = {"group": int}
    rest = len(regions.shapes) - len(chosen.shapes)
    found: dict[str, list[object]] = {"group": [int(number) if number else None for number in numbers]}
    clear = 0
    if comparison is not None:
        matches = comparison.matches
        for place in range(MATCHES):
            entries = matches.entries[:, place]
            found[f"match_{place + 1}"] = [comparison.library.names[entry] if entry >= 0 else None for entry in entries]
            found[f"angle_{place + 1}"] = matches.angles[:, place].tolist()
            found[f"score_{place + 1}"] = matches.shares[:, place].tolist()
            kinds.update({f"match_{place + 1}": str, f"angle_{place + 1}": float, f"score_{place + 1}": float})
        found["bands"] = [int(count) or None for count in matches.bands[:, 0]]
        kinds["bands"] = int
        clear = int(np.count_nonzero(matches.shares[:, 0] <= CLEAR))
        run.log(f"{clear} of {len(chosen.shapes)} regions have a match that at most {CLEAR:.0%} of the background reaches.")
        for region in range(min(len(chosen.shapes), _TOLD)):
            run.log(_told(chosen.ids[region], comparison.of(region)))
    if rest:
        chosen = regions.first(len(regions.shapes))
    others: dict[str, Sequence[object]] = {name: values for name, values in chosen.columns().items() if name not in found}
    first = {"rank": others.pop("rank")} if "rank" in others else {}  # what was found stands before what was known
    fields = {**first, **{name: (*values, *[None] * rest) for name, values in found.items()}, **others}
    facts = {**(provenance_of(regions.file.partition("|")[0]) if regions.file else {}), **facts_of_identification(identification, run)}
    crs = chosen.crs or identification.scene.open().crs
    write_fields(identification.output, crs, chosen.shapes, chosen.ids, fields, kinds, run.progress.part(0.97, 1.0), facts)
    return clear


def _told(name: object, region: RegionMatches) -> str:
    if not region.entries:
        return f"Region {name}: no match."
    best = region.entries[0]
    return (
        f"Region {name}: {best.name}; {best.share:.3%} of the background matches as well, spectral angle {best.angle:.1f}°, "
        f"{best.bands} bands."
    )


def _sizes(numbers: np.ndarray) -> str:
    sizes = np.sort(np.bincount(numbers[numbers > 0])[1:])[::-1] if numbers.any() else np.empty(0, int)
    text = ", ".join(str(size) for size in sizes[:_TOLD])
    return f"{text} and {len(sizes) - _TOLD} smaller ones" if len(sizes) > _TOLD else text or "none"
