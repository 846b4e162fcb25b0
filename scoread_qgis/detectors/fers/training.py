"""Training of FERS in two stages, on patches of background scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad

from ...core.cube import Cube
from ...core.progress import Progress
from ..shared.adam import Adam
from ..shared.mirroring import mirrored
from ..shared.weights import draw_weights
from .backbones import calibrate, load_weights, random_weights
from .losses import spatial_loss, spectral_loss
from .scaling import SceneScaling
from .spatial import Restoration, SpatialBranch
from .spectral import PADDING, ReverseDistillation, SpectralBranch

MOST_PATCHES = 128  # kept in memory: 400 MB at 64 x 64 pixels and 188 bands


class Patches:
    """Training patches, scaled scene by scene: spectra (n, width, width, bands) float32, valid (n, width, width) bool."""

    def __init__(self, cubes: Sequence[Cube], width: int, seed: int, progress: Progress, device: torch.device | str) -> None:
        wanted = [max(1, round(cube.rows * cube.columns / width**2)) for cube in cubes]
        if sum(wanted) > MOST_PATCHES:
            wanted = [max(1, count * MOST_PATCHES // sum(wanted)) for count in wanted]
        spectra, valid = [], []
        for i, (cube, count) in enumerate(zip(cubes, wanted)):
            part = progress.part(i / len(cubes), (i + 1) / len(cubes))
            scaling = SceneScaling(cube, part.part(0, 0.5))
            random = np.random.Generator(np.random.Philox(key=[seed, i]))
            for j in range(count):
                part(0.5 + 0.5 * j / count, f"FERS, reading patches of scene {i + 1} of {len(cubes)}")
                values, usable = _draw(cube, width, random)
                spectra.append(scaling(values, usable))
                valid.append(usable)
        self.spectra = torch.from_numpy(np.stack(spectra)).to(device)
        self.valid = torch.from_numpy(np.stack(valid)).to(device)

    def __len__(self) -> int:
        return len(self.spectra)

    def batch(self, chosen: torch.Tensor | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches (n, bands, width, width) and valid (n, 1, width, width)."""
        return self.spectra[chosen].permute(0, 3, 1, 2), self.valid[chosen].unsqueeze(1)


def _draw(cube: Cube, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The values and the validity of a patch at a random place: of the first with half its pixels valid, or else the best of ten."""
    best = np.empty(0, np.float32), np.empty(0, bool)
    for attempt in range(10):
        rows = mirrored(random.integers(0, max(cube.rows - width, 0) + 1) + np.arange(width), cube.rows)
        columns = mirrored(random.integers(0, max(cube.columns - width, 0) + 1) + np.arange(width), cube.columns)
        valid = np.zeros((width, width), bool)
        values = np.zeros((width, width, cube.bands), np.float32)
        for start in range(rows.min(), rows.max() + 1, cube.rows_per_block):
            last = min(start + cube.rows_per_block, rows.max() + 1)
            read, usable = cube.read(start, last, columns.min(), columns.max() + 1)
            inside = (rows >= start) & (rows < last)
            place = np.ix_(rows[inside] - start, columns - columns.min())
            values[inside], valid[inside] = read[place], usable[place]
        if attempt == 0 or valid.sum() > best[1].sum():
            best = values, valid
        if valid.mean() >= 0.5:
            break
    return best


class Training:
    """The networks, and what each stage does with them.

    generator: torch.Generator on the CPU, of the first weights, the order of the patches and the bands of the structural similarity.
    losses: one dict for each epoch, stage 1 first, of the mean of each part of the loss by name.
    """

    def __init__(
        self,
        bands: int,
        backbone: int,
        backbone_weights: Sequence[str],
        patches: Patches,
        batch: int,
        device: torch.device | str,
        generator: torch.Generator,
    ) -> None:
        self.backbone, self.patches, self.batch, self.generator = backbone, patches, batch, generator
        self.losses: list[dict[str, float]] = []
        self.spectral = draw_weights(ReverseDistillation(bands, backbone), generator)
        self.spatial = draw_weights(SpatialBranch(bands, backbone), generator)
        self.restoration = draw_weights(Restoration(bands, backbone), generator)
        networks = {"Wide-ResNet-101-2": self.spectral.teacher, "ResNet34": self.spatial.backbone}
        frozen = {name: random_weights(network, generator) for name, network in networks.items()}
        for path in backbone_weights:
            load_weights(frozen, path)
        for network in (self.spectral, self.spatial, self.restoration):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for residual in frozen.values():
            residual.requires_grad_(False)
        self._calibrate_teacher()
        self._calibrate_backbone()

    def _calibrate_teacher(self) -> None:
        images, _ = self.patches.batch(slice(self.batch))
        with torch.no_grad():
            calibrate(self.spectral.teacher, self.spectral.branch.conv_h(pad(images, (PADDING,) * 4, mode="reflect")))

    def _calibrate_backbone(self) -> None:
        images, _ = self.patches.batch(slice(self.batch))
        with torch.no_grad():
            calibrate(self.spatial.backbone, self.spatial.rgb(images))

    def branches(self) -> tuple[SpectralBranch, SpatialBranch, int, list[dict[str, float]]]:
        """What `FERS` is made of, as trained so far."""
        return self.spectral.branch, self.spatial, self.backbone, self.losses

    def spectral_stage(self, epochs: int, learning_rate: float, progress: Progress) -> None:
        """Stage 1: reverse distillation."""
        self.spectral.train()

        def loss_parts(inputs: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
            reconstruction, logits, teacher, student = self.spectral(inputs)
            return spectral_loss(inputs, only_valid(reconstruction, inputs, valid), pixels(logits, valid), teacher, student)

        self._optimise(self.spectral, loss_parts, epochs, learning_rate, progress, "FERS, stage 1 of 2")
        self.spectral.train(False)
        self._calibrate_teacher()
        self._match_deviations(self.spectral.branch, self.spectral_features)

    def spatial_stage(self, epochs: int, learning_rate: float, progress: Progress) -> None:
        """Stage 2: the spatial branch learns what the spectral one, now frozen, does not express."""
        student = torch.nn.ModuleList([self.spatial, self.restoration])
        self.spatial.train()

        def loss_parts(inputs: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
            f_spe = self.spectral_features(inputs)
            f_spa = self.spatial(inputs)
            restored = only_valid(self.restoration(f_spe + f_spa), inputs, valid)
            return spatial_loss(inputs, restored, pixels(f_spe, valid), pixels(f_spa, valid), self.generator)

        self._optimise(student, loss_parts, epochs, learning_rate, progress, "FERS, stage 2 of 2")
        self.spatial.train(False)
        self._calibrate_backbone()
        self._match_deviations(self.spatial, self.spatial)

    def spectral_features(self, inputs: torch.Tensor) -> torch.Tensor:
        """f_spe of patches, without gradients."""
        halo = self.spectral.branch.halo
        with torch.no_grad():
            return self.spectral.branch(pad(inputs, (halo,) * 4, mode="reflect"))[..., halo:-halo, halo:-halo]

    def _match_deviations(self, branch: SpectralBranch | SpatialBranch, features: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Rescale the feature of a branch so that each channel varies over the patches as the band does that it is added to.

        The losses leave its size open: the classifier of stage 1 inflates f_spe to hundreds of times the input, and a sum with f_spe would
        then be f_spe alone. RX does not depend on the overall scale of a channel, but on the relative scale of the terms.
        """
        sums = torch.zeros(2, 2, self.spectral.branch.feature.out_channels, dtype=torch.float64)  # on the CPU: not every GPU has it
        count = 0
        with torch.no_grad():
            for start in range(0, len(self.patches), self.batch):
                images, valid = self.patches.batch(slice(start, start + self.batch))
                for i, image in enumerate((images, features(images))):
                    spectra = pixels(image, valid).cpu().double()
                    sums[i] += torch.stack([spectra.sum(0), spectra.square().sum(0)])
                count += len(spectra)
        mean, square = sums.transpose(0, 1) / count
        band, channel = (square - mean.square()).clamp(min=0).sqrt()
        factors = torch.where((band > 0) & (channel > 0), band / channel, torch.ones_like(band))
        branch.rescale(factors.float().to(self.patches.spectra.device))

    def _optimise(
        self,
        network: nn.Module,
        loss_parts: Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]],
        epochs: int,
        learning_rate: float,
        progress: Progress,
        stage: str,
    ) -> None:
        optimiser = Adam((p for p in network.parameters() if p.requires_grad), learning_rate, betas=(0.5, 0.999))
        steps = max(1, round(len(self.patches) / self.batch))
        for epoch in range(epochs):
            order = torch.randperm(len(self.patches), generator=self.generator)
            means: dict[str, float] = {}
            for step in range(steps):
                done = epoch * steps + step
                shown = f", loss {self.losses[-1]['loss']:.3g}" if epoch else ""
                message = f"{stage}, step {done + 1} of {epochs * steps}{shown}"
                progress(done / (epochs * steps), message)
                parts = loss_parts(*self.patches.batch(order[step * self.batch : (step + 1) * self.batch]))
                loss = reduce(torch.add, parts.values())
                progress((done + 0.4) / (epochs * steps), message)
                loss.backward()
                optimiser.step()
                for name, value in dict(parts, loss=loss).items():
                    means[name] = means.get(name, 0.0) + value.item() / steps
            if not math.isfinite(means["loss"]):
                raise ValueError(f"{stage}: the training diverged; try a smaller learning rate")
            self.losses.append(means)


def only_valid(restored: torch.Tensor, inputs: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Restored images, with the input itself where it is not valid, so that no loss comes from there."""
    return restored if valid.all() else torch.where(valid, restored, inputs)


def pixels(features: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Features (valid pixels, channels) of features (n, channels, rows, columns) and valid (n, 1, rows, columns)."""
    features, valid = features.permute(0, 2, 3, 1), valid[:, 0]
    return features.flatten(0, 2) if valid.all() else features[valid]
