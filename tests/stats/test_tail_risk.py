"""Value at risk, expected shortfall and their tests against integrals, counts and simulation."""

from itertools import pairwise
from math import isnan, log, sqrt

import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.integrate import quad

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.metrics import (
    christoffersen_conditional_test,
    christoffersen_test,
    cornish_fisher_tail,
    cornish_fisher_z,
    expected_shortfall_of,
    gaussian_tail,
    kupiec_test,
    moments,
    student_t_tail,
    var_es,
)

RNG = np.random.default_rng(41)
RETURNS = 0.0004 + 0.011 * RNG.standard_t(4, 333)


@pytest.mark.parametrize("alpha", [0.005, 0.05, 0.3])
def test_parametric_shortfalls_are_the_mean_quantile_of_the_tail(alpha):
    def mean_of_tail(quantile):
        return quad(quantile, 0.0, alpha, epsabs=1e-11)[0] / alpha

    normal = gaussian_tail(alpha=alpha, mean=0.01, std=0.2)
    law = scipy_stats.norm(0.01, 0.2)
    assert normal.var == pytest.approx(-law.ppf(alpha), rel=1e-10)
    assert normal.es == pytest.approx(-mean_of_tail(law.ppf), rel=1e-6)
    heavy = student_t_tail(alpha=alpha, dof=3.5, mean=0.01, scale=0.2)
    law = scipy_stats.t(3.5, 0.01, 0.2)
    assert heavy.var == pytest.approx(-law.ppf(alpha), rel=1e-9)
    assert heavy.es == pytest.approx(-mean_of_tail(law.ppf), rel=1e-4)
    tail = cornish_fisher_tail(alpha=alpha, mean=0.01, std=0.2, skew=-0.4, excess_kurtosis=1.2)

    def expanded(u):
        z = scipy_stats.norm.ppf(u)
        return 0.01 + 0.2 * cornish_fisher_z(z, skew=-0.4, excess_kurtosis=1.2)

    assert tail.var == pytest.approx(-expanded(alpha), rel=1e-10)
    assert tail.es == pytest.approx(-mean_of_tail(expanded), rel=1e-5)


def test_a_normal_shape_expands_to_the_normal_tail():
    plain = gaussian_tail(alpha=0.02, mean=0.001, std=0.01)
    expanded = cornish_fisher_tail(alpha=0.02, mean=0.001, std=0.01, skew=0.0, excess_kurtosis=0.0)
    assert (expanded.var, expanded.es) == pytest.approx((plain.var, plain.es), rel=1e-12)
    many = student_t_tail(alpha=0.02, dof=1e7, mean=0.001, scale=0.01)
    assert (many.var, many.es) == pytest.approx((plain.var, plain.es), rel=1e-5)


@pytest.mark.parametrize(
    ("skew", "excess_kurtosis"), [(0.0, 0.5), (0.5, 1.0), (-1.5, 1.0), (0.0, 9.0), (3.0, 20.0)]
)
def test_the_domain_of_the_expansion_is_where_its_quantile_rises(skew, excess_kurtosis):
    z = np.linspace(-40.0, 40.0, 400_001)
    rises = (np.diff(cornish_fisher_z(z, skew=skew, excess_kurtosis=excess_kurtosis)) > 0).all()
    got = cornish_fisher_tail(
        alpha=0.05, mean=0.0, std=1.0, skew=skew, excess_kurtosis=excess_kurtosis
    )
    assert got.status == ("ok" if rises else "not_monotone")


def test_estimates_feed_the_formulas_with_named_moments():
    shape = moments(RETURNS)
    plain = var_es(RETURNS, alpha=0.05, method="gaussian")
    assert plain.var == gaussian_tail(alpha=0.05, mean=shape.mean, std=shape.std).var
    assert (plain.method, plain.n_obs, plain.status) == ("gaussian", 333, "ok")
    heavy = var_es(RETURNS, alpha=0.05, method="student_t", dof=4.0)
    law = scipy_stats.t(4.0, shape.mean, shape.std / sqrt(2.0))
    assert law.std() == pytest.approx(shape.std, rel=1e-9)
    assert heavy.var == pytest.approx(-law.ppf(0.05), rel=1e-9)


@pytest.mark.parametrize("n", [20, 37, 100])
def test_historical_methods_differ_by_one_order_statistic_where_alpha_n_is_whole(n):
    losses = sorted(-RETURNS[:n], reverse=True)
    below = var_es(RETURNS[:n], alpha=0.05)
    above = var_es(RETURNS[:n], alpha=0.05, method="historical_upper")
    linear = var_es(RETURNS[:n], alpha=0.05, method="historical_linear")
    whole = n * 5 % 100 == 0
    count = -(-n * 5 // 100)
    assert above.var == losses[count - 1]
    assert below.var == losses[count if whole else count - 1]
    assert below.es == pytest.approx(above.es, rel=1e-12)
    assert linear.var == pytest.approx(np.quantile(losses, 0.95), rel=1e-12)
    assert linear.es == pytest.approx(np.mean([x for x in losses if x >= linear.var - 1e-15]))
    share = n * 0.05
    fraction = share - int(share + 1e-9)
    worst = losses[: int(share + 1e-9)]
    wanted = (sum(worst) + fraction * losses[len(worst)]) / share
    assert below.es == pytest.approx(wanted, rel=1e-9)


def test_shortfall_of_any_losses_drops_what_is_missing():
    assert expected_shortfall_of([1.0, np.nan, 5.0, 3.0, 2.0], alpha=0.25) == 5.0
    assert isnan(expected_shortfall_of([], alpha=0.1))
    with pytest.raises(ConfigError, match="alpha"):
        expected_shortfall_of([1.0], alpha=0.0)


def test_too_little_to_estimate_from_is_named():
    assert var_es([], alpha=0.05).status == "too_few"
    assert var_es([0.1], alpha=0.05, method="gaussian").status == "too_few"
    flat = var_es([0.1, 0.1, 0.1], alpha=0.05, method="cornish_fisher")
    assert flat.status == "no_variation"
    assert isnan(flat.var)
    with pytest.raises(ConfigError, match="historical"):
        var_es(RETURNS, alpha=0.05, method="historic")
    with pytest.raises(ConfigError, match="dof: wanted above 2"):
        var_es(RETURNS, alpha=0.05, method="student_t", dof=2.0)
    with pytest.raises(ConfigError, match="dof: wanted above 1"):
        student_t_tail(alpha=0.05, dof=1.0)
    with pytest.raises(ConfigError, match="std: wanted at least 0"):
        gaussian_tail(alpha=0.05, std=-1.0)


# ---------------------------------------------------------------- tests of a value at risk


@pytest.mark.parametrize(
    ("x", "n", "p"), [(20, 252, 0.05), (0, 100, 0.01), (7, 7, 0.5), (3, 90, 0.1)]
)
def test_kupiec_equals_binomial_likelihoods(x, n, p):
    law = scipy_stats.binom
    lr = 2 * (law.logpmf(x, n, x / n) - law.logpmf(x, n, p))
    test = kupiec_test(x, n_obs=n, alpha=p)
    assert test.lr == pytest.approx(lr, rel=1e-9)
    assert test.p_value == pytest.approx(scipy_stats.chi2.sf(lr, 1), rel=1e-9)
    assert (test.n_exceptions, test.n_obs, test.dof) == (x, n, 1)


def chain_likelihood(hits, after_none, after_hit):
    total = 0.0
    for before, now in pairwise(hits):
        p = after_hit if before else after_none
        total += log(p if now else 1.0 - p)
    return total


def test_christoffersen_equals_the_likelihood_of_a_chain():
    hits = (RNG.random(250) < 0.2).astype(int).tolist()
    pairs = list(pairwise(hits))
    rates = [
        sum(now for before, now in pairs if before == state)
        / sum(1 for before, _ in pairs if before == state)
        for state in (0, 1)
    ]
    rate = sum(hits[1:]) / 249
    free = chain_likelihood(hits, *rates)
    independent = christoffersen_test(hits)
    wanted = 2 * (free - chain_likelihood(hits, rate, rate))
    assert independent.lr == pytest.approx(wanted, rel=1e-9)
    joint = christoffersen_conditional_test(hits, alpha=0.15)
    assert joint.lr == pytest.approx(2 * (free - chain_likelihood(hits, 0.15, 0.15)), rel=1e-9)
    assert joint.p_value == pytest.approx(scipy_stats.chi2.sf(joint.lr, 2), rel=1e-9)
    assert christoffersen_test([*hits, np.nan]) == independent


def test_exceptions_that_cluster_are_found_and_scattered_ones_are_not():
    clustered = np.tile([1, 1, 1, *[0] * 57], 10)
    scattered = np.tile([1, *[0] * 19], 30)
    assert christoffersen_test(clustered).p_value < 1e-6
    assert christoffersen_test(scattered).p_value > 0.05
    assert kupiec_test(int(clustered.sum()), n_obs=600, alpha=0.05).p_value == pytest.approx(1.0)
    assert christoffersen_test([0, 0, 0]).lr == 0.0


def test_the_size_of_the_frequency_test_is_nominal():
    counts = RNG.binomial(1000, 0.05, size=2000)
    rejected = np.mean([kupiec_test(int(x), n_obs=1000, alpha=0.05).p_value < 0.05 for x in counts])
    assert 0.03 <= rejected <= 0.07


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="a count from 0 to 10"):
        kupiec_test(11, n_obs=10, alpha=0.05)
    with pytest.raises(InsufficientHistoryError, match="at least 1"):
        kupiec_test(0, n_obs=0, alpha=0.05)
    with pytest.raises(ConfigError, match="alpha"):
        kupiec_test(1, n_obs=10, alpha=1.0)
    with pytest.raises(DataError, match="hits: wanted 0 or 1"):
        christoffersen_test([0, 2])
    with pytest.raises(InsufficientHistoryError, match="at least 2 periods"):
        christoffersen_test([1])
