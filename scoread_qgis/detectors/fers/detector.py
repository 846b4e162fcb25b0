"""FERS as a detector: features of two trained branches, and a classical detector on them. No training, no parameters.

"Rebellious Student: A Complementary Learning Framework for Background Feature Enhancement in Hyperspectral Anomaly Detection",
arXiv 2510.18781, 2025.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from ...core.progress import Progress
from ..rx import GaussianStatistics, MahalanobisDistance
from ..shared.checks import check_keys, filled_network, finite, whole_number
from ..shared.explanation import Explanation
from .backbones import freeze, teacher_encoder
from .scaling import SceneScaling, mirrored
from .spatial import GRIDS, SpatialBranch, bin_members
from .spectral import SpectralBranch

READOUTS = ("sum", "product", "autoencoder")
STRIP = 16384  # pixels that pass through the networks at a time
AUTOENCODER_PIXELS = 4096  # that the autoencoder readout is fitted to
AUTOENCODER_STEPS = 50
MOST_PARTS = 20  # of the loss of an epoch, in a model file


class FERS:
    """The trained branches.

    spectral, spatial: SpectralBranch and SpatialBranch of the same bands. backbone: 0 compact, 1 as published.
    losses: one dict for each epoch of stage 1, then of stage 2, of the mean parts of the loss and their sum "loss".
    """

    kind = "fers"

    def __init__(self, spectral, spatial, backbone, losses=()):
        self.spectral, self.spatial, self.backbone, self.losses = freeze(spectral), freeze(spatial), backbone, list(losses)
        self.bands = spectral.feature.out_channels

    @property
    def loss_curve(self):
        """Loss of each epoch, stage 1 first."""
        return [parts["loss"] for parts in self.losses]

    def detect(self, cube, readout=None, seed=0, progress=None):
        """Yield (first row, scores (rows, columns) float32, larger = more anomalous, NaN where not valid) from top to bottom.

        readout: "sum": global RX of input + f_spe + f_spa; "product": product of the RX maps, scaled to 0..1, of input + f_spa and of
            input + f_spe; "autoencoder": squared error of an autoencoder fitted to a sample of the sums. None: as published, "sum" for more
            than 50 bands, "product" else.
        seed: of the autoencoder and its sample.
        Passes over the scene: scale; pyramid; statistics (or sample); with "product" the range of the maps; the map.
        """
        progress = progress or Progress()
        readout = readout or ("sum" if self.bands > 50 else "product")
        if readout not in READOUTS:
            raise ValueError(f"unknown readout {readout}: it has to be one of {', '.join(READOUTS)}")
        scene = self.scene(cube, progress.part(0, 0.3))
        if readout == "autoencoder":
            score = self._fit_autoencoder(cube, scene, seed, progress.part(0.3, 0.7))
        elif readout == "sum":
            score = self._fit_rx(cube, scene, [_sum], progress.part(0.3, 0.7))[0]
        else:
            score = self._fit_product(cube, scene, progress.part(0.3, 0.7))
        phase = progress.part(0.7, 1)
        for block in cube.blocks(self.spectral.halo):
            scores = torch.full((block.rows, cube.columns), torch.nan)
            for rows, valid, *features in self.features(block, scene, phase, "map"):
                scores[rows][valid] = score(*features).float().cpu()
            yield block.row, scores.numpy()
        progress(1.0, "FERS, done")

    def explain(self, cube, regions, seen, progress=None):
        """`Explanation` of the mean features of some regions, `seen` in a cube, by the RX of input + f_spe + f_spa, channel for band.

        The background is that of RX, the mean of the scene outside of the regions, with an anomaly value of 0 at the mean of the features.
        """
        progress = progress or Progress()
        scene = self.scene(cube, progress.part(0, 0.3))
        statistics, sums = GaussianStatistics(), torch.zeros(regions.count, self.bands, dtype=torch.float64)
        for block in cube.blocks(self.spectral.halo):
            labels = torch.as_tensor(regions.labels(block.row, block.row + block.rows))
            for rows, valid, *features in self.features(block, scene, progress.part(0.3, 1), "statistics"):
                summed = _sum(*features)
                statistics.add(summed)
                label = labels[rows][valid]
                sums.index_add_(0, label[label > 0] - 1, summed[(label > 0).to(summed.device)].double().cpu())
        means = sums / torch.as_tensor(seen.pixels)[:, None]
        contributions = MahalanobisDistance(statistics).contributions(means.to(self._device)).cpu().numpy()
        background = np.repeat(seen.rest[None].astype(np.float32), regions.count, 0)
        what = "RX, the squared Mahalanobis distance, of the input enhanced by both branches (readout sum)"
        return Explanation(background, contributions.sum(1), np.zeros(regions.count), contributions, what)

    def scene(self, cube, progress=None):
        """What the features need to know about the whole scene: its scale, and the context of the spatial branch. Two passes."""
        if cube.bands != self.bands:
            raise ValueError(f"the FERS model has {self.bands} bands, the scene {cube.bands}")
        progress = progress or Progress()
        scaling = SceneScaling(cube, progress.part(0, 0.3))
        with torch.no_grad():
            context = self.spatial.context(self._pyramid(cube, scaling, progress.part(0.3, 0.9)))
            return Scene(cube.rows, cube.columns, scaling, context, self._attention(cube, context, progress.part(0.9, 1)))

    def features(self, block, scene, progress=None, message="features"):
        """Yield the features of a block, which comes with `halo` rows of context, in strips.

        A strip: its rows in the block (slice), valid (rows, columns), and of its valid pixels scaled input, f_spe, f_spa, (n, bands) each.
        """
        progress = progress or Progress()
        halo = self.spectral.halo
        columns = mirrored(np.arange(-halo, scene.columns + halo), scene.columns)
        at_a_time = max(8, STRIP // scene.columns)
        for start in range(0, block.rows, at_a_time):
            stop = min(start + at_a_time, block.rows)
            first, last = block.row + start, block.row + stop
            progress(first / scene.rows, f"FERS, {message}, row {first + 1} of {scene.rows}")
            rows = mirrored(np.arange(first - halo, last + halo), scene.rows) - (block.row - block.above)
            place = np.ix_(rows, columns)
            x = self._images(scene.scaling(block.values[place], block.valid[place]))
            with torch.no_grad():
                f_spe = self.spectral(x)[..., halo:-halo, halo:-halo]
                f_spa = self.spatial.interpolate(scene.context, slice(first, last), scene.rows, scene.columns) * scene.attention
            valid = torch.from_numpy(block.valid[block.inner][start:stop])
            chosen = valid.flatten()
            features = [f[0].permute(1, 2, 0).flatten(0, 1) for f in (x[..., halo:-halo, halo:-halo], f_spe, f_spa)]
            yield slice(start, stop), valid, *(features if chosen.all() else [f[chosen] for f in features])

    def state(self):
        return {
            "bands": self.bands,
            "backbone": self.backbone,
            "losses": self.losses,
            "spectral": self.spectral.state_dict(),
            "spatial": self.spatial.state_dict(),
        }

    @classmethod
    def from_state(cls, state, device="cpu"):
        """Raises ValueError for a state that is not one of this detector."""
        check_keys(state, "state", "bands", "backbone", "losses", "spectral", "spatial")
        bands, backbone = whole_number(state, "bands"), whole_number(state, "backbone", 0, 1)
        decisive = {"feature.weight": (bands, None, 1, 1)}
        spectral = filled_network(lambda: SpectralBranch(bands, backbone, teacher_encoder(backbone)), state, "spectral", decisive)
        decisive["attention.excite.weight"] = (bands, max(1, bands // 8))
        networks = spectral, filled_network(lambda: SpatialBranch(bands, backbone), state, "spatial", decisive)
        for network in networks:
            network.to(device, memory_format=torch.channels_last)
        return cls(*networks, backbone, _checked_losses(state["losses"]))

    @property
    def _device(self):
        return self.spectral.conv_h.weight.device

    def _images(self, spectra):
        """(rows, columns, bands) float32 array to (1, bands, rows, columns) tensor."""
        return torch.from_numpy(spectra).to(self._device).permute(2, 0, 1).unsqueeze(0)

    def _pyramid(self, cube, scaling, progress):
        """Means of the backbone's features over the bins of the whole scene (1, channels, size, size), for each size of the pyramid.

        Cells count by their share of valid pixels; a bin without any gets the mean of the scene.
        """
        backbone = self.spatial.backbone
        stride = backbone.stride
        halo = -(-backbone.reach // stride) * stride
        at_a_time = max(halo, STRIP // cube.columns // stride * stride)
        cells = [-(-size // stride) for size in (cube.rows, cube.columns)]
        sums, weights = [0.0] * len(GRIDS), [0.0] * len(GRIDS)
        image, valid, buffered = None, None, 0
        false_rgb = self._false_rgb(cube, scaling, progress)
        for first in range(0, cube.rows, at_a_time):
            last = min(first + at_a_time, cube.rows)
            above, end = max(0, first - halo), min(cube.rows, last + halo)
            while image is None or buffered + image.shape[2] < end:
                more, more_valid = next(false_rgb)
                image = more if image is None else torch.cat([image, more], 2)
                valid = more_valid if valid is None else torch.cat([valid, more_valid], 2)
            image, valid, buffered = image[:, :, above - buffered :], valid[:, :, above - buffered :], above
            inner = slice((first - above) // stride, -(-(last - above) // stride))
            features = backbone(image[:, :, : end - above])[2][:, :, inner].double()
            share = avg_pool2d(valid[:, :, : end - above], stride, ceil_mode=True)[:, :, inner].double()
            for i, size in enumerate(GRIDS):
                by_row = bin_members(cells[0], size, features)[:, first // stride : first // stride + features.shape[2]]
                by_column = bin_members(cells[1], size, features).T
                sums[i] = sums[i] + by_row @ (features * share) @ by_column
                weights[i] = weights[i] + by_row @ share @ by_column
        whole = sums[0] / weights[0]
        return [torch.where(weight > 0, total / weight, whole).float() for total, weight in zip(sums, weights)]

    def _false_rgb(self, cube, scaling, progress):
        """Yield the false RGB image (1, 3, rows, columns) and its validity (1, 1, rows, columns), some rows at a time."""
        at_a_time = max(1, STRIP // cube.columns)
        for block in cube.blocks():
            for start in range(0, block.rows, at_a_time):
                row = block.row + start
                progress(row / cube.rows, f"FERS, pyramid, row {row + 1} of {cube.rows}")
                values, valid = (array[block.inner][start : start + at_a_time] for array in (block.values, block.valid))
                with torch.no_grad():
                    image = self.spatial.rgb(self._images(scaling(values, valid)))
                yield image, torch.from_numpy(valid).to(image)[None, None]

    def _attention(self, cube, context, progress):
        """Factors (1, bands, 1, 1) of the channel attention, from the means over the whole scene."""
        total, at_a_time = 0.0, max(1, STRIP // cube.columns)
        for row in range(0, cube.rows, at_a_time):
            progress(row / cube.rows, "FERS, channel attention")
            part = slice(row, min(row + at_a_time, cube.rows))
            total = total + self.spatial.interpolate(context, part, cube.rows, cube.columns).sum((2, 3), dtype=torch.float64)
        return self.spatial.attention.scale((total / (cube.rows * cube.columns)).float())[..., None, None]

    def _fit_rx(self, cube, scene, combinations, progress):
        """Functions of (input, f_spe, f_spa) that give the RX of each of their combinations over the scene."""
        statistics = [GaussianStatistics() for _ in combinations]
        for block in cube.blocks(self.spectral.halo):
            for _, _, *features in self.features(block, scene, progress, "statistics"):
                for combination, one in zip(combinations, statistics):
                    one.add(combination(*features))
        distances = [MahalanobisDistance(one) for one in statistics]
        return [lambda *features, c=c, d=d: d(c(*features)) for c, d in zip(combinations, distances)]

    def _fit_product(self, cube, scene, progress):
        """Product of two RX maps, each scaled to 0..1 over the scene."""
        maps = self._fit_rx(cube, scene, [lambda x, f_spe, f_spa: x + f_spa, lambda x, f_spe, f_spa: x + f_spe], progress.part(0, 0.5))
        least, most = torch.full((2,), torch.inf), torch.full((2,), -torch.inf)
        for block in cube.blocks(self.spectral.halo):
            for _, valid, *features in self.features(block, scene, progress.part(0.5, 1), "range of the maps"):
                if valid.any():
                    scores = torch.stack([one(*features) for one in maps]).cpu()
                    least, most = torch.minimum(least, scores.amin(1)), torch.maximum(most, scores.amax(1))

        def score(*features):
            first, second = ((one(*features).cpu() - low) / (high - low) for one, low, high in zip(maps, least, most))
            return first * second

        return score

    def _fit_autoencoder(self, cube, scene, seed, progress):
        """Squared error of a small autoencoder of sigmoid(input + f_spe + f_spa), fitted to a sample of the scene in 50 steps.

        The channels of the sum are standardised by the sample: the sigmoid of values of some hundredths would be one half everywhere.
        """

        def gather(block, rows, columns):
            sums = []
            for part, valid, *features in self.features(block, scene, progress.part(0, 0.5), "sample"):
                image = features[0].new_zeros((*valid.shape, self.bands))
                image[valid] = _sum(*features)
                inside = (rows - block.above >= part.start) & (rows - block.above < part.stop)
                sums.append(image[rows[inside] - block.above - part.start, columns[inside]].cpu().numpy())
            return (np.concatenate(sums),)

        _, (sample,) = cube.sample(AUTOENCODER_PIXELS, seed, gather, self.spectral.halo)
        sample = torch.from_numpy(sample).to(self._device)
        mean, deviation = sample.mean(0), sample.std(0, correction=0).clamp(min=1e-8)
        sample = ((sample - mean) / deviation).sigmoid()
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []), torch.enable_grad():
            torch.manual_seed(seed)
            sizes = [self.bands, 128, 64, 32, 64, 128, self.bands]
            layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
            network = nn.Sequential(*layers[:-1], nn.Sigmoid()).to(self._device)
            # Adam divides by the size of the gradients and makes steps of rounding errors; a larger eps keeps the map free of them
            optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-3)
            for step in range(AUTOENCODER_STEPS):
                progress(0.5 + 0.5 * step / AUTOENCODER_STEPS, f"FERS, autoencoder, step {step + 1} of {AUTOENCODER_STEPS}")
                loss = (network(sample) - sample).square().sum(1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        freeze(network)

        def score(*features):
            inputs = ((_sum(*features) - mean) / deviation).sigmoid()
            return (network(inputs) - inputs).square().sum(1)

        return score


class Scene:
    """What the features of a pixel depend on besides its surroundings: size and scaling of the scene, context and attention of f_spa."""

    def __init__(self, rows, columns, scaling, context, attention):
        self.rows, self.columns, self.scaling, self.context, self.attention = rows, columns, scaling, context, attention


def _checked_losses(losses):
    """Losses of a state. Raises ValueError where they are not finite numbers by name."""
    if type(losses) is not list:
        raise ValueError("its losses are not a list of epochs")
    for parts in losses:
        if not isinstance(parts, dict) or "loss" not in parts or len(parts) > MOST_PARTS:
            raise ValueError("its losses lack that of an epoch")
        for name, value in parts.items():
            finite(value, f"loss {name[:40]}")
    return losses


def _sum(x, f_spe, f_spa):
    return x + f_spe + f_spa
