"""Safety: a latch that trips by itself and is released by a named person, and what it forbids.

Contract: a tripped latch stays tripped, whatever later measurements say, until somebody releases
it under their name and with a reason; both are records that are never removed. While any latch is
tripped only orders that reduce a known position pass (`screen_orders`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from quant_engine.core.errors import ConfigError
from quant_engine.execution.orders import Order, parse_session

__all__ = ["Latch", "LatchRecord", "ScreenedOrders", "screen_orders"]


@dataclass(frozen=True)
class LatchRecord:
    """One move of a latch.

    Parameters
    ----------
    action : {"trip", "release"}
        What happened.
    session : str
        When, ``YYYY-MM-DD``.
    by : str
        The person who released it; the name of the latch for a trip.
    reasons : tuple of str
        Why.
    """

    action: Literal["trip", "release"]
    session: str
    by: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Latch:
    """A stop that keeps itself until released.

    Parameters
    ----------
    name : str
        What it guards, for example ``kill switch`` or ``safe mode``.
    records : tuple of LatchRecord
        Its history, oldest first.

    Examples
    --------
    >>> latch = Latch("kill switch").trip(("drawdown -16 %",), session="2024-05-02")
    >>> latch.is_tripped, latch.trip((), session="2024-05-03").is_tripped
    (True, True)
    >>> latch.release(by="R. Officer", session="2024-05-06", reason="positions cut").is_tripped
    False
    """

    name: str
    records: tuple[LatchRecord, ...] = ()

    @property
    def is_tripped(self) -> bool:
        """Whether the last move was a trip."""
        return bool(self.records) and self.records[-1].action == "trip"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every reason since the last release, in the order of happening."""
        found: list[str] = []
        for record in self.records:
            found = [*found, *record.reasons] if record.action == "trip" else []
        return tuple(found)

    def trip(self, reasons: Sequence[str], *, session: str) -> Latch:
        """Latch with the reasons that are new; the same one where there is none.

        Parameters
        ----------
        reasons : sequence of str
            Why; empty = nothing to trip for.
        session : str
            When, ``YYYY-MM-DD``, not before the last record.

        Returns
        -------
        Latch
            Tripped where it was tripped before or a reason is given.

        Raises
        ------
        ConfigError
            A session before the last record.
        """
        self._check_session(session)
        new = tuple(dict.fromkeys(reason for reason in reasons if reason not in self.reasons))
        if not new:
            return self
        record = LatchRecord("trip", session, self.name, new)
        return replace(self, records=(*self.records, record))

    def release(self, *, by: str, session: str, reason: str) -> Latch:
        """Latch released by a person.

        Parameters
        ----------
        by : str
            Name of the person who answers for it.
        session : str
            When, ``YYYY-MM-DD``, not before the last record.
        reason : str
            What was found or done.

        Returns
        -------
        Latch
            Not tripped.

        Raises
        ------
        ConfigError
            Nothing to release, no name, no reason, or a session before the last record.
        """
        self._check_session(session)
        if not self.is_tripped or not by.strip() or not reason.strip():
            raise ConfigError(
                f"release of {self.name}",
                wanted="a tripped latch, the name of a person and a reason",
                got=f"tripped={self.is_tripped}, by={by!r}, reason={reason!r}",
                hint="A person looks at the reasons first and says what was done.",
            )
        record = LatchRecord("release", session, by.strip(), (reason.strip(),))
        return replace(self, records=(*self.records, record))

    def _check_session(self, session: str) -> None:
        parse_session("session", session)
        if self.records and session < self.records[-1].session:
            raise ConfigError(
                "session",
                wanted=f"{self.records[-1].session} or later",
                got=session,
                hint="Records stand in the order of time.",
            )


class ScreenedOrders(NamedTuple):
    """Orders after the safety rules.

    Parameters
    ----------
    allowed : tuple of Order
        May be sent.
    refusals : dict of str to str
        Reason by order id; hand it to the broker, so that the trail holds the rejection.
    """

    allowed: tuple[Order, ...]
    refusals: dict[str, str]


def screen_orders(
    orders: Sequence[Order],
    positions: Mapping[str, float],
    *,
    latches: Sequence[Latch] = (),
    unknown_assets: Collection[str] = (),
) -> ScreenedOrders:
    """Hold back what the safety rules forbid.

    Parameters
    ----------
    orders : sequence of Order
        What a decision asks for.
    positions : mapping of str to float
        Shares that we know we hold, signed.
    latches : sequence of Latch
        While one is tripped, an order has to reduce a position without turning it over.
    unknown_assets : collection of str
        Assets in which the broker holds something that we do not know; nothing is sent there.

    Returns
    -------
    ScreenedOrders
        Every order is in exactly one of the two.

    Examples
    --------
    >>> from quant_engine.execution.orders import Decision, compile_orders
    >>> orders = compile_orders(
    ...     Decision("d", "2024-05-02", 100.0, {"B@US#1": 1.0}), {"A@US#1": 2.0}, {"B@US#1": 10.0}
    ... ).orders
    >>> latch = Latch("kill switch").trip(["stale data"], session="2024-05-01")
    >>> screened = screen_orders(orders, {"A@US#1": 2.0}, latches=[latch])
    >>> [order.asset_id for order in screened.allowed], list(screened.refusals.values())
    (['A@US#1'], ['kill switch: stale data'])
    """
    stops = [f"{latch.name}: {'; '.join(latch.reasons)}" for latch in latches if latch.is_tripped]
    allowed: list[Order] = []
    refusals: dict[str, str] = {}
    for order in orders:
        held = positions.get(order.asset_id, 0.0)
        reduces = held * order.signed_shares < 0.0 and order.shares <= abs(held)
        if order.asset_id in unknown_assets:
            refusals[order.order_id] = "the broker holds a position that is not ours"
        elif stops and not reduces:
            refusals[order.order_id] = " | ".join(stops)
        else:
            allowed.append(order)
    return ScreenedOrders(tuple(allowed), refusals)
