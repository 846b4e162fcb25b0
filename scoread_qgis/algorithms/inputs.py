"""Parameters that several algorithms have, and the way from QGIS layers to the sources that workflows read."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingParameterBand,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterNumber,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ..settings import DEVICES, default_device

INPUT, BANDS, MASK, SEED, DEVICE, REPORT = "INPUT", "BANDS", "MASK", "SEED", "DEVICE", "REPORT"


def bands_parameter(parent):
    return QgsProcessingParameterBand(BANDS, "Bands", parentLayerParameterName=parent, optional=True, allowMultiple=True)


def mask_parameter():
    types = [QgsProcessing.SourceType.TypeRaster, QgsProcessing.SourceType.TypeVectorPolygon]
    return QgsProcessingParameterMapLayer(MASK, "Mask", optional=True, types=types)


def seed_parameter():
    return QgsProcessingParameterNumber(SEED, "Random seed", defaultValue=0, minValue=0, maxValue=2**31 - 1)


SEED_HELP = "Number that random choices start from. The same seed gives the same result."


def device_parameter():
    return QgsProcessingParameterEnum(DEVICE, "Device", DEVICES, defaultValue="auto", usesStaticStrings=True)


DEVICE_HELP = (
    "Where to compute. auto takes the device of the settings, or a GPU where PyTorch finds one, else the processor; cuda is a GPU of NVIDIA, "
    "mps one of Apple."
)


def device_name(algorithm, parameters, context):
    """The device that the user chose for this run, or else in the settings."""
    name = algorithm.parameterAsEnumString(parameters, DEVICE, context)
    return default_device() if name == "auto" else name


def report_parameter():
    return QgsProcessingParameterFileDestination(REPORT, "Report", "HTML files (*.html)", optional=True, createByDefault=False)


REPORT_HELP = (
    "A page with all that it takes to judge the run and to repeat it: settings, bands, loss curve, spectra sampled from the model, log."
)


def raster_source(layer, label):
    """`workflows.sources.RasterSource` of a layer. Raises QgsProcessingException where it is not a raster that GDAL reads."""
    from ..workflows.sources import RasterSource

    if not isinstance(layer, QgsRasterLayer) or not layer.isValid():
        raise QgsProcessingException(f"{label} is not a raster layer that can be read. Choose a raster file.")
    if layer.providerType() != "gdal":
        raise QgsProcessingException(
            f"{layer.name()} comes from the provider {layer.providerType()}, which has pictures but no spectra. Save it as a GeoTIFF, or choose a raster file."
        )
    return RasterSource(layer.source().split("|")[0], layer.name(), layer.crs().toWkt() if layer.crs().isValid() else "")


def mask_source(layer, label="The mask"):
    """`workflows.sources.MaskSource` of a polygon or raster layer; None for None."""
    from ..workflows.sources import MaskSource

    if layer is None:
        return None
    if isinstance(layer, QgsVectorLayer):
        polygons = tuple(bytes(feature.geometry().asWkb()) for feature in layer.getFeatures() if not feature.geometry().isNull())
        return MaskSource(layer.name(), layer.crs().toWkt() if layer.crs().isValid() else "", polygons=polygons, file=layer.source())
    raster = raster_source(layer, label)
    return MaskSource(raster.name, raster.crs, source=raster.source)


def region_source(source, label, file=None):
    """`workflows.sources.RegionSource` of a feature source, read from `file`: its geometries with the fields id and rank where it has them."""
    from ..workflows.sources import RegionSource

    if source is None:
        raise QgsProcessingException(f"{label} are no vector layer that can be read. Choose polygons or points.")
    names = source.fields().names()
    features = [feature for feature in source.getFeatures() if not feature.geometry().isNull()]

    def field(feature, name):
        value = feature[name] if name in names else None
        return value if isinstance(value, (int, float, str)) else None

    return RegionSource(
        source.sourceName(),
        source.sourceCrs().toWkt() if source.sourceCrs().isValid() else "",
        tuple(bytes(feature.geometry().asWkb()) for feature in features),
        tuple(feature.id() if field(feature, "id") is None else field(feature, "id") for feature in features),
        tuple(field(feature, "rank") for feature in features),
        file,
    )
