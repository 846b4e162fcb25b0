"""The library spectra that regions were found to match, as the bands of a scene see them."""

from __future__ import annotations

import os
from collections.abc import Collection

import numpy as np

from ..scenes.quantity import recognise_quantity
from ..scenes.spectral_library import Library, band_widths, read_libraries
from .provenance import paths_named
from .review_scene import ReviewedScene, spectral_angles
from .run import Run


def library_spectra(facts: dict[str, str], beside: str, names: Collection[str], scene: ReviewedScene, run: Run) -> dict[str, np.ndarray]:
    """The library spectra with some names: name -> (entries of that name, bands of the file), NaN in bands not used or not covered.

    facts: provenance of the identified regions, which are in the file `beside`. Libraries are looked for where they were, and beside the
    regions. Raises ValueError, one line, where the spectra cannot be shown.
    """
    wavelengths = scene.raster.table.wavelengths[scene.used]
    if np.isnan(wavelengths).any():
        raise ValueError("The scene has no wavelengths, so that library spectra cannot be shown with it.")
    fwhm, how = scene.raster.table.fwhm[scene.used], facts.get("quantity", "auto")
    reflectance = how == "reflectance" or how == "auto" and recognise_quantity(scene.raster, scene.sample, wavelengths, fwhm).reflectance
    if not reflectance:
        raise ValueError("The scene is not reflectance, so that library spectra cannot be shown with it.")
    named = paths_named(facts.get("libraries", ""))
    paths = [path if os.path.exists(path) else os.path.join(os.path.dirname(beside), os.path.basename(path)) for path in named]
    library, problems = read_libraries(paths, run.progress)
    wanted = [index for index, name in enumerate(library.names) if name in names]
    if not wanted:
        why = problems[0] if problems else "The regions do not say which library it was."
        raise ValueError(f"The library spectra of the matches were not found. {why}")
    chosen = Library(
        tuple(library.names[index] for index in wanted), tuple(library.wavelengths[index] for index in wanted),
        tuple(library.values[index] for index in wanted), tuple(library.files[index] for index in wanted),
    )  # fmt: skip
    found: dict[str, list[np.ndarray]] = {}
    for name, entry in zip(chosen.names, chosen.at_bands(wavelengths, band_widths(wavelengths, fwhm))):
        found.setdefault(name, []).append(scene.over_all_bands(entry))
    return {name: np.array(entries) for name, entries in found.items()}


def nearest(entries: np.ndarray, spectrum: np.ndarray) -> np.ndarray | None:
    """The one of some entries (n, bands) with the least angle to a spectrum (bands,), scaled to its brightness; None where none is known.

    The angle does not depend on brightness, and lighting differs between a laboratory and a scene.
    """
    best, least = None, np.inf
    for entry in entries:
        known = np.isfinite(entry) & np.isfinite(spectrum)
        if known.sum() > 1 and (angle := spectral_angles(spectrum[known], entry[known][None])[0]) < least:
            best, least = entry * (entry[known] @ spectrum[known]) / (entry[known] @ entry[known]), angle
    return best
