"""Orders of rows: which asset is the smallest of its session, which comes next.

One sort of small integer keys per row, several times as fast as an argsort of floats: the upper
bits of a key are those of the value as float32, in an order-preserving form, its lower bits are the
column. Values that these upper bits do not tell apart come out side by side, and one pass puts them
in the order of their exact values.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatMatrix, FloatVector

__all__ = ["fill_ranks", "row_order"]

BoolVector: TypeAlias = npt.NDArray[np.bool_]

NARROW_COLUMNS = 4096
"""Up to here 20 bits are left for the value in a key of 32, and few values share them."""


def row_order(values: FloatMatrix) -> tuple[npt.NDArray[np.int32], BoolVector]:
    """Columns that sort each row.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        No infinity and no -0.0 (see `cross_section.taking_part`); NaN sorts last.

    Returns
    -------
    order : ndarray of int32, shape (T, N)
        Column numbers by rising value, equal values and NaN by column.
    tied : ndarray of bool, shape (T,)
        Rows in which two values are equal.

    Examples
    --------
    >>> order, tied = row_order(np.array([[2.0, np.nan, 1.0], [3.0, 1.0, 3.0]]))
    >>> order[0].tolist(), tied.tolist()
    ([2, 0, 1], [False, True])
    """
    n_rows, n_columns = values.shape
    if n_columns <= NARROW_COLUMNS:
        keys = np.empty(values.shape, dtype=np.int32)
        shift, low = 0, (1 << max(n_columns - 1, 1).bit_length()) - 1
    else:
        keys = np.empty(values.shape, dtype=np.int64)
        shift, low = 32, (1 << 32) - 1
    # One row of float32, and the same memory read as integers.
    narrow = np.empty(n_columns, dtype=np.float32)
    _fill_keys(values, narrow, narrow.view(np.int32), (low, shift), keys)
    keys.sort(axis=1)
    order = np.empty(values.shape, dtype=np.int32)
    tied = np.empty(n_rows, dtype=np.bool_)
    _settle(values, keys, low, order, tied)
    return order, tied


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_keys(
    values: FloatMatrix,
    narrow: npt.NDArray[np.float32],
    bits: npt.NDArray[np.int32],
    low_and_shift: tuple[int, int],
    keys: npt.NDArray[np.signedinteger],
) -> None:
    low, shift = low_and_shift
    for t in range(values.shape[0]):
        for j in range(values.shape[1]):
            narrow[j] = values[t, j]
        for j in range(values.shape[1]):
            # Negative floats fall as their bits rise: turn all bits but the sign.
            key = bits[j] ^ ((bits[j] >> 31) & np.int32(0x7FFFFFFF))
            keys[t, j] = ((np.int64(key) << shift) & ~low) | j


@njit(cache=True, nogil=True)
def _settle(
    values: FloatMatrix,
    keys: npt.NDArray[np.signedinteger],
    low: int,
    order: npt.NDArray[np.int32],
    tied: BoolVector,
) -> None:
    n_rows, n_columns = values.shape
    for t in range(n_rows):
        row, tie = values[t], False
        for i in range(n_columns):
            column = keys[t, i] & low
            order[t, i] = column
            if i == 0 or (keys[t, i - 1] ^ keys[t, i]) & ~low != 0:
                continue
            value, k = row[column], i
            while k > 0 and row[order[t, k - 1]] > value:
                order[t, k] = order[t, k - 1]
                k -= 1
            order[t, k] = column
            tie = tie or (k > 0 and row[order[t, k - 1]] == value)
        tied[t] = tie


@njit(cache=True, nogil=True)
def fill_ranks(
    row: FloatVector, order: npt.NDArray[np.int32], tied: bool, count: int, ranks: FloatVector
) -> float:
    """Write the average ranks of the known columns and return their sum of squares.

    Parameters
    ----------
    row : ndarray, shape (N,)
        Values.
    order : ndarray of int32, shape (N,)
        Columns by rising value.
    tied : bool
        Whether two values are equal.
    count : int
        Values that are known.
    ranks : ndarray of float64, shape (N,)
        Receives ranks from 1, exact multiples of one half; columns beyond `count` keep theirs.

    Returns
    -------
    float
        Exact while it stays below 2**53.
    """
    if not tied:
        for k in range(count):
            ranks[order[k]] = k + 1.0
        return count * (count + 1.0) * (2.0 * count + 1.0) / 6.0
    start, squares = 0, 0.0
    while start < count:
        stop = start + 1
        while stop < count and row[order[stop]] == row[order[start]]:
            stop += 1
        rank = 0.5 * (start + stop + 1)
        for k in range(start, stop):
            ranks[order[k]] = rank
        squares += (stop - start) * rank * rank
        start = stop
    return squares
