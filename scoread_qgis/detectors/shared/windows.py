"""What lies at an offset from each of many pixels at once, for all that compares a pixel with its surroundings."""

from __future__ import annotations

from collections.abc import Callable

import torch

Look = Callable[[int, int], torch.Tensor]  # gets an offset, down and right
Place = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]  # row and column of what is seen at an offset, -1 beyond the scene


class Surroundings:
    """Values at offsets from some pixels of a block: `at(down, right)` is (components, ...), `there(down, right)` is (...) bool.

    The pixels are those of whole rows (`of_rows`), read as views without copies, or any others (`of_pixels`). Beyond the edge of the scene
    nothing is there, or, `mirrored`, the scene's mirror image without its edge. A block must have as many rows of context as the offsets
    reach, except where the scene ends: then its edge is the scene's.
    """

    def __init__(self, at: Look, there: Look, place: Place, rows: torch.Tensor, columns: torch.Tensor) -> None:
        self.at, self.there = at, there
        self._place, self._rows, self._columns = place, rows, columns

    def pair_there(self, down: int, right: int, inside: int) -> torch.Tensor:
        """(...) bool: whether an offset and its opposite show two valid pixels, neither of them within `inside` rows and columns of the
        pixel itself.

        Only mirror images can be nearer than their offset, or show one pixel twice.
        """
        (row, column), (other_row, other_column) = self._place(down, right), self._place(-down, -right)
        usable = self.there(down, right) & self.there(-down, -right) & ((row != other_row) | (column != other_column))
        for y, x in ((row, column), (other_row, other_column)):
            usable &= ((y - self._rows).abs() > inside) | ((x - self._columns).abs() > inside)
        return usable

    @classmethod
    def of_rows(
        cls, components: torch.Tensor, valid: torch.Tensor, first: int, last: int, reach: int, mirrored: bool = False
    ) -> Surroundings:
        """Of all pixels (last - first, columns) of rows first..last-1. components: (rows, columns, components); valid: (rows, columns)
        bool.
        """
        height, width = valid.shape
        down, right = (_padded(size, reach, mirrored, valid.device) for size in (height, width))
        down = down[first : last + 2 * reach]
        values = components.permute(2, 0, 1)[:, down.clamp(min=0)][:, :, right.clamp(min=0)].contiguous()
        seen = valid[down.clamp(min=0)][:, right.clamp(min=0)] & (down >= 0)[:, None] & (right >= 0)

        def window(y: int, x: int) -> tuple[slice, slice]:
            return slice(reach + y, reach + y + last - first), slice(reach + x, reach + x + width)

        def place(y: int, x: int) -> tuple[torch.Tensor, torch.Tensor]:
            rows, columns = window(y, x)
            return down[rows, None], right[None, columns]

        return cls(lambda y, x: values[(slice(None), *window(y, x))], lambda y, x: seen[window(y, x)], place, *place(0, 0))

    @classmethod
    def of_pixels(
        cls,
        components: torch.Tensor,
        valid: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
        reach: int,
        mirrored: bool = False,
    ) -> Surroundings:
        """Of pixels (n,) at `rows` and `columns` of the block, tensors of int64. Otherwise as `of_rows`."""
        height, width = valid.shape
        down, right = (_padded(size, reach, mirrored, valid.device) for size in (height, width))

        def place(y: int, x: int) -> tuple[torch.Tensor, torch.Tensor]:
            return down[rows + y + reach], right[columns + x + reach]

        def there(y: int, x: int) -> torch.Tensor:
            row, column = place(y, x)
            return valid[row.clamp(min=0), column.clamp(min=0)] & (row >= 0) & (column >= 0)

        return cls(lambda y, x: components[tuple(index.clamp(min=0) for index in place(y, x))].T, there, place, rows, columns)


def _padded(size: int, reach: int, mirrored: bool, device: torch.device) -> torch.Tensor:
    """Index (size + 2 * reach,) of what is seen from -reach to size + reach: the mirror image beyond the ends, or -1."""
    index = torch.arange(-reach, size + reach, device=device)
    if mirrored:
        period = max(2 * (size - 1), 1)
        index = index % period
        return torch.minimum(index, period - index) if size > 1 else torch.zeros_like(index)
    return torch.where((index >= 0) & (index < size), index, -1)
