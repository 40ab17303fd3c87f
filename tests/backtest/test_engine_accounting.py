"""Money identities and cases that can be worked out with a pencil."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
from quant_engine.backtest.result import DAILY_RESULT_COLUMNS, ORDER_COLUMNS, TRADE_COLUMNS
from quant_engine.execution import CostProfile

pytestmark = pytest.mark.feature("Q-34")

COSTS = ["cost_fees", "cost_spread", "cost_impact", "cost_borrow"]
HOLD = PortfolioConfig(
    mode="long_only", names_per_side=1, max_weight_frac=1.0, rebalance_sessions=1000
)
PAIR = PortfolioConfig(names_per_side=1, max_weight_frac=1.0)


def run(panel, scores, costs, book=PAIR, delistings=None, **settings):
    config = BacktestConfig(portfolio=book, **settings)
    return Backtester(config).run(scores, panel, costs=costs, delistings=delistings)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rebalance", ["full", "staggered"])
def test_money_adds_up_every_session(seed, rebalance, make_market, costly):
    market = make_market(seed)
    book = PortfolioConfig(
        names_per_side=2, max_weight_frac=1.0, rebalance=rebalance, rebalance_sessions=3
    )
    config = BacktestConfig(portfolio=book, cash_interest_bps_ann=150.0, halt_limit_sessions=8)
    result = Backtester(config).run(
        market.scores, market.panel, costs=costly, delistings=market.delistings
    )
    daily = result.daily
    # Cash plus positions is equity.
    positions = result.weights.field("weight").sum(axis=1) * daily["equity"]
    np.testing.assert_allclose(daily["cash"] + positions, daily["equity"], rtol=1e-9)
    # The four kinds of cost are the difference between gross and net, session by session.
    start = np.concatenate([[config.initial_equity_usd], daily["equity"].to_numpy()[:-1]])
    gap = (daily["ret_gross"] - daily["ret_net"]) * start
    np.testing.assert_allclose(gap, daily[COSTS].sum(axis=1), rtol=1e-9, atol=1e-6)
    # Net returns compound to the final equity.
    grown = config.initial_equity_usd * (1 + daily["ret_net"]).prod()
    assert grown == pytest.approx(daily["equity"].iloc[-1], rel=1e-12)
    # Round trips add up to the account, kind by kind.
    change = daily["equity"].iloc[-1] - config.initial_equity_usd
    assert result.trades["pnl_net"].sum() + daily["interest"].sum() == pytest.approx(
        change, rel=1e-9, abs=1e-6
    )
    for kind in [*COSTS, "dividends"]:
        assert result.trades[kind].sum() == pytest.approx(daily[kind].sum(), rel=1e-9, abs=1e-9)
    for kind in COSTS[:3]:
        by_session = result.orders.groupby("session")[kind].sum().reindex(daily.index).fillna(0.0)
        np.testing.assert_allclose(by_session, daily[kind], rtol=1e-9, atol=1e-9)
    summary = result.summary
    assert summary["pnl_gross"] - summary["pnl_net"] == pytest.approx(summary["cost_total"])


def test_exact_columns(make_market, costly):
    market = make_market(0)
    result = run(market.panel, market.scores, costly)
    assert tuple(result.daily.columns) == DAILY_RESULT_COLUMNS
    assert tuple(result.trades.columns) == TRADE_COLUMNS
    assert tuple(result.orders.columns) == ORDER_COLUMNS
    assert result.daily.index.name == "session"
    assert result.daily.index[0] == market.panel.time.index[1]


def test_buy_and_hold_is_the_total_return_less_costs(priced):
    rng = np.random.default_rng(0)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (40, 1)), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.01, close.shape))
    dividend = np.zeros_like(close)
    dividend[[1, 17, 30]] = 0.75  # the first goes ex on the entry session: not received
    panel = priced(open_, close, dividend, volume=1e5)
    costs = CostProfile(name="c", fee_bps=5, half_spread_bps=10, impact_coef_bps=30,
                        participation_cap_frac=None, adv_min_sessions=1)  # fmt: skip
    result = run(panel, np.ones((40, 1)), costs, HOLD)
    shares = 1e6 / close[0, 0]
    value = shares * open_[1, 0]
    adv = close[0, 0] * 1e5
    paid = value * (5e-4 + 10e-4 + 30e-4 * math.sqrt(value / adv))
    cash = 1e6 - value - paid + shares * 0.75 * 2
    expected = cash + shares * close[:, 0]
    assert result.daily["equity"].iloc[-1] == pytest.approx(expected[-1], rel=1e-12)
    assert result.daily["equity"].iloc[0] == pytest.approx(
        1e6 - value - paid + shares * close[1, 0], rel=1e-12
    )
    trade = result.trades.iloc[0]
    assert trade["pnl_net"] == pytest.approx(expected[-1] - 1e6)
    assert trade["actual_net_return"] == pytest.approx((expected[-1] - 1e6) / value)
    assert trade["exit_reason"] == "end_of_run"
    assert trade["entry_reference_price"] == pytest.approx(open_[1, 0])
    assert trade["entry_decision_price"] == pytest.approx(close[0, 0])
    per_share = open_[1, 0] * (1 + 10e-4 + 30e-4 * math.sqrt(value / adv))
    assert trade["entry_price"] == pytest.approx(per_share)
    assert trade["entry_impact_bps"] == pytest.approx(30 * math.sqrt(value / adv))
    assert trade["entry_spread_bps"] == pytest.approx(10)
    assert trade["size_frac"] == pytest.approx(value / 1e6)
    assert trade["holding_sessions"] == 38
    assert trade["fill_ratio"] == 1.0


def test_long_and_short_of_the_same_path_earn_nothing(priced, free):
    rng = np.random.default_rng(1)
    path = 30 * np.exp(np.cumsum(rng.normal(0, 0.03, (50, 1)), axis=0))
    open_ = path * np.exp(rng.normal(0, 0.01, path.shape))
    pay = np.where(rng.random(path.shape) < 0.1, 0.4, 0.0)
    panel = priced(*(np.repeat(x, 2, axis=1) for x in (open_, path, pay)))
    scores = rng.normal(size=(50, 2))
    for rebalance in ("full", "staggered"):
        book = PortfolioConfig(
            names_per_side=1, max_weight_frac=1.0, rebalance=rebalance, rebalance_sessions=2
        )
        result = run(panel, scores, free, book)
        assert len(result.trades) > 5
        np.testing.assert_allclose(result.daily["equity"], 1e6, rtol=1e-12)


def test_costs_of_a_round_trip_by_hand(priced):
    # Two assets, one session long and short, then flat: every price is 100.
    panel = priced(np.full((5, 2), 100.0), np.full((5, 2), 100.0), volume=1e6)
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan] * 2, [np.nan] * 2, [np.nan] * 2])
    costs = CostProfile(name="c", fee_bps=2, half_spread_bps=3, impact_coef_bps=40,
                        borrow_bps_ann=2520, adv_min_sessions=1)  # fmt: skip
    result = run(panel, scores, costs)
    first = result.daily.iloc[0]
    value, adv = 500_000.0, 1e8
    impact = value * 40e-4 * math.sqrt(value / adv)
    assert first["cost_fees"] == pytest.approx(2 * value * 2e-4)
    assert first["cost_spread"] == pytest.approx(2 * value * 3e-4)
    assert first["cost_impact"] == pytest.approx(2 * impact)
    assert first["cost_borrow"] == pytest.approx(value * 0.2520 / 252)
    assert first["turnover"] == pytest.approx(0.5)
    equity = 1e6 - first[COSTS].sum()
    assert first["equity"] == pytest.approx(equity)
    assert first["ret_gross"] == pytest.approx(0.0, abs=1e-15)
    second = result.daily.iloc[1]
    # Each position turns from +/- 5,000 shares to -/+ half of the equity.
    traded = value + equity / 2
    assert second["traded_value"] == pytest.approx(2 * traded)
    assert second["cost_impact"] == pytest.approx(2 * traded * 40e-4 * math.sqrt(traded / adv))
    flip = result.trades.iloc[0]
    assert flip["cost_fees"] == pytest.approx((value + value) * 2e-4)
    assert flip["exit_impact_bps"] == pytest.approx(40 * math.sqrt(traded / adv))


def test_dividends_are_received_long_and_owed_short(priced, free):
    dividend = np.zeros((4, 2))
    dividend[2] = [1.0, 2.0]
    panel = priced(np.full((4, 2), 100.0), np.full((4, 2), 100.0), dividend)
    result = run(panel, np.tile([1.0, 0.0], (4, 1)), free)
    assert result.daily["dividends"].round(9).tolist() == [0.0, 5_000.0 - 10_000.0, 0.0]


def test_cap_fills_part_and_the_rest_is_dropped(priced):
    panel = priced(np.full((6, 1), 10.0), np.full((6, 1), 10.0), volume=1e5)
    costs = CostProfile(
        name="c",
        fee_bps=0,
        half_spread_bps=0,
        impact_coef_bps=0,
        participation_cap_frac=0.5,
        min_fill_frac=0.2,
        adv_min_sessions=1,
    )
    result = run(panel, np.ones((6, 1)), costs, HOLD)
    assert result.orders["status"].tolist() == ["partial"]
    assert result.orders["traded_value"].tolist() == [500_000.0]
    assert result.trades["fill_ratio"].tolist() == [0.5]
    assert result.daily["gross_exposure"].round(12).tolist() == [0.5] * 5
    strict = costs.model_copy(update={"min_fill_frac": 0.6})
    assert run(panel, np.ones((6, 1)), strict, HOLD).orders["status"].tolist() == ["below_min_fill"]


def test_halted_position_is_carried_and_written_off_at_the_limit(priced, free):
    close = np.full((12, 1), 10.0)
    close[3:9] = np.nan
    panel = priced(close, close)
    patient = run(panel, np.ones((12, 1)), free, HOLD, halt_limit_sessions=None)
    np.testing.assert_allclose(patient.daily["equity"], 1e6)
    assert (patient.daily["n_long"] == 1).all()
    # Rows 3, 4, 5 are the third idle session in a row at row 5.
    result = run(panel, np.ones((12, 1)), free, HOLD, halt_limit_sessions=3)
    assert result.trades["exit_reason"].iloc[0] == "halt_limit"
    assert result.trades["exit_session"].iloc[0] == panel.time.index[5]
    assert result.daily["equity"].iloc[-1] == pytest.approx(0.7e6)
    assert result.summary["settlement_pnl"] == pytest.approx(-0.3e6)


@pytest.mark.parametrize(
    ("terminal", "reason", "expected"),
    [(-0.9, "performance", 0.1), (np.nan, "performance", 0.7), (np.nan, "merger", 1.0)],
)
def test_delisted_position_pays_its_terminal_return(priced, free, terminal, reason, expected):
    close = np.full((8, 1), 10.0)
    close[4:] = np.nan
    panel = priced(close, close)
    for day in (3, 4):  # the last session, or the one after
        table = pd.DataFrame(
            {
                "asset_id": ["A@US#1"],
                "session": [panel.time.index[day]],
                "terminal_return": [terminal],
                "reason": [reason],
            }
        )
        result = run(panel, np.ones((8, 1)), free, HOLD, table)
        assert result.daily["equity"].iloc[-1] == pytest.approx(1e6 * expected)
        assert result.trades["exit_session"].tolist() == [panel.time.index[4]]
        assert result.trades["exit_reason"].tolist() == ["delisting"]
        assert result.daily["cash"].iloc[-1] == pytest.approx(1e6 * expected)


def test_losing_everything_ends_the_run(priced, free):
    close = np.full((10, 2), 100.0)
    close[4:, 1] = 400.0  # the short quadruples
    panel = priced(close, close)
    result = run(panel, np.tile([1.0, 0.0], (10, 1)), free)
    assert result.summary["is_ruined"] == 1
    assert result.daily.index[-1] == panel.time.index[4]
    assert result.summary["total_return"] == pytest.approx(-1.5)  # half of the capital, times three


def test_the_last_book_gets_its_holding_period_and_no_more(priced, free):
    panel = priced(np.full((30, 2), 10.0), np.full((30, 2), 10.0))
    scores = np.full((30, 2), np.nan)
    scores[4:10] = [1.0, 0.0]
    book = PortfolioConfig(names_per_side=1, max_weight_frac=1.0, rebalance_sessions=5)
    daily = run(panel, scores, free, book).daily
    assert daily.index[0] == panel.time.index[5]
    assert daily.index[-1] == panel.time.index[9 + 5]


def test_band_leaves_small_drifts_alone(make_market, free):
    market = make_market(2)
    counts = []
    for band in (0.0, 0.5):
        book = PortfolioConfig(names_per_side=2, max_weight_frac=1.0, no_trade_band_frac=band)
        counts.append(len(run(market.panel, market.scores, free, book).orders))
    assert counts[1] < counts[0]


def test_regime_size_and_thresholds_limit_what_is_held(make_market, free):
    market = make_market(4)
    ids = np.array(market.panel.asset_ids)
    frame = pd.DataFrame(
        {
            "date": np.repeat(market.panel.time.index, ids.size),
            "asset_id": np.tile(ids, len(market.scores)),
            "score": market.scores.ravel(),
        }
    )
    frame["expected_return_frac"] = frame["score"] / 100
    frame["confidence"] = np.where(frame["score"].abs() > 0.3, 0.7, 0.2)
    config = BacktestConfig(
        portfolio=PortfolioConfig(names_per_side=2, max_weight_frac=1.0),
        min_confidence=0.5,
        min_expected_return_frac=0.005,
        regime_size=(1.0, 1.0, 1.0, 0.0),
    )
    result = Backtester(config).run(frame, market.panel, costs=free, regimes=market.regimes)
    trades = result.trades
    assert len(trades) > 10
    assert (trades["confidence"] == 0.7).all()
    sign = np.where(trades["side"] == "long", 1.0, -1.0)
    assert (sign * trades["predicted"] >= 0.005).all()
    assert not (trades["regime"] == 3).any()
    known = market.regimes["regime"].reindex(trades["decision_session"]).to_numpy()
    assert (trades["regime"].to_numpy() == known).all()
