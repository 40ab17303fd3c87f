"""Triple barrier: an event's label is the first of profit, stop and end of window that it meets.

Time contract, with entry lag e (1 by default) and holding period h, in bars:

* decision after the close of row t; entry at the open of t + e, the first price that can be traded;
* path ``"bars"``: high and low of every bar from the entry on, the window ends at the open of
  t + e + h. A price beyond a level at an open fills there (a gap); a bar that meets both levels is
  a stop, because the order of its extremes is not known; a stop goes off when its level is touched,
  a profit needs a price beyond its level. A bar's open lies between its low and its high, and a
  bar without them did not trade;
* path ``"closes"``: closes of the entry bar up to t + e + h, both comparisons strict, exits at
  closes (AFML 3.2; `CLOSE_TO_CLOSE` is that text, entry at the close of the event bar included);
* the label depends on the bars [t + e, exit row] and on nothing else.

Missing prices end a path as they end a forward label (`quant_engine.features.labels`): the last
close of the path stands in, times one plus the terminal return where the asset was delisted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatMatrix, FloatVector, TimeVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.panel import LabelPanel, Panel, PriceBasis, TimeAxis
from quant_engine.execution.contract import ExecutionContract
from quant_engine.execution.delistings import TerminalReturns
from quant_engine.features import barrier_kernels as kernels
from quant_engine.features.barrier_inputs import BarrierEvents, PricePaths

__all__ = [
    "BARRIERS",
    "CLOSE_TO_CLOSE",
    "PRICE_TYPES",
    "BarrierConfig",
    "BarrierLabels",
    "barrier_label_panel",
    "barrier_labels",
]

LabelForm: TypeAlias = Literal["barrier", "sign", "meta", "ret"]

BARRIERS = {
    kernels.PROFIT: "profit",
    kernels.STOP: "stop",
    kernels.VERTICAL: "vertical",
    kernels.DELISTED: "delisted",
    kernels.OPEN: "open",
    kernels.NO_ENTRY: "no_entry",
}
"""How an event ended, by code. ``open`` (still running at the end of the data) and ``no_entry``
(no price, no target, no side) have no label."""

PRICE_TYPES = ("none", "close", "open", "level", "last_close")
"""Which price an event was left at, by code; ``last_close`` stands in for a missing one."""


class BarrierConfig(FrozenConfig):
    """Where the barriers are and how a position is entered.

    Parameters
    ----------
    profit_multiple, stop_multiple : float
        Distance of the barriers from the entry price in targets; 0 = no such barrier.
    holding_bars : int or None
        Bars between entry and the end of the window; None = no end, and an event that meets no
        barrier stays open.
    min_target_frac : float
        Targets up to this are no event: what could be earned does not pay for the trade.
    path : {"bars", "closes"}
        Whether orders rest in the market and fill inside bars, or closes are looked at.
    entry_lag : int
        Bars between decision and entry.
    entry_price : {"open", "close"}
        Price of the entry bar.
    unsafe_same_bar : bool
        Allows `entry_lag` 0: a decision made after a close that trades at this very close.
    whole_windows : bool
        Whether events whose window runs past the data have no label even when they touched a
        barrier. Without it the newest labels are those of fast touches alone, which is not a
        fair sample of what the same decisions earn.

    Examples
    --------
    >>> BarrierConfig(profit_multiple=2.0, stop_multiple=1.0, holding_bars=20).entry_lag
    1
    """

    profit_multiple: float = Field(default=2.0, ge=0.0)
    stop_multiple: float = Field(default=2.0, ge=0.0)
    holding_bars: int | None = Field(default=20, ge=1)
    min_target_frac: float = Field(default=0.0, ge=0.0)
    path: Literal["bars", "closes"] = "bars"
    entry_lag: int = Field(default=1, ge=0)
    entry_price: Literal["open", "close"] = "open"
    unsafe_same_bar: bool = False
    whole_windows: bool = False

    @model_validator(mode="after")
    def _can_be_traded(self) -> Self:
        if self.entry_lag == 0 and not (self.unsafe_same_bar and self.entry_price == "close"):
            raise ConfigError(
                "entry_lag",
                wanted="at least 1, or 0 at the close with unsafe_same_bar=True",
                got=f"0 at the {self.entry_price}, unsafe_same_bar={self.unsafe_same_bar}",
                hint="A decision made after a close can trade at the next open at the earliest.",
            )
        return self

    def contract(
        self, price_basis: PriceBasis, terminal: TerminalReturns | None = None
    ) -> ExecutionContract:
        """What a position must do to earn these labels.

        Parameters
        ----------
        price_basis : PriceBasis
            Basis of the panel the labels are made of.
        terminal : TerminalReturns, optional
            The assumptions given to
            :func:`quant_engine.features.barrier_inputs.price_paths`; the defaults without it.

        Returns
        -------
        ExecutionContract
            Its horizon is the end of the window.

        Raises
        ------
        ConfigError
            Windows without a holding period.
        """
        if self.holding_bars is None:
            raise ConfigError(
                "holding_bars",
                wanted="a holding period",
                got=None,
                hint="A contract states after how many sessions a position is closed.",
            )
        return ExecutionContract(
            horizon_sessions=self.holding_bars,
            price_basis=price_basis,
            entry_lag=self.entry_lag,
            entry_price=self.entry_price,
            exit_price="barrier" if self.path == "bars" else "close",
            terminal=terminal or TerminalReturns(),
        )


CLOSE_TO_CLOSE = BarrierConfig(
    path="closes", entry_lag=0, entry_price="close", unsafe_same_bar=True
)
"""The text of AFML chapter 3: entry at the close of the event bar, exits at closes."""


@dataclass(frozen=True, eq=False)
class BarrierLabels:
    """What became of every event, with its span and the prices it used.

    Parameters
    ----------
    events : BarrierEvents
        The events; every array below stands in their order.
    config : BarrierConfig
        Barriers, entry and price types.
    time : TimeAxis
        Rows of the prices.
    exit_row : ndarray of int32, shape (E,)
        Row of the exit, -1 without a label.
    ret_frac : ndarray of float64, shape (E,)
        Simple return in the direction of the side, dividends included; NaN = no label.
    barrier : ndarray of int8, shape (E,)
        Code of `BARRIERS`.
    exit_price : ndarray of int8, shape (E,)
        Code of `PRICE_TYPES`.
    """

    events: BarrierEvents
    config: BarrierConfig
    time: TimeAxis
    exit_row: npt.NDArray[np.int32]
    ret_frac: FloatVector
    barrier: npt.NDArray[np.int8]
    exit_price: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return int(self.exit_row.size)

    @property
    def entry_row(self) -> npt.NDArray[np.int64]:
        """Row of the entry bar, shape (E,); past the data there is no label."""
        return self.events.arrays.row.astype(np.int64) + self.config.entry_lag

    @property
    def is_labelled(self) -> npt.NDArray[np.bool_]:
        """Whether an event has a label, shape (E,)."""
        return np.asarray(self.exit_row >= 0)

    def label(self, form: LabelForm) -> FloatVector:
        """Label of each event in one of four forms.

        Parameters
        ----------
        form : {"barrier", "sign", "meta", "ret"}
            ``barrier``: +1 profit, -1 stop, 0 neither. ``sign``: sign of the return at the exit
            (AFML 3.5). ``meta``: 1 where that return is above 0, else 0 (AFML 3.7). ``ret``: the
            return itself, a fraction. Returns are in the direction of the side.

        Returns
        -------
        ndarray of float64, shape (E,)
            NaN = no label.
        """
        known = self.is_labelled
        if form == "ret":
            return self.ret_frac
        if form == "barrier":
            touched = (self.barrier == kernels.PROFIT) | (self.barrier == kernels.STOP)
            values = np.where(touched, self.barrier, 0).astype(np.float64)
        elif form == "sign":
            values = np.sign(self.ret_frac)
        else:
            values = (self.ret_frac > 0.0).astype(np.float64)
        return np.where(known, values, np.nan)

    def spans(self) -> tuple[TimeVector, TimeVector]:
        """Times [t0, t1] of the entry and exit bars, shape (E,) each; NaT = no label."""
        known = self.is_labelled
        starts = np.full(len(self), np.datetime64("NaT"), dtype=self.time.values.dtype)
        ends = starts.copy()
        starts[known] = self.time.values[self.entry_row[known]]
        ends[known] = self.time.values[self.exit_row[known]]
        return starts, ends

    def in_given_order(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Put an array of shape (E,) back into the order in which the events were given."""
        out = np.empty_like(values)
        out[self.events.arrays.given] = values
        return out


def barrier_labels(
    paths: PricePaths, events: BarrierEvents, config: BarrierConfig
) -> BarrierLabels:
    """Find the first barrier that every event meets.

    Parameters
    ----------
    paths : PricePaths
        Prices.
    events : BarrierEvents
        Events on the axes of the prices.
    config : BarrierConfig
        Barriers, path and entry.

    Returns
    -------
    BarrierLabels
        One row per event in the order of `events`; an event without a label keeps its row, with
        the reason in ``barrier``.

    Raises
    ------
    DataError
        A price field that the path or the entry needs is absent, events of other prices, or a
        window that ends before its entry.

    Notes
    -----
    With target g, entry price p and side s, profit and stop stand at ``p (1 + s pt g)`` and
    ``p (1 - s sl g)``; returns are simple, ``s (exit/p - 1)`` (Lopez de Prado, Advances in
    Financial Machine Learning, 2018, snippets 3.2 to 3.7; the levels of a missing side are not
    made symmetric).

    Examples
    --------
    >>> from quant_engine.features.barrier_inputs import barrier_events, price_paths
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[100.0], [101.0], [104.0]])})
    >>> paths = price_paths(panel)
    >>> events = barrier_events(paths, [0], [0], target_frac=[0.015])
    >>> labels = barrier_labels(paths, events, CLOSE_TO_CLOSE)
    >>> BARRIERS[int(labels.barrier[0])], int(labels.exit_row[0]), labels.label("sign")
    ('profit', 2, array([1.]))
    """
    _demand_fields(paths, config)
    if events.arrays.first.size != len(paths.asset_ids) + 1:
        raise DataError(
            "events",
            wanted=f"events on the {len(paths.asset_ids)} assets of the prices",
            got=f"events on {events.arrays.first.size - 1}",
            hint="Parse the events with barrier_events on these prices.",
        )
    last = events.arrays.last_row
    early = (last >= 0) & (last < events.arrays.row[: last.size] + config.entry_lag)
    if early.any():
        raise DataError(
            "last_rows",
            wanted="windows that end at their entry bar or later",
            got=f"{int(early.sum())} that end before it",
            hint=f"The entry is {config.entry_lag} bars after the decision.",
        )
    n_events = len(events)
    touches = kernels.Touches(
        np.empty(n_events, np.int32),
        np.empty(n_events),
        np.empty(n_events, np.int8),
        np.empty(n_events, np.int8),
    )
    levels = kernels.Levels(
        config.profit_multiple,
        config.stop_multiple,
        config.min_target_frac,
        config.entry_lag,
        kernels.NO_ROW if config.holding_bars is None else config.holding_bars,
        config.entry_price == "open",
        config.whole_windows,
    )
    scan = kernels.scan_bars if config.path == "bars" else kernels.scan_closes
    scan(paths.arrays, events.arrays, levels, touches)
    return BarrierLabels(events, config, paths.time, *touches)


def barrier_label_panel(labels: BarrierLabels, panel: Panel) -> LabelPanel:
    """Lay barrier labels out as a label panel, each row with the span of its whole window.

    A label panel has one span per row, so the span is that of the longest possible path,
    [t + e, t + e + h]: purging by it removes more than `BarrierLabels.spans` asks for, never less.

    Parameters
    ----------
    labels : BarrierLabels
        At most one event per cell.
    panel : Panel
        Market panel (T, N) of the prices; gives axes, masks and groups.

    Returns
    -------
    LabelPanel
        Fields ``tb_barrier_{h}b``, ``tb_sign_{h}b``, ``tb_meta_{h}b``, ``tb_ret_{h}b``; NaN where
        there is no event or no label. Rows whose window runs past the data have no span and no
        label.

    Raises
    ------
    ConfigError
        Windows without a holding period, or an axis that is not one of sessions.
    DataError
        Two events in one cell, or a panel of another shape.

    Examples
    --------
    >>> from quant_engine.features.barrier_inputs import barrier_events, price_paths
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[100.0], [101.0], [104.0]])})
    >>> config = BarrierConfig(path="closes", entry_price="close", holding_bars=1)
    >>> paths = price_paths(panel)
    >>> events = barrier_events(paths, [0], [0], target_frac=[0.01])
    >>> wide = barrier_label_panel(barrier_labels(paths, events, config), panel)
    >>> wide.values.field("tb_barrier_1b").ravel(), str(wide.span_end[0])
    (array([ 1., nan, nan]), '2020-01-06')
    """
    config, arrays = labels.config, labels.events.arrays
    n_rows = len(labels.time)
    if config.holding_bars is None or arrays.last_row.size or labels.time.kind != "session":
        raise ConfigError(
            "labels",
            wanted="a holding period that is the same for all events, on sessions",
            got=f"holding_bars={config.holding_bars}, a {labels.time.kind} axis",
            hint="A label panel has one span per session; use BarrierLabels.spans otherwise.",
        )
    cells = arrays.row.astype(np.int64) * panel.shape[1] + labels.events.asset
    if panel.time != labels.time or np.unique(cells).size != cells.size:
        raise DataError(
            "labels",
            wanted="at most one event per session and asset of the panel",
            got=f"{cells.size} events on {n_rows} sessions, panel {panel.shape}",
            hint="Label the events of one signal at a time, on the panel of its prices.",
        )
    reach = config.entry_lag + config.holding_bars
    n_whole = max(n_rows - reach, 0)
    fields: dict[str, FloatMatrix] = {}
    forms: tuple[LabelForm, ...] = ("barrier", "sign", "meta", "ret")
    for form in forms:
        wide = np.full(panel.shape, np.nan)
        wide.ravel()[cells] = labels.label(form)
        wide[n_whole:] = np.nan
        fields[f"tb_{form}_{config.holding_bars}b"] = wide
    starts = np.full(n_rows, np.datetime64("NaT"), dtype="datetime64[D]")
    ends = starts.copy()
    starts[:n_whole] = labels.time.values[config.entry_lag : config.entry_lag + n_whole]
    ends[:n_whole] = labels.time.values[n_rows - n_whole :]
    values = Panel(
        panel.time, panel.asset_ids, fields, panel.masks, panel.groups, panel.price_basis
    )
    return LabelPanel(values, starts, ends)


def _demand_fields(paths: PricePaths, config: BarrierConfig) -> None:
    needed = {"close", config.entry_price} | (
        {"high", "low", "open"} if config.path == "bars" else set()
    )
    absent = sorted(name for name in needed if getattr(paths.arrays, name).shape == (0, 0))
    if absent and paths.arrays.close.size:
        raise DataError(
            "prices",
            wanted=f"the fields {', '.join(sorted(needed))}",
            got=f"no {', '.join(absent)}",
            hint="Use path='closes' with entry_price='close' where closes are all there is.",
        )
