"""Exports: the store as Parquet for readers, the same bytes for the same rows.

Whoever shows or analyses reads these files and needs no lock. Left out are raw answers, the log of
runs and the health counters: they differ from run to run.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from quant_engine.artifacts.files import read_json, write_atomic, write_json
from quant_engine.core.errors import IntegrityError, UnreadableFileError
from quant_engine.core.hashing import sha256_bytes
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.kalshi.store.migrations import schema_version
from quant_engine.kalshi.store.tables import TABLES, Table

__all__ = ["MANIFEST", "ExportedStore", "export_store"]

MANIFEST = "manifest.json"
_NOT_EXPORTED = frozenset({"raw_message", "ingest_log", "ingest_checkpoint", "source_health"})
_ROWS_PER_GROUP = 1_000_000


def export_store(store: KalshiStore, folder: Path) -> dict[str, str]:
    """Write every table of a store to a folder.

    Parameters
    ----------
    store : KalshiStore
        Open store.
    folder : Path
        Such as ``results/kalshi``; each file is replaced whole, the manifest last.

    Returns
    -------
    dict of str to str
        Table to the SHA-256 of its file; the same rows give the same hashes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashes, rows = {}, {}
    for table in (table for table in TABLES if table.name not in _NOT_EXPORTED):
        data = _parquet(store.connection, table)
        write_atomic(folder / f"{table.name}.parquet", data)
        hashes[table.name] = sha256_bytes(data)
        rows[table.name] = store.count(table.name)
    version = schema_version(store.connection)
    write_json(folder / MANIFEST, {"schema": version, "rows": rows, "sha256": hashes})
    return hashes


def _parquet(connection: duckdb.DuckDBPyConnection, table: Table) -> bytes:
    order = ", ".join(table.key if table.kind == "book" else (*table.key, "avail_us", "kid"))
    rows = connection.sql(f"SELECT * FROM {table.name} ORDER BY {order}").to_arrow_table()
    sink = pa.BufferOutputStream()
    # One chunk: what the database hands over in pieces must not show in the file.
    whole = rows.cast(table.schema).combine_chunks()
    pq.write_table(
        whole, sink, compression="zstd", compression_level=3, row_group_size=_ROWS_PER_GROUP
    )
    return bytes(sink.getvalue())


class ExportedStore:
    """An export, read-only and beside any writer.

    Parameters
    ----------
    folder : Path
        Written by :func:`export_store`.
    check : bool
        Compare every file with the manifest's hash.

    Attributes
    ----------
    connection : duckdb.DuckDBPyConnection
        Views with the names of the tables.

    Raises
    ------
    UnreadableFileError
        When there is no whole export.
    IntegrityError
        When a file is not the one that was written.
    """

    def __init__(self, folder: Path, *, check: bool = False) -> None:
        if not (folder / MANIFEST).is_file():
            raise UnreadableFileError(
                str(folder),
                wanted="an exported store with its manifest",
                got="none",
                hint="Export the store first.",
            )
        hashes = read_json(folder / MANIFEST)["sha256"]
        if check:
            for name, wanted in hashes.items():
                got = sha256_bytes((folder / f"{name}.parquet").read_bytes())
                if got != wanted:
                    raise IntegrityError(
                        f"{name}.parquet", wanted=wanted, got=got, hint="Export again."
                    )
        self.connection = duckdb.connect()
        for name in hashes:
            path = str(folder / f"{name}.parquet").replace("'", "''")
            self.connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{path}')")

    def __enter__(self) -> ExportedStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self.connection.close()
