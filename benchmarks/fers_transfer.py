"""Transfer of FERS: train on five scenes, detect on the sixth, for each of six. Prints the table of docs/fers.md.

    PYTHONPATH=. python benchmarks/fers_transfer.py <folder of .mat scenes> [--threads 1] [--seed 0] [--backbone 1 --weights FILE FILE
    --device cuda]

The folder holds the ABU and San Diego scenes as MATLAB files (`data`, `map`). The first 188 bands are used. The truth is
read for the AUC alone: the last epoch counts, the seeds of the untrained networks are 0, 1 and 2, and no setting depends on a scene.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from scipy.stats import rankdata

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.fers import FERS
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.detectors.shared.statistics import GaussianStatistics, MahalanobisDistance

SCENES = ["abu-airport-1", "abu-airport-4", "abu-beach-1", "abu-urban-1", "abu-urban-3", "sandiego"]
BANDS = 188
UNTRAINED_SEEDS = (0, 1, 2)


def auc(truth, scores):
    """Area under the ROC curve."""
    ranks, positive = rankdata(scores.ravel()), truth.ravel() > 0
    count = positive.sum()
    return (ranks[positive].sum() - count * (count + 1) / 2) / (count * (positive.size - count))


def collect(parts):
    return np.concatenate([scores for _, scores in parts])


def rx_of_spectral_features(detector, cube):
    """RX of input + f_spe, the map of the spectral branch alone."""
    scene, sums = detector.scene(cube), []
    for block in cube.blocks(detector.spectral.halo):
        sums += [x + f_spe for _, _, x, f_spe, _ in detector.features(block, scene)]
    statistics = GaussianStatistics()
    for part in sums:
        statistics.add(part)
    distance = MahalanobisDistance(statistics)
    return torch.cat([distance(part) for part in sums]).cpu().numpy()


def timed(work, *arguments, **settings):
    start = time.perf_counter()
    result = work(*arguments, **settings)
    return result, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of .mat scenes with ground truth maps")
    parser.add_argument("--backbone", type=int, default=0)
    parser.add_argument("--weights", nargs="*", default=())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = {"backbone": arguments.backbone, "backbone_weights": arguments.weights, "device": arguments.device}

    cubes, truths = {}, {}
    for name in SCENES:
        scene = loadmat(arguments.data / f"{name}.mat")
        cubes[name], truths[name] = ArrayCube(scene["data"][..., :BANDS].astype(np.float32)), scene["map"]
    columns = ["raw RX", "untrained, mean (sd)", "spectral branch", "FERS", "autoencoder"]
    print("| scene | " + " | ".join(columns) + " | training s | RX s | detection s | ratio |", flush=True)
    print("|---" * (len(columns) + 5) + "|", flush=True)
    rows = []
    for name in SCENES:
        cube, truth, others = cubes[name], truths[name], [cubes[other] for other in SCENES if other != name]
        untrained = [auc(truth, collect(FERS.train(others, epochs=0, seed=seed, **settings).detect(cube))) for seed in UNTRAINED_SEEDS]
        detector, training_time = timed(FERS.train, others, seed=arguments.seed, **settings)
        collect(detector.detect(cube))  # the first call of a network pays for its preparation
        rx, rx_time = timed(collect, GlobalRX().detect(cube))
        fers, fers_time = timed(collect, detector.detect(cube))
        spectral = rx_of_spectral_features(detector, cube)
        autoencoder = collect(detector.detect(cube, readout="autoencoder"))
        rows.append([auc(truth, rx), *untrained, auc(truth, spectral), auc(truth, fers), auc(truth, autoencoder)])
        times = f"{training_time:.0f} | {rx_time:.2f} | {fers_time:.2f} | {fers_time / rx_time:.1f}"
        print(f"| {name} | {table_row(rows[-1])} | {times} |", flush=True)
    print(f"| mean | {table_row(np.mean(rows, 0))} | | | | |")


def table_row(values):
    raw, *untrained, spectral, fers, autoencoder = values
    return f"{raw:.4f} | {np.mean(untrained):.4f} ({np.std(untrained, ddof=1):.4f}) | {spectral:.4f} | {fers:.4f} | {autoencoder:.4f}"


if __name__ == "__main__":
    main()
