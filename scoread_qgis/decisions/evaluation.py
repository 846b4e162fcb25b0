"""The quality of an anomaly map against ground truth: ROC, average precision, the 3-D ROC family, and bootstrap intervals.

P_D(tau) and P_F(tau) are the detection and the false-alarm rate: the shares of the anomalous and of the background pixels that score tau or
more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.progress import Progress

FALSE_ALARM_RATES = (1e-4, 1e-3, 1e-2, 1e-1)
# What `evaluate` measures, name -> label. Larger is better, except for AUC(F,tau).
MEASURES = {
    "auc": "AUC-ROC, AUC(D,F)",
    "average_precision": "Average precision",
    **{f"pd_at_{rate:g}": f"Pd at {rate:.0e}".replace("e-0", "e-") for rate in FALSE_ALARM_RATES},
    "auc_d_tau": "AUC(D,τ)",
    "auc_f_tau": "AUC(F,τ)",
    "td": "AUC-TD",
    "bs": "AUC-BS",
    "tdbs": "AUC-TDBS",
    "od": "AUC-OD",
    "odp": "AUC-ODP",
    "snpr": "AUC-SNPR",
}
SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)  # of the pixels, for the separability boxes
REPLICATES = 500
_LEVEL = 0.95


@dataclass(frozen=True)
class Evaluation:
    """The measures of one map.

    values: measure -> number, the keys of `MEASURES`. intervals: measure -> (low, high), 95 %; empty where there is none.
    replicates: measure -> (REPLICATES,) values of the bootstrap, for differences between maps; empty where there is none.
    false_alarms, detections: the ROC curve, from (0, 0) to (1, 1), at the scores of anomalies and after the gaps between them.
    background, anomalies: (5,) scaled scores that the `SHARES` of the pixels stay below.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    replicates: dict[str, np.ndarray]
    false_alarms: np.ndarray
    detections: np.ndarray
    background: np.ndarray
    anomalies: np.ndarray


def roc_curve(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Receiver operating characteristic, one point for each distinct score: false_alarms, detections and thresholds, each (distinct + 1,).

    truth: (n,) bool. scores: (n,) larger is more anomalous. weights: (n,) of the pixels, or None for all 1. The first point is (0, 0), with
    the threshold infinity. Same as scikit-learn's `roc_curve` with `drop_intermediate=False`.
    """
    anomalies, background, thresholds = _tally(truth, scores, weights)
    return _rates(background), _rates(anomalies), np.concatenate([[np.inf], thresholds])


def average_precision(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean of the precision over the anomalous pixels, as scikit-learn's `average_precision_score`. Parameters: as for `roc_curve`."""
    return _average_precision(*_tally(truth, scores, weights)[:2])


def three_d_roc(auc: float, detection_tau: float, false_alarm_tau: float) -> dict[str, float]:
    """The 3-D ROC family of a detector from its three areas, as a dictionary.

    With P_D and P_F as curves over the threshold tau, where scores are scaled to 0..1 over the map:

    - AUC(D,F), `auc`: area under P_D over P_F, the usual AUC.
    - AUC(D,tau), `auc_d_tau`: area under P_D over tau; how strongly anomalies score. 1 is best.
    - AUC(F,tau), `auc_f_tau`: area under P_F over tau; how strongly the background scores. 0 is best.
    - target detectability, TD = AUC(D,F) + AUC(D,tau)
    - background suppressibility, BS = AUC(D,F) - AUC(F,tau)
    - target detectability with background suppressibility, TDBS = AUC(D,tau) - AUC(F,tau)
    - overall detection, OD = AUC(D,F) + AUC(D,tau) - AUC(F,tau)
    - overall detection probability, ODP = AUC(D,tau) + (1 - AUC(F,tau)); some published code prints OD under this name
    - signal-to-noise probability ratio, SNPR = AUC(D,tau) / AUC(F,tau)

    All except AUC(D,F) change when scores are transformed without changing their order: they compare maps of one kind, and a single bright
    pixel lowers them all by stretching the scale.

    Source: C.-I Chang, "An effective evaluation tool for hyperspectral target detection: 3D receiver operating characteristic curve
    analysis", IEEE TGRS 59(6), 2021, doi 10.1109/TGRS.2020.3021671.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        snpr = np.divide(detection_tau, false_alarm_tau)
    return {
        "auc_d_tau": detection_tau,
        "auc_f_tau": false_alarm_tau,
        "td": auc + detection_tau,
        "bs": auc - false_alarm_tau,
        "tdbs": detection_tau - false_alarm_tau,
        "od": auc + detection_tau - false_alarm_tau,
        "odp": detection_tau + (1 - false_alarm_tau),
        "snpr": snpr,
    }


def evaluate(
    truth: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    scale: tuple[float, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate the scores of one map: an `Evaluation`.

    truth: (n,) bool, at least one of each kind. scores: (n,) finite. weights: (n,) or None, where the pixels are a sample.
    groups: (n,) int, the object or the tile of the background that a pixel belongs to (see `objects` and `tiles`), for intervals; None for
    no intervals. scale: (lowest, highest) score of the map, by default those of `scores`. seed: of the bootstrap. progress: `Progress` or
    None.

    The detection rate at a false-alarm rate is that of the lowest threshold which keeps to the rate. AUC(D,tau) and AUC(F,tau) are means of
    the scaled scores, since the area under the share of pixels that reach tau is their mean: exact, without a step of tau.

    Intervals: percentiles of a bootstrap that draws whole groups, anomalies and background each among their own (stratified), with the same
    draws for every map of the same groups. Pixels of one object are detected or missed together, and background is similar over many
    pixels: drawn one by one, they would give intervals several times too narrow. The intervals show how the numbers would vary with other
    objects and other background of this kind, with the same detector and scale. In simulations with independent objects, the 95 % interval
    of the AUC held the true value in 96 % of the cases with 30 objects, 86 % with 10, 73 % with 5 (drawn by pixels: 48 %, 39 %, 40 %), so
    that they are rough below about ten objects. There are none where the anomalies or the background form only one group. An
    interval that ends at a perfect value only means that no error was seen.
    """
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    weights = np.ones(truth.size) if weights is None else np.asarray(weights, np.float64)
    low, high = scale or (scores.min(), scores.max())
    scaled = (scores - low) / (high - low) if high > low else np.zeros_like(scores)
    cells, count = _cells(truth, scores)
    anomalies, background = classes = [
        _Class(cells[kind], count, weights[kind], scaled[kind], None if groups is None else np.asarray(groups)[kind])
        for kind in (truth, ~truth)
    ]
    drawn = {}
    if groups is not None and min(each.groups for each in classes) > 1:
        random, rows = np.random.default_rng(seed), []
        for index in range(REPLICATES):
            if progress is not None:
                progress(index / REPLICATES, f"bootstrap, {index} of {REPLICATES}")
            draws = [random.multinomial(each.groups, np.full(each.groups, 1 / each.groups)) for each in classes]
            rows.append(_measures(anomalies, background, *draws))
        drawn = {name: np.array([row[name] for row in rows]) for name in MEASURES}
    once = [np.ones(each.groups) for each in classes]
    return Evaluation(
        {name: float(value) for name, value in _measures(anomalies, background, *once).items()},
        {name: interval(values) for name, values in drawn.items()},
        drawn,
        *(_rates(each.matrix @ times) for each, times in zip(reversed(classes), reversed(once))),
        *(_quantiles(scaled[kind], weights[kind]) for kind in (~truth, truth)),
    )


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """(low, high) of the middle 95 % of bootstrap replicates."""
    tail = (1 - _LEVEL) / 2 * (len(replicates) - 1)
    low, high = np.sort(replicates)[[int(np.floor(tail)), int(np.ceil(len(replicates) - 1 - tail))]]
    return float(low), float(high)


def objects(positions: np.ndarray, columns: int) -> np.ndarray:
    """Number of the object that each anomalous pixel belongs to, (n,) int from 0: pixels that touch, also at a corner, are one object.

    positions: (n, 2) int, row and column. columns: of the map. Needs memory for these pixels alone, not for the map.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    width = columns + 1  # one more, so that the last column does not touch the first
    index = positions[:, 0].astype(np.int64) * width + positions[:, 1]
    order = np.argsort(index)
    ordered = index[order]
    pairs = []
    for step in (1, width - 1, width, width + 1):
        place = np.minimum(np.searchsorted(ordered, ordered + step), len(ordered) - 1)
        touching = np.nonzero(ordered[place] == ordered + step)[0]
        pairs.append((order[touching], order[place[touching]]))
    first, second = (np.concatenate(ends) for ends in zip(*pairs))
    graph = coo_matrix((np.ones(first.size, bool), (first, second)), shape=(len(index), len(index)))
    return connected_components(graph, directed=False)[1]


def tiles(positions: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Number of the square tile that each pixel lies in, (n,) int; about a hundred tiles make the map.

    Large enough for neighbours to be similar within a tile and little correlated across tiles, small enough for the bootstrap to have many.
    """
    side = int(np.ceil(np.sqrt(rows * columns / 100)))
    return positions[:, 0] // side * -(-columns // side) + positions[:, 1] // side


class _Class:
    """The pixels of a class, summed by group and cell, so that a draw of groups costs little.

    matrix: (cells, groups) sum of weights. scaled, weights: (groups,) sums of weighted scaled scores and of weights.
    """

    def __init__(self, cells: np.ndarray, count: int, weights: np.ndarray, scaled: np.ndarray, groups: np.ndarray | None) -> None:
        from scipy.sparse import coo_matrix

        groups = np.zeros(cells.size, np.intp) if groups is None else np.unique(groups, return_inverse=True)[1]
        self.groups = int(groups.max()) + 1
        self.matrix = coo_matrix((weights, (cells, groups)), shape=(count, self.groups)).tocsr()
        self.scaled = np.bincount(groups, weights * scaled, self.groups)
        self.weights = np.bincount(groups, weights, self.groups)


def _cells(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, int]:
    """Cell of each pixel, from the highest score down, and the number of cells: the scores of anomalies, and the gaps between them.

    Where in a gap a background pixel lies changes no area and no rate, so that a map of millions of pixels becomes a short table, exactly.
    """
    marks = np.unique(scores[truth])
    place = np.searchsorted(marks, scores)
    equal = marks[np.minimum(place, marks.size - 1)] == scores
    return 2 * marks.size - (2 * place + equal), 2 * marks.size + 1


def _measures(anomalies: _Class, background: _Class, anomaly_times: np.ndarray, background_times: np.ndarray) -> dict[str, float]:
    """All `MEASURES`, each group of the two classes taken the given number of times."""
    detected, alarmed = anomalies.matrix @ anomaly_times, background.matrix @ background_times
    auc = _area(detected, alarmed)
    detections, false_alarms = _rates(detected), _rates(alarmed)
    found = {
        # Rates are sums of weights: one rounding error above the limit is still within it.
        f"pd_at_{rate:g}": detections[np.searchsorted(false_alarms, rate * (1 + 1e-9), side="right") - 1]
        for rate in FALSE_ALARM_RATES
    }
    areas = [each.scaled @ times / (each.weights @ times) for each, times in ((anomalies, anomaly_times), (background, background_times))]
    return {"auc": auc, "average_precision": _average_precision(detected, alarmed), **found, **three_d_roc(auc, *areas)}


def _tally(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight of the anomalies and of the background at each distinct score, from the highest down, and these scores."""
    truth, scores = np.asarray(truth, bool), np.asarray(scores)
    weights = np.ones(truth.size) if weights is None else np.asarray(weights, np.float64)
    distinct, place = np.unique(scores, return_inverse=True)
    anomalies, background = (np.bincount(place[kind], weights[kind], distinct.size)[::-1] for kind in (truth, ~truth))
    return anomalies, background, distinct[::-1]


def _rates(tally: np.ndarray) -> np.ndarray:
    """Share of a class that is found at each threshold, from 0 at infinity to 1."""
    summed = np.concatenate([[0.0], np.cumsum(tally)])
    return summed / summed[-1]


def _area(anomalies: np.ndarray, background: np.ndarray) -> float:
    detections, false_alarms = _rates(anomalies), _rates(background)
    return np.diff(false_alarms) @ (detections[1:] + detections[:-1]) / 2


def _average_precision(anomalies: np.ndarray, background: np.ndarray) -> float:
    at = anomalies > 0
    found, alarms = np.cumsum(anomalies), np.cumsum(background)
    return anomalies[at] @ (found[at] / (found[at] + alarms[at])) / found[-1]


def _quantiles(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The values that the `SHARES` of the weight stay below."""
    order = np.argsort(values)
    summed = np.cumsum(weights[order])
    place = np.searchsorted(summed, np.array(SHARES) * summed[-1])
    return values[order][np.minimum(place, values.size - 1)]
