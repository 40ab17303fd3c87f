"""Reading what archives hold besides JSON answers: CSV, SQLite and Parquet, as plain columns."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow.parquet as pq

from quant_engine.core.errors import UnreadableFileError
from quant_engine.kalshi.exchange.timing import microseconds

__all__ = ["MONTHS", "day_end_us", "read_rows_csv", "read_rows_parquet", "read_rows_sqlite"]

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
"""Month names of event tickers."""


def _unreadable(path: Path, error: Exception) -> UnreadableFileError:
    return UnreadableFileError(
        str(path), wanted="a readable table", got=str(error), hint="Fetch the file again."
    )


def read_rows_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file whose first line names its columns; every value stays text."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise _unreadable(path, error) from error


def read_rows_parquet(path: Path) -> list[dict[str, Any]]:
    """Read a small Parquet file as rows."""
    try:
        return list(pq.read_table(path).to_pylist())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_rows_sqlite(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Read rows of a SQLite file that nobody writes.

    Parameters
    ----------
    path : Path
        The database; it is opened read-only and without a lock, so that a read-only folder works.
    sql : str
        Query.

    Returns
    -------
    list of tuple

    Raises
    ------
    UnreadableFileError
        When it is no such database.
    """
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error


def day_end_us(day: str, zone: str) -> int:
    """Last minute of a day in a city, when its temperature is decided.

    Parameters
    ----------
    day : str
        As in tickers, such as ``26APR20``.
    zone : str
        Time zone of the city.

    Returns
    -------
    int
        23:59 local time, microseconds UTC.

    Examples
    --------
    >>> day_end_us("24AUG16", "America/New_York") == 1723867140000000
    True
    """
    number = MONTHS.index(day[2:5]) + 1
    start = datetime(2000 + int(day[:2]), number, int(day[5:7]), tzinfo=ZoneInfo(zone))
    return microseconds(start + timedelta(hours=23, minutes=59))
