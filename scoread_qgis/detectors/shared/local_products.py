"""The local background of every pixel of a block: by sums, or window by window where these hold few spectra."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np
import torch

from ...core.cube import Block, Cube
from .local_sums import TILE, Tile, products_by_sums
from .local_windows import LocalWindows, at_a_time, cut, in_block

REPORT_SECONDS = 0.2  # between two reports
FEW_PRODUCTS = 3e4  # of the spectra in a window, which is then solved by itself
FEWEST_ROWS = TILE[0]  # of a block, so that its tiles are whole


def local_products(
    cube: Cube, block: Block, windows: LocalWindows, counts: np.ndarray, targets: torch.Tensor, tell: Callable[[float], None]
) -> torch.Tensor:
    """The products (rows, columns, 1 + n, 1 + n) float64 of the spectrum of each own pixel of a block, and of n targets, with each other.

    They are as `LocalWindows.products` has them, against the background around the pixel; NaN where the pixel is not valid, or its
    background tells nothing.

    block: with `windows.context` of context. counts: (rows, columns) bool, which pixels of the block and its context are background.
    targets: (n, bands) float64. tell: is told the share that is done.
    """
    size = 1 + len(targets)
    products = torch.full((block.rows, block.columns, size, size), torch.nan, dtype=torch.float64)
    chosen = block.valid[block.inner]
    if windows.pixels * cube.bands * min(windows.pixels, cube.bands) < FEW_PRODUCTS:
        products[torch.from_numpy(chosen)] = products_by_windows(cube, block, windows, counts, targets, chosen, tell)
        return products
    height, width = TILE
    doubtful = np.zeros_like(chosen)
    tiles = [(rows, columns) for rows in cut(block.row, block.rows, height) for columns in cut(block.column, block.columns, width)]
    tiles = [tile for tile in tiles if chosen[in_block(block, *tile)].any()]
    stopped = threading.Event()

    def work(rows: tuple[int, int], columns: tuple[int, int]) -> None:
        if not stopped.is_set():
            here = in_block(block, rows, columns)
            found, certain = products_by_sums(Tile(cube, block, windows, counts, targets, rows, columns), stopped)
            wanted = torch.from_numpy(chosen[here])
            products[here] = torch.where(wanted[:, :, None, None], found, torch.nan)
            doubtful[here] = (wanted & ~certain).numpy()

    with _single_threads() as threads:
        waiting = {threads.submit(work, *tile) for tile in tiles}
        try:
            while waiting:
                tell(1 - len(waiting) / len(tiles))
                done, waiting = wait(waiting, REPORT_SECONDS, FIRST_COMPLETED)
                for each in done:
                    each.result()
        finally:
            stopped.set()
    left = products_by_windows(cube, block, windows, counts, targets, doubtful, lambda share: tell(1.0))
    products[torch.from_numpy(doubtful)] = left
    return products


def products_by_windows(
    cube: Cube,
    block: Block,
    windows: LocalWindows,
    counts: np.ndarray,
    targets: torch.Tensor,
    chosen: np.ndarray,
    tell: Callable[[float], None],
) -> torch.Tensor:
    """As `local_products`, of the chosen own pixels (rows, columns) of a block, (n, v, v): each by the covariance in its windows."""
    rows, columns = np.nonzero(chosen)
    products = torch.empty(len(rows), 1 + len(targets), 1 + len(targets), dtype=torch.float64)
    values, valid = torch.from_numpy(block.values), torch.from_numpy(counts)
    for some in at_a_time(len(rows), windows.pixels * cube.bands):
        tell(some.start / len(rows))
        r, c = rows[some], columns[some]
        background, used = windows.spectra(cube, block, valid, r + block.row, c + block.column)
        spectra = values[torch.from_numpy(r + block.above), torch.from_numpy(c + block.left)].double()
        vectors = torch.cat([spectra.unsqueeze(1), targets.expand(len(spectra), -1, -1)], 1)
        products[some] = windows.products(vectors, background, used)
    return products


@contextmanager
def _single_threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as PyTorch would use, each of which computes alone: matrices this small are not worth sharing one among threads.

    The end of the block waits for what they work on. With OpenMP each thread has its own count, but takes over that which was set last on
    any when it first computes: so it goes back to what it was at once.
    """
    count = torch.get_num_threads()
    ready = threading.Barrier(count + 1)

    def alone() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)

    with ThreadPoolExecutor(count, "scoread-rx", alone) as threads:
        try:
            for _ in range(count):
                threads.submit(ready.wait)
            ready.wait()
            torch.set_num_threads(count)
            yield threads
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
