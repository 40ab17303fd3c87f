"""Rolling kernels: every window of one statistic, all assets at once, one pass over the days.

Contract of each kernel
-----------------------
1. `prepare` turns a field into two arrays: `filled`, in which a missing value repeats the last one
   seen, and `run`, the number of consecutive present values that end at the row. State is carried
   over `filled`; an output is written only where ``run`` covers the whole window. So warm-up and
   any window with a missing bar are NaN, never a partial window.
2. Outer loop over days, inner loop over assets, state O(1) per asset and window. Sums are taken
   afresh at every row that is a multiple of `ANCHOR_ROWS` (no drift), and a second moment that has
   lost its digits to cancellation is taken afresh at once. Nothing after row t is read for row t.
3. The caller owns the outputs: ``slots[output, window]`` names the page of ``block`` (F, T, N) that
   receives an output, or -1 for an output nobody wants. State is float64, pages may be float32.

Standard deviations divide by n - 1 (the convention of pandas and Qlib). A window whose standard
deviation is below `FLAT_TOLERANCE` times its absolute mean counts as constant: correlation and
R-squared do not exist there and are NaN (Qlib compares with 2e-5 price units instead, which depends
on the unit of the price).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatMatrix

__all__ = [
    "ANCHOR_ROWS",
    "blank_infinite",
    "prepare",
    "rolling_moments",
    "rolling_pair",
    "rolling_updown",
]

IntVector: TypeAlias = npt.NDArray[np.int64]
RunMatrix: TypeAlias = npt.NDArray[np.int32]
SlotTable: TypeAlias = npt.NDArray[np.int64]
FloatBlock: TypeAlias = npt.NDArray[np.floating]

ANCHOR_ROWS = 256
FLAT_TOLERANCE = 1e-9
LOST_DIGITS = 1e-6
TINY = 1e-12

# Rows of `slots`, per kernel.
MEAN, STD, CV, ZSCORE, SLOPE, RSQUARE, RESIDUAL = range(7)
CORRELATION, BETA, RESIDUAL_STD = range(3)
COUNT_UP, COUNT_DOWN, COUNT_DIFF, SUM_UP, SUM_DOWN, SUM_DIFF = range(6)


@njit(cache=True, nogil=True, error_model="numpy")
def prepare(values: FloatMatrix, filled: FloatMatrix, run: RunMatrix) -> None:
    """Carry the last present value forward and count consecutive present values.

    Parameters
    ----------
    values : ndarray of float64, shape (T, N)
        Any unit; NaN and infinities = missing.
    filled : ndarray of float64, shape (T, N)
        Output; missing values repeat the last present one, 0 before the first.
    run : ndarray of int32, shape (T, N)
        Output; number of consecutive present values ending at the row, 0 where missing.

    Returns
    -------
    None
        The outputs are written in place.

    Examples
    --------
    >>> x = np.array([[1.0], [np.nan], [3.0], [4.0]])
    >>> filled, run = np.empty_like(x), np.empty(x.shape, np.int32)
    >>> prepare(x, filled, run)
    >>> filled.ravel().tolist(), run.ravel().tolist()
    ([1.0, 1.0, 3.0, 4.0], [1, 0, 1, 2])
    """
    n_rows, n_assets = values.shape
    for t in range(n_rows):
        for j in range(n_assets):
            x = values[t, j]
            if np.isfinite(x):
                filled[t, j] = x
                run[t, j] = run[t - 1, j] + 1 if t > 0 else 1
            else:
                filled[t, j] = filled[t - 1, j] if t > 0 else 0.0
                run[t, j] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def _window_moments(values: FloatMatrix, t: int, j: int, window: int) -> tuple[float, float, float]:
    # Two passes over one window: exact to rounding, and exactly zero for a constant window.
    total = 0.0
    lowest = highest = values[t, j]
    for s in range(t - window + 1, t + 1):
        x = values[s, j]
        total += x
        lowest = min(lowest, x)
        highest = max(highest, x)
    if lowest == highest:
        return lowest, 0.0, 0.0
    mean = total / window
    squares = 0.0
    cross = 0.0
    middle = 0.5 * (window - 1)
    for i in range(window):
        d = values[t - window + 1 + i, j] - mean
        squares += d * d
        cross += (i - middle) * d
    return mean, squares, cross


@njit(cache=True, nogil=True, error_model="numpy")
def _slide_moments(
    values: FloatMatrix, t: int, window: int, fresh: bool, state: FloatMatrix
) -> None:
    # Replacing x_old by x_new with means m0 -> m1:
    # the squares grow by (x_new - x_old)(x_new - m1 + x_old - m0), and the numerator of the slope,
    # sum_i (i - mean(i)) x_i, by (w - 1)/2 (x_new + x_old - 2 m0) + (x_old - m0).
    for j in range(values.shape[1]):
        stale = fresh
        if not fresh:
            x_new = values[t, j]
            x_old = values[t - window, j]
            m0 = state[0, j]
            d = x_new - x_old
            m1 = m0 + d / window
            state[2, j] += 0.5 * (window - 1) * (x_new + x_old - 2.0 * m0) + (x_old - m0)
            squares = state[1, j] + d * (x_new - m1 + x_old - m0)
            state[0, j] = m1
            state[1, j] = squares
            state[3, j] = max(state[3, j], squares)
            stale = squares < LOST_DIGITS * state[3, j]
        if stale:
            mean, squares, cross = _window_moments(values, t, j, window)
            state[0, j] = mean
            state[1, j] = squares
            state[2, j] = cross
            state[3, j] = squares


@njit(cache=True, nogil=True, error_model="numpy")
def _moment_value(
    output: int, window: int, newest: float, mean: float, squares: float, cross: float
) -> float:
    sxx = window * (window * window - 1.0) / 12.0
    if output == MEAN:
        return mean
    if output == STD:
        return np.sqrt(squares / (window - 1))
    if output == CV:
        return np.sqrt(squares / (window - 1)) / (mean + TINY)
    if output == SLOPE:
        return cross / sxx
    if output == RESIDUAL:
        return newest - (mean + cross / sxx * 0.5 * (window - 1))
    if squares <= window * (FLAT_TOLERANCE * mean) ** 2:
        return np.nan
    if output == RSQUARE:
        return min(cross * cross / (sxx * squares), 1.0)
    return (newest - mean) / np.sqrt(squares / (window - 1))


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_moments(
    values: FloatMatrix,
    run: RunMatrix,
    scale: FloatMatrix,
    windows: IntVector,
    slots: SlotTable,
    block: FloatBlock,
) -> None:
    """Rolling mean, standard deviation and straight-line fit against time.

    With x_1..x_w the window, oldest first, and s the scale of the row:
    mean*s; std*s with ddof 1; std/(mean + 1e-12); (x_w - mean)/std; slope*s of x on 1..w;
    R-squared of that line; residual*s of x_w from that line.

    Parameters
    ----------
    values : ndarray of float64, shape (T, N)
        `filled` of `prepare`; any unit.
    run : ndarray of int32, shape (T, N)
        `run` of `prepare`.
    scale : ndarray of float64, shape (T, N)
        Factor of the row, for instance 1/close; NaN makes the scaled outputs NaN.
    windows : ndarray of int64, shape (W,)
        Window lengths in rows, each >= 2.
    slots : ndarray of int64, shape (7, W)
        Pages for MEAN, STD, CV, ZSCORE, SLOPE, RSQUARE, RESIDUAL; -1 = not wanted.
    block : ndarray of float32 or float64, shape (F, T, N)
        Output pages.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Notes
    -----
    Sliding update of the mean and the centred sum of squares: Welford (1962), Technometrics 4(3),
    with one value leaving for each value entering.

    Examples
    --------
    >>> x = np.array([[1.0], [2.0], [4.0]])
    >>> filled, run = np.empty_like(x), np.empty(x.shape, np.int32)
    >>> prepare(x, filled, run)
    >>> block, slots = np.empty((1, 3, 1)), np.full((7, 1), -1)
    >>> slots[MEAN, 0] = 0
    >>> rolling_moments(filled, run, np.ones_like(x), np.array([2]), slots, block)
    >>> block[0].ravel().tolist()
    [nan, 1.5, 3.0]
    """
    n_rows, n_assets = values.shape
    n_windows = windows.size
    state = np.zeros((n_windows, 4, n_assets))
    for t in range(n_rows):
        for k in range(n_windows):
            w = windows[k]
            if t >= w - 1:
                fresh = t == w - 1 or t % ANCHOR_ROWS == 0
                _slide_moments(values, t, w, fresh, state[k])
            for output in range(7):
                slot = slots[output, k]
                if slot < 0:
                    continue
                scaled = output in (MEAN, STD, SLOPE, RESIDUAL)
                for j in range(n_assets):
                    if run[t, j] < w:
                        block[slot, t, j] = np.nan
                        continue
                    squares = max(state[k, 1, j], 0.0)
                    value = _moment_value(
                        output, w, values[t, j], state[k, 0, j], squares, state[k, 2, j]
                    )
                    block[slot, t, j] = value * scale[t, j] if scaled else value


@njit(cache=True, nogil=True, error_model="numpy")
def _window_pair(
    x: FloatMatrix, y: FloatMatrix, t: int, j: int, window: int
) -> tuple[float, float, float, float, float]:
    sum_x = sum_y = 0.0
    for s in range(t - window + 1, t + 1):
        sum_x += x[s, j]
        sum_y += y[s, j]
    mean_x = sum_x / window
    mean_y = sum_y / window
    xx = yy = xy = 0.0
    for s in range(t - window + 1, t + 1):
        dx = x[s, j] - mean_x
        dy = y[s, j] - mean_y
        xx += dx * dx
        yy += dy * dy
        xy += dx * dy
    return mean_x, mean_y, xx, yy, xy


@njit(cache=True, nogil=True, error_model="numpy")
def _slide_pair(
    x: FloatMatrix, y: FloatMatrix, t: int, window: int, fresh: bool, state: FloatMatrix
) -> None:
    # The products grow by (x_new - mx0)(y_new - my1) - (x_old - mx0)(y_old - my1), the squares by
    # the same with y = x.
    for j in range(x.shape[1]):
        stale = fresh
        if not fresh:
            x_new, x_old = x[t, j], x[t - window, j]
            y_new, y_old = y[t, j], y[t - window, j]
            mx0, my0 = state[0, j], state[1, j]
            mx1 = mx0 + (x_new - x_old) / window
            my1 = my0 + (y_new - y_old) / window
            xx = state[2, j] + (x_new - x_old) * (x_new - mx1 + x_old - mx0)
            yy = state[3, j] + (y_new - y_old) * (y_new - my1 + y_old - my0)
            state[4, j] += (x_new - mx0) * (y_new - my1) - (x_old - mx0) * (y_old - my1)
            state[0, j] = mx1
            state[1, j] = my1
            state[2, j] = xx
            state[3, j] = yy
            state[5, j] = max(state[5, j], xx)
            state[6, j] = max(state[6, j], yy)
            stale = xx < LOST_DIGITS * state[5, j] or yy < LOST_DIGITS * state[6, j]
        if stale:
            mean_x, mean_y, xx, yy, xy = _window_pair(x, y, t, j, window)
            state[0, j] = mean_x
            state[1, j] = mean_y
            state[2, j] = xx
            state[3, j] = yy
            state[4, j] = xy
            state[5, j] = xx
            state[6, j] = yy


@njit(cache=True, nogil=True, error_model="numpy")
def _pair_value(
    output: int, window: int, means: tuple[float, float], xx: float, yy: float, xy: float
) -> float:
    if yy <= window * (FLAT_TOLERANCE * means[1]) ** 2:
        return np.nan
    if output == BETA:
        return xy / yy
    if output == RESIDUAL_STD:
        return np.sqrt(max(xx - xy * xy / yy, 0.0) / (window - 2))
    if xx <= window * (FLAT_TOLERANCE * means[0]) ** 2:
        return np.nan
    return min(max(xy / np.sqrt(xx * yy), -1.0), 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_pair(
    x: FloatMatrix,
    y: FloatMatrix,
    run: RunMatrix,
    windows: IntVector,
    slots: SlotTable,
    block: FloatBlock,
) -> None:
    """Rolling correlation of two series, and the regression of the first on the second.

    With centred sums S: S_xy/sqrt(S_xx S_yy) in [-1, 1]; S_xy/S_yy; and the residual standard
    deviation sqrt((S_xx - S_xy^2/S_yy)/(w - 2)) of x = a + b y + e.

    Parameters
    ----------
    x, y : ndarray of float64, shape (T, N)
        `filled` of `prepare`; any unit.
    run : ndarray of int32, shape (T, N)
        Smaller `run` of the two.
    windows : ndarray of int64, shape (W,)
        Window lengths in rows, each >= 3.
    slots : ndarray of int64, shape (3, W)
        Pages for CORRELATION, BETA, RESIDUAL_STD; -1 = not wanted.
    block : ndarray of float32 or float64, shape (F, T, N)
        Output pages; NaN where the window is not complete, where y is constant, and for the
        correlation also where x is constant.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Examples
    --------
    >>> x = np.array([[1.0], [2.0], [4.0]])
    >>> filled, run = np.empty_like(x), np.empty(x.shape, np.int32)
    >>> prepare(x, filled, run)
    >>> block, slots = np.empty((1, 3, 1)), np.full((3, 1), -1)
    >>> slots[BETA, 0] = 0
    >>> rolling_pair(filled, 2.0 * filled, run, np.array([3]), slots, block)
    >>> block[0].ravel().tolist()
    [nan, nan, 0.5]
    """
    n_rows, n_assets = x.shape
    n_windows = windows.size
    state = np.zeros((n_windows, 7, n_assets))
    for t in range(n_rows):
        for k in range(n_windows):
            w = windows[k]
            if t >= w - 1:
                fresh = t == w - 1 or t % ANCHOR_ROWS == 0
                _slide_pair(x, y, t, w, fresh, state[k])
            for output in range(3):
                slot = slots[output, k]
                if slot < 0:
                    continue
                for j in range(n_assets):
                    if run[t, j] < w:
                        block[slot, t, j] = np.nan
                        continue
                    means = (state[k, 0, j], state[k, 1, j])
                    xx = max(state[k, 2, j], 0.0)
                    yy = max(state[k, 3, j], 0.0)
                    block[slot, t, j] = _pair_value(output, w, means, xx, yy, state[k, 4, j])


@njit(cache=True, nogil=True, error_model="numpy")
def _slide_updown(
    values: FloatMatrix, t: int, window: int, fresh: bool, state: FloatMatrix
) -> None:
    # state: number of rises, number of falls, sum of rises, sum of falls.
    if fresh:
        state[:] = 0.0
    for s in range(t - window + 1 if fresh else t, t + 1):
        for j in range(values.shape[1]):
            step = values[s, j] - values[s - 1, j]
            state[0, j] += step > 0.0
            state[1, j] += step < 0.0
            state[2, j] += max(step, 0.0)
            state[3, j] += max(-step, 0.0)
    if not fresh:
        for j in range(values.shape[1]):
            step = values[t - window, j] - values[t - window - 1, j]
            state[0, j] -= step > 0.0
            state[1, j] -= step < 0.0
            state[2, j] -= max(step, 0.0)
            state[3, j] -= max(-step, 0.0)
    # The counts are exact, so they say when a running sum must be exactly zero.
    for j in range(values.shape[1]):
        state[2, j] *= state[0, j] > 0.0
        state[3, j] *= state[1, j] > 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _updown_value(
    output: int, window: int, rises: float, falls: float, up: float, down: float
) -> float:
    if output == COUNT_UP:
        return rises / window
    if output == COUNT_DOWN:
        return falls / window
    if output == COUNT_DIFF:
        return (rises - falls) / window
    if output == SUM_UP:
        return up / (up + down + TINY)
    if output == SUM_DOWN:
        return down / (up + down + TINY)
    return (up - down) / (up + down + TINY)


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_updown(
    values: FloatMatrix, run: RunMatrix, windows: IntVector, slots: SlotTable, block: FloatBlock
) -> None:
    """Rolling share of rises and falls, by count and by size.

    With d the w last differences, U the sum of rises and D the sum of falls (both >= 0):
    count(d>0)/w; count(d<0)/w; their difference; U/(U+D+1e-12); D/(U+D+1e-12); (U-D)/(U+D+1e-12).

    Parameters
    ----------
    values : ndarray of float64, shape (T, N)
        `filled` of `prepare`; levels, any unit.
    run : ndarray of int32, shape (T, N)
        `run` of `prepare`.
    windows : ndarray of int64, shape (W,)
        Numbers of differences, each >= 1; a window needs one more level than that.
    slots : ndarray of int64, shape (6, W)
        Pages for COUNT_UP, COUNT_DOWN, COUNT_DIFF, SUM_UP, SUM_DOWN, SUM_DIFF; -1 = not wanted.
    block : ndarray of float32 or float64, shape (F, T, N)
        Output pages; NaN where the window is not complete.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Examples
    --------
    >>> x = np.array([[1.0], [4.0], [3.0]])
    >>> filled, run = np.empty_like(x), np.empty(x.shape, np.int32)
    >>> prepare(x, filled, run)
    >>> block, slots = np.empty((1, 3, 1)), np.full((6, 1), -1)
    >>> slots[SUM_UP, 0] = 0
    >>> rolling_updown(filled, run, np.array([2]), slots, block)
    >>> block[0].ravel().round(6).tolist()
    [nan, nan, 0.75]
    """
    n_rows, n_assets = values.shape
    n_windows = windows.size
    state = np.zeros((n_windows, 4, n_assets))
    for t in range(n_rows):
        for k in range(n_windows):
            w = windows[k]
            if t >= w:
                fresh = t == w or t % ANCHOR_ROWS == 0
                _slide_updown(values, t, w, fresh, state[k])
            for output in range(6):
                slot = slots[output, k]
                if slot < 0:
                    continue
                for j in range(n_assets):
                    if run[t, j] < w + 1:
                        block[slot, t, j] = np.nan
                    else:
                        block[slot, t, j] = _updown_value(
                            output,
                            w,
                            state[k, 0, j],
                            state[k, 1, j],
                            state[k, 2, j],
                            state[k, 3, j],
                        )


@njit(cache=True, nogil=True, error_model="numpy")
def blank_infinite(block: FloatBlock) -> None:
    """Turn infinities into NaN, in place.

    Parameters
    ----------
    block : ndarray of float32 or float64, shape (F, T, N)
        Pages of features.

    Returns
    -------
    None
        The block is changed in place.

    Examples
    --------
    >>> pages = np.array([[[1.0, np.inf]]])
    >>> blank_infinite(pages)
    >>> pages.ravel().tolist()
    [1.0, nan]
    """
    flat = block.reshape(-1)
    for i in range(flat.size):
        if np.isinf(flat[i]):
            flat[i] = np.nan
