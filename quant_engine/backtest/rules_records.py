"""Order records of the rules kernel: one place per order, filled and charged where it stands."""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.backtest.kernel_state import CASH, FEES, IMPACT, SPREAD, TRADED
from quant_engine.backtest.order_batch import execute


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def fill_order(order, can_trade, rates, price, rules, held, day) -> bool:
    """Fill an order at a price as far as bar and volume allow, charge its costs; say if it filled.

    The order's own ``adv_value`` counts; `held` (shares) tells an order that opens or adds from one
    that reduces. Cash and costs are booked on the day.
    """
    status, filled, fee, spread, impact = execute(
        order.ordered_shares, held, price, order.adv_value, can_trade, rates, rules
    )
    order.status = status
    if can_trade:
        order.reference_price = price
    if filled == 0.0:
        return False
    order.filled_shares = filled
    order.fee = fee
    order.spread = spread
    order.impact = impact
    day[CASH] -= filled * price + fee + spread + impact
    day[TRADED] += abs(filled) * price
    day[FEES] += fee
    day[SPREAD] += spread
    day[IMPACT] += impact
    return True


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
