"""A session with the exchange: one connection pool, one key, one clock, and a client on top.

The code is the same for the live exchange, the demo exchange and the fake one on this machine; only
hosts, key and timer differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from quant_engine.core.errors import MissingExtraError
from quant_engine.kalshi.exchange.client import KalshiClient
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import Environment
from quant_engine.kalshi.exchange.signing import Signer
from quant_engine.kalshi.exchange.timing import Timer
from quant_engine.kalshi.exchange.transport import RetryPolicy, Transport

try:
    import httpx
except ImportError as error:
    raise MissingExtraError.for_extra(
        "kalshi", package="httpx", purpose="reading the exchange"
    ) from error

__all__ = ["Session", "open_session"]

TIMEOUT_S = 30.0


@dataclass(frozen=True, eq=False)
class Session:
    """An open session.

    Parameters
    ----------
    client : KalshiClient
        Reads the exchange.
    signer : Signer
        Key of the session.
    timer : Timer
        Time of the session.
    """

    client: KalshiClient
    signer: Signer
    timer: Timer

    @property
    def environment(self) -> Environment:
        """Hosts of the session."""
        return self.client.transport.environment


@contextmanager
def open_session(
    environment: Environment,
    signer: Signer,
    *,
    timer: Timer,
    drift: DriftLog | None = None,
    seed: int = 0,
    retry: RetryPolicy | None = None,
) -> Iterator[Session]:
    """Open a session and adopt the account's own rate limits.

    Parameters
    ----------
    environment : Environment
        Hosts.
    signer : Signer
        Key; it has to be registered there.
    timer : Timer
        Time and waiting.
    drift : DriftLog, optional
        Counts what was not understood.
    seed : int
        Of the random waits between repetitions.
    retry : RetryPolicy, optional
        Repetitions; the defaults of the transport where None.

    Yields
    ------
    Session
        Closed at the end of the block.

    Raises
    ------
    ConfigError
        When the exchange refuses the key or the clock, or the key belongs elsewhere.
    SourceUnavailableError
        When it does not answer.
    """
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as http:
        transport = Transport(
            http,
            environment,
            timer=timer,
            jitter=random.Random(seed).random,
            signer=signer,
            retry=RetryPolicy() if retry is None else retry,
        )
        client = KalshiClient(transport, DriftLog() if drift is None else drift)
        # The first question shows whether the key is good, before any work is done.
        client.adopt_account_limits()
        yield Session(client, signer, timer)
