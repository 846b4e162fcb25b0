"""Extraction: from an anomaly map to its anomalous regions."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..decisions.regions import Regions
from ..decisions.tail import Tail
from ..decisions.threshold import otsu_threshold, percentile_threshold
from ..scenes.region_file import LabelFile, write_regions
from ..scenes.writer import MaskWriter
from .outputs import check_outputs
from .parameters import CONNECTIVITY, METHOD, MIN_AREA, PERCENTILE, RATE, VALUE
from .provenance import facts_of_regions
from .sources import RasterSource

if TYPE_CHECKING:
    from ..core.cube import Cube
    from .run import Run

SAMPLE = 2_000_000  # pixels that the threshold is estimated from: all pixels of most scenes


@dataclass(frozen=True)
class Extraction:
    """The settings of an extraction of regions.

    map: `RasterSource` of an anomaly map. regions: .gpkg for the polygons. mask: .tif for the pixels in them, or None.
    method: "tail", where the background of the map exceeds the threshold at the false-alarm rate `rate`; "percentile"; "otsu"; or "value".
    min_area: smaller regions, in pixels, are dropped. connectivity: 4 or 8. seed: of the sample that the threshold of a large map is
    estimated from.
    """

    map: RasterSource
    regions: str
    mask: str | None = None
    method: str = METHOD.default
    rate: float = RATE.default
    percentile: float = PERCENTILE.default
    value: float | None = VALUE.default
    min_area: int = MIN_AREA.default
    connectivity: int = CONNECTIVITY.default
    seed: int = 0


def extract(extraction: Extraction, run: Run) -> tuple[float, int]:
    """Write the regions of an anomaly map that score above a threshold. Returns the threshold and the number of regions.

    Raises ValueError, with the remedy, for settings and maps that do not fit.
    """
    method, min_area, mask = extraction.method, extraction.min_area, extraction.mask
    if method == "value" and extraction.value is None:
        raise ValueError("The method is a value, and no value is given. Give the score above which pixels are anomalous.")
    check_outputs([(extraction.regions, ".gpkg"), (mask, ".tif")], [extraction.map], run.scratch)
    score_map = extraction.map.open_map(run.memory)
    scores = scores_sampled(score_map, score_map.name, extraction.seed, run.part(0.0, 0.2))
    tail = _tail(scores, method == "tail", run.part(0.2, 0.25))
    if method == "tail":
        threshold = tail.threshold(extraction.rate)  # type: ignore[union-attr]  # this method requires a tail
    elif method == "percentile":
        threshold = percentile_threshold(scores, extraction.percentile)
    else:
        threshold = otsu_threshold(scores) if method == "otsu" else extraction.value
    threshold = float(np.float32(threshold))  # the precision of the scores, so that the number in the log is the one that was applied
    del scores
    found = Regions.find(score_map, threshold, extraction.connectivity, min_area, run.progress.part(0.25, 0.5))
    facts = facts_of_regions(score_map, threshold, extraction, run)
    labels = LabelFile(score_map, run.scratch)
    with ExitStack() as stack:
        writer = stack.enter_context(MaskWriter(mask, score_map, facts)) if mask else None
        for row, rows, valid in found.labels(score_map, run.progress.part(0.5, 0.75)):
            labels.write(row, rows)
            if writer:
                writer.write(row, rows > 0, valid)
        p_values = tail.p_value(found.peaks) if tail else np.full(len(found), np.nan)
        write_regions(extraction.regions, labels, found, p_values, run.progress.part(0.75, 1.0), facts)
    if len(found):
        run.log(f"Threshold: {threshold:.6g}. Regions: {len(found)}, with {found.pixels.sum()} pixels.")
    else:
        run.log(f"Threshold: {threshold:.6g}. No region of {min_area} or more pixels lies above it: the result is empty.")
    return threshold, len(found)


def threshold_at(source: RasterSource, rate: float, run: Run) -> float:
    """The score of a map that its background exceeds at the false-alarm rate `rate`, as `extract` finds it by default.

    source: of the map. Raises ValueError where the tail of the scores cannot be fitted.
    """
    score_map = source.open_map(run.memory)
    tail = _tail(scores_sampled(score_map, score_map.name, Extraction.seed, run.part(0.0, 0.5)), True, run.part(0.5, 1.0))
    return float(np.float32(tail.threshold(rate)))  # type: ignore[union-attr]  # it is required


@dataclass(frozen=True)
class Counts:
    """What lies above the threshold of a map."""

    threshold: float
    regions: int
    pixels: int


def count_above(source: RasterSource, rate: float, min_area: int, run: Run) -> Counts | None:
    """`Counts` of a map at the false-alarm rate `rate`: those that `extract` would find. None where the map has no such threshold."""
    try:
        threshold = threshold_at(source, rate, run.part(0.0, 0.5))
    except ValueError as error:
        run.log(f"No threshold: {error}")
        return None
    found = Regions.find(source.open_map(run.memory), threshold, CONNECTIVITY.default, min_area, run.progress.part(0.5, 1.0))
    run.log(f"Threshold at a false-alarm rate of {rate:g}: {threshold:.6g}. Regions above it: {len(found)}.")
    return Counts(threshold, len(found), int(found.pixels.sum()))


def scores_sampled(score_map: Cube, name: str, seed: int, run: Run) -> np.ndarray:
    """Scores of the map called `name`, (n,) float32: all, or `SAMPLE` of them drawn at random."""
    _, drawn = score_map.sample(
        SAMPLE, seed, lambda block, rows, columns: (block.values[rows, columns, 0],), progress=run.progress, message="reading scores"
    )
    if not drawn:
        raise ValueError(f"{name} has no scored pixel: all are nodata or not finite. Choose an anomaly map.")
    (scores,) = drawn
    if scores.size == SAMPLE:
        run.log(f"The threshold is found from {SAMPLE} pixels drawn at random.")
    return scores


def _tail(scores: np.ndarray, required: bool, run: Run) -> Tail | None:
    """Tail of the background, or None where it cannot be fitted and the threshold does not need it."""
    try:
        tail = Tail.fit(scores, run.progress)
    except ValueError as error:
        if required:
            raise
        run.log(f"No p-values: {error}")
        return None
    if tail.anomalous:
        run.log(f"A share of {tail.anomalous:.3%} of the pixels stands out from the tail of the background.")
    return tail
