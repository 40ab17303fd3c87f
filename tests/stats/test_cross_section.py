"""Cross-sections against scipy, pandas and plain loops, session by session."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import rankdata

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.cross_section import (
    average_ranks,
    equal_weight_mean,
    group_mean,
    percentile_rank,
    rank_gaussian,
    taking_part,
    winsorise,
    z_score,
)

pytestmark = pytest.mark.feature("Q-20")

TRANSFORMS = {
    "ranks": lambda values, mask=None: average_ranks(values, mask=mask)[0],
    "percentile": lambda values, mask=None: percentile_rank(values, mask=mask),
    "gaussian": lambda values, mask=None: rank_gaussian(values, mask=mask),
    "z": lambda values, mask=None: z_score(values, mask=mask),
    "winsorised": lambda values, mask=None: winsorise(values, tail_frac=0.1, mask=mask),
    "part": lambda values, mask=None: taking_part(values, mask),
}
each_transform = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)


@pytest.fixture(scope="module")
def values():
    """Fat tails with ties, signed zeros, gaps, infinities; empty, single and flat sessions."""
    rng = np.random.default_rng(5)
    x = rng.standard_t(2, (60, 23))
    x[:, :8] = np.round(x[:, :8])
    x[20:30, :3] = [[0.0, -0.0, 0.0]]
    x[30, :] = -np.abs(x[30, :])
    x[rng.random(x.shape) < 0.1] = np.nan
    x[10] = np.nan
    x[11, 1:] = np.nan
    x[11, 0] = 3.0
    x[12] = 7.5
    x[13, :2] = np.inf, -np.inf
    return x


@pytest.fixture(scope="module")
def mask(values):
    return np.random.default_rng(6).random(values.shape) < 0.8


def clean(values, mask=None):
    keep = np.isfinite(values) if mask is None else np.isfinite(values) & mask
    return np.where(keep, values, np.nan)


def by_session(values, function):
    out = np.full(values.shape, np.nan)
    for t, row in enumerate(values):
        known = np.isfinite(row)
        if known.any():
            out[t, known] = function(row[known])
    return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ranks_equal_scipy(values, mask, masked, dtype):
    chosen = mask if masked else None
    typed = values.astype(dtype)
    x = clean(typed, chosen)
    ranks, counts = average_ranks(typed, mask=chosen)
    np.testing.assert_array_equal(ranks, by_session(x, rankdata))
    np.testing.assert_array_equal(counts, np.isfinite(x).sum(axis=1))
    assert ranks.dtype == np.float64


@pytest.mark.parametrize("masked", [False, True])
def test_scores_equal_scipy(values, mask, masked):
    chosen = mask if masked else None
    share = by_session(clean(values, chosen), lambda row: (rankdata(row) - 0.5) / row.size)
    np.testing.assert_allclose(percentile_rank(values, mask=chosen), share, rtol=1e-14)
    gaussian = rank_gaussian(values, mask=chosen)
    np.testing.assert_allclose(gaussian, ndtri(share), rtol=1e-13, atol=1e-15)


def test_scores_equal_a_plain_loop(values):
    x = clean(values)
    percentile, gaussian = percentile_rank(values), rank_gaussian(values)
    for t, row in enumerate(x):
        known = row[~np.isnan(row)]
        for j, value in enumerate(row):
            if np.isnan(value):
                assert np.isnan(percentile[t, j])
                assert np.isnan(gaussian[t, j])
                continue
            rank = (known < value).sum() + ((known == value).sum() + 1) / 2
            level = (rank - 0.5) / len(known)
            assert percentile[t, j] == pytest.approx(level, abs=1e-15)
            assert gaussian[t, j] == pytest.approx(NormalDist().inv_cdf(level), abs=1e-12)


def test_normal_scores_of_a_wide_session_reach_the_tails():
    wide = np.random.default_rng(0).permutation(200_000.0 + np.arange(100_000))[None, :]
    want = ndtri((rankdata(wide[0]) - 0.5) / wide.size)
    np.testing.assert_allclose(rank_gaussian(wide)[0], want, rtol=1e-12, atol=1e-14)


def test_normal_scores_are_exactly_odd(values):
    x = clean(values)
    np.testing.assert_array_equal(rank_gaussian(-x), -rank_gaussian(x))
    middle = rank_gaussian(np.arange(7.0)[None, :])[0, 3]
    assert middle == 0.0
    assert not np.signbit(middle)


@pytest.mark.parametrize("masked", [False, True])
def test_z_scores_equal_pandas(values, mask, masked):
    chosen = mask if masked else None
    frame = pd.DataFrame(clean(values, chosen)).T
    want = ((frame - frame.mean()) / frame.std()).T.to_numpy().copy()
    want[12] = np.nan
    np.testing.assert_allclose(z_score(values, mask=chosen), want, rtol=1e-12, atol=1e-13)


def test_a_spread_that_cannot_be_computed_is_no_unit():
    for size in (1e-200, 1e200):
        assert np.isnan(z_score(np.array([[size, 2.0 * size, 3.0 * size]]))).all()


@pytest.mark.parametrize("tail_frac", [0.0, 0.01, 0.1, 0.4])
def test_winsorised_values_equal_numpy(values, mask, tail_frac):
    def clip(row):
        return np.clip(row, *np.quantile(row, [tail_frac, 1.0 - tail_frac]))

    got = winsorise(values, tail_frac=tail_frac, mask=mask)
    np.testing.assert_allclose(got, by_session(clean(values, mask), clip), rtol=1e-13)


def test_mean_equals_pandas(values, mask):
    x = clean(values, mask)
    np.testing.assert_allclose(equal_weight_mean(values, mask), pd.DataFrame(x).mean(axis=1))
    assert np.isnan(equal_weight_mean(values)[10])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_transform
def test_asset_order_does_not_change_a_bit(values, mask, transform, dtype):
    order = np.random.default_rng(1).permutation(values.shape[1])
    x = values.astype(dtype)
    moved = transform(x[:, order], mask[:, order])
    assert moved.tobytes() == transform(x, mask)[:, order].tobytes()
    shuffled = equal_weight_mean(x[:, order], mask[:, order])
    assert shuffled.tobytes() == equal_weight_mean(x, mask).tobytes()


@each_transform
def test_a_session_stands_alone(values, mask, transform):
    whole = transform(values, mask)
    for t in range(len(values)):
        alone = transform(values[t : t + 1], mask[t : t + 1])
        assert alone.tobytes() == whole[t : t + 1].tobytes()


@each_transform
def test_memory_layout_does_not_change_a_bit(values, mask, transform):
    want = transform(values, mask).tobytes()
    assert transform(np.asfortranarray(values), np.asfortranarray(mask)).tobytes() == want
    wider = np.repeat(values, 2, axis=1)
    assert transform(wider[:, ::2], mask).tobytes() == want


@each_transform
def test_what_takes_no_part_is_nan_and_changes_nothing(values, mask, transform):
    got = transform(values, mask)
    assert np.isnan(got[~mask | ~np.isfinite(values)]).all()
    other = np.where(mask, values, 1e9)
    np.testing.assert_array_equal(transform(other, mask), got)


@each_transform
def test_the_input_is_not_changed_and_the_dtype_is_kept(values, transform):
    single = values.astype(np.float32)
    before = single.copy()
    got = transform(single)
    assert got.dtype == (np.float64 if transform is TRANSFORMS["ranks"] else np.float32)
    np.testing.assert_array_equal(single, before)
    np.testing.assert_allclose(got, transform(single.astype(float)), rtol=1e-6, atol=1e-6)


def test_ranks_of_extreme_single_precision_values_are_exact(values):
    with np.errstate(over="ignore"):
        single = np.concatenate([values, 1e-42 * values, 1e30 * values]).astype(np.float32)
    want = by_session(clean(single), lambda row: (rankdata(row) - 0.5) / row.size)
    np.testing.assert_array_equal(percentile_rank(single), want.astype(np.float32))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=30, deadline=None)
def test_ranks_do_not_change_under_increasing_maps(seed, digits, dtype):
    x = np.random.default_rng(seed).integers(-(10**digits), 10**digits, (4, 30)).astype(dtype)
    ranks, _ = average_ranks(x)
    np.testing.assert_array_equal(average_ranks(3 * x + 1)[0], ranks)
    np.testing.assert_array_equal(average_ranks(-x)[0], 31.0 - ranks)
    np.testing.assert_array_equal(ranks.sum(axis=1), 30 * 31 / 2)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (3, 1)])
def test_empty_and_single_cross_sections(shape):
    x = np.ones(shape)
    for transform in TRANSFORMS.values():
        assert transform(x).shape == shape
    assert equal_weight_mean(x).shape == shape[:1]
    assert (rank_gaussian(np.ones((3, 1))) == 0.0).all()
    assert np.isnan(z_score(np.ones((3, 1)))).all()


def test_bad_arguments_name_themselves(values, mask):
    with pytest.raises(DataError, match="values: wanted float32 or float64"):
        percentile_rank(values[0])
    with pytest.raises(DataError, match="int64"):
        z_score(np.arange(6).reshape(2, 3))
    with pytest.raises(DataError, match="mask: wanted shape"):
        rank_gaussian(values, mask=mask[:1])
    for share in (-0.1, 0.5, float("nan")):
        with pytest.raises(ConfigError, match="tail_frac"):
            winsorise(values, tail_frac=share)


def test_tails_may_differ():
    values = np.array([[float(x) for x in range(11)]])
    got = winsorise(values, tail_frac=0.1, upper_tail_frac=0.3)
    assert (got.min(), got.max()) == (1.0, pytest.approx(7.0))
    with pytest.raises(ConfigError, match="upper_tail_frac"):
        winsorise(values, tail_frac=0.1, upper_tail_frac=0.5)


def test_group_means_equal_the_loop_whatever_the_order_of_assets():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((9, 14))
    values[rng.random(values.shape) < 0.2] = np.nan
    codes = rng.integers(-1, 4, values.shape)
    mask = rng.random(values.shape) < 0.8
    got = group_mean(values, codes, mask=mask, min_assets=2)
    for t in range(9):
        for j in range(14):
            inside = mask[t] & (codes[t] == codes[t, j]) & ~np.isnan(values[t])
            if codes[t, j] < 0 or inside.sum() < 2:
                assert np.isnan(got[t, j])
            else:
                assert got[t, j] == pytest.approx(values[t, inside].mean(), rel=1e-12)
    order = rng.permutation(14)
    again = group_mean(values[:, order], codes[:, order], mask=mask[:, order], min_assets=2)
    np.testing.assert_array_equal(again, got[:, order])
    assert np.isnan(group_mean(values, np.full(values.shape, -1))).all()
    with pytest.raises(DataError, match="codes"):
        group_mean(values, codes[1:])
