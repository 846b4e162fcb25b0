"""The report of Identify anomalies, and its chapter in that of Explain anomalies: each region over the spectra that it matches best."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..decisions.matching import continuum_removed
from .figures import ANOMALY, COLOURS, draw, spectral_axis
from .page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLEAR = 0.01  # share of the background that matches as well, above which a match says little


@dataclass(frozen=True)
class MatchedEntry:
    """A library spectrum that a region matches.

    name, file: of the entry. share: of the background that matches it at least as well. angle: in degrees. feature: correlation without the
    continuum. coherence: adaptive coherence, 0 to 1. bands: of the match. spectrum: (bands of the scene,), NaN where it has none.
    """

    name: str
    file: str
    share: float
    angle: float
    feature: float
    coherence: float
    bands: int
    spectrum: np.ndarray


@dataclass(frozen=True)
class RegionMatches:
    """What a region may be: its mean spectrum (bands,) in reflectance, its matches, the best first, and its group where known."""

    observed: np.ndarray
    entries: list[MatchedEntry]
    group: int | None = None


Told = tuple[str, np.ndarray, np.ndarray, RegionMatches]  # name of a region, place on the map, mean row and column, matches


def identification_page(
    scene: str,
    regions: list[Told],
    left_out: int,
    wavelengths: np.ndarray | None,
    picture: tuple[np.ndarray, int, int],
) -> Page:
    """A `Page` on some regions. left_out: how many are not on it. picture: ((h, w, 3) picture of the scene, its rows, its columns)."""
    page = Page(f"Anomalies of {scene}, identified", "Regions that are alike have one group.")
    if left_out:
        page.note(f"Not on this page, since they rank lower or hold no valid pixel: {left_out} more of the regions.")
    if not regions:
        page.note("There was no region to identify.")
        return page
    rows = []
    for name, place, _, region in regions:
        best = region.entries[0] if region.entries else None
        found = [best.name, best.share, best.angle, best.bands] if best else ["", "", "", ""]
        rows.append([name, *map(_coordinate, place), region.group, *found])
    page.table(rows, ["region", "x", "y", "group", "best match", "share of the background", "angle (°)", "bands"])
    page.figure(draw(lambda figure: _map(figure, regions, *picture), 8, 5), "The scene with the regions; the colour is that of the group.")
    for name, _, _, region in regions:
        if region.entries:
            page.heading(f"Region {name}, group {region.group}")
            add_matches(page, region, wavelengths)
    return page


def add_matches(page: Page, region: RegionMatches, wavelengths: np.ndarray | None) -> None:
    """Add the matches of a region to a page: a table, and a figure of its spectrum over theirs."""
    if not region.entries:
        page.paragraph("No library spectrum matches: none deviates from the background as this region does.")
        return
    if region.entries[0].share > CLEAR:
        page.note(
            f"Of the background, {region.entries[0].share:.1%} matches {region.entries[0].name} as well as this region does: the match "
            "says little."
        )
    page.table(
        [[e.name, e.share, e.angle, e.feature, e.coherence, e.bands, os.path.basename(e.file)] for e in region.entries],
        ["match", "share of the background", "angle (°)", "features", "coherence", "bands", "library"],
    )
    page.figure(
        draw(partial(_spectra, region=region, wavelengths=wavelengths), 8, 4.6),
        "The region's mean spectrum over the library spectra that it matches best, scaled to its brightness; and the same without the "
        "continuum. The share is that of the background's pixels that match the entry at least as well as the region.",
    )


def _coordinate(value: float) -> str:
    return f"{value:.6f}" if abs(value) < 1000 else f"{value:.1f}"


def _map(figure: Figure, regions: list[Told], picture: np.ndarray, rows: int, columns: int) -> None:
    axes = figure.add_subplot()
    axes.imshow(picture, extent=(-0.5, columns - 0.5, rows - 0.5, -0.5), interpolation="nearest")
    for name, _, (row, column), region in regions:
        colour = COLOURS[((region.group or 1) - 1) % len(COLOURS)]
        axes.plot(column, row, "o", ms=11, mfc="none", mec="#ffffff", mew=2.8)
        axes.plot(column, row, "o", ms=11, mfc="none", mec=colour, mew=1.6)
        clear = region.entries and region.entries[0].share <= CLEAR
        text = f"{name}: {region.entries[0].name}" if clear else f"{name}: group {region.group}"
        axes.annotate(
            text[:32], (column, row), (7, 5), textcoords="offset points", fontsize=7, color="#000000",
            bbox={"facecolor": "#ffffff", "alpha": 0.75, "pad": 1, "lw": 0},
        )  # fmt: skip
    axes.set_xlabel("column")
    axes.set_ylabel("row")


def _spectra(figure: Figure, region: RegionMatches, wavelengths: np.ndarray | None) -> None:
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2)})
    observed = np.where(np.isfinite(region.observed) & np.isfinite(region.entries[0].spectrum), region.observed, np.nan)
    x, along = spectral_axis(wavelengths, len(observed))
    spectra = [(observed, "this region", ANOMALY, 1.8, "-")]
    for number, entry in enumerate(region.entries):
        both = np.isfinite(entry.spectrum) & np.isfinite(region.observed)
        scale = float(region.observed[both] @ entry.spectrum[both] / (entry.spectrum[both] @ entry.spectrum[both]))
        label = f"{number + 1}. {entry.name[:40]} ({entry.share:.2%})"
        spectra.append((entry.spectrum * scale, label, COLOURS[(0, 2, 3)[number % 3]], 1.2, ("-", "--", ":")[number % 3]))
    for values, label, colour, width, style in spectra:
        above.plot(along(x), along(values), color=colour, lw=width, ls=style, label=label)
        known = np.isfinite(values)
        removed = np.full(len(values), np.nan)
        removed[known] = continuum_removed(values[known][None], x[known])[0]
        below.plot(along(x), along(removed), color=colour, lw=width, ls=style)
    above.set_ylabel("reflectance")
    above.legend(frameon=False, fontsize=8)
    below.set_ylabel("without continuum")
    below.set_xlabel("band" if wavelengths is None else "wavelength (nm)")
