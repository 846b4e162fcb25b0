"""Find similar: where else in a scene, or in others, is what lies in some regions, or what a library describes."""

import os

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingOutputMultipleLayers,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingUtils,
)

from ..styles import save_anomaly_style
from ..translation import tr
from ..workflows.parameters import BACKGROUND, LEARN_AREA, LOCAL_RX, MIN_AREA, RATE, TARGET_DETECTOR
from .base import Algorithm
from .dialogs import best_scene, features_selected, remember_model
from .files import sources_of
from .inputs import (
    BANDS,
    EXTENT_HELP,
    INPUT,
    SELECTED_HELP,
    bands_parameter,
    extent_parameter,
    extent_value,
    files_named,
    mask_parameter,
    mask_source,
    raster_source,
    region_source,
    selected_parameter,
)
from .maps import name_layer, style_map, style_regions
from .parameters import add_settings, read_settings

TARGETS, LIBRARIES, ENTRIES = "TARGETS", "LIBRARIES", "ENTRIES"
MORE_INPUTS, MORE_OUTPUTS, MAPS = "MORE_INPUTS", "MORE_OUTPUTS", "MAPS"
OUTPUT, REGIONS, MODEL, THRESHOLD = "OUTPUT", "REGIONS", "MODEL", "THRESHOLD"


class FindSimilar(Algorithm):
    NAME = "find_similar"
    TITLE = "Find similar"
    GROUP = "Anomaly detection"
    TAGS = ("target", "matched filter", "ace", "spectrum", "library", "where else", "search")
    HELP = (
        "Maps where else in a scene, or in others, there is what lies in some regions, or what entries of a spectral library describe. "
        "The score "
        "is that of ACE or of the matched filter, against the background of the scene; the threshold is the score that the background "
        "exceeds at the false-alarm rate given. Several targets are one: what mixtures of them explain scores high. Choose regions of one "
        "kind."
    )
    PRESETS = {INPUT: best_scene, TARGETS: features_selected}

    def declare(self):
        self.add(
            QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"), "Raster with many spectral bands, in which the targets lie."
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                TARGETS,
                "Targets",
                [QgsProcessing.SourceType.TypeVectorPolygon, QgsProcessing.SourceType.TypeVectorPoint],
                optional=True,
            ),
            "Polygons or points of the scene, such as regions of Extract anomalies: their mean spectra are searched for, and their pixels "
            "do "
            "not count as background. The dialog opens with the features that are selected: choose those of one kind.",
        )
        self.add(
            QgsProcessingParameterMultipleLayers(LIBRARIES, "Spectral libraries", QgsProcessing.SourceType.TypeFile, optional=True),
            "Instead of targets: reflectance spectra, as for Identify anomalies. The scene has to be reflectance, and tell its "
            "wavelengths.",
        )
        self.add(
            QgsProcessingParameterString(ENTRIES, "Entries of the libraries", optional=True),
            "Names of those to search for, separated by semicolons; * stands for any text. Unset: the only one there is.",
        )
        add_settings(self, TARGET_DETECTOR, BACKGROUND, RATE)
        self.add(bands_parameter(INPUT), "Bands to use. Unset: all good bands, which the log names.", advanced=True)
        self.add(
            mask_parameter(),
            "Polygons or raster (not 0) that say where to look in the scene, and where the background is learnt. Unset: everywhere.",
            advanced=True,
        )
        self.add(selected_parameter(), SELECTED_HELP, advanced=True)
        self.add(extent_parameter(), EXTENT_HELP, advanced=True)
        add_settings(self, LEARN_AREA, MIN_AREA, *LOCAL_RX)
        self.add(
            QgsProcessingParameterMultipleLayers(MORE_INPUTS, "Further scenes", QgsProcessing.SourceType.TypeRaster, optional=True),
            "Scenes in which the same targets are searched for: of the same sensor, or of another where both are reflectance and tell "
            "their "
            "wavelengths. Mask and area do not apply to them.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterRasterDestination(OUTPUT, "Map of similar places"),
            "Score, Float32, on the grid and CRS of the scene. Larger is more like the targets.",
        )
        self.add(
            QgsProcessingParameterVectorDestination(
                REGIONS, "Similar regions", QgsProcessing.SourceType.TypeVectorPolygon, optional=True, createByDefault=False
            ),
            "GeoPackage of polygons around what scores above the threshold, as Extract anomalies makes them.",
        )
        self.add(
            QgsProcessingParameterFileDestination(MODEL, "Targets as a model", "Models (*.pt)", optional=True, createByDefault=False),
            "File that keeps the targets: Explain anomalies explains the map with it, and Detect anomalies searches in scenes of the "
            "sensor.",
        )
        self.add(
            QgsProcessingParameterFolderDestination(
                MORE_OUTPUTS, "Folder for the maps of further scenes", optional=True, createByDefault=False
            ),
            "Maps <name of the scene>_similar.tif, and regions beside them where those are asked for. Unset: a temporary folder.",
        )
        self.addOutput(QgsProcessingOutputNumber(THRESHOLD, "Threshold"))
        self.addOutput(QgsProcessingOutputMultipleLayers(MAPS, "Maps of further scenes"))

    def read(self, parameters, context):
        self.scenes = [raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")]
        for layer in self.parameterAsLayerList(parameters, MORE_INPUTS, context):
            self.scenes.append(raster_source(layer, "One of the further scenes"))
        self.sought = None
        if parameters.get(TARGETS) not in (None, ""):
            (file,) = sources_of(self.parameterDefinition(TARGETS), parameters, context) or (None,)
            self.sought = region_source(self.parameterAsSource(parameters, TARGETS, context), "The targets", file)
        self.libraries = files_named(self, parameters, LIBRARIES, context)
        self.entries = [entry for entry in self.parameterAsString(parameters, ENTRIES, context).split(";") if entry.strip()]
        chosen = read_settings(self, (TARGET_DETECTOR, BACKGROUND, *LOCAL_RX), parameters, context)
        self.kind, background = chosen.pop("detector"), chosen.pop("background")
        self.settings = {"background": background, **(chosen if background == "local" else {})}
        self.how = read_settings(self, (RATE, MIN_AREA), parameters, context)
        self.bands = self.parameterAsInts(parameters, BANDS, context)
        self.where = {"mask": mask_source(self, parameters, context), "extent": extent_value(self, parameters, context)}
        self.where.update(read_settings(self, (LEARN_AREA,), parameters, context))
        self.output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        self.regions = self.parameterAsOutputLayer(parameters, REGIONS, context)
        self.model = self.parameterAsFileOutput(parameters, MODEL, context)
        folder = self.parameterAsString(parameters, MORE_OUTPUTS, context) if len(self.scenes) > 1 else ""
        if len(self.scenes) > 1 and not folder:
            folder = os.path.dirname(QgsProcessingUtils.generateTempFilename("similar.tif"))
        self.outputs = [(self.output, self.regions or None), *self._further(folder)]
        for index, pair in enumerate(self.outputs[1:] if context.willLoadLayerOnCompletion(self.output) else (), 1):
            for path, name in zip(pair, (tr("Similar places in {}"), tr("Similar regions in {}"))):
                if path:
                    details = QgsProcessingContext.LayerDetails(name.format(self.scenes[index].name), context.project(), MAPS)
                    context.addLayerToLoadOnCompletion(path, details)

    def _further(self, folder):
        """Map and regions, or None, of each further scene."""
        stems, pairs = {}, []
        for scene in self.scenes[1:]:
            stem = os.path.splitext(os.path.basename(scene.name))[0] or "scene"
            stem = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in stem)
            stems[stem] = stems.get(stem, 0) + 1
            number = f"-{stems[stem]}" if stems[stem] > 1 else ""
            path = os.path.join(folder, f"{stem}{number}_similar")
            pairs.append((f"{path}.tif", f"{path}.gpkg" if self.regions else None))
        return pairs

    def work(self, run):
        from ..workflows.find_similar import Search, SimilarPlaces, find_similar

        for path, _ in self.outputs[1:]:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        where, searches = self.where, []
        for scene, (output, regions) in zip(self.scenes, self.outputs):
            searches.append(
                Search(scene, output, kind=self.kind, settings=self.settings, bands=self.bands, regions=regions, **self.how, **where)
            )
            where = {}  # mask and area are those of the first scene
        places = SimilarPlaces(searches, self.sought, None, self.libraries, self.entries, self.model or None)
        self.thresholds = find_similar(places, run)
        results = {OUTPUT: self.output, MAPS: [output for output, _ in self.outputs[1:]]}
        if self.thresholds[0] is not None:
            results[THRESHOLD] = self.thresholds[0]
        return {**results, **({REGIONS: self.regions} if self.regions else {}), **({MODEL: self.model} if self.model else {})}

    def save_styles(self):
        self.styles = [save_anomaly_style(output, output in self.replaced) for output, _ in self.outputs]

    def finish(self, context):
        for (output, regions), style, threshold in zip(self.outputs, self.styles, self.thresholds):
            style_map(output, context, style)
            if regions:
                style_regions(regions, context, tr("threshold {:.4g}, rate {:g}").format(threshold, self.how["rate"]))
        scene = self.scenes[0].name
        name_layer(self.output, context, self.parameterDefinition(OUTPUT), tr("Similar places in {}").format(scene))
        if self.regions:
            name_layer(self.regions, context, self.parameterDefinition(REGIONS), tr("Similar regions in {}").format(scene))
        if self.model:
            remember_model(self.model, context.project())
