"""The seven ways in which hindsight gets into event panels, by name: each planted, alive, caught.

(a) The final close tells that a question resolved early, (b) results and lifetime totals are facts
of the fetch, (c) markets without activity vanish, (d) strikes are listed in mid-life, (e) a candle
in progress holds what comes, (f) numbers are revised, (g) one release feeds several events.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from quant_engine.kalshi.audit import POISONS, audit_views
from quant_engine.kalshi.events import ladder_panel, outcomes_asof, put_outcomes
from quant_engine.kalshi.fake.edge_worlds import EdgeWorldConfig, make_edge_world
from quant_engine.kalshi.panel_audit import fold_faults
from quant_engine.kalshi.storage import KalshiStore
from quant_engine.kalshi.store.asof import quotes_asof
from quant_engine.kalshi.walkforward import WalkForwardEventsConfig, plan_folds

pytestmark = [pytest.mark.feature("Q-45"), pytest.mark.leakage]

HOUR = 3_600_000_000
OPEN, STRIKE = 100 * HOUR, 148 * HOUR
CLOSED_EARLY, MIDDLE = 130 * HOUR, 124 * HOUR
EARLY = OPEN + 90 * 60_000_000


@pytest.fixture(scope="module")
def connection(hindsight_store):
    return hindsight_store.connection


def asked(connection, sql, *values):
    return connection.sql(sql, params=list(values)).to_arrow_table()


def honest_legs(connection, asof_us):
    return asked(
        connection,
        "SELECT DISTINCT market_id FROM market_v WHERE avail_us <= ? ORDER BY 1",
        asof_us,
    )


def assert_caught(connection, view, asof_us):
    findings = audit_views(connection, {"view": view}, [asof_us])
    # Garbage shows a view that reads later rows, their absence one that only asks for them.
    assert not all(f.is_equal for f in findings)
    assert not findings[POISONS.index("removed")].is_equal


def assert_sound(connection, view, asof_us):
    findings = audit_views(connection, {"view": view}, [asof_us])
    assert all(f.is_equal and f.n_rows > 0 for f in findings)


def leak_final_close(connection, asof_us):
    """Decisions that count back from when the market really closed."""
    return asked(
        connection,
        "SELECT market_id, max(close_us) - ? AS decision_us FROM market_v GROUP BY 1 ORDER BY 1",
        HOUR,
    )


def test_trap_a_final_close(connection):
    found = leak_final_close(connection, MIDDLE)["decision_us"].to_pylist()
    assert CLOSED_EARLY - HOUR in found
    assert_caught(connection, leak_final_close, MIDDLE)
    # Decisions count back from the schedule, whenever the market really closed.
    looks = ladder_panel(connection, [3600, 7200])
    assert [STRIKE - look.asof_us for look in looks] == [2 * HOUR, HOUR]


def leak_result(connection, asof_us):
    return asked(
        connection,
        "SELECT m.market_id, max(r.result) AS winner FROM market_v m LEFT JOIN market_result r "
        "USING (market_id) WHERE m.avail_us <= ? GROUP BY 1 ORDER BY 1",
        asof_us,
    )


def leak_volume(connection, asof_us):
    return asked(
        connection,
        "SELECT market_id, max(volume_c2) AS popularity FROM quote GROUP BY 1 ORDER BY 1",
    )


def test_trap_b_facts_of_the_fetch(connection):
    assert leak_result(connection, MIDDLE)["winner"].to_pylist()[:3] == ["no", "yes", "no"]
    assert leak_volume(connection, MIDDLE)["popularity"].to_pylist()[:3] == [500, 900, 700]
    for view in (leak_result, leak_volume):
        assert_caught(connection, view, MIDDLE)


def leak_survivors(connection, asof_us):
    """The ladder as the last catalogue lists it: provisional legs without activity are gone."""
    return asked(
        connection,
        "SELECT DISTINCT market_id FROM market_v WHERE avail_us = (SELECT max(avail_us) "
        "FROM market_v) ORDER BY 1",
    )


def test_trap_c_survivorship(connection):
    honest = set(honest_legs(connection, MIDDLE - HOUR)["market_id"].to_pylist())
    survivors = set(leak_survivors(connection, MIDDLE)["market_id"].to_pylist())
    assert survivors < honest
    assert_caught(connection, leak_survivors, MIDDLE - HOUR)
    assert_sound(connection, honest_legs, MIDDLE - HOUR)


def leak_strikes(connection, asof_us):
    """All legs that the event ever had."""
    return asked(
        connection,
        "SELECT DISTINCT market_id, floor_strike FROM market_v WHERE strike_type IS NOT NULL "
        "ORDER BY 1, 2",
    )


def test_trap_d_strikes_listed_later(connection):
    honest = set(honest_legs(connection, MIDDLE - HOUR)["market_id"].to_pylist())
    assert len(honest) == 3
    assert honest < set(leak_strikes(connection, MIDDLE)["market_id"].to_pylist())
    assert_caught(connection, leak_strikes, MIDDLE - HOUR)
    before, after = ladder_panel(connection, [(STRIKE - MIDDLE) // 10**6 + 3600, 3600])
    assert (len(before.contracts), len(after.contracts)) == (3, 4)


def leak_open_candle(connection, asof_us):
    """The candle whose hour has begun."""
    return asked(
        connection,
        "SELECT market_id, arg_max(bid_c_e4, end_us) AS bid FROM candle "
        "WHERE end_us - period_min * 60000000::BIGINT <= ? GROUP BY 1 ORDER BY 1",
        asof_us,
    )


def test_trap_e_a_candle_in_progress(connection):
    grid = pa.table(
        {"market_id": pa.array([1], pa.int32()), "asof_us": [EARLY], "stale_after_us": [9 * HOUR]}
    )
    known = quotes_asof(connection, grid, source="candle")["bid_e4"].to_pylist()
    assert (known, leak_open_candle(connection, EARLY)["bid"].to_pylist()) == ([100], [200])
    assert_caught(connection, leak_open_candle, EARLY)


def leak_latest_print(connection, asof_us):
    return asked(
        connection,
        "SELECT release_id, arg_max(value, vintage) AS value FROM outcome GROUP BY 1 ORDER BY 1",
    )


def test_trap_f_revised_numbers(tmp_path):
    with KalshiStore(tmp_path / "k.duckdb", run_id="a", threads=1) as store:
        first = {"release": "cpi", "value": 3.1, "unit": "%", "publish_us": 10}
        put_outcomes(store, [first], recorded_us=99, src="x")
        revised = {"value": 3.4, "publish_us": 60, "print_kind": "revised", "vintage": 1}
        put_outcomes(store, [first | revised], recorded_us=99, src="x")
        assert leak_latest_print(store.connection, 20)["value"].to_pylist() == [3.4]
        assert outcomes_asof(store.connection, 99)["value"].to_pylist() == [3.1]
        assert_caught(store.connection, leak_latest_print, 20)
        assert_sound(store.connection, outcomes_asof, 20)


def test_trap_g_one_release_feeds_several_events():
    frames = make_edge_world(EdgeWorldConfig(seed=3, n_clusters=160)).frames
    looks = frames.looks.reset_index()
    # Two events of every release, at the moments of the first of them.
    twin = looks.assign(event_id=looks["event_id"] + 10**6)
    events = pd.concat([looks, twin]).drop_duplicates("event_id").set_index("event_id")
    labels = pd.concat([frames.labels.reset_index(), frames.labels.reset_index().assign(
        event_id=lambda t: t["event_id"] + 10**6)]).drop_duplicates("event_id")  # fmt: skip
    labels = labels.set_index("event_id").assign(cluster_id=events["cluster_id"])
    panel = SimpleNamespace(looks=pd.concat([looks, twin]).set_index(["event_id", "horizon_s"]))
    ids = events.index.to_numpy()
    shared = fold_faults(panel, labels, [(ids[ids < 10**6], ids[ids >= 10**6])])
    assert shared["cluster on both sides"] == 160
    plan = plan_folds(frames, WalkForwardEventsConfig())
    event = looks["event_id"].to_numpy()
    folds = [
        tuple(np.concatenate([side, side + 10**6]) for side in (event[s.train], event[s.test]))
        for s in plan
    ]
    assert fold_faults(panel, labels, [tuple(map(np.unique, fold)) for fold in folds]) == {}
