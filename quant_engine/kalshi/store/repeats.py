"""Which rows of a batch are new: the first of every natural key that the table does not hold yet.

A key is compared only where it can be held twice: within the batch among rows that share a moment,
and against the table among rows at moments that lie in the stretch of it that the table covers.
The database knows from the smallest and largest value of its row groups that it holds nothing
after its last row, so that batches in the order of time are never joined with what is stored,
however much that is. Nothing is remembered between batches.
"""

from __future__ import annotations

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_engine.kalshi.store.tables import Table

__all__ = ["new_rows"]

Mask = npt.NDArray[np.bool_]


def new_rows(connection: duckdb.DuckDBPyConnection, table: Table, batch: pa.Table) -> pa.Table:
    """Rows of a batch whose natural key is neither stored nor in a row before it.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        The store.
    table : Table
        An ``append`` table.
    batch : pyarrow.Table
        All its columns, ``kid`` ascending, no key NULL; at least one row.

    Returns
    -------
    pyarrow.Table
        These rows in their order; `batch` itself where all are new.

    Notes
    -----
    The answer is the anti-join of the batch's first row per key with the whole table. Rows of one
    key have one moment (`Table.window` is a column of the key), which is why looking only where a
    moment occurs twice leaves no repetition out. A table without a window is compared whole.

    Examples
    --------
    >>> from quant_engine.kalshi.store.batches import arrow_batch
    >>> from quant_engine.kalshi.store.migrations import migrate
    >>> from quant_engine.kalshi.store.tables import table_named
    >>> store = duckdb.connect()
    >>> _ = migrate(store)
    >>> fact = {"avail_us": 6, "avail_basis": "assumed", "recorded_us": 9, "src": "x"}
    >>> columns = {"trade_id": ["a", "b", "a"], "event_us": [5, 5, 5]} | fact
    >>> batch = arrow_batch(table_named("trade"), columns, first_kid=0)
    >>> new_rows(store, table_named("trade"), batch)["kid"].to_pylist()
    [0, 1]
    """
    times = batch[table.window].to_numpy() if table.window else None
    shared = np.ones(batch.num_rows, dtype=np.bool_) if times is None else _shared(times)
    repeated = _repeated(connection, table, batch, shared)
    if times is None:
        covered, stretch = np.ones(batch.num_rows, dtype=np.bool_), ""
    else:
        covered, stretch = _covered(connection, table, times)
    known = _stored(connection, table, batch, mask=covered & ~repeated, stretch=stretch)
    out = repeated | known
    return batch.filter(pa.array(~out)) if out.any() else batch


def _shared(times: npt.NDArray[np.int64]) -> Mask:
    """Rows whose moment another row has too."""
    mask = np.zeros(len(times), dtype=np.bool_)
    if (times[1:] >= times[:-1]).all():
        same = times[1:] == times[:-1]
        mask[1:] |= same
        mask[:-1] |= same
        return mask
    order = np.argsort(times)
    places = np.flatnonzero(np.diff(times[order]) == 0)
    mask[order[places]] = True
    mask[order[places + 1]] = True
    return mask


def _keys(table: Table, batch: pa.Table, mask: Mask) -> pa.Table:
    keys = batch.select([*table.key, "kid"])
    # Few rows are taken faster than all of them are asked.
    return keys if mask.all() else keys.take(pa.array(np.flatnonzero(mask)))


def _asked(connection: duckdb.DuckDBPyConnection, offered: pa.Table, sql: str) -> pa.Table:
    connection.register("offered", offered)
    try:
        return connection.sql(sql).to_arrow_table()
    finally:
        connection.unregister("offered")


def _places(batch: pa.Table, kids: pa.Table) -> npt.NDArray[np.int64]:
    # Ranks count up from row to row, so that a rank says its row.
    places: npt.NDArray[np.int64] = kids["kid"].to_numpy() - batch["kid"][0].as_py()
    return places


def _repeated(
    connection: duckdb.DuckDBPyConnection, table: Table, batch: pa.Table, shared: Mask
) -> Mask:
    """Rows whose key a row before them has."""
    mask = np.zeros(batch.num_rows, dtype=np.bool_)
    if not shared.any():
        return mask
    keys = ", ".join(table.key)
    firsts = _asked(
        connection,
        _keys(table, batch, shared),
        f"SELECT min(kid) AS kid FROM offered GROUP BY {keys}",
    )
    if firsts.num_rows < np.count_nonzero(shared):
        mask |= shared
        mask[_places(batch, firsts)] = False
    return mask


def _covered(
    connection: duckdb.DuckDBPyConnection, table: Table, times: npt.NDArray[np.int64]
) -> tuple[Mask, str]:
    """Rows at moments at which something may be stored, and the condition for what is."""
    first = int(times.min())
    stored = f"{table.window} BETWEEN {first} AND {int(times.max())}"
    (last,) = connection.execute(
        f"SELECT max({table.window}) FROM {table.name} WHERE {stored}"
    ).fetchall()[0]
    if last is None:
        return np.zeros(len(times), dtype=np.bool_), ""
    return times <= last, f"WHERE {table.window} BETWEEN {first} AND {last}"


def _stored(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    batch: pa.Table,
    *,
    mask: Mask,
    stretch: str,
) -> Mask:
    """Rows whose key is stored."""
    found = np.zeros(batch.num_rows, dtype=np.bool_)
    if mask.any():
        keys = ", ".join(table.key)
        kids = _asked(
            connection,
            _keys(table, batch, mask),
            f"SELECT o.kid FROM offered o SEMI JOIN (SELECT {keys} FROM {table.name} {stretch}) k "
            f"USING ({keys})",
        )
        found[_places(batch, kids)] = True
    return found
