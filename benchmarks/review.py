"""How quick the dock "Anomalies" is: PYTHONPATH=build:/usr/share/qgis/python/plugins QT_QPA_PLATFORM=offscreen python benchmarks/review.py

For maps of 1 and of 25 megapixels: reading the map, and one move of the slider with the canvas shown from full extent to single pixels,
from the move until the canvas is painted. For a scene on disk (size in GB as argument, by default 1; it is made in the temporary folder):
opening it, and one click until spectrum, expected background and the most similar spectrum are there.
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


def clicks(gigabytes, folder):
    bands, columns = 200, 2000
    rows = int(gigabytes * 2**30 / bands / columns / 2)
    path = os.path.join(folder, "scene.dat")
    random = np.random.default_rng(0)
    with open(path, "wb") as file:
        for _ in range(bands):
            band = random.integers(500, 3000, (64, columns)).astype("<i2")
            for row in range(0, rows, 64):
                file.write(band[: min(64, rows - row)].tobytes())
    with open(os.path.join(folder, "scene.hdr"), "w", encoding="utf-8") as file:
        file.write(f"ENVI\nsamples = {columns}\nlines = {rows}\nbands = {bands}\ndata type = 2\ninterleave = bsq\nbyte order = 0\n")
    os.sync()
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # so that it is read from the disk
    os.close(descriptor)
    opening, scene = timed(lambda: ReviewedScene(RasterSource(path), {}, RUN))
    took = []
    for row, column in zip(random.integers(10, rows - 10, 20).tolist(), random.integers(10, columns - 10, 20).tolist()):
        took.append(timed(lambda row=row, column=column: scene.most_similar(scene.at_pixel(row, column)))[0])
    print(
        f"scene of {gigabytes} GB, {rows} x {columns} pixels, {bands} bands, by band: opened in {opening:.0f} ms; a click: "
        f"{np.median(took):.0f} ms, {max(took):.0f} ms at most"
    )


if __name__ == "__main__":
    Processing.initialize()
    from scoread_qgis.settings import add_settings

    add_settings("ScoreAD")
    with tempfile.TemporaryDirectory() as folder:
        table = slider(1000, folder) + slider(5000, folder)
        print("| map and what the canvas shows | new view, ms | a move, median ms | at most |\n|---|---|---|---|", *table, sep="\n")
        clicks(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, folder)
    os._exit(0)  # without the end of QGIS, which outlives its canvas
