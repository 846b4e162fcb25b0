"""Detection: from a scene to its anomaly map."""

import os
import time
from dataclasses import dataclass, field
from functools import lru_cache

from ..core.progress import keeping
from ..detectors.model_file import Model
from ..detectors.registry import DETECTORS
from ..detectors.shared.device import pick_device
from .outputs import check_outputs, write_map
from .sources import MaskSource, RasterSource, fitting_cube, good_cubes


@dataclass(frozen=True)
class Detection:
    """The making of one map, as a value that can be sent to another machine.

    scene: `RasterSource`. output: .tif. model: model file, or None for the detector `kind` of `registry.DETECTORS` made with `settings`, which
    needs none. bands: numbers from 1 to choose from; by default those of the model, or all good ones. mask: `MaskSource` or None.
    options: of the detector's `bind`, name -> value; those that it does not know are ignored. device: auto, cpu, cuda or mps.
    report: .html file or None.
    """

    scene: RasterSource
    output: str
    model: str = None
    kind: str = None
    settings: dict = field(default_factory=dict)
    bands: tuple = ()
    mask: MaskSource = None
    options: dict = field(default_factory=dict)
    device: str = "auto"
    report: str = None

    def detector(self):
        """The `Detector`. Raises ValueError for what is not a model, and for settings out of their range."""
        return DETECTORS[self.kind](**self.settings) if self.model is None else self.kept().detector

    def kept(self):
        """The `Model` of the model file."""
        return read_once(self.model, self.device)

    def cube(self, run):
        """The `Cube` to detect in."""
        if self.model is not None:
            return fitting_cube(self.scene, self.kept(), self.bands, self.mask, run)
        (cube,), _ = good_cubes([self.scene], self.bands, self.mask, run)
        return cube


def detect(detection, run):
    """Map how poorly each pixel of a scene fits its background, as a GeoTIFF. Raises ValueError with the remedy for what does not fit."""
    outputs = [(detection.output, ".tif"), (detection.report, ".html")]
    check_outputs(outputs, [detection.scene, detection.model, detection.mask], run.scratch)
    (run, lines), started = run.recorded(), time.time()
    device = pick_device(detection.device)
    if detection.model is not None:
        run.log(f"Device: {device}.")
        run.progress(0.0, "reading the model")
    detector = detection.detector()
    cube = detection.cube(run.part(0.0, 0.1 if detection.model is not None else 0.3))
    options = run.supported(detector.bind, detection.options)
    share = run.progress.part(0.1 if detection.model is not None else 0.3, 0.8 if detection.report else 1.0)
    scorer = detector.bind(cube, progress=share.part(0, detector.binding_share), **options)
    write_map(detection.output, cube.raster, detector.score_name, scorer.map(share.part(detector.binding_share, 1)))
    if scorer.unscored:
        run.log(f"{scorer.unscored} pixels with data have no score: there are too few valid pixels around them, or all of those are alike.")
    if detection.report:
        from .report import write_report

        parameters = {
            "scene": detection.scene.source, "model": detection.model, "mask": detection.mask and detection.mask.name,
            "bands asked for": detection.bands, "options": [f"{name} = {value}" for name, value in options.items()], "device": device,
            "map": detection.output,
        }  # fmt: skip
        title = f"Anomalies of {cube.raster.name}"
        with keeping(detection.output):
            write_report(detection.report, title, parameters, detection.kept(), cube, started, lines, run.part(0.8, 1.0), detection.output)


@dataclass(frozen=True)
class Outcome:
    """How a `Detection` ended. log: its lines. error: why there is no map, "" where there is one."""

    detection: Detection
    log: tuple = ()
    error: str = ""


def read_once(path, device):
    """The `Model` of a file, as `Model.load` reads it, but read anew only where the file has changed since it was last asked for."""
    status = os.stat(path) if os.path.isfile(path) else None
    return _read(path, str(pick_device(str(device))), status and (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=1)
def _read(path, device, state):
    return Model.load(path, device)
