"""Regions as polygons in a GeoPackage that appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from osgeo import gdal, ogr, osr

from ..core.files import scratch_folder, unfinished_file
from ..core.progress import Cancelled, Progress
from .area import square_metres
from .gdal_calls import gdal_failures
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
    with unfinished_file(path, "GeoPackage", ending=".gpkg") as part:  # GDAL knows GeoPackages by their suffix
        with gdal_failures() as failures:
            _fill(str(part), Path(path).stem, labels.crs, polygons, numbers, metadata or {}, progress.part(0.5, 1.0))
        if failures:
            raise ValueError(f"{path} cannot be written: {failures[0]}. Is the disk full? Or was its folder removed?")


def _fill(
    path: str,
    name: str,
    crs: str,
    polygons: dict[int, ogr.Geometry],
    numbers: dict[str, np.ndarray],
    metadata: Facts,
    progress: Progress,
) -> None:
    dataset = gdal.GetDriverByName("GPKG").Create(path, 0, 0, 0, gdal.GDT_Unknown)
    if dataset is None:
        return  # and GDAL has said why
    options = ["FID=id", "GEOMETRY_NAME=geom", f"DESCRIPTION={described(metadata)}"]
    layer = dataset.CreateLayer(name, osr.SpatialReference(crs or NO_CRS), ogr.wkbMultiPolygon, options)
    for field, kind in _FIELDS.items():
        layer.CreateField(ogr.FieldDefn(field, kind))
    write_provenance(layer, metadata)
    columns = [(field, values.tolist()) for field, values in numbers.items()]
    count, feature = len(columns[0][1]), None
    try:
        dataset.StartTransaction()
        for index in range(count):
            if index % 1000 == 0:
                progress(index / count, f"writing region {index + 1} of {count}")
            feature = ogr.Feature(layer.GetLayerDefn())
            feature.SetFID(index + 1)
            for field, values in columns:
                if values[index] == values[index]:  # not NaN, which is left unset
                    feature.SetField(field, values[index])
            feature.SetGeometry(polygons[index + 1])
            layer.CreateFeature(feature)
        dataset.CommitTransaction()
    finally:  # in this order, and before the file is moved or removed
        feature = None
        layer = None
        dataset = None
