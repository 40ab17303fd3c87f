"""Tests of a mean and of regression coefficients that allow serial correlation.

Contract: Newey-West (1987) with plain Bartlett weights and an explicit lag. There is no
prewhitening; a lag rule is applied only where it is called by name (``newey_west_lags``,
``automatic_lags``); the small-sample factor is off unless asked for. A result names the lag and
the factor that made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    InsufficientHistoryError,
    did_you_mean,
)
from quant_engine.stats.broadcast import as_given
from quant_engine.stats.checks import parse_matrix, parse_vector

__all__ = [
    "MeanTest",
    "RegressionTest",
    "automatic_lags",
    "bartlett_sum",
    "check_regression",
    "known_mean",
    "long_run_variance",
    "newey_west_lags",
    "newey_west_mean",
    "newey_west_or_nan",
    "newey_west_regression",
    "student_p_value",
]

LengthRule = Literal["newey_west_1994", "fourth_root", "stock_watson"]
DataRule = Literal["andrews_ar1", "newey_west_plug_in"]


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


def newey_west_lags(n_obs: int, *, rule: LengthRule = "newey_west_1994") -> int:
    """Lag count by a rule that looks at the length of the series alone.

    Parameters
    ----------
    n_obs : int
        Observations, at least 1.
    rule : {"newey_west_1994", "fourth_root", "stock_watson"}
        ``floor(4 (n / 100)^(2/9))`` (Newey and West 1994), ``floor(n^(1/4))`` (Greene), or
        ``floor(0.75 n^(1/3))`` (Stock and Watson).

    Returns
    -------
    int
        Lags. Overlapping h-session labels need at least h - 1 lags whatever this rule says.

    Raises
    ------
    ConfigError
        No observation, or an unknown rule.

    Examples
    --------
    >>> newey_west_lags(252), newey_west_lags(252, rule="fourth_root")
    (4, 3)
    """
    if n_obs < 1:
        raise ConfigError(
            "n_obs", wanted="at least 1", got=n_obs, hint="Pass the length of the series."
        )
    # A half of a millionth keeps whole roots whole: 81 ** 0.25 may be 2.9999999999999996.
    if rule == "newey_west_1994":
        return int(4.0 * float(n_obs / 100.0) ** (2.0 / 9.0) + 5e-7)
    if rule == "fourth_root":
        return int(float(n_obs) ** 0.25 + 5e-7)
    if rule == "stock_watson":
        return int(0.75 * float(np.cbrt(n_obs)) + 5e-7)
    known = ("newey_west_1994", "fourth_root", "stock_watson")
    raise ConfigError("rule", wanted="a lag rule", got=rule, hint=did_you_mean(rule, known))


def automatic_lags(x: npt.ArrayLike, *, rule: DataRule = "newey_west_plug_in") -> int:
    """Lag count by a rule that looks at the dependence of the series.

    Parameters
    ----------
    x : array-like, shape (T,)
        Series in time order, any unit; NaN refused.
    rule : {"newey_west_plug_in", "andrews_ar1"}
        Nonparametric plug-in of Newey and West (1994), or the plug-in of Andrews (1991) for a
        first-order autoregression.

    Returns
    -------
    int
        Bartlett lags, from 0 to T - 1.

    Raises
    ------
    DataError
        NaN, or a series without variation.
    InsufficientHistoryError
        Fewer than 4 observations.
    ConfigError
        An unknown rule.

    Notes
    -----
    Both minimise the asymptotic mean squared error of the Bartlett estimator,
    ``L = floor(1.1447 (a T)^(1/3))``. Newey and West: ``a = (s1 / s0)^2`` with
    ``s0 = g_0 + 2 sum g_j``, ``s1 = 2 sum j g_j`` over ``j = 1 .. floor(4 (T/100)^(2/9))``.
    Andrews: ``a = 4 r^2 / ((1 - r)^2 (1 + r)^2)`` with the first autoregressive coefficient r, cut
    to 0.97 in absolute value.

    Examples
    --------
    >>> slow = np.repeat([1.0, -1.0, 0.5, -0.5, 1.0, -1.0], 20)
    >>> automatic_lags(slow), automatic_lags(slow, rule="andrews_ar1")
    (9, 30)
    """
    series = parse_vector("x", x)
    n_obs = len(series)
    if n_obs < 4:
        raise InsufficientHistoryError(
            "x", wanted="at least 4 observations", got=n_obs, hint="Choose the lags by hand."
        )
    if np.isnan(series).any() or series.min() == series.max():
        raise DataError(
            "x",
            wanted="a series that varies, without NaN",
            got=f"{int(np.isnan(series).sum())} NaN, from {series.min()} to {series.max()}",
            hint="Choose the lags by hand with newey_west_lags.",
        )
    d = series - series.mean()
    if rule == "newey_west_plug_in":
        lag = np.arange(1, min(newey_west_lags(n_obs), n_obs - 1) + 1)
        g = np.array([d[j:] @ d[:-j] for j in lag])
        level = float(d @ d + 2.0 * g.sum())
        slope = float(2.0 * (lag * g).sum())
        # A level of zero or less means that the series reverts: no positive lag helps.
        ratio = (slope / level) ** 2 if level > 0.0 else 0.0
    elif rule == "andrews_ar1":
        r = float(np.clip(d[1:] @ d[:-1] / (d[:-1] @ d[:-1]), -0.97, 0.97))
        ratio = 4.0 * r**2 / ((1.0 - r) ** 2 * (1.0 + r) ** 2)
    else:
        known = ("newey_west_plug_in", "andrews_ar1")
        raise ConfigError("rule", wanted="a lag rule", got=rule, hint=did_you_mean(rule, known))
    return min(int(1.1447 * float(np.cbrt(ratio * n_obs))), n_obs - 1)


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
    return float(bartlett_sum(deviations[:, None], lags)[0, 0]) / n_obs


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
        p_value=float(student_p_value(t_value, df=n_obs - 1)),
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
    check_regression(left, right)
    _check_lags(lags, n_obs)
    gram_inverse = np.linalg.inv(right.T @ right)
    params = gram_inverse @ (right.T @ left)
    scores = right * (left - right @ params)[:, None]
    covariance = gram_inverse @ bartlett_sum(scores, lags) @ gram_inverse
    factor = n_obs / (n_obs - n_columns) if small_sample else 1.0
    std_errors = np.sqrt(np.maximum(np.diag(covariance), 0.0) * factor)
    t_values = np.full(n_columns, np.nan)
    np.divide(params, std_errors, out=t_values, where=std_errors > 0.0)
    return RegressionTest(
        params=params,
        std_errors=std_errors,
        t=t_values,
        p_values=student_p_value(t_values, df=n_obs - n_columns),
        n=n_obs,
        lags=lags,
        small_sample=small_sample,
    )


def student_p_value(t: npt.ArrayLike, *, df: npt.ArrayLike, two_sided: bool = True) -> FloatVector:
    """p-value of a t-value.

    Parameters
    ----------
    t : float or array-like, any shape
        t-values; NaN stays NaN.
    df : float or array-like, any shape
        Degrees of freedom, broadcast.
    two_sided : bool
        False tests against larger values alone.

    Returns
    -------
    float or ndarray of float64
        ``2 P[T > |t|]`` or ``P[T > t]``, broadcast shape.

    Raises
    ------
    ConfigError
        Degrees of freedom that are not positive.

    Examples
    --------
    >>> round(float(student_p_value(2.5, df=30)), 4)
    0.0181
    """
    value, freedom = np.asarray(t, dtype=np.float64), np.asarray(df, dtype=np.float64)
    if not (freedom > 0.0).all():
        raise ConfigError(
            "df", wanted="more than 0", got=df, hint="Pass the observations minus the parameters."
        )
    if two_sided:
        return as_given(2.0 * stdtr(freedom, -np.abs(value)))
    return as_given(stdtr(freedom, -value))


def bartlett_sum(scores: FloatVector, lags: int) -> FloatVector:
    """Sum of autocovariance matrices of scores with Bartlett weights, not divided by n.

    Parameters
    ----------
    scores : ndarray of float64, shape (T, k)
        Scores about their mean, in time order; 0 where not observed.
    lags : int
        Bartlett lags, below T.

    Returns
    -------
    ndarray of float64, shape (k, k)
        ``S_0 + sum_l (1 - l / (L + 1)) (S_l + S_l')`` with ``S_l = sum_t s_t s_{t-l}'``.

    Examples
    --------
    >>> bartlett_sum(np.array([[1.0], [-1.0], [1.0]]), lags=1)
    array([[1.]])
    """
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


def check_regression(left: FloatVector, right: FloatVector) -> None:
    """Refuse a regression without complete, aligned rows and independent columns.

    Parameters
    ----------
    left : ndarray of float64, shape (T,)
        Left side.
    right : ndarray of float64, shape (T, k)
        Regressors.

    Raises
    ------
    DataError
        NaN, lengths that differ, or regressors that are not linearly independent.
    InsufficientHistoryError
        Not more observations than regressors.

    Examples
    --------
    >>> check_regression(np.arange(3.0), np.ones((3, 1)))
    """
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
