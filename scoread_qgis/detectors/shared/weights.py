"""Initial weights of a network, drawn from a generator of the caller's own.

torch's layers draw theirs from the process-wide generator when they are created, even where a model file then overwrites them. Two
concurrent trainings would share one sequence of random numbers, and change that of other plugins. The layers here are made without weights;
`draw_weights` gives them the same weights that torch would have drawn.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


class _WithoutWeights(nn.Module):
    weight: torch.Tensor

    def reset_parameters(self) -> None:
        """Nothing: called by torch's constructor, which would draw here."""

    def draw(self, generator: torch.Generator) -> None:
        """Uniform weights and biases, as torch draws them: K. He et al., "Delving deep into rectifiers", ICCV 2015, with slope sqrt(5)."""
        bound = self.weight[0].numel() ** -0.5
        for weights in self.parameters(recurse=False):
            weights.uniform_(-bound, bound, generator=generator)


class Linear(_WithoutWeights, nn.Linear):
    """nn.Linear, its weights and biases left to `draw_weights` or a model file."""


class Conv1d(_WithoutWeights, nn.Conv1d):
    """nn.Conv1d, in the same way."""


class Conv2d(_WithoutWeights, nn.Conv2d):
    """nn.Conv2d, in the same way."""


class ConvTranspose1d(_WithoutWeights, nn.ConvTranspose1d):
    """nn.ConvTranspose1d, in the same way."""


class ConvTranspose2d(_WithoutWeights, nn.ConvTranspose2d):
    """nn.ConvTranspose2d, in the same way."""


@torch.no_grad()
def draw_weights(network: AnyNetwork, generator: torch.Generator) -> AnyNetwork:
    """Have each module of a network that has a method `draw(generator)` draw its weights, in the order in which they were made.

    Returns the network.
    """
    for module in network.modules():
        draw = getattr(module, "draw", None)
        if draw is not None:
            draw(generator)
    return network
