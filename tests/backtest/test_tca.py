"""Trading costs: every part a second time in plain Python, and the bridge from gross to net."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
from quant_engine.backtest.tca import CHARGED, PARTS, participation_classes, trading_costs
from quant_engine.core.errors import DataError
from quant_engine.execution import CostProfile

pytestmark = pytest.mark.feature("Q-48")

CAPITAL = 2e4
COSTS = CostProfile(name="dear", adv_min_sessions=1, participation_cap_frac=0.004)
BOOK = PortfolioConfig(names_per_side=2, max_weight_frac=0.5, rebalance_sessions=1)


@pytest.fixture(scope="module")
def run(make_market):
    market = make_market(1)
    panel = market.panel
    result = Backtester(BacktestConfig(portfolio=BOOK, initial_equity_usd=CAPITAL)).run(
        market.scores, panel, costs=COSTS, delistings=market.delistings
    )
    closes = pd.DataFrame(
        panel.field("close"), index=panel.time.index, columns=list(panel.asset_ids)
    )
    return result, closes


def test_parts_equal_a_ledger_in_plain_python(run) -> None:
    result, closes = run
    found = trading_costs(result.orders, result.daily, closes=closes)
    rows = [row for row in result.orders.itertuples() if row.reason != "delisting"]
    assert len(rows) == len(found.orders) < len(result.orders)
    unfilled = 0
    for row, own in zip(rows, found.orders.itertuples(), strict=True):
        assert row.Index == own.Index
        seen = closes.loc[: row.session, row.asset_id].dropna()
        rest = row.ordered_shares - row.filled_shares
        delay = (
            0.0
            if row.filled_shares == 0.0
            else row.filled_shares * (row.reference_price - row.decision_price)
        )
        missed = 0.0 if rest == 0.0 else rest * (float(seen.iloc[-1]) - row.decision_price)
        unfilled += rest != 0.0
        paid = row.cost_spread + row.cost_impact + row.cost_fees
        assert own.delay == pytest.approx(delay, abs=1e-9)
        assert own.opportunity == pytest.approx(missed, abs=1e-9)
        assert own.shortfall == pytest.approx(delay + missed + paid, abs=1e-8)
    assert unfilled > 10
    # Perold: paper profit minus real profit of an order, both valued at the close of its session.
    row = next(row for row in rows if 0.0 < row.fill_ratio < 1.0)
    close = float(closes.loc[: row.session, row.asset_id].dropna().iloc[-1])
    paper = row.ordered_shares * (close - row.decision_price)
    real = row.filled_shares * (close - row.fill_price) - row.cost_fees
    assert found.orders.loc[row.Index, "shortfall"] == pytest.approx(paper - real, rel=1e-9)


@pytest.mark.parametrize("reason", ["delisting", "halt_limit"])
def test_what_nobody_ordered_is_no_order(run, reason) -> None:
    result, closes = run
    orders = result.orders.astype({"reason": "str"})
    mine = orders.index[orders["reason"] == "rebalance"][::7]
    settled = orders.copy()
    settled.loc[mine, "reason"] = reason
    found = trading_costs(settled, result.daily, closes=closes)
    rest = trading_costs(orders.drop(mine), result.daily, closes=closes)
    pd.testing.assert_frame_equal(found.orders, rest.orders)
    pd.testing.assert_frame_equal(found.table, rest.table)


def test_what_was_charged_is_the_gap_between_gross_and_net(run) -> None:
    result, closes = run
    found = trading_costs(result.orders, result.daily, closes=closes)
    bridge = found.bridge
    charged = sum(bridge[kind] for kind in (*CHARGED, "borrow"))
    assert bridge["pnl_gross"] - charged == pytest.approx(bridge["pnl_net"], abs=1e-6)
    assert abs(bridge["gap"]) < 1e-6
    assert bridge["pnl_net"] == pytest.approx(result.daily["equity"].iloc[-1] - CAPITAL, abs=1e-6)
    for kind in CHARGED:
        assert bridge[kind] == pytest.approx(found.orders[kind].sum(), abs=1e-7)


def test_every_dimension_sums_to_all_orders(run) -> None:
    result, closes = run
    table = trading_costs(result.orders, result.daily, closes=closes).table
    sums = table.groupby("dimension")[["n_orders", "ordered_value", *PARTS, "shortfall"]].sum()
    assert set(sums.index) == {"all", "year", "side", "size", "participation"}
    for name in sums.index:
        np.testing.assert_allclose(sums.loc[name], sums.loc["all"], rtol=1e-9, atol=1e-6)
    assert table.loc[table["dimension"] == "size", "n_orders"].max() <= sums["n_orders"].max() / 4
    named = set(table.loc[table["dimension"] == "participation", "slice"])
    assert named <= set(participation_classes())
    assert "not traded" in named
    assert table["fill_frac"].between(0.0, 1.0 + 1e-12).all()


def test_a_book_without_orders_has_no_row_and_no_cost() -> None:
    day = pd.to_datetime(["2024-05-02"])
    daily = pd.DataFrame(
        {"equity": [100.0], "ret_net": [0.0], "ret_gross": [0.0], "cost_fees": [0.0],
         "cost_spread": [0.0], "cost_impact": [0.0], "cost_borrow": [0.0]}, index=day,
    )  # fmt: skip
    columns = ("session", "asset_id", "side", "reason", "ordered_shares", "filled_shares")
    columns += ("decision_price", "reference_price", "traded_value", "adv_value")
    columns += ("cost_fees", "cost_spread", "cost_impact")
    empty = pd.DataFrame({name: pd.Series(dtype="float64") for name in columns})
    empty["session"] = pd.DatetimeIndex([])
    found = trading_costs(empty, daily, closes=pd.DataFrame({"A": [1.0]}, index=day))
    assert found.table.empty
    assert found.bridge["pnl_net"] == 0.0


def test_orders_of_another_market_are_refused(run) -> None:
    result, closes = run
    with pytest.raises(DataError, match="closes"):
        trading_costs(result.orders, result.daily, closes=closes.iloc[:5])
