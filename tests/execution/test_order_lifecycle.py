"""The order state machine: every step allowed or refused, and a trail that cannot be altered."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import DataError, IntegrityError
from quant_engine.execution.lifecycle import (
    OPEN_STATUSES,
    TRANSITIONS,
    Fill,
    OrderStatus,
    OrderTrail,
    verify_trail,
)
from quant_engine.execution.orders import Order, Side, order_id

pytestmark = pytest.mark.feature("T-19")

DAY = "2024-05-02"
S = OrderStatus


def an_order(shares=10.0, side=Side.BUY, decision="d", price=5.0):
    key = order_id(decision, "A@US#1", side, session=DAY)
    return Order(key, decision, "A@US#1", side, shares, DAY, price)


def a_fill(order, shares):
    return Fill(order.order_id, order.asset_id, DAY, shares, 5.0, 0.1, 0.2, 0.3)


def step(trail, order, status, shares=None, reason="why", session=DAY):
    fill = None if shares is None else a_fill(order, shares)
    ended = status in (S.REJECTED, S.CANCELLED, S.EXPIRED)
    return trail.append(order, status, session=session, fill=fill, reason=reason if ended else "")


PATHS = {
    S.NEW: (),
    S.ACCEPTED: (S.ACCEPTED,),
    S.PARTIALLY_FILLED: (S.ACCEPTED, S.PARTIALLY_FILLED),
    S.FILLED: (S.ACCEPTED, S.FILLED),
    S.CANCELLED: (S.ACCEPTED, S.CANCELLED),
    S.REJECTED: (S.REJECTED,),
    S.EXPIRED: (S.ACCEPTED, S.EXPIRED),
}
# Written out again: what an order may become, as a person would list it.
ALLOWED = {
    (S.NEW, S.ACCEPTED),
    (S.NEW, S.REJECTED),
    (S.ACCEPTED, S.PARTIALLY_FILLED),
    (S.ACCEPTED, S.FILLED),
    (S.ACCEPTED, S.CANCELLED),
    (S.ACCEPTED, S.EXPIRED),
    (S.ACCEPTED, S.REJECTED),
    (S.PARTIALLY_FILLED, S.PARTIALLY_FILLED),
    (S.PARTIALLY_FILLED, S.FILLED),
    (S.PARTIALLY_FILLED, S.CANCELLED),
    (S.PARTIALLY_FILLED, S.EXPIRED),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(S, S)))
def test_every_step_is_allowed_or_refused(before, after):
    trail, order = OrderTrail(), an_order()
    step(trail, order, S.NEW)
    for status in PATHS[before]:
        step(trail, order, status, {S.PARTIALLY_FILLED: 4.0, S.FILLED: 10.0}.get(status))
    left = trail.state(order.order_id).open_shares
    shares = {S.PARTIALLY_FILLED: 1.0, S.FILLED: left or 1.0}.get(after)
    if (before, after) in ALLOWED:
        step(trail, order, after, shares)
        assert trail.state(order.order_id).status is after
    else:
        n_events = len(trail.events)
        with pytest.raises(DataError, match="status"):
            step(trail, order, after, shares)
        assert len(trail.events) == n_events
        assert trail.state(order.order_id).status is before


def test_open_statuses_are_those_with_a_next_step():
    assert OPEN_STATUSES == {before for before, _ in ALLOWED}
    assert set(TRANSITIONS) == set(S)


@pytest.mark.parametrize(
    ("status", "shares", "match"),
    [
        (S.FILLED, 11.0, "shares"),
        (S.PARTIALLY_FILLED, -1.0, "shares"),
        (S.PARTIALLY_FILLED, 0.0, "shares"),
        (S.PARTIALLY_FILLED, 10.0, "status"),
        (S.FILLED, 9.0, "status"),
        (S.FILLED, None, "fill"),
        (S.CANCELLED, 1.0, "fill"),
        (S.FILLED, float("nan"), "finite"),
    ],
)
def test_fills_have_to_fit_their_order(status, shares, match):
    trail, order = OrderTrail(), an_order()
    step(trail, order, S.NEW)
    step(trail, order, S.ACCEPTED)
    with pytest.raises(DataError, match=match):
        step(trail, order, status, shares)


def test_ends_need_a_reason_and_sessions_do_not_go_back():
    trail, order = OrderTrail(), an_order()
    step(trail, order, S.NEW)
    with pytest.raises(DataError, match="reason"):
        step(trail, order, S.REJECTED, reason="")
    with pytest.raises(DataError, match="session"):
        step(trail, order, S.ACCEPTED, session="2024-05-01")
    other = a_fill(an_order(decision="e"), 10.0)
    step(trail, order, S.ACCEPTED)
    with pytest.raises(DataError, match="a fill of"):
        trail.append(order, S.FILLED, session=DAY, fill=other)
    with pytest.raises(DataError, match="new order"):
        OrderTrail().append(order, S.NEW, session=DAY, fill=a_fill(order, 10.0))


def test_one_id_is_one_order():
    trail = OrderTrail()
    step(trail, an_order(), S.NEW)
    with pytest.raises(IntegrityError, match="submitted with"):
        step(trail, an_order(shares=11.0), S.ACCEPTED)
    with pytest.raises(DataError, match="order_id"):
        trail.state("nobody")


def a_trail():
    trail = OrderTrail()
    buy, sell = an_order(), an_order(side=Side.SELL)
    for order in (buy, sell):
        step(trail, order, S.NEW)
        step(trail, order, S.ACCEPTED)
    step(trail, buy, S.PARTIALLY_FILLED, 4.0)
    step(trail, sell, S.FILLED, -10.0)
    step(trail, buy, S.EXPIRED, reason="partial")
    return trail


def test_a_trail_reads_back_and_goes_on():
    trail = a_trail()
    again = verify_trail(trail.events)
    assert again.events == trail.events
    assert [fill.shares for fill in again.fills] == [4.0, -10.0]
    assert again.open_orders() == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda events: events[1:],
        lambda events: [*events[:2], *events[3:]],
        lambda events: [events[1], events[0], *events[2:]],
        lambda events: [*events[:6], replace(events[6], reason="something else")],
        lambda events: [
            *events[:4],
            replace(events[4], fill=replace(events[4].fill, price=4.0)),
            *events[5:],
        ],
        lambda events: [replace(events[0], number=1), *events[1:]],
    ],
)
def test_a_changed_trail_is_noticed(change):
    events = list(a_trail().events)
    with pytest.raises((IntegrityError, DataError)):
        verify_trail(change(events))


def test_a_trail_that_lost_its_end_is_noticed_by_its_head():
    events = a_trail().events
    assert verify_trail(events, head=events[-1].digest).events == events
    for cut in ((), events[:-1]):
        verify_trail(cut)
        with pytest.raises(IntegrityError, match="missing at the end"):
            verify_trail(cut, head=events[-1].digest)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(list(S)), max_size=8), st.integers(1, 9))
def test_filled_shares_never_exceed_the_order(statuses, part):
    trail, order = OrderTrail(), an_order()
    step(trail, order, S.NEW)
    for status in statuses:
        left = trail.state(order.order_id).open_shares
        shares = {S.PARTIALLY_FILLED: float(part), S.FILLED: left}.get(status)
        try:
            step(trail, order, status, shares)
        except DataError:
            continue
    state = trail.state(order.order_id)
    assert 0.0 <= state.filled_shares <= 10.0
    assert state.filled_shares == sum(fill.shares for fill in trail.fills)
    assert (state.status is S.FILLED) == (state.filled_shares == 10.0)
    assert verify_trail(trail.events).events == trail.events
