"""Clutter: the level of anomaly values around a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Clutter:
    """Values less a share of the median around them: where all is a little anomalous, a pixel must stand out from that.

    The median is over every `stride`-th row and column within `reach` of the pixel, leaving out pixels that are NaN or beyond the values.
    It keeps its level until anomalies cover half of the window.
    """

    reach: int
    stride: int
    share: float

    def less_clutter(self, values: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """values: (height, width) float32; rows, columns: slices of it. Returns those rows and columns."""
        return values[rows, columns] - np.float32(self.share) * self.median(values, rows.start, rows.stop)[:, columns]

    def median(self, values: np.ndarray, first: int, last: int) -> np.ndarray:
        """Medians (last - first, columns) of the windows around the pixels of rows first..last-1 of values (rows, columns)."""
        rows, columns = values.shape
        reach, width = self.reach, 2 * self.reach + 1
        padded = np.full((last - first + 2 * reach, columns + 2 * reach), np.nan, dtype=np.float32)
        top, bottom = max(0, first - reach), min(rows, last + reach)
        padded[top - first + reach : bottom - first + reach, reach : reach + columns] = values[top:bottom]
        surroundings = torch.from_numpy(padded)
        medians = np.empty((last - first, columns), dtype=np.float32)
        for row in range(last - first):
            window = surroundings[row : row + width : self.stride].unfold(1, width, 1)[..., :: self.stride]
            medians[row] = window.permute(1, 0, 2).flatten(1).nanmedian(1).values.numpy()
        return medians


CLUTTER = Clutter(15, 5, 0.5)
CLUTTER_OF_VERSION_02 = Clutter(9, 3, 0.75)
