"""The default mode: what is expected around a pixel, a Gaussian and random features, fused and set against the clutter around the pixel."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ...core.cube import Arrays, Block, Cube, Gather
from ...core.progress import Progress
from ..contract import Detector, Scorer, Tell, in_parts
from ..shared.checks import State, check_keys, filled_network, finite_list, tensor, whole_number
from ..shared.explanation import Explanation, path_contributions
from ..shared.fit import Fit
from ..shared.half_whitening import HalfWhitening
from ..shared.training import shares
from ..shared.trimmed_gaussian import TrimmedGaussian
from ..shared.weights import draw_weights
from .clutter import CLUTTER, CLUTTER_OF_VERSION_02
from .fusion import TailProbability, fuse
from .random_features import NEIGHBOURHOOD, RandomFeatures
from .surrounding_parts import RINGS, Gathering, SurroundingParts, is_dense
from .version_02 import NeighbourDistance, PartsOfVersion02

FEWEST_PIXELS = 20
SAMPLES = 10_000  # pixels that are trained on at most
FIT_PIXELS = 4096  # that tell whether a scene fits
PASS_PIXELS, FEWEST_ROWS = 8192, 24  # worked on at a time in detection: the fewer rows, the more of the work goes into their context
PASS_PIXELS_OF_GPU = 2**17  # the same where there is more to be kept busy
FEATURE_PIXELS = 4096  # of these, whose features are worked on at a time: they stay in the processor's cache
PASS_PATCHES = 1024  # the same in training, where each is 3 x 3 pixels


class SGM(Detector):
    """What is known of a scene's background after training, and the anomaly value that it gives each pixel of this scene or the next.

    Five kinds of anomaly value, each turned into -ln of its tail probability over the training pixels:
    - "near", "far", "local": how a pixel differs from what lies around it (`surrounding_parts.SurroundingParts`);
    - "gaussian": Mahalanobis distance of the spectrum from a trimmed Gaussian (`gaussian.TrimmedGaussian`);
    - "features": Mahalanobis distance of random features of the spectrum and its eight neighbours (`random_features.RandomFeatures`). With
      a linear layer on top, it is the variance of its output under a Laplace approximation (MacKay 1992): how little the training pixels
      say about it.
    They are fused (`fusion.fuse`), and the clutter around each pixel is subtracted (`clutter.Clutter`). All of it is statistics: nothing is
    trained step by step.

    centre, scale: (bands,) float32, mean and standard deviation of the training spectra. network: `RandomFeatures`. distances: name ->
    `TrimmedGaussian`, of spectra scaled by centre and scale, or of features. tails: name -> `TailProbability`. surroundings:
    `SurroundingParts`. earlier: `PartsOfVersion02` of a model of that version, which has them instead of the surroundings. loss_curve: of
    such a model; [] of others.
    """

    kind, title = "sgm", "SGM, default mode"
    sampled_from = (
        "drawn from the model's trimmed Gaussian. They are evidence of how well this Gaussian, one of the parts of the anomaly value, fits "
        "the scene."
    )

    def __init__(
        self,
        centre: torch.Tensor,
        scale: torch.Tensor,
        network: RandomFeatures,
        distances: dict[str, TrimmedGaussian],
        tails: dict[str, TailProbability],
        surroundings: SurroundingParts | None = None,
        earlier: PartsOfVersion02 | None = None,
        loss_curve: Sequence[float] = (),
    ) -> None:
        self.centre, self.scale, self.network, self.bands = centre, scale, network, network.bands
        self.distances, self.tails = distances, tails
        self.surroundings, self.earlier, self.loss_curve = surroundings, earlier, list(loss_curve)

    @classmethod
    def train(
        cls,
        cubes: Sequence[Cube],
        hidden: int = 256,
        samples: int = SAMPLES,
        seed: int = 0,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ) -> SGM:
        """Estimate the statistics of the background of `cubes`, scenes of the same bands, in one pass over them.

        The space that spectra are compared in follows from those of the rows that are `Cube.surveyed`: of large scenes a part.
        hidden: how many random features of a pixel. samples: how many pixels to train on, drawn evenly over all valid pixels and shared
        equally by the scenes; they bound memory and time whatever the size of the scenes. seed: of the choice of pixels and of the
        features. Raises ValueError where the scenes differ in bands, have too few valid pixels, or are constant.
        """
        bands = cubes[0].bands
        if any(cube.bands != bands for cube in cubes):
            raise ValueError(f"the scenes must have the same number of bands; they have {[cube.bands for cube in cubes]}")
        network = draw_weights(RandomFeatures(bands, hidden), torch.Generator().manual_seed(seed)).to(device)
        return cls._estimated(cubes, network, samples, seed, device, progress or Progress())

    def adapted(self, cube: Cube, seed: int = 0, progress: Progress | None = None) -> SGM:
        """The model for a scene that it does not fit: everything except its random features is re-estimated from this one, as in training.

        A model of version 0.2 becomes one with the parts of today.
        """
        return self._estimated([cube], self.network, SAMPLES, seed, self.centre.device, progress or Progress())

    @classmethod
    def _estimated(
        cls, cubes: Sequence[Cube], network: RandomFeatures, samples: int, seed: int, device: torch.device | str, progress: Progress
    ) -> SGM:
        (own,) = _training_pixels(cubes, samples, seed, _spectra, 0, progress.part(0, 0.25), "sampling", surveyed=True)
        if len(own) < FEWEST_PIXELS:
            raise ValueError(f"training needs {FEWEST_PIXELS} valid pixels at least; there are {len(own)}")

        # Statistics are made on the CPU: double precision is there on every machine.
        progress(0.25, "background statistics")
        spectra = torch.from_numpy(own)
        whitening = HalfWhitening.fit(spectra)  # raises ValueError where every band is constant
        centre, scale = spectra.double().mean(0), spectra.double().std(0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        centre, scale = centre.float(), scale.float()
        gathering = _Gathering(network, centre, scale, Gathering(whitening))
        message = "features and surroundings of the training pixels"
        gathered = _training_pixels(cubes, samples, seed, gathering, gathering.halo, progress.part(0.3, 0.9), message)
        progress(0.91, "statistics of the features")
        vectors = {name: torch.from_numpy(array) for name, array in zip(("gaussian", "features"), gathered)}
        surroundings, values = SurroundingParts.fit(whitening, gathered[2:])
        distances = {name: TrimmedGaussian.fit(array)[0] for name, array in vectors.items()}
        values.update({name: distance.distance(vectors[name]) for name, distance in distances.items()})
        tails = {name: TailProbability.fit(value) for name, value in values.items()}
        progress(1.0, "trained")
        return cls(centre, scale, network, distances, tails, surroundings)._to(device)

    def fit(self, cube: Cube, progress: Progress | None = None) -> Fit:
        """`Fit` of the background of a scene in the model, on a sample of its pixels, in one pass."""
        scorer = self.bind(cube)
        gathering = _Gathering(self.network, self.centre, self.scale, Gathering(self.surroundings.whitening) if self.surroundings else None)
        places, found = cube.sample(FIT_PIXELS, 0, gathering, gathering.halo, progress, "looking whether the model fits")
        if not len(places):
            raise ValueError("the scene has no valid pixel")
        device = self.centre.device
        spectra, features = (torch.from_numpy(array).to(device) for array in found[:2])
        positions = torch.as_tensor(places, dtype=torch.float32, device=device)
        with torch.inference_mode():
            values = self.surroundings.values_of_gathered(found[2:]) if self.surroundings else {}
            values.update(scorer.values_of_spectra(spectra, features, positions))
            return Fit.of({name: tail(values[name]) for name, tail in self.tails.items()})

    def bind(self, cube: Cube, gathered: None = None, progress: Progress | None = None) -> SGMScorer:
        """Raises ValueError where the cube has other bands than the model."""
        if cube.bands != len(self.centre):
            raise ValueError(f"the model is made for {len(self.centre)} bands; the scene has {cube.bands}")
        return SGMScorer(cube, self)

    def sample(self, count: int, seed: int = 0, progress: Progress | None = None) -> np.ndarray:
        """Spectra (count, bands) float32 in the units of the scene, drawn from the trimmed Gaussian."""
        drawn = self.distances["gaussian"].draw(count, seed) * self.scale + self.centre
        (progress or Progress())(1.0, "spectra drawn")
        return drawn.cpu().numpy()

    def state(self) -> State:
        """Everything that `from_state` needs, in dicts of tensors and plain values."""
        weights = {name: weight.cpu() for name, weight in self.network.state_dict().items()}
        state: State = {
            "centre": self.centre.cpu(),
            "scale": self.scale.cpu(),
            "hidden": self.network.hidden,
            "weights": weights,
            "distances": {name: distance.state() for name, distance in self.distances.items()},
            "tails": {name: tail.state() for name, tail in self.tails.items()},
        }
        if self.surroundings:
            state["surroundings"] = self.surroundings.state()
        if self.earlier:
            weights["score"] = self.earlier.score.cpu()
            state.update(neighbours=self.earlier.neighbours.state(), loss_curve=self.loss_curve)
        return state

    @classmethod
    def from_state(cls, state: State, device: torch.device | str = "cpu") -> SGM:
        """Raises ValueError for a state that is not one of this detector."""
        earlier = isinstance(state, dict) and "neighbours" in state
        own = ("neighbours", "loss_curve") if earlier else ("surroundings",)
        check_keys(state, "state", "centre", "scale", "hidden", "weights", "distances", "tails", *own)
        centre, hidden = tensor(state, "centre", None), whole_number(state, "hidden")
        bands = len(centre)
        scale = tensor(state, "scale", bands, positive=True)
        weights, last_layer = state["weights"], None
        if earlier and isinstance(weights, dict) and "score" in weights:
            weights = dict(weights)
            last_layer = weights.pop("score")
        shapes = {"spectral": (bands, hidden), "mixing": (hidden, hidden)}
        network = filled_network(lambda: RandomFeatures(bands, hidden), {"weights": weights}, "weights", shapes)
        sizes = {"gaussian": bands, "features": hidden}
        if earlier:
            score = tensor({"score": last_layer}, "score", hidden, bands)
            if isinstance(state["distances"], dict) and "score" in state["distances"]:  # which training of no steps did not give
                sizes["score"] = bands
        check_keys(state["distances"], "distances", *sizes)
        check_keys(state["tails"], "tails", *sizes, *(("neighbours",) if earlier else (*RINGS, "local")))
        model = cls(
            centre,
            scale,
            network,
            {name: TrimmedGaussian.from_state(distance, sizes[name]) for name, distance in state["distances"].items()},
            {name: TailProbability.from_state(tail) for name, tail in state["tails"].items()},
        )
        if earlier:
            model.earlier = PartsOfVersion02(NeighbourDistance.from_state(state["neighbours"], bands), score)
            model.loss_curve = finite_list(state, "loss_curve")
        else:
            model.surroundings = SurroundingParts.from_state(state["surroundings"], bands)
        return model._to(device)

    def _to(self, device: torch.device | str) -> SGM:
        self.centre, self.scale, self.network = self.centre.to(device), self.scale.to(device), self.network.to(device).eval()
        self.distances = {name: distance.to(device) for name, distance in self.distances.items()}
        self.tails = {name: tail.to(device) for name, tail in self.tails.items()}
        self.surroundings = self.surroundings and self.surroundings.to(device)
        self.earlier = self.earlier and self.earlier.to(device)
        return self


class SGMScorer(Scorer):
    """An `SGM` bound to a scene. model: `SGM`.

    In the scene, a model of version 0.2 knows where its reference spectra lie, which do not count near themselves.
    """

    pass_pixels, fewest_rows = PASS_PIXELS, FEWEST_ROWS

    def __init__(self, cube: Cube, model: SGM) -> None:
        super().__init__(cube)
        self.model = model
        self.context = Gathering.halo if model.surroundings else 1
        self.clutter = CLUTTER if model.surroundings else CLUTTER_OF_VERSION_02
        self.surround = self.clutter.reach
        if model.centre.device.type != "cpu":
            self.pass_pixels = PASS_PIXELS_OF_GPU
        if model.earlier:
            coordinates = cube.pixel_positions(model.earlier.neighbours.coordinates.numpy())
            self._references = torch.as_tensor(coordinates, dtype=torch.float32).to(model.centre.device)  # (references, 2) rows and columns

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        return fuse(list(self.tails(block).values())).cpu().numpy()

    def against_surroundings(self, values: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        return self.clutter.less_clutter(values, rows, columns)

    def parts(self, progress: Progress | None = None) -> dict[str, np.ndarray]:
        """Each kind of anomaly value alone: name -> (rows, columns) float32, -ln of its tail probability, NaN where not valid."""
        rows = [self.tails(block) for block, _ in self.passes(self.cube, progress or Progress())]
        return {name: torch.cat([tails[name] for tails in rows]).cpu().numpy() for name in self.model.tails}

    @torch.inference_mode()
    def tails(self, block: Block) -> dict[str, torch.Tensor]:
        """Name -> (rows, columns) tensor of -ln tail probabilities of a block's own pixels, NaN where not valid."""
        model, device = self.model, self.model.centre.device
        valid = torch.from_numpy(block.valid).to(device)
        rows, columns = block.inner
        shape = (block.rows, block.columns)
        spectra = torch.from_numpy(block.values).to(device)
        found = {name: torch.zeros(shape, device=device) for name in model.tails}
        if not block.valid[block.inner].any():
            return {name: values.fill_(torch.nan) for name, values in found.items()}
        if model.surroundings:
            around = model.surroundings.values(spectra, valid, rows.start, rows.stop)
            found.update({name: values[:, columns] for name, values in around.items()})
        for down, right in _tiles(*shape, FEATURE_PIXELS if device.type == "cpu" else PASS_PIXELS_OF_GPU):
            near_rows, own_rows = _with_neighbours(down, rows.start)
            near_columns, own_columns = _with_neighbours(right, columns.start)
            near, own = (near_rows, near_columns), (own_rows, own_columns)
            scaled = spectra[near].sub(model.centre).div_(model.scale)
            features = model.network.features_of_block(scaled, valid[near], *own)
            scaled, here = scaled[own], block.valid[near][own]
            if complete := bool(here.all()):
                scaled, features = scaled.flatten(0, 1), features.flatten(0, 1)
            else:
                chosen = torch.from_numpy(here).to(device)
                scaled, features = scaled[chosen], features[chosen]
            positions = np.argwhere(here) + (block.row + down.start, block.column + right.start) if model.earlier else np.empty((0, 2))
            places = torch.as_tensor(positions, dtype=torch.float32, device=device)
            for name, values in self.values_of_spectra(scaled, features, places).items():
                if complete:
                    found[name][down, right] = values.view(here.shape)
                else:
                    found[name][down, right][chosen] = values
        nowhere = ~valid[block.inner]
        return {name: tail(found[name].flatten()).view(shape).masked_fill_(nowhere, torch.nan) for name, tail in model.tails.items()}

    def values_of_spectra(self, spectra: torch.Tensor, features: torch.Tensor, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Name -> (n,) values, of the parts that do not look around, of scaled spectra (n, bands) with features (n, hidden) at positions
        (n, 2).
        """
        model, earlier = self.model, self.model.earlier
        vectors = {"gaussian": spectra, "features": features}
        if earlier and "score" in model.distances:
            vectors["score"] = features @ earlier.score
        values = {name: distance.distance(vectors[name]) for name, distance in model.distances.items()}
        if earlier:
            values["neighbours"] = earlier.neighbours.distance(spectra, positions, self._references)
        return values

    def explain(self, spectra: np.ndarray, positions: np.ndarray, backgrounds: np.ndarray, progress: Progress | None = None) -> Explanation:
        """Each spectrum is taken as if the eight around it equalled it, in the real surroundings beyond, without clutter around it."""
        model, device = self.model, self.model.centre.device
        places = np.clip(np.round(positions).astype(int), 0, [self.cube.rows - 1, self.cube.columns - 1])
        at = torch.as_tensor(positions, dtype=torch.float32, device=device)
        if model.surroundings:
            around = model.surroundings.among(self.cube.window(row, column, halo=self.context) for row, column in places)

        def score(spectra: torch.Tensor) -> torch.Tensor:
            scaled = (spectra - model.centre) / model.scale
            features = model.network.features_of_patches(scaled[:, None].expand(-1, len(NEIGHBOURHOOD), -1))
            values = self.values_of_spectra(scaled, features, at)
            if model.surroundings:
                values.update(around(spectra))
            return fuse([tail(values[name]) for name, tail in model.tails.items()])

        start, end = (torch.as_tensor(each, dtype=torch.float32, device=device) for each in (backgrounds, spectra))
        contributions, before, after = path_contributions(score, start, end, progress=progress)
        what = "root mean square of -ln tail probabilities of the model's parts, before the clutter around the pixel is subtracted"
        return Explanation(after.cpu().numpy(), before.cpu().numpy(), contributions.cpu().numpy(), what)


def _with_neighbours(own: slice, start: int) -> tuple[slice, slice]:
    """Rows, or columns, of a block, and the one before and behind where they are there; and where in these the own ones lie.

    own: counted from `start`, the first of the block that is not context.
    """
    first = start + own.start
    before = min(1, first)
    return slice(first - before, start + own.stop + 1), slice(before, before + own.stop - own.start)


def _tiles(rows: int, columns: int, pixels: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of parts of about so many pixels that are as square as may be, since each needs what is around it."""
    side = math.isqrt(pixels)
    down = min(rows, max(side, pixels // columns))
    across = max(side, pixels // down)
    for top in range(0, rows, down):
        for left in range(0, columns, across):
            yield slice(top, min(top + down, rows)), slice(left, min(left + across, columns))


class _Gathering:
    """What the parts need of a sample of pixels, for `Cube.sample` with `halo` rows of context: their spectra, scaled, their features, and
    what `Gathering` gathers where there is one. On the CPU, wherever the model is: it may be another machine that reads the scene."""

    def __init__(self, network: RandomFeatures, centre: torch.Tensor, scale: torch.Tensor, around: Gathering | None) -> None:
        self.network, self.centre, self.scale, self.around = copy.deepcopy(network).cpu(), centre.cpu(), scale.cpu(), around
        self.halo = around.halo if around else 1

    @torch.inference_mode()
    def __call__(self, block: Block, rows: np.ndarray, columns: np.ndarray) -> Arrays:
        of_surroundings = self.around(block, rows, columns) if self.around else ()
        return (self._scaled(block.values[rows, columns]).numpy(), self._features(block, rows, columns).numpy(), *of_surroundings)

    def _scaled(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).sub(self.centre).div_(self.scale)

    def _features(self, block: Block, rows: np.ndarray, columns: np.ndarray) -> torch.Tensor:
        found = torch.empty(len(rows), self.network.hidden)
        if is_dense(block, rows):
            for part in in_parts(block, max(1, FEATURE_PIXELS // block.columns), 1):
                here = (rows >= block.above + part.row - block.row) & (rows < block.above + part.row - block.row + part.rows)
                features = self.network.features_of_block(self._scaled(part.values), torch.from_numpy(part.valid), *part.inner)
                found[here] = features[rows[here] - block.above + block.row - part.row, columns[here] - block.left]
        else:
            for first in range(0, len(rows), PASS_PATCHES):
                some = slice(first, first + PASS_PATCHES)
                found[some] = self.network.features_of_patches(self._scaled(_patches(block, rows[some], columns[some])))
        return found


def _training_pixels(
    cubes: Sequence[Cube], count: int, seed: int, gather: Gather, halo: int, progress: Progress, message: str, surveyed: bool = False
) -> list[np.ndarray]:
    """What `gather` gathers, as for `Cube.sample`, of up to `count` pixels, shared equally by the scenes, in random order over all scenes.

    The pixels and their order depend on the cubes, the count and the seed alone.
    """
    found, counts = [], shares(count, len(cubes))
    for number, cube in enumerate(cubes):
        part = progress.part(number / len(cubes), (number + 1) / len(cubes))
        # Drawn alike for all scenes, which a cluster does together; the first pixels of a sample are a smaller one.
        places, gathered = cube.sample(counts[0], seed, gather, halo, part, message, surveyed)
        if len(places):
            found.append([array[: counts[number]] for array in gathered])
    if not found:
        raise ValueError("there is no valid pixel to train on")
    if len(found) == 1:
        return found[0]
    order = np.random.default_rng(seed).permutation(sum(len(arrays[0]) for arrays in found))
    return [np.concatenate(arrays)[order] for arrays in zip(*found)]


def _spectra(block: Block, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray]:
    return (block.values[rows, columns],)


def _patches(block: Block, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The 3 x 3 neighbourhoods (n, 9, bands) of pixels of a block, with the pixel itself in the place of neighbours that are not valid."""
    height, width = block.valid.shape
    patches = np.empty((len(rows), len(NEIGHBOURHOOD), block.values.shape[2]), dtype=np.float32)
    for number, (down, right) in enumerate(NEIGHBOURHOOD):
        near_rows, near_columns = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
        there = (near_rows == rows + down) & (near_columns == columns + right) & block.valid[near_rows, near_columns]
        patches[:, number] = block.values[np.where(there, near_rows, rows), np.where(there, near_columns, columns)]
    return patches
