"""Catalogue: importing this module registers every function of the package."""

from quant_engine.features.indicators import market

__all__ = ["market"]
