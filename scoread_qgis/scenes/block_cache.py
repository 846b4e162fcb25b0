"""GDAL's block cache. There is one for the whole process, which QGIS and other plugins use too."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from osgeo import gdal

# Bytes: enough for the blocks that one read touches; GDAL's own default is a share of all memory.
_MOST = 256 * 2**20

_lock = threading.Lock()
_readers, _size_before = 0, 0


@contextlib.contextmanager
def small_block_cache() -> Iterator[None]:
    """Limit the cache to 256 MB as long as any thread is inside this block; the last one to leave restores its size."""
    global _readers, _size_before
    with _lock:
        if _readers == 0:
            _size_before = gdal.GetCacheMax()
            gdal.SetCacheMax(min(_size_before, _MOST))
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                gdal.SetCacheMax(_size_before)
