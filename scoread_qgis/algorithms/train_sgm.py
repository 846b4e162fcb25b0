"""Train SGM: learn the spectra of a scene, without labels, as a score-based generative model."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
)

from .base import Algorithm, optional_values
from .inputs import (
    BANDS,
    DEVICE_HELP,
    INPUT,
    REPORT,
    REPORT_HELP,
    SEED,
    SEED_HELP,
    SELECTED_HELP,
    bands_parameter,
    device_name,
    device_parameter,
    mask_parameter,
    mask_source,
    raster_source,
    report_parameter,
    seed_parameter,
    selected_parameter,
)

MODE, MORE_INPUTS, MODEL, LOSS = "MODE", "MORE_INPUTS", "MODEL", "LOSS"
STEPS, EPOCHS, BATCH_SIZE, LEARNING_RATE, SIGMA, HIDDEN = "STEPS", "EPOCHS", "BATCH_SIZE", "LEARNING_RATE", "SIGMA", "HIDDEN"
CONDITIONAL, OUTER_WINDOW, INNER_WINDOW, SAMPLES = "CONDITIONAL", "OUTER_WINDOW", "INNER_WINDOW", "SAMPLES"


class TrainSGM(Algorithm):
    NAME = "train_sgm"
    TITLE = "Train SGM"
    GROUP = "Anomaly detection"
    TAGS = ("score", "generative", "model", "learn", "scoread")
    HELP = (
        "Learns the spectra of a scene, without labels, and keeps what it has learnt in a model file for Detect anomalies. The default mode estimates the "
        "statistics of the background; the paper mode trains the score network of a generative model (SGM). The model fits this scene and others of "
        "the same sensor."
    )
    TRAINS = True

    def declare(self):
        number, integer, real = (
            QgsProcessingParameterNumber,
            QgsProcessingParameterNumber.Type.Integer,
            QgsProcessingParameterNumber.Type.Double,
        )
        self.add(QgsProcessingParameterRasterLayer(INPUT, "Hyperspectral scene"), "Raster with many spectral bands.")
        self.add(bands_parameter(INPUT), "Bands to use. Unset: all good bands, which the log names.")
        self.add(
            mask_parameter(), "Polygons or raster (not 0) that say which pixels to train on, where clean background is known. Unset: all."
        )
        self.add(selected_parameter(), SELECTED_HELP)
        self.add(
            QgsProcessingParameterEnum(MODE, "Mode", ["Default", "Paper"], defaultValue=0),
            "Default: seconds, and one setting for all scenes; it estimates statistics and trains no network, so that the training loss is not a number. Paper: ScoreAD as published (arXiv 2601.12379), minutes.",
        )
        self.add(seed_parameter(), SEED_HELP)
        self.add(device_parameter(), DEVICE_HELP)
        self.add(
            QgsProcessingParameterMultipleLayers(
                MORE_INPUTS, "Further scenes of the sensor", QgsProcessing.SourceType.TypeRaster, optional=True
            ),
            "Scenes that the model learns too. The mask does not apply to them.",
            advanced=True,
        )
        for name, label, kind, least, most, text in (
            (SAMPLES, "Training pixels", integer, 100, 1_000_000, "How many pixels, drawn from all over the scenes, are trained on at most."),
            (STEPS, "Steps", integer, 1, 1_000_000, "Ignored: the default mode of version 0.2 took it. The one of today estimates statistics, without steps."),
            (EPOCHS, "Epochs", integer, 1, 100_000, "Paper mode: how often training goes through the pixels. Published: 100."),
            (BATCH_SIZE, "Batch size", integer, 1, 100_000, "Paper mode: spectra in a training step. Published: 16."),
            (LEARNING_RATE, "Learning rate", real, 1e-9, 1, "Paper mode: size of the training steps. Published: 0.00003."),
            (SIGMA, "Sigma", real, 1.0001, 1000, "Paper mode: base of the noise scale of the diffusion. Published: 5."),
            (HIDDEN, "Hidden width", integer, 8, 4096, "Width of the network's hidden layers; in the default mode the number of random features. Published: 256."),
            (OUTER_WINDOW, "Outer window", integer, 3, 101, "Paper mode, conditional: odd width in pixels of the window that context comes from. Published: 3, 5 or 7."),
            (INNER_WINDOW, "Inner window", integer, 1, 99, "Paper mode, conditional: odd width in pixels of the window that context does not come from. Published: 1, 3 or 5."),
        ):  # fmt: skip
            self.add(
                number(name, label, kind, optional=True, minValue=least, maxValue=most),
                f"{text} Unset: what the mode takes.",
                advanced=True,
            )
        self.add(
            QgsProcessingParameterBoolean(CONDITIONAL, "Conditional", optional=True, defaultValue=False),
            "Paper mode: give the network the most similar spectrum around the pixel as context.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterFileDestination(MODEL, "Model", "Models (*.pt)"),
            "File for the model: weights, scaling, wavelengths, settings, loss curve. Detect anomalies takes it.",
        )
        self.add(report_parameter(), REPORT_HELP)
        self.addOutput(QgsProcessingOutputNumber(LOSS, "Training loss at the end"))

    def read(self, parameters, context):
        self.scenes = [raster_source(self.parameterAsRasterLayer(parameters, INPUT, context), "The input")]
        for layer in self.parameterAsLayerList(parameters, MORE_INPUTS, context):
            self.scenes.append(raster_source(layer, "One of the further scenes"))
        self.bands = self.parameterAsInts(parameters, BANDS, context)
        self.mask = mask_source(self, parameters, context)
        self.paper = self.parameterAsEnum(parameters, MODE, context) == 1
        self.seed = self.parameterAsInt(parameters, SEED, context)
        self.device = device_name(self, parameters, context)
        self.settings = optional_values(
            self, parameters, context,
            integers=(SAMPLES, STEPS, EPOCHS, BATCH_SIZE, HIDDEN, OUTER_WINDOW, INNER_WINDOW), reals=(LEARNING_RATE, SIGMA), flags=(CONDITIONAL,),
        )  # fmt: skip
        self.model = self.parameterAsFileOutput(parameters, MODEL, context)
        self.report = self.parameterAsFileOutput(parameters, REPORT, context)

    def work(self, run):
        from ..workflows.train import Training, train

        training = Training(
            "sgm-paper" if self.paper else "sgm", self.scenes, self.model, self.bands, self.mask, self.settings, self.seed, self.device,
            self.report,
        )  # fmt: skip
        loss = train(training, run)
        return {MODEL: self.model, LOSS: loss, **({REPORT: self.report} if self.report else {})}
