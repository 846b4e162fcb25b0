"""Mean, covariance and Mahalanobis distance of spectra, or of features, in double precision."""

from __future__ import annotations

import torch

from .checks import State

CHUNK = 8192  # vectors that are worked on at a time: some 10 MB in double precision
STRIP = 64  # rows of the products that are added up at a time


class GaussianStatistics:
    """Mean and covariance of vectors that come in parts, accumulated in double precision on the CPU, as not every GPU has it.

    Products are taken of vectors minus the mean of the first part, so that a large common offset costs no digits. As they are symmetric,
    only the part above the diagonal is added up, in strips, and a little more.
    """

    def __init__(self) -> None:
        self.count = 0

    def add(self, vectors: torch.Tensor) -> None:
        """Add vectors (n, size), a tensor of any float type on any device."""
        for part in vectors.split(CHUNK):
            if len(part) == 0:
                return
            part = part.cpu().double()
            if self.count == 0:
                size = part.shape[1]
                self._origin = part.mean(0)
                self._sum = part.new_zeros(size)
                self._products = part.new_zeros(size, size)
            part = part - self._origin
            self.count += len(part)
            self._sum += part.sum(0)
            for first in range(0, len(self._products), STRIP):
                self._products[first : first + STRIP, first:].addmm_(part[:, first : first + STRIP].T, part[:, first:])

    def merge(self, other: GaussianStatistics) -> None:
        """Add the vectors that went into other statistics."""
        if other.count == 0:
            return
        if self.count == 0:
            self._origin, self._sum, self._products = other._origin, torch.zeros_like(other._sum), torch.zeros_like(other._products)
        shift = other._origin - self._origin
        across = torch.outer(other._sum, shift)
        self.count += other.count
        self._sum += other._sum + other.count * shift
        self._products += other._products + across + across.T + other.count * torch.outer(shift, shift)

    def state(self) -> State:
        """Everything that `from_state` needs, as torch.load(weights_only=True) accepts it."""
        return vars(self)

    @classmethod
    def from_state(cls, state: State) -> GaussianStatistics:
        statistics = cls()
        vars(statistics).update(state)
        return statistics

    @property
    def mean(self) -> torch.Tensor:
        return self._origin + self._sum / self.count

    @property
    def covariance(self) -> torch.Tensor:
        """Unbiased: the divisor is the number of vectors less one."""
        offset = self._sum / self.count
        products = self._products.triu() + self._products.triu(1).T
        return (products - self.count * torch.outer(offset, offset)) / (self.count - 1)


class MahalanobisDistance:
    """Squared Mahalanobis distance by the pseudo-inverse of the covariance: directions without variance do not count. On the CPU.

    mean: (size,). whitening: (size, directions), to components of unit variance. Both float64 tensors.
    """

    def __init__(self, statistics: GaussianStatistics) -> None:
        if statistics.count < 2:
            raise ValueError(f"the background statistics need at least two valid pixels; this scene has {statistics.count}")
        eigenvalues, eigenvectors = torch.linalg.eigh(statistics.covariance)
        kept = eigenvalues > eigenvalues[-1].clamp(min=0) * len(eigenvalues) * torch.finfo(torch.float64).eps
        directions = int(kept.sum())
        if statistics.count <= directions + 1:
            # Each pixel then has the same distance from their mean, (n - 1)^2 / n.
            raise ValueError(
                f"{statistics.count} valid pixels do not describe a background that varies in {directions} directions, in which all of "
                f"them are equally far from their mean: {directions + 2} pixels are needed. Choose fewer bands, or a larger scene "
                "or mask."
            )
        self.whitening = eigenvectors[:, kept] / eigenvalues[kept].sqrt()
        self.mean = statistics.mean

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """Distances (n,) float64 of vectors (n, size) on any device."""
        parts = [((part.cpu().double() - self.mean) @ self.whitening).square_().sum(1) for part in vectors.split(CHUNK)]
        return torch.cat(parts)

    def contributions(self, vectors: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """Share of each component in `self(vectors) - self(start)`: (n, size) float64 of vectors and start (n, size) on any device.

        They sum up to that: integrated gradients on the straight line from start to vectors, which a quadratic form has in closed form.
        """
        vectors, start = vectors.cpu().double(), start.cpu().double()
        return (vectors - start) * ((vectors + start - 2 * self.mean) @ self.whitening @ self.whitening.T)
