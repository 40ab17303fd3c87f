"""Parse numeric arguments once, at the door of the package, with the argument's name in the error.

Contract: what comes out is a float64 array of the promised rank without infinities; NaN means
"not observed" and is left to each function's own documented rule.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError

__all__ = [
    "check_coverage",
    "check_same_shape",
    "exact_level",
    "parse_labels",
    "parse_matrix",
    "parse_observed",
    "parse_vector",
]


def parse_vector(name: str, values: npt.ArrayLike) -> FloatVector:
    """Read a one-dimensional numeric argument.

    Parameters
    ----------
    name : str
        Argument name for the message.
    values : array-like, shape (n,)
        Numbers of any real type; NaN allowed, infinity refused.

    Returns
    -------
    ndarray of float64, shape (n,)
        The values; not a copy where they already were float64.

    Raises
    ------
    DataError
        Another rank, no numbers, or an infinite value.

    Examples
    --------
    >>> parse_vector("returns", [1, 2])
    array([1., 2.])
    """
    return _parse(name, values, rank=1)


def parse_observed(name: str, values: npt.ArrayLike) -> FloatVector:
    """Read a one-dimensional numeric argument and leave out what was not observed.

    Parameters
    ----------
    name : str
        Argument name for the message.
    values : array-like, shape (n,)
        Numbers of any real type; NaN = not observed, infinity refused.

    Returns
    -------
    ndarray of float64, shape (m,)
        The values that are not NaN, in their order.

    Raises
    ------
    DataError
        Another rank, no numbers, or an infinite value.

    Examples
    --------
    >>> parse_observed("returns", [1.0, float("nan"), 2.0])
    array([1., 2.])
    """
    parsed = parse_vector(name, values)
    return parsed[~np.isnan(parsed)]


def parse_matrix(name: str, values: npt.ArrayLike) -> FloatVector:
    """Read a two-dimensional numeric argument (dates in rows, assets in columns).

    Parameters
    ----------
    name : str
        Argument name for the message.
    values : array-like, shape (T, N)
        Numbers of any real type; NaN allowed, infinity refused.

    Returns
    -------
    ndarray of float64, shape (T, N), C order
        The values; not a copy where they already were C-ordered float64.

    Raises
    ------
    DataError
        Another rank, no numbers, or an infinite value.

    Examples
    --------
    >>> parse_matrix("scores", [[1, 2]]).shape
    (1, 2)
    """
    return _parse(name, values, rank=2)


def _parse(name: str, values: npt.ArrayLike, *, rank: int) -> FloatVector:
    """Shared body of the two parsers."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.ndim != rank:
        raise DataError(
            name,
            wanted=f"numbers in {rank} dimension{'s' if rank > 1 else ''}",
            got=f"shape {array.shape}, dtype {array.dtype}",
            hint="Pass a numpy array or a column of numbers.",
        )
    parsed = np.ascontiguousarray(array, dtype=np.float64)
    n_infinite = int(np.isinf(parsed).sum())
    if n_infinite:
        raise DataError(
            name,
            wanted="finite numbers or NaN",
            got=f"{n_infinite} infinite values",
            hint="Infinity is usually a division by zero upstream; make it NaN where it arises.",
        )
    return parsed


def check_same_shape(
    name: str, values: npt.NDArray[Any], other_name: str, other_values: npt.NDArray[Any]
) -> None:
    """Refuse two arrays that do not describe the same observations.

    Parameters
    ----------
    name, other_name : str
        Argument names for the message.
    values, other_values : ndarray
        Arrays that must have one shape.

    Raises
    ------
    DataError
        The shapes differ.

    Examples
    --------
    >>> check_same_shape("a", np.zeros(2), "b", np.ones(2))
    """
    if values.shape != other_values.shape:
        raise DataError(
            other_name,
            wanted=f"shape {values.shape}, the shape of {name}",
            got=other_values.shape,
            hint="Align both on the same dates and assets first.",
        )


def check_coverage(name: str, value: float) -> float:
    """Refuse a probability level outside the open unit interval.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : float
        Probability.

    Returns
    -------
    float
        The value.

    Raises
    ------
    ConfigError
        Not strictly between 0 and 1.

    Examples
    --------
    >>> check_coverage("coverage", 0.9)
    0.9
    """
    if not 0.0 < value < 1.0:
        raise ConfigError(
            name,
            wanted="a probability strictly between 0 and 1",
            got=value,
            hint="Write 0.9 for 90 %.",
        )
    return value


def exact_level(value: float) -> Fraction:
    """Probability level as the decimal that was written, for ranks that must not slip by one.

    Parameters
    ----------
    value : float
        Level; read as the nearest fraction with a denominator up to a million, because 20 * 0.95
        is 19.000000000000004 in floats and would round up to 20.

    Returns
    -------
    Fraction
        Exact.

    Examples
    --------
    >>> 20 * exact_level(0.95)
    Fraction(19, 1)
    """
    return Fraction(value).limit_denominator(1_000_000)


def parse_labels(
    name: str, labels: npt.ArrayLike, *, length: int
) -> tuple[npt.NDArray[np.int64], tuple[Any, ...]]:
    """Read one label per observation as codes and distinct labels.

    Parameters
    ----------
    name : str
        Argument name for the message.
    labels : array-like, shape (n,)
        Texts or numbers; a missing label is refused.
    length : int
        Observations that must each have a label.

    Returns
    -------
    codes : ndarray of int64, shape (n,)
        Position of each label in the second result.
    distinct : tuple
        Labels in the order of their first appearance.

    Raises
    ------
    DataError
        Another shape, or a missing label.

    Examples
    --------
    >>> parse_labels("group", ["b", "a", "b"], length=3)
    (array([0, 1, 0]), ('b', 'a'))
    """
    array = np.asarray(labels)
    if array.shape != (length,):
        raise DataError(
            name,
            wanted=f"one label for each of {length} observations",
            got=f"shape {array.shape}",
            hint="Align labels and values first.",
        )
    codes, distinct = pd.factorize(array)
    n_missing = int((codes < 0).sum())
    if n_missing:
        raise DataError(
            name,
            wanted="a label for every observation",
            got=f"{n_missing} missing",
            hint="Give what has no group a group of its own.",
        )
    return codes.astype(np.int64, copy=False), tuple(distinct.tolist())
