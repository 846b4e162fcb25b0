"""The options of the command line. The settings among them are those of the algorithms in QGIS, from `workflows.parameters`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from typing import Any

from ..scenes.bands import band_numbers
from ..workflows.parameters import (
    BACKGROUND,
    DETECTION,
    DEVICE,
    FERS_TRAINING,
    IDENTIFICATION,
    KEEP_ON_CANCEL,
    LARGEST,
    LEARN_AREA,
    LOCAL_RX,
    MIN_AREA,
    RATE,
    RX_BACKGROUND,
    SEED,
    SGM_MODE,
    SGM_TRAINING,
    TARGET_DETECTOR,
    UNFIT,
    Parameter,
)
from ..workflows.run import plugin_version
from .files import gdal_path

DESCRIPTION = "Finds what does not belong in a hyperspectral scene, without QGIS. Needs torch, numpy, scipy and GDAL's Python bindings."
EXIT_CODES = (
    "Exit code: 0 all done, 1 something failed (the summary says what and why), 2 wrong usage, 130 cancelled, 141 nobody reads the output."
)


class Number:
    """A number within limits, as argparse wants the type of an argument."""

    def __init__(self, kind: type[int] | type[float], least: float | None = None, most: float | None = None) -> None:
        self.kind, self.least, self.most = kind, least, most

    def __call__(self, text: str) -> float:
        try:
            value = self.kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is not a {'whole number' if self.kind is int else 'number'}") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text} is not a finite number")
        if self.least is not None and not value >= self.least:
            raise argparse.ArgumentTypeError(f"{text} is less than {self.least:g}")
        if self.most is not None and not value <= self.most:
            raise argparse.ArgumentTypeError(f"{text} is more than {self.most:g}")
        return value


class Choice:
    """What a word of a choice stands for, as argparse wants the type of an argument, which it applies to the default too."""

    def __init__(self, setting: Parameter) -> None:
        self.words = [label.lower().replace(" ", "-") for label in setting.choices]
        self.default = None if setting.optional else self.words[setting.default_index or 0]
        self._setting = setting

    def __call__(self, text: str) -> object:
        if text not in self.words:
            raise argparse.ArgumentTypeError(f"invalid choice: {text} (choose from {', '.join(self.words)})")
        return self._setting.value(self.words.index(text))


def _bands(text: str) -> tuple[int, ...]:
    try:
        return tuple(band_numbers(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_settings(options: argparse.Namespace, settings: Iterable[Parameter]) -> dict[str, Any]:
    """The values of settings among the parsed options, by name; without those that are optional and not given."""
    return {each.name: value for each in settings if (value := getattr(options, each.name)) is not None}


def _add_settings(parser: argparse.ArgumentParser, *settings: Parameter) -> None:
    """Add each `Parameter` of settings as an option."""
    for setting in settings:
        option = {"dest": setting.name, "default": setting.default, "help": setting.help.replace("%", "%%")}
        if setting.kind is bool:
            option["action"] = "store_true"
        elif setting.choices:
            choice = Choice(setting)
            option.update(type=choice, default=choice.default, metavar=f"{{{','.join(choice.words)}}}")
        else:
            option.update(type=Number(setting.kind, setting.least, setting.most), metavar="N")
        if not (setting.optional or setting.kind is bool):
            option["help"] += f" Default: {option['default']}."
        parser.add_argument(f"--{setting.name.replace('_', '-')}", **option)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scoread_qgis", description=DESCRIPTION, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"scoread_qgis {plugin_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, add, text in (
        ("train", _add_train, "learn the spectra of scenes as a score-based generative model (SGM), and keep it in a model file"),
        ("train-fers", _add_train_fers, "learn FERS from background scenes, and keep it in a model file"),
        ("detect", _add_detect, "map the anomalies of scenes with a model of train or train-fers"),
        ("rx", _add_rx, "map the anomalies of scenes with RX, without a model"),
        ("similar", _add_similar, "map what is like known targets, which are regions of a scene or entries of a spectral library"),
        ("identify", _add_identify, "say what regions are, by spectral libraries, and which of them are the same thing"),
        ("info", _add_info, "describe scenes, model files, maps and regions"),
    ):
        add(commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EXIT_CODES))
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser, "scenes of one sensor to learn; the mask applies to the first alone")
    parser.add_argument(
        "--more-inputs", nargs="+", default=[], metavar="INPUT", help="further scenes of the sensor, the same as further INPUTs"
    )
    parser.add_argument("--model", required=True, metavar="FILE.pt", help="file for the model")
    _add_bands(parser, "bands to use, such as 1-100,115-188; by default all good ones")
    _add_mask(parser, "which pixels to train on")
    _add_settings(parser, SGM_MODE, SEED, DEVICE, *SGM_TRAINING)
    parser.add_argument("--report", metavar="FILE.html", help="write a page with everything needed to judge and to repeat the run")
    _add_machines(parser)


def _add_train_fers(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser, "scenes of ordinary background")
    parser.add_argument("--model", required=True, metavar="FILE.pt", help="file for the model")
    _add_bands(parser, "bands to use, such as 1-100,115-188; by default all good ones that the scenes share")
    _add_settings(parser, SEED, DEVICE, *FERS_TRAINING)
    parser.add_argument("--backbone-weights", nargs="+", default=[], metavar="FILE", help="state dictionaries for the published backbone")
    _add_settings(parser, KEEP_ON_CANCEL)
    _add_memory(parser)


def _add_detect(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser, "scenes")
    parser.add_argument(
        "--model", metavar="FILE.pt", help="model file made by train or train-fers; without one, each scene is learnt first, in seconds"
    )
    _add_output(parser, "_anomalies")
    _add_bands(parser, "bands to choose from; by default those of the model")
    _add_mask(parser, "where to look")
    _add_extent(parser)
    _add_settings(parser, LEARN_AREA, LARGEST, UNFIT, SEED, DEVICE, *DETECTION)
    parser.add_argument("--report", action="store_true", help="write a report beside each map, .html; a scene is then always one task")
    _add_machines(parser)


def _add_rx(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser, "scenes")
    _add_output(parser, "_rx")
    _add_bands(parser, "bands to use; by default all good ones")
    _add_mask(parser, "where to look, and where the background is learnt")
    _add_extent(parser)
    _add_settings(parser, LEARN_AREA, RX_BACKGROUND, *LOCAL_RX)
    _add_machines(parser)


def _add_similar(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser, "scenes")
    _add_output(parser, "_similar")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--targets", metavar="FILE", help="polygons or points (any vector file), whose mean spectra are searched for")
    what.add_argument(
        "--library",
        nargs="+",
        default=[],
        metavar="FILE|FOLDER",
        help="spectral libraries, as for identify, whose entries are searched for",
    )
    parser.add_argument("--target-scene", metavar="SCENE", help="scene that the targets lie in; by default the first INPUT")
    parser.add_argument(
        "--entry",
        nargs="+",
        default=[],
        metavar="NAME",
        help="entries of the library, or patterns such as '*sheet metal*'; several are one target",
    )
    _add_settings(parser, TARGET_DETECTOR, BACKGROUND, RATE)
    parser.add_argument("--regions", action="store_true", help="outline what lies above the threshold, in a GeoPackage beside each map")
    _add_settings(parser, MIN_AREA)
    _add_bands(parser, "bands to use; by default all good ones")
    _add_mask(parser, "where to look, and where the background is learnt")
    _add_extent(parser)
    _add_settings(parser, LEARN_AREA, *LOCAL_RX)
    _add_machines(parser)


def _add_identify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help="the scene in which the regions lie")
    parser.add_argument("--regions", required=True, metavar="FILE", help="polygons or points, such as those of Extract anomalies")
    parser.add_argument(
        "--library",
        nargs="+",
        default=[],
        metavar="FILE|FOLDER",
        help="spectral libraries: ENVI .sli, USGS splib07, ECOSTRESS, .csv, EnMAP-Box profiles; without any, regions are only grouped",
    )
    parser.add_argument("--output", required=True, metavar="FILE.gpkg", help="file for the regions with their matches and groups")
    parser.add_argument("--report", metavar="FILE.html", help="write a page with each region's spectrum over those that it matches")
    parser.add_argument("--flat-field", metavar="FILE", help="polygons or raster (not 0): a surface by whose spectrum the scene is divided")
    _add_bands(parser, "bands to use; by default all good ones")
    _add_settings(parser, *IDENTIFICATION)
    _add_memory(parser)


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", nargs="+", metavar="INPUT", help="scenes, model files (.pt), maps and regions (.gpkg); patterns such as 'scenes/*.tif' too"
    )


def _add_inputs(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("input", nargs="*", metavar="INPUT", help=f"{text}; patterns such as 'scenes/**/*.tif' too")
    parser.add_argument(
        "--manifest",
        type=gdal_path,
        metavar="FILE",
        help="list of scenes: a .csv with a column scene, a .json of STAC items, or text with one a line; paths are relative to its folder",
    )


def _add_output(parser: argparse.ArgumentParser, suffix: str) -> None:
    parser.add_argument(
        "--output",
        type=gdal_path,
        required=True,
        metavar="FOLDER|FILE.tif",
        help=f"folder for the maps, <name of the scene>{suffix}.tif; for one scene also a file",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace maps that already exist")
    existing.add_argument(
        "--resume",
        action="store_true",
        help="skip maps that are complete, made with these options, and not older than their scene or model",
    )
    parser.add_argument(
        "--index",
        type=gdal_path,
        metavar="FILE.csv|.geojson",
        help="write a table of all scenes: map, status, seconds, fit, threshold at a false-alarm rate, regions and pixels above it, error",
    )
    parser.add_argument(
        "--retries",
        type=Number(int, 0),
        default=0,
        metavar="N",
        help="how often scenes that could not be read, or written, are tried again",
    )


def _add_bands(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--bands", type=_bands, default=(), metavar="LIST", help=text)


def _add_mask(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--mask", metavar="FILE", help=f"polygons (any vector file) or raster (not 0) that say {text}")


def _add_extent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--extent",
        type=Number(float),
        nargs=4,
        metavar=("XMIN", "YMIN", "XMAX", "YMAX"),
        help="area that the maps cover, in map coordinates of the scene's CRS; of a scene without georeference, its columns and rows, "
        "from 0 at the upper left corner",
    )


def _add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory", type=Number(int, 0), default=0, metavar="MB", help="memory for reading and detecting; 0: a quarter of what is free"
    )
    parser.add_argument("--log-json", metavar="FILE.jsonl", help="append what is told of the work to a file, one JSON object a line")


def _add_machines(parser: argparse.ArgumentParser) -> None:
    _add_memory(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="work on the Dask cluster of this scheduler, such as tcp://host:8786")
    where.add_argument("--local-cluster", type=Number(int, 1, 1024), metavar="N", help="work on N Dask worker processes of this machine")
