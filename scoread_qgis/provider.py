"""The Processing provider "scoread": the algorithms, the designer models that come with the plugin, and the plugin's settings."""

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import QgsProcessingException, QgsProcessingModelAlgorithm, QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms.base import numbered_group
from .algorithms.detect_anomalies import DetectAnomalies
from .algorithms.detect_rx import DetectRX
from .algorithms.dialogs import best_scene, last_model, open_dialog
from .algorithms.evaluate_anomalies import EvaluateAnomalies
from .algorithms.explain_anomalies import ExplainAnomalies
from .algorithms.export_anomalies import ExportAnomalies
from .algorithms.extract_anomalies import ExtractAnomalies
from .algorithms.find_similar import FindSimilar
from .algorithms.help import dialog_help, help_url
from .algorithms.identify_anomalies import IdentifyAnomalies
from .algorithms.import_matlab import ImportMatlab
from .algorithms.report_anomalies import ReportAnomalies
from .algorithms.sample_scene import SampleScene
from .algorithms.train_fers import TrainFERS
from .algorithms.train_sgm import TrainSGM
from .settings import add_settings, remove_settings
from .translation import tr

ALGORITHMS = (
    TrainSGM,
    DetectAnomalies,
    DetectRX,
    FindSimilar,
    TrainFERS,
    ExtractAnomalies,
    ExplainAnomalies,
    IdentifyAnomalies,
    ReportAnomalies,
    ExportAnomalies,
    EvaluateAnomalies,
    ImportMatlab,
    SampleScene,
)
PLUGIN_FOLDER = Path(__file__).parent
ICON = str(PLUGIN_FOLDER / "resources" / "icons" / "scoread.svg")


class ScoreadProvider(QgsProcessingProvider):
    def id(self):
        return "scoread"

    def name(self):
        return "ScoreAD anomaly detection"

    def icon(self):
        return QIcon(ICON)

    def svgIconPath(self):
        return ICON

    def supportedOutputRasterLayerExtensions(self):
        return ["tif"]

    def supportedOutputVectorLayerExtensions(self):
        return ["gpkg"]

    def load(self):
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        add_settings(self.name())
        self.refreshAlgorithms()
        return True

    def unload(self):
        remove_settings()

    def loadAlgorithms(self):
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())
        for path in sorted((PLUGIN_FOLDER / "resources" / "models").glob("*.model3")):
            self.addAlgorithm(DesignerModel(path))


class DesignerModel(QgsProcessingModelAlgorithm):
    """A model of the model designer that comes with the plugin. The name of its file is its id, and permanent."""

    PRESETS = {"INPUT": best_scene, "MODEL": last_model}

    def __init__(self, path):
        super().__init__()
        self._path = path
        self.fromFile(str(path))

    def createInstance(self):
        return DesignerModel(self._path)

    def createCustomParametersWidget(self, parent=None):
        return open_dialog(self, parent)

    def processAlgorithm(self, parameters, context, feedback):
        results = super().processAlgorithm(parameters, context, feedback)
        if feedback.isCanceled():  # between two steps, which QGIS takes for the end of the model
            raise QgsProcessingException(tr("Cancelled: what the steps before have written is there, and nothing else."))
        return results

    def name(self):
        return self._path.stem

    def displayName(self):
        return tr(super().name())

    def group(self):
        return numbered_group(super().group())

    def groupId(self):
        return super().group().lower().replace(" ", "_")

    def tags(self):
        return ["hyperspectral", "anomaly", "anomalies", "detection"]

    def icon(self):
        return QIcon(ICON)

    def svgIconPath(self):
        return ICON

    def helpUrl(self):
        return help_url(self)

    def shortHelpString(self):
        return dialog_help(self, tr(self.HELP))

    @property
    def HELP(self):
        return self.helpContent()["ALG_DESC"]
