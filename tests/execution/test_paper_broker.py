"""The paper broker: idempotent orders, reasons, time order, and books that always balance."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import DataError, IntegrityError, LookAheadError
from quant_engine.execution import CostProfile
from quant_engine.execution.broker import Account, Broker, Quote
from quant_engine.execution.fills import FillRates
from quant_engine.execution.lifecycle import OrderStatus, verify_trail
from quant_engine.execution.orders import Decision, Order, Side, compile_orders, order_id
from quant_engine.execution.paper import PaperBroker, PaperConfig, PaperState, price_fill
from quant_engine.execution.reconcile import reconcile

pytestmark = [pytest.mark.feature("T-19"), pytest.mark.feature("L-27")]

A, B, C = "A@US#1", "B@US#1", "C@US#1"
DAYS = [f"2024-05-{number:02d}" for number in range(1, 31)]
COSTS = CostProfile(name="test")


def buy(shares=100.0, session=DAYS[1], decision="d", asset=A, price=10.0):
    key = order_id(decision, asset, Side.BUY, session=session)
    return Order(key, decision, asset, Side.BUY, shares, session, price)


def statuses(events):
    return [str(event.status) for event in events]


def test_the_same_decision_twice_is_one_order():
    broker: Broker = PaperBroker(COSTS)
    assert statuses(broker.submit([buy()], session=DAYS[0])) == ["new", "accepted"]
    assert broker.submit([buy()], session=DAYS[0]) == ()
    with pytest.raises(IntegrityError, match="One id means one order"):
        broker.submit([buy(shares=101.0)], session=DAYS[0])
    day = broker.trade(DAYS[1], {A: Quote(10.0, 1e9)})
    assert [fill.shares for fill in day.fills] == [100.0]
    assert broker.submit([buy()], session=DAYS[1]) == ()
    broker.close(DAYS[1], {A: 10.0})
    assert dict(broker.account().positions) == {A: 100.0}


def test_a_second_order_in_an_asset_sees_what_the_first_left():
    key = order_id("s", A, Side.SELL, session=DAYS[1])
    sale = Order(key, "s", A, Side.SELL, 100.0, DAYS[1], 10.0)
    broker = PaperBroker(COSTS)
    broker.submit([buy(), sale], session=DAYS[0])
    # 2 % of 9,000 are 18 of 100 shares: too little to open, and to sell short as well.
    day = broker.trade(DAYS[1], {A: Quote(10.0, 9_000.0)})
    assert day.fills == ()
    broker.close(DAYS[1], {A: 10.0})
    later = buy(session=DAYS[2])
    key = order_id("s", A, Side.SELL, session=DAYS[2])
    broker.submit([later, replace(sale, session=DAYS[2], order_id=key)], session=DAYS[1])
    # 20 % open the position; the sale then reduces it and fills as far as the cap allows.
    day = broker.trade(DAYS[2], {A: Quote(10.0, 10_000.0)})
    assert [fill.shares for fill in day.fills] == pytest.approx([20.0, -20.0])
    broker.close(DAYS[2], {})
    assert dict(broker.account().positions) == {}


@pytest.mark.parametrize(
    ("quote", "reason"),
    [
        (None, "no_bar"),
        (Quote(math.nan, 1e9, can_trade=False), "no_bar"),
        (Quote(10.0, math.nan), "adv_unknown"),
        (Quote(10.0, 1_000.0), "below_min_fill"),
    ],
)
def test_what_does_not_fill_expires_with_its_reason(quote, reason):
    broker = PaperBroker(COSTS)
    broker.submit([buy()], session=DAYS[0])
    day = broker.trade(DAYS[1], {} if quote is None else {A: quote})
    broker.close(DAYS[1], {})
    assert day.fills == ()
    assert (broker.events()[-1].status, broker.events()[-1].reason) == ("expired", reason)
    assert broker.account() == Account(1_000_000.0)


def test_partial_fill_cancel_and_rejections():
    broker = PaperBroker(COSTS)
    late, named = buy(session=DAYS[0], decision="late"), buy(decision="named", asset=B)
    events = broker.submit(
        [buy(), late, named], session=DAYS[1], refusals={named.order_id: "safe mode: x"}
    )
    rejected = [event for event in events if event.status is OrderStatus.REJECTED]
    assert [event.order.decision_id for event in rejected] == ["late", "named"]
    assert "before the submission" in rejected[0].reason
    assert rejected[1].reason == "safe mode: x"
    day = broker.trade(DAYS[1], {A: Quote(10.0, 30_000.0)})
    assert day.fills[0].shares == pytest.approx(60.0)
    assert broker.events()[-1].status is OrderStatus.PARTIALLY_FILLED
    event = broker.cancel(buy().order_id, session=DAYS[1], reason="enough")
    assert (event.status, event.reason) == ("cancelled", "enough")
    over = broker.submit([buy(decision="over")], session=DAYS[1])[-1]
    assert "is over" in over.reason
    with pytest.raises(DataError, match="ended"):
        broker.cancel(buy().order_id, session=DAYS[1], reason="again")


def test_sessions_come_once_and_in_order():
    broker = PaperBroker(COSTS)
    broker.trade(DAYS[1], {})
    for session in (DAYS[0], DAYS[1], DAYS[2]):
        with pytest.raises(LookAheadError):
            broker.trade(session, {})
    with pytest.raises(LookAheadError):
        broker.close(DAYS[2], {})
    broker.close(DAYS[1], {})
    with pytest.raises(LookAheadError):
        broker.close(DAYS[1], {})
    with pytest.raises(DataError, match="price above 0"):
        broker.trade(DAYS[2], {A: Quote(math.nan)})


def test_a_stored_state_goes_on_as_if_nothing_had_happened():
    def run(broker, days):
        for t in days:
            marks = {A: 10.0 + t, B: 20.0 - t}
            equity = broker.account().equity(marks)
            weights = {A: 0.1 * (-1) ** t, B: 0.3}
            decision = Decision(f"d{t}", DAYS[t + 1], equity, weights)
            orders = compile_orders(decision, broker.account().positions, marks).orders
            broker.submit(orders, session=DAYS[t])
            # B has no bar on odd days, so its mark has to be carried.
            quotes = {A: Quote(10.5 + t, 2e6), B: Quote(19.5 - t, 1e9, can_trade=t % 2 == 0)}
            broker.trade(DAYS[t + 1], quotes)
            broker.close(DAYS[t + 1], {A: 11.0 + t} | ({} if t % 2 else {B: 19.0 - t}))
        return broker

    whole = run(PaperBroker(COSTS), range(8))
    half = run(PaperBroker(COSTS), range(3))
    trail = verify_trail(half.events(), head=half.events()[-1].digest)
    again = run(PaperBroker(COSTS, state=half.state(), trail=trail), range(3, 8))
    assert again.state() == whole.state()
    assert again.events() == whole.events()
    assert len(whole.fills()) > 8
    with pytest.raises(LookAheadError):
        again.trade(DAYS[3], {})
    again.trade(DAYS[20], {})
    with pytest.raises(LookAheadError, match="to be closed"):
        again.state()


def test_settlement_pays_its_price_and_costs_nothing():
    start = Account(100.0, {A: 10.0, B: -5.0})
    broker = PaperBroker(COSTS, state=PaperState(start))
    with pytest.raises(DataError, match="open session"):
        broker.settle(DAYS[1], A, price=3.0)
    broker.trade(DAYS[1], {A: Quote(math.nan, dividend=0.5, can_trade=False)})
    assert broker.settle(DAYS[1], A, price=3.0).cash_change == 30.0
    close = broker.close(DAYS[1], {B: 2.0})
    borrow = 5.0 * 2.0 * 50e-4 / 252
    assert close.cash == pytest.approx(100.0 + 5.0 + 30.0 - borrow)
    assert close.equity == pytest.approx(close.cash - 10.0)
    with pytest.raises(DataError, match="held asset"):
        broker.settle(DAYS[1], A, price=3.0)


def test_a_held_asset_without_any_close_cannot_be_valued():
    broker = PaperBroker(COSTS, state=PaperState(Account(0.0, {A: 1.0})))
    broker.trade(DAYS[1], {})
    with pytest.raises(DataError, match="is held"):
        broker.close(DAYS[1], {B: 1.0})


day_plans = st.tuples(
    st.dictionaries(st.sampled_from([A, B, C]), st.floats(-0.6, 0.6), max_size=3),
    st.dictionaries(
        st.sampled_from([A, B, C]),
        st.tuples(st.floats(1.0, 50.0), st.sampled_from([1e3, 1e5, 1e7, math.nan]), st.booleans()),
        max_size=3,
    ),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(day_plans, min_size=1, max_size=6))
def test_cash_and_positions_always_reconcile_with_the_fills(plans):
    config = PaperConfig(initial_cash_usd=100_000.0, cash_interest_bps_ann=200.0)
    broker = PaperBroker(COSTS, config)
    marks, ours, income = {A: 10.0, B: 10.0, C: 10.0}, Account(100_000.0), 0.0
    for t, (weights, offers) in enumerate(plans):
        equity = broker.account().equity(marks)
        if equity <= 0.0:
            break
        made = compile_orders(
            Decision(f"d{t}", DAYS[t + 1], equity, weights), broker.account().positions, marks
        )
        broker.submit(made.orders, session=DAYS[t])
        quotes = {a: Quote(p, adv, can_trade=open_) for a, (p, adv, open_) in offers.items()}
        day = broker.trade(DAYS[t + 1], quotes)
        marks |= {asset: quote.price for asset, quote in quotes.items()}
        close = broker.close(DAYS[t + 1], marks)
        income += day.interest + day.dividends - close.borrow
        ours = ours.after(day.fills, income=day.interest + day.dividends - close.borrow)
        assert close.equity == pytest.approx(ours.equity(marks), rel=1e-12)
        assert reconcile(ours, broker.account()).differences == ()
    rebuilt = Account(100_000.0).after(verify_trail(broker.events()).fills, income=income)
    assert rebuilt.cash == pytest.approx(broker.account().cash, rel=1e-12)
    assert dict(rebuilt.positions) == dict(broker.account().positions)
    # Money by hand: what was paid for shares and what trading cost, nothing else.
    spent = math.fsum(f.shares * f.price + f.fee + f.spread + f.impact for f in broker.fills())
    assert broker.account().cash == pytest.approx(100_000.0 + income - spent, rel=1e-9)
    assert verify_trail(broker.events()).open_orders() == ()


def test_rates_of_a_cost_model_replace_those_of_the_profile():
    order = buy(shares=1_000.0)
    quote = Quote(10.0, 1e6, half_spread_frac=9e-4)
    plain = price_fill(order, quote, COSTS, held_shares=0.0)
    same = FillRates(9e-4, COSTS.effective_impact_coef_bps, 0.02)
    assert price_fill(order, replace(quote, rates=same), COSTS, held_shares=0.0) == plain
    dear = FillRates(20e-4, 100.0, 0.005)
    fill = price_fill(order, replace(quote, rates=dear), COSTS, held_shares=0.0)
    assert fill.shares == pytest.approx(500.0)
    assert fill.spread == pytest.approx(5_000.0 * 20e-4)
    assert fill.impact == pytest.approx(5_000.0 * 100e-4 * math.sqrt(5_000.0 / 1e6))
    assert fill.fee == pytest.approx(5_000.0 * 1e-4)
    free = FillRates(0.0, 0.0, math.inf)
    unknown = Quote(10.0, math.nan, rates=free)
    assert price_fill(order, unknown, COSTS, held_shares=0.0).shares == 1_000.0
