"""Detection: from a scene to its anomaly map."""

from ..detectors.device import pick_device
from ..detectors.model_file import Model
from ..detectors.rx import GlobalRX, LocalRX
from .outputs import write_map
from .sources import fitting_cube, good_cubes


def detect_anomalies(scene, model, output, run, bands=(), mask=None, options=None, device="auto"):
    """Map how little each pixel of a scene fits a model, as a GeoTIFF at `output`.

    scene: `RasterSource`. model: model file. bands: numbers from 1 to choose from, or those of the model. mask: `MaskSource` or None.
    options: of the detector's `detect`, name -> value; those that it does not know are passed over. device: auto, cpu, cuda or mps.
    Raises ValueError with the remedy for what does not fit.
    """
    device = pick_device(device)
    run.log(f"Device: {device}.")
    run.progress(0.0, "reading the model")
    detector = (kept := Model.load(model, device)).detector
    cube = fitting_cube(scene, kept, bands, mask, run.part(0.0, 0.1))
    options = run.supported(detector.detect, options or {})
    write_map(output, cube.raster, "Anomaly score", detector.detect(cube, progress=run.progress.part(0.1, 1.0), **options))


def detect_rx(scene, output, run, bands=(), mask=None, local=False, inner_window=5, outer_window=15, shrinkage=None):
    """Map the RX anomaly value of each pixel of a scene, as a GeoTIFF at `output`.

    scene, bands, mask: as for `detect_anomalies`. local: against the pixels between the windows, odd widths in pixels, instead of all.
    shrinkage: see `LocalRX`.
    """
    detector = LocalRX(inner_window, outer_window, shrinkage) if local else GlobalRX()
    (cube,), _ = good_cubes([scene], bands, mask, run.part(0.0, 0.3))
    write_map(output, cube.raster, "RX anomaly score", detector.detect(cube, run.progress.part(0.3, 1.0)))
