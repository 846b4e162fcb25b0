"""New spectra sampled from a score-based generative model, which show what it has learnt."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...core.progress import Progress
from ..shared.sde import VESDE

TIMES = (1.0, 1e-3)
STEPS = 500
SIGNAL_TO_NOISE = 0.16


@torch.no_grad()
def predictor_corrector(
    score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    sde: VESDE,
    start: torch.Tensor,
    seed: int = 0,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Spectra (n, bands) sampled with a score, from noise at t = 1 down to t = 0.001.

    Each step is one of Langevin dynamics (corrector, signal-to-noise ratio 0.16) and one of the reverse SDE (predictor, Euler-Maruyama):
    Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations", ICLR 2021, algorithm 2, as ScoreAD samples.

    score: function (x_t (n, bands), t (1,)) -> (n, bands). sde: `VESDE`. start: (n, bands), drawn from the distribution at t = 1.
    """
    progress = progress or Progress()
    generator = torch.Generator().manual_seed(seed)
    times = torch.linspace(*TIMES, steps + 1)
    x = start

    def noise() -> torch.Tensor:
        return torch.randn(start.shape, generator=generator).to(start.device)

    for number in range(steps):
        if number % 10 == 0:
            progress(number / steps, f"sampling spectra from the model, step {number + 1} of {steps}")
        t = times[number : number + 1].to(start.device)
        z, s = noise(), score(x, t)
        length = 2 * (SIGNAL_TO_NOISE * z.norm(dim=1).mean() / s.norm(dim=1).mean()) ** 2
        x = x + length * s + (2 * length).sqrt() * z
        # The variance that the SDE adds between two times is what the reverse step removes; sigma^(2t) dt, its limit, is not
        # needed.
        removed = sde.std(t) ** 2 - sde.std(times[number + 1 : number + 2].to(start.device)) ** 2
        mean = x + removed * score(x, t)
        x = mean + removed.sqrt() * noise()
    progress(1.0, "spectra sampled")
    return mean  # without the noise of the last step
