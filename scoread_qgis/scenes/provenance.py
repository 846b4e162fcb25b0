"""The provenance of a result, as GDAL metadata: plain names and texts, which QGIS shows among the properties of its layer.

The items are in the default domain of a raster, or of the layer of a GeoPackage. Their names begin with `PREFIX`.
"""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from typing import Union

from osgeo import gdal, ogr

from .gdal_calls import open_dataset
from .object_stores import in_object_store, unlisted

Facts = dict[str, object]  # name -> value
Source = Union[gdal.Dataset, ogr.Layer]

PREFIX = "SCOREAD_"
_CONFIDENTIAL = (
    r"[\w\-]*(?:passw|pwd|token|secret|signature|credential|api[_-]?key|access[_-]?key|accountkey|auth)[\w\-]*|sig|key|user|username|uid"
)
_ITEM = re.compile(rf"(?i)(?<![\w/\\\-])({_CONFIDENTIAL})(\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&;,'\"]*)")


def write_provenance(target: Source, facts: Facts) -> None:
    """Write facts into the metadata of a dataset or a layer; those that are None or "" are left out."""
    for name, text in _items(facts):
        target.SetMetadataItem(name, text)


def described(facts: Facts) -> str:
    """The same in one text: older QGIS shows the description of a vector layer, but not its metadata."""
    return "\n".join(f"{name}={text}" for name, text in _items(facts))


def _items(facts: Facts) -> list[tuple[str, str]]:
    return [(PREFIX + name.upper(), str(text)) for name, text in facts.items() if text not in (None, "")]


def read_provenance(source: Source) -> dict[str, str]:
    """The facts in the metadata of a dataset or a layer, name -> text; {} where there are none."""
    items = source.GetMetadata() or {}
    return {name[len(PREFIX) :].lower(): text for name, text in items.items() if name.startswith(PREFIX)}


def provenance_of(path: str | os.PathLike[str]) -> dict[str, str]:
    """The facts of a raster or a GeoPackage, as `read_provenance` returns them; {} where it cannot be opened."""
    with unlisted() if in_object_store(path) else nullcontext():
        dataset, _ = open_dataset(path, gdal.OF_RASTER | gdal.OF_VECTOR)
    if dataset is None:
        return {}
    if dataset.RasterCount:
        return read_provenance(dataset)
    layer = dataset.GetLayer(0)
    return {} if layer is None else read_provenance(layer)


def without_secrets(source: str | os.PathLike[str]) -> str:
    """A path or connection string without the user names, passwords and tokens that it may contain."""
    text = re.sub(r"(\w+://)[^/@\s]+@", r"\1", str(source))
    text = re.sub(r"(?i)^((?:oci|geor|georaster):)[^@,/]*[,/][^@,]*([@,])", r"\1***\2", text)
    return _ITEM.sub(r"\1\2***", text)
