"""Model files: what a detector has learnt, with all that is needed to use it on another day and another scene.

A file holds no pickle, and nothing in it can be executed: see `shared.tensor_file`. Those of version 0.1 and 0.2 of the plugin, archives of
torch.save, are read without unpickling: see `shared.torch_archive`. Everything in a file is checked before it is used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch

from ..core.files import whole_file
from .contract import Detector
from .registry import DETECTORS
from .shared.checks import MOST, State, check_keys, finite_list, whole_number
from .shared.tensor_file import decode, encode, is_tensor_file
from .shared.torch_archive import read_archive

_FORMAT = "scoread_qgis model"
_VERSION = 2  # of the format; 1 was in archives of torch.save
_FACTS = ("bands", "wavelengths", "band_numbers", "settings", "seed", "versions", "loss_curve")


@dataclass
class Model:
    """A trained detector and what is known of its training.

    bands: number of bands. wavelengths: list of nm, or None. band_numbers: {"numbers": bands used, "of": bands in the file} of the training
    scene. settings: parameter name -> value. seed: int. versions: software -> version. loss_curve: list of float.
    """

    detector: Detector
    bands: int
    wavelengths: list[float] | None = None
    band_numbers: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    loss_curve: list[float] = field(default_factory=list)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, whole or not at all. Raises ValueError where `path` cannot be written, or the model is not finite."""
        content = {name: getattr(self, name) for name in _FACTS}
        content.update(format=_FORMAT, version=_VERSION, kind=self.detector.kind, state=self.detector.state())
        try:
            parts = encode(content)
        except ValueError as error:
            raise ValueError(f"The training diverged: {error}. Train again with a smaller learning rate.") from error
        with whole_file(path, "model") as part, part.open("wb") as file:
            for some in parts:
                file.write(some)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Model:
        """Read a model file.

        Raises ValueError, with the remedy, for a file that was not created by this plugin. Never executes what is in it.
        """
        if not os.path.isfile(path):
            raise ValueError(f"There is no model file {path}. Make one with Train SGM or Train FERS.")
        try:
            content = decode(path) if is_tensor_file(path) else read_archive(path)
            if not isinstance(content, dict) or not isinstance(content.get("format"), str) or content["format"] != _FORMAT:
                raise ValueError("it does not hold a model")
        except OSError as error:
            raise ValueError(f"The model {path} cannot be read: {error.strerror}. Choose another, or fix its permissions.") from error
        except ValueError as error:
            raise ValueError(
                f"{path} is not a model of this plugin, or is damaged: {error}. Choose a file made by Train SGM or Train FERS."
            ) from error
        version, kind = content.get("version"), content.get("kind")
        if type(version) is int and version > _VERSION:
            raise ValueError(f"{path} was made by a newer version of the plugin. Update the plugin, or train the model again.")
        try:
            check_keys(content, "content", "format", "version", "kind", "state", *_FACTS)
            whole_number(content, "version", 1, _VERSION)
            if not isinstance(kind, str) or kind not in DETECTORS or not DETECTORS[kind].keeps_model:
                raise ValueError("its kind of detector is unknown")
            detector = DETECTORS[kind].from_state(content["state"], device)
            return cls(detector, **_checked_facts(content, detector.bands))
        except ValueError as error:
            raise ValueError(f"The model {path} cannot be used: {error}. Choose another, or train it again.") from error


def _checked_facts(content: State, bands: int) -> dict[str, Any]:
    """What is known of the training of a detector of so many bands. Raises ValueError for what cannot be."""
    facts = {name: content[name] for name in _FACTS}
    whole_number(content, "bands", bands, bands)
    wavelengths = facts["wavelengths"]
    if wavelengths is not None and len(finite_list(content, "wavelengths")) != bands:
        raise ValueError(f"its wavelengths are not those of {bands} bands")
    if facts["band_numbers"] is not None:
        check_keys(facts["band_numbers"], "table of bands", "numbers", "of")
        count, numbers = whole_number(facts["band_numbers"], "of"), facts["band_numbers"]["numbers"]
        if type(numbers) is not list or len(numbers) != bands or any(type(n) is not int or not 1 <= n <= count for n in numbers):
            raise ValueError(f"its table of bands does not name {bands} of {count} bands")
    whole_number(content, "seed", -(2**63), 2**64)
    finite_list(content, "loss_curve")
    for name, kinds in (("settings", (str, int, float, bool, type(None))), ("versions", (str,))):
        values = facts[name]
        if not isinstance(values, dict) or len(values) > MOST or any(type(value) not in kinds for value in values.values()):
            raise ValueError(f"its {name} are not a table of plain values")
    return facts
