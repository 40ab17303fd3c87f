"""Trailing volatility of each asset: the scale of prediction intervals and of barriers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.stats.decayed_volatility import decayed_volatility

__all__ = ["ewm_volatility", "trailing_volatility"]

HALF_LIFE_SESSIONS = 20
"""Sessions after which a squared return weighs half: one month."""

MIN_SESSIONS = 20
"""Returns behind the first value."""


def trailing_volatility(returns: FloatMatrix) -> FloatMatrix:
    """Exponentially weighted root mean square of returns known at each close.

    That of `stats.decayed_volatility` with a half-life of a month, where the asset traded.

    Parameters
    ----------
    returns : ndarray, shape (T, N)
        Simple returns per session, fraction; NaN = did not trade.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Fraction per session; NaN before 20 returns and where the asset did not trade.

    Examples
    --------
    >>> calm = np.full((20, 1), 0.01)
    >>> trailing_volatility(calm)[[18, 19]].round(6).tolist()
    [[nan], [0.01]]
    """
    volatility = decayed_volatility(returns, half_life=HALF_LIFE_SESSIONS, min_returns=MIN_SESSIONS)
    # An asset that stopped trading has no volatility of its own any more.
    return np.where(np.isnan(returns), np.nan, volatility)


def ewm_volatility(returns: FloatMatrix, *, span_bars: float) -> FloatMatrix:
    """Exponentially weighted standard deviation of one-bar returns, the usual unit of barriers.

    Parameters
    ----------
    returns : ndarray, shape (T, N) or (T,)
        Simple one-bar returns, fraction; NaN = did not trade.
    span_bars : float
        Decay as a span, above 1: ``alpha = 2 / (span + 1)``.

    Returns
    -------
    ndarray of float64, shape of `returns`
        Fraction per bar; NaN before two returns and where the asset did not trade.

    Raises
    ------
    ConfigError
        A span of 1 or less.

    Notes
    -----
    ``v_t^2 = c_t sum_k w_k (r_{t-k} - m_t)^2 / sum_k w_k`` with ``w_k = (1 - alpha)^k``, m the mean
    under the same weights and c the correction ``W^2 / (W^2 - sum w^2)`` for the bias (pandas
    ``ewm(span).std()``). AFML snippet 3.1, taken to daily bars as it stands, reaches two bars back
    for most of its returns; one-bar returns are what its text describes.

    Examples
    --------
    >>> ewm_volatility(np.array([0.01, 0.03, 0.02]), span_bars=3).round(6).tolist()
    [nan, 0.014142, 0.008452]
    """
    if not span_bars > 1.0:
        raise ConfigError(
            "span_bars", wanted="more than 1", got=span_bars, hint="AFML uses 100 daily bars."
        )
    wide = np.asarray(returns, dtype=np.float64)
    frame = pd.DataFrame(wide.reshape(len(wide), -1))
    spread: FloatMatrix = frame.ewm(span=span_bars).std().to_numpy().reshape(wide.shape)
    return np.where(np.isnan(wide), np.nan, spread)
