"""What it costs and what it gains that waiting threads sleep: `PYTHONPATH=. python benchmarks/waiting_threads.py [--rounds 4]`.

Detection in a simulated scene of 200 x 200 x 200 with all threads, each policy in a process of its own, one after the other in each round:
on the machine as it is, and beside as many busy processes as there are processors. Run it on a quiet machine. Takes a minute, and some
minutes more where spinning threads and busy processes are in each other's way.
"""

import argparse
import os
import subprocess
import sys

import numpy as np

POLICIES = {
    "asleep, the default here": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spinning 1,000 times": {"GOMP_SPINCOUNT": "1000"},
    "PyTorch's default": {},
}
RUNS = 3
PROGRAM = f"""
import os
import numpy as np, time, torch  # before what would set the policy
from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.sgm import SGM
cube = ArrayCube(np.random.default_rng(0).normal(size=(200, 200, 200)).cumsum(2).astype("f4"))
torch.set_num_threads(1)
model = SGM.train([cube], samples=2000)
torch.set_num_threads(os.cpu_count())
for run in range({RUNS} + 1):
    start = time.perf_counter()
    list(model.detect(cube))
    if run:
        print(time.perf_counter() - start)
"""
BUSY = "while True: pass"


def seconds(policy):
    """Of each of some detections with the threads of this policy."""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env={**environment, **policy}, stdout=subprocess.PIPE, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    processors = os.cpu_count()
    print(f"{processors} processors, load {os.getloadavg()[0]:.1f} before\n")
    print(f"| waiting threads | s, quiet | s, beside {processors} busy processes |\n|---|---|---|")
    columns = []
    for others in (0, processors):
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(others)]
        try:
            found = {name: [] for name in POLICIES}
            for _ in range(rounds):
                for name, policy in POLICIES.items():
                    found[name] += seconds(policy)
        finally:
            for process in busy:
                process.kill()
        columns.append(found)
    for name in POLICIES:
        cells = (f"{np.median(found[name]):.2f} ({min(found[name]):.2f} to {max(found[name]):.2f})" for found in columns)
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
