"""The day loop of target weights: orders, fills, cash and shares, one session after another.

A session t, in order:

1. splits and changes of symbol move shares and marks, before the open (`apply_splits`);
2. interest on the cash balance, dividends of shares held over the previous close;
3. orders are sized from the target weights, equity and marks of the close of t-1 and fill in
   session t, at the price that `Market.fill` holds (`order_batch.trade_tranche`);
4. positions of assets that were delisted or halted too long are settled (`_settle_dead`);
5. every position is marked: today's close, or the last close of an asset without a bar (`_mark`);
6. borrow is charged on short market value, equity is cash plus positions.

So a fill can never precede its decision and a size never depends on the price it fills at. Only
with `Rules.same_bar` the orders of step 3 come last, sized and filled at the close of t itself.

Costs leave cash when they occur and are counted per kind. Each order is written once, as one narrow
record, into places made beforehand; the loop stops when they are used up and goes on in more. Round
trips are worked out from the orders afterwards (`round_trips`).
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.backtest.kernel_state import (
    BORROW,
    BY_CALL,
    BY_DELISTING,
    BY_HALT,
    BY_NO_BORROW,
    BY_REBALANCE,
    CASH,
    DAILY_COLUMNS,
    DIVIDENDS,
    EQUITY,
    INTEREST,
    LONG,
    N_LONG,
    N_SHORT,
    ORDER,
    SETTLEMENT,
    SHORT,
    Market,
    Rules,
    Simulated,
    apply_change,
    apply_splits,
    list_held,
    list_other,
    make_book,
    sum_net,
)
from quant_engine.backtest.order_batch import Decision, start_order, trade_tranche
from quant_engine.core.units import BPS
from quant_engine.execution.costs import borrow_cost
from quant_engine.execution.fills import FILLED


def simulate(
    market: Market,
    weights: npt.NDArray[np.float64],
    tranche: npt.NDArray[np.int64],
    n_tranches: int,
    rules: Rules,
    orders: npt.NDArray[np.void] | None = None,
) -> Simulated:
    """Run the day loop.

    Parameters
    ----------
    market : Market
        R sessions; on row 0 nothing fills.
    weights : ndarray of float64, shape (R, N)
        Target weights of the tranche re-decided after the close of each row.
    tranche : ndarray of int64, shape (R,)
        Tranche re-decided, or -1.
    n_tranches : int
        Number of tranches K.
    rules : Rules
        Assumptions.
    orders : ndarray of ORDER, optional
        Places to write to, for instance those of an earlier run; the result refers to them.

    Returns
    -------
    Simulated
        Daily matrix, positions, rows simulated and orders.
    """
    n_rows, n_assets = market.close.shape
    daily = np.zeros((n_rows, len(DAILY_COLUMNS)))
    daily[0, [EQUITY, CASH]] = rules.initial_equity
    positions = np.zeros((n_rows, n_assets))
    book = make_book(n_tranches, n_assets)
    # An order and a settlement per tranche and asset and session, at most.
    most = 2 * n_tranches * n_assets
    if orders is None or orders.size < most:
        # Places that are never written take no memory.
        orders = np.empty(2 * int(np.count_nonzero(weights)) + most, ORDER)
    decided = _Decided(_one_version(weights), _one_version(tranche))
    t, used, last = 0, 0, 0
    while not last:
        t, used, last = _run_rows(
            market, decided, rules, t, used, most, book, daily, positions, orders
        )
        if not last:
            orders = _grown(orders, used)
    return Simulated(daily, positions, last, orders[:used])


class _Decided(NamedTuple):
    weights: npt.NDArray[np.float64]
    tranche: npt.NDArray[np.int64]


def _one_version(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view in C order, so that the compiler makes one version."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def _grown(orders: npt.NDArray[np.void], used: int) -> npt.NDArray[np.void]:
    wider = np.empty(2 * orders.size, ORDER)
    wider[:used] = orders[:used]
    return wider


@njit(cache=True, nogil=True, error_model="numpy")
def _run_rows(market, decided, rules, start, used, most, book, daily, positions, orders):
    """Simulate from a row until the end (last > 0), or until the orders have no room."""
    # Arrays are taken out of their tuples once: to hand over a tuple counts each of them anew.
    close, can_trade, ratio = market.close, market.can_trade, market.split_ratio
    dividend, borrow, changes = market.dividend, market.borrow_bps_ann, market.changes
    shares, net, mark, idle = book.shares, book.net, book.mark, book.idle_sessions
    held, active, flags = book.held, book.active, book.flags
    has_borrow = rules.borrow_bps_ann != 0.0 or borrow.size > 0
    n_rows, n_held = close.shape[0], book.n_held[0]
    if start == 0:
        _mark(close[0], mark)
        start = 1
    for t in range(start, n_rows):
        if orders.size - used < most:
            book.n_held[0] = n_held
            return t, used, 0
        day, before = daily[t], daily[t - 1]
        day[CASH] = before[CASH]
        if not rules.same_bar and decided.tranche[t - 1] >= 0:
            book.target[:] = decided.weights[t - 1]
        if ratio.size > 0:
            apply_splits(ratio[t], shares, net, mark, flags, active)
        if changes.row.size > 0:
            _apply_changes(changes, t, book)
            n_held = list_held(shares, flags, held)
        day[INTEREST] = day[CASH] * rules.interest_bps_ann * BPS / rules.periods_per_year
        day[DIVIDENDS] = _sum_dividends(dividend, t, net, flags, active)
        day[CASH] += day[INTEREST] + day[DIVIDENDS]
        if not rules.same_bar:
            used = _trade_all(
                market, t, t - 1, decided.tranche[t - 1], rules, before, day, book, orders, used
            )
            n_held = list_held(shares, flags, held)
        if _count_idle(can_trade[t], held[:n_held], idle) > 0:
            n_orders = used
            used = _settle_dead(market, t, rules, day, book, n_held, orders, used)
            n_held = list_held(shares, flags, held) if used > n_orders else n_held
        _mark(close[t], mark)
        if has_borrow:
            day[BORROW] = _sum_borrow(borrow, t, rules, net, mark, held[:n_held])
            day[CASH] -= day[BORROW]
        _value(day, net, mark, held[:n_held], positions[t])
        if rules.same_bar and day[EQUITY] > 0.0:
            book.target[:] = decided.weights[t]
            used = _trade_all(market, t, t, decided.tranche[t], rules, day, day, book, orders, used)
            n_held = list_held(shares, flags, held)
            positions[t] = 0.0
            _value(day, net, mark, held[:n_held], positions[t])
        if not day[EQUITY] > 0.0:
            return t + 1, used, t + 1
    return n_rows, used, n_rows


@njit(cache=True, nogil=True)
def _apply_changes(changes, t, book):
    for c in range(changes.row.size):
        if changes.row[c] == t:
            apply_change(changes, c, book)


@njit(cache=True, nogil=True)
def _mark(close, mark):
    for i in range(close.size):
        # A choice without a branch is compiled into vectors.
        mark[i] = close[i] if np.isfinite(close[i]) else mark[i]


@njit(cache=True, nogil=True)
def _count_idle(can_trade, held, idle):
    """Sessions that each asset held could not be traded, and how many could not today."""
    n = 0
    for j in range(held.size):
        i = held[j]
        idle[i] = 0 if can_trade[i] else idle[i] + 1
        n += not can_trade[i]
    return n


@njit(cache=True, nogil=True)
def _sum_dividends(dividend, t, net, flags, columns):
    total = 0.0
    if dividend.size > 0:
        per_share = dividend[t]
        for j in range(list_other(per_share, 0.0, flags, columns)):
            total += net[columns[j]] * per_share[columns[j]]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _trade_all(market, t, d, k, rules, known, day, book, orders, used):
    """Orders decided at the close of row d: all out on a margin call, else tranche k and recalls.

    `known` is the account at that close.
    """
    equity = known[EQUITY]
    called = equity < rules.maintenance_margin_frac * (known[LONG] + known[SHORT])
    n_tranches = book.shares.shape[0]
    if called:
        book.target[:] = 0.0
    for j in range(n_tranches):
        if called or j == k:
            decision = Decision(t, d, j, BY_CALL if called else BY_REBALANCE, equity)
            used = trade_tranche(market, decision, rules, day, book, orders, used)
        elif market.shortable.size > 0:
            recall = Decision(t, d, j, BY_NO_BORROW, equity)
            used = trade_tranche(market, recall, rules, day, book, orders, used)
    return used


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def settlement(market, t, i, rules, mark, idle_sessions) -> tuple[int, float]:
    """Reason and price at which a position without a bar ends at row t; (-1, NaN) = it lives on.

    A delisted asset pays its terminal return on the last close; an asset that could not trade for
    the halt limit is written off at the halt return, because waiting longer to see whether it comes
    back would use the future. `idle_sessions` counts row t.
    """
    if t >= market.delist_row[i]:
        return BY_DELISTING, mark * (1.0 + market.terminal_return_frac[i])
    if idle_sessions >= rules.halt_limit_sessions:
        return BY_HALT, mark * (1.0 + rules.halt_return_frac)
    return -1, np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _settle_dead(market, t, rules, day, book, n_held, orders, used):
    """Close, without trading costs, positions of assets that will not trade again."""
    can_trade, shares, mark, net = market.can_trade[t], book.shares, book.mark, book.net
    for j in range(n_held):
        i = book.held[j]
        if can_trade[i]:
            continue
        reason, price = settlement(market, t, i, rules, mark[i], book.idle_sessions[i])
        if reason < 0:
            continue
        for k in range(shares.shape[0]):
            held = shares[k, i]
            if held == 0.0:
                continue
            order = orders[used]
            start_order(order, t, k, i, -held, np.nan, mark[i])
            order.reason = reason
            order.status = FILLED
            order.filled_shares = -held
            order.reference_price = price
            used += 1
            day[CASH] += held * price
            day[SETTLEMENT] += held * (price - mark[i])
            shares[k, i] = 0.0
            sum_net(shares, net, i)
        book.idle_sessions[i] = 0
    return used


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def borrow_fee(rates, t, i, rules, short_value) -> float:
    """Fee of a session on a short position, at the market's rate where it has one.

    `rates` is `Market.borrow_bps_ann`, taken out before the loop: an array in a tuple is counted
    at every use.
    """
    rate = rules.borrow_bps_ann
    if rates.size > 0 and np.isfinite(rates[t, i]):
        rate = rates[t, i] * rules.borrow_multiplier
    return borrow_cost(short_value, rate, rules.periods_per_year)


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_borrow(rates, t, rules, net, mark, held):
    """Fees on the net short value of each asset."""
    total = 0.0
    for j in range(held.size):
        i = held[j]
        # Without a branch on the sign, which cannot be predicted; a long pays on nothing.
        total += borrow_fee(rates, t, i, rules, max(0.0, -net[i] * mark[i]))
    return total


@njit(cache=True, nogil=True)
def _value(day, net, mark, held, position_values):
    long, short, n_long, n_short = 0.0, 0.0, 0, 0
    for j in range(held.size):
        i = held[j]
        value = net[i] * mark[i] if net[i] != 0.0 else 0.0
        position_values[i] = value
        long += max(0.0, value)
        short += max(0.0, -value)
        n_long += value > 0.0
        n_short += value < 0.0
    day[LONG], day[SHORT], day[N_LONG], day[N_SHORT] = long, short, n_long, n_short
    day[EQUITY] = day[CASH] + long - short
