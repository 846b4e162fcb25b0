"""Stage 2 of FERS: the spatial branch, the rebellious student."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import relu

from ..shared.weights import Conv2d
from .backbones import image_backbone
from .spectral import ChannelAttention

GRIDS = (1, 2, 4)  # sizes of the pyramid


class SpatialBranch(nn.Module):
    """From a scaled scene to the spatial feature f_spa, as many channels as bands: a smooth description of what surrounds a pixel.

    False RGB, a frozen image backbone, and its means over the whole scene, its quarters and its sixteenths (a pyramid, H. Zhao et al.,
    "Pyramid Scene Parsing Network", CVPR 2017), interpolated to every pixel, mixed and scaled by channel attention.
    """

    def __init__(self, bands: int, backbone: int) -> None:
        super().__init__()
        hidden = 64 if backbone == 0 else 256
        self.rgb = nn.Sequential(Conv2d(bands, hidden, 1), nn.ReLU(), Conv2d(hidden, 3, 1), nn.Sigmoid())
        self.backbone = image_backbone(backbone)
        self.mix = Conv2d(len(GRIDS) * self.backbone.channels[2], 128, 1)
        self.feature = Conv2d(128, bands, 1)
        self.attention = ChannelAttention(bands)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """f_spa (n, bands, rows, columns) of whole images."""
        features = self.backbone(self.rgb(x))[2]
        rows, columns = features.shape[2:]
        grids = []
        for size in GRIDS:
            by_row, by_column = bin_means(rows, size, x), bin_means(columns, size, x)
            grids.append(by_row @ features @ by_column.T)
        return self.attention(self.interpolate(self.context(grids), slice(None), slice(None), *x.shape[2:]))

    def rescale(self, factors: torch.Tensor) -> None:
        """Multiply f_spa by positive factors (bands,), through the weights of the layers around it."""
        with torch.no_grad():
            self.feature.weight *= factors.view(-1, 1, 1, 1)
            self.feature.bias *= factors  # type: ignore[operator]
            self.attention.squeeze.weight /= factors

    def context(self, grids: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The mixing convolution, before the interpolation, as both commute: grids (n, channels, size, size) to (n, 128, size, size)."""
        parts = self.mix.weight.chunk(len(GRIDS), dim=1)
        return [nn.functional.conv2d(grid, part) for grid, part in zip(grids, parts)]

    def interpolate(self, context: Sequence[torch.Tensor], own_rows: slice, own_columns: slice, rows: int, columns: int) -> torch.Tensor:
        """f_spa before the attention (n, bands, own rows, own columns), of slices of the rows and columns of the scene."""
        mixed = self.mix.bias.view(-1, 1, 1)  # type: ignore[union-attr]
        for grid in context:
            size = grid.shape[2]
            by_row, by_column = bilinear_weights(rows, size, grid)[own_rows], bilinear_weights(columns, size, grid)[own_columns]
            mixed = mixed + by_row @ grid @ by_column.T
        return relu(self.feature(relu(mixed)))


def bin_members(length: int, bins: int, like: torch.Tensor) -> torch.Tensor:
    """Which of `length` positions belong to which bin of adaptive pooling, (bins, length) of 0 and 1; bins may overlap by one position."""
    position, i = torch.arange(length, device=like.device), torch.arange(bins, device=like.device).unsqueeze(1)
    return ((position >= i * length // bins) & (position < -(-(i + 1) * length // bins))).to(like.dtype)


def bin_means(length: int, bins: int, like: torch.Tensor) -> torch.Tensor:
    members = bin_members(length, bins, like)
    return members / members.sum(1, keepdim=True)


def bilinear_weights(length: int, size: int, like: torch.Tensor) -> torch.Tensor:
    """Weights (length, size) that interpolate `size` cells linearly to `length` pixels, as `interpolate(align_corners=False)` does."""
    position = ((torch.arange(length, dtype=torch.float64) + 0.5) * size / length - 0.5).clamp(0, size - 1)
    return (1 - (position.unsqueeze(1) - torch.arange(size)).abs()).clamp(min=0).to(like.dtype).to(like.device)


class Restoration(nn.Module):
    """Restores the scaled spectra from f_spe + f_spa; used in training only."""

    def __init__(self, bands: int, backbone: int) -> None:
        super().__init__()
        width = 32 if backbone == 0 else 64
        self.layers = nn.Sequential(Conv2d(bands, width, 1), *[RestorationBlock(width) for _ in range(3)], Conv2d(width, bands, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class RestorationBlock(nn.Module):
    """x + attention(two 3 x 3 convolutions of x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Conv2d(width, width, 3, 1, 1), nn.ReLU(), Conv2d(width, width, 3, 1, 1), ChannelAttention(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)
