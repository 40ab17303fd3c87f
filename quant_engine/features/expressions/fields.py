"""Fields: what ``$name`` in a formula stands for.

Most names are fields of the panel. Three kinds of names are more than that:

* `DERIVED` names are formulas of fields, written here once so that every set means the same by
  "return"; a panel field of such a name is never read;
* ``$dividend`` is 0 where the panel has no such field, and where the prices hold the dividends
  already (basis ``total_adj``);
* the masks ``$member`` and ``$tradable`` are 1 and 0, and 1 everywhere in a panel without them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import did_you_mean
from quant_engine.core.panel import Panel
from quant_engine.features.prices import BAR_PRICES, cash_dividends

__all__ = ["DERIVED", "OPTIONAL", "missing_hint", "read_field"]

DERIVED = {
    "return": "($close + $dividend)/Ref($close, 1) - 1",
    "log_return": "Log(1 + $return)",
    "dollar_volume": "$close * $volume",
    "typical": "($high + $low + $close)/3",
    "market_return": "HeldMean($return)",
}
"""Names that stand for a formula: total return close to close, its logarithm, traded value,
typical price, and the equal-weight total return of those who were members one session earlier."""

MASKS = ("member", "tradable")

OPTIONAL = frozenset({"dividend", *MASKS})
"""Names that a panel need not have."""


def missing_hint(name: str, known: Iterable[str]) -> str:
    """What to do about a field that a panel does not have.

    Parameters
    ----------
    name : str
        The field.
    known : iterable of str
        Fields that the panel has.

    Returns
    -------
    str
        One or two sentences.

    Examples
    --------
    >>> missing_hint("clse", ["close", "volume"])
    "Did you mean 'close'?"
    """
    if name == "vwap":
        return (
            "The VWAP of a session is data and is never made from other prices: bring it as a "
            "column of the bars (recognised: vwap, average price; else --map vwap=NAME), or take "
            "a set that does without, such as price_volume_v1."
        )
    return did_you_mean(name, known)


def read_field(
    panel: Panel, name: str, out: FloatMatrix, *, first_row: int, first_column: int
) -> None:
    """Part of a field as formulas read it.

    Parameters
    ----------
    panel : Panel
        Market panel (T, N).
    name : str
        Field or mask.
    out : ndarray of float64, shape (R, B)
        Where the rows from `first_row` and the assets from `first_column` go, in the unit of the
        field; NaN = missing, which includes what is infinite, a price that is not positive and a
        negative volume.
    first_row, first_column : int
        First wanted row and asset.

    Returns
    -------
    None
        `out` is filled.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [0.0]])})
    >>> out = np.empty((2, 1))
    >>> read_field(panel, "close", out, first_row=0, first_column=0)
    >>> out.ravel().tolist()
    [10.0, nan]
    """
    rows = slice(first_row, first_row + out.shape[0])
    columns = slice(first_column, first_column + out.shape[1])
    if name in MASKS:
        out[:] = panel.masks[name][rows, columns] if name in panel.masks else 1.0
    elif name == "dividend":
        out[:] = cash_dividends(panel, rows, columns)
    else:
        lowest = _SMALLEST_PRICE if name in BAR_PRICES else 0.0 if name == "volume" else -np.inf
        _copy_present(panel.field(name)[rows, columns], lowest, out)


_SMALLEST_PRICE = float(np.nextafter(0.0, 1.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _copy_present(values: FloatMatrix, lowest: float, out: FloatMatrix) -> None:
    for t in range(out.shape[0]):
        for j in range(out.shape[1]):
            v = np.float64(values[t, j])
            out[t, j] = v if (abs(v) < np.inf) & (v >= lowest) else np.nan
