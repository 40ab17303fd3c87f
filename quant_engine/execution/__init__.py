"""Execution: what a trade costs and how much of an order fills, how a holding ends.

One cost model and one fill rule serve labels, discovery, backtests and paper trading. Everything
here is a pure function of values; a `CostProfile` carries the assumptions and their digest.
"""

from quant_engine.execution.contract import ContractDifference, ExecutionContract
from quant_engine.execution.costs import (
    CostProfile,
    borrow_cost,
    fee_cost,
    impact_cost,
    participation_frac,
    spread_cost,
)
from quant_engine.execution.delistings import Delistings, TerminalReturns, parse_delistings
from quant_engine.execution.fills import fill_fraction, trailing_adv
from quant_engine.execution.round_trip import round_trip_costs

__all__ = [
    "ContractDifference",
    "CostProfile",
    "Delistings",
    "ExecutionContract",
    "TerminalReturns",
    "borrow_cost",
    "fee_cost",
    "fill_fraction",
    "impact_cost",
    "parse_delistings",
    "participation_frac",
    "round_trip_costs",
    "spread_cost",
    "trailing_adv",
]
