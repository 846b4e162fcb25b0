"""The default mode: a score network, a Gaussian and the neighbours of a spectrum, fused and set against the clutter around each pixel."""

import time

import numpy as np
import torch

from ..progress import Progress
from .fusion import TailProbability, fuse
from .gaussian import TrimmedGaussian
from .neighbours import NeighbourDistance
from .score_network import CENTRE, NEIGHBOURHOOD, ScoreNetwork
from .sde import VESDE
from .training import REPORT_SECONDS, seeded_weights, train_score_network
from .windows import subtract_clutter

NETWORKS = 2
TIMES = (0.001, 0.08)  # perturbation kernel of 3 to 30 % of a band's standard deviation
EMA_DECAY = 0.9
SPECTRA_RIDGE = 1e-6  # of scaled spectra: what float32 can tell apart
FEATURES_RIDGE = 1e-5
FEWEST_PIXELS = 20
PASS_PIXELS = 4096
EXAMPLES = 1024


class SGM:
    """What is known of a scene's background after training, and the anomaly value that it gives each pixel of this scene or the next.

    Three kinds of anomaly value, each turned into -ln of its tail probability over the training pixels:
    - "gaussian": Mahalanobis distance of the spectrum from a trimmed Gaussian (`gaussian.TrimmedGaussian`);
    - "neighbours": distance to the most alike spectra elsewhere (`neighbours.NeighbourDistance`);
    - "network 1", "network 2": Mahalanobis distance of the last hidden features of a score network that sees 3 x 3 pixels, trained by denoising
      score matching (`score_network.ScoreNetwork`).
    They are fused (`fusion.fuse`), and the clutter around each pixel is subtracted (`windows.subtract_clutter`).

    centre, scale: (bands,) float32, mean and standard deviation of the training spectra; everything works on spectra scaled by them.
    loss_curve: mean loss of the networks, at most 100 points.
    """

    kind = "sgm"

    def __init__(self, centre, scale, gaussian, neighbours, networks, features, tails, loss_curve):
        self.centre, self.scale = centre, scale
        self.gaussian, self.neighbours, self.networks, self.features, self.tails = gaussian, neighbours, networks, features, tails
        self.loss_curve = loss_curve

    @classmethod
    def train(cls, cubes, steps=50, batch_size=128, learning_rate=1e-3, hidden=256, samples=10_000, seed=0, device="cpu", progress=None):
        """Train on `cubes`, scenes of the same bands.

        steps, batch_size, learning_rate: of the denoising score matching of each network; 0 steps leave it as it starts. hidden: width of the
        networks. samples: how many pixels to train on, drawn evenly over all valid pixels and shared equally by the scenes. They bound memory and time
        whatever the size of the scenes. seed: of the choice of pixels, the initial weights and the training.
        Raises ValueError where the scenes differ in bands or have too few valid pixels.
        """
        progress = progress or Progress()
        bands = cubes[0].bands
        if any(cube.bands != bands for cube in cubes):
            raise ValueError(f"the scenes must have the same number of bands; they have {[cube.bands for cube in cubes]}")
        patches, positions, coordinates = _training_pixels(cubes, samples // len(cubes), seed, progress.part(0, 0.1))
        if len(patches) < FEWEST_PIXELS:
            raise ValueError(f"training needs {FEWEST_PIXELS} valid pixels at least; there are {len(patches)}")

        # Statistics are made on the CPU: double precision is there on every machine.
        centre, scale = patches[:, CENTRE].double().mean(0), patches[:, CENTRE].double().std(0)
        if not (scale > 0).any():
            raise ValueError("there is nothing to learn: every band is constant")
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        centre, scale = centre.float(), scale.float()
        patches.sub_(centre).div_(scale)
        spectra = patches[:, CENTRE].contiguous()
        progress(0.1, "background statistics")
        gaussian, background = TrimmedGaussian.fit(spectra, SPECTRA_RIDGE)
        neighbours = NeighbourDistance.fit(spectra, coordinates)
        values = [gaussian.distance(spectra), _in_passes(
            lambda part: neighbours.distance(spectra[part], positions[part], positions[:len(neighbours.references)]), len(spectra),
            progress.part(0.1, 0.2), "distances to neighbours")]

        # The networks learn from the bulk of the spectra only, so that they do not learn the anomalies as well.
        training_patches = patches[background].to(device)
        networks, features, loss_curves = [], [], []
        for number in range(NETWORKS):
            part = progress.part(0.2 + 0.8 * number / NETWORKS, 0.2 + 0.8 * (number + 1) / NETWORKS)
            network = seeded_weights(lambda: ScoreNetwork(bands, hidden), NETWORKS * seed + number).to(device)
            if steps:
                neighbourhood = torch.cat([training_patches[:, :CENTRE], training_patches[:, CENTRE + 1:]], dim=1)
                loss_curves.append(train_score_network(
                    network, training_patches[:, CENTRE], VESDE(), steps, batch_size, learning_rate, TIMES, one_cycle=True, ema_decay=EMA_DECAY,
                    antithetic=True, context=lambda indices, x_t, near=neighbourhood: near[indices], seed=NETWORKS * seed + number,
                    progress=part.part(0, 0.8)))
            network.requires_grad_(False)
            learnt = _in_passes(lambda rows, network=network: network.features_of_patches(patches[rows].to(device)).cpu(), len(patches),
                                part.part(0.8, 1), "features of the training pixels")
            networks.append(network)
            features.append(TrimmedGaussian.fit(learnt, FEATURES_RIDGE)[0])
            values.append(features[-1].distance(learnt))
        tails = [TailProbability.fit(value) for value in values]
        loss_curve = np.mean(loss_curves, axis=0).tolist() if loss_curves else []
        return cls(centre, scale, gaussian, neighbours, networks, features, tails, loss_curve)._to(device)

    @property
    def names(self):
        """Names of the anomaly values that are fused, in order."""
        return ["gaussian", "neighbours"] + [f"network {number + 1}" for number in range(len(self.networks))]

    def detect(self, cube, progress=None):
        """Yield (first row, anomaly values (rows, columns) float32) from top to bottom: larger = more anomalous, NaN where a pixel is not valid.

        Raises ValueError where the cube has other bands than the model.
        """
        fused = ((row, fuse(values)) for row, values in self._tails(cube, progress or Progress()))
        return subtract_clutter(((row, values.cpu().numpy()) for row, values in fused), cube.rows)

    def parts(self, cube, progress=None):
        """Each anomaly value alone, before fusion: dictionary of name -> (rows, columns) float32 array, -ln of tail probability, NaN where not valid."""
        rows = [torch.stack(values).cpu() for _, values in self._tails(cube, progress or Progress())]
        return dict(zip(self.names, torch.cat(rows, dim=1).numpy()))

    def _tails(self, cube, progress):
        """Yield (first row, list of (rows, columns) tensors, one for each name) from top to bottom, some rows at a time."""
        if cube.bands != len(self.centre):
            raise ValueError(f"the model is made for {len(self.centre)} bands; the scene has {cube.bands}")
        device, last_report = self.centre.device, 0.0
        reference_positions = torch.as_tensor(cube.pixel_positions(self.neighbours.coordinates.numpy()), dtype=torch.float32).to(device)
        rows_in_pass = max(1, PASS_PIXELS // cube.columns)
        for block in cube.blocks(1):
            inner = block.inner
            for first in range(inner.start, inner.stop, rows_in_pass):
                if time.monotonic() - last_report > REPORT_SECONDS:
                    row = block.row + first - inner.start
                    progress(row / cube.rows, f"detection, row {row + 1} of {cube.rows}")
                    last_report = time.monotonic()
                last = min(first + rows_in_pass, inner.stop)
                yield block.row + first - inner.start, self._tails_of_rows(block, first, last, reference_positions)
        progress(1.0, f"detection, row {cube.rows} of {cube.rows}")

    @torch.inference_mode()
    def _tails_of_rows(self, block, first, last, reference_positions):
        device = self.centre.device
        top, bottom = max(0, first - 1), min(len(block.values), last + 1)
        spectra = (torch.from_numpy(block.values[top:bottom]).to(device) - self.centre) / self.scale
        valid = torch.from_numpy(block.valid[top:bottom]).to(device)
        chosen = valid[first - top:last - top]
        tails = [torch.full(chosen.shape, torch.nan, device=device) for _ in self.names]
        if not chosen.any():
            return tails
        own = spectra[first - top:last - top][chosen]
        positions = chosen.nonzero().float()
        positions[:, 0] += block.row + first - block.above
        values = [self.gaussian.distance(own), self.neighbours.distance(own, positions, reference_positions)]
        values += [features.distance(network.features_of_rows(spectra, valid, first - top, last - top))
                   for network, features in zip(self.networks, self.features)]
        for tail, calibration, value in zip(tails, self.tails, values):
            tail[chosen] = calibration(value)
        return tails

    def state(self):
        """Everything that `from_state` needs, as torch.load(weights_only=True) accepts it."""
        return {
            "centre": self.centre.cpu(), "scale": self.scale.cpu(), "gaussian": self.gaussian.state(), "neighbours": self.neighbours.state(),
            "hidden": self.networks[0].hidden,
            "networks": [{name: weight.cpu() for name, weight in network.state_dict().items()} for network in self.networks],
            "features": [features.state() for features in self.features], "tails": [tail.state() for tail in self.tails],
            "loss_curve": self.loss_curve,
        }

    @classmethod
    def from_state(cls, state, device="cpu"):
        networks = []
        for weights in state["networks"]:
            network = ScoreNetwork(len(state["centre"]), state["hidden"])
            network.load_state_dict(weights)
            networks.append(network.requires_grad_(False))
        return cls(state["centre"], state["scale"], TrimmedGaussian.from_state(state["gaussian"]),
                   NeighbourDistance.from_state(state["neighbours"]), networks,
                   [TrimmedGaussian.from_state(part) for part in state["features"]],
                   [TailProbability.from_state(part) for part in state["tails"]], state["loss_curve"])._to(device)

    def _to(self, device):
        self.centre, self.scale = self.centre.to(device), self.scale.to(device)
        self.gaussian, self.neighbours = self.gaussian.to(device), self.neighbours.to(device)
        self.networks = [network.to(device).eval() for network in self.networks]
        self.features = [features.to(device) for features in self.features]
        self.tails = [tail.to(device) for tail in self.tails]
        return self


@torch.inference_mode()
def _in_passes(compute, count, progress, message):
    """`compute(slice)` of all `count` pixels, some at a time."""
    results = []
    for first in range(0, count, EXAMPLES):
        progress(first / count, message)
        results.append(compute(slice(first, first + EXAMPLES)))
    return torch.cat(results)


def _training_pixels(cubes, count, seed, progress):
    """Up to `count` pixels of each scene, in random order over all scenes.

    Returns patches (n, 9, bands) float32 tensor of the 3 x 3 neighbourhoods, with the pixel itself in the place of neighbours that are not valid;
    positions (n, 2) float32 tensor, rows and columns, those of different scenes far from each other; and map coordinates (n, 2) float64.
    """
    patches, positions, coordinates = [], [], []
    for number, cube in enumerate(cubes):
        places, gathered = cube.sample(count, seed, _patches, halo=1, progress=progress.part(number / len(cubes), (number + 1) / len(cubes)))
        if len(places):
            patches.append(torch.from_numpy(gathered[0]))
            positions.append(torch.as_tensor(places + [number * 10_000_000, 0], dtype=torch.float32))
            coordinates.append(cube.map_positions(places))
    if not patches:
        raise ValueError("there is no valid pixel to train on")
    if len(patches) == 1:
        return patches[0], positions[0], coordinates[0]
    order = np.random.default_rng(seed).permutation(sum(map(len, patches)))
    return torch.cat(patches)[order], torch.cat(positions)[order], np.concatenate(coordinates)[order]


def _patches(block, rows, columns):
    """The 3 x 3 neighbourhoods (n, 9, bands) of pixels of a block, with the pixel itself in the place of neighbours that are not valid."""
    height, width = block.valid.shape
    patches = np.empty((len(rows), len(NEIGHBOURHOOD), block.values.shape[2]), dtype=np.float32)
    for number, (down, right) in enumerate(NEIGHBOURHOOD):
        near_rows, near_columns = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
        there = (near_rows == rows + down) & (near_columns == columns + right) & block.valid[near_rows, near_columns]
        patches[:, number] = block.values[np.where(there, near_rows, rows), np.where(there, near_columns, columns)]
    return (patches,)
