"""Which files a command reads and which it writes."""

import glob
import os
import re

from ..scenes.provenance import without_secrets
from ..scenes.score_map import ScoreMap
from ..workflows.sources import RasterSource


class UsageError(ValueError):
    """The command makes no sense as given; nothing has been done."""


def expand(patterns):
    """The files that paths and patterns name, each once, in the order in which they are named; GDAL's connection strings as they are."""
    found = {}
    for pattern in patterns:
        if os.path.exists(pattern) or not glob.has_magic(pattern):
            found[pattern] = None
            continue
        matches = [path for path in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(path)]
        if not matches:
            raise UsageError(f"No file matches {pattern}.")
        found.update(dict.fromkeys(matches))
    return list(found)


def scene(path):
    """`RasterSource` of a path: absolute, as it may be read by a process that works elsewhere."""
    return RasterSource(os.path.abspath(path) if os.path.exists(path) else path, without_secrets(path))


def outputs_of(inputs, output, suffix):
    """Path of the map of each input. output: folder, or for one input a file that ends in .tif. Raises UsageError where two are the same,
    or `output` looks like a file of another kind."""
    if output.lower().endswith((".tif", ".tiff")) and not os.path.isdir(output):
        if len(inputs) > 1:
            raise UsageError(f"{output} is one file, but there are {len(inputs)} scenes. Give a folder.")
        paths = [output]
    elif os.path.splitext(output)[1] and not os.path.isdir(output):
        raise UsageError(f"{output}: maps are GeoTIFFs. Give a file a name that ends in .tif, and a folder one that ends in {os.sep}.")
    else:
        paths = [os.path.join(output, f"{_stem(path)}{suffix}.tif") for path in inputs]
    owners = {}
    for path, source in zip(paths, inputs):
        if path in owners:
            raise UsageError(f"{owners[path]} and {source} would both become {path}. Give them folders of their own.")
        owners[path] = source
    return [os.path.abspath(path) for path in paths]


def _stem(source):
    name = os.path.basename(source)
    if os.path.exists(source) or ":" not in source:
        return os.path.splitext(name)[0]
    return re.sub(r"[^\w.-]+", "_", name).strip("_")  # a subdataset


def is_finished(output, sources):
    """Whether a map exists, can be opened, and is not older than any of the files it was made from."""
    if not os.path.exists(output):
        return False
    try:
        ScoreMap(output)
    except ValueError:
        return False
    made = os.path.getmtime(output)
    return all(os.path.getmtime(source) <= made for source in sources if os.path.exists(source))
