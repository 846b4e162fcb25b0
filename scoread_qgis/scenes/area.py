"""Areas on the ground."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from osgeo import ogr, osr


def square_metres(crs: str) -> Callable[[ogr.Geometry], float]:
    """A function from an ogr.Geometry of the CRS `crs` (WKT), polygons with x before y, to its area.

    In square metres: on the ellipsoid where the CRS is geographic, in the plane of the projection where it is projected. Otherwise in
    square units of the coordinates.
    """
    reference = osr.SpatialReference(crs) if crs else None
    if reference is None or not (reference.IsGeographic() or reference.IsProjected()):
        return lambda geometry: geometry.Area()
    if reference.IsProjected():
        unit = reference.GetLinearUnits()
        return lambda geometry: geometry.Area() * unit**2
    radians = reference.GetAngularUnits()
    major, minor = reference.GetSemiMajor(), reference.GetSemiMinor()
    eccentricity = max(1 - (minor / major) ** 2, 0.0) ** 0.5

    def on_ellipsoid(geometry: ogr.Geometry) -> float:
        total = 0.0
        for part in range(geometry.GetGeometryCount()):
            polygon = geometry.GetGeometryRef(part)
            rings = [polygon.GetGeometryRef(ring) for ring in range(polygon.GetGeometryCount())]
            outer, *holes = (_between_equator(ring, radians, eccentricity) for ring in rings)
            total += outer - sum(holes)
        return total * major**2 / 2

    return on_ellipsoid


def _between_equator(ring: ogr.Geometry, radians: float, eccentricity: float) -> float:
    """Integral of q over the longitudes along a ring with sides straight in longitude and latitude, by Simpson's rule on each side."""
    longitudes, latitudes = np.array(ring.GetPoints())[:, :2].T * radians
    latitudes = np.clip(latitudes, -np.pi / 2, np.pi / 2)
    at_points = _q(latitudes, eccentricity)
    between = _q((latitudes[1:] + latitudes[:-1]) / 2, eccentricity)
    return float(abs(np.sum(np.diff(longitudes) * (at_points[1:] + 4 * between + at_points[:-1]) / 6)))


def _q(latitudes: np.ndarray, eccentricity: float) -> np.ndarray:
    """q of Snyder (1987), Map projections: a working manual, equation 3-12.

    Half of it times the square of the semi-major axis is the area between the equator and the latitude, per radian of longitude.
    """
    sine = np.sin(latitudes)
    if eccentricity < 1e-9:
        return 2 * sine
    product = eccentricity * sine
    return (1 - eccentricity**2) * (sine / (1 - product**2) - np.log((1 - product) / (1 + product)) / (2 * eccentricity))
