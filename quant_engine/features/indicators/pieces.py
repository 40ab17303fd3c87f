"""What the window kernels share: complete windows, flat windows, straight lines and entropies.

Contract: every value is computed afresh from its own window, so that no rounding is carried from
row to row and a part of the history gives the same bits as the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.features.functions import Numbers

__all__ = [
    "IntVector",
    "check_at_most",
    "entropy_of",
    "is_flat",
    "line_slope",
    "rows_of",
    "run_lengths",
]

IntVector: TypeAlias = npt.NDArray[np.int64]

FLAT_TOLERANCE = 1e-9
"""Standard deviation over mean below which a window counts as constant, as in `Corr`."""


@njit(cache=True, nogil=True, error_model="numpy")
def run_lengths(values: FloatVector) -> IntVector:
    """Number of present values in a row that end at each row.

    Parameters
    ----------
    values : ndarray of float64, shape (T,)
        Any unit; NaN = missing.

    Returns
    -------
    ndarray of int64, shape (T,)
        0 where the value is missing.

    Examples
    --------
    >>> run_lengths(np.array([1.0, np.nan, 2.0, 3.0])).tolist()
    [1, 0, 1, 2]
    """
    lengths = np.empty(values.size, np.int64)
    run = 0
    for t in range(values.size):
        run = run + 1 if values[t] == values[t] else 0
        lengths[t] = run
    return lengths


@njit(cache=True, nogil=True, error_model="numpy")
def is_flat(squares: float, mean: float, n: int) -> bool:
    """Whether values are constant up to the rounding of their level.

    Parameters
    ----------
    squares : float
        Sum of squared distances from the mean.
    mean : float
        Mean, in the unit of the values.
    n : int
        Number of values.

    Returns
    -------
    bool
        True for a standard deviation of at most 1e-9 of the mean.

    Examples
    --------
    >>> is_flat(0.0, 3.0, 10), is_flat(1.0, 3.0, 10)
    (True, False)
    """
    return squares <= n * (FLAT_TOLERANCE * mean) ** 2


@njit(cache=True, nogil=True, error_model="numpy")
def line_slope(x: FloatVector, y: FloatVector) -> float:
    """Slope of the least-squares line.

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
        At least two different x.

    Returns
    -------
    float
        Unit of y per unit of x.

    Examples
    --------
    >>> line_slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    2.0
    """
    mean_x = mean_y = 0.0
    for i in range(x.size):
        mean_x += x[i]
        mean_y += y[i]
    mean_x /= x.size
    mean_y /= x.size
    xx = xy = 0.0
    for i in range(x.size):
        xx += (x[i] - mean_x) ** 2
        xy += (x[i] - mean_x) * (y[i] - mean_y)
    return xy / xx


@njit(cache=True, nogil=True, error_model="numpy")
def entropy_of(weights: FloatVector, states: int) -> float:
    """Shannon entropy of shares, as a fraction of the entropy of equal shares.

    Parameters
    ----------
    weights : ndarray of float64, shape (n,)
        Non-negative, not all zero; they need not add up to 1.
    states : int
        Number of states of the largest entropy, at least 2.

    Returns
    -------
    float
        Fraction from 0 to 1; NaN where the weights add up to 0.

    Examples
    --------
    >>> entropy_of(np.array([2.0, 2.0]), 2), entropy_of(np.array([1.0, 0.0]), 2)
    (1.0, 0.0)
    """
    total = 0.0
    for i in range(weights.size):
        total += weights[i]
    if not total > 0.0:
        return np.nan
    entropy = 0.0
    for i in range(weights.size):
        share = weights[i] / total
        if share > 0.0:
            entropy -= share * np.log(share)
    return min(max(entropy / np.log(states), 0.0), 1.0)


def check_at_most(parameter: str, value: float, limit: float, *, hint: str) -> None:
    """Refuse a parameter that is too large for another one.

    Parameters
    ----------
    parameter : str
        What is checked, such as ``"q of VarianceRatio"``.
    value, limit : float
        Given and largest allowed value.
    hint : str
        Why, as a sentence.

    Raises
    ------
    ConfigError
        For a value above the limit.

    Examples
    --------
    >>> check_at_most("lags of SSATrend", 40, 30, hint="Take half of the window or less.")
    Traceback (most recent call last):
    ...
    quant_engine.core.errors.ConfigError: lags of SSATrend: wanted at most 30, got 40. \
Take half of the window or less.
    """
    if value > limit:
        raise ConfigError(parameter, wanted=f"at most {limit:g}", got=f"{value:g}", hint=hint)


def rows_of(*places: int, more: int = 0) -> Callable[[Numbers], int]:
    """Lookback of a window function: the sum of some of its parameters and a constant.

    Parameters
    ----------
    *places : int
        Positions of the parameters that are added up.
    more : int
        Rows on top.

    Returns
    -------
    callable
        ``lookback(numbers)`` in rows, the newest included.

    Examples
    --------
    >>> rows_of(0, 1, more=1)((30.0, 60.0, 5.0))
    91
    """
    return lambda numbers: int(sum(numbers[place] for place in places)) + more
