"""What is installed and whether it works: a report for users and their bug reports."""

from __future__ import annotations

import importlib
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from qgis.core import Qgis
from qgis.PyQt.QtCore import PYQT_VERSION_STR, QT_VERSION_STR

from ..core.loading import load_torch
from ..core.progress import Cancelled, Progress
from ..settings import default_device, torch_threads
from ..workflows.run import plugin_version
from .packages import MENU_PATH, add_package_folder, is_ours, location

LEAST_AUC = 0.9  # of the self test; chance is 0.5
_WRONG = ("MISSING", "FAILED")  # how what is wrong begins in the report


def installation_report(progress: Progress | None = None) -> str:
    """Versions, devices and the result of the self test, as lines of text. What is missing or broken is reported, never raised."""
    progress = progress or Progress()
    add_package_folder()
    if location("torch"):
        progress(0.0, "loading PyTorch")
        _attempt(load_torch)  # what is wrong with it is reported below
    lines = [
        f"ScoreAD: {plugin_version()}",
        f"QGIS: {Qgis.version()}, Qt {QT_VERSION_STR}, PyQt {PYQT_VERSION_STR}",
        f"Python: {platform.python_version()}, {sys.prefix}",
        f"System: {platform.platform()}, {platform.machine()}",
    ]
    for number, (title, name) in enumerate((("numpy", "numpy"), ("scipy", "scipy"), ("GDAL", "osgeo.gdal"), ("PyTorch", "torch"))):
        progress(0.1 * number, f"looking at {title}")
        lines.append(f"{title}: {_package(name)}")
    lines += [f"Devices: {_attempt(_devices)}", f"Device setting: {default_device()}"]
    lines.append(f"Self test: {_attempt(lambda: self_test(default_device(), progress.part(0.4, 1.0)))}")
    progress(1.0, "checked")
    return "\n".join(lines)


def problems(report: str) -> list[str]:
    """What is wrong according to a report: names such as "PyTorch", "Self test"."""
    lines = (line.partition(": ") for line in report.splitlines())
    return [name for name, _, found in lines if found.startswith(_WRONG)]


def self_test(device: str = "auto", progress: Progress | None = None) -> str:
    """Train on a simulated scene and detect in it; returns a line of text on quality and speed. Takes some seconds."""
    from ..core.cube import ArrayCube
    from ..detectors.default_mode.sgm import SGM
    from ..detectors.shared.device import pick_device
    from ..scenes.simulated import simulate_scene

    progress = progress or Progress()
    chosen = pick_device(device)
    scene = simulate_scene(64, 64, 60, seed=0, progress=progress.part(0.0, 0.2))
    cube = ArrayCube(scene.cube[..., scene.good] * scene.scale, wavelengths=scene.wavelengths[scene.good])
    with torch_threads():
        start = time.monotonic()
        model = SGM.train([cube], seed=0, device=chosen, progress=progress.part(0.2, 0.8))
        trained = time.monotonic()
        scores = np.concatenate([rows for _, rows in model.detect(cube, progress.part(0.8, 1.0))])
        detected = time.monotonic()
    auc = _auc(scores, scene.truth > 0)
    verdict = "passed" if auc >= LEAST_AUC else f"FAILED, the area should be at least {LEAST_AUC}"
    return (
        f"{verdict}: trained in {trained - start:.1f} s and detected in {detected - trained:.1f} s on {chosen}, "
        f"area under the ROC curve {auc:.3f}"
    )


def _package(name: str) -> str:
    """Version and location of a package, or why it cannot be used."""
    top = name.partition(".")[0]
    if not location(top):
        return f"MISSING. Click {MENU_PATH}"
    version = _attempt(lambda: importlib.import_module(name).__version__)
    return f"{version}, {location(top)}{' (installed by this plugin)' if is_ours(top) else ''}"


def _devices() -> str:
    import torch

    found = [f"CPU with {torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        found += [f"cuda: {torch.cuda.get_device_name(number)}" for number in range(torch.cuda.device_count())]
    else:
        built = torch.version.cuda
        found.append(f"no cuda ({f'PyTorch is built for CUDA {built} but finds no GPU' if built else 'PyTorch is built without it'})")
    found.append("mps" if torch.backends.mps.is_available() else "no mps")
    return ", ".join(found)


def _attempt(question: Callable[[], Any]) -> Any:
    """The result of `question()`, or what went wrong."""
    try:
        return question()
    except Cancelled:
        raise
    except Exception as error:  # whatever is broken has to appear in the report
        return f"FAILED, {type(error).__name__}: {error}"


def _auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve: how often an anomalous pixel scores higher than a background pixel."""
    background = np.sort(scores[~truth])
    return float(np.searchsorted(background, scores[truth]).mean() / len(background))
