"""GDAL's cache of decoded blocks, one for the whole process, which QGIS and other plugins use too, and that of blocks fetched."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from osgeo import gdal

from .gdal_calls import gdal_option

_LEAST = 16 * 2**20  # bytes, for what is written meanwhile

_lock = threading.Lock()
_readers: list[tuple[int, int]] = []  # each with what it needs
_size_before = 0


@contextlib.contextmanager
def block_cache(reader: object, needed: int) -> Iterator[None]:
    """Have the cache hold `needed` bytes of decoded blocks, and little more, as long as any thread is inside this block.

    GDAL's own size is a share of all memory, which is too much where memory is bounded, and less than what a row of tiles of a wide scene
    takes, each of which would be decoded again for every row. It is as large as all readers together need, each of which may be inside
    several times; the last one to leave restores its size.

    As many bytes may be fetched from a server at once: beyond its own 10 MB, GDAL asks for one block after the other.
    """
    global _size_before
    entry = id(reader), needed
    with _lock:
        if not _readers:
            _size_before = gdal.GetCacheMax()
        _readers.append(entry)
        _set_size()
    try:
        with gdal_option("GDAL_MAX_RAW_BLOCK_CACHE_SIZE", str(_LEAST + needed)):
            yield
    finally:
        with _lock:
            _readers.remove(entry)
            _set_size()


def _set_size() -> None:
    most = {reader: max(each for other, each in _readers if other == reader) for reader, _ in _readers}
    size = _LEAST + sum(most.values()) if most else _size_before
    if size != gdal.GetCacheMax():
        gdal.SetCacheMax(size)
