"""Peers: the members of a row with a complete window, and who moves most like whom.

An asset takes part in row t when it is a member at t, has every value of the window, and varied in
it. What it did before it was a member is its own past and may be read; who will be a member later
is not known and plays no role.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatMatrix
from quant_engine.features.research.moments import IntArray, varies

__all__ = ["in_canonical_order", "nearest", "unit_windows"]

BoolVector: TypeAlias = npt.NDArray[np.bool_]


def unit_windows(
    x: FloatMatrix, candidates: IntArray, t: int, window: int
) -> tuple[IntArray, FloatMatrix]:
    """Windows of those who take part in a row, centred and of length 1.

    Parameters
    ----------
    x : ndarray of float64, shape (T, N)
        Any unit; NaN = missing.
    candidates : ndarray of int64, shape (C,)
        Positions of the assets that may take part: the members of row t.
    t : int
        Newest row, at least window - 1.
    window : int
        Rows w.

    Returns
    -------
    places : ndarray of int64, shape (M,)
        Positions of those who take part, in the order of `candidates`.
    unit : ndarray of float64, shape (w, M)
        Their windows; the product of two columns is the correlation of two assets.

    Examples
    --------
    >>> x = np.array([[1.0, 5.0, 2.0], [3.0, 5.0, np.nan]])
    >>> places, unit = unit_windows(x, np.arange(3), 1, 2)
    >>> places.tolist(), unit.round(3).ravel().tolist()
    ([0], [-0.707, 0.707])
    """
    places = np.empty(len(candidates), dtype=np.int64)
    unit = np.empty((window, len(candidates)))
    count = _fill_windows(x[t - window + 1 : t + 1], candidates, places, unit)
    return places[:count], np.ascontiguousarray(unit[:, :count])


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_windows(x: FloatMatrix, candidates: IntArray, places: IntArray, unit: FloatMatrix) -> int:
    window = len(x)
    mean, scale = np.zeros(len(candidates)), np.zeros(len(candidates))
    for s in range(window):
        for c in range(len(candidates)):
            mean[c] += x[s, candidates[c]]
    for c in range(len(candidates)):
        mean[c] /= window
    for s in range(window):
        for c in range(len(candidates)):
            d = x[s, candidates[c]] - mean[c]
            scale[c] += d * d
    count = 0
    for c in range(len(candidates)):
        if varies(scale[c], mean[c], window):
            places[count] = candidates[c]
            mean[count] = mean[c]
            scale[count] = 1.0 / np.sqrt(scale[c])
            count += 1
    for s in range(window):
        for k in range(count):
            unit[s, k] = (x[s, places[k]] - mean[k]) * scale[k]
    return count


def in_canonical_order(x: FloatMatrix, members: BoolVector, t: int) -> IntArray:
    """Positions of the members of a row, ordered by their newest values and not by their columns.

    Sums over assets depend in their last bits on the order of adding up; this order makes them
    independent of how a panel lists its assets.

    Parameters
    ----------
    x : ndarray of float64, shape (T, N)
        Any unit.
    members : ndarray of bool, shape (N,)
        Who is a member of row t.
    t : int
        Row; it and the two before it are compared, the newest first.

    Returns
    -------
    ndarray of int64, shape (M,)
        Positions.

    Examples
    --------
    >>> x = np.array([[3.0, 1.0, 2.0]])
    >>> in_canonical_order(x, np.array([True, True, False]), 0).tolist()
    [1, 0]
    """
    places = np.flatnonzero(members)
    newest = x[max(t - 2, 0) : t + 1, places]
    return places[np.lexsort(newest)]


@njit(cache=True, nogil=True, error_model="numpy")
def nearest(corr: FloatMatrix, n_peers: int) -> IntArray:
    """The assets most correlated with each one, itself excluded.

    Parameters
    ----------
    corr : ndarray of float64, shape (M, M)
        Correlations.
    n_peers : int
        Number k of peers, at most M - 1.

    Returns
    -------
    ndarray of int64, shape (M, k)
        Positions, the most correlated first; of equals the one further left.

    Examples
    --------
    >>> nearest(np.array([[1.0, 0.2, 0.9], [0.2, 1.0, 0.1], [0.9, 0.1, 1.0]]), 1).ravel().tolist()
    [2, 0, 0]
    """
    n_assets = len(corr)
    found = np.zeros((n_assets, n_peers), np.int64)
    best = np.empty(n_peers)
    for i in range(n_assets):
        best[:] = -np.inf
        row = corr[i]
        for j in range(n_assets):
            if row[j] <= best[n_peers - 1] or j == i:
                continue
            place = n_peers - 1
            while place > 0 and row[j] > best[place - 1]:
                best[place] = best[place - 1]
                found[i, place] = found[i, place - 1]
                place -= 1
            best[place] = row[j]
            found[i, place] = j
    return found
