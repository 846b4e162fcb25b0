"""RX: the squared Mahalanobis distance of a spectrum from its background, global or local.

I. S. Reed and X. Yu, "Adaptive multiple-band CFAR detection of an optical pattern with unknown spectral distribution", IEEE Transactions on
Acoustics, Speech, and Signal Processing 38, 1990.
"""

import numpy as np
import torch

from ..core.progress import Progress

CHUNK = 8192  # pixels that are worked on at a time: some 10 MB in double precision
WINDOW_CHUNK = 2**20  # numbers in the windows that are worked on at a time


class GaussianStatistics:
    """Mean and covariance of vectors that come in parts, accumulated in double precision on the CPU, as not every GPU has it.

    Products are taken of vectors minus the mean of the first part, so that a large common offset costs no digits.
    """

    def __init__(self):
        self.count = 0

    def add(self, vectors):
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
            self._products.addmm_(part.T, part)

    def merge(self, other):
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

    def state(self):
        """Everything that `from_state` needs, as torch.load(weights_only=True) accepts it."""
        return vars(self)

    @classmethod
    def from_state(cls, state):
        statistics = cls()
        vars(statistics).update(state)
        return statistics

    @property
    def mean(self):
        return self._origin + self._sum / self.count

    @property
    def covariance(self):
        """Unbiased: the divisor is the number of vectors less one."""
        offset = self._sum / self.count
        return (self._products - self.count * torch.outer(offset, offset)) / (self.count - 1)


class MahalanobisDistance:
    """Squared Mahalanobis distance by the pseudo-inverse of the covariance: directions without variance do not count. On the CPU."""

    def __init__(self, statistics):
        if statistics.count < 2:
            raise ValueError(f"RX needs two valid pixels at least; this scene has {statistics.count}")
        eigenvalues, eigenvectors = torch.linalg.eigh(statistics.covariance)
        kept = eigenvalues > eigenvalues[-1].clamp(min=0) * len(eigenvalues) * torch.finfo(torch.float64).eps
        self._whitening = eigenvectors[:, kept] / eigenvalues[kept].sqrt()
        self._mean = statistics.mean

    def __call__(self, vectors):
        """Distances (n,) float64 of vectors (n, size) on any device."""
        parts = [((part.cpu().double() - self._mean) @ self._whitening).square_().sum(1) for part in vectors.split(CHUNK)]
        return torch.cat(parts)

    def contributions(self, vectors):
        """Share of each component in the distances: (n, size) float64 of vectors (n, size) on any device, which sum up to `self(vectors)`."""
        offset = vectors.cpu().double() - self._mean
        return offset * (offset @ self._whitening @ self._whitening.T)


def spectra_in_chunks(block, progress, fraction, message):
    """Yield the valid spectra of a block's own rows, some thousand at a time, as tensors (n, bands); reports progress at each."""
    values, valid = block.values[block.inner], block.valid[block.inner]
    values, valid = values.reshape(-1, values.shape[2]), valid.ravel()
    for start in range(0, len(valid), CHUNK):
        progress(fraction, message)
        part = slice(start, start + CHUNK)
        chosen = values[part] if valid[part].all() else values[part][valid[part]]
        yield torch.from_numpy(np.ascontiguousarray(chosen))


class GlobalRX:
    """RX against the mean and the covariance of all valid pixels of the scene.

    Two passes over the scene: one for the statistics, one for the map, which equals that of `spectral.rx` in Spectral Python.
    """

    kind = "rx"

    def statistics(self, cube, progress=None):
        """`GaussianStatistics` of the valid spectra of a cube; those of the parts of a scene merge to those of the scene."""
        statistics, progress = GaussianStatistics(), progress or Progress()
        for block in cube.blocks():
            for spectra in spectra_in_chunks(block, progress, block.row / cube.rows, f"RX, statistics, row {block.row + 1} of {cube.rows}"):
                statistics.add(spectra)
        return statistics

    def detect(self, cube, progress=None, statistics=None):
        """Yield (first row, scores (rows, columns) float32, NaN where not valid) from top to bottom.

        statistics: of the scene that the cube is a part of; by default those of the cube.
        """
        progress = progress or Progress()
        distance, phase = MahalanobisDistance(statistics or self.statistics(cube, progress.part(0, 0.5))), progress.part(0.5, 1)
        for block in cube.blocks():
            valid = block.valid[block.inner]
            chunks = spectra_in_chunks(block, phase, block.row / cube.rows, f"RX, map, row {block.row + 1} of {cube.rows}")
            scores = np.full(valid.shape, np.nan, np.float32)
            scores[valid] = torch.cat([distance(spectra) for spectra in chunks]).numpy()
            yield block.row, scores
        progress(1.0, "RX, done")

    def state(self):
        return {}

    @classmethod
    def from_state(cls, state, device="cpu"):
        return cls()


class LocalRX:
    """RX against the pixels between an inner and an outer window around each pixel.

    inner, outer: odd widths of the windows in pixels. At the edges of the scene both are moved inwards and keep their size, as those of
        `spectral.rx` in Spectral Python are.
    shrinkage: share of a multiple of the identity, with the same mean variance, in the covariance, 0..1. None chooses it in each window by
        the formula of O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
        Multivariate Analysis 88, 2004, and works when the windows hold fewer pixels than bands; 0 is RX as published and does not.
    """

    kind = "rx-local"

    def __init__(self, inner=5, outer=15, shrinkage=None):
        if inner < 1 or inner % 2 == 0 or outer % 2 == 0 or outer <= inner:
            raise ValueError(f"inner and outer window have to be odd, and the outer one larger; these are {inner} and {outer}")
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise ValueError(f"the shrinkage has to lie between 0 and 1; this is {shrinkage}")
        self.inner, self.outer, self.shrinkage = inner, outer, shrinkage

    def detect(self, cube, progress=None):
        """Yield (first row, scores (rows, columns) float32, NaN where not valid or without two valid pixels around) from top to bottom.

        Raises ValueError where the outer window does not fit into the scene, or holds too few pixels to do without shrinkage.
        """
        progress = progress or Progress()
        outer, bands = self.outer, cube.bands
        if outer > min(cube.rows, cube.columns):
            raise ValueError(f"the outer window of {outer} pixels is larger than the scene of {cube.rows} rows and {cube.columns} columns")
        pixels = outer**2 - self.inner**2
        if self.shrinkage == 0 and pixels <= bands:
            raise ValueError(f"the windows hold {pixels} pixels for {bands} bands: local RX needs shrinkage here, or a larger outer window")
        at_a_time = max(1, WINDOW_CHUNK // (pixels * bands))
        for block in cube.blocks(halo=outer - 1):
            values, valid = torch.from_numpy(block.values), torch.from_numpy(block.valid)
            scores = torch.full((block.rows, cube.columns), torch.nan)
            rows, columns = np.nonzero(block.valid[block.inner])
            for start in range(0, len(rows), at_a_time):
                r, c = rows[start : start + at_a_time], columns[start : start + at_a_time]
                progress((block.row + r[0]) / cube.rows, f"local RX, row {block.row + r[0] + 1} of {cube.rows}")
                window_rows, inner_rows = self._window(block.row + r, cube.rows)
                window_columns, inner_columns = self._window(c, cube.columns)
                window, i, j = np.nonzero(~(inner_rows[:, :, None] & inner_columns[:, None, :]))
                place = (
                    torch.from_numpy(window_rows[window, i] - block.row + block.above).view(len(r), pixels),
                    torch.from_numpy(window_columns[window, j]).view(len(r), pixels),
                )
                background, used = values[place].double(), valid[place]
                spectra = values[torch.from_numpy(r + block.above), torch.from_numpy(c)].double()
                scores[torch.from_numpy(r), torch.from_numpy(c)] = local_distance(spectra, background, used, self.shrinkage).float()
            yield block.row, scores.numpy()
        progress(1.0, "local RX, done")

    def _window(self, centres, size):
        """Rows (or columns) of the outer windows (n, outer) around centres (n,), and which of them lie in the inner window (n, outer)."""
        outer = np.clip(centres - self.outer // 2, 0, size - self.outer)[:, None] + np.arange(self.outer)
        inner = np.clip(centres - self.inner // 2, 0, size - self.inner)[:, None]
        return outer, (outer >= inner) & (outer < inner + self.inner)

    def state(self):
        return {"inner": self.inner, "outer": self.outer, "shrinkage": self.shrinkage}

    @classmethod
    def from_state(cls, state, device="cpu"):
        return cls(**state)


def local_distance(spectra, background, used, shrinkage):
    """Squared Mahalanobis distance (n,) of spectra (n, bands) from the used (n, m) ones of their background spectra (n, m, bands)."""
    used = used.to(background.dtype).unsqueeze(2)
    count = used.sum(1)
    mean = (background * used).sum(1) / count
    background = (background - mean.unsqueeze(1)) * used
    difference = spectra - mean
    pixels, bands = background.shape[1:]
    # The products between pixels have the same trace and norm as those between bands, and are fewer where windows are small.
    by_pixels = pixels < bands and shrinkage != 0
    products = background @ background.mT if by_pixels else background.mT @ background
    count = count[:, 0]
    share = ledoit_wolf_shrinkage(background, products, count) if shrinkage is None else torch.full_like(count, shrinkage)
    identity = share * background.square().sum((1, 2)) / (count - 1) / bands
    products *= ((1 - share) / (count - 1)).view(-1, 1, 1)
    diagonal = products.diagonal(dim1=1, dim2=2)
    diagonal += identity.unsqueeze(1)
    if not by_pixels:
        distance = _inverse_product(products, difference)
    else:
        # Woodbury: the inverse of a X^T X + b I by that of a X X^T + b I
        projected = (background @ difference.unsqueeze(2)).squeeze(2)
        explained = _inverse_product(products, projected) * (1 - share) / (count - 1)
        distance = (difference.square().sum(1) - explained) / identity
    return torch.where(count > 1, distance, torch.nan)


def ledoit_wolf_shrinkage(centred, products, count):
    """Share of the identity (n,) of n samples of centred vectors (n, m, size), of which `count` (n,) are not zero rows.

    products: (n, size, size) or (n, m, m), the sums of products between the components or between the vectors.
    """
    norms = centred.square().sum(2)
    square = products.square().sum((1, 2)) / count**2
    noise = (norms.square().sum(1) / count - square) / count
    distance = square - (norms.sum(1) / count) ** 2 / centred.shape[2]
    return torch.where(distance > 0, (noise / distance).clamp(0, 1), torch.ones_like(distance))


def _inverse_product(matrices, vectors):
    """v^T M^-1 v for symmetric matrices (n, size, size), by the pseudo-inverse where one is singular."""
    factors, failed = torch.linalg.cholesky_ex(matrices)
    result = torch.linalg.solve_triangular(factors, vectors.unsqueeze(2), upper=False).square().sum((1, 2))
    for i in failed.nonzero()[:, 0].tolist():
        if torch.isfinite(matrices[i]).all():
            result[i] = vectors[i] @ torch.linalg.pinv(matrices[i], hermitian=True) @ vectors[i]
    return result
