"""The pixels of a scene that the targets themselves were taken from."""

from __future__ import annotations

import numpy as np
import torch

from ...core.cube import Block
from ..shared.checks import State, check_keys


class OwnPixels:
    """Pixels to leave out of the background, since they are the targets.

    positions: (n, 2) int row and column in the scene. sums: (n,) sums of their spectra over all bands: a pixel is left out where both are
    right, so that the pixels of one scene are not left out of another.
    """

    def __init__(self, positions: np.ndarray | None = None, sums: np.ndarray | None = None) -> None:
        positions = np.empty((0, 2)) if positions is None else np.asarray(positions)
        order = np.argsort(positions[:, 0], kind="stable")
        self.positions = positions[order].astype(np.int64)
        self.sums = np.empty(0) if sums is None else np.asarray(sums, np.float64)[order]

    def without(self, block: Block) -> np.ndarray:
        """Which pixels of the block and its context are valid and none of these, (rows, columns) bool."""
        top, left = block.row - block.above, block.column - block.left
        height, width = block.valid.shape
        some = slice(*np.searchsorted(self.positions[:, 0], [top, top + height]))
        rows, columns = (self.positions[some] - (top, left)).T
        inside = (columns >= 0) & (columns < width)
        rows, columns, sums = rows[inside], columns[inside], self.sums[some][inside]
        if not len(rows):
            return block.valid
        seen = block.values[rows, columns].sum(axis=1, dtype=np.float64)
        same = np.isclose(seen, sums, rtol=1e-6, atol=0)
        valid = block.valid.copy()
        valid[rows[same], columns[same]] = False
        return valid

    def state(self) -> State:
        return {"positions": torch.from_numpy(self.positions), "sums": torch.from_numpy(self.sums)}

    @classmethod
    def from_state(cls, state: State) -> OwnPixels:
        """Raises ValueError for a state that is not one of such."""
        check_keys(state, "table of the targets' pixels", "positions", "sums")
        positions, sums = state["positions"], state["sums"]
        if not all(isinstance(each, torch.Tensor) for each in (positions, sums)) or positions.shape != (len(sums), 2) or sums.dim() != 1:
            raise ValueError("its table of the targets' pixels does not hold rows, columns and sums")
        return cls(positions.numpy(), sums.numpy())
