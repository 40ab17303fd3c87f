"""Bands of resampled wealth, and how often chance alone reaches an observed Sharpe ratio.

Contract: as :mod:`quant_engine.stats.montecarlo`: simple returns per period (fractions), NaN is
refused, paths are drawn by a resampling plan of :mod:`quant_engine.stats.bootstrap`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import IndexMatrix, check_indices
from quant_engine.stats.checks import parse_vector

__all__ = ["null_sharpe_p", "wealth_bands"]

_ROWS_AT_ONCE = 256
"""Periods whose quantiles are taken together: the memory of one part, not of all paths."""


def wealth_bands(
    returns: npt.ArrayLike, *, indices: IndexMatrix, levels: tuple[float, ...]
) -> FloatMatrix:
    """Quantiles of compounded wealth over resampled paths, period by period.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period (fractions) in time order; no NaN.
    indices : ndarray of int64, shape (n_paths, T)
        Resampling plan.
    levels : tuple of float
        Probabilities in [0, 1].

    Returns
    -------
    ndarray of float64, shape (T, len(levels))
        Wealth after each period; 1 = the start.

    Raises
    ------
    DataError
        NaN, infinity, a return below -1, or a plan that does not fit.
    InsufficientHistoryError
        Fewer than 3 periods.
    ConfigError
        A level outside [0, 1].

    Notes
    -----
    Bands are pointwise: a single path leaves a 90 % band more often than one time in ten.

    Examples
    --------
    >>> plan = np.array([[0, 1, 2], [2, 1, 0], [0, 0, 0]])
    >>> wealth_bands([0.1, 0.0, -0.1], indices=plan, levels=(0.0, 1.0)).round(3).tolist()
    [[0.9, 1.1], [0.9, 1.21], [0.99, 1.331]]
    """
    series = _parsed(returns, indices)
    if not levels or min(levels) < 0.0 or max(levels) > 1.0:
        raise ConfigError(
            "levels", wanted="probabilities in [0, 1]", got=levels, hint="Use (0.05, 0.5, 0.95)."
        )
    bands = np.empty((len(series), len(levels)))
    wealth = np.ones(len(indices))
    for first in range(0, len(series), _ROWS_AT_ONCE):
        part = 1.0 + series[indices[:, first : first + _ROWS_AT_ONCE]]
        grown = wealth[:, None] * np.cumprod(part, axis=1)
        bands[first : first + _ROWS_AT_ONCE] = np.quantile(grown, levels, axis=0).T
        wealth = grown[:, -1]
    return bands


def null_sharpe_p(returns: npt.ArrayLike, *, indices: IndexMatrix) -> float:
    """How often resampled returns without a mean reach the observed Sharpe ratio.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period (fractions) in time order; no NaN.
    indices : ndarray of int64, shape (n_paths, T)
        Resampling plan; blocks keep the serial dependence.

    Returns
    -------
    float
        One-sided ``(1 + #{path >= observed}) / (n_paths + 1)``; NaN where returns are equal.

    Raises
    ------
    DataError
        NaN, infinity, a return below -1, or a plan that does not fit.
    InsufficientHistoryError
        Fewer than 3 periods.

    Notes
    -----
    The mean is taken off before drawing, so that the null holds in the resampled world; the
    statistic is mean / standard deviation (ddof 1) on both sides.

    Examples
    --------
    >>> from quant_engine.stats.bootstrap import stationary_indices
    >>> returns = np.random.default_rng(1).normal(0.001, 0.01, 500)
    >>> plan = stationary_indices(500, avg_block=10.0, n_draws=999, seed=0)
    >>> null_sharpe_p(returns, indices=plan)
    0.038
    """
    series = _parsed(returns, indices)
    spread = float(series.std(ddof=1))
    if not spread > 0.0 or series.min() == series.max():
        return float("nan")
    observed = float(series.mean()) / spread
    centred = series - series.mean()
    n_reached = 0
    for first in range(0, len(indices), _ROWS_AT_ONCE):
        drawn = centred[indices[first : first + _ROWS_AT_ONCE]]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = drawn.mean(axis=1) / drawn.std(axis=1, ddof=1)
        n_reached += int((ratio >= observed).sum())
    return (1.0 + n_reached) / (len(indices) + 1.0)


def _parsed(returns: npt.ArrayLike, indices: IndexMatrix) -> npt.NDArray[np.float64]:
    series = parse_vector("returns", returns)
    if np.isnan(series).any() or (len(series) and series.min() < -1.0):
        raise DataError(
            "returns",
            wanted="returns of at least -1, no NaN",
            got=f"{int(np.isnan(series).sum())} NaN, smallest {np.nanmin(series):g}",
            hint="A missing return is not a zero return; pass what was observed.",
        )
    if len(series) < 3:
        raise InsufficientHistoryError(
            "returns", wanted="at least 3", got=len(series), hint="Wait."
        )
    check_indices(indices, len(series))
    return series
