"""GDAL's cache of blocks of files. There is one for the whole process, which QGIS and other plugins use too."""

import contextlib
import threading

from osgeo import gdal

# Enough for the blocks of the file that one read touches; GDAL's own default is a share of the whole memory.
_MOST = 256 * 2**20

_lock = threading.Lock()
_readers, _size_before = 0, 0


@contextlib.contextmanager
def small_block_cache():
    """Hold the cache at 256 MB at most, as long as any thread is inside of this; the last one to leave restores its size."""
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
