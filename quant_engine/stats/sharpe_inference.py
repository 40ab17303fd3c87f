"""What an observed Sharpe ratio proves: standard error, PSR and minimum track record.

Contract: every Sharpe ratio here is PER PERIOD (mean over standard deviation of one observation,
not annualised) and ``n_obs`` counts observations of that same period. Kurtosis is Pearson's, 3 for
a normal distribution; :class:`ReturnShape` refuses values that no distribution has, which is what
an excess kurtosis usually is. ``per_period`` turns an annualised ratio into one that fits.

Numbers and arrays are both accepted and broadcast, so that thousands of strategies are one call;
a number in gives a number out. Two published conventions of the sampling variance exist and a
result names the one it used:

* ``psr_2012`` (the default): variance at the OBSERVED Sharpe ratio, divided by n - 1 (Bailey and
  Lopez de Prado 2012).
* ``psr_2025``: variance at the NULL Sharpe ratio, divided by n (Lopez de Prado, Lipton and
  Zoonekynd 2025), with ``null_variance=True``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.broadcast import as_given, parse_counts, parse_numbers
from quant_engine.stats.checks import check_coverage

__all__ = [
    "NORMAL_SHAPE",
    "MinTrackRecord",
    "ProbabilisticSharpe",
    "ReturnShape",
    "SharpeSample",
    "min_track_record",
    "per_period",
    "probabilistic_sharpe",
    "sharpe_sample",
    "sharpe_std_error",
]

MIN_OBS = 3
"""Observations without which skewness and kurtosis say nothing."""

MissingRule = Literal["refuse", "omit"]


@dataclass(frozen=True, eq=False)
class ReturnShape:
    """Shape of a return distribution, which decides how uncertain a Sharpe ratio is.

    Parameters
    ----------
    skew : float or array
        Third standardised moment.
    kurtosis_pearson : float or array
        Fourth standardised moment, 3 for a normal distribution: NOT excess kurtosis. At least
        ``1 + skew**2``, as for every distribution.
    autocorrelation : float or array
        First-order autocorrelation of the returns, strictly between -1 and 1.

    Raises
    ------
    DataError
        Numbers that no distribution has.

    Examples
    --------
    >>> ReturnShape(skew=-3.0, kurtosis_pearson=7.0)
    Traceback (most recent call last):
    ...
    quant_engine.core.errors.DataError: kurtosis_pearson: wanted at least 1 + skew^2, got 7.0 with \
skew -3.0. It is 3 for a normal distribution; add 3 to an excess kurtosis (scipy, pandas).
    """

    skew: npt.ArrayLike
    kurtosis_pearson: npt.ArrayLike
    autocorrelation: npt.ArrayLike = 0.0

    def __post_init__(self) -> None:
        g3 = parse_numbers("skew", self.skew)
        g4 = parse_numbers("kurtosis_pearson", self.kurtosis_pearson)
        rho = parse_numbers("autocorrelation", self.autocorrelation)
        impossible = np.atleast_1d(g4 < (1.0 + g3**2) * (1.0 - 1e-9))
        if impossible.any():
            raise DataError(
                "kurtosis_pearson",
                wanted="at least 1 + skew^2",
                got=f"{self.kurtosis_pearson!r} with skew {self.skew!r}",
                hint="It is 3 for a normal distribution; add 3 to an excess kurtosis (scipy, "
                "pandas).",
            )
        if (np.abs(np.atleast_1d(rho)) >= 1.0).any():
            raise DataError(
                "autocorrelation",
                wanted="strictly between -1 and 1",
                got=self.autocorrelation,
                hint="Pass the first-order autocorrelation of the returns.",
            )


NORMAL_SHAPE = ReturnShape(skew=0.0, kurtosis_pearson=3.0)
"""Independent normal returns."""


@dataclass(frozen=True, eq=False)
class SharpeSample:
    """Sharpe ratio and shape of observed returns, ready for the tests of this module.

    Parameters
    ----------
    sharpe_per_period : float or ndarray of float64, shape (N,)
        Mean over standard deviation (ddof 1), not annualised.
    n_obs : int or ndarray of int64, shape (N,)
        Observations.
    shape : ReturnShape
        Population skewness and Pearson kurtosis (divided by n, no small-sample correction).

    Examples
    --------
    >>> int(sharpe_sample([0.01, -0.02, 0.03, 0.01]).n_obs)
    4
    """

    sharpe_per_period: FloatVector
    n_obs: npt.NDArray[np.int64]
    shape: ReturnShape


@dataclass(frozen=True, eq=False)
class ProbabilisticSharpe:
    """Probability that the true Sharpe ratio exceeds a benchmark.

    Parameters
    ----------
    probability : float or array
        PSR, in [0, 1]; one minus a one-sided p-value.
    z : float or array
        Distance from the benchmark in standard errors.
    std_error : float or array
        Standard error of the per-period Sharpe ratio that was used.
    benchmark_per_period : float or array
        Benchmark.
    convention : str
        ``"psr_2012"`` or ``"psr_2025"``; the module says what they are.

    Examples
    --------
    >>> probabilistic_sharpe(0.1, n_obs=250, shape=NORMAL_SHAPE).convention
    'psr_2012'
    """

    probability: FloatVector
    z: FloatVector
    std_error: FloatVector
    benchmark_per_period: FloatVector
    convention: str


@dataclass(frozen=True, eq=False)
class MinTrackRecord:
    """Observations after which a Sharpe ratio is significantly above a benchmark.

    Parameters
    ----------
    min_obs : float or array
        Observations, not rounded; infinity where the ratio does not exceed the benchmark.
    confidence : float
        Probability to be reached.
    convention : str
        ``"psr_2012"`` or ``"psr_2025"``.

    Examples
    --------
    >>> round(float(min_track_record(0.2, shape=NORMAL_SHAPE).years(252)), 2)
    0.28
    """

    min_obs: FloatVector
    confidence: float
    convention: str

    def years(self, periods_per_year: float) -> FloatVector:
        """The same in years, given the number of observations in one."""
        return as_given(self.min_obs / periods_per_year)


def per_period(sharpe_annual: npt.ArrayLike, *, periods_per_year: float) -> FloatVector:
    """Turn annualised Sharpe ratios into per-period ones: ``sharpe / sqrt(periods_per_year)``.

    Parameters
    ----------
    sharpe_annual : float or array-like, any shape
        Annualised Sharpe ratios (mean times periods over deviation times root of periods).
    periods_per_year : float
        Observations in a year.

    Returns
    -------
    float or ndarray of float64
        Sharpe ratios per period, same shape. A variance of Sharpe ratios divides by
        ``periods_per_year`` itself.

    Raises
    ------
    ConfigError
        Not a positive number of periods.

    Examples
    --------
    >>> round(float(per_period(2.5, periods_per_year=250)), 4)
    0.1581
    """
    if not (isfinite(periods_per_year) and periods_per_year > 0.0):
        raise ConfigError(
            "periods_per_year",
            wanted="a positive number",
            got=periods_per_year,
            hint="Use 252 for sessions, 12 for months.",
        )
    return as_given(parse_numbers("sharpe_annual", sharpe_annual) / sqrt(periods_per_year))


def sharpe_sample(
    returns: npt.ArrayLike, *, rf_per_period: float = 0.0, missing: MissingRule = "refuse"
) -> SharpeSample:
    """Measure Sharpe ratio, skewness and kurtosis of one or many strategies.

    Parameters
    ----------
    returns : array-like, shape (T,) or (T, N)
        Simple returns per period (fractions), one column per strategy.
    rf_per_period : float
        Risk-free return of one period.
    missing : {"refuse", "omit"}
        What to do with NaN: an error, or leave the observation out of its column.

    Returns
    -------
    SharpeSample
        Numbers for one strategy, arrays of shape (N,) for many.

    Raises
    ------
    DataError
        NaN with ``missing="refuse"``, infinite returns, or a column without variation.
    InsufficientHistoryError
        Fewer than 3 observations in a column.

    Notes
    -----
    The standard deviation has ddof 1; skewness and kurtosis are ``m3 / m2^1.5`` and
    ``m4 / m2^2`` of the population moments.

    Examples
    --------
    >>> sample = sharpe_sample([0.01, -0.02, 0.03, 0.01, 0.0])
    >>> shape = sample.shape
    >>> f"{sample.sharpe_per_period:.3f} {shape.skew:.3f} {shape.kurtosis_pearson:.3f}"
    '0.330 -0.179 2.269'
    """
    array = np.asarray(returns, dtype=np.float64)
    if array.ndim not in (1, 2) or np.isinf(array).any():
        raise DataError(
            "returns",
            wanted="finite numbers, shape (T,) or (T, N)",
            got=f"shape {array.shape}, {int(np.isinf(array).sum())} infinite",
            hint="Pass simple returns per period, one column per strategy.",
        )
    observed = ~np.isnan(array)
    if missing == "refuse" and not observed.all():
        raise DataError(
            "returns",
            wanted="no NaN",
            got=f"{int((~observed).sum())} NaN",
            hint="Decide what a missing return means; missing='omit' leaves it out.",
        )
    n_obs = observed.sum(axis=0)
    if np.min(n_obs, initial=MIN_OBS) < MIN_OBS:
        raise InsufficientHistoryError(
            "returns",
            wanted=f"at least {MIN_OBS} observations per strategy",
            got=int(np.min(n_obs)),
            hint="Skewness and kurtosis need a sample; wait for more periods.",
        )
    highest = np.max(array, axis=0, initial=-np.inf, where=observed)
    constant = highest == np.min(array, axis=0, initial=np.inf, where=observed)
    if constant.any():
        raise DataError(
            "returns",
            wanted="returns that vary",
            got=f"{int(constant.sum())} constant series",
            hint="A strategy that never traded has no Sharpe ratio.",
        )
    excess = np.where(observed, array - rf_per_period, 0.0)
    mean = excess.sum(axis=0) / n_obs
    deviation = np.where(observed, excess - mean, 0.0)
    square = deviation * deviation
    m2 = square.sum(axis=0) / n_obs
    m3 = (square * deviation).sum(axis=0) / n_obs
    m4 = (square * square).sum(axis=0) / n_obs
    return SharpeSample(
        sharpe_per_period=as_given(mean / np.sqrt(m2 * n_obs / (n_obs - 1))),
        n_obs=np.asarray(n_obs, dtype=np.int64)[()],
        shape=ReturnShape(skew=as_given(m3 / m2**1.5)[()], kurtosis_pearson=np.asarray(m4 / m2**2)),
    )


def sharpe_std_error(
    sharpe_per_period: npt.ArrayLike, *, n_obs: npt.ArrayLike, shape: ReturnShape, ddof: int = 0
) -> FloatVector:
    """Standard error of a per-period Sharpe ratio.

    Parameters
    ----------
    sharpe_per_period : float or array-like, any shape
        Sharpe ratio per period at which the variance is taken.
    n_obs : int or array-like, any shape
        Observations, at least 3.
    shape : ReturnShape
        Skewness, Pearson kurtosis and first-order autocorrelation.
    ddof : {0, 1}
        The variance is divided by ``n_obs - ddof``: 0 in Lo (2002), Mertens (2002) and the 2025
        convention, 1 in the PSR of 2012.

    Returns
    -------
    float or ndarray of float64
        Standard error per period, broadcast shape.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 3 observations.
    DataError
        NaN or infinite numbers.
    ConfigError
        Another ddof.

    Notes
    -----
    ``(a - b g3 s + c (g4 - 1) s^2 / 4) / (n - ddof)`` with ``a = 1 + 2 B``, ``b = 1 + B + C``,
    ``c = 1 + 2 C``, ``B = rho / (1 - rho)``, ``C = rho^2 / (1 - rho^2)`` for returns that follow a
    first-order autoregression (Lopez de Prado, Lipton and Zoonekynd 2025); ``rho = 0`` is Mertens
    (2002), and normal returns ``(1 + s^2 / 2) / n`` (Lo 2002).

    Examples
    --------
    >>> round(float(sharpe_std_error(1.5, n_obs=60, shape=NORMAL_SHAPE)), 3)
    0.188
    """
    if ddof not in (0, 1):
        raise ConfigError(
            "ddof", wanted="0 or 1", got=ddof, hint="Use 0, or 1 for the PSR of 2012."
        )
    s = parse_numbers("sharpe_per_period", sharpe_per_period)
    n = parse_counts("n_obs", n_obs, at_least=MIN_OBS)
    return as_given(np.sqrt(_unit_variance(s, shape) / (n - ddof)))


def probabilistic_sharpe(
    sharpe_per_period: npt.ArrayLike,
    *,
    n_obs: npt.ArrayLike,
    shape: ReturnShape,
    benchmark_per_period: npt.ArrayLike = 0.0,
    null_variance: bool = False,
) -> ProbabilisticSharpe:
    """Probability that the true Sharpe ratio exceeds a benchmark (PSR).

    Parameters
    ----------
    sharpe_per_period : float or array-like, any shape
        Observed Sharpe ratio per period (not annualised).
    n_obs : int or array-like, any shape
        Observations of that period, at least 3.
    shape : ReturnShape
        Skewness, Pearson kurtosis and first-order autocorrelation.
    benchmark_per_period : float or array-like, any shape
        Sharpe ratio per period to beat.
    null_variance : bool
        False: variance at the observed ratio, n - 1 (2012). True: variance at the benchmark, n
        (2025).

    Returns
    -------
    ProbabilisticSharpe
        Probability, z and standard error, broadcast shape.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 3 observations.
    DataError
        NaN or infinite numbers.

    Notes
    -----
    ``PSR = Phi((s - s0) sqrt(n - 1) / sqrt(1 - g3 s + (g4 - 1) s^2 / 4))``, Bailey and Lopez de
    Prado (2012). The fund of that paper has .913 in 2012 and .987 in 2025.

    Examples
    --------
    >>> shape = ReturnShape(skew=-2.448, kurtosis_pearson=10.164)
    >>> old = probabilistic_sharpe(0.458, n_obs=24, shape=shape)
    >>> new = probabilistic_sharpe(0.458, n_obs=24, shape=shape, null_variance=True)
    >>> f"{old.probability:.3f} {new.probability:.3f}"
    '0.913 0.988'
    """
    s = parse_numbers("sharpe_per_period", sharpe_per_period)
    benchmark = parse_numbers("benchmark_per_period", benchmark_per_period)
    n = parse_counts("n_obs", n_obs, at_least=MIN_OBS)
    at, divisor = (benchmark, n) if null_variance else (s, n - 1.0)
    std_error = np.sqrt(_unit_variance(at, shape) / divisor)
    # A two-point distribution has no uncertainty at one value of the ratio: z is then infinite.
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(s == benchmark, 0.0, (s - benchmark) / std_error)
    return ProbabilisticSharpe(
        probability=as_given(ndtr(z)),
        z=as_given(z),
        std_error=as_given(std_error),
        benchmark_per_period=as_given(benchmark),
        convention=_convention(null_variance),
    )


def min_track_record(
    sharpe_per_period: npt.ArrayLike,
    *,
    shape: ReturnShape,
    benchmark_per_period: npt.ArrayLike = 0.0,
    confidence: float = 0.95,
    null_variance: bool = False,
) -> MinTrackRecord:
    """Observations needed for a PSR of ``confidence`` (MinTRL).

    Parameters
    ----------
    sharpe_per_period : float or array-like, any shape
        Sharpe ratio per period, assumed to stay as it is.
    shape : ReturnShape
        Skewness, Pearson kurtosis and first-order autocorrelation.
    benchmark_per_period : float or array-like, any shape
        Sharpe ratio per period to beat.
    confidence : float
        Probability to be reached, from 0.5 on.
    null_variance : bool
        False: 2012; True: 2025.

    Returns
    -------
    MinTrackRecord
        Observations; infinity where the ratio does not exceed the benchmark.

    Raises
    ------
    ConfigError
        A confidence outside [0.5, 1).
    DataError
        NaN or infinite numbers.

    Notes
    -----
    2012: ``1 + v(s) (z / (s - s0))^2``; 2025: ``v(s0) (z / (s - s0))^2``, with v the variance of
    one observation. It is the inverse of :func:`probabilistic_sharpe` in ``n_obs``.

    Examples
    --------
    >>> record = min_track_record(
    ...     per_period(2.0, periods_per_year=250),
    ...     shape=NORMAL_SHAPE,
    ...     benchmark_per_period=per_period(1.0, periods_per_year=250),
    ... )
    >>> round(float(record.years(250)), 2)
    2.73
    """
    if not 0.5 <= check_coverage("confidence", confidence):
        raise ConfigError(
            "confidence", wanted="from 0.5 to 1", got=confidence, hint="Use 0.95, not 0.05."
        )
    s = parse_numbers("sharpe_per_period", sharpe_per_period)
    benchmark = parse_numbers("benchmark_per_period", benchmark_per_period)
    variance = _unit_variance(benchmark if null_variance else s, shape)
    edge = np.asarray(s - benchmark)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = variance * (ndtri(confidence) / edge) ** 2 + (0.0 if null_variance else 1.0)
    return MinTrackRecord(
        min_obs=as_given(np.where(edge > 0.0, needed, np.inf)),
        confidence=confidence,
        convention=_convention(null_variance),
    )


def _unit_variance(s: FloatVector, shape: ReturnShape) -> FloatVector:
    """Variance of the Sharpe ratio times the number of observations; never negative."""
    g3, g4 = np.asarray(shape.skew), np.asarray(shape.kurtosis_pearson)
    rho = np.asarray(shape.autocorrelation)
    first, second = rho / (1.0 - rho), rho**2 / (1.0 - rho**2)
    variance = (
        1.0
        + 2.0 * first
        - (1.0 + first + second) * g3 * s
        + (1.0 + 2.0 * second) * (g4 - 1.0) / 4.0 * s**2
    )
    never_negative: FloatVector = np.maximum(variance, 0.0)
    return never_negative


def _convention(null_variance: bool) -> str:
    return "psr_2025" if null_variance else "psr_2012"
