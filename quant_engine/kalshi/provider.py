"""From the exchange into the store: resumable jobs for catalogue, quotes, prints and candles.

Every job walks over events or markets. What one of them brings, its checkpoint and the raw answers
are one transaction: a run that is killed has lost at most the subject that it was at. Starting
again with the same ``run_id`` passes over what that run has finished; another ``run_id`` asks anew,
and the store keeps out what it has.

The client is the same for the live exchange, the fake one and a recorded session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from quant_engine.core.errors import ConfigError, EmptyDataError
from quant_engine.core.hashing import sha256_bytes
from quant_engine.core.progress import SILENT, Progress
from quant_engine.kalshi.exchange.client import PERIODS_MIN, KalshiClient, Span
from quant_engine.kalshi.exchange.records import Event, Market
from quant_engine.kalshi.exchange.routing import all_candles, all_markets, all_trades
from quant_engine.kalshi.exchange.timing import Timer
from quant_engine.kalshi.exchange.transport import Answer
from quant_engine.kalshi.store.asof import versions_asof
from quant_engine.kalshi.store.database import Checkpoint, KalshiStore
from quant_engine.kalshi.store.writing import (
    Lags,
    Sighting,
    put_candles,
    put_events,
    put_markets,
    put_series,
    put_trades,
)

__all__ = ["JOBS", "SyncConfig", "Synchronizer"]

JOBS = ("catalog", "quotes", "trades", "candles", "historical")
"""Kinds of work, in a sensible order."""
_OVERLAP_US = 60_000_000
_FOREVER_US = 1 << 62


@dataclass(frozen=True)
class SyncConfig:
    """What is synchronised.

    Parameters
    ----------
    series : tuple of str
        Series tickers.
    span : Span
        Time of prints and candles.
    period_min : int
        Length of candles.
    source : str
        Name in the ``src`` column.
    lags : Lags
        Delays of what is fetched long after it happened.
    keeps_raw : bool
        Keep every answer as it came, compressed.

    Raises
    ------
    ConfigError
        Without series, or for a period that the exchange has not.
    """

    series: tuple[str, ...]
    span: Span
    period_min: int = 60
    source: str = "exchange"
    lags: Lags = field(default_factory=Lags)
    keeps_raw: bool = True

    def __post_init__(self) -> None:
        if not self.series or self.period_min not in PERIODS_MIN:
            raise ConfigError(
                "series, period_min",
                wanted=f"at least one series and a period of {PERIODS_MIN}",
                got=self,
                hint="Name the series, such as KXHIGHNY.",
            )


class Synchronizer:
    """Jobs that bring a store up to date.

    Parameters
    ----------
    client : KalshiClient
        Exchange, fake exchange or recorded session.
    store : KalshiStore
        Open store; its ``run_id`` names the run that may be resumed.
    config : SyncConfig
        What.
    timer : Timer
        Time of the fetches.
    progress : Progress
        Told about every subject.
    """

    def __init__(
        self,
        client: KalshiClient,
        store: KalshiStore,
        config: SyncConfig,
        *,
        timer: Timer,
        progress: Progress = SILENT,
    ) -> None:
        self._client = client
        self._store = store
        self._config = config
        self._timer = timer
        self._progress = progress
        self._answers: list[Answer] = []
        if config.keeps_raw:
            client.transport.listeners.append(self._answers.append)

    def run(self, what: Sequence[str] = JOBS) -> dict[str, Counter[str]]:
        """Do jobs one after another.

        Parameters
        ----------
        what : sequence of str
            Of :data:`JOBS`.

        Returns
        -------
        dict of str to Counter
            Job to new rows by table.

        Raises
        ------
        ConfigError
            For an unknown job.
        """
        unknown = [name for name in what if name not in JOBS]
        if unknown:
            raise ConfigError("what", wanted=f"jobs of {JOBS}", got=unknown, hint="Choose some.")
        done = {name: getattr(self, name)() for name in what}
        self._put_health()
        return done

    def catalog(self) -> Counter[str]:
        """Series, events and markets as they are now."""
        chosen = [s for s in self._client.series() if s.ticker in self._config.series]
        with self._store.transaction():
            written = put_series(self._store, chosen, self._sighting())
        events = [e for name in self._config.series for e in self._client.events(series=name)]
        return written + self._walk("catalog", {e.ticker: e for e in events}, self._put_event)

    def _put_event(self, event: Event) -> Counter[str]:
        # The answer for one event holds its whole ladder, so that its legs are read in one way.
        found, markets = self._client.event(event.ticker)
        return self._put_ladder(found, markets)

    def _put_ladder(self, event: Event | None, markets: Sequence[Market]) -> Counter[str]:
        sighting = self._sighting()
        written = Counter[str]()
        if event is not None:
            opened = [us for m in markets if (us := m.open_us) is not None]
            listed = {event.ticker: min(opened)} if opened else {}
            written += put_events(self._store, [event], sighting, listed_us=listed)
        return written + put_markets(self._store, markets, sighting)

    def quotes(self) -> Counter[str]:
        """Best quotes of the markets of every event that is not over, as they are now."""
        now_us = self._timer.now_us()
        open_events = {
            market["event"]: market["event"]
            for market in self._known_markets()
            if market["close_us"] is None or market["close_us"] > now_us
        }

        def ask(event: str) -> Counter[str]:
            return put_markets(self._store, self._client.markets(event=event), self._sighting())

        # A look at the present is never finished.
        return self._walk("quotes", open_events, ask, resumes=False)

    def historical(self) -> Counter[str]:
        """Markets of every event from both tiers: what was settled is in one of them."""
        rows = versions_asof(self._store.connection, "event_v", _FOREVER_US).to_pylist()
        series = set(self._store.ids("series", list(self._config.series)))
        events = {r["event_ticker"]: r["event_ticker"] for r in rows if r["series_id"] in series}
        return self._walk(
            "historical",
            events,
            lambda event: self._put_ladder(None, all_markets(self._client, event)),
        )

    def trades(self) -> Counter[str]:
        """Prints of every known market, from both tiers, around a cut-off that may move."""
        return self._walk(
            "trades", {m["ticker"]: m for m in self._known_markets()}, self._put_trades
        )

    def _put_trades(self, market: dict[str, Any]) -> Counter[str]:
        span = self._config.span
        before = self._store.checkpoint("trades", market["ticker"])
        start_us = span.start_us
        if before is not None and before.hi_event_us:
            # A little of what is known is asked for again: prints may be listed late.
            start_us = max(start_us, before.hi_event_us - _OVERLAP_US)
        if start_us >= span.end_us:
            return Counter()
        found = all_trades(self._client, market["ticker"], Span(start_us, span.end_us))
        return put_trades(self._store, found, self._sighting())

    def candles(self) -> Counter[str]:
        """Candles of every known market whose period has ended."""
        return self._walk(
            "candles", {m["ticker"]: m for m in self._known_markets()}, self._put_candles
        )

    def _put_candles(self, market: dict[str, Any]) -> Counter[str]:
        record = Market(ticker=market["ticker"], settled_us=market["settled_us"])
        period_min = self._config.period_min
        try:
            found = all_candles(
                self._client, market["series"], record,
                span=self._config.span, period_min=period_min,
            )  # fmt: skip
        except EmptyDataError:
            # A provisional market without activity vanishes: what is known of it stays known.
            return Counter({"market without candles": 1})
        return put_candles(
            self._store, market["ticker"], found, self._sighting(), period_min=period_min
        )

    def _walk(
        self,
        job: str,
        subjects: dict[str, Any],
        work: Callable[[Any], Counter[str]],
        *,
        resumes: bool = True,
    ) -> Counter[str]:
        """Do the work for every subject that this run has not finished, each in a transaction."""
        written = Counter[str]()
        with self._progress.stage(job, len(subjects)) as stage:
            for name, subject in subjects.items():
                before = self._store.checkpoint(job, name)
                if not resumes or before is None or before.mark != self._store.run_id:
                    with self._store.transaction():
                        written += work(subject)
                        written += self._put_answers()
                        self._store.set_checkpoint(job, name, self._reached(job, name))
                stage.advance()
        return written

    def _reached(self, job: str, name: str) -> Checkpoint:
        hi_event_us = 0
        number = self._store.known_id("market", name)
        if job == "trades" and number is not None:
            sql = "SELECT coalesce(max(event_us), 0) FROM trade WHERE market_id = ?"
            hi_event_us = self._store.connection.execute(sql, [number]).fetchall()[0][0]
        return Checkpoint(self._store.run_id, int(hi_event_us), self._timer.now_us())

    def _known_markets(self) -> list[dict[str, Any]]:
        """Markets of the chosen series, by what is known now, sorted by ticker."""
        connection = self._store.connection
        series = dict(
            zip(
                self._store.ids("series", list(self._config.series)),
                self._config.series,
                strict=True,
            )
        )
        events = {
            row["event_id"]: row
            for row in versions_asof(connection, "event_v", _FOREVER_US).to_pylist()
            if row["series_id"] in series
        }
        results = {
            row["market_id"]: row["settled_us"]
            for row in versions_asof(connection, "market_result", _FOREVER_US).to_pylist()
        }
        found = [
            {
                "ticker": row["ticker"],
                "event": events[row["event_id"]]["event_ticker"],
                "series": series[events[row["event_id"]]["series_id"]],
                "close_us": row["close_us"],
                "settled_us": results.get(row["market_id"]),
            }
            for row in versions_asof(connection, "market_v", _FOREVER_US).to_pylist()
            if row["event_id"] in events
        ]
        return sorted(found, key=lambda row: row["ticker"])

    def _sighting(self) -> Sighting:
        return Sighting(self._timer.now_us(), self._config.source, "recorded", self._config.lags)

    def _put_answers(self) -> Counter[str]:
        answers, waiting = self._answers[:], self._answers
        waiting.clear()
        if not answers:
            return Counter()
        times = [answer.received_us for answer in answers]
        bodies = [answer.body for answer in answers]
        columns = {
            "sha256": [sha256_bytes(body) for body in bodies],
            "channel": "rest",
            "endpoint": [answer.path for answer in answers],
            "http_status": [answer.status for answer in answers],
            "body_zstd": [pa.compress(body, codec="zstd", asbytes=True) for body in bodies],
            "body_bytes": [len(body) for body in bodies],
            "recorded_us": times,
            "avail_us": times,
            "avail_basis": "recorded",
            "src": self._config.source,
        }
        return Counter({"raw_message": self._store.append("raw_message", columns)})

    def _put_health(self) -> None:
        """Write down what went wrong on the way and what was not understood."""
        counts = {f"transport: {name}": n for name, n in self._client.transport.counts.items()}
        counts |= {f"drift: {n.model}.{n.field}": n.count for n in self._client.drift.notes()}
        if not counts:
            return
        now_us = self._timer.now_us()
        self._store.append(
            "source_health",
            {
                "endpoint": self._client.transport.environment.name,
                "counter": list(counts),
                "value": list(counts.values()),
                "recorded_us": [now_us] * len(counts),
                "avail_us": now_us,
                "avail_basis": "recorded",
                "src": self._config.source,
            },
        )
