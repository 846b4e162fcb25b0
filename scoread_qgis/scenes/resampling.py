"""A scene resampled to the wavelengths of a model, for models that are used across sensors."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from ..core.cube import Cube

if TYPE_CHECKING:
    from .raster import RasterCube


class ResampledCube(Cube):
    """A `RasterCube` with its spectra interpolated linearly to other wavelengths.

    cube: `RasterCube` with known wavelengths, in any order. wavelengths: (bands,) nm, to resample to.
    Raises ValueError where they exceed the scene's spectral range by more than half its median band spacing.
    """

    def __init__(self, cube: RasterCube, wavelengths: Sequence[float] | np.ndarray) -> None:
        own = np.asarray(cube.wavelengths, np.float64)
        wanted = np.asarray(wavelengths, np.float64)
        order = np.argsort(own)
        tolerance = 0.5 * np.median(np.diff(np.unique(own)))
        outside = wanted[(wanted < own.min() - tolerance) | (wanted > own.max() + tolerance)]
        if outside.size:
            raise ValueError(
                f"The model covers {wanted.min():.0f} to {wanted.max():.0f} nm, but {cube.raster.name} only {own.min():.0f} to "
                f"{own.max():.0f} nm. Train a model on bands that both have."
            )
        self._cube, self.raster = cube, cube.raster
        self.rows, self.columns, self.bands = cube.rows, cube.columns, wanted.size
        self.wavelengths, self.reads_ahead = wanted, cube.reads_ahead
        self._weights = np.stack([np.interp(wanted, own[order], unit[order]) for unit in np.eye(own.size)]).astype(np.float32)

    @property
    def rows_per_block(self) -> int:  # type: ignore[override]  # it follows from the area
        return self._cube.within(*self.area).rows_per_block

    def most_columns(self, context: int, margin: int) -> int:
        return self._cube.within(*self.area).most_columns(context, margin)

    def during_a_pass(self) -> AbstractContextManager[None]:
        return self._cube.within(*self.area).during_a_pass()

    def read(self, first: int, last: int, left: int = 0, right: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        values, valid = self._cube.read(first, last, left, right)
        return values @ self._weights, valid

    def map_positions(self, positions: np.ndarray) -> np.ndarray:
        return self._cube.map_positions(positions)

    def pixel_positions(self, coordinates: np.ndarray) -> np.ndarray:
        return self._cube.pixel_positions(coordinates)
