"""Importing PyTorch and SciPy into a running QGIS without freezing its window."""

from __future__ import annotations

import ctypes
import gc
import glob
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def load_torch(training: bool = False) -> None:
    """Import torch in a thread without blocking the others, so that QGIS keeps drawing. training: import what its optimizers need, too.

    Python holds the global interpreter lock while it loads the libraries of a module, for torch half a second and more; so they are loaded
    first by a call that releases it. (On Windows torch does so itself.) It also holds the lock for each pass of the garbage collector, a
    quarter of a second once torch's objects have joined those of QGIS; so none runs during the import, and the objects that exist
    afterwards are exempt from collection for good.
    """
    if "torch" not in sys.modules and os.name == "posix":
        load = ctypes.CDLL(None).dlopen
        load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
        spec = importlib.util.find_spec("torch")
        package = os.path.dirname(spec.origin) if spec is not None and spec.origin is not None else ""
        for extension in glob.glob(os.path.join(glob.escape(package), "_C.*.so")):  # with everything that it is linked to
            load(os.fsencode(extension), os.RTLD_NOW)
    with _uncollected():
        torch = importlib.import_module("torch")
        if training:
            torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)  # the first one imports a thousand modules


def load_scipy() -> None:
    """Import the parts of SciPy that tails, regions and expected spectra need, in the same way."""
    with _uncollected():
        for name in ("scipy.optimize", "scipy.ndimage", "scipy.sparse.csgraph"):
            importlib.import_module(name)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from running, and exempt what is imported meanwhile from it for good."""
    known, collecting = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
        if len(sys.modules) > known:
            gc.freeze()
    finally:
        if collecting:
            gc.enable()
