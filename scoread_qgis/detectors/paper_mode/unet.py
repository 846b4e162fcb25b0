"""The score network of ScoreAD's authors: a small 1-D U-Net over a hidden layer of the spectrum (arXiv 2601.12379).

The parameters carry the names of the authors' weight files, so that those load into it. FiLM acts after the first layer only, and only when
the network is conditional: the variant that made the authors' published maps.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..shared.weights import Conv1d, ConvTranspose1d, Linear

TIME_FEATURES = 256
CHANNELS = (16, 32, 64)
CHANNELS_PER_GROUP = 4


class GaussianFourierProjection(nn.Module):
    """Sines and cosines of t at fixed random frequencies: t (n,) -> (n, features)."""

    def __init__(self, features: int, scale: float = 10.0) -> None:
        super().__init__()
        self.W, self.scale = nn.Parameter(torch.empty(features // 2), requires_grad=False), scale

    def draw(self, generator: torch.Generator) -> None:
        """Normal frequencies."""
        self.W.copy_(torch.randn(self.W.shape, generator=generator) * self.scale)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        angles = 2 * math.pi * t[:, None] * self.W
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ChannelBias(nn.Module):
    """A bias for each channel from the time embedding: (n, features) -> (n, channels, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense = Linear(TIME_FEATURES, channels)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.dense(embedding)[..., None]


class ScoreUNet(nn.Module):
    """Scaled score std(t) * S(x_t, t) of perturbed spectra: the interface of every score network here, see `training.train_score_network`.

    bands: number of bands. hidden: width of the first layer, a multiple of 8 (three halvings).
    conditional: whether a context of bands + 2 numbers for each spectrum acts through FiLM (Perez et al. 2018) on the first layer.
    """

    def __init__(self, bands: int, hidden: int = 256, conditional: bool = False) -> None:
        super().__init__()
        if hidden < 8 or hidden % 8:
            raise ValueError(f"hidden must be a multiple of 8; it is {hidden}")
        self.bands, self.hidden, self.conditional = bands, hidden, conditional
        self.embed = nn.Sequential(GaussianFourierProjection(TIME_FEATURES), Linear(TIME_FEATURES, TIME_FEATURES))
        self.fc1 = Linear(bands, hidden)
        self.dense1 = Linear(TIME_FEATURES, hidden)
        if conditional:
            self.film1 = Linear(bands + 2, 2 * hidden)
        self.lnorm1 = nn.LayerNorm(hidden)
        c2, c3, c4 = CHANNELS
        down: dict[str, Any] = {"kernel_size": 5, "stride": 2, "padding": 2}
        up: dict[str, Any] = dict(down, output_padding=1)
        self.conv2, self.dense2, self.gnorm2 = Conv1d(1, c2, bias=False, **down), ChannelBias(c2), _group_norm(c2)
        self.conv3, self.dense3, self.gnorm3 = Conv1d(c2, c3, bias=False, **down), ChannelBias(c3), _group_norm(c3)
        self.conv4, self.dense4, self.gnorm4 = Conv1d(c3, c4, bias=False, **down), ChannelBias(c4), _group_norm(c4)
        self.tconv4, self.tdense4, self.tgnorm4 = ConvTranspose1d(c4, c3, bias=False, **up), ChannelBias(c3), _group_norm(c3)
        self.tconv3, self.tdense3, self.tgnorm3 = ConvTranspose1d(2 * c3, c2, bias=False, **up), ChannelBias(c2), _group_norm(c2)
        self.tconv2 = ConvTranspose1d(2 * c2, 1, **up)
        self.tfc1 = Linear(2 * hidden, bands)

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """x: perturbed spectra (n, bands); t: (n,), or (1,) for one time for all; context: (n, bands + 2), or None for zeros.

        Returns (n, bands).
        """
        e = functional.silu(self.embed(t))
        h1 = self.lnorm1(self.fc1(x) + self.dense1(e))
        if self.conditional:
            scale, shift = self.film1(x.new_zeros(1, self.bands + 2) if context is None else context).chunk(2, dim=1)
            h1 = h1 * (1 + scale) + shift
        h1 = functional.silu(h1)[:, None]
        h2 = functional.silu(self.gnorm2(self.conv2(h1) + self.dense2(e)))
        h3 = functional.silu(self.gnorm3(self.conv3(h2) + self.dense3(e)))
        h4 = functional.silu(self.gnorm4(self.conv4(h3) + self.dense4(e)))
        h = functional.silu(self.tgnorm4(self.tconv4(h4) + self.tdense4(e)))
        h = functional.silu(self.tgnorm3(self.tconv3(torch.cat([h, h3], dim=1)) + self.tdense3(e)))
        h = self.tconv2(torch.cat([h, h2], dim=1))
        return self.tfc1(torch.cat([h, h1], dim=2)[:, 0])


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)
