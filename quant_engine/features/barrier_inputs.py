"""Inputs of barrier labels: prices laid out once per panel, and events grouped by asset.

Contract: prices are parsed here (what is not a positive number is NaN, delistings become rows) and
events are checked here (positions on the axes, sides); the scans behind trust both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.errors import DataError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.execution.delistings import NEVER, TerminalReturns, parse_delistings
from quant_engine.features import barrier_kernels as kernels
from quant_engine.features.labels import check_basis
from quant_engine.features.positions import parse_positions
from quant_engine.features.prices import cash_dividends, positive_prices

__all__ = [
    "BarrierEvents",
    "PricePaths",
    "barrier_events",
    "events_of_mask",
    "price_paths",
]


@dataclass(frozen=True, eq=False)
class PricePaths:
    """Prices of a panel, laid out for barrier scans; made once by :func:`price_paths`.

    Parameters
    ----------
    time : TimeAxis
        Rows.
    asset_ids : tuple of str
        Columns.
    price_basis : PriceBasis
        Basis of every price.
    arrays : PathArrays
        The prices, symbol-major, shape (N, T).
    """

    time: TimeAxis
    asset_ids: tuple[str, ...]
    price_basis: PriceBasis
    arrays: kernels.PathArrays


@dataclass(frozen=True, eq=False)
class BarrierEvents:
    """Events grouped by asset; made by :func:`barrier_events` or :func:`events_of_mask`.

    Parameters
    ----------
    arrays : EventArrays
        Rows, targets and sides, shape (E,); ``given`` is the place in the order of the caller.
    """

    arrays: kernels.EventArrays

    def __len__(self) -> int:
        return int(self.arrays.row.size)

    @property
    def asset(self) -> npt.NDArray[np.int64]:
        """Column of each event, shape (E,)."""
        first = self.arrays.first
        return np.repeat(np.arange(first.size - 1), np.diff(first))


def price_paths(
    panel: Panel,
    *,
    delistings: pd.DataFrame | None = None,
    terminal: TerminalReturns | None = None,
) -> PricePaths:
    """Lay the prices of a panel out for barrier scans.

    Parameters
    ----------
    panel : Panel
        Market panel (T, N) with ``close`` and, as the configuration asks, ``open``, ``high``,
        ``low``; optional ``dividend``. Not unadjusted prices.
    delistings : DataFrame, optional
        See :func:`quant_engine.execution.parse_delistings`.
    terminal : TerminalReturns, optional
        Assumptions for delistings of unknown outcome; the defaults without it.

    Returns
    -------
    PricePaths
        Symbol-major copies; a price that is not a positive number is NaN.

    Raises
    ------
    DataError
        Unadjusted prices or an unusable delisting table.
    MissingFieldError
        No close.

    Examples
    --------
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [11.0]])})
    >>> price_paths(panel).arrays.close.shape
    (1, 2)
    """
    check_basis(panel)
    deaths = parse_delistings(delistings, panel, terminal or TerminalReturns())

    def major(name: str) -> FloatVector:
        return np.ascontiguousarray(positive_prices(panel.field(name)).T, dtype=np.float64)

    absent = np.empty((0, 0))
    close = major("close")
    opened, high, low = (
        major(name) if name in panel.fields else absent for name in ("open", "high", "low")
    )
    cash = cash_dividends(panel)
    missing = np.isnan(close) & (np.isnan(opened) if opened.size else True)
    missing &= np.arange(close.shape[1]) >= deaths.first_row[:, None]
    gone = np.where(missing.any(axis=1), missing.argmax(axis=1) if missing.size else 0, NEVER)
    return PricePaths(
        panel.time,
        panel.asset_ids,
        panel.price_basis,
        kernels.PathArrays(
            opened,
            high,
            low,
            close,
            np.ascontiguousarray(cash.T) if cash.any() else absent,
            deaths.first_row,
            gone.astype(np.int64),
            deaths.terminal_return_frac,
        ),
    )


def barrier_events(
    paths: PricePaths,
    rows: npt.ArrayLike,
    assets: npt.ArrayLike,
    *,
    target_frac: npt.ArrayLike,
    side: npt.ArrayLike | None = None,
    last_rows: npt.ArrayLike | None = None,
) -> BarrierEvents:
    """Parse events and group them by asset (a stable counting sort).

    Parameters
    ----------
    paths : PricePaths
        The axes.
    rows, assets : array-like of int, shape (E,)
        Decision row and column of each event.
    target_frac : array-like, shape (E,)
        Unit of the barriers, fraction of the entry price; NaN = no event.
    side : array-like of int, shape (E,), optional
        1 long, -1 short, 0 no bet; long without it, and then profit and stop keep their own
        multiples (AFML 3.6 would make them equal).
    last_rows : array-like of int, shape (E,), optional
        Last row of each window instead of the holding period; -1 = without end.

    Returns
    -------
    BarrierEvents

    Raises
    ------
    DataError
        Arrays of different lengths, positions off the axes or not whole, or another side.

    Examples
    --------
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1", "B@US#1"), {"close": np.ones((2, 2))})
    >>> events = barrier_events(price_paths(panel), [0, 0, 1], [1, 0, 1], target_frac=[1, 2, 3])
    >>> events.asset, events.arrays.given, events.arrays.target_frac
    (array([0, 1, 1]), array([1, 0, 2], dtype=int32), array([2., 1., 3.]))
    """
    n_assets, n_rows = paths.arrays.close.shape
    row, asset = parse_positions("rows", rows), parse_positions("assets", assets)
    target = np.asarray(target_frac, dtype=np.float64)
    sides = np.ones(row.size, np.int8) if side is None else np.asarray(side)
    last = np.empty(0, np.int64) if last_rows is None else parse_positions("last_rows", last_rows)
    given = {"rows": row, "assets": asset, "target_frac": target, "side": sides}
    for name, values in (given if last_rows is None else {**given, "last_rows": last}).items():
        if values.ndim != 1 or values.size != row.size:
            raise DataError(
                name,
                wanted=f"one value per event ({row.size})",
                got=f"shape {values.shape}",
                hint="Give every event a row, an asset and a target.",
            )
    for name, values, low, high in (
        ("rows", row, 0, n_rows - 1),
        ("assets", asset, 0, n_assets - 1),
        ("side", sides, -1, 1),
    ):
        if values.size and not (values.min() >= low and values.max() <= high):
            raise DataError(
                name,
                wanted=f"whole numbers from {low} to {high}",
                got=f"{values.min()} to {values.max()}",
                hint="Events are positions on the axes of the prices.",
            )
    columns = (row, target, sides.astype(np.int8, copy=False), last)
    return BarrierEvents(kernels.group_by_asset(asset, n_assets, columns))


def events_of_mask(
    paths: PricePaths,
    mask: BoolMatrix,
    target_frac: FloatMatrix,
    *,
    side: npt.NDArray[np.integer] | None = None,
) -> BarrierEvents:
    """Events at the marked cells of a panel.

    Parameters
    ----------
    paths : PricePaths
        The axes.
    mask : ndarray of bool, shape (T, N)
        Where an event is.
    target_frac : ndarray, shape (T, N)
        Unit of the barriers, fraction, known at the close of its row; NaN = no event.
    side : ndarray of int, shape (T, N), optional
        1 long, -1 short, 0 no bet; long without it.

    Returns
    -------
    BarrierEvents

    Raises
    ------
    DataError
        Arrays of another shape than the prices, or another side.

    Examples
    --------
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.ones((2, 1))})
    >>> target = np.full((2, 1), 0.02)
    >>> len(events_of_mask(price_paths(panel), np.array([[True], [False]]), target))
    1
    """
    shape = paths.arrays.close.shape[::-1]
    for name, values in (("mask", mask), ("target_frac", target_frac), ("side", side)):
        if values is not None and values.shape != shape:
            raise DataError(
                name,
                wanted=f"shape {shape}, times x assets of the prices",
                got=values.shape,
                hint="Compute it on the same panel.",
            )
    rows, assets = np.nonzero(mask)
    return barrier_events(
        paths,
        rows,
        assets,
        target_frac=target_frac[rows, assets],
        side=None if side is None else side[rows, assets],
    )
