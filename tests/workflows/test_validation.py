"""Verdicts: enough and good is a pass, enough and bad a fail, too little is neither."""

from __future__ import annotations

import pytest

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.workflows.validation import MIN_SESSIONS, validation_table

SUMMARY = {
    "n_sessions": 500,
    "sharpe": 1.2,
    "sharpe_ci_low": 0.3,
    "sharpe_hedged": 1.1,
    "sharpe_hedged_ci_low": 0.2,
}
PLAN = {"horizon_sessions": 10, "entry_lag": 1}
QUALITY = {
    "promotable": True,
    "reasons": [],
    "figures": {"oos_rank_ic": 0.03, "oos_rank_ic_t": 2.5},
}
FACTS = {"mean_member_coverage": 0.99, "survivorship_safe": True}


def verdicts(*, summary=None, quality=None, facts=None, rebalance_sessions=10, in_sample=False):
    report = Bundle(documents={"plan": PLAN, "quality": {**QUALITY, **(quality or {})}})
    market = Bundle(documents={"facts": {**FACTS, **(facts or {})}})
    table = validation_table(
        {**SUMMARY, **(summary or {})},
        report,
        market,
        rebalance_sessions=rebalance_sessions,
        in_sample=in_sample,
    )
    return dict(zip(table["check"], table["verdict"], strict=True))


def test_everything_good_passes():
    assert set(verdicts().values()) == {"pass"}


@pytest.mark.feature("L-04")
@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"summary": {"n_sessions": MIN_SESSIONS - 1}}, "net Sharpe"),
        ({"summary": {"sharpe": None}}, "net Sharpe"),
        ({"summary": {"sharpe_hedged_ci_low": None}}, "hedged Sharpe"),
        ({"quality": {"figures": {}}}, "rank IC"),
        ({"facts": {"mean_member_coverage": None}}, "survivorship"),
    ],
)
def test_too_little_is_insufficient_and_never_a_pass(change, check):
    assert verdicts(**change)[check] == "insufficient"


@pytest.mark.feature("Q-36")
@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"summary": {"sharpe_ci_low": -0.01}}, "net Sharpe"),
        ({"quality": {"figures": {"oos_rank_ic": 0.01, "oos_rank_ic_t": 1.9}}}, "rank IC"),
        ({"quality": {"promotable": False, "reasons": ["gap"]}}, "model quality rules"),
        ({"facts": {"survivorship_safe": False}}, "survivorship"),
        ({"in_sample": True}, "out of sample"),
    ],
)
def test_enough_and_bad_fails(change, check):
    assert verdicts(**change)[check] == "fail"


@pytest.mark.feature("Q-47")
def test_a_book_that_holds_longer_than_its_labels_is_a_warning():
    assert verdicts(rebalance_sessions=20)["execution contract"] == "warn"
