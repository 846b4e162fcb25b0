"""Maps and regions as layers: in the style that is kept with them."""

from qgis.core import QgsProcessingLayerPostProcessorInterface
from qgis.PyQt.QtXml import QDomDocument

from ..styles import save_mask_style, save_regions_style

# A post-processor belongs to the context once it is set, but Python must keep its side of it alive until it has run.
_waiting = {}


def style_map(path, context, style=None):
    """Have a style, XML or by default the one that is kept with the layer, applied where QGIS is going to load the file at `path`."""
    if context.willLoadLayerOnCompletion(path):
        processor = _ApplyStyle(style)
        _waiting[id(processor)] = processor
        context.layerToLoadOnCompletionDetails(path).setPostProcessor(processor)


def style_regions(path, context):
    """Save the style of the regions in the GeoPackage at `path` in there, and have it applied where QGIS is going to load them."""
    save_regions_style(path)
    style_map(path, context)


def style_mask(path, context, replaced):
    """Keep the style of the mask at `path` beside it, and have it applied where QGIS is going to load it.

    replaced: see `save_mask_style`.
    """
    style_map(path, context, save_mask_style(path, replaced))


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
