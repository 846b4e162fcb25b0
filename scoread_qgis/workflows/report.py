"""Gathers what the reports of training and detection show about a run; `reports.run` writes it."""

from __future__ import annotations

import inspect
import platform
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from ..decisions.tail import Tail
from ..reports.run import ModelFacts, Spectra, add_log, add_map, run_page
from ..scenes.bands import list_bands
from ..scenes.score_map import ScoreMap
from ..scenes.thumbnail import map_picture

if TYPE_CHECKING:
    from ..core.progress import Progress
    from ..detectors.contract import Detector
    from ..detectors.model_file import Model
    from ..scenes.raster import RasterCube
    from ..scenes.resampling import ResampledCube
    from .run import Run

SCENE_SPECTRA, SAMPLED_SPECTRA = 1000, 100
MAP_PIXELS = 1_000_000


class _Sampled(Protocol):
    """A `Detector` whose `sampled_from` says how it samples spectra."""

    def sample(self, count: int, *, progress: Progress) -> np.ndarray:
        """Spectra (count, bands)."""


def write_report(
    path: str,
    title: str,
    parameters: dict[str, object],
    model: Model,
    cube: RasterCube | ResampledCube,
    started: float,
    lines: Iterable[str],
    run: Run,
    output: str | None = None,
) -> None:
    """Write the report of a run to `path` (.html).

    parameters: name -> value of everything that was set. model: `Model`. cube: the scene with the bands that were used.
    started: time.time() at the start. lines: of the log. output: path of the anomaly map, after a detection.
    """
    duration = time.time() - started
    spectra = _spectra(model.detector, cube, run.part(0.0, 0.7))
    facts: dict[str, object] = {
        **{name: _text(value) for name, value in parameters.items() if value not in (None, [], (), {}, "")},
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(started)),
        "duration": f"{duration:.1f} s",
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}, Python {platform.python_version()}",
        "memory allowed": f"{run.memory / 2**20:.0f} MB",
        **run.versions(),
    }
    known: ModelFacts = {
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
        tail: Tail | str
        try:
            tail = Tail.fit(sample)
        except ValueError as reason:
            tail = str(reason)
        add_map(page, map_picture(output), sample, tail)
    add_log(page, lines)
    run.progress(1.0, "writing the report")
    page.write(path)


def _spectra(detector: Detector, cube: RasterCube | ResampledCube, run: Run) -> Spectra | str:
    """`Spectra` of the scene and of the model, or the reason why there are none."""
    if detector.sampled_from is None:
        return f"{detector.title} learns no distribution of spectra: there are none to sample from it."
    _, (scene,) = cube.sample(
        SCENE_SPECTRA, 0, lambda block, rows, columns: (block.values[rows, columns],), progress=run.progress.part(0.0, 0.4),
        message="spectra for the report",
    )  # fmt: skip
    sampled = cast(_Sampled, detector).sample(SAMPLED_SPECTRA, progress=run.progress.part(0.4, 1.0))
    return Spectra(scene, sampled, cube.wavelengths, detector.sampled_from)


def _settings(model: Model) -> dict[str, Any]:
    """All settings of the training, including those left at their defaults."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(type(model.detector).train).parameters.items()
        if isinstance(parameter.default, (int, float)) and name != "seed"
    }
    return {**defaults, **model.settings}


def _bands(cube: RasterCube | ResampledCube) -> list[list[str]]:
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


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
