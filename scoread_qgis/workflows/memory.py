"""How much memory there is for the work."""

import os


def free_memory():
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
