"""What the reports of training and detection show of a run: gathered here, written by `reports.run`."""

import inspect
import platform
import time

import numpy as np

from ..decisions.tail import Tail
from ..reports.run import Spectra, add_log, add_map, run_page
from ..scenes.bands import list_bands
from ..scenes.score_map import ScoreMap
from ..scenes.thumbnail import map_picture

SCENE_SPECTRA, SAMPLED_SPECTRA = 1000, 100
MAP_PIXELS = 1_000_000


def write_report(path, title, parameters, model, cube, started, lines, run, output=None):
    """Write the report of a run to `path` (.html).

    parameters: name -> value of what was set. model: `Model`. cube: the scene with the bands that were used. started: time.time() of the start.
    lines: of the log. output: the anomaly map, after a detection.
    """
    duration = time.time() - started
    spectra = _spectra(model.detector, cube, run.part(0.0, 0.7))
    facts = {
        **{name: _text(value) for name, value in parameters.items() if value not in (None, [], (), {}, "")},
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(started)),
        "duration": f"{duration:.1f} s",
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}, Python {platform.python_version()}",
        "memory allowed": f"{run.memory / 2**20:.0f} MB",
        **run.versions(),
    }
    known = {
        "kind": model.detector.kind,
        "seed": model.seed,
        "settings": _settings(model),
        "versions": model.versions,
        "loss_curve": model.loss_curve,
    }
    page = run_page(title, facts, _bands(cube), known, spectra)
    if output:
        scores = ScoreMap(output, memory=run.memory)
        _, (sample,) = scores.sample(
            MAP_PIXELS, 0, lambda block, rows, columns: (block.values[rows, columns, 0],), progress=run.progress.part(0.7, 0.9)
        )
        run.progress(0.9, "fitting the background's tail")
        try:
            tail = Tail.fit(sample)
        except ValueError as reason:
            tail = str(reason)
        add_map(page, map_picture(output), sample, tail)
    add_log(page, lines)
    run.progress(1.0, "writing the report")
    page.write(path)


def _spectra(detector, cube, run):
    """`Spectra` of the scene and of the model, or why there are none."""
    if detector.sampled_from is None:
        return f"{detector.title} learns no distribution of spectra: there are none to sample from it."
    _, (scene,) = cube.sample(
        SCENE_SPECTRA, 0, lambda block, rows, columns: (block.values[rows, columns],), progress=run.progress.part(0.0, 0.4),
        message="spectra for the report",
    )  # fmt: skip
    return Spectra(scene, detector.sample(SAMPLED_SPECTRA, progress=run.progress.part(0.4, 1.0)), cube.wavelengths, detector.sampled_from)


def _settings(model):
    """All settings of the training, those left at their defaults too."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(type(model.detector).train).parameters.items()
        if isinstance(parameter.default, (int, float)) and name != "seed"
    }
    return {**defaults, **model.settings}


def _bands(cube):
    rows = [["used", str(cube.bands)]]
    if hasattr(cube, "numbers"):
        unused = sorted(set(range(1, cube.raster.count + 1)) - set(cube.numbers))
        rows = [
            ["used", f"{cube.bands} of {cube.raster.count}: {list_bands(cube.numbers)}"],
            ["left out", list_bands(unused) if unused else "none"],
        ]
    if cube.wavelengths is not None:
        rows.append(["wavelengths", f"{np.min(cube.wavelengths):.0f} to {np.max(cube.wavelengths):.0f} nm"])
    return rows


def _text(value):
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
