"""The usual metrics of one return series in one result, with every convention beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy.typing as npt

from quant_engine.stats.metrics.drawdowns import cdar, max_drawdown, pain_index, ulcer_index
from quant_engine.stats.metrics.growth import (
    annual_return,
    annual_vol,
    cumulative_return,
    stability,
)
from quant_engine.stats.metrics.moments import Moments, moments
from quant_engine.stats.metrics.outcomes import hit_rate, payoff_ratio, profit_factor
from quant_engine.stats.metrics.ratios import calmar, omega, sortino, tail_ratio
from quant_engine.stats.metrics.sharpe_ratio import SharpeResult, sharpe
from quant_engine.stats.metrics.tails import TailRisk, var_es

__all__ = ["Performance", "performance_summary"]


@dataclass(frozen=True)
class Performance:
    """Metrics of one return series.

    Parameters
    ----------
    n_obs : int
        Observed periods.
    periods_per_year, rf_per_period, ddof, tail_alpha : float, float, int, float
        Conventions: annualisation, riskless return (Sharpe and Sortino), degrees of freedom of
        every standard deviation, and the tail of ``tail`` and ``cdar``.
    cumulative_return, annual_return, annual_vol : float
        Fractions.
    sharpe : SharpeResult
        With its error.
    sortino, calmar, omega, tail_ratio, stability : float
        As the functions of those names.
    shape : Moments
        Population skew and plain kurtosis.
    hit_rate, profit_factor, payoff_ratio : float
        Of periods.
    max_drawdown, ulcer_index, pain_index, cdar : float
        Fractions; ``max_drawdown`` is at most 0, the others are at least 0.
    tail : TailRisk
        Historical value at risk and expected shortfall.

    Examples
    --------
    >>> performance_summary([0.01, -0.02, 0.015], periods_per_year=252).ddof
    1
    """

    n_obs: int
    periods_per_year: float
    rf_per_period: float
    ddof: int
    tail_alpha: float
    cumulative_return: float
    annual_return: float
    annual_vol: float
    sharpe: SharpeResult
    sortino: float
    calmar: float
    omega: float
    tail_ratio: float
    stability: float
    shape: Moments
    hit_rate: float
    profit_factor: float
    payoff_ratio: float
    max_drawdown: float
    ulcer_index: float
    pain_index: float
    cdar: float
    tail: TailRisk


def performance_summary(
    returns: npt.ArrayLike,
    *,
    periods_per_year: float,
    rf_per_period: float = 0.0,
    ddof: int = 1,
    tail_alpha: float = 0.05,
) -> Performance:
    """Compute the usual metrics of a return series.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed, left out.
    periods_per_year : float
        Annualisation.
    rf_per_period : float
        Riskless return per period (fraction), for Sharpe, and the target of Sortino and Omega.
    ddof : int
        1 for the sample standard deviation, 0 for the population one.
    tail_alpha : float
        Probability of the tail.

    Returns
    -------
    Performance
        NaN where a metric is undefined.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        A tail not strictly between 0 and 1.

    Examples
    --------
    >>> result = performance_summary([0.01, -0.02, 0.015, 0.0, 0.005], periods_per_year=252)
    >>> f"{result.sharpe.value:.2f} {result.max_drawdown:.3f} {result.tail.es:.3f}"
    '2.35 -0.020 0.020'
    """
    shape = moments(returns, ddof=ddof)
    return Performance(
        n_obs=shape.n_obs,
        periods_per_year=periods_per_year,
        rf_per_period=rf_per_period,
        ddof=ddof,
        tail_alpha=tail_alpha,
        cumulative_return=cumulative_return(returns),
        annual_return=annual_return(returns, periods_per_year=periods_per_year),
        annual_vol=annual_vol(returns, periods_per_year=periods_per_year, ddof=ddof),
        sharpe=sharpe(
            returns, periods_per_year=periods_per_year, rf_per_period=rf_per_period, ddof=ddof
        ),
        sortino=sortino(
            returns, periods_per_year=periods_per_year, target_per_period=rf_per_period
        ),
        calmar=calmar(returns, periods_per_year=periods_per_year),
        omega=omega(returns, target_per_period=rf_per_period),
        tail_ratio=tail_ratio(returns),
        stability=stability(returns),
        shape=shape,
        hit_rate=hit_rate(returns),
        profit_factor=profit_factor(returns),
        payoff_ratio=payoff_ratio(returns),
        max_drawdown=max_drawdown(returns),
        ulcer_index=ulcer_index(returns),
        pain_index=pain_index(returns),
        cdar=cdar(returns, alpha=tail_alpha),
        tail=var_es(returns, alpha=tail_alpha),
    )
