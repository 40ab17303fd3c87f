"""Statements: versions, sums of quarters, and what was known when."""

import gzip

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    LookAheadError,
    MissingFieldError,
    SchemaMismatchError,
    UnreadableFileError,
)
from quant_engine.core.panel import TimeAxis
from quant_engine.core.published import Published
from quant_engine.data.providers.pystock_reports import read_reports
from quant_engine.data.statements import (
    STATEMENT_COLUMNS,
    Statements,
    StatementsConfig,
    as_of_matrix,
    load_statements,
    single_quarter,
    trailing_year,
)

pytestmark = pytest.mark.feature("D-03")

A, B = "A@US#1", "B@US#1"
DAYS = pd.date_range("2018-01-01", "2021-06-30", freq="D")
AXIS = TimeAxis.sessions(DAYS, "24/7")


def fact(known, value, *, year=2019, quarter=1, span=0, item="total_assets_usd", asset=A):
    end = pd.Timestamp(year=year, month=3 * quarter, day=1) + pd.offsets.MonthEnd(0)
    row = (asset, item, year, quarter, span, end, pd.Timestamp(known), float(value))
    return dict(zip(STATEMENT_COLUMNS, row, strict=True))


def statements(*facts) -> Statements:
    return Statements(pd.DataFrame(facts), "mine")


def seen(view: Published, day: str, column: int = 0) -> float:
    return view.values[AXIS.position(day), column]


class TestAsOf:
    def test_a_value_stands_from_the_day_it_was_known(self):
        view = as_of_matrix(
            statements(fact("2019-05-10", 7.0)), "total_assets_usd", AXIS, asset_ids=(B, A)
        )
        assert np.isnan(seen(view, "2019-05-09", 1))
        assert seen(view, "2019-05-10", 1) == 7.0
        assert np.isnan(view.values[:, 0]).all()
        row = AXIS.position("2019-06-01")
        assert view.known[row, 1] == np.datetime64("2019-05-10")
        assert view.period_end[row, 1] == np.datetime64("2019-03-31")
        assert view.age_days(AXIS.values)[row, 1] == 22.0

    def test_a_restatement_is_visible_from_its_own_day(self):
        view = as_of_matrix(
            statements(fact("2019-05-10", 7.0), fact("2019-09-01", 6.0)),
            "total_assets_usd",
            AXIS,
            asset_ids=(A,),
        )
        assert [seen(view, d) for d in ("2019-08-31", "2019-09-01")] == [7.0, 6.0]
        assert statements(fact("2019-05-10", 7.0), fact("2019-09-01", 6.0)).versions(
            "total_assets_usd"
        )["version"].tolist() == [1, 2]

    def test_an_amendment_of_an_old_period_does_not_bring_it_back(self):
        view = as_of_matrix(
            statements(
                fact("2019-05-10", 7.0),
                fact("2019-08-10", 8.0, quarter=2),
                fact("2019-09-01", 1.0),
            ),
            "total_assets_usd",
            AXIS,
            asset_ids=(A,),
        )
        assert seen(view, "2019-09-02") == 8.0

    def test_an_earlier_quarter_in_its_newest_version(self):
        facts = (
            fact("2019-05-10", 7.0),
            fact("2019-08-10", 8.0, quarter=2),
            fact("2019-09-01", 1.0),
        )
        view = as_of_matrix(
            statements(*facts), "total_assets_usd", AXIS, asset_ids=(A,), quarters_ago=1
        )
        got = [seen(view, d) for d in ("2019-08-09", "2019-08-10", "2019-09-01")]
        assert np.isnan(got[0])
        assert got[1:] == [7.0, 1.0]
        row = AXIS.position("2019-09-01")
        assert view.known[row, 0] == np.datetime64("2019-09-01")

    def test_too_old_counts_as_absent(self):
        view = as_of_matrix(
            statements(fact("2019-05-10", 7.0)),
            "total_assets_usd",
            AXIS,
            asset_ids=(A,),
            max_staleness=pd.Timedelta(days=100),
        )
        assert seen(view, "2019-08-18") == 7.0
        assert np.isnan(seen(view, "2019-08-19"))

    def test_companies_without_reports(self):
        book = statements(fact("2019-05-10", 7.0))
        view = as_of_matrix(book, "total_assets_usd", AXIS, asset_ids=(B,))
        assert np.isnan(view.values).all()
        assert np.isnat(view.known).all()

    def test_refusals(self):
        book = statements(fact("2019-05-10", 7.0))
        with pytest.raises(MissingFieldError, match="total_assets_usd"):
            as_of_matrix(book, "total_asset_usd", AXIS, asset_ids=(A,))
        with pytest.raises(ConfigError, match="lag of at least 0"):
            as_of_matrix(book, "total_assets_usd", AXIS, asset_ids=(A,), quarters_ago=-1)
        bars = TimeAxis("bar", AXIS.values[:3].astype("datetime64[us]"), "24/7", 60)
        with pytest.raises(ConfigError, match="sessions"):
            as_of_matrix(book, "total_assets_usd", bars, asset_ids=(A,))


def year_of_quarters(**known):
    """Revenue of Q1..Q3 by quarter and the year as a whole, 10, 20, 30, 100; a second year."""
    values = {1: (10.0, 1), 2: (20.0, 1), 3: (30.0, 1), 4: (100.0, 4)}
    facts = []
    for year in (2018, 2019):
        for quarter, (value, span) in values.items():
            end = pd.Timestamp(year=year, month=3 * quarter, day=1) + pd.offsets.MonthEnd(0)
            day = end + pd.Timedelta(days=40)
            facts.append(
                fact(
                    day,
                    value + (year - 2018),
                    year=year,
                    quarter=quarter,
                    span=span,
                    item="revenue_usd",
                )
            )
    return facts


class TestQuarters:
    def test_four_quarters(self):
        book = statements(*year_of_quarters())
        view = as_of_matrix(book, "revenue_usd_ttm", AXIS, asset_ids=(A,))
        assert np.isnan(seen(view, "2019-02-08"))
        # 2018 as reported; then 100 + 11 - 10; + 11 + 21 - 10 - 20; ...
        days = ("2019-02-09", "2019-05-10", "2019-08-09", "2019-11-09", "2020-02-09")
        assert [seen(view, d) for d in days] == [100.0, 101.0, 102.0, 103.0, 101.0]

    def test_the_fourth_quarter_is_what_the_year_leaves(self):
        book = statements(*year_of_quarters())
        view = as_of_matrix(book, "revenue_usd_q", AXIS, asset_ids=(A,))
        days = ("2018-05-10", "2018-11-09", "2019-02-09", "2020-02-09")
        assert [seen(view, d) for d in days] == [10.0, 30.0, 40.0, 38.0]

    def test_a_sum_of_singles_and_of_years_to_date_agree(self):
        single = year_of_quarters()
        running, total = [], 0.0
        for one in single:
            quarter = one["fiscal_quarter"]
            total = one["value"] + (total if quarter > 1 else 0.0)
            value = one["value"] if quarter == 4 else total
            running.append({**one, "span_quarters": quarter, "value": value})
        for table in (trailing_year, single_quarter):
            one, two = (table(statements(*facts), "revenue_usd") for facts in (single, running))
            pd.testing.assert_frame_equal(one, two)

    def test_four_quarters_without_a_yearly_report(self):
        facts = [{**one, "span_quarters": 1} for one in year_of_quarters()]
        table = trailing_year(statements(*facts), "revenue_usd")
        assert table["value"].tolist() == [160.0, 161.0, 162.0, 163.0, 164.0]

    def test_a_sum_before_the_year_is_reported_stands_until_then(self):
        quarters = [{**one, "span_quarters": 1} for one in year_of_quarters()[:4]]
        later = fact("2019-03-15", 150.0, year=2018, quarter=4, span=4, item="revenue_usd")
        view = as_of_matrix(statements(*quarters, later), "revenue_usd_ttm", AXIS, asset_ids=(A,))
        assert [seen(view, d) for d in ("2019-03-14", "2019-03-15")] == [160.0, 150.0]

    def test_a_restated_part_changes_the_sum_from_its_own_day(self):
        again = fact("2019-06-20", 5.0, year=2018, quarter=1, span=1, item="revenue_usd")
        view = as_of_matrix(
            statements(*year_of_quarters(), again), "revenue_usd_ttm", AXIS, asset_ids=(A,)
        )
        # 2019 Q1: 100 + 11 - 10, then 100 + 11 - 5.
        assert [seen(view, d) for d in ("2019-06-19", "2019-06-20")] == [101.0, 106.0]

    def test_a_missing_part_leaves_no_sum(self):
        facts = [one for one in year_of_quarters() if one["period_end"] != DAYS[89]]
        assert DAYS[89] == pd.Timestamp("2018-03-31")
        table = trailing_year(statements(*facts), "revenue_usd")
        assert table["period_end"].dt.strftime("%Y-%m").tolist() == ["2018-12", "2019-12"]

    def test_a_mislabelled_year_is_not_paired(self):
        facts = year_of_quarters()
        wrong = [{**one, "fiscal_year": one["fiscal_year"] + 1} for one in facts[4:]]
        table = trailing_year(statements(*facts[:4], *wrong), "revenue_usd")
        assert table["value"].tolist() == [100.0, 101.0]

    def test_spans_must_be_named(self):
        book = statements(*year_of_quarters(), fact("2019-05-10", 7.0))
        with pytest.raises(ConfigError, match="revenue_usd_q or revenue_usd_ttm"):
            book.versions("revenue_usd")
        for table in (trailing_year, single_quarter):
            with pytest.raises(ConfigError, match="a balance"):
                table(book, "total_assets_usd")


class TestRefusals:
    def test_without_publication_day(self):
        table = pd.DataFrame([fact("2019-05-10", 7.0)])
        with pytest.raises(MissingFieldError, match="known_ts"):
            Statements(table.drop(columns="known_ts"), "mine")
        with pytest.raises(MissingFieldError, match="a day in every row"):
            Statements(table.assign(known_ts=pd.NaT).astype({"known_ts": "datetime64[us]"}), "x")

    def test_instants_and_texts(self):
        table = pd.DataFrame([fact("2019-05-10", 7.0)])
        for days in (table["known_ts"].dt.tz_localize("UTC"), table["known_ts"].astype(str)):
            with pytest.raises(DataError, match="without time zone"):
                Statements(table.assign(known_ts=days), "mine")

    def test_known_before_the_period_ended(self):
        with pytest.raises(LookAheadError, match="known before their period ended"):
            statements(fact("2019-03-30", 7.0))

    def test_fifth_quarter(self):
        table = pd.DataFrame([fact("2019-05-10", 7.0)]).assign(fiscal_quarter=5)
        with pytest.raises(DataError, match="1 to 4"):
            Statements(table, "mine")

    def test_published_needs_days_and_no_future(self):
        day = np.array([["2020-02-20"]], dtype="datetime64[D]")
        never = np.array([["NaT"]], dtype="datetime64[D]")
        with pytest.raises(MissingFieldError, match="publication day"):
            Published(np.ones((1, 1)), never, never)
        with pytest.raises(LookAheadError, match="period"):
            Published(np.ones((1, 1)), day, day + 1)
        with pytest.raises(SchemaMismatchError, match="published known"):
            Published(np.ones((1, 1)), np.ones((1, 1)), day)
        view = Published(np.ones((1, 1)), day, never)
        with pytest.raises(LookAheadError, match="in the row of"):
            view.check("x", day[0] - 1)
        with pytest.raises(SchemaMismatchError, match="2 rows"):
            view.check("x", np.concatenate([day[0], day[0] + 1]))
        assert np.isnan(Published(np.full((1, 1), np.nan), never, never).age_days(day[0])).all()


def twin_as_of(book: Statements, item: str, day: pd.Timestamp, asset: str) -> float:
    """Newest version of the newest period among the rows known by a day."""
    rows = book.table
    rows = rows[(rows["item"] == item) & (rows["asset_id"] == asset) & (rows["known_ts"] <= day)]
    if rows.empty:
        return np.nan
    newest = rows[rows["period_end"] == rows["period_end"].max()]
    return newest.loc[newest["known_ts"].idxmax(), "value"]


def random_book(seed: int, *, future_seed: int | None = None, cut: str = "2020-01-31"):
    """Balances and revenues of two companies; what was published after the cut has its own seed."""
    facts = []
    for asset in (A, B):
        for number in range(10):
            year, quarter = 2018 + number // 4, number % 4 + 1
            for item in ("total_assets_usd", "revenue_usd"):
                key = [seed, number, len(item), asset == A]
                rng = np.random.default_rng(key)
                for lag in rng.integers(10, 300, size=rng.integers(1, 4)):
                    end = fact("2030-01-01", 0, year=year, quarter=quarter)["period_end"]
                    day = end + pd.Timedelta(days=int(lag))
                    value = rng.integers(1, 1000)
                    if future_seed is not None and day > pd.Timestamp(cut):
                        other = np.random.default_rng([future_seed, *key, int(lag)])
                        value = other.integers(1, 1000)
                        day = pd.Timestamp(cut) + pd.Timedelta(days=int(other.integers(1, 400)))
                        day = max(day, end)
                    span = 0 if item == "total_assets_usd" else 4 if quarter == 4 else 1
                    facts.append(
                        fact(
                            day,
                            value,
                            year=year,
                            quarter=quarter,
                            span=span,
                            item=item,
                            asset=asset,
                        )
                    )
    return statements(*facts)


@pytest.mark.leakage
def test_future_filings_redrawn_change_nothing_before():
    stop = AXIS.position("2020-01-31") + 1
    whole, other = random_book(5), random_book(5, future_seed=8)
    for item, lag in (
        ("total_assets_usd", 0),
        ("total_assets_usd", 3),
        ("revenue_usd_ttm", 0),
    ):
        views = [
            as_of_matrix(book, item, AXIS, asset_ids=(A, B), quarters_ago=lag)
            for book in (whole, other)
        ]
        for name in ("values", "known", "period_end"):
            one, two = (getattr(view, name) for view in views)
            np.testing.assert_array_equal(one[:stop], two[:stop])
        assert np.isfinite(views[0].values[:stop]).any()
        assert not np.array_equal(views[0].values, views[1].values, equal_nan=True)
        known_only = Statements(whole.table[whole.table["known_ts"] <= "2020-01-31"], "mine")
        cut_off = as_of_matrix(known_only, item, AXIS, asset_ids=(A, B), quarters_ago=lag)
        np.testing.assert_array_equal(cut_off.values[:stop], views[0].values[:stop])


def test_twin_of_the_as_of_view():
    book = random_book(11)
    view = as_of_matrix(book, "total_assets_usd", AXIS, asset_ids=(A, B))
    for row in range(60, len(AXIS), 97):
        for column, asset in enumerate((A, B)):
            want = twin_as_of(book, "total_assets_usd", DAYS[row], asset)
            np.testing.assert_equal(view.values[row, column], want)


HEADER = (
    "archive_date,symbol,end_date,amend,period_focus,fiscal_year,doc_type,revenues,op_income,"
    "net_income,eps_basic,eps_diluted,dividend,assets,cur_assets,cur_liab,cash,equity,"
    "cash_flow_op,cash_flow_inv,cash_flow_fin\n"
)


def line(day, symbol="NA", end="2015-03-31", *, amend=False, focus="Q1", doc="10-Q", assets=9):
    head = f"{day},{symbol},{end},{amend},{focus},2015,{doc}"
    return f"{head},5,,1,0.1,0.1,0,{assets},,,2,4,3,-1,0\n"


class TestFile:
    def read(self, tmp_path, *lines):
        path = tmp_path / "reports.csv.gz"
        path.write_bytes(gzip.compress((HEADER + "".join(lines)).encode()))
        return path

    def test_faults_are_left_out_and_told(self, tmp_path):
        path = self.read(
            tmp_path,
            line(20150420),
            line(20150421),
            line(20150421, amend=True, assets=8),
            line(20150422, "X"),
            line(20150422, "X", assets=7),
            line(20150423, "Y", "2015-06-30"),
            line(20150424, "Z", focus="FY"),
            line(20150425, "W", focus="Q9"),
            line(20150426, end="2015-03-30"),
        )
        rows, source, faults = read_reports(path)
        assert {fault.rule for fault in faults} == {
            "contradiction",
            "form_and_period",
            "known_before_end",
            "repeated_filing",
            "second_period_end",
            "unknown_period",
        }
        assert source.n_rows == 9
        assets = rows[rows["item"] == "total_assets_usd"]
        assert assets["ticker"].tolist() == ["NA", "NA"]
        assert assets["value"].tolist() == [9.0, 8.0]
        book = load_statements(path)
        assert book.asset_ids == ("NA@US#1",)
        assert book.vendor == "sec_pystock"
        assert "operating_income_usd" not in book.items

    def test_known_by_and_renames(self, tmp_path):
        path = self.read(tmp_path, line(20150420), line(20150421, amend=True, assets=8))
        book = load_statements(path, StatementsConfig(known_by="2015-04-20", renames={"NA": "NEW"}))
        assert book.versions("total_assets_usd")["value"].tolist() == [9.0]
        assert book.asset_ids == ("NEW@US#1",)
        with pytest.raises(EmptyDataError, match="public by"):
            load_statements(path, StatementsConfig(known_by="2015-04-19"))

    def test_unusable_files(self, tmp_path):
        path = tmp_path / "reports.csv.gz"
        path.write_bytes(b"no gzip")
        with pytest.raises(UnreadableFileError, match="reports"):
            read_reports(path)
        path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
        with pytest.raises(MissingFieldError, match="archive_date"):
            read_reports(path)
        path.write_bytes(gzip.compress((HEADER + line(20150420, focus="Q9")).encode()))
        with pytest.raises(EmptyDataError, match="at least one report"):
            read_reports(path)


@pytest.fixture(scope="module")
def filings(shared_data) -> Statements:
    return load_statements(
        shared_data / "equities/eq_pystock_reports_2015_03_2016_06.csv.gz",
        StatementsConfig(known_by="2016-06-10"),
    )


class TestRealFilings:
    def test_what_is_left_out(self, filings):
        told = {fault.rule: int(fault.message.split()[0]) for fault in filings.faults}
        assert told["repeated_filing"] > 20_000
        assert told["known_before_end"] < 10
        lag = (filings.table["known_ts"] - filings.table["period_end"]).dt.days
        assert lag.min() >= 0
        assert 30 <= lag.median() <= 45

    def test_apple_year_of_2015(self, filings):
        axis = TimeAxis.sessions(sessions_between("XNYS", "2015-04-01", "2016-05-31"))

        def at(item: str, day: str) -> float:
            view = as_of_matrix(filings, item, axis, asset_ids=("AAPL@US#1",))
            view.check(item, axis.values)
            return view.values[axis.position(day), 0]

        assert np.isnan(at("net_income_usd_ttm", "2015-10-27"))
        assert at("net_income_usd_ttm", "2015-10-28") == 53_394e6
        # Cash flows are stated from the beginning of the year: 81,266 + 39,064 - 52,803.
        assert at("operating_cash_flow_usd_ttm", "2016-04-27") == 67_527e6
        assert at("operating_cash_flow_usd_q", "2015-10-28") == (81_266 - 67_791) * 1e6
        assert at("eps_diluted_usd_q", "2015-07-22") == 1.85

    def test_two_companies_under_one_symbol_give_nothing(self, filings):
        rows = filings.table[filings.table["asset_id"] == "AAMC@US#1"]
        clash = rows[rows["period_end"] == pd.Timestamp("2015-06-30")]
        assert clash.empty

    def test_restatements_are_versions(self, filings):
        versions = filings.versions("total_assets_usd")
        again = versions[versions["version"] > 1]
        assert len(again) > 10
        first = versions[versions["version"] == 1].set_index(["asset_id", "slot"])["known_ts"]
        joined = again.join(first.rename("first"), on=["asset_id", "slot"])
        assert (joined["known_ts"] > joined["first"]).all()
