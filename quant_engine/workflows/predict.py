"""Predict: the newest model on the latest bars of the same source, by the same feature code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from quant_engine.artifacts.files import write_atomic
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.model import MODEL
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL
from quant_engine.artifacts.kinds.training import PREDICTIONS, REGIME
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.tracks import ScoreSource
from quant_engine.features.sets import FeatureSet
from quant_engine.models.model import FittedModel
from quant_engine.models.predictor import Predictions
from quant_engine.models.predictor import predict as predict_rows
from quant_engine.models.serialization import load
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Stages, Workspace, new_run_id
from quant_engine.workflows.data import LoadedData, Location, data_facts, load_data, save_data
from quant_engine.workflows.inputs import (
    feature_schema,
    feature_stage,
    feature_version,
    market_features,
    read_feature_set,
    regime_stage,
)
from quant_engine.workflows.labels import is_meta, primary_sides
from quant_engine.workflows.model_registry import ModelRegistry, ModelVersion
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.run_registry import RunRecord, RunRegistry


@dataclass(frozen=True)
class PredictRequest:
    """What to predict with.

    Parameters
    ----------
    version : str
        ``"latest"`` = the newest training run; ``"champion"``; or a version name.
    horizon : int or None
        Only runs with this label horizon.
    path : Path or None
        Where the run's files lie now, when they moved or grew.
    end : date or None
        Predict as of this session; None = the last one.
    top : int
        Rows to print.
    output : Path or None
        CSV file; None = ``results/predictions_{H}d.csv``.
    """

    version: str = "latest"
    horizon: int | None = None
    path: Path | None = None
    end: date | None = None
    top: int = 20
    output: Path | None = None


def predict(workspace: Workspace, request: PredictRequest, *, dry_run: bool = False) -> Outcome:
    """Rank the latest session.

    Parameters
    ----------
    workspace : Workspace
        Store and registries.
    request : PredictRequest
        Model and data.
    dry_run : bool
        Say which model and data would be used.

    Returns
    -------
    Outcome
        Table of the best and worst names, CSV path, artifact.

    Raises
    ------
    DataError
        When there is no training run or no champion.
    SchemaMismatchError
        When the features are not those the model was trained on.
    """
    run = choose_run(workspace, request)
    title = run.title()
    if dry_run:
        return Outcome(text=f"would predict with {title}", status="dry_run", dataset=run.dataset)
    config = TrainConfig.model_validate(run.config)
    asked = config.data
    if request.end is not None:
        asked = asked.model_copy(update={"end": request.end})
    location = Location(**run.location)
    if request.path is not None:
        location = location.model_copy(update={"bars": str(request.path.absolute())})
    feature_set = read_feature_set(workspace, config.feature_set)
    model = load(workspace.store.read(MODEL, run.artifacts["model"]))
    model.schema.require_same(feature_schema(feature_set))
    output = _output(workspace, request, config.labels.horizon_sessions)
    data = save_data(workspace, load_data(workspace, asked, location))
    facts = {
        **data_facts(data, score_source=ScoreSource.MODEL, seed=config.seed),
        "dataset": run.dataset,
    }
    stages = Stages(workspace, facts)
    stages.written.extend(data.refs.values())
    refs = dict(data.refs)
    refs |= feature_stage(workspace, stages, data, feature_set)
    refs |= regime_stage(workspace, stages, data, config.regime)
    refs |= _predictions(workspace, stages, refs, run, data, (model, feature_set))
    record = _record(workspace, refs, run, data, config, location)
    return _finish(workspace, stages, record, run, data, output, top=request.top)


def _output(workspace: Workspace, request: PredictRequest, horizon: int) -> Path:
    """Return the CSV file to write; a folder or a device in its place is refused beforehand."""
    path = request.output or workspace.settings.results_root / f"predictions_{horizon}d.csv"
    if path.exists() and not path.is_file():
        raise ConfigError(
            "--output",
            wanted="the name of a file",
            got=str(path),
            hint="Give a name such as predictions.csv; the table is also in the store.",
        )
    return path


def choose_run(workspace: Workspace, request: PredictRequest) -> RunRecord:
    """Return the training run that the request names.

    Parameters
    ----------
    workspace : Workspace
        Registries.
    request : PredictRequest
        Version and horizon.

    Returns
    -------
    RunRecord
        A completed training run.

    Raises
    ------
    DataError
        When there is none, or no champion for the newest run's triple.
    """
    runs = RunRegistry(workspace)
    newest = runs.newest("train", horizon=request.horizon)
    if request.version == "latest":
        return newest
    models = ModelRegistry(workspace)
    if request.version == "champion":
        found = models.champion(newest.dataset, newest.horizon_sessions, newest.track)
        if found is None:
            raise DataError(
                "champion",
                wanted=f"a promotable model for {newest.title()}",
                got="none",
                hint="See its reasons with `python run_retrain.py --status`, or use latest.",
            )
        return _run_of(runs, found)
    return _run_of(runs, models.get(request.version))


def _run_of(runs: RunRegistry, version: ModelVersion) -> RunRecord:
    """Return the newest completed run of a version.

    A run that was interrupted right after its registration never completed; the run that resumed
    it has the same model.
    """
    found = [
        run
        for run in runs.all("train")
        if run.artifacts["model"] == version.model and run.dataset == version.dataset
    ]
    if not found:
        raise DataError(
            f"version {version.version}",
            wanted="a completed run of this results folder that made it",
            got="none",
            hint="Run `python run_train.py ... --resume` to complete it.",
        )
    return found[-1]


def _predictions(
    workspace: Workspace,
    stages: Stages,
    refs: dict[str, ArtifactRef],
    run: RunRecord,
    data: LoadedData,
    trained: tuple[FittedModel, FeatureSet],
) -> dict[str, ArtifactRef]:
    model, feature_set = trained

    def compute() -> dict[str, tuple[object, object]]:
        features = market_features(
            workspace.store.read(FEATURE_PANEL, refs["features"]), feature_set, data.panel
        )
        with workspace.progress.stage("predictions", 1):
            predicted = predict_rows(model, features, rows=slice(-1, None), with_contributions=True)
        regimes = workspace.store.read(REGIME, refs["regimes"]).tables["regimes"]
        bundle = Bundle(
            tables={
                "predictions": _described(predicted, regimes, data, run),
                "contributions": predicted.contributions.reset_index(drop=True),
            },
            documents={
                "facts": {"model": str(run.artifacts["model"]), "session": data.last_session}
            },
        )
        return {"predictions": (PREDICTIONS, bundle)}

    return stages.run(
        "predict.predictions",
        compute,
        packages=PREDICTIONS.packages,
        config={"rows": "last"},
        inputs=(run.artifacts["model"], refs["features"], refs["regimes"], data.refs["market"]),
        facts={
            "model_name": "+".join(TrainConfig.model_validate(run.config).model.columns),
            "model_version": run.artifacts["model"].id,
            "feature_version": feature_version(feature_set),
        },
    )


def _described(
    predicted: Predictions, regimes: pd.DataFrame, data: LoadedData, run: RunRecord
) -> pd.DataFrame:
    table = predicted.table.reset_index(drop=True)
    newest = regimes.iloc[-1]
    config = TrainConfig.model_validate(run.config)
    if is_meta(config):
        table["primary_side"] = primary_sides(table, data.panel, config)
    return table.assign(
        ticker=table["asset_id"].map(data.tickers),
        regime=int(newest["regime"]),
        regime_confidence=float(newest["confidence"]),
        # The artifact's id, because a version's name holds the time of its registration.
        model_version=run.artifacts["model"].id,
    )


def _record(
    workspace: Workspace,
    refs: dict[str, ArtifactRef],
    run: RunRecord,
    data: LoadedData,
    config: TrainConfig,
    location: Location,
) -> RunRecord:
    return RunRecord(
        run_id=new_run_id(workspace.clock, "predict", config.content()),
        command="predict",
        dataset=run.dataset,
        horizon_sessions=config.labels.horizon_sessions,
        track=workspace.store.manifest(refs["predictions"]).provenance.track.value,
        first_session=data.first_session,
        last_session=data.last_session,
        artifacts=refs,
        config={**run.config, "data": data.request.content()},
        location=location.content(),
        parent=run.run_id,
        model_version=run.model_version,
    )


def _finish(
    workspace: Workspace,
    stages: Stages,
    record: RunRecord,
    run: RunRecord,
    data: LoadedData,
    output: Path,
    *,
    top: int,
) -> Outcome:
    bundle = workspace.store.read(PREDICTIONS, record.artifacts["predictions"])
    table = bundle.tables["predictions"].sort_values("score", ascending=False, kind="stable")
    write_atomic(output, table.to_csv(index=False, date_format="%Y-%m-%d").encode("utf-8"))
    RunRegistry(workspace).add(record)
    warnings = [*data.market.notes, *data.repairs()]
    if data.last_session < run.last_session:
        warnings.append(
            f"in-sample: the model has seen sessions up to {run.last_session}, "
            f"after the predicted {data.last_session}"
        )
    if "primary_side" in table:
        warnings.append(
            "meta-model: a score says how likely the primary side of a row is right, "
            "see column primary_side"
        )
    metrics = {
        "n_predictions": len(table),
        "n_long": int(table["is_long"].sum()),
        "n_short": int(table["is_short"].sum()),
        "regime": int(table["regime"].iloc[0]),
        "mean_confidence": _mean(table["confidence"]),
    }
    return Outcome(
        text="\n".join([run.title(), _text(table, data, top), f"written: {output}"]),
        run_id=record.run_id,
        track=record.track,
        dataset=run.dataset,
        artifacts=listed(workspace.store, stages.written),
        metrics=metrics,
        warnings=warnings,
    )


def _mean(values: pd.Series) -> float | None:
    known = values.to_numpy(dtype=np.float64)
    return None if np.isnan(known).all() else float(np.nanmean(known))


def _text(table: pd.DataFrame, data: LoadedData, top: int) -> str:
    columns = ["ticker", "score", "expected_return_frac", "lo", "hi", "confidence", "percentile"]
    shown = table.head(top)[columns]
    heading = f"session {data.last_session}: {len(table)} predictions, best {len(shown)}"
    return heading + "\n" + shown.to_string(index=False, float_format=lambda v: f"{v:+.4f}")
