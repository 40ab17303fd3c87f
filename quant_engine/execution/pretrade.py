"""Pre-trade and post-fill checks: limits on single orders and on the book they would make.

Contract: orders are checked one after another in their order against the book that the allowed
ones before them would make. An order that only reduces a position always passes, because refusing
it would keep the risk that the limit is about. What is refused is never resized: a smaller order is
a new decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError
from quant_engine.execution.lifecycle import OrderEvent
from quant_engine.execution.orders import Order
from quant_engine.execution.safety import ScreenedOrders

__all__ = ["FillAlert", "PreTradeLimits", "TradedBook", "check_fills", "check_orders"]


class PreTradeLimits(FrozenConfig):
    """Limits; None = not checked.

    Parameters
    ----------
    max_order_usd : float or None
        Largest value of one order at its mark, currency.
    max_order_adv_frac : float or None
        Largest share of the average daily traded value; an unknown one refuses.
    max_position_frac : float or None
        Largest position after the order, fraction of equity.
    max_gross_frac : float or None
        Largest gross value of the book after the order, fraction of equity.
    max_fill_move_frac : float or None
        Fills further than this from the decision price raise an alert, fraction.

    Examples
    --------
    >>> PreTradeLimits(max_position_frac=0.1).max_gross_frac is None
    True
    """

    max_order_usd: float | None = Field(default=None, gt=0.0)
    max_order_adv_frac: float | None = Field(default=None, gt=0.0)
    max_position_frac: float | None = Field(default=None, gt=0.0)
    max_gross_frac: float | None = Field(default=None, gt=0.0)
    max_fill_move_frac: float | None = Field(default=None, gt=0.0)


@dataclass(frozen=True)
class TradedBook:
    """What the orders would change.

    Parameters
    ----------
    equity_usd : float
        Equity at the decision, currency, above 0.
    positions : mapping of str to float
        Shares held, signed.
    marks : mapping of str to float
        Last known close of every asset held or ordered, currency per share.
    adv_value : mapping of str to float
        Average daily traded value, currency; absent = unknown.
    """

    equity_usd: float
    positions: Mapping[str, float]
    marks: Mapping[str, float]
    adv_value: Mapping[str, float]


def check_orders(
    orders: Sequence[Order], book: TradedBook, limits: PreTradeLimits
) -> ScreenedOrders:
    """Refuse the orders that would break a limit.

    Parameters
    ----------
    orders : sequence of Order
        In the order in which they are checked.
    book : TradedBook
        Holdings and prices at the decision.
    limits : PreTradeLimits
        Limits; a value equal to its limit holds it.

    Returns
    -------
    ScreenedOrders
        Every order is in exactly one of the two parts.

    Raises
    ------
    DataError
        Equity that is not above 0, or an asset without a mark.

    Examples
    --------
    >>> from quant_engine.execution.orders import Decision, compile_orders
    >>> marks = {"A@US#1": 10.0, "B@US#1": 10.0}
    >>> decision = Decision("d", "2024-05-02", 100.0, {"A@US#1": 0.3, "B@US#1": 0.8})
    >>> orders = compile_orders(decision, {}, marks).orders
    >>> found = check_orders(
    ...     orders, TradedBook(100.0, {}, marks, {}), PreTradeLimits(max_position_frac=0.5)
    ... )
    >>> list(found.refusals.values())
    ['position of B@US#1 would be 0.8 of equity, limit 0.5']
    """
    if not 0.0 < book.equity_usd < math.inf:
        raise DataError(
            "book.equity_usd", wanted="a finite amount above 0", got=book.equity_usd, hint="Stop."
        )
    held = dict(book.positions)
    gross = sum(abs(shares) * _known_mark(book, asset) for asset, shares in held.items() if shares)
    allowed: list[Order] = []
    refusals: dict[str, str] = {}
    for order in orders:
        mark = _known_mark(book, order.asset_id)
        before = held.get(order.asset_id, 0.0)
        after = before + order.signed_shares
        gross_after = gross + (abs(after) - abs(before)) * mark
        reduces = before * order.signed_shares < 0.0 and before * after >= 0.0
        reason = "" if reduces else _broken(order, book, limits, after * mark, gross_after)
        if reason:
            refusals[order.order_id] = reason
            continue
        held[order.asset_id], gross = after, gross_after
        allowed.append(order)
    return ScreenedOrders(tuple(allowed), refusals)


def _known_mark(book: TradedBook, asset: str) -> float:
    mark = book.marks.get(asset, math.nan)
    if not 0.0 < mark < math.inf:
        raise DataError(
            "book.marks",
            wanted=f"a price above 0 of {asset}",
            got=mark,
            hint="Only assets with a known price can be checked.",
        )
    return mark


def _broken(
    order: Order, book: TradedBook, limits: PreTradeLimits, position_usd: float, gross_usd: float
) -> str:
    value = order.shares * _known_mark(book, order.asset_id)
    adv = book.adv_value.get(order.asset_id, math.nan)
    asset, equity = order.asset_id, book.equity_usd
    # An unknown ADV is a share that is not below any limit.
    share = value / adv if adv > 0.0 else math.inf
    rows = (
        (limits.max_order_usd, value, f"order in {asset} is {value:.6g}"),
        (limits.max_order_adv_frac, share, f"order in {asset} is {share:.4g} of ADV"),
        (
            limits.max_position_frac,
            abs(position_usd) / equity,
            f"position of {asset} would be {abs(position_usd) / equity:.4g} of equity",
        ),
        (
            limits.max_gross_frac,
            gross_usd / equity,
            f"gross value would be {gross_usd / equity:.4g} of equity",
        ),
    )
    broken = [
        f"{text}, limit {limit:g}" for limit, found, text in rows if limit and not found <= limit
    ]
    return "; ".join(broken)


@dataclass(frozen=True)
class FillAlert:
    """A fill that a person should look at.

    Parameters
    ----------
    order_id, asset_id : str
        Order and asset.
    move_frac : float
        Fill price over decision price, less 1, signed so that positive is against the order.
    """

    order_id: str
    asset_id: str
    move_frac: float


def check_fills(events: Sequence[OrderEvent], limits: PreTradeLimits) -> tuple[FillAlert, ...]:
    """Find fills far from the price on which they were decided.

    Parameters
    ----------
    events : sequence of OrderEvent
        Part of a trail.
    limits : PreTradeLimits
        ``max_fill_move_frac``; without it nothing is found.

    Returns
    -------
    tuple of FillAlert
        In the order of happening. Moves in favour of the order count too: a price that is too good
        is usually wrong.

    Examples
    --------
    >>> check_fills((), PreTradeLimits(max_fill_move_frac=0.1))
    ()
    """
    limit = limits.max_fill_move_frac
    found: list[FillAlert] = []
    for event in events:
        if event.fill is None or limit is None:
            continue
        sign = math.copysign(1.0, event.fill.shares)
        move = sign * (event.fill.price / event.order.decision_price - 1.0)
        # Written so that a move that cannot be computed is an alert.
        if not abs(move) <= limit:
            found.append(FillAlert(event.order.order_id, event.order.asset_id, move))
    return tuple(found)
