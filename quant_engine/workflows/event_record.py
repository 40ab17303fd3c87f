"""Recording order books for some minutes, and storing what was heard."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from quant_engine.artifacts.files import explained_os_errors
from quant_engine.core.clock import Clock
from quant_engine.core.errors import EmptyDataError
from quant_engine.core.progress import Progress
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import environment
from quant_engine.kalshi.exchange.listening import listen
from quant_engine.kalshi.exchange.recorder import read_recording
from quant_engine.kalshi.exchange.signing import signer_from_environment
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.exchange.timing import SystemTimer
from quant_engine.kalshi.fake.season import serve_books
from quant_engine.kalshi.recordings.live import ingest_recording
from quant_engine.kalshi.store.asof import versions_asof
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.workflows.event_sources import FAKE, EventSource

__all__ = ["record_books"]

MOST_MARKETS = 200


def record_books(
    store: KalshiStore,
    source: EventSource,
    folder: Path,
    *,
    minutes: float,
    clock: Clock,
    progress: Progress,
) -> Counter[str]:
    """Listen to the books of the store's markets and store what was heard.

    Parameters
    ----------
    store : KalshiStore
        Synchronised store; its markets that are not over are listened to.
    source : EventSource
        Exchange; the fake one serves books of its own on this machine.
    folder : Path
        Where the recording is kept; it can be replayed.
    minutes : float
        How long, by the machine's clock.
    clock : Clock
        The machine's clock.
    progress : Progress
        Listener.

    Returns
    -------
    Counter
        New rows by table, and ``messages``.

    Raises
    ------
    EmptyDataError
        When no market is open.
    """
    timer = SystemTimer(clock)
    tickers = _open_markets(store, timer.now_us(), source)
    path = folder / f"books-{store.run_id}.jsonl.gz"
    with explained_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)

    async def heard() -> int:
        options = {"path": path, "seconds": 60.0 * minutes, "timer": timer}
        if source.environment == FAKE:
            async with serve_books(source.season, tickers, timer) as (place, signer):
                return await listen(place, signer, tickers, **options)
        signer = signer_from_environment(source.variables or {}, environment=source.environment)
        return await listen(environment(source.environment), signer, tickers, **options)

    with progress.stage(f"recording {len(tickers)} books", 1):
        n_messages = asyncio.run(heard())
    messages = read_recording(path, allow_cut_off=True)
    written = ingest_recording(store, messages, BookStream(DriftLog()), progress=progress)
    return written + Counter({"messages": n_messages})


def _open_markets(store: KalshiStore, now_us: int, source: EventSource) -> list[str]:
    rows = versions_asof(store.connection, "market_v", 1 << 62).to_pylist()
    is_fake = source.environment == FAKE
    # The markets of a season are open by its own clock, which is not the machine's.
    found = [
        row["ticker"]
        for row in rows
        if row["ticker"] and (is_fake or row["close_us"] is None or row["close_us"] > now_us)
    ]
    if not found:
        raise EmptyDataError(
            "markets", wanted="at least one that is open", got="none",
            hint="Run the stage sync --what catalog first.",
        )  # fmt: skip
    return found[-MOST_MARKETS:]
