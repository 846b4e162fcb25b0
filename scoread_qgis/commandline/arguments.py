"""The options of the command line. They are the parameters of the algorithms in QGIS, with the same names, defaults and limits."""

import argparse
import math

from ..scenes.bands import band_numbers

DESCRIPTION = "Finds what does not belong in a hyperspectral scene, without QGIS. Needs torch, numpy, scipy and GDAL's Python bindings."
EXIT_CODES = "Exit code: 0 all done, 1 something failed (the summary says what and why), 2 wrong usage, 130 cancelled."
# Command -> algorithm of the plugin that does the same.
ALGORITHMS = {"train": "train_sgm", "train-fers": "train_fers", "detect": "detect_anomalies", "rx": "detect_rx"}


class Number:
    """A number within limits, as argparse wants the type of an argument."""

    def __init__(self, kind, least=None, most=None):
        self.kind, self.least, self.most = kind, least, most

    def __call__(self, text):
        try:
            value = self.kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is no {'whole number' if self.kind is int else 'number'}") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text} is no finite number")
        if self.least is not None and not value >= self.least:
            raise argparse.ArgumentTypeError(f"{text} is less than {self.least:g}")
        if self.most is not None and not value <= self.most:
            raise argparse.ArgumentTypeError(f"{text} is more than {self.most:g}")
        return value


def _bands(text):
    try:
        return tuple(band_numbers(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def build_parser():
    parser = argparse.ArgumentParser(prog="python -m scoread_qgis", description=DESCRIPTION, epilog=EXIT_CODES)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, add, text in (
        ("train", _add_train, "learn the spectra of scenes as a score-based generative model (SGM), and keep it in a model file"),
        ("train-fers", _add_train_fers, "learn FERS from background scenes, and keep it in a model file"),
        ("detect", _add_detect, "map the anomalies of scenes by a model of train or train-fers"),
        ("rx", _add_rx, "map the anomalies of scenes by RX, without a model"),
        ("info", _add_info, "tell what is known of scenes and model files"),
    ):
        add(commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EXIT_CODES))
    return parser


def _add_train(parser):
    _add_inputs(parser, "scenes of one sensor to learn; the mask applies to the first alone")
    parser.add_argument(
        "--more-inputs", nargs="+", default=[], metavar="INPUT", help="further scenes of the sensor, the same as further INPUTs"
    )
    parser.add_argument("--model", required=True, metavar="FILE.pt", help="file for the model")
    _add_bands(parser, "bands to use, such as 1-100,115-188; by default all good ones")
    _add_mask(parser, "which pixels to train on")
    parser.add_argument(
        "--mode", choices=["default", "paper"], default="default", help="paper: ScoreAD as published, minutes instead of seconds"
    )
    _add_seed(parser)
    _add_device(parser)
    for name, kind, least, most, text in (
        ("samples", int, 100, 1_000_000, "how many pixels are trained on at most"),
        ("steps", int, 1, 1_000_000, "ignored: the default mode of version 0.2 took it"),
        ("epochs", int, 1, 100_000, "paper mode: how often training goes through the pixels"),
        ("batch-size", int, 1, 100_000, "paper mode: spectra in a training step"),
        ("learning-rate", float, 1e-9, 1, "paper mode: size of the training steps"),
        ("sigma", float, 1.0001, 1000, "paper mode: base of the noise scale"),
        ("hidden", int, 8, 4096, "width of the hidden layers; default mode: random features"),
        ("outer-window", int, 3, 101, "paper mode, conditional: odd width of the window that context comes from"),
        ("inner-window", int, 1, 99, "paper mode, conditional: odd width of the window that context does not come from"),
    ):
        parser.add_argument(f"--{name}", type=Number(kind, least, most), metavar="N", help=f"{text}; by default what the mode takes")
    parser.add_argument("--conditional", action="store_true", help="paper mode: context from the most similar spectrum around")
    parser.add_argument("--report", metavar="FILE.html", help="write a page with all that it takes to judge and to repeat the run")
    _add_machines(parser)


def _add_train_fers(parser):
    _add_inputs(parser, "scenes of ordinary background")
    parser.add_argument("--model", required=True, metavar="FILE.pt", help="file for the model")
    _add_bands(parser, "bands to use, such as 1-100,115-188; by default all good ones that the scenes share")
    _add_seed(parser)
    _add_device(parser)
    parser.add_argument(
        "--patch", type=Number(int, 16, 512), default=64, metavar="N", help="width of the training patches, a multiple of 16 (64)"
    )
    parser.add_argument(
        "--epochs", type=Number(int, 1, 100_000), default=60, metavar="N", help="how often each stage goes through the patches (60)"
    )
    parser.add_argument("--batch", type=Number(int, 1, 1024), default=16, metavar="N", help="patches in a training step (16)")
    parser.add_argument(
        "--learning-rate", type=Number(float, 1e-9, 1), default=5e-3, metavar="N", help="size of the training steps (0.005)"
    )
    parser.add_argument(
        "--backbone", choices=["compact", "as-published"], default="compact", help="as-published: large networks, for a GPU"
    )
    parser.add_argument("--backbone-weights", nargs="+", default=[], metavar="FILE", help="state dictionaries for the published backbone")
    parser.add_argument("--keep-on-cancel", action="store_true", help="write what has been learnt when interrupted")
    _add_memory(parser)


def _add_detect(parser):
    _add_inputs(parser, "scenes")
    parser.add_argument(
        "--model", metavar="FILE.pt", help="model file made by train or train-fers; without one, each scene is learnt first, in seconds"
    )
    parser.add_argument(
        "--unfit",
        choices=["adapt", "warn", "refuse"],
        default="adapt",
        help="where a scene does not fit the model: adapt it to the scene, warn, or refuse the scene (adapt)",
    )
    _add_output(parser, "_anomalies")
    _add_bands(parser, "bands to choose from; by default those of the model")
    _add_mask(parser, "where to look")
    _add_seed(parser)
    _add_device(parser)
    parser.add_argument(
        "--t", type=Number(float, 1e-5, 1), metavar="T", help="paper mode: time of the perturbation kernel; by default 0.05"
    )
    parser.add_argument(
        "--perturbations", type=Number(int, 2, 100_000), metavar="N", help="paper mode: noised copies of a spectrum; by default 100"
    )
    parser.add_argument(
        "--readout", choices=["sum", "product", "autoencoder"], help="FERS only; by default as published, by the number of bands"
    )
    parser.add_argument("--report", action="store_true", help="write a report beside each map, .html; a scene is then always one task")
    _add_machines(parser)


def _add_rx(parser):
    _add_inputs(parser, "scenes")
    _add_output(parser, "_rx")
    _add_bands(parser, "bands to use; by default all good ones")
    _add_mask(parser, "where to look; these pixels are the background too")
    parser.add_argument(
        "--mode", choices=["global", "local"], default="global", help="background: the whole scene, or what is around each pixel"
    )
    parser.add_argument(
        "--inner-window", type=Number(int, 1, 999), default=5, metavar="N", help="local: odd width of the window that is not background (5)"
    )
    parser.add_argument(
        "--outer-window", type=Number(int, 3, 1001), default=15, metavar="N", help="local: odd width of the window that is background (15)"
    )
    parser.add_argument(
        "--shrinkage", type=Number(float, 0, 1), metavar="S", help="local: share of the mean variance; by default after Ledoit and Wolf"
    )
    _add_machines(parser)


def _add_info(parser):
    parser.add_argument("input", nargs="+", metavar="INPUT", help="scenes and model files (.pt); patterns such as 'scenes/*.tif' too")


def _add_inputs(parser, text):
    parser.add_argument("input", nargs="+", metavar="INPUT", help=f"{text}; patterns such as 'scenes/**/*.tif' too")


def _add_output(parser, suffix):
    parser.add_argument(
        "--output",
        required=True,
        metavar="FOLDER|FILE.tif",
        help=f"folder for the maps, <name of the scene>{suffix}.tif; for one scene also a file",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="make maps anew that are there already")
    existing.add_argument("--resume", action="store_true", help="skip maps that are there, whole, and not older than their scene or model")


def _add_bands(parser, text):
    parser.add_argument("--bands", type=_bands, default=(), metavar="LIST", help=text)


def _add_mask(parser, text):
    parser.add_argument("--mask", metavar="FILE", help=f"polygons (any vector file) or raster (not 0) that say {text}")


def _add_seed(parser):
    parser.add_argument("--seed", type=Number(int, 0, 2**31 - 1), default=0, metavar="N", help="number that random choices start from (0)")


def _add_device(parser):
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="where to compute (auto)")


def _add_memory(parser):
    parser.add_argument(
        "--memory", type=Number(int, 0), default=0, metavar="MB", help="memory for reading and detecting; 0: a quarter of what is free"
    )


def _add_machines(parser):
    _add_memory(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="work on the Dask cluster of this scheduler, such as tcp://host:8786")
    where.add_argument("--local-cluster", type=Number(int, 1, 1024), metavar="N", help="work on N Dask worker processes of this machine")
