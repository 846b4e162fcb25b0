"""The local background of every pixel of a block, for groups of neighbours at a time, whose windows share most of their pixels.

The mean covariance of a group whitens the spectra, so that the covariance of each window is near the identity. Conjugate gradients then
solve it in a few steps, which are products with the spectra around the group, for all of its windows at a time: no covariance is made for a
single pixel.

M. R. Hestenes and E. Stiefel, "Methods of conjugate gradients for solving linear systems", Journal of Research of the National Bureau of
Standards 49, 1952.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np
import torch

from ...core.cube import Block, Cube
from .local_windows import LocalWindows, at_a_time, shrinkage_by_sums

REPORT_SECONDS = 0.2  # between two reports
FEW_PRODUCTS = 2e5  # of the spectra in a window, which is then solved by itself
GROUP = 8  # rows and columns of pixels in a group: more of them share what is made once, but less of their windows
ITERATIONS = 60  # of conjugate gradients; 8 to 10 do where covariances are shrunk, up to 40 where not
TOLERANCE = 1e-6  # of a squared distance: with steps that add less, conjugate gradients end
CANCELLATION = 1e-9  # share of what was subtracted below which a variance is not trusted
SINGULAR = 1e-5  # smallest variance of a window, where that of its group is 1, that is trusted
UNEVEN = 1e3  # times the smallest variance of the windows of a group, beyond which conjugate gradients need double precision
FEW = 8  # one in so many pixels of a group is looked at for a value in their midst
PAIRS = 128  # spectra whose products with all spectra are made at a time
TINY = 1e-30


def local_products(
    cube: Cube, block: Block, windows: LocalWindows, counts: np.ndarray, targets: torch.Tensor, tell: Callable[[float], None]
) -> torch.Tensor:
    """The products (rows, columns, 1 + n, 1 + n) float64 of the spectrum of each own pixel of a block, and of n targets, with each other.

    They are as `LocalWindows.products` has them, against the background around the pixel; NaN where the pixel is not valid, or its
    background tells nothing.

    block: with `windows.context` of context. counts: (rows, columns) bool, which pixels of the block and its context are background.
    targets: (n, bands) float64. tell: is told the share that is done.
    """
    size = 1 + len(targets)
    products = torch.full((block.rows, block.columns, size, size), torch.nan, dtype=torch.float64)
    chosen = block.valid[block.inner]
    if windows.pixels * cube.bands * min(windows.pixels, cube.bands) < FEW_PRODUCTS:
        _by_windows(cube, block, windows, counts, targets, chosen, products, tell)
        return products
    doubtful = np.zeros_like(chosen)
    groups = [(rows, columns) for rows in _cut(block.row, block.rows) for columns in _cut(block.column, block.columns)]
    groups = [group for group in groups if chosen[_place(block, *group)].any()]
    stopped = threading.Event()

    def work(rows: tuple[int, int], columns: tuple[int, int]) -> None:
        if not stopped.is_set():
            here = _place(block, rows, columns)
            found, certain = _group_products(cube, block, windows, counts, targets, rows, columns)
            wanted = torch.from_numpy(chosen[here])
            products[here] = torch.where(wanted[:, :, None, None], found, torch.nan)
            doubtful[here] = (wanted & ~certain).numpy()

    with _single_threads() as threads:
        waiting = {threads.submit(work, *group) for group in groups}
        try:
            while waiting:
                tell(1 - len(waiting) / len(groups))
                done, waiting = wait(waiting, REPORT_SECONDS, FIRST_COMPLETED)
                for each in done:
                    each.result()
        finally:
            stopped.set()
    _by_windows(cube, block, windows, counts, targets, doubtful, products, lambda share: tell(1.0))
    return products


def _by_windows(
    cube: Cube,
    block: Block,
    windows: LocalWindows,
    counts: np.ndarray,
    targets: torch.Tensor,
    chosen: np.ndarray,
    products: torch.Tensor,
    tell: Callable[[float], None],
) -> None:
    """Fill in the products of the chosen pixels (rows, columns), each by the covariance in its windows."""
    rows, columns = np.nonzero(chosen)
    values, valid = torch.from_numpy(block.values), torch.from_numpy(counts)
    for some in at_a_time(len(rows), windows.pixels * cube.bands):
        tell(some.start / len(rows))
        r, c = rows[some], columns[some]
        background, used = windows.spectra(cube, block, valid, r + block.row, c + block.column)
        spectra = values[torch.from_numpy(r + block.above), torch.from_numpy(c + block.left)].double()
        vectors = torch.cat([spectra.unsqueeze(1), targets.expand(len(spectra), -1, -1)], 1)
        products[torch.from_numpy(r), torch.from_numpy(c)] = windows.products(vectors, background, used)


def _group_products(
    cube: Cube,
    block: Block,
    windows: LocalWindows,
    counts: np.ndarray,
    targets: torch.Tensor,
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Products (rows, columns, v, v) float64 of the pixels of a group, and whether they are certain (rows, columns)."""
    shape, bands = (rows[1] - rows[0], columns[1] - columns[0]), cube.bands
    # Which rows and columns around the group lie in the outer and in the inner windows of its pixels.
    widths = windows.outer, windows.inner
    in_rows, north = _inside(*rows, widths, cube.rows)
    in_columns, west = _inside(*columns, widths, cube.columns)
    top, left = north - block.row + block.above, west - block.column + block.left
    around = slice(top, top + in_rows[0].shape[1]), slice(left, left + in_columns[0].shape[1])
    spectra, valid = torch.from_numpy(block.values[around]).double(), torch.from_numpy(counts[around])
    own = spectra[rows[0] - north : rows[1] - north, columns[0] - west : columns[1] - west]
    # Less a value of each band that occurs: constant bands become 0, and sums stay small.
    offset = own[torch.from_numpy(block.valid[block.inner][_place(block, rows, columns)])][::FEW].median(0).values
    vectors = torch.cat([(own - offset).view(-1, 1, bands), (targets - offset).expand(shape[0] * shape[1], -1, -1)], 1)
    outer, inner = (r[:, None, :, None] * c[None, :, None] for r, c in zip(in_rows, in_columns))
    used = ((outer - inner) * valid).view(len(vectors), -1)
    spectra = torch.where(valid.unsqueeze(2), spectra - offset, 0.0).view(-1, bands)
    found, certain = _products(vectors, spectra, used, windows.shrinkage)
    return found.unflatten(0, shape), certain.unflatten(0, shape)


def _inside(first: int, last: int, widths: tuple[int, int], size: int) -> tuple[list[torch.Tensor], int]:
    """For the outer and the inner windows around the rows (or columns) first..last-1 of `size`: which rows lie in them (n, height), 1 or 0.

    And the row that is the first of these.
    """
    firsts = [(torch.arange(first, last) - width // 2).clamp(0, size - width) for width in widths]
    start, stop = int(firsts[0][0]), int(firsts[0][-1]) + widths[0]
    after = [torch.arange(start, stop) - each.unsqueeze(1) for each in firsts]
    return [((each >= 0) & (each < width)).double() for each, width in zip(after, widths)], start


def _products(
    vectors: torch.Tensor, spectra: torch.Tensor, used: torch.Tensor, shrinkage: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `LocalWindows.products`, of windows that share their spectra.

    vectors: (n, v, bands). spectra: (m, bands). used: (n, m), 1 where a spectrum lies in a window, 0 elsewhere. All are float64. Returns
    products (n, v, v), and whether they are certain (n,).
    """
    bands = spectra.shape[1]
    count = used.sum(1)
    enough = count > (bands if shrinkage == 0 else 1)
    mean = used @ spectra / count.clamp(min=1).unsqueeze(1)
    along, offset = mean @ spectra.T, mean.square().sum(1)
    lengths = spectra.square().sum(1)
    # Squared lengths of the spectra less the means of the windows, and their sums.
    distances = (lengths - 2 * along + offset.unsqueeze(1)) * used
    total, raw = distances.sum(1), used @ lengths
    certain = total > CANCELLATION * raw
    if shrinkage is None:
        raw = _squared_norms(spectra, used)
        square = raw - 2 * count * (along.square() * used).sum(1) + (count * offset).square()
        certain &= square > CANCELLATION * raw
        share = shrinkage_by_sums(square, total, distances.square().sum(1), count, bands)
    else:
        share = torch.full_like(count, shrinkage)
    known = enough & certain
    # Each covariance, scaled to a variance of 1, is the products of the centred spectra times `multiple`, plus the identity times `added`.
    # Scaled, so that windows that vary little matter to the mean of all as much as those that lie across an edge.
    multiple, added = torch.where(known, (1 - share) / total, 0.0), torch.where(known, share / bands, 0.0)
    result = torch.full((len(used), vectors.shape[1], vectors.shape[1]), torch.nan, dtype=torch.float64)
    common = (spectra * (multiple @ used).unsqueeze(1)).T @ spectra
    largest = common.diagonal().clone()
    common -= (mean * (multiple * count).unsqueeze(1)).T @ mean
    common.diagonal().add_(added.sum())
    factor, _ = torch.linalg.cholesky_ex(common / known.sum())
    if not (factor.diagonal().square() * known.sum() > CANCELLATION * largest).all():  # NaN is not, either
        return result, ~enough
    whitening = torch.linalg.solve_triangular(factor, torch.eye(bands, dtype=torch.float64), upper=False).T
    centre = mean[known].mean(0)
    windows = _Whitened((spectra - centre) @ whitening, used, count, multiple, added, whitening.T @ whitening)
    vectors = torch.where(known.view(-1, 1, 1), vectors - mean.unsqueeze(1), 0.0) @ whitening
    uneven = total[known].max() > UNEVEN * total[known].min()
    dtype = torch.float64 if uneven else torch.float32
    solution, solved = _conjugate_gradients(windows.to(dtype), vectors.to(dtype))
    solution = solution.double()
    along, forms = vectors @ solution.mT, windows.forms(solution)
    solved &= (forms.diagonal(dim1=1, dim2=2) >= SINGULAR * solution.square().sum(2)).all(1) & known
    # Of solutions that are a little off, this is off by the square of that.
    scale = torch.where(known, (count - 1) / total, torch.nan)
    result = (along + along.mT - forms) * scale.view(-1, 1, 1)
    return result, solved | ~enough


def _squared_norms(spectra: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """Squared Frobenius norms (n,) of the sums of products of spectra (m, bands) in windows, `used` (n, m): sums of squares of the products
    of all pairs of spectra.
    """
    norms = torch.zeros(len(used), dtype=torch.float64)
    for first in range(0, len(spectra), PAIRS):
        last = min(first + PAIRS, len(spectra))
        squares = (spectra[first:last] @ spectra[:last].T).square_()
        squares[:, :first] *= 2  # the other half of the pairs
        norms += ((used[:, first:last] @ squares) * used[:, :last]).sum(1)
    return norms


@dataclass
class _Whitened:
    """The covariances of windows, in a space where their mean is the identity.

    spectra: (m, bands) in that space. used: (n, m), 1 where a spectrum lies in a window. count, multiple, added: (n,), the covariance of a
    window is the sum of the products of its centred spectra times `multiple`, plus `identity` (bands, bands) times `added`.
    """

    spectra: torch.Tensor
    used: torch.Tensor
    count: torch.Tensor
    multiple: torch.Tensor
    added: torch.Tensor
    identity: torch.Tensor

    def to(self, dtype: torch.dtype) -> _Whitened:
        return _Whitened(*(getattr(self, field.name).to(dtype) for field in fields(self)))

    def centred(self, vectors: torch.Tensor) -> torch.Tensor:
        """Products (n, v, m) of vectors (n, v, bands) with the spectra in each window less their mean."""
        along, used = vectors @ self.spectra.T, self.used.unsqueeze(1)
        along *= used
        return along.addcmul_(along.sum(2, keepdim=True) / self.count.view(-1, 1, 1), used, value=-1)

    def times(self, vectors: torch.Tensor) -> torch.Tensor:
        """Products (n, v, bands) of the covariances with vectors (n, v, bands)."""
        along = self.centred(self.multiple.view(-1, 1, 1) * vectors)
        return along @ self.spectra + self.added.view(-1, 1, 1) * (vectors @ self.identity)

    def forms(self, vectors: torch.Tensor) -> torch.Tensor:
        """Products (n, v, v) V C V^T of the covariances with vectors (n, v, bands) on both sides."""
        along = self.centred(vectors)
        return self.multiple.view(-1, 1, 1) * (along @ along.mT) + self.added.view(-1, 1, 1) * (vectors @ self.identity @ vectors.mT)


def _conjugate_gradients(windows: _Whitened, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """C^-1 v of vectors (n, v, bands), and which are solved (n,)."""
    solution, residual, direction = torch.zeros_like(vectors), vectors.clone(), vectors
    energy = torch.linalg.vecdot(residual, residual)
    distance, solved = torch.zeros_like(energy), torch.zeros(energy.shape, dtype=torch.bool)
    for _ in range(ITERATIONS):
        ahead = windows.times(direction)
        step = (energy / torch.linalg.vecdot(direction, ahead).clamp(min=TINY)).unsqueeze(2)
        solution.addcmul_(step, direction)
        residual.addcmul_(step, ahead, value=-1)
        gain = step.squeeze(2) * energy
        distance += gain
        solved = gain <= TOLERANCE * distance
        if solved.all():
            break
        before, energy = energy, torch.linalg.vecdot(residual, residual)
        direction = torch.addcmul(residual, (energy / before.clamp(min=TINY)).unsqueeze(2), direction)
    return solution, solved.all(1)


def _place(block: Block, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[slice, slice]:
    """Of a group of pixels of the scene, in a block's own pixels."""
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


def _cut(first: int, count: int) -> list[tuple[int, int]]:
    """The parts of `count` numbers from `first` on between multiples of `GROUP`."""
    edges = [first, *range(first - first % GROUP + GROUP, first + count, GROUP), first + count]
    return list(zip(edges, edges[1:]))
