"""Detection in many scenes, or in huge ones, on a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..core.errors import FileTrouble, describe_error
from ..core.files import remove_temporaries
from ..workflows.detect import Outcome
from . import tasks
from .engine import Engine, Plan

if TYPE_CHECKING:
    from distributed import Client

    from ..workflows.detect import Detection


def detect_on_cluster(
    client: Client,
    detections: Sequence[Detection],
    memory: int,
    tick: Callable[[int], object] = lambda done: None,
    counting: tuple[float, int] | None = None,
) -> Iterator[Outcome]:
    """Make the maps of the `Detection`s and yield an `Outcome` for each, in the order in which they end.

    client: `distributed.Client`. memory: bytes that a task may take. tick(tasks done): called at least every half a second.
    counting: false-alarm rate and smallest region, at which what lies above the threshold of each map is counted, or None.
    A scene is one task; one that is larger than four times `memory` is split into row blocks where its detector allows that.
    Raises `engine.ClusterLost`. Whatever happens, a map is there whole or not at all.
    """
    engine = Engine(client, tick)
    started = {}

    def plan(detection: Detection) -> Plan:
        started[detection.output] = time.monotonic()
        log, fit = yield from _plan(detection, memory)
        if not counting:
            return log, fit, None
        ((counts, more),) = yield [(tasks.count, (detection.output, *counting, memory))]
        return [*log, *more], fit, counts

    for detection, result, error in engine.run((detection, plan(detection)) for detection in detections):
        log, fit, counts = result or ((), None, None)
        yield Outcome(
            detection, tuple(log), "" if error is None else describe_error(error), fit, isinstance(error, (FileTrouble, OSError)),
            time.monotonic() - started.pop(detection.output), counts,
        )  # fmt: skip


def _plan(detection: Detection, memory: int) -> Plan:
    """The steps to the map of one scene; returns its log and how well it fits the model."""
    try:
        ((layout, log, fit),) = yield [(tasks.detect_scene, (detection, memory))]
        if layout is None:
            return log, fit
        log = [*log, f"Split into {len(layout.spans)} row blocks."]
        if layout.numbers is None:
            area = layout.area if detection.learn_area else None
            surveys = yield [(tasks.survey_rows, (detection.scene, detection.bands, span, memory, area)) for span in layout.spans]
            ((layout, more),) = yield [(tasks.choose_bands, (detection, layout, surveys, memory))]
            log += more
        if layout.learns:
            ((layout, more, fit),) = yield [(tasks.make_model_ready, (detection, layout, memory))]
            log += more
        if layout.gathers:
            yield [(tasks.gather, (detection, layout, span, memory)) for span in layout.spans]
            yield [(tasks.merge_gathered, (detection, layout))]
        yield [(tasks.map_rows, (detection, layout, span, memory)) for span in layout.map_spans]
        (more,) = yield [(tasks.assemble, (detection, layout, memory))]
        return [*log, *more], fit
    finally:
        remove_temporaries(detection.output)
