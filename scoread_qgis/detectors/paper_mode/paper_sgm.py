"""Paper mode: ScoreAD as published.

"Utilizing the Score of Data Distribution for Hyperspectral Anomaly Detection", arXiv 2601.12379 (2026).
"""

import math
import time

import numpy as np
import torch

from ...core.progress import Progress
from ..shared.explanation import Explanation, path_contributions
from ..shared.sampling import predictor_corrector
from ..shared.sde import VESDE
from ..shared.training import REPORT_SECONDS, seeded_weights, shares, train_score_network
from .readout import PixelNoise, pass_rows, perturbed_scores, unit_score_sum
from .ring import nearest_in_ring, ring_offsets, ring_positions
from .unet import ScoreUNet

TIME, PERTURBATIONS = 0.05, 100  # of the readout, as published


class PaperSGM:
    """A score-based generative model (SGM) of a scene's spectra, and the anomaly value that it gives each pixel.

    network: `ScoreUNet`. sigma: of the `VESDE`.
    minimum, maximum: of the training scenes, over all bands; spectra are scaled by them to 0..1.
    outer_window, inner_window: of the ring that a conditional network gets its context from.
    loss_curve: as `train_score_network` returns it.
    """

    kind = "sgm-paper"
    SAMPLED = "its network"
    SAMPLES = 30_000  # training pixels: more than the paper's largest scene has

    def __init__(self, network, sigma, minimum, maximum, outer_window, inner_window, loss_curve):
        self.network = network.eval()
        self.sde = VESDE(sigma)
        self.minimum, self.maximum = minimum, maximum
        self.outer_window, self.inner_window = outer_window, inner_window
        self.loss_curve = loss_curve

    @classmethod
    def train(
        cls,
        cubes,
        epochs=100,
        batch_size=16,
        learning_rate=3e-5,
        sigma=5.0,
        hidden=256,
        conditional=False,
        outer_window=5,
        inner_window=3,
        samples=SAMPLES,
        seed=0,
        device="cpu",
        progress=None,
    ):
        """Train on the spectra of `cubes`, scenes of the same bands, with the authors' settings by default.

        epochs, batch_size, learning_rate: AdamW passes over the training spectra, spectra in a step, step size. t is uniform in 1e-5..1.
        sigma: of the VE-SDE. hidden: width of the network, a multiple of 8.
        conditional: give the network context from the ring between outer and inner window, odd widths in pixels.
        samples: how many pixels to train on, shared equally by the scenes; where a scene has fewer valid ones, every one of them, as in
        the paper. It bounds memory and time.
        seed: of the initial weights, of the choice of pixels, and of the training.
        Raises ValueError where the settings, the scenes or their bands do not allow training.
        """
        progress = progress or Progress()
        bands = cubes[0].bands
        if any(cube.bands != bands for cube in cubes):
            raise ValueError(f"the scenes must have the same number of bands; they have {[cube.bands for cube in cubes]}")
        sde = VESDE(sigma)
        network = seeded_weights(lambda: ScoreUNet(bands, hidden, conditional), seed).to(device)
        offsets = ring_offsets(outer_window, inner_window) if conditional else np.empty((0, 2), dtype=int)

        spectra, valid, pixels = _training_pixels(cubes, samples, offsets, seed, progress.part(0, 0.03))
        minimum, maximum = _value_range(spectra[valid])
        spectra = ((spectra - minimum) / (maximum - minimum)).to(device)
        valid, rings = valid.to(device), pixels[:, 1:].to(device)

        def context(indices, x_t):
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

    def detect(self, cube, t=TIME, perturbations=PERTURBATIONS, seed=0, progress=None):
        """Yield (first row, anomaly values (rows, columns) float32) from top to bottom: larger = more anomalous, NaN where not valid.

        The anomaly value is the length of the sum of `perturbations` scores of length 1, so it lies in 0..perturbations.
        t: time of the perturbation kernel. perturbations: K, how many noised spectra of a pixel are read out. seed: of their noise.
        Raises ValueError where the cube has other bands than the model, or t or perturbations are out of their range.
        """
        if not 0 < t <= 1:
            raise ValueError(f"t must be in 0..1, above 0; it is {t}")
        if perturbations < 2:  # the length of one score of length 1 says nothing
            raise ValueError(f"perturbations must be at least 2: one alone gives every pixel the anomaly value 1; it is {perturbations}")
        if cube.bands != self.network.bands:
            raise ValueError(f"the model is made for {self.network.bands} bands; the scene has {cube.bands}")
        progress, last_report = progress or Progress(), 0.0
        conditional = self.network.conditional
        offsets = ring_offsets(self.outer_window, self.inner_window) if conditional else None
        device = next(self.network.parameters()).device
        pixels_in_pass = max(1, pass_rows(device) // perturbations)
        for block in cube.blocks(self.outer_window // 2 if conditional else 0):
            scores = np.full((block.rows, cube.columns), np.nan, dtype=np.float32)
            for r in range(block.rows):
                row, columns = block.row + r, np.flatnonzero(block.valid[block.above + r])
                noise = PixelNoise(seed, row)
                for first in range(0, len(columns), pixels_in_pass):
                    if time.monotonic() - last_report > REPORT_SECONDS:
                        progress((row + first / len(columns)) / cube.rows, f"detection, row {row + 1} of {cube.rows}")
                        last_report = time.monotonic()
                    chosen = columns[first : first + pixels_in_pass]
                    context = None
                    if conditional:
                        near_rows, near_columns = ring_positions(np.full(len(chosen), row), chosen, offsets, cube.rows, cube.columns)
                        context = self._ring_context(block, near_rows - block.row + block.above, near_columns, device)
                    spectra = self._scaled(block.values[block.above + r, chosen], device)
                    z = noise.draw(len(chosen), perturbations, cube.bands).to(device)
                    with torch.inference_mode():
                        value = unit_score_sum(perturbed_scores(self.network, self.sde, spectra, t, z, context))
                    scores[r, chosen] = value.cpu().numpy()
            yield block.row, scores
        progress(1.0, f"detection, row {cube.rows} of {cube.rows}")

    def explain(self, cube, regions, seen, progress=None):
        """`Explanation` of the mean spectra of some regions, `seen` in a cube, by the published readout; a conditional network gets the ring
        around the region's centre as context.

        The background spectrum is the Tweedie estimate x + s(t)^2 S(x, t) at the time of the readout.
        """
        progress = progress or Progress()
        device = next(self.network.parameters()).device
        observed = self._scaled(seen.mean, device)
        rings = [None] * len(observed)
        if self.network.conditional:
            centres = np.clip(np.round(seen.centres).astype(int), 0, [cube.rows - 1, cube.columns - 1])
            offsets = ring_offsets(self.outer_window, self.inner_window)
            spectra, valid, indices = _with_rings(cube, centres, offsets, progress.part(0, 0.2))
            spectra, valid, indices = self._scaled(spectra, device), torch.from_numpy(valid).to(device), indices[:, 1:]
            rings = [(spectra[ring][None], valid[ring][None]) for ring in torch.from_numpy(indices).to(device)]
        time_of_readout = torch.tensor([TIME], device=device)
        results = []
        for number, (spectrum, ring) in enumerate(zip(observed, rings)):
            share = progress.part(0.2 + 0.8 * number / len(observed), 0.2 + 0.8 * (number + 1) / len(observed))
            z = PixelNoise(0, number).draw(1, PERTURBATIONS, cube.bands).to(device)

            def context(x_t, ring=ring):
                return nearest_in_ring(x_t, ring[0].expand(len(x_t), -1, -1), ring[1].expand(len(x_t), -1))

            def score(x, z=z, context=context if ring else None):
                return unit_score_sum(perturbed_scores(self.network, self.sde, x, TIME, z, context))

            with torch.no_grad():
                x = spectrum[None]
                scaled_score = self.network(x, time_of_readout, context(x[:, None])[:, 0] if ring else None)
                background = x + self.sde.std(time_of_readout) * scaled_score
            contributions, before, after = path_contributions(score, background, x, progress=share)
            results.append((background, after, before, contributions))
        background, after, before, contributions = (torch.cat(parts) for parts in zip(*results))
        background = background * (self.maximum - self.minimum) + self.minimum
        what = f"length of the sum of {PERTURBATIONS} scores of length 1, at t = {TIME}"
        return Explanation(*(tensor.cpu().numpy() for tensor in (background, after, before, contributions)), what)

    def sample(self, count, seed=0, progress=None):
        """Spectra (count, bands) float32 in the units of the scene, sampled from the model; a conditional one gets no context."""
        device = next(self.network.parameters()).device

        def score(x, t):
            return self.network(x, t, None) / self.sde.std(t)

        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(count, self.network.bands, generator=generator).to(device) * self.sde.std(torch.ones(1, device=device))
        sampled = predictor_corrector(score, self.sde, start, seed, progress=progress)
        return (sampled * (self.maximum - self.minimum) + self.minimum).cpu().numpy()

    @torch.inference_mode()
    def scores(self, spectra, t, context=None):
        """The score S(x, t) of spectra as they are, without noise: (n, bands) array in the units of the scene -> (n, bands) float32 array.

        The score is that of spectra scaled to 0..1. context: (n, bands + 2) array, for a conditional network; by default zeros.
        """
        device = next(self.network.parameters()).device
        t = torch.tensor([t], device=device)
        if context is not None:
            context = torch.as_tensor(context, dtype=torch.float32, device=device)
        parts = [
            self.network(part, t, None if context is None else context[first : first + len(part)]) / self.sde.std(t)
            for first, part in _parts(self._scaled(spectra, device), pass_rows(device))
        ]
        return torch.cat(parts).cpu().numpy()

    def state(self):
        """Everything that `from_state` needs, as torch.load(weights_only=True) accepts it."""
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
    def from_state(cls, state, device="cpu"):
        network = ScoreUNet(state["bands"], state["hidden"], state["conditional"])
        network.load_state_dict(state["weights"])
        return cls(
            network.to(device),
            state["sigma"],
            state["minimum"],
            state["maximum"],
            state["outer_window"],
            state["inner_window"],
            state["loss_curve"],
        )

    def _scaled(self, spectra, device):
        spectra = torch.as_tensor(spectra, dtype=torch.float32, device=device)
        return (spectra - self.minimum) / (self.maximum - self.minimum)

    def _ring_context(self, block, rows, columns, device):
        ring, valid = self._scaled(block.values[rows, columns], device), torch.from_numpy(block.valid[rows, columns]).to(device)
        return lambda x_t: nearest_in_ring(x_t, ring, valid)


def _parts(spectra, size):
    return ((first, spectra[first : first + size]) for first in range(0, len(spectra), size))


def _value_range(spectra):
    """Smallest and largest value of the training spectra, over all bands: those of the scene where every pixel is trained on, as published."""
    if len(spectra) == 0:
        raise ValueError("there is no valid pixel to train on")
    minimum, maximum = float(spectra.min()), float(spectra.max())
    if minimum == maximum:
        raise ValueError(f"there is nothing to learn: all values of the scene are {minimum}")
    return minimum, maximum


def _training_pixels(cubes, count, offsets, seed, progress):
    """Up to `count` pixels, shared equally by the scenes, with the rings around them.

    Returns spectra (spectra, bands) and valid (spectra,), each pixel of a scene at most once, and indices into them
    (pixels, 1 + neighbours): the pixel itself and its ring.
    """
    spectra, valid, pixels, start = [], [], [], 0
    counts = shares(count, len(cubes))
    for number, cube in enumerate(cubes):
        part = progress.part(number / len(cubes), (number + 1) / len(cubes))
        # Drawn alike for all scenes, which a cluster does together; the first pixels of a sample are a smaller one.
        positions, gathered = cube.sample(
            counts[0], seed, lambda block, r, c: (block.values[r, c],), 0, part.part(0, 0.5), "sampling pixels"
        )
        if len(positions) == 0:
            continue
        positions, gathered = positions[: counts[number]], [array[: counts[number]] for array in gathered]
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


def _with_rings(cube, positions, offsets, progress):
    """Spectra and valid of the pixels at `positions` and of the rings around them, each pixel once, and indices (pixels, 1 + neighbours) into them."""
    rows, columns = ring_positions(positions[:, 0], positions[:, 1], np.concatenate([[[0, 0]], offsets]), cube.rows, cube.columns)
    needed, indices = np.unique(rows * cube.columns + columns, return_inverse=True)
    spectra, valid = np.empty((len(needed), cube.bands), dtype=np.float32), np.empty(len(needed), dtype=bool)
    for block in cube.blocks(0, progress, "reading training spectra"):
        first, last = np.searchsorted(needed, [block.row * cube.columns, (block.row + block.rows) * cube.columns])
        inside = np.divmod(needed[first:last] - block.row * cube.columns, cube.columns)
        spectra[first:last], valid[first:last] = block.values[inside], block.valid[inside]
    return spectra, valid, indices.reshape(rows.shape)
