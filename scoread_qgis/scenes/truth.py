"""The truth of a scene on the grid of its anomaly maps: where anomalies are, and where that is known. For evaluation, nothing else."""

import numpy as np

from .mask import Mask


class Truth(Mask):
    """Anomalous pixels, read by rows. Polygons mark anomalies and leave the rest background; a raster marks them by any value but 0.

    Where a raster has nodata or does not reach, nothing is known.
    """

    kind = "truth"
    _elsewhere = np.nan

    def known(self, first, last, left=0, right=None):
        """Where rows first..last-1 of columns left..right-1, by default all, are known to be anomalous or not, (rows, columns) bool."""
        return np.isfinite(self._values(first, last, left, right))

    def _checked(self, raster, name):
        self._dataset.FlushCache()
        return self  # what it marks matters only where there are scores
