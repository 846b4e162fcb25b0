"""Fusion of anomaly values of different kinds into one."""

from __future__ import annotations

import math

import torch

from ..shared.checks import State, check_keys, tensor

# The calibration keeps the values that half, a quarter, ... of the training pixels exceed, and those half way between.
HALVINGS = 10
SLOPE_KNOTS = 4  # two halvings: from where to the last kept value the slope beyond it is taken
TINY = math.exp(-60)


class TailProbability:
    """Turns an anomaly value into -ln of the share of training pixels that exceed it.

    All anomaly values then have the same distribution over the background (exponential with mean 1), whatever their own units and tails.
    Linear in the logarithm of the value between the kept ones and, by the slope of the last ones, beyond: a Pareto tail (Hill, Annals of
    Statistics 1975).

    logs: (knots,) logarithms of values, rising. tails: (knots,) -ln of the share that exceeds each.
    """

    def __init__(self, logs: torch.Tensor, tails: torch.Tensor) -> None:
        self.logs, self.tails = logs, tails

    @classmethod
    def fit(cls, values: torch.Tensor) -> TailProbability:
        """values: (n,) positive anomaly values of training pixels."""
        logs = values.double().clamp(min=TINY).log().sort().values
        exceed = [0.95, 0.85, 0.75, 0.65] + [2.0 ** -(k / 2) for k in range(2, 2 * HALVINGS + 1) if 2.0 ** -(k / 2) * len(values) >= 4]
        knots = torch.quantile(logs, 1 - torch.tensor(exceed, dtype=torch.float64, device=logs.device))
        tails = -torch.tensor(exceed, dtype=torch.float64, device=logs.device).log()
        apart = torch.cat([torch.ones(1, dtype=torch.bool, device=logs.device), knots.diff() > 1e-6])
        knots, tails = knots[apart], tails[apart]
        before = max(0, len(knots) - 1 - SLOPE_KNOTS)
        slope = (tails[-1] - tails[before]) / (knots[-1] - knots[before]) if before < len(knots) - 1 else 1.0
        return cls(torch.cat([knots, knots[-1:] + 1]).float(), torch.cat([tails, tails[-1:] + slope]).float())

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """-ln of the tail probability, >= 0, of values (n,)."""
        logs = values.clamp(min=TINY).log()
        upper = torch.searchsorted(self.logs, logs).clamp(1, len(self.logs) - 1)
        low, high = self.logs[upper - 1], self.logs[upper]
        slope = (self.tails[upper] - self.tails[upper - 1]) / (high - low)
        return (self.tails[upper - 1] + slope * (logs - low)).clamp(min=0)

    def to(self, device: torch.device | str) -> TailProbability:
        return TailProbability(self.logs.to(device), self.tails.to(device))

    def state(self) -> State:
        return {"logs": self.logs.cpu(), "tails": self.tails.cpu()}

    @classmethod
    def from_state(cls, state: State) -> TailProbability:
        """Raises ValueError for a state that is not one of a calibration."""
        check_keys(state, "tail", "logs", "tails")
        logs = tensor(state, "logs", None)
        tails = tensor(state, "tails", len(logs))
        if len(logs) < 2 or (logs.diff() < 0).any() or (tails.diff() < 0).any():
            raise ValueError("the knots of its tail do not rise")
        return cls(logs, tails)


def fuse(tails: list[torch.Tensor]) -> torch.Tensor:
    """Root mean square (n,) of -ln tail probabilities, a list of (n,): between their mean, for what all parts see, and the largest of them,
    for what only one does."""
    return torch.stack(tails).square().mean(0).sqrt()
