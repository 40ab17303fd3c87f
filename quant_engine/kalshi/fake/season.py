"""A season of the fake exchange: a world of many releases, its clock, its keys and its server.

A season is what a person would have recorded who polled the exchange once a day, five minutes
before the releases of the day. The clock is virtual and stands still during a poll, so that every
record of a season has the same time whatever was asked before it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from quant_engine.core.errors import ConfigError
from quant_engine.kalshi.exchange.environments import Environment, local_environment
from quant_engine.kalshi.exchange.signing import Signer
from quant_engine.kalshi.exchange.timing import Timer
from quant_engine.kalshi.fake.auth import KeyRing
from quant_engine.kalshi.fake.books import FakeBooks, FakeChannel
from quant_engine.kalshi.fake.rest import FakeConfig, FakeExchange, Fault
from quant_engine.kalshi.fake.server import RestServer, book_server
from quant_engine.kalshi.fake.world import World, WorldConfig, make_world

__all__ = ["Season", "SeasonConfig", "make_season", "serve_books", "serve_season"]

DAY_US = 86_400_000_000
BEFORE_RELEASE_US = 300_000_000
"""A poll is this long before the releases of its day."""
SETTLEMENT_STEP = 0.1
_KEY_ID = "00000000-0000-0000-0000-00000000fa4e"
_PLENTY = 1e9
_DELTAS = 5_000


@dataclass(frozen=True)
class SeasonConfig:
    """Knobs of a season.

    Parameters
    ----------
    n_events : int
        Events.
    events_per_day : int
        Series, each with one release a day.
    seed : int
        Everything random follows from it.

    Raises
    ------
    ConfigError
        A number below 1.
    """

    n_events: int = 200
    events_per_day: int = 5
    seed: int = 2026

    def __post_init__(self) -> None:
        """Refuse knobs out of range."""
        if min(self.n_events, self.events_per_day) < 1 or self.events_per_day > 26:
            raise ConfigError(
                "season",
                wanted="at least one event, and 1 to 26 series",
                got=self,
                hint="Use the defaults.",
            )


@dataclass(frozen=True, eq=False)
class Season:
    """A world and when it is polled.

    Parameters
    ----------
    world : World
        Truth and quotes.
    polls_us : tuple of int
        Moments of the polls, microseconds UTC, rising.
    ends_us : int
        Moment of the last questions, a day after the last release.
    """

    world: World
    polls_us: tuple[int, ...]
    ends_us: int


def make_season(config: SeasonConfig) -> Season:
    """Draw a season.

    Parameters
    ----------
    config : SeasonConfig
        Knobs.

    Returns
    -------
    Season
        Equal for equal configs: four days of quotes before each release, outcomes in tenths.

    Examples
    --------
    >>> season = make_season(SeasonConfig(n_events=8))
    >>> len(season.world.events), len(season.polls_us), season.world.all_series[:2]
    (8, 5, ('KXFAKEA', 'KXFAKEB'))
    """
    world = make_world(
        WorldConfig(
            seed=config.seed,
            n_events=config.n_events,
            events_per_day=config.events_per_day,
            surprise_sd=0.4,
            drift_sd=0.08,
            n_snapshots=16,
            snapshot_s=21_600,
            listed_before_s=4 * 86_400,
            n_strikes=4,
            trades_per_snapshot=0.15,
            settlement_step=SETTLEMENT_STEP,
        )
    )
    first_us, last_us = world.events[0].release_us, world.events[-1].release_us
    start_us = first_us - 3 * DAY_US - BEFORE_RELEASE_US
    polls = range(start_us, last_us, DAY_US)
    return Season(world, tuple(polls), last_us + DAY_US)


@contextmanager
def serve_season(
    season: Season,
    timer: Timer,
    *,
    faults: Mapping[int, Fault] | None = None,
    behaviour: Mapping[str, Any] | None = None,
) -> Iterator[tuple[Environment, Signer]]:
    """Serve a season on loopback, with a key that it knows.

    Parameters
    ----------
    season : Season
        What is served; the older half of it lies in the historical tier.
    timer : Timer
        The exchange's clock.
    faults : mapping of int to Fault, optional
        Number of the request, from 0, to what goes wrong with it.
    behaviour : mapping, optional
        Other settings of `FakeConfig` than those of an exchange that behaves well.

    Yields
    ------
    environment : Environment
        Where it listens.
    signer : Signer
        A key made for it.
    """
    middle_us = season.world.events[len(season.world.events) // 2].release_us
    config = FakeConfig(
        tokens_per_s=_PLENTY,
        capacity=_PLENTY,
        trades_cutoff_us=middle_us,
        markets_cutoff_us=middle_us,
    )
    config = replace(config, **(behaviour or {}))
    ring, pem = _keys()
    exchange = FakeExchange(season.world, ring, timer=timer, config=config, faults=faults)
    with RestServer(exchange) as server:
        place = local_environment(server.port, server.port)
        yield place, Signer(_KEY_ID, pem, environment=place.name)


@asynccontextmanager
async def serve_books(
    config: SeasonConfig, tickers: Sequence[str], timer: Timer
) -> AsyncIterator[tuple[Environment, Signer]]:
    """Serve order books of some markets over a websocket on loopback.

    Parameters
    ----------
    config : SeasonConfig
        Its seed decides how the books change.
    tickers : sequence of str
        Markets.
    timer : Timer
        The exchange's clock.

    Yields
    ------
    environment : Environment
        Where it listens.
    signer : Signer
        A key made for it.
    """
    ring, pem = _keys()
    world = make_season(SeasonConfig(1, 1, config.seed)).world
    exchange = FakeExchange(world, ring, timer=timer, config=FakeConfig())
    books = FakeBooks(config.seed, list(tickers))
    made = await book_server(ring, exchange, lambda: FakeChannel(books), n_deltas=_DELTAS)
    async with made as server:
        port = int(next(iter(server.sockets)).getsockname()[1])
        place = local_environment(port, port)
        yield place, Signer(_KEY_ID, pem, environment=place.name)


def _keys() -> tuple[KeyRing, bytes]:
    """A key ring that knows one key, and that key."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return KeyRing({_KEY_ID: key.public_key()}), pem
