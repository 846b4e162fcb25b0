"""What detectors of targets gather of the background of a scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ...core.cube import Block, Cube, merge_samples
from ...core.progress import Progress
from ..contract import passes, valid_spectra
from ..shared.checks import State
from ..shared.statistics import GaussianStatistics, MahalanobisDistance
from ..shared.trimmed_gaussian import TrimmedGaussian
from .own_pixels import OwnPixels

SAMPLE = 32_768  # pixels that the trimmed statistics are estimated from: all of a scene of 180 x 180


class Background:
    """The background of a scene, gathered in parts, without the targets' own pixels.

    kind: "global", mean and covariance of all valid pixels; "trimmed", those of the bulk of a sample (`TrimmedGaussian`), which
    anomalies do not shape; "local", nothing, as it is gathered around each pixel.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.statistics = GaussianStatistics()
        self.keys, self.spectra, self.counts = np.empty(0), np.empty((0, 0), np.float32), np.empty(0, bool)

    @classmethod
    def of(cls, kind: str, cube: Cube, own: OwnPixels, progress: Progress | None = None) -> Background:
        """The background of a cube, or of a part of it."""
        found = cls(kind)
        if kind == "global":
            for block, _ in passes(cube, progress=progress, phase="background"):
                found.statistics.add(valid_spectra(replace(block, valid=own.without(block))))
        elif kind == "trimmed":

            def gather(block: Block, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, ...]:
                return block.values[rows, columns], own.without(block)[rows, columns]

            keys, _, arrays = cube.keyed_sample(SAMPLE, 0, gather, progress=progress, message="background")
            if arrays is not None:
                found.keys, (found.spectra, found.counts) = keys, arrays
        return found

    def merge(self, other: Background) -> None:
        self.statistics.merge(other.statistics)
        parts = [(each.keys, np.arange(len(each.keys))[:, None], (each.keys, each.spectra, each.counts)) for each in (self, other)]
        _, arrays = merge_samples(parts, SAMPLE)
        if arrays:
            self.keys, self.spectra, self.counts = arrays

    def state(self) -> State:
        sample = {"keys": torch.from_numpy(self.keys), "spectra": torch.from_numpy(self.spectra)}
        return {
            "kind": self.kind,
            "statistics": self.statistics.state(),
            "counts": torch.from_numpy(self.counts.astype(np.int64)),
            **sample,
        }

    @classmethod
    def from_state(cls, state: State) -> Background:
        found = cls(state["kind"])
        found.statistics = GaussianStatistics.from_state(state["statistics"])
        found.keys, found.spectra, found.counts = (state[name].numpy() for name in ("keys", "spectra", "counts"))
        found.counts = found.counts.astype(bool)
        return found

    def whitening(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (bands,) and the matrix (bands, directions) that brings spectra less the mean to unit covariance, float64.

        Raises ValueError where there are too few valid pixels.
        """
        if self.kind == "global":
            distance = MahalanobisDistance(self.statistics)
            return distance.mean, distance.whitening
        order = np.argsort(self.keys)  # so that it does not depend on how the scene was split
        spectra = self.spectra[order][self.counts[order]]
        if len(spectra) < 2:
            raise ValueError(f"the background statistics need at least two valid pixels; this scene has {len(spectra)}")
        model, _ = TrimmedGaussian.fit(torch.from_numpy(spectra))
        return (model.centre + model.scale * model.mean).double(), model.whitening.double() / model.scale.double().unsqueeze(1)
