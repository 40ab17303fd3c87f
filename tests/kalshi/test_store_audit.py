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
    Release,
    ladder_panel,
    map_events,
    put_outcomes,
    put_releases,
)
from quant_engine.kalshi.exchange.records import Candle, Event, Market, Ohlc, Trade
from quant_engine.kalshi.storage import ExportedStore, KalshiStore, export_store
from quant_engine.kalshi.store.asof import quotes_asof
from quant_engine.kalshi.store.writing import (
    Sighting,
    put_candles,
    put_events,
    put_markets,
    put_trades,
)

pytestmark = [pytest.mark.feature("Q-45"), pytest.mark.leakage]

HOUR = 3_600_000_000
OPEN, STRIKE = 100 * HOUR, 148 * HOUR
CLOSED_EARLY = 130 * HOUR
FETCH = 200 * HOUR
MIDDLE = 124 * HOUR


def legs(**final):
    """Three legs at the opening, one more in the middle of the event's life."""
    made = []
    for number, (created, word) in enumerate(
        ((OPEN, "70° or below"), (OPEN, "71° to 72°"), (OPEN, "73° or above"))
    ):
        facts = {name: value[number] for name, value in final.items()}
        made.append(
            Market(
                ticker=f"E-{number}", event_ticker="E", yes_sub_title=word, open_us=OPEN,
                created_us=created, is_provisional=number == 1, **facts,
            )
        )  # fmt: skip
    return made


def fill(store):
    seen = Sighting(OPEN + HOUR, "x")
    put_events(
        store,
        [Event(ticker="E", series_ticker="S", strike_us=STRIKE, mutually_exclusive=True)],
        seen,
        listed_us={"E": OPEN},
    )
    put_markets(
        store,
        legs(status=["active"] * 3, yes_bid_e4=[1000, 2000, 3000], yes_ask_e4=[1200, 2200, 3200]),
        seen,
        text_strikes=True,
    )
    late = Market(
        ticker="E-9", event_ticker="E", yes_sub_title="75° or above", open_us=OPEN,
        created_us=MIDDLE, status="active",
    )  # fmt: skip
    put_markets(store, [late], Sighting(MIDDLE + 1, "x"), text_strikes=True)
    trades = [
        Trade(
            trade_id=f"t{k}", ticker=f"E-{k % 3}", yes_price_e4=100 * (k + 1), count_c2=100,
            created_us=OPEN + k * HOUR, taker_outcome="yes" if k % 2 else "no",
        )
        for k in range(2, 29)
    ]  # fmt: skip
    put_trades(store, trades, Sighting(FETCH, "x"))
    candles = [
        Candle(end_us=OPEN + k * HOUR, bid=Ohlc(close_e4=100 * k), ask=Ohlc(close_e4=200 * k))
        for k in range(1, 31)
    ]
    put_candles(store, "E-0", candles, Sighting(FETCH, "x"), period_min=60)
    # After the end: one leg won, the provisional one without activity is gone.
    over = legs(
        status=["finalized"] * 3, result=["no", "yes", "no"], close_us=[CLOSED_EARLY] * 3,
        volume_c2=[500, 900, 700], last_e4=[100, 9900, 100], settled_us=[STRIKE] * 3,
        expiration_value=["72"] * 3,
    )  # fmt: skip
    put_markets(store, [over[0], over[2]], Sighting(FETCH, "x"), text_strikes=True)
    put_markets(store, [over[1]], Sighting(FETCH - HOUR, "x"), text_strikes=True)
    fact = {"recorded_us": OPEN, "avail_us": OPEN, "avail_basis": "release_calendar", "src": "x"}
    put_releases(store, [Release("R", "high", "day")], [STRIKE + HOUR], facts=[fact])
    map_events(store, {"E": ("R", "C")}, facts=[fact])
    number = {"release": "R", "value": 72.0, "unit": "F", "publish_us": STRIKE + HOUR}
    put_outcomes(store, [number], recorded_us=FETCH, src="x")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with KalshiStore(tmp_path_factory.mktemp("audit") / "k.duckdb", run_id="a", threads=1) as made:
        fill(made)
        yield made


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


def asked(connection, sql, *values):
    return connection.sql(sql, params=list(values)).to_arrow_table()


def leak_final_close(connection, asof_us):
    """Decisions that count back from when the market really closed."""
    return asked(
        connection,
        "SELECT market_id, max(close_us) - ? AS decision_us FROM market_v GROUP BY 1 ORDER BY 1",
        HOUR,
    )


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


def leak_survivors(connection, asof_us):
    """The ladder as the last catalogue lists it: provisional legs without activity are gone."""
    return asked(
        connection,
        "SELECT DISTINCT market_id FROM market_v WHERE avail_us = (SELECT max(avail_us) "
        "FROM market_v) ORDER BY 1",
    )


def leak_strikes(connection, asof_us):
    """All legs that the event ever had."""
    return asked(
        connection,
        "SELECT DISTINCT market_id, floor_strike FROM market_v WHERE strike_type IS NOT NULL "
        "ORDER BY 1, 2",
    )


def leak_open_candle(connection, asof_us):
    """The candle whose hour has begun."""
    return asked(
        connection,
        "SELECT market_id, arg_max(bid_c_e4, end_us) AS bid FROM candle "
        "WHERE end_us - period_min * 60000000::BIGINT <= ? GROUP BY 1 ORDER BY 1",
        asof_us,
    )


def honest_legs(connection, asof_us):
    return asked(
        connection,
        "SELECT DISTINCT market_id FROM market_v WHERE avail_us <= ? ORDER BY 1",
        asof_us,
    )


LEAKS = {
    "final close": (leak_final_close, MIDDLE),
    "result": (leak_result, MIDDLE),
    "lifetime volume": (leak_volume, MIDDLE),
    "survivorship": (leak_survivors, MIDDLE - HOUR),
    "strikes listed later": (leak_strikes, MIDDLE - HOUR),
    "candle in progress": (leak_open_candle, OPEN + 90 * 60_000_000),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_caught(store, name):
    view, asof_us = LEAKS[name]
    findings = audit_views(store.connection, {name: view}, [asof_us])
    # Garbage shows a view that reads later rows, their absence one that only asks for them.
    assert not all(f.is_equal for f in findings)
    assert not findings[POISONS.index("removed")].is_equal


def test_the_planted_leaks_are_alive(store):
    """Each tells what the honest view cannot know at that moment."""
    connection = store.connection
    result = leak_result(connection, MIDDLE)["winner"].to_pylist()
    assert result[:3] == ["no", "yes", "no"]
    close = leak_final_close(connection, MIDDLE)["decision_us"].to_pylist()
    assert CLOSED_EARLY - HOUR in close
    assert leak_volume(connection, MIDDLE)["popularity"].to_pylist()[:3] == [500, 900, 700]
    honest = set(honest_legs(connection, MIDDLE - HOUR)["market_id"].to_pylist())
    survivors = set(leak_survivors(connection, MIDDLE)["market_id"].to_pylist())
    assert survivors < honest
    assert len(honest) == 3
    ever = set(leak_strikes(connection, MIDDLE)["market_id"].to_pylist())
    assert honest < ever
    early = OPEN + 90 * 60_000_000
    grid = pa.table(
        {"market_id": pa.array([1], pa.int32()), "asof_us": [early], "stale_after_us": [9 * HOUR]}
    )
    known = quotes_asof(connection, grid, source="candle")["bid_e4"].to_pylist()
    assert (known, leak_open_candle(connection, early)["bid"].to_pylist()) == ([100], [200])


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
    findings = audit_views(store.connection, {"legs": honest_legs}, drawn[:2])
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
