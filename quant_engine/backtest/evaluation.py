"""Evaluation: where the profit came from, whether the signal fades, how long losses last.

Contract: everything here describes a finished record and is computed from it alone; a figure that
cannot be computed is NaN and never a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.stats.calibration import expected_calibration_error, reliability_table
from quant_engine.stats.checks import parse_vector
from quant_engine.stats.ic import ic_by_date
from quant_engine.stats.inference import known_mean, newey_west_or_nan
from quant_engine.stats.metrics import drawdown_spells
from quant_engine.stats.signal import quantile_by_date

TOP_TRADES = 20
IC_SESSIONS = 60
N_DECILES = 10
N_BINS = 10
MIN_MEMBERS, MIN_NAMES = 2, 3

DECAY_ALARM = 0.02
"""Fall of the newest rolling IC below its past that is told as decay."""

FRAGILE_SHARE = 0.70
"""Share of the profit in the best trades above which a book is told as fragile."""

DISAGREEMENT_ALARM = 0.50
"""Disagreement of the members of a model from which on it is told."""

CALIBRATION_COLUMNS = (
    "slice",
    "n_obs",
    "is_thin",
    "mean_confidence",
    "frequency",
    "calibration_error",
)

MIN_CALIBRATION_OBS = 20
"""Predictions below which the calibration of a slice is thin."""


def rolling_ic(rank_ic: npt.ArrayLike, *, sessions: int = IC_SESSIONS) -> npt.NDArray[np.float64]:
    """Trailing mean of an IC series.

    Parameters
    ----------
    rank_ic : array-like, shape (T,)
        IC per session; NaN = not measured.
    sessions : int
        Length of the window, at least 2.

    Returns
    -------
    ndarray of float64, shape (T,)
        NaN until the window holds as many measured sessions; sessions without an IC are left out
        of the window and NaN in the result.

    Raises
    ------
    ConfigError
        A window below 2.

    Examples
    --------
    >>> rolling_ic([0.1, 0.3, 0.2], sessions=2).round(2)
    array([ nan, 0.2 , 0.25])
    """
    if sessions < 2:
        raise ConfigError("sessions", wanted="at least 2", got=sessions, hint="Use 60.")
    series = parse_vector("rank_ic", rank_ic)
    known = ~np.isnan(series)
    result = np.full(len(series), np.nan)
    result[known] = pd.Series(series[known]).rolling(sessions).mean().to_numpy()
    return result


def ic_decay(rank_ic: npt.ArrayLike, *, sessions: int = IC_SESSIONS) -> float:
    """How far the newest rolling IC lies below the mean of everything before its window.

    Parameters
    ----------
    rank_ic : array-like, shape (T,)
        IC per session; NaN = not measured.
    sessions : int
        Length of the newest window; as many measured sessions are needed before it.

    Returns
    -------
    float
        Positive = faded; NaN where too few sessions were measured.

    Examples
    --------
    >>> round(ic_decay([0.1, 0.1, 0.1, 0.04, 0.02], sessions=2), 3)
    0.07
    """
    series = parse_vector("rank_ic", rank_ic)
    known = series[~np.isnan(series)]
    if len(known) < 2 * sessions:
        return float("nan")
    return float(known[:-sessions].mean() - known[-sessions:].mean())


def decile_spread(
    scores: FloatMatrix, outcomes: FloatMatrix, *, lags: int, min_assets: int = N_DECILES
) -> dict[str, float]:
    """Mean outcome of the best tenth of the scores minus that of the worst.

    Parameters
    ----------
    scores, outcomes : ndarray, shape (T, N)
        NaN = not available.
    lags : int
        Bartlett lags of the t-statistic: the label horizon in sessions.
    min_assets : int
        Names that a session needs.

    Returns
    -------
    dict of str to float
        ``mean`` (fraction), ``t`` (Newey-West) and ``n_sessions``; NaN where too little is known.

    Examples
    --------
    >>> scores = np.tile(np.arange(10.0), (3, 1))
    >>> round(decile_spread(scores, scores / 100.0, lags=1)["mean"], 2)
    0.09
    """
    by_date = quantile_by_date(scores, outcomes, n_quantiles=N_DECILES, min_assets=min_assets)
    spread = by_date[:, -1] - by_date[:, 0]
    test = newey_west_or_nan(spread, lags=lags, min_obs=N_DECILES)
    return {
        "mean": known_mean(spread),
        "t": test.t,
        "n_sessions": float((~np.isnan(spread)).sum()),
    }


def sign_calibration(confidence: npt.ArrayLike, is_right: npt.ArrayLike) -> pd.DataFrame:
    """How often a prediction had the right sign, by how sure it was.

    Parameters
    ----------
    confidence : array-like, shape (R,)
        Probability that the sign is right; NaN rows are left out.
    is_right : array-like, shape (R,)
        1 where it was, 0 where not; NaN = not known yet, left out.

    Returns
    -------
    DataFrame
        Of :func:`quant_engine.stats.calibration.reliability_table` with 10 bins; empty without a
        pair.
    """
    prob = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(is_right, dtype=np.float64)
    known = ~(np.isnan(prob) | np.isnan(right))
    if not known.any():
        return pd.DataFrame()
    return reliability_table(prob[known], right[known], n_bins=N_BINS)


def calibration_by(
    confidence: npt.ArrayLike, is_right: npt.ArrayLike, labels: npt.ArrayLike
) -> pd.DataFrame:
    """How well confidence holds in each slice.

    Parameters
    ----------
    confidence, is_right : array-like, shape (R,)
        As in :func:`sign_calibration`.
    labels : array-like of str, shape (R,)
        Slice of each prediction.

    Returns
    -------
    DataFrame
        ``slice``, ``n_obs``, ``is_thin`` (fewer than 20), ``mean_confidence``, ``frequency`` (share
        with the right sign) and ``calibration_error`` (mean distance of confidence and frequency
        over 10 bins, weighted by their predictions), in the order of the names.

    Examples
    --------
    >>> table = calibration_by([0.6, 0.6, 0.9], [1.0, 0.0, 1.0], ["calm", "calm", "crash"])
    >>> table[["slice", "frequency", "calibration_error"]].round(2).values.tolist()
    [['calm', 0.5, 0.1], ['crash', 1.0, 0.1]]
    """
    prob = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(is_right, dtype=np.float64)
    names = np.asarray(labels, dtype=object)
    known = ~(np.isnan(prob) | np.isnan(right))
    rows = []
    for name in sorted(set(names[known])):
        part = known & (names == name)
        rows.append(
            {
                "slice": str(name),
                "n_obs": int(part.sum()),
                "is_thin": int(part.sum()) < MIN_CALIBRATION_OBS,
                "mean_confidence": float(prob[part].mean()),
                "frequency": float(right[part].mean()),
                "calibration_error": expected_calibration_error(
                    prob[part], right[part], n_bins=N_BINS
                ),
            }
        )
    return pd.DataFrame(rows, columns=list(CALIBRATION_COLUMNS))


def member_disagreement(members: Sequence[FloatMatrix]) -> FloatVector:
    """How far the members of a model rank the names differently.

    Parameters
    ----------
    members : sequence of ndarray, shape (T, N)
        Score of each member; NaN = no prediction. At least 2.

    Returns
    -------
    ndarray of float64, shape (T,)
        1 minus the mean rank correlation over pairs of members: 0 = one opinion, 1 = unrelated.
        NaN in sessions with fewer than 3 names.

    Raises
    ------
    ConfigError
        Fewer than 2 members.

    Examples
    --------
    >>> one, other = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[1.0, 2.0, 4.0, 3.0]])
    >>> member_disagreement([one, other]).round(2)
    array([0.2])
    """
    if len(members) < MIN_MEMBERS:
        raise ConfigError(
            "members", wanted="at least 2", got=len(members), hint="One member has one opinion."
        )
    pairs = [
        ic_by_date(one, other, method="rank", min_assets=MIN_NAMES)
        for one, other in combinations(members, 2)
    ]
    return np.asarray(1.0 - np.mean(pairs, axis=0), dtype=np.float64)


def top_trade_share(pnl: npt.ArrayLike, *, n_trades: int = TOP_TRADES) -> float:
    """Share of the net profit that the best trades made.

    Parameters
    ----------
    pnl : array-like, shape (K,)
        Net profit of each trade, currency; no NaN.
    n_trades : int
        How many of the best.

    Returns
    -------
    float
        Above 1 when all others together lost; NaN without a net profit.

    Examples
    --------
    >>> top_trade_share([5.0, 3.0, -2.0, 4.0], n_trades=1)
    0.5
    """
    values = np.sort(parse_vector("pnl", pnl))[::-1]
    total = float(values.sum())
    return float(values[:n_trades].sum()) / total if total > 0.0 else float("nan")


def recovery_times(returns: npt.ArrayLike, *, min_depth_frac: float = 0.01) -> dict[str, float]:
    """How long it takes to reach a peak again.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per session (fraction); NaN = not observed.
    min_depth_frac : float
        Shallower losses do not count.

    Returns
    -------
    dict of str to float
        ``n_spells``, ``longest`` and ``median`` sessions below a peak, ``open`` (sessions of the
        spell that has not ended, 0 = none) and ``trend``: mean length of the later half of the
        ended spells over that of the earlier half, above 1 = recoveries take longer. NaN where
        there are too few spells.

    Examples
    --------
    >>> recovery_times([0.1, -0.1, 0.2, -0.05, 0.0])["open"]
    2.0
    """
    spells = [s for s in drawdown_spells(returns) if s.depth <= -min_depth_frac]
    lengths = np.array([spell.n_periods for spell in spells], dtype=np.float64)
    ended = np.array([s.n_periods for s in spells if s.recovered is not None], dtype=np.float64)
    is_open = bool(spells) and spells[-1].recovered is None
    half = len(ended) // 2
    trend = ended[-half:].mean() / ended[:half].mean() if half else float("nan")
    return {
        "n_spells": float(len(spells)),
        "longest": float(lengths.max()) if len(lengths) else float("nan"),
        "median": float(np.median(lengths)) if len(lengths) else float("nan"),
        "open": float(lengths[-1]) if is_open else 0.0,
        "trend": float(trend),
    }
