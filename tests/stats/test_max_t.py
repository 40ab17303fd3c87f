"""Max-T against plain loops and exhaustive sign patterns, its limits, and its size."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    InsufficientObservationError,
)
from quant_engine.stats.max_t import DRAWS_PER_PART, block_sign_flip_statistics, max_t


def block_sums(pnl, block):
    return np.array([pnl[start : start + block].sum(axis=0) for start in range(0, len(pnl), block)])


def statistic(sums):
    """Self-normalised sum of one strategy, denominator computed anew after every flip."""
    return sum(sums) / sqrt(sum(value * value for value in sums))


def test_statistic_equals_the_loop_with_a_shorter_last_block():
    pnl = np.random.default_rng(0).standard_normal((47, 3))
    sums = block_sums(pnl, 10)
    assert len(sums) == 5
    got = block_sign_flip_statistics(pnl, block_sessions=10)
    np.testing.assert_allclose(got, [statistic(sums[:, k]) for k in range(3)], rtol=1e-12)


def test_p_values_converge_to_all_sign_patterns():
    """Exact step-down of 2^8 patterns, each with its own denominator."""
    pnl = np.random.default_rng(1).normal([0.5, 0.0, 0.2], 1.0, (40, 3))
    sums = block_sums(pnl, 5)
    patterns = np.array(list(product([1.0, -1.0], repeat=len(sums))))
    draws = np.array([[statistic(sums[:, k] * signs) for k in range(3)] for signs in patterns])
    observed = draws[0]
    left, exact, floor = list(np.argsort(-observed)), np.empty(3), 0.0
    while left:
        share = (draws[:, left].max(axis=1) >= observed[left[0]] - 1e-9).mean()
        floor = max(floor, share)
        exact[left.pop(0)] = floor
    got = max_t(pnl, seed=3, block_sessions=5, n_draws=20_000)
    np.testing.assert_allclose(got.p_values, exact, atol=0.012)


def test_draws_are_the_stated_signs():
    """The same generator by hand, in one piece, with plain step-down counting."""
    pnl = np.random.default_rng(2).standard_normal((60, 4)) + 0.1
    sums = block_sums(pnl, 6)
    n_draws = 2 * DRAWS_PER_PART
    rng = np.random.default_rng(9)
    signs = np.concatenate(
        [rng.integers(0, 2, (DRAWS_PER_PART, len(sums)), dtype=np.int8) for _ in range(2)]
    )
    draws = (signs * 2.0 - 1.0) @ (sums / np.sqrt((sums**2).sum(axis=0)))
    got = max_t(pnl, seed=9, block_sessions=6, n_draws=n_draws)
    single = [(1 + (draws.max(axis=1) >= s).sum()) / (n_draws + 1) for s in got.statistics]
    np.testing.assert_allclose(got.p_single_step, single)


def test_one_strategy_has_its_own_sign_flip_p_value():
    x = np.random.default_rng(3).standard_normal(120) + 0.15
    rng = np.random.default_rng(5)
    sums = block_sums(x, 10)
    flips = rng.integers(0, 2, (499, 12), dtype=np.int8) * 2.0 - 1.0
    reached = sum(flip @ sums >= sums.sum() for flip in flips)
    got = max_t(x[:, None], seed=5, block_sessions=10, n_draws=499)
    assert got.p_values[0] == got.p_single_step[0] == (1 + reached) / 500


def test_copies_change_nothing_and_company_costs():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((400, 1)) + 0.12
    alone = max_t(x, seed=1).p_values[0]
    copies = max_t(np.hstack([x] * 50), seed=1).p_values
    np.testing.assert_array_equal(copies, alone)
    family = max_t(np.hstack([x, rng.standard_normal((400, 50))]), seed=1)
    assert family.p_values[0] > alone
    assert family.is_significant.sum() == (family.p_values <= 0.025).sum()


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 8),
    scale=st.floats(1e-150, 1e150),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_order_and_unit_of_strategies_do_not_matter(seed, n, scale):
    rng = np.random.default_rng(seed)
    pnl = rng.standard_normal((90, n)) + rng.uniform(0, 0.4, n)
    order = rng.permutation(n)
    base = max_t(pnl, seed=0, block_sessions=9, n_draws=199)
    moved = max_t(pnl[:, order] * scale, seed=0, block_sessions=9, n_draws=199)
    np.testing.assert_array_equal(moved.p_values, base.p_values[order])
    np.testing.assert_allclose(moved.statistics, base.statistics[order], rtol=1e-9, atol=1e-12)
    assert (base.p_values <= base.p_single_step).all()
    assert moved.critical_value == pytest.approx(base.critical_value)


def test_it_is_one_sided():
    x = np.random.default_rng(6).standard_normal((600, 1)) - 0.3
    assert max_t(x, seed=0).p_values[0] > 0.99
    assert max_t(-x, seed=0).p_values[0] < 0.001


def test_critical_value_agrees_with_significance():
    pnl = np.random.default_rng(7).standard_normal((500, 30)) + 0.08
    got = max_t(pnl, seed=2, alpha=0.05)
    np.testing.assert_array_equal(
        got.statistics > got.critical_value, got.p_single_step <= got.alpha
    )
    assert (got.n_blocks, got.n_sessions, got.n_strategies) == (25, 500, 30)
    assert got.best == got.statistics.argmax()


def test_false_alarms_stay_at_the_level():
    """Monte Carlo null: 10 strategies, fat tails; nominal 10 % within four standard errors."""
    rng = np.random.default_rng(8)
    alarms = sum(
        max_t(
            rng.standard_t(4, (160, 10)), seed=number, alpha=0.1, block_sessions=8, n_draws=199
        ).is_significant.any()
        for number in range(400)
    )
    assert abs(alarms / 400 - 0.1) < 4 * sqrt(0.1 * 0.9 / 400)


def test_bad_arguments_name_themselves():
    pnl = np.random.default_rng(9).standard_normal((200, 3))
    with pytest.raises(ConfigError, match="alpha"):
        max_t(pnl, seed=0, alpha=0.0)
    with pytest.raises(ConfigError, match="at least 39 draws"):
        max_t(pnl, seed=0, n_draws=20)
    with pytest.raises(ConfigError, match="block_sessions"):
        max_t(pnl, seed=0, block_sessions=0)
    with pytest.raises(InsufficientObservationError, match="at least 6 blocks"):
        max_t(pnl[:100], seed=0)
    with pytest.raises(EmptyDataError, match="at least one session and one strategy"):
        max_t(np.empty((200, 0)), seed=0)
    flat = pnl.copy()
    flat[:, 1] = 0.0
    with pytest.raises(DataError, match=r"columns \[1\]"):
        max_t(flat, seed=0)
    flat[3, 0] = np.nan
    with pytest.raises(DataError, match="NaN in 1 columns"):
        max_t(flat, seed=0)
