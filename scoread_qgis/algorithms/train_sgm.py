"""Train SGM: learn the spectra of a scene, without labels, as a score-based generative model."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterLayer,
)

from ..workflows.parameters import DEVICE, SEED, SGM_MODE, SGM_TRAINING
from .base import Algorithm
from .dialogs import best_scene, propose_model, remember_model
from .inputs import (
    BANDS,
    INPUT,
    REPORT,
    REPORT_HELP,
    SELECTED_HELP,
    bands_parameter,
    device_name,
    mask_parameter,
    mask_source,
    raster_source,
    report_parameter,
    selected_parameter,
)
from .parameters import add_settings, read_settings

MORE_INPUTS, MODEL, LOSS = "MORE_INPUTS", "MODEL", "LOSS"


class TrainSGM(Algorithm):
    NAME = "train_sgm"
    TITLE = "Train SGM"
    GROUP = "Anomaly detection"
    TAGS = ("score", "generative", "model", "learn", "scoread")
    HELP = (
        "Learns the spectra of a scene, without labels, and keeps what it has learnt in a model file for Detect anomalies. The default "
        "mode "
        "estimates the statistics of the background, without a network to train; the paper mode trains the score network of a "
        "generative model "
        "(SGM). One scene alone does not need the file: Detect anomalies without a model learns the scene itself. A model of several "
        "scenes, "
        "or one that is shared, is used on further scenes of the sensor; Detect anomalies measures whether it fits them, and adapts it "
        "where "
        "it does not."
    )
    PRESETS = {INPUT: best_scene}

    def declare(self):
        self.add(QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"), "Raster with many spectral bands.")
        self.add(bands_parameter(INPUT), "Bands to use. Unset: all good bands, which the log names.")
        self.add(
            mask_parameter(), "Polygons or raster (not 0) that say which pixels to train on, where clean background is known. Unset: all."
        )
        self.add(selected_parameter(), SELECTED_HELP)
        add_settings(self, SGM_MODE, SEED, DEVICE)
        self.add(
            QgsProcessingParameterMultipleLayers(
                MORE_INPUTS, "Further scenes of the sensor", QgsProcessing.SourceType.TypeRaster, optional=True
            ),
            "Scenes that the model learns too. The mask does not apply to them.",
            advanced=True,
        )
        add_settings(self, *SGM_TRAINING)
        self.add(
            QgsProcessingParameterFileDestination(MODEL, "Model", "Models (*.pt)"),
            "File for the model: weights, scaling, wavelengths, settings, loss curve. Detect anomalies takes it. "
            "The dialog proposes one beside the scene, or else in the folder scoread_models of the profile.",
        )
        self.add(report_parameter(), REPORT_HELP)
        self.addOutput(QgsProcessingOutputNumber(LOSS, "Training loss at the end"))

    def read(self, parameters, context):
        self.scenes = [raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")]
        for layer in self.parameterAsLayerList(parameters, MORE_INPUTS, context):
            self.scenes.append(raster_source(layer, "One of the further scenes"))
        self.bands = self.parameterAsInts(parameters, BANDS, context)
        self.mask = mask_source(self, parameters, context)
        self.kind = read_settings(self, (SGM_MODE,), parameters, context)["mode"]
        self.settings = read_settings(self, SGM_TRAINING, parameters, context)
        self.seed = read_settings(self, (SEED,), parameters, context)["seed"]
        self.device = device_name(self, parameters, context)
        self.model = self.parameterAsFileOutput(parameters, MODEL, context)
        self.report = self.parameterAsFileOutput(parameters, REPORT, context)

    def work(self, run):
        from ..workflows.train import Training, train

        training = Training(self.kind, self.scenes, self.model, self.bands, self.mask, self.settings, self.seed, self.device, self.report)
        loss = train(training, run)
        return {MODEL: self.model, LOSS: loss, **({REPORT: self.report} if self.report else {})}

    def finish(self, context):
        remember_model(self.model, context.project())

    def createCustomParametersWidget(self, parent=None):
        dialog = super().createCustomParametersWidget(parent)
        propose_model(dialog, INPUT, MODEL)
        return dialog
