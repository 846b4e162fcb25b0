"""The report of reviewed anomalies: for each accepted region what was decided, where it lies, how it looks, and why it is anomalous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .explanation import RegionReasons, draw_scene, draw_spectra
from .figures import ANOMALY, draw
from .page import Page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP_BANDS = 5
_BAR_SHARE = 0.35  # of the width of a picture that the scale bar may take


@dataclass
class Extract:
    """A piece of the scene around a region.

    picture: (h, w, 3) uint8. region: (h, w) bool, its pixels. first_row, first_column, rows, columns: where it is cut from. across, down:
    metres between pixels in a row and in a column, None where unknown. north: (to the right, down) in the picture, unit vector, or None.
    """

    picture: np.ndarray
    region: np.ndarray
    first_row: int
    first_column: int
    rows: int
    columns: int
    across: float | None
    down: float | None
    north: tuple[float, float] | None


@dataclass
class Sheet:
    """What is reported of a region.

    title: of its chapter. facts: (what, value) pairs. extract, reasons: None where the region has no valid pixel in the scene.
    """

    title: str
    facts: list[tuple[str, str]]
    extract: Extract | None = None
    reasons: RegionReasons | None = None


def reviewed_page(
    scene: str,
    summary: str,
    columns: Sequence[str],
    sheets: Sequence[Sheet],
    made: Sequence[tuple[str, str]],
    crs: str,
    names: list[str],
    wavelengths: np.ndarray | None,
    colours: str,
    picture: tuple[np.ndarray, int, int],
) -> Page:
    """A `Page` on the regions that were accepted.

    scene: its name. summary: how many were reviewed, and how. columns: facts of the sheets that the table of all shows. made: (what, value)
    pairs on how the regions came about. crs: name of the map's, "" where unknown. names, wavelengths: of the bands. colours: the bands of
    the pictures, in words. picture: ((h, w, 3) picture of the scene, its rows, its columns).
    """
    page = Page(f"Anomalies of {scene}, reviewed", summary)
    all_facts = [dict(sheet.facts) for sheet in sheets]
    shown = [column for column in columns if any(facts.get(column) for facts in all_facts)]
    page.table([[facts.get(column, "") for column in shown] for facts in all_facts], shown)
    if not crs:
        page.note("The scene has no coordinate reference system: places are in its own coordinates, without longitude, latitude and north.")
    reasons = [sheet.reasons for sheet in sheets if sheet.reasons is not None]
    if reasons:
        page.figure(draw(lambda figure: draw_scene(figure, reasons, *picture), 8, 5), "The scene with the accepted regions, by rank.")
        page.paragraph(f"The anomaly value in the figures is that of a region's mean spectrum: {reasons[0].what}.")
    for sheet in sheets:
        page.heading(sheet.title)
        page.table([list(fact) for fact in sheet.facts if fact[1]])
        if sheet.extract is None:
            page.note("It holds no valid pixel of the scene: there is no picture and no spectrum of it.")
            continue
        where = f"North and scale are those at the region; map in {crs}." if crs else "Rows point down and columns to the right."
        page.figure(draw(partial(draw_extract, extract=sheet.extract), 5.5, 4.5), f"The region in its surroundings, in {colours}. {where}")
        region = sheet.reasons
        if region is not None:
            page.figure(
                draw(partial(draw_spectra, region=region, wavelengths=wavelengths), 8, 5),
                "Observed mean spectrum; the background spectrum that the surroundings let expect; the most similar spectrum elsewhere; "
                "difference from the expected background; what each band contributes to the anomaly value.",
            )
            bands = region.top_bands(TOP_BANDS)
            rows = [[names[b], *(float(v[b]) for v in (region.observed, region.background, region.contributions))] for b in bands]
            page.table(rows, ["band", "observed", "expected", "contribution"])
    page.heading("How these regions were found")
    page.table([list(pair) for pair in made])
    return page


def draw_extract(figure: Figure, extract: Extract) -> None:
    """Draw an `Extract` with the outline of the region, a scale bar, and an arrow to the north where that is known."""
    axes = figure.add_subplot()
    right, bottom = extract.first_column + extract.columns, extract.first_row + extract.rows
    sides = (extract.first_column - 0.5, right - 0.5, bottom - 0.5, extract.first_row - 0.5)
    axes.imshow(extract.picture, extent=sides, interpolation="nearest")
    if extract.across and extract.down:
        axes.set_aspect(extract.down / extract.across)
    _outline(axes, extract)
    _scale_bar(axes, extract)
    if extract.north is not None:
        _north(axes, *extract.north)
    axes.set_xlabel("column")
    axes.set_ylabel("row")


def _outline(axes: Axes, extract: Extract) -> None:
    """The sides of the region's pixels that others do not share."""
    from matplotlib.collections import LineCollection

    region = np.pad(extract.region, 1)
    height, width = extract.rows / extract.region.shape[0], extract.columns / extract.region.shape[1]
    x0, y0 = extract.first_column - 0.5, extract.first_row - 0.5
    across = [((column - 1, row), (column, row)) for row, column in np.argwhere(region[1:] != region[:-1])]
    down = [((column, row - 1), (column, row)) for row, column in np.argwhere(region[:, 1:] != region[:, :-1])]
    lines = np.array(across + down, float).reshape(-1, 2, 2) * (width, height) + (x0, y0)
    axes.add_collection(LineCollection(list(lines), colors="#101018", linewidths=2.6, capstyle="round"))
    axes.add_collection(LineCollection(list(lines), colors="#00ffff", linewidths=1.3, capstyle="round"))


def _scale_bar(axes: Axes, extract: Extract) -> None:
    pixel = extract.across or 1.0
    most = _BAR_SHARE * extract.columns * pixel
    power = 10.0 ** np.floor(np.log10(most))
    length = max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))
    if extract.across is None:
        text = f"{length:g} pixel{'s' if length != 1 else ''}"
    else:
        text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    share = length / pixel / extract.columns
    for colour, thickness in (("#000000", 5.0), ("#ffffff", 2.4)):
        axes.plot([0.04, 0.04 + share], [0.05, 0.05], color=colour, lw=thickness, transform=axes.transAxes, solid_capstyle="butt")
    box = {"facecolor": "#ffffff", "alpha": 0.75, "pad": 1, "lw": 0}
    axes.text(0.04, 0.08, text, transform=axes.transAxes, fontsize=8, va="bottom", color="#000000", bbox=box)


def _north(axes: Axes, right: float, down: float) -> None:
    for colour, thickness in (("#ffffff", 4.0), ("#000000", 1.6)):
        arrow = {"arrowstyle": "<-", "color": colour, "lw": thickness, "shrinkA": 0, "shrinkB": 0}
        axes.annotate(
            "", (0.9, 0.8), (32 * right, -32 * down), xycoords="axes fraction", textcoords="offset points", arrowprops=arrow
        )  # fmt: skip
    box = {"facecolor": "#ffffff", "alpha": 0.75, "pad": 1, "lw": 0}
    axes.annotate(
        "N", (0.9, 0.8), (40 * right, -40 * down), xycoords="axes fraction", textcoords="offset points", fontsize=9, weight="bold",
        color=ANOMALY, ha="center", va="center", bbox=box,
    )  # fmt: skip
