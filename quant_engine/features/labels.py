"""Forward labels: what a position decided after the close of t would earn, and over which span.

Time contract, with entry lag e (1 by default) and horizon h, in sessions:

* decision after the close of t; entry at open(t+e); exit at open(t+e+h);
* label span [t+e, t+e+h]: no price outside it can change the label;
* return = (exit + dividends with ex-session in (t+e, t+e+h])/entry - 1. Who buys at the open of an
  ex-session does not get the dividend; who still holds before the open of one does. Dividends are
  not reinvested inside the span. With the basis ``total_adj`` the prices hold them already.

What stands in for a missing open:

* entry open missing: no label, nobody could have entered;
* exit open missing, asset delisted on or before the exit session: last traded close inside the
  span x (1 + terminal return);
* exit open missing otherwise (a halt, or a series that just ends): last traded close inside the
  span. Waiting for the next open would stretch the span beyond what purging removes, and dropping
  the row would select on the future.

The open price is what the fill is modelled at; a close stands in only where there is no open.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, SchemaMismatchError
from quant_engine.core.panel import LabelPanel, Panel, PriceBasis
from quant_engine.execution.contract import ExecutionContract
from quant_engine.execution.delistings import Delistings, TerminalReturns, parse_delistings
from quant_engine.features.prices import cash_dividends, positive_prices
from quant_engine.stats.cross_section import group_mean

__all__ = [
    "LabelConfig",
    "check_basis",
    "forward_labels",
    "label_contract",
    "label_names",
]

LabelKind = Literal["ret", "excess", "sector_excess"]
SECTOR = "sector"


class LabelConfig(FrozenConfig):
    """Which labels to build.

    Parameters
    ----------
    horizon_sessions : int
        Sessions between entry and exit.
    entry_lag : int
        Sessions between decision and entry, at least 1: a decision made after a close cannot trade
        in the session that is over.
    kinds : tuple of {"ret", "excess", "sector_excess"}
        Total return, minus the benchmark over the same opens, minus the equal-weight mean of the
        asset's sector on that date.
    min_sector_assets : int
        Members with a label that a sector needs on a date; below it there is no sector label,
        because the mean would be mostly the asset itself.
    terminal : TerminalReturns
        Assumptions for delistings of unknown outcome.

    Examples
    --------
    >>> LabelConfig(horizon_sessions=5).entry_lag
    1
    """

    horizon_sessions: int = Field(default=10, ge=1)
    entry_lag: int = Field(default=1, ge=1)
    kinds: tuple[LabelKind, ...] = Field(default=("ret", "excess", "sector_excess"), min_length=1)
    min_sector_assets: int = Field(default=3, ge=2)
    terminal: TerminalReturns = TerminalReturns()


def forward_labels(
    panel: Panel,
    config: LabelConfig,
    *,
    benchmark_returns: FloatVector | None = None,
    delistings: pd.DataFrame | None = None,
) -> LabelPanel:
    """Build forward labels with their spans.

    Parameters
    ----------
    panel : Panel
        Daily market panel (T, N) with ``open`` and ``close``; optional ``dividend``, mask
        ``member``, group ``sector``. Not unadjusted prices.
    config : LabelConfig
        Horizon, entry lag, kinds.
    benchmark_returns : ndarray of float64, shape (T,), optional
        Simple return of the benchmark from open(t) to open(t+1), in row t; NaN = unknown, and then
        the excess of every span over it is NaN. Absent: no ``excess`` label is built.
    delistings : DataFrame, optional
        Columns ``asset_id``, ``session`` (first session without the asset; or ``last_session``,
        its last one, which gives the same labels), optional ``terminal_return`` (simple, on the
        last close; NaN = unknown) and ``reason``. Assets outside the panel are ignored; of several
        rows of one asset the first session counts.

    Returns
    -------
    LabelPanel
        float64 fields ``fwd_ret_{h}s``, ``fwd_excess_{h}s``, ``fwd_sector_excess_{h}s`` in the
        order of `config.kinds`, fractions; spans per row, NaT where they run past the data. A kind
        whose benchmark or sector is absent is not built.

    Raises
    ------
    ConfigError
        When no kind can be built, or the axis is not one of sessions.
    DataError
        For unadjusted prices or an unusable delisting table.
    SchemaMismatchError
        When the benchmark does not have one value per session.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> price = np.array([[10.0], [10.0], [11.0]])
    >>> panel = Panel(axis, ("A@US#1",), {"open": price, "close": price})
    >>> labels = forward_labels(panel, LabelConfig(horizon_sessions=1, kinds=("ret",)))
    >>> labels.values.field("fwd_ret_1s").round(3).ravel().tolist()
    [0.1, nan, nan]
    >>> str(labels.span_start[0]), str(labels.span_end[0]), str(labels.span_end[1])
    ('2020-01-03', '2020-01-06', 'NaT')
    """
    _check(panel, config, benchmark_returns)
    n_rows, first = panel.shape[0], config.entry_lag
    n_labels = max(n_rows - first - config.horizon_sessions, 0)
    deaths = parse_delistings(delistings, panel, config.terminal)
    total = np.full(panel.shape, np.nan)
    total[:n_labels] = _open_to_open(panel, first, config.horizon_sessions, deaths=deaths)
    fields: dict[str, FloatMatrix] = {}
    for kind in config.kinds:
        if kind == "ret":
            values = total
        elif kind == "excess" and benchmark_returns is not None:
            values = total - _compounded(benchmark_returns, config, n_labels)[:, None]
        elif kind == "sector_excess" and SECTOR in panel.groups:
            values = total - _sector_mean(total, panel, config.min_sector_assets)
        else:
            continue
        fields[f"fwd_{kind}_{config.horizon_sessions}s"] = values
    starts = np.full(n_rows, np.datetime64("NaT"), dtype="datetime64[D]")
    ends = starts.copy()
    sessions = panel.time.values
    starts[:n_labels] = sessions[first : first + n_labels]
    ends[:n_labels] = sessions[n_rows - n_labels :]
    labels = Panel(
        panel.time, panel.asset_ids, fields, panel.masks, panel.groups, panel.price_basis
    )
    return LabelPanel(labels, starts, ends)


def label_names(config: LabelConfig) -> tuple[str, ...]:
    """Field names of the kinds a configuration asks for.

    Parameters
    ----------
    config : LabelConfig
        Horizon and kinds.

    Returns
    -------
    tuple of str
        In the order of `config.kinds`.

    Examples
    --------
    >>> label_names(LabelConfig(horizon_sessions=5, kinds=("ret", "excess")))
    ('fwd_ret_5s', 'fwd_excess_5s')
    """
    return tuple(f"fwd_{kind}_{config.horizon_sessions}s" for kind in config.kinds)


def label_contract(config: LabelConfig, price_basis: PriceBasis) -> ExecutionContract:
    """What a position must do to earn the labels of a configuration.

    Parameters
    ----------
    config : LabelConfig
        Horizon, entry lag and delisting assumptions. The kinds are targets, not contracts: an
        excess label is the same trade, measured against another one.
    price_basis : PriceBasis
        Basis of the panel the labels are made of.

    Returns
    -------
    ExecutionContract

    Examples
    --------
    >>> label_contract(LabelConfig(horizon_sessions=5), PriceBasis.SPLIT_ADJ).horizon_sessions
    5
    """
    return ExecutionContract(
        horizon_sessions=config.horizon_sessions,
        price_basis=price_basis,
        entry_lag=config.entry_lag,
        terminal=config.terminal,
    )


def _open_to_open(panel: Panel, first: int, horizon: int, *, deaths: Delistings) -> FloatMatrix:
    # Row i of the result: entry at row i + first, exit at row i + first + horizon.
    prices, closes = positive_prices(panel.field("open")), positive_prices(panel.field("close"))
    n_labels = max(panel.shape[0] - first - horizon, 0)
    entry = prices[first : first + n_labels]
    value = prices[first + horizon :].copy() if n_labels else entry.copy()
    rows, columns = np.nonzero(np.isnan(value) & np.isfinite(entry))
    if rows.size:
        exit_rows = rows + first + horizon
        dead = deaths.first_row[columns] <= exit_rows
        traded = np.where(np.isfinite(closes), np.arange(len(closes))[:, None], -1)
        last = np.maximum.accumulate(traded, axis=0)[exit_rows, columns]
        stand_in = closes[last, columns] * np.where(
            dead, 1.0 + deaths.terminal_return_frac[columns], 1.0
        )
        value[rows, columns] = np.where(last >= rows + first, stand_in, np.nan)
    cash = cash_dividends(panel)
    if cash.any():
        # Summed row by row inside the span: a difference of running totals would let the bits of
        # rows outside the span into the label.
        for step in range(first + 1, first + horizon + 1):
            value += cash[step : step + n_labels]
    return value / entry - 1.0


def _compounded(benchmark_returns: FloatVector, config: LabelConfig, n_labels: int) -> FloatVector:
    out = np.full(benchmark_returns.size, np.nan)
    growth = np.ones(n_labels)
    for step in range(config.entry_lag, config.entry_lag + config.horizon_sessions):
        growth *= 1.0 + benchmark_returns[step : step + n_labels]
    out[:n_labels] = growth - 1.0
    return out


def _sector_mean(values: FloatMatrix, panel: Panel, min_assets: int) -> FloatMatrix:
    # The sector known at the decision; members of that session with a label form the mean.
    table = panel.group(SECTOR)
    mask = panel.mask("member") if "member" in panel.masks else None
    return group_mean(values, table.codes.astype(np.int64), mask=mask, min_assets=min_assets)


def _check(panel: Panel, config: LabelConfig, benchmark_returns: FloatVector | None) -> None:
    check_basis(panel)
    if panel.time.kind != "session":
        raise ConfigError(
            "panel", wanted="an axis of sessions", got=panel.time.kind, hint="Use daily bars."
        )
    if benchmark_returns is not None and benchmark_returns.shape != (panel.shape[0],):
        raise SchemaMismatchError(
            "benchmark_returns",
            wanted=f"one value per session ({panel.shape[0]})",
            got=benchmark_returns.shape,
            hint="Row t is the return from open(t) to open(t+1).",
        )
    buildable = {"ret"}
    buildable |= {"excess"} if benchmark_returns is not None else set()
    buildable |= {SECTOR + "_excess"} if SECTOR in panel.groups else set()
    if not buildable & set(config.kinds):
        raise ConfigError(
            "label kinds",
            wanted=f"one of {', '.join(sorted(buildable))}",
            got=", ".join(config.kinds),
            hint="Give a benchmark for excess labels and a sector group for sector labels.",
        )


def check_basis(panel: Panel) -> None:
    """Refuse prices in which a split would be read as a return.

    Parameters
    ----------
    panel : Panel
        Prices (T, N) that labels are to be made of.

    Raises
    ------
    DataError
        For unadjusted prices.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> check_basis(Panel(TimeAxis.sessions(["2020-01-02"]), (), {}))
    """
    if panel.price_basis is PriceBasis.RAW:
        raise DataError(
            "labels",
            wanted="prices adjusted for splits (split_adj or total_adj)",
            got=str(panel.price_basis),
            hint="A split between entry and exit would be read as a loss; adjust first.",
        )
