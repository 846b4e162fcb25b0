"""The spectra of a scene while its anomalies are reviewed: of a pixel and of regions, with what their surroundings let expect.

Reads windows of the scene, never all of it, and needs no PyTorch; only `bind_detector` does, for the contributions of the bands.
"""

from __future__ import annotations

import ast
import os
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.progress import Progress
from ..decisions import matching
from ..detectors.shared.expected_spectrum import MARGIN, WIDTH, Expected, expected_spectrum
from ..scenes.bands import band_numbers
from ..scenes.georeference import PIXELS
from ..scenes.mask import RegionLabels
from ..scenes.raster import RasterCube
from .run import Run
from .sources import MaskSource, RasterSource, RegionSource

if TYPE_CHECKING:
    from ..detectors.contract import Scorer

PLACES, HEIGHT, BREADTH = 64, 2, 32  # of the windows that the sample of a scene is read from
COMPONENTS = 15  # of the space in which surroundings are compared, as in half_whitening
LARGEST = 40_000  # pixels of a region with its surroundings: beyond, it is no object in a background
APART = 3  # pixels around a place in which the same object may go on, so that nothing there counts as elsewhere
SAME = 0.02  # share of a score by which the detector, made again, may miss that of the map


@dataclass(frozen=True)
class Seen:
    """A spectrum of the scene, with what is expected there. All (bands,) of the file, NaN where a band is not used.

    row, column: of the pixel, or the centre of a region. pixels: how many it is the mean of. spread: standard deviation of these; None for
    one pixel. expected: `Expected`, None where the surroundings hold too little.
    """

    row: float
    column: float
    pixels: int
    spectrum: np.ndarray
    spread: np.ndarray | None
    expected: Expected | None


@dataclass(frozen=True)
class Similar:
    """The most similar spectrum elsewhere: (bands,) of the file, the angle to it in degrees, and where it is.

    region: its number from 0 among those known; None for a pixel of the sample, at row and column.
    """

    spectrum: np.ndarray
    angle: float
    row: float
    column: float
    region: int | None


@dataclass(frozen=True)
class RegionMeans:
    """Mean spectra of regions. pixels: (n,) valid ones of each. means, spreads: (n, used bands), NaN where there are none. boxes: (n, 4)
    first and last row, first and last column. centres: (n, 2) mean row and column.
    """

    pixels: np.ndarray
    means: np.ndarray
    spreads: np.ndarray
    boxes: np.ndarray
    centres: np.ndarray


def spectral_angles(spectrum: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Angles in degrees, (n,), between a spectrum (bands,) and others (n, bands); NaN where one of the two is not known in all bands."""
    spectrum, others = np.asarray(spectrum, np.float64), np.asarray(others, np.float64)
    return np.where(np.isfinite(others).all(axis=1), matching.spectral_angles(spectrum[None], others)[0], np.nan)


class ReviewedScene:
    """A scene that is open for single looks. May be asked from several threads; they wait for each other.

    axis: (bands,) wavelengths in nm, or band numbers where they are not known for all bands; `nanometres` says which. used: (bands,) bool,
    the bands that the map was made from, as far as it says so, else those that the file does not flag as bad.
    """

    def __init__(self, source: RasterSource, facts: dict[str, str], run: Run) -> None:
        """Open the scene and read the sample. facts: provenance of the map. Raises ValueError where it is not a scene."""
        self.source, self.facts = source, facts
        self.raster = source.open()
        self._lock = threading.Lock()
        self.nanometres = not np.isnan(self.raster.table.wavelengths).any()
        self.axis = self.raster.table.wavelengths if self.nanometres else np.arange(1.0, self.raster.count + 1)
        self.numbers = _used_bands(facts, self.raster.count) or [n for n, good in enumerate(self.raster.table.good, 1) if good]
        if len(self.numbers) < 2:
            raise ValueError(f"{self.raster.name} has fewer than two bands that are not flagged as bad. Choose another scene.")
        self.used = np.isin(np.arange(1, self.raster.count + 1), self.numbers)
        self.cube = RasterCube(self.raster, self.numbers, memory=run.memory)
        self.positions, self.sample = self._sampled(run.progress)
        self._mean, self._projection = half_whitening(self.sample)

    def _sampled(self, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Positions and valid spectra of small windows all over the scene: little is read, however large it is."""
        across = max(1, min(8, self.cube.columns // BREADTH))
        down = max(1, min(PLACES // across, self.cube.rows // HEIGHT))
        positions, spectra = [], []
        for step, row in enumerate(np.linspace(0, max(0, self.cube.rows - HEIGHT), down).astype(int)):
            progress(step / down, "spectra of the scene")
            for column in np.linspace(0, max(0, self.cube.columns - BREADTH), across).astype(int):
                last, right = min(self.cube.rows, row + HEIGHT), min(self.cube.columns, column + BREADTH)
                with self._lock:
                    values, valid = self.cube.read(row, last, column, right)
                spectra.append(values[valid])
                positions.append(np.argwhere(valid) + (row, column))
        return np.concatenate(positions), np.concatenate(spectra)

    def pixel_at(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column of the pixel at a place in the CRS of the scene, or None outside; without georeference y is -row."""
        georeference = self.raster.georeference
        if georeference.bent:
            column, row = georeference.to_pixels(np.array([[x, y]]))[0]
        else:
            x0, xc, xr, y0, yc, yr = georeference.geotransform or PIXELS
            determinant = xc * yr - xr * yc
            column, row = ((x - x0) * yr - (y - y0) * xr) / determinant, ((y - y0) * xc - (x - x0) * yc) / determinant
        if not (0 <= row < self.cube.rows and 0 <= column < self.cube.columns):  # NaN neither
            return None
        return int(row), int(column)

    def place_of(self, row: float, column: float) -> tuple[float, float]:
        """The place in the CRS of the scene of a (fractional) row and column, whose whole numbers are the centres of pixels."""
        georeference = self.raster.georeference
        if georeference.bent:
            x, y = georeference.to_map(np.array([[column + 0.5, row + 0.5]]))[0]
        else:
            x0, xc, xr, y0, yc, yr = georeference.geotransform or PIXELS
            x, y = x0 + xc * (column + 0.5) + xr * (row + 0.5), y0 + yc * (column + 0.5) + yr * (row + 0.5)
        return float(x), float(y)

    def at_pixel(self, row: int, column: int) -> Seen:
        """`Seen` of one pixel. Reads it and 7 pixels around. Raises ValueError where it has no data."""
        return self._seen((row, row, column, column), lambda *window: np.ones((1, 1), bool))

    def of_region(self, means: RegionMeans, labels: RegionLabels, number: int) -> Seen:
        """`Seen` of a region by its number from 0, whose spectrum is known already; its surroundings leave out the other regions."""
        box = tuple(int(edge) for edge in means.boxes[number])
        expected = None
        if means.pixels[number]:
            expected = self._expected(box, lambda *window: labels.labels(*window), number + 1)
        row, column = means.centres[number]
        seen = [self.over_all_bands(each[number]) for each in (means.means, means.spreads)]
        return Seen(row, column, int(means.pixels[number]), seen[0], seen[1], expected and self._over_all_bands(expected))

    def _seen(self, box: tuple[int, int, int, int], labels: Any) -> Seen:
        row, _, column, _ = box
        with self._lock:
            values, valid = self.cube.read(row, row + 1, column, column + 1)
        if not valid.any():
            raise ValueError(f"{self.raster.name} has no data at row {row + 1}, column {column + 1} in some of the bands.")
        expected = self._expected(box, lambda first, last, left, right: _one_pixel(first, last, left, right, row, column), 1)
        spectrum = self.over_all_bands(values[0, 0])
        return Seen(row, column, 1, spectrum, None, expected and self._over_all_bands(expected))

    def _expected(self, box: tuple[int, ...], labels_in: Any, number: int) -> Expected | None:
        """`Expected` of the used bands, from the window around a box; labels_in(first, last, left, right): numbers of regions there."""
        if self._projection is None:
            return None
        top, bottom, left, right = box
        first, last = max(0, top - MARGIN - WIDTH), min(self.cube.rows, bottom + 1 + MARGIN + WIDTH)
        start, stop = max(0, left - MARGIN - WIDTH), min(self.cube.columns, right + 1 + MARGIN + WIDTH)
        if (last - first) * (stop - start) > LARGEST:
            return None
        with self._lock:
            values, valid = self.cube.read(first, last, start, stop)
            labels = labels_in(first, last, start, stop)
        components = (values - self._mean) @ self._projection
        return expected_spectrum(values, components, valid, labels == number, (labels > 0) & (labels != number))

    def _over_all_bands(self, expected: Expected) -> Expected:
        spectrum, low, high = (self.over_all_bands(line) for line in (expected.spectrum, expected.low, expected.high))
        return Expected(spectrum, low, high, expected.pixels)

    def over_all_bands(self, values: np.ndarray) -> np.ndarray:
        """Values (used bands,) as (bands,) of the file, NaN elsewhere."""
        everywhere = np.full(self.raster.count, np.nan)
        everywhere[np.asarray(self.numbers) - 1] = values
        return everywhere

    def labels(self, regions: RegionSource, run: Run) -> RegionLabels:
        """The regions on the grid of the scene."""
        return RegionLabels(self.raster, regions.shapes, regions.crs, run.scratch)

    def region_means(self, labels: RegionLabels, count: int, progress: Progress | None = None) -> RegionMeans:
        """`RegionMeans` of `count` regions. Reads the windows that they lie in."""
        progress = progress or Progress()
        boxes = np.tile([self.cube.rows, -1, self.cube.columns, -1], (count, 1))
        for first in range(0, self.cube.rows, self.cube.rows_per_block):
            progress(0.3 * first / self.cube.rows, "regions on the scene")
            with self._lock:
                numbers = labels.labels(first, min(first + self.cube.rows_per_block, self.cube.rows))
            rows, columns = np.nonzero(numbers)
            chosen = numbers[rows, columns] - 1
            for edge, where, extreme in ((0, rows + first, np.minimum), (1, rows + first, np.maximum), (2, columns, np.minimum)):
                extreme.at(boxes[:, edge], chosen, where)
            np.maximum.at(boxes[:, 3], chosen, columns)
        pixels = np.zeros(count, int)
        means, spreads = (np.full((count, self.cube.bands), np.nan, np.float32) for _ in range(2))
        centres = (boxes[:, [0, 2]] + boxes[:, [1, 3]]) / 2
        for step, number in enumerate(np.lexsort((boxes[:, 2], boxes[:, 0]))):
            top, bottom, left, right = boxes[number]
            if bottom < top:
                continue
            progress(0.3 + 0.7 * step / count, f"spectra of the regions, {step + 1} of {count}")
            sums, squares, place = np.zeros(self.cube.bands), np.zeros(self.cube.bands), np.zeros(2)
            at_a_time = max(1, 2**22 // ((right - left + 1) * self.cube.bands))
            for first in range(top, bottom + 1, at_a_time):
                last = min(first + at_a_time, bottom + 1)
                with self._lock:
                    values, valid = self.cube.read(first, last, left, right + 1)
                    inside = valid & (labels.labels(first, last, left, right + 1) == number + 1)
                spectra = values[inside].astype(np.float64)
                pixels[number] += len(spectra)
                sums += spectra.sum(0)
                squares += np.square(spectra).sum(0)
                place += (np.argwhere(inside) + (first, left)).sum(0)
            if pixels[number]:
                means[number] = mean = sums / pixels[number]
                spreads[number] = np.sqrt(np.maximum(squares / pixels[number] - mean**2, 0))
                centres[number] = place / pixels[number]
        return RegionMeans(pixels, means, spreads, boxes, centres)

    def most_similar(self, seen: Seen, regions: RegionMeans | None = None, own: int | None = None) -> Similar | None:
        """The most similar spectrum among the means of the regions but `own`, and the pixels of the sample that are not nearby."""
        wanted = seen.spectrum[self.used]
        found: list[Similar] = []
        box = regions.boxes[own] if regions is not None and own is not None else np.repeat([seen.row, seen.column], 2)
        if regions is not None and len(regions.means):
            angles = spectral_angles(wanted, regions.means)
            if own is not None:
                angles[own] = np.nan
            apart = _outside(regions.centres, box) if own is None else np.ones(len(angles), bool)
            angles[~apart] = np.nan
            if not np.isnan(angles).all():
                best = int(np.nanargmin(angles))
                row, column = regions.centres[best]
                found.append(Similar(self.over_all_bands(regions.means[best]), float(angles[best]), row, column, best))
        elsewhere = _outside(self.positions, box)
        angles = spectral_angles(wanted, self.sample[elsewhere])
        if angles.size and not np.isnan(angles).all():
            best = int(np.nanargmin(angles))
            row, column = self.positions[elsewhere][best]
            found.append(Similar(self.over_all_bands(self.sample[elsewhere][best]), float(angles[best]), row, column, None))
        return min(found, key=lambda one: one.angle) if found else None

    def contributions(self, bound: Bound, seen: Seen, expected: Expected) -> Contributions:
        """The contributions of the bands to the anomaly value of `seen`, of which `expected` is expected."""
        numbers = np.asarray(bound.numbers) - 1
        spectrum, background = seen.spectrum[numbers], expected.spectrum[numbers]
        with self._lock:
            explained = bound.scorer.explain(spectrum[None], np.array([[seen.row, seen.column]]), background[None])
        everywhere = np.full(self.raster.count, np.nan)
        everywhere[numbers] = explained.contributions[0]
        return Contributions(everywhere, float(explained.scores[0]), float(explained.background_scores[0]), explained.what)

    def score(self, bound: Bound, row: int, column: int) -> float:
        """The score of a pixel, as in a map that the detector makes now."""
        with self._lock:
            return float(bound.scorer.window(row, column)[0, 0])


@dataclass(frozen=True)
class Bound:
    """The detector of a map, made again and bound to its scene. numbers: the bands of its cube, from 1."""

    scorer: Scorer
    numbers: list[int]


@dataclass(frozen=True)
class Contributions:
    """bands: (bands,) of the file, NaN where not used. score, background: anomaly values of the spectrum and of the expected one. what:
    what the anomaly value is.
    """

    bands: np.ndarray
    score: float
    background: float
    what: str


def can_bind(facts: dict[str, str]) -> str:
    """Why the detector of a map cannot be made again from the facts that it carries; "" where it can."""
    if not facts.get("detector"):
        return "The map does not say what detector made it, so that the contributions of the bands are not known."
    if "resampled" in facts.get("bands", ""):
        return "The scene was resampled for the model, so that the contributions are not those of its bands."
    model = model_file(facts)
    if model and not os.path.isfile(model):
        return f"The model {model}, which the map was made with, is no longer there."
    if facts.get("mask") and not os.path.exists(facts["mask"]):
        return f"The mask {facts['mask']}, which the map was made with, is not a file that can be read again."
    return ""


def needs_learning(facts: dict[str, str]) -> bool:
    """Whether making the detector again takes whole passes over the scene, since there is no model file to read."""
    return not model_file(facts)


def bind_detector(scene: ReviewedScene, run: Run) -> tuple[Bound, str]:
    """Make the detector of the map again, from its model file or by learning the scene with the settings and the seed that the map carries.

    Returns it, and a warning or "". Raises ValueError, with the remedy, where that is impossible.
    """
    from .detect import Detection, make_ready

    facts = scene.facts
    if reason := can_bind(facts):
        raise ValueError(reason)
    model, settings = model_file(facts), _values(facts.get("settings", ""))
    mask = MaskSource.of_file(facts["mask"]) if facts.get("mask") else None
    detection = Detection(
        scene.source, "", model=model, kind=facts["detector"], settings={} if model else settings, bands=scene.numbers, mask=mask,
        options=_values(facts.get("options", "")), seed=int(facts.get("seed") or 0), device="cpu",
    )  # fmt: skip
    if facts.get("detector") and model is None:
        from ..detectors.registry import DETECTORS

        if detection.kind not in DETECTORS:
            raise ValueError(f"This version of the plugin does not have the detector {detection.kind}, which made the map.")
    cube, numbers = detection.cube(run.part(0.0, 0.1))
    ready = make_ready(detection, cube, numbers, run.part(0.1, 0.6))
    options = run.supported(type(ready.model.detector).bind, detection.options)
    scorer = ready.model.detector.bind(cube, progress=run.progress.part(0.6, 1.0), **options)
    if not hasattr(cube, "numbers"):
        raise ValueError("The scene was resampled for the model, so that the contributions are not those of its bands.")
    alone = "learnt from it alone" in facts.get("area", "")
    warning = "The map was learnt from an area alone; the contributions are those of a detector that learnt the whole scene."
    return Bound(scorer, list(cube.numbers)), warning if alone else ""


def _outside(positions: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Which positions (n, 2) are no nearer to a box (first and last row, first and last column) than `APART` pixels."""
    rows, columns = positions.T
    top, bottom, left, right = box
    return (rows < top - APART) | (rows > bottom + APART) | (columns < left - APART) | (columns > right + APART)


def _one_pixel(first: int, last: int, left: int, right: int, row: int, column: int) -> np.ndarray:
    labels = np.zeros((last - first, right - left), int)
    labels[row - first, column - left] = 1
    return labels


def half_whitening(spectra: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Mean (bands,) and projection (bands, components) of `detectors.shared.half_whitening.HalfWhitening`, without PyTorch.

    None and None for spectra (n, bands) that are all alike.
    """
    exact = np.asarray(spectra, np.float64)
    if len(exact) < 2 or not np.ptp(exact, axis=0).any():
        return None, None
    mean, deviation = exact.mean(0), exact.std(0, ddof=1)
    weights = 1 / np.sqrt(np.where(deviation > 0, deviation, 1))
    centred = (exact - mean) * weights
    variances, directions = np.linalg.eigh(centred.T @ centred / (len(exact) - 1))
    kept = np.argsort(variances)[::-1][:COMPONENTS]
    kept = kept[variances[kept] > variances[-1] * 1e-12]
    scale = np.sqrt(np.sqrt(variances[kept]).mean())
    projection = weights[:, None] * directions[:, kept] / variances[kept] ** 0.25 / scale
    return mean.astype(np.float32), projection.astype(np.float32)


def _used_bands(facts: dict[str, str], count: int) -> list[int]:
    """The bands that a map was made from, where its facts name all of them: "1-6, 12 of 40"; [] otherwise."""
    listed, of, total = facts.get("bands", "").partition(" of ")
    if not of or "more" in listed or total.strip() != str(count):
        return []
    try:
        numbers = band_numbers(listed)
    except ValueError:
        return []
    return numbers if all(number <= count for number in numbers) else []


def model_file(facts: dict[str, str]) -> str | None:
    """The model file that a map was made with; None where it was learnt from the scene, or needs none."""
    model = facts.get("model", "")
    if model in ("", "learnt from the scene", "none is needed"):
        return None
    return re.sub(r", adapted to the scene$", "", model)


def _values(text: str) -> dict[str, Any]:
    """The plain values in a text such as "hidden = 64, mode = fast"."""
    found: dict[str, Any] = {}
    for name, value in re.findall(r"(\w+) = (\[[^\]]*\]|\([^)]*\)|[^,]*)", text):
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found
