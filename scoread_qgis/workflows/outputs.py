"""Files that workflows write, and what can be known about them before the work."""

import csv
import os
from pathlib import Path

from ..core.files import check_place, remove_litter, whole_file
from ..scenes.input_files import check_apart
from ..scenes.writer import MapWriter


def check_outputs(outputs, inputs, scratch=None):
    """What has to be known of the files that a workflow writes before its work, not after. Raises ValueError, with the remedy.

    outputs: pairs of path and the suffix that it must have; those whose path is None or "" are not wanted. inputs: all that the workflow
    reads: paths, `RasterSource`s, `MaskSource`s, `RegionSource`s; None is passed over. No output may be a file that an input is read from,
    by whatever name, nor another output; and all must be possible to write. Removes what runs that were killed left beside the outputs and
    in `scratch`, the folder for temporary files, None for the system's.
    """
    outputs = [(str(path), suffix) for path, suffix in outputs if path]
    for path, suffix in outputs:
        if Path(path).suffix.lower() != suffix and (suffix, Path(path).suffix.lower()) != (".tif", ".tiff"):
            raise ValueError(f"{path}: give the file a name that ends in {suffix}.")
        if Path(path).is_dir():
            raise ValueError(f"{path} is a folder. Give the name of a file.")
    check_apart([path for path, _ in outputs], list(_origins(inputs)))
    for path, _ in outputs:
        check_place(path, "result")
    remove_litter([os.path.dirname(os.path.abspath(path)) for path, _ in outputs], scratch)


def _origins(inputs):
    """Paths and connection strings that inputs are read from."""
    for each in inputs:
        names = [each] if isinstance(each, (str, Path)) else [getattr(each, name, None) for name in ("source", "file")]
        yield from (str(name) for name in names if name)


def write_table(path, header, rows):
    """Write rows as a CSV file, whole or not at all."""
    with whole_file(path, "table") as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_harmless(cell) for cell in row] for row in [header, *rows])


def _harmless(cell):
    """A cell of a table; of a text, such as a layer's name, that a spreadsheet would take for a formula and run, a text with ' before it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def write_map(path, raster, description, scores, area=None, metadata=None):
    """Write `scores`, pairs of first row and (rows, columns) array, as the anomaly map of a `RasterFile`.

    area, metadata: as for `MapWriter`.
    """
    with MapWriter(path, raster, description, area, metadata) as writer:
        for row, rows in scores:
            writer.write(row, rows)


def trained_model(detector, cube, band_numbers, settings, seed, run):
    """The `Model` of a trained detector, with what is known of its bands and its training; the log tells the loss."""
    from ..detectors.model_file import Model

    wavelengths = None if cube.wavelengths is None else [float(w) for w in cube.wavelengths]
    loss_curve = list(detector.loss_curve)
    if loss_curve:
        run.log(f"Loss: {loss_curve[0]:.4g} at the start, {loss_curve[-1]:.4g} at the end.")
    return Model(detector, cube.bands, wavelengths, band_numbers, settings, seed, run.versions(), loss_curve)
