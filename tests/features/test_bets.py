"""Meta-labels and bet sizes against plain loops, other libraries and limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import f1_score, precision_score, recall_score

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.features.bet_size import (
    DynamicSize,
    average_active,
    bet_size,
    discretise_sizes,
)
from quant_engine.features.meta_labels import meta_label_metrics, meta_labels


def test_meta_metrics_equal_scikit_learn():
    rng = np.random.default_rng(1)
    side, moves = rng.choice([-1, 1], 300), 0.02 * rng.standard_normal(300)
    chance = rng.random(300)
    truth, taken = side * moves > 0, chance > 0.55
    got = meta_label_metrics(side, moves, chance, threshold=0.55)
    assert got.precision_primary == pytest.approx(truth.mean())
    assert got.precision_meta == pytest.approx(precision_score(truth, taken))
    assert got.recall_meta == pytest.approx(recall_score(truth, taken))
    assert got.f1_meta == pytest.approx(f1_score(truth, taken))
    assert got.pnl_primary == pytest.approx((side * moves).sum())
    assert got.pnl_meta == pytest.approx((side * moves)[taken].sum())
    np.testing.assert_array_equal(meta_labels(side, moves), truth)


def test_bets_that_are_none_and_unknown_outcomes_count_nowhere():
    side = np.array([1.0, 0.0, np.nan, 1.0, -1.0])
    moves = np.array([0.1, 0.1, 0.1, np.nan, 0.1])
    assert np.isnan(meta_labels(side, moves)[1:4]).all()
    got = meta_label_metrics(side, moves, [0.9, 0.9, 0.9, 0.9, np.nan], threshold=0.5)
    assert (got.n_bets, got.n_taken) == (2, 1)
    nothing = meta_label_metrics([0], [0.1], [0.9], threshold=0.5)
    assert np.isnan([nothing.precision_primary, nothing.recall_meta, nothing.f1_meta]).all()


def test_sizes_equal_the_normal_distribution_function_and_mirror():
    p = np.linspace(0.01, 0.99, 99)
    want = 2 * norm.cdf((p - 1 / 3) / np.sqrt(p * (1 - p))) - 1
    np.testing.assert_allclose(bet_size(p, np.ones(99), n_classes=3), want, atol=1e-15)
    np.testing.assert_allclose(bet_size(p, np.ones(99)), -bet_size(1 - p, np.ones(99)), atol=1e-14)
    assert (np.diff(bet_size(p, np.ones(99))) > 0).all()
    assert bet_size([0.0, 1.0], [1, -1]).tolist() == [-1.0, -1.0]


def test_steps_are_multiples_within_the_limits():
    sizes = np.linspace(-1.2, 1.2, 481)
    for step in (0.1, 0.25, 0.3):
        got = discretise_sizes(sizes, step_frac=step)
        inside = np.abs(sizes) <= 1 - step
        assert (np.abs(got - sizes)[inside] <= step / 2 + 1e-12).all()
        assert np.abs(got).max() <= 1.0


@pytest.mark.parametrize("seed", range(4))
def test_average_equals_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 30, 25).astype(float)
    end = start + rng.integers(0, 8, 25)
    end[rng.random(25) < 0.2] = np.nan
    sizes = rng.uniform(-1, 1, 25)
    times, average = average_active(start, end, sizes)
    assert set(times) == set(start) | set(end[~np.isnan(end)])
    for time, got in zip(times, average, strict=True):
        on = [
            size
            for a, b, size in zip(start, end, sizes, strict=True)
            if a <= time and (np.isnan(b) or time < b)
        ]
        assert got == pytest.approx(np.mean(on) if on else 0.0, abs=1e-13)


def test_dynamic_sizes_invert_and_limits_mirror():
    sizing = DynamicSize.calibrated(divergence=10.0, size_frac=0.95)
    assert sizing.size(110.0, 100.0) == pytest.approx(0.95)
    for wanted in (-0.9, -0.2, 0.0, 0.4, 0.95):
        price = sizing.inverse_price(100.0, wanted)
        assert sizing.size(100.0, price) == pytest.approx(wanted, abs=1e-12)
    up = sizing.limit_price(100.0, position=-3, target=8, max_position=20)
    want = np.mean([sizing.inverse_price(100.0, n / 20) for n in range(-2, 9)])
    assert up == pytest.approx(want)
    down = sizing.limit_price(100.0, position=3, target=-8, max_position=20)
    assert up - 100.0 == pytest.approx(100.0 - down)
    assert np.isnan(sizing.limit_price(100.0, position=4, target=4, max_position=20))
    assert sizing.target_position(90.0, 100.0, max_position=20) == -19


def test_errors_say_what_is_wrong():
    with pytest.raises(DataError, match="returns"):
        meta_labels([1, -1], [0.1])
    with pytest.raises(DataError, match="probability"):
        meta_label_metrics([1], [0.1], [0.5, 0.6], threshold=0.5)
    with pytest.raises(ConfigError, match="n_classes"):
        bet_size([0.5], [1], n_classes=1)
    with pytest.raises(DataError, match="probability"):
        bet_size([1.5], [1])
    with pytest.raises(ConfigError, match="step_frac"):
        discretise_sizes([0.5], step_frac=0.0)
    with pytest.raises(DataError, match="a start, an end"):
        average_active([0.0], [1.0, 2.0], [0.5])
    with pytest.raises(DataError, match="not before their starts"):
        average_active([2.0], [1.0], [0.5])
    with pytest.raises(ConfigError, match="width"):
        DynamicSize(0.0)
    with pytest.raises(ConfigError, match="calibration"):
        DynamicSize.calibrated(divergence=0.0, size_frac=0.5)
    with pytest.raises(ConfigError, match="size_frac"):
        DynamicSize(1.0).inverse_price(100.0, 1.0)
