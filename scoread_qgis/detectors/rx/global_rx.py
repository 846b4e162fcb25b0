"""Global RX: the squared Mahalanobis distance of a spectrum from the mean of the scene.

I. S. Reed and X. Yu, "Adaptive multiple-band CFAR detection of an optical pattern with unknown spectral distribution", IEEE Transactions on
Acoustics, Speech, and Signal Processing 38, 1990.
"""

from __future__ import annotations

import numpy as np
import torch

from ...core.cube import Block, Cube
from ...core.progress import Progress
from ..contract import Detector, Scorer, Tell, passes, scattered, valid_spectra
from ..shared.checks import State
from ..shared.explanation import Explanation
from ..shared.statistics import GaussianStatistics, MahalanobisDistance


class GlobalRX(Detector):
    """RX against the mean and the covariance of all valid pixels of the scene.

    Two passes over the scene: one for the statistics, one for the map, which equals that of `spectral.rx` in Spectral Python.
    """

    kind, title = "rx", "RX, global"
    score_name = "RX anomaly score"
    keeps_model = False
    gathered = GaussianStatistics
    binding_share = 0.5

    def gather(self, cube: Cube, progress: Progress | None = None) -> GaussianStatistics:
        """`GaussianStatistics` of the valid spectra of a cube."""
        statistics = GaussianStatistics()
        for block, _ in passes(cube, progress=progress, phase="RX, statistics"):
            statistics.add(valid_spectra(block))
        return statistics

    def bind(self, cube: Cube, gathered: GaussianStatistics | None = None, progress: Progress | None = None) -> GlobalRXScorer:
        """Raises ValueError where there are too few valid pixels for a covariance."""
        return GlobalRXScorer(cube, MahalanobisDistance(gathered or self.gather(cube, progress or Progress())))

    def state(self) -> State:
        return {}

    @classmethod
    def from_state(cls, state: State, device: torch.device | str = "cpu") -> GlobalRX:
        return cls()


class GlobalRXScorer(Scorer):
    """distance: `MahalanobisDistance` from the background of the scene."""

    phase = "RX, map"

    def __init__(self, cube: Cube, distance: MahalanobisDistance) -> None:
        super().__init__(cube)
        self.distance = distance

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        return scattered(self.distance(valid_spectra(block)), block.valid[block.inner])

    def explain(self, spectra: np.ndarray, positions: np.ndarray, backgrounds: np.ndarray, progress: Progress | None = None) -> Explanation:
        """The shares of the bands are the terms of the difference of two Mahalanobis distances."""
        observed, expected = torch.as_tensor(spectra), torch.as_tensor(backgrounds)
        what = "RX, the squared Mahalanobis distance from the mean of the scene"
        return Explanation(
            self.distance(observed).numpy(),
            self.distance(expected).numpy(),
            self.distance.contributions(observed, expected).numpy(),
            what,
        )
