"""Finding more of the same: implanted targets in the public scenes, beside Spectral Python and RX. Gives the tables of docs/similar.md.

    python benchmarks/similar.py ../shared/data

In each scene the largest connected region of its ground truth is what a user has outlined; the other known anomalies are masked. Pixels of
that region are mixed into 20 background pixels, drawn at random, with the shares 5, 10 and 20 %. Each detector is told the mean spectrum of
the region; the thresholds are those that Extract anomalies finds at false-alarm rates of 0.01 and 0.001. Detected is what scores above.
False alarms are background pixels above: neither implanted nor in the region. Needs scipy and spectral.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.decisions.tail import Tail
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.detectors.target import ACE, MatchedFilter
from scoread_qgis.detectors.target.own_pixels import OwnPixels

RATES, SHARES, IMPLANTS = (1e-2, 1e-3), (0.05, 0.1, 0.2), 20
OURS = {"matched filter": MatchedFilter, "ACE": ACE}


def scene_of(path):
    """Cube (rows, columns, bands) float32 and the ground truth of a scene."""
    from scipy.io import loadmat

    content = loadmat(path)
    return content["data"].astype(np.float32), content["map"] > 0


def largest_region(truth):
    from scipy import ndimage

    labels, _ = ndimage.label(truth, np.ones((3, 3)))
    return labels == np.bincount(labels[truth]).argmax()


def implanted(values, truth, region, share, seed):
    """The scene with implants, and where they are."""
    from scipy import ndimage

    random = np.random.default_rng(seed)
    free = np.argwhere(~ndimage.binary_dilation(truth, iterations=3))
    places = free[random.choice(len(free), IMPLANTS, replace=False)]
    inside = values[region]
    mixed = values.copy()
    for row, column in places:
        mixed[row, column] = (1 - share) * values[row, column] + share * inside[random.integers(len(inside))]
    where = np.zeros_like(truth)
    where[tuple(places.T)] = True
    return mixed, where


def run(detector, values, valid=None):
    return np.concatenate([rows for _, rows in detector.detect(ArrayCube(values, valid))])


def maps(values, valid, region, local):
    """Name -> scores of each detector that is told the mean of a region."""
    import spectral

    target, exact = values[region].mean(0, dtype=np.float64), values.astype(np.float64)
    own = OwnPixels(np.argwhere(region))
    statistics = spectral.calc_stats(exact[valid])
    found = {
        "RX": run(GlobalRX(), values, valid),
        "SPy matched_filter": spectral.matched_filter(exact, target, statistics),
        "SPy ace": spectral.ace(exact, target, statistics),
    }
    for name, kind in OURS.items():
        for background in ("global", "trimmed", *(("local",) if local else ())):
            found[f"{name}, {background}"] = run(kind(target[None], own=own, background=background), values, valid)
    return found


def detection(folder, seeds, local):
    counts = {}
    for path in sorted([*folder.glob("scenes/*.mat"), *folder.glob("more-scenes/*.mat")]):
        values, truth = scene_of(path)
        region = largest_region(truth)
        valid = ~truth | region
        for seed in range(seeds):
            for share in SHARES:
                mixed, where = implanted(values, truth, region, share, seed)
                for name, scores in maps(mixed, valid, region, local).items():
                    tail = Tail.fit(scores[valid & np.isfinite(scores)])
                    background = scores[valid & ~region & ~where]
                    for rate in RATES:
                        threshold, exact = tail.threshold(rate), np.nanquantile(background, 1 - rate)
                        counts.setdefault((name, share, rate), []).append(
                            (np.mean(scores[where] > threshold), np.mean(background > threshold), np.mean(scores[where] > exact))
                        )
        print(
            path.stem,
            {name: round(float(np.mean(each[-seeds:], 0)[0]), 2) for (name, *which), each in counts.items() if which == [0.1, 1e-2]},
        )
        sys.stdout.flush()
    names = list(dict.fromkeys(name for name, *_ in counts))
    columns = [(rate, share) for rate in RATES for share in SHARES]
    head = "| detector | " + " | ".join(f"{share:.0%} at {rate:g}" for rate, share in columns) + " |\n|---" + "|---" * len(columns) + "|"
    print(f"\nDetected at the fitted threshold, (false-alarm rate obtained); means over the scenes and {seeds} seeds\n\n{head}")
    for name in names:
        cells = [np.mean(counts[name, share, rate], axis=0) for rate, share in columns]
        print(f"| {name} | " + " | ".join(f"{cell[0]:.3f} ({cell[1]:.1e})" for cell in cells) + " |")
    print(f"\nDetected where exactly the rate of the background lies above the threshold\n\n{head}")
    for name in names:
        print(f"| {name} | " + " | ".join(f"{np.mean(counts[name, share, rate], axis=0)[2]:.3f}" for rate, share in columns) + " |")


def speed(folder, rounds):
    """Seconds of one scene, interleaved; the median of the rounds."""
    import spectral

    values, truth = scene_of(folder / "scenes" / "abu-airport-1.mat")
    target, exact = values[largest_region(truth)].mean(0, dtype=np.float64), values.astype(np.float64)
    own, cube = OwnPixels(np.argwhere(largest_region(truth))), ArrayCube(values)

    def ours(kind):
        return np.concatenate([rows for _, rows in kind(target[None], own=own, background="global").detect(cube)])

    work = {
        "matched filter": lambda: ours(MatchedFilter),
        "SPy matched_filter": lambda: spectral.matched_filter(exact, target),
        "ACE": lambda: ours(ACE),
        "SPy ace": lambda: spectral.ace(exact, target),
    }
    small, some = values[:40, :40, ::4], target[::4]
    windows = {"background": "local", "inner_window": 3, "outer_window": 11, "shrinkage": 0}
    work["ACE, local, 40 × 40 × 52"] = lambda: run(ACE(some[None], **windows), small)
    work["SPy ace, window"] = lambda: spectral.ace(small.astype(np.float64), some, window=(3, 11))
    seconds = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, each in work.items():
            start = time.perf_counter()
            each()
            seconds[name].append(time.perf_counter() - start)
    for name, each in seconds.items():
        print(f"{name}: {np.median(each[1:]):.3f} s")  # the first round warms up


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with scenes/ and more-scenes/")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="with local backgrounds, which take minutes a scene")
    parser.add_argument("--speed", type=int, metavar="ROUNDS", help="measure times instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    speed(options.data, options.speed) if options.speed else detection(options.data, options.seeds, options.local)
