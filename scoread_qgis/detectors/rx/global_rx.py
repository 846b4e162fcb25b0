"""Global RX: the squared Mahalanobis distance of a spectrum from the mean of the scene.

I. S. Reed and X. Yu, "Adaptive multiple-band CFAR detection of an optical pattern with unknown spectral distribution", IEEE Transactions on
Acoustics, Speech, and Signal Processing 38, 1990.
"""

import torch

from ...core.progress import Progress
from ..contract import Detector, Scorer, passes, scattered, valid_spectra
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

    def gather(self, cube, progress=None):
        """`GaussianStatistics` of the valid spectra of a cube."""
        statistics = GaussianStatistics()
        for block, _ in passes(cube, progress=progress, phase="RX, statistics"):
            statistics.add(valid_spectra(block))
        return statistics

    def bind(self, cube, gathered=None, progress=None):
        """Raises ValueError where there are too few valid pixels for a covariance."""
        return GlobalRXScorer(cube, MahalanobisDistance(gathered or self.gather(cube, progress or Progress())))

    def state(self):
        return {}

    @classmethod
    def from_state(cls, state, device="cpu"):
        return cls()


class GlobalRXScorer(Scorer):
    """distance: `MahalanobisDistance` from the background of the scene."""

    phase = "RX, map"

    def __init__(self, cube, distance):
        super().__init__(cube)
        self.distance = distance

    def values(self, block, tell):
        return scattered(self.distance(valid_spectra(block)), block.valid[block.inner])

    def explain(self, spectra, positions, backgrounds, progress=None):
        """The shares of the bands are the terms of the difference of two Mahalanobis distances."""
        spectra, backgrounds = torch.as_tensor(spectra), torch.as_tensor(backgrounds)
        what = "RX, the squared Mahalanobis distance from the mean of the scene"
        return Explanation(
            self.distance(spectra).numpy(),
            self.distance(backgrounds).numpy(),
            self.distance.contributions(spectra, backgrounds).numpy(),
            what,
        )
