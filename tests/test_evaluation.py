"""The measures of an evaluation: against scikit-learn, closed forms, known values and known intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.ndimage import label
from scipy.stats import norm
from sklearn import metrics

from scoread_qgis.decisions import evaluation
from scoread_qgis.decisions.evaluation import (
    FALSE_ALARM_RATES,
    MEASURES,
    REPLICATES,
    average_precision,
    evaluate,
    objects,
    roc_curve,
    tiles,
)


@st.composite
def judged_scores(draw):
    """Truth, scores with ties, and weights or None."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    count = draw(st.integers(2, 300))
    truth = random.random(count) < draw(st.sampled_from([0.02, 0.3, 0.9]))
    truth[:2] = True, False
    scores = np.round(random.normal(size=count) + truth * draw(st.floats(-1, 3)), draw(st.integers(0, 3)))
    return truth, scores, random.random(count) + 0.01 if draw(st.booleans()) else None


@settings(deadline=None, max_examples=60)
@given(judged_scores())
def test_roc_and_average_precision_are_those_of_scikit_learn(judged):
    truth, scores, weights = judged
    for ours, theirs in zip(roc_curve(*judged), metrics.roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    auc = metrics.roc_auc_score(truth, scores, sample_weight=weights)
    precision = metrics.average_precision_score(truth, scores, sample_weight=weights)
    values = evaluate(truth, scores, weights).values
    assert values["auc"] == pytest.approx(auc, abs=1e-12)
    np.testing.assert_allclose([average_precision(*judged), values["average_precision"]], precision, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(judged_scores())
def test_detection_rates_are_those_of_the_whole_curve(judged):
    false_alarms, detections, _ = roc_curve(*judged)
    values = evaluate(*judged).values
    for rate in FALSE_ALARM_RATES:
        assert values[f"pd_at_{rate:g}"] == pytest.approx(detections[false_alarms <= rate * (1 + 1e-9)].max())


def test_three_d_family_of_a_small_map_by_hand():
    truth = np.array([True, True, False, False, False, False])
    scores = np.array([10.0, 5.0, 6.0, 2.0, 0.0, 0.0])  # scaled: 1, .5 against .6, .2, 0, 0
    values = evaluate(truth, scores).values
    expected = {
        "auc": 7 / 8,
        "auc_d_tau": 0.75,
        "auc_f_tau": 0.2,
        "td": 1.625,
        "bs": 0.675,
        "tdbs": 0.55,
        "od": 1.425,
        "odp": 1.55,
        "snpr": 3.75,
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    assert set(values) == set(MEASURES)


def test_areas_over_the_threshold_are_those_of_the_curves():
    """AUC(D,tau) and AUC(F,tau) are means of scores; here the curves themselves are integrated."""
    random = np.random.default_rng(4)
    truth = random.random(4000) < 0.05
    scores = random.gamma(2, size=4000) + 3 * truth
    values = evaluate(truth, scores).values
    scaled = (scores - scores.min()) / np.ptp(scores)
    tau = np.linspace(0, 1, 20_001)
    for name, kind in (("auc_d_tau", truth), ("auc_f_tau", ~truth)):
        reached = 1 - np.searchsorted(np.sort(scaled[kind]), tau) / np.count_nonzero(kind)
        assert values[name] == pytest.approx(trapezoid(reached, tau), abs=1e-4)


def test_scores_count_by_their_place_on_the_scale_of_the_whole_map():
    truth, scores = np.array([True, False]), np.array([3.0, 1.0])
    values = evaluate(truth, scores, scale=(0.0, 4.0)).values
    assert (values["auc_d_tau"], values["auc_f_tau"]) == (0.75, 0.25)


def test_background_of_nothing_has_infinite_contrast():
    assert evaluate(np.array([True, False]), np.array([1.0, 0.0])).values["snpr"] == np.inf


def test_sampled_background_with_weights_stands_for_the_whole():
    random = np.random.default_rng(0)
    truth = np.arange(400_000) < 400
    scores = random.normal(size=truth.size) + 3 * truth
    drawn = truth | (random.random(truth.size) < 0.2)
    weights = np.where(truth, 1.0, np.count_nonzero(~truth) / np.count_nonzero(drawn & ~truth))
    scale = (scores.min(), scores.max())
    whole, sample = evaluate(truth, scores).values, evaluate(truth[drawn], scores[drawn], weights[drawn], scale=scale).values
    for name in MEASURES:
        assert sample[name] == pytest.approx(whole[name], rel=0.03, abs=0.03), name
    unweighted = evaluate(truth[drawn], scores[drawn]).values
    assert unweighted["average_precision"] > 1.2 * whole["average_precision"], "which is what the weights are for"


def test_objects_are_the_connected_regions():
    random = np.random.default_rng(1)
    truth = random.random((60, 47)) < 0.2
    positions = np.argwhere(truth)
    shuffled = random.permutation(len(positions))
    ours = objects(positions[shuffled], 47)
    theirs, count = label(truth, np.ones((3, 3)))
    assert ours.max() + 1 == count
    assert len({*zip(ours, theirs[tuple(positions[shuffled].T)])}) == count, "one number each"
    edges = np.array([[0, 46], [1, 0]])  # next to each other in memory, far from each other on the map
    assert len(set(objects(edges, 47))) == 2


def test_tiles_are_about_a_hundred_squares():
    positions = np.argwhere(np.ones((200, 50)))
    numbers = tiles(positions, 200, 50).reshape(200, 50)
    assert len(np.unique(numbers)) == 100
    assert (numbers[:10, :10] == numbers[0, 0]).all()
    assert numbers[10, 0] != numbers[0, 0] != numbers[0, 10]


def simulated(random, objects_, pixels=9):
    """Objects whose pixels score alike, and independent background: truth, scores and groups."""
    level = random.normal(1.5, 1, objects_)
    scores = np.concatenate([np.repeat(level, pixels), random.normal(size=4000)])
    truth = np.arange(scores.size) < objects_ * pixels
    return truth, scores, np.concatenate([np.repeat(np.arange(objects_), pixels), np.arange(4000) // 40])


def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch):
    """Known AUC of two normal distributions. Pixels drawn one by one, instead of objects, would promise too much."""
    monkeypatch.setattr(evaluation, "REPLICATES", 120)  # for speed
    true_auc = norm.cdf(1.5 / np.sqrt(2))
    random = np.random.default_rng(0)
    held = {"objects": 0, "pixels": 0}
    for seed in range(50):
        truth, scores, groups = simulated(random, 30)
        for name, of in (("objects", groups), ("pixels", np.arange(truth.size))):
            low, high = evaluate(truth, scores, groups=of, seed=seed).intervals["auc"]
            held[name] += low <= true_auc <= high
    assert held["objects"] >= 43
    assert held["pixels"] < 35


def test_replicates_follow_the_seed_and_are_shared_between_maps():
    random = np.random.default_rng(5)
    truth, scores, groups = simulated(random, 12)
    one, again, other = (evaluate(truth, scores, groups=groups, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.replicates["auc"], again.replicates["auc"])
    assert not np.array_equal(one.replicates["auc"], other.replicates["auc"])
    assert all(len(values) == REPLICATES for values in one.replicates.values())
    same_order = evaluate(truth, np.exp(scores), groups=groups, seed=1)
    np.testing.assert_allclose(same_order.replicates["auc"], one.replicates["auc"], err_msg="the same draws for every map")
    for name, (low, high) in one.intervals.items():
        assert low <= one.values[name] <= high, name


def test_one_object_gives_no_interval():
    truth, scores, groups = simulated(np.random.default_rng(0), 1)
    assert evaluate(truth, scores, groups=groups).intervals == {}
    assert evaluate(truth, scores).intervals == {}


def test_separability_boxes_are_quantiles():
    random = np.random.default_rng(2)
    truth = random.random(5001) < 0.3
    scores = random.normal(size=5001) + truth
    boxed = evaluate(truth, scores)
    scaled = (scores - scores.min()) / np.ptp(scores)
    for boxes, kind in ((boxed.background, ~truth), (boxed.anomalies, truth)):
        np.testing.assert_allclose(boxes, np.quantile(scaled[kind], [0, 0.1, 0.5, 0.9, 1]), atol=2e-3)


@pytest.mark.needs_data
def test_map_of_the_scoread_authors(data):
    """Their AUC on HYDICE, as published with their map."""
    from scipy.io import loadmat

    scores = loadmat(data / "reference" / "scoread_hydice_score_map.mat")["SAD_result"].ravel()
    truth = loadmat(data / "scenes" / "hydice.mat")["map"].ravel() > 0
    assert evaluate(truth, scores).values["auc"] == pytest.approx(0.99960, abs=5e-6)
