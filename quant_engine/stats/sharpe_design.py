"""Tests of a Sharpe ratio before and after the data: power, critical value, false discovery.

Contract: as in :mod:`quant_engine.stats.sharpe_inference`: ratios are per period, kurtosis is
Pearson's, numbers and arrays are broadcast. Every variance is taken at the hypothesis and divided
by n (Lopez de Prado, Lipton and Zoonekynd 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_ndtr, ndtr, ndtri

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.stats.broadcast import as_given, parse_numbers, parse_probabilities
from quant_engine.stats.sharpe_inference import ReturnShape, sharpe_std_error

__all__ = [
    "SharpeTestDesign",
    "fdr_critical_sharpe",
    "observed_fdr",
    "positive_fdr",
    "sharpe_power",
]


@dataclass(frozen=True, eq=False)
class SharpeTestDesign:
    """A one-sided test of a Sharpe ratio before the data are seen.

    Parameters
    ----------
    critical_per_period : float or array
        Observed Sharpe ratio above which the null is rejected; -infinity where every result may
        be accepted, NaN where none can.
    alpha : float or array
        Probability of rejecting a true null.
    power : float or array
        Probability of rejecting when the alternative is true.
    convention : str
        Variance: at the null under the null, at the alternative under the alternative, both
        divided by n (``"psr_2025"``).

    Examples
    --------
    >>> round(float(sharpe_power(0.1, n_obs=250, shape=ReturnShape(0.0, 3.0), alpha=0.05).power), 3)
    0.475
    """

    critical_per_period: FloatVector
    alpha: FloatVector
    power: FloatVector
    convention: str = "psr_2025"

    @property
    def beta(self) -> FloatVector:
        """Probability of missing a true alternative."""
        return as_given(1.0 - self.power)


def sharpe_power(
    sharpe_alternative: npt.ArrayLike,
    *,
    n_obs: npt.ArrayLike,
    shape: ReturnShape,
    alpha: npt.ArrayLike,
    sharpe_null: npt.ArrayLike = 0.0,
) -> SharpeTestDesign:
    """Critical Sharpe ratio of a one-sided test and its power against an alternative.

    Parameters
    ----------
    sharpe_alternative : float or array-like, any shape
        True Sharpe ratio per period that the test should find.
    n_obs : int or array-like, any shape
        Observations, at least 3.
    shape : ReturnShape
        Skewness, Pearson kurtosis and first-order autocorrelation.
    alpha : float or array-like, any shape
        Probability of rejecting a true null, strictly between 0 and 1.
    sharpe_null : float or array-like, any shape
        Sharpe ratio per period under the null.

    Returns
    -------
    SharpeTestDesign
        Critical ratio and power.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 3 observations.
    DataError
        NaN or infinite numbers, or an alpha outside (0, 1).

    Notes
    -----
    ``c = s0 + se(s0) z_{1 - alpha}``; ``power = 1 - Phi((c - s1) / se(s1))`` (Lopez de Prado,
    Lipton and Zoonekynd 2025).

    Examples
    --------
    >>> shape = ReturnShape(skew=-2.448, kurtosis_pearson=10.164)
    >>> design = sharpe_power(0.5, n_obs=24, shape=shape, alpha=0.05)
    >>> f"{design.critical_per_period:.3f} {design.power:.3f}"
    '0.336 0.685'
    """
    level = parse_probabilities("alpha", alpha)
    null, other, se_null, se_other = _two_hypotheses(sharpe_null, sharpe_alternative, n_obs, shape)
    critical = null - se_null * ndtri(level)
    power = ndtr((other - critical) / se_other)
    return SharpeTestDesign(as_given(critical)[()], np.asarray(level)[()], np.asarray(power))


def positive_fdr(
    *, prior_alternative: npt.ArrayLike, alpha: npt.ArrayLike, power: npt.ArrayLike
) -> FloatVector:
    """Probability that a rejected null was true after all (pFDR).

    Parameters
    ----------
    prior_alternative : float or array-like, any shape
        Probability, before the data, that the alternative is true.
    alpha : float or array-like, any shape
        Probability of rejecting a true null.
    power : float or array-like, any shape
        Probability of rejecting when the alternative is true.

    Returns
    -------
    float or ndarray of float64
        Probability, broadcast shape.

    Raises
    ------
    DataError
        A number outside (0, 1).

    Notes
    -----
    Bayes: ``alpha p0 / (alpha p0 + power p1)`` with ``p0 = 1 - p1`` (Storey 2003).

    Examples
    --------
    >>> round(float(positive_fdr(prior_alternative=0.05, alpha=0.05, power=0.685)), 3)
    0.581
    """
    p1 = parse_probabilities("prior_alternative", prior_alternative)
    false = parse_probabilities("alpha", alpha) * (1.0 - p1)
    found = parse_probabilities("power", power, closed=True) * p1
    return as_given(false / (false + found))


def observed_fdr(
    sharpe_per_period: npt.ArrayLike,
    *,
    n_obs: npt.ArrayLike,
    shape: ReturnShape,
    sharpe_alternative: npt.ArrayLike,
    prior_alternative: npt.ArrayLike,
    sharpe_null: npt.ArrayLike = 0.0,
) -> FloatVector:
    """Probability that the null is true given a Sharpe ratio at least as large as observed.

    Parameters
    ----------
    sharpe_per_period : float or array-like, any shape
        Observed Sharpe ratio per period.
    n_obs : int or array-like, any shape
        Observations, at least 3.
    shape : ReturnShape
        Skewness, Pearson kurtosis and first-order autocorrelation.
    sharpe_alternative, sharpe_null : float or array-like, any shape
        Sharpe ratios per period of the two hypotheses.
    prior_alternative : float or array-like, any shape
        Probability, before the data, that the alternative is true.

    Returns
    -------
    float or ndarray of float64
        Probability, broadcast shape.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 3 observations.
    DataError
        NaN or infinite numbers, or a prior outside (0, 1).

    Notes
    -----
    :func:`positive_fdr` of a test whose critical value is the observed ratio.

    Examples
    --------
    >>> normal = ReturnShape(skew=0.0, kurtosis_pearson=3.0)
    >>> fdr = observed_fdr(
    ...     0.4, n_obs=24, shape=normal, sharpe_alternative=0.5, prior_alternative=0.1
    ... )
    >>> round(float(fdr), 3)
    0.249
    """
    s = parse_numbers("sharpe_per_period", sharpe_per_period)
    null, other, se_null, se_other = _two_hypotheses(sharpe_null, sharpe_alternative, n_obs, shape)
    p1 = parse_probabilities("prior_alternative", prior_alternative)
    false = np.log1p(-p1) + log_ndtr((null - s) / se_null)
    return as_given(expit(false - np.log(p1) - log_ndtr((other - s) / se_other)))


def fdr_critical_sharpe(
    *,
    fdr: float,
    sharpe_alternative: float,
    prior_alternative: float,
    n_obs: float,
    shape: ReturnShape,
    sharpe_null: float = 0.0,
) -> SharpeTestDesign:
    """Sharpe ratio to demand so that at most a share ``fdr`` of those that pass are false.

    Parameters
    ----------
    fdr : float
        Wanted probability that a strategy that passes has the null's ratio, in (0, 1).
    sharpe_alternative, sharpe_null : float
        Sharpe ratios per period of the two hypotheses; the alternative is the larger.
    prior_alternative : float
        Probability, before the data, that the alternative is true, in (0, 1).
    n_obs : float
        Observations, at least 3.
    shape : ReturnShape
        Skewness, Pearson kurtosis and first-order autocorrelation, numbers.

    Returns
    -------
    SharpeTestDesign
        Critical ratio, its alpha and its power. The ratio is -infinity (alpha and power 1) where
        the prior alone satisfies `fdr`, and NaN where no ratio does.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 3 observations.
    DataError
        NaN or infinite numbers, or probabilities outside (0, 1).
    ConfigError
        An alternative that is not larger than the null.

    Notes
    -----
    Solves ``P[H0 | S > c] = fdr`` by bisection (Lopez de Prado, Lipton and Zoonekynd 2025).

    Examples
    --------
    >>> shape = ReturnShape(skew=-2.448, kurtosis_pearson=10.164)
    >>> design = fdr_critical_sharpe(
    ...     fdr=0.25, sharpe_alternative=0.5, prior_alternative=0.1, n_obs=24, shape=shape
    ... )
    >>> f"{design.critical_per_period:.4f} {design.alpha:.4f} {design.beta:.4f}"
    '0.4096 0.0224 0.3956'
    """
    if not sharpe_null < sharpe_alternative:
        raise ConfigError(
            "sharpe_alternative",
            wanted=f"more than sharpe_null, {sharpe_null}",
            got=sharpe_alternative,
            hint="State the smallest Sharpe ratio worth finding.",
        )
    wanted = float(parse_probabilities("fdr", fdr))
    p1 = float(parse_probabilities("prior_alternative", prior_alternative))
    null, other, se_null, se_other = (
        float(value) for value in _two_hypotheses(sharpe_null, sharpe_alternative, n_obs, shape)
    )
    if 1.0 - p1 <= wanted:
        return SharpeTestDesign(as_given(-np.inf), as_given(1.0), as_given(1.0))
    # Log odds that a ratio above c is real, from 0 upwards; tails far below 1e-300 are needed.
    odds = np.log((1.0 - p1) / p1) + np.log((1.0 - wanted) / wanted)

    def missing(c: float) -> float:
        real = float(log_ndtr((other - c) / se_other))
        return float(odds) - real + float(log_ndtr((null - c) / se_null))

    low, high = _bracket(missing, (null, se_null), (other, se_other))
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if missing(middle) > 0.0 else (low, middle)
    return SharpeTestDesign(
        as_given(high),
        as_given(ndtr((null - high) / se_null)),
        as_given(ndtr((other - high) / se_other)),
    )


def _bracket(
    missing: Callable[[float], float], null: tuple[float, float], other: tuple[float, float]
) -> tuple[float, float]:
    """Two ratios between which the missing log odds fall to zero; NaN where they never do.

    With the wider distribution under the alternative the odds grow without limit. With the wider
    one under the null they grow up to about where the two densities' ratio is largest.
    """
    low = min(null[0] - 10.0 * null[1], other[0] - 10.0 * other[1])
    step = max(null[1], other[1])
    if other[1] >= null[1]:
        high = other[0] + step
        while missing(high) > 0.0:
            step *= 2.0
            high += step
        return low, high
    precision, wider = 1.0 / other[1] ** 2, 1.0 / null[1] ** 2
    peak = (other[0] * precision - null[0] * wider) / (precision - wider)
    # The ratio of tails peaks below the ratio of densities.
    grid = np.linspace(low, max(peak, other[0]) + step, 4001)
    enough = np.flatnonzero([missing(float(c)) <= 0.0 for c in grid])
    return (low, float(grid[enough[0]])) if len(enough) else (np.nan, np.nan)


def _two_hypotheses(
    sharpe_null: npt.ArrayLike,
    sharpe_other: npt.ArrayLike,
    n_obs: npt.ArrayLike,
    shape: ReturnShape,
) -> tuple[FloatVector, FloatVector, FloatVector, FloatVector]:
    """Both Sharpe ratios and their standard errors, divided by n."""
    null = parse_numbers("sharpe_null", sharpe_null)
    other = parse_numbers("sharpe_alternative", sharpe_other)
    errors = [sharpe_std_error(s, n_obs=n_obs, shape=shape) for s in (null, other)]
    return null, other, errors[0], errors[1]
