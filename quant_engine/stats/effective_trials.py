"""How many independent trials a set of correlated ones is worth, and how far they spread.

Contract: input are the per-period returns of every trial (T, N), complete and varying. Two answers
exist and a result names its own:

* ``correlation_clusters`` groups trials that are variants of one idea and counts groups; the
  variance is taken over one aggregate strategy per group (Lopez de Prado and Lewis 2019).
* ``eigenvalue_participation`` counts the directions in which the trials differ, and needs no
  grouping: N for uncorrelated trials, 1 for copies.

Both are for the report beside the plain count. A count of trials that errs should err upwards: a
correlation matrix without visible groups counts every trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import linkage

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.checks import parse_matrix
from quant_engine.stats.sharpe_inference import sharpe_sample

__all__ = ["EffectiveTrials", "correlation_clusters", "eigenvalue_participation"]


@dataclass(frozen=True, eq=False)
class EffectiveTrials:
    """Effective number of trials and the variance to use with it.

    Parameters
    ----------
    n_effective : float
        Between 1 and the number of trials.
    n_trials : int
        Trials given.
    trial_variance_per_period : float
        Variance (ddof 1) of per-period Sharpe ratios: of the groups' aggregates, or of all trials
        where no grouping was made; 0 for one group.
    labels : ndarray of int64, shape (N,)
        Group of each trial, from 0; every trial its own where no grouping was made.
    silhouette : float
        Mean silhouette of the grouping; NaN where none was made.
    method : str
        How the number was found.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> eigenvalue_participation(rng.standard_normal((500, 4))).n_trials
    4
    """

    n_effective: float
    n_trials: int
    trial_variance_per_period: float
    labels: npt.NDArray[np.int64]
    silhouette: float
    method: str


def eigenvalue_participation(returns: npt.ArrayLike) -> EffectiveTrials:
    """Effective number of trials as the participation ratio of the correlation eigenvalues.

    Parameters
    ----------
    returns : array-like, shape (T, N)
        Returns per period (fractions) of every trial; no NaN.

    Returns
    -------
    EffectiveTrials
        With the variance of all trials.

    Raises
    ------
    DataError
        NaN, or a trial without variation.
    InsufficientHistoryError
        Fewer than 3 periods.

    Notes
    -----
    ``(sum l)^2 / sum l^2 = N^2 / sum_ij r_ij^2`` with eigenvalues l of the correlation matrix r.
    Sampling noise adds about ``(1 - r^2)^2 / (T - 1)`` to every squared off-diagonal correlation,
    which would make independent trials of a short history look alike; it is subtracted.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> one = rng.standard_normal((1000, 1))
    >>> copies = one + 0.01 * rng.standard_normal((1000, 5))
    >>> round(eigenvalue_participation(copies).n_effective, 2)
    1.0
    """
    matrix, correlation = _correlate(returns)
    n_obs, n_trials = matrix.shape
    off = correlation[~np.eye(n_trials, dtype=bool)]
    squares = off**2 - (1.0 - off**2) ** 2 / (n_obs - 1)
    total = n_trials + max(float(squares.sum()), 0.0)
    sharpes = np.atleast_1d(sharpe_sample(matrix).sharpe_per_period)
    return EffectiveTrials(
        n_effective=min(n_trials**2 / total, float(n_trials)),
        n_trials=n_trials,
        trial_variance_per_period=float(sharpes.var(ddof=1)) if n_trials > 1 else 0.0,
        labels=np.arange(n_trials, dtype=np.int64),
        silhouette=float("nan"),
        method="eigenvalue participation, sampling noise of the correlations removed",
    )


def correlation_clusters(
    returns: npt.ArrayLike, *, max_clusters: int | None = None, min_silhouette: float = 0.1
) -> EffectiveTrials:
    """Effective number of trials as the number of groups of similar trials.

    Parameters
    ----------
    returns : array-like, shape (T, N)
        Returns per period (fractions) of every trial; no NaN.
    max_clusters : int, optional
        Largest number of groups to try, at least 2; without it N - 1.
    min_silhouette : float
        Mean silhouette below which there are no groups and every trial counts.

    Returns
    -------
    EffectiveTrials
        With the variance across groups.

    Raises
    ------
    DataError
        NaN, or a trial without variation.
    InsufficientHistoryError
        Fewer than 3 periods.
    ConfigError
        Fewer than 2 groups allowed.

    Notes
    -----
    1. Distance of two trials: ``sqrt((1 - r) / 2)``; average linkage.
    2. For every number of groups from 2 on, the silhouette of each trial (Rousseeuw 1987); the
       number with the highest mean is taken.
    3. Two trials, or all pairs correlated above 0.9: one group, which a silhouette cannot find.
    4. Each group's aggregate return is weighted by inverse variance; the variance (ddof 1) of the
       aggregates' Sharpe ratios is the variance across groups.

    Lopez de Prado and Lewis (2019) choose by the t-value of the silhouettes over k-means runs;
    linkage has no random start, and the mean does not favour even but poor groups.

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> ideas = rng.standard_normal((500, 3))
    >>> trials = np.repeat(ideas, 4, axis=1) + 0.3 * rng.standard_normal((500, 12))
    >>> found = correlation_clusters(trials)
    >>> found.n_effective, found.labels
    (3.0, array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]))
    """
    if max_clusters is not None and max_clusters < 2:
        raise ConfigError("max_clusters", wanted="at least 2", got=max_clusters, hint="Unset it.")
    matrix, correlation = _correlate(returns)
    n_trials = matrix.shape[1]
    labels, silhouette = _group(correlation, max_clusters or n_trials - 1)
    method = "correlation clusters (average linkage, best mean silhouette)"
    if silhouette < min_silhouette:
        labels = np.arange(n_trials, dtype=np.int64)
        method = f"every trial counted: no correlation clusters (silhouette < {min_silhouette})"
    aggregates = _aggregate(matrix, labels)
    sharpes = np.atleast_1d(sharpe_sample(aggregates).sharpe_per_period)
    n_groups = len(sharpes)
    return EffectiveTrials(
        n_effective=float(n_groups),
        n_trials=n_trials,
        trial_variance_per_period=float(sharpes.var(ddof=1)) if n_groups > 1 else 0.0,
        labels=labels,
        silhouette=silhouette,
        method=method,
    )


_COPIES = 0.9
"""Correlation above which trials are one idea."""


def _group(correlation: FloatVector, max_clusters: int) -> tuple[npt.NDArray[np.int64], float]:
    """Labels of the best grouping, in order of first appearance, and its mean silhouette.

    The groups of k come from those of k + 1 by one merger, and so do the summed distances of every
    trial to every group: column `kept` takes over column `gone`, which becomes infinitely far.
    """
    n_trials = len(correlation)
    if correlation.min() > _COPIES:
        return np.zeros(n_trials, dtype=np.int64), float("nan")
    codes = np.arange(n_trials, dtype=np.int64)
    if n_trials < 3:
        return codes, float("nan")
    distance = np.sqrt(np.maximum(0.5 * (1.0 - correlation), 0.0))
    np.fill_diagonal(distance, 0.0)
    mergers = linkage(distance[np.triu_indices(n_trials, 1)], method="average")[:, :2]
    totals, sizes = distance.copy(), np.ones(n_trials)
    column = list(range(n_trials))
    best, chosen = -1.0, codes
    for n_groups, (left, right) in zip(range(n_trials - 1, 1, -1), mergers, strict=False):
        kept, gone = column[int(left)], column[int(right)]
        column.append(kept)
        totals[:, kept] += totals[:, gone]
        totals[:, gone] = np.inf
        sizes[kept] += sizes[gone]
        codes = np.where(codes == gone, kept, codes)
        score = float(_silhouettes(totals, sizes, codes).mean()) if n_groups <= max_clusters else -1
        if score > best:
            best, chosen = score, codes
    _, first, position = np.unique(chosen, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[position].astype(np.int64), best


def _silhouettes(
    totals: FloatVector, sizes: FloatVector, codes: npt.NDArray[np.int64]
) -> FloatVector:
    """Silhouette of every trial; 0 for a group of its own.

    Parameters are the summed distances of every trial to every group, the sizes of the groups and
    the group of every trial.
    """
    rows = np.arange(len(codes))
    own = sizes[codes]
    inside = totals[rows, codes] / np.maximum(own - 1.0, 1.0)
    means = totals / sizes
    means[rows, codes] = np.inf
    outside = means.min(axis=1)
    scale = np.maximum(inside, outside)
    result = np.zeros(len(codes))
    np.divide(outside - inside, scale, out=result, where=(own > 1.0) & (scale > 0.0))
    return result


def _aggregate(matrix: FloatVector, labels: npt.NDArray[np.int64]) -> FloatVector:
    """One return series per group, weighted by inverse variance; shape (T, groups)."""
    weights = 1.0 / matrix.var(axis=0, ddof=1)
    member = np.zeros((len(labels), int(labels.max()) + 1))
    member[np.arange(len(labels)), labels] = weights
    aggregates: FloatVector = matrix @ (member / member.sum(axis=0))
    return aggregates


def _correlate(returns: npt.ArrayLike) -> tuple[FloatVector, FloatVector]:
    """Checked returns and their correlation matrix."""
    matrix = parse_matrix("returns", returns)
    if np.isnan(matrix).any():
        raise DataError(
            "returns",
            wanted="no NaN",
            got=f"{int(np.isnan(matrix).sum())} NaN",
            hint="Compare the trials on the dates that all of them have.",
        )
    n_obs, n_trials = matrix.shape
    if n_obs < 3 or n_trials < 1:
        raise InsufficientHistoryError(
            "returns", wanted="at least 3 periods and 1 trial", got=matrix.shape, hint="Wait."
        )
    constant = matrix.min(axis=0) == matrix.max(axis=0)
    if constant.any():
        raise DataError(
            "returns",
            wanted="trials that vary",
            got=f"{int(constant.sum())} constant trials",
            hint="Count a trial that never traded separately.",
        )
    scaled = matrix - matrix.mean(axis=0)
    scaled /= np.sqrt((scaled**2).sum(axis=0))
    return matrix, np.clip(scaled.T @ scaled, -1.0, 1.0)
