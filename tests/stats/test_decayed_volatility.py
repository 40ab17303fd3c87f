"""The fading root mean square by its definition, and as its two users have it."""

from __future__ import annotations

import numpy as np

from quant_engine.features.volatility import (
    HALF_LIFE_SESSIONS,
    MIN_SESSIONS,
    trailing_volatility,
)
from quant_engine.risk.volatility import VolatilityConfig, realised_volatility
from quant_engine.stats.decayed_volatility import decayed_volatility


def returns_with_gaps() -> np.ndarray:
    rng = np.random.default_rng(11)
    returns = rng.normal(0.0, 0.02, (120, 4))
    returns[rng.random(returns.shape) < 0.1] = np.nan
    return returns


def test_it_is_the_weighted_sum_of_its_definition() -> None:
    returns = returns_with_gaps()
    got = decayed_volatility(returns, half_life=7.5, min_returns=5)
    for t, j in np.ndindex(returns.shape):
        seen = [(0.5 ** (k / 7.5), returns[t - k, j]) for k in range(t + 1)]
        seen = [(w, r) for w, r in seen if not np.isnan(r)]
        if len(seen) < 5:
            assert np.isnan(got[t, j])
            continue
        wanted = np.sqrt(sum(w * r * r for w, r in seen) / sum(w for w, _ in seen))
        np.testing.assert_allclose(got[t, j], wanted, rtol=1e-12)


def test_features_and_sizes_have_the_same_volatility_to_the_last_digit() -> None:
    returns = returns_with_gaps()
    config = VolatilityConfig(
        window_sessions=None,
        half_life_sessions=HALF_LIFE_SESSIONS,
        min_sessions=MIN_SESSIONS,
        floor_ann=1e-9,
    )
    sizes = realised_volatility(returns, config, periods_per_year=1.0)
    features = trailing_volatility(returns)
    traded = ~np.isnan(returns)
    np.testing.assert_array_equal(features[traded], sizes[traded])
    assert np.isnan(features[~traded]).all()
    one = decayed_volatility(returns[:, 0], half_life=20, min_returns=20)
    np.testing.assert_array_equal(one, sizes[:, 0])


def test_no_row_gives_no_row() -> None:
    for shape in ((0,), (0, 3)):
        assert decayed_volatility(np.empty(shape), half_life=5, min_returns=2).shape == shape
        got = realised_volatility(np.empty(shape), VolatilityConfig(), periods_per_year=252)
        assert got.shape == shape
