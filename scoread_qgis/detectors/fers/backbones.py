"""The residual networks that FERS keeps frozen, with the parameter names of torchvision, so that weight files in its layout load.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; S. Zagoruyko and N. Komodakis, "Wide Residual Networks", BMVC 2016.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.nn.functional import relu

from ..shared.torch_archive import read_archive
from ..shared.weights import Conv2d

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; `planes` channels in, between and out."""

    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int, width: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inplanes, planes, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolution and a shortcut; `planes` * `width` channels between, 4 * `planes` out."""

    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int, width: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(inplanes, planes * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes * width)
        self.conv2 = Conv2d(planes * width, planes * width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes * width)
        self.conv3 = Conv2d(planes * width, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = _shortcut(inplanes, 4 * planes, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        return relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _shortcut(inplanes: int, channels: int, stride: int) -> nn.Sequential:
    if inplanes == channels and stride == 1:
        return nn.Sequential()
    return nn.Sequential(Conv2d(inplanes, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


class ResNet(nn.Module):
    """The first three layers of a residual network, with or without the stem (7 x 7 convolution and pooling, stride 4 in all).

    block: BasicBlock or Bottleneck. blocks, planes: number and width of the blocks of each layer; the second and third halve the size.
    inplanes: channels that enter the first layer. width: factor of the channels inside a Bottleneck.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: Sequence[int],
        planes: Sequence[int],
        inplanes: int,
        width: int = 1,
        stem: bool = True,
    ) -> None:
        super().__init__()
        self.stem, self.inplanes = stem, inplanes
        self.pretrained = False
        if stem:
            self.conv1 = Conv2d(3, inplanes, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(inplanes)
        for i in range(3):
            layer = []
            for j in range(blocks[i]):
                layer.append(block(inplanes, planes[i], 2 if i > 0 and j == 0 else 1, width))
                inplanes = planes[i] * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*layer))
        self.channels = [p * block.expansion for p in planes]
        self.stride = 16 if stem else 4
        # Rows on each side that reach a feature: one pixel of its input for each 3 x 3 convolution
        convolutions = 2 if block is BasicBlock else 1
        self.reach = 5 if stem else 0
        for i in range(3):
            step = (4 if stem else 1) * 2**i
            self.reach += convolutions * blocks[i] * step - (step // 2 if i > 0 else 0)

    def train(self, mode: bool = True) -> ResNet:
        """Pretrained, the statistics of the normalisation are fixed; those of random filters follow what comes in."""
        return super().train(mode and not self.pretrained)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features of the three layers, of (n, 3, rows, columns) with and (n, inplanes, rows, columns) without stem."""
        if self.stem:
            x = nn.functional.max_pool2d(relu(self.bn1(self.conv1(x))), 3, 2, 1)
        first = self.layer1(x)
        second = self.layer2(first)
        return first, second, self.layer3(second)


def teacher_encoder(backbone: int) -> ResNet:
    """Encoder of the spectral branch, without stem: compact (0), or layers 1-3 of Wide-ResNet-101-2 (1)."""
    if backbone == 0:
        return ResNet(Bottleneck, (1, 1, 1), (16, 16, 16), 64, width=2, stem=False)
    return ResNet(Bottleneck, (3, 4, 23), (64, 128, 256), 64, width=2, stem=False)


def image_backbone(backbone: int) -> ResNet:
    """Backbone of the spatial branch: compact (0), or ResNet34 up to layer 3 (1)."""
    if backbone == 0:
        return ResNet(BasicBlock, (1, 1, 1), (16, 32, 64), 16)
    return ResNet(BasicBlock, (3, 4, 6), (64, 128, 256), 64)


def freeze(network: AnyNetwork) -> AnyNetwork:
    """Fix the weights and the statistics of a network for good."""
    return network.train(False).requires_grad_(False)


@torch.no_grad()
def random_weights(network: ResNet, generator: torch.Generator) -> ResNet:
    """Orthogonal filters, for a frozen network that no weight file is given for. `calibrate` has to follow.

    A. M. Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", ICLR 2014.
    """
    for module in network.modules():
        if isinstance(module, Conv2d):
            normal = torch.randn(module.weight.flatten(1).shape, generator=generator)
            tall = normal if len(normal) >= normal.shape[1] else normal.T
            basis, triangle = torch.linalg.qr(tall)
            basis *= triangle.diagonal().sign()  # without it, the directions would depend on the algorithm of the decomposition
            module.weight.copy_((basis if tall is normal else basis.T).reshape(module.weight.shape))
    return network


def calibrate(network: ResNet, images: torch.Tensor) -> None:
    """Set the statistics of the normalisations of random filters to those of images (n, channels, rows, columns), so that every channel has
    unit variance there; without it the signal fades or grows from layer to layer. A pretrained network keeps its own."""
    if network.pretrained:
        return
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean of all that follows
    network.train()
    with torch.no_grad():
        network(images)
    network.train(False)


def load_weights(networks: Mapping[str, ResNet], path: str | os.PathLike[str]) -> None:
    """Load a torchvision state dict into the one network of `networks` that it fits.

    networks: dict of name -> ResNet. Layers that FERS does not have (layer 4, the classifier, the stem of the teacher) are left out.
    Raises ValueError that says what does not fit.
    """
    try:
        state = read_archive(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a file of weights in torchvision's layout: {error}. Choose another.") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} is not a file of weights in torchvision's layout: it holds no table of them. Choose another.")
    problems = []
    for name, network in networks.items():
        wanted = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
        missing = [key for key in wanted if key not in state]
        wrong = [key for key in wanted if key in state and getattr(state[key], "shape", ()) != wanted[key].shape]
        if not missing and not wrong:
            infinite = [key for key in wanted if not torch.isfinite(state[key]).all()]
            if infinite:
                raise ValueError(f"the weights in {path} are not finite, such as {infinite[0]}. Choose another file.")
            network.load_state_dict({key: state[key] for key in wanted}, strict=False)
            network.pretrained = True
            return
        if missing:
            problems.append(f"{name}: {len(missing)} of {len(wanted)} weights are missing, such as {missing[0]}")
        else:
            key = wrong[0]
            problems.append(
                f"{name}: {len(wrong)} weights have another shape, such as {key} {tuple(getattr(state[key], 'shape', ()))} "
                f"instead of {tuple(wanted[key].shape)}"
            )
    raise ValueError(f"the weights in {path} fit neither network. " + ". ".join(problems))
