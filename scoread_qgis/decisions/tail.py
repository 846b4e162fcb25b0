"""The upper tail of the background's scores: the score that the background exceeds at a given rate, estimated from scores that include
anomalies.

Peaks over threshold: above a high score the exceedances follow a generalised Pareto distribution, whatever the distribution of the
whole (J. Pickands, Statistical inference using extreme order statistics, Annals of Statistics 3, 1975; S. Coles, An Introduction to
Statistical Modeling of Extreme Values, Springer 2001, chapter 4). A map also has anomalies, which would make the tail look heavy. They
are modelled by a second component, uniform from an onset to the highest score, kept only where the evidence is very strong: where
Bayes' information criterion falls by more than 10 (R. E. Kass and A. E. Raftery, Bayes factors, JASA 90, 1995, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.progress import Progress

# Share of the background that the Pareto distribution describes. Real backgrounds are mixtures of materials, and bend below.
_TAIL = 0.02
_SEARCHED = 0.1  # share of the map that is searched for anomalies
_FEWEST = 50  # exceedances that a fit needs
_MOST = 2000  # exceedances that a fit uses, evenly spaced in rank; a component that these do not show does not matter
_VERY_STRONG = 10.0  # fall of the information criterion
_SHAPES = (-0.99, 2.0)  # at -1 and below the likelihood has no maximum
_BULK = 1001  # quantiles that describe the scores below the tail


@dataclass(frozen=True)
class Tail:
    """Survival function of the background's scores.

    start: score from which on the generalised Pareto distribution holds. fraction: share of the background above it. scale, shape: of that
    distribution. anomalous: share of all scores that the fit attributes to anomalies. count: scores that were fitted.
    bulk: evenly spaced quantiles of the scores up to `start`, which describe the rest.
    """

    start: float
    fraction: float
    scale: float
    shape: float
    anomalous: float
    count: int
    bulk: np.ndarray

    @classmethod
    def fit(cls, scores: np.ndarray, progress: Progress | None = None) -> Tail:
        """Fit the background of `scores`, (n,): all scores of a map or a random sample of them, anomalies included.

        Raises ValueError where the scores are too few or too equal for a fit.
        """
        progress = progress or Progress()
        progress(0.0, "fitting the tail of the background")
        scores = np.sort(np.asarray(scores, dtype=np.float64).ravel())
        needed = round(_FEWEST / _SEARCHED)
        if scores.size < needed:
            raise ValueError(
                f"A fit of the tail needs at least {needed} scored pixels; there are {scores.size}. Use a percentile or a value instead."
            )
        searched = _exceedances(scores, _SEARCHED)
        found = _fit_with_anomalies(searched, 5 / min(searched.size, _MOST), 0.8, progress.part(0.0, 0.5))
        anomalous = found[2] * searched.size / scores.size if found else 0.0
        tail = max(_TAIL, min(_SEARCHED, 4 * _FEWEST / scores.size))
        if anomalous:
            exceedances = _exceedances(scores, min(tail + anomalous, 0.5))
            share = anomalous * scores.size / exceedances.size
            found = _fit_with_anomalies(
                exceedances, share / 2, min(2 * share, 0.95), progress.part(0.5, 1.0)
            )  # the same anomalies, more precisely
        if not anomalous or not found:
            exceedances = _exceedances(scores, tail)
            found = (*_fit_pareto(exceedances)[:2], 0.0)
        scale, shape, share = found
        beyond = exceedances.size
        return cls(
            start=float(scores[-beyond] - exceedances[0]),
            fraction=beyond * (1 - share) / (scores.size - beyond * share),
            scale=float(scale),
            shape=float(shape),
            anomalous=float(share * beyond / scores.size),
            count=scores.size,
            bulk=np.quantile(scores[:-beyond], np.linspace(0, 1, _BULK)),
        )

    def log_survival(self, scores: np.ndarray | float) -> np.ndarray:
        """Natural logarithm of the probability that a pixel of the background scores higher; -inf only at infinity."""
        scores = np.asarray(scores, dtype=np.float64)
        below = np.interp(scores, self.bulk, np.linspace(0, 1, self.bulk.size)) * (1 - self.fraction)
        excess = np.maximum(scores - self.start, 0.0)
        last, level, hazard = self._last()
        above = np.log(self.fraction) + _log_survival(np.minimum(excess, last), self.scale, self.shape)
        above = np.where(excess > last, level - hazard * (excess - np.minimum(last, excess)), above)
        return np.where(scores < self.start, np.log1p(-below), above)

    def p_value(self, scores: np.ndarray | float) -> np.ndarray:
        """Probability that a pixel of the background scores higher than each of `scores`; never 0 for a finite score."""
        return np.exp(np.maximum(self.log_survival(scores), np.log(np.finfo(np.float64).tiny)))

    def threshold(self, rate: float) -> float:
        """The score that a share `rate` of the background exceeds, 0 < rate < 1: the false-alarm rate at this threshold."""
        if not 0 < rate < 1:
            raise ValueError(f"A false-alarm rate of {rate:g} is impossible. Choose one between 0 and 1, such as 0.001.")
        if rate > self.fraction:
            return float(np.interp((1 - rate) / (1 - self.fraction), np.linspace(0, 1, self.bulk.size), self.bulk))
        last, level, hazard = self._last()
        if np.log(rate) < level:
            return float(self.start + last + (level - np.log(rate)) / hazard)
        odds = np.log(self.fraction / rate)
        return float(self.start + self.scale * (odds if self.shape == 0 else np.expm1(self.shape * odds) / self.shape))

    def _last(self) -> tuple[float, float, float]:
        """Excess beyond which a tail with an end is continued exponentially, with its logarithmic survival and hazard rate there.

        A negative shape implies a highest possible score, which the data cannot determine: past the score that one pixel in all is
        expected to exceed, the logarithm of the survival goes on along its tangent, which lies above it.
        """
        if self.shape >= 0:
            return np.inf, -np.inf, 0.0
        level = min(-np.log(self.count), np.log(self.fraction))
        last = self.scale * np.expm1(self.shape * (np.log(self.fraction) - level)) / self.shape
        return last, level, 1 / (self.scale + self.shape * last)


def _exceedances(scores: np.ndarray, share: float) -> np.ndarray:
    """By how much the highest `share` of the sorted `scores` exceed the highest of the others, sorted."""
    start = scores[scores.size - round(share * scores.size) - 1]
    exceedances = scores[np.searchsorted(scores, start, side="right") :] - start
    if np.unique(exceedances).size < _FEWEST // 2:
        raise ValueError(
            f"The highest {share:.0%} of the scores have only {np.unique(exceedances).size} different values, too few for a fit of the "
            "tail. Use a percentile or a value instead."
        )
    return exceedances


def _log_survival(excess: np.ndarray, scale: float, shape: float) -> np.ndarray:
    """Logarithm of the generalised Pareto survival function; -inf beyond its end."""
    if abs(shape) < 1e-9:
        return -excess / scale
    with np.errstate(divide="ignore"):
        return -np.log1p(np.maximum(shape * excess / scale, -1.0)) / shape


def _log_density(excess: np.ndarray, scale: float, shape: float) -> np.ndarray:
    return _log_survival(excess, scale, shape) * (1 + shape) - np.log(scale)


def _thinned(exceedances: np.ndarray) -> tuple[np.ndarray, float]:
    """At most `_MOST` of the sorted exceedances, evenly spaced in rank and divided by a unit, and that unit."""
    if exceedances.size > _MOST:
        exceedances = exceedances[((np.arange(_MOST) + 0.5) * exceedances.size / _MOST).astype(int)]
    unit = np.median(exceedances)
    return exceedances / unit, unit


def _fit_pareto(exceedances: np.ndarray) -> tuple[float, float, float]:
    """Scale, shape and log-likelihood of the generalised Pareto distribution, by maximum likelihood."""
    from scipy.optimize import minimize

    excess, unit = _thinned(exceedances)

    def loss(parameters: np.ndarray) -> float:
        shape = np.clip(parameters[1], *_SHAPES)
        return _bounded(-_log_density(excess, np.exp(parameters[0]), shape).sum(), parameters[1] - shape)

    found = minimize(loss, [0.3, 0.1], method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-4})
    return np.exp(found.x[0]) * unit, float(np.clip(found.x[1], *_SHAPES)), -found.fun


def _fit_with_anomalies(exceedances: np.ndarray, fewest: float, most: float, progress: Progress) -> tuple[float, float, float] | None:
    """Scale, shape and the share of anomalies of a Pareto distribution with anomalies; None without evidence of anomalies.

    fewest, most: share of the exceedances that lie above the onset of the anomalies.
    """
    from scipy.optimize import minimize

    excess, unit = _thinned(exceedances)
    count = excess.size

    best, best_loss = None, -_fit_pareto(exceedances)[2] - (2 * np.log(count) + _VERY_STRONG) / 2  # two more parameters
    ranks = np.unique(np.maximum(np.geomspace(fewest, most, 64) * count, 2).astype(int))
    for step, rank in enumerate(ranks):  # the likelihood has many narrow peaks along the onset
        progress(step / ranks.size, "fitting the tail of the background")
        onset = excess[-rank]
        if excess[-1] <= onset:
            continue
        density = -np.log(excess[-1] - onset)

        def loss(parameters: np.ndarray, rank: int = rank, density: float = density) -> float:
            shape, share = np.clip(parameters[1], *_SHAPES), 1 / (1 + np.exp(-parameters[2]))
            logs = np.log1p(-share) + _log_density(excess, np.exp(parameters[0]), shape)
            logs[-rank:] = np.logaddexp(logs[-rank:], np.log(share) + density)
            return _bounded(-logs.sum(), parameters[1] - shape)

        start = [0.3, 0.1, np.log(rank / (2 * count - rank))]
        found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-2})
        if found.fun < best_loss:
            best, best_loss = found.x, found.fun
    if best is None:
        return None
    return np.exp(best[0]) * unit, float(np.clip(best[1], *_SHAPES)), 1 / (1 + np.exp(-best[2]))


def _bounded(loss: float, outside: float) -> float:
    """A loss that the optimiser can compare: finite, and larger the further the shape lies out of its bounds."""
    return (loss if np.isfinite(loss) else 1e12) + 1e3 * abs(outside)
