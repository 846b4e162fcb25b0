"""Connected regions of pixels above a threshold, found block by block in a map of any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..core.cube import Block, Cube
from ..core.progress import Progress

_MOST = 1_000_000  # regions before small ones are dropped: more are noise, which nobody can inspect, and would fill the memory
_STRUCTURES = {4: [[0, 1, 0], [1, 1, 1], [0, 1, 0]], 8: [[1, 1, 1], [1, 1, 1], [1, 1, 1]]}


@dataclass(frozen=True)
class Regions:
    """Regions in the order of their peaks, the highest first; those of equal peak in the order of the map.

    pixels: (n,) number of pixels. peaks: (n,) highest score. peak_positions: (n, 2) row and column of its pixel, the first in the order of
    the map. means: (n,) mean score. centroids: (n, 2) mean row and column of the pixels.
    """

    pixels: np.ndarray
    peaks: np.ndarray
    peak_positions: np.ndarray
    means: np.ndarray
    centroids: np.ndarray
    _threshold: float
    _connectivity: int
    _ranks: np.ndarray  # rank of the region, from 1, by the label of each of its pieces, numbered block by block; 0 where dropped

    def __len__(self) -> int:
        return self.pixels.size

    @classmethod
    def find(
        cls, score_map: Cube, threshold: float, connectivity: int = 8, min_pixels: int = 1, progress: Progress | None = None
    ) -> Regions:
        """The regions of pixels that score above `threshold` in a cube of one band.

        connectivity: 4 (pixels that share a side are connected) or 8 (also those that share a corner). min_pixels: smaller regions are
        dropped. Raises ValueError where there are more than a million regions.
        """
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        pieces: list[tuple[np.ndarray, ...]] = []  # of regions, within a block
        touching, count = [np.empty((0, 2), np.intp)], 0
        above: np.ndarray | None = None  # labels of the last row of the block before
        for block, labels, found in _labelled(score_map, threshold, connectivity, progress or Progress(), "looking for regions"):
            if found:
                pieces.append(_measure(block, labels, found))
            numbers = np.where(labels, labels + count, 0)
            if above is not None:
                touching.append(_touching(above, numbers[0], connectivity))
            above, count = numbers[-1], count + found
            if count > _MOST:
                raise ValueError(
                    f"More than {_MOST} regions lie above the threshold of {threshold:.6g}. Choose a lower rate, a higher percentile or a "
                    "higher value."
                )
        if count == 0:
            nothing = np.empty(0)
            return cls(
                nothing.astype(int), nothing, np.empty((0, 2), int), nothing, np.empty((0, 2)), threshold, connectivity, np.zeros(1, int)
            )
        pixels, sums, row_sums, column_sums, peaks, rows, columns = (np.concatenate(column) for column in zip(*pieces))
        pairs = np.concatenate(touching) - 1
        links = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
        regions, region_of = connected_components(links, directed=False)
        pixels, sums, row_sums, column_sums = (np.bincount(region_of, column, regions) for column in (pixels, sums, row_sums, column_sums))
        highest = np.lexsort((columns, rows, -peaks, region_of))
        highest = highest[np.flatnonzero(np.diff(region_of[highest], prepend=-1))]  # the piece with the peak, by region
        peaks, rows, columns = peaks[highest], rows[highest], columns[highest]
        order = np.lexsort((columns, rows, -peaks))
        order = order[pixels[order] >= min_pixels]
        ranks = np.zeros(regions, int)
        ranks[order] = np.arange(1, order.size + 1)
        return cls(
            pixels[order].astype(int),
            peaks[order],
            np.stack([rows, columns], axis=1)[order],
            (sums / pixels)[order],
            np.stack([row_sums / pixels, column_sums / pixels], axis=1)[order],
            threshold,
            connectivity,
            np.concatenate([[0], ranks[region_of]]),
        )

    def labels(self, score_map: Cube, progress: Progress | None = None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield the rank of the region of each pixel by blocks: first row, (rows, columns) int32, 0 where none, and valid (rows, columns).

        `score_map` is the one that the regions were found in, with the same `rows_per_block`.
        """
        count = 0
        for block, labels, found in _labelled(score_map, self._threshold, self._connectivity, progress or Progress(), "marking regions"):
            yield block.row, self._ranks[np.where(labels, labels + count, 0)].astype(np.int32), block.valid
            count += found


def _labelled(
    score_map: Cube, threshold: float, connectivity: int, progress: Progress, message: str
) -> Iterator[tuple[Block, np.ndarray, int]]:
    """Blocks with the labels of the regions within each, from 1, and their number."""
    from scipy.ndimage import label

    for block in score_map.blocks(progress=progress, message=message):
        yield block, *label(block.valid & (block.values[..., 0] > threshold), _STRUCTURES[connectivity])


def _measure(block: Block, labels: np.ndarray, found: int) -> tuple[np.ndarray, ...]:
    """Pixels, sum of scores, of rows, of columns, peak, its row, its column; each (found,)."""
    rows, columns = np.nonzero(labels)
    label, scores = labels[rows, columns] - 1, block.values[rows, columns, 0].astype(np.float64)
    rows = rows + block.row
    order = np.lexsort((columns, rows, -scores, label))
    first = order[np.flatnonzero(np.diff(label[order], prepend=-1))]
    sums = [np.bincount(label, weights, found) for weights in (None, scores, rows, columns)]
    return (*sums, scores[first], rows[first], columns[first])


def _touching(above: np.ndarray, below: np.ndarray, connectivity: int) -> np.ndarray:
    """Pairs of numbers of the regions that touch across the border of two blocks, (n, 2)."""
    shifts = [(above, below)]
    if connectivity == 8:
        shifts += [(above[:-1], below[1:]), (above[1:], below[:-1])]
    pairs = np.concatenate([np.stack(shift, axis=1) for shift in shifts])
    return np.unique(pairs[(pairs > 0).all(axis=1)], axis=0)
