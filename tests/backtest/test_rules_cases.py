"""Rules on bars that a person can follow, and what holds for every run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from quant_engine.backtest import BacktestConfig, Backtester, RuleConfig
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    LookAheadError,
    MissingFieldError,
)
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.execution import CostProfile

pytestmark = pytest.mark.feature("Q-34")

FREE = CostProfile(
    name="free", fee_bps=0.0, half_spread_bps=0.0, use_panel_spread=False, impact_coef_bps=0.0,
    borrow_bps_ann=0.0, participation_cap_frac=None, min_fill_frac=0.0,
)  # fmt: skip
FLAT = (100.0, 100.0, 100.0, 100.0)
ALL_IN = {"max_positions": 1, "position_frac": 1.0, "holding_sessions": None}


def one_asset(*bars, volume=1e9, **more):
    """A panel of one asset from (open, high, low, close) per session; None = no bar."""
    values = np.array([(np.nan,) * 4 if bar is None else bar for bar in bars], dtype=float)
    fields = dict(zip(("open", "high", "low", "close"), values.T[:, :, None], strict=True))
    fields["volume"] = np.where(np.isnan(fields["close"]), np.nan, volume)
    masks = {k: np.array(v)[:, None] for k, v in more.items() if k == "shortable"}
    fields |= {k: np.array(v, float)[:, None] for k, v in more.items() if k != "shortable"}
    sessions = pd.bdate_range("2020-01-01", periods=len(bars)).to_numpy()
    return Panel(TimeAxis.sessions(sessions), ("A@US#1",), fields, masks)


def run(panel, score=1.0, *, costs=FREE, config=None, regimes=None, delistings=None, **rules):
    """One entry on the first close (or given scores)."""
    scores = np.full(panel.shape, np.nan)
    scores[:, 0] = [score] + [np.nan] * (len(scores) - 1) if np.isscalar(score) else score
    return Backtester(config or BacktestConfig()).run_signals(
        scores, panel, rules=RuleConfig(**{**ALL_IN, **rules}), costs=costs,
        regimes=regimes, delistings=delistings,
    )  # fmt: skip


def outcome(result, row=0):
    trade = result.trades.iloc[row]
    session = result.trades["exit_session"].iloc[row]
    days = pd.bdate_range("2020-01-01", periods=30)
    return trade["exit_reason"], days.get_loc(session), round(trade["exit_price"], 9)


STOP = {"hard_stop_frac": 0.05, "profit_target_frac": 0.10}


@pytest.mark.parametrize(
    ("bar", "wanted"),
    [
        ((100, 104, 96, 103), ("end_of_run", 3, 103.0)),
        ((100, 104, 94, 103), ("hard_stop", 2, 95.0)),
        ((100, 104, 95, 103), ("hard_stop", 2, 95.0)),
        ((93, 104, 92, 103), ("hard_stop", 2, 93.0)),
        ((100, 111, 96, 103), ("profit_target", 2, 110.0)),
        ((112, 113, 96, 103), ("profit_target", 2, 112.0)),
        ((100, 111, 94, 103), ("hard_stop", 2, 95.0)),
        ((112, 113, 94, 103), ("profit_target", 2, 112.0)),
    ],
)
def test_a_bar_decides_against_a_long(bar, wanted):
    """Entry at 100 on session 1; stop 95, target 110."""
    last = (103.0, 103.0, 103.0, 103.0)
    assert outcome(run(one_asset(FLAT, FLAT, bar, last), **STOP)) == wanted


@pytest.mark.parametrize(
    ("bar", "wanted"),
    [
        ((100, 106, 96, 103), ("hard_stop", 2, 105.0)),
        ((107, 108, 96, 103), ("hard_stop", 2, 107.0)),
        ((100, 104, 89, 103), ("profit_target", 2, 90.0)),
        ((88, 104, 87, 103), ("profit_target", 2, 88.0)),
        ((100, 106, 89, 103), ("hard_stop", 2, 105.0)),
    ],
)
def test_a_bar_decides_against_a_short(bar, wanted):
    last = (103.0, 103.0, 103.0, 103.0)
    result = run(one_asset(FLAT, FLAT, bar, last), -1.0, sides="short", **STOP)
    assert outcome(result) == wanted
    assert result.trades["pnl_net"].iloc[0] == pytest.approx((100.0 - wanted[2]) * 1e4)


def test_a_position_opened_at_the_open_can_be_stopped_in_its_first_bar():
    panel = one_asset(FLAT, (100, 101, 90, 99), FLAT)
    assert outcome(run(panel, **STOP)) == ("hard_stop", 1, 95.0)
    assert outcome(run(panel, fill="next_close", **STOP))[0] == "end_of_run"
    assert outcome(run(panel, fill="next_vwap_proxy", **STOP))[0] == "end_of_run"


@pytest.mark.parametrize(
    ("rules", "session", "price"),
    [
        ({}, 1, 101.0),
        ({"fill": "next_close"}, 1, 104.0),
        ({"fill": "next_vwap_proxy"}, 1, (106.0 + 99.0 + 104.0) / 3.0),
        ({"fill": "next_close", "unsafe_same_bar": True}, 0, 98.0),
    ],
)
def test_where_orders_fill(rules, session, price):
    bars = (FLAT, (97, 99, 96, 98), (101, 106, 99, 104), FLAT)
    result = run(one_asset(*bars), [np.nan, 1.0, np.nan, np.nan], **rules)
    trade = result.trades.iloc[0]
    days = pd.bdate_range("2020-01-01", periods=4)
    assert (days.get_loc(trade["entry_session"]) - 1, trade["entry_price"]) == (
        session, pytest.approx(price, rel=1e-12),
    )  # fmt: skip
    assert trade["entry_decision_price"] == 98.0


def test_the_trailing_stop_moves_after_a_close_alone():
    """High 120 and low 107 in one bar: the stop of that bar is still the old one."""
    bars = (FLAT, FLAT, (110, 120, 107, 118), (118, 119, 113, 114), FLAT)
    result = run(one_asset(*bars), trailing_stop_frac=0.05)
    assert outcome(result) == ("trailing_stop", 3, 114.0)
    armed = run(one_asset(*bars), trailing_stop_frac=0.05, trailing_arm_frac=0.25)
    assert outcome(armed)[0] == "end_of_run"


def test_the_atr_of_the_decision_sets_the_stop():
    panel = one_asset(FLAT, FLAT, (100, 100, 95, 99), FLAT, atr=[2.0, 9.0, 9.0, 9.0])
    assert outcome(run(panel, atr_stop_multiple=2.0)) == ("atr_stop", 2, 96.0)
    tight = {"atr_stop_multiple": 2.0, "stop_regime_factor": (1.0, 0.5, 1.0, 1.0)}
    regimes = pd.DataFrame({"regime": [1, 1, 1, 1]}, index=panel.time.index)
    assert outcome(run(panel, regimes=regimes, **tight)) == ("atr_stop", 2, 98.0)
    unknown = one_asset(FLAT, FLAT, FLAT, atr=[np.nan, 1.0, 1.0])
    assert run(unknown, atr_stop_multiple=2.0).orders.empty


def test_excursions_and_shortfall_by_hand():
    """Decided at 100, filled at 101, bar (101, 107, 98), target 111.1 hit after a low of 99."""
    bars = (FLAT, (101, 107, 98, 105), (105, 115, 99, 110), FLAT)
    costs = FREE.model_copy(update={"fee_bps": 10.0})
    result = run(one_asset(*bars), costs=costs, profit_target_frac=0.10)
    trade = result.trades.iloc[0]
    assert trade["mae_frac"] == pytest.approx(98 / 101 - 1)
    assert trade["mfe_frac"] == pytest.approx(0.10)
    shares, target = 1e6 / 100.0, 111.1
    fees = shares * (101.0 + target) * 10e-4
    wanted = (shares * (101.0 - 100.0) + fees) / (shares * 100.0) * 1e4
    assert trade["implementation_shortfall_bps"] == pytest.approx(wanted)
    assert trade["entry_reason"] == "entry"
    assert result.orders["shortfall_executed"].sum() == pytest.approx(shares * 1.0 + fees)


def test_a_stop_keeps_to_the_participation_cap():
    """40 % of the last session's value: 8,000 buys 80, 4,000 at 95 leaves the rest for 90."""
    bars = (FLAT, FLAT, (100, 100, 90, 90), (90, 90, 90, 90), FLAT)
    costs = FREE.model_copy(
        update={"participation_cap_frac": 0.4, "adv_sessions": 1, "adv_min_sessions": 1}
    )
    panel = one_asset(*bars, volume=[[200.0], [100.0], [150.0], [150.0], [150.0]])
    config = BacktestConfig(initial_equity_usd=10_000.0)
    result = run(panel, costs=costs, config=config, hard_stop_frac=0.05)
    orders, stopped = result.orders, 4_000.0 / 95.0
    assert orders["reason"].tolist() == ["entry", "hard_stop", "hard_stop"]
    assert orders["status"].tolist() == ["partial", "partial", "filled"]
    assert orders["filled_shares"].tolist() == pytest.approx([80.0, -stopped, stopped - 80.0])
    assert orders["reference_price"].tolist() == [100.0, 95.0, 90.0]
    assert outcome(result)[:2] == ("hard_stop", 3)


def test_a_halt_delays_an_exit_and_a_delisting_pays_its_return():
    bars = (FLAT, FLAT, FLAT, None, None, (80, 80, 80, 80), FLAT)
    assert outcome(run(one_asset(*bars), holding_sessions=2)) == ("holding_period", 5, 80.0)
    gone = pd.DataFrame({"asset_id": ["A@US#1"], "session": [pd.Timestamp("2020-01-06")],
                         "terminal_return": [-0.4]})  # fmt: skip
    result = run(one_asset(FLAT, FLAT, FLAT, None, None), delistings=gone)
    assert outcome(result) == ("delisting", 3, 60.0)
    assert result.daily["equity"].iloc[-1] == pytest.approx(600_000.0)


def test_shorts_need_shares_and_are_recalled():
    bars = (FLAT,) * 5
    free = run(one_asset(*bars, shortable=[True] * 5), -1.0, sides="short")
    assert outcome(free)[0] == "end_of_run"
    recalled = run(one_asset(*bars, shortable=[True, True, False, True, True]), -1.0, sides="short")
    assert outcome(recalled) == ("borrow_recall", 3, 100.0)
    assert run(one_asset(*bars, shortable=[False] * 5), -1.0, sides="short").orders.empty


def test_a_margin_call_closes_the_book():
    """Three times the equity long; a fall of 20 % leaves 0.4 against 2.4 of positions."""
    fall = (80, 80, 80, 80)
    result = run(one_asset(FLAT, FLAT, fall, fall, fall), position_frac=3.0, max_gross_frac=3.0,
                 maintenance_margin_frac=0.25)  # fmt: skip
    assert outcome(result) == ("margin_call", 3, 80.0)
    assert result.daily["equity"].iloc[-1] == pytest.approx(400_000.0)


def test_borrow_fees_of_the_panel_replace_those_of_the_profile():
    panel = one_asset(*(FLAT,) * 4, borrow_bps_ann=[np.nan, np.nan, 2520.0, 0.0])
    costs = FREE.model_copy(update={"borrow_bps_ann": 252.0})
    daily = run(panel, -1.0, sides="short", costs=costs).daily
    np.testing.assert_allclose(daily["cost_borrow"], [100.0, 1000.0, 0.0])


def test_a_name_waits_after_an_exit():
    panel = one_asset(*(FLAT,) * 8)
    scores = np.ones(8)
    fast = run(panel, scores, holding_sessions=1)
    slow = run(panel, scores, holding_sessions=1, reentry_wait_sessions=2)
    days = pd.bdate_range("2020-01-01", periods=8)
    entries = [[days.get_loc(s) for s in r.trades["entry_session"]] for r in (fast, slow)]
    assert entries == [[1, 3, 5, 7], [1, 5]]


# --- what holds for every run --------------------------------------------------------------------


@st.composite
def markets(draw):
    """A small random market with missing bars and rules with random settings."""
    seed = draw(st.integers(0, 10_000))
    optional = st.one_of(st.none(), st.floats(0.01, 0.2))
    rules = RuleConfig(
        sides=draw(st.sampled_from(["long", "short", "both"])),
        entry_min=draw(st.floats(0.01, 1.5)),
        max_positions=draw(st.integers(1, 6)),
        position_frac=draw(st.floats(0.05, 0.8)),
        max_gross_frac=draw(st.floats(0.5, 3.0)),
        holding_sessions=draw(st.one_of(st.none(), st.integers(1, 8))),
        hard_stop_frac=draw(optional),
        trailing_stop_frac=draw(optional),
        profit_target_frac=draw(optional),
        reentry_wait_sessions=draw(st.integers(0, 3)),
        fill=draw(st.sampled_from(["next_open", "next_close", "next_vwap_proxy"])),
    )
    return seed, rules


def random_market(seed, n_rows=40, n_assets=5):
    rng = np.random.default_rng(seed)
    close = 30.0 * np.exp(np.cumsum(0.04 * rng.normal(size=(n_rows, n_assets)), axis=0))
    opened = close * np.exp(0.02 * rng.normal(size=close.shape))
    fields = {
        "open": opened,
        "high": np.maximum(opened, close) * (1 + 0.02 * rng.random(close.shape)),
        "low": np.minimum(opened, close) * (1 - 0.02 * rng.random(close.shape)),
        "close": close,
        "volume": rng.lognormal(9.0, 1.0, close.shape),
    }
    missing = rng.random(close.shape) < 0.06
    for values in fields.values():
        values[missing] = np.nan
    fields["dividend"] = np.where(rng.random(close.shape) < 0.05, 0.5, 0.0)
    sessions = pd.bdate_range("2021-01-01", periods=n_rows).to_numpy()
    ids = tuple(f"{letter}@US#1" for letter in "DBACE"[:n_assets])
    scores = rng.normal(size=close.shape)
    scores[rng.random(close.shape) < 0.2] = np.nan
    return Panel(TimeAxis.sessions(sessions), ids, fields), scores


CONFIG = BacktestConfig(cash_interest_bps_ann=300.0, halt_limit_sessions=4)
COSTLY = CostProfile(name="costly", fee_bps=5.0, participation_cap_frac=0.1, adv_sessions=5,
                     adv_min_sessions=2, borrow_bps_ann=400.0)  # fmt: skip


@settings(max_examples=25, deadline=None, derandomize=True)
@given(markets())
def test_money_is_conserved(drawn):
    seed, rules = drawn
    panel, scores = random_market(seed)
    result = Backtester(CONFIG).run_signals(scores, panel, rules=rules, costs=COSTLY)
    daily, trades, orders = result.daily, result.trades, result.orders
    values = result.weights.field("weight") * daily["equity"].to_numpy()[:, None]
    np.testing.assert_allclose(
        daily["cash"] + np.nansum(values, axis=1), daily["equity"], rtol=1e-9, atol=1e-4
    )
    gained = daily["equity"].iloc[-1] - CONFIG.initial_equity_usd
    assert trades["pnl_net"].sum() + daily["interest"].sum() == pytest.approx(gained, abs=1e-3)
    for name in ("cost_fees", "cost_spread", "cost_impact"):
        assert daily[name].sum() == pytest.approx(orders[name].sum(), rel=1e-9)
        assert daily[name].sum() == pytest.approx(trades[name].sum(), rel=1e-9)
    assert daily["cost_borrow"].sum() == pytest.approx(trades["cost_borrow"].sum(), rel=1e-9)
    assert (daily["n_long"] + daily["n_short"]).max() <= rules.max_positions
    assert (trades["mae_frac"] <= 0).all()
    assert (trades["mfe_frac"] >= 0).all()
    bought = orders.groupby("asset_id", observed=True)["filled_shares"].sum()
    still = trades[trades["exit_reason"] == "end_of_run"]
    for asset, total in bought.items():
        side = still[still["asset_id"] == asset]
        if side.empty:
            assert total == pytest.approx(0.0, abs=1e-6)
    closed = trades[trades["exit_reason"] != "end_of_run"]
    for row in closed.itertuples():
        after = result.weights.time.index.get_loc(row.exit_session)
        column = panel.asset_ids.index(row.asset_id)
        order = sorted(range(5), key=lambda i: panel.asset_ids[i]).index(column)
        again = trades[
            (trades["asset_id"] == row.asset_id) & (trades["entry_session"] > row.exit_session)
        ]
        until = len(daily) if again.empty else daily.index.get_loc(again["entry_session"].min())
        assert not values[after + 1 : until, order].any()
    if rules.holding_sessions is not None:
        on_time = closed[closed["exit_reason"] == "holding_period"]
        assert (on_time["holding_sessions"] >= rules.holding_sessions).all()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(markets(), st.integers(15, 30))
def test_the_future_does_not_reach_back(drawn, row):
    seed, rules = drawn
    panel, scores = random_market(seed)
    poison = {name: values.copy() for name, values in panel.fields.items()}
    for name in ("open", "high", "low", "close"):
        poison[name][row:] *= 3.0
    other = scores.copy()
    other[row:] = 9.0
    first, second = (
        Backtester(CONFIG).run_signals(s, Panel(panel.time, panel.asset_ids, f), rules=rules,
                                       costs=COSTLY)
        for s, f in ((scores, panel.fields), (other, poison))
    )  # fmt: skip
    stop = panel.time.index[row]
    before = [
        (
            r.daily.loc[r.daily.index < stop, ["equity", "cash"]],
            r.orders[r.orders["session"] < stop],
        )
        for r in (first, second)
    ]
    pd.testing.assert_frame_equal(before[0][0], before[1][0], check_exact=True)
    pd.testing.assert_frame_equal(before[0][1], before[1][1], check_exact=True)


def test_the_order_of_columns_does_not_matter():
    panel, scores = random_market(7)
    rules = RuleConfig(sides="both", entry_min=0.3, max_positions=3, position_frac=0.3)
    order = np.array([3, 0, 4, 1, 2])
    first = Backtester(CONFIG).run_signals(scores, panel, rules=rules, costs=COSTLY)
    second = Backtester(CONFIG).run_signals(
        scores[:, order], panel.columns(order), rules=rules, costs=COSTLY
    )
    pd.testing.assert_frame_equal(first.trades, second.trades, check_exact=True)
    pd.testing.assert_frame_equal(first.daily, second.daily, check_exact=True)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unsafe_same_bar": True}, "next_close"),
        ({"stop_regime_factor": (1.0, 0.0, 1.0, 1.0)}, "above 0"),
        ({"entry_regimes": (4,)}, "entry_regimes"),
        ({"entry_min": 0.0}, "greater than 0"),
    ],
)
def test_rules_say_what_is_wrong(change, message):
    with pytest.raises(ValidationError, match=message):
        RuleConfig(**change)


def test_inputs_say_what_is_wrong():
    bars = (FLAT,) * 4
    plain = one_asset(*bars).only_fields(("open", "close", "volume"))
    with pytest.raises(MissingFieldError, match="high"):
        run(plain, hard_stop_frac=0.1)
    with pytest.raises(MissingFieldError, match="atr"):
        run(one_asset(*bars), atr_stop_multiple=1.0)
    half = one_asset(*bars).only_fields(("open", "close", "volume", "high"))
    with pytest.raises(MissingFieldError, match="high and low together"):
        run(half)
    with pytest.raises(DataError, match="low <= open"):
        run(one_asset(FLAT, (100, 99, 98, 100), FLAT))
    with pytest.raises(DataError, match=r"borrow_bps_ann.*at least 0"):
        run(one_asset(*bars, borrow_bps_ann=[-1.0, 0, 0, 0]))
    with pytest.raises(LookAheadError, match="last session"):
        run(one_asset(*bars), [np.nan, np.nan, np.nan, 1.0])
    with pytest.raises(ConfigError, match="session before the first score"):
        run(one_asset(*bars), fill="next_close", unsafe_same_bar=True)
    with pytest.raises(EmptyDataError, match="eligible"):
        run(one_asset(None, FLAT, FLAT), [1.0, np.nan, np.nan])
