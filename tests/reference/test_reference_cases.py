"""Every reference case, through the one table of adapters."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from quant_engine.testing.reference.inputs import each
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

BY_NAME = ("psr2025", "mintrl2025", "dsr_trial_list")
"""Names that say which of two conventions is meant; the inputs do not."""


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


@pytest.mark.reference
def test_cases_are_found_by_their_form_under_other_names(
    shared_reference: Path, tmp_path: Path, outcomes: tuple[Outcome, ...]
):
    shutil.copytree(shared_reference / "data", tmp_path / "data")
    (tmp_path / "other").mkdir()
    for file in sorted((shared_reference / "dev").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        for number, case in enumerate(content["cases"]):
            if not case["name"].startswith(BY_NAME):
                case["name"] = f"case_{number}"
            # Every second value, so that other combinations of keys are asked for as well.
            case["expected"] = dict(list(case["expected"].items())[::2])
        (tmp_path / "other" / file.name).write_text(json.dumps(content), encoding="utf-8")
    renamed = run_folder(tmp_path / "other", ADAPTERS)
    assert len(renamed) == len(outcomes)
    wrong = [f"{o.topic}/{o.name}: {o.status} {o.detail}" for o in renamed if o.status != "passed"]
    still_due = sum(" due " in line for line in wrong)
    assert still_due == len(wrong), "\n".join(wrong)
    assert still_due <= sum(o.status == "due" for o in outcomes)


def test_numbers_and_lists_are_read_alike():
    assert each(lambda a, b: a * b, 2, 3) == 6
    assert each(lambda a, b: a * b, [1, 2], [3, 4]) == [3, 8]
    assert each(lambda a, b: a * b, [1, 2], 3) == [3, 6]
    with pytest.raises(ValueError, match="unpack"):
        each(lambda a, b: a * b, [1, 2], [3])
