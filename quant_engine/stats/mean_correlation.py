"""Mean correlation of the columns of a window with one another, without the pairs.

Contract: columns are centred and of length 1. The inner product of a column with the sum of all
columns is then the sum of its correlations, its own included, so that all means cost two passes
over the window instead of one per pair. Both functions are compiled and may be called from compiled
code.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix, FloatVector

__all__ = ["mean_correlations", "mean_pairwise_correlation"]


@njit(cache=True, nogil=True, error_model="numpy")
def mean_correlations(unit: FloatMatrix, out: FloatVector) -> None:
    """Mean correlation of every column with the others.

    Parameters
    ----------
    unit : ndarray of float64, shape (W, K)
        Columns of mean 0 and length 1; no NaN.
    out : ndarray of float64, shape (K,)
        Receives the means, from -1 to 1; NaN for one column alone.

    Notes
    -----
    ``out_k = sum_i u_ik (sum_l u_il - u_ik) / (K - 1)``.

    Examples
    --------
    >>> out = np.empty(3)
    >>> mean_correlations(np.array([[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]) / np.sqrt(2.0), out)
    >>> out.round(6).tolist()
    [0.0, 0.0, -1.0]
    """
    window, count = unit.shape
    out[:] = 0.0
    for i in range(window):
        total = 0.0
        for k in range(count):
            total += unit[i, k]
        for k in range(count):
            out[k] += unit[i, k] * (total - unit[i, k])
    for k in range(count):
        out[k] /= count - 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def mean_pairwise_correlation(unit: FloatMatrix) -> float:
    """Mean correlation of all pairs of columns.

    Parameters
    ----------
    unit : ndarray of float64, shape (W, K)
        Columns of mean 0 and length 1; no NaN.

    Returns
    -------
    float
        From ``-1 / (K - 1)`` to 1; NaN for fewer than two columns.

    Notes
    -----
    The mean over the columns of :func:`mean_correlations`: every pair stands there twice.

    Examples
    --------
    >>> pair = np.array([[1.0, 1.0], [-1.0, -1.0]]) / np.sqrt(2.0)
    >>> round(mean_pairwise_correlation(pair), 6)
    1.0
    """
    count = unit.shape[1]
    means = np.empty(count)
    mean_correlations(unit, means)
    total = 0.0
    for k in range(count):
        total += means[k]
    return float(total / count)
