"""Averages by shares, slippage and implementation shortfall, against sums over single fills."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.errors import DataError, SchemaMismatchError
from quant_engine.execution import (
    implementation_shortfall,
    slippage_bps,
    volume_weighted_price,
)

pytestmark = pytest.mark.feature("Q-35")


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("seed", range(5))
def test_the_shortfall_is_the_sum_over_fills(seed, side):
    rng = np.random.default_rng(seed)
    prices, shares = rng.uniform(40, 60, 12), rng.integers(0, 300, 12).astype(float)
    arrival, last, left = 50.0, 51.5, 400.0
    by_fill = sum(side * (p - arrival) * n for p, n in zip(prices, shares, strict=True))
    paid = volume_weighted_price(prices, shares)
    found = implementation_shortfall(
        paid, arrival, last, filled_shares=shares.sum(), unfilled_shares=left, side=side
    )
    assert found.executed == pytest.approx(by_fill)
    assert found.unfilled == pytest.approx(side * 1.5 * left)
    assert found.total == pytest.approx(by_fill + side * 1.5 * left)
    in_bps = by_fill / (arrival * shares.sum()) * 1e4
    assert slippage_bps(paid, arrival, side=side) == pytest.approx(in_bps)


def test_an_order_that_was_not_filled_missed_the_whole_move():
    found = implementation_shortfall(
        float("nan"), 10.0, 12.0, filled_shares=0.0, unfilled_shares=5.0, side=1
    )
    assert found == (0.0, 10.0)


def test_bars_without_trades_count_nothing():
    prices, shares = np.array([np.nan, 10.0, 12.0]), np.array([np.nan, 1.0, 3.0])
    assert volume_weighted_price(prices, shares) == 11.5
    assert np.isnan(volume_weighted_price(prices, np.zeros(3)))


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(DataError, match="at least 0"):
        volume_weighted_price(np.array([10.0]), np.array([-1.0]))
    with pytest.raises(DataError, match="1 absent prices"):
        volume_weighted_price(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(SchemaMismatchError, match="as many as prices"):
        volume_weighted_price(np.array([10.0]), np.array([1.0, 2.0]))
