"""The day loop: orders, fills, cash and shares, one session after another.

A session t, in order:

1. orders are sized from the target weights, equity and marks of the close of t-1 (`_plan_orders`);
2. interest on the cash balance, dividends of shares held over the previous close (`_pay_income`);
3. the orders fill at the open of t (`_execute_orders`);
4. positions of assets that were delisted or halted too long are settled (`_settle_dead`);
5. every position is marked: today's close, or the last close of an asset without a bar (`_mark`);
6. borrow is charged on short market value (`_charge_borrow`), equity is cash plus positions.

So a fill can never precede its decision and a size never depends on the price it fills at: step 1
runs before anything of session t is read.

Money is kept twice: in cash and shares, and per round trip in `LOT` records, whose results add up
to the change of equity. Costs leave cash when they occur and are counted per kind.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.units import BPS
from quant_engine.execution.costs import borrow_cost, fee_cost, impact_cost, spread_cost
from quant_engine.execution.fills import FILL_STATUSES, FILLED, FillLimits, decide_fill

DAILY_COLUMNS = (
    "equity",
    "cash",
    "long_value",
    "short_value",
    "n_long",
    "n_short",
    "traded_value",
    "cost_fees",
    "cost_spread",
    "cost_impact",
    "cost_borrow",
    "dividends",
    "interest",
    "settlement_pnl",
)
"""Columns of the kernel's daily matrix, all in currency but the two counts."""

(EQUITY, CASH, LONG, SHORT, N_LONG, N_SHORT, TRADED, FEES, SPREAD, IMPACT, BORROW, DIVIDENDS,
 INTEREST, SETTLEMENT) = range(len(DAILY_COLUMNS))  # fmt: skip

REASONS = ("rebalance", "delisting", "halt_limit", "end_of_run")
"""Why a position changed, by code."""

BY_REBALANCE, BY_DELISTING, BY_HALT, BY_END = range(len(REASONS))

STATUSES = FILL_STATUSES
"""What became of an order, by code."""

ORDER = np.dtype(
    [
        ("decision_row", np.int64),
        ("row", np.int64),
        ("asset", np.int64),
        ("tranche", np.int64),
        ("reason", np.int64),
        ("status", np.int64),
        ("ordered_shares", np.float64),
        ("filled_shares", np.float64),
        ("decision_price", np.float64),
        ("reference_price", np.float64),
        ("adv_value", np.float64),
        ("fee", np.float64),
        ("spread", np.float64),
        ("impact", np.float64),
    ]
)
"""One order: what was wanted, what became of it, what it cost (currency). Shares are signed."""

LOT = np.dtype(
    [
        ("asset", np.int64),
        ("tranche", np.int64),
        ("side", np.int64),
        ("decision_row", np.int64),
        ("entry_row", np.int64),
        ("exit_row", np.int64),
        ("exit_reason", np.int64),
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
positive, dividends signed.
"""


class Market(NamedTuple):
    """Prices and facts of the simulated sessions, shape (R, N) unless said; NaN = not traded.

    `dividend` and `half_spread_frac` may have shape (0, 0), meaning none. `adv_value[t]` is known
    at the close of t. `delist_row` (N,) is the first row at which an asset is known to be delisted
    (R or more = never), `terminal_return_frac` (N,) what it then pays relative to the last close.
    """

    open: npt.NDArray[np.float64]
    close: npt.NDArray[np.float64]
    can_trade: npt.NDArray[np.bool_]
    dividend: npt.NDArray[np.float64]
    adv_value: npt.NDArray[np.float64]
    half_spread_frac: npt.NDArray[np.float64]
    delist_row: npt.NDArray[np.int64]
    terminal_return_frac: npt.NDArray[np.float64]


class Rules(NamedTuple):
    """Assumptions of a run as plain numbers; see `CostProfile` and `BacktestConfig`."""

    initial_equity: float
    fee_bps: float
    half_spread_frac: float
    spread_multiplier: float
    impact_coef_bps: float
    borrow_bps_ann: float
    participation_cap_frac: float
    min_fill_frac: float
    needs_adv: bool
    interest_bps_ann: float
    periods_per_year: float
    no_trade_band_frac: float
    halt_limit_sessions: int
    halt_return_frac: float


class Book(NamedTuple):
    """State between two sessions: shares (K, N), lots (K, N) and per-asset rows (N,)."""

    shares: npt.NDArray[np.float64]
    net: npt.NDArray[np.float64]
    mark: npt.NDArray[np.float64]
    idle_sessions: npt.NDArray[np.int64]
    order_shares: npt.NDArray[np.float64]
    lots: npt.NDArray[np.void]


class Run(NamedTuple):
    """The named form of what `simulate` returns."""

    daily: npt.NDArray[np.float64]
    positions: npt.NDArray[np.float64]
    n_rows: int
    orders: npt.NDArray[np.void]
    trades: npt.NDArray[np.void]


# The kernel is compiled per shape-free signature once and cached on disk. Its cache does not notice
# an edit of the cost functions in the other module; the tests compare against their plain form.
@njit(cache=True, nogil=True, error_model="numpy")
def simulate(
    market: Market,
    weights: npt.NDArray[np.float64],
    tranche: npt.NDArray[np.int64],
    n_tranches: int,
    rules: Rules,
) -> tuple[Any, ...]:
    """Run the day loop.

    Parameters
    ----------
    market : Market
        R sessions; row 0 is the first decision session, on which nothing fills.
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
    daily : ndarray, shape (R, C)
        `DAILY_COLUMNS`; row 0 is the starting capital.
    positions : ndarray, shape (R, N)
        Market value of the net position after each close, currency, signed.
    n_rows : int
        Rows simulated: fewer than R when equity fell to zero or below, which ends the run.
    orders : ndarray of ORDER
        In order of execution.
    trades : ndarray of LOT
        Closed round trips in order of closing, then those open at the end.
    """
    n_rows, n_assets = market.close.shape
    daily = np.zeros((n_rows, len(DAILY_COLUMNS)))
    positions = np.zeros((n_rows, n_assets))
    orders = np.empty(1024, ORDER)
    trades = np.empty(1024, LOT)
    counts = np.zeros(2, np.int64)
    book = _empty_book(n_tranches, n_assets)
    daily[0, EQUITY] = rules.initial_equity
    daily[0, CASH] = rules.initial_equity
    _mark(market, 0, book)
    # Each order and each settled or flipped position writes at most one record per session.
    most = n_assets * (n_tranches + 1)
    last = n_rows
    for t in range(1, n_rows):
        decided, equity = tranche[t - 1], daily[t - 1, EQUITY]
        _plan_orders(weights[t - 1], decided, n_tranches, rules, equity, book)
        daily[t, CASH] = daily[t - 1, CASH]
        orders = with_room(orders, counts[0], most)
        trades = with_room(trades, counts[1], most)
        _pay_income(market, t, rules, daily[t], book)
        if decided >= 0:
            _execute_orders(
                market, t, decided, rules, equity, daily[t], book, orders, trades, counts
            )
        _settle_dead(market, t, rules, daily[t], book, orders, trades, counts)
        _mark(market, t, book)
        _charge_borrow(rules, daily[t], book)
        _value(daily[t], book, positions[t])
        if not daily[t, EQUITY] > 0.0:
            last = t + 1
            break
    trades = with_room(trades, counts[1], most)
    _close_open_lots(last - 1, book, trades, counts)
    return daily, positions, last, orders[: counts[0]], trades[: counts[1]]


@njit(cache=True, nogil=True)
def _empty_book(n_tranches, n_assets):
    return Book(
        np.zeros((n_tranches, n_assets)),
        np.zeros(n_assets),
        np.full(n_assets, np.nan),
        np.zeros(n_assets, np.int64),
        np.zeros(n_assets),
        np.zeros((n_tranches, n_assets), LOT),
    )


@njit(cache=True, nogil=True)
def with_room(records, used, needed) -> npt.NDArray[np.void]:
    """Return the records with at least `needed` free places, four times as many when full.

    Places that are never written take no memory; what is copied for growing does.
    """
    if used + needed <= records.size:
        return records
    grown = np.empty(max(4 * records.size, used + needed), records.dtype)
    grown[:used] = records[:used]
    return grown


@njit(cache=True, nogil=True)
def _mark(market, t, book):
    close = market.close[t]
    can_trade = market.can_trade[t]
    for i in range(close.size):
        if np.isfinite(close[i]):
            book.mark[i] = close[i]
        book.idle_sessions[i] = 0 if can_trade[i] else book.idle_sessions[i] + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _plan_orders(target, k, n_tranches, rules, equity, book):
    if k < 0:
        return
    for i in range(target.size):
        held = book.shares[k, i]
        book.order_shares[i] = 0.0
        if target[i] == 0.0:
            book.order_shares[i] = -held
            continue
        if not np.isfinite(book.mark[i]):
            continue
        wanted = target[i] * equity / n_tranches / book.mark[i]
        change = wanted - held
        is_resize = held * wanted > 0.0
        if is_resize and abs(change) <= rules.no_trade_band_frac * abs(wanted):
            continue
        book.order_shares[i] = change


@njit(cache=True, nogil=True, error_model="numpy")
def _pay_income(market, t, rules, day, book):
    day[INTEREST] = day[CASH] * rules.interest_bps_ann * BPS / rules.periods_per_year
    if market.dividend.size > 0:
        for i in range(book.net.size):
            per_share = market.dividend[t, i]
            if not np.isfinite(per_share) or per_share == 0.0:
                continue
            day[DIVIDENDS] += book.net[i] * per_share
            for k in range(book.shares.shape[0]):
                if book.shares[k, i] != 0.0:
                    book.lots[k, i].dividends += book.shares[k, i] * per_share
    day[CASH] += day[INTEREST] + day[DIVIDENDS]


@njit(cache=True, nogil=True, error_model="numpy")
def _execute_orders(market, t, k, rules, equity, day, book, orders, trades, counts):
    # Arrays are taken out of their tuples once: inside the loop that would cost more than a fill.
    opened, adv_value, can_trade = market.open, market.adv_value, market.can_trade
    quoted = market.half_spread_frac
    order_shares, shares, mark = book.order_shares, book.shares, book.mark
    lots, net = book.lots, book.net
    for i in range(order_shares.size):
        ordered = order_shares[i]
        if ordered == 0.0:
            continue
        order_shares[i] = 0.0
        order = orders[counts[0]]
        counts[0] += 1
        start_order(order, t, k, i, ordered, adv_value[t - 1, i], mark[i])
        spread = quoted[t, i] if quoted.size > 0 else np.nan
        if fill_order(order, can_trade[t, i], spread, opened[t, i], rules, shares[k, i], day):
            _book_fill(order, equity, shares, lots, net, trades, counts)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def fill_order(order, can_trade, quoted_half_spread, price, rules, held, day) -> bool:
    """Fill an order at a price as far as bar and volume allow, charge its costs; say if it filled.

    The order's own ``adv_value`` counts; `held` (shares) tells an order that opens or adds from one
    that reduces. The quoted half-spread of the bar is charged where it is known (else NaN). Cash
    and costs are booked on the day.
    """
    ordered = order.ordered_shares
    adv = order.adv_value
    limits = FillLimits(rules.participation_cap_frac, rules.min_fill_frac, rules.needs_adv)
    order.status, fraction = decide_fill(ordered, price, adv, held, can_trade, limits)
    if can_trade:
        order.reference_price = price
    if fraction <= 0.0:
        return False
    filled = ordered * fraction
    traded = abs(filled) * price
    half_spread = rules.half_spread_frac
    if np.isfinite(quoted_half_spread):
        half_spread = quoted_half_spread * rules.spread_multiplier
    order.filled_shares = filled
    order.fee = fee_cost(traded, rules.fee_bps)
    order.spread = spread_cost(traded, half_spread)
    order.impact = impact_cost(traded, adv, rules.impact_coef_bps)
    day[CASH] -= filled * price + order.fee + order.spread + order.impact
    day[TRADED] += traded
    day[FEES] += order.fee
    day[SPREAD] += order.spread
    day[IMPACT] += order.impact
    return True


@njit(cache=True, nogil=True, inline="always")
def start_order(order, t, k, i, ordered, adv, mark) -> None:
    """Clear an order record and write what is known when it is given, at the close of t-1."""
    order.decision_row = t - 1
    order.row = t
    order.asset = i
    order.tranche = k
    order.reason = BY_REBALANCE
    order.ordered_shares = ordered
    order.filled_shares = 0.0
    order.decision_price = mark
    order.reference_price = np.nan
    order.adv_value = adv
    order.fee = 0.0
    order.spread = 0.0
    order.impact = 0.0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _book_fill(order, equity, shares, lots, net, trades, counts):
    """Move shares; split the fill into the part that closes a lot and the part that opens one."""
    k = order.tranche
    i = order.asset
    held = shares[k, i]
    filled = order.filled_shares
    after = held + filled
    closing = 0.0
    if held * filled < 0.0:
        closing = min(abs(held), abs(filled))
        part = closing / abs(filled)
        lot = lots[k, i]
        lot.exit_shares += closing
        lot.exit_value += closing * order.reference_price
        lot.exit_decision_value += closing * order.decision_price
        lot.exit_spread += order.spread * part
        lot.exit_impact += order.impact * part
        lot.fees += order.fee * part
        if after * held <= 0.0:
            _emit(lot, order.row, order.reason, trades, counts)
    opening = abs(filled) - closing
    if opening > 0.0 and after != 0.0:
        _open_or_add(order, opening, equity, 1 if after > 0.0 else -1, lots[k, i])
    shares[k, i] = after
    _sum_net(shares, net, i)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _open_or_add(order, opening, equity, side, lot):
    part = opening / abs(order.filled_shares)
    value = opening * order.reference_price
    if lot.side == 0:
        lot.asset = order.asset
        lot.tranche = order.tranche
        lot.side = side
        lot.decision_row = order.decision_row
        lot.entry_row = order.row
        lot.equity_at_decision = equity
        lot.first_value = value
    # Of an order that also closed the old side, only the rest was meant to open this one.
    lot.ordered_shares += abs(order.ordered_shares) - (abs(order.filled_shares) - opening)
    lot.entry_shares += opening
    lot.entry_value += value
    lot.entry_decision_value += opening * order.decision_price
    lot.entry_spread += order.spread * part
    lot.entry_impact += order.impact * part
    lot.fees += order.fee * part


@njit(cache=True, nogil=True, inline="always")
def _sum_net(shares, net, i):
    total = 0.0
    for k in range(shares.shape[0]):
        total += shares[k, i]
    net[i] = total


@njit(cache=True, nogil=True, inline="always")
def _emit(lot, row, reason, trades, counts):
    """Write a closed lot to the trade records and clear it."""
    lot.exit_row = row
    lot.exit_reason = reason
    trades[counts[1]] = lot
    counts[1] += 1
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
def _settle_dead(market, t, rules, day, book, orders, trades, counts):
    """Close, without trading costs, positions of assets that will not trade again."""
    for i in range(book.net.size):
        if market.can_trade[t, i] or not np.any(book.shares[:, i]):
            continue
        idle_sessions = book.idle_sessions[i] + 1
        reason, price = settlement(market, t, i, rules, book.mark[i], idle_sessions)
        if reason < 0:
            continue
        for k in range(book.shares.shape[0]):
            held = book.shares[k, i]
            if held == 0.0:
                continue
            order = orders[counts[0]]
            counts[0] += 1
            start_order(order, t, k, i, -held, np.nan, book.mark[i])
            order.reason = reason
            order.status = FILLED
            order.filled_shares = -held
            order.reference_price = price
            day[CASH] += held * price
            day[SETTLEMENT] += held * (price - book.mark[i])
            _book_fill(order, 0.0, book.shares, book.lots, book.net, trades, counts)


@njit(cache=True, nogil=True, error_model="numpy")
def _charge_borrow(rules, day, book):
    """Charge the net short value of each asset and share the fee among its short tranches."""
    if rules.borrow_bps_ann == 0.0:
        return
    for i in range(book.net.size):
        if not book.net[i] < 0.0:
            continue
        short_value = -book.net[i] * book.mark[i]
        fee = borrow_cost(short_value, rules.borrow_bps_ann, rules.periods_per_year)
        day[BORROW] += fee
        gross_short = 0.0
        for k in range(book.shares.shape[0]):
            gross_short += max(0.0, -book.shares[k, i])
        for k in range(book.shares.shape[0]):
            if book.shares[k, i] < 0.0:
                book.lots[k, i].borrow += fee * -book.shares[k, i] / gross_short
    day[CASH] -= day[BORROW]


@njit(cache=True, nogil=True)
def _value(day, book, position_values):
    for i in range(book.net.size):
        if book.net[i] == 0.0:
            continue
        value = book.net[i] * book.mark[i]
        position_values[i] = value
        if value > 0.0:
            day[LONG] += value
            day[N_LONG] += 1.0
        else:
            day[SHORT] -= value
            day[N_SHORT] += 1.0
    day[EQUITY] = day[CASH] + day[LONG] - day[SHORT]


@njit(cache=True, nogil=True)
def _close_open_lots(row, book, trades, counts):
    """Write what is still held at the end as trades at the last close, without exit costs."""
    for k in range(book.shares.shape[0]):
        for i in range(book.shares.shape[1]):
            held = abs(book.shares[k, i])
            if held == 0.0:
                continue
            lot = book.lots[k, i]
            lot.exit_shares += held
            lot.exit_value += held * book.mark[i]
            lot.exit_decision_value += held * book.mark[i]
            _emit(lot, row, BY_END, trades, counts)
