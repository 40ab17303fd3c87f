"""Inputs that cannot be aligned or used are refused with their cause."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
from quant_engine.backtest.config import TradingRules
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    IdentityError,
    LookAheadError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.execution import CostProfile

pytestmark = pytest.mark.feature("Q-34")


def book(**settings):
    return Backtester(BacktestConfig(portfolio=PortfolioConfig(names_per_side=1), **settings))


ENGINE = book()


@pytest.fixture
def panel(priced):
    return priced(np.full((5, 3), 10.0), np.full((5, 3), 10.0))


def long_scores(panel, **changes):
    frame = pd.DataFrame(
        {
            "date": np.repeat(panel.time.index, 3),
            "asset_id": np.tile(np.array(panel.asset_ids), 5),
            "score": np.arange(15.0),
        }
    )
    return frame.assign(**changes)


def test_scores_before_the_panel(panel, free):
    frame = long_scores(panel)
    early = pd.concat([frame, frame.head(3).assign(date=pd.Timestamp("2019-12-31"))])
    with pytest.raises(DataError, match=r"scores\.date.*2019-12-31.*outside the panel"):
        ENGINE.run(early, panel, costs=free)


def test_scores_on_a_day_without_a_session(panel, free):
    frame = long_scores(panel)
    frame.loc[0, "date"] = pd.Timestamp("2020-01-04")
    with pytest.raises(DataError, match="not a session"):
        ENGINE.run(frame, panel, costs=free)
    frame.loc[0, "date"] = pd.Timestamp("2020-01-02 16:00")
    with pytest.raises(DataError, match="not a session"):
        ENGINE.run(frame, panel, costs=free)


def test_scores_in_a_time_zone_and_prices_without_a_panel(panel, free):
    frame = long_scores(panel)
    aware = frame.assign(date=frame["date"].dt.tz_localize("America/New_York"))
    with pytest.raises(DataError, match=r"scores\.date.*without a time zone.*America/New_York"):
        ENGINE.run(aware, panel, costs=free)
    with pytest.raises(SchemaMismatchError, match=r"panel: wanted a Panel, got a DataFrame"):
        ENGINE.run(frame, frame, costs=free)


def test_duplicate_scores(panel, free):
    frame = long_scores(panel)
    with pytest.raises(IdentityError, match=r"2 repeated pairs.*2020-01-01, A@US#1"):
        ENGINE.run(pd.concat([frame, frame.head(2)]), panel, costs=free)


def test_unknown_assets(panel, free):
    frame = long_scores(panel).replace({"asset_id": {"B@US#1": "BB@US#1"}})
    with pytest.raises(IdentityError, match=r"BB@US#1.*Did you mean 'B@US#1'"):
        ENGINE.run(frame, panel, costs=free)


def test_scores_without_any_value(panel, free):
    with pytest.raises(EmptyDataError, match="at least one finite score"):
        ENGINE.run(long_scores(panel, score=np.nan), panel, costs=free)
    with pytest.raises(EmptyDataError, match="at least one finite score"):
        ENGINE.run(np.full((5, 3), np.nan), panel, costs=free)
    with pytest.raises(EmptyDataError, match="at least one row"):
        ENGINE.run(long_scores(panel).head(0), panel, costs=free)


def test_scores_of_names_that_never_qualify(panel, free):
    nobody = panel.with_masks({"member": np.zeros(panel.shape, bool)})
    with pytest.raises(EmptyDataError, match="none of them usable"):
        ENGINE.run(long_scores(panel), nobody, costs=free)


def test_infinite_scores_and_wrong_shapes(panel, free):
    with pytest.raises(DataError, match="infinite"):
        ENGINE.run(long_scores(panel, score=np.inf), panel, costs=free)
    with pytest.raises(SchemaMismatchError, match=r"shape \(5, 3\)"):
        ENGINE.run(np.ones((5, 2)), panel, costs=free)
    with pytest.raises(SchemaMismatchError, match="without"):
        ENGINE.run(long_scores(panel).rename(columns={"score": "s"}), panel, costs=free)


def test_no_volume_anywhere(panel, free):
    dry = panel.with_fields({"volume": np.zeros(panel.shape)})
    with pytest.raises(EmptyDataError, match="volume above 0"):
        ENGINE.run(long_scores(panel), dry, costs=free)


def test_long_short_of_one_asset(panel, free):
    one = panel.columns(np.array([0]))
    with pytest.raises(ConfigError, match="long_only"):
        ENGINE.run(np.ones((5, 1)), one, costs=free)


def test_scores_only_for_the_last_session(panel, free):
    with pytest.raises(LookAheadError, match="next open"):
        ENGINE.run(long_scores(panel).tail(3), panel, costs=free)


def test_price_bases_that_would_be_wrong(panel, free):
    raw = Panel(panel.time, panel.asset_ids, panel.fields, price_basis=PriceBasis.RAW)
    with pytest.raises(DataError, match="split_adj"):
        ENGINE.run(long_scores(panel), raw, costs=free)
    fields = {**panel.fields, "dividend": np.zeros(panel.shape)}
    total = Panel(panel.time, panel.asset_ids, fields, price_basis=PriceBasis.TOTAL_ADJ)
    with pytest.raises(DataError, match="already contain"):
        ENGINE.run(long_scores(panel), total, costs=free)


def test_impossible_prices_missing_fields_and_bars(panel, free):
    bad = panel.with_fields({"open": np.zeros(panel.shape)})
    with pytest.raises(DataError, match="above 0"):
        ENGINE.run(long_scores(panel), bad, costs=free)
    with pytest.raises(MissingFieldError, match="volume"):
        ENGINE.run(long_scores(panel), panel.only_fields(["open", "close"]), costs=free)
    times = np.datetime64("2020-01-02T00:05") + 5 * np.arange(5).astype("timedelta64[m]")
    bars = TimeAxis("bar", times.astype("datetime64[us]"), "24/7", 300)
    with pytest.raises(ConfigError, match="bars a year"):
        ENGINE.run(np.ones((5, 3)), Panel(bars, panel.asset_ids, panel.fields), costs=free)


def test_fields_of_the_wrong_sign(panel, free):
    for name, value in (("volume", -1.0), ("borrow_bps_ann", -5.0), ("half_spread_frac", -0.1)):
        wrong = panel.with_fields({name: np.full(panel.shape, value)})
        with pytest.raises(DataError, match=f"{name}.*at least 0"):
            ENGINE.run(long_scores(panel), wrong, costs=free)
    wide = panel.with_fields({"half_spread_frac": np.full(panel.shape, 5.0)})
    with pytest.raises(DataError, match=r"half_spread_frac.*below 1"):
        ENGINE.run(long_scores(panel), wide, costs=free)
    fields = {**panel.fields, "split_factor": np.zeros(panel.shape)}
    raw = Panel(panel.time, panel.asset_ids, fields, price_basis=PriceBasis.RAW)
    with pytest.raises(DataError, match=r"split_factor.*above 0"):
        ENGINE.run(long_scores(panel), raw, costs=free)


def test_costs_capital_and_lots_that_cannot_be(panel):
    scores = long_scores(panel)
    dear = CostProfile(name="dear", fee_bps=6_000.0, half_spread_bps=5_000.0)
    with pytest.raises(ConfigError, match="110% of it"):
        ENGINE.run(scores, panel, costs=dear)
    with pytest.raises(ValidationError, match="greater than 0"):
        BacktestConfig(initial_equity_usd=0.0)
    lots = book(trading=TradingRules(lot_shares=1.0))
    with pytest.raises(ConfigError, match=r"lot_shares.*raw prices"):
        lots.run(scores, panel, costs=CostProfile(name="base"))
    with pytest.raises(ValidationError, match="unsafe_same_bar"):
        BacktestConfig(unsafe_same_bar=True)


def test_fills_whose_prices_are_absent(panel, free):
    scores = long_scores(panel)
    for fill in ("next_vwap", "next_vwap_proxy"):
        engine = book(fill=fill)
        with pytest.raises(MissingFieldError, match=fill):
            engine.run(scores, panel, costs=free)
    holes = panel.with_fields({"vwap": np.full(panel.shape, np.nan)})
    engine = book(fill="next_vwap")
    with pytest.raises(DataError, match=r"vwap.*every traded bar"):
        engine.run(scores, holes, costs=free)
    same = book(fill="next_close", unsafe_same_bar=True)
    with pytest.raises(ConfigError, match="session before the first score"):
        same.run(scores, panel, costs=free)


def test_changes_of_symbol_that_cannot_be(panel, free):
    def change(**values):
        row = {"from_asset": "A@US#1", "to_asset": "B@US#1", "session": "2020-01-02", "ratio": 1.0}
        return pd.DataFrame([{**row, **values}])

    scores = long_scores(panel)
    with pytest.raises(IdentityError, match="Z@US#1"):
        ENGINE.run(scores, panel, costs=free, symbol_changes=change(to_asset="Z@US#1"))
    with pytest.raises(IdentityError, match="two different"):
        ENGINE.run(scores, panel, costs=free, symbol_changes=change(to_asset="A@US#1"))
    with pytest.raises(DataError, match="above 0"):
        ENGINE.run(scores, panel, costs=free, symbol_changes=change(ratio=0.0))
    with pytest.raises(SchemaMismatchError, match="session"):
        ENGINE.run(scores, panel, costs=free, symbol_changes=change().drop(columns="session"))


def test_side_inputs_that_do_not_fit(panel, free):
    scores = long_scores(panel)
    with pytest.raises(SchemaMismatchError, match="benchmark_returns"):
        ENGINE.run(scores, panel, costs=free, benchmark_returns=np.zeros(4))
    far = pd.Series([0.1], index=pd.DatetimeIndex(["1999-01-04"]))
    with pytest.raises(EmptyDataError, match="benchmark_returns"):
        ENGINE.run(scores, panel, costs=free, benchmark_returns=far)
    with pytest.raises(IdentityError, match="repeated sessions"):
        ENGINE.run(scores, panel, costs=free, benchmark_returns=pd.concat([far, far]))
    with pytest.raises(MissingFieldError, match="regime"):
        ENGINE.run(scores, panel, costs=free, regimes=pd.DataFrame({"x": [1]}))
    odd = pd.DataFrame({"regime": [7]}, index=panel.time.index[:1])
    with pytest.raises(DataError, match="canonical"):
        ENGINE.run(scores, panel, costs=free, regimes=odd)
    wanting = Backtester(BacktestConfig(min_confidence=0.5))
    with pytest.raises(MissingFieldError, match="confidence"):
        wanting.run(scores, panel, costs=free)
