"""Feature store: write the features of a session as they are known now, read them as of an instant.

1. ``materialise`` loads the market, computes the features by the code that training uses, and
   writes one snapshot per wanted session; a session that the store already holds with the same
   values is left alone, and nothing that is stored is ever changed.
2. ``read_as_of`` shows what was known at an instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.artifacts.feature_store import FeatureStore, SnapshotQuery
from quant_engine.artifacts.files import write_atomic
from quant_engine.artifacts.kinds.feature_store import (
    LINEAGE_COLUMNS,
    FeatureSnapshot,
    SnapshotHeader,
)
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL
from quant_engine.artifacts.manifest import ArtifactRef, Provenance
from quant_engine.core.errors import ConfigError
from quant_engine.core.hashing import array_digest, sha256_json
from quant_engine.core.panel import Panel
from quant_engine.core.tracks import ScoreSource
from quant_engine.features.sets import FeatureSet
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Stages, Workspace, require_writable
from quant_engine.workflows.data import LoadedData, Location, data_facts, load_data, save_data
from quant_engine.workflows.inputs import feature_stage, feature_version, read_feature_set
from quant_engine.workflows.outcome import Outcome, listed

_INPUTS = ("features", "panel", "quality", "source")


@dataclass(frozen=True, eq=False)
class _Day:
    """One session of a feature panel and of the market behind it."""

    features: Panel
    data: LoadedData
    row: int
    lookback: int


def materialise(
    workspace: Workspace,
    config: TrainConfig,
    location: Location,
    *,
    sessions: int = 1,
    dry_run: bool = False,
) -> Outcome:
    """Write the features of the newest sessions into the store.

    Parameters
    ----------
    workspace : Workspace
        Store and clock: its time is the ``computed_at`` of the snapshots.
    config : TrainConfig
        Market data and feature set; the rest of it is not read.
    location : Location
        Where raw data lies.
    sessions : int
        Newest sessions to write, at least 1.
    dry_run : bool
        Say which sessions would be written.

    Returns
    -------
    Outcome
        Counts, and the artifacts that were written.

    Raises
    ------
    ConfigError
        No session asked for.
    LookAheadError
        A session after the clock's date.
    """
    if sessions < 1:
        raise ConfigError("sessions", wanted="at least 1", got=sessions, hint="Leave it out for 1.")
    feature_set = read_feature_set(workspace, config.feature_set)
    data = load_data(workspace, config.data, location)
    first = max(len(data.panel.time) - sessions, 0)
    span = f"{data.panel.time.values[first]} to {data.last_session}"
    if dry_run:
        text = f"would write {feature_set.name}/{feature_set.version}, sessions {span}"
        return Outcome(text=text, status="dry_run", dataset=data.dataset)
    require_writable(workspace)
    data = save_data(workspace, data)
    stages = Stages(workspace, data_facts(data, score_source=ScoreSource.MODEL, seed=config.seed))
    stages.written.extend(data.refs.values())
    refs = {**data.refs, **feature_stage(workspace, stages, data, feature_set)}
    written = _append_sessions(workspace, data, refs, feature_set, first)
    n_sessions = len(data.panel.time) - first
    return Outcome(
        text=(
            f"{feature_set.name}/{feature_set.version}, sessions {span}: {len(written)} snapshots "
            f"written, {n_sessions - len(written)} unchanged"
        ),
        dataset=data.dataset,
        artifacts=listed(workspace.store, [*stages.written, *written]),
        metrics={"n_written": len(written), "n_unchanged": n_sessions - len(written)},
        warnings=[*data.market.notes, *data.repairs()],
    )


def _append_sessions(
    workspace: Workspace,
    data: LoadedData,
    refs: dict[str, ArtifactRef],
    feature_set: FeatureSet,
    first: int,
) -> list[ArtifactRef]:
    """Write the sessions whose values the newest snapshot does not hold yet."""
    store, now = FeatureStore(workspace.store), workspace.clock.now()
    panel = workspace.store.read(FEATURE_PANEL, refs["features"]).only_fields(feature_set.names)
    query = SnapshotQuery(
        feature_set.name,
        now,
        set_version=feature_set.version,
        set_id=feature_set.set_id(),
        dataset=data.dataset,
    )
    known = {item.header.session: item.header.values_digest for item in store.visible(query)}
    facts = data_facts(data, score_source=ScoreSource.NONE, seed=None)
    inputs = tuple(refs[role] for role in _INPUTS)
    written = []
    for row in range(first, len(panel.time)):
        rows = snapshot_rows(_Day(panel, data, row, feature_set.max_lookback_sessions))
        session = panel.time.values[row].astype(object)
        digest = rows_digest(rows)
        if known.get(session) == digest:
            continue
        header = SnapshotHeader(
            set_name=feature_set.name,
            set_version=feature_set.version,
            set_id=feature_set.set_id(),
            session=session,
            computed_at=now,
            dataset=data.dataset,
            data_version=facts["data_version"],
            inputs=tuple(str(ref) for ref in inputs),
            features=feature_set.names,
            values_digest=digest,
        )
        provenance = Provenance(
            producer="features.materialise",
            config={"feature_set": feature_set.content(), "session": str(session)},
            inputs=inputs,
            **{**facts, "as_of": str(session), "feature_version": feature_version(feature_set)},
        )
        written.append(store.add(FeatureSnapshot(header, rows), provenance))
    return written


def snapshot_rows(day: _Day) -> pd.DataFrame:
    """Lay out one session: an asset per row, its lineage, its features.

    Parameters
    ----------
    day : _Day
        Row of the feature panel, and the market.

    Returns
    -------
    DataFrame
        Assets that are members or have a bar in the session, in the order of the panel.
    """
    market, row = day.data.panel, day.row
    member, tradable = market.mask("member")[row], market.mask("tradable")[row]
    chosen = np.flatnonzero(member | tradable)
    values = {
        name: np.asarray(field[row, chosen], dtype=np.float64)
        for name, field in day.features.fields.items()
    }
    session = market.time.values[row].astype("datetime64[us]")
    n_findings, quality = _quality_of(day, chosen)
    lineage: dict[str, Any] = {
        "asset_id": [market.asset_ids[column] for column in chosen],
        "session": np.full(len(chosen), session),
        "bar_session": _bar_sessions(market, row)[chosen],
        "is_member": member[chosen],
        "is_tradable": tradable[chosen],
        "n_missing": np.sum([np.isnan(v) for v in values.values()], axis=0, dtype=np.int64),
        "n_findings": n_findings,
        "quality": quality,
    }
    return pd.DataFrame({**lineage, **values})


def _bar_sessions(market: Panel, row: int) -> npt.NDArray[np.datetime64]:
    """Session of the newest close of each asset up to a row; NaT where there is none."""
    traded = np.isfinite(market.field("close")[: row + 1])
    last = row - np.argmax(traded[::-1], axis=0)
    sessions = market.time.values.astype("datetime64[us]")
    return np.where(traded.any(axis=0), sessions[last], np.datetime64("NaT", "us"))


def _quality_of(
    day: _Day, chosen: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Quality findings of each asset: their number inside the lookback, rules in the session."""
    market = day.data.panel
    assets = [market.asset_ids[column] for column in chosen]
    if day.data.market.quality is None:
        return np.zeros(len(assets), np.int64), [""] * len(assets)
    found = day.data.market.quality.findings[["asset_id", "session", "rule"]].astype(
        {"asset_id": "str", "rule": "str"}
    )
    first = market.time.values[max(day.row - day.lookback + 1, 0)]
    stamps = pd.to_datetime(found["session"])
    found = found[(stamps >= pd.Timestamp(first)) & (stamps <= pd.Timestamp(_session(day)))]
    counts = found["asset_id"].value_counts().reindex(assets, fill_value=0)
    today = found[pd.to_datetime(found["session"]) == pd.Timestamp(_session(day))]
    rules = today.groupby("asset_id")["rule"].agg(lambda names: " ".join(sorted(set(names))))
    return counts.to_numpy(dtype=np.int64), [str(rules.get(asset, "")) for asset in assets]


def _session(day: _Day) -> np.datetime64:
    return np.datetime64(day.data.panel.time.values[day.row])


def rows_digest(rows: pd.DataFrame) -> str:
    """Hash what a snapshot says: rows, lineage columns and values, bit for bit.

    Parameters
    ----------
    rows : DataFrame
        Lineage columns, then features.

    Returns
    -------
    str
        64 hexadecimal characters.
    """
    parts: list[Any] = [list(rows.columns)]
    for name in rows.columns:
        spec = LINEAGE_COLUMNS.get(name)
        if spec is not None and spec.dtype in ("str", "session"):
            parts.append([str(value) for value in rows[name]])
        else:
            parts.append(array_digest(rows[name].to_numpy()))
    return sha256_json(parts)


def read_as_of(
    workspace: Workspace, query: SnapshotQuery, *, output: Path | None = None
) -> Outcome:
    """Show the features that were known at an instant.

    Parameters
    ----------
    workspace : Workspace
        Store.
    query : SnapshotQuery
        Feature set, instant, sessions.
    output : Path, optional
        CSV file for all rows with their lineage.

    Returns
    -------
    Outcome
        One line per session.

    Raises
    ------
    EmptyDataError
        Nothing was known at that instant.
    SchemaMismatchError
        Several definitions or datasets answer.
    """
    store = FeatureStore(workspace.store)
    frame, found = store.read(query), store.visible(query)
    n_features = len(found[0].header.features)
    lines = [f"{query.set_name} as of {query.as_of.isoformat()}: {len(found)} sessions"]
    by_session = frame.groupby("snapshot", sort=False)["n_missing"].agg(["size", "mean"])
    for item in found:
        size, missing = by_session.loc[item.ref.id]
        lines.append(
            f"  {item.header.session}  computed {item.header.computed_at.isoformat()}  "
            f"{int(size)} assets, {missing / n_features:.1%} missing  {item.ref.id[:12]}"
        )
    if output is not None:
        write_atomic(output, frame.to_csv(index=False).encode("utf-8"))
        lines.append(f"written: {output}")
    return Outcome(
        text="\n".join(lines),
        dataset=found[0].header.dataset,
        artifacts=listed(workspace.store, [item.ref for item in found]),
        metrics={"n_sessions": len(found), "n_rows": len(frame), "n_features": n_features},
    )


def instant(text: str) -> datetime:
    """Read an instant in UTC; a date alone counts whole, to its last microsecond.

    Parameters
    ----------
    text : str
        Such as ``2024-01-31`` or ``2024-01-31T21:05:00+00:00``; without a zone it is UTC.

    Returns
    -------
    datetime
        Aware, UTC.

    Raises
    ------
    ConfigError
        Any other text.

    Examples
    --------
    >>> instant("2024-01-31").isoformat(), instant("2024-01-31T21:00").isoformat()
    ('2024-01-31T23:59:59.999999+00:00', '2024-01-31T21:00:00+00:00')
    """
    try:
        if len(text) == len("YYYY-MM-DD"):
            return datetime.combine(date.fromisoformat(text), time.max, tzinfo=UTC)
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            "as_of",
            wanted="a date such as 2024-01-31, or an instant such as 2024-01-31T21:05:00Z",
            got=repr(text),
            hint="Instants are UTC unless they say otherwise.",
        ) from error
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
