"""Maps and regions as results: styled, and the style kept beside them."""

from qgis.core import QgsProcessingLayerPostProcessorInterface

from ..styles import save_anomaly_style, save_mask_style, save_regions_style

# A post-processor belongs to the context once it is set, but Python must keep its side of it alive until it has run.
_waiting = {}


def style_map(path, context):
    """Save the style of the map beside it, and have it applied where QGIS is going to load the map."""
    _apply(save_anomaly_style(path), path, context)


def style_regions(path, context):
    """The same for the regions in the GeoPackage at `path`."""
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
