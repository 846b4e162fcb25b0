"""PyTorch, which QGIS does not bring: where the plugin looks for it, and what to tell a user who lacks it."""

import ctypes
import gc
import glob
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


def load_torch(training=False):
    """Import torch in a thread without stopping the others, so that QGIS goes on drawing; for training, with what its optimizers bring in.

    Python holds its lock while it loads the libraries of a module, for torch half a second and more: they are loaded before, by a call that
    lets go of it. (On Windows torch does so itself.) And it holds it for each pass of its garbage collector, a quarter of a second
    once torch's objects have joined those of QGIS: none runs during the import, and none looks at what is there by then ever again.
    """
    known = len(sys.modules)
    if "torch" not in sys.modules and os.name == "posix":
        load = ctypes.CDLL(None).dlopen
        load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
        package = os.path.dirname(importlib.util.find_spec("torch").origin)
        for extension in glob.glob(os.path.join(glob.escape(package), "_C.*.so")):  # with all that it is linked to
            load(os.fsencode(extension), os.RTLD_NOW)
    collecting = gc.isenabled()
    gc.disable()
    try:
        torch = importlib.import_module("torch")
        if training:
            torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)  # the first one imports a thousand modules
        if len(sys.modules) > known:
            gc.freeze()
    finally:
        if collecting:
            gc.enable()
