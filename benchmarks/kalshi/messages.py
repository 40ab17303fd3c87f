"""Websocket changes per second through parse and book, and what faults leave of the books.

    python benchmarks/kalshi/messages.py [--messages N] [--fault-share P] [--seed S]

Rows 11 and 12. Speed: at most 300,000 changes of 40 markets, all good, best of five runs, per
second of processor time of one core; 150,000 are wanted. The same changes through a recording and
back are told beside it. Parity: N with a share of faulty frames (lost, doubled,
swapped, halved, unknown, overflow, disconnection); after every frame each market that the stream
calls known is compared with the truth at the stream's own number whenever it was touched, and all
of them at checkpoints. One difference is a failure (exit code 1).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from goals import GOALS, SEEDS, show

from quant_engine.kalshi.exchange.book import OrderBook
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import WS_PATH
from quant_engine.kalshi.exchange.recorder import Recorder, read_recording
from quant_engine.kalshi.exchange.replay import replay_books
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.fake.books import FRAME_FAULTS, FakeBooks, FakeChannel

TICKERS = [f"KXFAKE-26JAN{day:02d}-T{strike}" for day in (1, 2, 3, 4) for strike in range(10)]
CHECK_ALL_EVERY = 5_000
MOST_TIMED = 300_000
RUNS = 5


def connected(books: FakeBooks) -> tuple[BookStream, FakeChannel]:
    stream, channel = BookStream(DriftLog()), FakeChannel(books)
    stream.subscribe(TICKERS)
    for command in stream.commands():
        for frame in channel.command(command):
            stream.feed(frame, received_us=0)
    return stream, channel


def speed(n: int, seed: int) -> dict[str, float]:
    """Messages per second; the frames of one run are held in memory, so that not all are taken."""
    n = min(n, MOST_TIMED)
    books = FakeBooks(seed, TICKERS)
    _, channel = connected(books)
    frames = [frame for _ in range(n) for frame in channel.delta()]
    rates = {"by processor": [0.0], "by clock": [0.0]}
    for _ in range(RUNS):
        stream, _ = connected(FakeBooks(seed, TICKERS))
        feed = stream.feed
        at, on_cpu = time.perf_counter(), time.process_time()
        for frame in frames:
            feed(frame, received_us=1)
        rates["by processor"].append(len(frames) / (time.process_time() - on_cpu))
        rates["by clock"].append(len(frames) / (time.perf_counter() - at))
        require_truth(stream, books)
    return {name: max(found) for name, found in rates.items()}


def require_truth(stream: BookStream, books: FakeBooks) -> None:
    """Every book is known and equal to the truth."""
    found = {t: {"yes": b.yes, "no": b.no} for t, b in stream.books.items() if b.is_known}
    if found != books.levels:
        raise SystemExit("A book differs from the truth.")


def recorded_speed(n: int, seed: int) -> dict[str, float]:
    """Messages per second of processor time into a recording, and out of it to the same books."""
    n = min(n, MOST_TIMED)
    books = FakeBooks(seed, TICKERS)
    channel, stream = FakeChannel(books), BookStream(DriftLog())
    stream.subscribe(TICKERS)
    frames = [frame for command in stream.commands() for frame in channel.command(command)]
    frames += [frame for _ in range(n) for frame in channel.delta()]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "recording.jsonl.gz"
        started = time.process_time()
        with path.open("wb") as file, Recorder(file) as recorder:
            for frame in frames:
                recorder.frame(frame, source=WS_PATH, received_us=1)
        written = time.process_time() - started
        replayed = BookStream(DriftLog())
        started = time.process_time()
        n_changes = sum(1 for _ in replay_books(read_recording(path), replayed))
        read = time.process_time() - started
    require_truth(replayed, books)
    return {"into a recording": len(frames) / written, "out of a recording": n_changes / read}


class Replica:
    """The truth at any number: changes replayed up to where the stream says it is."""

    def __init__(self, books: FakeBooks) -> None:
        self.books = books
        self.levels: dict[str, dict[str, dict[int, int]]] = {
            ticker: {"yes": {}, "no": {}} for ticker in TICKERS
        }
        self.done = 0

    def advance(self, until: int) -> None:
        for ticker, side, price, delta in self.books.changes[self.done : until]:
            levels = self.levels[ticker][side]
            size = levels.get(price, 0) + delta
            if size:
                levels[price] = size
            else:
                del levels[price]
        self.done = max(self.done, until)


def chaos(n: int, share: float, seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(FRAME_FAULTS), n).tolist()
    # An overflow and a disconnection cost every book a resynchronisation: keep them rarer.
    faulty = np.flatnonzero(rng.random(n) < share).tolist()
    script = {i: FRAME_FAULTS[drawn[i]] for i in faulty if drawn[i] < 6 or i % 10 == 0}
    books = FakeBooks(seed, TICKERS)
    replica = Replica(books)
    stream = BookStream(DriftLog())
    stream.subscribe(TICKERS)
    channel = FakeChannel(books, faults=script)
    total = {"frames": 0, "checked": 0, "undeclared_errors": 0, "connections": 1, "known": 0}
    sent_before, now_us = 0, 0

    def compare(book: OrderBook) -> None:
        total["checked"] += 1
        total["undeclared_errors"] += {"yes": book.yes, "no": book.no} != replica.levels[
            book.ticker
        ]

    while sent_before + channel.sent < n:
        commands = stream.commands()
        frames = [f for command in commands for f in channel.command(command)] or channel.delta()
        for frame in frames:
            now_us += 1_000
            total["frames"] += 1
            changed = stream.feed(frame, received_us=now_us)
            for position in stream.positions().items():
                replica.advance(channel.truth.get(position, 0))
            if isinstance(changed, OrderBook):
                compare(changed)
            if total["frames"] % CHECK_ALL_EVERY == 0:
                for book in stream.books.values():
                    if book.is_known:
                        compare(book)
                total["known"] += sum(book.is_known for book in stream.books.values())
        if channel.is_closed:
            stream.disconnected(now_us=now_us)
            sent_before += channel.sent
            total["connections"] += 1
            script = {k - channel.sent: fault for k, fault in script.items() if k >= channel.sent}
            channel = FakeChannel(books, faults=script, first_sid=100 * total["connections"])
    checkpoints = max(1, total["frames"] // CHECK_ALL_EVERY)
    total["known"] = round(total["known"] / checkpoints / len(TICKERS), 4)
    return total | {"gaps": len(stream.gaps), "faults": len(faulty)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=GOALS["12"].size)
    parser.add_argument("--fault-share", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=SEEDS["messages"])
    flags = parser.parse_args()
    rates = speed(flags.messages, flags.seed) | recorded_speed(flags.messages, flags.seed)
    found = chaos(flags.messages, flags.fault_share, flags.seed)
    per_s = {name: round(rate) for name, rate in rates.items()}
    print(json.dumps({"messages_per_s": per_s, **found}, indent=2))
    show("11", rates["by processor"])
    show("12", float(str(found["undeclared_errors"])), size=flags.messages)
    return int(found["undeclared_errors"] != 0)


if __name__ == "__main__":
    sys.exit(main())
