"""What is known of a scene, a model file, a map or regions, as text."""

from __future__ import annotations

import numpy as np
from osgeo import gdal, osr

from ..scenes.bands import list_bands
from ..scenes.provenance import provenance_of
from ..scenes.raster import RasterFile
from ..scenes.score_map import ScoreMap


def describe(path: str) -> str:
    """What is known of a file. Raises ValueError for what is none of ours, nor a scene."""
    if path.lower().endswith(".pt"):
        return describe_model(path)
    facts = provenance_of(path)
    if not facts:
        return describe_scene(path)
    return describe_regions(path, facts) if path.lower().endswith(".gpkg") else describe_map(path)


def describe_scene(path: str) -> str:
    """Size, bands, wavelengths and CRS of a scene, from its headers. Raises ValueError for what is not a scene."""
    raster = RasterFile(path)
    first = raster.dataset.GetRasterBand(1)
    table = raster.table
    known = table.wavelengths[~np.isnan(table.wavelengths)]
    bad = [n + 1 for n in np.flatnonzero(~table.good)]
    lines = [
        f"{path}: scene",
        f"  size: {raster.rows} rows, {raster.columns} columns, {raster.count} bands, {gdal.GetDataTypeName(first.DataType)}, "
        f"{raster.dataset.GetDriver().ShortName}",
        f"  wavelengths: {f'{known.min():.1f} to {known.max():.1f} nm, known of {known.size} bands' if known.size else 'unknown'}",
        f"  good bands: {raster.count - len(bad)}" + (f"; flagged bad: {list_bands(bad)}" if bad else ", none is flagged bad"),
        f"  CRS: {_crs_name(raster.crs)}",
    ]
    if raster.geotransform:
        x, width, _, y, _, height = raster.geotransform
        lines.append(f"  pixel: {abs(width):g} by {abs(height):g}, upper left corner at {x:g}, {y:g}")
    elif raster.georeference.bent:
        points = len(raster.georeference.points)
        lines.append(f"  pixels lie by {f'{points} ground control points' if points else 'RPC'}")
    nodata = first.GetNoDataValue()
    lines.append(f"  nodata: {'none' if nodata is None else f'{nodata:g}'}")
    return "\n".join(lines)


def describe_map(path: str) -> str:
    """Size and CRS of an anomaly map or a mask, and what it carries about its making. Raises ValueError for what cannot be read."""
    score_map = ScoreMap(path)
    lines = [
        f"{path}: {'mask of regions' if 'threshold' in score_map.metadata else 'anomaly map'}",
        f"  size: {score_map.rows} rows, {score_map.columns} columns",
        f"  CRS: {_crs_name(score_map.crs)}",
    ]
    return "\n".join(lines + _told(score_map.metadata))


def describe_regions(path: str, facts: dict[str, str]) -> str:
    """How many regions a GeoPackage holds, and the facts that it carries about their making."""
    dataset = gdal.OpenEx(path, gdal.OF_VECTOR)
    return "\n".join([f"{path}: regions", f"  regions: {dataset.GetLayer(0).GetFeatureCount()}", *_told(facts)])


def _told(facts: dict[str, str]) -> list[str]:
    return [f"  {name.replace('_', ' ')}: {text}" for name, text in facts.items()]


def describe_model(path: str) -> str:
    """Kind, bands and training of a model file. Raises ValueError for what is not a model."""
    from ..detectors.model_file import Model

    model = Model.load(path)
    span = f", {min(model.wavelengths):.1f} to {max(model.wavelengths):.1f} nm" if model.wavelengths else ", wavelengths unknown"
    lines = [f"{path}: model", f"  kind: {model.detector.title}", f"  bands: {model.bands}{span}"]
    if model.band_numbers:
        lines.append(f"  trained on bands: {list_bands(model.band_numbers['numbers'])} of {model.band_numbers['of']}")
    if model.settings:
        lines.append(f"  settings: {', '.join(f'{name} {value}' for name, value in sorted(model.settings.items()))}")
    lines.append(f"  seed: {model.seed}")
    if model.loss_curve:
        lines.append(f"  loss: {model.loss_curve[0]:.4g} at the start, {model.loss_curve[-1]:.4g} at the end")
    lines.append(f"  made with: {', '.join(f'{name} {version}' for name, version in model.versions.items())}")
    return "\n".join(lines)


def _crs_name(wkt: str) -> str:
    if not wkt:
        return "none"
    reference = osr.SpatialReference(wkt)
    code = reference.GetAuthorityCode(None)
    return f"{reference.GetName()}{f' ({reference.GetAuthorityName(None)}:{code})' if code else ''}"
