"""Reconciliation, safe mode and kill switch: what trips, what stays, who releases."""

from __future__ import annotations

import math

import pytest

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.execution.broker import Account
from quant_engine.execution.kill_switch import (
    KillSwitchConfig,
    KillSwitchInputs,
    evaluate_kill_switch,
)
from quant_engine.execution.orders import Decision, compile_orders
from quant_engine.execution.reconcile import ReconcileRules, reconcile
from quant_engine.execution.safety import Latch, screen_orders

pytestmark = [pytest.mark.feature("B-19"), pytest.mark.feature("L-27")]

A, B, C, D = (f"{letter}@US#1" for letter in "ABCD")
DAY, NEXT = "2024-05-02", "2024-05-03"


def test_every_kind_of_difference_is_named():
    ours = Account(100.0, {A: 10.0, B: 5.0, C: 3.0})
    theirs = Account(94.0, {A: 12.0, B: -5.0, D: 1.0})
    found = reconcile(ours, theirs)
    assert [(d.kind, d.asset_id) for d in found.differences] == [
        ("size", A),
        ("opposite", B),
        ("missing", C),
        ("unknown", D),
        ("cash", ""),
    ]
    assert found.unknown_assets == (D,)
    assert len(found.safe_mode_reasons) == 2
    strict = reconcile(ours, theirs, rules=ReconcileRules(safe_mode_on=("cash", "size")))
    assert [text.split(":")[0] for text in strict.safe_mode_reasons] == [
        f"size position in {A}",
        "cash",
    ]


def test_differences_within_the_tolerance_are_none():
    ours, theirs = Account(100.0, {A: 10.0}), Account(105.0, {A: 10.0099, B: 0.009})
    assert reconcile(ours, theirs).differences == ()
    assert reconcile(ours, Account(105.01, {A: 10.0})).differences[0].kind == "cash"
    with pytest.raises(DataError, match="finite"):
        reconcile(ours, Account(math.nan))


def test_an_unknown_position_leads_to_safe_mode_and_only_reductions_pass():
    ours = Account(1_000.0, {A: 10.0, B: -4.0})
    found = reconcile(ours, Account(1_000.0, {A: 10.0, B: -4.0, C: 2.0}))
    latch = Latch("safe mode").trip(found.safe_mode_reasons, session=DAY)
    assert latch.is_tripped
    weights = {A: 0.05, B: 0.1, C: 0.2, D: 0.2}
    marks = dict.fromkeys((A, B, C, D), 10.0)
    orders = compile_orders(Decision("d", NEXT, 1_000.0, weights), ours.positions, marks).orders
    screened = screen_orders(
        orders, ours.positions, latches=[latch], unknown_assets=found.unknown_assets
    )
    assert [order.asset_id for order in screened.allowed] == [A]
    by_asset = {o.asset_id: screened.refusals.get(o.order_id) for o in orders}
    assert "unknown position in C@US#1" in by_asset[B]  # turns the position over
    assert by_asset[C] == "the broker holds a position that is not ours"
    assert by_asset[D].startswith("safe mode: ")
    free = screen_orders(orders, ours.positions, latches=[Latch("safe mode")])
    assert free.allowed == orders


def test_a_latch_stays_until_a_named_person_releases_it():
    latch = Latch("kill switch")
    assert latch.trip((), session=DAY) is latch
    latch = latch.trip(["drawdown"], session=DAY)
    assert latch.trip([], session=NEXT).is_tripped
    assert latch.trip(["drawdown"], session=NEXT) is latch
    latch = latch.trip(["stale", "drawdown"], session=NEXT)
    assert latch.reasons == ("drawdown", "stale")
    for by, reason in (("", "done"), ("R. Officer", " ")):
        with pytest.raises(ConfigError, match="the name of a person"):
            latch.release(by=by, session=NEXT, reason=reason)
    with pytest.raises(ConfigError, match="or later"):
        latch.release(by="R. Officer", session=DAY, reason="done")
    released = latch.release(by="R. Officer", session=NEXT, reason="done")
    assert not released.is_tripped
    assert released.reasons == ()
    assert released.records[:2] == latch.records
    assert (released.records[-1].by, released.records[-1].reasons) == ("R. Officer", ("done",))
    with pytest.raises(ConfigError, match="tripped=False"):
        released.release(by="R. Officer", session=NEXT, reason="again")
    assert released.trip(["drawdown"], session=NEXT).is_tripped


def judged(**inputs):
    values = {"stale_bars": 0, "drawdown_frac": 0.0, **inputs}
    checks = evaluate_kill_switch(KillSwitchInputs(**values), KillSwitchConfig())
    return {check.name: check for check in checks}


@pytest.mark.parametrize(
    ("name", "holds", "breaks"),
    [
        ("staleness", {"stale_bars": 3}, {"stale_bars": 4}),
        ("staleness", {"stale_bars": 0}, {"stale_bars": None}),
        ("drawdown", {"drawdown_frac": -0.15}, {"drawdown_frac": -0.1501}),
        ("drawdown", {"drawdown_frac": 0.0}, {"drawdown_frac": math.nan}),
        (
            "slippage",
            {"realised_cost_usd": 250.0, "expected_cost_usd": 100.0, "n_fills": 20},
            {"realised_cost_usd": 250.1, "expected_cost_usd": 100.0, "n_fills": 20},
        ),
        (
            "slippage",
            {"realised_cost_usd": -9.0, "expected_cost_usd": 100.0, "n_fills": 20},
            {"realised_cost_usd": math.nan, "expected_cost_usd": 100.0, "n_fills": 20},
        ),
        ("rejects", {"n_orders": 20, "n_rejected": 4}, {"n_orders": 20, "n_rejected": 5}),
    ],
)
def test_each_limit_holds_at_its_value_and_breaks_beyond(name, holds, breaks):
    assert judged(**holds)[name].status == "ok"
    broken = judged(**breaks)
    assert broken[name].status == "broken"
    assert broken[name].reason
    assert [check.name for check in broken.values() if check.status == "broken"] == [name]


def test_too_few_observations_are_not_judged():
    few = {"realised_cost_usd": 900.0, "expected_cost_usd": 1.0, "n_fills": 19}
    checks = judged(**few, n_orders=19, n_rejected=19)
    assert {n: c.status for n, c in checks.items()} == {
        "staleness": "ok",
        "drawdown": "ok",
        "slippage": "not_judged",
        "rejects": "not_judged",
    }
    assert "20" in checks["slippage"].reason
    assert judged(n_fills=50)["slippage"].status == "not_judged"


def test_impossible_measurements_are_refused():
    for bad in ({"drawdown_frac": 0.1}, {"n_rejected": 1}, {"stale_bars": -1}):
        with pytest.raises(DataError, match="kill switch inputs"):
            judged(**bad)
