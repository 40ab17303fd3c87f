"""Risk: sizes, caps and limits as pure functions on arrays and frozen configurations.

Nothing here knows where its arrays come from: backtest, execution and paper trading call the same
functions.
"""

from quant_engine.risk.caps import CapConfig, cap_weights, share_out, share_sides
from quant_engine.risk.kelly import KellyConfig, KellyStake, kelly_stake, trailing_kelly
from quant_engine.risk.limits import (
    SIZE_BY_REGIME,
    DrawdownConfig,
    DrawdownTier,
    LimitPath,
    drawdown_limits,
    regime_scale,
)
from quant_engine.risk.sizing import (
    SizingConfig,
    VolatilityTarget,
    scale_book,
    volatility_scale,
    weigh_names,
)
from quant_engine.risk.volatility import VolatilityConfig, realised_volatility

__all__ = [
    "SIZE_BY_REGIME",
    "CapConfig",
    "DrawdownConfig",
    "DrawdownTier",
    "KellyConfig",
    "KellyStake",
    "LimitPath",
    "SizingConfig",
    "VolatilityConfig",
    "VolatilityTarget",
    "cap_weights",
    "drawdown_limits",
    "kelly_stake",
    "realised_volatility",
    "regime_scale",
    "scale_book",
    "share_out",
    "share_sides",
    "trailing_kelly",
    "volatility_scale",
    "weigh_names",
]
