"""The whole suite: importing this module enters every planted leak in the registry."""

from __future__ import annotations

from quant_engine.testing.leaks import states, tables, training, universes, windows
from quant_engine.testing.leaks.registry import LEAKS

__all__ = ["LEAKS", "MODULES"]

MODULES = (windows, universes, states, tables, training)
"""Where the leaks are written."""
