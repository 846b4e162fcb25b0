"""What the first training of a process costs beside importing PyTorch: `python benchmarks/first_training.py [--rounds 5]`.

In turns, each in a process of its own: qgis_process that runs an algorithm without PyTorch, a Python that imports PyTorch and nothing else,
and qgis_process that trains on a simulated scene of 100 x 100 x 200. Processor time of all threads and wall time, medians. Needs the plugin
as `make build` makes it, and QGIS. Takes about half a minute on a quiet machine.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def measured(command, environment):
    """Processor seconds and wall seconds of a command that has to succeed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    process = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    with tempfile.TemporaryDirectory() as folder:
        packages = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
        environment = {
            **os.environ, "QT_QPA_PLATFORM": "offscreen", "QGIS_PLUGINPATH": str(ROOT / "build"), "PYTHONPATH": packages,
            "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder, "QGIS_CUSTOM_CONFIG_PATH": folder,
        }  # fmt: skip
        scene, model = str(Path(folder) / "scene.tif"), str(Path(folder) / "model.pt")
        measured([process, "plugins", "enable", "scoread_qgis"], environment)
        sample = ["ROWS=100", "COLUMNS=100", "BANDS=200", "SEED=0"]
        measured([process, "run", "scoread:sample_scene", "--", f"OUTPUT={scene}", *sample], environment)
        works = {
            "qgis_process that lists the algorithms": [process, "list"],
            "Python that imports torch": [sys.executable, "-c", "import torch"],
            "qgis_process, train_sgm": [process, "run", "scoread:train_sgm", "--", f"INPUT={scene}", f"MODEL={model}"],
        }
        found = {name: [] for name in works}
        for _ in range(rounds):
            for name, command in works.items():
                found[name].append(measured(command, environment))
    medians = {name: np.median(times, axis=0) for name, times in found.items()}
    print("| | processor s | wall s |\n|---|---|---|")
    for name, (processor, wall) in medians.items():
        print(f"| {name} | {processor:.2f} | {wall:.2f} |")
    *empty, training = medians.values()
    more = training / np.sum(empty, axis=0) - 1
    print(f"\nTraining takes {more[0]:+.0%} of processor time, {more[1]:+.0%} of wall time against the other two together.")


if __name__ == "__main__":
    main()
