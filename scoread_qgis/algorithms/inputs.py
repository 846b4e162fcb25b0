"""Parameters that several algorithms have, and the way from QGIS layers to the sources that workflows read."""

import numpy as np
from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMapLayer,
    QgsRasterLayer,
    QgsRasterRange,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDate, QDateTime, Qt, QTime

from ..settings import default_device
from ..workflows.parameters import DEVICE
from .parameters import read_settings

INPUT, BANDS, MASK, SELECTED, EXTENT, REPORT = "INPUT", "BANDS", "MASK", "SELECTED", "EXTENT", "REPORT"


def bands_parameter(parent):
    return QgsProcessingParameterBand(BANDS, "Bands", parentLayerParameterName=parent, optional=True, allowMultiple=True)


def mask_parameter():
    types = [QgsProcessing.SourceType.TypeRaster, QgsProcessing.SourceType.TypeVectorPolygon]
    return QgsProcessingParameterMapLayer(MASK, "Mask", optional=True, types=types)


def selected_parameter():
    return QgsProcessingParameterBoolean(SELECTED, "Selected polygons only", defaultValue=False)


SELECTED_HELP = "Take only the polygons of the layer above that are selected in QGIS. Unset: all."


def extent_parameter():
    return QgsProcessingParameterExtent(EXTENT, "Area to look at", optional=True)


EXTENT_HELP = (
    "The map covers the pixels that this area touches; the background is learnt from the whole scene nevertheless. "
    "Unset: the map covers the scene."
)


def extent_value(algorithm, parameters, context):
    """`scenes.extent.Extent` of the parameter EXTENT; None where it is not set."""
    from ..scenes.extent import Extent

    if parameters.get(EXTENT) in (None, ""):
        return None
    box = algorithm.parameterAsExtent(parameters, EXTENT, context)
    crs = algorithm.parameterAsExtentCrs(parameters, EXTENT, context)
    return Extent(box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum(), _wkt(crs))


def device_name(algorithm, parameters, context):
    """The device that the user chose for this run, or else in the settings."""
    name = read_settings(algorithm, (DEVICE,), parameters, context)["device"]
    return default_device() if name == "auto" else name


def report_parameter():
    return QgsProcessingParameterFileDestination(REPORT, "Report", "HTML files (*.html)", optional=True, createByDefault=False)


REPORT_HELP = (
    "A page with everything needed to judge and to repeat the run: settings, bands, the loss curve where a network was trained, spectra "
    "sampled from the model, log."
)


def raster_source(layer, label):
    """`workflows.sources.RasterSource` of a layer. Raises QgsProcessingException where it is not a raster that GDAL reads."""
    from ..workflows.sources import RasterSource

    if not isinstance(layer, QgsRasterLayer) or not layer.isValid():
        raise QgsProcessingException(f"{label} is not a raster layer that can be read. Choose a raster file.")
    if layer.providerType() != "gdal":
        raise QgsProcessingException(
            f"{layer.name()} comes from the provider {layer.providerType()}, which has pictures but no spectra. Save it as a GeoTIFF, or "
            "choose a raster file."
        )
    return RasterSource(layer.source().split("|")[0], layer.name(), _wkt(layer.crs()), _user_nodata(layer.dataProvider()))


def _user_nodata(provider):
    """`scenes.nodata.NoData` of a raster provider, as set in Layer Properties > Transparency; None where nothing is."""
    from ..scenes.nodata import NoData

    bands = range(1, provider.bandCount() + 1)
    ranges = [tuple(_bounds(value) for value in provider.userNoDataValues(band)) for band in bands]
    unused = [provider.sourceHasNoDataValue(band) and not provider.useSourceNoDataValue(band) for band in bands]
    if not any(ranges) and not any(unused):
        return None
    # QGIS sets them for all bands at once; said once, they hold for bands that QGIS does not count, too.
    ranges = {None: ranges[0]} if len(set(ranges)) == 1 else dict(zip(bands, ranges))
    unused = (None,) if all(unused) else tuple(band for band, is_unused in zip(bands, unused) if is_unused)
    return NoData(tuple((band, *bounds) for band, its in ranges.items() for bounds in its), unused)


def _bounds(value):
    """Lowest and highest number of single precision in a QgsRasterRange, infinite where it is open."""
    kinds, infinity = QgsRasterRange.BoundsType, np.float32(np.inf)
    with np.errstate(over="ignore"):
        lowest, highest = np.float32(value.min()), np.float32(value.max())
    if value.bounds() in (kinds.IncludeMax, kinds.Exclusive):
        lowest = np.nextafter(lowest, infinity)
    if value.bounds() in (kinds.IncludeMin, kinds.Exclusive):
        highest = np.nextafter(highest, -infinity)
    return -np.inf if np.isnan(lowest) else float(lowest), np.inf if np.isnan(highest) else float(highest)


def _wkt(crs):
    return crs.toWkt() if crs.isValid() else ""


def mask_source(algorithm, parameters, context, name=MASK, label="The mask"):
    """`workflows.sources.MaskSource` of a parameter that takes polygons or a raster; None where it is optional and not set.

    Of polygons only the selected ones, where SELECTED says so, or the value is a QgsProcessingFeatureSourceDefinition that does.
    """
    from ..workflows.sources import MaskSource

    value = parameters.get(name)
    if isinstance(value, QgsProcessingFeatureSourceDefinition):
        source = algorithm.parameterAsSource(parameters, name, context)
        if source is None:
            raise QgsProcessingException(
                f"{label} is not a vector layer that can be read. Choose polygons, or a raster without a selection."
            )
        if not (polygons := _polygons(source.getFeatures())) and value.selectedFeaturesOnly:
            raise QgsProcessingException(
                f"{label} is to be the selected polygons of {source.sourceName()}, and none is selected. Select some."
            )
        layer = algorithm.parameterAsVectorLayer(parameters, name, context)
        return MaskSource(source.sourceName(), _wkt(source.sourceCrs()), polygons=polygons, file=layer and layer.source())
    layer = algorithm.parameterAsLayer(parameters, name, context)
    if layer is None:
        if isinstance(value, str) and value.strip():
            raise QgsProcessingException(f"{label} {value} is not a layer that can be read. Choose polygons or a raster.")
        return None
    if not isinstance(layer, QgsVectorLayer):
        raster = raster_source(layer, label)
        return MaskSource(raster.name, raster.crs, source=raster.source, nodata=raster.nodata)
    chosen, note = layer.selectedFeatureCount(), ""
    if algorithm.parameterAsBool(parameters, SELECTED, context):
        if not chosen:
            raise QgsProcessingException(
                f"{label} is to be the selected polygons of {layer.name()}, and none is selected. Select some, or take all."
            )
        return MaskSource(layer.name(), _wkt(layer.crs()), polygons=_polygons(layer.getSelectedFeatures()), file=layer.source())
    if chosen:
        note = (
            f"{label} {layer.name()} has a selection, which is ignored: all of its polygons are used. "
            f"Check Selected polygons only to use {chosen} of them."
        )
    return MaskSource(layer.name(), _wkt(layer.crs()), polygons=_polygons(layer.getFeatures()), note=note, file=layer.source())


def _polygons(features):
    return tuple(bytes(feature.geometry().asWkb()) for feature in features if not feature.geometry().isNull())


def files_named(algorithm, parameters, name, context):
    """Files and folders that a parameter of several files names; none where it is not set, which older QGIS calls one without a name."""
    return [path for path in algorithm.parameterAsFileList(parameters, name, context) if path]


def region_source(source, label, file=None):
    """`workflows.sources.RegionSource` of a feature source, read from `file`: its geometries and fields, among them id and rank."""
    from ..workflows.sources import RegionSource, rank_of

    if source is None:
        raise QgsProcessingException(f"{label} cannot be read as a vector layer. Choose polygons or points.")
    names = source.fields().names()
    features = [feature for feature in source.getFeatures() if not feature.geometry().isNull()]
    fields = tuple({name: _plain(value) for name, value in zip(names, feature.attributes())} for feature in features)
    ids = tuple(feature.id() if its.get("id") is None else its["id"] for feature, its in zip(features, fields))
    ranks = tuple(rank_of(its.get("rank")) for its in fields)
    shapes = tuple(bytes(feature.geometry().asWkb()) for feature in features)
    return RegionSource(source.sourceName(), _wkt(source.sourceCrs()), shapes, ids, ranks, file, fields)


def _plain(value):
    """The value of a field as a plain one of Python; None for NULL."""
    if isinstance(value, (int, float, str)) or value is None:
        return value
    if hasattr(value, "isNull") and value.isNull():  # QGIS' NULL
        return None
    return value.toString(Qt.DateFormat.ISODate) if isinstance(value, (QDate, QTime, QDateTime)) else str(value)
