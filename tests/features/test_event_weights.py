"""Concurrency, uniqueness, sequential bootstrap and label weights against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.features.event_weights import (
    average_uniqueness,
    concurrency,
    return_attribution,
    sequential_bootstrap,
    sequential_probabilities,
    span_rows,
    time_decay,
)

N_BARS = 40


def some_spans(seed, count=25, n_groups=3):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, N_BARS, count)
    last = np.minimum(first + rng.integers(0, 9, count), N_BARS - 1)
    return first, last, rng.integers(0, n_groups, count)


def plain_concurrency(first, last, group, n_groups):
    out = np.zeros((n_groups, N_BARS))
    for start, end, asset in zip(first, last, group, strict=True):
        for t in range(start, end + 1):
            out[asset, t] += 1
    return out


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_weights_equal_plain_loops(seed):
    first, last, group = some_spans(seed)
    spans = span_rows(first, last, n_bars=N_BARS, group=group)
    count = plain_concurrency(first, last, group, spans.n_groups)
    np.testing.assert_array_equal(concurrency(spans), count.ravel())
    shares = [
        [1.0 / count[g, t] for t in range(a, b + 1)]
        for a, b, g in zip(first, last, group, strict=True)
    ]
    unique = average_uniqueness(spans)
    np.testing.assert_allclose(unique.per_label, [np.mean(s) for s in shares], rtol=1e-13)
    assert unique.pooled == pytest.approx(np.mean(np.concatenate(shares)), rel=1e-13)
    assert unique.mean == pytest.approx(np.mean([np.mean(s) for s in shares]), rel=1e-13)

    rng = np.random.default_rng(seed)
    close = np.exp(np.cumsum(0.01 * rng.standard_normal((N_BARS, spans.n_groups)), axis=0))
    close[rng.random(close.shape) < 0.1] = np.nan
    want = np.zeros(first.size)
    for i, (a, b, g) in enumerate(zip(first, last, group, strict=True)):
        for t in range(max(a, 1), b + 1):
            step = np.log(close[t, g] / close[t - 1, g])
            want[i] += 0.0 if np.isnan(step) else step / count[g, t]
    want = np.abs(want)
    np.testing.assert_allclose(
        return_attribution(close, spans), want * first.size / want.sum(), rtol=1e-9
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_chances_equal_a_plain_loop_and_the_sampler_follows_them(seed):
    first, last, group = some_spans(seed)
    spans = span_rows(first, last, n_bars=N_BARS, group=group)
    draws = sequential_bootstrap(spans, n_draws=60, seed=seed)
    uniforms = np.random.default_rng(seed).random(60)
    for k in range(60):
        before = plain_concurrency(
            first[draws[:k]], last[draws[:k]], group[draws[:k]], spans.n_groups
        )
        means = np.array([
            np.mean([1.0 / (1.0 + before[g, t]) for t in range(a, b + 1)])
            for a, b, g in zip(first, last, group, strict=True)
        ])  # fmt: skip
        chances = sequential_probabilities(spans, draws[:k])
        np.testing.assert_allclose(chances, means / means.sum(), rtol=1e-12)
        reach = np.cumsum(chances)
        assert draws[k] == np.searchsorted(reach, uniforms[k], side="right")


def test_sequential_draws_are_more_unique_than_plain_ones():
    """What the method is for (AFML 4.5): higher uniqueness of the drawn sample, on average."""
    rng = np.random.default_rng(8)
    first = rng.integers(0, 90, 60)
    spans = span_rows(first, first + rng.integers(1, 8, 60), n_bars=100)

    def uniqueness(draws):
        return average_uniqueness(span_rows(spans.first[draws], spans.last[draws], n_bars=100)).mean

    ours = [uniqueness(sequential_bootstrap(spans, n_draws=60, seed=s)) for s in range(60)]
    plain = [uniqueness(np.random.default_rng(s).integers(0, 60, 60)) for s in range(60)]
    gain = np.array(ours) - np.array(plain)
    assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(gain.size)


def test_labels_of_different_assets_share_no_bar():
    alone = average_uniqueness(span_rows([0, 0], [5, 5], n_bars=10, group=[0, 1]))
    together = average_uniqueness(span_rows([0, 0], [5, 5], n_bars=10))
    assert alone.mean == 1.0
    assert together.mean == 0.5


def test_labels_without_overlap_weigh_alike():
    spans = span_rows([0, 3, 6], [2, 5, 8], n_bars=9)
    assert average_uniqueness(spans).pooled == 1.0
    np.testing.assert_allclose(sequential_probabilities(spans, []), 1 / 3)
    np.testing.assert_array_equal(time_decay(np.ones(3), last_weight=1.0), 1.0)


def test_decay_is_linear_in_uniqueness_and_ends_at_one():
    weights = time_decay([0.5, 1.0, 0.25, 2.0], last_weight=0.2)
    age = np.cumsum([0.5, 1.0, 0.25, 2.0])
    np.testing.assert_allclose(weights, 0.2 + 0.8 * age / age[-1])
    cut = time_decay(np.ones(10), last_weight=-0.5)
    assert (cut[:5] == 0.0).all()
    assert cut[-1] == 1.0


def test_nothing_and_flat_prices():
    empty = span_rows([], [], n_bars=5)
    assert np.isnan(average_uniqueness(empty).pooled)
    assert concurrency(empty).tolist() == [0] * 5
    assert time_decay([], last_weight=0.5).size == 0
    flat = span_rows([0], [3], n_bars=4)
    assert return_attribution(np.ones(4), flat).tolist() == [0.0]


def test_errors_say_what_is_wrong():
    spans = span_rows([0], [1], n_bars=3)
    with pytest.raises(DataError, match="first <= last"):
        span_rows([2], [1], n_bars=3)
    with pytest.raises(DataError, match="first: wanted whole numbers"):
        span_rows([0.5], [1], n_bars=3)
    with pytest.raises(DataError, match="for every label"):
        span_rows([0, 1], [1], n_bars=3)
    with pytest.raises(DataError, match="positions from 0 to 0"):
        sequential_probabilities(spans, [1])
    with pytest.raises(ConfigError, match="at least one draw"):
        sequential_bootstrap(spans, n_draws=0, seed=0)
    with pytest.raises(DataError, match="3 bars of 1 groups"):
        return_attribution(np.ones(4), spans)
    with pytest.raises(ConfigError, match="last_weight"):
        time_decay([1.0], last_weight=-1.0)
    with pytest.raises(DataError, match="one positive number"):
        time_decay([0.0], last_weight=0.5)
