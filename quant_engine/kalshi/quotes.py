"""One look at a ladder: best bid and ask of every leg, joined to its contract by ticker.

Contract: integers with their unit in the name; an absent quote is :data:`NO_QUOTE`, because a price
of 0 is a price. A leg that the snapshot does not name has no quote; a snapshot that names what the
ladder has not is refused, and position never decides which leg a quote belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError, did_you_mean
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.lattice import LadderStructure

__all__ = ["NO_QUOTE", "IntVector", "LadderQuotes", "LegQuote", "ladder_quotes"]

IntVector = npt.NDArray[np.int64]

NO_QUOTE = -1
"""Nobody bids, or nobody asks."""


@dataclass(frozen=True)
class LegQuote:
    """Best bid and ask of one market at one instant.

    Parameters
    ----------
    ticker : str
        Market.
    bid_e4, ask_e4 : int
        Prices of YES, 1e-4 dollars, 0 to 10,000; :data:`NO_QUOTE` where nobody quotes.
    bid_size_c2, ask_size_c2 : int
        Contracts at the best price, hundredths.
    age_s : float
        Seconds since the quote was last known to hold.
    event_us : int
        Instant of the quote, UTC microseconds; two looks at one quote share it.
    is_paused : bool
        The market does not trade.
    has_gap : bool
        Messages of its book are missing, so that the quote may be wrong.

    Examples
    --------
    >>> LegQuote("T1", bid_e4=4_000, ask_e4=4_200).bid_size_c2
    0
    """

    ticker: str
    bid_e4: int = NO_QUOTE
    ask_e4: int = NO_QUOTE
    bid_size_c2: int = 0
    ask_size_c2: int = 0
    age_s: float = 0.0
    event_us: int = 0
    is_paused: bool = False
    has_gap: bool = False

    def __post_init__(self) -> None:
        prices = all(NO_QUOTE <= p <= ONE_DOLLAR_E4 for p in (self.bid_e4, self.ask_e4))
        if not prices or min(self.bid_size_c2, self.ask_size_c2) < 0 or not self.age_s >= 0.0:
            raise DataError(
                "bid_e4, ask_e4, sizes, age_s",
                wanted="prices from 0 to 10000 (or -1), sizes and an age of at least 0",
                got=self,
                hint="Prices are 1e-4 dollars; cents are multiplied by 100.",
            )


@dataclass(frozen=True, eq=False)
class LadderQuotes:
    """Quotes of a ladder as arrays in the order of its legs.

    Parameters
    ----------
    structure : LadderStructure
        The ladder.
    bid_e4, ask_e4 : ndarray of int64, shape (m,)
        Prices per leg, 1e-4 dollars; :data:`NO_QUOTE` where absent.
    bid_size_c2, ask_size_c2 : ndarray of int64, shape (m,)
        Contracts at the best price, hundredths.
    age_s : ndarray of float64, shape (m,)
        Seconds; NaN for a leg without a record.
    event_us : ndarray of int64, shape (m,)
        Instant of each quote, UTC microseconds.
    paused, gapped : tuple of str
        Tickers that do not trade, and tickers whose book misses messages.
    """

    structure: LadderStructure
    bid_e4: IntVector
    ask_e4: IntVector
    bid_size_c2: IntVector
    ask_size_c2: IntVector
    age_s: FloatVector
    event_us: IntVector
    paused: tuple[str, ...] = ()
    gapped: tuple[str, ...] = ()

    @property
    def lower(self) -> FloatVector:
        """Lower limit that the bid sets on each leg's probability, shape (m,); 0 without one."""
        return np.where(self.bid_e4 == NO_QUOTE, 0, self.bid_e4) / ONE_DOLLAR_E4

    @property
    def upper(self) -> FloatVector:
        """Upper limit that the ask sets on each leg's probability, shape (m,); 1 without one."""
        return np.where(self.ask_e4 == NO_QUOTE, ONE_DOLLAR_E4, self.ask_e4) / ONE_DOLLAR_E4

    @property
    def middle(self) -> FloatVector:
        """Middle of the limits as a probability, shape (m,)."""
        return (self.lower + self.upper) / 2.0

    @property
    def half_spread(self) -> FloatVector:
        """Half the distance of the limits as a probability, shape (m,), also of crossed ones."""
        return np.abs(self.upper - self.lower) / 2.0

    @property
    def is_quoted(self) -> npt.NDArray[np.bool_]:
        """Whether anybody quotes a leg, shape (m,)."""
        return np.asarray((self.bid_e4 != NO_QUOTE) | (self.ask_e4 != NO_QUOTE), dtype=np.bool_)


def ladder_quotes(structure: LadderStructure, quotes: Iterable[LegQuote]) -> LadderQuotes:
    """Join quotes to the legs of a ladder by ticker.

    Parameters
    ----------
    structure : LadderStructure
        The ladder.
    quotes : iterable of LegQuote
        One record per market, in any order; legs without a record have no quote.

    Returns
    -------
    LadderQuotes

    Raises
    ------
    DataError
        A ticker that is no leg, or that comes twice.

    Examples
    --------
    >>> from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> legs = [Contract("A", "greater", 1.0), Contract("B", "greater", 2.0)]
    >>> ladder = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False)
    >>> found = ladder_quotes(ladder, [LegQuote("B", 2_000, 3_000), LegQuote("A", 0, 9_000)])
    >>> found.bid_e4.tolist(), found.ask_e4.tolist()
    ([0, 2000], [9000, 3000])
    """
    places = {ticker: place for place, ticker in enumerate(structure.tickers)}
    m = len(places)
    whole = np.zeros((5, m), dtype=np.int64)
    whole[:2] = NO_QUOTE
    age = np.full(m, np.nan)
    seen: set[str] = set()
    paused, gapped = [], []
    for quote in quotes:
        place = places.get(quote.ticker)
        if place is None or quote.ticker in seen:
            raise DataError(
                "quotes",
                wanted="one quote per leg of the ladder",
                got=f"{quote.ticker!r} " + ("twice" if quote.ticker in seen else "of no leg"),
                hint="Keep the newest record per market."
                if quote.ticker in seen
                else did_you_mean(quote.ticker, places),
            )
        seen.add(quote.ticker)
        whole[:, place] = (
            quote.bid_e4, quote.ask_e4, quote.bid_size_c2, quote.ask_size_c2, quote.event_us,
        )  # fmt: skip
        age[place] = quote.age_s
        paused += [quote.ticker] * quote.is_paused
        gapped += [quote.ticker] * quote.has_gap
    return LadderQuotes(
        structure=structure,
        bid_e4=whole[0],
        ask_e4=whole[1],
        bid_size_c2=whole[2],
        ask_size_c2=whole[3],
        age_s=age,
        event_us=whole[4],
        paused=tuple(paused),
        gapped=tuple(gapped),
    )
