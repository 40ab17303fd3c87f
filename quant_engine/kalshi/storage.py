"""The door to the event-time store: `store.database` writes, `store.asof` reads as of then."""

from quant_engine.kalshi.store.database import Checkpoint, KalshiStore
from quant_engine.kalshi.store.export import ExportedStore, export_store

__all__ = ["Checkpoint", "ExportedStore", "KalshiStore", "export_store"]
