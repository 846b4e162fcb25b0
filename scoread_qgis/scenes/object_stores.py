"""Object stores, which GDAL reads in place and uploads to: an object is there, and replaces an older one, once its upload is complete."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cache
from typing import TextIO

from osgeo import gdal

from ..core.files import Store, add_store
from .gdal_calls import gdal_failures, gdal_option

_STARTS = ("/vsis3/", "/vsigs/")
_LISTED = 100  # files of a folder from which on the folder is listed: the answer to one request names 1000


def in_object_store(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of an object."""
    return str(path).startswith(_STARTS)


def use_object_stores() -> None:
    """Let files be written to object stores by this process."""
    add_store(Store(_STARTS, _check, _upload))


def _upload(file: str, path: str) -> None:
    done = False
    with gdal_failures() as failures:
        done = gdal.Sync(file, path, options=["SYNC_STRATEGY=OVERWRITE"])
    if not done or failures:
        raise OSError(f"it cannot be uploaded ({failures[-1] if failures else 'GDAL does not say why'})")


def _check(path: str) -> None:
    _check_folder(os.path.dirname(path))


@cache
def _check_folder(folder: str) -> None:
    """Raise OSError if no object can be created in a folder. It is tried once in a process."""
    trial, written = f"{folder}/.scoread_trial", -1
    with gdal_failures() as failures:
        file = gdal.VSIFOpenL(trial, "wb")
        written = gdal.VSIFCloseL(file) if file is not None else -1
    if failures or written != 0:
        reason = failures[-1] if failures else gdal.GetLastErrorMsg() or "GDAL does not say why"
        raise OSError(f"no object can be created there: {reason}. Look at the bucket and the credentials")
    with gdal_failures():  # who may not remove it keeps it
        gdal.Unlink(trial)


def existing(paths: Iterable[str]) -> set[str]:
    """Those of the paths where there is a file."""
    found, folders = set(), defaultdict(list)
    for path in paths:
        if in_object_store(path):
            folders[os.path.dirname(path)].append(path)
        elif os.path.exists(path):
            found.add(path)
    for folder, wanted in folders.items():
        if len(wanted) < _LISTED:
            found.update(path for path in wanted if changed(path) is not None)
            continue
        with gdal_failures():
            names = set(gdal.ReadDir(folder) or ())
            found.update(path for path in wanted if os.path.basename(path) in names)
    return found


def changed(path: str) -> float | None:
    """When a file, or what GDAL reads as one, was last changed, in seconds; None where there is none."""
    if not path.startswith("/vsi"):
        return os.path.getmtime(path) if os.path.exists(path) else None
    status = None
    with gdal_failures():
        status = gdal.VSIStatL(path)
    return None if status is None else float(status.mtime)


def unlisted() -> AbstractContextManager[None]:
    """In this block GDAL looks for no files beside one that it opens. For each of many maps in a folder it would list all of them."""
    return gdal_option("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")


def open_text(path: str) -> TextIO:
    """A text file in UTF-8, on a disk or in what GDAL reads, for the `csv` and `json` modules. Raises OSError."""
    if not path.startswith("/vsi"):
        return open(path, encoding="utf-8-sig", newline="")
    file, data = None, b""
    with gdal_failures() as failures:
        file = gdal.VSIFOpenL(path, "rb")
        if file is not None:
            try:
                data = bytes(gdal.VSIFReadL(1, gdal.VSIStatL(path).size, file) or b"")
            finally:
                gdal.VSIFCloseL(file)
    if file is None or failures:
        raise OSError(f"{failures[-1] if failures else 'there is no such file'}")
    return io.StringIO(data.decode("utf-8-sig"), newline="")
