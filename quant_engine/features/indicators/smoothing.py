"""Smoothing kernels: recursive averages as TA-Lib seeds them, and how far back they reach.

Contract of every kernel: arrays are (T, B) float64, NaN = missing. A recursion begins with the
plain mean (or sum) of the first complete values, again after every gap; before that the result is
NaN. Inner loops run over the assets, and the width of the arrays cannot change a bit of any asset.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix

__all__ = ["DECAYED", "decayed_rows", "ema", "ema_keep", "wilder", "wilder_keep", "wilder_sum"]

DECAYED = 1e-6
"""Weight of the start of the history below which a recursive value counts as forgetting it."""


def ema_keep(span: float) -> float:
    """Ratio of successive weights of an exponential average.

    Parameters
    ----------
    span : float
        Rows, at least 1.

    Returns
    -------
    float
        ``1 - 2 / (span + 1)``, a fraction.

    Examples
    --------
    >>> ema_keep(9)
    0.8
    """
    return 1.0 - 2.0 / (span + 1.0)


def wilder_keep(window: float) -> float:
    """Ratio of successive weights of Wilder's average.

    Parameters
    ----------
    window : float
        Rows, at least 1.

    Returns
    -------
    float
        ``1 - 1 / window``, a fraction.

    Examples
    --------
    >>> wilder_keep(5)
    0.8
    """
    return 1.0 - 1.0 / window


def decayed_rows(*keeps: float) -> int:
    """Rows after which a chain of exponential averages has forgotten what was before them.

    Parameters
    ----------
    *keeps : float
        Ratio of successive weights of each average of the chain, fractions in [0, 1).

    Returns
    -------
    int
        Smallest number of rows that hold all but `DECAYED` of the weights of the chain.

    Notes
    -----
    The weights of a chain are those of its answer to a step. One average: ``keep ** rows``.

    Examples
    --------
    >>> decayed_rows(0.8), decayed_rows(0.8, 0.8)
    (62, 75)
    """
    if len(keeps) == 1:
        return max(math.ceil(math.log(DECAYED) / math.log(keeps[0])), 1) if keeps[0] > 0.0 else 1
    answer = [0.0] * len(keeps)
    rows = 0
    while 1.0 - answer[-1] > DECAYED:
        value = 1.0
        for i, keep in enumerate(keeps):
            answer[i] = keep * answer[i] + (1.0 - keep) * value
            value = answer[i]
        rows += 1
    return rows


@njit(cache=True, nogil=True, error_model="numpy")
def ema(x: FloatMatrix, span: int, first: int, out: FloatMatrix) -> None:
    """Exponential average that begins with a plain mean.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    span : int
        Rows, >= 1; weights fall by ``1 - 2 / (span + 1)`` per row.
    first : int
        Number of the value of a run at which the average begins, >= `span`: it is the mean of the
        last `span` values up to there.
    out : ndarray of float64, shape (T, B)
        Result; NaN before `first` values of a run.

    Returns
    -------
    None
        Every row is written.

    Notes
    -----
    ``e_t = (x_t - e_{t-1}) * 2 / (span + 1) + e_{t-1}``, TA-Lib ``ta_EMA.c``. MACD begins both of
    its averages at the first value of the slow one: `first` is for that.

    Examples
    --------
    >>> x, out = np.array([[1.0], [3.0], [5.0]]), np.empty((3, 1))
    >>> ema(x, 2, 2, out)
    >>> out.ravel().round(6).tolist()
    [nan, 2.0, 4.0]
    """
    n_rows, width = x.shape
    share = 2.0 / (span + 1.0)
    count = np.zeros(width, np.int64)
    level = np.zeros(width)
    for t in range(n_rows):
        for j in range(width):
            v = x[t, j]
            if v != v:
                count[j] = 0
                level[j] = 0.0
                out[t, j] = np.nan
                continue
            count[j] += 1
            if count[j] > first:
                level[j] = (v - level[j]) * share + level[j]
                out[t, j] = level[j]
            elif count[j] > first - span:
                level[j] += v
                if count[j] == first:
                    level[j] /= span
                out[t, j] = level[j] if count[j] == first else np.nan
            else:
                out[t, j] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def wilder(x: FloatMatrix, window: int, out: FloatMatrix) -> None:
    """Wilder's average, begun with the plain mean of the first values.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    window : int
        Rows, >= 1; weights fall by ``1 - 1 / window`` per row.
    out : ndarray of float64, shape (T, B)
        Result; NaN before `window` values of a run.

    Returns
    -------
    None
        Every row is written.

    Notes
    -----
    ``w_t = (w_{t-1} (n - 1) + x_t) / n``, Wilder (1978), in the arithmetic of TA-Lib.

    Examples
    --------
    >>> x, out = np.array([[1.0], [3.0], [6.0]]), np.empty((3, 1))
    >>> wilder(x, 2, out)
    >>> out.ravel().tolist()
    [nan, 2.0, 4.0]
    """
    n_rows, width = x.shape
    count = np.zeros(width, np.int64)
    level = np.zeros(width)
    for t in range(n_rows):
        for j in range(width):
            v = x[t, j]
            if v != v:
                count[j] = 0
                level[j] = 0.0
                out[t, j] = np.nan
                continue
            count[j] += 1
            if count[j] > window:
                level[j] = (level[j] * (window - 1) + v) / window
                out[t, j] = level[j]
            else:
                level[j] += v
                if count[j] == window:
                    level[j] /= window
                out[t, j] = level[j] if count[j] == window else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def wilder_sum(x: FloatMatrix, window: int, out: FloatMatrix) -> None:
    """Wilder's running sum: a sum from which a share leaves with every row.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    window : int
        Rows, >= 2.
    out : ndarray of float64, shape (T, B)
        Result; NaN before `window` values of a run.

    Returns
    -------
    None
        Every row is written.

    Notes
    -----
    ``s_t = s_{t-1} - s_{t-1} / n + x_t``, begun as the sum of the first n - 1 values: the form of
    the directional movement in TA-Lib (``ta_ADX.c``).

    Examples
    --------
    >>> x, out = np.array([[1.0], [3.0], [6.0]]), np.empty((3, 1))
    >>> wilder_sum(x, 2, out)
    >>> out.ravel().tolist()
    [nan, 3.5, 7.75]
    """
    n_rows, width = x.shape
    count = np.zeros(width, np.int64)
    level = np.zeros(width)
    for t in range(n_rows):
        for j in range(width):
            v = x[t, j]
            if v != v:
                count[j] = 0
                level[j] = 0.0
                out[t, j] = np.nan
                continue
            count[j] += 1
            if count[j] < window:
                level[j] += v
                out[t, j] = np.nan
            else:
                level[j] = level[j] - level[j] / window + v
                out[t, j] = level[j]
