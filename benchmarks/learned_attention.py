"""Attention over the ring around a target, learnt across scenes, in the ways that `learned_expectation.py --attention` compares.

A network that is told of each pixel of the ring how it lies among the others, in numbers that do not depend on the sensor, corrects the
weights of the closed form (`expected_spectrum`), at which it starts. All that it is told is invariant to rotation and reflection.
"""

import functools
import math
import time

import numpy as np
import torch
from expected_background import SIDES, implant
from research import measures
from scipy import ndimage
from torch import nn

from scoread_qgis.detectors.shared.expected_background import FLOOR
from scoread_qgis.detectors.shared.expected_spectrum import BAND, MARGIN, OFF_CENTRE, SOFTENING, WIDTH, expected_spectrum
from scoread_qgis.detectors.shared.half_whitening import HalfWhitening

FOLDS, BATCH, PIXELS = 5, 64, 400  # pixels: of each scene
WINDOWS = (1, 3, 5)  # sides of the targets that are left out
SMALL, LARGE, LONG = (32, 1, 400), (64, 2, 1000), (64, 2, 4000)  # width, layers between, steps
# Way -> what it is trained on, the network, the loss.
WAYS = {
    "attention, one window": (("scenes",), SMALL, "distance"),
    "several windows": (("windows",), SMALL, "distance"),
    "one window, simulated scenes too": (("scenes", "simulated"), SMALL, "distance"),
    "one window, augmented too": (("scenes", "augmented"), SMALL, "distance"),
    "one window, larger and longer": (("scenes",), LARGE, "distance"),
    "all of these": (("windows", "simulated", "augmented"), LARGE, "distance"),
    "all of these, four times as long": (("windows", "simulated", "augmented"), LONG, "distance"),
    "mixture, one window": (("scenes",), SMALL, "likelihood"),
    "mixture, all but larger": (("windows", "simulated", "augmented"), SMALL, "likelihood"),
}


@functools.lru_cache(None)
def ring(side):
    """Of the ring around a target: offsets (m, 2) from its upper left pixel, distances (m,), the index of each opposite (m,), and how near
    each pair is (m, m)."""
    reach = MARGIN + WIDTH
    steps = torch.arange(-reach, side + reach)
    offsets = torch.cartesian_prod(steps, steps)
    away = torch.maximum(-offsets, offsets - (side - 1)).clamp(min=0).double().norm(dim=1)
    kept = (away > MARGIN) & (away <= reach)
    offsets, away = offsets[kept], away[kept]
    opposite = (offsets[:, None] + offsets == side - 1).all(2).int().argmax(1)
    nearness = torch.outer(away, away) ** -2.0
    nearness.fill_diagonal_(0)
    middles = (offsets[:, None] + offsets).double() / 2
    places = torch.cartesian_prod(*[torch.arange(side)] * 2).double()
    close = sum((1 + (middles - place).square().sum(2) / OFF_CENTRE**2) ** -2.0 for place in places)
    return offsets, away.float(), opposite, (nearness * close).float()


def components_of(cube):
    spectra = torch.from_numpy(np.ascontiguousarray(cube, np.float32).reshape(-1, cube.shape[2]))
    return HalfWhitening.fit(spectra)(spectra).reshape(*cube.shape[:2], -1)


def look(components, rows, columns, side, generator=None):
    """What is around targets whose upper left pixels are given: (own (n, components), ring (n, m, components), log weights (n, m), numbers
    (n, m, 8), unit (n,)). With a generator, every second ring holds another target."""
    offsets, away, opposite, near = ring(side)
    down, right = rows[:, None] + offsets[:, 0], columns[:, None] + offsets[:, 1]
    height, width = components.shape[:2]
    there = ((down >= 0) & (down < height) & (right >= 0) & (right < width)).float()
    around = components[down.clamp(0, height - 1), right.clamp(0, width - 1)]
    own = sum(components[(rows + y).clamp(max=height - 1), (columns + x).clamp(max=width - 1)] for y in range(side) for x in range(side))
    own = own / side**2
    if generator is not None:
        corner = offsets[torch.randint(len(offsets), (len(rows),), generator=generator)]
        from_it = offsets - corner[:, None]
        struck = ((from_it >= 0) & (from_it < 2)).all(2) & (torch.rand(len(rows), 1, generator=generator) < 0.5)
        share = struck[..., None] * torch.empty(len(rows), 1, 1).uniform_(0.3, 1, generator=generator)
        strange = 3 * torch.randn(len(rows), 1, components.shape[2], generator=generator)
        around = (1 - share) * around + share * strange
    squares = around.square().sum(2)
    apart = torch.baddbmm(squares[:, :, None] + squares[:, None], around, around.transpose(1, 2), alpha=-2).clamp_(min=0)
    weights = near * there[:, :, None] * there[:, None]
    unit = (weights * apart).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1e-30) + 1e-6
    inverse = apart.add(SOFTENING * unit[:, None, None]).square_().reciprocal_()
    share = (weights * inverse).sum(1)
    share = share / share.sum(1, keepdim=True).clamp(min=1e-30)
    inner = away <= MARGIN + 2
    from_place = [torch.bmm(share[:, None], around), around.median(1, keepdim=True).values, around[:, inner].median(1, keepdim=True).values]
    numbers = [(around - place).square().sum(2) for place in from_place]
    numbers += [apart[:, torch.arange(len(offsets)), opposite], apart[:, :, inner].mean(2), inverse.mean(2).rsqrt()]
    numbers = [(number / unit[:, None] + 1e-2).log() / 2 for number in numbers]
    log_share = share.clamp(min=1e-12).log()
    numbers += [(log_share + math.log(len(offsets))) / 4, (away / MARGIN - 2).expand_as(share)]
    return own, around, log_share - 1e4 * (1 - there), torch.stack(numbers, 2).clamp_(-6, 6), unit


class Attention(nn.Module):
    """Log weights (n, m), and log variances (n, m) for a mixture, from what `look` returns."""

    def __init__(self, width, between):
        super().__init__()
        layers = [nn.Linear(8, width), nn.GELU()]
        for _ in range(between):
            layers += [nn.Linear(width, width), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, log_share, numbers):
        out = self.layers(numbers)
        return (log_share + out[..., 0]).log_softmax(1), out[..., 1].clamp(-5, 5)


def distance(network, own, around, log_share, numbers, unit):
    log_weights, _ = network(log_share, numbers)
    expected = torch.bmm(log_weights.exp()[:, None], around)[:, 0]
    return ((own - expected).square().sum(1) / unit).add(1e-6).sqrt()


def likelihood(network, own, around, log_share, numbers, unit):
    """-ln of the density (n,) of normal distributions around the ring's pixels; untrained they are as wide as the ring disagrees."""
    log_weights, log_variances = network(log_share, numbers)
    size = own.shape[1]
    log_variances = log_variances + (unit / 2 / size).log()[:, None]
    squares = (own[:, None] - around).square().sum(2)
    return -(log_weights - squares / 2 / log_variances.exp() - size / 2 * (log_variances + math.log(2 * math.pi))).logsumexp(1)


def simulated(seed):
    """A scene (100, 100, bands) of smooth spectra: patches of several materials, roads and roofs, mixed at their edges, with texture within
    each, shadow and noise."""
    generator = np.random.default_rng([7, seed])
    bands, materials = generator.integers(40, 200), generator.integers(4, 12)
    curves = ndimage.gaussian_filter1d(generator.normal(size=(materials, bands)), bands / generator.uniform(5, 15), axis=1, mode="nearest")
    curves = np.exp(curves / curves.std() * generator.uniform(0.1, 0.6)) * np.exp(generator.normal(0, 0.4, (materials, 1)))
    scale = generator.uniform(2, 15, materials)
    fields = [ndimage.gaussian_filter(generator.normal(size=(100, 100)), size) * size for size in scale]
    index = np.argmax(fields, 0)
    down, right = np.mgrid[:100, :100]
    for _ in range(generator.integers(0, 25)):
        angle, place, material = generator.uniform(0, np.pi), generator.uniform(0, 100, 2), generator.integers(materials)
        along = (down - place[0]) * np.cos(angle) + (right - place[1]) * np.sin(angle)
        across = (right - place[1]) * np.cos(angle) - (down - place[0]) * np.sin(angle)
        length = generator.choice([200, generator.uniform(3, 15)])  # a road or a roof
        index[(np.abs(along) < length) & (np.abs(across) < generator.uniform(0.7, 5))] = material
    shares = np.eye(materials)[index]
    shares = ndimage.gaussian_filter(shares, (generator.uniform(0.4, 1), generator.uniform(0.4, 1), 0))
    texture = generator.normal(size=(100, 100, materials))
    texture = ndimage.gaussian_filter(texture, (generator.uniform(0.3, 2), generator.uniform(0.3, 2), 0))
    shares = shares * np.exp(texture / texture.std() * generator.uniform(0.02, 0.25))
    values = shares @ curves
    return (values * (1 + generator.uniform(0.002, 0.03) * generator.normal(size=values.shape))).astype(np.float32)


def augmentations(cube, seed):
    """The scene with noise, at half its scale, and with some of its bands."""
    generator = np.random.default_rng([11, seed])
    rows, columns, bands = (size // 2 for size in cube.shape)
    first = generator.integers(0, bands)
    subset = [np.s_[first : first + bands], np.s_[:: generator.integers(2, 8)]][generator.integers(2)]
    return [
        cube + generator.uniform(0.02, 0.2) * cube.std((0, 1)) * generator.normal(size=cube.shape),
        cube[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, -1).mean((1, 3)),
        cube[..., subset],
    ]


def samples(components, windows, generator, pixels=PIXELS, implants=False):
    """What is around random pixels, by window; the strangest 2 % are left out."""
    found = []
    for side in windows:
        rows, columns = (torch.randint(size - side + 1, (pixels // len(windows),), generator=generator) for size in components.shape[:2])
        seen = look(components, rows, columns, side, generator if implants else None)
        far = (seen[0] - torch.bmm(seen[2].softmax(1)[:, None], seen[1])[:, 0]).square().sum(1) / seen[4]
        kept = far <= far.quantile(0.98)
        found.append(tuple(each[kept] for each in seen))
    return found


def train(batches, width, between, steps, loss, seed):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = Attention(width, between)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        chosen = batches[int(torch.randint(len(batches), (), generator=generator))]
        at = torch.randint(len(chosen[0]), (BATCH,), generator=generator)
        optimizer.zero_grad()
        loss(network, *(each[at] for each in chosen)).clamp(max=200).mean().backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def part_values(components, networks):
    """Label -> values (rows, columns) of the part, for each way with its own variance and with the closed form's."""
    height, width = components.shape[:2]
    kept = {label: ([], []) for label, (_, kind) in networks.items() if kind == "distance"}
    found = {}
    for at in torch.arange(height * width).split(200):
        seen = look(components, at // width, at % width, 1)
        for label, (network, kind) in networks.items():
            if kind == "likelihood":
                found.setdefault(label, []).append(likelihood(network, *seen))
                continue
            weights = network(*seen[2:4])[0].exp()[:, None]
            expected = torch.bmm(weights, seen[1])
            spread = torch.bmm(weights, (seen[1] - expected).square())[:, 0]
            kept[label][0].append((seen[0] - expected[:, 0]).square())
            kept[label][1].append(spread)
    squares = {label: (torch.cat(beyond), torch.cat(spread)) for label, (beyond, spread) in kept.items()}
    closed = squares["closed form"][1]
    values = {label: torch.cat(parts) for label, parts in found.items()}
    for label, (beyond, spread) in squares.items():
        values[label] = (beyond / (spread + FLOOR * spread.mean(0))).sum(1)
        values[label + "; variance of the closed form"] = (beyond / (closed + FLOOR * closed.mean(0))).sum(1)
    return {label: each.reshape(height, width).nan_to_num().numpy() for label, each in values.items()}


@torch.no_grad()
def implanted_errors(cubes, name, networks):
    """Label -> RMSE (targets,) under implanted targets, and |error| in standard deviations of what is expected (targets, bands)."""
    clean, errors, ratios = cubes[name], {}, {}
    deviation = clean.std((0, 1), dtype=float) + 1e-12
    for side in SIDES:
        scene, places = implant(cubes, name, side, 0)
        components = components_of(scene)
        corner = torch.tensor(places)
        seen = look(components, corner[:, 0], corner[:, 1], side)
        offsets = ring(side)[0].numpy()
        for number, (row, column) in enumerate(places):
            truth = clean[row : row + side, column : column + side].mean((0, 1), dtype=float)
            region = np.zeros(scene.shape[:2], bool)
            region[row : row + side, column : column + side] = True
            near = tuple(slice(max(0, place - 8), place + side + 8) for place in (row, column))
            shipped = expected_spectrum(scene[near], components[near].numpy(), np.ones(region[near].shape, bool), region[near])
            guesses = {"expected_spectrum": (shipped.spectrum, (shipped.high - shipped.low) / 2 / BAND)}
            down, right = (np.clip(place + offsets[:, axis], 0, scene.shape[axis] - 1) for axis, place in enumerate((row, column)))
            spectra = scene[down, right]
            for label, (network, _) in networks.items():
                weights = network(seen[2][number : number + 1], seen[3][number : number + 1])[0].exp()[0].double().numpy()
                expected = weights @ spectra
                guesses[label] = expected, np.sqrt(weights @ np.square(spectra - expected))
            for label, (guess, spread) in guesses.items():
                errors.setdefault(label, []).append(np.sqrt(np.square((guess - truth) / deviation).mean()))
                ratios.setdefault(label, []).append(np.abs(guess - truth) / np.maximum(spread, 1e-12))
    return errors, {label: np.array(each) for label, each in ratios.items()}


def compare(cubes, truths, order, ways, folds, seed):
    """Trains in each of these ways on the other scenes of a fold and prints, as Markdown, what is obtained on the scenes of the first
    `folds`."""
    generator, started = torch.Generator().manual_seed(seed), time.monotonic()
    clean = {name: components_of(cube) for name, cube in cubes.items()}
    of_scene = {
        name: {"scenes": samples(each, (1,), generator), "windows": samples(each, WINDOWS, generator)} for name, each in clean.items()
    }
    for number, (name, cube) in enumerate(cubes.items()):
        altered = [*(components_of(each) for each in augmentations(cube, number)), clean[name]]
        of_scene[name]["augmented"] = [
            batch for each, sides in zip(altered, (*[(1,)] * 3, WINDOWS)) for batch in samples(each, sides, generator, PIXELS // 2, True)
        ]
    invented = [batch for number in range(12) for batch in samples(components_of(simulated(number)), (1, 3), generator)]
    print(f"<!-- samples: {time.monotonic() - started:.0f} s -->", flush=True)
    measured, errors, ratios, tested = {}, {}, {}, []
    for fold in range(folds):
        held = order[fold::FOLDS]
        networks = {"closed form": (Attention(8, 0).eval(), "distance"), "mixture, untrained": (Attention(8, 0).eval(), "likelihood")}
        for label in ways:
            sources, (width, between, steps), kind = WAYS[label]
            batches = [batch for name in order if name not in held for source in sources for batch in of_scene[name].get(source, ())]
            batches += invented if "simulated" in sources else []
            networks[label] = train(batches, width, between, steps, globals()[kind], seed + fold), kind
        print(f"<!-- fold {fold} trained: {time.monotonic() - started:.0f} s -->", flush=True)
        for name in held:
            tested.append(name)
            errors[name], ratios[name] = implanted_errors(cubes, name, networks)
            for label, values in part_values(clean[name], networks).items():
                measured.setdefault(label, []).append(measures(truths[name], values)[:2])
            print(f"<!-- {name}: {time.monotonic() - started:.0f} s -->", flush=True)
        report(networks, measured, errors, ratios, tested)


def report(networks, measured, errors, ratios, tested):
    labels = ["expected_spectrum", *networks]
    medians = {label: np.array([np.median(errors[name][label]) for name in tested]) for label in labels}
    print(
        f"\n{len(tested)} scenes, each by networks that were not trained on it.\n\n| | RMSE under implanted targets, mean of the scenes | "
        "better than `expected_spectrum` on | bands of 90 % cover: mean, least and most of a scene | part: AUC | part: AP | AUC / AP with "
        "the closed form's variance | AP better than untrained on |\n|---" + "|---" * 7 + "|"
    )
    for label in labels:
        # Half width from all other scenes, each of which was judged by a network that had not seen it.
        cover = []
        for name in tested:
            width = np.mean([np.quantile(ratios[other][label], 0.9) for other in tested if other != name])
            cover.append(np.mean(ratios[name][label] <= width))
        cells = [f"{medians[label].mean():.3f}", f"{np.count_nonzero(medians[label] < medians['expected_spectrum'])} of {len(tested)}"]
        cells.append(f"{np.mean(cover):.3f}, {min(cover):.3f} to {max(cover):.3f}")
        if label in measured:
            of_part = np.array(measured[label])
            cells += [f"{value:.4f}" for value in of_part.mean(0)]
            fixed = measured.get(label + "; variance of the closed form")
            cells.append(" / ".join(f"{value:.4f}" for value in np.mean(fixed, 0)) if fixed else "")
            untrained = np.array(measured["mixture, untrained" if networks[label][1] == "likelihood" else "closed form"])
            cells.append(f"{np.count_nonzero(of_part[:, 1] > untrained[:, 1])} of {len(tested)}")
        print(f"| {label} | " + " | ".join([*cells, *[""] * (7 - len(cells))]) + " |", flush=True)
