"""Facts of the trades and orders of a run that its metrics need, in one pass over the records.

A run has hundreds of thousands of records and a few dozen metrics; tables of all columns are for
people, who ask for them, and not for metrics.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.backtest.kernel_state import BY_DELISTING, BY_END, BY_HALT, REASONS
from quant_engine.core.arrays import FloatVector

__all__ = ["OrderFacts", "TradeFacts", "order_facts", "trade_facts"]

SETTLEMENTS = tuple(REASONS[code] for code in (BY_DELISTING, BY_HALT))
"""Reasons of rows of the order table that nobody ordered."""

STILL_OPEN = REASONS[BY_END]
"""Reason of the exit of a position that the end of the run left open."""


@dataclass(frozen=True, eq=False)
class TradeFacts:
    """Round trips of a run; vectors are of the C closed ones, in order of closing.

    Parameters
    ----------
    net_return : ndarray of float64, shape (C,)
        Net profit over the value bought into the position (fraction).
    pnl_net : ndarray of float64, shape (C,)
        Net profit, currency.
    holding_sessions : ndarray of int64, shape (C,)
        From the first fill to the last.
    n_open : int
        Positions still open at the end.
    n_exits : mapping of str to int
        Closed ones by reason, every reason of the run.
    """

    net_return: FloatVector
    pnl_net: FloatVector
    holding_sessions: npt.NDArray[np.int64]
    n_open: int
    n_exits: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class OrderFacts:
    """Orders of a run, without the settlements that nobody ordered.

    Parameters
    ----------
    n_orders, n_unfilled : int
        All of them, and those of which nothing filled.
    n_by_status : mapping of str to int
        Every status of the run.
    participation_frac : ndarray of float64
        Traded value over ADV of the orders for which it is finite.
    traded_value : ndarray of float64
        Of the orders that traded, currency.
    """

    n_orders: int
    n_unfilled: int
    n_by_status: Mapping[str, int]
    participation_frac: FloatVector
    traded_value: FloatVector


def trade_facts(trades: npt.NDArray[np.void], reasons: Sequence[str]) -> TradeFacts:
    """Collect the facts of the round trips.

    Parameters
    ----------
    trades : ndarray of records
        Of a `kernel.Run`.
    reasons : sequence of str
        Names of the codes of reasons.

    Returns
    -------
    TradeFacts

    Examples
    --------
    >>> from quant_engine.backtest.round_trips import LOT
    >>> lot = np.zeros(2, LOT)
    >>> lot["side"], lot["entry_value"], lot["exit_value"], lot["exit_row"] = 1, 100.0, 102.0, 3
    >>> lot["exit_reason"] = [0, BY_END]
    >>> facts = trade_facts(lot, REASONS)
    >>> facts.net_return, facts.holding_sessions, facts.n_open, facts.n_exits["rebalance"]
    (array([0.02]), array([3]), 1, 1)
    """
    is_open = np.array([name == STILL_OPEN for name in reasons])
    results, holding = np.empty((2, trades.size)), np.empty(trades.size, np.int64)
    counts = np.zeros(len(reasons), np.int64)
    n = _closed(trades, is_open, results, holding, counts)
    n_exits = {name: int(counts[code]) for code, name in enumerate(reasons) if name != STILL_OPEN}
    net, pnl = results[:, :n]
    return TradeFacts(net, pnl, holding[:n], int(trades.size) - n, n_exits)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def lot_pnl(lot):
    """Profit of a round trip before and after its costs, currency."""
    gross = lot.side * (lot.exit_value - lot.entry_value) + lot.dividends
    entry_cost = lot.entry_spread + lot.entry_impact
    exit_cost = lot.exit_spread + lot.exit_impact
    return gross, gross - entry_cost - exit_cost - lot.fees - lot.borrow


@njit(cache=True, nogil=True, error_model="numpy")
def _closed(trades, is_open, results, holding, counts):
    """Fill in net return, profit and sessions held of the closed trips; say how many."""
    n = 0
    for j in range(trades.size):
        lot = trades[j]
        counts[lot.exit_reason] += 1
        if is_open[lot.exit_reason]:
            continue
        net = lot_pnl(lot)[1]
        results[0, n], results[1, n] = net / lot.entry_value, net
        holding[n] = lot.exit_row - lot.entry_row
        n += 1
    return n


def order_facts(
    orders: npt.NDArray[np.void], reasons: Sequence[str], statuses: Sequence[str]
) -> OrderFacts:
    """Collect the facts of the orders.

    Parameters
    ----------
    orders : ndarray of records
        Of a `kernel.Run`.
    reasons, statuses : sequence of str
        Names of the codes.

    Returns
    -------
    OrderFacts

    Examples
    --------
    >>> from quant_engine.backtest.kernel_state import ORDER, STATUSES
    >>> order = np.zeros(2, ORDER)
    >>> order["filled_shares"], order["reference_price"] = [0.0, -5.0], 10.0
    >>> order["adv_value"], order["status"] = 1e3, [2, 0]
    >>> facts = order_facts(order, REASONS, STATUSES)
    >>> facts.n_orders, facts.n_by_status["no_bar"], facts.participation_frac, facts.traded_value
    (2, 1, array([0.  , 0.05]), array([50.]))
    """
    is_settled = np.array([name in SETTLEMENTS for name in reasons])
    share, value = np.empty((2, orders.size))
    counts = np.zeros(len(statuses), np.int64)
    n_unfilled, n_known, n_traded = _sent(orders, is_settled, share, value, counts)
    n_by_status = {name: int(counts[code]) for code, name in enumerate(statuses)}
    n_sent = int(counts.sum())
    return OrderFacts(n_sent, n_unfilled, n_by_status, share[:n_known], value[:n_traded])


@njit(cache=True, nogil=True, inline="always")
def order_value(order):
    """Traded value of an order, currency."""
    if order.filled_shares == 0.0:
        return 0.0
    return abs(order.filled_shares) * order.reference_price


@njit(cache=True, nogil=True, error_model="numpy")
def _sent(orders, is_settled, share, value, counts):
    """Fill in finite participations, traded values above 0 and orders by status."""
    n_unfilled, n_known, n_traded = 0, 0, 0
    for j in range(orders.size):
        order = orders[j]
        if is_settled[order.reason]:
            continue
        n_unfilled += order.filled_shares == 0.0
        counts[order.status] += 1
        traded = order_value(order)
        share[n_known] = traded / order.adv_value
        n_known += np.isfinite(share[n_known])
        if traded > 0.0:
            value[n_traded] = traded
            n_traded += 1
    return n_unfilled, n_known, n_traded
