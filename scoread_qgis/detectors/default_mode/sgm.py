"""The default mode: a score network, a Gaussian and the neighbours of a spectrum, fused and set against the clutter around each pixel."""

import time

import numpy as np
import torch

from ...core.progress import Progress
from ..shared.explanation import Explanation, path_contributions
from ..shared.sampling import predictor_corrector
from ..shared.sde import VESDE
from ..shared.training import REPORT_SECONDS, seeded_weights, shares, train_score_network
from .clutter import REACH, subtract_clutter
from .fusion import TailProbability, fuse
from .gaussian import TrimmedGaussian
from .neighbours import NeighbourDistance
from .score_network import CENTRE, NEIGHBOURHOOD, ScoreNetwork

TIMES = (0.001, 0.08)  # perturbation kernel of 3 to 30 % of a band's standard deviation
EMA_DECAY = 0.9
FEWEST_PIXELS = 20
PASS_PIXELS = 2048  # pixels that are worked on at a time in detection
PASS_PATCHES = 1024  # the same in training, where each is 3 x 3 pixels


class SGM:
    """What is known of a scene's background after training, and the anomaly value that it gives each pixel of this scene or the next.

    Four kinds of anomaly value, each turned into -ln of its tail probability over the training pixels:
    - "gaussian": Mahalanobis distance of the spectrum from a trimmed Gaussian (`gaussian.TrimmedGaussian`);
    - "neighbours": distance to the most alike spectra elsewhere (`neighbours.NeighbourDistance`);
    - "features": Mahalanobis distance of the network's features of the spectrum and its eight neighbours. With the linear layer on top, it
      is the variance of the network's score under a Laplace approximation (MacKay 1992): how little the training pixels say about it;
    - "score": Mahalanobis distance of the score itself, of a network trained by denoising score matching (`score_network.ScoreNetwork`).
    They are fused (`fusion.fuse`), and the clutter around each pixel is subtracted (`windows.subtract_clutter`).

    centre, scale: (bands,) float32, mean and standard deviation of the training spectra; everything works on spectra scaled by them.
    network: `ScoreNetwork`. distances: name -> `TrimmedGaussian`, of all kinds but the neighbours. tails: name -> `TailProbability`.
    loss_curve: at most 100 mean losses.
    """

    kind = "sgm"
    SAMPLES = 10_000  # training pixels
    SAMPLED = "its trimmed Gaussian, in closed form; the network of the default mode is trained too shortly to be sampled"

    def __init__(self, centre, scale, network, distances, neighbours, tails, loss_curve):
        self.centre, self.scale, self.network = centre, scale, network
        self.distances, self.neighbours, self.tails = distances, neighbours, tails
        self.loss_curve = loss_curve

    @classmethod
    def train(cls, cubes, steps=100, batch_size=64, learning_rate=1e-2, hidden=256, samples=SAMPLES, seed=0, device="cpu", progress=None):
        """Train on `cubes`, scenes of the same bands.

        steps, batch_size, learning_rate: of the denoising score matching. With 0 steps there is no score; the other three values are fused.
        hidden: how many features the network has. samples: how many pixels to train on, drawn evenly over all valid pixels and shared
        equally by the scenes; they bound memory and time whatever the size of the scenes. seed: of the choice of pixels, the random
        features and the training.
        Raises ValueError where the scenes differ in bands, have too few valid pixels, or are constant.
        """
        progress = progress or Progress()
        bands = cubes[0].bands
        if any(cube.bands != bands for cube in cubes):
            raise ValueError(f"the scenes must have the same number of bands; they have {[cube.bands for cube in cubes]}")
        patches, positions, coordinates = _training_pixels(cubes, samples, seed, progress.part(0, 0.2))
        if len(patches) < FEWEST_PIXELS:
            raise ValueError(f"training needs {FEWEST_PIXELS} valid pixels at least; there are {len(patches)}")

        # Statistics are made on the CPU: double precision is there on every machine.
        progress(0.2, "background statistics")
        centre, scale = patches[:, CENTRE].double().mean(0), patches[:, CENTRE].double().std(0)
        if not (scale > 0).any():
            raise ValueError("there is nothing to learn: every band is constant")
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        centre, scale = centre.float(), scale.float()
        patches.sub_(centre).div_(scale)
        spectra = patches[:, CENTRE].contiguous()
        gaussian, background = TrimmedGaussian.fit(spectra)
        neighbours = NeighbourDistance.fit(spectra, scale.sqrt(), coordinates)
        references = positions[: len(neighbours.references)]
        near = _in_passes(
            lambda part: neighbours.distance(spectra[part], positions[part], references),
            len(spectra),
            progress.part(0.25, 0.4),
            "distances to neighbours",
        )

        network = seeded_weights(lambda: ScoreNetwork(bands, hidden), seed).to(device)
        loss_curve = []
        if steps:
            # It learns from the bulk of the spectra only, so that it does not learn the anomalies as well.
            bulk = patches[background].to(device)
            surroundings = torch.cat([bulk[:, :CENTRE], bulk[:, CENTRE + 1 :]], dim=1)
            loss_curve = train_score_network(
                network,
                bulk[:, CENTRE],
                VESDE(),
                steps,
                batch_size,
                learning_rate,
                TIMES,
                one_cycle=True,
                ema_decay=EMA_DECAY,
                antithetic=True,
                context=lambda indices, x_t: surroundings[indices],
                seed=seed,
                progress=progress.part(0.4, 0.85),
            )
        network.requires_grad_(False)
        features = _in_passes(
            lambda part: network.features_of_patches(patches[part].to(device)).cpu(),
            len(patches),
            progress.part(0.85, 0.95),
            "features of the training pixels",
        )
        progress(0.95, "background statistics of the features")
        distances = {"gaussian": gaussian, "features": TrimmedGaussian.fit(features)[0]}
        values = {"gaussian": gaussian.distance(spectra), "neighbours": near, "features": distances["features"].distance(features)}
        if steps:
            scores = features @ network.score.cpu()
            distances["score"] = TrimmedGaussian.fit(scores)[0]
            values["score"] = distances["score"].distance(scores)
        tails = {name: TailProbability.fit(value) for name, value in values.items()}
        progress(1.0, "trained")
        return cls(centre, scale, network, distances, neighbours, tails, loss_curve)._to(device)

    def detect(self, cube, progress=None):
        """Yield (first row, anomaly values (rows, columns) float32) from top to bottom: larger = more anomalous, NaN where not valid.

        Raises ValueError where the cube has other bands than the model.
        """
        first, last = cube.span
        wide = cube.part(max(0, first - REACH), min(cube.rows, last + REACH))  # with the rows that the clutter of its own is from
        tails = self._tails(wide, progress or Progress())
        values = ((row, fuse(list(values.values())).cpu().numpy()) for row, values in tails)
        for row, rows in subtract_clutter(values, wide.span[1], wide.span[0]):
            own = slice(max(0, first - row), max(0, last - row))
            if len(rows[own]):
                yield row + own.start, rows[own]

    def parts(self, cube, progress=None):
        """Each kind of anomaly value alone: name -> (rows, columns) float32, -ln of its tail probability, NaN where not valid."""
        rows = [values for _, values in self._tails(cube, progress or Progress())]
        return {name: torch.cat([values[name] for values in rows]).cpu().numpy() for name in self.tails}

    def _tails(self, cube, progress):
        """Yield (first row, name -> (rows, columns) tensor) from top to bottom, some rows at a time."""
        if cube.bands != len(self.centre):
            raise ValueError(f"the model is made for {len(self.centre)} bands; the scene has {cube.bands}")
        last_report = 0.0
        reference_positions = self._reference_positions(cube)
        rows_in_pass = max(1, PASS_PIXELS // cube.columns)
        for block in cube.blocks(1):
            inner = block.inner
            for first in range(inner.start, inner.stop, rows_in_pass):
                row = block.row + first - inner.start
                if time.monotonic() - last_report > REPORT_SECONDS:
                    progress(row / cube.rows, f"detection, row {row + 1} of {cube.rows}")
                    last_report = time.monotonic()
                yield row, self._tails_of_rows(block, first, min(first + rows_in_pass, inner.stop), reference_positions)
        progress(1.0, f"detection, row {cube.rows} of {cube.rows}")

    def _reference_positions(self, cube):
        """Rows and columns (references, 2) of the reference spectra in a scene."""
        return torch.as_tensor(cube.pixel_positions(self.neighbours.coordinates.numpy()), dtype=torch.float32).to(self.centre.device)

    @torch.inference_mode()
    def _tails_of_rows(self, block, first, last, reference_positions):
        device = self.centre.device
        top, bottom = max(0, first - 1), min(len(block.values), last + 1)
        valid = torch.from_numpy(block.valid[top:bottom]).to(device)
        chosen = valid[first - top : last - top]
        tails = {name: torch.full(chosen.shape, torch.nan, device=device) for name in self.tails}
        if not chosen.any():
            return tails
        spectra = torch.from_numpy(block.values[top:bottom]).to(device).sub(self.centre).div_(self.scale)
        own = spectra[first - top : last - top][chosen]
        positions = chosen.nonzero().float()
        positions[:, 0] += block.row + first - block.above
        features = self.network.features_of_rows(spectra, valid, first - top, last - top)
        for name, values in self._tails_of_spectra(own, features, positions, reference_positions).items():
            tails[name][chosen] = values
        return tails

    def _tails_of_spectra(self, spectra, features, positions, reference_positions):
        """Name -> (n,) -ln tail probabilities of scaled spectra (n, bands) with features (n, hidden) at positions (n, 2)."""
        vectors = {"gaussian": spectra, "features": features, "score": features @ self.network.score}
        values = {name: distance.distance(vectors[name]) for name, distance in self.distances.items()}
        values["neighbours"] = self.neighbours.distance(spectra, positions, reference_positions)
        return {name: tail(values[name]) for name, tail in self.tails.items()}

    def explain(self, cube, regions, seen, progress=None):
        """`Explanation` of the mean spectra of some regions, `seen` in a cube: each taken as a pixel among its like, without clutter around it.

        The background spectrum is the Tweedie estimate x + s(t)^2 S(x, t) at t = 1, where only the main variation of the background, such as its
        brightness, is left of x. S is the score of the trimmed Gaussian, in closed form. (The network's score tells spectra apart, but its
        few steps of training make no denoiser of it: docs/explaining.md.)
        """
        device = self.centre.device
        positions = torch.as_tensor(seen.centres, dtype=torch.float32, device=device)
        reference_positions = self._reference_positions(cube)

        def score(spectra):
            features = self.network.features_of_patches(spectra[:, None].expand(-1, len(NEIGHBOURHOOD), -1))
            return fuse(list(self._tails_of_spectra(spectra, features, positions, reference_positions).values()))

        observed = (torch.as_tensor(seen.mean, dtype=torch.float32, device=device) - self.centre) / self.scale
        gaussian, std = self.distances["gaussian"], float(VESDE().std(torch.ones(())))
        background = observed + (std * gaussian.scale) ** 2 * gaussian.score(observed, std)
        contributions, before, after = path_contributions(score, background, observed, progress=progress)
        background = background * self.scale + self.centre
        what = "root mean square of -ln tail probabilities of the model's parts, before the clutter around the pixel is subtracted"
        return Explanation(*(tensor.cpu().numpy() for tensor in (background, after, before, contributions)), what)

    def sample(self, count, seed=0, progress=None):
        """Spectra (count, bands) float32 in the units of the scene, sampled with the score of the trimmed Gaussian (see `explain`)."""
        gaussian, sde = self.distances["gaussian"], VESDE()

        def score(x, t):
            return gaussian.score(x, float(sde.std(t)))

        start = gaussian.draw(count, float(sde.std(torch.ones(()))), seed)
        return (predictor_corrector(score, sde, start, seed, progress=progress) * self.scale + self.centre).cpu().numpy()

    def state(self):
        """Everything that `from_state` needs, as torch.load(weights_only=True) accepts it."""
        return {
            "centre": self.centre.cpu(),
            "scale": self.scale.cpu(),
            "hidden": self.network.hidden,
            "weights": {name: weight.cpu() for name, weight in self.network.state_dict().items()},
            "distances": {name: distance.state() for name, distance in self.distances.items()},
            "neighbours": self.neighbours.state(),
            "tails": {name: tail.state() for name, tail in self.tails.items()},
            "loss_curve": self.loss_curve,
        }

    @classmethod
    def from_state(cls, state, device="cpu"):
        network = ScoreNetwork(len(state["centre"]), state["hidden"])
        network.load_state_dict(state["weights"])
        network.requires_grad_(False)
        return cls(
            state["centre"],
            state["scale"],
            network,
            {name: TrimmedGaussian.from_state(distance) for name, distance in state["distances"].items()},
            NeighbourDistance.from_state(state["neighbours"]),
            {name: TailProbability.from_state(tail) for name, tail in state["tails"].items()},
            state["loss_curve"],
        )._to(device)

    def _to(self, device):
        self.centre, self.scale, self.network = self.centre.to(device), self.scale.to(device), self.network.to(device).eval()
        self.distances = {name: distance.to(device) for name, distance in self.distances.items()}
        self.neighbours = self.neighbours.to(device)
        self.tails = {name: tail.to(device) for name, tail in self.tails.items()}
        return self


@torch.inference_mode()
def _in_passes(compute, count, progress, message):
    """`compute(slice)` of all `count` pixels, some at a time."""
    results = []
    for first in range(0, count, PASS_PATCHES):
        progress(first / count, message)
        results.append(compute(slice(first, first + PASS_PATCHES)))
    return torch.cat(results)


def _training_pixels(cubes, count, seed, progress):
    """Up to `count` pixels, shared equally by the scenes, in random order over all scenes.

    Returns patches (n, 9, bands) float32 tensor of the 3 x 3 neighbourhoods, with the pixel itself in the place of neighbours that are not
    valid; positions (n, 2) float32 tensor, rows and columns, those of different scenes far from each other; and map coordinates (n, 2)
    float64.
    """
    patches, positions, coordinates = [], [], []
    counts = shares(count, len(cubes))
    for number, cube in enumerate(cubes):
        part = progress.part(number / len(cubes), (number + 1) / len(cubes))
        # Drawn alike for all scenes, which a cluster does together; the first pixels of a sample are a smaller one.
        places, gathered = cube.sample(counts[0], seed, _patches, halo=1, progress=part)
        if len(places):
            places = places[: counts[number]]
            patches.append(torch.from_numpy(gathered[0][: counts[number]]))
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
