"""HDF5 and netCDF cubes whose band dimension does not come first (PRISMA: row, band, column; EMIT: row, column, band), as GDAL datasets.

GDAL's classic drivers assume that the last two dimensions of a variable are rows and columns, which is wrong for these products. Its
multidimensional interface (https://gdal.org/user/multidim_raster_data_model.html) can transpose the variable without copying it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import numpy as np
from osgeo import gdal

from .bands import BandTable
from .gdal_calls import gdal_failures, open_dataset

_SPECTRAL = re.compile(r"band|wave|spectr|lambda|channel", re.IGNORECASE)
_SUBDATASET = re.compile(r'^(?:NETCDF|HDF5):"?(?P<path>.+?)"?:(?://|/)?(?P<variable>[^:]+)$', re.IGNORECASE)

_FILES = re.compile(r"\.(nc4?|he?5|hdf5?)$", re.IGNORECASE)


class CubeVariable:
    """A variable with a band dimension, read by whole rows of its chunks: GDAL's dataset of it decodes a chunk again for each of its bands.

    array: 3-D. axes: which of its dimensions are bands, rows and columns. Attribute `dataset`: the variable as a raster.
    """

    def __init__(self, array: gdal.MDArray, axes: tuple[int, int, int]) -> None:
        self._array, self._axes = array, axes
        self.dataset = array.Transpose(list(axes)).AsClassicDataset(2, 1)
        self._decoded: tuple[tuple[object, ...], np.ndarray] | None = None

    def read(self, row: int, rows: int, left: int, columns: int, numbers: Sequence[int], code: int) -> np.ndarray | None:
        """Values (bands, rows, columns) of the bands `numbers` (from 1) in rows of one row of chunks; None where GDAL cannot read them.

        code: GDAL's data type of the values. The row of chunks is kept until another one is read.
        """
        height = max(1, self.dataset.GetRasterBand(1).GetBlockSize()[1])
        above = row // height * height
        lowest, highest = min(numbers), max(numbers)
        wanted = (above, left, columns, lowest, highest, code)
        if self._decoded is None or self._decoded[0] != wanted:
            self._decoded = None  # before the next one takes memory
            start, count = [0] * 3, [0] * 3
            first = lowest - 1, above, left
            size = highest - lowest + 1, min(height, self.dataset.RasterYSize - above), columns
            for axis, begin, length in zip(self._axes, first, size):
                start[axis], count[axis] = int(begin), int(length)
            values = self._array.ReadAsArray(start, count, buffer_datatype=gdal.ExtendedDataType.Create(code))
            if values is None:
                return None
            self._decoded = wanted, values.transpose(self._axes)
        return self._decoded[1][np.asarray(numbers) - lowest, row - above : row - above + rows]


def open_cube_variable(source: str | os.PathLike[str]) -> tuple[CubeVariable, BandTable] | tuple[None, None]:
    """The variable named by a NETCDF: or HDF5: subdataset `source`, or a file's only 3-D variable, as (CubeVariable, BandTable).

    (None, None) for anything else, and where no band dimension can be identified by its name or its wavelengths: those are left to
    the classic drivers.
    """
    match = _SUBDATASET.match(str(source))
    if not match and not _FILES.search(str(source)):
        return None, None
    container, _ = open_dataset(match["path"] if match else source, gdal.OF_MULTIDIM_RASTER)
    if container is None:
        return None, None
    root = container.GetRootGroup()
    arrays = {path: _array(owner, path) for path, owner in _arrays(root)}
    cubes = {path: array for path, array in arrays.items() if array is not None and array.GetDimensionCount() == 3}
    if match:  # GDAL's subdataset names write spaces as underscores
        cubes = {path: array for path, array in cubes.items() if path.strip("/").replace(" ", "_") == match["variable"].strip("/")}
    if len(cubes) != 1:
        return None, None
    (variable,) = cubes.values()
    dimensions = variable.GetDimensions()
    wavelengths = _spectral_vectors(root, variable.GetName())
    sizes = [dimension.GetSize() for dimension in dimensions]
    spectral = [i for i, dimension in enumerate(dimensions) if _SPECTRAL.search(dimension.GetName())]
    if len(spectral) != 1:
        spectral = [i for i, size in enumerate(sizes) if size in {len(v) for v in wavelengths.get("wavelengths", [])}]
    if len(spectral) != 1:
        return None, None
    band = spectral[0]
    row, column = (i for i in range(3) if i != band)
    return CubeVariable(variable, (band, row, column)), _table(wavelengths, sizes[band])


def _array(owner: gdal.Group, path: str) -> gdal.MDArray | None:
    """The array at `path`, which lies in the group `owner`; None where GDAL cannot open it."""
    array = None
    with gdal_failures():
        array = owner.OpenMDArray(path.rsplit("/", 1)[-1])
    return array


def _arrays(group: gdal.Group, prefix: str = "") -> Iterator[tuple[str, gdal.Group]]:
    for name in group.GetMDArrayNames() or []:
        yield f"{prefix}/{name}", group
    for name in group.GetGroupNames() or []:
        yield from _arrays(group.OpenGroup(name), f"{prefix}/{name}")


def _spectral_vectors(root: gdal.Group, variable_name: str) -> dict[str, list[np.ndarray]]:
    """Candidate vectors of the container: {"wavelengths": [...], "fwhm": [...], "good": [...]}.

    EMIT keeps them as arrays (wavelengths, fwhm, good_wavelengths), PRISMA as attributes of the root for each detector (List_Cw_Vnir,
    List_Fwhm_Vnir, 0 for bands that are not used).
    """
    vectors: dict[str, list[np.ndarray]] = {"wavelengths": [], "fwhm": [], "good": []}
    for path, owner in _arrays(root):
        name = path.rsplit("/", 1)[-1].lower()
        kind = {"wavelength": "wavelengths", "wavelengths": "wavelengths", "fwhm": "fwhm", "good_wavelengths": "good", "bbl": "good"}.get(
            name
        )
        if kind:
            array = _array(owner, path)
            if array is not None and array.GetDimensionCount() == 1:
                vectors[kind].append(np.asarray(array.ReadAsArray(), np.float64))
    detector = re.search(r"vnir|swir", variable_name, re.IGNORECASE)
    for attribute in root.GetAttributes() or []:
        found = re.match(r"list_(cw|fwhm)_(vnir|swir)$", attribute.GetName(), re.IGNORECASE)
        if found and detector and found[2].lower() == detector[0].lower():
            kind = "wavelengths" if found[1].lower() == "cw" else "fwhm"
            vectors[kind].append(np.asarray(attribute.ReadAsDoubleArray(), np.float64))
    return vectors


def _table(vectors: dict[str, list[np.ndarray]], count: int) -> BandTable:
    def pick(kind: str, default: float) -> np.ndarray:
        return next((v for v in vectors[kind] if len(v) == count), np.full(count, default, np.float64))

    wavelengths, fwhm, good = pick("wavelengths", np.nan).copy(), pick("fwhm", np.nan).copy(), pick("good", 1.0) != 0
    unused = wavelengths <= 0
    wavelengths[unused] = np.nan
    if np.nanmax(wavelengths, initial=0) < 100:
        wavelengths, fwhm = wavelengths * 1e3, fwhm * 1e3
    return BandTable(wavelengths, fwhm, good & ~unused)
