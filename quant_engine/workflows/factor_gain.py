"""Gain of a block: what features add to a baseline, out of sample, paired by session.

1. ``plan_training`` builds labels and purged folds once, for both models.
2. ``_train`` trains the same members on the baseline and on baseline and block.
3. ``_compare`` pairs their out-of-sample predictions by session and tests the differences.
4. Both models are counted as trials before anyone sees a figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.artifacts.files import write_json
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.factor_report import FACTOR_GAIN
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL
from quant_engine.artifacts.kinds.training import OOS
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.errors import ConfigError
from quant_engine.core.scratch import sweep_scratch
from quant_engine.core.tracks import ScoreSource
from quant_engine.features.sets import FeatureSet
from quant_engine.models.trainer import train as train_model
from quant_engine.stats.forecast_gain import MEASURES, PanelForecast, gain_by_date, gain_tests
from quant_engine.stats.splits import Fold
from quant_engine.workflows.context import Stages, Workspace, new_run_id, require_writable
from quant_engine.workflows.data import LoadedData, Location, data_facts, load_data, save_data
from quant_engine.workflows.factor_config import GainConfig
from quant_engine.workflows.factor_values import (
    ChosenFactors,
    chosen_factors,
    model_inputs,
    value_stage,
)
from quant_engine.workflows.inputs import read_feature_set
from quant_engine.workflows.labels import label_stage
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.train import TrainingPlan, learning_target, plan_training, wide
from quant_engine.workflows.trials import record_training, track_ledger

FIRST, SECOND = "baseline", "extended"


def gain(
    workspace: Workspace, config: GainConfig, location: Location, *, dry_run: bool = False
) -> Outcome:
    """Measure what a block of features adds to a baseline.

    Parameters
    ----------
    workspace : Workspace
        Store, progress, workers.
    config : GainConfig
        Data, folds, model, baseline, block.
    location : Location
        Where raw data lies; outside every hash.
    dry_run : bool
        Say what would be trained, write nothing.

    Returns
    -------
    Outcome
        Paired differences with their tests.

    Raises
    ------
    ConfigError
        When the block has no feature that the baseline lacks, or one name means two formulas.
    """
    baseline = read_feature_set(workspace, config.run.feature_set)
    block = chosen_factors(workspace, config.block, default=config.block.feature_set)
    whole = extended(baseline, block)
    if dry_run:
        added = ", ".join(whole.names[len(baseline.names) :])
        text = f"would train {baseline.name} twice, once with {added}; nothing was written"
        return Outcome(text=text, status="dry_run")
    require_writable(workspace)
    sweep_scratch()
    data = load_data(workspace, config.run.data, location)
    plan = plan_training(workspace, data, config.run, whole.features or baseline)
    data = save_data(workspace, data)
    facts = data_facts(data, score_source=ScoreSource.MODEL, seed=config.run.seed)
    stages = Stages(workspace, facts)
    stages.written.extend(data.refs.values())
    refs = dict(data.refs)
    refs |= label_stage(stages, data, config.run, plan.costs, plan.labels)
    for name, chosen in ((FIRST, ChosenFactors(baseline)), (SECOND, whole)):
        refs |= _train(workspace, stages, data, config, plan, (name, chosen, refs["labels"]))
    refs |= stages.run(
        "factors.gain",
        lambda: {"gain": (FACTOR_GAIN, _compare(workspace, refs, data, config, plan))},
        packages=FACTOR_GAIN.packages,
        config={"horizon": config.run.labels.horizon_sessions, "added": list(whole.names)},
        inputs=(refs[FIRST], refs[SECOND], refs["labels"]),
    )
    return _finish(workspace, stages, refs, data, config, location)


def extended(baseline: FeatureSet, block: ChosenFactors) -> ChosenFactors:
    """Put a block behind a baseline.

    Parameters
    ----------
    baseline : FeatureSet
        What is there.
    block : ChosenFactors
        What is added; a formula that the baseline has already stands once.

    Returns
    -------
    ChosenFactors
        Baseline first.

    Raises
    ------
    ConfigError
        When nothing is added, or one name means two things.

    Examples
    --------
    >>> from quant_engine.workflows.factor_values import expression_feature
    >>> one, two = (FeatureSet(name=n, version="1", features=(expression_feature(n, text),))
    ...             for n, text in (("a", "$close"), ("b", "$open")))
    >>> extended(one, ChosenFactors(two)).names
    ('a', 'b')
    """
    formulas = {spec.expression for spec in baseline.features}
    offered = () if block.features is None else block.features.features
    added = tuple(spec for spec in offered if spec.expression not in formulas)
    if not added and block.plugins is None:
        raise ConfigError(
            "block",
            wanted=f"a feature that {baseline.name} does not have",
            got=", ".join(block.names[:5]),
            hint="Choose another --block, or a smaller baseline with --features.",
        )
    known = {spec.name for spec in baseline.features}
    for spec in added:
        if spec.name in known:
            raise ConfigError(
                f"block feature {spec.name!r}",
                wanted="a name that the baseline does not use for something else",
                got=repr(spec.expression),
                hint="Write --expr NAME=FORMULA with another name.",
            )
    whole = FeatureSet(
        name="extended", version=baseline.version, features=(*baseline.features, *added)
    )
    return ChosenFactors(whole, block.plugins)


def _train(
    workspace: Workspace,
    stages: Stages,
    data: LoadedData,
    config: GainConfig,
    plan: TrainingPlan,
    member: tuple[str, ChosenFactors, ArtifactRef],
) -> dict[str, ArtifactRef]:
    """Train on one of the two sets; only its out-of-sample predictions are kept."""
    name, chosen, labels = member
    computed = value_stage(workspace, stages, data, chosen)["features"]
    model = config.run.seeded_model()

    def compute() -> dict[str, tuple[Any, Any]]:
        result = train_model(
            model_inputs(workspace.store.read(FEATURE_PANEL, computed), chosen, data.panel),
            plan.labels.panel,
            target=learning_target(plan, config.run),
            folds=plan.folds,
            config=model,
            executor=workspace.executor,
            progress=workspace.progress,
        )
        return {name: (OOS, Bundle({"oos": result.oos.reset_index(drop=True)}))}

    return stages.run(
        f"factors.{name}",
        compute,
        packages=OOS.packages,
        config={
            "model": model.content(),
            "split": config.run.split.content(),
            "target": config.run.target,
            "feature_set": chosen.set_id,
            "weights": config.run.weights.content(),
        },
        inputs=(computed, labels, data.refs["panel"], data.refs["market"]),
        facts={
            "model_name": "+".join(model.columns),
            "feature_version": chosen.version,
        },
    )


def _compare(
    workspace: Workspace,
    refs: Mapping[str, ArtifactRef],
    data: LoadedData,
    config: GainConfig,
    plan: TrainingPlan,
) -> Bundle:
    frames = [workspace.store.read(OOS, refs[name]).tables["oos"] for name in (FIRST, SECOND)]
    forecasts = [
        PanelForecast(
            score=wide(frame, "score", data.panel),
            expected=wide(frame, "expected_return_frac", data.panel),
        )
        for frame in frames
    ]
    outcome = np.asarray(plan.labels.panel.values.field(plan.labels.outcome), dtype=np.float64)
    by_date = gain_by_date(
        forecasts[0],
        forecasts[1],
        outcome,
        min_assets=config.run.model.min_assets_per_session,
    )
    fold = _folds_of(plan.folds, data.panel.shape[0])
    holdout = {one.number for one in plan.folds if one.is_holdout}
    is_holdout = np.isin(fold, sorted(holdout))
    sessions = data.panel.time.index
    samples = {"development": (fold > 0) & ~is_holdout}
    if holdout:
        samples["holdout"] = is_holdout
    years = np.asarray(sessions.year)
    samples |= {
        str(year): samples["development"] & (years == year)
        for year in sorted(set(years[samples["development"]].tolist()))
    }
    tests = gain_tests(by_date, samples, horizon=config.run.labels.horizon_sessions)
    table = by_date.assign(session=sessions, fold=fold, is_holdout=is_holdout)[fold > 0]
    facts = {
        "baseline": config.run.feature_set,
        "block": config.block.content(),
        "horizon_sessions": config.run.labels.horizon_sessions,
        "measures": dict(MEASURES),
    }
    return Bundle(
        tables={"by_date": table.reset_index(drop=True), "tests": tests},
        documents={"facts": facts},
    )


def _folds_of(folds: tuple[Fold, ...], n_sessions: int) -> npt.NDArray[np.int64]:
    """Fold that scored each session, 0 = none: only sessions whose labels the fold may use."""
    found = np.zeros(n_sessions, dtype=np.int64)
    for fold in folds:
        found[fold.scored] = fold.number
    return found


def _finish(
    workspace: Workspace,
    stages: Stages,
    refs: dict[str, ArtifactRef],
    data: LoadedData,
    config: GainConfig,
    location: Location,
) -> Outcome:
    track = workspace.store.manifest(refs["gain"]).provenance.track.value
    content = config.content()
    record = RunRecord(
        run_id=new_run_id(workspace.clock, "gain", content),
        command="gain",
        dataset=data.dataset,
        horizon_sessions=config.run.labels.horizon_sessions,
        track=track,
        first_session=data.first_session,
        last_session=data.last_session,
        artifacts=refs,
        config=content,
        location=location.content(),
    )
    # Both models are tried, whichever of them is liked better.
    ledger = track_ledger(workspace, track)
    split = config.run.split.content()
    for tried in (config.run.content(), {**config.run.content(), "block": config.block.content()}):
        record_training(ledger, record.model_copy(update={"config": tried}), split=split)
    tests = workspace.store.read(FACTOR_GAIN, refs["gain"]).tables["tests"]
    path = workspace.settings.results_root / "factor_gain.json"
    rows = tests.astype(object).where(tests.notna(), None).to_dict("records")
    write_json(path, {"run_id": record.run_id, "tests": rows})
    RunRegistry(workspace).add(record)
    lines = [record.title(), *(f"note: {sentence}" for sentence in data.market.notes)]
    return Outcome(
        text="\n".join([*lines, *_lines(tests), f"written: {path}"]),
        run_id=record.run_id,
        track=track,
        dataset=data.dataset,
        artifacts=listed(workspace.store, stages.written),
        metrics=_metrics(tests),
        warnings=[*data.market.notes, *data.repairs()],
    )


def _lines(tests: pd.DataFrame) -> list[str]:
    lines = ["gain of the block over the baseline, paired by session (positive = it helps)"]
    for row in tests.itertuples(index=False):
        figure = f"{row.gain:+.4f}" if row.measure == "rank_ic" else f"{row.gain:+.3e}"
        tested = "not tested" if np.isnan(row.t) else f"t {row.t:+.2f}  p {row.p:.3f}"
        lines.append(f"  {row.sample:<12} {row.measure:<23} {figure}  {tested}  ({row.n} sessions)")
    return lines


def _metrics(tests: pd.DataFrame) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for row in tests[tests["sample"].isin(["development", "holdout"])].itertuples(index=False):
        for name in ("first", "second", "gain", "t", "p", "n"):
            metrics[f"{row.sample}_{row.measure}_{name}"] = getattr(row, name)
    return metrics
