"""The PDF of Report reviewed anomalies: the atlas of a print layout, with a sheet for each accepted region.

The layout is a template that users can change: resources/report_template.qpt, or a copy of it in the profile. It finds the scene and the
outlines of the regions in its map, and everything else in the fields of the feature of the atlas, see `FIELDS`.
"""

import os
import tempfile
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsExpressionContextUtils,
    QgsFeature,
    QgsFeedback,
    QgsGeometry,
    QgsLayoutExporter,
    QgsPrintLayout,
    QgsProject,
    QgsRasterLayer,
    QgsReadWriteContext,
    QgsSingleSymbolRenderer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtXml import QDomDocument

from ..core.files import cannot_be_written, unfinished_file
from ..core.progress import Cancelled
from ..styles import outline, show_in_colour
from .main_thread import on_main_thread

# Of the feature of the atlas, all of them texts.
FIELDS = (
    "title", "scene", "rank", "id", "verdict", "note", "reviewed", "x", "y", "longitude", "latitude", "crs", "area", "pixels", "peak",
    "mean", "p_value", "bands", "colours", "spectra", "made",
)  # fmt: skip
_TEMPLATE = Path(__file__).parents[1] / "resources" / "report_template.qpt"
_COPY = Path("composer_templates", "scoread_report.qpt")  # in the profile, where QGIS keeps templates of layouts
_DPI = 200


def template_file(chosen=""):
    """The template to take: the one that was chosen, or else the user's copy in the profile, or else that of the plugin."""
    copy = Path(QgsApplication.qgisSettingsDirPath()) / _COPY
    return chosen or str(copy if copy.is_file() else _TEMPLATE)


def read_layout(path):
    """The XML of a template. Raises ValueError, with the remedy, where it is not one with an atlas."""
    document = QDomDocument()
    try:
        read = document.setContent(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The template {path} cannot be read: {error}. Choose a layout template of QGIS (.qpt).") from error
    if not (read if isinstance(read, bool) else read[0]) or document.documentElement().tagName() != "Layout":
        raise ValueError(f"{path} is not a layout template. Save one in QGIS' layout window: Layout > Save as Template.")
    if document.documentElement().firstChildElement("Atlas").isNull():
        raise ValueError(f"The template {path} has no atlas, and so no sheet for each region. Start from that of the plugin, {_TEMPLATE}.")
    return document


def write_pdf(path, template, reported, scene, regions_crs, feedback):
    """Write the sheets of all regions to `path`. Called on the thread of an algorithm; the layout is drawn on that of the window.

    template: file. reported: `workflows.report_accepted.Reported`. scene: `RasterSource`. regions_crs: WKT of the regions' own.
    feedback: of the algorithm. Raises ValueError, with the remedy, where it cannot be written, and `Cancelled`.
    """
    with tempfile.TemporaryDirectory() as folder, unfinished_file(path, "report", ending=".pdf") as part:
        figures = []
        for number, each in enumerate(reported.regions):
            figures.append(os.path.join(folder, f"{number}.svg") if each.spectra else "")
            if each.spectra:
                Path(figures[-1]).write_bytes(each.spectra)

        def draw():
            return _draw(str(part), read_layout(template), reported, figures, scene, regions_crs, feedback)

        result, message = on_main_thread(draw)
        if result == QgsLayoutExporter.ExportResult.Canceled or feedback.isCanceled():
            raise Cancelled
        if result != QgsLayoutExporter.ExportResult.Success or not part.is_file():
            raise cannot_be_written(path, "report", OSError(None, message or "the layout cannot be drawn"))


def _draw(path, document, reported, figures, scene, regions_crs, feedback):
    """Export the layout, sheet by sheet, while the window goes on answering. Returns result and message."""
    project = QgsProject()
    raster = QgsRasterLayer(scene.source, scene.name, "gdal")
    raster.setCrs(QgsCoordinateReferenceSystem.fromWkt(scene.crs) if scene.crs else QgsCoordinateReferenceSystem())
    if raster.bandCount() >= max(number for number, _, _ in reported.limits):  # as GDAL opens it, and so with all bands
        show_in_colour(raster, reported.limits)
    crs = raster.crs()
    project.setCrs(crs)
    if crs.isValid():
        project.setEllipsoid("EPSG:7030")  # so that the scale bar is in metres on the ground
    outlines = _layer(crs, ())
    outlines.setRenderer(QgsSingleSymbolRenderer(outline("#00ffff", 0.4)))
    coverage = _layer(crs, FIELDS)
    _fill(outlines, coverage, reported, figures, regions_crs, project)
    project.addMapLayers([outlines, raster])
    project.addMapLayer(coverage, False)  # not among those that the map shows
    layout = QgsPrintLayout(project)
    layout.initializeDefaults()
    layout.loadFromTemplate(document, QgsReadWriteContext())
    QgsExpressionContextUtils.setLayoutVariable(layout, "scoread_crs", reported.facts["crs"])
    atlas = layout.atlas()
    atlas.setCoverageLayer(coverage)
    atlas.setEnabled(True)
    settings, told = QgsLayoutExporter.PdfExportSettings(), QgsFeedback()
    settings.dpi, count = _DPI, len(reported.regions)

    def go_on(percent):
        feedback.setProgress(percent)
        feedback.setProgressText(f"sheet {round(percent / 100 * count)} of {count}")
        QCoreApplication.processEvents()
        if feedback.isCanceled():
            told.cancel()

    told.progressChanged.connect(go_on)
    QCoreApplication.processEvents()
    result, message = QgsLayoutExporter.exportToPdf(atlas, path, settings, told)
    return result, message


def _layer(crs, fields):
    """A layer of polygons in memory, with texts as fields."""
    text = "&".join(["MultiPolygon", *(f"field={name}:string(0)" for name in fields)]).replace("&", "?", 1)
    layer = QgsVectorLayer(text, "regions", "memory")
    layer.setCrs(crs)
    return layer


def _fill(outlines, coverage, reported, figures, regions_crs, project):
    """Put the regions into `outlines`, and the outline of each picture, with what its sheet says, into `coverage`."""
    source = QgsCoordinateReferenceSystem.fromWkt(regions_crs) if regions_crs else coverage.crs()
    to_scene = QgsCoordinateTransform(source, coverage.crs(), project)
    drawn, sheets = [], []
    for each, figure in zip(reported.regions, figures):
        region, frame = QgsGeometry(), QgsGeometry()
        region.fromWkb(each.shape)
        region.transform(to_scene)
        if each.footprint is not None:
            frame.fromWkb(each.footprint)
        else:
            frame = QgsGeometry.fromRect(region.boundingBox())
        drawn.append(QgsFeature())
        drawn[-1].setGeometry(region)
        values = {**reported.facts, **{name.replace("-", "_").split(" ")[0]: text for name, text in each.sheet.facts}}
        sheets.append(QgsFeature(coverage.fields()))
        sheets[-1].setGeometry(frame)
        sheets[-1].setAttributes([{**values, "title": each.sheet.title, "spectra": figure}.get(name, "") for name in FIELDS])
    outlines.dataProvider().addFeatures(drawn)
    coverage.dataProvider().addFeatures(sheets)
    coverage.updateExtents()
    outlines.updateExtents()
