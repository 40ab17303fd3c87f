"""The store: one writer, batches that may come twice, versions that lose no value.

* A process that opens the store holds a file lock until it closes it. Others read the exported
  Parquet (`store.export`); opening a live database beside its writer is refused with a sentence.
* `append` keeps the first row of every natural key, so that a batch may be sent again.
* `record_versions` keeps one row per change of an entity's state, with what the record said. What
  it leaves out keeps the value that was known by then: `store.asof.versions_asof` fills it up, and
  no record can make a known value NULL. A record that changes nothing leaves no row, also when
  something is learned later about the time before it.
* Everything inside one `transaction` is kept or lost together, checkpoints included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from quant_engine.artifacts.files import explained_os_errors
from quant_engine.core.errors import ConfigError, IntegrityError, StoreError
from quant_engine.kalshi.store.batches import arrow_batch
from quant_engine.kalshi.store.migrations import migrate
from quant_engine.kalshi.store.repeats import new_rows
from quant_engine.kalshi.store.states import KnownStates
from quant_engine.kalshi.store.tables import Table, table_named

__all__ = ["ROW_GROUP", "Checkpoint", "KalshiStore"]

ROW_GROUP = 122_880
"""Rows that the database stores together. Batches of whole groups are stored fastest: what is left
over is packed again with the next batch."""


@dataclass(frozen=True)
class Checkpoint:
    """How far a job has come.

    Parameters
    ----------
    mark : str
        What the job wrote down, such as the last ticker; empty where it needs none.
    hi_event_us, hi_recorded_us : int
        Newest event and newest recording that are stored, microseconds UTC.
    """

    mark: str = ""
    hi_event_us: int = 0
    hi_recorded_us: int = 0


class KalshiStore:
    """A database file and the right to write it.

    Parameters
    ----------
    path : Path
        The ``.duckdb`` file; made with its folder when absent.
    run_id : str
        Name of the run in ``ingest_log``; no other table holds it.
    threads : int, optional
        Threads of the database; all cores where None.

    Raises
    ------
    StoreError
        When another process holds the store, the folder is not writable, or a newer release wrote
        the database.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with KalshiStore(Path(folder) / "k.duckdb", run_id="demo") as store:
    ...         row = {"trade_id": ["a"], "event_us": [5], "avail_us": [6], "recorded_us": 9,
    ...                "avail_basis": "assumed", "src": "x"}
    ...         store.append("trade", row), store.append("trade", row), store.count("trade")
    (1, 0, 1)
    """

    def __init__(self, path: Path, *, run_id: str, threads: int | None = None) -> None:
        self.path = path
        self.run_id = run_id
        with explained_os_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(f"{path}.lock", timeout=0)
            try:
                self._lock.acquire()
            except Timeout as error:
                raise self._held("another process that writes") from error
        try:
            self.connection = duckdb.connect(str(path))
        except duckdb.IOException as error:
            self._lock.release()
            reason = str(error).splitlines()[0]
            if "lock" in reason.lower():
                raise self._held(reason) from error
            raise StoreError(
                str(path),
                wanted="a database of the store",
                got=reason,
                hint="Move the file away and build the store anew, or give another path.",
            ) from error
        if threads is not None:
            self.connection.execute(f"SET threads = {int(threads)}")
        self._kids: dict[str, int] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._states: dict[str, KnownStates] = {}
        self._log: list[tuple[str, str, int, int, int]] = []
        self._depth = 0
        try:
            migrate(self.connection)
            self._load_ids()
        except (duckdb.Error, StoreError):
            self.close()
            raise

    def _held(self, got: str) -> StoreError:
        return StoreError(
            str(self.path),
            wanted="a store that nobody else has open",
            got=got,
            hint="Wait for that run to end, or read the exported Parquet, which needs no lock.",
        )

    def __enter__(self) -> KalshiStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write everything to the file and let others open it."""
        self.connection.close()
        self._lock.release()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all writes inside, or none of them when an error leaves the context."""
        if self._depth:
            yield
            return
        self.connection.execute("BEGIN")
        self._depth = 1
        try:
            yield
            self._write_log()
        except BaseException:
            self.connection.execute("ROLLBACK")
            self._log.clear()
            self._kids.clear()
            self._states.clear()
            self._load_ids()
            raise
        else:
            self.connection.execute("COMMIT")
        finally:
            self._depth = 0

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(self._one(f"SELECT count(*) FROM {table_named(table).name}")[0])

    def ids(self, kind: str, names: Sequence[str]) -> list[int]:
        """Whole numbers that stand for names in the tables.

        Parameters
        ----------
        kind : str
            ``series``, ``event``, ``market``, ``release`` or ``cluster``.
        names : sequence of str
            In any order, also repeated; new ones get numbers in sorted order.

        Returns
        -------
        list of int
            One per name.
        """
        new = sorted({name for name in names if (kind, name) not in self._ids})
        if new:
            first = 1 + max((i for (k, _), i in self._ids.items() if k == kind), default=0)
            numbers = list(range(first, first + len(new)))
            batch = pa.table(
                {"kind": [kind] * len(new), "name": new, "id": pa.array(numbers, pa.int32())}
            )
            self._insert("dimension", batch)
            self._ids.update(zip(((kind, name) for name in new), numbers, strict=True))
        return [self._ids[kind, name] for name in names]

    def known_id(self, kind: str, name: str) -> int | None:
        """Number of a name, or None where it was never stored."""
        return self._ids.get((kind, name))

    def append(self, table: str, columns: Mapping[str, Any]) -> int:
        """Add rows whose natural key is not there yet.

        Parameters
        ----------
        table : str
            An ``append`` table.
        columns : mapping of str to sequence or scalar
            See `store.batches.arrow_batch`.

        Returns
        -------
        int
            Rows that were new.

        Raises
        ------
        ConfigError
            For a table of another kind.
        """
        spec = self._of_kind(table, "append")
        first_kid = self._next_kid(spec)
        batch = arrow_batch(spec, columns, first_kid=first_kid)
        if not batch.num_rows:
            return 0
        new = new_rows(self.connection, spec, batch)
        if not new.num_rows:
            return 0
        with self.transaction():
            self._insert(spec.name, new)
            self._logged(spec, first_kid, batch.num_rows, new)
        return int(new.num_rows)

    def record_versions(self, table: str, columns: Mapping[str, Any]) -> int:
        """Add a row for every record that changes what is known of its entity.

        Parameters
        ----------
        table : str
            A ``versions`` table.
        columns : mapping of str to sequence or scalar
            Records in any order; what a record leaves out keeps the value known by its
            ``avail_us``.

        Returns
        -------
        int
            Rows that were new.
        """
        spec = self._of_kind(table, "versions")
        offered = arrow_batch(spec, {**columns, "row_hash": ""}, first_kid=0)
        if spec.name not in self._states:
            self._states[spec.name] = KnownStates.load(self.connection, spec)
        batch = self._states[spec.name].changes(offered)
        if not batch.num_rows:
            return 0
        with self.transaction():
            first_kid = self._next_kid(spec)
            kids = pa.array(np.arange(first_kid, first_kid + batch.num_rows))
            batch = batch.set_column(batch.schema.get_field_index("kid"), "kid", kids)
            self._insert(spec.name, batch)
            self._logged(spec, first_kid, offered.num_rows, batch)
        return int(batch.num_rows)

    def checkpoint(self, job: str, name: str) -> Checkpoint | None:
        """How far a job had come with one of its subjects; None before its first."""
        rows = self.connection.execute(
            "SELECT mark, hi_event_us, hi_recorded_us FROM ingest_checkpoint "
            "WHERE job = ? AND name = ?",
            [job, name],
        ).fetchall()
        return Checkpoint(*rows[0]) if rows else None

    def checkpoints(self, job: str) -> dict[str, Checkpoint]:
        """How far a job had come with each of its subjects."""
        rows = self.connection.execute(
            "SELECT name, mark, hi_event_us, hi_recorded_us FROM ingest_checkpoint WHERE job = ?",
            [job],
        ).fetchall()
        return {name: Checkpoint(*reached) for name, *reached in rows}

    def set_checkpoint(self, job: str, name: str, reached: Checkpoint) -> None:
        """Write down how far a job has come with one subject; see :meth:`set_checkpoints`."""
        self.set_checkpoints(job, {name: reached})

    def set_checkpoints(self, job: str, reached: Mapping[str, Checkpoint]) -> None:
        """Write down how far a job has come; do it in the transaction of its rows.

        Parameters
        ----------
        job : str
            What is done.
        reached : mapping of str to Checkpoint
            With what, such as a ticker, and how far.
        """
        names = list(reached)
        batch = pa.table(
            {
                "job": pa.array([job] * len(names), pa.string()),
                "name": pa.array(names, pa.string()),
                "mark": pa.array([r.mark for r in reached.values()], pa.string()),
                "hi_event_us": pa.array([r.hi_event_us for r in reached.values()], pa.int64()),
                "hi_recorded_us": pa.array(
                    [r.hi_recorded_us for r in reached.values()], pa.int64()
                ),
            }
        )
        with self.transaction():
            self.connection.register("reached", batch)
            try:
                self.connection.execute(
                    "DELETE FROM ingest_checkpoint WHERE job = ? AND name IN "
                    "(SELECT name FROM reached)",
                    [job],
                )
            finally:
                self.connection.unregister("reached")
            self._insert("ingest_checkpoint", batch)

    def _of_kind(self, name: str, kind: str) -> Table:
        spec = table_named(name)
        if spec.kind != kind:
            wanted = "append" if spec.kind == "append" else "record_versions"
            raise ConfigError(
                "table",
                wanted=f"a table of kind {kind}",
                got=f"{name}, which is {spec.kind}",
                hint=f"Use {wanted}." if spec.kind != "book" else "The store writes it itself.",
            )
        return spec

    def _next_kid(self, spec: Table) -> int:
        if spec.name not in self._kids:
            self._kids[spec.name] = self._one(f"SELECT coalesce(max(kid) + 1, 0) FROM {spec.name}")[
                0
            ]
        return self._kids[spec.name]

    def _one(self, sql: str) -> tuple[Any, ...]:
        # All rows are fetched: a result that is not read to its end blocks the connection.
        (row,) = self.connection.execute(sql).fetchall()
        return row

    def _insert(self, table: str, batch: pa.Table) -> None:
        # In pieces of a row group, which the threads of the database compress side by side.
        pieces = batch.to_batches(max_chunksize=ROW_GROUP)
        self.connection.register("batch", pa.Table.from_batches(pieces, batch.schema))
        try:
            self._one(f"INSERT INTO {table} SELECT * FROM batch")
        finally:
            self.connection.unregister("batch")

    def _logged(self, spec: Table, first_kid: int, n_offered: int, new: pa.Table) -> None:
        # Ranks of repeated rows after the last new one stay unused: what was sent twice leaves the
        # same ranks.
        self._kids[spec.name] = 1 + new["kid"][-1].as_py()
        self._log.append((self.run_id, spec.name, first_kid, n_offered, new.num_rows))

    def _write_log(self) -> None:
        """Write down what the transaction stored, in one statement."""
        if self._log:
            columns = [list(column) for column in zip(*self._log, strict=True)]
            batch = pa.table(columns, names=table_named("ingest_log").schema.names)
            self._insert("ingest_log", batch)
            self._log.clear()

    def _load_ids(self) -> None:
        rows = self.connection.execute("SELECT kind, name, id FROM dimension").fetchall()
        self._ids = {(kind, name): number for kind, name, number in rows}
        if len(self._ids) != len(rows):
            raise IntegrityError(
                "dimension",
                wanted="one number per name",
                got=f"{len(rows) - len(self._ids)} names twice",
                hint="Two programs wrote this file at once; build the store anew.",
            )
