"""Clutter: the level of anomaly values around a pixel."""

import numpy as np
import torch

REACH = 9
STRIDE = 3
SHARE = 0.75


def less_clutter(values, rows, columns):
    """Values less three quarters of the median around them: where all is a little anomalous, a pixel must stand out from that.

    The median is over every third row and column of the 19 x 19 window, leaving out pixels that are NaN or beyond the values. It keeps
    its level until anomalies cover half of the window.
    values: (height, width) float32; rows, columns: slices of it. Returns those rows and columns.
    """
    return values[rows, columns] - np.float32(SHARE) * window_median(values, rows.start, rows.stop)[:, columns]


def window_median(values, first, last, reach=REACH, stride=STRIDE):
    """Medians (last - first, columns) of the windows around the pixels of rows first..last-1 of values (rows, columns): every `stride`-th within `reach`."""
    rows, columns = values.shape
    padded = np.full((last - first + 2 * reach, columns + 2 * reach), np.nan, dtype=np.float32)
    top, bottom = max(0, first - reach), min(rows, last + reach)
    padded[top - first + reach : bottom - first + reach, reach : reach + columns] = values[top:bottom]
    padded = torch.from_numpy(padded)
    medians = np.empty((last - first, columns), dtype=np.float32)
    for row in range(last - first):
        window = padded[row : row + 2 * reach + 1 : stride].unfold(1, 2 * reach + 1, 1)[..., ::stride]
        medians[row] = window.permute(1, 0, 2).flatten(1).nanmedian(1).values.numpy()
    return medians
