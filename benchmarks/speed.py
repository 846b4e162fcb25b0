"""How fast, against the published method and against RX in the same run, and how cost grows: python benchmarks/speed.py <scene.mat>

The published training (100 epochs of batch 16) and readout (K = 100 passes over the whole scene, one after the other, as its authors coded
it) are timed on a few hundred steps and a few passes, and extrapolated.
"""

import sys
import time

import numpy as np
import torch

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.paper_mode.unet import ScoreUNet
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.detectors.shared.sde import VESDE
from scoread_qgis.detectors.shared.training import train_score_network
from scoread_qgis.detectors.shared.weights import draw_weights
from scoread_qgis.scenes.matlab import read_matlab

STEPS, PASSES, EPOCHS, BATCH, K = 300, 3, 100, 16, 100


def seconds(work, repeats=1):
    """Median time of `work()`."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def detect(detector, cube):
    for _ in detector.detect(cube):
        pass


def published(spectra):
    """Seconds that the published training and readout take on spectra (pixels, bands), extrapolated."""
    network, sde = draw_weights(ScoreUNet(spectra.shape[1]), torch.Generator().manual_seed(0)), VESDE()
    step = seconds(lambda: train_score_network(network, spectra, sde, STEPS, BATCH, 3e-5, (1e-5, 1.0))) / STEPS

    def one_pass():
        with torch.inference_mode():
            t = torch.full((len(spectra),), 0.05)
            score = network(sde.perturb(spectra, t, torch.randn_like(spectra)), t) / sde.std(t)[:, None]
            score / score.norm(dim=1, keepdim=True)

    one_pass()
    return step * EPOCHS * -(-len(spectra) // BATCH), seconds(one_pass, PASSES) * K


def main(path):
    scene = read_matlab(path)
    values = scene.cube.astype(np.float32)
    cube = ArrayCube(values)
    scaled = torch.from_numpy((values - values.min()) / np.ptp(values)).flatten(0, 1)
    print(f"{path}: {' x '.join(map(str, values.shape))}, {torch.get_num_threads()} threads")
    detect(GlobalRX(), cube)  # warm up
    rx = seconds(lambda: detect(GlobalRX(), cube), 7)
    model = SGM.train([cube])
    train, found = seconds(lambda: SGM.train([cube]), 3), seconds(lambda: detect(model, cube), 5)
    paper_train, paper_readout = published(scaled)
    paper = PaperSGM.train([cube], epochs=1, samples=256)
    chunked = seconds(lambda: detect(paper, ArrayCube(values[:10]))) * len(values) / 10
    print("\n| | seconds | ratio |\n|---|---|---|")
    print(f"| global RX | {rx:.3f} | |")
    print(f"| default mode, train | {train:.2f} | |")
    print(f"| default mode, detect | {found:.3f} | {found / rx:.1f} times global RX |")
    print(f"| published training, from {STEPS} steps | {paper_train:.0f} | |")
    print(
        f"| published readout, from {PASSES} of {K} passes | {paper_readout:.0f} | {paper_readout / found:.0f} times the default's "
        "detection |"
    )
    print(
        f"| paper mode of this project, readout, from 10 rows | {chunked:.0f} | {paper_readout / chunked:.1f} times faster than as "
        "published |"
    )
    total = (paper_train + paper_readout) / (train + found)
    print(f"| published, train + detect | {paper_train + paper_readout:.0f} | {total:.0f} times the default's train + detect |")

    print("\n| pixels | train s | detect s | detect, µs a pixel | global RX s |\n|---|---|---|---|---|")
    for factor in (1, 10, 100):
        rows, columns = (values.shape[0] * factor // int(factor**0.5), values.shape[1] * int(factor**0.5))
        tiled = np.tile(values, (-(-rows // values.shape[0]), -(-columns // values.shape[1]), 1))[:rows, :columns]
        tiled = tiled * np.random.default_rng(0).normal(1, 0.01, (*tiled.shape[:2], 1)).astype(np.float32)
        large = ArrayCube(tiled, rows_per_block=max(1, 2**16 // columns))
        pixels = rows * columns
        start = time.perf_counter()
        model = SGM.train([large])
        train = time.perf_counter() - start
        found = seconds(lambda model=model, large=large: detect(model, large))
        rx = seconds(lambda large=large: detect(GlobalRX(), large))
        print(f"| {pixels:,} | {train:.2f} | {found:.2f} | {found / pixels * 1e6:.1f} | {rx:.2f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
