"""Detect anomalies (RX): the detector that every analyst knows, global or local, without a model."""

from qgis.core import QgsProcessingParameterRasterDestination, QgsProcessingParameterRasterLayer

from ..styles import save_anomaly_style
from ..workflows.parameters import LEARN_AREA, LOCAL_RX, RX_BACKGROUND
from .base import Algorithm
from .dialogs import best_scene
from .inputs import (
    BANDS,
    EXTENT_HELP,
    INPUT,
    SELECTED_HELP,
    bands_parameter,
    extent_parameter,
    extent_value,
    mask_parameter,
    mask_source,
    raster_source,
    selected_parameter,
)
from .maps import name_map, style_map
from .parameters import add_settings, read_settings

OUTPUT = "OUTPUT"


class DetectRX(Algorithm):
    NAME = "detect_rx"
    TITLE = "Detect anomalies (RX)"
    GROUP = "Anomaly detection"
    TAGS = ("rx", "reed-xiaoli", "mahalanobis")
    HELP = (
        "The Reed-Xiaoli detector: how far a spectrum lies from the mean of its background, measured by the background's covariance "
        "(squared Mahalanobis distance). It needs no model, and is the baseline for the others."
    )
    PRESETS = {INPUT: best_scene}

    def declare(self):
        self.add(QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"), "Raster with many spectral bands.")
        self.add(bands_parameter(INPUT), "Bands to use. Unset: all good bands, which the log names.")
        self.add(
            mask_parameter(), "Polygons or raster (not 0) that say where to look, and where the background is learnt. Unset: everywhere."
        )
        self.add(selected_parameter(), SELECTED_HELP)
        self.add(extent_parameter(), EXTENT_HELP)
        add_settings(self, LEARN_AREA, RX_BACKGROUND, *LOCAL_RX)
        self.add(
            QgsProcessingParameterRasterDestination(OUTPUT, "RX map"),
            "Squared Mahalanobis distance, Float32, on the grid of the scene. Larger is more anomalous.",
        )

    def read(self, parameters, context):
        self.scene = raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")
        self.bands = self.parameterAsInts(parameters, BANDS, context)
        self.mask = mask_source(self, parameters, context)
        self.extent = extent_value(self, parameters, context)
        self.learn_area = read_settings(self, (LEARN_AREA,), parameters, context)["learn_area"]
        self.kind = read_settings(self, (RX_BACKGROUND,), parameters, context)["mode"]
        self.settings = read_settings(self, LOCAL_RX, parameters, context) if self.kind == "rx-local" else {}
        self.output = self.parameterAsOutputLayer(parameters, OUTPUT, context)

    def work(self, run):
        from ..workflows.detect import Detection, detect

        detection = Detection(
            self.scene,
            self.output,
            kind=self.kind,
            settings=self.settings,
            bands=self.bands,
            mask=self.mask,
            extent=self.extent,
            learn_area=self.learn_area,
        )
        detect(detection, run)
        return {OUTPUT: self.output}

    def save_styles(self):
        self.style = save_anomaly_style(self.output, self.output in self.replaced)

    def finish(self, context):
        style_map(self.output, context, self.style)
        name_map(self.output, context, self.parameterDefinition(OUTPUT), self.scene.name, rx=True)
