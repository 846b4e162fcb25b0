"""Maps and regions as layers: in the style that is kept with them."""

from qgis.core import QgsProcessingLayerPostProcessorInterface

from ..styles import save_mask_style, save_regions_style

# A post-processor belongs to the context once it is set, but Python must keep its side of it alive until it has run.
_waiting = {}


def style_map(path, context):
    """Have the style that lies beside the map applied where QGIS is going to load the map."""
    if context.willLoadLayerOnCompletion(path):
        processor = _ApplyStyle()
        _waiting[id(processor)] = processor
        context.layerToLoadOnCompletionDetails(path).setPostProcessor(processor)


def style_regions(path, context):
    """Save the style of the regions in the GeoPackage at `path` in there, and have it applied where QGIS is going to load them."""
    save_regions_style(path)
    style_map(path, context)


def style_mask(path, context):
    """Save the style of the mask at `path` beside it, and have it applied where QGIS is going to load it."""
    save_mask_style(path)
    style_map(path, context)


class _ApplyStyle(QgsProcessingLayerPostProcessorInterface):
    def postProcessLayer(self, layer, context, feedback):
        layer.loadDefaultStyle()
        layer.triggerRepaint()
        _waiting.pop(id(self), None)
