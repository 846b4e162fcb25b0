"""The first light: make a sample scene, train, detect, all through qgis_process, and draw what came out.

What is there and newer than the plugin and what it is made from is not made again.
"""

import os
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
from headless import ROOT, QgisProcess
from osgeo import gdal
from sklearn.metrics import roc_auc_score

gdal.UseExceptions()

SCENE = {"OUTPUT": "scene.tif", "TRUTH": "truth.tif", "LIBRARY": "library.csv"}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        name: str(folder / name)
        for name in (
            "scene.tif",
            "truth.tif",
            "library.csv",
            "model.pt",
            "anomalies.tif",
            "rx.tif",
            "regions.gpkg",
            "identified.gpkg",
            "identified.html",
        )
    }
    start = time.monotonic()
    step("Creating the sample scene", "sample_scene", {}, {each: files[name] for each, name in SCENE.items()})
    scene, model = {"INPUT": files["scene.tif"]}, {"MODEL": files["model.pt"]}
    step("Train SGM", "train_sgm", scene, model)
    step("Detect anomalies", "detect_anomalies", {**scene, **model}, {"OUTPUT": files["anomalies.tif"]})
    step("Detect anomalies (RX), to compare", "detect_rx", scene, {"OUTPUT": files["rx.tif"]})
    step("Extract anomalies", "threshold_anomalies", {"INPUT": files["anomalies.tif"]}, {"REGIONS": files["regions.gpkg"]})
    step(
        "Say what they are", "identify_anomalies", {**scene, "REGIONS": files["regions.gpkg"], "LIBRARIES": files["library.csv"]},
        {"OUTPUT": files["identified.gpkg"], "REPORT": files["identified.html"]},
    )  # fmt: skip
    picture = str(folder / "anomalies.png")
    if not up_to_date([picture], [files["scene.tif"], files["anomalies.tif"]]):
        draw(files["scene.tif"], files["anomalies.tif"], picture)

    truth = read(files["truth.tif"]).ravel()
    auc = {name: roc_auc_score(truth, read(files[name]).ravel()) for name in ("anomalies.tif", "rx.tif")}
    say(
        f"\nDone in {time.monotonic() - start:.0f} s. AUC against the ground truth of the sample: {auc['anomalies.tif']:.4f} (RX: "
        f"{auc['rx.tif']:.4f})"
    )
    for rank, name, share in named(files["identified.gpkg"])[:5]:
        say(f"Anomaly {rank}: {name} (of the background, {share:.2%} matches as well)")
    for name in ("scene.tif", "truth.tif", "model.pt", "anomalies.tif", "anomalies.png", "identified.gpkg", "identified.html"):
        say(f"  {folder / name}")


def step(title, algorithm, inputs, outputs):
    """Run an algorithm, unless its outputs are up to date. inputs, outputs: its parameters that are files."""
    if up_to_date(outputs.values(), inputs.values()):
        say(f"{title}: up to date.")
        return
    say(f"{title} ...")
    qgis().run(f"scoread:{algorithm}", **inputs, **outputs)


@cache
def qgis():
    return QgisProcess()


def up_to_date(outputs, inputs):
    """Whether all outputs are there, and none is older than an input or what makes it."""
    made = [*inputs, ROOT / "build" / "scoread_qgis" / ".built", __file__]
    newest = max(os.path.getmtime(path) for path in made)
    return all(os.path.exists(path) and os.path.getmtime(path) >= newest for path in outputs)


def say(text):
    print(text, flush=True)


def read(path):
    return gdal.Open(path).ReadAsArray()


def named(path):
    """Rank, best match, and share of the background that matches as well, of each region in a GeoPackage."""
    file = gdal.OpenEx(path, gdal.OF_VECTOR)
    return [[feature.GetField(name) for name in ("rank", "match_1", "score_1")] for feature in file.GetLayer(0)]


def draw(scene, anomalies, picture):
    """Draw a colour composite of the scene and the styled map side by side, with the map's legend, as QGIS draws them."""
    from qgis.core import QgsApplication, QgsContrastEnhancement, QgsMultiBandColorRenderer, QgsRasterLayer
    from qgis.PyQt.QtCore import QRect, Qt
    from qgis.PyQt.QtGui import QColor, QFont, QImage, QPainter

    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    application = QgsApplication([], True)
    application.initQgis()
    composite = QgsRasterLayer(scene, "scene")
    dataset = gdal.Open(scene)
    wavelengths = [float(dataset.GetRasterBand(b).GetMetadataItem("wavelength")) for b in range(1, dataset.RasterCount + 1)]
    bands = [int(np.abs(np.array(wavelengths) - wanted).argmin()) + 1 for wanted in (640, 550, 460)]
    renderer = QgsMultiBandColorRenderer(composite.dataProvider(), *bands)
    for band, setter in zip(
        bands, (renderer.setRedContrastEnhancement, renderer.setGreenContrastEnhancement, renderer.setBlueContrastEnhancement)
    ):
        low, high = np.percentile(dataset.GetRasterBand(band).ReadAsArray(), (1, 99)) * dataset.GetRasterBand(band).GetScale()
        stretch = QgsContrastEnhancement(composite.dataProvider().dataType(band))
        stretch.setContrastEnhancementAlgorithm(QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum)
        stretch.setMinimumValue(float(low))
        stretch.setMaximumValue(float(high))
        setter(stretch)
    composite.setRenderer(renderer)
    styled = QgsRasterLayer(anomalies, "anomalies")  # with the style that lies beside it

    side, gap, legend = 480, 20, 110
    image = QImage(2 * side + 3 * gap + legend, side + 60, QImage.Format.Format_RGB32)
    image.fill(QColor("white"))
    painter = QPainter(image)
    painter.setFont(QFont("DejaVu Sans", 12))
    for left, layers, background, title in (
        (gap, [composite], "white", "Colour composite"),
        (2 * gap + side, [styled], "black", "Anomalies"),
    ):
        painter.drawImage(left, 40, render(layers, side, QColor(background)))
        painter.drawText(QRect(left, 8, side, 28), Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, title)
    entries = styled.renderer().legendSymbologyItems()
    for place, (label, color) in enumerate(reversed(entries)):
        top = 40 + place * 28
        opaque = QColor(color)
        opaque.setAlpha(255)
        painter.fillRect(QRect(2 * side + 3 * gap, top, 22, 22), opaque)
        painter.drawText(QRect(2 * side + 3 * gap + 30, top, legend, 22), Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, label)
    painter.end()
    image.save(picture)


def render(layers, side, background):
    from qgis.core import QgsMapRendererParallelJob, QgsMapSettings
    from qgis.PyQt.QtCore import QSize

    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(layers[0].crs())
    settings.setExtent(layers[0].extent())
    settings.setOutputSize(QSize(side, side))
    settings.setBackgroundColor(background)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
