"""Reference cases of multiplicity, shrinkage and distances through their adapters."""

import pytest

from quant_engine.testing.reference import drift, multiplicity, shrinkage
from quant_engine.testing.reference.run import run_folder

pytestmark = pytest.mark.reference

PREFIXES = {
    "multiple_testing": tuple(adapter.prefix for adapter in multiplicity.ADAPTERS),
    "shrinkage": ("",),
    "risk_tail_execution": ("psi_",),
}


def test_every_case_agrees(shared_reference):
    adapters = multiplicity.ADAPTERS + shrinkage.ADAPTERS + drift.ADAPTERS
    mine = [
        outcome
        for outcome in run_folder(shared_reference / "dev", adapters)
        if outcome.name.startswith(PREFIXES.get(outcome.topic, ("no such case",)))
    ]
    assert len(mine) >= 20
    assert [outcome for outcome in mine if outcome.status != "passed"] == []
