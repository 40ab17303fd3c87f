"""Reference cases of event labels, sampling weights and bet sizes: none may be due."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from quant_engine.testing.reference.labels import ADAPTERS, TOPIC
from quant_engine.testing.reference.run import run_folder


@pytest.mark.reference
@pytest.mark.feature("Q-22")
def test_every_case_of_event_labels_passes(shared_reference: Path):
    outcomes = run_folder(shared_reference / "dev", ADAPTERS)
    mine = Counter(outcome.status for outcome in outcomes if outcome.topic == TOPIC)
    assert set(mine) == {"passed"}
    assert mine["passed"] >= 21
