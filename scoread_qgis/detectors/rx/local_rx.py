"""Local RX: the squared Mahalanobis distance of a spectrum from the pixels around it.

I. S. Reed and X. Yu, "Adaptive multiple-band CFAR detection of an optical pattern with unknown spectral distribution", IEEE Transactions on
Acoustics, Speech, and Signal Processing 38, 1990.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np
import torch

from ...core.cube import Block, Cube
from ...core.progress import Progress
from ..contract import REPORT_SECONDS, Detector, Scorer, Tell
from ..shared.checks import State
from ..shared.explanation import Explanation
from ..shared.local_windows import LocalWindows, at_a_time, shrinkage_by_sums

MATRIX_CHUNK = 2**18  # numbers in the sums of products that are worked on at a time: more of them would not stay in the processor's cache
FEW_PRODUCTS = 2e5  # of the spectra in a window, which are then made for each window
TILE = 8, 128  # rows and columns of pixels whose windows are added up together; in each row afresh, so that rounding errors do not add up
PANEL = 32  # columns of a matrix that are factorised at a time: most of the work is then a product of matrices
CANCELLATION = 1e-9  # share of what was added up and subtracted again below which a variance is not trusted


class LocalRX(Detector):
    """RX against the pixels between an inner and an outer window around each pixel: inner_window, outer_window, shrinkage: see
    `LocalWindows`.
    """

    kind, title = "rx-local", "RX, local"
    score_name = "RX anomaly score"
    keeps_model = False

    def __init__(self, inner_window: int = 5, outer_window: int = 15, shrinkage: float | None = None) -> None:
        self.windows = LocalWindows(inner_window, outer_window, shrinkage)

    def bind(self, cube: Cube, gathered: None = None, progress: Progress | None = None) -> LocalRXScorer:
        """Raises ValueError where the outer window does not fit into the scene, or holds too few pixels to do without shrinkage."""
        self.windows.check(cube, "local RX")
        return LocalRXScorer(cube, self.windows)

    def state(self) -> State:
        windows = self.windows
        return {"inner_window": windows.inner, "outer_window": windows.outer, "shrinkage": windows.shrinkage}

    @classmethod
    def from_state(cls, state: State, device: torch.device | str = "cpu") -> LocalRX:
        return cls(**state)


class LocalRXScorer(Scorer):
    """windows: `LocalWindows`. Pixels with too few valid ones around them, or with identical ones, are not scored."""

    phase = "local RX"
    pass_pixels, fewest_rows = 4096, TILE[0]

    def __init__(self, cube: Cube, windows: LocalWindows) -> None:
        super().__init__(cube)
        self.windows = windows
        self.context = windows.context

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        bands, ring = self.cube.bands, self.windows.pixels
        changed = 2 * (self.windows.outer + self.windows.inner)  # pixels that enter or leave from one window to the next
        by_windows = ring * bands**2 < FEW_PRODUCTS
        if bands > ring and self.windows.shrinkage != 0:  # where the products between pixels are fewer than those between bands
            by_windows |= ring**2 * bands < (changed + bands / 6) * bands**2
        scores = torch.full((block.rows, block.columns), torch.nan)
        chosen = block.valid[block.inner]
        if by_windows:
            self._score_windows(block, chosen, scores, tell)
            return scores.numpy()
        doubtful = np.zeros_like(chosen)
        tiles = [(rows, columns) for rows in _cut(block.row, block.rows, TILE[0]) for columns in _cut(block.column, block.columns, TILE[1])]
        stopped = threading.Event()
        tiles = [tile for tile in tiles if chosen[_place(block, *tile)].any()]
        with _single_threads() as threads:
            working = {threads.submit(self._score_tile, block, *tile, stopped): tile for tile in tiles}
            try:
                waiting = set(working)
                while waiting:
                    tell(1 - len(waiting) / len(tiles))
                    _, waiting = wait(waiting, REPORT_SECONDS, FIRST_COMPLETED)
            finally:
                stopped.set()
        for tile, (found, certain) in ((tile, future.result()) for future, tile in working.items()):
            here = _place(block, *tile)
            wanted = torch.from_numpy(chosen[here])
            scores[here] = torch.where(wanted, found.float(), torch.nan)
            doubtful[here] = (wanted & ~certain).numpy()
        self._score_windows(block, doubtful, scores, lambda share: tell(1.0))
        return scores.numpy()

    def _score_windows(self, block: Block, chosen: np.ndarray, scores: torch.Tensor, tell: Tell) -> None:
        """Fill in the scores of the chosen pixels (rows, columns) of a block, each from the spectra in its windows."""
        rows, columns = np.nonzero(chosen)
        values, valid = torch.from_numpy(block.values), torch.from_numpy(block.valid)
        for some in at_a_time(len(rows), self.windows.pixels * self.cube.bands):
            tell(some.start / len(rows))
            r, c = rows[some], columns[some]
            background, used = self.windows.spectra(self.cube, block, valid, r + block.row, c + block.column)
            spectra = values[torch.from_numpy(r + block.above), torch.from_numpy(c + block.left)].double()
            distance = self.windows.products(spectra.unsqueeze(1), background, used)[:, 0, 0]
            scores[torch.from_numpy(r), torch.from_numpy(c)] = distance.float()

    def _score_tile(
        self, block: Block, rows: tuple[int, int], columns: tuple[int, int], stopped: threading.Event
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances (rows, columns) float64 of the pixels of a tile of the scene, and whether they are certain; none once `stopped`.

        The sums over the windows of a pixel are those of the pixel before it, plus what enters the windows and less what leaves them.
        """
        size, widths = self.cube.bands + 2, (self.windows.outer, self.windows.inner)
        # First rows and first columns of the outer and the inner windows.
        tops = [np.clip(np.arange(*rows) - width // 2, 0, self.cube.rows - width) for width in widths]
        lefts = [np.clip(np.arange(*columns) - width // 2, 0, self.cube.columns - width) for width in widths]
        north, west, width = tops[0][0], lefts[0][0], lefts[0][-1] + widths[0] - lefts[0][0]
        down = slice(north - block.row + block.above, tops[0][-1] + widths[0] - block.row + block.above)
        across = slice(west - block.column + block.left, west + width - block.column + block.left)
        values, valid = torch.from_numpy(block.values[down, across]).double(), torch.from_numpy(block.valid[down, across])
        own = slice(rows[0] - north, rows[1] - north), slice(columns[0] - west, columns[1] - west)
        # Less a value of each band that occurs: constant bands become 0, and sums stay small.
        values = (values - values[own][valid[own]].median(0).values) * valid.unsqueeze(2)
        # The products of these vectors hold all sums that are needed: of products, values, squared lengths; the last vector is 0.
        vectors = torch.cat([values, valid.unsqueeze(2).double(), values.square().sum(2, keepdim=True)], 2).reshape(-1, size)
        vectors = torch.cat([vectors, torch.zeros(1, size, dtype=torch.float64)])
        pixels = len(vectors) - 1
        signs = torch.tensor([1.0] * sum(widths) + [-1.0] * sum(widths), dtype=torch.float64).unsqueeze(1)
        at_a_time = max(1, MATRIX_CHUNK // size**2)
        products = torch.empty(at_a_time, size, size, dtype=torch.float64)
        found = torch.empty(rows[1] - rows[0], columns[1] - columns[0], dtype=torch.float64)
        certain = torch.empty(found.shape, dtype=torch.bool)
        for row in range(len(found)):
            first = [(top[row] - north + np.arange(height)) * width for top, height in zip(tops, widths)]  # of each row of a window
            at = [start[:, None] + left[0] - west + np.arange(size) for start, left, size in zip(first, lefts, widths)]
            ring, hole = (vectors[torch.from_numpy(places.ravel())] for places in at)
            sums = ring.T @ ring - hole.T @ hole
            largest = sums.diagonal()
            # Pixels that are added, in the outer window's new column and the inner one's old one, and subtracted; none where it stays.
            moved = [np.diff(left, prepend=left[0])[:, None] > 0 for left in lefts]
            new, old = (
                [
                    np.where(there, start + left[:, None] - west + shift, pixels)
                    for there, start, left, shift in zip(moved, first, lefts, shifts)
                ]
                for shifts in ((widths[0] - 1, widths[1] - 1), (-1, -1))
            )
            changes = torch.from_numpy(np.concatenate([new[0], old[1], old[0], new[1]], 1))
            for start in range(0, found.shape[1], at_a_time):
                stop = min(start + at_a_time, found.shape[1])
                if stopped.is_set():
                    return found, certain
                change = vectors[changes[start:stop]]
                for number, (changed, signed) in enumerate(zip(change.mT.unbind(), (change * signs).unbind())):
                    torch.addmm(products[number - 1] if number else sums, changed, signed, out=products[number])
                sums = products[stop - start - 1].clone()
                chunk = products[: stop - start]
                largest = torch.maximum(largest, chunk.diagonal(dim1=1, dim2=2).amax(0))
                spectra = values[row + own[0].start, own[1].start + start : own[1].start + stop]
                distance, sure = _distance_by_sums(spectra, chunk, largest[:-2], self.windows.shrinkage)
                found[row, start:stop], certain[row, start:stop] = distance, sure
        return found, certain

    def explain(self, spectra: np.ndarray, positions: np.ndarray, backgrounds: np.ndarray, progress: Progress | None = None) -> Explanation:
        """The shares of the bands are the terms of the difference of two Mahalanobis distances."""
        places = np.clip(np.round(positions).astype(int), 0, [self.cube.rows - 1, self.cube.columns - 1])
        scores, background_scores, contributions = [], [], []
        for spectrum, expected, (row, column) in zip(torch.as_tensor(spectra).double(), torch.as_tensor(backgrounds).double(), places):
            block = self.cube.window(row, column, halo=self.context)
            background, used = self.windows.spectra(self.cube, block, torch.from_numpy(block.valid), np.array([row]), np.array([column]))
            mean, covariance = self.windows.statistics(background[0][used[0]])
            precision = torch.linalg.pinv(covariance, hermitian=True)
            scores.append((spectrum - mean) @ precision @ (spectrum - mean))
            background_scores.append((expected - mean) @ precision @ (expected - mean))
            contributions.append((spectrum - expected) * (precision @ (spectrum + expected - 2 * mean)))
        what = "local RX, the squared Mahalanobis distance from the mean of the pixels between the windows"
        after, before, shares = (torch.stack(each).numpy() for each in (scores, background_scores, contributions))
        return Explanation(after, before, shares, what)


def _distance_by_sums(
    spectra: torch.Tensor, sums: torch.Tensor, largest: torch.Tensor, shrinkage: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared Mahalanobis distances, by sums over the background.

    sums: (n, bands + 2, bands + 2), of the products of spectra, 1 and their squared lengths. spectra: (n, bands). largest: (bands,) sums of
    squares that the sums have gone through. Returns distances (n,), and whether they are free of rounding errors. Overwrites `sums`.
    """
    bands = spectra.shape[1]
    count, lengths, squares = sums[:, bands, bands].round(), sums[:, bands, bands + 1], sums[:, bands + 1, bands + 1]
    mean, weighted = sums[:, :bands, bands] / count[:, None], sums[:, :bands, bands + 1]
    products = sums[:, :bands, :bands]
    offset = mean.square().sum(1)
    along = (mean.unsqueeze(1) @ products).squeeze(1).mul(mean).sum(1)
    # Of the centred spectra: the sums of their squared lengths, and of the squares of these.
    total = lengths - count * offset
    fourth = squares - 4 * (weighted * mean).sum(1) + 4 * along + 2 * offset * lengths - 3 * count * offset.square()
    products.addcmul_((mean * -count[:, None]).unsqueeze(2), mean.unsqueeze(1))
    diagonal = products.diagonal(dim1=1, dim2=2)
    enough = count > (bands if shrinkage == 0 else 1)
    certain = (diagonal > CANCELLATION * largest).all(1)
    share = torch.full_like(count, shrinkage) if shrinkage is not None else shrinkage_by_sums(products, total, fourth, count, bands)
    # The matrix is a multiple of the products with something added to their diagonal.
    multiple = ((1 - share) / (count - 1)).clamp(min=torch.finfo(torch.float64).tiny ** 0.25)
    diagonal += (share * total / (count - 1) / bands / multiple).unsqueeze(1)
    pivots = _factorise(products)
    distance = torch.linalg.solve_triangular(products, (spectra - mean).unsqueeze(2), upper=False).square().sum((1, 2)) / multiple
    certain &= (pivots.square() > CANCELLATION * largest).all(1)  # False for NaN
    return torch.where(enough, distance, torch.nan), certain | ~enough


def _factorise(matrices: torch.Tensor) -> torch.Tensor:
    """Replace the lower triangles of matrices (n, size, size) by their Cholesky factors.

    Returns the diagonals of these (n, size), NaN where a matrix has none.
    """
    size = matrices.shape[1]
    for first in range(0, size, PANEL):
        last = min(first + PANEL, size)
        factor, failed = torch.linalg.cholesky_ex(matrices[:, first:last, first:last])
        factor[failed != 0] = torch.nan
        matrices[:, first:last, first:last] = factor
        if last < size:
            beside = torch.linalg.solve_triangular(factor, matrices[:, first:last, last:], upper=False)
            matrices[:, last:, first:last] = beside.mT
            matrices[:, last:, last:].sub_(beside.mT @ beside)
    return matrices.diagonal(dim1=1, dim2=2)


def _place(block: Block, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[slice, slice]:
    """Of a tile of the scene, in a block's own pixels."""
    return slice(rows[0] - block.row, rows[1] - block.row), slice(columns[0] - block.column, columns[1] - block.column)


@contextmanager
def _single_threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as PyTorch would use, each of which computes alone: matrices this small are not worth sharing one among threads.

    The end of the block waits for what they work on. With OpenMP each thread has its own count, but takes over that which was set last on
    any when it first computes: so it goes back to what it was at once.
    """
    count = torch.get_num_threads()
    ready = threading.Barrier(count + 1)

    def alone() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)

    with ThreadPoolExecutor(count, "scoread-rx", alone) as threads:
        try:
            for _ in range(count):
                threads.submit(ready.wait)
            ready.wait()
            torch.set_num_threads(count)
            yield threads
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _cut(first: int, count: int, step: int) -> list[tuple[int, int]]:
    """The parts of `count` numbers from `first` on between multiples of `step`."""
    edges = [first, *range(first - first % step + step, first + count, step), first + count]
    return list(zip(edges, edges[1:]))
