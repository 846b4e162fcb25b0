"""The facts about their making that maps and regions carry with them: see `scenes.provenance`."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..scenes.bands import list_bands
from ..scenes.provenance import without_secrets
from .parameters import METHOD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..scenes.provenance import Facts
    from ..scenes.raster import RasterCube
    from ..scenes.resampling import ResampledCube
    from ..scenes.score_map import ScoreMap
    from .detect import Detection, Ready
    from .extract import Extraction
    from .identify import Identification
    from .run import Run


def facts_of_map(detection: Detection, ready: Ready, cube: RasterCube | ResampledCube, options: dict[str, Any], run: Run) -> Facts:
    """The facts about the map of a `Detection`, without passwords and anything about the machine.

    ready: `Ready`. cube: the scene with the bands that were used. options: those that the detector took.
    """
    model, detector = ready.model, ready.model.detector
    settings = model.settings if detector.keeps_model else detector.state()
    bands = f"{list_bands(cube.numbers)} of {cube.raster.count}" if hasattr(cube, "numbers") else f"{cube.bands}, resampled"
    return {
        "scene": without_secrets(detection.scene.source),
        "scene_name": without_secrets(cube.raster.name),
        "detector": detector.kind,
        "detector_title": detector.title,
        "model": without_secrets(ready.source),
        "model_seed": model.seed if detection.model else None,
        "fit": None if ready.fit is None else f"{ready.fit:.4f}",
        "settings": _listed(settings),
        "options": _listed({name: value for name, value in options.items() if name != "seed"}),
        "seed": options.get("seed", detection.seed),
        "bands": bands,
        "mask": detection.mask and without_secrets(detection.mask.name),
        "area": detection.extent and f"{detection.extent}{', learnt from it alone' if detection.learn_area else ''}",
        "largest": detection.largest and f"{detection.largest} pixels",
        "asked": asked_in_json(detection.asked()),
        "versions": _listed(run.versions(), " "),
        "date": now(),
    }


def facts_of_regions(score_map: ScoreMap, threshold: float, extraction: Extraction, run: Run) -> Facts:
    """The facts about the regions of an `Extraction`, with those that the `ScoreMap` itself carries."""
    given = {"tail": "rate", "percentile": "percentile"}.get(extraction.method)
    return {
        **score_map.metadata,
        "map": without_secrets(score_map.source),
        "map_name": without_secrets(score_map.name),
        "threshold": f"{threshold:.9g}",
        "method": METHOD.choices[METHOD.values.index(extraction.method)],
        **({given: getattr(extraction, given)} if given else {}),
        "min_area": extraction.min_area,
        "connectivity": extraction.connectivity,
        "extracted": now(),
        "extracted_with": _listed(run.versions(), " "),
    }


def facts_of_identification(identification: Identification, run: Run) -> Facts:
    """The facts that an `Identification` adds to those that its regions carry."""
    flat = identification.flat_field
    return {
        "identified_in": without_secrets(identification.scene.source),
        "libraries": _paths_in_json(identification.libraries),
        "quantity": f"divided by the flat field {without_secrets(flat.name)}" if flat else identification.quantity,
        "group_angle": f"{identification.group_angle:g}",
        "identified": now(),
        "identified_with": _listed(run.versions(), " "),
    }


def _paths_in_json(paths: Sequence[str]) -> str:
    return json.dumps([without_secrets(path) for path in paths], ensure_ascii=False) if paths else ""


def paths_named(text: str) -> list[str]:
    """The paths in such a fact. Regions of version 0.4 and before list them with commas, which paths may contain."""
    try:
        paths = json.loads(text)
    except ValueError:
        paths = None
    return [str(path) for path in paths] if isinstance(paths, list) else list(filter(None, text.split(", ")))


def asked_in_json(asked: dict[str, Any]) -> str:
    """What `Detection.asked` returns, as the fact of a map."""
    return json.dumps({name: value for name, value in asked.items() if value is not None}, ensure_ascii=False, default=str)


def now() -> str:
    """Date and time in UTC, in ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _listed(values: dict[str, Any], between: str = " = ") -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in values.items() if value is not None)
