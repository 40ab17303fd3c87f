"""Scores of distributions against integrals, double sums and simulation."""

from itertools import pairwise
from math import isnan

import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.integrate import quad

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.crps import (
    crps_ensemble,
    crps_gaussian,
    crps_intervals,
    parse_intervals,
    pit_ensemble,
    pit_gaussian,
    pit_test,
    ranked_probability_score,
)

RNG = np.random.default_rng(53)


def integral(cdf, outcome, low, high):
    """The definition, split where the step is."""
    before = quad(lambda x: cdf(x) ** 2, low, outcome, epsabs=1e-11, limit=200)[0]
    after = quad(lambda x: (cdf(x) - 1.0) ** 2, outcome, high, epsabs=1e-11, limit=200)[0]
    return before + after


@pytest.mark.parametrize(("mean", "std", "y"), [(0.0, 1.0, 0.3), (2.0, 0.5, 0.1), (-1.0, 3.0, 5.0)])
def test_normal_score_is_its_integral(mean, std, y):
    law = scipy_stats.norm(mean, std)
    wanted = integral(law.cdf, y, mean - 12 * std, mean + 12 * std)
    assert crps_gaussian([mean], [std], [y])[0] == pytest.approx(wanted, rel=1e-8)
    assert pit_gaussian([mean], [std], [y])[0] == pytest.approx(law.cdf(y), rel=1e-12)


def test_a_narrow_normal_is_scored_by_its_absolute_error():
    assert crps_gaussian([1.0], [1e-9], [3.0])[0] == pytest.approx(2.0, abs=1e-8)


@pytest.mark.parametrize("m", [1, 2, 9])
def test_ensemble_score_equals_the_double_sum(m):
    members, y = RNG.normal(size=(5, m)).round(1), RNG.normal(size=5)
    got = crps_ensemble(members, y)
    for row, outcome, score in zip(members, y, got, strict=True):
        error = sum(abs(x - outcome) for x in row) / m
        spread = sum(abs(a - b) for a in row for b in row)
        assert score == pytest.approx(error - spread / (2 * m * m), abs=1e-12)
        if m > 1:
            fair = crps_ensemble([row], [outcome], is_fair=True)[0]
            assert fair == pytest.approx(error - spread / (2 * m * (m - 1)), abs=1e-12)


def test_the_fair_score_of_small_ensembles_is_that_of_their_distribution():
    members, y = RNG.normal(size=(40_000, 4)), RNG.normal(size=40_000)
    truth = crps_gaussian(np.zeros(40_000), np.ones(40_000), y).mean()
    assert crps_ensemble(members, y, is_fair=True).mean() == pytest.approx(truth, abs=0.01)
    assert crps_ensemble(members, y).mean() > truth + 0.1


@pytest.mark.parametrize("y", [-3.0, 0.0, 0.4, 1.0, 2.2, 4.0, 9.0])
def test_interval_score_is_its_integral(y):
    edges, mass = [0.0, 1.0, 1.5, 4.0], [0.2, 0.5, 0.3]

    def cdf(x):
        return float(np.interp(x, edges, [0.0, 0.2, 0.7, 1.0]))

    cuts = sorted({min(-3.0, y), *edges, y, max(9.0, y)})
    wanted = sum(
        quad(lambda x: (cdf(x) - (x >= y)) ** 2, a, b, epsabs=1e-12)[0] for a, b in pairwise(cuts)
    )
    assert crps_intervals(edges, mass, [y])[0] == pytest.approx(wanted, abs=1e-9)


def test_many_small_intervals_approach_the_normal_score():
    edges = np.linspace(-8.0, 8.0, 4001)
    mass = np.diff(scipy_stats.norm.cdf(edges))
    y = np.array([-1.3, 0.0, 2.5])
    got = crps_intervals(edges, mass / mass.sum(), y)
    np.testing.assert_allclose(got, crps_gaussian(np.zeros(3), np.ones(3), y), atol=1e-5)


def test_ranked_score_equals_the_loop_and_the_lattice_integral():
    prob = RNG.dirichlet(np.ones(6), 8)
    outcome = RNG.integers(0, 6, 8)
    got = ranked_probability_score(prob, outcome)
    scaled = ranked_probability_score(prob, outcome, is_normalised=True)
    for p, o, score, normalised in zip(prob, outcome, got, scaled, strict=True):
        wanted = sum((sum(p[: k + 1]) - (o <= k)) ** 2 for k in range(5))
        assert score == pytest.approx(wanted, abs=1e-12)
        assert normalised == pytest.approx(wanted / 5, abs=1e-12)
    perfect = ranked_probability_score(np.eye(4), [0, 1, 2, 3])
    assert perfect.tolist() == [0.0] * 4
    worst = ranked_probability_score([[1.0, 0.0, 0.0]], [2], is_normalised=True)
    assert worst[0] == pytest.approx(1.0)


def test_what_is_missing_scores_nan_in_its_place():
    assert np.isnan(crps_gaussian([np.nan, 0.0], [1.0, 1.0], [0.0, 0.0])).tolist() == [True, False]
    assert isnan(crps_ensemble([[1.0, np.nan]], [0.0])[0])
    assert isnan(crps_intervals([0.0, 1.0], [1.0], [np.nan])[0])
    scores = ranked_probability_score([[0.5, 0.5], [0.5, 0.5]], [np.nan, 1.0])
    assert np.isnan(scores).tolist() == [True, False]
    assert isnan(pit_ensemble([[1.0, 2.0]], [np.nan], seed=0)[0])


def test_forecasts_that_are_none_are_refused():
    with pytest.raises(DataError, match="std: wanted positive"):
        crps_gaussian([0.0], [0.0], [0.0])
    with pytest.raises(DataError, match="outcome: wanted shape"):
        crps_gaussian([0.0], [1.0], [0.0, 1.0])
    with pytest.raises(ConfigError, match="at least 2 members"):
        crps_ensemble([[0.0]], [0.0], is_fair=True)
    with pytest.raises(DataError, match="2 outcomes"):
        crps_ensemble([[0.0], [1.0]], [0.0])
    with pytest.raises(DataError, match="edges, mass"):
        parse_intervals([0.0, 1.0], [0.5])
    with pytest.raises(DataError, match="edges, mass"):
        parse_intervals([0.0, 0.0], [1.0])
    with pytest.raises(DataError, match="edges, mass"):
        parse_intervals([0.0, 1.0, 2.0], [1.5, -0.5])
    with pytest.raises(ConfigError, match="at least 2 categories"):
        ranked_probability_score([[1.0]], [0])
    for prob, outcome in (([[0.5, 0.4]], [0]), ([[1.5, -0.5]], [0]), ([[0.5, 0.5]], [2])):
        with pytest.raises(DataError, match="prob, outcome"):
            ranked_probability_score(prob, outcome)


# ---------------------------------------------------------------- transforms


def test_right_forecasts_are_uniform_and_wrong_ones_are_not():
    y = RNG.normal(0.3, 1.0, 800)
    right = pit_test(pit_gaussian(np.full(800, 0.3), np.ones(800), y))
    assert min(right.ks_p_value, right.chi2_p_value) > 0.01
    narrow = pit_test(pit_gaussian(np.full(800, 0.3), np.full(800, 0.6), y))
    assert max(narrow.ks_p_value, narrow.chi2_p_value) < 1e-6
    members = RNG.normal(0.3, 1.0, (800, 12))
    ensemble = pit_test(pit_ensemble(members, y, seed=1))
    assert min(ensemble.ks_p_value, ensemble.chi2_p_value) > 0.01
    shifted = pit_test(pit_ensemble(members + 0.4, y, seed=1))
    assert max(shifted.ks_p_value, shifted.chi2_p_value) < 1e-6


def test_ties_between_outcome_and_members_are_broken_evenly():
    members = RNG.integers(0, 3, (6000, 5)).astype(float)
    y = RNG.integers(0, 3, 6000).astype(float)
    result = pit_test(pit_ensemble(members, y, seed=3), n_bins=6)
    assert min(result.ks_p_value, result.chi2_p_value) > 0.01


def test_statistics_equal_scipy():
    pit = RNG.random(200) ** 1.2
    result = pit_test(np.append(pit, np.nan), n_bins=8)
    distance = scipy_stats.kstest(pit, "uniform")
    assert (result.ks_statistic, result.ks_p_value) == pytest.approx(tuple(distance))
    counts = np.histogram(pit, bins=8, range=(0, 1))[0]
    chi2 = scipy_stats.chisquare(counts)
    assert (result.chi2_statistic, result.chi2_p_value) == pytest.approx(tuple(chi2))
    assert (result.n_bins, result.n_obs) == (8, 200)


def test_transforms_need_enough_forecasts():
    with pytest.raises(InsufficientHistoryError, match="at least 50 transforms"):
        pit_test(np.linspace(0, 1, 49))
    with pytest.raises(ConfigError, match="n_bins"):
        pit_test(np.linspace(0, 1, 49), n_bins=1)
    with pytest.raises(DataError, match=r"values in \[0, 1\]"):
        pit_test(np.linspace(0, 1.5, 60))
