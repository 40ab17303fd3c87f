"""Exponentially weighted root mean square of returns: volatility whose memory fades.

Contract: row t uses rows up to t. The mean is taken as zero, because over a few weeks it is noise
beside the volatility; weights add up to 1 from the first return on.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatMatrix

__all__ = ["decayed_volatility"]


def decayed_volatility(returns: FloatMatrix, *, half_life: float, min_returns: int) -> FloatMatrix:
    """Root mean square of returns under weights that halve every so many rows.

    Parameters
    ----------
    returns : ndarray, shape (T, N) or (T,)
        Simple returns per row, fraction; NaN = none, and is left out.
    half_life : float
        Rows after which a squared return weighs half, above 0.
    min_returns : int
        Returns behind the first value.

    Returns
    -------
    ndarray of float64, shape of `returns`
        Fraction per row; NaN before `min_returns` returns. A row without a return of its own has
        the value of the newest one.

    Notes
    -----
    ``v_t^2 = sum_k w_k r_{t-k}^2 / sum_k w_k`` with ``w_k = 0.5^(k / half_life)``, both sums over
    the rows k back that have a return (RiskMetrics 1996, section 5.2, normalised).

    Examples
    --------
    >>> decayed_volatility(np.array([0.01, 0.02, np.nan]), half_life=1, min_returns=2).round(6)
    array([     nan, 0.017321, 0.017321])
    """
    values = np.asarray(returns, dtype=np.float64)
    wide = values if values.ndim == 2 else values[:, None]
    squares = pd.DataFrame(np.square(wide))
    mean = squares.ewm(halflife=half_life, min_periods=min_returns).mean()
    volatility: FloatMatrix = np.sqrt(mean.to_numpy(dtype=np.float64).reshape(values.shape))
    return volatility
