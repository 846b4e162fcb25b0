"""Why a detector finds a place anomalous: the spectrum it expected there, and the share of each band in the anomaly value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ...core.cube import Cube
from ...core.progress import Progress
from .expected_spectrum import MARGIN as GAP
from .expected_spectrum import WIDTH, Expected, expected_spectrum
from .half_whitening import HalfWhitening

PATH_STEPS = 32
MARGIN = 3  # pixels around a region in which the same object may go on, so that nothing there counts as elsewhere
CHUNK = 8192  # pixels that are compared at a time
SAMPLE = 4096  # pixels that the space in which spectra are compared is made from
LARGEST = 40_000  # pixels of a region's box and what is around: beyond, it is no object in a background, and too much to hold


class Regions(Protocol):
    """Numbered regions of a scene, as `scenes.mask.RegionLabels` has them."""

    @property
    def count(self) -> int:
        """How many there are."""

    def labels(self, first: int, last: int) -> np.ndarray:
        """Number of the region of each pixel of rows first..last-1, (rows, columns) int, from 1; 0 where there is none."""


@dataclass
class RegionSpectra:
    """What is seen in some regions.

    pixels: (regions,) valid pixels of each. mean: (regions, bands) float64, NaN where a region has no valid pixel. centres: (regions, 2)
        mean row and column.
    boxes: (regions, 4) first and last row, first and last column. rest: (bands,) mean of all other valid pixels.
    """

    pixels: np.ndarray
    mean: np.ndarray
    centres: np.ndarray
    boxes: np.ndarray
    rest: np.ndarray

    def of(self, chosen: np.ndarray) -> RegionSpectra:
        """The regions at the indices `chosen` alone."""
        return RegionSpectra(self.pixels[chosen], self.mean[chosen], self.centres[chosen], self.boxes[chosen], self.rest)


@dataclass
class Similar:
    """The most similar spectrum elsewhere, for each of some spectra.

    positions: (n, 2) int row and column, (-1, -1) where there is none. spectra: (n, bands). angles: (n,) spectral angle in degrees.
    """

    positions: np.ndarray
    spectra: np.ndarray
    angles: np.ndarray


@dataclass
class Explanation:
    """What a detector says of some spectra.

    scores: (n,) anomaly values. background_scores: (n,) those of the expected background spectra. contributions: (n, bands) share of each
        band in the difference: scores = background_scores + contributions.sum(1).
    what: what the anomaly value is.
    """

    scores: np.ndarray
    background_scores: np.ndarray
    contributions: np.ndarray
    what: str


def region_spectra(cube: Cube, regions: Regions, progress: Progress | None = None) -> RegionSpectra:
    """`RegionSpectra` of some `Regions`, in one pass over the cube."""
    pixels, sums, places = np.zeros(regions.count), np.zeros((regions.count, cube.bands)), np.zeros((regions.count, 2))
    boxes = np.tile([np.inf, -np.inf], (regions.count, 2))
    rest, others = np.zeros(cube.bands), 0
    for block in cube.blocks(0, progress, "spectra of the regions"):
        own = slice(block.column, block.column + block.columns)
        labels = np.where(block.valid, regions.labels(block.row, block.row + block.rows)[:, own], 0)
        everything = block.values.sum(axis=(0, 1), dtype=np.float64)  # 0 where not valid
        rows, columns = np.nonzero(labels)
        chosen, spectra = labels[rows, columns] - 1, block.values[rows, columns]
        for region in np.unique(chosen):
            sums[region] += spectra[chosen == region].sum(axis=0, dtype=np.float64)
        pixels += np.bincount(chosen, minlength=regions.count)
        for axis, place in enumerate((rows + block.row, columns + block.column)):
            places[:, axis] += np.bincount(chosen, place, regions.count)
            np.minimum.at(boxes[:, 2 * axis], chosen, place)
            np.maximum.at(boxes[:, 2 * axis + 1], chosen, place)
        rest += everything - spectra.sum(axis=0, dtype=np.float64)
        others += np.count_nonzero(block.valid) - len(chosen)
    with np.errstate(invalid="ignore", divide="ignore"):
        return RegionSpectra(pixels.astype(int), sums / pixels[:, None], places / pixels[:, None], boxes, rest / others)


def expected_backgrounds(cube: Cube, regions: Regions, seen: RegionSpectra, progress: Progress | None = None) -> list[Expected]:
    """`expected_spectrum.Expected` of each region: the spectrum that its surroundings let expect, leaving out the other regions.

    regions, seen: as for `region_spectra`, and what it returned. Where the surroundings hold too little, or a region is too large, it is
    the mean of the scene outside of the regions, with `pixels` 0 and limits that are NaN. Reads a sample of the scene and a window around
    each region.
    """
    progress = progress or Progress()
    _, (spectra,) = cube.sample(
        SAMPLE,
        0,
        lambda block, rows, columns: (block.values[rows, columns],),
        progress=progress.part(0, 0.7),
        message="spectra of the scene",
    )
    rest = seen.rest if np.isfinite(seen.rest).all() else spectra.mean(axis=0, dtype=np.float64)
    unknown = Expected(rest, np.full(cube.bands, np.nan), np.full(cube.bands, np.nan), 0)
    if len(spectra) < 2 or not np.ptp(spectra, axis=0).any():
        return [unknown] * regions.count
    whitening, found = HalfWhitening.fit(torch.from_numpy(spectra)), []
    for number, box in enumerate(seen.boxes.astype(int), 1):
        progress(0.7 + 0.3 * number / regions.count, "expected background")
        top, bottom, left, right = box
        first, last = max(0, top - GAP - WIDTH), min(cube.rows, bottom + 1 + GAP + WIDTH)
        start, stop = max(0, left - GAP - WIDTH), min(cube.columns, right + 1 + GAP + WIDTH)
        if (last - first) * (stop - start) > LARGEST:
            found.append(unknown)
            continue
        values, valid = cube.read(first, last, start, stop)
        labels = regions.labels(first, last)[:, start:stop]
        components = whitening(torch.from_numpy(values)).numpy()
        found.append(expected_spectrum(values, components, valid, labels == number, (labels > 0) & (labels != number)) or unknown)
    return found


def path_contributions(
    score: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    end: torch.Tensor,
    steps: int = PATH_STEPS,
    progress: Progress | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Share of each band in score(end) - score(start): integrated gradients along the straight line between two spectra.

    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017. In each step of the line the gradient in its middle
    says how the bands share in what the score gains there; what a gradient misses of that is distributed in proportion, so that the sum is
    exact.

    score: function (n, bands) tensor -> (n,), differentiable. start, end: (n, bands) tensors. Returns contributions (n, bands),
        score(start), score(end).
    """
    progress = progress or Progress()
    step = (end - start) / steps
    contributions = torch.zeros_like(start)
    for number in range(steps + 1):
        progress(number / steps, "shares of the bands")
        with torch.no_grad():
            after = score(start + number * step)
        if number == 0:
            first = before = after
            continue
        middle = (start + (number - 0.5) * step).requires_grad_(True)
        (gradient,) = torch.autograd.grad(score(middle).sum(), middle)
        part = torch.nan_to_num(gradient) * step
        size = part.abs()
        share = torch.where(size.sum(1, keepdim=True) > 0, size / size.sum(1, keepdim=True).clamp(min=1e-30), 1 / size.shape[1])
        contributions += part + (after - before - part.sum(1))[:, None] * share
        before = after
    return contributions, first, before


def most_similar(cube: Cube, spectra: np.ndarray, boxes: np.ndarray, progress: Progress | None = None) -> Similar:
    """`Similar`: the most similar spectrum elsewhere in the cube, for each of some spectra (n, bands).

    boxes: (n, 4) first and last row, first and last column of the region of each; pixels within 3 of it do not count. Similar is what has a
    small spectral angle (Kruse et al., "The spectral image processing system (SIPS)", Remote Sensing of Environment 1993). One pass over
    the cube.
    """
    progress = progress or Progress()
    wanted = torch.nn.functional.normalize(torch.as_tensor(spectra, dtype=torch.float32), dim=1)
    best = torch.full((len(spectra),), -2.0)
    positions, found = np.full((len(spectra), 2), -1), np.full(np.shape(spectra), np.nan)
    for block in cube.blocks():
        rows, columns = np.nonzero(block.valid)
        for first in range(0, len(rows), CHUNK):
            progress(block.row / cube.rows, f"similar spectra, row {block.row + 1} of {cube.rows}")
            row, column = rows[first : first + CHUNK], columns[first : first + CHUNK]
            seen = torch.from_numpy(block.values[row, column])
            cosine = wanted @ torch.nn.functional.normalize(seen, dim=1).T
            place, column = row + block.row, column + block.column
            for index, (top, bottom, left, right) in enumerate(boxes):
                if place[0] > bottom + MARGIN or place[-1] < top - MARGIN:
                    continue
                near = (place >= top - MARGIN) & (place <= bottom + MARGIN) & (column >= left - MARGIN) & (column <= right + MARGIN)
                if near.any():
                    cosine[index, torch.from_numpy(near)] = -2.0
            highest, where = cosine.max(1)
            for index in torch.nonzero(highest > best)[:, 0].tolist():
                best[index], at = highest[index], int(where[index])
                positions[index], found[index] = (place[at], column[at]), seen[at].numpy()
    progress(1.0, "similar spectra found")
    angles = np.degrees(np.arccos(np.clip(best.numpy(), -1, 1)))
    return Similar(positions, found, np.where(positions[:, 0] >= 0, angles, np.nan))
