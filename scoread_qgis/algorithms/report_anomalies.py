"""Report reviewed anomalies: the accepted regions as a page for browsers and as a PDF by a print layout."""

import contextlib

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterLayer,
)

from ..core.progress import keeping
from ..workflows.parameters import DEVICE
from .base import Algorithm
from .dialogs import best_scene, reviewed_regions
from .files import sources_of
from .inputs import INPUT, device_name, raster_source, region_source
from .parameters import add_settings
from .report_layout import read_layout, template_file, write_pdf

MODEL, REGIONS, REPORT, PDF, TEMPLATE, COUNT = "MODEL", "REGIONS", "REPORT", "PDF", "TEMPLATE", "COUNT"


class ReportAnomalies(Algorithm):
    NAME = "report_anomalies"
    TITLE = "Report reviewed anomalies"
    GROUP = "Anomaly maps"
    TAGS = ("review", "accepted", "report", "pdf", "print layout", "hand on")
    HELP = (
        "Reports the regions that were accepted in the review: what was noted, a picture in natural colour with north and scale, the place "
        "in the CRS of the map and in longitude and latitude, and the spectrum against the background that was expected there. As one page "
        "for a browser, and as a PDF with a sheet for each region, made by a print layout that you can change."
    )
    PRESETS = {INPUT: best_scene, REGIONS: reviewed_regions}

    def declare(self):
        self.add(
            QgsProcessingParameterFeatureSource(REGIONS, "Reviewed regions", [QgsProcessing.SourceType.TypeVectorPolygon]),
            "Regions with a field verdict, as the dock Anomalies fills it in; those that it calls accepted are reported.",
        )
        self.add(QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"), "The scene in which the anomalies were found.")
        self.add(
            QgsProcessingParameterFile(MODEL, "Model", extension="pt", optional=True),
            "The model that explains the regions. Unset: what they were found with, as they tell themselves, learnt again from the scene "
            "where it was learnt from that.",
        )
        self.add(
            QgsProcessingParameterFile(TEMPLATE, "Template of the PDF", extension="qpt", optional=True),
            "A print layout with an atlas. Unset: scoread_report.qpt among the layout templates of your QGIS profile, or else that of the "
            "plugin.",
            advanced=True,
        )
        add_settings(self, DEVICE)
        self.add(
            QgsProcessingParameterFileDestination(REPORT, "Report", "HTML files (*.html)", optional=True),
            "A page with the accepted regions. One file, which opens in any browser, without network.",
        )
        self.add(
            QgsProcessingParameterFileDestination(PDF, "Report as PDF", "PDF files (*.pdf)", optional=True, createByDefault=False),
            "A sheet for each accepted region, from the template.",
        )
        self.addOutput(QgsProcessingOutputNumber(COUNT, "Number of accepted regions"))

    def read(self, parameters, context):
        layer = self.parameterAsRasterLayer(parameters, INPUT, context)
        self.scene = raster_source(layer, "The input")
        (file,) = sources_of(self.parameterDefinition(REGIONS), parameters, context) or (None,)
        self.regions = region_source(self.parameterAsSource(parameters, REGIONS, context), "The regions", file)
        self.model = self.parameterAsFile(parameters, MODEL, context) or None
        self.device = device_name(self, parameters, context)
        self.report = self.parameterAsFileOutput(parameters, REPORT, context)
        self.pdf = self.parameterAsFileOutput(parameters, PDF, context)
        self.template = template_file(self.parameterAsFile(parameters, TEMPLATE, context)) if self.pdf else None
        if self.pdf:
            try:
                read_layout(self.template)  # before the work, so that a wrong one is told at once
            except ValueError as error:
                raise QgsProcessingException(str(error)) from error

    def work(self, run):
        from ..workflows.report_accepted import AcceptedReport, report_accepted

        report = AcceptedReport(self.scene, self.regions, self.report or None, self.model, self.device, self.pdf or None, self.template)
        self.reported = report_accepted(report, run)
        files = {name: path for name, path in ((REPORT, self.report), (PDF, self.pdf)) if path}
        return {COUNT: len(self.reported.regions), **files}

    def save_styles(self):
        if self.pdf:
            with keeping(self.report) if self.report else contextlib.nullcontext():
                write_pdf(self.pdf, self.template, self.reported, self.scene, self.regions.crs, self.feedback)
