"""Moments of several series over one trailing window, for many assets at once.

Regressions and principal components of a window need the same sums: the mean of every series and
some centred cross products. Both passes run over the window afresh, so a value depends on nothing
but its own window, whatever the history before it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatMatrix
from quant_engine.features.functions import Pages
from quant_engine.features.indicators.pieces import is_flat

__all__ = ["IntArray", "all_pairs", "varies", "window_moments"]

IntArray: TypeAlias = npt.NDArray[np.int64]


def all_pairs(n_series: int) -> IntArray:
    """Every pair of series with itself and the later ones, row by row.

    Parameters
    ----------
    n_series : int
        Number of series P.

    Returns
    -------
    ndarray of int64, shape (P (P + 1)/2, 2)
        Positions of the two series.

    Examples
    --------
    >>> all_pairs(2).tolist()
    [[0, 0], [0, 1], [1, 1]]
    """
    return np.column_stack(np.triu_indices(n_series)).astype(np.int64)


@njit(cache=True, nogil=True, error_model="numpy")
def varies(squares: float, mean: float, window: int) -> bool:
    """Whether a window is complete and not constant up to the rounding of its level.

    Parameters
    ----------
    squares : float
        Sum of squared distances from the mean; NaN = a value is missing.
    mean : float
        Mean, in the unit of the values.
    window : int
        Rows.

    Returns
    -------
    bool

    Examples
    --------
    >>> varies(1.0, 3.0, 10), varies(0.0, 3.0, 10), varies(np.nan, np.nan, 10)
    (True, False, False)
    """
    return squares == squares and not is_flat(squares, mean, window)


@njit(cache=True, nogil=True, error_model="numpy")
def window_moments(
    pages: Pages, t: int, window: int, pairs: IntArray, mean: FloatMatrix, cross: FloatMatrix
) -> None:
    """Means and centred cross products of a window of rows.

    Parameters
    ----------
    pages : ndarray of float64, shape (P, T, B)
        Series; NaN = missing.
    t : int
        Newest row of the window, at least window - 1.
    window : int
        Rows w.
    pairs : ndarray of int64, shape (Q, 2)
        Which two series each product multiplies.
    mean : ndarray of float64, shape (P, B)
        Written: mean of each series.
    cross : ndarray of float64, shape (Q, B)
        Written: sum over the window of the product of the two distances from the mean.

    Returns
    -------
    None
        A missing value in the window makes what it touches NaN.

    Examples
    --------
    >>> pages = np.array([[[1.0], [3.0]], [[2.0], [6.0]]])
    >>> mean, cross = np.empty((2, 1)), np.empty((3, 1))
    >>> window_moments(pages, 1, 2, all_pairs(2), mean, cross)
    >>> mean.ravel().tolist(), cross.ravel().tolist()
    ([2.0, 4.0], [2.0, 4.0, 8.0])
    """
    n_series, width = mean.shape
    mean[:] = 0.0
    cross[:] = 0.0
    centred = np.empty((n_series, width))
    for s in range(t - window + 1, t + 1):
        for p in range(n_series):
            total, row = mean[p], pages[p, s]
            for j in range(width):
                total[j] += row[j]
    for p in range(n_series):
        for j in range(width):
            mean[p, j] /= window
    for s in range(t - window + 1, t + 1):
        for p in range(n_series):
            middle, row, distance = mean[p], pages[p, s], centred[p]
            for j in range(width):
                distance[j] = row[j] - middle[j]
        for q in range(len(pairs)):
            left, right, product = centred[pairs[q, 0]], centred[pairs[q, 1]], cross[q]
            for j in range(width):
                product[j] += left[j] * right[j]
