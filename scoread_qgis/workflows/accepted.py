"""The regions that a reviewer accepted, and where they lie."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from osgeo import ogr

from ..scenes.ground import longitudes_latitudes

if TYPE_CHECKING:
    from .sources import RegionSource

FIELDS = VERDICT, NOTE, REVIEWED = "verdict", "note", "reviewed"  # of the regions, as texts, which a review fills in
VERDICTS = ACCEPTED, REJECTED, LATER = "accepted", "rejected", "later"  # values of the first; none where a region was not looked at


def accepted_regions(regions: RegionSource) -> RegionSource:
    """The accepted ones of some regions, by rank. Raises ValueError, with the remedy, where there are none."""
    if not any(VERDICT in fields for fields in regions.fields):
        why = "holds no regions" if not regions.fields else f"has no field {VERDICT}: its regions were not reviewed"
        raise ValueError(f"{regions.name} {why}. Review them first, in the dock Anomalies, and accept those to hand on.")
    kept = [index for index, fields in enumerate(regions.fields) if fields.get(VERDICT) == ACCEPTED]
    if not kept:
        raise ValueError(f"No region of {regions.name} is accepted: {counted(regions)}. Accept those to hand on, in the dock Anomalies.")
    return regions.chosen(kept).first(len(kept))


def counted(regions: RegionSource) -> str:
    """How many regions got which verdict, in words."""
    verdicts = Counter(fields.get(VERDICT) for fields in regions.fields)
    told = [f"{verdicts[verdict]} {word}" for verdict, word in ((ACCEPTED, "accepted"), (REJECTED, "rejected"), (LATER, "put off"))]
    return f"of {len(regions.fields)}, " + ", ".join([*told, f"{len(regions.fields) - sum(verdicts[v] for v in VERDICTS)} not reviewed"])


def places(regions: RegionSource, crs: str) -> tuple[np.ndarray, np.ndarray | None]:
    """x and y (n, 2) of regions, and their longitudes and latitudes (n, 2), None where the CRS is not one on Earth.

    x and y are those of the fields of that name, which Extract anomalies writes, or else of the centroid. crs: that of the regions, WKT.
    """
    found = []
    for shape, fields in zip(regions.shapes, regions.fields):
        x, y = fields.get("x"), fields.get("y")
        if not (isinstance(x, float) and isinstance(y, float)):
            centre = ogr.CreateGeometryFromWkb(shape).Centroid()
            x, y = centre.GetX(), centre.GetY()
        found.append((x, y))
    points = np.array(found, np.float64).reshape(-1, 2)
    return points, longitudes_latitudes(points, crs)


def told(value: object) -> str:
    """The value of a field as it is read: six significant digits of numbers, nothing for None."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
