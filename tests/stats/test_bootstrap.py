"""Resampling plans: plain loops, laws of the schemes, and arch for the block length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats import bootstrap as module
from quant_engine.stats.bootstrap import (
    BlockLength,
    bootstrap_distribution,
    bootstrap_means,
    check_indices,
    circular_indices,
    iid_indices,
    measured_block_length,
    moving_indices,
    optimal_block_length,
    stationary_from_draws,
    stationary_indices,
)

RNG = np.random.default_rng(5)


def loop_stationary(starts, uniforms, avg_block):
    """The rule of Politis and Romano, one step at a time."""
    out = [starts[0]]
    for start, u in zip(starts[1:], uniforms[1:], strict=True):
        out.append(start if u <= 1 / avg_block else (out[-1] + 1) % len(starts))
    return out


@given(st.integers(1, 30), st.floats(1.0, 30.0), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_stationary_rule_equals_the_loop(n, avg_block, seed):
    avg_block = min(avg_block, float(n))
    rng = np.random.default_rng(seed)
    starts, uniforms = rng.integers(0, n, (3, n)), rng.random((3, n))
    got = stationary_from_draws(starts, uniforms, avg_block=avg_block)
    assert got.tolist() == [
        loop_stationary(s, u, avg_block) for s, u in zip(starts, uniforms, strict=True)
    ]
    one = stationary_from_draws(starts[0], uniforms[0], avg_block=avg_block)
    assert one.tolist() == got[0].tolist()
    assert starts.max() < n, "the arguments are left as they were"


def test_the_seeded_plan_is_the_rule_on_the_seeded_numbers():
    rng = np.random.default_rng(3)
    starts = rng.integers(0, 20, (4, 20))
    wanted = stationary_from_draws(starts, rng.random((4, 20)), avg_block=5.0)
    np.testing.assert_array_equal(stationary_indices(20, avg_block=5.0, n_draws=4, seed=3), wanted)


PLANS = {
    "iid": lambda n, seed: iid_indices(n, n_draws=2000, seed=seed),
    "circular": lambda n, seed: circular_indices(n, block=7, n_draws=2000, seed=seed),
    "stationary": lambda n, seed: stationary_indices(n, avg_block=7.0, n_draws=2000, seed=seed),
}


@pytest.mark.parametrize("name", PLANS)
def test_every_observation_is_equally_likely_at_every_place(name):
    plan = PLANS[name](40, 1)
    assert plan.shape == (2000, 40)
    assert plan.dtype == np.int64
    for place in (0, 19, 39):
        counts = np.bincount(plan[:, place], minlength=40)
        # Five standard deviations of a binomial count around 50.
        assert abs(counts - 50).max() < 5 * np.sqrt(50)
    np.testing.assert_array_equal(plan, PLANS[name](40, 1))
    assert (plan != PLANS[name](40, 2)).any()


def test_moving_blocks_stay_inside_and_neglect_the_ends():
    plan = moving_indices(40, block=7, n_draws=2000, seed=1)
    steps = np.diff(plan, axis=1)
    inside = np.arange(1, 40) % 7 != 0
    assert (steps[:, inside] == 1).all()
    counts = np.bincount(plan.ravel(), minlength=40)
    assert counts[0] < counts[20] / 3


def test_circular_blocks_wrap():
    plan = circular_indices(10, block=4, n_draws=500, seed=0)
    steps = np.diff(plan, axis=1) % 10
    assert (steps[:, np.arange(1, 10) % 4 != 0] == 1).all()
    assert (np.diff(plan, axis=1) == -9).any()


def test_block_lengths_are_what_was_asked_for():
    plan = stationary_indices(400, avg_block=10.0, n_draws=500, seed=2)
    assert measured_block_length(plan) == pytest.approx(10.0, rel=0.02)
    whole = measured_block_length(np.arange(5)[None])
    assert whole == np.inf
    # A circular plan of whole blocks begins one every `block` places, but not the first.
    plan = circular_indices(400, block=8, n_draws=500, seed=2)
    assert measured_block_length(plan) == pytest.approx(399 / 49, rel=0.01)


def test_a_mean_block_of_one_draws_single_observations():
    plan = stationary_indices(50, avg_block=1.0, n_draws=2000, seed=0)
    follows = ((plan[:, :-1] + 1) % 50 == plan[:, 1:]).mean()
    assert follows == pytest.approx(1 / 50, abs=0.003)


@given(st.integers(2, 25), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_means_equal_the_resampled_means(n, k, seed):
    rng = np.random.default_rng(seed)
    data, plan = rng.standard_normal((n, k)), rng.integers(0, n, (6, n))
    np.testing.assert_allclose(bootstrap_means(data, plan), data[plan].mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(
        bootstrap_means(data[:, 0], plan), data[plan, 0].mean(axis=1), atol=1e-12
    )


def test_a_distribution_is_the_statistic_of_every_sample(monkeypatch):
    data, plan = RNG.standard_normal((30, 2)), iid_indices(30, n_draws=25, seed=1)

    def ratio(samples):
        return samples[:, :, 0].mean(axis=1) / samples[:, :, 1].std(axis=1)

    wanted = [data[row, 0].mean() / data[row, 1].std() for row in plan]
    whole = bootstrap_distribution(data, ratio, indices=plan)
    monkeypatch.setattr(module, "CHUNK_VALUES", 150)
    in_chunks = bootstrap_distribution(data, ratio, indices=plan)
    np.testing.assert_allclose(whole.draws, wanted, rtol=1e-12)
    np.testing.assert_array_equal(in_chunks.draws, whole.draws)
    assert whole.estimate == pytest.approx(data[:, 0].mean() / data[:, 1].std())
    assert whole.bias == pytest.approx(np.mean(wanted) - whole.estimate)


def test_intervals_of_a_mean_cover_and_agree():
    x = RNG.standard_normal(400)
    plan = iid_indices(400, n_draws=4000, seed=0)
    result = bootstrap_distribution(x, lambda s: s.mean(axis=1), indices=plan)
    assert result.std_error == pytest.approx(x.std() / 20, rel=0.04)
    low, high = result.interval(confidence=0.9)
    assert (low, high) == pytest.approx(np.quantile(result.draws, [0.05, 0.95]))
    basic = result.interval(confidence=0.9, kind="basic")
    assert basic == pytest.approx((2 * x.mean() - high, 2 * x.mean() - low))
    normal = result.interval(confidence=0.9, kind="normal")
    assert normal == pytest.approx(
        (x.mean() - 1.6449 * result.std_error, x.mean() + 1.6449 * result.std_error), rel=1e-3
    )


def test_block_intervals_cover_a_dependent_mean_and_single_draws_do_not():
    rng = np.random.default_rng(11)
    covered = {"iid": 0, "block": 0}
    for world in range(150):
        noise = rng.standard_normal(420)
        x = np.convolve(noise, np.ones(10), mode="valid")[:400]
        plans = {
            "iid": iid_indices(400, n_draws=300, seed=world),
            "block": stationary_indices(400, avg_block=30.0, n_draws=300, seed=world),
        }
        for name, plan in plans.items():
            low, high = np.quantile(bootstrap_means(x, plan), [0.05, 0.95])
            covered[name] += low <= 0.0 <= high
    assert covered["iid"] / 150 < 0.55
    assert covered["block"] / 150 > 0.78


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.3, 0.9])
@pytest.mark.parametrize("n", [20, 40, 250, 1500])
def test_block_length_equals_arch(rho, n):
    arch = pytest.importorskip("arch.bootstrap", reason="arch is not installed")
    x = RNG.standard_normal(n)
    for t in range(1, n):
        x[t] += rho * x[t - 1]
    wanted = arch.optimal_block_length(x).iloc[0]
    got = optimal_block_length(x)
    assert got.stationary == pytest.approx(wanted["stationary"], rel=1e-10)
    assert got.circular == pytest.approx(wanted["circular"], rel=1e-10)
    assert got.n_obs == n


def test_block_length_follows_the_dependence():
    noise = RNG.standard_normal(2010)
    slow = np.convolve(noise, np.ones(10), mode="valid")
    assert optimal_block_length(slow).stationary > 10 * optimal_block_length(noise).stationary
    assert optimal_block_length(5.0 + 3.0 * slow).stationary == pytest.approx(
        optimal_block_length(slow).stationary
    ), "neither level nor scale matters"


def test_lengths_are_made_usable():
    short = BlockLength(stationary=0.4, circular=0.5, n_obs=50)
    assert (short.stationary_usable, short.circular_whole) == (1.0, 1)
    assert BlockLength(stationary=4.3, circular=4.9, n_obs=50).circular_whole == 5


def test_bad_arguments_name_themselves():
    with pytest.raises(ConfigError, match="n_obs"):
        iid_indices(0, n_draws=1, seed=0)
    with pytest.raises(ConfigError, match="n_draws"):
        iid_indices(5, n_draws=0, seed=0)
    for maker in (moving_indices, circular_indices):
        with pytest.raises(ConfigError, match="block"):
            maker(5, block=6, n_draws=1, seed=0)
    for avg_block in (0.9, 6.0, float("nan")):
        with pytest.raises(ConfigError, match="avg_block"):
            stationary_indices(5, avg_block=avg_block, n_draws=1, seed=0)
    for starts, uniforms in (
        ([0, 1], [0.1]),
        ([0, 2], [0.1, 0.1]),
        ([0.0, 1.0], [0.1, 0.1]),
        ([0, 1], [0.1, 1.1]),
        ([0, 1], [0.1, np.nan]),
    ):
        with pytest.raises(DataError, match="starts, uniforms"):
            stationary_from_draws(starts, uniforms, avg_block=2.0)
    with pytest.raises(InsufficientHistoryError, match="at least 9"):
        optimal_block_length(np.arange(8.0))
    for broken in ([1.0] * 20, [np.nan, *range(20)]):
        with pytest.raises(DataError, match="varies, without NaN"):
            optimal_block_length(broken)
    for plan in (np.zeros((2, 4)), np.zeros(4, int), np.full((2, 4), 4), np.full((2, 4), -1)):
        with pytest.raises(DataError, match="indices"):
            check_indices(plan, 4)
    with pytest.raises(DataError, match="indices"):
        bootstrap_means(np.arange(3.0), np.zeros((2, 4), int))
    with pytest.raises(DataError, match="axis 1"):
        bootstrap_distribution(
            np.arange(4.0), lambda s: s.mean(axis=0), indices=np.zeros((3, 4), int)
        )
    result = bootstrap_distribution(
        np.arange(4.0), lambda s: s.mean(axis=1), indices=iid_indices(4, n_draws=9, seed=0)
    )
    with pytest.raises(ConfigError, match="confidence"):
        result.interval(confidence=1.0)
    with pytest.raises(ConfigError, match="kind"):
        result.interval(kind="bca")
