"""Evaluate anomaly maps: how well maps tell known anomalies from the background."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterMultipleLayers,
)

from ..workflows.parameters import SEED
from .base import Algorithm
from .dialogs import maps_to_compare, truth_map
from .inputs import SELECTED_HELP, mask_source, raster_source, selected_parameter
from .parameters import add_settings, read_settings

INPUTS, TRUTH, REPORT, TABLE, AUC, AP = "INPUTS", "TRUTH", "REPORT", "TABLE", "AUC", "AVERAGE_PRECISION"


class EvaluateAnomalies(Algorithm):
    NAME = "evaluate_anomalies"
    TITLE = "Evaluate anomaly maps"
    GROUP = "Anomaly maps"
    TAGS = ("evaluation", "truth", "roc", "auc", "accuracy", "report")
    HELP = (
        "Judges one or several anomaly maps by ground truth: ROC curve and AUC, average precision, detection rates at false-alarm rates, "
        "and the 3-D ROC family of the field, with 95 % bootstrap intervals. All maps are judged over the same pixels. The ground truth is "
        "used for this and nothing else."
    )
    NEEDS = ("scipy",)
    PRESETS = {INPUTS: maps_to_compare, TRUTH: truth_map}

    def declare(self):
        polygon = QgsProcessing.SourceType.TypeVectorPolygon
        raster = QgsProcessing.SourceType.TypeRaster
        self.add(
            QgsProcessingParameterMultipleLayers(INPUTS, "Anomaly maps", raster),
            "Maps of one scene on one grid, larger is more anomalous. A map on another grid is refused, with the reason.",
        )
        self.add(
            QgsProcessingParameterMapLayer(TRUTH, "Ground truth", types=[raster, polygon]),
            "Where the anomalies are: polygons around them, or a raster with 0 for background and anything else for anomalies. Aligned to "
            "the maps by nearest neighbour. Where a raster has nodata or does not reach, nothing is evaluated.",
        )
        self.add(selected_parameter(), SELECTED_HELP)
        add_settings(self, SEED)
        self.add(
            QgsProcessingParameterFileDestination(REPORT, "Report", "HTML files (*.html)", optional=True),
            "All numbers with their intervals, ROC curves, separability and the maps beside the ground truth, in one HTML file that opens "
            "without network.",
        )
        self.add(
            QgsProcessingParameterFileDestination(TABLE, "Table", "CSV files (*.csv)", optional=True, createByDefault=False),
            "The same numbers as CSV, one row per map; the bounds of the interval of each in the columns that end in _low and _high.",
        )
        self.addOutput(QgsProcessingOutputNumber(AUC, "AUC-ROC of the first map"))
        self.addOutput(QgsProcessingOutputNumber(AP, "Average precision of the first map"))

    def read(self, parameters, context):
        self.maps = [raster_source(layer, "One of the anomaly maps") for layer in self.parameterAsLayerList(parameters, INPUTS, context)]
        self.truth = mask_source(self, parameters, context, TRUTH, "The ground truth")
        self.settings = read_settings(self, (SEED,), parameters, context)
        self.report = self.parameterAsFileOutput(parameters, REPORT, context)
        self.table = self.parameterAsFileOutput(parameters, TABLE, context)

    def work(self, run):
        from ..workflows.evaluate import Assessment, assess

        first = assess(Assessment(self.maps, self.truth, self.report, self.table, **self.settings), run)[0]
        files = {name: path for name, path in ((REPORT, self.report), (TABLE, self.table)) if path}
        return {**files, AUC: first.values["auc"], AP: first.values["average_precision"]}
