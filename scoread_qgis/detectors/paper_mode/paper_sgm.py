"""Paper mode: ScoreAD as published.

"Utilizing the Score of Data Distribution for Hyperspectral Anomaly Detection", arXiv 2601.12379 (2026).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ...core.cube import Block, Cube
from ...core.progress import Progress
from ..contract import Detector, Scorer, Tell
from ..shared.checks import MOST, State, check_keys, filled_network, finite, finite_list, whole_number
from ..shared.explanation import Explanation, path_contributions
from ..shared.fit import Fit
from ..shared.sde import VESDE
from ..shared.training import shares, train_score_network
from ..shared.weights import draw_weights
from .readout import PixelNoise, pass_rows, perturbed_scores, unit_score_sum
from .ring import nearest_in_ring, ring_offsets, ring_positions
from .sampling import predictor_corrector
from .unet import ScoreUNet

TIME, PERTURBATIONS = 0.05, 100  # of the readout, as published
SAMPLES = 30_000  # pixels that are trained on at most
FIT_PIXELS = 4096  # that tell whether a scene fits
QUANTILE_VALUES = 2**20  # that their range is found from
MARGIN, SLIVER = 0.05, 0.02  # of the range of the training values: how far values may lie beyond it, and how little of it does not fit
WIDEST_WINDOW = 999  # pixels, in a model file


class PaperSGM(Detector):
    """A score-based generative model (SGM) of a scene's spectra, and the anomaly value that it gives each pixel.

    network: `ScoreUNet`. sigma: of the `VESDE`.
    minimum, maximum: of the training scenes, over all bands; spectra are scaled by them to 0..1.
    outer_window, inner_window: of the ring that a conditional network gets its context from.
    loss_curve: as `train_score_network` returns it.
    """

    kind, title = "sgm-paper", "SGM, paper mode"
    sampled_from = (
        "sampled from the network, by its score (predictor and corrector, Song et al. 2021). They are evidence of what the network has "
        "learnt: where they are unlike those of the scene, it has not learnt the background."
    )

    def __init__(
        self,
        network: ScoreUNet,
        sigma: float,
        minimum: float,
        maximum: float,
        outer_window: int,
        inner_window: int,
        loss_curve: Sequence[float],
    ) -> None:
        self.network, self.bands = network.eval(), network.bands
        self.sde = VESDE(sigma)
        self.minimum, self.maximum = minimum, maximum
        self.outer_window, self.inner_window = outer_window, inner_window
        self.loss_curve = loss_curve

    @classmethod
    def train(
        cls,
        cubes: Sequence[Cube],
        epochs: int = 100,
        batch_size: int = 16,
        learning_rate: float = 3e-5,
        sigma: float = 5.0,
        hidden: int = 256,
        conditional: bool = False,
        outer_window: int = 5,
        inner_window: int = 3,
        samples: int = SAMPLES,
        seed: int = 0,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ) -> PaperSGM:
        """Train on the spectra of `cubes`, scenes of the same bands, with the authors' settings by default.

        epochs, batch_size, learning_rate: AdamW passes over the training spectra, spectra in a step, step size. t is uniform in 1e-5..1.
        sigma: of the VE-SDE. hidden: width of the network, a multiple of 8.
        conditional: give the network context from the ring between outer and inner window, odd widths in pixels.
        samples: how many pixels to train on, shared equally by the scenes; where a scene has fewer valid ones, every one of them, as in
        the paper. The default is more than the paper's largest scene has. It bounds memory and time.
        seed: of the initial weights, of the choice of pixels, and of the training.
        Raises ValueError where the settings, the scenes or their bands do not allow training.
        """
        progress = progress or Progress()
        bands = cubes[0].bands
        if any(cube.bands != bands for cube in cubes):
            raise ValueError(f"the scenes must have the same number of bands; they have {[cube.bands for cube in cubes]}")
        sde = VESDE(sigma)
        network = draw_weights(ScoreUNet(bands, hidden, conditional), torch.Generator().manual_seed(seed)).to(device)
        offsets = ring_offsets(outer_window, inner_window) if conditional else np.empty((0, 2), dtype=int)

        spectra, valid, pixels = _training_pixels(cubes, samples, offsets, seed, progress.part(0, 0.03))
        minimum, maximum = _value_range(spectra[valid])
        spectra = ((spectra - minimum) / (maximum - minimum)).to(device)
        valid, rings = valid.to(device), pixels[:, 1:].to(device)

        def context(indices: torch.Tensor, x_t: torch.Tensor) -> torch.Tensor:
            ring = rings[indices]
            return nearest_in_ring(x_t[:, None], spectra[ring], valid[ring])[:, 0]

        steps = epochs * math.ceil(len(pixels) / batch_size)
        loss_curve = train_score_network(
            network,
            spectra[pixels[:, 0].to(device)],
            sde,
            steps,
            batch_size,
            learning_rate,
            times=(1e-5, 1.0),
            context=context if conditional else None,
            seed=seed,
            progress=progress.part(0.03, 1),
        )
        return cls(network, sigma, minimum, maximum, outer_window, inner_window, loss_curve)

    def fit(self, cube: Cube, progress: Progress | None = None) -> Fit:
        """`Fit` of the values of a scene relative to the range 0..1 that the network was trained on: the share outside it, or 1 where they
        fill only a sliver of it.
        """
        values = self.scaled(self._sampled_spectra(cube, FIT_PIXELS, 0, progress), "cpu")
        low, high = torch.quantile(values.flatten()[:QUANTILE_VALUES], torch.tensor([0.01, 0.99]))
        outside = float(((values < -MARGIN) | (values > 1 + MARGIN)).float().mean())
        return Fit({}, {}, {"values": 1.0 if high - low < SLIVER else outside})

    def adapted(self, cube: Cube, seed: int = 0, progress: Progress | None = None) -> PaperSGM:
        """The model for a scene that it does not fit: spectra are scaled by the smallest and the largest value of this scene."""
        minimum, maximum = _value_range(torch.from_numpy(self._sampled_spectra(cube, SAMPLES, seed, progress)))
        return type(self)(self.network, self.sde.sigma, minimum, maximum, self.outer_window, self.inner_window, self.loss_curve)

    @staticmethod
    def _sampled_spectra(cube: Cube, count: int, seed: int, progress: Progress | None) -> np.ndarray:
        positions, gathered = cube.sample(
            count, seed, lambda block, rows, columns: (block.values[rows, columns],), progress=progress, message="sampling pixels"
        )
        if not len(positions):
            raise ValueError("the scene has no valid pixel")
        return gathered[0]

    def bind(
        self,
        cube: Cube,
        t: float = TIME,
        perturbations: int = PERTURBATIONS,
        seed: int = 0,
        gathered: None = None,
        progress: Progress | None = None,
    ) -> PaperScorer:
        """A scorer whose anomaly value is the length of the sum of `perturbations` scores of length 1, so it lies in 0..perturbations.

        t: time of the perturbation kernel. perturbations: K, how many perturbed spectra of a pixel are read out. seed: of their noise.
        Raises ValueError where the cube has other bands than the model, or t or perturbations are out of their range.
        """
        if not 0 < t <= 1:
            raise ValueError(f"t must be in 0..1, above 0; it is {t}")
        if perturbations < 2:  # the length of one score of length 1 says nothing
            raise ValueError(f"perturbations must be at least 2: one alone gives every pixel the anomaly value 1; it is {perturbations}")
        if cube.bands != self.network.bands:
            raise ValueError(f"the model is made for {self.network.bands} bands; the scene has {cube.bands}")
        return PaperScorer(cube, self, t, perturbations, seed)

    def sample(self, count: int, seed: int = 0, progress: Progress | None = None) -> np.ndarray:
        """Spectra (count, bands) float32 in the units of the scene, sampled from the model; a conditional one gets no context."""
        device = next(self.network.parameters()).device

        def score(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return self.network(x, t, None) / self.sde.std(t)

        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(count, self.network.bands, generator=generator).to(device) * self.sde.std(torch.ones(1, device=device))
        sampled = predictor_corrector(score, self.sde, start, seed, progress=progress)
        return (sampled * (self.maximum - self.minimum) + self.minimum).cpu().numpy()

    @torch.inference_mode()
    def scores(self, spectra: np.ndarray, t: float, context: np.ndarray | None = None) -> np.ndarray:
        """The score S(x, t) of spectra as they are, without noise: (n, bands) array in the units of the scene -> (n, bands) float32 array.

        The score is that of spectra scaled to 0..1. context: (n, bands + 2) array, for a conditional network; by default zeros.
        """
        device = next(self.network.parameters()).device
        time = torch.tensor([t], device=device)
        features = None if context is None else torch.as_tensor(context, dtype=torch.float32, device=device)
        parts = [
            self.network(part, time, None if features is None else features[first : first + len(part)]) / self.sde.std(time)
            for first, part in _parts(self.scaled(spectra, device), pass_rows(device))
        ]
        return torch.cat(parts).cpu().numpy()

    def state(self) -> State:
        """Everything that `from_state` needs, in dicts of tensors and plain values."""
        return {
            "bands": self.network.bands,
            "hidden": self.network.hidden,
            "conditional": self.network.conditional,
            "weights": {name: weight.cpu() for name, weight in self.network.state_dict().items()},
            "sigma": self.sde.sigma,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "outer_window": self.outer_window,
            "inner_window": self.inner_window,
            "loss_curve": self.loss_curve,
        }

    @classmethod
    def from_state(cls, state: State, device: torch.device | str = "cpu") -> PaperSGM:
        """Raises ValueError for a state that is not one of this detector."""
        values = ("sigma", "minimum", "maximum", "outer_window", "inner_window")
        check_keys(state, "state", "bands", "hidden", "conditional", "weights", *values, "loss_curve")
        bands, hidden, conditional = whole_number(state, "bands"), whole_number(state, "hidden"), state["conditional"]
        if type(conditional) is not bool:
            raise ValueError("it does not say whether its network is conditional")
        sigma, minimum, maximum = (finite(state[name], name) for name in values[:3])
        if not minimum < maximum:
            raise ValueError(f"its minimum of {minimum} is not below its maximum of {maximum}")
        outer_window, inner_window = (whole_number(state, name, -MOST) for name in values[3:])
        if conditional:
            widest = max(outer_window, inner_window)
            if widest > WIDEST_WINDOW:
                raise ValueError(f"its window of {widest} pixels is wider than {WIDEST_WINDOW}")
            ring_offsets(outer_window, inner_window)
        network = filled_network(lambda: ScoreUNet(bands, hidden, conditional), state, "weights", {"fc1.weight": (hidden, bands)})
        return cls(network.to(device), sigma, minimum, maximum, outer_window, inner_window, finite_list(state, "loss_curve"))

    def scaled(self, spectra: np.ndarray | torch.Tensor, device: torch.device | str) -> torch.Tensor:
        """Spectra (..., bands) in the units of the scene as a float32 tensor, scaled as the network wants them."""
        spectra = torch.as_tensor(spectra, dtype=torch.float32, device=device)
        return (spectra - self.minimum) / (self.maximum - self.minimum)


class PaperScorer(Scorer):
    """A `PaperSGM` bound to a scene. model: `PaperSGM`; t, perturbations, seed: as for `PaperSGM.bind`.

    The perturbations of a pixel follow from the seed, its row and how many pixels are left of it: a single pixel costs as many random
    numbers as those have, one hundred thousandth of a second each.
    """

    pass_pixels = 1  # row by row

    def __init__(self, cube: Cube, model: PaperSGM, t: float, perturbations: int, seed: int) -> None:
        super().__init__(cube)
        self.model, self.t, self.perturbations, self.seed = model, t, perturbations, seed
        self._device = next(model.network.parameters()).device
        self._offsets = ring_offsets(model.outer_window, model.inner_window) if model.network.conditional else None
        self.context = model.outer_window // 2 if model.network.conditional else 0

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        scores = np.full((block.rows, block.columns), np.nan, dtype=np.float32)
        pixels_in_pass = max(1, pass_rows(self._device) // self.perturbations)
        for r in range(block.rows):
            row = block.row + r
            valid, spectra = (array[block.inner][r] for array in (block.valid, block.values))
            noise = PixelNoise(self.seed, row)
            noise.skip(block.column, self.perturbations, self.cube.bands)
            for first in range(0, block.columns, pixels_in_pass):
                tell((r + first / block.columns) / block.rows)
                own = slice(first, min(first + pixels_in_pass, block.columns))
                z = noise.draw(own.stop - first, self.perturbations, self.cube.bands)
                chosen = np.flatnonzero(valid[own])
                if not chosen.size:
                    continue
                columns = first + chosen
                context = self._context(block, np.full(len(columns), row), block.column + columns)
                z = z[torch.from_numpy(chosen)].to(self._device)
                with torch.inference_mode():
                    scaled = self.model.scaled(spectra[columns], self._device)
                    value = unit_score_sum(perturbed_scores(self.model.network, self.model.sde, scaled, self.t, z, context))
                scores[r, columns] = value.cpu().numpy()
        return scores

    def explain(self, spectra: np.ndarray, positions: np.ndarray, backgrounds: np.ndarray, progress: Progress | None = None) -> Explanation:
        """By the published readout; a conditional network gets the ring around the position as context."""
        progress, model = progress or Progress(), self.model
        observed, expected = (model.scaled(each, self._device) for each in (spectra, backgrounds))
        places = np.clip(np.round(positions).astype(int), 0, [self.cube.rows - 1, self.cube.columns - 1])
        results = []
        for number, (spectrum, background, (row, column)) in enumerate(zip(observed, expected, places)):
            share = progress.part(number / len(observed), (number + 1) / len(observed))
            z = PixelNoise(0, number).draw(1, self.perturbations, self.cube.bands).to(self._device)
            context = None
            if self._offsets is not None:
                block = self.cube.window(row, column, halo=self.context)
                context = self._context(block, np.array([row]), np.array([column]))

            def score(
                x: torch.Tensor, z: torch.Tensor = z, context: Callable[[torch.Tensor], torch.Tensor] | None = context
            ) -> torch.Tensor:
                return unit_score_sum(perturbed_scores(model.network, model.sde, x, self.t, z, context))

            contributions, before, after = path_contributions(score, background[None], spectrum[None], progress=share)
            results.append((after, before, contributions))
        what = f"length of the sum of {self.perturbations} scores of length 1, at t = {self.t}"
        scores, background_scores, shares = (torch.cat(each).cpu().numpy() for each in zip(*results))
        return Explanation(scores, background_scores, shares, what)

    def _context(self, block: Block, rows: np.ndarray, columns: np.ndarray) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Function of perturbed spectra that gives the context of pixels (n,) of the scene from their rings, which lie in the block; None
        for an unconditional network.
        """
        if self._offsets is None:
            return None
        near_rows, near_columns = ring_positions(rows, columns, self._offsets, self.cube.rows, self.cube.columns)
        place = near_rows - block.row + block.above, near_columns - block.column + block.left
        ring = self.model.scaled(block.values[place], self._device)
        valid = torch.from_numpy(block.valid[place]).to(self._device)
        return lambda x_t: nearest_in_ring(x_t, ring.expand(len(x_t), -1, -1), valid.expand(len(x_t), -1))


def _parts(spectra: torch.Tensor, size: int) -> Iterator[tuple[int, torch.Tensor]]:
    return ((first, spectra[first : first + size]) for first in range(0, len(spectra), size))


def _value_range(spectra: torch.Tensor) -> tuple[float, float]:
    """Smallest and largest training value over all bands: those of the scene where every pixel is trained on, as published."""
    if len(spectra) == 0:
        raise ValueError("there is no valid pixel to train on")
    minimum, maximum = float(spectra.min()), float(spectra.max())
    if minimum == maximum:
        raise ValueError(f"there is nothing to learn: all values of the scene are {minimum}")
    return minimum, maximum


def _training_pixels(
    cubes: Sequence[Cube], count: int, offsets: np.ndarray, seed: int, progress: Progress
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Up to `count` pixels, shared equally by the scenes, with the rings around them.

    Returns spectra (spectra, bands) and valid (spectra,), each pixel of a scene at most once, and indices into them
    (pixels, 1 + neighbours): the pixel itself and its ring.
    """
    spectra, valid, pixels, start = [], [], [], 0
    counts = shares(count, len(cubes))
    for number, cube in enumerate(cubes):
        part = progress.part(number / len(cubes), (number + 1) / len(cubes))
        # The same number is drawn from every scene, so that a cluster does it in one task; the start of a sample is a smaller sample.
        positions, sampled = cube.sample(
            counts[0], seed, lambda block, r, c: (block.values[r, c],), 0, part.part(0, 0.5), "sampling pixels"
        )
        if len(positions) == 0:
            continue
        positions, gathered = positions[: counts[number]], [array[: counts[number]] for array in sampled]
        if len(offsets) == 0:
            scene_spectra, scene_valid, indices = gathered[0], np.ones(len(positions), dtype=bool), np.arange(len(positions))[:, None]
        else:
            scene_spectra, scene_valid, indices = _with_rings(cube, positions, offsets, part.part(0.5, 1))
        spectra.append(torch.from_numpy(scene_spectra))
        valid.append(torch.from_numpy(scene_valid))
        pixels.append(torch.from_numpy(indices + start))
        start += len(scene_spectra)
    if not spectra:
        raise ValueError("there is no valid pixel to train on")
    return torch.cat(spectra), torch.cat(valid), torch.cat(pixels)


def _with_rings(cube: Cube, positions: np.ndarray, offsets: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectra and valid of the pixels at `positions` and of the rings around them, each pixel once, and indices (pixels, 1 + neighbours)
    into them.
    """
    rows, columns = ring_positions(positions[:, 0], positions[:, 1], np.concatenate([[[0, 0]], offsets]), cube.rows, cube.columns)
    needed, indices = np.unique(rows * cube.columns + columns, return_inverse=True)
    spectra, valid = np.empty((len(needed), cube.bands), dtype=np.float32), np.empty(len(needed), dtype=bool)
    around = cube.within(rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    for block in around.blocks(0, progress, "reading training spectra"):
        first, last = np.searchsorted(needed, [block.row * cube.columns, (block.row + block.rows) * cube.columns])
        row, column = np.divmod(needed[first:last], cube.columns) - np.array([[block.row], [block.column]])
        there = (column >= 0) & (column < block.columns)
        place = first + np.flatnonzero(there)
        spectra[place], valid[place] = block.values[row[there], column[there]], block.valid[row[there], column[there]]
    return spectra, valid, indices.reshape(rows.shape)
