"""Is the sample scene like real ones? `PYTHONPATH=. python benchmarks/simulation.py <folders of .mat scenes> [--seeds 10]`.

Prints statistics of real scenes and of simulated ones, which were set by them, and what global RX and the default mode then reach in the
simulated ones, by which nothing was set. The last four statistics describe the objects of the ground truth maps. Takes some minutes.
"""

import argparse
from pathlib import Path

import numpy as np

WINDOW, GAP = 7, 3  # of the ring around a pixel


def statistics(cube, truth):
    """Name -> value, of spectra (rows, columns, bands) and a ground truth map."""
    from scipy.ndimage import binary_dilation, label, uniform_filter

    cube = cube[..., cube.std((0, 1)) > 0].astype(float)
    rows, columns, bands = cube.shape
    spectra = cube.reshape(-1, bands)
    mean, covariance = spectra.mean(0), np.cov(spectra.T)
    values = np.linalg.eigvalsh(covariance)[::-1]
    beyond = 1 - values.cumsum() / values.sum()
    # What no other band explains is the noise of a band (multiple regression).
    noise = np.diag(np.linalg.inv(covariance + 1e-10 * values.sum() / bands * np.eye(bands))) ** -0.5
    strengths, axes = np.linalg.eigh(np.cov((spectra / noise).T))
    strengths, parts = strengths[::-1], ((spectra - mean) / noise @ axes[:, ::-1]).reshape(cube.shape)

    def around(image):
        outer, inner = (uniform_filter(image, (size, size, 0)) * size**2 for size in (WINDOW, GAP))
        return (outer - inner) / (WINDOW**2 - GAP**2)

    def likeness(lag):
        return (parts[:, :-lag] * parts[:, lag:]).mean((0, 1)) / parts.var((0, 1))

    kurtosis = (parts**4).mean((0, 1)) / parts.var((0, 1)) ** 2
    textured = (parts - around(parts)).var((0, 1)) / parts.var((0, 1))
    rx = (np.square(parts) / strengths.clip(1e-9)).mean(2)[truth == 0]
    brightness = np.log(cube.mean(2).clip(1e-6))
    found = {
        "signal-to-noise ratio, median of the bands": np.median(mean / noise),
        "variance beyond 3 components": beyond[2],
        "variance beyond 10 components": beyond[9],
        "components with 10 times the variance of the noise": np.count_nonzero(strengths > 10),
        "correlation with the next pixel, components 4-10": likeness(1)[3:10].mean(),
        "correlation over 4 pixels, components 4-10": likeness(4)[3:10].mean(),
        "correlation with the next pixel, components 11-30": likeness(1)[10:30].mean(),
        "variance within 7 pixels, components 4-10": textured[3:10].mean(),
        "kurtosis, components 4-10": np.median(kurtosis[3:10]),
        "kurtosis, components 11-30": np.median(kurtosis[10:30]),
        "RX of the background over bands, median": np.median(rx),
        "RX of the background over bands, 99 %": np.quantile(rx, 0.99),
        "RX of the background over bands, 99.9 %": np.quantile(rx, 0.999),
        "brightness, standard deviation of the logarithm": brightness.std(),
        "brightness within 7 pixels": (brightness - around(brightness[..., None])[..., 0]).std(),
    }
    labels, count = label(truth > 0, np.ones((3, 3)))
    anomalous, angles, residuals, evenness = binary_dilation(truth > 0, np.ones((3, 3))), [], [], []
    for number in range(1, count + 1):
        inside = labels == number
        near = binary_dilation(inside, np.ones((3, 3)), 3) & ~anomalous
        spectrum, ground = cube[inside].mean(0), cube[near].mean(0)
        angles.append(np.degrees(np.arccos(spectrum @ ground / np.linalg.norm(spectrum) / np.linalg.norm(ground))))
        difference = parts[inside] - parts[near].mean(0)
        residuals.append(np.sqrt(np.square(difference[:, 10:]).mean(1)).mean())
        if inside.sum() > 3:
            contrast = (cube[inside] - ground) @ (spectrum - ground)
            evenness.append(np.quantile(contrast, 0.1) / np.quantile(contrast, 0.9))
    background = np.sqrt(np.square(parts[truth == 0][:, 10:]).mean())
    return {
        **found,
        "pixels of an object, median": np.median(np.bincount(labels.ravel())[1:]),
        "angle between an object and its surroundings, degrees": np.median(angles),
        "object beyond 10 components, times the background there": np.median(residuals) / background,
        "contrast within an object, 10 % over 90 %": np.median(evenness) if evenness else np.nan,
    }


def main():
    from sklearn.metrics import average_precision_score, roc_auc_score

    from scoread_qgis.core.cube import ArrayCube
    from scoread_qgis.detectors.default_mode.sgm import SGM
    from scoread_qgis.detectors.rx import GlobalRX
    from scoread_qgis.scenes.matlab import read_matlab
    from scoread_qgis.scenes.simulated import simulate_scene

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="folders of .mat scenes with ground truth maps")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    read = [read_matlab(path) for folder in options.data for path in sorted(folder.glob("*.mat"))]
    real = [statistics(scene.cube, scene.truth) for scene in read]
    scenes = [simulate_scene(seed=seed) for seed in range(options.seeds)]
    simulated = [statistics(scene.cube[..., scene.good], scene.truth) for scene in scenes]
    print("| statistic | real: quartiles of the scenes | simulated: median, lowest to highest |\n|---|---|---|")
    for name in real[0]:
        low, middle, high = np.nanquantile([each[name] for each in real], (0.25, 0.5, 0.75))
        of_seeds = [each[name] for each in simulated]
        print(f"| {name} | {low:.3g}, {middle:.3g}, {high:.3g} | {np.median(of_seeds):.3g}, {min(of_seeds):.3g} to {max(of_seeds):.3g} |")
    print("\n| seed | global RX: AUC | AP | default mode: AUC | AP |\n|---|---|---|---|---|")
    table = []
    for scene in scenes:
        cube, truth = ArrayCube((scene.cube[..., scene.good] * scene.scale).astype(np.float32)), scene.truth.ravel()
        row = []
        for detector in (GlobalRX(), SGM.train([cube], seed=0)):
            scores = np.concatenate([rows for _, rows in detector.detect(cube)]).ravel()
            row += [roc_auc_score(truth, scores), average_precision_score(truth, scores)]
        table.append(row)
    for seed, row in [*enumerate(table), ("mean", np.mean(table, axis=0))]:
        print(f"| {seed} | " + " | ".join(f"{value:.4f}" for value in row) + " |", flush=True)


if __name__ == "__main__":
    main()
