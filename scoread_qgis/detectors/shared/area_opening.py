"""The largest anomaly looked for: what stands out in an object of no more pixels is raised, by area opening."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

HALF_OF_NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))
TILE = 512  # rows and columns that are worked on at a time, with the margin around them: some 100 bytes for each of their pixels


def raised(scores: np.ndarray, rows: slice, columns: slice, largest: int, tell: Callable[[], object] = lambda: None) -> np.ndarray:
    """Scores of the pixels in the slices `rows` and `columns`, each raised by what it stands out in an object of up to `largest` pixels.

    scores: (height, width) float32, NaN where there is nothing, with at least `largest` rows and columns around the slices unless the
    scene ends before. What belongs to larger objects, as nearly all of the background does, keeps its score. tell: called now and then.

    The raise is the white top-hat by area: the score less the highest level at which the pixel's object has more pixels than `largest`.
    """
    found = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    for top in range(rows.start, rows.stop, TILE):
        for left in range(columns.start, columns.stop, TILE):
            tell()
            first, west = max(0, top - largest), max(0, left - largest)
            bottom, right = min(top + TILE, rows.stop), min(left + TILE, columns.stop)
            values = scores[first : bottom + largest, west : right + largest]
            own = np.s_[top - first : bottom - first, left - west : right - west]
            opened = area_opening(values, largest + 1)[own]
            found[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = 2 * values[own] - opened
    return found


def area_opening(values: np.ndarray, pixels: int) -> np.ndarray:
    """At each pixel, the highest level at which it belongs to an object of at least so many pixels: float32 (rows, columns).

    values: (rows, columns) float32, NaN where there is nothing. An object at a level is a set of pixels of at least that value, connected
    by sides or corners; where all that is connected is smaller, the level is its lowest value. (Vincent, "Grayscale area openings and
    closings, their efficient implementation and applications", EURASIP workshop on mathematical morphology 1993.)

    Whether an object of so many pixels contains a pixel can be told from the pixels up to `pixels` - 1 rows and columns away.

    Every pixel belongs to the peak that the way up to its highest neighbour leads to. The pixels of a peak above any level are connected,
    so that objects are sets of peaks, which grow from the highest to the lowest saddle between them, and the result is the lower one of a
    pixel's value and one level for each peak.
    """
    valid = np.isfinite(values)
    flat = values[valid]
    ranks = np.full((values.shape[0] + 2, values.shape[1] + 2), -1, np.int32)
    order = flat.argsort(kind="stable").astype(np.int32)
    own = np.empty_like(order)
    own[order] = np.arange(len(flat), dtype=np.int32)
    ranks[1:-1, 1:-1][valid] = own
    peaks = _peaks(ranks)[own]
    levels = _levels(flat[order], *_saddles(ranks, peaks[order]), peaks[order], pixels)
    opened = np.full(values.shape, np.nan, np.float32)
    opened[valid] = np.minimum(flat, levels[peaks])
    return opened


def _peaks(ranks: np.ndarray) -> np.ndarray:
    """Peak, as the rank of its highest pixel, of each rank. ranks: (rows + 2, columns + 2), -1 where there is nothing."""
    inner = ranks[1:-1, 1:-1]
    highest = inner.copy()
    for down, right in HALF_OF_NEIGHBOURS:
        for y, x in ((down, right), (-down, -right)):
            shifted = ranks[1 + y : ranks.shape[0] - 1 + y, 1 + x : ranks.shape[1] - 1 + x]
            np.maximum(highest, shifted, out=highest)
    there = inner >= 0
    above = np.empty(np.count_nonzero(there), np.int32)
    above[inner[there]] = highest[there]
    while True:
        further = above[above]
        if np.array_equal(further, above):
            return above
        above = further


def _saddles(ranks: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The highest saddle between each two peaks that touch: rank of the saddle and the two peaks, from the highest saddle to the lowest.

    peaks: that of each rank.
    """
    lows, pairs = [], []
    rows, columns = ranks.shape
    for down, right in HALF_OF_NEIGHBOURS:
        one = ranks[1:-1, 1:-1]
        other = ranks[1 + down : rows - 1 + down, 1 + right : columns - 1 + right]
        both = (one >= 0) & (other >= 0)
        one, other = one[both], other[both]
        first, second = peaks[one], peaks[other]
        apart = first != second
        lows.append(np.minimum(one, other)[apart])
        first, second = first[apart], second[apart]
        pairs.append(np.maximum(first, second).astype(np.int64) * len(peaks) + np.minimum(first, second))
    low, pair = np.concatenate(lows), np.concatenate(pairs)
    falling = low.argsort()[::-1]
    low, pair = low[falling], pair[falling]
    _, highest = np.unique(pair, return_index=True)
    highest.sort()
    return low[highest], pair[highest] // len(peaks), pair[highest] % len(peaks)


def _levels(values: np.ndarray, saddles: np.ndarray, firsts: np.ndarray, seconds: np.ndarray, peaks: np.ndarray, pixels: int) -> np.ndarray:
    """Level of each peak, at its rank: the highest at which the object that it belongs to has so many pixels.

    values: rising. peaks: that of each rank.
    """
    # Of each peak, the ranks of its highest pixels, falling.
    grouped = peaks.argsort(kind="stable")[::-1]
    tops, starts, counts = np.unique(-peaks[grouped], return_index=True, return_counts=True)
    highest = {-top: grouped[start : start + min(count, pixels)] for top, start, count in zip(tops.tolist(), starts, counts)}
    members = {peak: [peak] for peak in highest}
    parent = {peak: peak for peak in highest}
    levels = np.full(len(values), np.nan, np.float32)

    def root(peak: int) -> int:
        while parent[peak] != peak:
            parent[peak] = peak = parent[parent[peak]]
        return peak

    def settle(peak: int, level: float) -> None:
        levels[members.pop(peak)] = level
        del highest[peak]

    for saddle, one, other in zip(saddles.tolist(), firsts.tolist(), seconds.tolist()):
        one, other = root(one), root(other)
        if one == other:
            continue
        for each in (one, other):
            if each in members and len(highest[each]) == pixels and highest[each][-1] >= saddle:
                settle(each, values[highest[each][-1]])
        parent[other] = one
        open_ones = [each for each in (one, other) if each in members]
        if len(open_ones) == 2:
            joined = np.concatenate([highest[one], highest.pop(other)])
            joined = np.sort(joined)[::-1][:pixels]
            members[one] += members.pop(other)
            highest[one] = joined
            if len(joined) == pixels and joined[-1] >= saddle:
                settle(one, values[saddle])
        elif open_ones:
            settle(open_ones[0], values[saddle])
    for peak in list(members):
        settle(peak, values[highest[peak][-1]])
    return levels
