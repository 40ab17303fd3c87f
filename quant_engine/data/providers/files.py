"""One market-data file -> its columns, in arrays, with the file's record.

Text (CSV, TXT, TSV, also ``.gz``), Parquet and Feather. Numbers are parsed by Arrow in one pass;
only when that fails is the file read again as text, to name the cell that is wrong. Symbols are
always text: a company may be called ``NAN``, ``TRUE`` or ``0700``.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from quant_engine.core.errors import DataError, EmptyDataError, UnreadableFileError
from quant_engine.core.hashing import sha256_bytes
from quant_engine.data.bars import OPTIONAL_FIELDS, REQUIRED_FIELDS, SourceRecord
from quant_engine.data.columns import recognise_columns

__all__ = ["FILE_SUFFIXES", "FileColumns", "TextColumn", "is_market_file", "read_market_file"]

TEXT_SUFFIXES = (".csv", ".txt", ".tsv", ".csv.gz", ".txt.gz", ".tsv.gz")
FILE_SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".pq", ".feather", ".arrow")
_DOCUMENTS = ("license", "licence", "readme", "notice", "changelog", "sources")
_NUMERIC = (*REQUIRED_FIELDS, *OPTIONAL_FIELDS)
_NULLS = ["", "-", "--", "NA", "N/A", "#N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "N/D"]


@dataclass(frozen=True)
class TextColumn:
    """A text column as codes into its distinct values.

    Parameters
    ----------
    codes : ndarray of int64, shape (R,)
        Position in `values` of each row.
    values : tuple of str
        Distinct texts in order of appearance.
    """

    codes: npt.NDArray[np.int64]
    values: tuple[str, ...]


@dataclass(frozen=True)
class FileColumns:
    """The recognised columns of one file.

    Parameters
    ----------
    record : SourceRecord
        Name, bytes, digest, rows.
    columns : mapping of str to str
        Canonical name -> spelling in the file.
    dates : TextColumn or ndarray of datetime64[us], shape (R,)
        Text still to be read as dates, or typed local times.
    zone : str or None
        Time zone of typed dates.
    symbols : TextColumn or None
        None when the file has no symbol column.
    values : mapping of str to ndarray of float64, shape (R,)
        Prices, volume and optional fields; NaN = the file gave none.
    """

    record: SourceRecord
    columns: Mapping[str, str]
    dates: TextColumn | npt.NDArray[np.datetime64]
    zone: str | None
    symbols: TextColumn | None
    values: Mapping[str, npt.NDArray[np.float64]]


def is_market_file(name: str) -> bool:
    """Tell by its name whether a file may hold bars.

    Parameters
    ----------
    name : str
        File name without folders.

    Returns
    -------
    bool
        False for hidden files, licences, read-me files and unknown endings.

    Examples
    --------
    >>> [is_market_file(n) for n in ("aapl.us.txt.gz", "LICENSE", "README.txt", ".x.csv")]
    [True, False, False, False]
    """
    lower = name.lower()
    if lower.startswith((".", "_")) or lower.split(".")[0] in _DOCUMENTS:
        return False
    return lower.endswith(FILE_SUFFIXES)


def read_market_file(path: Path, name: str, mapping: Mapping[str, str]) -> FileColumns:
    """Read one file.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Name relative to the folder, used in records and messages.
    mapping : mapping of str to str
        Explicit canonical -> source column names.

    Returns
    -------
    FileColumns
        With at least one row.

    Raises
    ------
    EmptyDataError
        For an empty file or one with only a header.
    UnreadableFileError
        For a damaged archive, a ragged table, an encoding that is not UTF-8.
    MissingFieldError
        For a missing column.
    DataError
        For text where numbers belong.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(name, str(error.strerror)) from error
    lower = name.lower()
    if lower.endswith(TEXT_SUFFIXES):
        table, columns = _read_text(raw, name, mapping)
    else:
        table, columns = _read_binary(raw, name, mapping)
    if table.num_rows == 0:
        raise _empty(name, "a header and no rows")
    record = SourceRecord(name, len(raw), sha256_bytes(raw), table.num_rows)
    dates, zone = _dates(table.column(columns["date"]), name)
    return FileColumns(
        record=record,
        columns=columns,
        dates=dates,
        zone=zone,
        symbols=_text(table.column(columns["symbol"])) if "symbol" in columns else None,
        values={
            field: _numbers(table.column(spelling), field, name)
            for field, spelling in columns.items()
            if field in _NUMERIC
        },
    )


def _read_text(
    raw: bytes, name: str, mapping: Mapping[str, str]
) -> tuple[pa.Table, dict[str, str]]:
    if name.lower().endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(name, f"a damaged gzip archive ({error})") from error
    if not raw.strip():
        raise _empty(name, "no content")
    header, delimiter = _header(raw, name)
    columns = recognise_columns(header, mapping, source=name)
    types = {
        spelling: pa.float64() if field in _NUMERIC else pa.string()
        for field, spelling in columns.items()
    }
    try:
        return _parse_csv(raw, types, delimiter), columns
    except pa.ArrowInvalid as error:
        raise _explain(raw, columns, delimiter, name, str(error)) from error


def _header(raw: bytes, name: str) -> tuple[list[str], str]:
    """Return the header's names and the delimiter, which is the commonest candidate in it."""
    first = raw.split(b"\n", 1)[0]
    try:
        line = first.decode("utf-8-sig").strip("\r")
    except UnicodeDecodeError as error:
        raise _unreadable(name, "text that is not UTF-8") from error
    if "\x00" in line:
        raise _unreadable(name, "binary content or UTF-16 text")
    delimiter = max(",;\t|", key=line.count)
    return next(csv.reader([line], delimiter=delimiter)), delimiter


def _parse_csv(raw: bytes, types: Mapping[str, pa.DataType], delimiter: str) -> pa.Table:
    return pacsv.read_csv(
        pa.BufferReader(raw),
        read_options=pacsv.ReadOptions(use_threads=len(raw) > 4_000_000),
        parse_options=pacsv.ParseOptions(delimiter=delimiter),
        convert_options=pacsv.ConvertOptions(
            include_columns=list(types),
            column_types=types,
            null_values=_NULLS,
            strings_can_be_null=False,
        ),
    )


def _explain(
    raw: bytes, columns: Mapping[str, str], delimiter: str, name: str, cause: str
) -> DataError:
    """Name the first cell that is not a number, or say that the table itself is broken."""
    try:
        table = _parse_csv(raw, dict.fromkeys(columns.values(), pa.string()), delimiter)
    except pa.ArrowInvalid:
        return _unreadable(name, f"a table that does not parse ({cause.splitlines()[0]})")
    for field, spelling in columns.items():
        if field in _NUMERIC:
            try:
                _numbers(table.column(spelling), field, name)
            except DataError as error:
                return error
    return _unreadable(name, cause.splitlines()[0])


def _read_binary(
    raw: bytes, name: str, mapping: Mapping[str, str]
) -> tuple[pa.Table, dict[str, str]]:
    if not raw:
        raise _empty(name, "no content")
    buffer = pa.BufferReader(raw)
    try:
        if name.lower().endswith((".parquet", ".pq")):
            table = pq.read_table(buffer)
        else:
            table = pa.ipc.open_file(buffer).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(name, f"a damaged file ({str(error).splitlines()[0]})") from error
    columns = recognise_columns(table.column_names, mapping, source=name)
    return table, columns


def _dates(
    column: pa.ChunkedArray, name: str
) -> tuple[TextColumn | npt.NDArray[np.datetime64], str | None]:
    if column.null_count:
        raise DataError(
            f"dates of {name}",
            wanted="a date in every row",
            got=f"{column.null_count} rows without one",
            hint="Remove those rows.",
        )
    kind = column.type
    if pa.types.is_timestamp(kind):
        local = pc.local_timestamp(column) if kind.tz else column
        return local.cast(pa.timestamp("us"), safe=False).to_numpy(), kind.tz
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us")).to_numpy(), None
    return _text(column.cast(pa.string())), None


def _text(column: pa.ChunkedArray) -> TextColumn:
    encoded = pc.fill_null(column.cast(pa.string()), "").combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.to_numpy().astype(np.int64)
    return TextColumn(codes, tuple(encoded.dictionary.to_pylist()))


def _numbers(column: pa.ChunkedArray, field: str, name: str) -> npt.NDArray[np.float64]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _parse_numbers(column.to_pylist(), field, name)
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _not_numeric(field, name, f"values of type {column.type}") from error
    return numbers.to_numpy().astype(np.float64)


def _parse_numbers(cells: list[str | None], field: str, name: str) -> npt.NDArray[np.float64]:
    numbers = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        text = (cell or "").strip()
        if text in _NULLS:
            continue
        try:
            numbers[row] = float(text)
        except ValueError as error:
            raise _not_numeric(field, name, f"{text!r} in data row {row + 1}") from error
    return numbers


def _not_numeric(field: str, name: str, got: str) -> DataError:
    return DataError(
        f"{field} of {name}",
        wanted="numbers",
        got=got,
        hint=f"Correct the file, or name another column with --map {field}=NAME.",
    )


def _unreadable(name: str, got: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"file {name}",
        wanted="a readable CSV, TXT (also .gz), Parquet or Feather file",
        got=got,
        hint="Download it again or take it out of the folder.",
    )


def _empty(name: str, got: str) -> EmptyDataError:
    return EmptyDataError(
        f"file {name}",
        wanted="at least one row of bars",
        got=got,
        hint="Download it again or take it out of the folder.",
    )
