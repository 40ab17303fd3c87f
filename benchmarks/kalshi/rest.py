"""Rows 13 and 20: REST under faults over a real socket, and two tiers around a moving cut-off.

    python benchmarks/kalshi/rest.py [--calls N] [--merges N]

Row 13: the client asks a server on this machine until it has answered N calls, of which 5 % end in
429, 2 % in a server error and 2 % in a page that repeats, is empty, or loops; the clocks are up to
30 seconds apart. Every listing must hold every print once, and nothing but GET may be repeated.
Waits pass on a virtual clock. The same at 20 % faults. Row 20: histories across a cut-off that
moves while they are read.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass

import httpx
import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from goals import GOALS, SEEDS, show

from quant_engine.kalshi.exchange.client import KalshiClient, Span
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import local_environment
from quant_engine.kalshi.exchange.limits import RateLimit
from quant_engine.kalshi.exchange.routing import all_trades
from quant_engine.kalshi.exchange.signing import Signer
from quant_engine.kalshi.exchange.timing import VirtualTimer
from quant_engine.kalshi.exchange.transport import RetryPolicy, Transport
from quant_engine.kalshi.fake.auth import KeyRing
from quant_engine.kalshi.fake.rest import FakeConfig, FakeExchange, Fault
from quant_engine.kalshi.fake.server import RestServer
from quant_engine.kalshi.fake.world import World, WorldConfig, make_world

KEY_ID = "11111111-2222-3333-4444-0000000000cc"
SERVER_ERRORS = ("500", "502", "503", "cut_off", "plain_error", "nested_error")
PAGE_FAULTS = ("repeat_page", "empty_page", "cursor_loop", "cursor_expired")
DAY_US = 86_400_000_000


@dataclass
class Found:
    """What was wrong with all listings together."""

    n_calls: int = 0
    n_listings: int = 0
    n_faults: int = 0
    missing: int = 0
    twice: int = 0
    not_idempotent: int = 0

    def compare(self, wanted: list[str], got: list[str]) -> None:
        """Count what one listing lacks and what it holds twice."""
        self.n_listings += 1
        self.missing += len(set(wanted) - set(got)) + len(set(got) - set(wanted))
        self.twice += len(got) - len(set(got))


def client_of(
    exchange: FakeExchange, port: int, timer: VirtualTimer, http: httpx.Client, seed: int
) -> KalshiClient:
    """The package's own client, on the virtual clock of the exchange."""
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    transport = Transport(
        http,
        local_environment(port, port),
        timer=timer,
        jitter=random.Random(seed).random,
        signer=Signer(KEY_ID, pem),
        retry=RetryPolicy(attempts=10),
        limit=RateLimit(200, 400),
    )
    return KalshiClient(transport, DriftLog())


def keys() -> KeyRing:
    """The ring that knows the client's key."""
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    return KeyRing({KEY_ID: private.public_key()})


def whole(world: World) -> Span:
    return Span(world.events[0].release_us - 10 * DAY_US, world.events[-1].release_us + DAY_US)


def prints(world: World) -> dict[str, list[str]]:
    """Ids of all prints by market, in the order of time."""
    known: dict[str, list[str]] = {
        contract.ticker: [] for event in world.events for contract in event.contracts
    }
    for event in world.events:
        for trade in event.trades:
            known[trade.ticker].append(trade.trade_id)
    return known


def script(rng: np.random.Generator, n: int, rates: tuple[float, float, float]) -> dict[int, Fault]:
    """Which requests fail and how: shares of 429, of server errors, of bad pages."""
    faults = {}
    for number, draw in enumerate(rng.random(n)):
        for share, kinds in zip(np.cumsum(rates), (("429",), SERVER_ERRORS, PAGE_FAULTS),
                                strict=True):  # fmt: skip
            if draw < share:
                faults[number] = Fault(kinds[int(rng.integers(len(kinds)))])
                break
    return faults


def chaos(calls: int, seed: int, rates: tuple[float, float, float]) -> Found:
    """Listings of all markets, again and again, with clocks that drift apart."""
    found = Found()
    world = make_world(WorldConfig(seed=seed, n_events=6, trades_per_snapshot=6.0))
    known, rng, turn = prints(world), np.random.default_rng(seed), 0
    while found.n_calls < calls:
        turn += 1
        timer = VirtualTimer(world.events[-1].release_us + DAY_US)
        faults = script(rng, 3_000, rates)
        skew_us = int(rng.integers(-30_000_000, 30_000_001))
        config = FakeConfig(page_size=7, clock_offset_us=skew_us)
        exchange = FakeExchange(world, keys(), timer=timer, config=config, faults=faults)
        with RestServer(exchange) as server, httpx.Client() as http:
            client = client_of(exchange, server.port, timer, http, seed + turn)
            for ticker, wanted in known.items():
                got = [trade.trade_id for trade in client.trades(ticker, whole(world))]
                found.compare(wanted, got)
                if found.n_calls + len(exchange.log) >= calls:
                    break
        found.n_calls += len(exchange.log)
        found.n_faults += sum(number < len(exchange.log) for number in faults)
        found.not_idempotent += sum(n for verb, n in exchange.counts.items() if verb != "GET")
    return found


def merges(n: int, seed: int) -> Found:
    """Histories of one market with the cut-off anywhere, moving by any step."""
    found = Found()
    world = make_world(WorldConfig(seed=seed + 1, n_events=3, trades_per_snapshot=6.0))
    known, rng = prints(world), np.random.default_rng(seed + 1)
    tickers = [ticker for ticker, ids in known.items() if len(ids) > 3]
    span = whole(world)
    for turn in range(n):
        timer = VirtualTimer(world.events[-1].release_us + DAY_US)
        cutoff = int(rng.integers(span.start_us, span.end_us))
        step = int(rng.choice([0, 1, 10**9, 3 * 10**9, 2 * 10**10, 10**12]))
        config = FakeConfig(page_size=4, trades_cutoff_us=cutoff, cutoff_step_us=step)
        exchange = FakeExchange(world, keys(), timer=timer, config=config)
        ticker = tickers[int(rng.integers(len(tickers)))]
        with RestServer(exchange) as server, httpx.Client() as http:
            client = client_of(exchange, server.port, timer, http, seed + turn)
            found.compare(known[ticker], [t.trade_id for t in all_trades(client, {ticker: span})])
        found.n_calls += len(exchange.log)
    return found


def main() -> None:
    """Measure both rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=GOALS["13a"].size)
    parser.add_argument("--merges", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEEDS["rest"])
    flags = parser.parse_args()
    for rates in ((0.05, 0.02, 0.02), (0.10, 0.06, 0.04)):
        found = chaos(flags.calls, flags.seed, rates)
        print(f"       faults {sum(rates):.0%}: {found}")
        for row, number in zip(
            ("13a", "13b", "13c"),
            (found.missing, found.twice, found.not_idempotent),
            strict=True,
        ):
            show(row, number, size=found.n_calls)
    found = merges(flags.merges, flags.seed)
    print(f"       cut-offs: {found}")
    show("20", found.missing + found.twice)


if __name__ == "__main__":
    main()
