"""What a backtest returns: its records, and frames of them for people, made when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from numba import njit
from pandas.api.extensions import ExtensionArray

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.facts import lot_pnl, order_facts, order_value, trade_facts
from quant_engine.backtest.inputs import Signals
from quant_engine.backtest.kernel_state import DAILY_COLUMNS, REASONS, STATUSES, Run
from quant_engine.backtest.performance import (
    Metrics,
    monthly_returns,
    regime_breakdown,
    summarize,
)
from quant_engine.core.arrays import FloatVector
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.core.units import BPS_PER_UNIT
from quant_engine.stats.trailing_beta import trailing_beta

DAILY_RESULT_COLUMNS = (
    "equity",
    "ret_net",
    "ret_gross",
    "ret_hedged",
    "cash",
    "gross_exposure",
    "net_exposure",
    "n_long",
    "n_short",
    "turnover",
    "traded_value",
    "cost_fees",
    "cost_spread",
    "cost_impact",
    "cost_borrow",
    "dividends",
    "interest",
    "settlement_pnl",
    "benchmark_ret",
    "beta",
    "regime",
)
TRADE_COLUMNS = (
    "trade_id",
    "asset_id",
    "side",
    "tranche",
    "decision_session",
    "entry_session",
    "exit_session",
    "entry_price",
    "exit_price",
    "entry_reference_price",
    "exit_reference_price",
    "entry_decision_price",
    "exit_decision_price",
    "predicted",
    "score",
    "actual_net_return",
    "actual_gross_return",
    "pnl_net",
    "pnl_gross",
    "regime",
    "confidence",
    "holding_sessions",
    "shares",
    "entry_value",
    "size_frac",
    "exit_reason",
    "fill_ratio",
    "entry_spread_bps",
    "exit_spread_bps",
    "entry_impact_bps",
    "exit_impact_bps",
    "cost_fees",
    "cost_spread",
    "cost_impact",
    "cost_borrow",
    "dividends",
)
ORDER_COLUMNS = (
    "decision_session",
    "session",
    "asset_id",
    "tranche",
    "side",
    "reason",
    "status",
    "ordered_shares",
    "filled_shares",
    "fill_ratio",
    "decision_price",
    "reference_price",
    "fill_price",
    "traded_value",
    "adv_value",
    "participation_frac",
    "cost_fees",
    "cost_spread",
    "cost_impact",
)


_ORDER_NUMBERS = ORDER_COLUMNS[ORDER_COLUMNS.index("ordered_shares") :]
_TRADE_NUMBERS = (
    "entry_price",
    "exit_price",
    "entry_reference_price",
    "exit_reference_price",
    "entry_decision_price",
    "exit_decision_price",
    "actual_net_return",
    "actual_gross_return",
    "pnl_net",
    "pnl_gross",
    "shares",
    "entry_value",
    "size_frac",
    "fill_ratio",
    "entry_spread_bps",
    "exit_spread_bps",
    "entry_impact_bps",
    "exit_impact_bps",
    "cost_fees",
    "cost_spread",
    "cost_impact",
    "cost_borrow",
    "dividends",
)
"""Columns of the two kernels below, in their order."""


@dataclass(frozen=True, eq=False)
class RunContext:
    """Aligned facts of the simulated rows, for turning records into frames.

    Parameters
    ----------
    panel : Panel
        Parsed panel cut to the simulated rows; row 0 is the first decision session.
    signals : Signals
        Scores of the same rows.
    regimes : ndarray of int64, shape (R,)
        Label known at each close, -1 = unknown.
    benchmark_returns : ndarray of float64, shape (R,), or None
        Per session.
    config : BacktestConfig
        Settings.
    reasons, statuses : tuple of str
        Names of the kernel's codes.
    """

    panel: Panel
    signals: Signals
    regimes: npt.NDArray[np.int64]
    benchmark_returns: FloatVector | None
    config: BacktestConfig
    reasons: tuple[str, ...] = REASONS
    statuses: tuple[str, ...] = STATUSES

    @property
    def sessions(self) -> pd.DatetimeIndex:
        """Simulated sessions; the first one only decides."""
        return self.panel.time.index.rename("session")

    @property
    def stamps(self) -> npt.NDArray[np.datetime64]:
        """The simulated sessions in microseconds, shape (R,)."""
        return self.panel.time.values.astype("datetime64[us]")


@dataclass(frozen=True, eq=False, repr=False)
class BacktestResult:
    """A finished run. Money is in the currency of the prices, returns are simple fractions.

    It keeps the records of the run. Frames and metrics are made of them when they are first asked
    for, and kept.

    Parameters
    ----------
    run : Run
        Records of the day loop.
    context : RunContext
        Aligned facts of the simulated rows.
    cost_profile_name, cost_profile_id : str
        Cost assumptions and their digest.
    """

    run: Run
    context: RunContext
    cost_profile_name: str
    cost_profile_id: str

    shown: ClassVar[tuple[str, ...]] = (
        "daily",
        "trades",
        "orders",
        "summary",
        "regime_breakdown",
        "monthly_returns",
        "exposures",
        "weights",
        "config",
        "cost_profile_name",
        "cost_profile_id",
        "price_basis",
    )
    """What a result is made of, for whoever looks at it."""

    def __repr__(self) -> str:
        parts = (f"{name}={getattr(self, name)!r}" for name in self.shown)
        return f"{type(self).__name__}({', '.join(parts)})"

    @cached_property
    def daily(self) -> pd.DataFrame:
        """One row per session after the first decision, `DAILY_RESULT_COLUMNS`, by ``session``.

        ``ret_gross`` adds back the session's costs on the same starting equity, so gross minus net
        P&L is the sum of the four cost columns. ``ret_hedged`` = ret_net - beta * benchmark_ret
        with the beta known at the previous close (NaN while there is none). ``turnover`` is traded
        value / 2 / equity at the previous close. ``regime`` is the label known at the previous
        close, -1 = unknown.
        """
        return daily_frame(self.run, self.context)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """One row per round trip of a tranche in an asset, `TRADE_COLUMNS`, in order of closing.

        The positions still open come last with exit_reason ``end_of_run``, marked at the last close
        without exit costs. ``pnl_net`` of all trades plus interest = change of equity.
        """
        return trades_frame(self.run, self.context)

    @cached_property
    def orders(self) -> pd.DataFrame:
        """One row per order, filled or not, `ORDER_COLUMNS`."""
        return orders_frame(self.run, self.context)

    @cached_property
    def summary(self) -> Metrics:
        """Flat named metrics; None = does not exist."""
        context = self.context
        return summarize(
            self.daily,
            trade_facts(self.run.trades, context.reasons),
            order_facts(self.run.orders, context.reasons, context.statuses),
            config=context.config,
        )

    @cached_property
    def regime_breakdown(self) -> pd.DataFrame:
        """Performance by ``regime``."""
        return regime_breakdown(
            self.daily,
            self.trades,
            initial_equity_usd=self.config.initial_equity_usd,
            periods_per_year=self.config.periods_per_year,
        )

    @cached_property
    def monthly_returns(self) -> pd.DataFrame:
        """Compounded returns by ``month``."""
        return monthly_returns(self.daily)

    @cached_property
    def weights(self) -> Panel:
        """Field ``weight``: position value / equity after each close, shape (R, N)."""
        return weights_panel(self.run, self.context)

    @cached_property
    def exposures(self) -> pd.DataFrame:
        """Exposures by ``session``, fractions of equity.

        long, short, gross, net, largest_weight, and ``sector:NAME`` net where the panel has
        sectors.
        """
        return exposures_frame(self.weights)

    @property
    def config(self) -> BacktestConfig:
        """Settings of the run."""
        return self.context.config

    @property
    def price_basis(self) -> PriceBasis:
        """Basis of the prices that filled."""
        return self.context.panel.price_basis


def daily_frame(run: Run, context: RunContext) -> pd.DataFrame:
    """Build the daily frame from the kernel's matrix.

    Parameters
    ----------
    run : Run
        Kernel output.
    context : RunContext
        Aligned facts.

    Returns
    -------
    DataFrame indexed by ``session``
        `DAILY_RESULT_COLUMNS`, from the session after the first decision.
    """
    stop = run.n_rows
    column = {name: run.daily[:stop, i] for i, name in enumerate(DAILY_COLUMNS)}
    equity = column["equity"]
    start = equity[:-1]
    costs = sum(column[n] for n in ("cost_fees", "cost_spread", "cost_impact", "cost_borrow"))
    net = equity[1:] / start - 1.0
    benchmark = np.full(stop - 1, np.nan)
    if context.benchmark_returns is not None:
        benchmark = context.benchmark_returns[1:stop]
    beta = trailing_beta(
        net,
        benchmark,
        window_sessions=context.config.beta_sessions,
        min_sessions=context.config.beta_min_sessions,
    )
    long_value, short_value = column["long_value"][1:], column["short_value"][1:]
    invested = np.where(equity[1:] > 0.0, equity[1:], np.nan)
    values = {
        "equity": equity[1:],
        "ret_net": net,
        "ret_gross": (equity[1:] + costs[1:]) / start - 1.0,
        "ret_hedged": net - beta * benchmark,
        "cash": column["cash"][1:],
        "gross_exposure": (long_value + short_value) / invested,
        "net_exposure": (long_value - short_value) / invested,
        "n_long": column["n_long"][1:].astype(np.int64),
        "n_short": column["n_short"][1:].astype(np.int64),
        "turnover": column["traded_value"][1:] / 2.0 / start,
        "benchmark_ret": benchmark,
        "beta": beta,
        "regime": context.regimes[: stop - 1].astype(np.int8),
    }
    kept = {name: column[name][1:] for name in DAILY_COLUMNS if name not in values}
    frame = pd.DataFrame({**kept, **values}, index=context.sessions[1:stop])
    return frame[list(DAILY_RESULT_COLUMNS)]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _bps(cost, value):  # noqa: ANN001 -- compiled
    """Cost in bps of value; NaN where nothing was traded (a delisting that paid nothing)."""
    return cost / value * BPS_PER_UNIT if value > 0.0 else np.nan


def trades_frame(run: Run, context: RunContext) -> pd.DataFrame:
    """Build one row per round trip.

    ``entry_reference_price`` is the average open at which the entry fills happened and
    ``entry_price`` what was effectively paid per share: the reference plus half-spread and impact
    for a buy, minus them for a sale. Fees and borrow are separate. ``entry_decision_price`` is the
    close on which the size was decided. ``predicted`` is the expected return where the scores
    carry one, else the score. Returns are P&L over the value bought into the position.

    Parameters
    ----------
    run : Run
        Kernel output.
    context : RunContext
        Aligned facts.

    Returns
    -------
    DataFrame
        `TRADE_COLUMNS`.
    """
    lot = run.trades
    stamps, whole, codes, numbers = columns = _room(lot.size, 3, 3, 2, len(_TRADE_NUMBERS))
    _fill_trades(lot, context.stamps, *columns)
    decided, entered, left = stamps
    asset, tranche, held = whole
    values = {
        "trade_id": np.arange(lot.size),
        "asset_id": _asset_names(context.panel, asset),
        "side": _names(("short", "long"), codes[0]),
        "tranche": tranche,
        "decision_session": decided,
        "entry_session": entered,
        "exit_session": left,
        "holding_sessions": held,
        "exit_reason": _names(context.reasons, codes[1]),
        **_trade_signals(lot, context),
        **dict(zip(_TRADE_NUMBERS, numbers, strict=True)),
    }
    return pd.DataFrame({name: values[name] for name in TRADE_COLUMNS}, copy=False)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_trades(lots, sessions, stamps, whole, codes, numbers):  # noqa: ANN001 -- compiled
    """Fill the columns in one pass over the lots."""
    for j in range(lots.size):
        lot = lots[j]
        stamps[0, j] = sessions[lot.decision_row]
        stamps[1, j], stamps[2, j] = sessions[lot.entry_row], sessions[lot.exit_row]
        whole[0, j], whole[1, j] = lot.asset, lot.tranche
        whole[2, j] = lot.exit_row - lot.entry_row
        codes[0, j], codes[1, j] = lot.side > 0, lot.exit_reason
        entry_cost = lot.entry_spread + lot.entry_impact
        exit_cost = lot.exit_spread + lot.exit_impact
        gross, net = lot_pnl(lot)
        numbers[0, j] = (lot.entry_value + lot.side * entry_cost) / lot.entry_shares
        numbers[1, j] = (lot.exit_value - lot.side * exit_cost) / lot.exit_shares
        numbers[2, j] = lot.entry_value / lot.entry_shares
        numbers[3, j] = lot.exit_value / lot.exit_shares
        numbers[4, j] = lot.entry_decision_value / lot.entry_shares
        numbers[5, j] = lot.exit_decision_value / lot.exit_shares
        numbers[6, j], numbers[7, j] = net / lot.entry_value, gross / lot.entry_value
        numbers[8, j], numbers[9, j] = net, gross
        numbers[10, j], numbers[11, j] = lot.entry_shares, lot.entry_value
        numbers[12, j] = lot.first_value / lot.equity_at_decision
        numbers[13, j] = lot.entry_shares / lot.ordered_shares
        numbers[14, j] = _bps(lot.entry_spread, lot.entry_value)
        numbers[15, j] = _bps(lot.exit_spread, lot.exit_value)
        numbers[16, j] = _bps(lot.entry_impact, lot.entry_value)
        numbers[17, j] = _bps(lot.exit_impact, lot.exit_value)
        numbers[18, j], numbers[19, j] = lot.fees, lot.entry_spread + lot.exit_spread
        numbers[20, j] = lot.entry_impact + lot.exit_impact
        numbers[21, j], numbers[22, j] = lot.borrow, lot.dividends


def _trade_signals(lot: npt.NDArray[np.void], context: RunContext) -> dict[str, Any]:
    where = (lot["decision_row"], lot["decided_asset"])
    signals = context.signals
    score, expected, confidence = signals.score, signals.expected_return_frac, signals.confidence
    return {
        "score": score[where],
        "predicted": (score if expected is None else expected)[where],
        "confidence": np.full(lot.size, np.nan) if confidence is None else confidence[where],
        "regime": context.regimes[lot["decision_row"]].astype(np.int8),
    }


def orders_frame(run: Run, context: RunContext) -> pd.DataFrame:
    """Build one row per order, filled or not.

    Parameters
    ----------
    run : Run
        Kernel output.
    context : RunContext
        Aligned facts.

    Returns
    -------
    DataFrame
        `ORDER_COLUMNS`; shares signed (positive = buy). ``reference_price`` is the open of the fill
        session (the settlement price of a delisting), NaN where the asset did not trade;
        ``fill_price`` includes half-spread and impact, NaN where nothing filled.
    """
    order = run.orders
    stamps, whole, codes, numbers = columns = _room(order.size, 2, 2, 3, len(_ORDER_NUMBERS))
    _fill_orders(order, context.stamps, *columns)
    values = {
        "decision_session": stamps[0],
        "session": stamps[1],
        "asset_id": _asset_names(context.panel, whole[0]),
        "tranche": whole[1],
        "side": _names(("sell", "buy"), codes[0]),
        "reason": _names(context.reasons, codes[1]),
        "status": _names(context.statuses, codes[2]),
        **dict(zip(_ORDER_NUMBERS, numbers, strict=True)),
    }
    return pd.DataFrame({name: values[name] for name in ORDER_COLUMNS}, copy=False)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_orders(orders, sessions, stamps, whole, codes, numbers):  # noqa: ANN001 -- compiled
    """Fill the columns in one pass over the orders."""
    for j in range(orders.size):
        order = orders[j]
        ordered, filled, reference = (
            order.ordered_shares, order.filled_shares, order.reference_price,
        )  # fmt: skip
        traded = order_value(order)
        stamps[0, j], stamps[1, j] = sessions[order.decision_row], sessions[order.row]
        whole[0, j], whole[1, j] = order.asset, order.tranche
        codes[0, j], codes[1, j], codes[2, j] = ordered > 0.0, order.reason, order.status
        numbers[0, j], numbers[1, j], numbers[2, j] = ordered, filled, filled / ordered
        numbers[3, j], numbers[4, j] = order.decision_price, reference
        numbers[5, j] = np.nan
        if filled != 0.0:
            numbers[5, j] = reference + (order.spread + order.impact) / filled
        numbers[6, j], numbers[7, j] = traded, order.adv_value
        numbers[8, j] = traded / order.adv_value
        numbers[9, j], numbers[10, j], numbers[11, j] = order.fee, order.spread, order.impact


def _room(
    n: int, n_stamps: int, n_whole: int, n_codes: int, n_numbers: int
) -> tuple[
    npt.NDArray[np.datetime64], npt.NDArray[np.int64], npt.NDArray[np.int8], npt.NDArray[np.float64]
]:
    """Room for columns of n rows. numpy asks for large pages, compiled code would not."""
    return (
        np.empty((n_stamps, n), "datetime64[us]"),
        np.empty((n_whole, n), np.int64),
        np.empty((n_codes, n), np.int8),
        np.empty((n_numbers, n)),
    )


def weights_panel(run: Run, context: RunContext) -> Panel:
    """Position value over equity after each close.

    Parameters
    ----------
    run : Run
        Kernel output.
    context : RunContext
        Aligned facts.

    Returns
    -------
    Panel
        Field ``weight``, 0 = not held, NaN when equity is gone; the sessions of the daily frame.
    """
    equity = run.daily[1 : run.n_rows, DAILY_COLUMNS.index("equity")]
    invested = np.where(equity > 0.0, equity, np.nan)
    cut = context.panel.rows(1, run.n_rows)
    weight = run.positions[1 : run.n_rows] / invested[:, None]
    return Panel(cut.time, cut.asset_ids, {"weight": weight}, {}, cut.groups, cut.price_basis)


def exposures_frame(weights: Panel) -> pd.DataFrame:
    """Long, short, gross, net and sector exposure per session.

    Parameters
    ----------
    weights : Panel
        Of `weights_panel`.

    Returns
    -------
    DataFrame indexed by ``session``
        long, short (>= 0), gross, net, largest_weight (absolute), ``sector:NAME`` net; fractions of
        equity. Assets without a sector are in ``sector:unknown``.
    """
    weight = weights.field("weight")
    long = np.where(weight > 0.0, weight, 0.0).sum(axis=1)
    short = -np.where(weight < 0.0, weight, 0.0).sum(axis=1)
    values = {
        "long": long,
        "short": short,
        "gross": long + short,
        "net": long - short,
        "largest_weight": np.abs(weight).max(axis=1),
    }
    if "sector" in weights.groups:
        table = weights.group("sector")
        n_rows, n_codes = len(weight), len(table.categories) + 1
        cell = np.arange(n_rows)[:, None] * n_codes + (table.codes.astype(np.int64) + 1)
        sums = np.bincount(cell.ravel(), weight.ravel(), n_rows * n_codes).reshape(n_rows, n_codes)
        for code, name in enumerate(("unknown", *table.categories)):
            values[f"sector:{name}"] = sums[:, code]
    return pd.DataFrame(values, index=weights.time.index.rename("session"))


def _asset_names(panel: Panel, codes: npt.NDArray[np.int64]) -> ExtensionArray:
    return pd.array(panel.asset_ids, dtype="str").take(codes)


def _names(labels: tuple[str, ...], codes: npt.NDArray[np.int8]) -> pd.Categorical:
    """Labels of a small closed set; every label is a category, also those that do not occur."""
    return pd.Categorical.from_codes(codes, categories=list(labels))
