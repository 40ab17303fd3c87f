"""Every backtest is evaluated: slices, costs, attribution and words for what is missing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from quant_engine.artifacts.kinds.backtest import BACKTEST, ORDERS
from quant_engine.artifacts.kinds.validation import EVALUATION
from quant_engine.backtest.attribution import STYLES
from quant_engine.core.errors import DataError
from quant_engine.workflows.backtest import BacktestRequest, run_backtest
from quant_engine.workflows.run_registry import RunRegistry
from quant_engine.workflows.train import train

pytestmark = [pytest.mark.feature("Q-48"), pytest.mark.feature("T-12")]

BOOK = {"backtest": {"portfolio": {"fraction_per_side": 0.2}}}


@pytest.fixture
def tested(workspace_at, fast_config, location):
    workspace = workspace_at()
    train(workspace, fast_config(), location)
    outcome = run_backtest(workspace, BacktestRequest(), BOOK)
    return workspace, outcome, RunRegistry(workspace).newest("backtest")


def test_a_plain_backtest_is_evaluated(tested) -> None:
    workspace, outcome, record = tested
    store = workspace.store
    found = store.read(EVALUATION, record.artifacts["evaluation"])
    daily = store.read(BACKTEST, record.artifacts["backtest"]).tables["daily"]
    metrics = found.documents["metrics"]

    slices = found.tables["slices"]
    assert set(slices["dimension"]) == {"phase", "regime", "year", "sector", "size"}
    for dimension in ("sector", "size"):
        part = slices[slices["dimension"] == dimension]
        assert (
            part["n_trades"].sum() == outcome.metrics["n_trades"] + outcome.metrics["n_open_at_end"]
        )
    by_year = slices[slices["dimension"] == "year"]
    assert by_year["n_obs"].sum() == len(daily)

    parts = found.tables["attribution"]
    explained = parts[["market", "sector", *STYLES, "alpha"]].sum(axis=1)
    np.testing.assert_allclose(explained, daily["ret_net"], atol=1e-15)
    costs = daily[["cost_fees", "cost_spread", "cost_impact", "cost_borrow"]].sum(axis=1)
    start = daily["equity"] / (1.0 + daily["ret_net"])
    np.testing.assert_allclose(parts["costs"], -costs / start, atol=1e-12)
    totals = found.tables["attribution_totals"].set_index("part")
    assert totals.loc["net", "money"] == pytest.approx(outcome.metrics["pnl_net"], rel=1e-9)
    # What was held explains most of what was earned: trades inside a session are the rest.
    assert parts["trading"].abs().mean() < 0.5 * daily["ret_gross"].abs().mean()

    orders = store.read(ORDERS, record.artifacts["orders"]).tables["orders"]
    bridge = metrics["trading_costs"]
    assert bridge["pnl_gross"] == pytest.approx(outcome.metrics["pnl_gross"], rel=1e-9)
    assert bridge["pnl_net"] == pytest.approx(outcome.metrics["pnl_net"], rel=1e-9)
    assert abs(bridge["gap"]) < 1e-6
    assert found.tables["tca"]["n_orders"].iloc[0] <= len(orders)

    calibration = found.tables["calibration_slices"].groupby("dimension")
    counts = calibration["n_obs"].sum()
    assert set(counts.index) == {"all", "phase", "regime"}
    assert set(counts) == {found.tables["calibration"]["n_obs"].sum()}
    right = calibration.apply(lambda part: (part["frequency"] * part["n_obs"]).sum())
    assert right.max() == pytest.approx(right.min())

    assert found.tables["disagreement"].empty
    assert "one member" in metrics["absent"]["disagreement"]
    assert metrics["rolling_ic_alarm"] is None or isinstance(metrics["rolling_ic_alarm"], bool)
    root = workspace.settings.results_root
    assert json.loads((root / "metrics.json").read_text()) == metrics
    assert json.loads((root / "regime_slices.json").read_text()) == found.documents["regime_slices"]
    page = (root / "backtest_4d.html").read_text()
    for panel in ("tca", "attribution", "slices", "checks", "cost-waterfall"):
        assert f'data-panel="{panel}" data-mode="filled"' in page
    assert 'data-panel="excursions" data-mode="absent"' in page


def test_members_that_disagree_are_measured(workspace_at, fast_config, location) -> None:
    workspace = workspace_at()
    members = [
        {"learner": "ridge", "column": "ridge"},
        {"learner": "lightgbm_shallow", "column": "trees", "params": {"n_trees": 5}},
    ]
    train(workspace, fast_config(model={"members": members, "maps": {"n_bins": 5}}), location)
    run_backtest(workspace, BacktestRequest(), BOOK)
    ref = RunRegistry(workspace).newest("backtest").artifacts["evaluation"]
    found = workspace.store.read(EVALUATION, ref)
    table, metrics = found.tables["disagreement"], found.documents["metrics"]
    assert len(table) > 60
    assert table["disagreement"].between(0.0, 2.0).all()
    assert metrics["disagreement_mean"] == pytest.approx(table["disagreement"].mean())
    assert metrics["disagreement_alarm"] == (metrics["disagreement_mean"] > 0.5)
    assert "disagreement" not in metrics["absent"]


def test_finished_parts_are_kept_and_missing_ones_have_a_reason(tested, monkeypatch) -> None:
    workspace, outcome, _ = tested

    def refuse(*_: object, **__: object) -> None:
        raise DataError("holdings", wanted="orders", got="a split", hint="Ask the broker.")

    monkeypatch.setattr("quant_engine.workflows.evaluation.held_weights", refuse)
    again = run_backtest(replace(workspace, resume=True), BacktestRequest(), BOOK)
    assert again.metrics == outcome.metrics
    ref = RunRegistry(workspace).newest("backtest").artifacts["evaluation"]
    assert len(workspace.store.read(EVALUATION, ref).tables["attribution"]) > 0

    run_backtest(workspace, BacktestRequest(), BOOK)
    ref = RunRegistry(workspace).newest("backtest").artifacts["evaluation"]
    found = workspace.store.read(EVALUATION, ref)
    assert found.tables["attribution"].empty
    assert "a split" in found.documents["metrics"]["absent"]["attribution"]
    page = (workspace.settings.results_root / "backtest_4d.html").read_text()
    assert 'data-panel="attribution" data-mode="absent"' in page
