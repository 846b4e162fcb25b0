"""The plugin's settings, in Options > Processing > Providers: memory, device, threads, folder for temporary files."""

import contextlib
import os
import threading

from processing.core.ProcessingConfig import ProcessingConfig, Setting

from .translation import tr
from .workflows.memory import free_memory
from .workflows.parameters import DEVICE

MEMORY_SETTING, DEVICE_SETTING, THREADS_SETTING, CACHE_SETTING = "SCOREAD_MEMORY", "SCOREAD_DEVICE", "SCOREAD_THREADS", "SCOREAD_CACHE"
DEVICES = list(DEVICE.choices)

_threads_lock = threading.Lock()
_runs_with_threads, _threads_before = 0, 0


def add_settings(group):
    """Put the settings on the page of Processing's options under the heading `group`."""
    for setting in (
        Setting(group, MEMORY_SETTING, tr("Memory to use, in MB (0: a quarter of what is free)"), 0, valuetype=Setting.INT),
        Setting(group, DEVICE_SETTING, tr("Device where an algorithm's is auto"), "auto", valuetype=Setting.SELECTION, options=DEVICES),
        Setting(group, THREADS_SETTING, tr("Threads of PyTorch (0: all)"), 0, valuetype=Setting.INT),
        Setting(group, CACHE_SETTING, tr("Folder for temporary files (empty: the system's)"), "", valuetype=Setting.FOLDER),
    ):
        ProcessingConfig.addSetting(setting)
    ProcessingConfig.readSettings()


def remove_settings():
    for name in (MEMORY_SETTING, DEVICE_SETTING, THREADS_SETTING, CACHE_SETTING):
        ProcessingConfig.removeSetting(name)


def default_device():
    """The device that "auto" stands for; it is "auto" itself, the best one there is, unless the user set another."""
    return ProcessingConfig.getSetting(DEVICE_SETTING, readable=True) or "auto"


@contextlib.contextmanager
def torch_threads():
    """Let PyTorch compute with as many threads as the setting says, on the thread that calls this; as before afterwards.

    With OpenMP each thread of the process has its own count, and takes over, when it first computes, that which was set last on any. So
    what to go back to is what the first of several runs at a time found, and each of them goes back to it on its own thread.
    """
    global _runs_with_threads, _threads_before
    count = int(ProcessingConfig.getSetting(THREADS_SETTING) or 0)
    if count <= 0:
        yield
        return
    import torch

    with _threads_lock:
        found = torch.get_num_threads()  # asked in any case: until then the thread would still take over a count that another sets
        if _runs_with_threads == 0:
            _threads_before = found
        _runs_with_threads += 1
        torch.set_num_threads(count)
    try:
        yield
    finally:
        with _threads_lock:
            _runs_with_threads -= 1
            torch.set_num_threads(_threads_before)


def cache_folder():
    """Folder for temporary files, made if need be; None for the system's. Raises ValueError where it cannot be made."""
    folder = ProcessingConfig.getSetting(CACHE_SETTING) or None
    if folder is not None:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"The folder for temporary files {folder} cannot be made: {error.strerror}. "
                "Choose another in Options > Processing > Providers > ScoreAD anomaly detection."
            ) from error
    return folder


def memory_limit():
    """Bytes that reading and detecting may take: the setting, or a quarter of the memory that is free now."""
    megabytes = int(ProcessingConfig.getSetting(MEMORY_SETTING) or 0)
    return megabytes * 2**20 if megabytes > 0 else free_memory() // 4
