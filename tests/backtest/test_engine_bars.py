"""Bars instead of sessions, and cases of corporate actions and fills worked out with a pencil."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig, RuleConfig
from quant_engine.backtest.config import TradingRules
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.execution import CostProfile

pytestmark = pytest.mark.feature("Q-34")

HOLD = PortfolioConfig(
    mode="long_only", names_per_side=1, max_weight_frac=1.0, rebalance_sessions=1000
)
PAIR = PortfolioConfig(names_per_side=1, max_weight_frac=1.0)


def bar_panel(panel, calendar="24/7", start="2020-01-04T00:05"):
    times = np.datetime64(start, "us") + 300_000_000 * np.arange(len(panel.time)).astype("m8[us]")
    axis = TimeAxis("bar", times, calendar, 300)
    return Panel(axis, panel.asset_ids, panel.fields, panel.masks, {}, panel.price_basis)


def raw(panel, **fields):
    made = {**panel.fields, **{name: np.asarray(v, float) for name, v in fields.items()}}
    return Panel(panel.time, panel.asset_ids, made, price_basis=PriceBasis.RAW)


def test_bars_and_sessions_of_the_same_prices_are_the_same_account(make_market, costly):
    market = make_market(1)
    per_year = 365.25 * 288
    config = BacktestConfig(portfolio=PAIR, periods_per_year=per_year, halt_limit_sessions=8)
    daily = Backtester(config).run(market.scores, market.panel, costs=costly).daily
    bars = bar_panel(market.panel)
    bars = bars.with_masks({"member": market.panel.mask("member")})
    found = Backtester(config).run(market.scores, bars, costs=costly)
    np.testing.assert_array_equal(daily.to_numpy(), found.daily.to_numpy())
    assert (np.diff(found.daily.index) == np.timedelta64(300, "s")).all()
    assert found.daily.index[0].day_of_week >= 5  # a weekend, which 24/7 trades


def test_a_long_frame_of_bars_is_aligned_to_the_bar(priced, free):
    panel = bar_panel(priced(np.full((6, 2), 10.0), np.full((6, 2), 10.0)))
    when = panel.time.index[[1, 1]]
    frame = pd.DataFrame({"date": when, "asset_id": list(panel.asset_ids), "score": [1.0, -1.0]})
    config = BacktestConfig(portfolio=PAIR, periods_per_year=365.25 * 288)
    orders = Backtester(config).run(frame, panel, costs=free).orders
    assert orders["decision_session"].tolist()[0] == panel.time.index[1]
    assert orders["session"].tolist()[0] == panel.time.index[2]


def test_borrow_accrues_per_bar(priced):
    panel = bar_panel(priced(np.full((3, 2), 100.0), np.full((3, 2), 100.0)))
    own = panel.with_fields({"borrow_bps_ann": np.full((3, 2), 1000.0)})
    costs = CostProfile(name="b", fee_bps=0, half_spread_bps=0, impact_coef_bps=0,
                        borrow_bps_ann=500.0, participation_cap_frac=None)  # fmt: skip
    config = BacktestConfig(portfolio=PAIR, periods_per_year=100_000.0)
    for given, rate in ((panel, 0.05), (own, 0.10)):
        result = Backtester(config).run(np.tile([1.0, -1.0], (3, 1)), given, costs=costs)
        assert result.daily["cost_borrow"].iloc[0] == pytest.approx(500_000 * rate / 100_000)


def test_a_split_before_the_open_moves_shares_and_mark(priced, free):
    close = np.array([[100.0], [100.0], [25.0], [30.0]])
    panel = raw(priced(close, close, dividend=[[0], [0], [1.0], [0]]),
                split_factor=[[np.nan], [np.nan], [4.0], [1.0]])  # fmt: skip
    result = Backtester(BacktestConfig(portfolio=HOLD)).run(np.ones((4, 1)), panel, costs=free)
    # 10,000 shares become 40,000, each of which receives the dividend.
    assert result.daily["dividends"].tolist() == [0.0, 40_000.0, 0.0]
    assert result.daily["equity"].tolist() == [1e6, 1.04e6, 40_000 * 30.0 + 40_000]
    trade = result.trades.iloc[0]
    assert (trade["shares"], trade["entry_reference_price"]) == (40_000.0, 25.0)
    assert trade["pnl_net"] == pytest.approx(240_000.0)


def test_a_split_without_a_bar_keeps_the_value(priced, free):
    close = np.array([[100.0], [100.0], [np.nan], [50.0]])
    panel = raw(priced(close, close), split_factor=[[1.0], [1.0], [2.0], [1.0]])
    result = Backtester(BacktestConfig(portfolio=HOLD)).run(np.ones((4, 1)), panel, costs=free)
    np.testing.assert_allclose(result.daily["equity"], 1e6)


def test_rules_hold_through_a_split(free):
    close = np.array([100.0, 100.0, 25.0, 26.0, 26.0])[:, None]
    fields = {"open": close, "high": close * 1.001, "low": close * 0.999, "close": close,
              "volume": np.full(close.shape, 1e9),
              "split_factor": np.array([1, 1, 4, 1, 1.0])[:, None]}  # fmt: skip
    days = TimeAxis.sessions(pd.bdate_range("2020-01-01", periods=5).to_numpy())
    panel = Panel(days, ("A@US#1",), fields, price_basis=PriceBasis.RAW)
    rules = RuleConfig(
        max_positions=1, position_frac=1.0, hard_stop_frac=0.05, profit_target_frac=0.2
    )
    engine = Backtester(BacktestConfig(trading=TradingRules(lot_shares=3.0)))
    result = engine.run_signals(np.ones((5, 1)), panel, rules=rules, costs=free)
    # 9,999 whole shares in lots of three; the stop moves with the split, so nothing is sold.
    assert result.orders["filled_shares"].tolist() == [9_999.0]
    assert result.trades["shares"].tolist() == [4 * 9_999.0]
    assert result.daily["equity"].iloc[-1] == pytest.approx(1e6 + 4 * 9_999.0)


def test_a_position_goes_on_under_its_new_symbol(priced, free):
    close = np.array([[40.0, np.nan], [40.0, np.nan], [np.nan, 20.0], [np.nan, 22.0]])
    panel = priced(close, close)
    change = pd.DataFrame({"from_asset": ["A@US#1"], "to_asset": ["B@US#1"],
                           "session": [panel.time.index[2]], "ratio": [2.0]})  # fmt: skip
    scores = np.array([[1.0, np.nan]] * 4)
    result = Backtester(BacktestConfig(portfolio=HOLD)).run(
        scores, panel, costs=free, symbol_changes=change
    )
    assert result.daily["equity"].tolist() == [1e6, 1e6, 1.1e6]
    trade = result.trades.iloc[0]
    assert (len(result.orders), len(result.trades)) == (1, 1)
    assert (trade["asset_id"], trade["shares"], trade["score"]) == ("B@US#1", 50_000.0, 1.0)


@pytest.mark.parametrize(
    ("fill", "price"),
    [("next_open", 10.0), ("next_close", 13.0), ("next_vwap_proxy", 12.0), ("next_vwap", 11.5)],
)
def test_where_orders_fill(fill, price, priced, free):
    panel = priced(np.full((3, 1), 10.0), np.full((3, 1), 13.0)).with_fields(
        {"high": np.full((3, 1), 14.0), "low": np.full((3, 1), 9.0), "vwap": np.full((3, 1), 11.5)}
    )
    engine = Backtester(BacktestConfig(portfolio=HOLD, fill=fill))
    order = engine.run(np.ones((3, 1)), panel, costs=free).orders.iloc[0]
    assert order["reference_price"] == price
    assert (order["session"], order["decision_price"]) == (panel.time.index[1], 13.0)


def test_the_same_bar_fills_only_by_its_name(priced, free):
    panel = priced(np.full((3, 1), 10.0), np.array([[10.0], [13.0], [26.0]]))
    config = BacktestConfig(portfolio=HOLD, fill="next_close", unsafe_same_bar=True)
    scores = np.array([[np.nan], [1.0], [np.nan]])
    result = Backtester(config).run(scores, panel, costs=free)
    order = result.orders.iloc[0]
    assert order["session"] == order["decision_session"] == panel.time.index[1]
    assert result.daily["equity"].tolist() == [1e6, 2e6]


def test_a_margin_call_orders_everything_out(priced, free):
    close = np.array([[100.0, 100.0], [100.0, 100.0], [100.0, 160.0], [100.0, 160.0], [100.0] * 2])
    panel = priced(close, close)
    engine = Backtester(
        BacktestConfig(portfolio=PAIR, trading=TradingRules(maintenance_margin_frac=0.8))
    )
    result = engine.run(np.tile([1.0, -1.0], (5, 1)), panel, costs=free)
    called = result.orders[result.orders["reason"] == "margin_call"]
    # 700,000 of equity against 1.3 million of positions at the close of the third session.
    assert called["session"].unique().tolist() == [panel.time.index[3]]
    assert result.daily["gross_exposure"].iloc[2] == 0.0
