"""The read-only client: endpoints as typed methods, pages as one list without repetitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from quant_engine.core.errors import ConfigError, SchemaMismatchError, SourceUnavailableError
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.fixed import instant_us
from quant_engine.kalshi.exchange.limits import RateLimit, read_limit
from quant_engine.kalshi.exchange.records import (
    BookSnapshot,
    Candle,
    Event,
    Market,
    Series,
    Trade,
)
from quant_engine.kalshi.exchange.transport import Params, Transport
from quant_engine.kalshi.exchange.wire import (
    read_book,
    read_candle,
    read_event,
    read_list,
    read_market,
    read_series,
    read_trade,
)

__all__ = ["PERIODS_MIN", "Cutoff", "KalshiClient", "Span"]

PERIODS_MIN = (1, 60, 1440)
"""Candle lengths that the exchange offers, minutes."""
_MAX_PAGES = 100_000
_MAX_RESTARTS = 3
_TRADES_PER_PAGE = 1000
Record = TypeVar("Record", Event, Market, Trade)


@dataclass(frozen=True)
class Cutoff:
    """Where the historical tier ends and the live one begins; both move forward.

    Parameters
    ----------
    trades_us : int
        Trades created before it are historical, microseconds UTC.
    markets_us : int
        Markets settled before it, and their candles, are historical.
    """

    trades_us: int
    markets_us: int


@dataclass(frozen=True)
class Span:
    """A half-open stretch of time ``[start, end)`` in microseconds UTC."""

    start_us: int
    end_us: int

    def __post_init__(self) -> None:
        if self.start_us >= self.end_us:
            raise ConfigError(
                "span", wanted="a start before its end", got=self, hint="Exchange the two."
            )


def _seconds(span: Span) -> list[tuple[str, str]]:
    # The exchange filters by whole, inclusive seconds: ask for the covering ones, cut afterwards.
    return [
        ("min_ts", str(span.start_us // 1_000_000)),
        ("max_ts", str(-(-span.end_us // 1_000_000))),
    ]


def _key(record: Event | Market | Trade) -> str:
    return record.trade_id if isinstance(record, Trade) else record.ticker


class KalshiClient:
    """Reads the exchange; there is no method that changes anything.

    Parameters
    ----------
    transport : Transport
        Signed and paced GET requests.
    drift : DriftLog
        Counts what was not understood.
    """

    def __init__(self, transport: Transport, drift: DriftLog) -> None:
        self.transport = transport
        self.drift = drift

    def _object(self, path: str, key: str, params: Params = ()) -> Any:
        value = self.transport.get(path, params).value
        if not isinstance(value, dict) or key not in value:
            raise SchemaMismatchError(
                path,
                wanted=f"an object with the field {key}",
                got=f"fields {sorted(value)}" if isinstance(value, dict) else type(value).__name__,
                hint="The exchange changed its format; compare with the API's changelog.",
            )
        return value[key]

    def is_trading(self) -> bool:
        """True while the exchange matches orders."""
        return bool(self._object("/exchange/status", "trading_active"))

    def cutoff(self) -> Cutoff:
        """Where the historical tier ends now."""
        value = self.transport.get("/historical/cutoff").value
        fields = value if isinstance(value, dict) else {}
        return Cutoff(
            trades_us=instant_us(fields.get("trades_created_ts")),
            markets_us=instant_us(fields.get("market_settled_ts")),
        )

    def adopt_account_limits(self) -> RateLimit:
        """Read the account's limits and pace all further requests by them."""
        limits = self.transport.get("/account/limits").value
        costs = self.transport.get("/account/endpoint_costs").value
        limit = read_limit(limits, costs)
        self.transport.bucket.update(limit)
        return limit

    def series(self) -> list[Series]:
        """Every series; one answer, no pages."""
        return read_list(read_series, self._object("/series", "series"), self.drift)

    def event(self, ticker: str) -> tuple[Event, list[Market]]:
        """One event and the markets of its ladder."""
        path = f"/events/{ticker}"
        value = self.transport.get(path).value
        if not isinstance(value, dict) or "event" not in value:
            raise SchemaMismatchError(
                path, wanted="an object with the field event", got=value, hint="Ask again."
            )
        event = read_event(value["event"], self.drift)
        # With nested markets they stand inside the event, without them beside it.
        records = value["event"].get("markets") or value.get("markets")
        return event, read_list(read_market, records, self.drift)

    def events(self, *, series: str | None = None, status: str | None = None) -> list[Event]:
        """Events of a series and filter status; all where None.

        Parameters
        ----------
        series : str, optional
            Ticker.
        status : str, optional
            ``unopened``, ``open``, ``closed`` or ``settled``.

        Returns
        -------
        list of Event
            Each once, in the order of the exchange.
        """
        params = _given(("series_ticker", series), ("status", status), ("limit", "200"))
        return self._pages("/events", params, "events", read_event)

    def market(self, ticker: str) -> Market:
        """One market of the live tier."""
        return read_market(self._object(f"/markets/{ticker}", "market"), self.drift)

    def markets(
        self,
        *,
        event: str | None = None,
        series: str | None = None,
        status: str | None = None,
        after_us: int | None = None,
        historical: bool = False,
    ) -> list[Market]:
        """Markets of an event or a series and filter status.

        Parameters
        ----------
        event : str, optional
            Ticker; all events where None.
        series : str, optional
            Ticker; all series where None.
        status : str, optional
            One filter word: ``unopened``, ``open``, ``paused``, ``closed`` or ``settled``.
        after_us : int, optional
            Only markets that close at or after this moment, microseconds UTC; not beside a status
            other than ``closed``.
        historical : bool
            Ask the historical tier instead of the live one.

        Returns
        -------
        list of Market
            Each once, in the order of the exchange.
        """
        params = _given(
            ("event_ticker", event),
            ("series_ticker", series),
            ("status", status),
            ("min_close_ts", None if after_us is None else str(after_us // 1_000_000)),
            ("limit", "1000"),
        )
        path = "/historical/markets" if historical else "/markets"
        return self._pages(path, params, "markets", read_market)

    def book(self, ticker: str) -> BookSnapshot:
        """Both ladders of one market."""
        record = self.transport.get(f"/markets/{ticker}/orderbook").value
        fields = record if isinstance(record, dict) else {}
        return read_book(ticker, fields.get("orderbook_fp", fields.get("orderbook")), self.drift)

    def books(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """Ladders of many markets in one request; the key repeats, because a comma list fails."""
        params = [("tickers", ticker) for ticker in tickers]
        found = {}
        for record in self._object("/markets/orderbooks", "orderbooks", params):
            ticker = record["ticker"]
            found[ticker] = read_book(ticker, record.get("orderbook_fp"), self.drift)
        missing = sorted(set(tickers) - found.keys())
        if missing:
            raise SchemaMismatchError(
                "/markets/orderbooks",
                wanted=f"{len(tickers)} books",
                got=f"none of {', '.join(missing)}",
                hint="Ask for the markets one by one.",
            )
        return found

    def trades(self, ticker: str, span: Span, *, historical: bool = False) -> list[Trade]:
        """Prints of one market in one tier.

        Parameters
        ----------
        ticker : str
            Market.
        span : Span
            Time of the prints; a print without a readable time is kept.
        historical : bool
            Ask the historical tier instead of the live one.

        Returns
        -------
        list of Trade
            Each once, oldest first.
        """
        path = "/historical/trades" if historical else "/markets/trades"
        params = [("ticker", ticker), ("limit", str(_TRADES_PER_PAGE)), *_seconds(span)]
        found = self._pages(path, params, "trades", read_trade)
        kept = [
            trade
            for trade in found
            if trade.created_us is None or span.start_us <= trade.created_us < span.end_us
        ]
        return sorted(kept, key=lambda trade: (trade.created_us or 0, trade.trade_id))

    def candles(
        self,
        series: str,
        ticker: str,
        span: Span,
        *,
        period_min: int = 60,
        historical: bool = False,
    ) -> list[Candle]:
        """Candles of one market in one tier.

        Parameters
        ----------
        series : str
            Series of the market; the historical tier does not need it.
        ticker : str
            Market.
        span : Span
            Ends of the periods.
        period_min : int
            1, 60 or 1440.
        historical : bool
            Ask the historical tier instead of the live one.

        Returns
        -------
        list of Candle
            Oldest first; each usable only after its end.

        Raises
        ------
        ConfigError
            For another period.
        """
        if period_min not in PERIODS_MIN:
            raise ConfigError(
                "period_min", wanted=f"one of {PERIODS_MIN}", got=period_min, hint="Use 60."
            )
        root = (
            f"/historical/markets/{ticker}" if historical else f"/series/{series}/markets/{ticker}"
        )
        (_, start), (_, end) = _seconds(span)
        params = [("start_ts", start), ("end_ts", end), ("period_interval", str(period_min))]
        records = self._object(f"{root}/candlesticks", "candlesticks", params)
        found = {candle.end_us: candle for candle in read_list(read_candle, records, self.drift)}
        return [found[end] for end in sorted(found) if span.start_us <= end < span.end_us]

    def _pages(
        self, path: str, params: Params, key: str, read: Callable[[Any, DriftLog], Record]
    ) -> list[Record]:
        """Collect all pages; begin again when the cursor has lost its way.

        Items that appear meanwhile shift the pages, so one may come twice; what an earlier attempt
        has read stays read.
        """
        found: dict[str, Record] = {}
        for _ in range(_MAX_RESTARTS + 1):
            try:
                for records in self._walk(path, params, key):
                    for record in read_list(read, records, self.drift):
                        found.setdefault(_key(record), record)
            except _LostCursorError:
                self.transport.counts["restarted_listing"] += 1
                continue
            return list(found.values())
        raise SourceUnavailableError(
            path,
            wanted="pages that come to an end",
            got=f"a cursor that went in circles or expired {_MAX_RESTARTS + 1} times",
            hint="Try again later with a narrower filter.",
        )

    def _walk(self, path: str, params: Params, key: str) -> Iterator[Any]:
        seen: set[str] = set()
        cursor = ""
        for _ in range(_MAX_PAGES):
            asked = [*params, ("cursor", cursor)] if cursor else list(params)
            try:
                value = self.transport.get(path, asked).value
            except ConfigError as error:
                # A filter that was right on the first page is right on the next: the cursor is not.
                if cursor and "cursor" in str(error.got).lower():
                    raise _LostCursorError from error
                raise
            if not isinstance(value, dict) or key not in value:
                raise SchemaMismatchError(
                    path, wanted=f"an object with the field {key}", got=value, hint="Ask again."
                )
            yield value[key]
            cursor = value.get("cursor") or ""
            if not cursor:
                return
            if cursor in seen:
                raise _LostCursorError
            seen.add(cursor)
        raise _LostCursorError


class _LostCursorError(Exception):
    """The pages of a listing cannot be followed further."""


def _given(*pairs: tuple[str, str | None]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in pairs if value is not None]
