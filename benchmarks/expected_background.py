"""How near the expected background is to what lies under an anomaly: `PYTHONPATH=. python benchmarks/expected_background.py <folder of .mat
scenes> ...`.

Into each scene, targets of 1 to 25 pixels are implanted: spectra of the other scenes, at 30 to 100 %, half of them with another target of 2
x 2 pixels 3 to 5 pixels away. What was there before is the truth. Prints, as Markdown, the median over a scene's targets of the RMSE over
the bands, in standard deviations of the bands before anything was implanted; its mean over the scenes; and how often the band of 90 %
covers the truth. The ground truth of the scenes is not used.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from scoread_qgis.detectors.shared import expected_spectrum as region_background
from scoread_qgis.detectors.shared.expected_spectrum import expected_spectrum
from scoread_qgis.detectors.shared.half_whitening import HalfWhitening
from scoread_qgis.detectors.shared.sde import VESDE
from scoread_qgis.detectors.shared.trimmed_gaussian import TrimmedGaussian
from scoread_qgis.scenes.matlab import read_matlab

SIDES = (1, 2, 3, 4, 5)
TARGETS = 20  # of each side and scene
CLEAR = 9  # pixels between targets


def implant(cubes, name, side, seed):
    """The scene with targets of side x side pixels, and their upper left corners."""
    generator, scene, places = np.random.default_rng([seed, side]), cubes[name].astype(np.float64), []
    rows, columns, bands = scene.shape

    def target():
        other = cubes[list(cubes)[generator.integers(len(cubes))]]
        spectrum = other[generator.integers(other.shape[0]), generator.integers(other.shape[1])]
        spectrum = np.interp(np.linspace(0, 1, bands), np.linspace(0, 1, len(spectrum)), spectrum)
        return spectrum * cubes[name].mean() / spectrum.mean() * np.exp(generator.normal(0, 0.5))

    def put(row, column, size):
        share, place = generator.uniform(0.3, 1), np.s_[row : row + size, column : column + size]
        scene[place] = (1 - share) * scene[place] + share * target()

    for _ in range(500):
        row, column = generator.integers(0, rows - side + 1), generator.integers(0, columns - side + 1)
        if len(places) == TARGETS or any(abs(row - r) < side + CLEAR and abs(column - c) < side + CLEAR for r, c in places):
            continue
        put(row, column, side)
        places.append((row, column))
        if generator.random() < 0.5:
            gap, along = generator.integers(3, 6), generator.integers(-2, side + 1)
            beside = [(-gap - 1, along), (side + gap - 1, along), (along, -gap - 1), (along, side + gap - 1)][generator.integers(4)]
            if 0 <= row + beside[0] < rows - 1 and 0 <= column + beside[1] < columns - 1:
                put(row + beside[0], column + beside[1], 2)
    return scene, places


def ring_mean(scene, region, inner, outer):
    """Mean of the square ring of a pixel window, `inner` wide inside and `outer` outside, around a region's centre."""
    centre = np.argwhere(region).mean(0)
    away = np.abs(np.argwhere(np.ones(region.shape)) - centre).max(1).reshape(region.shape)
    return scene[(away > inner / 2) & (away <= outer / 2) & ~region].mean(0)


def score(gaussian, vectors, std):
    """Gradient of the log density (n, size), at vectors (n, size), of a `TrimmedGaussian` with noise of standard deviation `std` on the
    scaled vectors: `vectors + (std * scale) ** 2 * score` is the mean of what may lie under the noise (Tweedie's formula)."""
    precision, directions = torch.linalg.eigh(gaussian.whitening.double() @ gaussian.whitening.double().T)
    scaled = (vectors - gaussian.centre) / gaussian.scale - gaussian.mean
    return (-(scaled.double() @ directions) / (1 / precision + std**2) @ directions.T / gaussian.scale).float()


def estimates(scene, components, region, gaussian, centre, scale):
    """Estimate -> spectrum (bands,) under a region, and the `Expected` of the detectors."""
    rows, columns = (slice(max(0, where.min() - 9), where.max() + 10) for where in np.nonzero(region))
    scene, components, region = scene[rows, columns], components[rows, columns], region[rows, columns]
    observed = scene[region].mean(0)
    scaled, std = torch.from_numpy((observed - centre) / scale).float()[None], float(VESDE().std(torch.ones(())))
    denoised = scaled + (std * gaussian.scale) ** 2 * score(gaussian, scaled, std)
    away = ndimage.distance_transform_edt(~region)
    order = np.argsort(away, axis=None, kind="stable")
    order = order[away.flat[order] > 2]
    nearest = scene.reshape(-1, scene.shape[2])[order]
    ours = components.reshape(-1, components.shape[2])[order[:108]]
    medoid = np.linalg.norm(ours[:, None] - ours, axis=2).sum(1).argmin()
    found = expected_spectrum(scene, components, np.ones(region.shape, bool), region)
    return {
        "the observed spectrum itself": observed,
        "Tweedie's formula with the Gaussian": denoised[0].numpy() * scale + centre,
        "mean of the scene": centre,
        "mean of the ring 19/9": ring_mean(scene, region, 9, 19),
        "mean of the ring 9/5": ring_mean(scene, region, 5, 9),
        "medoid of the 108 nearest pixels": nearest[medoid],
        "median of the 32 nearest pixels": np.median(nearest[:32], axis=0),
        "pairs on opposite sides (the detectors')": found.spectrum,
    }, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="folders of .mat scenes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cubes = {
        path.stem: np.asarray(read_matlab(path).cube, np.float32) for folder in arguments.data for path in sorted(folder.glob("*.mat"))
    }
    errors, ratios, covered = {}, {}, {}
    for name, clean in cubes.items():
        deviation = clean.std((0, 1), dtype=float) + 1e-12
        for side in SIDES:
            scene, places = implant(cubes, name, side, arguments.seed)
            spectra = torch.from_numpy(scene.reshape(-1, scene.shape[2]))
            centre, scale = scene.mean((0, 1)), scene.std((0, 1)) + 1e-12
            gaussian = TrimmedGaussian.fit(((spectra - torch.from_numpy(centre)) / torch.from_numpy(scale)).float())[0]
            components = HalfWhitening.fit(spectra)(spectra.float()).numpy().reshape(*scene.shape[:2], -1)
            for row, column in places:
                region = np.zeros(scene.shape[:2], bool)
                region[row : row + side, column : column + side] = True
                truth = clean[region].mean(0, dtype=float)
                guesses, found = estimates(scene, components, region, gaussian, centre, scale)
                for label, guess in guesses.items():
                    error = np.sqrt(np.square((guess - truth) / deviation).mean())
                    errors.setdefault(label, {}).setdefault(name, {}).setdefault(side, []).append(error)
                covered.setdefault(name, []).append(np.mean((found.low <= truth) & (truth <= found.high)))
                half = np.maximum((found.high - found.low) / 2, 1e-12) / region_background.BAND
                ratios.setdefault(name, []).append(np.abs(truth - found.spectrum) / half)
        print(f"<!-- {name} -->", flush=True)
    print(
        "| estimate | "
        + " | ".join(f"{side * side} px" for side in SIDES)
        + " | all | worst scene |\n|---"
        + "|---" * (len(SIDES) + 2)
        + "|"
    )
    for label, of_scenes in errors.items():
        by_side = [np.mean([np.median(scene[side]) for scene in of_scenes.values()]) for side in SIDES]
        by_scene = [np.median(np.concatenate(list(scene.values()))) for scene in of_scenes.values()]
        print(f"| {label} | " + " | ".join(f"{value:.3f}" for value in [*by_side, np.mean(by_scene), max(by_scene)]) + " |")
    print("\n| scene | median of 32 | pairs | covered by the band of 90 % |\n|---|---|---|---|")
    labels = list(errors)[-2:]
    for name in cubes:
        cells = [f"{np.median(np.concatenate(list(errors[label][name].values()))):.3f}" for label in labels]
        print(f"| {name} | " + " | ".join(cells) + f" | {np.mean(covered[name]):.3f} |")
    print(f"| mean | | | {np.mean([np.mean(values) for values in covered.values()]):.3f} |")
    # The half width that would cover 90 %, chosen on half of the scenes, on the other half.
    generator, others = np.random.default_rng(0), []
    flat = {name: np.concatenate(values) for name, values in ratios.items()}
    for _ in range(20):
        order = generator.permutation(list(flat))
        half = len(order) // 2
        width = np.mean([np.quantile(flat[name], 0.9) for name in order[:half]])
        others.append((width, np.mean([np.mean(flat[name] <= width) for name in order[half:]])))
    widths, shares = zip(*others)
    print(
        f"\nHalf width for 90 %, in standard deviations, chosen on half of the scenes: {np.mean(widths):.2f} ± {np.std(widths):.2f} over "
        f"20 random halves; covers {np.mean(shares):.3f} ± {np.std(shares):.3f} on the other half."
    )


if __name__ == "__main__":
    main()
