"""The cube: blocks with context, and samples that do not depend on the blocks."""

import numpy as np
import pytest

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Cancelled, Progress


class CountingCube(ArrayCube):
    """Counts how often each row is read."""

    def read(self, first, last, left=0, right=None):
        assert first < last
        self.reads[first:last] += 1
        return super().read(first, last)


@pytest.mark.parametrize("halo", [0, 1, 5, 40])
@pytest.mark.parametrize("rows_per_block", [1, 3, 10, 100])
def test_blocks_cover_the_scene_once_with_their_context(halo, rows_per_block):
    values = np.arange(23 * 4 * 2, dtype=np.float32).reshape(23, 4, 2)
    cube = CountingCube(values, rows_per_block=rows_per_block)
    cube.reads = np.zeros(23, int)
    row = 0
    for block in cube.blocks(halo):
        assert block.row == row
        assert block.above == min(halo, row)
        assert block.below == min(halo, 23 - row - block.rows)
        np.testing.assert_array_equal(block.values, values[row - block.above : row + block.rows + block.below])
        np.testing.assert_array_equal(block.values[block.inner], values[row : row + block.rows])
        row += block.rows
    assert row == 23
    assert (cube.reads == 1).all()


def test_sample_is_the_same_for_all_blocks_and_uniform():
    values = np.random.default_rng(0).random((60, 50, 3))
    values[10:20] = np.nan
    draws = []
    for rows_per_block in (1, 7, 60):
        cube = ArrayCube(values, rows_per_block=rows_per_block)
        positions, (spectra,) = cube.sample(800, 5, lambda block, r, c: (block.values[r, c],), halo=2)
        np.testing.assert_allclose(spectra, values[positions[:, 0], positions[:, 1]].astype(np.float32))
        draws.append(positions)
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[2])
    assert len(np.unique(draws[0], axis=0)) == 800
    counts = np.bincount(draws[0][:, 0], minlength=60)
    assert (counts[10:20] == 0).all()
    # 800 of 2500 pixels: 16 of the 50 of each row, give or take four hypergeometric standard deviations
    assert np.abs(counts[np.r_[0:10, 20:60]] - 16).max() < 4 * (16 * 0.68) ** 0.5


def test_sample_of_fewer_pixels_than_asked_for_is_all_of_them():
    cube = ArrayCube(np.ones((4, 5, 2)), valid=np.eye(4, 5, dtype=bool))
    positions, _ = cube.sample(100, 0, lambda block, r, c: (r,))
    assert sorted(map(tuple, positions)) == [(i, i) for i in range(4)]


def test_progress_parts_add_up_and_cancel_passes_through():
    seen = []
    progress = Progress(lambda fraction, message: seen.append(round(fraction, 6)))
    progress.part(0.5, 1.0).part(0.0, 0.5)(1.0, "half of the second half")
    assert seen == [0.75]

    def cancel(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        list(ArrayCube(np.ones((4, 5, 2))).blocks(progress=Progress(cancel)))
