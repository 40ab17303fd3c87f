"""What a fill costs: trade fee, rounding fee and rebate, in whole millionths of a dollar.

Contract: integers only. Prices are whole 1e-4 dollars (``_e4``), counts whole 0.01 contracts
(``_c2``), money whole 1e-6 dollars (``_e6``). The schedule is the one of the moment of the trade:
the newest entry of the event, else of its series, that had taken effect by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from quant_engine.core.errors import ConfigError, DataError, did_you_mean
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4

__all__ = [
    "CENT_E6",
    "DIRECT_MEMBER_E6",
    "TAKER_RATE",
    "FeeEntry",
    "FeeType",
    "Fill",
    "FillCharge",
    "Liquidity",
    "charge_order",
    "fee_entry_at",
    "round_fills",
    "trade_fee_e6",
]

FeeType = Literal[
    "quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees", "flat"
]
Liquidity = Literal["taker", "maker"]
Scope = Literal["series", "event"]

TAKER_RATE = Fraction(7, 100)
"""Share of ``C P (1 - P)`` that a taker pays at multiplier 1."""

MAKER_SHARE = {
    "quadratic": Fraction(0),
    "quadratic_with_maker_fees": Fraction(1, 4),
    "quadratic_with_combo_maker_fees": Fraction(1, 2),
}
"""A maker's rate as a share of the taker's."""

CENT_E6 = 10_000
"""Balances of ordinary members are whole cents; rebates are whole cents for everyone."""

DIRECT_MEMBER_E6 = 100
"""Balances of direct members are whole 1e-4 dollars."""

TRADE_FEE_UNIT_E6 = 100
"""The trade fee is rounded up to whole 1e-4 dollars."""


@dataclass(frozen=True)
class FeeEntry:
    """One line of a fee schedule.

    Parameters
    ----------
    scope : {"series", "event"}
        An event's entry goes before its series' one.
    scope_id : str
        Ticker of the series or of the event.
    fee_type : str
        Structure of the fee.
    multiplier : Fraction
        Multiplies the rate; read a number of the exchange with ``Fraction(str(number))``.
    effective_us : int
        First instant it holds for, UTC microseconds.
    flat_fee_e4 : int, optional
        Fee per contract of type ``flat``, 1e-4 dollars. The exchange's table of flat fees is not
        public, so that it is the caller's statement.

    Examples
    --------
    >>> FeeEntry("series", "KXINX", "quadratic", Fraction("0.5"), effective_us=0).rate("taker")
    Fraction(7, 200)
    """

    scope: Scope
    scope_id: str
    fee_type: FeeType
    multiplier: Fraction = Fraction(1)
    effective_us: int = 0
    flat_fee_e4: int | None = None

    def __post_init__(self) -> None:
        if self.fee_type not in get_args(FeeType):
            raise ConfigError(
                "fee_type",
                wanted="a fee type of the exchange",
                got=repr(self.fee_type),
                hint=did_you_mean(str(self.fee_type), get_args(FeeType)),
            )
        if self.scope not in get_args(Scope) or self.multiplier < 0:
            raise ConfigError(
                "scope, multiplier",
                wanted="series or event, and a multiplier of at least 0",
                got=f"{self.scope!r}, {self.multiplier}",
                hint="A series without a fee has multiplier 0.",
            )

    def rate(self, liquidity: Liquidity) -> Fraction:
        """Factor of ``C P (1 - P)`` for a taker or a maker; not for type ``flat``."""
        if self.fee_type == "flat":
            raise DataError(
                "fee_type",
                wanted="a quadratic fee",
                got="flat",
                hint="A flat fee has no rate; state flat_fee_e4.",
            )
        share = Fraction(1) if liquidity == "taker" else MAKER_SHARE[self.fee_type]
        return TAKER_RATE * share * self.multiplier


@dataclass(frozen=True)
class Fill:
    """One match of an order.

    Parameters
    ----------
    price_e4 : int
        Price per contract of the side that is bought or sold, 1e-4 dollars, 1 to 9,999.
    count_c2 : int
        Contracts in hundredths, positive.
    is_buy : bool
        Pays the price, or receives it.
    liquidity : {"taker", "maker"}
        Whether the order took or rested.

    Examples
    --------
    >>> Fill(550, 100).revenue_e6
    -55000
    """

    price_e4: int
    count_c2: int
    is_buy: bool = True
    liquidity: Liquidity = "taker"

    def __post_init__(self) -> None:
        if not 0 < self.price_e4 < ONE_DOLLAR_E4 or self.count_c2 <= 0:
            raise DataError(
                "price_e4, count_c2",
                wanted="a price from 1 to 9999 and a positive count",
                got=f"{self.price_e4}, {self.count_c2}",
                hint="Prices are 1e-4 dollars, counts 0.01 contracts.",
            )
        if self.liquidity not in get_args(Liquidity):
            raise DataError(
                "liquidity",
                wanted="taker or maker",
                got=repr(self.liquidity),
                hint=did_you_mean(str(self.liquidity), get_args(Liquidity)),
            )

    @property
    def revenue_e6(self) -> int:
        """Money received, 1e-6 dollars; negative for a buyer."""
        value = self.price_e4 * self.count_c2
        return -value if self.is_buy else value


@dataclass(frozen=True)
class FillCharge:
    """What one fill did to the balance, all in 1e-6 dollars.

    Parameters
    ----------
    trade_fee_e6 : int
        Fee of the schedule, whole 1e-4 dollars.
    rounding_fee_e6 : int
        What brought the balance back to its precision.
    rebate_e6 : int
        Whole cent given back from earlier roundings.
    accumulator_e6 : int
        Rounding of the order so far, before the rebate, as the exchange's tables show it.
    balance_change_e6 : int
        Change of the balance without the rebate.

    Examples
    --------
    >>> FillCharge(8_500, 6_500, 0, 6_500, -70_000).net_fee_e6
    15000
    """

    trade_fee_e6: int
    rounding_fee_e6: int
    rebate_e6: int
    accumulator_e6: int
    balance_change_e6: int

    @property
    def net_fee_e6(self) -> int:
        """Trade fee + rounding fee - rebate, 1e-6 dollars."""
        return self.trade_fee_e6 + self.rounding_fee_e6 - self.rebate_e6


def fee_entry_at(
    entries: Iterable[FeeEntry], *, series: str, event: str, trade_us: int
) -> FeeEntry:
    """Line of the schedule that held at the moment of a trade.

    Parameters
    ----------
    entries : iterable of FeeEntry
        Schedule in any order.
    series, event : str
        Tickers of the traded market's series and event.
    trade_us : int
        Moment of the trade, UTC microseconds.

    Returns
    -------
    FeeEntry
        The event's newest entry in effect, else the series' one.

    Raises
    ------
    DataError
        No entry was in effect, or two entries of one scope took effect together and differ.

    Examples
    --------
    >>> old = FeeEntry("series", "S", "quadratic", effective_us=0)
    >>> new = FeeEntry("series", "S", "quadratic_with_maker_fees", effective_us=10)
    >>> fee_entry_at([new, old], series="S", event="E", trade_us=9).fee_type
    'quadratic'
    """
    known = [entry for entry in entries if entry.effective_us <= trade_us]
    for scope, name in (("event", event), ("series", series)):
        mine = [entry for entry in known if (entry.scope, entry.scope_id) == (scope, name)]
        if mine:
            newest = max(entry.effective_us for entry in mine)
            found = {entry for entry in mine if entry.effective_us == newest}
            if len(found) > 1:
                raise DataError(
                    "entries",
                    wanted=f"one entry of {scope} {name} at {newest}",
                    got=len(found),
                    hint="Keep the line that the exchange recorded last.",
                )
            return found.pop()
    raise DataError(
        "entries",
        wanted=f"a fee entry for series {series} or event {event} in effect at {trade_us}",
        got="none",
        hint="Sync the fee schedule; a trade without a schedule has no known cost.",
    )


def trade_fee_e6(fill: Fill, entry: FeeEntry) -> int:
    """Fee of one fill before rounding of the balance.

    Parameters
    ----------
    fill : Fill
        The match.
    entry : FeeEntry
        Schedule of its moment.

    Returns
    -------
    int
        1e-6 dollars, a multiple of 100: rounded up to whole 1e-4 dollars.

    Raises
    ------
    DataError
        Type ``flat`` without a stated fee per contract.

    Notes
    -----
    ``ceil(rate m C P (1 - P))`` with the rate 0.07 for takers and 0, a quarter or half of it for
    makers, by fee type. Buying at P and selling at 1 - P cost the same.

    Examples
    --------
    >>> trade_fee_e6(Fill(5_000, 100), FeeEntry("series", "S", "quadratic"))
    17500
    """
    if entry.fee_type == "flat":
        if entry.flat_fee_e4 is None:
            raise DataError(
                "flat_fee_e4",
                wanted="a fee per contract for fee type flat",
                got=None,
                hint="The table of flat fees is not public; state it in the schedule.",
            )
        exact = entry.multiplier * entry.flat_fee_e4 * fill.count_c2
    else:
        # 0.01 contracts * 1e-4 dollars * 1e-4 = 1e-10 dollars = 1e-4 of a 1e-6 dollar.
        volume = fill.count_c2 * fill.price_e4 * (ONE_DOLLAR_E4 - fill.price_e4)
        exact = entry.rate(fill.liquidity) * volume / ONE_DOLLAR_E4
    return TRADE_FEE_UNIT_E6 * _ceil(exact / TRADE_FEE_UNIT_E6)


def round_fills(
    fills: Sequence[Fill], trade_fees_e6: Sequence[int], *, precision_e6: int = CENT_E6
) -> tuple[FillCharge, ...]:
    """Rounding fees and rebates of the fills of one order, in their order.

    Parameters
    ----------
    fills : sequence of Fill
        Matches of one order; an order that takes first and rests later keeps its accumulator.
    trade_fees_e6 : sequence of int
        Trade fee of each, 1e-6 dollars.
    precision_e6 : int
        Precision of the balance: :data:`CENT_E6`, or :data:`DIRECT_MEMBER_E6`.

    Returns
    -------
    tuple of FillCharge

    Raises
    ------
    DataError
        Another number of fees than of fills, or a precision that is neither.

    Notes
    -----
    ``floor(revenue - trade fee)`` to the precision; the difference is the rounding fee. Once the
    order's sum of rounding fees exceeds a cent, a cent is given back and leaves the sum. Exchange
    documentation, page "Fee rounding". It also promises that no net fee is negative; here a rebate
    that would make it so waits for a later fill, which the page does not spell out.

    Examples
    --------
    >>> charges = round_fills([Fill(550, 100)] * 2, [8_500] * 2)
    >>> [(c.rounding_fee_e6, c.rebate_e6, c.net_fee_e6) for c in charges]
    [(6500, 0, 15000), (6500, 10000, 5000)]
    """
    if len(fills) != len(trade_fees_e6) or precision_e6 not in (CENT_E6, DIRECT_MEMBER_E6):
        raise DataError(
            "trade_fees_e6, precision_e6",
            wanted=f"one fee per fill, and {CENT_E6} or {DIRECT_MEMBER_E6}",
            got=f"{len(trade_fees_e6)} fees for {len(fills)} fills, {precision_e6}",
            hint="Round the fills of one order together.",
        )
    charges = []
    carried = 0
    for fill, fee in zip(fills, trade_fees_e6, strict=True):
        exact = fill.revenue_e6 - fee
        posted = exact // precision_e6 * precision_e6
        accumulated = carried + exact - posted
        paid = fee + exact - posted
        rebate = CENT_E6 if accumulated > CENT_E6 and paid >= CENT_E6 else 0
        carried = accumulated - rebate
        charges.append(FillCharge(fee, exact - posted, rebate, accumulated, posted))
    return tuple(charges)


def charge_order(
    fills: Sequence[Fill], entry: FeeEntry, *, precision_e6: int = CENT_E6
) -> tuple[FillCharge, ...]:
    """Everything that the fills of one order cost.

    Parameters
    ----------
    fills : sequence of Fill
        Matches of one order, in their order.
    entry : FeeEntry
        Schedule that held at them.
    precision_e6 : int
        Precision of the balance, 1e-6 dollars.

    Returns
    -------
    tuple of FillCharge

    Examples
    --------
    >>> entry = FeeEntry("series", "S", "quadratic")
    >>> charge_order([Fill(5_000, 1_000)], entry)[0]
    FillCharge(trade_fee_e6=175000, rounding_fee_e6=5000, rebate_e6=0, accumulator_e6=5000,
    balance_change_e6=-5180000)
    """
    fees = [trade_fee_e6(fill, entry) for fill in fills]
    return round_fills(fills, fees, precision_e6=precision_e6)


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
