"""What a run of trading rules returns: the frames of a backtest and what only rules can say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd

from quant_engine.backtest.kernel_state import Run
from quant_engine.backtest.result import (
    ORDER_COLUMNS,
    TRADE_COLUMNS,
    BacktestResult,
    RunContext,
    orders_frame,
    trades_frame,
)
from quant_engine.backtest.rules import RuleConfig
from quant_engine.core.units import BPS_PER_UNIT

RULE_TRADE_COLUMNS = (
    *TRADE_COLUMNS,
    "entry_reason",
    "mae_frac",
    "mfe_frac",
    "implementation_shortfall_bps",
)
RULE_ORDER_COLUMNS = (*ORDER_COLUMNS, "shortfall_executed", "shortfall_unfilled")


@dataclass(frozen=True, eq=False, repr=False)
class RuleBacktestResult(BacktestResult):
    """A finished run of trading rules.

    ``trades`` and ``orders`` carry `RULE_TRADE_COLUMNS` and `RULE_ORDER_COLUMNS`; ``tranche`` is 0.

    Parameters
    ----------
    rules : RuleConfig
        The rules of the run.
    """

    rules: RuleConfig

    shown: ClassVar[tuple[str, ...]] = (*BacktestResult.shown, "rules")

    @cached_property
    def trades(self) -> pd.DataFrame:
        """One row per round trip, `RULE_TRADE_COLUMNS`."""
        return rule_trades_frame(self.run, self.context)

    @cached_property
    def orders(self) -> pd.DataFrame:
        """One row per order, filled or not, `RULE_ORDER_COLUMNS`."""
        return rule_orders_frame(self.run, self.context)


def rule_trades_frame(run: Run, context: RunContext) -> pd.DataFrame:
    """Build one row per round trip.

    ``mae_frac`` and ``mfe_frac`` are the worst and best price that the position lived through, as
    returns on the entry's fill price (at most 0 and at least 0). A bar held to its close counts
    whole. Of the bar of an exit count the exit's price and, before a target inside the bar, the
    bar's worst price. Without high and low in the panel, closes count.

    ``implementation_shortfall_bps`` compares with a paper trade of the same shares at the prices
    that decided (Perold 1988): the close of the decision, or the level of a stop or target. It
    holds the gap to the fill, spread, impact and fees, not the borrow fee; bps of the entry's paper
    value, positive = worse than paper.

    Parameters
    ----------
    run : Run
        Output of the rules kernel.
    context : RunContext
        Aligned facts.

    Returns
    -------
    DataFrame
        `RULE_TRADE_COLUMNS`.
    """
    lot, frame = run.trades, trades_frame(run, context)
    side = lot["side"].astype(np.float64)
    paper = side * (lot["exit_decision_value"] - lot["entry_decision_value"]) + lot["dividends"]
    lost = paper - (frame["pnl_net"].to_numpy() + lot["borrow"])
    return frame.assign(
        entry_reason=pd.Categorical.from_codes(
            lot["entry_reason"].astype(np.int64), categories=list(context.reasons)
        ),
        mae_frac=side * (lot["worst"] / lot["entry_price"] - 1.0),
        mfe_frac=side * (lot["best"] / lot["entry_price"] - 1.0),
        implementation_shortfall_bps=lost / lot["entry_decision_value"] * BPS_PER_UNIT,
    )[list(RULE_TRADE_COLUMNS)]


def rule_orders_frame(run: Run, context: RunContext) -> pd.DataFrame:
    """Build one row per order, filled or not.

    ``shortfall_executed`` is what the filled shares cost against the decision price, costs
    included; ``shortfall_unfilled`` what the others would have gained by the close of the order's
    session, NaN where there was no bar. Currency, positive = worse.

    Parameters
    ----------
    run : Run
        Output of the rules kernel.
    context : RunContext
        Aligned facts.

    Returns
    -------
    DataFrame
        `RULE_ORDER_COLUMNS`.
    """
    order, frame = run.orders, orders_frame(run, context)
    filled = order["filled_shares"]
    decided = order["decision_price"]
    costs = order["fee"] + order["spread"] + order["impact"]
    slipped = np.where(filled == 0.0, 0.0, (order["reference_price"] - decided) * filled)
    close = context.panel.field("close")[order["row"], order["asset"]]
    rest = order["ordered_shares"] - filled
    return frame.assign(
        shortfall_executed=slipped + costs,
        shortfall_unfilled=np.where(rest == 0.0, 0.0, (close - decided) * rest),
    )[list(RULE_ORDER_COLUMNS)]
