"""A robust Gaussian model of background vectors and its Mahalanobis distance."""

from __future__ import annotations

from functools import cached_property

import torch

from .checks import State, check_keys, tensor

TRIMMED = 0.02  # share of the vectors, the farthest ones, that the mean and the covariance leave out
REFITS = 2
PARTS = 4  # in which a triangular matrix is multiplied: the more, the less of its zeros, and the smaller the products


class TrimmedGaussian:
    """Mean and covariance of the bulk of some vectors; the distance of a vector from it is its anomaly value.

    Vectors are scaled to unit variance in each coordinate, so that units do not matter. Mean and covariance are those of all vectors first,
    then, twice, of those less the 2 % that are farthest (concentration steps: Rousseeuw and Van Driessen, Technometrics 1999), so that
    anomalies do not shape the background. The covariance is shrunk towards a multiple of the identity, by as much as its own error calls
    for (oracle approximating shrinkage: Chen, Wiesel, Eldar and Hero, IEEE Transactions on Signal Processing 2010), so that the distance is
    defined where there are fewer vectors than coordinates, and within the precision of float32.

    centre, scale: (size,) of the scaling. mean: (size,). whitening: (size, size). All float32 tensors.
    """

    def __init__(self, centre: torch.Tensor, scale: torch.Tensor, mean: torch.Tensor, whitening: torch.Tensor) -> None:
        self.centre, self.scale, self.mean, self.whitening = centre, scale, mean, whitening

    @classmethod
    def fit(cls, vectors: torch.Tensor) -> tuple[TrimmedGaussian, torch.Tensor]:
        """vectors: (n, size) tensor on the CPU, n >= 2. Returns the model and a mask (n,) bool: False for the farthest 2 % of it."""
        centre = vectors.double().mean(0)
        scale = vectors.double().std(0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        centre, scale = centre.float(), scale.float()
        scaled = (vectors - centre) / scale
        exact = scaled.double()
        count, total, products = len(scaled), exact.sum(0), exact.T @ exact
        out = scaled[:0]
        for _ in range(REFITS + 1):
            # What was left out is taken off the sums of all vectors, which are made once.
            out = out.double()
            n = count - len(out)
            mean = (total - out.sum(0)) / n
            covariance = (products - out.T @ out) / n - torch.outer(mean, mean)
            factor = torch.linalg.cholesky(shrunk(covariance, n))
            identity = torch.eye(len(mean), dtype=factor.dtype)
            whitening = torch.linalg.solve_triangular(factor, identity, upper=False).T
            model = cls(centre, scale, mean.float(), whitening.float().contiguous())
            distances = model._scaled_distance(scaled)
            kept = distances <= torch.quantile(distances, 1 - TRIMMED)
            out = scaled[~kept]
        return model, kept

    def distance(self, vectors: torch.Tensor) -> torch.Tensor:
        """Squared Mahalanobis distances (n,) of vectors (n, size)."""
        origin, parts = self._folded
        offsets = vectors - origin
        distance = (offsets[:, : len(parts[0])] @ parts[0]).square_().sum(1)
        for part in parts[1:]:
            distance = distance + (offsets[:, : len(part)] @ part).square_().sum(1)
        return distance

    def draw(self, count: int, seed: int) -> torch.Tensor:
        """Vectors (count, size) drawn from this Gaussian."""
        variances, directions = self._principal
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(count, len(self.mean), generator=generator).to(variances.device)
        return (drawn * variances.sqrt() @ directions.T + self.mean) * self.scale + self.centre

    @cached_property
    def _folded(self) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The scaling, the mean and the whitening in one: origin (size,), and the matrix that the offsets from it are multiplied with, in
        some of its columns at a time, without the rows at the end that are 0 in all of them."""
        with torch.inference_mode(False):  # they are kept, and serve gradients too
            matrix = self.whitening / self.scale[:, None]
            triangular = not bool(self.whitening.tril(-1).any())  # as those of `fit` are
            size, columns = len(matrix), -(-len(matrix) // PARTS)
            parts = [matrix[: first + columns if triangular else size, first : first + columns] for first in range(0, size, columns)]
            return self.centre + self.scale * self.mean, [part.contiguous() for part in parts]

    @cached_property
    def _principal(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Variances (size,) and directions (size, size), its columns, of the principal components of the scaled vectors."""
        whitening = self.whitening.cpu().double()  # not every GPU has double precision
        precision, directions = torch.linalg.eigh(whitening @ whitening.T)
        return (1 / precision).to(self.whitening), directions.to(self.whitening)

    def _scaled_distance(self, scaled: torch.Tensor) -> torch.Tensor:
        return ((scaled - self.mean) @ self.whitening).square_().sum(1)

    def to(self, device: torch.device | str) -> TrimmedGaussian:
        return TrimmedGaussian(*(tensor.to(device) for tensor in (self.centre, self.scale, self.mean, self.whitening)))

    def state(self) -> State:
        return {"centre": self.centre.cpu(), "scale": self.scale.cpu(), "mean": self.mean.cpu(), "whitening": self.whitening.cpu()}

    @classmethod
    def from_state(cls, state: State, size: int) -> TrimmedGaussian:
        """Of vectors of this size. Raises ValueError for a state that is not of such."""
        check_keys(state, "Gaussian", "centre", "scale", "mean", "whitening")
        scale = tensor(state, "scale", size, positive=True)
        return cls(tensor(state, "centre", size), scale, tensor(state, "mean", size), tensor(state, "whitening", size, size))


def shrunk(covariance: torch.Tensor, n: int) -> torch.Tensor:
    """Covariance (size, size) of n vectors, shrunk towards its mean variance times the identity by oracle approximating shrinkage (OAS)."""
    size = len(covariance)
    trace, squares = covariance.trace(), covariance.square().sum()
    spread = (n + 1 - 2 / size) * (squares - trace**2 / size)
    share = (((1 - 2 / size) * squares + trace**2) / spread).clamp(max=1) if spread > 0 else torch.ones_like(trace)
    return (1 - share) * covariance + share * trace / size * torch.eye(size, dtype=covariance.dtype)
