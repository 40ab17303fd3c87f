"""Reward per unit of something other than volatility: Sortino, Calmar, Omega, tail ratio.

Contract: simple returns per period (fractions); NaN = not observed, left out. A ratio over zero
risk is undefined (NaN), not infinite, except where a docstring says otherwise.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from quant_engine.stats.checks import check_coverage, parse_observed
from quant_engine.stats.metrics.drawdowns import max_drawdown
from quant_engine.stats.metrics.growth import annual_return
from quant_engine.stats.metrics.outcomes import profit_factor

__all__ = ["calmar", "omega", "sortino", "tail_ratio"]


def sortino(
    returns: npt.ArrayLike, *, periods_per_year: float, target_per_period: float = 0.0
) -> float:
    """Sortino ratio: annualised mean over target per unit of downside deviation.

    ``sqrt(periods_per_year) * mean(r - target) / sqrt(mean(min(r - target, 0)^2))``: the downside
    deviation divides by all periods, not by the losing ones (Sortino and Price 1994).

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out.
    periods_per_year : float
        Annualisation.
    target_per_period : float
        Return below which a period counts as downside (fraction per period).

    Returns
    -------
    float
        NaN without observation or without downside.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(sortino([0.01, -0.02, 0.015, 0.0, 0.005], periods_per_year=252), 3)
    3.55
    """
    excess = parse_observed("returns", returns) - target_per_period
    downside = sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2))) if len(excess) else 0.0
    if downside == 0.0:
        return float("nan")
    return float(excess.mean()) / downside * sqrt(periods_per_year)


def calmar(returns: npt.ArrayLike, *, periods_per_year: float) -> float:
    """Compound growth per year divided by the depth of the deepest drawdown.

    The sign is that of the growth: a losing strategy has a negative ratio.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed.
    periods_per_year : float
        Annualisation.

    Returns
    -------
    float
        NaN without observation or without drawdown.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(calmar([0.02, -0.01, 0.02], periods_per_year=12), 2)
    12.55
    """
    depth = -max_drawdown(returns)
    if not depth > 0.0:
        return float("nan")
    return annual_return(returns, periods_per_year=periods_per_year) / depth


def omega(returns: npt.ArrayLike, *, target_per_period: float = 0.0) -> float:
    """Gains over a target divided by shortfalls below it (Keating and Shadwick 2002).

    ``sum(max(r - target, 0)) / sum(max(target - r, 0))``: at target 0 the profit factor.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out.
    target_per_period : float
        Fraction per period.

    Returns
    -------
    float
        Infinity with gains and no shortfall; NaN with neither.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(omega([0.02, -0.01, 0.01], target_per_period=0.005), 3)
    1.333
    """
    return profit_factor(parse_observed("returns", returns) - target_per_period)


def tail_ratio(returns: npt.ArrayLike, *, tail_frac: float = 0.05) -> float:
    """Size of the upper tail over the size of the lower one.

    ``|q(1 - tail_frac)| / |q(tail_frac)|`` with linearly interpolated quantiles.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out.
    tail_frac : float
        Probability of each tail.

    Returns
    -------
    float
        NaN without observation or where the lower quantile is 0.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        A tail not strictly between 0 and 1.

    Examples
    --------
    >>> round(tail_ratio([-0.02, -0.01, 0.0, 0.03, 0.05]), 3)
    2.556
    """
    check_coverage("tail_frac", tail_frac)
    observed = parse_observed("returns", returns)
    if len(observed) == 0:
        return float("nan")
    low, high = np.abs(np.quantile(observed, [tail_frac, 1.0 - tail_frac]))
    return float(high / low) if low > 0.0 else float("nan")
