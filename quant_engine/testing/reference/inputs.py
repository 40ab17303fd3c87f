"""Reading a case's inputs: arrays with NaN, and one number or a list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from quant_engine.core.arrays import FloatVector

Inputs = Mapping[str, Any]


def array(values: Any) -> FloatVector:
    """Read JSON numbers as an array of their own rank.

    Parameters
    ----------
    values : number or nested list
        None stands for NaN.

    Returns
    -------
    ndarray of float64, any shape

    Examples
    --------
    >>> array([1, None])
    array([ 1., nan])
    """
    return np.asarray(values, dtype=np.float64)


def each(function: Callable[..., Any], *values: Any) -> Any:
    """Apply a function to numbers, or elementwise where any of them is a list.

    Parameters
    ----------
    function : callable
        Of as many numbers as there are values.
    *values : number or list
        Numbers are repeated beside lists.

    Returns
    -------
    object or list
        One result, or one per element.

    Examples
    --------
    >>> each(lambda a, b: a + b, [1, 2], 10), each(lambda a, b: a + b, 1, 10)
    ([11, 12], 11)
    """
    lengths = {len(value) for value in values if isinstance(value, list)}
    if not lengths:
        return function(*values)
    (length,) = lengths
    columns = [value if isinstance(value, list) else [value] * length for value in values]
    return [function(*row) for row in zip(*columns, strict=True)]
