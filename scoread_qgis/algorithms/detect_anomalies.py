"""Detect anomalies: the anomaly map of a scene, by what is learnt from the scene itself or by a model file."""

from qgis.core import (
    QgsProcessingOutputNumber,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)

from ..styles import save_anomaly_style
from ..workflows.parameters import DETECTION, DEVICE, LARGEST, LEARN_AREA, SEED, UNFIT
from .base import Algorithm
from .dialogs import best_scene, last_model
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
from .maps import name_map, style_map
from .parameters import add_settings, read_settings

MODEL, OUTPUT, FIT = "MODEL", "OUTPUT", "FIT"


class DetectAnomalies(Algorithm):
    NAME = "detect_anomalies"
    TITLE = "Detect anomalies"
    GROUP = "Anomaly detection"
    TAGS = ("score", "fers", "scoread", "map")
    HELP = (
        "Maps how poorly each pixel of a scene fits its background. Without a model the background is learnt first, from the scene itself, "
        "in seconds. With a model of Train SGM or Train FERS it is the background of the scenes that the model was trained on; whether "
        "this scene fits it is measured first. Needs no labels and no threshold. The map has the grid and CRS of the scene; larger is more "
        "anomalous."
    )
    PRESETS = {INPUT: best_scene, MODEL: last_model}

    def declare(self):
        self.add(
            QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"),
            "Raster with many spectral bands; with a model, those that it was trained on.",
        )
        self.add(
            QgsProcessingParameterFile(MODEL, "Model", extension="pt", optional=True),
            "Model file made by Train SGM or Train FERS. Unset: the scene is learnt first, in the default mode, and no file is kept. "
            "The dialog opens with the last model of the project.",
        )
        self.add(
            bands_parameter(INPUT),
            "Bands to choose from. Unset: those of the model, by wavelength where known, else by number; or all good ones.",
        )
        self.add(mask_parameter(), "Polygons or raster (not 0) that say where to look. Unset: everywhere.")
        self.add(selected_parameter(), SELECTED_HELP)
        self.add(extent_parameter(), EXTENT_HELP)
        add_settings(self, LEARN_AREA, LARGEST, UNFIT, SEED, DEVICE, *DETECTION)
        self.add(
            QgsProcessingParameterRasterDestination(OUTPUT, "Anomaly map"),
            "Anomaly score, Float32, on the grid and CRS of the scene; nodata where a band has no data. Larger is more anomalous.",
        )
        self.add(report_parameter(), REPORT_HELP)
        self.addOutput(QgsProcessingOutputNumber(FIT, "How well the scene fits the model, 0 to 1"))

    def read(self, parameters, context):
        self.scene = raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")
        self.model = self.parameterAsFile(parameters, MODEL, context) or None
        self.unfit = read_settings(self, (UNFIT,), parameters, context)["unfit"]
        self.bands = self.parameterAsInts(parameters, BANDS, context)
        self.mask = mask_source(self, parameters, context)
        self.extent = extent_value(self, parameters, context)
        self.where = read_settings(self, (LEARN_AREA, LARGEST), parameters, context)
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
            **self.where,
            unfit=self.unfit,
        )
        ready = detect(detection, run)
        results = {OUTPUT: self.output, **({REPORT: self.report} if self.report else {})}
        return results if ready.fit is None else {**results, FIT: ready.fit}

    def save_styles(self):
        self.style = save_anomaly_style(self.output, self.output in self.replaced)

    def finish(self, context):
        style_map(self.output, context, self.style)
        name_map(self.output, context, self.parameterDefinition(OUTPUT), self.scene.name)
