"""The files that workflows write, and the checks of them that are possible before the work."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import check_place, remove_litter, whole_file, working_folder
from ..scenes.input_files import check_apart
from ..scenes.writer import MapWriter

if TYPE_CHECKING:
    from ..detectors.contract import Detector
    from ..detectors.model_file import Model
    from ..scenes.extent import Area
    from ..scenes.provenance import Facts
    from ..scenes.raster import RasterCube, RasterFile
    from ..scenes.resampling import ResampledCube
    from .run import Run


def check_outputs(outputs: Iterable[tuple[str | None, str]], inputs: Iterable[object], scratch: str | None = None) -> None:
    """Check, before a workflow starts, the files that it will write. Raises ValueError, with the remedy.

    outputs: pairs of path and the suffix that it must have; those whose path is None or "" are not wanted. inputs: everything that the
    workflow reads: paths, `RasterSource`s, `MaskSource`s, `RegionSource`s; None is ignored. No output may be a file that an input is read
    from, under whatever name, nor another output; and all must be writable. Removes what killed runs left beside the outputs and in
    `scratch`, the folder for temporary files, None for the system's.
    """
    wanted = [(str(path), suffix) for path, suffix in outputs if path]
    for path, suffix in wanted:
        if Path(path).suffix.lower() != suffix and (suffix, Path(path).suffix.lower()) != (".tif", ".tiff"):
            raise ValueError(f"{path}: give the file a name that ends in {suffix}.")
        if Path(path).is_dir():
            raise ValueError(f"{path} is a folder. Give the name of a file.")
    check_apart([path for path, _ in wanted], list(_origins(inputs)))
    for path, _ in wanted:
        check_place(path, "result")
    remove_litter([working_folder(path) for path, _ in wanted], scratch)


def _origins(inputs: Iterable[object]) -> Iterator[str]:
    """Paths and connection strings that inputs are read from."""
    for each in inputs:
        names = [each] if isinstance(each, (str, Path)) else [getattr(each, name, None) for name in ("source", "file")]
        yield from (str(name) for name in names if name)


def write_table(path: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows as a CSV file, whole or not at all."""
    with whole_file(path, "table") as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_harmless(cell) for cell in row] for row in [header, *rows])


def _harmless(cell: object) -> object:
    """A cell of a table; ' is put before a text, such as a layer's name, that a spreadsheet would run as a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def write_map(
    path: str,
    raster: RasterFile,
    description: str,
    scores: Iterable[tuple[int, int, np.ndarray]],
    area: Area | None = None,
    metadata: Facts | None = None,
) -> None:
    """Write `scores`, as `Scorer.pieces` yields them, as the anomaly map of a `RasterFile`.

    area, metadata: as for `MapWriter`.
    """
    with MapWriter(path, raster, description, area, metadata) as writer:
        for row, column, piece in scores:
            writer.write(row, piece, column)


def trained_model(
    detector: Detector,
    cube: RasterCube | ResampledCube,
    band_numbers: dict[str, Any] | None,
    settings: dict[str, Any],
    seed: int,
    run: Run,
) -> Model:
    """The `Model` of a trained detector, with the facts about its bands and its training; the loss goes to the log."""
    from ..detectors.model_file import Model

    wavelengths = None if cube.wavelengths is None else [float(w) for w in cube.wavelengths]
    loss_curve: list[float] = list(detector.loss_curve)
    if loss_curve:
        run.log(f"Loss: {loss_curve[0]:.4g} at the start, {loss_curve[-1]:.4g} at the end.")
    return Model(detector, cube.bands, wavelengths, band_numbers, settings, seed, run.versions(), loss_curve)
