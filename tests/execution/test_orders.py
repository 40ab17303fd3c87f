"""Orders from targets: sizes by hand, ids that repeat, netting, what is left out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.execution.orders import (
    Decision,
    Order,
    OrderRules,
    Side,
    compile_orders,
    net_targets,
    order_id,
    parse_session,
)

pytestmark = pytest.mark.feature("T-19")

A, B, C = "A@US#1", "B@US#1", "C@US#1"
DAY = "2024-05-02"


def compiled(weights, positions, marks, equity=1000.0, **rules):
    return compile_orders(
        Decision("d", DAY, equity, weights), positions, marks, rules=OrderRules(**rules)
    )


def changes(made):
    return {order.asset_id: order.signed_shares for order in made.orders}


def test_sizes_by_hand_with_an_absent_target_closed():
    made = compiled({A: 0.5, B: -0.2}, {A: 10.0, C: -4.0}, {A: 20.0, B: 8.0, C: 1.0})
    assert changes(made) == {A: 15.0, B: -25.0, C: 4.0}
    assert made.omitted == ()
    assert [order.decision_price for order in made.orders] == [20.0, 8.0, 1.0]


def test_lots_round_towards_no_trade_but_a_close_is_exact():
    made = compiled({A: 0.1, B: 0.0}, {A: 1.0, B: 2.5}, {A: 7.0, B: 5.0}, lot_shares=5.0)
    assert changes(made) == {A: 10.0, B: -2.5}
    made = compiled({A: -0.1}, {A: 1.0}, {A: 7.0}, lot_shares=5.0)
    assert changes(made) == {A: -15.0}
    made = compiled({A: 0.03}, {}, {A: 7.0}, lot_shares=5.0)
    assert [(o.asset_id, o.reason) for o in made.omitted] == [(A, "below_one_lot")]


def test_what_is_left_out_says_why():
    made = compiled(
        {A: 0.5, B: 0.51, C: 0.004},
        {B: 50.0},
        {B: 10.0, C: 2.0},
        min_notional_usd=5.0,
        no_trade_band_frac=0.05,
    )
    assert made.orders == ()
    reasons = {item.asset_id: item.reason for item in made.omitted}
    assert reasons == {A: "no_mark", B: "inside_band", C: "below_min_notional"}
    assert math.isnan(made.omitted[0].change_shares)
    assert made.omitted[1].change_shares == pytest.approx(1.0)
    # A position that is wanted exactly is neither ordered nor left out.
    assert compiled({A: 0.5}, {A: 50.0}, {A: 10.0}) == ((), ())


def test_a_close_ignores_minimum_and_mark():
    made = compiled({}, {A: 1.0}, {}, min_notional_usd=100.0)
    assert changes(made) == {A: -1.0}


def test_the_id_is_the_digest_of_decision_asset_side_and_session():
    ids = {
        order_id("d", A, Side.BUY, session=DAY),
        order_id("e", A, Side.BUY, session=DAY),
        order_id("d", B, Side.BUY, session=DAY),
        order_id("d", A, Side.SELL, session=DAY),
        order_id("d", A, Side.BUY, session="2024-05-03"),
    }
    assert len(ids) == 5
    assert {len(text) for text in ids} == {32}
    first = compiled({A: 0.5}, {}, {A: 20.0}).orders[0]
    assert first.order_id == order_id("d", A, Side.BUY, session=DAY)
    assert compiled({A: 0.5}, {}, {A: 20.0}).orders == (first,)


def test_orders_that_do_not_hold_together_are_refused():
    key = order_id("d", A, Side.BUY, session=DAY)
    with pytest.raises(DataError, match="shares"):
        Order(key, "d", A, Side.BUY, -1.0, DAY, 10.0)
    with pytest.raises(DataError, match="order_id"):
        Order("mine", "d", A, Side.BUY, 1.0, DAY, 10.0)
    with pytest.raises(ConfigError, match="YYYY-MM-DD"):
        parse_session("session", "20240502")


@pytest.mark.parametrize(
    ("weights", "equity", "rules", "match"),
    [
        ({A: 0.5}, 0.0, {}, "equity"),
        ({A: math.nan}, 1.0, {}, "weights"),
        ({A: -0.5}, 1.0, {"allow_short": False}, "allow_short"),
    ],
)
def test_decisions_that_cannot_be_traded_are_refused(weights, equity, rules, match):
    with pytest.raises(DataError, match=match):
        compiled(weights, {}, {A: 1.0}, equity=equity, **rules)


def test_netting_needs_the_equity_of_every_book():
    with pytest.raises(ConfigError, match="shares_of_equity"):
        net_targets({"a": {A: 1.0}}, {})


books = st.dictionaries(
    st.sampled_from(["m", "n", "o"]),
    st.dictionaries(st.sampled_from([A, B, C]), st.floats(-1, 1), max_size=3),
    max_size=3,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(books)
def test_netting_is_a_plain_sum_in_any_order(given_books):
    parts = dict.fromkeys(given_books, 0.25)
    net = net_targets(given_books, parts)
    assert list(net) == sorted({asset for book in given_books.values() for asset in book})
    assert net == net_targets(dict(reversed(given_books.items())), parts)
    for asset, weight in net.items():
        by_hand = sum(0.25 * book.get(asset, 0.0) for book in given_books.values())
        assert weight == pytest.approx(by_hand, abs=1e-15)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from([A, B, C]), st.floats(-1, 1), max_size=3),
    st.dictionaries(st.sampled_from([A, B, C]), st.integers(-50, 50).map(float), max_size=3),
    st.sampled_from([0.0, 1.0, 10.0]),
)
def test_filled_orders_lead_to_the_targets_within_one_lot(weights, positions, lot):
    marks = {A: 10.0, B: 20.0, C: 40.0}
    made = compiled(weights, positions, marks, equity=10_000.0, lot_shares=lot)
    after = dict(positions)
    for order in made.orders:
        after[order.asset_id] = after.get(order.asset_id, 0.0) + order.signed_shares
    for asset, mark in marks.items():
        wanted = weights.get(asset, 0.0) * 10_000.0 / mark
        assert abs(after.get(asset, 0.0) - wanted) <= max(lot, 1e-9)
