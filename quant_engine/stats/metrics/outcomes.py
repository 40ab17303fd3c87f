"""Wins and losses of single results: hit rate, profit factor, payoff ratio, expectancy.

Contract: any unit (returns, trade results, information coefficients); NaN = not observed, left
out. An exact zero is neither a win nor a loss and counts in every number of results.
"""

from __future__ import annotations

import numpy.typing as npt

from quant_engine.stats.checks import parse_observed

__all__ = ["expectancy", "hit_rate", "payoff_ratio", "profit_factor"]


def hit_rate(values: npt.ArrayLike) -> float:
    """Share of observed values above zero; an exact zero is no hit.

    Parameters
    ----------
    values : array-like, shape (n,)
        Returns, trade results or information coefficients; NaN = not observed, left out.

    Returns
    -------
    float
        Fraction; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> hit_rate([0.02, -0.01, 0.0, 0.03])
    0.5
    """
    observed = parse_observed("values", values)
    return float((observed > 0.0).mean()) if len(observed) else float("nan")


def profit_factor(values: npt.ArrayLike) -> float:
    """Sum of gains divided by the sum of losses.

    Parameters
    ----------
    values : array-like, shape (n,)
        Returns or trade results, any unit; NaN = not observed, left out.

    Returns
    -------
    float
        Infinity with gains and no loss; NaN with neither.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> profit_factor([3.0, -1.0, -0.5])
    2.0
    """
    observed = parse_observed("values", values)
    gains = float(observed[observed > 0.0].sum())
    losses = -float(observed[observed < 0.0].sum())
    if losses == 0.0:
        return float("inf") if gains > 0.0 else float("nan")
    return gains / losses


def payoff_ratio(values: npt.ArrayLike) -> float:
    """Mean gain divided by mean loss.

    Parameters
    ----------
    values : array-like, shape (n,)
        Returns or trade results, any unit; NaN = not observed, left out.

    Returns
    -------
    float
        NaN without a gain or without a loss.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> payoff_ratio([3.0, -1.0, -0.5])
    4.0
    """
    observed = parse_observed("values", values)
    gains, losses = observed[observed > 0.0], observed[observed < 0.0]
    if len(gains) == 0 or len(losses) == 0:
        return float("nan")
    return float(gains.mean() / -losses.mean())


def expectancy(values: npt.ArrayLike) -> float:
    """Mean result: what one more trade is worth on average.

    Equals ``hit rate * mean gain - loss rate * mean loss``, because zeros add nothing.

    Parameters
    ----------
    values : array-like, shape (n,)
        Returns or trade results, any unit; NaN = not observed, left out.

    Returns
    -------
    float
        In the unit of the input; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> expectancy([3.0, -1.0, 0.0, -0.5])
    0.375
    """
    observed = parse_observed("values", values)
    return float(observed.mean()) if len(observed) else float("nan")
