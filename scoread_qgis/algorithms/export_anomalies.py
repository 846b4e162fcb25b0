"""Export reviewed anomalies: the accepted regions as a file that others read."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFileDestination,
)

from .base import Algorithm
from .dialogs import reviewed_regions
from .files import sources_of
from .inputs import region_source

REGIONS, OUTPUT, COUNT = "REGIONS", "OUTPUT", "COUNT"
_FORMATS = "GeoPackage (*.gpkg);;GeoJSON (*.geojson);;KML (*.kml);;CSV (*.csv)"


class ExportAnomalies(Algorithm):
    NAME = "export_anomalies"
    TITLE = "Export reviewed anomalies"
    GROUP = "Anomaly maps"
    TAGS = ("review", "accepted", "geojson", "kml", "csv", "geopackage", "hand on")
    HELP = (
        "Writes the regions that were accepted in the review to a file that others read, with their notes, all their other fields, and "
        "their longitudes and latitudes. GeoPackage keeps the CRS of the regions, GeoJSON and KML are in longitude and latitude, CSV has "
        "both and no outlines."
    )
    NEEDS = ()
    PRESETS = {REGIONS: reviewed_regions}

    def declare(self):
        self.add(
            QgsProcessingParameterFeatureSource(REGIONS, "Reviewed regions", [QgsProcessing.SourceType.TypeVectorPolygon]),
            "Regions with a field verdict, as the dock Anomalies fills it in; those that it calls accepted are written.",
        )
        self.add(
            QgsProcessingParameterFileDestination(OUTPUT, "Accepted regions", _FORMATS),
            "The suffix tells the format: .gpkg, .geojson, .kml or .csv.",
        )
        self.addOutput(QgsProcessingOutputNumber(COUNT, "Number of accepted regions"))

    def read(self, parameters, context):
        (file,) = sources_of(self.parameterDefinition(REGIONS), parameters, context) or (None,)
        self.regions = region_source(self.parameterAsSource(parameters, REGIONS, context), "The regions", file)
        self.output = self.parameterAsFileOutput(parameters, OUTPUT, context)

    def work(self, run):
        from ..workflows.export_accepted import Export, export_accepted

        return {COUNT: export_accepted(Export(self.regions, self.output), run), OUTPUT: self.output}
