"""Train FERS: learn from a library of background scenes once, and detect anywhere without training."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterString,
)

from ..scenes.bands import band_numbers
from ..workflows.parameters import DEVICE, FERS_TRAINING, KEEP_ON_CANCEL, SEED
from .base import Algorithm
from .dialogs import propose_model, remember_model
from .inputs import BANDS, device_name, raster_source
from .parameters import add_settings, read_settings

INPUTS, BACKBONE_WEIGHTS, MODEL, LOSS = "INPUTS", "BACKBONE_WEIGHTS", "MODEL", "LOSS"


class TrainFERS(Algorithm):
    NAME = "train_fers"
    TITLE = "Train FERS"
    GROUP = "Anomaly detection"
    TAGS = ("rebellious student", "ferd", "model", "learn", "transfer")
    HELP = (
        "Learns once, from a library of ordinary scenes, how to enhance spectra so that anomalies stand out (FERS, arXiv 2510.18781), and "
        "keeps it in a model file for Detect anomalies, which then needs no training for a new scene. The scenes should hold few anomalies."
    )

    def declare(self):
        self.add(
            QgsProcessingParameterMultipleLayers(INPUTS, "Background scenes", QgsProcessing.SourceType.TypeRaster),
            "Hyperspectral scenes of ordinary background, with the same bands or known wavelengths.",
        )
        self.add(
            QgsProcessingParameterString(BANDS, "Bands", optional=True),
            "Numbers of the bands to use, such as 1-100, 115-188. Unset: all good bands that the scenes share, which the log names.",
        )
        add_settings(self, SEED, DEVICE, *FERS_TRAINING)
        self.add(
            QgsProcessingParameterMultipleLayers(BACKBONE_WEIGHTS, "Backbone weights", QgsProcessing.SourceType.TypeFile, optional=True),
            "For the published backbone: files with the state dictionaries of Wide-ResNet-101-2 and ResNet34 trained on ImageNet, in "
            "torchvision's layout. Unset: random filters.",
            advanced=True,
        )
        add_settings(self, KEEP_ON_CANCEL)
        self.add(
            QgsProcessingParameterFileDestination(MODEL, "Model", "Models (*.pt)"),
            "File for the model: weights, wavelengths, settings, loss curve. Detect anomalies takes it. "
            "The dialog proposes one beside the first scene, or else in the folder scoread_models of the profile.",
        )
        self.addOutput(QgsProcessingOutputNumber(LOSS, "Training loss at the end"))

    def read(self, parameters, context):
        self.scenes = [raster_source(layer, "One of the scenes") for layer in self.parameterAsLayerList(parameters, INPUTS, context)]
        self.bands = band_numbers(self.parameterAsString(parameters, BANDS, context))
        self.device = device_name(self, parameters, context)
        weights = self.parameterAsFileList(parameters, BACKBONE_WEIGHTS, context) if parameters.get(BACKBONE_WEIGHTS) else []
        self.settings = {**read_settings(self, FERS_TRAINING, parameters, context), "backbone_weights": weights}
        self.how = read_settings(self, (SEED, KEEP_ON_CANCEL), parameters, context)
        self.model = self.parameterAsFileOutput(parameters, MODEL, context)

    def work(self, run):
        from ..workflows.train import Training, train

        training = Training("fers", self.scenes, self.model, self.bands, settings=self.settings, device=self.device, **self.how)
        loss = train(training, run)
        return {MODEL: self.model, LOSS: loss}

    def finish(self, context):
        remember_model(self.model, context.project())

    def createCustomParametersWidget(self, parent=None):
        dialog = super().createCustomParametersWidget(parent)
        propose_model(dialog, INPUTS, MODEL)
        return dialog
