"""Ground truth on the grid of anomaly maps: where anomalies are, and where that is known. Used for evaluation only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .mask import AnyMask, Mask

if TYPE_CHECKING:
    from .raster import RasterFile
    from .score_map import ScoreMap


class Truth(Mask):
    """Ground truth: anomalous pixels, read by rows. Outside of polygons is background; in a raster, every value except 0 is an anomaly.

    Where a raster has nodata, and beyond its edges, nothing is known.
    """

    kind = "ground truth"
    _elsewhere = np.nan

    def known(self, first: int, last: int, left: int = 0, right: int | None = None) -> np.ndarray:
        """Where the ground truth of rows first..last-1 of columns left..right-1, by default all, is known, (rows, columns) bool."""
        return np.isfinite(self._values(first, last, left, right))

    def _checked(self: AnyMask, raster: RasterFile | ScoreMap, name: str) -> AnyMask:
        self._dataset.FlushCache()
        return self  # anomalies are needed only where there are scores
