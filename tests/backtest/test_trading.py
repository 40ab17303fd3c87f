"""Market practice in the settings of a run: recorded, identified, honoured by rules or refused."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import (
    BacktestConfig,
    Backtester,
    PortfolioConfig,
    RuleConfig,
    TradingRules,
)
from quant_engine.backtest.config import FillPrice
from quant_engine.backtest.rules_inputs import parse_rule_inputs
from quant_engine.backtest.simulation import Simulation
from quant_engine.backtest.sweep import SweepIdentity, sweep_rules
from quant_engine.backtest.trading import check_targets
from quant_engine.cli.backtest import FILLS
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.core.trials import MemoryTrialSink
from quant_engine.risk.sizing import SizingConfig
from quant_engine.workflows.simulation import result_artifacts

pytestmark = pytest.mark.feature("Q-34")

PAIR = PortfolioConfig(names_per_side=1, max_weight_frac=1.0)
LOTS = TradingRules(lot_shares=100.0, min_notional_usd=500.0)
HELD = RuleConfig(
    entry_min=0.5, max_positions=3, position_frac=0.3, sides="both", holding_sessions=4
)


def raw(panel):
    fields = {**panel.fields, "split_factor": np.ones(panel.shape)}
    return Panel(panel.time, panel.asset_ids, fields, panel.masks, price_basis=PriceBasis.RAW)


def test_the_practice_stands_in_the_record_and_the_id_unless_it_is_the_default(make_market, costly):
    plain = BacktestConfig(portfolio=PAIR)
    assert not {"trading", "unsafe_same_bar"} & set(plain.content())
    assert plain == BacktestConfig.model_validate(plain.content())
    practised = BacktestConfig(portfolio=PAIR, fill="next_close", trading=LOTS)
    assert practised == BacktestConfig.model_validate(practised.content())
    same_bar = BacktestConfig(portfolio=PAIR, fill="next_close", unsafe_same_bar=True)
    ids = {config.config_id() for config in (plain, practised, same_bar)}
    assert len(ids) == 3
    market = make_market(2)
    result = Backtester(practised).run(market.scores, raw(market.panel), costs=costly)
    _, bundle = result_artifacts(result)["backtest"]
    settings = bundle.documents["settings"]["backtest"]
    assert settings["trading"] == LOTS.content()
    assert settings["fill"] == "next_close"


def test_the_command_offers_every_fill():
    assert get_args(FillPrice) == FILLS


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"fill": "next_close"}, "fill"),
        ({"fill": "next_close", "unsafe_same_bar": True}, "fill"),
        ({"trading": TradingRules(maintenance_margin_frac=0.3)}, "maintenance_margin_frac"),
        ({"trading": TradingRules(max_gross_frac=2.0)}, "max_gross_frac"),
        ({"sizing": SizingConfig()}, "sizing"),
    ],
)
def test_rules_refuse_what_they_have_of_their_own(settings, name, make_market, costly):
    market = make_market(2)
    engine = Backtester(BacktestConfig(**settings))
    with pytest.raises(ConfigError, match=f"{name} beside rules"):
        engine.run_signals(market.scores, market.panel, rules=HELD, costs=costly)


def test_rules_and_sweeps_of_rules_trade_lots_and_leave_small_orders_out(make_market, free):
    market = make_market(4)
    panel = raw(market.panel)
    config = BacktestConfig(
        initial_equity_usd=20_000.0,
        trading=TradingRules(lot_shares=100.0, min_notional_usd=3_000.0),
    )
    orders = Backtester(config).run_signals(market.scores, panel, rules=HELD, costs=free).orders
    entries = orders[orders["reason"].isin(["entry", "entry_cut_to_room"])]
    assert len(entries) > 5
    assert (entries["ordered_shares"] % 100.0 == 0.0).all()
    assert (entries["ordered_shares"].abs() * entries["decision_price"] >= 3_000.0).all()
    inputs = parse_rule_inputs(market.scores, panel, config=config, costs=free)
    made = sweep_rules(
        inputs, [HELD], trials=MemoryTrialSink(), identity=SweepIdentity("a", "b", "c")
    )
    assert made.table["final_equity"].iloc[0] == made.curve(0).iloc[-1]
    whole = parse_rule_inputs(
        market.scores, panel, config=BacktestConfig(initial_equity_usd=20_000.0), costs=free
    )
    other = sweep_rules(
        whole, [HELD], trials=MemoryTrialSink(), identity=SweepIdentity("a", "b", "c")
    )
    assert other.table["final_equity"].iloc[0] != made.table["final_equity"].iloc[0]
    with pytest.raises(ConfigError, match="raw prices"):
        parse_rule_inputs(market.scores, market.panel, config=config, costs=free)


def test_every_order_of_a_decision_is_counted(priced, free):
    close = np.array([[100.0, 100.0], [100.0, 100.0], [100.0, 160.0], [100.0, 160.0], [100.0] * 2])
    panel, scores = priced(close, close), np.tile([1.0, -1.0], (5, 1))
    called = BacktestConfig(portfolio=PAIR, trading=TradingRules(maintenance_margin_frac=0.8))
    result = Backtester(called).run(scores, panel, costs=free)
    counted = result.orders["reason"].value_counts()
    assert counted["margin_call"] == 2
    assert result.summary["n_orders"] == len(result.orders) == counted.sum()
    by_rules = Backtester(BacktestConfig()).run_signals(scores, panel, rules=HELD, costs=free)
    assert by_rules.summary["n_orders"] == len(by_rules.orders) > 0


@pytest.mark.parametrize("way", ["weights", "rules"])
def test_an_order_without_a_bar_is_unfilled_and_counted_so(way, priced, free):
    close = np.full((4, 2), 10.0)
    close[1, 0] = np.nan
    panel, scores = priced(close, close), np.array([[1.0, -1.0]] + [[np.nan] * 2] * 3)
    engine = Backtester(BacktestConfig(portfolio=PAIR))
    if way == "weights":
        result = engine.run(scores, panel, costs=free)
    else:
        result = engine.run_signals(scores, panel, rules=HELD, costs=free)
    first = result.orders[result.orders["asset_id"] == "A@US#1"].iloc[0]
    assert (first["status"], first["filled_shares"], first["traded_value"]) == ("no_bar", 0.0, 0.0)
    summary = result.summary
    assert summary["n_orders_no_bar"] == summary["n_unfilled_orders"] == 1


def test_weights_that_no_book_can_hold(make_market, costly):
    weights = np.array([[0.5, -0.5], [np.nan, 0.0]])
    with pytest.raises(DataError, match=r"target weights.*1 others, first in row 1"):
        check_targets(weights, max_gross_frac=None)
    with pytest.raises(DataError, match="finite"):
        check_targets(np.array([[np.inf, -np.inf]]), max_gross_frac=1.0)
    check_targets(np.full((1, 10), 0.1), max_gross_frac=1.0)  # 0.9999999999999999
    market = make_market(2)
    levered = PortfolioConfig(names_per_side=2, max_weight_frac=1.0, gross_exposure=3.0)
    limit = BacktestConfig(portfolio=levered, trading=TradingRules(max_gross_frac=2.0))
    with pytest.raises(ConfigError, match=r"max_gross_frac.*at most 2.*got 3 in"):
        Backtester(limit).run(market.scores, market.panel, costs=costly)
    free_to = BacktestConfig(portfolio=levered, trading=TradingRules(max_gross_frac=3.0))
    Backtester(free_to).run(market.scores, market.panel, costs=costly)


def test_side_inputs_of_another_calendar(make_market, costly):
    market = make_market(2)
    every_day = pd.date_range(market.benchmark.index[0], market.benchmark.index[-1])
    engine = Backtester(BacktestConfig(portfolio=PAIR))
    with pytest.raises(DataError, match=r"benchmark_returns.*calendar XNYS.*2019-01-05"):
        engine.run(
            market.scores,
            market.panel,
            costs=costly,
            benchmark_returns=pd.Series(0.001, index=every_day),
        )
    with pytest.raises(DataError, match=r"regimes.*other dates"):
        engine.run(
            market.scores,
            market.panel,
            costs=costly,
            regimes=pd.DataFrame({"regime": 1}, index=every_day),
        )


def test_a_simulation_carries_changes_of_symbol_and_rules_refuse_them(priced, free):
    close = np.array([[40.0, np.nan], [40.0, np.nan], [np.nan, 20.0], [np.nan, 22.0]])
    panel = priced(close, close)
    change = pd.DataFrame({"from_asset": ["A@US#1"], "to_asset": ["B@US#1"],
                           "session": [panel.time.index[2]], "ratio": [2.0]})  # fmt: skip
    hold = PortfolioConfig(
        mode="long_only", names_per_side=1, max_weight_frac=1.0, rebalance_sessions=1000
    )
    scores = pd.DataFrame(
        {"date": panel.time.index[:2], "asset_id": ["A@US#1"] * 2, "score": [1.0, 1.0]}
    )
    config = BacktestConfig(portfolio=hold)
    moved = Simulation(scores, panel, free, config, symbol_changes=change)
    assert moved.run().daily["equity"].iloc[-1] == pytest.approx(1.1e6)
    ruled = Simulation(scores, panel, free, BacktestConfig(), rules=HELD, symbol_changes=change)
    with pytest.raises(ConfigError, match="none beside rules"):
        ruled.run()
