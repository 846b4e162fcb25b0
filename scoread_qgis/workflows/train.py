"""Training: from scenes to a model file."""

import time

from ..core.progress import Cancelled, keeping
from ..detectors import fers
from ..detectors.default_mode.sgm import SGM
from ..detectors.paper_mode.paper_sgm import PaperSGM
from ..detectors.shared.device import pick_device
from ..detectors.shared.training import shares
from .outputs import check_writable, save_model
from .sources import good_cubes


def train_sgm(
    scenes, model, run, paper=False, bands=(), mask=None, settings=None, seed=0, device="auto", report=None, open_cubes=good_cubes
):
    """Train a score-based generative model on scenes and keep it in the file `model` (.pt). Returns the loss at the end.

    scenes: `RasterSource`s of one sensor. paper: as published, instead of the default mode. bands: numbers from 1, or all good ones.
    mask: `MaskSource` or None, for the first scene. settings: of `SGM.train` or `PaperSGM.train`, name -> value. device: auto, cpu, cuda or mps.
    report: .html file or None. open_cubes: `good_cubes`, or a function like it whose cubes are surveyed and sampled elsewhere.
    Raises ValueError with the remedy for what does not fit.
    """
    check_writable(model, ".pt")
    if report:
        check_writable(report, ".html")
    detector_class = PaperSGM if paper else SGM
    shares((settings or {}).get("samples", detector_class.SAMPLES), len(scenes))
    (run, lines), started = run.recorded(), time.time()
    device = pick_device(device)
    run.log(f"Device: {device}.")
    cubes, numbers = open_cubes(scenes, bands, mask, run.part(0.0, 0.1))
    settings = run.supported(detector_class.train, settings or {})
    detector = detector_class.train(cubes, **settings, seed=seed, device=device, progress=run.progress.part(0.1, 0.8 if report else 1.0))
    saved = save_model(model, detector, cubes[0], numbers, settings, seed, run)
    if report:
        from .report import write_report

        parameters = {
            "scenes": [scene.source for scene in scenes], "mask": mask and mask.name, "bands asked for": bands, "mode": "Paper" if paper else "Default",
            "settings": [f"{name} = {value}" for name, value in settings.items()], "random seed": seed, "device": device, "model": model,
        }  # fmt: skip
        with keeping(model):
            write_report(report, f"Training on {cubes[0].raster.name}", parameters, saved, cubes[0], started, lines, run.part(0.8, 1.0))
    return detector.loss_curve[-1]


def train_fers(scenes, model, run, bands=(), settings=None, backbone_weights=(), keep_on_cancel=False, seed=0, device="auto"):
    """Train FERS on background scenes and keep it in the file `model` (.pt). Returns the loss at the end.

    scenes, bands, seed, device: as for `train_sgm`. settings: of `fers.train`. backbone_weights: files, for the published backbone.
    keep_on_cancel: write what has been learnt so far when the run is cancelled.
    """
    check_writable(model, ".pt")
    device, settings = pick_device(device), settings or {}
    run.log(f"Device: {device}.")
    cubes, numbers = good_cubes(scenes, bands, None, run.part(0.0, 0.1))

    saved = []

    def save(detector):
        if detector.loss_curve:  # else it was cancelled before it had learnt anything
            save_model(model, detector, cubes[0], numbers, settings, seed, run)
            saved.append(model)

    try:
        detector = fers.train(
            cubes, **settings, backbone_weights=backbone_weights, seed=seed, device=device, progress=run.progress.part(0.1, 1.0),
            on_checkpoint=save if keep_on_cancel else None,
        )  # fmt: skip
    except Cancelled:
        raise Cancelled(*saved) from None
    save(detector)
    return detector.loss_curve[-1]
