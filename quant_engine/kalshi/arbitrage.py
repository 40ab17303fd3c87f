"""Portfolios of quotes that cannot lose after fees, with their proof, size and life-time.

Contract: a finding is whole numbers: contracts in hundredths, prices in 1e-4 dollars, money in 1e-6
dollars. Its profit is the least over every atom of the ladder, fees and the rounding of balances
included, so that nothing is found that fees would eat. That asks add up to less than 1 is a finding
only where the contracts are proven to cover every settlement value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy.optimize import linprog

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.kalshi.bounds import closed_form_band
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.fees import CENT_E6, FeeEntry, Fill, charge_order
from quant_engine.kalshi.quotes import LadderQuotes

__all__ = [
    "Arbitrage",
    "ArbitrageLeg",
    "StatePrices",
    "ViolationEpisode",
    "find_state_prices",
    "price_portfolio",
    "scan_ladder",
    "track_violations",
]

ArbitrageKind = Literal["crossed_quote", "vertical", "sum_of_bids", "sum_of_asks", "portfolio"]

WHOLE_CONTRACT_C2 = 100
"""Orders of whole contracts; fractions are listed for few markets only."""

LEAST_EDGE = 1e-7
"""Dollars per contract below which the solver's answer is float noise."""


@dataclass(frozen=True)
class ArbitrageLeg:
    """One order of a portfolio.

    Parameters
    ----------
    ticker : str
        Market.
    is_buy : bool
        Buys YES at the ask, or sells it at the bid.
    price_e4 : int
        That quote, 1e-4 dollars.
    count_c2 : int
        Contracts, hundredths.

    Examples
    --------
    >>> ArbitrageLeg("T1", is_buy=True, price_e4=4_000, count_c2=100).price_e4
    4000
    """

    ticker: str
    is_buy: bool
    price_e4: int
    count_c2: int


@dataclass(frozen=True)
class Arbitrage:
    """A portfolio whose worst outcome is a gain.

    Parameters
    ----------
    kind : str
        How it was found.
    legs : tuple of ArbitrageLeg
        What to trade.
    profit_e6 : int
        Gain in the worst atom after fees and rounding, 1e-6 dollars; positive.
    fees_e6 : int
        Trade and rounding fees of all legs.
    profit_by_atom_e6 : tuple of int, length A
        Gain on every atom of the structure: the certificate.
    capital_e6 : int
        What the account must hold: price of what is bought, and 1 dollar less price for what is
        sold.
    """

    kind: ArbitrageKind
    legs: tuple[ArbitrageLeg, ...]
    profit_e6: int
    fees_e6: int
    profit_by_atom_e6: tuple[int, ...]
    capital_e6: int

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two sightings the same violation: kind, markets and sides."""
        return (self.kind, *(f"{'+' if leg.is_buy else '-'}{leg.ticker}" for leg in self.legs))


@dataclass(frozen=True, eq=False)
class StatePrices:
    """Proof that nothing can be won: a distribution that every quote with its fee contains.

    Parameters
    ----------
    probability : ndarray of float64, shape (A,)
        Probability per atom; adds up to 1.
    """

    probability: FloatVector


@dataclass(frozen=True)
class ViolationEpisode:
    """One violation from its first to its last sighting.

    Parameters
    ----------
    key : tuple of str
        Kind, markets and sides.
    first_us, last_us : int
        First and last snapshot that showed it, UTC microseconds.
    gone_us : int or None
        First snapshot without it; None = still there at the end.
    n_seen : int
        Snapshots.
    best_profit_e6 : int
        Largest profit, 1e-6 dollars.

    Examples
    --------
    >>> ViolationEpisode(("vertical",), 0, 4, 6, 3, 100).lifetime_us
    6
    """

    key: tuple[str, ...]
    first_us: int
    last_us: int
    gone_us: int | None
    n_seen: int
    best_profit_e6: int

    @property
    def lifetime_us(self) -> int:
        """Time until it was gone, microseconds; a lower limit where it was still there."""
        return (self.last_us if self.gone_us is None else self.gone_us) - self.first_us


def price_portfolio(
    quotes: LadderQuotes,
    legs: Sequence[ArbitrageLeg],
    entry: FeeEntry,
    *,
    kind: ArbitrageKind = "portfolio",
    precision_e6: int = CENT_E6,
) -> Arbitrage:
    """What a portfolio gains on every atom, exactly.

    Parameters
    ----------
    quotes : LadderQuotes
        The ladder that it trades on.
    legs : sequence of ArbitrageLeg
        Orders, each filled at once as a taker.
    entry : FeeEntry
        Fee schedule of the moment.
    kind : str
        How it was found.
    precision_e6 : int
        Precision of the balance, 1e-6 dollars.

    Returns
    -------
    Arbitrage
        Whatever its profit; :func:`scan_ladder` keeps the positive ones.

    Raises
    ------
    DataError
        No leg, or a ticker that is no leg of the ladder.

    Notes
    -----
    Selling YES at the bid b is buying NO at 1 - b: the account pays 1 - b now and receives 1 where
    the contract does not pay. Both are charged as purchases, which rounds against the trader.
    """
    structure = quotes.structure
    unknown = [leg.ticker for leg in legs if leg.ticker not in structure.tickers]
    if not legs or unknown:
        raise DataError(
            "legs",
            wanted="at least one order in markets of the ladder",
            got=unknown or 0,
            hint="Tickers are those of the structure.",
        )
    payoff = np.zeros(len(structure.atoms), dtype=np.int64)
    spent = fees = capital = 0
    for leg in legs:
        pays = structure.pays[:, structure.tickers.index(leg.ticker)]
        won = pays if leg.is_buy else ~pays
        payoff += won.astype(np.int64) * ONE_DOLLAR_E4 * leg.count_c2
        price = leg.price_e4 if leg.is_buy else ONE_DOLLAR_E4 - leg.price_e4
        (charge,) = charge_order([Fill(price, leg.count_c2)], entry, precision_e6=precision_e6)
        spent -= charge.balance_change_e6
        fees += charge.net_fee_e6
        capital += price * leg.count_c2
    gains = tuple(int(value) - spent for value in payoff)
    return Arbitrage(kind, tuple(legs), min(gains), fees, gains, capital)


def scan_ladder(
    quotes: LadderQuotes,
    entry: FeeEntry,
    *,
    unit_c2: int = WHOLE_CONTRACT_C2,
    precision_e6: int = CENT_E6,
) -> tuple[Arbitrage, ...]:
    """Every violation of a snapshot that pays after fees.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes with the sizes at the best prices; a side without size cannot be traded.
    entry : FeeEntry
        Fee schedule of the moment.
    unit_c2 : int
        Orders are multiples of this many hundredths of a contract.
    precision_e6 : int
        Precision of the balance, 1e-6 dollars.

    Returns
    -------
    tuple of Arbitrage
        Largest profit first: pairs of contracts of which one pays wherever the other does, sums
        over disjoint bins, and the best portfolio of the linear program where it gains more.

    Raises
    ------
    ConfigError
        A unit below 1.

    Notes
    -----
    A pair: the buyer of the wider contract at its ask and seller of the narrower at its bid
    cannot lose more than ``ask - bid``. The direction comes from the payoff sets.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
    >>> legs = [Contract("A", "greater", 1.0), Contract("B", "greater", 2.0)]
    >>> ladder = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False)
    >>> quotes = [LegQuote("A", 3_800, 4_000, 1000, 1000), LegQuote("B", 5_000, 5_200, 1000, 1000)]
    >>> found = scan_ladder(ladder_quotes(ladder, quotes), FeeEntry("series", "S", "quadratic"))
    >>> found[0].kind, found[0].profit_e6, found[0].profit_by_atom_e6
    ('vertical', 650000, (650000, 10650000, 650000))
    """
    if unit_c2 < 1:
        raise ConfigError("unit_c2", wanted="at least 1", got=unit_c2, hint="Use 100 or 1.")
    found = []
    for kind, sides in _candidates(quotes):
        size = min(_size(quotes, place, is_buy) for place, is_buy in sides) // unit_c2 * unit_c2
        if size > 0:
            legs = [_leg(quotes, place, is_buy, size) for place, is_buy in sides]
            found.append(price_portfolio(quotes, legs, entry, kind=kind, precision_e6=precision_e6))
    winners = [item for item in found if item.profit_e6 > 0]
    general = _best_portfolio(quotes, entry, unit_c2, precision_e6)
    best = max((item.profit_e6 for item in winners), default=0)
    if general is not None and general.profit_e6 > best:
        winners.append(general)
    return tuple(sorted(winners, key=lambda item: (-item.profit_e6, item.key)))


def find_state_prices(quotes: LadderQuotes, entry: FeeEntry) -> StatePrices | None:
    """A distribution that no quote contradicts by more than its fee, where there is one.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes; sides without size count as absent.
    entry : FeeEntry
        Fee schedule of the moment.

    Returns
    -------
    StatePrices or None
        None where a portfolio gains before the rounding of fees.

    Notes
    -----
    The dual of the search for a portfolio: either one exists, or these prices do (Farkas).
    """
    solved = _solve(quotes, entry)
    if solved is None or solved[0] > LEAST_EDGE:
        return None
    total = float(solved[2].sum())
    return StatePrices(solved[2] / total) if total > 0.0 else None


def track_violations(
    snapshots: Iterable[tuple[int, Sequence[Arbitrage]]],
) -> tuple[ViolationEpisode, ...]:
    """Join the findings of consecutive snapshots into episodes.

    Parameters
    ----------
    snapshots : iterable of (int, sequence of Arbitrage)
        Moment (UTC microseconds, rising) and findings of each scan, empty scans included.

    Returns
    -------
    tuple of ViolationEpisode
        By first sighting, then key; a violation that returns is a new episode.

    Raises
    ------
    DataError
        Moments that do not rise.

    Examples
    --------
    >>> leg = ArbitrageLeg("A", True, 4_000, 100)
    >>> seen = Arbitrage("vertical", (leg,), 10, 0, (10,), 400_000)
    >>> [(e.first_us, e.gone_us) for e in track_violations([(0, [seen]), (5, [seen]), (9, [])])]
    [(0, 9)]
    """
    open_now: dict[tuple[str, ...], ViolationEpisode] = {}
    closed = []
    last = None
    for moment, findings in snapshots:
        if last is not None and moment <= last:
            raise DataError(
                "snapshots",
                wanted="rising moments",
                got=f"{moment} after {last}",
                hint="Sort the scans by time.",
            )
        last = moment
        profit: dict[tuple[str, ...], int] = {}
        for item in findings:
            profit[item.key] = max(item.profit_e6, profit.get(item.key, item.profit_e6))
        for key in [key for key in open_now if key not in profit]:
            e = open_now.pop(key)
            closed.append(
                ViolationEpisode(key, e.first_us, e.last_us, moment, e.n_seen, e.best_profit_e6)
            )
        for key, value in profit.items():
            e = open_now.get(key, ViolationEpisode(key, moment, moment, None, 0, value))
            best = max(value, e.best_profit_e6)
            open_now[key] = ViolationEpisode(key, e.first_us, moment, None, e.n_seen + 1, best)
    return tuple(sorted([*closed, *open_now.values()], key=lambda e: (e.first_us, e.key)))


def _candidates(quotes: LadderQuotes) -> list[tuple[ArbitrageKind, list[tuple[int, bool]]]]:
    """Portfolios that win before fees, as (leg, is_buy)."""
    structure = quotes.structure
    sides = set(_sides(quotes))
    every = range(len(quotes.bid_e4))
    # A side that cannot be traded never wins: it is sold for nothing and bought for too much.
    bid = np.array([quotes.bid_e4[i] if (i, False) in sides else 0 for i in every])
    ask = np.array([quotes.ask_e4[i] if (i, True) in sides else 2 * ONE_DOLLAR_E4 for i in every])
    found: list[tuple[ArbitrageKind, list[tuple[int, bool]]]] = [
        ("crossed_quote", [(i, True), (i, False)]) for i in np.flatnonzero(bid > ask).tolist()
    ]
    for i, j in combinations(every, 2):
        for wide, narrow in ((i, j), (j, i)):
            if structure.intervals[wide].contains(structure.intervals[narrow]) and (
                bid[narrow] > ask[wide]
            ):
                found.append(("vertical", [(wide, True), (narrow, False)]))
    if structure.kind == "exclusive":
        sold = np.flatnonzero(bid > 0).tolist()
        if int(bid[sold].sum()) > ONE_DOLLAR_E4:
            found.append(("sum_of_bids", [(i, False) for i in sold]))
        if structure.is_covering and int(ask.sum()) < ONE_DOLLAR_E4:
            found.append(("sum_of_asks", [(i, True) for i in every]))
    return found


def _size(quotes: LadderQuotes, place: int, is_buy: bool) -> int:
    return int((quotes.ask_size_c2 if is_buy else quotes.bid_size_c2)[place])


def _leg(quotes: LadderQuotes, place: int, is_buy: bool, count_c2: int) -> ArbitrageLeg:
    price = int((quotes.ask_e4 if is_buy else quotes.bid_e4)[place])
    return ArbitrageLeg(quotes.structure.tickers[place], is_buy, price, count_c2)


def _sides(quotes: LadderQuotes) -> list[tuple[int, bool]]:
    """Orders that can be sent: quoted, with size, at a price that is neither 0 nor 1."""
    found = []
    for place in range(len(quotes.bid_e4)):
        for is_buy, price in ((True, quotes.ask_e4[place]), (False, quotes.bid_e4[place])):
            if 0 < price < ONE_DOLLAR_E4 and _size(quotes, place, is_buy) > 0:
                found.append((place, is_buy))
    return found


def _solve(
    quotes: LadderQuotes, entry: FeeEntry
) -> tuple[float, FloatVector, FloatVector, list[tuple[int, bool]]] | None:
    """Greatest gain in the worst atom (dollars), contracts per side, duals per atom, sides."""
    sides = _sides(quotes)
    if not sides:
        return None
    rate = 0.0 if entry.fee_type == "flat" else float(entry.rate("taker"))
    flat = float(entry.multiplier * (entry.flat_fee_e4 or 0)) / ONE_DOLLAR_E4
    columns, limits = [], []
    for place, is_buy in sides:
        leg = _leg(quotes, place, is_buy, 1)
        price = leg.price_e4 / ONE_DOLLAR_E4
        pays = quotes.structure.pays[:, place].astype(np.float64)
        fee = rate * price * (1.0 - price) + (flat if entry.fee_type == "flat" else 0.0)
        columns.append((pays - price if is_buy else price - pays) - fee)
        limits.append((0.0, _size(quotes, place, is_buy) / 100.0))
    gain = np.array(columns).T
    n_atoms = len(gain)
    found = linprog(
        np.append(np.zeros(len(sides)), -1.0),
        A_ub=np.column_stack([-gain, np.ones(n_atoms)]),
        b_ub=np.zeros(n_atoms),
        bounds=[*limits, (0.0, None)],
        method="highs",
    )
    if found.status != 0:
        return None
    return -float(found.fun), found.x[:-1], -found.ineqlin.marginals, sides


def _best_portfolio(
    quotes: LadderQuotes, entry: FeeEntry, unit_c2: int, precision_e6: int
) -> Arbitrage | None:
    """Portfolio of the linear program in whole orders, priced exactly."""
    is_simple = quotes.structure.kind != "mixed"
    if is_simple and closed_form_band(quotes).is_feasible:
        # Under a distribution between all bids and asks no portfolio gains, fees or not.
        return None
    solved = _solve(quotes, entry)
    if solved is None or solved[0] <= LEAST_EDGE:
        return None
    _, contracts, _, sides = solved
    counts = np.floor(contracts * 100.0 / unit_c2 + 1e-6).astype(np.int64) * unit_c2
    legs = [
        _leg(quotes, place, is_buy, int(count))
        for (place, is_buy), count in zip(sides, counts, strict=True)
        if count > 0
    ]
    return price_portfolio(quotes, legs, entry, precision_e6=precision_e6) if legs else None
