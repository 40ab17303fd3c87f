"""Frames and metrics on demand: the same numbers as column by column, made once, and only if asked.

The second derivation is plain numpy and pandas on the records, without any pass over them.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig, RuleConfig
from quant_engine.backtest.facts import order_facts, trade_facts
from quant_engine.backtest.kernel_state import ORDER, REASONS, STATUSES
from quant_engine.backtest.result import ORDER_COLUMNS, TRADE_COLUMNS
from quant_engine.backtest.round_trips import LOT
from quant_engine.stats.inference import known_mean
from quant_engine.stats.metrics import hit_rate, profit_factor

BOOKS = (
    PortfolioConfig(names_per_side=2, max_weight_frac=1.0),
    PortfolioConfig(
        names_per_side=2,
        max_weight_frac=1.0,
        rebalance="staggered",
        rebalance_sessions=3,
        weighting="rank",
        rank_buffer=1,
    ),
)
RULES = RuleConfig(
    max_positions=3, position_frac=0.3, entry_min=0.5, holding_sessions=4, sides="both"
)
FRAMES = (
    "daily",
    "trades",
    "orders",
    "summary",
    "regime_breakdown",
    "monthly_returns",
    "exposures",
    "weights",
)


def config_of(book):
    return BacktestConfig(
        portfolio=book, halt_limit_sessions=8, beta_sessions=12, beta_min_sessions=6
    )


def long_frame(market):
    n_rows, n_assets = market.panel.shape
    frame = pd.DataFrame(
        {
            "date": np.repeat(market.panel.time.index, n_assets),
            "asset_id": np.tile(market.panel.asset_ids, n_rows),
            "score": market.scores.ravel(),
        }
    )
    return frame.assign(
        expected_return_frac=0.01 * frame["score"], confidence=0.5 + frame["score"].abs() % 0.4
    )


def given(market, costs):
    return {
        "costs": costs,
        "delistings": market.delistings,
        "regimes": market.regimes,
        "benchmark_returns": market.benchmark,
    }


def runs(market, costs):
    """Books and rules, on scores alone and on scores with what can stand beside them."""
    others = given(market, costs)
    for scores in (market.scores, long_frame(market)):
        for book in BOOKS:
            yield Backtester(config_of(book)).run(scores, market.panel, **others)
        yield Backtester(BacktestConfig(halt_limit_sessions=8)).run_signals(
            scores, market.panel, rules=RULES, **others
        )


def bps(cost, value):
    paid = np.where(value > 0.0, value, 1.0)
    return np.where(value > 0.0, cost / paid * 1e4, np.nan)


def plain_trades(result):
    """Every column by itself."""
    lot, context = result.run.trades, result.context
    sessions, ids = context.sessions, np.array(context.panel.asset_ids, dtype=object)
    signals, where = context.signals, (lot["decision_row"], lot["decided_asset"])
    expected, confidence = signals.expected_return_frac, signals.confidence
    side = lot["side"].astype(np.float64)
    entry_cost = lot["entry_spread"] + lot["entry_impact"]
    exit_cost = lot["exit_spread"] + lot["exit_impact"]
    gross = side * (lot["exit_value"] - lot["entry_value"]) + lot["dividends"]
    net = gross - entry_cost - exit_cost - lot["fees"] - lot["borrow"]
    reasons = list(context.reasons)
    values = {
        "trade_id": np.arange(lot.size),
        "asset_id": pd.array(ids[lot["asset"]], dtype="str"),
        "side": pd.Categorical(np.where(side > 0, "long", "short"), ["short", "long"]),
        "tranche": lot["tranche"],
        "decision_session": sessions[lot["decision_row"]],
        "entry_session": sessions[lot["entry_row"]],
        "exit_session": sessions[lot["exit_row"]],
        "entry_price": (lot["entry_value"] + side * entry_cost) / lot["entry_shares"],
        "exit_price": (lot["exit_value"] - side * exit_cost) / lot["exit_shares"],
        "entry_reference_price": lot["entry_value"] / lot["entry_shares"],
        "exit_reference_price": lot["exit_value"] / lot["exit_shares"],
        "entry_decision_price": lot["entry_decision_value"] / lot["entry_shares"],
        "exit_decision_price": lot["exit_decision_value"] / lot["exit_shares"],
        "predicted": (signals.score if expected is None else expected)[where],
        "score": signals.score[where],
        "actual_net_return": net / lot["entry_value"],
        "actual_gross_return": gross / lot["entry_value"],
        "pnl_net": net,
        "pnl_gross": gross,
        "regime": context.regimes[lot["decision_row"]].astype(np.int8),
        "confidence": np.full(lot.size, np.nan) if confidence is None else confidence[where],
        "holding_sessions": lot["exit_row"] - lot["entry_row"],
        "shares": lot["entry_shares"],
        "entry_value": lot["entry_value"],
        "size_frac": lot["first_value"] / lot["equity_at_decision"],
        "exit_reason": pd.Categorical.from_codes(lot["exit_reason"], reasons),
        "fill_ratio": lot["entry_shares"] / lot["ordered_shares"],
        "entry_spread_bps": bps(lot["entry_spread"], lot["entry_value"]),
        "exit_spread_bps": bps(lot["exit_spread"], lot["exit_value"]),
        "entry_impact_bps": bps(lot["entry_impact"], lot["entry_value"]),
        "exit_impact_bps": bps(lot["exit_impact"], lot["exit_value"]),
        "cost_fees": lot["fees"],
        "cost_spread": lot["entry_spread"] + lot["exit_spread"],
        "cost_impact": lot["entry_impact"] + lot["exit_impact"],
        "cost_borrow": lot["borrow"],
        "dividends": lot["dividends"],
    }
    return pd.DataFrame(values)


def plain_orders(result):
    order, context = result.run.orders, result.context
    sessions, ids = context.sessions, np.array(context.panel.asset_ids, dtype=object)
    filled, reference = order["filled_shares"], order["reference_price"]
    traded = np.where(filled == 0.0, 0.0, np.abs(filled) * reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        paid = reference + (order["spread"] + order["impact"]) / filled
        share = traded / order["adv_value"]
    bought = np.where(order["ordered_shares"] > 0.0, "buy", "sell")
    values = {
        "decision_session": sessions[order["decision_row"]],
        "session": sessions[order["row"]],
        "asset_id": pd.array(ids[order["asset"]], dtype="str"),
        "tranche": order["tranche"].astype(np.int64),
        "side": pd.Categorical(bought, ["sell", "buy"]),
        "reason": pd.Categorical.from_codes(order["reason"], list(context.reasons)),
        "status": pd.Categorical.from_codes(order["status"], list(context.statuses)),
        "ordered_shares": order["ordered_shares"],
        "filled_shares": filled,
        "fill_ratio": filled / order["ordered_shares"],
        "decision_price": order["decision_price"],
        "reference_price": reference,
        "fill_price": np.where(filled == 0.0, np.nan, paid),
        "traded_value": traded,
        "adv_value": order["adv_value"],
        "participation_frac": share,
        "cost_fees": order["fee"],
        "cost_spread": order["spread"],
        "cost_impact": order["impact"],
    }
    return pd.DataFrame(values)


def plain_metrics(result):
    """What the summary says of trades and orders, from the tables."""
    trades, orders = result.trades, result.orders
    closed = (trades["exit_reason"] != "end_of_run").to_numpy()
    net = trades["actual_net_return"].to_numpy()[closed]
    held = trades["holding_sessions"].to_numpy()[closed]
    sent = ~orders["reason"].isin(["delisting", "halt_limit"]).to_numpy()
    share = orders["participation_frac"].to_numpy()[sent]
    share = share[np.isfinite(share)]
    value = orders["traded_value"].to_numpy()[sent]
    statuses = orders["status"][sent].value_counts(sort=False)
    exits = trades["exit_reason"].value_counts(sort=False).drop("end_of_run")
    years = len(result.daily) / result.config.periods_per_year
    found = {
        "n_trades": int(closed.sum()),
        "n_open_at_end": int((~closed).sum()),
        "trades_per_year": float(closed.sum() / years),
        "avg_holding_sessions": known_mean(held),
        "hit_rate": hit_rate(net),
        "profit_factor": profit_factor(trades["pnl_net"].to_numpy()[closed]),
        "avg_trade_return": known_mean(net),
        "avg_win_return": known_mean(net[net > 0.0]),
        "avg_loss_return": known_mean(net[net < 0.0]),
        **{f"n_exits_{name}": int(n) for name, n in exits.items()},
        "n_orders": int(sent.sum()),
        "n_unfilled_orders": int((orders["filled_shares"].to_numpy()[sent] == 0.0).sum()),
        **{f"n_orders_{name}": int(n) for name, n in statuses.items()},
        "avg_participation": known_mean(share),
        "max_participation": float(share.max()) if share.size else None,
        "avg_fill_value": known_mean(value[value > 0.0]),
    }
    return {
        name: value if value is None or np.isfinite(value) else None
        for name, value in found.items()
    }


@pytest.mark.feature("Q-34")
@pytest.mark.parametrize("seed", range(4))
def test_tables_are_those_of_every_column_by_itself(seed, make_market, costly):
    for result in runs(make_market(seed), costly):
        trades, orders = plain_trades(result), plain_orders(result)
        assert tuple(trades) == TRADE_COLUMNS
        assert tuple(orders) == ORDER_COLUMNS
        assert len(trades) >= 2
        assert len(orders) > 20
        for ours, wanted in ((result.trades, trades), (result.orders, orders)):
            pd.testing.assert_frame_equal(ours[list(wanted)], wanted, check_exact=True)


@pytest.mark.feature("Q-34")
@pytest.mark.parametrize("seed", range(4))
def test_the_summary_is_that_of_the_tables_to_the_last_digit(seed, make_market, costly):
    for result in runs(make_market(seed), costly):
        told = dict(result.summary)
        wanted = plain_metrics(result)
        assert {name: told[name] for name in wanted} == wanted
        assert [name for name in told if name in wanted] == list(wanted)


def test_nothing_is_made_before_it_is_asked_for_and_then_once(make_market, costly):
    for result in runs(make_market(1), costly):
        assert not set(FRAMES) & set(vars(result))
        assert result.summary["n_orders"] > 0
        assert set(FRAMES) & set(vars(result)) == {"summary", "daily"}
        for name in FRAMES:
            assert getattr(result, name) is getattr(result, name)
        with pytest.raises(AttributeError):
            result.run = None
        told = repr(result)
        assert told.startswith(f"{type(result).__name__}(daily=")
        assert all(f"{name}=" in told for name in (*FRAMES, "config", "price_basis"))


def test_what_the_caller_does_to_its_arrays_later_is_not_part_of_the_run(make_market, costly):
    market = make_market(2)
    others = {**given(market, costly), "benchmark_returns": market.benchmark.to_numpy().copy()}
    scores = np.ascontiguousarray(market.scores[:, np.argsort(market.panel.asset_ids)])
    panel = market.panel.columns(np.argsort(market.panel.asset_ids))
    wanted = Backtester(config_of(BOOKS[0])).run(scores.copy(), panel, **others)
    kept = {name: getattr(wanted, name) for name in ("daily", "trades")}
    result = Backtester(config_of(BOOKS[0])).run(scores, panel, **others)
    scores[:] = 0.0
    others["benchmark_returns"][:] = 0.0
    for name, frame in kept.items():
        pd.testing.assert_frame_equal(getattr(result, name), frame, check_exact=True)


def test_no_trade_and_no_order_give_no_figure():
    trades = trade_facts(np.zeros(0, LOT), REASONS)
    orders = order_facts(np.zeros(0, ORDER), REASONS, STATUSES)
    assert (trades.net_return.size, trades.n_open, sum(trades.n_exits.values())) == (0, 0, 0)
    assert (orders.n_orders, orders.n_unfilled, sum(orders.n_by_status.values())) == (0, 0, 0)
    assert orders.participation_frac.size == orders.traded_value.size == 0


def test_settlements_are_no_orders_and_open_lots_no_closed_trades():
    order = np.zeros(3, ORDER)
    order["reason"] = [REASONS.index(name) for name in ("rebalance", "delisting", "halt_limit")]
    order["filled_shares"], order["reference_price"], order["adv_value"] = (
        2.0,
        10.0,
        [0.0, 1.0, 1.0],
    )
    facts = order_facts(order, REASONS, STATUSES)
    # Traded without an ADV: a value, and no finite share of it.
    assert (facts.n_orders, facts.traded_value.tolist()) == (1, [20.0])
    assert facts.participation_frac.size == 0
    lot = np.zeros(2, LOT)
    lot["exit_reason"] = [REASONS.index("end_of_run"), REASONS.index("halt_limit")]
    lot["side"], lot["entry_value"], lot["exit_value"] = -1, 50.0, 40.0
    lot["fees"], lot["entry_spread"], lot["dividends"] = 1.0, 0.5, -2.0
    made = trade_facts(lot, REASONS)
    assert (made.n_open, made.n_exits["halt_limit"], made.n_exits["rebalance"]) == (1, 1, 0)
    assert made.pnl_net.tolist() == [10.0 - 2.0 - 1.5]
    assert made.net_return.tolist() == [6.5 / 50.0]


def test_results_that_are_let_go_take_no_memory(make_market, costly):
    market = make_market(3)
    engine, others = Backtester(config_of(BOOKS[1])), given(market, costly)

    def once():
        result = engine.run(market.scores, market.panel, **others)
        return len(result.trades) + len(result.orders) + len(result.summary)

    once()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            for _ in range(4):
                once()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[2] - sizes[1] < 200_000
