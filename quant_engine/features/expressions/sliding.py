"""Sliding kernels: sums, moments, straight lines and pairs with O(1) state per asset and window.

Contract, in addition to `quant_engine.features.expressions.order`:

1. State slides by one row at a time. It is taken afresh at every row whose number is a multiple of
   `ANCHOR_ROWS`, counted from the first row of the history (`offset` is the number of the first row
   given), so rounding cannot accumulate and a part of the history gives the same bits as the whole
   from its first complete anchor on.
2. A missing value turns the state into NaN, and so the results, until the first complete window
   after it, where the state is taken afresh (`run_starts` says where). Nothing of what came
   before a gap can therefore reach a value after it.
3. Sums are carried in two parts (Neumaier), and a second moment that has lost its digits to
   cancellation is taken afresh at once: a spike that leaves the window leaves nothing behind.
   Moments are kept about a reference near the window, so that a high level costs no digits.
4. Inner loops run over the assets. The width of `out` cannot change a bit of any asset.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatMatrix, FloatVector

__all__ = [
    "ANCHOR_ROWS",
    "run_starts",
    "sliding_decay",
    "sliding_moments",
    "sliding_pairs",
    "sliding_sums",
]

IntVector: TypeAlias = npt.NDArray[np.int64]
Pages: TypeAlias = npt.NDArray[np.float64]

ANCHOR_ROWS = 256
FLAT_TOLERANCE = 1e-9
LOST_DIGITS = 1e-3

# Rows of `slots` per kernel.
SUM, MEAN = range(2)
STD, VAR, SLOPE, RSQUARE, RESIDUAL = range(5)
CORRELATION, COVARIANCE = range(2)


@njit(cache=True, nogil=True, error_model="numpy")
def run_starts(x: FloatMatrix) -> tuple[IntVector, IntVector]:
    """Places where a run of present values begins, in row order.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.

    Returns
    -------
    rows, columns : ndarray of int64, one per run
        Place of the first value of each run.

    Examples
    --------
    >>> rows, columns = run_starts(np.array([[1.0], [np.nan], [3.0], [4.0]]))
    >>> rows.tolist(), columns.tolist()
    ([0, 2], [0, 0])
    """
    n_rows, width = x.shape
    rows = np.empty(4 * width + 16, np.int64)
    columns = np.empty(4 * width + 16, np.int64)
    count = 0
    for t in range(n_rows):
        here = x[t]
        if t == 0:
            found = width
        else:
            before = x[t - 1]
            found = 0
            for j in range(width):
                found += (here[j] == here[j]) & (before[j] != before[j])
        if found == 0:
            continue
        if count + width > rows.size:
            rows = np.append(rows, np.empty(rows.size + width, np.int64))
            columns = np.append(columns, np.empty(columns.size + width, np.int64))
        for j in range(width):
            if here[j] == here[j] and (t == 0 or x[t - 1, j] != x[t - 1, j]):
                rows[count] = t
                columns[count] = j
                count += 1
    return rows[:count], columns[:count]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_to_sums(values: FloatVector, sign: float, high: FloatVector, low: FloatVector) -> None:
    for j in range(values.size):
        v = sign * values[j]
        total = high[j] + v
        part = total - high[j]
        low[j] += (high[j] - (total - part)) + (v - part)
        high[j] = total


@njit(cache=True, nogil=True, error_model="numpy")
def _write_sums(
    high: FloatVector, low: FloatVector, divisor: float, page: npt.NDArray[np.float64]
) -> None:
    for j in range(page.size):
        page[j] = (high[j] + low[j]) / divisor


@njit(cache=True, nogil=True, error_model="numpy")
def sliding_sums(
    x: FloatMatrix,
    starts: tuple[IntVector, IntVector],
    offset: int,
    window: int,
    slots: IntVector,
    out: Pages,
) -> None:
    """Rolling sum and mean.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    starts : pair of ndarray of int64, one per run
        Of `run_starts`.
    offset : int
        Number of the first row in its history.
    window : int
        Rows, >= 1.
    slots : ndarray of int64, shape (2,)
        Pages for SUM and MEAN; -1 = not wanted.
    out : ndarray of float64, shape (K, T, B)
        Pages; NaN where the window is not complete.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [2.0], [4.0]]), np.empty((1, 3, 1))
    >>> sliding_sums(x, run_starts(x), 0, 2, np.array([0, -1]), out)
    >>> out.ravel().tolist()
    [nan, 3.0, 6.0]
    """
    n_rows, width = x.shape
    rows, columns = starts
    high, low = np.zeros(width), np.zeros(width)
    event = 0
    for t in range(n_rows):
        if t < window - 1:
            high[:] = np.nan
        elif t == window - 1 or (t + offset) % ANCHOR_ROWS == 0:
            high[:] = 0.0
            low[:] = 0.0
            for s in range(t - window + 1, t + 1):
                _add_to_sums(x[s], 1.0, high, low)
        else:
            _add_to_sums(x[t], 1.0, high, low)
            _add_to_sums(x[t - window], -1.0, high, low)
        while event < rows.size and rows[event] <= t - window + 1:
            j = columns[event]
            if rows[event] == t - window + 1:
                high[j] = 0.0
                low[j] = 0.0
                for s in range(t - window + 1, t + 1):
                    _add_to_sums(x[s, j : j + 1], 1.0, high[j : j + 1], low[j : j + 1])
            event += 1
        if slots[SUM] >= 0:
            _write_sums(high, low, 1.0, out[slots[SUM], t])
        if slots[MEAN] >= 0:
            _write_sums(high, low, float(window), out[slots[MEAN], t])


@njit(cache=True, nogil=True, error_model="numpy")
def _fresh_moments(x: FloatMatrix, t: int, j: int, window: int, state: FloatMatrix) -> None:
    # Two passes over one window: exact to rounding, and exactly zero for a constant window.
    total = 0.0
    lowest = highest = x[t, j]
    for s in range(t - window + 1, t + 1):
        v = x[s, j]
        total += v
        lowest = min(lowest, v)
        highest = max(highest, v)
    mean = lowest if lowest == highest else total / window
    rest = 0.0
    squares = 0.0
    cross = 0.0
    for i in range(window):
        d = x[t - window + 1 + i, j] - mean
        rest += d
        squares += d * d
        cross += (i - 0.5 * (window - 1)) * d
    state[0, j] = rest / window
    state[1, j] = squares
    state[2, j] = cross
    state[3, j] = squares
    state[4, j] = mean


@njit(cache=True, nogil=True, error_model="numpy")
def _slide_moments(new: FloatVector, old: FloatVector, window: int, state: FloatMatrix) -> int:
    # Replacing x_old by x_new with means m0 -> m1: the squares grow by
    # (x_new - x_old)(x_new - m1 + x_old - m0), and sum_i (i - mean(i)) x_i by
    # (w - 1)/2 (x_new + x_old - 2 m0) + (x_old - m0).
    mean, squares, cross, peak, reference = state[0], state[1], state[2], state[3], state[4]
    half = 0.5 * (window - 1)
    part = 1.0 / window
    stale = 0
    for j in range(new.size):
        x_new, x_old = new[j] - reference[j], old[j] - reference[j]
        d = x_new - x_old
        m0 = mean[j]
        m1 = m0 + d * part
        grown = squares[j] + d * (x_new - m1 + x_old - m0)
        cross[j] += half * (x_new + x_old - 2.0 * m0) + (x_old - m0)
        mean[j] = m1
        squares[j] = grown
        top = peak[j] if peak[j] > grown else grown
        peak[j] = top
        stale += grown < LOST_DIGITS * top
    return stale


@njit(cache=True, nogil=True, error_model="numpy")
def _write_moment(
    output: int, window: int, x: FloatVector, state: FloatMatrix, page: FloatVector
) -> None:
    mean, squares, cross, reference = state[0], state[1], state[2], state[4]
    sxx = window * (window * window - 1.0) / 12.0
    half = 0.5 * (window - 1)
    if output == STD:
        for j in range(page.size):
            page[j] = np.sqrt((squares[j] if squares[j] > 0.0 else 0.0 * squares[j]) / (window - 1))
    elif output == VAR:
        for j in range(page.size):
            page[j] = (squares[j] if squares[j] > 0.0 else 0.0 * squares[j]) / (window - 1)
    elif output == SLOPE:
        for j in range(page.size):
            page[j] = cross[j] / sxx
    elif output == RESIDUAL:
        for j in range(page.size):
            page[j] = x[j] - reference[j] - (mean[j] + cross[j] / sxx * half)
    else:
        for j in range(page.size):
            flat = squares[j] <= window * (FLAT_TOLERANCE * (reference[j] + mean[j])) ** 2
            r = cross[j] * cross[j] / (sxx * squares[j])
            page[j] = np.nan if flat else (1.0 if r > 1.0 else r)


@njit(cache=True, nogil=True, error_model="numpy")
def sliding_moments(
    x: FloatMatrix,
    starts: tuple[IntVector, IntVector],
    offset: int,
    window: int,
    slots: IntVector,
    out: Pages,
) -> None:
    """Rolling standard deviation, variance, and straight line against time.

    With S the centred sums over the window and time 1..w, oldest first: sqrt(S_xx/(w-1));
    S_xx/(w-1); slope S_tx/S_tt; R-squared S_tx^2/(S_tt S_xx); newest value minus its line.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    starts : pair of ndarray of int64, one per run
        Of `run_starts`.
    offset : int
        Number of the first row in its history.
    window : int
        Rows, >= 2.
    slots : ndarray of int64, shape (5,)
        Pages for STD, VAR, SLOPE, RSQUARE, RESIDUAL; -1 = not wanted.
    out : ndarray of float64, shape (K, T, B)
        Pages; NaN where the window is not complete, and for RSQUARE where it is constant: a
        standard deviation below 1e-9 times the mean.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Notes
    -----
    Sliding update of mean and squares: Welford (1962), Technometrics 4(3), one value leaving for
    each value entering.

    Examples
    --------
    >>> x, out = np.array([[1.0], [2.0], [5.0]]), np.empty((1, 3, 1))
    >>> sliding_moments(x, run_starts(x), 0, 2, np.array([-1, -1, 0, -1, -1]), out)
    >>> out.ravel().tolist()
    [nan, 1.0, 3.0]
    """
    n_rows, width = x.shape
    rows, columns = starts
    state = np.full((5, width), np.nan)
    event = 0
    for t in range(n_rows):
        if t >= window - 1:
            if t == window - 1 or (t + offset) % ANCHOR_ROWS == 0:
                for j in range(width):
                    _fresh_moments(x, t, j, window, state)
            elif _slide_moments(x[t], x[t - window], window, state) > 0:
                for j in range(width):
                    if state[1, j] < LOST_DIGITS * state[3, j]:
                        _fresh_moments(x, t, j, window, state)
            while event < rows.size and rows[event] <= t - window + 1:
                if rows[event] == t - window + 1:
                    _fresh_moments(x, t, columns[event], window, state)
                event += 1
        for output in range(5):
            if slots[output] >= 0:
                _write_moment(output, window, x[t], state, out[slots[output], t])


@njit(cache=True, nogil=True, error_model="numpy")
def _fresh_pair(
    x: FloatMatrix, y: FloatMatrix, t: int, j: int, window: int, state: FloatMatrix
) -> None:
    mx = my = 0.0
    for s in range(t - window + 1, t + 1):
        mx += x[s, j]
        my += y[s, j]
    mx /= window
    my /= window
    rest_x = rest_y = xx = yy = xy = 0.0
    for s in range(t - window + 1, t + 1):
        dx, dy = x[s, j] - mx, y[s, j] - my
        rest_x += dx
        rest_y += dy
        xx += dx * dx
        yy += dy * dy
        xy += dx * dy
    state[0, j], state[1, j] = rest_x / window, rest_y / window
    state[2, j], state[3, j], state[4, j] = xx, yy, xy
    state[5, j], state[6, j] = xx, yy
    state[7, j], state[8, j] = mx, my


@njit(cache=True, nogil=True, error_model="numpy")
def _slide_pair(
    x: tuple[FloatVector, FloatVector],
    y: tuple[FloatVector, FloatVector],
    window: int,
    state: FloatMatrix,
) -> int:
    # Products grow by (x_new - mx0)(y_new - my1) - (x_old - mx0)(y_old - my1), squares by the same
    # with y = x. x and y are (new, old).
    mean_x, mean_y, xx, yy, xy = state[0], state[1], state[2], state[3], state[4]
    peak_x, peak_y, reference_x, reference_y = state[5], state[6], state[7], state[8]
    part = 1.0 / window
    stale = 0
    for j in range(xx.size):
        x_new, x_old = x[0][j] - reference_x[j], x[1][j] - reference_x[j]
        y_new, y_old = y[0][j] - reference_y[j], y[1][j] - reference_y[j]
        dx, dy = x_new - x_old, y_new - y_old
        mx0, my0 = mean_x[j], mean_y[j]
        mx1, my1 = mx0 + dx * part, my0 + dy * part
        gx = xx[j] + dx * (x_new - mx1 + x_old - mx0)
        gy = yy[j] + dy * (y_new - my1 + y_old - my0)
        xy[j] += (x_new - mx0) * (y_new - my1) - (x_old - mx0) * (y_old - my1)
        mean_x[j] = mx1
        mean_y[j] = my1
        xx[j] = gx
        yy[j] = gy
        peak_x[j] = peak_x[j] if peak_x[j] > gx else gx
        peak_y[j] = peak_y[j] if peak_y[j] > gy else gy
        stale += (gx < LOST_DIGITS * peak_x[j]) | (gy < LOST_DIGITS * peak_y[j])
    return stale


@njit(cache=True, nogil=True, error_model="numpy")
def _write_pair(output: int, window: int, state: FloatMatrix, page: FloatVector) -> None:
    xx, yy, xy, mx, my = state[2], state[3], state[4], state[7], state[8]
    if output == COVARIANCE:
        for j in range(page.size):
            page[j] = xy[j] / (window - 1)
        return
    for j in range(page.size):
        flat = (xx[j] <= window * (FLAT_TOLERANCE * (mx[j] + state[0, j])) ** 2) | (
            yy[j] <= window * (FLAT_TOLERANCE * (my[j] + state[1, j])) ** 2
        )
        r = xy[j] / np.sqrt(xx[j] * yy[j])
        r = 1.0 if r > 1.0 else (-1.0 if r < -1.0 else r)
        page[j] = np.nan if flat else r


@njit(cache=True, nogil=True, error_model="numpy")
def sliding_pairs(
    pair: tuple[FloatMatrix, FloatMatrix],
    starts: tuple[IntVector, IntVector],
    offset: int,
    window: int,
    slots: IntVector,
    out: Pages,
) -> None:
    """Rolling correlation and covariance (ddof 1) of two series.

    Parameters
    ----------
    pair : pair of ndarray of float64, shape (T, B)
        Any units; NaN = missing.
    starts : pair of ndarray of int64, one per run
        `run_starts` of the sum of the two.
    offset : int
        Number of the first row in its history.
    window : int
        Rows, >= 2.
    slots : ndarray of int64, shape (2,)
        Pages for CORRELATION and COVARIANCE; -1 = not wanted.
    out : ndarray of float64, shape (K, T, B)
        Pages; NaN where the window is not complete in both, and for the correlation where either
        is constant: a standard deviation below 1e-9 times the mean.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [2.0], [5.0]]), np.empty((1, 3, 1))
    >>> sliding_pairs((x, -x), run_starts(x), 0, 2, np.array([0, -1]), out)
    >>> out.ravel().round(12).tolist()
    [nan, -1.0, -1.0]
    """
    x, y = pair
    n_rows, width = x.shape
    rows, columns = starts
    state = np.full((9, width), np.nan)
    event = 0
    for t in range(n_rows):
        if t >= window - 1:
            if t == window - 1 or (t + offset) % ANCHOR_ROWS == 0:
                for j in range(width):
                    _fresh_pair(x, y, t, j, window, state)
            elif _slide_pair((x[t], x[t - window]), (y[t], y[t - window]), window, state) > 0:
                for j in range(width):
                    if (
                        state[2, j] < LOST_DIGITS * state[5, j]
                        or state[3, j] < LOST_DIGITS * state[6, j]
                    ):
                        _fresh_pair(x, y, t, j, window, state)
            while event < rows.size and rows[event] <= t - window + 1:
                if rows[event] == t - window + 1:
                    _fresh_pair(x, y, t, columns[event], window, state)
                event += 1
        for output in range(2):
            if slots[output] >= 0:
                _write_pair(output, window, state, out[slots[output], t])


@njit(cache=True, nogil=True, error_model="numpy")
def _decay_step(
    new: FloatVector, old: FloatVector, keep: float, tail: float, total: FloatVector
) -> None:
    for j in range(new.size):
        total[j] = keep * total[j] + new[j] - tail * old[j]


@njit(cache=True, nogil=True, error_model="numpy")
def sliding_decay(
    x: FloatMatrix,
    starts: tuple[IntVector, IntVector],
    offset: int,
    window: int,
    keep: float,
    out: FloatMatrix,
) -> None:
    """Rolling mean with weights keep^0, keep^1, ... keep^(w-1) from the newest value backwards.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    starts : pair of ndarray of int64, one per run
        Of `run_starts`.
    offset : int
        Number of the first row in its history.
    window : int
        Rows, >= 1.
    keep : float
        Ratio of a weight to the next newer one, a fraction in (0, 1).
    out : ndarray of float64, shape (T, B)
        Result; NaN where the window is not complete.

    Returns
    -------
    None
        Every row is written.

    Examples
    --------
    >>> x, out = np.array([[1.0], [2.0], [5.0]]), np.empty((3, 1))
    >>> sliding_decay(x, run_starts(x), 0, 2, 0.5, out)
    >>> out.ravel().tolist()
    [nan, 1.6666666666666667, 4.0]
    """
    n_rows, width = x.shape
    rows, columns = starts
    total = np.full(width, np.nan)
    nothing = np.zeros(width)
    tail = keep**window
    weights = (1.0 - tail) / (1.0 - keep)
    event = 0
    for t in range(n_rows):
        if t == window - 1 or (t >= window and (t + offset) % ANCHOR_ROWS == 0):
            total[:] = 0.0
            for s in range(t - window + 1, t + 1):
                _decay_step(x[s], nothing, keep, 0.0, total)
        elif t >= window:
            _decay_step(x[t], x[t - window], keep, tail, total)
        while event < rows.size and rows[event] <= t - window + 1:
            j = columns[event]
            if rows[event] == t - window + 1:
                total[j] = 0.0
                for s in range(t - window + 1, t + 1):
                    total[j] = keep * total[j] + x[s, j]
            event += 1
        for j in range(width):
            out[t, j] = total[j] / weights
