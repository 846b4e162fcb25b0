"""The tasks of the workers of a cluster. Pixels are read from and written to shared storage, never sent through scheduler or client."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Optional

import numpy as np

from ..core.files import remove_temporaries, store_of, temporary_name, whole_file
from ..core.progress import Cancelled, Progress
from ..detectors.model_file import Model
from ..scenes.object_stores import use_object_stores
from ..scenes.raster import RasterCube, survey_bands
from ..scenes.writer import MapWriter
from ..workflows.detect import Ready, detect, make_ready, read_once, tell_area
from ..workflows.extract import count_above
from ..workflows.outputs import check_outputs
from ..workflows.provenance import facts_of_map
from ..workflows.run import Run
from ..workflows.sources import RasterSource, chosen_cube, good_cubes

if TYPE_CHECKING:
    from ..detectors.contract import Detector
    from ..scenes.extent import Area
    from ..scenes.raster import BandSurvey, RasterFile
    from ..workflows.detect import Detection
    from ..workflows.extract import Counts
    from ..workflows.sources import MaskSource

Sample = tuple[np.ndarray, Optional[np.ndarray], Optional[tuple[np.ndarray, ...]]]  # of keys, positions, arrays
Span = tuple[int, int]  # first row, row after the last

use_object_stores()

_FEWEST_ROWS = 64  # of a block: the rows of context are read, and partly worked on, twice


@dataclass(frozen=True)
class Layout:
    """How a scene is split into row blocks.

    spans: (first row, row after the last) of each block that is learnt from. area: first row, row after the last one, first column, column
        after the last one of the map.
    folder: for files that tasks leave for each other, beside the output. learns: whether its model has to be made ready. gathers: whether
        binding gathers something from the scene.
    numbers: bands that are used, None where a survey has yet to find them. model: file of the model made for this scene, None where
        that of the detection is used. fit, source: as in `Ready`.
    """

    spans: tuple[Span, ...]
    area: Area
    folder: str
    learns: bool
    gathers: bool
    numbers: tuple[int, ...] | None = None
    model: str | None = None
    fit: float | None = None
    source: str = Ready.source

    @property
    def map_spans(self) -> tuple[Span, ...]:
        """(first row, row after the last) of each block of the map."""
        return _within(self.spans, self.area)

    @property
    def known(self) -> tuple[int, ...]:
        """The bands that are used, once they are known."""
        if self.numbers is None:
            raise RuntimeError("no survey has found the bands yet")
        return self.numbers

    def ready(self, detection: Detection) -> Ready:
        """`Ready`, of a `Detection`."""
        path = self.model or detection.model
        if path is None:
            detector = detection.told(detection.scene.open(), self.known)
            model = Model(detector, len(self.known), settings=detection.described(), seed=detection.seed)
        else:
            model = read_once(path, detection.device)
        return Ready(model, self.fit, self.source)


def spans_of(raster: RasterFile, memory: int) -> tuple[Span, ...]:
    """The row blocks of a `RasterFile` larger than four times `memory`, the memory of a worker; else the whole scene as one block."""
    row_bytes = raster.columns * raster.count * 4
    if raster.rows * row_bytes <= 4 * memory:
        return ((0, raster.rows),)
    rows = max(_FEWEST_ROWS, int(memory / row_bytes))
    rows = -(-raster.rows // -(-raster.rows // rows))  # blocks of about the same size
    if rows > raster.blocks.rows:
        rows = -(-rows // raster.blocks.rows) * raster.blocks.rows
    return tuple((first, min(first + rows, raster.rows)) for first in range(0, raster.rows, rows))


def _within(spans: Sequence[Span], area: Area) -> tuple[Span, ...]:
    """What of the rows of spans lies in an area."""
    cut = ((max(first, area[0]), min(last, area[1])) for first, last in spans)
    return tuple((first, last) for first, last in cut if first < last)


def detect_scene(detection: Detection, memory: int) -> tuple[Layout | None, list[str], float | None]:
    """Make the map of a `Detection`, or where the scene is too large return the `Layout` that splits it.

    Returns (Layout or None, log, fit).
    """
    run, log = _run(memory)
    remove_temporaries(detection.output)  # of a worker that was killed while it worked on this scene
    detector_class = detection.detector_class()
    # Tasks leave files for each other in a folder beside the map, which a store cannot be.
    splits = detection.report is None and store_of(detection.output) is None and detector_class.in_row_blocks
    if splits and detection.model is not None:
        quiet, _ = _run(memory)
        splits = isinstance(detection.cube(quiet)[0], RasterCube)  # a scene that is resampled to the bands of the model is one task
    if splits and len(spans := spans_of(detection.scene.open(), memory)) > 1:
        check_outputs([(detection.output, ".tif")], [detection.scene, detection.model, detection.mask], run.scratch)
        folder = temporary_name(detection.output, owned=False)
        os.makedirs(folder)
        raster, numbers = detection.scene.open(), None
        area = detection.area() or (0, raster.rows, 0, raster.columns)
        tell_area(detection, run)
        if detection.model is not None:
            run.supported(detector_class.bind, detection.options)
            cube, _ = detection.cube(run)
            numbers = tuple(cube.numbers)  # type: ignore[union-attr]  # not resampled
        spans = _within(spans, area) if detection.learn_area else spans
        return Layout(spans, area, folder, detection.learns, detector_class.gathered is not None, numbers), log, None
    fit = detect(detection, run).fit
    return None, log, fit


def survey_rows(source: RasterSource, bands: Sequence[int], span: Span, memory: int, area: Area | None = None) -> BandSurvey:
    """`BandSurvey` of some rows of a `RasterSource`, or of an area of it."""
    run, _ = _run(memory)
    return survey_bands(source.open(), bands, memory, run.progress, area, span)


def choose_bands(detection: Detection, layout: Layout, surveys: Sequence[BandSurvey], memory: int) -> tuple[Layout, list[str]]:
    """The `Layout` with the good bands, by the `BandSurvey`s of its blocks. Returns (Layout, log)."""
    run, log = _run(memory)
    survey = surveys[0]
    for other in surveys[1:]:
        survey.merge(other)
    (cube,), _ = good_cubes([detection.scene], detection.bands, detection.mask, run, [survey])
    return replace(layout, numbers=tuple(detection.chosen(cube, run).numbers)), log


def make_model_ready(detection: Detection, layout: Layout, memory: int) -> tuple[Layout, list[str], float | None]:
    """Learn the scene, or check whether it fits the model and adapt the model if not. Returns (Layout, log, fit)."""
    run, log = _run(memory)
    numbers = {"numbers": list(layout.known), "of": detection.scene.open().count}
    cube = _cube(detection, layout, run)
    ready = make_ready(detection, cube.within(*layout.area) if detection.learn_area else cube, numbers, run)
    layout = replace(layout, fit=ready.fit, source=ready.source)
    if detection.model is not None and ready.model.detector is detection.kept().detector:
        return layout, log, ready.fit
    path = os.path.join(layout.folder, "model.pt")
    ready.model.save(path)
    return replace(layout, model=path), log, ready.fit


def gather(detection: Detection, layout: Layout, span: Span, memory: int) -> None:
    """Write what binding gathers from some rows to the folder."""
    run, _ = _run(memory)
    part = _cube(detection, layout, run).within(*span, *learnt_columns(detection, layout))
    gathered = layout.ready(detection).model.detector.gather(part, run.progress)
    _save_gathered(gathered, _gathered_file(layout, span[0]))


def merge_gathered(detection: Detection, layout: Layout) -> None:
    """Merge what was gathered from all blocks into that of the scene, also in the folder."""
    kind = detection.detector_class().gathered
    (first, _), *others = layout.spans
    gathered = _read_gathered(kind, _gathered_file(layout, first))
    for first, _ in others:  # one after the other, as each may be large
        gathered.merge(_read_gathered(kind, _gathered_file(layout, first)))
    _save_gathered(gathered, _gathered_file(layout, "scene"))


def map_rows(detection: Detection, layout: Layout, span: Span, memory: int) -> None:
    """Write the map of some rows to the folder."""
    run, _ = _run(memory)
    detector = layout.ready(detection).model.detector
    cube = _cube(detection, layout, run).within(*span, *layout.area[2:])
    options = _options(detection, detector, run)
    if layout.gathers:
        options["gathered"] = _read_gathered(detector.gathered, _gathered_file(layout, "scene"))
    scores = np.full((span[1] - span[0], cube.width), np.nan, np.float32)
    left, scorer = layout.area[2], detector.bind(cube, progress=run.progress, **options)
    scorer.largest = detection.largest or 0
    for row, column, piece in scorer.pieces(run.progress):
        rows, columns = piece.shape
        scores[row - span[0] : row - span[0] + rows, column - left : column - left + columns] = piece
    _publish(_rows_file(layout, span[0]), lambda file: np.save(file, scores))


def assemble(detection: Detection, layout: Layout, memory: int) -> list[str]:
    """Assemble the map from its rows, publish it, and make of it what is wanted. Returns the log."""
    run, log = _run(memory)
    cube, ready = _cube(detection, layout, run), layout.ready(detection)
    facts = facts_of_map(detection, ready, cube, _options(detection, ready.model.detector, run), run)
    with MapWriter(detection.output, cube.raster, ready.model.detector.score_name, layout.area, facts) as writer:
        for first, last in layout.map_spans:
            run.progress(first / cube.rows, f"writing, row {first + 1} of {cube.rows}")
            rows = np.load(_rows_file(layout, first), mmap_mode="r", allow_pickle=False)
            if rows.shape != (last - first, layout.area[3] - layout.area[2]):
                raise ValueError(f"{_rows_file(layout, first)} does not hold the rows {first + 1} to {last}. Run again.")
            writer.write(first, rows)
    detection.finish(run)
    return log


def count(path: str, rate: float, min_area: int, memory: int) -> tuple[Counts | None, list[str]]:
    """Count what lies above the threshold of a map. Returns (`Counts` or None, log)."""
    run, log = _run(memory)
    return count_above(RasterSource(path), rate, min_area, run), log


def sample_rows(
    source: RasterSource,
    numbers: Sequence[int],
    mask: MaskSource | None,
    span: Span,
    count: int,
    seed: int,
    gather: Callable[..., Any],
    halo: int,
    surveyed: bool,
    memory: int,
) -> Sample:
    """The `count` smallest keys of `Cube.keyed_sample` over some rows of a scene, or those of them that are surveyed, with their positions
    and arrays."""
    run, _ = _run(memory)
    cube = chosen_cube(source, numbers, mask, run)
    rows = cube.surveyed if surveyed else None
    keys, positions, arrays = cube.within(*span).keyed_sample(count, seed, gather, halo, run.progress, rows=rows)
    if positions is None or arrays is None:
        return keys, positions, arrays
    order = np.argsort(keys)[:count]
    return keys[order], positions[order], tuple(array[order] for array in arrays)


def _run(memory: int) -> tuple[Run, list[str]]:
    """The run of a task, and the list that collects its log."""
    log: list[str] = []
    return Run(memory, Progress(_Watch()), log.append, warn=log.append), log


class _Watch:
    """Stops a task whose result is no longer wanted: it was cancelled, or the scheduler is gone. Dask itself cannot stop a thread."""

    def __init__(self) -> None:
        from distributed import get_worker

        self._worker = get_worker()
        self._key = self._worker.get_current_task()

    def __call__(self, fraction: float, message: str) -> None:
        task = self._worker.state.tasks.get(self._key)
        if task is None or task.state == "cancelled" or self._worker.status.name not in ("running", "paused", "closing_gracefully"):
            raise Cancelled


def _cube(detection: Detection, layout: Layout, run: Run) -> Any:
    return chosen_cube(detection.scene, layout.known, detection.mask, run)


def _options(detection: Detection, detector: Detector, run: Run) -> dict[str, Any]:
    """Those of a `Detection` that its detector takes, of which the log has told already."""
    return replace(run, log=lambda line: None).supported(detector.bind, detection.options)


def learnt_columns(detection: Detection, layout: Layout) -> tuple[int, int | None]:
    """First column, and column after the last one, of what is learnt from."""
    return layout.area[2:] if detection.learn_area else (0, None)


def _rows_file(layout: Layout, first: int) -> str:
    return os.path.join(layout.folder, f"rows_{first}.npy")


def _gathered_file(layout: Layout, which: object) -> str:
    return os.path.join(layout.folder, f"gathered_{which}.safetensors")


def _save_gathered(gathered: Any, path: str) -> None:
    from ..detectors.shared.tensor_file import encode

    _publish(path, lambda file: file.writelines(encode(gathered.state())))


def _read_gathered(kind: Any, path: str) -> Any:
    from ..detectors.shared.tensor_file import decode

    return kind.from_state(decode(path))


def _publish(path: str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file for other tasks, whole or not at all. It creates no folder: that of a cancelled run is gone, and stays gone."""
    with whole_file(path, "file of a task", make_folder=False) as temporary, open(temporary, "wb") as file:
        write(file)
