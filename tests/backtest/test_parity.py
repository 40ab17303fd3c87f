"""Parity: a paper account that follows a backtest agrees with it, one that pays more does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
from quant_engine.backtest.paper_follow import followed, why_not_followed
from quant_engine.backtest.parity import (
    FIGURES,
    ParityConfig,
    backtest_record,
    parity,
    relative_deviation,
)
from quant_engine.backtest.rules import RuleConfig
from quant_engine.core.errors import DataError, InsufficientHistoryError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.execution import CostProfile
from quant_engine.execution.cost_model import CostModel

pytestmark = pytest.mark.feature("L-05")

CAPITAL = 1e6
COSTS = CostProfile(name="base", adv_min_sessions=1, participation_cap_frac=None)


@pytest.fixture(scope="module")
def tested():
    rng = np.random.default_rng(2)
    shape = (80, 8)
    close = 20.0 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    fields = {
        "open": close * np.exp(rng.normal(0, 0.005, shape)),
        "close": close,
        "volume": np.full(shape, 1e6),
    }
    axis = TimeAxis.sessions(pd.bdate_range("2022-01-03", periods=shape[0]).to_numpy())
    panel = Panel(axis, tuple(f"{letter}@US#1" for letter in "ABCDEFGH"), fields)
    book = PortfolioConfig(names_per_side=2, max_weight_frac=0.5, rebalance_sessions=5)
    config = BacktestConfig(portfolio=book, initial_equity_usd=CAPITAL)
    return Backtester(config).run(rng.normal(0, 1, shape), panel, costs=COSTS), panel


def follow(result, panel, costs):
    """A paper account that sends the orders of a backtest."""
    return followed(
        result.daily, result.orders, panel, costs=costs, config=result.config, n_sessions=500
    )


def test_an_account_that_follows_the_backtest_agrees(tested):
    result, panel = tested
    paper = follow(result, panel, COSTS)
    found = parity(backtest_record(result.daily, result.orders), paper)
    assert found.table["figure"].tolist() == list(FIGURES)
    assert found.is_within
    assert "8 figures agree" in found.reason
    np.testing.assert_allclose(paper["equity"], result.daily["equity"].iloc[1:], rtol=1e-12)
    assert paper["n_fills"].sum() > 20


def market(rng, shape=(70, 6)):
    """Prices with gaps, dividends, spreads and a name that ends."""
    close = 20.0 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.01, shape))
    volume = rng.lognormal(15.0, 1.5, shape)
    gone = rng.random(shape) < 0.05
    gone[40:, 2] = True
    for values in (open_, close, volume):
        values[gone] = np.nan
    fields = {
        "open": open_,
        "close": close,
        "volume": volume,
        "dividend": np.where(rng.random(shape) < 0.05, 0.3, np.nan),
        "half_spread_frac": rng.uniform(1e-4, 9e-4, shape),
    }
    axis = TimeAxis.sessions(pd.bdate_range("2021-03-01", periods=shape[0]).to_numpy())
    return Panel(axis, tuple(f"{letter}@US#1" for letter in "ABCDEF"), fields)


@pytest.mark.parametrize("fill", ["next_open", "next_close"])
@pytest.mark.parametrize("seed", range(2))
def test_followed_from_the_middle_of_a_market_with_everything(seed, fill):
    rng = np.random.default_rng(seed)
    panel = market(rng)
    delisted = pd.DataFrame(
        {
            "asset_id": ["C@US#1"],
            "session": [panel.time.index[40]],
            "terminal_return": [-0.4],
            "reason": ["liquidation"],
        }
    )
    book = PortfolioConfig(
        names_per_side=2, max_weight_frac=0.5, rebalance="staggered", rebalance_sessions=3
    )
    config = BacktestConfig(portfolio=book, cash_interest_bps_ann=250.0, fill=fill)
    profile = CostProfile(name="x", adv_min_sessions=1, borrow_bps_ann=90.0)
    for costs in (profile, CostModel(name="m", profile=profile)):
        result = Backtester(config).run(
            rng.normal(0, 1, panel.shape), panel, costs=costs, delistings=delisted
        )
        paper = followed(
            result.daily, result.orders, panel, costs=costs, config=config, fill=fill, n_sessions=45
        )
        assert len(paper) == 45
        own = backtest_record(result.daily, result.orders).iloc[-45:]
        np.testing.assert_allclose(paper["equity"], own["equity"], rtol=1e-9)
        np.testing.assert_allclose(paper["cost_frac"], own["cost_frac"], rtol=1e-6, atol=1e-12)
        assert {"partial", "no_bar"} & set(result.orders["status"].astype("str"))


def test_what_no_paper_account_can_follow_says_why(tested):
    _, panel = tested
    config = BacktestConfig()
    assert why_not_followed(config, None, panel) == ""
    assert why_not_followed(config, RuleConfig(), panel) == ""
    stops = RuleConfig(hard_stop_frac=0.05)
    assert "stops" in why_not_followed(config, stops, panel)
    vwap = config.model_copy(update={"fill": "next_vwap_proxy"})
    assert "next_vwap_proxy" in why_not_followed(vwap, None, panel)
    same_bar = config.model_copy(update={"unsafe_same_bar": True, "fill": "next_close"})
    assert "bar that decided" in why_not_followed(same_bar, None, panel)
    factor = {**panel.fields, "split_factor": np.full(panel.shape, np.nan)}
    raw = Panel(panel.time, panel.asset_ids, factor, price_basis=PriceBasis.RAW)
    assert "split" in why_not_followed(config, None, raw)
    instants = panel.time.values.astype("datetime64[us]")
    bars = Panel(TimeAxis("bar", instants, "24/7", 86_400), panel.asset_ids, panel.fields)
    assert "bars" in why_not_followed(config, None, bars)


def test_one_session_is_too_little_to_follow(tested):
    result, panel = tested
    with pytest.raises(InsufficientHistoryError, match="at least 2"):
        followed(result.daily.iloc[:1], result.orders, panel, costs=COSTS, config=result.config)


def test_an_account_that_pays_ten_times_as_much_does_not(tested):
    result, panel = tested
    paper = follow(result, panel, COSTS.stressed(10.0))
    found = parity(backtest_record(result.daily, result.orders), paper)
    assert not found.is_within
    off = set(found.table.loc[~found.table["is_within"], "figure"])
    assert "cost_ann" in off
    assert "turnover_ann" not in off
    assert "cost_ann" in found.reason
    gap = paper["ret_net"] - result.daily["ret_net"].iloc[1:]
    assert found.worst_gap_frac == pytest.approx(gap[found.worst_session])
    assert abs(found.worst_gap_frac) == pytest.approx(gap.abs().max())


def test_records_say_what_their_sources_say(tested):
    result, _ = tested
    record = backtest_record(result.daily, result.orders)
    paid = result.daily[["cost_fees", "cost_spread", "cost_impact", "cost_borrow"]].sum(axis=1)
    before = result.daily["equity"].shift(fill_value=CAPITAL)
    np.testing.assert_allclose(record["cost_frac"], paid / before, rtol=1e-12)
    assert record["n_fills"].sum() == (result.orders["filled_shares"] != 0.0).sum()


def test_small_figures_are_compared_with_the_floor():
    assert relative_deviation(0.003, 0.001) == pytest.approx(0.1)
    assert relative_deviation(1.2, 1.0) == pytest.approx(0.2)
    assert np.isnan(relative_deviation(np.nan, 1.0))


def test_what_one_side_lacks_is_no_agreement(tested):
    result, _ = tested
    record = backtest_record(result.daily, result.orders)
    found = parity(record, record.assign(turnover=np.nan), ParityConfig())
    assert not found.is_within
    with pytest.raises(DataError, match="paper"):
        parity(record, record.drop(columns="turnover"))
    with pytest.raises(InsufficientHistoryError, match="at least 2 sessions"):
        parity(record, record.iloc[:1])
