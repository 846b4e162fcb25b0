"""What the values of a scene are: reflectance, which spectral libraries hold, or radiance or numbers of the sensor, which they do not."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .raster import RasterFile
from .spectral_library import reflectance_factor

# Bands of oxygen (760 nm) are as narrow as that; wider bands hardly show it.
_NARROW = 16.0
_DIP, _NO_DIP = 0.88, 0.96  # what the absorption of oxygen leaves: 0.5 to 0.88 in radiance, 1 where the atmosphere was corrected
_DECLINE = 0.15  # radiance at 2000 to 2400 nm, divided by that at 500 to 700 nm: the sun itself falls to 0.05


@dataclass(frozen=True)
class Quantity:
    """reflectance: whether the values are reflectance. factor: makes it 0 to 1 of them; 1 where they are not. why: in words."""

    reflectance: bool
    factor: float
    why: str


def recognise_quantity(raster: RasterFile, spectra: np.ndarray, wavelengths: np.ndarray | None, fwhm: np.ndarray | None = None) -> Quantity:
    """The `Quantity` of a scene, by its metadata, and by a sample of its spectra (n, bands).

    wavelengths, fwhm: (bands,) in nm, or None. Radiance shows the colour of the sun and the absorption of the air's oxygen.
    """
    said = _said(raster)
    if said == "reflectance":
        factor, text = reflectance_factor(spectra)
        return Quantity(True, factor, f"its metadata say reflectance, and its values fit {text}")
    if said:
        return Quantity(False, 1.0, f"its metadata say {said}")
    largest = float(np.percentile(spectra, 99))
    if largest > 20_000 or largest <= 0:
        return Quantity(False, 1.0, f"its values reach {largest:.4g}, and those of reflectance 1, 100 or 10000")
    if wavelengths is not None and (seen := _sunlight(spectra.mean(axis=0, dtype=np.float64), wavelengths, fwhm)):
        return Quantity(False, 1.0, seen)
    factor, text = reflectance_factor(spectra)
    return Quantity(True, factor, f"its values fit {text}")


def _said(raster: RasterFile) -> str:
    """What the metadata call the values: "reflectance", "radiance", "digital numbers", or "" where they say nothing of them."""
    bands = [raster.dataset.GetRasterBand(1)]
    texts = [band.GetUnitType() or "" for band in bands]
    for facts in (raster.dataset.GetMetadata(), raster.dataset.GetMetadata("ENVI"), bands[0].GetMetadata()):
        for name, text in (facts or {}).items():
            if re.search(r"unit|quantity|data[ _]?type|calibration|description|title|processing|product", name, re.I):
                texts.append(text)
            elif re.search("reflectance", name, re.I):
                texts.append("reflectance")
    text = " ".join(texts).lower()
    found = [name for name, pattern in _NAMES.items() if re.search(pattern, text)]
    return found[0] if len(found) == 1 else ""


_NAMES = {
    "reflectance": r"reflectance|\bboa\b",
    "radiance": r"radiance|w\s*/?\s*\(?m\^?2|w m-2|µw|uw/",
    "digital numbers": r"digital numbers?|\bdn\b|\bcounts\b",
}


def _sunlight(mean: np.ndarray, wavelengths: np.ndarray, fwhm: np.ndarray | None) -> str:
    """Why a mean spectrum (bands,) is light that came from the sun through the air, and not reflectance; "" where nothing shows it."""
    widths = np.full(len(mean), np.nan) if fwhm is None else fwhm

    def level(low: float, high: float) -> float:
        inside = (wavelengths >= low) & (wavelengths <= high)
        return float(mean[inside].mean()) if inside.any() else np.nan

    inside = (wavelengths >= 755) & (wavelengths <= 768) & ~(widths > _NARROW)
    around = (level(738, 752) + level(774, 790)) / 2
    if inside.any() and around > 0:
        left = float(mean[inside].min()) / around
        if left < _DIP:
            return f"oxygen absorbs {1 - left:.0%} of its light at 760 nm, as in radiance"
        if left > _NO_DIP:
            return ""
    share = level(2000, 2400) / level(500, 700) if level(500, 700) > 0 else np.nan
    if share < _DECLINE:
        return f"its values at 2000 to 2400 nm are {share:.0%} of those at 500 to 700 nm, as in the light of the sun"
    return ""
