"""Information coefficients: per date, the cross-sectional correlation of scores with outcomes.

Contract: a pair counts where both score and target are observed; a date with fewer pairs than
``min_assets``, or on which all scores or all targets are equal, is NaN and not zero: it measured
nothing. Ranks average ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.stats.checks import check_same_shape, parse_matrix, parse_vector
from quant_engine.stats.cross_section import average_ranks
from quant_engine.stats.inference import newey_west_mean

__all__ = ["ICSummary", "ic_by_date", "summarise_ic"]

ICMethod = Literal["pearson", "rank"]


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
    left, right = parse_matrix("scores", scores), parse_matrix("targets", targets)
    check_same_shape("scores", left, "targets", right)
    if method not in ("pearson", "rank"):
        raise ConfigError(
            "method",
            wanted="'pearson' or 'rank'",
            got=repr(method),
            hint="Use 'rank' for Spearman.",
        )
    if min_assets < 2:
        raise ConfigError(
            "min_assets",
            wanted="at least 2",
            got=min_assets,
            hint="A correlation of fewer than two pairs does not exist.",
        )
    if method == "rank":
        both = ~(np.isnan(left) | np.isnan(right))
        left, right = average_ranks(left, mask=both)[0], average_ranks(right, mask=both)[0]
    out = np.empty(len(left), dtype=np.float64)
    _ic_rows(left, right, min_assets, out)
    return out


def summarise_ic(ic: npt.ArrayLike, *, lags: int) -> ICSummary:
    """Mean, dispersion and significance of a series of information coefficients.

    Parameters
    ----------
    ic : array-like, shape (T,)
        One IC per date in time order; NaN = the date measured nothing and is left out.
    lags : int
        Newey-West lags: label horizon minus 1 for one IC per session of overlapping labels.

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
    test = newey_west_mean(series, lags=lags)
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
    )


@njit(cache=True, nogil=True)
def _pearson(a: FloatVector, b: FloatVector) -> float:
    """Two-pass correlation; NaN where either side does not vary."""
    if a.min() == a.max() or b.min() == b.max():
        return np.nan
    mean_a, mean_b = a.mean(), b.mean()
    cross, square_a, square_b = 0.0, 0.0, 0.0
    for i in range(len(a)):
        da, db = a[i] - mean_a, b[i] - mean_b
        cross += da * db
        square_a += da * da
        square_b += db * db
    if square_a == 0.0 or square_b == 0.0:
        return np.nan
    return max(-1.0, min(1.0, cross / (sqrt(square_a) * sqrt(square_b))))


@njit(cache=True, nogil=True)
def _ic_rows(scores: FloatMatrix, targets: FloatMatrix, min_assets: int, out: FloatVector) -> None:
    """One correlation per row of two (T, N) arrays, written into ``out``."""
    n_dates, n_assets = scores.shape
    a, b = np.empty(n_assets), np.empty(n_assets)
    for t in range(n_dates):
        n = 0
        for j in range(n_assets):
            if not (np.isnan(scores[t, j]) or np.isnan(targets[t, j])):
                a[n], b[n] = scores[t, j], targets[t, j]
                n += 1
        out[t] = _pearson(a[:n], b[:n]) if n >= min_assets else np.nan
