"""quant_engine: from raw market data to promoted strategies, with research integrity built in.

Packages compute on values, workflows move artifacts, everything a person sees is read from
artifacts. Start with ``docs/ARCHITECTURE.md``.
"""

__version__ = "0.1.0"
