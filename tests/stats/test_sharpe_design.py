"""Power and false discovery of Sharpe tests: simulation, Bayes by counting, limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.sharpe_design import (
    fdr_critical_sharpe,
    observed_fdr,
    positive_fdr,
    sharpe_power,
)
from quant_engine.stats.sharpe_inference import NORMAL_SHAPE, ReturnShape, sharpe_std_error

SKEWED = ReturnShape(skew=-2.448, kurtosis_pearson=10.164)


def test_power_equals_simulated_rejections():
    rng = np.random.default_rng(2)
    n, true = 250, 0.12
    design = sharpe_power(true, n_obs=n, shape=NORMAL_SHAPE, alpha=0.05)
    null = rng.standard_normal((8000, n))
    for mean, wanted in ((0.0, 0.05), (true, design.power)):
        x = null + mean
        rejected = x.mean(axis=1) / x.std(axis=1, ddof=1) > design.critical_per_period
        assert rejected.mean() == pytest.approx(wanted, abs=0.015)


@given(st.floats(0.02, 0.5), st.integers(20, 2000), st.floats(0.01, 0.3))
@settings(max_examples=50, deadline=None)
def test_power_is_monotone_and_at_the_null_equals_alpha(s, n, alpha):
    def power(ratio, count, level):
        return sharpe_power(ratio, n_obs=count, shape=NORMAL_SHAPE, alpha=level).power

    assert power(s, 2 * n, alpha) >= power(s, n, alpha)
    assert power(s, n, 1.5 * alpha) >= power(s, n, alpha)
    assert power(0.0, n, alpha) == pytest.approx(alpha)
    many = sharpe_power([s, 2 * s], n_obs=n, shape=NORMAL_SHAPE, alpha=alpha)
    assert many.power[0] == power(s, n, alpha)
    assert many.beta == pytest.approx(1.0 - many.power)


def test_false_discovery_is_what_counting_finds():
    rng = np.random.default_rng(3)
    is_real = rng.random(400_000) < 0.2
    se = [sharpe_std_error(s, n_obs=60, shape=NORMAL_SHAPE) for s in (0.0, 0.3)]
    estimate = np.where(is_real, 0.3 + se[1] * rng.standard_normal(400_000),
                        se[0] * rng.standard_normal(400_000))  # fmt: skip
    design = sharpe_power(0.3, n_obs=60, shape=NORMAL_SHAPE, alpha=0.1)
    passed = estimate > design.critical_per_period
    fdr = positive_fdr(prior_alternative=0.2, alpha=0.1, power=design.power)
    assert (~is_real[passed]).mean() == pytest.approx(fdr, abs=0.01)
    observed = observed_fdr(
        design.critical_per_period,
        n_obs=60,
        shape=NORMAL_SHAPE,
        sharpe_alternative=0.3,
        prior_alternative=0.2,
    )
    assert observed == pytest.approx(fdr, rel=1e-12)
    assert positive_fdr(prior_alternative=0.2, alpha=0.1, power=1.0) == pytest.approx(0.08 / 0.28)


@given(st.floats(0.02, 0.6), st.floats(0.05, 0.6), st.integers(12, 400), st.floats(0.02, 0.5))
@settings(max_examples=60, deadline=None)
def test_the_critical_ratio_has_the_wanted_false_discovery_rate(fdr, p1, n, other):
    design = fdr_critical_sharpe(
        fdr=fdr, sharpe_alternative=other, prior_alternative=p1, n_obs=n, shape=NORMAL_SHAPE
    )
    if 1.0 - p1 <= fdr:
        assert design.critical_per_period == -np.inf
        return
    got = observed_fdr(
        design.critical_per_period,
        n_obs=n,
        shape=NORMAL_SHAPE,
        sharpe_alternative=other,
        prior_alternative=p1,
    )
    assert got == pytest.approx(fdr, rel=1e-6)
    if design.alpha > 0.0:
        assert positive_fdr(
            prior_alternative=p1, alpha=design.alpha, power=design.power
        ) == pytest.approx(fdr, rel=1e-6)


def test_the_critical_ratio_equals_a_root_finder():
    se0, se1 = (sharpe_std_error(s, n_obs=24, shape=SKEWED) for s in (0.0, 0.5))

    def excess(c):
        ratio = norm.sf((c - 0.5) / se1) / norm.sf(c / se0)
        return 1.0 / (1.0 + ratio * 0.1 / 0.9) - 0.25

    design = fdr_critical_sharpe(
        fdr=0.25, sharpe_alternative=0.5, prior_alternative=0.1, n_obs=24, shape=SKEWED
    )
    assert design.critical_per_period == pytest.approx(brentq(excess, 0.0, 1.0), abs=1e-9)


def test_a_narrower_alternative_has_its_first_crossing():
    """Positive skew: the odds rise and fall again, and the smaller of the two ratios is taken."""
    shape = ReturnShape(skew=1.0, kurtosis_pearson=3.0)
    se0, se1 = (sharpe_std_error(s, n_obs=24, shape=shape) for s in (0.0, 0.5))
    assert se1 < se0
    design = fdr_critical_sharpe(
        fdr=0.25, sharpe_alternative=0.5, prior_alternative=0.1, n_obs=24, shape=shape
    )
    c = np.linspace(-1.0, design.critical_per_period, 2000)
    share = 1.0 / (1.0 + norm.sf((c - 0.5) / se1) / norm.sf(c / se0) / 9.0)
    assert (share[:-1] > 0.25).all()
    assert share[-1] == pytest.approx(0.25, rel=1e-6)


def test_no_ratio_is_enough_where_the_null_has_the_heavier_tail():
    """Positive skew makes the estimate less certain under the null than under the alternative."""
    shape = ReturnShape(skew=2.0, kurtosis_pearson=5.2)
    design = fdr_critical_sharpe(
        fdr=1e-9, sharpe_alternative=0.4, prior_alternative=0.01, n_obs=12, shape=shape
    )
    assert np.isnan([design.critical_per_period, design.alpha, design.power]).all()


def test_bad_arguments_name_themselves():
    for alpha in (0.0, 1.0, np.nan):
        with pytest.raises(DataError, match="alpha"):
            sharpe_power(0.1, n_obs=50, shape=NORMAL_SHAPE, alpha=alpha)
    with pytest.raises(InsufficientHistoryError, match="n_obs"):
        sharpe_power(0.1, n_obs=2, shape=NORMAL_SHAPE, alpha=0.05)
    with pytest.raises(DataError, match="prior_alternative"):
        positive_fdr(prior_alternative=0.0, alpha=0.05, power=0.5)
    with pytest.raises(DataError, match="power"):
        positive_fdr(prior_alternative=0.1, alpha=0.05, power=1.5)
    with pytest.raises(ConfigError, match="sharpe_alternative"):
        fdr_critical_sharpe(
            fdr=0.1, sharpe_alternative=0.0, prior_alternative=0.1, n_obs=50, shape=NORMAL_SHAPE
        )
    with pytest.raises(DataError, match="fdr"):
        fdr_critical_sharpe(
            fdr=1.0, sharpe_alternative=0.1, prior_alternative=0.1, n_obs=50, shape=NORMAL_SHAPE
        )
