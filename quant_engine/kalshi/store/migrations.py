"""Schema versions: numbered steps, each applied once, in one transaction, and recorded.

A database of a newer version than this code is refused: an old reader must not write into columns
that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from quant_engine.core.errors import StoreError
from quant_engine.kalshi.store.tables import TABLES, ddl

__all__ = ["MIGRATIONS", "Migration", "migrate", "schema_version"]


@dataclass(frozen=True)
class Migration:
    """One step from a version to the next.

    Parameters
    ----------
    version : int
        The version that holds afterwards; steps count up from 1 without gaps.
    statements : tuple of str
        SQL.
    """

    version: int
    statements: tuple[str, ...]


# A change of `TABLES` is a further step here: version 1 is what a new database begins with.
MIGRATIONS: tuple[Migration, ...] = (Migration(1, tuple(ddl(table) for table in TABLES)),)


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Version of a database.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Open database.

    Returns
    -------
    int
        0 for an empty one.

    Examples
    --------
    >>> schema_version(duckdb.connect())
    0
    """
    found = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'schema_version'"
    ).fetchall()
    if not found[0][0]:
        return 0
    rows = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchall()
    return int(rows[0][0])


def migrate(
    connection: duckdb.DuckDBPyConnection, migrations: Sequence[Migration] = MIGRATIONS
) -> int:
    """Bring a database to the newest version.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Writable database.
    migrations : sequence of Migration
        Steps, counted from 1.

    Returns
    -------
    int
        Steps that were applied; 0 where the database was current.

    Raises
    ------
    StoreError
        When the database is newer than these steps, or the steps have a gap.

    Examples
    --------
    >>> connection = duckdb.connect()
    >>> migrate(connection), migrate(connection), schema_version(connection)
    (1, 0, 1)
    """
    if [step.version for step in migrations] != list(range(1, len(migrations) + 1)):
        raise StoreError(
            "migrations",
            wanted="versions 1, 2, 3 without gaps",
            got=[step.version for step in migrations],
            hint="Number the steps in their order.",
        )
    current = schema_version(connection)
    if current > len(migrations):
        raise StoreError(
            "schema version",
            wanted=f"at most {len(migrations)}",
            got=current,
            hint="A newer release wrote this database; use that release.",
        )
    for step in migrations[current:]:
        connection.execute("BEGIN")
        try:
            if step.version == 1:
                connection.execute("CREATE TABLE schema_version (version INTEGER)")
            for statement in step.statements:
                connection.execute(statement)
            connection.execute("INSERT INTO schema_version VALUES (?)", [step.version])
        except duckdb.Error:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    return len(migrations) - current
