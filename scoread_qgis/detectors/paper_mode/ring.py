"""The ring around a pixel, between its inner and its outer window, as context of ScoreAD (arXiv 2601.12379)."""

from __future__ import annotations

import numpy as np
import torch

from ..shared.mirroring import mirrored


def ring_offsets(outer_window: int, inner_window: int) -> np.ndarray:
    """Offsets (neighbours, 2) in rows and columns of the pixels inside the outer and outside the inner window; both odd, in pixels.

    Raises ValueError for windows that leave no ring.
    """
    if outer_window % 2 == 0 or inner_window % 2 == 0 or not 0 < inner_window < outer_window:
        raise ValueError(f"windows must be odd and the outer one larger than the inner one; they are {outer_window} and {inner_window}")
    reach = outer_window // 2
    offsets = np.stack(list(np.mgrid[-reach : reach + 1, -reach : reach + 1]), axis=-1).reshape(-1, 2)
    return offsets[np.abs(offsets).max(axis=1) > inner_window // 2]


def ring_positions(
    rows: np.ndarray, columns: np.ndarray, offsets: np.ndarray, scene_rows: int, scene_columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (pixels, neighbours) in the scene of the rings of pixels (rows, columns); the scene is mirrored at its edges."""
    return mirrored(rows[:, None] + offsets[:, 0], scene_rows), mirrored(columns[:, None] + offsets[:, 1], scene_columns)


def nearest_in_ring(x_t: torch.Tensor, ring: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """For each perturbed spectrum the nearest valid spectrum of its ring, in Euclidean distance, its cosine similarity and its distance.

    x_t: (pixels, K, bands); ring: (pixels, neighbours, bands); valid: (pixels, neighbours) bool.
    Returns (pixels, K, bands + 2), zeros where a ring has no valid pixel.
    """
    # Relative to a spectrum of the ring, because |a|^2 - 2 a.b + |b|^2 of whole spectra would cancel float32's digits away.
    origin = ring[:, :1]
    a, b = x_t - origin, ring - origin
    distances = b.square().sum(dim=2)[:, None] - 2 * torch.bmm(a, b.transpose(1, 2))  # short of |a|^2, the same for all neighbours
    nearest = distances.masked_fill(~valid[:, None], torch.inf).argmin(dim=2)
    neighbour = torch.gather(ring, 1, nearest[..., None].expand(-1, -1, ring.shape[2]))
    similarity = torch.nn.functional.cosine_similarity(x_t, neighbour, dim=2)
    distance = (x_t - neighbour).norm(dim=2)
    features = torch.cat([neighbour, similarity[..., None], distance[..., None]], dim=2)
    return features * valid.any(dim=1)[:, None, None]
