"""Information coefficients: per date, the cross-sectional correlation of scores with outcomes.

Contract: a pair counts where both score and target are observed; a date with fewer pairs than
``min_assets``, or on which all scores or all targets are equal, is NaN and not zero: it measured
nothing. Ranks average ties.

1. ``ic_by_date``: one correlation per date; ``summarise_ic`` tests their mean.
2. ``pooled_moment``: one covariance of the whole panel. It is linear in the outcomes, so it is zero
   on average where nothing is predicted, which a mean of per-date correlations is not.
3. ``rank_autocorrelation``: how slowly the order of the scores changes.

Tables by year, horizon and quantile are in `quant_engine.stats.signal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.special import stdtr

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.stats.checks import check_same_shape, parse_matrix, parse_vector
from quant_engine.stats.hac import newey_west_mean
from quant_engine.stats.ordering import fill_ranks, row_order

__all__ = [
    "ICSummary",
    "PooledMoment",
    "ic_by_date",
    "pooled_moment",
    "rank_autocorrelation",
    "summarise_ic",
]

ICMethod = Literal["pearson", "rank"]
SortedRows = tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]

BLOCK_ROWS = 64
"""Dates ranked at a time: what a block needs stays in the cache."""


@dataclass(frozen=True)
class ICSummary:
    """What a series of information coefficients says.

    Parameters
    ----------
    mean : float
        Mean IC (correlation).
    std : float
        Standard deviation over dates, ddof 1.
    icir : float
        ``mean / std``, per date and not annualised.
    hit_rate : float
        Share of dates with a positive IC.
    t : float
        Newey-West t of the mean.
    p_value : float
        Two-sided p-value of that t.
    n_dates : int
        Dates with an IC.
    lags : int
        Bartlett lags of the test.
    small_sample : bool
        Whether the variance of the test carries the factor n / (n - 1).

    Examples
    --------
    >>> summarise_ic([0.05, 0.01, 0.03], lags=0).n_dates
    3
    """

    mean: float
    std: float
    icir: float
    hit_rate: float
    t: float
    p_value: float
    n_dates: int
    lags: int
    small_sample: bool


@dataclass(frozen=True)
class PooledMoment:
    """Covariance of scores and outcomes over a whole panel, with an error clustered by date.

    Parameters
    ----------
    moment : float
        Mean over pairs of score times outcome, both measured from their mean over the date
        (unit of the score times unit of the outcome).
    correlation : float
        The same sums divided by the roots of the pooled squares.
    std_error : float
        Of the moment, Newey-West over dates.
    t, p_value : float
        ``moment / std_error`` and its two-sided p-value; NaN where the error is zero.
    n_pairs, n_dates : int
        What was used.
    lags : int
        Bartlett lags.

    Examples
    --------
    >>> pooled_moment([[1.0, 2.0], [2.0, 1.0]], [[0.1, 0.3], [0.2, 0.2]], lags=0,
    ...               min_assets=2).n_pairs
    4
    """

    moment: float
    correlation: float
    std_error: float
    t: float
    p_value: float
    n_pairs: int
    n_dates: int
    lags: int


def ic_by_date(
    scores: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    method: ICMethod = "pearson",
    min_assets: int = 10,
) -> FloatVector:
    """Correlation across assets of scores with targets, one number per date.

    ``sum (a - mean a)(b - mean b) / sqrt(sum (a - mean a)^2 sum (b - mean b)^2)`` over the assets
    observed in both; ``"rank"`` replaces both by their average ranks first (Spearman).

    Parameters
    ----------
    scores : array-like, shape (T, N)
        Decision inputs, any unit; NaN = no score.
    targets : array-like, shape (T, N)
        Outcomes, for instance forward returns; NaN = no outcome.
    method : {"pearson", "rank"}
        Correlation of values or of ranks.
    min_assets : int
        Pairs that a date needs, at least 2 (10: with fewer the standard error of one
        correlation exceeds 0.33).

    Returns
    -------
    ndarray of float64, shape (T,)
        Correlation in [-1, 1], NaN where there were too few pairs or no variation.

    Raises
    ------
    DataError
        Shapes that differ, or infinite values.
    ConfigError
        Unknown method, or ``min_assets`` below 2.

    Examples
    --------
    >>> scores = [[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]]
    >>> targets = [[0.1, 0.3, 0.2, 0.4], [0.1, 0.3, 0.2, 0.4]]
    >>> ic_by_date(scores, targets, method="rank", min_assets=4).round(3)
    array([0.8, nan])
    """
    left, right = _parse_panels(scores, targets, min_assets)
    if method not in ("pearson", "rank"):
        raise ConfigError(
            "method",
            wanted="'pearson' or 'rank'",
            got=repr(method),
            hint="Use 'rank' for Spearman.",
        )
    out = np.empty(len(left), dtype=np.float64)
    if method == "pearson":
        _ic_rows(left, right, min_assets, out)
        return out
    for start in range(0, len(left), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        a, b = np.empty_like(left[rows]), np.empty_like(right[rows])
        _pair(left[rows], right[rows], a, b)
        _rank_ic_rows(a, row_order(a), b, row_order(b), min_assets, out[rows])
    return out


def rank_autocorrelation(
    scores: npt.ArrayLike, *, lag: int = 1, min_assets: int = 10
) -> FloatVector:
    """Rank correlation of the scores of each date with those of an earlier date.

    Parameters
    ----------
    scores : array-like, shape (T, N)
        Scores in date order; NaN = no score.
    lag : int
        Dates between the two, at least 1.
    min_assets : int
        Assets scored on both dates that a correlation needs.

    Returns
    -------
    ndarray of float64, shape (max(T - lag, 0),)
        Place i compares date i + lag with date i; NaN with too few assets or no variation.

    Raises
    ------
    DataError
        Not a finite two-dimensional array.
    ConfigError
        A lag below 1, or ``min_assets`` below 2.

    Examples
    --------
    >>> rank_autocorrelation([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]], min_assets=3)
    array([0.5])
    """
    panel = parse_matrix("scores", scores)
    if lag < 1:
        raise ConfigError("lag", wanted="at least 1", got=lag, hint="Compare different dates.")
    earlier = panel[: max(len(panel) - lag, 0)]
    return ic_by_date(panel[lag:], earlier, method="rank", min_assets=min_assets)


def pooled_moment(
    scores: npt.ArrayLike, targets: npt.ArrayLike, *, lags: int, min_assets: int = 10
) -> PooledMoment:
    """Test that scores and outcomes of a panel have no covariance.

    ``m = sum_t u_t / sum_t n_t`` with ``u_t = sum_i (s_ti - mean_t s) (y_ti - mean_t y)`` over the
    n_t assets observed in both. The error is that of a ratio: the Newey-West error of the mean of
    ``u_t - m n_t`` over the mean of ``n_t``.

    Parameters
    ----------
    scores, targets : array-like, shape (T, N)
        Scores and outcomes; NaN = not available.
    lags : int
        Newey-West lags: label horizon minus 1 for one date per session.
    min_assets : int
        Pairs that a date needs, at least 2.

    Returns
    -------
    PooledMoment
        Moment and correlation.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 2 dates with enough pairs.
    DataError
        Shapes that differ, or infinite values.
    ConfigError
        ``min_assets`` below 2, or lags below 0 or not smaller than the number of dates.

    Notes
    -----
    A date on which outcomes are dispersed weighs more here than in a mean of correlations: that is
    what makes the expectation exact, and what costs precision when volatility varies.

    Examples
    --------
    >>> scores = [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0]]
    >>> targets = [[0.1, 0.2, 0.3], [0.2, 0.3, 0.1], [0.0, 0.2, 0.1]]
    >>> pooled = pooled_moment(scores, targets, lags=0, min_assets=3)
    >>> f"{pooled.moment:.4f} {pooled.correlation:.3f} {pooled.t:.2f}"
    '0.0556 0.833 6.12'
    """
    left, right = _parse_panels(scores, targets, min_assets)
    both = ~(np.isnan(left) | np.isnan(right))
    count = both.sum(axis=1)
    used = count >= min_assets
    size = np.where(used, count, 0).astype(np.float64)
    a, b = _centred(left, both & used[:, None]), _centred(right, both & used[:, None])
    cross = (a * b).sum(axis=1)
    n_pairs = float(size.sum())
    moment = float(cross.sum()) / n_pairs if n_pairs else float("nan")
    squares = float((a * a).sum()) * float((b * b).sum())
    # Dates without enough pairs keep their place in time.
    residual = np.where(used, cross - moment * size, np.nan)
    test = newey_west_mean(residual, lags=lags)
    std_error = test.std_error / float(size[used].mean())
    t_value = moment / std_error if std_error > 0.0 else float("nan")
    return PooledMoment(
        moment=moment,
        correlation=float(cross.sum()) / sqrt(squares) if squares > 0.0 else float("nan"),
        std_error=std_error,
        t=t_value,
        p_value=float(2.0 * stdtr(test.n - 1, -abs(t_value))),
        n_pairs=int(n_pairs),
        n_dates=test.n,
        lags=lags,
    )


def summarise_ic(ic: npt.ArrayLike, *, lags: int, small_sample: bool = False) -> ICSummary:
    """Mean, dispersion and significance of a series of information coefficients.

    Parameters
    ----------
    ic : array-like, shape (T,)
        One IC per date in time order; NaN = the date measured nothing and is left out.
    lags : int
        Newey-West lags: label horizon minus 1 for one IC per session of overlapping labels.
    small_sample : bool
        Multiply the variance by n / (n - 1); with lags 0 the t is then ``icir sqrt(n)``.

    Returns
    -------
    ICSummary
        ICIR, t and p-value are NaN where the IC does not vary.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 2 dates with an IC.
    DataError
        Not a finite one-dimensional series.
    ConfigError
        Lags below 0 or not smaller than the length.

    Examples
    --------
    >>> summary = summarise_ic([0.05, 0.01, -0.02, 0.04], lags=1)
    >>> f"{summary.mean:.3f} {summary.icir:.2f} {summary.hit_rate:.2f}"
    '0.020 0.63 0.75'
    """
    series = parse_vector("ic", ic)
    test = newey_west_mean(series, lags=lags, small_sample=small_sample)
    observed = series[~np.isnan(series)]
    varies = observed.min() < observed.max()
    std = float(observed.std(ddof=1)) if varies else 0.0
    return ICSummary(
        mean=test.mean,
        std=std,
        icir=test.mean / std if varies else float("nan"),
        hit_rate=float((observed > 0.0).mean()),
        t=test.t,
        p_value=test.p_value,
        n_dates=test.n,
        lags=lags,
        small_sample=small_sample,
    )


def _parse_panels(
    scores: npt.ArrayLike, targets: npt.ArrayLike, min_assets: int
) -> tuple[FloatMatrix, FloatMatrix]:
    """Two aligned panels, and a smallest cross-section that can hold a correlation."""
    left, right = parse_matrix("scores", scores), parse_matrix("targets", targets)
    check_same_shape("scores", left, "targets", right)
    if min_assets < 2:
        raise ConfigError(
            "min_assets",
            wanted="at least 2",
            got=min_assets,
            hint="A correlation of fewer than two pairs does not exist.",
        )
    return left, right


def _centred(values: FloatMatrix, used: BoolMatrix) -> FloatMatrix:
    """Distance of used values from their mean over the date; 0 elsewhere."""
    filled = np.where(used, values, 0.0)
    count = np.maximum(used.sum(axis=1, keepdims=True), 1)
    return np.where(used, filled - filled.sum(axis=1, keepdims=True) / count, 0.0)


@njit(cache=True, nogil=True)
def _ic_rows(scores: FloatMatrix, targets: FloatMatrix, min_assets: int, out: FloatVector) -> None:
    """One two-pass correlation per row of two (T, N) arrays; NaN where a side does not vary."""
    n_dates, n_assets = scores.shape
    a, b = np.empty(n_assets), np.empty(n_assets)
    for t in range(n_dates):
        n, sum_a, sum_b = 0, 0.0, 0.0
        varies_a, varies_b = False, False
        for j in range(n_assets):
            score, target = scores[t, j], targets[t, j]
            if not (np.isnan(score) or np.isnan(target)):
                a[n], b[n] = score, target
                varies_a |= score != a[0]
                varies_b |= target != b[0]
                sum_a += score
                sum_b += target
                n += 1
        out[t] = np.nan
        if n < min_assets or not (varies_a and varies_b):
            continue
        mean_a, mean_b = sum_a / n, sum_b / n
        cross, square_a, square_b = 0.0, 0.0, 0.0
        for i in range(n):
            da, db = a[i] - mean_a, b[i] - mean_b
            cross += da * db
            square_a += da * da
            square_b += db * db
        if square_a > 0.0 and square_b > 0.0:
            out[t] = max(-1.0, min(1.0, cross / (sqrt(square_a) * sqrt(square_b))))


@njit(cache=True, nogil=True)
def _pair(left: FloatMatrix, right: FloatMatrix, a: FloatMatrix, b: FloatMatrix) -> None:
    """Copy what both sides hold, with one sign of zero; NaN elsewhere."""
    for t in range(left.shape[0]):
        for j in range(left.shape[1]):
            x, y = left[t, j], right[t, j]
            there = not (np.isnan(x) or np.isnan(y))
            a[t, j] = x + 0.0 if there else np.nan
            b[t, j] = y + 0.0 if there else np.nan


@njit(cache=True, nogil=True)
def _rank_ic_rows(
    scores: FloatMatrix,
    score_order: SortedRows,
    targets: FloatMatrix,
    target_order: SortedRows,
    min_assets: int,
    out: FloatVector,
) -> None:
    """Spearman per row of two (T, N) arrays with NaN in the same places, written into ``out``.

    Sums of ranks and of their products are exact in floating point, so the one pass is, too.
    """
    n_dates, n_assets = scores.shape
    a, b = np.empty(n_assets), np.empty(n_assets)
    for t in range(n_dates):
        first, second = score_order[0][t], target_order[0][t]
        n = n_assets
        while n > 0 and np.isnan(scores[t, first[n - 1]]):
            n -= 1
        out[t] = np.nan
        if n < min_assets:
            continue
        square_a = fill_ranks(scores[t], first, score_order[1][t], n, a)
        square_b = fill_ranks(targets[t], second, target_order[1][t], n, b)
        cross = 0.0
        for k in range(n):
            cross += a[second[k]] * b[second[k]]
        centre = 0.25 * n * (n + 1.0) * (n + 1.0)
        square_a, square_b = square_a - centre, square_b - centre
        if square_a > 0.0 and square_b > 0.0:
            out[t] = (cross - centre) / (sqrt(square_a) * sqrt(square_b))
