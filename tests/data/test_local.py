"""Local provider: every fault in a small file, and the real folders."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    MissingFieldError,
    UnreadableFileError,
)
from quant_engine.core.panel import PriceBasis
from quant_engine.data.bars import LoadedBars
from quant_engine.data.columns import parse_column_mapping
from quant_engine.data.providers import BarQuery, make_provider
from quant_engine.data.providers.local import LocalConfig, load_folder
from quant_engine.data.providers.scan import scan

HEADER = "date,open,high,low,close,volume"
ROWS = "2020-01-02,10,11,9,10.5,1000\n2020-01-03,10.5,12,10,11,1200\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "ticker"),
    [
        ("AAPL_data.csv", "AAPL"),
        ("aapl.us.txt.gz", "AAPL"),
        ("deep/er/NYSE:LMT_data.csv.gz", "LMT"),
        ("brk-b.us.txt", "BRK.B"),
        ("NAN.csv", "NAN"),
        ("BTC-USD.csv", "BTC-USD"),
        ("BF.B_data.csv", "BF.B"),
    ],
)
@pytest.mark.feature("Q-09")
def test_symbol_comes_from_the_file_name_without_a_symbol_column(
    tmp_path: Path, name: str, ticker: str
):
    write(tmp_path, name, f"{HEADER}\n{ROWS}")
    bars = load_folder(tmp_path)
    assert bars.tickers == (ticker,)
    assert bars.sources[0].name == name
    assert len(bars.sources[0].sha256) == 64


@pytest.mark.parametrize(
    "header",
    [
        "Date,Open,High,Low,Close,Volume",
        "timestamp,1. open,2. high,3. low,4. close,5. volume",
        "Time,OPEN,HIGH,LOW,CLOSE,Vol",
        "<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
        "\ufeffdate,open,high,low,close,volume",
    ],
)
def test_usual_spellings_are_recognised(tmp_path: Path, header: str):
    write(tmp_path, "A.csv", f"{header}\n{ROWS}")
    frame = load_folder(tmp_path).frame
    assert frame["close"].tolist() == [10.5, 11.0]
    assert frame["volume"].tolist() == [1000.0, 1200.0]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_recognised(tmp_path: Path, delimiter: str):
    write(tmp_path, "A.txt", f"{HEADER}\n{ROWS}".replace(",", delimiter))
    assert load_folder(tmp_path).n_rows == 2


def test_unusual_column_needs_a_mapping_and_the_error_says_how(tmp_path: Path):
    write(tmp_path, "A.csv", f"{HEADER.replace('close', 'Last')}\n{ROWS}")
    with pytest.raises(MissingFieldError, match=r"A\.csv.*no close.*--map close=NAME"):
        load_folder(tmp_path)
    config = LocalConfig(columns=parse_column_mapping(["close=Last"]))
    assert load_folder(tmp_path, config).columns["close"] == "Last"


def test_mapping_to_an_absent_column_or_unknown_name_is_refused(tmp_path: Path):
    write(tmp_path, "A.csv", f"{HEADER}\n{ROWS}")
    with pytest.raises(MissingFieldError, match="Last"):
        load_folder(tmp_path, LocalConfig(columns={"close": "Last"}))
    with pytest.raises(ConfigError, match="closing"):
        parse_column_mapping(["closing=Last"])


def test_two_candidates_for_one_column_are_refused(tmp_path: Path):
    write(tmp_path, "A.csv", "date,open,high,low,close,Close,volume\n2020-01-02,1,1,1,1,2,5\n")
    with pytest.raises(DataError, match="close, Close"):
        load_folder(tmp_path)


def test_one_long_file_keeps_symbols_that_look_like_other_types(tmp_path: Path):
    text = f"Ticker,{HEADER}\n" + "".join(
        f"{symbol},2020-01-02,1,2,1,2,10\n" for symbol in ("NAN", "TRUE", "0700", "NULL", "AAPL")
    )
    write(tmp_path, "all.csv", text)
    assert load_folder(tmp_path / "all.csv").tickers == ("0700", "AAPL", "NAN", "NULL", "TRUE")


def test_name_column_with_company_names_falls_back_to_the_file_name(tmp_path: Path):
    write(tmp_path, "AAPL.csv", f"{HEADER},Name\n2020-01-02,1,2,1,2,10,Apple Inc (new)\n")
    bars = load_folder(tmp_path)
    assert bars.tickers == ("AAPL",)
    assert [fault.rule for fault in bars.faults] == ["symbol_column_ignored"]


def test_parquet_and_feather_give_the_same_bars_as_csv(tmp_path: Path):
    frame = pd.DataFrame(
        {
            "Date": pd.to_datetime(["2020-01-02", "2020-01-03"]),
            "Open": [10, 10.5],
            "High": [11, 12],
            "Low": [9, 10],
            "Close": [10.5, 11.0],
            "Volume": [1000, 1200],
        }
    )
    table = pa.Table.from_pandas(frame)
    write(tmp_path, "csv/A.csv", f"{HEADER}\n{ROWS}")
    (tmp_path / "pq").mkdir()
    pq.write_table(table, tmp_path / "pq" / "A.parquet")
    (tmp_path / "ft").mkdir()
    pyarrow.feather.write_feather(table, tmp_path / "ft" / "A.feather")
    digests = {load_folder(tmp_path / kind).content_digest() for kind in ("csv", "pq", "ft")}
    assert len(digests) == 1


def test_date_index_with_time_zone_keeps_the_local_session(tmp_path: Path):
    index = pd.DatetimeIndex(["2020-01-02", "2020-07-02"], tz="America/New_York", name="Date")
    frame = pd.DataFrame({n: [1.0, 2.0] for n in ("Open", "High", "Low", "Close")}, index)
    frame["Volume"] = 5
    frame.to_parquet(tmp_path / "A.parquet")
    assert load_folder(tmp_path).frame["session"].astype(str).tolist() == [
        "2020-01-02",
        "2020-07-02",
    ]


def test_empty_file_is_skipped_and_counted_but_nothing_usable_is_an_error(tmp_path: Path):
    write(tmp_path, "AMT.csv", HEADER + "\n")
    write(tmp_path, "B.csv", "")
    with pytest.raises(EmptyDataError):
        load_folder(tmp_path)
    with pytest.raises(EmptyDataError):
        scan(tmp_path)
    write(tmp_path, "A.csv", f"{HEADER}\n{ROWS}")
    bars = load_folder(tmp_path)
    assert bars.tickers == ("A",)
    assert [(f.file, f.rule, f.action) for f in bars.faults] == [
        ("AMT.csv", "empty_file", "skipped"),
        ("B.csv", "empty_file", "skipped"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("A.csv.gz", b"not gzip", UnreadableFileError, "gzip"),
        ("A.csv.gz", gzip.compress(b"date,open\n2020", mtime=0)[:-9], UnreadableFileError, "gzip"),
        ("A.parquet", b"PAR1rubbish", UnreadableFileError, "damaged"),
        ("A.feather", b"rubbish", UnreadableFileError, "damaged"),
        ("A.csv", "date,öpen\n".encode("utf-16"), UnreadableFileError, "UTF"),
        ("A.csv", f"{HEADER}\n2020-01-02,1,1,1\n".encode(), UnreadableFileError, "parse"),
        ("A.csv", f"{HEADER}\n2020-01-02,1,1,1,1,many\n".encode(), DataError, "'many' in data row"),
        ("A.csv", b"date,open,high,low,close\n2020-01-02,1,1,1,1\n", MissingFieldError, "volume"),
        ("A.csv", f"{HEADER}\n,1,1,1,1,5\n".encode(), DataError, "dates of A.csv"),
        ("A.csv", f"{HEADER}\n2020-02-30,1,1,1,1,5\n".encode(), DataError, "exist"),
    ],
)
@pytest.mark.feature("T-04")
def test_bad_file_is_one_clear_error_naming_it(
    tmp_path: Path, name: str, content: bytes, error: type[Exception], message: str
):
    write(tmp_path, "GOOD.csv", f"{HEADER}\n{ROWS}")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        load_folder(tmp_path)
    assert name in str(caught.value)
    report = scan(tmp_path)
    assert not report.ok
    assert report.n_rows == 2
    assert name in report.text()


def test_missing_path_and_folder_without_market_files(tmp_path: Path):
    with pytest.raises(UnreadableFileError):
        load_folder(tmp_path / "nowhere")
    write(tmp_path, "LICENSE", "free")
    write(tmp_path, "README.txt", "read me")
    with pytest.raises(EmptyDataError, match="one file per symbol"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (("13-02-2015", "02-03-2015"), ("2015-02-13", "2015-03-02")),
        (("02/13/2015", "03/02/2015"), ("2015-02-13", "2015-03-02")),
        (("20150213", "20150302"), ("2015-02-13", "2015-03-02")),
        (("13-Feb-15", "2-Mar-15"), ("2015-02-13", "2015-03-02")),
        (("Feb 13 2015", "Mar 2 2015"), ("2015-02-13", "2015-03-02")),
        (("2015/02/13", "2015/03/02"), ("2015-02-13", "2015-03-02")),
        (("1423803600", "1425272400"), ("2015-02-13", "2015-03-02")),
        (("2015-02-13T00:00:00Z", "2015-03-02T00:00:00Z"), ("2015-02-13", "2015-03-02")),
        (
            ("2015-02-13 00:00:00-05:00", "2015-07-02 00:00:00-04:00"),
            ("2015-02-13", "2015-07-02"),
        ),
    ],
)
def test_dates_are_read_in_every_usual_form(
    tmp_path: Path, dates: tuple[str, str], expected: tuple[str, str]
):
    body = "".join(f"{day},1,2,1,2,10\n" for day in dates)
    write(tmp_path, "A.csv", f"{HEADER}\n{body}")
    assert tuple(load_folder(tmp_path).frame["session"].astype(str)) == expected


def test_ambiguous_day_month_is_refused_with_the_flag_and_accepted_with_it(tmp_path: Path):
    write(tmp_path, "A.csv", f"{HEADER}\n02-03-2015,1,2,1,2,10\n03-03-2015,1,2,1,2,10\n")
    with pytest.raises(DataError, match="--date-format"):
        load_folder(tmp_path)
    for form in ("%d-%m-%Y", "DD-MM-YYYY"):
        bars = load_folder(tmp_path, LocalConfig(date_format=form))
        assert bars.frame["session"].astype(str).tolist() == ["2015-03-02", "2015-03-03"]
    with pytest.raises(ConfigError, match="DD-MM-YYYY"):
        load_folder(tmp_path, LocalConfig(date_format="dmy"))


def test_another_file_of_the_load_may_prove_the_order(tmp_path: Path):
    write(tmp_path, "A.csv", f"{HEADER}\n02-03-2015,1,2,1,2,10\n")
    write(tmp_path, "B.csv", f"{HEADER}\n13-02-2015,1,2,1,2,10\n")
    assert load_folder(tmp_path).frame["session"].astype(str).tolist() == [
        "2015-03-02",
        "2015-02-13",
    ]
    write(tmp_path, "C.csv", f"{HEADER}\n02-13-2015,1,2,1,2,10\n")
    with pytest.raises(DataError, match="day-month and month-day"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (("13/02/2015", "02/13/2015"), "one order"),
        (("2015-02-13", "20150214"), "one way"),
        (("2015-02-13T00:00:00+00:00", "2015-02-14T00:00:00-05:00"), "one time zone"),
        (("2015-02-13T00:00:00", "2015-02-14T00:00:00Z"), "one time zone"),
        (("2015-02-13 00:00:00-04:00", "2015-07-02 00:00:00-05:00"), "one time zone"),
        (("soon", "later"), "'soon'"),
    ],
)
def test_contradicting_dates_are_refused(tmp_path: Path, dates: tuple[str, str], message: str):
    body = "".join(f"{day},1,2,1,2,10\n" for day in dates)
    write(tmp_path, "A.csv", f"{HEADER}\n{body}")
    with pytest.raises(DataError, match=message):
        load_folder(tmp_path)


def test_time_zones_that_differ_between_files_are_refused(tmp_path: Path):
    write(tmp_path, "A.csv", f"{HEADER}\n2015-02-13T00:00:00Z,1,2,1,2,10\n")
    write(tmp_path, "B.csv", f"{HEADER}\n2015-02-13,1,2,1,2,10\n")
    with pytest.raises(DataError, match="one time zone in a load"):
        load_folder(tmp_path)


def test_bars_inside_the_day_are_refused(tmp_path: Path):
    body = "".join(f"2015-02-13 {hour}:00,1,2,1,2,10\n" for hour in range(10, 16))
    write(tmp_path, "A.csv", f"{HEADER}\n{body}")
    with pytest.raises(DataError, match="one bar per session"):
        load_folder(tmp_path)


def test_symbol_in_two_files_and_misnamed_file_are_noted(tmp_path: Path):
    write(tmp_path, "A.csv", f"{HEADER},symbol\n2020-01-02,1,2,1,2,10,A\n")
    write(tmp_path, "x/A_data.csv", f"{HEADER},symbol\n2020-01-03,1,2,1,2,10,A\n")
    write(tmp_path, "B.csv", f"{HEADER},symbol\n2020-01-02,1,2,1,2,10,C\n")
    bars = load_folder(tmp_path)
    assert {f.rule for f in bars.faults} == {"symbol_in_several_files", "symbol_mismatch"}
    assert bars.tickers == ("A", "C")


def test_content_digest_ignores_places_and_sees_values(tmp_path: Path):
    write(tmp_path, "one/A.csv", f"{HEADER}\n{ROWS}")
    write(tmp_path, "two/deeper/a_data.csv", f"{HEADER.upper()}\n{ROWS}")
    write(tmp_path, "three/A.csv", f"{HEADER}\n{ROWS.replace('1200', '1201')}")
    one, two, three = (load_folder(tmp_path / n).content_digest() for n in ("one", "two", "three"))
    assert one == two != three


def test_query_selects_symbols_and_sessions(tmp_path: Path):
    for name in ("A", "B"):
        write(tmp_path, f"{name}.csv", f"{HEADER}\n{ROWS}")
    provider = make_provider("local", {"vendor": "mine"}, path=tmp_path)
    assert provider.available().ok
    bars = provider.load(BarQuery(tickers=("b",), start="2020-01-03"))
    assert (bars.tickers, bars.n_rows, bars.vendor) == (("B",), 1, "mine")


@pytest.mark.feature("Q-09")
def test_unknown_provider_and_unknown_parameter_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="provider"):
        make_provider("bloomburg")
    with pytest.raises(ConfigError, match="vendr"):
        make_provider("local", {"vendr": "x"}, path=tmp_path)
    with pytest.raises(ConfigError, match="path"):
        make_provider("local")
    assert not make_provider("local", path=tmp_path / "none").available().ok


def test_bars_need_the_required_columns():
    with pytest.raises(DataError, match="volume"):
        LoadedBars(pd.DataFrame({"ticker": ["A"]}), "x", PriceBasis.RAW)


@pytest.mark.feature("Q-09")
def test_real_folder_matches_a_plain_pandas_read(shared_data: Path):
    folder = shared_data / "equities" / "sp500_iex_201802"
    started = time.process_time()
    bars = load_folder(folder, LocalConfig(vendor="iex_201802"))
    elapsed = time.process_time() - started
    assert (bars.n_rows, len(bars.tickers), len(bars.sources)) == (619_040, 505, 505)
    assert elapsed < 6.0
    one = pd.read_csv(folder / "AAL_data.csv")
    ours = bars.select(("AAL",)).frame
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(ours[name], one[name])
    assert ours["session"].astype(str).tolist() == one["date"].tolist()
    print(f"619,040 rows of 505 files in {elapsed:.2f} s")


def test_real_scan_of_the_google_folder(shared_data: Path):
    report = scan(shared_data / "equities" / "sp500_google_201708")
    assert (report.n_rows, len(report.symbols), report.ok) == (606_801, 503, True)
    assert {"LMT", "NBL", "NWL"} <= set(report.symbols.index)
    assert [f.file for f in report.faults] == ["AMT_data.csv.gz"]
    assert report.as_dict()["n_symbols"] == 503
