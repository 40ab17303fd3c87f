"""The day loop of trading rules: one account, positions opened and closed by rule.

A session t, in order (fills at the open; with the other fills step 3 comes before step 2):

1. interest on the cash balance, dividends of positions held over the previous close (`_pay`);
2. orders decided at the previous close fill: exits, then entries (`_fill_exits`, `_fill_entries`);
3. stops and targets that the bar reached fill, extremes of the rest are noted (`_work_bar`);
4. positions of assets delisted or halted too long are settled (`_settle`);
5. borrow is charged, positions are marked, equity is cash plus positions (`_charge`, `_value`);
6. the close decides: trailing levels, exits, entries (`_decide_exits`, `_decide_entries`).

Fills, costs and settlements are those of the weights kernel. The loop runs over the positions that
are held, in order of their entry, so that its cost does not grow with the number of assets.

Arrays are taken out of their tuples before a loop and small steps are compiled into their callers:
handing over the tuples costs more than a fill. The compiled form does not notice an edit of the
functions it takes from the weights kernel; the tests compare with a plain account.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.backtest.kernel import borrow_fee, settlement
from quant_engine.backtest.kernel_state import (
    BORROW,
    BY_END,
    CASH,
    DIVIDENDS,
    EQUITY,
    INTEREST,
    LONG,
    N_LONG,
    N_SHORT,
    ORDER,
    SETTLEMENT,
    SHORT,
    Rules,
)
from quant_engine.backtest.order_batch import fill_rates, start_order
from quant_engine.backtest.rules_records import fill_order, with_room
from quant_engine.backtest.rules_state import (
    BY_ATR,
    BY_ENTRY,
    BY_ENTRY_CUT,
    BY_HARD,
    BY_HOLDING,
    BY_MARGIN,
    BY_RECALL,
    BY_REGIME,
    BY_SIGNAL,
    BY_TARGET,
    BY_TRAILING,
    N_ACTIVE,
    N_CLOSED,
    N_ENTRIES,
    N_ORDERS,
    N_TRADES,
    NO_SLOT,
    RULE_LOT,
    Desk,
    RuleMarket,
    RuleNumbers,
    RuleSignals,
    Tape,
)
from quant_engine.core.units import BPS
from quant_engine.execution.fills import FILLED

_MOST_PLACES = 1 << 21
"""Order records made beforehand at the most; a longer run copies them when it needs more."""


def simulate_rules(
    world: RuleMarket,
    signals: RuleSignals,
    plan: RuleNumbers,
    rules: Rules,
    desk: Desk,
    positions: npt.NDArray[np.float64],
    keep: bool,
) -> tuple[int, npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Run the day loop.

    Parameters
    ----------
    world : RuleMarket
        R sessions; nothing fills on row 0.
    signals : RuleSignals
        Known after the close of each row.
    plan : RuleNumbers
        The rules.
    rules : Rules
        Costs and capital.
    desk : Desk
        State and buffers; its daily matrix holds the result.
    positions : ndarray of float64, shape (R, N) or (0, 0)
        Receives the signed value of each position after each close, currency.
    keep : bool
        Whether orders and trades are recorded.

    Returns
    -------
    n_rows : int
        Rows simulated: fewer than R when equity fell to zero or below, which ends the run.
    orders : ndarray of ORDER
        In order of execution.
    trades : ndarray of RULE_LOT
        Closed round trips in order of closing, then those open at the end.
    """
    # An exit or settlement and an entry per slot and session, and what is open at the end.
    most = 3 * desk.active.size + 1
    # Places that are never written take no memory, and numpy asks for large pages.
    n_orders = most + min(2 * desk.active.size * len(world.mark), _MOST_PLACES) * keep
    tape = Tape(np.empty(n_orders, ORDER), np.empty(most + n_orders // 2, RULE_LOT), keep)
    return _run_rows(world, signals, plan, rules, desk, positions, tape, most)


@njit(cache=True, nogil=True, error_model="numpy")
def _run_rows(world, signals, plan, rules, desk, positions, tape, most):
    n_rows = world.mark.shape[0]
    keep = tape.keep
    _reset(desk, rules)
    last = n_rows
    counts = desk.counts
    n_leaving = 0
    if not plan.same_bar:
        _decide_entries(world, signals, 0, plan, rules, desk)
    for t in range(1, n_rows):
        tape = Tape(
            with_room(tape.orders, counts[N_ORDERS], most),
            with_room(tape.trades, counts[N_TRADES], most),
            keep,
        )
        day = desk.daily[t]
        day[:] = 0.0
        day[CASH] = desk.daily[t - 1, CASH]
        if world.market.split_ratio.size > 0:
            _split_lots(world.market.split_ratio[t], desk)
        _pay(world, t, rules, day, desk)
        if plan.fill_at_open:
            _fill_decided(world, signals, t, plan, rules, desk, tape, n_leaving)
        n_idle = 0
        if counts[N_ACTIVE] > 0:
            n_idle = _work_bar(world, t, rules, plan, desk, tape)
        if not plan.fill_at_open and not plan.same_bar:
            _fill_decided(world, signals, t, plan, rules, desk, tape, n_leaving)
        if n_idle > 0:
            _settle(world, t, rules, desk, tape)
        _charge(world, t, plan, rules, day, desk)
        _value(world, t, day, desk)
        n_leaving = 0
        if day[EQUITY] > 0.0 and (plan.same_bar or t < n_rows - 1):
            n_leaving = _decide_exits(world, signals, t, plan, desk)
            _decide_entries(world, signals, t, plan, rules, desk)
        if day[EQUITY] > 0.0 and plan.same_bar:
            _fill_decided(world, signals, t, plan, rules, desk, tape, n_leaving)
            _value(world, t, day, desk)
        if positions.size > 0:
            _show(world, t, desk, positions[t])
        if not day[EQUITY] > 0.0:
            last = t + 1
            break
    trades = with_room(tape.trades, desk.counts[N_TRADES], most)
    _close_open(world, last - 1, desk, Tape(tape.orders, trades, keep))
    return last, tape.orders[: desk.counts[N_ORDERS]], trades[: desk.counts[N_TRADES]]


@njit(cache=True, nogil=True)
def _reset(desk, rules):
    for i in range(desk.lots.size):
        desk.last_exit[i] = -1
        if desk.lots[i].side != 0:
            desk.lots[i] = desk.blank[0]
    desk.counts[:] = 0
    desk.daily[0, :] = 0.0
    desk.daily[0, EQUITY] = rules.initial_equity
    desk.daily[0, CASH] = rules.initial_equity


@njit(cache=True, nogil=True, error_model="numpy")
def _split_lots(ratio, desk):
    """Multiply shares and divide prices of what is held or ordered, before the open."""
    lots, active, counts = desk.lots, desk.active, desk.counts
    for j in range(counts[N_ACTIVE]):
        lot = lots[active[j]]
        factor = ratio[lot.asset]
        if not np.isfinite(factor) or factor == 1.0:
            continue
        lot.shares *= factor
        lot.ordered_shares *= factor
        lot.entry_shares *= factor
        lot.exit_shares *= factor
        lot.entry_price /= factor
        lot.stop /= factor
        lot.target /= factor
        lot.atr /= factor
        lot.best /= factor
        lot.worst /= factor
    for j in range(counts[N_ENTRIES]):
        factor = ratio[desk.entry_asset[j]]
        if np.isfinite(factor):
            desk.entry_shares[j] *= factor


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _decided_at(marks, ratio, t, lag, i):
    """Mark at the close that decided, per share of session t."""
    mark = marks[t - lag, i]
    if lag > 0 and ratio.size > 0 and np.isfinite(ratio[t, i]):
        mark /= ratio[t, i]
    return mark


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pay(world, t, rules, day, desk):
    day[INTEREST] = day[CASH] * rules.interest_bps_ann * BPS / rules.periods_per_year
    dividend = world.market.dividend
    if dividend.size > 0:
        lots, active = desk.lots, desk.active
        for j in range(desk.counts[N_ACTIVE]):
            lot = lots[active[j]]
            per_share = dividend[t, lot.asset]
            if np.isfinite(per_share) and per_share != 0.0:
                day[DIVIDENDS] += lot.shares * per_share
                lot.dividends += lot.shares * per_share
    day[CASH] += day[INTEREST] + day[DIVIDENDS]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _write_order(t, lag, asset, reason, shares, decision_price, adv, counts, orders, keep):
    """Start an order record; its ADV is that of the close that decided."""
    order = orders[counts[N_ORDERS]]
    if keep:
        counts[N_ORDERS] += 1
    start_order(order, t, 0, asset, shares, adv, decision_price)
    order.decision_row = t - lag
    order.reason = reason
    return order


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _reduce(order, lot, t, lots, blank, last_exit, counts, trades, keep):
    """Take a filled exit order off its lot; write the trade when nothing is left."""
    closing = abs(order.filled_shares)
    lot.exit_shares += closing
    lot.exit_value += closing * order.reference_price
    lot.exit_decision_value += closing * order.decision_price
    lot.exit_spread += order.spread
    lot.exit_impact += order.impact
    lot.fees += order.fee
    if order.status != FILLED:
        lot.shares += order.filled_shares
    else:
        lot.shares = 0.0
        _emit(lot, t, order.reason, lots, blank, last_exit, counts, trades, keep)


@njit(cache=True, nogil=True, inline="always")
def _emit(lot, row, reason, lots, blank, last_exit, counts, trades, keep):
    """Write a closed lot to the trade records and clear it."""
    lot.exit_row = row
    lot.exit_reason = reason
    trades[counts[N_TRADES]] = lot
    if keep:
        counts[N_TRADES] += 1
    counts[N_CLOSED] += 1
    last_exit[lot.asset] = row
    lots[lot.asset] = blank[0]


@njit(cache=True, nogil=True)
def _keep_held(desk):
    """Drop closed columns from the active list without changing the order of the others."""
    lots, active = desk.lots, desk.active
    n = 0
    for j in range(desk.counts[N_ACTIVE]):
        i = active[j]
        if lots[i].side != 0:
            active[n] = i
            n += 1
    desk.counts[N_ACTIVE] = n


@njit(cache=True, nogil=True, inline="always")
def _fill_decided(world, signals, t, plan, rules, desk, tape, n_leaving):
    # A call hands over hundreds of words of array headers: none is made with nothing to do.
    if n_leaving > 0:
        _fill_exits(world, t, plan, rules, desk, tape)
    if desk.counts[N_ENTRIES] > 0:
        _fill_entries(world, signals, t, plan, rules, desk, tape)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_exits(world, t, plan, rules, desk, tape):
    lag = 0 if plan.same_bar else 1
    fill, adv = world.fill, world.market.adv_value
    marks, ratio = world.mark, world.market.split_ratio
    can_trade, quoted = world.market.can_trade, world.market.half_spread_frac
    coefs, caps = world.market.impact_coef_bps, world.market.participation_cap_frac
    day, lots, active = desk.daily[t], desk.lots, desk.active
    counts, blank, last_exit = desk.counts, desk.blank, desk.last_exit
    orders, trades, keep = tape.orders, tape.trades, tape.keep
    n_closed = counts[N_CLOSED]
    for j in range(counts[N_ACTIVE]):
        i = active[j]
        lot = lots[i]
        if lot.exit_order < 0 or lot.tried_row == t:
            continue
        lot.tried_row = t
        decided = t - lag
        order = _write_order(
            t,
            lag,
            i,
            lot.exit_order,
            -lot.shares,
            _decided_at(marks, ratio, t, lag, i),
            adv[decided, i],
            counts,
            orders,
            keep,
        )
        rates = fill_rates(quoted, coefs, caps, t, i, rules)
        if fill_order(order, can_trade[t, i], rates, fill[t, i], rules, lot.shares, day):
            _see(lot, order.reference_price)
            _reduce(order, lot, t, lots, blank, last_exit, counts, trades, keep)
    if counts[N_CLOSED] > n_closed:
        _keep_held(desk)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_entries(world, signals, t, plan, rules, desk, tape):
    lag = 0 if plan.same_bar else 1
    fill, adv = world.fill, world.market.adv_value
    marks, ratio = world.mark, world.market.split_ratio
    can_trade, quoted = world.market.can_trade, world.market.half_spread_frac
    coefs, caps = world.market.impact_coef_bps, world.market.participation_cap_frac
    day, lots, counts = desk.daily[t], desk.lots, desk.counts
    orders, keep, active = tape.orders, tape.keep, desk.active
    entry_asset, entry_shares, entry_reason = (
        desk.entry_asset, desk.entry_shares, desk.entry_reason,
    )  # fmt: skip
    decided, atr = t - lag, world.atr
    equity = desk.daily[decided, EQUITY]
    slots = min(plan.max_positions, active.size)
    regime = signals.regime[decided]
    for j in range(counts[N_ENTRIES]):
        i = entry_asset[j]
        shares = entry_shares[j]
        reason = entry_reason[j]
        order = _write_order(
            t,
            lag,
            i,
            reason,
            shares,
            _decided_at(marks, ratio, t, lag, i),
            adv[decided, i],
            counts,
            orders,
            keep,
        )
        if counts[N_ACTIVE] >= slots:
            order.status = NO_SLOT
            continue
        rates = fill_rates(quoted, coefs, caps, t, i, rules)
        if not fill_order(order, can_trade[t, i], rates, fill[t, i], rules, 0.0, day):
            continue
        lot = lots[i]
        _open(order, equity, lot)
        lot.regime = regime
        lot.atr = atr[decided, i] if plan.needs_atr else 0.0
        _set_levels(lot, plan)
        active[counts[N_ACTIVE]] = i
        counts[N_ACTIVE] += 1
    counts[N_ENTRIES] = 0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _open(order, equity, lot):
    price = order.reference_price
    shares = abs(order.filled_shares)
    lot.asset = order.asset
    lot.decided_asset = order.asset
    lot.side = 1 if order.filled_shares > 0.0 else -1
    lot.decision_row = order.decision_row
    lot.entry_row = order.row
    lot.entry_reason = order.reason
    lot.equity_at_decision = equity
    lot.first_value = shares * price
    lot.ordered_shares = abs(order.ordered_shares)
    lot.entry_shares = shares
    lot.entry_value = shares * price
    lot.entry_decision_value = shares * order.decision_price
    lot.entry_spread = order.spread
    lot.entry_impact = order.impact
    lot.fees = order.fee
    lot.shares = order.filled_shares
    lot.entry_price = price
    lot.best = price
    lot.worst = price
    lot.exit_order = -1
    lot.tried_row = -1


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _set_levels(lot, plan):
    """Stop and target from the fill and what was known when the entry was decided."""
    side = float(lot.side)
    lot.stop_factor = plan.stop_factor[lot.regime]
    lot.stop = -side * np.inf
    lot.target = side * np.inf
    lot.stop_reason = -1
    price = lot.entry_price
    if plan.hard_stop_frac > 0.0:
        level = price * (1.0 - side * plan.hard_stop_frac * lot.stop_factor)
        _tighten(lot, side, level, BY_HARD)
    if plan.atr_stop_multiple > 0.0:
        level = price - side * plan.atr_stop_multiple * lot.stop_factor * lot.atr
        _tighten(lot, side, level, BY_ATR)
    if plan.profit_target_frac > 0.0:
        lot.target = price * (1.0 + side * plan.profit_target_frac)
    _trail(lot, plan)


@njit(cache=True, nogil=True, inline="always")
def _tighten(lot, side, level, reason):
    if side * (level - lot.stop) > 0.0:
        lot.stop = level
        lot.stop_reason = reason


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _trail(lot, plan):
    """Move the stop behind the best price; the first of equal levels keeps its name."""
    side = float(lot.side)
    if side * (lot.best / lot.entry_price - 1.0) < plan.trailing_arm_frac:
        return
    if plan.trailing_stop_frac > 0.0:
        level = lot.best * (1.0 - side * plan.trailing_stop_frac * lot.stop_factor)
        _tighten(lot, side, level, BY_TRAILING)
    if plan.trailing_atr_multiple > 0.0:
        level = lot.best - side * plan.trailing_atr_multiple * lot.stop_factor * lot.atr
        _tighten(lot, side, level, BY_TRAILING)


@njit(cache=True, nogil=True, inline="always")
def _see(lot, price):
    """Note a price that the position has lived through."""
    if lot.side > 0:
        lot.best = max(lot.best, price)
        lot.worst = min(lot.worst, price)
    else:
        lot.best = min(lot.best, price)
        lot.worst = max(lot.worst, price)


@njit(cache=True, nogil=True, error_model="numpy")
def _work_bar(world, t, rules, plan, desk, tape):
    """Stops and targets inside the bar, then the extremes; return how many had no bar."""
    opened, high, low, close = world.market.open, world.high, world.low, world.market.close
    can_trade, adv, quoted = (
        world.market.can_trade, world.market.adv_value, world.market.half_spread_frac,
    )  # fmt: skip
    day, lots, active = desk.daily[t], desk.lots, desk.active
    coefs, caps = world.market.impact_coef_bps, world.market.participation_cap_frac
    has_range = high.size > 0
    n_idle = 0
    counts, blank, last_exit = desk.counts, desk.blank, desk.last_exit
    orders, trades, keep = tape.orders, tape.trades, tape.keep
    n_closed = counts[N_CLOSED]
    for j in range(counts[N_ACTIVE]):
        i = active[j]
        if not can_trade[t, i]:
            n_idle += 1
            continue
        lot = lots[i]
        if not has_range:
            _see(lot, close[t, i])
            continue
        if lot.tried_row != t:
            reason, level, price = _touched(lot, t, opened[t, i], high[t, i], low[t, i])
            if reason >= 0:
                lot.tried_row = t
                order = _write_order(
                    t, 1, i, reason, -lot.shares, level, adv[t - 1, i], counts, orders, keep
                )
                rates = fill_rates(quoted, coefs, caps, t, i, rules)
                if fill_order(order, True, rates, price, rules, lot.shares, day):
                    if reason == BY_TARGET and price != opened[t, i]:
                        # A target inside the bar is reached after the bar's worst price.
                        _see(lot, low[t, i] if lot.side > 0 else high[t, i])
                    _see(lot, price)
                    _reduce(order, lot, t, lots, blank, last_exit, counts, trades, keep)
                if lot.side != 0:
                    lot.exit_order = reason
        if lot.side != 0:
            _see(lot, high[t, i])
            _see(lot, low[t, i])
            _trail(lot, plan)
    if counts[N_CLOSED] > n_closed:
        _keep_held(desk)
    return n_idle


@njit(cache=True, nogil=True, inline="always")
def _touched(lot, t, opened, high, low):
    """Reason, level and fill price of the order that the bar reached; (-1, NaN, NaN) = none.

    The open is seen first, then the stop, then the target.
    """
    side = float(lot.side)
    against = low if lot.side > 0 else high
    favour = high if lot.side > 0 else low
    reason, level, price = -1, np.nan, np.nan
    if lot.entry_row < t and side * (opened - lot.stop) <= 0.0:
        reason, level, price = lot.stop_reason, lot.stop, opened
    elif lot.entry_row < t and side * (opened - lot.target) >= 0.0:
        reason, level, price = BY_TARGET, lot.target, opened
    elif side * (against - lot.stop) <= 0.0:
        reason, level, price = lot.stop_reason, lot.stop, lot.stop
    elif side * (favour - lot.target) >= 0.0:
        reason, level, price = BY_TARGET, lot.target, lot.target
    return reason, level, price


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(world, t, rules, desk, tape):
    """Close, without trading costs, positions of assets that will not trade again."""
    market, can_trade = world.market, world.market.can_trade
    marks, ratio = world.mark, world.market.split_ratio
    day, lots, active = desk.daily[t], desk.lots, desk.active
    counts, blank, last_exit = desk.counts, desk.blank, desk.last_exit
    orders, trades, keep = tape.orders, tape.trades, tape.keep
    n_closed = counts[N_CLOSED]
    for j in range(counts[N_ACTIVE]):
        i = active[j]
        if can_trade[t, i]:
            continue
        mark = _decided_at(marks, ratio, t, 1, i)
        reason, price = settlement(market, t, i, rules, mark, world.idle[t - 1, i] + 1)
        if reason < 0:
            continue
        lot = lots[i]
        held = lot.shares
        order = _write_order(t, 1, i, reason, -held, mark, np.nan, counts, orders, keep)
        order.status = FILLED
        order.filled_shares = -held
        order.reference_price = price
        day[CASH] += held * price
        day[SETTLEMENT] += held * (price - mark)
        _see(lot, price)
        _reduce(order, lot, t, lots, blank, last_exit, counts, trades, keep)
    if counts[N_CLOSED] > n_closed:
        _keep_held(desk)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _charge(world, t, plan, rules, day, desk):
    """Borrow on short market value, at the panel's rate of the session where it has one."""
    if plan.sides > 0:
        return
    rates, lots, active, mark = world.market.borrow_bps_ann, desk.lots, desk.active, world.mark
    for j in range(desk.counts[N_ACTIVE]):
        i = active[j]
        lot = lots[i]
        if lot.side > 0:
            continue
        fee = borrow_fee(rates, t, i, rules, -lot.shares * mark[t, i])
        day[BORROW] += fee
        lot.borrow += fee
    day[CASH] -= day[BORROW]


@njit(cache=True, nogil=True, inline="always")
def _value(world, t, day, desk):
    day[LONG] = 0.0
    day[SHORT] = 0.0
    day[N_LONG] = 0.0
    day[N_SHORT] = 0.0
    lots, active, mark = desk.lots, desk.active, world.mark
    for j in range(desk.counts[N_ACTIVE]):
        i = active[j]
        value = lots[i].shares * mark[t, i]
        if value > 0.0:
            day[LONG] += value
            day[N_LONG] += 1.0
        else:
            day[SHORT] -= value
            day[N_SHORT] += 1.0
    day[EQUITY] = day[CASH] + day[LONG] - day[SHORT]


@njit(cache=True, nogil=True)
def _show(world, t, desk, row):
    for j in range(desk.counts[N_ACTIVE]):
        i = desk.active[j]
        row[i] = desk.lots[i].shares * world.mark[t, i]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _decide_exits(world, signals, t, plan, desk):
    """Say why held positions leave; return how many are leaving."""
    day = desk.daily[t]
    lots, active, score, shortable = desk.lots, desk.active, signals.score, world.market.shortable
    lag = 0 if plan.same_bar else 1
    called = day[EQUITY] < plan.maintenance_margin_frac * (day[LONG] + day[SHORT])
    regime = signals.regime[t]
    watches_regime = plan.exit_on_regime_change and regime >= 0
    watches_score = plan.exit_score > -np.inf
    can_recall = shortable.size > 0
    n_leaving = 0
    for j in range(desk.counts[N_ACTIVE]):
        i = active[j]
        lot = lots[i]
        if lot.exit_order >= 0:
            n_leaving += 1
            continue
        if called:
            lot.exit_order = BY_MARGIN
        elif can_recall and lot.side < 0 and not shortable[t, i]:
            lot.exit_order = BY_RECALL
        elif watches_regime and lot.regime >= 0 and regime != lot.regime:
            lot.exit_order = BY_REGIME
        elif t + lag - lot.entry_row >= plan.holding_sessions:
            lot.exit_order = BY_HOLDING
        elif watches_score and lot.side * score[t, i] < plan.exit_score:
            lot.exit_order = BY_SIGNAL
        if lot.exit_order >= 0:
            n_leaving += 1
    return n_leaving


@njit(cache=True, nogil=True, error_model="numpy")
def _decide_entries(world, signals, t, plan, rules, desk):
    """Order the strongest allowed scores into free slots and free room."""
    day, counts = desk.daily[t], desk.counts
    equity = day[EQUITY]
    wanted = plan.position_frac * equity * signals.size[t]
    called = equity < plan.maintenance_margin_frac * (day[LONG] + day[SHORT])
    if called or not wanted > 0.0 or not plan.entry_regime[signals.regime[t]]:
        return
    lots, active, mark = desk.lots, desk.active, world.mark
    slots = min(plan.max_positions, active.size)
    room = plan.max_gross_frac * equity
    for j in range(counts[N_ACTIVE]):
        i = active[j]
        if lots[i].exit_order < 0:
            slots -= 1
            room -= abs(lots[i].shares * mark[t, i])
    if slots <= 0:
        return
    order, scores = signals.order, signals.score
    last_exit, atr, shortable = desk.last_exit, world.atr, world.market.shortable
    may_long, may_short = signals.allowed_long, signals.allowed_short
    entry_asset, entry_shares, entry_reason = (
        desk.entry_asset, desk.entry_shares, desk.entry_reason,
    )  # fmt: skip
    for j in range(order.shape[1]):
        i = order[t, j]
        score = scores[t, i]
        if slots <= 0 or not abs(score) >= plan.entry_min:
            return
        if lots[i].side != 0 or (plan.needs_atr and not atr[t, i] > 0.0):
            continue
        waits = last_exit[i] >= 0 and t - last_exit[i] < plan.reentry_wait_sessions
        if waits or not _may_hold(score, t, i, may_long, may_short, shortable, plan):
            continue
        value = min(wanted, room)
        if not value > 0.0 or value < plan.min_entry_frac * wanted:
            return
        shares = np.sign(score) * value / mark[t, i]
        if rules.lot_shares > 0.0:
            shares = np.trunc(shares / rules.lot_shares) * rules.lot_shares
        if shares == 0.0 or value < rules.min_notional:
            continue
        n = counts[N_ENTRIES]
        entry_asset[n] = i
        entry_shares[n] = shares
        entry_reason[n] = BY_ENTRY if value == wanted else BY_ENTRY_CUT
        counts[N_ENTRIES] += 1
        slots -= 1
        room -= value


@njit(cache=True, nogil=True, inline="always")
def _may_hold(score, t, i, may_long, may_short, shortable, plan):
    if score > 0.0:
        return plan.sides >= 0 and may_long[t, i]
    return plan.sides <= 0 and may_short[t, i] and (shortable.size == 0 or shortable[t, i])


@njit(cache=True, nogil=True)
def _close_open(world, row, desk, tape):
    """Write what is still held at the end as trades at the last close, without exit costs."""
    for j in range(desk.counts[N_ACTIVE]):
        lot = desk.lots[desk.active[j]]
        held = abs(lot.shares)
        mark = world.mark[row, lot.asset]
        lot.exit_shares += held
        lot.exit_value += held * mark
        lot.exit_decision_value += held * mark
        _emit(
            lot, row, BY_END, desk.lots, desk.blank, desk.last_exit, desk.counts, tape.trades,
            tape.keep,
        )  # fmt: skip
    desk.counts[N_ACTIVE] = 0
