"""Factors: named plug-ins that score assets; importing this package registers those shipped.

Doors: `quant_engine.features.factors.base` (what a factor is, and the registry),
`quant_engine.features.factors.pipeline` (winsorise, z-score, neutralise).
"""

from quant_engine.features.factors import announcements, fundamental, price, quality
from quant_engine.features.factors.base import (
    FACTORS,
    FactorBase,
    FactorInputs,
    FactorSpec,
    Need,
    build_factor,
    discover_factors,
    factor_table,
    register_factor,
)

__all__ = [
    "FACTORS",
    "FactorBase",
    "FactorInputs",
    "FactorSpec",
    "Need",
    "announcements",
    "build_factor",
    "discover_factors",
    "factor_table",
    "fundamental",
    "price",
    "quality",
    "register_factor",
]
