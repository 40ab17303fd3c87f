"""Recorded prices of three vendors: each folder loads by one command, and a few names train."""

from __future__ import annotations

import re

import pandas as pd
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.feature("Q-02"), pytest.mark.feature("Q-15")]

NAMES = (
    *("AAPL", "MSFT", "XOM", "JNJ", "GE", "PG", "JPM", "KO", "PFE", "WMT", "CVX", "INTC"),
    *("CSCO", "MRK"),
)
MEMBERSHIP = "membership_sectors/sp500_ticker_start_end.csv"


@pytest.fixture
def equities(shared_data):
    return shared_data / "equities"


def _dry(cli, work, path, *more: str) -> str:
    args = ["run_train.py", "--path", path, "--dry-run", "--quiet", *more]
    text = cli.call(args, work).ok().stdout
    assert [item.name for item in work.iterdir()] == ["specs"]
    return text


@pytest.mark.parametrize(
    ("folder", "rows", "symbols", "span"),
    [
        ("sp500_iex_201802", "619,040", "505", "2013-02-08 to 2018-02-07"),
        ("sp500_google_201708", "606,801", "503", "2012-08-13 to 2017-08-11"),
        ("stooq_2017", "911,175", "188", "1962-01-02 to 2017-11-10"),
    ],
)
def test_a_whole_folder_is_understood_without_a_flag(
    cli, work, equities, folder, rows, symbols, span
) -> None:
    text = _dry(cli, work, equities / folder)
    assert f"{rows} rows of {symbols} symbols in {symbols} files, {span}" in text
    assert "\nusable\n" in text
    assert f": {symbols} assets, " in text


def test_known_faults_of_the_vendors_are_reported(cli, work, equities) -> None:
    text = _dry(cli, work, equities / "sp500_google_201708")
    counts = dict(re.findall(r"^  (\w+) +([\d,]+)  \w+$", text, flags=re.MULTILINE))
    # Rows with a null open, high or low; violations of the order of high and low.
    assert int(counts["null_ohl"]) >= 384
    assert counts["null_volume"] == "406"
    assert counts["ohlc_order"] == "42"
    assert "AMT_data.csv.gz: empty_file (skipped)" in text
    assert "HLT 2016-12-13 flip_flop" in text


@pytest.mark.feature("Q-13")
def test_member_coverage_is_389_of_497(cli, work, equities) -> None:
    text = _dry(
        cli, work, equities / "sp500_iex_201802", "--membership", str(equities / MEMBERSHIP)
    )
    assert "prices cover 389 of 497 members on 2013-02-08" in text


@pytest.mark.parametrize("mode", [(), ("--dry-run",)], ids=["train", "dry run"])
def test_the_mislabelled_scrape_is_refused_with_the_reason(cli, work, equities, mode) -> None:
    folder = equities / "mislabelled_20170810"
    done = cli.call(["run_train.py", "--path", folder, "--quiet", *mode], work)
    message = cli.one_error(done, 3)
    assert "20 of 20 symbols with the same returns" in message
    assert "mislabelled" in message
    assert cli.nothing_stored(work)


def _train(cli, work, path, *more: str) -> dict[str, str]:
    """Train the fast model and return the content hashes by kind."""
    done = cli.train(path, work, "--quiet", "--json", "--no-version", *more).ok()
    assert done.json["metrics"]["n_assets"] >= 12
    return {item["kind"]: item["sha256"] for item in done.json["artifacts"]}


TAIL = ("--start", "2014-01-02", "--end", "2015-12-31", "--tickers", *NAMES)


@pytest.mark.parametrize("folder", ["sp500_iex_201802", "sp500_google_201708"])
def test_a_few_names_train_and_are_traded(cli, work, equities, folder) -> None:
    args = (*TAIL, "--membership", str(equities / MEMBERSHIP))
    assert "model" in _train(cli, work, equities / folder, *args)
    predicted = cli.call(["run_predict.py", "--jobs", "1"], work).ok()
    assert "session 2015-12-31: " in predicted.stdout
    tested = cli.call(["run_backtest.py", "--jobs", "1", "--json"], work).ok()
    assert tested.json["track"] == "research"
    assert tested.json["metrics"]["n_trades"] > 50


def test_stooq_names_with_every_kind_of_fault_train(cli, work, equities) -> None:
    path = equities / "stooq_2017" / "Stocks"
    flags = ("--start", "2010-01-04", "--end", "2012-12-31")
    assert "model" in _train(cli, work, path, *flags)
    cli.call(["run_predict.py", "--jobs", "1"], work).ok()


@pytest.fixture
def part_of_iex(equities) -> pd.DataFrame:
    files = [equities / "sp500_iex_201802" / f"{name}_data.csv" for name in NAMES]
    return pd.concat([pd.read_csv(path) for path in files], ignore_index=True)


def test_one_long_parquet_file_gives_the_panel_of_the_folder(
    cli, work, equities, part_of_iex, tmp_path
) -> None:
    path = tmp_path / "long.parquet"
    shuffled = part_of_iex.sample(frac=1.0, random_state=3)
    shuffled.assign(date=pd.to_datetime(shuffled["date"])).to_parquet(path)
    folder = _train(cli, work, equities / "sp500_iex_201802", *TAIL)
    long = _train(cli, work, path, *TAIL)
    for kind in ("panel", "feature_panel", "model", "oos_predictions"):
        assert long[kind] == folder[kind], kind


def test_a_file_with_the_day_first_gives_the_same_panel(
    cli, work, equities, part_of_iex, tmp_path
) -> None:
    days = pd.to_datetime(part_of_iex["date"])
    path = tmp_path / "day_first.csv"
    part_of_iex.assign(date=days.dt.strftime("%d-%m-%Y")).to_csv(path, index=False)
    assert "dates: DD-MM-YYYY" in _dry(cli, work, path)
    assert (
        _train(cli, work, path, *TAIL)["panel"]
        == _train(cli, work, equities / "sp500_iex_201802", *TAIL)["panel"]
    )
