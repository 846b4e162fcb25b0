"""The index of results: a table of all scenes, with how each ended."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import whole_file
from ..scenes.ground import longitudes_latitudes
from ..scenes.object_stores import existing, open_text
from ..scenes.provenance import provenance_of
from ..workflows.outputs import write_table
from .files import UsageError

if TYPE_CHECKING:
    from ..workflows.detect import Detection, Outcome

Row = dict[str, Any]  # name of a column -> value, "" for none

FIELDS = ("scene", "map", "status", "seconds", "fit", "threshold", "regions", "pixels", "error")
_WRITE_SECONDS = 60  # between two states of the file: what is killed has at least those
DONE, DONE_BEFORE, FAILED, NOT_DONE = "done", "done before", "failed", "not done"


class Index:
    """A row for each `Detection`, not done at first. path: .csv or .geojson that `write` writes, or None for neither.

    Rows of maps that were made by runs before are those of the file that is there.
    """

    def __init__(self, path: str | None, detections: Sequence[Detection]) -> None:
        self._written = time.monotonic()
        self._outlines: dict[str, dict[str, Any] | None] = {}
        self._path, self._detections = path, {detection.output: detection for detection in detections}
        self._before = _read(path) if path and existing([path]) else {}
        self._rows = {each.output: _row(each, NOT_DONE) for each in detections}

    def skip(self, detection: Detection) -> None:
        """Note that the map of a detection was made before."""
        before = self._before.get(detection.output) or {"fit": provenance_of(detection.output).get("fit", "")}
        row = {**self._rows[detection.output], **before, "status": DONE_BEFORE, "error": ""}
        self._rows[detection.output] = row

    def add(self, outcome: Outcome) -> Row:
        """Note an `Outcome`, and return its row."""
        row = _row(outcome.detection, FAILED if outcome.error else DONE)
        row.update(seconds=round(outcome.seconds, 2), error=outcome.error)
        if outcome.fit is not None:
            row["fit"] = round(outcome.fit, 4)
        if outcome.counts:
            row.update(threshold=float(f"{outcome.counts.threshold:.9g}"), regions=outcome.counts.regions, pixels=outcome.counts.pixels)
        self._rows[outcome.detection.output] = row
        if self._path and time.monotonic() - self._written > _WRITE_SECONDS:
            self.write(ended=False)
        return row

    def write(self, ended: bool = True) -> None:
        """Write the file, where one is wanted. Raises ValueError where that fails.

        ended: no scene is left to do. Before that, scenes that are not done have no outline: there may be many to open.
        """
        if not self._path:
            return
        self._written = time.monotonic()
        if not self._path.lower().endswith(".geojson"):
            write_table(self._path, FIELDS, ([row[name] for name in FIELDS] for row in self._rows.values()))
            return
        features = [
            {"type": "Feature", "properties": plain(row), "geometry": self._outline(output) if ended or row["status"] != NOT_DONE else None}
            for output, row in self._rows.items()
        ]
        with whole_file(self._path, "index") as part, part.open("w", encoding="utf-8") as file:
            json.dump({"type": "FeatureCollection", "features": features}, file, ensure_ascii=False)

    def _outline(self, output: str) -> dict[str, Any] | None:
        if output not in self._outlines:
            self._outlines[output] = _footprint(self._detections[output])
        return self._outlines[output]


def plain(row: Row) -> Row:
    """A row for JSON, which has null where a table has an empty cell."""
    return {name: None if value == "" else value for name, value in row.items()}


def _row(detection: Detection, status: str) -> Row:
    source = detection.scene.source if os.path.exists(detection.scene.source) else detection.scene.name
    return {**dict.fromkeys(FIELDS, ""), "scene": source, "map": detection.output, "status": status}


def _read(path: str) -> dict[str, Row]:
    """The rows of an index by the paths of their maps. Raises UsageError for a file that is none."""
    try:
        with open_text(path) as file:
            if path.lower().endswith(".geojson"):
                rows = [feature["properties"] for feature in json.load(file)["features"]]
            else:
                rows = list(csv.DictReader(file))
        return {row["map"]: {name: "" if row[name] is None else row[name] for name in FIELDS} for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        raise UsageError(f"{path} is there, and is no index of results. Choose another name.") from None


def _footprint(detection: Detection) -> dict[str, Any] | None:
    """The outline of a scene in longitude and latitude, as GeoJSON; None where that is not known."""
    try:
        raster = detection.scene.open()
    except ValueError:
        return None
    if not raster.geotransform or not raster.crs:
        return None
    x, by_column, by_row, y, down_column, down_row = raster.geotransform
    corners = [(0, 0), (0, raster.rows), (raster.columns, raster.rows), (raster.columns, 0), (0, 0)]
    places = np.array([(x + column * by_column + row * by_row, y + column * down_column + row * down_row) for column, row in corners])
    outline = longitudes_latitudes(places, raster.crs)
    if outline is None or not np.isfinite(outline).all():
        return None
    return {"type": "Polygon", "coordinates": [outline.round(7).tolist()]}
