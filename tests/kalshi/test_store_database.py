"""The store: one writer, batches that come twice, versions that lose nothing, equal bytes."""

import json
import subprocess
import sys
import textwrap

import duckdb
import numpy as np
import pytest

from quant_engine.core.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    SchemaMismatchError,
    StoreError,
    UnreadableFileError,
)
from quant_engine.kalshi.storage import Checkpoint, ExportedStore, KalshiStore, export_store
from quant_engine.kalshi.store.asof import versions_asof
from quant_engine.kalshi.store.migrations import MIGRATIONS, Migration, migrate, schema_version
from quant_engine.kalshi.store.tables import BASES, TABLES, table_named

pytestmark = pytest.mark.feature("Q-45")

FACT = {"recorded_us": 9, "avail_basis": "recorded", "src": "x"}


@pytest.fixture
def store(tmp_path):
    with KalshiStore(tmp_path / "k.duckdb", run_id="one", threads=1) as made:
        yield made


def quotes(n, *, seed=0, start=0):
    rng = np.random.default_rng(seed)
    event_us = np.arange(start, start + n)
    return FACT | {
        "market_id": rng.integers(1, 5, n),
        "event_us": event_us,
        "ordinal": 0,
        "bid_e4": [None if k % 7 == 0 else int(k) % 9000 for k in event_us],
        "avail_us": event_us + 3,
    }


def rows(store, sql):
    return store.connection.execute(sql).fetchall()


def test_every_fact_says_when_it_was_available_and_why():
    for table in TABLES:
        if table.kind != "book":
            assert {"recorded_us", "avail_us", "avail_basis", "src", "kid"} <= set(table.columns)
            assert set(table.key) <= set(table.columns)
        prices = [n for n in table.columns if n.endswith("_e4") and n != "incoherence_e4"]
        assert {table.columns[n] for n in prices if "spread" not in n} <= {"INTEGER"}
        assert {k for n, k in table.columns.items() if n.endswith(("_us", "_c2"))} <= {"BIGINT"}


def test_migrations_apply_once_and_in_order():
    connection = duckdb.connect()
    steps = (*MIGRATIONS, Migration(2, ("ALTER TABLE quote ADD COLUMN extra INTEGER",)))
    assert migrate(connection) == 1
    assert (migrate(connection, steps), migrate(connection, steps)) == (1, 0)
    assert schema_version(connection) == 2
    assert connection.execute("SELECT extra FROM quote").fetchall() == []
    with pytest.raises(StoreError, match="newer release"):
        migrate(connection)
    with pytest.raises(StoreError, match="without gaps"):
        migrate(connection, (Migration(3, ()),))


def test_a_failing_migration_leaves_the_version_before_it():
    connection = duckdb.connect()
    migrate(connection)
    broken = Migration(2, ("ALTER TABLE quote ADD COLUMN extra INTEGER", "SELECT nothing FROM no"))
    with pytest.raises(duckdb.Error):
        migrate(connection, (*MIGRATIONS, broken))
    assert schema_version(connection) == 1
    with pytest.raises(duckdb.Error, match="extra"):
        connection.execute("SELECT extra FROM quote")


def test_a_batch_that_comes_again_changes_nothing(store):
    batch = quotes(500)
    assert store.append("quote", batch) == 500
    before = rows(store, "SELECT * FROM quote ORDER BY kid")
    assert store.append("quote", batch) == 0
    # Half known, half new, and each of them twice within the batch.
    overlap = {
        name: np.concatenate([value, value]) if not isinstance(value, str | int) else value
        for name, value in quotes(500, start=250).items()
        if name != "bid_e4"
    } | {"market_id": np.tile(quotes(500)["market_id"][np.r_[250:500, 0:250]], 2)}
    assert store.append("quote", overlap) == 250
    assert rows(store, "SELECT * FROM quote ORDER BY kid LIMIT 500") == before
    kids = [k for (k,) in rows(store, "SELECT kid FROM quote ORDER BY kid")]
    assert len(set(kids)) == 750
    assert rows(store, "SELECT sum(n_offered), sum(n_new) FROM ingest_log") == [(1500, 750)]


def test_null_is_kept_and_zero_is_a_value(store):
    columns = FACT | {
        "market_id": [1, 2], "event_us": [5, 5], "ordinal": 0, "bid_e4": [0, None],
        "volume_c2": [0, None], "avail_us": [6, 6],
    }  # fmt: skip
    store.append("quote", columns)
    found = rows(store, "SELECT bid_e4, ask_e4, volume_c2 FROM quote ORDER BY market_id")
    assert found == [(0, None, 0), (None, None, None)]


def versions(store, **columns):
    length = next(len(v) for v in columns.values() if isinstance(v, list))
    columns.setdefault("market_id", [1] * length)
    return store.record_versions("market_v", FACT | columns)


def test_a_late_arrival_is_merged_with_what_was_known_by_then(store):
    versions(store, ticker=["T"], avail_us=[10])
    versions(store, ticker=["T"], status=["finalized"], avail_us=[50])
    # Learned afterwards about the time before: it takes nothing from the later row and adds to it.
    assert versions(store, yes_sub_title=["label"], avail_us=[30]) == 1
    states = {
        us: versions_asof(store.connection, "market_v", us).to_pylist()[0] for us in (10, 30, 50)
    }
    assert [(s["status"], s["yes_sub_title"]) for s in states.values()] == [
        (None, None), (None, "label"), ("finalized", "label"),
    ]  # fmt: skip
    assert [s["avail_us"] for s in states.values()] == [10, 30, 50]


def state_of(kept, asof_us):
    state = {}
    for record in sorted(kept, key=lambda r: r["avail_us"]):
        if record["avail_us"] <= asof_us:
            state |= {k: v for k, v in record.items() if k in ("status", "ticker")}
    return state


def test_versions_by_brute_force(store):
    rng = np.random.default_rng(4)
    kept = []
    for avail_us in rng.permutation(24):
        record = {"avail_us": int(avail_us)}
        for name, draw in (("status", "ab"), ("ticker", "xyz")):
            if rng.random() < 0.6:
                record[name] = draw[rng.integers(len(draw))]
        before = state_of(kept, avail_us)
        changes = not kept or any(before.get(k) != v for k, v in record.items() if k != "avail_us")
        first = all(other["avail_us"] > avail_us for other in kept)
        if changes or first:
            kept.append(record)
        assert versions(store, **{k: [v] for k, v in record.items()}) == (changes or first)
    for asof_us in range(0, 25, 3):
        wanted = state_of(kept, asof_us)
        found = versions_asof(store.connection, "market_v", asof_us).to_pylist()
        (state,) = found or [{}]
        assert {k: state.get(k) for k in ("status", "ticker")} == {
            k: wanted.get(k) for k in ("status", "ticker")
        }


def test_names_have_numbers_that_stay(tmp_path):
    path = tmp_path / "k.duckdb"
    with KalshiStore(path, run_id="a") as store:
        assert store.ids("market", ["B", "A", "B"]) == [2, 1, 2]
        assert store.ids("event", ["B"]) == [1]
    with KalshiStore(path, run_id="b") as store:
        assert store.ids("market", ["C", "A"]) == [3, 1]
        assert (store.known_id("market", "B"), store.known_id("market", "Z")) == (2, None)


def test_a_transaction_keeps_all_or_nothing(store):
    def write_and_fail():
        with store.transaction():
            store.ids("market", ["A"])
            store.append("quote", quotes(5))
            store.set_checkpoint("job", "A", Checkpoint("m", 1, 2))
            store.append("quote", {"market_id": [1]})

    with pytest.raises(DataError, match="a value in every row"):
        write_and_fail()
    assert store.count("quote") == 0
    assert store.checkpoint("job", "A") is None
    assert store.known_id("market", "A") is None
    with store.transaction():
        store.append("quote", quotes(5))
        store.set_checkpoint("job", "A", Checkpoint("m", 1, 2))
        store.set_checkpoint("job", "A", Checkpoint("n", 3, 4))
    assert store.checkpoint("job", "A") == Checkpoint("n", 3, 4)
    assert [k for (k,) in rows(store, "SELECT kid FROM quote ORDER BY 1")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"colour": ["red"]}, SchemaMismatchError, "a column of quote"),
        ({"bid_e4": [1, 2]}, SchemaMismatchError, "one length"),
        ({"bid_e4": [0.5]}, SchemaMismatchError, "int32"),
        ({"bid_e4": ["five"]}, SchemaMismatchError, "int32"),
        ({"avail_us": [None]}, DataError, "a value in every row"),
        ({"avail_us": None}, DataError, "a value in every row"),
        ({"market_id": [None]}, DataError, "a value in every row"),
        ({"avail_basis": "guess"}, DataError, "one of " + BASES[0]),
    ],
)
def test_rows_that_cannot_be_kept_are_refused(store, change, error, text):
    row = FACT | {"market_id": [1], "event_us": [1], "ordinal": 0, "avail_us": [2]}
    with pytest.raises(error, match=text):
        store.append("quote", row | change)
    assert store.count("quote") == 0


def test_tables_are_written_in_their_way(store):
    with pytest.raises(ConfigError, match="record_versions"):
        store.append("market_v", {"market_id": [1]})
    with pytest.raises(ConfigError, match="Use append"):
        store.record_versions("quote", {"market_id": [1]})
    with pytest.raises(ConfigError, match="writes it itself"):
        store.append("ingest_log", {"run_id": ["a"]})
    with pytest.raises(ConfigError, match="Did you mean 'quote'"):
        store.count("quotes")
    with pytest.raises(ConfigError, match="versioned"):
        versions_asof(store.connection, "quote", 1)
    assert table_named("quote").own[0] == "publish_us"


HOLD = """
    import sys, time, pathlib
    from quant_engine.kalshi.storage import KalshiStore
    store = KalshiStore(pathlib.Path(sys.argv[1]), run_id="other")
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_may_write(tmp_path):
    path = tmp_path / "k.duckdb"
    code = textwrap.dedent(HOLD)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline().strip() == b"open"
        with pytest.raises(StoreError, match="read the exported Parquet"):
            KalshiStore(path, run_id="mine")
        holder.stdin.close()
        holder.wait(20)
    with KalshiStore(path, run_id="mine") as store:
        assert store.count("quote") == 0


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "k.duckdb"
    path.write_bytes(b"this is no database, but it is long enough to be asked about" * 100)
    with pytest.raises(StoreError, match="a database of the store"):
        KalshiStore(path, run_id="mine")


def fill(store):
    store.ids("market", ["A", "B", "C", "D"])
    store.append("quote", quotes(50))
    versions(store, ticker=["A"], avail_us=[10])
    store.set_checkpoint("job", "A", Checkpoint())


def test_equal_rows_are_exported_as_equal_bytes(tmp_path):
    found = []
    for run, threads in (("one", 1), ("two", 2)):
        with KalshiStore(tmp_path / run / "k.duckdb", run_id=run, threads=threads) as store:
            fill(store)
            hashes = export_store(store, tmp_path / run / "out")
            assert export_store(store, tmp_path / run / "out") == hashes
            found.append(
                {p.name: p.read_bytes() for p in sorted((tmp_path / run / "out").iterdir())}
            )
    assert found[0] == found[1]
    assert {"quote.parquet", "market_v.parquet", "manifest.json"} <= set(found[0])
    assert "ingest_log.parquet" not in found[0]
    assert json.loads(found[0]["manifest.json"])["rows"]["quote"] == 50


def test_readers_use_the_export_beside_the_writer(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(UnreadableFileError, match="Export the store first"):
        ExportedStore(folder)
    with KalshiStore(tmp_path / "k.duckdb", run_id="a") as store:
        fill(store)
        export_store(store, folder)
        with ExportedStore(folder, check=True) as reader:
            sql = "SELECT * FROM quote ORDER BY kid"
            assert reader.connection.execute(sql).fetchall() == rows(store, sql)
            assert versions_asof(reader.connection, "market_v", 10).num_rows == 1
    (folder / "quote.parquet").write_bytes(b"x")
    with pytest.raises(IntegrityError, match="Export again"):
        ExportedStore(folder, check=True)
