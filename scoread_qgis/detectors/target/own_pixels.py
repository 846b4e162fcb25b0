"""The pixels of a scene that the targets themselves were taken from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...core.cube import Block
from ..shared.checks import State, check_keys


class OwnPixels:
    """Pixels to leave out of the background, since they are the targets.

    positions: (n, 2) int row and column in the scene. marks: (n, m) float32 values there in the bands with the indices `bands` (m,). A
    pixel is left out where both are right, so that the pixels of one scene are not left out of another.
    """

    def __init__(self, positions: np.ndarray | None = None, marks: np.ndarray | None = None, bands: Sequence[int] = ()) -> None:
        positions = np.empty((0, 2), np.int64) if positions is None else np.asarray(positions, np.int64)
        order = np.argsort(positions[:, 0], kind="stable")
        self.positions, self.bands = positions[order], list(bands)
        self.marks = np.empty((len(order), 0), np.float32) if marks is None else np.asarray(marks, np.float32)[order]

    def without(self, block: Block) -> np.ndarray:
        """Which pixels of the block and its context are valid and none of these, (rows, columns) bool."""
        top, left = block.row - block.above, block.column - block.left
        height, width = block.valid.shape
        some = slice(*np.searchsorted(self.positions[:, 0], [top, top + height]))
        rows, columns = (self.positions[some] - (top, left)).T
        inside = (columns >= 0) & (columns < width)
        rows, columns, marks = rows[inside], columns[inside], self.marks[some][inside]
        if not len(rows):
            return block.valid
        same = np.isclose(block.values[rows, columns][:, self.bands], marks, rtol=1e-5, atol=0).all(axis=1)
        valid = block.valid.copy()
        valid[rows[same], columns[same]] = False
        return valid

    def state(self) -> State:
        return {"positions": torch.from_numpy(self.positions), "marks": torch.from_numpy(self.marks), "bands": self.bands}

    @classmethod
    def from_state(cls, state: State, bands: int) -> OwnPixels:
        """Of scenes of so many bands. Raises ValueError for a state that is not one of such."""
        check_keys(state, "table of the targets' pixels", "positions", "marks", "bands")
        positions, marks, marked = state["positions"], state["marks"], state["bands"]
        if type(marked) is not list or any(type(band) is not int or not 0 <= band < bands for band in marked):
            raise ValueError("its table of the targets' pixels does not name bands")
        tensors = isinstance(positions, torch.Tensor) and isinstance(marks, torch.Tensor)
        if not tensors or positions.dtype != torch.int64 or positions.dim() != 2 or positions.shape[1] != 2:
            raise ValueError("its table of the targets' pixels does not hold rows and columns")
        if marks.dtype != torch.float32 or marks.shape != (len(positions), len(marked)):
            raise ValueError("its table of the targets' pixels does not hold their values")
        return cls(positions.numpy(), marks.numpy(), marked)
