"""Paper broker: the simulator's cost and fill rules behind the broker's door.

One session, in order: `PaperBroker.submit` takes orders for it, `trade` pays interest and
dividends on what was held over night and fills the orders at the open, `settle` closes what will
not trade again, and `close` lets the rest expire, charges borrow and values the account. The same
functions price a fill here and in the simulator, in the same order of operations, so that a paper
account and a backtest of the same decisions agree bit for bit. There is no randomness and no clock:
what a session offers is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError, LookAheadError
from quant_engine.core.units import BPS
from quant_engine.execution.broker import Account, Quote
from quant_engine.execution.costs import (
    CostProfile,
    borrow_cost,
    fee_cost,
    impact_cost,
    spread_cost,
)
from quant_engine.execution.fills import FILL_STATUSES, PARTIAL, FillLimits, FillRates, decide_fill
from quant_engine.execution.lifecycle import Fill, OrderEvent, OrderStatus, OrderTrail
from quant_engine.execution.orders import Order, parse_session

__all__ = [
    "PaperBroker",
    "PaperConfig",
    "PaperState",
    "SessionClose",
    "SessionTrades",
    "price_fill",
]


class PaperConfig(FrozenConfig):
    """Assumptions of a paper account beside its cost profile.

    Parameters
    ----------
    initial_cash_usd : float
        Starting capital, currency.
    periods_per_year : float
        Sessions per year: accrual of borrow and interest.
    cash_interest_bps_ann : float
        Annual interest on cash, bps, paid per session; a negative balance pays it.

    Examples
    --------
    >>> PaperConfig().initial_cash_usd
    1000000.0
    """

    initial_cash_usd: float = Field(default=1_000_000.0, gt=0.0)
    periods_per_year: float = Field(default=252.0, gt=0.0)
    cash_interest_bps_ann: float = 0.0


@dataclass(frozen=True)
class PaperState:
    """A paper account between two sessions, all that is needed to go on.

    Parameters
    ----------
    account : Account
        Cash and shares.
    marks : mapping of str to float
        Last close of every asset seen so far, currency per share.
    last_session : str
        Last session that was closed, ``YYYY-MM-DD``; empty before the first.
    """

    account: Account
    marks: Mapping[str, float] = field(default_factory=dict)
    last_session: str = ""


@dataclass(frozen=True)
class SessionTrades:
    """What the open of a session did.

    Parameters
    ----------
    session : str
        ``YYYY-MM-DD``.
    interest, dividends : float
        Paid on cash and on shares held over the previous close, currency, signed.
    fills : tuple of Fill
        In ascending order of asset id.
    """

    session: str
    interest: float
    dividends: float
    fills: tuple[Fill, ...] = field(default=())


@dataclass(frozen=True)
class SessionClose:
    """The account at the close of a session.

    Parameters
    ----------
    session : str
        ``YYYY-MM-DD``.
    borrow : float
        Fee on short market value, currency.
    cash, long_value, short_value, equity : float
        Currency; equity is cash plus long less short value.
    """

    session: str
    borrow: float
    cash: float
    long_value: float
    short_value: float
    equity: float


def price_fill(order: Order, quote: Quote, costs: CostProfile, *, held_shares: float) -> Fill | str:
    """Fill an order at a quote as the simulator does.

    Parameters
    ----------
    order : Order
        The order.
    quote : Quote
        What its session offers.
    costs : CostProfile
        Rates, cap and minimum.
    held_shares : float
        Position before the order, signed.

    Returns
    -------
    Fill or str
        The fill, or why there is none: one of `FILL_STATUSES`.

    Notes
    -----
    ``filled = ordered * min(1, cap * ADV / |order|)``; fee, spread and impact as in
    :mod:`quant_engine.execution.costs`.

    Examples
    --------
    >>> from quant_engine.execution.orders import Side, order_id
    >>> key = order_id("d1", "A@US#1", Side.BUY, session="2024-05-02")
    >>> order = Order(key, "d1", "A@US#1", Side.BUY, 100.0, "2024-05-02", 10.0)
    >>> fill = price_fill(order, Quote(10.0, 25_000.0), CostProfile(name="a"), held_shares=0.0)
    >>> fill.shares, round(fill.fee, 9)
    (50.0, 0.05)
    """
    rates = _fill_rates(quote, costs)
    needs_adv = math.isfinite(rates.participation_cap_frac) or rates.impact_coef_bps > 0.0
    status, fraction = decide_fill(
        order.signed_shares,
        quote.price,
        quote.adv_value,
        held_shares,
        quote.can_trade,
        FillLimits(rates.participation_cap_frac, costs.min_fill_frac, needs_adv),
    )
    if fraction <= 0.0:
        return FILL_STATUSES[status]
    shares = order.signed_shares * fraction
    traded = abs(shares) * quote.price
    return Fill(
        order.order_id,
        order.asset_id,
        order.session,
        shares,
        quote.price,
        fee=float(fee_cost(traded, costs.effective_fee_bps)),
        spread=float(spread_cost(traded, rates.half_spread_frac)),
        impact=float(impact_cost(traded, quote.adv_value, rates.impact_coef_bps)),
    )


def _fill_rates(quote: Quote, costs: CostProfile) -> FillRates:
    if quote.rates is not None:
        return quote.rates
    half_spread = costs.effective_half_spread_frac
    if costs.use_panel_spread and math.isfinite(quote.half_spread_frac):
        half_spread = quote.half_spread_frac * costs.stress_multiplier
    cap = costs.participation_cap_frac
    return FillRates(half_spread, costs.effective_impact_coef_bps, math.inf if cap is None else cap)


class PaperBroker:
    """A broker in memory whose fills are those of the simulator.

    Parameters
    ----------
    costs : CostProfile
        Rates, cap and minimum of every fill.
    config : PaperConfig, optional
        Capital and accrual.
    state : PaperState, optional
        State to go on from; the capital of `config` and no position without it.
    trail : OrderTrail, optional
        Trail to go on from; empty without it.

    Examples
    --------
    >>> from quant_engine.execution.orders import Decision, compile_orders
    >>> broker = PaperBroker(CostProfile(name="a", participation_cap_frac=None))
    >>> decision = Decision("d1", "2024-05-02", 1e6, {"A@US#1": 0.5})
    >>> orders = compile_orders(decision, {}, {"A@US#1": 100.0}).orders
    >>> _ = broker.submit(orders, session="2024-05-01")
    >>> day = broker.trade("2024-05-02", {"A@US#1": Quote(101.0, adv_value=1e9)})
    >>> day.fills[0].shares
    5000.0
    >>> round(broker.close("2024-05-02", {"A@US#1": 102.0}).equity, 2)
    1004845.38
    """

    def __init__(
        self,
        costs: CostProfile,
        config: PaperConfig | None = None,
        *,
        state: PaperState | None = None,
        trail: OrderTrail | None = None,
    ) -> None:
        self.costs = costs
        self.config = PaperConfig() if config is None else config
        start = PaperState(Account(self.config.initial_cash_usd)) if state is None else state
        self._account = start.account
        self._trail = OrderTrail() if trail is None else trail
        self._marks = dict(start.marks)
        self._traded = self._closed = start.last_session
        self._missed: dict[str, str] = {}

    def account(self) -> Account:
        """Cash and shares now."""
        return self._account

    def state(self) -> PaperState:
        """State to store and go on from; LookAheadError while a session is open."""
        if self._closed != self._traded:
            raise LookAheadError(
                "state",
                wanted=f"session {self._traded} to be closed",
                got="an open session",
                hint="Close the session first; what is between its open and close is not stored.",
            )
        return PaperState(self._account, dict(self._marks), self._closed)

    def events(self) -> tuple[OrderEvent, ...]:
        """Everything that happened to orders so far."""
        return self._trail.events

    def fills(self) -> tuple[Fill, ...]:
        """Every fill of an order so far, in the order of happening."""
        return self._trail.fills

    def submit(
        self,
        orders: Sequence[Order],
        *,
        session: str,
        refusals: Mapping[str, str] | None = None,
    ) -> tuple[OrderEvent, ...]:
        """Hand in orders.

        Parameters
        ----------
        orders : sequence of Order
            Orders for `session` or later. A known id makes no second order and no event.
        session : str
            Session of the submission, ``YYYY-MM-DD``.
        refusals : mapping of str to str, optional
            Why an order must not be accepted, by id; see `safety.screen_orders`. It is rejected
            with that reason, so that the trail holds it.

        Returns
        -------
        tuple of OrderEvent
            ``new`` and then ``accepted``, or ``rejected`` with the reason, per order that was not
            known.

        Raises
        ------
        IntegrityError
            Another order under a known id.
        """
        parse_session("session", session)
        events: list[OrderEvent] = []
        for order in orders:
            if order.order_id in self._trail:
                self._trail.require_same(order)
                continue
            events.append(self._trail.append(order, OrderStatus.NEW, session=session))
            reason = (refusals or {}).get(order.order_id) or self._too_late(order, session)
            status = OrderStatus.REJECTED if reason else OrderStatus.ACCEPTED
            events.append(self._trail.append(order, status, session=session, reason=reason))
        return tuple(events)

    def _too_late(self, order: Order, session: str) -> str:
        if order.session < session:
            return f"its session {order.session} is before the submission on {session}"
        if order.session <= self._traded:
            return f"the open of its session {order.session} is over"
        return ""

    def cancel(self, order_id: str, *, session: str, reason: str) -> OrderEvent:
        """Withdraw what is open of an order; DataError when it has ended or is unknown."""
        order = self._trail.state(order_id).order
        return self._trail.append(order, OrderStatus.CANCELLED, session=session, reason=reason)

    def trade(self, session: str, quotes: Mapping[str, Quote]) -> SessionTrades:
        """Pay income and fill the orders of a session at its open.

        Parameters
        ----------
        session : str
            ``YYYY-MM-DD``, after every session traded before.
        quotes : mapping of str to Quote
            What the assets offer; an asset without a quote does not trade.

        Returns
        -------
        SessionTrades
            Income and fills; what did not fill is open until `close`.

        Raises
        ------
        LookAheadError
            A session that is not after the last one, or while that one is not closed.
        DataError
            A quote that can trade without a price above 0.
        """
        self._open(session)
        for asset, quote in quotes.items():
            if quote.can_trade and not 0.0 < quote.price < math.inf:
                raise DataError(
                    f"quotes[{asset!r}].price",
                    wanted="a price above 0, or can_trade=False",
                    got=quote.price,
                    hint="An asset without a bar does not trade.",
                )
        interest, dividends = self._pay_income(quotes)
        due = [state.order for state in self._trail.open_orders() if state.order.session == session]
        fills: list[Fill] = []
        # Two decisions may trade one asset; the second sees what the first left.
        held = dict(self._account.positions)
        for order in sorted(due, key=lambda item: item.asset_id):
            quote = quotes.get(order.asset_id, Quote(math.nan, can_trade=False))
            before = held.get(order.asset_id, 0.0)
            fill = price_fill(order, quote, self.costs, held_shares=before)
            if isinstance(fill, str):
                self._missed[order.order_id] = fill
                continue
            whole = fill.shares == order.signed_shares
            status = OrderStatus.FILLED if whole else OrderStatus.PARTIALLY_FILLED
            self._trail.append(order, status, session=session, fill=fill)
            held[order.asset_id] = before + fill.shares
            fills.append(fill)
        self._account = self._account.after(fills)
        return SessionTrades(session, interest, dividends, tuple(fills))

    def _open(self, session: str) -> None:
        parse_session("session", session)
        if session <= self._traded or self._closed != self._traded:
            raise LookAheadError(
                "session",
                wanted=f"a session after {self._traded or 'none'}, once that one is closed",
                got=session,
                hint="Trade and close every session once, in the order of time.",
            )
        self._traded = session
        self._missed = {}

    def _pay_income(self, quotes: Mapping[str, Quote]) -> tuple[float, float]:
        rate_ann = self.config.cash_interest_bps_ann
        interest = self._account.cash * rate_ann * BPS / self.config.periods_per_year
        dividends = 0.0
        for asset, held in self._account.positions.items():
            per_share = quotes[asset].dividend if asset in quotes else math.nan
            if math.isfinite(per_share):
                dividends += held * per_share
        self._account = self._account.after((), income=interest + dividends)
        return interest, dividends

    def settle(self, session: str, asset_id: str, *, price: float) -> Fill:
        """Close a position that will not trade again, without trading costs.

        Parameters
        ----------
        session : str
            The session that is open, ``YYYY-MM-DD``.
        asset_id : str
            A held asset.
        price : float
            What holders receive, currency per share, at least 0.

        Returns
        -------
        Fill
            Under the order id ``settlement:ASSET:SESSION``; it belongs to no order and stands in
            no trail.

        Raises
        ------
        DataError
            An asset that is not held, another session, or no price.
        """
        held = self._account.positions.get(asset_id, 0.0)
        is_open = session == self._traded != self._closed
        if held == 0.0 or not is_open or not 0.0 <= price < math.inf:
            raise DataError(
                "settle",
                wanted="a held asset, the open session and a price of at least 0",
                got=f"{asset_id} ({held} shares), {session}, {price}",
                hint="Settle between trade and close of a session.",
            )
        fill = Fill(f"settlement:{asset_id}:{session}", asset_id, session, -held, price)
        self._account = self._account.after([fill])
        return fill

    def close(self, session: str, closes: Mapping[str, float]) -> SessionClose:
        """Let open orders of the session expire, charge borrow, value the account.

        Parameters
        ----------
        session : str
            The session that was traded last.
        closes : mapping of str to float
            Closing prices, currency per share; an asset without one keeps its last close.

        Returns
        -------
        SessionClose
            The account after the fee.

        Raises
        ------
        LookAheadError
            Another session than the one that is open.
        DataError
            A held asset that never had a close.
        """
        if session != self._traded or self._closed == session:
            raise LookAheadError(
                "session",
                wanted=f"the open session {self._traded or '(none)'}",
                got=session,
                hint="Call trade before close, once per session.",
            )
        self._closed = session
        for state in self._trail.open_orders():
            order = state.order
            if order.session <= session:
                reason = self._missed.get(order.order_id, FILL_STATUSES[PARTIAL])
                self._trail.append(order, OrderStatus.EXPIRED, session=session, reason=reason)
        self._marks.update({a: price for a, price in closes.items() if math.isfinite(price)})
        borrow = self._borrow()
        self._account = self._account.after((), income=-borrow)
        long_value, short_value = self._account.values(self._marks)
        cash = self._account.cash
        equity = cash + long_value - short_value
        return SessionClose(session, borrow, cash, long_value, short_value, equity)

    def _borrow(self) -> float:
        rate_ann = self.costs.effective_borrow_bps_ann
        total = 0.0
        for asset, shares in self._account.positions.items():
            if shares < 0.0:
                short_value = -shares * self._marks.get(asset, math.nan)
                total += float(borrow_cost(short_value, rate_ann, self.config.periods_per_year))
        return total
