"""Maps and regions as layers: in the style that lies beside them."""

from qgis.core import QgsProcessingLayerPostProcessorInterface

from ..styles import save_mask_style, save_regions_style, style_path

# A post-processor belongs to the context once it is set, but Python must keep its side of it alive until it has run.
_waiting = {}


def style_map(path, context):
    """Have the style that lies beside the map applied where QGIS is going to load the map."""
    _apply(style_path(path), path, context)


def style_regions(path, context):
    """Save the style of the regions in the GeoPackage at `path` beside it, and have it applied where QGIS is going to load them."""
    _apply(save_regions_style(path), path, context)


def style_mask(path, context):
    """The same for the mask at `path`."""
    _apply(save_mask_style(path), path, context)


def _apply(style, path, context):
    if context.willLoadLayerOnCompletion(path):
        processor = _ApplyStyle(style)
        _waiting[id(processor)] = processor
        context.layerToLoadOnCompletionDetails(path).setPostProcessor(processor)


class _ApplyStyle(QgsProcessingLayerPostProcessorInterface):
    def __init__(self, style):
        super().__init__()
        self._style = style

    def postProcessLayer(self, layer, context, feedback):
        layer.loadNamedStyle(self._style)
        layer.triggerRepaint()
        _waiting.pop(id(self), None)
