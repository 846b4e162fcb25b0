"""GDAL's failures as Python sees them: alike, whether somebody has switched on GDAL's exceptions or not.

The switch belongs to the whole process, to QGIS and to its other plugins, so nothing of this plugin turns it.
"""

from contextlib import contextmanager

from osgeo import gdal


@contextmanager
def gdal_failures():
    """The messages of all failures that GDAL reports inside, as a list: many of its calls return as if nothing had happened.

    The first failure may end the block, so that what is assigned in it needs a value before. Holds for the thread that it runs on.
    """
    failures = []
    gdal.PushErrorHandler(lambda level, number, message: failures.append(message) if level >= gdal.CE_Failure else None)
    try:
        yield failures
    except RuntimeError as error:  # where somebody switched GDAL's exceptions on
        failures.append(str(error))
    finally:
        gdal.PopErrorHandler()


def open_dataset(source, kind=gdal.OF_RASTER):
    """A gdal.Dataset of a path or connection string, read-only, and "": or None and the reason. kind: gdal.OF_..."""
    dataset = None
    with gdal_failures() as failures:
        dataset = gdal.OpenEx(str(source), kind | gdal.OF_READONLY | gdal.OF_VERBOSE_ERROR)
    return (dataset, "") if dataset is not None else (None, failures[-1] if failures else "no GDAL driver recognises it")
