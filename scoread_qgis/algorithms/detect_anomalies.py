"""Detect anomalies: the anomaly map of a scene, by a model that Train SGM or Train FERS made."""

from qgis.core import QgsProcessingParameterFile, QgsProcessingParameterRasterDestination, QgsProcessingParameterRasterLayer

from ..styles import save_anomaly_style
from ..workflows.parameters import DETECTION, DEVICE, LEARN_AREA, SEED
from .base import Algorithm
from .inputs import (
    BANDS,
    EXTENT_HELP,
    INPUT,
    REPORT,
    REPORT_HELP,
    SELECTED_HELP,
    bands_parameter,
    device_name,
    extent_parameter,
    extent_value,
    mask_parameter,
    mask_source,
    raster_source,
    report_parameter,
    selected_parameter,
)
from .maps import style_map
from .parameters import add_settings, read_settings

MODEL, OUTPUT = "MODEL", "OUTPUT"


class DetectAnomalies(Algorithm):
    NAME = "detect_anomalies"
    TITLE = "Detect anomalies"
    GROUP = "Anomaly detection"
    TAGS = ("score", "fers", "scoread", "map")
    HELP = (
        "Maps how poorly each pixel of a scene fits what a model has learnt: the model of Train SGM, or of Train FERS. Needs no labels and no "
        "threshold. The map has the grid and CRS of the scene; larger is more anomalous."
    )

    def declare(self):
        self.add(QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"), "Raster with the bands that the model was trained on.")
        self.add(QgsProcessingParameterFile(MODEL, "Model", extension="pt"), "Model file made by Train SGM or Train FERS.")
        self.add(bands_parameter(INPUT), "Bands to choose from. Unset: those of the model, by wavelength where known, else by number.")
        self.add(mask_parameter(), "Polygons or raster (not 0) that say where to look. Unset: everywhere.")
        self.add(selected_parameter(), SELECTED_HELP)
        self.add(extent_parameter(), EXTENT_HELP)
        add_settings(self, LEARN_AREA, SEED, DEVICE, *DETECTION)
        self.add(
            QgsProcessingParameterRasterDestination(OUTPUT, "Anomaly map"),
            "Anomaly score, Float32, on the grid and CRS of the scene; nodata where a band has no data. Larger is more anomalous.",
        )
        self.add(report_parameter(), REPORT_HELP)

    def read(self, parameters, context):
        self.scene = raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")
        self.model = self.parameterAsFile(parameters, MODEL, context)
        self.bands = self.parameterAsInts(parameters, BANDS, context)
        self.mask = mask_source(self, parameters, context)
        self.extent = extent_value(self, parameters, context)
        self.learn_area = read_settings(self, (LEARN_AREA,), parameters, context)["learn_area"]
        self.device = device_name(self, parameters, context)
        self.options = read_settings(self, (SEED, *DETECTION), parameters, context)
        self.output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        self.report = self.parameterAsFileOutput(parameters, REPORT, context)

    def work(self, run):
        from ..workflows.detect import Detection, detect

        detection = Detection(
            self.scene,
            self.output,
            self.model,
            bands=self.bands,
            mask=self.mask,
            options=self.options,
            seed=self.options["seed"],
            device=self.device,
            report=self.report,
            extent=self.extent,
            learn_area=self.learn_area,
        )
        detect(detection, run)
        return {OUTPUT: self.output, **({REPORT: self.report} if self.report else {})}

    def save_styles(self):
        self.style = save_anomaly_style(self.output, self.output in self.replaced)

    def finish(self, context):
        style_map(self.output, context, self.style)
