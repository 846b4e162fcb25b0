"""The losses of FERS. Sizes: images and features (n, bands, rows, columns), spectra or features of single pixels (n, bands).

"Rebellious Student: A Complementary Learning Framework for Background Feature Enhancement in Hyperspectral Anomaly Detection",
arXiv 2510.18781, 2025; its first stage: FERD, IEEE Geoscience and Remote Sensing Letters 2024, doi 10.1109/LGRS.2024.3456178;
Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE Transactions on Image Processing 13, 2004.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, mse_loss, relu

DATA_RANGE = 0.2  # of the scaled scene
SSIM_BANDS = 16  # at a time


def cosines(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Cosine of the angles between the rows of two matrices (n, size)."""
    lengths = torch.linalg.vector_norm(first, dim=1) * torch.linalg.vector_norm(second, dim=1)
    return (first * second).sum(1) / lengths.clamp(min=1e-8)


def distillation_loss(teacher: Sequence[torch.Tensor], student: Sequence[torch.Tensor]) -> torch.Tensor:
    """1 - cosine of the features of teacher and student as a whole, mean over the images, sum over the levels (sequences of features)."""
    return reduce(torch.add, ((1 - cosines(_by_image(t), _by_image(s))).mean() for t, s in zip(teacher, student)))


def _by_image(features: torch.Tensor) -> torch.Tensor:
    return features.permute(0, 2, 3, 1).flatten(1)  # channels last, as they lie in memory


def spectral_loss(
    inputs: torch.Tensor,
    reconstruction: torch.Tensor,
    logits: torch.Tensor,
    teacher: Sequence[torch.Tensor],
    student: Sequence[torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Parts of the loss of stage 1 by name, with their weights.

    logits: of the pixel classifier, for which every pixel is background (0).
    """
    return {
        "classifier": 0.1 * binary_cross_entropy_with_logits(logits, logits.new_zeros(logits.shape)),
        "reconstruction": 0.1 * mse_loss(reconstruction, inputs),
        "distillation": distillation_loss(teacher, student),
    }


def cross_covariance_loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Sum of squares of the covariances between the channels of two standardised features of pixels (n, channels)."""
    # Centring one is enough, and the deviations divide the small matrix: fewer passes over the features
    covariance = (first - first.mean(0)).T @ second / len(first)
    deviations = torch.outer(first.var(0, correction=0) + 1e-8, second.var(0, correction=0) + 1e-8).sqrt()
    return (covariance / deviations).square().sum()


def cosine_loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """1 + mean cosine of two features of pixels (n, channels): smallest where they point in opposite directions."""
    return 1 + cosines(first, second).mean()


def variance_loss(features: torch.Tensor) -> torch.Tensor:
    """Keeps the variance of each channel of features of pixels (n, channels) from falling below 1, and penalises their size."""
    return relu(1 - features.var(0)).mean() + features.abs().mean()


def ssim_loss(first: torch.Tensor, second: torch.Tensor, window: int = 5) -> torch.Tensor:
    """1 - structural similarity, mean over all bands and all windows that lie inside of the images."""
    c1, c2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2

    def mean(x: torch.Tensor) -> torch.Tensor:
        return avg_pool2d(x, window, stride=1)

    mean1, mean2 = mean(first), mean(second)
    variance = mean(first * first + second * second) - mean1 * mean1 - mean2 * mean2
    covariance = mean(first * second) - mean1 * mean2
    similarity = (2 * mean1 * mean2 + c1) * (2 * covariance + c2) / ((mean1 * mean1 + mean2 * mean2 + c1) * (variance + c2))
    return 1 - similarity.mean()


def spatial_loss(
    inputs: torch.Tensor, restored: torch.Tensor, spectral: torch.Tensor, spatial: torch.Tensor, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Parts of the loss of stage 2 by name, with their weights. spectral, spatial: features of pixels (n, channels).

    The structural similarity, a mean over bands, is that of some random bands, drawn from `generator`: it costs more than everything else.
    """
    bands = torch.randperm(inputs.shape[1], generator=generator)[:SSIM_BANDS]
    return {
        "cross covariance": cross_covariance_loss(spectral, spatial),
        "cosine": 0.1 * cosine_loss(spectral, spatial),
        "variance": 0.1 * variance_loss(spatial),
        "restoration": mse_loss(restored, inputs),
        "structure": 0.01 * ssim_loss(restored[:, bands], inputs[:, bands]),
    }
