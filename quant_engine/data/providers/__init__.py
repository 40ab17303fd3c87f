"""Providers: where daily bars come from. Network clients live here and nowhere else in data.

Importing this package registers the shipped providers; it imports no network client.
"""

from quant_engine.data.providers import local, pystock, wrds, yahoo
from quant_engine.data.providers.registry import PROVIDERS, Availability, BarQuery, make_provider

__all__ = [
    "PROVIDERS",
    "Availability",
    "BarQuery",
    "local",
    "make_provider",
    "pystock",
    "wrds",
    "yahoo",
]
