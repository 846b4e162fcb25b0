"""The report of Explain anomalies: where each region lies, its spectrum against the expected background, and what the bands contribute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .figures import ANOMALY, BACKGROUND, COLOURS, draw, spectral_axis
from .identification import RegionMatches, add_matches
from .page import Page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP_BANDS = 10


@dataclass
class RegionReasons:
    """Why a region is anomalous.

    index: of the region among those that were to be explained. rank, id, pixels: of the region. position: mean row and column; box: first
    and last row, first and last column; place: mean position in map coordinates. observed, background, contributions, similar: (bands,)
    spectra and shares as in `detectors.explanation`. low, high: (bands,) limits of the band that covers the true background in 90 % of the
    cases; NaN where the background is the mean of the scene, since too little is around. score = background_score + the sum of
    contributions. what: what the score is. similar_place: map coordinates of the most similar spectrum elsewhere, or None; similar_angle:
    spectral angle to it in degrees. matches: in spectral libraries, None without any.
    """

    index: int
    rank: int
    id: object
    pixels: int
    position: np.ndarray
    box: np.ndarray
    place: np.ndarray
    observed: np.ndarray
    background: np.ndarray
    low: np.ndarray
    high: np.ndarray
    score: float
    background_score: float
    contributions: np.ndarray
    what: str
    similar: np.ndarray
    similar_place: np.ndarray | None
    similar_angle: float
    matches: RegionMatches | None = None

    def top_bands(self, count: int) -> list[int]:
        """Indices of up to `count` bands with the largest positive contributions, in descending order."""
        order = np.argsort(-self.contributions)[:count]
        return [int(band) for band in order if self.contributions[band] > 0]


def explanation_page(
    scene: str,
    model: str,
    reasons: list[RegionReasons],
    left_out: int,
    names: list[str],
    wavelengths: np.ndarray | None,
    picture: tuple[np.ndarray, int, int],
) -> Page:
    """A `Page` on some regions.

    scene, model: names. reasons: `RegionReasons` by rank. left_out: how many regions are not explained. names: of the bands. wavelengths:
    (bands,) nm or None. picture: ((h, w, 3) picture of the scene, its rows, its columns).
    """
    page = Page(f"Anomalies of {scene}, explained", f"By the model {model}. Regions are in the order of their rank.")
    if left_out:
        page.note(f"Not explained here, since they rank lower or hold no valid pixel: {left_out} more of the regions.")
    if not reasons:
        page.note("There was no region to explain.")
        return page
    page.table(
        [
            [r.rank, r.id, *map(_coordinate, r.place), r.pixels, r.score, r.background_score, ", ".join(names[b] for b in r.top_bands(3))]
            for r in reasons
        ],
        ["rank", "id", "x", "y", "pixels", "value of the mean spectrum", "of the expected background", "bands that contribute most"],
    )
    page.paragraph(
        f"What is explained is the anomaly value of a region's mean spectrum: {reasons[0].what}. It is that of the expected background "
        "spectrum plus the contributions of all bands. The peak of the region in the table of Extract anomalies is another number: the "
        "highest score of the map, of one pixel and what surrounds it."
    )
    page.figure(draw(lambda figure: draw_scene(figure, reasons, *picture), 8, 5), "The scene with the regions, by rank.")
    for region in reasons:
        page.heading(f"Rank {region.rank}: region {region.id}")
        similar = "there is none"
        if region.similar_place is not None:
            similar = f"at {', '.join(map(_coordinate, region.similar_place))}, spectral angle {region.similar_angle:.2f}°"
        page.table([
            ["place", ", ".join(map(_coordinate, region.place))],
            ["pixels", region.pixels],
            ["value of the mean spectrum", region.score],
            ["of the expected background", region.background_score],
            ["sum of the contributions", float(region.contributions.sum())],
            ["most similar spectrum elsewhere", similar],
        ])  # fmt: skip
        page.figure(
            draw(partial(draw_spectra, region=region, wavelengths=wavelengths), 8, 5),
            "Observed mean spectrum; the background spectrum that the surroundings let expect, "
            + (
                "with the band that covers the true one in 90 % of the cases"
                if np.isfinite(region.low).all()
                else "here the mean of the scene, as too little is around"
            )
            + "; the most similar spectrum elsewhere; difference from the expected background; what each band contributes.",
        )
        rows = []
        for band in region.top_bands(TOP_BANDS):
            observed, expected = region.observed[band], region.background[band]
            rows.append([names[band], float(observed), float(expected), float(observed - expected), float(region.contributions[band])])
        page.table(rows, ["band", "observed", "expected", "difference", "contribution"])
        if region.matches is not None:
            page.heading("What it may be", 3)
            add_matches(page, region.matches, wavelengths)
    return page


def _coordinate(value: float) -> str:
    return f"{value:.6f}" if abs(value) < 1000 else f"{value:.1f}"


def draw_scene(figure: Figure, reasons: list[RegionReasons], picture: np.ndarray, rows: int, columns: int) -> None:
    """Draw the picture (h, w, 3) of a scene of so many rows and columns, and the ranks of regions at their places."""
    axes = figure.add_subplot()
    axes.imshow(picture, extent=(-0.5, columns - 0.5, rows - 0.5, -0.5), interpolation="nearest")
    for region in reasons:
        row, column = region.position
        axes.plot(column, row, "o", ms=11, mfc="none", mec="#ffffff", mew=2.6)
        axes.plot(column, row, "o", ms=11, mfc="none", mec=ANOMALY, mew=1.4)
        axes.annotate(
            str(region.rank), (column, row), (7, 5), textcoords="offset points", fontsize=9, color="#000000",
            bbox={"facecolor": "#ffffff", "alpha": 0.75, "pad": 1, "lw": 0},
        )  # fmt: skip
    axes.set_xlabel("column")
    axes.set_ylabel("row")


def draw_spectra(figure: Figure, region: RegionReasons, wavelengths: np.ndarray | None) -> None:
    """Draw the spectrum of a region, the expected background, their difference and what the bands contribute."""
    above, middle, below = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.3, 1.6)})
    x, along = spectral_axis(wavelengths, len(region.observed))

    def line(axes: Axes, values: np.ndarray, **style: object) -> None:
        axes.plot(along(x), along(values), **style)

    line(above, region.observed, color=ANOMALY, lw=1.6, label="observed")
    line(above, region.background, color=BACKGROUND, lw=1.4, label="expected background")
    above.fill_between(along(x), along(region.low), along(region.high), color=BACKGROUND, alpha=0.25, lw=0)
    if region.similar_place is not None:
        line(above, region.similar, color=COLOURS[2], lw=1, ls="--", label=f"most similar elsewhere ({region.similar_angle:.1f}°)")
    above.set_ylabel("value")
    above.legend(frameon=False, fontsize=8)
    middle.axhline(0, color="#888888", lw=0.7)
    line(middle, region.observed - region.background, color=COLOURS[6], lw=1.1)
    middle.set_ylabel("difference")
    below.axhline(0, color="#888888", lw=0.7)
    below.bar(x, region.contributions, np.median(np.diff(np.sort(x))), color=np.where(region.contributions > 0, ANOMALY, BACKGROUND))
    below.set_ylabel("contribution")
    below.set_xlabel("band" if wavelengths is None else "wavelength (nm)")
