"""Local RX: the squared Mahalanobis distance of a spectrum from the pixels around it.

I. S. Reed and X. Yu, "Adaptive multiple-band CFAR detection of an optical pattern with unknown spectral distribution", IEEE Transactions on
Acoustics, Speech, and Signal Processing 38, 1990.
"""

from __future__ import annotations

import numpy as np
import torch

from ...core.cube import Block, Cube
from ...core.progress import Progress
from ..contract import Detector, Scorer, Tell
from ..shared.checks import State
from ..shared.explanation import Explanation

WINDOW_CHUNK = 2**20  # numbers in the windows that are worked on at a time


class LocalRX(Detector):
    """RX against the pixels between an inner and an outer window around each pixel.

    inner_window, outer_window: their odd widths in pixels. At the edges of the scene both are moved inwards and keep their size, as those
        of `spectral.rx` in Spectral Python are.
    shrinkage: share of a multiple of the identity, with the same mean variance, in the covariance, 0..1. None chooses it in each window by
        the formula of O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
        Multivariate Analysis 88, 2004, and works when the windows hold fewer pixels than bands; 0 is RX as published and does not.
    """

    kind, title = "rx-local", "RX, local"
    score_name = "RX anomaly score"
    keeps_model = False

    def __init__(self, inner_window: int = 5, outer_window: int = 15, shrinkage: float | None = None) -> None:
        if inner_window < 1 or inner_window % 2 == 0 or outer_window % 2 == 0 or outer_window <= inner_window:
            raise ValueError(
                f"inner and outer window have to be odd, and the outer one larger; these are {inner_window} and {outer_window}"
            )
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise ValueError(f"the shrinkage has to lie between 0 and 1; this is {shrinkage}")
        self.inner, self.outer, self.shrinkage = inner_window, outer_window, shrinkage

    def bind(self, cube: Cube, gathered: None = None, progress: Progress | None = None) -> LocalRXScorer:
        """Raises ValueError where the outer window does not fit into the scene, or holds too few pixels to do without shrinkage."""
        if self.outer > min(cube.rows, cube.columns):
            raise ValueError(
                f"the outer window of {self.outer} pixels is larger than the scene of {cube.rows} rows and {cube.columns} columns"
            )
        pixels = self.outer**2 - self.inner**2
        if self.shrinkage == 0 and pixels <= cube.bands:
            raise ValueError(
                f"the windows hold {pixels} pixels for {cube.bands} bands: local RX needs shrinkage here, or a larger outer window"
            )
        return LocalRXScorer(cube, self)

    def window(self, centres: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (or columns) of the outer windows (n, outer) around centres (n,), and which of them lie in the inner window (n, outer)."""
        outer = np.clip(centres - self.outer // 2, 0, size - self.outer)[:, None] + np.arange(self.outer)
        inner = np.clip(centres - self.inner // 2, 0, size - self.inner)[:, None]
        return outer, (outer >= inner) & (outer < inner + self.inner)

    def state(self) -> State:
        return {"inner_window": self.inner, "outer_window": self.outer, "shrinkage": self.shrinkage}

    @classmethod
    def from_state(cls, state: State, device: torch.device | str = "cpu") -> LocalRX:
        return cls(**state)


class LocalRXScorer(Scorer):
    """detector: `LocalRX`. Pixels with too few valid ones around them, or with identical ones, are not scored."""

    phase = "local RX"
    pass_pixels = 1  # row by row

    def __init__(self, cube: Cube, detector: LocalRX) -> None:
        super().__init__(cube)
        self.detector = detector
        self.context = detector.outer - 1  # a window that is moved inwards at an edge reaches that far
        self._pixels = detector.outer**2 - detector.inner**2

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        scores = torch.full((block.rows, block.columns), torch.nan)
        rows, columns = np.nonzero(block.valid[block.inner])
        at_a_time = max(1, WINDOW_CHUNK // (self._pixels * self.cube.bands))
        values, valid = torch.from_numpy(block.values), torch.from_numpy(block.valid)
        for start in range(0, len(rows), at_a_time):
            tell(start / len(rows))
            r, c = rows[start : start + at_a_time], columns[start : start + at_a_time]
            background, used = self._background(block, values, valid, r + block.row, c + block.column)
            spectra = values[torch.from_numpy(r + block.above), torch.from_numpy(c + block.left)].double()
            distance = local_distance(spectra, background, used, self.detector.shrinkage)
            scores[torch.from_numpy(r), torch.from_numpy(c)] = distance.float()
        return scores.numpy()

    def explain(self, spectra: np.ndarray, positions: np.ndarray, backgrounds: np.ndarray, progress: Progress | None = None) -> Explanation:
        """The shares of the bands are the terms of the difference of two Mahalanobis distances."""
        places = np.clip(np.round(positions).astype(int), 0, [self.cube.rows - 1, self.cube.columns - 1])
        scores, background_scores, contributions = [], [], []
        for spectrum, expected, (row, column) in zip(torch.as_tensor(spectra).double(), torch.as_tensor(backgrounds).double(), places):
            block = self.cube.window(row, column, halo=self.context)
            values, valid = torch.from_numpy(block.values), torch.from_numpy(block.valid)
            background, used = self._background(block, values, valid, np.array([row]), np.array([column]))
            mean, covariance = local_statistics(background[0][used[0]], self.detector.shrinkage)
            precision = torch.linalg.pinv(covariance, hermitian=True)
            scores.append((spectrum - mean) @ precision @ (spectrum - mean))
            background_scores.append((expected - mean) @ precision @ (expected - mean))
            contributions.append((spectrum - expected) * (precision @ (spectrum + expected - 2 * mean)))
        what = "local RX, the squared Mahalanobis distance from the mean of the pixels between the windows"
        after, before, shares = (torch.stack(each).numpy() for each in (scores, background_scores, contributions))
        return Explanation(after, before, shares, what)

    def _background(
        self, block: Block, values: torch.Tensor, valid: torch.Tensor, rows: np.ndarray, columns: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Spectra (n, m, bands) float64 between the windows around pixels of the scene, and which of them are valid (n, m)."""
        window_rows, inner_rows = self.detector.window(rows, self.cube.rows)
        window_columns, inner_columns = self.detector.window(columns, self.cube.columns)
        window, i, j = np.nonzero(~(inner_rows[:, :, None] & inner_columns[:, None, :]))
        place = (
            torch.from_numpy(window_rows[window, i] - block.row + block.above).view(len(rows), self._pixels),
            torch.from_numpy(window_columns[window, j] - block.column + block.left).view(len(rows), self._pixels),
        )
        return values[place].double(), valid[place]


def local_statistics(spectra: torch.Tensor, shrinkage: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (bands,) and shrunk covariance (bands, bands) of spectra (n, bands) float64, as `local_distance` has them."""
    mean = spectra.mean(0)
    centred = spectra - mean
    count, bands = centred.shape
    products = centred.T @ centred
    share: float | torch.Tensor
    if shrinkage is not None:
        share = shrinkage
    else:
        share = ledoit_wolf_shrinkage(centred[None], products[None], torch.tensor([float(count)], dtype=torch.float64))[0]
    identity = torch.eye(bands, dtype=torch.float64) * products.trace() / (count - 1) / bands
    return mean, (1 - share) * products / (count - 1) + share * identity


def local_distance(spectra: torch.Tensor, background: torch.Tensor, used: torch.Tensor, shrinkage: float | None) -> torch.Tensor:
    """Squared Mahalanobis distance (n,) of spectra (n, bands) from the used (n, m) ones of their background spectra (n, m, bands)."""
    used = used.to(background.dtype).unsqueeze(2)
    count = used.sum(1)
    mean = (background * used).sum(1) / count
    background = (background - mean.unsqueeze(1)) * used
    difference = spectra - mean
    pixels, bands = background.shape[1:]
    # The products between pixels have the same trace and norm as those between bands, and are fewer where windows are small.
    by_pixels = pixels < bands and shrinkage != 0
    products = background @ background.mT if by_pixels else background.mT @ background
    count = count[:, 0]
    share = ledoit_wolf_shrinkage(background, products, count) if shrinkage is None else torch.full_like(count, shrinkage)
    variance = background.square().sum((1, 2)) / (count - 1) / bands
    identity = share * variance
    products *= ((1 - share) / (count - 1)).view(-1, 1, 1)
    diagonal = products.diagonal(dim1=1, dim2=2)
    diagonal += identity.unsqueeze(1)
    if not by_pixels:
        distance = _inverse_product(products, difference)
    else:
        # Woodbury: the inverse of a X^T X + b I by that of a X X^T + b I
        projected = (background @ difference.unsqueeze(2)).squeeze(2)
        explained = _inverse_product(products, projected) * (1 - share) / (count - 1)
        distance = (difference.square().sum(1) - explained) / identity
    # Without shrinkage, distances need more pixels than bands; of identical pixels there is no distance at all.
    return torch.where((count > (bands if shrinkage == 0 else 1)) & (variance > 0), distance, torch.nan)


def ledoit_wolf_shrinkage(centred: torch.Tensor, products: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Share of the identity (n,) of n samples of centred vectors (n, m, size), of which `count` (n,) are not zero rows.

    products: (n, size, size) or (n, m, m), the sums of products between the components or between the vectors.
    """
    norms = centred.square().sum(2)
    square = products.square().sum((1, 2)) / count**2
    noise = (norms.square().sum(1) / count - square) / count
    distance = square - (norms.sum(1) / count) ** 2 / centred.shape[2]
    return torch.where(distance > 0, (noise / distance).clamp(0, 1), torch.ones_like(distance))


def _inverse_product(matrices: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """v^T M^-1 v for symmetric matrices (n, size, size), by the pseudo-inverse where one is singular."""
    factors, failed = torch.linalg.cholesky_ex(matrices)
    result = torch.linalg.solve_triangular(factors, vectors.unsqueeze(2), upper=False).square().sum((1, 2))
    for i in failed.nonzero()[:, 0].tolist():
        if torch.isfinite(matrices[i]).all():
            result[i] = vectors[i] @ torch.linalg.pinv(matrices[i], hermitian=True) @ vectors[i]
    return result
