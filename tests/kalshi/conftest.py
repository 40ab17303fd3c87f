"""A fake exchange on a virtual clock, and keys that it knows."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from quant_engine.kalshi.exchange.client import KalshiClient
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import local_environment
from quant_engine.kalshi.exchange.limits import RateLimit
from quant_engine.kalshi.exchange.signing import Signer
from quant_engine.kalshi.exchange.timing import VirtualTimer
from quant_engine.kalshi.exchange.transport import RetryPolicy, Transport
from quant_engine.kalshi.fake.auth import KeyRing
from quant_engine.kalshi.fake.rest import FakeConfig, FakeExchange
from quant_engine.kalshi.fake.world import World, WorldConfig, make_world

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
