"""The parts of the anomaly value that compare a pixel with what lies around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from ...core.cube import Arrays, Block
from ..shared.checks import State, check_keys
from ..shared.expected_background import FAR, NEAR, ExpectedBackground, expected_components
from ..shared.half_whitening import HalfWhitening
from ..shared.windows import Surroundings, unfold
from .local_neighbours import HALO, distance_to_seen, local_neighbours, seen_around

RINGS = {"near": NEAR, "far": FAR}
PIXELS = 8192  # that are projected at a time
DENSE = 5  # of so many pixels one must be wanted, for all to be computed


class SurroundingParts:
    """Three kinds of anomaly value in one spectral space, a `HalfWhitening`:

    - "near", "far": what a pixel has beyond its expected background (`expected_background.ExpectedBackground`), from 3 to 6 and from
      8 to 12 pixels around it;
    - "local": distance to the most similar spectra within 12 pixels (`local_neighbours`).

    whitening: `HalfWhitening`. expected: "near" and "far" -> `ExpectedBackground`.
    """

    def __init__(self, whitening: HalfWhitening, expected: dict[str, ExpectedBackground]) -> None:
        self.whitening, self.expected = whitening, expected

    @classmethod
    def fit(cls, whitening: HalfWhitening, gathered: Sequence[np.ndarray]) -> tuple[SurroundingParts, dict[str, torch.Tensor]]:
        """The parts, and their values name -> (n,), of training pixels of which `Gathering(whitening)` gathered this."""
        variances = dict(zip(RINGS, gathered[3::2]))
        parts = cls(whitening, {name: ExpectedBackground.fit(ring, torch.from_numpy(variances[name]).T) for name, ring in RINGS.items()})
        return parts, parts.values_of_gathered(gathered)

    def values_of_gathered(self, gathered: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Name -> values (n,) of pixels of which `Gathering` gathered this."""
        own, local, *of_rings = (torch.from_numpy(array).to(self.whitening.mean.device) for array in gathered)
        found = {
            name: part.value(own.T, mean.T, variances.T)
            for (name, part), mean, variances in zip(self.expected.items(), of_rings[::2], of_rings[1::2])
        }
        return {**found, "local": local}

    def values(self, spectra: torch.Tensor, valid: torch.Tensor, first: int, last: int) -> dict[str, torch.Tensor]:
        """Name -> values (last - first, columns) of rows first..last-1 of spectra (rows, columns, bands), with 12 rows of context, fewer
        where the scene ends; valid: (rows, columns) bool."""
        found = {name: spectra.new_empty(last - first, spectra.shape[1]) for name in (*RINGS, "local")}
        for around, rows, columns, width in Surroundings.of_rows(self.components(spectra), valid, first, last, HALO):
            of_pixels = {name: part.beyond(around) for name, part in self.expected.items()}
            for name, values in {**of_pixels, "local": local_neighbours(around)}.items():
                found[name][rows, columns] = unfold(values, rows, columns, width)
        return found

    def components(self, spectra: torch.Tensor) -> torch.Tensor:
        """Components (rows, columns, components) of spectra (rows, columns, bands), some at a time."""
        return torch.cat([self.whitening(part) for part in spectra.split(max(1, PIXELS // spectra.shape[1]))])

    def among(self, blocks: Iterable[Block]) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
        """Function of spectra (n, bands) that gives name -> values (n,), as if each were the pixel of its `Block` of one pixel with 12
        of context."""
        device, seen = self.whitening.mean.device, []
        of_blocks: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {name: [] for name in self.expected}
        for block in blocks:
            components, valid = self.components(torch.from_numpy(block.values).to(device)), torch.from_numpy(block.valid).to(device)
            place = torch.tensor([block.above], device=device), torch.tensor([block.left], device=device)
            around = Surroundings.of_pixels(components, valid, *place, HALO)
            seen.append(seen_around(around))
            for name, part in self.expected.items():
                of_blocks[name].append(expected_components(around, part.ring))
        near, there = _joined(seen)
        expected = {name: _joined(pairs) for name, pairs in of_blocks.items()}

        def values(spectra: torch.Tensor) -> dict[str, torch.Tensor]:
            own = self.whitening(spectra).T
            found = {name: part.value(own, *expected[name]) for name, part in self.expected.items()}
            return {**found, "local": distance_to_seen(own, near, there)}

        return values

    def to(self, device: torch.device | str) -> SurroundingParts:
        return SurroundingParts(self.whitening.to(device), {name: part.to(device) for name, part in self.expected.items()})

    def state(self) -> State:
        return {"whitening": self.whitening.state(), **{name: part.state() for name, part in self.expected.items()}}

    @classmethod
    def from_state(cls, state: State, bands: int) -> SurroundingParts:
        """Of spectra of so many bands. Raises ValueError for a state that is not of such."""
        check_keys(state, "surroundings", "whitening", *RINGS)
        whitening = HalfWhitening.from_state(state["whitening"], bands)
        components = whitening.projection.shape[1]
        return cls(whitening, {name: ExpectedBackground.from_state(state[name], components, HALO) for name in RINGS})


def _joined(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = (torch.cat(parts, -1) for parts in zip(*pairs))
    return first, second


class Gathering:
    """What `SurroundingParts` need of a sample of pixels, for `Cube.sample` with 12 rows of context: their components, local distances, and
    for each ring the expected components with their variances. It is small, whatever the surroundings are."""

    halo = HALO

    def __init__(self, whitening: HalfWhitening) -> None:
        self.parts = SurroundingParts(whitening.to("cpu"), {})

    def __call__(self, block: Block, rows: np.ndarray, columns: np.ndarray) -> Arrays:
        components, valid = self.parts.components(torch.from_numpy(block.values)), torch.from_numpy(block.valid)
        if is_dense(block, rows):
            of_block = components.new_empty((1 + 2 * len(RINGS)) * components.shape[2] + 1, block.rows, valid.shape[1])
            for around, down, right, width in Surroundings.of_rows(components, valid, block.above, block.above + block.rows, HALO):
                of_block[:, down, right] = unfold(_seen(around), down, right, width)
            seen = of_block[:, rows - block.above, columns]
        else:
            seen = _seen(Surroundings.of_pixels(components, valid, torch.from_numpy(rows), torch.from_numpy(columns), HALO))
        size = components.shape[2]
        own, local, *of_rings = seen.T.split([size, 1, *[size] * (2 * len(RINGS))], 1)
        return tuple(values.contiguous().numpy() for values in (own, local[:, 0], *of_rings))


def is_dense(block: Block, rows: np.ndarray) -> bool:
    """Whether so many pixels of a block are wanted that it is quicker to compute all of them, at once."""
    return len(rows) * DENSE > block.rows * block.columns


def _seen(around: Surroundings) -> torch.Tensor:
    """Components, local distance, and expected components and variances of each ring, one below the other, of pixels (..., n)."""
    of_rings = [values for ring in RINGS.values() for values in expected_components(around, ring)]
    return torch.cat([around.at(0, 0), local_neighbours(around)[None], *of_rings])
