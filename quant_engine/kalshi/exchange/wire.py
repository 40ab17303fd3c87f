"""Wire formats to records: one reader for today's dollar schema and the older cents schema.

Answers, websocket messages and recordings all pass through these functions, so a recording is read
by the code that reads the live exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from quant_engine.core.errors import SchemaMismatchError
from quant_engine.kalshi.exchange.drift import DriftKind, DriftLog
from quant_engine.kalshi.exchange.fields import Choice, Table, read_fields, same
from quant_engine.kalshi.exchange.fixed import (
    ONE_DOLLAR_E4,
    cents_e4,
    cents_e6,
    count_c2,
    dollars_e4,
    dollars_e6,
    instant_us,
    milliseconds_us,
    seconds_us,
    whole,
)
from quant_engine.kalshi.exchange.records import (
    BookSnapshot,
    Candle,
    Event,
    Market,
    Ohlc,
    PriceRange,
    Series,
    Trade,
)

__all__ = [
    "STATUSES",
    "STRIKE_TYPES",
    "read_book",
    "read_candle",
    "read_event",
    "read_list",
    "read_market",
    "read_series",
    "read_trade",
]

STATUSES = frozenset(
    "initialized inactive active closed determined disputed amended finalized".split()
)
"""Status words of answers; ``settled`` and the other filter words are not among them."""
STRIKE_TYPES = frozenset(
    "greater greater_or_equal less less_or_equal between functional custom structured".split()
)

Record = TypeVar("Record")
_TEXT, _FLAG, _NUMBER = same(str), same(bool), same(float)


def _word(name: str) -> tuple[Choice, ...]:
    return ((name, _TEXT),)


def _instant(name: str) -> tuple[Choice, ...]:
    return ((name, instant_us),)


def _price(name: str) -> tuple[Choice, ...]:
    return ((f"{name}_dollars", dollars_e4), (name, cents_e4))


def _count(name: str) -> tuple[Choice, ...]:
    # The historical tier writes fixed point under the plain name, where the older schema had whole
    # contracts; both are contracts.
    return ((f"{name}_fp", count_c2), (name, count_c2))


def _price_ranges(value: Any) -> tuple[PriceRange, ...]:
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise SchemaMismatchError(
            "price_ranges", wanted="a list of objects", got=type(value).__name__, hint="Ask again."
        )
    return tuple(
        PriceRange(*(dollars_e4(part.get(key)) for key in ("start", "end", "step")))
        for part in value
    )


_SERIES = Table(
    "Series",
    {
        "ticker": _word("ticker"),
        "title": _word("title"),
        "category": _word("category"),
        "frequency": _word("frequency"),
        "fee_type": _word("fee_type"),
        "fee_multiplier": (("fee_multiplier", _NUMBER),),
    },
    ignored=frozenset(
        "tags settlement_sources contract_url contract_terms_url product_metadata "
        "additional_prohibitions volume_fp volume last_updated_ts exchange_index".split()
    ),
    vocabularies={
        "fee_type": frozenset(
            "quadratic quadratic_with_maker_fees quadratic_with_combo_maker_fees flat".split()
        )
    },
)
_EVENT = Table(
    "Event",
    {
        "ticker": _word("event_ticker"),
        "series_ticker": _word("series_ticker"),
        "title": _word("title"),
        "sub_title": _word("sub_title"),
        "category": _word("category"),
        "mutually_exclusive": (("mutually_exclusive", _FLAG),),
        "collateral_return_type": _word("collateral_return_type"),
        "strike_us": _instant("strike_date"),
        "strike_period": _word("strike_period"),
        "fee_type_override": _word("fee_type_override"),
        "fee_multiplier_override": (("fee_multiplier_override", _NUMBER),),
    },
    ignored=frozenset(
        "markets available_on_brokers product_metadata last_updated_ts exchange_index".split()
    ),
)
_MARKET = Table(
    "Market",
    {
        **{
            name: _word(name)
            for name in (
                "ticker event_ticker market_type status title yes_sub_title strike_type "
                "functional_strike result expiration_value rules_primary rules_secondary"
            ).split()
        },
        "floor_strike": (("floor_strike", _NUMBER),),
        "cap_strike": (("cap_strike", _NUMBER),),
        "custom_strike": (("custom_strike", same(dict)),),
        "created_us": _instant("created_time"),
        "updated_us": _instant("updated_time"),
        "open_us": _instant("open_time"),
        "close_us": _instant("close_time"),
        "expected_expiration_us": _instant("expected_expiration_time"),
        "latest_expiration_us": (
            ("latest_expiration_time", instant_us),
            ("expiration_time", instant_us),
        ),
        "occurrence_us": _instant("occurrence_datetime"),
        "settled_us": _instant("settlement_ts"),
        "settlement_timer_s": (("settlement_timer_seconds", whole),),
        "can_close_early": (("can_close_early", _FLAG),),
        "is_provisional": (("is_provisional", _FLAG),),
        "yes_bid_e4": _price("yes_bid"),
        "yes_ask_e4": _price("yes_ask"),
        "yes_bid_size_c2": _count("yes_bid_size"),
        "yes_ask_size_c2": _count("yes_ask_size"),
        "last_e4": _price("last_price"),
        "volume_c2": _count("volume"),
        "open_interest_c2": _count("open_interest"),
        "notional_e6": (("notional_value_dollars", dollars_e6), ("notional_value", cents_e6)),
        "settlement_value_e6": (
            ("settlement_value_dollars", dollars_e6),
            ("settlement_value", cents_e6),
        ),
        "price_ranges": (("price_ranges", _price_ranges),),
    },
    ignored=frozenset(
        "subtitle no_sub_title expiration_time no_bid no_bid_dollars no_ask no_ask_dollars "
        "previous_price previous_price_dollars previous_yes_bid previous_yes_bid_dollars "
        "previous_yes_ask previous_yes_ask_dollars volume_24h volume_24h_fp liquidity "
        "liquidity_dollars response_price_units tick_size tick_size_dollars risk_limit_cents "
        "category fractional_trading_enabled price_level_structure early_close_condition "
        "fee_waiver_expiration_time mve_collection_ticker mve_selected_legs exchange_index "
        "primary_participant_key settlement_bounds_type settlement_floor_dollars".split()
    ),
    vocabularies={
        "status": STATUSES,
        "strike_type": STRIKE_TYPES,
        "market_type": frozenset({"binary", "scalar"}),
        "result": frozenset({"yes", "no", "scalar", ""}),
    },
)
_TRADE = Table(
    "Trade",
    {
        "trade_id": _word("trade_id"),
        "ticker": (("ticker", _TEXT), ("market_ticker", _TEXT)),
        "yes_price_e4": _price("yes_price"),
        "count_c2": _count("count"),
        "created_us": (
            ("created_time", instant_us),
            ("ts_ms", milliseconds_us),
            ("ts", seconds_us),
        ),
        "taker_outcome": (("taker_outcome_side", _TEXT), ("taker_side", _TEXT)),
        "is_block": (("is_block_trade", _FLAG),),
    },
    ignored=frozenset(
        "no_price no_price_dollars price taker_book_side market_id sending_ts_ms "
        "exchange_index".split()
    ),
    vocabularies={"taker_outcome": frozenset({"yes", "no"})},
)
_CANDLE = Table(
    "Candle",
    {
        "end_us": (("end_period_ts", seconds_us),),
        "volume_c2": _count("volume"),
        "open_interest_c2": _count("open_interest"),
        "bid": (("yes_bid", same(dict)),),
        "ask": (("yes_ask", same(dict)),),
        "price": (("price", same(dict)),),
    },
)


def _candle_price(name: str) -> tuple[Choice, ...]:
    # A live candle says open_dollars, a historical one says open and writes dollars too, and the
    # older schema said open and wrote cents: a text is dollars, a whole number is cents.
    return (
        (f"{name}_dollars", dollars_e4),
        (name, lambda v: dollars_e4(v) if isinstance(v, str) else cents_e4(v)),
    )


_OHLC = Table(
    "Candle.prices",
    {
        **{f"{name}_e4": _candle_price(name) for name in ("open", "high", "low", "close")},
        "previous_e4": _candle_price("previous"),
        "mean_e6": (
            ("mean_dollars", dollars_e6),
            ("mean", lambda v: dollars_e6(v) if isinstance(v, str) else cents_e6(v)),
        ),
    },
    ignored=frozenset({"min_dollars", "max_dollars", "min", "max"}),
)


def _keyed(values: dict[str, Any], key: str, model: str) -> None:
    if not values.get(key) and values.get(key) != 0:
        raise SchemaMismatchError(
            model,
            wanted=f"a record with its key {key}",
            got=f"only {', '.join(sorted(values)) or 'nothing'}",
            hint="A record without its key cannot be stored; ask again.",
        )


def read_series(record: Any, drift: DriftLog) -> Series:
    """Read one series.

    Parameters
    ----------
    record : object
        Parsed JSON object.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    Series
        Key always present.

    Raises
    ------
    SchemaMismatchError
        When it is no object or has no ticker.

    Examples
    --------
    >>> read_series({"ticker": "KXCPI", "fee_multiplier": 0}, DriftLog()).fee_multiplier
    0.0
    """
    values = read_fields(_SERIES, record, drift)
    _keyed(values, "ticker", "Series")
    return Series(**values, raw=record)


def read_event(record: Any, drift: DriftLog) -> Event:
    """Read one event; its nested markets, if any, stay in ``raw["markets"]``.

    Parameters
    ----------
    record : object
        Parsed JSON object.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    Event
        Key always present.

    Raises
    ------
    SchemaMismatchError
        When it is no object or has no ticker.

    Examples
    --------
    >>> read_event({"event_ticker": "KXCPI-26JAN"}, DriftLog()).ticker
    'KXCPI-26JAN'
    """
    values = read_fields(_EVENT, record, drift)
    _keyed(values, "ticker", "Event")
    return Event(**values, raw=record)


def read_market(record: Any, drift: DriftLog) -> Market:
    """Read one market of the dollar or of the cents schema.

    Parameters
    ----------
    record : object
        Parsed JSON object.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    Market
        A bid of 0, an ask of 1 dollar and a last price of 0 are None: nobody quoted or traded.

    Raises
    ------
    SchemaMismatchError
        When it is no object or has no ticker.

    Examples
    --------
    >>> market = read_market({"ticker": "T", "yes_bid": 0, "yes_ask": 12, "volume": 0}, DriftLog())
    >>> market.yes_bid_e4, market.yes_ask_e4, market.volume_c2
    (None, 1200, 0)
    """
    values = read_fields(_MARKET, record, drift)
    _keyed(values, "ticker", "Market")
    for name, nobody in (("yes_bid_e4", 0), ("yes_ask_e4", ONE_DOLLAR_E4), ("last_e4", 0)):
        if values.get(name) == nobody:
            del values[name]
    return Market(**values, raw=record)


def read_trade(record: Any, drift: DriftLog) -> Trade:
    """Read one print from an answer, a websocket message or a recording.

    Parameters
    ----------
    record : object
        Parsed JSON object.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    Trade
        Key always present.

    Raises
    ------
    SchemaMismatchError
        When it is no object or has no id.

    Examples
    --------
    >>> read_trade({"trade_id": "a", "yes_price": 7, "count": 4}, DriftLog()).yes_price_e4
    700
    """
    values = read_fields(_TRADE, record, drift)
    _keyed(values, "trade_id", "Trade")
    return Trade(**values, raw=record)


def read_candle(record: Any, drift: DriftLog) -> Candle:
    """Read one candle of the live, the historical or the older cents schema.

    Parameters
    ----------
    record : object
        Parsed JSON object.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    Candle
        End of the period always present.

    Raises
    ------
    SchemaMismatchError
        When it is no object or has no end.

    Examples
    --------
    >>> live = {"end_period_ts": 60, "price": {"open_dollars": "0.05"}, "volume_fp": "0.00"}
    >>> read_candle(live, DriftLog()).price.open_e4
    500
    """
    values = read_fields(_CANDLE, record, drift)
    _keyed(values, "end_us", "Candle")
    extra = {}
    for side in ("bid", "ask", "price"):
        prices = read_fields(_OHLC, values.pop(side, {}), drift)
        beside = {name: prices.pop(name, None) for name in ("mean_e6", "previous_e4")}
        if side == "price":
            extra = beside
        values[side] = Ohlc(**prices)
    return Candle(**values, **extra, raw=record)


def _ladder(
    levels: Any, price: Callable[[Any], int], size: Callable[[Any], int]
) -> tuple[tuple[int, int], ...]:
    if not isinstance(levels, list):
        raise SchemaMismatchError(
            "side of an order book", wanted="a list", got=type(levels).__name__, hint="Ask again."
        )
    pairs = []
    for level in levels:
        if not isinstance(level, list) or len(level) != 2:
            raise SchemaMismatchError(
                "level of an order book",
                wanted="[price, count]",
                got=repr(level),
                hint="Ask again.",
            )
        pairs.append((price(level[0]), size(level[1])))
    # Documented as ascending, seen descending: the order of the wire means nothing.
    return tuple(sorted((pair for pair in pairs if pair[1] != 0), reverse=True))


def read_book(ticker: str, record: Any, drift: DriftLog) -> BookSnapshot:
    """Read the two bid ladders of one market.

    Parameters
    ----------
    ticker : str
        Market.
    record : object
        The object under ``orderbook_fp`` or (cents) ``orderbook``, or a snapshot message.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    BookSnapshot
        Best price first. A side that the wire leaves out is empty.

    Raises
    ------
    SchemaMismatchError
        When it is no object, or a level cannot be read: half a book is no book.

    Examples
    --------
    >>> read_book("T", {"yes": [[5, 100], [7, 10]], "no": None}, DriftLog())
    BookSnapshot(ticker='T', yes=((700, 1000), (500, 10000)), no=())
    """
    if not isinstance(record, dict):
        raise SchemaMismatchError(
            f"order book of {ticker}",
            wanted="a JSON object",
            got=type(record).__name__,
            hint="Ask again.",
        )
    unknown = record.keys() - _BOOK_KNOWN
    if unknown:
        drift.unknown_fields("OrderBook", unknown, record=record)
    sides = []
    for side in ("yes", "no"):
        levels: tuple[tuple[int, int], ...] = ()
        for name, price, size in _BOOK_NAMES:
            if record.get(side + name) is not None:
                levels = _ladder(record[side + name], price, size)
                break
        sides.append(levels)
    return BookSnapshot(ticker, *sides)


_BOOK_NAMES = (
    ("_dollars_fp", dollars_e4, count_c2),
    ("_dollars", dollars_e4, count_c2),
    ("", cents_e4, count_c2),
)
_BOOK_KNOWN = frozenset(
    {side + name for side in ("yes", "no") for name, _, _ in _BOOK_NAMES}
    | {"market_ticker", "market_id", "ts_ms", "sending_ts_ms"}
)


def read_list(
    read: Callable[[Any, DriftLog], Record], records: Any, drift: DriftLog
) -> list[Record]:
    """Read a list of records and leave out, counted, those without a key.

    Parameters
    ----------
    read : callable
        One of the readers above.
    records : object
        Parsed JSON list; None is an empty one.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    list
        In the order of the wire.

    Raises
    ------
    SchemaMismatchError
        When it is no list.

    Examples
    --------
    >>> drift = DriftLog()
    >>> read_list(read_trade, [{"trade_id": "a"}, {"count": 1}], drift)
    [Trade(trade_id='a', ticker=None, yes_price_e4=None, count_c2=None, created_us=None,
    taker_outcome=None, is_block=None)]
    >>> drift.total()
    1
    """
    if records is None:
        return []
    if not isinstance(records, list):
        raise SchemaMismatchError(
            read.__name__, wanted="a list", got=type(records).__name__, hint="Ask again."
        )
    found = []
    for record in records:
        try:
            found.append(read(record, drift))
        except SchemaMismatchError:
            drift.note(read.__name__, "*", DriftKind.UNREADABLE, sample=record)
    return found
