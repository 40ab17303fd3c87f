"""Orders of one tranche in one session: sized, filled, costed and written, many at a time.

Columns that hold or want something are collected side by side into a batch; sizes, fills and costs
are then worked out in vectors, with the scalar functions that the rules kernel calls one by one,
and written as records in order.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from quant_engine.backtest.kernel_state import (
    BATCH,
    BATCH_COLUMNS,
    BATCH_PITCH,
    BY_NO_BORROW,
    BY_REBALANCE,
    CASH,
    FEES,
    IMPACT,
    SPREAD,
    TRADED,
    list_flagged,
    sum_net,
)
from quant_engine.execution.costs import fee_cost, impact_cost, spread_cost
from quant_engine.execution.fills import BELOW_MIN_FILL, FillLimits, FillRates, decide_fill

(_HELD, _WEIGHT, _MARK, _PRICE, _ADV, _TRADES, _SPREAD_RATE, _IMPACT_RATE, _CAP, _REASON, _ORDERED,
 _STATUS, _FILLED, _FEE, _SPREAD, _IMPACT) = range(
    0, BATCH_COLUMNS * BATCH_PITCH, BATCH_PITCH
)  # fmt: skip
"""Where the columns of a batch begin. One array with fixed distances: the compiler then sees that
no column overlaps another and works in vectors."""


class Decision(NamedTuple):
    """What is traded at row `t`: tranche `k`, as decided at the close of row `d`, and why.

    `equity` is that of the account at that close.
    """

    t: int
    d: int
    k: int
    reason: int
    equity: float


@njit(cache=True, nogil=True, error_model="numpy")
def trade_tranche(market, decision, rules, day, book, orders, used) -> int:
    """Size and fill the orders of one tranche; of a recall only those of shorts without borrow.

    They are written from `orders[used]` on; returns the next free place.
    """
    t, d, k, reason, equity = decision
    # Arrays are taken out of their tuples once: handing over a tuple costs more than a fill.
    price = market.close[t] if rules.same_bar else market.open[t]
    if market.fill.size > 0:
        price = market.fill[t]
    can_trade, adv, mark, target = market.can_trade[t], market.adv_value[d], book.mark, book.target
    quoted, coefs, caps = (
        market.half_spread_frac, market.impact_coef_bps, market.participation_cap_frac,
    )  # fmt: skip
    has_rates, has_mask = quoted.size + coefs.size + caps.size > 0, market.shortable.size > 0
    every, shares, net, active, batch = (
        book.shares,
        book.shares[k],
        book.net,
        book.active,
        book.batch,
    )
    n_active = _list_active(shares, target, book.flags, active)
    for start in range(0, n_active, BATCH):
        columns = active[start : min(start + BATCH, n_active)]
        n = columns.size
        _collect(columns, shares, target, mark, price, adv, can_trade, batch)
        _set_rates(batch, n, reason, rules)
        if has_rates:
            for j in range(n):
                rates = fill_rates(quoted, coefs, caps, t, columns[j], rules)
                batch[_SPREAD_RATE + j] = rates.half_spread_frac
                batch[_IMPACT_RATE + j] = rates.impact_coef_bps
                batch[_CAP + j] = rates.participation_cap_frac
        if has_mask:
            _refuse_shorts(market.shortable[d], columns, reason, batch)
        _size(batch, n, equity, every.shape[0], rules)
        _fill(batch, n, rules)
        used = _execute_batch(batch, columns, t, d, k, day, every, net, orders, used)
    return used


@njit(cache=True, nogil=True)
def _list_active(shares, target, flags, active):
    """List the columns of a tranche that hold or want something; say how many."""
    for i in range(shares.size):
        flags[i] = (shares[i] != 0.0) | (target[i] != 0.0)
    return list_flagged(flags, active)


@njit(cache=True, nogil=True)
def _collect(columns, shares, target, mark, price, adv, can_trade, batch):
    """Put what an order depends on side by side, so that the next steps run in vectors."""
    for j in range(columns.size):
        i = columns[j]
        batch[_HELD + j] = shares[i]
        batch[_WEIGHT + j] = target[i]
        batch[_MARK + j] = mark[i]
        batch[_PRICE + j] = price[i]
        batch[_ADV + j] = adv[i]
        batch[_TRADES + j] = can_trade[i]


@njit(cache=True, nogil=True)
def _set_rates(batch, n, reason, rules):
    for j in range(n):
        batch[_REASON + j] = reason
        batch[_SPREAD_RATE + j] = rules.half_spread_frac
        batch[_IMPACT_RATE + j] = rules.impact_coef_bps
        batch[_CAP + j] = rules.participation_cap_frac


@njit(cache=True, nogil=True)
def _refuse_shorts(shortable, columns, reason, batch):
    """Shorts without borrow are closed and not opened; a recall leaves everything else alone."""
    for j in range(columns.size):
        no_borrow = not shortable[columns[j]]
        if reason == BY_NO_BORROW:
            if not (no_borrow and batch[_HELD + j] < 0.0):
                batch[_HELD + j] = 0.0
            batch[_WEIGHT + j] = 0.0
        elif no_borrow and batch[_WEIGHT + j] < 0.0:
            batch[_WEIGHT + j] = 0.0
            if batch[_HELD + j] < 0.0:
                batch[_REASON + j] = BY_NO_BORROW


@njit(cache=True, nogil=True, error_model="numpy")
def _size(batch, n, equity, n_tranches, rules):
    for j in range(n):
        batch[_ORDERED + j] = wanted_change(
            batch[_WEIGHT + j], batch[_HELD + j], batch[_MARK + j], equity, n_tranches, rules
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(batch, n, rules):
    # Two loops: in one the compiler finds too many branches for vectors.
    for j in range(n):
        status, filled = fill_part(
            batch[_ORDERED + j],
            batch[_HELD + j],
            batch[_PRICE + j],
            batch[_ADV + j],
            batch[_TRADES + j] != 0.0,
            batch[_CAP + j],
            rules,
        )
        batch[_STATUS + j] = status
        batch[_FILLED + j] = filled
    for j in range(n):
        fee, spread, impact = fill_costs(
            batch[_FILLED + j],
            batch[_PRICE + j],
            batch[_ADV + j],
            batch[_SPREAD_RATE + j],
            batch[_IMPACT_RATE + j],
            rules,
        )
        batch[_FEE + j] = fee
        batch[_SPREAD + j] = spread
        batch[_IMPACT + j] = impact


@njit(cache=True, nogil=True, error_model="numpy")
def _execute_batch(batch, columns, t, d, k, day, every, net, orders, used):
    """Write the orders of a batch, and move their shares and cash."""
    shares, is_single = every[k], every.shape[0] == 1
    cash, traded, sum_fees, sum_spread, sum_impact = (
        day[CASH], day[TRADED], day[FEES], day[SPREAD], day[IMPACT],
    )  # fmt: skip
    for j in range(columns.size):
        ordered = batch[_ORDERED + j]
        if ordered == 0.0:
            continue
        i, filled, price = columns[j], batch[_FILLED + j], batch[_PRICE + j]
        fee, spread, impact = batch[_FEE + j], batch[_SPREAD + j], batch[_IMPACT + j]
        order = orders[used]
        order.decision_row = d
        order.row = t
        order.asset = i
        order.tranche = k
        order.reason = batch[_REASON + j]
        order.status = batch[_STATUS + j]
        order.ordered_shares = ordered
        order.filled_shares = filled
        order.decision_price = batch[_MARK + j]
        order.reference_price = price if batch[_TRADES + j] != 0.0 else np.nan
        order.adv_value = batch[_ADV + j]
        order.fee = fee
        order.spread = spread
        order.impact = impact
        used += 1
        if filled == 0.0:
            continue
        cash -= filled * price + fee + spread + impact
        traded += abs(filled) * price
        sum_fees += fee
        sum_spread += spread
        sum_impact += impact
        shares[i] += filled
        if is_single:
            net[i] = shares[i]
        else:
            sum_net(every, net, i)
    day[CASH], day[TRADED] = cash, traded
    day[FEES], day[SPREAD], day[IMPACT] = sum_fees, sum_spread, sum_impact
    return used


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
    """Fill an order as far as bar and volume allow: status, shares, fee, spread and impact."""
    cap = rates.participation_cap_frac
    status, filled = fill_part(ordered, held, price, adv, can_trade, cap, rules)
    fee, spread, impact = fill_costs(
        filled, price, adv, rates.half_spread_frac, rates.impact_coef_bps, rules
    )
    return status, filled, fee, spread, impact


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def fill_part(ordered, held, price, adv, can_trade, cap_frac, rules) -> tuple[int, float]:
    """Status of an order and the shares that fill.

    `held` (shares) tells an order that opens or adds from one that reduces. What the cap leaves of
    an order is cut to whole lots.
    """
    limits = FillLimits(cap_frac, rules.min_fill_frac, rules.needs_adv)
    status, fraction = decide_fill(ordered, price, adv, held, can_trade, limits)
    filled = ordered * fraction if fraction > 0.0 else 0.0
    if rules.lot_shares > 0.0 and 0.0 < fraction < 1.0:
        filled = np.trunc(filled / rules.lot_shares) * rules.lot_shares
        if filled == 0.0:
            return BELOW_MIN_FILL, 0.0
    return status, filled


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def fill_costs(filled, price, adv, half_spread_frac, impact_coef_bps, rules) -> tuple[float, ...]:
    """Fee, spread and impact of filled shares; without a fill there may be no price either."""
    traded = abs(filled) * price
    fee = fee_cost(traded, rules.fee_bps)
    spread = spread_cost(traded, half_spread_frac)
    impact = impact_cost(traded, adv, impact_coef_bps)
    if filled == 0.0:
        return 0.0, 0.0, 0.0
    return fee, spread, impact
