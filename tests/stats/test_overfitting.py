"""CSCV against a plain loop, exact constructions, limits and invariances."""

from itertools import combinations
from math import isnan, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress, rankdata

from quant_engine.core.errors import (
    ConfigError,
    DataError,
    InsufficientHistoryError,
    InsufficientObservationError,
)
from quant_engine.stats.overfitting import n_combinations, pbo_cscv


def sharpe(rows):
    return rows.mean(axis=0) / rows.std(axis=0, ddof=1)


def plain(returns, n_blocks):
    """CSCV as the paper writes it: put both samples together and rank every strategy."""
    x = np.asarray(returns)[len(returns) % n_blocks :]
    length = len(x) // n_blocks
    blocks = [x[b * length : (b + 1) * length] for b in range(n_blocks)]
    found = {"best": [], "in": [], "out": [], "logits": [], "all": []}
    for members in combinations(range(n_blocks), n_blocks // 2):
        inside = sharpe(np.concatenate([blocks[b] for b in members]))
        outside = sharpe(np.concatenate([blocks[b] for b in range(n_blocks) if b not in members]))
        best = int(np.argmax(inside))
        w = rankdata(outside)[best] / (x.shape[1] + 1)
        found["best"].append(best)
        found["in"].append(inside[best])
        found["out"].append(outside[best])
        found["logits"].append(log(w / (1 - w)))
        found["all"].extend(outside)
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "n_blocks"), [(60, 5, 6), (67, 3, 8), (41, 12, 4), (20, 2, 2)]
)
def test_equals_the_plain_loop(n_rows, n_columns, n_blocks):
    returns = np.random.default_rng(n_rows).standard_t(3, (n_rows, n_columns)) + 0.1
    got, want = pbo_cscv(returns, n_blocks=n_blocks), plain(returns, n_blocks)
    np.testing.assert_array_equal(got.is_best, want["best"])
    np.testing.assert_allclose(got.in_sample, want["in"], rtol=1e-12)
    np.testing.assert_allclose(got.out_of_sample, want["out"], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(got.logits, want["logits"], atol=1e-12)
    assert got.pbo == np.mean(want["logits"] <= 1e-12)
    assert got.prob_loss == np.mean(want["out"] < 0)
    assert got.n_combinations == len(want["best"]) == n_combinations(n_blocks)
    assert (got.n_rows, got.n_rows_dropped) == (n_rows - n_rows % n_blocks, n_rows % n_blocks)
    if n_blocks > 2:
        line = linregress(want["in"], want["out"])
        assert got.slope == pytest.approx(line.slope)
        assert got.intercept == pytest.approx(line.intercept)
    at = np.sort(got.out_of_sample)
    everyone = np.array([(want["all"] <= x + 1e-12).mean() for x in at])
    winners = np.array([(got.out_of_sample <= x).mean() for x in at])
    assert got.dominance_gap == pytest.approx((winners - everyone).max(), abs=1e-9)


def test_a_metric_of_ones_own_takes_the_same_way():
    returns = np.random.default_rng(1).standard_normal((70, 6))
    built_in, custom = pbo_cscv(returns, n_blocks=6), pbo_cscv(returns, n_blocks=6, metric=sharpe)
    np.testing.assert_array_equal(custom.is_best, built_in.is_best)
    np.testing.assert_allclose(custom.logits, built_in.logits)
    assert custom.pbo == built_in.pbo
    assert custom.dominance_gap == pytest.approx(built_in.dominance_gap)
    assert (built_in.metric, custom.metric) == ("sharpe", "custom")


def test_samples_reach_the_metric_in_time_order():
    seen = []

    def last_minus_first(rows):
        seen.append(rows[:, 0].tolist())
        return rows[-1] - rows[0]

    returns = np.column_stack([np.arange(9.0), np.arange(9.0) ** 2])
    pbo_cscv(returns, n_blocks=4, metric=last_minus_first)
    assert seen[:4] == [[1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 5, 6], [3, 4, 7, 8]]


def test_mirrored_strategies_have_a_pbo_of_one():
    """The total mean is zero, so the winner of one half loses the other by construction."""
    x = np.random.default_rng(2).standard_normal(48)
    x -= x.mean()
    got = pbo_cscv(np.column_stack([x, -x]), n_blocks=8)
    assert got.pbo == got.prob_loss == 1.0
    assert got.slope < 0.0


def test_one_strategy_far_above_the_others_has_a_pbo_of_zero():
    returns = np.random.default_rng(3).standard_normal((160, 20))
    returns[:, 7] += 5.0
    got = pbo_cscv(returns, n_blocks=8)
    assert got.pbo == got.prob_loss == 0.0
    assert (got.is_best == 7).all()
    np.testing.assert_allclose(got.logits, log(20.0))
    assert got.dominance_gap == 0.0


def test_copies_of_one_strategy_are_at_the_median_everywhere():
    """Ties share their average rank, and a logit of zero counts against the choice."""
    one = np.random.default_rng(4).standard_normal(80)
    got = pbo_cscv(np.tile(one[:, None], 11), n_blocks=8)
    assert not got.logits.any()
    assert got.pbo == 1.0
    assert got.dominance_gap == pytest.approx(0.0, abs=1e-12)


def test_pbo_of_noise_is_about_one_half():
    rng = np.random.default_rng(5)
    values = [pbo_cscv(rng.standard_normal((80, 20)), n_blocks=8).pbo for _ in range(200)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)


@given(
    seed=st.integers(0, 10_000),
    n_columns=st.integers(2, 8),
    n_blocks=st.sampled_from([2, 4, 6]),
    scale=st.floats(1e-6, 1e6),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_order_and_unit_of_strategies_do_not_matter(seed, n_columns, n_blocks, scale):
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((37, n_columns))
    order = rng.permutation(n_columns)
    base = pbo_cscv(returns, n_blocks=n_blocks)
    moved = pbo_cscv(returns[:, order] * scale, n_blocks=n_blocks)
    np.testing.assert_array_equal(order[moved.is_best], base.is_best)
    np.testing.assert_allclose(moved.logits, base.logits, atol=1e-12)
    assert moved.pbo == base.pbo
    assert moved.dominance_gap == pytest.approx(base.dominance_gap)


def test_a_large_mean_costs_no_digits():
    """Sums of squares of 1e6 + noise would lose the noise; deviations keep it."""
    noise = np.random.default_rng(6).standard_normal((64, 4))
    got = pbo_cscv(noise + 1e6, n_blocks=4)
    want = plain(noise + 1e6, 4)
    np.testing.assert_allclose(got.in_sample, want["in"], rtol=1e-9)


def test_a_line_through_equal_values_is_no_line():
    returns = [[1.0, -1.0], [2.0, -2.0], [1.0, -1.0], [2.0, -2.0]]
    got = pbo_cscv(returns, n_blocks=2)
    assert isnan(got.slope)
    assert isnan(got.intercept)


@pytest.mark.parametrize("n_blocks", [0, 1, 3, 7, 22])
def test_blocks_are_even_and_few(n_blocks):
    with pytest.raises(ConfigError, match="even number from 2 to 20"):
        n_combinations(n_blocks)
    with pytest.raises(ConfigError, match="n_blocks"):
        pbo_cscv(np.zeros((100, 3)), n_blocks=n_blocks)


def test_the_paper_counts_12870():
    assert n_combinations(16) == 12_870


def test_insufficient_data_is_an_error_and_not_a_pass():
    rng = np.random.default_rng(7)
    with pytest.raises(InsufficientObservationError, match="at least 2 strategies"):
        pbo_cscv(rng.standard_normal((100, 1)))
    with pytest.raises(InsufficientHistoryError, match="at least 32 rows"):
        pbo_cscv(rng.standard_normal((31, 5)))
    gap = rng.standard_normal((64, 3))
    gap[5, 1] = np.nan
    with pytest.raises(DataError, match="NaN in 1 columns"):
        pbo_cscv(gap)
    gap[5, 1] = np.inf
    with pytest.raises(DataError, match="infinite"):
        pbo_cscv(gap)
    with pytest.raises(DataError, match="2 dimensions"):
        pbo_cscv(gap[:, 0])


def test_a_strategy_without_a_sharpe_ratio_is_refused():
    returns = np.random.default_rng(8).standard_normal((64, 3))
    returns[:32, 2] = 0.1
    with pytest.raises(DataError, match=r"constant columns \[2\]"):
        pbo_cscv(returns, n_blocks=8)
    returns[8:16, 2] = 0.2
    assert pbo_cscv(returns, n_blocks=8).n_strategies == 3, "two levels vary"
    with pytest.raises(DataError, match="NaN or infinite"):
        pbo_cscv(returns, n_blocks=4, metric=lambda rows: np.full(rows.shape[1], np.nan))
