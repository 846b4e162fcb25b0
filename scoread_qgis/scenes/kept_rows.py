"""Rows of a file that are kept in memory as they are stored, so that a second pass need not read and decode them again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class KeptRows:
    """Whole rows of some bands of a file, of those that come first, as many as there is room for.

    numbers: the bands, from 1. most: bytes that they may take. whole: whether all rows of the file take no more.
    """

    def __init__(self, numbers: Sequence[int], most: int, whole: bool) -> None:
        self.numbers, self.most, self.whole = list(numbers), most, whole
        self._rows: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}  # values (bands, columns), and the mask (columns,) of all bands
        self._bytes = 0

    def add(self, first: int, values: np.ndarray, masked: np.ndarray | None) -> None:
        """Keep the rows from `first` on: values (bands, rows, columns), and the mask (rows, columns) of all bands or None."""
        row_bytes = (values.nbytes + (0 if masked is None else masked.nbytes)) // values.shape[1]
        for place in range(values.shape[1]):
            if self._bytes + row_bytes > self.most:
                return
            self._rows[first + place] = values[:, place].copy(), None if masked is None else masked[place].copy()
            self._bytes += row_bytes

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """(first row, row after the last one) of each run of rows among first..last-1 that are not kept."""
        spans: list[tuple[int, int]] = []
        for row in range(first, last):
            if row not in self._rows:
                start = spans.pop()[0] if spans and spans[-1][1] == row else row
                spans.append((start, row + 1))
        return spans

    def fill(self, first: int, left: int, numbers: Sequence[int], values: np.ndarray, masked: np.ndarray | None) -> None:
        """Write the columns from `left` on of those rows from `first` on that are kept to values (bands, rows, columns) and masked."""
        index = slice(None) if list(numbers) == self.numbers else [self.numbers.index(number) for number in numbers]
        columns = slice(left, left + values.shape[2])
        for place in range(values.shape[1]):
            kept = self._rows.get(first + place)
            if kept is not None:
                values[:, place] = kept[0][index, columns]
                if masked is not None and kept[1] is not None:
                    masked[place] = kept[1][columns]

    def limited_to(self, numbers: Sequence[int]) -> KeptRows:
        """The same rows of these of the bands, with the same room."""
        index = [self.numbers.index(number) for number in numbers]
        limited = KeptRows(numbers, self.most, self.whole)
        for row, (values, masked) in self._rows.items():
            limited.add(row, values[index][:, None], None if masked is None else masked[None])
        return limited
