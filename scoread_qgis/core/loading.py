"""Importing PyTorch and SciPy into a running QGIS without freezing its window."""

from __future__ import annotations

import ctypes
import gc
import glob
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

# Held while libraries are linked into the process, which takes a sixth of a second and more for torch in QGIS: glibc creates no thread
# meanwhile, and Python holds the global interpreter lock while it waits for a thread to be created.
linking = threading.Lock()
_one_at_a_time = threading.Lock()
_SCIPY = ("scipy.optimize", "scipy.ndimage", "scipy.sparse.csgraph")


def wait_passively() -> None:
    """Let the threads of torch sleep while they wait for work, unless the environment says otherwise: to be called before torch is there.

    By default they spin for a while, because that is a little quicker where nothing else runs. Where other programs have the processors,
    they spin away the time of the one thread that all of them wait for: benchmarks/waiting_threads.py.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def load_torch() -> None:
    """Import torch in a thread without blocking the others, so that QGIS keeps drawing.

    Python holds the global interpreter lock while it loads the libraries of a module, for torch half a second and more; so they are loaded
    first by a call that releases it. (On Windows torch does so itself.) It also holds the lock for each pass of the garbage collector, a
    quarter of a second once torch's objects have joined those of QGIS; so none runs during the import, and the objects that exist
    afterwards are exempt from collection for good.
    """
    wait_passively()
    if "torch" not in sys.modules and os.name == "posix":
        load = ctypes.CDLL(None).dlopen
        load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
        spec = importlib.util.find_spec("torch")
        package = os.path.dirname(spec.origin) if spec is not None and spec.origin is not None else ""
        for extension in glob.glob(os.path.join(glob.escape(package), "_C.*.so")):  # with everything that it is linked to
            with linking:
                load(os.fsencode(extension), os.RTLD_NOW)
    with _uncollected():
        importlib.import_module("torch")


def load_scipy() -> None:
    """Import the parts of SciPy that tails, regions and expected spectra need, in the same way; wait for nothing where they are there."""
    with nullcontext() if all(name in sys.modules for name in _SCIPY) else _uncollected():
        for name in _SCIPY:  # one that another thread is still importing is waited for
            importlib.import_module(name)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from running, and exempt what is imported meanwhile from it for good; one import at a time."""
    with _one_at_a_time:  # the first to end would switch the collector on again for the others
        known, collecting = len(sys.modules), gc.isenabled()
        gc.disable()
        try:
            yield
            if len(sys.modules) > known:
                gc.freeze()
        finally:
            if collecting:
                gc.enable()
