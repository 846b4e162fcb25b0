"""The scaling of scenes for FERS."""

from __future__ import annotations

import numpy as np

from ...core.cube import Cube
from ...core.progress import Progress


class SceneScaling:
    """From the units of a scene to -0.1..0.1, by its smallest and largest value over all bands and valid pixels. mean: (bands,) of its
    spectra.

    Pixels that are not valid become the mean spectrum of the scene, which disturbs a convolution beside them least.
    """

    def __init__(self, cube: Cube, progress: Progress | None = None) -> None:
        """Reads the scene once. Raises ValueError where it has no valid pixel or is constant."""
        progress = progress or Progress()
        minimum, maximum, total, count = np.inf, -np.inf, np.zeros(cube.bands), 0
        for block in cube.blocks(progress=progress, message="FERS, scaling"):
            for values, valid in zip(block.values[block.inner], block.valid[block.inner]):
                values = values[valid]
                if len(values):
                    minimum, maximum = min(minimum, float(values.min())), max(maximum, float(values.max()))
                    total += values.sum(0, dtype=np.float64)
                    count += len(values)
        if count == 0:
            raise ValueError("the scene has no valid pixel")
        if minimum == maximum:
            raise ValueError(f"all values of the scene are {minimum:g}: there is nothing to tell apart")
        self.minimum, self.maximum = minimum, maximum
        self.mean = total / count
        self.fill = self._scaled(self.mean).astype(np.float32)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return (values - self.minimum) * (0.2 / (self.maximum - self.minimum)) - 0.1

    def __call__(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Scaled spectra (..., bands) float32 of values (..., bands)."""
        scaled = self._scaled(values.astype(np.float32))
        if not valid.all():
            scaled[~valid] = self.fill
        return scaled
