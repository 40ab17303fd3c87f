"""Correlation regime: how much all assets move together.

Contract: the mean of all pairwise correlations over a trailing window
(`stats.mean_correlation`). An asset counts in a window where it traded on every session of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field

from quant_engine.core.arrays import BoolMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.regime.ewma import StateVector
from quant_engine.stats.mean_correlation import mean_pairwise_correlation

__all__ = [
    "CorrelationConfig",
    "CorrelationRegime",
    "average_pairwise_correlation",
    "correlation_regime",
    "trailing_z_score",
]


class CorrelationConfig(FrozenConfig):
    """Settings of the correlation regime.

    Parameters
    ----------
    window_sessions : int
        Trailing window of the correlations (63, one quarter).
    z_sessions : int
        Trailing window of the z-score (252, one year).
    spike_corr : float
        Mean pairwise correlation from which the regime is 1 (0.70: diversification is gone).
    min_assets : int
        Assets with a complete window that a session needs (5: a mean of fewer than ten pairs
        describes the pairs, not the market).

    Examples
    --------
    >>> CorrelationConfig().spike_corr
    0.7
    """

    window_sessions: int = Field(default=63, ge=3)
    z_sessions: int = Field(default=252, ge=3)
    spike_corr: float = Field(default=0.70, gt=-1.0, lt=1.0)
    min_assets: int = Field(default=5, ge=2)


@dataclass(frozen=True, eq=False)
class CorrelationRegime:
    """Correlation of the market with itself, per session.

    Parameters
    ----------
    avg_pairwise_corr : ndarray of float64, shape (T,)
        Mean off-diagonal correlation; NaN where too few assets have a complete window.
    corr_regime : ndarray of int8, shape (T,)
        1 at or above the spike level, 0 below, -1 unknown.
    corr_z_score : ndarray of float64, shape (T,)
        Distance from the trailing mean in trailing standard deviations; NaN in the warm-up.

    Examples
    --------
    >>> returns = np.random.default_rng(0).standard_normal((70, 8))
    >>> int(correlation_regime(returns, CorrelationConfig()).corr_regime[-1])
    0
    """

    avg_pairwise_corr: FloatVector
    corr_regime: StateVector
    corr_z_score: FloatVector


def correlation_regime(returns: FloatVector, config: CorrelationConfig) -> CorrelationRegime:
    """Mean pairwise correlation, its spike flag and its z-score.

    Parameters
    ----------
    returns : ndarray of float64, shape (T, N)
        Simple returns per session; NaN = not traded.
    config : CorrelationConfig
        Windows and thresholds.

    Returns
    -------
    CorrelationRegime
        Values of session t use sessions up to t.

    Examples
    --------
    >>> common = np.random.default_rng(0).standard_normal((70, 1))
    >>> own = np.random.default_rng(1).standard_normal((70, 8))
    >>> state = correlation_regime(3.0 * common + own, CorrelationConfig())
    >>> state.avg_pairwise_corr[-1].round(2), int(state.corr_regime[-1])
    (np.float64(0.91), 1)
    """
    mean_corr = average_pairwise_correlation(
        returns, window_sessions=config.window_sessions, min_assets=config.min_assets
    )
    spike = np.where(mean_corr >= config.spike_corr, 1, 0)
    return CorrelationRegime(
        avg_pairwise_corr=mean_corr,
        corr_regime=np.where(np.isnan(mean_corr), -1, spike).astype(np.int8),
        corr_z_score=trailing_z_score(mean_corr, window_sessions=config.z_sessions),
    )


def average_pairwise_correlation(
    returns: FloatVector, *, window_sessions: int, min_assets: int
) -> FloatVector:
    """Mean of the pairwise correlations of all assets with a complete trailing window.

    Parameters
    ----------
    returns : ndarray of float64, shape (T, N)
        Simple returns per session; NaN = not traded. An asset with a NaN or without variation in
        the window is left out of that window.
    window_sessions : int
        Sessions of the window, the current one included.
    min_assets : int
        Assets needed, at least 2.

    Returns
    -------
    ndarray of float64, shape (T,)
        Correlation from ``-1 / (N - 1)`` to 1; NaN for the first ``window_sessions - 1``
        sessions and where too few assets are complete.

    Examples
    --------
    >>> up_down = np.array([[1.0, 1.0], [-1.0, -1.0], [2.0, 2.0]])
    >>> average_pairwise_correlation(up_down, window_sessions=3, min_assets=2).round(6)
    array([nan, nan,  1.])
    """
    missing = np.isnan(returns)
    out = np.full(len(returns), np.nan)
    filled = np.where(missing, 0.0, returns)
    _correlation_rows(filled, missing, window_sessions, min_assets, out)
    return out


def trailing_z_score(values: FloatVector, *, window_sessions: int) -> FloatVector:
    """Distance of each value from the mean of its trailing window, in its standard deviations.

    Parameters
    ----------
    values : ndarray of float64, shape (T,)
        Any unit; a NaN makes every window that contains it NaN.
    window_sessions : int
        Length of the window, the current value included.

    Returns
    -------
    ndarray of float64, shape (T,)
        ``(x_t - mean) / std(ddof=1)``; NaN in the warm-up and where the window does not vary.

    Examples
    --------
    >>> trailing_z_score(np.array([1.0, 2.0, 3.0]), window_sessions=3)
    array([nan, nan,  1.])
    """
    out = np.full(len(values), np.nan)
    _z_rows(values, window_sessions, out)
    return out


@njit(cache=True, nogil=True)
def _correlation_rows(
    filled: FloatVector, missing: BoolMatrix, window: int, min_assets: int, out: FloatVector
) -> None:
    """Standardise inside each window and average the correlations."""
    n_sessions, n_assets = filled.shape
    n_missing = np.zeros(n_assets, dtype=np.int64)
    unit = np.empty((window, n_assets))
    for t in range(n_sessions):
        for j in range(n_assets):
            n_missing[j] += missing[t, j]
            if t >= window:
                n_missing[j] -= missing[t - window, j]
        if t < window - 1:
            continue
        count = _unit_window(filled[t - window + 1 : t + 1], n_missing, unit)
        if count >= min_assets:
            out[t] = mean_pairwise_correlation(unit[:, :count])


@njit(cache=True, nogil=True)
def _unit_window(block: FloatVector, n_missing: npt.NDArray[np.int64], unit: FloatVector) -> int:
    """Centred columns of length 1, one per asset that is complete and varies; their number."""
    window, n_assets = block.shape
    count = 0
    for j in range(n_assets):
        if n_missing[j]:
            continue
        mean, squares = 0.0, 0.0
        for s in range(window):
            mean += block[s, j]
        mean /= window
        for s in range(window):
            unit[s, count] = block[s, j] - mean
            squares += unit[s, count] * unit[s, count]
        # 1e-24 is a volatility of 1e-12: rounding of a constant series, not movement.
        if squares > 1e-24 * window:
            length = sqrt(squares)
            for s in range(window):
                unit[s, count] /= length
            count += 1
    return count


@njit(cache=True, nogil=True)
def _z_rows(values: FloatVector, window: int, out: FloatVector) -> None:
    """Two passes per window; NaN spreads by itself."""
    for t in range(window - 1, len(values)):
        mean, squares = 0.0, 0.0
        for s in range(t - window + 1, t + 1):
            mean += values[s]
        mean /= window
        for s in range(t - window + 1, t + 1):
            squares += (values[s] - mean) ** 2
        deviation = sqrt(squares / (window - 1))
        # A window of equal values leaves rounding of about 1e-16 of their size.
        if deviation > 1e-14 * (abs(mean) + 1e-300):
            out[t] = (values[t] - mean) / deviation
