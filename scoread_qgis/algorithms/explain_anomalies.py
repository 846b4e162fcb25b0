"""Explain anomalies: why a model finds some places anomalous, as a report and a table."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterLayer,
)

from ..workflows.parameters import DEVICE, TOP
from .base import Algorithm
from .dialogs import best_scene, last_model, regions_found
from .files import sources_of
from .inputs import BANDS, INPUT, bands_parameter, device_name, files_named, raster_source, region_source
from .parameters import add_settings, read_settings

MODEL, REGIONS, LIBRARIES, REPORT, TABLE, SPECTRA, COUNT = "MODEL", "REGIONS", "LIBRARIES", "REPORT", "TABLE", "SPECTRA", "COUNT"


class ExplainAnomalies(Algorithm):
    NAME = "explain_anomalies"
    TITLE = "Explain anomalies"
    GROUP = "Anomaly maps"
    TAGS = ("report", "spectrum", "bands", "evidence", "why")
    HELP = (
        "Shows why a model finds some places anomalous: their mean spectrum against the background spectrum that the model expected there, "
        "the bands that contribute most to the anomaly value, and the most similar spectrum elsewhere in the scene. Takes the regions of "
        "Extract anomalies, or any polygons or points."
    )
    PRESETS = {INPUT: best_scene, MODEL: last_model, REGIONS: regions_found}

    def declare(self):
        self.add(QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"), "The scene in which the anomalies were found.")
        self.add(
            QgsProcessingParameterFile(MODEL, "Model", extension="pt"),
            "The model that found them: file made by Train SGM or Train FERS. The dialog opens with the last one of the project.",
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                REGIONS, "Regions", [QgsProcessing.SourceType.TypeVectorPolygon, QgsProcessing.SourceType.TypeVectorPoint]
            ),
            "Polygons or points to explain. Fields id and rank, as Extract anomalies writes them, name and order the regions.",
        )
        self.add(bands_parameter(INPUT), "Bands to choose from. Unset: those of the model, by wavelength where known, else by number.")
        self.add(
            QgsProcessingParameterMultipleLayers(LIBRARIES, "Spectral libraries", QgsProcessing.SourceType.TypeFile, optional=True),
            "Reflectance spectra, as for Identify anomalies: the report then shows what each region may be.",
        )
        add_settings(self, TOP, DEVICE)
        self.add(
            QgsProcessingParameterFileDestination(REPORT, "Report", "HTML files (*.html)", optional=True),
            "A page with a map of the regions, and the spectra and numbers of each. Opens in any browser, without network.",
        )
        self.add(
            QgsProcessingParameterFileDestination(TABLE, "Table of regions", "CSV files (*.csv)", optional=True, createByDefault=False),
            "A line for each region: place, value of its mean spectrum (not the peak of the map), "
            "bands that contribute most, most similar spectrum.",
        )
        self.add(
            QgsProcessingParameterFileDestination(SPECTRA, "Table of spectra", "CSV files (*.csv)", optional=True, createByDefault=False),
            "A line for each region and band: observed and expected background spectrum, difference, contribution.",
        )
        self.addOutput(QgsProcessingOutputNumber(COUNT, "Number of regions explained"))

    def read(self, parameters, context):
        self.scene = raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")
        self.model = self.parameterAsFile(parameters, MODEL, context)
        (file,) = sources_of(self.parameterDefinition(REGIONS), parameters, context) or (None,)
        self.regions = region_source(self.parameterAsSource(parameters, REGIONS, context), "The regions", file)
        self.libraries = files_named(self, parameters, LIBRARIES, context)
        self.bands = self.parameterAsInts(parameters, BANDS, context)
        self.settings = read_settings(self, (TOP,), parameters, context)
        self.device = device_name(self, parameters, context)
        self.files = {name: self.parameterAsFileOutput(parameters, name, context) for name in (REPORT, TABLE, SPECTRA)}

    def work(self, run):
        from ..workflows.explain import RegionExplanation, explain_regions

        files = {name: path for name, path in self.files.items() if path}
        wanted = {name.lower(): path for name, path in files.items()}
        explanation = RegionExplanation(
            self.scene, self.model, self.regions, bands=self.bands, device=self.device, libraries=self.libraries, **self.settings, **wanted
        )
        return {COUNT: explain_regions(explanation, run), **files}
