"""Path evidence: what the refitted paths of the validation suite tell the gates about a backtest.

Combinatorial cross-validation fits the model again on every split of a purged plan and recombines
the predictions into paths (`refits`). Only the suite does so; where it was run on a backtest, the
gates read its paths, and where it was not, they are told the command.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np

from quant_engine.artifacts.kinds.validation import REFIT_PATHS
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.arrays import FloatVector
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource
from quant_engine.governance.bundle import Metric, MetricBundle, Origin
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gates import Status, judge_rule
from quant_engine.workflows.advanced_verdict import PROFILE
from quant_engine.workflows.backtest import resolve_backtest
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.refits import path_figures, why_no_refits
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.simulation import BacktestRunConfig
from quant_engine.workflows.validation import GATE, validation_profile

__all__ = ["path_evidence", "suite_command"]

PASSED = "cpcv_passed"
FIGURES = {"cpcv_median_sharpe": "median_sharpe", "cpcv_negative_frac": "negative_frac"}
"""Figures that the rules of the suite judge, and what `path_figures` calls them."""


def path_evidence(
    workspace: Workspace, run: RunRecord
) -> tuple[tuple[Metric, ...], dict[str, str]]:
    """Collect what the refitted paths of a backtest say.

    Parameters
    ----------
    workspace : Workspace
        Store, registries and rules.
    run : RunRecord
        A backtest.

    Returns
    -------
    tuple of Metric
        ``n_cpcv_paths``, `FIGURES`, and ``cpcv_passed``: whether every rule of the suite on them
        holds, the soft one too. Empty without paths.
    dict of str to str
        ``cpcv_passed`` to what it rests on, or to why it is missing and how it is had.

    Notes
    -----
    The newest run of the suite on the same backtest counts, whichever run of it is judged. There
    is no probability of overfitting of the paths: one strategy was refitted, and nothing was
    chosen among its paths; ``pbo`` compares all books of the family.
    """
    ref = _newest_paths(workspace, run)
    if ref is None:
        return (), {PASSED: _why_none(workspace, run)}
    table = workspace.store.read(REFIT_PATHS, ref).tables["paths"]
    ratio = table["sharpe"].to_numpy(dtype=np.float64)
    figures, units = path_figures(ratio), MetricCatalogue.load(workspace.catalog).units()
    judged = tuple(
        Metric(name, figures[key], units[name], len(table)) for name, key in FIGURES.items()
    )
    metrics = (
        Metric("n_cpcv_paths", len(table), "count"),
        *judged,
        Metric(PASSED, _holds(workspace.catalog, judged), "flag", len(table), "cpcv"),
    )
    return metrics, {PASSED: _told(ratio, figures)}


def _newest_paths(workspace: Workspace, run: RunRecord) -> ArtifactRef | None:
    """Paths of the newest run of the suite on a backtest that are still in the store."""
    for other in reversed(RunRegistry(workspace).all("backtest")):
        ref = other.artifacts.get("paths")
        is_same = other.artifacts.get("backtest") == run.artifacts["backtest"]
        if is_same and ref is not None and workspace.store.path(ref).is_dir():
            return ref
    return None


def _holds(catalog: SpecCatalog, metrics: tuple[Metric, ...]) -> bool:
    """Whether the rules of the suite on the paths hold."""
    catalogue = MetricCatalogue.load(catalog)
    # Rules look at figures alone; where they come from is judged by the bundle of the backtest.
    origin = Origin(RunSource.PROD, ScoreSource.MODEL, DataRegime.PROD_LIVE)
    bundle = MetricBundle(subject="paths", metrics=metrics, origin=origin)
    outcomes = [
        outcome
        for rule in validation_profile(catalog, PROFILE).gate(GATE).rules
        if rule.metric in FIGURES
        for outcome in judge_rule(rule, bundle, gate=GATE, metrics=catalogue)
    ]
    return bool(outcomes) and all(outcome.status is Status.PASS for outcome in outcomes)


def _told(ratio: FloatVector, figures: dict[str, float | None]) -> str:
    n_paths, n_idle = len(ratio), int(np.isnan(ratio).sum())
    if n_idle == n_paths:
        return f"{n_paths} refitted paths, none of which traded"
    idle = f", {n_idle} never traded" if n_idle else ""
    return (
        f"{n_paths} refitted paths, {int((ratio < 0.0).sum())} of them lose "
        f"({figures['negative_frac']:.0%}){idle}; net Sharpe ratio in the median "
        f"{figures['median_sharpe']:.2f}, lowest {figures['lowest_sharpe']:.2f}"
    )


def _why_none(workspace: Workspace, run: RunRecord) -> str:
    reason = why_no_refits(BacktestRunConfig.model_validate(run.config))
    if reason:
        return f"no paths can be refitted: {reason}"
    return f"models were not fitted again for this backtest; run: {suite_command(workspace, run)}"


def suite_command(workspace: Workspace, run: RunRecord) -> str:
    """Spell the command that runs the validation suite on a recorded backtest.

    Parameters
    ----------
    workspace : Workspace
        Registries and specs.
    run : RunRecord
        A backtest.

    Returns
    -------
    str
        With the training run and every setting that is not the default of its book.
    """
    training = RunRegistry(workspace).get(run.parent)
    plain = resolve_backtest(workspace, training, {}).content()
    parts = ["python run_backtest.py", "--advanced", "--run", training.run_id]
    for name, value in _differences(plain, run.config):
        parts += ["--set", shlex.quote(f"{name}={json.dumps(value)}")]
    return " ".join(parts)


def _differences(
    plain: dict[str, Any], own: dict[str, Any], prefix: str = ""
) -> list[tuple[str, Any]]:
    """Settings of `own` that `plain` does not have, by dotted name."""
    found: list[tuple[str, Any]] = []
    for name, value in own.items():
        before = plain.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            found += _differences(before, value, f"{prefix}{name}.")
        elif name not in plain or value != before:
            found.append((f"{prefix}{name}", value))
    return found
