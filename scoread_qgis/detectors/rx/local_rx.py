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
from ..shared.local_products import FEWEST_ROWS, local_products
from ..shared.local_windows import LocalWindows


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
    fewest_rows = FEWEST_ROWS

    def __init__(self, cube: Cube, windows: LocalWindows) -> None:
        super().__init__(cube)
        self.windows = windows
        self.context = windows.context

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        none = torch.empty(0, self.cube.bands, dtype=torch.float64)
        return local_products(self.cube, block, self.windows, block.valid, none, tell)[..., 0, 0].float().numpy()

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
