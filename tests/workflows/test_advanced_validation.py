"""The validation suite: every part runs, counts what it tries, resumes, tells luck from edge."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant_engine.artifacts.kinds.backtest import BACKTEST, VALIDATION
from quant_engine.artifacts.kinds.validation import REFIT_PATHS
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.errors import ConfigError
from quant_engine.workflows.advanced import selection_figures
from quant_engine.workflows.backtest import BacktestRequest, run_backtest
from quant_engine.workflows.competition import Competition
from quant_engine.workflows.config import resolve_train_config
from quant_engine.workflows.context import Workspace, moved_workspace
from quant_engine.workflows.data import Location
from quant_engine.workflows.replay import replay
from quant_engine.workflows.run_registry import RunRegistry
from quant_engine.workflows.train import train
from quant_engine.workflows.trials import strategy_family, track_ledger

pytestmark = pytest.mark.feature("Q-47")

SMALL: dict[str, Any] = {
    "advanced": {"n_null_draws": 4, "n_paths": 100, "n_blocks": 4, "splits_per_stage": 4},
    "backtest": {"portfolio": {"fraction_per_side": 0.2}},
}
HEADLINE = {
    *("dsr", "pbo", "spa_p", "monte_carlo_p", "capacity_usd", "wf_gap", "null_percentile"),
    *("stress_2x_sharpe", "delay_1_sharpe", "cpcv_median_sharpe", "n_trials"),
}


@pytest.fixture
def trained(workspace_at, fast_config, location) -> Workspace:
    workspace = workspace_at()
    train(workspace, fast_config(), location)
    return workspace


def checks_of(workspace: Workspace) -> pd.DataFrame:
    ref = RunRegistry(workspace).newest("backtest").artifacts["validation"]
    return workspace.store.read(VALIDATION, ref).tables["checks"].set_index("check")


@pytest.mark.feature("Q-04", "Q-36")
def test_the_suite_adds_figures_verdicts_and_files_and_changes_none(trained) -> None:
    plain = run_backtest(trained, BacktestRequest(), SMALL)
    basic = checks_of(trained)
    outcome = run_backtest(trained, BacktestRequest(advanced=True), SMALL)
    assert set(outcome.metrics) - set(plain.metrics) >= HEADLINE
    assert {name: outcome.metrics[name] for name in plain.metrics} == plain.metrics
    own = outcome.metrics["sharpe"]
    assert outcome.metrics["stress_1x_sharpe"] == outcome.metrics["delay_0_sharpe"] == own
    checks = checks_of(trained)
    pd.testing.assert_frame_equal(checks.iloc[: len(basic)], basic)
    assert len(checks) == len(basic) + 22
    # Fewer than a year of sessions: what rests on them is not judged.
    assert "insufficient_observation" in set(checks["verdict"])
    root = trained.settings.results_root
    metrics = json.loads((root / "metrics.json").read_text())
    slices = json.loads((root / "regime_slices.json").read_text())
    assert metrics["split"]["all"]["sharpe"] == pytest.approx(own)
    sessions = [metrics["split"][part]["n_sessions"] for part in ("development", "holdout", "all")]
    assert sessions[0] + sessions[1] == sessions[2]
    assert set(slices) == {"regime", "phase"}
    row = next(iter(slices["regime"].values()))
    assert {"max_drawdown", "avg_gross_exposure", "annual_return", "is_thin"} <= set(row)
    # 4 blocks, 2 tested: 6 refits and 3 paths.
    paths = trained.store.read(
        REFIT_PATHS, RunRegistry(trained).newest("backtest").artifacts["paths"]
    )
    assert (paths.documents["facts"]["n_splits"], len(paths.tables["paths"])) == (6, 3)
    assert paths.tables["paths"]["sharpe"].notna().all()
    page = (root / "backtest_4d.html").read_text()
    assert 'id="validation"' in page
    assert 'data-panel="suite-nulls" data-mode="filled"' in page


@pytest.mark.slow
@pytest.mark.feature("Q-36")
def test_every_neighbouring_book_is_counted_once(trained) -> None:
    run_backtest(trained, BacktestRequest(), SMALL)
    ledger = track_ledger(trained, "research")
    (alone,) = (f for f in ledger.families() if f.family.startswith("strategy|"))
    first = run_backtest(trained, BacktestRequest(advanced=True), SMALL)
    assert (alone.n_trials, first.metrics["n_trials"]) == (1, 6)
    again = run_backtest(trained, BacktestRequest(advanced=True), SMALL)
    assert again.metrics["n_trials"] == 6
    record = RunRegistry(trained).newest("backtest")
    facts = trained.store.read(VALIDATION, record.artifacts["validation"]).documents["facts"]
    variants = {row["variant"]: row for row in facts["suite"]["variants"]}
    assert set(variants) == {
        *("fraction 0.1", "fraction 0.4", "holding 2", "holding 8", "full rebalance"),
    }
    # A variant is the backtest that a person would get by asking for it.
    book = {"backtest": {"portfolio": {"fraction_per_side": 0.4}}}
    asked = run_backtest(trained, BacktestRequest(), book)
    assert asked.metrics["sharpe"] == variants["fraction 0.4"]["sharpe"]
    kind, _, identity = variants["fraction 0.4"]["backtest"].partition("/")
    stored = trained.store.read(BACKTEST, ArtifactRef(kind=kind, id=identity))
    assert stored.documents["summary"]["sharpe"] == asked.metrics["sharpe"]
    (counted,) = (f for f in ledger.families() if f.family == strategy_family(record))
    assert counted.n_trials == 6


@pytest.mark.slow
def test_what_was_finished_is_not_computed_again(trained, monkeypatch) -> None:
    from dataclasses import replace

    first = run_backtest(trained, BacktestRequest(advanced=True), SMALL)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    for name in ("null_baselines", "cost_stress", "resample_paths"):
        monkeypatch.setattr(f"quant_engine.workflows.advanced_parts.{name}", refuse)
    monkeypatch.setattr("quant_engine.workflows.refits.refit_splits", refuse)
    resumed = run_backtest(replace(trained, resume=True), BacktestRequest(advanced=True), SMALL)
    assert resumed.metrics == first.metrics
    with pytest.raises(AssertionError, match="computed again"):
        run_backtest(trained, BacktestRequest(advanced=True), SMALL)


@pytest.mark.slow
def test_parts_of_the_suite_are_replayed_to_the_same_bytes(trained) -> None:
    run_backtest(trained, BacktestRequest(advanced=True), SMALL)
    record = RunRegistry(trained).newest("backtest")
    assert record.suite["n_null_draws"] == SMALL["advanced"]["n_null_draws"]
    again = replay(trained, str(record.artifacts["nulls"]))
    assert again.metrics["identical"]
    run_backtest(trained, BacktestRequest(), SMALL)
    assert "suite" not in RunRegistry(trained).newest("backtest").content()


@pytest.mark.slow
def test_refits_can_be_left_out_and_say_so(trained) -> None:
    settings = {**SMALL, "advanced": {**SMALL["advanced"], "refit": False}}
    outcome = run_backtest(trained, BacktestRequest(advanced=True), settings)
    assert outcome.metrics["cpcv_median_sharpe"] is None
    row = checks_of(trained).loc["median net Sharpe over refitted paths"]
    assert row["verdict"] == "insufficient_observation"
    assert "switched off" in row["reason"]
    in_sample = BacktestRequest(advanced=True, allow_in_sample=True)
    assert run_backtest(trained, in_sample, SMALL).metrics["cpcv_median_sharpe"] is None
    assert "in-sample" in checks_of(trained).loc[row.name, "reason"]
    assert checks_of(trained).loc["out of sample", "verdict"] == "fail"
    with pytest.raises(ConfigError, match="advanced"):
        run_backtest(trained, BacktestRequest(), {"advanced": {"n_draws": 3}})


def competition(n_trials: int, mean: float, *, lost: tuple[str, ...] = ()) -> Competition:
    rng = np.random.default_rng(8)
    returns = rng.normal(0.0, 0.01, (600, n_trials))
    returns[:, 0] += mean
    refs = tuple(ArtifactRef(kind="backtest_result", id=f"{i:032x}") for i in range(n_trials))
    sessions = pd.bdate_range("2020-01-01", periods=600)
    return Competition(refs, sessions, returns, np.ones(returns.shape, bool), lost)


def selected(found: Competition, n_trials: int, variance: float | None):
    metrics, notes = selection_figures(
        found, found.refs[0], n_trials=n_trials, sharpe_variance=variance, seed=0
    )
    return {metric.name: metric.value for metric in metrics}, notes


@pytest.mark.feature("Q-36")
def test_one_trial_is_not_deflated_and_says_why() -> None:
    values, notes = selected(competition(1, 0.0), 1, None)
    assert set(values) == {"spa_p_value"}
    assert "one trial" in notes["dsr_p_value"]
    assert "one trial" in notes["pbo"]


def test_lost_returns_leave_no_comparison() -> None:
    values, notes = selected(competition(3, 0.0, lost=("a/b",)), 4, 1e-3)
    assert set(values) == {"dsr_p_value"}
    assert "no longer in the store" in notes["spa_p_value"]


def test_a_strategy_that_stood_still_leaves_the_rest_of_the_suite() -> None:
    idle = competition(3, 0.0)
    idle.returns[:400, 2] = 0.0
    values, notes = selected(idle, 3, 1e-3)
    rest = competition(3, 0.0)
    alone = Competition(rest.refs[:2], rest.sessions, rest.returns[:, :2], rest.is_live[:, :2], ())
    assert values["pbo"] == selected(alone, 3, 1e-3)[0]["pbo"]
    assert notes["pbo"].startswith("2 books compared")
    assert "left out: 1 that never or hardly ever traded" in notes["pbo"]
    assert set(values) == {"dsr_p_value", "pbo", "spa_p_value"}


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_a_strategy_that_never_moved_is_left_out_of_every_comparison(level: float) -> None:
    still = competition(4, 0.0)
    still.returns[:, 2] = level
    values, notes = selected(still, 4, 1e-3)
    kept = [0, 1, 3]
    rest = Competition(
        tuple(still.refs[k] for k in kept),
        still.sessions,
        still.returns[:, kept],
        still.is_live[:, kept],
        (),
        idle=(str(still.refs[2]),),
    )
    assert (values, notes) == selected(rest, 4, 1e-3)
    for name in ("pbo", "spa_p_value"):
        assert "left out: 1 that never or hardly ever traded" in notes[name]


def test_selection_tells_an_edge_from_luck() -> None:
    luck, _ = selected(competition(20, 0.0), 20, 1 / 600)
    edge, _ = selected(competition(20, 0.002), 20, 1 / 600)
    assert luck["dsr_p_value"] > 0.5 > 0.05 > edge["dsr_p_value"]
    assert luck["spa_p_value"] > 0.05 > edge["spa_p_value"]
    assert luck["pbo"] > 0.2 > edge["pbo"]


def verdicts_on(
    workspace: Workspace, alpha: dict[str, Any], settings: dict[str, Any]
) -> dict[str, str]:
    """Verdicts of the whole chain on a simulated market whose alpha has a known strength."""
    world = {"seed": 12, "n_assets": 60, "n_sessions": 900, "alpha": alpha}
    config = resolve_train_config(
        {
            "data": {"world": world},
            "labels": {"horizon_sessions": 5},
            "split": {"min_train_sessions": 252, "test_sessions": 126},
            "model": {"members": [{"learner": "ridge", "column": "ridge"}]},
        },
        workspace.catalog,
    )
    train(workspace, config, Location())
    run_backtest(workspace, BacktestRequest(advanced=True), settings)
    return dict(checks_of(workspace)["verdict"])


LUCK = (
    "deflated Sharpe p-value",
    "superior predictive ability p-value",
    "Monte Carlo p-value of net Sharpe",
    "p-value against random books of equal turnover",
)


@pytest.mark.slow
@pytest.mark.feature("Q-36", "Q-47")
def test_a_null_world_does_not_pass_and_a_strong_one_does(workspace_at) -> None:
    settings = {**SMALL, "advanced": {**SMALL["advanced"], "n_null_draws": 39, "n_paths": 500}}
    workspace = workspace_at()
    null = verdicts_on(moved(workspace, "null"), {"shape": "none"}, settings)
    strong = verdicts_on(
        moved(workspace, "strong"), {"shape": "linear", "oracle_rank_ic": 0.15}, settings
    )
    assert {null[name] for name in LUCK} == {"fail"}
    assert {strong[name] for name in LUCK} == {"pass"}
    for name in ("net Sharpe at twice the cost", "net Sharpe with entries one session late"):
        assert strong[name] == "pass"
    assert "fail" not in {v for k, v in strong.items() if k != "model quality rules"}


def moved(workspace: Workspace, name: str) -> Workspace:
    folder = workspace.settings.results_root.parent / name
    folder.mkdir()
    return moved_workspace(workspace, folder)
