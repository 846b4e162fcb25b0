"""Stage 1 of FERS: the spectral branch, trained by reverse distillation (FERD)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import pad, relu

from ..shared.weights import Conv2d, ConvTranspose2d, Linear
from .backbones import Bottleneck, ResNet, teacher_encoder

PADDING = 4  # pixels by which a patch is mirrored at its edges

Levels = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # features of the three layers, from fine to coarse


class SpectralBranch(nn.Module):
    """From scaled spectra to the spectral feature f_spe, as many channels as bands: what stage 1 leaves for detection.

    A 1 x 1 convolution, the frozen first layer of the teacher, and the pixel classifier up to its last layer.
    """

    def __init__(self, bands: int, backbone: int, encoder: ResNet) -> None:
        super().__init__()
        hidden = 128 if backbone == 0 or bands <= 128 else 256
        self.conv_h = Conv2d(bands, encoder.inplanes, 1, bias=False)
        self.layer1 = encoder.layer1
        self.hidden = Conv2d(encoder.channels[0], hidden, 1)
        self.feature = Conv2d(hidden, bands, 1)
        self.halo = len(encoder.layer1)  # pixels on each side that a feature depends on: one 3 x 3 convolution in each block

    def classify(self, first: torch.Tensor) -> torch.Tensor:
        """f_spe of the features of the first layer."""
        return relu(self.feature(relu(self.hidden(first))))

    def rescale(self, factors: torch.Tensor) -> None:
        """Multiply f_spe by positive factors (bands,), through the weights of its last layer."""
        with torch.no_grad():
            self.feature.weight *= factors.view(-1, 1, 1, 1)
            self.feature.bias *= factors  # type: ignore[operator]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """f_spe (n, bands, rows, columns), right for pixels `halo` or more away from the edges."""
        return self.classify(self.layer1(self.conv_h(x)))


class ReverseDistillation(nn.Module):
    """What stage 1 trains: the spectral branch, and around it teacher, bottleneck, student decoder and reconstruction.

    The teacher's features of three levels are brought to one size, pass an attention bottleneck, and the student has to rebuild all three.
    """

    def __init__(self, bands: int, backbone: int) -> None:
        super().__init__()
        self.teacher = teacher_encoder(backbone)
        self.branch = SpectralBranch(bands, backbone, self.teacher)
        self.last = Conv2d(self.branch.feature.out_channels, 1, 1)
        one, two, three = self.teacher.channels
        self.reduce1 = nn.Sequential(_halved(one, two), _halved(two, three))
        self.reduce2 = _halved(two, three)
        top = three if backbone == 0 else 2 * three
        self.bottleneck = nn.Sequential(Conv2d(3 * three, top, 1, bias=False), nn.BatchNorm2d(top), nn.ReLU(), AttentionBlock(top, 2))
        blocks = (1, 1, 1) if backbone == 0 else (3, 4, 6)
        self.decoder3 = _doubled(top, three, blocks[0])
        self.decoder2 = _doubled(three, two, blocks[1])
        self.decoder1 = _doubled(two, one, blocks[2])
        self.to_bands = Conv2d(one, bands, 1)

    def train(self, mode: bool = True) -> ReverseDistillation:
        super().train(mode)
        self.teacher.train(mode)  # last, as it decides for its first layer, which is part of the branch as well
        return self

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Levels, Levels]:
        """Reconstruction and classifier output of the size of x, and the features of teacher and student at three levels, of x padded."""
        teacher = self.teacher(self.branch.conv_h(pad(x, (PADDING,) * 4, mode="reflect")))
        one, two, three = teacher
        bottleneck = self.bottleneck(torch.cat([self.reduce1(one), self.reduce2(two), three], 1))
        student3 = self.decoder3(bottleneck)
        student2 = self.decoder2(student3)
        student1 = self.decoder1(student2)
        inner = (..., slice(PADDING, -PADDING), slice(PADDING, -PADDING))
        logits = self.last(self.branch.classify(one[inner]))
        return self.to_bands(student1[inner]), logits, teacher, (student1, student2, student3)


class ChannelAttention(nn.Module):
    """Squeeze and excitation: each channel is scaled by a factor that follows from the means of all channels.

    J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = Linear(channels, max(1, channels // reduction))
        self.excite = Linear(self.squeeze.out_features, channels)

    def scale(self, means: torch.Tensor) -> torch.Tensor:
        """Factors (n, channels) of the channel means (n, channels)."""
        return self.excite(relu(self.squeeze(means))).sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale(x.mean((2, 3)))[..., None, None]


class AttentionBlock(nn.Module):
    """A residual block that may halve the size, and channel attention."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.block = Bottleneck(channels, channels // 4, stride, 2)
        self.attention = ChannelAttention(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(self.block(x))


def _halved(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _doubled(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    upsampling = nn.Sequential(ConvTranspose2d(inputs, outputs, 2, 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
    return nn.Sequential(upsampling, *[Bottleneck(outputs, outputs // 4, 1, 2) for _ in range(blocks)])
