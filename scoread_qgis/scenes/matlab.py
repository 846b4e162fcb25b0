"""Scenes in MATLAB files: a cube, and the ground truth map of a benchmark where the file has one.

Files of version 5 to 7.2 are read through scipy, those of version 7.3 (HDF5 inside) through GDAL's HDF5 driver or, where GDAL has none,
h5py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from importlib.util import find_spec
from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from osgeo import gdal

_NUMBERS = {"double", "single", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
_WAVELENGTHS = re.compile(r"wave|wvl|lambda|wl$|wl_|wls$", re.IGNORECASE)


class MatlabScene(NamedTuple):
    """A scene of a MATLAB file.

    cube: (rows, columns, bands) in the data type of the file.
    truth: (rows, columns) uint8, 1 = anomaly, 0 = background; None where the file has no such map.
    wavelengths: (bands,) band centres in nanometres, or None.
    names: the variables that "cube", "truth" and "wavelengths" come from, without those that are None.
    """

    cube: np.ndarray
    truth: np.ndarray | None
    wavelengths: np.ndarray | None
    names: dict[str, str]


class _Variable(NamedTuple):
    shape: tuple[int, ...]
    kind: str  # MATLAB's class, "sparse", or "complex" before the class

    def __str__(self) -> str:
        return f"{_sizes(self.shape)} {self.kind}".strip()


Variables = dict[str, _Variable]
Read = Callable[[str], np.ndarray]  # from the name of a variable to its values
Refuse = Callable[[str], ValueError]  # from a problem to the error that lists the variables, too
Argument = TypeVar("Argument")
Result = TypeVar("Result")


def read_matlab(path: str | os.PathLike[str], cube_name: str | None = None, map_name: str | None = None) -> MatlabScene:
    """The scene of a MATLAB file as `MatlabScene`, with the dimensions as MATLAB shows them: rows x columns x bands.

    Without names the cube is the file's only 3-D array of numbers, and the ground truth map its only 2-D array of the same rows and
    columns that holds 0 and at most one other, positive value. In a map that is named, every whole number above 0 is an anomaly. Nothing is
    transposed: where the file's map fits the cube only with its dimensions permuted, the cube has to be named (and is used as it is).
    Wavelengths come from a vector with a name such as wavelengths or wl and one value for each band; micrometres become nanometres.

    Raises ValueError, with the file's variables where it can list them, when the file is damaged or not a MATLAB file, when the
    choice is ambiguous, and when a variable does not suit its purpose; OSError when the file cannot be opened.
    """
    with open(path, "rb") as file:
        header = file.read(128)
    if header[126:] not in (b"IM", b"MI"):
        raise ValueError(f"{path} is not a MATLAB file of version 5 or later")
    version = header[125 if header[126:] == b"IM" else 124]
    variables, read = _damage_reported(path, _hdf5_reader(path) if version == 2 else _open_version_5, path)

    def values(name: str) -> np.ndarray:
        array = _damage_reported(path, read, name)
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def refuse(problem: str) -> ValueError:
        listed = ", ".join(f"{name} ({variable})" for name, variable in variables.items())
        return ValueError(f"{problem} The variables of {path} are: {listed or 'none'}.")

    cube_found = _cube(variables, cube_name, refuse)
    shape = variables[cube_found].shape
    map_found, truth = _truth(variables, values, shape, cube_name, map_name, refuse)
    wavelengths_found, wavelengths = _wavelengths(variables, values, shape[2])
    cube = values(cube_found)
    if np.iscomplexobj(cube):  # in version 5, known only now
        raise refuse(f"{cube_found} has complex numbers; a scene must have real numbers.")
    names = {"cube": cube_found, "truth": map_found, "wavelengths": wavelengths_found}
    return MatlabScene(cube, truth, wavelengths, {use: name for use, name in names.items() if name is not None})


def _cube(variables: Variables, name: str | None, refuse: Refuse) -> str:
    if name is None:
        cubes = [n for n, v in variables.items() if len(v.shape) == 3 and 0 not in v.shape and v.kind in _NUMBERS]
        if len(cubes) != 1:
            problem = "There is no 3-D array of real numbers" if not cubes else f"There are {len(cubes)} 3-D arrays: name the one"
            raise refuse(f"{problem} that is the scene (rows × columns × bands).")
        return cubes[0]
    if name not in variables:
        raise refuse(f"There is no variable {name}.")
    shape, kind = variables[name]
    if len(shape) != 3 or 0 in shape or kind not in _NUMBERS:
        raise refuse(f"{name} ({variables[name]}) is not a scene, which is a 3-D array of real numbers, rows × columns × bands.")
    return name


def _truth(
    variables: Variables, values: Read, shape: tuple[int, ...], cube_name: str | None, name: str | None, refuse: Refuse
) -> tuple[str, np.ndarray] | tuple[None, None]:
    if name is not None:
        if name not in variables:
            raise refuse(f"There is no variable {name}.")
        if variables[name].shape != shape[:2] or variables[name].kind not in _NUMBERS | {"logical"}:
            raise refuse(f"{name} is not a map of {shape[0]} × {shape[1]} numbers, the rows × columns of the scene.")
        truth = values(name)
        if np.iscomplexobj(truth) or not (np.isfinite(truth) & (truth >= 0) & (truth == np.round(truth))).all():
            raise refuse(f"{name} is not a ground truth map: its values must be the whole numbers 0 (background), 1, 2, ... (anomaly).")
        return name, (truth > 0).astype(np.uint8)

    def maps(shapes: Collection[tuple[int, ...]]) -> dict[str, np.ndarray]:
        candidates = [n for n, v in variables.items() if v.shape in shapes and v.kind in _NUMBERS | {"logical"}]
        return {n: values(n) > 0 for n in candidates if _has_two_values(values(n))}

    found = maps({shape[:2]})
    if len(found) > 1:
        raise refuse(f"There are {len(found)} maps that may be the ground truth: name the right one.")
    if found:
        name, truth = found.popitem()
        return name, truth.astype(np.uint8)
    arranged_otherwise = maps(set(permutations(shape, 2)) - {shape[:2]})
    if arranged_otherwise and cube_name is None:
        raise refuse(
            f"The map {min(arranged_otherwise)} does not fit the scene, {_sizes(shape)} as rows × columns × bands: permute the "
            "dimensions of one of them in MATLAB (permute), or name the scene to import it as it is, without the map."
        )
    return None, None


def _has_two_values(array: np.ndarray) -> bool:
    if np.iscomplexobj(array):
        return False
    present = np.unique(array)
    return present[0] == 0 and (present.size == 1 or (present.size == 2 and np.isfinite(present[1])))


def _wavelengths(variables: Variables, values: Read, bands: int) -> tuple[str, np.ndarray] | tuple[None, None]:
    vectors = [n for n, v in variables.items() if v.kind in _NUMBERS and sorted(v.shape)[-1:] == [bands] and np.prod(v.shape) == bands]
    vectors = [n for n in vectors if _WAVELENGTHS.match(n)]
    if len(vectors) != 1:
        return None, None
    wavelengths = values(vectors[0]).ravel()
    if np.iscomplexobj(wavelengths) or not (np.isfinite(wavelengths) & (wavelengths > 0)).all():
        return None, None
    wavelengths = wavelengths.astype(np.float64)
    in_micrometres = wavelengths.max() < 100  # no scene ends below 100 nm
    return vectors[0], wavelengths * 1000 if in_micrometres else wavelengths


def _open_version_5(path: str | os.PathLike[str]) -> tuple[Variables, Read]:
    """The variables of a file of version 5 to 7.2 by name, and a function that reads one of them."""
    from scipy.io import loadmat, whosmat
    from scipy.sparse import issparse

    variables = {name: _Variable(tuple(shape), kind) for name, shape, kind in whosmat(path)}

    def read(name: str) -> np.ndarray:
        values = loadmat(path, variable_names=[name])[name]
        return values.toarray() if issparse(values) else values  # sparse logical arrays are listed as logical

    return variables, read


def _hdf5_reader(path: str | os.PathLike[str]) -> Callable[[str | os.PathLike[str]], tuple[Variables, Read]]:
    """The function that opens a file of version 7.3 with what this Python has."""
    from osgeo import gdal

    # GDAL first: where h5py brings another version of the HDF5 library than GDAL's, loading both may end the process.
    if gdal.GetDriverByName("HDF5") is not None:
        return _open_with_gdal
    if find_spec("h5py") is not None:
        return _open_with_h5py
    raise ValueError(
        f"{path} is a MATLAB file of version 7.3, for which GDAL needs its HDF5 driver or Python the package h5py. "
        "Install one of them, or save the file in MATLAB with the option -v7."
    )


def _open_with_gdal(path: str | os.PathLike[str]) -> tuple[Variables, Read]:
    from osgeo import gdal

    from .gdal_calls import gdal_failures

    # Dimensions are stored in the reverse of the order that MATLAB shows. GDAL reads int8 as int16, hence the type after MATLAB's class.
    dataset = _quiet(gdal.OpenEx, str(path), gdal.OF_MULTIDIM_RASTER, ["HDF5"])
    group = dataset.GetRootGroup()
    variables = {}
    for name in group.GetMDArrayNames() or []:
        array = None
        with gdal_failures():
            array = group.OpenMDArray(name)
        if array is None:
            variables[name] = _Variable((), "cell")  # references, which GDAL does not read
            continue
        attributes = _attributes(array)
        kind = attributes.get("MATLAB_class", "unknown")
        if gdal.DataTypeIsComplex(array.GetDataType().GetNumericDataType()):
            kind = f"complex {kind}"
        shape = array.ReadAsArray() if "MATLAB_empty" in attributes else tuple(d.GetSize() for d in array.GetDimensions() or [])[::-1]
        variables[name] = _Variable(tuple(int(size) for size in shape), kind)
    for name in group.GetGroupNames() or []:
        if not name.startswith("#"):
            variables[name] = _Variable((), "sparse" if "MATLAB_sparse" in _attributes(group.OpenGroup(name)) else "struct")

    def read(name: str) -> np.ndarray:
        values = _quiet(dataset.GetRootGroup().OpenMDArray(name).ReadAsArray).T
        return values if variables[name].kind == "logical" else values.astype(variables[name].kind, copy=False)

    return variables, read


def _attributes(item: gdal.Group | gdal.MDArray) -> dict[str, str]:
    # Requested one by one, absent attributes raise errors where the host has enabled GDAL's exceptions.
    return {attribute.GetName(): attribute.Read() for attribute in item.GetAttributes() or []}


def _quiet(call: Callable[..., Result | None], *arguments: object) -> Result:
    """The result of a call to GDAL, without its messages on the screen; ValueError with the message where there is none."""
    from .gdal_calls import gdal_failures

    result: Result | None = None
    with gdal_failures() as failures:
        result = call(*arguments)
    if result is None:
        raise ValueError(failures[-1] if failures else "GDAL cannot read it")
    return result


def _open_with_h5py(path: str | os.PathLike[str]) -> tuple[Variables, Read]:
    import h5py

    variables = {}
    with h5py.File(path, "r") as file:
        for name, item in file.items():
            if name.startswith("#"):
                continue
            if isinstance(item, h5py.Group):
                variables[name] = _Variable((), "sparse" if "MATLAB_sparse" in item.attrs else "struct")
                continue
            kind = item.attrs.get("MATLAB_class", b"unknown").decode()
            if item.dtype.names:
                kind = f"complex {kind}"
            shape = item[()] if "MATLAB_empty" in item.attrs else item.shape[::-1]
            variables[name] = _Variable(tuple(int(size) for size in shape), kind)

    def read(name: str) -> np.ndarray:
        with h5py.File(path, "r") as file:
            return file[name][()].T

    return variables, read


def _damage_reported(path: str | os.PathLike[str], call: Callable[[Argument], Result], argument: Argument) -> Result:
    # The exceptions that damaged files cause in the readers have no common class: zlib.error, TypeError, KeyError, OSError, MemoryError,
    # ...
    try:
        return call(argument)
    except Exception as error:
        raise ValueError(f"{path} cannot be read; it may be damaged or incomplete: {str(error) or type(error).__name__}") from error


def _sizes(shape: tuple[int, ...]) -> str:
    return " × ".join(str(size) for size in shape)
