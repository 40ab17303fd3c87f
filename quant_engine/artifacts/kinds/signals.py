"""Signals: the names of a session in the order of a composite score."""

from __future__ import annotations

from quant_engine.artifacts.kinds.bundle import BundleKind, Column

SIGNALS = BundleKind(
    name="signals",
    schema_version=1,
    packages=(
        "core",
        "artifacts",
        "stats",
        "execution",
        "data",
        "features",
        "models",
        "regime",
        "workflows",
    ),
    tables={
        "signals": {
            "date": Column("session", "decision session"),
            "asset_id": Column("str", "asset"),
            "ticker": Column("str", "display symbol"),
            "score": Column("float", "weighted sum of z-scores of the session, unitless"),
            "rank": Column("int", "1 = highest score of the session"),
            "model": Column("str", "what made the score"),
            "regime": Column("int", "canonical label at the decision; -1 = unknown"),
        }
    },
    documents=("facts",),
    open_tables=("signals",),
)
"""One further column per part of the score: its z-score within the session."""
