"""PyTorch, which QGIS does not bring: where the plugin looks for it, and what to tell a user who lacks it."""

import importlib.util
import os
import sys

from qgis.core import QgsApplication


def package_folder():
    """Folder in the user's profile for packages that only this plugin uses, so that none of QGIS' own is ever replaced."""
    return os.path.join(QgsApplication.qgisSettingsDirPath(), "python", "scoread_packages")


def add_package_folder():
    """Look for packages in the plugin's own folder, after all others: QGIS' numpy and scipy stay first."""
    if os.path.isdir(package_folder()) and package_folder() not in sys.path:
        sys.path.append(package_folder())


def missing_packages(needed):
    """What to do about `needed` packages that are not installed, as a message; empty where all are there. Imports none of them."""
    add_package_folder()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    import numpy

    python = sys.executable if "python" in os.path.basename(sys.executable).lower() else "python3"
    return (
        f"This algorithm needs {' and '.join('PyTorch' if name == 'torch' else 'SciPy' for name in missing)}, which QGIS' Python does not have. "
        f"Install with this command in a terminal (on Windows, the OSGeo4W shell), then start QGIS again:\n\n{python} -m pip install "
        f'--target "{package_folder()}" {" ".join(missing)} numpy=={numpy.__version__}\n'
    )
