"""Prices, dividends and total returns of a panel, read the same way by features and labels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import DataError
from quant_engine.core.panel import PRICE_FIELDS, Panel, PriceBasis

__all__ = ["BAR_PRICES", "cash_dividends", "check_adjusted", "positive_prices", "total_returns"]

BAR_PRICES = frozenset({*PRICE_FIELDS, "vwap"})
"""Fields that are prices of their bar: positive or missing, and adjusted for splits."""


def total_returns(panel: Panel) -> FloatMatrix:
    """Close-to-close simple total return of each session.

    (close_t + dividend_t)/close_{t-1} - 1. With the basis ``total_adj`` the prices carry the
    dividends already and the dividend field is not read.

    Parameters
    ----------
    panel : Panel
        Field ``close``, optional ``dividend`` (cash per share in the basis of the prices on the
        ex-session; NaN = none).

    Returns
    -------
    ndarray of float64, shape (T, N)
        Fraction; NaN in the first row and where either close is missing.

    Raises
    ------
    MissingFieldError
        When the panel has no close.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> fields = {"close": np.array([[10.0], [9.9]]), "dividend": np.array([[0.0], [0.2]])}
    >>> total_returns(Panel(axis, ("A@US#1",), fields)).round(4).ravel().tolist()
    [nan, 0.01]
    """
    close = positive_prices(panel.field("close"))
    paid = close + cash_dividends(panel)
    out = np.full(close.shape, np.nan)
    out[1:] = paid[1:] / close[:-1] - 1.0
    return out


def positive_prices(values: FloatMatrix) -> FloatMatrix:
    """Prices with everything that is not a positive number as NaN.

    Parameters
    ----------
    values : ndarray, shape (T, N)
        Prices; NaN = not traded. A price of zero or below is a vendor's way of saying the same.

    Returns
    -------
    ndarray of float64, shape (T, N)
        The same unit.

    Examples
    --------
    >>> positive_prices(np.array([[10.0, 0.0, np.inf]])).tolist()
    [[10.0, nan, nan]]
    """
    wide = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(wide) & (wide > 0.0), wide, np.nan)


def check_adjusted(panel: Panel, names: Iterable[str], *, where: str) -> None:
    """Refuse formulas of prices or volumes that are not adjusted for splits.

    Parameters
    ----------
    panel : Panel
        Market panel.
    names : iterable of str
        Fields that the formulas read.
    where : str
        Whose formulas they are, for the message.

    Returns
    -------
    None
        The prices are adjusted, or not read.

    Raises
    ------
    DataError
        When unadjusted prices or volumes are read.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> raw = Panel(TimeAxis.sessions([]), (), {}, price_basis=PriceBasis.RAW)
    >>> check_adjusted(raw, ["earnings"], where="my set")
    """
    if panel.price_basis is PriceBasis.RAW and {*names} & {*BAR_PRICES, "volume"}:
        raise DataError(
            where,
            wanted="prices adjusted for splits (split_adj or total_adj)",
            got=str(panel.price_basis),
            hint="A window over unadjusted prices shows a split as a return; adjust first.",
        )


def cash_dividends(
    panel: Panel, rows: slice = slice(None), columns: slice = slice(None)
) -> FloatMatrix:
    """Cash dividends that the prices of the panel do not hold already.

    Parameters
    ----------
    panel : Panel
        Optional field ``dividend``: cash per share in the basis of the prices on the ex-session;
        NaN = none. With the basis ``total_adj`` it is not read.
    rows, columns : slice
        Wanted part; everything when left out.

    Returns
    -------
    ndarray of float64, shape of the wanted part
        Currency per share, 0 = none.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02"])
    >>> cash_dividends(Panel(axis, ("A@US#1",), {"dividend": np.array([[np.nan]])})).tolist()
    [[0.0]]
    """
    if panel.price_basis is PriceBasis.TOTAL_ADJ or "dividend" not in panel.fields:
        n_rows, n_assets = panel.shape
        return np.zeros((len(range(n_rows)[rows]), len(range(n_assets)[columns])))
    cash = np.asarray(panel.field("dividend")[rows, columns], dtype=np.float64)
    return np.where(np.isfinite(cash), cash, 0.0)
