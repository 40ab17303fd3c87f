"""Reversion and trend of a level: half-life of an Ornstein-Uhlenbeck process, Kalman trend.

The input is a *level*, such as ``Log($close)``.

* ``HalfLife`` fits ``x_t - x_{t-1} = a + b x_{t-1}`` to the window by least squares; with
  ``phi = 1 + b`` a distance from the mean halves in ``ln 2 / -ln phi`` rows. A half-life beyond
  the window cannot be told from none at all, so it is cut at the length of the window; that is
  also the value of a trend (phi >= 1). At phi <= 0 the way back takes no time: 0.
  ``ReversionSpeed`` is -b, the share of the distance that is closed per row, not cut at all.
  Least squares understates phi by about (1 + 3 phi)/n: a random walk shows a speed of about 5/n
  instead of 0 (Dickey and Fuller 1979).
* ``KalmanSlope`` and ``KalmanGap`` filter a local linear trend: the level moves by the slope and
  noise of variance `level_noise`, the slope by noise of `slope_noise`, both in units of the
  variance of the observation. The slope is in units per row, the gap is x minus its filtered
  level. The gains depend on the two ratios alone. The first two rows of a run start the filter
  exactly (diffuse prior); a gap starts it again.

Sources: Uhlenbeck and Ornstein (1930); Harvey (1989), Forecasting, Structural Time Series Models
and the Kalman Filter.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, log

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix
from quant_engine.features.functions import (
    Function,
    Numbers,
    Output,
    Pages,
    Parameter,
    add_function,
)
from quant_engine.features.indicators.pieces import check_at_most, is_flat, rows_of, run_lengths

__all__ = ["trend_gains"]

STEADY = 1e-14
"""Relative change from row to row below which gains count as constant."""

LARGEST_NOISE_RATIO = 1e4
"""Level noise over slope noise, beyond which the filter remembers thousands of rows."""

START_WEIGHT = 1e-6
"""Weight of the start of a run that counts as forgotten."""


@njit(cache=True, nogil=True, error_model="numpy")
def _half_life(x: FloatMatrix, window: int, out: Pages) -> None:
    n = window - 1
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        for t in range(v.size):
            out[0, t, j] = out[1, t, j] = np.nan
            if runs[t] < window:
                continue
            first = t - n
            mean = 0.0
            for i in range(first, t):
                mean += v[i]
            mean /= n
            drift = (v[t] - v[first]) / n
            squares = cross = 0.0
            for i in range(first, t):
                d = v[i] - mean
                squares += d * d
                cross += d * (v[i + 1] - v[i] - drift)
            if is_flat(squares, mean, n):
                continue
            phi = 1.0 + cross / squares
            out[1, t, j] = 1.0 - phi
            if phi <= 0.0:
                out[0, t, j] = 0.0
            else:
                rate = -np.log(phi)
                out[0, t, j] = np.log(2.0) / rate if rate * window > np.log(2.0) else window


def _compute_half_life(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _half_life(series[0], int(numbers[0]), out)


@lru_cache(maxsize=64)
def trend_gains(level_noise: float, slope_noise: float) -> tuple[np.ndarray, int]:
    """Gains of the local linear trend filter by age, and how long its start matters.

    Parameters
    ----------
    level_noise, slope_noise : float
        Variances of the two noises in units of the variance of the observation; positive.

    Returns
    -------
    gains : ndarray of float64, shape (K, 2)
        Gains of level and slope at the third, fourth, ... row of a run; the last one holds for
        all rows after it.
    rows : int
        Rows after which what the start weighs is below `START_WEIGHT`.

    Raises
    ------
    ConfigError
        For a level noise above `LARGEST_NOISE_RATIO` times the slope noise.

    Notes
    -----
    Riccati recursion of the covariance P of (level, slope) from its exact value after two rows,
    ``[[1, 1], [1, 2 + level_noise + slope_noise]]``. An error e in the state after one row is
    ``(I - g h')F e`` after the next, so its size falls by the spectral radius of that matrix.

    Examples
    --------
    >>> gains, rows = trend_gains(0.1, 0.001)
    >>> gains[-1].round(4).tolist(), rows
    ([0.3316, 0.0259], 131)
    """
    hint = "A slope that hardly moves beside the level is never forgotten."
    limit = LARGEST_NOISE_RATIO * slope_noise
    check_at_most("level_noise of KalmanSlope", level_noise, limit, hint=hint)
    step = np.array([[1.0, 1.0], [0.0, 1.0]])
    noise = np.diag([level_noise, slope_noise])
    covariance = np.array([[1.0, 1.0], [1.0, 2.0 + level_noise + slope_noise]])
    gains: list[np.ndarray] = []
    while len(gains) < 2 or not np.allclose(gains[-1], gains[-2], rtol=STEADY, atol=0.0):
        covariance = step @ covariance @ step.T + noise
        gain = covariance[:, 0] / (covariance[0, 0] + 1.0)
        covariance = covariance - np.outer(gain, covariance[0])
        covariance = 0.5 * (covariance + covariance.T)
        gains.append(gain)
    closed = (np.eye(2) - np.outer(gains[-1], [1.0, 0.0])) @ step
    radius = float(np.abs(np.linalg.eigvals(closed)).max())
    steady = np.array(gains)
    # The cache hands out the same array again.
    steady.setflags(write=False)
    return steady, ceil(log(START_WEIGHT) / log(radius))


@njit(cache=True, nogil=True, error_model="numpy")
def _kalman(x: FloatMatrix, gains: FloatMatrix, out: Pages) -> None:
    last = len(gains) - 1
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        level = slope = 0.0
        for t in range(v.size):
            out[0, t, j] = out[1, t, j] = np.nan
            if runs[t] < 2:
                continue
            if runs[t] == 2:
                level = v[t]
                slope = v[t] - v[t - 1]
                continue
            age = min(runs[t] - 3, last)
            surprise = v[t] - (level + slope)
            level = level + slope + gains[age, 0] * surprise
            slope = slope + gains[age, 1] * surprise
            out[0, t, j] = slope
            out[1, t, j] = v[t] - level


def _compute_kalman(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    gains, _ = trend_gains(numbers[0], numbers[1])
    _kalman(series[0], gains, out)


add_function(
    Function(
        (
            Output("HalfLife", "rows in which a distance from the mean halves", "sessions"),
            Output("ReversionSpeed", "share of that distance closed per row", "fraction"),
        ),
        1,
        (Parameter("window", 10, 2000, 60),),
        rows_of(0),
        _compute_half_life,
        "Uhlenbeck and Ornstein 1930",
    )
)
add_function(
    Function(
        (
            Output("KalmanSlope", "filtered slope of a local linear trend", "as a per session"),
            Output("KalmanGap", "a minus its filtered level", "as a"),
        ),
        1,
        (
            Parameter("level_noise", 1e-6, 10, 0.1, whole=False),
            Parameter("slope_noise", 1e-8, 10, 0.001, whole=False),
        ),
        lambda numbers: 3 + trend_gains(numbers[0], numbers[1])[1],
        _compute_kalman,
        "Harvey 1989",
        recursive=True,
    )
)
