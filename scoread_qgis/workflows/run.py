"""What every workflow is told about the run it is part of, by QGIS or by whoever else starts it."""

import configparser
import inspect
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core.progress import Progress

# A plugin carries its metadata with it; in a source checkout they lie one folder up.
_METADATA = [folder / "metadata.txt" for folder in Path(__file__).parents[1:3]]


@dataclass(frozen=True)
class Run:
    """One run of a workflow.

    memory: bytes that reading and detecting may take. progress: `Progress`. log(text): a line for the log of the run.
    host: versions of the software that started it, by name, for model files and reports.
    scratch: folder for temporary files; None for the system's. warn(text): a line that must not be overlooked; by default one of the log.
    """

    memory: int
    progress: Progress = field(default_factory=Progress)
    log: callable = print
    host: dict = field(default_factory=dict)
    scratch: str = None
    warn: callable = None

    def __post_init__(self):
        if self.warn is None:
            object.__setattr__(self, "warn", self.log)

    def part(self, start, end):
        """The same run, for a phase of the work that takes the share from `start` to `end` (0..1)."""
        return replace(self, progress=self.progress.part(start, end))

    def recorded(self):
        """The same run with a log that is kept too, and the list that it is kept in."""
        lines = []

        def recording(tell):
            def told(text):
                lines.append(text)
                tell(text)

            return told

        return replace(self, log=recording(self.log), warn=recording(self.warn)), lines

    def supported(self, function, options):
        """The `options` that `function` takes; the log tells of the others."""
        known = inspect.signature(function).parameters
        for name in sorted(name for name, value in options.items() if name not in known and name != "seed" and value is not False):
            self.log(f"{name.upper()} is ignored by this detector.")
        return {name: value for name, value in options.items() if name in known}

    def versions(self):
        """Versions of the plugin, of what it computes with, and of its host."""
        used = {name: str(sys.modules[name].__version__) for name in ("torch", "numpy") if name in sys.modules}
        return {"scoread_qgis": plugin_version(), **used, **self.host}


def plugin_version():
    """Version of the plugin, from its metadata."""
    metadata = configparser.ConfigParser()
    metadata.read([str(path) for path in reversed(_METADATA)], encoding="utf-8")
    return metadata.get("general", "version")
