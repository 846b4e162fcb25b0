"""A mask, or numbered regions, on the grid of a scene: shapes, or another raster, brought to the scene's CRS."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from osgeo import gdal, ogr, osr

from ..core.files import scratch_folder
from .gdal_calls import gdal_failures, open_dataset
from .georeference import PIXELS, Georeference
from .nodata import NoData

if TYPE_CHECKING:
    from .raster import RasterFile
    from .score_map import ScoreMap

_PIXELS_AT_A_TIME = 2**20
_COMPRESSED = ["COMPRESS=LZW", "SPARSE_OK=TRUE", "BIGTIFF=IF_SAFER"]
_UNKNOWN = -(2.0**127)  # stands for nodata in a copy of a mask; no mask has this value, which single precision holds exactly
AnyMask = TypeVar("AnyMask", bound="Mask")


class Mask:
    """Pixels of a scene that may be used, read by rows. Kept in a compressed file of its own, which is removed with the object.

    raster: the scene that gives the grid, a `RasterFile` or `ScoreMap`. scratch: folder for the file; None for the system's. Create masks
    with `from_polygons` or `from_raster`.
    """

    kind = "mask"  # what messages call it
    _elsewhere: float = 0  # value where a raster has no data

    def __init__(self, raster: RasterFile | ScoreMap, scratch: str | None = None) -> None:
        self._folder = scratch_folder("mask", scratch)
        self._path = os.path.join(self._folder.name, "mask.tif")
        self._columns = raster.columns
        with self._checked_calls():
            tiff = gdal.GetDriverByName("GTiff")
            self._dataset = tiff.Create(self._path, raster.columns, raster.rows, 1, gdal.GDT_Float32, _COMPRESSED)
        with self._checked_calls():
            raster.georeference.write(self._dataset)

    @contextmanager
    def _checked_calls(self) -> Iterator[None]:
        """Raise ValueError for a failure that GDAL reports inside."""
        with gdal_failures() as failures:
            yield
        if failures:
            raise ValueError(
                f"The {self.kind} cannot be brought to the grid of the scene, which takes a file in {self._folder.name}: {failures[0]}. "
                "Is the disk full? Free some space there, or choose another folder for temporary files."
            )

    @classmethod
    def from_polygons(
        cls: type[AnyMask],
        raster: RasterFile | ScoreMap,
        polygons: Sequence[bytes],
        crs: str,
        name: str = "mask",
        scratch: str | None = None,
    ) -> AnyMask:
        """Pixels whose centre lies in one of the `polygons` (WKB) of the CRS `crs` (WKT, "" = that of the scene)."""
        mask = cls(raster, scratch)
        mask._burn(raster, [(wkb, 1) for wkb in polygons], crs)
        return mask._checked(raster, name)

    @classmethod
    def from_raster(
        cls: type[AnyMask],
        raster: RasterFile | ScoreMap,
        source: str,
        crs: str | None = None,
        name: str = "mask",
        scratch: str | None = None,
        nodata: NoData | None = None,
    ) -> AnyMask:
        """Pixels where the first band of the raster `source` is neither 0 nor nodata, by nearest neighbour.

        crs: WKT, by default the file's. nodata: `NoData` of the user.
        """
        mask = cls(raster, scratch)
        other, reason = open_dataset(source)
        if other is None or other.RasterCount == 0:
            raise ValueError(f"The {cls.kind} {name} cannot be opened: {reason or 'it has no bands'}.")
        own = Georeference.of(other, crs)
        georeferenced = bool(raster.crs and own.crs)
        # Rasters of the same size are taken to coincide unless their georeferences say otherwise.
        same_bend = own.bent and (own.points, own.rpc) == (raster.georeference.points, raster.georeference.rpc)
        if (not georeferenced or same_bend) and (other.RasterXSize, other.RasterYSize) == (raster.columns, raster.rows):
            with mask._checked_calls():
                mask._copy(other.GetRasterBand(1), mask._dataset.GetRasterBand(1), nodata)
            return mask._checked(raster, name)
        with mask._checked_calls():
            known = gdal.Translate("", other, format="VRT", bandList=[1], outputSRS=(crs or None) if georeferenced else None)
            if nodata is not None:  # the user's, which GDAL does not know: a copy has it as if it were the file's
                path, tiff = os.path.join(mask._folder.name, "known.tif"), gdal.GetDriverByName("GTiff")
                known = tiff.Create(path, other.RasterXSize, other.RasterYSize, 1, gdal.GDT_Float32, _COMPRESSED)
                own.write(known)
                known.GetRasterBand(1).SetNoDataValue(_UNKNOWN)
                mask._copy(other.GetRasterBand(1), known.GetRasterBand(1), nodata, _UNKNOWN)
                known.FlushCache()
            mask._dataset.GetRasterBand(1).Fill(cls._elsewhere)
            if not georeferenced:
                mask._dataset.SetProjection("")
                known.SetProjection("")
            gdal.Warp(mask._dataset, known, resampleAlg="near")
        return mask._checked(raster, name)

    def _copy(self, band: gdal.Band, target: gdal.Band, nodata: NoData | None, elsewhere: float | None = None) -> None:
        """Copy a band to another of its size, with `elsewhere`, by default that of the class, where it has no data."""
        nodata = nodata or NoData()
        stored = nodata.stored(band)
        at_a_time = max(1, _PIXELS_AT_A_TIME // band.XSize)
        for row in range(0, band.YSize, at_a_time):
            values = band.ReadAsArray(0, row, band.XSize, min(at_a_time, band.YSize - row))
            known = np.isfinite(values) & (band.GetMaskBand().ReadAsArray(0, row, *values.shape[::-1]) != 0 if _has_mask(band) else True)
            if stored is not None:
                known &= values != values.dtype.type(stored)
            with np.errstate(over="ignore"):
                single = values.astype(np.float32)
            nodata.exclude(1, single, known)
            # Values too small or too large for single precision must still not be 0.
            single = np.where((values != 0) & ((single == 0) | ~np.isfinite(single)), np.float32(1), single)
            unknown = np.float32(self._elsewhere if elsewhere is None else elsewhere)
            target.WriteArray(np.where(known, single, unknown), 0, row)

    def _burn(self, raster: RasterFile | ScoreMap, shapes: Sequence[tuple[bytes, int]], crs: str) -> None:
        """Write the value of each shape, (WKB, value), into the pixels whose centre it covers; later shapes over earlier ones."""
        if raster.geotransform is None and not raster.georeference.bent:
            self._dataset.SetGeoTransform(PIXELS)  # shapes lie where QGIS draws the scene
        store = vector_store()
        layer = store.CreateLayer("shapes", _reference(raster.crs), ogr.wkbUnknown)
        layer.CreateField(ogr.FieldDefn("value", ogr.OFTInteger))
        to_scene = None
        if crs and raster.crs:
            with self._checked_calls():
                to_scene = osr.CoordinateTransformation(_reference(crs), _reference(raster.crs))
        for wkb, value in shapes:
            feature = ogr.Feature(layer.GetLayerDefn())
            geometry = _geometry(wkb)
            if to_scene is not None:
                with gdal_failures() as failures:
                    geometry.Transform(to_scene)
                if failures:
                    raise ValueError(
                        f"A polygon of the {self.kind} cannot be brought to the CRS of {raster.name}: {failures[0]}. Check its CRS."
                    )
            feature.SetGeometryDirectly(geometry)
            feature.SetField("value", value)
            layer.CreateFeature(feature)
        with self._checked_calls():
            gdal.RasterizeLayer(self._dataset, [1], layer, options=["ATTRIBUTE=value"])
            self._dataset.FlushCache()

    def _checked(self: AnyMask, raster: RasterFile | ScoreMap, name: str) -> AnyMask:
        """The mask itself, if it marks a pixel. Raises ValueError if it marks none."""
        self._dataset.FlushCache()
        if not any(self.read(row, row + 1).any() for row in range(raster.rows)):
            raise ValueError(
                f"The {self.kind} {name} does not touch {raster.name}. Check that both lie in the same place and that the {self.kind}'s "
                "CRS is right."
            )
        return self

    def read(self, first: int, last: int, left: int = 0, right: int | None = None) -> np.ndarray:
        """Rows first..last-1 of columns left..right-1, by default all, (rows, columns) bool."""
        values = self._values(first, last, left, right)
        # Newer GDAL writes the smallest float for a valid 0 into a file whose nodata value is 0.
        return (np.abs(values) >= np.finfo(np.float32).tiny) & np.isfinite(values)

    def _values(self, first: int, last: int, left: int = 0, right: int | None = None) -> np.ndarray:
        columns = (self._columns if right is None else right) - left
        with self._checked_calls():
            return self._dataset.GetRasterBand(1).ReadAsArray(int(left), int(first), int(columns), int(last - first))


class RegionLabels(Mask):
    """Numbered regions: polygons, or points, each of which stands for the pixel that contains it.

    shapes: WKB of the CRS `crs` (WKT, "" = that of the scene). They are numbered from 1; where some overlap, the pixel belongs to the
    first. A polygon too small to cover the centre of a pixel stands for the pixel that contains it.
    """

    def __init__(self, raster: RasterFile, shapes: Sequence[bytes], crs: str, scratch: str | None = None) -> None:
        super().__init__(raster, scratch)
        inside = [(_geometry(wkb).PointOnSurface().ExportToWkb(), number) for number, wkb in enumerate(shapes, 1)]
        outlines = [(wkb, number) for number, wkb in enumerate(shapes, 1)]
        self._burn(raster, inside[::-1] + outlines[::-1], crs)
        self._numbers = np.arange(len(shapes) + 1)

    @property
    def count(self) -> int:
        return int(self._numbers.max())

    def keep(self, chosen: np.ndarray) -> None:
        """Keep only the regions that are True in `chosen` (count,), renumbered from 1 in the same order."""
        self._numbers = np.concatenate([[0], np.where(chosen, np.cumsum(chosen), 0)])

    def labels(self, first: int, last: int, left: int = 0, right: int | None = None) -> np.ndarray:
        """Number of the region of each pixel of rows first..last-1 of columns left..right-1, by default all, (rows, columns) int; 0 where
        there is none.
        """
        return self._numbers[self._values(first, last, left, right).astype(int)]


def vector_store() -> gdal.Dataset:
    """A dataset in memory for vector layers. GDAL before version 3.11 has a separate driver for it."""
    driver = gdal.GetDriverByName("MEM" if int(gdal.VersionInfo()) >= 3110000 else "Memory")
    return driver.Create("", 0, 0, 0, gdal.GDT_Unknown)


def _geometry(wkb: bytes) -> ogr.Geometry:
    """A geometry without curves, which GDAL ignores when it burns shapes into a raster."""
    return ogr.CreateGeometryFromWkb(bytes(wkb)).GetLinearGeometry()


def _has_mask(band: gdal.Band) -> bool:
    """Whether a band has a mask of its own or an alpha band, apart from its nodata value."""
    return not band.GetMaskFlags() & (gdal.GMF_ALL_VALID | gdal.GMF_NODATA)


def _reference(wkt: str) -> osr.SpatialReference | None:
    """Spatial reference with x before y, as rasters and QGIS layers have it."""
    if not wkt:
        return None
    reference = osr.SpatialReference(wkt)
    reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return reference


def read_polygons(path: str | os.PathLike[str]) -> tuple[tuple[bytes, ...], str]:
    """The polygons of a vector file that GDAL opens, as WKB, and their CRS as WKT, "" where unknown; () and "" for a raster.

    Raises ValueError, with the remedy, if the file is neither a raster nor a vector file with polygons.
    """
    if open_dataset(path)[0] is not None:
        return (), ""
    file, reason = open_dataset(path, gdal.OF_VECTOR)
    if file is None:
        raise ValueError(f"The mask {path} cannot be opened: {reason}. It is neither a raster nor a vector file that GDAL reads.")
    polygons: list[bytes] = []
    crs = ""
    for index in range(file.GetLayerCount()):
        layer = file.GetLayer(index)
        for feature in layer:
            geometry = feature.GetGeometryRef()
            if geometry is not None and ogr.GT_Flatten(geometry.GetGeometryType()) in _AREAS:
                polygons.append(bytes(geometry.ExportToWkb()))
        if polygons:  # those of the first layer that has any
            crs = layer.GetSpatialRef().ExportToWkt() if layer.GetSpatialRef() else ""
            break
    if not polygons:
        raise ValueError(f"The mask {path} holds no polygons. Choose a file with polygons, or a raster.")
    return tuple(polygons), crs


_AREAS = (ogr.wkbPolygon, ogr.wkbMultiPolygon, ogr.wkbCurvePolygon, ogr.wkbMultiSurface)
