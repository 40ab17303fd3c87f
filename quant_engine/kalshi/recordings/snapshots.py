"""Small recordings of quotes: history of 2024, minute prices of a site, and full books.

``ingest_quote_history``
    Bid and ask changes of 46 markets in whole seconds, several per second in their order. A
    ``_yes_price`` of 0 means that nobody traded, a bid of 0 and an ask of 100 that nobody quoted.
    Beside them stand a catalogue and books without a time: they are available from the last change
    of the history on, which is the earliest moment at which they can have been fetched.
``ingest_minute_prices``
    One CSV per event with a price per leg and minute, in cents with decimals, and no ticker: a leg
    is named by its event and its label. A minute is available after it ended.
``ingest_book_snapshots``
    Quotes and all levels of a ladder, once a minute, recorded at the moment that they carry.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.core.errors import EmptyDataError
from quant_engine.kalshi.exchange.codec import decode
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.fixed import cents_e4, count_c2, seconds_us
from quant_engine.kalshi.exchange.records import Event, Market
from quant_engine.kalshi.exchange.timing import microseconds
from quant_engine.kalshi.exchange.wire import read_book, read_event, read_list, read_market
from quant_engine.kalshi.recordings.tables import day_end_us, read_rows_csv, read_rows_parquet
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.kalshi.store.writing import Lags, Sighting, put_events, put_markets

__all__ = ["ingest_book_snapshots", "ingest_minute_prices", "ingest_quote_history", "put_book"]

_MINUTE_US = 60_000_000


def _bare(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records whose field names lost nothing but the underscore before them."""
    return [
        {k.removeprefix("_"): v for k, v in record.items() if k != "discriminator"}
        for record in records
    ]


def _one_key_each(value: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [pair for entry in value for pair in entry.items()]


def ingest_quote_history(
    store: KalshiStore, folder: Path, *, drift: DriftLog | None = None, lags: Lags | None = None
) -> Counter[str]:
    """Store the quote history of July 2024 and the catalogue beside it.

    Parameters
    ----------
    store : KalshiStore
        Where.
    folder : Path
        Holds ``market_history.json``, ``market_data.json``, ``event_data.json`` and
        ``orderbook_data.json``.
    drift : DriftLog, optional
        Counts what was not understood.
    lags : Lags, optional
        Delay of a change, the one of prints.

    Returns
    -------
    Counter
        New rows by table.
    """
    log = DriftLog() if drift is None else drift
    loaded = {
        name: decode((folder / f"{name}.json").read_bytes(), name=name)
        for name in ("market_history", "market_data", "event_data", "orderbook_data")
    }
    history = [(ticker, rows) for ticker, rows in _one_key_each(loaded["market_history"]) if rows]
    fetched_us = max(seconds_us(row["_ts"]) for _, rows in history for row in rows)
    sighting = Sighting(fetched_us, "quote history 2024-07", "assumed", lags or Lags())
    written = Counter[str]()
    with store.transaction():
        written["quote"] += _put_history(store, history, sighting)
        written += put_events(
            store, read_list(read_event, _bare(loaded["event_data"]), log), sighting
        )
        records = [r for _, rows in _one_key_each(loaded["market_data"]) for r in rows]
        written += put_markets(store, read_list(read_market, _bare(records), log), sighting)
        for ticker, record in _one_key_each(loaded["orderbook_data"]):
            written += put_book(store, ticker, _bare([record])[0], sighting, drift=log)
    return written


def _put_history(
    store: KalshiStore, history: Sequence[tuple[str, list[dict[str, Any]]]], sighting: Sighting
) -> int:
    rows = []
    for ticker, changes in history:
        for second, together in itertools.groupby(changes, key=lambda row: row["_ts"]):
            rows += [(ticker, seconds_us(second), n, row) for n, row in enumerate(together)]
    event_us = np.array([at for _, at, _, _ in rows], dtype=np.int64)

    def price(name: str, nobody: int) -> list[int | None]:
        return [None if r[name] == nobody else cents_e4(r[name]) for *_, r in rows]

    return store.append(
        "quote",
        sighting.facts()
        | {
            "market_id": store.ids("market", [ticker for ticker, *_ in rows]),
            "event_us": event_us,
            "ordinal": [n for _, _, n, _ in rows],
            "bid_e4": price("_yes_bid", 0),
            "ask_e4": price("_yes_ask", 100),
            "last_e4": price("_yes_price", 0),
            "volume_c2": [count_c2(r["_volume"]) for *_, r in rows],
            "oi_c2": [count_c2(r["_open_interest"]) for *_, r in rows],
            "book_ok": True,
            "avail_us": event_us + sighting.lags.trade_us,
            "avail_basis": "assumed",
        },
    )


def put_book(
    store: KalshiStore, ticker: str, record: Any, sighting: Sighting, *, drift: DriftLog
) -> Counter[str]:
    """Store all levels of one market's book.

    Parameters
    ----------
    store : KalshiStore
        Where.
    ticker : str
        Market.
    record : object
        As `exchange.wire.read_book` takes it.
    sighting : Sighting
        The fetch.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    Counter
        New rows by table.
    """
    book = read_book(ticker, record, drift)
    levels = [("yes", *level) for level in book.yes] + [("no", *level) for level in book.no]
    if not levels:
        return Counter()
    columns = {
        "market_id": store.ids("market", [ticker]) * len(levels),
        "event_us": [sighting.recorded_us] * len(levels),
        "side": [side for side, _, _ in levels],
        "price_e4": [price for _, price, _ in levels],
        "size_c2": [size for _, _, size in levels],
    }
    return Counter({"book_level": store.append("book_level", columns | sighting.facts())})


def ingest_minute_prices(
    store: KalshiStore, folder: Path, *, zone: str = "America/New_York"
) -> Counter[str]:
    """Store minute prices of temperature ladders as a site exports them.

    Parameters
    ----------
    store : KalshiStore
        Where.
    folder : Path
        Files ``kalshi-price-history-SERIES-DAY-minute.csv``.
    zone : str
        Time zone of the city.

    Returns
    -------
    Counter
        New rows by table.

    Raises
    ------
    EmptyDataError
        When there is no such file.
    """
    paths = sorted(folder.glob("kalshi-price-history-*-minute.csv"))
    if not paths:
        raise EmptyDataError(
            str(folder), wanted="minute price files", got="none", hint="Give another folder."
        )
    written = Counter[str]()
    for path in paths:
        series, day = path.stem.upper().split("-")[3:5]
        frame = read_rows_csv(path)
        starts = _instants(frame["timestamp"])
        event = f"{series}-{day}"
        first = Sighting(int(starts.min()), "minute prices", "assumed")
        labels = [name for name in frame.columns if name != "timestamp"]
        with store.transaction():
            written += put_events(store, [_day_event(event, series, day_end_us(day, zone))], first)
            markets = [
                Market(ticker=f"{event}[{label}]", event_ticker=event, yes_sub_title=label)
                for label in labels
            ]
            written += put_markets(store, markets, first, text_strikes=True)
            for market, label in zip(markets, labels, strict=True):
                has_price = (frame[label] != "").to_numpy()
                prices = frame[label][has_price].astype(float).to_numpy()
                written["candle"] += _put_minutes(
                    store, market.ticker, starts[has_price] + _MINUTE_US, prices
                )
    return written


def _instants(texts: pd.Series) -> np.ndarray:
    stamps = pd.to_datetime(texts, utc=True).dt.as_unit("us")
    return np.asarray(stamps.dt.tz_localize(None), dtype="datetime64[us]").astype(np.int64)


def _put_minutes(store: KalshiStore, ticker: str, end_us: np.ndarray, cents: np.ndarray) -> int:
    if not len(end_us):
        return 0
    return store.append(
        "candle",
        {
            "market_id": store.ids("market", [ticker]) * len(end_us),
            "period_min": 1,
            "end_us": end_us,
            "px_c_e4": np.rint(cents * 100.0).astype(np.int32),
            "recorded_us": end_us,
            "avail_us": end_us + Lags().candle_us,
            "avail_basis": "candle_end+lag",
            "src": "minute prices",
        },
    )


def _day_event(ticker: str, series: str, strike_us: int) -> Event:
    return Event(ticker=ticker, series_ticker=series, mutually_exclusive=True, strike_us=strike_us)


def ingest_book_snapshots(
    store: KalshiStore, folder: Path, *, zone: str = "America/Chicago"
) -> Counter[str]:
    """Store recorded ladders with all levels.

    Parameters
    ----------
    store : KalshiStore
        Where.
    folder : Path
        Holds ``market_snapshots`` and ``orderbook_snapshots``, Parquet files per day.
    zone : str
        Time zone of the city.

    Returns
    -------
    Counter
        New rows by table.
    """
    drift = DriftLog()
    written = Counter[str]()
    looks = [
        row for path in sorted((folder / "market_snapshots").glob("*.parquet"))
        for row in read_rows_parquet(path)
    ]  # fmt: skip
    levels = [
        row for path in sorted((folder / "orderbook_snapshots").glob("*.parquet"))
        for row in read_rows_parquet(path)
    ]  # fmt: skip
    with store.transaction():
        for stamp in sorted({row["snapshot_ts"] for row in looks}):
            sighting = Sighting(microseconds(stamp), "book snapshots")
            shown = [row for row in looks if row["snapshot_ts"] == stamp]
            for ticker in sorted({row["event_ticker"] for row in shown}):
                series, day = ticker.split("-")
                event = _day_event(ticker, series, day_end_us(day, zone))
                written += put_events(store, [event], sighting)
            fields = ("yes_bid", "yes_ask", "last_price", "volume", "open_interest")
            markets = [
                read_market(
                    {"ticker": r["market_ticker"], "event_ticker": r["event_ticker"],
                     "yes_sub_title": r["subtitle"]} | {name: r[name] for name in fields},
                    drift,
                )
                for r in shown
            ]  # fmt: skip
            written += put_markets(store, markets, sighting, text_strikes=True)
            written += _put_snapshot_books(store, levels, sighting, stamp=stamp)
    return written


def _put_snapshot_books(
    store: KalshiStore, levels: Sequence[Mapping[str, Any]], sighting: Sighting, *, stamp: Any
) -> Counter[str]:
    rows = [row for row in levels if row["snapshot_ts"] == stamp]
    if not rows:
        return Counter()
    columns = {
        "market_id": store.ids("market", [row["market_ticker"] for row in rows]),
        "event_us": [sighting.recorded_us] * len(rows),
        "side": [row["side"] for row in rows],
        "price_e4": [cents_e4(row["price_cents"]) for row in rows],
        # Whole contracts, which the file holds as floats.
        "size_c2": [round(row["quantity"] * 100) for row in rows],
    }
    return Counter({"book_level": store.append("book_level", columns | sighting.facts())})
