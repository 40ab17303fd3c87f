"""Verdicts: enough and good is a pass, enough and bad a fail, too little is neither."""

from __future__ import annotations

import pytest

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.manifest import Provenance
from quant_engine.core.panel import PriceBasis
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track
from quant_engine.execution.contract import ExecutionContract
from quant_engine.workflows.validation import (
    validation_details,
    validation_metrics,
    validation_table,
)

MIN_SESSIONS = 252
SUMMARY = {"n_sessions": 500, "sharpe_ci_low": 0.3, "sharpe_hedged_ci_low": 0.2}
CONTRACT = ExecutionContract(horizon_sessions=10, price_basis=PriceBasis.SPLIT_ADJ)
QUALITY = {"promotable": True, "reasons": [], "figures": {"oos_rank_ic_t": 2.5}}
FACTS = {"mean_member_coverage": 0.99, "survivorship_safe": True}
SHARPE, HEDGED = "sharpe_ci_low", "sharpe_hedged_ci_low"
LABELS = {
    "is_out_of_sample": "out of sample",
    "contract_kept": "execution contract of the labels kept",
    "holding_matches_label": "holding period as in the labels",
    SHARPE: "lower end of the 95 % interval of net Sharpe",
    HEDGED: "lower end of the 95 % interval of hedged Sharpe",
    "oos_rank_ic_t": "Newey-West t of rank IC without the holdout",
    "model_rules_hold": "model quality rules",
    "is_survivorship_safe": "survivorship-safe universe",
}
PROVENANCE = Provenance(
    producer="backtest.simulate",
    config={},
    inputs=(),
    dataset="d",
    as_of="2024-01-02",
    run_source=RunSource.PROD,
    data_regime=DataRegime.MAINTENANCE_REPLAY,
    score_source=ScoreSource.MODEL,
    track=Track.RESEARCH,
)


def table(*, summary=None, quality=None, facts=None, fills=None, in_sample=False):
    plan = {"contract": CONTRACT.content()}
    documents = {"plan": plan, "quality": {**QUALITY, **(quality or {})}}
    kept = CONTRACT.model_copy(update=fills or {})
    report = Bundle(documents=documents)
    market = Bundle(documents={"facts": {**FACTS, **(facts or {})}})
    metrics = validation_metrics(
        {**SUMMARY, **(summary or {})},
        report,
        market,
        fills=kept,
        in_sample=in_sample,
    )
    details = validation_details(report, market, fills=kept)
    return validation_table(
        metrics, PROVENANCE, catalog=SpecCatalog.default(None), details=details
    ).set_index("check")


def verdicts(**changes):
    found = table(**changes)["verdict"]
    return {name: found[label] for name, label in LABELS.items()}


def test_everything_good_passes():
    assert set(verdicts().values()) == {"pass"}


@pytest.mark.feature("L-04")
@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"summary": {"n_sessions": MIN_SESSIONS - 1}}, SHARPE),
        ({"summary": {"sharpe_ci_low": None}}, SHARPE),
        ({"summary": {"sharpe_hedged_ci_low": None}}, HEDGED),
        ({"quality": {"figures": {}}}, "oos_rank_ic_t"),
        ({"facts": {"mean_member_coverage": None}}, "is_survivorship_safe"),
    ],
)
def test_too_little_is_insufficient_and_never_a_pass(change, check):
    assert verdicts(**change)[check] == "insufficient_observation"


@pytest.mark.feature("Q-36")
@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"summary": {"sharpe_ci_low": -0.01}}, SHARPE),
        ({"quality": {"figures": {"oos_rank_ic_t": 1.9}}}, "oos_rank_ic_t"),
        ({"quality": {"promotable": False, "reasons": ["gap"]}}, "model_rules_hold"),
        ({"facts": {"survivorship_safe": False}}, "is_survivorship_safe"),
        ({"in_sample": True}, "is_out_of_sample"),
        ({"fills": {"entry_lag": 0}}, "contract_kept"),
        ({"fills": {"exit_price": "close"}}, "contract_kept"),
        ({"fills": {"price_basis": PriceBasis.TOTAL_ADJ}}, "contract_kept"),
    ],
)
def test_enough_and_bad_fails(change, check):
    assert verdicts(**change)[check] == "fail"


@pytest.mark.feature("Q-47")
def test_a_book_that_holds_longer_than_its_labels_is_a_warning():
    found = verdicts(fills={"horizon_sessions": 20})
    assert (found["holding_matches_label"], found["contract_kept"]) == ("warn", "pass")
    reason = table(fills={"horizon_sessions": 20})["reason"]["holding period as in the labels"]
    assert reason.endswith("horizon_sessions: labels 10, fills 20")


def test_reasons_say_what_stands_behind_a_flag():
    reasons = table(
        quality={"promotable": False, "reasons": ["the gap is too large"]},
        facts={"mean_member_coverage": None},
    )["reason"]
    assert reasons["model quality rules"].endswith("; the gap is too large")
    assert "no membership history" in reasons["survivorship-safe universe"]
