"""Trailing volatility against a plain loop, its past and its gaps."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest

from quant_engine.features.volatility import (
    HALF_LIFE_SESSIONS,
    MIN_SESSIONS,
    trailing_volatility,
)

pytestmark = pytest.mark.feature("Q-20")


@pytest.fixture(scope="module")
def returns():
    """Gaps, a late listing, an early end, and an asset that never has enough returns."""
    rng = np.random.default_rng(4)
    x = 0.02 * rng.standard_normal((150, 7))
    x[rng.random(x.shape) < 0.05] = np.nan
    x[0] = np.nan
    x[:60, 1] = np.nan
    x[100:, 2] = np.nan
    x[:, 3] = np.nan
    x[10:29, 3] = 0.01
    x[:, 4] = 0.01
    x[40:80, 5] = np.nan
    return x


def test_volatility_equals_a_plain_loop(returns):
    got = trailing_volatility(returns)
    for j in range(returns.shape[1]):
        for t in range(len(returns)):
            total, weights, count = 0.0, 0.0, 0
            for s in range(t + 1):
                if not isnan(returns[s, j]):
                    # The weight falls with the sessions that passed, traded or not.
                    weight = 0.5 ** ((t - s) / HALF_LIFE_SESSIONS)
                    total += weight * returns[s, j] ** 2
                    weights += weight
                    count += 1
            if count < MIN_SESSIONS or isnan(returns[t, j]):
                assert isnan(got[t, j])
            else:
                assert got[t, j] == pytest.approx(sqrt(total / weights), rel=1e-12)


def test_a_constant_return_is_its_own_volatility(returns):
    got = trailing_volatility(returns)[:, 4]
    np.testing.assert_allclose(got[MIN_SESSIONS - 1 :], 0.01, rtol=1e-12)
    assert np.isnan(got[: MIN_SESSIONS - 1]).all()


def test_nan_before_twenty_returns_and_wherever_the_asset_did_not_trade(returns):
    got = trailing_volatility(returns)
    enough = np.cumsum(~np.isnan(returns), axis=0) >= MIN_SESSIONS
    np.testing.assert_array_equal(np.isnan(got), np.isnan(returns) | ~enough)
    assert np.isnan(got[:, 3]).all()


@pytest.mark.leakage
@pytest.mark.parametrize("cut", [1, 19, 20, 21, 59, 80, 101, 149])
def test_later_returns_do_not_change_a_bit(returns, cut):
    whole = trailing_volatility(returns)[:cut]
    assert trailing_volatility(returns[:cut]).tobytes() == whole.tobytes()
    poisoned = returns.copy()
    poisoned[cut:] = 1e6
    assert trailing_volatility(poisoned)[:cut].tobytes() == whole.tobytes()


def test_assets_do_not_see_each_other(returns):
    order = np.random.default_rng(1).permutation(returns.shape[1])
    whole = trailing_volatility(returns)
    assert trailing_volatility(returns[:, order]).tobytes() == whole[:, order].tobytes()


def test_volatility_scales_with_returns_and_ignores_their_sign(returns):
    whole = trailing_volatility(returns)
    np.testing.assert_allclose(trailing_volatility(3.0 * returns), 3.0 * whole, rtol=1e-12)
    np.testing.assert_array_equal(trailing_volatility(-returns), whole)


def test_shape_dtype_and_input_are_kept(returns):
    before = returns.copy()
    assert trailing_volatility(returns.astype(np.float32)).dtype == np.float64
    assert trailing_volatility(returns).shape == returns.shape
    assert trailing_volatility(returns[:0]).shape == (0, returns.shape[1])
    np.testing.assert_array_equal(returns, before)
