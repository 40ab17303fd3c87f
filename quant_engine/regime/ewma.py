"""Volatility state by EWMA and hysteresis: the baseline that every regime model has to beat.

Contract: the value of session t uses returns up to t, and it is compared with quantiles of the
values strictly before t. The state enters "high" above one quantile and leaves below a lower one,
so that a volatility that lingers at one threshold does not flicker.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError

__all__ = [
    "EwmaConfig",
    "StateVector",
    "ewma_volatility",
    "high_volatility_state",
    "hysteresis_state",
    "past_quantile",
]

StateVector = npt.NDArray[np.int8]


class EwmaConfig(FrozenConfig):
    """Settings of the EWMA volatility state.

    Parameters
    ----------
    half_life_sessions : float
        Sessions after which a squared return weighs half (11, RiskMetrics' decay of 0.94).
    min_vol_obs : int
        Returns behind the first volatility (21, one month).
    lookback_sessions : int
        Past volatilities that the quantiles are taken from (1260, five years: a threshold should
        know at least one calm and one wild period, and forget a different market).
    min_quantile_obs : int
        Past volatilities needed for the first threshold (126, half a year).
    enter_quantile, exit_quantile : float
        The state becomes high above the first and ends below the second.

    Examples
    --------
    >>> EwmaConfig().enter_quantile > EwmaConfig().exit_quantile
    True
    """

    half_life_sessions: float = Field(default=11.0, gt=0.0)
    min_vol_obs: int = Field(default=21, ge=2)
    lookback_sessions: int = Field(default=1260, ge=2)
    min_quantile_obs: int = Field(default=126, ge=2)
    enter_quantile: float = Field(default=0.75, gt=0.0, lt=1.0)
    exit_quantile: float = Field(default=0.6, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _thresholds_leave_a_gap(self) -> EwmaConfig:
        if self.exit_quantile >= self.enter_quantile:
            raise ConfigError(
                "exit_quantile",
                wanted=f"below enter_quantile = {self.enter_quantile}",
                got=self.exit_quantile,
                hint="Without a gap between the two there is no hysteresis.",
            )
        return self


def ewma_volatility(
    returns: FloatVector, *, half_life_sessions: float, min_obs: int
) -> FloatVector:
    """Exponentially weighted volatility about zero.

    ``v_t = w v_{t-1} + (1 - w) r_t^2`` with ``w = 2^(-1 / half_life)``, started at session
    ``min_obs`` with the mean square of the first ``min_obs`` returns (RiskMetrics 1996, 5.2).

    Parameters
    ----------
    returns : ndarray of float64, shape (T,)
        Simple returns per session without gaps; no NaN.
    half_life_sessions : float
        Sessions after which a squared return weighs half.
    min_obs : int
        Returns behind the first value.

    Returns
    -------
    ndarray of float64, shape (T,)
        Standard deviation per session (fraction), NaN for the first ``min_obs - 1`` sessions.

    Examples
    --------
    >>> ewma_volatility(np.array([0.01, -0.01, 0.03]), half_life_sessions=1.0, min_obs=2).round(4)
    array([   nan, 0.01  , 0.0224])
    """
    out = np.full(len(returns), np.nan)
    if len(returns) < min_obs:
        return out
    keep = 2.0 ** (-1.0 / half_life_sessions)
    variance = float(np.mean(returns[:min_obs] ** 2))
    _ewma_rows(returns, keep, min_obs - 1, variance, out)
    return out


def past_quantile(
    values: FloatVector, *, quantile: float, lookback_sessions: int, min_obs: int
) -> FloatVector:
    """Quantile of the values strictly before each session (linear interpolation).

    Parameters
    ----------
    values : ndarray of float64, shape (T,)
        Any unit; NaN only at the start.
    quantile : float
        Level between 0 and 1.
    lookback_sessions : int
        At most so many past values are looked at.
    min_obs : int
        Past values needed; NaN before.

    Returns
    -------
    ndarray of float64, shape (T,)
        Threshold known before the session, in the unit of the values.

    Examples
    --------
    >>> x = np.array([1.0, 3.0, 5.0, 100.0])
    >>> past_quantile(x, quantile=0.5, lookback_sessions=10, min_obs=2)
    array([nan, nan,  2.,  3.])
    """
    out = np.full(len(values), np.nan)
    _quantile_rows(values, quantile, lookback_sessions, min_obs, out)
    return out


def hysteresis_state(values: FloatVector, enter: FloatVector, leave: FloatVector) -> StateVector:
    """Two-state memory: 1 from above ``enter`` until below ``leave``.

    Parameters
    ----------
    values, enter, leave : ndarray of float64, shape (T,)
        Value and its two thresholds per session in one unit; NaN in any of them = unknown: the
        state is -1 before the first known session and keeps its value after it.

    Returns
    -------
    ndarray of int8, shape (T,)
        1 high, 0 not, -1 not known yet.

    Examples
    --------
    >>> value = np.array([np.nan, 1.0, 3.0, 1.5, 0.5])
    >>> hysteresis_state(value, np.full(5, 2.0), np.full(5, 1.0))
    array([-1,  0,  1,  1,  0], dtype=int8)
    """
    out = np.full(len(values), -1, dtype=np.int8)
    _hysteresis_rows(values, enter, leave, out)
    return out


def high_volatility_state(volatility: FloatVector, config: EwmaConfig) -> StateVector:
    """High-volatility state of a volatility series against its own past.

    Parameters
    ----------
    volatility : ndarray of float64, shape (T,)
        Output of :func:`ewma_volatility`; NaN only at the start.
    config : EwmaConfig
        Quantiles and lookback.

    Returns
    -------
    ndarray of int8, shape (T,)
        1 high, 0 not, -1 in the warm-up.

    Examples
    --------
    >>> rising = np.linspace(1.0, 2.0, 10)
    >>> high_volatility_state(rising, EwmaConfig(min_quantile_obs=4))[-1]
    np.int8(1)
    """
    enter, leave = (
        past_quantile(
            volatility,
            quantile=quantile,
            lookback_sessions=config.lookback_sessions,
            min_obs=config.min_quantile_obs,
        )
        for quantile in (config.enter_quantile, config.exit_quantile)
    )
    return hysteresis_state(volatility, enter, leave)


@njit(cache=True, nogil=True)
def _ewma_rows(
    returns: FloatVector, keep: float, first: int, variance: float, out: FloatVector
) -> None:
    """Recursion of the variance, square roots written into ``out``."""
    out[first] = sqrt(variance)
    for t in range(first + 1, len(returns)):
        variance = keep * variance + (1.0 - keep) * returns[t] * returns[t]
        out[t] = sqrt(variance)


@njit(cache=True, nogil=True)
def _quantile_rows(
    values: FloatVector, quantile: float, lookback: int, min_obs: int, out: FloatVector
) -> None:
    """Sorted window of past values: one insertion and one removal per session."""
    ordered = np.empty(lookback + 1)
    count = 0
    for t in range(len(values)):
        if count >= min_obs:
            position = quantile * (count - 1)
            below = int(position)
            above = min(below + 1, count - 1)
            share = position - below
            out[t] = ordered[below] + share * (ordered[above] - ordered[below])
        if np.isnan(values[t]):
            continue
        if count == lookback:
            gone = np.searchsorted(ordered[:count], values[t - lookback])
            ordered[gone : count - 1] = ordered[gone + 1 : count].copy()
            count -= 1
        place = np.searchsorted(ordered[:count], values[t])
        ordered[place + 1 : count + 1] = ordered[place:count].copy()
        ordered[place] = values[t]
        count += 1


@njit(cache=True, nogil=True)
def _hysteresis_rows(
    values: FloatVector, enter: FloatVector, leave: FloatVector, out: StateVector
) -> None:
    """State machine over sessions, written into ``out``."""
    state = -1
    for t in range(len(values)):
        if not (np.isnan(values[t]) or np.isnan(enter[t]) or np.isnan(leave[t])):
            if values[t] > enter[t]:
                state = 1
            elif state == -1 or values[t] < leave[t]:
                state = 0
        out[t] = state
