"""The no-arbitrage band: what the quotes alone allow, without any smoothing.

Contract: bid and ask of every leg are limits on the expected payoff under one distribution over the
atoms of the ladder. Nested half-lines and disjoint bins have closed forms; a linear program serves
every ladder and every linear functional, and each of its limits carries a portfolio that proves it.
Where no distribution fits, the band is NaN and the least widening of the quotes is reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.quotes import LadderQuotes

__all__ = [
    "Band",
    "BoundCertificate",
    "FunctionalBound",
    "Incoherence",
    "closed_form_band",
    "functional_bounds",
    "lp_band",
    "measure_incoherence",
]

FEASIBILITY_TOLERANCE = 1e-9
"""Quotes are whole 1e-4: a conflict is at least that large, and this is only float noise."""


@dataclass(frozen=True, eq=False)
class Band:
    """Limits on the probability of every leg and of every atom.

    Parameters
    ----------
    leg_low, leg_high : ndarray of float64, shape (m,)
        Probability of each leg; NaN where no distribution fits the quotes.
    atom_low, atom_high : ndarray of float64, shape (A,)
        Probability of each atom, in the order of the structure.
    is_feasible : bool
        Whether any distribution fits the quotes.
    method : str
        ``"threshold"``, ``"exclusive"`` or ``"lp"``.
    """

    leg_low: FloatVector
    leg_high: FloatVector
    atom_low: FloatVector
    atom_high: FloatVector
    is_feasible: bool
    method: str

    def distance(self, leg_probability: FloatVector) -> float:
        """Largest distance of leg probabilities, shape (m,), from the band; NaN without one."""
        if not self.is_feasible:
            return float("nan")
        below, above = self.leg_low - leg_probability, leg_probability - self.leg_high
        return float(np.maximum(np.maximum(below, above), 0.0).max())


@dataclass(frozen=True, eq=False)
class BoundCertificate:
    """A portfolio that proves a limit: it pays at least (or most) the functional everywhere.

    Parameters
    ----------
    bought, sold : ndarray of float64, shape (m,)
        Contracts bought at the ask and sold at the bid, at least 0.
    cash : float
        Dollars beside them.

    Notes
    -----
    For an upper limit: ``pays @ (bought - sold) + cash >= c`` on every atom, and the portfolio
    costs the limit. For a lower limit the same portfolio of the negated functional.
    """

    bought: FloatVector
    sold: FloatVector
    cash: float


@dataclass(frozen=True)
class FunctionalBound:
    """Least and greatest expectation of a number over all distributions that fit the quotes.

    Parameters
    ----------
    low, high : float
        Limits, in the unit of the number; NaN where no distribution fits.
    low_certificate, high_certificate : BoundCertificate or None
        Proofs; None where no distribution fits.
    """

    low: float
    high: float
    low_certificate: BoundCertificate | None
    high_certificate: BoundCertificate | None


@dataclass(frozen=True, eq=False)
class Incoherence:
    """By how much quotes must be widened until a distribution fits them.

    Parameters
    ----------
    total_e4 : float
        Least weighted sum of widenings, 1e-4 dollars; 0 for coherent quotes.
    bid_slack_e4, ask_slack_e4 : ndarray of float64, shape (m,)
        Widening per leg, 1e-4 dollars.
    """

    total_e4: float
    bid_slack_e4: FloatVector
    ask_slack_e4: FloatVector


def closed_form_band(quotes: LadderQuotes) -> Band:
    """Band of a ladder of nested half-lines or of disjoint bins.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes of a ladder of kind ``threshold`` or ``exclusive``.

    Returns
    -------
    Band

    Raises
    ------
    DataError
        A ladder of kind ``mixed``.

    Notes
    -----
    Survival at rising strikes: upper limit = least ask at or below the strike, lower limit =
    greatest bid at or above it, and a mass between two strikes lies between the gaps of those
    limits. Disjoint bins that cover everything: ``p_i`` between ``max(b_i, 1 - sum of the other
    asks)`` and ``min(a_i, 1 - sum of the other bids)``, feasible for ``sum b <= 1 <= sum a``;
    bins that do not cover have one more bin without quotes.

    Examples
    --------
    >>> from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
    >>> legs = [Contract("A", "greater", 1.0), Contract("B", "greater", 2.0)]
    >>> ladder = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False)
    >>> quotes = [LegQuote("A", 4_000, 6_000), LegQuote("B", 5_000, 9_000)]
    >>> band = closed_form_band(ladder_quotes(ladder, quotes))
    >>> band.leg_low.tolist(), band.leg_high.tolist()
    ([0.5, 0.5], [0.6, 0.6])
    """
    kind = quotes.structure.kind
    if kind == "mixed":
        raise DataError(
            "quotes",
            wanted="nested half-lines or disjoint bins",
            got="a mixed ladder",
            hint="Use lp_band.",
        )
    return _threshold_band(quotes) if kind == "threshold" else _exclusive_band(quotes)


def lp_band(quotes: LadderQuotes) -> Band:
    """Band of any ladder by linear programs, two per leg and two per atom.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes.

    Returns
    -------
    Band

    Examples
    --------
    >>> from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
    >>> legs = [Contract("A", "greater", 1.0), Contract("B", "between", 2.0, 3.0)]
    >>> ladder = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False)
    >>> quotes = [LegQuote("A", 4_000, 6_000), LegQuote("B", 3_000, 9_000)]
    >>> lp_band(ladder_quotes(ladder, quotes)).leg_high.round(4).tolist()
    [0.6, 0.6]
    """
    structure = quotes.structure
    m, n_atoms = len(structure.contracts), len(structure.atoms)
    if _state_prices(quotes, np.zeros(n_atoms)) is None:
        return _infeasible(m, n_atoms, "lp")
    functionals = [*structure.pays.T.astype(np.float64), *np.eye(n_atoms)]
    limits = np.array([_both_ends(quotes, c) for c in functionals])
    return Band(
        leg_low=limits[:m, 0],
        leg_high=limits[:m, 1],
        atom_low=limits[m:, 0],
        atom_high=limits[m:, 1],
        is_feasible=True,
        method="lp",
    )


def functional_bounds(quotes: LadderQuotes, values: npt.ArrayLike) -> FunctionalBound:
    """Limits on the expectation of a number that depends on the atom, with proofs.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes.
    values : array-like, shape (A,)
        The number on each atom of the structure, any one unit.

    Returns
    -------
    FunctionalBound
        NaN without certificates where no distribution fits the quotes.

    Raises
    ------
    DataError
        Another number of values than of atoms, or values that are not finite.

    Notes
    -----
    Linear programming duality: the greatest expectation equals the least cost of a portfolio that
    pays at least the number on every atom.

    Examples
    --------
    >>> from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
    >>> legs = [Contract("A", "greater", 1.0)]
    >>> ladder = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False)
    >>> bound = functional_bounds(ladder_quotes(ladder, [LegQuote("A", 4_000, 6_000)]), [0, 10])
    >>> round(bound.low, 6), round(bound.high, 6)
    (4.0, 6.0)
    """
    c = np.asarray(values, dtype=np.float64)
    n_atoms = len(quotes.structure.atoms)
    if c.shape != (n_atoms,) or not np.isfinite(c).all():
        raise DataError(
            "values",
            wanted=f"{n_atoms} finite values, one per atom",
            got=f"shape {c.shape}",
            hint="State finite ends of the support; open tails have no bounded mean.",
        )
    low, high = _state_prices(quotes, c), _state_prices(quotes, -c)
    if low is None or high is None:
        return FunctionalBound(np.nan, np.nan, None, None)
    return FunctionalBound(low[0], -high[0], low[1], high[1])


def measure_incoherence(quotes: LadderQuotes, *, weight_by_size: bool = True) -> Incoherence:
    """Least widening of the quotes that makes them fit a distribution.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes.
    weight_by_size : bool
        A side counts by its contracts as a share of the largest size; the others count alike.

    Returns
    -------
    Incoherence

    Examples
    --------
    >>> from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
    >>> legs = [Contract("A", "greater", 1.0), Contract("B", "greater", 2.0)]
    >>> ladder = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False)
    >>> quotes = [LegQuote("A", 4_000, 4_200), LegQuote("B", 5_000, 5_200)]
    >>> round(measure_incoherence(ladder_quotes(ladder, quotes)).total_e4, 6)
    800.0
    """
    pays = quotes.structure.pays.T.astype(np.float64)
    m, n_atoms = pays.shape
    sizes = np.concatenate([quotes.bid_size_c2, quotes.ask_size_c2]).astype(np.float64)
    weights = np.ones(2 * m)
    if weight_by_size and sizes.max(initial=0.0) > 0.0:
        # A side without a stated size still counts a little, else it would be widened for nothing.
        weights = np.maximum(sizes / sizes.max(), 1e-3)
    eye = np.eye(m)
    found = linprog(
        np.concatenate([np.zeros(n_atoms), weights]),
        A_ub=np.block([[-pays, -eye, 0.0 * eye], [pays, 0.0 * eye, -eye]]),
        b_ub=np.concatenate([-quotes.lower, quotes.upper]),
        A_eq=np.concatenate([np.ones(n_atoms), np.zeros(2 * m)])[None, :],
        b_eq=[1.0],
        method="highs",
    )
    slack = np.where(found.x[n_atoms:] < FEASIBILITY_TOLERANCE, 0.0, found.x[n_atoms:])
    scaled = slack * ONE_DOLLAR_E4
    return Incoherence(float(weights @ scaled), scaled[:m], scaled[m:])


def _threshold_band(quotes: LadderQuotes) -> Band:
    structure = quotes.structure
    low, high = quotes.lower, quotes.upper
    # Lower half-lines are the complements of upper ones: one chain of survival at rising steps.
    is_upper = np.array([i.last is None for i in structure.intervals])
    survival_low = np.where(is_upper, low, 1.0 - high)
    survival_high = np.where(is_upper, high, 1.0 - low)
    starts = np.array(
        [i.first if i.last is None else i.last + 1 for i in structure.intervals], dtype=np.int64
    )
    steps, place = np.unique(starts, return_inverse=True)
    best_low, best_high = np.zeros(len(steps)), np.ones(len(steps))
    np.maximum.at(best_low, place, survival_low)
    np.minimum.at(best_high, place, survival_high)
    best_high = np.minimum.accumulate(best_high)
    best_low = np.maximum.accumulate(best_low[::-1])[::-1]
    if (best_low > best_high + FEASIBILITY_TOLERANCE).any():
        return _infeasible(len(low), len(structure.atoms), "threshold")
    outer_low = np.concatenate([[1.0], best_low, [0.0]])
    outer_high = np.concatenate([[1.0], best_high, [0.0]])
    return Band(
        leg_low=np.where(is_upper, best_low[place], 1.0 - best_high[place]),
        leg_high=np.where(is_upper, best_high[place], 1.0 - best_low[place]),
        atom_low=np.maximum(outer_low[:-1] - outer_high[1:], 0.0),
        atom_high=outer_high[:-1] - outer_low[1:],
        is_feasible=True,
        method="threshold",
    )


def _exclusive_band(quotes: LadderQuotes) -> Band:
    structure = quotes.structure
    pays = structure.pays
    owner = np.where(pays.any(axis=1), pays.argmax(axis=1), -1)
    low, high = quotes.lower, quotes.upper
    n_atoms = len(owner)
    # Everything that no leg pays on is one more bin, between 0 and 1.
    rest = owner < 0
    bin_low = np.append(low, 0.0)
    bin_high = np.append(high, 1.0 if rest.any() else 0.0)
    total_low, total_high = bin_low.sum(), bin_high.sum()
    crossed = (low > high + FEASIBILITY_TOLERANCE).any()
    if crossed or not (
        total_low <= 1.0 + FEASIBILITY_TOLERANCE and total_high >= 1.0 - FEASIBILITY_TOLERANCE
    ):
        return _infeasible(len(low), n_atoms, "exclusive")
    tight_low = np.maximum(bin_low, 1.0 - (total_high - bin_high))
    tight_high = np.minimum(bin_high, 1.0 - (total_low - bin_low))
    atom_low, atom_high = tight_low[owner], tight_high[owner]
    if rest.sum() > 1:
        # The rest can lie in any one of its atoms, so that none of them alone has a floor.
        atom_low = np.where(rest, 0.0, atom_low)
    return Band(tight_low[:-1], tight_high[:-1], atom_low, atom_high, True, "exclusive")


def _infeasible(m: int, n_atoms: int, method: str) -> Band:
    legs, atoms = np.full(m, np.nan), np.full(n_atoms, np.nan)
    return Band(legs, legs, atoms, atoms, False, method)


def _both_ends(quotes: LadderQuotes, c: FloatVector) -> tuple[float, float]:
    bound = functional_bounds(quotes, c)
    return bound.low, bound.high


def _state_prices(quotes: LadderQuotes, c: FloatVector) -> tuple[float, BoundCertificate] | None:
    """Least expectation of c with its dual portfolio, or None where no distribution fits."""
    pays = quotes.structure.pays.T.astype(np.float64)
    found = linprog(
        c,
        A_ub=np.concatenate([pays, -pays]),
        b_ub=np.concatenate([quotes.upper, -quotes.lower]),
        A_eq=np.ones((1, pays.shape[1])),
        b_eq=[1.0],
        method="highs",
    )
    if found.status != 0:
        return None
    duals = -found.ineqlin.marginals
    m = len(pays)
    # min c'q = max of -(asks' y) + bids' z + mu; the negated functional is covered by y, z, -mu.
    certificate = BoundCertificate(duals[:m], duals[m:], -float(found.eqlin.marginals[0]))
    return float(found.fun), certificate
