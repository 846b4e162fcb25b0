"""Distance of a spectrum to the most similar spectra around it."""

from __future__ import annotations

import torch

from ..shared.windows import Surroundings

HALO = 12
LEFT_OUT = 3
STRIDE = 2
NEIGHBOUR = 4  # of the 160 pixels of a whole window
OFFSETS = [
    (down, right)
    for down in range(-HALO, HALO + 1, STRIDE)
    for right in range(-HALO, HALO + 1, STRIDE)
    if max(abs(down), abs(right)) > LEFT_OUT
]
PIXELS = 4096  # that are worked on at a time, in whole rows, so that they stay in the processor's cache


def local_neighbour_distance(components: torch.Tensor, valid: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Squared distance to the 4th nearest of the 160 spectra around each pixel of rows first..last-1, (last - first, columns).

    The spectra are those of every second row and column within 12 of the pixel, leaving out those within 3, where the same object may lie.
    Where some of them are not valid or beyond the edge of the scene, it is the same share of the rest (1 in 40): at an edge, the window is
    a part of itself, so that no pixel meets its own mirror image, nor spectra that are farther away. Where there are none, 0: nothing is
    known against the pixel.

    components: (rows, columns, components) tensor, of a `HalfWhitening`; valid: (rows, columns) bool tensor. Both with 12 rows of context
    above and below, fewer only where the scene ends: then the values do not depend on how the scene is cut. Values of pixels that are not
    valid mean nothing.
    """
    at_a_time = max(1, PIXELS // valid.shape[1])
    parts = [_of_rows(components, valid, row, min(row + at_a_time, last)) for row in range(first, last, at_a_time)]
    return torch.cat(parts) if parts else components.new_zeros(0, valid.shape[1])


def _of_rows(components: torch.Tensor, valid: torch.Tensor, first: int, last: int) -> torch.Tensor:
    top = max(0, first - HALO)
    near = slice(top, last + HALO)
    around = Surroundings.of_rows(components[near], valid[near], first - top, last - top, HALO)
    return local_neighbours(components[first:last].permute(2, 0, 1).contiguous(), around)


def local_neighbours(own: torch.Tensor, around: Surroundings) -> torch.Tensor:
    """The distances (...) of pixels with components (components, ...), among their `Surroundings`."""
    nearest = [own.new_full(own.shape[1:], torch.inf) for _ in range(NEIGHBOUR)]
    count = own.new_zeros(own.shape[1:])
    for down, right in OFFSETS:
        there = around.there(down, right)
        distance = (own - around.at(down, right)).square_().sum(0).masked_fill_(~there, torch.inf)
        count += there
        for rank in range(NEIGHBOUR):
            # The nearer of the two takes the rank; the other one is compared with the next.
            nearest[rank], distance = torch.minimum(nearest[rank], distance), torch.maximum(nearest[rank], distance)
    return _ranked(torch.stack(nearest), count)


def seen_around(around: Surroundings) -> tuple[torch.Tensor, torch.Tensor]:
    """What is compared: components (160, components, ...) around pixels, and which of them are there (160, ...)."""
    near, there = (torch.stack([look(down, right) for down, right in OFFSETS]) for look in (around.at, around.there))
    return near, there


def distance_to_seen(own: torch.Tensor, near: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """As `local_neighbours`, from what `seen_around` returns: for a few pixels, again and again."""
    nearest = (own - near).square().sum(1).masked_fill(~there, torch.inf).topk(NEIGHBOUR, dim=0, largest=False).values
    return _ranked(nearest, there.sum(0).to(own))


def _ranked(nearest: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Of the `nearest` distances (4, ...), rising, the one that counts where `count` (...) spectra are seen."""
    wanted = (count * (NEIGHBOUR / len(OFFSETS))).round_().clamp_(1, NEIGHBOUR).long() - 1
    found = nearest.gather(0, wanted[None])[0]
    return torch.where(count > 0, found, torch.zeros_like(found))
