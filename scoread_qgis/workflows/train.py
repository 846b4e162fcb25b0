"""Training: from scenes to a model file."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..core.progress import Cancelled, keeping
from ..detectors.registry import DETECTORS
from ..detectors.shared.device import pick_device
from ..detectors.shared.training import shares
from ..scenes.provenance import without_secrets
from .outputs import check_outputs, trained_model
from .sources import MaskSource, RasterSource, good_cubes

if TYPE_CHECKING:
    from ..detectors.contract import Detector
    from ..detectors.model_file import Model
    from ..scenes.raster import RasterCube
    from .run import Run

    OpenCubes = Callable[[Sequence[RasterSource], Sequence[int], MaskSource | None, Run], tuple[list[RasterCube], dict[str, Any]]]


@dataclass(frozen=True)
class Training:
    """The settings of a training, which makes one model file.

    kind: of the detector, in `registry.DETECTORS`. scenes: `RasterSource`s of one sensor. model: .pt. bands: numbers from 1; by default all
    good ones. mask: `MaskSource` or None, for the first scene. settings: of the detector's `train`, name -> value; those that it does not
    know are ignored. device: auto, cpu, cuda or mps. report: .html file or None. keep_on_cancel: if the run is cancelled, write what has
    been learnt so far, for detectors that have learnt something by then.
    """

    kind: str
    scenes: Sequence[RasterSource]
    model: str
    bands: Sequence[int] = ()
    mask: MaskSource | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    report: str | None = None
    keep_on_cancel: bool = False


def train(training: Training, run: Run, open_cubes: OpenCubes = good_cubes) -> float:
    """Train a detector on scenes and keep it in a model file. Returns the loss at the end, NaN for a detector that has none.

    open_cubes: `good_cubes`, or a function like it whose cubes are surveyed and sampled elsewhere.
    Raises ValueError, with the remedy, for settings and scenes that do not fit.
    """
    weights = training.settings.get("backbone_weights", ())
    check_outputs([(training.model, ".pt"), (training.report, ".html")], [*training.scenes, training.mask, *weights], run.scratch)
    detector_class = DETECTORS[training.kind]
    known = inspect.signature(detector_class.train).parameters
    if "samples" in known:
        shares(training.settings.get("samples", known["samples"].default), len(training.scenes))
    (run, lines), started = run.recorded(), time.time()
    device = pick_device(training.device)
    run.log(f"Device: {device}.")
    cubes, numbers = open_cubes(training.scenes, training.bands, training.mask, run.part(0.0, 0.1))
    settings = run.supported(detector_class.train, training.settings)
    kept_settings = {name: value for name, value in settings.items() if isinstance(value, (int, float, str))}  # no paths of files

    def save(detector: Detector) -> Model:
        model = trained_model(detector, cubes[0], numbers, kept_settings, training.seed, run)
        model.save(training.model)
        return model

    kept: list[str] = []

    def keep(detector: Detector) -> None:
        if detector.loss_curve:  # otherwise it was cancelled before it had learnt anything
            save(detector)
            kept.append(training.model)

    try:
        detector = detector_class.train(
            cubes, **settings, seed=training.seed, device=device, progress=run.progress.part(0.1, 0.8 if training.report else 1.0),
            **({"on_checkpoint": keep} if training.keep_on_cancel else {}),
        )  # fmt: skip
    except Cancelled:
        raise Cancelled(*kept) from None
    saved = save(detector)
    if training.report:
        from .report import write_report

        parameters: dict[str, object] = {
            "scenes": [without_secrets(scene.source) for scene in training.scenes], "mask": training.mask and training.mask.name,
            "bands asked for": training.bands, "detector": detector_class.title,
            "settings": [f"{name} = {value}" for name, value in settings.items()], "random seed": training.seed, "device": device,
            "model": training.model,
        }  # fmt: skip
        title = f"Training on {cubes[0].raster.name}"
        with keeping(training.model):
            write_report(training.report, title, parameters, saved, cubes[0], started, lines, run.part(0.8, 1.0))
    return detector.loss_curve[-1] if detector.loss_curve else math.nan
