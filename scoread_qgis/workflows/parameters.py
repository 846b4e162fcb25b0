"""The settings of every task: names, limits, defaults and help.

The parameters of the algorithms in QGIS and the options of the command line are both made from these tables. Layers and files are not here,
since each of the two has its own kinds for them. This module imports nothing that takes time to load.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """A setting that a user may change.

    name: that of the keyword argument or field that takes it; permanent, since scripts and designer models contain it (in QGIS in upper
        case, on the command line with hyphens). title: label in a dialog.
    kind: int, float or bool, unless it is a choice.
    default: None where the setting may be left unset; the help says what happens then.
    least, most: limits of a number, None where there is no limit.
    choices: labels to choose from; their order is permanent. values: what each of them stands for; without values the labels stand for
        themselves and are not translated.
    advanced: whether a dialog hides it at first.
    """

    name: str
    title: str
    help: str
    kind: type = int
    default: Any = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    advanced: bool = False

    @property
    def optional(self) -> bool:
        return self.default is None

    def value(self, index: int) -> Any:
        """What the choice with this index stands for."""
        return (self.values or self.choices)[index]

    @property
    def default_index(self) -> int | None:
        """Index of the choice that is the default; None where none is."""
        return None if self.optional else (self.values or self.choices).index(self.default)


SEED = Parameter(
    "seed",
    "Random seed",
    "Number that random choices start from. The same seed gives the same result.",
    default=0,
    least=0,
    most=2**31 - 1,
)
DEVICE = Parameter(
    "device",
    "Device",
    "Where to compute. auto takes a GPU where PyTorch finds one, else the processor, unless the settings of the plugin in QGIS name "
    "another; cuda is a GPU of NVIDIA, mps one of Apple.",
    default="auto",
    choices=("auto", "cpu", "cuda", "mps"),
)

# Training of SGM. The mode chooses the kind of detector in detectors.registry.DETECTORS, the other settings are those of its `train`.
SGM_MODE = Parameter(
    "mode",
    "Mode",
    "Default: seconds, and one setting for all scenes. Paper: ScoreAD as published (arXiv 2601.12379), minutes.",
    default="sgm",
    choices=("Default", "Paper"),
    values=("sgm", "sgm-paper"),
)
SGM_TRAINING: tuple[Parameter, ...] = (
    Parameter(
        "samples", "Training pixels", "How many pixels, drawn from all over the scenes, are trained on at most.", least=100, most=1_000_000,
    ),
    Parameter(
        "steps", "Steps (ignored)", "Ignored: the default mode of version 0.2 took it. That of today estimates statistics, without steps.",
        least=1, most=1_000_000,
    ),
    Parameter("epochs", "Paper mode: epochs", "How often training goes through the pixels. Published: 100.", least=1, most=100_000),
    Parameter("batch_size", "Paper mode: batch size", "Spectra in a training step. Published: 16.", least=1, most=100_000),
    Parameter("learning_rate", "Paper mode: learning rate", "Size of the training steps. Published: 0.00003.", float, least=1e-9, most=1),
    Parameter("sigma", "Paper mode: sigma", "Base of the noise scale of the diffusion. Published: 5.", float, least=1.0001, most=1000),
    Parameter(
        "hidden", "Hidden width",
        "Width of the network's hidden layers; in the default mode the number of random features. Published: 256.", least=8, most=4096,
    ),
    Parameter(
        "outer_window", "Paper mode: outer window",
        "Conditional: odd width in pixels of the window that the context comes from. Published: 3, 5 or 7.", least=3, most=101,
    ),
    Parameter(
        "inner_window", "Paper mode: inner window",
        "Conditional: odd width in pixels of the window that the context does not come from. Published: 1, 3 or 5.",
        least=1, most=99,
    ),
)  # fmt: skip
SGM_TRAINING = tuple(replace(each, help=f"{each.help} Unset: what the mode takes.", advanced=True) for each in SGM_TRAINING) + (
    Parameter(
        "conditional",
        "Paper mode: conditional",
        "Give the network the most similar spectrum around the pixel as context.",
        bool,
        default=False,
        advanced=True,
    ),
)

# Training of FERS: settings of its `train`.
FERS_TRAINING = (
    Parameter(
        "patch",
        "Patch size",
        "Width in pixels, a multiple of 16, of the patches that training cuts from the scenes. Published: 64.",
        default=64,
        least=16,
        most=512,
        advanced=True,
    ),
    Parameter(
        "epochs",
        "Epochs",
        "How often each of the two stages goes through the patches. Published: 60.",
        default=60,
        least=1,
        most=100_000,
        advanced=True,
    ),
    Parameter("batch", "Batch size", "Patches in a training step. Published: 16.", default=16, least=1, most=1024, advanced=True),
    Parameter(
        "learning_rate",
        "Learning rate",
        "Size of the training steps. Published: 0.005.",
        float,
        default=5e-3,
        least=1e-9,
        most=1,
        advanced=True,
    ),
    Parameter(
        "backbone",
        "Backbone",
        "Compact: small networks for a processor. As published: Wide-ResNet-101-2 and ResNet34, for a GPU.",
        default=0,
        choices=("Compact", "As published"),
        values=(0, 1),
        advanced=True,
    ),
)
KEEP_ON_CANCEL = Parameter(
    "keep_on_cancel",
    "Keep the model on cancel",
    "Write what has been learnt so far when the run is cancelled. Unset: a cancelled run leaves no file.",
    bool,
    default=False,
    advanced=True,
)

# Detection: a field of workflows.detect.Detection. The area itself is none of a table, as layers and files are not.
LEARN_AREA = Parameter(
    "learn_area",
    "Learn from the area alone",
    "Look at nothing outside of the area, but a margin of some pixels: the background is that of the area alone. Unset: the map covers the "
    "area, and its scores are those of a map of the whole scene. (FERS looks at the whole scene always.)",
    bool,
    default=False,
    advanced=True,
)

LARGEST = Parameter(
    "largest",
    "Largest anomaly",
    "Pixels of the largest anomaly that is looked for: better too many than too few. What stands out in an object of no more pixels, "
    "connected by sides or corners, is raised by as much as it stands out. Larger objects keep their scores and so fall behind: one "
    "that is larger than expected may be lost among small ones. Unset: any size.",
    least=1,
    most=500,
)

# Detection with a model: a field of workflows.detect.Detection, and options of the detector's `bind`, as the seed is.
UNFIT = Parameter(
    "unfit",
    "If the scene does not fit the model",
    "Adapt: re-estimate from the scene what belongs to it, and keep the rest of the model. Warn: use the model as it is. Refuse: "
    "make no map.",
    default="adapt",
    choices=("Adapt", "Warn", "Refuse"),
    values=("adapt", "warn", "refuse"),
)
DETECTION = (
    Parameter(
        "t",
        "Paper mode: time t",
        "Time of the perturbation kernel, hence how much noise is added to a spectrum. Unset: 0.05, as published.",
        float,
        least=1e-5,
        most=1,
        advanced=True,
    ),
    Parameter(
        "perturbations",
        "Paper mode: perturbations",
        "How many perturbed copies of a spectrum the score is computed for. Unset: 100, as published.",
        least=2,
        most=100_000,
        advanced=True,
    ),
    Parameter(
        "readout",
        "FERS: readout",
        "RX of the sum of the features, the product of two RX maps, or the error of a small autoencoder. Unset: as published, "
        "by the number of bands.",
        choices=("sum", "product", "autoencoder"),
        advanced=True,
    ),
)

# RX: the background chooses the kind of detector in detectors.registry.DETECTORS; the other settings are those of local RX.
RX_BACKGROUND = Parameter(
    "mode",
    "Background",
    "Global: all valid pixels of the scene. Local: those between an inner and an outer window around each pixel, much slower.",
    default="rx",
    choices=("Global", "Local"),
    values=("rx", "rx-local"),
)
LOCAL_RX = (
    Parameter(
        "inner_window",
        "Local: inner window",
        "Odd width in pixels of the window whose pixels do not count as background: larger than the anomalies.",
        default=5,
        least=1,
        most=999,
        advanced=True,
    ),
    Parameter(
        "outer_window",
        "Local: outer window",
        "Odd width in pixels of the window whose pixels are the background.",
        default=15,
        least=3,
        most=1001,
        advanced=True,
    ),
    Parameter(
        "shrinkage",
        "Local: shrinkage",
        "Share of the mean variance in the covariance, 0 to 1. Unset: chosen in each window after Ledoit and Wolf, so that "
        "windows may hold fewer pixels than bands.",
        float,
        least=0,
        most=1,
        advanced=True,
    ),
)

# Find similar: the detector chooses the kind in detectors.registry.DETECTORS; the background is an argument of that, as are those of
# LOCAL_RX.
TARGET_DETECTOR = Parameter(
    "detector",
    "Detector",
    "ACE: by the angle between the spectrum and the targets, seen against the background; bright pixels do not score high for being "
    "bright. Matched filter: by the amount of target, 1 in the target itself, which is also an estimate of its share of the pixel.",
    default="ace",
    choices=("ACE", "Matched filter"),
    values=("ace", "matched-filter"),
)
BACKGROUND = Parameter(
    "background",
    "Background",
    "Global: all valid pixels of the scene, without the targets' own. Trimmed: those less the 2 % that are farthest from their mean, so "
    "that "
    "further targets and other anomalies do not count as background. Local: the pixels between an inner and an outer window around each "
    "pixel, much slower.",
    default="global",
    choices=("Global", "Trimmed", "Local"),
    values=("global", "trimmed", "local"),
)

# Extraction of regions from a map: fields of workflows.extract.Extraction.
METHOD = Parameter(
    "method",
    "Threshold by",
    "False-alarm rate: from a fit of the upper tail of the background's scores. Percentile: a share of all pixels. Otsu: splits the "
    "scores into the two classes that differ most, for maps with many anomalies. Value: a score.",
    default="tail",
    choices=("False-alarm rate", "Percentile", "Otsu", "Value"),
    values=("tail", "percentile", "otsu", "value"),
)
RATE = Parameter(
    "rate",
    "False-alarm rate",
    "Share of the pixels of the background that may lie above the threshold. 0.001 is ten pixels of a scene of 100 × 100.",
    float,
    default=0.001,
    least=1e-12,
    most=0.5,
)
PERCENTILE = Parameter(
    "percentile",
    "Percentile (for that method)",
    "How many per cent of the pixels lie below the threshold, more than 0 and less than 100.",
    float,
    default=99,
    least=0,
    most=100,
    advanced=True,
)
VALUE = Parameter("value", "Value (for that method)", "The score above which a pixel is anomalous.", float, advanced=True)
MIN_AREA = Parameter("min_area", "Smallest region", "In pixels. Smaller regions are left out of all results.", default=1, least=1)
CONNECTIVITY = Parameter(
    "connectivity",
    "Connectivity",
    "Whether pixels that touch only at a corner belong to one region.",
    default=8,
    choices=("8, by corners too", "4, by sides"),
    values=(8, 4),
    advanced=True,
)
EXTRACTION = (METHOD, replace(RATE, title="False-alarm rate (for that method)"), PERCENTILE, VALUE, MIN_AREA, CONNECTIVITY)

# Explanation of regions: a field of workflows.explain.RegionExplanation.
TOP = Parameter(
    "top", "Regions to explain at most", "How many regions are explained, those of the highest rank.", default=20, least=1, most=500
)

# Identification of regions: fields of workflows.identify.Identification.
QUANTITY = Parameter(
    "quantity",
    "Values of the scene",
    "Libraries hold reflectance. Automatic: recognised from the metadata and the values; what is not reflectance is divided by the "
    "scene's mean, with a warning. Reflectance: taken as it is. IAR (internal average relative reflectance): divided by the scene's mean, "
    "which makes relative reflectance of radiance or digital numbers where the scene as a whole is grey. A flat field, where given, takes "
    "the place of this.",
    default="auto",
    choices=("Automatic", "Reflectance", "IAR"),
    values=("auto", "reflectance", "iar"),
    advanced=True,
)
GROUP_ANGLE = Parameter(
    "group_angle",
    "Angle within a group",
    "How far any two regions of a group may be apart, in degrees: the angle between their deviations from the background, in units of how "
    "the background varies. Smaller: more groups.",
    float,
    default=40,
    least=1,
    most=90,
    advanced=True,
)
IDENTIFICATION = (QUANTITY, GROUP_ANGLE)

# A simulated scene: arguments of scenes.simulated.simulate_scene, as the seed is.
SIMULATION = (
    Parameter("rows", "Rows", "Height of the scene in pixels.", default=120, least=32, most=4096),
    Parameter("columns", "Columns", "Width of the scene in pixels.", default=120, least=32, most=4096),
    Parameter("band_count", "Number of bands", "Spectral bands between 400 and 2500 nm.", default=160, least=8, most=4096),
)
