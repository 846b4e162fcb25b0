"""The built plugin without a desktop: through qgis_process, as a user has it, and in this Python."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class QgisProcess:
    """qgis_process with a profile of its own, in which the plugin is enabled; the user's profile is not touched.

    plugins: folder that holds the plugin's folder.
    """

    def __init__(self, plugins=ROOT / "build"):
        # Debian's wrapper `qgis_process` passes an option that the program does not know.
        self._program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
        self._profile = tempfile.TemporaryDirectory(prefix="scoread_profile_")
        self._environment = {
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "QGIS_PLUGINPATH": str(plugins),
            "QGIS_CUSTOM_CONFIG_PATH": self._profile.name,
            "PYTHONPATH": sysconfig.get_paths()["purelib"],
        }
        self.call("plugins", "enable", "scoread_qgis")

    def call(self, *arguments, check=True):
        """The finished process, with its text; raises RuntimeError with that text where it fails and `check` is set."""
        done = subprocess.run([self._program, *map(str, arguments)], env=self._environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"qgis_process {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}")
        return done

    def run(self, algorithm, **parameters):
        """Run an algorithm and return its results as a dictionary."""
        done = self.call("--json", "run", algorithm, "--", *(f"{name}={value}" for name, value in parameters.items()))
        return json.loads(done.stdout)["results"]


@contextmanager
def registered_provider():
    """The plugin's Processing provider in a QGIS of this Python process, in English."""
    sys.path[:0] = [str(ROOT / "build"), "/usr/share/qgis/python/plugins"]
    from qgis.core import QgsApplication

    application = QgsApplication([], False)
    application.initQgis()
    from processing.core.Processing import Processing

    Processing.initialize()
    from scoread_qgis.provider import ScoreadProvider

    provider = ScoreadProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    application.exitQgis()
