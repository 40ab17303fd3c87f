"""Recordings into the store: complete, in integers, and without hindsight."""

import csv
import gzip
import json
import shutil

import pytest

from quant_engine.core.errors import DataError, EmptyDataError, UnreadableFileError
from quant_engine.kalshi.audit import availability_faults
from quant_engine.kalshi.events import LookConfig, ladder_panel, reconstruct_look
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.records import Market
from quant_engine.kalshi.lattice import SettlementGrid
from quant_engine.kalshi.recordings.macro import ingest_macro_snapshots, ingest_rate_decisions
from quant_engine.kalshi.recordings.snapshots import (
    ingest_book_snapshots,
    ingest_minute_prices,
    ingest_quote_history,
)
from quant_engine.kalshi.recordings.tables import read_rows_csv, read_rows_sqlite
from quant_engine.kalshi.recordings.weather import (
    WeatherArchive,
    check_labels,
    ingest_weather,
    series_of,
)
from quant_engine.kalshi.storage import KalshiStore, export_store

pytestmark = pytest.mark.feature("Q-45")

DAY_US = 86_400_000_000
# Days on either side of the change of prefix, and of the day from which winners lose their fields.
DAYS = ("2024-08-16", "2025-01-17", "2025-01-18", "2025-02-10")
HINDSIGHT = (
    "result", "status", "last_price", "volume", "volume_24h", "open_interest", "expiration_value",
    "close_time", "yes_bid", "yes_ask", "no_bid", "no_ask", "previous_price", "previous_yes_bid",
    "previous_yes_ask", "expected_expiration_time",
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    with KalshiStore(tmp_path / "k.duckdb", run_id="one", threads=1) as made:
        yield made


@pytest.fixture
def archive(shared_data, tmp_path):
    source = shared_data / "kalshi/cpratim_kxhigh_ny_chi_2024_08_2025_02"
    for city in ("kxhighny", "kxhighchi"):
        for kind in ("events", "trades"):
            (tmp_path / "a" / city / kind).mkdir(parents=True)
            for day in DAYS:
                name = f"{city}/{kind}/{day}.json.gz"
                shutil.copyfile(source / name, tmp_path / "a" / name)
    return tmp_path / "a"


def rows(store, sql):
    return store.connection.execute(sql).fetchall()


def load(path):
    return json.loads(gzip.decompress(path.read_bytes()))


def test_every_print_and_every_leg_of_the_archive_is_there(store, archive):
    written = ingest_weather(store, WeatherArchive(archive))
    truth = sorted(
        (t["trade_id"], t["ticker"], 100 * t["yes_price"], 100 * t["count"], t["taker_side"])
        for path in archive.glob("*/trades/*")
        for prints in load(path).values()
        for t in prints
    )
    sql = """SELECT trade_id, d.name, yes_price_e4, count_c2, taker_outcome FROM trade
        JOIN dimension d ON d.kind = 'market' AND d.id = market_id ORDER BY 1"""
    assert rows(store, sql) == truth
    assert (written["event_v"], written["market_result"], written["outcome"]) == (8, 48, 8)
    assert ingest_weather(store, WeatherArchive(archive)) == {}
    assert {k: v for k, v in availability_faults(store.connection).items() if v} == {}
    assert {s for (s,) in rows(store, "SELECT name FROM dimension WHERE kind = 'series'")} == {
        "KXHIGHNY", "KXHIGHCHI",
    }  # fmt: skip


def test_strikes_come_from_labels_for_winners_and_losers_alike(store, archive):
    ingest_weather(store, WeatherArchive(archive))
    found = rows(store, "SELECT DISTINCT strike_basis FROM market_v WHERE ticker IS NOT NULL")
    assert found == [("recorded_text",)]
    for path in archive.glob("*/events/*"):
        winners = [m for m in load(path)["markets"] if m["result"] == "yes"]
        missing = [m for m in load(path)["markets"] if not m.get("strike_type")]
        assert missing in ([], winners)
    sql = """SELECT strike_type, floor_strike, cap_strike FROM market_v
        WHERE ticker = 'HIGHNY-24AUG16-T84' AND strike_type IS NOT NULL LIMIT 1"""
    # "Less than 84" is 83 or below.
    assert rows(store, sql) == [("less_or_equal", None, 83.0)]


def panel(store):
    looks = ladder_panel(
        store.connection, [30 * 3600, 86_400, 43_200], config=LookConfig(source="trade")
    )
    return [repr([getattr(look, f) for f in type(look).__dataclass_fields__]) for look in looks]


@pytest.mark.leakage
def test_hindsight_in_the_files_changes_no_decision(store, archive, tmp_path):
    ingest_weather(store, WeatherArchive(archive))
    before = panel(store)
    assert len(before) > 12
    # Another winner, other closes, other volumes, fields taken from others: the past is the same.
    for path in archive.glob("*/events/*"):
        value = load(path)
        markets = value["markets"]
        kept = [{name: m.get(name) for name in HINDSIGHT} for m in markets]
        for market, other in zip(markets, kept[1:] + kept[:1], strict=True):
            market |= {k: v for k, v in other.items() if v is not None}
            for name in ("strike_type", "floor_strike", "cap_strike"):
                market.pop(name, None)
            market["close_time"] = "2024-08-16T00:00:00Z"
        path.write_bytes(gzip.compress(json.dumps(value).encode(), mtime=0))
    with KalshiStore(tmp_path / "other.duckdb", run_id="x", threads=1) as spoilt:
        ingest_weather(spoilt, WeatherArchive(archive))
        sql = "SELECT result FROM market_result ORDER BY market_id"
        assert rows(spoilt, sql) != rows(store, sql)
        assert panel(spoilt) == before


@pytest.mark.leakage
def test_final_facts_are_available_from_the_fetch_on(store, archive):
    ingest_weather(store, WeatherArchive(archive))
    last = max(
        m["latest_expiration_time"] for p in archive.glob("*/events/*") for m in load(p)["markets"]
    )
    fetched = rows(store, "SELECT DISTINCT avail_us FROM market_result")
    stamp = rows(store, f"SELECT epoch_us(TIMESTAMPTZ '{last}')")
    assert fetched == stamp
    sql = """SELECT count(*) FROM market_v WHERE avail_us < recorded_us
        AND (status IS NOT NULL OR close_us IS NOT NULL OR expected_exp_us IS NOT NULL)"""
    assert rows(store, sql) == [(0,)]
    assert rows(store, "SELECT count(*) FROM quote WHERE avail_us < recorded_us") == [(0,)]
    # The temperature comes out by the calendar, the morning after.
    sql = """SELECT min(o.avail_us - e.strike_us), max(o.avail_us - e.strike_us), count(*)
        FROM outcome o JOIN event_map m USING (release_id) JOIN event_v e USING (event_id)
        WHERE e.strike_us IS NOT NULL AND o.print_kind = 'first_print'"""
    low, high, n = rows(store, sql)[0]
    assert (low, n) == (high, 8)
    assert 10 * 3_600_000_000 <= low < DAY_US


def test_ladders_of_the_archive_become_distributions(store, archive):
    ingest_weather(store, WeatherArchive(archive))
    looks = ladder_panel(store.connection, [43_200], config=LookConfig(source="trade"))
    assert len(looks) == 8
    fitted = [reconstruct_look(look, SettlementGrid(1.0)) for look in looks]
    assert all(f.is_available for f in fitted)
    truth = dict(
        rows(store, "SELECT m.event_id, o.value FROM outcome o JOIN event_map m USING (release_id)")
    )
    errors = [abs(f.mean - truth[look.event_id]) for f, look in zip(fitted, looks, strict=True)]
    assert sorted(errors)[4] < 4.0
    assert len({look.cluster_id for look in looks}) == len(DAYS)


def test_the_same_archive_gives_the_same_bytes(archive, tmp_path):
    found = []
    for name, per_batch in (("a1", 46), ("a2", 46)):
        with KalshiStore(tmp_path / name / "k.duckdb", run_id=name, threads=1) as store:
            ingest_weather(store, WeatherArchive(archive, events_per_batch=per_batch))
            found.append(export_store(store, tmp_path / name / "out"))
    assert found[0] == found[1]


def test_labels_and_prefixes():
    assert series_of("HIGHCHI-24AUG16") == "KXHIGHCHI"
    wrong = Market(ticker="A", strike_type="less", cap_strike=85.0, yes_sub_title="83° or below")
    with pytest.raises(DataError, match="name the same degrees"):
        check_labels((wrong,))
    with pytest.raises(DataError, match="name the same degrees"):
        check_labels((Market(ticker="A", yes_sub_title="about 83°"),))
    check_labels(
        (Market(ticker="A", strike_type="greater", floor_strike=59, yes_sub_title="60° or above"),)
    )


def test_empty_and_broken_folders_are_named(store, tmp_path):
    with pytest.raises(EmptyDataError, match="CITY/events"):
        ingest_weather(store, WeatherArchive(tmp_path))
    with pytest.raises(EmptyDataError, match="minute price files"):
        ingest_minute_prices(store, tmp_path)
    (tmp_path / "x.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(UnreadableFileError, match="Fetch the file again"):
        read_rows_sqlite(tmp_path / "x.db", "SELECT 1 FROM t")
    with pytest.raises(UnreadableFileError, match="Fetch the file again"):
        read_rows_csv(tmp_path / "absent.csv")


def test_quote_history_keeps_the_order_within_a_second(store, shared_data):
    folder = shared_data / "kalshi/lognorman_quotes_202407"
    drift = DriftLog()
    written = ingest_quote_history(store, folder, drift=drift)
    history = json.loads((folder / "market_history.json").read_text())
    entries = [(t, r) for entry in history for t, changes in entry.items() for r in changes]
    assert drift.total() == 0
    sql = """SELECT d.name, event_us // 1000000, bid_e4, ask_e4, last_e4 FROM quote
        JOIN dimension d ON d.kind = 'market' AND d.id = market_id
        WHERE avail_us <> recorded_us OR event_us < recorded_us ORDER BY kid"""
    assert rows(store, sql)[: len(entries)] == [
        (
            t,
            r["_ts"],
            100 * r["_yes_bid"] or None,
            None if r["_yes_ask"] == 100 else 100 * r["_yes_ask"],
            100 * r["_yes_price"] or None,
        )
        for t, r in entries
    ]
    assert written["book_level"] > 100
    assert {k: v for k, v in availability_faults(store.connection).items() if v} == {}


def test_minutes_and_books_of_temperature_ladders(store, shared_data):
    minutes = shared_data / "kalshi/kxhighmia_minute_2026_04"
    one = store.path.parent / "one"
    one.mkdir()
    name = "kalshi-price-history-kxhighmia-26apr20-minute.csv"
    shutil.copyfile(minutes / name, one / name)
    written = ingest_minute_prices(store, one)
    with (one / name).open(newline="") as stream:
        cells = [c for row in csv.DictReader(stream) for k, c in row.items() if k != "timestamp"]
    assert written["candle"] == sum(cell != "" for cell in cells)
    sql = "SELECT sum(px_c_e4), min(avail_us - end_us) FROM candle"
    assert rows(store, sql) == [(sum(round(float(c) * 100) for c in cells if c), 60_000_000)]
    (look,) = ladder_panel(store.connection, [43_200], config=LookConfig(source="candle"))
    assert (len(look.contracts), all(p is not None for p in look.last_e4)) == (6, True)
    ingest_book_snapshots(store, shared_data / "kalshi/orderbook_snapshots_202602")
    (look,) = ladder_panel(store.connection, [23 * 3600 + 1800])[:1] or [None]
    assert look is None or len(look.contracts) == 6
    (look,) = [k for k in ladder_panel(store.connection, [3600]) if "CHI" in k.event_ticker]
    assert reconstruct_look(look, SettlementGrid(1.0)).is_available
    assert store.count("book_level") == 1245


def test_macro_snapshots_are_prices_again(store, shared_data):
    path = shared_data / "kalshi/forte_macro_ladders_2026/db/kalshi_macro_data_v2.db"
    written = ingest_macro_snapshots(store, path)
    # Where the file also holds prices, the sums of its differences are those prices.
    prices = read_rows_sqlite(
        path,
        "SELECT contract_code, timestamp, yes_price FROM v_contract_details "
        "WHERE yes_price IS NOT NULL AND strike_structure = 'cumulative'",
    )
    sql = """SELECT d.name, event_us, last_e4 FROM quote
        JOIN dimension d ON d.kind = 'market' AND d.id = market_id"""
    stored = {(name, at): price for name, at, price in rows(store, sql)}
    from quant_engine.kalshi.exchange.fixed import instant_us

    same = [stored[code, instant_us(at)] == round(1e4 * p) for code, at, p in prices]
    assert len(same) == 192
    assert sum(same) == len(same)
    assert written["bucket without a contract"] == 5653
    assert written["quote"] == 17_007
    families = {f for (f,) in rows(store, "SELECT DISTINCT family FROM release")}
    assert families == {"cpi", "gdp", "payrolls", "fomc"}
    looks = ladder_panel(store.connection, [86_400])
    assert {k.cluster for k in looks if k.event_ticker.startswith("KXCPI")} >= {"cpi 2026-05-12"}


def test_rate_decisions_in_the_dollar_schema(store, shared_data):
    drift = DriftLog()
    written = ingest_rate_decisions(store, shared_data / "kalshi/fed_decision_hourly", drift=drift)
    assert (written["market_result"], written["candle"]) == (20, 20_450)
    assert drift.total() == 0
    sql = """SELECT bid_e4, ask_e4, last_e4, volume_c2 FROM quote JOIN dimension d
        ON d.kind = 'market' AND d.id = market_id WHERE d.name = 'KXFEDDECISION-28JAN-H26'"""
    assert rows(store, sql) == [(500, 1500, 700, 144_600)]
    # Custom strikes have no numbers: such a ladder lists its legs and gets no distribution.
    looks = ladder_panel(store.connection, [86_400])
    assert looks == []
    assert {k: v for k, v in availability_faults(store.connection).items() if v} == {}


@pytest.mark.slow
def test_the_whole_archive_by_one_call(store, shared_data):
    folder = shared_data / "kalshi/cpratim_kxhigh_ny_chi_2024_08_2025_02"
    written = ingest_weather(store, WeatherArchive(folder))
    assert written["trade"] == 420_671
    assert (written["event_v"], written["market_result"], written["outcome"]) == (368, 2208, 368)
    assert ingest_weather(store, WeatherArchive(folder)) == {}
    assert {k: v for k, v in availability_faults(store.connection).items() if v} == {}
