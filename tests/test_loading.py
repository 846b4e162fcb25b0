"""Importing torch and SciPy: what torch's threads do while they wait is decided when it is loaded, and nobody else is held up by it."""

import os
import subprocess
import sys
import threading

import pytest

from scoread_qgis.core import loading

PLUGIN = "from scoread_qgis.core.loading import load_torch; load_torch()"
SCIENCE = "import scoread_qgis.detectors.registry"  # as the command line, the workers of a cluster and scripts do


@pytest.mark.only_on("linux")  # asks GNU's OpenMP what it does
@pytest.mark.parametrize("program, own, expected", [(PLUGIN, None, "PASSIVE"), (SCIENCE, None, "PASSIVE"), (SCIENCE, "ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_wants_otherwise(program, own, expected):
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment.update(PYTHONPATH=os.pathsep.join(sys.path), OMP_DISPLAY_ENV="TRUE", **({"OMP_WAIT_POLICY": own} if own else {}))
    # numpy and scipy first: what they load must not have decided already
    program = f"import numpy, scipy.linalg; {program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert f"OMP_WAIT_POLICY = '{expected}'" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="on Windows, torch loads its libraries itself")
def test_others_can_tell_when_libraries_are_linked():
    program = """
import sys, threading
from scoread_qgis.core.loading import linking, load_torch
loader = threading.Thread(target=load_torch)
loader.start()
seen = set()
while loader.is_alive():
    seen.add((linking.locked(), "torch._C" in sys.modules))
print(sorted(seen))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert "(True, False)" in done.stdout and "(True, True)" not in done.stdout, "before the import, and not during the rest of it"


def test_scipy_that_is_there_does_not_wait_for_the_import_of_something_else():
    loading.load_scipy()
    with loading._uncollected():
        again = threading.Thread(target=loading.load_scipy, daemon=True)
        again.start()
        again.join(10)
        assert not again.is_alive()
