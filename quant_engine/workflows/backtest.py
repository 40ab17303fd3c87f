"""Backtest: a run's out-of-sample predictions, traded at the next open, judged and reported.

1. `simulation` reads the purged walk-forward predictions of the training run and trades them with
   costs on the run's own panel.
2. Where it is asked for, `advanced` runs the validation suite on the result.
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
from quant_engine.artifacts.kinds.panel import PANEL
from quant_engine.artifacts.kinds.training import TRAINING_REPORT
from quant_engine.artifacts.kinds.validation import EVALUATION
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.funnel import entry_funnel, why_nothing_traded
from quant_engine.backtest.portfolio import PortfolioConfig
from quant_engine.backtest.rules_inputs import refuse_settings_of_weights
from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.core.specs import build_config
from quant_engine.data.universe import survivorship_comparison
from quant_engine.reports.load import TearSheetSources, load_tearsheet
from quant_engine.reports.tearsheet import render_tearsheet
from quant_engine.workflows.advanced import Suite, run_suite, suite_documents
from quant_engine.workflows.advanced_config import AdvancedConfig
from quant_engine.workflows.advanced_parts import Subject
from quant_engine.workflows.advanced_verdict import PROFILE as SUITE_PROFILE
from quant_engine.workflows.advanced_verdict import SuiteFigures, suite_details, suite_figures
from quant_engine.workflows.config import section_of
from quant_engine.workflows.context import Stages, Workspace, new_run_id
from quant_engine.workflows.evaluation import evaluation_stage
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.rules import take_rules
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.simulation import (
    BacktestRunConfig,
    fills_contract,
    read_simulation,
    simulate_stage,
)
from quant_engine.workflows.trials import fills_same_bar, record_backtest, track_ledger
from quant_engine.workflows.validation import (
    validation_details,
    validation_metrics,
    validation_profile,
    validation_table,
)

SECTIONS = ("backtest", "costs", "rules", "advanced")
"""Settings that a person may give; whether predictions are in-sample is a flag."""


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
    advanced : bool
        Run the whole validation suite.
    """

    run_id: str | None = None
    horizon: int | None = None
    allow_in_sample: bool = False
    compare_survivorship: bool = False
    advanced: bool = False


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
    config = resolve_backtest(workspace, run, overrides, in_sample=request.allow_in_sample)
    advanced = build_config(
        AdvancedConfig, section_of(overrides, "advanced"), where="settings: advanced"
    )
    if dry_run:
        return Outcome(text=f"would backtest {run.title()}", status="dry_run", dataset=run.dataset)
    stages = stages_of(workspace, run)
    reason = nothing_to_trade(workspace, run, config)
    refs = {} if reason else simulate_stage(workspace, stages, run, config)
    record = backtest_record(workspace, run, config, refs)
    reason = reason or _nothing_filled(workspace, run, config, refs)
    if reason:
        return _no_trades(workspace, stages, record, run, reason)
    tested = Subject(workspace, stages, run, config, refs, advanced)
    refs |= evaluation_stage(tested)
    if request.advanced:
        suite = run_suite(tested, record, track_ledger(workspace, run.track))
        judged = _Judged(tested, suite, suite_figures(tested, suite))
    else:
        judged = None
    refs |= _validation_stage(workspace, stages, run, refs["backtest"], config, judged)
    update: dict[str, Any] = {"artifacts": refs}
    if judged is not None:
        update = {"artifacts": {**refs, **judged.refs}, "suite": advanced.content()}
    record = record.model_copy(update=update)
    outcome = _finish(workspace, stages, record, run, judged)
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


def resolve_backtest(
    workspace: Workspace, run: RunRecord, overrides: dict[str, Any], *, in_sample: bool = False
) -> BacktestRunConfig:
    """Complete the settings of a backtest of a training run.

    Parameters
    ----------
    workspace : Workspace
        Specs of rules.
    run : RunRecord
        Training run.
    overrides : dict
        Nested settings that somebody gave; the section ``advanced`` is passed over.
    in_sample : bool
        Whether the model has seen the sessions that are traded.

    Returns
    -------
    BacktestRunConfig
        Complete, with rules where they were asked for.

    Raises
    ------
    ConfigError
        For an unknown setting, with the nearest names, and for settings of target weights beside
        rules.
    """
    own = {name: value for name, value in overrides.items() if name != "advanced"}
    own, traded = take_rules(own, workspace.catalog, run)
    terminal = run.config["labels"]["terminal"]
    config = resolve_book(own, run, terminal, in_sample=in_sample)
    if traded is not None:
        refuse_settings_of_weights(config.backtest)
    return config.model_copy(update={"rules": traded})


def nothing_to_trade(workspace: Workspace, run: RunRecord, config: BacktestRunConfig) -> str:
    """Say why no score passes the thresholds of a backtest; empty where some do.

    Parameters
    ----------
    workspace : Workspace
        Store.
    run : RunRecord
        Training run.
    config : BacktestRunConfig
        What would be simulated; a book without thresholds is not examined.

    Returns
    -------
    str
        A sentence.
    """
    book = config.backtest
    limits = (book.min_confidence, book.min_expected_return_frac, config.rules)
    if all(limit is None for limit in limits):
        return ""
    funnel = entry_funnel(read_simulation(workspace, run, config))
    return why_nothing_traded(funnel, {}) if funnel[-1].n_left == 0 else ""


def _nothing_filled(
    workspace: Workspace, run: RunRecord, config: BacktestRunConfig, refs: dict[str, ArtifactRef]
) -> str:
    """Say why a simulated book has no trade; empty where it has."""
    summary = workspace.store.read(BACKTEST, refs["backtest"]).documents["summary"]
    if summary["n_trades"]:
        return ""
    orders = workspace.store.read(ORDERS, refs["orders"]).tables["orders"]
    statuses = {str(name): int(n) for name, n in orders["status"].value_counts().items()}
    return why_nothing_traded(entry_funnel(read_simulation(workspace, run, config)), statuses)


def _no_trades(
    workspace: Workspace, stages: Stages, record: RunRecord, run: RunRecord, reason: str
) -> Outcome:
    """A run without a trade is counted and said aloud; it leaves no page and no exports."""
    record_backtest(track_ledger(workspace, run.track), record, run)
    lines = [run.title(), *_marks(record), f"NO TRADES: {reason}"]
    lines.append("no tear sheet and no exports were written; earlier ones are untouched")
    return Outcome(
        text="\n".join(lines),
        status="no_trades",
        track=run.track,
        dataset=run.dataset,
        artifacts=listed(workspace.store, stages.written),
        metrics={"n_trades": 0},
        warnings=[f"no trades: {reason}"],
    )


def resolve_book(
    overrides: dict[str, Any],
    run: RunRecord,
    terminal: dict[str, Any],
    *,
    in_sample: bool = False,
) -> BacktestRunConfig:
    """Fill in the default book: staggered over the label's horizon, a tenth of the names a side.

    Parameters
    ----------
    overrides : dict
        Nested settings that somebody gave.
    run : RunRecord
        What is traded; its horizon is how long a name is held.
    terminal : dict
        Assumption about delistings behind the labels.
    in_sample : bool
        Whether the model has seen the sessions that are traded.

    Returns
    -------
    BacktestRunConfig
        Complete.

    Raises
    ------
    ConfigError
        For an unknown setting, with the nearest names.
    """
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
    backtest.setdefault("terminal", terminal)
    plain = {**overrides, "backtest": backtest, "in_sample": in_sample}
    return build_config(BacktestRunConfig, plain, where="settings")


def stages_of(workspace: Workspace, run: RunRecord) -> Stages:
    """Return the stages of a backtest, whose artifacts share the facts of its training run.

    Parameters
    ----------
    workspace : Workspace
        Store.
    run : RunRecord
        Training run.

    Returns
    -------
    Stages
        Nothing is written yet.
    """
    source = workspace.store.manifest(run.artifacts["report"]).provenance
    facts = source.model_dump(exclude={"producer", "config", "inputs"})
    facts["model_version"] = run.artifacts["model"].id
    return Stages(workspace, facts)


@dataclass(frozen=True, eq=False)
class _Judged:
    """A backtest behind the validation suite."""

    tested: Subject
    suite: Suite
    figures: SuiteFigures

    @property
    def refs(self) -> dict[str, ArtifactRef]:
        """Artifacts of the suite by role."""
        return self.suite.refs


def _validation_stage(
    workspace: Workspace,
    stages: Stages,
    run: RunRecord,
    backtest: ArtifactRef,
    config: BacktestRunConfig,
    judged: _Judged | None,
) -> dict[str, ArtifactRef]:
    rules: dict[str, Any] = {"gates": validation_profile(workspace.catalog).content()}
    inputs = [backtest, run.artifacts["report"], run.artifacts["market"]]
    if judged is not None:
        rules["suite_gates"] = validation_profile(workspace.catalog, SUITE_PROFILE).content()
        # What was tried so far decides these figures, so it belongs to the identity of the stage.
        rules["suite"] = {
            **suite_documents(judged.suite),
            "selection": [metric.content() for metric in judged.suite.selection],
        }
        inputs += judged.refs.values()
    return stages.run(
        "backtest.validate",
        lambda: _validate(workspace, run, backtest, config, judged),
        packages=VALIDATION.packages,
        config={**config.content(), **rules},
        inputs=tuple(inputs),
    )


def _validate(
    workspace: Workspace,
    run: RunRecord,
    backtest: ArtifactRef,
    config: BacktestRunConfig,
    judged: _Judged | None,
) -> dict[str, tuple[Any, Any]]:
    documents = workspace.store.read(BACKTEST, backtest).documents
    report = workspace.store.read(TRAINING_REPORT, run.artifacts["report"])
    market = workspace.store.read(MARKET, run.artifacts["market"])
    fills = fills_contract(config, run, documents)
    metrics = validation_metrics(
        documents["summary"], report, market, fills=fills, in_sample=config.in_sample
    )
    provenance = workspace.store.manifest(backtest).provenance
    checks = validation_table(
        metrics,
        provenance,
        catalog=workspace.catalog,
        details=validation_details(report, market, fills=fills),
    )
    facts: dict[str, Any] = {"model": str(run.artifacts["model"]), "in_sample": config.in_sample}
    if judged is not None:
        more = validation_table(
            judged.figures.metrics,
            provenance,
            catalog=workspace.catalog,
            details=suite_details(judged.tested, judged.suite),
            profile=SUITE_PROFILE,
        )
        checks = pd.concat([checks, more], ignore_index=True)
        facts["suite"] = {**suite_documents(judged.suite), "figures": judged.figures.headline}
    return {"validation": (VALIDATION, Bundle({"checks": checks}, {"facts": facts}))}


def backtest_record(
    workspace: Workspace, run: RunRecord, config: BacktestRunConfig, refs: dict[str, ArtifactRef]
) -> RunRecord:
    """Describe a backtest for the registry of runs and the trial ledger.

    Parameters
    ----------
    workspace : Workspace
        Clock.
    run : RunRecord
        Training run.
    config : BacktestRunConfig
        What was simulated.
    refs : dict of str to ArtifactRef
        Role to artifact.

    Returns
    -------
    RunRecord
        Not written yet.
    """
    return RunRecord(
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


def _finish(
    workspace: Workspace,
    stages: Stages,
    record: RunRecord,
    run: RunRecord,
    judged: _Judged | None,
) -> Outcome:
    refs, in_sample = record.artifacts, bool(record.config["in_sample"])
    sources = TearSheetSources(
        refs={**run.artifacts, **refs},
        title=f"Backtest of {run.dataset}, horizon {run.horizon_sessions} sessions",
        run_id=record.run_id,
        model_version=run.model_version or "not registered",
        is_in_sample=in_sample,
        is_same_bar=fills_same_bar(record),
    )
    with workspace.progress.stage("tear sheet", 1):
        page = render_tearsheet(load_tearsheet(workspace.store, sources))
    # Counted before anyone sees a figure of it.
    record_backtest(track_ledger(workspace, run.track), record, run)
    exports = _export(workspace, record, page)
    RunRegistry(workspace).add(record)
    summary = workspace.store.read(BACKTEST, refs["backtest"]).documents["summary"]
    checks = workspace.store.read(VALIDATION, refs["validation"]).tables["checks"]
    training = workspace.store.read(TRAINING_REPORT, run.artifacts["report"])
    figures = training.documents["quality"]["figures"]
    return Outcome(
        text=_text(run, summary, checks, exports, marks=_marks(record)),
        run_id=record.run_id,
        track=run.track,
        dataset=run.dataset,
        artifacts=listed(workspace.store, stages.written),
        metrics={
            **{key: value for key, value in summary.items() if not isinstance(value, str)},
            "oos_rank_ic": figures.get("oos_rank_ic"),
            "oos_rank_ic_t": figures.get("oos_rank_ic_t"),
            "in_sample": in_sample,
            "unsafe_same_bar": fills_same_bar(record),
            **(judged.figures.headline if judged else {}),
        },
    )


def _export(workspace: Workspace, record: RunRecord, page: str) -> dict[str, Path]:
    refs, horizon = record.artifacts, record.horizon_sessions
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
    marked = {"unsafe_same_bar": True} if fills_same_bar(record) else {}
    write_json(paths["summary"], {**summary, **marked})
    write_atomic(paths["tear sheet"], page.encode("utf-8"))
    if "evaluation" in refs:
        documents = workspace.store.read(EVALUATION, refs["evaluation"]).documents
        for name in ("metrics", "regime_slices"):
            paths[name.replace("_", " ")] = root / f"{name}.json"
            write_json(root / f"{name}.json", documents[name])
    return paths


def _marks(record: RunRecord) -> list[str]:
    """What has to be read before any figure."""
    marks = []
    if record.config["in_sample"]:
        marks.append("IN-SAMPLE predictions: nothing here says how the model would have done")
    if fills_same_bar(record):
        marks.append("SAME-BAR fills: orders fill on the bar that decided them; nobody could")
    if "random" in record.config.get("rules", {}):
        marks.append("RANDOM scores: rules that know nothing, traded for demonstration")
    return marks


def _text(
    run: RunRecord,
    summary: dict[str, Any],
    checks: pd.DataFrame,
    exports: dict[str, Path],
    *,
    marks: list[str],
) -> str:
    lines = [run.title(), *marks, text_of_book(summary)]
    lines += [
        f"  {row.verdict.partition('_')[0]:<12} {row.reason}"
        for row in checks.itertuples(index=False)
    ]
    lines += [f"{name}: {path}" for name, path in exports.items()]
    return "\n".join(lines)


def text_of_book(summary: dict[str, Any]) -> str:
    """Say how a book did in one line.

    Parameters
    ----------
    summary : dict
        Of `BacktestResult`.

    Returns
    -------
    str
        Net Sharpe with its interval, return, drawdown, turnover, trades.
    """
    return (
        f"net Sharpe {_figure(summary['sharpe'])} "
        f"[{_figure(summary['sharpe_ci_low'])}, {_figure(summary['sharpe_ci_high'])}] "
        f"({summary['sharpe_method']}, 95 %), "
        f"annual return {_figure(summary['annual_return'], percent=True)}, "
        f"max drawdown {_figure(summary['max_drawdown'], percent=True)}, "
        f"turnover {_figure(summary['turnover_ann'])} a year, {summary['n_trades']} trades"
    )


def _figure(value: float | None, *, percent: bool = False) -> str:
    if value is None:
        return "n/a"
    return f"{value:+.1%}" if percent else f"{value:.2f}"
