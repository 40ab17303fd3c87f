"""The event-time store: rows per second in, as-of join, and one archive by one call.

* Row 9: quotes in Arrow batches with the anti-join that keeps repetitions out, new rows and then
  the same batches again. Floor 1 M rows/s, goal 3 M rows/s.
* Row 10: best known quotes on a grid of 1 M lines against 5 M quotes, late arrivals and ties
  included. Limit 3 s, goal 1 s. A sample of the lines is checked by brute force.
* With a FOLDER of temperature ladders: events, prints, results and outcomes of all of them from raw
  answers, and the same call again; then the panel at four horizons and the leak audit.

Run ``python benchmarks/kalshi/store.py [FOLDER]``. Measurement code outside the package.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from goals import SEEDS, show

from quant_engine.kalshi.audit import (
    audit_views,
    availability_faults,
    random_asofs,
    standard_views,
)
from quant_engine.kalshi.events import LookConfig, ladder_panel
from quant_engine.kalshi.recordings.weather import WeatherArchive, ingest_weather
from quant_engine.kalshi.storage import KalshiStore, export_store
from quant_engine.kalshi.store.asof import quotes_asof

N_BATCHES, N_ROWS, N_MARKETS = 10, 500_000, 2_000
N_LINES, N_CHECKED = 1_000_000, 300
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


def synthetic(folder: Path, threads: int) -> None:
    rng = np.random.default_rng(SEEDS["store"])
    batches = [batch(rng, number) for number in range(N_BATCHES)]
    n_rows = N_BATCHES * N_ROWS
    with KalshiStore(folder / "synthetic.duckdb", run_id="benchmark", threads=threads) as store:
        rates = []
        for _ in range(2):
            start, cpu = time.perf_counter(), time.process_time()
            n_new = sum(store.append("quote", columns) for columns in batches)
            rates.append((n_rows / (time.perf_counter() - start), n_new, time.process_time() - cpu))
        for word, (rate, n_new, cpu) in zip(("new", "again"), rates, strict=True):
            print(
                f"row 9  ingest, {word:5s} {rate / 1e6:7.2f} M rows/s of {n_rows:,} "
                f"({n_new:,} stored; {cpu:.1f} s of processor)"
            )
        show("9", min(rate for rate, _, _ in rates) / 1e6)
        store.connection.execute("CHECKPOINT")
        size = (folder / "synthetic.duckdb").stat().st_size
        print(f"       on disk {size / n_rows:.1f} bytes a row")
        grid = pa.table(
            {
                "market_id": rng.integers(1, N_MARKETS + 1, N_LINES).astype(np.int32),
                "asof_us": rng.integers(0, n_rows * 1_000, N_LINES),
                "stale_after_us": np.full(N_LINES, 10**15),
            }
        )
        times = []
        for _ in range(3):
            start, cpu = time.perf_counter(), time.process_time()
            found = quotes_asof(store.connection, grid)
            times.append(time.perf_counter() - start)
            cpu = time.process_time() - cpu
        wrong = check(found, grid, batches, rng)
        print(
            f"row 10 as-of join {N_LINES:,} x {n_rows:,}: {min(times):.2f} s best of 3, "
            f"{max(times):.2f} worst, {cpu:.1f} s of processor; "
            f"{wrong} of {N_CHECKED} lines differ from brute force"
        )
        show("10", min(times))


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
        start = time.perf_counter()
        asofs = random_asofs(store.connection, 5, seed=1)
        findings = audit_views(store.connection, standard_views(config=config), asofs)
        broken = sum(not finding.is_equal for finding in findings)
        false = sum(availability_faults(store.connection).values())
        print(
            f"row 14 leak audit: {broken} of {len(findings)} comparisons differ, {false} false "
            f"claims, in {time.perf_counter() - start:.1f} s"
        )
        show("14", broken + false)
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
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        synthetic(Path(place), args.threads)
        if args.folder is not None:
            archive(Path(place), args.folder, args.threads)


if __name__ == "__main__":
    main()
