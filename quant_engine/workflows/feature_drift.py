"""Drift of features between a training run and what the store knew at an instant."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.feature_store import FeatureStore, SnapshotQuery, StoredSnapshot
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.feature_store import FEATURE_DRIFT
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL, PANEL
from quant_engine.artifacts.manifest import Provenance
from quant_engine.core.errors import EmptyDataError, SchemaMismatchError
from quant_engine.core.panel import Panel
from quant_engine.stats.feature_drift import FeatureDrift, FeatureDriftConfig, feature_drift
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.inputs import feature_version, read_feature_set
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.run_registry import RunRecord, RunRegistry

SHOWN = 20


@dataclass(frozen=True)
class DriftRequest:
    """What to compare.

    Parameters
    ----------
    run_id : str or None
        Training run; None = the newest.
    as_of : datetime or None
        Instant of knowledge; None = now.
    sessions : int
        Newest sessions of the store to compare.
    dataset : str
        Dataset of the snapshots; empty = the only one.
    config : FeatureDriftConfig
        Bins and calibration.
    """

    run_id: str | None = None
    as_of: datetime | None = None
    sessions: int = 21
    dataset: str = ""
    config: FeatureDriftConfig = field(default_factory=FeatureDriftConfig)


def drift(workspace: Workspace, request: DriftRequest) -> Outcome:
    """Compare the features of a training run with the newest snapshots, feature by feature.

    Parameters
    ----------
    workspace : Workspace
        Store, registries, clock.
    request : DriftRequest
        Run, instant, sessions.

    Returns
    -------
    Outcome
        The table, largest PSI first, and its artifact.

    Raises
    ------
    DataError
        No training run.
    EmptyDataError
        No snapshot was known.
    SchemaMismatchError
        The feature set changed since the run, or several datasets answer.
    """
    runs = RunRegistry(workspace)
    run = runs.get(request.run_id) if request.run_id else runs.newest("train")
    store = FeatureStore(workspace.store)
    query = _query(workspace, run, request)
    found = store.visible(query)[-request.sessions :]
    if not found:
        raise EmptyDataError(
            f"features {query.set_name}",
            wanted=f"a snapshot computed by {query.as_of.isoformat()}",
            got="none",
            hint="Write some with `qe features materialise`.",
        )
    first = found[0].header.session
    frame = store.read(SnapshotQuery(**{**vars(query), "first": first}))
    table = _table(workspace, run, frame, found, request.config)
    bundle = Bundle({"drift": table}, {"facts": _drift_facts(run, found, request)})
    source = workspace.store.manifest(run.artifacts["report"]).provenance
    provenance = Provenance(
        producer="features.drift",
        config={**request.config.content(), "sessions": request.sessions},
        inputs=(
            run.artifacts["features"],
            run.artifacts["panel"],
            *(item.ref for item in found),
        ),
        **{
            **source.model_dump(exclude={"producer", "config", "inputs"}),
            "as_of": str(found[-1].header.session),
        },
    )
    ref = workspace.store.write(FEATURE_DRIFT, bundle, provenance)
    return Outcome(
        text=_drift_text(run, found, table),
        track=run.track,
        dataset=found[0].header.dataset,
        artifacts=listed(workspace.store, [ref]),
        metrics={
            "n_features": len(table),
            "n_alarms": int(table["is_alarm"].sum()),
            "max_psi": _largest(table["psi"]),
            "max_ks": _largest(table["ks"]),
        },
        warnings=_warnings(run, found),
    )


def _query(workspace: Workspace, run: RunRecord, request: DriftRequest) -> SnapshotQuery:
    """Ask for snapshots of the very definition that the run was trained on."""
    wanted = workspace.store.manifest(run.artifacts["features"]).provenance.feature_version
    feature_set = read_feature_set(workspace, TrainConfig.model_validate(run.config).feature_set)
    if feature_version(feature_set) != wanted:
        raise SchemaMismatchError(
            "feature set",
            wanted=wanted,
            got=feature_version(feature_set),
            hint="Train again, or restore the definition that the run was trained on.",
        )
    return SnapshotQuery(
        feature_set.name,
        request.as_of or workspace.clock.now(),
        set_version=feature_set.version,
        set_id=feature_set.set_id(),
        dataset=request.dataset,
    )


def _table(
    workspace: Workspace,
    run: RunRecord,
    frame: pd.DataFrame,
    found: list[StoredSnapshot],
    config: FeatureDriftConfig,
) -> pd.DataFrame:
    reference = workspace.store.read(FEATURE_PANEL, run.artifacts["features"])
    market = workspace.store.read(PANEL, run.artifacts["panel"])
    feature_set = read_feature_set(workspace, TrainConfig.model_validate(run.config).feature_set)
    warm = min(feature_set.max_lookback_sessions - 1, len(reference.time) - 1)
    rows = _model_rows(market)[warm:]
    # The same rows that a model would see: in the universe, with a bar.
    frame = frame[frame["is_member"] & frame["is_tradable"]]
    sessions = [pd.Timestamp(item.header.session) for item in found]
    cells = pd.Index(sessions).get_indexer(frame["session"]), pd.factorize(frame["asset_id"])[0]
    shape = len(sessions), int(cells[1].max(initial=-1)) + 1
    is_row = np.zeros(shape, dtype=bool)
    is_row[cells] = True
    records = []
    for name in feature_set.names:
        current = np.full(shape, np.nan)
        current[cells] = frame[name].to_numpy(dtype=np.float64)
        then = np.asarray(reference.field(name)[warm:], dtype=np.float64)
        result = feature_drift(then, current, config, rows=(rows, is_row))
        records.append(_drift_row(name, result, frame, sessions))
    table = pd.DataFrame(records)
    table["first_alarm"] = pd.to_datetime(table["first_alarm"]).astype("datetime64[us]")
    return table.sort_values("psi", ascending=False, kind="stable", na_position="last").reset_index(
        drop=True
    )


def _model_rows(market: Panel) -> np.ndarray:
    return np.asarray(market.mask("member") & market.mask("tradable"))


def _drift_row(
    name: str, result: FeatureDrift, frame: pd.DataFrame, sessions: list[pd.Timestamp]
) -> dict[str, Any]:
    present = frame[name].notna()
    flagged = present & (frame["quality"] != "")
    return {
        "feature": name,
        "psi": result.psi,
        "ks": result.ks,
        "mean_shift_sd": result.mean_shift_sd,
        "is_alarm": result.alarm is not None,
        "first_alarm": pd.NaT if result.alarm is None else sessions[result.alarm],
        "missing_then": result.missing_then,
        "missing_now": result.missing_now,
        "flagged_now": float(flagged.sum() / present.sum()) if present.any() else np.nan,
        "n_then": result.n_then,
        "n_now": result.n_now,
    }


def _drift_facts(
    run: RunRecord, found: list[StoredSnapshot], request: DriftRequest
) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "trained_to": run.last_session,
        "first_session": str(found[0].header.session),
        "last_session": str(found[-1].header.session),
        "n_sessions": len(found),
        "config": request.config.content(),
    }


def _warnings(run: RunRecord, found: list[StoredSnapshot]) -> list[str]:
    overlap = sum(str(item.header.session) <= run.last_session for item in found)
    if not overlap:
        return []
    return [
        f"{overlap} of {len(found)} sessions lie inside the data of the training run "
        f"(to {run.last_session}), so drift is understated"
    ]


def _drift_text(run: RunRecord, found: list[StoredSnapshot], table: pd.DataFrame) -> str:
    columns = [
        *("feature", "psi", "ks", "mean_shift_sd", "is_alarm"),
        *("missing_then", "missing_now", "flagged_now", "n_now"),
    ]
    shown = table.head(SHOWN)[columns]
    heading = (
        f"{run.title()}\n{len(found)} sessions, {found[0].header.session} to "
        f"{found[-1].header.session}, against the training data; "
        f"{int(table['is_alarm'].sum())} of {len(table)} features raise an alarm"
    )
    return heading + "\n" + shown.to_string(index=False, float_format=lambda v: f"{v:.4f}")


def _largest(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.max()) if len(known) else None
