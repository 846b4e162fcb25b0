"""The ScoreAD toolbar: Find anomalies in this layer, also in the context menu of raster layers, and what else the review adds."""

from pathlib import Path

from qgis.core import QgsMapLayerType
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QAction

from ..translation import tr

_ICON = str(Path(__file__).parents[1] / "resources" / "icons" / "find_anomalies.svg")


class Toolbar:
    """The toolbar and its first action, `find_action`, which calls `find()`."""

    def __init__(self, iface, find):
        self._iface = iface
        self._bar = iface.addToolBar("ScoreAD")
        self._bar.setObjectName("ScoreadToolbar")  # by which QGIS keeps its place
        self.find_action = QAction(QIcon(_ICON), tr("Find anomalies in this layer..."), iface.mainWindow())
        self.find_action.setToolTip(tr("Find anomalies in this layer: map and regions in one go"))
        self.find_action.triggered.connect(lambda: find())
        iface.addCustomActionForLayerType(self.find_action, "", QgsMapLayerType.RasterLayer, True)
        self.add(self.find_action)

    def add(self, action):
        """Add an action behind those that are there."""
        self._bar.addAction(action)

    def remove(self):
        self._iface.removeCustomActionForLayerType(self.find_action)
        self.find_action.deleteLater()
        self._bar.deleteLater()
