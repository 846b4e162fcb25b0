"""How often Identify anomalies names planted materials rightly, how well it groups them, how fast it is: tables of docs/identifying.md.

    PYTHONPATH=. python benchmarks/identifying.py [speed]

Scenes are simulated: their anomalies are of five materials, which cover a part of each pixel of an object. The library holds those five,
six spectra of each class of the landscape, and 300 variations of all these, with other absorption bands and another slope. The scene may
have an error of calibration that the library does not have.
"""

import sys
import time

import numpy as np
from scipy import ndimage

from scoread_qgis.decisions import matching
from scoread_qgis.decisions.matching import Background, best_matches, continuum_removed, groups, spectral_angles
from scoread_qgis.scenes import simulated

SEEDS = range(6)
ERRORS = ("none", "3 % in each band", "10 %, smooth")


def main():
    if sys.argv[1:] == ["speed"]:
        return speed()
    rows, grouped, covered = {}, {}, []
    for seed in SEEDS:
        scene, labels, kinds, shares = planted(seed)
        covered += shares.tolist()
        names, library = variations(scene)
        for error in ERRORS:
            cube = (scene.cube * scene.scale)[..., scene.good] * calibration(error, seed, int(scene.good.sum()))
            spectra = np.stack([cube[labels == number].mean(axis=0) for number in range(1, labels.max() + 1)])
            pixels = cube[labels == 0][np.random.default_rng(seed).permutation(np.count_nonzero(labels == 0))[:8192]]
            background = Background(pixels, pixels.mean(axis=0), np.cov(pixels.T))
            for measure, best in ranked(spectra, library, background, scene.wavelengths[scene.good]).items():
                right = best[:, :3] == kinds[:, None]
                rows.setdefault((error, measure), []).append(np.stack([right[:, 0], right.any(axis=1)], axis=1))
            if error == "none":
                for angle in (30, 40, 45, 50, 55, 60, 70):
                    found = groups(spectra, background, angle)
                    grouped.setdefault(f"this, {angle}°", []).append([rand(kinds, found), found.max()])
                for angle in (3, 5, 8, 12):
                    found = plain_groups(spectra, angle)
                    grouped.setdefault(f"spectral angle, {angle}°", []).append([rand(kinds, found), found.max()])
    print("| error of calibration | ranked by | first | among three |\n|---|---|---|---|")
    for (error, measure), parts in rows.items():
        print(f"| {error} | {measure} | " + " | ".join(f"{share:.2f}" for share in np.concatenate(parts).mean(axis=0)) + " |")
    low, middle, high = np.quantile(covered, (0, 0.5, 1))
    print(f"\n{len(covered)} regions, {low:.2f} to {high:.2f} of which is the material (median {middle:.2f}); 365 library spectra.\n")
    print("| groups by | adjusted Rand index | groups, of 5 materials |\n|---|---|---|")
    for name, values in grouped.items():
        print(f"| {name} | {np.mean(values, axis=0)[0]:.2f} | {np.mean(values, axis=0)[1]:.1f} |")
    return None


def planted(seed):
    """A scene, the labels of its anomalies (from 1), the material of each, and the share of their pixels that it covers."""
    kept, plant = [], simulated._plant
    simulated._plant = lambda *arguments: kept.append(plant(*arguments)) or kept[-1]
    try:
        scene = simulated.simulate_scene(seed=seed)
    finally:
        simulated._plant = plant
    objects, _, coverage = kept[0]
    labels, count = ndimage.label(coverage > 0.1, np.ones((3, 3)))
    inside = [labels == number for number in range(1, count + 1)]
    return (
        scene,
        labels,
        np.array([objects[each][0] for each in inside]),
        np.array([coverage[each].mean() for each in inside]) * simulated._PECULIAR,
    )


def variations(scene):
    generator, grid = np.random.default_rng(99), simulated._GRID
    spectra = [simulated.anomaly_spectrum(name) for name in simulated.ANOMALIES]
    spectra += [simulated._class_spectrum(name, generator) for name in simulated._CLASSES for _ in range(6)]
    for number in range(300):
        like = spectra[generator.integers(0, 5)] if number % 2 else spectra[generator.integers(5, 65)]
        bands = [
            (generator.uniform(450, 2400), generator.uniform(12, 80), generator.uniform(0.05, 0.4)) for _ in range(generator.integers(2, 5))
        ]
        slope = 1 + 0.25 * np.interp(grid, np.linspace(370, 2532, 6), generator.standard_normal(6))
        spectra.append(like * np.clip(slope, 0.2, 2) * simulated._absorbed(grid, *bands))
    names = [*simulated.ANOMALIES, *(f"other {number}" for number in range(len(spectra) - 5))]
    return names, simulated.at_bands(np.stack(spectra), scene.wavelengths, scene.fwhm)[:, scene.good]


def calibration(error, seed, bands):
    generator = np.random.default_rng(seed)
    if error == ERRORS[1]:
        return 1 + 0.03 * generator.standard_normal(bands)
    return 1 + 0.1 * np.interp(np.arange(bands), np.linspace(0, bands, 6), generator.standard_normal(6)) if error == ERRORS[2] else 1.0


def ranked(spectra, library, background, wavelengths):
    """The best entries (n, 3) by each measure alone, and as Identify anomalies ranks them."""

    def unit(values):
        values = values - values.mean(axis=1, keepdims=True)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    features = unit(continuum_removed(spectra, wavelengths)) @ unit(continuum_removed(library, wavelengths)).T
    found = {
        "spectral angle": np.argsort(spectral_angles(spectra, library), axis=1)[:, :3],
        "features, without continuum": np.argsort(-features, axis=1)[:, :3],
    }
    allowed = matching.CALIBRATION_ERROR
    for name, error in (("adaptive coherence, exact", 0.0), ("this", allowed)):
        matching.CALIBRATION_ERROR = error
        found[name] = best_matches(spectra, library, Background(*vars(background).values()), wavelengths).entries
    return found


def plain_groups(spectra, angle):
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    angles = spectral_angles(spectra, spectra)
    np.fill_diagonal(angles, 0)
    return fcluster(linkage(squareform(angles, checks=False), "complete"), angle, "distance")


def rand(kinds, found):
    from sklearn.metrics import adjusted_rand_score

    return adjusted_rand_score(kinds, found)


def speed():
    """Seconds for 10,000 entries of 2,151 wavelengths at 200 bands, 100 and 5,000 regions, and 5,000 regions in groups."""
    from scoread_qgis.scenes.spectral_library import Library

    generator, bands = np.random.default_rng(0), 200

    def smooth(count, size):
        curves = np.cumsum(np.cumsum(generator.normal(size=(count, size)), axis=1), axis=1) * (0.1 / size**1.5)
        return np.clip(curves + generator.uniform(0.1, 0.6, (count, 1)), 0.01, 1).astype(np.float32)

    fine, wavelengths = np.linspace(0.35, 2.5, 2151), np.linspace(400, 2450, bands)
    library = Library(("x",) * 10_000, (fine,) * 10_000, tuple(smooth(10_000, 2151)), ("",) * 10_000)
    pixels = smooth(16_384, bands) + 0.005 * generator.normal(size=(16_384, bands))
    background = Background(pixels, pixels.mean(axis=0), np.cov(pixels.T))
    few, many = smooth(100, bands).astype(float), smooth(5000, bands).astype(float)
    start = time.perf_counter()
    entries = library.at_bands(wavelengths, np.full(bands, 10.0))
    print(f"10,000 entries to {bands} bands: {time.perf_counter() - start:.1f} s")
    for spectra in (few, many):
        start = time.perf_counter()
        best_matches(spectra, entries, background, wavelengths)
        print(f"10,000 entries, {len(spectra)} regions: {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    groups(many, background, 50)
    print(f"groups of {len(many)} regions: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
