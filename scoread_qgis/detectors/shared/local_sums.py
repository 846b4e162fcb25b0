"""The local background of the pixels of a tile, by sums that slide from window to window.

The windows of neighbours share most of their pixels. So their sums of products are made from each other, at a cost that does not depend on
how large they are. Conjugate gradients solve their covariances.

The spectra are turned to the principal axes of the tile first. There the covariance of each window is near a diagonal one, which makes
conjugate gradients take few steps, and rounding errors are small beside the variance along each axis: so single precision is enough, unless
windows differ too much. What is made by one number of each window, such as its mean, is in double precision.
"""

from __future__ import annotations

import threading

import numpy as np
import torch

from ...core.cube import Block, Cube
from .local_windows import LocalWindows, in_block, shrinkage_by_sums

TILE = 24, 32  # about so many rows and columns of pixels share their axes; sums slide no further, so that few rounding errors add up
NUMBERS = 2**21  # in the covariances that are solved together: few enough to stay near the processor
ITERATIONS = 40  # of conjugate gradients, of which 10 to 20 do
TOLERANCE = 1e-6  # of a squared distance: about what conjugate gradients leave out
FULL = 4  # times as many pixels as bands, with which windows without shrinkage are alike enough for conjugate gradients
CANCELLATION = {torch.float32: 1e-3, torch.float64: 1e-9}  # share of what was added up below which a variance is not trusted
NORM = {torch.float32: 3e-3, torch.float64: 1e-9}  # the same for the norm that chooses the shrinkage, whose errors nothing makes good
FEW = 8  # one in so many pixels of a tile that single precision does not do for: with more of them, double precision does them all
TINY = 1e-30


def products_by_sums(tile: Tile, stopped: threading.Event) -> tuple[torch.Tensor, torch.Tensor]:
    """As `local_products`, of the pixels of a tile; and which are certain (rows, columns)."""
    (height, width), size, bands = tile.wanted.shape, tile.vectors.shape[2], tile.spectra.shape[2]
    found = torch.full((height, width, size, size), torch.nan, dtype=torch.float64)
    certain = torch.zeros(height, width, dtype=torch.bool)
    step = max(1, NUMBERS // (height * bands**2))
    for dtype in (torch.float32, torch.float64) if tile.alike else (torch.float64,):
        sums = _Sums(tile, dtype, min(step, width))
        for start in range(0, width, step):
            if stopped.is_set():
                return found, certain
            some = slice(start, min(start + step, width))
            found[:, some], certain[:, some] = tile.products(some, *sums.slide(some))
        if (tile.wanted & ~certain).sum() * FEW <= certain.numel():
            break
    return found, certain


class Tile:
    """The pixels in rows and columns of the scene: their spectra, and what each of their windows has one number of, or one of each band.

    block, windows, counts, targets: as `local_products` has them.
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
        tops, lefts = [first - north for first in tops], [first - west for first in lefts]
        down = slice(north - block.row + block.above, tops[0][-1] + windows.outer + north - block.row + block.above)
        beside = slice(west - block.column + block.left, lefts[0][-1] + windows.outer + west - block.column + block.left)
        values, valid = torch.from_numpy(block.values[down, beside]).double(), torch.from_numpy(counts[down, beside]).unsqueeze(2)
        own = values[rows[0] - north : rows[1] - north, columns[0] - west : columns[1] - west]
        # Less a value of each band that occurs: constant bands become 0, and sums stay small.
        self.wanted = torch.from_numpy(block.valid[block.inner][in_block(block, rows, columns)])
        offset = own[self.wanted][::FEW].median(0).values
        values = torch.where(valid, values - offset, 0.0)
        axes = _principal_axes(values.flatten(0, 1), valid.sum())
        values = values @ axes
        own = torch.where(self.wanted.unsqueeze(2), own - offset, 0.0) @ axes
        self.vectors = torch.cat([own.unsqueeze(2), ((targets - offset) @ axes).expand(*own.shape[:2], -1, -1)], 2)
        self.spectra = values
        squares = values.square().sum(2, keepdim=True)
        single = torch.cat([values, values * squares, values.square(), squares.square(), valid.double()], 2)
        self.valid, self.lefts, self.outer = valid[..., 0], lefts[0], windows.outer
        self.down, self.across = (
            [_whether_inside(first, width, size) for first, width in zip(firsts, widths)]
            for firsts, size in zip((tops, lefts), valid.shape)
        )
        outer, inner = (across @ (down @ single.flatten(1)).unflatten(1, single.shape[1:]) for down, across in zip(self.down, self.across))
        bands = cube.bands
        sums = outer - inner
        self.count, self.squares, self.fourth = sums[..., -1].round(), sums[..., 2 * bands : 3 * bands], sums[..., -2]
        self.mean = sums[..., :bands] / self.count.clamp(min=1).unsqueeze(2)
        self.weighted = (sums[..., bands : 2 * bands] * self.mean).sum(2)
        across = values.shape[1]
        first_row, first_column = ([_whole(first[0], width) for first, width in zip(firsts, widths)] for firsts in (tops, lefts))
        below, aside = ([_steps(first, width) for first, width in zip(firsts, widths)] for firsts in (tops, lefts))
        below = [steps[:, 1:] for steps in below]
        self.start = _pixels(first_row, first_column, across), _pixels(below, first_column, across)
        self.changes = _pixels(first_row, aside, across), _pixels(below, aside, across)

    def products(self, columns: slice, products: torch.Tensor, largest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Products (rows, n, v, v) of the pixels in n columns, as `LocalWindows.products` has them, and whether they are free of rounding
        errors.

        products: (rows * n, bands, bands), the sums of products over their windows, which are overwritten. largest: (bands,), the largest
        sums of squares that these have gone through.
        """
        bands, dtype, small = len(largest), products.dtype, CANCELLATION[products.dtype]
        count, fourth, weighted = (each[:, columns].flatten() for each in (self.count, self.fourth, self.weighted))
        squares, mean, vectors = (each[:, columns].flatten(0, 1) for each in (self.squares, self.mean, self.vectors))
        lengths = squares.sum(1)
        products.addcmul_((mean * -count.unsqueeze(1)).to(dtype).unsqueeze(2), mean.to(dtype).unsqueeze(1))
        diagonal = products.diagonal(dim1=1, dim2=2)
        diagonal.copy_(squares - count.unsqueeze(1) * mean.square())  # in double precision: the norm is mostly made of these
        # Of the centred spectra: the sums of their squared lengths.
        offset = mean.square().sum(1)
        total = lengths - count * offset
        enough = count > (bands if self.shrinkage == 0 else 1)
        certain = total > small * largest.sum()
        if self.shrinkage is None:
            along = torch.bmm(mean.to(dtype).unsqueeze(1), products).squeeze(1).double().mul(mean).sum(1)
            raw = fourth + count * offset.square()
            fourth = raw - 4 * weighted + 4 * along + 2 * offset * lengths
            certain &= fourth > CANCELLATION[torch.float64] * raw
            norms = torch.linalg.vector_norm(products, dim=(1, 2)).double().square()
            certain &= norms.sqrt() > NORM[dtype] * torch.linalg.vector_norm(largest)
            share = shrinkage_by_sums(norms, total, fourth, count, bands)
        else:
            share = torch.full_like(count, self.shrinkage)
        # The matrix is a multiple of the products with something added to their diagonal.
        multiple = ((1 - share) / (count - 1)).clamp(min=torch.finfo(torch.float32).tiny ** 0.25)
        added = share * total / (count - 1) / bands / multiple
        diagonal += added.to(dtype).unsqueeze(1)
        certain &= (diagonal > small * largest).all(1)
        vectors = vectors - mean.unsqueeze(1)
        if not enough.all():
            products[~enough], vectors[~enough] = 0, 0
        solved = torch.zeros_like(enough)
        found = torch.full((len(count), *vectors.shape[1:2] * 2), torch.nan, dtype=torch.float64)
        if self.alike:
            solution, solved = _conjugate_gradients(products, vectors.to(dtype))
            forms = self._forms(columns, solution, mean) + added.view(-1, 1, 1) * (solution @ solution.mT)
            # Where the solution lies along directions without variance, there is nothing but rounding errors.
            solved &= (forms.diagonal(dim1=1, dim2=2) >= small * (solution.square() @ largest)).all(1)
            # Of solutions that are a little off, this is off by the square of that.
            both = vectors @ solution.mT.double()
            found = both + both.mT - forms
        left = (enough & ~solved).nonzero()[:, 0]
        if len(left) and dtype == torch.float64:
            found[left], solved[left] = _by_factors(products[left], vectors[left], largest)
        found = torch.where(enough.view(-1, 1, 1), found / multiple.view(-1, 1, 1), torch.nan)
        certain = certain & solved | ~enough
        return found.unflatten(0, (len(self.wanted), -1)), certain.view(len(self.wanted), -1)

    def _forms(self, columns: slice, vectors: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """The products (n, v, v) float64 of vectors (n, v, bands) with the sums of products of centred spectra in the windows of the pixels
        in `columns`: from the spectra, without what sliding adds up.
        """
        dtype = vectors.dtype
        beside = slice(self.lefts[columns.start], self.lefts[columns.stop - 1] + self.outer)
        outer, inner = (
            down.to(dtype)[:, None, :, None] * across[columns, beside].to(dtype)[None, :, None]
            for down, across in zip(self.down, self.across)
        )
        used = ((outer - inner) * self.valid[:, beside]).flatten(2).flatten(0, 1).unsqueeze(1)
        along = vectors @ self.spectra[:, beside].flatten(0, 1).to(dtype).T
        along = (along - (vectors * mean.unsqueeze(1)).sum(2, keepdim=True).to(dtype)) * used
        return (along @ along.mT).double()


class _Sums:
    """The sums of products over the windows of a tile, which slide from its first columns to its last ones.

    A window differs from the one to its left by the column that enters and the one that leaves, and this difference from that in the row
    above by the four pixels at the ends of these columns.
    """

    def __init__(self, tile: Tile, dtype: torch.dtype, most: int) -> None:
        """most: columns at a time."""
        self.spectra = tile.spectra.flatten(0, 1).to(dtype)
        (first, later), self.changes = ([(place, sign.to(dtype)) for place, sign in both] for both in (tile.start, tile.changes))
        self.sums = torch.empty(len(tile.wanted), most, *self.spectra.shape[1:] * 2, dtype=dtype)
        self.before = self._down(first, later, self.sums[:, :1])[:, 0].clone()
        self.largest = self.before.diagonal(dim1=1, dim2=2).amax(0)

    def slide(self, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums (rows * n, bands, bands) of the windows in the n columns after the last ones, and the largest sums of squares so far."""
        count = columns.stop - columns.start
        first, later = ((place[:, columns], sign[:, columns]) for place, sign in self.changes)
        sums = self._down(first, later, self.sums[:, :count])
        for column in range(count):
            sums[:, column] += sums[:, column - 1] if column else self.before
        self.before.copy_(sums[:, -1])
        sums = sums.flatten(0, 1)
        self.largest = torch.maximum(self.largest, sums.diagonal(dim1=1, dim2=2).contiguous().amax(0))
        return sums, self.largest

    def _down(self, first: tuple[torch.Tensor, torch.Tensor], later: tuple[torch.Tensor, torch.Tensor], out: torch.Tensor) -> torch.Tensor:
        """Sums of products (rows, n, bands, bands) of pixels in `first`, and in each row below of those above and of those in `later`."""
        spectra = self.spectra[first[0][0]]
        torch.bmm(spectra.mT, spectra * first[1][0], out=out[0])
        spectra = self.spectra[later[0]]
        for row, (left, right) in enumerate(zip(spectra.mT, spectra * later[1])):
            torch.baddbmm(out[row], left, right, out=out[row + 1])
        return out


def _principal_axes(spectra: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """The principal axes (bands, bands) of spectra (n, bands), of which all but `count` are 0, so long that their mean variance is 1."""
    count = count.clamp(min=1)
    mean = spectra.sum(0) / count
    variances, axes = torch.linalg.eigh(spectra.T @ spectra / count - mean.outer(mean))
    scale = variances.mean()
    return axes / scale.sqrt() if scale > 0 else axes


def _whether_inside(firsts: np.ndarray, width: int, size: int) -> torch.Tensor:
    """Which of `size` rows (or columns) lie in windows with these first ones (n,): (n, size) float64, 1 or 0."""
    after = torch.arange(size) - torch.from_numpy(firsts).unsqueeze(1)
    return ((after >= 0) & (after < width)).double()


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
    return torch.from_numpy(place), torch.from_numpy(sign).unsqueeze(3)


def _conjugate_gradients(matrices: torch.Tensor, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """M^-1 v of vectors (n, v, bands) with matrices M (n, bands, bands), and which are solved (n,).

    Preconditioned by the diagonals of the matrices.
    M. R. Hestenes and E. Stiefel, "Methods of conjugate gradients for solving linear systems", Journal of Research of the National Bureau
    of Standards 49, 1952.
    """
    inverse = 1 / matrices.diagonal(dim1=1, dim2=2).clamp(min=TINY).unsqueeze(1)
    solution, residual = torch.zeros_like(vectors), vectors.clone()
    direction = residual * inverse
    energy = torch.linalg.vecdot(residual, direction)
    missing = TOLERANCE * energy
    for _ in range(ITERATIONS):
        ahead = torch.bmm(direction, matrices)
        step = (energy / torch.linalg.vecdot(direction, ahead).clamp(min=TINY)).unsqueeze(2)
        solution.addcmul_(step, direction)
        residual.addcmul_(step, ahead, value=-1)
        preconditioned = residual * inverse
        before, energy = energy, torch.linalg.vecdot(residual, preconditioned)
        if (energy <= missing).all():
            break
        direction = torch.addcmul(preconditioned, (energy / before.clamp(min=TINY)).unsqueeze(2), direction)
    return solution, (energy <= missing).all(1)


def _by_factors(matrices: torch.Tensor, vectors: torch.Tensor, largest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_conjugate_gradients`, but the products v^T M^-1 v (n, v, v), by factorising each matrix."""
    factors, failed = torch.linalg.cholesky_ex(matrices)
    half = torch.linalg.solve_triangular(factors, vectors.mT, upper=False)
    pivots = factors.diagonal(dim1=1, dim2=2)
    return half.mT @ half, (failed == 0) & (pivots.square() > CANCELLATION[matrices.dtype] * largest).all(1)
