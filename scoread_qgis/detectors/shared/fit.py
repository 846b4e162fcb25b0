"""Whether the background of a scene is the one that a model was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

TAIL = 0.01


@dataclass(frozen=True)
class Fit:
    """How well the background of a scene fits a model, for each component of the anomaly value.

    Over a background that fits, tail probabilities are uniform: their median is 0.5, and 1 % of the pixels lie beyond the 1 % tail.
    medians: component -> median of -ln of the tail probability; ln 2 = 0.69 where it fits.
    beyond: component -> share of the pixels beyond its 1 % tail; 0.01 where it fits.
    distances: component -> Kolmogorov-Smirnov distance of the tail probabilities from uniform ones, 0..1; near 0 where it fits. It sees
        shifts, spreads and maps that are flat, and a few per cent of anomalies do not move it.
    """

    medians: dict[str, float]
    beyond: dict[str, float]
    distances: dict[str, float]

    @classmethod
    def of(cls, tails: dict[str, torch.Tensor]) -> Fit:
        """tails: component -> (n,) tensor of -ln tail probabilities of a sample of the scene."""
        limit = -math.log(TAIL)
        return cls(
            {name: float(values.median()) for name, values in tails.items()},
            {name: float((values > limit).float().mean()) for name, values in tails.items()},
            {name: _distance_from_uniform((-values.double().cpu()).exp()) for name, values in tails.items()},
        )

    @property
    def value(self) -> float:
        """How well the scene fits, 0..1: 1 less the largest of the distances."""
        return 1 - max(self.distances.values())

    def lines(self) -> Iterator[str]:
        """The fit in words and numbers, a line for each component."""
        for name, median in self.medians.items():
            yield (
                f"Fit of {name}: the median pixel has a tail probability of {math.exp(-median):.2g} (0.5 where it fits), and "
                f"{self.beyond[name]:.1%} of the pixels lie beyond the 1 % tail."
            )


def _distance_from_uniform(probabilities: torch.Tensor) -> float:
    ordered = probabilities.sort().values
    steps = torch.arange(len(ordered) + 1, dtype=torch.float64) / len(ordered)
    return float(torch.maximum((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))
