"""The tasks of the workers of a cluster. Pixels are read from and written to shared storage, never sent through scheduler or client."""

import os
from dataclasses import dataclass, replace

import numpy as np

from ..core.files import remove_temporaries, temporary_name, whole_file
from ..core.progress import Cancelled, Progress
from ..detectors.model_file import Model
from ..scenes.raster import survey_bands
from ..scenes.writer import MapWriter
from ..workflows.detect import Ready, detect, make_ready, read_once, tell_area
from ..workflows.extract import count_above
from ..workflows.outputs import check_outputs
from ..workflows.provenance import facts_of_map
from ..workflows.run import Run
from ..workflows.sources import RasterSource, chosen_cube, good_cubes

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

    spans: tuple
    area: tuple
    folder: str
    learns: bool
    gathers: bool
    numbers: tuple = None
    model: str = None
    fit: float = None
    source: str = Ready.source

    @property
    def map_spans(self):
        """(first row, row after the last) of each block of the map."""
        return _within(self.spans, self.area)

    def ready(self, detection):
        """`Ready`, of a `Detection`."""
        if self.model is None and detection.model is None:
            detector = detection.told(detection.scene.open(), self.numbers)
            model = Model(detector, len(self.numbers), settings=detection.described(), seed=detection.seed)
        else:
            model = read_once(self.model or detection.model, detection.device)
        return Ready(model, self.fit, self.source)


def spans_of(raster, memory):
    """The row blocks of a `RasterFile` larger than four times `memory`, the memory of a worker; else the whole scene as one block."""
    row_bytes = raster.columns * raster.count * 4
    if raster.rows * row_bytes <= 4 * memory:
        return ((0, raster.rows),)
    rows = max(_FEWEST_ROWS, int(memory / row_bytes))
    rows = -(-raster.rows // -(-raster.rows // rows))  # blocks of about the same size
    if rows > raster.blocks.rows:
        rows = -(-rows // raster.blocks.rows) * raster.blocks.rows
    return tuple((first, min(first + rows, raster.rows)) for first in range(0, raster.rows, rows))


def _within(spans, area):
    """What of the rows of spans lies in an area."""
    cut = ((max(first, area[0]), min(last, area[1])) for first, last in spans)
    return tuple((first, last) for first, last in cut if first < last)


def detect_scene(detection, memory):
    """Make the map of a `Detection`, or where the scene is too large return the `Layout` that splits it.

    Returns (Layout or None, log, fit).
    """
    run, log = _run(memory)
    remove_temporaries(detection.output)  # of a worker that was killed while it worked on this scene
    detector_class = detection.detector_class()
    if detection.report is None and detector_class.in_row_blocks and len(spans := spans_of(detection.scene.open(), memory)) > 1:
        check_outputs([(detection.output, ".tif")], [detection.scene, detection.model, detection.mask], run.scratch)
        folder = temporary_name(detection.output, owned=False)
        os.makedirs(folder)
        raster, numbers = detection.scene.open(), None
        area = detection.area() or (0, raster.rows, 0, raster.columns)
        tell_area(detection, run)
        if detection.model is not None:
            run.supported(detector_class.bind, detection.options)
            cube, _ = detection.cube(run)
            numbers = tuple(cube.numbers)
        spans = _within(spans, area) if detection.learn_area else spans
        return Layout(spans, area, folder, detection.learns, detector_class.gathered is not None, numbers), log, None
    fit = detect(detection, run).fit
    return None, log, fit


def survey_rows(source, bands, span, memory, area=None):
    """`BandSurvey` of some rows of a `RasterSource`, or of an area of it."""
    run, _ = _run(memory)
    return survey_bands(source.open(), bands, memory, run.progress, area, span)


def choose_bands(detection, layout, surveys, memory):
    """The `Layout` with the good bands, by the `BandSurvey`s of its blocks. Returns (Layout, log)."""
    run, log = _run(memory)
    survey = surveys[0]
    for other in surveys[1:]:
        survey.merge(other)
    (cube,), _ = good_cubes([detection.scene], detection.bands, detection.mask, run, [survey])
    return replace(layout, numbers=tuple(detection.chosen(cube, run).numbers)), log


def make_model_ready(detection, layout, memory):
    """Learn the scene, or check whether it fits the model and adapt the model if not. Returns (Layout, log, fit)."""
    run, log = _run(memory)
    numbers = {"numbers": list(layout.numbers), "of": detection.scene.open().count}
    cube = _cube(detection, layout, run)
    ready = make_ready(detection, cube.within(*layout.area) if detection.learn_area else cube, numbers, run)
    layout = replace(layout, fit=ready.fit, source=ready.source)
    if detection.model is not None and ready.model.detector is detection.kept().detector:
        return layout, log, ready.fit
    path = os.path.join(layout.folder, "model.pt")
    ready.model.save(path)
    return replace(layout, model=path), log, ready.fit


def gather(detection, layout, span, memory):
    """Write what binding gathers from some rows to the folder."""
    run, _ = _run(memory)
    part = _cube(detection, layout, run).within(*span, *learnt_columns(detection, layout))
    gathered = layout.ready(detection).model.detector.gather(part, run.progress)
    _save_gathered(gathered, _gathered_file(layout, span[0]))


def merge_gathered(detection, layout):
    """Merge what was gathered from all blocks into that of the scene, also in the folder."""
    kind = detection.detector_class().gathered
    (first, _), *others = layout.spans
    gathered = _read_gathered(kind, _gathered_file(layout, first))
    for first, _ in others:  # one after the other, as each may be large
        gathered.merge(_read_gathered(kind, _gathered_file(layout, first)))
    _save_gathered(gathered, _gathered_file(layout, "scene"))


def map_rows(detection, layout, span, memory):
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


def assemble(detection, layout, memory):
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


def count(path, rate, min_area, memory):
    """Count what lies above the threshold of a map. Returns (`Counts` or None, log)."""
    run, log = _run(memory)
    return count_above(RasterSource(path), rate, min_area, run), log


def sample_rows(source, numbers, mask, span, count, seed, gather, halo, surveyed, memory):
    """The `count` smallest keys of `Cube.keyed_sample` over some rows of a scene, or those of them that are surveyed, with their positions
    and arrays."""
    run, _ = _run(memory)
    cube = chosen_cube(source, numbers, mask, run)
    rows = cube.surveyed if surveyed else None
    keys, positions, arrays = cube.within(*span).keyed_sample(count, seed, gather, halo, run.progress, rows=rows)
    if len(keys) == 0:
        return keys, positions, arrays
    order = np.argsort(keys)[:count]
    return keys[order], positions[order], tuple(array[order] for array in arrays)


def _run(memory):
    """The run of a task, and the list that collects its log."""
    log = []
    return Run(memory, Progress(_Watch()), log.append, warn=log.append), log


class _Watch:
    """Stops a task whose result is no longer wanted: it was cancelled, or the scheduler is gone. Dask itself cannot stop a thread."""

    def __init__(self):
        from distributed import get_worker

        self._worker = get_worker()
        self._key = self._worker.get_current_task()

    def __call__(self, fraction, message):
        task = self._worker.state.tasks.get(self._key)
        if task is None or task.state == "cancelled" or self._worker.status.name not in ("running", "paused", "closing_gracefully"):
            raise Cancelled


def _cube(detection, layout, run):
    return chosen_cube(detection.scene, layout.numbers, detection.mask, run)


def _options(detection, detector, run):
    """Those of a `Detection` that its detector takes, of which the log has told already."""
    return replace(run, log=lambda line: None).supported(detector.bind, detection.options)


def learnt_columns(detection, layout):
    """First column, and column after the last one, of what is learnt from."""
    return layout.area[2:] if detection.learn_area else (0, None)


def _rows_file(layout, first):
    return os.path.join(layout.folder, f"rows_{first}.npy")


def _gathered_file(layout, which):
    return os.path.join(layout.folder, f"gathered_{which}.safetensors")


def _save_gathered(gathered, path):
    from ..detectors.shared.tensor_file import encode

    _publish(path, lambda file: file.writelines(encode(gathered.state())))


def _read_gathered(kind, path):
    from ..detectors.shared.tensor_file import decode

    return kind.from_state(decode(path))


def _publish(path, write):
    """Write a file for other tasks, whole or not at all. It creates no folder: that of a cancelled run is gone, and stays gone."""
    with whole_file(path, "file of a task", make_folder=False) as temporary, open(temporary, "wb") as file:
        write(file)
