"""Extract anomalies: from an anomaly map to polygons, by a threshold with a known false-alarm rate."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from ..translation import tr
from ..workflows.parameters import EXTRACTION
from .base import Algorithm
from .dialogs import best_map
from .inputs import INPUT, raster_source
from .maps import mapped_scene, name_layer, style_mask, style_regions
from .parameters import add_settings, read_settings

MASK, REGIONS, THRESHOLD, COUNT = "MASK", "REGIONS", "THRESHOLD", "COUNT"


class ExtractAnomalies(Algorithm):
    """Its id, threshold_anomalies, is permanent, as designer models and scripts keep it; everything else calls it extraction."""

    NAME = "threshold_anomalies"
    TITLE = "Extract anomalies"
    GROUP = "Anomaly maps"
    TAGS = ("threshold", "regions", "polygons", "otsu", "percentile", "extreme value", "false alarm")
    HELP = (
        "Turns an anomaly map into a list of places: polygons around the pixels above a threshold, ranked by their highest score. By "
        "default the threshold is the score that the background exceeds at the rate given, from a fit of the upper tail of its scores, "
        "which leaves out anomalies that stand out from it."
    )
    NEEDS = ("scipy",)
    PRESETS = {INPUT: best_map}

    def declare(self):
        self.add(
            QgsProcessingParameterRasterLayer(INPUT, "Anomaly map"),
            "Map of any detector, with one band, larger is more anomalous.",
        )
        add_settings(self, *EXTRACTION)
        self.add(
            QgsProcessingParameterVectorDestination(REGIONS, "Regions", QgsProcessing.SourceType.TypeVectorPolygon),
            "GeoPackage of polygons in the CRS of the map, in the order of rank: 1 has the highest peak, which is the highest score of "
            "the map in the region. area is in m² on the ground; "
            "p_value is the probability that a pixel of the background scores higher than the peak; x and y are the centroid.",
        )
        self.add(
            QgsProcessingParameterRasterDestination(MASK, "Mask", optional=True, createByDefault=False),
            "1 for pixels of the regions, 0 elsewhere, nodata where the map has no score.",
        )
        self.addOutput(QgsProcessingOutputNumber(THRESHOLD, "Threshold"))
        self.addOutput(QgsProcessingOutputNumber(COUNT, "Number of regions"))

    def read(self, parameters, context):
        self.map = raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")
        self.settings = read_settings(self, EXTRACTION, parameters, context)
        self.regions = self.parameterAsOutputLayer(parameters, REGIONS, context)
        self.mask = self.parameterAsOutputLayer(parameters, MASK, context)

    def work(self, run):
        from ..workflows.extract import Extraction, extract

        self.threshold, count = extract(Extraction(self.map, self.regions, self.mask or None, **self.settings), run)
        results = {REGIONS: self.regions, THRESHOLD: self.threshold, COUNT: count}
        return {**results, MASK: self.mask} if self.mask else results

    def finish(self, context):
        rate = tr("rate {:g}").format(self.settings["rate"]) if self.settings["method"] == "tail" else ""
        above = tr("threshold {:.4g}").format(self.threshold)
        names = {"scene": mapped_scene(self.map, context), "how": rate or above}
        legend = ", ".join(filter(None, (above, rate)))
        style_regions(self.regions, context, legend)
        name_layer(self.regions, context, self.parameterDefinition(REGIONS), tr("Regions of {scene}, {how}").format(**names))
        if self.mask:
            style_mask(self.mask, context, self.mask in self.replaced, legend)
            name_layer(self.mask, context, self.parameterDefinition(MASK), tr("Mask of {scene}, {how}").format(**names))
