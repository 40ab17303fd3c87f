"""Topics whose code is not built yet: every case of theirs that nothing else fits is due."""

from __future__ import annotations

from quant_engine.testing.reference.adapters import Adapter

__all__ = ["ADAPTERS"]

_TOPICS = {
    "portfolio": "portfolio construction",
    "regime_models": "regime models with given parameters",
}

ADAPTERS: tuple[Adapter, ...] = tuple(
    Adapter(topic, "", due=reason) for topic, reason in _TOPICS.items()
)
