"""Yahoo, WRDS and pystock on recorded shapes; no test touches the network."""

from __future__ import annotations

import io
import tarfile
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import (
    ConfigError,
    EmptyDataError,
    MissingFieldError,
    SchemaMismatchError,
    SourceUnavailableError,
    UnreadableFileError,
)
from quant_engine.core.panel import PriceBasis
from quant_engine.data.providers import PROVIDERS, BarQuery, make_provider
from quant_engine.data.providers.pystock import (
    PystockConfig,
    drop_returns,
    load_pystock,
    read_drops,
    restatements,
)
from quant_engine.data.providers.wrds import (
    BARS_SQL,
    WrdsConfig,
    WrdsProvider,
    bars_from_crsp,
    run_on,
)
from quant_engine.data.providers.yahoo import YahooConfig, YahooProvider, bars_from_yahoo

YAHOO_FIELDS = [
    "Open",
    "High",
    "Low",
    "Close",
    "Adj Close",
    "Volume",
    "Dividends",
    "Stock Splits",
]


def yahoo_answer() -> pd.DataFrame:
    """The shape of yfinance.download(group_by="ticker", auto_adjust=False, actions=True)."""
    index = pd.DatetimeIndex(["2020-08-28", "2020-08-31"], tz="America/New_York", name="Date")
    columns = pd.MultiIndex.from_product([["AAPL", "GONE"], YAHOO_FIELDS])
    values = np.full((2, 16), np.nan)
    values[0, :8] = [126.0, 126.4, 124.6, 124.8, 121.2, 187_630_000, 0.0, 0.0]
    values[1, :8] = [127.6, 131.0, 126.0, 129.0, 125.3, 225_702_700, 0.2, 4.0]
    return pd.DataFrame(values, index=index, columns=columns)


def test_every_registered_provider_says_whether_it_can_run():
    assert {"local", "pystock", "wrds", "yahoo"} <= set(PROVIDERS.names())
    assert not make_provider("wrds").available().ok
    assert make_provider("wrds", {"username": "me"}).available().reason == ""
    for name in PROVIDERS.names():
        assert PROVIDERS.metadata(name).summary.endswith(".")


@pytest.mark.feature("Q-09")
def test_yahoo_answer_becomes_bars():
    bars = bars_from_yahoo(yahoo_answer())
    assert bars.tickers == ("AAPL",)
    assert bars.price_basis is PriceBasis.SPLIT_ADJ
    frame = bars.frame
    assert frame["session"].astype(str).tolist() == ["2020-08-28", "2020-08-31"]
    assert frame["dividend"].tolist() == [0.0, 0.2]
    assert frame["split_factor"].tolist() == [0.0, 4.0]
    assert [fault.message for fault in bars.faults] == ["GONE: no prices from yahoo"]


def test_yahoo_provider_asks_in_yahoo_spelling_and_selects():
    asked = []

    def download(tickers: tuple[str, ...], start: object, end: object, timeout_s: float):
        asked.append((tickers, start, end, timeout_s))
        return yahoo_answer()

    provider = YahooProvider(YahooConfig(), download)
    bars = provider.load(BarQuery(tickers=("aapl", "BRK.B"), start=date(2020, 8, 31)))
    assert asked == [(("AAPL", "BRK-B"), date(2020, 8, 31), None, 30.0)]
    assert bars.n_rows == 1
    with pytest.raises(ConfigError, match="--tickers"):
        provider.load(BarQuery())


@pytest.mark.parametrize("answer", [pd.DataFrame(), yahoo_answer()[["GONE"]]])
def test_yahoo_without_prices_is_a_source_that_did_not_answer(answer: pd.DataFrame):
    provider = YahooProvider(YahooConfig(), lambda *_: answer)
    with pytest.raises(SourceUnavailableError) as caught:
        provider.load(BarQuery(tickers=("GONE",)))
    assert caught.value.exit_code == 6


def test_yahoo_with_other_columns_is_refused():
    with pytest.raises(SchemaMismatchError, match="Volume"):
        bars_from_yahoo(yahoo_answer().drop(columns=[("AAPL", "Volume")]))
    with pytest.raises(SchemaMismatchError, match="1 level"):
        bars_from_yahoo(yahoo_answer()["AAPL"])


def crsp_rows() -> pd.DataFrame:
    """Rows in the shape of crsp.dsf_v2: a split, a day without trade, a reused ticker."""
    names = (
        "permno ticker dlycaldt dlyopen dlyhigh dlylow dlyclose dlyprc dlyvol dlyorddivamt "
        "dlynonorddivamt dlycumfacpr dlycumfacshr"
    ).split()
    rows = [
        (
            14593,
            "AAPL",
            "2014-06-06",
            649.9,
            651.26,
            644.47,
            645.57,
            645.57,
            12_484_000,
            0,
            0,
            7,
            7,
        ),
        (14593, "AAPL", "2014-06-09", 92.7, 93.88, 91.75, 93.70, 93.70, 75_415_000, 0.47, 0, 1, 1),
        (13407, "FB", "2022-06-08", 194.7, 202.0, 193.0, 196.64, 196.64, 22e6, None, None, 1, 1),
        (13407, "META", "2022-06-09", 194.3, 199.4, 183.7, 184.0, 184.0, 23e6, None, None, 1, 1),
        (99999, "FB", "2001-01-02", None, None, None, None, -5.125, 0, None, None, 2, 2),
    ]
    return pd.DataFrame(rows, columns=names)


@pytest.mark.feature("Q-12")
def test_crsp_rows_become_split_adjusted_bars_keyed_by_permno():
    bars = bars_from_crsp(crsp_rows(), asked=("FB", "AAPL"))
    assert dict(zip(bars.tickers, bars.asset_ids, strict=True)) == {
        "AAPL": "14593",
        "FB": "13407",
        "FB_99999": "99999",
    }
    apple = bars.select(("AAPL",)).frame
    np.testing.assert_allclose(apple["close"], [645.57 / 7, 93.70])
    np.testing.assert_allclose(apple["volume"], [12_484_000 * 7, 75_415_000])
    np.testing.assert_allclose(apple["dividend"], [0, 0.47])
    quiet = bars.select(("FB_99999",)).frame.iloc[0]
    assert quiet["close"] == pytest.approx(5.125 / 2)
    assert quiet["volume"] == 0
    assert bars_from_crsp(crsp_rows()).tickers == ("AAPL", "FB", "META")


def test_crsp_total_return_is_the_vendors():
    frame = bars_from_crsp(crsp_rows()).select(("AAPL",)).frame
    ours = (frame["close"].iloc[1] + frame["dividend"].iloc[1]) / frame["close"].iloc[0] - 1
    by_hand = (7 * (93.70 + 0.47)) / 645.57 - 1
    assert ours == pytest.approx(by_hand)


@pytest.mark.feature("Q-13")
def test_wrds_provider_sends_parameters_and_returns_delistings():
    sent = []

    def run(sql: str, parameters: dict[str, object]) -> pd.DataFrame:
        sent.append((sql, dict(parameters)))
        if "stkdelists" in sql:
            return pd.DataFrame(
                {
                    "permno": [99999, 14593],
                    "delistingdt": ["2001-02-01", None],
                    "delret": [-0.55, None],
                    "delreasontype": ["BKPT", None],
                    "delactiontype": ["GDR", None],
                }
            )
        return crsp_rows()

    provider = WrdsProvider(WrdsConfig(username="me"), run)
    bars = provider.load(BarQuery(tickers=("FB", "AAPL"), start=date(2001, 1, 1)))
    assert sent[0][0] == BARS_SQL
    assert sent[0][1] == {
        "tickers": ("FB", "AAPL"),
        "start": "2001-01-01",
        "end": "2261-12-31",
    }
    assert sent[1][1] == {"permnos": (14593, 13407, 99999)}
    assert bars.delistings is not None
    assert bars.delistings["asset_id"].tolist() == ["99999"]
    assert bars.delistings["terminal_return"].tolist() == [-0.55]
    assert bars.delistings["reason"].tolist() == ["bkpt"]


def test_wrds_sql_runs_on_a_database_with_the_same_tables(tmp_path: Path):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("sqlite://")
    daily = crsp_rows()
    spells = daily.groupby(["permno", "ticker"])["dlycaldt"].agg(["min", "max"]).reset_index()
    spells.columns = ["permno", "ticker", "secinfostartdt", "secinfoenddt"]
    columns = ["permno", "delistingdt", "delret", "delreasontype", "delactiontype"]
    delists = pd.DataFrame([(99999, "2001-02-01", -0.5, "X", "MER")], columns=columns)

    @sqlalchemy.event.listens_for(engine, "connect")
    def attach(connection: object, _: object) -> None:
        connection.execute(f"attach database '{tmp_path / 'crsp.db'}' as crsp")

    for name, table in (
        ("dsf_v2", daily),
        ("stksecurityinfohist", spells),
        ("stkdelists", delists),
    ):
        table.to_sql(name, engine, schema="crsp", index=False)
    provider = WrdsProvider(WrdsConfig(username="me"), run_on(engine))
    bars = provider.load(BarQuery(tickers=("FB",), start=date(2010, 1, 1)))
    # The PERMNO that is META today, with its whole history, and not the earlier holder of FB.
    assert bars.asset_ids == ("13407",)
    assert bars.n_rows == 2
    both = provider.load(BarQuery(tickers=("FB", "AAPL")))
    assert both.asset_ids == ("14593", "13407", "99999")
    assert both.delistings is not None
    assert both.delistings["reason"].tolist() == ["merger"]
    engine.dispose()


def test_wrds_that_does_not_answer_is_named():
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("sqlite://")
    provider = WrdsProvider(WrdsConfig(username="me"), run_on(engine))
    with pytest.raises(SourceUnavailableError, match="dsf_v2"):
        provider.load(BarQuery(tickers=("FB",)))
    engine.dispose()


def test_wrds_refuses_other_columns_and_empty_answers():
    with pytest.raises(SchemaMismatchError, match="dlycumfacpr"):
        bars_from_crsp(crsp_rows().drop(columns="dlycumfacpr"))
    provider = WrdsProvider(WrdsConfig(), lambda *_: crsp_rows().iloc[:0])
    with pytest.raises(SourceUnavailableError):
        provider.load(BarQuery(tickers=("ZZZ",)))
    with pytest.raises(ConfigError):
        provider.load(BarQuery())


def drop(folder: Path, day: str, rows: str | None) -> None:
    content = None if rows is None else f"symbol,date,open,high,low,close,volume,adj_close\n{rows}"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        files = {"symbols.txt": "NAN\tNuveen\n"} | (
            {} if content is None else {"prices.csv": content}
        )
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    (folder / f"{day}.tar.gz").write_bytes(stream.getvalue())


@pytest.fixture
def drops(tmp_path: Path) -> Path:
    drop(tmp_path, "20150701", "NAN,2015-07-01,1,1,1,10,100,10\nNAN,2015-06-30,1,1,1,9,90,9\n")
    drop(tmp_path, "20150702", "NAN,2015-07-02,1,1,1,11,110,11\nNAN,2015-07-01,1,1,1,10,105,9.5\n")
    drop(tmp_path, "20150703", None)
    return tmp_path


def test_pystock_keeps_every_statement_and_the_newest_wins(drops: Path):
    rows, sources, faults = read_drops(drops)
    assert (len(rows), len(sources)) == (4, 3)
    assert [fault.rule for fault in faults] == ["no_prices"]
    changed = restatements(rows)
    assert changed[["ticker", "field", "before", "after"]].to_numpy().tolist() == [
        ["NAN", "volume", 100.0, 105.0]
    ]
    bars = load_pystock(drops)
    assert bars.price_basis is PriceBasis.RAW
    assert bars.frame["volume"].tolist() == [90.0, 105.0, 110.0]


@pytest.mark.leakage
def test_pystock_as_known_by_a_day_holds_no_later_statement(drops: Path):
    before = load_pystock(drops, PystockConfig(known_by=date(2015, 7, 1)))
    assert before.frame["volume"].tolist() == [90.0, 100.0]
    drop(drops, "20150706", "NAN,2015-07-01,1,1,1,77,777,77\n")
    again = load_pystock(drops, PystockConfig(known_by=date(2015, 7, 1)))
    assert again.content_digest() == before.content_digest()
    provider = make_provider("pystock", {"known_by": "2015-07-01"}, path=drops)
    assert provider.available().ok
    assert provider.load(BarQuery()).content_digest() == before.content_digest()


def test_pystock_returns_come_from_one_drop(drops: Path):
    table = drop_returns(read_drops(drops)[0])
    last = table.loc[("NAN", pd.Timestamp("2015-07-02"))]
    assert last["price_return"] == pytest.approx(11 / 10 - 1)
    assert last["total_return"] == pytest.approx(11 / 9.5 - 1)


def test_pystock_faults(tmp_path: Path, drops: Path):
    (drops / "20150707.tar.gz").write_bytes(b"rubbish")
    with pytest.raises(UnreadableFileError, match="20150707"):
        read_drops(drops)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(EmptyDataError):
        read_drops(empty)
    drop(empty, "20150701", "x")
    with pytest.raises(UnreadableFileError, match=r"prices\.csv"):
        read_drops(empty)
    with pytest.raises(ConfigError):
        make_provider("pystock")


def test_pystock_other_columns(tmp_path: Path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        text = b"symbol,date\nA,2015-07-01\n"
        info = tarfile.TarInfo("prices.csv")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    (tmp_path / "20150701.tar.gz").write_bytes(stream.getvalue())
    with pytest.raises(MissingFieldError, match="open"):
        read_drops(tmp_path)


@pytest.mark.slow
def test_real_drops_hold_restatements_and_nan(shared_data: Path):
    folder = shared_data / "equities" / "pystock_2015Q3"
    rows, sources, _ = read_drops(folder)
    changed = restatements(rows)
    print(len(rows), len(sources), changed["field"].value_counts().to_dict())
    assert {"NAN", "TRUE"} <= set(rows["ticker"])
    assert changed["field"].value_counts()["volume"] > 3_000
    bars = load_pystock(folder)
    assert bars.n_rows == len(rows.drop_duplicates(["ticker", "session"]))
