"""Window kernels: extremes, quantiles, ranks, and sums over the whole window of every row.

Contract of every window kernel: `x` is float64, shape (T, B), NaN = missing and never infinite;
warm-up rows and windows with a missing value are NaN; row t reads rows up to t alone; the caller
owns `out`. Nothing here carries rounding from one window to the next: extremes, quantiles and ranks
select and count, the rest is summed afresh for every row because its running form (third and
fourth moments, products) loses all digits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.features.expressions.sliding import IntVector, Pages

__all__ = [
    "present_counts",
    "window_extremes",
    "window_places",
    "window_products",
    "window_quantiles",
    "window_ranks",
    "window_shapes",
    "window_weights",
]

SKEWNESS, KURTOSIS, MEAN_DEVIATION = range(3)
FLAT_TOLERANCE = 1e-9


@njit(cache=True, nogil=True, error_model="numpy")
def _signed(value: FloatVector, sign: float, out: FloatVector) -> None:
    for j in range(value.size):
        out[j] = sign * value[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _newer(value: FloatVector, best: FloatVector) -> None:
    for j in range(value.size):
        take = (value[j] > best[j]) | (value[j] != value[j])
        best[j] = value[j] if take else best[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _older(value: FloatVector, best: FloatVector, out: FloatVector) -> None:
    for j in range(value.size):
        take = (value[j] >= best[j]) | (value[j] != value[j])
        out[j] = value[j] if take else best[j]


@njit(cache=True, nogil=True, error_model="numpy")
def window_extremes(x: FloatMatrix, window: int, sign: float, out: FloatMatrix) -> None:
    """Rolling maximum (sign 1) or minimum (sign -1).

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit.
    window : int
        Rows, >= 1.
    sign : float
        1 or -1.
    out : ndarray of float64, shape (T, B)
        Result.

    Returns
    -------
    None
        Every row is written.

    Notes
    -----
    van Herk (1992) and Gil and Werman (1993): the rows are cut into blocks of w; the maximum of a
    window is that of the end of one block and the beginning of the next, both running maxima.
    Three comparisons per value whatever the window, and the same work for every asset.

    Examples
    --------
    >>> x, out = np.array([[2.0], [4.0], [1.0]]), np.empty((3, 1))
    >>> window_extremes(x, 2, 1.0, out)
    >>> out.ravel().tolist()
    [nan, 4.0, 4.0]
    """
    n_rows, width = x.shape
    ends = np.empty((window + 1, width))
    # After the last row of a block comes nothing.
    ends[window] = -np.inf
    head = np.empty(width)
    value = np.empty(width)
    for first in range(0, n_rows, window):
        stop = min(first + window, n_rows)
        head[:] = -np.inf
        for t in range(first, stop):
            _signed(x[t], sign, value)
            _newer(value, head)
            if t < window - 1:
                out[t] = np.nan
            else:
                _older(ends[t - first + 1], head, value)
                _signed(value, sign, out[t])
        for i in range(stop - first - 1, -1, -1):
            _signed(x[first + i], sign, value)
            _older(value, ends[i + 1], ends[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _newer_place(value: FloatVector, t: int, best: FloatVector, place: FloatVector) -> None:
    for j in range(value.size):
        take = (value[j] > best[j]) | (value[j] != value[j])
        best[j] = value[j] if take else best[j]
        place[j] = t if take else place[j]


@njit(cache=True, nogil=True, error_model="numpy")
def window_places(x: FloatMatrix, window: int, sign: float, out: FloatMatrix) -> None:
    """Place of the rolling maximum (sign 1) or minimum (sign -1) in its window.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit.
    window : int
        Rows, >= 1.
    sign : float
        1 or -1.
    out : ndarray of float64, shape (T, B)
        Position 1 (oldest) to w (newest); the oldest of equals, as in Qlib.

    Returns
    -------
    None
        Every row is written.

    Notes
    -----
    Blocks as in `window_extremes`, with the row of each running maximum beside it.

    Examples
    --------
    >>> x, out = np.array([[2.0], [4.0], [1.0]]), np.empty((3, 1))
    >>> window_places(x, 2, 1.0, out)
    >>> out.ravel().tolist()
    [nan, 2.0, 1.0]
    """
    n_rows, width = x.shape
    ends, rows = np.empty((window + 1, width)), np.empty((window + 1, width))
    ends[window] = -np.inf
    rows[window] = 0.0
    head, at, value = np.empty(width), np.empty(width), np.empty(width)
    for first in range(0, n_rows, window):
        stop = min(first + window, n_rows)
        head[:] = -np.inf
        for t in range(first, stop):
            _signed(x[t], sign, value)
            _newer_place(value, t, head, at)
            tail, where = ends[t - first + 1], rows[t - first + 1]
            for j in range(width):
                row = where[j] if tail[j] >= head[j] else at[j]
                known = (tail[j] == tail[j]) & (head[j] == head[j])
                out[t, j] = row - (t - window) if known & (t >= window - 1) else np.nan
        for i in range(stop - first - 1, -1, -1):
            for j in range(width):
                v = sign * x[first + i, j]
                take = (v >= ends[i + 1, j]) | (v != v)
                ends[i, j] = v if take else ends[i + 1, j]
                rows[i, j] = first + i if take else rows[i + 1, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _replace_sorted(
    ordered: FloatMatrix, old: FloatVector, new: FloatVector, carry: FloatVector
) -> None:
    # Sorted windows of all assets at once: take `old` out, put `new` in, one sweep. r_i is the
    # i-th value once `old` is gone; the new i-th value is max(r_{i-1}, min(r_i, new)).
    # Written with two indices: so LLVM sees that rows do not overlap, and vectorises the sweep.
    n_places, width = ordered.shape
    for j in range(width):
        carry[j] = -np.inf
    for i in range(n_places - 1):
        for j in range(width):
            here = ordered[i, j]
            r = here if here < old[j] else ordered[i + 1, j]
            low = r if r < new[j] else new[j]
            before = carry[j]
            ordered[i, j] = low if low > before else before
            carry[j] = r


@njit(cache=True, nogil=True, error_model="numpy")
def window_quantiles(x: FloatMatrix, window: int, levels: FloatVector, out: Pages) -> None:
    """Rolling quantiles with linear interpolation.

    The quantile at level q of the sorted window v_0..v_{w-1} is
    v_i + (q(w-1) - i)(v_{i+1} - v_i) with i = floor(q(w-1)), the rule of pandas and Qlib.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit.
    window : int
        Rows, >= 1.
    levels : ndarray of float64, shape (Q,)
        Levels, fractions in [0, 1].
    out : ndarray of float64, shape (Q, T, B)
        One page per level.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [5.0], [2.0]]), np.empty((1, 3, 1))
    >>> window_quantiles(x, 3, np.array([0.5]), out)
    >>> out.ravel().tolist()
    [nan, nan, 2.0]
    """
    n_rows, width = x.shape
    # +inf stands for places that are not yet filled and for missing values.
    ordered = np.full((window + 1, width), np.inf)
    old, new, carry = np.full(width, np.inf), np.empty(width), np.empty(width)
    missing = np.zeros(width)
    for t in range(n_rows):
        for j in range(width):
            known = x[t, j] == x[t, j]
            new[j] = x[t, j] if known else np.inf
            missing[j] += 0.0 if known else 1.0
        if t >= window:
            for j in range(width):
                known = x[t - window, j] == x[t - window, j]
                old[j] = x[t - window, j] if known else np.inf
                missing[j] -= 0.0 if known else 1.0
        _replace_sorted(ordered, old, new, carry)
        for q in range(levels.size):
            page = out[q, t]
            if t < window - 1:
                page[:] = np.nan
                continue
            place = levels[q] * (window - 1)
            i = min(int(place), max(window - 2, 0))
            share = place - i
            below, above = ordered[i], ordered[i + 1]
            for j in range(width):
                v = below[j]
                v = v + share * (above[j] - v) if share > 0.0 else v
                page[j] = v if missing[j] == 0.0 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def window_ranks(x: FloatMatrix, windows: IntVector, slots: IntVector, out: Pages) -> None:
    """Rolling percentile rank of the newest value: average rank of ties over the window, in (0, 1].

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit.
    windows : ndarray of int64, shape (W,)
        Rows, ascending.
    slots : ndarray of int64, shape (W,)
        Page per window.
    out : ndarray of float64, shape (W, T, B)
        One page per window.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [5.0], [2.0], [2.0]]), np.empty((1, 4, 1))
    >>> window_ranks(x, np.array([4]), np.array([0]), out)
    >>> out.ravel().tolist()
    [nan, nan, nan, 0.625]
    """
    n_rows, width = x.shape
    below = np.empty(width)
    for t in range(n_rows):
        newest = x[t]
        # A missing value turns the count into NaN, for this window and every longer one.
        for j in range(width):
            below[j] = 0.5 + 0.0 * newest[j]
        back = 1
        for k in range(windows.size):
            w = windows[k]
            while back < w and back <= t:
                other = x[t - back]
                for j in range(width):
                    c = 0.5 if other[j] <= newest[j] else 0.0 * other[j]
                    below[j] += c + (0.5 if other[j] < newest[j] else 0.0)
                back += 1
            page = out[slots[k], t]
            for j in range(width):
                page[j] = (below[j] + 0.5) / w if t >= w - 1 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def window_weights(x: FloatMatrix, weights: FloatVector, out: FloatMatrix) -> None:
    """Rolling weighted sum.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit.
    weights : ndarray of float64, shape (w,)
        Fractions, oldest value first.
    out : ndarray of float64, shape (T, B)
        Result.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [4.0], [1.0]]), np.empty((3, 1))
    >>> window_weights(x, np.array([0.25, 0.75]), out)
    >>> out.ravel().tolist()
    [nan, 3.25, 1.75]
    """
    w = weights.size
    for t in range(len(x)):
        here = out[t]
        here[:] = 0.0 if t >= w - 1 else np.nan
        for i in range(w if t >= w - 1 else 0):
            row = x[t - w + 1 + i]
            for j in range(row.size):
                here[j] += weights[i] * row[j]


@njit(cache=True, nogil=True, error_model="numpy")
def window_products(x: FloatMatrix, window: int, out: FloatMatrix) -> None:
    """Rolling product; a product that overflows is NaN.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit.
    window : int
        Rows, >= 1.
    out : ndarray of float64, shape (T, B)
        Result.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[2.0], [4.0], [0.5]]), np.empty((3, 1))
    >>> window_products(x, 2, out)
    >>> out.ravel().tolist()
    [nan, 8.0, 2.0]
    """
    for t in range(len(x)):
        here = out[t]
        here[:] = 1.0 if t >= window - 1 else np.nan
        for s in range(t - window + 1, t + 1 if t >= window - 1 else t - window + 1):
            row = x[s]
            for j in range(row.size):
                here[j] *= row[j]
        for j in range(here.size):
            here[j] = here[j] if abs(here[j]) < np.inf else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def present_counts(x: FloatMatrix, window: int, out: FloatMatrix) -> None:
    """Number of present values in the window, the one kernel that a missing value does not blank.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit.
    window : int
        Rows, >= 1.
    out : ndarray of float64, shape (T, B)
        Result, positions 0 to w; NaN in the warm-up.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [np.nan], [np.nan]]), np.empty((3, 1))
    >>> present_counts(x, 2, out)
    >>> out.ravel().tolist()
    [nan, 1.0, 0.0]
    """
    n_rows, width = x.shape
    count = np.zeros(width)
    for t in range(n_rows):
        for j in range(width):
            count[j] += 1.0 if x[t, j] == x[t, j] else 0.0
            if t >= window:
                count[j] -= 1.0 if x[t - window, j] == x[t - window, j] else 0.0
            out[t, j] = count[j] if t >= window - 1 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _shape_value(output: int, w: float, sums: tuple[float, float, float, float]) -> float:
    mean, m2, m3, m4 = sums
    if m2 <= w * (FLAT_TOLERANCE * mean) ** 2:
        return np.nan
    if output == SKEWNESS:
        return w * np.sqrt(w - 1.0) / (w - 2.0) * m3 / m2**1.5
    excess = w * (w + 1.0) * (w - 1.0) / ((w - 2.0) * (w - 3.0)) * m4 / (m2 * m2)
    return excess - 3.0 * (w - 1.0) ** 2 / ((w - 2.0) * (w - 3.0))


@njit(cache=True, nogil=True, error_model="numpy")
def window_shapes(x: FloatMatrix, window: int, output: int, out: FloatMatrix) -> None:
    """Rolling skewness, excess kurtosis or mean absolute deviation from the mean.

    The first two are the bias-corrected forms of pandas; a constant window has neither.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit.
    window : int
        Rows, >= 3 for SKEWNESS, >= 4 for KURTOSIS, >= 1 for MEAN_DEVIATION.
    output : int
        SKEWNESS, KURTOSIS or MEAN_DEVIATION.
    out : ndarray of float64, shape (T, B)
        Result.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [4.0], [1.0]]), np.empty((3, 1))
    >>> window_shapes(x, 2, MEAN_DEVIATION, out)
    >>> out.ravel().tolist()
    [nan, 1.5, 1.5]
    """
    n_rows, width = x.shape
    for t in range(n_rows):
        if t < window - 1:
            out[t] = np.nan
            continue
        for j in range(width):
            mean = 0.0
            for s in range(t - window + 1, t + 1):
                mean += x[s, j]
            mean /= window
            m1 = m2 = m3 = m4 = 0.0
            for s in range(t - window + 1, t + 1):
                d = x[s, j] - mean
                m1 += abs(d)
                m2 += d * d
                m3 += d * d * d
                m4 += d * d * d * d
            if output == MEAN_DEVIATION:
                out[t, j] = m1 / window
            else:
                out[t, j] = _shape_value(output, float(window), (mean, m2, m3, m4))
