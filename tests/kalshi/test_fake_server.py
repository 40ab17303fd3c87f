"""The fake exchange on real sockets of this machine, and the unchanged client before it."""

import asyncio
import gzip
import io
import random
import socket

import httpx
import pytest

from quant_engine.core.clock import SystemClock
from quant_engine.core.errors import ConfigError, SourceUnavailableError
from quant_engine.kalshi.exchange.book import OrderBook
from quant_engine.kalshi.exchange.client import KalshiClient
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import local_environment
from quant_engine.kalshi.exchange.feed import Feed, FeedConfig
from quant_engine.kalshi.exchange.limits import RateLimit
from quant_engine.kalshi.exchange.recorder import Recorder
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.exchange.timing import SystemTimer, VirtualTimer
from quant_engine.kalshi.exchange.transport import RetryPolicy, Transport
from quant_engine.kalshi.fake.books import FakeBooks, FakeChannel
from quant_engine.kalshi.fake.rest import FakeConfig, FakeExchange, Fault
from quant_engine.kalshi.fake.server import RestServer, book_server

TICKERS = ["A", "B", "C"]


def exchange(keys, world, **options):
    faults = options.pop("faults", None)
    timer = VirtualTimer(world.events[-1].release_us + 10**12)
    config = FakeConfig(tokens_per_s=1e9, capacity=1e9, **options)
    return timer, FakeExchange(world, keys.ring(), timer=timer, config=config, faults=faults)


@pytest.mark.parametrize("name", ["rsa", "ed"])
def test_rest_over_a_socket(keys, world, name):
    timer, fake = exchange(keys, world, faults={1: Fault("cut_off"), 2: Fault("429")})
    with RestServer(fake) as server, httpx.Client() as http:
        transport = Transport(
            http,
            local_environment(server.port, 1),
            timer=timer,
            jitter=random.Random(1).random,
            signer=keys.signer(name),
            limit=RateLimit(200, 400),
        )
        client = KalshiClient(transport, DriftLog())
        assert client.is_trading()
        assert [event.ticker for event in client.events()] == [e.ticker for e in world.events]
        root = f"http://127.0.0.1:{server.port}/trade-api/v2"
        assert http.post(f"{root}/portfolio/events/orders", json={}).status_code == 401
        assert http.get(f"{root}/exchange/status").json()["error"]["code"]
    assert [status for _, status in fake.log] == [200, 200, 429, 200, 401, 401]


def test_it_listens_on_the_loopback_alone(keys, world):
    _, fake = exchange(keys, world)
    with RestServer(fake) as server:
        assert server._server.server_address[0] == "127.0.0.1"
        # Another address of the same loopback network finds nobody: not bound to every interface.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", server.port), timeout=1).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1).close()


def feed_on(keys, fake, channels, *, n_deltas, until, signer=None, recorder=None):
    """Run a feed against a server until a condition holds; returns feed and stream."""

    async def nothing(_seconds):
        await asyncio.sleep(0)

    async def run():
        server = await book_server(keys.ring(), fake, channels, n_deltas=n_deltas)
        async with server:
            address, port = server.sockets[0].getsockname()
            assert address == "127.0.0.1"
            stream = BookStream(DriftLog())
            stream.subscribe(TICKERS)
            feed = Feed(
                local_environment(1, port),
                signer or keys.signer(),
                stream,
                timer=fake._timer,
                jitter=random.Random(1).random,
                config=FeedConfig(retry=RetryPolicy(attempts=4)),
            )
            feed.sleep = nothing
            feed.recorder = recorder
            changes = feed.changes()
            try:
                async for changed in changes:
                    if until(feed, stream, changed):
                        break
            finally:
                await changes.aclose()
            return feed, stream

    return asyncio.run(asyncio.wait_for(run(), 15))


def test_books_over_a_socket_with_faults_and_a_lost_connection(keys, world):
    _, fake = exchange(keys, world)
    books = FakeBooks(8, TICKERS)
    scripts = [
        {20: "drop", 60: "cut_off", 90: "reorder", 130: "overflow", 200: "disconnect"},
        {5: "duplicate", 50: "unknown_message"},
    ]
    made = []

    def channels():
        made.append(FakeChannel(books, faults=scripts[len(made)], first_sid=100 * len(made) + 1))
        return made[-1]

    buffer, errors = io.BytesIO(), []

    def until(feed, stream, changed):
        assert isinstance(changed, OrderBook)
        channel = made[-1]
        for position in stream.positions().items():
            if position in channel.truth and changed.is_known:
                errors.append(
                    {"yes": changed.yes, "no": changed.no}
                    != replay(books.changes[: channel.truth[position]], changed.ticker)
                )
        return feed.counts["connections"] == 2 and feed.counts["frames"] > 450

    with Recorder(buffer) as recorder:
        feed, stream = feed_on(keys, fake, channels, n_deltas=400, until=until, recorder=recorder)
    assert len(errors) > 200
    assert not any(errors)
    reasons = {gap.reason for gap in stream.gaps}
    assert {"missing message", "unreadable frame", "terminal error 25", "disconnected"} <= reasons
    assert feed.counts["lost"] == 1
    assert len(gzip.decompress(buffer.getvalue()).splitlines()) == feed.counts["frames"]


def replay(changes, ticker):
    levels = {"yes": {}, "no": {}}
    for name, side, price, delta in changes:
        if name == ticker:
            levels[side][price] = levels[side].get(price, 0) + delta
            if not levels[side][price]:
                del levels[side][price]
    return levels


def test_a_skewed_clock_is_corrected_by_the_refused_handshake(keys, world):
    _, fake = exchange(keys, world, clock_offset_us=30_000_000)
    feed, stream = feed_on(
        keys,
        fake,
        lambda: FakeChannel(FakeBooks(1, TICKERS)),
        n_deltas=5,
        until=lambda _feed, stream, _changed: all(b.is_known for b in stream.books.values()),
    )
    assert feed.counts["connections"] == 1
    assert abs(feed.skew.offset_us - 30_000_000) < 1_000_000
    assert len(stream.books) == 3


def test_a_wrong_key_ends_the_feed(keys, world):
    _, fake = exchange(keys, world)
    wrong = type(keys.signer())(keys.signer("rsa").key_id, keys.pem("ed"))
    with pytest.raises(ConfigError, match="API key"):
        feed_on(keys, fake, lambda: None, n_deltas=1, until=lambda *_: True, signer=wrong)


def test_an_exchange_that_is_not_there_is_given_up(keys):
    async def nothing(_seconds):
        await asyncio.sleep(0)

    async def run():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            feed = Feed(
                local_environment(1, free.getsockname()[1]),
                keys.signer(),
                BookStream(DriftLog()),
                timer=SystemTimer(SystemClock()),
                jitter=lambda: 0.0,
                config=FeedConfig(retry=RetryPolicy(attempts=3)),
            )
            feed.sleep = nothing
            async for _ in feed.changes():
                pass

    with pytest.raises(SourceUnavailableError, match="in 3 attempts"):
        asyncio.run(asyncio.wait_for(run(), 10))


def test_a_demo_key_is_not_shown_to_another_exchange(keys):
    with pytest.raises(ConfigError, match="a key of demo"):
        Feed(
            local_environment(1, 2),
            keys.signer(environment="demo"),
            BookStream(DriftLog()),
            timer=VirtualTimer(0),
            jitter=lambda: 0.0,
        )
