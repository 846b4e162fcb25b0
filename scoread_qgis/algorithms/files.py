"""The files behind the parameters of an algorithm: which it reads and which it writes, and the layers that show those."""

from qgis.core import (
    QgsMapLayer,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingUtils,
    QgsProperty,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ..scenes.input_files import named_files, same_files

# Kinds of parameters that are read from files.
_READ = ("raster", "vector", "source", "layer", "multilayer", "file")


def files_read(algorithm, parameters, context):
    """Paths and connection strings that the layers and files of all inputs are read from."""
    definitions = [each for each in algorithm.parameterDefinitions() if not each.isDestination() and each.type() in _READ]
    return [source for each in definitions for source in sources_of(each, parameters, context)]


def files_written(algorithm, parameters, context):
    """Paths of all outputs whose place the user chose."""
    paths = [path for each in algorithm.destinationParameterDefinitions() for path in sources_of(each, parameters, context)]
    return [path.partition("|")[0] for path in paths if path not in ("TEMPORARY_OUTPUT", "memory:")]


def sources_of(definition, parameters, context):
    """Paths and connection strings that the value of one parameter names."""
    return list(_sources(parameters.get(definition.name(), definition.defaultValue()), context))


def _sources(value, context):
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _sources(each, context)
    elif isinstance(value, QgsProcessingFeatureSourceDefinition):
        yield from _sources(value.source, context)
    elif isinstance(value, QgsProcessingOutputLayerDefinition):
        yield from _sources(value.sink, context)
    elif isinstance(value, QgsProperty):
        yield from _sources(value.valueAsString(context.expressionContext())[0], context)
    elif isinstance(value, QgsMapLayer):
        yield value.source()
    elif isinstance(value, str) and value:
        layer = QgsProcessingUtils.mapLayerFromString(value, context, False)  # it may be the id or the name of a layer
        yield value if layer is None else layer.source()


def reload_layers(project, paths):
    """Have the layers of a project reload the files at `paths`, which were replaced: QGIS would go on showing the old ones."""
    for layer in project.mapLayers().values():
        if layer.dataProvider() is None or not same_files(named_files(layer.source()), paths):
            continue
        layer.reload()
        if isinstance(layer, QgsRasterLayer):
            layer.setExtent(layer.dataProvider().extent())
        elif isinstance(layer, QgsVectorLayer):
            layer.updateExtents()
        layer.triggerRepaint()
