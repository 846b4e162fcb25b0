"""Files that workflows write, and what can be known about them before the work."""

import csv
from pathlib import Path

from ..core.files import whole_file
from ..scenes.writer import MapWriter


def check_writable(path, suffix):
    """Raise ValueError if a file cannot be made at `path`, or it does not end in `suffix`: better known before the work than after."""
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise ValueError(f"{path}: give the file a name that ends in {suffix}.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Give the name of a file.")
    trial = path.with_name(f".{path.name}.trial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}. Choose a folder that you may write to.") from error


def write_table(path, header, rows):
    """Write rows as a CSV file, whole or not at all."""
    with whole_file(path, "table") as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_harmless(cell) for cell in row] for row in [header, *rows])


def _harmless(cell):
    """A cell of a table; of a text, such as a layer's name, that a spreadsheet would take for a formula and run, a text with ' before it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def write_map(path, raster, description, scores):
    """Write `scores`, pairs of first row and (rows, columns) array, as the anomaly map of a `RasterFile`."""
    with MapWriter(path, raster, description) as writer:
        for row, rows in scores:
            writer.write(row, rows)


def save_model(path, detector, cube, band_numbers, settings, seed, run):
    """Write a trained detector as a model file, with what is known of its bands and its training, and return the `Model`; the log tells the loss."""
    from ..detectors.model_file import Model

    wavelengths = None if cube.wavelengths is None else [float(w) for w in cube.wavelengths]
    loss_curve = detector.loss_curve
    model = Model(detector, cube.bands, wavelengths, band_numbers, settings, seed, run.versions(), loss_curve)
    model.save(path)
    run.log(f"Loss: {loss_curve[0]:.4g} at the start, {loss_curve[-1]:.4g} at the end.")
    return model
