"""Several vendors into one series: rank, lineage, disputes, and the real overlaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.core.panel import PriceBasis
from quant_engine.core.specs import SpecCatalog
from quant_engine.data.bars import REQUIRED_FIELDS, LoadedBars
from quant_engine.data.canonical import read_canonical, write_canonical
from quant_engine.data.providers.local import LocalConfig, load_folder
from quant_engine.data.providers.pystock import drop_returns, read_drops
from quant_engine.data.reconcile import (
    ReconcileProfile,
    close_returns,
    compare_returns,
    compare_vendors,
    reconcile,
)

DAYS = sessions_between("XNYS", "2019-12-02", "2020-01-31")
PROFILE = ReconcileProfile(name="test")


def vendor(
    label: str, series: dict[str, dict[str, float]], basis: PriceBasis = PriceBasis.SPLIT_ADJ
) -> LoadedBars:
    rows = [(t, day, price) for t, prices in series.items() for day, price in prices.items()]
    ticker, session, price = zip(*rows, strict=True)
    return LoadedBars.from_columns(
        ticker=list(ticker),
        session=list(session),
        fields={name: list(price) for name in REQUIRED_FIELDS},
        vendor=label,
        price_basis=basis,
    )


def prices(rows: slice, seed: int = 0, scale: float = 1.0) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    close = np.round(50 * np.exp(np.cumsum(rng.normal(0, 0.01, DAYS.size))), 2) * scale
    return dict(zip(DAYS[rows].astype(str), close[rows].tolist(), strict=True))


@pytest.mark.feature("T-03")
def test_a_symbol_comes_whole_from_the_first_vendor_that_has_it():
    one = vendor("one", {"A": prices(slice(5, 20))})
    two = vendor("two", {"A": prices(slice(0, 30)), "B": prices(slice(0, 30), 1)})
    result = reconcile([two, one], ["one", "two"], profile=PROFILE)
    assert result.rows_by_vendor() == {"one": 15, "two": 30}
    lineage = result.lineage.groupby("ticker", observed=True)["vendor"].unique()
    assert [list(v) for v in lineage] == [["one"], ["two"]]
    pd.testing.assert_frame_equal(
        result.lineage[["ticker", "session"]], result.bars.frame[["ticker", "session"]]
    )


@pytest.mark.feature("T-03")
def test_row_filling_needs_agreement():
    good = prices(slice(0, 30))
    one = vendor("one", {"A": prices(slice(5, 20)), "B": prices(slice(5, 20), 1)})
    two = vendor("two", {"A": good, "B": prices(slice(0, 30), 1, scale=2.0)})
    result = reconcile([one, two], ["one", "two"], profile=PROFILE, fill="row")
    counts = result.lineage.groupby(["ticker", "vendor"], observed=True).size().to_dict()
    assert counts == {("A", "one"): 15, ("A", "two"): 15, ("B", "one"): 15}
    assert result.disputed["ticker"].tolist() == ["B"]
    assert result.disputed["mismatch_frac"].tolist() == [1.0]
    close = result.bars.select(("A",)).frame["close"].to_numpy()
    np.testing.assert_array_equal(close, list(good.values()))


def test_lineage_agrees_with_a_plain_loop():
    rng = np.random.default_rng(3)
    names, vendors = ("A", "B", "C"), {}
    for name in ("one", "two", "three"):
        series = {}
        for i, ticker in enumerate(names):
            whole = prices(slice(0, 40), i)
            series[ticker] = {d: v for d, v in whole.items() if rng.random() > 0.4}
        vendors[name] = series
    order = ["two", "three", "one"]
    result = reconcile(
        [vendor(n, s) for n, s in vendors.items()], order, profile=PROFILE, fill="row"
    )
    expected = {}
    for ticker in names:
        for name in reversed(order):
            expected |= {(ticker, day): name for day in vendors[name][ticker]}
    got = {(row.ticker, str(row.session.date())): row.vendor for row in result.lineage.itertuples()}
    assert got == expected


def test_renamed_company_is_one_series():
    one = vendor("one", {"TPR": prices(slice(10, 20))})
    two = vendor("two", {"COH": prices(slice(0, 20))})
    joined = compare_vendors(one, two, PROFILE, renames={"COH": "TPR"})
    assert (joined.n_common, joined.n_only_other) == (10, 10)
    assert compare_vendors(one, two, PROFILE).n_common == 0


def test_disagreement_report_names_field_and_size():
    base = prices(slice(0, 10))
    off = dict(base)
    day = list(base)[4]
    off[day] = base[day] * 1.002
    pair = compare_vendors(vendor("one", {"A": base}), vendor("two", {"A": off}), PROFILE)
    report = pair.outside(PROFILE.tolerances)
    # 0.20 % is outside 0.15 % of the close, at the edge of 0.20 % of the open and inside 0.25 %.
    assert "close" in set(report["field"])
    assert not {"high", "low", "volume"} & set(report["field"])
    assert report["session"].astype(str).unique().tolist() == [day]
    assert pair.n_differing(0.001) == 1
    assert pair.n_differing(0.01) == 0


@pytest.mark.parametrize("priority", [["one"], ["one", "three"], ["one", "one"], []])
def test_priority_must_name_every_vendor_once(priority: list[str]):
    pair = [vendor("one", {"A": prices(slice(0, 5))}), vendor("two", {"A": prices(slice(0, 5))})]
    with pytest.raises(ConfigError, match="priority"):
        reconcile(pair, priority, profile=PROFILE)


def test_mixed_bases_and_repeated_rows_are_refused():
    one = vendor("one", {"A": prices(slice(0, 5))})
    two = vendor("two", {"A": prices(slice(0, 5))}, PriceBasis.TOTAL_ADJ)
    with pytest.raises(DataError, match="compare_returns"):
        reconcile([one, two], ["one", "two"], profile=PROFILE)
    twice = vendor("two", {"A": prices(slice(0, 5)), "B": prices(slice(0, 5))})
    with pytest.raises(DataError, match="repeated"):
        compare_vendors(one, twice, PROFILE, renames={"B": "A"})


@pytest.mark.feature("Q-16")
def test_shipped_profile_has_the_stated_tolerances():
    profile = SpecCatalog.default().load("reconciliation", "default", ReconcileProfile)
    named = {n: profile.tolerances.of(n) for n in REQUIRED_FIELDS}
    assert named == {
        "open": 0.0020,
        "high": 0.0025,
        "low": 0.0025,
        "close": 0.0015,
        "volume": 0.05,
    }


@pytest.mark.feature("T-03")
def test_canonical_store_round_trip_and_unchanged_years(tmp_path: Path):
    one = vendor("one", {"BRK.B": prices(slice(0, 40))})
    two = vendor("two", {"NAN": prices(slice(0, 40), 1)})
    merged = reconcile([one, two], ["one", "two"], profile=PROFILE)
    files = write_canonical(merged, tmp_path)
    assert len(files) == 4
    assert (tmp_path / "equity_ohlcv" / "NAN" / "daily" / "2020.parquet") in files
    assert write_canonical(merged, tmp_path) == ()
    bars, lineage = read_canonical(tmp_path)
    assert bars.content_digest() == merged.bars.content_digest()
    assert lineage["vendor"].tolist() == merged.lineage["vendor"].astype(str).tolist()
    assert read_canonical(tmp_path, ("NAN",))[0].tickers == ("NAN",)
    with pytest.raises(EmptyDataError):
        read_canonical(tmp_path, ("ZZZ",))


@pytest.mark.feature("T-03")
@pytest.mark.slow
def test_overlap_of_iex_and_google(shared_data: Path):
    folder = shared_data / "equities"
    iex = load_folder(folder / "sp500_iex_201802", LocalConfig(vendor="iex_201802"))
    google = load_folder(folder / "sp500_google_201708", LocalConfig(vendor="google_201708"))
    pair = compare_vendors(google, iex, PROFILE)
    # Three google files spell their symbol with the venue (NYSE:LMT, NYSE:NBL, NYSE:NWL). We join
    # them; a join on the raw spelling misses their 3 x 1,136 days and 65 differing ones.
    assert (pair.n_common, pair.n_differing(0.01)) == (538_734, 8_268)
    plain = pair.relative[~pair.relative["ticker"].isin(["LMT", "NBL", "NWL"])]
    assert (len(plain), int((plain["close"].abs() > 0.01).sum())) == (535_326, 8_203)
    print(pair.fields)
    merged = reconcile([iex, google], ["iex_201802", "google_201708"], profile=PROFILE, fill="row")
    assert merged.rows_by_vendor()["iex_201802"] == 619_040
    assert {"ISRG", "LEN", "HSIC", "JEC"} <= set(merged.disputed["ticker"])
    print(merged.rows_by_vendor(), merged.disputed)


@pytest.mark.slow
def test_four_vendors_agree_on_returns_where_their_bases_do(shared_data: Path):
    folder = shared_data / "equities"
    basis = PriceBasis.TOTAL_ADJ
    loaded = {
        "iex": load_folder(folder / "sp500_iex_201802"),
        "google": load_folder(folder / "sp500_google_201708"),
        "stooq": load_folder(folder / "stooq_2017", LocalConfig(price_basis=basis)),
    }
    rows, _, _ = read_drops(folder / "pystock_2015Q3")
    drops = drop_returns(rows)
    series = {name: close_returns(bars) for name, bars in loaded.items()}
    series |= {"pystock_raw": drops["price_return"], "pystock_adj": drops["total_return"]}
    window = slice(pd.Timestamp("2015-07-01"), pd.Timestamp("2015-09-30"))
    inside = {}
    for name, values in series.items():
        day = values.index.get_level_values(1)
        inside[name] = values[(day >= window.start) & (day <= window.stop)].dropna()
    table = compare_returns(inside).set_index(["reference", "other"])
    print(table.to_string())
    assert table["median_abs"].max() < 2e-5
    # Total-adjusted stooq agrees with total-adjusted pystock, and differs from the others on
    # ex-days and spin-offs.
    assert table.loc[("stooq", "pystock_adj"), "correlation"] > 0.999
    assert table.loc[("iex", "google"), "correlation"] > 0.999
    assert table.loc[("iex", "stooq"), "correlation"] < 0.9
    iex, raw = inside["iex"], inside["pystock_raw"]
    common = iex.index.intersection(raw.index)
    by_hand = np.corrcoef(iex.loc[common], raw.loc[common])[0, 1]
    assert table.loc[("iex", "pystock_raw"), "correlation"] == pytest.approx(by_hand)
