"""The commands."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

from ..cluster.connection import NoCluster, check_shared, connect, task_memory
from ..cluster.engine import ClusterLost
from ..core.errors import FileTrouble, describe_error
from ..core.files import check_place
from ..core.progress import Cancelled
from ..workflows.parameters import DETECTION, FERS_TRAINING, IDENTIFICATION, LARGEST, LOCAL_RX, MIN_AREA, RATE, SEED, SGM_TRAINING
from ..workflows.run import plugin_version
from .arguments import build_parser, read_settings
from .display import Display
from .files import UsageError, expand, inputs_of, outputs_of, scene, why_again

if TYPE_CHECKING:
    from ..workflows.detect import Detection, Outcome
    from ..workflows.run import Run
    from ..workflows.sources import MaskSource

DONE, FAILED, USAGE, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141
_RETRY_SECONDS = 10  # for storage that is out of reach for a moment
_NEEDED = {"torch": "torch", "scipy": "scipy", "numpy": "numpy", "osgeo": "GDAL's Python bindings (Debian: python3-gdal)"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # as by `| head`
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):  # what is left in their buffers goes there
            os.dup2(nowhere, stream.fileno())
        return UNREAD


def _run(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    missing = [text for module, text in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        return _fail(f"This Python lacks {', '.join(missing)}. See docs/cluster.md for how to install.", USAGE)
    try:
        records = _records(getattr(options, "log_json", None))
    except (ValueError, OSError) as error:
        return _fail(error, USAGE)
    from ..scenes.object_stores import use_object_stores

    use_object_stores()
    with records as file:
        display = Display(file)
        display.record("start", command=options.command, version=plugin_version())
        code = _command(options, display)
        display.record("end", exit_code=code)
        return code


def _command(options: argparse.Namespace, display: Display) -> int:
    try:
        with _quiet_gdal(), _terminable():
            return _COMMANDS[options.command](options, display)
    except (UsageError, NoCluster) as error:
        return _fail(error, USAGE, display)
    except (KeyboardInterrupt, Cancelled) as cancel:
        display.line(_describe_cancel(cancel, hasattr(options, "resume")))
        return INTERRUPTED


def _records(path: str | None) -> AbstractContextManager[TextIO | None]:
    """The file for JSON lines, open, or what stands for none."""
    if not path:
        return nullcontext()
    if not path.lower().endswith(".jsonl"):  # so that nothing is appended to a scene
        raise ValueError(f"{path}: give the file for JSON lines a name that ends in .jsonl.")
    if path.startswith("/vsi"):
        raise ValueError(f"{path}: JSON lines are appended to a file, which has to lie in a folder.")
    check_place(path, "file for JSON lines")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    return open(path, "a", encoding="utf-8")


def _fail(message: object, code: int, display: Display | None = None) -> int:
    if display:
        display.clear()
        display.record("error", text=str(message))
    print(f"Error: {message}", file=sys.stderr)
    return code


def _describe_cancel(cancel: BaseException, resumable: bool) -> str:
    if resumable:
        return "Cancelled: nothing was written of the unfinished scenes. The maps finished before are kept; --resume continues from them."
    return str(cancel) if isinstance(cancel, Cancelled) else str(Cancelled())


@contextmanager
def _quiet_gdal() -> Iterator[None]:
    """What GDAL has to say is part of the messages, and is not printed besides."""
    from osgeo import gdal

    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        yield
    finally:
        gdal.PopErrorHandler()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, by which batch systems end a job, does what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _detect(options: argparse.Namespace, display: Display) -> int:
    given = read_settings(options, (SEED, *DETECTION))
    from ..workflows.detect import read_once

    model, elsewhere = options.model and os.path.abspath(options.model), options.scheduler is not None
    if model:
        with _usage():
            read_once(model, "cpu" if elsewhere else options.device)  # workers may have devices that this machine lacks
    how = {"model": model, "options": given, "seed": options.seed, "device": options.device, "unfit": options.unfit}
    how.update(read_settings(options, (LARGEST,)))
    return _make_maps(options, display, "_anomalies", how, ("report", ".html") if options.report else None)


def _rx(options: argparse.Namespace, display: Display) -> int:
    from ..detectors.registry import DETECTORS

    settings = read_settings(options, LOCAL_RX) if options.mode == "rx-local" else {}
    with _usage():
        DETECTORS[options.mode](**settings)
    return _make_maps(options, display, "_rx", {"kind": options.mode, "settings": settings})


def _similar(options: argparse.Namespace, display: Display) -> int:
    from ..detectors.registry import DETECTORS
    from ..workflows.find_similar import Search, SimilarPlaces
    from ..workflows.run import Run
    from ..workflows.sources import RegionSource

    settings = {"background": options.background, **(read_settings(options, LOCAL_RX) if options.background == "local" else {})}
    how = {"kind": options.detector, "settings": settings, "rate": options.rate, "min_area": options.min_area}
    beside = ("regions", ".gpkg") if options.regions else None
    with _usage():
        DETECTORS[options.detector]([[0.0]], **settings)  # type: ignore[call-arg]  # which checks them
        sought = RegionSource.of_file(options.targets) if options.targets else None
    if options.target_scene and not options.targets:
        raise UsageError("--target-scene is the scene of --targets, which are not given.")
    if options.entry and not options.library:
        raise UsageError("--entry names entries of --library, which is not given.")

    libraries = [os.path.abspath(path) for path in options.library]

    def with_targets(searches: Sequence[Search]) -> list[Search]:
        where = scene(options.target_scene) if options.target_scene else searches[0].scene
        with _usage():
            return SimilarPlaces(searches, sought, where, libraries, options.entry).with_targets(Run(_memory(options), log=display.line))

    sources = [path for path in (options.targets, *libraries, options.target_scene) if path]
    return _make_maps(options, display, "_similar", how, beside, Search, with_targets, sources)


def _make_maps(
    options: argparse.Namespace,
    display: Display,
    suffix: str,
    how: dict[str, Any],
    beside: tuple[str, str] | None = None,
    kind: type[Detection] | None = None,
    prepare: Callable[[Any], Sequence[Detection]] | None = None,
    sources: Sequence[str] = (),
) -> int:
    """Make the maps of all scenes independently: what fails is reported in the summary and does not stop the rest.

    how: of each `Detection`. beside: name of the field of a detection and suffix of a file beside the map, or None. kind: class of the
    detections. prepare(detections): returns them with what they have in common. sources: further files that the maps are made from.
    """
    from ..core.files import remove_temporaries
    from ..scenes.extent import Extent
    from ..scenes.object_stores import existing
    from ..workflows.detect import LIMIT, Detection
    from ..workflows.outputs import check_outputs
    from ..workflows.provenance import asked_in_json
    from .index import Index, plain

    inputs = inputs_of(options)
    outputs = outputs_of(inputs, options.output, suffix)
    mask = _mask(options)
    extent = None
    if options.extent:
        west, south, east, north = options.extent
        extent = Extent(west, south, east, north, rows_down=True)
    field, ending = beside or ("", "")
    further = {output: f"{os.path.splitext(output)[0]}{ending}" for output in outputs} if beside else {}
    common: dict[str, Any] = {"bands": options.bands, "mask": mask, "extent": extent, "learn_area": options.learn_area, **how}
    detections: Sequence[Detection] = [
        (kind or Detection)(scene(path), output, **{**common, **({field: further[output]} if beside else {})})
        for path, output in zip(inputs, outputs)
    ]
    with _usage():
        written = [
            *((output, ".tif") for output in outputs),
            *((path, ending) for path in further.values()),
            (options.index, _index_ending(options.index)),
        ]
        check_outputs(written, [*(each.scene for each in detections), how.get("model"), mask, options.manifest, *sources])
    index = Index(options.index, detections)
    there = existing([*outputs, *further.values()])
    maps = [output for output in outputs if output in there]
    if maps and not (options.overwrite or options.resume):
        raise UsageError(
            f"{len(maps)} of {len(outputs)} maps already exist, such as {maps[0]}. Choose --resume to skip them, or --overwrite."
        )
    older = [path for path in (how.get("model"), options.mask, *sources) if path]
    if prepare:
        detections = prepare(detections)
    skipped, reasons = set(), {}
    for detection in detections if options.resume else ():
        output = detection.output
        if output not in there:
            continue
        if further.get(output, output) not in there:
            reasons[output] = f"its {ending} is missing"
        elif reason := why_again(output, [detection.scene.source, *older], asked_in_json(detection.asked())):
            reasons[output] = reason
        else:
            skipped.add(output)
            index.skip(detection)
    wanted = [detection for detection in detections if detection.output not in skipped]
    if skipped:
        display.line(f"{len(skipped)} of {len(detections)} maps are finished and skipped.")
    for reason, count in Counter(reasons.values()).items():
        output = next(output for output in reasons if reasons[output] == reason)
        which = os.path.basename(output) if count == 1 else f"{count} maps, such as {os.path.basename(output)},"
        display.line(f"{which} {'is' if count == 1 else 'are'} made again: {reason}.")
    remove_temporaries(*(detection.output for detection in wanted))
    done: list[Outcome] = []
    failed: list[Outcome] = []
    trouble = None
    try:
        for outcome in _all_outcomes(wanted, options, display):
            display.record("scene", **plain(index.add(outcome)))
            (failed if outcome.error else done).append(outcome)
    except ClusterLost as error:
        trouble = error
    finally:
        display.clear()
        if len(done) + len(failed) < len(wanted):
            remove_temporaries(*(detection.output for detection in wanted))
        index.write()
    print(f"{len(done) + len(skipped)} of {len(detections)} scenes done ({len(skipped)} of them before), {len(failed)} failed.")
    for outcome in failed:
        print(f"  {outcome.detection.scene.name}: {outcome.error}")
    for outcome in done:
        if outcome.fit is not None:
            print(f"  {outcome.fit:.2f} fit  {outcome.detection.scene.name}{'' if outcome.fit >= LIMIT else '  (does not fit the model)'}")
    if trouble:
        print(f"{len(wanted) - len(done) - len(failed)} scenes are not done: {trouble}. Run the same command with --resume to go on.")
    return FAILED if failed or trouble else DONE


def _index_ending(path: str | None) -> str:
    return ".geojson" if path and path.lower().endswith(".geojson") else ".csv"


def _all_outcomes(detections: Sequence[Detection], options: argparse.Namespace, display: Display) -> Iterator[Outcome]:
    """Yield the last `Outcome` of each detection: those that could not be read or written are tried again at the end."""
    work = _on_cluster if options.scheduler or options.local_cluster else _here
    for left in range(options.retries, -1, -1):
        again = []
        for outcome in work(detections, options, display) if detections else ():
            if outcome.file_trouble and left:
                again.append(outcome.detection)
            else:
                yield outcome
        if not again:
            return
        display.line(f"Scenes that could not be read or written, to be tried again in {_RETRY_SECONDS} s: {len(again)}.")
        time.sleep(_RETRY_SECONDS)
        detections = again


def _counting(options: argparse.Namespace) -> tuple[float, int] | None:
    """Rate and smallest region, at which the index counts what lies above the threshold; None where no index is wanted."""
    return (getattr(options, "rate", RATE.default), getattr(options, "min_area", MIN_AREA.default)) if options.index else None


def _on_cluster(detections: Sequence[Detection], options: argparse.Namespace, display: Display) -> Iterator[Outcome]:
    """Yield the `Outcome` of each detection, in the order in which they end."""
    from ..cluster.detection import detect_on_cluster

    ended, failed, total = 0, 0, len(detections)
    with connect(options.scheduler, options.local_cluster) as client:
        for folder in sorted({os.path.dirname(detection.output) for detection in detections}):
            check_shared(client, folder)

        def tick(tasks_done: int) -> None:
            display.progress(ended / total, f"{ended} of {total} scenes ended, {failed} failed, {tasks_done} tasks done")

        for outcome in detect_on_cluster(client, detections, _task_memory(client, options), tick, _counting(options)):
            ended += 1
            failed += bool(outcome.error)
            name = outcome.detection.scene.name
            display.line(f"[{ended}/{total}] {name}", scene=name)
            for line in outcome.log:
                display.line(f"  {line}", scene=name)
            display.line(f"  failed: {outcome.error}" if outcome.error else f"  done: {outcome.detection.output}", scene=name)
            yield outcome


def _here(detections: Sequence[Detection], options: argparse.Namespace, display: Display) -> Iterator[Outcome]:
    """Yield the `Outcome` of each detection, one after the other."""
    from ..core.progress import Progress
    from ..workflows.detect import Outcome, detect
    from ..workflows.extract import count_above
    from ..workflows.run import Run
    from ..workflows.sources import RasterSource

    total = len(detections)
    for number, detection in enumerate(detections, start=1):
        name = str(detection.scene.name)
        display.line(f"[{number}/{total}] {name}", scene=name)
        start = time.monotonic()

        def report(fraction: float, message: str, name: str = name) -> None:
            display.progress(fraction, f"{os.path.basename(name)}: {message}")

        log: list[str] = []

        def tell(line: str, log: list[str] = log, name: str = name) -> None:
            log.append(line)
            display.line(f"  {line}", scene=name)

        run = Run(_memory(options), Progress(report, (number - 1) / total, number / total), tell)
        try:
            ready = detect(detection, run)
            counting = _counting(options)
            counts = count_above(RasterSource(detection.output), *counting, replace(run, progress=Progress())) if counting else None
        except BrokenPipeError:
            raise
        except Exception as error:  # one bad scene does not stop the others, whatever is bad about it
            display.line(f"  failed: {describe_error(error)}", scene=name)
            trouble = isinstance(error, (FileTrouble, OSError))
            yield Outcome(detection, tuple(log), describe_error(error), file_trouble=trouble, seconds=time.monotonic() - start)
        else:
            seconds = time.monotonic() - start
            display.line(f"  done in {seconds:.1f} s: {detection.output}", scene=name)
            yield Outcome(detection, tuple(log), fit=ready.fit, seconds=seconds, counts=counts)


def _train(options: argparse.Namespace, display: Display) -> int:
    from ..workflows.train import Training, train

    scenes = [scene(path) for path in dict.fromkeys([*inputs_of(options), *expand(options.more_inputs)])]
    mask = _mask(options)
    training = Training(
        options.mode, scenes, os.path.abspath(options.model), options.bands, mask, read_settings(options, SGM_TRAINING), options.seed,
        options.device, options.report,
    )  # fmt: skip
    if not (options.scheduler or options.local_cluster):
        return _report_training(lambda run: train(training, run), options, display)
    from ..cluster.training import ClusterCubes

    with connect(options.scheduler, options.local_cluster) as client:
        cubes = ClusterCubes(client, _task_memory(client, options))
        return _report_training(lambda run: train(training, run, cubes), options, display)


def _train_fers(options: argparse.Namespace, display: Display) -> int:
    from ..workflows.train import Training, train

    scenes = [scene(path) for path in inputs_of(options)]
    settings = {**read_settings(options, FERS_TRAINING), "backbone_weights": options.backbone_weights}
    training = Training(
        "fers", scenes, os.path.abspath(options.model), options.bands, settings=settings, seed=options.seed, device=options.device,
        keep_on_cancel=options.keep_on_cancel,
    )  # fmt: skip
    return _report_training(lambda run: train(training, run), options, display)


def _report_training(train: Callable[[Run], object], options: argparse.Namespace, display: Display) -> int:
    from ..core.progress import Progress
    from ..workflows.run import Run

    interrupted = _Interruption()

    def report(fraction: float, message: str) -> None:
        interrupted.check()
        display.progress(fraction, message)

    try:
        with interrupted:
            train(Run(_memory(options), Progress(report), display.line))
    except Cancelled:
        raise
    except Exception as error:
        return _fail(describe_error(error), FAILED, display)
    display.clear()
    print(f"{options.model} is trained.")
    return DONE


class _Interruption:
    """Within its block, Ctrl-C becomes `Cancelled` at the next word of progress, so that training can keep what it has learnt."""

    def __init__(self) -> None:
        self._asked = False

    def check(self) -> None:
        if self._asked:
            raise Cancelled

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


def _identify(options: argparse.Namespace, display: Display) -> int:
    from ..core.progress import Progress
    from ..workflows.identify import Identification, identify
    from ..workflows.run import Run
    from ..workflows.sources import MaskSource, RegionSource

    with _usage():
        regions = RegionSource.of_file(options.regions)
        flat_field = MaskSource.of_file(options.flat_field) if options.flat_field else None
    identification = Identification(
        scene(options.input), regions, os.path.abspath(options.output), [os.path.abspath(path) for path in options.library], options.report,
        flat_field=flat_field, bands=options.bands, **read_settings(options, IDENTIFICATION),
    )  # fmt: skip
    try:
        matched, groups = identify(identification, Run(_memory(options), Progress(display.progress), display.line))
    except (Cancelled, KeyboardInterrupt):
        raise
    except Exception as error:
        return _fail(describe_error(error), FAILED, display)
    display.clear()
    print(
        f"{options.output}: {_counted(len(regions.shapes), 'region')}, {_counted(groups, 'group')}"
        + (f", {matched} with a clear match." if options.library else ".")
    )
    return DONE


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _info(options: argparse.Namespace, display: Display) -> int:
    from .info import describe

    code = DONE
    for path in expand(options.input):
        try:
            print(describe(path))
        except ValueError as error:
            code = _fail(error, FAILED)
    return code


def _memory(options: argparse.Namespace) -> int:
    from ..workflows.memory import free_memory

    return options.memory * 2**20 or free_memory() // 4


def _mask(options: argparse.Namespace) -> MaskSource | None:
    from ..workflows.sources import MaskSource

    with _usage():
        return MaskSource.of_file(options.mask) if options.mask else None


def _task_memory(client: Any, options: argparse.Namespace) -> int:
    return options.memory * 2**20 or task_memory(client)


@contextmanager
def _usage() -> Iterator[None]:
    """A ValueError inside is an error of usage."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


_COMMANDS = {
    "train": _train,
    "train-fers": _train_fers,
    "detect": _detect,
    "rx": _rx,
    "similar": _similar,
    "identify": _identify,
    "info": _info,
}
