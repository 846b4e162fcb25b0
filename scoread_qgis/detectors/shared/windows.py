"""What lies at an offset from each of many pixels at once, for all that compares a pixel with its surroundings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

PIXELS = 8192  # that are worked on at a time on a CPU, so that they stay in the processor's cache
PIXELS_OF_GPU = 2**17  # and on a GPU, so that it has enough to do

Look = Callable[[int, int], torch.Tensor]  # gets an offset, down and right
Distances = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]
Places = tuple[slice, slice]  # rows and columns


class Surroundings:
    """What is seen at offsets from some pixels of a block: of consecutive pixels of its rows (`of_rows`), or of any (`of_pixels`).

    Beyond the edge of the scene its mirror image is seen, without the edge itself. A block must have as many rows of context as the offsets
    reach, except where the scene ends: then its edge is the scene's.

    at(down, right): components (components, n). with_squares(down, right): the same, and after them their squares (2 * components, n).
    distances(down, right): squared distances (n,) of the pixel from there and from the opposite, by their components.
    there(down, right): (n,) bool, whether it is a valid pixel of the scene, and no mirror image.
    """

    def __init__(
        self,
        at: Look,
        with_squares: Look,
        distances: Distances,
        there: Look,
        seen: Look,
        places: tuple[torch.Tensor, ...],
        edges: Sequence[Places],
    ) -> None:
        self.at, self.with_squares, self.distances, self.there = at, with_squares, distances, there
        # seen: as `there`, but mirror images count. places: the rows and the columns that are seen from the first ones less the reach on,
        # and where in these the pixels are: tensors that broadcast to the shape of all pixels. edges: where among these mirror images may
        # be seen.
        self._seen, self._places, self._edges = seen, places, edges

    def pairs_there(self, offsets: Sequence[tuple[int, int]], inside: int) -> torch.Tensor:
        """(offsets, n) bool: whether an offset and its opposite show two valid pixels, neither of them within `inside` rows and columns of
        the pixel itself.

        Only mirror images can be nearer than their offset, or show one pixel twice.
        """
        usable = torch.stack([self._seen(y, x) for y, x in offsets]).logical_and_(torch.stack([self._seen(-y, -x) for y, x in offsets]))
        down, right, rows, columns = self._places
        steps = torch.tensor(offsets, device=down.device).view(-1, 2, *[1] * rows.dim())
        of_pixels = usable.view(-1, *torch.broadcast_shapes(rows.shape, columns.shape))
        for place in self._edges:
            own_rows, own_columns = rows[place[0]], columns[place[1]]
            first, second = ((down[own_rows + side * steps[:, 0]], right[own_columns + side * steps[:, 1]]) for side in (1, -1))
            apart = (first[0] != second[0]) | (first[1] != second[1])
            for row, column in (first, second):
                apart &= ((row - down[own_rows]).abs() > inside) | ((column - right[own_columns]).abs() > inside)
            of_pixels[(slice(None), *place[: rows.dim()])] &= apart
        return usable

    @classmethod
    def of_rows(
        cls, components: torch.Tensor, valid: torch.Tensor, first: int, last: int, reach: int
    ) -> Iterator[tuple[Surroundings, slice, slice, int]]:
        """Of all pixels of rows first..last-1, some at a time: (`Surroundings`, rows, columns, width) of the pixels.

        rows, columns: slices, counted from `first`; what is computed of the surroundings is (n,), of so many rows of `width`, the first
        columns of which are those of the slice: `unfold` puts it there.

        components: (rows, columns, components); valid: (rows, columns) bool.
        """
        height, width = valid.shape
        device = valid.device
        down, right = (_mirrored(size, reach, device) for size in (height, width))
        down = down[first : last + 2 * reach]
        # All in one row, so that an offset is a shift, whatever the pixels: what is read beyond the end of a row belongs to no pixel.
        wide, size = width + 2 * reach, (last - first + 2 * reach) * (width + 2 * reach)
        count = components.shape[2]
        values = components.new_zeros(2 * count, size + 2 * reach)
        image = values[:count, :size].view(count, -1, wide)
        image.copy_(components[down][:, right].permute(2, 0, 1))
        torch.square(values[:count], out=values[count:])
        seen = torch.zeros(size + 2 * reach, dtype=torch.bool, device=device)
        seen[:size].view(-1, wide).copy_(valid[down][:, right])
        there = seen.clone()
        within = (torch.arange(first, last + 2 * reach, device=device) - reach, torch.arange(wide, device=device) - reach)
        rows_within, columns_within = ((index >= 0) & (index < size) for index, size in zip(within, (height, width)))
        there[:size].view(-1, wide).logical_and_(rows_within[:, None] & columns_within)
        right = torch.cat([right, right[-1:].expand(2 * reach)])

        at_once = PIXELS if device.type == "cpu" else PIXELS_OF_GPU
        rows_at_once, columns_at_once = max(1, at_once // wide), min(width, at_once)
        for top in range(0, last - first, rows_at_once):
            bottom = min(top + rows_at_once, last - first)
            for left in range(0, width, columns_at_once):
                end = min(left + columns_at_once, width)
                across = end - left if rows_at_once == 1 else wide
                n = (bottom - top) * across
                start = (reach + top) * wide + reach + left

                def look(array: torch.Tensor, start: int = start, n: int = n) -> Look:
                    return lambda y, x: array.narrow(-1, start + y * wide + x, n)

                def distances(y: int, x: int, start: int = start, n: int = n) -> tuple[torch.Tensor, torch.Tensor]:
                    shift = y * wide + x
                    if not 0 < shift < n:
                        own = values[:count, start : start + n]
                        first, second = ((own - values[:count].narrow(1, start + side * shift, n)).square_().sum(0) for side in (1, -1))
                        return first, second
                    # What is as far from each other is compared once: a pixel's distance from one is that of the other from it.
                    apart = values[:count, start : start + n + shift] - values[:count, start - shift : start + n]
                    apart = apart.square_().sum(0)
                    return apart[shift:], apart[:n]

                places = (
                    down,
                    right,
                    torch.arange(reach + top, reach + bottom, device=device)[:, None],
                    torch.arange(reach + left, reach + left + across, device=device),
                )
                # What is left and above of these begins the scene, what is right and below ends it.
                above, below = max(0, reach - first - top), max(0, last - height + reach - (last - first - bottom))
                before, behind = max(0, reach - left), max(0, end + reach - width)
                every = slice(None)
                edges = [(slice(above), every), (slice(max(0, bottom - top - below), None), every)]
                edges += [(every, slice(before)), (every, slice(max(0, end - left - behind), end - left))]
                around = cls(look(values[:count]), look(values), distances, look(there), look(seen), places, edges)
                yield around, slice(top, bottom), slice(left, end), across

    @classmethod
    def of_pixels(
        cls, components: torch.Tensor, valid: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, reach: int
    ) -> Surroundings:
        """Of pixels (n,) at `rows` and `columns` of the block, tensors of int64. Otherwise as `of_rows`."""
        height, width = valid.shape
        device = valid.device
        down, right = (_mirrored(size, reach, device) for size in (height, width))
        table, flat = components.flatten(0, 1), valid.flatten()

        def place(y: int, x: int) -> torch.Tensor:
            return down[rows + y + reach] * width + right[columns + x + reach]

        def at(y: int, x: int) -> torch.Tensor:
            return table.index_select(0, place(y, x)).T

        def with_squares(y: int, x: int) -> torch.Tensor:
            values = at(y, x)
            return torch.cat([values, values.square()])

        def seen(y: int, x: int) -> torch.Tensor:
            return flat[place(y, x)]

        def there(y: int, x: int) -> torch.Tensor:
            row, column = rows + y, columns + x
            return seen(y, x) & (row >= 0) & (row < height) & (column >= 0) & (column < width)

        def distances(y: int, x: int) -> tuple[torch.Tensor, torch.Tensor]:
            first, second = ((own - at(side * y, side * x)).square_().sum(0) for side in (1, -1))
            return first, second

        own, every = at(0, 0), slice(None)
        return cls(at, with_squares, distances, there, seen, (down, right, rows + reach, columns + reach), [(every, every)])


def unfold(values: torch.Tensor, rows: slice, columns: slice, width: int) -> torch.Tensor:
    """What was computed of `Surroundings.of_rows` (..., n) as (..., rows, columns)."""
    return values.unflatten(-1, (rows.stop - rows.start, width))[..., : columns.stop - columns.start]


def _mirrored(size: int, reach: int, device: torch.device) -> torch.Tensor:
    """Index (size + 2 * reach,) of what is seen from -reach to size + reach: the mirror image beyond the ends."""
    index = torch.arange(-reach, size + reach, device=device)
    period = max(2 * (size - 1), 1)
    index = index % period
    return torch.minimum(index, period - index) if size > 1 else torch.zeros_like(index)
