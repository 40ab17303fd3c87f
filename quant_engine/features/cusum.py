"""CUSUM filter: a row becomes an event when prices have drifted far enough since the last one.

Contract: row t reads prices up to t alone; a missing price is no event, and the next return spans
the gap.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import DataError

__all__ = ["cusum_events"]

Sides: TypeAlias = npt.NDArray[np.int8]


def cusum_events(close: FloatMatrix, threshold_log: npt.ArrayLike) -> Sides:
    """Symmetric CUSUM filter on log returns.

    Parameters
    ----------
    close : ndarray, shape (T, N) or (T,)
        Prices in one basis; NaN and what is not positive = not traded.
    threshold_log : array-like, broadcast to the shape of `close`
        Drift in log price that makes an event, above 0; one number, or one per row as it was known
        at that row. NaN = no event.

    Returns
    -------
    ndarray of int8, shape of `close`
        1 where the upward sum passed the threshold, -1 where the downward one did, else 0.

    Raises
    ------
    DataError
        A threshold of zero or less, or one that does not fit the prices.

    Notes
    -----
    ``S+_t = max(0, S+_{t-1} + r_t)``, ``S-_t = min(0, S-_{t-1} + r_t)``; an event when S- is
    strictly below -h, else when S+ is strictly above h; the side that went off starts again at
    zero, the other one goes on (Lopez de Prado 2018, snippet 2.4).

    Examples
    --------
    >>> cusum_events(np.array([100.0, 103.0, 106.0, 101.0, 99.0]), 0.05)
    array([ 0,  0,  1,  0, -1], dtype=int8)
    """
    prices = np.asarray(close, dtype=np.float64)
    threshold = np.asarray(threshold_log, dtype=np.float64)
    fits = threshold.ndim == 0 or threshold.shape == prices.shape
    if not fits or (threshold <= 0.0).any() or prices.ndim not in (1, 2):
        raise DataError(
            "threshold_log",
            wanted=f"positive numbers, one or shape {prices.shape}",
            got=f"shape {threshold.shape}, smallest {threshold.min(initial=np.inf)}",
            hint="A multiple of a trailing volatility is usual.",
        )
    out = np.zeros(prices.shape, dtype=np.int8)
    limits = np.ascontiguousarray(np.broadcast_to(threshold, prices.shape))
    columns = (len(prices), -1)
    logs = np.log(np.where(prices > 0.0, prices, np.nan))
    _mark(logs.reshape(columns), limits.reshape(columns), out.reshape(columns))
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(logs: FloatMatrix, limits: FloatMatrix, out: Sides) -> None:
    n_rows, n_assets = logs.shape
    last = np.full(n_assets, np.nan)
    up, down = np.zeros(n_assets), np.zeros(n_assets)
    for t in range(n_rows):
        for j in range(n_assets):
            x = logs[t, j]
            if not np.isfinite(x):
                continue
            step = x - last[j]
            last[j] = x
            if np.isnan(step):
                continue
            up[j] = max(0.0, up[j] + step)
            down[j] = min(0.0, down[j] + step)
            if down[j] < -limits[t, j]:
                down[j] = 0.0
                out[t, j] = -1
            elif up[j] > limits[t, j]:
                up[j] = 0.0
                out[t, j] = 1
