"""Pre-trade limits, fill alerts and figures of a trail."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import DataError
from quant_engine.execution import CostProfile
from quant_engine.execution.broker import Quote
from quant_engine.execution.kill_switch import measure_orders
from quant_engine.execution.orders import Decision, compile_orders
from quant_engine.execution.paper import PaperBroker
from quant_engine.execution.pretrade import PreTradeLimits, TradedBook, check_fills, check_orders

pytestmark = pytest.mark.feature("T-19")

A, B, C = "A@US#1", "B@US#1", "C@US#1"
MARKS = {A: 10.0, B: 20.0, C: 50.0}


def checked(weights, limits, positions=None, adv=None):
    positions = positions or {}
    decision = Decision("d", "2024-05-02", 1_000.0, weights)
    orders = compile_orders(decision, positions, MARKS).orders
    book = TradedBook(1_000.0, positions, MARKS, adv or {})
    return orders, check_orders(orders, book, PreTradeLimits(**limits))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_order_usd": 399.0}, "order in A@US#1 is 400, limit 399"),
        ({"max_order_adv_frac": 0.03}, "order in A@US#1 is 0.04 of ADV, limit 0.03"),
        ({"max_position_frac": 0.39}, "position of A@US#1 would be 0.4 of equity, limit 0.39"),
        ({"max_gross_frac": 0.39}, "gross value would be 0.4 of equity, limit 0.39"),
    ],
)
def test_each_limit_refuses_with_its_numbers(limits, reason):
    orders, found = checked({A: 0.4}, limits, adv={A: 10_000.0})
    assert found.allowed == ()
    assert found.refusals == {orders[0].order_id: reason}
    at_the_limit = {name: value / 0.39 * 0.4 for name, value in limits.items()}
    at_the_limit["max_order_usd"] = 400.0
    at_the_limit["max_order_adv_frac"] = 0.04
    assert checked({A: 0.4}, at_the_limit, adv={A: 10_000.0})[1].refusals == {}


def test_an_unknown_adv_is_refused_and_no_limit_allows_everything():
    assert len(checked({A: 0.1}, {"max_order_adv_frac": 0.5})[1].refusals) == 1
    assert len(checked({A: 9.0}, {})[1].allowed) == 1


def test_gross_counts_what_was_allowed_before_and_reductions_always_pass():
    orders, found = checked(
        {A: 0.5, B: 0.6, C: -0.3}, {"max_gross_frac": 1.0}, positions={C: -20.0}
    )
    # C holds 1,000 short; its order only reduces, but it comes after A and B.
    assert [order.asset_id for order in found.allowed] == [C]
    orders, found = checked({B: 0.6, C: 0.3}, {"max_gross_frac": 1.0}, positions={A: 50.0})
    assert [order.asset_id for order in found.allowed] == [A, B, C]
    # Turning a position over is not a reduction.
    orders, found = checked({A: -0.6}, {"max_position_frac": 0.5}, positions={A: 1.0})
    assert list(found.refusals) == [orders[0].order_id]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from([A, B, C]), st.floats(-1, 1), max_size=3),
    st.dictionaries(st.sampled_from([A, B, C]), st.integers(-30, 30).map(float), max_size=3),
)
def test_allowed_orders_never_make_a_book_beyond_the_limits(weights, positions):
    orders, found = checked(
        weights, {"max_position_frac": 0.4, "max_gross_frac": 0.9}, positions=positions
    )
    refused = [order for order in orders if order.order_id in found.refusals]
    assert sorted([*found.allowed, *refused], key=lambda o: o.asset_id) == list(orders)
    after = dict(positions)
    for order in found.allowed:
        after[order.asset_id] = after.get(order.asset_id, 0.0) + order.signed_shares
    for asset in MARKS:
        start, end = abs(positions.get(asset, 0.0)), abs(after.get(asset, 0.0))
        assert end * MARKS[asset] <= max(400.0, start * MARKS[asset]) + 1e-9
    gross = [sum(abs(v) * MARKS[a] for a, v in book.items()) for book in (positions, after)]
    assert gross[1] <= max(900.0, gross[0]) + 1e-9


def test_a_book_that_cannot_be_valued_is_refused():
    with pytest.raises(DataError, match="marks"):
        check_orders((), TradedBook(1.0, {A: 1.0}, {}, {}), PreTradeLimits())
    with pytest.raises(DataError, match="equity"):
        check_orders((), TradedBook(0.0, {}, {}, {}), PreTradeLimits())


def test_fills_far_from_their_decision_and_figures_of_a_trail():
    broker = PaperBroker(CostProfile(name="c", participation_cap_frac=None))
    decision = Decision("d", "2024-05-02", 1_000.0, {A: 0.4, B: -0.4, C: 0.5})
    orders = compile_orders(decision, {}, MARKS).orders
    broker.submit(orders, session="2024-05-01", refusals={orders[2].order_id: "no"})
    broker.trade("2024-05-02", {A: Quote(11.5, 1e9), B: Quote(23.0, 1e9)})
    alerts = check_fills(broker.events(), PreTradeLimits(max_fill_move_frac=0.1))
    assert [(alert.asset_id, round(alert.move_frac, 6)) for alert in alerts] == [
        (A, 0.15),
        (B, -0.15),
    ]
    assert check_fills(broker.events(), PreTradeLimits(max_fill_move_frac=0.2)) == ()
    assert check_fills(broker.events(), PreTradeLimits()) == ()
    figures = measure_orders(broker.events())
    assert (figures.n_orders, figures.n_rejected, figures.n_fills) == (3, 1, 2)
    cost = sum(fill.fee + fill.spread + fill.impact for fill in broker.fills())
    assert figures.cost_usd == pytest.approx(cost)
    assert figures.shortfall_usd == pytest.approx(40 * 1.5 - 20 * 3.0 + cost)
    assert math.isfinite(figures.shortfall_usd)
