"""The anomaly map as a result: styled, and its style kept beside it."""

from qgis.core import QgsProcessingLayerPostProcessorInterface

from ..styles import save_anomaly_style

# A post-processor belongs to the context once it is set, but Python must keep its side of it alive until it has run.
_waiting = {}


def style_map(path, context):
    """Save the style of the map beside it, and have it applied where QGIS is going to load the map."""
    style = save_anomaly_style(path)
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
