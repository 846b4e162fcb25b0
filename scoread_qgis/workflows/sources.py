"""From files to cubes: which rasters, which of their bands, which of their pixels."""

import math
import os
from dataclasses import dataclass

from ..scenes.bands import list_bands
from ..scenes.mask import Mask, read_polygons
from ..scenes.nodata import NoData
from ..scenes.raster import RasterCube, RasterFile, choose_bands, common_bands, match_bands, survey_bands
from ..scenes.resampling import ResampledCube
from ..scenes.score_map import ScoreMap

FEW_BANDS = 10  # fewer are worth a warning: multispectral sensors and cameras have them


@dataclass(frozen=True)
class RasterSource:
    """A raster: path or GDAL connection string, name for messages, CRS as WKT that overrides the file's ("" = the file's), `NoData` of the user."""

    source: str
    name: str = None
    crs: str = ""
    nodata: NoData = None

    def open(self):
        return RasterFile(self.source, self.name, self.crs, self.nodata)

    def open_map(self, memory):
        """The raster as an anomaly map. Raises ValueError where it is none. memory: bytes that reading may take."""
        score_map = ScoreMap(self.source, self.name, self.crs, memory, self.nodata)
        score_map.check_is_one()
        return score_map


@dataclass(frozen=True)
class MaskSource:
    """A mask: a raster with the `NoData` of its user, or polygons as WKB; `crs` as WKT, "" where unknown.

    note: what the log is to tell of it. file: what polygons were read from; None where from no file.
    """

    name: str
    crs: str = ""
    source: str = None
    polygons: tuple = ()
    nodata: NoData = None
    note: str = ""
    file: str = None

    @classmethod
    def of_file(cls, path):
        """The mask in a raster or vector file. Raises ValueError where it is neither."""
        polygons, crs = read_polygons(path)
        source = None if polygons else os.path.abspath(path)
        return cls(str(path), crs, source, polygons, file=os.path.abspath(path))

    def on(self, raster, kind=Mask, scratch=None):
        """The mask, or what else `kind` makes of it, on the grid of a `RasterFile` or `ScoreMap`. scratch: folder for its file, see `Mask`."""
        if self.source is not None:
            return kind.from_raster(raster, self.source, self.crs, self.name, scratch, self.nodata)
        return kind.from_polygons(raster, self.polygons, self.crs, self.name, scratch)


@dataclass(frozen=True)
class RegionSource:
    """Places to explain: name, CRS as WKT ("" = that of the scene), geometries as WKB (polygons or points), and of each its id and its rank or None.

    file: what they were read from; None where from no file.
    """

    name: str
    crs: str
    shapes: tuple
    ids: tuple
    ranks: tuple
    file: str = None

    def first(self, count):
        """The `count` regions of the highest rank, those without a rank last and in their order."""
        order = sorted(range(len(self.shapes)), key=lambda i: math.inf if self.ranks[i] is None else self.ranks[i])[:count]
        return RegionSource(
            self.name, self.crs, *(tuple(values[i] for i in order) for values in (self.shapes, self.ids, self.ranks)), self.file
        )


def good_cubes(sources, bands, mask, run, surveys=None):
    """Cubes of the good bands that all scenes share, and the band numbers of the first: ([Cube], {"numbers": ..., "of": ...}).

    sources: `RasterSource`s. bands: numbers the user asked for, or []. mask: `MaskSource` or None, for the first scene; the others are used whole.
    surveys: a `BandSurvey` for each, where they are there already.
    The log says which bands are left out and why.
    """
    _tell_memory(run)
    if mask and mask.note:
        run.log(mask.note)
    rasters = [source.open() for source in sources]
    masks = [mask.on(raster, scratch=run.scratch) if mask and index == 0 else None for index, raster in enumerate(rasters)]
    choices = []
    for index, raster in enumerate(rasters):
        share = run.progress.part(index / len(rasters), (index + 1) / len(rasters))
        survey = surveys[index] if surveys else survey_bands(raster, bands, run.memory, share)
        choices.append(choose_bands(raster, bands, survey=survey))
        if survey.out_of_range:
            run.log(
                f"{raster.name}: {survey.out_of_range} values beyond ±1e18 or infinite are taken for nodata. Set the file's nodata value "
                "if they are fill values."
            )
        for reason, numbers in choices[-1].left_out.items():
            run.log(f"{raster.name}: left out {len(numbers)} of {raster.count} bands, {reason}: {list_bands(numbers)}.")
    numbers = common_bands(rasters, choices, by_number=bool(bands))
    for choice, kept, raster in zip(choices, numbers, rasters):
        dropped = set(choice.numbers) - set(kept)
        if dropped:
            run.log(f"{raster.name}: left out {len(dropped)} of {raster.count} bands, which another scene lacks: {list_bands(dropped)}.")
        run.log(f"{raster.name}: {raster.rows} rows, {raster.columns} columns, {len(kept)} bands used.")
        _warn_of_few_bands(raster, len(kept), run)
    cubes = [RasterCube(raster, kept, raster_mask, run.memory) for raster, kept, raster_mask in zip(rasters, numbers, masks)]
    return cubes, {"numbers": numbers[0], "of": rasters[0].count}


def fitting_cube(source, model, bands, mask, run):
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
    return RasterCube(raster, numbers, mask.on(raster, scratch=run.scratch) if mask else None, run.memory)


def chosen_cube(source, numbers, mask, run):
    """Cube of the bands `numbers` of a scene, when they are known. source: `RasterSource`. mask: `MaskSource` or None."""
    raster = source.open()
    return RasterCube(raster, numbers, mask.on(raster) if mask else None, run.memory)


def _warn_of_few_bands(raster, count, run):
    if count < FEW_BANDS:
        run.log(
            f"Warning: {raster.name} is used with {count} bands only. Anomalies are told from the background by their spectra, and a photograph of three "
            "colours, or a scene of a few broad bands, shows little of them. Use a scene with tens of bands or more."
        )


def _tell_memory(run):
    run.log(f"Memory: up to {run.memory / 2**20:.0f} MB.")
