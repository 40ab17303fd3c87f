"""PSR and track record: second derivations, laws, units."""

from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.sharpe_inference import (
    NORMAL_SHAPE,
    ReturnShape,
    min_track_record,
    per_period,
    probabilistic_sharpe,
    sharpe_sample,
    sharpe_std_error,
)

PHI = NormalDist()
RNG = np.random.default_rng(23)

sharpes = st.floats(-0.8, 0.8)
counts = st.integers(3, 5000)


@st.composite
def shapes(draw):
    skew = draw(st.floats(-3.0, 3.0))
    return ReturnShape(skew, 1.0 + skew**2 + draw(st.floats(0.5, 20.0)))


def plain_psr(s, s0, n, shape):
    variance = 1 - shape.skew * s + (shape.kurtosis_pearson - 1) / 4 * s * s
    return PHI.cdf((s - s0) * sqrt(n - 1) / sqrt(variance))


@given(sharpes, sharpes, counts, shapes())
@settings(max_examples=80, deadline=None)
def test_psr_equals_the_formula_of_the_paper(s, s0, n, shape):
    got = probabilistic_sharpe(s, n_obs=n, shape=shape, benchmark_per_period=s0)
    assert got.probability == pytest.approx(plain_psr(s, s0, n, shape), abs=1e-12)
    assert got.convention == "psr_2012"


@given(sharpes, counts, shapes())
@settings(max_examples=80, deadline=None)
def test_psr_is_monotone(s, n, shape):
    """Up in the ratio's distance, down in the benchmark, up in n above it and down below it."""
    for null_variance in (False, True):

        def psr(count, benchmark, null=null_variance):
            return probabilistic_sharpe(
                s, n_obs=count, shape=shape, benchmark_per_period=benchmark, null_variance=null
            ).probability

        assert psr(2 * n, s - 0.1) >= psr(n, s - 0.1) >= 0.5
        assert psr(2 * n, s + 0.1) <= psr(n, s + 0.1) <= 0.5
        assert psr(n, s) == 0.5
    assert (
        probabilistic_sharpe(s, n_obs=n, shape=shape, benchmark_per_period=s - 0.2).probability
        >= probabilistic_sharpe(s, n_obs=n, shape=shape, benchmark_per_period=s - 0.1).probability
    )


def test_the_two_conventions_differ_as_published():
    """The fund of the 2012 paper: .913 and .987."""
    shape = ReturnShape(skew=-2.448, kurtosis_pearson=10.164)
    s = 0.036 / 0.079
    old = probabilistic_sharpe(s, n_obs=24, shape=shape)
    new = probabilistic_sharpe(s, n_obs=24, shape=shape, null_variance=True)
    assert old.probability == pytest.approx(0.913, abs=1e-3)
    assert new.probability == pytest.approx(0.987, abs=1e-3)
    assert new.std_error == pytest.approx(1 / sqrt(24)), "at a null of 0 the shape is irrelevant"
    assert (old.convention, new.convention) == ("psr_2012", "psr_2025")


@given(st.floats(0.01, 0.6), st.floats(0.0, 0.9), shapes(), st.floats(0.55, 0.999))
@settings(max_examples=60, deadline=None)
def test_track_record_is_the_inverse_of_psr(s, share, shape, confidence):
    benchmark = 0.9 * share * s
    for null_variance in (False, True):
        record = min_track_record(
            s,
            shape=shape,
            benchmark_per_period=benchmark,
            confidence=confidence,
            null_variance=null_variance,
        )
        n = max(float(record.min_obs), 3.0)
        psr = probabilistic_sharpe(
            s,
            n_obs=n,
            shape=shape,
            benchmark_per_period=benchmark,
            null_variance=null_variance,
        )
        if n > 3.0:
            assert psr.probability == pytest.approx(confidence, abs=1e-9)
        else:
            assert psr.probability >= confidence - 1e-9


def test_no_record_is_long_enough_for_a_ratio_at_or_below_the_benchmark():
    record = min_track_record([0.04, 0.05, 0.06], shape=NORMAL_SHAPE, benchmark_per_period=0.05)
    assert np.isinf(record.min_obs).tolist() == [True, True, False]
    assert record.years(252)[2] == record.min_obs[2] / 252


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.2, 0.6])
def test_error_under_autocorrelation_equals_the_sum_of_autocovariances(rho):
    """Long-run covariances of (r, r^2) of a first-order autoregression, summed over lags.

    With standardised returns ``cov(r_t, r_s) = rho^|k|``, ``cov(r_t, r_s^2) = g3 (rho^|k| +
    rho^2|k|) / 2`` on average over both orders, ``cov(r_t^2, r_s^2) = (g4 - 1) rho^2|k|``.
    """
    g3, g4, s, n = -1.2, 7.0, 0.3, 80
    lags = np.abs(np.arange(-400, 401))
    a = (rho**lags).sum()
    b = ((rho**lags + rho ** (2 * lags)) / 2).sum()
    c = (rho ** (2.0 * lags)).sum()
    wanted = sqrt((a - b * g3 * s + c * (g4 - 1) / 4 * s * s) / n)
    shape = ReturnShape(g3, g4, autocorrelation=rho)
    assert sharpe_std_error(s, n_obs=n, shape=shape) == pytest.approx(wanted, rel=1e-9)


def test_errors_equal_the_textbook_and_monte_carlo():
    assert sharpe_std_error(1.5, n_obs=60, shape=NORMAL_SHAPE) == pytest.approx(
        sqrt((1 + 1.5**2 / 2) / 60)
    )
    assert sharpe_std_error(0.2, n_obs=61, shape=NORMAL_SHAPE, ddof=1) == pytest.approx(
        sharpe_std_error(0.2, n_obs=60, shape=NORMAL_SHAPE)
    )
    draws = RNG.exponential(1.0, (8000, 400)) - 0.7
    ratios = draws.mean(axis=1) / draws.std(axis=1, ddof=1)
    shape = ReturnShape(skew=2.0, kurtosis_pearson=9.0)
    assert ratios.std() == pytest.approx(sharpe_std_error(0.3, n_obs=400, shape=shape), rel=0.03)


def test_samples_equal_scipy_column_by_column():
    returns = RNG.standard_t(5, (80, 6)) * 0.01 + 0.001
    returns[:10, 2] = np.nan
    many = sharpe_sample(returns, rf_per_period=0.0002, missing="omit")
    for column in range(6):
        x = returns[:, column]
        x = x[~np.isnan(x)]
        assert many.sharpe_per_period[column] == pytest.approx(
            (x - 0.0002).mean() / x.std(ddof=1), rel=1e-12
        )
        assert many.shape.skew[column] == pytest.approx(scipy.stats.skew(x), rel=1e-10)
        assert many.shape.kurtosis_pearson[column] == pytest.approx(
            scipy.stats.kurtosis(x, fisher=False), rel=1e-10
        )
        assert many.n_obs[column] == len(x)
    one = sharpe_sample(returns[:, 0], rf_per_period=0.0002)
    assert isinstance(one.sharpe_per_period, float)
    assert one.sharpe_per_period == pytest.approx(many.sharpe_per_period[0], rel=1e-12)
    psr = probabilistic_sharpe(many.sharpe_per_period, n_obs=many.n_obs, shape=many.shape)
    assert psr.probability.shape == (6,)


def test_leverage_leaves_the_sample_alone():
    x = RNG.standard_normal(100) + 0.1
    one, other = sharpe_sample(x), sharpe_sample(7.0 * x)
    assert other.sharpe_per_period == pytest.approx(one.sharpe_per_period)
    assert other.shape.kurtosis_pearson == pytest.approx(one.shape.kurtosis_pearson)


@given(st.lists(st.sampled_from([-2.0, 0.0, 1.0, 5.0]), min_size=3, max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_sample_has_a_possible_shape(values):
    """Two-point samples sit exactly on kurtosis = 1 + skew^2 and are not refused."""
    if min(values) < max(values):
        sample = sharpe_sample(values)
        probabilistic_sharpe(sample.sharpe_per_period, n_obs=sample.n_obs, shape=sample.shape)


def test_a_ratio_without_uncertainty_is_certain():
    """Two equally likely returns at a ratio of 2: the delta method leaves no variance."""
    shape = ReturnShape(skew=0.0, kurtosis_pearson=1.0)
    assert sharpe_std_error(0.0, n_obs=10, shape=shape) > 0.0
    certain = ReturnShape(skew=2.0, kurtosis_pearson=5.0)
    psr = probabilistic_sharpe(1.0, n_obs=10, shape=certain, benchmark_per_period=[0.5, 1.0, 2.0])
    assert psr.probability.tolist() == [1.0, 0.5, 0.0]


def test_units_are_hard_to_confuse():
    """Excess kurtosis below 1 + skew^2 is refused; an annual ratio has a named door."""
    with pytest.raises(DataError, match="add 3 to an excess kurtosis"):
        ReturnShape(skew=-3.0, kurtosis_pearson=7.0)
    with pytest.raises(DataError, match="kurtosis_pearson"):
        ReturnShape(skew=0.0, kurtosis_pearson=0.0)
    with pytest.raises(TypeError):
        probabilistic_sharpe(sharpe_annual=2.5, n_obs=1250, shape=NORMAL_SHAPE)
    assert per_period(2.5, periods_per_year=250) == pytest.approx(2.5 / sqrt(250))


def test_bad_arguments_name_themselves():
    with pytest.raises(InsufficientHistoryError, match="at least 3"):
        sharpe_sample([0.1, 0.2])
    with pytest.raises(InsufficientHistoryError, match="at least 3"):
        sharpe_sample([[0.1, np.nan], [0.2, 0.1], [0.3, 0.2]], missing="omit")
    with pytest.raises(InsufficientHistoryError, match="n_obs"):
        probabilistic_sharpe(0.1, n_obs=2, shape=NORMAL_SHAPE)
    with pytest.raises(DataError, match="1 NaN"):
        sharpe_sample([0.1, np.nan, 0.3, 0.2])
    with pytest.raises(DataError, match="1 constant"):
        sharpe_sample([[0.1, 0.1], [0.1, 0.2], [0.1, 0.3]])
    with pytest.raises(DataError, match="finite numbers, shape"):
        sharpe_sample([0.1, np.inf, 0.3])
    for broken in (np.nan, np.inf):
        with pytest.raises(DataError, match="sharpe_per_period"):
            probabilistic_sharpe(broken, n_obs=10, shape=NORMAL_SHAPE)
        with pytest.raises(DataError, match="benchmark_per_period"):
            min_track_record(0.1, shape=NORMAL_SHAPE, benchmark_per_period=broken)
        with pytest.raises(DataError, match="skew"):
            ReturnShape(skew=broken, kurtosis_pearson=3.0)
    with pytest.raises(DataError, match="autocorrelation"):
        ReturnShape(0.0, 3.0, autocorrelation=1.0)
    for confidence in (0.05, 1.0):
        with pytest.raises(ConfigError, match="confidence"):
            min_track_record(0.1, shape=NORMAL_SHAPE, confidence=confidence)
    with pytest.raises(ConfigError, match="ddof"):
        sharpe_std_error(0.1, n_obs=10, shape=NORMAL_SHAPE, ddof=2)
    with pytest.raises(ConfigError, match="periods_per_year"):
        per_period(1.0, periods_per_year=0)
