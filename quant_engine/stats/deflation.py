"""Selection among many trials: the best of N Sharpe ratios is large by luck alone.

Contract: as in :mod:`quant_engine.stats.sharpe_inference`, every Sharpe ratio and every variance of
Sharpe ratios is per period. The number of trials and the variance of their Sharpe ratios are
ARGUMENTS: they come from a ledger of what was tried, never from the strategy itself. Trials that
are variants of one idea count as fewer (:mod:`quant_engine.stats.effective_trials`); one trial has
the benchmark 0, and its DSR is its PSR.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import e, isfinite
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtri

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.broadcast import as_given, parse_counts, parse_numbers
from quant_engine.stats.sharpe_inference import ReturnShape, probabilistic_sharpe

__all__ = [
    "DeflatedSharpe",
    "MinBacktestLength",
    "deflated_sharpe",
    "expected_max_normal",
    "expected_max_sharpe",
    "min_backtest_length",
    "sd_of_max_normal",
    "trial_variance",
]

MaxForm = Literal["approximate", "exact"]

# Panels of equal width with 16 Gauss-Legendre nodes each: the order-statistic integrals come out
# to 11 digits for 1 to 1e15 trials.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_EDGES = np.linspace(0.0, 16.0, 65)
_GRID = (0.5 * (_EDGES[1:] + _EDGES[:-1])[:, None] + 0.125 * _NODES).ravel()
_STEP = np.tile(0.125 * _WEIGHTS, len(_EDGES) - 1)
_LOG_UPPER, _LOG_LOWER = log_ndtr(_GRID), log_ndtr(-_GRID)


@dataclass(frozen=True, eq=False)
class DeflatedSharpe:
    """Probability that the true Sharpe ratio exceeds what the best of N useless trials shows.

    Parameters
    ----------
    probability : float or array
        DSR, in [0, 1].
    benchmark_per_period : float or array
        Expected maximum of the trials under the null, SR0.
    z : float or array
        Distance from it in standard errors.
    std_error : float or array
        Standard error of the per-period Sharpe ratio.
    n_trials : float or array
        Trials counted.
    convention : str
        Convention of the PSR and form of the expected maximum.

    Examples
    --------
    >>> shape = ReturnShape(skew=0.0, kurtosis_pearson=3.0)
    >>> deflated_sharpe(
    ...     0.1, n_obs=500, shape=shape, trial_variance_per_period=0.002, n_trials=20
    ... ).convention
    'psr_2012, expected maximum approximate'
    """

    probability: FloatVector
    benchmark_per_period: FloatVector
    z: FloatVector
    std_error: FloatVector
    n_trials: FloatVector
    convention: str


@dataclass(frozen=True, eq=False)
class MinBacktestLength:
    """Years of data below which the best of N useless trials reaches a target Sharpe ratio.

    Parameters
    ----------
    min_years : float or array
        Years at which the expected maximum equals the target.
    upper_bound_years : float or array
        The simpler ``2 ln(N) / target^2``.
    target_sharpe_annual : float
        Annualised Sharpe ratio.

    Examples
    --------
    >>> round(float(min_backtest_length(45).min_years), 2)
    5.0
    """

    min_years: FloatVector
    upper_bound_years: FloatVector
    target_sharpe_annual: float


def expected_max_normal(n_trials: npt.ArrayLike, *, form: MaxForm = "approximate") -> FloatVector:
    """Expected maximum of independent standard normal numbers.

    Parameters
    ----------
    n_trials : float or array-like, any shape
        How many, at least 1; an effective number need not be whole.
    form : {"approximate", "exact"}
        The approximation of the false strategy theorem, or the order-statistic integral.

    Returns
    -------
    float or ndarray of float64
        Standard deviations, same shape; 0 for one trial.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 1 trial.
    ConfigError
        An unknown form.

    Notes
    -----
    Approximate: ``(1 - g) z(1 - 1/N) + g z(1 - 1/(N e))`` with the Euler-Mascheroni constant g
    and normal quantiles z (Bailey and Lopez de Prado 2014). It is defined for N > 1 and negative
    below 1.28, where 0 is returned; it is 8 % low at N = 2 and 1 % high at N = 100. Exact:
    ``E[max] = int_0^inf 1 - F^N(x) dx - int_0^inf F^N(-x) dx``.

    Examples
    --------
    >>> [round(float(expected_max_normal(n)), 3) for n in (1, 2, 45, 1000)]
    [0.0, 0.52, 2.236, 3.255]
    >>> round(float(expected_max_normal(2, form="exact")), 4)
    0.5642
    """
    count = parse_counts("n_trials", n_trials, at_least=1.0)
    if form == "exact":
        return as_given(np.where(count == 1.0, 0.0, _max_moment(count, power=1)))
    if form != "approximate":
        raise ConfigError(
            "form", wanted="'approximate' or 'exact'", got=form, hint="Use 'approximate'."
        )
    several = np.where(count > 1.0, count, 2.0)
    value = (1.0 - np.euler_gamma) * -ndtri(1.0 / several) + np.euler_gamma * -ndtri(
        1.0 / (several * e)
    )
    return as_given(np.where(count > 1.0, np.maximum(value, 0.0), 0.0))


def sd_of_max_normal(n_trials: npt.ArrayLike) -> FloatVector:
    """Standard deviation of the maximum of independent standard normal numbers.

    Parameters
    ----------
    n_trials : float or array-like, any shape
        How many, at least 1; an effective number need not be whole.

    Returns
    -------
    float or ndarray of float64
        Standard deviations, same shape; 1 for one trial.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 1 trial.

    Notes
    -----
    Order-statistic integrals of the first two moments.

    Examples
    --------
    >>> round(float(sd_of_max_normal(100)), 4)
    0.4294
    """
    count = parse_counts("n_trials", n_trials, at_least=1.0)
    return as_given(np.sqrt(_max_moment(count, power=2) - _max_moment(count, power=1) ** 2))


def trial_variance(trial_sharpes_per_period: npt.ArrayLike, *, ddof: int = 1) -> float:
    """Variance of the Sharpe ratios of all trials, for :func:`deflated_sharpe`.

    Parameters
    ----------
    trial_sharpes_per_period : array-like, shape (N,)
        Sharpe ratio per period of every trial that was evaluated, winners and losers.
    ddof : {0, 1}
        1 (skfolio, our default) or 0 (mlfinlab); the paper does not say which.

    Returns
    -------
    float
        Variance per period squared; 0 for one trial.

    Raises
    ------
    InsufficientHistoryError
        No trial.
    DataError
        NaN or infinite ratios: a trial without a ratio is still a trial and has to be explained.
    ConfigError
        Another ddof.

    Examples
    --------
    >>> round(trial_variance([0.02, 0.05, -0.01]), 6)
    0.0009
    """
    sharpes = parse_numbers("trial_sharpes_per_period", trial_sharpes_per_period).ravel()
    if len(sharpes) == 0:
        raise InsufficientHistoryError(
            "trial_sharpes_per_period",
            wanted="at least 1 trial",
            got=0,
            hint="The strategy itself is a trial.",
        )
    if ddof not in (0, 1):
        raise ConfigError("ddof", wanted="0 or 1", got=ddof, hint="Use 1.")
    return float(sharpes.var(ddof=ddof)) if len(sharpes) > 1 else 0.0


def expected_max_sharpe(
    *,
    n_trials: npt.ArrayLike,
    trial_variance_per_period: npt.ArrayLike,
    form: MaxForm = "approximate",
) -> FloatVector:
    """Sharpe ratio that the best of N useless trials shows on average (SR0).

    Parameters
    ----------
    n_trials : float or array-like, any shape
        Independent trials, at least 1; an effective number need not be whole.
    trial_variance_per_period : float or array-like, any shape
        Variance of the trials' per-period Sharpe ratios, for instance of :func:`trial_variance`.
        An annualised variance is divided by the periods per year first.
    form : {"approximate", "exact"}
        As in :func:`expected_max_normal`.

    Returns
    -------
    float or ndarray of float64
        Sharpe ratio per period, broadcast shape; 0 for one trial or without dispersion.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 1 trial.
    DataError
        A negative variance, NaN or infinity.

    Notes
    -----
    ``sqrt(V) E[max_N]``: the false strategy theorem with a mean of zero (Bailey and Lopez de Prado
    2014).

    Examples
    --------
    >>> round(float(expected_max_sharpe(n_trials=100, trial_variance_per_period=0.5 / 250)), 4)
    0.1132
    """
    variance = parse_numbers("trial_variance_per_period", trial_variance_per_period)
    if (variance < 0.0).any():
        raise DataError(
            "trial_variance_per_period",
            wanted="at least 0",
            got=trial_variance_per_period,
            hint="Pass the variance of the trials' Sharpe ratios.",
        )
    return as_given(np.sqrt(variance) * expected_max_normal(n_trials, form=form))


def deflated_sharpe(
    sharpe_per_period: npt.ArrayLike,
    *,
    n_obs: npt.ArrayLike,
    shape: ReturnShape,
    trial_variance_per_period: npt.ArrayLike,
    n_trials: npt.ArrayLike,
    null_variance: bool = False,
    form: MaxForm = "approximate",
) -> DeflatedSharpe:
    """Deflated Sharpe ratio: PSR against the expected maximum of the trials.

    Parameters
    ----------
    sharpe_per_period : float or array-like, any shape
        Observed Sharpe ratio per period of the selected strategy (not annualised).
    n_obs : int or array-like, any shape
        Its observations, at least 3.
    shape : ReturnShape
        Skewness, Pearson kurtosis and first-order autocorrelation of its returns.
    trial_variance_per_period : float or array-like, any shape
        Variance of the per-period Sharpe ratios of all trials.
    n_trials : float or array-like, any shape
        Trials, counted or effective.
    null_variance : bool
        Convention of the PSR: False 2012, True 2025.
    form : {"approximate", "exact"}
        Form of the expected maximum.

    Returns
    -------
    DeflatedSharpe
        Probability, benchmark and convention, broadcast shape.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 3 observations or 1 trial.
    DataError
        A negative variance, NaN or infinity.

    Notes
    -----
    Bailey and Lopez de Prado (2014): ``DSR = PSR(SR0)`` with SR0 of
    :func:`expected_max_sharpe`. It keeps its level when every trial is counted and loses it when
    trials are left out: with 1 of 1,000 reported, four of five useless strategies pass.

    Examples
    --------
    The example of the paper: annual ratio 2.5, variance 1/2 a year, 250 days a year.

    >>> result = deflated_sharpe(
    ...     2.5 / 250**0.5,
    ...     n_obs=1250,
    ...     shape=ReturnShape(skew=-3.0, kurtosis_pearson=10.0),
    ...     trial_variance_per_period=0.5 / 250,
    ...     n_trials=100,
    ... )
    >>> f"{result.probability:.4f}"
    '0.9004'
    """
    benchmark = expected_max_sharpe(
        n_trials=n_trials, trial_variance_per_period=trial_variance_per_period, form=form
    )
    test = probabilistic_sharpe(
        sharpe_per_period,
        n_obs=n_obs,
        shape=shape,
        benchmark_per_period=benchmark,
        null_variance=null_variance,
    )
    return DeflatedSharpe(
        probability=test.probability,
        benchmark_per_period=benchmark,
        z=test.z,
        std_error=test.std_error,
        n_trials=as_given(n_trials),
        convention=f"{test.convention}, expected maximum {form}",
    )


def min_backtest_length(
    n_trials: npt.ArrayLike, *, target_sharpe_annual: float = 1.0, form: MaxForm = "approximate"
) -> MinBacktestLength:
    """Years of data that N trials need so that luck does not reach a target (MinBTL).

    Parameters
    ----------
    n_trials : float or array-like, any shape
        Independent trials, at least 1.
    target_sharpe_annual : float
        Annualised Sharpe ratio that useless trials should not reach on average; positive.
    form : {"approximate", "exact"}
        Form of the expected maximum.

    Returns
    -------
    MinBacktestLength
        Years, and the simpler upper bound.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 1 trial.
    ConfigError
        A target that is not positive.

    Notes
    -----
    ``(E[max_N] / target)^2 < 2 ln(N) / target^2`` (Bailey, Borwein, Lopez de Prado and Zhu 2014).

    Examples
    --------
    >>> result = min_backtest_length(45, target_sharpe_annual=1.0)
    >>> f"{result.min_years:.2f} < {result.upper_bound_years:.2f}"
    '5.00 < 7.61'
    """
    if not (isfinite(target_sharpe_annual) and target_sharpe_annual > 0.0):
        raise ConfigError(
            "target_sharpe_annual", wanted="more than 0", got=target_sharpe_annual, hint="Use 1."
        )
    count = parse_counts("n_trials", n_trials, at_least=1.0)
    squared = target_sharpe_annual**2
    return MinBacktestLength(
        min_years=as_given(expected_max_normal(count, form=form) ** 2 / squared),
        upper_bound_years=as_given(2.0 * np.log(count) / squared),
        target_sharpe_annual=target_sharpe_annual,
    )


def _max_moment(count: FloatVector, *, power: int) -> FloatVector:
    """First or second moment of the maximum: ``int p x^(p-1) (P[max > x] +- P[max < -x]) dx``."""
    # Thousands of strategies share a handful of counts.
    distinct, position = np.unique(count, return_inverse=True)
    n = distinct[:, None]
    above, below = -np.expm1(n * _LOG_UPPER), np.exp(n * _LOG_LOWER)
    integrand = above - below if power == 1 else 2.0 * _GRID * (above + below)
    moments: FloatVector = (integrand @ _STEP)[position].reshape(count.shape)
    return moments
