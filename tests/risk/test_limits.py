"""Drawdown tiers and loss limits against a plain state machine, and the rules one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.risk.limits import (
    SIZE_BY_REGIME,
    DrawdownConfig,
    DrawdownTier,
    drawdown_limits,
    limit_step,
    regime_scale,
    start_of_limits,
)

pytestmark = pytest.mark.feature("Q-37")

DEFAULT = DrawdownConfig()
NO_LOSS_LIMITS = DrawdownConfig(daily_loss_frac=None, weekly_loss_frac=None)


def plain_limits(equity, config):
    """The four sentences of the module, with names instead of an array of state."""
    scales, permissions = [], []
    peak, scale, since_flat = 0.0, 1.0, 0
    start, aim, k = 1.0, 1.0, 0
    for t, now in enumerate(equity):
        peak = max(peak, now)
        reached = [tier for tier in config.tiers if now <= peak * (1 - tier.loss_frac)]
        goal, may_enter = (reached[-1].scale, reached[-1].may_enter) if reached else (1.0, True)
        since_flat = since_flat + 1 if goal == 0 else 0
        if since_flat == config.recovery_sessions + 1:
            peak, since_flat, goal, may_enter = now, 0, 1.0, True
        if goal <= scale:
            scale = start = aim = goal
            k = 0
        else:
            if goal != aim:
                start, aim, k = scale, goal, 0
            k += 1
            share = min(1.0, k / config.recovery_sessions)
            scale = start + (aim - start) * share**2
        week_ago = equity[max(0, t - config.week_sessions)]
        if config.daily_loss_frac and t and now <= equity[t - 1] * (1 - config.daily_loss_frac):
            may_enter = False
        if config.weekly_loss_frac and now <= week_ago * (1 - config.weekly_loss_frac):
            may_enter = False
        scales.append(scale)
        permissions.append(may_enter)
    return np.array(scales), np.array(permissions)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.floats(0.002, 0.06), st.sampled_from([DEFAULT, NO_LOSS_LIMITS])
)
def test_it_equals_a_plain_state_machine(seed, vol, config) -> None:
    steps = np.random.default_rng(seed).normal(-0.1 * vol, vol, 120)
    equity = 100 * np.exp(np.cumsum(steps))
    path = drawdown_limits(equity, config)
    scale, may_enter = plain_limits(equity.tolist(), config)
    np.testing.assert_allclose(path.scale, scale, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(path.may_enter, may_enter)
    assert ((path.scale >= 0) & (path.scale <= 1)).all()


def test_tiers_take_effect_at_once_and_stepwise() -> None:
    equity = np.array([100, 96, 95, 91, 90, 86, 85.0])
    path = drawdown_limits(equity, NO_LOSS_LIMITS)
    assert path.scale.tolist() == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.0]
    assert path.may_enter.tolist() == [True, True, True, True, False, False, False]


def test_recovery_is_a_quadratic_ramp_over_ten_closes() -> None:
    equity = np.array([100.0, 94.0, *[97.0] * 12])
    path = drawdown_limits(equity, NO_LOSS_LIMITS)
    wanted = [0.5 + 0.5 * (k / 10) ** 2 for k in range(1, 11)]
    np.testing.assert_allclose(path.scale[2:12], wanted, rtol=1e-12)
    assert path.scale[12:].tolist() == [1.0, 1.0]


def test_a_relapse_during_the_recovery_counts_at_once() -> None:
    equity = np.array([100.0, 94.0, 97.0, 97.0, 94.0, 97.0])
    scale = drawdown_limits(equity, NO_LOSS_LIMITS).scale
    np.testing.assert_allclose(scale, [1, 0.5, 0.505, 0.52, 0.5, 0.505], rtol=1e-12)


def test_after_selling_everything_it_waits_and_starts_anew() -> None:
    equity = np.array([100.0, *[80.0] * 25])
    path = drawdown_limits(equity, NO_LOSS_LIMITS)
    assert (path.scale[1:11] == 0.0).all()
    assert not path.may_enter[1:11].any()
    np.testing.assert_allclose(path.scale[11:21], [(k / 10) ** 2 for k in range(1, 11)], rtol=1e-12)
    assert path.scale[21:].tolist() == [1.0] * 5
    assert path.may_enter[11:].all()


def test_a_day_and_a_week_of_losses_forbid_entries_only() -> None:
    day = np.array([100.0, 100.0, 97.0, 97.0])
    assert drawdown_limits(day, DEFAULT).may_enter.tolist() == [True, True, False, True]
    assert drawdown_limits(day, DEFAULT).scale.tolist() == [1.0] * 4
    slow = 100 * 0.989 ** np.arange(6)
    config = DrawdownConfig(tiers=())
    assert drawdown_limits(slow, config).may_enter.tolist() == [True] * 5 + [False]
    assert drawdown_limits(slow, config).scale.tolist() == [1.0] * 6


def test_the_step_of_a_day_loop_gives_the_path_and_reads_no_later_equity() -> None:
    equity = 100 * np.exp(np.cumsum(np.random.default_rng(8).normal(-0.002, 0.02, 80)))
    whole = drawdown_limits(equity, DEFAULT)
    filled, state = np.full(80, np.nan), start_of_limits()
    for t, value in enumerate(equity):
        filled[t] = value
        scale, may_enter = limit_step(filled, t, state, DEFAULT.numbers())
        assert scale == whole.scale[t]
        assert may_enter == whole.may_enter[t]
    poisoned = equity.copy()
    poisoned[50:] *= 0.5
    cut = drawdown_limits(poisoned, DEFAULT)
    assert cut.scale[:50].tobytes() == whole.scale[:50].tobytes()


def test_size_by_regime() -> None:
    got = regime_scale(np.array([0, 1, 2, 3, -1]), SIZE_BY_REGIME)
    assert got.tolist() == [1.0, 0.85, 0.95, 0.6, 1.0]
    with pytest.raises(ConfigError, match="at least 0"):
        regime_scale(np.array([0]), (1.0, 1.0, 1.0, -0.1))


@pytest.mark.parametrize("equity", [[100.0, 0.0], [100.0, np.nan], [-1.0], [np.inf]])
def test_equity_is_above_zero(equity) -> None:
    with pytest.raises(DataError) as caught:
        drawdown_limits(np.array(equity), DEFAULT)
    assert caught.value.parameter == "equity"


def test_tiers_are_in_order() -> None:
    mild, deep = DrawdownTier(loss_frac=0.05, scale=0.5), DrawdownTier(loss_frac=0.1, scale=0.6)
    for tiers in ((deep, mild), (mild, deep), (mild, mild)):
        with pytest.raises(ValidationError):
            DrawdownConfig(tiers=tiers)
    closed = DrawdownTier(loss_frac=0.05, scale=0.5, may_enter=False)
    with pytest.raises(ValidationError, match="must not allow more"):
        DrawdownConfig(tiers=(closed, DrawdownTier(loss_frac=0.1, scale=0.5)))
