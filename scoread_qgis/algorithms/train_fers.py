"""Train FERS: learn from a library of background scenes once, and detect anywhere without training."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from ..scenes.bands import band_numbers
from .base import Algorithm
from .inputs import (
    BANDS,
    DEVICE_HELP,
    SEED,
    SEED_HELP,
    device_name,
    device_parameter,
    raster_source,
    seed_parameter,
)

INPUTS, PATCH, EPOCHS, BATCH, LEARNING_RATE = "INPUTS", "PATCH", "EPOCHS", "BATCH", "LEARNING_RATE"
BACKBONE, BACKBONE_WEIGHTS, KEEP_ON_CANCEL, MODEL, LOSS = "BACKBONE", "BACKBONE_WEIGHTS", "KEEP_ON_CANCEL", "MODEL", "LOSS"


class TrainFERS(Algorithm):
    NAME = "train_fers"
    TITLE = "Train FERS"
    GROUP = "Anomaly detection"
    TAGS = ("rebellious student", "ferd", "model", "learn", "transfer")
    HELP = (
        "Learns once, from a library of ordinary scenes, how to enhance spectra so that anomalies stand out (FERS, arXiv 2510.18781), and "
        "keeps it in a model file for Detect anomalies, which then needs no training for a new scene. The scenes should hold few anomalies."
    )
    TRAINS = True

    def declare(self):
        number, integer, real = (
            QgsProcessingParameterNumber,
            QgsProcessingParameterNumber.Type.Integer,
            QgsProcessingParameterNumber.Type.Double,
        )
        self.add(
            QgsProcessingParameterMultipleLayers(INPUTS, "Background scenes", QgsProcessing.SourceType.TypeRaster),
            "Hyperspectral scenes of ordinary background, with the same bands or known wavelengths.",
        )
        self.add(
            QgsProcessingParameterString(BANDS, "Bands", optional=True),
            "Numbers of the bands to use, such as 1-100, 115-188. Unset: all good bands that the scenes share, which the log names.",
        )
        self.add(seed_parameter(), SEED_HELP)
        self.add(device_parameter(), DEVICE_HELP)
        self.add(
            number(PATCH, "Patch size", integer, defaultValue=64, minValue=16, maxValue=512),
            "Width in pixels, a multiple of 16, of the patches that training cuts from the scenes. Published: 64.",
            advanced=True,
        )
        self.add(
            number(EPOCHS, "Epochs", integer, defaultValue=60, minValue=1, maxValue=100_000),
            "How often each of the two stages goes through the patches. Published: 60.",
            advanced=True,
        )
        self.add(
            number(BATCH, "Batch size", integer, defaultValue=16, minValue=1, maxValue=1024),
            "Patches in a training step. Published: 16.",
            advanced=True,
        )
        self.add(
            number(LEARNING_RATE, "Learning rate", real, defaultValue=5e-3, minValue=1e-9, maxValue=1),
            "Size of the training steps. Published: 0.005.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterEnum(BACKBONE, "Backbone", ["Compact", "As published"], defaultValue=0),
            "Compact: small networks for a processor. As published: Wide-ResNet-101-2 and ResNet34, for a GPU.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterMultipleLayers(BACKBONE_WEIGHTS, "Backbone weights", QgsProcessing.SourceType.TypeFile, optional=True),
            "For the published backbone: files with the state dictionaries of Wide-ResNet-101-2 and ResNet34 trained on ImageNet, in torchvision's "
            "layout. Unset: random filters.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterBoolean(KEEP_ON_CANCEL, "Keep the model on cancel", defaultValue=False),
            "Write what has been learnt so far when the run is cancelled. Unset: a cancelled run leaves no file.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterFileDestination(MODEL, "Model", "Models (*.pt)"),
            "File for the model: weights, wavelengths, settings, loss curve. Detect anomalies takes it.",
        )
        self.addOutput(QgsProcessingOutputNumber(LOSS, "Training loss at the end"))

    def read(self, parameters, context):
        self.scenes = [raster_source(layer, "One of the scenes") for layer in self.parameterAsLayerList(parameters, INPUTS, context)]
        self.bands = band_numbers(self.parameterAsString(parameters, BANDS, context))
        self.seed = self.parameterAsInt(parameters, SEED, context)
        self.device = device_name(self, parameters, context)
        self.settings = {name.lower(): self.parameterAsInt(parameters, name, context) for name in (PATCH, EPOCHS, BATCH)}
        self.settings["learning_rate"] = self.parameterAsDouble(parameters, LEARNING_RATE, context)
        self.settings["backbone"] = self.parameterAsEnum(parameters, BACKBONE, context)
        self.weights = self.parameterAsFileList(parameters, BACKBONE_WEIGHTS, context) if parameters.get(BACKBONE_WEIGHTS) else []
        self.keep = self.parameterAsBoolean(parameters, KEEP_ON_CANCEL, context)
        self.model = self.parameterAsFileOutput(parameters, MODEL, context)

    def work(self, run):
        from ..workflows.train import Training, train

        training = Training(
            "fers", self.scenes, self.model, self.bands, settings={**self.settings, "backbone_weights": self.weights}, seed=self.seed,
            device=self.device, keep_on_cancel=self.keep,
        )  # fmt: skip
        loss = train(training, run)
        return {MODEL: self.model, LOSS: loss}
