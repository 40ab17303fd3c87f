"""Train: market data to a trained, evaluated, versioned model.

1. ``load_data`` reads the market; ``plan_training`` builds labels and plans purged folds on their
   spans. What cannot be trained on stops here, before anything is written.
2. ``save_data`` writes source, quality report, panel and market facts.
3. ``feature_stage`` and ``regime_stage`` compute what the model sees.
4. ``_fit`` trains on the planned folds and tabulates the signal.
5. The run is entered in the registries last: what stands there is whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.model import MODEL
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL
from quant_engine.artifacts.kinds.training import OOS, TRAINING_REPORT
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.core.panel import Panel
from quant_engine.core.scratch import sweep_scratch
from quant_engine.core.tracks import ScoreSource
from quant_engine.data.loader import local_config
from quant_engine.data.providers.scan import scan
from quant_engine.execution.cost_model import Costs
from quant_engine.features.sets import FeatureSet
from quant_engine.features.training_labels import TrainingLabels
from quant_engine.models.inputs import Target
from quant_engine.models.serialization import dump
from quant_engine.models.trainer import TrainResult
from quant_engine.models.trainer import train as train_model
from quant_engine.stats.signal import (
    ic_by_horizon,
    ic_by_year,
    ic_table,
    quantile_by_date,
    quantile_table,
)
from quant_engine.stats.splits import Fold, picture, walk_forward
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Stages, Workspace, new_run_id, require_writable
from quant_engine.workflows.data import LoadedData, Location, data_facts, load_data, save_data
from quant_engine.workflows.inputs import (
    feature_stage,
    feature_version,
    market_features,
    read_feature_set,
    regime_stage,
)
from quant_engine.workflows.labels import (
    label_costs,
    label_document,
    label_stage,
    run_betas,
    run_labels,
)
from quant_engine.workflows.model_registry import ModelRegistry, ModelVersion
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.trials import record_training, track_ledger

N_QUANTILES = 5
MAX_DRAWN_FOLDS = 15


def train(
    workspace: Workspace,
    config: TrainConfig,
    location: Location,
    *,
    register: bool = True,
    dry_run: bool = False,
) -> Outcome:
    """Run the whole training chain.

    Parameters
    ----------
    workspace : Workspace
        Store, progress, workers.
    config : TrainConfig
        Resolved configuration; everything that determines the result.
    location : Location
        Where raw data lies; outside every hash.
    register : bool
        Whether to register a model version.
    dry_run : bool
        Load and describe the data, print the plan, write nothing.

    Returns
    -------
    Outcome
        Headline figures, artifacts, and what to do next.
    """
    feature_set = read_feature_set(workspace, config.feature_set)
    if dry_run:
        return _dry_run(workspace, config, location, feature_set)
    require_writable(workspace)
    sweep_scratch()
    data = load_data(workspace, config.data, location)
    plan = plan_training(workspace, data, config, feature_set)
    data = save_data(workspace, data)
    facts = data_facts(data, score_source=ScoreSource.MODEL, seed=config.seed)
    stages = Stages(workspace, facts)
    stages.written.extend(data.refs.values())
    refs = dict(data.refs)
    refs |= feature_stage(workspace, stages, data, feature_set)
    _refuse_empty_features(workspace.store.read(FEATURE_PANEL, refs["features"]), feature_set)
    refs |= label_stage(stages, data, config, plan.costs, plan.labels)
    refs |= regime_stage(workspace, stages, data, config.regime)
    refs |= _fit(workspace, stages, refs, data, config, feature_set, plan)
    return _finish(workspace, stages, refs, data, config, location, register=register)


def _refuse_empty_features(features: Panel, feature_set: FeatureSet) -> None:
    """A feature without any value is a mistake in its formula or in the data, not information."""
    empty = [name for name in feature_set.names if np.isnan(features.field(name)).all()]
    if empty:
        formulas = {spec.name: spec.expression for spec in feature_set.features}
        raise DataError(
            f"feature set {feature_set.name!r}",
            wanted="a value of every feature on some session",
            got=f"none of {', '.join(empty[:5])}" + (" and more" if len(empty) > 5 else ""),
            hint=f"{empty[0]} is {formulas[empty[0]]}; what is not finite counts as missing. "
            "Correct the formula, load what it reads, or leave the feature out.",
        )


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What will be learned, on which folds.

    Parameters
    ----------
    labels : TrainingLabels
        Labels with their spans.
    costs : CostProfile or CostModel
        What cost-aware labels are net of.
    beta : ndarray of float64, shape (T, N), or None
        Betas behind residual labels.
    folds : tuple of Fold
        Purged walk-forward plan.
    """

    labels: TrainingLabels
    costs: Costs
    beta: FloatMatrix | None
    folds: tuple[Fold, ...]


def plan_training(
    workspace: Workspace, data: LoadedData, config: TrainConfig, feature_set: FeatureSet
) -> TrainingPlan:
    """Build labels and folds; refuse data that the model cannot be trained on.

    Parameters
    ----------
    workspace : Workspace
        Cost profiles and progress.
    data : LoadedData
        The market.
    config : TrainConfig
        Labels, folds, smallest cross-section.
    feature_set : FeatureSet
        Its longest look-back must fit into the history.

    Returns
    -------
    TrainingPlan
        Labels and folds.

    Raises
    ------
    InsufficientHistoryError
        Too few assets on every session, or a history no longer than the look-back.
    ConfigError
        When the wanted label cannot be built from these data.
    """
    allowed = data.panel.mask("member") & data.panel.mask("tradable")
    most = int(allowed.sum(axis=1).max())
    if most < config.model.min_assets_per_session:
        raise InsufficientHistoryError(
            "assets",
            wanted=f"a session with at least {config.model.min_assets_per_session} assets to rank",
            got=f"{most} at most",
            hint="Load more symbols, or lower --set model.min_assets_per_session.",
        )
    n_sessions, lookback = data.panel.shape[0], feature_set.max_lookback_sessions
    if n_sessions <= lookback:
        raise InsufficientHistoryError(
            "sessions",
            wanted=f"more than the {lookback} that feature set {feature_set.name} looks back",
            got=n_sessions,
            hint="Load a longer history, or choose --features with shorter windows.",
        )
    costs = label_costs(workspace.catalog, config)
    with workspace.progress.stage("labels", 1):
        beta = run_betas(data, config)
        labels = run_labels(data, config, costs, beta=beta)
    require_built(labels)
    panel = labels.panel
    folds = walk_forward(
        panel.values.time.values, panel.span_start, panel.span_end, config=config.split
    )
    return TrainingPlan(labels, costs, beta, folds)


def _fit(
    workspace: Workspace,
    stages: Stages,
    refs: dict[str, ArtifactRef],
    data: LoadedData,
    config: TrainConfig,
    feature_set: FeatureSet,
    plan: TrainingPlan,
) -> dict[str, ArtifactRef]:
    def compute() -> dict[str, tuple[object, object]]:
        features = market_features(
            workspace.store.read(FEATURE_PANEL, refs["features"]), feature_set, data.panel
        )
        result = train_model(
            features,
            plan.labels.panel,
            target=learning_target(plan, config),
            folds=plan.folds,
            config=config.seeded_model(),
            executor=workspace.executor,
            progress=workspace.progress,
        )
        report = _report(result, plan, data, config)
        return {
            "model": (MODEL, dump(result.model)),
            "oos": (OOS, Bundle({"oos": result.oos.reset_index(drop=True)})),
            "report": (TRAINING_REPORT, report),
        }

    return stages.run(
        "train.fit",
        compute,
        packages=TRAINING_REPORT.packages,
        config={
            "model": config.seeded_model().content(),
            "split": config.split.content(),
            "target": config.target,
            "feature_set": feature_set.set_id(),
            **({} if config.weights.is_plain else {"weights": config.weights.content()}),
        },
        inputs=(
            refs["features"],
            refs["labels"],
            refs["regimes"],
            data.refs["panel"],
            data.refs["market"],
        ),
        facts={
            "model_name": "+".join(config.model.columns),
            "feature_version": feature_version(feature_set),
        },
    )


def learning_target(plan: TrainingPlan, config: TrainConfig) -> Target:
    """Say what is learned and measured.

    Parameters
    ----------
    plan : TrainingPlan
        Labels.
    config : TrainConfig
        Weights of the rows; only a wish for them makes the trainer ask for spans.

    Returns
    -------
    Target
        Input of the trainer.
    """
    labels = plan.labels
    weigh = None if config.weights.is_plain else config.weights
    return Target(labels.learned, labels.outcome, labels.exit_field, weigh)


def require_built(labels: TrainingLabels) -> None:
    """Refuse labels whose learned field could not be built.

    Parameters
    ----------
    labels : TrainingLabels
        Labels of the run.

    Raises
    ------
    ConfigError
        Naming the labels that could be built.
    """
    fields = labels.panel.values.fields
    if labels.learned not in fields:
        raise ConfigError(
            "target",
            wanted=f"one of the labels that could be built: {', '.join(fields)}",
            got=repr(labels.learned),
            hint="Give the benchmark or the sectors it needs, or --set target=ret.",
        )


def _report(
    result: TrainResult, plan: TrainingPlan, data: LoadedData, config: TrainConfig
) -> Bundle:
    horizon = config.labels.horizon_sessions
    score = wide(result.oos, "score", data.panel)
    label = _outcome_values(plan.labels)
    min_assets = config.model.min_assets_per_session
    sessions = data.panel.time.values
    by_date = ic_table(score, label, sessions, min_assets=min_assets)
    outcomes = {
        other: _outcome_values(run_labels(data, config, plan.costs, beta=plan.beta, horizon=other))
        for other in sorted({1, 5, 10, 20, 40, horizon})
    }
    by_quantile = quantile_by_date(score, label, n_quantiles=N_QUANTILES, min_assets=min_assets)
    daily = quantile_by_date(score, outcomes[1], n_quantiles=N_QUANTILES, min_assets=min_assets)
    quality = {
        "promotable": result.quality.promotable,
        "reasons": list(result.quality.reasons),
        "figures": dict(result.quality.figures),
    }
    return Bundle(
        tables={
            "folds": result.folds,
            "importance": result.importance,
            "ic_by_date": by_date,
            "ic_by_year": ic_by_year(by_date, lags=horizon),
            "ic_by_horizon": ic_by_horizon(score, outcomes, min_assets=min_assets),
            "quantile_returns": quantile_table(by_quantile, lags=horizon),
            "quantile_cumulative": _cumulative(daily, sessions),
        },
        documents={"quality": quality, "plan": _plan_document(plan, config)},
    )


def _outcome_values(labels: TrainingLabels) -> FloatMatrix:
    return np.asarray(labels.panel.values.field(labels.outcome), dtype=np.float64)


def _plan_document(plan: TrainingPlan, config: TrainConfig) -> dict[str, object]:
    return {
        **label_document(plan.labels, config, plan.costs),
        "picture": picture(plan.folds),
        "horizon_sessions": config.labels.horizon_sessions,
        "entry_lag": config.labels.entry_lag,
        "embargo_sessions": config.split.embargo_sessions,
        "mode": config.split.mode,
    }


def _cumulative(daily: np.ndarray, sessions: np.ndarray) -> pd.DataFrame:
    """Compound one-session returns of each quantile from its first known session."""
    known = ~np.isnan(daily).any(axis=1)
    grown = np.cumprod(1.0 + daily[known], axis=0) - 1.0
    columns = {f"q{number + 1}": grown[:, number] for number in range(daily.shape[1])}
    return pd.DataFrame({"session": sessions[known].astype("datetime64[us]"), **columns})


def wide(frame: pd.DataFrame, column: str, panel: Panel) -> np.ndarray:
    """Put a column of a long prediction frame on the axes of a panel.

    Parameters
    ----------
    frame : DataFrame
        Columns ``date``, ``asset_id`` and `column`.
    column : str
        Numeric column.
    panel : Panel
        Axes (T, N).

    Returns
    -------
    ndarray of float64, shape (T, N)
        NaN where the frame has no row.
    """
    rows = np.searchsorted(panel.time.values, frame["date"].to_numpy().astype("datetime64[D]"))
    columns = pd.Index(panel.asset_ids).get_indexer(frame["asset_id"])
    values = np.full(panel.shape, np.nan)
    values[rows, columns] = frame[column].to_numpy(dtype=np.float64)
    return values


def _finish(
    workspace: Workspace,
    stages: Stages,
    refs: dict[str, ArtifactRef],
    data: LoadedData,
    config: TrainConfig,
    location: Location,
    *,
    register: bool,
) -> Outcome:
    run_id = new_run_id(workspace.clock, "train", config.content())
    report = workspace.store.read(TRAINING_REPORT, refs["report"])
    quality = report.documents["quality"]
    track = workspace.store.manifest(refs["report"]).provenance.track.value
    version = ""
    if register:
        candidate = ModelVersion(
            version="",
            dataset=data.dataset,
            horizon_sessions=config.labels.horizon_sessions,
            track=track,
            model=refs["model"],
            run_id=run_id,
            promotable=quality["promotable"],
            reasons=tuple(quality["reasons"]),
            figures=quality["figures"],
        )
        files = dict(workspace.store.read(MODEL, refs["model"]))
        version = ModelRegistry(workspace).add(candidate, files).version
    record = RunRecord(
        run_id=run_id,
        command="train",
        dataset=data.dataset,
        horizon_sessions=config.labels.horizon_sessions,
        track=track,
        first_session=data.first_session,
        last_session=data.last_session,
        artifacts=refs,
        config=config.content(),
        location=location.content(),
        model_version=version,
    )
    # Counted before anyone sees a figure of it.
    record_training(track_ledger(workspace, track), record, split=report.documents["plan"])
    RunRegistry(workspace).add(record)
    return Outcome(
        text=_text(record, report, data),
        run_id=run_id,
        track=track,
        dataset=data.dataset,
        artifacts=listed(workspace.store, stages.written),
        metrics=_metrics(report, data),
        warnings=[*data.market.notes, *data.repairs()],
    )


def _metrics(report: Bundle, data: LoadedData) -> dict[str, float | int | bool | None]:
    quality = report.documents["quality"]
    by_date = report.tables["ic_by_date"]
    metrics: dict[str, float | int | bool | None] = dict(quality["figures"])
    metrics["promotable"] = quality["promotable"]
    metrics["n_assets"] = data.panel.shape[1]
    metrics["n_sessions"] = data.panel.shape[0]
    metrics["ic_sessions"] = len(by_date)
    metrics["mean_member_coverage"] = data.mean_member_coverage
    for row in report.tables["ic_by_year"].itertuples(index=False):
        metrics[f"rank_ic_{row.year}"] = _number(row.rank_ic)
        metrics[f"rank_ic_t_{row.year}"] = _number(row.t_nw)
    return metrics


def _number(value: float) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _text(record: RunRecord, report: Bundle, data: LoadedData) -> str:
    quality = report.documents["quality"]
    lines = [record.title(), *(f"note: {sentence}" for sentence in data.market.notes)]
    lines += [f"repaired: {sentence}" for sentence in data.repairs()]
    lines.append("out-of-sample rank IC by year (t: Newey-West, lags = horizon)")
    for row in report.tables["ic_by_year"].itertuples(index=False):
        t_value = "  t n/a" if np.isnan(row.t_nw) else f"  t {row.t_nw:+.2f}"
        lines.append(f"  {row.year}  {row.rank_ic:+.4f}{t_value}  ({row.n} sessions)")
    if quality["promotable"]:
        lines.append("promotable: yes")
    else:
        lines.append("promotable: no")
        lines.extend(f"  because {reason}" for reason in quality["reasons"])
    lines.append(f"run {record.run_id}; next: python run_predict.py, python run_backtest.py")
    return "\n".join(lines)


def _dry_run(
    workspace: Workspace, config: TrainConfig, location: Location, feature_set: FeatureSet
) -> Outcome:
    """Say what would be read and learned; files are scanned first, so that all faults show."""
    lines = []
    if config.data.source == "local" and location.bars:
        local = local_config(config.data)
        report = scan(Path(location.bars), local, calendar=config.data.calendar)
        lines.append(report.text())
        if not report.ok:
            text = "\n".join([*lines, "nothing was written"])
            return Outcome(text=text, status="dry_run", exit_code=DataError.exit_code)
    data = load_data(workspace, config.data, location)
    plan = plan_training(workspace, data, config, feature_set)
    rows, columns = data.panel.shape
    span = f"{data.first_session} to {data.last_session}"
    lines.append(f"dataset {data.dataset}: {columns} assets, {rows} sessions, {span}")
    if data.market.quality is not None:
        lines.append(data.market.quality.text())
    lines += [f"note: {note}" for note in data.market.notes]
    lines += [
        f"features: {feature_set.name} version {feature_set.version} ({len(feature_set.names)})",
        f"label: {plan.labels.learned}, horizon {config.labels.horizon_sessions} sessions",
        _folds_text(plan.folds),
        f"members: {', '.join(config.model.columns)}; seed {config.seed}",
        f"configuration {config.config_id()[:12]}; nothing was written",
    ]
    return Outcome(text="\n".join(lines), status="dry_run", dataset=data.dataset)


def _folds_text(folds: tuple[Fold, ...]) -> str:
    if len(folds) <= MAX_DRAWN_FOLDS:
        return picture(folds)
    first, last = folds[0].test_window[0], folds[-1].test_window[1]
    return f"{len(folds)} folds, tested from {first} to {last}"
