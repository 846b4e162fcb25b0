"""The parts of the anomaly value that models of version 0.2 have and newer ones do not: they are read, and give the maps of that
version."""

from __future__ import annotations

import torch

from ..shared.checks import State, check_keys, tensor

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

    def __init__(self, mean: torch.Tensor, projection: torch.Tensor, references: torch.Tensor, coordinates: torch.Tensor) -> None:
        self.mean, self.projection, self.references, self.coordinates = mean, projection, references, coordinates

    def distance(self, spectra: torch.Tensor, positions: torch.Tensor, reference_positions: torch.Tensor) -> torch.Tensor:
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

    def to(self, device: torch.device | str) -> NeighbourDistance:
        return NeighbourDistance(self.mean.to(device), self.projection.to(device), self.references.to(device), self.coordinates)

    def state(self) -> State:
        return {
            "mean": self.mean.cpu(),
            "projection": self.projection.cpu(),
            "references": self.references.cpu(),
            "coordinates": self.coordinates,
        }

    @classmethod
    def from_state(cls, state: State, bands: int) -> NeighbourDistance:
        """Of spectra of so many bands. Raises ValueError for a state that is not of such."""
        check_keys(state, "neighbours", "mean", "projection", "references", "coordinates")
        projection = tensor(state, "projection", bands, None)
        references = tensor(state, "references", None, projection.shape[1])
        coordinates = tensor(state, "coordinates", len(references), 2, dtype=torch.float64)
        return cls(tensor(state, "mean", bands), projection, references, coordinates)


class PartsOfVersion02:
    """Neighbours in the training scene, and the score of a network that was trained by denoising score matching.

    neighbours: `NeighbourDistance`. score: (hidden, bands) float32 tensor, the network's last layer.
    """

    def __init__(self, neighbours: NeighbourDistance, score: torch.Tensor) -> None:
        self.neighbours, self.score = neighbours, score

    def to(self, device: torch.device | str) -> PartsOfVersion02:
        return PartsOfVersion02(self.neighbours.to(device), self.score.to(device))
