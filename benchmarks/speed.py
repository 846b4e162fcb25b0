"""How fast, against the published method and against RX in the same run, and how cost grows:
`PYTHONPATH=. python benchmarks/speed.py <scene.mat> [--only floor|local|devices|published|growth]`.

The floor is what no detector of this kind goes below: the matrix products alone, reading the scene alone, writing the map alone, in
microseconds a pixel of one thread's processor time, in turns with global RX and with the default mode. Devices are the CPU with all
threads, and CUDA and MPS where they are; without one, it says so.

Local RX is timed against the same windows worked on one by one, as version 0.2 did, in turns; the floor is the Cholesky factor of a matrix
for each pixel, which these need.

The published training (100 epochs of batch 16) and readout (K = 100 passes over the whole scene, one after the other, as its authors coded
it) are timed on a few hundred steps and a few passes, and extrapolated.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from osgeo import gdal

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.paper_mode.unet import ScoreUNet
from scoread_qgis.detectors.rx import GlobalRX, LocalRX
from scoread_qgis.detectors.shared.local_products import products_by_windows
from scoread_qgis.detectors.shared.sde import VESDE
from scoread_qgis.detectors.shared.training import train_score_network
from scoread_qgis.detectors.shared.weights import draw_weights
from scoread_qgis.scenes.matlab import read_matlab
from scoread_qgis.scenes.raster import RasterCube, RasterFile
from scoread_qgis.scenes.writer import write_scene

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


def products(model, spectra):
    """The matrix products of the default mode on spectra (n, bands) and nothing else, triangular ones in half."""
    network, whitening = model.network, model.surroundings.whitening.projection
    units = spectra @ network.spectral
    units @ network.mixing
    spectra @ whitening
    for distance, vectors in ((model.distances["gaussian"], spectra), (model.distances["features"], units)):
        for part in distance._folded[1]:
            vectors[:, : len(part)] @ part


def print_floor(values, cube):
    """What one thread takes at least, and what it takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model, pixels = SGM.train([cube]), values.shape[0] * values.shape[1]
    spectra = torch.from_numpy(values).flatten(0, 1)
    with tempfile.TemporaryDirectory() as folder:
        path, target = str(Path(folder) / "scene.tif"), str(Path(folder) / "map.tif")
        write_scene(path, np.clip(values, -32000, 32000).astype(np.int16), geotransform=(0, 1, 0, 0, 0, -1))
        on_disk = RasterCube(RasterFile(path), range(1, values.shape[2] + 1))

        def read():
            for _ in on_disk.blocks():
                pass

        def write():
            driver = gdal.GetDriverByName("GTiff")
            driver.Create(target, values.shape[1], values.shape[0], 1, gdal.GDT_Float32).WriteArray(values[..., 0])

        works = {
            "matrix products alone": lambda: [products(model, part) for part in spectra.split(4096)],
            "reading alone, int16": read,
            "writing alone": write,
            "global RX": lambda: detect(GlobalRX(), cube),
            "default mode, detect": lambda: detect(model, cube),
            "default mode, train": lambda: SGM.train([cube]),
        }
        found = {name: [] for name in works}
        with torch.inference_mode():
            for _ in range(7):
                for name, work in works.items():
                    start = time.process_time()
                    work()
                    found[name].append((time.process_time() - start) / pixels * 1e6)
    torch.set_num_threads(threads)
    rx = np.median(found["global RX"])
    print("\n| one thread | µs a pixel | ratio to global RX |\n|---|---|---|")
    for name, times in found.items():
        print(f"| {name} | {np.median(times):.1f} | {np.median(times) / rx:.2f} |", flush=True)


def print_local(values):
    """Local RX, and its windows one by one: microseconds a pixel of one thread's processor time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(
        "\n| local RX, one thread | windows | one by one | now | times as fast | Cholesky alone | largest difference, of the map's range |"
    )
    print("|---|---|---|---|---|---|---|")
    for bands in (100, 200):
        chosen = np.linspace(0, values.shape[2] - 1, min(bands, values.shape[2])).astype(int)
        cube = ArrayCube(np.ascontiguousarray(values[:64, :, chosen]))
        matrices = torch.eye(cube.bands, dtype=torch.float64).expand(64, -1, -1) + 0.001
        for inner, outer in ((5, 15), (3, 11), (5, 31)):
            scorer, times, found = LocalRX(inner, outer).bind(cube), {}, {}
            area = 16, 40, 0, cube.columns

            def by_windows(scorer=scorer, cube=cube, area=area):
                windows, block = scorer.windows, next(cube.within(*area).row_blocks(scorer.context))
                none, chosen = torch.empty(0, cube.bands, dtype=torch.float64), block.valid[block.inner]
                scores = np.full(chosen.shape, np.nan, np.float32)
                scores[chosen] = products_by_windows(cube, block, windows, block.valid, none, chosen, lambda share: None)[:, 0, 0]
                return scores

            works = {
                "one by one": by_windows,
                "now": lambda scorer=scorer, area=area: np.concatenate([scores for _, scores in scorer.map(None, area)]),
                "Cholesky": lambda matrices=matrices: torch.linalg.cholesky_ex(matrices),
            }
            for _ in range(5):
                for name, work in works.items():
                    start = time.process_time()
                    found[name] = work()
                    pixels = len(matrices) if name == "Cholesky" else found[name].size
                    times.setdefault(name, []).append((time.process_time() - start) / pixels * 1e6)
            one, now, floor = (np.median(times[name]) for name in works)
            difference = np.nanmax(np.abs(found["now"] - found["one by one"])) / np.nanmax(found["one by one"])
            print(
                f"| {cube.bands} bands | {inner} and {outer} | {one:.0f} | {now:.0f} | {one / now:.1f} | {floor:.0f} | {difference:.0e} |",
                flush=True,
            )
    torch.set_num_threads(threads)


def print_devices(values):
    """The same megapixel on every device there is."""
    devices = [name for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if there]
    if not devices:
        print("\nThere is no GPU here that PyTorch can use: nothing was measured on CUDA or MPS.")
    side = 1000
    tiled = np.tile(values, (-(-side // values.shape[0]), -(-side // values.shape[1]), 1))[:side, :side]
    large = ArrayCube(tiled * np.random.default_rng(0).normal(1, 0.01, (side, side, 1)).astype(np.float32), rows_per_block=256)
    print(f"\n| device | train s | detect s, {side * side:,} × {values.shape[2]} | times the CPU | largest difference of the map |")
    print("|---|---|---|---|---|")
    expected, of_cpu = None, 0.0
    for name in ["cpu", *devices]:
        start = time.perf_counter()
        model = SGM.train([large], device=name)
        train = time.perf_counter() - start
        detect(model, large.within(0, 256))  # warm up
        start = time.perf_counter()
        found = np.concatenate([rows for _, rows in model.detect(large)])
        took = time.perf_counter() - start
        expected, of_cpu = (found, took) if expected is None else (expected, of_cpu)
        difference = np.abs(found - expected).max()
        print(f"| {name} | {train:.2f} | {took:.2f} | {of_cpu / took:.1f} | {difference:.1e} |", flush=True)


def print_published(values, cube):
    scaled = torch.from_numpy((values - values.min()) / np.ptp(values)).flatten(0, 1)
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


def print_growth(values):
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


def main():
    parser = argparse.ArgumentParser(description="How fast.")
    parser.add_argument("scene", type=Path)
    parser.add_argument("--only", choices=("floor", "local", "devices", "published", "growth"))
    arguments = parser.parse_args()
    values = read_matlab(arguments.scene).cube.astype(np.float32)
    cube = ArrayCube(values)
    print(f"{arguments.scene.name}: {' x '.join(map(str, values.shape))}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    parts = {
        "floor": lambda: print_floor(values, cube),
        "local": lambda: print_local(values),
        "published": lambda: print_published(values, cube),
        "growth": lambda: print_growth(values),
        "devices": lambda: print_devices(values),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            part()


if __name__ == "__main__":
    main()
