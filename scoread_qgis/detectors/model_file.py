"""Model files: what a detector has learnt, with all that is needed to use it on another day and another scene.

A file is a `torch.save` archive of tensors and plain values. It is read with `weights_only=True`, so that nothing in it is executed.
"""

import os
from dataclasses import dataclass, field

import torch

from ..core.files import whole_file
from .registry import DETECTORS

_FORMAT = "scoread_qgis model"
_VERSION = 1


@dataclass
class Model:
    """A trained detector and what is known of its training.

    bands: number of bands. wavelengths: list of nm, or None. band_numbers: {"numbers": bands used, "of": bands in the file} of the training
    scene. settings: parameter name -> value. seed: int. versions: software -> version. loss_curve: list of float.
    """

    detector: object
    bands: int
    wavelengths: list = None
    band_numbers: dict = None
    settings: dict = field(default_factory=dict)
    seed: int = 0
    versions: dict = field(default_factory=dict)
    loss_curve: list = field(default_factory=list)

    def save(self, path):
        """Write the model, whole or not at all. Raises ValueError where `path` cannot be written."""
        content = {key: value for key, value in vars(self).items() if key != "detector"}
        content.update(format=_FORMAT, version=_VERSION, kind=self.detector.kind, state=self.detector.state())
        with whole_file(path, "model") as part:
            torch.save(content, part)

    @classmethod
    def load(cls, path, device="cpu"):
        """Read a model file. Raises ValueError, with the remedy, for a file that is no model of ours. Never executes what is in it."""
        if not os.path.isfile(path):
            raise ValueError(f"There is no model file {path}. Make one with Train SGM or Train FERS.")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # what a foreign file makes torch raise is anything
            raise ValueError(
                f"{path} is not a model of this plugin, or is damaged. Choose a file made by Train SGM or Train FERS."
            ) from error
        if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
            raise ValueError(f"{path} is not a model of this plugin. Choose a file made by Train SGM or Train FERS.")
        if content.pop("version") > _VERSION or content["kind"] not in DETECTORS:
            raise ValueError(f"{path} was made by a newer version of the plugin. Update the plugin, or train the model again.")
        detector_class = DETECTORS[content.pop("kind")]
        try:
            detector = detector_class.from_state(content.pop("state"), device)
            return cls(detector, **content)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{path} is incomplete: {error}. Train the model again.") from error
