"""Clutter: the level of anomaly values around a pixel, streamed over the rows of a scene."""

import numpy as np
import torch

REACH = 9
STRIDE = 3
SHARE = 0.75


def subtract_clutter(rows_of_values, end_row, first_row=0):
    """Subtract from each value three quarters of the median around it: where all is a little anomalous, a pixel must stand out from that.

    The median is over every third row and column of the 19 x 19 window, leaving out pixels that are NaN or outside of the scene. It keeps
    its level until anomalies cover half of the window.
    rows_of_values: iterable of (first row, values (rows, columns) float32, NaN where not valid) from top to bottom, of the rows
    first_row..end_row-1, beyond which nothing counts. Yields the same, once the rows below have come; holds no more than that many rows.
    """
    held, first_held, next_row = None, first_row, first_row
    for first, values in rows_of_values:
        held = values if held is None else np.concatenate([held, values])
        end = first + len(values)
        last = end_row if end == end_row else end - REACH
        if last <= next_row:
            continue
        block = held[next_row - first_held : last - first_held]
        yield next_row, block - np.float32(SHARE) * window_median(held, next_row - first_held, last - first_held)
        next_row = last
        drop = max(0, next_row - REACH - first_held)
        held, first_held = held[drop:], first_held + drop


def window_median(values, first, last):
    """Medians (last - first, columns) of the windows around the pixels of rows first..last-1 of values (rows, columns)."""
    rows, columns = values.shape
    padded = np.full((last - first + 2 * REACH, columns + 2 * REACH), np.nan, dtype=np.float32)
    top, bottom = max(0, first - REACH), min(rows, last + REACH)
    padded[top - first + REACH : bottom - first + REACH, REACH : REACH + columns] = values[top:bottom]
    padded = torch.from_numpy(padded)
    medians = np.empty((last - first, columns), dtype=np.float32)
    for row in range(last - first):
        window = padded[row : row + 2 * REACH + 1 : STRIDE].unfold(1, 2 * REACH + 1, 1)[..., ::STRIDE]
        medians[row] = window.permute(1, 0, 2).flatten(1).nanmedian(1).values.numpy()
    return medians
