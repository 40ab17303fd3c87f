"""Losses from a running peak: depth, length, and what they average to.

Contract: simple returns per period in time order (fractions). The starting capital is the first
peak. Depths are at most 0; the indices (ulcer, pain, CDaR) are positive. NaN = not observed:
equity stays, the period has no depth and counts in no average.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.stats.checks import check_coverage, parse_vector
from quant_engine.stats.metrics.tails import expected_shortfall_of

__all__ = [
    "DrawdownSpell",
    "cdar",
    "drawdown_series",
    "drawdown_spells",
    "max_drawdown",
    "pain_index",
    "ulcer_index",
]


@dataclass(frozen=True)
class DrawdownSpell:
    """One stretch below a peak.

    Parameters
    ----------
    first : int
        Position of the first period below the peak; the peak itself is the period before it, -1
        where it is the starting capital.
    trough : int
        Position of the deepest period (the first one of equal depth).
    recovered : int or None
        Position of the period that reached the peak again; None while under water at the end.
    depth : float
        Loss from the peak at the trough, below 0 (fraction).
    n_periods : int
        Observed periods below the peak.

    Examples
    --------
    >>> drawdown_spells([0.1, -0.5, 0.3])[0].depth
    -0.5
    """

    first: int
    trough: int
    recovered: int | None
    depth: float
    n_periods: int


def drawdown_series(returns: npt.ArrayLike) -> FloatVector:
    """Loss from the running peak of compounded equity, per period.

    ``E_t / max(1, E_1, ..., E_t) - 1`` with ``E_t = prod (1 + r)``: the starting capital is the
    first peak.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed: equity stays, and the
        drawdown of that period is NaN.

    Returns
    -------
    ndarray of float64, shape (T,)
        At most 0 (fraction of the peak).

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> drawdown_series([-0.1, 0.2, -0.5]).round(3)
    array([-0.1,  0. , -0.5])
    """
    series = parse_vector("returns", returns)
    missing = np.isnan(series)
    equity = np.cumprod(np.where(missing, 1.0, 1.0 + series))
    peak = np.maximum(np.maximum.accumulate(equity), 1.0) if len(equity) else equity
    return np.where(missing, np.nan, equity / peak - 1.0)


def max_drawdown(returns: npt.ArrayLike) -> float:
    """Deepest loss from a running peak of compounded equity.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed.

    Returns
    -------
    float
        At most 0 (fraction); NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> max_drawdown([-0.1, 0.2, -0.5])
    -0.5
    """
    depths = _observed_depths(returns)
    return float(depths.min()) if len(depths) else float("nan")


def drawdown_spells(returns: npt.ArrayLike) -> tuple[DrawdownSpell, ...]:
    """Every stretch below a peak, in time order.

    A spell begins with the first period below the peak and ends before the period that reaches
    the peak again. Missing periods inside it neither end it nor count.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed.

    Returns
    -------
    tuple of DrawdownSpell
        Empty where equity only rose.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> [(s.first, s.trough, s.recovered) for s in drawdown_spells([0.1, -0.2, 0.3, -0.1, 0.05])]
    [(1, 1, 2), (3, 3, None)]
    """
    depths = drawdown_series(returns)
    places = np.flatnonzero(~np.isnan(depths))
    below = depths[places] < 0.0
    edge = np.diff(np.concatenate([[False], below, [False]]).astype(np.int8))
    spells = []
    for start, stop in zip(np.flatnonzero(edge == 1), np.flatnonzero(edge == -1), strict=True):
        inside = depths[places[start:stop]]
        spells.append(
            DrawdownSpell(
                first=int(places[start]),
                trough=int(places[start + int(inside.argmin())]),
                recovered=int(places[stop]) if stop < len(places) else None,
                depth=float(inside.min()),
                n_periods=int(stop - start),
            )
        )
    return tuple(spells)


def ulcer_index(returns: npt.ArrayLike) -> float:
    """Root mean square depth over all periods (Martin and McCann 1989).

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed.

    Returns
    -------
    float
        Fraction, at least 0; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(ulcer_index([-0.1, 0.2, -0.5]), 4)
    0.2944
    """
    depths = _observed_depths(returns)
    return sqrt(float(np.mean(depths**2))) if len(depths) else float("nan")


def pain_index(returns: npt.ArrayLike) -> float:
    """Mean depth over all periods (Becker 2006).

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed.

    Returns
    -------
    float
        Fraction, at least 0; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(pain_index([-0.1, 0.2, -0.5]), 4)
    0.2
    """
    depths = _observed_depths(returns)
    return -float(depths.mean()) if len(depths) else float("nan")


def cdar(returns: npt.ArrayLike, *, alpha: float) -> float:
    """Conditional drawdown at risk: mean depth of the worst ``alpha`` share of periods.

    The Rockafellar-Uryasev shortfall of the depths (Chekhlov, Uryasev and Zabarankin 2005): at
    alpha near 1 the pain index, at alpha up to 1 / T the maximum drawdown.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed.
    alpha : float
        Share of the worst periods, for instance 0.05.

    Returns
    -------
    float
        Fraction, at least 0; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        ``alpha`` not strictly between 0 and 1.

    Examples
    --------
    >>> round(cdar([-0.1, 0.2, -0.5, 0.1], alpha=0.5), 4)
    0.475
    """
    check_coverage("alpha", alpha)
    depths = _observed_depths(returns)
    return expected_shortfall_of(-depths, alpha=alpha) if len(depths) else float("nan")


def _observed_depths(returns: npt.ArrayLike) -> FloatVector:
    """Depths of observed periods, in time order."""
    depths = drawdown_series(returns)
    return depths[~np.isnan(depths)]
