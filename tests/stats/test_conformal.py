"""Conformal ranks, coverage and scaled intervals."""

from decimal import ROUND_CEILING, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.conformal import (
    adaptive_alpha,
    conformal_quantile,
    conformal_rank,
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
