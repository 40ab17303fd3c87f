"""Tests of a mean and of regression coefficients whose errors are correlated within clusters.

Contract: observations of one cluster (a day, a week, an asset) may depend on one another in any
way; clusters are independent. Standard errors carry the factor G / (G - 1) (times (n - 1) / (n - k)
in a regression) and t-values have G - 1 degrees of freedom, with G the number of clusters, in two
ways the smaller one. Too few clusters are an error or NaN, never a small error.

For events that follow one another on the same days this is the unit that keeps its size: a plain t
of overlapping or simultaneous events rejects many times too often.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.checks import parse_labels, parse_matrix, parse_vector
from quant_engine.stats.hac import check_regression, student_p_value

__all__ = [
    "CellMeans",
    "ClusterMeanTest",
    "ClusterRegressionTest",
    "cluster_codes",
    "cluster_mean",
    "cluster_regression",
    "clustered_cell_means",
]

CodeVector = npt.NDArray[np.int64]
Period = Literal["day", "week"]

MIN_CLUSTERS = 2
"""Clusters without which there is no variance between clusters."""


@dataclass(frozen=True)
class ClusterMeanTest:
    """Two-sided test of a zero mean with cluster-robust error.

    Parameters
    ----------
    mean : float
        Average over observations, in the unit of the input.
    std_error : float
        Cluster-robust standard error; NaN where the two-way variance is not positive.
    t : float
        ``mean / std_error``; NaN where the standard error is zero or NaN.
    p_value : float
        Two-sided, Student t with `df` degrees of freedom.
    df : int
        Clusters minus 1; in two ways of the smaller number of clusters.
    n : int
        Observations that are not NaN.
    n_clusters : tuple of int
        Clusters that hold them, per way.
    convention : str
        Name of the variance estimator.

    Examples
    --------
    >>> cluster_mean([1.0, 2.0, 4.0], [0, 0, 1]).n_clusters
    (2,)
    """

    mean: float
    std_error: float
    t: float
    p_value: float
    df: int
    n: int
    n_clusters: tuple[int, ...]
    convention: str


@dataclass(frozen=True, eq=False)
class ClusterRegressionTest:
    """Least-squares coefficients with cluster-robust standard errors.

    Parameters
    ----------
    params, std_errors, t, p_values : ndarray of float64, shape (k,)
        One per column of the regressors; NaN where a two-way variance is not positive.
    df : int
        Degrees of freedom of the t-values.
    n : int
        Observations.
    n_clusters : tuple of int
        Clusters per way.
    convention : str
        Name of the variance estimator.

    Examples
    --------
    >>> fit = cluster_regression([1.0, 3.0, 2.0], [[1.0], [1.0], [1.0]], [0, 1, 2])
    >>> fit.params
    array([2.])
    """

    params: FloatVector
    std_errors: FloatVector
    t: FloatVector
    p_values: FloatVector
    df: int
    n: int
    n_clusters: tuple[int, ...]
    convention: str


@dataclass(frozen=True, eq=False)
class CellMeans:
    """Clustered mean tests of many cells (event type, symbol, state, ...) at once.

    Parameters
    ----------
    mean, std_error, t, p_value : ndarray of float64, shape (n_cells,)
        As in :class:`ClusterMeanTest`; NaN in a cell with fewer than 2 clusters (the mean is NaN
        only without any observation).
    n, n_clusters : ndarray of int64, shape (n_cells,)
        Observations and clusters.

    Examples
    --------
    >>> clustered_cell_means([1.0, 2.0, 3.0], [0, 0, 1], [5, 6, 6]).n_clusters
    array([2, 1])
    """

    mean: FloatVector
    std_error: FloatVector
    t: FloatVector
    p_value: FloatVector
    n: CodeVector
    n_clusters: CodeVector


def cluster_codes(times: npt.ArrayLike, *, period: Period = "day") -> CodeVector:
    """Cluster of each time stamp: its UTC day or its week from Monday.

    Parameters
    ----------
    times : array-like of datetime64, shape (n,)
        UTC; NaT refused.
    period : {"day", "week"}
        Take weeks when outcomes last a day or longer.

    Returns
    -------
    ndarray of int64, shape (n,)
        Day or week number since 1970; equal numbers are one cluster.

    Raises
    ------
    DataError
        Not a one-dimensional datetime64 array, or NaT.
    ConfigError
        An unknown period.

    Examples
    --------
    >>> stamps = np.array(["2024-01-05T23:00", "2024-01-07T01:00", "2024-01-08"], "M8[m]")
    >>> cluster_codes(stamps, period="week")
    array([2818, 2818, 2819])
    """
    array = np.asarray(times)
    if array.ndim != 1 or array.dtype.kind != "M" or np.isnat(array).any():
        raise DataError(
            "times",
            wanted="a one-dimensional datetime64 array without NaT",
            got=f"shape {array.shape}, dtype {array.dtype}",
            hint="Pass the decision times of the events in UTC.",
        )
    days: CodeVector = array.astype("M8[D]").astype(np.int64)
    if period == "day":
        return days
    if period == "week":
        # 1970-01-01 was a Thursday: three days after a Monday.
        return (days + 3) // 7
    raise ConfigError("period", wanted="'day' or 'week'", got=period, hint="Use 'day'.")


def cluster_mean(
    x: npt.ArrayLike, clusters: npt.ArrayLike, second: npt.ArrayLike | None = None
) -> ClusterMeanTest:
    """Test that a clustered series has mean zero, clustered in one or two ways.

    Parameters
    ----------
    x : array-like, shape (n,)
        Observations in any order and unit, for instance one return per event. NaN = not observed:
        left out, together with its cluster where nothing else is in it.
    clusters : array-like, shape (n,)
        Cluster of each observation, for instance of :func:`cluster_codes`; numbers or texts.
    second : array-like, shape (n,), optional
        Clusters of the second way, for instance the asset.

    Returns
    -------
    ClusterMeanTest
        Mean, error, t, p-value and counts.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 2 clusters in one of the ways.
    DataError
        Infinite values, or lengths that differ.

    Notes
    -----
    One way: ``var = G / (G - 1) sum_g (sum_{i in g} d_i)^2 / n^2`` with ``d_i = x_i - mean`` (Liang
    and Zeger 1986). Two ways: the variances of both ways minus that of their intersection (Cameron,
    Gelbach and Miller 2011), which need not be positive; the error is then NaN.

    Examples
    --------
    >>> test = cluster_mean([0.2, 0.3, -0.1, 0.1, 0.4], [1, 1, 2, 3, 3])
    >>> f"{test.mean:.2f} {test.std_error:.4f} {test.t:.2f} {test.df}"
    '0.18 0.0840 2.14 2'
    """
    series = parse_vector("x", x)
    observed = ~np.isnan(series)
    ways = [
        parse_labels(name, values, length=len(series))[0][observed]
        for name, values in (("clusters", clusters), ("second", second))
        if values is not None
    ]
    kept = series[observed]
    ones = np.ones((len(kept), 1))
    if len(kept) == 0:
        raise _too_few_clusters("clusters", 0)
    mean = float(kept.mean())
    # Equal floats have a mean that may differ from them in the last bit.
    deviations = kept - mean if kept.min() < kept.max() else np.zeros_like(kept)
    variance, counts = _clustered(ones * deviations[:, None], ways, factor=1.0)
    std_error = sqrt(variance[0, 0]) / len(kept) if variance[0, 0] >= 0.0 else nan
    t_value = mean / std_error if std_error > 0.0 else nan
    df = min(counts) - 1
    return ClusterMeanTest(
        mean=mean,
        std_error=std_error,
        t=t_value,
        p_value=float(student_p_value(t_value, df=df)),
        df=df,
        n=len(kept),
        n_clusters=counts,
        convention=_convention(counts),
    )


def cluster_regression(
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    clusters: npt.ArrayLike,
    *,
    second: npt.ArrayLike | None = None,
) -> ClusterRegressionTest:
    """Least squares with a cluster-robust covariance, clustered in one or two ways.

    Parameters
    ----------
    y : array-like, shape (n,)
        Left side; no NaN.
    x : array-like, shape (n, k)
        Regressors, with a column of ones where a constant is wanted; no NaN.
    clusters : array-like, shape (n,)
        Cluster of each row; numbers or texts.
    second : array-like, shape (n,), optional
        Clusters of the second way.

    Returns
    -------
    ClusterRegressionTest
        Coefficients, standard errors, t and p-values per column.

    Raises
    ------
    DataError
        NaN, lengths that differ, or regressors that are not linearly independent.
    InsufficientHistoryError
        Not more observations than regressors, or fewer than 2 clusters in one of the ways.

    Notes
    -----
    ``cov = c (X'X)^-1 (sum_g X_g' e_g e_g' X_g) (X'X)^-1`` with
    ``c = G / (G - 1) * (n - 1) / (n - k)``, as in Stata's ``vce(cluster)``; two ways as in
    :func:`cluster_mean`, each part with its own G.

    Examples
    --------
    >>> design = [[0, 1], [1, 1], [2, 1], [3, 1], [4, 1], [5, 1]]
    >>> fit = cluster_regression([1.0, 3.1, 4.9, 7.0, 9.2, 10.8], design, [0, 0, 1, 1, 2, 2])
    >>> fit.std_errors.round(3)
    array([0.006, 0.044])
    """
    left, right = parse_vector("y", y), parse_matrix("x", x)
    n_obs, n_columns = right.shape
    check_regression(left, right)
    ways = [
        parse_labels(name, values, length=n_obs)[0]
        for name, values in (("clusters", clusters), ("second", second))
        if values is not None
    ]
    gram_inverse = np.linalg.inv(right.T @ right)
    params = gram_inverse @ (right.T @ left)
    scores = right * (left - right @ params)[:, None]
    meat, counts = _clustered(scores, ways, factor=(n_obs - 1) / (n_obs - n_columns))
    variances = np.diag(gram_inverse @ meat @ gram_inverse)
    std_errors, t_values = np.full(n_columns, nan), np.full(n_columns, nan)
    np.sqrt(variances, out=std_errors, where=variances >= 0.0)
    np.divide(params, std_errors, out=t_values, where=std_errors > 0.0)
    df = min(counts) - 1
    return ClusterRegressionTest(
        params=params,
        std_errors=std_errors,
        t=t_values,
        p_values=student_p_value(t_values, df=df),
        df=df,
        n=n_obs,
        n_clusters=counts,
        convention=_convention(counts),
    )


def clustered_cell_means(
    x: npt.ArrayLike, cells: npt.ArrayLike, clusters: npt.ArrayLike, *, n_cells: int | None = None
) -> CellMeans:
    """:func:`cluster_mean` of every cell in one pass, for thousands of hypotheses.

    Parameters
    ----------
    x : array-like, shape (n,)
        Observations in any unit; NaN = not observed, left out.
    cells : array-like of int, shape (n,)
        Cell (hypothesis) of each observation, from 0.
    clusters : array-like, shape (n,)
        Cluster of each observation; numbers or texts.
    n_cells : int, optional
        Cells in the result; without it the largest number in `cells` plus 1.

    Returns
    -------
    CellMeans
        One value per cell.

    Raises
    ------
    DataError
        Infinite values, lengths that differ, or cells that are not whole numbers from 0.

    Examples
    --------
    >>> got = clustered_cell_means(
    ...     [0.2, 0.3, -0.1, 0.1, 0.4, 9.0], [0, 0, 0, 0, 0, 1], [1, 1, 2, 3, 3, 3]
    ... )
    >>> got.t.round(2)
    array([2.14,  nan])
    """
    series = parse_vector("x", x)
    groups = np.asarray(cells)
    codes, _ = parse_labels("clusters", clusters, length=len(series))
    whole = groups.dtype.kind in "iu" and groups.shape == series.shape
    if not whole or (groups < 0).any() or (n_cells is not None and (groups >= n_cells).any()):
        raise DataError(
            "cells",
            wanted="one whole number per observation, from 0 to n_cells - 1",
            got=f"shape {groups.shape}, dtype {groups.dtype}",
            hint="Number the hypotheses with np.unique(..., return_inverse=True).",
        )
    observed = ~np.isnan(series)
    series, groups, codes = series[observed], groups[observed], codes[observed]
    size = n_cells if n_cells is not None else int(groups.max(initial=-1)) + 1
    count = np.bincount(groups, minlength=size)
    mean = _divide(np.bincount(groups, weights=series, minlength=size), count)
    n_codes = int(codes.max(initial=0)) + 1
    pairs, position = np.unique(groups.astype(np.int64) * n_codes + codes, return_inverse=True)
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(low, groups, series)
    np.maximum.at(high, groups, series)
    # Equal floats have a mean that may differ from them in the last bit.
    deviations = np.where((low < high)[groups], series - mean[groups], 0.0)
    sums = np.bincount(position, weights=deviations, minlength=len(pairs))
    cell_of_pair = pairs // n_codes
    n_clusters = np.bincount(cell_of_pair, minlength=size)
    squares = np.bincount(cell_of_pair, weights=sums**2, minlength=size)
    enough = n_clusters >= MIN_CLUSTERS
    variance = np.full(size, nan)
    np.divide(squares * n_clusters, (n_clusters - 1.0) * count**2.0, out=variance, where=enough)
    std_error = np.sqrt(variance)
    t_value = np.full(size, nan)
    np.divide(mean, std_error, out=t_value, where=std_error > 0.0)
    return CellMeans(
        mean=mean,
        std_error=std_error,
        t=t_value,
        p_value=student_p_value(t_value, df=np.maximum(n_clusters - 1, 1)),
        n=count.astype(np.int64),
        n_clusters=n_clusters.astype(np.int64),
    )


def _divide(total: npt.NDArray[Any], count: npt.NDArray[Any]) -> FloatVector:
    """Means, NaN without an observation."""
    mean = np.full(len(total), nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _clustered(
    scores: FloatVector, ways: list[CodeVector], *, factor: float
) -> tuple[FloatVector, tuple[int, ...]]:
    """Sum of outer products of cluster sums with its factors, and clusters per way."""
    counts = tuple(int(codes.max()) + 1 for codes in map(_dense, ways))
    for name, count in zip(("clusters", "second"), counts, strict=False):
        if count < MIN_CLUSTERS:
            raise _too_few_clusters(name, count)
    total = sum(_one_way(scores, codes) for codes in ways) * factor
    if len(ways) == 2:
        both = ways[0] * (int(ways[1].max()) + 1) + ways[1]
        total = total - _one_way(scores, both) * factor
    return np.asarray(total), counts


def _one_way(scores: FloatVector, clusters: CodeVector) -> FloatVector:
    """``G / (G - 1) sum_g s_g s_g'`` of the cluster sums s_g."""
    codes = _dense(clusters)
    n_clusters = int(codes.max()) + 1
    sums = np.column_stack(
        [np.bincount(codes, weights=column, minlength=n_clusters) for column in scores.T]
    )
    return np.asarray(sums.T @ sums * (n_clusters / (n_clusters - 1)))


def _dense(codes: CodeVector) -> CodeVector:
    """The same clusters numbered 0 to G - 1."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _too_few_clusters(name: str, count: int) -> InsufficientHistoryError:
    return InsufficientHistoryError(
        name,
        wanted=f"at least {MIN_CLUSTERS} clusters with observations",
        got=count,
        hint="Observe more days; some 30 clusters make the t-value reliable.",
    )


def _convention(counts: tuple[int, ...]) -> str:
    ways = "two-way (Cameron-Gelbach-Miller)" if len(counts) == 2 else "one-way (Liang-Zeger)"
    return f"{ways} clusters, factor G/(G-1), t with min(G)-1 degrees of freedom"
