"""Information coefficients against scipy, with ties, holes and constants."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.hac import newey_west_mean
from quant_engine.stats.ic import (
    ic_by_date,
    pooled_moment,
    rank_autocorrelation,
    summarise_ic,
)

pytestmark = pytest.mark.feature("Q-48")

RNG = np.random.default_rng(21)


def panel(n_dates=30, n_assets=40, missing=0.2, digits=None):
    """Scores and targets with holes; few digits make ties."""
    scores = RNG.standard_normal((n_dates, n_assets))
    targets = 0.3 * scores + RNG.standard_normal((n_dates, n_assets))
    if digits is not None:
        scores, targets = scores.round(digits), targets.round(digits)
    scores[RNG.random(scores.shape) < missing] = np.nan
    targets[RNG.random(targets.shape) < missing] = np.nan
    return scores, targets


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize(("method", "oracle"), [("pearson", pearsonr), ("rank", spearmanr)])
def test_each_date_equals_scipy(digits, method, oracle):
    scores, targets = panel(digits=digits)
    got = ic_by_date(scores, targets, method=method, min_assets=5)
    for t in range(len(scores)):
        both = ~(np.isnan(scores[t]) | np.isnan(targets[t]))
        wanted = oracle(scores[t, both], targets[t, both]).statistic
        assert got[t] == pytest.approx(wanted, abs=1e-12)


def test_too_few_pairs_or_no_variation_is_nan_and_not_zero():
    scores, targets = panel(n_dates=4, n_assets=12, missing=0.0)
    scores[0, 3:] = np.nan
    targets[1, :3] = np.nan
    scores[2] = 0.1
    targets[3] = 0.1
    for method in ("pearson", "rank"):
        got = ic_by_date(scores, targets, method=method, min_assets=10)
        assert np.isnan(got).all()
    assert not isnan(ic_by_date(scores, targets, min_assets=9)[1])


@given(st.integers(0, 2**32 - 1), st.sampled_from(["pearson", "rank"]))
@settings(max_examples=30, deadline=None)
def test_asset_order_and_positive_scale_do_not_matter(seed, method):
    rng = np.random.default_rng(seed)
    scores, targets = rng.standard_normal((2, 6, 25))
    order = rng.permutation(25)
    base = ic_by_date(scores, targets, method=method)
    moved = ic_by_date(scores[:, order], targets[:, order], method=method)
    np.testing.assert_allclose(moved, base, atol=1e-12)
    np.testing.assert_allclose(
        ic_by_date(7.0 * scores - 3.0, targets, method=method), base, atol=1e-12
    )
    np.testing.assert_allclose(ic_by_date(-scores, targets, method=method), -base, atol=1e-12)


def test_rank_ic_is_invariant_to_monotone_transforms_and_float32_is_accepted():
    scores, targets = panel(missing=0.1)
    base = ic_by_date(scores, targets, method="rank")
    np.testing.assert_array_equal(ic_by_date(np.exp(scores), targets, method="rank"), base)
    single = ic_by_date(scores.astype(np.float32), targets.astype(np.float32))
    np.testing.assert_allclose(single, ic_by_date(scores, targets), atol=1e-5)


def test_inputs_are_not_changed():
    scores, targets = panel()
    kept = scores.copy(), targets.copy()
    ic_by_date(scores, targets, method="rank")
    np.testing.assert_array_equal(scores, kept[0])
    np.testing.assert_array_equal(targets, kept[1])


def test_bad_arguments_name_themselves():
    scores, targets = panel()
    with pytest.raises(DataError, match="targets: wanted shape"):
        ic_by_date(scores, targets[1:])
    with pytest.raises(DataError, match="scores: wanted finite"):
        ic_by_date(np.where(np.isnan(scores), np.inf, scores), targets)
    with pytest.raises(ConfigError, match="method"):
        ic_by_date(scores, targets, method="spearman")
    with pytest.raises(ConfigError, match="min_assets"):
        ic_by_date(scores, targets, min_assets=1)


def test_summary_equals_the_plain_formulas():
    ic = ic_by_date(*panel(n_dates=60))
    ic[7] = np.nan
    observed = [value for value in ic if not isnan(value)]
    n = len(observed)
    mean = sum(observed) / n
    std = (sum((v - mean) ** 2 for v in observed) / (n - 1)) ** 0.5
    summary = summarise_ic(ic, lags=0)
    assert summary.mean == pytest.approx(mean)
    assert summary.icir == pytest.approx(mean / std)
    assert summary.hit_rate == sum(v > 0 for v in observed) / n
    assert summary.n_dates == 59
    assert summary.t == pytest.approx(mean / (std * ((n - 1) / n) ** 0.5 / n**0.5))
    assert isnan(summarise_ic([0.1, 0.1, 0.1], lags=0).icir)
    with pytest.raises(InsufficientHistoryError):
        summarise_ic([np.nan, 0.1], lags=0)


def test_the_small_sample_t_without_lags_is_icir_times_root_n():
    series = RNG.normal(0.02, 0.1, 40)
    summary = summarise_ic(series, lags=0, small_sample=True)
    assert summary.t == pytest.approx(summary.icir * np.sqrt(40), rel=1e-12)
    assert summary.small_sample
    assert summarise_ic(series, lags=0).t > summary.t


@pytest.mark.parametrize("lag", [1, 3])
def test_rank_autocorrelation_equals_scipy(lag):
    scores, _ = panel(n_dates=8)
    got = rank_autocorrelation(scores, lag=lag, min_assets=5)
    assert len(got) == 8 - lag
    for t, value in enumerate(got):
        both = ~(np.isnan(scores[t]) | np.isnan(scores[t + lag]))
        wanted = spearmanr(scores[t, both], scores[t + lag, both]).statistic
        assert value == pytest.approx(wanted, abs=1e-12)
    assert rank_autocorrelation(scores, lag=9).tolist() == []
    with pytest.raises(ConfigError, match="lag: wanted at least 1"):
        rank_autocorrelation(scores, lag=0)


def test_pooled_moment_equals_the_loop():
    scores, targets = panel(n_dates=25, n_assets=12)
    scores[7, 3:] = np.nan
    sums, counts, squares = [], [], [0.0, 0.0]
    for s, y in zip(scores, targets, strict=True):
        both = ~(np.isnan(s) | np.isnan(y))
        if both.sum() < 5:
            sums.append(np.nan)
            counts.append(np.nan)
            continue
        a, b = s[both] - s[both].mean(), y[both] - y[both].mean()
        sums.append(sum(a * b))
        counts.append(both.sum())
        squares = [squares[0] + sum(a * a), squares[1] + sum(b * b)]
    sums, counts = np.array(sums), np.array(counts)
    got = pooled_moment(scores, targets, lags=2, min_assets=5)
    wanted = np.nansum(sums) / np.nansum(counts)
    assert got.moment == pytest.approx(wanted, rel=1e-10)
    assert got.correlation == pytest.approx(np.nansum(sums) / np.sqrt(np.prod(squares)), rel=1e-10)
    residual = newey_west_mean(sums - wanted * counts, lags=2)
    assert got.std_error == pytest.approx(residual.std_error / np.nanmean(counts), rel=1e-10)
    assert got.t == pytest.approx(got.moment / got.std_error)
    assert got.n_dates == (~np.isnan(counts)).sum() < 25
    assert got.n_pairs == np.nansum(counts)


def test_pooled_moment_is_the_regression_slope_times_the_variance():
    scores, targets = panel(missing=0.0)
    a = (scores - scores.mean(axis=1, keepdims=True)).ravel()
    slope = a @ targets.ravel() / (a @ a)
    got = pooled_moment(scores, targets, lags=0)
    assert got.moment == pytest.approx(slope * np.mean(a**2), rel=1e-10)


def test_crash_dates_bias_the_mean_correlation_and_not_the_pooled_moment():
    """Risky assets lose 20 % with probability 1 % and earn its compensation otherwise: null."""
    rng = np.random.default_rng(3)
    risk = np.tile(np.repeat([0.0, 1.0], [45, 5]), (12_000, 1))
    crash = rng.random(risk.shape) < 0.01
    noise = 0.002 * rng.standard_normal(risk.shape)
    outcome = noise + risk * np.where(crash, -0.2, 0.2 * 0.01 / 0.99)
    ic = summarise_ic(ic_by_date(risk, outcome), lags=0)
    pooled = pooled_moment(risk, outcome, lags=0)
    assert ic.t > 20
    assert abs(pooled.t) < 3


def test_the_pooled_test_has_nominal_size():
    rng = np.random.default_rng(8)
    rejected = [
        pooled_moment(rng.normal(size=(60, 10)), rng.normal(size=(60, 10)), lags=0).p_value < 0.05
        for _ in range(400)
    ]
    assert 0.02 <= np.mean(rejected) <= 0.09


def test_panels_that_cannot_be_pooled_are_refused():
    scores, targets = panel()
    with pytest.raises(InsufficientHistoryError):
        pooled_moment(scores[:1], targets[:1], lags=0)
    with pytest.raises(ConfigError, match="min_assets"):
        pooled_moment(scores, targets, lags=0, min_assets=1)
    with pytest.raises(DataError, match="targets: wanted shape"):
        pooled_moment(scores, targets[1:], lags=0)
    constant = pooled_moment(np.ones((5, 12)), targets[:5, :12], lags=0, min_assets=2)
    assert isnan(constant.t)
    assert isnan(constant.correlation)
