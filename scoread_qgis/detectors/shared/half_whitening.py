"""The spectral space in which the surroundings of a pixel are compared: half whitened principal components."""

from __future__ import annotations

import torch

from .checks import State, check_keys, tensor

COMPONENTS = 15


class HalfWhitening:
    """Projects spectra half way between raw ones, where brightness is all, and whitened ones, where noise is.

    Bands are divided by the root of their standard deviation, and of these the first principal components by the root of theirs; then all
    by one number, so that their mean variance over the spectra of `fit` is 1. Units do not matter.

    mean: (bands,). projection: (bands, components). Both float32 tensors.
    """

    def __init__(self, mean: torch.Tensor, projection: torch.Tensor) -> None:
        self.mean, self.projection = mean, projection

    @classmethod
    def fit(cls, spectra: torch.Tensor, components: int = COMPONENTS) -> HalfWhitening:
        """spectra: (n, bands) tensor on the CPU, n >= 2. At most `components` principal components; fewer where the spectra have fewer.

        Raises ValueError where every band is constant.
        """
        exact = spectra.double()
        mean, deviation = exact.mean(0), exact.std(0)
        if not (deviation > 0).any():
            raise ValueError("there is nothing to learn: every band is constant")
        weights = torch.where(deviation > 0, deviation, torch.ones_like(deviation)).rsqrt()
        centred = (exact - mean) * weights
        variances, directions = torch.linalg.eigh(centred.T @ centred / (len(spectra) - 1))
        kept = variances.argsort(descending=True)[:components]
        kept = kept[variances[kept] > variances[-1] * 1e-12]
        # A component's variance is its root after the division: the mean of the roots makes the mean variance 1.
        scale = variances[kept].sqrt().mean().sqrt()
        projection = weights[:, None] * directions[:, kept] / variances[kept] ** 0.25 / scale
        return cls(mean.float(), projection.float().contiguous())

    def __call__(self, spectra: torch.Tensor) -> torch.Tensor:
        """Components (..., components) of spectra (..., bands)."""
        # Transposed: BLAS is slow with a matrix of so few columns, and fast with one of so few rows.
        components = self.projection.T @ (spectra - self.mean).flatten(0, -2).T
        return components.T.unflatten(0, spectra.shape[:-1])

    def to(self, device: torch.device | str) -> HalfWhitening:
        return HalfWhitening(self.mean.to(device), self.projection.to(device))

    def state(self) -> State:
        return {"mean": self.mean.cpu(), "projection": self.projection.cpu()}

    @classmethod
    def from_state(cls, state: State, bands: int) -> HalfWhitening:
        """Of spectra of so many bands. Raises ValueError for a state that is not of such."""
        check_keys(state, "whitening", "mean", "projection")
        return cls(tensor(state, "mean", bands), tensor(state, "projection", bands, None))
