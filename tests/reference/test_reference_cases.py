"""Every reference case, through the one table of adapters."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from quant_engine.testing.reference.registered import ADAPTERS
from quant_engine.testing.reference.run import Outcome, run_folder, total_line

STATISTICS = {
    "bootstrap_snooping_hac",
    "multiple_testing",
    "pbo_cpcv",
    "sharpe_stats",
    "shrinkage",
}
"""Topics that are statistics alone: nothing of them may be due."""


@pytest.fixture(scope="module")
def outcomes(shared_reference: Path) -> tuple[Outcome, ...]:
    return run_folder(shared_reference / "dev", ADAPTERS)


@pytest.mark.reference
@pytest.mark.feature("Q-36")
def test_no_case_fails_and_none_is_unknown(outcomes: tuple[Outcome, ...]):
    wrong = [
        f"{o.topic}/{o.name}: {o.status} {o.detail}"
        for o in outcomes
        if o.status not in ("passed", "due")
    ]
    assert not wrong, "\n".join([*wrong, total_line(outcomes)])


@pytest.mark.reference
def test_every_case_of_the_statistics_passes(outcomes: tuple[Outcome, ...]):
    assert {o.topic for o in outcomes} >= STATISTICS
    counts = Counter(o.status for o in outcomes if o.topic in STATISTICS)
    assert set(counts) == {"passed"}
    assert counts["passed"] >= 80


@pytest.mark.reference
def test_a_convention_that_is_not_ours_is_named(outcomes: tuple[Outcome, ...]):
    told = {o.name: o.others for o in outcomes if o.others}
    assert told["dsr_trap_annualised_inputs"][0].startswith("dsr_wrong: ")
