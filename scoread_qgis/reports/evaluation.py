"""The report of an evaluation: measures with intervals, ROC curves, separability, the maps beside the ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..decisions.evaluation import MEASURES, SHARES, Evaluation, interval
from .figures import ANOMALY, BACKGROUND, COLOURS, draw, show_map
from .page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = ("-", "--", ":", "-.")
_BESIDE = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "frameon": False, "fontsize": 9}  # where a legend goes
_POINTS = 1500  # of an ROC curve in the figure
_MEANINGS = (
    "Detection rate and false-alarm rate: the shares of the anomalous and of the background pixels that score the threshold or more. The "
    "detection rate at a false-alarm rate, Pd, is that of the lowest threshold that keeps to the rate; for rates below one pixel of the "
    "background, that means no false alarm.",
    "AUC-ROC, also AUC(D,F): area under the detection rate over the false-alarm rate. 0.5 is chance, 1 is best. Average precision: mean, "
    "over the anomalous pixels, of the share of anomalies among all pixels that score at least as high; chance is their share of the "
    "scene.",
    "The 3-D ROC family also considers the threshold τ, with scores scaled to 0..1 over the map. AUC(D,τ) and AUC(F,τ): area under the "
    "detection and the false-alarm rate over τ; best are 1 and 0. TD = AUC(D,F) + AUC(D,τ). BS = AUC(D,F) − AUC(F,τ). "
    "TDBS = AUC(D,τ) − AUC(F,τ). OD = AUC(D,F) + AUC(D,τ) − AUC(F,τ). ODP = AUC(D,τ) + 1 − AUC(F,τ). SNPR = AUC(D,τ) / AUC(F,τ). These "
    "depend on how a detector spaces its scores, not only on their order, and a single bright pixel changes them.",
    "Source of the family: C.-I Chang, An effective evaluation tool for hyperspectral target detection: 3D receiver operating "
    "characteristic curve analysis, IEEE TGRS 59(6), 2021, doi 10.1109/TGRS.2020.3021671.",
    "Intervals: the middle 95 % of 500 resamplings of whole objects (anomalous pixels that touch) and of whole tiles of the background, a "
    "hundredth of the scene each. They show how the numbers would vary with other objects and background of this kind; they do not cover "
    "another scene, nor errors of the ground truth. An interval that ends at a perfect value only means that no error was seen.",
)


class Survey(Protocol):
    """What is known of all pixels.

    anomalies, background: pixels of each class. objects: how many the anomalies form; None where not counted. drawn: anomalies and
    background pixels that were evaluated. thumbnails: (maps + 1, rows, columns), the maps and the ground truth; NaN where not evaluated.
    shrunk: rows and columns of the maps that one pixel of a thumbnail covers.
    """

    anomalies: int
    background: int
    objects: int | None
    drawn: tuple[int, ...]
    thumbnails: np.ndarray
    shrunk: int


def write_report(
    path: str, names: list[str], truth: str, evaluations: list[Evaluation], survey: Survey, seed: int, versions: dict[str, str]
) -> None:
    """Write the report (HTML) of the maps `names` against the ground truth `truth` (names for people).

    versions: of the software, name -> version.
    """
    page = Page("Evaluation of anomaly maps", f"{', '.join(names)} against the ground truth {truth}")
    if survey.objects is not None and survey.objects < 10:
        few = (
            "one object, so that there are no intervals"
            if survey.objects == 1
            else f"{survey.objects} objects: intervals are rough below ten"
        )
        page.note(f"The ground truth has {few}.")
    sampled = [
        f"{drawn} of {pixels} pixels of {kind}, drawn at random, stand for all"
        for kind, pixels, drawn in zip(("the anomalies", "the background"), (survey.anomalies, survey.background), survey.drawn)
        if drawn < pixels
    ]
    if sampled:
        page.note(f"{'; '.join(sampled)}.")
    page.heading("Measures")
    page.paragraph("In brackets the 95 % interval. All maps over the same pixels: those that every map scores and the ground truth covers.")
    page.table(
        [[label.replace(" ", "\u00a0"), *(_cell(each, measure) for each in evaluations)] for measure, label in MEASURES.items()],
        ["", *names],
    )
    if len(names) > 1 and evaluations[0].intervals:
        page.heading(f"Differences from {names[0]}", 3)
        page.paragraph(
            "Both maps are resampled in the same way, so these intervals say more than whether two others overlap. One without 0 is a "
            "difference beyond chance."
        )
        page.table(
            [
                [name, *(_difference(each, evaluations[0], measure) for measure in ("auc", "average_precision"))]
                for name, each in zip(names[1:], evaluations[1:])
            ],
            ["", MEASURES["auc"], MEASURES["average_precision"]],
        )  # fmt: skip
    page.heading("ROC curves")
    page.figure(
        draw(lambda figure: _plot_roc(figure, names, evaluations, survey.drawn[1]), 8.0, 4.2),
        "Detection rate over false-alarm rate (logarithmic). The left end is about one false alarm among the evaluated pixels.",
    )
    page.heading("Separability")
    page.table(
        [
            [name, kind, *(float(value) for value in boxes)]
            for name, each in zip(names, evaluations)
            for kind, boxes in (("background", each.background), ("anomalies", each.anomalies))
        ],
        ["", "scaled scores", *("lowest" if s == 0 else "highest" if s == 1 else "median" if s == 0.5 else f"{s:.0%}" for s in SHARES)],
    )
    page.figure(
        draw(lambda figure: _plot_separability(figure, names, evaluations), 8.0, 3.6),
        "Scores scaled to 0..1 over each map. Boxes hold the middle 80 % of the pixels (10 % to 90 %), the line in them is the median, and "
        "whiskers reach to the lowest and highest score. The less the boxes of a map overlap, the better it separates.",
    )
    page.heading("Maps")
    across = min(len(names) + 1, 4)
    down = -(-(len(names) + 1) // across)
    _, rows, columns = survey.thumbnails.shape
    size = "" if survey.shrunk == 1 else f" One pixel here is the largest of {survey.shrunk} × {survey.shrunk}."
    height = down * (8.0 / across * min(max(rows / columns, 0.25), 3) + 0.4)
    page.figure(
        draw(lambda figure: _plot_maps(figure, names, truth, survey.thumbnails, across), 8.0, height),
        "Brighter is more anomalous: the darker half of each map is black, its highest 0.1 % is brightest. Grey: not "
        f"evaluated.{size}",
    )  # fmt: skip
    page.heading("What was evaluated")
    page.table(
        [
            ["Anomalous pixels", str(survey.anomalies)],
            ["Objects that they form", "not counted" if survey.objects is None else str(survey.objects)],
            ["Background pixels", str(survey.background)],
            ["Random seed", str(seed)],
            *([name, version] for name, version in versions.items()),
        ]
    )
    page.heading("What the numbers mean")
    for text in _MEANINGS:
        page.paragraph(text)
    page.write(path)


def _cell(evaluation: Evaluation, measure: str) -> str:
    return _bounded(evaluation.values[measure], evaluation.intervals.get(measure))


def _difference(evaluation: Evaluation, reference: Evaluation, measure: str) -> str:
    replicates = evaluation.replicates[measure] - reference.replicates[measure]
    return _bounded(evaluation.values[measure] - reference.values[measure], interval(replicates), "+")


def _bounded(value: float, bounds: tuple[float, float] | None, sign: str = "") -> str:
    digits = f"{sign}.4f" if abs(value) < 10 else f"{sign}.1f"
    return f"{value:{digits}}" + (f" [{bounds[0]:{digits}},\u00a0{bounds[1]:{digits}}]" if bounds else "")


def _label(name: str) -> str:
    """A name for a figure: shortened, with the dollar signs of matplotlib's mathematics escaped."""
    return (name if len(name) <= 28 else f"{name[:16]}…{name[-11:]}").replace("$", r"\$")


def _plot_roc(figure: Figure, names: list[str], evaluations: list[Evaluation], background: int) -> None:
    axes = figure.add_subplot()
    left = min(10 ** np.floor(-np.log10(background)), 0.1)
    for index, (name, each) in enumerate(zip(names, evaluations)):
        alarms = np.maximum(each.false_alarms, left)
        # Evenly spaced along the drawn line, including both ends.
        length = np.cumsum(
            np.abs(np.diff(np.log10(alarms), prepend=np.log10(left))) / -np.log10(left) + np.abs(np.diff(each.detections, prepend=0))
        )
        kept = np.unique(np.append(np.searchsorted(length, np.linspace(0, length[-1], _POINTS)), length.size - 1).clip(0, length.size - 1))
        axes.plot(
            alarms[kept], each.detections[kept], color=COLOURS[index % len(COLOURS)], linestyle=_LINES[index // len(COLOURS) % len(_LINES)],
            linewidth=1.8, label=f"{_label(name)}, AUC {each.values['auc']:.4f}",
        )  # fmt: skip
    chance = np.geomspace(left, 1, 200)
    axes.plot(chance, chance, color="#999999", linewidth=1, linestyle=(0, (1, 2)), label="chance")
    axes.set(xscale="log", xlim=(left, 1), ylim=(0, 1.02), xlabel="false-alarm rate", ylabel="detection rate")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.legend(**_BESIDE)


def _plot_separability(figure: Figure, names: list[str], evaluations: list[Evaluation]) -> None:
    axes = figure.add_subplot()
    for offset, kind, colour in ((-0.2, "background", BACKGROUND), (0.2, "anomalies", ANOMALY)):
        boxes = [dict(zip(("whislo", "q1", "med", "q3", "whishi"), getattr(each, kind))) for each in evaluations]
        axes.bxp(
            boxes, positions=np.arange(len(names)) + offset, widths=0.3, showfliers=False, patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.75, "label": kind}, medianprops={"color": "black"},
            whiskerprops={"color": colour}, capprops={"color": colour},
        )  # fmt: skip
    axes.set_xticks(
        np.arange(len(names)),
        [_label(name) for name in names],
        rotation=0 if len(names) <= 4 else 30,
        ha="center" if len(names) <= 4 else "right",
    )
    axes.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, 1.02), ylabel="scaled score")
    axes.grid(True, axis="y", color="#dddddd", linewidth=0.6)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend([handles[labels.index(kind)] for kind in ("background", "anomalies")], ["background", "anomalies"], **_BESIDE)


def _plot_maps(figure: Figure, names: list[str], truth: str, thumbnails: np.ndarray, across: int) -> None:
    for index, (name, values) in enumerate(zip([*names, truth], thumbnails)):
        axes = figure.add_subplot(-(-len(thumbnails) // across), across, index + 1)
        show_map(axes, values, stretched=index < len(names))
        axes.set_title(_label(name if index < len(names) else f"ground truth: {truth}"), fontsize=8)
