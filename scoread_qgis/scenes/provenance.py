"""What a result carries with it about its making, as GDAL metadata: names and texts that QGIS shows among the properties of its layer.

The items lie in the default domain of a raster, or of the layer of a GeoPackage. Their names begin with `PREFIX`.
"""

import re

from osgeo import gdal

from .gdal_calls import open_dataset

PREFIX = "SCOREAD_"
_CONFIDENTIAL = (
    r"[\w\-]*(?:passw|pwd|token|secret|signature|credential|api[_-]?key|access[_-]?key|accountkey|auth)[\w\-]*|sig|key|user|username|uid"
)
_ITEM = re.compile(rf"(?i)(?<![\w/\\\-])({_CONFIDENTIAL})(\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&;,'\"]*)")


def write_provenance(target, facts):
    """Keep facts, name -> text, with a gdal.Dataset or an ogr.Layer that can be written; those without a text are left out."""
    for name, text in _items(facts):
        target.SetMetadataItem(name, text)


def described(facts):
    """The same in one text: older QGIS shows no metadata of a vector layer, but its description."""
    return "\n".join(f"{name}={text}" for name, text in _items(facts))


def _items(facts):
    return [(PREFIX + name.upper(), str(text)) for name, text in facts.items() if text not in (None, "")]


def read_provenance(source):
    """The facts, name -> text, that a gdal.Dataset or an ogr.Layer carries; {} where there are none."""
    items = source.GetMetadata() or {}
    return {name[len(PREFIX) :].lower(): text for name, text in items.items() if name.startswith(PREFIX)}


def provenance_of(path):
    """The facts of a file, be it a raster or a GeoPackage: see `read_provenance`. {} where it cannot be opened."""
    dataset, _ = open_dataset(path, gdal.OF_RASTER | gdal.OF_VECTOR)
    if dataset is None:
        return {}
    if dataset.RasterCount:
        return read_provenance(dataset)
    layer = dataset.GetLayer(0)
    return {} if layer is None else read_provenance(layer)


def without_secrets(source):
    """A path or connection string without the user names, passwords and tokens that it may hold."""
    source = re.sub(r"(\w+://)[^/@\s]+@", r"\1", str(source))
    source = re.sub(r"(?i)^((?:oci|geor|georaster):)[^@,/]*[,/][^@,]*([@,])", r"\1***\2", source)
    return _ITEM.sub(r"\1\2***", source)
