"""James-Stein and partial pooling against closed forms, statsmodels and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from statsmodels.stats.meta_analysis import combine_effects

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.shrinkage import james_stein, james_stein_rates, partial_pooling

pytestmark = pytest.mark.feature("B-11")

METHODS = ["dersimonian_laird", "paule_mandel", "reml"]
EIGHT_SCHOOLS = (
    np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]) ** 2,
)


def effects(seed, size, tau=1.0):
    rng = np.random.default_rng(seed)
    v = 0.2 + rng.random(size)
    return 0.5 + tau * rng.standard_normal(size) + np.sqrt(v) * rng.standard_normal(size), v


def loop_stein(x, variance, target):
    n = len(x)
    center = sum(x) / n if target == "mean" else 0.0
    lost = 3 if target == "mean" else 2
    factor = max(0.0, 1 - (n - lost) * variance / sum((v - center) ** 2 for v in x))
    return [center + factor * (v - center) for v in x]


@pytest.mark.parametrize("target", ["mean", "zero"])
@pytest.mark.parametrize("variance", [0.01, 0.5, 4.0])
def test_james_stein_equals_the_plain_formula(target, variance):
    x = [1.2, -0.4, 0.3, 0.9, -1.1, 0.05]
    got = james_stein(x, variance=variance, target=target)
    np.testing.assert_allclose(got.estimates, loop_stein(x, variance, target))
    assert 0.0 <= got.factor < 1.0


def test_the_positive_part_never_turns_a_sign():
    x = [0.1, 0.12, 0.09, 0.11]
    assert james_stein(x, variance=0.04).factor == 0.0
    assert james_stein(x, variance=0.04, positive_part=False).factor < 0.0


@pytest.mark.parametrize("target", ["mean", "zero"])
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_the_risk_is_below_that_of_the_estimates_themselves(target, spread):
    """Total squared error, 2,000 draws for each of three sets of true values."""
    rng = np.random.default_rng(12)
    truth = spread * rng.standard_normal(8) + 0.4
    own, shrunk = 0.0, 0.0
    for x in truth + rng.standard_normal((2000, 8)):
        own += ((x - truth) ** 2).sum()
        shrunk += ((james_stein(x, variance=1.0, target=target).estimates - truth) ** 2).sum()
    assert shrunk < own


def test_nan_is_left_out_and_stays():
    x = np.array([1.2, np.nan, -0.4, 0.3, 0.9, -1.1])
    known = ~np.isnan(x)
    got, wanted = james_stein(x, variance=0.1), james_stein(x[known], variance=0.1)
    np.testing.assert_array_equal(got.estimates[known], wanted.estimates)
    assert np.isnan(got.estimates[1])
    assert got.n == 5


def test_equal_estimates_shrink_to_themselves():
    got = james_stein([0.1] * 7, variance=0.01)
    np.testing.assert_array_equal(got.estimates, [0.1] * 7)
    assert got.factor == 0.0
    with pytest.raises(DataError, match="differ from the target"):
        james_stein([0.1] * 7, variance=0.01, positive_part=False)


def test_rates_use_the_binomial_variance():
    hits = [18, 17, 16, 10, 9, 7]
    pbar = sum(hits) / (6 * 45)
    wanted = james_stein(np.array(hits) / 45, variance=pbar * (1 - pbar) / 45)
    np.testing.assert_array_equal(james_stein_rates(hits, trials=45).estimates, wanted.estimates)


@pytest.mark.parametrize("seed", range(4))
def test_pooling_equals_statsmodels(seed):
    y, v = effects(seed, 15)
    for ours, theirs in (("dersimonian_laird", "chi2"), ("paule_mandel", "iterated")):
        # A tighter tolerance makes the peer's iteration fall to 0 by rounding.
        wanted = combine_effects(y, v, method_re=theirs, atol=1e-6)
        got = partial_pooling(y, v, method=ours)
        assert got.tau2 == pytest.approx(wanted.tau2, abs=1e-4)
        assert got.mu == pytest.approx(wanted.mean_effect_re, abs=1e-4)
        assert got.q == pytest.approx(wanted.q)


def test_dersimonian_laird_is_never_negative():
    got = partial_pooling(*EIGHT_SCHOOLS, method="dersimonian_laird")
    assert got.tau2 == 0.0
    assert (got.weight_own == 0.0).all()
    np.testing.assert_allclose(got.estimates, got.mu)
    assert got.mu == pytest.approx(7.685617, abs=1e-6), "published pooled mean"
    assert got.mu_std_error == pytest.approx(4.071919, abs=1e-6)


def test_paule_mandel_solves_its_equation():
    y, v = effects(7, 30)
    tau2 = partial_pooling(y, v, method="paule_mandel").tau2
    w = 1 / (v + tau2)
    assert (w * (y - (w * y).sum() / w.sum()) ** 2).sum() == pytest.approx(29.0)


@pytest.mark.parametrize("seed", range(6))
def test_reml_is_the_maximum_of_the_likelihood_of_contrasts(seed):
    """Restricted likelihood as the normal density of any n - 1 independent contrasts."""
    y, v = effects(seed, 9, tau=0.3 * seed)
    contrasts = np.eye(9)[1:] - np.full((8, 9), 1 / 9)

    def minus(tau2):
        cov = contrasts @ np.diag(v + tau2) @ contrasts.T
        z = contrasts @ y
        return np.linalg.slogdet(cov)[1] + z @ np.linalg.solve(cov, z)

    got = partial_pooling(y, v, method="reml").tau2
    wanted = minimize_scalar(minus, bounds=(0.0, 40.0), method="bounded", options={"xatol": 1e-10})
    assert minus(got) <= wanted.fun + 1e-8
    assert got == pytest.approx(wanted.x, abs=1e-4)


def test_equal_variances_make_all_three_agree():
    y = effects(3, 12)[0]
    tau2 = [partial_pooling(y, np.full(12, 0.3), method=method).tau2 for method in METHODS]
    np.testing.assert_allclose(tau2, max(0.0, y.var(ddof=1) - 0.3))


@given(st.integers(0, 10_000), st.sampled_from(METHODS))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_laws_of_the_weights(seed, method):
    y, v = effects(seed, 6)
    v[0] = 1e-10
    got = partial_pooling(y, v, method=method)
    assert got.tau2 >= 0.0
    assert ((got.weight_own >= 0.0) & (got.weight_own <= 1.0)).all()
    if got.tau2 > 1e-6:
        assert got.weight_own[0] > 0.999, "an exact estimate stands for itself"
    low, high = np.minimum(y, got.mu), np.maximum(y, got.mu)
    assert ((got.estimates >= low - 1e-12) & (got.estimates <= high + 1e-12)).all()
    moved = partial_pooling(y + 5.0, v, method=method)
    np.testing.assert_allclose(moved.estimates, got.estimates + 5.0, atol=1e-6)
    scaled = partial_pooling(y * 100.0, v * 1e4, method=method)
    np.testing.assert_allclose(scaled.estimates, got.estimates * 100.0, rtol=1e-5, atol=1e-6)


def test_pooling_skips_nan():
    y, v = effects(2, 8)
    gaps_y, gaps_v = np.append(y, [np.nan, 1.0]), np.append(v, [1.0, np.nan])
    got, wanted = partial_pooling(gaps_y, gaps_v), partial_pooling(y, v)
    np.testing.assert_array_equal(got.estimates[:8], wanted.estimates)
    assert np.isnan(got.estimates[8:]).all()
    assert np.isnan(got.weight_own[8:]).all()
    assert got.n == 8


def test_intervals_cover_true_effects():
    """With many effects; few leave tau2 itself uncertain, which the intervals do not know."""
    rng = np.random.default_rng(9)
    inside = []
    for _ in range(40):
        v = 0.2 + rng.random(400)
        theta = 1.0 + 0.7 * rng.standard_normal(400)
        got = partial_pooling(theta + np.sqrt(v) * rng.standard_normal(400), v, method="reml")
        inside.append((np.abs(got.estimates - theta) <= 1.645 * got.std_errors).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)


def test_bad_arguments_name_themselves():
    with pytest.raises(InsufficientHistoryError, match="at least 4"):
        james_stein([1.0, 2.0, 3.0], variance=1.0)
    with pytest.raises(InsufficientHistoryError, match="at least 3"):
        james_stein([1.0, 2.0], variance=1.0, target="zero")
    with pytest.raises(ConfigError, match="target"):
        james_stein([1.0] * 5, variance=1.0, target="median")
    for variance in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="variance"):
            james_stein([1.0, 2.0, 3.0, 4.0], variance=variance)
    with pytest.raises(ConfigError, match="trials"):
        james_stein_rates([1, 2, 3, 4], trials=0)
    with pytest.raises(DataError, match="not all at one end"):
        james_stein_rates([0, 0, 0, 0], trials=9)
    with pytest.raises(DataError, match="counts from 0 to 9"):
        james_stein_rates([1, 2, 3, 10], trials=9)
    with pytest.raises(ConfigError, match="variance between effects"):
        partial_pooling([1.0, 2.0], [1.0, 1.0], method="ml")
    with pytest.raises(DataError, match="1 not positive"):
        partial_pooling([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(DataError, match="shape"):
        partial_pooling([1.0, 2.0], [1.0])
    with pytest.raises(InsufficientHistoryError, match="at least 2"):
        partial_pooling([1.0, np.nan], [1.0, 1.0])
