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

import numpy as np
from numba import njit

__all__ = [
    "ANCHOR_ROWS",
    "blank_infinite",
    "prepare",
    "rolling_extremes",
    "rolling_moments",
    "rolling_pair",
    "rolling_quantile",
    "rolling_rank",
    "rolling_updown",
]

ANCHOR_ROWS = 256
FLAT_TOLERANCE = 1e-9
LOST_DIGITS = 1e-6
TINY = 1e-12
COLUMN_BLOCK = 256

# Rows of `slots`, per kernel.
MEAN, STD, CV, ZSCORE, SLOPE, RSQUARE, RESIDUAL = range(7)
HIGHEST, LOWEST, SINCE_HIGHEST, SINCE_LOWEST, ORDER_OF_EXTREMES, POSITION = range(6)
CORRELATION, BETA, RESIDUAL_STD = range(3)
COUNT_UP, COUNT_DOWN, COUNT_DIFF, SUM_UP, SUM_DOWN, SUM_DIFF = range(6)


@njit(cache=True, nogil=True, error_model="numpy")
def prepare(values, filled, run):
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
def _window_moments(values, t, j, window):
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
def _slide_moments(values, t, window, fresh, state):
    # Replacing x_old by x_new with means m0 -> m1:
    #   squares += (x_new - x_old) * (x_new - m1 + x_old - m0)
    #   cross   += (w - 1)/2 * (x_new + x_old - 2 m0) + (x_old - m0)
    # where cross = sum_i (i - mean(i)) x_i, the numerator of the slope.
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
def rolling_moments(values, run, scale, windows, slots, block):
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
            sxx = w * (w * w - 1.0) / 12.0
            middle = 0.5 * (w - 1)
            for output in range(7):
                slot = slots[output, k]
                if slot < 0:
                    continue
                for j in range(n_assets):
                    if run[t, j] < w:
                        block[slot, t, j] = np.nan
                        continue
                    mean = state[k, 0, j]
                    squares = max(state[k, 1, j], 0.0)
                    if output == MEAN:
                        value = mean * scale[t, j]
                    elif output == STD:
                        value = np.sqrt(squares / (w - 1)) * scale[t, j]
                    elif output == CV:
                        value = np.sqrt(squares / (w - 1)) / (mean + TINY)
                    elif output == SLOPE:
                        value = state[k, 2, j] / sxx * scale[t, j]
                    elif output == RESIDUAL:
                        fit = mean + state[k, 2, j] / sxx * middle
                        value = (values[t, j] - fit) * scale[t, j]
                    elif squares <= w * (FLAT_TOLERANCE * mean) ** 2:
                        value = np.nan
                    elif output == RSQUARE:
                        cross = state[k, 2, j]
                        value = min(cross * cross / (sxx * squares), 1.0)
                    else:
                        value = (values[t, j] - mean) / np.sqrt(squares / (w - 1))
                    block[slot, t, j] = value


@njit(cache=True, nogil=True, error_model="numpy")
def _rescan(values, t, j, window, sign):
    # Row of the largest sign*value of the window; the oldest of equals, as in Qlib's IdxMax.
    best = t - window + 1
    top = sign * values[best, j]
    for s in range(best + 1, t + 1):
        if sign * values[s, j] > top:
            top = sign * values[s, j]
            best = s
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _track(values, t, window, sign, rows):
    # Follow the row of the extreme; look at the window again only when that row leaves it.
    for j in range(values.shape[1]):
        best = rows[j]
        if best <= t - window:
            rows[j] = _rescan(values, t, j, window, sign)
        elif sign * values[t, j] > sign * values[best, j]:
            rows[j] = t


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_extremes(high, low, close, run, windows, slots, block):
    """Rolling highest high and lowest low, when they happened, and where the close lies between.

    With H = max(high), L = min(low) and their places i_H, i_L in 1..w (1 = oldest, first of
    equals): H/close; L/close; i_H/w; i_L/w; (i_H - i_L)/w; (close - L)/(H - L + 1e-12).

    Parameters
    ----------
    high, low, close : ndarray of float64, shape (T, N)
        `filled` of `prepare`, one price unit.
    run : ndarray of int32, shape (T, N)
        Smallest `run` of the three fields.
    windows : ndarray of int64, shape (W,)
        Window lengths in rows, each >= 1.
    slots : ndarray of int64, shape (6, W)
        Pages for HIGHEST, LOWEST, SINCE_HIGHEST, SINCE_LOWEST, ORDER_OF_EXTREMES, POSITION;
        -1 = not wanted.
    block : ndarray of float32 or float64, shape (F, T, N)
        Output pages; NaN where the window is not complete.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Examples
    --------
    >>> x = np.array([[2.0], [4.0], [1.0]])
    >>> filled, run = np.empty_like(x), np.empty(x.shape, np.int32)
    >>> prepare(x, filled, run)
    >>> block, slots = np.empty((1, 3, 1)), np.full((6, 1), -1)
    >>> slots[HIGHEST, 0] = 0
    >>> rolling_extremes(filled, filled, filled, run, np.array([2]), slots, block)
    >>> block[0].ravel().tolist()
    [nan, 1.0, 4.0]
    """
    n_rows, n_assets = high.shape
    n_windows = windows.size
    top = np.full((n_windows, n_assets), -1, np.int64)
    bottom = np.full((n_windows, n_assets), -1, np.int64)
    for t in range(n_rows):
        for k in range(n_windows):
            w = windows[k]
            if t >= w - 1:
                _track(high, t, w, 1.0, top[k])
                _track(low, t, w, -1.0, bottom[k])
            for output in range(6):
                slot = slots[output, k]
                if slot < 0:
                    continue
                for j in range(n_assets):
                    if run[t, j] < w:
                        block[slot, t, j] = np.nan
                        continue
                    row_top = top[k, j]
                    row_bottom = bottom[k, j]
                    if output == HIGHEST:
                        value = high[row_top, j] / close[t, j]
                    elif output == LOWEST:
                        value = low[row_bottom, j] / close[t, j]
                    elif output == SINCE_HIGHEST:
                        value = (row_top - t + w) / w
                    elif output == SINCE_LOWEST:
                        value = (row_bottom - t + w) / w
                    elif output == ORDER_OF_EXTREMES:
                        value = (row_top - row_bottom) / w
                    else:
                        lowest = low[row_bottom, j]
                        value = (close[t, j] - lowest) / (high[row_top, j] - lowest + TINY)
                    block[slot, t, j] = value


@njit(cache=True, nogil=True, error_model="numpy")
def _replace_sorted(ordered, window, old, new, carry):
    # Column-parallel update of sorted windows: take `old` out, put `new` in, one sweep.
    # r_i is the i-th value once `old` is gone; the new i-th value is max(r_{i-1}, min(r_i, new)).
    for j in range(old.size):
        carry[j] = -np.inf
    for i in range(window):
        here = ordered[i]
        after = ordered[i + 1]
        for j in range(old.size):
            a = here[j]
            b = after[j]
            r = a if a < old[j] else b
            low = r if r < new[j] else new[j]
            here[j] = low if low > carry[j] else carry[j]
            carry[j] = r


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_quantile(values, run, scale, windows, levels, slots, block):
    """Rolling quantiles with linear interpolation, times the scale of the row.

    The quantile at level q of the sorted window v_0..v_{w-1} is
    v_i + (q(w-1) - i)(v_{i+1} - v_i) with i = floor(q(w-1)), the rule of pandas and Qlib.

    Parameters
    ----------
    values : ndarray of float64, shape (T, N)
        `filled` of `prepare`; any unit.
    run : ndarray of int32, shape (T, N)
        `run` of `prepare`.
    scale : ndarray of float64, shape (T, N)
        Factor of the row; NaN gives NaN.
    windows : ndarray of int64, shape (W,)
        Window lengths in rows.
    levels : ndarray of float64, shape (Q,)
        Quantile levels in [0, 1].
    slots : ndarray of int64, shape (Q, W)
        Page per level and window; -1 = not wanted.
    block : ndarray of float32 or float64, shape (F, T, N)
        Output pages; NaN where the window is not complete.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Examples
    --------
    >>> x = np.array([[1.0], [5.0], [2.0]])
    >>> filled, run = np.empty_like(x), np.empty(x.shape, np.int32)
    >>> prepare(x, filled, run)
    >>> block = np.empty((1, 3, 1))
    >>> rolling_quantile(filled, run, np.ones_like(x), np.array([3]), np.array([0.5]),
    ...                  np.array([[0]]), block)
    >>> block[0].ravel().tolist()
    [nan, nan, 2.0]
    """
    n_rows, n_assets = values.shape
    carry = np.empty(COLUMN_BLOCK)
    old = np.empty(COLUMN_BLOCK)
    new = np.empty(COLUMN_BLOCK)
    for k in range(windows.size):
        w = windows[k]
        ordered = np.empty((w + 1, COLUMN_BLOCK))
        for first in range(0, n_assets, COLUMN_BLOCK):
            width = min(COLUMN_BLOCK, n_assets - first)
            # +inf stands for the places that are not yet filled and leaves first.
            ordered[:] = np.inf
            for t in range(n_rows):
                for c in range(width):
                    new[c] = values[t, first + c]
                    old[c] = values[t - w, first + c] if t >= w else np.inf
                _replace_sorted(ordered, w, old[:width], new[:width], carry[:width])
                for q in range(levels.size):
                    slot = slots[q, k]
                    if slot < 0:
                        continue
                    place = levels[q] * (w - 1)
                    i = min(int(place), max(w - 2, 0))
                    share = place - i
                    for c in range(width):
                        j = first + c
                        if run[t, j] < w:
                            block[slot, t, j] = np.nan
                        else:
                            value = ordered[i, c]
                            if share > 0.0:
                                value += share * (ordered[i + 1, c] - value)
                            block[slot, t, j] = value * scale[t, j]


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_rank(values, run, windows, slots, block):
    """Rolling percentile rank of the newest value inside its window.

    Average rank of ties divided by the window length, in (0, 1]; the rule of
    ``pandas.Series.rolling(w).rank(pct=True)``.

    Parameters
    ----------
    values : ndarray of float64, shape (T, N)
        `filled` of `prepare`; any unit.
    run : ndarray of int32, shape (T, N)
        `run` of `prepare`.
    windows : ndarray of int64, shape (W,)
        Window lengths in rows, ascending.
    slots : ndarray of int64, shape (1, W)
        Page per window; -1 = not wanted.
    block : ndarray of float32 or float64, shape (F, T, N)
        Output pages; NaN where the window is not complete.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Examples
    --------
    >>> x = np.array([[1.0], [5.0], [2.0], [2.0]])
    >>> filled, run = np.empty_like(x), np.empty(x.shape, np.int32)
    >>> prepare(x, filled, run)
    >>> block = np.empty((1, 4, 1))
    >>> rolling_rank(filled, run, np.array([4]), np.array([[0]]), block)
    >>> block[0].ravel().tolist()
    [nan, nan, nan, 0.625]
    """
    n_rows, n_assets = values.shape
    below = np.empty(COLUMN_BLOCK)
    for first in range(0, n_assets, COLUMN_BLOCK):
        width = min(COLUMN_BLOCK, n_assets - first)
        for t in range(n_rows):
            newest = values[t, first : first + width]
            for c in range(width):
                below[c] = 0.5
            back = 1
            for k in range(windows.size):
                w = windows[k]
                # Windows are nested, so the count of a longer one goes on from the shorter one.
                while back < w and back <= t:
                    other = values[t - back, first : first + width]
                    for c in range(width):
                        below[c] += 0.5 * (other[c] < newest[c]) + 0.5 * (other[c] <= newest[c])
                    back += 1
                slot = slots[0, k]
                if slot < 0:
                    continue
                for c in range(width):
                    if run[t, first + c] < w:
                        block[slot, t, first + c] = np.nan
                    else:
                        block[slot, t, first + c] = (below[c] + 0.5) / w


@njit(cache=True, nogil=True, error_model="numpy")
def _window_pair(x, y, t, j, window):
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
def _slide_pair(x, y, t, window, fresh, state):
    # xy += (x_new - mx0)(y_new - my1) - (x_old - mx0)(y_old - my1), and the same with y = x.
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
def rolling_pair(x, y, run, windows, slots, block):
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
                    xx = max(state[k, 2, j], 0.0)
                    yy = max(state[k, 3, j], 0.0)
                    xy = state[k, 4, j]
                    flat_x = xx <= w * (FLAT_TOLERANCE * state[k, 0, j]) ** 2
                    flat_y = yy <= w * (FLAT_TOLERANCE * state[k, 1, j]) ** 2
                    if flat_y or (flat_x and output == CORRELATION):
                        value = np.nan
                    elif output == CORRELATION:
                        value = min(max(xy / np.sqrt(xx * yy), -1.0), 1.0)
                    elif output == BETA:
                        value = xy / yy
                    else:
                        value = np.sqrt(max(xx - xy * xy / yy, 0.0) / (w - 2))
                    block[slot, t, j] = value


@njit(cache=True, nogil=True, error_model="numpy")
def _slide_updown(values, t, window, fresh, state):
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
def rolling_updown(values, run, windows, slots, block):
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
                    up = state[k, 2, j]
                    down = state[k, 3, j]
                    if run[t, j] < w + 1:
                        value = np.nan
                    elif output == COUNT_UP:
                        value = state[k, 0, j] / w
                    elif output == COUNT_DOWN:
                        value = state[k, 1, j] / w
                    elif output == COUNT_DIFF:
                        value = (state[k, 0, j] - state[k, 1, j]) / w
                    elif output == SUM_UP:
                        value = up / (up + down + TINY)
                    elif output == SUM_DOWN:
                        value = down / (up + down + TINY)
                    else:
                        value = (up - down) / (up + down + TINY)
                    block[slot, t, j] = value


@njit(cache=True, nogil=True, error_model="numpy")
def blank_infinite(block):
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
