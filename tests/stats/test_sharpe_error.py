"""Errors of Sharpe ratios: closed forms, plain loops, resampling by index, and coverage."""

from math import isnan, sqrt
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats as scipy_stats

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import circular_indices
from quant_engine.stats.hac import newey_west_lags
from quant_engine.stats.metrics import (
    SharpeIntervalConfig,
    lo_annualisation,
    sharpe,
    sharpe_interval,
)

pytestmark = pytest.mark.feature("L-03")

RNG = np.random.default_rng(23)
RETURNS = 0.0008 + 0.011 * RNG.standard_t(4, 400)


def interval(returns, method, *, periods=252, ddof=1, floor=0.0, **settings_of_method):
    return sharpe_interval(
        returns,
        periods_per_year=periods,
        ddof=ddof,
        vol_floor_per_period=floor,
        config=SharpeIntervalConfig(method=method, **settings_of_method),
    )


def test_closed_forms_of_independent_returns():
    s, n = RETURNS.mean() / RETURNS.std(ddof=1), len(RETURNS)
    skew, kurtosis = scipy_stats.skew(RETURNS), scipy_stats.kurtosis(RETURNS, fisher=False)
    plain = sqrt((1 + s * s / 2) / n)
    shaped = sqrt((1 - skew * s + (kurtosis - 1) / 4 * s * s) / n)
    assert interval(RETURNS, "lo_iid").std_error == pytest.approx(plain * sqrt(252), rel=1e-12)
    assert interval(RETURNS, "opdyke").std_error == pytest.approx(shaped * sqrt(252), rel=1e-10)


def test_without_lags_the_general_error_is_that_of_independent_returns():
    """The variance of the influence function is Mertens' formula, up to ddof."""
    hac = interval(RETURNS, "lo_hac", ddof=0, lags=0)
    shaped = interval(RETURNS, "opdyke", ddof=0)
    assert hac.std_error == pytest.approx(shaped.std_error, rel=1e-10)
    assert (hac.lags, shaped.lags) == (0, None)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("method", ["lo_iid", "opdyke", "lo_hac", "lo_eta"])
def test_normal_intervals_are_symmetric_and_named(method, confidence):
    result = interval(RETURNS, method, confidence=confidence)
    half = scipy_stats.norm.ppf(0.5 + confidence / 2) * result.std_error
    assert result.ci_high - result.value == pytest.approx(half, rel=1e-9)
    assert result.value - result.ci_low == pytest.approx(half, rel=1e-9)
    assert (result.method, result.confidence, result.n_obs) == (method, confidence, 400)


def test_eta_equals_the_double_sum_over_days_of_a_year():
    """Lo's factor is q over the standard deviation of a sum of q correlated periods."""
    q, rho = 12, 0.35
    matrix = rho ** np.abs(np.subtract.outer(np.arange(q), np.arange(q)))
    wanted = q / sqrt(matrix.sum())
    assert lo_annualisation(rho ** np.arange(1, q), q=q) == pytest.approx(wanted, rel=1e-12)
    assert lo_annualisation(rho ** np.arange(1, 50), q=q) == pytest.approx(wanted, rel=1e-12)
    assert lo_annualisation([], q=252) == pytest.approx(sqrt(252), rel=1e-15)
    assert lo_annualisation([0.5], q=1) == 1.0


def eta_ratio(returns, q, lags):
    """The ratio annualised with the sample's own autocorrelations, by loops."""
    n, mean = len(returns), sum(returns) / len(returns)
    covariance = [
        sum((returns[t] - mean) * (returns[t - k] - mean) for t in range(k, n)) / n
        for k in range(lags + 1)
    ]
    aggregate = q * covariance[0] + 2 * sum((q - k) * covariance[k] for k in range(1, lags + 1))
    return q * mean / sqrt(aggregate)


def test_the_eta_ratio_and_its_error_equal_loops_and_a_jackknife():
    returns = RETURNS[:300]
    result = interval(returns, "lo_eta", periods=12, ddof=0, lags=3)
    assert result.value == pytest.approx(eta_ratio(returns, 12, 3), rel=1e-10)
    assert result.annual_factor == pytest.approx(result.value / (returns.mean() / returns.std()))
    # Infinitesimal jackknife: the derivative of the ratio in the weight of each product.
    mean, q, eps = returns.mean(), 12, 1e-6

    def weighted(weights):
        w = weights / weights.sum()
        centre = (w * returns).sum()
        d = returns - mean
        g = [(w * d * d).sum() - (centre - mean) ** 2]
        for k in range(1, 4):
            product = np.concatenate([np.zeros(k), d[k:] * d[:-k]])
            g.append((w * product).sum() - (centre - mean) ** 2)
        return q * centre / sqrt(q * g[0] + 2 * sum((q - k) * g[k] for k in range(1, 4)))

    ones = np.ones(len(returns))
    base = weighted(ones)
    influence = np.empty(len(returns))
    for t in range(len(returns)):
        bumped = ones.copy()
        bumped[t] += eps
        influence[t] = (weighted(bumped) - base) / eps * len(returns)
    influence -= influence.mean()
    total = influence @ influence
    for lag in range(1, 4):
        total += 2 * (1 - lag / 4) * (influence[lag:] @ influence[:-lag])
    assert result.std_error == pytest.approx(sqrt(total) / len(returns), rel=1e-3)


def test_eta_follows_the_sign_of_autocorrelation():
    noise = np.random.default_rng(0).standard_normal(4000)
    smooth = 0.1 + noise[1:] + 0.5 * noise[:-1]
    jagged = 0.1 + noise[1:] - 0.3 * noise[:-1]
    assert interval(smooth, "lo_eta", lags=1).annual_factor < sqrt(252) * 0.85
    assert interval(jagged, "lo_eta", lags=1).annual_factor > sqrt(252) * 1.15
    result = sharpe(smooth, periods_per_year=252, interval=SharpeIntervalConfig(method="lo_eta"))
    assert result.value == interval(smooth, "lo_eta").value
    assert result.value < result.per_period * sqrt(252)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("block", [1, 7, 50])
@pytest.mark.parametrize("floor", [0.0, 0.0145])
def test_bootstrap_equals_resampling_by_the_index_matrix(holes, block, floor):
    returns = RETURNS[:230].copy()
    if holes:
        returns[[0, 40, 41, 42, 229]] = np.nan
    config = {"block": block, "n_draws": 300, "seed": 5, "floor": floor, "confidence": 0.9}
    result = interval(returns, "block_bootstrap", **config)
    indices = circular_indices(230, block=block, n_draws=300, seed=5)
    draws = []
    for row in returns[indices]:
        kept = row[~np.isnan(row)]
        spread = max(kept.std(ddof=1), floor)
        draws.append(kept.mean() / spread * sqrt(252))
    assert result.std_error == pytest.approx(np.std(draws, ddof=1), rel=1e-9)
    low, high = np.quantile(draws, [0.05, 0.95])
    assert (result.ci_low, result.ci_high) == pytest.approx((low, high), rel=1e-9)
    assert (result.block, result.n_draws) == (block, 300)


def test_the_bootstrap_is_reproducible_and_needs_a_seed():
    one = interval(RETURNS, "block_bootstrap", n_draws=200, seed=1)
    assert one == interval(RETURNS, "block_bootstrap", n_draws=200, seed=1)
    assert one.ci_low != interval(RETURNS, "block_bootstrap", n_draws=200, seed=2).ci_low
    with pytest.raises(ConfigError, match="seed: wanted a whole number"):
        interval(RETURNS, "block_bootstrap")
    with pytest.raises(ConfigError, match="block: wanted at most 400"):
        interval(RETURNS, "block_bootstrap", block=401, seed=1)


def test_ten_thousand_resamples_of_five_years_take_well_under_half_a_second():
    returns = 0.0005 + 0.01 * np.random.default_rng(3).standard_normal(1250)
    interval(returns, "block_bootstrap", block=20, seed=0, n_draws=100)
    start = perf_counter()
    result = interval(returns, "block_bootstrap", block=20, seed=0)
    assert perf_counter() - start < 0.5
    assert result.n_draws == 10_000


def test_resamples_without_variation_have_no_ratio():
    rare = np.zeros(60)
    rare[30] = 0.01
    result = interval(rare, "block_bootstrap", block=1, n_draws=500, seed=0)
    share = (1 - 1 / 60) ** 60
    assert result.n_draws == pytest.approx(500 * (1 - share), abs=45)


def test_a_floored_ratio_has_the_error_of_its_mean():
    calm = 0.001 + 1e-4 * RNG.standard_normal(200)
    wanted = calm.std(ddof=1) / 0.005 / sqrt(200) * sqrt(252)
    for method in ("lo_iid", "opdyke"):
        assert interval(calm, method, floor=0.005).std_error == pytest.approx(wanted, rel=1e-9)
    hac = interval(calm, "lo_hac", floor=0.005, lags=0)
    assert hac.std_error == pytest.approx(wanted * sqrt(199 / 200), rel=1e-9)
    constant = interval([0.01] * 5, "block_bootstrap", floor=0.02, n_draws=100, seed=0)
    assert constant.value == pytest.approx(0.5 * sqrt(252))
    assert constant.std_error == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ConfigError, match="lo_eta"):
        interval(calm, "lo_eta", floor=0.005)


def test_intervals_raise_where_ratios_say_why():
    with pytest.raises(InsufficientHistoryError, match="at least 2 observations"):
        interval([0.01], "lo_hac")
    with pytest.raises(DataError, match="returns that vary"):
        interval([0.01, 0.01, 0.01], "lo_hac")
    with pytest.raises(InsufficientHistoryError):
        interval([0.01, 0.02], "opdyke")
    assert sharpe([0.01], periods_per_year=252).status == "too_few"
    assert sharpe([0.01, 0.01], periods_per_year=252).status == "no_variation"
    assert isnan(sharpe([0.01, 0.01], periods_per_year=252).per_period)
    with pytest.raises(ConfigError, match="vol_floor_per_period"):
        interval(RETURNS, "lo_hac", floor=-1.0)
    with pytest.raises(ConfigError, match="lags"):
        interval(RETURNS, "lo_hac", lags=400)


def test_eta_refuses_a_broken_year_and_impossible_autocorrelations():
    with pytest.raises(ConfigError, match="whole number of periods"):
        interval(RETURNS, "lo_eta", periods=52.18)
    with pytest.raises(DataError, match="positive variance"):
        lo_annualisation([-0.9], q=12)
    with pytest.raises(ConfigError, match="q: wanted at least 1"):
        lo_annualisation([0.1], q=0)
    with pytest.raises(ConfigError, match="lo_hac"):
        sharpe(
            RETURNS,
            periods_per_year=252,
            method="session_agg_v1",
            interval=SharpeIntervalConfig(method="lo_eta"),
        )


@pytest.mark.parametrize(
    "wrong", [{"confidence": 1.0}, {"lags": -1}, {"block": 0}, {"n_draws": 1}, {"method": "x"}]
)
def test_settings_are_checked_where_they_are_made(wrong):
    with pytest.raises(ValidationError):
        SharpeIntervalConfig(**wrong)


def test_the_result_names_what_it_was_made_with():
    result = sharpe(
        RETURNS,
        periods_per_year=252,
        rf_per_period=1e-4,
        ddof=0,
        method="session_agg_v1",
        interval=SharpeIntervalConfig(method="opdyke", confidence=0.9),
    )
    assert (result.periods_per_year, result.rf_per_period, result.ddof) == (252, 1e-4, 0)
    assert (result.interval_method, result.confidence) == ("opdyke", 0.9)
    assert result.value == pytest.approx(result.per_period * sqrt(252))
    assert not result.is_diagnostic
    assert interval(RETURNS, "lo_hac").lags == newey_west_lags(400)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(2, 100), st.integers(0, 10_000))
def test_laying_a_series_end_to_end_changes_the_ratio_by_the_ddof_rule_only(times, seed):
    once = 0.001 + 0.01 * np.random.default_rng(seed).standard_normal(50)
    many = np.tile(once, times)
    n = len(once)
    for ddof, factor in ((0, 1.0), (1, sqrt((times * n - 1) / (times * (n - 1))))):
        one = sharpe(once, periods_per_year=252, ddof=ddof).value
        assert sharpe(many, periods_per_year=252, ddof=ddof).value == pytest.approx(
            one * factor, rel=1e-9
        )


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_order_changes_only_errors_that_look_at_time(seed, scale):
    rng = np.random.default_rng(seed)
    returns = 0.001 + 0.01 * rng.standard_normal(80)
    shuffled = scale * rng.permutation(returns)
    for method in ("lo_iid", "opdyke"):
        a, b = interval(returns, method), interval(shuffled, method)
        assert a.value == pytest.approx(b.value, rel=1e-9)
        assert a.std_error == pytest.approx(b.std_error, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "least"), [("opdyke", 0.92), ("lo_hac", 0.91), ("block_bootstrap", 0.91)]
)
def test_intervals_cover_the_truth_for_skewed_returns(method, least):
    """300 worlds of 500 independent exponential returns: the true ratio is covered about 95 %."""
    rng = np.random.default_rng(9)
    hits = 0
    for world in range(300):
        returns = 0.08 - (rng.exponential(size=500) - 1.0)
        extra = {"seed": world, "n_draws": 500, "block": 5} if method == "block_bootstrap" else {}
        found = interval(returns, method, periods=1, **extra)
        hits += found.ci_low <= 0.08 <= found.ci_high
    assert least <= hits / 300 <= 0.985
