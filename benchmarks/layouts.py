"""The same pixels in files of different layouts: PYTHONPATH=. python benchmarks/layouts.py <folder>
[--rows 512 --columns 2000 --bands 60 --memory 200]

Makes the files in the folder and detects in each, by global RX and, with a model trained once, in the default mode, each in a process of
its own. Prints time, peak memory above that before the detection, and what decompression alone takes: one pass of GDAL over the file, by
rows of blocks. No layout should take more than one and a half times the best one and what its decompression alone takes; the last lines
say which does.
"""

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np
from osgeo import gdal

TILES = ["TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512"]
LAYOUTS = {  # name -> driver, options of creation
    "GeoTIFF, strips": ("GTiff", ["INTERLEAVE=BAND"]),
    "GeoTIFF, strips, by pixel": ("GTiff", ["INTERLEAVE=PIXEL"]),
    "GeoTIFF, tiles": ("GTiff", [*TILES, "INTERLEAVE=BAND"]),
    "GeoTIFF, tiles, by pixel": ("GTiff", [*TILES, "INTERLEAVE=PIXEL"]),
    "GeoTIFF, tiles, deflate": ("GTiff", [*TILES, "INTERLEAVE=BAND", "COMPRESS=DEFLATE"]),
    "COG, deflate": ("COG", ["COMPRESS=DEFLATE", "OVERVIEWS=NONE"]),
    "ENVI BSQ": ("ENVI", ["INTERLEAVE=BSQ"]),
    "ENVI BIL": ("ENVI", ["INTERLEAVE=BIL"]),
    "ENVI BIP": ("ENVI", ["INTERLEAVE=BIP"]),
    "VRT of 20 files": ("VRT", []),
    "HDF5, chunks, deflate": ("HDF5", []),  # the last, as it takes longest
}


def make_scene(path, rows, columns, bands):
    """A simulated landscape repeated over the scene, with new noise everywhere."""
    from scoread_qgis.scenes.simulated import simulate_scene

    tile = simulate_scene(128, 200, bands, seed=0).cube.astype(np.float32).transpose(2, 0, 1)
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), columns, rows, bands, gdal.GDT_Int16, ["INTERLEAVE=BAND", "BIGTIFF=YES"])
    dataset.SetGeoTransform((0, 1, 0, 0, 0, -1))
    random = np.random.default_rng(0)
    for row in range(0, rows, 64):
        count = min(64, rows - row)
        strip = np.tile(tile[:, row % 128 : row % 128 + count], (1, 1, -(-columns // 200)))[..., :columns]
        dataset.WriteArray((strip + random.normal(0, 8, strip.shape)).astype(np.int16), 0, row)


def make_layout(source, folder, name):
    """The file of a layout; it is made if it is not there."""
    driver, options = LAYOUTS[name]
    stem = "".join(letter if letter.isalnum() else "_" for letter in name)
    path = folder / f"{stem}.{ {'GTiff': 'tif', 'COG': 'tif', 'ENVI': 'img', 'HDF5': 'nc', 'VRT': 'vrt'}[driver] }"
    if path.exists():
        return path
    if driver == "HDF5":
        import h5py

        dataset = gdal.Open(str(source))
        rows, columns, bands = dataset.RasterYSize, dataset.RasterXSize, dataset.RasterCount
        with h5py.File(path, "w") as file:
            chunks = min(rows, 128), min(columns, 128), bands
            cube = file.create_dataset("reflectance", (rows, columns, bands), "i2", chunks=chunks, compression="gzip")
            for row in range(0, rows, 128):
                cube[row : row + 128] = dataset.ReadAsArray(0, row, columns, min(128, rows - row)).transpose(1, 2, 0)
            for axis, (dimension, size) in enumerate((("downtrack", rows), ("crosstrack", columns), ("bands", bands))):
                file.create_dataset(dimension, data=np.zeros(size, np.float32)).make_scale(dimension)
                cube.dims[axis].attach_scale(file[dimension])
    elif driver == "VRT":
        dataset, parts = gdal.Open(str(source)), []
        rows = -(-dataset.RasterYSize // 20)
        for row in range(0, dataset.RasterYSize, rows):
            parts.append(str(folder / f"part_{row}.tif"))
            window = [0, row, dataset.RasterXSize, min(rows, dataset.RasterYSize - row)]
            gdal.Translate(parts[-1], dataset, srcWin=window, creationOptions=["TILED=YES", "BLOCKXSIZE=128", "BLOCKYSIZE=16"])
        gdal.BuildVRT(str(path), parts).FlushCache()
    else:
        gdal.Translate(str(path), str(source), format=driver, creationOptions=options)
    return path


def peak():
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measured(path, detector, memory, map_path):
    """Seconds of processor time and of the clock, and megabytes, of one detection, or of "decoding" alone."""
    from scoread_qgis.detectors.model_file import Model
    from scoread_qgis.detectors.rx import GlobalRX
    from scoread_qgis.scenes.raster import RasterCube, RasterFile
    from scoread_qgis.workflows.outputs import write_map

    gdal.UseExceptions()
    raster = RasterFile(path)
    cube = RasterCube(raster, range(1, raster.count + 1), memory=memory)
    if detector == "decoding":
        gdal.SetCacheMax(2**31)
        dataset = None if path.endswith(".nc") else gdal.Open(path)
        before, start, work = peak(), time.perf_counter(), time.process_time()
        for row in range(0, raster.rows, raster.blocks.rows):
            count = min(raster.blocks.rows, raster.rows - row)
            if dataset is None:
                raster.read_bands(row, row + count, range(1, raster.count + 1))  # which decodes each chunk once
            else:
                dataset.ReadRaster(0, row, raster.columns, count)
    else:
        model = GlobalRX() if detector == "rx" else Model.load(detector, "cpu").detector
        list(model.detect(cube.within(0, 8, 0, min(cube.columns, 500))))  # what PyTorch takes for itself at first
        before, start, work = peak(), time.perf_counter(), time.process_time()
        write_map(map_path, raster, "score", model.bind(cube).pieces())
    return {"wall": time.perf_counter() - start, "cpu": time.process_time() - work, "peak": peak() - before}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--columns", type=int, default=2000)
    parser.add_argument("--bands", type=int, default=60)
    parser.add_argument("--memory", type=int, default=200, help="MB")
    parser.add_argument("--rx-only", action="store_true", help="without the default mode")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)  # before the processes are forked
    gdal.UseExceptions()
    folder = options.folder / f"{options.rows}_{options.columns}_{options.bands}"
    folder.mkdir(parents=True, exist_ok=True)
    source, model = folder / "scene.tif", folder / "model.pt"
    if not source.exists():
        make_scene(source, options.rows, options.columns, options.bands)
    detectors = ["rx"]
    if not options.rx_only:
        from scoread_qgis.detectors.default_mode.sgm import SGM
        from scoread_qgis.detectors.model_file import Model
        from scoread_qgis.scenes.raster import RasterCube, RasterFile

        cube = RasterCube(RasterFile(str(source)), range(1, options.bands + 1))
        Model(SGM.train([cube.within(0, options.rows, 0, min(200, options.columns))]), options.bands).save(str(model))
        detectors.append(str(model))
    print(f"{options.rows} x {options.columns} x {options.bands} int16, {options.memory} MB, one thread\n")
    print(
        "| layout | decoding alone, CPU s | RX, CPU s | RX, s | RX, MB |"
        + " default, CPU s | default, s | default, MB |" * (len(detectors) - 1)
    )
    print("|---|---|---|---|---|" + "---|---|---|" * (len(detectors) - 1))
    decoding, seconds = {}, {detector: {} for detector in detectors}
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for name in LAYOUTS:
            path = str(make_layout(source, folder, name))
            decoding[name] = pool.apply(measured, (path, "decoding", 2**30, ""))["cpu"]
            line = f"| {name} | {decoding[name]:.2f} |"
            for detector in detectors:
                found = pool.apply(measured, (path, detector, options.memory * 2**20, str(folder / "map.tif")))
                seconds[detector][name] = found["cpu"]
                line += f" {found['cpu']:.2f} | {found['wall']:.2f} | {found['peak']:.0f} |"
            print(line, flush=True)
    print()
    for detector, taken in seconds.items():
        best = min(taken.values())
        shares = {name: (taken[name] - decoding[name]) / best for name in taken}
        worst = max(shares, key=shares.get)
        print(f"{Path(detector).stem}: {worst} takes most, {shares[worst]:.2f} times the best ({best:.2f} s) and its decompression alone.")


if __name__ == "__main__":
    main()
