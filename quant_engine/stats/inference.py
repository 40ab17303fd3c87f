"""Tests of a mean and of regression coefficients that allow serial correlation.

Contract: Newey-West (1987) with plain Bartlett weights and an explicit lag. There is no
prewhitening and no automatic lag; the small-sample factor is off unless asked for. A result names
the lag and the factor that made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.checks import parse_matrix, parse_vector

__all__ = [
    "MeanTest",
    "RegressionTest",
    "known_mean",
    "long_run_variance",
    "newey_west_lags",
    "newey_west_mean",
    "newey_west_or_nan",
    "newey_west_regression",
]


@dataclass(frozen=True)
class MeanTest:
    """Two-sided test of a zero mean.

    Parameters
    ----------
    mean : float
        Average, in the unit of the input.
    std_error : float
        Newey-West standard error of the mean, in the unit of the input.
    t : float
        ``mean / std_error``; NaN where the standard error is zero.
    p_value : float
        Two-sided, Student t with ``n - 1`` degrees of freedom.
    n : int
        Observations that are not NaN.
    lags : int
        Bartlett lags.
    small_sample : bool
        Whether the variance carries the factor n / (n - 1).

    Examples
    --------
    >>> newey_west_mean([1.0, 2.0, 3.0, 2.0], lags=0).n
    4
    """

    mean: float
    std_error: float
    t: float
    p_value: float
    n: int
    lags: int
    small_sample: bool


@dataclass(frozen=True, eq=False)
class RegressionTest:
    """Least-squares coefficients with Newey-West standard errors.

    Parameters
    ----------
    params, std_errors, t, p_values : ndarray of float64, shape (k,)
        One per column of the regressors; p-values two-sided, Student t with ``n - k``.
    n : int
        Observations.
    lags : int
        Bartlett lags.
    small_sample : bool
        Whether the covariance carries the factor n / (n - k).

    Examples
    --------
    >>> newey_west_regression([1.0, 2.0, 4.0], [[1.0], [1.0], [1.0]], lags=0).params.round(3)
    array([2.333])
    """

    params: FloatVector
    std_errors: FloatVector
    t: FloatVector
    p_values: FloatVector
    n: int
    lags: int
    small_sample: bool


def newey_west_lags(n_obs: int) -> int:
    """Lag count by the rule floor(4 (n / 100)^(2/9)) of Newey and West (1994).

    Parameters
    ----------
    n_obs : int
        Observations, at least 1.

    Returns
    -------
    int
        Lags. Overlapping h-session labels need at least h - 1 lags whatever this rule says.

    Raises
    ------
    ConfigError
        No observation.

    Examples
    --------
    >>> newey_west_lags(252)
    4
    """
    if n_obs < 1:
        raise ConfigError(
            "n_obs", wanted="at least 1", got=n_obs, hint="Pass the length of the series."
        )
    return int(4.0 * float(n_obs / 100.0) ** (2.0 / 9.0))


def long_run_variance(x: npt.ArrayLike, *, lags: int) -> float:
    """Bartlett long-run variance of a series about its mean.

    ``omega = g_0 + 2 sum_{l=1..L} (1 - l / (L + 1)) g_l`` with
    ``g_l = (1 / n) sum_t d_t d_{t-l}`` and ``d_t = x_t - mean(x)``
    (Newey and West 1987, equation 5).

    Parameters
    ----------
    x : array-like, shape (T,)
        Series in time order. NaN = not observed: it adds nothing to any product and keeps its
        place in time, and n counts the observed values (the amplitude-modulated estimator of
        Datta and Du 2012), so that a gap does not make distant values neighbours.
    lags : int
        L, from 0 to T - 1.

    Returns
    -------
    float
        Variance per observation (never negative), NaN without any observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        Lags below 0 or not smaller than the length.

    Examples
    --------
    >>> long_run_variance([1.0, -1.0, 1.0, -1.0], lags=0)
    1.0
    """
    series = parse_vector("x", x)
    _check_lags(lags, len(series))
    observed = ~np.isnan(series)
    n_obs = int(observed.sum())
    if n_obs == 0:
        return float("nan")
    if series[observed].min() == series[observed].max():
        # The mean of equal floats need not equal them: rounding would be left as a variance.
        return 0.0
    deviations = np.where(observed, series - series[observed].mean(), 0.0)
    return float(_bartlett_sum(deviations[:, None], lags)[0, 0]) / n_obs


def newey_west_mean(x: npt.ArrayLike, *, lags: int, small_sample: bool = False) -> MeanTest:
    """Test that a serially correlated series has mean zero.

    ``std_error = sqrt(omega / n)`` with omega from :func:`long_run_variance`.

    Parameters
    ----------
    x : array-like, shape (T,)
        Series in time order, any unit, for instance one information coefficient per date.
        NaN = not observed, with the rule of :func:`long_run_variance`.
    lags : int
        Bartlett lags, explicit: h - 1 for overlapping h-session labels, else
        :func:`newey_west_lags`.
    small_sample : bool
        Multiply the variance by n / (n - 1), as Stata's ``newey`` does.

    Returns
    -------
    MeanTest
        With t and p-value NaN where the standard error is zero.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 2 observations.
    DataError
        Not a finite one-dimensional series.
    ConfigError
        Lags below 0 or not smaller than the length.

    Examples
    --------
    >>> test = newey_west_mean([0.02, 0.05, -0.01, 0.03, 0.04, 0.01], lags=1)
    >>> f"{test.mean:.4f} {test.std_error:.4f} {test.t:.2f} {test.p_value:.3f}"
    '0.0233 0.0053 4.38 0.007'
    """
    series = parse_vector("x", x)
    observed = series[~np.isnan(series)]
    n_obs = len(observed)
    if n_obs < 2:
        raise InsufficientHistoryError(
            "x", wanted="at least 2 observations", got=n_obs, hint="A mean of one cannot be tested."
        )
    factor = n_obs / (n_obs - 1) if small_sample else 1.0
    mean = float(observed.mean())
    std_error = sqrt(max(long_run_variance(series, lags=lags), 0.0) / n_obs * factor)
    t_value = mean / std_error if std_error > 0.0 else float("nan")
    return MeanTest(
        mean=mean,
        std_error=std_error,
        t=t_value,
        p_value=float(2.0 * stdtr(n_obs - 1, -abs(t_value))),
        n=n_obs,
        lags=lags,
        small_sample=small_sample,
    )


def newey_west_or_nan(x: npt.ArrayLike, *, lags: int, min_obs: int = 2) -> MeanTest:
    """:func:`newey_west_mean` of a series that may be too short for it, as parts of a table are.

    Parameters
    ----------
    x : array-like, shape (T,)
        Series in time order, any unit; NaN = not observed, with the rule of
        :func:`long_run_variance`.
    lags : int
        Bartlett lags, cut to the observations minus 1.
    min_obs : int
        Observations that a test needs, at least 2.

    Returns
    -------
    MeanTest
        Below `min_obs` without standard error, t and p-value (NaN); the mean is NaN only without
        any observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        Lags below 0.

    Examples
    --------
    >>> short = newey_west_or_nan([0.02, 0.04], lags=5, min_obs=10)
    >>> round(short.mean, 3), short.t, short.n
    (0.03, nan, 2)
    """
    series = parse_vector("x", x)
    n_obs = int((~np.isnan(series)).sum())
    if n_obs >= max(min_obs, 2):
        return newey_west_mean(series, lags=min(lags, n_obs - 1))
    nan = float("nan")
    return MeanTest(known_mean(series), nan, nan, nan, n=n_obs, lags=lags, small_sample=False)


def known_mean(values: npt.ArrayLike) -> float:
    """Mean of what is known.

    Parameters
    ----------
    values : array-like, any shape
        Any unit; NaN = not observed, left out.

    Returns
    -------
    float
        NaN without any observation.

    Examples
    --------
    >>> known_mean([1.0, float("nan"), 3.0]), known_mean([])
    (2.0, nan)
    """
    array = np.asarray(values, dtype=np.float64)
    known = array[~np.isnan(array)]
    return float(known.mean()) if known.size else float("nan")


def newey_west_regression(
    y: npt.ArrayLike, x: npt.ArrayLike, *, lags: int, small_sample: bool = False
) -> RegressionTest:
    """Least squares with a Newey-West covariance.

    ``cov = (X'X)^-1 S (X'X)^-1`` where S is the Bartlett sum of the scores ``x_t e_t``.

    Parameters
    ----------
    y : array-like, shape (T,)
        Left side in time order; no NaN.
    x : array-like, shape (T, k)
        Regressors, with a column of ones where a constant is wanted; no NaN.
    lags : int
        Bartlett lags.
    small_sample : bool
        Multiply the covariance by n / (n - k), as Stata's ``newey`` does.

    Returns
    -------
    RegressionTest
        Coefficients, standard errors, t and p-values per column.

    Raises
    ------
    DataError
        NaN, lengths that differ, or regressors that are not linearly independent.
    InsufficientHistoryError
        Not more observations than regressors.
    ConfigError
        Lags below 0 or not smaller than the length.

    Examples
    --------
    >>> fit = newey_west_regression([1.0, 3.1, 4.9, 7.0], [[0, 1], [1, 1], [2, 1], [3, 1]], lags=1)
    >>> fit.params.round(2)
    array([1.98, 1.03])
    """
    left, right = parse_vector("y", y), parse_matrix("x", x)
    n_obs, n_columns = right.shape
    _check_regression(left, right)
    _check_lags(lags, n_obs)
    gram_inverse = np.linalg.inv(right.T @ right)
    params = gram_inverse @ (right.T @ left)
    scores = right * (left - right @ params)[:, None]
    covariance = gram_inverse @ _bartlett_sum(scores, lags) @ gram_inverse
    factor = n_obs / (n_obs - n_columns) if small_sample else 1.0
    std_errors = np.sqrt(np.maximum(np.diag(covariance), 0.0) * factor)
    t_values = np.full(n_columns, np.nan)
    np.divide(params, std_errors, out=t_values, where=std_errors > 0.0)
    return RegressionTest(
        params=params,
        std_errors=std_errors,
        t=t_values,
        p_values=2.0 * stdtr(n_obs - n_columns, -np.abs(t_values)),
        n=n_obs,
        lags=lags,
        small_sample=small_sample,
    )


def _bartlett_sum(scores: FloatVector, lags: int) -> FloatVector:
    """Weighted sum of score autocovariance matrices, not divided by n; shape (k, k)."""
    total: FloatVector = scores.T @ scores
    for lag in range(1, lags + 1):
        cross = scores[lag:].T @ scores[:-lag]
        total += (1.0 - lag / (lags + 1.0)) * (cross + cross.T)
    return total


def _check_lags(lags: int, length: int) -> None:
    """Lags must be a count smaller than the series."""
    if not 0 <= lags < max(length, 1):
        raise ConfigError(
            "lags",
            wanted=f"0 <= lags < {length}, the length of the series",
            got=lags,
            hint="Use newey_west_lags(n) or the label horizon minus 1.",
        )


def _check_regression(left: FloatVector, right: FloatVector) -> None:
    """Complete, aligned rows and independent columns."""
    n_obs, n_columns = right.shape
    if len(left) != n_obs or np.isnan(left).any() or np.isnan(right).any():
        raise DataError(
            "y, x",
            wanted="complete rows, as many in y as in x",
            got=f"{len(left)} and {n_obs} rows, {int(np.isnan(right).any(axis=1).sum())} with NaN",
            hint="Drop incomplete dates before the regression.",
        )
    if n_obs <= n_columns:
        raise InsufficientHistoryError(
            "x",
            wanted=f"more than {n_columns} rows for {n_columns} regressors",
            got=n_obs,
            hint="Use a longer sample or fewer regressors.",
        )
    rank = int(np.linalg.matrix_rank(right))
    if rank < n_columns:
        raise DataError(
            "x",
            wanted=f"{n_columns} linearly independent columns",
            got=f"rank {rank}",
            hint="Remove the column that the others add up to.",
        )
