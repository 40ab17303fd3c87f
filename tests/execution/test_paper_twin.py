"""The paper broker against the simulator on a small market: the same bits."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig, target_weights
from quant_engine.backtest.kernel_state import STATUSES
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.execution import CostProfile, trailing_adv
from quant_engine.execution.broker import Quote
from quant_engine.execution.fills import FILL_STATUSES
from quant_engine.execution.lifecycle import OrderStatus
from quant_engine.execution.orders import Decision, OrderRules, compile_orders
from quant_engine.execution.paper import PaperBroker, PaperConfig

pytestmark = pytest.mark.feature("T-19")

IDS = tuple(f"{letter}@US#1" for letter in "ABCDEF")
BOOK = PortfolioConfig(
    names_per_side=2, max_weight_frac=0.5, rebalance_sessions=1, no_trade_band_frac=0.05
)
CONFIG = BacktestConfig(
    portfolio=BOOK,
    initial_equity_usd=3e6,
    cash_interest_bps_ann=300.0,
    halt_limit_sessions=None,
)
COSTS = CostProfile(name="twin", adv_min_sessions=1, stress_multiplier=1.5, borrow_bps_ann=80.0)


def small_market(seed, n_rows=30):
    rng = np.random.default_rng(seed)
    shape = (n_rows, len(IDS))
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.01, shape))
    volume = rng.lognormal(15.0, 1.5, shape)
    dividend = np.where(rng.random(shape) < 0.05, rng.uniform(0.05, 0.5, shape), np.nan)
    spread = np.where(rng.random(shape) < 0.2, np.nan, rng.uniform(1e-4, 9e-4, shape))
    gone = rng.random(shape) < 0.08
    gone[0] = False
    for values in (open_, close, volume):
        values[gone] = np.nan
    fields = {
        "open": open_,
        "close": close,
        "volume": volume,
        "dividend": dividend,
        "half_spread_frac": spread,
    }
    axis = TimeAxis.sessions(pd.bdate_range("2021-03-01", periods=n_rows).to_numpy())
    return Panel(axis, IDS, fields), rng.normal(0, 1, shape)


def paper_run(panel, scores):
    fields = {name: panel.field(name) for name in panel.fields}
    tradable = np.isfinite(fields["open"]) & (fields["volume"] > 0)
    adv = trailing_adv(
        fields["close"], fields["volume"], adv_sessions=COSTS.adv_sessions, min_sessions=1
    )
    targets = target_weights(
        scores, config=BOOK, asset_ids=IDS, allowed_long=tradable, allowed_short=tradable
    )
    sessions = [str(value.astype("datetime64[D]")) for value in panel.time.values]
    broker = PaperBroker(
        COSTS,
        PaperConfig(initial_cash_usd=CONFIG.initial_equity_usd, cash_interest_bps_ann=300.0),
    )
    rules = OrderRules(no_trade_band_frac=BOOK.no_trade_band_frac)
    equity, marks, days = CONFIG.initial_equity_usd, {}, []
    for t in range(len(sessions) - 1):
        marks |= {a: float(p) for a, p in zip(IDS, fields["close"][t], strict=True) if p == p}
        weights = dict(zip(IDS, targets.weights[t].tolist(), strict=True))
        decision = Decision(f"decision {t}", sessions[t + 1], equity, weights)
        made = compile_orders(decision, broker.account().positions, marks, rules=rules)
        broker.submit(made.orders, session=sessions[t])
        quotes = {
            asset: Quote(
                float(fields["open"][t + 1, i]),
                float(adv[t, i]),
                half_spread_frac=float(fields["half_spread_frac"][t + 1, i]),
                dividend=float(fields["dividend"][t + 1, i]),
                can_trade=bool(tradable[t + 1, i]),
            )
            for i, asset in enumerate(IDS)
        }
        trades = broker.trade(sessions[t + 1], quotes)
        closes = dict(zip(IDS, fields["close"][t + 1].tolist(), strict=True))
        close = broker.close(sessions[t + 1], closes)
        equity = close.equity
        days.append((trades, close))
    return broker, days


@pytest.mark.parametrize("seed", range(3))
def test_paper_account_equals_the_simulator_bit_for_bit(seed):
    panel, scores = small_market(seed)
    result = Backtester(CONFIG).run(scores, panel, costs=COSTS)
    broker, days = paper_run(panel, scores)
    daily = result.daily.iloc[1:] if len(result.daily) > len(days) else result.daily
    assert len(daily) == len(days) == 29
    assert daily["equity"].tolist() == [close.equity for _, close in days]
    assert daily["cash"].tolist() == [close.cash for _, close in days]
    assert daily["cost_borrow"].tolist() == [close.borrow for _, close in days]
    assert daily["dividends"].tolist() == [trades.dividends for trades, _ in days]
    assert daily["interest"].tolist() == [trades.interest for trades, _ in days]

    orders = result.orders
    filled = orders[orders["filled_shares"] != 0.0]
    fills = broker.fills()
    assert len(fills) == len(filled) > 20
    assert filled["filled_shares"].tolist() == [fill.shares for fill in fills]
    for column, name in (("fees", "fee"), ("spread", "spread"), ("impact", "impact")):
        assert filled[f"cost_{column}"].tolist() == [getattr(fill, name) for fill in fills]
    expired = [e.reason for e in broker.events() if e.status is OrderStatus.EXPIRED]
    dropped = orders["status"][orders["status"] != "filled"].tolist()
    assert sorted(expired) == sorted(dropped)
    assert {"no_bar", "partial"} <= set(expired)


def test_both_name_the_outcomes_of_an_order_the_same():
    assert STATUSES == FILL_STATUSES


def test_a_second_run_has_the_same_trail():
    panel, scores = small_market(5, n_rows=10)
    first, _ = paper_run(panel, scores)
    second, _ = paper_run(panel, scores)
    assert first.events() == second.events()
    assert math.isfinite(first.account().cash)
