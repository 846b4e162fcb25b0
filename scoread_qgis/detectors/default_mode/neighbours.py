"""Distance of a spectrum to the most alike spectra elsewhere in the training scene."""

import torch

from ..shared.checks import check_keys, tensor

COMPONENTS = 30
REFERENCES = 3000
NEIGHBOUR = 10
LEFT_OUT = 3


class NeighbourDistance:
    """Squared distance to the 10th nearest of 3,000 random training spectra, leaving out those within 3 pixels.

    The nearest spectra of a background pixel are alike wherever they lie. Those of an anomaly are its own neighbourhood, which therefore
    must not count. Spectra are compared half way between raw ones, where brightness is all, and whitened ones, where noise is: their bands
    are divided by the root of the band's standard deviation, and of these their first 30 principal components by the root of theirs.

    mean: (bands,). projection: (bands, components). references: (n, components), spectra after the projection. coordinates: (n, 2) float64,
    their map coordinates, from which `pixel_positions` of a scene finds where they lie in it.
    """

    def __init__(self, mean, projection, references, coordinates):
        self.mean, self.projection, self.references, self.coordinates = mean, projection, references, coordinates

    @classmethod
    def fit(cls, spectra, weights, coordinates):
        """spectra: (n, bands) tensor in random order, with standard deviation 1 in each band; the first ones become references.

        weights: (bands,) what bands are multiplied by, the root of the standard deviation that they have in the scene. coordinates: (n, 2)
        array.
        """
        mean = spectra.double().mean(0)
        centred = (spectra.double() - mean) * weights
        variances, components = torch.linalg.eigh(centred.T @ centred / max(len(spectra) - 1, 1))
        kept = variances.argsort(descending=True)[:COMPONENTS]
        kept = kept[variances[kept] > variances[-1].clamp(min=0) * 1e-12]
        projection = (weights[:, None] * components[:, kept] / variances[kept] ** 0.25).float()
        mean = mean.float()
        return cls(
            mean, projection, (spectra[:REFERENCES] - mean) @ projection, torch.as_tensor(coordinates[:REFERENCES], dtype=torch.float64)
        )

    def distance(self, spectra, positions, reference_positions):
        """Distances (n,) of spectra (n, bands).

        positions: (n, 2) rows and columns of the spectra in their scene; reference_positions: (references, 2) those of the references in
        the same scene. References within 3 rows and 3 columns do not count; where fewer than 10 are left, the farthest of those does.
        """
        projected = (spectra - self.mean) @ self.projection
        reference_squares = self.references.square().sum(1)
        distances = torch.addmm(reference_squares, projected, self.references.T, alpha=-2)  # short of the spectrum's own square

        rows, reference_rows = positions[:, 0], reference_positions[:, 0]
        near = torch.nonzero((reference_rows >= rows.min() - LEFT_OUT) & (reference_rows <= rows.max() + LEFT_OUT))[:, 0]
        row_apart, column_apart = (positions[:, None, axis] - reference_positions[near, axis] for axis in (0, 1))
        left_out = (row_apart.abs_() <= LEFT_OUT).logical_and_(column_apart.abs_() <= LEFT_OUT)
        distances[:, near] = distances[:, near].masked_fill(left_out, torch.inf)

        neighbour = min(NEIGHBOUR, len(self.references))
        nearest, which = distances.topk(neighbour, largest=False)
        farthest = nearest.isfinite().sum(1).clamp(min=1) - 1
        which = which.gather(1, farthest[:, None])[:, 0]
        return (projected - self.references[which]).square().sum(1)

    def to(self, device):
        return NeighbourDistance(self.mean.to(device), self.projection.to(device), self.references.to(device), self.coordinates)

    def state(self):
        return {
            "mean": self.mean.cpu(),
            "projection": self.projection.cpu(),
            "references": self.references.cpu(),
            "coordinates": self.coordinates,
        }

    @classmethod
    def from_state(cls, state, bands):
        """Of spectra of so many bands. Raises ValueError for a state that is not of such."""
        check_keys(state, "neighbours", "mean", "projection", "references", "coordinates")
        projection = tensor(state, "projection", bands, None)
        references = tensor(state, "references", None, projection.shape[1])
        coordinates = tensor(state, "coordinates", len(references), 2, dtype=torch.float64)
        return cls(tensor(state, "mean", bands), projection, references, coordinates)
