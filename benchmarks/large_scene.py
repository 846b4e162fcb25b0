"""A scene that does not fit into memory: PYTHONPATH=. python benchmarks/large_scene.py <folder>
[--rows 3000 --columns 4000 --bands 200]

Makes a synthetic int16 scene (4.8 GB by default) and one of a tenth of its rows in the folder, trains and detects in both as the algorithms
do, each in a process of its own, and reports pixels a second, the shares of reading, arithmetic and writing, and peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from osgeo import gdal


def make_scene(path, rows, columns, bands):
    """A simulated landscape repeated over the scene, every repetition with new illumination and noise; INTERLEAVE=BAND, not compressed."""
    from scoread_qgis.scenes.simulated import simulate_scene

    tile = simulate_scene(200, 250, bands, seed=0).cube.astype(np.float32)
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), columns, rows, bands, gdal.GDT_Int16, ["INTERLEAVE=BAND", "BIGTIFF=YES"])
    generator = np.random.default_rng(0)
    for row in range(0, rows, 50):
        count = min(50, rows - row)
        strip = np.tile(tile[row % 200 : row % 200 + count], (1, -(-columns // 250), 1))[:, :columns]
        strip = strip * generator.normal(1, 0.02, (count, columns, 1)).astype(np.float32)
        strip += generator.normal(0, 8, strip.shape).astype(np.float32)
        dataset.WriteArray(np.ascontiguousarray(strip.astype(np.int16).transpose(2, 0, 1)), 0, row)
    dataset.FlushCache()


class Watch:
    """Adds up the time that is spent in a function."""

    def __init__(self, function):
        self._function, self.seconds = function, 0.0

    def __call__(self, *arguments):
        start = time.perf_counter()
        result = self._function(*arguments)
        self.seconds += time.perf_counter() - start
        return result


def arithmetic_share(model, cube):
    """Share of the time of detection, without reading, that is spent inside of torch's operators, by torch's profiler, on the first rows.

    One thread, since the profiler adds up the calling thread alone. numpy's share is not counted, so the true share is larger.
    """
    from scoread_qgis.core.cube import ArrayCube

    top = ArrayCube(*cube.read(0, min(cube.rows, 64)), rows_per_block=64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    list(model.detect(top))
    start = time.perf_counter()
    list(model.detect(top))
    total = time.perf_counter() - start
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        list(model.detect(top))
    torch.set_num_threads(threads)
    return min(sum(event.self_cpu_time_total for event in profile.key_averages()) / 1e6 / total, 1.0)


def worker(path, memory):
    """Train and detect in one scene; prints the figures as JSON."""
    from scoread_qgis.detectors.default_mode.sgm import SGM
    from scoread_qgis.scenes.raster import RasterCube, RasterFile, choose_bands
    from scoread_qgis.scenes.writer import MapWriter

    start = time.perf_counter()
    raster = RasterFile(path)
    cube = RasterCube(raster, choose_bands(raster, memory=memory).numbers, memory=memory)
    model = SGM.train([cube])
    trained = time.perf_counter()
    cube.read = reading = Watch(cube.read)
    with MapWriter(f"{path}.anomalies.tif", raster, "Anomaly score") as writer:
        writing = Watch(writer.write)
        for row, scores in model.detect(cube):
            writing(row, scores)
        found = time.perf_counter()
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "pixels": cube.rows * cube.columns,
                "train": trained - start,
                "detect": found - trained,
                "finish": done - found,
                "read": reading.seconds,
                "write": writing.seconds,
                "arithmetic": arithmetic_share(model, cube),
                "rows_per_block": cube.rows_per_block,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=4000)
    parser.add_argument("--bands", type=int, default=200)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.memory)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    with open("/proc/meminfo", encoding="ascii") as lines:
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    print(f"Memory setting: a quarter of the {free / 2**20:.0f} MB that are free.\n")
    print("| scene | GB | train s | detect s | pixels/s | µs/pixel | reading | arithmetic and reading | writing | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for rows in (options.rows // 10, options.rows):
        path = options.folder / f"large_{rows}_{options.columns}_{options.bands}.tif"
        if not path.exists():
            make_scene(path, rows, options.columns, options.bands)
        done = subprocess.run(
            [sys.executable, __file__, str(options.folder), "--worker", str(path), "--memory", str(free // 4)],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        r = json.loads(done.stdout)
        print(
            f"| {rows} × {options.columns} × {options.bands} | {path.stat().st_size / 1e9:.2f} | {r['train']:.1f} | "
            f"{r['detect'] + r['finish']:.1f} | {r['pixels'] / (r['detect'] + r['finish']):.0f} | "
            f"{(r['detect'] + r['finish']) / r['pixels'] * 1e6:.1f} "
            f"| {r['read'] / r['detect']:.0%} | "
            f"{r['read'] / r['detect'] + r['arithmetic'] * (r['detect'] - r['read'] - r['write']) / r['detect']:.0%} | "
            f"{(r['write'] + r['finish']) / r['detect']:.0%} | {r['peak']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
