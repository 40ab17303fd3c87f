"""Exchange sessions: which dates were trading days, and counting in sessions."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import exchange_calendars as xcals
import numpy as np

from quant_engine.core.arrays import TimeVector
from quant_engine.core.errors import ConfigError, DataError, did_you_mean


def sessions_between(calendar: str, first: Any, last: Any) -> TimeVector:
    """Return the sessions of an exchange from first to last, both inclusive.

    Parameters
    ----------
    calendar : str
        Exchange calendar name such as ``"XNYS"``, or ``"24/7"``.
    first, last : date-like
        Bounds.

    Returns
    -------
    ndarray of datetime64[D], shape (S,)
        Sessions in ascending order; empty when there is none.

    Raises
    ------
    ConfigError
        For an unknown calendar.
    DataError
        When the calendar's holidays are not recorded for these years.

    Examples
    --------
    >>> sessions_between("XNYS", "2020-07-02", "2020-07-06").astype(str).tolist()
    ['2020-07-02', '2020-07-06']
    """
    start, stop = np.datetime64(first, "D"), np.datetime64(last, "D")
    if stop < start:
        return np.empty(0, dtype="datetime64[D]")
    table = _sessions(calendar, _year(start), _year(stop))
    window = table[np.searchsorted(table, start) : np.searchsorted(table, stop, side="right")]
    return window


def is_session(calendar: str, dates: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which dates are sessions of an exchange.

    Parameters
    ----------
    calendar : str
        Exchange calendar name.
    dates : array-like of dates, shape (D,)
        Dates to test.

    Returns
    -------
    ndarray of bool, shape (D,)
        True where the date is a session.
    """
    values = np.asarray(dates, dtype="datetime64[D]")
    if values.size == 0:
        return np.zeros(0, dtype=bool)
    return np.isin(values, sessions_between(calendar, values.min(), values.max()))


def shift_sessions(calendar: str, session: Any, count: int) -> np.datetime64:
    """Return the session `count` sessions later (negative = earlier).

    Parameters
    ----------
    calendar : str
        Exchange calendar name.
    session : date-like
        A session of the calendar.
    count : int
        Number of sessions to move.

    Returns
    -------
    datetime64[D]
        The shifted session.

    Raises
    ------
    DataError
        When `session` is not a session, or the exchange was closed too long around it.

    Examples
    --------
    >>> str(shift_sessions("XNYS", "2020-07-02", 1))
    '2020-07-06'
    """
    day = np.datetime64(session, "D")
    # Two calendar days per session and ten days of slack cover every weekend and holiday run.
    reach = np.timedelta64(2 * abs(count) + 10, "D")
    table = sessions_between(calendar, day - reach, day + reach)
    row = int(np.searchsorted(table, day))
    if row == table.size or table[row] != day:
        raise DataError(
            "session",
            wanted=f"a trading session of {calendar}",
            got=str(day),
            hint="Weekends and exchange holidays are not sessions.",
        )
    if not 0 <= row + count < table.size:
        raise DataError(
            "session",
            wanted=f"{count} sessions of {calendar} within {reach}",
            got=str(day),
            hint="The exchange was closed for unusually long; shift in smaller steps.",
        )
    return np.datetime64(table[row + count])


@lru_cache(maxsize=64)
def _sessions(calendar: str, first_year: int, last_year: int) -> TimeVector:
    build = _every_day if calendar == "24/7" else partial(_exchange_sessions, calendar)
    sessions = build(first_year, last_year)
    # The table is shared by all callers through the cache.
    sessions.setflags(write=False)
    return sessions


def _every_day(first_year: int, last_year: int) -> TimeVector:
    return np.arange(f"{first_year}-01-01", f"{last_year + 1}-01-01", dtype="datetime64[D]")


def _exchange_sessions(calendar: str, first_year: int, last_year: int) -> TimeVector:
    known = xcals.get_calendar_names(include_aliases=True)
    if calendar not in known:
        raise ConfigError(
            "calendar",
            wanted="an exchange calendar name or '24/7'",
            got=repr(calendar),
            hint=did_you_mean(calendar, known),
        )
    try:
        # Explicit bounds keep the wall clock out of the result.
        table = xcals.get_calendar(calendar, start=f"{first_year}-01-01", end=f"{last_year}-12-31")
    except ValueError as error:
        raise DataError(
            "dates",
            wanted=f"years that the calendar {calendar} records",
            got=f"{first_year} to {last_year}",
            hint=str(error),
        ) from error
    sessions: TimeVector = table.sessions.to_numpy().astype("datetime64[D]")
    return sessions


def _year(day: np.datetime64) -> int:
    return int(day.astype("datetime64[Y]").astype(np.int64)) + 1970
