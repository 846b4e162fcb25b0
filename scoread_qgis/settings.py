"""How much memory the plugin may use: one setting, in Options > Processing > Providers."""

import os

from processing.core.ProcessingConfig import ProcessingConfig

MEMORY_SETTING = "SCOREAD_MEMORY"


def memory_limit():
    """Bytes that reading and detecting may take: the setting, or a quarter of the memory that is free now."""
    megabytes = int(ProcessingConfig.getSetting(MEMORY_SETTING) or 0)
    return megabytes * 2**20 if megabytes > 0 else _free_memory() // 4


def _free_memory():
    """Bytes of memory that programs can still take. 4 GB where the system does not tell."""
    try:
        import psutil  # comes with most QGIS installations

        return psutil.virtual_memory().available
    except ImportError:
        pass
    if os.path.exists("/proc/meminfo"):
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    return 4 * 2**30
