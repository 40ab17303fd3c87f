"""Leak audit of the store: spoil the future and demand the same past; check what rows claim.

Three independent halves, because each sees what the others cannot:

* :func:`audit_views` rebuilds as-of views after every row with ``avail_us > asof`` was overwritten
  by garbage, and once more after it was removed. A view whose bytes change read the future.
* :func:`availability_faults` looks at the rows themselves: one that claims to have been available
  before it happened, or that carries hindsight from before its fetch, would pass the first half.
* :func:`look_faults` looks at assembled ladders: a decision at or after its schedule, a quote older
  than the cut-off, an input from after the decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quant_engine.core.errors import EmptyDataError
from quant_engine.core.hashing import sha256_bytes
from quant_engine.kalshi.events import (
    LadderLook,
    LookConfig,
    ladder_panel,
    outcomes_asof,
)
from quant_engine.kalshi.quotes import NO_QUOTE
from quant_engine.kalshi.store.asof import QUOTE_SOURCES, quotes_asof, versions_asof
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.kalshi.store.tables import TABLES, Table

__all__ = [
    "POISONS",
    "RULES",
    "AuditFinding",
    "View",
    "audit_views",
    "availability_faults",
    "look_faults",
    "put_findings",
    "random_asofs",
    "standard_views",
    "view_hash",
]

View = Callable[[duckdb.DuckDBPyConnection, int], pa.Table]
"""What is known at a moment, as a table with a fixed order of rows."""

POISONS = ("garbage", "removed")
_GARBAGE = {
    "BIGINT": "(hash(kid) % 9973)::BIGINT",
    "INTEGER": "(hash(kid) % 9973)::INTEGER",
    "DOUBLE": "(hash(kid) % 9973)::DOUBLE",
    "VARCHAR": "'garbage'",
    "BOOLEAN": "(hash(kid) % 2 = 0)",
}


@dataclass(frozen=True)
class AuditFinding:
    """One comparison.

    Parameters
    ----------
    view : str
        Name of the view.
    asof_us : int
        Moment, microseconds UTC.
    poison : str
        One of :data:`POISONS`.
    n_rows : int
        Rows of the view; a view without rows proves nothing.
    is_equal : bool
        The spoilt future changed nothing.
    """

    view: str
    asof_us: int
    poison: str
    n_rows: int
    is_equal: bool


def view_hash(table: pa.Table) -> str:
    """Hash of a table's schema and values, whatever its chunks.

    Parameters
    ----------
    table : pyarrow.Table
        Rows in their order.

    Returns
    -------
    str
        SHA-256.

    Examples
    --------
    >>> view_hash(pa.table({"a": [1]})) == view_hash(pa.table({"a": [2]}))
    False
    """
    # Parquet leaves out the slots behind NULL, which hold whatever was in memory.
    sink = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), sink, compression="none")
    return sha256_bytes(bytes(sink.getvalue()))


def random_asofs(connection: duckdb.DuckDBPyConnection, n: int, *, seed: int) -> list[int]:
    """Moments at which something has just become known.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    n : int
        How many.
    seed : int
        Of the draw.

    Returns
    -------
    list of int
        Ascending, microseconds UTC: availabilities of prints, quotes, candles and versions, each
        moved by up to a second either way, where errors of one step show.

    Raises
    ------
    EmptyDataError
        When the store is empty.
    """
    tables = ("trade", "quote", "candle", "market_v", "release")
    union = " UNION ALL ".join(f"SELECT avail_us FROM {name}" for name in tables)
    known = connection.sql(f"SELECT DISTINCT avail_us FROM ({union}) ORDER BY 1").to_arrow_table()
    if not known.num_rows:
        raise EmptyDataError("store", wanted="rows", got="none", hint="Ingest something first.")
    rng = np.random.default_rng(seed)
    times = known["avail_us"].to_numpy()
    drawn = times[rng.integers(0, len(times), n)] + rng.integers(-1_000_000, 1_000_001, n)
    return sorted(int(us) for us in drawn)


def standard_views(
    horizons_s: Sequence[int] = (86_400, 3_600), *, config: LookConfig | None = None
) -> dict[str, View]:
    """Every as-of view that the vertical reads.

    Parameters
    ----------
    horizons_s : sequence of int
        Of the panel, seconds.
    config : LookConfig, optional
        Of the panel.

    Returns
    -------
    dict of str to View
    """

    def versions(table: str) -> View:
        return lambda connection, asof_us: versions_asof(connection, table, asof_us)

    def quotes(source: str) -> View:
        return lambda connection, asof_us: _all_quotes(connection, asof_us, source)

    def panel(connection: duckdb.DuckDBPyConnection, asof_us: int) -> pa.Table:
        looks = ladder_panel(connection, horizons_s, config=config, until_us=asof_us)
        return pa.table({"look": [repr(_plain(look)) for look in looks]})

    named = {table.name: versions(table.name) for table in TABLES if table.kind == "versions"}
    named |= {f"quotes from {source}": quotes(source) for source in QUOTE_SOURCES}
    return named | {"outcome": outcomes_asof, "panel": panel}


def _plain(look: LadderLook) -> tuple[object, ...]:
    return tuple(getattr(look, name) for name in LadderLook.__dataclass_fields__)


def _all_quotes(connection: duckdb.DuckDBPyConnection, asof_us: int, source: str) -> pa.Table:
    grid = connection.sql(
        "SELECT DISTINCT market_id, ?::BIGINT AS asof_us, ?::BIGINT AS stale_after_us "
        "FROM market_v WHERE avail_us <= ? ORDER BY market_id",
        params=[asof_us, 30 * 86_400_000_000, asof_us],
    ).to_arrow_table()
    return quotes_asof(connection, grid, source=source)


def audit_views(
    connection: duckdb.DuckDBPyConnection, views: Mapping[str, View], asofs: Sequence[int]
) -> list[AuditFinding]:
    """Spoil everything after a moment and compare every view with what it was.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export; nothing in it changes.
    views : mapping of str to View
        Names to views; they name tables without a schema.
    asofs : sequence of int
        Moments, microseconds UTC.

    Returns
    -------
    list of AuditFinding
        Per moment, poison and view.
    """
    # A name with its database: the view that is made would otherwise mean itself.
    (database,) = connection.execute("SELECT current_database()").fetchall()[0]
    place = f'"{database}".main'
    # An export holds fewer tables than the store.
    there = {
        name
        for (name,) in connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'"
        ).fetchall()
    }
    tables = [table for table in TABLES if table.kind != "book" and table.name in there]
    findings = []
    for asof_us in asofs:
        honest = {name: view(connection, asof_us) for name, view in views.items()}
        hashes = {name: view_hash(table) for name, table in honest.items()}
        for poison in POISONS:
            # Temporary views of a second connection stand before the tables of the same name.
            with connection.cursor() as spoilt:
                for table in tables:
                    spoilt.execute(_poisoned(table, asof_us, poison=poison, place=place))
                findings += [
                    AuditFinding(
                        name, asof_us, poison, honest[name].num_rows,
                        view_hash(view(spoilt, asof_us)) == hashes[name],
                    )
                    for name, view in views.items()
                ]  # fmt: skip
    return findings


def _poisoned(table: Table, asof_us: int, *, poison: str, place: str) -> str:
    """SQL: a view that hides a table behind its spoilt copy."""
    make = f"CREATE OR REPLACE TEMP VIEW {table.name} AS SELECT"
    if poison == "removed":
        return f"{make} * FROM {place}.{table.name} WHERE avail_us <= {asof_us}"
    columns = []
    for name, kind in table.columns.items():
        if name in ("kid", "avail_us") or (name in table.key and name.endswith("_id")):
            columns.append(name)
            continue
        garbage = _GARBAGE.get(kind, "NULL")
        if name.endswith("_us"):
            # A time in the near past: the most tempting one for a query that trusts it.
            garbage = f"{asof_us} - 1 - (hash(kid) % 1000000)::BIGINT"
        columns.append(f"CASE WHEN avail_us > {asof_us} THEN {garbage} ELSE {name} END AS {name}")
    return f"{make} {', '.join(columns)} FROM {place}.{table.name}"


RULES: dict[str, str] = {
    "quote before it happened": "SELECT 1 FROM quote WHERE avail_us < event_us",
    "print before it happened": "SELECT 1 FROM trade WHERE avail_us < event_us",
    "candle before its end": "SELECT 1 FROM candle WHERE avail_us < end_us",
    "candle recorded before its end": "SELECT 1 FROM candle WHERE recorded_us < end_us",
    "recorded later than available": " UNION ALL ".join(
        f"SELECT 1 FROM {table.name} WHERE avail_basis = 'recorded' AND avail_us < recorded_us"
        for table in TABLES
        if table.kind != "book"
    ),
    "market before its creation": "SELECT 1 FROM market_v WHERE avail_us < created_us",
    "final close before it": "SELECT 1 FROM market_v WHERE close_is_final AND avail_us < close_us",
    "status of the end before the fetch": (
        "SELECT 1 FROM market_v WHERE avail_us < recorded_us AND (close_is_final OR status IN "
        "('closed', 'determined', 'disputed', 'amended', 'finalized'))"
    ),
    "result before the close": (
        "SELECT 1 FROM market_result r JOIN market_v m USING (market_id) "
        "WHERE m.close_is_final AND r.avail_us < m.close_us"
    ),
    "result before the fetch": (
        "SELECT 1 FROM market_result WHERE avail_us < recorded_us OR avail_us < settled_us"
    ),
    "outcome before it was published": "SELECT 1 FROM outcome WHERE avail_us < publish_us",
    "outcome before its schedule": (
        "SELECT 1 FROM outcome o JOIN (SELECT release_id, "
        "arg_min(scheduled_us, (avail_us, kid)) AS due_us FROM release GROUP BY release_id) r "
        "USING (release_id) WHERE o.print_kind = 'first_print' AND o.avail_us < r.due_us"
    ),
    "volume beyond the prints by then": (
        "SELECT 1 FROM quote q JOIN (SELECT market_id, max(avail_us) AS last_us, "
        "sum(count_c2) AS total_c2 FROM trade GROUP BY market_id) t USING (market_id) "
        "WHERE q.avail_us < q.recorded_us AND q.volume_c2 >= t.total_c2 AND q.avail_us < t.last_us"
    ),
    "quote after the final close": (
        "SELECT 1 FROM quote q JOIN (SELECT market_id, min(close_us) AS close_us FROM market_v "
        "WHERE close_is_final GROUP BY market_id) m USING (market_id) "
        "WHERE q.event_us > m.close_us AND (q.bid_e4 IS NOT NULL OR q.ask_e4 IS NOT NULL)"
    ),
    "feature from after its decision": (
        "SELECT 1 FROM feature WHERE max_input_avail_us > asof_us UNION ALL "
        "SELECT 1 FROM distribution WHERE max_input_avail_us > asof_us UNION ALL "
        "SELECT 1 FROM prediction WHERE max_input_avail_us > asof_us"
    ),
}
"""Rule to the query of the rows that break it."""


def availability_faults(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Count rows whose claim to have been available cannot be true.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.

    Returns
    -------
    dict of str to int
        Every rule of :data:`RULES` with its count; all 0 in a sound store.
    """
    return {
        rule: int(connection.execute(f"SELECT count(*) FROM ({sql})").fetchall()[0][0])
        for rule, sql in RULES.items()
    }


def look_faults(looks: Sequence[LadderLook], *, stale_after_us: int) -> Counter[str]:
    """Count assembled ladders that could not have been decided on.

    Parameters
    ----------
    looks : sequence of LadderLook
        Ladders.
    stale_after_us : int
        Age beyond which a quote must be absent.

    Returns
    -------
    Counter
        Empty for sound looks.
    """
    faults = Counter[str]()
    for look in looks:
        faults["decision at or after its schedule"] += look.asof_us >= look.scheduled_us
        faults["input after the decision"] += look.max_input_avail_us > look.asof_us
        for quote in look.quotes:
            quoted = (quote.bid_e4, quote.ask_e4) != (NO_QUOTE, NO_QUOTE)
            faults["stale quote"] += quoted and quote.age_s * 1e6 > stale_after_us
            faults["quote after the decision"] += quoted and quote.event_us > look.asof_us
    return +faults


def put_findings(
    store: KalshiStore, findings: Sequence[AuditFinding], *, audit_id: str, recorded_us: int
) -> int:
    """Write the findings of an audit into the store.

    Parameters
    ----------
    store : KalshiStore
        Where.
    findings : sequence of AuditFinding
        What was compared.
    audit_id : str
        Name of the audit.
    recorded_us : int
        When, microseconds UTC.

    Returns
    -------
    int
        Rows that were new.
    """
    return store.append(
        "leak_audit",
        {
            "audit_id": [audit_id] * len(findings),
            "view_name": [f.view for f in findings],
            "asof_us": [f.asof_us for f in findings],
            "poison": [f.poison for f in findings],
            "n_rows": [f.n_rows for f in findings],
            "is_equal": [f.is_equal for f in findings],
            "recorded_us": recorded_us,
            "avail_us": recorded_us,
            "avail_basis": "recorded",
            "src": "audit",
        },
    )
