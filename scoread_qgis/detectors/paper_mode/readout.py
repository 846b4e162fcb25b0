"""Readouts: from the scores of a perturbed spectrum to an anomaly value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ..shared.sde import VESDE

# Rows of network input in one pass: on a CPU what its caches hold, on a GPU what keeps it busy.
PASS_ROWS_CPU = 256
PASS_ROWS_GPU = 16384


def pass_rows(device: torch.device | str) -> int:
    return PASS_ROWS_CPU if torch.device(device).type == "cpu" else PASS_ROWS_GPU


class PixelNoise:
    """Standard normal perturbations for the pixels of one row of a scene, pixel after pixel.

    They depend on the seed and the row of the scene alone, not on how the scene is cut in blocks or the row in passes.
    """

    def __init__(self, seed: int, row: int) -> None:
        # torch keeps 32 bits of a seed; SeedSequence spreads seed and row over them.
        self._generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, row]).generate_state(1)[0]))

    def skip(self, pixels: int, perturbations: int, bands: int) -> None:
        """Leave out the next pixels."""
        of_pixel = torch.empty(perturbations, bands)
        for _ in range(pixels):
            of_pixel.normal_(generator=self._generator)

    def draw(self, pixels: int, perturbations: int, bands: int) -> torch.Tensor:
        """The noise of the next pixels: float32 tensor (pixels, perturbations, bands)."""
        # One call for each pixel: torch fills a tensor in groups of 16, so that the numbers would depend on the size of the call.
        noise = torch.empty(pixels, perturbations, bands)
        for of_pixel in noise:
            of_pixel.normal_(generator=self._generator)
        return noise


def perturbed_scores(
    network: nn.Module,
    sde: VESDE,
    spectra: torch.Tensor,
    t: float,
    z: torch.Tensor,
    context: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Scores (pixels, K, bands) of spectra (pixels, bands), each perturbed K times, at one time t.

    network: as in `training.train_score_network`. z: standard normal (pixels, K, bands), or (1, K, bands) for the same in all pixels.
    context: function(x_t (pixels, K, bands)) -> (pixels, K, features), or None.
    """
    time = torch.tensor([t], dtype=spectra.dtype, device=spectra.device)
    x_t = sde.perturb(spectra[:, None], time, z)
    features = None if context is None else context(x_t).flatten(0, 1)
    return network(x_t.flatten(0, 1), time, features).view(x_t.shape) / sde.std(time)


def unit_score_sum(scores: torch.Tensor) -> torch.Tensor:
    """The anomaly value of ScoreAD (arXiv 2601.12379): length of the sum of the scores, each scaled to length 1.

    scores: (pixels, K, bands); returns (pixels,), in 0..K.
    The scores of a background spectrum point everywhere and cancel; those of an anomaly agree on the way back to the background.
    """
    return torch.nn.functional.normalize(scores, dim=-1).sum(dim=-2).norm(dim=-1)
