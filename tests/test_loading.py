"""Importing torch: what its threads do while they wait is decided when it is loaded."""

import os
import subprocess
import sys

import pytest

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
