"""Which files an input is read from, whatever wraps them, so that no output is ever written over one."""

import html
import os
import re
from urllib.parse import unquote

from osgeo import gdal

from ..core.files import SIDECARS
from .writer import gdal_failures

# In connection strings of GDAL and QGIS, what stands before and after the names of files.
_BETWEEN = re.compile(r"""[:"',?&={}|]|/vsi\w+/|file://""")
_SOURCES = re.compile(r"<(SourceFilename|SourceDataset|SrcDataSource|IndexDataset)\b[^>]*>([^<]+)<")
_REMOTE = re.compile(r"/vsi(?!zip|gzip|tar|7z|rar|subfile|sparse|mem)")
_LONGEST = 10_000  # characters of a connection string
_LARGEST = 100 * 2**20  # bytes of an XML file that names others
# Not to be opened but by SQLite: whoever closes such a file takes the locks away that this process has on it.
_DATABASES = (".gpkg", ".sqlite", ".sqlite3", ".db", ".mbtiles")
# Formats of vectors in several files.
_SEVERAL_FILES = ["ESRI Shapefile", "MapInfo File"]


def check_apart(outputs, inputs):
    """Raise ValueError, with the remedy, where writing the files `outputs` would change one that an input is read from, or one would replace another.

    outputs: paths. inputs: paths and connection strings of GDAL or QGIS. Links are followed, and so are wrappers: see `input_files`.
    """
    written = {}
    for output in outputs:
        keys = {key for ending in ("", *SIDECARS) for key in _identities(output + ending)}
        for key in keys & written.keys():
            raise ValueError(f"{output} and {written[key]} are the same file. Give each output a name of its own.")
        written.update(dict.fromkeys(keys, output))
    if not any(os.path.exists(output + ending) for output in outputs for ending in ("", *SIDECARS)):
        return  # inputs are there
    for source in inputs:
        for path in input_files(source):
            for key in _identities(path):
                if key in written:
                    raise ValueError(
                        f"{written[key]} is the input itself, or a file that {source} is read from, and inputs are never changed. Choose another "
                        "name for the output."
                    )


def same_files(paths, others):
    """Whether two lists of paths share a file, by whatever names."""
    return not {key for path in paths for key in _identities(path)}.isdisjoint(key for path in others for key in _identities(path))


def input_files(source):
    """The files that a raster or vector file is read from, as GDAL tells: itself, its headers and sidecars, the sources of virtual rasters within
    virtual rasters, what a connection string such as NETCDF:"a.nc":v names, and archives that it lies in.

    source: path, or connection string of GDAL or QGIS.
    """
    files = named_files(source)
    opened = [source.partition("|")[0], *(file for file in files if _xml(file))]
    listed = [*files]
    for text in dict.fromkeys(opened):
        listed += _listed(text, gdal.OF_RASTER, []) + _listed(text, gdal.OF_VECTOR, _SEVERAL_FILES)
    return sorted({file for text in listed for file in _names(text, "")})


def _listed(text, kind, drivers):
    """What GDAL says that it reads for a path or connection string."""
    with gdal_failures():
        dataset = gdal.OpenEx(text, kind | gdal.OF_READONLY, allowed_drivers=drivers)
        return [] if dataset is None else dataset.GetFileList() or []
    return []


def named_files(source):
    """Those of `input_files` that can be known without opening the data: what a connection string names, and virtual files within virtual files."""
    found, waiting, seen = set(), [(str(source), "")], set()
    while waiting:
        text, folder = waiting.pop()
        if (text, folder) in seen:
            continue
        seen.add((text, folder))
        names = () if text.lstrip().startswith("<") else _names(text, folder)
        found.update(names)
        for place in {text.partition("|")[0], *names}:
            xml = _xml(place)
            if xml:
                base = os.path.dirname(place) if xml is not place else folder
                waiting.extend((html.unescape(match[2]).strip(), base) for match in _SOURCES.finditer(xml))
    return sorted(found)


def _names(text, folder):
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
        # A file may be an archive, with more of the path behind it.
        ends = sorted({len(written), *(match.start() for match in cuts), *(match.start() for match in re.finditer(r"[/\\]", written))})
        for start in starts:
            for name in (written[start:end] for end in ends if end > start):
                found.extend(path for path in (os.path.join(place, name) for place in ("", folder)) if os.path.isfile(path))
    return found


def _xml(place):
    """Text of the XML that `place` is, or that the file of this name holds; "" for all else."""
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


def _identities(path):
    """What tells whether two names are one file: the path without links, and the number that the disk gives a file."""
    found = {os.path.normcase(os.path.realpath(path))}
    try:
        status = os.stat(path)
    except OSError:
        return found
    return found | {(status.st_dev, status.st_ino)} if status.st_ino else found
