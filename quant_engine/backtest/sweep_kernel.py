"""Kernels of sweeps: statistics of an equity path, and moving-average rules on packed columns.

A sweep reads one panel thousands of times, so its columns are packed: of a block of `BLOCK` assets
each asset's fields lie in the order of time and stay in the processor's cache while every variant
passes over them. Nothing of the size sessions x variants exists; a curve is computed again when it
is asked for, by the same code and therefore with the same bits.

A variant of averages passes over a column three times, each a plain loop over neighbours: which
average is above, where that makes it deal, and what it earns between two deals. Days are looked at
eight at a time for deals, and `DAYS` at a time for new highs and lows of equity.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

BLOCK = 32
"""Columns packed at a time, which bounds the memory that a sweep needs beside the panel."""

DAYS = 16
"""Sessions whose highest and lowest mark are kept: most of them hold no new high or low."""

WORD = 8
"""Sessions whose flags are read as one word."""

ONES = np.uint64(0x0101010101010101)
"""A word of eight flags that are set."""

EQUAL_FRAC = 1e-9
"""Averages closer than this fraction are equal: differences of running sums carry rounding."""

STATISTICS = (
    "total_return",
    "annual_return",
    "annual_vol",
    "sharpe",
    "max_drawdown",
    "turnover_ann",
    "n_trades",
    "n_sessions",
)
"""Columns of every sweep, in order."""

(TOTAL, ANNUAL, VOL, SHARPE, DRAWDOWN, TURNOVER, TRADES, SESSIONS) = range(len(STATISTICS))


class Columns(NamedTuple):
    """A block of packed columns, one row per asset, shape (B, R) unless said.

    `mark` is the last known close, at the delisting the terminal value; `high` and `low` (B, D)
    its extremes over `DAYS` rows; `total` (B, R + 1) its running sum since the first bar.
    `can_trade` (B, W) holds flags of bars that can fill, `WORD` rows to a word. `first` and `last`
    (B,) are the rows of the first bar and of the end; an asset without a bar has `first` = R.
    """

    open: npt.NDArray[np.float64]
    mark: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    can_trade: npt.NDArray[np.uint64]
    total: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def path_statistics(equity, traded, periods_per_year, out) -> None:
    """Statistics of one equity path, by the conventions of `quant_engine.stats.metrics`.

    Parameters
    ----------
    equity : ndarray of float64, shape (R,)
        Row 0 is the starting capital; above 0 except possibly in the last row.
    traded : ndarray of float64, shape (R,)
        Traded value per session, currency.
    periods_per_year : float
        Annualisation.
    out : ndarray of float64, shape (S,)
        Receives `STATISTICS` but ``n_trades``; NaN where a number does not exist.

    Examples
    --------
    >>> out = np.zeros(len(STATISTICS))
    >>> path_statistics(np.array([100.0, 110.0, 99.0]), np.array([0.0, 20.0, 0.0]), 252.0, out)
    >>> out[[TOTAL, DRAWDOWN]].round(6).tolist(), float(out[TURNOVER].round(6))
    ([-0.01, -0.1], 12.6)
    """
    n = equity.size - 1
    total = 0.0
    peak = equity[0]
    depth = 1.0
    turnover = 0.0
    for t in range(1, n + 1):
        total += equity[t] / equity[t - 1] - 1.0
        turnover += traded[t] / 2.0 / equity[t - 1]
        peak = max(peak, equity[t])
        depth = min(depth, equity[t] / peak)
    mean = total / n
    squares = 0.0
    for t in range(1, n + 1):
        gap = equity[t] / equity[t - 1] - 1.0 - mean
        squares += gap * gap
    _put_ratios(out, equity[n] / equity[0], mean, squares, n, periods_per_year)
    out[DRAWDOWN] = depth - 1.0
    out[TURNOVER] = turnover / n * periods_per_year


@njit(cache=True, nogil=True, error_model="numpy")
def _put_ratios(out, growth, mean, squares, n, periods_per_year):
    spread = np.sqrt(squares / (n - 1)) if n > 1 else np.nan
    out[TOTAL] = growth - 1.0
    out[ANNUAL] = growth ** (periods_per_year / n) - 1.0 if growth > 0.0 else -1.0
    out[VOL] = spread * np.sqrt(periods_per_year)
    out[SHARPE] = mean / spread * np.sqrt(periods_per_year) if spread > 0.0 else np.nan
    out[SESSIONS] = n


@njit(cache=True, nogil=True, error_model="numpy")
def sweep_averages(columns, pairs, weights, cost_frac, periods_per_year, out, curve) -> None:
    """Run every pair of averages over every column of a block.

    Parameters
    ----------
    columns : Columns
        Packed market.
    pairs : ndarray of int64, shape (V, 2)
        Fast and slow window, sessions.
    weights : ndarray of float64, shape (V, 2)
        Wanted weight above and not above.
    cost_frac : float
        Cost of trading, fraction of traded value.
    periods_per_year : float
        Annualisation.
    out : ndarray of float64, shape (V, B, S)
        Receives `STATISTICS`; NaN for a column without two bars.
    curve : ndarray of float64, shape (B, R) or (0, 0)
        Receives the equity of the last pair per unit of capital.
    """
    above = np.zeros(columns.can_trade.shape[1] * WORD, np.uint8)
    words, no_curve = above.view(np.uint64), np.empty(0)
    for b in range(columns.mark.shape[0]):
        first, last = columns.first[b], columns.last[b]
        if last <= first:
            out[:, b] = np.nan
            continue
        column = (columns.open[b], columns.mark[b], columns.high[b], columns.low[b])
        for v in range(pairs.shape[0]):
            start = min(first + pairs[v, 1], last + 1)
            _flag_above(columns.total[b], (start, last + 1), pairs[v, 0], pairs[v, 1], above)
            path = _run_column(
                column,
                (start, last + 1),
                (words, columns.can_trade[b]),
                (weights[v, 0], weights[v, 1]),
                cost_frac,
                curve[b] if curve.size > 0 else no_curve,
            )
            equity, depth, added, squared, traded, trades = path
            n = last - first
            mean = added / n
            squares = max(squared - n * mean * mean, 0.0)
            # What is left of equal returns is rounding, not spread.
            if squares <= 1e-14 * squared:
                squares = 0.0
            _put_ratios(out[v, b], equity, mean, squares, n, periods_per_year)
            out[v, b, DRAWDOWN] = depth - 1.0
            out[v, b, TURNOVER] = traded / 2.0 / n * periods_per_year
            out[v, b, TRADES] = trades


@njit(cache=True, nogil=True, error_model="numpy")
def _flag_above(total, rows, fast, slow, above) -> None:
    """Flag the rows on which the fast average is above the slow one."""
    start, stop = rows
    per_fast, per_slow = 1.0 / fast, (1.0 + EQUAL_FRAC) / slow
    # Slices that start where the loop does let the compiler handle several rows at once.
    ends, out = total[start:stop], above[start:stop]
    since_fast, since_slow = total[start - fast : stop - fast], total[start - slow : stop - slow]
    for i in range(ends.size):
        out[i] = (ends[i] - since_fast[i]) * per_fast > (ends[i] - since_slow[i]) * per_slow


@njit(cache=True, nogil=True, error_model="numpy")
def _run_column(column, rows, flags, weights, cost_frac, curve):
    """One account in one asset: equity, depth, sums of returns and squares, traded, trades."""
    opened, mark, high, low = column
    above, can_trade = flags
    start, stop = rows
    cash, shares, side, equity, peak, depth = 1.0, 0.0, 0.0, 1.0, 1.0, 1.0
    added, squared, traded, trades = 0.0, 0.0, 0.0, 0.0
    if curve.size > 0:
        curve[:] = 1.0
    t = _next_deal(above, can_trade, weights, side, start, stop)
    while t < stop and equity > 0.0:
        is_above = above[t // WORD] >> np.uint64(t % WORD * 8) & np.uint64(1)
        weight = weights[0] if is_above else weights[1]
        out = abs(shares) * opened[t]
        cash += shares * opened[t] - out * cost_frac
        trades += abs(side)
        shares = weight * cash / (opened[t] * (1.0 + cost_frac))
        into = abs(shares) * opened[t]
        cash -= shares * opened[t] + into * cost_frac
        traded += (out + into) / equity
        side = np.sign(weight)
        until = _next_deal(above, can_trade, weights, side, t + 1, stop)
        change = (cash + shares * mark[t]) / equity - 1.0
        added += change
        squared += change * change
        # An account without a position changes on the day of the deal alone.
        end = t + 1
        if side != 0.0:
            peak, depth, end = _lowest(cash, shares, mark, high, low, t, until, peak, depth)
            more, more_squared = _earned(cash, shares, mark, t, end)
            added += more
            squared += more_squared
        elif cash > peak:
            peak = cash
        elif cash < depth * peak:
            depth = cash / peak
        equity = cash + shares * mark[end - 1]
        if curve.size > 0:
            curve[t:end] = cash + shares * mark[t:end]
            curve[end:] = equity
        t = until
    return equity, depth, added, squared, traded, trades + abs(side)


@njit(cache=True, nogil=True, error_model="numpy")
def _next_deal(above, can_trade, weights, side, start, stop) -> int:
    """First row from start on at which the wanted side is another and a bar can fill, or stop."""
    on_above = ONES if np.sign(weights[0]) != side else np.uint64(0)
    on_below = ONES if np.sign(weights[1]) != side else np.uint64(0)
    t = start
    while t < stop:
        word = above[t // WORD]
        deals = ((word & on_above) | ((word ^ ONES) & on_below)) & can_trade[t // WORD]
        deals >>= np.uint64(t % WORD * 8)
        if deals == 0:
            t += WORD - t % WORD
            continue
        while deals & np.uint64(1) == 0:
            deals >>= np.uint64(8)
            t += 1
        return min(t, stop)
    return stop


@njit(cache=True, nogil=True, error_model="numpy")
def _lowest(cash, shares, mark, high, low, start, stop, peak, depth):
    """Follow peak and depth over held rows; return them and the end, earlier if all is lost."""
    floor = depth * peak
    t = start
    while t < stop:
        until = min(stop, (t // DAYS + 1) * DAYS)
        d = t // DAYS
        top, bottom = cash + shares * high[d], cash + shares * low[d]
        if shares < 0.0:
            top, bottom = bottom, top
        if top > peak or bottom < floor:
            for i in range(t, until):
                value = cash + shares * mark[i]
                if value > peak:
                    peak = value
                    floor = depth * peak
                elif value < floor:
                    depth = value / peak
                    floor = value
                    if not value > 0.0:
                        return peak, depth, i + 1
        t = until
    return peak, depth, stop


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc"})
def _earned(cash, shares, mark, start, stop):
    """Sums of the returns and their squares after the first row; sums may be taken in any order."""
    before, after = mark[start : stop - 1], mark[start + 1 : stop]
    added, squared = 0.0, 0.0
    for i in range(after.size):
        change = (cash + shares * after[i]) / (cash + shares * before[i]) - 1.0
        added += change
        squared += change * change
    return added, squared


@njit(cache=True, nogil=True)
def pack_columns(opened, close, can_trade, delist_row, terminal, start) -> Columns:
    """Copy a block of columns side by side.

    Parameters
    ----------
    opened, close : ndarray of float64, shape (R, N)
        Currency per share; NaN = not traded.
    can_trade : ndarray of bool, shape (R, N)
        Bars that can fill.
    delist_row : ndarray of int64, shape (N,)
        First row at which an asset is delisted; R or more = never.
    terminal : ndarray of float64, shape (N,)
        Simple return on the last close that a delisted asset pays.
    start : int
        First column of the block.

    Returns
    -------
    Columns
        Up to `BLOCK` columns.
    """
    n_rows = close.shape[0]
    width = min(BLOCK, close.shape[1] - start)
    mark = np.full((width, n_rows), np.nan)
    total = np.zeros((width, n_rows + 1))
    traded = np.zeros((width, (n_rows + WORD - 1) // WORD), np.uint64)
    n_parts = (n_rows + DAYS - 1) // DAYS
    high, low = np.full((width, n_parts), -np.inf), np.full((width, n_parts), np.inf)
    price = np.empty((width, n_rows))
    first = np.full(width, n_rows, np.int64)
    last = np.full(width, n_rows - 1, np.int64)
    for b in range(width):
        i = start + b
        for t in range(n_rows):
            price[b, t] = opened[t, i]
            if can_trade[t, i]:
                traded[b, t // WORD] |= np.uint64(1) << np.uint64(t % WORD * 8)
            if t > 0:
                mark[b, t] = mark[b, t - 1]
            if np.isfinite(close[t, i]):
                mark[b, t] = close[t, i]
                first[b] = min(first[b], t)
            total[b, t + 1] = total[b, t] + (mark[b, t] if t >= first[b] else 0.0)
            if t >= delist_row[i] and not can_trade[t, i] and t > first[b]:
                mark[b, t] *= 1.0 + terminal[i]
                last[b] = t
                break
        for t in range(first[b], last[b] + 1):
            high[b, t // DAYS] = max(high[b, t // DAYS], mark[b, t])
            low[b, t // DAYS] = min(low[b, t // DAYS], mark[b, t])
    return Columns(price, mark, high, low, traded, total, first, last)
