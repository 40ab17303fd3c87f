"""Holdings: what a book held after each close and filled at each open, rebuilt from its orders.

A stored backtest keeps orders and not weights: the orders say all, and are a hundred times smaller.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import DataError
from quant_engine.core.panel import PRICE_FIELDS, Panel, PriceBasis

EXPOSURE_TOLERANCE = 1e-6
"""Fraction of equity by which rebuilt exposures may differ from the recorded ones."""

PRICE_TOLERANCE = 1e-9
"""Relative distance within which a fill counts as one at the open."""

COLUMN_BLOCK = 256
"""Assets whose positions are rebuilt at a time, so that a large market needs little memory."""


def split_adjusted(panel: Panel) -> Panel:
    """Return a raw panel in shares of its first row.

    Parameters
    ----------
    panel : Panel
        Raw prices beside ``split_factor`` (new shares per old share from the open of the session
        on; NaN = 1), or prices that are adjusted already.

    Returns
    -------
    Panel
        Prices and dividends times the splits so far, volumes divided by them, without the splits;
        the panel itself where it is not raw.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> days = TimeAxis.sessions(["2024-05-02", "2024-05-03"])
    >>> fields = {"close": np.array([[10.0], [5.0]]), "split_factor": np.array([[np.nan], [2.0]])}
    >>> raw = Panel(days, ("A@US#1",), fields, price_basis=PriceBasis.RAW)
    >>> split_adjusted(raw).field("close").ravel().tolist()
    [10.0, 10.0]
    """
    if panel.price_basis is not PriceBasis.RAW:
        return panel
    growth = split_growth(panel.field("split_factor"))
    prices = (*PRICE_FIELDS, "dividend")
    fields = {
        name: values * growth if name in prices else values / growth
        for name, values in panel.fields.items()
        if name in (*prices, "volume")
    }
    return replace(panel, fields=fields, price_basis=PriceBasis.SPLIT_ADJ)


def split_growth(split_factor: FloatMatrix) -> npt.NDArray[np.float64]:
    """Shares that one share of the first row has become.

    Parameters
    ----------
    split_factor : ndarray, shape (T, N)
        New shares per old share from the open of the session on; NaN = 1.

    Returns
    -------
    ndarray of float64, shape (T, N)

    Examples
    --------
    >>> split_growth(np.array([[np.nan], [2.0], [np.nan]])).ravel().tolist()
    [1.0, 2.0, 2.0]
    """
    factor = np.nan_to_num(np.asarray(split_factor, dtype=np.float64), nan=1.0)
    return np.asarray(factor.cumprod(axis=0), dtype=np.float64)


def held_weights(
    orders: pd.DataFrame,
    daily: pd.DataFrame,
    *,
    closes: pd.DataFrame,
    growth: npt.NDArray[np.float64] | None = None,
) -> FloatMatrix:
    """Position value over equity after each close.

    Parameters
    ----------
    orders : DataFrame
        ``session, asset_id, filled_shares`` (signed) of a backtest, settlements included.
    daily : DataFrame indexed by session, R rows
        ``equity`` (currency) and ``gross_exposure`` (fraction) of the same backtest.
    closes : DataFrame indexed by session, one column per asset_id, N columns
        Closing prices in the basis of the backtest; NaN = no bar, then the last close counts.
    growth : ndarray, shape of `closes`, optional
        Of :func:`split_growth` for a backtest on raw prices, whose `closes` are then those of
        :func:`split_adjusted`.

    Returns
    -------
    ndarray of float64, shape (R, N)
        Fractions of equity, 0 = not held; NaN where equity is gone.

    Raises
    ------
    DataError
        Orders that the axes do not hold, or exposures that are not those of the record, as where
        shares changed without an order or a split.

    Examples
    --------
    >>> days = pd.to_datetime(["2024-05-02", "2024-05-03"])
    >>> orders = pd.DataFrame({"session": days[:1], "asset_id": ["A"], "filled_shares": [5.0]})
    >>> daily = pd.DataFrame({"equity": [100.0, 110.0], "gross_exposure": [0.5, 6 / 11]}, days)
    >>> held_weights(orders, daily, closes=pd.DataFrame({"A": [10.0, 12.0]}, index=days)).round(3)
    array([[0.5  ],
           [0.545]])
    """
    sessions = pd.DatetimeIndex(daily.index)
    rows, columns = _places(orders, sessions, closes)
    filled = orders["filled_shares"].to_numpy(dtype=np.float64)
    if growth is not None:
        filled = filled / growth[closes.index.get_indexer(sessions)[rows], columns]
    by_column = np.argsort(columns, kind="stable")
    equity = daily["equity"].to_numpy(dtype=np.float64)
    invested = np.where(equity > 0.0, equity, np.nan)[:, None]
    weights = np.empty((len(sessions), closes.shape[1]))
    for first in range(0, closes.shape[1], COLUMN_BLOCK):
        bounds = np.searchsorted(columns[by_column], (first, first + COLUMN_BLOCK))
        chosen = by_column[slice(*bounds)]
        block = closes.iloc[:, first : first + COLUMN_BLOCK]
        moves = np.zeros((len(sessions), block.shape[1]))
        np.add.at(moves, (rows[chosen], columns[chosen] - first), filled[chosen])
        marks = block.ffill().reindex(sessions).to_numpy(dtype=np.float64)
        shares = moves.cumsum(axis=0)
        # What was sold in parts leaves a rounding residue that is no position.
        shares[np.abs(shares) < 1e-9 * np.abs(moves).max(axis=0, initial=0.0)] = 0.0
        value = np.where(shares == 0.0, 0.0, shares * marks)
        weights[:, first : first + COLUMN_BLOCK] = value / invested
    gap = np.abs(np.abs(weights).sum(axis=1) - daily["gross_exposure"].to_numpy(dtype=np.float64))
    if not np.nanmax(gap, initial=0.0) <= EXPOSURE_TOLERANCE:
        raise DataError(
            "holdings",
            wanted="the gross exposure of the record",
            got=f"a difference of {np.nanmax(gap):.2e} of equity",
            hint="Shares that change without an order or a split cannot be rebuilt from orders.",
        )
    return weights


def opened_weights(
    orders: pd.DataFrame, daily: pd.DataFrame, *, opens: pd.DataFrame
) -> FloatMatrix:
    """Value filled at the open of each session over the equity before it.

    Parameters
    ----------
    orders : DataFrame
        ``session, asset_id, filled_shares`` (signed) and ``reference_price`` of a backtest.
    daily : DataFrame indexed by session, R rows
        ``equity`` (currency) and ``ret_net`` (fraction) of the same backtest.
    opens : DataFrame indexed by session, one column per asset_id, N columns
        Opening prices as they were traded; NaN = no bar.

    Returns
    -------
    ndarray of float64, shape (R, N)
        Signed fractions, 0 = nothing filled at the open. What filled at another price of the
        session (its close, a stop, a settlement) is not among it.

    Raises
    ------
    DataError
        Orders that the axes do not hold.

    Examples
    --------
    >>> day = pd.to_datetime(["2024-05-02"])
    >>> orders = pd.DataFrame(
    ...     {"session": day, "asset_id": "A", "filled_shares": 5.0, "reference_price": 10.0}
    ... )
    >>> daily = pd.DataFrame({"equity": [101.0], "ret_net": [0.01]}, index=day)
    >>> opened_weights(orders, daily, opens=pd.DataFrame({"A": [10.0]}, index=day)).round(9)
    array([[0.5]])
    """
    sessions = pd.DatetimeIndex(daily.index)
    rows, columns = _places(orders, sessions, opens)
    price = orders["reference_price"].to_numpy(dtype=np.float64)
    opened = opens.to_numpy(dtype=np.float64)[opens.index.get_indexer(sessions)[rows], columns]
    at_open = np.abs(price - opened) <= PRICE_TOLERANCE * opened
    value = orders["filled_shares"].to_numpy(dtype=np.float64)[at_open] * price[at_open]
    equity, net = (daily[name].to_numpy(dtype=np.float64) for name in ("equity", "ret_net"))
    before = np.concatenate((equity[:1] / (1.0 + net[:1]), equity[:-1]))
    found = np.zeros((len(sessions), opens.shape[1]))
    np.add.at(found, (rows[at_open], columns[at_open]), value)
    found /= np.where(before > 0.0, before, np.nan)[:, None]
    return found


def _places(
    orders: pd.DataFrame, sessions: pd.DatetimeIndex, prices: pd.DataFrame
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row of the record and column of the prices of each order."""
    rows = sessions.get_indexer(pd.DatetimeIndex(orders["session"]))
    columns = prices.columns.get_indexer(pd.Index(orders["asset_id"].astype("str")))
    if (rows < 0).any() or (columns < 0).any() or not sessions.isin(prices.index).all():
        raise DataError(
            "orders",
            wanted="sessions of the book and assets with prices",
            got=f"{int(((rows < 0) | (columns < 0)).sum())} other orders",
            hint="Pass orders, daily record and prices of one backtest.",
        )
    return rows, columns
