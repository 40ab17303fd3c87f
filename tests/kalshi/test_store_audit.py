"""The leak audit: sound views pass, and every planted leak is alive and is caught."""

from contextlib import contextmanager, suppress

import pyarrow as pa
import pytest

from quant_engine.core.errors import EmptyDataError
from quant_engine.kalshi.audit import (
    POISONS,
    RULES,
    audit_views,
    availability_faults,
    look_faults,
    put_findings,
    random_asofs,
    standard_views,
    view_hash,
)
from quant_engine.kalshi.events import (
    LookConfig,
    ladder_panel,
)
from quant_engine.kalshi.storage import ExportedStore, KalshiStore, export_store

pytestmark = [pytest.mark.feature("Q-45"), pytest.mark.leakage]

HOUR = 3_600_000_000
OPEN, STRIKE = 100 * HOUR, 148 * HOUR
CLOSED_EARLY = 130 * HOUR
FETCH = 200 * HOUR
MIDDLE = 124 * HOUR


@pytest.fixture(scope="module")
def store(hindsight_store):
    return hindsight_store


ASOFS = [OPEN + 90 * 60_000_000, MIDDLE + HOUR // 2, STRIKE]


def test_the_sound_views_pass_in_the_store_and_in_its_export(store, tmp_path):
    views = standard_views((30 * 3600, 3600), config=LookConfig("trade"))
    findings = audit_views(store.connection, views, ASOFS)
    assert len(findings) == len(ASOFS) * len(POISONS) * len(views)
    assert [f for f in findings if not f.is_equal] == []
    seen = {f.view for f in findings if f.n_rows}
    assert seen == set(views) - {"series_v", "market_result", "outcome"}
    assert availability_faults(store.connection) == dict.fromkeys(RULES, 0)
    export_store(store, tmp_path)
    with ExportedStore(tmp_path) as reader:
        again = audit_views(reader.connection, views, ASOFS[1:2])
    assert [f for f in again if not f.is_equal] == []
    assert [f.n_rows for f in again] == [f.n_rows for f in findings if f.asof_us in ASOFS[1:2]]


def test_the_audit_leaves_the_store_as_it_was(store):
    before = store.connection.execute("SELECT * FROM trade ORDER BY kid").fetchall()
    audit_views(store.connection, standard_views(), [OPEN])
    assert store.connection.execute("SELECT * FROM trade ORDER BY kid").fetchall() == before


def test_a_quote_that_is_carried_past_its_expiry_is_caught(store):
    cut_off = 6 * HOUR
    late = [3600]
    sound = ladder_panel(store.connection, late, config=LookConfig("trade", cut_off))
    assert look_faults(sound, stale_after_us=cut_off) == {}
    carried = ladder_panel(store.connection, late, config=LookConfig("trade", 10**15))
    # Alive: it shows prices where nobody had traded for most of a day.
    assert [q.bid_e4 for q in carried[0].quotes] != [q.bid_e4 for q in sound[0].quotes]
    assert look_faults(carried, stale_after_us=cut_off)["stale quote"] == 3


FALSE_CLAIMS = {
    "quote before it happened": (
        "quote", {"market_id": [1], "event_us": [9], "ordinal": 7, "avail_us": [8]},
    ),
    "print before it happened": ("trade", {"trade_id": ["z"], "event_us": [9], "avail_us": [8]}),
    "candle before its end": (
        "candle", {"market_id": [1], "period_min": 1, "end_us": [9], "avail_us": [8]},
    ),
    "candle recorded before its end": (
        "candle", {"market_id": [1], "period_min": 1, "end_us": [99], "avail_us": [99]},
    ),
    "market before its creation": ("market_v", {"market_id": [8], "created_us": [9]}),
    "final close before it": (
        "market_v", {"market_id": [8], "close_us": [9], "close_is_final": [True]},
    ),
    "status of the end before the fetch": ("market_v", {"market_id": [8], "status": ["finalized"]}),
    "result before the fetch": ("market_result", {"market_id": [1], "result": ["yes"]}),
    "result before the close": ("market_result", {"market_id": [1], "result": ["yes"]}),
    "outcome before it was published": (
        "outcome",
        {"release_id": [1], "print_kind": "revised", "vintage": 1, "publish_us": [9]},
    ),
    "outcome before its schedule": (
        "outcome", {"release_id": [1], "print_kind": "first_print", "vintage": 1},
    ),
    "volume beyond the prints by then": (
        "quote",
        {"market_id": [1], "event_us": [1], "ordinal": 7, "volume_c2": [10**9]},
    ),
    "quote after the final close": (
        "quote",
        {"market_id": [1], "event_us": [STRIKE], "ordinal": 7, "bid_e4": [1],
         "avail_us": [STRIKE]},
    ),
    "recorded later than available": (
        "quote", {"market_id": [1], "event_us": [1], "ordinal": 7, "avail_basis": "recorded"},
    ),
    "feature from after its decision": (
        "feature",
        {"event_id": [1], "horizon_s": [1], "name": ["n"], "feature_version": "1",
         "asof_us": [5], "max_input_avail_us": [6]},
    ),
}  # fmt: skip


class Undo(Exception):
    pass


@contextmanager
def undone(store):
    """Take back what was written inside."""
    with suppress(Undo), store.transaction():
        yield
        raise Undo


def test_every_rule_has_its_false_claim():
    assert set(FALSE_CLAIMS) == set(RULES)


@pytest.mark.parametrize("rule", FALSE_CLAIMS)
def test_a_false_claim_is_caught(store, rule):
    table, columns = FALSE_CLAIMS[rule]
    fact = {"recorded_us": [50], "avail_us": [2], "avail_basis": "assumed", "src": "claim"}
    write = (
        store.append
        if table in ("quote", "trade", "candle", "outcome", "feature")
        else (store.record_versions)
    )
    with undone(store):
        write(table, fact | columns)
        assert availability_faults(store.connection)[rule] == 1
    assert availability_faults(store.connection)[rule] == 0


def test_moments_findings_and_hashes(store):
    drawn = random_asofs(store.connection, 20, seed=3)
    assert drawn == random_asofs(store.connection, 20, seed=3) == sorted(drawn)
    findings = audit_views(store.connection, {"strikes": standard_views()["market_v"]}, drawn[:2])
    with undone(store):
        assert put_findings(store, findings, audit_id="a", recorded_us=9) == 4
        assert put_findings(store, findings, audit_id="a", recorded_us=9) == 0
    chunked = pa.chunked_array([[1], [None, 3]])
    assert view_hash(pa.table({"a": chunked})) == view_hash(pa.table({"a": [1, None, 3]}))


def test_an_empty_store_has_no_moments(tmp_path):
    with (
        KalshiStore(tmp_path / "k.duckdb", run_id="a", threads=1) as empty,
        pytest.raises(EmptyDataError, match="Ingest something first"),
    ):
        random_asofs(empty.connection, 1, seed=0)
