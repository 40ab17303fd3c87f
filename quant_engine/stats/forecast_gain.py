"""Forecast gain: does a second forecast of the same outcomes say more than the first one.

Contract: both forecasts are out of sample, and a session compares them on the names that both
forecast and whose outcome is known. One figure per session and forecast is all that is tested, so
that names of one session, which share its market, are one observation. A gain is positive where
the second forecast is better.

1. ``gain_by_date`` reduces the panels to figures per session.
2. ``gain_tests`` tests the paired differences on samples of sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.stats.checks import check_same_shape, parse_matrix
from quant_engine.stats.comparison import diebold_mariano
from quant_engine.stats.factor_tables import overlap_lags, overlap_mean
from quant_engine.stats.hac import known_mean
from quant_engine.stats.ic import ic_by_date
from quant_engine.stats.signal import MIN_TESTED

__all__ = ["MEASURES", "PanelForecast", "gain_by_date", "gain_tests"]

MEASURES: Mapping[str, str] = {
    "rank_ic": "rank IC of the score, second minus first",
    "squared_error": "squared error of the expected return, first minus second",
    "squared_error_adjusted": "the same plus the squared distance of the two forecasts",
}
"""What is compared, and in which direction it counts."""


@dataclass(frozen=True, eq=False)
class PanelForecast:
    """One forecast of a panel of outcomes.

    Parameters
    ----------
    score : ndarray, shape (T, N)
        Rank score, unitless; NaN = none.
    expected : ndarray, shape (T, N)
        Expected outcome in its unit (fraction); NaN = none.

    Examples
    --------
    >>> PanelForecast(np.array([[1.0, 2.0]]), np.array([[0.01, 0.02]])).score.shape
    (1, 2)
    """

    score: FloatMatrix
    expected: FloatMatrix


def gain_by_date(
    first: PanelForecast, second: PanelForecast, outcomes: npt.ArrayLike, *, min_assets: int = 10
) -> pd.DataFrame:
    """Figures of two forecasts per session, on the same names.

    Parameters
    ----------
    first, second : PanelForecast
        Both of shape (T, N).
    outcomes : array-like, shape (T, N)
        What was forecast; NaN = not known.
    min_assets : int
        Names that a session needs.

    Returns
    -------
    DataFrame
        One row per session: ``rank_ic_first, rank_ic_second`` (correlation),
        ``squared_error_first, squared_error_second`` (mean over names, unit squared) and
        ``distance`` (mean squared distance of the two expected outcomes); NaN with too few names.

    Raises
    ------
    DataError
        Shapes that differ, or infinite values.

    Examples
    --------
    >>> poor = PanelForecast(np.array([[1.0, 2.0, 0.0]]), np.zeros((1, 3)))
    >>> good = PanelForecast(np.array([[0.0, 1.0, 2.0]]), np.array([[0.0, 0.01, 0.02]]))
    >>> row = gain_by_date(poor, good, [[0.0, 0.01, 0.02]], min_assets=3).iloc[0]
    >>> f"{row.rank_ic_first:.1f} {row.rank_ic_second:.1f} {row.squared_error_second:.1f}"
    '-0.5 1.0 0.0'
    """
    outcome = parse_matrix("outcomes", outcomes)
    scores = parse_matrix("first", first.score), parse_matrix("second", second.score)
    means = parse_matrix("first", first.expected), parse_matrix("second", second.expected)
    for values in (*scores, *means):
        check_same_shape("outcomes", outcome, "forecast", values)
    shared = np.where(np.isnan(scores[0]) | np.isnan(scores[1]), np.nan, outcome)
    priced = np.where(np.isnan(means[0]) | np.isnan(means[1]), np.nan, outcome)
    errors = [(priced - mean) ** 2 for mean in means]
    between = np.where(np.isnan(priced), np.nan, (means[0] - means[1]) ** 2)
    names = ("first", "second")
    ranked = {
        f"rank_ic_{name}": ic_by_date(score, shared, method="rank", min_assets=min_assets)
        for name, score in zip(names, scores, strict=True)
    }
    squared = {
        f"squared_error_{name}": _row_mean(error, min_assets)
        for name, error in zip(names, errors, strict=True)
    }
    return pd.DataFrame({**ranked, **squared, "distance": _row_mean(between, min_assets)})


def gain_tests(
    by_date: pd.DataFrame, samples: Mapping[str, npt.NDArray[np.bool_]], *, horizon: int
) -> pd.DataFrame:
    """Test the paired differences of :func:`gain_by_date`.

    Parameters
    ----------
    by_date : DataFrame
        In time order, one row per session.
    samples : mapping of str to ndarray of bool, shape (T,)
        Sessions of each sample.
    horizon : int
        Label horizon in sessions.

    Returns
    -------
    DataFrame
        One row per sample and measure of ``MEASURES``: ``sample, measure, first, second, gain``
        (means), ``t, p`` (two-sided), ``n`` sessions, ``lags``. t and p are NaN with fewer than
        ``MIN_TESTED`` sessions, not more than twice the horizon, or without any difference.

    Notes
    -----
    The difference of IC is tested by :func:`quant_engine.stats.factor_tables.overlap_mean`, the
    squared error by Diebold and Mariano (1995) with Bartlett weights and the correction of Harvey,
    Leybourne and Newbold (1997). A model with more inputs pays for estimating them also where they
    say nothing, so that its squared error is larger under the null; the adjusted measure gives that
    back (Clark and West 2007), and its test is one-sided by nature: a negative value says nothing.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame({name: rng.normal(0.0, 0.1, 50) for name in
    ...     ("rank_ic_first", "rank_ic_second", "squared_error_first", "squared_error_second",
    ...      "distance")})
    >>> gain_tests(table, {"all": np.ones(50, bool)}, horizon=1)["measure"].tolist()
    ['rank_ic', 'squared_error', 'squared_error_adjusted']
    """
    rows = []
    for sample, chosen in samples.items():
        kept = by_date[chosen]
        rows.append({"sample": sample, "measure": "rank_ic", **_ic_row(kept, horizon)})
        for measure in ("squared_error", "squared_error_adjusted"):
            adjusted = measure.endswith("adjusted")
            row = _loss_row(kept, horizon, adjusted=adjusted)
            rows.append({"sample": sample, "measure": measure, **row})
    columns = ["sample", "measure", "first", "second", "gain", "t", "p", "n", "lags"]
    return pd.DataFrame(rows, columns=columns)


def _ic_row(by_date: pd.DataFrame, horizon: int) -> dict[str, float]:
    pairs = by_date[["rank_ic_first", "rank_ic_second"]].dropna()
    test = overlap_mean(by_date["rank_ic_second"] - by_date["rank_ic_first"], horizon=horizon)
    return {
        "first": known_mean(pairs["rank_ic_first"]),
        "second": known_mean(pairs["rank_ic_second"]),
        "gain": test.mean,
        "t": test.t,
        "p": test.p_value,
        "n": test.n,
        "lags": test.lags,
    }


def _loss_row(by_date: pd.DataFrame, horizon: int, *, adjusted: bool) -> dict[str, float]:
    known = by_date[["squared_error_first", "squared_error_second", "distance"]].dropna()
    first = known["squared_error_first"].to_numpy(dtype=np.float64)
    second = known["squared_error_second"].to_numpy(dtype=np.float64)
    if adjusted:
        second = second - known["distance"].to_numpy(dtype=np.float64)
    difference = first - second
    lags = overlap_lags(horizon)
    row = {"first": known_mean(first), "second": known_mean(second)}
    row |= {"gain": known_mean(difference), "t": float("nan"), "p": float("nan")}
    row |= {"n": len(difference), "lags": lags}
    is_tested = len(difference) >= max(MIN_TESTED, lags + 2)
    if is_tested and difference.min() < difference.max():
        test = diebold_mariano(first, second, horizon=lags + 1, kernel="bartlett")
        row |= {"t": test.hln, "p": test.p_value}
    return row


def _row_mean(values: FloatMatrix, min_assets: int) -> FloatVector:
    count = (~np.isnan(values)).sum(axis=1)
    enough = np.where(count >= max(min_assets, 1), count, np.nan)
    mean: FloatVector = np.nansum(values, axis=1) / enough
    return mean
