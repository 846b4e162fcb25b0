"""Regions in the formats of others, GeoPackage, GeoJSON and KML, as files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from osgeo import gdal, ogr, osr

from ..core.files import unfinished_file
from ..core.progress import Progress
from .gdal_calls import gdal_failures
from .ground import on_earth, wgs84
from .provenance import Facts, described, write_provenance
from .region_file import NO_CRS

# Suffix -> drivers of GDAL, the better first, and whether the format knows longitudes and latitudes alone.
FORMATS = {".gpkg": (("GPKG",), False), ".geojson": (("GeoJSON",), True), ".kml": (("LIBKML", "KML"), True)}
_KINDS = {int: ogr.OFTInteger64, float: ogr.OFTReal}


def export_regions(
    path: str | os.PathLike[str],
    shapes: Sequence[bytes],
    crs: str,
    columns: dict[str, list[object]],
    names: Sequence[str],
    metadata: Facts,
    progress: Progress | None = None,
) -> None:
    """Write regions to `path`, in the format of its suffix, one of FORMATS.

    shapes: WKB in the CRS `crs`, WKT. columns: name -> int, float, str or None of each region. names: what each is called on a map (KML).
    metadata: facts about their making, which a GeoPackage carries. Raises ValueError, with the remedy, where it cannot be written.
    """
    progress = progress or Progress()
    drivers, geographic = FORMATS[Path(path).suffix.lower()]
    driver = next(found for found in map(gdal.GetDriverByName, drivers) if found is not None)
    source = on_earth(crs)
    if geographic and source is None:
        raise ValueError(
            f"{path}: this format takes longitudes and latitudes, and nothing says where on Earth the regions lie, as they have no CRS. "
            "Export them as GeoPackage (.gpkg) or CSV (.csv)."
        )
    target = wgs84() if geographic else source or osr.SpatialReference(crs or NO_CRS)
    moved = osr.CoordinateTransformation(source, target) if geographic else None
    with unfinished_file(path, "export", ending=Path(path).suffix.lower()) as part, gdal_failures() as failures:
        _fill(driver, str(part), Path(path).stem, shapes, target, moved, columns, names, metadata, progress)
        if failures:
            raise ValueError(f"{path} cannot be written: {failures[0]}. Is the disk full? Or was its folder removed?")


def _fill(
    driver: gdal.Driver,
    path: str,
    name: str,
    shapes: Sequence[bytes],
    target: osr.SpatialReference,
    moved: osr.CoordinateTransformation | None,
    columns: dict[str, list[object]],
    names: Sequence[str],
    metadata: Facts,
    progress: Progress,
) -> None:
    dataset = driver.Create(path, 0, 0, 0, gdal.GDT_Unknown)
    if dataset is None:
        return  # and GDAL has said why
    kind, numbers, feature = driver.ShortName, columns.get("id", []), None
    options = {"GeoJSON": ["RFC7946=YES", f"DESCRIPTION={described(metadata)}"]}.get(kind, [])
    by_number = kind == "GPKG" and all(isinstance(id, int) and id >= 0 for id in numbers) and len({*numbers}) == len(numbers) > 0
    if kind == "GPKG":
        options = [f"FID={'id' if by_number else 'fid'}", "GEOMETRY_NAME=geom", f"DESCRIPTION={described(metadata)}"]
    layer = dataset.CreateLayer(name, target, ogr.wkbUnknown, options)
    written = {column: values for column, values in columns.items() if not (by_number and column == "id")}
    if kind in ("LIBKML", "KML"):  # which show them beside the outline
        written = {"Name": list(names), "Description": columns.get("note", [None] * len(names)), **written}
    for column, values in written.items():
        kinds = {type(value) for value in values if value is not None}
        code = _KINDS[kinds.pop()] if len(kinds) == 1 and kinds <= set(_KINDS) else ogr.OFTReal if kinds == {int, float} else ogr.OFTString
        if layer.GetLayerDefn().GetFieldIndex(column) < 0:  # KML without libkml has made name and description
            layer.CreateField(ogr.FieldDefn(column, code))
    places = {layer.GetLayerDefn().GetFieldIndex(column): values for column, values in written.items()}
    if kind == "GPKG":
        write_provenance(layer, metadata)
    try:
        dataset.StartTransaction() if kind == "GPKG" else None
        for index, shape in enumerate(shapes):
            if index % 1000 == 0:
                progress(index / len(shapes), f"writing region {index + 1} of {len(shapes)}")
            feature = ogr.Feature(layer.GetLayerDefn())
            if by_number:
                feature.SetFID(numbers[index])
            for place, values in places.items():
                if values[index] is None:
                    feature.SetFieldNull(place)
                elif values[index] == values[index]:  # NaN is left unset
                    feature.SetField(place, values[index])
            geometry = ogr.CreateGeometryFromWkb(shape)
            if moved is not None:
                geometry.Transform(moved)
            feature.SetGeometry(geometry)
            layer.CreateFeature(feature)
        dataset.CommitTransaction() if kind == "GPKG" else None
    finally:  # in this order, and before the file is moved or removed
        feature = None
        layer = None
        dataset = None
