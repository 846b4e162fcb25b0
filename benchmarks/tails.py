"""False-alarm rates that the fit of the background's tail obtains: PYTHONPATH=. python benchmarks/tails.py <folder of .mat scenes>.

Prints tables of obtained over requested rates: simulated backgrounds, without and with anomalies far up, and real scenes, with the
anomalies of their ground truth maps removed and left in. Rates are those of the background: of the distribution where it is simulated, of
the pixels that the truth does not mark where it is real. With `--scipy` it prints how `scipy.stats.genpareto.fit` does in the place of the
fit without anomalies, and nothing else.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy import stats

RATES = (1e-2, 1e-3)
BACKGROUNDS = {
    "Student t, 2": stats.t(2), "Student t, 5": stats.t(5), "lognormal, 0.5": stats.lognorm(0.5), "lognormal, 1": stats.lognorm(1),
    "Pareto, 1.5": stats.pareto(1.5), "Pareto, 3": stats.pareto(3), "exponential": stats.expon(), "chi-square, 3": stats.chi2(3),
    "chi-square, 100": stats.chi2(100), "gamma, 0.5": stats.gamma(0.5), "normal": stats.norm(),
}  # fmt: skip
SHARES = (0.0, 0.002, 0.01, 0.02)


def simulated(pixels, seeds):
    """Rows of a table: median and range of obtained / asked over the seeds, by share of anomalies and rate."""
    from scoread_qgis.decisions.tail import Tail

    lines = [
        f"| {pixels} pixels | " + " | ".join(f"{share:.1%} anomalies, {rate:g}" for share in SHARES for rate in RATES) + " |",
        "|---" * (1 + len(SHARES) * len(RATES)) + "|",
    ]
    for name, background in BACKGROUNDS.items():
        cells = []
        for share in SHARES:
            ratios = []
            for seed in range(seeds):
                random = np.random.default_rng(seed)
                scores = background.rvs(pixels, random_state=random)
                anomalies = background.isf(1e-4) * random.uniform(1, 3, int(share * pixels))
                tail = Tail.fit(np.concatenate([scores, anomalies]))
                ratios.append([background.sf(tail.threshold(rate)) / rate for rate in RATES])
            cells += [f"{np.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in np.transpose(ratios)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def real(folder):
    from scoread_qgis.decisions.tail import Tail

    heads = [f"anomalies {way}, {rate:g}" for way in ("removed", "left in") for rate in RATES]
    lines = ["| scene, map | anomalous pixels | " + " | ".join(heads) + " |", "|---" * (2 + len(heads)) + "|"]
    for name, scores, truth in maps(folder):
        background, cells = scores[truth == 0], []
        for fitted in (background, scores):
            tail = Tail.fit(fitted)
            cells += [f"{(background > tail.threshold(rate)).mean() / rate:.2f}" for rate in RATES]
        lines.append(f"| {name} | {np.count_nonzero(truth)} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def maps(folder):
    """Name, scores and truth of the maps of each scene."""
    from scoread_qgis.core.cube import ArrayCube
    from scoread_qgis.detectors.default_mode.sgm import SGM
    from scoread_qgis.detectors.rx import GlobalRX
    from scoread_qgis.scenes.matlab import read_matlab

    for path in sorted(folder.glob("*.mat")):
        scene = read_matlab(path)
        cube = ArrayCube(scene.cube)
        for name, detector in (("default mode", SGM.train([cube], seed=0)), ("RX", GlobalRX())):
            yield f"{path.stem}, {name}", np.concatenate([rows for _, rows in detector.detect(cube)]), scene.truth


def against_scipy(folder):
    """Lines: fits of the tails of real maps and of samples whose shape is known, by the project and by SciPy."""
    from scoread_qgis.decisions import tail

    def library(exceedances):
        excess, unit = tail._thinned(exceedances)
        shape, _, scale = stats.genpareto.fit(excess, floc=0)
        return scale * unit, float(shape), stats.genpareto.logpdf(excess, shape, 0, scale).sum()

    fits, seconds, thresholds = {"project": tail._fit_pareto, "SciPy": library}, {}, {}
    for _, scores, truth in maps(folder):
        for fitted in (scores[truth == 0], scores.ravel()):
            exceedances = tail._exceedances(np.sort(fitted.astype(float)), tail._TAIL)
            for name, fit in fits.items():
                start = time.process_time()
                fit(exceedances)
                seconds.setdefault(name, []).append(time.process_time() - start)
                tail._fit_pareto = fit
                thresholds.setdefault(name, []).append([tail.Tail.fit(fitted).threshold(rate) for rate in RATES])
    tail._fit_pareto = fits["project"]
    for name, values in seconds.items():
        yield f"{name}: {1000 * np.median(values):.1f} ms of processor time a fit, {len(values)} tails of real maps"
    yield f"thresholds differ by at most {np.abs(np.divide(thresholds['SciPy'], thresholds['project']) - 1).max():.2g} of their value"
    random = np.random.default_rng(0)
    for shape in (-1.5, -1, -0.5, 0, 0.5, 1, 2):
        samples = [np.sort(stats.genpareto.rvs(shape, size=size, random_state=random)) for size in (50, 200, 2000) for _ in range(10)]
        beyond = {name: sum(not fit(sample)[1] > -1 for sample in samples) for name, fit in fits.items()}
        yield f"shape {shape:g}: of 30 samples, shapes of -1 and less, where the likelihood has no maximum: {beyond}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of .mat scenes with ground truth maps")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pixels", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--scipy", action="store_true")
    options = parser.parse_args()
    if options.scipy:
        print(*against_scipy(options.data), sep="\n")
        return
    tables = [real(options.data), *(simulated(pixels, options.seeds) for pixels in options.pixels)]
    print("\n\n".join("\n".join(lines) for lines in tables))


if __name__ == "__main__":
    main()
