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
HALF = [offset for offset in OFFSETS if offset > (0, 0)]  # the others are their opposites


def local_neighbours(around: Surroundings) -> torch.Tensor:
    """Squared distance (n,) to the 4th nearest of the 160 spectra around each pixel, among their `Surroundings`.

    The spectra are those of every second row and column within 12 of the pixel, leaving out those within 3, where the same object may lie.
    Where some of them are not valid or beyond the edge of the scene, it is the same share of the rest (1 in 40): at an edge, the window is
    a part of itself, so that no pixel meets its own mirror image, nor spectra that are farther away. Where there are none, 0: nothing is
    known against the pixel.
    """
    distances = torch.stack([distance for offset in HALF for distance in around.distances(*offset)])
    there = torch.stack([around.there(side * down, side * right) for down, right in HALF for side in (1, -1)])
    return _ranked(nearest(distances.masked_fill_(~there, torch.inf)), there.sum(0, dtype=torch.int32))


def nearest(distances: torch.Tensor) -> torch.Tensor:
    """The four smallest of many distances (4 * any number, n), in rising order (4, n).

    By a sorting network: to compare many pixels at once is faster than to sort for each.
    """
    first, second, third, fourth = _sorted(*distances.unflatten(0, (NEIGHBOUR, -1)))
    while len(first) > 1:
        half = (len(first) + 1) // 2
        ours, others = zip(*((rank[:half], rank[half:]) for rank in (first, second, third, fourth)))
        kept = [torch.minimum(mine[: len(other)], other) for mine, other in zip(ours, reversed(others))]  # the four smallest, unsorted
        merged = _merged(*kept)
        first, second, third, fourth = (torch.cat([new, mine[len(new) :]]) for new, mine in zip(merged, ours))
    return torch.cat([first, second, third, fourth])


def _sorted(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> tuple[torch.Tensor, ...]:
    (a, b), (c, d) = _ordered(a, b), _ordered(c, d)
    return _merged(a, b, d, c)


def _merged(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Sorted, of what rises and then falls."""
    (a, c), (b, d) = _ordered(a, c), _ordered(b, d)
    return *_ordered(a, b), *_ordered(c, d)


def _ordered(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.minimum(a, b), torch.maximum(a, b)


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
