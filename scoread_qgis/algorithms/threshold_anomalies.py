"""Extract anomalies: from an anomaly map to polygons, by a threshold with a known false-alarm rate."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from .base import Algorithm, optional_values
from .inputs import INPUT, raster_source
from .maps import style_mask, style_regions

METHOD, RATE, PERCENTILE, VALUE, MIN_AREA, CONNECTIVITY = "METHOD", "RATE", "PERCENTILE", "VALUE", "MIN_AREA", "CONNECTIVITY"
MASK, REGIONS, THRESHOLD, COUNT = "MASK", "REGIONS", "THRESHOLD", "COUNT"
METHODS = {"False-alarm rate": "tail", "Percentile": "percentile", "Otsu": "otsu", "Value": "value"}
CONNECTIVITIES = {"8, by corners too": 8, "4, by sides": 4}


class ThresholdAnomalies(Algorithm):
    NAME = "threshold_anomalies"
    TITLE = "Extract anomalies"
    GROUP = "Anomaly maps"
    TAGS = ("threshold", "regions", "polygons", "otsu", "percentile", "extreme value", "false alarm")
    HELP = (
        "Turns an anomaly map into a list of places: polygons round the pixels above a threshold, ranked by their highest score. By default the "
        "threshold is the score that the background exceeds at the rate given, from a fit of the upper tail of its scores, which leaves out "
        "anomalies that stand out from it."
    )
    NEEDS = ("scipy",)

    def declare(self):
        real = QgsProcessingParameterNumber.Type.Double
        self.add(
            QgsProcessingParameterRasterLayer(INPUT, "Anomaly map"),
            "Map of any detector, with one band, larger is more anomalous.",
        )
        self.add(
            QgsProcessingParameterEnum(METHOD, "Threshold by", list(METHODS), defaultValue=0),
            "False-alarm rate: from a fit of the tail of the background. Percentile: a share of all pixels. Otsu: two classes, apart as far as "
            "can be, for maps in which anomalies are many. Value: a score.",
        )
        self.add(
            QgsProcessingParameterNumber(RATE, "False-alarm rate", real, defaultValue=0.001, minValue=1e-12, maxValue=0.5),
            "Share of the pixels of the background that may lie above the threshold. 0.001 is ten pixels of a scene of 100 × 100.",
        )
        self.add(
            QgsProcessingParameterNumber(PERCENTILE, "Percentile", real, defaultValue=99, minValue=0, maxValue=100),
            "Method Percentile only: how many per cent of the pixels lie below the threshold, more than 0 and less than 100.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber(VALUE, "Value", real, optional=True),
            "Method Value only: the score above which a pixel is anomalous.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber(MIN_AREA, "Smallest region", defaultValue=1, minValue=1),
            "In pixels. Smaller regions are left out of all results.",
        )
        self.add(
            QgsProcessingParameterEnum(CONNECTIVITY, "Connectivity", list(CONNECTIVITIES), defaultValue=0),
            "Whether pixels that share a corner only belong to one region.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterVectorDestination(REGIONS, "Regions", QgsProcessing.SourceType.TypeVectorPolygon),
            "GeoPackage of polygons in the CRS of the map, in the order of rank: 1 has the highest peak. area is in m² on the ground; p_value is "
            "the probability that a pixel of the background scores higher than the peak; x and y are the centroid.",
        )
        self.add(
            QgsProcessingParameterRasterDestination(MASK, "Mask", optional=True, createByDefault=False),
            "1 for pixels of the regions, 0 elsewhere, nodata where the map has no score.",
        )
        self.addOutput(QgsProcessingOutputNumber(THRESHOLD, "Threshold"))
        self.addOutput(QgsProcessingOutputNumber(COUNT, "Number of regions"))

    def read(self, parameters, context):
        self.map = raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")
        self.method = list(METHODS.values())[self.parameterAsEnum(parameters, METHOD, context)]
        self.connectivity = list(CONNECTIVITIES.values())[self.parameterAsEnum(parameters, CONNECTIVITY, context)]
        self.min_area = self.parameterAsInt(parameters, MIN_AREA, context)
        self.options = optional_values(self, parameters, context, reals=(RATE, PERCENTILE, VALUE))
        self.regions = self.parameterAsOutputLayer(parameters, REGIONS, context)
        self.mask = self.parameterAsOutputLayer(parameters, MASK, context)

    def work(self, run):
        from ..workflows.extract import extract_anomalies

        threshold, count = extract_anomalies(
            self.map,
            self.regions,
            run,
            self.mask or None,
            self.method,
            **self.options,
            min_pixels=self.min_area,
            connectivity=self.connectivity,
        )
        results = {REGIONS: self.regions, THRESHOLD: threshold, COUNT: count}
        return {**results, MASK: self.mask} if self.mask else results

    def finish(self, context):
        style_regions(self.regions, context)
        if self.mask:
            style_mask(self.mask, context, self.mask in self.replaced)
