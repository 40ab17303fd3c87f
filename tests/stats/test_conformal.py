"""Conformal ranks, coverage and scaled intervals."""

from decimal import ROUND_CEILING, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.conformal import (
    adaptive_alpha,
    conformal_quantile,
    conformal_rank,
    coverage_law,
    fit_conformal_classifier,
    fit_conformal_quantiles,
    fit_mondrian,
    fit_split_conformal,
)

pytestmark = pytest.mark.feature("Q-28")

RNG = np.random.default_rng(17)


@given(st.integers(0, 5000), st.integers(1, 999))
@settings(max_examples=200, deadline=None)
def test_rank_is_exact_decimal_arithmetic(n, permille):
    wanted = (Decimal(n + 1) * Decimal(permille) / 1000).to_integral_value(ROUND_CEILING)
    assert conformal_rank(n, coverage=permille / 1000) == int(wanted)
    assert conformal_rank(n, coverage=1 - (1000 - permille) / 1000) == int(wanted)


@pytest.mark.parametrize("n", [9, 24, 99, 100])
def test_quantile_is_the_kth_smallest(n):
    scores = RNG.standard_normal(n)
    k = conformal_rank(n, coverage=0.9)
    assert conformal_quantile(scores, coverage=0.9) == sorted(scores.tolist())[k - 1]
    holes = np.concatenate([scores, [np.nan, np.nan]])
    assert conformal_quantile(holes, coverage=0.9) == sorted(scores.tolist())[k - 1]


def test_too_few_scores_give_an_infinite_interval():
    fitted = fit_split_conformal([0.1, 0.2], coverage=0.9)
    low, high = fitted.interval([0.0])
    assert (low[0], high[0]) == (-np.inf, np.inf)
    assert conformal_quantile([], coverage=0.5) == np.inf


def test_coverage_is_k_over_n_plus_one():
    """Monte Carlo on exchangeable scores: 40 calibration rows, target 0.9, exact 37/41."""
    scores = RNG.exponential(size=(4000, 41))
    hits = [row[40] <= conformal_quantile(row[:40], coverage=0.9) for row in scores]
    assert np.mean(hits) == pytest.approx(37 / 41, abs=0.015)


def test_scaling_equalises_coverage_across_volatility():
    sigma = np.where(RNG.random(8000) < 0.5, 1.0, 3.0)
    residual = sigma * RNG.standard_normal(8000)
    fit, test = slice(0, 4000), slice(4000, 8000)
    plain = fit_split_conformal(residual[fit], coverage=0.9)
    scaled = fit_split_conformal(residual[fit], coverage=0.9, scale=sigma[fit])
    wild = sigma[test] == 3.0
    low, high = plain.interval(np.zeros(4000))
    covered = (low <= residual[test]) & (residual[test] <= high)
    assert covered[wild].mean() < 0.85
    low, high = scaled.interval(np.zeros(4000), scale=sigma[test])
    covered = (low <= residual[test]) & (residual[test] <= high)
    assert covered[wild].mean() == pytest.approx(0.9, abs=0.03)
    assert covered[~wild].mean() == pytest.approx(0.9, abs=0.03)


def test_unknown_predictions_and_scales_give_unknown_bounds():
    fitted = fit_split_conformal([1.0, -1.0, 2.0], coverage=0.5, scale=[1.0, 1.0, np.nan])
    assert fitted.n_calibration == 2
    low, _ = fitted.interval([np.nan, 0.0, 0.0], scale=[1.0, np.nan, 1.0])
    assert np.isnan(low).tolist() == [True, True, False]


def test_an_interval_is_used_the_way_it_was_fitted():
    plain = fit_split_conformal([1.0, 2.0], coverage=0.5)
    with pytest.raises(ConfigError, match="scale: wanted no scale"):
        plain.interval([0.0], scale=[1.0])
    scaled = fit_split_conformal([1.0, 2.0], coverage=0.5, scale=[1.0, 1.0])
    with pytest.raises(ConfigError, match="one scale per prediction"):
        scaled.interval([0.0])
    with pytest.raises(DataError, match="positive"):
        scaled.interval([0.0], scale=[0.0])
    with pytest.raises(DataError, match="scale: wanted shape"):
        scaled.interval([0.0], scale=[1.0, 1.0])
    with pytest.raises(ConfigError, match="coverage"):
        conformal_rank(10, coverage=1.0)
    with pytest.raises(ConfigError, match="n: wanted a count"):
        conformal_rank(-1, coverage=0.5)


def test_adaptive_level_equals_the_plain_loop_and_keeps_its_long_run_promise():
    missed = (RNG.random(2000) < 0.3).astype(int)
    path = adaptive_alpha(missed, alpha=0.1, gamma=0.01)
    level = 0.1
    for t, miss in enumerate(missed):
        assert path[t] == pytest.approx(level, abs=1e-12)
        level += 0.01 * (0.1 - miss)
    assert path[-1] == pytest.approx(level, abs=1e-12)
    with pytest.raises(DataError, match="missed"):
        adaptive_alpha([0.5], alpha=0.1, gamma=0.01)
    with pytest.raises(ConfigError, match="gamma"):
        adaptive_alpha([0], alpha=0.1, gamma=0.0)


# ---------------------------------------------------------------- law, quantiles, classes, groups


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.9), (100, 0.8), (37, 0.95)])
def test_the_coverage_law_is_that_of_an_order_statistic(n, coverage):
    """The coverage of a set is the k-th smallest of n uniform numbers."""
    law = coverage_law(n, coverage=coverage)
    uniform = np.sort(np.random.default_rng(0).random((20_000, n)), axis=1)[:, law.rank - 1]
    assert law.mean == pytest.approx(uniform.mean(), abs=0.002)
    assert law.quantile(0.05) == pytest.approx(np.quantile(uniform, 0.05), abs=0.004)
    assert law.quantile(0.3) == pytest.approx(beta.ppf(0.3, law.rank, n + 1 - law.rank), rel=1e-9)
    assert law.mean >= coverage


def test_too_few_scores_cover_everything():
    law = coverage_law(5, coverage=0.9)
    assert law.is_infinite
    assert (law.mean, law.quantile(0.05)) == (1.0, 1.0)
    with pytest.raises(ConfigError, match="level"):
        law.quantile(0.0)


def test_corrected_quantiles_equal_the_loop_and_cover():
    x, noise = RNG.random(6000), RNG.standard_normal(6000)
    y = (0.2 + x) * noise
    low, high = -0.5 * (0.2 + x), 0.5 * (0.2 + x)
    fit, test = slice(0, 3000), slice(3000, 6000)
    fitted = fit_conformal_quantiles(low[fit], high[fit], y[fit], coverage=0.9)
    scores = sorted(max(a - o, o - b) for a, b, o in zip(low[fit], high[fit], y[fit], strict=True))
    assert fitted.quantile == scores[conformal_rank(3000, coverage=0.9) - 1]
    lower, upper = fitted.interval(low[test], high[test])
    assert ((lower <= y[test]) & (y[test] <= upper)).mean() == pytest.approx(0.9, abs=0.02)
    wide = fit_conformal_quantiles(low[fit] - 9, high[fit] + 9, y[fit], coverage=0.9)
    assert wide.quantile < 0
    holes = fit_conformal_quantiles([0.0, np.nan], [1.0, 1.0], [0.5, 0.5], coverage=0.4)
    assert holes.n_calibration == 1
    assert fit_conformal_quantiles([0.0], [1.0], [0.5], coverage=0.9).quantile == np.inf


def test_class_sets_equal_the_loop_and_cover():
    prob = RNG.dirichlet([1.0, 2.0, 3.0], 6000)
    y = np.array([RNG.choice(3, p=row) for row in prob])
    fitted = fit_conformal_classifier(prob[:3000], y[:3000], coverage=0.85)
    scores = sorted(1.0 - row[label] for row, label in zip(prob[:3000], y[:3000], strict=True))
    assert fitted.quantile == scores[conformal_rank(3000, coverage=0.85) - 1]
    sets = fitted.sets(prob[3000:])
    assert sets[np.arange(3000), y[3000:]].mean() == pytest.approx(0.85, abs=0.025)
    assert fit_conformal_classifier(prob[:2], y[:2], coverage=0.9).sets(prob[:1]).all()
    assert not fitted.sets([[np.nan, np.nan, np.nan]]).any()
    for wrong in ([0, 3], [0], [0.0, 1.0]):
        with pytest.raises(DataError, match="outcome"):
            fit_conformal_classifier(prob[:2], wrong, coverage=0.9)


def test_groups_have_their_own_coverage():
    group = np.where(RNG.random(8000) < 0.7, "calm", "wild")
    residual = np.where(group == "calm", 1.0, 4.0) * RNG.standard_normal(8000)
    fit, test = slice(0, 4000), slice(4000, 8000)
    fitted = fit_mondrian(residual[fit], group[fit], coverage=0.9)
    low, high = fitted.interval(np.zeros(4000), group[test])
    inside = (low <= residual[test]) & (residual[test] <= high)
    for name in ("calm", "wild"):
        assert inside[group[test] == name].mean() == pytest.approx(0.9, abs=0.03)
        alone = fit_split_conformal(residual[fit][group[fit] == name], coverage=0.9)
        assert fitted.by_group[name] == alone
    low, high = fitted.interval([1.0], ["unseen"])
    assert (low[0], high[0]) == (-np.inf, np.inf)


def test_groups_scale_as_they_were_fitted():
    group, scale = np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 1.0, 2.0])
    fitted = fit_mondrian(scale * [1.0, -1.0, 3.0, -3.0], group, coverage=0.5, scale=scale)
    low, high = fitted.interval([0.0, 0.0], [1, 0], scale=[10.0, np.nan])
    assert (low[0], high[0]) == (-30.0, 30.0)
    assert np.isnan([low[1], high[1]]).all()
    with pytest.raises(ConfigError, match="scale"):
        fitted.interval([0.0], [1])
    with pytest.raises(DataError, match="groups"):
        fit_mondrian([1.0, 2.0], ["a"], coverage=0.5)
    with pytest.raises(DataError, match="scale: wanted shape"):
        fit_mondrian([1.0, 2.0], ["a", "b"], coverage=0.5, scale=[1.0])
