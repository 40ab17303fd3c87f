"""The arrays that quality rules see, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["BarArrays", "Hits", "Limits", "RuleSpec", "close_ratio", "constant_hits", "row_hits"]

Rows = npt.NDArray[np.int64]
Limits = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class BarArrays:
    """Bars sorted by symbol and session, as arrays.

    Parameters
    ----------
    code : ndarray of int64, shape (R,)
        Position of the row's symbol in `tickers`.
    day : ndarray of datetime64[D], shape (R,)
        Session date, ascending inside a symbol.
    fields : mapping of str to ndarray of float64, shape (R,)
        ``open high low close volume`` and optional fields; NaN = no value.
    tickers : tuple of str
        Display symbols.
    sessions : ndarray of datetime64[D], shape (S,)
        Sessions of the exchange from the first to the last row.
    as_of : datetime64[D] or None
        Dates after it are in the future; None = not checked.
    n_rows_in : ndarray of int64, shape (symbols,)
        Rows each symbol had before any rule.
    """

    code: npt.NDArray[np.int64]
    day: npt.NDArray[np.datetime64]
    fields: Mapping[str, npt.NDArray[np.float64]]
    tickers: tuple[str, ...]
    sessions: npt.NDArray[np.datetime64]
    as_of: np.datetime64 | None
    n_rows_in: npt.NDArray[np.int64]

    def keep(self, rows: npt.NDArray[np.bool_]) -> BarArrays:
        """Return the bars of the rows that are True."""
        return BarArrays(
            code=self.code[rows],
            day=self.day[rows],
            fields={name: values[rows] for name, values in self.fields.items()},
            tickers=self.tickers,
            sessions=self.sessions,
            as_of=self.as_of,
            n_rows_in=self.n_rows_in,
        )

    def per_symbol(self, rows: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        """Count rows per symbol, all or those that are True."""
        codes = self.code if rows is None else self.code[rows]
        return np.bincount(codes, minlength=len(self.tickers))


@dataclass(frozen=True, eq=False)
class Hits:
    """What a rule found.

    Parameters
    ----------
    where : ndarray of int64, shape (H,)
        Rows for a row rule, symbol codes for a symbol rule.
    value : ndarray of float64, shape (H,)
        The number that broke the rule; NaN where there is none.
    message : sequence of str, length H
        One sentence each.
    """

    where: Rows
    value: npt.NDArray[np.float64]
    message: Sequence[str]


@dataclass(frozen=True)
class RuleSpec:
    """One rule: its finder and what a profile may do with it.

    Parameters
    ----------
    find : callable
        ``find(bars, limits) -> Hits``.
    scope : str
        ``"row"`` or ``"symbol"``.
    actions : tuple of str
        Actions that make sense for it.
    limits : mapping of str to float
        Names and defaults of its limits.
    """

    find: Callable[[BarArrays, Limits], Hits]
    scope: str
    actions: tuple[str, ...]
    limits: Mapping[str, float] = field(default_factory=dict)


def same_symbol(bars: BarArrays, lag: int) -> npt.NDArray[np.bool_]:
    """Tell for each row whether the row `lag` before it is of the same symbol.

    Parameters
    ----------
    bars : BarArrays
        Sorted bars.
    lag : int
        At least 1.

    Returns
    -------
    ndarray of bool, shape (R,)
    """
    same = np.zeros(bars.code.size, dtype=bool)
    same[lag:] = bars.code[lag:] == bars.code[:-lag]
    return same


def close_ratio(bars: BarArrays) -> npt.NDArray[np.float64]:
    """Close over the symbol's previous close, ``r_t = close_t / close_(t-1)``.

    Parameters
    ----------
    bars : BarArrays
        Sorted bars.

    Returns
    -------
    ndarray of float64, shape (R,)
        NaN in each symbol's first row and where a close is missing or not positive.
    """
    close = np.where(bars.fields["close"] > 0, bars.fields["close"], np.nan)
    ratio = np.full(close.size, np.nan)
    ratio[1:] = close[1:] / close[:-1]
    ratio[~same_symbol(bars, 1)] = np.nan
    return ratio


def row_hits(
    rows: npt.NDArray[np.bool_], value: npt.NDArray[np.float64], message: Callable[[float], str]
) -> Hits:
    """Return the rows that are True as hits, each with a sentence made from its value.

    Parameters
    ----------
    rows : ndarray of bool, shape (R,)
        Rows (or symbols) that broke the rule.
    value : ndarray of float64, shape (R,)
        The number that broke it.
    message : callable
        Sentence from a value.

    Returns
    -------
    Hits
    """
    where = np.flatnonzero(rows)
    found = value[where]
    return Hits(where, found, [message(float(v)) for v in found])


def constant_hits(rows: npt.NDArray[np.bool_], sentence: str) -> Hits:
    """Return the rows that are True as hits that share one sentence and have no value.

    Parameters
    ----------
    rows : ndarray of bool, shape (R,)
        Rows that broke the rule.
    sentence : str
        Message of each.

    Returns
    -------
    Hits
    """
    return row_hits(rows, np.full(rows.size, np.nan), lambda _: sentence)
