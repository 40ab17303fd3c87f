"""From the exchange into the store: resumable jobs for catalogue, quotes, prints and candles.

Every job walks over events or markets, some at a time. What they bring, their checkpoints and the
raw answers are one transaction: a run that is killed has lost at most the subjects that it was at.
Starting again with the same ``run_id`` passes over what that run has finished; another ``run_id``
asks anew, and the store keeps out what it has.

The client is the same for the live exchange, the fake one and a recorded session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from quant_engine.core.errors import ConfigError
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
    subjects_per_batch : int
        Events or markets whose rows are one transaction.

    Raises
    ------
    ConfigError
        Without series, for a period that the exchange has not, or for an empty batch.
    """

    series: tuple[str, ...]
    span: Span
    period_min: int = 60
    source: str = "exchange"
    lags: Lags = field(default_factory=Lags)
    keeps_raw: bool = True
    subjects_per_batch: int = 50

    def __post_init__(self) -> None:
        known = self.period_min in PERIODS_MIN
        if not self.series or not known or self.subjects_per_batch < 1:
            raise ConfigError(
                "series, period_min, subjects_per_batch",
                wanted=f"at least one series, a period of {PERIODS_MIN}, and one subject",
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
        return written + self._walk("catalog", {e.ticker: e for e in events}, self._put_events)

    def _put_events(self, events: Mapping[str, Event]) -> Counter[str]:
        # The answer for one event holds its whole ladder, so that its legs are read in one way.
        ladders = [self._client.event(ticker) for ticker in events]
        sighting = self._sighting()
        listed = {
            event.ticker: min(opened)
            for event, markets in ladders
            if (opened := [us for m in markets if (us := m.open_us) is not None])
        }
        found = [event for event, _ in ladders]
        written = put_events(self._store, found, sighting, listed_us=listed)
        return written + put_markets(self._store, _legs(ladders), sighting)

    def quotes(self) -> Counter[str]:
        """Best quotes of the markets of every event that is not over, as they are now."""
        now_us = self._timer.now_us()
        still_open = [
            market
            for market in self._known_markets()
            if market["close_us"] is None or market["close_us"] > now_us
        ]
        events = {market["event"] for market in still_open}

        def ask(names: Mapping[str, str]) -> Counter[str]:
            listed = [
                m for name in names for m in self._client.markets(series=name, after_us=now_us)
            ]
            found = [market for market in listed if market.event_ticker in events]
            return put_markets(self._store, found, self._sighting())

        # A look at the present is never finished.
        names = dict.fromkeys(market["series"] for market in still_open)
        return self._walk("quotes", names, ask, resumes=False)

    def historical(self) -> Counter[str]:
        """Markets of every event from both tiers: what was settled is in one of them."""
        rows = versions_asof(self._store.connection, "event_v", _FOREVER_US).to_pylist()
        series = set(self._store.ids("series", list(self._config.series)))

        def ask(events: Mapping[str, str]) -> Counter[str]:
            found = [market for event in events for market in all_markets(self._client, event)]
            return put_markets(self._store, found, self._sighting())

        events = {r["event_ticker"]: r["event_ticker"] for r in rows if r["series_id"] in series}
        return self._walk("historical", events, ask)

    def trades(self) -> Counter[str]:
        """Prints of every known market, from both tiers, around a cut-off that may move."""
        return self._walk(
            "trades", {m["ticker"]: m for m in self._known_markets()}, self._put_trades
        )

    def _put_trades(self, markets: Mapping[str, dict[str, Any]]) -> Counter[str]:
        spans = {}
        known = self._store.checkpoints("trades")
        for ticker, market in markets.items():
            span = self._span_of(market)
            before = known.get(ticker)
            start_us = span.start_us
            if before is not None and before.hi_event_us:
                # A little of what is known is asked for again: prints may be listed late.
                start_us = max(start_us, before.hi_event_us - _OVERLAP_US)
            if start_us < span.end_us:
                spans[ticker] = Span(start_us, span.end_us)
        found = all_trades(self._client, spans) if spans else []
        return put_trades(self._store, found, self._sighting())

    def _span_of(self, market: Mapping[str, Any]) -> Span:
        """The part of the time that is asked for in which a market was open, ends included."""
        span = self._config.span
        start_us, end_us = span.start_us, span.end_us
        if market["open_us"] is not None:
            start_us = max(start_us, market["open_us"] - _OVERLAP_US)
        if market["settled_us"] is not None:
            end_us = min(end_us, market["settled_us"] + _OVERLAP_US)
        # What lies outside as a whole is asked for as a whole: its times cannot be right.
        return Span(start_us, end_us) if start_us < end_us else span

    def candles(self) -> Counter[str]:
        """Candles of every known market whose period has ended."""
        return self._walk(
            "candles", {m["ticker"]: m for m in self._known_markets()}, self._put_candles
        )

    def _put_candles(self, markets: Mapping[str, dict[str, Any]]) -> Counter[str]:
        period_min = self._config.period_min
        asked = {
            ticker: (
                market["series"],
                Market(ticker=ticker, settled_us=market["settled_us"]),
                self._config.span,
            )
            for ticker, market in markets.items()
        }
        found = all_candles(self._client, asked, period_min=period_min)
        # A provisional market without activity vanishes: what is known of it stays known.
        missing = Counter({"market without candles": len(asked) - len(found)})
        return +missing + put_candles(self._store, found, self._sighting(), period_min=period_min)

    def _walk(
        self,
        job: str,
        subjects: Mapping[str, Any],
        work: Callable[[Mapping[str, Any]], Counter[str]],
        *,
        resumes: bool = True,
    ) -> Counter[str]:
        """Do the work for all subjects that this run has not finished, a batch a transaction."""
        written = Counter[str]()
        marks = self._store.checkpoints(job) if resumes else {}
        run_id = self._store.run_id
        todo = [name for name in subjects if name not in marks or marks[name].mark != run_id]
        size = self._config.subjects_per_batch
        with self._progress.stage(job, len(todo)) as stage:
            for first in range(0, len(todo), size):
                batch = todo[first : first + size]
                with self._store.transaction():
                    written += work({name: subjects[name] for name in batch})
                    written += self._put_answers()
                    if resumes:
                        self._store.set_checkpoints(job, self._reached(job, batch))
                stage.advance(len(batch))
        return written

    def _reached(self, job: str, names: Sequence[str]) -> dict[str, Checkpoint]:
        newest: dict[int, int] = {}
        if job == "trades":
            sql = "SELECT market_id, max(event_us) FROM trade GROUP BY market_id"
            newest = dict(self._store.connection.execute(sql).fetchall())
        now_us, run_id = self._timer.now_us(), self._store.run_id
        numbers = {name: self._store.known_id("market", name) for name in names}
        return {
            name: Checkpoint(run_id, 0 if number is None else newest.get(number, 0), now_us)
            for name, number in numbers.items()
        }

    def _known_markets(self) -> list[dict[str, Any]]:
        """Markets of the chosen series, by what is known now, sorted by ticker."""

        def known(table: str, *columns: str) -> list[dict[str, Any]]:
            found = versions_asof(self._store.connection, table, _FOREVER_US, columns=columns)
            rows: list[dict[str, Any]] = found.to_pylist()
            return rows

        series = dict(
            zip(
                self._store.ids("series", list(self._config.series)),
                self._config.series,
                strict=True,
            )
        )
        events = {
            row["event_id"]: row
            for row in known("event_v", "event_ticker", "series_id")
            if row["series_id"] in series
        }
        results = {r["market_id"]: r["settled_us"] for r in known("market_result", "settled_us")}
        found = [
            {
                "ticker": row["ticker"],
                "event": events[row["event_id"]]["event_ticker"],
                "series": series[events[row["event_id"]]["series_id"]],
                "open_us": row["open_us"],
                "close_us": row["close_us"],
                "settled_us": results.get(row["market_id"]),
            }
            for row in known("market_v", "ticker", "event_id", "open_us", "close_us")
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


def _legs(ladders: Sequence[tuple[Event, Sequence[Market]]]) -> list[Market]:
    return [market for _, markets in ladders for market in markets]
