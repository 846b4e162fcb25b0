"""Export: the accepted regions as a file that others read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..scenes.ground import crs_name
from ..scenes.provenance import provenance_of
from ..scenes.region_export import FORMATS, export_regions
from .accepted import NOTE, accepted_regions, counted, places
from .outputs import check_outputs, write_table
from .provenance import now

if TYPE_CHECKING:
    from .run import Run
    from .sources import RegionSource

SUFFIXES = (*FORMATS, ".csv")


@dataclass(frozen=True)
class Export:
    """The export of the accepted ones of `regions` to `output`, whose suffix, one of SUFFIXES, says the format."""

    regions: RegionSource
    output: str


def export_accepted(export: Export, run: Run) -> int:
    """Write the accepted regions, with all of their fields, and their longitudes and latitudes. Returns how many there are.

    Raises ValueError with the remedy where none is accepted, or the file cannot be written.
    """
    suffix = Path(export.output).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{export.output}: the format is told by the suffix. Give the file a name that ends in {', '.join(SUFFIXES)}.")
    check_outputs([(export.output, suffix)], [export.regions], run.scratch)
    chosen = accepted_regions(export.regions)
    run.log(f"{export.regions.name}: {counted(export.regions)}.")
    points, degrees = places(chosen, chosen.crs)
    columns = chosen.columns()
    columns.update({"x": points[:, 0].tolist(), "y": points[:, 1].tolist()})
    if degrees is not None:
        columns.update({"longitude": degrees[:, 0].tolist(), "latitude": degrees[:, 1].tolist()})
    if suffix == ".csv":
        columns["crs"] = [crs_name(chosen.crs)] * len(chosen.shapes)
        write_table(export.output, list(columns), zip(*columns.values()))
    else:
        facts = provenance_of(chosen.file.partition("|")[0]) if chosen.file else {}
        names = [f"Rank {rank}" if rank is not None else f"Region {id}" for rank, id in zip(chosen.ranks, chosen.ids)]
        columns.setdefault(NOTE, [None] * len(names))
        export_regions(export.output, chosen.shapes, chosen.crs, columns, names, {**facts, "exported": now()}, run.progress)
    run.progress(1.0, f"{len(chosen.shapes)} regions exported")
    return len(chosen.shapes)
