"""Adjusted p-values against statsmodels, scipy, plain loops and their own laws."""

from itertools import pairwise
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import fdrcorrection_twostage, multipletests

from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    InsufficientObservationError,
)
from quant_engine.stats.multiplicity import adjusted_p, by_factor, reject, storey_pi0

PEERS = {
    "bonferroni": "bonferroni",
    "sidak": "sidak",
    "holm": "holm",
    "holm_sidak": "holm-sidak",
    "hochberg": "simes-hochberg",
    "hommel": "hommel",
    "bh": "fdr_bh",
    "by": "fdr_by",
}
METHODS = [*PEERS, "storey", "bky"]

p_values = st.lists(st.floats(0.0, 0.999), min_size=1, max_size=25).map(np.array)
settled = settings(max_examples=60, deadline=None, derandomize=True)


def family(seed: int, size: int) -> np.ndarray:
    """Some small p-values, ties, and no exact 1, at which a peer warns."""
    rng = np.random.default_rng(seed)
    p = rng.random(size) ** rng.choice([1.0, 3.0, 6.0])
    return np.minimum(np.round(p, 2 + seed % 3), 0.99)


@pytest.mark.parametrize("method", PEERS)
@pytest.mark.parametrize(("seed", "size"), [(0, 1), (1, 2), (2, 7), (3, 40), (4, 41), (5, 200)])
def test_values_equal_statsmodels(method, seed, size):
    p = family(seed, size)
    wanted = multipletests(p, alpha=0.07, method=PEERS[method])
    got = reject(p, method=method, alpha=0.07)
    np.testing.assert_allclose(got.adjusted, wanted[1], atol=1e-12)
    np.testing.assert_array_equal(got.rejected, wanted[0])


@pytest.mark.parametrize("method", ["bh", "by"])
def test_values_equal_scipy(method):
    p = family(6, 60)
    wanted = false_discovery_control(p, method=method)
    np.testing.assert_allclose(adjusted_p(p, method=method), wanted, atol=1e-14)


def loop_step_up(p, alpha):
    """Benjamini-Hochberg by its definition: the largest i with p_(i) <= i alpha / m."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    last = max((i for i, k in enumerate(order, 1) if p[k] <= i * alpha / len(p)), default=0)
    return {order[i] for i in range(last)}


@given(p_values, st.sampled_from([0.013, 0.05, 0.21]))
@settled
def test_two_stages_are_two_runs_of_the_plain_rule(p, alpha):
    m, inner = len(p), alpha / (1 + alpha)
    first = loop_step_up(p, inner)
    wanted = first
    if 0 < len(first) < m:
        wanted = loop_step_up(p, inner * m / (m - len(first)))
    got = reject(p, method="bky", alpha=alpha)
    assert set(np.flatnonzero(got.rejected)) == wanted
    assert got.pi0 == (m - len(first)) / m


def test_two_stages_equal_statsmodels():
    p = family(8, 50)
    wanted = fdrcorrection_twostage(p, alpha=0.1, method="bky")
    np.testing.assert_array_equal(reject(p, method="bky", alpha=0.1).rejected, wanted[0])


def test_all_rejected_in_the_first_stage_stays_so():
    found = reject([0.001, 0.002, 0.003], method="bky", alpha=0.05)
    assert found.n_rejected == 3
    assert found.pi0 == 0.0
    assert (found.adjusted > 0.0).all()


def test_hommel_is_the_closed_test_of_all_subsets():
    """Hypothesis i is rejected when every subset that holds it is rejected by Simes."""
    rng = np.random.default_rng(4)
    for _ in range(30):
        p = np.round(rng.random(6) ** 2, 2)
        wanted = np.zeros(6)
        for code in range(1, 64):
            members = [i for i in range(6) if code >> i & 1]
            ranked = np.sort(p[members])
            simes = min(len(members) * v / j for j, v in enumerate(ranked, 1))
            wanted[members] = np.maximum(wanted[members], simes)
        np.testing.assert_allclose(adjusted_p(p, method="hommel"), wanted, atol=1e-12)


@given(p_values, st.sampled_from(METHODS), st.randoms(use_true_random=False))
@settled
def test_laws_of_every_method(p, method, shuffler):
    if method == "storey" and (p < 0.5).all():
        p = np.append(p, 0.9)
    found = reject(p, method=method, alpha=0.05)
    adjusted = found.adjusted
    assert (adjusted <= 1.0).all()
    assert method in ("storey", "bky") or (adjusted >= p - 1e-15).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= -1e-15).all(), "q-values rise with p"
    shuffle = list(range(len(p)))
    shuffler.shuffle(shuffle)
    np.testing.assert_array_equal(reject(p[shuffle], method=method, alpha=0.05).adjusted,
                                  adjusted[shuffle])  # fmt: skip
    assert found.n_rejected == found.rejected.sum() == (adjusted <= 0.05).sum()


@given(p_values)
@settled
def test_methods_stand_in_their_order(p):
    value = {method: adjusted_p(p, method=method) for method in PEERS}
    slack = 1e-12
    chain = ["bh", "hommel", "hochberg", "holm", "bonferroni"]
    for small, large in pairwise(chain):
        assert (value[small] <= value[large] + slack).all(), (small, large)
    assert (value["bh"] <= value["by"] + slack).all()
    assert (value["sidak"] <= value["bonferroni"] + slack).all()
    assert (value["holm_sidak"] <= value["holm"] + slack).all()


@pytest.mark.parametrize("method", METHODS)
def test_nan_is_not_counted_and_stays(method):
    p = np.array([0.01, np.nan, 0.04, 0.03, np.nan, 0.7])
    known = ~np.isnan(p)
    with_gaps = reject(p, method=method, alpha=0.05)
    without = reject(p[known], method=method, alpha=0.05)
    np.testing.assert_array_equal(with_gaps.adjusted[known], without.adjusted)
    assert np.isnan(with_gaps.adjusted[~known]).all()
    assert not with_gaps.rejected[~known].any()
    assert (with_gaps.m, with_gaps.n_missing) == (4, 2)


def test_results_name_their_rule():
    found = reject([0.01, 0.5], method="by", alpha=0.1)
    assert (found.method, found.alpha) == ("by", 0.1)
    assert found.guarantee == "FDR, any dependence"
    assert isnan(found.pi0)


def test_tiny_p_values_keep_their_digits():
    assert adjusted_p([1e-30, 1.0], method="sidak")[0] == pytest.approx(2e-30, rel=1e-12)


def test_storey_multiplies_bh():
    p = family(7, 300)
    pi0 = (p >= 0.4).mean() / 0.6
    assert storey_pi0(p, lam=0.4) == pytest.approx(min(pi0, 1.0))
    wanted = np.minimum(false_discovery_control(p) * min(pi0, 1.0), 1.0)
    np.testing.assert_allclose(adjusted_p(p, method="storey", lam=0.4), wanted, atol=1e-14)


def test_weights_move_the_budget():
    p = np.array([0.03, 0.04, 0.5, np.nan])
    weights = np.array([4.0, 1.0, 1.0, np.nan])
    found = reject(p, method="bh", alpha=0.05, weights=weights)
    wanted = false_discovery_control(np.minimum(p[:3] / (weights[:3] / 2.0), 1.0))
    np.testing.assert_allclose(found.adjusted[:3], wanted)
    assert found.rejected.tolist() == [True, False, False, False]
    same = reject(p, method="bh", alpha=0.05, weights=np.full(4, 7.0))
    np.testing.assert_array_equal(same.adjusted, adjusted_p(p, method="bh"))
    never = reject([0.0, 0.01], method="bonferroni", alpha=0.05, weights=[0.0, 1.0])
    assert never.rejected.tolist() == [False, True]


def test_the_false_discovery_rate_is_held():
    """60 of 200 hypotheses true: mean false discovery proportion by simulation."""
    rng = np.random.default_rng(11)
    proportions = {"bh": [], "storey": [], "bky": []}
    for _ in range(300):
        p = rng.random(200)
        p[:60] **= 8.0
        for method, shares in proportions.items():
            rejected = reject(p, method=method, alpha=0.2).rejected
            shares.append(rejected[60:].sum() / max(rejected.sum(), 1))
    mean = {method: np.mean(shares) for method, shares in proportions.items()}
    assert mean["bh"] == pytest.approx(0.2 * 0.7, abs=0.015), "pi0 alpha, and exactly so"
    assert mean["storey"] <= 0.215
    assert mean["bky"] <= 0.215


@pytest.mark.parametrize("method", METHODS)
def test_a_million_p_values_take_little_time(method):
    p = np.random.default_rng(0).random(1_000_000)
    found = reject(p, method=method, alpha=0.05)
    assert found.m == 1_000_000


def test_bad_arguments_name_themselves():
    with pytest.raises(EmptyDataError, match="finite p-value"):
        reject([np.nan], method="bh", alpha=0.05)
    with pytest.raises(EmptyDataError, match="p: "):
        adjusted_p([], method="bh")
    with pytest.raises(DataError, match="2 outside"):
        reject([1.5, -0.1, 0.2], method="bh", alpha=0.05)
    with pytest.raises(ConfigError, match="alpha"):
        reject([0.1], method="bh", alpha=1.0)
    with pytest.raises(ConfigError, match="Did you mean 'holm'"):
        reject([0.1], method="hol", alpha=0.05)
    with pytest.raises(ConfigError, match="need no alpha"):
        adjusted_p([0.1], method="bky")
    with pytest.raises(ConfigError, match="lam"):
        storey_pi0([0.1], lam=1.0)
    with pytest.raises(InsufficientObservationError, match="at least one p-value"):
        reject([0.1, 0.2], method="storey", alpha=0.05)
    with pytest.raises(ConfigError, match="at least 1 test"):
        by_factor(0)
    with pytest.raises(ConfigError, match="weights"):
        reject([0.1], method="holm", alpha=0.05, weights=[1.0])
    for weights in ([-1.0, 1.0], [np.nan, 1.0], [0.0, 0.0]):
        with pytest.raises(DataError, match="weights of at least 0"):
            reject([0.1, 0.2], method="bh", alpha=0.05, weights=weights)
