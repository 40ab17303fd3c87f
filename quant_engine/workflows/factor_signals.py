"""Signals: the names of the last session, or of every session, by a weighted composite.

Each part, a factor or the newest model's score, is z-scored among the names that could be traded;
the composite is the weighted sum. A name that misses a part gets no score: a composite of what
happens to be there would compare unlike things. Of past sessions a model's score is its purged
out-of-sample prediction, so that a backtest of the ranking (`signal_backtest`) sees nothing else.

1. ``_parts`` computes the named factors and, as ``prediction``, the newest model's score.
2. ``composite`` (pure) z-scores, weighs and ranks them.
3. The table is written as an artifact and beside the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from quant_engine.artifacts.files import write_atomic
from quant_engine.artifacts.kinds.bundle import Bundle, parquet_bytes
from quant_engine.artifacts.kinds.model import MODEL
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL
from quant_engine.artifacts.kinds.signals import SIGNALS
from quant_engine.artifacts.kinds.training import OOS, REGIME
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError, did_you_mean
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import Panel
from quant_engine.core.scratch import sweep_scratch
from quant_engine.core.tracks import ScoreSource
from quant_engine.features.factors import FACTORS
from quant_engine.models.predictor import predict as predict_rows
from quant_engine.models.serialization import load
from quant_engine.stats.cross_section import z_score
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Stages, Workspace, new_run_id, require_writable
from quant_engine.workflows.data import LoadedData, Location, data_facts, load_data, save_data
from quant_engine.workflows.factor_config import PREDICTION, RankConfig
from quant_engine.workflows.factor_values import (
    ChosenFactors,
    expression_feature,
    features_of,
    plugins_of,
    value_stage,
)
from quant_engine.workflows.inputs import (
    feature_schema,
    feature_stage,
    market_features,
    read_feature_set,
    regime_stage,
)
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.predict import PredictRequest, choose_run
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.train import wide

SHOWN = 20
ENDINGS = (".csv", ".parquet")


def rank(
    workspace: Workspace,
    config: RankConfig,
    location: Location,
    *,
    output: Path | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Rank the last session, or all, and write the best names.

    Parameters
    ----------
    workspace : Workspace
        Store and registries.
    config : RankConfig
        Data, parts, weights.
    location : Location
        Where raw data lies; outside every hash.
    output : Path, optional
        File to write, ``.csv`` or ``.parquet``; ``results/signals.csv`` by default.
    dry_run : bool
        Say what would be ranked, write nothing.

    Returns
    -------
    Outcome
        The best names, file, artifact.

    Raises
    ------
    ConfigError
        For a weight whose factor does not exist, with the nearest names, or another file ending.
    DataError
        When ``prediction`` has a weight and no training run of the same source is there.
    EmptyDataError
        When no name has every part on any session that is ranked.
    """
    factors = weighted_factors(workspace, config)
    path = _output(workspace, output)
    run = choose_run(workspace, PredictRequest()) if PREDICTION in dict(config.weights) else None
    if dry_run:
        text = f"would rank by {_weights_text(config)}; nothing was written"
        return Outcome(text=text, status="dry_run", dataset=run.dataset if run else None)
    require_writable(workspace)
    sweep_scratch()
    data = load_data(workspace, config.run.data, location)
    if run is not None:
        _require_same_source(data, run)
    data = save_data(workspace, data)
    stages = Stages(workspace, data_facts(data, score_source=ScoreSource.HEURISTIC, seed=None))
    stages.written.extend(data.refs.values())
    refs = dict(data.refs)
    refs |= regime_stage(workspace, stages, data, config.run.regime)
    parts: dict[str, FloatMatrix] = {}
    rows = slice(None) if config.history else slice(-1, None)
    inputs = [refs["regimes"], data.refs["market"]]
    if factors is not None:
        refs |= value_stage(workspace, stages, data, factors)
        panel = workspace.store.read(FEATURE_PANEL, refs["features"])
        parts |= {name: np.asarray(panel.field(name)[rows], np.float64) for name in factors.names}
        inputs.append(refs["features"])
    if run is not None:
        score, computed = _predicted(workspace, stages, data, run)
        parts[PREDICTION] = score[rows]
        inputs += [run.artifacts["model"], run.artifacts["oos"], computed]
    refs |= stages.run(
        "factors.rank",
        lambda: {
            "signals": (
                SIGNALS,
                _signals(workspace, refs["regimes"], data, config, parts, run),
            )
        },
        packages=SIGNALS.packages,
        config={
            "weights": dict(config.weights),
            "top": config.top,
            "history": config.history,
        },
        inputs=tuple(inputs),
    )
    return _finish(workspace, stages, (refs, path), data, config, location, run)


def composite(
    parts: Mapping[str, FloatMatrix], weights: Mapping[str, float], allowed: BoolMatrix
) -> tuple[FloatMatrix, dict[str, FloatMatrix]]:
    """Weighted sum of the z-scores of each session.

    Parameters
    ----------
    parts : mapping of str to ndarray, shape (T, N)
        Values of each part; NaN = none.
    weights : mapping of str to float
        By part.
    allowed : ndarray of bool, shape (T, N)
        Names that could be traded; only these are counted and scored.

    Returns
    -------
    score : ndarray of float64, shape (T, N)
        ``sum_k w_k z_k``; NaN where a name misses a part.
    scaled : dict of str to ndarray, shape (T, N)
        z-score of each part.

    Examples
    --------
    >>> parts = {"a": np.array([[1.0, 2.0, 3.0]]), "b": np.array([[3.0, 2.0, np.nan]])}
    >>> score, _ = composite(parts, {"a": 1.0, "b": 0.5}, np.ones((1, 3), dtype=bool))
    >>> score.round(2).tolist()
    [[-0.65, -0.35, nan]]
    """
    scaled = {
        name: z_score(np.asarray(parts[name], dtype=np.float64), mask=allowed) for name in weights
    }
    score = np.zeros(allowed.shape)
    for name, weight in weights.items():
        score = score + weight * scaled[name]
    return score, scaled


def weighted_factors(workspace: Workspace, config: RankConfig) -> ChosenFactors | None:
    """Look up every weighted name but ``prediction``.

    Parameters
    ----------
    workspace : Workspace
        Specs.
    config : RankConfig
        Weights, formulas, feature set.

    Returns
    -------
    ChosenFactors or None
        None where only the prediction counts. A name is looked up among the formulas of the run,
        the plug-ins that it names, the features of its set, and all registered plug-ins.

    Raises
    ------
    ConfigError
        For a name that none of them has, with the nearest ones.
    """
    names = [name for name, _ in config.weights if name != PREDICTION]
    if not names:
        return None
    whole = read_feature_set(workspace, config.choice.feature_set or config.run.feature_set)
    known = {spec.name: spec for spec in whole.features}
    written, asked = dict(config.choice.expressions), config.choice.plugins
    features, plugins = [], []
    for name in names:
        if name in written:
            features.append(expression_feature(name, written[name]))
        elif name in known and name not in asked:
            features.append(known[name])
        elif name in FACTORS:
            plugins.append(name)
        else:
            raise ConfigError(
                f"--weights: {name}",
                wanted=f"a formula of --expr, a feature of {whole.name}, a registered factor, "
                f"or {PREDICTION!r}",
                got="no such name",
                hint=did_you_mean(name, [*known, *written, *FACTORS.names(), PREDICTION]),
            )
    return ChosenFactors(features_of(features), plugins_of(plugins))


def _predicted(
    workspace: Workspace, stages: Stages, data: LoadedData, run: RunRecord
) -> tuple[FloatMatrix, ArtifactRef]:
    """Out-of-sample scores of a training run, its final model's for the last session; features."""
    config = TrainConfig.model_validate(run.config)
    features = read_feature_set(workspace, config.feature_set)
    model = load(workspace.store.read(MODEL, run.artifacts["model"]))
    model.schema.require_same(feature_schema(features))
    computed = feature_stage(workspace, stages, data, features)["features"]
    inputs = market_features(workspace.store.read(FEATURE_PANEL, computed), features, data.panel)
    with workspace.progress.stage("predictions", 1):
        found = predict_rows(model, inputs, rows=slice(-1, None), with_contributions=False)
    score: FloatMatrix = _past_scores(workspace, run, data.panel)
    score[-1] = wide(found.table, "score", data.panel)[-1]
    return score, computed


def _past_scores(workspace: Workspace, run: RunRecord, panel: Panel) -> FloatMatrix:
    oos = workspace.store.read(OOS, run.artifacts["oos"]).tables["oos"]
    # The run may have seen sessions or names that this panel does not hold.
    known = oos["date"].isin(panel.time.index) & oos["asset_id"].isin(panel.asset_ids)
    return wide(oos[known], "score", panel)


def _signals(
    workspace: Workspace,
    regimes: ArtifactRef,
    data: LoadedData,
    config: RankConfig,
    parts: Mapping[str, FloatMatrix],
    run: RunRecord | None,
) -> Bundle:
    panel = data.panel
    first = 0 if config.history else len(panel.time) - 1
    allowed = (panel.mask("member") & panel.mask("tradable"))[first:]
    weights = dict(config.weights)
    score, scaled = composite(parts, weights, allowed)
    row, column = np.nonzero(~np.isnan(score))
    if not row.size:
        missing = {name: int(np.isnan(scaled[name][allowed]).sum()) for name in scaled}
        raise EmptyDataError(
            "the sessions" if config.history else f"session {data.last_session}",
            wanted="a name that has every part of the score",
            got=", ".join(f"{name}: {count} missing" for name, count in missing.items()),
            hint="Load a longer history, or leave out the part that is missing.",
        )
    # Equal scores stand in the order of their identifiers, whatever the order of the columns.
    ids = np.asarray(panel.asset_ids)
    order = np.lexsort((ids[column], -score[row, column], row))
    row, column = row[order], column[order]
    ranks = np.arange(row.size) - np.searchsorted(row, row) + 1
    if config.top is not None:
        best = ranks <= config.top
        row, column, ranks = row[best], column[best], ranks[best]
    table = workspace.store.read(REGIME, regimes).tables["regimes"]
    frame = pd.DataFrame(
        {
            "date": panel.time.index[first:][row],
            "asset_id": ids[column],
            "ticker": [data.tickers[asset] for asset in ids[column]],
            "score": score[row, column],
            "rank": ranks,
            "model": f"composite-{sha256_json(weights)[:12]}",
            "regime": table["regime"].to_numpy()[first:][row].astype(np.int64),
            **{name: scaled[name][row, column] for name in weights},
        }
    )
    facts = {
        "session": data.last_session,
        "weights": weights,
        "n_sessions": int(np.unique(row).size),
        "n_allowed": int(allowed[-1].sum()),
        "n_scored": int((~np.isnan(score[-1])).sum()),
        "prediction_model": "" if run is None else str(run.artifacts["model"]),
    }
    return Bundle(tables={"signals": frame}, documents={"facts": facts})


def _require_same_source(data: LoadedData, run: RunRecord) -> None:
    """A model's score means nothing for names of another source."""
    own, trained = (name.partition("-")[0] for name in (data.dataset, run.dataset))
    if own != trained:
        raise DataError(
            "prediction",
            wanted=f"data of the source the newest model was trained on ({run.dataset})",
            got=data.dataset,
            hint="Give the data flags of that training run, or leave prediction out.",
        )


def _output(workspace: Workspace, given: Path | None) -> Path:
    path = given or workspace.settings.results_root / "signals.csv"
    if path.suffix not in ENDINGS or (path.exists() and not path.is_file()):
        raise ConfigError(
            "--output",
            wanted="the name of a .csv or .parquet file",
            got=str(path),
            hint="Give a name such as signals.csv; the table is also in the store.",
        )
    return path


def _finish(
    workspace: Workspace,
    stages: Stages,
    written: tuple[dict[str, ArtifactRef], Path],
    data: LoadedData,
    config: RankConfig,
    location: Location,
    run: RunRecord | None,
) -> Outcome:
    refs, path = written
    bundle = workspace.store.read(SIGNALS, refs["signals"])
    table, facts = bundle.tables["signals"], bundle.documents["facts"]
    write_atomic(path, _file_bytes(table, path.suffix))
    content = config.content()
    record = RunRecord(
        run_id=new_run_id(workspace.clock, "rank", content),
        command="rank",
        dataset=data.dataset,
        horizon_sessions=config.run.labels.horizon_sessions,
        track=workspace.store.manifest(refs["signals"]).provenance.track.value,
        first_session=data.first_session,
        last_session=data.last_session,
        artifacts=refs,
        config=content,
        location=location.content(),
        parent="" if run is None else run.run_id,
        model_version="" if run is None else run.model_version,
    )
    RunRegistry(workspace).add(record)
    warnings = [*data.market.notes, *data.repairs()]
    if run is not None and data.last_session < run.last_session:
        warnings.append(
            f"in-sample: the model has seen sessions up to {run.last_session}, "
            f"after the ranked {data.last_session}"
        )
    newest = table[table["date"] == table["date"].iloc[-1]]
    shown = newest.head(SHOWN).drop(columns=["date", "asset_id", "model", "regime"])
    lines = [
        record.title(),
        f"session {data.last_session}: {facts['n_scored']} of {facts['n_allowed']} names have "
        f"every part; best {len(newest)} by {_weights_text(config)}",
        shown.to_string(index=False, float_format=lambda value: f"{value:+.3f}"),
        f"written: {path}",
    ]
    return Outcome(
        text="\n".join(lines),
        run_id=record.run_id,
        track=record.track,
        dataset=data.dataset,
        artifacts=listed(workspace.store, stages.written),
        metrics={
            "n_signals": len(table),
            "n_scored": facts["n_scored"],
            "n_allowed": facts["n_allowed"],
            "n_sessions": facts["n_sessions"],
            "best_score": float(newest["score"].iloc[0]),
            "regime": int(newest["regime"].iloc[0]),
        },
        warnings=warnings,
    )


def _weights_text(config: RankConfig) -> str:
    return " + ".join(f"{weight:g} {name}" for name, weight in config.weights)


def _file_bytes(table: pd.DataFrame, ending: str) -> bytes:
    if ending == ".csv":
        return table.to_csv(index=False, date_format="%Y-%m-%d").encode("utf-8")
    return parquet_bytes(table)
