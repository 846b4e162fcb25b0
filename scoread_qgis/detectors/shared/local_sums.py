"""The local background of the pixels of a tile, by sums that slide from window to window.

The windows of neighbours share most of their pixels. So their sums of products are made from each other, at a cost that does not depend on
how large they are. Conjugate gradients solve their covariances, preconditioned by the inverse of the mean covariance of some neighbours.
"""

from __future__ import annotations

import threading

import numpy as np
import torch

from ...core.cube import Block, Cube
from .local_windows import LocalWindows, in_block, shrinkage_by_sums

TILE = 8, 128  # rows and columns of pixels whose windows are added up together; in each afresh, so that rounding errors do not add up
NEIGHBOURS = 4  # columns of a tile that share a preconditioner
ITERATIONS = 16  # of conjugate gradients: what needs more is factorised
TOLERANCE = 1e-8  # of a squared distance: about what conjugate gradients leave out
FULL = 4  # times as many pixels as bands, with which windows without shrinkage are alike enough for conjugate gradients
CANCELLATION = 1e-9  # share of what was added up and subtracted again below which a variance is not trusted
TINY = 1e-300


def products_by_sums(
    cube: Cube,
    block: Block,
    windows: LocalWindows,
    counts: np.ndarray,
    targets: torch.Tensor,
    rows: tuple[int, int],
    columns: tuple[int, int],
    stopped: threading.Event,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `local_products`, of the pixels in rows and columns of the scene; and which are certain (rows, columns)."""
    height, width, size = rows[1] - rows[0], columns[1] - columns[0], 1 + len(targets)
    found = torch.full((height, width, size, size), torch.nan, dtype=torch.float64)
    certain = torch.zeros(height, width, dtype=torch.bool)
    tile = _Tile(cube, block, windows, counts, targets, rows, columns)
    for start in range(0, width, NEIGHBOURS):
        if stopped.is_set():
            break
        some = slice(start, min(start + NEIGHBOURS, width))
        found[:, some], certain[:, some] = tile.products(some)
    return found, certain


class _Tile:
    """The pixels of a tile of the scene, whose sums slide from its first columns to its last ones.

    A window differs from the one to its left by the column that enters and the one that leaves, and this difference from that in the row
    above by the four pixels at the ends of these columns.
    """

    def __init__(
        self,
        cube: Cube,
        block: Block,
        windows: LocalWindows,
        counts: np.ndarray,
        targets: torch.Tensor,
        rows: tuple[int, int],
        columns: tuple[int, int],
    ) -> None:
        self.shrinkage = windows.shrinkage
        self.alike = windows.shrinkage != 0 or windows.pixels >= FULL * cube.bands
        widths = windows.outer, windows.inner
        # First rows and first columns of the outer and the inner windows.
        tops = [np.clip(np.arange(*rows) - width // 2, 0, cube.rows - width) for width in widths]
        lefts = [np.clip(np.arange(*columns) - width // 2, 0, cube.columns - width) for width in widths]
        north, west = tops[0][0], lefts[0][0]
        down = slice(north - block.row + block.above, tops[0][-1] + windows.outer - block.row + block.above)
        beside = slice(west - block.column + block.left, lefts[0][-1] + windows.outer - block.column + block.left)
        values, valid = torch.from_numpy(block.values[down, beside]).double(), torch.from_numpy(counts[down, beside]).unsqueeze(2)
        self.spectra = values[rows[0] - north : rows[1] - north, columns[0] - west : columns[1] - west]
        # Less a value of each band that occurs: constant bands become 0, and sums stay small.
        wanted = torch.from_numpy(block.valid[block.inner][in_block(block, rows, columns)])
        offset = self.spectra[wanted].median(0).values
        self.spectra = torch.where(wanted.unsqueeze(2), self.spectra - offset, 0.0)
        values, self.targets = torch.where(valid, values - offset, 0.0), targets - offset
        # The products of these vectors hold all sums that are needed: of products, values, squared lengths.
        self.vectors = torch.cat([values, valid.double(), values.square().sum(2, keepdim=True)], 2).flatten(0, 1)
        axes, across = ((tops, north), (lefts, west)), values.shape[1]
        first_row, first_column = ([_whole(first[0] - start, width) for first, width in zip(firsts, widths)] for firsts, start in axes)
        below, aside = ([_steps(first - start, width) for first, width in zip(firsts, widths)] for firsts, start in axes)
        below = [steps[:, 1:] for steps in below]
        self.changes = _pixels(first_row, aside, across), _pixels(below, aside, across)
        self.sums = torch.empty(len(tops[0]), NEIGHBOURS, *self.vectors.shape[1:] * 2, dtype=torch.float64)
        start = _pixels(first_row, first_column, across), _pixels(below, first_column, across)
        self.before = self._down(*start, self.sums[:, :1])[:, 0].clone()
        self.largest = self.before.diagonal(dim1=1, dim2=2).amax(0)

    def _down(self, first: tuple[torch.Tensor, torch.Tensor], later: tuple[torch.Tensor, torch.Tensor], out: torch.Tensor) -> torch.Tensor:
        """Sums of products (rows, n, size, size) of pixels in `first`, and in each row below of those above and of those in `later`."""
        vectors = self.vectors[first[0][0]]
        torch.bmm(vectors.mT, vectors * first[1][0], out=out[0])
        vectors = self.vectors[later[0]]
        for row, (left, right) in enumerate(zip(vectors.mT, vectors * later[1])):
            torch.baddbmm(out[row], left, right, out=out[row + 1])
        return out

    def products(self, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Products (rows, n, v, v) of the pixels in the n columns after the last ones, and whether they are free of rounding errors."""
        rows, count = len(self.spectra), columns.stop - columns.start
        first, later = ((place[:, columns], sign[:, columns]) for place, sign in self.changes)
        sums = self._down(first, later, self.sums[:, :count])
        for column in range(count):
            sums[:, column] += sums[:, column - 1] if column else self.before
        self.before = sums[:, -1].clone()
        sums = sums.flatten(0, 1)
        self.largest = torch.maximum(self.largest, sums.diagonal(dim1=1, dim2=2).amax(0))
        vectors = torch.cat([self.spectra[:, columns].flatten(0, 1).unsqueeze(1), self.targets.expand(len(sums), -1, -1)], 1)
        found, certain = _products_by_sums(vectors, sums, self.largest, self.shrinkage, self.alike)
        return found.unflatten(0, (rows, count)), certain.unflatten(0, (rows, count))


def _whole(first: int, width: int) -> np.ndarray:
    """Rows (or columns) of a window and their signs (2, 1, width), as `_steps` has them."""
    return np.stack([first + np.arange(width), np.ones(width, int)])[:, None]


def _steps(firsts: np.ndarray, width: int) -> np.ndarray:
    """Rows (or columns) that enter, with sign 1, and leave, with sign -1, from each window to the next; with sign 0 where it stays.

    firsts: (n,) first rows of the windows. Returns rows and signs (2, n, 2).
    """
    moved = np.diff(firsts, prepend=firsts[0])
    return np.stack([np.stack([firsts + width - 1, np.maximum(firsts - 1, 0)], 1), np.stack([moved, -moved], 1)])


def _pixels(rows: list[np.ndarray], columns: list[np.ndarray], across: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers (a, b, n) of the pixels in rows (2, a, k) and columns (2, b, m), and their signs (a, b, n, 1).

    rows, columns: of the outer window, and of the inner one, whose pixels are taken off, as `_steps` has them.
    across: columns of the tile and its context.
    """
    places = [(r[0][:, None, :, None] * across + c[0][None, :, None]) for r, c in zip(rows, columns)]
    signs = [r[1][:, None, :, None] * c[1][None, :, None] for r, c in zip(rows, columns)]
    signs[1] = -signs[1]
    place, sign = (
        np.concatenate([each.reshape(*each.shape[:2], each.shape[2] * each.shape[3]) for each in both], 2) for both in (places, signs)
    )
    return torch.from_numpy(place), torch.from_numpy(sign).double().unsqueeze(3)


def _products_by_sums(
    vectors: torch.Tensor, sums: torch.Tensor, largest: torch.Tensor, shrinkage: float | None, alike: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `LocalWindows.products`, by sums over the background.

    vectors: (n, v, bands). sums: (n, bands + 2, bands + 2), of the products of spectra, 1 and their squared lengths. largest: (bands + 2,),
    the largest sums of squares that the sums have gone through. alike: whether the windows are so much alike that conjugate gradients take
    few steps. Returns products (n, v, v), and whether they are free of rounding errors.
    """
    bands = vectors.shape[2]
    count, lengths, squares = sums[:, bands, bands].round(), sums[:, bands, bands + 1], sums[:, bands + 1, bands + 1]
    mean, weighted = sums[:, bands, :bands] / count[:, None], sums[:, bands + 1, :bands]
    products = torch.addcmul(sums[:, :bands, :bands], (mean * -count[:, None]).unsqueeze(2), mean.unsqueeze(1))
    # Of the centred spectra: the sums of their squared lengths, and of the squares of these.
    offset = mean.square().sum(1)
    along = (mean.unsqueeze(1) @ products).squeeze(1).mul(mean).sum(1)
    total = lengths - count * offset
    fourth = squares - 4 * (weighted * mean).sum(1) + 4 * along + 2 * offset * lengths + count * offset.square()
    diagonal = products.diagonal(dim1=1, dim2=2)
    enough = count > (bands if shrinkage == 0 else 1)
    certain = (diagonal > CANCELLATION * largest[:bands]).all(1)
    if shrinkage is None:
        certain &= fourth > CANCELLATION * largest[-1]
        share = shrinkage_by_sums(torch.linalg.vector_norm(products, dim=(1, 2)).square(), total, fourth, count, bands)
    else:
        share = torch.full_like(count, shrinkage)
    largest = largest[:bands]
    # The matrix is a multiple of the products with something added to their diagonal.
    multiple = ((1 - share) / (count - 1)).clamp(min=torch.finfo(torch.float64).tiny ** 0.25)
    diagonal += (share * total / (count - 1) / bands / multiple).unsqueeze(1)
    vectors = vectors - mean.unsqueeze(1)
    if not enough.all():
        products[~enough], vectors[~enough] = 0, 0
    if alike:
        common = (multiple @ products.flatten(1)).view(bands, bands)
        found, solved = _by_conjugate_gradients(products, common, vectors, largest)
        left = (enough & ~solved).nonzero()[:, 0]
        if len(left):
            found[left], solved[left] = _by_factors(products[left], vectors[left], largest)
    else:
        found, solved = _by_factors(products, vectors, largest)
    found = torch.where(enough.view(-1, 1, 1), found / multiple.view(-1, 1, 1), torch.nan)
    return found, certain & solved | ~enough


def _by_conjugate_gradients(
    matrices: torch.Tensor, common: torch.Tensor, vectors: torch.Tensor, largest: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The products (n, v, v) V M^-1 V^T of vectors (n, v, bands) with matrices (n, bands, bands), and which of them are solved.

    common: (bands, bands), like all of the matrices. largest: (bands,), see `_products_by_sums`.
    M. R. Hestenes and E. Stiefel, "Methods of conjugate gradients for solving linear systems", Journal of Research of the National Bureau
    of Standards 49, 1952.
    """
    factor, failed = torch.linalg.cholesky_ex(common)
    if failed:
        return vectors @ vectors.mT, torch.zeros(len(matrices), dtype=torch.bool)
    inverse = torch.cholesky_inverse(factor)
    solution, residual = torch.zeros_like(vectors), vectors.clone()
    direction = residual @ inverse
    energy = torch.linalg.vecdot(residual, direction)
    missing = TOLERANCE * energy
    for _ in range(ITERATIONS):
        ahead = torch.bmm(direction, matrices)
        step = (energy / torch.linalg.vecdot(direction, ahead).clamp(min=TINY)).unsqueeze(2)
        solution.addcmul_(step, direction)
        residual.addcmul_(step, ahead, value=-1)
        preconditioned = residual @ inverse
        before, energy = energy, torch.linalg.vecdot(residual, preconditioned)
        if (energy <= missing).all():
            break
        direction = torch.addcmul(preconditioned, (energy / before.clamp(min=TINY)).unsqueeze(2), direction)
    along = solution @ matrices
    forms, products = along @ solution.mT, vectors @ solution.mT
    # Where the solution lies along directions without variance, there is nothing but rounding errors.
    exact = forms.diagonal(dim1=1, dim2=2) >= CANCELLATION * (solution.square() @ largest)
    # Of solutions that are a little off, this is off by the square of that.
    return products + products.mT - forms, ((energy <= missing) & exact).all(1)


def _by_factors(matrices: torch.Tensor, vectors: torch.Tensor, largest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_by_conjugate_gradients`, by factorising each matrix."""
    factors, failed = torch.linalg.cholesky_ex(matrices)
    half = torch.linalg.solve_triangular(factors, vectors.mT, upper=False)
    pivots = factors.diagonal(dim1=1, dim2=2)
    return half.mT @ half, (failed == 0) & (pivots.square() > CANCELLATION * largest).all(1)
