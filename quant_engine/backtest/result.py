"""What a backtest returns: frames for people, built from the records of the day loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from numba import njit
from pandas.api.extensions import ExtensionArray

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.inputs import Signals
from quant_engine.backtest.kernel import DAILY_COLUMNS, REASONS, STATUSES, Run
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


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """A finished run. Money is in the currency of the prices, returns are simple fractions.

    Parameters
    ----------
    daily : DataFrame indexed by ``session``
        One row per session after the first decision, `DAILY_RESULT_COLUMNS`. ``ret_gross`` adds
        back the session's costs on the same starting equity, so gross minus net P&L is the sum of
        the four cost columns. ``ret_hedged`` = ret_net - beta * benchmark_ret with the beta known
        at the previous close (NaN while there is none). ``turnover`` is traded value / 2 / equity
        at the previous close. ``regime`` is the label known at the previous close, -1 = unknown.
    trades : DataFrame
        One row per round trip of a tranche in an asset, `TRADE_COLUMNS`, in order of closing; the
        positions still open come last with exit_reason ``end_of_run``, marked at the last close
        without exit costs. ``pnl_net`` of all trades plus interest = change of equity.
    orders : DataFrame
        One row per order, filled or not, `ORDER_COLUMNS`.
    summary : dict
        Flat named metrics; None = does not exist.
    regime_breakdown : DataFrame indexed by ``regime``
        Performance by regime.
    monthly_returns : DataFrame indexed by ``month``
        Compounded returns.
    exposures : DataFrame indexed by ``session``
        long, short, gross, net, largest_weight, and ``sector:NAME`` net where the panel has sectors
        (fractions of equity).
    weights : Panel
        Field ``weight``: position value / equity after each close, shape (R, N).
    config : BacktestConfig
        Settings of the run.
    cost_profile_name, cost_profile_id : str
        Cost assumptions and their digest.
    price_basis : PriceBasis
        Basis of the prices that filled.
    """

    daily: pd.DataFrame
    trades: pd.DataFrame
    orders: pd.DataFrame
    summary: Mapping[str, float | int | str | None]
    regime_breakdown: pd.DataFrame
    monthly_returns: pd.DataFrame
    exposures: pd.DataFrame
    weights: Panel
    config: BacktestConfig
    cost_profile_name: str
    cost_profile_id: str
    price_basis: PriceBasis


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
    sessions = context.sessions
    values = {
        "trade_id": np.arange(lot.size),
        "asset_id": _asset_names(context.panel, lot["asset"]),
        "side": _names(("short", "long"), (lot["side"] > 0).astype(np.int64)),
        "tranche": lot["tranche"],
        "decision_session": sessions[lot["decision_row"]],
        "entry_session": sessions[lot["entry_row"]],
        "exit_session": sessions[lot["exit_row"]],
        "holding_sessions": lot["exit_row"] - lot["entry_row"],
        "shares": lot["entry_shares"],
        "entry_value": lot["entry_value"],
        "size_frac": lot["first_value"] / lot["equity_at_decision"],
        "exit_reason": _names(context.reasons, lot["exit_reason"]),
        "fill_ratio": lot["entry_shares"] / lot["ordered_shares"],
        **_trade_signals(lot, context),
        **_trade_money(lot),
    }
    return _records_frame(values, TRADE_COLUMNS)


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


def _trade_money(lot: npt.NDArray[np.void]) -> dict[str, Any]:
    side = lot["side"].astype(np.float64)
    entry_shares, exit_shares = lot["entry_shares"], lot["exit_shares"]
    entry_cost = lot["entry_spread"] + lot["entry_impact"]
    exit_cost = lot["exit_spread"] + lot["exit_impact"]
    gross = side * (lot["exit_value"] - lot["entry_value"]) + lot["dividends"]
    net = gross - entry_cost - exit_cost - lot["fees"] - lot["borrow"]
    return {
        "entry_price": (lot["entry_value"] + side * entry_cost) / entry_shares,
        "exit_price": (lot["exit_value"] - side * exit_cost) / exit_shares,
        "entry_reference_price": lot["entry_value"] / entry_shares,
        "exit_reference_price": lot["exit_value"] / exit_shares,
        "entry_decision_price": lot["entry_decision_value"] / entry_shares,
        "exit_decision_price": lot["exit_decision_value"] / exit_shares,
        "actual_net_return": net / lot["entry_value"],
        "actual_gross_return": gross / lot["entry_value"],
        "pnl_net": net,
        "pnl_gross": gross,
        "entry_spread_bps": _bps(lot["entry_spread"], lot["entry_value"]),
        "exit_spread_bps": _bps(lot["exit_spread"], lot["exit_value"]),
        "entry_impact_bps": _bps(lot["entry_impact"], lot["entry_value"]),
        "exit_impact_bps": _bps(lot["exit_impact"], lot["exit_value"]),
        "cost_fees": lot["fees"],
        "cost_spread": lot["entry_spread"] + lot["exit_spread"],
        "cost_impact": lot["entry_impact"] + lot["exit_impact"],
        "cost_borrow": lot["borrow"],
        "dividends": lot["dividends"],
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
    codes, numbers = _order_columns(run.orders)
    decided, filled, asset, tranche, side, reason, status = codes
    sessions = context.sessions
    values = {
        "decision_session": sessions[decided],
        "session": sessions[filled],
        "asset_id": _asset_names(context.panel, asset),
        "tranche": tranche,
        "side": _names(("sell", "buy"), side),
        "reason": _names(context.reasons, reason),
        "status": _names(context.statuses, status),
        **dict(zip(_ORDER_NUMBERS, numbers, strict=True)),
    }
    return _records_frame(values, ORDER_COLUMNS)


@njit(cache=True, nogil=True, error_model="numpy")
def _order_columns(orders):  # noqa: ANN001 -- compiled
    """Columns of codes (7, n) and of numbers (12, n), in one pass over the records."""
    codes = np.empty((7, orders.size), np.int64)
    numbers = np.empty((len(_ORDER_NUMBERS), orders.size))
    for j in range(orders.size):
        order = orders[j]
        ordered, filled, reference = (
            order.ordered_shares, order.filled_shares, order.reference_price,
        )  # fmt: skip
        traded = 0.0 if filled == 0.0 else abs(filled) * reference
        codes[0, j], codes[1, j], codes[2, j] = order.decision_row, order.row, order.asset
        codes[3, j], codes[4, j] = order.tranche, ordered > 0.0
        codes[5, j], codes[6, j] = order.reason, order.status
        numbers[0, j], numbers[1, j], numbers[2, j] = ordered, filled, filled / ordered
        numbers[3, j], numbers[4, j] = order.decision_price, reference
        numbers[5, j] = np.nan
        if filled != 0.0:
            numbers[5, j] = reference + (order.spread + order.impact) / filled
        numbers[6, j], numbers[7, j] = traded, order.adv_value
        numbers[8, j] = traded / order.adv_value
        numbers[9, j], numbers[10, j], numbers[11, j] = order.fee, order.spread, order.impact
    return codes, numbers


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


def _records_frame(values: Mapping[str, Any], columns: tuple[str, ...]) -> pd.DataFrame:
    """Frame with the columns in contract order; strided record fields become contiguous once."""
    arranged = {
        name: np.ascontiguousarray(values[name])
        if isinstance(values[name], np.ndarray)
        else values[name]
        for name in columns
    }
    return pd.DataFrame(arranged, copy=False)


def _asset_names(panel: Panel, codes: npt.NDArray[np.int64]) -> ExtensionArray:
    return pd.array(panel.asset_ids, dtype="str").take(codes)


def _names(labels: tuple[str, ...], codes: npt.NDArray[np.int64]) -> pd.Categorical:
    """Labels of a small closed set; every label is a category, also those that do not occur."""
    return pd.Categorical.from_codes(codes, categories=list(labels))


def _bps(cost: FloatVector, value: FloatVector) -> FloatVector:
    """Cost in bps of value; NaN where nothing was traded (a delisting that paid nothing)."""
    return np.where(value > 0.0, cost / np.where(value > 0.0, value, 1.0) * BPS_PER_UNIT, np.nan)
