"""Own recordings into the store: every change of a best quote, every print, every gap.

The messages run through the code that listens to the live exchange, and each fact is available from
the moment at which its message arrived. A gap covers its stretch from the last moment at which the
book was known to be right, although it was noticed a little later: to lose a quote that was still
right is the safe side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from quant_engine.core.errors import ConfigError
from quant_engine.core.progress import SILENT, Progress
from quant_engine.kalshi.exchange.book import OrderBook, Top
from quant_engine.kalshi.exchange.recorder import Recorded
from quant_engine.kalshi.exchange.records import Trade
from quant_engine.kalshi.exchange.replay import replay_books
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.kalshi.store.writing import Sighting, put_trades

__all__ = ["ingest_recording"]

_SRC = "recording"


def ingest_recording(
    store: KalshiStore,
    messages: Iterable[Recorded],
    stream: BookStream,
    *,
    rows_per_batch: int = 100_000,
    progress: Progress = SILENT,
) -> Counter[str]:
    """Store what a recording of the websocket says.

    Parameters
    ----------
    store : KalshiStore
        Where.
    messages : iterable of Recorded
        In their order.
    stream : BookStream
        Fresh, with the price scale of the recording.
    rows_per_batch : int
        Quotes that are kept before they are written.
    progress : Progress
        Told about every batch.

    Returns
    -------
    Counter
        New rows by table.

    Raises
    ------
    ConfigError
        When the batch is not positive.
    """
    if rows_per_batch < 1:
        raise ConfigError("rows_per_batch", wanted="at least 1", got=rows_per_batch, hint="100000.")
    written = Counter[str]()
    pending = _Pending()
    with progress.stage("recording", 1) as stage, store.transaction():
        for at_us, changed in replay_books(messages, stream):
            pending.take(at_us, changed)
            if pending.size >= rows_per_batch:
                written += pending.write(store)
        written += pending.write(store)
        written += _put_gaps(store, stream, pending.last_us)
        stage.advance()
    return +written


class _Pending:
    """Quotes and prints that wait for their batch."""

    def __init__(self) -> None:
        self.quotes: list[tuple[str, int, int, Top]] = []
        self.trades: list[tuple[int, Trade]] = []
        self.last_us = 0
        self._tops: dict[str, Top] = {}
        self._places: dict[str, tuple[int, int]] = {}

    @property
    def size(self) -> int:
        return len(self.quotes) + len(self.trades)

    def take(self, at_us: int, changed: OrderBook | Trade) -> None:
        self.last_us = at_us
        if isinstance(changed, Trade):
            self.trades.append((at_us, changed))
            return
        top = changed.top()
        if not changed.is_known or self._tops.get(changed.ticker) == top:
            return
        self._tops[changed.ticker] = top
        before_us, place = self._places.get(changed.ticker, (at_us, -1))
        place = place + 1 if before_us == at_us else 0
        self._places[changed.ticker] = (at_us, place)
        self.quotes.append((changed.ticker, at_us, place, top))

    def write(self, store: KalshiStore) -> Counter[str]:
        written = Counter[str]()
        if self.quotes:
            times = [at for _, at, _, _ in self.quotes]
            tops = [top for *_, top in self.quotes]
            written["quote"] += store.append(
                "quote",
                {
                    "market_id": store.ids("market", [ticker for ticker, *_ in self.quotes]),
                    "event_us": times,
                    "ordinal": [place for _, _, place, _ in self.quotes],
                    "bid_e4": [top.bid_e4 for top in tops],
                    "ask_e4": [top.ask_e4 for top in tops],
                    "bid_sz_c2": [top.bid_size_c2 for top in tops],
                    "ask_sz_c2": [top.ask_size_c2 for top in tops],
                    "book_ok": True,
                    "recorded_us": times,
                    "avail_us": times,
                    "avail_basis": "recorded",
                    "src": _SRC,
                },
            )
        if self.trades:
            heard = [at for at, _ in self.trades]
            written += put_trades(
                store, [t for _, t in self.trades], Sighting(heard[-1], _SRC), arrived_us=heard
            )
        self.quotes, self.trades = [], []
        return written


def _put_gaps(store: KalshiStore, stream: BookStream, last_us: int) -> Counter[str]:
    rows: list[tuple[Any, ...]] = [
        (g.ticker, g.sid, g.from_seq, g.to_seq, g.from_us, g.to_us, g.reason) for g in stream.gaps
    ]
    # A gap that nothing ended lasts on.
    rows += [
        (ticker, -1, None, None, last_us, None, reason)
        for ticker, reason in stream.open_gaps().items()
    ]
    if not rows:
        return Counter()
    names = ("sid", "from_seq", "to_seq", "from_us", "to_us", "reason")
    columns = {name: [row[k + 1] for row in rows] for k, name in enumerate(names)}
    written = store.append(
        "book_gap",
        columns
        | {
            "market_id": store.ids("market", [row[0] for row in rows]),
            "recorded_us": [row[4] for row in rows],
            "avail_us": [row[4] for row in rows],
            "avail_basis": "assumed",
            "src": _SRC,
        },
    )
    return Counter({"book_gap": written})
