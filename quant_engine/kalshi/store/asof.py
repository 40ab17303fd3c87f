"""What was known at a moment: versions, quotes and prints by the time they became available.

The best known quote of a market at ``asof`` is, among the rows with ``avail_us <= asof``, the one
of the newest event, and of several for one event the one that was learned last. A late arrival, an
old event that was learned after a newer one, therefore never becomes the best. Rows that became
available at one instant count as one: the one that the rule above prefers.

Absence is NULL and a row never disappears: a quote that is too old, that stands inside a gap of its
book, or that never came, leaves its line of the grid with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quant_engine.core.errors import ConfigError, SchemaMismatchError
from quant_engine.kalshi.store.sweep import best_known
from quant_engine.kalshi.store.tables import table_named

__all__ = ["QUOTE_SOURCES", "quotes_asof", "versions_asof", "versions_on_grid"]

QUOTE_SOURCES = ("quote", "trade", "candle")
"""Where quotes may come from: recorded ones; the last prices that takers of yes and of no paid; or
closing quotes of candles."""
_GRID = {"market_id": pa.int32(), "asof_us": pa.int64(), "stale_after_us": pa.int64()}
_FIELDS = "bid_e4, ask_e4, bid_sz_c2, ask_sz_c2, last_e4"


def versions_asof(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    asof_us: int,
    *,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """State of every entity of a versioned table as it was known at a moment.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    table : str
        Such as ``market_v``.
    asof_us : int
        Moment, microseconds UTC.
    columns : sequence of str, optional
        What is wanted of an entity; everything where None.

    Returns
    -------
    pyarrow.Table
        One row per entity that was known, ordered by entity: per column the newest value that was
        not NULL, and ``avail_us``, the newest availability among them, and ``first_avail_us``.

    Raises
    ------
    ConfigError
        For a table without versions.
    """
    spec = table_named(table)
    if spec.kind != "versions":
        raise ConfigError(
            "table", wanted="a versioned table", got=table, hint="market_v, event_v, series_v."
        )
    newest = ", ".join(
        f"arg_max({name}, (avail_us, kid)) FILTER ({name} IS NOT NULL) AS {name}"
        for name in (spec.own if columns is None else columns)
    )
    keys = ", ".join(spec.key)
    return connection.sql(
        f"SELECT {keys}, {newest}, max(avail_us) AS avail_us, min(avail_us) AS first_avail_us "
        f"FROM {spec.name} WHERE avail_us <= ? GROUP BY {keys} ORDER BY {keys}",
        params=[asof_us],
    ).to_arrow_table()


def versions_on_grid(connection: duckdb.DuckDBPyConnection, table: str, grid: pa.Table) -> pa.Table:
    """State of entities as it was known at many moments.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    table : str
        A versioned table with one entity column, such as ``market_v``.
    grid : pyarrow.Table
        The entity column and ``asof_us``.

    Returns
    -------
    pyarrow.Table
        One row per line of the grid, in its order, as :func:`versions_asof` gives it; what was not
        known then is NULL.

    Raises
    ------
    SchemaMismatchError
        A grid without these columns.
    """
    spec = table_named(table)
    (key,) = spec.key
    if not {key, "asof_us"} <= set(grid.column_names):
        raise SchemaMismatchError(
            "grid", wanted=f"columns {key}, asof_us", got=grid.column_names, hint="Add the rest."
        )
    lines = grid.select([key, "asof_us"]).append_column("line", pa.array(np.arange(grid.num_rows)))
    newest = ", ".join(
        f"arg_max(v.{name}, (v.avail_us, v.kid)) FILTER (v.{name} IS NOT NULL) AS {name}"
        for name in spec.own
    )
    connection.register("grid", lines)
    try:
        return connection.sql(f"""
            SELECT g.{key}, g.asof_us, {newest}, max(v.avail_us) AS avail_us,
              min(v.avail_us) AS first_avail_us
            FROM grid g LEFT JOIN {spec.name} v
              ON v.{key} = g.{key} AND v.avail_us <= g.asof_us
            GROUP BY g.line, g.{key}, g.asof_us ORDER BY g.line
        """).to_arrow_table()
    finally:
        connection.unregister("grid")


_RELATIONS = {
    "quote": f"SELECT market_id, event_us, avail_us, kid, {_FIELDS}, book_ok FROM quote",
    # A taker of yes paid the ask, a taker of no hit the bid.
    "yes": "SELECT market_id, event_us, avail_us, kid, yes_price_e4 FROM trade "
    "WHERE taker_outcome = 'yes'",
    "no": "SELECT market_id, event_us, avail_us, kid, yes_price_e4 FROM trade "
    "WHERE taker_outcome = 'no'",
    "candle": """SELECT market_id, end_us AS event_us, avail_us, kid,
        CASE WHEN bid_c_e4 > 0 THEN bid_c_e4 END AS bid_e4,
        CASE WHEN ask_c_e4 < 10000 THEN ask_c_e4 END AS ask_e4,
        NULL::BIGINT AS bid_sz_c2, NULL::BIGINT AS ask_sz_c2, px_c_e4 AS last_e4,
        true AS book_ok FROM candle""",
}


def _best_rows(
    connection: duckdb.DuckDBPyConnection, lines: pa.Table, relation: str
) -> dict[str, pa.Array]:
    """Columns of a relation at every line: its best known row, NULL where there is none."""
    markets = lines["market_id"].unique()
    latest_us = pc.max(lines["asof_us"]).as_py() or 0
    connection.register("wanted", pa.table({"market_id": markets}))
    try:
        # Few markets on the build side: the rows of the others are passed over while they are read.
        rows = connection.sql(
            f"SELECT r.* FROM ({_RELATIONS[relation]}) r SEMI JOIN wanted USING (market_id) "
            f"WHERE r.avail_us <= {latest_us}"
        ).to_arrow_table()
    finally:
        connection.unregister("wanted")
    places = best_known(
        tuple(rows[name].to_numpy() for name in ("market_id", "event_us", "avail_us", "kid")),
        lines["market_id"].to_numpy(),
        lines["asof_us"].to_numpy(),
    )
    taken = rows.drop_columns(["market_id", "kid"]).take(pa.array(places, mask=places < 0))
    return {name: taken[name].combine_chunks() for name in taken.column_names}


def _looks(
    connection: duckdb.DuckDBPyConnection, lines: pa.Table, source: str
) -> dict[str, pa.Array]:
    """Best known times, prices and sizes at every line, before any is taken away."""
    if source != "trade":
        return _best_rows(connection, lines, source)
    yes, no = (_best_rows(connection, lines, side) for side in ("yes", "no"))
    yes_last = pc.fill_null(pc.greater_equal(yes["event_us"], no["event_us"]), fill_value=True)
    only_no = pc.is_null(yes["event_us"])
    nothing = pa.nulls(lines.num_rows, pa.int64())
    return {
        "event_us": pc.max_element_wise(yes["event_us"], no["event_us"]),
        "avail_us": pc.max_element_wise(yes["avail_us"], no["avail_us"]),
        "bid_e4": no["yes_price_e4"],
        "ask_e4": yes["yes_price_e4"],
        "bid_sz_c2": nothing,
        "ask_sz_c2": nothing,
        "last_e4": pc.if_else(
            pc.and_not(yes_last, only_no), yes["yes_price_e4"], no["yes_price_e4"]
        ),
        "book_ok": pa.repeat(pa.scalar(value=True), lines.num_rows),
    }


def _in_gaps(connection: duckdb.DuckDBPyConnection, n_lines: int) -> npt.NDArray[np.bool_]:
    """Whether a gap that was known covers each line."""
    covered = connection.sql("""
        SELECT DISTINCT g.line FROM grid g JOIN book_gap x ON x.market_id = g.market_id
        AND x.from_us <= g.asof_us AND x.avail_us <= g.asof_us
        AND (x.to_us IS NULL OR g.asof_us < x.to_us)""").to_arrow_table()
    found = np.zeros(n_lines, dtype=np.bool_)
    found[covered["line"].to_numpy()] = True
    return found


def quotes_asof(
    connection: duckdb.DuckDBPyConnection, grid: pa.Table, *, source: str = "quote"
) -> pa.Table:
    """Best known quote at every line of a grid of markets and moments.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    grid : pyarrow.Table
        Columns ``market_id``, ``asof_us`` and ``stale_after_us``; a quote whose event is older than
        that at its line is taken away.
    source : str
        One of :data:`QUOTE_SOURCES`.

    Returns
    -------
    pyarrow.Table
        One row per line of the grid, in its order: ``market_id``, ``asof_us``, ``event_us``,
        ``avail_us``, the prices and sizes (NULL where there is none), and ``absent``: why nothing
        is known (``none``, ``stale``, ``gap``), NULL where something is.

    Raises
    ------
    SchemaMismatchError
        A grid without these columns.
    ConfigError
        An unknown source.

    Notes
    -----
    The cut-off applies after the join: a stale quote hides no older one, it is absent.
    """
    if source not in QUOTE_SOURCES:
        raise ConfigError("source", wanted=f"one of {QUOTE_SOURCES}", got=source, hint="Use quote.")
    if set(grid.column_names) != set(_GRID):
        raise SchemaMismatchError(
            "grid", wanted=f"columns {sorted(_GRID)}", got=grid.column_names, hint="Add the rest."
        )
    lines = pa.table(
        {name: grid[name].cast(kind) for name, kind in _GRID.items()}
        | {"line": pa.array(np.arange(grid.num_rows))}
    )
    connection.register("grid", lines)
    try:
        look = _looks(connection, lines, source)
        gaps = _in_gaps(connection, lines.num_rows)
    finally:
        connection.unregister("grid")
    never = pc.is_null(look["event_us"])
    gap = pc.or_(pa.array(gaps), pc.invert(pc.fill_null(look["book_ok"], fill_value=True)))
    age_us = pc.subtract(lines["asof_us"].combine_chunks(), look["event_us"])
    stale = pc.fill_null(
        pc.greater(age_us, lines["stale_after_us"].combine_chunks()), fill_value=False
    )
    absent = pc.case_when(
        pc.make_struct(never, gap, stale), "none", "gap", "stale", pa.scalar(None, pa.string())
    )
    kept = {
        name: pc.if_else(pc.is_null(absent), look[name], pa.scalar(None, look[name].type))
        for name in _FIELDS.split(", ")
    }
    times = {"event_us": look["event_us"], "avail_us": look["avail_us"]}
    asked = {name: lines[name].combine_chunks() for name in ("market_id", "asof_us")}
    return pa.table(asked | times | kept | {"absent": absent})
