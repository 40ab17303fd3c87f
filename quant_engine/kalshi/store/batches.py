"""Columns of Python values, arrays or scalars as one Arrow batch with a table's exact types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from quant_engine.core.errors import DataError, SchemaMismatchError, did_you_mean
from quant_engine.kalshi.store.tables import BASES, Table

__all__ = ["arrow_batch"]


def arrow_batch(table: Table, columns: Mapping[str, Any], *, first_kid: int) -> pa.Table:
    """Put columns into the types of a table and number their rows.

    Parameters
    ----------
    table : Table
        Where they go; columns that are left out are NULL.
    columns : mapping of str to sequence or scalar
        One value per row; a scalar stands for every row.
    first_kid : int
        Rank of the first row; the others follow.

    Returns
    -------
    pyarrow.Table
        All columns of the table, in their order.

    Raises
    ------
    SchemaMismatchError
        A column that the table has not, of another length, or of another type.
    DataError
        A row without its key or without when it was available, or an unknown basis.

    Examples
    --------
    >>> from quant_engine.kalshi.store.tables import table_named
    >>> made = arrow_batch(
    ...     table_named("trade"),
    ...     {"trade_id": ["a"], "event_us": [5], "avail_us": [6], "avail_basis": "assumed",
    ...      "recorded_us": 9, "src": "x"},
    ...     first_kid=7,
    ... )
    >>> made["kid"].to_pylist(), made["market_id"].to_pylist()
    ([7], [None])
    """
    unknown = sorted(set(columns) - set(table.columns))
    if unknown:
        raise SchemaMismatchError(
            unknown[0],
            wanted=f"a column of {table.name}",
            got="none",
            hint=did_you_mean(unknown[0], table.columns),
        )
    lengths = {name: len(v) for name, v in columns.items() if not _is_scalar(v)}
    if len(set(lengths.values())) != 1:
        raise SchemaMismatchError(
            table.name, wanted="columns of one length", got=lengths, hint="Give one value per row."
        )
    n_rows = next(iter(lengths.values()))
    arrays = []
    for field in table.schema:
        value: Any = columns.get(field.name)
        if field.name == "kid":
            value = np.arange(first_kid, first_kid + n_rows)
        arrays.append(_array(table, field, value, n_rows))
    made = pa.table(arrays, names=table.schema.names)
    _refuse_incomplete(table, made)
    return made


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bytes | int | float | bool)


def _array(table: Table, field: pa.Field, value: Any, n_rows: int) -> pa.Array | pa.ChunkedArray:
    try:
        if value is None:
            return pa.nulls(n_rows, field.type)
        if _is_scalar(value):
            if isinstance(value, str):
                # One text for all rows costs four bytes a row this way, and the database takes it.
                codes = pa.array(np.zeros(n_rows, dtype=np.int32))
                return pa.DictionaryArray.from_arrays(codes, pa.array([value]))
            return pa.repeat(pa.scalar(value, type=field.type), n_rows)
        if isinstance(value, pa.Array | pa.ChunkedArray):
            return value if pa.types.is_dictionary(value.type) else value.cast(field.type)
        # Values first, type afterwards: told the type, Arrow would cut 0.5 to a whole 0.
        return pa.array(value).cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise SchemaMismatchError(
            f"{table.name}.{field.name}",
            wanted=f"values of {field.type}",
            got=str(error),
            hint="Prices, counts and times are whole numbers in the unit of the column's name.",
        ) from error


def _refuse_incomplete(table: Table, made: pa.Table) -> None:
    needed = (*table.key, "recorded_us", "avail_us", "avail_basis", "src")
    empty = [name for name in needed if made[name].null_count]
    if empty:
        raise DataError(
            f"{table.name}.{empty[0]}",
            wanted="a value in every row",
            got=f"{made[empty[0]].null_count} rows without",
            hint="A fact without its key or its availability cannot be read as of a moment.",
        )
    bases = set(made["avail_basis"].unique().to_pylist()) - set(BASES)
    if bases:
        raise DataError(
            f"{table.name}.avail_basis",
            wanted="one of " + ", ".join(BASES),
            got=sorted(bases),
            hint="Say what the availability rests on.",
        )
