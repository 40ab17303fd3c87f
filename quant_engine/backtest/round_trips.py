"""Round trips of a run of target weights, worked out from its orders.

The orders, splits, dividends and borrow fees of a run are walked through once more, in the order of
the day loop, and booked per tranche and asset. So the day loop keeps no records of its own, and
the results of the trips, with the interest, add up to the change of equity.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.backtest.kernel import borrow_fee, simulate
from quant_engine.backtest.kernel_state import (
    BY_CHANGE,
    BY_END,
    EQUITY,
    FEES,
    IMPACT,
    SPREAD,
    Market,
    Rules,
    Run,
    Simulated,
    apply_change,
    apply_splits,
    list_other,
    make_book,
    sum_net,
)

LOT = np.dtype(
    [
        ("asset", np.int64),
        ("tranche", np.int64),
        ("side", np.int64),
        ("decision_row", np.int64),
        ("entry_row", np.int64),
        ("exit_row", np.int64),
        ("exit_reason", np.int64),
        ("decided_asset", np.int64),
        ("equity_at_decision", np.float64),
        ("first_value", np.float64),
        ("ordered_shares", np.float64),
        ("entry_shares", np.float64),
        ("entry_value", np.float64),
        ("entry_decision_value", np.float64),
        ("exit_shares", np.float64),
        ("exit_value", np.float64),
        ("exit_decision_value", np.float64),
        ("entry_spread", np.float64),
        ("entry_impact", np.float64),
        ("exit_spread", np.float64),
        ("exit_impact", np.float64),
        ("fees", np.float64),
        ("borrow", np.float64),
        ("dividends", np.float64),
    ]
)
"""One round trip of a tranche in an asset, from flat to flat.

Shares and values are positive sums over its entry and exit fills at reference prices; costs are
positive, dividends signed. Shares are those of the last session: a split multiplies them.
`decided_asset` is the column whose score opened it, another one than `asset` after a change of
symbol.
"""


def run_weights(
    market: Market,
    weights: npt.NDArray[np.float64],
    tranche: npt.NDArray[np.int64],
    n_tranches: int,
    rules: Rules,
) -> Run:
    """Simulate target weights, with all records.

    Parameters
    ----------
    market : Market
        R sessions.
    weights : ndarray of float64, shape (R, N)
        Target weights of the tranche re-decided after the close of each row.
    tranche : ndarray of int64, shape (R,)
        Tranche re-decided, or -1.
    n_tranches : int
        Number of tranches K.
    rules : Rules
        Assumptions.

    Returns
    -------
    Run
        Daily matrix, positions, orders and round trips.
    """
    done = simulate(market, weights, tranche, n_tranches, rules)
    trades = round_trips(market, done, n_tranches, rules)
    return Run(done.daily, done.positions, done.n_rows, done.orders, trades)


def round_trips(
    market: Market, done: Simulated, n_tranches: int, rules: Rules
) -> npt.NDArray[np.void]:
    """Work out the round trips of a run.

    Parameters
    ----------
    market : Market
        Of the run.
    done : Simulated
        What the day loop left.
    n_tranches : int
        Number of tranches K.
    rules : Rules
        Of the run.

    Returns
    -------
    ndarray of LOT
        Closed round trips in order of closing, then those open at the end.
    """
    n_assets = market.close.shape[1]
    # An order closes at most one lot, a change of symbol two; the rest is open at the end.
    most = done.orders.size + n_tranches * (n_assets + 2 * market.changes.row.size)
    trades = np.empty(most, LOT)
    book = make_book(n_tranches, n_assets)
    lots = np.zeros((n_tranches, n_assets), LOT)
    held = _held_at_decision(done, rules)
    n_trades = _replay(market, done.orders, done.n_rows, held, rules, book, lots, trades)
    return trades[:n_trades]


def _held_at_decision(done: Simulated, rules: Rules) -> npt.NDArray[np.float64]:
    """Equity that the orders of each row were sized with."""
    equity = done.daily[:, EQUITY]
    if rules.same_bar:
        return equity + done.daily[:, [FEES, SPREAD, IMPACT]].sum(axis=1)
    return np.concatenate([equity[:1], equity[:-1]])


@njit(cache=True, nogil=True, error_model="numpy")
def _replay(market, orders, n_rows, equity, rules, book, lots, trades):
    n_trades, p, n_orders = 0, 0, orders.size
    mark, net, shares, held = book.mark, book.net, book.shares, book.held
    rates, dividend, ratio = market.borrow_bps_ann, market.dividend, market.split_ratio
    charges = rules.borrow_bps_ann != 0.0 or rates.size > 0
    for t in range(n_rows):
        if t > 0 and (ratio.size > 0 or market.changes.row.size > 0):
            n_trades = _reorganise(market, t, book, lots, trades, n_trades)
        if dividend.size > 0 and t > 0:
            _share_dividends(dividend[t], shares, lots, book.flags, held)
        # Orders decided by the close of t itself come after its borrow fee.
        while p < n_orders and orders[p].row == t and orders[p].decision_row < t:
            n_trades = _book_order(orders[p], equity[t], shares, net, lots, trades, n_trades)
            p += 1
        close = market.close[t]
        for i in range(close.size):
            mark[i] = close[i] if np.isfinite(close[i]) else mark[i]
        if charges and t > 0:
            for j in range(_list_short(net, held)):
                i = held[j]
                fee = borrow_fee(rates, t, i, rules, -net[i] * mark[i])
                _share_borrow(fee, i, shares, lots)
        while p < n_orders and orders[p].row == t:
            n_trades = _book_order(orders[p], equity[t], shares, net, lots, trades, n_trades)
            p += 1
    return _close_open_lots(n_rows - 1, book, lots, trades, n_trades)


@njit(cache=True, nogil=True)
def _list_short(net, columns):
    """List the columns held short; say how many."""
    n = 0
    for i in range(net.size):
        columns[n] = i
        n += net[i] < 0.0
    return n


@njit(cache=True, nogil=True)
def _share_dividends(per_share, shares, lots, flags, columns):
    for j in range(list_other(per_share, 0.0, flags, columns)):
        i = columns[j]
        for k in range(shares.shape[0]):
            if shares[k, i] != 0.0:
                lots[k, i].dividends += shares[k, i] * per_share[i]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _share_borrow(fee, i, shares, lots):
    """Share the fee of an asset's net short value among its short tranches."""
    gross_short = 0.0
    for k in range(shares.shape[0]):
        gross_short += max(0.0, -shares[k, i])
    for k in range(shares.shape[0]):
        if shares[k, i] < 0.0:
            lots[k, i].borrow += fee * -shares[k, i] / gross_short


@njit(cache=True, nogil=True, error_model="numpy")
def _reorganise(market, t, book, lots, trades, n_trades):
    """Splits of a row, then its changes of symbol one after the other, each with its lots."""
    changes = market.changes
    if market.split_ratio.size > 0:
        _scale_lots(market.split_ratio[t], lots, book.flags, book.active)
        apply_splits(
            market.split_ratio[t], book.shares, book.net, book.mark, book.flags, book.active
        )
    for c in range(changes.row.size):
        if changes.row[c] == t:
            n_trades = _move_lots(changes, c, book, lots, trades, n_trades)
            apply_change(changes, c, book)
    return n_trades


@njit(cache=True, nogil=True)
def _scale_lots(ratio, lots, flags, columns):
    for j in range(list_other(ratio, 1.0, flags, columns)):
        for k in range(lots.shape[0]):
            _scale_lot(lots[k, columns[j]], ratio[columns[j]])


@njit(cache=True, nogil=True, error_model="numpy")
def _move_lots(changes, c, book, lots, trades, n_trades):
    """Move the lots of a change of symbol, before the shares themselves move."""
    shares, mark = book.shares, book.mark
    old, new, per_share = changes.source[c], changes.target[c], changes.ratio[c]
    for k in range(shares.shape[0]):
        if shares[k, old] == 0.0:
            continue
        lot = lots[k, old]
        if shares[k, new] == 0.0:
            _scale_lot(lot, per_share)
            lots[k, new] = lot
            lots[k, new].asset = new
            _clear(lot)
            continue
        # Both are held: the old one ends at its mark and goes into the new one, without cost.
        n_trades = _pour(
            changes.row[c], k, old, new, mark[old], per_share, shares, lots, trades, n_trades
        )
    return n_trades


@njit(cache=True, nogil=True, error_model="numpy")
def _pour(t, k, old, new, price, per_share, shares, lots, trades, n_trades):
    """End the lot of the old column at its mark; add its shares to the lot of the new one."""
    held = shares[k, old]
    _reduce(lots[k, old], abs(held), price, price, 0.0, 0.0, 0.0)
    _emit(lots[k, old], t, BY_CHANGE, trades, n_trades)
    n_trades += 1
    arriving = held * per_share
    price /= per_share
    into = lots[k, new]
    before = shares[k, new]
    if before * arriving > 0.0:
        _add(into, abs(arriving), price, price)
        return n_trades
    closing = min(abs(before), abs(arriving))
    _reduce(into, closing, price, price, 0.0, 0.0, 0.0)
    rest = before + arriving
    if rest * before <= 0.0:
        _emit(into, t, BY_CHANGE, trades, n_trades)
        n_trades += 1
        if rest != 0.0:
            _start(into, t - 1, t, k, new, 1 if rest > 0.0 else -1)
            into.first_value = abs(rest) * price
            into.equity_at_decision = np.nan
            _add(into, abs(rest), price, price)
    return n_trades


@njit(cache=True, nogil=True, inline="always")
def _add(lot, shares, price, decision_price):
    lot.ordered_shares += shares
    lot.entry_shares += shares
    lot.entry_value += shares * price
    lot.entry_decision_value += shares * decision_price


@njit(cache=True, nogil=True, inline="always")
def _start(lot, decision_row, row, k, i, side):
    lot.asset = i
    lot.decided_asset = i
    lot.tranche = k
    lot.side = side
    lot.decision_row = decision_row
    lot.entry_row = row


@njit(cache=True, nogil=True, inline="always")
def _scale_lot(lot, ratio):
    lot.ordered_shares *= ratio
    lot.entry_shares *= ratio
    lot.exit_shares *= ratio


@njit(cache=True, nogil=True, inline="always")
def _reduce(lot, closing, price, decision_price, spread, impact, fee):
    lot.exit_shares += closing
    lot.exit_value += closing * price
    lot.exit_decision_value += closing * decision_price
    lot.exit_spread += spread
    lot.exit_impact += impact
    lot.fees += fee


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _book_order(order, equity, shares, net, lots, trades, n_trades):
    """Split a fill into the part that closes a lot and the part that opens one."""
    filled = order.filled_shares
    k, i, row = order.tranche, order.asset, order.row
    price, decision_price = order.reference_price, order.decision_price
    spread, impact, fee = order.spread, order.impact, order.fee
    lot = lots[k, i]
    held = shares[k, i]
    after = held + filled
    closing = 0.0
    if held * filled < 0.0:
        closing = min(abs(held), abs(filled))
        part = closing / abs(filled)
        _reduce(lot, closing, price, decision_price, spread * part, impact * part, fee * part)
        if after * held <= 0.0:
            _emit(lot, row, order.reason, trades, n_trades)
            n_trades += 1
    opening = abs(filled) - closing
    if opening > 0.0 and after != 0.0:
        part = opening / abs(filled)
        if lot.side == 0:
            _start(lot, order.decision_row, row, k, i, 1 if after > 0.0 else -1)
            lot.equity_at_decision = equity
            lot.first_value = opening * price
        # Of an order that also closed the old side, only the rest was meant to open this one.
        lot.ordered_shares += abs(order.ordered_shares) - (abs(filled) - opening)
        lot.entry_shares += opening
        lot.entry_value += opening * price
        lot.entry_decision_value += opening * decision_price
        lot.entry_spread += spread * part
        lot.entry_impact += impact * part
        lot.fees += fee * part
    shares[k, i] = after
    sum_net(shares, net, i)
    return n_trades


@njit(cache=True, nogil=True, inline="always")
def _emit(lot, row, reason, trades, n_trades):
    """Write a closed lot to the trade records and clear it."""
    lot.exit_row = row
    lot.exit_reason = reason
    trades[n_trades] = lot
    _clear(lot)


@njit(cache=True, nogil=True, inline="always")
def _clear(lot):
    lot.side = 0
    lot.ordered_shares = 0.0
    lot.entry_shares = 0.0
    lot.entry_value = 0.0
    lot.entry_decision_value = 0.0
    lot.exit_shares = 0.0
    lot.exit_value = 0.0
    lot.exit_decision_value = 0.0
    lot.entry_spread = 0.0
    lot.entry_impact = 0.0
    lot.exit_spread = 0.0
    lot.exit_impact = 0.0
    lot.fees = 0.0
    lot.borrow = 0.0
    lot.dividends = 0.0


@njit(cache=True, nogil=True)
def _close_open_lots(row, book, lots, trades, n_trades):
    """Write what is still held at the end as trades at the last close, without exit costs."""
    for k in range(book.shares.shape[0]):
        for i in range(book.shares.shape[1]):
            held = abs(book.shares[k, i])
            if held == 0.0:
                continue
            _reduce(lots[k, i], held, book.mark[i], book.mark[i], 0.0, 0.0, 0.0)
            _emit(lots[k, i], row, BY_END, trades, n_trades)
            n_trades += 1
    return n_trades
