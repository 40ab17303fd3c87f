"""Row and column numbers: parsed once, so that no fraction is cut off silently."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quant_engine.core.errors import DataError

__all__ = ["parse_positions"]


def parse_positions(name: str, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Read whole numbers.

    Parameters
    ----------
    name : str
        Argument name for the message.
    values : array-like of int, shape (E,)
        Positions; an empty list is an empty array.

    Returns
    -------
    ndarray of int64, shape (E,)
        Not a copy where they already were int64.

    Raises
    ------
    DataError
        Another rank, or numbers that are not of an integer type.

    Examples
    --------
    >>> parse_positions("rows", [3, 1])
    array([3, 1])
    """
    given = np.asarray(values)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise DataError(
            name,
            wanted="whole numbers in one dimension",
            got=f"shape {given.shape}, dtype {given.dtype}",
            hint="Positions come from np.flatnonzero or an index lookup.",
        )
    return given.astype(np.int64, copy=False)
