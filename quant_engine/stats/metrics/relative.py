"""Returns against a benchmark: alpha, beta, tracking error, information ratio.

Contract: simple returns per period; a pair with NaN on either side is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.stats.checks import check_same_shape, parse_vector
from quant_engine.stats.metrics.moments import standard_deviation

__all__ = ["BenchmarkLine", "alpha_beta", "information_ratio", "tracking_error"]


@dataclass(frozen=True)
class BenchmarkLine:
    """Least-squares line of excess returns on the benchmark's excess returns.

    Parameters
    ----------
    alpha_per_period : float
        Intercept (fraction per period).
    alpha_ann : float
        Intercept times periods per year (fraction per year, not compounded).
    beta : float
        Slope.
    r_squared : float
        Share of variance explained; NaN where the returns do not vary.
    residual_std : float
        Standard deviation of the residuals per period, ddof 2 (fraction).
    rf_per_period : float
        Riskless return that both sides were measured from.
    periods_per_year : float
        Annualisation.
    n_obs : int
        Pairs used.

    Examples
    --------
    >>> alpha_beta([0.02, 0.0, 0.04], [0.01, 0.0, 0.02], periods_per_year=252).n_obs
    3
    """

    alpha_per_period: float
    alpha_ann: float
    beta: float
    r_squared: float
    residual_std: float
    rf_per_period: float
    periods_per_year: float
    n_obs: int


def alpha_beta(
    returns: npt.ArrayLike,
    benchmark_returns: npt.ArrayLike,
    *,
    periods_per_year: float,
    rf_per_period: float = 0.0,
) -> BenchmarkLine:
    """Alpha and beta by ordinary least squares (Jensen 1968).

    ``beta = cov(r, b) / var(b)`` and ``alpha = mean(r - rf) - beta mean(b - rf)``.

    Parameters
    ----------
    returns, benchmark_returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, the pair is left out.
    periods_per_year : float
        Annualisation of alpha.
    rf_per_period : float
        Riskless return per period (fraction).

    Returns
    -------
    BenchmarkLine
        NaN with fewer than 3 pairs or where the benchmark does not vary.

    Raises
    ------
    DataError
        Series of different lengths, or not finite.

    Notes
    -----
    These are descriptions. The error of alpha under serial correlation comes from
    `quant_engine.stats.inference.newey_west_regression`.

    Examples
    --------
    >>> line = alpha_beta([0.021, 0.001, 0.041], [0.01, 0.0, 0.02], periods_per_year=252)
    >>> f"{line.alpha_per_period:.4f} {line.alpha_ann:.3f} {line.beta:.2f}"
    '0.0010 0.252 2.00'
    """
    own, other = _pairs(returns, benchmark_returns)
    n_obs, nan = len(own), float("nan")
    beta = alpha = r_squared = residual_std = nan
    if n_obs >= 3 and other.min() < other.max():
        own_spread, other_spread = own - own.mean(), other - other.mean()
        beta = float(own_spread @ other_spread) / float(other_spread @ other_spread)
        alpha = float(own.mean()) - rf_per_period - beta * (float(other.mean()) - rf_per_period)
        residual = own_spread - beta * other_spread
        squares, total = float(residual @ residual), float(own_spread @ own_spread)
        residual_std = sqrt(squares / (n_obs - 2))
        r_squared = 1.0 - squares / total if own.min() < own.max() else nan
    return BenchmarkLine(
        alpha_per_period=alpha,
        alpha_ann=alpha * periods_per_year,
        beta=beta,
        r_squared=r_squared,
        residual_std=residual_std,
        rf_per_period=rf_per_period,
        periods_per_year=periods_per_year,
        n_obs=n_obs,
    )


def tracking_error(
    returns: npt.ArrayLike,
    benchmark_returns: npt.ArrayLike,
    *,
    periods_per_year: float,
    ddof: int = 1,
) -> float:
    """Annualised standard deviation of the difference to the benchmark.

    Parameters
    ----------
    returns, benchmark_returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, the pair is left out.
    periods_per_year : float
        Annualisation.
    ddof : int
        1 for the sample standard deviation, 0 for the population one.

    Returns
    -------
    float
        Fraction per square root of a year; NaN with ``ddof`` or fewer pairs.

    Raises
    ------
    DataError
        Series of different lengths, or not finite.

    Examples
    --------
    >>> round(tracking_error([0.01, 0.02], [0.01, 0.01], periods_per_year=252), 4)
    0.1122
    """
    own, other = _pairs(returns, benchmark_returns)
    return standard_deviation(own - other, ddof=ddof) * sqrt(periods_per_year)


def information_ratio(
    returns: npt.ArrayLike,
    benchmark_returns: npt.ArrayLike,
    *,
    periods_per_year: float,
    ddof: int = 1,
) -> float:
    """Annualised mean difference to the benchmark per unit of tracking error.

    ``sqrt(periods_per_year) * mean(r - b) / std(r - b, ddof)``.

    Parameters
    ----------
    returns, benchmark_returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, the pair is left out.
    periods_per_year : float
        Annualisation.
    ddof : int
        1 for the sample standard deviation, 0 for the population one.

    Returns
    -------
    float
        NaN with fewer than 2 pairs or where the difference does not vary.

    Raises
    ------
    DataError
        Series of different lengths, or not finite.

    Examples
    --------
    >>> round(information_ratio([0.02, 0.02, 0.01], [0.01, 0.0, 0.01], periods_per_year=12), 3)
    3.464
    """
    own, other = _pairs(returns, benchmark_returns)
    spread = standard_deviation(own - other, ddof=ddof)
    if len(own) < 2 or not spread > 0.0:
        return float("nan")
    return float((own - other).mean()) / spread * sqrt(periods_per_year)


def _pairs(
    returns: npt.ArrayLike, benchmark_returns: npt.ArrayLike
) -> tuple[FloatVector, FloatVector]:
    """Periods in which both were observed."""
    own = parse_vector("returns", returns)
    other = parse_vector("benchmark_returns", benchmark_returns)
    check_same_shape("returns", own, "benchmark_returns", other)
    both = ~(np.isnan(own) | np.isnan(other))
    return own[both], other[both]
