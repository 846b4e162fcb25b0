"""A mask, or numbered regions, on the grid of a scene: shapes, or another raster, brought to the scene's CRS."""

import os

import numpy as np
from osgeo import gdal, ogr, osr

from ..core.files import scratch_folder


class Mask:
    """Pixels of a scene that may be used, read by rows. Kept in a compressed file of its own, which goes with the object.

    raster: the scene (`RasterFile`) that gives the grid. scratch: folder for the file; None for the system's. Fill it with `from_polygons` or `from_raster`.
    """

    kind = "mask"  # what messages call it
    _elsewhere = 0  # value where a raster has no data

    def __init__(self, raster, scratch=None):
        self._folder = scratch_folder("mask", scratch)
        self._path = os.path.join(self._folder.name, "mask.tif")
        self._columns = raster.columns
        self._dataset = gdal.GetDriverByName("GTiff").Create(
            self._path, raster.columns, raster.rows, 1, gdal.GDT_Float32, ["COMPRESS=LZW", "SPARSE_OK=TRUE", "BIGTIFF=IF_SAFER"]
        )
        if self._dataset is None:
            raise ValueError(self._no_space())
        if raster.geotransform:
            self._dataset.SetGeoTransform(raster.geotransform)
        self._dataset.SetProjection(raster.crs)

    @classmethod
    def from_polygons(cls, raster, polygons, crs, name="mask", scratch=None):
        """Pixels whose centre lies in one of the `polygons` (WKB) of the CRS `crs` (WKT, "" = that of the scene)."""
        mask = cls(raster, scratch)
        mask._burn(raster, [(wkb, 1) for wkb in polygons], crs)
        return mask._checked(raster, name)

    @classmethod
    def from_raster(cls, raster, source, crs=None, name="mask", scratch=None):
        """Pixels where the first band of the raster `source` is neither 0 nor nodata, by nearest neighbour. crs: WKT, by default the file's."""
        mask = cls(raster, scratch)
        other = gdal.OpenEx(str(source), gdal.OF_RASTER | gdal.OF_READONLY)
        if other is None:
            raise ValueError(f"The {cls.kind} {name} cannot be opened: {gdal.GetLastErrorMsg()}")
        georeferenced = bool(raster.crs and (crs or other.GetProjection()))
        if not georeferenced and (other.RasterXSize, other.RasterYSize) == (raster.columns, raster.rows):
            # Without a CRS, rasters of one size lie on each other.
            band, nodata = other.GetRasterBand(1), other.GetRasterBand(1).GetNoDataValue()
            for row in range(raster.rows):
                values = band.ReadAsArray(0, row, raster.columns, 1)
                known = np.isfinite(values) if nodata is None or np.isnan(nodata) else values != np.array(nodata).astype(values.dtype)
                mask._dataset.GetRasterBand(1).WriteArray(np.where(known, values, cls._elsewhere).astype(np.float32), 0, row)
        else:
            mask._dataset.GetRasterBand(1).Fill(cls._elsewhere)
            first_band = gdal.Translate("", other, format="VRT", bandList=[1], outputSRS=(crs or None) if georeferenced else None)
            if not georeferenced:
                mask._dataset.SetProjection("")
                first_band.SetProjection("")
            gdal.Warp(mask._dataset, first_band, resampleAlg="near")
        return mask._checked(raster, name)

    def _burn(self, raster, shapes, crs):
        """Write the value of each shape, (WKB, value), into the pixels whose centre it covers; later shapes over earlier ones."""
        store = vector_store()
        layer = store.CreateLayer("shapes", _reference(raster.crs), ogr.wkbUnknown)
        layer.CreateField(ogr.FieldDefn("value", ogr.OFTInteger))
        to_scene = None
        if crs and raster.crs:
            to_scene = osr.CoordinateTransformation(_reference(crs), _reference(raster.crs))
        for wkb, value in shapes:
            feature = ogr.Feature(layer.GetLayerDefn())
            geometry = ogr.CreateGeometryFromWkb(bytes(wkb))
            if to_scene is not None:
                geometry.Transform(to_scene)
            feature.SetGeometryDirectly(geometry)
            feature.SetField("value", value)
            layer.CreateFeature(feature)
        gdal.RasterizeLayer(self._dataset, [1], layer, options=["ATTRIBUTE=value"])
        self._dataset.FlushCache()

    def _checked(self, raster, name):
        self._dataset.FlushCache()
        if not any(self.read(row, row + 1).any() for row in range(raster.rows)):
            raise ValueError(
                f"The {self.kind} {name} does not touch {raster.name}. Check that both lie in the same place and that the {self.kind}'s CRS is right."
            )
        return self

    def read(self, first, last):
        """Rows first..last-1, (rows, columns) bool."""
        values = self._values(first, last)
        # Newer GDAL writes the least float for a 0 that is no nodata into a file whose nodata value is 0.
        return (np.abs(values) >= np.finfo(np.float32).tiny) & np.isfinite(values)

    def _values(self, first, last):
        values = self._dataset.GetRasterBand(1).ReadAsArray(0, first, self._columns, last - first)
        if values is None:  # GDAL told of a full disk when nobody listened
            raise ValueError(self._no_space())
        return values

    def _no_space(self):
        return (
            f"The {self.kind} cannot be kept in the temporary folder {self._folder.name}: {gdal.GetLastErrorMsg() or 'it cannot be written'}. Is the "
            "disk full? Free some space there, or choose another folder for temporary files."
        )


class RegionLabels(Mask):
    """Numbered regions: polygons, or points, which are the pixel that they lie in.

    shapes: WKB of the CRS `crs` (WKT, "" = that of the scene). They are numbered from 1; where some overlap, the first one has the pixel. A polygon
    too small to cover the centre of a pixel is the pixel that it lies in.
    """

    def __init__(self, raster, shapes, crs, scratch=None):
        super().__init__(raster, scratch)
        inside = [(ogr.CreateGeometryFromWkb(bytes(wkb)).PointOnSurface().ExportToWkb(), number) for number, wkb in enumerate(shapes, 1)]
        outlines = [(wkb, number) for number, wkb in enumerate(shapes, 1)]
        self._burn(raster, inside[::-1] + outlines[::-1], crs)
        self._numbers = np.arange(len(shapes) + 1)

    @property
    def count(self):
        return int(self._numbers.max())

    def keep(self, chosen):
        """Leave only the regions that `chosen` (count,) bool says, numbered anew from 1 in the same order."""
        self._numbers = np.concatenate([[0], np.where(chosen, np.cumsum(chosen), 0)])

    def labels(self, first, last):
        """Number of the region of each pixel of rows first..last-1, (rows, columns) int; 0 where there is none."""
        return self._numbers[self._values(first, last).astype(int)]


def vector_store():
    """A gdal.Dataset in memory for vector layers, for which GDAL had a driver of its own before version 3.11."""
    return gdal.GetDriverByName("MEM" if int(gdal.VersionInfo()) >= 3110000 else "Memory").Create("", 0, 0, 0, gdal.GDT_Unknown)


def _reference(wkt):
    """Spatial reference with x before y, as rasters and QGIS layers have it."""
    if not wkt:
        return None
    reference = osr.SpatialReference(wkt)
    reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return reference


def read_polygons(path):
    """The polygons of a vector file that GDAL opens, (WKB, ...), and their CRS as WKT, "" where unknown; () and "" for a raster.

    Raises ValueError, with the remedy, for what is neither and for a vector file without polygons.
    """
    gdal.ErrorReset()
    try:
        if gdal.OpenEx(str(path), gdal.OF_RASTER | gdal.OF_READONLY) is not None:
            return (), ""
        file = gdal.OpenEx(str(path), gdal.OF_VECTOR | gdal.OF_READONLY)
    except RuntimeError:  # where somebody switched GDAL's exceptions on
        file = None
    if file is None:
        raise ValueError(f"The mask {path} cannot be opened: {gdal.GetLastErrorMsg() or 'it is neither a raster nor a vector file'}.")
    polygons, crs = [], ""
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
