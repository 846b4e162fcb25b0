"""Detection: from a scene to its anomaly map."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..core.progress import keeping
from ..detectors.model_file import Model
from ..detectors.registry import DETECTORS
from ..detectors.shared.device import pick_device
from ..scenes.bands import list_bands
from ..scenes.extent import Extent, extent_pixels
from ..scenes.provenance import without_secrets
from .outputs import check_outputs, trained_model, write_map
from .parameters import UNFIT
from .provenance import facts_of_map
from .sources import MaskSource, RasterSource, fitting_cube, good_cubes

if TYPE_CHECKING:
    import torch

    from ..detectors.contract import Detector
    from ..scenes.extent import Area
    from ..scenes.raster import RasterCube, RasterFile
    from ..scenes.resampling import ResampledCube
    from .extract import Counts
    from .run import Run

LIMIT = 0.9  # of `Fit.value`: benchmarks/transfer.py shows what it obtains


@dataclass(frozen=True)
class Detection:
    """The settings of a detection, which makes one map. Can be sent to another machine.

    scene: `RasterSource`. output: .tif. model: model file, or None for the detector `kind` of `registry.DETECTORS` made with `settings`,
    which learns the scene first where it needs to learn. bands: numbers from 1 to choose from; by default those of the model, or all good
    ones.
    mask: `MaskSource` or None. options: of the detector's `bind`, name -> value; those that it does not know are ignored. seed: of learning
    and adapting. device: auto, cpu, cuda or mps. report: .html file or None. largest: pixels of the largest anomaly looked for, as for
    `Scorer`; None for any. unfit: one of `UNFIT.values`. extent: of the map, by default the whole scene; what is learnt, and how the scene
    fits, is nevertheless that of the whole scene, unless `learn_area` says that nothing else is to be looked at. (FERS looks at the whole
    scene always.)
    """

    scene: RasterSource
    output: str
    model: str | None = None
    kind: str = "sgm"
    settings: dict[str, Any] = field(default_factory=dict)
    bands: Sequence[int] = ()
    mask: MaskSource | None = None
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    report: str | None = None
    largest: int | None = None
    unfit: str = UNFIT.default
    extent: Extent | None = None
    learn_area: bool = False

    def detector_class(self) -> type[Detector]:
        """The class of the detector. Raises ValueError for what is not a model."""
        return DETECTORS[self.kind] if self.model is None else type(self.kept().detector)

    @property
    def learns(self) -> bool:
        """Whether the detector has to learn the scene, or to look whether the scene fits its model."""
        return self.detector_class().keeps_model

    def told(self, raster: RasterFile, numbers: Sequence[int]) -> Detector:
        """The detector where it does not learn. numbers: bands of the raster that are used."""
        return DETECTORS[self.kind](**self.settings)

    def described(self) -> dict[str, Any]:
        """The settings of the detector in plain values."""
        return self.settings

    def chosen(self, cube: RasterCube, run: Run) -> RasterCube:
        """The cube of those of its bands that the detector can use."""
        return cube

    def asked(self) -> dict[str, Any]:
        """All that decides what the map shows, in plain values, so that a map tells whether it is the one that is asked for."""
        return {
            "scene": without_secrets(self.scene.source),
            "detector": None if self.model else self.kind,
            "model": self.model and without_secrets(self.model),
            "bands": list_bands(self.bands) if self.bands else None,
            "mask": self.mask and without_secrets(self.mask.file or self.mask.source or self.mask.name),
            "area": self.extent and str(self.extent),
            "learn area": self.learn_area or None,
            "largest": self.largest,
            "unfit": self.unfit if self.model else None,
            "seed": self.seed,
            **self.settings,
            **self.options,
        }

    def finish(self, run: Run) -> float | None:
        """What is made of the map once it is there. Returns the threshold that this takes, None where there is none."""
        return None

    def kept(self) -> Model:
        """The `Model` of the model file."""
        return read_once(self.model, self.device)  # type: ignore[arg-type]  # asked for only where there is a file

    def cube(self, run: Run) -> tuple[RasterCube | ResampledCube, dict[str, Any] | None]:
        """The `Cube` to detect in, and its band numbers as `good_cubes` returns them."""
        if self.model is not None:
            return fitting_cube(self.scene, self.kept(), self.bands, self.mask, run), None
        (cube,), _ = good_cubes([self.scene], self.bands, self.mask, run, area=self.learnt_area())
        cube = self.chosen(cube, run)
        return cube, {"numbers": list(cube.numbers), "of": cube.raster.count}

    def area(self) -> Area | None:
        """The pixels that the map covers, as `extent_pixels` returns them; None for the whole scene.

        Raises ValueError where there are none.
        """
        return extent_pixels(self.scene.open(), self.extent) if self.extent else None

    def learnt_area(self) -> Area | None:
        """The pixels that alone are learnt from; None for the whole scene."""
        return self.area() if self.learn_area else None


@dataclass(frozen=True)
class Ready:
    """What a map is made with. model: `Model`. fit: how well the scene fits the model file, 0..1, None where there is none or it is not
    known.
    source: in words, where the model is from. threshold: what `Detection.finish` returned."""

    model: Model
    fit: float | None = None
    source: str = "none is needed"
    threshold: float | None = None


def make_ready(detection: Detection, cube: RasterCube | ResampledCube, numbers: dict[str, Any] | None, run: Run) -> Ready:
    """`Ready`: the model of the file, adapted to the scene where that does not fit, or one that is learnt from the scene.

    Raises ValueError where the scene does not fit, and that is to be refused.
    """
    device = pick_device(detection.device)
    if detection.model is None:
        detector_class = DETECTORS[detection.kind]
        if not detection.learns:
            detector = detection.told(cube.raster, cube.numbers)  # type: ignore[union-attr]  # only a model's scene is resampled
            return Ready(trained_model(detector, cube, numbers, detection.described(), detection.seed, run))
        run.log("No model is given: the background of the scene is learnt first.")
        settings = run.supported(detector_class.train, detection.settings)
        detector = detector_class.train([cube], **settings, seed=detection.seed, device=device, progress=run.progress)
        return Ready(trained_model(detector, cube, numbers, settings, detection.seed, run), source="learnt from the scene")
    model = detection.kept()
    fit = model.detector.fit(cube, run.progress.part(0, 0.2))
    if fit is None:
        return Ready(model, source=detection.model)
    for line in fit.lines():
        run.log(line)
    name = cube.raster.name
    if fit.value >= LIMIT:
        run.log(f"{name} fits the model: {fit.value:.2f} of 1.")
        return Ready(model, fit.value, detection.model)
    told = f"{name} does not fit the model: {fit.value:.2f} of 1, where {LIMIT} is needed."
    if detection.unfit == "refuse":
        raise ValueError(f"{told} Train a model on this scene, or run without a model: the scene is learnt first then.")
    if detection.unfit == "warn":
        run.warn(f"{told} The map may say nothing. Let the model be adapted, or run without a model.")
        return Ready(model, fit.value, detection.model)
    run.warn(f"{told} It is adapted: what belongs to the scene is re-estimated from the scene itself.")
    detector = model.detector.adapted(cube, detection.seed, run.progress.part(0.2, 1))
    return Ready(replace(model, detector=detector), fit.value, f"{detection.model}, adapted to the scene")


def tell_area(detection: Detection, run: Run) -> None:
    """Say in the log which area a map covers."""
    if area := detection.area():
        rows, columns = area[1] - area[0], area[3] - area[2]
        run.log(f"Area to look at: {rows} rows from row {area[0] + 1} on, {columns} columns from column {area[2] + 1} on.")
    elif detection.learn_area:
        run.log("No area to look at is given: the whole scene is learnt from.")


def detect(detection: Detection, run: Run) -> Ready:
    """Map how poorly each pixel of a scene fits its background, as a GeoTIFF. Returns `Ready`.

    Raises ValueError with the remedy for what does not fit.
    """
    outputs = [(detection.output, ".tif"), (detection.report, ".html")]
    check_outputs(outputs, [detection.scene, detection.model, detection.mask], run.scratch)
    (run, lines), started = run.recorded(), time.time()
    if detection.model is not None:
        run.progress(0.0, "reading the model")
    detector_class = detection.detector_class()
    if detection.learns:
        run.log(f"Device: {pick_device(detection.device)}.")
    options = run.supported(detector_class.bind, detection.options)
    area = detection.area()
    tell_area(detection, run)
    if detection.largest:
        run.log(f"Largest anomaly: {detection.largest} pixels. What stands out in objects of no more pixels is raised.")
    cube, numbers = detection.cube(run.part(0.0, 0.1))
    learnt = cube.within(*area) if area and detection.learn_area else cube
    ready = make_ready(detection, learnt, numbers, run.part(0.1, 0.4))
    share = run.progress.part(0.4, 0.8 if detection.report else 1.0)
    binding, gathered = share.part(0, detector_class.binding_share), {}
    if detector_class.gathered is not None:
        gathered["gathered"] = ready.model.detector.gather(learnt, binding)
    scorer = ready.model.detector.bind(cube, progress=binding, **gathered, **options)
    scorer.largest = detection.largest or 0
    facts = facts_of_map(detection, ready, cube, options, run)
    scores = scorer.pieces(share.part(detector_class.binding_share, 1), area)
    write_map(detection.output, cube.raster, detector_class.score_name, scores, area, facts)
    if scorer.unscored:
        run.log(f"{scorer.unscored} pixels with data have no score: there are too few valid pixels around them, or all of those are alike.")
    if detection.report:
        from .report import write_report

        parameters = {
            "scene": without_secrets(detection.scene.source), "model": ready.source, "fit": ready.fit and f"{ready.fit:.2f} of 1",
            "mask": detection.mask and detection.mask.name, "area": facts["area"], "bands asked for": detection.bands,
            "largest anomaly": facts["largest"],
            "options": [f"{name} = {value}" for name, value in options.items()], "device": pick_device(detection.device),
            "map": detection.output,
        }  # fmt: skip
        title = f"Anomalies of {cube.raster.name}"
        with keeping(detection.output):
            write_report(detection.report, title, parameters, ready.model, learnt, started, lines, run.part(0.8, 1.0), detection.output)
    with keeping(detection.output):
        return replace(ready, threshold=detection.finish(run.part(0.9, 1.0)))


@dataclass(frozen=True)
class Outcome:
    """How a `Detection` ended. log: its lines. error: why there is no map, "" where there is one. fit: as in `Ready`.

    file_trouble: whether a file could not be read or written. seconds: that it took. counts: what lies above the threshold, where that is
    asked for.
    """

    detection: Detection
    log: tuple[str, ...] = ()
    error: str = ""
    fit: float | None = None
    file_trouble: bool = False
    seconds: float = 0.0
    counts: Counts | None = None


def read_once(path: str, device: str | torch.device) -> Model:
    """The `Model` of a file, as `Model.load` reads it, but read again only where the file has changed since it was last asked for."""
    status = os.stat(path) if os.path.isfile(path) else None
    return _read(path, str(pick_device(str(device))), status and (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=2)  # the model asked for, and the one that was adapted to the scene
def _read(path: str, device: str, state: tuple[int, int] | None) -> Model:
    return Model.load(path, device)
