"""Laws: no future in the past, no column order, no unit, no currency."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
from quant_engine.execution import CostProfile

pytestmark = pytest.mark.feature("Q-34")

BOOKS = [
    PortfolioConfig(names_per_side=2, max_weight_frac=1.0, rank_buffer=1),
    PortfolioConfig(
        names_per_side=2, max_weight_frac=1.0, rebalance="staggered", rebalance_sessions=4
    ),
]


def run(market, costs, book, **changes):
    given_ = dataclasses.replace(market, **changes)
    config = BacktestConfig(
        portfolio=book,
        halt_limit_sessions=8,
        beta_sessions=12,
        beta_min_sessions=6,
        regime_size=(1.0, 0.5, 1.0, 0.8),
    )
    return Backtester(config).run(
        given_.scores,
        given_.panel,
        costs=costs,
        delistings=given_.delistings,
        regimes=given_.regimes,
        benchmark_returns=given_.benchmark,
    )


@pytest.mark.leakage
@pytest.mark.parametrize("book", BOOKS)
@pytest.mark.parametrize("cut", [12, 29, 41, 55])
def test_poisoned_future_leaves_the_past_bit_for_bit(book, cut, make_market, costly):
    """Everything after session `cut` is replaced; everything up to it must not move by one bit."""
    market = make_market(1)
    rng = np.random.default_rng(cut)
    fields = {}
    for name, values in market.panel.fields.items():
        poisoned = values.copy()
        poisoned[cut + 1 :] = rng.uniform(1, 1000, poisoned[cut + 1 :].shape)
        if name == "half_spread_frac":
            poisoned[cut + 1 :] /= 2000.0
        fields[name] = poisoned
    member = market.panel.mask("member").copy()
    member[cut + 1 :] = ~member[cut + 1 :]
    scores = market.scores.copy()
    scores[cut + 1 :] = rng.normal(size=scores[cut + 1 :].shape)
    regimes = market.regimes.copy()
    regimes.iloc[cut + 1 :] = 3
    benchmark = market.benchmark.copy()
    benchmark.iloc[cut + 1 :] = 0.5
    early = market.delistings[market.delistings["session"] <= market.panel.time.index[cut]]
    clean = run(market, costly, book)
    dirty = run(
        market,
        costly,
        book,
        panel=market.panel.with_fields(fields).with_masks({"member": member}),
        scores=scores,
        regimes=regimes,
        benchmark=benchmark,
        delistings=early,
    )
    last = market.panel.time.index[cut]
    pd.testing.assert_frame_equal(clean.daily.loc[:last], dirty.daily.loc[:last], rtol=0, atol=0)
    pd.testing.assert_frame_equal(
        clean.exposures.loc[:last], dirty.exposures.loc[:last], rtol=0, atol=0
    )
    pd.testing.assert_frame_equal(
        clean.orders[clean.orders["session"] <= last],
        dirty.orders[dirty.orders["session"] <= last],
        rtol=0,
        atol=0,
    )
    closed = [
        frame[(frame["exit_session"] <= last) & (frame["exit_reason"] != "end_of_run")]
        for frame in (clean.trades, dirty.trades)
    ]
    pd.testing.assert_frame_equal(*closed, rtol=0, atol=0)
    # The poison must bite right after the cut, or the test proves nothing.
    assert clean.daily["equity"].iloc[-1] != dirty.daily["equity"].iloc[-1]


@pytest.mark.leakage
@pytest.mark.parametrize("book", BOOKS)
def test_every_fill_is_one_session_after_its_decision(book, make_market, costly):
    market = make_market(2)
    result = run(market, costly, book)
    axis = market.panel.time.index
    decided = axis.get_indexer(result.orders["decision_session"])
    filled = axis.get_indexer(result.orders["session"])
    assert (filled - decided == 1).all()
    entries = axis.get_indexer(result.trades["entry_session"])
    assert (entries - axis.get_indexer(result.trades["decision_session"]) == 1).all()
    columns = pd.Index(market.panel.asset_ids).get_indexer(result.orders["asset_id"])
    traded = (result.orders["filled_shares"] != 0) & (result.orders["reason"] == "rebalance")
    opens = market.panel.field("open")[filled, columns]
    assert (result.orders["reference_price"][traded] == opens[traded]).all()


@pytest.mark.leakage
def test_a_score_that_knows_today_cannot_earn_today(priced, free):
    # The score of t is the return of session t itself; from the next open on it means nothing.
    rng = np.random.default_rng(3)
    intraday = rng.normal(0, 0.03, (400, 6))
    close = 100 * np.cumprod(1 + intraday, axis=0)
    panel = priced(close / (1 + intraday), close)
    book = PortfolioConfig(names_per_side=2, max_weight_frac=1.0)
    honest = Backtester(BacktestConfig(portfolio=book)).run(intraday, panel, costs=free)
    oracle = np.vstack([intraday[1:], intraday[:1]])
    cheat = Backtester(BacktestConfig(portfolio=book)).run(oracle, panel, costs=free)
    assert abs(honest.summary["sharpe"]) < 3
    assert cheat.summary["sharpe"] > 15


@pytest.mark.parametrize("book", BOOKS)
def test_column_order_changes_nothing(book, make_market, costly):
    market = make_market(3)
    one = run(market, costly, book)
    order = np.random.default_rng(0).permutation(market.scores.shape[1])
    two = run(
        market, costly, book, panel=market.panel.columns(order), scores=market.scores[:, order]
    )
    for name in ("daily", "trades", "orders", "exposures"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name), rtol=0, atol=0)


def test_long_frame_and_array_give_the_same_run(make_market, costly):
    market = make_market(4)
    rows, columns = np.nonzero(np.isfinite(market.scores))
    frame = pd.DataFrame(
        {
            "date": market.panel.time.index[rows],
            "asset_id": np.array(market.panel.asset_ids)[columns],
            "score": market.scores[rows, columns],
        }
    ).sample(frac=1.0, random_state=0)
    one = run(market, costly, BOOKS[0])
    for scores in (frame, frame.set_index(["date", "asset_id"])):
        two = run(market, costly, BOOKS[0], scores=scores)
        pd.testing.assert_frame_equal(one.daily, two.daily, rtol=0, atol=0)
        pd.testing.assert_frame_equal(one.trades, two.trades, rtol=0, atol=0)


@settings(max_examples=8, deadline=None)
@given(factor=st.sampled_from([1e-3, 0.25, 7.0, 1e4]), seed=st.integers(0, 3))
def test_split_basis_does_not_matter(factor, seed, make_market, costly):
    """Prices times c with volume divided by c: the same money, other share counts."""
    market = make_market(seed)
    fields = dict(market.panel.fields)
    for name in ("open", "close", "dividend"):
        fields[name] = fields[name] * factor
    fields["volume"] = fields["volume"] / factor
    one = run(market, costly, BOOKS[1])
    two = run(market, costly, BOOKS[1], panel=market.panel.with_fields(fields))
    pd.testing.assert_frame_equal(one.daily, two.daily, rtol=1e-9, atol=1e-6)
    pd.testing.assert_series_equal(one.trades["pnl_net"], two.trades["pnl_net"], rtol=1e-8)


def test_larger_capital_pays_more_impact_and_fills_less(make_market, costly):
    market = make_market(0)
    book = BOOKS[0]
    shares = []
    for capital in (1e4, 1e6):
        config = BacktestConfig(portfolio=book, initial_equity_usd=capital)
        summary = Backtester(config).run(market.scores, market.panel, costs=costly).summary
        shares.append((summary["trading_cost_bps_per_side"], -summary["n_orders_filled"]))
    assert shares[1] > shares[0]


def test_more_stress_never_earns_more(make_market):
    market = make_market(0)
    base = CostProfile(name="b", adv_min_sessions=2, participation_cap_frac=None)
    config = BacktestConfig(portfolio=BOOKS[0], initial_equity_usd=1e4)
    finals = [
        Backtester(config)
        .run(market.scores, market.panel, costs=base.stressed(multiplier))
        .summary["final_equity"]
        for multiplier in (0.0, 0.5, 1.0, 2.0, 5.0)
    ]
    assert finals == sorted(finals, reverse=True)


def test_inputs_stay_untouched_and_runs_repeat(make_market, costly):
    market = make_market(5)
    scores, table = market.scores.copy(), market.delistings.copy()
    one, two = run(market, costly, BOOKS[1]), run(market, costly, BOOKS[1])
    assert np.array_equal(scores, market.scores, equal_nan=True)
    pd.testing.assert_frame_equal(table, market.delistings)
    pd.testing.assert_frame_equal(one.daily, two.daily, rtol=0, atol=0)
    assert one.summary == two.summary
