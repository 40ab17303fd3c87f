"""Portfolio simulation: scores to trades to a costed, fully accounted track record.

The door is `quant_engine.backtest.engine.Backtester`.
"""

from quant_engine.backtest.config import BacktestConfig, TradingRules
from quant_engine.backtest.engine import Backtester
from quant_engine.backtest.portfolio import PortfolioConfig, TargetWeights, target_weights
from quant_engine.backtest.result import BacktestResult
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.rules_result import RuleBacktestResult

__all__ = [
    "BacktestConfig",
    "BacktestResult",
    "Backtester",
    "PortfolioConfig",
    "RuleBacktestResult",
    "RuleConfig",
    "TargetWeights",
    "TradingRules",
    "target_weights",
]
