"""Pixels beyond the edges of a scene, which is mirrored there."""

from __future__ import annotations

import numpy as np


def mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Indices into 0..size-1 of positions that may lie outside: mirrored at the first and last one, as often as needed, as numpy.pad's mode
    "reflect" does."""
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.where(index < size, index, 2 * size - 2 - index)
