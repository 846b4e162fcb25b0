"""Detection: from a scene to its anomaly map."""

import os
import time
from dataclasses import dataclass, field
from functools import lru_cache

from ..core.progress import keeping
from ..detectors.model_file import Model
from ..detectors.rx import GlobalRX, LocalRX
from ..detectors.shared.device import pick_device
from .outputs import check_writable, write_map
from .sources import MaskSource, RasterSource, fitting_cube, good_cubes

ANOMALY_BAND, RX_BAND = "Anomaly score", "RX anomaly score"


def detect_anomalies(scene, model, output, run, bands=(), mask=None, options=None, device="auto", report=None, load=Model.load):
    """Map how little each pixel of a scene fits a model, as a GeoTIFF at `output`.

    scene: `RasterSource`. model: model file. bands: numbers from 1 to choose from, or those of the model. mask: `MaskSource` or None.
    options: of the detector's `detect`, name -> value; those that it does not know are passed over. device: auto, cpu, cuda or mps.
    report: .html file or None. load(model, device): `Model.load`, or a function like it. Raises ValueError with the remedy for what does not fit.
    """
    if report:
        check_writable(report, ".html")
    (run, lines), started = run.recorded(), time.time()
    device = pick_device(device)
    run.log(f"Device: {device}.")
    run.progress(0.0, "reading the model")
    detector = (kept := load(model, device)).detector
    cube = fitting_cube(scene, kept, bands, mask, run.part(0.0, 0.1))
    options = run.supported(detector.detect, options or {})
    scores = detector.detect(cube, progress=run.progress.part(0.1, 0.8 if report else 1.0), **options)
    write_map(output, cube.raster, ANOMALY_BAND, scores)
    if report:
        from .report import write_report

        parameters = {
            "scene": scene.source, "model": model, "mask": mask and mask.name, "bands asked for": bands,
            "options": [f"{name} = {value}" for name, value in options.items()], "device": device, "map": output,
        }  # fmt: skip
        with keeping(output):
            write_report(report, f"Anomalies of {cube.raster.name}", parameters, kept, cube, started, lines, run.part(0.8, 1.0), output)


def detect_rx(scene, output, run, bands=(), mask=None, local=False, inner_window=5, outer_window=15, shrinkage=None):
    """Map the RX anomaly value of each pixel of a scene, as a GeoTIFF at `output`.

    scene, bands, mask: as for `detect_anomalies`. local: against the pixels between the windows, odd widths in pixels, instead of all.
    shrinkage: see `LocalRX`.
    """
    detector = rx_detector(local, inner_window, outer_window, shrinkage)
    (cube,), _ = good_cubes([scene], bands, mask, run.part(0.0, 0.3))
    write_map(output, cube.raster, RX_BAND, detector.detect(cube, run.progress.part(0.3, 1.0)))


def rx_detector(local=False, inner_window=5, outer_window=15, shrinkage=None):
    """The detector of `detect_rx`."""
    return LocalRX(inner_window, outer_window, shrinkage) if local else GlobalRX()


@dataclass(frozen=True)
class Detection:
    """The making of one map, as a value that can be sent to another machine: `detect_anomalies` with a model file, `detect_rx` without.

    options: the further arguments of `detect_rx`, or `options` of `detect_anomalies`.
    """

    scene: RasterSource
    output: str
    model: str = None
    bands: tuple = ()
    mask: MaskSource = None
    options: dict = field(default_factory=dict)
    device: str = "auto"
    report: str = None

    def __call__(self, run):
        if self.model is None:
            detect_rx(self.scene, self.output, run, self.bands, self.mask, **self.options)
        else:
            detect_anomalies(
                self.scene, self.model, self.output, run, self.bands, self.mask, self.options, self.device, self.report, load=read_once
            )  # fmt: skip


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
