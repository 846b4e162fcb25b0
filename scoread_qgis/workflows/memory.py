"""How much memory is available."""

from __future__ import annotations

import os


def free_memory() -> int:
    """Bytes of memory that programs can still take; 4 GB if the system does not say."""
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
