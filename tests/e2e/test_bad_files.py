"""Price files that cannot be used: one clear error, and nothing is left behind."""

from __future__ import annotations

import gzip

import pandas as pd
import pytest

pytestmark = pytest.mark.feature("Q-02")

FEW = 12


@pytest.fixture(scope="module")
def few(bars) -> dict[str, pd.DataFrame]:
    """A dozen symbols and a hundred sessions; enough for whatever stops while loading."""
    return {ticker: frame.tail(100) for ticker, frame in list(bars.items())[:FEW]}


@pytest.fixture
def refused(cli, work, tmp_path):
    """Train on frames and raw files and return the one error; the working folder stays clean."""

    def train(frames, files=(), *flags, code=3) -> str:
        prices = cli.write_prices(tmp_path / "prices", frames)
        for name, content in dict(files).items():
            (prices / name).write_bytes(content)
        message = cli.one_error(cli.train(prices, work, "--quiet", *flags), code)
        assert cli.nothing_stored(work)
        return message

    return train


def _changed(frames, change, ticker=None):
    """Apply a change to one symbol's frame (the first), or to every frame with ``ticker="*"``."""
    wanted = ticker or next(iter(frames))
    return {
        name: change(frame.copy()) if wanted in (name, "*") else frame
        for name, frame in frames.items()
    }


@pytest.mark.parametrize("column", ["close", "open", "volume", "date"])
def test_a_missing_column_is_named_with_the_flag_that_maps_it(refused, few, column) -> None:
    message = refused(_changed(few, lambda frame: frame.drop(columns=column)))
    assert f"columns of {next(iter(few))}.csv: " in message
    assert f"(no {column})" in message
    assert f"--map {column}=NAME" in message


def test_an_empty_folder(refused) -> None:
    message = refused({})
    assert "folder prices: wanted files ending in .csv" in message
    assert "got none" in message


JUNK = {
    "AAA.csv": bytes(range(256)) * 40,
    "AAA.csv.gz": gzip.compress(b"date,open,high,low,close,volume\n" * 4000, mtime=0)[:60],
    "AAA.parquet": b"PAR1 and then something else",
    "AAA.feather": b"ARROW1 and then something else",
}


@pytest.mark.parametrize("name", sorted(JUNK))
def test_an_unreadable_file_is_named(refused, few, name) -> None:
    message = refused(few, {name: JUNK[name]})
    assert f"file {name}: wanted a readable CSV" in message
    assert "Download it again or take it out of the folder." in message


def test_a_folder_of_empty_files(refused, few) -> None:
    refused({}, {"AAA.csv": b"", "BBB.csv": b"date,open,high,low,close,volume\n"})


def test_volume_that_is_no_number(refused, few) -> None:
    message = refused(
        _changed(few, lambda frame: frame.assign(volume=["many", *frame["volume"][1:]]))
    )
    assert "volume of " in message
    assert "'many' in data row 1" in message


def test_mixed_time_zones_in_one_column(refused, few) -> None:
    zones = ("T00:00:00Z", "T00:00:00-05:00")

    def change(frame):
        stamps = [day + zones[row % 2] for row, day in enumerate(frame["date"])]
        return frame.assign(date=stamps)

    assert "one time zone in a column" in refused(_changed(few, change))


def test_mixed_time_zones_between_files(refused, few) -> None:
    frames = {
        ticker: frame.assign(date=frame["date"] + (" 00:00:00Z" if row % 2 else " 00:00:00+01:00"))
        for row, (ticker, frame) in enumerate(few.items())
    }
    assert "one time zone in a load" in refused(frames)


def _day_and_month(frame: pd.DataFrame, *, early: bool) -> pd.DataFrame:
    if early:
        frame = frame[frame["date"].str[8:].astype(int) <= 12]
    spelled = [f"{day[8:]}-{day[5:7]}-{day[:4]}" for day in frame["date"]]
    return frame.assign(date=spelled)


def test_dates_whose_day_and_month_cannot_be_told_apart(refused, few) -> None:
    message = refused(_changed(few, lambda frame: _day_and_month(frame, early=True), "*"))
    assert "--date-format DD-MM-YYYY or --date-format MM-DD-YYYY" in message


def test_both_orders_of_day_and_month_in_one_column(refused, few) -> None:
    def change(frame):
        frame = _day_and_month(frame, early=False)
        return frame.assign(date=[*frame["date"][:-1], "09-24-2013"])

    assert "one order of day and month" in refused(_changed(few, change))


def test_bars_inside_the_day(refused, few) -> None:
    def change(frame):
        halves = [frame.assign(date=frame["date"] + f" {hour}:00") for hour in (10, 11)]
        return pd.concat(halves)

    assert "one bar per session" in refused(_changed(few, change))


def test_only_negative_prices(refused, few) -> None:
    message = refused(_changed(few, lambda frame: frame.assign(close=-frame["close"]), "*"))
    assert "at least one usable row" in message


def test_only_future_dates(refused, few) -> None:
    """The calendar ends before 2090, and no such bar can be known today."""

    def change(frame):
        return frame.assign(date="2" + "09" + frame["date"].str[3:])

    refused(_changed(few, change, "*"))


def test_one_symbol_only(refused, bars) -> None:
    message = refused({"XBKQ": bars["XBKQ"]})
    assert "assets: wanted a session with at least 10 assets to rank, got 1 at most" in message
    assert "Load more symbols" in message


def test_fewer_rows_than_the_warm_up(refused, bars) -> None:
    frames = {t: f for t, f in bars.items() if len(f) == 420}
    message = refused(_changed(frames, lambda frame: frame.head(15), "*"))
    assert "sessions: wanted more than the 21 that feature set tiny looks back, got 15" in message


def test_fewer_sessions_than_the_walk_forward_needs(refused, bars) -> None:
    frames = {t: f for t, f in bars.items() if len(f) == 420}
    message = refused(_changed(frames, lambda frame: frame.head(150), "*"))
    assert "Load a longer history" in message


def test_the_same_series_under_many_names(refused, few) -> None:
    series = next(iter(few.values()))
    message = refused({f"AA{letter}": series for letter in "ABCDEFGHIJKL"})
    assert "a series of its own for each symbol" in message
    assert "mislabelled" in message


@pytest.mark.slow
def test_the_mislabelled_scrape_is_refused_with_the_reason(cli, work, shared_data) -> None:
    folder = shared_data / "equities" / "mislabelled_20170810"
    message = cli.one_error(cli.train(folder, work, "--quiet"), 3)
    assert "mislabelled" in message
    assert "Download them again" in message
    assert cli.nothing_stored(work)


def test_a_dry_run_shows_all_faults_of_a_folder_at_once(cli, work, few, tmp_path) -> None:
    prices = cli.write_prices(tmp_path / "prices", few)
    (prices / "AAA.parquet").write_bytes(JUNK["AAA.parquet"])
    (prices / "BBB.csv").write_text("date,open,high,low,volume\n2013-01-02,1,1,1,1\n")
    (prices / "CCC.csv").write_text("date,open,high,low,close,volume\n")
    done = cli.train(prices, work, "--dry-run", "--quiet")
    assert done.code == 3
    assert "faults: 3" in done.stdout
    for part in ("AAA.parquet", "BBB.csv", "CCC.csv: empty_file (skipped)", "nothing was written"):
        assert part in done.stdout
    assert cli.nothing_stored(work)


def test_a_constant_price_is_no_crash(refused, few) -> None:
    """A series that never moves is data, if dull; all of them together cannot be ranked."""
    flat = dict.fromkeys(("open", "high", "low", "close"), 10.0)
    refused(_changed(few, lambda frame: frame.assign(**flat), "*"))
