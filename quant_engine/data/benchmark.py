"""Benchmark returns on the sessions of a panel.

From a price file, a name of the panel, or equal weight over the members.

Both forms that the chain needs are given at once: close to close (regimes, tear sheet) and open to
open (labels and fills happen at opens).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import DataError
from quant_engine.core.panel import Panel
from quant_engine.data.bars import LoadedBars
from quant_engine.execution.delistings import TerminalReturns, parse_delistings

__all__ = ["Benchmark", "benchmark_of_asset", "benchmark_of_bars", "equal_weight_benchmark"]


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Simple total returns of a benchmark on the sessions of a panel.

    Parameters
    ----------
    name : str
        Display name.
    close_returns : ndarray of float64, shape (T,)
        From close(t-1) to close(t) in row t; NaN in the first row and where unknown.
    open_returns : ndarray of float64, shape (T,)
        From open(t) to open(t+1) in row t; NaN in the last row and where unknown.
    """

    name: str
    close_returns: FloatVector
    open_returns: FloatVector


def equal_weight_benchmark(
    panel: Panel,
    delistings: pd.DataFrame | None = None,
    terminal: TerminalReturns | None = None,
) -> Benchmark:
    """Average the returns of the members, rebalanced every session.

    Row t of the close form averages names that were members at t-1, row t of the open form names
    that are members at t. A name that delists counts once more with its last close and terminal
    return, stated or assumed as in labels and backtests.

    Parameters
    ----------
    panel : Panel
        With ``open``, ``close``, mask ``member``, optional ``dividend``.
    delistings : DataFrame, optional
        ``asset_id``, ``session`` (first without the asset), ``terminal_return``.
    terminal : TerminalReturns, optional
        Assumptions where the terminal return is unknown.

    Returns
    -------
    Benchmark

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> price = np.array([[10.0, 10.0], [11.0, 10.0]])
    >>> panel = Panel(axis, ("A@US#1", "B@US#1"), {"open": price, "close": price},
    ...     masks={"member": np.ones((2, 2), dtype=bool)})
    >>> equal_weight_benchmark(panel).close_returns.round(3)
    array([ nan, 0.05])
    """
    close, opened = panel.field("close"), panel.field("open")
    cash = np.nan_to_num(panel.fields["dividend"]) if "dividend" in panel.fields else 0.0
    paid = _terminal_values(panel, delistings, terminal or TerminalReturns())
    by_close = np.full(panel.shape, np.nan)
    by_close[1:] = np.where(np.isnan(paid), close + cash, paid)[1:] / close[:-1] - 1.0
    by_open = np.full(panel.shape, np.nan)
    by_open[:-1] = np.where(np.isnan(paid), opened + cash, paid)[1:] / opened[:-1] - 1.0
    member = panel.mask("member")
    before = np.zeros_like(member)
    before[1:] = member[:-1]
    return Benchmark("equal weight", _mean(by_close, before), _mean(by_open, member))


def benchmark_of_asset(panel: Panel, identifier: str) -> Benchmark:
    """Take one name of the panel as benchmark.

    Parameters
    ----------
    panel : Panel
        With ``open``, ``close``, optional ``dividend``.
    identifier : str
        Its asset_id.

    Returns
    -------
    Benchmark

    Raises
    ------
    DataError
        When the panel does not hold it.
    """
    if identifier not in panel.asset_ids:
        raise DataError(
            "benchmark",
            wanted="equal_weight, none, a price file or a name of the data",
            got=identifier,
            hint="Give a file with --benchmark FILE.",
        )
    column = panel.asset_ids.index(identifier)
    cash = np.zeros(panel.shape[0])
    if "dividend" in panel.fields:
        cash = np.nan_to_num(panel.field("dividend")[:, column])
    prices = panel.field("open")[:, column], panel.field("close")[:, column]
    return _of_prices(identifier.split("@")[0], *prices, cash)


def benchmark_of_bars(bars: LoadedBars, panel: Panel) -> Benchmark:
    """Put the bars of one symbol on the sessions of a panel.

    Parameters
    ----------
    bars : LoadedBars
        Of exactly one symbol; prices as their basis says, dividends added where they are given.
    panel : Panel
        Gives the sessions.

    Returns
    -------
    Benchmark
        NaN on sessions without a bar.

    Raises
    ------
    DataError
        For several symbols, or no common session.
    """
    if len(bars.tickers) != 1:
        raise DataError(
            "benchmark",
            wanted="a file with one symbol",
            got=f"{len(bars.tickers)} symbols",
            hint="Give the file of one index or fund with --benchmark FILE.",
        )
    frame = bars.frame.drop_duplicates("session", keep="last").set_index("session")
    aligned = frame.reindex(panel.time.index)
    if not aligned["close"].notna().any():
        raise DataError(
            "benchmark",
            wanted=f"bars between {panel.time.values[0]} and {panel.time.values[-1]}",
            got=f"{frame.index.min().date()} to {frame.index.max().date()}",
            hint="Give a benchmark that covers the data.",
        )
    cash = np.zeros(panel.shape[0])
    if "dividend" in aligned:
        cash = np.nan_to_num(aligned["dividend"].to_numpy())
    return _of_prices(
        bars.tickers[0], aligned["open"].to_numpy(), aligned["close"].to_numpy(), cash
    )


def _of_prices(name: str, opened: FloatVector, close: FloatVector, cash: FloatVector) -> Benchmark:
    by_close, by_open = np.full(close.size, np.nan), np.full(close.size, np.nan)
    by_close[1:] = (close + cash)[1:] / close[:-1] - 1.0
    by_open[:-1] = (opened + cash)[1:] / opened[:-1] - 1.0
    return Benchmark(name, by_close, by_open)


def _mean(values: FloatMatrix, chosen: np.ndarray) -> FloatVector:
    counted = chosen & np.isfinite(values)
    n = counted.sum(axis=1)
    total = np.where(counted, values, 0.0).sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _terminal_values(
    panel: Panel, delistings: pd.DataFrame | None, terminal: TerminalReturns
) -> FloatMatrix:
    """What a holder receives in the first row without the asset; NaN elsewhere, shape (T, N)."""
    values = np.full(panel.shape, np.nan)
    gone = parse_delistings(delistings, panel, terminal)
    (columns,) = np.nonzero((gone.first_row > 0) & (gone.first_row < panel.shape[0]))
    rows = gone.first_row[columns]
    last_close = panel.field("close")[rows - 1, columns]
    values[rows, columns] = last_close * (1.0 + gone.terminal_return_frac[columns])
    return values
