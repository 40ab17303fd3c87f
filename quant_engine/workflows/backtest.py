"""Backtest: a run's out-of-sample predictions, traded at the next open, judged and reported.

1. ``_scores`` reads the purged walk-forward predictions of the training run.
2. ``_simulate`` trades them with costs on the run's own panel.
3. ``_validate`` turns figures into verdicts in words.
4. ``_export`` writes trades, summary and the tear sheet beside the artifacts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from quant_engine.artifacts.files import write_atomic, write_json
from quant_engine.artifacts.kinds.backtest import BACKTEST, ORDERS, TRADES, VALIDATION
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.market import MARKET
from quant_engine.artifacts.kinds.model import MODEL
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL, PANEL
from quant_engine.artifacts.kinds.training import OOS, REGIME, TRAINING_REPORT
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.engine import Backtester
from quant_engine.backtest.portfolio import PortfolioConfig
from quant_engine.backtest.result import BacktestResult
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.core.specs import build_config
from quant_engine.data.universe import survivorship_comparison
from quant_engine.execution.contract import ExecutionContract
from quant_engine.execution.costs import CostProfile
from quant_engine.models.predictor import predict as predict_rows
from quant_engine.models.serialization import load
from quant_engine.reports.load import TearSheetSources, load_tearsheet
from quant_engine.reports.tearsheet import render_tearsheet
from quant_engine.workflows.config import TrainConfig, section_of
from quant_engine.workflows.context import Stages, Workspace, new_run_id
from quant_engine.workflows.data import frame_on_sessions
from quant_engine.workflows.inputs import market_features, read_feature_set
from quant_engine.workflows.labels import is_meta, primary_sides
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.trials import record_backtest, track_ledger
from quant_engine.workflows.validation import (
    validation_details,
    validation_metrics,
    validation_profile,
    validation_table,
)

SECTIONS = ("backtest", "costs")
"""Settings that a person may give; whether predictions are in-sample is a flag."""


class BacktestRunConfig(FrozenConfig):
    """Everything that determines a backtest of given predictions.

    Parameters
    ----------
    backtest : BacktestConfig
        Book, capital, delisting assumptions.
    costs : str
        Cost profile in ``specs/costs``.
    in_sample : bool
        True = trade the final model's predictions of its own training data.
    """

    backtest: BacktestConfig
    costs: str = "base"
    in_sample: bool = False


@dataclass(frozen=True)
class BacktestRequest:
    """What to test.

    Parameters
    ----------
    run_id : str or None
        Training run; None = the newest.
    horizon : int or None
        Only runs with this label horizon.
    allow_in_sample : bool
        Trade in-sample predictions; marked on every page.
    compare_survivorship : bool
        Also print equal-weight returns with and without survivorship.
    """

    run_id: str | None = None
    horizon: int | None = None
    allow_in_sample: bool = False
    compare_survivorship: bool = False


def run_backtest(
    workspace: Workspace,
    request: BacktestRequest,
    overrides: dict[str, Any],
    *,
    dry_run: bool = False,
) -> Outcome:
    """Simulate, judge and report.

    Parameters
    ----------
    workspace : Workspace
        Store and registries.
    request : BacktestRequest
        Which predictions.
    overrides : dict
        Nested settings of :class:`BacktestRunConfig`; unknown keys are refused.
    dry_run : bool
        Say what would be simulated.

    Returns
    -------
    Outcome
        Headline figures, exports and artifacts.
    """
    runs = RunRegistry(workspace)
    run = (
        runs.get(request.run_id)
        if request.run_id
        else runs.newest("train", horizon=request.horizon)
    )
    config = _resolve(overrides, run, in_sample=request.allow_in_sample)
    if dry_run:
        return Outcome(text=f"would backtest {run.title()}", status="dry_run", dataset=run.dataset)
    stages = _stages(workspace, run)
    costs = workspace.catalog.load("costs", config.costs, CostProfile)
    refs = stages.run(
        "backtest.simulate",
        lambda: _simulate(workspace, run, config, costs),
        packages=BACKTEST.packages,
        config={**config.content(), "cost_profile": costs.content()},
        inputs=_inputs(run, in_sample=config.in_sample),
    )
    refs |= stages.run(
        "backtest.validate",
        lambda: _validate(workspace, run, refs["backtest"], config),
        packages=VALIDATION.packages,
        config={**config.content(), "gates": validation_profile(workspace.catalog).content()},
        inputs=(refs["backtest"], run.artifacts["report"], run.artifacts["market"]),
    )
    outcome = _finish(workspace, stages, refs, run, config)
    if not request.compare_survivorship:
        return outcome
    return _with_survivorship(workspace, run, outcome)


def _with_survivorship(workspace: Workspace, run: RunRecord, outcome: Outcome) -> Outcome:
    """Add what a list of the names that survived would have shown."""
    facts = workspace.store.read(MARKET, run.artifacts["market"]).documents["facts"]
    if not facts["has_membership"]:
        note = "survivorship: no membership history was given, so there is nothing to compare"
        return replace(outcome, text=f"{outcome.text}\n{note}")
    table = survivorship_comparison(workspace.store.read(PANEL, run.artifacts["panel"]))
    shown = table[["members_return", "all_return", "survivors_return", "bias"]]
    text = shown.to_string(float_format=lambda value: f"{value:+.2%}")
    metrics = {f"survivorship_bias_{year}": float(row.bias) for year, row in table.iterrows()}
    return replace(
        outcome,
        text=f"{outcome.text}\nequal-weight returns with and without survivorship\n{text}",
        metrics={**outcome.metrics, **metrics},
    )


def _resolve(overrides: dict[str, Any], run: RunRecord, *, in_sample: bool) -> BacktestRunConfig:
    """Fill in the default book: staggered over the label's horizon, a tenth of the names a side."""
    for name in sorted(set(overrides) - set(SECTIONS)):
        raise ConfigError(
            f"settings: {name}",
            wanted="a setting of the backtest",
            got=repr(overrides[name])[:200],
            hint=did_you_mean(name, SECTIONS),
        )
    backtest = section_of(overrides, "backtest")
    given = section_of(backtest, "portfolio")
    book = {
        "names_per_side": None,
        "fraction_per_side": 0.1,
        "rebalance": "staggered",
        "rebalance_sessions": run.horizon_sessions,
        **given,
    }
    if book["names_per_side"] is not None:
        book["fraction_per_side"] = given.get("fraction_per_side")
    build_config(PortfolioConfig, book, where="settings: backtest.portfolio")
    backtest["portfolio"] = book
    # One assumption about delistings for labels and fills, unless it is set here.
    backtest.setdefault("terminal", run.config["labels"]["terminal"])
    plain = {**overrides, "backtest": backtest, "in_sample": in_sample}
    return build_config(BacktestRunConfig, plain, where="settings")


def _stages(workspace: Workspace, run: RunRecord) -> Stages:
    source = workspace.store.manifest(run.artifacts["report"]).provenance
    facts = source.model_dump(exclude={"producer", "config", "inputs"})
    facts["model_version"] = run.artifacts["model"].id
    return Stages(workspace, facts)


def _inputs(run: RunRecord, *, in_sample: bool) -> tuple[ArtifactRef, ...]:
    roles = ["panel", "market", "regimes", *(["model", "features"] if in_sample else ["oos"])]
    return tuple(run.artifacts[role] for role in roles)


def _simulate(
    workspace: Workspace, run: RunRecord, config: BacktestRunConfig, costs: CostProfile
) -> dict[str, tuple[Any, Any]]:
    panel = workspace.store.read(PANEL, run.artifacts["panel"])
    market = workspace.store.read(MARKET, run.artifacts["market"])
    regimes = workspace.store.read(REGIME, run.artifacts["regimes"]).tables["regimes"]
    benchmark = frame_on_sessions(market.tables["benchmark"], panel)
    scores = _scores(workspace, run, in_sample=config.in_sample)
    scores = _directed(scores, panel, TrainConfig.model_validate(run.config))
    with workspace.progress.stage("simulate", 1):
        result = Backtester(config.backtest).run(
            scores,
            panel,
            costs=costs,
            delistings=market.tables["delistings"],
            regimes=regimes.set_index("session"),
            benchmark_returns=benchmark["close_return"],
        )
    return {
        "backtest": (BACKTEST, _result_bundle(result)),
        "trades": (TRADES, Bundle({"trades": result.trades})),
        "orders": (ORDERS, Bundle({"orders": result.orders})),
    }


def _scores(workspace: Workspace, run: RunRecord, *, in_sample: bool) -> pd.DataFrame:
    columns = ["date", "asset_id", "score", "expected_return_frac", "confidence"]
    if not in_sample:
        return workspace.store.read(OOS, run.artifacts["oos"]).tables["oos"][columns]
    config = TrainConfig.model_validate(run.config)
    feature_set = read_feature_set(workspace, config.feature_set)
    features = market_features(
        workspace.store.read(FEATURE_PANEL, run.artifacts["features"]),
        feature_set,
        workspace.store.read(PANEL, run.artifacts["panel"]),
    )
    model = load(workspace.store.read(MODEL, run.artifacts["model"]))
    warmup = feature_set.max_lookback_sessions
    table = predict_rows(model, features, rows=slice(warmup, None), with_contributions=False).table
    return table[columns]


def _directed(scores: pd.DataFrame, panel: Panel, config: TrainConfig) -> pd.DataFrame:
    """Turn how sure a meta-model is of a side into a score of the asset; others stay as they are.

    A rank in (0, 1] within the session times the side: the surest longs on top, the surest shorts
    at the bottom, bets that the model doubts in the middle.
    """
    if not is_meta(config):
        return scores
    side = primary_sides(scores, panel, config)
    rank = scores.groupby("date")["score"].rank(pct=True)
    directed = scores.assign(
        score=(side * rank).where(side != 0.0),
        expected_return_frac=side * scores["expected_return_frac"],
    )
    return directed


def _result_bundle(result: BacktestResult) -> Bundle:
    return Bundle(
        tables={
            "daily": result.daily.reset_index(),
            "exposures": result.exposures.reset_index(),
            "regime_breakdown": result.regime_breakdown.reset_index(),
            "monthly_returns": result.monthly_returns.reset_index(),
        },
        documents={
            "summary": dict(result.summary),
            "settings": {
                "backtest": result.config.content(),
                "cost_profile": result.cost_profile_name,
                "cost_profile_id": result.cost_profile_id,
                "price_basis": result.price_basis.value,
            },
        },
    )


def _validate(
    workspace: Workspace, run: RunRecord, backtest: ArtifactRef, config: BacktestRunConfig
) -> dict[str, tuple[Any, Any]]:
    documents = workspace.store.read(BACKTEST, backtest).documents
    report = workspace.store.read(TRAINING_REPORT, run.artifacts["report"])
    market = workspace.store.read(MARKET, run.artifacts["market"])
    fills = ExecutionContract(
        horizon_sessions=config.backtest.portfolio.rebalance_sessions,
        price_basis=PriceBasis(documents["settings"]["price_basis"]),
        terminal=config.backtest.terminal,
        # A book that follows the sides of a primary signal keeps the promise of its meta-labels.
        direction="primary" if is_meta(TrainConfig.model_validate(run.config)) else "score",
        costs=documents["settings"]["cost_profile_id"],
    )
    metrics = validation_metrics(
        documents["summary"], report, market, fills=fills, in_sample=config.in_sample
    )
    checks = validation_table(
        metrics,
        workspace.store.manifest(backtest).provenance,
        catalog=workspace.catalog,
        details=validation_details(report, market, fills=fills),
    )
    facts = {"model": str(run.artifacts["model"]), "in_sample": config.in_sample}
    return {"validation": (VALIDATION, Bundle({"checks": checks}, {"facts": facts}))}


def _finish(
    workspace: Workspace,
    stages: Stages,
    refs: dict[str, ArtifactRef],
    run: RunRecord,
    config: BacktestRunConfig,
) -> Outcome:
    record = RunRecord(
        run_id=new_run_id(workspace.clock, "backtest", config.content()),
        command="backtest",
        dataset=run.dataset,
        horizon_sessions=run.horizon_sessions,
        track=run.track,
        first_session=run.first_session,
        last_session=run.last_session,
        artifacts=refs,
        config=config.content(),
        location=run.location,
        parent=run.run_id,
        model_version=run.model_version,
    )
    sources = TearSheetSources(
        refs={**run.artifacts, **refs},
        title=f"Backtest of {run.dataset}, horizon {run.horizon_sessions} sessions",
        run_id=record.run_id,
        model_version=run.model_version or "not registered",
        is_in_sample=config.in_sample,
    )
    with workspace.progress.stage("tear sheet", 1):
        page = render_tearsheet(load_tearsheet(workspace.store, sources))
    # Counted before anyone sees a figure of it.
    record_backtest(track_ledger(workspace, run.track), record, run)
    exports = _export(workspace, refs, run.horizon_sessions, page)
    RunRegistry(workspace).add(record)
    summary = workspace.store.read(BACKTEST, refs["backtest"]).documents["summary"]
    checks = workspace.store.read(VALIDATION, refs["validation"]).tables["checks"]
    training = workspace.store.read(TRAINING_REPORT, run.artifacts["report"])
    figures = training.documents["quality"]["figures"]
    return Outcome(
        text=_text(run, summary, checks, exports, in_sample=config.in_sample),
        run_id=record.run_id,
        track=run.track,
        dataset=run.dataset,
        artifacts=listed(workspace.store, stages.written),
        metrics={
            **{key: value for key, value in summary.items() if not isinstance(value, str)},
            "oos_rank_ic": figures.get("oos_rank_ic"),
            "oos_rank_ic_t": figures.get("oos_rank_ic_t"),
            "in_sample": config.in_sample,
        },
    )


def _export(
    workspace: Workspace, refs: dict[str, ArtifactRef], horizon: int, page: str
) -> dict[str, Path]:
    root = workspace.settings.results_root
    trades = workspace.store.read(TRADES, refs["trades"]).tables["trades"]
    summary = workspace.store.read(BACKTEST, refs["backtest"]).documents["summary"]
    paths = {
        "trades": root / f"backtest_{horizon}d_trades.csv",
        "summary": root / f"backtest_{horizon}d_summary.json",
        "tear sheet": root / f"backtest_{horizon}d.html",
    }
    text = trades.to_csv(index=False, date_format="%Y-%m-%d")
    write_atomic(paths["trades"], text.encode("utf-8"))
    write_json(paths["summary"], summary)
    write_atomic(paths["tear sheet"], page.encode("utf-8"))
    return paths


def _text(
    run: RunRecord,
    summary: dict[str, Any],
    checks: pd.DataFrame,
    exports: dict[str, Path],
    *,
    in_sample: bool,
) -> str:
    lines = [run.title()]
    if in_sample:
        lines.append("IN-SAMPLE predictions: nothing here says how the model would have done")
    lines.append(
        f"net Sharpe {_figure(summary['sharpe'])} "
        f"[{_figure(summary['sharpe_ci_low'])}, {_figure(summary['sharpe_ci_high'])}] "
        f"({summary['sharpe_method']}, 95 %), "
        f"annual return {_figure(summary['annual_return'], percent=True)}, "
        f"max drawdown {_figure(summary['max_drawdown'], percent=True)}, "
        f"turnover {_figure(summary['turnover_ann'])} a year, {summary['n_trades']} trades"
    )
    lines += [
        f"  {row.verdict.partition('_')[0]:<12} {row.reason}"
        for row in checks.itertuples(index=False)
    ]
    lines += [f"{name}: {path}" for name, path in exports.items()]
    return "\n".join(lines)


def _figure(value: float | None, *, percent: bool = False) -> str:
    if value is None:
        return "n/a"
    return f"{value:+.1%}" if percent else f"{value:.2f}"
