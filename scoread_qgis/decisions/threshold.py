"""Thresholds above which a pixel counts as anomalous, without a model of the background (`tail` has one)."""

from __future__ import annotations

import numpy as np


def percentile_threshold(scores: np.ndarray, percentile: float) -> float:
    """The score below which `percentile` per cent of `scores`, (n,), lie; 0 < percentile < 100."""
    if not 0 < percentile < 100:
        raise ValueError(f"A percentile of {percentile:g} is impossible. Choose one between 0 and 100, such as 99.")
    return float(np.percentile(scores, percentile))


def otsu_threshold(scores: np.ndarray) -> float:
    """The largest score of the lower of two classes that `scores`, (n,), fall into with the largest variance between them.

    N. Otsu, A threshold selection method from gray-level histograms, IEEE Transactions on Systems, Man, and Cybernetics 9, 1979; here
    over the scores themselves, without a histogram. Raises ValueError where all scores are equal.
    """
    scores = np.sort(np.asarray(scores, dtype=np.float64))
    splits = np.flatnonzero(np.diff(scores))  # where one score ends and the next begins
    if splits.size == 0:
        raise ValueError("All scores are equal, so Otsu's method cannot split them into two classes. Give a value as threshold instead.")
    lower = np.cumsum(scores - scores.mean())[splits]  # centred, so that no digits are lost
    share = (splits + 1) / scores.size
    between = lower**2 / (share * (1 - share))  # variance between the classes, up to a factor
    return float(scores[splits[np.argmax(between)]])
