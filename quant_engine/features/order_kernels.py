"""Rolling kernels of order: extremes, quantiles and ranks, by the contract of `kernels`.

Nothing here is a running sum, so nothing drifts and no row is an anchor: extremes are followed by
their row, quantiles by a sorted window, ranks by counting.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.features.kernels import FloatBlock, IntVector, RunMatrix, SlotTable

__all__ = ["rolling_extremes", "rolling_quantile", "rolling_rank"]

# Not imported from `kernels`: numba's cache would not notice a change in another file.
TINY = 1e-12

COLUMN_BLOCK = 256
"""Assets per block of the sorted windows; 60 rows of it fit a second-level cache."""

# Rows of `slots` of `rolling_extremes`.
HIGHEST, LOWEST, PLACE_OF_HIGHEST, PLACE_OF_LOWEST, ORDER_OF_EXTREMES, POSITION = range(6)


@njit(cache=True, nogil=True, error_model="numpy")
def _rescan(values: FloatMatrix, t: int, j: int, window: int, sign: float) -> int:
    # Row of the largest sign*value of the window; the oldest of equals, as in Qlib's IdxMax.
    best = t - window + 1
    top = sign * values[best, j]
    for s in range(best + 1, t + 1):
        if sign * values[s, j] > top:
            top = sign * values[s, j]
            best = s
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _track(values: FloatMatrix, t: int, window: int, sign: float, rows: IntVector) -> None:
    # Follow the row of the extreme; look at the window again only when that row leaves it.
    for j in range(values.shape[1]):
        best = rows[j]
        if best <= t - window:
            rows[j] = _rescan(values, t, j, window, sign)
        elif sign * values[t, j] > sign * values[best, j]:
            rows[j] = t


@njit(cache=True, nogil=True, error_model="numpy")
def _extreme_value(
    output: int, highest: float, lowest: float, close: float, place_top: float, place_bottom: float
) -> float:
    if output == HIGHEST:
        return highest / close
    if output == LOWEST:
        return lowest / close
    if output == PLACE_OF_HIGHEST:
        return place_top
    if output == PLACE_OF_LOWEST:
        return place_bottom
    if output == ORDER_OF_EXTREMES:
        return place_top - place_bottom
    return (close - lowest) / (highest - lowest + TINY)


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_extremes(
    high: FloatMatrix,
    low: FloatMatrix,
    close: FloatMatrix,
    run: RunMatrix,
    windows: IntVector,
    slots: SlotTable,
    block: FloatBlock,
) -> None:
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
        Pages for HIGHEST, LOWEST, PLACE_OF_HIGHEST, PLACE_OF_LOWEST, ORDER_OF_EXTREMES, POSITION;
        -1 = not wanted.
    block : ndarray of float32 or float64, shape (F, T, N)
        Output pages; NaN where the window is not complete.

    Returns
    -------
    None
        Every row of every wanted page is written.

    Examples
    --------
    >>> from quant_engine.features.kernels import prepare
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
                    since_top = (top[k, j] - t + w) / w
                    since_bottom = (bottom[k, j] - t + w) / w
                    block[slot, t, j] = _extreme_value(
                        output,
                        high[top[k, j], j],
                        low[bottom[k, j], j],
                        close[t, j],
                        since_top,
                        since_bottom,
                    )


@njit(cache=True, nogil=True, error_model="numpy")
def _replace_sorted(
    ordered: FloatMatrix, window: int, old: FloatVector, new: FloatVector, carry: FloatVector
) -> None:
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
def _write_quantile(
    ordered: FloatMatrix,
    place: float,
    window: int,
    run: npt.NDArray[np.int32],
    scale: FloatMatrix,
    page: FloatBlock,
) -> None:
    i = min(int(place), max(window - 2, 0))
    share = place - i
    for c in range(page.size):
        if run[c] < window:
            page[c] = np.nan
        else:
            value = ordered[i, c]
            if share > 0.0:
                value += share * (ordered[i + 1, c] - value)
            page[c] = value * scale[c]


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_quantile(
    values: FloatMatrix,
    run: RunMatrix,
    scale: FloatMatrix,
    windows: IntVector,
    levels: FloatVector,
    slots: SlotTable,
    block: FloatBlock,
) -> None:
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
    >>> from quant_engine.features.kernels import prepare
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
                    if slots[q, k] >= 0:
                        _write_quantile(
                            ordered,
                            levels[q] * (w - 1),
                            w,
                            run[t, first : first + width],
                            scale[t, first : first + width],
                            block[slots[q, k], t, first : first + width],
                        )


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_rank(
    values: FloatMatrix, run: RunMatrix, windows: IntVector, slots: SlotTable, block: FloatBlock
) -> None:
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
    >>> from quant_engine.features.kernels import prepare
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
