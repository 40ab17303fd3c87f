"""Catalogue: importing this module registers every function of the package, and of rotation."""

from quant_engine.features import rotation
from quant_engine.features.research import (
    lead_lag,
    network,
    signatures,
    spillover,
    vol_curve,
    waves,
)

__all__ = ["lead_lag", "network", "rotation", "signatures", "spillover", "vol_curve", "waves"]
