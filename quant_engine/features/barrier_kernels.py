"""Triple-barrier kernels: which barrier a price path meets first, and at which price it is left.

Contract of both scans
----------------------
1. Prices are symbol-major, shape (N, T), and events are grouped by asset (`group_by_asset`), so
   that a path is read from consecutive memory that is still in the cache.
2. A path starts at the entry bar and ends at the first touch; nothing after it is read, and
   nothing after the last bar of the window.
3. Levels know the direction of the bet: a short position has its profit level below the entry
   price and its stop level above.
4. Both scans begin with the same lines. In a function of their own they cost 25 ns per event, more
   than half of the whole path, because a call with groups of arrays counts references to each.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatVector

__all__ = [
    "AT_CLOSE",
    "AT_LAST_CLOSE",
    "AT_LEVEL",
    "AT_OPEN",
    "DELISTED",
    "NO_ENTRY",
    "NO_EXIT",
    "NO_ROW",
    "OPEN",
    "PROFIT",
    "STOP",
    "VERTICAL",
    "EventArrays",
    "Levels",
    "PathArrays",
    "Touches",
    "group_by_asset",
    "scan_bars",
    "scan_closes",
]

IntVector: TypeAlias = npt.NDArray[np.int64]
RowVector: TypeAlias = npt.NDArray[np.int32]
Codes: TypeAlias = npt.NDArray[np.int8]

STOP, VERTICAL, PROFIT, DELISTED, OPEN, NO_ENTRY = -1, 0, 1, 2, 3, 4
"""How an event ended; the last two have no label."""

NO_EXIT, AT_CLOSE, AT_OPEN, AT_LEVEL, AT_LAST_CLOSE = range(5)
"""Which price an event was left at."""

NO_ROW = -1
"""Row of an exit that did not happen, and the end of a window without one."""


class PathArrays(NamedTuple):
    """Prices of every asset, symbol-major, and how assets end.

    Parameters
    ----------
    open, high, low, close : ndarray of float64, shape (N, T)
        One currency; NaN = not traded. Shape (0, 0) for a field that is absent.
    cash : ndarray of float64, shape (N, T)
        Dividends per share on the ex-session that the prices do not hold; (0, 0) when none.
    dead_row : ndarray of int64, shape (N,)
        First row from which an asset counts as delisted; beyond every row without one.
    gone_row : ndarray of int64, shape (N,)
        First row from `dead_row` on without open and close, at which holders are paid out.
    terminal_frac : ndarray of float64, shape (N,)
        Simple return on the last close that holders then receive.
    """

    open: FloatVector
    high: FloatVector
    low: FloatVector
    close: FloatVector
    cash: FloatVector
    dead_row: IntVector
    gone_row: IntVector
    terminal_frac: FloatVector


class EventArrays(NamedTuple):
    """Events grouped by asset.

    Parameters
    ----------
    first : ndarray of int64, shape (N + 1,)
        Events of asset a stand at ``first[a]`` up to ``first[a + 1]``.
    row : ndarray of int32, shape (E,)
        Decision row.
    target_frac : ndarray of float64, shape (E,)
        Unit of the barriers, fraction of the entry price; NaN = no event.
    side : ndarray of int8, shape (E,)
        1 long, -1 short, 0 no bet.
    last_row : ndarray of int32, shape (E,)
        Last row of each window, `NO_ROW` = without end; shape (0,) where the holding period of
        `Levels` decides.
    given : ndarray of int32, shape (E,)
        Place of each event in the order in which the events were given.
    """

    first: IntVector
    row: RowVector
    target_frac: FloatVector
    side: Codes
    last_row: RowVector
    given: RowVector


class Levels(NamedTuple):
    """Barriers and entry, the same for every event.

    Parameters
    ----------
    profit, stop : float
        Multiples of the target; 0 = no such barrier.
    min_target_frac : float
        Targets up to this are no event.
    entry_lag : int
        Bars between decision and entry.
    holding : int
        Bars between entry and the end of the window; `NO_ROW` = without end.
    at_open : bool
        Whether the entry is at the open.
    whole_windows : bool
        Whether an event whose window runs past the data has no label even when touched.
    """

    profit: float
    stop: float
    min_target_frac: float
    entry_lag: int
    holding: int
    at_open: bool
    whole_windows: bool


class Touches(NamedTuple):
    """Results, in the order of the events.

    Parameters
    ----------
    exit_row : ndarray of int32, shape (E,)
        Row of the exit; `NO_ROW` without a label.
    ret_frac : ndarray of float64, shape (E,)
        Simple return in the direction of the side, with cash; NaN without a label.
    barrier, price : ndarray of int8, shape (E,)
        How it ended, and at which price.
    """

    exit_row: RowVector
    ret_frac: FloatVector
    barrier: Codes
    price: Codes


@njit(cache=True, nogil=True, error_model="numpy")
def group_by_asset(
    asset: IntVector, n_assets: int, given: tuple[IntVector, FloatVector, Codes, IntVector]
) -> EventArrays:
    """Stable counting sort of events by asset.

    Parameters
    ----------
    asset : ndarray of int64, shape (E,)
        Column of each event, in [0, n_assets).
    n_assets : int
        Columns.
    given : tuple of ndarray
        Rows, targets (fraction), sides and last rows of `EventArrays` in the order of `asset`.

    Returns
    -------
    EventArrays
        The events asset by asset, otherwise in the order in which they were given.
    """
    row, target_frac, side, last_row = given
    n = asset.size
    first = np.zeros(n_assets + 1, dtype=np.int64)
    for i in range(n):
        first[asset[i] + 1] += 1
    for a in range(n_assets):
        first[a + 1] += first[a]
    place = first.copy()
    rows, lasts = np.empty(n, dtype=np.int32), np.empty(last_row.size, dtype=np.int32)
    targets, sides = np.empty(n), np.empty(n, dtype=np.int8)
    order = np.empty(n, dtype=np.int32)
    for i in range(n):
        p = place[asset[i]]
        place[asset[i]] = p + 1
        rows[p] = row[i]
        targets[p] = target_frac[i]
        sides[p] = side[i]
        order[p] = i
        if last_row.size > 0:
            lasts[p] = last_row[i]
    return EventArrays(first, rows, targets, sides, lasts, order)


@njit(cache=True, nogil=True, error_model="numpy")
def _stand_in(paths: PathArrays, a: int, entry: int, row: int) -> float:
    # What replaces a missing price at the end of a window: the last close of the path, times what
    # a delisting pays.
    for r in range(row, entry - 1, -1):
        close = paths.close[a, r]
        if close > 0.0:
            if paths.dead_row[a] <= row:
                close *= 1.0 + paths.terminal_frac[a]
            return close
    return np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _ended(
    paths: PathArrays, a: int, entry: int, end: int, at_open: bool
) -> tuple[int, int, float, int]:
    # Row, way, price and price type of a path that met no barrier up to the end of its window.
    n_rows = paths.close.shape[1]
    gone = paths.gone_row[a]
    if gone < n_rows and (end < 0 or gone <= end):
        return gone, DELISTED, _stand_in(paths, a, entry, gone), AT_LAST_CLOSE
    if end < 0 or end >= n_rows:
        return NO_ROW, OPEN, np.nan, NO_EXIT
    price = paths.open[a, end] if at_open else paths.close[a, end]
    if price > 0.0:
        return end, VERTICAL, price, AT_OPEN if at_open else AT_CLOSE
    return end, VERTICAL, _stand_in(paths, a, entry, end), AT_LAST_CLOSE


@njit(cache=True, nogil=True, error_model="numpy")
def _received(cash: FloatVector, a: int, entry: int, row: int) -> float:
    # Who holds before the open of an ex-session gets its dividend: rows entry + 1 .. row.
    total = 0.0
    for r in range(entry + 1, row + 1):
        total += cash[a, r]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _window_end(last_row: RowVector, holding: int, i: int, entry: int) -> int:
    if last_row.size > 0:
        return np.int64(last_row[i])
    return entry + holding if holding >= 0 else NO_ROW


@njit(cache=True, nogil=True, error_model="numpy")
def _refused(out: Touches, i: int, reason: int) -> None:
    out.exit_row[i] = NO_ROW
    out.barrier[i] = reason
    out.price[i] = NO_EXIT
    out.ret_frac[i] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _left(
    out: Touches, i: int, exit_: tuple[int, int, int], money: float, base: float, side: float
) -> None:
    # A path that ended without any price of its own has no label.
    row, barrier, kind = exit_
    if row >= 0 and np.isnan(money):
        row, barrier, kind = NO_ROW, NO_ENTRY, NO_EXIT
    out.exit_row[i] = row
    out.barrier[i] = barrier
    out.price[i] = kind
    out.ret_frac[i] = (money / base - 1.0) * side


@njit(cache=True, nogil=True, error_model="numpy")
def _crossed(x: float, gain: float, loss: float, otherwise: int) -> int:
    if x > gain:
        return PROFIT
    return STOP if x < loss else otherwise


@njit(cache=True, nogil=True, error_model="numpy")
def scan_closes(paths: PathArrays, events: EventArrays, levels: Levels, out: Touches) -> None:
    """First touch on the path of closes; both comparisons are strict.

    Parameters
    ----------
    paths : PathArrays
        Prices, shape (N, T).
    events : EventArrays
        Events, shape (E,).
    levels : Levels
        Barriers and entry.
    out : Touches
        Results, shape (E,), overwritten.

    Returns
    -------
    None
    """
    close, gone_row, cash = paths.close, paths.gone_row, paths.cash
    entries = paths.open if levels.at_open else close
    n_rows = close.shape[1]
    for a in range(close.shape[0]):
        for i in range(events.first[a], events.first[a + 1]):
            entry = np.int64(events.row[i]) + levels.entry_lag
            side, target = float(events.side[i]), events.target_frac[i]
            base = entries[a, entry] if entry < n_rows else np.nan
            if not (base > 0.0 and target > levels.min_target_frac and side != 0.0):
                _refused(out, i, NO_ENTRY)
                continue
            end = _window_end(events.last_row, levels.holding, i, entry)
            if levels.whole_windows and end >= n_rows:
                _refused(out, i, OPEN)
                continue
            gain = levels.profit * target if levels.profit > 0.0 else np.inf
            loss = -levels.stop * target if levels.stop > 0.0 else -np.inf
            last = min(n_rows if end < 0 else end + 1, min(n_rows, gone_row[a]))
            row, x = entry, 0.0
            while row < last:
                x = (close[a, row] / base - 1.0) * side
                if (x > gain) | (x < loss):
                    break
                row += 1
            barrier, price, kind = OPEN, np.nan, AT_CLOSE
            if row < last:
                price = close[a, row]
            else:
                row, barrier, price, kind = _ended(paths, a, entry, end, False)
                x = (price / base - 1.0) * side
            barrier = _crossed(x, gain, loss, barrier)
            money = price + (_received(cash, a, entry, row) if cash.size > 0 else 0.0)
            _left(out, i, (row, barrier, kind), money, base, side)


@njit(cache=True, nogil=True, error_model="numpy")
def _level(base: float, side: float, multiple: float, target: float) -> float:
    # Price that lies `multiple` targets in the direction `side`; out of reach without a multiple.
    return base * (1.0 + side * multiple * target) if multiple > 0.0 else side * np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def _reached(price: float, side: float, profit: float, stop: float, otherwise: int) -> int:
    # A resting stop order goes off when its level is touched; a limit order is sure to be filled
    # only when the price goes through it.
    if side * price <= side * stop:
        return STOP
    return PROFIT if side * price > side * profit else otherwise


@njit(cache=True, nogil=True, error_model="numpy")
def _in_bar(
    opened: float, extremes: tuple[float, float], side: float, profit: float, stop: float
) -> tuple[int, float, int]:
    # Barrier, price and price type of one bar: at its open, else the stop, else the profit.
    high, low = extremes
    barrier = _reached(opened, side, profit, stop, OPEN)
    if barrier != OPEN:
        return barrier, opened, AT_OPEN
    if _reached(low if side > 0.0 else high, side, profit, stop, OPEN) == STOP:
        return STOP, stop, AT_LEVEL
    return _reached(high if side > 0.0 else low, side, profit, stop, OPEN), profit, AT_LEVEL


@njit(cache=True, nogil=True, error_model="numpy")
def scan_bars(paths: PathArrays, events: EventArrays, levels: Levels, out: Touches) -> None:
    """First touch inside bars: gaps fill at the open, a bar that meets both barriers is a stop.

    Parameters
    ----------
    paths : PathArrays
        Prices, shape (N, T).
    events : EventArrays
        Events, shape (E,).
    levels : Levels
        Barriers and entry.
    out : Touches
        Results, shape (E,), overwritten.

    Returns
    -------
    None
    """
    high, low, gone_row, cash = paths.high, paths.low, paths.gone_row, paths.cash
    entries = paths.open if levels.at_open else paths.close
    n_rows = high.shape[1]
    # A window that starts at an open ends at one, so of its last bar the open alone belongs to it;
    # one that starts at a close ends at a close, and its entry bar is over.
    skipped = 0 if levels.at_open else 1
    for a in range(high.shape[0]):
        for i in range(events.first[a], events.first[a + 1]):
            entry = np.int64(events.row[i]) + levels.entry_lag
            side, target = float(events.side[i]), events.target_frac[i]
            base = entries[a, entry] if entry < n_rows else np.nan
            if not (base > 0.0 and target > levels.min_target_frac and side != 0.0):
                _refused(out, i, NO_ENTRY)
                continue
            end = _window_end(events.last_row, levels.holding, i, entry)
            if levels.whole_windows and end >= n_rows:
                _refused(out, i, OPEN)
                continue
            profit = _level(base, side, levels.profit, target)
            stop = _level(base, -side, levels.stop, target)
            upper, lower = max(profit, stop), min(profit, stop)
            last = min(n_rows if end < 0 else end + skipped, min(n_rows, gone_row[a]))
            row, barrier, price, kind = entry + skipped, OPEN, np.nan, NO_EXIT
            while row < last:
                if (high[a, row] >= upper) | (low[a, row] <= lower):
                    bar = high[a, row], low[a, row]
                    barrier, price, kind = _in_bar(paths.open[a, row], bar, side, profit, stop)
                    if barrier != OPEN:
                        break
                row += 1
            if row >= last:
                row, barrier, price, kind = _ended(paths, a, entry, end, levels.at_open)
                barrier = _reached(price, side, profit, stop, barrier)
            money = price + (_received(cash, a, entry, row) if cash.size > 0 else 0.0)
            _left(out, i, (row, barrier, kind), money, base, side)
