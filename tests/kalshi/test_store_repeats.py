"""Rows that come twice: within a batch, across batches, late ones, and after a kill."""

import signal
import subprocess
import sys
import textwrap

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.kalshi.storage import KalshiStore, export_store
from quant_engine.kalshi.store.batches import arrow_batch
from quant_engine.kalshi.store.migrations import migrate
from quant_engine.kalshi.store.repeats import new_rows
from quant_engine.kalshi.store.sweep import best_known, sweep
from quant_engine.kalshi.store.tables import ddl, table_named

pytestmark = pytest.mark.feature("Q-45")

FACT = {"recorded_us": 9, "avail_basis": "recorded"}
QUOTE, OUTCOME = table_named("quote"), table_named("outcome")


def plain_append(connection, spec, batch):
    """The anti-join of every batch's first rows with the whole table, in one statement."""
    keys = ", ".join(spec.key)
    connection.register("batch", batch)
    ((n_new,),) = connection.execute(
        f"INSERT INTO {spec.name} SELECT b.* FROM "
        f"(SELECT DISTINCT ON ({keys}) * FROM batch ORDER BY {keys}, kid) b "
        f"ANTI JOIN (SELECT {keys} FROM {spec.name}) k USING ({keys})"
    ).fetchall()
    connection.unregister("batch")
    return n_new


def new_append(connection, spec, batch):
    new = new_rows(connection, spec, batch)
    connection.register("new", new)
    connection.execute(f"INSERT INTO {spec.name} SELECT * FROM new")
    connection.unregister("new")
    return new.num_rows


def quotes(rows):
    market, event_us, ordinal, src = (list(column) for column in zip(*rows, strict=True))
    return FACT | {
        "market_id": market, "event_us": event_us, "ordinal": ordinal, "src": src,
        "avail_us": [us + 1 for us in event_us], "bid_e4": list(range(len(rows))),
    }  # fmt: skip


def outcomes(rows):
    market, event_us, ordinal, src = (list(column) for column in zip(*rows, strict=True))
    return FACT | {
        "release_id": market, "print_kind": src, "vintage": ordinal, "src": "x",
        "value": [float(k) for k in range(len(rows))], "avail_us": event_us,
    }  # fmt: skip


ROW = st.tuples(
    st.integers(1, 2), st.integers(0, 12), st.integers(0, 1), st.sampled_from(["a", "b"])
)
BATCHES = st.lists(st.lists(ROW, min_size=1, max_size=12), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def pair():
    """Two empty databases: by the way of the store, and by the plain statement."""
    with duckdb.connect() as quick, duckdb.connect() as plain:
        for connection in (quick, plain):
            connection.execute("SET threads = 1")
            for spec in (QUOTE, OUTCOME):
                connection.execute(ddl(spec))
        yield quick, plain


@settings(max_examples=8, deadline=None)
@given(BATCHES, st.booleans())
def test_the_tables_are_those_of_the_plain_statement(pair, batches, is_sorted):
    quick, plain = pair
    for spec, columns in ((QUOTE, quotes), (OUTCOME, outcomes)):
        quick.execute(f"DELETE FROM {spec.name}")
        plain.execute(f"DELETE FROM {spec.name}")
        kid = 0
        for rows in batches:
            drawn = sorted(rows, key=lambda row: row[1]) if is_sorted else rows
            batch = arrow_batch(spec, columns(drawn), first_kid=kid)
            kid += batch.num_rows
            assert new_append(quick, spec, batch) == plain_append(plain, spec, batch)
        sql = f"SELECT * FROM {spec.name} ORDER BY kid"
        assert quick.execute(sql).fetchall() == plain.execute(sql).fetchall()


class Seen:
    """A connection that writes down what it is asked."""

    def __init__(self, connection):
        self.connection = connection
        self.asked = []

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def sql(self, text):
        self.asked.append(text)
        return self.connection.sql(text)


def test_nothing_is_joined_where_nothing_can_be_stored():
    with duckdb.connect() as connection:
        migrate(connection)
        seen = Seen(connection)
        kid = 0
        # In the order of time, then older than everything, then into a hole between.
        for start in (100, 200, 10, 150):
            drawn = quotes([(1, start + k, 0, "a") for k in range(20)])
            batch = arrow_batch(QUOTE, drawn, first_kid=kid)
            assert new_append(seen, QUOTE, batch) == 20
            kid += 20
        assert seen.asked == []
        # A late row alone is looked for, and not those after what is stored.
        late = quotes([(1, 219, 0, "a"), (1, 230, 0, "a"), (2, 231, 0, "a")])
        found = new_rows(seen, QUOTE, arrow_batch(QUOTE, late, first_kid=kid))
        assert found["event_us"].to_pylist() == [230, 231]
        (text,) = seen.asked
        assert "BETWEEN 219 AND 219" in text


def test_large_batches_in_any_order_leave_the_same_rows(tmp_path):
    rng = np.random.default_rng(3)
    n = 4_000
    drawn = {
        "market_id": rng.integers(1, 9, n), "event_us": rng.integers(0, 2_000, n),
        "ordinal": rng.integers(0, 2, n),
    }  # fmt: skip
    price = drawn["market_id"] * 7 + drawn["event_us"] % 5
    rows = FACT | drawn | {"bid_e4": price, "avail_us": drawn["event_us"] + 1, "src": "a"}
    keys = {tuple(row) for row in np.column_stack(list(drawn.values())).tolist()}
    content = {}
    for name, order in (("drawn", np.arange(n)), ("time", np.argsort(drawn["event_us"]))):
        with KalshiStore(tmp_path / f"{name}.duckdb", run_id=name, threads=2) as store:
            for part in np.array_split(order, 7):
                batch = {k: v[part] if isinstance(v, np.ndarray) else v for k, v in rows.items()}
                store.append("quote", batch)
                # Within a transaction too, before anything of it is kept.
                with store.transaction():
                    assert store.append("quote", batch) == 0
            sql = "SELECT * EXCLUDE kid FROM quote ORDER BY ALL"
            content[name] = store.connection.execute(sql).fetchall()
            kids = store.connection.execute("SELECT kid FROM quote").fetchnumpy()["kid"]
            assert len(np.unique(kids)) == len(keys)
    assert content["drawn"] == content["time"]
    assert len(content["time"]) == len(keys)


def test_a_batch_that_is_not_kept_is_new_again(tmp_path):
    batch = quotes([(1, k, 0, "a") for k in range(5)])

    def write_and_fail(store):
        with store.transaction():
            assert store.append("quote", batch) == 5
            assert store.append("quote", batch) == 0
            raise KeyError

    with KalshiStore(tmp_path / "k.duckdb", run_id="a", threads=1) as store:
        with pytest.raises(KeyError):
            write_and_fail(store)
        assert store.append("quote", batch) == 5
        assert store.connection.execute("SELECT min(kid), max(kid) FROM quote").fetchall() == [
            (0, 4)
        ]


WRITE = """
    import sys, pathlib
    import numpy as np
    from quant_engine.kalshi.storage import KalshiStore

    store = KalshiStore(pathlib.Path(sys.argv[1]), run_id="killed", threads=2)
    for number in range(1_000):
        event_us = np.arange(number * 150_000, (number + 1) * 150_000)
        store.append("quote", {
            "market_id": event_us % 7, "event_us": event_us, "ordinal": 0, "bid_e4": event_us % 99,
            "avail_us": event_us, "recorded_us": event_us, "avail_basis": "recorded", "src": "x",
        })
        print(number, flush=True)
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_whole_batches(tmp_path):
    killed, whole = tmp_path / "killed.duckdb", tmp_path / "whole.duckdb"
    code = textwrap.dedent(WRITE)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(killed)], stdout=subprocess.PIPE
    ) as writer:
        for _ in range(3):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.wait(20)
        told = 3 + len(writer.stdout.read().splitlines())

    def batch(number):
        event_us = np.arange(number * 150_000, (number + 1) * 150_000)
        return FACT | {
            "market_id": event_us % 7, "event_us": event_us, "ordinal": 0,
            "bid_e4": event_us % 99, "avail_us": event_us, "recorded_us": event_us, "src": "x",
        }  # fmt: skip

    hashes = []
    for path in (killed, whole):
        with KalshiStore(path, run_id="after", threads=2) as store:
            kept = store.count("quote")
            assert kept % 150_000 == 0
            assert path == whole or kept >= told * 150_000
            for number in range(told + 2):
                store.append("quote", batch(number))
            hashes.append(export_store(store, tmp_path / path.stem)["quote"])
    assert hashes[0] == hashes[1]


def plain_sweep(rows, line_market, line_asof_us):
    market, event_us, avail_us, kid = rows
    found = []
    for number, asof_us in zip(line_market, line_asof_us, strict=True):
        known = np.flatnonzero((market == number) & (avail_us <= asof_us))
        order = np.lexsort((kid[known], avail_us[known], event_us[known]))
        found.append(known[order[-1]] if len(known) else -1)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_best_known_row_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    n, m = 200, 150
    event_us = rng.integers(0, 40, n)
    # Blocks of the ranks stand in another order, as threads hand them over.
    kid = np.concatenate([np.arange(120, 200), np.arange(120)]) if seed % 2 else np.arange(n)
    rows = (
        rng.integers(1, 5, n).astype(np.int32 if seed > 1 else np.int64),
        event_us, event_us + rng.integers(0, 15, n), kid,
    )  # fmt: skip
    lines = rng.integers(1, 6, m), rng.integers(0, 60, m)
    wanted = plain_sweep(rows, *lines)
    assert best_known(rows, *lines).tolist() == wanted
    order, line_order = np.lexsort((kid, rows[2])), np.argsort(lines[1])
    found = np.empty(m, dtype=np.int64)
    sweep.py_func(
        rows[:3], order, lines[0][line_order], lines[1][line_order],
        np.full(6, -1), found,
    )  # fmt: skip
    assert found.tolist() == [wanted[k] for k in line_order]


def test_texts_of_several_dictionaries_are_kept(tmp_path):
    src = pa.chunked_array(
        [pa.array(["a", "b"]).dictionary_encode(), pa.array(["c"]).dictionary_encode()]
    )
    batch = quotes([(1, k, 0, "a") for k in (5, 5, 5)]) | {"src": src}
    with KalshiStore(tmp_path / "k.duckdb", run_id="a", threads=1) as store:
        assert (store.append("quote", batch), store.append("quote", batch)) == (3, 0)
        found = store.connection.execute("SELECT src FROM quote ORDER BY kid").fetchall()
    assert found == [("a",), ("b",), ("c",)]
