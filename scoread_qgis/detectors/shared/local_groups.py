"""The local background of the pixels of a tile, for groups of neighbours at a time, whose windows share most of their pixels.

The mean covariance of a tile whitens the spectra, so that the covariance of each window is near the identity. Conjugate gradients then
solve it in a few steps, which are products with the spectra around the group, for all of its windows at a time: no covariance is made for a
single pixel.

M. R. Hestenes and E. Stiefel, "Methods of conjugate gradients for solving linear systems", Journal of Research of the National Bureau of
Standards 49, 1952.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch

from ...core.cube import Block, Cube
from .local_windows import LocalWindows, cut, in_block, shrinkage_by_sums

TILE = 16, 16  # rows and columns of pixels that share their whitening: more of them share it, but it suits each less
GROUP = 8  # rows and columns of pixels in a group: more of them share what is made once, but less of their windows
ITERATIONS = 60  # of conjugate gradients, of which 8 to 12 do
TOLERANCE = 1e-6  # of a squared distance: with steps that add less, conjugate gradients end
CANCELLATION = {torch.float32: 0.1, torch.float64: 1e-9}  # share of what was subtracted below which what is left is not trusted
SINGULAR = 1e-5  # smallest variance of a window, where that of its tile is 1, that is trusted
UNEVEN = 1e3  # times the smallest variance of the windows of a tile, beyond which conjugate gradients need double precision
FEW = 8  # one in so many pixels of a tile is looked at for a value in their midst
PAIRS = 128  # spectra whose products with all spectra are made at a time
TINY = 1e-30


class _Group:
    """What tells the shrunk covariances C of windows that share their spectra.

    spectra: (m, bands). used: (n, m), 1 where a spectrum lies in a window, 0 elsewhere. Both are float64.

    C / trace C is the sum of the products of the centred spectra times `multiple`, plus the identity times `added`, of the windows that are
    `known`.
    """

    def __init__(self, spectra: torch.Tensor, used: torch.Tensor, shrinkage: float | None) -> None:
        bands, self.used, self.count = spectra.shape[1], used, used.sum(1)
        self.enough = self.count > (bands if shrinkage == 0 else 1)
        self.mean = used @ spectra / self.count.clamp(min=1).unsqueeze(1)
        raw = used @ spectra.square().sum(1)
        self.total = raw - self.count * self.mean.square().sum(1)  # sums of the squared lengths of the centred spectra
        self.known = self.enough & (self.total > CANCELLATION[torch.float64] * raw)
        share = torch.full_like(self.count, shrinkage) if shrinkage is not None else self._chosen_shrinkage(spectra)
        self.multiple = torch.where(self.known, (1 - share) / self.total, 0.0)
        self.added = torch.where(self.known, share / bands, 0.0)

    def _chosen_shrinkage(self, spectra: torch.Tensor) -> torch.Tensor:
        """As `LocalWindows` chooses it; changes `known`. In single precision, unless little is left of what is subtracted."""
        if not self.known.any():
            return torch.zeros_like(self.count)
        centre, scale = self.mean[self.known].mean(0), (self.total / self.count)[self.known].mean().sqrt()
        for dtype in (torch.float32, torch.float64):
            centred, mean, used = (each.to(dtype) for each in ((spectra - centre) / scale, (self.mean - centre) / scale, self.used))
            along, offset, lengths = mean @ centred.T, mean.square().sum(1), centred.square().sum(1)
            fourth = ((lengths - 2 * along + offset.unsqueeze(1)) * used).square().sum(1).double()
            raw = _squared_norms(centred, used).double()
            shift = 2 * self.count * (along.square_() * used).sum(1).double() - (self.count * offset.double()).square()
            certain = raw - shift > CANCELLATION[dtype] * raw
            if certain[self.known].all():
                break
        self.known &= certain
        return shrinkage_by_sums(raw - shift, self.total / scale.square(), fourth, self.count, spectra.shape[1])

    def products(
        self, vectors: torch.Tensor, spectra: torch.Tensor, identity: torch.Tensor, whitening: torch.Tensor, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Products (n, v, v) with C^-1 of vectors (n, v, bands) less the mean, and whether they are certain (n,).

        spectra: (m, bands) whitened. identity: (bands, bands), in their space. dtype: the precision to solve in.
        """
        vectors = torch.where(self.known.view(-1, 1, 1), vectors - self.mean.unsqueeze(1), 0.0) @ whitening
        solution, solved = _conjugate_gradients(vectors.to(dtype), self._covariances(spectra.to(dtype), identity.to(dtype)))
        # In double precision, so that rounding errors of the solution count by their square as well.
        residual = vectors - self._covariances(spectra, identity)(solution)
        along, missing = vectors @ solution.mT, residual @ solution.mT
        variances = (along - missing).diagonal(dim1=1, dim2=2)
        solved &= (variances >= SINGULAR * solution.square().sum(2)).all(1) & self.known
        # Of solutions that are a little off, this is off by the square of that.
        scale = torch.where(self.known, (self.count - 1) / self.total, torch.nan)
        return (along + missing.mT) * scale.view(-1, 1, 1), solved | ~self.enough

    def _covariances(self, spectra: torch.Tensor, identity: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Function of vectors (n, v, bands): the products of the covariances with them, in the precision of the whitened spectra."""
        dtype = spectra.dtype
        used = self.used.to(dtype).unsqueeze(1)
        count, multiple, added = (each.to(dtype).view(-1, 1, 1) for each in (self.count.clamp(min=1), self.multiple, self.added))

        def times(vectors: torch.Tensor) -> torch.Tensor:
            along = (multiple * vectors) @ spectra.T
            along *= used
            along.addcmul_(along.sum(2, keepdim=True) / count, used, value=-1)
            return torch.addcmul(along @ spectra, added, vectors @ identity)

        return times


def _conjugate_gradients(vectors: torch.Tensor, covariances: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """C^-1 v float64 of vectors (n, v, bands), and which are solved (n,)."""
    solution, residual, direction = torch.zeros_like(vectors), vectors.clone(), vectors
    energy = torch.linalg.vecdot(residual, residual)
    distance, solved = torch.zeros_like(energy), torch.zeros(energy.shape, dtype=torch.bool)
    for _ in range(ITERATIONS):
        ahead = covariances(direction)
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
    return solution.double(), solved.all(1)


def products_by_groups(
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
    bands, size = cube.bands, 1 + len(targets)
    shape = rows[1] - rows[0], columns[1] - columns[0]
    found = torch.full((*shape, size, size), torch.nan, dtype=torch.float64)
    certain = torch.zeros(shape, dtype=torch.bool)
    in_rows, north = _inside(rows, windows, cube.rows)
    in_columns, west = _inside(columns, windows, cube.columns)
    top, left = north - block.row + block.above, west - block.column + block.left
    around = slice(top, top + in_rows[0].shape[1]), slice(left, left + in_columns[0].shape[1])
    spectra, valid = torch.from_numpy(block.values[around]).double(), torch.from_numpy(counts[around])
    own = spectra[rows[0] - north : rows[1] - north, columns[0] - west : columns[1] - west]
    # Less a value of each band that occurs: constant bands become 0, and sums stay small.
    wanted = torch.from_numpy(block.valid[block.inner][in_block(block, rows, columns)])
    offset = own[wanted][::FEW].median(0).values
    own = torch.where(wanted.unsqueeze(2), own - offset, 0.0)
    vectors = torch.cat([own.unsqueeze(2), (targets - offset).expand(*shape, -1, -1)], 2)
    spectra = torch.where(valid.unsqueeze(2), spectra - offset, 0.0)
    groups, weights = [], torch.zeros(valid.shape, dtype=torch.float64)
    for first_row, last_row in cut(rows[0], shape[0], GROUP):
        for first_column, last_column in cut(columns[0], shape[1], GROUP):
            here = slice(first_row - rows[0], last_row - rows[0]), slice(first_column - columns[0], last_column - columns[0])
            down, across = (_span(inside[0][part]) for inside, part in zip((in_rows, in_columns), here))
            outer, inner = (r[here[0], None, down, None] * c[None, here[1], None, across] for r, c in zip(in_rows, in_columns))
            used = ((outer - inner) * valid[down, across]).flatten(2).flatten(0, 1)
            group = _Group(spectra[down, across].flatten(0, 1), used, windows.shrinkage)
            # The windows count alike, those that vary little as much as those that lie across an edge.
            weights[down, across] += (group.multiple @ used).view(down.stop - down.start, -1)
            groups.append((here, (down, across), group))
    mean, known, multiple, count, total = (
        torch.cat([getattr(group, name) for _, _, group in groups]) for name in ("mean", "known", "multiple", "count", "total")
    )
    flat = spectra.flatten(0, 1)
    common = (flat * weights.view(-1, 1)).T @ flat
    largest = common.diagonal().clone()
    common -= (mean * (multiple * count).unsqueeze(1)).T @ mean
    common.diagonal().add_(sum(group.added.sum() for _, _, group in groups))
    factor, _ = torch.linalg.cholesky_ex(common / known.sum())
    if stopped.is_set():
        return found, certain
    if not (factor.diagonal().square() * known.sum() > CANCELLATION[torch.float64] * largest).all():  # NaN is not, either
        for here, _, group in groups:
            certain[here] = ~group.enough.view(certain[here].shape)
        return found, certain
    whitening = torch.linalg.solve_triangular(factor, torch.eye(bands, dtype=torch.float64), upper=False).T
    dtype = torch.float64 if total[known].max() > UNEVEN * total[known].min() else torch.float32
    spectra, identity = (spectra - mean[known].mean(0)) @ whitening, whitening.T @ whitening
    for here, place, group in groups:
        parts = group.products(vectors[here].flatten(0, 1), spectra[place].flatten(0, 1), identity, whitening, dtype)
        found[here], certain[here] = (part.view(*certain[here].shape, *part.shape[1:]) for part in parts)
    return found, certain


def _inside(ends: tuple[int, int], windows: LocalWindows, size: int) -> tuple[list[torch.Tensor], int]:
    """For the outer and the inner windows around the rows (or columns) from..to of `size`: which rows lie in them (n, height), 1 or 0.

    And the row that is the first of these.
    """
    widths = windows.outer, windows.inner
    firsts = [(torch.arange(*ends) - width // 2).clamp(0, size - width) for width in widths]
    start, stop = int(firsts[0][0]), int(firsts[0][-1]) + windows.outer
    after = [torch.arange(start, stop) - each.unsqueeze(1) for each in firsts]
    return [((each >= 0) & (each < width)).double() for each, width in zip(after, widths)], start


def _span(inside: torch.Tensor) -> slice:
    """The rows (or columns) that lie in any of the windows: `inside` (n, height)."""
    places = inside.any(0).nonzero()
    return slice(int(places[0]), int(places[-1]) + 1)


def _squared_norms(spectra: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """Squared Frobenius norms (n,) of the sums of products of spectra (m, bands) in windows, `used` (n, m): sums of squares of the products
    of all pairs of spectra.
    """
    norms = torch.zeros(len(used), dtype=used.dtype)
    for first in range(0, len(spectra), PAIRS):
        last = min(first + PAIRS, len(spectra))
        squares = (spectra[first:last] @ spectra[:last].T).square_()
        squares[:, :first] *= 2  # the other half of the pairs
        norms += ((used[:, first:last] @ squares) * used[:, :last]).sum(1)
    return norms
