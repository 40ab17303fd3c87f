"""Figures: right numbers, right size, and one figure for two themes."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from quant_engine.reports import figures as charts
from quant_engine.reports.derived import growth_table, year_table
from quant_engine.reports.figures.kit import MAX_POINTS
from quant_engine.reports.figures.performance import MAX_REGIME_SPANS
from quant_engine.reports.panels.parts import figure_spec
from quant_engine.reports.theme import DARK, LIGHT, Palette, palette_swap

BUILDERS = {
    "equity": lambda d, p: charts.equity_figure(d.daily, palette=p),
    "monthly": lambda d, p: charts.monthly_heatmap(d.monthly_returns, palette=p),
    "rolling": lambda d, p: charts.rolling_figure(d.daily, periods_per_year=252, palette=p),
    "histogram": lambda d, p: charts.return_histogram(d.daily["ret_net"], palette=p),
    "years": lambda d, p: charts.yearly_returns_figure(
        year_table(d.daily, periods_per_year=252), palette=p
    ),
    "exposure": lambda d, p: charts.exposure_figure(d.daily, palette=p),
    "turnover": lambda d, p: charts.turnover_figure(
        d.daily["turnover"], periods_per_year=252, palette=p
    ),
    "costs": lambda d, p: charts.cost_figure(d.daily, palette=p),
    "trades": lambda d, p: charts.trade_histogram(d.trades, palette=p),
    "ic-date": lambda d, p: charts.ic_by_date_figure(d.ic_by_date, palette=p),
    "ic-horizon": lambda d, p: charts.ic_by_horizon_figure(d.ic_by_horizon, palette=p),
    "quantiles": lambda d, p: charts.quantile_bar_figure(d.quantile_returns, palette=p),
    "quantile-curves": lambda d, p: charts.quantile_cumulative_figure(
        d.quantile_cumulative, palette=p
    ),
    "folds": lambda d, p: charts.fold_figure(d.folds, palette=p),
    "coverage": lambda d, p: charts.coverage_figure(d.dataset.coverage, palette=p),
}


def recolour(value, swap):
    """The client's algorithm, word for word."""
    if isinstance(value, str):
        return swap.get(value, value)
    if isinstance(value, list):
        return [recolour(one, swap) for one in value]
    if isinstance(value, dict):
        return {key: one if key == "bdata" else recolour(one, swap) for key, one in value.items()}
    return value


def test_every_exported_figure_is_covered_here() -> None:
    assert len(BUILDERS) == len(charts.__all__)


@pytest.mark.parametrize("name", BUILDERS)
def test_swapping_colours_turns_the_light_figure_into_the_dark_one(name, run_data) -> None:
    light = figure_spec(BUILDERS[name](run_data, LIGHT))
    dark = figure_spec(BUILDERS[name](run_data, DARK))
    assert recolour(light, palette_swap(LIGHT, DARK)) == dark
    assert recolour(dark, palette_swap(DARK, LIGHT)) == light


@pytest.mark.parametrize("name", BUILDERS)
def test_inputs_are_not_changed_and_figures_carry_no_title(name, run_data) -> None:
    before = run_data.daily.copy(), run_data.trades.copy(), run_data.folds.copy()
    figure = BUILDERS[name](run_data, LIGHT)
    pd.testing.assert_frame_equal(run_data.daily, before[0])
    pd.testing.assert_frame_equal(run_data.trades, before[1])
    pd.testing.assert_frame_equal(run_data.folds, before[2])
    assert figure.layout.title.text is None
    assert figure.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert all(trace.type in ("scatter", "bar", "heatmap") for trace in figure.data)


@pytest.mark.parametrize("name", BUILDERS)
def test_no_colour_is_written_down_outside_the_palette(name, run_data) -> None:
    roles = {value for key, value in vars(LIGHT).items() if key != "name"}
    roles |= {LIGHT.ramp(k, 10) for k in range(10)}
    text = json.dumps(figure_spec(BUILDERS[name](run_data, LIGHT)))
    found = set(re.findall(r'"(#[0-9a-fA-F]+|rgba?\([^"]*\))"', text))
    assert found or name == "monthly"
    assert found <= roles


@pytest.fixture(scope="module")
def long_run(fake_run_module):
    return fake_run_module.fake_run(4000, n_trades=500)


@pytest.mark.parametrize("name", BUILDERS)
def test_long_runs_are_thinned(name, long_run) -> None:
    for trace in BUILDERS[name](long_run, LIGHT).data:
        assert trace.x is None or len(trace.x) <= MAX_POINTS


@pytest.mark.feature("Q-34")
def test_equity_figure_keeps_peaks_troughs_and_ends(long_run) -> None:
    figure = charts.equity_figure(long_run.daily)
    traces = {trace.name: trace for trace in figure.data}
    growth = np.cumprod(1 + long_run.daily["ret_net"].to_numpy())
    drawn = np.asarray(traces["Net"].y, dtype=float)
    assert drawn.max() == pytest.approx(growth.max(), rel=1e-6)
    assert drawn.min() == pytest.approx(growth.min(), rel=1e-6)
    assert drawn[0] == pytest.approx(growth[0], rel=1e-6)
    assert drawn[-1] == pytest.approx(growth[-1], rel=1e-6)
    depth = (growth / np.maximum.accumulate(np.maximum(growth, 1.0)) - 1).min()
    assert min(traces["Drawdown"].y) == pytest.approx(depth, rel=1e-6)
    sessions = {str(one.date()) for one in long_run.daily.index}
    assert set(traces["Net"].x) <= sessions


def test_every_session_has_its_regime_shade(run_data) -> None:
    figure = charts.equity_figure(run_data.daily)
    shades = {LIGHT.shade(code): code for code in range(4)}
    by_code: dict[int, int] = dict.fromkeys(range(4), 0)
    codes = run_data.daily["regime"]
    for shape in figure.layout.shapes:
        inside = (codes.index >= shape.x0) & (codes.index < shape.x1)
        code = shades[shape.fillcolor]
        assert set(codes[inside]) == {code}
        by_code[code] += int(inside.sum())
    counted = codes.iloc[:-1].value_counts()
    assert by_code == {code: int(counted.get(code, 0)) for code in range(4)}


def test_flickering_regimes_are_merged_to_months(run_data) -> None:
    daily = run_data.daily.assign(regime=np.arange(len(run_data.daily)) % 4)
    figure = charts.equity_figure(daily)
    assert len(figure.layout.shapes) <= MAX_REGIME_SPANS
    assert {trace.name for trace in figure.data} >= {"Net", "Gross", "Benchmark"}


def test_heatmap_holds_the_input_and_leaves_its_scale_to_the_template(run_data) -> None:
    figure = charts.monthly_heatmap(run_data.monthly_returns)
    months, years = figure.data
    for year, month, ret in run_data.monthly_returns.itertuples(index=False):
        row = list(months.y).index(str(year))
        assert months.z[row][month - 1] == pytest.approx(ret, abs=1e-7)
        assert float(months.text[row][month - 1].replace("−", "-")) == pytest.approx(
            100 * ret, abs=0.05 + 1e-9
        )
    assert months.colorscale is None
    assert figure.layout.template.data.heatmap[0].colorscale[0][1] == LIGHT.heat_low
    assert years.zmax == -years.zmin


def test_histogram_counts_every_session(run_data) -> None:
    figure = charts.return_histogram(run_data.daily["ret_net"])
    assert int(np.sum(figure.data[0].y)) == len(run_data.daily)


def test_stacked_costs_end_at_their_sums(run_data) -> None:
    figure = charts.cost_figure(run_data.daily)
    for trace in figure.data:
        column = f"cost_{trace.name.lower()}"
        assert trace.y[-1] == pytest.approx(run_data.daily[column].sum(), rel=1e-5)
        assert trace.stackgroup == "costs"


@pytest.mark.feature("Q-48")
def test_ic_figure_shows_dates_or_months(run_data) -> None:
    by_month = charts.ic_by_date_figure(run_data.ic_by_date)
    by_date = charts.ic_by_date_figure(run_data.ic_by_date.iloc[:200])
    assert by_month.data[0].name == "Monthly mean"
    assert by_date.data[0].name == "Per date"
    assert len(by_date.data[0].x) == 200
    first_month = run_data.ic_by_date["rank_ic"].loc["2016-03"]
    assert by_month.data[0].y[0] == pytest.approx(first_month.mean(), rel=1e-5)
    assert by_month.data[2].y[-1] == pytest.approx(run_data.ic_by_date["rank_ic"].sum(), rel=1e-5)


@pytest.mark.feature("Q-48")
def test_quantile_whiskers_are_95_percent_intervals(run_data) -> None:
    table = run_data.quantile_returns
    figure = charts.quantile_bar_figure(table.iloc[::-1])
    assert list(figure.data[0].y) == pytest.approx(table["mean_fwd_return_bps"].tolist(), rel=1e-6)
    expected = (1.96 * table["std_error_bps"]).tolist()
    assert list(figure.data[0].error_y.array) == pytest.approx(expected, rel=1e-4)


def test_zero_t_statistic_has_no_whisker() -> None:
    table = pd.DataFrame({"horizon": [5, 10], "mean": [0.0, 0.02], "t_nw": [0.0, 2.0], "n": [9, 9]})
    whiskers = charts.ic_by_horizon_figure(table).data[0].error_y.array
    assert np.isnan(whiskers[0])
    assert whiskers[1] == pytest.approx(0.0196, abs=1e-5)


def test_fold_bars_span_their_sessions(run_data) -> None:
    train, test = charts.fold_figure(run_data.folds).data
    fold = run_data.folds.iloc[3]
    day = pd.Timedelta(days=1)
    begin = pd.Timestamp(test.base[3])
    assert begin == fold["test_first"]
    assert begin + pd.Timedelta(milliseconds=test.x[3]) == fold["test_last"] + day
    assert pd.Timestamp(train.base[3]) + pd.Timedelta(milliseconds=train.x[3]) < begin


def test_growth_of_a_series_that_starts_late_begins_at_its_start() -> None:
    sessions = pd.date_range("2024-01-01", periods=4)
    hedged = [np.nan, 0.1, 0.1, np.nan]
    daily = pd.DataFrame({"ret_net": 0.0, "ret_gross": 0.0, "ret_hedged": hedged}, index=sessions)
    grown = growth_table(daily)["hedged"]
    assert grown.isna().tolist() == [True, False, False, True]
    assert grown.iloc[2] == pytest.approx(1.21)


def test_unknown_regime_code_has_a_colour() -> None:
    assert isinstance(Palette.regime(LIGHT, 9), str)
    assert LIGHT.shade(9) == LIGHT.grid
