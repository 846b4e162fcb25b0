"""What may lie where a pixel lies, learnt across scenes: `PYTHONPATH=. python benchmarks/learned_expectation.py <folders of .mat scenes>`.

Two small networks that are told how the pairs around a pixel lie (`expected_background.NEAR`), in units of what the closed form expects
and of its spread, so that no sensor has a part in it: a **mixture** of normal distributions, two for each pair, whose weights and widths
are learnt by maximum likelihood; and a **conditional score network**, learnt by denoising score matching at noise levels from 0.1 to 3.
Five folds: each scene is judged by networks that were trained on others, without truth, on pixels of which the strangest 2 % are left out.
Prints, as Markdown, AUC and average precision of each as a part of its own, and in the default's place of "near".

With `--attention`, instead, on the same folds: attention over the ring, and a mixture, with several windows, simulated scenes, augmentation
and larger networks (`learned_attention.py`).
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from learned_attention import WAYS, compare
from research import CLUTTER, measures
from torch import nn

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.fusion import TailProbability, fuse
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.shared.expected_background import FLOOR, NEAR, SOFTENING
from scoread_qgis.detectors.shared.half_whitening import HalfWhitening
from scoread_qgis.detectors.shared.windows import Surroundings
from scoread_qgis.scenes.matlab import read_matlab

FOLDS, STEPS, BATCH, PIXELS = 5, 600, 256, 1500
READOUTS = (0.3, 1.0, 3.0)  # noise levels at which the score is read


class Scene:
    """Half whitened components of a scene, and what its pixels see."""

    def __init__(self, values):
        rows, columns, bands = values.shape
        spectra = torch.from_numpy(values.reshape(-1, bands))
        self.components = HalfWhitening.fit(spectra)(spectra).reshape(rows, columns, -1)
        self.valid = torch.ones(rows, columns, dtype=torch.bool)
        at = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(0))[:PIXELS]
        self.floor = torch.zeros(())
        _, _, variance = self.closed_form(at)
        self.floor = FLOOR * variance.nanmean(0)
        own, pairs, spread = self.seen(at)
        kept = own.square().sum(1) <= own.square().sum(1).nanquantile(0.98)  # not at the corners, which see no pair
        self.sample = own[kept], pairs[kept], spread[kept]

    def closed_form(self, at):
        """Pairs (n, pairs, 2, components) of pixels at flat indices, with expectation and variance (n, components)."""
        rows, columns = at // self.valid.shape[1], at % self.valid.shape[1]
        around = Surroundings.of_pixels(self.components, self.valid, rows, columns, NEAR.reach)
        pairs = torch.stack([torch.stack([around.at(y, x).T, around.at(-y, -x).T], 1) for y, x in NEAR.offsets], 1)
        nearness = torch.tensor([1 / (y**2 + x**2) for y, x in NEAR.offsets])
        there = around.pairs_there(NEAR.offsets, NEAR.inside).T * nearness
        apart = (pairs[:, :, 0] - pairs[:, :, 1]).square().sum(2)
        soft = SOFTENING * (there * apart).sum(1, keepdim=True) / there.sum(1, keepdim=True)
        weights = there / (apart + soft).clamp(min=1e-12).square()
        self.weights = weights / weights.sum(1, keepdim=True)
        expected = torch.einsum("np,npkc->nc", self.weights, pairs) / 2
        return pairs, expected, torch.einsum("np,npkc->nc", self.weights, (pairs - expected[:, None, None]).square()) / 2

    def seen(self, at):
        """Pixels (n, components), pairs (n, pairs, 2, components) and log spread (n, components), in units of the closed form."""
        pairs, expected, variance = self.closed_form(at)
        unit = (variance + self.floor).sqrt()
        own = self.components.reshape(-1, self.components.shape[2])[at]
        scaled = (pairs - expected[:, None, None]) / unit[:, None, None]
        weight = self.weights.clamp(min=1e-9).log()[..., None, None].expand(*scaled.shape[:3], 1)
        return (own - expected) / unit, torch.cat([scaled, weight], 3), (variance / (variance + self.floor)).clamp(min=1e-6).log()


class Mixture(nn.Module):
    """-ln of the density (n,) of a normal mixture around the pixels of the pairs, whose weights and widths a network of 1,300 weights
    gives."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 2))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def components(self, pairs):
        """Log weights and log variances (n, 2 * pairs), centres (n, 2 * pairs, components)."""
        centres, log_weight = pairs[..., :-1], pairs[..., -1]
        size = centres.shape[-1]
        middle = centres.mean(2, keepdim=True)
        numbers = [
            (centres - middle).square().sum(3) / size, middle.square().sum(3).expand(centres.shape[:3]) / size,
            centres.square().sum(3) / size, centres.square().amax(3),
        ]  # fmt: skip
        offsets = torch.tensor(NEAR.offsets).float().norm(dim=1)[None, :, None].expand(centres.shape[:3])
        inputs = torch.stack([*((number + 1e-3).log() for number in numbers), log_weight, offsets / 6], 3)
        out = self.layers(inputs).flatten(1, 2)
        return (log_weight.flatten(1) + out[..., 0]).log_softmax(1), out[..., 1].clamp(-6, 6), centres.flatten(1, 2)

    def forward(self, own, pairs, spread):
        log_weights, log_variances, centres = self.components(pairs)
        squares = (own[:, None] - centres).square().sum(2)
        size = own.shape[1]
        each = log_weights - squares / 2 / log_variances.exp() - size / 2 * (log_variances + math.log(2 * math.pi))
        return -each.logsumexp(1)


class ConditionalScore(nn.Module):
    """Score (n, components) of a pixel with noise of standard deviation sigma (n,), given a summary of its pairs; 40,000 weights."""

    def __init__(self, size):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5 * size + 1, 160), nn.GELU(), nn.Linear(160, 160), nn.GELU(), nn.Linear(160, size))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, noisy, sigma, pairs, spread):
        centres = pairs[..., :-1].flatten(1, 2)
        near = centres[:, torch.tensor([abs(y) <= 3 and abs(x) <= 3 for y, x in NEAR.offsets]).repeat_interleave(2)]
        total = (1 + sigma**2).sqrt()[:, None]
        inputs = [noisy / total, spread / 3, centres.median(1).values, near.mean(1), centres.std(1).log(), sigma.log()[:, None]]
        # The score of a normal distribution of variance 1, and a correction to it.
        return -noisy / total**2 + self.layers(torch.cat([each.clamp(-8, 8) for each in inputs], 1)) / (sigma[:, None] * total)


def train(network, scenes, loss):
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for step in range(STEPS):
        sample = scenes[step % len(scenes)].sample
        at = torch.randint(len(sample[0]), (BATCH,), generator=generator)
        own, pairs, spread = (each[at] for each in sample)
        if step % 3 == 0:  # another target in the ring: a few neighbouring pairs have one strange side
            first = int(torch.randint(pairs.shape[1] - 3, (1,), generator=generator))
            pairs = pairs.clone()
            pairs[:, first : first + 3, 0, :-1] += 3 * torch.randn(BATCH, 1, pairs.shape[3] - 1, generator=generator)
        optimizer.zero_grad()
        loss(network, own, pairs, spread, generator).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def likelihood(network, own, pairs, spread, generator):
    return network(own, pairs, spread).clamp(max=200).mean()


def denoising(network, own, pairs, spread, generator):
    sigma = torch.exp(torch.empty(len(own)).uniform_(math.log(0.1), math.log(3), generator=generator))
    noise = torch.randn(own.shape, generator=generator)
    return (sigma[:, None] * network(own + sigma[:, None] * noise, sigma, pairs, spread) + noise).square().sum(1).mean()


@torch.no_grad()
def values_of(scene, mixture, score):
    """Label -> anomaly values (rows, columns), and the squared errors of the closed form's expectation and of the mixture's mean."""
    found, errors = {}, []
    for at in torch.arange(scene.valid.numel()).split(500):
        own, pairs, spread = scene.seen(at)
        log_weights, _, centres = mixture.components(pairs)
        mean = (log_weights.exp()[..., None] * centres).sum(1)
        errors.append(torch.stack([own.square().mean(1), (own - mean).square().mean(1)]).nan_to_num())
        found.setdefault("closed form", []).append(own.square().sum(1))
        found.setdefault("mixture, untrained", []).append(Mixture()(own, pairs, spread))
        found.setdefault("mixture", []).append(mixture(own, pairs, spread))
        for sigma in READOUTS:
            gradient = score(own, torch.full((len(own),), sigma), pairs, spread) * (1 + sigma**2)
            found.setdefault(f"score network, at noise {sigma:g}", []).append(gradient.square().sum(1))
    shape = scene.valid.shape
    return {label: torch.cat(parts).reshape(shape).nan_to_num() for label, parts in found.items()}, torch.cat(errors, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="folders of .mat scenes with a ground truth map")
    parser.add_argument(
        "--attention",
        nargs="*",
        choices=WAYS,
        metavar="WAY",
        help=f"instead: attention over the ring; all or some of: {', '.join(map(repr, WAYS))}",
    )
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"how many of the {FOLDS} folds of --attention")
    parser.add_argument("--seed", type=int, default=0, help="of --attention")
    arguments = parser.parse_args()
    files = [path for folder in arguments.data for path in sorted(folder.glob("*.mat"))]
    read = {path.stem: read_matlab(path) for path in files}
    cubes = {name: np.asarray(scene.cube, np.float32) for name, scene in read.items()}
    order = list(np.random.default_rng(0).permutation(list(cubes)))
    if arguments.attention is not None:
        truths = {name: np.asarray(scene.truth) for name, scene in read.items()}
        compare(cubes, truths, order, arguments.attention or WAYS, arguments.folds, arguments.seed)
        return
    scenes = {name: Scene(values) for name, values in cubes.items()}
    alone, fused, errors = {}, {}, {}
    for fold in range(FOLDS):
        torch.manual_seed(fold)
        others = [scenes[name] for name in order if name not in order[fold::FOLDS]]
        mixture = train(Mixture(), others, likelihood)
        score = train(ConditionalScore(others[0].components.shape[2]), others, denoising)
        for name in order[fold::FOLDS]:
            truth, cube = np.asarray(read[name].truth), ArrayCube(cubes[name])
            values, squares = values_of(scenes[name], mixture, score)
            errors[name] = squares.median(1).values.sqrt().tolist()
            parts = {part: torch.from_numpy(each) for part, each in SGM.train([cube], seed=0).bind(cube).parts().items()}
            for label, each in values.items():
                positive = each - each.min() + 1e-3 * (each.median() - each.min()) + 1e-6
                tail = TailProbability.fit(positive.flatten())(positive.flatten()).reshape(each.shape)
                together = fuse([tail if part == "near" else parts[part] for part in parts]).numpy()
                together = together - np.float32(CLUTTER.share) * CLUTTER.median(together, 0, len(together))
                alone.setdefault(label, []).append(measures(truth, each.numpy()))
                fused.setdefault(label, []).append(measures(truth, together))
            print(f"<!-- {name} -->", flush=True)
    columns = [f"{where}: {what}" for where in ("part alone", "default with it instead of near") for what in ("AUC", "AP")]
    print("| | " + " | ".join(columns) + " | AP of this default better than with the closed form |\n|---" + "|---" * 5 + "|")
    for label in alone:
        cells = [f"{value:.4f}" for found in (alone, fused) for value in np.mean(found[label], 0)[:2]]
        better = sum(one[1] > other[1] for one, other in zip(fused[label], fused["closed form"]))
        print(f"| {label} | " + " | ".join(cells) + f" | on {better} of {len(scenes)} |")
    closed, learnt = np.array(list(errors.values())).T
    print(
        f"\nError of a pixel's expectation (median over the pixels, in units of the closed form's spread, mean of the scenes): closed form "
        f"{closed.mean():.3f}, mean of the mixture {learnt.mean():.3f}, better on {np.count_nonzero(learnt < closed)} of {len(closed)}."
    )


if __name__ == "__main__":
    main()
