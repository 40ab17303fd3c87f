"""Metrics against plain loops, closed forms and invariances."""

from math import isnan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.metrics import (
    annual_return,
    annual_vol,
    calmar,
    daily_sharpe,
    drawdown_series,
    hit_rate,
    max_drawdown,
    profit_factor,
    sharpe,
    sharpe_step_raw,
    sortino,
    turnover,
    var_es,
)

pytestmark = pytest.mark.feature("L-03")

RNG = np.random.default_rng(11)
RETURNS = 0.0006 + 0.012 * RNG.standard_t(5, 500)


def naive_sharpe(values, periods, ddof=1):
    """The definition with Python sums."""
    n = len(values)
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / (n - ddof)
    return mean / sqrt(variance) * sqrt(periods)


@pytest.mark.parametrize("ddof", [0, 1])
def test_sharpe_equals_the_plain_loop(ddof):
    got = sharpe(RETURNS, periods_per_year=252, ddof=ddof).value
    assert got == pytest.approx(naive_sharpe(RETURNS.tolist(), 252, ddof), rel=1e-12)


def test_sharpe_subtracts_the_riskless_rate_per_period():
    shifted = sharpe(RETURNS - 0.0001, periods_per_year=252)
    assert sharpe(RETURNS, periods_per_year=252, rf_per_period=0.0001).value == pytest.approx(
        shifted.value, rel=1e-12
    )


def test_std_error_of_independent_normal_returns_is_that_of_lo():
    returns = 0.15 + np.random.default_rng(1).standard_normal(20_000)
    result = sharpe(returns, periods_per_year=1)
    assert result.std_error == pytest.approx(sqrt((1 + result.value**2 / 2) / 20_000), rel=0.05)


def test_std_error_equals_a_loop_over_bartlett_products():
    s = RETURNS.mean() / RETURNS.std(ddof=1)
    z = (RETURNS - RETURNS.mean()) / RETURNS.std()
    d = z - s * (z**2 - 1) / 2
    d = d - d.mean()
    n, lags = len(d), 5
    total = sum(d[t] * d[t] for t in range(n))
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * sum(d[t] * d[t - lag] for t in range(lag, n))
    result = sharpe(RETURNS, periods_per_year=252)
    assert result.std_error == pytest.approx(sqrt(total) / n * sqrt(252), rel=1e-10)
    assert result.ci_high - result.value == pytest.approx(1.959964 * result.std_error, rel=1e-6)
    assert result.value - result.ci_low == pytest.approx(1.959964 * result.std_error, rel=1e-6)


def test_interval_covers_the_true_ratio_under_autocorrelation():
    """Monte Carlo: AR(1) returns, 300 worlds; the independent-normal error covers far less."""
    rng = np.random.default_rng(5)
    n, rho, true_mean = 600, 0.4, 0.1
    noise = rng.standard_normal((300, n))
    paths = np.empty_like(noise)
    paths[:, 0] = noise[:, 0]
    for t in range(1, n):
        paths[:, t] = rho * paths[:, t - 1] + sqrt(1 - rho**2) * noise[:, t]
    hits = naive_hits = 0
    for path in paths + true_mean:
        result = sharpe(path, periods_per_year=1)
        hits += result.ci_low <= true_mean <= result.ci_high
        naive_hits += abs(result.value - true_mean) <= 1.96 * sqrt((1 + result.value**2 / 2) / n)
    assert 0.86 <= hits / 300 <= 0.99
    assert naive_hits / 300 < 0.85


def test_tiling_leaves_the_ratio_unchanged():
    once = sharpe(RETURNS, periods_per_year=252, ddof=0)
    tiled = sharpe(np.tile(RETURNS, 10), periods_per_year=252, ddof=0)
    assert tiled.value == pytest.approx(once.value, rel=1e-12)
    assert tiled.std_error < once.std_error


@given(st.floats(0.01, 100.0))
@settings(max_examples=25, deadline=None)
def test_ratio_is_scale_free_and_odd(scale):
    base = sharpe(RETURNS, periods_per_year=252).value
    assert sharpe(scale * RETURNS, periods_per_year=252).value == pytest.approx(base, rel=1e-9)
    assert sharpe(-RETURNS, periods_per_year=252).value == pytest.approx(-base, rel=1e-12)


def test_missing_periods_are_left_out():
    holes = np.insert(RETURNS, [0, 100, 500], np.nan)
    assert sharpe(holes, periods_per_year=252).value == pytest.approx(
        sharpe(RETURNS, periods_per_year=252).value, rel=1e-12
    )
    assert sharpe(holes, periods_per_year=252).n_obs == 500


@pytest.mark.parametrize("values", [[], [0.01], [np.nan, 0.01], [0.1, 0.1, 0.1]])
def test_undefined_ratios_are_nan_not_zero_or_infinite(values):
    result = sharpe(values, periods_per_year=252)
    assert isnan(result.value)
    assert isnan(result.std_error)
    assert isnan(result.ci_low)
    assert not result.vol_floor_applied


def test_the_volatility_floor_is_used_and_reported():
    calm = [0.001, 0.0011, 0.0009, 0.001]
    floored = sharpe(calm, periods_per_year=252, vol_floor_per_period=0.005)
    assert floored.vol_floor_applied
    assert floored.value == pytest.approx(0.001 / 0.005 * sqrt(252))
    assert not sharpe(RETURNS, periods_per_year=252, vol_floor_per_period=1e-6).vol_floor_applied
    constant = sharpe([0.1, 0.1, 0.1], periods_per_year=252, vol_floor_per_period=0.01)
    assert constant.value == pytest.approx(10 * sqrt(252))


def test_a_misspelt_or_contradicting_convention_is_refused():
    with pytest.raises(ConfigError, match="session_agg_v1"):
        sharpe(RETURNS, periods_per_year=252, method="sesion_agg_v1")
    with pytest.raises(ConfigError, match="periods_per_year: wanted 252"):
        sharpe(RETURNS, periods_per_year=365, method="session_agg_v1")
    with pytest.raises(DataError, match="1 infinite values"):
        sharpe([0.1, np.inf], periods_per_year=252)


def test_daily_sharpe_counts_idle_running_days_as_zero():
    days = np.arange("2024-03-01", "2024-03-11", dtype="M8[D]")
    times = np.repeat(days[[0, 2, 3, 7]], 3).astype("M8[s]") + np.tile([0, 40000, 86399], 4)
    pnl = RNG.normal(0.001, 0.004, len(times))
    sums = {day: 0.0 for day in days}
    for time, value in zip(times, pnl, strict=True):
        sums[time.astype("M8[D]")] += value
    running = daily_sharpe(times, pnl, running_days=days)
    assert running.value == pytest.approx(naive_sharpe(list(sums.values()), 365), rel=1e-12)
    assert (running.n_obs, running.observation_days) == (10, 4)
    active = daily_sharpe(times, pnl, running_days=days[[0, 2, 3, 7]])
    kept = [sums[day] for day in days[[0, 2, 3, 7]]]
    assert active.value == pytest.approx(naive_sharpe(kept, 365), rel=1e-12)
    assert active.method == "daily_agg_v1"


def test_daily_sharpe_ignores_how_a_day_is_cut_into_steps():
    days = np.arange("2024-03-01", "2024-03-11", dtype="M8[D]")
    daily = RNG.normal(0.001, 0.01, 10)
    coarse = daily_sharpe(days, daily, running_days=days)
    fine = daily_sharpe(np.repeat(days, 50), np.repeat(daily / 50, 50), running_days=days)
    assert fine.value == pytest.approx(coarse.value, rel=1e-9)
    raw = sharpe_step_raw(np.repeat(daily / 50, 50))
    assert raw.method == "sharpe_step_raw"
    assert raw.observation_days is None


def test_daily_sharpe_refuses_steps_outside_the_running_days():
    days = np.arange("2024-03-01", "2024-03-04", dtype="M8[D]")
    with pytest.raises(DataError, match="1 outside the running days"):
        daily_sharpe(days + 1, [0.1, 0.2, 0.3], running_days=days)
    with pytest.raises(DataError, match="unique days"):
        daily_sharpe(days, [0.1, 0.2, 0.3], running_days=days[[0, 0, 1, 2]])


def test_drawdown_equals_the_plain_loop():
    equity, peak, depths = 1.0, 1.0, []
    for value in RETURNS:
        equity *= 1.0 + value
        peak = max(peak, equity)
        depths.append(equity / peak - 1.0)
    np.testing.assert_allclose(drawdown_series(RETURNS), depths, rtol=1e-9, atol=1e-12)
    assert max_drawdown(RETURNS) == pytest.approx(min(depths), rel=1e-9)
    growth = np.prod(1 + RETURNS) ** (252 / 500) - 1
    assert annual_return(RETURNS, periods_per_year=252) == pytest.approx(growth, rel=1e-9)
    assert calmar(RETURNS, periods_per_year=252) == pytest.approx(-growth / min(depths), rel=1e-9)


def test_drawdown_keeps_gaps_and_starts_from_the_capital():
    got = drawdown_series([-0.2, np.nan, 0.1])
    np.testing.assert_allclose(got, [-0.2, np.nan, 0.8 * 1.1 - 1])
    assert isnan(max_drawdown([np.nan]))
    assert drawdown_series([]).tolist() == []
    assert max_drawdown([0.1, 0.1]) == 0.0
    assert isnan(calmar([0.1, 0.1], periods_per_year=252))


def test_a_losing_strategy_has_a_negative_calmar_and_ruin_is_minus_one():
    assert calmar([-0.01, -0.02, 0.01], periods_per_year=252) < 0
    assert annual_return([0.5, -1.0, 0.5], periods_per_year=252) == -1.0
    assert isnan(annual_return([], periods_per_year=252))


def test_sortino_vol_hit_rate_and_profit_factor_equal_plain_loops():
    target, n = 0.0002, len(RETURNS)
    downside = sqrt(sum(min(r - target, 0.0) ** 2 for r in RETURNS) / n)
    wanted = (sum(RETURNS) / n - target) / downside * sqrt(252)
    got = sortino(RETURNS, periods_per_year=252, target_per_period=target)
    assert got == pytest.approx(wanted, rel=1e-10)
    assert isnan(sortino([0.01, 0.02], periods_per_year=252))
    mean = sum(RETURNS) / n
    variance = sum((r - mean) ** 2 for r in RETURNS) / (n - 1)
    assert annual_vol(RETURNS, periods_per_year=252) == pytest.approx(sqrt(252 * variance))
    assert hit_rate(RETURNS) == sum(r > 0 for r in RETURNS) / n
    gains = sum(r for r in RETURNS if r > 0)
    losses = sum(-r for r in RETURNS if r < 0)
    assert profit_factor(RETURNS) == pytest.approx(gains / losses)
    assert profit_factor([1.0]) == float("inf")
    assert isnan(profit_factor([0.0]))
    assert isnan(hit_rate([]))


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("n", [7, 20, 100, 333])
def test_expected_shortfall_is_the_minimum_over_thresholds(alpha, n):
    """Rockafellar-Uryasev: the best threshold among all losses gives the shortfall."""
    losses = -RETURNS[:n]
    values = [c + np.maximum(losses - c, 0).sum() / (alpha * n) for c in losses]
    risk = var_es(RETURNS[:n], alpha=alpha)
    assert risk.es == pytest.approx(min(values), rel=1e-12)
    assert risk.es >= risk.var
    assert (losses > risk.var).sum() <= alpha * n + 1e-9


def test_tail_risk_edge_cases():
    assert var_es([0.01], alpha=0.05).var == -0.01
    assert isnan(var_es([], alpha=0.05).es)
    with pytest.raises(ConfigError, match="alpha"):
        var_es(RETURNS, alpha=1.0)


def test_turnover_equals_the_plain_loop_with_and_without_drift():
    weights = RNG.dirichlet(np.ones(5), 20)
    weights[3, 2] = np.nan
    before = RNG.dirichlet(np.ones(5), 20)
    filled = np.where(np.isnan(weights), 0.0, weights)
    for t in range(20):
        previous = filled[t - 1] if t else np.zeros(5)
        loop = sum(abs(filled[t, j] - previous[j]) for j in range(5)) / 2
        assert turnover(weights)[t] == pytest.approx(loop)
        drifted = sum(abs(filled[t, j] - before[t, j]) for j in range(5)) / 2
        assert turnover(weights, held_before=before)[t] == pytest.approx(drifted)
    with pytest.raises(DataError, match="held_before"):
        turnover(weights, held_before=before[1:])
    assert turnover(np.empty((0, 3))).tolist() == []
