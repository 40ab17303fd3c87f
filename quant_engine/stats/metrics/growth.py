"""Growth and its speed: cumulative and annual return, volatility, straightness of the path.

Contract: simple returns per period (fractions); NaN = not observed, left out.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from quant_engine.stats.checks import parse_observed
from quant_engine.stats.metrics.moments import standard_deviation

__all__ = ["annual_return", "annual_vol", "cumulative_return", "stability"]


def cumulative_return(returns: npt.ArrayLike) -> float:
    """Compound growth over all periods, ``prod(1 + r) - 1``.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out.

    Returns
    -------
    float
        Fraction; -1 where the capital was lost; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(cumulative_return([0.1, -0.5]), 3)
    -0.45
    """
    observed = parse_observed("returns", returns)
    if len(observed) == 0:
        return float("nan")
    if observed.min() <= -1.0:
        return -1.0
    return float(np.prod(1.0 + observed) - 1.0)


def annual_return(returns: npt.ArrayLike, *, periods_per_year: float) -> float:
    """Compound growth per year, ``prod(1 + r)^(periods_per_year / n) - 1``.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out of n.
    periods_per_year : float
        Annualisation.

    Returns
    -------
    float
        Fraction per year; -1 where the capital was lost; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(annual_return([0.01, 0.01], periods_per_year=12), 4)
    0.1268
    """
    observed = parse_observed("returns", returns)
    if len(observed) == 0:
        return float("nan")
    growth = 1.0 + observed
    if (growth <= 0.0).any():
        return -1.0
    return float(np.expm1(np.log(growth).mean() * periods_per_year))


def annual_vol(returns: npt.ArrayLike, *, periods_per_year: float, ddof: int = 1) -> float:
    """Annualised standard deviation, ``sqrt(periods_per_year) * std(r, ddof)``.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out.
    periods_per_year : float
        Annualisation.
    ddof : int
        1 for the sample standard deviation, 0 for the population one.

    Returns
    -------
    float
        Fraction per square root of a year; NaN with ``ddof`` or fewer observations.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(annual_vol([0.01, -0.01, 0.0], periods_per_year=252), 4)
    0.1587
    """
    return standard_deviation(returns, ddof=ddof) * sqrt(periods_per_year)


def stability(returns: npt.ArrayLike) -> float:
    """How straight the growth was: R-squared of the cumulative log return on time.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed, left out.

    Returns
    -------
    float
        0 to 1; NaN with fewer than 3 observations, where the log return does not vary, and where
        a period lost the whole capital.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Notes
    -----
    A trending random walk has a high value too: this describes a path and tests nothing.

    Examples
    --------
    >>> round(stability([0.01, 0.01, 0.01, 0.01]), 6), round(stability([0.01, -0.01, 0.01]), 3)
    (1.0, 0.0)
    """
    observed = parse_observed("returns", returns)
    if len(observed) < 3 or observed.min() <= -1.0:
        return float("nan")
    level = np.cumsum(np.log1p(observed))
    if level.min() == level.max():
        return float("nan")
    return float(np.corrcoef(np.arange(len(level)), level)[0, 1] ** 2)
