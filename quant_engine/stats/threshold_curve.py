"""A distribution from prices of threshold contracts: P(X > k) for rising strikes k.

Contract: quotes need not be monotone; they are repaired to the nearest non-rising sequence, and
the number of violations is part of the result. Between strikes, and from the outer strikes to two
edges that the caller states, the probability is spread evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError
from quant_engine.stats.checks import check_same_shape, parse_vector
from quant_engine.stats.crps import crps_intervals
from quant_engine.stats.recalibration import pool_adjacent_violators

__all__ = ["ThresholdCurve", "fit_threshold_curve"]


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """Distribution of a number from probabilities that it exceeds thresholds.

    Parameters
    ----------
    strikes : ndarray of float64, shape (K,)
        Thresholds, rising, in the unit of the outcome.
    survival : ndarray of float64, shape (K,)
        Repaired probability of exceeding each, never rising.
    edges : ndarray of float64, shape (K + 2,)
        Lower edge, strikes, upper edge.
    mass : ndarray of float64, shape (K + 1,)
        Probability of each interval.
    n_violations : int
        Adjacent quotes that rose.

    Examples
    --------
    >>> curve = fit_threshold_curve([1.0, 2.0], [0.75, 0.25], lower_edge=0.0, upper_edge=3.0)
    >>> curve.mass.tolist(), curve.mean()
    ([0.25, 0.5, 0.25], 1.5)
    """

    strikes: FloatVector
    survival: FloatVector
    edges: FloatVector
    mass: FloatVector
    n_violations: int

    def mean(self) -> float:
        """Mean, with each interval's probability at its middle."""
        return float(self.mass @ (self.edges[1:] + self.edges[:-1]) / 2.0)

    def crps(self, outcome: npt.ArrayLike) -> FloatVector:
        """Continuous ranked probability score, shape (n,), of outcomes of shape (n,)."""
        return crps_intervals(self.edges, self.mass, outcome)

    def rps_at_strikes(self, outcome: float) -> float:
        """Sum over strikes of the squared error of ``P(X > k)`` against ``outcome > k``."""
        return float(((self.survival - (outcome > self.strikes)) ** 2).sum())


def fit_threshold_curve(
    strikes: npt.ArrayLike,
    prob_above: npt.ArrayLike,
    *,
    lower_edge: float,
    upper_edge: float,
    weights: npt.ArrayLike | None = None,
) -> ThresholdCurve:
    """Repair threshold probabilities and turn them into a distribution.

    Parameters
    ----------
    strikes : array-like, shape (K,)
        Thresholds, rising strictly.
    prob_above : array-like, shape (K,)
        Quoted probabilities of exceeding each, in [0, 1]; no NaN.
    lower_edge, upper_edge : float
        Where the distribution begins and ends: the tail rule.
    weights : array-like, shape (K,), optional
        Trust in each quote, for instance depth or the inverse of the spread; positive.

    Returns
    -------
    ThresholdCurve
        With non-negative masses that add up to 1.

    Raises
    ------
    DataError
        Strikes or edges that do not rise, probabilities outside [0, 1], or lengths that differ.

    Notes
    -----
    Weighted pool-adjacent-violators on the quotes. Monotone repair removes what no distribution
    has; it does not remove noise.

    Examples
    --------
    >>> curve = fit_threshold_curve(
    ...     [2.0, 3.0, 4.0], [0.5, 0.7, 0.2], lower_edge=1.0, upper_edge=5.0
    ... )
    >>> curve.survival.round(2).tolist(), curve.n_violations
    ([0.6, 0.6, 0.2], 1)
    """
    k, quoted = parse_vector("strikes", strikes), parse_vector("prob_above", prob_above)
    check_same_shape("strikes", k, "prob_above", quoted)
    edges = np.concatenate([[lower_edge], k, [upper_edge]])
    if len(k) == 0 or not (np.diff(edges) > 0.0).all():
        raise DataError(
            "lower_edge, strikes, upper_edge",
            wanted="numbers that rise strictly, with at least one strike",
            got=edges.tolist(),
            hint="Sort the contracts by strike and state edges outside them.",
        )
    if not ((quoted >= 0.0) & (quoted <= 1.0)).all():
        raise DataError(
            "prob_above",
            wanted="probabilities in [0, 1] without NaN",
            got=quoted.tolist(),
            hint="Divide cents by 100 and leave out strikes without a quote.",
        )
    survival = pool_adjacent_violators(quoted, weights=weights, increasing=False)
    return ThresholdCurve(
        strikes=k,
        survival=survival,
        edges=edges,
        mass=-np.diff(np.concatenate([[1.0], survival, [0.0]])),
        n_violations=int((np.diff(quoted) > 0.0).sum()),
    )
