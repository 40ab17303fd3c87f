"""Evidence: what the gates may look at when they judge a backtest.

1. ``_selection`` computes what depends on all backtests of the family (`competition`): max-T, the
   error budget of this look, the deflated Sharpe ratio and the probability of overfitting.
2. `path_evidence` reads the refitted paths of the validation suite, where it was run.
3. ``_economics`` and ``_safety`` take the backtest's own figures.
4. ``_lineage`` compares what was evaluated with what would be used.

Selection statistics judge returns net of cost, benchmark and beta, so that a book that earns the
market's premium is no discovery.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.backtest import BACKTEST, ORDERS, VALIDATION
from quant_engine.artifacts.kinds.training import TRAINING_REPORT
from quant_engine.artifacts.manifest import ArtifactRef, Manifest
from quant_engine.core.errors import DataError, IntegrityError
from quant_engine.execution.cost_model import profile_of
from quant_engine.governance.bundle import (
    Alignment,
    Lineage,
    Metric,
    MetricBundle,
    Origin,
    SignatureState,
    Value,
)
from quant_engine.governance.ledger import LedgerUse, TrialLedger
from quant_engine.stats.alpha_spending import AlphaSpending
from quant_engine.stats.max_t import max_t
from quant_engine.stats.metrics import annual_return
from quant_engine.stats.sharpe_inference import probabilistic_sharpe, sharpe_sample
from quant_engine.workflows.competition import (
    MIN_SESSIONS,
    Competition,
    competing_returns,
    deflated_metric,
    overfitting_metric,
    trial_statistics,
)
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.costs import load_costs
from quant_engine.workflows.model_registry import ModelRegistry
from quant_engine.workflows.path_evidence import path_evidence
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.trials import STRATEGY, family_of, fills_same_bar

SIGN_FLIP_SEED = 0
MIN_DRAWS = 4_999
DRAWS_PER_LEVEL = 20.0
"""Sign vectors that are expected at or above the level's critical value."""

COST_STRESS = 1.5
MAX_CUT_ORDERS_FRAC = 0.01
"""Share of orders that the participation cap may cut before capacity counts as constrained."""

PLAN = AlphaSpending()
"""Error budget over looks: 0.025 in all, falling with the square of the look."""


def gather_evidence(
    workspace: Workspace, run: RunRecord, ledger: TrialLedger
) -> tuple[MetricBundle, Competition]:
    """Collect what the gates may look at for a finished backtest.

    Parameters
    ----------
    workspace : Workspace
        Store and registries.
    run : RunRecord
        A backtest.
    ledger : TrialLedger
        Ledger of its track; what is taken from it is written down there.

    Returns
    -------
    MetricBundle
        A figure that cannot be computed is not in it, and a missing figure never passes.
    Competition
        The backtests it was judged among.
    """
    family = family_of(STRATEGY, run)
    competition = competing_returns(workspace, ledger, family)
    statistics = trial_statistics({family: competition})
    subject = run.artifacts["backtest"]
    use = ledger.consumed(subject.id, family, statistics)
    look = ledger.looks_at(family)
    summary = workspace.store.read(BACKTEST, subject).documents["summary"]
    selection, words = _selection(competition, subject, use, look=look)
    paths, told = path_evidence(workspace, run)
    metrics = [
        *selection,
        *paths,
        *_economics(workspace, run, summary),
        *_safety(workspace, run, summary),
    ]
    manifest = workspace.store.manifest(subject)
    origin = manifest.provenance
    bundle = MetricBundle(
        subject=subject.id,
        metrics=tuple(metrics),
        origin=Origin(origin.run_source, origin.score_source, origin.data_regime),
        lineage=_lineage(workspace, run, manifest),
        trials=use,
        details={**words, **told},
    )
    return bundle, competition


def _selection(
    competition: Competition, subject: ArtifactRef, use: LedgerUse, *, look: int
) -> tuple[list[Metric], dict[str, str]]:
    """What depends on every strategy that was tried, and what it rests on or why it is missing."""
    level = PLAN.level(look)
    budget = Metric("alpha_this_look", level, "probability", method=PLAN.schedule.value)
    reason = ""
    if subject not in competition.refs:
        reason = "the returns of this backtest never vary, so it holds nothing to be judged"
    elif len(competition.sessions) < MIN_SESSIONS:
        reason = f"{len(competition.sessions)} sessions, of {MIN_SESSIONS} needed"
    if reason:
        return [budget], dict.fromkeys(("max_t_p_value", "psr", "dsr_p_value", "pbo"), reason)
    place = competition.refs.index(subject)
    own = competition.returns[competition.is_live[:, place], place]
    n_obs, words = len(own), {}
    found: list[Metric | None] = [budget]
    if not competition.lost:
        # A late look has a small level, and draws must be able to fall below it.
        n_draws = max(MIN_DRAWS, ceil(DRAWS_PER_LEVEL / level))
        tested = max_t(competition.returns, seed=SIGN_FLIP_SEED, alpha=level, n_draws=n_draws)
        value = float(tested.p_values[place])
        found.append(Metric("max_t_p_value", value, "probability", n_obs, "block_sign_flip_20"))
        words["max_t_p_value"] = competition.left_out(len(competition.refs))
    sample = sharpe_sample(own)
    measured = probabilistic_sharpe(
        sample.sharpe_per_period, n_obs=sample.n_obs, shape=sample.shape
    )
    found.append(
        Metric("psr", float(measured.probability), "probability", n_obs, measured.convention)
    )
    found.append(deflated_metric(own, n_trials=use.n_trials, sharpe_variance=use.sharpe_variance))
    overfit, words["pbo"] = overfitting_metric(competition, n_obs=n_obs)
    return [metric for metric in (*found, overfit) if metric is not None], words


def _economics(workspace: Workspace, run: RunRecord, summary: dict[str, Any]) -> Iterable[Metric]:
    """Performance net of cost, out of sample."""
    daily = workspace.store.read(BACKTEST, run.artifacts["backtest"]).tables["daily"]
    n_obs = int(summary["n_sessions"])
    stressed = daily["ret_gross"] - COST_STRESS * (daily["ret_gross"] - daily["ret_net"])
    per_year = run.config["backtest"]["periods_per_year"]
    figures: dict[str, tuple[Value | None, str, str]] = {
        "sharpe_daily": (summary["sharpe"], "annualised", summary["sharpe_method"]),
        "annual_return": (summary["annual_return"], "fraction", ""),
        "annual_return_cost_1_5x": (
            annual_return(stressed, periods_per_year=per_year),
            "fraction",
            "",
        ),
        "profit_factor": (summary["profit_factor"], "ratio", ""),
        "hit_rate": (summary["hit_rate"], "fraction", ""),
        "n_trades": (summary["n_trades"], "count", ""),
        "turnover_ann": (summary["turnover_ann"], "ratio", ""),
        "observation_days": (summary["observation_days"], "days", ""),
        "positive_fold_frac": (_positive_folds(workspace, run, daily), "fraction", ""),
    }
    for name, (value, unit, method) in figures.items():
        yield Metric(name, value, unit, n_obs, method)


def _positive_folds(workspace: Workspace, run: RunRecord, daily: pd.DataFrame) -> float | None:
    """Share of walk-forward folds whose test window made money after cost."""
    training = RunRegistry(workspace).get(run.parent)
    folds = workspace.store.read(TRAINING_REPORT, training.artifacts["report"]).tables["folds"]
    by_session = daily.set_index("session")["ret_net"]
    windows = [
        by_session.loc[row.test_first : row.test_last] for row in folds.itertuples(index=False)
    ]
    earned = [float(np.log1p(window).sum()) > 0.0 for window in windows if len(window)]
    return float(np.mean(earned)) if earned else None


def _safety(workspace: Workspace, run: RunRecord, summary: dict[str, Any]) -> Iterable[Metric]:
    """Risk limits, capacity, and whether the book is what it claims."""
    profile = profile_of(load_costs(workspace.catalog, run.config["costs"]))
    daily = workspace.store.read(BACKTEST, run.artifacts["backtest"]).tables["daily"]
    held = daily[["equity", "ret_net", "gross_exposure", "net_exposure"]].to_numpy(dtype=float)
    orders = workspace.store.read(ORDERS, run.artifacts["orders"]).tables["orders"]
    cap = profile.participation_cap_frac
    n_obs = int(summary["n_sessions"])
    yield Metric("max_drawdown", summary["max_drawdown"], "fraction", n_obs)
    yield Metric("n_invalid_values", int((~np.isfinite(held)).sum()), "count", n_obs)
    if cap is None:
        return
    share = orders["participation_frac"].to_numpy(dtype=float)
    # The cap holds up to the rounding of a quotient.
    broken = int((share > cap * (1.0 + 1e-9)).sum())
    yield Metric("n_constraint_violations", broken, "count", n_obs)
    cut = summary["n_orders_partial"] + summary["n_orders_below_min_fill"]
    constrained = cut > MAX_CUT_ORDERS_FRAC * max(summary["n_orders"], 1)
    yield Metric("capacity_constrained", bool(constrained), "flag", n_obs)
    used = float(np.nanmax(share, initial=0.0)) / cap
    yield Metric("capacity_utilisation", used, "ratio", n_obs)


def _lineage(workspace: Workspace, run: RunRecord, manifest: Manifest) -> Lineage:
    """Compare the model that was evaluated with the one that is registered for use."""
    store, validation = workspace.store, run.artifacts["validation"]
    training = RunRegistry(workspace).get(run.parent)
    model = store.manifest(training.artifacts["model"])
    tested = manifest.provenance
    evaluated = Alignment(
        payload_schema_version=model.alignment()["payload_schema_version"],
        feature_version=tested.feature_version,
        data_version=tested.data_version,
        model_name=tested.model_name,
        model_version=tested.model_version,
        lineage_id=model.lineage_id,
    )
    return Lineage(
        evaluated=evaluated,
        deployed=_deployed(workspace, run),
        signature=_signature(workspace, validation),
        evaluation=str(validation),
        n_synthetic_links=0,
    )


def _deployed(workspace: Workspace, run: RunRecord) -> Alignment:
    """Alignment of the registered model; empty when the run registered none."""
    versions = {version.version: version for version in ModelRegistry(workspace).all()}
    if run.model_version not in versions:
        return Alignment()
    model = versions[run.model_version].model
    return Alignment(**{**workspace.store.manifest(model).alignment(), "model_version": model.id})


def _signature(workspace: Workspace, validation: ArtifactRef) -> SignatureState:
    store = workspace.store
    faults = store.faults(validation)
    if faults:
        return SignatureState.INVALID
    kind_is_signed = VALIDATION.signed and store.is_signed(validation)
    return SignatureState.SIGNED if kind_is_signed else SignatureState.UNSIGNED


def check_backtest(run: RunRecord) -> None:
    """Refuse a run that cannot be judged.

    Parameters
    ----------
    run : RunRecord
        Any run.

    Raises
    ------
    DataError
        When it is no backtest, or one of in-sample predictions or of fills on the deciding bar.
    IntegrityError
        When it does not name the training run behind it.
    """
    if run.command != "backtest" or run.config.get("in_sample"):
        got = "in-sample predictions" if run.command == "backtest" else f"a {run.command} run"
        raise DataError(
            f"run {run.run_id}",
            wanted="a backtest of out-of-sample predictions",
            got=got,
            hint="Run `python run_backtest.py` and qualify its result.",
        )
    if fills_same_bar(run):
        raise DataError(
            f"run {run.run_id}",
            wanted="orders that fill after the bar that decided them",
            got="fills on the deciding bar (--unsafe-same-bar)",
            hint="Nobody could have traded so; run it again without the flag.",
        )
    if not run.parent:
        raise IntegrityError(
            f"run {run.run_id}",
            wanted="the training run behind it",
            got="none",
            hint="Train again.",
        )
