"""The pixels between an inner and an outer window around each pixel: the local background, with its mean and covariance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ...core.cube import Block, Cube

CHUNK = 2**20  # numbers in the windows that are worked on at a time


class LocalWindows:
    """Windows around the pixels of a scene.

    inner, outer: their odd widths in pixels. At the edges of the scene both are moved inwards and keep their size, as those of Spectral
        Python are.
    shrinkage: share of a multiple of the identity, with the same mean variance, in the covariance, 0..1. None chooses it in each window by
        the formula of O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
        Multivariate Analysis 88, 2004, and works when the windows hold fewer pixels than bands; 0 is the covariance itself and does not.
    """

    def __init__(self, inner: int, outer: int, shrinkage: float | None) -> None:
        if inner < 1 or inner % 2 == 0 or outer % 2 == 0 or outer <= inner:
            raise ValueError(f"inner and outer window have to be odd, and the outer one larger; these are {inner} and {outer}")
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise ValueError(f"the shrinkage has to lie between 0 and 1; this is {shrinkage}")
        self.inner, self.outer, self.shrinkage = inner, outer, shrinkage

    @property
    def context(self) -> int:
        """Rows and columns around a pixel that its windows may reach: so far where they are moved inwards at an edge."""
        return self.outer - 1

    @property
    def pixels(self) -> int:
        """How many lie between the windows."""
        return self.outer**2 - self.inner**2

    def check(self, cube: Cube, what: str) -> None:
        """Raise ValueError where the outer window does not fit into the scene, or holds too few pixels to do without shrinkage.

        what: the detector, in words.
        """
        if self.outer > min(cube.rows, cube.columns):
            raise ValueError(
                f"the outer window of {self.outer} pixels is larger than the scene of {cube.rows} rows and {cube.columns} columns"
            )
        if self.shrinkage == 0 and self.pixels <= cube.bands:
            raise ValueError(
                f"the windows hold {self.pixels} pixels for {cube.bands} bands: {what} needs shrinkage here, or a larger outer window"
            )

    def around(self, centres: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (or columns) of the outer windows (n, outer) around centres (n,), and which of them lie in the inner window (n, outer)."""
        outer = np.clip(centres - self.outer // 2, 0, size - self.outer)[:, None] + np.arange(self.outer)
        inner = np.clip(centres - self.inner // 2, 0, size - self.inner)[:, None]
        return outer, (outer >= inner) & (outer < inner + self.inner)

    def spectra(
        self, cube: Cube, block: Block, valid: torch.Tensor, rows: np.ndarray, columns: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Spectra (n, m, bands) float64 between the windows around pixels of the scene, and which of them are valid (n, m).

        block: with `context` rows and columns of context around the pixels. valid: (rows, columns) bool tensor, which pixels of the block
        count. rows, columns: (n,) of the pixels.
        """
        window_rows, inner_rows = self.around(rows, cube.rows)
        window_columns, inner_columns = self.around(columns, cube.columns)
        window, i, j = np.nonzero(~(inner_rows[:, :, None] & inner_columns[:, None, :]))
        place = (
            torch.from_numpy(window_rows[window, i] - block.row + block.above).view(len(rows), self.pixels),
            torch.from_numpy(window_columns[window, j] - block.column + block.left).view(len(rows), self.pixels),
        )
        return torch.from_numpy(block.values)[place].double(), valid[place]

    def statistics(self, spectra: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (bands,) and shrunk covariance (bands, bands) of spectra (n, bands) float64, as `products` has them."""
        mean = spectra.mean(0)
        centred = spectra - mean
        count, bands = centred.shape
        products = centred.T @ centred
        share: float | torch.Tensor
        if self.shrinkage is not None:
            share = self.shrinkage
        else:
            share = ledoit_wolf_shrinkage(centred[None], products[None], torch.tensor([float(count)], dtype=torch.float64))[0]
        identity = torch.eye(bands, dtype=torch.float64) * products.trace() / (count - 1) / bands
        return mean, (1 - share) * products / (count - 1) + share * identity

    def products(self, vectors: torch.Tensor, background: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
        """The products (n, v, v) a^T C^-1 b of vectors (n, v, bands) less the mean of their background, with its covariance C.

        background: (n, m, bands), of which `used` (n, m) count. Their diagonals are squared Mahalanobis distances.
        """
        used = used.to(background.dtype).unsqueeze(2)
        count = used.sum(1)
        mean = (background * used).sum(1) / count
        background = (background - mean.unsqueeze(1)) * used
        vectors = vectors - mean.unsqueeze(1)
        pixels, bands = background.shape[1:]
        # The products between pixels have the same trace and norm as those between bands, and are fewer where windows are small.
        by_pixels = pixels < bands and self.shrinkage != 0
        products = background @ background.mT if by_pixels else background.mT @ background
        count = count[:, 0]
        share = ledoit_wolf_shrinkage(background, products, count) if self.shrinkage is None else torch.full_like(count, self.shrinkage)
        variance = background.square().sum((1, 2)) / (count - 1) / bands
        identity = share * variance
        products *= ((1 - share) / (count - 1)).view(-1, 1, 1)
        diagonal = products.diagonal(dim1=1, dim2=2)
        diagonal += identity.unsqueeze(1)
        if not by_pixels:
            result = _inverse_products(products, vectors.mT)
        else:
            # Woodbury: the inverse of a X^T X + b I by that of a X X^T + b I
            explained = _inverse_products(products, background @ vectors.mT) * ((1 - share) / (count - 1)).view(-1, 1, 1)
            result = (vectors @ vectors.mT - explained) / identity.view(-1, 1, 1)
        # Without shrinkage, distances need more pixels than bands; of identical pixels there is no distance at all.
        known = (count > (bands if self.shrinkage == 0 else 1)) & (variance > 0)
        return torch.where(known.view(-1, 1, 1), result, torch.nan)


def cut(first: int, count: int, step: int) -> list[tuple[int, int]]:
    """`count` numbers from `first` on in parts of about `step`, of which none is much smaller than the others."""
    edges = [first + round(share * count) for share in np.linspace(0, 1, max(1, round(count / step)) + 1)]
    return list(zip(edges, edges[1:]))


def in_block(block: Block, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the scene among a block's own pixels."""
    return slice(rows[0] - block.row, rows[1] - block.row), slice(columns[0] - block.column, columns[1] - block.column)


def at_a_time(count: int, numbers: int) -> Iterator[slice]:
    """Slices of `count` pixels, so that not too much is worked on at a time. numbers: how many each pixel needs."""
    step = max(1, CHUNK // numbers)
    return (slice(start, start + step) for start in range(0, count, step))


def ledoit_wolf_shrinkage(centred: torch.Tensor, products: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Share of the identity (n,) of n samples of centred vectors (n, m, size), of which `count` (n,) are not zero rows.

    products: (n, size, size) or (n, m, m), the sums of products between the components or between the vectors.
    """
    norms = centred.square().sum(2)
    return shrinkage_by_sums(products.square().sum((1, 2)), norms.sum(1), norms.square().sum(1), count, centred.shape[2])


def shrinkage_by_sums(norms: torch.Tensor, total: torch.Tensor, fourth: torch.Tensor, count: torch.Tensor, size: int) -> torch.Tensor:
    """As `ledoit_wolf_shrinkage`, by the squared Frobenius norms of the products, the sums of the squared lengths of the vectors, and of
    the squares of these (n,).
    """
    square = norms / count**2
    noise = (fourth / count - square) / count
    distance = square - (total / count) ** 2 / size
    return torch.where(distance > 0, (noise / distance).clamp(0, 1), torch.ones_like(distance))


def _inverse_products(matrices: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """V^T M^-1 V (n, v, v) for symmetric matrices (n, size, size) and V (n, size, v), by the pseudo-inverse where one is singular."""
    factors, failed = torch.linalg.cholesky_ex(matrices)
    half = torch.linalg.solve_triangular(factors, vectors, upper=False)
    result = half.mT @ half
    for i in failed.nonzero()[:, 0].tolist():
        if torch.isfinite(matrices[i]).all():
            result[i] = vectors[i].T @ torch.linalg.pinv(matrices[i], hermitian=True) @ vectors[i]
    return result
