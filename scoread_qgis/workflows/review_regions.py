"""The list of regions under review: what their file says, and where a map and its scene are."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from osgeo import gdal, ogr

from ..scenes.gdal_calls import gdal_failures, open_dataset
from ..scenes.provenance import read_provenance
from .accepted import FIELDS

NUMBERS = ("rank", "peak", "pixels", "area", "group")  # fields of the regions that are listed, where there are
MATCHES = ("match_1", "match_2", "match_3")


@dataclass
class RegionList:
    """The regions of a file, one entry each, by rank.

    ids: feature ids. columns: each of `NUMBERS` -> (n,) float64, NaN where there is none. matches: names of the best library spectra, the
    best first. verdicts, notes, reviewed: texts, "" where there is none. shapes: their geometries as WKB. facts: their provenance. crs: WKT
    or "". state: `file_state` of the file that was read.
    """

    ids: list[int]
    columns: dict[str, np.ndarray]
    matches: list[tuple[str, ...]]
    verdicts: list[str]
    notes: list[str]
    reviewed: list[str]
    shapes: list[bytes]
    facts: dict[str, str]
    crs: str
    state: tuple[int, int] | None

    def __len__(self) -> int:
        return len(self.ids)


def read_regions(path: str, layer_name: str = "") -> RegionList:
    """The `RegionList` of a vector file; those without a rank get one by the order of their ids. Raises ValueError if unreadable."""
    state = file_state(path)
    dataset, reason = open_dataset(path, gdal.OF_VECTOR)
    layer = None if dataset is None else dataset.GetLayerByName(layer_name) if layer_name else dataset.GetLayer(0)
    if layer is None:
        raise ValueError(
            f"{path} cannot be read as regions: {reason or 'it has no such layer'}. Choose a layer that Extract anomalies made."
        )
    names = [field.GetName() for field in layer.schema]
    numbers: dict[str, list[float]] = {name: [] for name in NUMBERS}
    texts: dict[str, list[str]] = {name: [] for name in (*FIELDS, *MATCHES)}
    ids, shapes = [], []
    with gdal_failures() as failures:
        for feature in layer:
            geometry = feature.GetGeometryRef()
            if geometry is None or geometry.IsEmpty():
                continue
            ids.append(feature.GetFID())
            shapes.append(bytes(geometry.ExportToWkb()))
            for name, values in numbers.items():
                known = name in names and not feature.IsFieldNull(name) and feature.IsFieldSet(name)
                values.append(feature.GetFieldAsDouble(name) if known else np.nan)
            for name, entries in texts.items():
                known = name in names and not feature.IsFieldNull(name) and feature.IsFieldSet(name)
                entries.append(feature.GetFieldAsString(name) if known else "")
    if failures:
        raise ValueError(f"{path} cannot be read: {failures[0]}.")
    columns = {name: np.array(values, np.float64) for name, values in numbers.items()}
    if np.isnan(columns["rank"]).any():
        columns["rank"] = np.arange(1.0, len(ids) + 1)
    order = np.argsort(columns["rank"], kind="stable")
    reference = layer.GetSpatialRef()
    crs = "" if reference is None or reference.IsLocal() else reference.ExportToWkt()
    verdicts, notes, reviewed = ([texts[name][i] for i in order] for name in FIELDS)
    matches = [tuple(filter(None, (texts[name][i] for name in MATCHES))) for i in order]
    return RegionList(
        [ids[i] for i in order], {name: values[order] for name, values in columns.items()}, matches, verdicts, notes, reviewed,
        [shapes[i] for i in order], read_provenance(layer), crs, state,
    )  # fmt: skip


def file_state(path: str) -> tuple[int, int] | None:
    """What tells a file from another that took its name: its device and its number there; None where it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def boxes(shapes: list[bytes]) -> np.ndarray:
    """Least and largest x, least and largest y of geometries in WKB, (n, 4)."""
    return np.array([ogr.CreateGeometryFromWkb(wkb).GetEnvelope() for wkb in shapes]).reshape(-1, 4)


def related_file(named: str | None, beside: str) -> str | None:
    """A file that a result names as its origin: where it was, or under its name beside the result; None where it is not."""
    if not named:
        return None
    if os.path.exists(named) or not os.path.splitext(named)[1]:
        return named if open_dataset(named, gdal.OF_RASTER)[0] is not None else None
    moved = os.path.join(os.path.dirname(os.path.abspath(beside)), os.path.basename(named.replace("\\", "/")))
    return moved if os.path.exists(moved) else None
