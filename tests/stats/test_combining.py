"""Combined p-values against scipy, closed forms and simulation."""

import numpy as np
import pytest
from scipy.stats import cauchy, combine_pvalues, norm
from statsmodels.stats.multitest import multipletests

from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.stats.combining import combine_p

METHODS = ["simes", "fisher", "stouffer", "cauchy", "harmonic"]


def value(p, method, **more):
    return combine_p(p, method=method, **more).p_value


def test_fisher_and_stouffer_equal_scipy():
    rng = np.random.default_rng(1)
    for size in (1, 2, 9):
        p, weights = rng.random(size), rng.random(size) + 0.1
        assert value(p, "fisher") == pytest.approx(combine_pvalues(p, "fisher").pvalue)
        wanted = combine_pvalues(p, "stouffer", weights=weights)
        got = combine_p(p, method="stouffer", weights=weights)
        assert got.p_value == pytest.approx(wanted.pvalue)
        assert got.statistic == pytest.approx(wanted.statistic)


def test_simes_is_the_smallest_bh_value():
    p = np.random.default_rng(2).random(30) ** 2
    assert value(p, "simes") == pytest.approx(multipletests(p, method="fdr_bh")[1].min())


def test_cauchy_is_its_tail():
    p, weights = np.array([0.01, 0.3, 0.8]), np.array([1.0, 2.0, 3.0])
    statistic = (weights * np.tan((0.5 - p) * np.pi)).sum() / weights.sum()
    assert value(p, "cauchy", weights=weights) == pytest.approx(cauchy.sf(statistic))
    assert value([1e-200, 0.9], "cauchy") == pytest.approx(2e-200, rel=1e-9)
    assert value([0.2], "cauchy") == pytest.approx(0.2)


def test_harmonic_is_the_mean_with_its_own_tail():
    p = [0.001, 0.02, 0.5]
    got = combine_p(p, method="harmonic")
    assert got.statistic == pytest.approx(3 / sum(1 / x for x in p))
    # For a small mean the Landau tail is close to the mean itself.
    assert value([1e-6] * 4, "harmonic") == pytest.approx(1e-6, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_true_gives_uniform_values(method):
    rng = np.random.default_rng(3)
    draws = np.array([value(p, method) for p in rng.random((1500, 40))])
    for level in (0.01, 0.05, 0.2):
        error = 4.0 * np.sqrt(level * (1 - level) / 1500)
        assert (draws <= level).mean() == pytest.approx(level, abs=error)


def test_dependence_breaks_fisher_and_not_cauchy():
    rng = np.random.default_rng(4)
    common = rng.standard_normal((1500, 1))
    p = norm.sf(np.sqrt(0.6) * common + np.sqrt(0.4) * rng.standard_normal((1500, 25)))
    assert np.mean([value(row, "fisher") <= 0.01 for row in p]) > 0.1
    assert np.mean([value(row, "cauchy") <= 0.01 for row in p]) < 0.02
    assert np.mean([value(row, "simes") <= 0.01 for row in p]) < 0.02


@pytest.mark.parametrize("method", METHODS)
def test_gaps_and_order_do_not_matter(method):
    p = np.array([0.3, 0.02, 0.7, 0.11])
    wanted = combine_p(p, method=method)
    got = combine_p([0.02, np.nan, 0.7, 0.3, 0.11], method=method)
    assert got.p_value == pytest.approx(wanted.p_value, rel=1e-12)
    assert got.m == 4
    assert got.dependence


def test_exact_zeros_and_ones():
    for method in METHODS:
        assert value([0.0, 0.4], method) == 0.0
    assert value([1.0, 1.0], "fisher") == 1.0
    assert value([1.0, 0.01], "cauchy") == 0.02, "Bonferroni's value"
    assert value([1.0, 0.0], "cauchy") == 0.0
    with pytest.raises(DataError, match="opposite infinities"):
        value([0.0, 1.0], "stouffer")


def test_bad_arguments_name_themselves():
    with pytest.raises(ConfigError, match="Did you mean 'fisher'"):
        combine_p([0.1], method="fischer")
    with pytest.raises(ConfigError, match="weights"):
        combine_p([0.1], method="simes", weights=[1.0])
    for weights in ([-1.0, 1.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(DataError, match="weights of at least 0"):
            combine_p([0.1, 0.2], method="cauchy", weights=weights)
    with pytest.raises(EmptyDataError):
        combine_p([np.nan], method="fisher")
