"""Execution: what a trade costs, how much of an order fills, how a holding ends, who holds what.

One cost model and one fill rule serve labels, discovery, backtests and paper trading. Everything
here is a pure function of values or an object in memory that such functions change; a
`CostProfile` or `CostModel` carries the assumptions and their digest. Reading order:

* costs and fills: `costs`, `fills`, `round_trip`, `impact`, `conditions`, `cost_model`,
  `bar_costs`, `calibration`;
* from a forecast to orders: `decision`, `orders`, `pretrade`, `slices`;
* orders and money: `lifecycle`, `broker`, `paper`;
* what stops trading: `reconcile`, `safety`, `kill_switch`.
"""

from quant_engine.execution.bar_costs import BarCosts, bar_cost_bps
from quant_engine.execution.broker import Account, Broker, Quote
from quant_engine.execution.calibration import (
    CalibrationRules,
    CostCalibration,
    calibrate_costs,
    calibrate_segments,
    calibrated_profile,
)
from quant_engine.execution.conditions import CostConditions, ShockMode
from quant_engine.execution.contract import ContractDifference, ExecutionContract
from quant_engine.execution.cost_model import (
    CostModel,
    CostRates,
    CostSegment,
    SegmentTable,
    SpreadEstimate,
    cost_rates,
)
from quant_engine.execution.costs import (
    CostProfile,
    borrow_cost,
    fee_cost,
    impact_cost,
    participation_frac,
    spread_cost,
)
from quant_engine.execution.decision import (
    HoldingRates,
    decision_score,
    funding_cost,
    holding_cost_frac,
    targets_with_band,
)
from quant_engine.execution.delistings import Delistings, TerminalReturns, parse_delistings
from quant_engine.execution.fills import decide_fill, fill_fraction, trailing_adv
from quant_engine.execution.impact import (
    AlmgrenChriss,
    AlmgrenImpact,
    Trajectory,
    almgren_chriss_trajectory,
    permanent_impact_frac,
    realised_impact_frac,
)
from quant_engine.execution.intraday import scheduled_prices
from quant_engine.execution.kill_switch import (
    KillCheck,
    KillSwitchConfig,
    KillSwitchInputs,
    OrderFigures,
    evaluate_kill_switch,
    measure_orders,
)
from quant_engine.execution.lifecycle import (
    Fill,
    OrderEvent,
    OrderState,
    OrderStatus,
    OrderTrail,
    verify_trail,
)
from quant_engine.execution.orders import (
    Decision,
    Order,
    OrderRules,
    Side,
    compile_orders,
    net_targets,
)
from quant_engine.execution.paper import PaperBroker, PaperConfig, PaperState
from quant_engine.execution.pretrade import PreTradeLimits, TradedBook, check_fills, check_orders
from quant_engine.execution.reconcile import ReconcileRules, Reconciliation, reconcile
from quant_engine.execution.round_trip import round_trip_costs
from quant_engine.execution.safety import Latch, LatchRecord, screen_orders
from quant_engine.execution.shortfall import (
    Shortfall,
    implementation_shortfall,
    slippage_bps,
    volume_weighted_price,
)
from quant_engine.execution.slices import (
    SliceSchedule,
    slice_order,
    twap_weights,
    volume_profile,
    vwap_weights,
)

__all__ = [
    "Account",
    "AlmgrenChriss",
    "AlmgrenImpact",
    "BarCosts",
    "Broker",
    "CalibrationRules",
    "ContractDifference",
    "CostCalibration",
    "CostConditions",
    "CostModel",
    "CostProfile",
    "CostRates",
    "CostSegment",
    "Decision",
    "Delistings",
    "ExecutionContract",
    "Fill",
    "HoldingRates",
    "KillCheck",
    "KillSwitchConfig",
    "KillSwitchInputs",
    "Latch",
    "LatchRecord",
    "Order",
    "OrderEvent",
    "OrderFigures",
    "OrderRules",
    "OrderState",
    "OrderStatus",
    "OrderTrail",
    "PaperBroker",
    "PaperConfig",
    "PaperState",
    "PreTradeLimits",
    "Quote",
    "ReconcileRules",
    "Reconciliation",
    "SegmentTable",
    "ShockMode",
    "Shortfall",
    "Side",
    "SliceSchedule",
    "SpreadEstimate",
    "TerminalReturns",
    "TradedBook",
    "Trajectory",
    "almgren_chriss_trajectory",
    "bar_cost_bps",
    "borrow_cost",
    "calibrate_costs",
    "calibrate_segments",
    "calibrated_profile",
    "check_fills",
    "check_orders",
    "compile_orders",
    "cost_rates",
    "decide_fill",
    "decision_score",
    "evaluate_kill_switch",
    "fee_cost",
    "fill_fraction",
    "funding_cost",
    "holding_cost_frac",
    "impact_cost",
    "implementation_shortfall",
    "measure_orders",
    "net_targets",
    "parse_delistings",
    "participation_frac",
    "permanent_impact_frac",
    "realised_impact_frac",
    "reconcile",
    "round_trip_costs",
    "scheduled_prices",
    "screen_orders",
    "slice_order",
    "slippage_bps",
    "spread_cost",
    "targets_with_band",
    "trailing_adv",
    "twap_weights",
    "verify_trail",
    "volume_profile",
    "volume_weighted_price",
    "vwap_weights",
]
