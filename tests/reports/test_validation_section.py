"""The validation section: there only with a suite, every figure of it with its exact value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant_engine.reports import render_tearsheet
from quant_engine.reports.figures.validation import null_figure, wealth_band_figure
from quant_engine.reports.suite_data import SuiteData
from quant_engine.reports.theme import DARK, LIGHT

FIGURES = {
    "sharpe": 0.7,
    "annual_return": 0.05,
    "annual_vol": 0.07,
    "max_drawdown": -0.1,
    "turnover_ann": 9.0,
    "cost_total": 1e4,
    "n_trades": 300.0,
}
PANELS = {
    *("suite-wealth-bands", "suite-nulls", "suite-stress", "suite-variants"),
    *("suite-capacity", "suite-capacity-curve", "suite-paths", "suite-quantiles"),
}


def suite(**changes) -> SuiteData:
    rng = np.random.default_rng(0)
    sessions = pd.bdate_range("2020-01-01", periods=50)
    wealth = np.cumprod(1.0 + rng.normal(0.001, 0.01, 50))
    kinds = ["random_entry"] * 9 + ["shuffled"] * 9 + ["always_long"]
    levels = ["0.05", "0.5", "observed"]
    outcomes = {"terminal_wealth": 1.1, "max_drawdown": -0.2, "lowest_wealth": 0.9, "sharpe": 0.5}
    tables = {
        "stress": pd.DataFrame(
            [
                {"kind": kind, "level": level, **FIGURES}
                for kind, level in (("cost", 1.0), ("cost", 2.0), ("delay", 0.0), ("delay", 1.0))
            ]
        ),
        "capacity": pd.DataFrame(
            {
                "multiple": [1.0],
                "capital_usd": [1e6],
                "sharpe": [0.7],
                "annual_impact_frac": [0.001],
                "capped_value_frac": [0.0],
            }
        ),
        "variants": pd.DataFrame([{"variant": "fraction 0.2", **FIGURES}]),
        "nulls": pd.DataFrame({"kind": kinds, "draw": range(19), "sharpe": rng.normal(0, 0.5, 19)}),
        "paths": pd.DataFrame([{"path": 1, "rank_ic": 0.03, **FIGURES}]),
        "bands": pd.DataFrame(
            {"low": 0.9 * wealth, "middle": wealth, "high": 1.1 * wealth, "observed": wealth},
            index=sessions,
        ),
        "quantiles": pd.DataFrame(
            [
                {"kind": kind, "level": level, **outcomes}
                for kind in ("paths", "trades")
                for level in levels
            ]
        ),
        "figures": {"n_trials": 7, "monte_carlo_p": 0.04, "null_percentile": 0.9},
        "notes": {"cpcv_median_sharpe": "15 refits"},
    }
    return SuiteData(**{**tables, **changes})


@pytest.mark.feature("Q-36")
def test_the_section_stands_where_the_suite_was_run(run_data, page, parse) -> None:
    assert not PANELS & set(page.panels)
    assert (page.panels["checks"], page.panels["suite"]) == ("filled", "absent")
    found = parse(render_tearsheet(replace(run_data, suite=suite())))
    assert {name: found.panels[name] for name in PANELS} == dict.fromkeys(PANELS, "filled")
    shown = {e.get("data-metric"): e for e in found.all(having="data-metric")}
    assert shown["suite_stress.1.sharpe"].get("data-value") == "0.7"
    assert shown["suite_stress.1.name"].text == "Cost × 2"
    assert shown["suite.null_percentile"].text == "90.0%"
    assert "suite" not in found.panels
    assert shown["checks.n_insufficient"].text == "1"
    assert shown["checks.1.reason"].text == "two 0.20 is above 0.05"
    assert shown["suite_quantiles.0.trades_max_drawdown"].get("data-value") == "-0.2"
    # A figure that does not exist says so.
    assert shown["suite.capacity_usd"].text == "n/a"


def test_parts_that_were_left_out_say_why(run_data, parse) -> None:
    without = suite(paths=None, variants=pd.DataFrame())
    found = parse(render_tearsheet(replace(run_data, suite=without)))
    assert (found.panels["suite-paths"], found.panels["suite-variants"]) == ("absent", "absent")
    reasons = [e.text for e in found.all(having="data-reason")]
    assert "There are none: 15 refits." in reasons


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_figures_draw_what_they_are_given(palette) -> None:
    data = suite()
    bands = wealth_band_figure(data.bands, palette=palette)
    drawn = {trace.name: np.asarray(trace.y, dtype=float) for trace in bands.data}
    np.testing.assert_allclose(drawn["Observed"], data.bands["observed"], rtol=1e-6)
    nulls = null_figure(data.nulls, sharpe=0.5, palette=palette)
    assert [int(np.sum(trace.y)) for trace in nulls.data] == [9, 9]
    places = {shape.name: shape.x0 for shape in nulls.layout.shapes}
    assert places == {"Strategy": 0.5, "Always long": data.nulls["sharpe"].iloc[-1]}
    alone = null_figure(data.nulls.iloc[:-1], sharpe=None, palette=palette)
    assert not alone.layout.shapes
