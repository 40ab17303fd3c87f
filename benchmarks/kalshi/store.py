"""The event-time store: rows per second in, as-of join, leak audit, and one archive by one call.

* Row 9: quotes in Arrow batches, repetitions kept out, into a fresh file: new rows and then the
  same batches again; median of several files, with the processor time of each. Batches are whole
  row groups of the database. The rates of the same rows in batches of 500,000, and in batches that
  all overlap in time, where every row is joined with what is stored, stand beside.
* Row 10: best known quotes on a grid of 1 M lines against these quotes (over 5 M), late arrivals
  and ties included. Limit 3 s, goal 1 s. A sample of the lines is checked by brute force.
* Row 14: the leak audit of a season of the fake exchange at 50 moments, over every view and over
  every column of every table. Then one leak per column is planted, a read that takes no notice of
  the moment: each must be found at each moment after which its table learned something.
* With a FOLDER of temperature ladders: events, prints, results and outcomes of all of them from raw
  answers, and the same call again; then the panel at four horizons and the leak audit.

Run ``python benchmarks/kalshi/store.py [FOLDER]``. Measurement code outside the package.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from goals import SEEDS, show

from quant_engine.core.clock import SystemClock
from quant_engine.core.progress import SILENT
from quant_engine.kalshi.audit import (
    POISONS,
    View,
    audit_views,
    availability_faults,
    random_asofs,
    standard_views,
)
from quant_engine.kalshi.events import LookConfig, ladder_panel
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.fake.season import SeasonConfig
from quant_engine.kalshi.recordings.weather import WeatherArchive, ingest_weather
from quant_engine.kalshi.storage import KalshiStore, export_store
from quant_engine.kalshi.store.asof import quotes_asof
from quant_engine.kalshi.store.database import ROW_GROUP
from quant_engine.kalshi.store.tables import TABLES
from quant_engine.workflows.event_sources import EventSource, collect

N_BATCHES, N_ROWS, N_MARKETS = 3, 16 * ROW_GROUP, 2_000
N_RAGGED = 500_000
N_LINES, N_CHECKED = 1_000_000, 300
N_ASOFS, N_EVENTS = 50, 8
LATE_SHARE = 0.05


def batch(rng: np.random.Generator, number: int) -> dict:
    start = number * N_ROWS * 1_000
    event_us = np.sort(rng.integers(start, start + N_ROWS * 1_000, N_ROWS))
    late = rng.random(N_ROWS) < LATE_SHARE
    bid = rng.integers(100, 9_800, N_ROWS).astype(np.int32)
    return {
        "market_id": rng.integers(1, N_MARKETS + 1, N_ROWS).astype(np.int32),
        "event_us": event_us,
        "ordinal": np.arange(N_ROWS, dtype=np.int32),
        "publish_us": event_us,
        "bid_e4": bid,
        "ask_e4": bid + 100,
        "bid_sz_c2": rng.integers(1, 10_000, N_ROWS) * 100,
        "ask_sz_c2": rng.integers(1, 10_000, N_ROWS) * 100,
        "last_e4": bid,
        "book_ok": True,
        "recorded_us": event_us,
        "avail_us": event_us + np.where(late, 5_000_000, 1_000),
        "avail_basis": "recorded",
        "src": "benchmark",
    }


def check(found: pa.Table, grid: pa.Table, batches: list[dict], rng: np.random.Generator) -> int:
    joined = {
        name: np.concatenate([b[name] for b in batches])
        for name in ("market_id", "event_us", "avail_us", "bid_e4")
    }
    wrong = 0
    for line in rng.integers(0, grid.num_rows, N_CHECKED):
        market, asof = grid["market_id"][line].as_py(), grid["asof_us"][line].as_py()
        known = np.flatnonzero((joined["market_id"] == market) & (joined["avail_us"] <= asof))
        wanted = None
        if len(known):
            order = np.lexsort((known, joined["avail_us"][known], joined["event_us"][known]))
            wanted = int(joined["bid_e4"][known[order[-1]]])
        wrong += found["bid_e4"][line].as_py() != wanted
    return wrong


def fill(store: KalshiStore, batches: list[dict]) -> tuple[float, float, int]:
    """Wall and processor seconds of all batches, and the rows that were new."""
    start, cpu = time.perf_counter(), time.process_time()
    n_new = sum(store.append("quote", columns) for columns in batches)
    return time.perf_counter() - start, time.process_time() - cpu, n_new


def told(word: str, found: list[tuple[float, float, int]]) -> float:
    """Print one line; median rate in M rows/s."""
    n_rows = N_BATCHES * N_ROWS
    wall, cpu, n_new = zip(*found, strict=True)
    rates = sorted(n_rows / seconds / 1e6 for seconds in wall)
    print(
        f"row 9  ingest, {word:12s} {statistics.median(rates):5.2f} M rows/s of {n_rows:,} "
        f"(median of {len(rates)} files, {rates[0]:.2f} to {rates[-1]:.2f}; {max(n_new):,} stored; "
        f"processor {statistics.median(cpu):.2f} s median, {min(cpu):.2f} best)"
    )
    return statistics.median(rates)


def whole(batches: list[dict]) -> dict:
    """All rows as one batch."""
    return {
        name: np.concatenate([b[name] for b in batches]) if np.ndim(value) else value
        for name, value in batches[0].items()
    }


def cut(rows: dict, pieces: list[slice]) -> list[dict]:
    """Rows in other batches."""
    return [{n: v[piece] if np.ndim(v) else v for n, v in rows.items()} for piece in pieces]


def ingest(folder: Path, batches: list[dict], threads: int, n_files: int) -> Path:
    """Row 9; the path of a store with all quotes."""
    found: dict[str, list[tuple[float, float, int]]] = {"new": [], "again": []}
    rows, n_rows = whole(batches), N_BATCHES * N_ROWS
    # By 500,000, and dealt out like cards, so that every batch reaches over all of the time.
    beside = {
        "ragged": cut(rows, [slice(k, k + N_RAGGED) for k in range(0, n_rows, N_RAGGED)]),
        "overlapping": cut(rows, [slice(k, None, N_BATCHES) for k in range(N_BATCHES)]),
    }
    found |= {word: [] for word in beside}
    for number in range(n_files):
        path = folder / f"synthetic{number}.duckdb"
        with KalshiStore(path, run_id="benchmark", threads=threads) as store:
            found["new"].append(fill(store, batches))
            found["again"].append(fill(store, batches))
        for word, others in beside.items():
            other = folder / f"{word}{number}.duckdb"
            with KalshiStore(other, run_id="benchmark", threads=threads) as store:
                found[word].append(fill(store, others))
            other.unlink()
        if number:
            (folder / f"synthetic{number - 1}.duckdb").unlink()
    rates = {word: told(word, rounds) for word, rounds in found.items()}
    show("9", min(rates["new"], rates["again"]))
    return path


def synthetic(folder: Path, threads: int, n_files: int) -> None:
    """Rows 9 and 10."""
    rng = np.random.default_rng(SEEDS["store"])
    batches = [batch(rng, number) for number in range(N_BATCHES)]
    n_rows = N_BATCHES * N_ROWS
    path = ingest(folder, batches, threads, n_files)
    with KalshiStore(path, run_id="benchmark", threads=threads) as store:
        print(f"       on disk {path.stat().st_size / n_rows:.1f} bytes a row")
        grid = pa.table(
            {
                "market_id": rng.integers(1, N_MARKETS + 1, N_LINES).astype(np.int32),
                "asof_us": rng.integers(0, n_rows * 1_000, N_LINES),
                "stale_after_us": np.full(N_LINES, 10**15),
            }
        )
        times, cpus = [], []
        for _ in range(max(3, n_files)):
            start, cpu = time.perf_counter(), time.process_time()
            found = quotes_asof(store.connection, grid)
            times.append(time.perf_counter() - start)
            cpus.append(time.process_time() - cpu)
        wrong = check(found, grid, batches, rng)
        print(
            f"row 10 as-of join {N_LINES:,} x {n_rows:,}: {min(times):.2f} s best of {len(times)}, "
            f"{statistics.median(times):.2f} median, {max(times):.2f} worst; processor "
            f"{statistics.median(cpus):.2f} s median, {min(cpus):.2f} best; "
            f"{wrong} of {N_CHECKED} lines differ from brute force"
        )
        show("10", min(times))


def reads(store: KalshiStore, *, leaks: bool) -> dict[str, View]:
    """Reads of every table that holds something, column by column where they are leaks."""

    def view(what: str, table: str, condition: str) -> View:
        sql = f"SELECT {what} FROM {table} {condition} ORDER BY kid"
        return lambda connection, asof_us: connection.sql(sql.format(asof_us)).to_arrow_table()

    facts = [table for table in TABLES if table.kind != "book" and store.count(table.name)]
    if leaks:
        return {
            f"{t.name}.{column}": view(column, t.name, "") for t in facts for column in t.columns
        }
    return {f"all of {t.name}": view("*", t.name, "WHERE avail_us <= {}") for t in facts}


def planted(store: KalshiStore, asofs: list[int]) -> tuple[int, int]:
    """Leaks that could be seen at the moments, and those that were not found."""
    last = {
        table.name: store.connection.execute(f"SELECT max(avail_us) FROM {table.name}").fetchall()
        for table in TABLES
        if table.kind != "book"
    }
    findings = audit_views(store.connection, reads(store, leaks=True), asofs)
    caught: dict[tuple[str, int], bool] = {}
    for finding in findings:
        if last[finding.view.split(".")[0]][0][0] > finding.asof_us:
            place = (finding.view, finding.asof_us)
            caught[place] = caught.get(place, False) or not finding.is_equal
    return len(caught), sum(not found for found in caught.values())


def audited(store: KalshiStore, config: LookConfig) -> None:
    """Row 14 of a store."""
    start, cpu = time.perf_counter(), time.process_time()
    asofs = random_asofs(store.connection, N_ASOFS, seed=SEEDS["store"])
    views = standard_views(config=config) | reads(store, leaks=False)
    findings = audit_views(store.connection, views, asofs)
    broken = sum(not finding.is_equal for finding in findings)
    false = sum(availability_faults(store.connection).values())
    n_planted, n_missed = planted(store, asofs)
    n_columns = len(reads(store, leaks=True))
    print(
        f"row 14 leak audit at {len(asofs)} moments, {len(views)} views of "
        f"{n_columns} columns, {' and '.join(POISONS)}: {broken} of {len(findings):,} "
        f"comparisons differ, {false} false claims; {n_missed} of {n_planted:,} planted leaks not "
        f"found; {time.perf_counter() - start:.1f} s, processor {time.process_time() - cpu:.1f} s"
    )
    show("14", broken + false + n_missed)


def season(folder: Path, threads: int) -> None:
    """Row 14 on the fake exchange."""
    source = EventSource("fake", season=SeasonConfig(n_events=N_EVENTS))
    with KalshiStore(folder / "season.duckdb", run_id="benchmark", threads=threads) as store:
        collect(store, source, clock=source.clock(SystemClock()), drift=DriftLog(), progress=SILENT)
        audited(store, LookConfig("quote"))


def archive(folder: Path, source: Path, threads: int) -> None:
    with KalshiStore(folder / "archive.duckdb", run_id="benchmark", threads=threads) as store:
        start = time.perf_counter()
        written = ingest_weather(store, WeatherArchive(source))
        seconds = time.perf_counter() - start
        n_rows = sum(written.values())
        print(f"archive {n_rows:,} rows in {seconds:.1f} s, {n_rows / seconds:,.0f} rows/s")
        print("        " + ", ".join(f"{name} {n:,}" for name, n in sorted(written.items())))
        start = time.perf_counter()
        again = sum(ingest_weather(store, WeatherArchive(source)).values())
        print(f"        again: {again} new in {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        config = LookConfig("trade")
        looks = ladder_panel(store.connection, [h * 3600 for h in (30, 24, 18, 12)], config=config)
        print(f"panel   {len(looks)} ladders at 4 horizons in {time.perf_counter() - start:.2f} s")
        audited(store, config)
        start = time.perf_counter()
        export_store(store, folder / "export")
        first = {p.name: p.read_bytes() for p in (folder / "export").iterdir()}
        export_store(store, folder / "export")
        same = first == {p.name: p.read_bytes() for p in (folder / "export").iterdir()}
        print(f"export  twice, equal bytes: {same}, {time.perf_counter() - start:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="temperature ladders, a folder a city")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--files", type=int, default=5, help="fresh files of row 9")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        synthetic(Path(place), args.threads, args.files)
        season(Path(place), args.threads)
        if args.folder is not None:
            archive(Path(place), args.folder, args.threads)


if __name__ == "__main__":
    main()
