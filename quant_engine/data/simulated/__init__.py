"""Simulated markets: pure functions of seed and configuration, with the truth beside them."""

from quant_engine.data.simulated.config import (
    AlphaShape,
    AlphaSpec,
    CharacteristicSpec,
    CorporateSpec,
    EquityWorldConfig,
    FactorSpec,
    FundamentalSpec,
    IdioSpec,
    ListingSpec,
    MarketSpec,
    MembershipSpec,
    RegimeSpec,
    VolatilitySpec,
)
from quant_engine.data.simulated.files import file_symbols, write_world_as_files
from quant_engine.data.simulated.simulate import simulate_equity_world
from quant_engine.data.simulated.world import EquityTruth, EquityWorld, expected_hedged_return

__all__ = [
    "AlphaShape",
    "AlphaSpec",
    "CharacteristicSpec",
    "CorporateSpec",
    "EquityTruth",
    "EquityWorld",
    "EquityWorldConfig",
    "FactorSpec",
    "FundamentalSpec",
    "IdioSpec",
    "ListingSpec",
    "MarketSpec",
    "MembershipSpec",
    "RegimeSpec",
    "VolatilitySpec",
    "expected_hedged_return",
    "file_symbols",
    "simulate_equity_world",
    "write_world_as_files",
]
