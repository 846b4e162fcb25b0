"""Maps and regions as layers: in the style that is kept with them, and with names that say what they are of."""

from qgis.core import QgsProcessingLayerPostProcessorInterface
from qgis.PyQt.QtXml import QDomDocument

from ..scenes.provenance import provenance_of
from ..styles import save_mask_style, save_regions_style
from ..translation import tr

# A post-processor belongs to the context once it is set, but Python must keep its side of it alive until it has run.
_waiting = {}


def style_map(path, context, style=None):
    """Have a style, XML or by default the one that is kept with the layer, applied where QGIS is going to load the file at `path`."""
    if context.willLoadLayerOnCompletion(path):
        processor = _ApplyStyle(style)
        _waiting[id(processor)] = processor
        context.layerToLoadOnCompletionDetails(path).setPostProcessor(processor)


def style_regions(path, context, how):
    """Save the style of the regions in the GeoPackage at `path` in there, and have it applied where QGIS is going to load them."""
    save_regions_style(path, how)
    style_map(path, context)


def style_mask(path, context, replaced, how):
    """Keep the style of the mask at `path` beside it, and have it applied where QGIS is going to load it.

    replaced, how: see `save_mask_style`.
    """
    style_map(path, context, save_mask_style(path, replaced, how))


def name_layer(path, context, definition, name):
    """Have the layer of the output `definition` at `path` called `name` where QGIS is going to load it under the name of all such outputs.

    Where Processing is set to name layers by their files, or a designer model or a script gave a name, that one stays.
    """
    if context.willLoadLayerOnCompletion(path):
        details = context.layerToLoadOnCompletionDetails(path)
        if details.name == definition.description() and not details.forceName:
            details.name = name


def name_map(path, context, definition, scene, rx=False):
    """`name_layer` for the map of a detector. scene: name of the scene."""
    name_layer(path, context, definition, (tr("RX of {}") if rx else tr("Anomalies of {}")).format(scene))


def mapped_scene(score_map, context):
    """Name of the scene that a map, a `workflows.sources.RasterSource`, is of: as it carries it, or else as its own name says.

    That is the name it is going to be loaded under, where a step before in a designer model made it.
    """
    going_to_load = context.willLoadLayerOnCompletion(score_map.source)
    name = context.layerToLoadOnCompletionDetails(score_map.source).name if going_to_load else score_map.name
    kept = provenance_of(score_map.source).get("scene_name")
    starts = [title.partition("{}")[0] for title in (tr("RX of {}"), tr("Anomalies of {}"))]
    start = next((start for start in starts if start and name.startswith(start)), "")
    return kept or name[len(start) :]


class _ApplyStyle(QgsProcessingLayerPostProcessorInterface):
    def __init__(self, style):
        super().__init__()
        self._style = style

    def postProcessLayer(self, layer, context, feedback):
        if self._style is None:
            layer.loadDefaultStyle()
        else:
            document = QDomDocument()
            document.setContent(self._style)
            layer.importNamedStyle(document)
        layer.triggerRepaint()
        _waiting.pop(id(self), None)
