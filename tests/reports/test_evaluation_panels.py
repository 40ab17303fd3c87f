"""Panels of the evaluation: filled where a run has it, absent with a reason where it has not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant_engine.reports import render_tearsheet
from quant_engine.reports.episodes import (
    cost_bridge,
    crisis_paths,
    crisis_table,
    cumulative_parts,
)
from quant_engine.reports.figures.evaluation import (
    attribution_figure,
    capacity_figure,
    crisis_figure,
    excursion_figure,
    waterfall_figure,
)
from quant_engine.reports.theme import DARK, LIGHT

pytestmark = pytest.mark.feature("Q-48")

PANELS = {
    *("cost-waterfall", "excursions", "tca", "attribution", "attribution-totals"),
    *("crises", "crisis-table", "slices", "slices-trades", "calibration", "checks"),
}


def test_every_panel_is_filled_and_exact(page, run_data) -> None:
    assert {name: page.panels[name] for name in PANELS} == dict.fromkeys(PANELS, "filled")
    shown = {e.get("data-metric"): e for e in page.all(having="data-metric")}
    totals = run_data.evaluation.attribution_totals.set_index("part")
    for part in totals.index:
        figure = shown[f"attribution_totals.{part}.total_frac"]
        assert float(figure.get("data-value")) == totals.loc[part, "total_frac"]
    assert shown["slices.0.n_obs_note"].text == "thin"
    assert shown["slices_trades.0.slice"].text == "Energy"
    assert shown["calibration.1.n_obs_note"].text == "thin"
    # 50 of 1,000,000 = 0.5 bps.
    assert shown["tca.0.delay"].text == "0.5 bps"
    text = " ".join(element.text for element in page.all("p"))
    assert "alarm: above 0.02" in text
    assert "the model has one member" in text


def test_a_run_without_an_evaluation_says_why(run_data, parse) -> None:
    bare = replace(
        run_data,
        evaluation=None,
        checks=None,
        trades=run_data.trades.drop(columns=["mae_frac", "mfe_frac"]),
        daily=run_data.daily[["equity", "ret_net", "ret_gross"]],
        absent={"excursions": "Only rules record them."},
    )
    found = parse(render_tearsheet(bare))
    assert {name: found.panels[name] for name in PANELS} == dict.fromkeys(PANELS, "absent")
    reasons = {e.get("data-reason"): e.text for e in found.all(having="data-reason")}
    assert reasons["excursions"] == "Only rules record them."
    assert reasons["tca"] == "The run recorded no evaluation."


def test_a_book_whose_holdings_are_unknown_has_no_attribution(run_data, parse) -> None:
    own = run_data.evaluation
    without = replace(
        own, attribution=own.attribution.iloc[:0], absent={"attribution": "Shares were split."}
    )
    found = parse(render_tearsheet(replace(run_data, evaluation=without)))
    reasons = {e.get("data-reason"): e.text for e in found.all(having="data-reason")}
    assert reasons["attribution"] == reasons["attribution-totals"] == "Shares were split."
    assert found.panels["tca"] == "filled"


def test_the_bridge_ends_where_the_net_return_is(run_data) -> None:
    bridge = cost_bridge(run_data.daily, periods_per_year=252)
    assert bridge["step"].tolist() == ["gross", "spread", "impact", "fees", "borrow", "net"]
    steps = bridge.set_index("step")
    assert steps["annual_frac"].iloc[:-1].sum() == pytest.approx(steps.loc["net", "annual_frac"])
    assert steps.loc["gross", "annual_frac"] == pytest.approx(
        run_data.daily["ret_gross"].mean() * 252
    )
    ends = steps["start"] + steps["annual_frac"]
    np.testing.assert_allclose(steps["start"].iloc[1:-1], ends.iloc[:-2])
    # What the listed costs leave open has its own bar.
    less = run_data.daily.drop(columns="cost_borrow")
    assert "other" in cost_bridge(less, periods_per_year=252)["step"].tolist()


def test_crises_are_the_falls_of_the_market_in_plain_python(run_data) -> None:
    daily = run_data.daily
    table = crisis_table(daily, n_worst=3)
    assert table["benchmark_fall"].is_monotonic_increasing
    wealth, peak, worst = 1.0, 1.0, 0.0
    for change in daily["benchmark_ret"]:
        wealth *= 1.0 + change
        peak = max(peak, wealth)
        worst = min(worst, wealth / peak - 1.0)
    assert table["benchmark_fall"].iloc[0] == pytest.approx(worst)
    first = table.iloc[0]
    inside = daily[(daily.index > first["peak"]) & (daily.index <= first["trough"])]
    assert len(inside) == first["sessions_to_trough"]
    assert first["book_in_fall"] == pytest.approx(np.prod(1.0 + inside["ret_net"]) - 1.0)
    path = crisis_paths(daily, table)[0]
    assert path["benchmark"].min() - 1.0 == pytest.approx(worst)
    assert path["book"].iloc[-1] - 1.0 == pytest.approx(first["book_whole"])


def test_cumulative_parts_end_at_the_compounded_return(run_data) -> None:
    parts = cumulative_parts(run_data.evaluation.attribution)
    own = parts.drop(columns="net").sum(axis=1)
    np.testing.assert_allclose(own, parts["net"], atol=1e-12)
    whole = np.prod(1.0 + run_data.daily["ret_net"]) - 1.0
    assert parts["net"].iloc[-1] == pytest.approx(whole)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_figures_draw_what_they_are_given(palette, run_data) -> None:
    bridge = cost_bridge(run_data.daily, periods_per_year=252)
    drawn = waterfall_figure(bridge, palette=palette).data[0]
    np.testing.assert_allclose(np.asarray(drawn.y, float), bridge["annual_frac"])
    np.testing.assert_allclose(np.asarray(drawn.base, float), bridge["start"])
    trades = run_data.trades
    points = excursion_figure(trades, palette=palette)
    assert sum(len(trace.x) for trace in points.data) == len(trades)
    parts = cumulative_parts(run_data.evaluation.attribution)
    stacked = attribution_figure(parts, palette=palette)
    ends = sum(float(trace.y[-1]) for trace in stacked.data if trace.stackgroup)
    assert ends == pytest.approx(parts["net"].iloc[-1], abs=1e-5)
    table = pd.DataFrame(
        {"capital_usd": [1e6, 1e8], "sharpe": [1.0, 0.2], "capped_value_frac": [0.0, 0.5]}
    )
    marked = capacity_figure(table, capacity_usd=1e7, palette=palette)
    assert {shape.name for shape in marked.layout.shapes} >= {"Capacity"}
    beyond = capacity_figure(table, capacity_usd=1e9, palette=palette)
    assert "Capacity" not in {shape.name for shape in beyond.layout.shapes}
    paths = crisis_paths(run_data.daily, crisis_table(run_data.daily, n_worst=2))
    crises = crisis_figure(paths, ["a", "b"], palette=palette)
    assert float(crises.data[1].y[-1]) == pytest.approx(paths[0]["book"].iloc[-1] - 1.0, abs=1e-6)
