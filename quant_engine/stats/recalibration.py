"""Maps from scores to honest probabilities: isotonic (pool adjacent violators) and Platt.

Contract: a map is fitted on rows that no model was trained on. Isotonic needs many rows and makes
no assumption but order; Platt needs few and assumes a logistic curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.special import expit, xlogy

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError, EmptyDataError, InsufficientHistoryError
from quant_engine.stats.checks import check_same_shape, parse_vector

__all__ = ["IsotonicMap", "PlattMap", "fit_isotonic", "fit_platt", "pool_adjacent_violators"]

MAX_NEWTON_STEPS = 100
"""Steps after which the Platt fit is given up; it needs about six."""

LEAST_IMPROVEMENT = 1e-13
"""Relative step at which the Platt fit has converged."""


def pool_adjacent_violators(
    y: npt.ArrayLike, *, weights: npt.ArrayLike | None = None, increasing: bool = True
) -> FloatVector:
    """Nearest monotone sequence in weighted least squares.

    Parameters
    ----------
    y : array-like, shape (n,)
        Values in the order of what they depend on, any unit; no NaN.
    weights : array-like, shape (n,), optional
        Positive weights; equal without.
    increasing : bool
        Direction: never falling, or else never rising.

    Returns
    -------
    ndarray of float64, shape (n,)
        In the unit of y.

    Raises
    ------
    DataError
        NaN, shapes that differ, or weights that are not positive.
    EmptyDataError
        No value.

    Notes
    -----
    Barlow, Bartholomew, Bremner and Brunk (1972); computed by scipy's linear-time algorithm.

    Examples
    --------
    >>> pool_adjacent_violators([1.0, 0.0, 4.0, 3.0]).tolist()
    [0.5, 0.5, 3.5, 3.5]
    """
    values = parse_vector("y", y)
    weight = np.ones_like(values) if weights is None else parse_vector("weights", weights)
    check_same_shape("y", values, "weights", weight)
    if len(values) == 0:
        raise EmptyDataError("y", wanted="at least one value", got=0, hint="Pass the sequence.")
    if np.isnan(values).any() or not (weight > 0.0).all():
        raise DataError(
            "y, weights",
            wanted="values without NaN and positive weights",
            got=f"{int(np.isnan(values).sum())} NaN, {int((~(weight > 0.0)).sum())} weights "
            "not above 0",
            hint="Leave out what has no value or no weight.",
        )
    fitted = isotonic_regression(values, weights=weight, increasing=increasing)
    return np.asarray(fitted.x, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class IsotonicMap:
    """Monotone step fit of a probability, joined by straight lines.

    Parameters
    ----------
    score : ndarray of float64, shape (K,)
        Distinct scores, rising, at which the map is known.
    prob : ndarray of float64, shape (K,)
        Probability at each, never falling.
    n_obs : int
        Rows fitted on.

    Examples
    --------
    >>> fit_isotonic([0.1, 0.2, 0.3], [0, 0, 1]).apply([0.25, 9.0]).tolist()
    [0.5, 1.0]
    """

    score: FloatVector
    prob: FloatVector
    n_obs: int

    def apply(self, score: npt.ArrayLike) -> FloatVector:
        """Probability of new scores, shape (n,); beyond the fitted ones their end value; NaN stays.

        Parameters
        ----------
        score : array-like, shape (n,)
            Scores in the unit of the fitted ones.

        Returns
        -------
        ndarray of float64, shape (n,)
            Probabilities.
        """
        return np.interp(parse_vector("score", score), self.score, self.prob)


def fit_isotonic(
    score: npt.ArrayLike, outcome: npt.ArrayLike, *, weights: npt.ArrayLike | None = None
) -> IsotonicMap:
    """Fit a probability that never falls with the score (Zadrozny and Elkan 2002).

    Rows of equal score are averaged first, so that ties in another order give the same map.

    Parameters
    ----------
    score : array-like, shape (n,)
        Scores, any unit; NaN = no score, row left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, row left out.
    weights : array-like, shape (n,), optional
        Positive weights.

    Returns
    -------
    IsotonicMap
        One knot per distinct score.

    Raises
    ------
    DataError
        Shapes that differ, outcomes other than 0 and 1, or weights that are not positive.
    EmptyDataError
        No complete row.

    Examples
    --------
    >>> fitted = fit_isotonic([1.0, 2.0, 2.0, 3.0, 4.0], [0, 1, 0, 0, 1])
    >>> fitted.prob.round(3).tolist()
    [0.0, 0.333, 0.333, 1.0]
    """
    x, y, complete = _parse_rows(score, outcome)
    weight = np.ones_like(x)
    if weights is not None:
        every = parse_vector("weights", weights)
        check_same_shape("score", complete, "weights", every)
        weight = every[complete]
    if not (weight > 0.0).all():
        raise DataError(
            "weights", wanted="positive weights", got="others", hint="Leave out weightless rows."
        )
    knots, group = np.unique(x, return_inverse=True)
    total = np.bincount(group, weights=weight)
    mean = np.bincount(group, weights=weight * y) / total
    return IsotonicMap(score=knots, prob=pool_adjacent_violators(mean, weights=total), n_obs=len(x))


@dataclass(frozen=True)
class PlattMap:
    """Logistic map of a score, ``p = 1 / (1 + exp(a s + b))``.

    Parameters
    ----------
    a : float
        Slope; negative where higher scores mean more likely.
    b : float
        Offset.
    n_obs : int
        Rows fitted on.

    Examples
    --------
    >>> PlattMap(a=-1.0, b=0.0, n_obs=10).apply([0.0]).tolist()
    [0.5]
    """

    a: float
    b: float
    n_obs: int

    def apply(self, score: npt.ArrayLike) -> FloatVector:
        """Probability of new scores, shape (n,); NaN stays.

        Parameters
        ----------
        score : array-like, shape (n,)
            Scores in the unit of the fitted ones.

        Returns
        -------
        ndarray of float64, shape (n,)
            Probabilities.
        """
        return np.asarray(expit(-(self.a * parse_vector("score", score) + self.b)))


def fit_platt(score: npt.ArrayLike, outcome: npt.ArrayLike) -> PlattMap:
    """Fit Platt's (1999) logistic map with his smoothed targets.

    Maximises the likelihood with targets ``(n1 + 1) / (n1 + 2)`` for what happened and
    ``1 / (n0 + 2)`` for what did not, which keeps the map finite where the classes are separable.

    Parameters
    ----------
    score : array-like, shape (n,)
        Scores, any unit; NaN = no score, row left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, row left out.

    Returns
    -------
    PlattMap
        Slope and offset.

    Raises
    ------
    DataError
        Shapes that differ, outcomes other than 0 and 1, or scores that do not vary.
    EmptyDataError
        No complete row.
    InsufficientHistoryError
        The fit did not converge.

    Notes
    -----
    Newton steps with halving (Lin, Lin and Weng 2007). Scores are standardised inside, so that
    their unit does not decide about convergence.

    Examples
    --------
    >>> fitted = fit_platt([-2.0, -1.0, 0.0, 1.0, 2.0], [0, 0, 1, 0, 1])
    >>> f"{fitted.a:.3f} {fitted.b:.3f}"
    '-0.481 0.359'
    """
    x, y, _ = _parse_rows(score, outcome)
    if x.min() == x.max():
        raise DataError(
            "score", wanted="scores that vary", got="one value", hint="Use the frequency itself."
        )
    n_yes = float(y.sum())
    n_no = len(y) - n_yes
    target = np.where(y == 1.0, (n_yes + 1.0) / (n_yes + 2.0), 1.0 / (n_no + 2.0))
    centre, scale = float(x.mean()), float(x.std())
    design = np.column_stack([(x - centre) / scale, np.ones_like(x)])
    beta = np.array([0.0, float(np.log((n_no + 1.0) / (n_yes + 1.0)))])
    loss = _cross_entropy(design, target, beta)
    for _ in range(MAX_NEWTON_STEPS):
        p = expit(-design @ beta)
        gradient = design.T @ (target - p)
        hessian = (design * (p * (1.0 - p))[:, None]).T @ design
        step = -np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        length = 1.0
        while (new := _cross_entropy(design, target, beta + length * step)) > loss and (
            length > 1e-10
        ):
            length /= 2.0
        beta = beta + length * step
        if np.abs(length * step).max() <= LEAST_IMPROVEMENT * (1.0 + np.abs(beta).max()):
            a = float(beta[0]) / scale
            return PlattMap(a=a, b=float(beta[1]) - a * centre, n_obs=len(x))
        loss = new
    raise InsufficientHistoryError(
        "score", wanted="a fit that converges", got=f"{len(x)} rows", hint="Use isotonic."
    )


def _cross_entropy(design: FloatVector, target: FloatVector, beta: FloatVector) -> float:
    p = expit(-design @ beta)
    return float(-(xlogy(target, p) + xlogy(1.0 - target, 1.0 - p)).sum())


def _parse_rows(
    score: npt.ArrayLike, outcome: npt.ArrayLike
) -> tuple[FloatVector, FloatVector, npt.NDArray[np.bool_]]:
    """Complete rows of a score and a 0/1 outcome, and where they are."""
    x, y = parse_vector("score", score), parse_vector("outcome", outcome)
    check_same_shape("score", x, "outcome", y)
    complete = ~(np.isnan(x) | np.isnan(y))
    x, y = x[complete], y[complete]
    if len(x) == 0:
        raise EmptyDataError(
            "score, outcome",
            wanted="at least one complete row",
            got=0,
            hint="Fit on a period whose outcomes are known.",
        )
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError(
            "outcome", wanted="0 or 1", got="other values", hint="Turn returns into outcomes first."
        )
    return x, y, complete
