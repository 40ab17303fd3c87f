"""Paired comparisons: loops, delta method by finite differences, size under the null."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import t as student_t

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import circular_indices, iid_indices
from quant_engine.stats.comparison import (
    diebold_mariano,
    mean_difference,
    paired_bootstrap,
    sharpe_difference,
)
from quant_engine.stats.hac import newey_west_mean

RNG = np.random.default_rng(31)
COMMON = RNG.normal(0.0005, 0.01, 300)
A = COMMON + RNG.normal(0.0005, 0.004, 300)
B = COMMON + RNG.normal(0.0, 0.004, 300)


def sharpe_gap(a, b):
    return a.mean() / a.std() - b.mean() / b.std()


def test_mean_difference_is_the_test_of_the_differences():
    assert mean_difference(A, B, lags=5) == newey_west_mean(A - B, lags=5)
    wide = newey_west_mean(A, lags=5).std_error
    assert mean_difference(A, B, lags=5).std_error < wide, "what is common cancels"


def influence(a, b):
    """Influence of each observation on the gap: the derivative in its weight, numerically."""
    n, step = len(a), 1e-6
    out = np.empty(n)
    for t in range(n):
        gaps = []
        for sign in (1.0, -1.0):
            w = np.full(n, (1.0 - sign * step) / n)
            w[t] += sign * step
            ratios = []
            for x in (a, b):
                mean = w @ x
                ratios.append(mean / sqrt(w @ (x - mean) ** 2))
            gaps.append(ratios[0] - ratios[1])
        out[t] = (gaps[0] - gaps[1]) / (2 * step)
    return out


@pytest.mark.parametrize("lags", [0, 4])
def test_sharpe_error_equals_the_numerical_delta_method(lags):
    got = sharpe_difference(A, B, lags=lags)
    z = influence(A, B)
    total = sum(
        (1 - abs(i - j) / (lags + 1)) * z[i] * z[j]
        for i in range(300)
        for j in range(max(0, i - lags), min(300, i + lags + 1))
    )
    assert got.difference == pytest.approx(sharpe_gap(A, B), rel=1e-10)
    assert got.std_error == pytest.approx(sqrt(total) / 300, rel=1e-5)
    assert got.p_bootstrap is None


def loop_bootstrap(a, b, indices, block, observed, gap):
    """Ledoit and Wolf's studentised bootstrap, one sample and one block at a time."""
    n, extreme = len(a), 0
    blocks = n // block
    for row in indices:
        x = np.column_stack([a[row], b[row], a[row] ** 2, b[row] ** 2])
        m1, m2, q1, q2 = x.mean(axis=0)
        s1, s2 = q1 - m1**2, q2 - m2**2
        g = np.array([q1 / s1**1.5, -q2 / s2**1.5, -m1 / (2 * s1**1.5), m2 / (2 * s2**1.5)])
        psi = np.zeros((4, 4))
        for j in range(blocks):
            zeta = (x - x.mean(axis=0))[j * block : (j + 1) * block].sum(axis=0) / sqrt(block)
            psi += np.outer(zeta, zeta) / blocks
        error = sqrt(g @ psi @ g / n)
        extreme += abs(m1 / sqrt(s1) - m2 / sqrt(s2) - gap) / error >= observed
    return (1 + extreme) / (1 + len(indices))


@pytest.mark.parametrize("block", [5, 7])
def test_studentised_bootstrap_equals_the_loop(block):
    got = sharpe_difference(A, B, lags=3, block=block, n_draws=199, seed=5)
    plan = circular_indices(300, block=block, n_draws=199, seed=5)
    wanted = loop_bootstrap(A, B, plan, block, abs(got.difference) / got.std_error, got.difference)
    assert got.p_bootstrap == pytest.approx(wanted)
    assert (got.block, got.n_draws) == (block, 199)


def test_the_comparison_changes_sign_with_its_sides_and_not_with_leverage():
    one, other = sharpe_difference(A, B, lags=4), sharpe_difference(B, 3.0 * A, lags=4)
    assert other.difference == pytest.approx(-one.difference)
    assert other.std_error == pytest.approx(one.std_error)
    assert other.p_normal == pytest.approx(one.p_normal)


def test_equal_sharpe_ratios_are_rejected_as_often_as_promised():
    rng = np.random.default_rng(8)
    rejected = np.zeros(2)
    for world in range(200):
        common = rng.standard_t(5, 150)
        a, b = common + rng.standard_t(5, 150), 2.0 * (common + rng.standard_t(5, 150))
        test = sharpe_difference(a, b, lags=2, block=3, n_draws=99, seed=world)
        rejected += [test.p_normal < 0.1, test.p_bootstrap <= 0.1]
    assert (rejected / 200 < 0.17).all()
    assert (rejected / 200 > 0.04).all()


def loop_diebold(a, b, h):
    d = [x - y for x, y in zip(a, b, strict=True)]
    n, mean = len(d), sum(d) / len(d)
    g = [sum((d[t] - mean) * (d[t - k] - mean) for t in range(k, n)) / n for k in range(h)]
    dm = mean / sqrt((g[0] + 2 * sum(g[1:])) / n)
    hln = dm * sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    return dm, hln, 2 * student_t.sf(abs(hln), n - 1)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_diebold_mariano_equals_the_loop(horizon):
    a, b = RNG.standard_normal(60) ** 2, RNG.standard_normal(60) ** 2
    a, b = (np.convolve(x, np.ones(horizon), mode="valid") for x in (a, b))
    got = diebold_mariano(a, b, horizon=horizon)
    wanted = loop_diebold(a.tolist(), b.tolist(), horizon)
    assert (got.dm, got.hln, got.p_value) == pytest.approx(wanted, rel=1e-9)
    swapped = diebold_mariano(b, a, horizon=horizon)
    assert (swapped.hln, swapped.p_value) == pytest.approx((-got.hln, got.p_value))


def test_one_step_ahead_is_the_paired_t_test():
    """At horizon 1 the corrected statistic is the paired t exactly."""
    a, b = RNG.standard_normal(40) ** 2, RNG.standard_normal(40) ** 2
    d = a - b
    got = diebold_mariano(a, b, horizon=1)
    assert got.hln == pytest.approx(d.mean() / (d.std(ddof=1) / sqrt(40)), rel=1e-12)
    kernel = diebold_mariano(a, b, horizon=1, kernel="bartlett")
    assert kernel.hln == pytest.approx(got.hln)


def test_bartlett_weights_equal_newey_west():
    a, b = RNG.standard_normal(80) ** 2, RNG.standard_normal(80) ** 2
    got = diebold_mariano(a, b, horizon=4, kernel="bartlett")
    assert got.dm == pytest.approx(newey_west_mean(a - b, lags=3).t, rel=1e-10)


def test_a_negative_variance_is_refused_and_bartlett_helps():
    d = np.tile([1.0, -1.0], 20) + 0.01 * np.arange(40)
    with pytest.raises(DataError, match="kernel='bartlett'"):
        diebold_mariano(d, np.zeros(40), horizon=2)
    assert diebold_mariano(d, np.zeros(40), horizon=2, kernel="bartlett").p_value <= 1.0


def test_paired_bootstrap_equals_the_loop_and_agrees_with_the_mean_test():
    plan = iid_indices(300, n_draws=400, seed=1)
    got = paired_bootstrap(A, B, lambda x: x.mean(axis=1), indices=plan)
    draws = [A[row].mean() - B[row].mean() for row in plan]
    gap = A.mean() - B.mean()
    np.testing.assert_allclose(got.distribution.draws, draws, atol=1e-15)
    extreme = sum(abs(d - gap) >= abs(gap) for d in draws)
    assert got.p_value == pytest.approx((1 + extreme) / 401)
    assert got.p_value == pytest.approx(mean_difference(A, B, lags=0).p_value, abs=0.03)
    assert got.distribution.std_error == pytest.approx(
        mean_difference(A, B, lags=0).std_error, rel=0.1
    )


def test_bad_arguments_name_themselves():
    holed = A.copy()
    holed[3] = np.nan
    plan = iid_indices(300, n_draws=3, seed=0)
    for call in (
        lambda x: mean_difference(x, B, lags=0),
        lambda x: sharpe_difference(x, B, lags=0),
        lambda x: diebold_mariano(x, B, horizon=1),
        lambda x: paired_bootstrap(x, B, lambda s: s.mean(axis=1), indices=plan),
    ):
        with pytest.raises(DataError, match="1 pairs with NaN"):
            call(holed)
        with pytest.raises(DataError, match="shape"):
            call(A[:-1])
    with pytest.raises(InsufficientHistoryError, match="at least 3 pairs"):
        mean_difference([0.1, 0.2], [0.1, 0.1], lags=0)
    with pytest.raises(InsufficientHistoryError, match="at least 10 pairs"):
        sharpe_difference(A[:9], B[:9], lags=0)
    with pytest.raises(DataError, match="a constant"):
        sharpe_difference(A, np.full(300, 0.1), lags=0)
    for same in (A, 2.0 * A):
        with pytest.raises(DataError, match="up to a factor"):
            sharpe_difference(A, same, lags=4)
    with pytest.raises(ConfigError, match="lags"):
        sharpe_difference(A, B, lags=300)
    with pytest.raises(ConfigError, match="seed"):
        sharpe_difference(A, B, lags=0, block=5)
    with pytest.raises(InsufficientHistoryError, match="at least 2 blocks"):
        sharpe_difference(A, B, lags=0, block=200, seed=0)
    for wrong in ({"horizon": 0}, {"horizon": 1, "kernel": "parzen"}):
        with pytest.raises(ConfigError, match="horizon, kernel"):
            diebold_mariano(A, B, **wrong)
    with pytest.raises(InsufficientHistoryError, match="more than 300"):
        diebold_mariano(A, B, horizon=300)
    with pytest.raises(DataError, match="positive variance"):
        diebold_mariano(A, A, horizon=1, kernel="bartlett")
