"""Areas on the ground."""

import numpy as np
from osgeo import osr


def square_metres(crs):
    """A function from an ogr.Geometry of the CRS `crs` (WKT), polygons with x before y, to its area.

    In square metres: on the ellipsoid where the CRS is geographic, in the plane of the projection where it is projected. Else in square units of the
    coordinates.
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

    def on_ellipsoid(geometry):
        total = 0.0
        for part in range(geometry.GetGeometryCount()):
            polygon = geometry.GetGeometryRef(part)
            rings = [_between_equator(polygon.GetGeometryRef(ring), radians, eccentricity) for ring in range(polygon.GetGeometryCount())]
            total += rings[0] - sum(rings[1:])
        return total * major**2 / 2

    return on_ellipsoid


def _between_equator(ring, radians, eccentricity):
    """Integral of q over the longitudes along a ring, whose sides are straight in longitude and latitude; Simpson's rule on each side."""
    longitudes, latitudes = np.array(ring.GetPoints())[:, :2].T * radians
    latitudes = np.clip(latitudes, -np.pi / 2, np.pi / 2)
    at_points = _q(latitudes, eccentricity)
    between = _q((latitudes[1:] + latitudes[:-1]) / 2, eccentricity)
    return abs(np.sum(np.diff(longitudes) * (at_points[1:] + 4 * between + at_points[:-1]) / 6))


def _q(latitudes, eccentricity):
    """q of Snyder (1987), Map projections: a working manual, equation 3-12: half of it times the squared major axis is the area from the equator."""
    sine = np.sin(latitudes)
    if eccentricity < 1e-9:
        return 2 * sine
    product = eccentricity * sine
    return (1 - eccentricity**2) * (sine / (1 - product**2) - np.log((1 - product) / (1 + product)) / (2 * eccentricity))
