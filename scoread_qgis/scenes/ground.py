"""What lies where on Earth: longitude and latitude of the pixels of a scene, and north and the size of a pixel around a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from osgeo import osr

from .gdal_calls import gdal_failures
from .georeference import PIXELS

if TYPE_CHECKING:
    from .raster import RasterFile

_RADIUS, _ECCENTRICITY = 6_378_137.0, 0.00669437999014  # m, squared: WGS 84
_STEP = 1e-4  # degrees towards north, some ten metres


def crs_name(crs: str) -> str:
    """What people call a CRS, WKT: its name, with the code of its authority where it has one; "" where there is none on Earth."""
    reference = on_earth(crs)
    if reference is None:
        return ""
    authority, code = reference.GetAuthorityName(None), reference.GetAuthorityCode(None)
    return f"{reference.GetName()} ({authority}:{code})" if authority and code else reference.GetName()


def longitudes_latitudes(points: np.ndarray, crs: str) -> np.ndarray | None:
    """Longitude and latitude (n, 2) in degrees of WGS 84 of points (n, 2) of a CRS, WKT; NaN where there are none.

    None where the CRS is not one on Earth.
    """
    reference = on_earth(crs)
    return None if reference is None else _transformed(points, reference, wgs84())


@dataclass(frozen=True)
class Ground:
    """The ground around a pixel. across, down: metres from a pixel to the next one in its row, and in its column. north: unit vector (to
    the right, down) in the picture that points north; in the metres of the ground, so that it is right in a picture of that shape."""

    across: float
    down: float
    north: tuple[float, float]


def ground_at(raster: RasterFile, row: float, column: float) -> Ground | None:
    """The `Ground` around a place of a `RasterFile`, counted from the centre of its first pixel; None where nothing tells where it is."""
    reference = on_earth(raster.crs)
    if reference is None or (raster.geotransform is None and not raster.georeference.bent):
        return None
    places = np.array([[column, row], [column + 1, row], [column, row + 1]]) + 0.5
    corners = _transformed(to_map(raster, places), reference, wgs84())
    northwards = _transformed(corners[:1] + (0, _STEP if corners[0, 1] < 89 else -_STEP), wgs84(), reference)
    there = _to_pixels(raster, northwards)[0] - places[0]
    latitude = np.radians(corners[0, 1])
    flat = 1 - _ECCENTRICITY * np.sin(latitude) ** 2
    # radii of curvature across and along the meridian
    radii = _RADIUS / np.sqrt(flat) * np.cos(latitude), _RADIUS * (1 - _ECCENTRICITY) / flat**1.5
    across, down = np.hypot(*(np.radians(corners[1:] - corners[0]) * radii).T)
    vector = there * (across, down) * (1 if corners[0, 1] < 89 else -1)
    length = float(np.hypot(*vector))
    if not np.isfinite([across, down, length]).all() or min(across, down, length) <= 0:
        return None
    return Ground(float(across), float(down), (float(vector[0]) / length, float(vector[1]) / length))


def on_earth(crs: str) -> osr.SpatialReference | None:
    """The reference of a CRS with x before y, as rasters and QGIS layers have it; None for one that is not on Earth."""
    reference = osr.SpatialReference(crs) if crs else None
    if reference is None or not (reference.IsGeographic() or reference.IsProjected()):
        return None
    reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return reference


def wgs84() -> osr.SpatialReference:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(4326)
    reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return reference


def _transformed(points: np.ndarray, source: osr.SpatialReference, target: osr.SpatialReference) -> np.ndarray:
    """Points (n, 2), NaN where they cannot be transformed."""
    points = np.asarray(points, np.float64)
    found = np.full(points.shape, np.nan)
    known = np.isfinite(points).all(axis=1)
    with gdal_failures():
        transformation = osr.CoordinateTransformation(source, target)
        if known.any():
            found[known] = np.array(transformation.TransformPoints(points[known].tolist()))[:, :2]
    return np.where(np.isfinite(found), found, np.nan)


def to_map(raster: RasterFile, places: np.ndarray) -> np.ndarray:
    """Map coordinates (n, 2) of (column, row) places (n, 2), counted from the upper left corner; as QGIS draws it without georeference."""
    if raster.georeference.bent:
        return raster.georeference.to_map(places)
    x0, xc, xr, y0, yc, yr = raster.geotransform or PIXELS
    return np.asarray(places) @ np.array([[xc, yc], [xr, yr]]) + (x0, y0)


def _to_pixels(raster: RasterFile, points: np.ndarray) -> np.ndarray:
    """The inverse of `_to_map`."""
    if raster.georeference.bent:
        return raster.georeference.to_pixels(points)
    x0, xc, xr, y0, yc, yr = raster.geotransform  # type: ignore[misc]  # asked for only where there is one
    return np.linalg.solve([[xc, xr], [yc, yr]], (points - (x0, y0)).T).T
