"""FERS as a detector: features of two trained branches, and a classical detector on them. No training, no parameters.

"Rebellious Student: A Complementary Learning Framework for Background Feature Enhancement in Hyperspectral Anomaly Detection",
arXiv 2510.18781, 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from ...core.cube import Block, Cube
from ...core.progress import Cancelled, Progress
from ..contract import Detector, Scorer, Tell, in_parts, passes, scattered
from ..shared.adam import Adam
from ..shared.checks import State, check_keys, filled_network, finite, whole_number
from ..shared.explanation import Explanation
from ..shared.mirroring import mirrored
from ..shared.statistics import GaussianStatistics, MahalanobisDistance
from ..shared.weights import Linear, draw_weights
from .backbones import freeze, teacher_encoder
from .scaling import SceneScaling
from .spatial import GRIDS, SpatialBranch, bin_members
from .spectral import SpectralBranch
from .training import Patches, Training

READOUTS = ("sum", "product", "autoencoder")
STRIP, FEWEST_ROWS = 16384, 8  # pixels, and rows at least, that pass through the networks at a time
AUTOENCODER_PIXELS = 4096  # that the autoencoder readout is fitted to
AUTOENCODER_STEPS = 50
FEATURE_BYTES = 128  # of a pixel of false colours and of its features, at a time
SPECTRUM_BYTES = 48  # of a band of a pixel, at a time, of which `Cube.most_columns` allows for some rows
MOST_PARTS = 20  # of the loss of an epoch, in a model file

Combination = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # of input, f_spe and f_spa, (n, bands) each
Readout = Callable[..., torch.Tensor]  # anomaly values (n,) of the same three


class FERS(Detector):
    """The trained branches.

    spectral, spatial: SpectralBranch and SpatialBranch of the same bands. backbone: 0 compact, 1 as published.
    losses: one dict for each epoch of stage 1, then of stage 2, of the mean parts of the loss and their sum "loss".
    loss_curve: that sum for each epoch.
    """

    kind, title = "fers", "FERS"
    in_row_blocks = False
    across_sensors = True
    binding_share = 0.7

    def __init__(self, spectral: SpectralBranch, spatial: SpatialBranch, backbone: int, losses: Sequence[dict[str, float]] = ()) -> None:
        self.spectral, self.spatial, self.backbone, self.losses = freeze(spectral), freeze(spatial), backbone, list(losses)
        self.bands = spectral.feature.out_channels
        self.loss_curve = [parts["loss"] for parts in self.losses]

    @classmethod
    def train(
        cls,
        cubes: Sequence[Cube],
        patch: int = 64,
        epochs: int = 60,
        batch: int = 16,
        learning_rate: float = 5e-3,
        backbone: int = 0,
        backbone_weights: Sequence[str] = (),
        seed: int = 0,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
        on_checkpoint: Callable[[FERS], object] | None = None,
    ) -> FERS:
        """Train on scenes of background, in two stages.

        cubes: of the same bands. patch: width of the training patches in pixels, a multiple of 16. epochs: of each stage.
        backbone: 0 compact, 1 as published.
        backbone_weights: for the published backbone, paths of state dicts in torchvision's layout, of Wide-ResNet-101-2, ResNet34 or both.
            A frozen network without such a file has random orthogonal filters with calibrated normalisation.
        on_checkpoint: called with the detector trained so far when the work is cancelled; Cancelled then continues on its way.
        The patches are drawn at random places, as many as cover the scenes once, and kept in memory.
        """
        progress = progress or Progress()
        if patch < 16 or patch % 16:
            raise ValueError(f"the width of the patches has to be a multiple of 16; this is {patch}")
        if backbone_weights and backbone == 0:
            raise ValueError("weight files are for the published backbone (1); the compact one has none")
        bands = cubes[0].bands
        if any(cube.bands != bands for cube in cubes):
            raise ValueError(f"the scenes have different numbers of bands: {', '.join(str(cube.bands) for cube in cubes)}")
        patches = Patches(cubes, patch, seed, progress.part(0, 0.05), device)
        steps = max(1, round(len(patches) / batch))
        if patch == 16 and min(batch, len(patches) - (steps - 1) * batch) < 2:
            raise ValueError(  # the deepest layer makes one pixel of a patch
                f"a training step on one patch of 16 × 16 pixels has nothing to compare it with; there are {len(patches)} patches in "
                f"batches of {batch}. Choose a patch size of 32 or more, another batch size, or more or larger scenes"
            )
        training = Training(bands, backbone, backbone_weights, patches, batch, device, torch.Generator().manual_seed(seed))
        try:
            training.spectral_stage(epochs, learning_rate, progress.part(0.05, 0.5))
            training.spatial_stage(epochs, learning_rate, progress.part(0.5, 1))
        except Cancelled:
            if on_checkpoint is not None:
                on_checkpoint(cls(*training.branches()))
            raise
        progress(1.0, "FERS, trained")
        return cls(*training.branches())

    def bind(
        self, cube: Cube, readout: str | None = None, seed: int = 0, gathered: None = None, progress: Progress | None = None
    ) -> FERSScorer:
        """A scorer by one of the readouts.

        readout: "sum": global RX of input + f_spe + f_spa; "product": product of the RX maps, scaled to 0..1, of input + f_spa and of
            input + f_spe; "autoencoder": squared error of an autoencoder fitted to a sample of the sums. None: as published, "sum" for more
            than 50 bands, "product" else.
        seed: of the autoencoder and its sample.
        Passes over the scene: scale; pyramid; statistics (or sample); with "product" the range of the maps.
        """
        progress = progress or Progress()
        score: Readout
        readout = readout or ("sum" if self.bands > 50 else "product")
        if readout not in READOUTS:
            raise ValueError(f"unknown readout {readout}: it has to be one of {', '.join(READOUTS)}")
        scene, phase = self.scene(cube, progress.part(0, 0.4)), progress.part(0.4, 1)
        distance = None
        if readout == "autoencoder":
            score = self._fit_autoencoder(cube, scene, seed, phase)
        elif readout == "product":
            score = self._fit_product(cube, scene, phase)
        else:
            (distance,) = self.fit_rx(cube, scene, [enhanced], phase)
            score = _read_out(enhanced, distance)
        return FERSScorer(cube, self, scene, score, distance)

    def scene(self, cube: Cube, progress: Progress | None = None) -> Scene:
        """What the features need to know about the whole scene: its scale, and the context of the spatial branch. Two passes."""
        if cube.bands != self.bands:
            raise ValueError(f"the FERS model has {self.bands} bands, the scene {cube.bands}")
        progress = progress or Progress()
        scaling = SceneScaling(cube, progress.part(0, 0.3))
        with torch.no_grad():
            context = self.spatial.context(self._pyramid(cube, scaling, progress.part(0.3, 0.9)))
            return Scene(cube.rows, cube.columns, scaling, context, self._attention(cube, context, progress.part(0.9, 1)))

    def features(self, block: Block, scene: Scene) -> list[torch.Tensor]:
        """Scaled input, f_spe and f_spa, (n, bands) each, of the valid pixels of a `Block`, which comes with `spectral.halo` pixels of
        context.
        """
        halo = self.spectral.halo
        rows, columns = slice(block.row, block.row + block.rows), slice(block.column, block.column + block.columns)
        place = np.ix_(
            mirrored(np.arange(rows.start - halo, rows.stop + halo), scene.rows) - (block.row - block.above),
            mirrored(np.arange(columns.start - halo, columns.stop + halo), scene.columns) - (block.column - block.left),
        )
        x = self._images(scene.scaling(block.values[place], block.valid[place]))
        f_spe, f_spa = x.new_empty(2, 1, self.bands, block.rows, block.columns)
        at_a_time = max(1, STRIP // block.rows)  # columns: of a wide block, the networks hold more than the features take
        for left in range(0, block.columns, at_a_time):
            own = slice(left, min(left + at_a_time, block.columns))
            across = slice(columns.start + own.start, columns.start + own.stop)
            with torch.no_grad():
                f_spe[..., own] = self.spectral(x[..., own.start : own.stop + 2 * halo])[..., halo:-halo, halo:-halo]
                f_spa[..., own] = self.spatial.interpolate(scene.context, rows, across, scene.rows, scene.columns) * scene.attention
        chosen = torch.from_numpy(block.valid[block.inner]).flatten()
        features = [f[0].permute(1, 2, 0).flatten(0, 1) for f in (x[..., halo:-halo, halo:-halo], f_spe, f_spa)]
        return features if chosen.all() else [f[chosen] for f in features]

    def features_among_their_like(
        self, spectra: np.ndarray, positions: np.ndarray, scene: Scene
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scaled input, f_spe and f_spa, (n, bands) each, of spectra (n, bands) as if they filled the surroundings of positions (n, 2)."""
        width = 2 * self.spectral.halo + 1
        scaled = scene.scaling(np.asarray(spectra, np.float32), np.ones(len(spectra), bool))
        x = torch.from_numpy(scaled).to(self.device)
        with torch.no_grad():
            images = x[..., None, None].expand(-1, -1, width, width).contiguous(memory_format=torch.channels_last)
            f_spe = self.spectral(images)[..., width // 2, width // 2]
            places = np.clip(np.round(positions).astype(int), 0, [scene.rows - 1, scene.columns - 1])
            f_spa = [
                self.spatial.interpolate(scene.context, slice(r, r + 1), slice(c, c + 1), scene.rows, scene.columns) * scene.attention
                for r, c in places
            ]
        return x, f_spe, torch.cat(f_spa)[..., 0, 0]

    def passes(self, cube: Cube, progress: Progress, phase: str) -> Iterator[tuple[Block, Tell]]:
        """`contract.passes` over a cube, with the context and the size that `features` wants."""
        return passes(cube, self.spectral.halo, STRIP, FEWEST_ROWS, progress, f"FERS, {phase}")

    def state(self) -> State:
        return {
            "bands": self.bands,
            "backbone": self.backbone,
            "losses": self.losses,
            "spectral": self.spectral.state_dict(),
            "spatial": self.spatial.state_dict(),
        }

    @classmethod
    def from_state(cls, state: State, device: torch.device | str = "cpu") -> FERS:
        """Raises ValueError for a state that is not one of this detector."""
        check_keys(state, "state", "bands", "backbone", "losses", "spectral", "spatial")
        bands, backbone = whole_number(state, "bands"), whole_number(state, "backbone", 0, 1)
        decisive: dict[str, tuple[int | None, ...]] = {"feature.weight": (bands, None, 1, 1)}
        spectral = filled_network(lambda: SpectralBranch(bands, backbone, teacher_encoder(backbone)), state, "spectral", decisive)
        decisive["attention.excite.weight"] = (bands, max(1, bands // 8))
        networks = spectral, filled_network(lambda: SpatialBranch(bands, backbone), state, "spatial", decisive)
        for network in networks:
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(*networks, backbone, _checked_losses(state["losses"]))

    @property
    def device(self) -> torch.device:
        return self.spectral.conv_h.weight.device

    def _images(self, spectra: np.ndarray) -> torch.Tensor:
        """(rows, columns, bands) float32 array to (1, bands, rows, columns) tensor."""
        return torch.from_numpy(spectra).to(self.device).permute(2, 0, 1).unsqueeze(0)

    def _pyramid(self, cube: Cube, scaling: SceneScaling, progress: Progress) -> list[torch.Tensor]:
        """Means of the backbone's features over the bins of the whole scene (1, channels, size, size), for each size of the pyramid.

        Cells count by their share of valid pixels; a bin without any gets the mean of the scene. Made of strips of columns that are narrow
        enough for the memory, each with as many columns around it as reach a feature.
        """
        stride, halo = self.spatial.backbone.stride, self._pyramid_halo
        cells = [-(-size // stride) for size in (cube.rows, cube.columns)]
        sums: list[Any] = [0.0] * len(GRIDS)
        weights: list[Any] = [0.0] * len(GRIDS)
        # With so many rows of spectra on either side, a half is for reading, and a half for the rows that the backbone sees at a time.
        context = max(1, -(-3 * halo * FEATURE_BYTES // (SPECTRUM_BYTES * cube.bands)))
        width = cube.most_columns(context, halo)
        width = cube.columns if width >= cube.columns else max(stride, width // stride * stride)
        lefts = range(0, cube.columns, width)
        for number, left in enumerate(lefts):
            right = min(left + width, cube.columns)
            west, east = max(0, left - halo), min(cube.columns, right + halo)
            part = progress.part(number / len(lefts), (number + 1) / len(lefts))
            columns = slice(left // stride, -(-right // stride))
            inner = slice((left - west) // stride, (left - west) // stride + columns.stop - columns.start)
            for rows, features, share in self._backbone_features(cube.within(0, cube.rows, west, east), scaling, inner, part):
                for i, size in enumerate(GRIDS):
                    by_row = bin_members(cells[0], size, features)[:, rows]
                    by_column = bin_members(cells[1], size, features).T[columns]
                    sums[i] = sums[i] + by_row @ (features * share) @ by_column
                    weights[i] = weights[i] + by_row @ share @ by_column
        whole = sums[0] / weights[0]
        return [torch.where(weight > 0, total / weight, whole).float().to(self.device) for total, weight in zip(sums, weights)]

    @property
    def _pyramid_halo(self) -> int:
        """Pixels on each side that reach a feature of the backbone, in whole cells."""
        backbone = self.spatial.backbone
        return -(-backbone.reach // backbone.stride) * backbone.stride

    def _backbone_features(
        self, strip: Cube, scaling: SceneScaling, inner: slice, progress: Progress
    ) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Yield (rows of cells, features (1, channels, rows, columns), share of valid pixels (1, 1, rows, columns)) of the cells `inner`
        across a strip of the scene, from top to bottom."""
        backbone, stride, halo = self.spatial.backbone, self.spatial.backbone.stride, self._pyramid_halo
        at_a_time = max(halo, STRIP // strip.width // stride * stride)
        image, valid, buffered = None, None, 0
        with closing(self._false_rgb(strip, scaling, progress)) as false_rgb:
            for first in range(0, strip.rows, at_a_time):
                last = min(first + at_a_time, strip.rows)
                above, end = max(0, first - halo), min(strip.rows, last + halo)
                while image is None or valid is None or buffered + image.shape[2] < end:
                    more, more_valid = next(false_rgb)
                    image = more if image is None else torch.cat([image, more], 2)
                    valid = more_valid if valid is None else torch.cat([valid, more_valid], 2)
                image, valid, buffered = image[:, :, above - buffered :], valid[:, :, above - buffered :], above
                own = slice((first - above) // stride, -(-(last - above) // stride))
                features = backbone(image[:, :, : end - above])[2][:, :, own, inner]
                share = avg_pool2d(valid[:, :, : end - above], stride, ceil_mode=True)[:, :, own, inner]
                yield slice(first // stride, -(-last // stride)), features.cpu().double(), share.cpu().double()

    def _false_rgb(
        self, strip: Cube, scaling: SceneScaling, progress: Progress
    ) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
        """Yield the false RGB image (1, 3, rows, columns) and its validity (1, 1, rows, columns) of a strip, some rows at a time."""
        with closing(strip.row_blocks(0, progress, "FERS, pyramid")) as blocks:
            for block in blocks:
                for part in in_parts(block, max(1, STRIP // strip.width), 0):
                    with torch.no_grad():
                        image = self.spatial.rgb(self._images(scaling(part.values, part.valid)))
                    yield image, torch.from_numpy(part.valid).to(image)[None, None]

    def _attention(self, cube: Cube, context: list[torch.Tensor], progress: Progress) -> torch.Tensor:
        """Factors (1, bands, 1, 1) of the channel attention, from the means over the whole scene."""
        total: Any = 0.0
        pixels = STRIP // FEWEST_ROWS  # of 128 channels, several times
        at_a_time = max(1, pixels // cube.columns)
        for row in range(0, cube.rows, at_a_time):
            progress(row / cube.rows, "FERS, channel attention")
            rows = slice(row, min(row + at_a_time, cube.rows))
            for left in range(0, cube.columns, pixels):
                columns = slice(left, min(left + pixels, cube.columns))
                part = self.spatial.interpolate(context, rows, columns, cube.rows, cube.columns)
                total = total + part.cpu().sum((2, 3), dtype=torch.float64)
        return self.spatial.attention.scale((total / (cube.rows * cube.columns)).float().to(self.device))[..., None, None]

    def fit_rx(self, cube: Cube, scene: Scene, combinations: Sequence[Combination], progress: Progress) -> list[MahalanobisDistance]:
        """`MahalanobisDistance` of each of the combinations of (input, f_spe, f_spa) over the scene."""
        statistics = [GaussianStatistics() for _ in combinations]
        for block, _ in self.passes(cube, progress, "statistics"):
            features = self.features(block, scene)
            for combination, one in zip(combinations, statistics):
                one.add(combination(*features))
        return [MahalanobisDistance(one) for one in statistics]

    def _fit_product(self, cube: Cube, scene: Scene, progress: Progress) -> Readout:
        """Product of two RX maps, each scaled to 0..1 over the scene."""
        combinations = [lambda x, f_spe, f_spa: x + f_spa, lambda x, f_spe, f_spa: x + f_spe]
        maps = [_read_out(*pair) for pair in zip(combinations, self.fit_rx(cube, scene, combinations, progress.part(0, 0.5)))]
        least, most = torch.full((2,), torch.inf), torch.full((2,), -torch.inf)
        for block, _ in self.passes(cube, progress.part(0.5, 1), "range of the maps"):
            if block.valid[block.inner].any():
                scores = torch.stack([one(*self.features(block, scene)) for one in maps]).cpu()
                least, most = torch.minimum(least, scores.amin(1)), torch.maximum(most, scores.amax(1))

        def score(*features: torch.Tensor) -> torch.Tensor:
            first, second = ((one(*features).cpu() - low) / (high - low) for one, low, high in zip(maps, least, most))
            return first * second

        return score

    def _fit_autoencoder(self, cube: Cube, scene: Scene, seed: int, progress: Progress) -> Readout:
        """Squared error of a small autoencoder of sigmoid(input + f_spe + f_spa), fitted to a sample of the scene in 50 steps.

        The channels of the sum are standardised by the sample: the sigmoid of values of some hundredths would be one half everywhere.
        """
        halo = self.spectral.halo

        def gather(block: Block, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray]:
            sums = []
            for part in in_parts(block, max(FEWEST_ROWS, STRIP // cube.columns), halo):
                valid, summed = part.valid[part.inner], enhanced(*self.features(part, scene))
                image = summed.new_zeros((*valid.shape, self.bands))
                image[valid] = summed
                own_rows = rows - block.above + block.row - part.row
                inside = (own_rows >= 0) & (own_rows < part.rows)
                sums.append(image[own_rows[inside], columns[inside] - block.left].cpu().numpy())
            return (np.concatenate(sums),)

        phase = progress.part(0, 0.5)
        _, (gathered,) = cube.sample(AUTOENCODER_PIXELS, seed, gather, halo, phase, "FERS, sample")
        sample = torch.from_numpy(gathered).to(self.device)
        mean, deviation = sample.mean(0), sample.std(0, correction=0).clamp(min=1e-8)
        sample = ((sample - mean) / deviation).sigmoid()
        with torch.enable_grad():
            sizes = [self.bands, 128, 64, 32, 64, 128, self.bands]
            layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (Linear(a, b), nn.ReLU())]
            network = nn.Sequential(*layers[:-1], nn.Sigmoid())
            network = draw_weights(network, torch.Generator().manual_seed(seed)).to(self.device)
            # Adam divides by the size of the gradients and makes steps of rounding errors; a larger eps keeps the map free of them
            optimiser = Adam(network.parameters(), 1e-3, eps=1e-3)
            for step in range(AUTOENCODER_STEPS):
                progress(0.5 + 0.5 * step / AUTOENCODER_STEPS, f"FERS, autoencoder, step {step + 1} of {AUTOENCODER_STEPS}")
                loss = (network(sample) - sample).square().sum(1).mean()
                loss.backward()
                optimiser.step()
        freeze(network)

        def score(*features: torch.Tensor) -> torch.Tensor:
            inputs = ((enhanced(*features) - mean) / deviation).sigmoid()
            return (network(inputs) - inputs).square().sum(1)

        return score


class Scene:
    """What the features of a pixel depend on besides its surroundings: size and scaling of the scene, context and attention of f_spa."""

    def __init__(self, rows: int, columns: int, scaling: SceneScaling, context: list[torch.Tensor], attention: torch.Tensor) -> None:
        self.rows, self.columns, self.scaling, self.context, self.attention = rows, columns, scaling, context, attention


def _checked_losses(losses: Any) -> list[dict[str, float]]:
    """Losses of a state. Raises ValueError where they are not finite numbers by name."""
    if type(losses) is not list:
        raise ValueError("its losses are not a list of epochs")
    for parts in losses:
        if not isinstance(parts, dict) or "loss" not in parts or len(parts) > MOST_PARTS:
            raise ValueError("its losses lack that of an epoch")
        for name, value in parts.items():
            finite(value, f"loss {name[:40]}")
    return losses


def enhanced(x: torch.Tensor, f_spe: torch.Tensor, f_spa: torch.Tensor) -> torch.Tensor:
    """The input enhanced by both branches."""
    return x + f_spe + f_spa


def _read_out(combination: Combination, distance: MahalanobisDistance) -> Readout:
    return lambda *features: distance(combination(*features))


class FERSScorer(Scorer):
    """FERS bound to a scene.

    detector: `FERS`; scene: `Scene`; readout: function of (input, f_spe, f_spa) -> (n,). distance: `MahalanobisDistance` of the enhanced
    input, None where the readout does not use it; it is then made for the first explanation.
    """

    pass_pixels, fewest_rows = STRIP, FEWEST_ROWS
    phase = "FERS, map"

    def __init__(self, cube: Cube, detector: FERS, scene: Scene, readout: Readout, distance: MahalanobisDistance | None) -> None:
        super().__init__(cube)
        self.detector, self.scene, self.readout, self._distance = detector, scene, readout, distance
        self.context = detector.spectral.halo

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        return scattered(self.readout(*self.detector.features(block, self.scene)), block.valid[block.inner])

    def explain(self, spectra: np.ndarray, positions: np.ndarray, backgrounds: np.ndarray, progress: Progress | None = None) -> Explanation:
        """By the RX of input + f_spe + f_spa, channel for band, of a spectrum among its like."""
        if self._distance is None:
            (self._distance,) = self.detector.fit_rx(self.cube, self.scene, [enhanced], progress or Progress())
        observed, expected = (
            enhanced(*self.detector.features_among_their_like(each, positions, self.scene)) for each in (spectra, backgrounds)
        )
        contributions = self._distance.contributions(observed, expected)
        what = "RX, the squared Mahalanobis distance, of the input enhanced by both branches (readout sum)"
        return Explanation(self._distance(observed).numpy(), self._distance(expected).numpy(), contributions.numpy(), what)
