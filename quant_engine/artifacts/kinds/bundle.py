"""Bundle: named tables with declared columns, and named JSON documents.

Most kinds are bundles; their modules declare columns and this one checks, writes and reads them.
Tables are Parquet files written with fixed options, so that equal tables have equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quant_engine.artifacts.files import json_bytes, read_json
from quant_engine.core.errors import SchemaMismatchError

Dtype: TypeAlias = Literal["float", "int", "bool", "str", "session", "ts"]

_ARROW: dict[str, pa.DataType] = {
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "str": pa.string(),
    "session": pa.date32(),
    "ts": pa.timestamp("us", tz="UTC"),
}

# What pandas' infer_dtype may find in a column of each declared dtype; "empty" = all missing.
_ACCEPTED: dict[str, frozenset[str]] = {
    "float": frozenset({"floating", "integer", "mixed-integer-float", "empty"}),
    "int": frozenset({"integer", "floating", "empty"}),
    "bool": frozenset({"boolean", "empty"}),
    "str": frozenset({"string", "categorical", "empty"}),
    "session": frozenset({"datetime64", "date", "empty"}),
    "ts": frozenset({"datetime64", "empty"}),
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    dtype : {"float", "int", "bool", "str", "session", "ts"}
        Sessions are dates, ts are UTC instants.
    doc : str
        Meaning, with the unit.
    optional : bool
        True when the table may lack it.
    """

    dtype: Dtype
    doc: str
    optional: bool = False


TableSchema: TypeAlias = Mapping[str, Column]


@dataclass(frozen=True)
class Bundle:
    """Tables and documents of one artifact.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Plain columns, default index.
    documents : mapping of str to JSON-like
        Plain values.
    """

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    documents: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BundleKind:
    """Owner of the layout of one bundle kind.

    Parameters
    ----------
    name : str
        Name of the kind.
    schema_version : int
        Raised when columns or meanings change.
    packages : tuple of str
        Packages whose sources determine the content.
    tables : mapping of str to TableSchema
        Declared tables.
    documents : tuple of str
        Declared documents.
    signed : bool
        True for evaluation and promotion records.
    open_tables : tuple of str
        Tables that may carry further columns (float, int, bool or str), such as one per feature.
    """

    name: str
    schema_version: int
    packages: tuple[str, ...]
    tables: Mapping[str, TableSchema]
    documents: tuple[str, ...] = ()
    signed: bool = False
    open_tables: tuple[str, ...] = ()

    def write(self, value: Bundle, folder: Path) -> None:
        """Write ``TABLE.parquet`` and ``DOCUMENT.json`` files after checking columns."""
        _same_names(self.name, "tables", self.tables, value.tables)
        _same_names(self.name, "documents", self.documents, value.documents)
        for name, schema in self.tables.items():
            table = self._to_arrow(name, schema, value.tables[name])
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd", version="2.6")
        for name in self.documents:
            (folder / f"{name}.json").write_bytes(json_bytes(value.documents[name]))

    def read(self, folder: Path) -> Bundle:
        """Read tables and documents back, columns in declared order."""
        tables = {}
        for name, schema in self.tables.items():
            frame = pq.read_table(folder / f"{name}.parquet").to_pandas()
            frame = frame.drop(columns=[c for c in frame.columns if c.startswith("__index")])
            for column, spec in schema.items():
                if column in frame and spec.dtype == "session":
                    frame[column] = pd.to_datetime(frame[column]).astype("datetime64[us]")
            self._check(name, schema, list(frame.columns))
            tables[name] = frame
        documents = {name: read_json(folder / f"{name}.json") for name in self.documents}
        return Bundle(tables, documents)

    def _to_arrow(self, name: str, schema: TableSchema, frame: pd.DataFrame) -> pa.Table:
        self._check(name, schema, [str(column) for column in frame.columns])
        declared = [column for column in schema if column in frame.columns]
        extra = [column for column in frame.columns if column not in schema]
        arrays, fields = [], []
        for column in [*declared, *extra]:
            dtype = schema[column].dtype if column in schema else _inferred(frame[column])
            arrays.append(_arrow_column(f"{self.name}.{name}.{column}", dtype, frame[column]))
            fields.append(pa.field(str(column), _ARROW[dtype]))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _check(self, name: str, schema: TableSchema, columns: list[str]) -> None:
        missing = [c for c, spec in schema.items() if c not in columns and not spec.optional]
        unknown = [c for c in columns if c not in schema and name not in self.open_tables]
        if missing or unknown:
            raise SchemaMismatchError(
                f"{self.name} table {name!r}",
                wanted=f"columns {[c for c in schema]}",
                got=f"missing {missing}, unknown {unknown}",
                hint="Columns are declared in quant_engine/artifacts/kinds.",
            )


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Write a table as Parquet, for an export that a person asked for.

    Parameters
    ----------
    table : DataFrame
        Plain columns; the index is left out.

    Returns
    -------
    bytes
        A Parquet file; equal tables give equal bytes.

    Examples
    --------
    >>> parquet_bytes(pd.DataFrame({"a": [1]}))[:4]
    b'PAR1'
    """
    sink = io.BytesIO()
    content = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(content, sink, compression="zstd", version="2.6")
    return sink.getvalue()


def _inferred(values: pd.Series[Any]) -> Dtype:
    """Dtype of a column that its table does not declare, from what it holds."""
    if pd.api.types.is_bool_dtype(values):
        return "bool"
    if pd.api.types.is_integer_dtype(values):
        return "int"
    return "float" if pd.api.types.is_float_dtype(values) else "str"


def _arrow_column(where: str, dtype: Dtype, values: pd.Series[Any]) -> pa.Array:
    """Convert one column, refusing what Arrow or NumPy would reinterpret instead of convert."""
    found = "empty" if values.isna().all() else pd.api.types.infer_dtype(values, skipna=True)
    try:
        if found in _ACCEPTED[dtype]:
            plain = _plain_values(dtype, values, found)
            return pa.array(plain, type=_ARROW[dtype], from_pandas=dtype != "float")
    except (pa.ArrowException, OverflowError, ValueError) as error:
        found = str(error)[:200]
    raise SchemaMismatchError(
        where, wanted=dtype, got=found, hint="Convert the column before storing."
    )


def _plain_values(dtype: Dtype, values: pd.Series[Any], found: str) -> Any:
    if found == "empty":
        return np.full(len(values), np.nan) if dtype == "float" else [None] * len(values)
    if dtype == "float":
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if dtype in ("ts", "session") and (dtype == "ts") != hasattr(values.dtype, "tz"):
        raise ValueError(f"times {'without' if dtype == 'ts' else 'with'} a time zone")
    if dtype == "session":
        stamps = values.to_numpy().astype("datetime64[us]")
        days = stamps.astype("datetime64[D]")
        if ((days != stamps) & ~np.isnat(stamps)).any():
            raise ValueError("dates with a time of day")
        return days
    return values


def _same_names(kind: str, what: str, declared: Any, present: Any) -> None:
    if set(declared) != set(present):
        raise SchemaMismatchError(
            f"{kind} {what}",
            wanted=sorted(declared).__repr__(),
            got=sorted(present),
            hint="Tables and documents are declared in quant_engine/artifacts/kinds.",
        )
