"""Random features of a spectrum together with the eight around it."""

from __future__ import annotations

import torch
from torch import nn

NEIGHBOURHOOD = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
CENTRE = NEIGHBOURHOOD.index((0, 0))


class RandomFeatures(nn.Module):
    """Random features of a spectrum and its surroundings.

    bands -> hidden units for each pixel, weighted sum over the 3 x 3 neighbourhood, hidden -> hidden units: random and fixed (Rahimi and
    Recht, "Weighted sums of random kitchen sinks", NeurIPS 2008), with weights that keep the variance of what comes in (He et al. 2015).
    Half of the units are hyperbolic tangents, which saturate, and half are leaky rectifiers, which do not. Training them, or a score on
    top of them, makes no better detector: see docs/research.md.
    """

    spectral: torch.Tensor
    spatial: torch.Tensor
    mixing: torch.Tensor

    def __init__(self, bands: int, hidden: int = 256) -> None:
        super().__init__()
        self.bands, self.hidden = bands, hidden
        self.register_buffer("spectral", torch.empty(bands, hidden))
        self.register_buffer("spatial", torch.empty(len(NEIGHBOURHOOD), hidden))
        self.register_buffer("mixing", torch.empty(hidden, hidden))

    def draw(self, generator: torch.Generator) -> None:
        """The random weights, for `draw_weights`."""
        self.spectral.copy_(torch.randn(self.spectral.shape, generator=generator) * (2 / self.bands) ** 0.5)
        self.spatial.copy_(torch.randn(self.spatial.shape, generator=generator) / 3)
        self.mixing.copy_(torch.randn(self.mixing.shape, generator=generator) * (2 / self.hidden) ** 0.5)

    def features_of_patches(self, patches: torch.Tensor) -> torch.Tensor:
        """Features (n, hidden) of patches (n, 9, bands) in the order of NEIGHBOURHOOD."""
        return self._mix((self._units(patches @ self.spectral) * self.spatial).sum(1))

    def features_of_block(self, spectra: torch.Tensor, valid: torch.Tensor, own_rows: slice, own_columns: slice) -> torch.Tensor:
        """Features (rows, columns, hidden) of the pixels in the slices `own_rows` and `own_columns` of a block; those of pixels that are
        not valid mean nothing.

        spectra: (rows, columns, bands); valid: (rows, columns) bool. Neighbours that are not valid, or outside of these
        rows and columns, are replaced by the pixel itself.
        """
        rows, columns = valid.shape
        units = self._units(spectra.flatten(0, 1) @ self.spectral).view(rows, columns, self.hidden)
        units.mul_(valid[..., None])
        weights = self.spatial.T.reshape(self.hidden, 1, 3, 3).contiguous(memory_format=torch.channels_last)
        total = nn.functional.conv2d(units.permute(2, 0, 1)[None], weights, padding=1, groups=self.hidden)[0].permute(1, 2, 0)
        there = nn.functional.pad(valid, (1, 1, 1, 1))
        missing = torch.stack([~there[1 + down :, 1 + right :][:rows, :columns] for down, right in NEIGHBOURHOOD], -1)
        missing = missing[own_rows, own_columns]
        total, incomplete = total[own_rows, own_columns], missing.any(2)
        total[incomplete] += units[own_rows, own_columns][incomplete] * (missing[incomplete].float() @ self.spatial)
        return self._mix(total.reshape(-1, self.hidden)).view(*total.shape)

    def _mix(self, total: torch.Tensor) -> torch.Tensor:
        return self._units(total @ self.mixing)

    def _units(self, values: torch.Tensor) -> torch.Tensor:
        half = self.hidden // 2
        return torch.cat([torch.tanh(values[..., :half]), nn.functional.leaky_relu(values[..., half:], 0.2)], dim=-1)
