"""From files to cubes: which rasters, which of their bands, which of their pixels."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

from ..scenes.bands import list_bands
from ..scenes.mask import AnyMask, Mask, read_polygons
from ..scenes.nodata import NoData
from ..scenes.raster import BandChoice, BandSurvey, RasterCube, RasterFile, choose_bands, common_bands, match_bands, survey_bands
from ..scenes.region_file import read_regions
from ..scenes.resampling import ResampledCube
from ..scenes.score_map import ScoreMap

if TYPE_CHECKING:
    from ..detectors.model_file import Model
    from ..scenes.extent import Area
    from .run import Run

FEW_BANDS = 10  # scenes with fewer get a warning: multispectral sensors and cameras have them


@dataclass(frozen=True)
class RasterSource:
    """A raster: path or GDAL connection string, name for messages, CRS as WKT that overrides the file's, `NoData` of the user."""

    source: str
    name: str | None = None
    crs: str = ""
    nodata: NoData | None = None

    def open(self) -> RasterFile:
        return RasterFile(self.source, self.name, self.crs, self.nodata)

    def open_map(self, memory: int) -> ScoreMap:
        """The raster as an anomaly map. Raises ValueError if it is not one. memory: bytes that reading may take."""
        score_map = ScoreMap(self.source, self.name, self.crs, memory, self.nodata)
        score_map.check_is_one()
        return score_map


@dataclass(frozen=True)
class MaskSource:
    """A mask: a raster with the `NoData` of its user, or polygons as WKB; `crs` as WKT, "" where unknown.

    note: a line about it for the log. file: what polygons were read from; None if not from a file.
    """

    name: str
    crs: str = ""
    source: str | None = None
    polygons: tuple[bytes, ...] = ()
    nodata: NoData | None = None
    note: str = ""
    file: str | None = None

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> MaskSource:
        """The mask in a raster or vector file. Raises ValueError if it is neither."""
        polygons, crs = read_polygons(path)
        source = None if polygons else os.path.abspath(path)
        return cls(str(path), crs, source, polygons, file=os.path.abspath(path))

    @overload
    def on(self, raster: RasterFile | ScoreMap, *, scratch: str | None = None) -> Mask: ...

    @overload
    def on(self, raster: RasterFile | ScoreMap, kind: type[AnyMask], scratch: str | None = None) -> AnyMask: ...

    def on(self, raster: RasterFile | ScoreMap, kind: type[Mask] = Mask, scratch: str | None = None) -> Mask:
        """A mask of the class `kind` on the grid of a `RasterFile` or `ScoreMap`. scratch: folder for its file, see `Mask`."""
        if self.source is not None:
            return kind.from_raster(raster, self.source, self.crs, self.name, scratch, self.nodata)
        return kind.from_polygons(raster, self.polygons, self.crs, self.name, scratch)


@dataclass(frozen=True)
class RegionSource:
    """Places of interest: name, CRS as WKT ("" = that of the scene), geometries as WKB (polygons or points), ids, and ranks or None.

    file: what they were read from; None if not from a file. fields: all fields of each, name -> int, float, str or None.
    """

    name: str
    crs: str
    shapes: tuple[bytes, ...]
    ids: tuple[float | str, ...]
    ranks: tuple[float | None, ...]
    file: str | None = None
    fields: tuple[dict[str, object], ...] = ()

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> RegionSource:
        """The polygons or points in a vector file. Raises ValueError if it holds none."""
        shapes, ids, columns, crs = read_regions(path)
        given = columns.get("id", ids)
        ranks = tuple(rank_of(value) for value in columns.get("rank", (None,) * len(ids)))
        fields = tuple({name: values[i] for name, values in columns.items()} for i in range(len(ids)))
        return cls(str(path), crs, shapes, given, ranks, os.path.abspath(path), fields)

    def columns(self) -> dict[str, list[object]]:
        """The fields, name -> value of each region, None where it has none."""
        return {
            name: [fields.get(name) for fields in self.fields] for name in dict.fromkeys(name for fields in self.fields for name in fields)
        }

    def chosen(self, indices: Sequence[int]) -> RegionSource:
        """Some of the regions, in the order of their indices."""
        return replace(
            self,
            shapes=tuple(self.shapes[i] for i in indices),
            ids=tuple(self.ids[i] for i in indices),
            ranks=tuple(self.ranks[i] for i in indices),
            fields=tuple(self.fields[i] for i in indices if self.fields),
        )

    def first(self, count: int) -> RegionSource:
        """The `count` regions of the highest rank; those without a rank come last, in their order."""
        ranks = [math.inf if rank is None else rank for rank in self.ranks]
        return self.chosen(sorted(range(len(self.shapes)), key=lambda i: ranks[i])[:count])


def rank_of(value: object) -> float | None:
    """The rank in a field, which some formats keep as text; None where it holds none."""
    try:
        rank = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if math.isnan(rank) else int(rank) if rank.is_integer() else rank


def good_cubes(
    sources: Sequence[RasterSource],
    bands: Sequence[int],
    mask: MaskSource | None,
    run: Run,
    surveys: Sequence[BandSurvey] | None = None,
    area: Area | None = None,
) -> tuple[list[RasterCube], dict[str, Any]]:
    """Cubes of the good bands that all scenes share, and the band numbers of the first: ([Cube], {"numbers": ..., "of": ...}).

    sources: `RasterSource`s. bands: numbers the user asked for, or []. mask: `MaskSource` or None, for the first scene; the others are used
    whole. surveys: a `BandSurvey` for each, if they exist already. area: of the scenes that alone tells which bands are good.
    The log says which bands are left out and why.
    """
    _tell_memory(run)
    if mask and mask.note:
        run.log(mask.note)
    rasters = [source.open() for source in sources]
    masks = [mask.on(raster, scratch=run.scratch) if mask and index == 0 else None for index, raster in enumerate(rasters)]
    choices: list[BandChoice] = []
    for index, raster in enumerate(rasters):
        share = run.progress.part(index / len(rasters), (index + 1) / len(rasters))
        survey = surveys[index] if surveys else survey_bands(raster, bands, run.memory, share, area)
        choices.append(choose_bands(raster, bands, survey=survey))
        if survey.rows < survey.of:
            run.log(f"{raster.name}: {survey.rows} of {survey.of} rows, spread evenly, tell which bands are good.")
        if survey.out_of_range:
            run.log(
                f"{raster.name}: {survey.out_of_range} values beyond ±1e18 or infinite are taken for nodata. Set the file's nodata value "
                "if they are fill values."
            )
        for reason, left_out in choices[-1].left_out.items():
            run.log(f"{raster.name}: left out {len(left_out)} of {raster.count} bands, {reason}: {list_bands(left_out)}.")
    numbers = common_bands(rasters, choices, by_number=bool(bands))
    for choice, kept, raster in zip(choices, numbers, rasters):
        dropped = set(choice.numbers) - set(kept)
        if dropped:
            run.log(f"{raster.name}: left out {len(dropped)} of {raster.count} bands, which another scene lacks: {list_bands(dropped)}.")
        run.log(f"{raster.name}: {raster.rows} rows, {raster.columns} columns, {len(kept)} bands used.")
        _warn_of_few_bands(raster, len(kept), run)
    for raster, kept in zip(rasters, numbers):
        raster.keep(kept, run.memory // len(rasters))
    cubes = [RasterCube(raster, kept, raster_mask, run.memory) for raster, kept, raster_mask in zip(rasters, numbers, masks)]
    return cubes, {"numbers": numbers[0], "of": rasters[0].count}


def fitting_cube(source: RasterSource, model: Model, bands: Sequence[int], mask: MaskSource | None, run: Run) -> RasterCube | ResampledCube:
    """Cube of the bands of a scene that a `Model` was trained on; resampled to its wavelengths where the detector is made for that.

    source: `RasterSource`. bands: numbers the user asked for, or []. mask: `MaskSource` or None.
    """
    if model.detector.across_sensors and model.wavelengths is not None:
        (cube,), _ = good_cubes([source], bands, mask, run)
        if cube.wavelengths is not None:
            run.log(f"{cube.raster.name}: resampled from {cube.bands} to the model's {model.bands} bands.")
            return ResampledCube(cube, model.wavelengths)
    raster = source.open()
    numbers = match_bands(raster, bands, model.wavelengths, model.bands, model.band_numbers)
    run.log(f"{raster.name}: {raster.rows} rows, {raster.columns} columns; bands {list_bands(numbers)} fit the model.")
    _warn_of_few_bands(raster, len(numbers), run)
    _tell_memory(run)
    if mask and mask.note:
        run.log(mask.note)
    raster.keep(numbers, run.memory)
    return RasterCube(raster, numbers, mask.on(raster, scratch=run.scratch) if mask else None, run.memory)


def chosen_cube(source: RasterSource, numbers: Sequence[int], mask: MaskSource | None, run: Run) -> RasterCube:
    """Cube of the bands `numbers` of a scene, when they are known. source: `RasterSource`. mask: `MaskSource` or None."""
    raster = source.open()
    return RasterCube(raster, numbers, mask.on(raster) if mask else None, run.memory)


def _warn_of_few_bands(raster: RasterFile, count: int, run: Run) -> None:
    if count < FEW_BANDS:
        run.log(
            f"Warning: {raster.name} is used with {count} bands only. Anomalies are told from the background by their spectra, and a "
            "photograph of three colours, or a scene of a few broad bands, shows little of them. Use a scene with tens of bands or more."
        )


def _tell_memory(run: Run) -> None:
    run.log(f"Memory: up to {run.memory / 2**20:.0f} MB.")
