"""Trailing beta: the slope of one return series on another, as it was known before each session.

Contract: the value of session t reads sessions before t alone; every window is summed afresh, so
that a value does not depend on where the series starts.
"""

from __future__ import annotations

import numpy as np

from quant_engine.core.arrays import FloatVector

__all__ = ["trailing_beta"]


def trailing_beta(
    returns: FloatVector,
    benchmark_returns: FloatVector,
    *,
    window_sessions: int,
    min_sessions: int,
) -> FloatVector:
    """Slope of a return series on a benchmark over the sessions *before* each session.

    ``beta[t] = cov(r, b) / var(b)`` over sessions t - window .. t - 1, pairs with both values only.
    The slope of row t is known at the close of t - 1, so ``r[t] - beta[t] * b[t]`` is a return that
    could have been earned with a hedge put on at that close.

    Parameters
    ----------
    returns, benchmark_returns : ndarray of float64, shape (R,)
        Simple returns per session; NaN = not available, the pair is left out.
    window_sessions : int
        Length of the trailing window.
    min_sessions : int
        Pairs needed inside the window.

    Returns
    -------
    ndarray of float64, shape (R,)
        Number; NaN with too few pairs or a benchmark that did not move.

    Examples
    --------
    >>> b = np.array([0.01, -0.02, 0.03, 0.01])
    >>> trailing_beta(2 * b, b, window_sessions=3, min_sessions=3)
    array([nan, nan, nan,  2.])
    """
    both = np.isfinite(returns) & np.isfinite(benchmark_returns)
    padding = np.full(window_sessions, np.nan)
    window = np.lib.stride_tricks.sliding_window_view
    own = window(np.concatenate([padding, np.where(both, returns, np.nan)])[:-1], window_sessions)
    other = window(
        np.concatenate([padding, np.where(both, benchmark_returns, np.nan)])[:-1], window_sessions
    )
    used = ~np.isnan(own)
    n = used.sum(axis=1)
    enough = n >= min_sessions
    safe_n = np.maximum(n, 1)
    own = np.where(used, own - (np.nansum(own, axis=1) / safe_n)[:, None], 0.0)
    other = np.where(used, other - (np.nansum(other, axis=1) / safe_n)[:, None], 0.0)
    variance = (other * other).sum(axis=1)
    covariance = (own * other).sum(axis=1)
    known = enough & (variance > 0.0)
    return np.where(known, covariance / np.where(known, variance, 1.0), np.nan)
