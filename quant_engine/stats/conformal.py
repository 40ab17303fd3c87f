"""Conformal prediction: intervals and sets whose coverage comes from ranks, not a distribution.

Contract: the quantile is the k-th smallest calibration score with ``k = ceil((n + 1) coverage)``
in rational arithmetic; with fewer scores than k it is infinite, and the interval says so. The
guarantee, coverage of k / (n + 1), holds for exchangeable scores. Returns are not exchangeable:
dividing the residual by a volatility forecast restores most of it.

1. ``fit_split_conformal``: symmetric intervals from residuals; ``fit_mondrian``: one per group.
2. ``fit_conformal_quantiles``: corrects a quantile forecast (CQR).
3. ``fit_conformal_classifier``: sets of classes (LAC).
4. ``coverage_law``: what coverage a calibration set of n rows can give.
5. ``adaptive_alpha``: the level to use next, where coverage drifts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from quant_engine.core.arrays import BoolMatrix, FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.checks import (
    check_coverage,
    check_same_shape,
    exact_level,
    parse_labels,
    parse_matrix,
    parse_observed,
    parse_vector,
)

__all__ = [
    "ConformalClassifier",
    "ConformalQuantiles",
    "CoverageLaw",
    "MondrianConformal",
    "SplitConformal",
    "adaptive_alpha",
    "conformal_quantile",
    "conformal_rank",
    "coverage_law",
    "fit_conformal_classifier",
    "fit_conformal_quantiles",
    "fit_mondrian",
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


@dataclass(frozen=True)
class CoverageLaw:
    """Coverage of an interval calibrated on n scores, over draws of the calibration set.

    For continuous exchangeable scores it is Beta(k, n + 1 - k) distributed (Vovk 2012).

    Parameters
    ----------
    rank : int
        k of the score that is the quantile.
    n : int
        Calibration scores.

    Examples
    --------
    >>> CoverageLaw(rank=18, n=19).mean
    0.9
    """

    rank: int
    n: int

    @property
    def is_infinite(self) -> bool:
        """Whether no finite interval reaches the wanted coverage."""
        return self.rank > self.n

    @property
    def mean(self) -> float:
        """Coverage over calibration sets and outcomes, ``k / (n + 1)``; 1 where infinite."""
        return min(self.rank / (self.n + 1), 1.0)

    def quantile(self, level: float) -> float:
        """Coverage that a share of 1 - level of all calibration sets exceeds.

        Parameters
        ----------
        level : float
            Probability, strictly between 0 and 1.

        Returns
        -------
        float
            Fraction; 1 where the interval is infinite.
        """
        check_coverage("level", level)
        if self.is_infinite:
            return 1.0
        return float(betaincinv(self.rank, self.n + 1 - self.rank, level))


def coverage_law(n: int, *, coverage: float) -> CoverageLaw:
    """Law of the coverage that n calibration scores give.

    Parameters
    ----------
    n : int
        Calibration scores.
    coverage : float
        Wanted coverage (fraction).

    Returns
    -------
    CoverageLaw
        Its mean is at least the wanted coverage.

    Raises
    ------
    ConfigError
        Coverage not strictly between 0 and 1, or negative n.

    Examples
    --------
    >>> law = coverage_law(1000, coverage=0.9)
    >>> f"{law.mean:.4f} {law.quantile(0.05):.4f}"
    '0.9001 0.8841'
    """
    return CoverageLaw(rank=conformal_rank(n, coverage=coverage), n=n)


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
    observed = parse_observed("scores", scores)
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


@dataclass(frozen=True)
class MondrianConformal:
    """One split-conformal interval per group, so that each group has its own coverage.

    Parameters
    ----------
    by_group : mapping
        Group label -> fitted interval.

    Examples
    --------
    >>> fitted = fit_mondrian([1.0, -1.0, 3.0, -3.0], ["a", "a", "b", "b"], coverage=0.5)
    >>> fitted.interval([0.0, 0.0], ["b", "a"])[1].tolist()
    [3.0, 1.0]
    """

    by_group: Mapping[object, SplitConformal]

    def interval(
        self,
        prediction: npt.ArrayLike,
        groups: npt.ArrayLike,
        *,
        scale: npt.ArrayLike | None = None,
    ) -> tuple[FloatVector, FloatVector]:
        """Lower and upper bound around predictions, by the group of each.

        Parameters
        ----------
        prediction : array-like, shape (n,)
            Point predictions; NaN gives NaN bounds.
        groups : array-like, shape (n,)
            Group of each prediction; one that was not fitted has an infinite interval.
        scale : array-like, shape (n,), optional
            Positive scale per prediction; exactly when fitted with one.

        Returns
        -------
        tuple of ndarray, shape (n,)
            Lower and upper bounds in the unit of the prediction.

        Raises
        ------
        ConfigError
            A scale was passed and not fitted, or fitted and not passed.
        DataError
            Shapes that differ, a missing label, or a scale that is not positive.
        """
        center = parse_vector("prediction", prediction)
        codes, labels = parse_labels("groups", groups, length=len(center))
        widths = np.array([self._of(label).quantile for label in labels])
        is_scaled = next(iter(self.by_group.values())).is_scaled
        unit = SplitConformal(1.0, coverage=0.5, n_calibration=0, is_scaled=is_scaled)
        half = unit.interval(np.zeros(len(center)), scale=scale)[1] * widths[codes]
        return center - half, center + half

    def _of(self, label: object) -> SplitConformal:
        unknown = SplitConformal(float("inf"), coverage=0.5, n_calibration=0, is_scaled=False)
        return self.by_group.get(label, unknown)


def fit_mondrian(
    residuals: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    coverage: float,
    scale: npt.ArrayLike | None = None,
) -> MondrianConformal:
    """Fit :func:`fit_split_conformal` inside each group (Vovk et al. 2003).

    Parameters
    ----------
    residuals : array-like, shape (n,)
        Outcome minus prediction on calibration rows; NaN = not observed, left out.
    groups : array-like, shape (n,)
        Group of each row, known when the prediction is made, for instance the regime.
    coverage : float
        Wanted coverage in every group (fraction).
    scale : array-like, shape (n,), optional
        Positive forecast of the residual's size; NaN = unknown, row left out.

    Returns
    -------
    MondrianConformal
        A group with too few rows has an infinite interval.

    Raises
    ------
    DataError
        Shapes that differ, a missing label, infinite values, or a scale that is not positive.
    ConfigError
        Coverage not strictly between 0 and 1.

    Examples
    --------
    >>> fitted = fit_mondrian([1.0, -1.0, 3.0], ["a", "a", "b"], coverage=0.6)
    >>> {group: interval.quantile for group, interval in fitted.by_group.items()}
    {'a': 1.0, 'b': inf}
    """
    series = parse_vector("residuals", residuals)
    codes, labels = parse_labels("groups", groups, length=len(series))
    known = None if scale is None else parse_vector("scale", scale)
    if known is not None:
        check_same_shape("residuals", series, "scale", known)
    return MondrianConformal(
        MappingProxyType(
            {
                label: fit_split_conformal(
                    series[codes == code],
                    coverage=coverage,
                    scale=None if known is None else known[codes == code],
                )
                for code, label in enumerate(labels)
            }
        )
    )


@dataclass(frozen=True)
class ConformalQuantiles:
    """Correction of a quantile forecast.

    Parameters
    ----------
    quantile : float
        How far each bound moves outwards; negative where the forecast was too wide, infinite
        where there were too few rows.
    coverage : float
        Wanted coverage (fraction).
    n_calibration : int
        Rows used.

    Examples
    --------
    >>> ConformalQuantiles(0.5, coverage=0.9, n_calibration=99).interval([0.0], [1.0])
    (array([-0.5]), array([1.5]))
    """

    quantile: float
    coverage: float
    n_calibration: int

    def interval(self, low: npt.ArrayLike, high: npt.ArrayLike) -> tuple[FloatVector, FloatVector]:
        """Corrected bounds.

        Parameters
        ----------
        low, high : array-like, shape (n,)
            Forecast bounds in the unit of the outcome; NaN stays.

        Returns
        -------
        tuple of ndarray, shape (n,)
            Lower and upper bounds; a negative correction can leave an empty interval, whose
            lower bound is above the upper one.

        Raises
        ------
        DataError
            Shapes that differ.
        """
        lower, upper = parse_vector("low", low), parse_vector("high", high)
        check_same_shape("low", lower, "high", upper)
        return lower - self.quantile, upper + self.quantile


def fit_conformal_quantiles(
    low: npt.ArrayLike, high: npt.ArrayLike, outcome: npt.ArrayLike, *, coverage: float
) -> ConformalQuantiles:
    """Fit the correction of a quantile forecast (CQR; Romano, Patterson and Candes 2019).

    The score is ``max(low - outcome, outcome - high)``: how far the outcome lies outside, negative
    where it lies inside.

    Parameters
    ----------
    low, high : array-like, shape (n,)
        Forecast bounds on rows that no model was trained on; NaN = no forecast, row left out.
    outcome : array-like, shape (n,)
        What happened; NaN = unknown, row left out.
    coverage : float
        Wanted coverage (fraction).

    Returns
    -------
    ConformalQuantiles
        Ready to correct bounds.

    Raises
    ------
    DataError
        Shapes that differ or infinite values.
    ConfigError
        Coverage not strictly between 0 and 1.

    Examples
    --------
    >>> fit_conformal_quantiles([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 1.2, -0.1],
    ...                         coverage=0.5).quantile
    0.1
    """
    lower, upper = parse_vector("low", low), parse_vector("high", high)
    y = parse_vector("outcome", outcome)
    check_same_shape("low", lower, "high", upper)
    check_same_shape("low", lower, "outcome", y)
    scores = np.maximum(lower - y, y - upper)
    return ConformalQuantiles(
        quantile=conformal_quantile(scores, coverage=coverage),
        coverage=coverage,
        n_calibration=int((~np.isnan(scores)).sum()),
    )


@dataclass(frozen=True)
class ConformalClassifier:
    """Threshold on class probabilities.

    Parameters
    ----------
    quantile : float
        A class is in the set where ``1 - probability`` is at most this.
    coverage : float
        Wanted coverage (fraction).
    n_calibration : int
        Rows used.

    Examples
    --------
    >>> ConformalClassifier(0.7, coverage=0.8, n_calibration=99).sets([[0.5, 0.3, 0.2]])
    array([[ True,  True, False]])
    """

    quantile: float
    coverage: float
    n_calibration: int

    def sets(self, prob: npt.ArrayLike) -> BoolMatrix:
        """Classes of each prediction set.

        Parameters
        ----------
        prob : array-like, shape (n, K)
            Class probabilities; NaN is in no set.

        Returns
        -------
        ndarray of bool, shape (n, K)
            A row may be all False (nothing is plausible) or all True.
        """
        inside: BoolMatrix = 1.0 - parse_matrix("prob", prob) <= self.quantile
        return inside


def fit_conformal_classifier(
    prob: npt.ArrayLike, outcome: npt.ArrayLike, *, coverage: float
) -> ConformalClassifier:
    """Fit the smallest sets of classes on average (LAC; Sadinle, Lei and Wasserman 2019).

    The score is one minus the probability of the class that happened.

    Parameters
    ----------
    prob : array-like, shape (n, K)
        Class probabilities on rows that no model was trained on; a row with NaN is left out.
    outcome : array-like, shape (n,)
        Class that happened, 0 to K - 1.
    coverage : float
        Wanted coverage (fraction).

    Returns
    -------
    ConformalClassifier
        Ready to make sets.

    Raises
    ------
    DataError
        Lengths that differ, or a class that does not exist.
    ConfigError
        Coverage not strictly between 0 and 1.

    Examples
    --------
    >>> fitted = fit_conformal_classifier([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], [0, 1, 1],
    ...                                   coverage=0.5)
    >>> fitted.quantile
    0.4
    """
    p, y = parse_matrix("prob", prob), np.asarray(outcome)
    fits = y.shape == (len(p),) and y.dtype.kind in "iu"
    if not fits or (len(y) and (y.min() < 0 or y.max() >= p.shape[1])):
        raise DataError(
            "outcome",
            wanted=f"one class number from 0 to {p.shape[1] - 1} per row",
            got=f"shape {y.shape}, dtype {y.dtype}",
            hint="Number the classes as the columns of prob.",
        )
    scores = 1.0 - p[np.arange(len(p)), y]
    return ConformalClassifier(
        quantile=conformal_quantile(scores, coverage=coverage),
        coverage=coverage,
        n_calibration=int((~np.isnan(scores)).sum()),
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
