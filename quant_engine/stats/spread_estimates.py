"""Bid-ask spreads read from daily bars, where no quotes exist.

Contract: row t reads sessions up to t alone, every window is summed afresh, and a window needs all
of its sessions. Both estimators are biased upwards where the spread is small beside the
volatility, because a negative estimate counts as 0: they rank assets better than they price them.

Sources: Corwin and Schultz (2012), Journal of Finance 67; Abdi and Ranaldo (2017), Review of
Financial Studies 30.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import register_jitable

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.stats.checks import check_same_shape, parse_matrix

__all__ = ["abdi_ranaldo_spread", "corwin_schultz_pair", "corwin_schultz_spread"]

WIDTH = 3.0 - 2.0 * np.sqrt(2.0)


@register_jitable
def corwin_schultz_pair(
    high_before: float, low_before: float, close_before: float, high: float, low: float
) -> float:
    """Spread from two sessions in a row, by Corwin and Schultz.

    The second session is shifted by the overnight gap, where the earlier close lies outside its
    range. With h and l the logarithms::

        beta = (h1 - l1)^2 + (h2 - l2)^2,   gamma = (max(h1, h2) - min(l1, l2))^2
        alpha = (sqrt(2 beta) - sqrt(beta)) / (3 - 2 sqrt 2) - sqrt(gamma / (3 - 2 sqrt 2))
        spread = 2 (e^alpha - 1) / (1 + e^alpha)

    Parameters
    ----------
    high_before, low_before, close_before : float
        Logarithms of the prices of the first session. NaN gives NaN.
    high, low : float
        The same of the second session.

    Returns
    -------
    float
        Full spread as a fraction of the price; a negative one counts as 0, as the authors do.

    Examples
    --------
    >>> spread = corwin_schultz_pair(0.005, -0.005, 0.0, 0.005, -0.005)
    >>> round(float(spread), 6)
    0.01
    """
    gap = max(low - close_before, 0.0) - max(close_before - high, 0.0)
    top, bottom = high - gap, low - gap
    beta = (high_before - low_before) ** 2 + (top - bottom) ** 2
    both = max(high_before, top) - min(low_before, bottom)
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / WIDTH - both / np.sqrt(WIDTH)
    spread = max(2.0 * np.tanh(0.5 * alpha), 0.0)
    is_known = abs(high + low + high_before + low_before + close_before) < np.inf
    return float(spread) if is_known else np.nan


def corwin_schultz_spread(
    high: FloatMatrix, low: FloatMatrix, close: FloatMatrix, *, window_sessions: int = 20
) -> FloatMatrix:
    """Mean Corwin-Schultz spread of the trailing pairs of sessions.

    Parameters
    ----------
    high, low, close : ndarray, shape (T, N)
        Prices in currency, above 0; NaN = not traded.
    window_sessions : int
        Pairs in the mean, at least 1; all of them are needed.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Full spread, fraction of the price; NaN before `window_sessions` + 1 sessions and wherever
        one of them has no bar.

    Raises
    ------
    ConfigError
        A window below 1.
    DataError
        Different shapes.

    Examples
    --------
    >>> high, low = np.full((3, 1), 100.5), np.full((3, 1), 99.5)
    >>> close = np.full((3, 1), 100.0)
    >>> corwin_schultz_spread(high, low, close, window_sessions=2).round(4).ravel()
    array([ nan,  nan, 0.01])
    """
    logs = _log_prices(high, low, close, window_sessions)
    pairs = np.full(logs[0].shape, np.nan)
    _fill_pairs(*logs, pairs)
    return _mean_of_last(pairs, window_sessions)


def abdi_ranaldo_spread(
    high: FloatMatrix, low: FloatMatrix, close: FloatMatrix, *, window_sessions: int = 20
) -> FloatMatrix:
    """Spread from closes and mid-ranges, by Abdi and Ranaldo, corrected over the window.

    ``S = 2 sqrt(max(mean((c1 - m1)(c1 - m2)), 0))`` with c1 the logarithm of the earlier close and
    m1, m2 the means of the logarithms of high and low of the earlier and the later session.

    Parameters
    ----------
    high, low, close : ndarray, shape (T, N)
        Prices in currency, above 0; NaN = not traded.
    window_sessions : int
        Pairs in the mean, at least 1; all of them are needed.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Full spread, fraction of the price; NaN before `window_sessions` + 1 sessions and wherever
        one of them has no bar.

    Raises
    ------
    ConfigError
        A window below 1.
    DataError
        Different shapes.

    Examples
    --------
    >>> high, low = np.full((3, 1), 101.0), np.full((3, 1), 99.0)
    >>> close = np.full((3, 1), 100.5)
    >>> abdi_ranaldo_spread(high, low, close, window_sessions=2).round(4).ravel()
    array([   nan,    nan, 0.0101])
    """
    log_high, log_low, log_close = _log_prices(high, low, close, window_sessions)
    middle = 0.5 * (log_high + log_low)
    pairs = np.full(middle.shape, np.nan)
    pairs[1:] = (log_close[:-1] - middle[:-1]) * (log_close[:-1] - middle[1:])
    mean = _mean_of_last(pairs, window_sessions)
    return np.asarray(2.0 * np.sqrt(np.maximum(mean, 0.0)), dtype=np.float64)


def _log_prices(
    high: FloatMatrix, low: FloatMatrix, close: FloatMatrix, window_sessions: int
) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix]:
    if window_sessions < 1:
        raise ConfigError(
            "window_sessions", wanted="at least 1", got=window_sessions, hint="Use 20."
        )
    tops, bottoms, ends = (
        parse_matrix(name, values)
        for name, values in (("high", high), ("low", low), ("close", close))
    )
    check_same_shape("high", tops, "low", bottoms)
    check_same_shape("high", tops, "close", ends)
    return np.log(tops), np.log(bottoms), np.log(ends)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_pairs(high: FloatMatrix, low: FloatMatrix, close: FloatMatrix, out: FloatMatrix) -> None:
    for t in range(1, high.shape[0]):
        for i in range(high.shape[1]):
            out[t, i] = corwin_schultz_pair(
                high[t - 1, i], low[t - 1, i], close[t - 1, i], high[t, i], low[t, i]
            )


def _mean_of_last(values: FloatMatrix, window: int) -> FloatMatrix:
    """Mean of the trailing rows, each window summed afresh; NaN with any row missing."""
    out = np.full(values.shape, np.nan)
    if values.shape[0] >= window:
        total = np.zeros((values.shape[0] - window + 1, values.shape[1]))
        for k in range(window):
            total += values[k : k + total.shape[0]]
        out[window - 1 :] = total / window
    return out
