"""The tail of the background: known distributions, anomalies among the scores, real scenes, and scores that cannot be fitted."""

import numpy as np
import pytest
from scipy import stats

from scoread_qgis.decisions.tail import Tail
from scoread_qgis.decisions.threshold import otsu_threshold, percentile_threshold

RATES = (1e-2, 1e-3)
BACKGROUNDS = {
    "t, 2 degrees of freedom": stats.t(2),
    "t, 5 degrees of freedom": stats.t(5),
    "lognormal": stats.lognorm(1),
    "Pareto": stats.pareto(1.5),
    "exponential": stats.expon(),
    "chi-square, 100": stats.chi2(100),
    "gamma": stats.gamma(0.5),
}


def obtained(background, tail):
    """False-alarm rates that a distribution has at the thresholds, over those asked for."""
    return np.array([background.sf(tail.threshold(rate)) / rate for rate in RATES])


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize("pixels", [20_000, 1_000_000])
def test_the_rate_obtained_is_the_rate_asked_for(name, pixels):
    scores = BACKGROUNDS[name].rvs(pixels, random_state=5)
    tail = Tail.fit(scores)
    assert tail.anomalous == 0
    ratios = obtained(BACKGROUNDS[name], tail)
    assert (ratios > 0.5).all() and (ratios < 2).all(), ratios
    if pixels == 1_000_000:
        np.testing.assert_allclose(ratios, 1, atol=0.15)


@pytest.mark.parametrize("share", [0.002, 0.01, 0.02])
@pytest.mark.parametrize("name", ["t, 5 degrees of freedom", "lognormal"])
def test_anomalies_far_up_do_not_lift_the_threshold(name, share):
    background, random = BACKGROUNDS[name], np.random.default_rng(1)
    scores = background.rvs(100_000, random_state=random)
    anomalies = background.isf(1e-4) * random.uniform(1, 3, int(share * scores.size))
    tail = Tail.fit(np.concatenate([scores, anomalies]))
    assert tail.anomalous == pytest.approx(share, rel=0.4)
    ratios = obtained(background, tail)
    assert 0.7 < ratios[0] < 1.5 and 0.25 < ratios[1] < 4, ratios


@pytest.mark.needs_data
@pytest.mark.parametrize("name", ["hydice", "abu-beach-1", "abu-beach-4", "sandiego"])
def test_real_scenes_without_their_anomalies(data, name):
    """RX of the real scenes: mixtures of materials, heavy tails, a bend."""
    from scoread_qgis.core.cube import ArrayCube
    from scoread_qgis.detectors.rx import GlobalRX
    from scoread_qgis.scenes.matlab import read_matlab

    scene = read_matlab(data / "scenes" / f"{name}.mat")
    scores = np.concatenate([rows for _, rows in GlobalRX().detect(ArrayCube(scene.cube))])[scene.truth == 0]
    tail = Tail.fit(scores)
    for rate in RATES:
        assert 0.5 < (scores > tail.threshold(rate)).mean() / rate < 2


@pytest.mark.needs_data
@pytest.mark.parametrize("name", ["abu-airport-1", "abu-beach-1", "sandiego"])
def test_real_scenes_without_their_anomalies_in_the_default_mode(data, name):
    from scoread_qgis.core.cube import ArrayCube
    from scoread_qgis.detectors.default_mode.sgm import SGM
    from scoread_qgis.scenes.matlab import read_matlab

    scene = read_matlab(data / "scenes" / f"{name}.mat")
    cube = ArrayCube(scene.cube)
    scores = np.concatenate([rows for _, rows in SGM.train([cube], seed=0).detect(cube)])[scene.truth == 0]
    tail = Tail.fit(scores)
    for rate in RATES:
        # Where the fit takes some unlabelled pixels for anomalies (0.4 % of abu-airport-1), they are no false alarms of its background.
        assert 0.5 < ((scores > tail.threshold(rate)).mean() - tail.anomalous) / rate < 2


def test_the_fit_is_that_of_scipy():
    """The same exceedances, fitted by scipy's maximum likelihood."""
    scores = stats.lognorm(1).rvs(50_000, random_state=2)
    tail = Tail.fit(scores)
    shape, _, scale = stats.genpareto.fit(scores[scores > tail.start] - tail.start, floc=0)
    assert tail.shape == pytest.approx(shape, abs=0.02)
    assert tail.scale == pytest.approx(scale, rel=0.02)
    places = tail.start + np.array([0.1, 1, 5, 50])
    expected = tail.fraction * stats.genpareto(tail.shape, tail.start, tail.scale).sf(places)
    np.testing.assert_allclose(tail.p_value(places), expected, rtol=1e-9)


@pytest.mark.parametrize("background", [stats.norm(), stats.expon(), stats.t(3), stats.uniform()])
def test_p_values_are_a_survival_function_without_zeros(background):
    tail = Tail.fit(background.rvs(20_000, random_state=3))
    scores = np.sort(np.concatenate([background.rvs(500, random_state=4), background.ppf([1e-9, 1 - 1e-9]), [-1e6, 50, 1e4, 1e30]]))
    p = tail.p_value(scores)
    assert (p > 0).all() and (p <= 1).all()
    assert (np.diff(p) <= 0).all()
    inner = scores[(scores > background.ppf(0.01)) & (scores < background.ppf(0.99))]
    np.testing.assert_allclose(tail.p_value(inner), background.sf(inner), atol=0.02)
    for rate in (0.5, 0.1, 0.021, 0.019, 1e-3, 1e-5, 1e-9):
        assert tail.p_value(tail.threshold(rate)) == pytest.approx(rate, rel=1e-6)


def test_scores_may_have_any_unit():
    scores = stats.gamma(2).rvs(20_000, random_state=6)
    tail, other = Tail.fit(scores), Tail.fit(1e6 * scores - 5e7)
    assert other.threshold(1e-3) == pytest.approx(1e6 * tail.threshold(1e-3) - 5e7, rel=1e-4)


def test_integer_scores():
    scores = np.round(100 * stats.lognorm(1).rvs(50_000, random_state=7))
    tail = Tail.fit(scores)
    for rate in RATES:
        assert 0.5 < (scores > tail.threshold(rate)).mean() / rate < 2


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.arange(300.0), "needs at least 500 scored pixels; there are 300. Use a percentile or a value"),
        (np.full(5000, 3.0), "only 0 different values"),
        (np.random.default_rng(0).integers(0, 12, 5000), "different values, too few for a fit"),
    ],
)
def test_scores_that_cannot_be_fitted(scores, message):
    with pytest.raises(ValueError, match=message):
        Tail.fit(scores)


@pytest.mark.parametrize("rate", [0, 1, -1, float("nan")])
def test_impossible_rates(rate):
    tail = Tail.fit(np.random.default_rng(0).random(1000))
    with pytest.raises(ValueError, match="Choose one between 0 and 1"):
        tail.threshold(rate)
    with pytest.raises(ValueError, match="Choose one between 0 and 100"):
        percentile_threshold(np.arange(9.0), 100 * rate)


def test_percentile():
    assert percentile_threshold(np.arange(101.0), 90) == 90


def test_otsu_is_the_best_of_all_splits():
    random = np.random.default_rng(8)
    scores = np.concatenate([random.normal(0, 1, 300), random.normal(9, 2, 60)]).round(1)

    def within(threshold):
        classes = scores[scores <= threshold], scores[scores > threshold]
        return sum(part.size * part.var() for part in classes if part.size)

    threshold = otsu_threshold(scores)
    assert within(threshold) == pytest.approx(min(within(value) for value in scores))
    assert 2 < threshold < 6
    with pytest.raises(ValueError, match="All scores are equal"):
        otsu_threshold(np.ones(5))
