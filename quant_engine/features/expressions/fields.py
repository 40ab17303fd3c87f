"""Fields: what ``$name`` in a formula stands for.

Most names are fields of the panel. Three kinds of names are more than that:

* `DERIVED` names are formulas of fields, written here once so that every set means the same by
  "return"; a panel field of such a name is never read;
* ``$dividend`` is 0 where the panel has no such field, and where the prices hold the dividends
  already (basis ``total_adj``);
* the masks ``$member`` and ``$tradable`` are 1 and 0, and 1 everywhere in a panel without them.
"""

from __future__ import annotations

import numpy as np

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.panel import Panel
from quant_engine.features.prices import cash_dividends, clean_field

__all__ = ["DERIVED", "OPTIONAL", "read_field"]

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


def read_field(panel: Panel, name: str, *, first_row: int, columns: slice) -> FloatMatrix:
    """Part of a field as formulas read it.

    Parameters
    ----------
    panel : Panel
        Market panel (T, N).
    name : str
        Field or mask.
    first_row : int
        First wanted row.
    columns : slice
        Wanted assets.

    Returns
    -------
    ndarray of float64, shape (T - first_row, B)
        Unit of the field; NaN = missing, which includes what is infinite, a price that is not
        positive and a negative volume.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [0.0]])})
    >>> read_field(panel, "close", first_row=0, columns=slice(0, 1)).ravel().tolist()
    [10.0, nan]
    >>> read_field(panel, "member", first_row=1, columns=slice(0, 1)).tolist()
    [[1.0]]
    """
    rows = slice(first_row, None)
    if name in MASKS:
        mask = panel.masks.get(name)
        shape = (panel.shape[0] - first_row, len(range(panel.shape[1])[columns]))
        return np.ones(shape) if mask is None else mask[rows, columns].astype(np.float64)
    if name == "dividend":
        return cash_dividends(panel, rows, columns)
    values = clean_field(name, panel.field(name)[rows, columns])
    return np.where(np.isfinite(values), values, np.nan)
