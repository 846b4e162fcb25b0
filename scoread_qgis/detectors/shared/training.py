"""Training of a score network by denoising score matching: one loop, with the published settings.

Vincent, "A connection between score matching and denoising autoencoders", Neural Computation 2011; Song et al., ICLR 2021.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from ...core.progress import Progress
from .adam import Adam
from .sde import VESDE

CURVE_POINTS = 100
REPORT_SECONDS = 0.2
DECAY = 0.01  # of the weights


def train_score_network(
    network: nn.Module,
    spectra: torch.Tensor,
    sde: VESDE,
    steps: int,
    batch_size: int,
    learning_rate: float,
    times: tuple[float, float],
    context: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[float]:
    """Train `network` in place, on the device of `spectra`, and return the loss curve: at most 100 mean losses of equal parts.

    network: module with network(x_t, t, context) -> (n, bands), the scaled score std(t) * S(x_t, t), whose best value is minus the
        expected noise z; the score itself is the output divided by std(t). x_t: (n, bands) perturbed spectra; t: (n,) times, in a readout
        (1,), one time for all; context: (n, features) or None.
    spectra: (pixels, bands) float32 tensor. sde: `VESDE`.
    steps, batch_size, learning_rate: AdamW steps, each on batch_size spectra; spectra are reshuffled in every epoch (pass over all).
    times: (lowest, highest) t; each spectrum of a batch draws its own, uniformly.
    context: function(indices into spectra (n,), x_t (n, bands)) -> (n, features), or None.
    seed: of shuffling, times and noise, drawn on the CPU so that they are the same on every device; the same seed gives the same weights on
        the same CPU. Initial weights: see `weights.draw_weights`.

    Raises ValueError where the training diverges: where the loss or the weights are no longer finite.

    The loss is the mean over spectra of ||std(t) S(x_t, t) + z||^2: denoising score matching with weight std(t)^2.
    """
    progress = progress or Progress()
    device = spectra.device
    generator = torch.Generator().manual_seed(seed)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = Adam(weights, learning_rate, decay=DECAY)

    network.train()
    loss_curve, recent, last_report = [], torch.zeros((), device=device), 0.0
    part = math.ceil(steps / CURVE_POINTS)
    for step, indices in enumerate(_batches(len(spectra), batch_size, steps, generator), start=1):
        z = torch.randn(len(indices), spectra.shape[1], generator=generator)
        t = times[0] + (times[1] - times[0]) * torch.rand(len(indices), generator=generator)
        indices, z, t = indices.to(device), z.to(device), t.to(device)
        x_t = sde.perturb(spectra[indices], t, z)

        predicted = network(x_t, t, None if context is None else context(indices, x_t))
        loss = (predicted + z).square().sum(dim=1).mean()
        loss.backward()
        optimizer.step()

        recent += loss.detach()
        if step % part == 0 or step == steps:
            loss_curve.append(recent.item() / ((step - 1) % part + 1))
            if not math.isfinite(loss_curve[-1]):
                raise _diverged(step, steps, learning_rate, sde)
            recent.zero_()
        if time.monotonic() - last_report > REPORT_SECONDS or step == steps:
            progress(step / steps, f"training, step {step} of {steps}, loss {loss.item():.4g}")
            last_report = time.monotonic()
    if not all(torch.isfinite(weight).all() for weight in weights):
        raise _diverged(steps, steps, learning_rate, sde)
    network.eval()
    return loss_curve


def _diverged(step: int, steps: int, learning_rate: float, sde: VESDE) -> ValueError:
    return ValueError(
        f"the training diverged: at step {step} of {steps} the loss or the weights are no longer finite. Choose a smaller learning rate "
        f"(it is {learning_rate:g}) or, in the paper mode, a smaller sigma (it is {sde.sigma:g}), and look for out-of-range values in the "
        "scene"
    )


def shares(count: int, scenes: int) -> list[int]:
    """How many of `count` training pixels each of several scenes contributes: as equal as possible, larger shares first.

    Raises ValueError where there are fewer pixels than scenes.
    """
    if count < scenes:
        raise ValueError(
            f"{scenes} scenes cannot share {count} training pixels: each must contribute at least one. Raise the number of training pixels "
            f"to {scenes} or more"
        )
    return [count // scenes + (number < count % scenes) for number in range(scenes)]


def _batches(pixels: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield `steps` tensors of indices: shuffled epochs cut into batches, of which the last one in an epoch may be smaller."""
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) == 0:
            order = torch.randperm(pixels, generator=generator)
        yield order[:batch_size]
        order = order[batch_size:]
