"""Fill simulation: decisions, exact fees, limits, stresses and settlement, by hand."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import ConfigError, DataError, MissingFieldError
from quant_engine.core.trials import MemoryTrialSink
from quant_engine.kalshi.event_frames import EventFrames
from quant_engine.kalshi.execution import (
    DISPLAYED,
    STRESSES,
    FillConfig,
    FillResult,
    FillStress,
    decide_orders,
    fill_orders,
    pnl_per_contract,
)
from quant_engine.kalshi.fees import FeeEntry
from quant_engine.kalshi.strategies import StrategySetConfig, run_strategies
from quant_engine.kalshi.walkforward import WalkForwardEventsConfig, WalkForwardForecasts

FEES = (FeeEntry("series", "S", "quadratic"),)
KEY = ["event_id", "horizon_s"]
LEG = {
    "first_cell": 0, "last_cell": 0, "bid_e4": 1_800, "ask_e4": 2_000, "bid_size_c2": 5_000,
    "ask_size_c2": 3_000, "next_bid_e4": 2_000, "next_ask_e4": 2_300, "next_bid_size_c2": 700,
    "next_ask_size_c2": 1_250,
}  # fmt: skip


def scene(legs, prob, *, happened=(0,), horizons=(3_600,), clusters=None):
    """One event per entry of `happened`, three cells, forecasts `prob` for all."""
    n = len(happened)
    index = pd.MultiIndex.from_tuples([(e, h) for e in range(n) for h in horizons], names=KEY)
    asof = [1_000_000_000_000 + e * 10**11 - h * 10**6 for e, h in index]
    looks = pd.DataFrame(
        {
            "cluster_id": [(clusters or range(n))[e] for e, _ in index],
            "family": "f", "series": "S", "event_ticker": [f"S-{e}" for e, _ in index],
            "regime": "deep", "asof_us": asof, "max_input_avail_us": asof,
            "scheduled_us": [a + h * 10**6 for a, (_, h) in zip(asof, index, strict=True)],
        },
        index=index,
    )  # fmt: skip
    cells = pd.DataFrame(
        [(e, h, k, m) for e, h in index for k, m in enumerate((0.19, 0.3, 0.51))],
        columns=[*KEY, "cell", "market_prob"],
    )
    labels = pd.DataFrame(
        {"happened": [happened[e] for e, _ in index], "label_avail_us": looks["scheduled_us"]},
        index=index,
    )
    rows = [
        {"event_id": e, "horizon_s": h, "ticker": f"{e}-{k}", **LEG, **leg}
        for e, h in index
        for k, leg in enumerate(legs)
    ]
    frames = EventFrames(looks, cells, labels, pd.DataFrame(rows))
    made = cells[[*KEY, "cell"]].assign(shrunk=np.tile(prob, len(index)))
    known = looks[["cluster_id", "regime"]].assign(fold=1, place=np.arange(len(index)))
    return WalkForwardForecasts(frames, known, made, (), None, "data", "split")


def run(forecasts, *, stress=DISPLAYED, fees=FEES, **options) -> FillResult:
    config = FillConfig(**options)
    orders = decide_orders(forecasts, "shrunk", fees=fees, config=config)
    return fill_orders(forecasts, orders, fees=fees, config=config, stress=stress)


def test_a_yes_order_pays_the_ask_and_the_exact_fee():
    result = run(scene([{}], [0.3, 0.3, 0.4]))
    fill = result.fills.iloc[0]
    # 30 contracts at 20 cents: fee 0.07 * 30 * 0.2 * 0.8 = 0.336 dollars, rounded to 0.34.
    assert (fill["side"], fill["price_e4"], fill["count_c2"]) == ("yes", 2_000, 3_000)
    assert fill["fee_e6"] == 340_000
    assert fill["cost_e6"] == 6_000_000
    assert fill["pnl_e6"] == 30_000_000 - 6_000_000 - 340_000
    assert result.by_cluster.loc[0].tolist() == pytest.approx([23.66, 6.34, 30.0, 1.0])


def test_a_no_order_pays_one_minus_the_bid_and_wins_when_nothing_happens():
    result = run(scene([{}], [0.1, 0.5, 0.4], happened=(2,)))
    fill = result.fills.iloc[0]
    # 50 contracts at 82 cents: fee 0.07 * 50 * 0.82 * 0.18 = 0.5166 dollars, rounded to 0.52.
    assert (fill["side"], fill["price_e4"], fill["count_c2"]) == ("no", 8_200, 5_000)
    assert fill["pnl_e6"] == 50_000_000 - 41_000_000 - 520_000
    lost = run(scene([{}], [0.1, 0.5, 0.4], happened=(0,)))
    assert lost.fills["pnl_e6"].iloc[0] == -41_000_000 - 520_000


def test_a_leg_pays_on_a_run_of_cells():
    legs = [{"first_cell": 1, "last_cell": 2, "bid_e4": 7_000, "ask_e4": 7_200}]
    result = run(scene(legs, [0.1, 0.4, 0.5], happened=(2,)))
    assert result.fills["side"].tolist() == ["yes"]
    assert result.fills["pnl_e6"].iloc[0] > 0


def test_the_edge_after_the_fee_decides():
    # Forecast 0.2313 against 0.20: 3.13 cents, less 0.34 / 30 dollars of fee: 1.9967 cents.
    forecasts = scene([{}], [0.2313, 0.3, 0.4687])
    sent = decide_orders(forecasts, "shrunk", fees=FEES, config=FillConfig(threshold=0.0199))
    assert sent["edge"].iloc[0] == pytest.approx(0.2313 - 0.2 - 0.34 / 30)
    assert run(forecasts, threshold=0.0200).fills.empty
    free = (FeeEntry("series", "S", "quadratic", Fraction(0)),)
    assert len(run(forecasts, threshold=0.0200, fees=free).fills) == 1


def test_absent_quotes_are_never_prices():
    assert run(scene([{"ask_e4": -1, "bid_e4": -1}], [1.0, 0.0, 0.0])).fills.empty
    # Without a bid nobody buys NO from us at 100 cents.
    assert run(scene([{"bid_e4": -1}], [0.0, 0.5, 0.5])).fills.empty


def test_limits_hold_per_leg_event_and_cluster():
    assert run(scene([{}], [0.9, 0.05, 0.05]), max_leg_c2=1_000).fills["count_c2"].sum() == 1_000
    by_event = run(scene([{}], [0.9, 0.05, 0.05]), max_event_risk_e6=2_100_000)
    # 10 whole contracts cost 2 dollars; 11 would cost 2.20.
    assert by_event.fills["count_c2"].tolist() == [1_000]
    legs = [{}, {"first_cell": 1, "last_cell": 1, "ask_e4": 3_000, "bid_e4": 2_900}]
    forecasts = scene(legs, [0.4, 0.6, 0.0], happened=(0, 1), clusters=(7, 7))
    capped = run(forecasts, max_cluster_risk_e6=15_000_000)
    assert capped.by_cluster.loc[7, "n_orders"] == len(capped.fills)
    assert capped.fills["cost_e6"].sum() <= 15_000_000
    # The larger edge, 30 cents on the second leg, is served first.
    assert capped.fills["ticker"].iloc[0] == "0-1"


def test_a_later_look_adds_up_to_the_limit_and_never_turns_round():
    forecasts = scene([{}], [0.3, 0.3, 0.4], horizons=(7_200, 3_600))
    result = run(forecasts, max_leg_c2=4_000)
    assert result.fills["horizon_s"].tolist() == [7_200, 3_600]
    assert result.fills["count_c2"].tolist() == [3_000, 1_000]
    turned = forecasts.cells["shrunk"].to_numpy().copy()
    turned[3:] = [0.05, 0.5, 0.45]
    forecasts.cells["shrunk"] = turned
    assert run(forecasts).fills["side"].tolist() == ["yes"]


def test_stresses_fill_the_same_orders_worse():
    forecasts = scene([{}], [0.4, 0.3, 0.3])
    spread, fee, delay = (run(forecasts, stress=s).fills.iloc[0] for s in STRESSES)
    plain = run(forecasts).fills.iloc[0]
    assert spread["price_e4"] == 2_100  # half of the 2-cent spread dearer
    assert fee["fee_e6"] == 2 * plain["fee_e6"]
    assert (delay["price_e4"], delay["count_c2"]) == (2_300, 1_200)  # whole contracts of 12.5
    gone = scene([{"next_ask_e4": -1}], [0.4, 0.3, 0.3])
    assert run(gone, stress=STRESSES[2]).fills.empty
    no_side = run(scene([{}], [0.05, 0.5, 0.45]), stress=STRESSES[2]).fills.iloc[0]
    assert (no_side["price_e4"], no_side["count_c2"]) == (8_000, 700)


def test_resting_orders_need_a_print_strictly_through_their_price():
    prints = {"traded_low_e4": 1_700, "traded_high_e4": 2_000}
    filled = run(scene([prints], [0.3, 0.3, 0.4]), liquidity="maker").fills.iloc[0]
    assert (filled["price_e4"], filled["liquidity"]) == (1_800, "maker")
    assert filled["fee_e6"] == 0  # a quadratic series charges no maker
    beyond = {"traded_low_e4": 1_700, "traded_high_e4": 2_100}
    sold = run(scene([beyond], [0.05, 0.5, 0.45]), liquidity="maker").fills.iloc[0]
    assert (sold["side"], sold["price_e4"]) == ("no", 8_000)
    at = {"traded_low_e4": 1_800, "traded_high_e4": 2_000}
    assert run(scene([at], [0.3, 0.3, 0.4]), liquidity="maker").fills.empty
    with pytest.raises(ConfigError, match="spread_x2"):
        run(scene([prints], [0.3, 0.3, 0.4]), liquidity="maker", stress=STRESSES[0])
    with pytest.raises(MissingFieldError, match="traded_low_e4"):
        run(scene([{}], [0.3, 0.3, 0.4]), liquidity="maker")


def test_the_fee_is_that_of_the_moment_of_the_trade():
    dear = FeeEntry("series", "S", "quadratic", Fraction(2), effective_us=1_050_000_000_000)
    result = run(scene([{}], [0.4, 0.3, 0.3], happened=(0, 0)), fees=(*FEES, dear))
    assert result.fills["fee_e6"].tolist() == [340_000, 680_000]
    with pytest.raises(DataError, match="fee entry"):
        run(scene([{}], [0.4, 0.3, 0.3]), fees=())


def test_gain_per_contract_is_a_ratio_with_a_cluster_interval():
    table = pd.DataFrame(
        {"pnl": [3.0, -1.0, 0.0, 4.0], "risk": 1.0, "contracts": [10.0, 5.0, 0.0, 20.0],
         "n_orders": 1.0}
    )  # fmt: skip
    found = pnl_per_contract(FillResult(pd.DataFrame(), table, DISPLAYED))
    x, n = np.array([3.0, -1.0, 4.0]), np.array([10.0, 5.0, 20.0])
    ratio = x.sum() / n.sum()
    error = np.sqrt(3 / 2 * ((x - ratio * n) ** 2).sum()) / n.sum()
    # Student t with 2 degrees of freedom: 4.302653.
    assert found.mean == pytest.approx(6 / 35)
    assert found.ci_low == pytest.approx(ratio - 4.302653 * error, abs=1e-6)
    assert (found.n_clusters, found.n_contracts) == (3, 35.0)
    nothing = pnl_per_contract(FillResult(pd.DataFrame(), table * 0.0, DISPLAYED))
    assert np.isnan(nothing.mean)


def test_every_strategy_is_counted_and_covers_every_cluster():
    sink = MemoryTrialSink()
    forecasts = scene([{}], [0.22, 0.3, 0.48], happened=(0, 1, 2))
    walk = WalkForwardEventsConfig()
    config = StrategySetConfig(members=("shrunk",), thresholds=(0.0, 0.01, 0.5))
    table = run_strategies(forecasts, config, fees=FEES, walk=walk, trials=sink, family="s")
    assert len(sink.trials) == 3
    assert list(table.pnl.columns) == ["shrunk@0", "shrunk@0.01", "shrunk@0.5"]
    assert table.pnl["shrunk@0.5"].tolist() == [0.0, 0.0, 0.0]
    assert [len(r.stressed) for r in table.runs] == [3, 3, 3]
    resting = config.model_copy(update={"fills": FillConfig(liquidity="maker", threshold=0.5)})
    printed = scene([{"traded_low_e4": 1_700, "traded_high_e4": 2_100}], [0.22, 0.3, 0.48])
    (maker, *_) = run_strategies(
        printed, resting, fees=FEES, walk=walk, trials=sink, family="s"
    ).runs
    assert maker.config.name.endswith(" maker")
    assert maker.stressed == ()


def test_orders_of_other_looks_are_refused():
    forecasts = scene([{}], [0.4, 0.3, 0.3], happened=(0, 0))
    orders = decide_orders(forecasts, "shrunk", fees=FEES, config=FillConfig())
    cut = WalkForwardForecasts(
        forecasts.frames, forecasts.looks.iloc[:1], forecasts.cells.iloc[:3], (), None, "d", "s"
    )
    with pytest.raises(DataError, match="out-of-sample"):
        fill_orders(cut, orders, fees=FEES, config=FillConfig())
    bare = WalkForwardForecasts(
        EventFrames(forecasts.frames.looks, forecasts.frames.cells, forecasts.frames.labels),
        forecasts.looks, forecasts.cells, (), None, "d", "s",
    )  # fmt: skip
    with pytest.raises(MissingFieldError, match="legs"):
        decide_orders(bare, "shrunk", fees=FEES, config=FillConfig())


def test_a_stress_says_what_it_does():
    assert FillStress("x", spread_factor=3.0).fee_factor == 1.0
