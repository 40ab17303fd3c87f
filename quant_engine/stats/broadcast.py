"""Arguments that are a number or an array of any shape, for formulas over many strategies at once.

Contract: what comes out of a parser is a float64 array (of shape () for a number) without NaN and
infinity; ``as_given`` turns shape () back into a number, so that a number in gives a number out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError, InsufficientHistoryError

__all__ = ["as_given", "parse_counts", "parse_numbers", "parse_probabilities"]


def parse_numbers(name: str, value: npt.ArrayLike) -> FloatVector:
    """Read finite numbers.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : float or array-like, any shape
        Numbers.

    Returns
    -------
    ndarray of float64, same shape
        Shape () for a number.

    Raises
    ------
    DataError
        NaN or infinite numbers.

    Examples
    --------
    >>> parse_numbers("sharpe_per_period", 0.1)
    array(0.1)
    """
    array = np.asarray(value, dtype=np.float64)
    broken = int((~np.isfinite(array)).sum())
    if broken:
        raise DataError(
            name,
            wanted="finite numbers",
            got=f"{broken} NaN or infinite",
            hint="Leave out what has no value before this call.",
        )
    return array


def parse_probabilities(name: str, value: npt.ArrayLike, *, closed: bool = False) -> FloatVector:
    """Read probabilities.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : float or array-like, any shape
        Probabilities.
    closed : bool
        Whether 0 and 1 themselves are allowed.

    Returns
    -------
    ndarray of float64, same shape
        Shape () for a number.

    Raises
    ------
    DataError
        NaN, or a number outside (0, 1), or outside [0, 1] where it is closed.

    Examples
    --------
    >>> parse_probabilities("alpha", 0.05)
    array(0.05)
    """
    array = parse_numbers(name, value)
    inside = (array >= 0.0) & (array <= 1.0) if closed else (array > 0.0) & (array < 1.0)
    if not inside.all():
        raise DataError(
            name,
            wanted=f"probabilities {'from 0 to 1' if closed else 'strictly between 0 and 1'}",
            got=value,
            hint="Write 0.05 for 5 %.",
        )
    return array


def parse_counts(name: str, value: npt.ArrayLike, *, at_least: float) -> FloatVector:
    """Read numbers of observations or trials; they need not be whole.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : float or array-like, any shape
        Counts.
    at_least : float
        Smallest count that is enough.

    Returns
    -------
    ndarray of float64, same shape
        Shape () for a number.

    Raises
    ------
    DataError
        NaN or infinite numbers.
    InsufficientHistoryError
        A smaller count.

    Examples
    --------
    >>> parse_counts("n_obs", 250, at_least=3)
    array(250.)
    """
    array = parse_numbers(name, value)
    if (array < at_least).any():
        raise InsufficientHistoryError(
            name, wanted=f"at least {at_least:g}", got=value, hint="There is too little to test."
        )
    return array


def as_given(array: npt.ArrayLike) -> FloatVector:
    """Turn an array of shape () back into a number; leave other arrays as they are.

    Parameters
    ----------
    array : array-like, any shape
        Result of a formula.

    Returns
    -------
    float64 or ndarray of float64
        The same values.

    Examples
    --------
    >>> float(as_given(np.array(0.5)))
    0.5
    """
    given: FloatVector = np.asarray(array, dtype=np.float64)[()]
    return given
