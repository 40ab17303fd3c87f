"""The forward filter against loops, enumeration and hmmlearn; fits, alignment and refits."""

from itertools import permutations, product
from math import exp, log

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM
from scipy.stats import norm
from scipy.stats import t as student_t

from quant_engine.core.errors import InsufficientHistoryError
from quant_engine.regime.hmm import (
    HMMConfig,
    HMMParams,
    align_states,
    fit_sticky_hmm,
    forward_filter,
    log_densities,
    walk_forward_filter,
)

pytestmark = pytest.mark.feature("Q-23")

RNG = np.random.default_rng(31)


def random_params(k: int) -> HMMParams:
    """A model whose states are well apart."""
    return HMMParams(
        start=RNG.dirichlet(np.ones(k)),
        transition=RNG.dirichlet(np.ones(k), k) * 0.3 + 0.7 * np.eye(k),
        means=RNG.normal(0.0, 0.001, k),
        variances=(0.005 * 2.0 ** np.arange(k)) ** 2,
    )


def calm_and_wild(n: int = 900) -> np.ndarray:
    """Blocks of two volatilities."""
    sigma = np.tile(np.repeat([0.006, 0.02], 100), n)[:n]
    return 0.0003 + sigma * np.random.default_rng(1).standard_normal(n)


def loop_filter(log_density, start, transition):
    """Forward recursion with plain Python numbers."""
    k = len(start)
    predicted, rows, total_log = list(start), [], 0.0
    for row in log_density:
        joint = [predicted[j] * exp(row[j]) for j in range(k)]
        total = sum(joint)
        rows.append([value / total for value in joint])
        total_log += log(total)
        predicted = [sum(rows[-1][i] * transition[i][j] for i in range(k)) for j in range(k)]
    return np.array(rows), total_log


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("tail_dof", [5.0, 1e9])
def test_filter_equals_the_plain_loop(k, tail_dof):
    params = random_params(k)
    logs = log_densities(0.02 * RNG.standard_normal(200), params, tail_dof=tail_dof)
    got, log_likelihood = forward_filter(logs, params.start, params.transition)
    wanted, wanted_log = loop_filter(logs.tolist(), params.start, params.transition)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-14)
    assert log_likelihood == pytest.approx(wanted_log, rel=1e-12)
    np.testing.assert_allclose(got.sum(axis=1), 1.0, rtol=1e-12)


def test_filter_equals_the_sum_over_all_state_paths():
    params = random_params(3)
    density = np.exp(log_densities(0.02 * RNG.standard_normal(7), params, tail_dof=5.0))
    got, _ = forward_filter(np.log(density), params.start, params.transition)
    for t in range(7):
        mass = np.zeros(3)
        for path in product(range(3), repeat=t + 1):
            weight = params.start[path[0]] * density[0, path[0]]
            for s in range(1, t + 1):
                weight *= params.transition[path[s - 1], path[s]] * density[s, path[s]]
            mass[path[t]] += weight
        np.testing.assert_allclose(got[t], mass / mass.sum(), rtol=1e-9)


def test_filter_equals_hmmlearn_at_the_end_of_every_prefix():
    """hmmlearn smooths; at the last observation of a prefix, smoothed is filtered."""
    params = random_params(2)
    model = GaussianHMM(n_components=2, covariance_type="diag", init_params="")
    model.startprob_, model.transmat_ = params.start, params.transition
    model.means_, model.covars_ = params.means[:, None], params.variances[:, None]
    returns = 0.01 * RNG.standard_normal(60)
    logs = log_densities(returns, params, tail_dof=1e9)
    got, log_likelihood = forward_filter(logs, params.start, params.transition)
    for t in range(60):
        smoothed = model.predict_proba(returns[: t + 1, None])
        np.testing.assert_allclose(got[t], smoothed[-1], rtol=1e-8, atol=1e-12)
    assert log_likelihood == pytest.approx(model.score(returns[:, None]), rel=1e-10)
    assert np.abs(smoothed[:-1] - got[:-1]).max() > 0.01


@pytest.mark.leakage
def test_filtered_rows_do_not_change_when_the_future_does():
    params = random_params(2)
    logs = log_densities(0.01 * RNG.standard_normal(300), params, tail_dof=5.0)
    full, _ = forward_filter(logs, params.start, params.transition)
    for cut in range(1, 300, 13):
        prefix, _ = forward_filter(logs[:cut], params.start, params.transition)
        assert prefix.tobytes() == full[:cut].tobytes()


def test_densities_equal_scipy_and_missing_returns_say_nothing():
    params = random_params(3)
    returns = 0.02 * RNG.standard_normal(50)
    sigma = np.sqrt(params.variances)
    gaussian = norm.logpdf(returns[:, None], params.means, sigma)
    np.testing.assert_allclose(log_densities(returns, params, tail_dof=1e9), gaussian, rtol=1e-10)
    scale = sigma * np.sqrt((4.5 - 2) / 4.5)
    student = student_t.logpdf(returns[:, None], 4.5, params.means, scale)
    np.testing.assert_allclose(log_densities(returns, params, tail_dof=4.5), student, rtol=1e-10)
    returns[10] = np.nan
    logs = log_densities(returns, params, tail_dof=4.5)
    assert logs[10].tolist() == [0.0, 0.0, 0.0]
    filtered, _ = forward_filter(logs, params.start, params.transition)
    np.testing.assert_allclose(filtered[10], filtered[9] @ params.transition, rtol=1e-12)


def test_extreme_returns_do_not_underflow():
    params = random_params(2)
    logs = log_densities(np.array([0.0, 5.0, -9.0]), params, tail_dof=1e9)
    filtered, _ = forward_filter(logs, params.start, params.transition)
    assert np.isfinite(filtered).all()
    assert filtered[1, 1] == pytest.approx(1.0)


def test_fit_recovers_planted_volatilities_on_raw_daily_returns():
    """hmmlearn's default variance prior would multiply them on returns that are not scaled."""
    fit = fit_sticky_hmm(calm_and_wild(), HMMConfig())
    np.testing.assert_allclose(np.sqrt(fit.variances), [0.006, 0.02], rtol=0.1)
    assert (np.diag(fit.transition) > 0.97).all()
    np.testing.assert_allclose(fit.transition.sum(axis=1), 1.0)
    spoilt = GaussianHMM(n_components=2, covariance_type="diag", random_state=0)
    spoilt.fit(calm_and_wild()[:, None])
    assert np.sqrt(spoilt.covars_[:, 0, 0]).min() > 0.006 * 1.1


def test_fit_is_deterministic_and_scales_with_the_returns():
    first, second = (fit_sticky_hmm(calm_and_wild(), HMMConfig()) for _ in range(2))
    assert first.variances.tobytes() == second.variances.tobytes()
    # A power of two changes no digit of any product.
    scaled = fit_sticky_hmm(4.0 * calm_and_wild(), HMMConfig())
    np.testing.assert_allclose(scaled.variances, 16.0 * first.variances, rtol=0.02)


def test_one_volatility_gives_a_top_state_that_is_not_visited():
    returns = 0.01 * np.random.default_rng(3).standard_t(5, 600) / np.sqrt(5 / 3)
    fit = fit_sticky_hmm(returns, HMMConfig())
    assert fit.variances[1] == pytest.approx(2.0**2 * fit.variances[0])
    assert fit.variances[0] == pytest.approx(returns.var())
    filtered = walk_forward_filter(returns, HMMConfig())
    assert np.nanmean(filtered[:, 1]) < 0.2


def test_a_state_of_equal_returns_does_not_collapse():
    """Clipping makes equal returns; their variance must stay positive."""
    returns = np.concatenate([0.01 * np.random.default_rng(3).standard_normal(300), [0.5] * 60])
    fit = fit_sticky_hmm(returns, HMMConfig())
    assert (fit.variances > 0).all()
    assert np.isfinite(walk_forward_filter(returns, HMMConfig())[252:]).all()


def test_too_short_or_constant_returns_are_refused():
    with pytest.raises(InsufficientHistoryError, match="at least 252 returns"):
        fit_sticky_hmm(calm_and_wild(200), HMMConfig())
    with pytest.raises(InsufficientHistoryError, match="that vary"):
        fit_sticky_hmm(np.zeros(300), HMMConfig())
    with pytest.raises(InsufficientHistoryError):
        fit_sticky_hmm(np.empty(0), HMMConfig())


@pytest.mark.parametrize("k", [2, 3, 4])
def test_alignment_does_not_depend_on_the_order_of_the_states(k):
    previous, params = random_params(k), random_params(k)
    for reference in (None, previous):
        wanted = align_states(params, reference)
        for order in permutations(range(k)):
            got = align_states(params.renamed(np.array(order)), reference)
            np.testing.assert_array_equal(got.means, wanted.means)
            np.testing.assert_array_equal(got.variances, wanted.variances)
            np.testing.assert_array_equal(got.transition, wanted.transition)
            np.testing.assert_array_equal(got.start, wanted.start)
        assert wanted.variances.argmax() == k - 1


def test_alignment_follows_the_previous_fit_where_volatilities_are_close():
    """Two calm states that differ by their mean keep their names although volatility swaps."""
    old = HMMParams(
        np.ones(3) / 3, np.eye(3), np.array([0.004, -0.004, 0.0]), np.array([1.0, 1.1, 9.0]) * 1e-4
    )
    new = HMMParams(
        np.ones(3) / 3, np.eye(3), np.array([-0.004, 0.004, 0.0]), np.array([1.0, 1.1, 9.0]) * 1e-4
    )
    assert align_states(new, old).means.tolist() == [0.004, -0.004, 0.0]


def test_refits_do_not_flip_the_meaning_of_the_states():
    returns = calm_and_wild(1500)
    config = HMMConfig()
    params = None
    for begin in range(252, 1500, 252):
        newer = align_states(fit_sticky_hmm(returns[:begin], config), params)
        assert newer.variances[1] > newer.variances[0]
        if params is not None:
            high = [
                forward_filter(
                    log_densities(returns[:begin], p, tail_dof=5.0), p.start, p.transition
                )[0][:, 1]
                for p in (params, newer)
            ]
            assert ((high[0] > 0.5) == (high[1] > 0.5)).mean() > 0.9
        params = newer


def test_the_first_probabilities_come_after_the_first_fit():
    filtered = walk_forward_filter(calm_and_wild(300), HMMConfig())
    assert np.isnan(filtered[:252]).all()
    np.testing.assert_allclose(filtered[252:].sum(axis=1), 1.0)
    assert np.isnan(walk_forward_filter(calm_and_wild(252), HMMConfig())).all()


def test_three_states_fit_and_filter():
    config = HMMConfig(n_states=3)
    filtered = walk_forward_filter(calm_and_wild(600), config)
    assert filtered.shape == (600, 3)
    np.testing.assert_allclose(filtered[252:].sum(axis=1), 1.0)
