"""Moments, ratios, drawdowns, benchmarks and concentration against loops and other libraries."""

from math import inf, isnan, log, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.metrics import (
    alpha_beta,
    annual_return,
    cdar,
    concentration,
    cumulative_return,
    drawdown_series,
    drawdown_spells,
    effective_number,
    expectancy,
    herfindahl,
    hit_rate,
    information_ratio,
    max_drawdown,
    moments,
    omega,
    pain_index,
    payoff_ratio,
    performance_summary,
    profit_factor,
    return_concentration,
    sharpe,
    sortino,
    stability,
    standard_deviation,
    tail_ratio,
    tracking_error,
    ulcer_index,
    var_es,
)

RNG = np.random.default_rng(31)
RETURNS = 0.0004 + 0.011 * RNG.standard_t(4, 300)
MARKET = 0.0003 + 0.009 * RNG.standard_normal(300)
HOLES = np.insert(RETURNS, [0, 120, 120, 300], np.nan)


# ---------------------------------------------------------------- moments and growth


def test_population_moments_equal_scipy():
    shape = moments(HOLES, ddof=0)
    assert shape.skew == pytest.approx(scipy_stats.skew(RETURNS), rel=1e-10)
    assert shape.kurtosis == pytest.approx(scipy_stats.kurtosis(RETURNS, fisher=False), rel=1e-10)
    assert shape.excess_kurtosis == pytest.approx(scipy_stats.kurtosis(RETURNS), rel=1e-10)
    assert (shape.mean, shape.std) == pytest.approx((RETURNS.mean(), RETURNS.std()))
    assert (shape.n_obs, shape.ddof, shape.convention) == (300, 0, "population")


def test_sample_moments_equal_pandas():
    shape, series = moments(RETURNS, convention="sample"), pd.Series(RETURNS)
    assert shape.skew == pytest.approx(series.skew(), rel=1e-10)
    assert shape.excess_kurtosis == pytest.approx(series.kurt(), rel=1e-10)
    assert isnan(moments([1.0, 2.0], convention="sample").skew)
    assert isnan(moments([1.0, 2.0, 4.0], convention="sample").kurtosis)


def test_moments_of_tiny_and_of_constant_values():
    tiny = moments(RETURNS * 1e-90)
    assert tiny.kurtosis == pytest.approx(moments(RETURNS).kurtosis, rel=1e-9)
    constant = moments([0.1, 0.1, 0.1])
    assert constant.std == 0.0
    assert isnan(constant.skew)
    assert isnan(moments([]).mean)
    assert isnan(standard_deviation([1.0]))
    with pytest.raises(ConfigError, match="convention"):
        moments(RETURNS, convention="biased")


def test_growth_equals_the_loop_and_stability_the_regression():
    level = 1.0
    for value in RETURNS:
        level *= 1.0 + value
    assert cumulative_return(HOLES) == pytest.approx(level - 1.0, rel=1e-10)
    assert annual_return(RETURNS, periods_per_year=300) == pytest.approx(level - 1.0, rel=1e-9)
    logs = np.cumsum([log(1.0 + value) for value in RETURNS])
    fit = scipy_stats.linregress(np.arange(300), logs)
    assert stability(HOLES) == pytest.approx(fit.rvalue**2, rel=1e-9)
    assert cumulative_return([0.5, -1.5]) == -1.0
    assert isnan(cumulative_return([]))
    assert isnan(stability([0.1, -1.0, 0.1]))
    assert isnan(stability([0.1, 0.1]))
    assert isnan(stability([0.0, 0.0, 0.0]))


# ---------------------------------------------------------------- ratios and outcomes


@pytest.mark.parametrize("target", [0.0, 0.002])
def test_omega_equals_the_loop(target):
    gains = sum(max(r - target, 0.0) for r in RETURNS)
    losses = sum(max(target - r, 0.0) for r in RETURNS)
    assert omega(HOLES, target_per_period=target) == pytest.approx(gains / losses, rel=1e-10)
    assert omega([0.01]) == inf
    assert isnan(omega([0.0]))


def test_tail_ratio_equals_percentiles():
    wanted = abs(np.percentile(RETURNS, 90)) / abs(np.percentile(RETURNS, 10))
    assert tail_ratio(HOLES, tail_frac=0.1) == pytest.approx(wanted, rel=1e-12)
    assert isnan(tail_ratio([]))
    assert isnan(tail_ratio([0.0, 0.0]))
    with pytest.raises(ConfigError, match="tail_frac"):
        tail_ratio(RETURNS, tail_frac=0.0)


def test_expectancy_is_made_of_hit_rate_and_payoff():
    results = np.append(RETURNS.round(2), [0.0, 0.0])
    wins, losses = results[results > 0], results[results < 0]
    lost = len(losses) / len(results)
    wanted = hit_rate(results) * wins.mean() + lost * losses.mean()
    assert expectancy(results) == pytest.approx(wanted, rel=1e-10)
    assert payoff_ratio(results) == pytest.approx(-wins.mean() / losses.mean(), rel=1e-12)
    odds = len(wins) / len(losses)
    assert profit_factor(results) == pytest.approx(payoff_ratio(results) * odds, rel=1e-12)
    assert isnan(payoff_ratio([1.0, 2.0]))
    assert isnan(payoff_ratio([-1.0]))
    assert isnan(expectancy([]))


# ---------------------------------------------------------------- drawdowns


def loop_spells(returns):
    """(first, trough, recovered, depth, length) one period at a time."""
    equity = peak = 1.0
    spells, current = [], None
    for t, value in enumerate(returns):
        if isnan(value):
            continue
        equity *= 1.0 + value
        peak = max(peak, equity)
        depth = equity / peak - 1.0
        if depth < 0.0:
            if current is None:
                current = [t, t, None, depth, 0]
            if depth < current[3]:
                current[1], current[3] = t, depth
            current[4] += 1
        elif current is not None:
            current[2] = t
            spells.append(tuple(current))
            current = None
    if current is not None:
        spells.append(tuple(current))
    return spells


@pytest.mark.parametrize("returns", [RETURNS, HOLES, -RETURNS, np.abs(RETURNS), []])
def test_spells_equal_the_loop(returns):
    got = [(s.first, s.trough, s.recovered, s.depth, s.n_periods) for s in drawdown_spells(returns)]
    wanted = loop_spells(returns)
    assert [spell[:3] + spell[4:] for spell in got] == [spell[:3] + spell[4:] for spell in wanted]
    assert [s[3] for s in got] == pytest.approx([s[3] for s in wanted], rel=1e-9)
    if got:
        assert min(s[3] for s in got) == max_drawdown(returns)


def test_indices_equal_loops_over_depths():
    depths = [d for d in drawdown_series(HOLES) if not isnan(d)]
    assert ulcer_index(HOLES) == pytest.approx(sqrt(sum(d * d for d in depths) / 300), rel=1e-10)
    assert pain_index(HOLES) == pytest.approx(-sum(depths) / 300, rel=1e-10)
    worst = sorted(-d for d in depths)[-30:]
    assert cdar(HOLES, alpha=0.1) == pytest.approx(sum(worst) / 30, rel=1e-10)
    assert cdar(RETURNS, alpha=1 / 400) == pytest.approx(-max_drawdown(RETURNS), rel=1e-12)
    assert cdar(RETURNS, alpha=0.999999) == pytest.approx(pain_index(RETURNS), rel=1e-4)
    for metric in (ulcer_index, pain_index, lambda r: cdar(r, alpha=0.5)):
        assert isnan(metric([]))
        assert metric([0.1, 0.1]) == 0.0


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=60),
    st.data(),
)
def test_a_drawdown_is_a_matter_of_the_past(returns, data):
    """Depths of a prefix are a prefix of the depths; more history never heals the worst."""
    cut = data.draw(st.integers(1, len(returns)))
    full = drawdown_series(returns)
    np.testing.assert_array_equal(drawdown_series(returns[:cut]), full[:cut])
    assert max_drawdown(returns) <= max_drawdown(returns[:cut]) <= 0.0
    whole, head = drawdown_spells(returns), drawdown_spells(returns[:cut])
    closed = [spell for spell in head if spell.recovered is not None]
    assert list(whole[: len(closed)]) == closed
    assert pain_index(returns) <= ulcer_index(returns) + 1e-15
    assert ulcer_index(returns) <= -max_drawdown(returns) + 1e-15


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_order_does_not_matter_to_what_has_no_time(seed):
    rng = np.random.default_rng(seed)
    returns = 0.01 * rng.standard_normal(50)
    shuffled = rng.permutation(returns)
    for metric in (
        cumulative_return,
        omega,
        tail_ratio,
        payoff_ratio,
        lambda r: sortino(r, periods_per_year=252),
        lambda r: moments(r).kurtosis,
        lambda r: var_es(r, alpha=0.1).es,
    ):
        assert metric(shuffled) == pytest.approx(metric(returns), rel=1e-9)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(1e-3, 1e3))
def test_ratios_have_no_unit_and_risks_have_one(scale):
    for ratio in (omega, tail_ratio, payoff_ratio, lambda r: moments(r).skew):
        assert ratio(scale * RETURNS) == pytest.approx(ratio(RETURNS), rel=1e-9)
    for method in ("historical", "gaussian", "cornish_fisher", "student_t"):
        one = var_es(RETURNS, alpha=0.05, method=method)
        many = var_es(scale * RETURNS, alpha=0.05, method=method)
        assert (many.var, many.es) == pytest.approx((scale * one.var, scale * one.es), rel=1e-9)


# ---------------------------------------------------------------- against a benchmark


def test_alpha_and_beta_equal_the_regression():
    own = 0.7 * MARKET + 0.003 * RNG.standard_normal(300) + 0.0005
    holes, market = own.copy(), MARKET.copy()
    holes[3], market[[9, 10]] = np.nan, np.nan
    keep = ~(np.isnan(holes) | np.isnan(market))
    fit = scipy_stats.linregress(market[keep] - 1e-4, own[keep] - 1e-4)
    line = alpha_beta(holes, market, periods_per_year=252, rf_per_period=1e-4)
    assert line.beta == pytest.approx(fit.slope, rel=1e-10)
    assert line.alpha_per_period == pytest.approx(fit.intercept, rel=1e-8)
    assert line.alpha_ann == pytest.approx(252 * fit.intercept, rel=1e-8)
    assert line.r_squared == pytest.approx(fit.rvalue**2, rel=1e-9)
    residual = own[keep] - 1e-4 - fit.intercept - fit.slope * (market[keep] - 1e-4)
    assert line.residual_std == pytest.approx(sqrt((residual**2).sum() / (297 - 2)), rel=1e-9)
    assert line.n_obs == 297


def test_tracking_error_and_information_ratio_are_those_of_the_difference():
    difference = RETURNS - MARKET
    assert tracking_error(RETURNS, MARKET, periods_per_year=252) == pytest.approx(
        difference.std(ddof=1) * sqrt(252), rel=1e-12
    )
    assert information_ratio(RETURNS, MARKET, periods_per_year=252) == pytest.approx(
        sharpe(difference, periods_per_year=252).value, rel=1e-12
    )
    assert isnan(information_ratio(MARKET + 0.0, MARKET, periods_per_year=252))
    assert isnan(information_ratio([0.1], [0.0], periods_per_year=252))


def test_lines_that_do_not_exist_are_nan():
    assert isnan(alpha_beta([0.1, 0.2], [0.1, 0.2], periods_per_year=1).beta)
    flat = alpha_beta([0.1, 0.2, 0.3], [0.1, 0.1, 0.1], periods_per_year=1)
    assert isnan(flat.beta)
    own_flat = alpha_beta([0.1, 0.1, 0.1], [0.1, 0.2, 0.4], periods_per_year=1)
    assert own_flat.beta == pytest.approx(0.0, abs=1e-15)
    assert isnan(own_flat.r_squared)
    with pytest.raises(DataError, match="benchmark_returns: wanted shape"):
        alpha_beta([0.1, 0.2], [0.1], periods_per_year=1)


# ---------------------------------------------------------------- concentration


def test_concentration_equals_the_loop():
    weights = RNG.normal(size=(20, 7))
    weights[4, :] = 0.0
    weights[5, 2] = np.nan
    for row, index, number in zip(
        weights, herfindahl(weights), effective_number(weights), strict=True
    ):
        sizes = [abs(w) for w in row if not isnan(w)]
        if sum(sizes) == 0.0:
            assert isnan(index)
            continue
        wanted = sum((w / sum(sizes)) ** 2 for w in sizes)
        assert index == pytest.approx(wanted, rel=1e-12)
        assert number == pytest.approx(1.0 / wanted, rel=1e-12)
        one = concentration(row)
        assert one.herfindahl == pytest.approx(wanted, rel=1e-12)
        even = 1.0 / len(sizes)
        assert one.normalised == pytest.approx((wanted - even) / (1.0 - even), rel=1e-9)
        assert one.largest_share == pytest.approx(max(sizes) / sum(sizes))


def test_concentration_of_nothing_and_of_one():
    assert isnan(concentration([]).herfindahl)
    assert isnan(concentration([0.0, 0.0]).effective_number)
    alone = concentration([3.0])
    assert (alone.herfindahl, alone.effective_number) == (1.0, 1.0)
    assert isnan(alone.normalised)


def test_gains_by_period_equal_a_group_by():
    months = pd.bdate_range("2023-01-02", periods=300).to_numpy().astype("M8[M]")
    sums = pd.Series(RETURNS).groupby(months).sum()
    gains, losses = sums[sums > 0], -sums[sums < 0]
    for chosen, is_gain in ((gains, True), (losses, False)):
        got = return_concentration(RETURNS, months, is_gain=is_gain)
        share = chosen / chosen.sum()
        assert got.herfindahl == pytest.approx((share**2).sum(), rel=1e-9)
        assert got.n_parts == len(chosen)
    with pytest.raises(DataError, match="one label per return"):
        return_concentration(RETURNS, months[1:])


def test_the_summary_is_made_of_the_single_metrics():
    result = performance_summary(HOLES, periods_per_year=252, rf_per_period=1e-4, tail_alpha=0.1)
    ratio = sharpe(HOLES, periods_per_year=252, rf_per_period=1e-4)
    assert result.sharpe == ratio
    assert result.sortino == sortino(HOLES, periods_per_year=252, target_per_period=1e-4)
    assert result.tail == var_es(HOLES, alpha=0.1)
    assert result.cdar == cdar(HOLES, alpha=0.1)
    assert (result.n_obs, result.ddof, result.tail_alpha) == (300, 1, 0.1)
    empty = performance_summary([], periods_per_year=252)
    assert empty.sharpe.status == "too_few"
    assert isnan(empty.max_drawdown)
