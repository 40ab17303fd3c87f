"""DSR, expected maximum and backtest length: quadrature, simulation, laws."""

from math import e, log, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.deflation import (
    deflated_sharpe,
    expected_max_normal,
    expected_max_sharpe,
    min_backtest_length,
    sd_of_max_normal,
    trial_variance,
)
from quant_engine.stats.sharpe_inference import NORMAL_SHAPE, ReturnShape, probabilistic_sharpe


def moment(n, power):
    """Order-statistic moment ``int x^p n phi(x) Phi(x)^(n-1) dx`` by adaptive quadrature."""
    value, _ = quad(
        lambda x: x**power * n * norm.pdf(x) * norm.cdf(x) ** (n - 1), -12, 12, epsabs=1e-13,
        limit=400, points=[0.0, 3.0],
    )  # fmt: skip
    return value


@pytest.mark.parametrize("n", [1, 1.7, 2, 3, 10, 100, 5000])
def test_exact_maximum_equals_quadrature(n):
    first, second = moment(n, 1), moment(n, 2)
    assert expected_max_normal(n, form="exact") == pytest.approx(first, abs=1e-9)
    assert sd_of_max_normal(n) == pytest.approx(sqrt(second - first**2), abs=1e-8)


def test_exact_maximum_of_few_has_a_closed_form():
    assert expected_max_normal(2, form="exact") == pytest.approx(1 / sqrt(pi), abs=1e-13)
    assert expected_max_normal(3, form="exact") == pytest.approx(1.5 / sqrt(pi), abs=1e-13)
    assert sd_of_max_normal(2) == pytest.approx(sqrt(1 - 1 / pi), abs=1e-13)
    assert (expected_max_normal(1), expected_max_normal(1, form="exact")) == (0.0, 0.0)
    assert sd_of_max_normal(1) == pytest.approx(1.0)


def test_approximation_equals_the_formula_and_nears_the_exact_value():
    for n in (2, 10, 45, 1e6):
        plain = (1 - np.euler_gamma) * norm.ppf(1 - 1 / n) + np.euler_gamma * norm.ppf(
            1 - 1 / (n * e)
        )
        assert expected_max_normal(n) == pytest.approx(plain, rel=1e-9)
    n = np.array([10.0, 100.0, 1e4, 1e8])
    gap = expected_max_normal(n) / expected_max_normal(n, form="exact") - 1.0
    assert (abs(gap) < [0.03, 0.01, 0.004, 0.002]).all()


@given(st.floats(1.0, 1e6), st.floats(1.0, 100.0))
@settings(max_examples=60, deadline=None)
def test_more_trials_raise_the_maximum(n, factor):
    for form in ("approximate", "exact"):
        low, high = expected_max_normal([n, n * factor], form=form)
        assert 0.0 <= low <= high
    assert sd_of_max_normal(n * factor) <= sd_of_max_normal(n) + 1e-12


@given(
    st.floats(-0.2, 0.4),
    st.integers(10, 3000),
    st.floats(0.0, 0.01),
    st.integers(1, 5000),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_deflation_never_helps_and_is_psr_at_the_benchmark(s, n, variance, trials, null):
    shape = ReturnShape(-0.5, 6.0)

    def dsr(count, spread):
        return deflated_sharpe(
            s,
            n_obs=n,
            shape=shape,
            trial_variance_per_period=spread,
            n_trials=count,
            null_variance=null,
        )

    result = dsr(trials, variance)
    psr = probabilistic_sharpe(s, n_obs=n, shape=shape, null_variance=False)
    if not null:
        assert result.probability <= psr.probability
        assert dsr(2 * trials, variance).probability <= result.probability
        assert dsr(trials, 2 * variance).probability <= result.probability
    at = probabilistic_sharpe(
        s,
        n_obs=n,
        shape=shape,
        benchmark_per_period=result.benchmark_per_period,
        null_variance=null,
    )
    assert result.probability == at.probability
    assert dsr(1, variance).benchmark_per_period == 0.0
    assert dsr(trials, 0.0).benchmark_per_period == 0.0
    if not null:
        assert dsr(1, variance).probability == psr.probability


def test_one_call_serves_many_strategies():
    rng = np.random.default_rng(1)
    s, n = rng.normal(0.0, 0.05, 300), rng.integers(100, 900, 300)
    g3 = rng.normal(0.0, 0.5, 300)
    many = deflated_sharpe(
        s,
        n_obs=n,
        shape=ReturnShape(g3, 4.0 + g3**2),
        trial_variance_per_period=0.002,
        n_trials=np.arange(1, 301),
        form="exact",
    )
    for i in (0, 17, 299):
        one = deflated_sharpe(
            s[i],
            n_obs=n[i],
            shape=ReturnShape(g3[i], 4.0 + g3[i] ** 2),
            trial_variance_per_period=0.002,
            n_trials=i + 1,
            form="exact",
        )
        assert many.probability[i] == pytest.approx(one.probability, rel=1e-12)
        assert isinstance(one.probability, float)
    assert many.convention == "psr_2012, expected maximum exact"


def test_counted_trials_keep_the_level_and_hidden_ones_break_it():
    """Best of 200 useless strategies: DSR passes rarely, one reported trial nearly always."""
    rng = np.random.default_rng(6)
    passed = {"counted": 0, "hidden": 0}
    for _ in range(200):
        returns = rng.standard_normal((250, 200))
        sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        for name, trials, variance in (
            ("counted", 200, trial_variance(sharpes)),
            ("hidden", 1, 0.0),
        ):
            dsr = deflated_sharpe(
                sharpes.max(),
                n_obs=250,
                shape=NORMAL_SHAPE,
                trial_variance_per_period=variance,
                n_trials=trials,
            )
            passed[name] += dsr.probability > 0.95
    assert passed["counted"] <= 6
    assert passed["hidden"] >= 190


def test_trial_variance_names_its_divisor():
    trials = [3.5, 1.01, 1.02]
    assert trial_variance(trials) == pytest.approx(np.var(trials, ddof=1))
    assert trial_variance(trials, ddof=0) == pytest.approx(np.var(trials))
    assert trial_variance([0.3]) == 0.0


def test_best_of_n_useless_backtests_reaches_the_target_at_the_minimum_length():
    rng = np.random.default_rng(9)
    result = min_backtest_length(45, target_sharpe_annual=1.0, form="exact")
    estimates = rng.standard_normal((20_000, 45)) / sqrt(result.min_years)
    assert estimates.max(axis=1).mean() == pytest.approx(1.0, abs=0.01)
    assert result.upper_bound_years == pytest.approx(2 * log(45))
    assert min_backtest_length(1).min_years == 0.0
    lengths = min_backtest_length([2, 10, 1000], target_sharpe_annual=0.5)
    assert (np.diff(lengths.min_years) > 0).all()
    assert (lengths.min_years < lengths.upper_bound_years).all()


def test_bad_arguments_name_themselves():
    for n in (0, 0.5):
        with pytest.raises(InsufficientHistoryError, match="n_trials"):
            expected_max_normal(n)
        with pytest.raises(InsufficientHistoryError, match="n_trials"):
            sd_of_max_normal(n)
    with pytest.raises(ConfigError, match="form"):
        expected_max_normal(3, form="asymptotic")
    with pytest.raises(DataError, match="trial_variance_per_period"):
        expected_max_sharpe(n_trials=3, trial_variance_per_period=-0.1)
    with pytest.raises(DataError, match="n_trials"):
        expected_max_sharpe(n_trials=np.nan, trial_variance_per_period=0.1)
    with pytest.raises(InsufficientHistoryError, match="at least 1 trial"):
        trial_variance([])
    with pytest.raises(DataError, match="trial_sharpes_per_period"):
        trial_variance([0.1, np.nan])
    with pytest.raises(ConfigError, match="ddof"):
        trial_variance([0.1, 0.2], ddof=2)
    for target in (0.0, -1.0, np.nan):
        with pytest.raises(ConfigError, match="target_sharpe_annual"):
            min_backtest_length(5, target_sharpe_annual=target)
