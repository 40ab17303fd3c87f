"""Split-conformal prediction intervals: coverage from ranks, without a distribution.

Contract: the quantile is the k-th smallest calibration score with ``k = ceil((n + 1) coverage)``
in rational arithmetic; with fewer scores than k it is infinite, and the interval says so. The
guarantee, coverage of k / (n + 1), holds for exchangeable scores. Returns are not exchangeable:
dividing the residual by a volatility forecast restores most of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.checks import (
    check_coverage,
    check_same_shape,
    exact_level,
    parse_vector,
)

__all__ = [
    "SplitConformal",
    "adaptive_alpha",
    "conformal_quantile",
    "conformal_rank",
    "fit_split_conformal",
]


@dataclass(frozen=True)
class SplitConformal:
    """A fitted interval: how many scales to go to each side of a prediction.

    Parameters
    ----------
    quantile : float
        Half width in units of the scale (in the unit of the prediction when no scale was used);
        infinite where there were too few calibration residuals.
    coverage : float
        Wanted coverage (fraction).
    n_calibration : int
        Residuals used.
    is_scaled : bool
        Whether residuals were divided by a scale.

    Examples
    --------
    >>> fit_split_conformal([0.1, -0.2, 0.3, -0.1], coverage=0.6).interval([1.0])
    (array([0.8]), array([1.2]))
    """

    quantile: float
    coverage: float
    n_calibration: int
    is_scaled: bool

    def interval(
        self, prediction: npt.ArrayLike, *, scale: npt.ArrayLike | None = None
    ) -> tuple[FloatVector, FloatVector]:
        """Lower and upper bound around predictions.

        Parameters
        ----------
        prediction : array-like, shape (n,)
            Point predictions in the unit of the fitted residuals; NaN gives NaN bounds.
        scale : array-like, shape (n,), optional
            Positive scale per prediction, known when it is made; exactly when fitted with one.
            NaN gives NaN bounds.

        Returns
        -------
        tuple of ndarray, shape (n,)
            Lower and upper bounds in the unit of the prediction.

        Raises
        ------
        ConfigError
            A scale was passed and not fitted, or fitted and not passed.
        DataError
            Shapes that differ, or a scale that is not positive.

        Examples
        --------
        >>> fitted = SplitConformal(2.0, coverage=0.9, n_calibration=99, is_scaled=True)
        >>> fitted.interval([0.0, 0.0], scale=[1.0, 3.0])
        (array([-2., -6.]), array([2., 6.]))
        """
        center = parse_vector("prediction", prediction)
        if self.is_scaled != (scale is not None):
            raise ConfigError(
                "scale",
                wanted="one scale per prediction" if self.is_scaled else "no scale",
                got="none" if scale is None else "a scale",
                hint="Use the interval the way it was fitted.",
            )
        half = np.full(len(center), self.quantile)
        if scale is not None:
            half = self.quantile * _positive_scale(scale, "prediction", center)
        return center - half, center + half


def conformal_rank(n: int, *, coverage: float) -> int:
    """Rank k = ceil((n + 1) coverage) of the calibration score that is the quantile.

    Parameters
    ----------
    n : int
        Calibration scores.
    coverage : float
        Wanted coverage, read as the decimal that was written (`checks.exact_level`).

    Returns
    -------
    int
        Rank from 1; larger than n where no finite interval reaches the coverage.

    Raises
    ------
    ConfigError
        Coverage not strictly between 0 and 1, or negative n.

    Examples
    --------
    >>> conformal_rank(19, coverage=0.95), conformal_rank(8, coverage=0.9)
    (19, 9)
    """
    check_coverage("coverage", coverage)
    if n < 0:
        raise ConfigError("n", wanted="a count", got=n, hint="Pass the number of scores.")
    return ceil((n + 1) * exact_level(coverage))


def conformal_quantile(scores: npt.ArrayLike, *, coverage: float) -> float:
    """The k-th smallest calibration score, ``k = ceil((n + 1) coverage)``.

    Parameters
    ----------
    scores : array-like, shape (n,)
        Nonconformity scores of calibration rows, any unit; NaN = not observed, left out.
    coverage : float
        Wanted coverage (fraction).

    Returns
    -------
    float
        Score, infinity where k exceeds the number of scores.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        Coverage not strictly between 0 and 1.

    Notes
    -----
    ``numpy.quantile(scores, ceil((n + 1) coverage) / n, method="higher")``, a common recipe,
    returns the next larger score and covers too much.

    Examples
    --------
    >>> conformal_quantile([5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 7.0, 8.0, 9.0], coverage=0.9)
    9.0
    """
    series = parse_vector("scores", scores)
    observed = series[~np.isnan(series)]
    rank = conformal_rank(len(observed), coverage=coverage)
    if rank > len(observed):
        return float("inf")
    return float(np.partition(observed, rank - 1)[rank - 1])


def fit_split_conformal(
    residuals: npt.ArrayLike, *, coverage: float, scale: npt.ArrayLike | None = None
) -> SplitConformal:
    """Fit an interval on residuals of rows that no model was trained on.

    The score is ``|residual|``, or ``|residual| / scale`` (Lei et al. 2018, section 5.2).

    Parameters
    ----------
    residuals : array-like, shape (n,)
        Outcome minus prediction on calibration rows; NaN = not observed, left out.
    coverage : float
        Wanted coverage (fraction).
    scale : array-like, shape (n,), optional
        Positive forecast of the residual's size, such as the volatility known at the prediction;
        NaN = unknown, row left out.

    Returns
    -------
    SplitConformal
        Ready to make intervals.

    Raises
    ------
    DataError
        Shapes that differ, infinite values, or a scale that is not positive.
    ConfigError
        Coverage not strictly between 0 and 1.

    Examples
    --------
    >>> fit_split_conformal([1.0, -2.0, 6.0], coverage=0.5, scale=[1.0, 1.0, 2.0]).quantile
    2.0
    """
    scores = np.abs(parse_vector("residuals", residuals))
    if scale is not None:
        scores = scores / _positive_scale(scale, "residuals", scores)
    return SplitConformal(
        quantile=conformal_quantile(scores, coverage=coverage),
        coverage=coverage,
        n_calibration=int((~np.isnan(scores)).sum()),
        is_scaled=scale is not None,
    )


def adaptive_alpha(missed: npt.ArrayLike, *, alpha: float, gamma: float) -> FloatVector:
    """Miscoverage level to use next, given which intervals missed (Gibbs and Candes 2021).

    ``alpha_{t+1} = alpha_t + gamma (alpha - missed_t)``: a miss widens the next interval.

    Parameters
    ----------
    missed : array-like, shape (T,)
        1 or True where the outcome fell outside its interval, in the order outcomes became known.
    alpha : float
        Wanted miscoverage, and the level of the first interval.
    gamma : float
        Step size (0.005 is slow, 0.05 is fast).

    Returns
    -------
    ndarray of float64, shape (T + 1,)
        Level before each outcome and after the last one. At or below 0 the interval is the whole
        line, at or above 1 it is empty.

    Raises
    ------
    DataError
        Values other than 0 and 1.
    ConfigError
        ``alpha`` not strictly between 0 and 1, or a gamma that is not positive.

    Examples
    --------
    >>> adaptive_alpha([0, 1], alpha=0.1, gamma=0.05).round(4)
    array([0.1  , 0.105, 0.06 ])
    """
    misses = parse_vector("missed", missed)
    check_coverage("alpha", alpha)
    if not np.isin(misses, (0.0, 1.0)).all():
        raise DataError(
            "missed",
            wanted="0 or 1",
            got="other values",
            hint="Leave out rows whose outcome is not known yet.",
        )
    if not gamma > 0.0:
        raise ConfigError("gamma", wanted="above 0", got=gamma, hint="Use 0.005.")
    return np.concatenate([[alpha], alpha + np.cumsum(gamma * (alpha - misses))])


def _positive_scale(scale: npt.ArrayLike, of_name: str, of_values: FloatVector) -> FloatVector:
    """Scale aligned with what it scales, positive where it is known."""
    parsed = parse_vector("scale", scale)
    check_same_shape(of_name, of_values, "scale", parsed)
    n_bad = int((parsed <= 0.0).sum())
    if n_bad:
        raise DataError(
            "scale",
            wanted="positive values or NaN",
            got=f"{n_bad} values at or below 0",
            hint="Floor the volatility forecast before it is used as a scale.",
        )
    return parsed
