"""Many tests at once: adjusted p-values and the one decision function ``reject``.

Contract: adjusted p-values stand in the order of the input, are clipped at 1, and a hypothesis is
rejected when its adjusted value is at most alpha. NaN = not tested: the number of tests counts
finite p-values only, and NaN stays NaN (as R's ``p.adjust``; scipy refuses NaN and statsmodels
counts it). Families with their own structure are in :mod:`quant_engine.stats.families`.

1. ``_parse_family`` reads the p-values and says which were tested.
2. One function per method maps sorted p-values to sorted adjusted values.
3. ``_unsorted`` puts them back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.special import xlog1py

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    InsufficientObservationError,
    did_you_mean,
)
from quant_engine.stats.checks import check_coverage, check_same_shape, parse_vector

__all__ = [
    "Method",
    "Rejection",
    "adjusted_p",
    "by_factor",
    "parse_p_values",
    "reject",
    "storey_pi0",
]

Method = Literal[
    "bonferroni",
    "sidak",
    "holm",
    "holm_sidak",
    "hochberg",
    "hommel",
    "bh",
    "by",
    "storey",
    "bky",
]

_GUARANTEES: Mapping[str, str] = {
    "bonferroni": "FWER, any dependence",
    "sidak": "FWER, independence",
    "holm": "FWER, any dependence",
    "holm_sidak": "FWER, independence",
    "hochberg": "FWER, positive dependence (Simes)",
    "hommel": "FWER, positive dependence (Simes)",
    "bh": "FDR, independence or positive dependence",
    "by": "FDR, any dependence",
    "storey": "FDR, independence or weak dependence, many tests",
    "bky": "FDR, independence",
}
_WEIGHTED = ("bh", "bonferroni")


@dataclass(frozen=True, eq=False)
class Rejection:
    """Which hypotheses of one family are rejected, and by which rule.

    Parameters
    ----------
    method : str
        Rule.
    guarantee : str
        Error rate that the rule controls, and under which dependence.
    alpha : float
        Level of that error rate.
    m : int
        Tests: finite p-values.
    n_missing : int
        NaN p-values.
    n_rejected : int
        Rejected hypotheses.
    rejected : ndarray of bool, shape (n,)
        ``adjusted <= alpha``, in the order of the input; False where NaN.
    adjusted : ndarray of float64, shape (n,)
        Adjusted p-values (q-values for Storey), in the order of the input; NaN where NaN. Those of
        ``"bky"`` are for this alpha only.
    pi0 : float
        Estimated share of true null hypotheses that the rule used (Storey, BKY); NaN for rules
        that estimate none.

    Examples
    --------
    >>> reject([0.01, 0.04], method="bh", alpha=0.05).n_rejected
    2
    """

    method: str
    guarantee: str
    alpha: float
    m: int
    n_missing: int
    n_rejected: int
    rejected: npt.NDArray[np.bool_]
    adjusted: FloatVector
    pi0: float


def reject(
    p: npt.ArrayLike,
    *,
    method: Method,
    alpha: float,
    lam: float = 0.5,
    weights: npt.ArrayLike | None = None,
) -> Rejection:
    """Decide which hypotheses of one family to reject.

    With sorted p-values ``p_(1) <= ... <= p_(m)`` the adjusted values are

    * ``bonferroni``: ``m p``; ``sidak``: ``1 - (1 - p)^m``;
    * ``holm``: ``max_{j<=i} (m - j + 1) p_(j)``; ``holm_sidak``: the same maximum of
      ``1 - (1 - p_(j))^(m - j + 1)`` (Holm 1979);
    * ``hochberg``: ``min_{j>=i} (m - j + 1) p_(j)`` (Hochberg 1988); ``hommel``: closed Simes tests
      (Hommel 1988);
    * ``bh``: ``min_{j>=i} m p_(j) / j`` (Benjamini and Hochberg 1995); ``by``: that times
      ``sum_{k<=m} 1 / k`` (Benjamini and Yekutieli 2001);
    * ``storey``: BH times pi0 of :func:`storey_pi0` (Storey 2002);
    * ``bky``: two stages. BH at ``alpha' = alpha / (1 + alpha)`` rejects r; with r = 0 or r = m
      that is the answer, else BH at ``alpha' m / (m - r)`` (Benjamini, Krieger and Yekutieli 2006,
      definition 6). Its adjusted value is BH's times ``(1 + alpha) (m - r) / m``.

    Parameters
    ----------
    p : array-like, shape (n,)
        p-values in [0, 1] (a probability) of un-shrunk statistics; NaN = not tested.
    method : str
        One of the above.
    alpha : float
        Level, strictly between 0 and 1.
    lam : float
        Storey's lambda, in [0, 1).
    weights : array-like, shape (n,), optional
        Prior weights, any scale, not negative; ``p`` is divided by the weight relative to the mean
        weight of the tested (Genovese, Roeder and Wasserman 2006). Only with ``bh`` and
        ``bonferroni``, and only weights that were fixed before the p-values were seen. NaN is
        allowed where ``p`` is NaN.

    Returns
    -------
    Rejection

    Raises
    ------
    ConfigError
        Unknown method, alpha or lambda out of range, or weights with a method that has none.
    DataError
        p-values outside [0, 1], or weights that are negative, missing or all zero.
    EmptyDataError
        No finite p-value.
    InsufficientObservationError
        Storey's pi0 is 0: no p-value reaches lambda.

    Examples
    --------
    >>> found = reject([0.01, float("nan"), 0.04, 0.03, 0.2], method="bh", alpha=0.05)
    >>> found.m, found.n_rejected, found.adjusted.round(4)
    (4, 1, array([0.04  ,    nan, 0.0533, 0.0533, 0.2   ]))
    """
    check_coverage("alpha", alpha)
    _check_method(method)
    values, tested = parse_p_values(p)
    if weights is not None:
        values = _weighted(values, tested, weights, method)
    order, ascending = _sorted(values, tested)
    pi0 = float("nan")
    if method == "bky":
        sorted_adjusted, pi0 = _two_stage(ascending, alpha)
    elif method == "storey":
        pi0 = storey_pi0(values, lam=lam)
        sorted_adjusted = np.minimum(_bh(ascending) * pi0, 1.0)
    else:
        sorted_adjusted = _METHODS[method](ascending)
    adjusted = _unsorted(sorted_adjusted, order, tested)
    rejected = tested & (np.where(tested, adjusted, 1.0) <= alpha)
    return Rejection(
        method=method,
        guarantee=_GUARANTEES[method],
        alpha=alpha,
        m=len(ascending),
        n_missing=len(values) - len(ascending),
        n_rejected=int(rejected.sum()),
        rejected=rejected,
        adjusted=adjusted,
        pi0=pi0,
    )


def adjusted_p(p: npt.ArrayLike, *, method: Method, lam: float = 0.5) -> FloatVector:
    """Adjusted p-values without a decision, for the rules whose values need no alpha.

    Parameters
    ----------
    p : array-like, shape (n,)
        p-values in [0, 1] (a probability); NaN = not tested.
    method : str
        A method of :func:`reject` other than ``"bky"``.
    lam : float
        Storey's lambda, in [0, 1).

    Returns
    -------
    ndarray of float64, shape (n,)
        In the order of the input, NaN where NaN.

    Raises
    ------
    ConfigError
        Unknown method, ``"bky"``, or lambda out of range.
    DataError
        p-values outside [0, 1].
    EmptyDataError
        No finite p-value.
    InsufficientObservationError
        Storey's pi0 is 0.

    Examples
    --------
    >>> adjusted_p([0.02, 0.01, 0.5], method="holm")
    array([0.04, 0.03, 0.5 ])
    """
    if method == "bky":
        raise ConfigError(
            "method",
            wanted="a rule whose adjusted values need no alpha",
            got="'bky'",
            hint="Call reject(p, method='bky', alpha=...), whose result holds them.",
        )
    # The level decides nothing about these values.
    return reject(p, method=method, alpha=0.05, lam=lam).adjusted


def storey_pi0(p: npt.ArrayLike, *, lam: float = 0.5) -> float:
    """Share of true null hypotheses from the p-values that are at least lambda.

    ``pi0 = #{p >= lam} / (m (1 - lam))``, clipped at 1 (Storey 2002, as R's ``qvalue``): true
    null hypotheses have uniform p-values, and few others are large.

    Parameters
    ----------
    p : array-like, shape (n,)
        p-values in [0, 1] (a probability); NaN = not tested.
    lam : float
        Lambda, in [0, 1); larger has less bias and more variance.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    ConfigError
        Lambda out of range.
    DataError
        p-values outside [0, 1].
    EmptyDataError
        No finite p-value.
    InsufficientObservationError
        No p-value reaches lambda, so that every test would count as a discovery.

    Examples
    --------
    >>> storey_pi0([0.01, 0.02, 0.3, 0.6, 0.9], lam=0.5)
    0.8
    """
    if not 0.0 <= lam < 1.0:
        raise ConfigError("lam", wanted="0 <= lam < 1", got=lam, hint="Use 0.5, the usual choice.")
    values, tested = parse_p_values(p)
    m = int(tested.sum())
    n_large = int((values[tested] >= lam).sum())
    if n_large == 0:
        raise InsufficientObservationError(
            "p",
            wanted=f"at least one p-value of {lam} or more",
            got=f"{m} smaller ones",
            hint="Use a smaller lam, or method 'bh', which needs no estimate.",
        )
    return min(1.0, n_large / (m * (1.0 - lam)))


def by_factor(m: int) -> float:
    """Penalty of Benjamini and Yekutieli for unknown dependence, ``sum_{k=1..m} 1 / k``.

    Parameters
    ----------
    m : int
        Tests, at least 1.

    Returns
    -------
    float
        1 for one test, about ``ln m + 0.577`` for many.

    Raises
    ------
    ConfigError
        No test.

    Examples
    --------
    >>> round(by_factor(15), 5)
    3.31823
    """
    if m < 1:
        raise ConfigError("m", wanted="at least 1 test", got=m, hint="Pass the family size.")
    return float((1.0 / np.arange(1, m + 1)).sum())


def parse_p_values(p: npt.ArrayLike) -> tuple[FloatVector, npt.NDArray[np.bool_]]:
    """Read the p-values of a family and say which hypotheses were tested.

    Parameters
    ----------
    p : array-like, shape (n,)
        p-values (a probability); NaN = not tested.

    Returns
    -------
    values : ndarray of float64, shape (n,)
        The p-values.
    tested : ndarray of bool, shape (n,)
        Where they are finite.

    Raises
    ------
    DataError
        Not one-dimensional numbers, or outside [0, 1].
    EmptyDataError
        No finite p-value.

    Examples
    --------
    >>> parse_p_values([0.2, float("nan")])[1]
    array([ True, False])
    """
    values = parse_vector("p", p)
    tested = ~np.isnan(values)
    if not tested.any():
        raise EmptyDataError(
            "p",
            wanted="at least one finite p-value",
            got=f"{len(values)} values, none finite",
            hint="An empty family has no decision; report it as not tested.",
        )
    known = values[tested]
    n_outside = int(((known < 0.0) | (known > 1.0)).sum())
    if n_outside:
        raise DataError(
            "p",
            wanted="p-values between 0 and 1",
            got=f"{n_outside} outside",
            hint="Pass p-values, not t statistics or percent.",
        )
    return values, tested


def _check_method(method: str) -> None:
    if method not in get_args(Method):
        raise ConfigError(
            "method",
            wanted="a rule for many tests",
            got=repr(method),
            hint=did_you_mean(method, get_args(Method)),
        )


def _weighted(
    values: FloatVector,
    tested: npt.NDArray[np.bool_],
    weights: npt.ArrayLike,
    method: str,
) -> FloatVector:
    """Divide by the relative weight, cut at 1; weight 0 = never rejected."""
    if method not in _WEIGHTED:
        raise ConfigError(
            "weights",
            wanted=f"none, or one of the methods {', '.join(_WEIGHTED)}",
            got=f"method {method!r}",
            hint="Only these have a weighted form that controls its error.",
        )
    raw = parse_vector("weights", weights)
    check_same_shape("p", values, "weights", raw)
    known = raw[tested]
    if np.isnan(known).any() or (known < 0.0).any() or not known.any():
        raise DataError(
            "weights",
            wanted="weights of at least 0, not all 0, for every tested hypothesis",
            got=f"{int(np.isnan(known).sum())} NaN, {int((known < 0.0).sum())} negative",
            hint="Use 1 where nothing is known in advance.",
        )
    relative = known / known.mean()
    scaled = values.copy()
    divided = np.ones_like(relative)
    np.divide(values[tested], relative, out=divided, where=relative > 0.0)
    scaled[tested] = np.minimum(divided, 1.0)
    return scaled


def _sorted(
    values: FloatVector, tested: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.intp], FloatVector]:
    """Order of the tested p-values, and these ascending."""
    known = values[tested]
    order = np.argsort(known, kind="stable")
    return order, known[order]


def _unsorted(
    ascending: FloatVector, order: npt.NDArray[np.intp], tested: npt.NDArray[np.bool_]
) -> FloatVector:
    """Sorted values back in the places they came from, NaN elsewhere."""
    known = np.empty(len(order))
    known[order] = ascending
    out = np.full(len(tested), np.nan)
    out[tested] = known
    return out


def _ranks(m: int) -> FloatVector:
    return np.arange(1.0, m + 1.0)


def _step_up(scaled: FloatVector) -> FloatVector:
    """Running minimum from the largest, clipped at 1."""
    return np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)


def _step_down(scaled: FloatVector) -> FloatVector:
    """Running maximum from the smallest, clipped at 1."""
    return np.minimum(np.maximum.accumulate(scaled), 1.0)


def _bonferroni(p: FloatVector) -> FloatVector:
    return np.minimum(p * len(p), 1.0)


def _sidak(p: FloatVector) -> FloatVector:
    # By logarithms, since 1 - (1 - p)^m is 0 for every p below 1e-16.
    adjusted: FloatVector = -np.expm1(xlog1py(float(len(p)), -p))
    return adjusted


def _holm(p: FloatVector) -> FloatVector:
    return _step_down(p * _ranks(len(p))[::-1])


def _holm_sidak(p: FloatVector) -> FloatVector:
    return _step_down(-np.expm1(xlog1py(_ranks(len(p))[::-1], -p)))


def _hochberg(p: FloatVector) -> FloatVector:
    return _step_up(p * _ranks(len(p))[::-1])


def _bh(p: FloatVector) -> FloatVector:
    return _step_up(p * len(p) / _ranks(len(p)))


def _by(p: FloatVector) -> FloatVector:
    return _step_up(p * len(p) / _ranks(len(p)) * by_factor(len(p)))


def _hommel(p: FloatVector) -> FloatVector:
    """Hommel's values in O(m log m), after Meijer, Krebs and Goeman (2019).

    With ``s_i`` the Simes p-value of the i largest p-values and ``S_i = max_{k>=i} s_k``, Hommel
    rejects at alpha what has ``h p <= alpha`` with h the largest i that has ``S_i > alpha``. The
    smallest such alpha is ``min_{0<=i<=m} max(S_{i+1}, i p)``; the first part falls with i and the
    second rises, so that the minimum is at their crossing.
    """
    m = len(p)
    simes = np.empty(m)
    _simes_of_largest(p, simes)
    # falling[i] = S_{i+1} for i = 0..m, with S_{m+1} = 0.
    falling = np.append(np.maximum.accumulate(simes[::-1])[::-1], 0.0)
    low, high = np.zeros(m, dtype=np.int64), np.full(m, m, dtype=np.int64)
    for _ in range(ceil(np.log2(m + 1)) + 1):
        middle = (low + high) // 2
        crossed = middle * p >= falling[middle]
        high = np.where(crossed, middle, high)
        low = np.where(crossed, low, np.minimum(middle + 1, high))
    before = np.maximum(high - 1, 0)
    at_crossing = np.maximum(falling[high], high * p)
    just_before = np.where(high > 0, np.maximum(falling[before], before * p), 1.0)
    adjusted: FloatVector = np.minimum(np.minimum(at_crossing, just_before), 1.0)
    return adjusted


@njit(cache=True, nogil=True)
def _simes_of_largest(p: FloatVector, out: FloatVector) -> None:
    """``out[i - 1] = i min_{j<=i} p_(m-i+j) / j`` for every i, p ascending.

    The minimum is the smallest slope from the point (m - i, 0) to the points (r, p_(r)) to its
    right, hence touched by their lower convex hull, which grows to the left by one point at a time.
    """
    m = len(p)
    hull = np.empty(m, dtype=np.int64)
    n_hull = 0
    for i in range(1, m + 1):
        rank = m - i + 1
        while n_hull >= 2:
            a, b = hull[n_hull - 1], hull[n_hull - 2]
            left = (p[a - 1] - p[rank - 1]) * (b - rank)
            if left >= (p[b - 1] - p[rank - 1]) * (a - rank):
                n_hull -= 1
            else:
                break
        hull[n_hull] = rank
        n_hull += 1
        # Slopes from (m - i, 0) fall and then rise along the hull; hull[0] is the largest rank.
        origin = m - i
        low, high = 0, n_hull - 1
        while low < high:
            middle = (low + high) // 2
            right, left_one = hull[middle], hull[middle + 1]
            if p[left_one - 1] * (right - origin) <= p[right - 1] * (left_one - origin):
                low = middle + 1
            else:
                high = middle
        out[i - 1] = i * (p[hull[low] - 1] / (hull[low] - origin))


def _two_stage(p: FloatVector, alpha: float) -> tuple[FloatVector, float]:
    """Adjusted values of Benjamini, Krieger and Yekutieli at one alpha, and their pi0."""
    m = len(p)
    first = _bh(p)
    n_first = int((first <= alpha / (1.0 + alpha)).sum())
    pi0 = (m - n_first) / m
    factor = pi0 if 0 < n_first < m else 1.0
    return np.minimum(first * (factor * (1.0 + alpha)), 1.0), pi0


_METHODS: Mapping[str, Callable[[FloatVector], FloatVector]] = {
    "bonferroni": _bonferroni,
    "sidak": _sidak,
    "holm": _holm,
    "holm_sidak": _holm_sidak,
    "hochberg": _hochberg,
    "hommel": _hommel,
    "bh": _bh,
    "by": _by,
}
