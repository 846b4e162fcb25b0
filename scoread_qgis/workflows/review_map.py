"""An anomaly map while its threshold is chosen: what lies above any score, at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.cube import Cube
from ..core.progress import Progress
from ..decisions.regions import Regions
from ..decisions.tail import Tail
from ..scenes.score_map import ScoreMap
from .extract import scores_sampled
from .run import Run
from .sources import RasterSource

HELD = 2**26  # pixels that are held as they are; of larger maps, the largest of 2 x 2, 4 x 4 ... pixels
BINS = 160  # of the histogram
LEAST_RATE, MOST_RATE = 1e-7, 0.1  # that the slider reaches
_NOTHING = np.float32(-np.inf)  # where there is no score


@dataclass(frozen=True)
class Histogram:
    """Number of the map's pixels by score, estimated from a sample where the map is large.

    edges: (bins + 1,) scores; what lies beyond the last is counted in the last bin. counts: (bins,). background: (bins,) what the fitted
    tail lets expect of the background alone, NaN below the tail; None where none could be fitted.
    """

    edges: np.ndarray
    counts: np.ndarray
    background: np.ndarray | None


class _Held(Cube):
    """Scores in memory as a cube of one band, without a copy."""

    bands = 1

    def __init__(self, scores: np.ndarray, rows_per_block: int) -> None:
        self._scores, (self.rows, self.columns), self.rows_per_block = scores, scores.shape, rows_per_block

    def read(self, first: int, last: int, left: int = 0, right: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        values = self._scores[first:last, left:right]
        return values[..., None], values != _NOTHING


class ReviewedMap:
    """The scores of a map, held so that pixels above a threshold can be shown and counted at once.

    source: `RasterSource`. rows, columns: of the map. scored: number of its pixels that have a score. facts: its provenance.
    tail: `Tail` of the background, fitted to the sample that Extract anomalies takes, so that thresholds are the same; None where none can
    be fitted, and `no_tail` says why. step: rows and columns of the map in a pixel of the finest level that is held, 1 unless it is huge.
    """

    def __init__(self, source: RasterSource, run: Run, held: int = HELD) -> None:
        """Read the map: one pass, and one over what is held for the sample. Raises ValueError for what is not a map."""
        score_map = source.open_map(run.memory)
        self.source, self.rows, self.columns, self.facts = source, score_map.rows, score_map.columns, score_map.metadata
        self.name, self.georeference = score_map.name, score_map.georeference
        self._memory, self._block_rows = run.memory, score_map.rows_per_block
        self.step = 1
        while -(-self.rows // self.step) * -(-self.columns // self.step) > held:
            self.step *= 2
        self._levels = [self._read(score_map, run.progress.part(0.0, 0.4))]
        while max(self._levels[-1].shape) > 1:
            self._levels.append(_halved(self._levels[-1]))
        self._sample = scores_sampled(score_map if self.step > 1 else self._cube(), self.name, 0, run.part(0.4, 0.6))
        self._sample.sort()
        self.lowest, self.highest = float(self._sample[0]), float(self._levels[-1].max())
        self.tail, self.no_tail = None, ""
        try:
            self.tail = Tail.fit(self._sample, run.progress.part(0.6, 1.0))
        except ValueError as error:
            self.no_tail = str(error)

    def _read(self, score_map: ScoreMap, progress: Progress) -> np.ndarray:
        """The scores, or the largest of each `step` x `step` of them; -inf where there is none. Counts those of the map."""
        step, self.scored = self.step, 0
        scores = np.full((-(-self.rows // step), -(-self.columns // step)), _NOTHING)
        for block in score_map.blocks(progress=progress, message="reading scores"):
            values = np.where(block.valid, block.values[..., 0], _NOTHING)
            self.scored += int(np.count_nonzero(block.valid))
            if step == 1:
                scores[block.row : block.row + block.rows] = values
                continue
            values = np.maximum.reduceat(values, np.arange(0, self.columns, step), axis=1)
            rows = (block.row + np.arange(block.rows)) // step
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            part = slice(rows[0], rows[-1] + 1)
            scores[part] = np.maximum(scores[part], np.maximum.reduceat(values, starts, axis=0))
        return scores

    def _cube(self) -> Cube:
        """The map as a cube to find regions in."""
        if self.step == 1:
            return _Held(self._levels[0], self._block_rows)
        return self.source.open_map(self._memory)

    @property
    def exact(self) -> bool:
        """Whether `pixels_above` counts rather than estimates."""
        return self.step == 1

    def threshold(self, rate: float) -> float:
        """The score that the share `rate` of the background exceeds; where no tail could be fitted, of all pixels."""
        if self.tail is None:
            return float(np.quantile(self._sample, 1 - rate))
        return float(np.float32(self.tail.threshold(rate)))

    def rate(self, threshold: float) -> float:
        """The share of the background, or of all pixels, that exceeds a score: the inverse of `threshold`."""
        if self.tail is None:
            return float(1 - np.searchsorted(self._sample, threshold, side="right") / self._sample.size)
        return float(self.tail.p_value(threshold))

    def pixels_above(self, threshold: float) -> int:
        """How many pixels score above; estimated from the sample for maps that are not held as they are."""
        if self.exact:
            return int(np.count_nonzero(self._levels[0] > np.float32(threshold)))
        return round(self.scored * (1 - np.searchsorted(self._sample, np.float32(threshold), side="right") / self._sample.size))

    def false_alarms(self, threshold: float) -> float | None:
        """How many pixels of the background are expected above a score; None where no tail could be fitted."""
        return None if self.tail is None else float(self.rate(threshold) * self.scored * (1 - self.tail.anomalous))

    def regions_above(
        self, threshold: float, connectivity: int = 8, min_pixels: int = 1, progress: Progress | None = None
    ) -> tuple[int, int]:
        """How many regions Extract anomalies would find, and of how many pixels. Reads the file where the map is not held as it is."""
        found = Regions.find(self._cube(), float(np.float32(threshold)), connectivity, min_pixels, progress)
        return len(found), int(found.pixels.sum())

    def histogram(self) -> Histogram:
        """`Histogram` from nearly the lowest to the highest score; a few extreme scores do not squeeze it."""
        low, middle = np.quantile(self._sample, (0.001, 0.5))
        high = self.highest
        if self.tail is not None:  # far beyond every threshold that one would choose, all is one bin
            high = min(high, middle + 4 * (max(self.tail.threshold(1e-5), middle) - middle))
        high = max(high, float(np.nextafter(np.float32(low), np.float32(np.inf))))
        edges = np.linspace(low, high, BINS + 1)
        counts = np.histogram(np.clip(self._sample, low, high), edges)[0] * (self.scored / self._sample.size)
        if self.tail is None:
            return Histogram(edges, counts, None)
        survival = np.exp(self.tail.log_survival(edges))
        background = -np.diff(survival) * self.scored * (1 - self.tail.anomalous)
        background[edges[:-1] < self.tail.start] = np.nan
        return Histogram(edges, counts, background)

    def seen(self, rows: np.ndarray, columns: np.ndarray, apart: float) -> np.ndarray:
        """Scores at fractional pixel positions, -inf outside: (rows,) and (columns,) of a grid, or two arrays of one shape (h, w).

        Positions count from the upper left corner of the map. apart: how many pixels of the map neighbouring positions are apart; where
        that is more than one, the score is the largest of the pixels between, so that none is overlooked.
        """
        level = int(np.clip(np.ceil(np.log2(max(apart / self.step, 1e-9))), 0, len(self._levels) - 1))
        scores = self._levels[level]
        size = self.step * 2**level
        inside = [(each >= 0) & (each < end) for each, end in ((rows, self.rows), (columns, self.columns))]
        row, column = (np.clip(each // size, 0, end - 1).astype(np.intp) for each, end in zip((rows, columns), scores.shape))
        if rows.ndim == 1:
            found = scores[row][:, column]
            found[~inside[0]] = _NOTHING
            found[:, ~inside[1]] = _NOTHING
            return found
        return np.where(inside[0] & inside[1], scores[row, column], _NOTHING)


def _halved(scores: np.ndarray) -> np.ndarray:
    """The largest of each 2 x 2 scores; fewer at the lower and the right edge."""
    rows, columns = scores.shape
    even = np.maximum(scores[0 : rows - rows % 2 : 2], scores[1::2])
    if rows % 2:
        even = np.concatenate([even, scores[-1:]])
    pairs = np.maximum(even[:, 0 : columns - columns % 2 : 2], even[:, 1::2])
    return np.concatenate([pairs, even[:, -1:]], axis=1) if columns % 2 else pairs
