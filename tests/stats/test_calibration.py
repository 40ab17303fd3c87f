"""Calibration measures against plain loops, scikit-learn and exact decompositions."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.stats.calibration import (
    brier_decomposition,
    brier_score,
    expected_calibration_error,
    log_loss,
    multiclass_brier_score,
    multiclass_log_loss,
    reliability_table,
)

pytestmark = pytest.mark.feature("Q-28")

RNG = np.random.default_rng(4)
PROB = RNG.random(400)
OUTCOME = (RNG.random(400) < PROB).astype(float)


def test_scores_equal_scikit_learn():
    assert brier_score(PROB, OUTCOME) == pytest.approx(brier_score_loss(OUTCOME, PROB))
    assert log_loss(PROB, OUTCOME) == pytest.approx(sklearn_log_loss(OUTCOME, PROB))
    assert log_loss([0.0, 1.0], [1, 1]) == float("inf")
    assert log_loss([0.0, 1.0], [0, 1]) == 0.0


def loop_bins(prob, outcome, n_bins):
    """Members of each bin by comparison, one pair at a time."""
    bins = [[] for _ in range(n_bins)]
    for p, o in zip(prob, outcome, strict=True):
        for b in range(n_bins):
            last = b == n_bins - 1
            if b / n_bins <= p < (b + 1) / n_bins or (last and p == 1.0):
                bins[b].append((p, o))
                break
    return bins


@pytest.mark.parametrize("n_bins", [1, 4, 8])
def test_table_and_error_equal_the_plain_loop(n_bins):
    prob = np.concatenate([PROB, [0.0, 0.25, 0.5, 1.0, 1.0]])
    outcome = np.concatenate([OUTCOME, [0, 1, 0, 1, 0]])
    bins = loop_bins(prob, outcome, n_bins)
    table = reliability_table(prob, outcome, n_bins=n_bins)
    assert table["n_obs"].tolist() == [len(members) for members in bins]
    wanted = 0.0
    for members, mean_p, freq in zip(bins, table["mean_prob"], table["frequency"], strict=True):
        p = sum(m[0] for m in members) / len(members)
        o = sum(m[1] for m in members) / len(members)
        assert mean_p == pytest.approx(p)
        assert freq == pytest.approx(o)
        wanted += len(members) / len(prob) * abs(p - o)
    assert expected_calibration_error(prob, outcome, n_bins=n_bins) == pytest.approx(wanted)


def test_empty_bins_are_nan_and_weigh_nothing():
    table = reliability_table([0.05, 0.95], [0, 1], n_bins=10)
    assert table["mean_prob"].isna().sum() == 8
    assert expected_calibration_error([0.05, 0.95], [0, 1]) == pytest.approx(0.05)


@pytest.mark.parametrize("n_bins", [None, 3, 10])
def test_the_terms_add_up(n_bins):
    prob = PROB.round(1) if n_bins is None else PROB
    parts = brier_decomposition(prob, OUTCOME, n_bins=n_bins)
    total = parts.reliability - parts.resolution + parts.uncertainty
    total += parts.within_bin_variance - 2 * parts.within_bin_covariance
    assert total == pytest.approx(parts.brier, abs=1e-15)
    if n_bins is None:
        assert abs(parts.within_bin_variance) < 1e-30
        assert abs(parts.within_bin_covariance) < 1e-16


def test_a_calibrated_forecast_has_a_small_error_and_a_shifted_one_has_not():
    prob = RNG.random(20_000)
    outcome = RNG.random(20_000) < prob
    assert expected_calibration_error(prob, outcome) < 0.02
    shifted = np.clip(prob + 0.1, 0, 1)
    assert expected_calibration_error(shifted, outcome) > 0.08


def test_incomplete_pairs_are_left_out_and_counted():
    prob = np.concatenate([PROB, [np.nan, 0.3]])
    outcome = np.concatenate([OUTCOME, [1.0, np.nan]])
    assert brier_score(prob, outcome) == brier_score(PROB, OUTCOME)
    assert brier_decomposition(prob, outcome).n_obs == 400
    assert brier_score([True, False], [True, False]) == 0.0


def test_values_outside_their_range_are_refused():
    with pytest.raises(DataError, match="prob: wanted probabilities"):
        brier_score([1.2], [1])
    with pytest.raises(DataError, match="outcome: wanted 0 or 1"):
        brier_score([0.2], [0.5])
    with pytest.raises(EmptyDataError, match="complete pair"):
        brier_score([np.nan], [1])
    with pytest.raises(ConfigError, match="n_bins"):
        reliability_table(PROB, OUTCOME, n_bins=0)
    assert np.isnan(brier_decomposition([0.5, 0.6], [1, 1]).skill_score)


@pytest.mark.parametrize("edges", [[0.0, 0.1, 0.35, 1.0], [0.0, 1.0]])
def test_unequal_bins_equal_a_cut(edges):
    table = reliability_table(PROB, OUTCOME, edges=edges)
    cut = pd.cut(PROB, edges, right=False, labels=False, include_lowest=True)
    for number, row in enumerate(table.to_dict("records")):
        inside = cut == number
        assert row["n_obs"] == inside.sum()
        assert row["mean_prob"] == pytest.approx(PROB[inside].mean())
        assert row["frequency"] == pytest.approx(OUTCOME[inside].mean())
    parts = brier_decomposition(PROB, OUTCOME, edges=edges)
    total = parts.reliability - parts.resolution + parts.uncertainty
    total += parts.within_bin_variance - 2 * parts.within_bin_covariance
    assert total == pytest.approx(parts.brier, abs=1e-14)
    equal = expected_calibration_error(PROB, OUTCOME, edges=np.linspace(0, 1, 11))
    assert equal == expected_calibration_error(PROB, OUTCOME, n_bins=10)


@pytest.mark.parametrize("edges", [[0.0], [0.1, 1.0], [0.0, 0.9], [0.0, 0.5, 0.5, 1.0]])
def test_edges_rise_from_zero_to_one(edges):
    with pytest.raises(ConfigError, match="edges"):
        reliability_table(PROB, OUTCOME, edges=edges)


def test_class_scores_equal_scikit_learn_and_the_two_class_forms():
    prob = RNG.dirichlet([1.0, 1.0, 2.0], 200)
    outcome = RNG.integers(0, 3, 200)
    assert multiclass_log_loss(prob, outcome) == pytest.approx(sklearn_log_loss(outcome, prob))
    wanted = np.mean([((p - np.eye(3)[o]) ** 2).sum() for p, o in zip(prob, outcome, strict=True)])
    assert multiclass_brier_score(prob, outcome) == pytest.approx(wanted)
    two = np.column_stack([1 - PROB, PROB])
    assert multiclass_brier_score(two, OUTCOME) == pytest.approx(2 * brier_score(PROB, OUTCOME))
    assert multiclass_log_loss(two, OUTCOME) == pytest.approx(log_loss(PROB, OUTCOME))
    holes = np.vstack([prob, [np.nan, 0.5, 0.5]])
    assert multiclass_brier_score(holes, [*outcome, 0]) == multiclass_brier_score(prob, outcome)
    assert multiclass_log_loss([[1.0, 0.0]], [1]) == float("inf")


def test_class_probabilities_are_checked():
    for prob, outcome, part in (
        ([[0.5, 0.4]], [0], "add up to 1"),
        ([[1.5, -0.5]], [0], "probabilities"),
        ([[0.5, 0.5]], [2], "class number"),
        ([[0.5, 0.5]], [0.5], "class number"),
        ([[0.5, 0.5]], [0, 1], "shape"),
    ):
        with pytest.raises(DataError, match=part):
            multiclass_brier_score(prob, outcome)
    with pytest.raises(EmptyDataError):
        multiclass_log_loss([[np.nan, 1.0]], [0])
