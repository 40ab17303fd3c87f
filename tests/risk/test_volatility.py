"""Trailing volatility against plain sums."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from quant_engine.core.errors import DataError
from quant_engine.risk.volatility import VolatilityConfig, realised_volatility

pytestmark = pytest.mark.feature("Q-37")

ROLLING = VolatilityConfig(window_sessions=7, min_sessions=4, floor_ann=0.02)
DECAYING = VolatilityConfig(
    window_sessions=None, half_life_sessions=5.0, min_sessions=4, floor_ann=0.02
)


def plain(series, t, config, periods):
    if config.window_sessions is not None:
        past = series[max(0, t + 1 - config.window_sessions) : t + 1]
        known = [r for r in past if not np.isnan(r)]
        if len(known) < config.min_sessions:
            return np.nan
        mean = sum(known) / len(known)
        variance = sum((r - mean) ** 2 for r in known) / (len(known) - 1)
    else:
        weights = [
            (0.5 ** (k / config.half_life_sessions), series[t - k])
            for k in range(t + 1)
            if not np.isnan(series[t - k])
        ]
        if len(weights) < config.min_sessions:
            return np.nan
        variance = sum(w * r * r for w, r in weights) / sum(w for w, _ in weights)
    return max(config.floor_ann, (periods * variance) ** 0.5)


@pytest.mark.parametrize("config", [ROLLING, DECAYING])
def test_it_equals_plain_sums(config) -> None:
    rng = np.random.default_rng(3)
    returns = rng.normal(0.001, [0.0002, 0.01, 0.05], (40, 3))
    returns[rng.random(returns.shape) < 0.2] = np.nan
    got = realised_volatility(returns, config, periods_per_year=252)
    wanted = [[plain(column, t, config, 252) for column in returns.T] for t in range(40)]
    np.testing.assert_allclose(got, wanted, rtol=1e-9)
    one = realised_volatility(returns[:, 1], config, periods_per_year=252)
    np.testing.assert_array_equal(one, got[:, 1])
    assert (got[np.isfinite(got)] >= 0.02).all()


@pytest.mark.parametrize("config", [ROLLING, DECAYING])
def test_later_returns_change_nothing(config) -> None:
    returns = np.random.default_rng(4).normal(0, 0.01, (30, 2))
    poisoned = returns.copy()
    poisoned[20:] = 1e6
    before = realised_volatility(returns, config, periods_per_year=252)[:20]
    after = realised_volatility(poisoned, config, periods_per_year=252)[:20]
    assert before.tobytes() == after.tobytes()


def test_infinite_returns_are_refused() -> None:
    with pytest.raises(DataError, match="an infinite return"):
        realised_volatility(np.array([0.1, np.inf]), ROLLING, periods_per_year=252)


@pytest.mark.parametrize(
    "settings",
    [
        {"window_sessions": None},
        {"half_life_sessions": 10.0},
        {"window_sessions": 10, "min_sessions": 11},
        {"min_sessions": 1},
    ],
)
def test_an_estimator_is_one_and_complete(settings) -> None:
    with pytest.raises(ValidationError):
        VolatilityConfig(**settings)
