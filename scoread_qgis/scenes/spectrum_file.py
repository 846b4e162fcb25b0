"""Spectra for other software: as CSV, or as a spectral library of ENVI."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from ..core.files import whole_file


def spectra_csv(axis: np.ndarray, nanometres: bool, names: Sequence[str], spectra: Sequence[np.ndarray]) -> str:
    """A line for each band: its wavelength in nm or its number, and the value of each spectrum (bands,), empty where it is NaN."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["wavelength_nm" if nanometres else "band", *names])
    for band, place in enumerate(axis):
        writer.writerow([f"{place:.8g}", *("" if np.isnan(one[band]) else f"{one[band]:.8g}" for one in spectra)])
    return text.getvalue()


def write_spectra(path: str, axis: np.ndarray, nanometres: bool, names: Sequence[str], spectra: Sequence[np.ndarray]) -> None:
    """Write spectra, each (bands,), to a .csv file, or to the ENVI spectral library .sli with its header .hdr.

    In the library, bands that are NaN in any of the spectra are left out: ENVI has no value for none. Raises ValueError where it cannot be
    written.
    """
    if path.lower().endswith(".csv"):
        with whole_file(path, "spectra") as part:
            part.write_text(spectra_csv(axis, nanometres, names, spectra), encoding="utf-8")
        return
    stem, suffix = os.path.splitext(path)
    if suffix.lower() != ".sli":
        raise ValueError(f"{path}: give the file a name that ends in .sli, for an ENVI spectral library, or .csv.")
    values = np.asarray(spectra, dtype="<f4")
    known = np.isfinite(values).all(axis=0)
    if not known.any():
        raise ValueError("The spectra have no band in common, so that they do not fit into one library. Save them one by one, or as .csv.")
    order = np.flatnonzero(known)
    order = order[np.argsort(axis[order], kind="stable")]
    titles = ", ".join("".join(" " if sign in "{},\n" else sign for sign in name) for name in names)
    lines = [
        "ENVI", "description = {Spectra seen in QGIS with ScoreAD}", f"samples = {order.size}", f"lines = {len(values)}", "bands = 1",
        "header offset = 0", "file type = ENVI Spectral Library", "data type = 4", "interleave = bsq", "byte order = 0",
        *(["wavelength units = Nanometers"] if nanometres else ["wavelength units = Index"]),
        f"spectra names = {{{titles}}}", f"wavelength = {{{', '.join(f'{place:.8g}' for place in axis[order])}}}",
    ]  # fmt: skip
    with whole_file(path, "spectral library") as part:
        part.write_bytes(np.ascontiguousarray(values[:, order]).tobytes())
    with whole_file(f"{stem}.hdr", "header") as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
