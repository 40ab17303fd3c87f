"""Trailing volatility of each asset, the scale of prediction intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatMatrix

__all__ = ["trailing_volatility"]

HALF_LIFE_SESSIONS = 20
"""Sessions after which a squared return weighs half: one month."""

MIN_SESSIONS = 20
"""Returns behind the first value."""


def trailing_volatility(returns: FloatMatrix) -> FloatMatrix:
    """Exponentially weighted root mean square of returns known at each close.

    ``v_t^2 = sum_k w_k r_{t-k}^2 / sum_k w_k`` with ``w_k = 0.5^(k / 20)``, both sums over the
    sessions k back that have a return. The mean is taken as zero, because over a few weeks it is
    noise beside the volatility.

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
    squares = pd.DataFrame(np.square(returns))
    mean = squares.ewm(halflife=HALF_LIFE_SESSIONS, min_periods=MIN_SESSIONS).mean()
    volatility: FloatMatrix = np.sqrt(mean.to_numpy(dtype=np.float64))
    # An asset that stopped trading has no volatility of its own any more.
    return np.where(np.isnan(returns), np.nan, volatility)
