"""Rolling kernels: sums and extremes of the last rows, each taken afresh from its own window.

A value reads its window alone and always in the same order, oldest first. A part of the history
therefore gives the same bits as the whole of it, without anchors; for the short windows of
indicators this costs no more than a state that slides. Arrays are (T, B) float64; a missing value
in the window makes the result NaN. Inner loops run over the assets.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix

__all__ = [
    "changes",
    "complete",
    "share_of",
    "window_extreme",
    "window_mean",
    "window_sum",
]

TIE = 1e-12
"""Change over value below which two rows are equal: typical prices that are the same sum of other
numbers differ by rounding, and their whole volume would count as a rise or a fall."""


def complete(*series: FloatMatrix) -> tuple[FloatMatrix, ...]:
    """Series with a value of each or of none.

    Parameters
    ----------
    *series : ndarray of float64, shape (T, B)
        Any units; NaN = missing.

    Returns
    -------
    tuple of ndarray of float64, shape (T, B)
        The same, NaN wherever one of them is missing: a bar with a hole is no bar.

    Examples
    --------
    >>> high, low = complete(np.array([[2.0, 3.0]]), np.array([[1.0, np.nan]]))
    >>> high.tolist()
    [[2.0, nan]]
    """
    lost = np.isnan(series[0])
    for x in series[1:]:
        lost |= np.isnan(x)
    if not lost.any():
        return series
    return tuple(np.where(lost, np.nan, x) for x in series)


@njit(cache=True, nogil=True, error_model="numpy")
def window_sum(x: FloatMatrix, window: int, out: FloatMatrix) -> None:
    """Sum of the last rows.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    window : int
        Rows, >= 1.
    out : ndarray of float64, shape (T, B)
        Result; NaN where the window is not complete.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [2.0], [4.0]]), np.empty((3, 1))
    >>> window_sum(x, 2, out)
    >>> out.ravel().tolist()
    [nan, 3.0, 6.0]
    """
    n_rows, width = x.shape
    for t in range(n_rows):
        here = out[t]
        if t < window - 1:
            here[:] = np.nan
            continue
        here[:] = x[t - window + 1]
        for s in range(t - window + 2, t + 1):
            values = x[s]
            for j in range(width):
                here[j] += values[j]


@njit(cache=True, nogil=True, error_model="numpy")
def window_mean(x: FloatMatrix, window: int, out: FloatMatrix) -> None:
    """Mean of the last rows.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    window : int
        Rows, >= 1.
    out : ndarray of float64, shape (T, B)
        Result; NaN where the window is not complete.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [2.0], [4.0]]), np.empty((3, 1))
    >>> window_mean(x, 2, out)
    >>> out.ravel().tolist()
    [nan, 1.5, 3.0]
    """
    window_sum(x, window, out)
    for t in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[t, j] /= window


@njit(cache=True, nogil=True, error_model="numpy")
def window_extreme(x: FloatMatrix, window: int, sign: float, out: FloatMatrix) -> None:
    """Largest or smallest of the last rows.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    window : int
        Rows, >= 1.
    sign : float
        1 = the largest, -1 = the smallest.
    out : ndarray of float64, shape (T, B)
        Result; NaN where the window is not complete.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[4.0], [2.0], [1.0]]), np.empty((3, 1))
    >>> window_extreme(x, 2, 1.0, out)
    >>> out.ravel().tolist()
    [nan, 4.0, 2.0]
    """
    n_rows, width = x.shape
    for t in range(n_rows):
        here = out[t]
        if t < window - 1:
            here[:] = np.nan
            continue
        here[:] = x[t - window + 1]
        for s in range(t - window + 2, t + 1):
            values = x[s]
            for j in range(width):
                v = values[j]
                # A missing value wins, and nothing wins against it.
                here[j] = v if (sign * v > sign * here[j]) | (v != v) else here[j]


@njit(cache=True, nogil=True, error_model="numpy")
def changes(x: FloatMatrix, weight: FloatMatrix, up: FloatMatrix, down: FloatMatrix) -> None:
    """Rises and falls from row to row, apart.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    weight : ndarray of float64, shape (T, B) or (0, 0)
        What a row with a rise or a fall counts; empty = the size of the change itself.
    up, down : ndarray of float64, shape (T, B)
        Results, at least 0; NaN in the first row and where a value of x or of the weight is
        missing.

    Returns
    -------
    None
        Every row is written. A change below `TIE` of the value is none.

    Examples
    --------
    >>> x, up, down = np.array([[1.0], [4.0], [2.0]]), np.empty((3, 1)), np.empty((3, 1))
    >>> changes(x, np.empty((0, 0)), up, down)
    >>> up.ravel().tolist(), down.ravel().tolist()
    ([nan, 3.0, 0.0], [nan, 0.0, 2.0])
    """
    n_rows, width = x.shape
    own = weight.size == 0
    up[:1] = np.nan
    down[:1] = np.nan
    for t in range(1, n_rows):
        for j in range(width):
            d = x[t, j] - x[t - 1, j]
            size = abs(d) if own else weight[t, j]
            lost = (d != d) | (size != size)
            least = TIE * abs(x[t, j])
            up[t, j] = np.nan if lost else (size if d > least else 0.0)
            down[t, j] = np.nan if lost else (size if d < -least else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def share_of(
    part: FloatMatrix, rest: FloatMatrix, scale: float, neutral: float, out: FloatMatrix
) -> None:
    """Share of a part in what it makes with the rest, and a stated value where both are nothing.

    Parameters
    ----------
    part, rest : ndarray of float64, shape (T, B)
        At least 0, one unit; NaN = missing.
    scale : float
        What a share of 1 is called, such as 100.
    neutral : float
        Result for 0 / 0.
    out : ndarray of float64, shape (T, B)
        ``scale * part / (part + rest)``.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> out = np.empty((1, 3))
    >>> share_of(np.array([[1.0, 0.0, 2.0]]), np.array([[3.0, 0.0, 0.0]]), 100.0, 50.0, out)
    >>> out.tolist()
    [[25.0, 50.0, 100.0]]
    """
    n_rows, width = part.shape
    for t in range(n_rows):
        for j in range(width):
            total = part[t, j] + rest[t, j]
            out[t, j] = neutral if total == 0.0 else scale * (part[t, j] / total)
