"""The report of a review: the accepted regions with their verdicts, pictures, places and reasons."""

from __future__ import annotations

import inspect
import os
from ast import literal_eval
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from osgeo import ogr

from ..detectors.registry import DETECTORS
from ..reports.explanation import RegionReasons, draw_spectra
from ..reports.figures import draw
from ..reports.reviewed import Extract, Sheet, reviewed_page
from ..scenes.bands import band_numbers, colour_bands
from ..scenes.ground import crs_name, ground_at, to_map
from ..scenes.mask import RegionLabels
from ..scenes.provenance import provenance_of
from ..scenes.thumbnail import colour_limits, colour_window, false_colour, window_thinned
from .accepted import NOTE, REVIEWED, accepted_regions, counted, places, told
from .detect import Detection, make_ready
from .explain import band_names, find_reasons
from .outputs import check_outputs
from .provenance import now

if TYPE_CHECKING:
    from ..scenes.raster import RasterFile
    from .run import Run
    from .sources import RasterSource, RegionSource

MARGIN = 15  # pixels around a region that its picture shows at least
_ADAPTED = ", adapted to the scene"  # what `detect.make_ready` says of such a model
_FROM_SCENE = ("learnt from the scene", "none is needed")  # and of what has no file
_MADE = {
    "scene_name": "scene", "map_name": "map", "detector_title": "detector", "model": "model", "settings": "settings", "bands": "bands",
    "mask": "mask", "area": "area", "date": "map made", "threshold": "threshold", "method": "threshold by", "rate": "false-alarm rate",
    "percentile": "percentile", "min_area": "smallest region", "extracted": "regions extracted", "extracted_with": "with",
}  # fmt: skip


@dataclass(frozen=True)
class AcceptedReport:
    """The report of a review.

    scene: `RasterSource`. regions: `RegionSource` of all regions that were reviewed, with their fields. report: .html file, or None. model:
    model file that explains them; by default what they were found with, where that is known. device: as of `detect.Detection`. pdf,
    template: the .pdf file that is to be made of what is reported, and what it is made from, or None.
    """

    scene: RasterSource
    regions: RegionSource
    report: str | None = None
    model: str | None = None
    device: str = "auto"
    pdf: str | None = None
    template: str | None = None


@dataclass
class ReportedRegion:
    """What is reported of one region, for other documents than the page.

    sheet: `Sheet`. footprint: WKB of the outline of its picture, in the CRS of the scene, None
    where it has no picture. shape: WKB of the region in its own CRS. spectra: figure as SVG, None without matplotlib or without spectra.
    """

    sheet: Sheet
    footprint: bytes | None
    shape: bytes
    spectra: bytes | None


@dataclass
class Reported:
    """What is reported. regions: by rank. facts: texts that are the same for all, by name. limits: `colour_limits` of the scene."""

    regions: list[ReportedRegion]
    facts: dict[str, str]
    limits: list[tuple[int, float, float]]


def report_accepted(report: AcceptedReport, run: Run) -> Reported:
    """Write the page on the accepted regions, and return what it reports.

    Raises ValueError, with the remedy, where no region is accepted, none lies in the scene, or a file cannot be written.
    """
    inputs = [report.scene, report.model, report.regions, report.template]
    check_outputs([(report.report, ".html"), (report.pdf, ".pdf")], inputs, run.scratch)
    chosen = accepted_regions(report.regions)
    summary = f"{report.regions.name}: {counted(report.regions)}."
    run.log(summary)
    facts = provenance_of(report.regions.file.partition("|")[0]) if report.regions.file else {}
    detection = _found_with(report, facts, run)
    cube, numbers = detection.cube(run.part(0.0, 0.1))
    ready = make_ready(detection, cube, numbers, run.part(0.1, 0.4))
    reasons = find_reasons(cube, ready.model.detector, chosen, run.part(0.4, 0.9))
    raster, names = cube.raster, band_names(cube)
    limits = colour_limits(raster)
    reported = _reported(raster, limits, chosen, reasons, names, cube.wavelengths, run.part(0.9, 1.0))
    run.progress(1.0, f"{len(chosen.shapes)} regions reported")  # the last moment for a cancel: nothing is written yet
    if report.report:
        made = [(title, facts[name]) for name, title in _MADE.items() if facts.get(name)]
        made += [("explained by", f"{ready.model.detector.title}, {ready.source}")]
        picture = (false_colour(raster), raster.rows, raster.columns)
        columns = ("rank", "id", "x", "y", "longitude", "latitude", "area", "pixels", "peak", "p-value", NOTE)
        sheets = [each.sheet for each in reported]
        page = reviewed_page(
            raster.name, summary, columns, sheets, made, crs_name(raster.crs), names, cube.wavelengths, _colours(raster), picture
        )  # fmt: skip
        page.versions(run.versions())
        page.write(report.report)
    made_with = ", ".join(f"{name} {version}" for name, version in run.versions().items())
    shared = {"scene": raster.name, "crs": crs_name(raster.crs), "colours": _colours(raster), "made": f"{now()}, with {made_with}"}
    return Reported(reported, shared, limits)


def _found_with(report: AcceptedReport, facts: dict[str, str], run: Run) -> Detection:
    """The `Detection` whose model explains the regions: that of the report, or that which `facts`, the regions' provenance, tell of."""
    named = facts.get("model", "")
    path = named[: -len(_ADAPTED)] if named.endswith(_ADAPTED) else named
    if report.model or os.path.isfile(path):
        run.log(f"Explained by the model {report.model or path}.")
        return Detection(report.scene, "", report.model or path, device=report.device)
    kind = facts.get("detector", "")
    if kind not in DETECTORS or named not in _FROM_SCENE:
        run.log("What found the regions is not known, or not there: they are explained by what the default mode learns of the scene.")
        return Detection(report.scene, "", device=report.device)
    seed = facts.get("seed", "0")
    learns = DETECTORS[kind].train if DETECTORS[kind].keeps_model else DETECTORS[kind]
    return Detection(
        report.scene,
        "",
        kind=kind,
        settings=_settings(facts.get("settings", ""), learns),
        bands=_bands(facts.get("bands", "")),
        seed=int(seed) if seed.isdecimal() else 0,
        device=report.device,
    )


def _settings(text: str, learns: object) -> dict[str, Any]:
    """The settings that a map tells of, "name = value, name = value", those that the detector takes."""
    known = inspect.signature(learns).parameters  # type: ignore[arg-type]  # a class or a function
    found = {}
    for entry in text.split(", "):
        name, _, value = entry.partition(" = ")
        try:
            if name in known:
                found[name] = literal_eval(value)
        except (ValueError, SyntaxError):  # not a plain value
            continue
    return found


def _bands(text: str) -> list[int]:
    """The bands that a map tells of, "1-6, 9 of 12"; none, for all good ones, where it tells of a part of them only."""
    try:
        return band_numbers(text.partition(" of ")[0])
    except ValueError:
        return []


def _reported(
    raster: RasterFile,
    limits: list[tuple[int, float, float]],
    chosen: RegionSource,
    reasons: list[RegionReasons],
    names: list[str],
    wavelengths: np.ndarray | None,
    run: Run,
) -> list[ReportedRegion]:
    """`ReportedRegion` of each of the chosen regions. reasons: of those that have valid pixels."""
    labels = RegionLabels(raster, chosen.shapes, chosen.crs, run.scratch)
    explained = {region.index: region for region in reasons}
    points, degrees = places(chosen, chosen.crs or raster.crs)
    found = []
    for index, fields in enumerate(chosen.fields):
        run.progress(index / len(chosen.fields), f"picture {index + 1} of {len(chosen.fields)}")
        region, rank = explained.get(index), chosen.ranks[index]
        title = f"Rank {told(rank)}: region {chosen.ids[index]}" if rank is not None else f"Region {chosen.ids[index]}"
        facts = [("rank", told(rank)), ("id", str(chosen.ids[index]))]
        facts += [(name, _coordinate(value)) for name, value in zip("xy", points[index])]
        if degrees is not None:
            facts += [(name, f"{value:.6f}°") for name, value in zip(("longitude", "latitude"), degrees[index])]
        facts += [("verdict", told(fields.get("verdict"))), (NOTE, told(fields.get(NOTE))), ("reviewed", _moment(fields.get(REVIEWED)))]
        facts += [("area", _area(fields.get("area"), degrees is not None)), ("pixels", told(fields.get("pixels")))]
        facts += [(name.replace("_", "-"), told(fields.get(name))) for name in ("peak", "mean", "p_value")]
        if region is None:
            found.append(ReportedRegion(Sheet(title, facts), None, chosen.shapes[index], None))
            continue
        facts.append(("bands that contribute most", ", ".join(names[band] for band in region.top_bands(3))))
        extract, footprint = _extract(raster, labels, index + 1, region, limits)
        spectra = draw(partial(draw_spectra, region=region, wavelengths=wavelengths), 8, 5)
        found.append(ReportedRegion(Sheet(title, facts, extract, region), footprint, chosen.shapes[index], spectra))
    return found


def _extract(
    raster: RasterFile, labels: RegionLabels, number: int, region: RegionReasons, limits: list[tuple[int, float, float]]
) -> tuple[Extract, bytes]:
    """The `Extract` around a region, within the scene, and its outline on the map as WKB. number: of the region in `labels`."""
    top, bottom, left, right = (int(side) for side in region.box)
    margin = max(MARGIN, 3 * max(bottom - top + 1, right - left + 1) // 4)
    top, bottom = max(0, top - margin), min(raster.rows, bottom + 1 + margin)
    left, right = max(0, left - margin), min(raster.columns, right + 1 + margin)
    picture = colour_window(raster, (top, bottom, left, right), limits)
    pixels = window_thinned(labels.labels(top, bottom)[:, left:right] == number)
    ground = ground_at(raster, *region.position)
    extract = Extract(
        picture, pixels, top, left, bottom - top, right - left,
        *((ground.across, ground.down, ground.north) if ground else (None, None, None)),
    )  # fmt: skip
    ring = ogr.Geometry(ogr.wkbLinearRing)
    for x, y in to_map(raster, np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], float)):
        ring.AddPoint_2D(float(x), float(y))
    outline = ogr.Geometry(ogr.wkbPolygon)
    outline.AddGeometry(ring)
    return extract, bytes(outline.ExportToWkb())


def _colours(raster: RasterFile) -> str:
    """The bands of the pictures, in words."""
    numbers, natural = colour_bands(raster.table)
    wavelengths = raster.table.wavelengths[np.array(numbers) - 1]
    if np.isnan(wavelengths).any():
        return f"false colour: bands {', '.join(map(str, numbers))} as red, green and blue"
    return f"{'natural' if natural else 'false'} colour: {', '.join(f'{w:.0f}' for w in wavelengths)} nm as red, green and blue"


def _coordinate(value: float) -> str:
    return f"{value:.6f}" if abs(value) < 1000 else f"{value:.1f}"


def _area(value: object, on_earth: bool) -> str:
    if not isinstance(value, (int, float)):
        return told(value)
    return f"{value:,.0f} m²" if on_earth and value >= 10 else f"{value:.3g}{' m²' if on_earth else ''}"


def _moment(value: object) -> str:
    """A date and time as people write it, where it is one in ISO 8601."""
    return told(value).replace("T", " ").replace("+00:00", " UTC").replace("Z", " UTC")
