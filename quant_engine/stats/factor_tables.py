"""Factor tables: one score against later returns, by horizon, delay, group and state.

Contract: scores of row t are known at the close of t, outcomes of row t are what a decision of t
earned; NaN counts nowhere. A mean over sessions is tested with :func:`overlap_mean`, which knows
that labels of several sessions overlap. Quantile 1 has the lowest scores.

1. ``overlap_mean`` tests a mean of overlapping labels.
2. ``ic_decay`` and ``half_life_sessions`` say how fast a score grows old.
3. ``book_turnover`` and ``quantile_monotonicity`` describe the books of its quantiles.
4. ``ic_by_group`` and ``ic_by_state`` say where and when it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.stats.checks import check_same_shape, parse_matrix, parse_vector
from quant_engine.stats.hac import MeanTest, newey_west_or_nan, student_p_value
from quant_engine.stats.ic import ic_by_date
from quant_engine.stats.signal import MIN_TESTED, quantile_groups

__all__ = [
    "book_turnover",
    "half_life_sessions",
    "ic_by_group",
    "ic_by_state",
    "ic_decay",
    "overlap_lags",
    "overlap_mean",
    "quantile_monotonicity",
]

MIN_T_OF_DECAY = 2.0
"""Size of the t at delay 0 below which there is nothing whose half-life could be measured."""


def overlap_lags(horizon: int) -> int:
    """Bartlett lags for means of labels that overlap: ``2 (horizon - 1)``.

    Parameters
    ----------
    horizon : int
        Label horizon in sessions, at least 1.

    Returns
    -------
    int
        0 where labels do not overlap.

    Raises
    ------
    ConfigError
        A horizon below 1.

    Notes
    -----
    Labels of h sessions are correlated over h - 1 lags. With exactly that many, Bartlett weights
    count two thirds of the covariance; with twice as many, five sixths.

    Examples
    --------
    >>> overlap_lags(1), overlap_lags(10)
    (0, 18)
    """
    if horizon < 1:
        raise ConfigError("horizon", wanted="at least 1", got=horizon, hint="Count sessions.")
    return 2 * (horizon - 1)


def overlap_mean(series: npt.ArrayLike, *, horizon: int, min_obs: int = MIN_TESTED) -> MeanTest:
    """Test the mean of a per-session figure of overlapping labels, such as an IC.

    Newey-West with :func:`overlap_lags`; the p-value is Student's with
    ``min(n - 1, 1.5 n / (lags + 1))`` degrees of freedom, because a variance from many lags is
    itself uncertain.

    Parameters
    ----------
    series : array-like, shape (T,)
        One figure per session in time order; NaN = not measured.
    horizon : int
        Label horizon in sessions.
    min_obs : int
        Sessions below which there is no test.

    Returns
    -------
    MeanTest
        Without error, t and p-value (NaN) below `min_obs`.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        A horizon below 1.

    Notes
    -----
    Degrees of freedom of Bartlett's kernel: Lazarus, Lewis, Stock and Watson (2018). On sums of 20
    independent returns, 400 sessions, 3,000 simulations: h - 1 lags and n - 1 degrees of freedom
    reject 13.2 % at .05 and 1.6 % at .001; this rule rejects 8.4 % and .4 %.

    Examples
    --------
    >>> test = overlap_mean([0.02, 0.05, -0.01, 0.03] * 5, horizon=3)
    >>> f"{test.mean:.4f} {test.t:.2f} {test.lags}"
    '0.0225 10.68 4'
    """
    test = newey_west_or_nan(series, lags=overlap_lags(horizon), min_obs=min_obs)
    if np.isnan(test.t):
        return test
    freedom = min(test.n - 1.0, 1.5 * test.n / (test.lags + 1))
    return replace(test, p_value=float(student_p_value(test.t, df=freedom)))


def ic_decay(
    scores: npt.ArrayLike,
    outcomes: npt.ArrayLike,
    *,
    delays: Sequence[int],
    horizon: int,
    min_assets: int = 10,
) -> pd.DataFrame:
    """Mean rank IC of scores that are some sessions old.

    Row ``delay = k`` correlates the scores of session t with the outcomes of session t + k.

    Parameters
    ----------
    scores, outcomes : array-like, shape (T, N)
        NaN = not available.
    delays : sequence of int
        Sessions, at least 0.
    horizon : int
        Label horizon of the outcomes in sessions.
    min_assets : int
        Pairs that a session needs.

    Returns
    -------
    DataFrame
        ``delay, rank_ic, t, n``, sorted by delay; NaN where too few sessions remain.

    Raises
    ------
    ConfigError
        A negative delay.
    DataError
        Shapes that differ, or infinite values.

    Examples
    --------
    >>> scores = np.eye(4)[[0, 1, 2, 3]] + 0.1 * np.arange(4)
    >>> ic_decay(scores, np.roll(scores, -1, axis=0), delays=[0, 1], horizon=1,
    ...          min_assets=4)["n"].tolist()
    [4, 3]
    """
    score, outcome = parse_matrix("scores", scores), parse_matrix("outcomes", outcomes)
    check_same_shape("scores", score, "outcomes", outcome)
    rows = []
    for delay in sorted(set(delays)):
        if delay < 0:
            raise ConfigError(
                "delays", wanted="at least 0", got=delay, hint="A score cannot be early."
            )
        kept = max(len(score) - delay, 0)
        series = ic_by_date(score[:kept], outcome[delay:], method="rank", min_assets=min_assets)
        test = overlap_mean(series, horizon=horizon)
        rows.append({"delay": delay, "rank_ic": test.mean, "t": test.t, "n": test.n})
    return pd.DataFrame(rows, columns=["delay", "rank_ic", "t", "n"])


def half_life_sessions(decay: pd.DataFrame) -> float:
    """Age at which the mean rank IC has halved, linear between the measured delays.

    Parameters
    ----------
    decay : DataFrame
        From :func:`ic_decay`, with delay 0.

    Returns
    -------
    float
        Sessions; NaN where the IC of fresh scores is not measurable (|t| below
        ``MIN_T_OF_DECAY``), infinity where it never halves within the delays.

    Examples
    --------
    >>> table = pd.DataFrame({"delay": [0, 4, 8], "rank_ic": [0.04, 0.03, 0.01], "t": [5.0, 4, 1]})
    >>> half_life_sessions(table)
    6.0
    """
    ordered = decay.sort_values("delay")
    fresh = ordered.iloc[0] if len(ordered) else None
    if fresh is None or fresh["delay"] != 0 or not abs(fresh["t"]) >= MIN_T_OF_DECAY:
        return float("nan")
    known = ordered[ordered["rank_ic"].notna()]
    delay = known["delay"].to_numpy(dtype=np.float64)
    share = known["rank_ic"].to_numpy(dtype=np.float64) / float(fresh["rank_ic"])
    below = np.flatnonzero(share <= 0.5)
    if not below.size:
        return float("inf")
    last = int(below[0])
    step = (share[last - 1] - 0.5) / (share[last - 1] - share[last])
    return float(delay[last - 1] + step * (delay[last] - delay[last - 1]))


def book_turnover(
    scores: npt.ArrayLike, *, n_quantiles: int, lag: int = 1, min_assets: int = 10
) -> FloatMatrix:
    """One-way turnover of the equal-weight book of each quantile, ``sum |w_t - w_(t-lag)| / 2``.

    Parameters
    ----------
    scores : array-like, shape (T, N)
        NaN = no score, not in any book.
    n_quantiles : int
        Books, at least 2.
    lag : int
        Sessions between two looks at the book, at least 1.
    min_assets : int
        Names that a session needs.

    Returns
    -------
    ndarray of float64, shape (max(T - lag, 0), n_quantiles)
        Fraction of the book; NaN where one of the two sessions has no books.

    Raises
    ------
    ConfigError
        A lag below 1, or fewer than 2 quantiles.
    DataError
        Not a two-dimensional array of numbers.

    Examples
    --------
    >>> book_turnover([[1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]], n_quantiles=2, min_assets=2)
    array([[0.5, 0.5]])
    """
    if lag < 1:
        raise ConfigError("lag", wanted="at least 1", got=lag, hint="Compare different sessions.")
    groups = quantile_groups(scores, n_quantiles=n_quantiles, min_assets=min_assets)
    n_pairs = max(len(groups) - lag, 0)
    result = np.full((n_pairs, n_quantiles), np.nan)
    for number in range(n_quantiles):
        held = (groups == number).astype(np.float64)
        size = held.sum(axis=1, keepdims=True)
        weights = held / np.where(size > 0.0, size, np.nan)
        moved = np.abs(weights[lag:] - weights[:n_pairs]).sum(axis=1) / 2.0
        result[:, number] = moved
    return result


def quantile_monotonicity(means: npt.ArrayLike) -> float:
    """Rank correlation of the number of a quantile with its mean outcome.

    Parameters
    ----------
    means : array-like, shape (Q,)
        Mean outcome by quantile, lowest scores first, any unit.

    Returns
    -------
    float
        1 = rising at every step, -1 = falling; NaN with a missing mean or without variation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(quantile_monotonicity([-3.0, 0.0, 1.0, 4.0]), 6)
    1.0
    """
    values = parse_vector("means", means)
    if len(values) < 2 or np.isnan(values).any():
        return float("nan")
    numbers = np.arange(len(values), dtype=np.float64)
    return float(ic_by_date(numbers[None], values[None], method="rank", min_assets=2)[0])


def ic_by_group(
    scores: npt.ArrayLike,
    outcomes: npt.ArrayLike,
    codes: npt.NDArray[np.integer],
    names: Sequence[str],
    *,
    horizon: int,
    min_assets: int = 5,
) -> pd.DataFrame:
    """Mean rank IC inside each group of assets, such as a sector.

    Parameters
    ----------
    scores, outcomes : array-like, shape (T, N)
        NaN = not available.
    codes : ndarray of int, shape (T, N)
        Position of the group in `names`; -1 = unknown.
    names : sequence of str
        Groups.
    horizon : int
        Label horizon in sessions.
    min_assets : int
        Pairs that a group needs on a session, at least 2.

    Returns
    -------
    DataFrame
        ``group, rank_ic, t, n`` in the order of `names`; NaN where a group never has enough pairs.

    Raises
    ------
    DataError
        Shapes that differ, or infinite values.

    Examples
    --------
    >>> scores = [[1.0, 2.0, 3.0, 9.0], [3.0, 1.0, 2.0, 9.0]]
    >>> codes = np.array([[0, 0, 0, 1], [0, 0, 0, 1]])
    >>> table = ic_by_group(scores, scores, codes, ["a", "b"], horizon=1, min_assets=3)
    >>> table["rank_ic"].round(6).tolist()
    [1.0, nan]
    """
    score, outcome = parse_matrix("scores", scores), parse_matrix("outcomes", outcomes)
    check_same_shape("scores", score, "outcomes", outcome)
    check_same_shape("scores", score, "codes", codes)
    rows = []
    for number, name in enumerate(names):
        inside = codes == number
        # Most names never change their group, so few columns are left to sort.
        kept = inside.any(axis=0)
        own = np.where(inside[:, kept], score[:, kept], np.nan)
        series = ic_by_date(own, outcome[:, kept], method="rank", min_assets=min_assets)
        rows.append(_group_row(name, series, horizon))
    return pd.DataFrame(rows, columns=["group", "rank_ic", "t", "n"])


def ic_by_state(
    series: npt.ArrayLike,
    states: npt.NDArray[np.integer],
    names: Mapping[int, str],
    *,
    horizon: int,
) -> pd.DataFrame:
    """Mean IC over the sessions of each state, such as a market regime.

    Parameters
    ----------
    series : array-like, shape (T,)
        One IC per session; NaN = not measured.
    states : ndarray of int, shape (T,)
        State known at the decision of the session.
    names : mapping of int to str
        States to report.
    horizon : int
        Label horizon in sessions.

    Returns
    -------
    DataFrame
        ``group, rank_ic, t, n`` in the order of `names`; sessions of other states keep their place
        in time.

    Raises
    ------
    DataError
        Shapes that differ, or infinite values.

    Examples
    --------
    >>> ic_by_state([0.02, 0.04, 0.06], np.array([0, 1, 0]), {0: "calm"}, horizon=1)["n"].tolist()
    [2]
    """
    values = parse_vector("series", series)
    check_same_shape("series", values, "states", states)
    rows = [
        _group_row(name, np.where(states == state, values, np.nan), horizon)
        for state, name in names.items()
    ]
    return pd.DataFrame(rows, columns=["group", "rank_ic", "t", "n"])


def _group_row(name: str, series: FloatVector, horizon: int) -> dict[str, object]:
    test = overlap_mean(series, horizon=horizon)
    return {"group": name, "rank_ic": test.mean, "t": test.t, "n": test.n}
