"""How much memory is available."""

from __future__ import annotations

import ctypes
import os


def free_memory() -> int:
    """Bytes of memory that programs can still take; half of the machine's where the system tells no more; 4 GB where it tells nothing."""
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
    if hasattr(ctypes, "windll"):
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return status.available_physical
    try:  # macOS and others
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of Windows."""

    _fields_ = (
        ("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("physical", ctypes.c_uint64), ("available_physical", ctypes.c_uint64),
        ("page_file", ctypes.c_uint64), ("available_page_file", ctypes.c_uint64), ("virtual", ctypes.c_uint64),
        ("available_virtual", ctypes.c_uint64), ("available_extended_virtual", ctypes.c_uint64),
    )  # fmt: skip
