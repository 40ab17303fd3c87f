"""Feature store: append-only snapshots, and reads that see what was known at an instant.

1. `FeatureStore.add` writes one snapshot as an artifact; nothing that is stored ever changes.
2. `FeatureStore.visible` chooses, per session, the newest snapshot with ``computed_at <= as_of``.
3. `FeatureStore.read` joins the rows of those, each with its lineage.

Snapshots lie where all artifacts lie and have their atomicity and hashes, so writers side by side
lose nothing: equal snapshots are one artifact, different ones have different ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd

from quant_engine.artifacts.kinds.feature_store import (
    FEATURE_SNAPSHOT,
    FeatureSnapshot,
    SnapshotHeader,
    read_header,
)
from quant_engine.artifacts.manifest import ArtifactRef, Provenance
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.errors import DataError, EmptyDataError, SchemaMismatchError

__all__ = ["FeatureStore", "SnapshotQuery", "StoredSnapshot"]


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot as a listing sees it.

    Parameters
    ----------
    ref : ArtifactRef
        Address.
    header : SnapshotHeader
        Identity, instant of knowledge, origin.
    """

    ref: ArtifactRef
    header: SnapshotHeader

    @property
    def order(self) -> tuple[datetime, str]:
        """Place in time; the id decides between snapshots of one instant."""
        return self.header.computed_at, self.ref.id


@dataclass(frozen=True)
class SnapshotQuery:
    """Which snapshots a read is about.

    Parameters
    ----------
    set_name : str
        Feature set.
    as_of : datetime
        Aware instant; later snapshots are not seen.
    set_version, set_id, dataset : str
        Further identity; empty = the only one that is visible.
    first, last : date or None
        Sessions from first to last, both inclusive; None = without bound.
    """

    set_name: str
    as_of: datetime
    set_version: str = ""
    set_id: str = ""
    dataset: str = ""
    first: date | None = None
    last: date | None = None

    def __post_init__(self) -> None:
        if self.as_of.tzinfo is None:
            raise DataError(
                "as_of",
                wanted="an instant with a time zone",
                got=self.as_of.isoformat(),
                hint="Use UTC; a local time would shift what was known by hours.",
            )

    def sees(self, header: SnapshotHeader) -> bool:
        """Whether a snapshot belongs to the question and was known by then."""
        return (
            header.computed_at <= self.as_of
            and header.set_name == self.set_name
            and self.set_version in ("", header.set_version)
            and header.set_id.startswith(self.set_id)
            and self.dataset in ("", header.dataset)
            and (self.first is None or header.session >= self.first)
            and (self.last is None or header.session <= self.last)
        )


class FeatureStore:
    """Snapshots of one results folder.

    Parameters
    ----------
    store : ArtifactStore
        Where they lie.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def add(self, snapshot: FeatureSnapshot, provenance: Provenance) -> ArtifactRef:
        """Write one snapshot.

        Parameters
        ----------
        snapshot : FeatureSnapshot
            Features of one session.
        provenance : Provenance
            Inputs, configuration, track and versions.

        Returns
        -------
        ArtifactRef
            Its address.

        Raises
        ------
        SchemaMismatchError
            Columns that are not those of the header.
        StoreError, IntegrityError
            See :meth:`quant_engine.artifacts.store.ArtifactStore.write`.
        """
        return self._store.write(FEATURE_SNAPSHOT, snapshot, provenance)

    def snapshots(self) -> list[StoredSnapshot]:
        """List all snapshots in order of session, then of knowledge."""
        found = [
            StoredSnapshot(ref, read_header(self._store.path(ref) / "payload"))
            for ref in self._store.refs(FEATURE_SNAPSHOT.name)
        ]
        return sorted(found, key=lambda item: (item.header.session, *item.order))

    def visible(self, query: SnapshotQuery) -> list[StoredSnapshot]:
        """Choose the newest snapshot of each session that was known at an instant.

        Parameters
        ----------
        query : SnapshotQuery
            Feature set, instant, sessions.

        Returns
        -------
        list of StoredSnapshot
            At most one per session, in order of sessions; empty when none was known.

        Raises
        ------
        SchemaMismatchError
            Snapshots of several definitions, versions or datasets answer: mixing them would join
            columns that mean different things.
        """
        seen = [item for item in self.snapshots() if query.sees(item.header)]
        for name in ("dataset", "set_version", "set_id"):
            values = sorted({str(getattr(item.header, name)) for item in seen})
            if len(values) > 1:
                raise SchemaMismatchError(
                    f"snapshots of {query.set_name}",
                    wanted=f"one {name}",
                    got=f"{len(values)}: {', '.join(value[:24] for value in values[:4])}",
                    hint=f"Say which {name} is meant.",
                )
        newest = {item.header.session: item for item in seen}
        return list(newest.values())

    def read(self, query: SnapshotQuery) -> pd.DataFrame:
        """Read features as they were known at an instant.

        Parameters
        ----------
        query : SnapshotQuery
            Feature set, instant, sessions.

        Returns
        -------
        DataFrame
            Lineage columns, ``computed_at`` (UTC), ``snapshot`` (id), ``dataset``, then the
            features; rows in order of session and asset.

        Raises
        ------
        EmptyDataError
            Nothing was known at that instant.
        SchemaMismatchError
            See :meth:`visible`.
        IntegrityError
            Bytes differ from what was written.
        """
        found = self.visible(query)
        if not found:
            raise EmptyDataError(
                f"features {query.set_name}",
                wanted=f"a snapshot computed by {query.as_of.isoformat()}",
                got="none",
                hint="Later snapshots exist only for later reads; see `qe features materialise`.",
            )
        frames = []
        for item in found:
            rows = self._store.read(FEATURE_SNAPSHOT, item.ref).rows
            place = len(rows.columns) - len(item.header.features)
            rows.insert(place, "computed_at", pd.Timestamp(item.header.computed_at))
            rows.insert(place + 1, "snapshot", item.ref.id)
            rows.insert(place + 2, "dataset", item.header.dataset)
            frames.append(rows)
        return pd.concat(frames, ignore_index=True)
