"""Importing PyTorch into a running QGIS without stopping its window."""

import ctypes
import gc
import glob
import importlib
import importlib.util
import os
import sys


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
