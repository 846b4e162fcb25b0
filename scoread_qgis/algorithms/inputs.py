"""Parameters that several algorithms have, and the way from QGIS layers to cubes."""

import configparser
from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingParameterBand,
    QgsProcessingParameterEnum,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterNumber,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ..settings import memory_limit

INPUT, BANDS, MASK, SEED, DEVICE = "INPUT", "BANDS", "MASK", "SEED", "DEVICE"
DEVICES = ["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class RasterSource:
    """A raster layer, as the background thread needs it: GDAL source, name for messages, CRS as WKT ("" = none)."""

    source: str
    name: str
    crs: str

    def open(self):
        from ..scenes.raster import RasterFile

        return RasterFile(self.source, self.name, self.crs)


@dataclass(frozen=True)
class MaskSource:
    """A mask layer: a raster source, or polygons as WKB; `crs` as WKT."""

    name: str
    crs: str
    source: str = None
    polygons: tuple = ()

    def on(self, raster):
        """The mask on the grid of a `RasterFile`."""
        from ..scenes.mask import Mask

        if self.source is not None:
            return Mask.from_raster(raster, self.source, self.crs, self.name)
        return Mask.from_polygons(raster, self.polygons, self.crs, self.name)


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


DEVICE_HELP = "Where to compute. auto takes a GPU where PyTorch finds one, else the processor; cuda is a GPU of NVIDIA, mps one of Apple."


def raster_source(layer, label):
    """`RasterSource` of a layer. Raises QgsProcessingException where it is not a raster that GDAL reads."""
    if not isinstance(layer, QgsRasterLayer) or not layer.isValid():
        raise QgsProcessingException(f"{label} is not a raster layer that can be read. Choose a raster with many spectral bands.")
    if layer.providerType() != "gdal":
        raise QgsProcessingException(
            f"{layer.name()} comes from the provider {layer.providerType()}, which has pictures but no spectra. Save it as a GeoTIFF, or choose a raster file."
        )
    return RasterSource(layer.source().split("|")[0], layer.name(), layer.crs().toWkt() if layer.crs().isValid() else "")


def mask_source(layer):
    """`MaskSource` of a polygon or raster layer; None for None."""
    if layer is None:
        return None
    if isinstance(layer, QgsVectorLayer):
        polygons = tuple(bytes(feature.geometry().asWkb()) for feature in layer.getFeatures() if not feature.geometry().isNull())
        return MaskSource(layer.name(), layer.crs().toWkt() if layer.crs().isValid() else "", polygons=polygons)
    raster = raster_source(layer, "The mask")
    return MaskSource(raster.name, raster.crs, source=raster.source)


def memory_for_reading(log):
    """Bytes that reading may take, told in the log."""
    limit = memory_limit()
    log(f"Memory: up to {limit / 2**20:.0f} MB (Options > Processing > Providers > ScoreAD anomaly detection).")
    return limit


def good_cubes(sources, bands, mask, log, progress):
    """Cubes of the good bands that all scenes share, and the band numbers of the first: ([Cube], {"numbers": ..., "of": ...}).

    sources: `RasterSource`s. bands: numbers the user asked for, or []. mask: `MaskSource` or None, for the first scene; the others are used whole.
    The log says which bands are left out and why.
    """
    from ..scenes.bands import list_bands
    from ..scenes.raster import RasterCube, choose_bands, common_bands

    memory = memory_for_reading(log)
    rasters = [source.open() for source in sources]
    masks = [mask.on(raster) if mask and index == 0 else None for index, raster in enumerate(rasters)]
    choices = []
    for index, raster in enumerate(rasters):
        share = progress.part(index / len(rasters), (index + 1) / len(rasters))
        choices.append(choose_bands(raster, bands, memory, share))
        if raster.absurd_values:
            log(
                f"{raster.name}: {raster.absurd_values} values beyond ±1e18 or infinite are taken for nodata. Set the file's nodata value if they are fill values."
            )
        for reason, numbers in choices[-1].left_out.items():
            log(f"{raster.name}: left out {len(numbers)} of {raster.count} bands, {reason}: {list_bands(numbers)}.")
    numbers = common_bands(rasters, choices, by_number=bool(bands))
    for choice, kept, raster in zip(choices, numbers, rasters):
        dropped = set(choice.numbers) - set(kept)
        if dropped:
            log(f"{raster.name}: left out {len(dropped)} of {raster.count} bands, which another scene lacks: {list_bands(dropped)}.")
        log(f"{raster.name}: {raster.rows} rows, {raster.columns} columns, {len(kept)} bands used.")
    cubes = [RasterCube(raster, kept, raster_mask, memory) for raster, kept, raster_mask in zip(rasters, numbers, masks)]
    return cubes, {"numbers": numbers[0], "of": rasters[0].count}


def fitting_cube(source, model, bands, mask, log, progress):
    """Cube of the bands of a scene that a `Model` was trained on; resampled to its wavelengths where the detector is made for that.

    source: `RasterSource`. bands: numbers the user asked for, or []. mask: `MaskSource` or None.
    """
    from ..scenes.bands import list_bands
    from ..scenes.raster import RasterCube, match_bands
    from ..scenes.resampling import ResampledCube

    if model.across_sensors and model.wavelengths is not None:
        (cube,), _ = good_cubes([source], bands, mask, log, progress)
        if cube.wavelengths is not None:
            log(f"{cube.raster.name}: resampled from {cube.bands} to the model's {model.bands} bands.")
            return ResampledCube(cube, model.wavelengths)
    raster = source.open()
    numbers = match_bands(raster, bands, model.wavelengths, model.bands, model.band_numbers)
    log(f"{raster.name}: {raster.rows} rows, {raster.columns} columns; bands {list_bands(numbers)} fit the model.")
    return RasterCube(raster, numbers, mask.on(raster) if mask else None, memory_for_reading(log))


def save_model(path, detector, cube, band_numbers, settings, seed, log):
    """Write a trained detector as a model file, with what is known of its bands and its training; the log tells the loss."""
    from ..detectors.model_file import Model

    wavelengths = None if cube.wavelengths is None else [float(w) for w in cube.wavelengths]
    loss_curve = detector.loss_curve
    Model(detector, cube.bands, wavelengths, band_numbers, settings, seed, _software_versions(), loss_curve).save(path)
    log(f"Loss: {loss_curve[0]:.4g} at the start, {loss_curve[-1]:.4g} at the end.")


def _software_versions():
    """Versions of the plugin and of what it computes with, for the model file."""
    import numpy
    import torch
    from qgis.core import Qgis

    metadata = configparser.ConfigParser()
    metadata.read(Path(__file__).parents[1] / "metadata.txt", encoding="utf-8")
    plugin = metadata.get("general", "version")
    return {"scoread_qgis": plugin, "torch": str(torch.__version__), "numpy": numpy.__version__, "qgis": Qgis.version()}
