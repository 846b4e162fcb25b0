"""The report of a training or a detection: everything needed to judge the run and to repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from .figures import ANOMALY, BACKGROUND, COLOURS, draw, show_map, spectral_axis
from .page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..decisions.tail import Tail

QUANTILES = (0.05, 0.5, 0.95)
RATES = (1e-2, 1e-3, 1e-4)


@dataclass
class Spectra:
    """Spectra of the scene and spectra sampled from the model, (n, bands) each; wavelengths (bands,) nm or None; source: how they were
    sampled, and what they are evidence of, as the rest of a sentence on them."""

    scene: np.ndarray
    sampled: np.ndarray
    wavelengths: np.ndarray | None
    source: str


class ModelFacts(TypedDict):
    """What is known of a model. versions: of the software that trained it, name -> version. loss_curve: mean losses of equal intervals."""

    kind: str
    settings: dict[str, object]
    seed: int
    versions: dict[str, str]
    loss_curve: Sequence[float]


def run_page(
    title: str, parameters: dict[str, object], bands: Sequence[Sequence[object]], model: ModelFacts, spectra: Spectra | str
) -> Page:
    """The `Page` of a run.

    parameters: name -> value of everything that was set. bands: rows of (what, which). model: `ModelFacts`. spectra: `Spectra`, or a text
    that says why there are none.
    """
    page = Page(title)
    page.heading("Run")
    page.table([[name, value] for name, value in parameters.items()])
    page.heading("Bands")
    page.table(bands)
    page.heading("Model")
    rows: list[Sequence[object]] = [
        ["kind", model["kind"]],
        ["random seed of the training", model["seed"]],
        *([name, value] for name, value in model["settings"].items()),
    ]
    page.table([*rows, *([f"trained with {name}", version] for name, version in model["versions"].items())])
    if curve := model["loss_curve"]:
        page.paragraph(f"Training loss: {curve[0]:.4g} at the start, {curve[-1]:.4g} at the end, {min(curve):.4g} at its lowest.")
        page.figure(draw(lambda figure: _loss(figure, curve), 8, 2.4), "Training loss, means of equal parts of the training.")
    else:
        page.paragraph("There is no training loss: the statistics of the background are estimated at once, not trained step by step.")
    page.heading("What the model has learnt")
    if isinstance(spectra, Spectra):
        _spectra(page, spectra)
    else:
        page.paragraph(spectra)
    return page


def add_map(page: Page, picture: np.ndarray, scores: np.ndarray, tail: Tail | str) -> None:
    """Add an anomaly map to a `Page`.

    picture: (rows, columns), thinned, NaN where not scored. scores: (n,) a sample of the scores. tail: fitted `decisions.tail.Tail`, or a
    text that says why there is none.
    """
    page.heading("Anomaly map")
    page.figure(
        draw(lambda figure: show_map(figure.add_subplot(), picture), 8, 5), "The map: brighter is more anomalous. Grey: not scored."
    )
    page.table(
        [[f"{100 * q:g} %", float(np.quantile(scores, q))] for q in (0.5, 0.9, 0.99, 0.999, 1.0)], ["share of the pixels", "score at most"]
    )
    if isinstance(tail, str):
        page.paragraph(tail)
        return
    page.paragraph(
        "The fit of the background's upper tail gives the threshold for a false-alarm rate, as Extract anomalies finds it; the fit "
        f"attributes {tail.anomalous:.3%} of the pixels to anomalies, which do not count as background."
    )
    thresholds = [tail.threshold(rate) for rate in RATES]
    beyond = [np.count_nonzero(scores > threshold) / len(scores) for threshold in thresholds]
    page.table([[f"{rate:g}", threshold, f"{share:.4%}"] for rate, threshold, share in zip(RATES, thresholds, beyond)],
               ["false-alarm rate", "threshold", "pixels of the map above it"])  # fmt: skip
    page.figure(
        draw(lambda figure: _histogram(figure, scores, tail, thresholds), 8, 3),
        "Histogram of the scores with the fitted tail of the background; dotted: thresholds for the false-alarm rates.",
    )


def add_log(page: Page, lines: Iterable[str]) -> None:
    """Add the log of the run to a `Page`."""
    page.heading("Log")
    page.lines(lines)


def _loss(figure: Figure, curve: Sequence[float]) -> None:
    axes = figure.add_subplot()
    axes.plot(
        np.linspace(0, 100, len(curve)) if len(curve) > 1 else [100], curve, color=COLOURS[0], marker="o" if len(curve) == 1 else None
    )
    if min(curve) > 0 and max(curve) > 20 * min(curve):
        axes.set_yscale("log")
    axes.set(xlabel="training, %", ylabel="loss")


def _spectra(page: Page, spectra: Spectra) -> None:
    scene, sampled = spectra.scene, spectra.sampled
    spread = scene.std(axis=0)
    known = spread > 0
    offset = np.abs(sampled.mean(axis=0) - scene.mean(axis=0))[known] / spread[known]
    ratio = sampled.std(axis=0)[known] / spread[known]
    page.paragraph(f"Spectra of the scene against spectra of the model. The latter are {spectra.source}")
    page.table([
        ["spectra of the scene, sampled spectra", f"{len(scene)}, {len(sampled)}"],
        ["distance of the means, in standard deviations of a band: median, largest", f"{np.median(offset):.2f}, {offset.max():.2f}"],
        ["sampled over observed standard deviation: lowest, median, highest band",
         f"{ratio.min():.2f}, {np.median(ratio):.2f}, {ratio.max():.2f}"],
    ])  # fmt: skip
    page.figure(draw(lambda figure: _bundles(figure, spectra), 8, 3.2), "Median, and the range of 90 % of the spectra, band by band.")


def _bundles(figure: Figure, spectra: Spectra) -> None:
    axes = figure.add_subplot()
    x, along = spectral_axis(spectra.wavelengths, spectra.scene.shape[1])
    for values, colour, label in ((spectra.scene, BACKGROUND, "scene"), (spectra.sampled, ANOMALY, "sampled from the model")):
        low, middle, high = (along(q) for q in np.quantile(values, QUANTILES, axis=0))
        axes.fill_between(along(x), low, high, color=colour, alpha=0.25, lw=0)
        axes.plot(along(x), middle, color=colour, lw=1.5, label=label)
    axes.set(xlabel="band" if spectra.wavelengths is None else "wavelength (nm)", ylabel="value")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncol=2, frameon=False, fontsize=8)


def _histogram(figure: Figure, scores: np.ndarray, tail: Tail, thresholds: list[float]) -> None:
    axes = figure.add_subplot()
    low, high = np.quantile(scores, [0, 1])
    counts, edges, _ = axes.hist(scores, bins=np.linspace(low, high, 121), color="#999999", label="scores")
    start = max(tail.start, low)
    inside = edges[edges >= start]
    if len(inside) > 1:
        expected = -np.diff(np.exp(tail.log_survival(inside))) * len(scores)
        axes.plot((inside[:-1] + inside[1:]) / 2, expected, color=BACKGROUND, lw=1.6, label="background's tail, fitted")
    for rate, threshold in zip(RATES, thresholds):
        if threshold <= high:
            axes.axvline(threshold, color=ANOMALY, lw=1, ls=":")
            axes.annotate(f"{rate:g}", (threshold, 1.0), xycoords=("data", "axes fraction"), fontsize=8, ha="center", va="bottom")
    axes.set_yscale("log")
    axes.set_ylim(0.5, 2 * max(counts.max(), 1))
    axes.set(xlabel="anomaly score", ylabel="pixels")
    axes.legend(frameon=False, fontsize=8)
