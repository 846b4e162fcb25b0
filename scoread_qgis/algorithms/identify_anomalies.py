"""Identify anomalies: what regions are, by spectral libraries, and which of them are the same thing."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from ..styles import save_groups_style
from ..translation import tr
from ..workflows.parameters import IDENTIFICATION
from .base import Algorithm
from .dialogs import best_scene, regions_found
from .files import sources_of
from .inputs import BANDS, INPUT, REPORT, bands_parameter, files_named, mask_source, raster_source, region_source
from .maps import name_layer, style_map
from .parameters import add_settings, read_settings

REGIONS, LIBRARIES, FLAT_FIELD, OUTPUT = "REGIONS", "LIBRARIES", "FLAT_FIELD", "OUTPUT"
MATCHED, GROUPS = "MATCHED", "GROUPS"
LIBRARIES_HELP = (
    "Files, or folders, of reflectance spectra: ENVI (.sli with its .hdr), USGS splib07 and ECOSTRESS or ASTER (.txt), tables (.csv), "
    "EnMAP-Box profiles (.gpkg, .geojson)."
)


class IdentifyAnomalies(Algorithm):
    NAME = "identify_anomalies"
    TITLE = "Identify anomalies"
    GROUP = "Anomaly maps"
    TAGS = ("spectral library", "material", "match", "spectral angle", "SAM", "ACE", "continuum", "group", "cluster", "USGS", "ECOSTRESS")
    HELP = (
        "Says what regions are: names the spectra of a library that match them best, each with the share of the background that matches "
        "as well, so that a match which says little is seen as such. And says which regions are the same thing: regions that are alike "
        "have one group, with or without a library."
    )
    PRESETS = {INPUT: best_scene, REGIONS: regions_found}

    def declare(self):
        self.add(
            QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"),
            "The scene in which the regions lie, best in reflectance. Libraries need its wavelengths; groups do not.",
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                REGIONS, "Regions", [QgsProcessing.SourceType.TypeVectorPolygon, QgsProcessing.SourceType.TypeVectorPoint]
            ),
            "Polygons or points to identify, such as those of Extract anomalies. A field rank orders them.",
        )
        self.add(
            QgsProcessingParameterMultipleLayers(LIBRARIES, "Spectral libraries", QgsProcessing.SourceType.TypeFile, optional=True),
            LIBRARIES_HELP + " Unset: regions are only grouped.",
        )
        types = [QgsProcessing.SourceType.TypeVectorPolygon, QgsProcessing.SourceType.TypeRaster]
        self.add(
            QgsProcessingParameterMapLayer(FLAT_FIELD, "Flat field", optional=True, types=types),
            "Only for scenes that are not reflectance: polygons on a bright surface without absorption features, such as concrete or sand. "
            "The scene is divided by their mean spectrum.",
            advanced=True,
        )
        self.add(bands_parameter(INPUT), "Bands to use. Unset: all good ones.")
        add_settings(self, *IDENTIFICATION)
        self.add(
            QgsProcessingParameterVectorDestination(OUTPUT, "Identified regions", QgsProcessing.SourceType.TypeVectorPolygon),
            "GeoPackage of the regions with all of their fields and: group, from 1; match_1 to match_3, names of the best matches; "
            "angle_1 to angle_3, spectral angles in degrees; score_1 to score_3, the share of the background that matches that spectrum "
            "at least as well, so that less is better; bands, over how many the best match was made.",
        )
        self.add(
            QgsProcessingParameterFileDestination(REPORT, "Report", "HTML files (*.html)", optional=True),
            "A page with a map of the regions, and each one's spectrum over those that it matches best.",
        )
        self.addOutput(QgsProcessingOutputNumber(MATCHED, "Number of regions with a clear match"))
        self.addOutput(QgsProcessingOutputNumber(GROUPS, "Number of groups"))

    def read(self, parameters, context):
        self.scene = raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")
        (file,) = sources_of(self.parameterDefinition(REGIONS), parameters, context) or (None,)
        self.regions = region_source(self.parameterAsSource(parameters, REGIONS, context), "The regions", file)
        self.libraries = files_named(self, parameters, LIBRARIES, context)
        self.flat_field = mask_source(self, parameters, context, FLAT_FIELD, "The flat field")
        self.bands = self.parameterAsInts(parameters, BANDS, context)
        self.settings = read_settings(self, IDENTIFICATION, parameters, context)
        self.output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        self.report = self.parameterAsFileOutput(parameters, REPORT, context)

    def work(self, run):
        from ..workflows.identify import Identification, identify

        identification = Identification(
            self.scene, self.regions, self.output, self.libraries, self.report or None, flat_field=self.flat_field, bands=self.bands,
            **self.settings,
        )  # fmt: skip
        matched, groups = identify(identification, run)
        results = {OUTPUT: self.output, MATCHED: matched, GROUPS: groups}
        return {**results, REPORT: self.report} if self.report else results

    def save_styles(self):
        save_groups_style(self.output)

    def finish(self, context):
        style_map(self.output, context)
        name = tr("Regions of {scene}, identified").format(scene=self.scene.name)
        name_layer(self.output, context, self.parameterDefinition(OUTPUT), name)
