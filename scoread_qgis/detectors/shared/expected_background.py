"""The spectrum that the surroundings of a pixel let expect there, with its uncertainty, in closed form (`expected_spectrum`: of a region).

What lies between two places that are alike is probably like them: along a road, a shore or within a field, pixels on opposite sides of a
place agree, across them they do not. The expected background is the weighted mean of pairs of pixels on opposite sides of the place. A pair
weighs the more, the better its two spectra agree and the nearer they are. An anomaly in the ring has no partner, so that its pair hardly
counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .checks import State, check_keys, tensor, whole_number
from .expected_spectrum import SOFTENING
from .windows import Surroundings

FLOOR = 0.5  # share of the scene's mean spread that is added to that of each pixel


@dataclass(frozen=True)
class Ring:
    """Where the pairs around a pixel lie: farther than `inside` and within `reach` rows and columns of it, every `stride`-th row and
    column.
    """

    inside: int
    reach: int
    stride: int = 1

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """One (down, right) of each pair; the other is its opposite."""
        steps = range(-(self.reach // self.stride) * self.stride, self.reach + 1, self.stride)
        return [(down, right) for down in steps for right in steps if (down, right) > (0, 0) and max(abs(down), abs(right)) > self.inside]


NEAR = Ring(2, 6)  # for targets of up to about 5 x 5 pixels
FAR = Ring(7, 12, 2)  # and of up to about 15 x 15


def expected_components(around: Surroundings, ring: Ring) -> tuple[torch.Tensor, torch.Tensor]:
    """Expected components (components, n) and their variances, for pixels among their `Surroundings`; NaN where no pair of
    valid pixels is seen, as at the four corners of a scene.

    At the edge of a scene the mirror image stands for what is beyond, except those of its pixels that would lie inside the ring.
    """
    offsets, own = ring.offsets, around.with_squares(0, 0)
    nearness = torch.tensor([1 / (down**2 + right**2) for down, right in offsets], device=own.device)
    nearness = around.pairs_there(offsets, ring.inside) * nearness[:, None]
    weights = torch.stack([(around.at(down, right) - around.at(-down, -right)).square_().sum(0) for down, right in offsets])
    soft = SOFTENING * (nearness * weights).sum(0) / nearness.sum(0)
    weights = torch.div(nearness, weights.add_(soft).clamp_(min=1e-12).square_(), out=weights)
    weights.div_(weights.sum(0).mul_(2))
    both = torch.zeros_like(own)
    for weight, (down, right) in zip(weights, offsets):
        both.addcmul_(weight, around.with_squares(down, right)).addcmul_(weight, around.with_squares(-down, -right))
    expected, squares = both.chunk(2)
    return expected, squares.sub_(expected.square()).clamp_(min=0)


class ExpectedBackground:
    """The anomaly value of a pixel by what it has beyond its expected background.

    Squared differences of the components, divided by the variance of what was expected plus half of its mean over the scene, summed: small
    where the surroundings vary, large where they are sure.

    ring: `Ring`. floor: (components,) float32 tensor, half of the mean variance.
    """

    def __init__(self, ring: Ring, floor: torch.Tensor) -> None:
        self.ring, self.floor = ring, floor

    @classmethod
    def fit(cls, ring: Ring, variances: torch.Tensor) -> ExpectedBackground:
        """variances: (components, n), those that `expected_components` gives for training pixels with this ring."""
        known = variances[:, variances.isfinite().all(0)]
        mean = known.double().mean(1) if known.shape[1] else variances.new_ones(len(variances), dtype=torch.float64)
        return cls(ring, (FLOOR * mean).clamp(min=1e-12).float())

    def beyond(self, around: Surroundings) -> torch.Tensor:
        """Anomaly values (n,) of pixels among their `Surroundings`; 0 where nothing can be expected, since nothing is known against the
        pixel.
        """
        return self.value(around.at(0, 0), *expected_components(around, self.ring))

    def value(self, own: torch.Tensor, expected: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
        """The same (...), of components, expected components and their variances, each (components, ...)."""
        floor = self.floor.view(-1, *[1] * (own.dim() - 1))
        return torch.nan_to_num((own - expected).square_().div_(variances + floor).sum(0))

    def to(self, device: torch.device | str) -> ExpectedBackground:
        return ExpectedBackground(self.ring, self.floor.to(device))

    def state(self) -> State:
        return {"inside": self.ring.inside, "reach": self.ring.reach, "stride": self.ring.stride, "floor": self.floor.cpu()}

    @classmethod
    def from_state(cls, state: State, components: int, farthest: int) -> ExpectedBackground:
        """Of so many components, with a ring that reaches no farther than that. Raises ValueError for a state that is not one of such."""
        check_keys(state, "expected background", "inside", "reach", "stride", "floor")
        reach = whole_number(state, "reach", 1, farthest)
        ring = Ring(whole_number(state, "inside", 0, reach - 1), reach, whole_number(state, "stride", 1, reach - state["inside"]))
        return cls(ring, tensor(state, "floor", components, positive=True))
