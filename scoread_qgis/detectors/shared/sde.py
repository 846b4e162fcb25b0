"""The variance-exploding stochastic differential equation (VE-SDE) that perturbs spectra.

Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations", ICLR 2021, in the form that ScoreAD uses
(arXiv 2601.12379): dx = sigma^t dw, t in (0, 1].
"""

from __future__ import annotations

import math

import torch


class VESDE:
    """dx = sigma^t dw. Its perturbation kernel is x_t = x + std(t) z with z ~ N(0, I)."""

    def __init__(self, sigma: float = 5.0) -> None:
        if not sigma > 1:
            raise ValueError(f"sigma is the base of a growing noise scale and must be greater than 1; it is {sigma}")
        self.sigma = float(sigma)

    def std(self, t: torch.Tensor) -> torch.Tensor:
        """Standard deviation of the perturbation kernel, sqrt((sigma^(2t) - 1) / (2 ln sigma)), at each time of the tensor t."""
        log_sigma = math.log(self.sigma)
        # expm1, because sigma^(2t) - 1 loses most of float32's digits at the small t that detection uses.
        return torch.sqrt(torch.expm1(2 * log_sigma * t) / (2 * log_sigma))

    def perturb(self, x: torch.Tensor, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Perturbed spectra x_t = x + std(t) z; x and z (..., bands), t of the leading shape or one that broadcasts to it."""
        return x + self.std(t)[..., None] * z
