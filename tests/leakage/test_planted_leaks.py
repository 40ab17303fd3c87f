"""The audit is graded like a detector: 34 planted leaks caught, their clean twins silent."""

from __future__ import annotations

import pytest

from quant_engine.core.errors import ConfigError
from quant_engine.testing import leaks
from quant_engine.testing.leaks import LEAKS, Grade, PlantedLeak, grade, grade_table, is_alive
from quant_engine.testing.leaks import __main__ as command
from quant_engine.testing.leaks.grade import detectors_that_alarm
from quant_engine.testing.leaks.registry import add_leak

pytestmark = [
    pytest.mark.leakage,
    pytest.mark.feature("Q-21", "Q-47"),
    pytest.mark.feature("Q-21"),
    pytest.mark.feature("Q-47"),
]

# The detector that has to be among those that alarm.
WANTED = {
    "shift": "D1",
    "centred-window": "D1",
    "full-sample-z": "D2",
    "full-sample-winsor": "D2",
    "full-sample-min-max": "D2",
    "full-sample-rank": "D2",
    "full-sample-pca": "D2",
    "backfill": "D1",
    "interpolate": "D1",
    "smoothed-states": "D2",
    "viterbi-path": "D1",
    "states-fitted-on-all": "D2",
    "weekly-bar-in-progress": "D1",
    "fundamentals-at-period-end": "D4",
    "restated-values": "D4",
    "survivor-universe": "D5",
    "back-adjusted-level": "D8",
    "mean-of-tomorrow": "D1",
    "future-drawdown": "D1",
    "two-sided-ewm": "D1",
    "same-bar-fill": "D6",
    "month-transform": "D1",
    "target-encoding": "D7",
    "drop-by-future-nan": "D1",
    "drop-by-extreme-label": "D2",
    "unpurged-folds": "D3",
    "shuffled-folds": "D3",
    "selection-on-all": "D7",
    "tuning-on-test": "D2",
    "early-stopping-on-test": "D2",
    "teacher-in-sample": "D7",
    "stale-quote": "D4",
    "metrics-at-create-time": "D4",
    "funding-before-calculation": "D4",
}


@pytest.fixture(scope="module")
def grades() -> dict[str, Grade]:
    return {item.leak: item for item in grade()}


def test_the_suite_has_34_leaks():
    assert len(WANTED) == 34
    assert set(LEAKS) == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_the_leak_is_alive_and_caught_and_its_clean_twin_is_silent(grades, name):
    item = grades[name]
    assert item.alive
    assert WANTED[name] in item.detectors
    assert item.false_alarms == ()
    assert item.passed


def test_the_table_counts_them(grades):
    lines = grade_table(list(grades.values())).splitlines()
    assert lines[-1] == "34 of 34 alive, 34 caught, 0 false alarms"
    assert len(lines) == 36


def test_another_auditor_can_be_graded():
    """One that looks at prefixes only misses what has no prefix."""

    def prefix_only(candidate, arena):
        return [name for name in detectors_that_alarm(candidate, arena) if name == "D1"]

    some = [LEAKS[name] for name in ("shift", "same-bar-fill")]
    seen = grade(prefix_only, leaks=some)
    assert [item.passed for item in seen] == [True, False]
    assert "MISSED" in grade_table(seen)


def test_a_dead_leak_does_not_count():
    twin = LEAKS["shift"].clean
    dead = PlantedLeak(
        "dead", "feature", "the same twice", leak=twin, clean=twin, arena=LEAKS["shift"].arena
    )
    assert not is_alive(dead)
    assert not Grade("dead", "feature", False, ("D1",), ()).passed
    assert "NO" in grade_table([Grade("dead", "feature", False, (), ("D2",))])


def test_a_name_stands_once():
    with pytest.raises(ConfigError, match="a new name"):
        add_leak(LEAKS["shift"])


def test_the_module_prints_the_table(monkeypatch, capsys):
    items = [Grade("shift", "feature", True, ("D1",), ())]
    monkeypatch.setattr(command, "grade", lambda: items)
    assert command.main() == 0
    assert "1 of 1 alive" in capsys.readouterr().out
    items.append(Grade("shift", "feature", True, (), ()))
    assert command.main() == 4


def test_the_example_market_holds_what_leaks_hide_in():
    panel = leaks.example_market()
    assert {"open", "high", "low", "close", "close_raw", "volume"} == set(panel.fields)
    assert set(panel.masks) == {"member", "tradable"}
    assert panel.group("sector").categories == ("a", "b", "c")
