"""Which files a command reads and which it writes."""

from __future__ import annotations

import argparse
import csv
import fnmatch
import glob
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from osgeo import gdal

from ..core.files import absolute
from ..scenes.gdal_calls import gdal_failures, open_dataset
from ..scenes.object_stores import changed, in_object_store, open_text, unlisted
from ..scenes.provenance import read_provenance, without_secrets
from ..workflows.sources import RasterSource

_FOLDERS_OF_GDAL = "/vsi"
_REMOTE = {"http://": "/vsicurl/http://", "https://": "/vsicurl/https://", "s3://": "/vsis3/", "gs://": "/vsigs/", "file://": ""}


class UsageError(ValueError):
    """The command makes no sense as given; nothing has been done."""


def inputs_of(options: argparse.Namespace) -> list[str]:
    """The files that the inputs and the manifest of parsed options name, each once."""
    listed = read_manifest(options.manifest) if options.manifest else []
    inputs = list(dict.fromkeys([*expand(options.input), *listed]))
    if not inputs:
        raise UsageError("There is nothing to work on. Name the scenes, or give a list of them with --manifest.")
    return inputs


def expand(patterns: Iterable[str]) -> list[str]:
    """The files that paths and patterns name, each once, in the order in which they are named; GDAL's connection strings as they are."""
    found: dict[str, None] = {}
    for pattern in map(gdal_path, patterns):
        remote = pattern.startswith(_FOLDERS_OF_GDAL)
        if os.path.exists(pattern) or not glob.has_magic(pattern) or (remote and _is_remote_file(pattern)):
            found[pattern] = None
            continue
        matches = _matches(pattern) if remote else [path for path in sorted(glob.glob(pattern, recursive=True)) if not os.path.isdir(path)]
        if not matches:
            raise UsageError(f"No file matches {without_secrets(pattern)}.")
        found.update(dict.fromkeys(matches))
    return list(found)


def _is_remote_file(path: str) -> bool:
    with gdal_failures():
        status = gdal.VSIStatL(path)
        return status is not None and not status.IsDirectory()
    return False


def _matches(pattern: str) -> list[str]:
    """The files in folders of GDAL's virtual file systems that a pattern names, in alphabetical order."""
    first, *parts = re.split(r"(?<!/)/(?!/)", pattern[1:])  # the // of https:// is no end of a folder
    places = [f"/{first}"]
    for part in parts:
        if part == "**":
            places = [place for start in places for place in (start, *_folders_in(start))]
        elif glob.has_magic(part):
            places = [f"{place}/{name}" for place in places for name in _names_in(place) if fnmatch.fnmatchcase(name, part)]
        else:
            places = [f"{place}/{part}" for place in places]
    return sorted(place for place in dict.fromkeys(places) if _is_remote_file(place))


def _folders_in(place: str) -> Iterator[str]:
    """All folders below a place."""
    for name in _names_in(place):
        folder = f"{place}/{name}"
        status = gdal.VSIStatL(folder)
        if status is not None and status.IsDirectory():
            yield folder
            yield from _folders_in(folder)


def _names_in(place: str) -> list[str]:
    with gdal_failures():
        return [name.rstrip("/") for name in gdal.ReadDir(place) or () if name.rstrip("/") not in (".", "..", "")]
    return []


def read_manifest(path: str) -> list[str]:
    """The scenes that a file lists: a CSV with a column `scene`, GeoJSON with a property `scene` or the `data` asset of STAC items, or else
    text, one a line. Paths are relative to the folder of the file. Raises UsageError, with the remedy."""
    read = {".csv": _scenes_of_csv, ".json": _scenes_of_json, ".geojson": _scenes_of_json}.get(os.path.splitext(path)[1].lower())
    try:
        with open_text(path) as file:
            scenes = read(file) if read else [line.strip() for line in file if not line.lstrip().startswith("#")]
    except (OSError, csv.Error, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The manifest {path} cannot be read: {error}") from None
    except (KeyError, TypeError, AttributeError):
        raise UsageError(
            f"The manifest {path} does not name a scene in each entry. A CSV needs a column scene, a feature of a .json or .geojson a "
            "property scene, and a STAC item one asset of the name or the role data."
        ) from None
    scenes = [_located(scene, os.path.dirname(path)) for scene in scenes if scene]
    if not scenes:
        raise UsageError(f"The manifest {path} names no scene.")
    return scenes


def _scenes_of_csv(file: TextIO) -> list[str]:
    return [row["scene"].strip() for row in csv.DictReader(file)]


def _scenes_of_json(file: TextIO) -> list[str]:
    found = json.load(file)
    return [_scene_of(item) for item in found.get("features", [found])]


def _scene_of(item: dict[str, Any]) -> str:
    assets = item.get("assets")
    if assets is None:
        return item["properties"]["scene"]
    data = [asset for name, asset in assets.items() if name == "data" or "data" in asset.get("roles", ())]
    if len(data) != 1:
        raise KeyError("data")
    return data[0]["href"]


def gdal_path(text: str) -> str:
    """A path, or what GDAL reads at a URL."""
    return next((instead + text[len(start) :] for start, instead in _REMOTE.items() if text.startswith(start)), text)


def _located(scene: str, folder: str) -> str:
    if (path := gdal_path(scene)) != scene:
        return path
    beside = os.path.join(folder, scene)
    return beside if os.path.exists(beside) or ":" not in scene else scene


def scene(path: str) -> RasterSource:
    """`RasterSource` of a path: absolute, as it may be read by a process that works elsewhere."""
    return RasterSource(os.path.abspath(path) if os.path.exists(path) else path, without_secrets(path))


def outputs_of(inputs: Sequence[str], output: str, suffix: str) -> list[str]:
    """Path of the map of each input. output: folder, or for one input a file that ends in .tif. Where scenes have equal names, the maps of
    all lie in folders like theirs. Raises UsageError where two are the same nevertheless, or `output` looks like a file of another kind."""
    if output.lower().endswith((".tif", ".tiff")) and not os.path.isdir(output):
        if len(inputs) > 1:
            raise UsageError(f"{output} is one file, but there are {len(inputs)} scenes. Give a folder.")
        paths = [output]
    elif os.path.splitext(output)[1] and not os.path.isdir(output):
        raise UsageError(f"{output}: maps are GeoTIFFs. Give a file a name that ends in .tif, and a folder one that ends in {os.sep}.")
    else:
        stems = [_stem(path) for path in inputs]
        if len(set(stems)) < len(stems):
            stems = [os.path.join(folder, stem) for folder, stem in zip(_folders(inputs), stems)]
        paths = [os.path.join(output, f"{stem}{suffix}.tif") for stem in stems]
    owners: dict[str, str] = {}
    for path, source in zip(paths, inputs):
        if path in owners:
            raise UsageError(f"{owners[path]} and {source} would both become {path}. Give them folders of their own.")
        owners[path] = source
    return [absolute(path) for path in paths]


def _stem(source: str) -> str:
    name = os.path.basename(source)
    if _is_path(source):
        return os.path.splitext(name)[0]
    return re.sub(r"[^\w.-]+", "_", name).strip("_")  # a subdataset


def _is_path(source: str) -> bool:
    return os.path.exists(source) or ":" not in source or (source.startswith(_FOLDERS_OF_GDAL) and "?" not in source)


def _folders(inputs: Sequence[str]) -> list[str]:
    """The folder of each input, relative to the deepest one that has them all."""
    folders = [os.path.dirname(os.path.abspath(source)) if _is_path(source) else None for source in inputs]
    try:
        top = os.path.commonpath([folder for folder in folders if folder])
    except ValueError:  # on several drives, or none is a path
        return [""] * len(inputs)
    return [os.path.relpath(folder, top) if folder and folder != top else "" for folder in folders]


def why_again(output: str, sources: Iterable[str], asked: str) -> str:
    """Why the map at `output`, which exists, is not the one that is asked for; "" where it is.

    sources: files that it is made from. asked: as `workflows.provenance.asked_in_json` makes it.
    """
    with unlisted():
        dataset, reason = open_dataset(output)
    if dataset is None:
        return f"it cannot be opened: {reason}"
    made = read_provenance(dataset).get("asked")
    finished = (changed(output) or 0) + in_object_store(output)  # stores tell whole seconds
    if any((changed(source) or 0) > finished for source in sources):
        return "what it was made from is newer"
    if made == asked:
        return ""
    if not made:
        return "it does not tell with which options it was made"
    before, now = json.loads(made), json.loads(asked)
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return f"the options differ: {', '.join(f'{name} {_told(now.get(name))} (before: {_told(before.get(name))})' for name in names)}"


def _told(value: object) -> object:
    return "not given" if value is None else value
