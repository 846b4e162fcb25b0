"""The hyperspectral cube as detectors read it: valid spectra, block by block, with the rows of context that they need.

Needs only numpy. `ArrayCube` holds a cube in memory; `scoread_qgis.scenes.raster.RasterCube` reads one through GDAL.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Optional, TypeVar

import numpy as np

from .progress import Progress
from .reading_ahead import ReadingAhead, ReadingOnDemand

# What is looked at where a look at a part of the scene is enough: about so many pixels, in whole rows at so many places.
SURVEYED_PIXELS, SURVEYED_PLACES = 2**18, 32

Arrays = tuple[np.ndarray, ...]  # one entry for each pixel of a sample
KeyedSample = tuple[np.ndarray, Optional[np.ndarray], Optional[Arrays]]  # keys (n,), positions (n, 2), arrays; both None where n is 0
AnyCube = TypeVar("AnyCube", bound="Cube")


@dataclass(frozen=True)
class Block:
    """A window of a cube, usually a number of whole rows, with pixels of context around it.

    values: (above + rows + below, left + columns + right, bands) float32, in the units of the scene; 0 where not valid.
    valid: the same rows and columns, bool; False where any band is nodata or not finite, or where the mask excludes the pixel.
    row, column: position in the scene of the block's own first row and column.
    above, below, left, right: rows and columns of context; fewer than requested at the edges of the scene.
    """

    values: np.ndarray
    valid: np.ndarray
    row: int = 0
    above: int = 0
    below: int = 0
    column: int = 0
    left: int = 0
    right: int = 0

    @property
    def inner(self) -> tuple[slice, slice]:
        """Slices of the rows and the columns that belong to the block itself."""
        height, width = self.valid.shape
        return slice(self.above, height - self.below), slice(self.left, width - self.right)

    @property
    def rows(self) -> int:
        return self.valid.shape[0] - self.above - self.below

    @property
    def columns(self) -> int:
        return self.valid.shape[1] - self.left - self.right

    def row_span(self, first: int, last: int, halo: int) -> Block:
        """The block's own rows first..last-1 as a block, with up to `halo` rows and columns of the available context."""
        above, below = min(halo, self.above + first), min(halo, self.below + self.rows - last)
        left, right = min(halo, self.left), min(halo, self.right)
        rows = slice(self.above + first - above, self.above + last + below)
        columns = slice(self.left - left, self.left + self.columns + right)
        return Block(self.values[rows, columns], self.valid[rows, columns], self.row + first, above, below, self.column, left, right)

    def grown(self, margin: int) -> Block:
        """The same pixels, with up to `margin` rows and columns of the context counted as the block's own."""
        above, below, left, right = (min(margin, context) for context in (self.above, self.below, self.left, self.right))
        return Block(
            self.values, self.valid, self.row - above, self.above - above, self.below - below,
            self.column - left, self.left - left, self.right - right,
        )  # fmt: skip


# Gets a block and pixels of it, as row and column indices into `Block.values`; returns arrays with one entry for each pixel.
Gather = Callable[[Block, np.ndarray, np.ndarray], Arrays]


class Cube:
    """A scene of (rows, columns, bands). Subclasses set these attributes and implement `read`.

    wavelengths: (bands,) band centres in nanometres, or None where unknown.
    rows_per_block: how many rows `blocks` reads at a time; affects memory, never the result.
    reads_ahead: whether `blocks` reads the next rows, on a thread, while its caller works on those before.
    """

    rows: int
    columns: int
    bands: int
    wavelengths: np.ndarray | None = None
    rows_per_block = 64
    reads_ahead = False
    _area: tuple[int, int, int, int] | None = None

    @property
    def area(self) -> tuple[int, int, int, int]:
        """First row, row after the last one, first column, column after the last one of what `blocks` and `sample` read: the whole scene,
        except `within` some of it."""
        return self._area or (0, self.rows, 0, self.columns)

    @property
    def span(self) -> tuple[int, int]:
        """The rows of the `area`: first row, and row after the last one."""
        return self.area[:2]

    @property
    def width(self) -> int:
        """How many columns the `area` has."""
        return self.area[3] - self.area[2]

    @property
    def surveyed(self) -> list[tuple[int, int]]:
        """(first row, row after the last one) of the rows of the area that tell what the whole area is like: `surveyed_rows`."""
        first, last, left, right = self.area
        return surveyed_rows(first, last, right - left)

    def within(self: AnyCube, first: int, last: int, left: int = 0, right: int | None = None) -> AnyCube:
        """The same scene, with `blocks` and `sample` limited to rows first..last-1 of columns left..right-1, by default all columns.

        For work that is split into row blocks, and for a look at an area.

        Size, row and column numbers and the context are still those of the whole scene.
        """
        limited = copy.copy(self)
        limited._area = (first, last, left, self.columns if right is None else right)
        return limited

    def most_columns(self, context: int, margin: int) -> int:
        """How many columns can be worked on at a time, with `context` on all sides and a further `margin` on the left and the right."""
        return self.columns

    def strips(self: AnyCube, context: int = 0, margin: int = 0) -> list[AnyCube]:
        """The area from left to right as cubes that are narrow enough for the memory; one for all but very wide scenes.

        context: of pixels on all sides. margin: further columns on the left and the right.
        """
        first, last, left, right = self.area
        most = self.most_columns(context, margin)
        if right - left <= most:
            return [self]
        return [self.within(first, last, start, min(start + most, right)) for start in range(left, right, most)]

    def read(self, first: int, last: int, left: int = 0, right: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows first..last-1 of columns left..right-1, by default all of them.

        Returns values (rows, columns, bands) float32, 0 where not valid, and valid (rows, columns) bool.
        """
        raise NotImplementedError

    def window(self, row: int, column: int, rows: int = 1, columns: int = 1, halo: int = 0) -> Block:
        """The window of rows x columns pixels whose first pixel is (row, column), as a `Block` with up to `halo` pixels of context.

        Nothing else of the scene is read. Raises ValueError where the window does not lie in the scene.
        """
        if not (row >= 0 and column >= 0 and 0 < rows <= self.rows - row and 0 < columns <= self.columns - column):
            raise ValueError(
                f"the window of {rows} × {columns} pixels at row {row + 1}, column {column + 1} does not lie in the scene of {self.rows} "
                f"rows and {self.columns} columns"
            )
        above, below = min(halo, row), min(halo, self.rows - row - rows)
        left, right = min(halo, column), min(halo, self.columns - column - columns)
        values, valid = self.read(row - above, row + rows + below, column - left, column + columns + right)
        return Block(values, valid, row, above, below, column, left, right)

    def map_positions(self, positions: np.ndarray) -> np.ndarray:
        """Map coordinates (n, 2) of fractional (row, column) positions (n, 2); without georeference the positions themselves."""
        return np.asarray(positions, dtype=np.float64)

    def pixel_positions(self, coordinates: np.ndarray) -> np.ndarray:
        """Fractional (row, column) positions (n, 2) of map coordinates (n, 2): the inverse of `map_positions`."""
        return np.asarray(coordinates, dtype=np.float64)

    def during_a_pass(self) -> AbstractContextManager[None]:
        """What is held while `blocks` goes through the area."""
        return nullcontext()

    def blocks(
        self, halo: int = 0, progress: Progress | None = None, message: str = "reading", rows: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[Block]:
        """Yield the scene, or its area, as `Block`s, each with `halo` pixels of context where the scene has them.

        They are those of `row_blocks`, or where the area is too wide for the memory, those of one strip of it after the other (`strips`).
        rows: (first row, row after the last one) of those of the area that are wanted; by default all.
        """
        progress, strips = progress or Progress(), self.strips(halo)
        first, last = self.span
        spans = [(max(first, start), min(last, stop)) for start, stop in rows or () if start < last and stop > first]
        for number, strip in enumerate(strips):
            parts = [strip] if rows is None else [strip.within(*span, *strip.area[2:]) for span in spans]
            with strip.during_a_pass():  # from one part to the next, which may lie in the same blocks of the file
                for place, part in enumerate(parts):
                    done = number * len(parts) + place
                    share = progress.part(*((done + step) / len(strips) / len(parts) for step in (0, 1)))
                    with closing(part.row_blocks(halo, share, message)) as blocks:
                        yield from blocks

    def row_blocks(self, halo: int = 0, progress: Progress | None = None, message: str = "reading") -> Generator[Block, None, None]:
        """Yield the scene, or its area, as `Block`s of its whole rows from top to bottom, each with `halo` pixels of context as there are.

        Every row is read once: the context that neighbouring blocks share is kept from one to the next. The first block is shorter by the
        context, so that reads stay aligned to steps of `rows_per_block`, which may be those of the file's own blocks.
        """
        progress = progress or Progress()
        start, stop, left, right = self.area
        west, east = min(halo, left), min(halo, self.columns - right)
        shorter = halo if self.rows_per_block > halo else 0
        rows = [start, *range(start + self.rows_per_block - shorter, stop, self.rows_per_block)]
        lasts = [*rows[1:], stop]
        ends = [min(last + halo, self.rows) for last in lasts]
        spans = [(first, last, left - west, right + east) for first, last in zip([max(0, start - halo), *ends], ends)]
        values, valid = np.empty(0, np.float32), np.empty(0, bool)
        reading = (ReadingAhead if self.reads_ahead else ReadingOnDemand)(self.read, [span for span in spans if span[0] < span[1]])
        with self.during_a_pass(), reading as reader:
            for row, last, end, span in zip(rows, lasts, ends, spans):
                progress((row - start) / (stop - start), f"{message}, row {row + 1} of {self.rows}")
                above = min(halo, row)
                keep = span[0] - (row - above)
                values, valid = values[len(values) - keep :], valid[len(valid) - keep :]
                if span[0] < end:
                    more, more_valid = reader.next()
                    values = np.concatenate([values, more]) if keep else more
                    valid = np.concatenate([valid, more_valid]) if keep else more_valid
                    del more, more_valid
                yield Block(values, valid, row, above, end - last, left, west, east)
        progress(1.0, f"{message}, row {stop} of {self.rows}")

    def sample(
        self,
        count: int,
        seed: int,
        gather: Gather,
        halo: int = 0,
        progress: Progress | None = None,
        message: str = "sampling",
        surveyed: bool = False,
    ) -> tuple[np.ndarray, Arrays]:
        """Draw `count` valid pixels uniformly without replacement, in one pass; all of them where there are fewer.

        surveyed: from the `surveyed` rows of the area alone, where those have so many valid pixels.

        `gather(block, rows, columns)` gets pixels as indices into `block.values` and returns a tuple of arrays with one entry for each
        pixel. Returns that tuple for the whole sample. Which pixels are drawn, and their order, depends on the seed alone and not on the
        blocks: every pixel has its own random key, and the smallest keys win.
        """
        rows = self.surveyed if surveyed and self.surveyed != [self.span] else None
        drawn = merge_samples([self.keyed_sample(count, seed, gather, halo, progress, message, rows)], count)
        if len(drawn[0]) < count and rows:  # a mask may leave little of these rows
            return self.sample(count, seed, gather, halo, progress, message)
        return drawn

    def keyed_sample(
        self,
        count: int,
        seed: int,
        gather: Gather,
        halo: int = 0,
        progress: Progress | None = None,
        message: str = "sampling",
        rows: Sequence[tuple[int, int]] | None = None,
    ) -> KeyedSample:
        """Like `sample`, but unordered and with the keys, (keys, positions, arrays), for `merge_samples`.

        rows: (first row, row after the last one) of those that pixels are drawn from; by default all of the area.
        """
        drawn: list[tuple[np.ndarray, ...]] = []  # of each block: keys, positions, and what was gathered
        held, limit = 0, np.inf
        for block in self.blocks(halo, progress, message, rows):
            left, right = block.column, block.column + block.columns
            block_keys = np.stack(
                [np.random.Generator(np.random.Philox(key=[seed, block.row + r])).random(right)[left:] for r in range(block.rows)]
            )
            chosen = block.valid[block.inner] & (block_keys < limit)
            chosen &= block_keys <= _nth_smallest(block_keys[chosen], count)
            down, across = np.nonzero(chosen)
            if down.size == 0:
                continue
            place = np.stack([down + block.row, across + block.column], axis=1)
            drawn.append((block_keys[down, across], place, *gather(block, down + block.above, across + block.left)))
            held += down.size
            if held > 2 * count:  # seldom, since it takes a pass over all that is held
                together = [np.concatenate(arrays) for arrays in zip(*drawn)]
                best = np.argpartition(together[0], count - 1)[:count]
                drawn = [tuple(array[best] for array in together)]
                held, limit = count, drawn[0][0].max()
        if not drawn:
            return np.empty(0), None, None
        keys, positions, *kept = (np.concatenate(arrays) for arrays in zip(*drawn))
        return keys, positions, tuple(kept)


def surveyed_rows(first: int, last: int, width: int) -> list[tuple[int, int]]:
    """(first row, row after the last one) of `SURVEYED_PLACES` spans of the rows first..last-1, spread evenly, of about `SURVEYED_PIXELS`
    pixels of rows of this width; of all rows where they have no more."""
    rows = max(1, SURVEYED_PIXELS // SURVEYED_PLACES // width)
    step = (last - first) / SURVEYED_PLACES
    if step <= rows:
        return [(first, last)]
    middles = [first + (place + 0.5) * step for place in range(SURVEYED_PLACES)]
    return [(start, start + rows) for start in (int(middle - rows / 2) for middle in middles)]


def merge_samples(samples: Sequence[KeyedSample], count: int) -> tuple[np.ndarray, Arrays]:
    """The sample, as `Cube.sample` returns it, from the `Cube.keyed_sample`s of a scene's row spans: the `count` smallest keys win."""
    samples = [sample for sample in samples if len(sample[0])]
    if not samples:
        return np.empty((0, 2), dtype=np.intp), ()
    keys, positions = (np.concatenate([sample[i] for sample in samples]) for i in (0, 1))
    order = np.argsort(keys)[:count]
    return positions[order], tuple(np.concatenate(arrays)[order] for arrays in zip(*(sample[2] for sample in samples)))


def _nth_smallest(values: np.ndarray, n: int) -> float:
    return np.partition(values, n - 1)[n - 1] if values.size > n else np.inf


class ArrayCube(Cube):
    """A cube in memory.

    values: (rows, columns, bands) array. valid: (rows, columns) bool, by default True where all bands are finite.
    """

    def __init__(
        self, values: np.ndarray, valid: np.ndarray | None = None, wavelengths: np.ndarray | None = None, rows_per_block: int = 64
    ) -> None:
        if values.ndim != 3:
            raise ValueError(f"a cube is (rows, columns, bands); this array has the shape {values.shape}")
        finite = np.isfinite(values).all(axis=2)
        self._valid = finite if valid is None else finite & valid
        self._values = np.where(self._valid[..., None], values, 0).astype(np.float32)
        self.rows, self.columns, self.bands = values.shape
        self.wavelengths = wavelengths
        self.rows_per_block = rows_per_block

    def read(self, first: int, last: int, left: int = 0, right: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        return self._values[first:last, left:right], self._valid[first:last, left:right]
