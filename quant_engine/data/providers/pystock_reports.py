"""Pystock reports: SEC filings in one table, each row stamped with the day it was first public.

``archive_date,symbol,end_date,amend,period_focus,fiscal_year,doc_type`` and fourteen numbers. Facts
of the source that decide how it is read:

* a filing is repeated in the drops of the days after it; the first day counts, the repeat says
  nothing new;
* a 10-Q states revenue, income and earnings per share of its three months, but cash flows from the
  beginning of the fiscal year; a 10-K states the year;
* a few rows of one day contradict each other, mostly because two companies stood under one symbol;
  nobody can say which of them is meant, so both are left out;
* a few rows were public before their period ended: a wrong date, left out.
"""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from quant_engine.core.errors import EmptyDataError, MissingFieldError, UnreadableFileError
from quant_engine.core.hashing import sha256_bytes
from quant_engine.data.bars import Fault, SourceRecord, canonical_ticker

__all__ = ["VENDOR", "read_reports"]

VENDOR = "sec_pystock"

_YEAR_TO_DATE, _BALANCE, _QUARTER = "year to date", "balance", "quarter"
_ITEMS = {
    "revenues": ("revenue_usd", _QUARTER),
    "op_income": ("operating_income_usd", _QUARTER),
    "net_income": ("net_income_usd", _QUARTER),
    "eps_basic": ("eps_basic_usd", _QUARTER),
    "eps_diluted": ("eps_diluted_usd", _QUARTER),
    "dividend": ("dividend_per_share_usd", _QUARTER),
    "assets": ("total_assets_usd", _BALANCE),
    "cur_assets": ("current_assets_usd", _BALANCE),
    "cur_liab": ("current_liabilities_usd", _BALANCE),
    "cash": ("cash_usd", _BALANCE),
    "equity": ("book_equity_usd", _BALANCE),
    "cash_flow_op": ("operating_cash_flow_usd", _YEAR_TO_DATE),
    "cash_flow_inv": ("investing_cash_flow_usd", _YEAR_TO_DATE),
    "cash_flow_fin": ("financing_cash_flow_usd", _YEAR_TO_DATE),
}
_QUARTERS = {"Q1": 1, "Q2": 2, "Q3": 3, "FY": 4}
_HEAD = ("symbol", "end_date", "amend", "period_focus", "fiscal_year", "doc_type")
_TYPES = {
    "archive_date": pa.string(),
    "symbol": pa.string(),
    "end_date": pa.date32(),
    "amend": pa.string(),
    "period_focus": pa.string(),
    "fiscal_year": pa.int64(),
    "doc_type": pa.string(),
    **dict.fromkeys(_ITEMS, pa.float64()),
}


def read_reports(path: Path) -> tuple[pd.DataFrame, SourceRecord, tuple[Fault, ...]]:
    """Read the filings of a pystock report table.

    Parameters
    ----------
    path : Path
        CSV, plain or ``.gz``.

    Returns
    -------
    rows : DataFrame
        One row per filing, period and item: ``ticker, item, fiscal_year, fiscal_quarter (1..4),
        span_quarters (quarters that the value covers, 0 = a balance), period_end, known_ts, value``
        and ``is_amendment``; dates without time zone. Sorted by ticker, item, known_ts, period_end.
    source : SourceRecord
        The file.
    faults : tuple of Fault
        Rows left out, by rule.

    Raises
    ------
    UnreadableFileError
        For a damaged file.
    MissingFieldError
        When a column is absent.
    EmptyDataError
        When no usable row is left.
    """
    raw = path.read_bytes()
    frame = _parse(raw, path.name)
    source = SourceRecord(path.name, len(raw), sha256_bytes(raw), len(frame))
    frame = frame.sort_values(["symbol", "known_ts", "is_amendment"], kind="stable")
    kept, faults = _trusted(frame, path.name)
    if kept.empty:
        raise EmptyDataError(
            f"file {path.name}",
            wanted="at least one report",
            got="none",
            hint="Look at the faults, or give another file.",
        )
    return _long(kept), source, faults


def _parse(raw: bytes, name: str) -> pd.DataFrame:
    options = pacsv.ConvertOptions(
        column_types=_TYPES, include_columns=list(_TYPES), strings_can_be_null=False
    )
    try:
        content = gzip.decompress(raw) if name.endswith(".gz") else raw
        table = pacsv.read_csv(io.BytesIO(content), convert_options=options)
    except KeyError as error:
        raise MissingFieldError(
            f"columns of {name}",
            wanted=", ".join(_TYPES),
            got=str(error),
            hint="This is not a table of pystock reports.",
        ) from error
    except (OSError, EOFError, zlib.error, pa.ArrowInvalid) as error:
        raise UnreadableFileError(
            f"file {name}",
            wanted="a CSV of reports",
            got=str(error).splitlines()[0],
            hint="Download it again.",
        ) from error
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    frame["known_ts"] = pd.to_datetime(frame["archive_date"], format="%Y%m%d").dt.as_unit("us")
    frame["period_end"] = frame["end_date"].astype("datetime64[us]")
    frame["is_amendment"] = frame["amend"].str.lower() == "true"
    frame["fiscal_quarter"] = frame["period_focus"].map(_QUARTERS)
    return frame.drop(columns=["archive_date"])


def _trusted(frame: pd.DataFrame, name: str) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
    """Leave out what says nothing or cannot be trusted; every rule looks at the past alone."""
    faults: list[Fault] = []

    def without(rows: pd.DataFrame, bad: pd.Series[bool], rule: str, what: str) -> pd.DataFrame:
        if bad.any():
            faults.append(Fault(name, rule, "skipped", f"{int(bad.sum())} rows: {what}"))
        return rows[~bad]

    stated = [*_HEAD, *_ITEMS]
    frame = without(
        frame, frame["fiscal_quarter"].isna(), "unknown_period", "no fiscal quarter or year"
    )
    wrong = (frame["fiscal_quarter"] == _QUARTERS["FY"]) != (frame["doc_type"] == "10-K")
    frame = without(frame, wrong, "form_and_period", "a yearly period in a 10-Q, or the reverse")
    early = frame["period_end"] > frame["known_ts"]
    frame = without(frame, early, "known_before_end", "public before their period ended")
    same_day = frame.duplicated([*stated, "known_ts"])
    frame = without(frame, same_day, "repeated_row", "the same row twice on one day")
    key = ["symbol", "known_ts", "period_end", "is_amendment"]
    clash = frame.duplicated(key, keep=False)
    frame = without(frame, clash, "contradiction", "several statements of one day for one period")
    repeat = frame.duplicated(stated)
    frame = without(frame, repeat, "repeated_filing", "repeats of an earlier day")
    slot = ["symbol", "fiscal_year", "fiscal_quarter"]
    first_end = frame.groupby(slot, sort=False)["period_end"].transform("first")
    moved = first_end != frame["period_end"]
    frame = without(frame, moved, "second_period_end", "another last day of a known fiscal quarter")
    return frame, tuple(faults)


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    spelled = {text: canonical_ticker(text) for text in frame["symbol"].unique()}
    quarter = frame["fiscal_quarter"].astype(np.int64)
    head = pd.DataFrame(
        {
            "ticker": frame["symbol"].map(spelled),
            "fiscal_year": frame["fiscal_year"],
            "fiscal_quarter": quarter,
            "period_end": frame["period_end"],
            "known_ts": frame["known_ts"],
            "is_amendment": frame["is_amendment"],
        }
    )
    spans = {
        _BALANCE: quarter * 0,
        _YEAR_TO_DATE: quarter,
        _QUARTER: quarter.where(quarter == _QUARTERS["FY"], 1),
    }
    parts = [
        head.assign(item=item, span_quarters=spans[kind], value=frame[column])
        for column, (item, kind) in _ITEMS.items()
    ]
    rows = pd.concat(parts, ignore_index=True).dropna(subset=["value"])
    order = ["ticker", "item", "known_ts", "period_end", "is_amendment"]
    return rows.sort_values(order, kind="stable", ignore_index=True)
