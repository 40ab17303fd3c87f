"""Listening for a while: books of some markets into a recording on disk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import Environment
from quant_engine.kalshi.exchange.feed import Feed
from quant_engine.kalshi.exchange.recorder import Recorder
from quant_engine.kalshi.exchange.signing import Signer
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.exchange.timing import Timer

__all__ = ["listen"]


async def listen(
    environment: Environment,
    signer: Signer,
    tickers: Sequence[str],
    *,
    path: Path,
    seconds: float,
    timer: Timer,
) -> int:
    """Append everything that is said about the books of some markets to a recording.

    Parameters
    ----------
    environment : Environment
        Hosts.
    signer : Signer
        Key.
    tickers : sequence of str
        Markets.
    path : Path
        Recording; what an earlier call wrote into it is kept.
    seconds : float
        How long.
    timer : Timer
        Time of the records.

    Returns
    -------
    int
        Messages that were recorded.

    Raises
    ------
    ConfigError
        When the exchange refuses the key or the clock.
    SourceUnavailableError
        When no connection comes about.
    """
    stream = BookStream(DriftLog())
    stream.subscribe(tickers)
    feed = Feed(environment, signer, stream, timer=timer, jitter=random.Random(0).random)
    with path.open("ab") as file, Recorder(file, flush_every=100) as recorder:
        feed.recorder = recorder
        try:
            async with asyncio.timeout(seconds):
                async for _ in feed.changes():
                    pass
        except TimeoutError:
            # The time is over: that is how a recording ends.
            return recorder.count
        return recorder.count
