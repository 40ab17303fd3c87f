"""Orders: from target weights to the shares that change, each with an id that cannot repeat.

Contract: an order id is the digest of decision, asset, side and session, so that sending the same
decision twice sends the same orders, and a broker that knows the id ignores the second one. Sizes
come from the equity and the marks of the decision and never from the price of the fill.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.hashing import sha256_json

__all__ = [
    "CompiledOrders",
    "Decision",
    "OmittedTarget",
    "Order",
    "OrderRules",
    "Side",
    "compile_orders",
    "net_targets",
    "order_id",
    "parse_session",
]


class Side(StrEnum):
    """Direction of an order."""

    BUY = "buy"
    SELL = "sell"


def parse_session(name: str, text: str) -> str:
    """Return the session when it is an ISO date.

    Parameters
    ----------
    name : str
        Argument name for the message.
    text : str
        ``YYYY-MM-DD``.

    Returns
    -------
    str
        The same text; sessions in this form compare in the order of time.

    Raises
    ------
    ConfigError
        Anything else.

    Examples
    --------
    >>> parse_session("session", "2024-05-02")
    '2024-05-02'
    """
    try:
        parsed = date.fromisoformat(text).isoformat()
    except ValueError:
        parsed = ""
    if parsed != text:
        raise ConfigError(name, wanted="a date YYYY-MM-DD", got=repr(text), hint="Use ISO dates.")
    return text


def order_id(decision_id: str, asset_id: str, side: Side, *, session: str) -> str:
    """Identity of an order: the same decision makes the same id, whoever asks and however often.

    Parameters
    ----------
    decision_id : str
        Identity of the decision.
    asset_id : str
        Asset.
    side : Side
        Direction.
    session : str
        Session in which the order is to fill, ``YYYY-MM-DD``.

    Returns
    -------
    str
        32 hexadecimal characters: the first half of a SHA-256.

    Examples
    --------
    >>> order_id("d1", "A@US#1", Side.BUY, session="2024-05-02")[:8]
    '36e1d25a'
    """
    return sha256_json([decision_id, asset_id, str(side), session])[:32]


@dataclass(frozen=True)
class Order:
    """An instruction to trade in one session.

    Parameters
    ----------
    order_id : str
        See `order_id`.
    decision_id, asset_id : str
        What it came from and what it trades.
    side : Side
        Direction.
    shares : float
        Size, above 0.
    session : str
        Session in which it is to fill; what does not fill then expires.
    decision_price : float
        Mark on which the size was computed, currency per share.
    """

    order_id: str
    decision_id: str
    asset_id: str
    side: Side
    shares: float
    session: str
    decision_price: float

    def __post_init__(self) -> None:
        parse_session("order.session", self.session)
        if not 0.0 < self.shares < math.inf:
            raise DataError(
                "order.shares",
                wanted="a finite number above 0",
                got=self.shares,
                hint="The side carries the sign.",
            )
        wanted = order_id(self.decision_id, self.asset_id, self.side, session=self.session)
        if self.order_id != wanted:
            raise DataError(
                "order.order_id",
                wanted=wanted,
                got=self.order_id,
                hint="Make orders with compile_orders or order_id.",
            )

    @property
    def signed_shares(self) -> float:
        """Shares, negative for a sale."""
        return self.shares if self.side is Side.BUY else -self.shares


class OrderRules(FrozenConfig):
    """How a wanted change of position becomes an order.

    Parameters
    ----------
    lot_shares : float
        Orders are whole multiples of this many shares, rounded towards no trade; 0 = fractions of
        a share are allowed. An order that closes a position is never rounded.
    min_notional_usd : float
        Smaller orders are left out, unless they close a position.
    no_trade_band_frac : float
        A position on the right side is left alone while its change is at most this fraction of
        what is wanted.
    allow_short : bool
        Whether targets below 0 are accepted.

    Examples
    --------
    >>> OrderRules(lot_shares=1.0).lot_shares
    1.0
    """

    lot_shares: float = Field(default=0.0, ge=0.0)
    min_notional_usd: float = Field(default=0.0, ge=0.0)
    no_trade_band_frac: float = Field(default=0.0, ge=0.0)
    allow_short: bool = True


@dataclass(frozen=True)
class Decision:
    """Target weights of one decision.

    Parameters
    ----------
    decision_id : str
        Identity of what was decided, for example an artifact id.
    session : str
        Session in which the orders are to fill, ``YYYY-MM-DD``.
    equity_usd : float
        Equity at the decision, currency, above 0.
    weights : mapping of str to float
        Fraction of equity per asset, signed. An asset that is held and not named here is closed.
    """

    decision_id: str
    session: str
    equity_usd: float
    weights: Mapping[str, float]


class OmittedTarget(NamedTuple):
    """A target that made no order.

    Parameters
    ----------
    asset_id : str
        Asset.
    reason : {"no_mark", "inside_band", "below_min_notional", "below_one_lot"}
        Why. A target that is already met is not listed.
    change_shares : float
        What would have been ordered, signed; NaN without a mark.
    """

    asset_id: str
    reason: str
    change_shares: float


class CompiledOrders(NamedTuple):
    """What a decision asks for.

    Parameters
    ----------
    orders : tuple of Order
        In ascending order of asset id.
    omitted : tuple of OmittedTarget
        In the same order.
    """

    orders: tuple[Order, ...]
    omitted: tuple[OmittedTarget, ...]


def net_targets(
    books: Mapping[str, Mapping[str, float]], shares_of_equity: Mapping[str, float]
) -> dict[str, float]:
    """Add up the targets of several strategies, so that opposite orders never reach the market.

    ``w_i = sum over books of a_b * w_bi``.

    Parameters
    ----------
    books : mapping of str to mapping of str to float
        Target weights by strategy, fractions of the strategy's own equity.
    shares_of_equity : mapping of str to float
        Fraction of total equity that each strategy manages.

    Returns
    -------
    dict of str to float
        Fraction of total equity per asset, in ascending order of asset id. The sum does not depend
        on the order of the strategies. What nets to 0 stays as a target of 0.

    Raises
    ------
    ConfigError
        A strategy without a share of equity, or the reverse.

    Examples
    --------
    >>> books = {"a": {"X@US#1": 0.5}, "b": {"X@US#1": -0.25, "Y@US#1": 0.5}}
    >>> net_targets(books, {"a": 0.5, "b": 0.5})
    {'X@US#1': 0.125, 'Y@US#1': 0.25}
    """
    if set(books) != set(shares_of_equity):
        raise ConfigError(
            "shares_of_equity",
            wanted=f"one for each of {sorted(books)}",
            got=sorted(shares_of_equity),
            hint="Give every strategy its fraction of equity.",
        )
    parts: dict[str, list[float]] = {}
    for name, book in books.items():
        for asset, weight in book.items():
            parts.setdefault(asset, []).append(shares_of_equity[name] * weight)
    return {asset: math.fsum(parts[asset]) for asset in sorted(parts)}


def compile_orders(
    decision: Decision,
    positions: Mapping[str, float],
    marks: Mapping[str, float],
    *,
    rules: OrderRules | None = None,
) -> CompiledOrders:
    """Turn target weights into the orders that lead to them.

    ``shares = w * equity / mark - held``, rounded towards no trade to whole lots. This is the
    sizing rule of the simulator, operation by operation, so equal inputs give equal bits.

    Parameters
    ----------
    decision : Decision
        Targets and the equity they are fractions of.
    positions : mapping of str to float
        Shares held at the decision, signed.
    marks : mapping of str to float
        Last close known at the decision, currency per share; NaN or absent = unknown.
    rules : OrderRules, optional
        Lots, minimum and band; the defaults change nothing.

    Returns
    -------
    CompiledOrders
        Orders, and the targets that made none with the reason.

    Raises
    ------
    DataError
        Equity that is not above 0, a weight that is no number, or a short target that is not
        allowed.

    Examples
    --------
    >>> decision = Decision("d1", "2024-05-02", 1_000.0, {"A@US#1": 0.5})
    >>> made = compile_orders(decision, {"B@US#1": 3.0}, {"A@US#1": 10.0, "B@US#1": 20.0})
    >>> [(order.asset_id, str(order.side), order.shares) for order in made.orders]
    [('A@US#1', 'buy', 50.0), ('B@US#1', 'sell', 3.0)]
    """
    rules = OrderRules() if rules is None else rules
    _check_decision(decision, rules)
    orders: list[Order] = []
    omitted: list[OmittedTarget] = []
    held_ids = [asset for asset, shares in positions.items() if shares != 0.0]
    for asset in sorted({*decision.weights, *held_ids}):
        held = positions.get(asset, 0.0)
        mark = marks.get(asset, math.nan)
        target = decision.weights.get(asset, 0.0)
        change, reason = _wanted_change(target * decision.equity_usd, held, mark, rules)
        if reason:
            omitted.append(OmittedTarget(asset, reason, change))
        elif change != 0.0:
            orders.append(_sized_order(decision, asset, change, mark))
    return CompiledOrders(tuple(orders), tuple(omitted))


def _wanted_change(
    target_value: float, held: float, mark: float, rules: OrderRules
) -> tuple[float, str]:
    if target_value == 0.0:
        return -held, ""
    if not math.isfinite(mark):
        return math.nan, "no_mark"
    wanted = target_value / mark
    change = wanted - held
    if held * wanted > 0.0 and abs(change) <= rules.no_trade_band_frac * abs(wanted):
        return change, "inside_band" if change != 0.0 else ""
    if rules.lot_shares > 0.0:
        whole = math.trunc(change / rules.lot_shares) * rules.lot_shares
        if whole == 0.0 and change != 0.0:
            return change, "below_one_lot"
        change = whole
    if change != 0.0 and abs(change) * mark < rules.min_notional_usd:
        return change, "below_min_notional"
    return change, ""


def _sized_order(decision: Decision, asset: str, change: float, mark: float) -> Order:
    side = Side.BUY if change > 0.0 else Side.SELL
    key = order_id(decision.decision_id, asset, side, session=decision.session)
    return Order(key, decision.decision_id, asset, side, abs(change), decision.session, mark)


def _check_decision(decision: Decision, rules: OrderRules) -> None:
    if not 0.0 < decision.equity_usd < math.inf:
        raise DataError(
            "decision.equity_usd",
            wanted="a finite amount above 0",
            got=decision.equity_usd,
            hint="An account without equity does not trade.",
        )
    for asset, weight in decision.weights.items():
        if not math.isfinite(weight):
            raise DataError(
                f"decision.weights[{asset!r}]",
                wanted="a finite fraction of equity",
                got=weight,
                hint="Leave an asset without a target out; a held one is then closed.",
            )
        if weight < 0.0 and not rules.allow_short:
            raise DataError(
                f"decision.weights[{asset!r}]",
                wanted="at least 0 (allow_short is off)",
                got=weight,
                hint="Clip the targets where they are made, or allow shorts.",
            )
