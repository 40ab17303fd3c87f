"""Sessions of exchanges, against holidays that are a matter of record."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.calendar import is_session, sessions_between, shift_sessions
from quant_engine.core.errors import ConfigError, DataError

# Days without trading in New York that no weekend rule gives.
CLOSED = {
    "attacks of September 2001": ["2001-09-11", "2001-09-12", "2001-09-13", "2001-09-14"],
    "hurricane Sandy": ["2012-10-29", "2012-10-30"],
    "funerals of presidents": ["2004-06-11", "2007-01-02", "2018-12-05", "2025-01-09"],
    "Good Friday": ["2015-04-03", "2019-04-19", "2024-03-29"],
    "first Juneteenth that was a holiday, observed on Monday": ["2022-06-20"],
    "Independence Day observed on Friday": ["2020-07-03"],
}
OPEN = ["2001-09-10", "2001-09-17", "2020-06-19", "2021-06-18", "2015-07-02", "2021-12-31"]


@pytest.mark.parametrize("event", CLOSED)
def test_new_york_was_closed(event):
    assert not is_session("XNYS", CLOSED[event]).any()


def test_new_york_was_open():
    assert is_session("XNYS", OPEN).all()


@pytest.mark.parametrize(
    ("year", "count"), [(2001, 248), (2012, 250), (2019, 252), (2020, 253), (2024, 252)]
)
def test_sessions_per_year(year, count):
    assert len(sessions_between("XNYS", f"{year}-01-01", f"{year}-12-31")) == count


def test_other_calendars():
    assert is_session("XLON", ["2020-05-08", "2020-05-25", "2020-05-26"]).tolist() == [
        False,  # Early May holiday, moved to the 75th anniversary of VE day
        False,
        True,
    ]
    assert is_session("24/7", ["2020-12-25", "2021-01-03"]).all()
    assert len(sessions_between("24/7", "2020-01-01", "2020-12-31")) == 366


def test_bounds_are_inclusive_and_empty_ranges_are_empty():
    days = sessions_between("XNYS", "2020-01-02", "2020-01-03")
    assert days.astype(str).tolist() == ["2020-01-02", "2020-01-03"]
    assert days.dtype == np.dtype("datetime64[D]")
    assert sessions_between("XNYS", "2020-01-04", "2020-01-05").size == 0
    assert sessions_between("XNYS", "2020-02-01", "2020-01-01").size == 0
    assert is_session("XNYS", []).size == 0


@pytest.mark.parametrize("calendar", ["XNYS", "24/7"])
def test_the_shared_table_cannot_be_written_to(calendar):
    days = sessions_between(calendar, "2020-01-01", "2020-01-31")
    with pytest.raises(ValueError, match="read-only"):
        days[0] = np.datetime64("1999-01-01")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 250), st.integers(-100, 100))
def test_shift_counts_positions_in_the_table(start, count):
    table = sessions_between("XNYS", "2019-01-01", "2021-12-31")
    row = start + 200
    assert shift_sessions("XNYS", table[row], count) == table[row + count]


def test_shift_over_the_year_end_and_long_closures():
    assert str(shift_sessions("XNYS", "2019-12-31", 1)) == "2020-01-02"
    assert str(shift_sessions("XNYS", "2001-09-10", 1)) == "2001-09-17"
    assert str(shift_sessions("XTKS", "2019-05-07", -1)) == "2019-04-26"


@pytest.mark.parametrize("day", ["2020-01-04", "2020-07-03"])
def test_shift_from_a_closed_day_is_refused(day):
    with pytest.raises(DataError, match="trading session of XNYS"):
        shift_sessions("XNYS", day, 1)


def test_shift_over_an_unusually_long_closure_is_refused_instead_of_wrapping(monkeypatch):
    days = np.array(["2015-06-25", "2015-06-26", "2015-08-03"], dtype="datetime64[D]")

    def athens(calendar, first, last):
        return days[(days >= first) & (days <= last)]

    monkeypatch.setattr("quant_engine.core.calendar.sessions_between", athens)
    for day, count in (("2015-08-03", -1), ("2015-06-26", 1)):
        with pytest.raises(DataError, match="closed for unusually long"):
            shift_sessions("ATHENS", day, count)


def test_unknown_calendar_names_the_nearest():
    with pytest.raises(ConfigError, match="XNYS"):
        sessions_between("XNYZ", "2020-01-01", "2020-01-31")


def test_years_outside_the_records_are_a_data_error():
    with pytest.raises(DataError, match="years that the calendar XKRX records"):
        sessions_between("XKRX", "1950-01-01", "1950-12-31")
