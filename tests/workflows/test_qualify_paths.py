"""Qualification reads the refitted paths of the suite, and names who was left out and why."""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np
import pytest
import yaml

from quant_engine.artifacts.kinds.validation import REFIT_PATHS
from quant_engine.core.settings import set_nested
from quant_engine.workflows import competition, evidence
from quant_engine.workflows.backtest import BacktestRequest, resolve_backtest, run_backtest
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.path_evidence import suite_command
from quant_engine.workflows.qualify import qualify_backtest
from quant_engine.workflows.refits import path_figures
from quant_engine.workflows.run_registry import RunRegistry
from quant_engine.workflows.train import train

pytestmark = pytest.mark.feature("Q-39")

BOOK: dict[str, Any] = {
    "backtest": {"portfolio": {"fraction_per_side": 0.2, "mode": "long_only"}},
    "costs": "stress_2x",
}
SUITE = {"n_null_draws": 2, "n_paths": 100, "n_blocks": 4, "size_factors": [], "delays": [0, 1]}


@pytest.fixture
def trained(workspace_at, fast_config, location) -> Workspace:
    workspace = workspace_at()
    train(workspace, fast_config(), location)
    return workspace


def outcomes_of(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Outcomes of the newest qualification by figure."""
    (path,) = workspace.settings.results_root.glob("research/qualification/*/*.json")
    report = json.loads(path.read_text(encoding="utf-8"))["gate_report"]
    return {row["rule"].split()[0]: row for row in report["outcomes"]}


def test_paths_are_asked_for_by_the_command_that_makes_them(trained) -> None:
    run_backtest(trained, BacktestRequest(), BOOK)
    qualify_backtest(trained, None)
    row = outcomes_of(trained)["cpcv_passed"]
    assert (row["status"], row["value"]) == ("warn", None)
    run = RunRegistry(trained).newest("backtest")
    command = suite_command(trained, run)
    assert row["reason"].endswith(f"run: {command}")

    # The command asks for the same book, setting by setting.
    words = shlex.split(command)
    assert words[:4] == ["python", "run_backtest.py", "--advanced", "--run"]
    asked: dict[str, Any] = {}
    for flag, text in zip(words[5::2], words[6::2], strict=True):
        assert flag == "--set"
        name, _, value = text.partition("=")
        set_nested(asked, name.split("."), yaml.safe_load(value))
    training = RunRegistry(trained).get(words[4])
    assert resolve_backtest(trained, training, asked).content() == run.config


@pytest.mark.slow
def test_paths_are_judged_and_who_never_traded_is_named(trained, monkeypatch) -> None:
    run_backtest(trained, BacktestRequest(), BOOK)
    run = RunRegistry(trained).newest("backtest")
    # A book that cannot trade is one more trial; it is named and left out.
    idle = {**BOOK, "backtest": {**BOOK["backtest"], "trading": {"min_notional_usd": 1e12}}}
    assert run_backtest(trained, BacktestRequest(), idle).status == "no_trades"
    for module in (competition, evidence):
        monkeypatch.setattr(module, "MIN_SESSIONS", 100)
    run_backtest(trained, BacktestRequest(advanced=True), {**BOOK, "advanced": SUITE})
    outcome = qualify_backtest(trained, run.run_id)
    rows = outcomes_of(trained)
    for name in ("max_t_p_value", "pbo"):
        assert "left out: 1 that never or hardly ever traded" in rows[name]["reason"]
    ref = RunRegistry(trained).newest("backtest").artifacts["paths"]
    ratio = trained.store.read(REFIT_PATHS, ref).tables["paths"]["sharpe"].to_numpy()
    assert outcome.metrics["n_cpcv_paths"] == len(ratio) == 3
    assert outcome.metrics["cpcv_negative_frac"] == np.mean(ratio < 0.0)
    held = np.median(ratio) > 0.0 and np.mean(ratio < 0.0) <= 0.25
    assert rows["cpcv_passed"]["value"] == held
    assert f"3 refitted paths, {(ratio < 0.0).sum()} of them lose" in rows["cpcv_passed"]["reason"]


def test_paths_that_never_traded_neither_win_nor_lose() -> None:
    known = np.array([-1.0, 2.0, 3.0])
    assert path_figures(np.append(known, np.nan)) == path_figures(known)
    assert path_figures(np.array([np.nan]))["negative_frac"] is None
