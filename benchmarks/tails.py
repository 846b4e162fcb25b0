"""False-alarm rates that the fit of the background's tail obtains: PYTHONPATH=. python benchmarks/tails.py <folder of .mat scenes>.

Prints two tables of obtained over requested rates: simulated backgrounds, without and with anomalies far up, and real scenes, with the
anomalies of their ground truth maps removed and left in. Rates are those of the background: of the distribution where it is simulated, of
the pixels that the truth does not mark where it is real.
"""

import argparse
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
    from scoread_qgis.core.cube import ArrayCube
    from scoread_qgis.decisions.tail import Tail
    from scoread_qgis.detectors.default_mode.sgm import SGM
    from scoread_qgis.detectors.rx import GlobalRX
    from scoread_qgis.scenes.matlab import read_matlab

    heads = [f"anomalies {way}, {rate:g}" for way in ("removed", "left in") for rate in RATES]
    lines = ["| scene | map | anomalous pixels | " + " | ".join(heads) + " |", "|---" * (3 + len(heads)) + "|"]
    for path in sorted(folder.glob("*.mat")):
        scene = read_matlab(path)
        cube = ArrayCube(scene.cube)
        for name, detector in (("default mode", SGM.train([cube], seed=0)), ("RX", GlobalRX())):
            scores = np.concatenate([rows for _, rows in detector.detect(cube)])
            background = scores[scene.truth == 0]
            cells = []
            for fitted in (background, scores):
                tail = Tail.fit(fitted)
                cells += [f"{(background > tail.threshold(rate)).mean() / rate:.2f}" for rate in RATES]
            lines.append(f"| {path.stem} | {name} | {np.count_nonzero(scene.truth)} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of .mat scenes with ground truth maps")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pixels", type=int, nargs="+", default=[10_000, 1_000_000])
    options = parser.parse_args()
    tables = [real(options.data), *(simulated(pixels, options.seeds) for pixels in options.pixels)]
    print("\n\n".join("\n".join(lines) for lines in tables))


if __name__ == "__main__":
    main()
