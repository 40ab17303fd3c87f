"""Macro ladders: snapshots of prices before releases, and hourly candles of rate decisions.

``ingest_macro_snapshots``
    A SQLite file of snapshots. What it calls an implied probability is the difference of two
    adjacent prices of a threshold ladder, negative where the ladder violated no-arbitrage; the
    prices come back as sums from the highest strike down. Rows of made-up buckets (``F-...``) name
    no contract and are left out, counted. Its log of actual values holds levels that it computed
    itself and dates that are not those of the releases: no outcome is taken from it.
``ingest_rate_decisions``
    Market records in the dollar schema, fetched at the time that they all carry, and hourly candles
    of the next meeting without its name. A row belongs to the next meeting that had not closed. Its
    stamp may be the start of its hour, so it is available an hour and the lag after it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from quant_engine.core.errors import EmptyDataError
from quant_engine.kalshi.events import Release, map_events, put_releases
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.fixed import instant_us
from quant_engine.kalshi.exchange.records import Event
from quant_engine.kalshi.exchange.timing import microseconds
from quant_engine.kalshi.exchange.wire import read_list, read_market
from quant_engine.kalshi.recordings.tables import MONTHS, read_rows_csv, read_rows_sqlite
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.kalshi.store.writing import Lags, Sighting, put_events, put_markets

__all__ = ["ingest_macro_snapshots", "ingest_rate_decisions"]

_MACRO = "macro snapshots"
_RATES = "rate decisions"
_HOUR_US = 3_600_000_000
# Local time of day in Washington at which each kind of number comes out.
_CLOCK = {"fomc": time(14, 0)}
_MORNING = time(8, 30)
_KINDS = {
    "KXCPIYOY": "cpi", "KXCPICORE": "cpi", "KXGDP": "gdp", "KXPAYROLLS": "payrolls",
    "KXFEDDECISION": "fomc",
}  # fmt: skip


def ingest_macro_snapshots(store: KalshiStore, path: Path) -> Counter[str]:
    """Store the snapshots of macro ladders.

    Parameters
    ----------
    store : KalshiStore
        Where.
    path : Path
        The SQLite file.

    Returns
    -------
    Counter
        New rows by table; ``bucket without a contract`` and ``price outside 0 to 1`` count what
        could not be stored.

    Raises
    ------
    EmptyDataError
        When there is no snapshot.
    """
    rows = read_rows_sqlite(
        path,
        "SELECT contract_series, strike_structure, contract_code, strike, is_synthetic, timestamp, "
        "implied_probability FROM v_contract_details ORDER BY id",
    )
    if not rows:
        raise EmptyDataError(str(path), wanted="snapshots", got="none", hint="Fetch it again.")
    first_us = min(instant_us(row[5]) for row in rows)
    written = Counter({"bucket without a contract": sum(bool(row[4]) for row in rows)})
    ladders: dict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for series, structure, code, strike, is_synthetic, stamp, mass in rows:
        if not is_synthetic and structure == "cumulative":
            ladders[series, stamp][code] = (strike, mass)
    with store.transaction():
        written += _put_calendar(store, path, first_us)
        written += _put_ladders(store, ladders)
        written += _put_prices(store, ladders)
    return +written


def _put_ladders(
    store: KalshiStore, ladders: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]]
) -> Counter[str]:
    first: dict[str, tuple[str, float, int]] = {}
    for (event, stamp), legs in ladders.items():
        at = instant_us(stamp)
        for code, (strike, _) in legs.items():
            if code not in first or at < first[code][2]:
                first[code] = (event, strike, at)
    events = sorted({event for event, _, _ in first.values()})
    seen = {e: min(at for event, _, at in first.values() if event == e) for e in events}
    written = Counter[str]()
    for event in events:
        record = Event(
            ticker=event, series_ticker=event.split("-", maxsplit=1)[0], mutually_exclusive=False
        )
        written += put_events(store, [record], Sighting(seen[event], _MACRO))
    written["market_v"] += store.record_versions(
        "market_v",
        {
            "market_id": store.ids("market", list(first)),
            "ticker": list(first),
            "event_id": store.ids("event", [event for event, _, _ in first.values()]),
            # The file says "at least" for its thresholds, and it is the file's word.
            "strike_type": ["greater_or_equal"] * len(first),
            "floor_strike": [float(strike) for _, strike, _ in first.values()],
            "strike_basis": ["recorded_text"] * len(first),
            "recorded_us": [at for _, _, at in first.values()],
            "avail_us": [at for _, _, at in first.values()],
            "avail_basis": "recorded",
            "src": _MACRO,
        },
    )
    return written


def _put_prices(
    store: KalshiStore, ladders: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]]
) -> Counter[str]:
    names: list[str] = []
    times: list[int] = []
    prices: list[int] = []
    n_outside = 0
    for (_, stamp), legs in ladders.items():
        ordered = sorted(legs.items(), key=lambda leg: -leg[1][0])
        total = np.cumsum([round(mass * 10_000) for _, (_, mass) in ordered])
        for (code, _), price in zip(ordered, total.tolist(), strict=True):
            if 0 <= price <= 10_000:
                names.append(code)
                times.append(instant_us(stamp))
                prices.append(price)
            else:
                n_outside += 1
    written = Counter({"price outside 0 to 1": n_outside})
    written["quote"] += store.append(
        "quote",
        {
            "market_id": store.ids("market", names),
            "event_us": times,
            "ordinal": 0,
            "last_e4": prices,
            "book_ok": True,
            "recorded_us": times,
            "avail_us": times,
            "avail_basis": "recorded",
            "src": _MACRO,
        },
    )
    return written


def _put_calendar(store: KalshiStore, path: Path, first_us: int) -> Counter[str]:
    """Store the file's calendar of releases and which event each decides."""
    rows = read_rows_sqlite(
        path, "SELECT DISTINCT type, event_date, label FROM event_annotations ORDER BY 2, 1"
    )
    dates = {}
    for kind, date, label in rows:
        # "CPI (Apr)" speaks about a month, "GDP Q1 2026 (Advance)" is known by its day.
        period = label[label.find("(") + 1 : label.find(")")]
        dates[kind, date if kind == "gdp" else period.upper()[:3]] = (date, label)
    events = [row[0] for row in read_rows_sqlite(path, "SELECT code FROM contract_series")]
    places: dict[str, tuple[str, str]] = {}
    due: dict[str, tuple[Release, int]] = {}
    for event in events:
        series, _, suffix = event.partition("-")
        kind = _KINDS.get(series)
        token = suffix[2:5]
        if kind == "gdp":
            token = f"20{suffix[:2]}-{MONTHS.index(suffix[2:5]) + 1:02d}-{suffix[5:7]}"
        if kind is None or (kind, token) not in dates:
            continue
        date, label = dates[kind, token]
        release = Release(f"{label} {date}", family=kind, reference_period=suffix)
        places[event] = (release.name, f"{kind} {date}")
        due[release.name] = (release, _local_us(date, _CLOCK.get(kind, _MORNING)))
    fact = {
        "recorded_us": first_us, "avail_us": first_us, "avail_basis": "recorded", "src": _MACRO,
    }  # fmt: skip
    releases = [release for release, _ in due.values()]
    written = put_releases(
        store, releases, [us for _, us in due.values()], facts=[fact] * len(releases)
    )
    return written + map_events(store, places, facts=[fact] * len(places))


def _local_us(date: str, clock: time) -> int:
    day = datetime.fromisoformat(date).date()
    return microseconds(datetime.combine(day, clock, tzinfo=ZoneInfo("America/New_York")))


def ingest_rate_decisions(
    store: KalshiStore, folder: Path, *, drift: DriftLog | None = None, lags: Lags | None = None
) -> Counter[str]:
    """Store the market records and the hourly candles of rate decisions.

    Parameters
    ----------
    store : KalshiStore
        Where.
    folder : Path
        Holds ``data/kalshi_markets.csv`` and ``notebooks/check.csv``.
    drift : DriftLog, optional
        Counts what was not understood.
    lags : Lags, optional
        Delay of a candle.

    Returns
    -------
    Counter
        New rows by table.
    """
    log = DriftLog() if drift is None else drift
    frame = read_rows_csv(folder / "data/kalshi_markets.csv")
    records = [_as_answered(row) for row in frame.to_dict("records")]
    markets = read_list(read_market, records, log)
    fetched_us = max(market.updated_us or 0 for market in markets)
    sighting = Sighting(fetched_us, _RATES, "assumed", lags or Lags())
    closes = {m.event_ticker: m.close_us for m in markets if m.event_ticker and m.close_us}
    opened: dict[str, int] = {}
    for market in markets:
        if market.event_ticker and market.open_us is not None:
            before = opened.get(market.event_ticker, market.open_us)
            opened[market.event_ticker] = min(before, market.open_us)
    events = [
        Event(ticker=ticker, series_ticker="KXFEDDECISION", mutually_exclusive=True)
        for ticker in sorted(closes)
    ]
    with store.transaction():
        written = put_events(store, events, sighting, listed_us=opened)
        written += put_markets(store, markets, sighting)
        written["candle"] += _put_hours(store, folder / "notebooks/check.csv", closes, sighting)
    return written


def _as_answered(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A line as the exchange wrote it: texts stay texts, words become flags, blanks are absent."""
    words = {"True": True, "False": False}
    found: dict[str, Any] = {}
    for name, text in row.items():
        if name.endswith("_fp") and text:
            found[name] = f"{float(text):.2f}"
        elif text:
            found[name] = words.get(text, text)
    return found


def _put_hours(
    store: KalshiStore, path: Path, closes: Mapping[str, int], sighting: Sighting
) -> int:
    frame = read_rows_csv(path)
    stamps = [microseconds(datetime.fromisoformat(text)) for text in frame["timestamp"]]
    meetings = sorted((us, ticker) for ticker, us in closes.items())
    nearest = [next((t for us, t in meetings if us > stamp), None) for stamp in stamps]
    n_new = 0
    for leg in ("C25", "C26", "H0", "H25", "H26"):
        chosen = [
            k for k, (event, text) in enumerate(zip(nearest, frame[f"close_{leg}"], strict=True))
            if event is not None and text != "" and float(text) >= 0.0
        ]  # fmt: skip

        def column(name: str, scale: float, leg: str = leg, chosen: list[int] = chosen) -> Any:
            texts = frame[f"{name}_{leg}"].to_numpy()[chosen]
            values = np.array([float(text) if text else np.nan for text in texts])
            return [None if not v >= 0.0 else round(v * scale) for v in values]

        end_us = np.array(stamps, dtype=np.int64)[chosen] + _HOUR_US
        volume = column("volume", 100.0)
        n_new += store.append(
            "candle",
            sighting.facts()
            | {f"px_{n[0]}_e4": column(n, 1e4) for n in ("open", "high", "low", "close")}
            | {
                "market_id": store.ids("market", [f"{nearest[k]}-{leg}" for k in chosen]),
                "period_min": 60,
                "end_us": end_us,
                # The candles go on after the market records were fetched.
                "recorded_us": np.maximum(end_us, sighting.recorded_us),
                "px_mean_e6": column("mean", 1e6),
                "volume_c2": volume,
                "oi_c2": column("open_interest", 100.0),
                # An hour without a trade repeats the last price.
                "synthetic": [v == 0 for v in volume],
                "avail_us": end_us + sighting.lags.candle_us,
                "avail_basis": "candle_end+lag",
            },
        )
    return n_new
