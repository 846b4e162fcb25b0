"""A robust Gaussian model of background vectors and its Mahalanobis distance."""

import torch

TRIMMED = 0.02  # share of the vectors, the farthest ones, that the mean and the covariance leave out
REFITS = 2


class TrimmedGaussian:
    """Mean and covariance of the bulk of some vectors; the distance of a vector from it is its anomaly value.

    Vectors are scaled to unit variance in each coordinate, so that units do not matter. Mean and covariance are those of all vectors first,
    then, twice, of those less the 2 % that are farthest (concentration steps: Rousseeuw and Van Driessen, Technometrics 1999), so that
    anomalies do not shape the background. `ridge`, times the identity, is added to the covariance of the scaled vectors: it keeps the distance
    defined where there are fewer vectors than coordinates, and within the precision of float32.

    centre, scale: (size,) of the scaling. mean: (size,). whitening: (size, size). All float32 tensors.
    """

    def __init__(self, centre, scale, mean, whitening):
        self.centre, self.scale, self.mean, self.whitening = centre, scale, mean, whitening

    @classmethod
    def fit(cls, vectors, ridge):
        """vectors: (n, size) tensor, n >= 2. Returns the model and a mask (n,) bool of the vectors that were kept in the last fit."""
        centre = vectors.double().mean(0)
        scale = vectors.double().std(0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        centre, scale = centre.float(), scale.float()
        scaled = (vectors - centre) / scale
        kept = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
        for _ in range(REFITS + 1):
            bulk = scaled[kept]
            mean = bulk.mean(0)
            bulk = bulk - mean
            # float32 products, in parts summed in float64: the sums lose no digits and double precision costs no time.
            covariance = sum((part.T @ part).double() for part in bulk.split(2048)) / (len(bulk) - 1)
            eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
            whitening = (eigenvectors / (eigenvalues.clamp(min=0) + ridge).sqrt()).float()
            model = cls(centre, scale, mean, whitening)
            distances = (((scaled - mean) @ whitening) ** 2).sum(1)
            kept = distances <= torch.quantile(distances, 1 - TRIMMED)
        return model, kept

    def distance(self, vectors):
        """Squared Mahalanobis distances (n,) of vectors (n, size)."""
        return (((vectors - self.centre) / self.scale - self.mean) @ self.whitening).square().sum(1)

    def to(self, device):
        return TrimmedGaussian(*(tensor.to(device) for tensor in (self.centre, self.scale, self.mean, self.whitening)))

    def state(self):
        return {"centre": self.centre.cpu(), "scale": self.scale.cpu(), "mean": self.mean.cpu(), "whitening": self.whitening.cpu()}

    @classmethod
    def from_state(cls, state):
        return cls(state["centre"], state["scale"], state["mean"], state["whitening"])
