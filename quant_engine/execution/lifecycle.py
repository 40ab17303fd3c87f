"""The life of an order: a checked state machine and its append-only audit trail.

Contract, in the order of one event:

1. `OrderTrail.append` refuses a step that `TRANSITIONS` does not know, and fills beyond the order;
2. the event gets a number and a digest over itself and the digest before it, so that a record that
   is changed, moved or removed later is noticed by `verify_trail`;
3. the state of the order is the fold of its events and is kept nowhere else.

An event is what happened, never what is wanted: cash and positions are sums over the fills here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from quant_engine.core.errors import DataError, IntegrityError
from quant_engine.core.hashing import sha256_json
from quant_engine.execution.orders import Order, parse_session

__all__ = [
    "OPEN_STATUSES",
    "TRANSITIONS",
    "Fill",
    "OrderEvent",
    "OrderState",
    "OrderStatus",
    "OrderTrail",
    "verify_trail",
]


class OrderStatus(StrEnum):
    """Where an order stands."""

    NEW = "new"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


_ENDS = (OrderStatus.CANCELLED, OrderStatus.EXPIRED)
_FILLS = (OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED)

TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = MappingProxyType(
    {
        OrderStatus.NEW: frozenset({OrderStatus.ACCEPTED, OrderStatus.REJECTED}),
        OrderStatus.ACCEPTED: frozenset({*_FILLS, *_ENDS, OrderStatus.REJECTED}),
        OrderStatus.PARTIALLY_FILLED: frozenset({*_FILLS, *_ENDS}),
        **dict.fromkeys((OrderStatus.FILLED, OrderStatus.REJECTED, *_ENDS), frozenset()),
    }
)
"""Steps that an order can take; the four without a step are ends."""

OPEN_STATUSES = frozenset(status for status, after in TRANSITIONS.items() if after)
"""Statuses in which an order can still change."""


@dataclass(frozen=True)
class Fill:
    """Shares that changed hands and what that cost.

    Parameters
    ----------
    order_id, asset_id : str
        Order and asset.
    session : str
        Session of the fill, ``YYYY-MM-DD``.
    shares : float
        Signed, not 0.
    price : float
        Reference price, currency per share; the costs come on top.
    fee, spread, impact : float
        Costs by kind, currency, at least 0.
    """

    order_id: str
    asset_id: str
    session: str
    shares: float
    price: float
    fee: float = 0.0
    spread: float = 0.0
    impact: float = 0.0

    @property
    def cost(self) -> float:
        """All costs, currency."""
        return self.fee + self.spread + self.impact

    @property
    def cash_change(self) -> float:
        """What the fill does to cash, currency; negative for a purchase."""
        return -(self.shares * self.price + self.fee + self.spread + self.impact)


@dataclass(frozen=True)
class OrderEvent:
    """One line of the audit trail.

    Parameters
    ----------
    number : int
        Position in the trail, from 0.
    session : str
        Session in which it happened, ``YYYY-MM-DD``.
    order : Order
        The order, whole, so that the trail stands alone.
    status : OrderStatus
        Status from now on.
    fill : Fill or None
        For the two fill statuses.
    reason : str
        Why, for a rejection, a cancellation, an expiry; empty otherwise.
    previous, digest : str
        Digest of the event before (empty for the first) and of this one.
    """

    number: int
    session: str
    order: Order
    status: OrderStatus
    fill: Fill | None
    reason: str
    previous: str
    digest: str


@dataclass(frozen=True)
class OrderState:
    """What is known of one order now.

    Parameters
    ----------
    order : Order
        The order.
    status : OrderStatus
        Where it stands.
    filled_shares : float
        Sum over its fills, signed.
    reason : str
        Reason of the last event.
    """

    order: Order
    status: OrderStatus
    filled_shares: float = 0.0
    reason: str = ""

    @property
    def open_shares(self) -> float:
        """Shares that could still fill, signed; 0 once the order has ended."""
        if self.status not in OPEN_STATUSES:
            return 0.0
        return self.order.signed_shares - self.filled_shares


class OrderTrail:
    """Every event of every order, in the order of happening; nothing is ever changed or removed.

    Examples
    --------
    >>> from quant_engine.execution.orders import Order, Side, order_id
    >>> key = order_id("d1", "A@US#1", Side.BUY, session="2024-05-02")
    >>> order = Order(key, "d1", "A@US#1", Side.BUY, 10.0, "2024-05-02", 100.0)
    >>> trail = OrderTrail()
    >>> _ = trail.append(order, OrderStatus.NEW, session="2024-05-02")
    >>> _ = trail.append(order, OrderStatus.REJECTED, session="2024-05-02", reason="halted")
    >>> str(trail.state(key).status), len(trail.events)
    ('rejected', 2)
    """

    def __init__(self) -> None:
        self._events: list[OrderEvent] = []
        self._states: dict[str, OrderState] = {}

    @property
    def events(self) -> tuple[OrderEvent, ...]:
        """All events so far."""
        return tuple(self._events)

    @property
    def fills(self) -> tuple[Fill, ...]:
        """All fills so far, in the order of happening."""
        return tuple(event.fill for event in self._events if event.fill is not None)

    def __contains__(self, order_id: object) -> bool:
        return order_id in self._states

    def state(self, order_id: str) -> OrderState:
        """Return the state of an order, or raise DataError for an unknown one."""
        if order_id not in self._states:
            raise DataError(
                "order_id",
                wanted="an order of this trail",
                got=repr(order_id),
                hint="Submit the order first.",
            )
        return self._states[order_id]

    def open_orders(self) -> tuple[OrderState, ...]:
        """States of the orders that can still change, in the order of submission."""
        return tuple(state for state in self._states.values() if state.status in OPEN_STATUSES)

    def require_same(self, order: Order) -> None:
        """Refuse, with IntegrityError, an order that is not the one known under its id."""
        known = self.state(order.order_id).order
        if known != order:
            raise IntegrityError(
                "order",
                wanted=f"the order that {order.order_id} was submitted with: {known}",
                got=order,
                hint="One id means one order; a changed order needs a new decision id.",
            )

    def append(
        self,
        order: Order,
        status: OrderStatus,
        *,
        session: str,
        fill: Fill | None = None,
        reason: str = "",
    ) -> OrderEvent:
        """Add an event after checking that it can follow what is there.

        Parameters
        ----------
        order : Order
            The order; the first event of an order is ``new``.
        status : OrderStatus
            Its status from now on.
        session : str
            Session in which it happened; never before the one of the last event.
        fill : Fill, optional
            With the two fill statuses, and only with them.
        reason : str
            Needed for rejected, cancelled and expired.

        Returns
        -------
        OrderEvent
            As it stands in the trail.

        Raises
        ------
        DataError
            A step that cannot happen, a fill that does not belong to it, or no reason.
        IntegrityError
            Another order under a known id.
        """
        before = self._states.get(order.order_id)
        if before is not None:
            self.require_same(order)
        after = _advance(before, order, status, fill, reason)
        parse_session("event.session", session)
        if self._events and session < self._events[-1].session:
            raise _impossible("session", f"{self._events[-1].session} or later", session)
        previous = self._events[-1].digest if self._events else ""
        number = len(self._events)
        digest = _digest(number, session, order, status, fill, reason, previous)
        event = OrderEvent(number, session, order, status, fill, reason, previous, digest)
        self._events.append(event)
        self._states[order.order_id] = after
        return event


def _advance(
    before: OrderState | None, order: Order, status: OrderStatus, fill: Fill | None, reason: str
) -> OrderState:
    if before is None:
        if status is not OrderStatus.NEW:
            raise _impossible("status", "new as the first event of an order", status)
        if fill is not None:
            raise _impossible("fill", "none with a new order", fill)
        return OrderState(order, status)
    if status not in TRANSITIONS[before.status]:
        allowed = ", ".join(sorted(TRANSITIONS[before.status])) or "nothing: it has ended"
        raise _impossible("status", f"after {before.status}: {allowed}", status)
    if status in (OrderStatus.REJECTED, *_ENDS) and not reason:
        raise _impossible("reason", f"why the order was {status}", repr(reason))
    if (fill is not None) != (status in _FILLS):
        raise _impossible("fill", "one with a fill status and only there", fill)
    filled = before.filled_shares
    if fill is not None:
        filled = _filled(before, status, fill)
    return OrderState(order, status, filled, reason)


def _filled(before: OrderState, status: OrderStatus, fill: Fill) -> float:
    order = before.order
    if (fill.order_id, fill.asset_id) != (order.order_id, order.asset_id):
        raise _impossible("fill", f"a fill of {order.order_id}", fill)
    numbers = (fill.shares, fill.price, fill.fee, fill.spread, fill.impact)
    if not all(math.isfinite(number) for number in numbers):
        raise _impossible("fill", "finite shares, price and costs", fill)
    left = order.signed_shares - before.filled_shares
    if fill.shares == 0.0 or (fill.shares > 0.0) != (left > 0.0) or abs(fill.shares) > abs(left):
        raise _impossible("fill.shares", f"between 0 and the {left} that are open", fill.shares)
    if (fill.shares == left) != (status is OrderStatus.FILLED):
        raise _impossible("status", "filled exactly when nothing is left", status)
    return order.signed_shares if fill.shares == left else before.filled_shares + fill.shares


def _impossible(parameter: str, wanted: str, got: object) -> DataError:
    return DataError(parameter, wanted=wanted, got=got, hint="See execution.lifecycle.TRANSITIONS.")


def _digest(
    number: int,
    session: str,
    order: Order,
    status: OrderStatus,
    fill: Fill | None,
    reason: str,
    previous: str,
) -> str:
    content = [number, session, vars(order), str(status)]
    return sha256_json([*content, None if fill is None else vars(fill), reason, previous])


def verify_trail(events: Iterable[OrderEvent], *, head: str | None = None) -> OrderTrail:
    """Check a stored trail from the first event to the last and rebuild it.

    Parameters
    ----------
    events : iterable of OrderEvent
        In the order of their numbers.
    head : str, optional
        Digest of the last event, kept elsewhere; without it a trail that lost its end looks whole.

    Returns
    -------
    OrderTrail
        The same events, ready to be continued.

    Raises
    ------
    IntegrityError
        An event that is missing, moved or changed, naming the first one.
    DataError
        A step that could not have happened.

    Examples
    --------
    >>> len(verify_trail(()).events)
    0
    """
    trail = OrderTrail()
    for event in events:
        made = trail.append(
            event.order, event.status, session=event.session, fill=event.fill, reason=event.reason
        )
        if made != event:
            raise IntegrityError(
                f"events[{made.number}]",
                wanted=f"number {made.number}, digest {made.digest}",
                got=f"number {event.number}, digest {event.digest}",
                hint="The trail was changed after it was written; read it from its source again.",
            )
    last = trail.events[-1].digest if trail.events else ""
    if head is not None and last != head:
        raise IntegrityError(
            "events",
            wanted=f"a last event with digest {head}",
            got=last or "no event",
            hint="Events are missing at the end of the trail; read it from its source again.",
        )
    return trail
