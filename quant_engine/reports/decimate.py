"""Fewer points, the same picture: which positions of a series to draw.

A browser draws a few thousand points without delay and a screen has about as many columns. Of
each bucket of neighbouring positions only the lowest and the highest value are kept, so that the
envelope of the curve, and with it every peak and trough, stays exactly where it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quant_engine.core.arrays import FloatVector

__all__ = ["envelope_positions", "even_positions"]


def even_positions(n_points: int, n_max: int) -> NDArray[np.int64]:
    """Evenly spaced positions that include the first and the last.

    Parameters
    ----------
    n_points : int
        Length of the series.
    n_max : int
        Greatest number of positions wanted, at least 2.

    Returns
    -------
    ndarray (K,), int64
        Increasing positions, ``K <= min(n_points, n_max)``.

    Examples
    --------
    >>> even_positions(10, 4)
    array([0, 3, 6, 9])
    """
    if n_points <= n_max:
        return np.arange(n_points)
    return np.unique(np.round(np.linspace(0, n_points - 1, n_max)).astype(np.int64))


def envelope_positions(series: Sequence[FloatVector], *, n_max: int) -> NDArray[np.int64]:
    """Positions at which several aligned series keep their envelope.

    Parameters
    ----------
    series : sequence of ndarray (T,)
        Aligned values in any unit; NaN = absent, never chosen as an extreme.
    n_max : int
        Greatest number of positions wanted, at least 4 per series.

    Returns
    -------
    ndarray (K,), int64
        Increasing positions with the first, the last and, per bucket and series, the lowest and
        the highest finite value. All positions when T <= ``n_max``.

    Examples
    --------
    >>> import numpy as np
    >>> spiky = np.zeros(1000)
    >>> spiky[[17, 503]] = [5.0, -5.0]
    >>> chosen = envelope_positions([spiky], n_max=40)
    >>> {17, 503} <= set(chosen.tolist()), chosen.size <= 40
    (True, True)
    """
    n_points = len(series[0])
    if n_points <= n_max:
        return np.arange(n_points)
    n_buckets = max(1, (n_max - 2) // (2 * len(series)))
    width = -(-n_points // n_buckets)
    chosen = [np.array([0, n_points - 1])]
    for values in series:
        padded = np.full(n_buckets * width, np.nan)
        padded[:n_points] = values
        table = padded.reshape(n_buckets, width)
        has_value = np.isfinite(table).any(axis=1)
        base = np.arange(n_buckets)[has_value] * width
        finite = np.where(np.isfinite(table), table, np.nan)[has_value]
        chosen += [base + np.nanargmin(finite, axis=1), base + np.nanargmax(finite, axis=1)]
    return np.unique(np.concatenate(chosen)).astype(np.int64)
