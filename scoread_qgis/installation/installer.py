"""Installing packages into the plugin's own folder and removing them: all or nothing, in the background, cancellable.

pip works in a staging folder beside the final one. What it installed is tested in a separate Python process before the folder is renamed,
so that the plugin's folder exists only with packages that work.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from qgis.PyQt.QtCore import QLockFile, QProcess, QProcessEnvironment

from ..core.progress import Progress
from .packages import add_package_folder, removal_mark
from .pip_command import Source, constraints, environment, explain, pip_runs, python_candidates, without_passwords

_IS_THIS_PYTHON = "import sys, pip; print('python', sys.version_info[0], sys.version_info[1], sys.maxsize)"
Log = Callable[[str], Any]
# As the plugin uses them: torch shares memory with numpy, and trains.
_TRIALS = {
    "torch": "import numpy, torch; layer = torch.nn.Linear(2, 1); "
    "layer(torch.from_numpy(numpy.ones((3, 2), numpy.float32))).sum().backward()",
    "scipy": "import scipy.linalg, scipy.ndimage",
}


def install(
    names: Sequence[str],
    source: Source,
    folder: str,
    kept: dict[str, str],
    proxy: str = "",
    progress: Progress | None = None,
    log: Log = print,
) -> None:
    """Install the packages `names` from a `Source` as the new folder `folder`.

    kept: {name: version} of packages that QGIS has, which are neither replaced nor installed twice. proxy: URL, or "".
    Raises ValueError with the remedy, or `Cancelled`; then there is no `folder`, nor anything else that was not there before.
    """
    progress = progress or Progress()
    if os.path.exists(folder) or os.path.exists(removal_mark(folder)):
        raise ValueError(f"{folder} already exists. Uninstall it first, and restart QGIS if the removal waits for that.")
    staging = folder + ".installing"
    lock = QLockFile(staging + ".lock")
    lock.setStaleLockTime(0)
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        if not lock.tryLock(0) and lock.error() == QLockFile.LockError.LockFailedError:
            raise ValueError("Another QGIS is installing PyTorch for this profile. Wait until it has finished.")
        if os.path.isdir(staging):  # QGIS ended during an installation
            shutil.rmtree(staging)
        os.mkdir(staging)
        free = shutil.disk_usage(staging).free // 2**20
    except OSError as error:
        raise ValueError(
            f"{error.filename or folder} cannot be written: {error.strerror}. Check the permissions of the profile's folder."
        ) from error
    try:
        if free < source.disk_mb + source.download_mb:
            raise ValueError(
                f"{folder} needs {source.disk_mb + source.download_mb} MB while it is installed, and {free} MB are free. Free some space."
            )
        _install(names, source, staging, kept, proxy, progress, log)
        _rename(os.path.join(staging, "packages"), folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.unlock()
    add_package_folder()
    progress(1.0, "installed")


def _install(names: Sequence[str], source: Source, staging: str, kept: dict[str, str], proxy: str, progress: Progress, log: Log) -> None:
    packages, scratch = os.path.join(staging, "packages"), os.path.join(staging, "scratch")
    os.mkdir(scratch)
    with open(os.path.join(staging, "constraints.txt"), "w", encoding="utf-8") as file:
        file.write(constraints(kept))
    variables = {**environment(proxy), **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), scratch)}
    progress(0.0, "looking for Python and pip")
    python = _find_python(variables, scratch, lambda: progress(0.0, "looking for Python and pip"))
    log(f"Python: {python}")
    if kept:
        log("Not replaced: " + ", ".join(f"{name} {version}" for name, version in kept.items()))
    expected = max(source.download_mb + source.disk_mb, 1) * 2**20
    for arguments in pip_runs(names, source, packages, kept, file.name):
        log(f"pip {' '.join(arguments)}")

        def tick() -> None:
            size = _size(staging)
            progress(min(0.9, 0.9 * size / expected), f"downloading and unpacking, {size >> 20} MB of about {expected >> 20} MB")

        code, output = _run(python, ["-m", "pip", *arguments], variables, scratch, tick, log)
        if code != 0:
            raise ValueError(explain(output))
    _remove_distributions(packages, kept)
    progress(0.95, "trying what was installed")
    for name in names:
        trial = f"import sys; sys.path.append({packages!r}); {_TRIALS[name]}"
        code, output = _run(python, ["-c", trial], variables, scratch, lambda: progress(0.95, "trying what was installed"), log)
        if code != 0:
            said = (output.strip().splitlines() or [f"exit code {code}"])[-1]
            raise ValueError(
                f"Nothing was installed: {name} was downloaded, but does not work in QGIS' Python: {said} "
                "On Windows, install the Microsoft Visual C++ Redistributable and try again; otherwise use wheels of another version."
            )


def uninstall(folder: str, progress: Progress | None = None, log: Log = print) -> bool:
    """Remove the plugin's packages. Returns whether they are gone; False if that has to wait for the next start of QGIS.

    Windows does not remove files that are loaded; then a mark is left for `packages.remove_marked_folder`.
    """
    progress = progress or Progress()
    progress(0.0, "removing")
    removed = folder + ".removed"
    shutil.rmtree(removed, ignore_errors=True)
    try:
        os.rename(folder, removed)
    except FileNotFoundError:
        return True
    except OSError as error:
        log(f"{error.strerror}: files are in use; they will be removed when QGIS starts next.")
        with open(removal_mark(folder), "w", encoding="utf-8"):
            return False
    shutil.rmtree(removed, ignore_errors=True)
    importlib.invalidate_caches()
    progress(1.0, "removed")
    return True


def _find_python(variables: dict[str, str], scratch: str, tick: Callable[[], None]) -> str:
    """Path of an interpreter of the same Python that QGIS runs, with pip."""
    candidates = python_candidates()
    for candidate in candidates:
        code, output = _run(candidate, ["-c", _IS_THIS_PYTHON], variables, scratch, tick, log=None)
        if code == 0 and output.split() == ["python", *map(str, sys.version_info[:2]), str(sys.maxsize)]:
            return candidate
    raise ValueError(
        f"No Python {sys.version_info[0]}.{sys.version_info[1]} with pip was found for QGIS"
        + (f" (looked at {', '.join(candidates)})" if candidates else "")
        + ". On Debian and Ubuntu install the package python3-pip; elsewhere use the command that the dialog shows."
    )


def _run(
    program: str, arguments: list[str], variables: dict[str, str], folder: str, tick: Callable[[], None], log: Log | None
) -> tuple[int, str]:
    """Run a program in `folder` and return its exit code and all that it printed. `tick()` is called every second and may raise."""
    process = QProcess()
    process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
    process.setWorkingDirectory(folder)
    all_variables = QProcessEnvironment.systemEnvironment()
    for name, value in variables.items():
        all_variables.insert(name, value)
    process.setProcessEnvironment(all_variables)
    process.start(program, arguments)
    if not process.waitForStarted(30_000):
        return -1, process.errorString()
    output, told, ticked = b"", 0, 0.0
    try:
        running = True
        while running:
            process.waitForReadyRead(200)
            running = process.state() != QProcess.ProcessState.NotRunning
            output += bytes(process.readAll())
            end = output.rfind(b"\n") + 1 if running else len(output)
            if log is not None:
                for line in output[told:end].decode("utf-8", "replace").splitlines():
                    log(without_passwords(line.rstrip()))
            told = max(told, end)
            if time.monotonic() - ticked > 1:
                tick()
                ticked = time.monotonic()
    finally:
        if process.state() != QProcess.ProcessState.NotRunning:
            process.kill()
            process.waitForFinished(10_000)
    code = process.exitCode() if process.exitStatus() == QProcess.ExitStatus.NormalExit else -1
    return code, without_passwords(output.decode("utf-8", "replace"))


def _remove_distributions(folder: str, names: Iterable[str]) -> None:
    """Remove the installed packages `names` from a folder of packages: QGIS has them, of the same version."""
    names = {name.lower().replace("_", "-") for name in names}
    for distribution in list(importlib.metadata.distributions(path=[folder])):
        if distribution.metadata["Name"].lower().replace("_", "-") in names:
            for file in distribution.files or ():
                path = os.path.normpath(os.path.join(folder, str(file)))
                if os.path.isfile(path) and path.startswith(folder + os.sep):
                    os.remove(path)
    for path, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(path):
            os.rmdir(path)


def _rename(path: str, folder: str) -> None:
    """Rename a folder, with retries: on Windows, virus scanners lock new files for some seconds."""
    for attempt in range(10):
        try:
            return os.rename(path, folder)
        except PermissionError:
            if attempt == 9:
                raise
            time.sleep(1)


def _size(folder: str) -> int:
    """Bytes of all files in a folder that may change meanwhile."""
    total = 0
    for path, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(path, file)).st_size
            except FileNotFoundError:
                continue
    return total
