"""Numbers that describe a distribution, what the quotes alone say of them, and distances.

Contract: a description belongs to one lattice; distances need two distributions on the same one.
An unavailable distribution has NaN everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.kalshi.bounds import functional_bounds
from quant_engine.kalshi.distribution import LadderDistribution
from quant_engine.kalshi.quotes import LadderQuotes
from quant_engine.stats.distances import js_divergence, wasserstein_shares

__all__ = [
    "DistributionDistance",
    "MomentBounds",
    "Shape",
    "describe_shape",
    "distribution_distance",
    "moment_bounds",
    "support_of",
]

QUANTILE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Shape:
    """Description of one distribution; NaN where there is none.

    Parameters
    ----------
    mean, sd : float
        Unit of the settlement value.
    skew : float
        Third standardised moment.
    bowley_skew : float
        ``(q75 + q25 - 2 q50) / (q75 - q25)``, in [-1, 1]; does not depend on the tails.
    q05, q25, q50, q75, q95 : float
        Quantiles, linear inside cells.
    entropy_nats, entropy_share : float
        ``-sum p log p`` over cells, and its share of the largest possible.
    mode : float
        Value of the most probable cell.
    """

    mean: float
    sd: float
    skew: float
    bowley_skew: float
    q05: float
    q25: float
    q50: float
    q75: float
    q95: float
    entropy_nats: float
    entropy_share: float
    mode: float


@dataclass(frozen=True)
class MomentBounds:
    """What the quotes alone say of a moment.

    Parameters
    ----------
    low, high : float
        Limits over all distributions that fit the quotes; NaN where none does.
    order : int
        Moment.
    about : float
        Its centre.
    """

    low: float
    high: float
    order: int
    about: float


@dataclass(frozen=True)
class DistributionDistance:
    """How far two distributions on one lattice are apart; NaN where one is unavailable.

    Parameters
    ----------
    wasserstein : float
        First Wasserstein distance, unit of the settlement value.
    js_nats : float
        Jensen-Shannon divergence.
    hellinger : float
        Hellinger distance, 0 to 1.
    """

    wasserstein: float
    js_nats: float
    hellinger: float


def describe_shape(distribution: LadderDistribution) -> Shape:
    """Moments, quantiles and entropy of a distribution.

    Parameters
    ----------
    distribution : LadderDistribution
        Fitted, or not.

    Returns
    -------
    Shape
        Moments are those within the lattice: see ``is_moment_truncated``.
    """
    if not distribution.is_available:
        return Shape(*[float("nan")] * 12)
    p, x = distribution.pmf, distribution.points
    sd = distribution.sd
    third = float(p @ (x - distribution.mean) ** 3)
    q05, q25, q50, q75, q95 = distribution.quantiles(QUANTILE_LEVELS).tolist()
    entropy = float(entr(p).sum())
    return Shape(
        mean=distribution.mean,
        sd=sd,
        skew=third / sd**3 if sd > 0.0 else float("nan"),
        bowley_skew=(q75 + q25 - 2.0 * q50) / (q75 - q25) if q75 > q25 else float("nan"),
        q05=q05,
        q25=q25,
        q50=q50,
        q75=q75,
        q95=q95,
        entropy_nats=entropy,
        entropy_share=entropy / log(len(p)),
        mode=float(x[int(p.argmax())]),
    )


def support_of(distribution: LadderDistribution) -> tuple[float, float]:
    """Lowest and highest cell value of a distribution.

    Parameters
    ----------
    distribution : LadderDistribution
        With a lattice.

    Returns
    -------
    tuple of float
        Unit of the settlement value.

    Raises
    ------
    DataError
        A distribution without a lattice.
    """
    if len(distribution.points) == 0:
        raise DataError(
            "distribution",
            wanted="a lattice",
            got="none",
            hint="The contracts of the event have no payoff sets.",
        )
    return float(distribution.points[0]), float(distribution.points[-1])


def moment_bounds(
    quotes: LadderQuotes, support: tuple[float, float], *, order: int = 1, about: float = 0.0
) -> MomentBounds:
    """Limits on a moment over all distributions that fit the quotes.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes.
    support : tuple of float
        Lowest and highest settlement value that can happen: without it tails have no limit.
    order : int
        1 or 2.
    about : float
        Centre of the moment, unit of the settlement value.

    Returns
    -------
    MomentBounds

    Raises
    ------
    ConfigError
        Another order.
    DataError
        A support that does not contain the listed strikes.

    Notes
    -----
    Two linear programs: inside an atom the mass can lie anywhere, so that the upper limit takes
    the largest value of ``(x - about)^order`` in each atom and the lower limit the smallest.

    Examples
    --------
    >>> from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
    >>> ladder = ladder_structure(
    ...     [Contract("A", "greater", 1.0)], SettlementGrid(1.0), is_exclusive=False
    ... )
    >>> quotes = ladder_quotes(ladder, [LegQuote("A", 4_000, 6_000)])
    >>> bounds = moment_bounds(quotes, (0.0, 3.0))
    >>> round(bounds.low, 6), round(bounds.high, 6)
    (0.8, 2.2)
    """
    if order not in (1, 2):
        raise ConfigError("order", wanted="1 or 2", got=order, hint="Prefer quantiles beyond.")
    structure = quotes.structure
    grid = structure.grid
    first, last = structure.outermost()
    lowest, highest = grid.index_of(support[0]), grid.index_of(support[1])
    if lowest >= first or highest <= last:
        raise DataError(
            "support",
            wanted=f"ends outside {grid.value(first)} and {grid.value(last)}",
            got=support,
            hint="State the least and greatest settlement value that can happen.",
        )
    least, greatest = [], []
    for atom in structure.atoms:
        left = grid.value(lowest if atom.first is None else atom.first)
        right = grid.value(highest if atom.last is None else atom.last)
        ends = [(left - about) ** order, (right - about) ** order]
        greatest.append(max(ends))
        # The nearest point of the grid can be farther than this, never nearer.
        least.append(0.0 if order == 2 and left <= about <= right else min(ends))
    low, high = functional_bounds(quotes, least).low, functional_bounds(quotes, greatest).high
    return MomentBounds(low, high, order, about)


def distribution_distance(
    left: LadderDistribution, right: LadderDistribution
) -> DistributionDistance:
    """Distances of two distributions of the same lattice.

    Parameters
    ----------
    left, right : LadderDistribution
        For instance of two snapshots.

    Returns
    -------
    DistributionDistance

    Raises
    ------
    DataError
        Different lattices.

    Notes
    -----
    Wasserstein and Jensen-Shannon are those of :mod:`quant_engine.stats.distances`; Hellinger is
    ``sqrt(sum (sqrt p - sqrt q)^2 / 2)``.
    """
    if not np.array_equal(left.points, right.points):
        raise DataError(
            "right",
            wanted="the lattice of the other distribution",
            got=f"{len(right.points)} other cells",
            hint="Fit both with one prepared ladder.",
        )
    if not (left.is_available and right.is_available):
        return DistributionDistance(*[float("nan")] * 3)
    return DistributionDistance(
        wasserstein=wasserstein_shares(left.pmf, right.pmf, support=left.points),
        js_nats=js_divergence(left.pmf, right.pmf),
        hellinger=_hellinger(left.pmf, right.pmf),
    )


def _hellinger(p: FloatVector, q: npt.NDArray[np.float64]) -> float:
    return sqrt(float(((np.sqrt(p) - np.sqrt(q)) ** 2).sum()) / 2.0)
