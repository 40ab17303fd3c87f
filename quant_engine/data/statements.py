"""Statements: numbers of company reports with the day on which each became known.

A row says: for the fiscal quarter of this company that ended on `period_end`, this item had this
value, and the public knew it from `known_ts` on. A restatement is another row with a later
`known_ts`; nothing is overwritten. What was known on a session is `as_of_matrix`: of the newest
period that was known by then, the newest version that was known by then.

Days are dates without time zone: a value with ``known_ts`` of day D stands in the row of session D,
which is a decision after the close of D (`Causality.END_OF_DAY`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from quant_engine.core.asof import asof_join
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    LookAheadError,
    MissingFieldError,
    did_you_mean,
)
from quant_engine.core.ids import asset_id
from quant_engine.core.panel import TimeAxis
from quant_engine.core.published import Published
from quant_engine.data.bars import Fault, SourceRecord
from quant_engine.data.providers.pystock_reports import VENDOR, read_reports

__all__ = [
    "STATEMENT_COLUMNS",
    "Statements",
    "StatementsConfig",
    "as_of_matrix",
    "load_statements",
    "single_quarter",
    "trailing_year",
]

STATEMENT_COLUMNS = (
    "asset_id", "item", "fiscal_year", "fiscal_quarter", "span_quarters", "period_end", "known_ts",
    "value",
)  # fmt: skip
TRAILING, SINGLE = "_ttm", "_q"
"""What the name of an item ends with when it is the sum of four quarters, or one quarter alone."""

_KEY = ["asset_id", "slot"]
_QUARTER_DAYS = 365.25 / 4
_TOLERANCE_DAYS = 40.0  # quarters of 12 and 16 weeks exist, and years of 53


class StatementsConfig(FrozenConfig):
    """How reports are read.

    Parameters
    ----------
    known_by : date or None
        Only what was public by this day; None = all.
    renames : mapping of str to str
        Ticker of the source to the present ticker of the company.

    Examples
    --------
    >>> StatementsConfig().known_by is None
    True
    """

    known_by: date | None = None
    renames: Mapping[str, str] = {}


@dataclass(frozen=True, eq=False)
class Statements:
    """Report items, point in time.

    Parameters
    ----------
    table : DataFrame
        Columns `STATEMENT_COLUMNS`: ``fiscal_quarter`` 1 to 4, ``span_quarters`` the number of
        quarters that a value covers (0 = a balance at the end of the period), ``period_end`` and
        ``known_ts`` dates without time zone, ``value`` in the unit of the item's name. Rows in any
        order; a repeated statement of an unchanged value is allowed and changes nothing.
    vendor : str
        Who published the table.
    sources : tuple of SourceRecord
        Files read.
    faults : tuple of Fault
        What was left out, and why.

    Examples
    --------
    >>> day = pd.Timestamp
    >>> table = pd.DataFrame({"asset_id": ["A@US#1"], "item": ["total_assets_usd"],
    ...     "fiscal_year": [2019], "fiscal_quarter": [4], "span_quarters": [0],
    ...     "period_end": [day("2019-12-31")], "known_ts": [day("2020-02-20")], "value": [5.0]})
    >>> Statements(table, "mine").items
    ('total_assets_usd',)
    """

    table: pd.DataFrame
    vendor: str
    sources: tuple[SourceRecord, ...] = ()
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        missing = [name for name in STATEMENT_COLUMNS if name not in self.table.columns]
        if missing:
            raise MissingFieldError(
                "statements",
                wanted=f"columns {', '.join(STATEMENT_COLUMNS)}",
                got=f"missing {missing}",
                hint="Without the day of publication no report can be used point in time.",
            )
        table = self.table.loc[:, list(STATEMENT_COLUMNS)]
        for name in ("period_end", "known_ts"):
            _check_days(table[name], name)
        early = table["period_end"] > table["known_ts"]
        if early.any():
            raise LookAheadError(
                "statements",
                wanted="period_end <= known_ts in every row",
                got=f"{int(early.sum())} rows known before their period ended",
                hint="Correct the publication days of the source, or leave the rows out.",
            )
        if not table["fiscal_quarter"].between(1, 4).all():
            raise DataError(
                "statements fiscal_quarter",
                wanted="1 to 4",
                got=sorted(table["fiscal_quarter"].unique()),
                hint="The fourth quarter carries the yearly report.",
            )
        order = ["asset_id", "item", "known_ts", "period_end"]
        table = table.sort_values(order, kind="stable", ignore_index=True)
        object.__setattr__(self, "table", table)

    @property
    def items(self) -> tuple[str, ...]:
        """Names of the items, in alphabetical order."""
        return tuple(sorted(self.table["item"].unique()))

    @property
    def asset_ids(self) -> tuple[str, ...]:
        """Companies, in ascending order."""
        return tuple(sorted(self.table["asset_id"].unique()))

    def versions(self, item: str) -> pd.DataFrame:
        """Return every version of an item, oldest first, with its number.

        Parameters
        ----------
        item : str
            A balance; of an item that covers a period ``ITEM_ttm``, the sum of its last four
            quarters, or ``ITEM_q``, one quarter.

        Returns
        -------
        DataFrame
            ``asset_id, slot (4 year + quarter - 1), period_end, known_ts, value, version``
            (1 = first published). Only rows that changed a value; sorted by asset, known_ts, slot.

        Raises
        ------
        MissingFieldError
            When there is no such item.
        ConfigError
            For an item that covers a period without a suffix: reports state quarters, years and
            what lies between under one name.
        """
        if item.endswith(TRAILING):
            return _numbered(trailing_year(self, item.removesuffix(TRAILING)))
        if item.endswith(SINGLE):
            return _numbered(single_quarter(self, item.removesuffix(SINGLE)))
        rows = self._rows(item)
        if (rows["span_quarters"] != 0).any():
            raise ConfigError(
                "statement item",
                wanted=f"{item}{SINGLE} or {item}{TRAILING}",
                got=repr(item),
                hint="Reports mix quarters and years under this name; say which of them you mean.",
            )
        return _numbered(rows[["asset_id", "slot", "period_end", "known_ts", "value"]])

    def _rows(self, item: str) -> pd.DataFrame:
        rows = self.table[self.table["item"] == item]
        if rows.empty:
            raise MissingFieldError(
                "statement item",
                wanted=repr(item),
                got="absent",
                hint=did_you_mean(item, self.items),
            )
        return rows.assign(slot=4 * rows["fiscal_year"] + rows["fiscal_quarter"] - 1)


def load_statements(path: Path, config: StatementsConfig | None = None) -> Statements:
    """Load the reports of a pystock table as point-in-time statements.

    Parameters
    ----------
    path : Path
        ``reports.csv`` of pystock, plain or gzipped, with ``archive_date``.
    config : StatementsConfig, optional
        Last day that counts, and renamed companies.

    Returns
    -------
    Statements
        Vendor ``sec_pystock``; asset_ids are composed from tickers.

    Raises
    ------
    UnreadableFileError, MissingFieldError, EmptyDataError
        For an unusable file, or when nothing was public by `known_by`.
    """
    settings = config or StatementsConfig()
    rows, source, faults = read_reports(path)
    if settings.known_by is not None:
        rows = rows[rows["known_ts"] <= pd.Timestamp(settings.known_by)]
        if rows.empty:
            raise EmptyDataError(
                f"file {path.name}",
                wanted=f"a report public by {settings.known_by}",
                got="none",
                hint="Choose a later known_by.",
            )
    ids = {t: asset_id(settings.renames.get(t, t)) for t in rows["ticker"].unique()}
    table = rows.assign(asset_id=rows["ticker"].map(ids))
    return Statements(table, VENDOR, (source,), faults)


def trailing_year(statements: Statements, item: str) -> pd.DataFrame:
    """Sum of the last four quarters of an item, with the day on which each sum became known.

    At the end of a fiscal year: the yearly report, or the sum of four quarterly ones. Else: the
    last year, plus this year to date, minus last year to the same date. Year to date is what was
    reported as such, or the sum of quarters.

    Parameters
    ----------
    statements : Statements
        Reports.
    item : str
        Item that covers periods; a balance has no sum.

    Returns
    -------
    DataFrame
        ``asset_id, slot, period_end, known_ts, value``: a row whenever a sum became known or was
        changed by a restatement of any part. A sum with a part that is not known does not exist.

    Raises
    ------
    MissingFieldError
        When there is no such item.
    ConfigError
        When the item is a balance.
    """
    to_date = _year_to_date(_flows(statements, item))
    year = to_date["slot"] % 4 == 3
    lagged = _combined(to_date[~year], to_date, (("0", 1.0), ("last_year", 1.0), ("-4", -1.0)))
    whole = to_date[year]
    order = ["asset_id", "known_ts", "slot"]
    return pd.concat([whole, lagged]).sort_values(order, kind="stable", ignore_index=True)


def single_quarter(statements: Statements, item: str) -> pd.DataFrame:
    """One quarter of an item, with the day on which each became known.

    As reported, or the year to date minus the year to the quarter before; so the fourth quarter
    is the yearly report minus the first three.

    Parameters
    ----------
    statements : Statements
        Reports.
    item : str
        Item that covers periods.

    Returns
    -------
    DataFrame
        As for `trailing_year`.

    Raises
    ------
    MissingFieldError
        When there is no such item.
    ConfigError
        When the item is a balance.
    """
    rows = _flows(statements, item)
    single = rows.loc[rows["span_quarters"] == 1, [*_KEY, "period_end", "known_ts", "value"]]
    to_date = _year_to_date(rows)
    later = to_date[to_date["slot"] % 4 != 0]
    gaps = _combined(later, to_date, (("0", 1.0), ("-1", -1.0)))
    order = ["asset_id", "known_ts", "slot"]
    both = pd.concat([single, _until_reported(gaps, single)])
    return both.sort_values(order, kind="stable", ignore_index=True)


def as_of_matrix(
    statements: Statements,
    item: str,
    time_axis: TimeAxis,
    *,
    asset_ids: Sequence[str],
    max_staleness: pd.Timedelta | None = None,
    quarters_ago: int = 0,
) -> Published:
    """What was known of an item on the evening of each session.

    Of the newest period that was public by then (or of the period `quarters_ago` before it), the
    newest version that was public by then. An amendment of an older period does not bring that
    period back.

    Parameters
    ----------
    statements : Statements
        Reports.
    item : str
        A balance, ``ITEM_ttm`` or ``ITEM_q``, see `Statements.versions`.
    time_axis : TimeAxis
        Sessions (T).
    asset_ids : sequence of str
        Companies (N), any; those without reports are NaN.
    max_staleness : Timedelta, optional
        Greatest age since publication; an older value counts as absent.
    quarters_ago : int
        Fiscal quarters before the newest period.

    Returns
    -------
    Published
        Values (T, N) with the day each became known and its period; ``age_days`` is the staleness.

    Raises
    ------
    MissingFieldError
        When there is no such item.
    ConfigError
        For an axis of bars, or a negative lag.
    """
    if time_axis.kind != "session" or quarters_ago < 0:
        raise ConfigError(
            "time_axis and quarters_ago",
            wanted="sessions, and a lag of at least 0",
            got=f"{time_axis.kind}s and {quarters_ago}",
            hint="A publication day says nothing about the hour; views are daily.",
        )
    rows = statements._rows(item.removesuffix(TRAILING).removesuffix(SINGLE))
    rows = rows[rows["asset_id"].isin(asset_ids)]
    if rows.empty:
        shape = (len(time_axis), len(asset_ids))
        never = np.full(shape, np.datetime64("NaT"), dtype="datetime64[D]")
        return Published(np.full(shape, np.nan), never, never)
    mine = Statements(rows.drop(columns="slot"), statements.vendor)
    events = _newest(mine.versions(item), quarters_ago)
    column = {asset: number for number, asset in enumerate(asset_ids)}
    held = list(dict.fromkeys(events["asset_id"]))
    columns = np.array([column[asset] for asset in held], dtype=np.int64)
    days = time_axis.index
    grid = pd.DataFrame(
        {"date": np.tile(days, len(held)), "asset": np.repeat(columns, len(days))}
    ).astype({"date": "datetime64[us]"})
    facts = events.assign(asset=events["asset_id"].map(column), known=events["known_ts"])
    joined = asof_join(
        grid,
        facts[["asset", "known_ts", "known", "period_end", "value"]],
        by=["asset"],
        left_ts="date",
        tolerance=max_staleness,
    )

    def wide(name: str, empty: object, dtype: str) -> np.ndarray:
        matrix = np.full((len(days), len(column)), empty, dtype=dtype)
        matrix[:, columns] = joined[name].to_numpy().reshape(len(held), len(days)).T
        return matrix

    nothing = np.datetime64("NaT")
    return Published(
        wide("value", np.nan, "float64"),
        wide("known", nothing, "datetime64[D]"),
        wide("period_end", nothing, "datetime64[D]"),
    )


def _newest(versions: pd.DataFrame, quarters_ago: int) -> pd.DataFrame:
    """Rows at which the view changes: the newest period moves on, or its value is restated."""
    days = versions.groupby(["asset_id", "known_ts"], sort=True)["slot"].max()
    newest: pd.DataFrame = days.groupby(level="asset_id").cummax().reset_index(name="newest")
    wanted = newest.assign(slot=newest["newest"] - quarters_ago)
    facts = versions[[*_KEY, "period_end", "known_ts", "value"]]
    joined = asof_join(wanted.rename(columns={"known_ts": "at"}), facts, by=_KEY, left_ts="at")
    joined = joined.rename(columns={"known_ts": "stated", "at": "known_ts"})
    # What was said on a day about another period than the wanted one leaves the view as it was.
    same = joined.groupby("asset_id")[["slot", "stated"]].shift()
    again = (same["slot"] == joined["slot"]) & (
        (same["stated"] == joined["stated"]) | (same["stated"].isna() & joined["stated"].isna())
    )
    return joined[~again]


def _year_to_date(rows: pd.DataFrame) -> pd.DataFrame:
    """From the beginning of the fiscal year to each quarter: as reported, or as a sum."""
    quarter = rows["fiscal_quarter"]
    columns = [*_KEY, "period_end", "known_ts", "value"]
    reported = rows.loc[rows["span_quarters"] == quarter, columns]
    single = rows.loc[rows["span_quarters"] == 1, columns]
    parts = [reported]
    for number in (2, 3, 4):
        last = single[single["slot"] % 4 == number - 1]
        sums = _combined(last, single, tuple((str(-back), 1.0) for back in range(number)))
        parts.append(_until_reported(sums, reported))
    return pd.concat(parts).sort_values(["asset_id", "known_ts", "slot"], kind="stable")


def _until_reported(derived: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Derived values of the time before the company states the number itself."""
    first = reported.groupby(_KEY)["known_ts"].min().reset_index(name="stated")
    stated = derived.merge(first, on=_KEY, how="left")
    before = stated["stated"].isna() | (stated["known_ts"] < stated["stated"])
    return derived[before.to_numpy()]


def _flows(statements: Statements, item: str) -> pd.DataFrame:
    rows = statements._rows(item)
    if (rows["span_quarters"] == 0).any():
        raise ConfigError(
            "statement item",
            wanted="an item that covers a period, such as net_income_usd",
            got=f"{item!r}, a balance",
            hint="Use the balance itself.",
        )
    return rows


def _combined(
    targets: pd.DataFrame, parts: pd.DataFrame, terms: tuple[tuple[str, float], ...]
) -> pd.DataFrame:
    """Signed sum of several slots for every target slot, at every day a part became known.

    A term names its slot by its distance from the target, or ``last_year``: the fourth quarter of
    the year before.
    """
    if targets.empty:
        return targets
    ends = targets.drop_duplicates(_KEY)[[*_KEY, "period_end"]]
    facts = parts[[*_KEY, "known_ts", "value"]].assign(part_end=parts["period_end"])

    def at(frame: pd.DataFrame, term: str) -> pd.Series[int]:
        slot = frame["slot"]
        return slot - slot % 4 - 1 if term == "last_year" else slot + int(term)

    days = []
    for term, _ in terms:
        shifted = ends.assign(part=at(ends, term))
        found = shifted.merge(
            facts.rename(columns={"slot": "part"}), on=["asset_id", "part"], how="inner"
        )
        days.append(found[[*_KEY, "known_ts"]])
    events = pd.concat(days).drop_duplicates().merge(ends, on=_KEY)
    total = np.zeros(len(events))
    for term, sign in terms:
        wanted = pd.DataFrame(
            {"asset_id": events["asset_id"], "slot": at(events, term), "at": events["known_ts"]}
        )
        part = asof_join(wanted, facts, by=_KEY, left_ts="at")
        # A mislabelled fiscal year would pair quarters of different years.
        apart = (events["period_end"] - part["part_end"]).dt.days
        excess = apart - _QUARTER_DAYS * (events["slot"] - wanted["slot"])
        regular = excess.abs() <= _TOLERANCE_DAYS
        total += sign * part["value"].where(regular).to_numpy()
    known = events.assign(value=total)[np.isfinite(total)]
    return known[[*_KEY, "period_end", "known_ts", "value"]].sort_values(
        ["asset_id", "known_ts", "slot"], kind="stable"
    )


def _numbered(rows: pd.DataFrame) -> pd.DataFrame:
    order = ["asset_id", "slot", "known_ts"]
    rows = rows.sort_values(order, kind="stable")
    rows = rows.drop_duplicates(order, keep="last")
    before = rows.groupby(_KEY)["value"].shift()
    rows = rows[rows["value"] != before]
    rows = rows.assign(version=rows.groupby(_KEY).cumcount() + 1)
    return rows.sort_values(["asset_id", "known_ts", "slot"], kind="stable", ignore_index=True)


def _check_days(days: pd.Series, name: str) -> None:
    if not pd.api.types.is_datetime64_dtype(days):
        raise DataError(
            f"statements {name}",
            wanted="dates without time zone",
            got=days.dtype,
            hint="Give the first day on whose evening the fact was public.",
        )
    if days.isna().any():
        raise MissingFieldError(
            f"statements {name}",
            wanted="a day in every row",
            got=f"{int(days.isna().sum())} rows without one",
            hint="A fact of which nobody can say when it was known cannot be used.",
        )
