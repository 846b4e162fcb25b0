"""How quick the dock "Anomalies" is: PYTHONPATH=build:/usr/share/qgis/python/plugins QT_QPA_PLATFORM=offscreen python benchmarks/review.py

For maps of 1 and of 25 megapixels: reading the map, and one move of the slider with the canvas shown from full extent to single pixels,
from the move until the canvas is painted. For a scene on disk in each layout (size in GB as argument, by default 1; made in the temporary
folder, or that of TMPDIR, one after the other): opening it, and one click until spectrum, expected background and the most similar spectrum
are there; clicks with nothing of the file in the memory before each, clicks anywhere, and steps of one pixel as with Shift.
"""

import os
import sys
import tempfile
import time

import numpy as np
from osgeo import gdal
from qgis.core import QgsApplication

application = QgsApplication([], True)
application.initQgis()

from processing.core.Processing import Processing  # noqa: E402
from qgis.core import QgsCoordinateReferenceSystem, QgsRectangle  # noqa: E402
from qgis.gui import QgsMapCanvas  # noqa: E402

from scoread_qgis.review.overlay import PixelsAbove  # noqa: E402
from scoread_qgis.review.threshold_tab import ThresholdTab  # noqa: E402
from scoread_qgis.workflows.review_map import ReviewedMap  # noqa: E402
from scoread_qgis.workflows.review_scene import ReviewedScene  # noqa: E402
from scoread_qgis.workflows.run import Run  # noqa: E402
from scoread_qgis.workflows.sources import RasterSource  # noqa: E402

RUN = Run(2**30, log=lambda text: None)


def timed(function):
    started = time.perf_counter()
    result = function()
    return 1000 * (time.perf_counter() - started), result


def slider(side, folder):
    random = np.random.default_rng(0)
    path = os.path.join(folder, f"map{side}.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, side, side, 1, gdal.GDT_Float32)
    dataset.SetGeoTransform((0, 1, 0, 0, 0, -1))
    dataset.GetRasterBand(1).WriteArray(random.gumbel(size=(side, side)).astype(np.float32))
    dataset = None
    reading, reviewed = timed(lambda: ReviewedMap(RasterSource(path), RUN))
    canvas = QgsMapCanvas()
    canvas.resize(1000, 800)
    overlay, tab = PixelsAbove(canvas), ThresholdTab()
    tab.resize(360, 600)
    tab.changed.connect(overlay.set_threshold)
    canvas.show()
    tab.show()
    tab.show_map(reviewed)
    overlay.show_map(reviewed, QgsCoordinateReferenceSystem())
    lines = []
    for shown in (side, side // 4, 100):
        looking, _ = timed(
            lambda shown=shown: (canvas.setExtent(QgsRectangle(0, -shown, shown, 0)), overlay.updatePosition(), canvas.grab())
        )
        moves = [timed(lambda step=step: (tab.slider.setValue(step), tab.grab(), canvas.grab()))[0] for step in range(200, 800, 20)]
        lines.append(f"| {side**2 / 1e6:.0f} Mpx, {shown} px across | {looking:.0f} | {np.median(moves):.0f} | {max(moves):.0f} |")
    counting, _ = timed(lambda: reviewed.regions_above(reviewed.threshold(1e-3)))
    tab.stop()
    print(
        f"map of {side} x {side}: read and fitted in {reading / 1000:.1f} s, regions counted in {counting:.0f} ms (both in the background)"
    )
    return lines


LAYOUTS = {
    "ENVI, by band (BSQ)": ("ENVI", ["INTERLEAVE=BSQ"]),
    "ENVI, by line (BIL)": ("ENVI", ["INTERLEAVE=BIL"]),
    "GeoTIFF, strips by band": ("GTiff", ["INTERLEAVE=BAND", "BIGTIFF=YES"]),
    "GeoTIFF, strips by pixel": ("GTiff", ["INTERLEAVE=PIXEL", "BIGTIFF=YES"]),
    "GeoTIFF, tiles of 256 by pixel": ("GTiff", ["INTERLEAVE=PIXEL", "TILED=YES", "BIGTIFF=YES"]),
    "GeoTIFF, tiles of 256 by pixel, deflated": ("GTiff", ["INTERLEAVE=PIXEL", "TILED=YES", "BIGTIFF=YES", "COMPRESS=DEFLATE"]),
}


def scene(path, driver, options, rows, columns, bands):
    """Smooth fields with noise: what is there is written block by block, nothing is left out of the file."""
    random = np.random.default_rng(0)
    gdal.SetCacheMax(2**30)  # all of a row of tiles
    dataset = gdal.GetDriverByName(driver).Create(path, columns, rows, bands, gdal.GDT_Int16, options)
    slope = np.linspace(500, 2500, columns)[None, None] * np.linspace(0.5, 1.5, bands)[:, None, None]
    for row in range(0, rows, 256):
        height = min(256, rows - row)
        block = slope + random.normal(0, 40, (1, height, columns)) + random.normal(0, 5, (bands, 1, columns))
        dataset.WriteRaster(0, row, columns, height, block.astype(np.int16).tobytes())
    dataset = None
    gdal.SetCacheMax(64 * 2**20)
    os.sync()


def forget(path):
    """Take a file out of the memory, so that it is read from the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def clicks(gigabytes, folder, layout):
    bands, columns = 200, 3000
    rows = int(gigabytes * 2**30 / bands / columns / 2)
    path = os.path.join(folder, "scene.tif" if LAYOUTS[layout][0] == "GTiff" else "scene.dat")
    scene(path, *LAYOUTS[layout], rows, columns, bands)
    size = os.path.getsize(path) / 2**30
    forget(path)
    opening, opened = timed(lambda: ReviewedScene(RasterSource(path), {}, RUN))
    random = np.random.default_rng(1)

    def click(row, column):
        return timed(lambda: opened.most_similar(opened.at_pixel(row, column)))[0]

    cold, warm, steps = [], [], []
    for row, column in zip(random.integers(10, rows - 40, 40).tolist(), random.integers(10, columns - 10, 40).tolist()):
        forget(path)
        cold.append(click(row, column))
    for row, column in zip(random.integers(10, rows - 40, 40).tolist(), random.integers(10, columns - 10, 40).tolist()):
        warm.append(click(row, column))
    row, column = int(random.integers(10, rows - 40)), int(random.integers(10, columns - 40))
    for step in range(30):
        steps.append(click(row + step, column + step))
    opened = None  # which closes the file
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    times = [cold[0], *(figure for each in (cold, warm, steps) for figure in (np.median(each), max(each)))]
    return f"| {layout} | {size:.1f} | {opening:.0f} | {' | '.join(f'{each:.0f}' for each in times)} |"


if __name__ == "__main__":
    Processing.initialize()
    from scoread_qgis.settings import add_settings

    add_settings("ScoreAD")
    with tempfile.TemporaryDirectory() as folder:
        table = slider(1000, folder) + slider(5000, folder)
        print("| map and what the canvas shows | new view, ms | a move, median ms | at most |\n|---|---|---|---|", *table, sep="\n")
    print("| scene | GB | opened, ms | first click | clicks, nothing in the memory | at most | clicks | at most | steps | at most |")
    print("|---" * 10 + "|")
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            print(clicks(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, folder, layout), flush=True)
    os._exit(0)  # without the end of QGIS, which outlives its canvas
