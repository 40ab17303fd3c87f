"""Broker: who takes orders and keeps the cash and the shares, real or simulated.

Contract: a broker is told orders and reports events; it is asked what it holds. Whoever trades
keeps an own account from the events (`Account.after`) and compares it with the broker's
(`execution.reconcile`), so neither is believed alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from quant_engine.core.errors import DataError
from quant_engine.execution.fills import FillRates
from quant_engine.execution.lifecycle import Fill, OrderEvent
from quant_engine.execution.orders import Order

__all__ = ["Account", "Broker", "Quote"]


@dataclass(frozen=True)
class Quote:
    """What one asset offers in a session.

    Parameters
    ----------
    price : float
        Price at which orders fill (the open), currency per share; NaN = no bar.
    adv_value : float
        Average daily traded value known at the *decision*, currency; NaN = unknown.
    half_spread_frac : float
        Half of the quoted spread of this session, fraction of price; NaN = that of the profile.
    dividend : float
        Paid per share to who held over the previous close, currency; NaN = none.
    can_trade : bool
        Whether the session has a bar with volume.
    rates : FillRates, optional
        Rates of a cost model for this fill (`CostRates.at`); they replace those of the profile and
        `half_spread_frac`. Fees are always the profile's.

    Examples
    --------
    >>> Quote(10.0, adv_value=1e6).can_trade
    True
    """

    price: float
    adv_value: float = math.nan
    half_spread_frac: float = math.nan
    dividend: float = math.nan
    can_trade: bool = True
    rates: FillRates | None = None


@dataclass(frozen=True)
class Account:
    """Cash and shares; a new account after every change.

    Parameters
    ----------
    cash : float
        Currency; negative = borrowed.
    positions : mapping of str to float
        Shares held, signed; assets with 0 shares are left out.

    Examples
    --------
    >>> fill = Fill("id", "A@US#1", "2024-05-02", 10.0, 5.0, fee=1.0)
    >>> after = Account(100.0).after([fill])
    >>> after.cash, dict(after.positions), after.equity({"A@US#1": 6.0})
    (49.0, {'A@US#1': 10.0}, 109.0)
    """

    cash: float
    positions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        held = {asset: shares for asset, shares in sorted(self.positions.items()) if shares != 0.0}
        object.__setattr__(self, "positions", MappingProxyType(held))

    def after(self, fills: Iterable[Fill], *, income: float = 0.0) -> Account:
        """Account after fills and other income.

        Parameters
        ----------
        fills : iterable of Fill
            In the order of happening.
        income : float
            Dividends and interest less fees that no fill carries, currency; added first.

        Returns
        -------
        Account
            A new one.
        """
        cash = self.cash + income
        positions = dict(self.positions)
        for fill in fills:
            cash += fill.cash_change
            positions[fill.asset_id] = positions.get(fill.asset_id, 0.0) + fill.shares
        return Account(cash, positions)

    def values(self, marks: Mapping[str, float]) -> tuple[float, float]:
        """Market value held long and held short.

        Parameters
        ----------
        marks : mapping of str to float
            Last known close of every asset held, currency per share.

        Returns
        -------
        long_value, short_value : float
            Currency, both at least 0, summed in ascending order of asset id.

        Raises
        ------
        DataError
            A held asset without a mark.
        """
        long_value = short_value = 0.0
        for asset, shares in self.positions.items():
            mark = marks.get(asset, math.nan)
            if not math.isfinite(mark):
                raise DataError(
                    "marks",
                    wanted=f"a finite price of {asset}, which is held",
                    got=mark,
                    hint="Carry the last known close, or settle the position.",
                )
            value = shares * mark
            if value > 0.0:
                long_value += value
            else:
                short_value -= value
        return long_value, short_value

    def equity(self, marks: Mapping[str, float]) -> float:
        """Cash plus long less short value at the marks, in currency; see `values`."""
        long_value, short_value = self.values(marks)
        return self.cash + long_value - short_value


class Broker(Protocol):
    """Takes orders, reports what became of them, and knows what is held."""

    def submit(
        self,
        orders: Sequence[Order],
        *,
        session: str,
        refusals: Mapping[str, str] | None = None,
    ) -> tuple[OrderEvent, ...]:
        """Hand in orders; an id that is known already makes no second order and no event.

        Orders named in `refusals` (reason by id) are recorded and rejected.
        """

    def cancel(self, order_id: str, *, session: str, reason: str) -> OrderEvent:
        """Withdraw what is open of an order."""

    def account(self) -> Account:
        """Cash and shares as the broker has them."""

    def events(self) -> tuple[OrderEvent, ...]:
        """Everything that happened to orders so far."""
