"""Step-down adjusted p-values from joint draws of all statistics under the null.

Contract: the free step-down of Westfall and Young (1993) and Romano and Wolf (2005). A hypothesis
is compared with the maximum over itself and all hypotheses that are less significant, so the
family-wise error rate holds under any dependence between them. How the null is drawn is the
business of the caller: sign flips (:mod:`quant_engine.stats.max_t`) or a bootstrap
(:mod:`quant_engine.stats.snooping`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.stats.checks import check_coverage

__all__ = ["StepDown", "StepDownResult", "check_resolution"]

ROUNDING = 1e-10
"""Relative to max(1, |statistic|): a draw that equals the observation counts as reaching it.

The draw that changes no sign *is* the observation, but its sum is rounded in another order.
"""


@dataclass(frozen=True, eq=False)
class StepDownResult:
    """Adjusted p-values of a family of one-sided tests.

    Parameters
    ----------
    p_values : ndarray of float64, shape (N,)
        Step-down adjusted probabilities; significant at level a where not above a.
    p_single_step : ndarray of float64, shape (N,)
        Each statistic against the maximum of all: never smaller than `p_values`.
    maxima : ndarray of float64, shape (n_draws,)
        Largest statistic of each draw.
    n_draws : int
        Draws under the null; the observation itself counts as one more.
    """

    p_values: FloatVector
    p_single_step: FloatVector
    maxima: FloatVector
    n_draws: int

    def critical_value(self, alpha: float) -> float:
        """Return what a statistic has to exceed to be significant at level `alpha` in one step.

        Parameters
        ----------
        alpha : float
            Level, a probability.

        Returns
        -------
        float
            The k-th largest maximum, ``k = floor(alpha (n_draws + 1))``.

        Raises
        ------
        ConfigError
            A level that the draws cannot resolve.
        """
        check_resolution(alpha, n_draws=self.n_draws)
        place = floor(alpha * (self.n_draws + 1) * (1.0 + 1e-12))
        return float(np.partition(self.maxima, -place)[-place])


class StepDown:
    """Counter of draws that reach the observed statistics, fed in parts of any size.

    Parameters
    ----------
    observed : ndarray of float64, shape (N,)
        Statistics, larger is stronger evidence; no NaN.

    Examples
    --------
    >>> counter = StepDown(np.array([1.0, 3.0]))
    >>> counter.add(np.array([[0.5, 1.5], [2.0, 0.0], [-1.0, -2.0]])[:, counter.order])
    >>> counter.result().p_values
    array([0.5 , 0.25])
    """

    def __init__(self, observed: FloatVector) -> None:
        self.order: npt.NDArray[np.int64] = np.argsort(-observed, kind="stable")
        ranked = observed[self.order]
        self._thresholds = ranked - ROUNDING * np.maximum(1.0, np.abs(ranked))
        self._reached = np.zeros(len(observed), np.int64)
        self._maxima: list[FloatVector] = []

    def add(self, draws: FloatVector) -> None:
        """Count some draws, shape (n_draws, N), whose columns stand in the order of `order`."""
        maxima = np.empty(len(draws))
        _count_reached(draws, self._thresholds, self._reached, maxima)
        self._maxima.append(maxima)

    def result(self) -> StepDownResult:
        """Return the adjusted p-values, each ``(1 + reached) / (1 + n_draws)``."""
        maxima = np.concatenate(self._maxima)
        n_draws = len(maxima)
        reached_at_once = n_draws - np.searchsorted(np.sort(maxima), self._thresholds, side="left")
        stepwise, single = np.empty_like(self._thresholds), np.empty_like(self._thresholds)
        # Nobody is more significant than one who stands before him.
        stepwise[self.order] = np.maximum.accumulate((1 + self._reached) / (1 + n_draws))
        single[self.order] = (1 + reached_at_once) / (1 + n_draws)
        return StepDownResult(stepwise, single, maxima, n_draws)


def check_resolution(alpha: float, *, n_draws: int) -> float:
    """Refuse a level below the smallest p-value that some draws can give.

    Parameters
    ----------
    alpha : float
        Level, a probability.
    n_draws : int
        Draws under the null.

    Returns
    -------
    float
        The level.

    Raises
    ------
    ConfigError
        Not strictly between 0 and 1, or ``alpha < 1 / (n_draws + 1)``: nothing could pass,
        whatever the data.

    Examples
    --------
    >>> check_resolution(0.025, n_draws=999)
    0.025
    """
    check_coverage("alpha", alpha)
    if alpha * (n_draws + 1) < 1.0 - 1e-12:
        raise ConfigError(
            "n_draws",
            wanted=f"at least {int(np.ceil(1.0 / alpha)) - 1} draws for a level of {alpha:.3g}",
            got=n_draws,
            hint="With fewer draws no result could pass; ten times as many make it stable.",
        )
    return alpha


@njit(cache=True, nogil=True)
def _count_reached(draws: Any, thresholds: Any, reached: Any, maxima: Any) -> None:
    """Per draw, the running maximum from the least to the most significant hypothesis."""
    n_draws, n_columns = draws.shape
    for b in range(n_draws):
        running = -np.inf
        for j in range(n_columns - 1, -1, -1):
            running = max(running, draws[b, j])
            if running >= thresholds[j]:
                reached[j] += 1
        maxima[b] = running
