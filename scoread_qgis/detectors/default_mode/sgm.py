"""The default mode: a score network, a Gaussian and the neighbours of a spectrum, fused and set against the clutter around each pixel."""

import numpy as np
import torch

from ...core.progress import Progress
from ..contract import Detector, Scorer
from ..shared.checks import check_keys, filled_network, finite_list, tensor, whole_number
from ..shared.explanation import Explanation, path_contributions
from ..shared.fit import Fit
from ..shared.sde import VESDE
from ..shared.training import shares, train_score_network
from ..shared.weights import draw_weights
from .clutter import REACH, less_clutter
from .fusion import TailProbability, fuse
from .gaussian import TrimmedGaussian
from .neighbours import NeighbourDistance
from .score_network import CENTRE, NEIGHBOURHOOD, ScoreNetwork

TIMES = (0.001, 0.08)  # perturbation kernel of 3 to 30 % of a band's standard deviation
EMA_DECAY = 0.9
FEWEST_PIXELS = 20
SAMPLES = 10_000  # pixels that are trained on at most
FIT_PIXELS = 4096  # that tell whether a scene fits
SCENE_APART = 10_000_000  # rows, which more than one scene would not leave exact in float32
PASS_PIXELS = 2048  # pixels that are worked on at a time in detection
PASS_PATCHES = 1024  # the same in training, where each is 3 x 3 pixels


class SGM(Detector):
    """What is known of a scene's background after training, and the anomaly value that it gives each pixel of this scene or the next.

    Four kinds of anomaly value, each turned into -ln of its tail probability over the training pixels:
    - "gaussian": Mahalanobis distance of the spectrum from a trimmed Gaussian (`gaussian.TrimmedGaussian`);
    - "neighbours": distance to the most alike spectra elsewhere (`neighbours.NeighbourDistance`);
    - "features": Mahalanobis distance of the network's features of the spectrum and its eight neighbours. With the linear layer on top, it
      is the variance of the network's score under a Laplace approximation (MacKay 1992): how little the training pixels say about it;
    - "score": Mahalanobis distance of the score itself, of a network trained by denoising score matching (`score_network.ScoreNetwork`).
    They are fused (`fusion.fuse`), and the clutter around each pixel is subtracted (`clutter.less_clutter`).

    centre, scale: (bands,) float32, mean and standard deviation of the training spectra; everything works on spectra scaled by them.
    network: `ScoreNetwork`. distances: name -> `TrimmedGaussian`, of all kinds but the neighbours. tails: name -> `TailProbability`.
    loss_curve: at most 100 mean losses.
    """

    kind, title = "sgm", "SGM, default mode"
    sampled_from = (
        "drawn from the model's trimmed Gaussian. They are evidence of how well this Gaussian, one of the parts of the anomaly value, fits the scene. "
        "They are no evidence of the score network, which is trained too briefly for spectra to be sampled by its score."
    )

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
        bands = cubes[0].bands
        if any(cube.bands != bands for cube in cubes):
            raise ValueError(f"the scenes must have the same number of bands; they have {[cube.bands for cube in cubes]}")

        def learn(bulk, progress):
            network = draw_weights(ScoreNetwork(bands, hidden), torch.Generator().manual_seed(seed)).to(device)
            if not steps:
                return network.requires_grad_(False), []
            bulk = bulk.to(device)
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
                progress=progress,
            )
            return network.requires_grad_(False), loss_curve

        return cls._estimated(cubes, learn, samples, seed, device, progress or Progress())

    def adapted(self, cube, seed=0, progress=None):
        """The model for a scene that it does not fit: what belongs to a scene is estimated anew from this one, and the network is kept.

        That is the scaling, the Gaussians, the reference spectra and the tail probabilities, as in training and in no more time.
        """
        return self._estimated(
            [cube], lambda bulk, progress: (self.network, self.loss_curve), SAMPLES, seed, self.centre.device, progress or Progress()
        )

    @classmethod
    def _estimated(cls, cubes, learn, samples, seed, device, progress):
        """The model of some scenes. learn(patches (n, 9, bands) of the bulk of the training pixels, scaled; progress) -> (network, loss curve)."""
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

        # The network learns from the bulk of the spectra only, so that it does not learn the anomalies as well.
        network, loss_curve = learn(patches[background], progress.part(0.4, 0.85))
        features = _in_passes(
            lambda part: network.features_of_patches(patches[part].to(device)).cpu(),
            len(patches),
            progress.part(0.85, 0.95),
            "features of the training pixels",
        )
        progress(0.95, "background statistics of the features")
        distances = {"gaussian": gaussian, "features": TrimmedGaussian.fit(features)[0]}
        values = {"gaussian": gaussian.distance(spectra), "neighbours": near, "features": distances["features"].distance(features)}
        if loss_curve:  # without training there is no score
            scores = features @ network.score.cpu()
            distances["score"] = TrimmedGaussian.fit(scores)[0]
            values["score"] = distances["score"].distance(scores)
        tails = {name: TailProbability.fit(value) for name, value in values.items()}
        progress(1.0, "trained")
        return cls(centre, scale, network, distances, neighbours, tails, loss_curve)._to(device)

    def fit(self, cube, progress=None):
        """`Fit` of the background of a scene in the model, on a sample of its pixels, in one pass."""
        scorer = self.bind(cube)
        positions, gathered = cube.sample(FIT_PIXELS, 0, _patches, halo=1, progress=progress, message="looking whether the model fits")
        if not len(positions):
            raise ValueError("the scene has no valid pixel")
        device = self.centre.device
        patches = torch.from_numpy(gathered[0]).to(device).sub_(self.centre).div_(self.scale)
        positions = torch.as_tensor(positions, dtype=torch.float32, device=device)
        with torch.inference_mode():
            return Fit.of(scorer.tails_of_spectra(patches[:, CENTRE], self.network.features_of_patches(patches), positions))

    def bind(self, cube, gathered=None, progress=None):
        """Raises ValueError where the cube has other bands than the model."""
        if cube.bands != len(self.centre):
            raise ValueError(f"the model is made for {len(self.centre)} bands; the scene has {cube.bands}")
        return SGMScorer(cube, self)

    def sample(self, count, seed=0, progress=None):
        """Spectra (count, bands) float32 in the units of the scene, drawn from the trimmed Gaussian."""
        drawn = self.distances["gaussian"].draw(count, seed) * self.scale + self.centre
        (progress or Progress())(1.0, "spectra drawn")
        return drawn.cpu().numpy()

    @property
    def bands(self):
        return self.network.bands

    def state(self):
        """Everything that `from_state` needs, in dicts of tensors and plain values."""
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
        """Raises ValueError for a state that is not one of this detector."""
        check_keys(state, "state", "centre", "scale", "hidden", "weights", "distances", "neighbours", "tails", "loss_curve")
        centre, hidden = tensor(state, "centre", None), whole_number(state, "hidden")
        bands = len(centre)
        scale = tensor(state, "scale", bands, positive=True)
        shapes = {"spectral": (bands, hidden), "mixing": (hidden, hidden)}
        network = filled_network(lambda: ScoreNetwork(bands, hidden), state, "weights", shapes).requires_grad_(False)
        sizes = {"gaussian": bands, "features": hidden}
        if isinstance(state["distances"], dict) and "score" in state["distances"]:  # which training of no steps does not give
            sizes["score"] = bands
        check_keys(state["distances"], "distances", *sizes)
        check_keys(state["tails"], "tails", *sizes, "neighbours")
        return cls(
            centre,
            scale,
            network,
            {name: TrimmedGaussian.from_state(distance, sizes[name]) for name, distance in state["distances"].items()},
            NeighbourDistance.from_state(state["neighbours"], bands),
            {name: TailProbability.from_state(tail) for name, tail in state["tails"].items()},
            finite_list(state, "loss_curve"),
        )._to(device)

    def _to(self, device):
        self.centre, self.scale, self.network = self.centre.to(device), self.scale.to(device), self.network.to(device).eval()
        self.distances = {name: distance.to(device) for name, distance in self.distances.items()}
        self.neighbours = self.neighbours.to(device)
        self.tails = {name: tail.to(device) for name, tail in self.tails.items()}
        return self


class SGMScorer(Scorer):
    """An `SGM` bound to a scene: it knows where in the scene the reference spectra lie, which do not count near themselves.

    model: `SGM`.
    """

    context, surround = 1, REACH
    pass_pixels = PASS_PIXELS

    def __init__(self, cube, model):
        super().__init__(cube)
        self.model = model
        coordinates = cube.pixel_positions(model.neighbours.coordinates.numpy())
        self._references = torch.as_tensor(coordinates, dtype=torch.float32).to(model.centre.device)  # (references, 2) rows and columns

    def values(self, block, tell):
        return fuse(list(self.tails(block).values())).cpu().numpy()

    def against_surroundings(self, values, rows, columns):
        return less_clutter(values, rows, columns)

    def parts(self, progress=None):
        """Each kind of anomaly value alone: name -> (rows, columns) float32, -ln of its tail probability, NaN where not valid."""
        rows = [self.tails(block) for block, _ in self.passes(self.cube, progress)]
        return {name: torch.cat([tails[name] for tails in rows]).cpu().numpy() for name in self.model.tails}

    @torch.inference_mode()
    def tails(self, block):
        """Name -> (rows, columns) tensor of -ln tail probabilities of a block's own pixels, NaN where not valid."""
        model, device = self.model, self.model.centre.device
        valid = torch.from_numpy(block.valid).to(device)
        chosen = valid[block.inner]
        tails = {name: torch.full(chosen.shape, torch.nan, device=device) for name in model.tails}
        if not chosen.any():
            return tails
        spectra = torch.from_numpy(block.values).to(device).sub(model.centre).div_(model.scale)
        own = spectra[block.inner][chosen]
        positions = chosen.nonzero().float()
        positions += torch.tensor([block.row, block.column], device=device)
        features = model.network.features_of_block(spectra, valid, *block.inner)
        for name, values in self.tails_of_spectra(own, features, positions).items():
            tails[name][chosen] = values
        return tails

    def tails_of_spectra(self, spectra, features, positions):
        """Name -> (n,) -ln tail probabilities of scaled spectra (n, bands) with features (n, hidden) at positions (n, 2)."""
        model = self.model
        vectors = {"gaussian": spectra, "features": features, "score": features @ model.network.score}
        values = {name: distance.distance(vectors[name]) for name, distance in model.distances.items()}
        values["neighbours"] = model.neighbours.distance(spectra, positions, self._references)
        return {name: tail(values[name]) for name, tail in model.tails.items()}

    def explain(self, spectra, positions, progress=None):
        """Each spectrum is taken as a pixel among its like, without clutter around it.

        The background spectrum is the Tweedie estimate x + s(t)^2 S(x, t) at t = 1, where only the main variation of the background, such as its
        brightness, is left of x. S is the score of the trimmed Gaussian, in closed form. (The network's score tells spectra apart, but its
        few steps of training make no denoiser of it: docs/explaining.md.)
        """
        model, device = self.model, self.model.centre.device
        positions = torch.as_tensor(positions, dtype=torch.float32, device=device)

        def score(spectra):
            features = model.network.features_of_patches(spectra[:, None].expand(-1, len(NEIGHBOURHOOD), -1))
            return fuse(list(self.tails_of_spectra(spectra, features, positions).values()))

        observed = (torch.as_tensor(spectra, dtype=torch.float32, device=device) - model.centre) / model.scale
        gaussian, std = model.distances["gaussian"], float(VESDE().std(torch.ones(())))
        background = observed + (std * gaussian.scale) ** 2 * gaussian.score(observed, std)
        contributions, before, after = path_contributions(score, background, observed, progress=progress)
        background = background * model.scale + model.centre
        what = "root mean square of -ln tail probabilities of the model's parts, before the clutter around the pixel is subtracted"
        return Explanation(*(tensor.cpu().numpy() for tensor in (background, after, before, contributions)), what)


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
    valid; positions (n, 2) int64 tensor, rows and columns, those of different scenes far from each other; and map coordinates (n, 2) float64.
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
            positions.append(torch.from_numpy(places + [number * SCENE_APART, 0]))
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
