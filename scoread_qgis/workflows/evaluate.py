"""Evaluation: from anomaly maps and ground truth to numbers and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from osgeo import osr

from ..core.cube import Cube
from ..decisions.evaluation import MEASURES, Evaluation, evaluate, objects, tiles
from ..scenes.score_map import ScoreMap
from ..scenes.truth import Truth
from .outputs import check_outputs, write_table
from .sources import MaskSource, RasterSource

if TYPE_CHECKING:
    from ..core.progress import Progress
    from .run import Run

# Most pixels of each class that are evaluated; where there are more, a random sample of this size.
LIMIT = 2_000_000
_BYTES = 160  # of memory that the evaluation takes for each of them, measured
_THUMBNAIL = 300  # pixels along the longer side


@dataclass(frozen=True)
class Assessment:
    """The settings of an evaluation of anomaly maps against ground truth.

    maps: `RasterSource`s on one grid. truth: `MaskSource`, polygons around anomalies or a raster that is not 0 on them, aligned to the grid
    by nearest neighbour; where a raster has no data, nothing is evaluated. report: file (.html) or None. table: file (.csv) or None, with
    one row for each map. seed: of the bootstrap, and of the sample where there are more pixels of a class than `LIMIT` or the memory holds.
    """

    maps: Sequence[RasterSource]
    truth: MaskSource
    report: str | None = None
    table: str | None = None
    seed: int = 0


def assess(assessment: Assessment, run: Run) -> list[Evaluation]:
    """Evaluate anomaly maps; returns an `Evaluation` for each, in the order of the maps.

    All maps are evaluated over the same pixels: those that all of them score and the ground truth covers.
    Raises ValueError, with the remedy, for inputs that do not fit.
    """
    maps, truth, report, table = assessment.maps, assessment.truth, assessment.report, assessment.table
    check_outputs([(report, ".html"), (table, ".csv")], [*maps, truth], run.scratch)
    run.progress(0.0, "opening the maps")
    opened = [each.open_map(run.memory // len(maps)) for each in maps]
    for other in opened[1:]:
        if difference := _difference(opened[0], other):
            raise ValueError(
                f"{other.name} does not lie on the grid of {opened[0].name}: {difference}. Bring it to that grid first (Raster > "
                "Projections > Warp), or evaluate it in a run of its own."
            )
    cube = _Evaluated(opened, _aligned_truth(truth, opened[0], run))
    survey = _Survey.of(cube, run.progress.part(0.0, 0.3))
    _check(survey, cube, truth, run)
    limit = min(LIMIT, run.memory // (_BYTES + 8 * len(maps)))
    drawn = []
    for index, (kind, label) in enumerate(((True, "anomalies"), (False, "background"))):
        cube.kind = kind
        positions, (values,) = cube.sample(
            limit, assessment.seed, lambda block, rows, columns: (block.values[rows, columns],),
            progress=run.progress.part(0.3 + 0.2 * index, 0.5 + 0.2 * index), message=f"reading the {label}",
        )  # fmt: skip
        drawn.append((positions, values))
    (anomalies, _), (background, _) = drawn
    whole_objects = len(anomalies) == survey.anomalies
    groups = [
        objects(anomalies, cube.columns) if whole_objects else tiles(anomalies, cube.rows, cube.columns),
        tiles(background, cube.rows, cube.columns),
    ]
    survey.objects = int(groups[0].max()) + 1 if whole_objects else None
    survey.drawn = (len(anomalies), len(background))
    _tell(survey, run)
    of_class = np.repeat([True, False], survey.drawn)
    weights = np.where(of_class, survey.anomalies / len(anomalies), survey.background / len(background))
    scores, group_numbers = np.concatenate([values for _, values in drawn]), np.concatenate(groups)
    evaluations = []
    for index, each in enumerate(opened):
        share = run.progress.part(0.7 + 0.28 * index / len(maps), 0.7 + 0.28 * (index + 1) / len(maps))
        scale = (float(survey.lowest[index]), float(survey.highest[index]))
        evaluations.append(evaluate(of_class, scores[:, index], weights, group_numbers, scale, assessment.seed, share))
        run.log(f"{each.name}: AUC {_with_interval(evaluations[-1], 'auc')}, AP {_with_interval(evaluations[-1], 'average_precision')}.")
    names = _distinct([each.name for each in opened])
    run.progress(1.0, "writing")  # the last moment for a cancel: nothing is written yet
    if table:
        write_table(table, *_table(names, evaluations, survey))
    if report:
        from ..reports.evaluation import write_report

        write_report(report, names, truth.name, evaluations, survey, assessment.seed, run.versions())
    return evaluations


class _Evaluated(Cube):
    """The maps and their ground truth as one cube: a band for each map, and last the ground truth, 0 or 1.

    Valid are the pixels that can be evaluated. kind: True for anomalies only, False for background only, None for both.
    """

    kind: bool | None = None

    def __init__(self, maps: list[ScoreMap], truth: Truth) -> None:
        self.maps, self.truth = maps, truth
        self.rows, self.columns, self.bands = maps[0].rows, maps[0].columns, len(maps) + 1
        self.rows_per_block = min(each.rows_per_block for each in maps)

    def read(self, first: int, last: int, left: int = 0, right: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        read = [each.read(first, last, left, right) for each in self.maps]
        anomalous, valid = self.truth.read(first, last, left, right), self.truth.known(first, last, left, right)
        for _, scored in read:
            valid = valid & scored
        if self.kind is not None:
            valid &= anomalous == self.kind
        return np.concatenate([values for values, _ in read] + [anomalous[..., None].astype(np.float32)], axis=2), valid


@dataclass
class _Survey:
    """What one pass over all maps shows.

    anomalies, background: evaluated pixels of each kind. lowest, highest: (maps,) scores over them. thumbnails: (maps + 1, rows, columns),
    the largest of the pixels that one pixel of a thumbnail covers, NaN where none is evaluated; the last is the ground truth. shrunk: rows
    and columns that one pixel of a thumbnail covers. objects: how many the anomalies form; None where they were sampled. drawn: anomalies
    and background pixels that are evaluated.
    """

    anomalies: int
    background: int
    lowest: np.ndarray
    highest: np.ndarray
    thumbnails: np.ndarray
    shrunk: int
    objects: int | None = None
    drawn: tuple[int, ...] = field(default=())

    @classmethod
    def of(cls, cube: _Evaluated, progress: Progress) -> _Survey:
        shrunk = -(-max(cube.rows, cube.columns) // _THUMBNAIL)
        thumbnails = np.full((cube.bands, -(-cube.rows // shrunk), -(-cube.columns // shrunk)), -np.inf, np.float32)
        lowest, highest = np.full(cube.bands, np.inf), np.full(cube.bands, -np.inf)
        pixels = anomalies = 0
        for block in cube.blocks(progress=progress, message="reading the maps"):
            pixels += np.count_nonzero(block.valid)
            anomalies += np.count_nonzero(block.values[..., -1][block.valid])
            within = np.where(block.valid[..., None], block.values, -np.inf)
            highest = np.maximum(highest, within.max(axis=(0, 1)))
            lowest = np.minimum(lowest, np.where(block.valid[..., None], block.values, np.inf).min(axis=(0, 1)))
            across = np.maximum.reduceat(within, np.arange(0, cube.columns, shrunk), axis=1)
            for row, line in enumerate(across, block.row):
                thumbnails[:, row // shrunk] = np.maximum(thumbnails[:, row // shrunk], line.T)
        thumbnails[np.isneginf(thumbnails)] = np.nan
        return cls(anomalies, pixels - anomalies, lowest[:-1], highest[:-1], thumbnails, shrunk)


def _difference(grid: ScoreMap, other: ScoreMap) -> str:
    """How the grid of one raster differs from that of another, in words; "" if it is the same."""
    if (grid.rows, grid.columns) != (other.rows, other.columns):
        return f"it has {other.rows} rows × {other.columns} columns instead of {grid.rows} × {grid.columns}"
    if grid.crs and other.crs and not osr.SpatialReference(grid.crs).IsSame(osr.SpatialReference(other.crs)):
        return f"its CRS is {_crs_name(other.crs)} instead of {_crs_name(grid.crs)}"
    if grid.geotransform and other.geotransform:
        # Up to a hundredth of a pixel at the far corner: the error of coordinates that were written as text.
        corners = [
            [g[0] + c * g[1] + r * g[2], g[3] + c * g[4] + r * g[5]]
            for g in (grid.geotransform, other.geotransform)
            for r, c in ((0, 0), (0, grid.columns), (grid.rows, 0))
        ]
        shift = np.abs(np.array(corners[:3]) - corners[3:]).max()
        pixel = max(abs(value) for value in (grid.geotransform[1], grid.geotransform[2], grid.geotransform[4], grid.geotransform[5]))
        if shift > 0.01 * pixel:
            return f"its corners are {shift / pixel:.3g} pixels off"
    return ""


def _crs_name(wkt: str) -> str:
    reference = osr.SpatialReference(wkt)
    code = reference.GetAuthorityCode(None)
    return f"{reference.GetAuthorityName(None)}:{code}" if code else reference.GetName()


def _aligned_truth(source: MaskSource, grid: ScoreMap, run: Run) -> Truth:
    """The ground truth on the grid of the maps; the log says what was done to it. Raises ValueError if it cannot be aligned."""
    if source.note:
        run.log(source.note)
    if source.source is not None:
        raster = ScoreMap(source.source, source.name, source.crs)
        if difference := _difference(grid, raster):
            if not (grid.geotransform and raster.geotransform) and (grid.rows, grid.columns) != (raster.rows, raster.columns):
                nowhere = raster.name if grid.geotransform else grid.name
                raise ValueError(
                    f"The ground truth {source.name} does not fit {grid.name}: {difference}, and nothing says where {nowhere} lies. "
                    "Georeference it, or choose one of the same size."
                )
            run.log(f"Ground truth {source.name}: {difference}; aligned to {grid.name} by nearest neighbour.")
    return source.on(grid, Truth, run.scratch)


def _check(survey: _Survey, cube: _Evaluated, truth: MaskSource, run: Run) -> None:
    """Raise ValueError if nothing can be evaluated, with the reason."""
    pixels = survey.anomalies + survey.background
    if not pixels:
        for each in cube.maps:
            if not any(block.valid.any() for block in each.blocks(progress=run.progress.part(0.3, 0.4))):
                raise ValueError(f"{each.name} has no scores: all pixels are nodata. Choose an anomaly map.")
        raise ValueError(
            f"There is no pixel that {' and '.join(each.name for each in cube.maps)} score and that the ground truth {truth.name} covers. "
            "Check that they lie in the same place and that their CRSs are right."
        )
    if not survey.anomalies:
        raise ValueError(
            f"The ground truth {truth.name} marks no anomaly among the {pixels} pixels that can be evaluated. Check that it lies on the "
            "maps, that its CRS is right and, for a raster, that anomalies are not 0."
        )
    if not survey.background:
        raise ValueError(
            f"The ground truth {truth.name} marks all of the {pixels} pixels that can be evaluated as anomalies, so that there is no "
            "background to tell them from. In a raster, background is 0; if 0 is its nodata value, unset that (Raster > Conversion > "
            "Translate)."
        )
    for each, low, high in zip(cube.maps, survey.lowest, survey.highest):
        if low == high:
            raise ValueError(f"{each.name} has the score {low:g} at every evaluated pixel. Choose an anomaly map.")


def _tell(survey: _Survey, run: Run) -> None:
    formed = "" if survey.objects is None else f" in {survey.objects} objects"
    run.log(f"Evaluated: {survey.anomalies} anomalous pixels{formed}, {survey.background} of the background.")
    for kind, all_pixels, drawn in zip(("anomalies", "background"), (survey.anomalies, survey.background), survey.drawn):
        if drawn < all_pixels:
            run.log(f"Of the {kind}, {drawn} pixels drawn at random stand for all {all_pixels}.")
    if survey.objects == 1:
        run.log("The ground truth has one object: there are no intervals, since nothing shows how the maps would do on another.")
    elif survey.objects is not None and survey.objects < 10:
        run.log(f"The ground truth has {survey.objects} objects: intervals are rough below ten.")


def _with_interval(evaluation: Evaluation, measure: str) -> str:
    bounds = evaluation.intervals.get(measure)
    return f"{evaluation.values[measure]:.4f}" + (f" (95 %: {bounds[0]:.4f} to {bounds[1]:.4f})" if bounds else "")


def _distinct(names: list[str]) -> list[str]:
    """The names, with a number after each repetition."""
    return [f"{name} ({names[:index].count(name) + 1})" if names[:index].count(name) else name for index, name in enumerate(names)]


def _table(names: list[str], evaluations: list[Evaluation], survey: _Survey) -> tuple[list[str], list[list[object]]]:
    """Header and a row for each map: map, pixels, and each measure with the bounds of its interval, empty where there is none."""
    header = [column for measure in MEASURES for column in (measure, f"{measure}_low", f"{measure}_high")]
    rows: list[list[object]] = []
    for name, evaluation in zip(names, evaluations):
        cells = [cell for measure in MEASURES for cell in (evaluation.values[measure], *evaluation.intervals.get(measure, ("", "")))]
        rows.append([name, survey.anomalies, survey.background, survey.objects, *cells])
    return ["map", "anomalies", "background", "objects", *header], rows
