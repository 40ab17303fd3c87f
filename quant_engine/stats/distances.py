"""How far two distributions are apart, given as shares or as samples.

Contract: shares are non-negative, add up to 1 after scaling, and have no NaN. In samples NaN = not
observed and is left out of both sides; results that carry counts say how many were used. Logarithms
are natural, so that divergences are in nats. Every distance is 0 for equal distributions and never
negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr
from scipy.stats import energy_distance as scipy_energy_distance
from scipy.stats import ks_2samp, wasserstein_distance

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.stats.checks import check_same_shape, parse_matrix, parse_vector

__all__ = [
    "DEFAULT_EPSILON",
    "PSI",
    "KSDistance",
    "energy_distance",
    "js_divergence",
    "kl_divergence",
    "ks_distance",
    "mahalanobis_distances",
    "mmd",
    "psi",
    "psi_shares",
    "wasserstein",
    "wasserstein_shares",
]

Missing = Literal["drop", "bin"]

DEFAULT_EPSILON = 1e-6
"""Stands for a share of 0 in logarithms: below the share of any value in a usual sample."""


@dataclass(frozen=True, eq=False)
class PSI:
    """Population stability index and the shares behind it.

    Parameters
    ----------
    psi : float
        ``sum (a - e) ln(a / e)``; by custom below 0.1 is stable and above 0.25 a major shift.
    edges : ndarray of float64, shape (B - 1,)
        Inner bin edges, from the reference sample; each bin contains its upper edge.
    expected_share, actual_share : ndarray of float64, shape (B,) or (B + 1,)
        Share of each sample per bin, before epsilon; the last one is the share of NaN where that is
        a bin of its own.
    epsilon : float
        What replaced a share of 0.
    n_reference, n_actual : int
        Values used.

    Examples
    --------
    >>> psi(range(100), range(100)).psi
    0.0
    """

    psi: float
    edges: FloatVector
    expected_share: FloatVector
    actual_share: FloatVector
    epsilon: float
    n_reference: int
    n_actual: int


@dataclass(frozen=True)
class KSDistance:
    """Two-sample Kolmogorov-Smirnov distance.

    Parameters
    ----------
    statistic : float
        Largest gap between the two empirical distribution functions, 0 to 1.
    p_value : float
        Two-sided, for independent observations: drift in autocorrelated data needs
        :mod:`quant_engine.stats.drift`.
    n_reference, n_actual : int
        Values used.

    Examples
    --------
    >>> ks_distance([1.0, 2.0], [3.0, 4.0]).statistic
    1.0
    """

    statistic: float
    p_value: float
    n_reference: int
    n_actual: int


def psi_shares(
    expected: npt.ArrayLike, actual: npt.ArrayLike, *, epsilon: float = DEFAULT_EPSILON
) -> float:
    """Population stability index of two lists of shares.

    ``sum (a - e) ln(a / e)``, symmetric in its arguments (Jeffreys' divergence).

    Parameters
    ----------
    expected, actual : array-like, shape (B,)
        Shares (fraction) or counts per bin; each is scaled to add up to 1.
    epsilon : float
        Replaces a share of 0, positive; the others are left as they are.

    Returns
    -------
    float
        At least 0.

    Raises
    ------
    ConfigError
        Epsilon not strictly between 0 and 1.
    DataError
        Shapes that differ, or shares that are negative, NaN or all 0.

    Examples
    --------
    >>> round(psi_shares([0.1, 0.2, 0.4, 0.2, 0.1], [0.05, 0.15, 0.4, 0.25, 0.15]), 6)
    0.080472
    """
    _check_epsilon(epsilon)
    e, a = _shares(expected, actual, "expected", "actual")
    e, a = np.where(e > 0.0, e, epsilon), np.where(a > 0.0, a, epsilon)
    # A quotient of shares can overflow where a difference of logarithms cannot.
    return float(((a - e) * (np.log(a) - np.log(e))).sum())


def psi(
    reference: npt.ArrayLike,
    actual: npt.ArrayLike,
    *,
    n_bins: int = 10,
    epsilon: float = DEFAULT_EPSILON,
    missing: Missing = "drop",
) -> PSI:
    """Population stability index of two samples, in quantile bins of the reference.

    Parameters
    ----------
    reference : array-like, shape (n,)
        Sample that makes the bins: inner edges are its quantiles ``k / n_bins`` by linear
        interpolation, equal edges merged. NaN = not observed.
    actual : array-like, shape (m,)
        Sample that is compared, in the same unit; values beyond the reference fall into the outer
        bins.
    n_bins : int
        Bins, at least 2; fewer remain where the reference has many equal values.
    epsilon : float
        Replaces a share of 0.
    missing : {"drop", "bin"}
        Leave NaN out, or count it as one more bin, so that data that goes missing is a shift too.

    Returns
    -------
    PSI

    Raises
    ------
    ConfigError
        Fewer than 2 bins, epsilon not in (0, 1), or unknown `missing`.
    DataError
        Not one-dimensional numbers, or a reference of equal values.
    EmptyDataError
        A sample without values.

    Examples
    --------
    >>> found = psi(range(100), range(20, 120), n_bins=5)
    >>> found.actual_share, round(found.psi, 4)
    (array([0. , 0.2, 0.2, 0.2, 0.4]), 2.5798)
    """
    _check_epsilon(epsilon)
    if n_bins < 2 or missing not in ("drop", "bin"):
        raise ConfigError(
            "n_bins, missing",
            wanted="at least 2 bins, and 'drop' or 'bin'",
            got=f"{n_bins}, {missing!r}",
            hint="Ten bins are the custom.",
        )
    before, after = parse_vector("reference", reference), parse_vector("actual", actual)
    known, seen = _observed_values("reference", before), _observed_values("actual", after)
    if known.min() == known.max():
        raise DataError(
            "reference",
            wanted="values that vary",
            got=f"{len(known)} equal values",
            hint="A constant has no quantile bins; compare shares with psi_shares instead.",
        )
    edges = np.unique(np.quantile(known, np.arange(1, n_bins) / n_bins))
    # A top edge at the largest value would leave the bin above it empty by construction.
    edges = edges[edges < known.max()]
    n_missing = [len(before) - len(known), len(after) - len(seen)] if missing == "bin" else [0, 0]
    shares = [
        _binned(values, edges, extra, missing)
        for values, extra in zip((known, seen), n_missing, strict=True)
    ]
    return PSI(
        psi=psi_shares(*shares, epsilon=epsilon),
        edges=edges,
        expected_share=shares[0],
        actual_share=shares[1],
        epsilon=epsilon,
        n_reference=len(known) + n_missing[0],
        n_actual=len(seen) + n_missing[1],
    )


def kl_divergence(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Kullback-Leibler divergence of q from p, ``sum p ln(p / q)``.

    Parameters
    ----------
    p, q : array-like, shape (B,)
        Shares (fraction) or counts per bin; each is scaled to add up to 1.

    Returns
    -------
    float
        Nats, at least 0; infinity where p has a share and q has none.

    Raises
    ------
    DataError
        Shapes that differ, or shares that are negative, NaN or all 0.

    Examples
    --------
    >>> round(kl_divergence([0.5, 0.5], [0.9, 0.1]), 4)
    0.5108
    """
    left, right = _shares(p, q, "p", "q")
    return max(float(rel_entr(left, right).sum()), 0.0)


def js_divergence(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Jensen-Shannon divergence: mean Kullback-Leibler divergence from the average of both.

    It is not the distance, its square root, that scipy returns.

    Parameters
    ----------
    p, q : array-like, shape (B,)
        Shares (fraction) or counts per bin; each is scaled to add up to 1.

    Returns
    -------
    float
        Nats, from 0 to ln 2.

    Raises
    ------
    DataError
        Shapes that differ, or shares that are negative, NaN or all 0.

    Examples
    --------
    >>> round(js_divergence([1.0, 0.0], [0.0, 1.0]), 4)
    0.6931
    """
    left, right = _shares(p, q, "p", "q")
    middle = 0.5 * (left + right)
    total = 0.5 * float(rel_entr(left, middle).sum() + rel_entr(right, middle).sum())
    return min(max(total, 0.0), log(2.0))


def ks_distance(reference: npt.ArrayLike, actual: npt.ArrayLike) -> KSDistance:
    """Largest gap between the distribution functions of two samples.

    Parameters
    ----------
    reference : array-like, shape (n,)
        First sample, any one unit; NaN = not observed.
    actual : array-like, shape (m,)
        Second sample.

    Returns
    -------
    KSDistance
        The p-value is asymptotic for more than 10,000 values and exact below (scipy's rule).

    Raises
    ------
    DataError
        Not one-dimensional numbers.
    EmptyDataError
        A sample without values.

    Examples
    --------
    >>> ks_distance([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]).statistic
    0.5
    """
    left, right = _samples(reference, actual)
    found = ks_2samp(left, right)
    return KSDistance(float(found.statistic), float(found.pvalue), len(left), len(right))


def wasserstein(reference: npt.ArrayLike, actual: npt.ArrayLike) -> float:
    """First Wasserstein distance of two samples: mean distance that mass has to travel.

    Parameters
    ----------
    reference : array-like, shape (n,)
        First sample, any one unit; NaN = not observed.
    actual : array-like, shape (m,)
        Second sample.

    Returns
    -------
    float
        In the unit of the samples, at least 0.

    Raises
    ------
    DataError
        Not one-dimensional numbers.
    EmptyDataError
        A sample without values.

    Examples
    --------
    >>> wasserstein([0.0, 1.0], [2.0, 3.0])
    2.0
    """
    return float(wasserstein_distance(*_samples(reference, actual)))


def wasserstein_shares(p: npt.ArrayLike, q: npt.ArrayLike, *, support: npt.ArrayLike) -> float:
    """First Wasserstein distance of two lists of shares on given points.

    Parameters
    ----------
    p, q : array-like, shape (B,)
        Shares (fraction) or counts per point; each is scaled to add up to 1.
    support : array-like, shape (B,)
        The points, any one unit, in any order.

    Returns
    -------
    float
        In the unit of the points, at least 0.

    Raises
    ------
    DataError
        Shapes that differ, NaN points, or shares that are negative, NaN or all 0.

    Examples
    --------
    >>> wasserstein_shares([1.0, 0.0, 0.0], [0.0, 0.5, 0.5], support=[0.0, 1.0, 3.0])
    2.0
    """
    left, right = _shares(p, q, "p", "q")
    points = parse_vector("support", support)
    check_same_shape("p", left, "support", points)
    if np.isnan(points).any():
        raise DataError("support", wanted="no NaN", got="NaN", hint="Drop points that are unknown.")
    return float(wasserstein_distance(points, points, left, right))


def energy_distance(reference: npt.ArrayLike, actual: npt.ArrayLike) -> float:
    """Energy distance of two samples, ``sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|)``.

    Parameters
    ----------
    reference : array-like, shape (n,)
        First sample, any one unit; NaN = not observed.
    actual : array-like, shape (m,)
        Second sample.

    Returns
    -------
    float
        In the square root of the unit, at least 0 (Székely and Rizzo 2013).

    Raises
    ------
    DataError
        Not one-dimensional numbers.
    EmptyDataError
        A sample without values.

    Examples
    --------
    >>> round(energy_distance([0.0], [2.0]), 4)
    2.0
    """
    return float(scipy_energy_distance(*_samples(reference, actual)))


def mahalanobis_distances(points: npt.ArrayLike, reference: npt.ArrayLike) -> FloatVector:
    """Distance of each point from the mean of a reference sample, in its covariance.

    ``sqrt((x - m)' S^-1 (x - m))`` with the covariance of the reference (ddof 1): about
    ``sqrt(k)`` for a point of the same distribution.

    Parameters
    ----------
    points : array-like, shape (n, k)
        Rows to judge; a row with NaN gets NaN.
    reference : array-like, shape (m, k)
        Rows that give mean and covariance; rows with NaN are left out.

    Returns
    -------
    ndarray of float64, shape (n,)
        At least 0.

    Raises
    ------
    DataError
        Different numbers of columns, or reference columns that are linearly dependent.
    EmptyDataError
        Not more complete reference rows than columns.

    Examples
    --------
    >>> reference = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    >>> mahalanobis_distances([[0.0, 0.0], [2.0, 0.0]], reference).round(3)
    array([0.   , 2.449])
    """
    rows, base = _matrices(points, reference, "points")
    base = base[~np.isnan(base).any(axis=1)]
    if len(base) <= base.shape[1]:
        raise EmptyDataError(
            "reference",
            wanted=f"more than {base.shape[1]} complete rows",
            got=len(base),
            hint="Use a longer reference or fewer columns.",
        )
    deviations = base - base.mean(axis=0)
    if np.linalg.matrix_rank(deviations) < base.shape[1]:
        raise DataError(
            "reference",
            wanted="linearly independent columns that vary",
            got=f"rank {np.linalg.matrix_rank(deviations)} of {base.shape[1]}",
            hint="Remove constant columns and columns that others add up to.",
        )
    # The triangular factor of the deviations avoids squaring their condition number.
    _, triangle = np.linalg.qr(deviations)
    scaled = (rows - base.mean(axis=0)).T * sqrt(len(base) - 1)
    solved = np.linalg.solve(triangle.T, scaled)
    distances: FloatVector = np.sqrt((solved**2).sum(axis=0))
    return distances


def mmd(
    reference: npt.ArrayLike, actual: npt.ArrayLike, *, bandwidth: float | None = None
) -> float:
    """Maximum mean discrepancy of two samples of rows, with a Gaussian kernel.

    ``sqrt(mean k(x, x') + mean k(y, y') - 2 mean k(x, y))`` over all pairs, equal rows included
    (the V-statistic of Gretton et al. 2012), ``k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2))``.

    Parameters
    ----------
    reference : array-like, shape (n, k)
        First sample; rows with NaN are left out. Costs n^2 kernel values.
    actual : array-like, shape (m, k)
        Second sample.
    bandwidth : float, optional
        Kernel width, positive, in the unit of the columns; without it the median distance between
        different reference rows.

    Returns
    -------
    float
        From 0 to sqrt(2).

    Raises
    ------
    ConfigError
        A bandwidth that is not positive.
    DataError
        Different numbers of columns, or a reference of equal rows without a bandwidth.
    EmptyDataError
        A sample without complete rows.

    Examples
    --------
    >>> round(mmd([[0.0], [1.0]], [[5.0], [6.0]], bandwidth=1.0), 4)
    1.2674
    """
    left, right = _matrices(reference, actual, "reference")
    left, right = left[~np.isnan(left).any(axis=1)], right[~np.isnan(right).any(axis=1)]
    if not len(left) or not len(right):
        raise _no_observation("reference, actual", f"{len(left)} and {len(right)} complete rows")
    own = _squared_distances(left, left)
    if bandwidth is None:
        positive = own[own > 0.0]
        if not positive.size:
            raise DataError(
                "reference", wanted="rows that differ", got="equal rows", hint="Pass a bandwidth."
            )
        bandwidth = sqrt(float(np.median(positive)))
    if not bandwidth > 0.0:
        raise ConfigError(
            "bandwidth", wanted="positive", got=bandwidth, hint="Leave it out for the median."
        )
    scale = -0.5 / bandwidth**2
    parts = [
        float(np.exp(scale * squares).mean())
        for squares in (own, _squared_distances(right, right), _squared_distances(left, right))
    ]
    return sqrt(max(parts[0] + parts[1] - 2.0 * parts[2], 0.0))


def _squared_distances(a: FloatMatrix, b: FloatMatrix) -> FloatMatrix:
    center = a.mean(axis=0)
    a, b = a - center, b - center
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    clipped: FloatMatrix = np.maximum(squares, 0.0)
    return clipped


def _matrices(
    first: npt.ArrayLike, second: npt.ArrayLike, name: str
) -> tuple[FloatMatrix, FloatMatrix]:
    left, right = parse_matrix(name, first), parse_matrix("the other sample", second)
    if left.shape[1] != right.shape[1]:
        raise DataError(
            name,
            wanted=f"{right.shape[1]} columns, as the other sample has",
            got=left.shape[1],
            hint="Select the same columns, in the same order.",
        )
    return left, right


def _samples(reference: npt.ArrayLike, actual: npt.ArrayLike) -> tuple[FloatVector, FloatVector]:
    return (
        _observed_values("reference", parse_vector("reference", reference)),
        _observed_values("actual", parse_vector("actual", actual)),
    )


def _observed_values(name: str, values: FloatVector) -> FloatVector:
    known = values[~np.isnan(values)]
    if not len(known):
        raise _no_observation(name, f"{len(values)} values, none observed")
    return known


def _no_observation(name: str, got: str) -> EmptyDataError:
    return EmptyDataError(
        name, wanted="at least one observation", got=got, hint="Use a window that holds data."
    )


def _binned(
    values: FloatVector, edges: FloatVector, n_missing: int, missing: Missing
) -> FloatVector:
    """Share per bin, each bin with its upper edge."""
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    if missing == "bin":
        counts = np.append(counts, n_missing)
    shares: FloatVector = counts / counts.sum()
    return shares


def _check_epsilon(epsilon: float) -> None:
    if not 0.0 < epsilon < 1.0:
        raise ConfigError(
            "epsilon",
            wanted="strictly between 0 and 1",
            got=epsilon,
            hint="Use 0.000001, less than the share of any value in a usual sample.",
        )


def _shares(
    first: npt.ArrayLike, second: npt.ArrayLike, first_name: str, second_name: str
) -> tuple[FloatVector, FloatVector]:
    left, right = parse_vector(first_name, first), parse_vector(second_name, second)
    check_same_shape(first_name, left, second_name, right)
    for name, values in ((first_name, left), (second_name, right)):
        if not (values >= 0.0).all() or not values.sum() > 0.0:
            raise DataError(
                name,
                wanted="shares of at least 0 without NaN, not all 0",
                got=f"{int((~(values >= 0.0)).sum())} negative or NaN, sum {values.sum()}",
                hint="Pass counts or probabilities per bin.",
            )
    return left / left.sum(), right / right.sum()
