"""Limits that follow the equity: drawdown tiers, loss limits, and the size by regime.

State machine of `drawdown_limits`, one close at a time:

1. The drawdown of the close from the high-water mark chooses the deepest tier it has reached; none
   of them means full size.
2. A tier that asks for less than the present size takes effect at once. One that asks for more is
   approached from the present size along ``(k / R)^2``, k closes after it was first allowed: slowly
   first, since most recoveries that fail do so early.
3. A tier with scale 0 sells everything, so the drawdown cannot heal by itself. After R closes in it
   the high-water mark starts again at the equity of that close, and the size with it.
4. A session or a week that lost more than its limit forbids new positions at that close.

What is known at close t decides what is done from t + 1 on. `limit_step` is the compiled step for a
day loop, where the equity depends on the sizes; `drawdown_limits` runs it over a finished path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.checks import parse_vector

__all__ = [
    "SIZE_BY_REGIME",
    "DrawdownConfig",
    "DrawdownTier",
    "LimitPath",
    "drawdown_limits",
    "limit_step",
    "regime_scale",
    "start_of_limits",
]

SIZE_BY_REGIME = (1.00, 0.85, 0.95, 0.60)
"""Factor on the size in regime 0, 1, 2, 3 of the source documents' risk-managed book."""

LimitNumbers: TypeAlias = tuple[npt.NDArray[np.float64], float, float, int, int]
"""Tiers, shape (M, 3), daily and weekly loss (fractions), sessions of a week and of recovery."""

_PEAK, _SCALE, _START, _GOAL, _STEPS, _FLAT = range(6)


class DrawdownTier(FrozenConfig):
    """What holds from a drawdown on.

    Parameters
    ----------
    loss_frac : float
        Drawdown from the high-water mark, positive fraction.
    scale : float
        Factor on the size; 0 = sell everything.
    may_enter : bool
        Whether new positions may be opened.

    Examples
    --------
    >>> DrawdownTier(loss_frac=0.05, scale=0.5).may_enter
    True
    """

    loss_frac: float = Field(gt=0.0, lt=1.0)
    scale: float = Field(ge=0.0, le=1.0)
    may_enter: bool = True


class DrawdownConfig(FrozenConfig):
    """Tiers, loss limits and recovery.

    Parameters
    ----------
    tiers : tuple of DrawdownTier
        From the mildest to the deepest; deeper ones never allow more.
    daily_loss_frac, weekly_loss_frac : float or None
        Loss of one session, or of `week_sessions` sessions, from which on no position is opened at
        that close; None = no such limit.
    week_sessions : int
        Sessions of a week. At the start of a path the week is as long as the path.
    recovery_sessions : int
        Closes from the first improvement to the full size of the better tier, and closes out of the
        market after everything was sold.

    Examples
    --------
    >>> [tier.scale for tier in DrawdownConfig().tiers]
    [0.5, 0.25, 0.0]
    """

    tiers: tuple[DrawdownTier, ...] = (
        DrawdownTier(loss_frac=0.05, scale=0.5),
        DrawdownTier(loss_frac=0.10, scale=0.25, may_enter=False),
        DrawdownTier(loss_frac=0.15, scale=0.0, may_enter=False),
    )
    daily_loss_frac: float | None = Field(default=0.03, gt=0.0, lt=1.0)
    weekly_loss_frac: float | None = Field(default=0.05, gt=0.0, lt=1.0)
    week_sessions: int = Field(default=5, ge=1)
    recovery_sessions: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for mild, deep in zip(self.tiers, self.tiers[1:], strict=False):
            if not deep.loss_frac > mild.loss_frac:
                raise ValueError("tiers go from the mildest to the deepest loss_frac")
            if deep.scale > mild.scale or (deep.may_enter and not mild.may_enter):
                raise ValueError("a deeper tier must not allow more than a milder one")
        return self

    def numbers(self) -> LimitNumbers:
        """Tiers (M, 3) and limits as the plain numbers that `limit_step` takes."""
        table = [(tier.loss_frac, tier.scale, float(tier.may_enter)) for tier in self.tiers]
        return (
            np.array(table, dtype=np.float64).reshape(len(table), 3),
            np.inf if self.daily_loss_frac is None else self.daily_loss_frac,
            np.inf if self.weekly_loss_frac is None else self.weekly_loss_frac,
            self.week_sessions,
            self.recovery_sessions,
        )


@dataclass(frozen=True, eq=False)
class LimitPath:
    """State known at each close.

    Parameters
    ----------
    scale : ndarray of float64, shape (T,)
        Factor on the size, between 0 and 1.
    may_enter : ndarray of bool, shape (T,)
        Whether new positions may be opened.
    """

    scale: FloatVector
    may_enter: npt.NDArray[np.bool_]


def drawdown_limits(equity: FloatVector, config: DrawdownConfig) -> LimitPath:
    """Run tiers and loss limits over an equity path.

    Parameters
    ----------
    equity : ndarray, shape (T,)
        Equity at each close, currency, above 0; no NaN.
    config : DrawdownConfig
        The rules.

    Returns
    -------
    LimitPath
        Row t depends on the equity up to and including t.

    Raises
    ------
    DataError
        Equity that is NaN, infinite, or not above 0.

    Examples
    --------
    >>> path = drawdown_limits(np.array([100.0, 94.0, 89.0, 96.0, 97.0]), DrawdownConfig())
    >>> path.scale.round(4).tolist(), path.may_enter.tolist()
    ([1.0, 0.5, 0.25, 0.2575, 0.28], [True, False, False, True, True])
    """
    path = parse_vector("equity", equity)
    if not (path > 0.0).all():
        row = int(np.flatnonzero(~(path > 0.0))[0])
        raise DataError(
            "equity",
            wanted="amounts above 0",
            got=f"{path[row]:g} at row {row}",
            hint="Cut the path where the account was ruined.",
        )
    scale, may_enter = _limit_path(path, start_of_limits(), config.numbers())
    return LimitPath(scale, may_enter)


def regime_scale(
    regimes: npt.NDArray[np.int64], sizes: tuple[float, float, float, float]
) -> FloatVector:
    """Factor on the size by regime.

    Parameters
    ----------
    regimes : ndarray of int64, shape (T,)
        Label known at each close: 0, 1, 2, 3, or -1 for unknown.
    sizes : tuple of 4 floats
        Factor in regime 0, 1, 2, 3; `SIZE_BY_REGIME` is the source documents' choice.

    Returns
    -------
    ndarray of float64, shape (T,)
        Factor; 1 where the regime is unknown.

    Raises
    ------
    ConfigError
        A negative size.

    Examples
    --------
    >>> regime_scale(np.array([-1, 0, 3]), SIZE_BY_REGIME).tolist()
    [1.0, 1.0, 0.6]
    """
    if min(sizes) < 0.0:
        raise ConfigError(
            "sizes", wanted="4 factors of at least 0", got=sizes, hint="0 means no position."
        )
    # The last entry serves label -1: an unknown regime keeps the full size.
    factor: FloatVector = np.asarray((*sizes, 1.0))[regimes]
    return factor


def start_of_limits() -> FloatVector:
    """Make the state before the first close.

    Returns
    -------
    ndarray of float64, shape (6,)
        For `limit_step`, which changes it.
    """
    return np.array([0.0, 1.0, 1.0, 1.0, 0.0, 0.0])


@njit(cache=True, nogil=True, error_model="numpy")
def limit_step(
    equity: FloatVector, t: int, state: FloatVector, numbers: LimitNumbers
) -> tuple[float, bool]:
    """Advance the limits by one close.

    Parameters
    ----------
    equity : ndarray of float64, shape (T,)
        Equity at the closes up to and including t, currency; later entries are not read.
    t : int
        Row of the close.
    state : ndarray of float64, shape (6,)
        Of `start_of_limits`, changed in place; one per path.
    numbers : tuple
        Of :meth:`DrawdownConfig.numbers`.

    Returns
    -------
    scale : float
        Factor on the size decided at this close.
    may_enter : bool
        Whether new positions may be opened.
    """
    tiers, daily, weekly, week, recovery = numbers
    now = equity[t]
    state[_PEAK] = max(state[_PEAK], now)
    goal, may_enter = _tier_at(now, state[_PEAK], tiers)
    state[_FLAT] = state[_FLAT] + 1.0 if goal == 0.0 else 0.0
    if state[_FLAT] > recovery:
        state[_PEAK], state[_FLAT] = now, 0.0
        goal, may_enter = 1.0, True
    if goal <= state[_SCALE]:
        state[_SCALE], state[_STEPS] = goal, 0.0
        state[_START], state[_GOAL] = goal, goal
    else:
        if goal != state[_GOAL]:
            state[_START], state[_GOAL], state[_STEPS] = state[_SCALE], goal, 0.0
        state[_STEPS] += 1.0
        share = min(1.0, state[_STEPS] / recovery)
        state[_SCALE] = state[_START] + (goal - state[_START]) * share * share
    if t > 0 and now <= equity[t - 1] * (1.0 - daily):
        may_enter = False
    if now <= equity[max(0, t - week)] * (1.0 - weekly):
        may_enter = False
    return state[_SCALE], may_enter


@njit(cache=True, nogil=True, error_model="numpy")
def _tier_at(now: float, peak: float, tiers: npt.NDArray[np.float64]) -> tuple[float, bool]:
    """Size and permission of the deepest tier that the drawdown from the peak has reached."""
    goal, may_enter = 1.0, True
    for j in range(tiers.shape[0]):
        if now <= peak * (1.0 - tiers[j, 0]):
            goal, may_enter = tiers[j, 1], tiers[j, 2] > 0.0
    return goal, may_enter


@njit(cache=True, nogil=True)
def _limit_path(
    equity: FloatVector, state: FloatVector, numbers: LimitNumbers
) -> tuple[FloatVector, npt.NDArray[np.bool_]]:
    scale = np.empty(equity.size)
    may_enter = np.empty(equity.size, np.bool_)
    for t in range(equity.size):
        scale[t], may_enter[t] = limit_step(equity, t, state, numbers)
    return scale, may_enter
