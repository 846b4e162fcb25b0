"""Pinned spectra of a scene, as a text that a project keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from .review_scene import Seen

Pin = tuple[str, str, Seen]  # title, colour, spectrum


def pins_in_json(scene: str, pins: Iterable[Pin]) -> str:
    """The pins of a scene, which a text names."""
    kept = [
        {
            "title": title, "colour": colour, "row": float(seen.row), "column": float(seen.column), "pixels": seen.pixels,
            "spectrum": [float(f"{value:.9g}") if np.isfinite(value) else None for value in seen.spectrum],
        }
        for title, colour, seen in pins
    ]  # fmt: skip
    return json.dumps({"scene": scene, "pins": kept}, ensure_ascii=False)


def pins_of(text: str, scene: str, bands: int) -> list[Pin]:
    """The pins in such a text; none where it is of another scene, of another number of bands, or no such text."""
    try:
        kept = json.loads(text)
        pins = [
            (
                str(pin["title"]),
                str(pin["colour"]),
                Seen(pin["row"], pin["column"], int(pin["pixels"]), np.array(pin["spectrum"], np.float64), None, None),
            )
            for pin in kept["pins"]
            if kept["scene"] == scene
        ]
    except (ValueError, KeyError, TypeError):
        return []
    return [pin for pin in pins if pin[2].spectrum.shape == (bands,)]
