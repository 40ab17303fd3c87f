"""Session dates from text: the format is decided over a whole column, never row by row.

1. Every distinct spelling is classified (``classify``): year first, compact, numeric day/month,
   month name, or epoch seconds/milliseconds.
2. A column must be of one class. Day-month order is decided by evidence: a first part above 12
   proves day-month, a second part above 12 proves month-day. Both at once, or neither in any
   column of the load, is refused, because guessing would move prices to another day.
3. Offsets must agree. The only pair accepted is the summer and winter offset of New York, each
   on dates when New York really had it, which is one time zone written twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from quant_engine.core.errors import ConfigError, DataError

__all__ = [
    "DateColumn",
    "DateReader",
    "DaySpelling",
    "ambiguous_order",
    "classify",
    "shared_order",
    "strptime_format",
]

_TIME = r"(?:[T ]+(\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)\s*(Z|UTC|[+-]\d{2}:?\d{2})?)?"
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})" + _TIME)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})" + _TIME)
_NUMERIC = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})" + _TIME)
_DAY_NAME = re.compile(r"(\d{1,2})[-/ ]([A-Za-z]{3,9})\.?,?[-/ ](\d{4}|\d{2})")
_NAME_DAY = re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2}),? (\d{4})")
_EPOCH = re.compile(r"(\d{9,10}|\d{12,13})(?:\.0)?")
_MONTHS = {
    name: i + 1 for i, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split())
}
_NEW_YORK = ZoneInfo("America/New_York")
_PATTERNS = {
    "year-first": "YYYY-MM-DD",
    "compact": "YYYYMMDD",
    "name": "day, month name, year",
    "epoch": "epoch seconds or milliseconds (UTC)",
    "given": "the given --date-format",
}
_TWO_DIGIT_PIVOT = 70  # 69 -> 2069, 70 -> 1970, the POSIX convention


class DaySpelling(NamedTuple):
    """One spelling, taken apart.

    ``kind`` is the class; ``first``/``second`` are the two numbers whose order is open in class
    ``numeric``; elsewhere month and day. ``clock`` and ``offset`` are text or None.
    """

    kind: str
    year: int
    first: int
    second: int
    clock: str | None
    offset: str | None


@dataclass(frozen=True)
class DateColumn:
    """The distinct dates of one column, still without a day-month decision.

    Parameters
    ----------
    source : str
        File name for messages.
    parts : tuple of DaySpelling
        One per distinct spelling, in the order of the column's dictionary.
    order : str or None
        ``"dmy"``, ``"mdy"`` or None (no evidence in this column); None for unambiguous kinds.
    """

    source: str
    parts: tuple[DaySpelling, ...]
    order: str | None

    @property
    def kind(self) -> str:
        """Class of the spellings."""
        return self.parts[0].kind

    @property
    def needs_order(self) -> bool:
        """Whether the day-month order must come from elsewhere."""
        return self.kind == "numeric" and self.order is None

    def pattern(self, order: str | None = None) -> str:
        """Return how the column writes dates, in words for a person."""
        if self.kind == "numeric":
            return "DD-MM-YYYY" if (self.order or order) == "dmy" else "MM-DD-YYYY"
        return _PATTERNS[self.kind]

    @property
    def has_times(self) -> bool:
        """Whether any spelling carries a clock time other than midnight."""
        return any(p.clock and p.clock.strip("0:.,") for p in self.parts)


class DateReader:
    """Reads date columns of one load, remembering spellings already taken apart.

    Parameters
    ----------
    date_format : str, optional
        A format that overrides recognition, in letters (``"DD-MM-YYYY"``) or as ``strptime``
        writes it (``"%d-%m-%Y"``).

    Examples
    --------
    >>> reader = DateReader()
    >>> column = reader.read(["13-02-2015", "02-03-2015"], source="x.csv")
    >>> print(column.order, reader.sessions(column))
    dmy ['2015-02-13' '2015-03-02']
    """

    def __init__(self, date_format: str | None = None) -> None:
        self._format = None if date_format is None else strptime_format(date_format)
        self._seen: dict[str, DaySpelling] = {}

    def read(self, spellings: Sequence[str], *, source: str) -> DateColumn:
        """Take the distinct spellings of one column apart.

        Parameters
        ----------
        spellings : sequence of str
            Distinct date texts; at least one.
        source : str
            File name for messages.

        Returns
        -------
        DateColumn
            With its day-month order where the column proves it.

        Raises
        ------
        DataError
            For an unrecognised spelling, mixed classes, both orders, or mixed offsets.
        """
        parts = []
        for text in spellings:
            part = self._seen.get(text)
            if part is None:
                part = self._seen[text] = self._take_apart(text, source)
            parts.append(part)
        kinds = sorted({p.kind for p in parts})
        if len(kinds) > 1:
            raise DataError(
                f"dates of {source}",
                wanted="one way of writing dates in a column",
                got=" and ".join(repr(_example(spellings, parts, kind)) for kind in kinds),
                hint="Write the column in one way, best YYYY-MM-DD.",
            )
        _check_offsets(spellings, parts, source)
        return DateColumn(source, tuple(parts), _order(spellings, parts, source))

    def sessions(self, column: DateColumn, order: str | None = None) -> npt.NDArray[np.datetime64]:
        """Return the session date of each distinct spelling.

        Parameters
        ----------
        column : DateColumn
            From `read`.
        order : str, optional
            Day-month order to use when the column proves none.

        Returns
        -------
        ndarray of datetime64[D]
            In the order of `column.parts`.

        Raises
        ------
        DataError
            For a date that does not exist, or an order that is still open.
        """
        use = column.order or order
        if column.kind == "numeric" and use is None:
            raise ambiguous_order([column.source])
        try:
            days = [_to_date(part, use) for part in column.parts]
        except ValueError as error:
            raise DataError(
                f"dates of {column.source}",
                wanted="dates that exist",
                got=str(error),
                hint="Correct the file, or name its format with --date-format.",
            ) from error
        return np.array(days, dtype="datetime64[D]")

    def _take_apart(self, text: str, source: str) -> DaySpelling:
        clean = text.strip()
        if self._format is not None:
            try:
                moment = datetime.strptime(clean, self._format)  # noqa: DTZ007  a session date
            except ValueError as error:
                raise _unrecognised(text, source, f"dates in the format {self._format}") from error
            clock = None if moment.time() == datetime.min.time() else moment.time().isoformat()
            return DaySpelling("given", moment.year, moment.month, moment.day, clock, None)
        part = classify(clean)
        if part is None:
            raise _unrecognised(text, source, "dates such as 2015-07-01")
        return part


def strptime_format(text: str) -> str:
    """Return the ``strptime`` form of a date format.

    Parameters
    ----------
    text : str
        Letters (``DD``, ``MM``, ``YYYY`` or ``YY``) or a form that already holds ``%``.

    Returns
    -------
    str

    Raises
    ------
    ConfigError
        When day, month or year is missing.

    Examples
    --------
    >>> strptime_format("DD/MM/YYYY"), strptime_format("%d-%m-%Y")
    ('%d/%m/%Y', '%d-%m-%Y')
    """
    form = text
    if "%" not in form:
        year = ("YYYY", "%Y") if "YYYY" in form else ("YY", "%y")
        for letters, code in (year, ("MM", "%m"), ("DD", "%d")):
            form = form.replace(letters, code, 1)
    parts = ("d", "j"), ("m", "b", "B", "j"), ("y", "Y")
    if not all(any(f"%{code}" in form for code in codes) for codes in parts):
        raise ConfigError(
            "date_format",
            wanted="day, month and year, such as DD-MM-YYYY",
            got=text,
            hint="Write the format in letters, or as Python's strptime does.",
        )
    return form


def classify(text: str) -> DaySpelling | None:
    """Take one date spelling apart, or return None when it is not a date.

    Parameters
    ----------
    text : str
        Without surrounding spaces.

    Returns
    -------
    DaySpelling or None

    Examples
    --------
    >>> classify("2015-07-01T00:00:00-04:00")
    DaySpelling(kind='year-first', year=2015, first=7, second=1, clock='00:00:00', offset='-04:00')
    >>> classify("03/04/2015").kind, classify("17-Aug-17").year, classify("soon")
    ('numeric', 2017, None)
    """
    if match := _YEAR_FIRST.fullmatch(text):
        year, _, month, day, clock, offset = match.groups()
        return DaySpelling("year-first", int(year), int(month), int(day), clock, _offset(offset))
    if match := _COMPACT.fullmatch(text):
        year, month, day, clock, offset = match.groups()
        return DaySpelling("compact", int(year), int(month), int(day), clock, _offset(offset))
    if match := _NUMERIC.fullmatch(text):
        first, _, second, year, clock, offset = match.groups()
        return DaySpelling("numeric", _year(year), int(first), int(second), clock, _offset(offset))
    if match := _DAY_NAME.fullmatch(text):
        month = _MONTHS.get(match[2][:3].lower())
        return month and DaySpelling("name", _year(match[3]), month, int(match[1]), None, None)
    if match := _NAME_DAY.fullmatch(text):
        month = _MONTHS.get(match[1][:3].lower())
        return month and DaySpelling("name", _year(match[3]), month, int(match[2]), None, None)
    if match := _EPOCH.fullmatch(text):
        seconds = int(match[1]) / (1000 if len(match[1]) > 10 else 1)
        moment = datetime.fromtimestamp(seconds, UTC)
        clock = moment.strftime("%H:%M:%S")
        return DaySpelling("epoch", moment.year, moment.month, moment.day, clock, "+00:00")
    return None


def shared_order(columns: Iterable[DateColumn]) -> str | None:
    """Return the day-month order that the columns of one load agree on.

    Parameters
    ----------
    columns : iterable of DateColumn
        Of any kind; only numeric ones count.

    Returns
    -------
    str or None
        ``"dmy"`` or ``"mdy"`` when every column with evidence says so, else None.
    """
    orders = {c.order for c in columns if c.kind == "numeric" and c.order is not None}
    return orders.pop() if len(orders) == 1 else None


def ambiguous_order(sources: Sequence[str]) -> DataError:
    """Compose the error for columns whose day-month order cannot be known.

    Parameters
    ----------
    sources : sequence of str
        File names.

    Returns
    -------
    DataError
        Ready to raise.
    """
    return DataError(
        f"dates of {', '.join(sources[:3])}",
        wanted="dates whose day and month can be told apart",
        got="numbers that are all 12 or less, so day-month and month-day both fit",
        hint="Say which with --date-format DD-MM-YYYY or --date-format MM-DD-YYYY.",
    )


def _order(spellings: Sequence[str], parts: Sequence[DaySpelling], source: str) -> str | None:
    if parts[0].kind != "numeric":
        return None
    day_first = next((t for t, p in zip(spellings, parts, strict=True) if p.first > 12), None)
    month_first = next((t for t, p in zip(spellings, parts, strict=True) if p.second > 12), None)
    if day_first is not None and month_first is not None:
        raise DataError(
            f"dates of {source}",
            wanted="one order of day and month",
            got=f"{day_first!r} (day first) and {month_first!r} (month first)",
            hint="Write the column in one way, best YYYY-MM-DD.",
        )
    if day_first is not None:
        return "dmy"
    return "mdy" if month_first is not None else None


def _check_offsets(spellings: Sequence[str], parts: Sequence[DaySpelling], source: str) -> None:
    offsets = {p.offset for p in parts}
    if len(offsets) < 2 or _is_new_york(parts, offsets):
        return
    raise DataError(
        f"dates of {source}",
        wanted="one time zone in a column",
        got=" and ".join(
            repr(next(t for t, p in zip(spellings, parts, strict=True) if p.offset == offset))
            for offset in sorted(offsets, key=str)[:3]
        ),
        hint="Convert the column to one zone, or to plain session dates.",
    )


def _is_new_york(parts: Sequence[DaySpelling], offsets: set[str | None]) -> bool:
    if offsets != {"-05:00", "-04:00"}:
        return False
    for part in parts:
        noon = datetime(part.year, part.first, part.second, 12, tzinfo=_NEW_YORK)
        if noon.strftime("%z") != str(part.offset).replace(":", ""):
            return False
    return True


def _to_date(part: DaySpelling, order: str | None) -> date:
    month, day = part.first, part.second
    if part.kind == "numeric" and order == "dmy":
        month, day = day, month
    try:
        return date(part.year, month, day)
    except ValueError:
        raise ValueError(f"year {part.year}, month {month}, day {day}") from None


def _year(text: str) -> int:
    number = int(text)
    if len(text) == 4:
        return number
    return number + (1900 if number >= _TWO_DIGIT_PIVOT else 2000)


def _offset(text: str | None) -> str | None:
    if text is None:
        return None
    if text in {"Z", "UTC"}:
        return "+00:00"
    return text if ":" in text else f"{text[:3]}:{text[3:]}"


def _example(spellings: Sequence[str], parts: Sequence[DaySpelling], kind: str) -> str:
    return next(t for t, p in zip(spellings, parts, strict=True) if p.kind == kind)


def _unrecognised(text: str, source: str, wanted: str) -> DataError:
    return DataError(
        f"dates of {source}",
        wanted=wanted,
        got=repr(text),
        hint="Name the format with --date-format, or another column with --map date=NAME.",
    )
