"""Records of the exchange into rows, each with when it could be known and why.

Two rules keep hindsight out of the past:

* What only a later answer knows (status, result, final close time, last price, volume, open
  interest) is available from the moment that somebody fetched it, never from when the market ran.
* What stood in the listing (event, strikes, label, opening) is available from the opening, basis
  ``assumed``, when the fetch came later. Which strike fields a record still has is itself knowledge
  of the outcome: the exchange dropped them from winners. So all legs of an event are read in one
  way, by their fields if every leg has them, else all by their labels, else none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.hashing import canonical_json, sha256_text
from quant_engine.kalshi.exchange.records import Candle, Event, Market, Series, Trade
from quant_engine.kalshi.payoffs import Contract, parse_recorded_text
from quant_engine.kalshi.store.database import KalshiStore

__all__ = [
    "Lags",
    "Sighting",
    "equal_strikes",
    "put_candles",
    "put_events",
    "put_markets",
    "put_series",
    "put_trades",
    "trade_availability",
]

_OVER = frozenset({"closed", "determined", "disputed", "amended", "finalized", "settled"})
_SHOWN = ("yes_bid_e4", "yes_ask_e4", "last_e4", "volume_c2", "open_interest_c2")
IntVector = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lags:
    """How long after an event a live system has it, microseconds.

    Parameters
    ----------
    trade_us : int
        From a print to its row in the public list.
    candle_us : int
        From the end of a period to its candle.
    recorded_within_us : int
        A print that was fetched so soon after it happened counts as recorded.

    Notes
    -----
    The exchange documents none of them; the defaults are ample for a poll of once a second.

    Examples
    --------
    >>> Lags().trade_us
    1000000
    """

    trade_us: int = 1_000_000
    candle_us: int = 60_000_000
    recorded_within_us: int = 60_000_000

    def __post_init__(self) -> None:
        if min(self.trade_us, self.candle_us, self.recorded_within_us) < 0:
            raise ConfigError("lags", wanted="at least 0", got=self, hint="Use the defaults.")


@dataclass(frozen=True)
class Sighting:
    """Where and when records were fetched.

    Parameters
    ----------
    recorded_us : int
        Time of the fetch, microseconds UTC.
    src : str
        Name of the source.
    basis : str
        What that time rests on: ``recorded``, or ``assumed`` for an archive that does not say when
        it was fetched.
    lags : Lags
        Delays of what is fetched long after it happened.
    """

    recorded_us: int
    src: str
    basis: str = "recorded"
    lags: Lags = field(default_factory=Lags)

    def facts(self) -> dict[str, object]:
        """Columns of a fact that became available with this fetch."""
        return {
            "recorded_us": self.recorded_us, "avail_us": self.recorded_us,
            "avail_basis": self.basis, "src": self.src,
        }  # fmt: skip


def trade_availability(
    event_us: IntVector, sighting: Sighting
) -> tuple[IntVector, npt.NDArray[np.str_]]:
    """When prints could be known.

    Parameters
    ----------
    event_us : ndarray of int64, shape (n,)
        Times of the prints, microseconds UTC.
    sighting : Sighting
        The fetch.

    Returns
    -------
    avail_us : ndarray of int64, shape (n,)
        The fetch where it followed at once, else the print and its lag.
    basis : ndarray of str, shape (n,)
        ``recorded`` or ``trade_ts+lag``.

    Examples
    --------
    >>> seen = Sighting(100_000_000, "x")
    >>> avail, basis = trade_availability(np.array([1, 99_000_000]), seen)
    >>> avail.tolist(), basis.tolist()
    ([1000001, 100000000], ['trade_ts+lag', 'recorded'])
    """
    lags = sighting.lags
    soon = (sighting.recorded_us - event_us <= lags.recorded_within_us) & (
        sighting.basis == "recorded"
    )
    avail = np.where(soon, sighting.recorded_us, event_us + lags.trade_us)
    return avail, np.where(soon, "recorded", "trade_ts+lag")


def equal_strikes(markets: Sequence[Market], *, text_only: bool = False) -> dict[str, Contract]:
    """Strikes of one event's legs, all read in the same way.

    Parameters
    ----------
    markets : sequence of Market
        Every leg of one event.
    text_only : bool
        Read the labels even where every leg has its fields, for archives that mix both.

    Returns
    -------
    dict of str to Contract
        Ticker to strikes; empty when neither way works for every leg.

    Examples
    --------
    >>> winner = Market(ticker="B", yes_sub_title="84° to 85°")
    >>> loser = Market(ticker="A", strike_type="less", cap_strike=84, yes_sub_title="83° or below")
    >>> {ticker: c.basis for ticker, c in equal_strikes([winner, loser]).items()}
    {'B': 'recorded_text', 'A': 'recorded_text'}
    """
    if not text_only and all(market.strike_type for market in markets):
        return {
            m.ticker: Contract(m.ticker, m.strike_type or "", m.floor_strike, m.cap_strike)
            for m in markets
        }
    try:
        return {m.ticker: parse_recorded_text(m.ticker, m.yes_sub_title or "") for m in markets}
    except DataError:
        return {}


def put_series(store: KalshiStore, series: Sequence[Series], sighting: Sighting) -> Counter[str]:
    """Store series and their fee rule.

    Parameters
    ----------
    store : KalshiStore
        Where.
    series : sequence of Series
        Records.
    sighting : Sighting
        The fetch.

    Returns
    -------
    Counter
        New rows by table.
    """
    if not series:
        return Counter()
    numbers = store.ids("series", [s.ticker for s in series])
    names = "title category frequency fee_type fee_multiplier".split()
    columns = {name: [getattr(s, name) for s in series] for name in names}
    written = Counter[str]()
    written["series_v"] += store.record_versions(
        "series_v",
        {"series_id": numbers, "series_ticker": [s.ticker for s in series]}
        | columns | sighting.facts(),
    )  # fmt: skip
    paying = [(n, s) for n, s in zip(numbers, series, strict=True) if s.fee_type is not None]
    known = _newest_fees(store)
    changed = [(n, s) for n, s in paying if known.get(n) != (s.fee_type, s.fee_multiplier)]
    if changed:
        written["fee_schedule"] += store.append(
            "fee_schedule",
            {
                "scope": "series",
                "scope_id": [n for n, _ in changed],
                "fee_type": [s.fee_type for _, s in changed],
                "multiplier": [s.fee_multiplier for _, s in changed],
                # When it began is not said: it holds at the latest from the fetch on.
                "effective_us": [sighting.recorded_us] * len(changed),
            }
            | sighting.facts(),
        )
    return written


def _newest_fees(store: KalshiStore) -> dict[int, tuple[str | None, float | None]]:
    rows = store.connection.execute(
        "SELECT scope_id, fee_type, multiplier FROM fee_schedule WHERE scope = 'series' "
        "ORDER BY effective_us"
    ).fetchall()
    return {number: (kind, multiplier) for number, kind, multiplier in rows}


def put_events(
    store: KalshiStore,
    events: Sequence[Event],
    sighting: Sighting,
    *,
    listed_us: Mapping[str, int] | None = None,
) -> Counter[str]:
    """Store events.

    Parameters
    ----------
    store : KalshiStore
        Where.
    events : sequence of Event
        Records.
    sighting : Sighting
        The fetch.
    listed_us : mapping of str to int, optional
        Ticker to the opening of its first market: from then on what the listing said is available,
        where the fetch came later.

    Returns
    -------
    Counter
        New rows by table.
    """
    if not events:
        return Counter()
    listed = {} if listed_us is None else listed_us
    numbers = store.ids("event", [e.ticker for e in events])
    series = store.ids("series", [e.series_ticker or "" for e in events])
    names = (
        "title sub_title category mutually_exclusive collateral_return_type strike_us "
        "strike_period fee_type_override fee_multiplier_override"
    ).split()
    rows = []
    for event, number, series_id in zip(events, numbers, series, strict=True):
        row = {name: getattr(event, name) for name in names} | {
            "event_id": number,
            "event_ticker": event.ticker,
            "series_id": series_id if event.series_ticker else None,
        }
        opening = listed.get(event.ticker)
        if opening is not None and opening < sighting.recorded_us:
            rows.append(row | sighting.facts() | {"avail_us": opening, "avail_basis": "assumed"})
        rows.append(row | sighting.facts())
    return Counter({"event_v": store.record_versions("event_v", _columns(rows))})


def _columns(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    names = sorted({name for row in rows for name in row})
    return {name: [row.get(name) for row in rows] for name in names}


def put_markets(
    store: KalshiStore,
    markets: Sequence[Market],
    sighting: Sighting,
    *,
    text_strikes: bool = False,
) -> Counter[str]:
    """Store legs of events: listing, state, results and the quotes of this moment.

    Parameters
    ----------
    store : KalshiStore
        Where.
    markets : sequence of Market
        Every leg of one or more events.
    sighting : Sighting
        The fetch.
    text_strikes : bool
        Read all strikes from labels; see :func:`equal_strikes`.

    Returns
    -------
    Counter
        New rows by table.
    """
    if not markets:
        return Counter()
    legs: dict[str | None, list[Market]] = {}
    for market in markets:
        legs.setdefault(market.event_ticker, []).append(market)
    strikes: dict[str, Contract] = {}
    for ladder in legs.values():
        strikes |= equal_strikes(ladder, text_only=text_strikes)
    numbers = store.ids("market", [m.ticker for m in markets])
    events = store.ids("event", [m.event_ticker or "" for m in markets])
    versions = []
    for market, number, event_id in zip(markets, numbers, events, strict=True):
        listing = _listing(market, strikes.get(market.ticker)) | {
            "market_id": number, "event_id": event_id if market.event_ticker else None,
        }  # fmt: skip
        opening = _listed_us(market)
        if opening is not None and opening < sighting.recorded_us:
            versions.append(
                listing | sighting.facts() | {"avail_us": opening, "avail_basis": "assumed"}
            )
        versions.append(listing | _state(market) | sighting.facts())
    written = Counter({"market_v": store.record_versions("market_v", _columns(versions))})
    written += _put_results(store, dict(zip(numbers, markets, strict=True)), sighting)
    shown = [
        (number, market)
        for number, market in zip(numbers, markets, strict=True)
        if any(getattr(market, name) is not None for name in _SHOWN)
    ]
    if shown:
        written["quote"] += store.append(
            "quote",
            _sighted_quotes([n for n, _ in shown], [m for _, m in shown])
            | {"event_us": [sighting.recorded_us] * len(shown), "ordinal": 0}
            | sighting.facts(),
        )
    return written


def _listed_us(market: Market) -> int | None:
    """A leg can be known from its opening, or from its creation where that came later."""
    known = [us for us in (market.created_us, market.open_us) if us is not None]
    return max(known, default=None)


def _listing(market: Market, contract: Contract | None) -> dict[str, object]:
    row: dict[str, object] = {
        name: getattr(market, name)
        for name in (
            "ticker market_type functional_strike yes_sub_title created_us open_us"
        ).split()
    }
    if contract is not None:
        row |= {
            "strike_type": contract.strike_type, "floor_strike": contract.floor_strike,
            "cap_strike": contract.cap_strike, "strike_basis": contract.basis,
        }  # fmt: skip
    if market.rules_primary is not None:
        rules = f"{market.rules_primary}\n{market.rules_secondary or ''}"
        row["rules_hash"] = sha256_text(rules)[:16]
    if market.custom_strike is not None:
        row["custom_strike"] = canonical_json(dict(market.custom_strike))
    return row


def _state(market: Market) -> dict[str, object]:
    """What only the moment of the fetch knows."""
    ranges = [[r.start_e4, r.end_e4, r.step_e4] for r in market.price_ranges]
    return {
        "status": market.status,
        "close_us": market.close_us,
        "close_is_final": market.status in _OVER or bool(market.result),
        "expected_exp_us": market.expected_expiration_us,
        "latest_exp_us": market.latest_expiration_us,
        "can_close_early": market.can_close_early,
        "settlement_timer_s": market.settlement_timer_s,
        "price_ranges": canonical_json(ranges) if ranges else None,
        "notional_e6": market.notional_e6,
        "is_provisional": market.is_provisional,
    }


def _put_results(
    store: KalshiStore, markets: Mapping[int, Market], sighting: Sighting
) -> Counter[str]:
    over = {number: market for number, market in markets.items() if market.result}
    if not over:
        return Counter()
    rows = [
        {
            "market_id": number,
            "result": market.result,
            "settlement_value_e6": market.settlement_value_e6,
            "expiration_value_text": market.expiration_value or None,
            "expiration_value": _number(market.expiration_value),
            "settled_us": market.settled_us,
            "disputed": market.status == "disputed",
        }
        | sighting.facts()
        for number, market in over.items()
    ]
    return Counter({"market_result": store.record_versions("market_result", _columns(rows))})


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        # Some outcomes are words; the text is kept beside.
        return None


def _sighted_quotes(numbers: Sequence[int], markets: Sequence[Market]) -> dict[str, object]:
    def live(name: str) -> list[int | None]:
        # A market that is over shows 0 and 1 dollar: nobody quotes there any more.
        return [None if m.status in _OVER or m.result else getattr(m, name) for m in markets]

    return {
        "market_id": list(numbers),
        "bid_e4": live("yes_bid_e4"),
        "ask_e4": live("yes_ask_e4"),
        "bid_sz_c2": live("yes_bid_size_c2"),
        "ask_sz_c2": live("yes_ask_size_c2"),
        "last_e4": [m.last_e4 for m in markets],
        "volume_c2": [m.volume_c2 for m in markets],
        "oi_c2": [m.open_interest_c2 for m in markets],
        "book_ok": True,
    }


def put_trades(
    store: KalshiStore,
    trades: Sequence[Trade],
    sighting: Sighting,
    *,
    arrived_us: Sequence[int] | None = None,
) -> Counter[str]:
    """Store prints.

    Parameters
    ----------
    store : KalshiStore
        Where.
    trades : sequence of Trade
        Records in any order.
    sighting : Sighting
        The fetch.
    arrived_us : sequence of int, optional
        One per print: when it was heard, where they were not fetched but listened to.

    Returns
    -------
    Counter
        New rows by table; ``trade without time, market or price`` counts what could not be stored.
    """
    heard = [sighting.recorded_us] * len(trades) if arrived_us is None else arrived_us
    pairs = [
        (t, us) for t, us in zip(trades, heard, strict=True)
        if t.created_us is not None and t.ticker is not None and t.yes_price_e4 is not None
    ]  # fmt: skip
    written = Counter({"trade without time, market or price": len(trades) - len(pairs)})
    if not pairs:
        return +written
    pairs.sort(key=lambda pair: (pair[0].created_us or 0, pair[0].trade_id))
    usable = [trade for trade, _ in pairs]
    recorded = np.array([us for _, us in pairs], dtype=np.int64)
    event_us = np.array([t.created_us for t in usable], dtype=np.int64)
    avail, basis = trade_availability(event_us, sighting)
    if arrived_us is not None:
        avail, basis = np.maximum(recorded, event_us), np.full(len(recorded), "recorded")
    names = ("trade_id", "yes_price_e4", "count_c2", "taker_outcome", "is_block")
    written["trade"] += store.append(
        "trade",
        sighting.facts()
        | {name: [getattr(t, name) for t in usable] for name in names}
        | {
            "market_id": store.ids("market", [t.ticker or "" for t in usable]),
            "event_us": event_us,
            "recorded_us": recorded,
            "avail_us": avail,
            "avail_basis": basis,
        },
    )
    return +written


def put_candles(
    store: KalshiStore,
    candles: Mapping[str, Sequence[Candle]],
    sighting: Sighting,
    *,
    period_min: int,
) -> Counter[str]:
    """Store the candles of some markets whose period has ended.

    Parameters
    ----------
    store : KalshiStore
        Where.
    candles : mapping of str to sequence of Candle
        Ticker to records.
    sighting : Sighting
        The fetch; a candle that ends after it is still changing and is left out.
    period_min : int
        Length of the period.

    Returns
    -------
    Counter
        New rows by table; ``candle in progress`` counts those that were left out.
    """
    every = [(ticker, candle) for ticker, found in candles.items() for candle in found]
    kept = [(ticker, c) for ticker, c in every if c.end_us <= sighting.recorded_us]
    written = Counter({"candle in progress": len(every) - len(kept)})
    if not kept:
        return +written
    ended = [candle for _, candle in kept]
    end_us = np.array([candle.end_us for candle in ended], dtype=np.int64)
    prices = {
        f"{short}_{word[0]}_e4": [getattr(getattr(c, side), f"{word}_e4") for c in ended]
        for short, side in (("bid", "bid"), ("ask", "ask"), ("px", "price"))
        for word in ("open", "high", "low", "close")
    }
    written["candle"] += store.append(
        "candle",
        sighting.facts()
        | prices
        | {
            "market_id": store.ids("market", [ticker for ticker, _ in kept]),
            "period_min": period_min,
            "end_us": end_us,
            "px_mean_e6": [c.mean_e6 for c in ended],
            "px_prev_e4": [c.previous_e4 for c in ended],
            "volume_c2": [c.volume_c2 for c in ended],
            "oi_c2": [c.open_interest_c2 for c in ended],
            "synthetic": False,
            "avail_us": end_us + sighting.lags.candle_us,
            "avail_basis": "candle_end+lag",
        },
    )
    return +written
