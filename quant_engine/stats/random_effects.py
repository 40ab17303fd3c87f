"""Shrinkage of group means, one-way and nested, with the sampling noise taken out of the spread.

Contract: variances by the method of moments (analysis of variance), clipped at 0, with plain means
of observations as group, family and grand mean; with unequal groups restricted maximum likelihood
would differ. The spread of observed means is noise plus true spread, and only the second may set
the weight: without effects the weights are near 0. NaN = not observed, left out. No p-values come
from shrunk means (see :mod:`quant_engine.stats.shrinkage`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError, InsufficientHistoryError
from quant_engine.stats.checks import parse_labels, parse_vector

__all__ = ["NestedEffects", "OneWayEffects", "nested_effects", "one_way_effects"]


@dataclass(frozen=True, eq=False)
class OneWayEffects:
    """Group means drawn towards the grand mean.

    Parameters
    ----------
    groups : tuple, length G
        Labels of groups with an observation, in the order of their first appearance.
    n_obs : ndarray of int64, shape (G,)
        Observations per group.
    var_within, var_between : float
        Variance of observations inside groups, and of true group means.
    n0 : float
        ``(N - sum n^2 / N) / (G - 1)``, the group size that balances the design.
    weight_own : ndarray of float64, shape (G,)
        ``var_between / (var_between + var_within / n)``, in [0, 1].
    group_mean, shrunk : ndarray of float64, shape (G,)
        Observed mean, and ``grand_mean + weight_own (group_mean - grand_mean)``.
    grand_mean : float
        Mean of all observations.

    Examples
    --------
    >>> one_way_effects([1.0, 2.0, 5.0, 6.0], ["a", "a", "b", "b"]).groups
    ('a', 'b')
    """

    groups: tuple[Any, ...]
    n_obs: npt.NDArray[np.int64]
    var_within: float
    var_between: float
    n0: float
    weight_own: FloatVector
    group_mean: FloatVector
    shrunk: FloatVector
    grand_mean: float


@dataclass(frozen=True, eq=False)
class NestedEffects:
    """Event means drawn towards their family, and families towards the grand mean.

    Parameters
    ----------
    families : tuple, length F
        Family labels, in the order of their first appearance.
    events : tuple of tuple, length E
        (family, event) labels, in that order.
    event_family : ndarray of int64, shape (E,)
        Position of each event's family.
    n_obs : ndarray of int64, shape (E,)
        Observations per event.
    var_family, var_event, var_within : float
        Variance of true family means, of true event means inside a family, and of observations.
    weight_family : ndarray of float64, shape (F,)
        Weight on the family's own mean, in [0, 1].
    weight_event : ndarray of float64, shape (E,)
        Weight on the event's own mean, in [0, 1].
    family_shrunk : ndarray of float64, shape (F,)
        Shrunk family means.
    event_shrunk : ndarray of float64, shape (E,)
        Shrunk event means.
    grand_mean : float
        Mean of all observations.

    Examples
    --------
    >>> y = [1.0, 2.0, 3.0, 5.0, 9.0, 8.0, 4.0, 6.0]
    >>> family, event = ["f"] * 4 + ["g"] * 4, ["a", "a", "b", "b", "c", "c", "d", "d"]
    >>> nested_effects(y, family, event).events
    (('f', 'a'), ('f', 'b'), ('g', 'c'), ('g', 'd'))
    """

    families: tuple[Any, ...]
    events: tuple[tuple[Any, Any], ...]
    event_family: npt.NDArray[np.int64]
    n_obs: npt.NDArray[np.int64]
    var_family: float
    var_event: float
    var_within: float
    weight_family: FloatVector
    weight_event: FloatVector
    family_shrunk: FloatVector
    event_shrunk: FloatVector
    grand_mean: float


def one_way_effects(y: npt.ArrayLike, group: npt.ArrayLike) -> OneWayEffects:
    """Shrink group means by one-way random effects.

    ``var_within = MSW``, ``var_between = max(0, (MSB - MSW) / n0)`` with the mean squares of the
    analysis of variance (Searle, Casella and McCulloch 1992, section 3.6).

    Parameters
    ----------
    y : array-like, shape (n,)
        Observations, any one unit, independent inside groups; NaN = not observed.
    group : array-like, shape (n,)
        Label of each observation, one per observation.

    Returns
    -------
    OneWayEffects

    Raises
    ------
    DataError
        Not numbers, a missing label, or observations that do not vary at all.
    InsufficientHistoryError
        Fewer than 2 groups, or no group with 2 observations.

    Examples
    --------
    >>> fit = one_way_effects([1.0, 2.0, 5.0, 6.0, 2.0, 3.0], ["a", "a", "b", "b", "c", "c"])
    >>> fit.var_within, round(fit.var_between, 3), fit.shrunk.round(3)
    (0.5, 4.083, array([1.596, 5.365, 2.538]))
    """
    values, (codes, labels) = _observed(y, group=group)
    n_obs = np.bincount(codes, minlength=len(labels)).astype(np.int64)
    n_all, n_groups = len(values), len(labels)
    _check_design(n_groups, n_all, "group")
    _check_varies(values)
    mean = np.bincount(codes, weights=values, minlength=n_groups) / n_obs
    grand = float(values.mean())
    var_within = float(((values - mean[codes]) ** 2).sum() / (n_all - n_groups))
    mean_square = float((n_obs * (mean - grand) ** 2).sum() / (n_groups - 1))
    n0 = float((n_all - (n_obs**2).sum() / n_all) / (n_groups - 1))
    var_between = max(0.0, (mean_square - var_within) / n0)
    weight = _weight(var_between, var_within / n_obs)
    return OneWayEffects(
        groups=labels,
        n_obs=n_obs,
        var_within=var_within,
        var_between=var_between,
        n0=n0,
        weight_own=weight,
        group_mean=mean,
        shrunk=grand + weight * (mean - grand),
        grand_mean=grand,
    )


def nested_effects(y: npt.ArrayLike, family: npt.ArrayLike, event: npt.ArrayLike) -> NestedEffects:
    """Shrink event means to their family, and family means to the grand mean.

    With mean squares between families (MSA), between events inside families (MSB) and inside events
    (MSW), and the coefficients of the unbalanced nested design (Searle, Casella and McCulloch
    1992, section 5.3): ``var_within = MSW``, ``var_event = max(0, (MSB - MSW) / a)``,
    ``var_family = max(0, (MSA - MSW - b (MSB - MSW) / a) / c)``. With n observations in each of B
    events per family, a = b = n and c = n B. A family mean has the noise
    ``var_event sum n_e^2 / n_f^2 + var_within / n_f``.

    Parameters
    ----------
    y : array-like, shape (n,)
        Observations, any one unit, independent inside events; NaN = not observed.
    family, event : array-like, shape (n,)
        Labels, one per observation. An event label means something inside its family only.

    Returns
    -------
    NestedEffects

    Raises
    ------
    DataError
        Not numbers, a missing label, or observations that do not vary at all.
    InsufficientHistoryError
        Fewer than 2 families, no family with 2 events, or no event with 2 observations.

    Examples
    --------
    >>> y = [1.0, 2.0, 3.0, 5.0, 9.0, 8.0, 4.0, 6.0]
    >>> family, event = ["f"] * 4 + ["g"] * 4, ["a", "a", "b", "b", "c", "c", "d", "d"]
    >>> fit = nested_effects(y, family, event)
    >>> round(fit.var_family, 3), round(fit.var_event, 3), fit.event_shrunk.round(2)
    (5.688, 4.0, array([1.75, 3.91, 8.19, 5.16]))
    """
    values, (of_family, families), (of_event, events) = _observed(y, family=family, event=event)
    _check_varies(values)
    n_all, n_families = len(values), len(families)
    pair = of_family * len(events) + of_event
    _, first, codes = np.unique(pair, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    codes, first = rank[codes], np.sort(first)
    parent = of_family[first]
    _check_design(n_families, len(first), "family")
    _check_design(len(first), n_all, "event")
    n_event = np.bincount(codes).astype(np.int64)
    n_family = np.bincount(of_family).astype(np.int64)
    event_mean = np.bincount(codes, weights=values) / n_event
    family_mean = np.bincount(of_family, weights=values) / n_family
    grand = float(values.mean())

    within = float(((values - event_mean[codes]) ** 2).sum() / (n_all - len(first)))
    between_events = float((n_event * (event_mean - family_mean[parent]) ** 2).sum())
    between_families = float((n_family * (family_mean - grand) ** 2).sum())
    a, b, c = _moment_coefficients(n_event, n_family, parent)
    raw_event = (between_events / (len(first) - n_families) - within) / a
    var_event = max(0.0, raw_event)
    # Moments are solved before any is clipped: a clipped event part would move to the families.
    var_family = max(0.0, (between_families / (n_families - 1) - within - b * raw_event) / c)

    squares = np.bincount(parent, weights=n_event.astype(np.float64) ** 2)
    noise = var_event * squares / n_family.astype(np.float64) ** 2 + within / n_family
    weight_family = _weight(var_family, noise)
    family_shrunk = grand + weight_family * (family_mean - grand)
    weight_event = _weight(var_event, within / n_event)
    return NestedEffects(
        families=families,
        events=tuple((families[of_family[i]], events[of_event[i]]) for i in first),
        event_family=parent,
        n_obs=n_event,
        var_family=var_family,
        var_event=var_event,
        var_within=within,
        weight_family=weight_family,
        weight_event=weight_event,
        family_shrunk=family_shrunk,
        event_shrunk=family_shrunk[parent] + weight_event * (event_mean - family_shrunk[parent]),
        grand_mean=grand,
    )


def _moment_coefficients(
    n_event: npt.NDArray[np.int64],
    n_family: npt.NDArray[np.int64],
    parent: npt.NDArray[np.int64],
) -> tuple[float, float, float]:
    """Coefficients a, b (event variance) and c (family variance) of the expected mean squares."""
    n_all, n_families = float(n_family.sum()), len(n_family)
    squares = np.bincount(parent, weights=n_event.astype(np.float64) ** 2)
    inside = float((squares / n_family).sum())
    a = (n_all - inside) / (len(n_event) - n_families)
    b = (inside - float(squares.sum()) / n_all) / (n_families - 1)
    c = (n_all - float((n_family.astype(np.float64) ** 2).sum()) / n_all) / (n_families - 1)
    return a, b, c


def _observed(y: npt.ArrayLike, **labels: npt.ArrayLike) -> tuple[Any, ...]:
    """Known observations, and codes and distinct labels of each label argument among them."""
    values = parse_vector("y", y)
    known = ~np.isnan(values)
    parsed = []
    for name, column in labels.items():
        codes, distinct = parse_labels(name, column, length=len(values))
        kept, order = np.unique(codes[known], return_inverse=True)
        parsed.append((order.astype(np.int64), tuple(distinct[k] for k in kept)))
    return (values[known], *parsed)


def _weight(between: float, noise: FloatVector) -> FloatVector:
    """Share of the true spread, 0 where there is neither spread nor noise."""
    total = between + noise
    weight = np.zeros_like(noise)
    np.divide(between, total, out=weight, where=total > 0.0)
    return weight


def _check_design(n_units: int, n_members: int, name: str) -> None:
    if n_units < 2 or n_members <= n_units:
        raise InsufficientHistoryError(
            name,
            wanted="at least 2, one of them with 2 members or more",
            got=f"{n_units} with {n_members} members in all",
            hint="Shrinkage learns the spread from several groups; report plain means instead.",
        )


def _check_varies(values: FloatVector) -> None:
    if values.min() == values.max():
        raise DataError(
            "y",
            wanted="observations that vary",
            got=f"{len(values)} equal values",
            hint="A constant series has no spread to divide; check where it comes from.",
        )
