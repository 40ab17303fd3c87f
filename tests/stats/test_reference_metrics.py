"""Adapters of returns, risk, calibration and factors: every case agrees or is named as due."""

from __future__ import annotations

import json

import pytest

from quant_engine.testing.reference import calibration, indicators, metrics
from quant_engine.testing.reference.cases import read_cases
from quant_engine.testing.reference.inputs import each
from quant_engine.testing.reference.run import run_case

ADAPTERS = (*metrics.ADAPTERS, *calibration.ADAPTERS, *indicators.ADAPTERS)
MINE = {
    "calibration_crps_shap_conformal": ("",),
    "indicators_factors_ic": ("",),
    "portfolio": ("",),
    "risk_tail_execution": tuple(
        adapter.prefix for adapter in metrics.ADAPTERS if adapter.topic == metrics.RISK
    ),
    "sharpe_stats": tuple(
        adapter.prefix for adapter in metrics.ADAPTERS if adapter.topic == metrics.SHARPE
    ),
}

pytestmark = pytest.mark.reference


def mine(folder):
    return [
        case
        for case in read_cases(folder)
        if any(case.name.startswith(prefix) for prefix in MINE.get(case.topic, ()))
    ]


def test_every_case_agrees_or_is_due(shared_reference):
    outcomes = [run_case(case, ADAPTERS) for case in mine(shared_reference / "dev")]
    wrong = [o for o in outcomes if o.status not in ("passed", "due")]
    assert not wrong
    passed = {topic: sum(o.topic == topic and o.status == "passed" for o in outcomes)
              for topic in MINE}  # fmt: skip
    assert passed["calibration_crps_shap_conformal"] >= 19
    assert passed["risk_tail_execution"] >= 10
    assert passed["sharpe_stats"] >= 6
    assert passed["indicators_factors_ic"] >= 5


def test_cases_are_found_by_their_form_under_other_names(shared_reference, tmp_path):
    """Without its name a case that is built still finds an adapter by what it holds."""
    cases = mine(shared_reference / "dev")
    built = {case.name for case in cases if run_case(case, ADAPTERS).status == "passed"}
    for topic in MINE:
        content = json.loads((shared_reference / "dev" / f"{topic}.json").read_text("utf-8"))
        content["cases"] = [
            {**case, "name": f"case_{number}"}
            for number, case in enumerate(content["cases"])
            if case["name"] in built
        ]
        (tmp_path / f"{topic}.json").write_text(json.dumps(content), encoding="utf-8")
    outcomes = [run_case(case, ADAPTERS) for case in read_cases(tmp_path)]
    assert len(outcomes) == len(built)
    assert not [outcome for outcome in outcomes if outcome.status != "passed"]


def test_numbers_and_lists_are_read_alike():
    assert each(lambda a, b: a * b, 2, 3) == 6
    assert each(lambda a, b: a * b, [1, 2], [3, 4]) == [3, 8]
    assert each(lambda a, b: a * b, [1, 2], 3) == [3, 6]
    with pytest.raises(ValueError, match="unpack"):
        each(lambda a, b: a * b, [1, 2], [3])
