"""Regions as polygons in a GeoPackage that appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from osgeo import gdal, ogr, osr

from ..core.files import scratch_folder, unfinished_file
from ..core.progress import Cancelled, Progress
from .area import square_metres
from .gdal_calls import gdal_failures, open_dataset
from .georeference import PIXELS
from .mask import vector_store
from .provenance import Facts, described, write_provenance

if TYPE_CHECKING:
    from .georeference import Georeference
    from .score_map import ScoreMap

# Without a CRS, GeoPackages would call the coordinates degrees.
NO_CRS = 'LOCAL_CS["Undefined Cartesian SRS",UNIT["unknown",1],AXIS["X",EAST],AXIS["Y",NORTH]]'
_FIELDS = {
    "rank": ogr.OFTInteger, "area": ogr.OFTReal, "pixels": ogr.OFTInteger64, "peak": ogr.OFTReal, "mean": ogr.OFTReal,
    "p_value": ogr.OFTReal, "x": ogr.OFTReal, "y": ogr.OFTReal,
}  # fmt: skip


class Regions(Protocol):
    """What is written of `decisions.regions.Regions`, one entry each, in the order of their ranks."""

    @property
    def pixels(self) -> np.ndarray: ...
    @property
    def peaks(self) -> np.ndarray: ...
    @property
    def means(self) -> np.ndarray: ...
    @property
    def centroids(self) -> np.ndarray: ...
    def __len__(self) -> int: ...


class LabelFile:
    """Labels of the regions of a map, in a compressed file of its own, which is removed with the object. Written by rows.

    score_map: `ScoreMap` that gives the grid. scratch: folder for the file; None for the system's.
    """

    def __init__(self, score_map: ScoreMap, scratch: str | None = None) -> None:
        self._folder = scratch_folder("regions", scratch)
        self.georeference = score_map.georeference
        self.geotransform = score_map.geotransform or PIXELS
        self.crs = score_map.crs
        with self._checked():
            self.dataset = gdal.GetDriverByName("GTiff").Create(
                os.path.join(self._folder.name, "labels.tif"), score_map.columns, score_map.rows, 1, gdal.GDT_Int32,
                ["COMPRESS=LZW", "SPARSE_OK=TRUE", "BIGTIFF=IF_SAFER"],
            )  # fmt: skip
        self.dataset.SetGeoTransform(self.geotransform)

    def write(self, row: int, labels: np.ndarray) -> None:
        """Rows from `row` on, (rows, columns) int32, 0 where no region is."""
        if labels.any():
            with self._checked():
                self.dataset.GetRasterBand(1).WriteArray(labels, 0, int(row))

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Raise ValueError for a failure that GDAL reports inside."""
        with gdal_failures() as failures:
            yield
        if failures:
            raise ValueError(f"The temporary folder {self._folder.name} cannot be written: {failures[0]}. Is the disk full?")

    def polygons(self, progress: Progress) -> dict[int, ogr.Geometry]:
        """Label -> its area as an OGR MultiPolygon of 4-connected polygons, so that it is valid."""
        with self._checked():
            self.dataset.FlushCache()
        store = vector_store()
        layer = store.CreateLayer("parts", None, ogr.wkbPolygon)
        layer.CreateField(ogr.FieldDefn("label", ogr.OFTInteger))
        raised: list[Cancelled] = []

        def report(fraction: float, message: str, data: object) -> int:
            try:
                progress(fraction, "drawing outlines")
            except Cancelled as cancelled:
                raised.append(cancelled)
                return 0
            return 1

        gdal.ErrorReset()
        band = self.dataset.GetRasterBand(1)
        try:
            failed = gdal.Polygonize(band, band, layer, 0, [], report) != gdal.CE_None
        except RuntimeError:
            failed = True
        if raised:
            raise raised[0]
        if failed:
            raise ValueError(f"The outlines of the regions cannot be drawn: {gdal.GetLastErrorMsg()}. Is the disk full?")
        polygons: dict[int, ogr.Geometry] = {}
        for feature in layer:
            polygons.setdefault(feature.GetField(0), ogr.Geometry(ogr.wkbMultiPolygon)).AddGeometry(feature.GetGeometryRef())
        return _bend(polygons, self.georeference) if self.georeference.bent else polygons

    def places(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y of fractional rows and columns, counted from the upper left corner."""
        if self.georeference.bent:
            x, y = self.georeference.to_map(np.stack([columns, rows], axis=1)).T
            return x, y
        origin_x, width, skew_x, origin_y, skew_y, height = self.geotransform
        return origin_x + columns * width + rows * skew_x, origin_y + columns * skew_y + rows * height


def _bend(polygons: dict[int, ogr.Geometry], georeference: Georeference) -> dict[int, ogr.Geometry]:
    """Polygons whose x is the column and -y the row of a raster, at the places where its control points or RPC put them."""
    rings = []
    for polygon in polygons.values():
        polygon.Segmentize(1.0)  # a side that is straight in the raster is not straight on the map
        rings += [part.GetGeometryRef(ring) for part in polygon for ring in range(part.GetGeometryCount())]
    if rings:
        points = [np.array(ring.GetPoints())[:, :2] * (1, -1) for ring in rings]
        ends = np.cumsum([len(each) for each in points])[:-1]
        for ring, moved in zip(rings, np.split(georeference.to_map(np.concatenate(points)), ends)):
            for index, (x, y) in enumerate(moved.tolist()):
                ring.SetPoint_2D(index, x, y)
    return polygons


def write_regions(
    path: str | os.PathLike[str],
    labels: LabelFile,
    regions: Regions,
    p_values: np.ndarray,
    progress: Progress | None = None,
    metadata: Facts | None = None,
) -> None:
    """Write `regions` (`decisions.regions.Regions`) as polygons to the GeoPackage `path`, in the order of their ranks.

    labels: `LabelFile` with their ranks. p_values: (n,) of the peaks, NaN where not known. The fields are id and rank, 1 for the highest
    peak; area in m² (`square_metres`), pixels, peak and mean score, p_value, and x and y of the centroid. Without CRS and georeference, x
    is the column and -y the row, as QGIS draws such rasters. metadata: facts of `provenance.write_provenance`, or None. Raises ValueError,
    with the remedy, where it cannot be written.
    """
    progress = progress or Progress()
    polygons = labels.polygons(progress.part(0.0, 0.5))
    area = square_metres(labels.crs)
    x, y = labels.places(*(regions.centroids.T + 0.5)) if len(regions) else (np.empty(0), np.empty(0))
    numbers = {
        "rank": np.arange(1, len(regions) + 1),
        "area": np.array([area(polygons[rank]) for rank in range(1, len(regions) + 1)]),
        "pixels": regions.pixels,
        "peak": regions.peaks,
        "mean": regions.means,
        "p_value": p_values,
        "x": x,
        "y": y,
    }
    shapes, ids = [polygons[rank] for rank in range(1, len(regions) + 1)], list(range(1, len(regions) + 1))
    columns = {field: values.tolist() for field, values in numbers.items()}
    _write(path, labels.crs, shapes, ("id", ids), columns, _FIELDS, metadata or {}, progress.part(0.5, 1.0))


def write_fields(
    path: str | os.PathLike[str],
    crs: str,
    shapes: Sequence[bytes],
    ids: Sequence[object],
    fields: dict[str, Sequence[Any]],
    kinds: dict[str, type],
    progress: Progress | None = None,
    metadata: Facts | None = None,
) -> None:
    """Write regions with all of their fields to the GeoPackage `path`, whole or not at all.

    shapes: WKB in the CRS `crs` (WKT, "" = unknown). ids: of each. fields: name -> value of each, None or NaN where it has none. kinds:
    int, float or str of some of them; those of the others follow from the values. metadata: as of `write_regions`. Raises ValueError, with
    the remedy, where it cannot be written.
    """
    geometries = [ogr.CreateGeometryFromWkb(bytes(wkb)) for wkb in shapes]
    shaped = {ogr.GT_Flatten(each.GetGeometryType()) for each in geometries}
    kind = ogr.wkbUnknown
    if shaped <= {ogr.wkbPolygon, ogr.wkbMultiPolygon}:
        kind, geometries = ogr.wkbMultiPolygon, [ogr.ForceToMultiPolygon(each) for each in geometries]
    elif shaped <= {ogr.wkbPoint, ogr.wkbMultiPoint}:
        several = ogr.wkbMultiPoint in shaped
        kind, geometries = (
            (ogr.wkbMultiPoint, [ogr.ForceToMultiPoint(each) for each in geometries]) if several else (ogr.wkbPoint, geometries)
        )
    numbered = all(isinstance(each, int) and each >= 0 for each in ids) and len(set(ids)) == len(ids)
    key, columns = "id" if numbered else "fid", {}
    taken = {key, "geom"}
    for name, values in fields.items():
        if name.lower() == key:
            continue
        while name.lower() in taken:  # SQLite tells names apart whatever their case
            name += "_1"
        taken.add(name.lower())
        columns[name] = [int(value) if isinstance(value, bool) else value for value in values]
    fitting = {name: _OGR_KINDS[kinds.get(name) or _kind(values)] for name, values in columns.items()}
    numbers = [int(each) for each in ids] if numbered else list(range(1, len(ids) + 1))  # type: ignore[call-overload]
    _write(path, crs, geometries, (key, numbers), columns, fitting, metadata or {}, progress or Progress(), kind)


_OGR_KINDS = {int: ogr.OFTInteger64, float: ogr.OFTReal, str: ogr.OFTString}


def _kind(values: Sequence[Any]) -> type:
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, int) for value in known):
        return int
    return float if known and all(isinstance(value, (int, float)) for value in known) else str


def read_regions(
    path: str | os.PathLike[str],
) -> tuple[tuple[bytes, ...], tuple[int, ...], dict[str, tuple[Any, ...]], str]:
    """The polygons or points of a vector file: WKB, feature ids, fields (name -> value of each), and CRS as WKT, "" where unknown.

    Of the first layer that has any. Raises ValueError, with the remedy, if the file holds none.
    """
    file, reason = open_dataset(path, gdal.OF_VECTOR)
    if file is None:
        raise ValueError(f"The regions {path} cannot be opened: {reason}. Give a vector file with polygons or points.")
    for layer in (file.GetLayer(index) for index in range(file.GetLayerCount())):
        if layer.GetGeomType() == ogr.wkbNone:
            continue
        definition = layer.GetLayerDefn()
        fields = [definition.GetFieldDefn(index) for index in range(definition.GetFieldCount())]
        known = [(index, each.GetName()) for index, each in enumerate(fields) if each.GetType() != ogr.OFTBinary]
        shapes, ids = [], []
        columns: dict[str, list[Any]] = {name: [] for _, name in known}
        for feature in layer:
            geometry = feature.GetGeometryRef()
            if geometry is None or ogr.GT_Flatten(geometry.GetGeometryType()) not in _PLACES:
                continue
            shapes.append(bytes(geometry.ExportToWkb()))
            ids.append(feature.GetFID())
            for index, name in known:
                value = feature.GetField(index) if feature.IsFieldSetAndNotNull(index) else None
                columns[name].append(value if isinstance(value, (int, float, str)) or value is None else feature.GetFieldAsString(index))
        if shapes or not layer.GetFeatureCount():
            crs = layer.GetSpatialRef().ExportToWkt() if layer.GetSpatialRef() else ""
            return tuple(shapes), tuple(ids), {name: tuple(values) for name, values in columns.items()}, crs
    raise ValueError(f"The regions {path} hold neither polygons nor points. Give a vector file that does.")


_PLACES = (ogr.wkbPolygon, ogr.wkbMultiPolygon, ogr.wkbCurvePolygon, ogr.wkbMultiSurface, ogr.wkbPoint, ogr.wkbMultiPoint)


def _write(
    path: str | os.PathLike[str],
    crs: str,
    shapes: Sequence[ogr.Geometry],
    ids: tuple[str, list[int]],
    fields: dict[str, list[Any]],
    kinds: dict[str, int],
    metadata: Facts,
    progress: Progress,
    geometry: int = ogr.wkbMultiPolygon,
) -> None:
    """Write the GeoPackage `path`. ids: name of that column, and values."""
    with unfinished_file(path, "GeoPackage", ending=".gpkg") as part:  # GDAL knows GeoPackages by their suffix
        with gdal_failures() as failures:
            _fill(str(part), Path(path).stem, crs, shapes, ids, fields, kinds, metadata, progress, geometry)
        if failures:
            raise ValueError(f"{path} cannot be written: {failures[0]}. Is the disk full? Or was its folder removed?")


def _fill(
    path: str,
    name: str,
    crs: str,
    shapes: Sequence[ogr.Geometry],
    ids: tuple[str, list[int]],
    fields: dict[str, list[Any]],
    kinds: dict[str, int],
    metadata: Facts,
    progress: Progress,
    geometry: int,
) -> None:
    dataset = gdal.GetDriverByName("GPKG").Create(path, 0, 0, 0, gdal.GDT_Unknown)
    if dataset is None:
        return  # and GDAL has said why
    options = [f"FID={ids[0]}", "GEOMETRY_NAME=geom", f"DESCRIPTION={described(metadata)}"]
    layer = dataset.CreateLayer(name, osr.SpatialReference(crs or NO_CRS), geometry, options)
    for field, kind in kinds.items():
        layer.CreateField(ogr.FieldDefn(field, kind))
    write_provenance(layer, metadata)
    columns = [(layer.GetLayerDefn().GetFieldIndex(field), values) for field, values in fields.items()]
    count, feature = len(shapes), None
    try:
        dataset.StartTransaction()
        for index in range(count):
            if index % 1000 == 0:
                progress(index / count, f"writing region {index + 1} of {count}")
            feature = ogr.Feature(layer.GetLayerDefn())
            feature.SetFID(ids[1][index])
            for field, values in columns:
                if values[index] is not None and values[index] == values[index]:  # neither unknown nor NaN, which are left unset
                    feature.SetField(field, values[index])
            feature.SetGeometry(shapes[index])
            layer.CreateFeature(feature)
        dataset.CommitTransaction()
    finally:  # in this order, and before the file is moved or removed
        feature = None
        layer = None
        dataset = None
