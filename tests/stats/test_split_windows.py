"""Consecutive windows, the sealed forward window, bridge windows and the guard against reuse."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from quant_engine.core.errors import (
    ConfigError,
    GateNotPassedError,
    InsufficientHistoryError,
    LookAheadError,
)
from quant_engine.stats.splits import (
    BRIDGE,
    THREE_STAGE,
    ForwardLedger,
    PurgeConfig,
    WindowsConfig,
    bridge_windows,
    cut_windows,
    describe,
    label_spans,
    picture,
    refuse_used,
    seal_forward,
    three_stage,
)

pytestmark = pytest.mark.feature("B-24")

DAYS = np.arange("2024-01-01", "2024-04-10", dtype="datetime64[D]")


@given(
    st.integers(30, 80),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from(["purged", "allowed"]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_no_span_or_embargo_reaches_a_later_window(n, horizon, embargo, touching):
    rng = np.random.default_rng(n)
    start = rng.permutation(np.concatenate((np.arange(n), rng.integers(0, n, 20))))
    spans = label_spans(start, start + rng.integers(0, horizon + 1, len(start)))
    config = BRIDGE.model_copy(update={"embargo_sessions": embargo, "touching": touching})
    plan = bridge_windows(spans, config=config)
    edges = [0, int(0.6 * n + 1e-9), int(0.8 * n + 1e-9), n]
    for number, name in enumerate(config.names):
        left, right = edges[number], edges[number + 1]
        wanted = []
        for row, (a, b) in enumerate(zip(spans.start, spans.end, strict=True)):
            if not left <= a < right:
                continue
            gap = sum(1 for day in range(n) if (b < day if touching == "purged" else b <= day)
                      and day < right)  # fmt: skip
            reaches = (b >= right) if touching == "purged" else (b > right)
            if number == 2 or (not reaches and gap >= embargo):
                wanted.append(row)
        assert plan.rows(name).tolist() == wanted
    kept = np.concatenate([plan.rows(name) for name in config.names])
    assert sorted([*kept.tolist(), *plan.purged.tolist()]) == list(range(len(spans)))


def test_discovery_prices_change_no_bridge_number():
    spans = label_spans(DAYS, DAYS + 5)
    plan = bridge_windows(spans)
    rng = np.random.default_rng(0)
    log_price = rng.standard_normal(len(DAYS) + 10).cumsum()

    def label(level: np.ndarray) -> np.ndarray:
        return level[5 : 5 + len(DAYS)] - level[: len(DAYS)]

    changed = log_price.copy()
    last_of_discovery = int(np.flatnonzero(DAYS == plan.sessions("discovery")[1])[0])
    changed[: last_of_discovery + 1] += rng.standard_normal(last_of_discovery + 1)
    for name in ("bridge_train", "bridge_validation"):
        rows = plan.rows(name)
        assert len(rows)
        np.testing.assert_array_equal(label(log_price)[rows], label(changed)[rows])
    # And the other way round: discovery has not seen the first session of the bridge.
    reach = spans.interval(plan.rows("discovery"))[1]
    assert reach < plan.sessions("bridge_train")[0]


def test_the_forward_window_opens_once_per_study_and_only_for_the_sealed_configuration():
    plan = three_stage(label_spans(DAYS, DAYS + 2))
    with pytest.raises(GateNotPassedError, match="an open window, got the sealed one"):
        plan.rows("forward")
    sealed = seal_forward(plan, study="momentum", config_id="chosen")
    empty = ForwardLedger()
    with pytest.raises(GateNotPassedError, match="config_id: wanted the sealed configuration"):
        sealed.open_forward(empty, config_id="changed")
    rows, ledger = sealed.open_forward(empty, config_id="chosen")
    assert rows.tolist() == list(range(80, 100))
    assert empty.openings == ()
    (opening,) = ledger.openings
    assert json.loads(json.dumps(opening.content()))["plan_id"] == plan.plan_id()
    with pytest.raises(GateNotPassedError, match="that study 'momentum' has not opened"):
        sealed.open_forward(ledger, config_id="chosen")


def test_another_cut_of_the_same_dates_is_the_same_window():
    spans = label_spans(DAYS, DAYS + 2)
    sealed = seal_forward(three_stage(spans), study="s", config_id="c")
    _, ledger = sealed.open_forward(ForwardLedger(), config_id="c")
    shares = THREE_STAGE.model_copy(update={"shares": (0.5, 0.2, 0.3)})
    again = seal_forward(three_stage(spans, config=shares), study="s", config_id="d")
    with pytest.raises(GateNotPassedError, match="opened for c"):
        again.open_forward(ledger, config_id="d")
    # Minutes of a day that was opened are that day.
    minutes = np.datetime64("2024-04-09T10:00", "m") + np.arange(50)
    intraday = seal_forward(three_stage(label_spans(minutes, minutes)), study="s", config_id="d")
    with pytest.raises(GateNotPassedError):
        intraday.open_forward(ledger, config_id="d")
    eras = label_spans(np.arange(50), np.arange(50))
    with pytest.raises(GateNotPassedError):
        seal_forward(three_stage(eras), study="s", config_id="d").open_forward(
            ledger, config_id="d"
        )


def test_later_dates_and_other_studies_have_windows_of_their_own():
    spans = label_spans(DAYS, DAYS + 2)
    sealed = seal_forward(three_stage(spans), study="s", config_id="c")
    _, ledger = sealed.open_forward(ForwardLedger(), config_id="c")
    later = DAYS + 300
    fresh = seal_forward(three_stage(label_spans(later, later)), study="s", config_id="d")
    _, ledger = fresh.open_forward(ledger, config_id="d")
    other = seal_forward(three_stage(spans), study="t", config_id="c")
    _, ledger = other.open_forward(ledger, config_id="c")
    assert [opening.study for opening in ledger.openings] == ["s", "s", "t"]


def test_the_guard_refuses_what_discovery_has_seen():
    seen = label_spans(DAYS[:50], DAYS[:50] + 3)
    with pytest.raises(LookAheadError, match="got 3 rows that are not"):
        refuse_used(label_spans(DAYS[50:], DAYS[50:]), seen)
    refuse_used(label_spans(DAYS[53:], DAYS[53:]), seen)
    with pytest.raises(LookAheadError, match="got 2 rows"):
        refuse_used(label_spans(DAYS[53:], DAYS[53:]), seen, rule=PurgeConfig(embargo_sessions=2))
    # The two sessions between them count only where the axis tells that they exist.
    later = label_spans(DAYS[55:], DAYS[55:], sessions=DAYS)
    refuse_used(later, seen, rule=PurgeConfig(embargo_sessions=2))
    with pytest.raises(LookAheadError, match="got 1 rows"):
        refuse_used(later, seen, rule=PurgeConfig(embargo_sessions=3))
    # Earlier sessions are fresh as long as their labels end before discovery begins.
    late = label_spans(DAYS[50:], DAYS[50:])
    refuse_used(label_spans(DAYS[:40], DAYS[:40] + 9), late)
    with pytest.raises(LookAheadError):
        refuse_used(label_spans(DAYS[:40], DAYS[:40] + 11), late)
    # A gap inside discovery counts as seen.
    with pytest.raises(LookAheadError):
        refuse_used(late.take(np.arange(5)), label_spans(DAYS[[0, 90]], DAYS[[0, 90]]))


def test_a_window_without_rows_and_a_config_that_does_not_fit_are_refused():
    spans = label_spans(np.arange(10), np.arange(10) + 4)
    with pytest.raises(InsufficientHistoryError, match="window 'bridge_train': wanted rows"):
        bridge_windows(spans)
    with pytest.raises(ConfigError, match="window: wanted one of search, validation, forward"):
        three_stage(label_spans(DAYS, DAYS)).rows("test")
    with pytest.raises(ConfigError, match="three windows, the last one sealed"):
        three_stage(spans, config=BRIDGE)
    halves = WindowsConfig(names=("a", "b"), shares=(0.5, 0.5))
    with pytest.raises(ConfigError, match="three windows: discovery"):
        bridge_windows(spans, config=halves)
    with pytest.raises(ConfigError, match="a plan with a sealed window"):
        seal_forward(cut_windows(spans, config=halves), study="s", config_id="c")
    for wrong in (
        {"names": ("a", "a"), "shares": (0.5, 0.5)},
        {"names": ("a", "b"), "shares": (0.5, 0.6)},
        {"names": ("a", "b"), "shares": (1.0, 0.0)},
        {"names": ("a", "b"), "shares": (0.5, 0.5), "sealed": "c"},
    ):
        with pytest.raises(ValidationError):
            WindowsConfig(**wrong)


def test_windows_can_be_drawn_and_tabulated():
    plan = three_stage(label_spans(np.arange(20), np.arange(20) + 1))
    assert picture(plan).splitlines() == [
        "    window rows |one column = 1 session|",
        "    search   11 |TTTTTTTTTTTx........|",
        "validation    3 |............TTTx....|",
        "   forward    4 |................HHHH|",
    ]
    table = describe(plan)
    assert table["rows"].tolist() == [11, 3, 4]
    assert table["test_reach"].tolist() == [11, 15, 20]
