"""Paired gains of forecasts against plain loops, and the planted gain."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from scipy.stats import spearmanr

from quant_engine.core.errors import DataError
from quant_engine.stats.comparison import diebold_mariano
from quant_engine.stats.factor_tables import overlap_mean
from quant_engine.stats.forecast_gain import MEASURES, PanelForecast, gain_by_date, gain_tests

pytestmark = pytest.mark.feature("Q-48")

N_DATES, N_ASSETS = 120, 25


@pytest.fixture(scope="module")
def forecasts():
    rng = np.random.default_rng(3)
    known, hidden, noise = rng.standard_normal((3, N_DATES, N_ASSETS))
    outcome = 0.01 * (0.4 * known + 0.4 * hidden + noise)
    first = PanelForecast(known.copy(), 0.004 * known)
    second = PanelForecast(known + hidden, 0.004 * (known + hidden))
    first.score[:, 0] = np.nan
    second.expected[4] = np.nan
    outcome[-2:] = np.nan
    return first, second, outcome


def test_figures_of_a_session_equal_a_loop_over_the_shared_names(forecasts):
    first, second, outcome = forecasts
    table = gain_by_date(first, second, outcome, min_assets=10)
    for t in range(N_DATES):
        row = table.iloc[t]
        both = ~(np.isnan(first.score[t]) | np.isnan(second.score[t]) | np.isnan(outcome[t]))
        if not both.any():
            assert isnan(row["rank_ic_first"])
            continue
        for name, one in (("first", first), ("second", second)):
            wanted = spearmanr(one.score[t, both], outcome[t, both]).statistic
            assert row[f"rank_ic_{name}"] == pytest.approx(wanted, abs=1e-12)
        priced = ~(np.isnan(first.expected[t]) | np.isnan(second.expected[t]))
        if not priced.any():
            assert isnan(row["squared_error_first"])
            continue
        error = ((second.expected[t, priced] - outcome[t, priced]) ** 2).mean()
        apart = ((first.expected[t, priced] - second.expected[t, priced]) ** 2).mean()
        assert row["squared_error_second"] == pytest.approx(error)
        assert row["distance"] == pytest.approx(apart)


@pytest.mark.parametrize("horizon", [1, 4])
def test_tests_are_those_of_the_paired_series(forecasts, horizon):
    by_date = gain_by_date(*forecasts)
    early = np.arange(N_DATES) < 90
    table = gain_tests(by_date, {"all": np.ones(N_DATES, bool), "early": early}, horizon=horizon)
    assert table["measure"].tolist() == list(MEASURES) * 2
    kept = by_date[early]
    rows = table[table["sample"] == "early"].set_index("measure")
    test = overlap_mean(kept["rank_ic_second"] - kept["rank_ic_first"], horizon=horizon)
    assert rows.loc["rank_ic", "gain"] == pytest.approx(test.mean)
    assert rows.loc["rank_ic", "t"] == pytest.approx(test.t)
    loss = kept[["squared_error_first", "squared_error_second", "distance"]].dropna()
    columns = [loss[name].to_numpy() for name in loss]
    lags = 2 * (horizon - 1)
    plain = diebold_mariano(columns[0], columns[1], horizon=lags + 1, kernel="bartlett")
    assert rows.loc["squared_error", "gain"] == pytest.approx(plain.mean_difference)
    assert rows.loc["squared_error", "t"] == pytest.approx(plain.hln)
    assert rows.loc["squared_error", "p"] == pytest.approx(plain.p_value)
    adjusted = (columns[0] - columns[1] + columns[2]).mean()
    assert rows.loc["squared_error_adjusted", "gain"] == pytest.approx(adjusted)
    assert rows.loc["squared_error", "n"] == len(loss)


def test_a_planted_gain_is_found_and_its_reverse_is_a_loss(forecasts):
    first, second, outcome = forecasts
    every = {"all": np.ones(N_DATES, bool)}
    better = gain_tests(gain_by_date(first, second, outcome), every, horizon=1)
    assert (better["t"] > 4.0).all()
    worse = gain_tests(gain_by_date(second, first, outcome), every, horizon=1)
    assert (worse.set_index("measure").loc[["rank_ic", "squared_error"], "t"] < -4.0).all()


def test_noise_added_to_a_forecast_costs_squared_error_and_the_adjustment_gives_it_back():
    rng = np.random.default_rng(8)
    known, noise = rng.standard_normal((2, 300, 40))
    outcome = 0.01 * (0.3 * known + rng.standard_normal((300, 40)))
    first = PanelForecast(known, 0.003 * known)
    second = PanelForecast(known + 0.5 * noise, 0.003 * (known + 0.5 * noise))
    table = gain_tests(
        gain_by_date(first, second, outcome), {"all": np.ones(300, bool)}, horizon=1
    ).set_index("measure")
    assert table.loc["rank_ic", "t"] < -2.0
    assert table.loc["squared_error", "t"] < -2.0
    assert abs(table.loc["squared_error_adjusted", "t"]) < 2.5


def test_equal_forecasts_and_short_samples_are_not_tested(forecasts):
    first, _, outcome = forecasts
    by_date = gain_by_date(first, first, outcome)
    short = np.arange(N_DATES) < 8
    table = gain_tests(by_date, {"all": np.ones(N_DATES, bool), "short": short}, horizon=1)
    assert table["t"].isna().all()
    assert (table["gain"].iloc[:2] == 0.0).all()


def test_forecasts_of_another_shape_are_refused(forecasts):
    first, second, outcome = forecasts
    with pytest.raises(DataError, match="outcomes"):
        gain_by_date(first, second, outcome[1:])
