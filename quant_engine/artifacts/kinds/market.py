"""What a load of market data leaves behind: source files, quality findings, market facts."""

from __future__ import annotations

from quant_engine.artifacts.kinds.bundle import BundleKind, Column

_DATA = ("core", "artifacts", "stats", "execution", "data", "workflows")

SOURCE = BundleKind(
    name="source",
    schema_version=1,
    packages=_DATA,
    tables={
        "files": {
            "name": Column("str", "file name relative to the folder"),
            "size_bytes": Column("int", "bytes on disk"),
            "sha256": Column("str", "hash of those bytes"),
            "n_rows": Column("int", "data rows"),
        }
    },
    documents=("facts",),
)
"""The root of every lineage: which files or which simulated world the data came from."""

QUALITY = BundleKind(
    name="quality_report",
    schema_version=1,
    packages=_DATA,
    tables={
        "findings": {
            "asset_id": Column("str", "asset; empty where the finding is about the whole load"),
            "session": Column("session", "session of the finding", optional=True),
            "rule": Column("str", "name of the rule"),
            "action": Column("str", "reject, fix, warn or quarantine"),
            "value": Column("float", "the offending value, in the unit of the rule"),
            "message": Column("str", "one sentence"),
        },
        "by_rule": {
            "rule": Column("str", "name of the rule"),
            "action": Column("str", "what was done"),
            "n_findings": Column("int", "count"),
        },
    },
    documents=("summary",),
)
"""Every fault that the quality profile found, and what was done about it."""

MARKET = BundleKind(
    name="market",
    schema_version=1,
    packages=_DATA,
    tables={
        "benchmark": {
            "session": Column("session", "session"),
            "close_return": Column("float", "simple return close to close, fraction"),
            "open_return": Column("float", "simple return open(t) to open(t+1), fraction"),
        },
        "delistings": {
            "asset_id": Column("str", "asset"),
            "session": Column("session", "first session without it"),
            "last_session": Column("session", "last session with a trade"),
            "terminal_return": Column("float", "return on the last close, fraction; NaN = unknown"),
            "reason": Column("str", "performance, merger, unknown ..."),
        },
        "coverage": {
            "session": Column("session", "session"),
            "n_assets": Column("int", "assets with a price"),
            "n_members": Column("float", "members of the universe; NaN = no membership history"),
            "share_covered": Column("float", "members with a price over members, fraction"),
        },
        "securities": {
            "asset_id": Column("str", "asset"),
            "ticker": Column("str", "display symbol"),
        },
    },
    documents=("facts",),
)
"""Benchmark, delistings, coverage and what is absent."""
