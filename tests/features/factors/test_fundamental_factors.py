"""Factors of reports: values by hand, refusals, announcements and quality by pandas."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import (
    ConfigError,
    LookAheadError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.core.published import Published
from quant_engine.features.factors.announcements import announcements
from quant_engine.features.factors.base import FactorInputs, FactorSpec, build_factor
from quant_engine.features.factors.plan import factor_needs, run_factors
from quant_engine.features.factors.quality import combined_z

pytestmark = pytest.mark.feature("D-03")


def tiny(values: dict[str, list[float]], *, close: list[float]) -> FactorInputs:
    """One session, known that day."""
    axis = TimeAxis.sessions(["2020-03-02"])
    ids = tuple(f"T{number}@US#1" for number in range(len(close)))
    row = np.array([close])
    panel = Panel(axis, ids, {"close": row, "close_raw": row})
    known = np.full(row.shape, np.datetime64("2020-03-02"), dtype="datetime64[D]")
    views = {
        name: Published(np.array([numbers]), known, known - 60) for name, numbers in values.items()
    }
    return FactorInputs(panel, views)


def one(inputs: FactorInputs, name: str, **params) -> list[float]:
    spec = FactorSpec(name=name, params=params)
    return run_factors(inputs, [spec]).factor(spec)[-1].tolist()


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "items", "wanted"),
    [
        ("earnings_yield", {"eps_diluted_usd_ttm": [2.0, -1.0, NAN]}, [0.2, -0.05, NAN]),
        (
            "book_to_market",
            {"book_equity_usd": [50.0, -5.0, 8.0], "shares_outstanding": [10.0, 1.0, NAN]},
            [0.5, NAN, NAN],
        ),
        ("size", {"shares_outstanding": [10.0, 0.0, 1.0]}, [np.log(100.0), NAN, np.log(40.0)]),
        (
            "accruals",
            {
                "net_income_usd_ttm": [5.0, 5.0, 5.0],
                "operating_cash_flow_usd_ttm": [3.0, NAN, 9.0],
                "total_assets_usd": [20.0, 20.0, 0.0],
            },
            [0.1, NAN, NAN],
        ),
        (
            "revisions",
            {
                "estimates_up": [3.0, 0.0, 1.0],
                "estimates_down": [1.0, 4.0, 1.0],
                "estimates_total": [8.0, 4.0, 0.0],
            },
            [0.25, -1.0, NAN],
        ),
        ("upside", {"fair_value_usd": [12.0, 10.0, NAN]}, [0.2, -0.5, NAN]),
        ("sentiment", {"sentiment": [0.3, -0.2, NAN]}, [0.3, -0.2, NAN]),
        (
            "sue",
            {
                "eps_diluted_usd_q": [1.2, 1.0, 1.0],
                "eps_consensus_usd": [1.0, 1.1, 1.0],
                "eps_forecast_std_usd": [0.1, 0.2, 0.0],
            },
            [2.0, -0.5, NAN],
        ),
    ],
)
def test_values_by_hand(name, items, wanted):
    inputs = tiny(items, close=[10.0, 20.0, 40.0])
    np.testing.assert_allclose(one(inputs, name), wanted, rtol=1e-12)


@pytest.mark.parametrize("name", ["upside", "sentiment", "revisions", "sue", "book_to_market"])
def test_without_its_table_a_factor_is_refused(name):
    with pytest.raises(MissingFieldError, match="report item"):
        one(tiny({}, close=[10.0]), name)


def test_data_without_publication_days_are_refused():
    inputs = tiny({}, close=[10.0])
    with pytest.raises(SchemaMismatchError, match="with publication days"):
        FactorInputs(inputs.panel, {"sentiment": np.ones((1, 1))})
    never = np.full((1, 1), np.datetime64("NaT"), dtype="datetime64[D]")
    with pytest.raises(MissingFieldError, match="publication day"):
        FactorInputs(inputs.panel, {"sentiment": Published(np.ones((1, 1)), never, never)})
    late = np.array([["2020-03-03"]], dtype="datetime64[D]")
    with pytest.raises(LookAheadError, match="2020-03-03 in the row of 2020-03-02"):
        FactorInputs(inputs.panel, {"sentiment": Published(np.ones((1, 1)), late, never)})
    bars = Panel(
        TimeAxis("bar", np.array(["2020-03-02T10:00"], "datetime64[us]"), "24/7", 60),
        ("A@US#1",),
        {},
    )
    with pytest.raises(SchemaMismatchError, match="a panel of sessions"):
        FactorInputs(bars, {"sentiment": Published(np.ones((1, 1)), late, never)})


def test_per_share_figures_need_the_quoted_close():
    inputs = tiny({"eps_diluted_usd_ttm": [2.0]}, close=[10.0])
    adjusted = FactorInputs(inputs.panel.only_fields(["close"]), inputs.published)
    with pytest.raises(MissingFieldError, match="close_raw"):
        one(adjusted, "earnings_yield")


def test_the_quoted_close_of_raw_prices(raw_market):
    view = Published(
        np.full(raw_market.shape, 2.0),
        np.full(raw_market.shape, raw_market.time.values[0]),
        np.full(raw_market.shape, raw_market.time.values[0] - 60),
    )
    inputs = FactorInputs(raw_market, {"eps_diluted_usd_ttm": view})
    np.testing.assert_array_equal(
        one(inputs, "earnings_yield"), 2.0 / raw_market.field("close")[-1]
    )


class TestAnnouncements:
    def test_a_restatement_is_none(self):
        sessions = np.array(["2020-02-19", "2020-02-20", "2020-02-21", "2020-02-24"], "M8[D]")
        known = np.array([["2020-02-18"], ["2020-02-20"], ["2020-02-20"], ["2020-02-22"]], "M8[D]")
        period = np.array([["2019-09-30"], ["2019-12-31"], ["2019-12-31"], ["2019-12-31"]], "M8[D]")
        view = Published(np.array([[1.0], [2.0], [2.0], [2.5]]), known, period)
        assert announcements(view, sessions).ravel().tolist() == [False, True, False, False]

    def test_published_on_a_weekend_counts_on_monday(self):
        sessions = np.array(["2020-02-21", "2020-02-24"], "M8[D]")
        known = np.array([["NaT"], ["2020-02-22"]], "M8[D]")
        view = Published(np.array([[np.nan], [2.0]]), known, known - 50)
        assert announcements(view, sessions).ravel().tolist() == [False, True]

    def test_an_interrupted_view_announces_nothing_again(self):
        sessions = np.array(["2020-02-20", "2020-02-21", "2020-02-24"], "M8[D]")
        known = np.array([["2020-02-20"], ["NaT"], ["2020-02-20"]], "M8[D]")
        view = Published(np.array([[2.0], [np.nan], [2.0]]), known, known - 50)
        assert announcements(view, sessions).ravel().tolist() == [True, False, False]


def test_drift_is_the_sum_of_what_has_elapsed(market, views_of):
    spec = FactorSpec(name="pead", params={"window_sessions": 20, "last_session": 25})
    views = views_of(market, factor_needs([spec]))
    inputs = FactorInputs(market, views)
    got = run_factors(inputs, [spec]).factor(spec)
    returns = pd.DataFrame(market.field("close")).pct_change(fill_method=None)
    member = pd.DataFrame(market.mask("member")).shift(fill_value=False).astype(bool)
    abnormal = returns.sub(returns.where(member).mean(axis=1), axis=0).to_numpy()
    (view,) = views.values()
    fresh = announcements(view, market.time.values)
    assert 3 * market.shape[1] <= fresh.sum()
    for row, column in np.argwhere(fresh[:-30]):
        assert np.isnan(got[row, column])
        for age in (1, 7, 20, 23, 25):
            want = abnormal[row + 1 : row + 1 + min(age, 20), column].sum()
            if np.isfinite(want):
                assert got[row + age, column] == pytest.approx(want, abs=1e-12)
        assert np.isnan(got[row + 26, column])


def test_drift_of_a_session_without_a_return_is_missing(market, views_of):
    spec = FactorSpec(name="pead", params={"window_sessions": 20, "last_session": 25})
    views = views_of(market, factor_needs([spec]))
    (view,) = views.values()
    row, column = np.argwhere(announcements(view, market.time.values))[5]
    close = np.array(market.field("close"))
    close[row + 4, column] = np.nan
    got = run_factors(FactorInputs(market.with_fields({"close": close}), views), [spec])
    drift = got.factor(spec)[:, column]
    assert np.isfinite(drift[row + 3])
    assert np.isnan(drift[row + 4 : row + 26]).all()


def test_seasonal_surprise_twin(market, views_of):
    spec = FactorSpec(name="sue", params={"expectation": "seasonal", "history_quarters": 4})
    needs = factor_needs([spec])
    assert [need.quarters_ago for need in needs] == list(range(9))
    views = views_of(market, needs)
    got = run_factors(FactorInputs(market, views), [spec]).factor(spec)
    eps = np.stack([views[need.key].values for need in needs])[:, -1, :]
    change = pd.DataFrame(eps[:5] - eps[4:])
    np.testing.assert_allclose(got[-1], change.iloc[0] / change.iloc[1:].std(), rtol=1e-12)


QUALITY = {"window_sessions": 40, "tail_frac": 0.0}


class TestQuality:
    def run(self, market, views, **params):
        spec = FactorSpec(name="qmj", params={**QUALITY, **params})
        return run_factors(FactorInputs(market, views), [spec]).factor(spec)

    def views(self, market, views_of, **params):
        spec = FactorSpec(name="qmj", params={**QUALITY, **params})
        return views_of(market, factor_needs([spec]))

    def test_twin(self, market, views_of):
        views = self.views(market, views_of)
        got = self.run(market, views, growth_weight=0.5)[-1]
        member = market.mask("member")[-1]
        at = {name: pd.Series(view.values[-1]).where(member) for name, view in views.items()}

        def z(values):
            return (values - values.mean()) / values.std()

        def ratio(top, bottom, lag=""):
            return at[f"{top}_usd_ttm{lag}"] / at[f"{bottom}_usd{lag}"]

        def measures(lag=""):
            return {
                "gpoa": ratio("gross_profit", "total_assets", lag),
                "roe": ratio("net_income", "book_equity", lag),
                "roa": ratio("net_income", "total_assets", lag),
            }

        now, past = measures(), measures("@-20q")
        income, cash = at["net_income_usd_ttm"], at["operating_cash_flow_usd_ttm"]
        assets, equity = at["total_assets_usd"], at["book_equity_usd"]
        profit = sum(z(value) for value in now.values()) + z(cash / assets)
        growth = sum(z(now[name] - past[name]) for name in now)
        specs = [
            FactorSpec(name=name, params={"window_sessions": 40}) for name in ("beta", "volatility")
        ]
        done = run_factors(FactorInputs(market), specs)
        beta, vol = (pd.Series(done.factor(spec)[-1]).where(member) for spec in specs)
        safety = -z(beta) - z(1 - equity / assets) - z(vol) - z((income - cash) / assets)
        np.testing.assert_allclose(got, z(profit) + 0.5 * z(growth) + z(safety), rtol=1e-9)

    def test_a_missing_component_is_never_zero(self, market, views_of):
        params = {"growth": (), "safety": ()}
        views = self.views(market, views_of, **params)
        gross = views["gross_profit_usd_ttm"]
        unknown = np.array(gross.values)
        unknown[:, 2] = np.nan
        views["gross_profit_usd_ttm"] = dataclasses.replace(gross, values=unknown)
        column = np.flatnonzero(market.mask("member")[-1])
        assert 2 in column
        strict = self.run(market, views, **params)[-1]
        assert np.isnan(strict[2])
        assert np.isfinite(np.delete(strict, 2)[np.delete(market.mask("member")[-1], 2)]).all()
        lenient = self.run(market, views, **params, min_available_frac=0.75)[-1]
        assert np.isfinite(lenient[2])

    def test_an_item_that_is_not_given_is_an_error(self, market, views_of):
        views = self.views(market, views_of)
        del views["gross_profit_usd_ttm@-20q"]
        with pytest.raises(MissingFieldError, match="gross_profit_usd_ttm@-20q"):
            self.run(market, views)

    def test_components_are_chosen(self):
        params = {"profitability": ["roe"], "growth": [], "safety": ["leverage"]}
        factor = build_factor(FactorSpec(name="qmj", params=params))
        assert [need.key for need in factor.needs] == [
            "net_income_usd_ttm",
            "book_equity_usd",
            "total_assets_usd",
        ]
        assert factor.requires == ()
        for bad in ({"profitability": ["roe", "roe"]}, {"profitability": ["magic"]}):
            with pytest.raises(ConfigError):
                build_factor(FactorSpec(name="qmj", params=bad))
        nothing = {"profitability": [], "growth": [], "safety": []}
        with pytest.raises(ConfigError, match="at least one component"):
            build_factor(FactorSpec(name="qmj", params=nothing))

    def test_mean_of_the_known_stands_for_the_rest(self):
        parts = [np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 3.0, np.nan]])]
        half = np.sqrt(0.5)
        np.testing.assert_allclose(
            combined_z(parts, min_available_frac=0.5), [[-1 - half, half, 2.0]]
        )
