"""The plugin as QGIS loads it: it registers the Processing provider, and that is all."""

from qgis.core import QgsApplication

from .dependencies import add_package_folder
from .provider import ScoreadProvider
from .translation import install_translator


class ScoreadPlugin:
    def __init__(self):
        self.provider = None
        self.translator = install_translator()

    def initProcessing(self):
        """Called by QGIS with and without a desktop (hasProcessingProvider in metadata.txt)."""
        add_package_folder()
        self.provider = ScoreadProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):
        self.initProcessing()

    def unload(self):
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        self.translator = None
