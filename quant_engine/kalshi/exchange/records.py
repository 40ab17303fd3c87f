"""Records of the exchange as frozen values: integers with units, None = not given.

``raw`` keeps the parsed JSON as it came, so that nothing is lost by reading it. Fields that a final
answer knows and a live one did not (`result`, `last_e4`, `volume_c2`, `expiration_value`,
`close_us`) are facts of the moment they were fetched: never join them to an earlier time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BookSnapshot", "Candle", "Event", "Market", "Ohlc", "PriceRange", "Series", "Trade"]

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class PriceRange:
    """One part of a market's price grid: prices from start to end in steps, in 1e-4 dollars."""

    start_e4: int
    end_e4: int
    step_e4: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """A family of events with one rule book.

    Parameters
    ----------
    ticker : str
        Key.
    fee_type : str, optional
        Name of the fee rule.
    fee_multiplier : float, optional
        Factor on the trade fee; 0 is a value.
    """

    ticker: str
    title: str | None = None
    category: str | None = None
    frequency: str | None = None
    fee_type: str | None = None
    fee_multiplier: float | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One question of a series, with the markets of its ladder.

    Parameters
    ----------
    ticker : str
        Key.
    mutually_exclusive : bool, optional
        At most one market resolves to yes; that one does is never promised.
    strike_us : int, optional
        When the question is decided, microseconds UTC.
    """

    ticker: str
    series_ticker: str | None = None
    title: str | None = None
    sub_title: str | None = None
    category: str | None = None
    mutually_exclusive: bool | None = None
    collateral_return_type: str | None = None
    strike_us: int | None = None
    strike_period: str | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: float | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Market:
    """One binary (or scalar) contract.

    Parameters
    ----------
    ticker : str
        Key; strikes are never derived from it.
    strike_type : str, optional
        Direction of the payoff as the exchange names it. None where the answer had none: the
        title is not asked instead.
    floor_strike, cap_strike : float, optional
        Strikes in units of the outcome; 0 is a value.
    yes_bid_e4, yes_ask_e4 : int, optional
        Best quotes of the yes side in 1e-4 dollars. None = no such quote: the wire says 0 for a
        missing bid and 1 dollar for a missing ask.
    last_e4 : int, optional
        Last trade; None = never traded, which the wire writes as 0.
    volume_c2, open_interest_c2 : int, optional
        In 0.01 contracts; 0 is a value.
    """

    ticker: str
    event_ticker: str | None = None
    market_type: str | None = None
    status: str | None = None
    title: str | None = None
    yes_sub_title: str | None = None
    strike_type: str | None = None
    floor_strike: float | None = None
    cap_strike: float | None = None
    functional_strike: str | None = None
    custom_strike: Raw | None = None
    created_us: int | None = None
    updated_us: int | None = None
    open_us: int | None = None
    close_us: int | None = None
    expected_expiration_us: int | None = None
    latest_expiration_us: int | None = None
    occurrence_us: int | None = None
    settled_us: int | None = None
    settlement_timer_s: int | None = None
    can_close_early: bool | None = None
    is_provisional: bool | None = None
    yes_bid_e4: int | None = None
    yes_ask_e4: int | None = None
    yes_bid_size_c2: int | None = None
    yes_ask_size_c2: int | None = None
    last_e4: int | None = None
    volume_c2: int | None = None
    open_interest_c2: int | None = None
    notional_e6: int | None = None
    result: str | None = None
    settlement_value_e6: int | None = None
    expiration_value: str | None = None
    price_ranges: tuple[PriceRange, ...] = ()
    rules_primary: str | None = None
    rules_secondary: str | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Trade:
    """One print.

    Parameters
    ----------
    trade_id : str
        Key.
    yes_price_e4 : int, optional
        Price of the yes side, 1e-4 dollars.
    count_c2 : int, optional
        Size, 0.01 contracts.
    created_us : int, optional
        When it happened, microseconds UTC.
    taker_outcome : str, optional
        Outcome that the taker bought, ``yes`` or ``no``.
    """

    trade_id: str
    ticker: str | None = None
    yes_price_e4: int | None = None
    count_c2: int | None = None
    created_us: int | None = None
    taker_outcome: str | None = None
    is_block: bool | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Ohlc:
    """Open, high, low and close in 1e-4 dollars; None = no value in the period."""

    open_e4: int | None = None
    high_e4: int | None = None
    low_e4: int | None = None
    close_e4: int | None = None


@dataclass(frozen=True, kw_only=True)
class Candle:
    """Quotes and trades of one period; usable only after its end.

    Parameters
    ----------
    end_us : int
        End of the period, microseconds UTC.
    bid, ask, price : Ohlc
        Yes bid, yes ask, and prints.
    mean_e6 : int, optional
        Mean print, in 1e-6 dollars because a mean stands between ticks.
    """

    end_us: int
    bid: Ohlc = Ohlc()
    ask: Ohlc = Ohlc()
    price: Ohlc = Ohlc()
    mean_e6: int | None = None
    previous_e4: int | None = None
    volume_c2: int | None = None
    open_interest_c2: int | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class BookSnapshot:
    """Both bid ladders of one market, best first.

    Parameters
    ----------
    ticker : str
        Market.
    yes, no : tuple of (int, int)
        Price in 1e-4 dollars and size in 0.01 contracts; yes ask = 1 dollar less the best no bid.
    """

    ticker: str
    yes: tuple[tuple[int, int], ...]
    no: tuple[tuple[int, int], ...]
