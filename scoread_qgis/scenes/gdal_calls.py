"""Failures of GDAL, reported in the same way whether GDAL's exceptions are switched on or not, and its options for a while.

That switch applies to the whole process, and so to QGIS and its other plugins: this plugin never touches it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from osgeo import gdal


@contextmanager
def gdal_failures() -> Iterator[list[str]]:
    """The messages of all failures that GDAL reports inside this block, as a list: many of its calls return as if nothing had happened.

    The first failure may end the block, so variables assigned in it need a value before. Applies to the current thread only.
    """
    failures: list[str] = []
    gdal.PushErrorHandler(lambda level, number, message: failures.append(message) if level >= gdal.CE_Failure else None)
    try:
        yield failures
    except RuntimeError as error:  # where somebody switched GDAL's exceptions on
        failures.append(" ".join(str(error).splitlines()))  # newer GDAL chains its reasons, a line each
    finally:
        gdal.PopErrorHandler()


@contextmanager
def gdal_option(name: str, value: str) -> Iterator[None]:
    """A configuration option of GDAL inside this block, for the current thread alone. GDAL before 3.5 has none and goes without."""
    if not hasattr(gdal, "SetThreadLocalConfigOption"):
        yield
        return
    before = gdal.GetThreadLocalConfigOption(name)
    gdal.SetThreadLocalConfigOption(name, value)
    try:
        yield
    finally:
        gdal.SetThreadLocalConfigOption(name, before)


def open_dataset(source: str | os.PathLike[str], kind: int = gdal.OF_RASTER) -> tuple[gdal.Dataset | None, str]:
    """The dataset at a path or connection string, read-only, and ""; or None and the reason. kind: gdal.OF_..."""
    dataset = None
    with gdal_failures() as failures:
        dataset = gdal.OpenEx(str(source), kind | gdal.OF_READONLY | gdal.OF_VERBOSE_ERROR)
    return (dataset, "") if dataset is not None else (None, failures[-1] if failures else "no GDAL driver recognises it")
