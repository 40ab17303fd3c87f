"""The day loop of target weights: orders, fills, cash and shares, one session after another.

A session t, in order:

1. splits and changes of symbol move shares and marks, before the open (`apply_splits`);
2. interest on the cash balance, dividends of shares held over the previous close (`_pay_income`);
3. orders are sized from the target weights, equity and marks of the close of t-1 and fill in
   session t, at the price that `Market.fill` holds (`_trade`);
4. positions of assets that were delisted or halted too long are settled (`_settle_dead`);
5. every position is marked: today's close, or the last close of an asset without a bar (`_mark`);
6. borrow is charged on short market value (`_charge_borrow`), equity is cash plus positions.

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

from quant_engine.core.units import BPS
from quant_engine.execution.costs import borrow_cost, fee_cost, impact_cost, spread_cost
from quant_engine.execution.fills import (
    BELOW_MIN_FILL,
    FILL_STATUSES,
    FILLED,
    FillLimits,
    FillRates,
    decide_fill,
)

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

MARKET_REASONS = (*REASONS, "margin_call", "borrow_recall", "symbol_change")
"""The same for runs in which a margin, the borrow market or a change of symbol may decide."""

(BY_REBALANCE, BY_DELISTING, BY_HALT, BY_END, BY_CALL, BY_NO_BORROW,
 BY_CHANGE) = range(len(MARKET_REASONS))  # fmt: skip

STATUSES = FILL_STATUSES
"""What became of an order, by code."""

_ABSENT = np.empty((0, 0))
_ABSENT.setflags(write=False)
_NO_MASK = np.empty((0, 0), dtype=np.bool_)
_NO_MASK.setflags(write=False)


class SymbolChanges(NamedTuple):
    """Changes of symbol in order of their row, shape (C,).

    From `row` on a share of column `source` is `ratio` shares of column `target`.
    """

    row: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    ratio: npt.NDArray[np.float64]


NO_CHANGES = SymbolChanges(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
)


class Market(NamedTuple):
    """Prices and facts of the simulated sessions, shape (R, N) unless said; NaN = not traded.

    All but open, close, can_trade and adv_value may have shape (0, 0), meaning none. `adv_value[t]`
    is known at the close of t. `delist_row` (N,) is the first row at which an asset is known to be
    delisted (R or more = never), `terminal_return_frac` (N,) what it then pays relative to the last
    close. `impact_coef_bps` (stress included) and `participation_cap_frac` (infinity = no cap) are
    rates of fills of session t, of a cost model; without them those of `Rules` hold. `fill` is the
    price at which orders fill, none = the open. `split_ratio` is new shares per old share from the
    open of t on. `borrow_bps_ann` (before stress) goes before the rate of `Rules`; `shortable[t]`
    is known at the close of t.
    """

    open: npt.NDArray[np.float64]
    close: npt.NDArray[np.float64]
    can_trade: npt.NDArray[np.bool_]
    dividend: npt.NDArray[np.float64]
    adv_value: npt.NDArray[np.float64]
    half_spread_frac: npt.NDArray[np.float64]
    delist_row: npt.NDArray[np.int64]
    terminal_return_frac: npt.NDArray[np.float64]
    impact_coef_bps: npt.NDArray[np.float64] = _ABSENT
    participation_cap_frac: npt.NDArray[np.float64] = _ABSENT
    fill: npt.NDArray[np.float64] = _ABSENT
    split_ratio: npt.NDArray[np.float64] = _ABSENT
    borrow_bps_ann: npt.NDArray[np.float64] = _ABSENT
    shortable: npt.NDArray[np.bool_] = _NO_MASK
    changes: SymbolChanges = NO_CHANGES


def market_reasons(market: Market, has_margin: bool) -> tuple[str, ...]:
    """Names of the reasons that a run can give, by code.

    Parameters
    ----------
    market : Market
        Of the run.
    has_margin : bool
        Whether a margin may call.

    Returns
    -------
    tuple of str
        `REASONS`, and the others where the market or a margin may decide.
    """
    extra = has_margin or market.shortable.size > 0 or market.changes.row.size > 0
    return MARKET_REASONS if extra else REASONS


class Rules(NamedTuple):
    """Assumptions of a run as plain numbers; see `CostProfile`, `BacktestConfig`, `TradingRules`.

    0 switches lots, the smallest order and the margin off. `borrow_multiplier` is the stress of a
    fee that the market gives.
    """

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
    lot_shares: float = 0.0
    min_notional: float = 0.0
    maintenance_margin_frac: float = 0.0
    same_bar: bool = False
    borrow_multiplier: float = 1.0


ORDER = np.dtype(
    [
        ("decision_row", np.int32),
        ("row", np.int32),
        ("asset", np.int32),
        ("tranche", np.int16),
        ("reason", np.int8),
        ("status", np.int8),
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
"""One order: what was wanted, what became of it, what it cost (currency).

Shares are signed. `decision_price` is the mark that the size came from, per share of the fill.
"""


class Book(NamedTuple):
    """State between two sessions: shares (K, N) and per-asset rows (N,).

    `held` lists the columns in which a tranche holds something, ascending, as many as `n_held[0]`;
    `active` is a list for the orders of a tranche.
    """

    shares: npt.NDArray[np.float64]
    net: npt.NDArray[np.float64]
    mark: npt.NDArray[np.float64]
    idle_sessions: npt.NDArray[np.int64]
    target: npt.NDArray[np.float64]
    held: npt.NDArray[np.int64]
    n_held: npt.NDArray[np.int64]
    active: npt.NDArray[np.int64]


class Run(NamedTuple):
    """A finished run.

    `daily` (R, C) holds `DAILY_COLUMNS`, row 0 the starting capital; `positions` (R, N) the signed
    value of each net position after each close; `n_rows` the rows simulated, fewer than R when
    equity fell to zero or below, which ends the run. `orders` are named columns in order of
    execution, `trades` the closed round trips in order of closing, then those open at the end.
    """

    daily: npt.NDArray[np.float64]
    positions: npt.NDArray[np.float64]
    n_rows: int
    orders: npt.NDArray[np.void]
    trades: npt.NDArray[np.void]


class Simulated(NamedTuple):
    """What the day loop leaves: `Run` without its round trips."""

    daily: npt.NDArray[np.float64]
    positions: npt.NDArray[np.float64]
    n_rows: int
    orders: npt.NDArray[np.void]


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


def make_book(n_tranches: int, n_assets: int) -> Book:
    """Allocate the state of a run: nothing held, nothing marked.

    Parameters
    ----------
    n_tranches, n_assets : int
        K and N.

    Returns
    -------
    Book
        Zeros, marks NaN.
    """
    return Book(
        np.zeros((n_tranches, n_assets)),
        np.zeros(n_assets),
        np.full(n_assets, np.nan),
        np.zeros(n_assets, np.int64),
        np.zeros(n_assets),
        np.zeros(n_assets, np.int64),
        np.zeros(1, np.int64),
        np.zeros(n_assets, np.int64),
    )


def _grown(orders: npt.NDArray[np.void], used: int) -> npt.NDArray[np.void]:
    wider = np.empty(2 * orders.size, ORDER)
    wider[:used] = orders[:used]
    return wider


@njit(cache=True, nogil=True, error_model="numpy")
def _run_rows(market, decided, rules, start, used, most, book, daily, positions, orders):
    """Simulate from a row until the end (last > 0), or until the orders have no room."""
    n_rows = market.close.shape[0]
    if start == 0:
        _mark(market, 0, book)
        start = 1
    changes = market.changes
    for t in range(start, n_rows):
        if orders.size - used < most:
            return t, used, 0
        day, before = daily[t], daily[t - 1]
        day[CASH] = before[CASH]
        if not rules.same_bar and decided.tranche[t - 1] >= 0:
            book.target[:] = decided.weights[t - 1]
        apply_splits(market, t, book)
        for c in range(changes.row.size):
            if changes.row[c] == t:
                apply_change(changes, c, book)
                list_held(book)
        _pay_income(market, t, rules, day, book)
        if not rules.same_bar:
            used = _trade_all(
                market, t, t - 1, decided.tranche[t - 1], rules, before, day, book, orders, used
            )
            list_held(book)
        used = _settle_dead(market, t, rules, day, book, orders, used)
        _mark(market, t, book)
        _charge_borrow(market, t, rules, day, book)
        _value(day, book, positions[t])
        if rules.same_bar and day[EQUITY] > 0.0:
            book.target[:] = decided.weights[t]
            used = _trade_all(market, t, t, decided.tranche[t], rules, day, day, book, orders, used)
            list_held(book)
            positions[t] = 0.0
            _value(day, book, positions[t])
        if not day[EQUITY] > 0.0:
            return t + 1, used, t + 1
    return n_rows, used, n_rows


@njit(cache=True, nogil=True, error_model="numpy")
def apply_splits(market, t, book) -> None:
    """Multiply shares and divide marks by the splits of a row."""
    if market.split_ratio.size == 0:
        return
    shares, mark, ratio = book.shares, book.mark, market.split_ratio[t]
    for i in range(ratio.size if count_other(ratio, 1.0) > 0 else 0):
        if np.isfinite(ratio[i]) and ratio[i] != 1.0:
            mark[i] /= ratio[i]
            for k in range(shares.shape[0]):
                shares[k, i] *= ratio[i]
            sum_net(shares, book.net, i)


@njit(cache=True, nogil=True, error_model="numpy")
def apply_change(changes, c, book) -> None:
    """Move mark, target and shares of a change of symbol."""
    shares, mark, target = book.shares, book.mark, book.target
    old, new, per_share = changes.source[c], changes.target[c], changes.ratio[c]
    if not np.isfinite(mark[new]):
        mark[new] = mark[old] / per_share
    target[new] += target[old]
    target[old] = 0.0
    for k in range(shares.shape[0]):
        shares[k, new] += shares[k, old] * per_share
        shares[k, old] = 0.0
    sum_net(shares, book.net, new)
    sum_net(shares, book.net, old)


@njit(cache=True, nogil=True)
def list_held(book) -> None:
    """List the columns in which a tranche holds something, also where tranches net to nothing."""
    net, shares, held, n = book.net, book.shares, book.held, 0
    n_tranches = shares.shape[0]
    for i in range(net.size):
        # Written always and kept by a sum, not by a branch that cannot be predicted.
        held[n] = i
        is_held = net[i] != 0.0
        if n_tranches > 1 and not is_held:
            for k in range(n_tranches):
                is_held |= shares[k, i] != 0.0
        n += is_held
    book.n_held[0] = n


@njit(cache=True, nogil=True)
def count_other(values, usual) -> int:
    """How many values are there and not the usual one; without a branch, so in vectors."""
    n = 0
    for i in range(values.size):
        n += (values[i] == values[i]) & (values[i] != usual)
    return n


@njit(cache=True, nogil=True)
def _mark(market, t, book):
    close, can_trade = market.close[t], market.can_trade[t]
    mark, idle_sessions = book.mark, book.idle_sessions
    for i in range(close.size):
        # A choice without a branch is compiled into vectors.
        mark[i] = close[i] if np.isfinite(close[i]) else mark[i]
        idle_sessions[i] = 0 if can_trade[i] else idle_sessions[i] + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _pay_income(market, t, rules, day, book):
    day[INTEREST] = day[CASH] * rules.interest_bps_ann * BPS / rules.periods_per_year
    if market.dividend.size > 0 and book.n_held[0] > 0:
        per_share, net, held = market.dividend[t], book.net, book.held
        for j in range(book.n_held[0] if count_other(per_share, 0.0) > 0 else 0):
            i = held[j]
            if np.isfinite(per_share[i]) and per_share[i] != 0.0:
                day[DIVIDENDS] += net[i] * per_share[i]
    day[CASH] += day[INTEREST] + day[DIVIDENDS]


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
            reason = BY_CALL if called else BY_REBALANCE
            used = _trade(market, t, d, j, reason, rules, equity, day, book, orders, used)
        elif market.shortable.size > 0:
            used = _trade(market, t, d, j, BY_NO_BORROW, rules, equity, day, book, orders, used)
    return used


@njit(cache=True, nogil=True, error_model="numpy")
def _trade(market, t, d, k, reason, rules, equity, day, book, orders, used):
    """Size and fill the orders of one tranche; of a recall only those of shorts without borrow."""
    # Arrays are taken out of their tuples once: inside the loop that would cost more than a fill.
    price = market.close[t] if rules.same_bar else market.open[t]
    if market.fill.size > 0:
        price = market.fill[t]
    can_trade, adv, mark, target = market.can_trade[t], market.adv_value[d], book.mark, book.target
    shortable, active, has_mask = market.shortable, book.active, market.shortable.size > 0
    quoted, coefs, caps = (
        market.half_spread_frac, market.impact_coef_bps, market.participation_cap_frac,
    )  # fmt: skip
    every, net, shares, n_tranches = book.shares, book.net, book.shares[k], book.shares.shape[0]
    cash, traded, sum_fees, sum_spread, sum_impact = (
        day[CASH], day[TRADED], day[FEES], day[SPREAD], day[IMPACT],
    )  # fmt: skip
    for j in range(_list_active(shares, target, active)):
        i = active[j]
        held, weight, why = shares[i], target[i], reason
        no_borrow = has_mask and not shortable[d, i]
        if reason == BY_NO_BORROW:
            if not (no_borrow and held < 0.0):
                continue
            weight = 0.0
        elif no_borrow and weight < 0.0:
            weight = 0.0
            if held < 0.0:
                why = BY_NO_BORROW
        ordered = wanted_change(weight, held, mark[i], equity, n_tranches, rules)
        if ordered == 0.0:
            continue
        rates = fill_rates(quoted, coefs, caps, t, i, rules)
        status, filled, fee, spread, impact = execute(
            ordered, held, price[i], adv[i], can_trade[i], rates, rules
        )
        order = orders[used]
        start_order(order, t, k, i, ordered, adv[i], mark[i])
        order.decision_row = d
        order.reason = why
        order.status = status
        order.filled_shares = filled
        order.reference_price = price[i] if can_trade[i] else np.nan
        order.fee = fee
        order.spread = spread
        order.impact = impact
        used += 1
        if filled == 0.0:
            continue
        cash -= filled * price[i] + fee + spread + impact
        traded += abs(filled) * price[i]
        sum_fees += fee
        sum_spread += spread
        sum_impact += impact
        shares[i] = held + filled
        if n_tranches == 1:
            net[i] = shares[i]
        else:
            sum_net(every, net, i)
    day[CASH], day[TRADED] = cash, traded
    day[FEES], day[SPREAD], day[IMPACT] = sum_fees, sum_spread, sum_impact
    return used


@njit(cache=True, nogil=True)
def _list_active(shares, target, active):
    """List the columns of a tranche that hold or want something; say how many."""
    n = 0
    for i in range(shares.size):
        active[n] = i
        n += (shares[i] != 0.0) | (target[i] != 0.0)
    return n


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
def wanted_change(weight, held, mark, equity, n_tranches, rules) -> float:
    """Shares to trade towards a weight; 0 where nothing is to be done.

    By the convention of `execution.orders.OrderRules`: rounded towards no trade to whole lots, left
    out below the smallest order; an order that closes a position is neither.
    """
    if weight == 0.0:
        return -held
    if not np.isfinite(mark):
        return 0.0
    wanted = weight * equity / n_tranches / mark
    change = wanted - held
    if held * wanted > 0.0 and abs(change) <= rules.no_trade_band_frac * abs(wanted):
        return 0.0
    if rules.lot_shares > 0.0:
        change = np.trunc(change / rules.lot_shares) * rules.lot_shares
    if abs(change) * mark < rules.min_notional:
        return 0.0
    return change


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def fill_rates(quoted, coefs, caps, t, i, rules) -> FillRates:
    """Rates of a fill of asset i in session t: the market's where it has them, else the rules'.

    A half-spread of NaN counts as absent.
    """
    half_spread = rules.half_spread_frac
    if quoted.size > 0 and np.isfinite(quoted[t, i]):
        half_spread = quoted[t, i] * rules.spread_multiplier
    return FillRates(
        half_spread,
        coefs[t, i] if coefs.size > 0 else rules.impact_coef_bps,
        caps[t, i] if caps.size > 0 else rules.participation_cap_frac,
    )


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def execute(ordered, held, price, adv, can_trade, rates, rules) -> tuple[Any, ...]:
    """Fill an order as far as bar and volume allow: status, shares, fee, spread and impact.

    `held` (shares) tells an order that opens or adds from one that reduces. What the cap leaves of
    an order is cut to whole lots.
    """
    limits = FillLimits(rates.participation_cap_frac, rules.min_fill_frac, rules.needs_adv)
    status, fraction = decide_fill(ordered, price, adv, held, can_trade, limits)
    if fraction <= 0.0:
        return status, 0.0, 0.0, 0.0, 0.0
    filled = ordered * fraction
    if rules.lot_shares > 0.0 and status != FILLED:
        filled = np.trunc(filled / rules.lot_shares) * rules.lot_shares
        if filled == 0.0:
            return BELOW_MIN_FILL, 0.0, 0.0, 0.0, 0.0
    traded = abs(filled) * price
    fee = fee_cost(traded, rules.fee_bps)
    spread = spread_cost(traded, rates.half_spread_frac)
    return status, filled, fee, spread, impact_cost(traded, adv, rates.impact_coef_bps)


@njit(cache=True, nogil=True, inline="always")
def sum_net(shares, net, i) -> None:
    """Net an asset's shares over the tranches."""
    total = 0.0
    for k in range(shares.shape[0]):
        total += shares[k, i]
    net[i] = total


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
def _settle_dead(market, t, rules, day, book, orders, used):
    """Close, without trading costs, positions of assets that will not trade again."""
    can_trade, shares, mark, net = market.can_trade[t], book.shares, book.mark, book.net
    held_columns, n_used = book.held, used
    n_tranches = shares.shape[0]
    for j in range(book.n_held[0]):
        i = held_columns[j]
        if can_trade[i]:
            continue
        reason, price = settlement(market, t, i, rules, mark[i], book.idle_sessions[i] + 1)
        if reason < 0:
            continue
        for k in range(n_tranches):
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
    if used > n_used:
        list_held(book)
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
def _charge_borrow(market, t, rules, day, book):
    """Charge the net short value of each asset."""
    rates = market.borrow_bps_ann
    if rules.borrow_bps_ann == 0.0 and rates.size == 0:
        return
    net, mark, held, total = book.net, book.mark, book.held, day[BORROW]
    for j in range(book.n_held[0]):
        i = held[j]
        if net[i] < 0.0:
            total += borrow_fee(rates, t, i, rules, -net[i] * mark[i])
    day[BORROW] = total
    day[CASH] -= total


@njit(cache=True, nogil=True)
def _value(day, book, position_values):
    net, mark, held = book.net, book.mark, book.held
    long, short, n_long, n_short = 0.0, 0.0, 0.0, 0.0
    for j in range(book.n_held[0]):
        i = held[j]
        if net[i] == 0.0:
            continue
        value = net[i] * mark[i]
        position_values[i] = value
        if value > 0.0:
            long += value
            n_long += 1.0
        else:
            short -= value
            n_short += 1.0
    day[LONG], day[SHORT], day[N_LONG], day[N_SHORT] = long, short, n_long, n_short
    day[EQUITY] = day[CASH] + long - short
