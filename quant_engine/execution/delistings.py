"""Delistings: when an asset stops existing for its holders and what they receive.

One parser and one set of assumptions, so that a label and the position that follows it end with the
same money.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError, SchemaMismatchError
from quant_engine.core.panel import Panel

DELISTING_COLUMNS = ("asset_id", "session", "terminal_return", "reason")
MERGER_REASONS = frozenset({"merger", "acquisition", "acquired", "takeover"})
NEVER = int(np.iinfo(np.int64).max // 2)
"""Row of an event that does not happen; half of the range, so that offsets cannot overflow."""


class TerminalReturns(FrozenConfig):
    """What holders receive on the last close when a delisting table does not say.

    Parameters
    ----------
    unknown_frac : float
        Simple return. -0.30 is the mean performance-related delisting return of NYSE and AMEX
        stocks (Shumway 1997).
    merger_frac : float
        The same where the reason is a merger or an acquisition: the last close is near the offer.

    Examples
    --------
    >>> TerminalReturns().unknown_frac
    -0.3
    """

    unknown_frac: float = Field(default=-0.30, ge=-1.0)
    merger_frac: float = Field(default=0.0, ge=-1.0)


class Delistings(NamedTuple):
    """Delistings aligned with the assets of a panel.

    Parameters
    ----------
    first_row : ndarray of int64, shape (N,)
        First row of the panel on or after the delisting; `NEVER` without one.
    terminal_return_frac : ndarray of float64, shape (N,)
        Simple return on the last close; NaN without a delisting.
    """

    first_row: npt.NDArray[np.int64]
    terminal_return_frac: FloatVector


def parse_delistings(
    delistings: pd.DataFrame | None, panel: Panel, terminal: TerminalReturns
) -> Delistings:
    """Align a delisting table with the assets of a panel.

    Parameters
    ----------
    delistings : DataFrame or None
        Columns ``asset_id`` and ``session`` (date from which the asset counts as delisted: its last
        session or a later one), optional ``terminal_return`` (simple, on the last close; NaN =
        unknown) and ``reason``. Assets outside the panel are ignored; of several rows of an asset
        the first session counts.
    panel : Panel
        Gives sessions and assets.
    terminal : TerminalReturns
        Assumptions where the return is unknown.

    Returns
    -------
    Delistings
        One row number and one return per asset.

    Raises
    ------
    SchemaMismatchError
        ``asset_id`` or ``session`` is absent.
    DataError
        A terminal return below -1.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1", "B@US#1"), {"close": np.ones((2, 2))})
    >>> gone = pd.DataFrame({"asset_id": ["B@US#1"], "session": ["2020-01-03"]})
    >>> parsed = parse_delistings(gone, panel, TerminalReturns())
    >>> int(parsed.first_row[1]), parsed.terminal_return_frac
    (1, array([ nan, -0.3]))
    """
    first_row = np.full(panel.shape[1], NEVER, dtype=np.int64)
    returns = np.full(panel.shape[1], np.nan)
    if delistings is None or delistings.empty:
        return Delistings(first_row, returns)
    if not set(DELISTING_COLUMNS[:2]) <= set(delistings.columns):
        raise SchemaMismatchError(
            "delistings",
            wanted="columns asset_id and session, optional terminal_return and reason",
            got=list(delistings.columns),
            hint="One row per delisted asset.",
        )
    # Written from the latest to the earliest, so that the first session of an asset stays.
    table = delistings.assign(session=pd.DatetimeIndex(delistings["session"])).sort_values(
        "session", ascending=False, kind="stable"
    )
    columns = pd.Index(panel.asset_ids).get_indexer(table["asset_id"].astype(str))
    rows = np.searchsorted(panel.time.values, table["session"].to_numpy().astype("datetime64[D]"))
    inside = columns >= 0
    first_row[columns[inside]] = rows[inside]
    returns[columns[inside]] = _paid(table, terminal)[inside]
    return Delistings(first_row, returns)


def _paid(table: pd.DataFrame, terminal: TerminalReturns) -> FloatVector:
    """Stated terminal returns, assumptions where there is none."""
    assumed = np.full(len(table), terminal.unknown_frac)
    if "reason" in table.columns:
        is_merger = table["reason"].astype(str).str.lower().isin(MERGER_REASONS).to_numpy()
        assumed[is_merger] = terminal.merger_frac
    if "terminal_return" not in table.columns:
        return assumed
    stated = table["terminal_return"].to_numpy(dtype=np.float64, na_value=np.nan)
    if (stated < -1.0).any():
        raise DataError(
            "delistings.terminal_return",
            wanted="simple returns of at least -1",
            got=float(np.nanmin(stated)),
            hint="-0.30 means 30 % below the last close; divide percent numbers by 100.",
        )
    return np.where(np.isnan(stated), assumed, stated)
