"""What a workflow is told about the run it belongs to, by QGIS or whoever else starts it."""

from __future__ import annotations

import configparser
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.progress import Progress

# An installed plugin contains its metadata; in a source checkout the file is one folder up.
_METADATA = [folder / "metadata.txt" for folder in Path(__file__).parents[1:3]]


Tell = Callable[[str], object]


@dataclass(frozen=True)
class Run:
    """One run of a workflow.

    memory: bytes that reading and detecting may take. progress: `Progress`. log(text): writes a line to the log of the run.
    host: versions of the software that started it, by name, for model files and reports.
    scratch: folder for temporary files; None for the system's.
    warn(text): writes a line that must not be overlooked; by default to the log.
    """

    memory: int
    progress: Progress = field(default_factory=Progress)
    log: Tell = print
    host: dict[str, str] = field(default_factory=dict)
    scratch: str | None = None
    warn: Tell = None  # type: ignore[assignment]  # never None after __post_init__

    def __post_init__(self) -> None:
        if self.warn is None:
            object.__setattr__(self, "warn", self.log)

    def part(self, start: float, end: float) -> Run:
        """The same run, for a phase of the work whose progress goes from `start` to `end` (0..1)."""
        return replace(self, progress=self.progress.part(start, end))

    def recorded(self) -> tuple[Run, list[str]]:
        """The same run with a log that is also recorded, and the list of its lines."""
        lines: list[str] = []

        def recording(tell: Tell) -> Tell:
            def told(text: str) -> None:
                lines.append(text)
                tell(text)

            return told

        return replace(self, log=recording(self.log), warn=recording(self.warn)), lines

    def supported(self, function: Callable[..., object], options: dict[str, Any]) -> dict[str, Any]:
        """The `options` that `function` takes; the others are named in the log."""
        known = inspect.signature(function).parameters
        for name in sorted(name for name, value in options.items() if name not in known and name != "seed" and value is not False):
            self.log(f"{name.upper()} is ignored by this detector.")
        return {name: value for name, value in options.items() if name in known}

    def versions(self) -> dict[str, str]:
        """Versions of the plugin, of the libraries it computes with, and of its host."""
        used: dict[str, str] = {name: str(sys.modules[name].__version__) for name in ("torch", "numpy") if name in sys.modules}
        return {"scoread_qgis": plugin_version(), **used, **self.host}


def plugin_version() -> str:
    """Version of the plugin, from its metadata."""
    metadata = configparser.ConfigParser()
    metadata.read([str(path) for path in reversed(_METADATA)], encoding="utf-8")
    return metadata.get("general", "version")
