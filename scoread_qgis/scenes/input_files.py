"""The files that an input is read from, whatever wraps them, so that no output ever overwrites one."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterable, Sequence
from typing import Union
from urllib.parse import unquote

from osgeo import gdal

from ..core.files import SIDECARS
from .gdal_calls import gdal_failures
from .object_stores import existing, in_object_store

# What comes before and after file names in connection strings of GDAL and QGIS.
_BETWEEN = re.compile(r"""[:"',?&={}|]|/vsi\w+/|file://""")
_SOURCES = re.compile(r"<(SourceFilename|SourceDataset|SrcDataSource|IndexDataset)\b[^>]*>([^<]+)<")
_REMOTE = re.compile(r"/vsi(?!zip|gzip|tar|7z|rar|subfile|sparse|mem)")
_LONGEST = 10_000  # characters of a connection string
_LARGEST = 100 * 2**20  # bytes of an XML file that names others
# Only SQLite may open these: closing such a file by other means releases the locks that this process holds on it.
_DATABASES = (".gpkg", ".sqlite", ".sqlite3", ".db", ".mbtiles")
# Vector formats that consist of several files.
_SEVERAL_FILES = ["ESRI Shapefile", "MapInfo File"]
_Identity = Union[str, tuple[int, int]]  # path, or device and inode


def check_apart(outputs: Sequence[str], inputs: Iterable[str]) -> None:
    """Raise ValueError, with the remedy, if an output is a file that an input is read from, or two outputs are the same file.

    outputs: paths. inputs: paths and connection strings of GDAL or QGIS. Links and wrappers are followed: see `input_files`.
    """
    written: dict[_Identity, str] = {}
    for output in outputs:
        keys = {key for ending in ("", *SIDECARS) for key in _identities(output + ending)}
        for key in keys & written.keys():
            raise ValueError(f"{output} and {written[key]} are the same file. Give each output a name of its own.")
        written.update(dict.fromkeys(keys, output))
    remote = {output for output in outputs if in_object_store(output)}
    if remote and existing(remote):
        for source in inputs:
            plain = in_object_store(source) and not source.lower().endswith(".vrt")
            for path in {source, *(() if plain else _listed(source, gdal.OF_RASTER, []))} & remote:
                raise ValueError(f"{path} is the input itself, or a file that {source} is read from. Choose another name for the output.")
    if not any(os.path.exists(output + ending) for output in outputs for ending in ("", *SIDECARS)):
        return  # inputs are there
    for source in inputs:
        for path in [source] if _is_tiff(source) else input_files(source):
            for key in _identities(path):
                if key in written:
                    raise ValueError(
                        f"{written[key]} is the input itself, or a file that {source} is read from, and inputs are never changed. "
                        "Choose another name for the output."
                    )


def _is_tiff(source: str) -> bool:
    """Whether a source is a TIFF on a disk: of what GDAL reads beside it, nothing can be an output. Many are soon known without GDAL."""
    if not source.lower().endswith((".tif", ".tiff")) or not os.path.isfile(source):
        return False
    try:
        with open(source, "rb") as file:
            return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    except OSError:
        return False


def same_files(paths: Iterable[str], others: Iterable[str]) -> bool:
    """Whether two lists of paths share a file, under whatever names."""
    return not {key for path in paths for key in _identities(path)}.isdisjoint(key for path in others for key in _identities(path))


def input_files(source: str) -> list[str]:
    """The files that a raster or vector file is read from, according to GDAL.

    That is the file itself, its headers and sidecars, the sources of virtual rasters within virtual rasters, the files that a connection
    string such as NETCDF:"a.nc":v names, and the archives that contain it.

    source: path, or connection string of GDAL or QGIS.
    """
    files = named_files(source)
    opened = [source.partition("|")[0], *(file for file in files if _xml(file))]
    listed = [*files]
    for text in dict.fromkeys(opened):
        listed += _listed(text, gdal.OF_RASTER, []) + _listed(text, gdal.OF_VECTOR, _SEVERAL_FILES)
    return sorted({file for text in listed for file in _names(text, "")})


def _listed(text: str, kind: int, drivers: list[str]) -> list[str]:
    """The files that GDAL says it reads for a path or connection string."""
    with gdal_failures():
        dataset = gdal.OpenEx(text, kind | gdal.OF_READONLY, allowed_drivers=drivers)
        return [] if dataset is None else dataset.GetFileList() or []
    return []


def named_files(source: str) -> list[str]:
    """Those of `input_files` that are known without opening the data: files that a connection string or a virtual file names."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(str(source), "")]
    while waiting:
        text, folder = waiting.pop()
        if (text, folder) in seen:
            continue
        seen.add((text, folder))
        names = [] if text.lstrip().startswith("<") else _names(text, folder)
        found.update(names)
        for place in {text.partition("|")[0], *names}:
            xml = _xml(place)
            if xml:
                base = os.path.dirname(place) if xml is not place else folder
                waiting.extend((html.unescape(match[2]).strip(), base) for match in _SOURCES.finditer(xml))
    return sorted(found)


def _names(text: str, folder: str) -> list[str]:
    """Existing files that a path or connection string names, relative to `folder` too."""
    found = []
    for place in dict.fromkeys(("", folder)):
        if os.path.isfile(os.path.join(place, text)):
            found.append(os.path.join(place, text))
    if found or len(text) > _LONGEST:
        return found
    for written in dict.fromkeys((text, unquote(text))):
        cuts = list(_BETWEEN.finditer(written))
        starts = sorted({0, *(match.end() for match in cuts)})
        # A file may be an archive, followed by the rest of the path.
        slashes = re.finditer(r"[/\\]", written)
        ends = sorted({len(written), *(match.start() for match in cuts), *(match.start() for match in slashes)})
        for start in starts:
            for name in (written[start:end] for end in ends if end > start):
                found.extend(path for path in (os.path.join(place, name) for place in ("", folder)) if os.path.isfile(path))
    return found


def _xml(place: str) -> str:
    """The XML that `place` is, or that the file of this name holds; "" for anything else."""
    if place.lstrip().startswith("<"):
        return place
    if place.lower().endswith(_DATABASES) or _REMOTE.search(place):
        return ""
    with gdal_failures():
        status = gdal.VSIStatL(place)
        file = gdal.VSIFOpenL(place, "rb") if status is not None and not status.IsDirectory() else None
        if file is None:
            return ""
        try:
            start = bytes(gdal.VSIFReadL(1, min(64, status.size), file) or b"")
            if not start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
                return ""
            return (start + bytes(gdal.VSIFReadL(1, min(status.size, _LARGEST) - len(start), file) or b"")).decode("utf-8", "replace")
        finally:
            gdal.VSIFCloseL(file)
    return ""


def _identities(path: str) -> set[_Identity]:
    """What identifies a file, whatever its name: its path with links resolved, and its device and inode numbers."""
    if in_object_store(path):
        return {path}
    found: set[_Identity] = {os.path.normcase(os.path.realpath(path))}
    try:
        status = os.stat(path)
    except OSError:
        return found
    return found | {(status.st_dev, status.st_ino)} if status.st_ino else found
