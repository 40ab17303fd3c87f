"""A fake exchange on a virtual clock, keys that it knows, and a store full of hindsight."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from quant_engine.kalshi.events import Release, map_events, put_outcomes, put_releases
from quant_engine.kalshi.exchange.client import KalshiClient
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import local_environment
from quant_engine.kalshi.exchange.limits import RateLimit
from quant_engine.kalshi.exchange.records import Candle, Event, Market, Ohlc, Trade
from quant_engine.kalshi.exchange.signing import Signer
from quant_engine.kalshi.exchange.timing import VirtualTimer
from quant_engine.kalshi.exchange.transport import RetryPolicy, Transport
from quant_engine.kalshi.fake.auth import KeyRing
from quant_engine.kalshi.fake.rest import FakeConfig, FakeExchange
from quant_engine.kalshi.fake.world import World, WorldConfig, make_world
from quant_engine.kalshi.storage import KalshiStore
from quant_engine.kalshi.store.writing import (
    Sighting,
    put_candles,
    put_events,
    put_markets,
    put_trades,
)

RSA_ID = "11111111-2222-3333-4444-0000000000aa"
ED_ID = "11111111-2222-3333-4444-0000000000bb"


@dataclass(frozen=True)
class Keys:
    """One RSA and one Ed25519 key."""

    rsa: rsa.RSAPrivateKey
    ed: ed25519.Ed25519PrivateKey

    def pem(
        self, name: str = "ed", *, form: str = "PKCS8", passphrase: bytes | None = None
    ) -> bytes:
        wrapped = (
            serialization.NoEncryption()
            if passphrase is None
            else serialization.BestAvailableEncryption(passphrase)
        )
        return getattr(self, name).private_bytes(
            serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), wrapped
        )

    def ring(self) -> KeyRing:
        return KeyRing({RSA_ID: self.rsa.public_key(), ED_ID: self.ed.public_key()})

    def signer(self, name: str = "ed", **options) -> Signer:
        return Signer(RSA_ID if name == "rsa" else ED_ID, self.pem(name), **options)


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys(
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
    )


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(WorldConfig(seed=7, n_events=4, trades_per_snapshot=6.0))


@dataclass
class Scene:
    """An exchange after all releases, and a client beside it on the same virtual clock."""

    keys: Keys
    world: World
    timer: VirtualTimer
    config: FakeConfig = field(default_factory=FakeConfig)
    faults: dict = field(default_factory=dict)
    attempts: int = 8
    limit: RateLimit = field(default_factory=lambda: RateLimit(200, 400))
    signer: Signer | None = None

    def __post_init__(self) -> None:
        self.exchange = FakeExchange(
            self.world, self.keys.ring(), timer=self.timer, config=self.config, faults=self.faults
        )
        self.http = httpx.Client(transport=httpx.MockTransport(self._handle))
        self.drift = DriftLog()
        self.transport = Transport(
            self.http,
            local_environment(1, 2),
            timer=self.timer,
            jitter=random.Random(3).random,
            signer=self.signer or self.keys.signer(),
            retry=RetryPolicy(attempts=self.attempts),
            limit=self.limit,
        )
        self.client = KalshiClient(self.transport, self.drift)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        reply = self.exchange.handle(request.method, target, dict(request.headers))
        # An answer takes a while, also on a virtual clock.
        self.timer.sleep(0.03)
        return httpx.Response(reply.status, content=reply.body, headers=reply.headers)


@pytest.fixture
def scene(keys, world):
    """Make a scene; keyword arguments are its fields."""
    made = []

    def make(**options) -> Scene:
        end_us = world.events[-1].release_us + 86_400_000_000
        options.setdefault("timer", VirtualTimer(end_us))
        made.append(Scene(keys, world, **options))
        return made[-1]

    yield make
    for scene in made:
        scene.http.close()


HOUR = 3_600_000_000
OPEN, STRIKE = 100 * HOUR, 148 * HOUR
CLOSED_EARLY, FETCH, MIDDLE = 130 * HOUR, 200 * HOUR, 124 * HOUR


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
    put_candles(store, {"E-0": candles}, Sighting(FETCH, "x"), period_min=60)
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
def hindsight_store(tmp_path_factory):
    """One event from its opening to long after its end, with everything that was learned late."""
    with KalshiStore(tmp_path_factory.mktemp("audit") / "k.duckdb", run_id="a", threads=1) as made:
        fill(made)
        yield made
