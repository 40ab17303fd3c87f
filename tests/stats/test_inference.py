"""Newey-West tests against statsmodels, plain loops and closed forms."""

from math import isnan, sqrt

import numpy as np
import pytest
from scipy.stats import t as student_t
from statsmodels.regression.linear_model import OLS

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.inference import (
    automatic_lags,
    known_mean,
    long_run_variance,
    newey_west_lags,
    newey_west_mean,
    newey_west_or_nan,
    newey_west_regression,
    student_p_value,
)

pytestmark = pytest.mark.feature("Q-36")

RNG = np.random.default_rng(3)


def autocorrelated(n: int, rho: float = 0.5) -> np.ndarray:
    """AR(1) with a small positive mean."""
    x = np.empty(n)
    x[0] = RNG.standard_normal()
    for t in range(1, n):
        x[t] = rho * x[t - 1] + RNG.standard_normal()
    return 0.1 + x


def loop_variance(x, lags):
    """Bartlett long-run variance with two nested Python loops."""
    n = len(x)
    d = [value - sum(x) / n for value in x]
    total = 0.0
    for i in range(n):
        for j in range(n):
            if abs(i - j) <= lags:
                total += (1 - abs(i - j) / (lags + 1)) * d[i] * d[j]
    return total / n


@pytest.mark.parametrize("lags", [0, 1, 4, 19])
def test_long_run_variance_equals_the_double_loop(lags):
    x = autocorrelated(60)
    assert long_run_variance(x, lags=lags) == pytest.approx(loop_variance(x, lags), rel=1e-10)


@pytest.mark.parametrize("lags", [0, 3, 10])
@pytest.mark.parametrize("small_sample", [False, True])
def test_mean_test_equals_statsmodels(lags, small_sample):
    x = autocorrelated(120)
    fit = OLS(x, np.ones_like(x)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": small_sample}, use_t=True
    )
    got = newey_west_mean(x, lags=lags, small_sample=small_sample)
    assert got.mean == pytest.approx(fit.params[0], rel=1e-12)
    assert got.std_error == pytest.approx(fit.bse[0], rel=1e-10)
    assert got.t == pytest.approx(fit.tvalues[0], rel=1e-10)
    assert got.p_value == pytest.approx(fit.pvalues[0], rel=1e-8)


@pytest.mark.parametrize("small_sample", [False, True])
def test_regression_equals_statsmodels(small_sample):
    x = np.column_stack([RNG.standard_normal((150, 2)), np.ones(150)])
    y = x @ [0.4, -0.2, 0.01] + autocorrelated(150)
    fit = OLS(y, x).fit(
        cov_type="HAC", cov_kwds={"maxlags": 5, "use_correction": small_sample}, use_t=True
    )
    got = newey_west_regression(y, x, lags=5, small_sample=small_sample)
    np.testing.assert_allclose(got.params, fit.params, rtol=1e-10)
    np.testing.assert_allclose(got.std_errors, fit.bse, rtol=1e-9)
    np.testing.assert_allclose(got.t, fit.tvalues, rtol=1e-9)
    np.testing.assert_allclose(got.p_values, fit.pvalues, rtol=1e-7)


def test_regression_on_a_constant_is_the_mean_test():
    x = autocorrelated(80)
    fit = newey_west_regression(x, np.ones((80, 1)), lags=6)
    test = newey_west_mean(x, lags=6)
    assert fit.params[0] == pytest.approx(test.mean)
    assert fit.std_errors[0] == pytest.approx(test.std_error)


def test_lag_zero_is_the_textbook_error():
    x = autocorrelated(50)
    assert newey_west_mean(x, lags=0).std_error == pytest.approx(x.std() / sqrt(50), rel=1e-12)
    classic = newey_west_mean(x, lags=0, small_sample=True)
    assert classic.t == pytest.approx(x.mean() / (x.std(ddof=1) / sqrt(50)), rel=1e-12)


def test_gaps_keep_their_place_in_time():
    """A value after a gap is no neighbour of the value before it."""
    x = autocorrelated(40)
    holes = x.copy()
    holes[[5, 6, 20]] = np.nan
    observed = ~np.isnan(holes)
    n, mean = observed.sum(), holes[observed].mean()
    d = np.where(observed, holes - mean, 0.0)
    total = sum(d[t] ** 2 for t in range(40)) + sum(
        2 * (1 - lag / 4) * sum(d[t] * d[t - lag] for t in range(lag, 40)) for lag in (1, 2, 3)
    )
    got = newey_west_mean(holes, lags=3)
    assert got.n == 37
    assert got.std_error == pytest.approx(sqrt(total) / n, rel=1e-12)
    squeezed = newey_west_mean(holes[observed], lags=3)
    assert got.std_error != pytest.approx(squeezed.std_error, rel=1e-6)


def test_overlapping_labels_are_not_significant_by_construction():
    """Monte Carlo null: sums over 10 periods; the plain t rejects far too often."""
    rng = np.random.default_rng(8)
    plain = corrected = 0
    for _ in range(300):
        noise = rng.standard_normal(510)
        series = np.convolve(noise, np.ones(10), mode="valid")[:500]
        plain += newey_west_mean(series, lags=0).p_value < 0.05
        corrected += newey_west_mean(series, lags=20).p_value < 0.05
    assert plain / 300 > 0.35
    assert corrected / 300 < 0.16


def test_a_series_without_variation_has_no_t():
    test = newey_west_mean([0.1] * 7, lags=2)
    assert test.std_error == 0.0
    assert isnan(test.t)
    assert isnan(test.p_value)


def test_bad_arguments_name_themselves():
    with pytest.raises(InsufficientHistoryError, match="at least 2 observations"):
        newey_west_mean([0.1, np.nan], lags=0)
    with pytest.raises(ConfigError, match="lags"):
        newey_west_mean([0.1, 0.2], lags=2)
    with pytest.raises(ConfigError, match="lags"):
        newey_west_mean([0.1, 0.2], lags=-1)
    with pytest.raises(ConfigError, match="n_obs"):
        newey_west_lags(0)
    assert isnan(long_run_variance([np.nan, np.nan], lags=0))
    ones = np.ones((5, 1))
    with pytest.raises(DataError, match="complete rows"):
        newey_west_regression([1.0, np.nan, 1.0, 2.0, 3.0], ones, lags=0)
    with pytest.raises(DataError, match="linearly independent"):
        newey_west_regression(np.arange(5.0), np.hstack([ones, ones]), lags=0)
    with pytest.raises(InsufficientHistoryError, match="more than 1 rows"):
        newey_west_regression([1.0], [[1.0]], lags=0)


def test_a_long_enough_series_has_the_plain_test():
    x = autocorrelated(40)
    x[7] = np.nan
    assert newey_west_or_nan(x, lags=3, min_obs=10) == newey_west_mean(x, lags=3)
    assert newey_west_or_nan(x, lags=99) == newey_west_mean(x, lags=38), "lags are cut"


@pytest.mark.parametrize(("n_obs", "min_obs"), [(0, 2), (1, 2), (1, 0), (9, 10)])
def test_a_short_series_has_a_mean_and_no_test(n_obs, min_obs):
    x = np.full(30, np.nan)
    x[:n_obs] = np.arange(n_obs)
    got = newey_west_or_nan(x, lags=1, min_obs=min_obs)
    assert got.n == n_obs
    assert got.mean == (n_obs - 1) / 2 if n_obs else isnan(got.mean)
    assert isnan(got.std_error)
    assert isnan(got.t)
    assert isnan(got.p_value)


def test_known_mean_leaves_out_what_is_missing():
    assert known_mean([[1.0, np.nan], [2.0, 6.0]]) == 3.0
    assert isnan(known_mean([np.nan]))
    assert isnan(known_mean([]))


@pytest.mark.parametrize("rule", ["newey_west_1994", "fourth_root", "stock_watson"])
def test_lag_rules_count_up_with_the_length(rule):
    lags = [newey_west_lags(n, rule=rule) for n in (1, 16, 81, 100, 252, 1000, 10_000)]
    assert lags == sorted(lags)
    exact = {
        "newey_west_1994": lambda n: 4 * (n / 100) ** (2 / 9),
        "fourth_root": lambda n: n**0.25,
        "stock_watson": lambda n: 0.75 * n ** (1 / 3),
    }[rule]
    for n in (7, 24, 60, 252, 1234):
        assert newey_west_lags(n, rule=rule) == int(exact(n))
    assert newey_west_lags(81, rule="fourth_root") == 3, "a whole root stays whole"


def loop_plug_in(x):
    """Newey and West (1994) with Python loops."""
    n = len(x)
    d = [value - sum(x) / n for value in x]
    g = [
        sum(d[t] * d[t - j] for t in range(j, n)) / n
        for j in range(int(4 * (n / 100) ** (2 / 9)) + 1)
    ]
    s0 = g[0] + 2 * sum(g[1:])
    s1 = 2 * sum(j * value for j, value in enumerate(g))
    return int(1.1447 * ((s1 / s0) ** 2 * n) ** (1 / 3))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_automatic_lags_equal_their_formulas(rho):
    x = autocorrelated(300, rho)
    assert automatic_lags(x) == loop_plug_in(x.tolist())
    d = x - x.mean()
    r = np.linalg.lstsq(d[:-1, None], d[1:], rcond=None)[0][0]
    alpha = 4 * r**2 / (1 - r**2) ** 2
    assert automatic_lags(x, rule="andrews_ar1") == int(1.1447 * (alpha * 300) ** (1 / 3))


def test_automatic_lags_follow_dependence_and_stay_below_the_length():
    slow, fast = autocorrelated(400, 0.95), autocorrelated(400, 0.0)
    for rule in ("newey_west_plug_in", "andrews_ar1"):
        assert automatic_lags(slow, rule=rule) > automatic_lags(fast, rule=rule)
    trend = np.arange(12.0)
    assert automatic_lags(trend, rule="andrews_ar1") <= 11
    assert automatic_lags(np.tile([1.0, -1.0], 30)) == 0, "a series that reverts needs none"


def test_bad_lag_rules_name_themselves():
    with pytest.raises(ConfigError, match="rule"):
        newey_west_lags(10, rule="newey")
    with pytest.raises(ConfigError, match="rule"):
        automatic_lags(np.arange(9.0), rule="andrews")
    with pytest.raises(InsufficientHistoryError, match="at least 4"):
        automatic_lags([1.0, 2.0, 3.0])
    for broken in ([1.0] * 9, [np.nan, *range(9)]):
        with pytest.raises(DataError, match="varies, without NaN"):
            automatic_lags(broken)


def test_student_p_values_equal_scipy():
    t, df = np.array([2.5, -1.0, np.nan]), np.array([3.0, 30.0, 5.0])
    np.testing.assert_allclose(student_p_value(t, df=df), 2 * student_t.sf(np.abs(t), df))
    np.testing.assert_allclose(student_p_value(t, df=df, two_sided=False), student_t.sf(t, df))
    with pytest.raises(ConfigError, match="df"):
        student_p_value(1.0, df=0)
