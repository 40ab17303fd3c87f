"""Callables: operators of the language and registered functions, under one roof.

Importing this module registers every shipped function.
"""

from __future__ import annotations

from quant_engine.features.expressions.operators import CROSS, OPERATORS, SHIFT, Operator
from quant_engine.features.expressions.sliding import ANCHOR_ROWS
from quant_engine.features.functions import FUNCTIONS, Function
from quant_engine.features.indicators import catalogue as indicators
from quant_engine.features.research import catalogue as research

__all__ = ["find_callable", "first_input_row", "known_names", "reads_across"]

SHIPPED = (indicators, research)


def find_callable(name: str) -> Operator | Function | None:
    """What a formula calls by this name; None = nothing.

    Parameters
    ----------
    name : str
        As written in a formula.

    Returns
    -------
    Operator, Function or None
        An operator comes before a function of the same name.

    Examples
    --------
    >>> find_callable("Mean").kind, find_callable("HeldMean").across, find_callable("Nothing")
    ('rolling', True, None)
    """
    if name in OPERATORS:
        return OPERATORS[name]
    return FUNCTIONS.get(name) if name in FUNCTIONS else None


def known_names() -> tuple[str, ...]:
    """Every name that a formula may call.

    Returns
    -------
    tuple of str
        Operators and functions, in alphabetical order.
    """
    return tuple(sorted({*OPERATORS, *FUNCTIONS.names()}))


def reads_across(name: str) -> bool:
    """Whether a node of this name needs every asset of a row.

    Parameters
    ----------
    name : str
        Operator or function; other names (fields, constants) read their own column.

    Returns
    -------
    bool

    Examples
    --------
    >>> reads_across("CsRank"), reads_across("Mean"), reads_across("$")
    (True, False, False)
    """
    found = find_callable(name)
    if isinstance(found, Function):
        return found.across
    return found is not None and found.kind == CROSS


def first_input_row(name: str, window: int, row: int) -> int:
    """First row of the inputs that a node needs to give its values from `row` on, bit for bit.

    Parameters
    ----------
    name : str
        Operator or function.
    window : int
        Rows that one value reads, or the rows of a shift.
    row : int
        First wanted row.

    Returns
    -------
    int
        May be negative; 0 for a recursive function, which needs the whole history.

    Notes
    -----
    A sliding state is exact from its last anchor at or before the wanted row.

    Examples
    --------
    >>> first_input_row("Max", 20, 300), first_input_row("Mean", 20, 300)
    (281, 237)
    """
    found = find_callable(name)
    if isinstance(found, Function):
        return 0 if found.recursive else row - (window - 1)
    if found is None:
        return row
    if found.sliding:
        row -= row % ANCHOR_ROWS
    return row - max(window, 0) if found.kind == SHIFT else row - max(window - 1, 0)
