"""What a detector is, and what it becomes for one scene.

A `Detector` is all that is known before a scene is seen: its settings, and what it has learnt. `Detector.bind` adds what belongs to one
scene and gives a `Scorer`, which scores the whole scene, or any window of it with the same values, and explains what it found. Every
detector is a subclass of `Detector` with a `Scorer` of its own, and a line in `registry.DETECTORS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from ..core.cube import Block, Cube
from ..core.progress import Progress
from .shared.area_opening import TILE, raised
from .shared.checks import State
from .shared.fit import Fit

if TYPE_CHECKING:
    from .shared.explanation import Explanation

Tell = Callable[[float], None]  # gets the share of a block that is done; raises `Cancelled`
Area = tuple[int, int, int, int]  # first row, row after the last one, first column, column after the last one
Finish = Callable[[np.ndarray, slice, slice], np.ndarray]  # as `Scorer.against_surroundings`
RowsOf = Callable[[Area], Iterator[tuple[int, np.ndarray]]]

REPORT_SECONDS = 0.2
PASS_PIXELS = 8192


class Gathered(Protocol):
    """What a detector gathers from a scene before it is bound to it."""

    def merge(self, other: Any) -> None:
        """Add what was gathered from another part of the scene."""

    def state(self) -> State:
        """Everything that `from_state` needs."""

    @classmethod
    def from_state(cls, state: State) -> Gathered:
        """What was gathered, from a `state`."""


class Detector:
    """A way to find anomalies, with what it has learnt.

    kind: permanent name, in model files. title: display name. score_name: what its map shows.
    keeps_model: whether it is kept in a model file, with what it was trained on or told; one that is not needs only the scene.
    in_row_blocks: whether the map of some rows needs only the rows around them and, of the rest of the scene, what `gather` gathers, so
        that a scene may be split into row blocks.
    gathered: class of what `gather` returns, with `merge(other)`, `state()` and `from_state(state)`; None where binding gathers nothing.
    across_sensors: whether a model is made for scenes of other sensors too, resampled to its wavelengths.
    binding_share: share of the time of a detection that binding takes.
    sampled_from: how `sample(count, seed, progress)` gets spectra and what they are evidence of, for the report; None where the detector
        has no distribution of spectra.
    bands: number of bands of a trained one. loss_curve: list of mean losses of equal parts of its training.
    """

    kind = title = ""
    score_name = "Anomaly score"
    keeps_model = True
    in_row_blocks = True
    gathered: type[Gathered] | None = None
    across_sensors = False
    binding_share = 0.0
    sampled_from: str | None = None
    bands: int
    loss_curve: Sequence[float] = ()

    @classmethod
    def train(
        cls, cubes: Sequence[Cube], *, seed: int = 0, device: torch.device | str = "cpu", progress: Progress | None = None
    ) -> Detector:
        """A detector trained on `cubes`, scenes of the same bands; subclasses add their settings.

        Raises ValueError where settings or scenes do not allow training.
        """
        raise NotImplementedError

    def state(self) -> State:
        """Everything that `from_state` needs: a dict of tensors, plain values, and lists and dicts of them."""
        raise NotImplementedError

    @classmethod
    def from_state(cls, state: State, device: torch.device | str = "cpu") -> Detector:
        """The detector of a `state`. Raises ValueError where that is not one."""
        raise NotImplementedError

    def fit(self, cube: Cube, progress: Progress | None = None) -> Fit | None:
        """`shared.fit.Fit` of the background of a scene to what was learnt; None where unknown, or where all of it belongs to the scene."""
        return None

    def adapted(self, cube: Cube, seed: int = 0, progress: Progress | None = None) -> Detector:
        """The detector for a scene that it does not fit: what belongs to the scene is re-estimated, and what was learnt is kept."""
        raise NotImplementedError

    def gather(self, cube: Cube, progress: Progress | None = None) -> Gathered:
        """What binding needs of the whole scene, from the cube or a part of it; those of the parts merge to that of the scene."""
        raise NotImplementedError

    def bind(self, cube: Cube, *, gathered: Any = None, progress: Progress | None = None) -> Scorer:
        """A `Scorer` of the cube; subclasses add their options.

        gathered: of the scene that the cube is a part of; by default it is gathered from the cube. Raises ValueError where the cube does
        not fit the detector.
        """
        raise NotImplementedError

    def detect(self, cube: Cube, progress: Progress | None = None, largest: int = 0, **options: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, scores (rows, columns) float32, NaN where not valid) from top to bottom: larger = more anomalous.

        largest: as in `Scorer`. options: of `bind`.
        """
        progress = progress or Progress()
        scorer = self.bind(cube, progress=progress.part(0, self.binding_share), **options)
        scorer.largest = largest
        yield from scorer.map(progress.part(self.binding_share, 1))


class Scorer:
    """A detector bound to one scene. Keeping one is cheap, and so is asking it for single pixels.

    Subclasses implement `values` and `explain`, and where the score of a pixel depends on the values around it, `against_surroundings`.

    cube: the scene, or a part of it. context: rows and columns around a block that `values` looks at. surround: rows and columns of values
    around a pixel that `against_surroundings` looks at. largest: pixels of the largest anomaly looked for, by which scores are
    `area_opening.raised`; 0 for any. pass_pixels, fewest_rows: how much is worked on at a time. phase: what progress says.
    unscored: valid pixels that `map` gave no score so far.
    """

    context = surround = largest = 0
    pass_pixels, fewest_rows = PASS_PIXELS, 1
    phase = "detection"
    unscored = 0

    def __init__(self, cube: Cube) -> None:
        self.cube = cube

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        """Anomaly values (rows, columns) float32 of a block's own pixels, NaN where not valid.

        block: `Block` with `context` rows and columns of context, fewer at the edges of the scene. tell(share): to be called at least once
        a second with the share of the block that is done; raises `Cancelled`.
        """
        raise NotImplementedError

    def against_surroundings(self, values: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Scores of the pixels in the slices `rows` and `columns` of values (height, width), beyond which there is nothing."""
        raise NotImplementedError

    def explain(self, spectra: np.ndarray, positions: np.ndarray, backgrounds: np.ndarray, progress: Progress | None = None) -> Explanation:
        """`shared.explanation.Explanation` of spectra (n, bands) at (row, column) positions (n, 2), which may be fractions.

        backgrounds: (n, bands), the spectra that are expected there (`shared.explanation.expected_backgrounds`).
        """
        raise NotImplementedError

    @property
    def halo(self) -> int:
        """Rows and columns of context that `score` needs."""
        return self.context + self.surround + self.largest

    def score(self, block: Block) -> np.ndarray:
        """Scores (rows, columns) float32 of the own pixels of a `Block` with `halo` pixels of context, fewer at the edges of the scene."""
        around = block.grown(self.largest)
        grown = around.grown(self.surround)
        scores = self.values(grown, _tell_nobody)
        if self.surround:
            scores = self.against_surroundings(scores, *_place(around, grown))
        return raised(scores, *_place(block, around), self.largest) if self.largest else scores

    def window(self, row: int, column: int, rows: int = 1, columns: int = 1) -> np.ndarray:
        """Scores (rows, columns) of a window of the scene, those of the map; reads no more than the window and its halo."""
        return self.score(self.cube.window(row, column, rows, columns, self.halo))

    def pieces(self, progress: Progress | None = None, area: Area | None = None) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the scores of an area, as `map` does, as (first row, first column, scores (rows, columns) float32).

        In scenes that are too wide for the memory it goes from top to bottom of one strip (`Cube.strips`) after the other.
        """
        progress, unscored = progress or Progress(), 0
        strips = self.cube.within(*(area or self.cube.area)).strips(self.context, self.surround + self.largest)
        for number, strip in enumerate(strips):
            for row, scores in self.map(progress.part(number / len(strips), (number + 1) / len(strips)), strip.area):
                yield row, strip.area[2], scores
            unscored += self.unscored
        self.unscored = unscored

    def map(self, progress: Progress | None = None, area: Area | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, scores (rows, columns) float32, NaN where not valid) from top to bottom of an area of the scene.

        area: (first row, row after the last one, first column, column after the last one); by default that of the cube. Nothing but the
        area and its halo is read, and its scores are those of the whole map. Works on all of its columns at a time: `pieces` is for areas
        that may be too wide for that.
        """
        progress, self.unscored = progress or Progress(), 0
        done = 0.0

        def report(share: float, message: str) -> None:
            nonlocal done
            done = share
            progress(share, message)

        def raise_small(scores: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
            return raised(scores, rows, columns, self.largest, lambda: progress(done, "raising what stands out in small objects"))

        rows_of: RowsOf = lambda area: self._rows(self.cube.within(*area), Progress(report))  # noqa: E731
        if self.surround:
            rows_of = partial(self._finished, rows_of, self.surround, self.against_surroundings, 1)
        if self.largest:
            rows_of = partial(self._finished, rows_of, self.largest, raise_small, TILE)
        yield from rows_of(area or self.cube.area)

    def _finished(self, rows_of: RowsOf, margin: int, finish: Finish, at_a_time: int, area: Area) -> Iterator[tuple[int, np.ndarray]]:
        """The rows of an area, `streamed` from those of the area and a margin around it."""
        first, last, left, right = area
        start, stop = max(0, first - margin), min(self.cube.rows, last + margin)
        west, east = max(0, left - margin), min(self.cube.columns, right + margin)
        own_columns = slice(left - west, right - west)

        def finish_own(values: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
            return finish(values, rows, own_columns)

        for row, scores in streamed(rows_of((start, stop, west, east)), margin, finish_own, stop, start, at_a_time):
            own = slice(max(0, first - row), max(0, last - row))
            if len(scores[own]):
                yield row + own.start, scores[own]

    def _rows(self, cube: Cube, progress: Progress) -> Iterator[tuple[int, np.ndarray]]:
        for block, tell in self.passes(cube, progress):
            values = self.values(block, tell)
            self.unscored += np.count_nonzero(np.isnan(values) & block.valid[block.inner])
            yield block.row, values

    def passes(self, cube: Cube, progress: Progress) -> Iterator[tuple[Block, Tell]]:
        """`passes` over all columns of a cube as `values` wants them."""
        return _row_passes(cube, self.context, self.pass_pixels, self.fewest_rows, progress, self.phase)


def passes(
    cube: Cube, context: int = 0, pixels: int = PASS_PIXELS, fewest_rows: int = 1, progress: Progress | None = None, phase: str = "reading"
) -> Iterator[tuple[Block, Tell]]:
    """Go through a cube: yield (`Block` of some rows with `context`, function tell(share of the block that is done)) from top to bottom;
    where the scene is too wide for the memory, of one strip of it after the other.

    pixels: how many at a time, in whole rows and in no fewer than `fewest_rows`. Progress is reported at each block and, as often as makes
    sense, by `tell`.
    """
    progress, strips = progress or Progress(), cube.strips(context)
    for number, strip in enumerate(strips):
        part = progress.part(number / len(strips), (number + 1) / len(strips))
        yield from _row_passes(strip, context, pixels, fewest_rows, part, phase)


def _row_passes(
    cube: Cube, context: int, pixels: int, fewest_rows: int, progress: Progress, phase: str
) -> Generator[tuple[Block, Tell], None, None]:
    start, stop = cube.span
    reported = 0.0

    def report(part: Block, share: float) -> None:
        nonlocal reported
        if share == 0 or time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            at = part.row + share * part.rows
            progress((at - start) / (stop - start), f"{phase}, row {int(at) + 1} of {cube.rows}")

    at_a_time = max(fewest_rows, pixels // cube.width)
    with closing(cube.row_blocks(context)) as blocks:  # which may be reading ahead
        for block in blocks:
            for part in in_parts(block, at_a_time, context):
                report(part, 0)
                yield part, partial(report, part)
    progress(1.0, f"{phase}, row {stop} of {cube.rows}")


def in_parts(block: Block, rows: int, context: int) -> Iterator[Block]:
    """The parts of a `Block` of so many of its rows, each with its context."""
    return (block.row_span(first, min(first + rows, block.rows), context) for first in range(0, block.rows, rows))


def valid_spectra(block: Block) -> torch.Tensor:
    """The valid spectra (n, bands) of a block's own pixels as a tensor."""
    values, valid = block.values[block.inner], block.valid[block.inner]
    return torch.from_numpy(values.reshape(-1, values.shape[2]) if valid.all() else values[valid])


def scattered(values: torch.Tensor, valid: np.ndarray) -> np.ndarray:
    """Values (n,), a tensor, of the valid pixels as a float32 array of the shape of valid, NaN elsewhere."""
    scores = np.full(valid.shape, np.nan, np.float32)
    scores[valid] = values.float().cpu().numpy()
    return scores


def streamed(
    rows_of_values: Iterable[tuple[int, np.ndarray]],
    margin: int,
    finish: Finish,
    end_row: int,
    first_row: int = 0,
    at_a_time: int = 1,
) -> Iterator[tuple[int, np.ndarray]]:
    """Give each row of values its surroundings: yield (first row, finish(values, rows, columns)) from top to bottom.

    rows_of_values: iterable of (first row, values (rows, columns)) from top to bottom, of the rows first_row..end_row-1, beyond which there
    is nothing. finish: as `Scorer.against_surroundings`, which looks at `margin` rows around; it gets at least `at_a_time` rows, except the
    last ones. Holds no more rows than that needs.
    """
    held, first_held, next_row = None, first_row, first_row
    for first, values in rows_of_values:
        held = values if held is None else np.concatenate([held, values])
        end = first + len(values)
        last = end_row if end == end_row else end - margin
        if last < next_row + at_a_time and last < end_row or last <= next_row:
            continue
        yield next_row, finish(held, slice(next_row - first_held, last - first_held), slice(0, held.shape[1]))
        next_row = last
        drop = max(0, next_row - margin - first_held)
        held, first_held = held[drop:], first_held + drop


def _place(block: Block, grown: Block) -> tuple[slice, slice]:
    """The rows and the columns of a block's own pixels among those of the block that it was grown to."""
    top, left = block.row - grown.row, block.column - grown.column
    return slice(top, top + block.rows), slice(left, left + block.columns)


def _tell_nobody(share: float) -> None:
    """For single windows, which are too quick to report progress."""
