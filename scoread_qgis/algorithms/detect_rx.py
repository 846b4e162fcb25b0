"""Detect anomalies (RX): the detector that every analyst knows, global or local, without a model."""

from qgis.core import (
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)

from ..styles import save_anomaly_style
from .base import Algorithm
from .inputs import BANDS, INPUT, SELECTED_HELP, bands_parameter, mask_parameter, mask_source, raster_source, selected_parameter
from .maps import style_map

MODE, INNER_WINDOW, OUTER_WINDOW, SHRINKAGE, OUTPUT = "MODE", "INNER_WINDOW", "OUTER_WINDOW", "SHRINKAGE", "OUTPUT"


class DetectRX(Algorithm):
    NAME = "detect_rx"
    TITLE = "Detect anomalies (RX)"
    GROUP = "Anomaly detection"
    TAGS = ("rx", "reed-xiaoli", "mahalanobis")
    HELP = (
        "The Reed-Xiaoli detector: how far a spectrum lies from the mean of its background, measured by the background's covariance (squared "
        "Mahalanobis distance). It needs no model, and is the baseline for the others."
    )

    def declare(self):
        self.add(QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"), "Raster with many spectral bands.")
        self.add(bands_parameter(INPUT), "Bands to use. Unset: all good bands, which the log names.")
        self.add(mask_parameter(), "Polygons or raster (not 0) that say where to look; they are the background too. Unset: everywhere.")
        self.add(selected_parameter(), SELECTED_HELP)
        self.add(
            QgsProcessingParameterEnum(MODE, "Background", ["Global", "Local"], defaultValue=0),
            "Global: all valid pixels of the scene. Local: those between an inner and an outer window around each pixel, much slower.",
        )
        self.add(
            QgsProcessingParameterNumber(INNER_WINDOW, "Inner window", defaultValue=5, minValue=1, maxValue=999),
            "Local only. Odd width in pixels of the window whose pixels do not count as background: larger than the anomalies.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber(OUTER_WINDOW, "Outer window", defaultValue=15, minValue=3, maxValue=1001),
            "Local only. Odd width in pixels of the window whose pixels are the background.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber(
                SHRINKAGE, "Shrinkage", QgsProcessingParameterNumber.Type.Double, optional=True, minValue=0, maxValue=1
            ),
            "Local only. Share of the mean variance in the covariance, 0 to 1. Unset: chosen in each window after Ledoit and Wolf, so that "
            "windows may hold fewer pixels than bands.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterRasterDestination(OUTPUT, "RX map"),
            "Squared Mahalanobis distance, Float32, on the grid of the scene. Larger is more anomalous.",
        )

    def read(self, parameters, context):
        self.scene = raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")
        self.bands = self.parameterAsInts(parameters, BANDS, context)
        self.mask = mask_source(self, parameters, context)
        self.local = self.parameterAsEnum(parameters, MODE, context) == 1
        self.settings = {}
        if self.local:
            self.settings = {
                "inner": self.parameterAsInt(parameters, INNER_WINDOW, context),
                "outer": self.parameterAsInt(parameters, OUTER_WINDOW, context),
                "shrinkage": None if parameters.get(SHRINKAGE) is None else self.parameterAsDouble(parameters, SHRINKAGE, context),
            }
        self.output = self.parameterAsOutputLayer(parameters, OUTPUT, context)

    def work(self, run):
        from ..workflows.detect import Detection, detect

        kind = "rx-local" if self.local else "rx"
        detect(Detection(self.scene, self.output, kind=kind, settings=self.settings, bands=self.bands, mask=self.mask), run)
        return {OUTPUT: self.output}

    def save_styles(self):
        self.style = save_anomaly_style(self.output, self.output in self.replaced)

    def finish(self, context):
        style_map(self.output, context, self.style)
