"""Signal tables: what scores said about later returns, by year, by horizon and by quantile.

Contract: every table is computed from scores that were out of sample where they are used, and
from outcomes of the same rows; NaN pairs count nowhere. Means of overlapping labels are tested
with Newey-West errors whose lags cover the overlap.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, TimeVector
from quant_engine.core.errors import ConfigError
from quant_engine.core.units import BPS_PER_UNIT
from quant_engine.stats.checks import check_same_shape, parse_matrix
from quant_engine.stats.hac import known_mean, newey_west_or_nan
from quant_engine.stats.ic import ic_by_date

__all__ = [
    "ic_by_horizon",
    "ic_by_year",
    "ic_table",
    "quantile_by_date",
    "quantile_groups",
    "quantile_table",
]

MIN_TESTED = 10
"""Dates below which a mean gets no t-statistic."""


def ic_table(
    scores: npt.ArrayLike, targets: npt.ArrayLike, sessions: TimeVector, *, min_assets: int = 10
) -> pd.DataFrame:
    """Pearson and rank IC per session.

    Parameters
    ----------
    scores, targets : array-like, shape (T, N)
        NaN = not available.
    sessions : ndarray of datetime64, shape (T,)
        Decision sessions.
    min_assets : int
        Pairs that a session needs.

    Returns
    -------
    DataFrame
        ``session, ic, rank_ic``; sessions without either are dropped.

    Examples
    --------
    >>> day = np.array(["2020-01-02"], dtype="datetime64[D]")
    >>> table = ic_table([[1.0, 2.0, 3.0]], [[1.0, 2.0, 4.0]], day, min_assets=3)
    >>> round(float(table["rank_ic"].iloc[0]), 6)
    1.0
    """
    frame = pd.DataFrame(
        {
            "session": np.asarray(sessions).astype("datetime64[us]"),
            "ic": ic_by_date(scores, targets, method="pearson", min_assets=min_assets),
            "rank_ic": ic_by_date(scores, targets, method="rank", min_assets=min_assets),
        }
    )
    return frame.dropna(subset=["ic", "rank_ic"], how="all").reset_index(drop=True)


def ic_by_year(table: pd.DataFrame, *, lags: int) -> pd.DataFrame:
    """Average :func:`ic_table` by calendar year.

    Parameters
    ----------
    table : DataFrame
        ``session, ic, rank_ic``.
    lags : int
        Bartlett lags of the t-statistic: the label horizon in sessions.

    Returns
    -------
    DataFrame
        ``year, ic, rank_ic, t_nw, n``; ``t_nw`` tests the mean rank IC and is NaN below
        ``MIN_TESTED`` sessions.
    """
    rows = []
    for year, part in table.groupby(table["session"].dt.year, sort=True):
        test = newey_west_or_nan(part["rank_ic"], lags=lags, min_obs=MIN_TESTED)
        rows.append(
            {
                "year": int(str(year)),
                "ic": known_mean(part["ic"]),
                "rank_ic": test.mean,
                "t_nw": test.t,
                "n": test.n,
            }
        )
    return pd.DataFrame(rows, columns=["year", "ic", "rank_ic", "t_nw", "n"])


def ic_by_horizon(
    scores: npt.ArrayLike, outcomes: Mapping[int, FloatMatrix], *, min_assets: int = 10
) -> pd.DataFrame:
    """Mean rank IC of the same scores against returns of several horizons.

    Parameters
    ----------
    scores : array-like, shape (T, N)
        NaN = no score.
    outcomes : mapping of int to ndarray, shape (T, N)
        Horizon in sessions to forward return.
    min_assets : int
        Pairs that a session needs.

    Returns
    -------
    DataFrame
        ``horizon, mean, t_nw, n``; lags of the t are the horizon.
    """
    rows = []
    for horizon, outcome in sorted(outcomes.items()):
        series = ic_by_date(scores, outcome, method="rank", min_assets=min_assets)
        test = newey_west_or_nan(series, lags=horizon, min_obs=MIN_TESTED)
        rows.append({"horizon": horizon, "mean": test.mean, "t_nw": test.t, "n": test.n})
    return pd.DataFrame(rows, columns=["horizon", "mean", "t_nw", "n"])


def quantile_by_date(
    scores: npt.ArrayLike, outcomes: npt.ArrayLike, *, n_quantiles: int, min_assets: int = 10
) -> FloatMatrix:
    """Equal-weight mean outcome of each score quantile, one row per session.

    Names are ordered by score (ties in column order) and cut into groups whose sizes differ by
    at most one.

    Parameters
    ----------
    scores, outcomes : array-like, shape (T, N)
        NaN = not available; a name needs both.
    n_quantiles : int
        Groups, at least 2; group 1 has the lowest scores.
    min_assets : int
        Names that a session needs, never fewer than one per group.

    Returns
    -------
    ndarray of float64, shape (T, n_quantiles)
        NaN rows where too few names have both.

    Examples
    --------
    >>> quantile_by_date([[4.0, 3.0, 2.0, 1.0]], [[0.4, 0.3, 0.2, 0.1]], n_quantiles=2,
    ...                  min_assets=2).round(2).tolist()
    [[0.15, 0.35]]
    """
    score, outcome = parse_matrix("scores", scores), parse_matrix("outcomes", outcomes)
    check_same_shape("scores", score, "outcomes", outcome)
    both = ~(np.isnan(score) | np.isnan(outcome))
    order, group, enough = _sorted_groups(score, both, n_quantiles, min_assets)
    sorted_outcome = np.take_along_axis(np.where(both, outcome, 0.0), order, axis=1)
    result = np.full((score.shape[0], n_quantiles), np.nan)
    for number in range(n_quantiles):
        chosen = group == number
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(chosen, sorted_outcome, 0.0).sum(axis=1) / chosen.sum(axis=1)
        result[enough, number] = mean[enough]
    return result


def quantile_groups(
    scores: npt.ArrayLike, *, n_quantiles: int, min_assets: int = 10
) -> npt.NDArray[np.int64]:
    """Quantile of each name by its score, as :func:`quantile_by_date` cuts them.

    Parameters
    ----------
    scores : array-like, shape (T, N)
        NaN = no score.
    n_quantiles : int
        Groups, at least 2.
    min_assets : int
        Names that a session needs, never fewer than one per group.

    Returns
    -------
    ndarray of int64, shape (T, N)
        0 (lowest scores) to ``n_quantiles - 1``; -1 without a score, or on a session with too few.

    Raises
    ------
    ConfigError
        Fewer than 2 quantiles.
    DataError
        Not a two-dimensional array of numbers.

    Examples
    --------
    >>> quantile_groups([[4.0, 3.0, float("nan"), 1.0, 2.0]], n_quantiles=2, min_assets=2).tolist()
    [[1, 1, -1, 0, 0]]
    """
    score = parse_matrix("scores", scores)
    order, group, enough = _sorted_groups(score, ~np.isnan(score), n_quantiles, min_assets)
    placed = np.empty_like(group)
    np.put_along_axis(placed, order, group, axis=1)
    return np.where((placed < n_quantiles) & enough[:, None], placed, -1)


def quantile_table(by_date: FloatMatrix, *, lags: int) -> pd.DataFrame:
    """Average :func:`quantile_by_date` over sessions.

    Parameters
    ----------
    by_date : ndarray, shape (T, Q)
        Mean outcome per session and quantile, fraction; NaN = not available.
    lags : int
        Bartlett lags of the standard error: the label horizon in sessions.

    Returns
    -------
    DataFrame
        ``quantile`` (1 = lowest score), ``mean_fwd_return_bps``, ``std_error_bps`` (NaN below
        ``MIN_TESTED`` sessions).
    """
    rows = []
    for number in range(by_date.shape[1]):
        test = newey_west_or_nan(by_date[:, number], lags=lags, min_obs=MIN_TESTED)
        rows.append(
            {
                "quantile": number + 1,
                "mean_fwd_return_bps": test.mean * BPS_PER_UNIT,
                "std_error_bps": test.std_error * BPS_PER_UNIT,
            }
        )
    return pd.DataFrame(rows, columns=["quantile", "mean_fwd_return_bps", "std_error_bps"])


def _sorted_groups(
    score: FloatMatrix, known: BoolMatrix, n_quantiles: int, min_assets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Columns in the order of the score, the group of each place, and sessions with enough names.

    Places of names that are not known come last, in group ``n_quantiles``.
    """
    if n_quantiles < 2:
        raise ConfigError("n_quantiles", wanted="at least 2", got=n_quantiles, hint="Use 5 or 10.")
    count = known.sum(axis=1)
    order = np.argsort(np.where(known, score, np.inf), axis=1, kind="stable")
    position = np.arange(score.shape[1])[None, :]
    group = position * n_quantiles // np.maximum(count, 1)[:, None]
    group = np.where(position < count[:, None], group, n_quantiles)
    return order, group, count >= max(min_assets, n_quantiles)
