"""A paper account that follows a backtest: its orders, on its prices, through the paper broker.

Contract: the account starts from what the backtest held after some close and is sent the orders of
every session after it. What each order fills and costs is the broker's own work, so that the two
records agree only where broker and simulator mean the same; `parity` compares them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.facts import SETTLEMENTS
from quant_engine.backtest.parity import paper_record
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.run_costs import Costs, RunCosts, parse_costs
from quant_engine.core.errors import InsufficientHistoryError
from quant_engine.core.ids import id_order
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.execution.broker import Account, Quote
from quant_engine.execution.orders import Order, Side, order_id
from quant_engine.execution.paper import (
    PaperBroker,
    PaperConfig,
    PaperState,
    SessionClose,
    SessionTrades,
)

__all__ = ["followed", "why_not_followed"]

FOLLOWED_SESSIONS = 60
"""Newest sessions that are followed: a broker takes orders one by one."""

_FILL_FIELDS = {"next_open": "open", "next_close": "close"}


def why_not_followed(config: BacktestConfig, rules: RuleConfig | None, panel: Panel) -> str:
    """Say why no paper account can follow a backtest; empty where one can.

    Parameters
    ----------
    config : BacktestConfig
        Settings of the backtest.
    rules : RuleConfig or None
        Its rules.
    panel : Panel
        Its market.

    Returns
    -------
    str
        A sentence.
    """
    fill = config.fill if rules is None else rules.fill
    if (config if rules is None else rules).unsafe_same_bar:
        return "orders fill on the bar that decided them, which no broker can do"
    if panel.time.kind != "session":
        return "the paper broker trades sessions, and the backtest trades bars"
    if panel.price_basis is PriceBasis.RAW:
        return "the paper broker does not split shares, and the prices are raw"
    if rules is not None and rules.rests_orders:
        return "stops and targets fill inside the session, where the paper broker does not trade"
    if fill not in _FILL_FIELDS:
        return f"the paper broker fills at one price of the session, and the backtest at {fill}"
    return ""


@dataclass(frozen=True, eq=False)
class _Venue:
    """What the market offers the followed orders."""

    panel: Panel
    costs: RunCosts
    fill_field: str
    column: Mapping[str, int]
    rate_column: Mapping[str, int]

    @classmethod
    def of(cls, panel: Panel, costs: Costs, fill: str) -> _Venue:
        in_order = (panel.asset_ids[i] for i in id_order(panel.asset_ids))
        return cls(
            panel,
            parse_costs(costs, panel),
            _FILL_FIELDS[fill],
            {asset: i for i, asset in enumerate(panel.asset_ids)},
            {asset: i for i, asset in enumerate(in_order)},
        )

    def value(self, name: str, row: int, asset: str) -> float:
        """A field of the panel; NaN where the panel has none."""
        field = self.panel.fields.get(name)
        return math.nan if field is None else float(field[row, self.column[asset]])

    def quote(self, row: int, asset: str, adv_value: float) -> Quote:
        """What one asset offers in a session."""
        price, rates = self.value(self.fill_field, row, asset), self.costs.rates
        tradable = self.panel.masks.get("tradable")
        can_trade = self.value("volume", row, asset) > 0.0 and math.isfinite(
            self.value("open", row, asset) + self.value("close", row, asset)
        )
        if tradable is not None:
            can_trade = can_trade and bool(tradable[row, self.column[asset]])
        return Quote(
            price,
            adv_value,
            half_spread_frac=self.value("half_spread_frac", row, asset),
            dividend=self.value("dividend", row, asset),
            can_trade=can_trade,
            rates=None if rates is None else rates.at(row, self.rate_column[asset]),
        )


def followed(
    daily: pd.DataFrame,
    orders: pd.DataFrame,
    panel: Panel,
    *,
    costs: Costs,
    config: BacktestConfig,
    fill: str = "next_open",
    n_sessions: int = FOLLOWED_SESSIONS,
) -> pd.DataFrame:
    """Let a paper account follow the newest sessions of a backtest.

    Parameters
    ----------
    daily : DataFrame indexed by session
        ``equity`` and ``cash`` (currency) of a backtest.
    orders : DataFrame
        Of the same backtest.
    panel : Panel
        The market (T, N) that it was simulated on. NaN = not traded.
    costs : CostProfile or CostModel
        Cost of trading.
    config : BacktestConfig
        Accrual and interest.
    fill : {"next_open", "next_close"}
        Price at which orders fill; see :func:`why_not_followed`.
    n_sessions : int
        Sessions that are followed, at most all but the first.

    Returns
    -------
    DataFrame indexed by session
        Of `parity.paper_record`.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 2 sessions.
    """
    if len(daily) < 2:
        raise InsufficientHistoryError(
            "daily", wanted="at least 2 sessions", got=len(daily), hint="Simulate a longer span."
        )
    sessions = pd.DatetimeIndex(daily.index)[-min(n_sessions, len(daily) - 1) :]
    venue = _Venue.of(panel, costs, fill)
    start = pd.DatetimeIndex(daily.index)[-len(sessions) - 1]
    before_first = len(daily) - len(sessions) - 1
    cash, equity = (float(daily[name].iloc[before_first]) for name in ("cash", "equity"))
    broker = PaperBroker(
        venue.costs.profile,
        PaperConfig(
            initial_cash_usd=config.initial_equity_usd,
            periods_per_year=config.periods_per_year,
            cash_interest_bps_ann=config.cash_interest_bps_ann,
        ),
        state=_state(orders, panel, start, cash),
    )
    kept = orders[orders["session"] > start]
    by_session = dict(tuple(kept.groupby("session")))
    days, before = [], start
    for session in sessions:
        sent = by_session.get(session, kept.iloc[:0])
        days.append(_followed_day(broker, venue, sent, before, session))
        before = session
    return paper_record(days, initial_cash_usd=equity)


def _state(orders: pd.DataFrame, panel: Panel, start: pd.Timestamp, cash: float) -> PaperState:
    """What the backtest held after a close."""
    past = orders[orders["session"] <= start]
    grouped = past.groupby(past["asset_id"].astype("str"))["filled_shares"]
    shares, largest = grouped.sum(), grouped.agg(lambda moves: float(np.abs(moves).max()))
    # What was sold in parts leaves a rounding residue that is no position.
    held = shares[shares.abs() > 1e-9 * largest]
    row = panel.time.position(str(start.date()))
    closes = pd.DataFrame(panel.field("close")[: row + 1]).ffill().iloc[-1].to_numpy()
    marks = dict(zip(panel.asset_ids, closes.tolist(), strict=True))
    known = {asset: mark for asset, mark in marks.items() if math.isfinite(mark)}
    positions = {str(asset): float(value) for asset, value in held.items()}
    return PaperState(Account(cash, positions), known, str(start.date()))


def _followed_day(
    broker: PaperBroker, venue: _Venue, orders: pd.DataFrame, before: Any, session: pd.Timestamp
) -> tuple[SessionTrades, SessionClose]:
    """One session: orders of the backtest in, settlements, the close."""
    day, row = str(session.date()), venue.panel.time.position(str(session.date()))
    settled = orders["reason"].isin(SETTLEMENTS)
    sent, quotes = [], {}
    for asset in broker.account().positions:
        quotes[asset] = venue.quote(row, asset, math.nan)
    for number, one in enumerate(orders[~settled].to_dict("records")):
        asset, shares = str(one["asset_id"]), float(one["ordered_shares"])
        side = Side.BUY if shares > 0.0 else Side.SELL
        decision = f"{day} {number}"
        key = order_id(decision, asset, side, session=day)
        price = float(one["decision_price"])
        sent.append(Order(key, decision, asset, side, abs(shares), day, price))
        quotes[asset] = venue.quote(row, asset, float(one["adv_value"]))
    broker.submit(sent, session=str(before.date()))
    trades = broker.trade(day, quotes)
    paid = orders[settled].drop_duplicates("asset_id")
    for name, paid_price in zip(paid["asset_id"], paid["reference_price"], strict=True):
        if str(name) in broker.account().positions:
            broker.settle(day, str(name), price=float(paid_price))
    closes = dict(zip(venue.panel.asset_ids, venue.panel.field("close")[row].tolist(), strict=True))
    return trades, broker.close(day, closes)
