"""Explanation: from a model and the places that it found to the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..detectors.model_file import Model
from ..detectors.shared.device import pick_device
from ..detectors.shared.explanation import expected_backgrounds, most_similar, region_spectra
from ..reports.explanation import RegionReasons, explanation_page
from ..scenes.mask import RegionLabels
from ..scenes.thumbnail import false_colour
from .identify import background_of, compare, library_of
from .outputs import check_outputs, write_table
from .parameters import QUANTITY, TOP
from .sources import RasterSource, RegionSource, fitting_cube

if TYPE_CHECKING:
    from ..detectors.contract import Detector
    from ..scenes.raster import RasterCube
    from ..scenes.resampling import ResampledCube
    from ..scenes.spectral_library import Library
    from .run import Run

TOP_BANDS = 5


@dataclass(frozen=True)
class RegionExplanation:
    """The explaining of regions by the model that found them.

    scene: `RasterSource`. model: model file. regions: `RegionSource`. report: .html file, table: .csv file with a line for each region,
    spectra: .csv file with a line for each region and band; any of them None. top: how many regions, those of the highest rank. bands,
    device: as of `detect.Detection`. libraries: files and folders of spectral libraries, whose best matches the report shows.
    """

    scene: RasterSource
    model: str
    regions: RegionSource
    report: str | None = None
    table: str | None = None
    spectra: str | None = None
    top: int = TOP.default
    bands: Sequence[int] = ()
    device: str = "auto"
    libraries: Sequence[str] = ()


def explain_regions(explanation: RegionExplanation, run: Run) -> int:
    """Explain why a model finds some places anomalous. Returns how many regions were explained.

    Regions without a rank are ranked by the anomaly value of their mean spectrum. Raises ValueError with the remedy for what does not fit.
    """
    scene, model, regions, top = explanation.scene, explanation.model, explanation.regions, explanation.top
    report, table, spectra = explanation.report, explanation.table, explanation.spectra
    library = library_of(explanation.libraries, run.part(0.0, 0.01)) if explanation.libraries else None
    inputs = [scene, model, regions, *(set(library.files) if library else ())]
    check_outputs([(report, ".html"), (table, ".csv"), (spectra, ".csv")], inputs, run.scratch)
    if not regions.shapes:
        run.log(f"{regions.name} holds no regions: there is nothing to explain.")
    elif len(regions.shapes) > top:
        run.log(f"{regions.name} holds {len(regions.shapes)} regions; the first {top} are explained.")
    device, chosen = pick_device(explanation.device), regions.first(top)
    run.progress(0.0, "reading the model")
    kept = Model.load(model, device)
    cube = fitting_cube(scene, kept, explanation.bands, None, run.part(0.0, 0.1))
    reasons = find_reasons(cube, kept.detector, chosen, run.part(0.1, 0.95), library) if chosen.shapes else []
    names = band_names(cube)
    run.progress(1.0, f"{len(reasons)} regions explained")  # the last moment for a cancel: nothing is written yet
    if table:
        write_table(table, *_table(reasons, names))
    if spectra:
        write_table(spectra, *_spectra(reasons, names))
    if report:
        left_out = len(regions.shapes) - len(reasons)
        scene_picture = (false_colour(cube.raster), cube.rows, cube.columns)
        page = explanation_page(cube.raster.name, model, reasons, left_out, names, cube.wavelengths, scene_picture)
        page.versions(run.versions())
        page.write(report)
    return len(reasons)


def band_names(cube: RasterCube | ResampledCube) -> list[str]:
    """What the bands of a scene are called: by wavelength where known, else by number."""
    if cube.wavelengths is None:
        return [f"band {n}" for n in cube.numbers]  # type: ignore[union-attr]  # a resampled cube has wavelengths
    return [f"{w:.0f} nm" for w in cube.wavelengths]


def find_reasons(
    cube: RasterCube | ResampledCube, detector: Detector, regions: RegionSource, run: Run, library: Library | None = None
) -> list[RegionReasons]:
    """`RegionReasons` of the regions that have valid pixels, by rank. library: to match them with. Raises ValueError where none has."""
    labels = RegionLabels(cube.raster, regions.shapes, regions.crs, run.scratch)
    seen = region_spectra(cube, labels, run.progress.part(0.0, 0.25))
    if not seen.pixels.all():
        empty = ", ".join(str(regions.ids[i]) for i in np.flatnonzero(seen.pixels == 0))
        run.log(
            f"{regions.name}: left out, since they hold no valid pixel of {cube.raster.name} (or lie under a higher-ranked region): "
            f"{empty}."
        )
    if not seen.pixels.any():
        raise ValueError(
            f"No region of {regions.name} holds a valid pixel of {cube.raster.name}. Check that both lie in the same place and that the "
            "CRS is right."
        )
    kept = np.flatnonzero(seen.pixels)
    labels.keep(seen.pixels > 0)
    seen = seen.of(kept)
    expected = expected_backgrounds(cube, labels, seen, run.progress.part(0.25, 0.4))
    for i in (i for i, one in zip(kept, expected) if not one.pixels):
        run.log(
            f"Region {regions.ids[i]}: too large, or too little around it to expect a background from; the mean of the scene stands for it."
        )
    scorer = detector.bind(cube, progress=run.progress.part(0.4, 0.4 + 0.35 * detector.binding_share))
    backgrounds = np.stack([one.spectrum for one in expected])
    explanation = scorer.explain(seen.mean, seen.centres, backgrounds, run.progress.part(0.4 + 0.35 * detector.binding_share, 0.75))
    run.log(f"Value of the mean spectra, which is explained: {explanation.what}.")
    similar = most_similar(cube, seen.mean, seen.boxes, run.progress.part(0.75, 0.9))
    compared = None
    if library is not None:
        background = background_of(cube, labels, run.part(0.9, 0.95))
        compared = compare(cube, seen.mean, background, library, QUANTITY.default, None, run.part(0.95, 1.0))
    ranks = [regions.ranks[i] for i in kept]
    order = np.argsort(-explanation.scores if None in ranks else ranks, kind="stable")
    places, similar_places = cube.map_positions(seen.centres), cube.map_positions(similar.positions)
    return [
        RegionReasons(
            index=int(kept[i]),
            rank=number + 1 if None in ranks else ranks[i],
            id=regions.ids[kept[i]],
            pixels=int(seen.pixels[i]),
            position=seen.centres[i],
            box=seen.boxes[i],
            place=places[i],
            observed=seen.mean[i],
            background=expected[i].spectrum,
            low=expected[i].low,
            high=expected[i].high,
            score=float(explanation.scores[i]),
            background_score=float(explanation.background_scores[i]),
            contributions=explanation.contributions[i],
            what=explanation.what,
            similar=similar.spectra[i],
            similar_place=similar_places[i] if similar.positions[i, 0] >= 0 else None,
            similar_angle=float(similar.angles[i]),
            matches=None if compared is None else compared.of(i),
        )
        for number, i in enumerate(order)
    ]


def _table(reasons: list[RegionReasons], names: list[str]) -> tuple[list[str], list[list[object]]]:
    """Header and a row for each region."""
    header = ["rank", "id", "x", "y", "pixels", "mean_spectrum_value", "background_value", "contributions"]
    header += [column for n in range(1, TOP_BANDS + 1) for column in (f"band_{n}", f"contribution_{n}")]
    header += ["similar_x", "similar_y", "similar_angle_degrees"]
    rows = []
    for region in reasons:
        top = [cell for band in region.top_bands(TOP_BANDS) for cell in (names[band], region.contributions[band])]
        top += [""] * (2 * TOP_BANDS - len(top))
        similar = ["", "", ""] if region.similar_place is None else [*region.similar_place, region.similar_angle]
        rows.append(
            [
                region.rank,
                region.id,
                *region.place,
                region.pixels,
                region.score,
                region.background_score,
                region.contributions.sum(),
                *top,
                *similar,
            ]
        )
    return header, rows


def _spectra(reasons: list[RegionReasons], names: list[str]) -> tuple[list[str], list[list[object]]]:
    """Header and a row for each region and band."""
    columns = ("observed", "background", "low", "high", "contributions", "similar")
    header = ["rank", "id", "band", "observed", "background", "background_low", "background_high", "difference", "contribution", "similar"]
    rows = []
    for region in reasons:
        for name, observed, background, low, high, contribution, similar in zip(names, *(getattr(region, column) for column in columns)):
            limits = [limit if np.isfinite(limit) else "" for limit in (low, high)]
            rows.append([region.rank, region.id, name, observed, background, *limits, observed - background, contribution, similar])
    return header, rows
