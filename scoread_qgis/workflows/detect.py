"""Detection: from a scene to its anomaly map."""

import time

from ..detectors.device import pick_device
from ..detectors.model_file import Model
from ..detectors.rx import GlobalRX, LocalRX
from .outputs import check_writable, write_map
from .sources import fitting_cube, good_cubes


def detect_anomalies(scene, model, output, run, bands=(), mask=None, options=None, device="auto", report=None):
    """Map how little each pixel of a scene fits a model, as a GeoTIFF at `output`.

    scene: `RasterSource`. model: model file. bands: numbers from 1 to choose from, or those of the model. mask: `MaskSource` or None.
    options: of the detector's `detect`, name -> value; those that it does not know are passed over. device: auto, cpu, cuda or mps.
    report: .html file or None. Raises ValueError with the remedy for what does not fit.
    """
    if report:
        check_writable(report, ".html")
    (run, lines), started = run.recorded(), time.time()
    device = pick_device(device)
    run.log(f"Device: {device}.")
    run.progress(0.0, "reading the model")
    detector = (kept := Model.load(model, device)).detector
    cube = fitting_cube(scene, kept, bands, mask, run.part(0.0, 0.1))
    options = run.supported(detector.detect, options or {})
    scores = detector.detect(cube, progress=run.progress.part(0.1, 0.8 if report else 1.0), **options)
    write_map(output, cube.raster, "Anomaly score", scores)
    if report:
        from .report import write_report

        parameters = {
            "scene": scene.source, "model": model, "mask": mask and mask.name, "bands asked for": bands,
            "options": [f"{name} = {value}" for name, value in options.items()], "device": device, "map": output,
        }  # fmt: skip
        write_report(report, f"Anomalies of {cube.raster.name}", parameters, kept, cube, started, lines, run.part(0.8, 1.0), output)


def detect_rx(scene, output, run, bands=(), mask=None, local=False, inner_window=5, outer_window=15, shrinkage=None):
    """Map the RX anomaly value of each pixel of a scene, as a GeoTIFF at `output`.

    scene, bands, mask: as for `detect_anomalies`. local: against the pixels between the windows, odd widths in pixels, instead of all.
    shrinkage: see `LocalRX`.
    """
    detector = LocalRX(inner_window, outer_window, shrinkage) if local else GlobalRX()
    (cube,), _ = good_cubes([scene], bands, mask, run.part(0.0, 0.3))
    write_map(output, cube.raster, "RX anomaly score", detector.detect(cube, run.progress.part(0.3, 1.0)))
